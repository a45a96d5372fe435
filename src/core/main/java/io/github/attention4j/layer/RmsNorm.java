package io.github.attention4j.layer;

import io.github.attention4j.A4j;
import io.github.attention4j.Tensor;
import io.github.attention4j.internal.Checks;
import io.github.attention4j.internal.Descriptor;
import io.github.attention4j.internal.Downcalls;
import io.github.attention4j.internal.Workspaces;
import java.lang.foreign.MemorySegment;

/**
 * RMS normalisation (Zhang and Sennrich, "Root Mean Square Layer Normalization", 2019), row by row:
 *
 * <pre>
 *   out = x / sqrt(mean(x²) + epsilon) · weight · scale
 * </pre>
 *
 * <p>A row is the last dimension or, if the weight has a higher rank or {@link #withAxis} says so,
 * several of the last dimensions taken as one; ONNX RMSNormalization computes the same.
 *
 * <p>Rows of {@link io.github.attention4j.DType#BF16} and {@link io.github.attention4j.DType#F16}
 * have at most 16 384 elements. The weight is F32.
 */
public final class RmsNorm {
  private final Tensor weight;
  private final float epsilon;
  private final float scale;
  private final int axis;

  private RmsNorm(Tensor weight, float epsilon, float scale, int axis) {
    this.weight = weight;
    this.epsilon = epsilon;
    this.scale = scale;
    this.axis = axis;
  }

  /**
   * Makes a norm with learned weights.
   *
   * @param weight {@code [dim]}, or the shape of the last dimensions that form a row; contiguous.
   *     Kept, not modified.
   * @param epsilon added to the mean of squares, finite and not negative
   * @return the norm, with scale 1
   * @throws IllegalArgumentException if type, rank, strides or alignment do not fit, or epsilon is
   *     negative, infinite or NaN
   */
  public static RmsNorm of(Tensor weight, double epsilon) {
    NormAxis.checkParameter("weight", weight);
    return new RmsNorm(weight, Checks.epsilon(epsilon), 1f, -weight.rank());
  }

  /**
   * Makes a norm whose weights are all 1, for rows of any width.
   *
   * @param epsilon added to the mean of squares, finite and not negative
   * @return the norm, with scale 1
   * @throws IllegalArgumentException if epsilon is negative, infinite or NaN
   */
  public static RmsNorm withoutWeight(double epsilon) {
    return new RmsNorm(null, Checks.epsilon(epsilon), 1f, -1);
  }

  /**
   * Returns this norm with another scale, such as {@code 1 − λ_init} after differential attention.
   *
   * @param scale multiplies each element of the result; finite
   * @return a new norm
   * @throws IllegalArgumentException if the scale is infinite or NaN
   */
  public RmsNorm withScale(double scale) {
    return new RmsNorm(weight, epsilon, Checks.finite("scale", scale), axis);
  }

  /**
   * Returns this norm with rows that start at another dimension. By default, rows have as many
   * dimensions as the weight, or only the last one.
   *
   * @param axis the first dimension of a row; negative counts from the end, so that -1 is the last
   * @return a new norm
   */
  public RmsNorm withAxis(int axis) {
    return new RmsNorm(weight, epsilon, scale, axis);
  }

  /**
   * Normalises each row.
   *
   * @param x {@code [..., dim]}, of any rank; the elements of a row contiguous, and rows evenly
   *     spaced, at least within each index of the first dimension. Not modified, unless it is out.
   * @param out of the same shape, likewise; may be x. Modified.
   * @throws IllegalArgumentException if types, sizes, strides or alignment do not fit, x has no
   *     such axis, or out is read-only, or overlaps the weight or, unless it is x, x
   */
  public void forward(Tensor x, Tensor out) {
    Checks.hasRows("x", x);
    Checks.hasRows("out", out);
    Checks.realInput("x", x);
    Checks.realOutput("out", out);
    int first = NormAxis.first(axis, x);
    if (first < x.rank() - 1) {
      Checks.shape("out", out, "the shape of x", x.shape());
    }
    if (weight != null) {
      NormAxis.checkFits("weight", weight, x, first);
      Checks.reachable("weight", weight);
      Checks.disjoint("out", out, "weight", weight);
    }
    Checks.sameOrDisjoint("out", out, "x", x);
    if (first < x.rank() - 1) {
      run(NormAxis.flat("x", x, first), NormAxis.flat("out", out, first));
    } else {
      run(x, out);
    }
  }

  /** Rows are the last dimension. */
  private void run(Tensor x, Tensor out) {
    long dim = x.size(-1);
    Checks.positive("x.dim", dim);
    Checks.shortRow("x", x, dim);
    Checks.shortRow("out", out, dim);
    Checks.equal("out.dim", out.size(-1), "x.dim", dim);
    long rows = Checks.rows(x);
    Checks.equal("out.rows", Checks.rows(out), "x.rows", rows);
    if (rows == 0) {
      return;
    }
    if (Rows.needSplitting(x, out)) {
      for (long i = 0; i < x.size(0); i++) {
        run(x.select(0, i), out.select(0, i));
      }
      return;
    }
    long xStrideRow = Checks.rowStride("x", x);
    long outStrideRow = Checks.rowStride("out", out);
    try (Workspaces.Lease lease = Workspaces.lease()) {
      MemorySegment d =
          Descriptor.rmsNorm(
              lease,
              A4j.threads(),
              x.dtype(),
              out.dtype(),
              rows,
              dim,
              xStrideRow,
              outStrideRow,
              epsilon,
              scale);
      Downcalls.rmsNorm(d, Checks.first(x), Checks.firstOrNull(weight), Checks.first(out));
    }
  }
}
