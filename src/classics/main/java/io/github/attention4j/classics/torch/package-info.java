/**
 * PyTorch's {@code nn.MultiheadAttention}: its weights, masks and averaged weights, for {@link
 * io.github.attention4j.layer.MultiHeadAttention}.
 */
package io.github.attention4j.classics.torch;
