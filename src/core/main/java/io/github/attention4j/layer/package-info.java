/**
 * Neural-network layers built on attention: projections, norms, positions, gates, and whole
 * attention layers made of them.
 *
 * <p>A layer is an immutable value over tensors that the caller owns, such as those of a {@link
 * io.github.attention4j.io.SafeTensors} file; their arena must stay open while the layer is used.
 * Layers write into tensors that the caller supplies, use at most {@link
 * io.github.attention4j.A4j#threads()} threads, and are safe for use by any number of threads at
 * once.
 */
package io.github.attention4j.layer;
