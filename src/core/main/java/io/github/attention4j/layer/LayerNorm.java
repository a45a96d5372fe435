package io.github.attention4j.layer;

import io.github.attention4j.A4j;
import io.github.attention4j.DType;
import io.github.attention4j.Tensor;
import io.github.attention4j.internal.Checks;
import io.github.attention4j.internal.Descriptor;
import io.github.attention4j.internal.Downcalls;
import io.github.attention4j.internal.Workspaces;
import java.lang.foreign.MemorySegment;
import java.util.Arrays;

/**
 * Layer normalisation (Ba et al., "Layer Normalization", 2016), row by row:
 *
 * <pre>
 *   out = (x − mean(x)) / sqrt(variance(x) + epsilon) · weight + bias
 * </pre>
 *
 * <p>The variance is the biased one, the mean of the squared deviations, and is accurate even if
 * the mean is far from 0. A row is the last dimension or, if weight and bias have a higher rank or
 * {@link #withAxis} says so, several of the last dimensions taken as one, as in PyTorch's {@code
 * nn.LayerNorm} and ONNX LayerNormalization.
 *
 * <pre>{@code
 * LayerNorm norm = LayerNorm.of(weight, bias);
 * norm.forward(x, x); // in place
 * }</pre>
 *
 * <p>Rows of {@link DType#BF16} and {@link DType#F16} have at most 16 384 elements. All tensors
 * other than x and out are {@link DType#F32}.
 */
public final class LayerNorm {
  /** The default epsilon of PyTorch and ONNX, 1e-5. */
  public static final double DEFAULT_EPSILON = 1e-5;

  private final Tensor weight;
  private final Tensor bias;
  private final float epsilon;
  private final int axis;

  private LayerNorm(Tensor weight, Tensor bias, float epsilon, int axis) {
    this.weight = weight;
    this.bias = bias;
    this.epsilon = epsilon;
    this.axis = axis;
  }

  /**
   * Makes a norm with {@link #DEFAULT_EPSILON}.
   *
   * @param weight {@code [dim]}, or the shape of the last dimensions that form a row; contiguous;
   *     null for ones. Kept, not modified.
   * @param bias likewise; null for zeros. Kept, not modified.
   * @return the norm
   * @throws IllegalArgumentException if types, ranks, shapes, strides or alignment do not fit
   */
  public static LayerNorm of(Tensor weight, Tensor bias) {
    return of(weight, bias, DEFAULT_EPSILON);
  }

  /**
   * Makes a norm.
   *
   * @param weight {@code [dim]}, or the shape of the last dimensions that form a row; contiguous;
   *     null for ones. Kept, not modified.
   * @param bias likewise; null for zeros. Kept, not modified.
   * @param epsilon added to the variance, finite and not negative
   * @return the norm
   * @throws IllegalArgumentException if types, ranks, shapes, strides or alignment do not fit, or
   *     epsilon is negative, infinite or NaN
   */
  public static LayerNorm of(Tensor weight, Tensor bias, double epsilon) {
    int dims = 1;
    if (weight != null) {
      NormAxis.checkParameter("weight", weight);
      dims = weight.rank();
    }
    if (bias != null) {
      NormAxis.checkParameter("bias", bias);
      dims = bias.rank();
    }
    if (weight != null && bias != null) {
      Checks.shape("bias", bias, "the shape of weight", weight.shape());
    }
    return new LayerNorm(weight, bias, Checks.epsilon(epsilon), -dims);
  }

  /**
   * Returns this norm with rows that start at another dimension. By default, rows have as many
   * dimensions as weight and bias, or only the last one.
   *
   * @param axis the first dimension of a row; negative counts from the end, so that -1 is the last
   * @return a new norm
   */
  public LayerNorm withAxis(int axis) {
    return new LayerNorm(weight, bias, epsilon, axis);
  }

  /**
   * Normalises each row.
   *
   * @param x {@code [..., dim]}, of any rank; the elements of a row contiguous, and rows evenly
   *     spaced, at least within each index of the first dimension. Not modified, unless it is out.
   * @param out of the same shape, likewise; may be x. Modified.
   * @throws IllegalArgumentException if types, shapes, strides or alignment do not fit, x has no
   *     such axis, or out is read-only, or overlaps weight, bias or, unless it is x, x
   */
  public void forward(Tensor x, Tensor out) {
    forward(x, out, null, null);
  }

  /**
   * Normalises each row, and writes the statistics that it was normalised with.
   *
   * @param x as in {@link #forward(Tensor, Tensor)}. Not modified, unless it is out.
   * @param out of the same shape; may be x. Modified.
   * @param mean each row's mean: the shape of x with 1 for each dimension of a row, contiguous; or
   *     null. Modified.
   * @param invStdDev each row's {@code 1 / sqrt(variance + epsilon)}, likewise; or null. Modified.
   * @throws IllegalArgumentException as {@link #forward(Tensor, Tensor)}, and if mean or invStdDev
   *     does not fit, is read-only, or overlaps another tensor
   */
  public void forward(Tensor x, Tensor out, Tensor mean, Tensor invStdDev) {
    Checks.hasRows("x", x);
    Checks.hasRows("out", out);
    Checks.realInput("x", x);
    Checks.realOutput("out", out);
    Checks.shape("out", out, "the shape of x", x.shape());
    int first = NormAxis.first(axis, x);
    checkParameter("weight", weight, x, first, out);
    checkParameter("bias", bias, x, first, out);
    Checks.sameOrDisjoint("out", out, "x", x);
    checkStatistic("mean", mean, x, first, out);
    checkStatistic("invStdDev", invStdDev, x, first, out);
    if (mean != null && invStdDev != null) {
      Checks.disjoint("invStdDev", invStdDev, "mean", mean);
    }
    Tensor flat = NormAxis.flat("x", x, first);
    Checks.positive("x.dim", flat.size(-1));
    Checks.shortRow("x", x, flat.size(-1));
    Checks.shortRow("out", out, flat.size(-1));
    if (x.count() == 0) {
      return;
    }
    long[] rows = Arrays.copyOf(x.shape(), first);
    run(
        flat,
        NormAxis.flat("out", out, first),
        mean == null ? null : mean.reshape(rows),
        invStdDev == null ? null : invStdDev.reshape(rows));
  }

  private static void checkParameter(
      String name, Tensor parameter, Tensor x, int first, Tensor out) {
    if (parameter != null) {
      NormAxis.checkFits(name, parameter, x, first);
      Checks.reachable(name, parameter);
      Checks.disjoint("out", out, name, parameter);
    }
  }

  private void checkStatistic(String name, Tensor statistic, Tensor x, int first, Tensor out) {
    if (statistic == null) {
      return;
    }
    Checks.output(name, statistic);
    long[] shape = x.shape();
    Arrays.fill(shape, first, shape.length, 1);
    Checks.shape(name, statistic, "the shape of x with 1 from dimension " + first + " on", shape);
    Checks.contiguous(name, statistic);
    Checks.disjoint(name, statistic, "x", x);
    Checks.disjoint(name, statistic, "out", out);
    if (weight != null) {
      Checks.disjoint(name, statistic, "weight", weight);
    }
    if (bias != null) {
      Checks.disjoint(name, statistic, "bias", bias);
    }
  }

  /** Rows are the last dimension of x and out; mean and invStdDev have all others. */
  private void run(Tensor x, Tensor out, Tensor mean, Tensor invStdDev) {
    if (Rows.needSplitting(x, out)) {
      for (long i = 0; i < x.size(0); i++) {
        run(
            x.select(0, i),
            out.select(0, i),
            mean == null ? null : mean.select(0, i),
            invStdDev == null ? null : invStdDev.select(0, i));
      }
      return;
    }
    long xStrideRow = Checks.rowStride("x", x);
    long outStrideRow = Checks.rowStride("out", out);
    try (Workspaces.Lease lease = Workspaces.lease()) {
      MemorySegment d =
          Descriptor.layerNorm(
              lease,
              A4j.threads(),
              x.dtype(),
              out.dtype(),
              Checks.rows(x),
              x.size(-1),
              xStrideRow,
              outStrideRow,
              epsilon);
      Downcalls.layerNorm(
          d,
          Checks.first(x),
          Checks.firstOrNull(weight),
          Checks.firstOrNull(bias),
          Checks.first(out),
          Checks.firstOrNull(mean),
          Checks.firstOrNull(invStdDev));
    }
  }
}
