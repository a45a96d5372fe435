/**
 * Neural-network layers built on attention: projections, norms, positions, gates, and complete
 * attention layers.
 *
 * <p>A layer is an immutable value over tensors that the caller owns, such as those of a {@link
 * io.github.attention4j.io.SafeTensors} file; their arena must stay open while the layer is used.
 * Layers write into tensors that the caller supplies, use at most {@link
 * io.github.attention4j.A4j#threads()} threads, and are safe for any number of threads. The rules
 * of {@link io.github.attention4j} for memory, exceptions and threads apply.
 *
 * <p>Unless a layer says otherwise, each tensor that it reads or writes in a call may be {@link
 * io.github.attention4j.DType#F32}, {@link io.github.attention4j.DType#BF16} or {@link
 * io.github.attention4j.DType#F16}: inputs are widened exactly, and results are computed in float32
 * and rounded once.
 */
package io.github.attention4j.layer;
