/**
 * What has weights: projections, norms, positions, feed-forward and recurrent networks, and whole
 * attention layers made of them; and functions beside them.
 *
 * <p>The layers of "Dive into Deep Learning" have the book's names and read its weights by them:
 * {@link io.github.attention4j.layer.MaskedSoftmax} under {@link
 * io.github.attention4j.layer.ValidLens}, {@link io.github.attention4j.layer.DotProductAttention},
 * {@link io.github.attention4j.layer.AdditiveAttention}, {@link
 * io.github.attention4j.layer.NadarayaWatson}, {@link
 * io.github.attention4j.layer.PositionalEncoding}, {@link
 * io.github.attention4j.layer.PositionwiseFfn}, {@link io.github.attention4j.layer.AddNorm}.
 *
 * <p>Those of tensor2tensor have its names likewise: {@link
 * io.github.attention4j.layer.Tensor2TensorAttention} is its {@code multihead_attention}, of {@link
 * io.github.attention4j.layer.LocalMasks}, {@link io.github.attention4j.layer.AreaAttention} and
 * {@link io.github.attention4j.layer.Conv1d}, beside {@link
 * io.github.attention4j.layer.RecurrentMemory} and {@link
 * io.github.attention4j.layer.AttentionBias}.
 *
 * <p>A layer is an immutable value over tensors that the caller owns, such as those of a {@link
 * io.github.attention4j.io.SafeTensors} file; their arena must stay open while the layer is used.
 * Layers write into tensors that the caller supplies, use {@link
 * io.github.attention4j.A4j#threads()} threads at most, and are safe for any number of threads at
 * once.
 */
package io.github.attention4j.layer;
