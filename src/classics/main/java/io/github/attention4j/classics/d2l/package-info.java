/**
 * The attention chapters of <i>Dive into Deep Learning</i> under the book's own names: masked
 * softmax, dot-product and additive attention, Nadaraya–Watson regression, Bahdanau's translator
 * and the encoder-decoder Transformer. Layers read the book's weights by the names that its PyTorch
 * code gives them.
 *
 * <p>The general rules of {@link io.github.attention4j.layer} also hold here. Classes that say
 * nothing else about threads are immutable, and safe for any number of them. What a sequence has
 * read so far belongs to a state. Dropout is off, as at inference in the book.
 *
 * @see <a href="https://d2l.ai/chapter_attention-mechanisms-and-transformers/">d2l.ai, chapter
 *     11</a>
 */
package io.github.attention4j.classics.d2l;
