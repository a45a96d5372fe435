/**
 * The attention chapters of <i>Dive into Deep Learning</i> under the book's own names: masked
 * softmax, dot-product and additive attention, Nadaraya–Watson regression, Bahdanau's translator
 * and the encoder-decoder Transformer. Layers read the book's weights by the names that its PyTorch
 * code gives them.
 *
 * <p>What {@link io.github.attention4j.layer} says of layers holds here too: they are immutable,
 * use tensors that the caller owns, and are safe for use by any number of threads. What a sequence
 * has read so far belongs to a state.
 *
 * @see <a href="https://d2l.ai/chapter_attention-mechanisms-and-transformers/">d2l.ai, chapter
 *     11</a>
 */
package io.github.attention4j.classics.d2l;
