package io.github.attention4j.layer;

import io.github.attention4j.A4j;
import io.github.attention4j.Tensor;
import io.github.attention4j.internal.Checks;
import io.github.attention4j.internal.Descriptor;
import io.github.attention4j.internal.Downcalls;
import io.github.attention4j.internal.Workspaces;
import java.lang.foreign.MemorySegment;
import java.util.Objects;

/**
 * RMS normalisation (Zhang and Sennrich, "Root Mean Square Layer Normalization", 2019), row by row:
 *
 * <pre>
 *   out = x / sqrt(mean(x²) + epsilon) · weight · scale
 * </pre>
 *
 * <p>All tensors are {@link io.github.attention4j.DType#F32}. Safe for any number of threads.
 */
public final class RmsNorm {
  private final Tensor weight;
  private final float epsilon;
  private final float scale;

  private RmsNorm(Tensor weight, float epsilon, float scale) {
    this.weight = weight;
    this.epsilon = epsilon;
    this.scale = scale;
  }

  /**
   * Makes a norm with learned weights.
   *
   * @param weight {@code [dim]}, contiguous. Kept, not modified.
   * @param epsilon what is added to the mean of squares, finite and not negative
   * @return the norm, with scale 1
   * @throws IllegalArgumentException if type, rank, strides or alignment do not fit, or epsilon is
   *     negative, infinite or NaN
   * @throws IllegalStateException if the tensor's arena is closed or confined to another thread
   */
  public static RmsNorm of(Tensor weight, double epsilon) {
    Checks.rank("weight", Objects.requireNonNull(weight, "weight"), 1);
    Checks.input("weight", weight);
    Checks.contiguous("weight", weight);
    return new RmsNorm(weight, checkEpsilon(epsilon), 1f);
  }

  /**
   * Makes a norm whose weights are all 1, for rows of any width.
   *
   * @param epsilon what is added to the mean of squares, finite and not negative
   * @return the norm, with scale 1
   * @throws IllegalArgumentException if epsilon is negative, infinite or NaN
   */
  public static RmsNorm withoutWeight(double epsilon) {
    return new RmsNorm(null, checkEpsilon(epsilon), 1f);
  }

  /**
   * Returns the same norm with another factor, such as {@code 1 − λ_init} behind differential
   * attention.
   *
   * @param scale multiplies each element of the result; finite
   * @return a new norm
   * @throws IllegalArgumentException if the scale is infinite or NaN
   */
  public RmsNorm withScale(double scale) {
    if (!Float.isFinite((float) scale)) {
      throw new IllegalArgumentException("scale must be a finite float: scale=" + scale);
    }
    return new RmsNorm(weight, epsilon, (float) scale);
  }

  /**
   * Normalises each row.
   *
   * @param x {@code [..., dim]}, of any rank, all dimensions but the last forming rows at one
   *     distance, at least within each index of the first. Not modified, unless it is out.
   * @param out of the same shape, likewise; may be x. Modified.
   * @throws IllegalArgumentException if types, sizes, strides or alignment do not fit, or out is
   *     read-only or overlaps the weight, or x in any other way than being it
   * @throws IllegalStateException if a tensor's arena is closed or confined to another thread
   * @throws io.github.attention4j.AttentionException if the native library is not to be had
   */
  public void forward(Tensor x, Tensor out) {
    Rows.check("x", x);
    Rows.check("out", out);
    Checks.input("x", x);
    Checks.output("out", out);
    long dim = x.size(-1);
    Checks.positive("x.dim", dim);
    Checks.equal("out.dim", out.size(-1), "x.dim", dim);
    long rows = Checks.rows(x);
    Checks.equal("out.rows", Checks.rows(out), "x.rows", rows);
    Checks.sameOrDisjoint("out", out, "x", x);
    if (weight != null) {
      Checks.equal("weight.dim", weight.size(0), "x.dim", dim);
      Checks.reachable("weight", weight);
      Checks.disjoint("out", out, "weight", weight);
    }
    if (rows == 0) {
      return;
    }
    if (Rows.needSplitting(x, out)) {
      for (long i = 0; i < x.size(0); i++) {
        forward(x.select(0, i), out.select(0, i));
      }
      return;
    }
    long xStrideRow = Checks.rowStride("x", x);
    long outStrideRow = Checks.rowStride("out", out);
    try (Workspaces.Lease lease = Workspaces.lease()) {
      MemorySegment d =
          Descriptor.rmsNorm(
              lease, A4j.threads(), rows, dim, xStrideRow, outStrideRow, epsilon, scale);
      Downcalls.rmsNorm(d, Checks.first(x), Checks.firstOrNull(weight), Checks.first(out));
    }
  }

  private static float checkEpsilon(double epsilon) {
    if (!(epsilon >= 0) || !Float.isFinite((float) epsilon)) {
      throw new IllegalArgumentException(
          "epsilon must be a finite float and not negative: epsilon=" + epsilon);
    }
    return (float) epsilon;
  }
}
