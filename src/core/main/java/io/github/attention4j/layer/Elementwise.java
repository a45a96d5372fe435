package io.github.attention4j.layer;

import io.github.attention4j.A4j;
import io.github.attention4j.Tensor;
import io.github.attention4j.internal.Checks;
import io.github.attention4j.internal.Descriptor;
import io.github.attention4j.internal.Downcalls;
import io.github.attention4j.internal.Workspaces;
import java.lang.foreign.MemorySegment;

/**
 * Sums and products of tensors, element by element. Activations are in {@link Activation}.
 *
 * <p>All tensors of a call have one shape, {@code [..., dim]}, with evenly spaced rows, at least
 * within each index of the first dimension. The output may be one of the inputs.
 */
public final class Elementwise {
  private Elementwise() {}

  /**
   * Adds: {@code out = x + y}, as a residual connection does.
   *
   * @param x one term. Not modified, unless it is out.
   * @param y the other. Not modified, unless it is out.
   * @param out the sum; may be x or y. Modified.
   * @throws IllegalArgumentException if types, shapes, strides or alignment do not fit, or out is
   *     read-only or overlaps an input without being it
   */
  public static void add(Tensor x, Tensor y, Tensor out) {
    scaleAdd(x, 1, y, out);
  }

  /**
   * Adds a multiple: {@code out = scale · x + y}.
   *
   * @param x the term that is scaled. Not modified, unless it is out.
   * @param scale its factor, finite
   * @param y the other term. Not modified, unless it is out.
   * @param out the sum; may be x or y. Modified.
   * @throws IllegalArgumentException if scale is not finite, types, shapes, strides or alignment do
   *     not fit, or out is read-only or overlaps an input without being it
   */
  public static void scaleAdd(Tensor x, float scale, Tensor y, Tensor out) {
    if (!Float.isFinite(scale)) {
      throw new IllegalArgumentException("scale must be finite: scale=" + scale);
    }
    run(Activation.IDENTITY, Descriptor.ADD, "x", x, scale, "y", y, out);
  }

  /**
   * Multiplies: {@code out = x · y}.
   *
   * @param x one factor. Not modified, unless it is out.
   * @param y the other. Not modified, unless it is out.
   * @param out the product; may be x or y. Modified.
   * @throws IllegalArgumentException if types, shapes, strides or alignment do not fit, or out is
   *     read-only or overlaps an input without being it
   */
  public static void multiply(Tensor x, Tensor y, Tensor out) {
    run(Activation.IDENTITY, Descriptor.MULTIPLY, "x", x, 1, "y", y, out);
  }

  /** {@code out = combine(y, activation(x))}; y is null where out is only set. */
  static void run(
      Activation activation,
      int combine,
      String nameX,
      Tensor x,
      float scale,
      String nameY,
      Tensor y,
      Tensor out) {
    Checks.hasRows(nameX, x);
    Checks.hasRows("out", out);
    Checks.realInput(nameX, x);
    Checks.realOutput("out", out);
    Checks.shape("out", out, "the shape of " + nameX, x.shape());
    Checks.sameOrDisjoint("out", out, nameX, x);
    if (combine != Descriptor.SET) {
      Checks.hasRows(nameY, y);
      Checks.realInput(nameY, y);
      Checks.shape(nameY, y, "the shape of " + nameX, x.shape());
      Checks.sameOrDisjoint("out", out, nameY, y);
    }
    call(activation.code(), combine, nameX, x, scale, nameY, y, out);
  }

  private static void call(
      int activation,
      int combine,
      String nameX,
      Tensor x,
      float scale,
      String nameY,
      Tensor y,
      Tensor out) {
    if (out.count() == 0) {
      return;
    }
    if (Rows.needSplitting(x, out) || (y != null && Rows.needSplitting(y, out))) {
      for (long i = 0; i < x.size(0); i++) {
        Tensor part = y == null ? null : y.select(0, i);
        call(activation, combine, nameX, x.select(0, i), scale, nameY, part, out.select(0, i));
      }
      return;
    }
    long xStrideRow = Checks.rowStride(nameX, x);
    long yStrideRow = y == null ? 0 : Checks.rowStride(nameY, y);
    long outStrideRow = Checks.rowStride("out", out);
    try (Workspaces.Lease lease = Workspaces.lease()) {
      MemorySegment d =
          Descriptor.elementwise(
              lease,
              A4j.threads(),
              x.dtype(),
              y == null ? x.dtype() : y.dtype(),
              out.dtype(),
              activation,
              combine,
              scale,
              Checks.rows(out),
              out.size(-1),
              xStrideRow,
              yStrideRow,
              outStrideRow);
      Downcalls.elementwise(d, Checks.first(x), Checks.firstOrNull(y), Checks.first(out));
    }
  }
}
