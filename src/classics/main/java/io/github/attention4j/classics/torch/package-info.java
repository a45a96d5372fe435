/**
 * PyTorch's {@code nn.MultiheadAttention}: its weights, masks and averaged weights, for {@link
 * io.github.attention4j.layer.MultiHeadAttention}.
 *
 * <p>The general rules of {@link io.github.attention4j.layer} also hold here. Classes that say
 * nothing else about threads are immutable, and safe for any number of them.
 */
package io.github.attention4j.classics.torch;
