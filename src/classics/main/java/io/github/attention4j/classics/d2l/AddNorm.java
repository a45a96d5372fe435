package io.github.attention4j.classics.d2l;

import io.github.attention4j.Tensor;
import io.github.attention4j.internal.Checks;
import io.github.attention4j.internal.Weights;
import io.github.attention4j.io.SafeTensors;
import io.github.attention4j.layer.Elementwise;
import io.github.attention4j.layer.LayerNorm;
import java.lang.foreign.Arena;
import java.util.Objects;

/**
 * A residual connection and the norm after it (post-norm), {@code AddNorm} of "Dive into Deep
 * Learning" (chapter 11.7):
 *
 * <pre>
 *   out = LayerNorm(x + y)
 * </pre>
 *
 * <p>All tensors are {@link io.github.attention4j.DType#F32}.
 */
public final class AddNorm {
  private final LayerNorm norm;

  private AddNorm(LayerNorm norm) {
    this.norm = norm;
  }

  /**
   * Makes the connection.
   *
   * @param norm what is applied to the sum
   * @return the connection
   */
  public static AddNorm of(LayerNorm norm) {
    return new AddNorm(Objects.requireNonNull(norm, "norm"));
  }

  /**
   * Reads {@code ln.weight} and {@code ln.bias}; the norm is over as many of the last dimensions as
   * they have, with an epsilon of 10⁻⁵.
   *
   * @param file contains the tensors, and under the prefix no others
   * @param prefix what their names begin with, for example {@code "encoder.blks.block0.addnorm1."}
   * @param arena for copies of weights that are not F32 or are misaligned in the file
   * @return the connection
   * @throws IllegalArgumentException if a tensor is missing or unknown, or the shapes differ
   * @throws OutOfMemoryError if there is no memory for a copy
   */
  public static AddNorm load(SafeTensors file, String prefix, Arena arena) {
    Weights weights = new Weights(file, prefix, arena);
    AddNorm addNorm = of(LayerNorm.of(weights.get("ln.weight"), weights.get("ln.bias")));
    weights.requireAllRead();
    return addNorm;
  }

  /**
   * Adds and normalises.
   *
   * @param x {@code [..., dim]}, rows equally spaced, at least within each index of the first
   *     dimension. Not modified, unless it is out.
   * @param y of the same shape, likewise. Not modified, unless it is out.
   * @param out of the same shape, likewise; may be x or y. Modified.
   * @throws IllegalArgumentException if types, shapes, strides or alignment do not fit, or out is
   *     read-only or overlaps x or y without being the same view, or a weight
   */
  public void forward(Tensor x, Tensor y, Tensor out) {
    Checks.hasRows("x", x);
    Checks.hasRows("y", y);
    Checks.hasRows("out", out);
    Elementwise.scaleAdd(x, 1, y, out);
    norm.forward(out, out);
  }
}
