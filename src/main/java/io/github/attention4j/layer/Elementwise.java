package io.github.attention4j.layer;

import io.github.attention4j.A4j;
import io.github.attention4j.Tensor;
import io.github.attention4j.internal.Checks;
import io.github.attention4j.internal.Descriptor;
import io.github.attention4j.internal.Downcalls;
import io.github.attention4j.internal.Workspaces;
import java.lang.foreign.MemorySegment;

/** What layers do element by element, on tensors whose rows lie as {@link Rows} has it. */
final class Elementwise {
  private Elementwise() {}

  /** {@code out = max(x, 0)}; out may be x. */
  static void relu(Tensor x, Tensor out) {
    Checks.shape("out", out, "the shape of x", x.shape());
    Checks.sameOrDisjoint("out", out, "x", x);
    run(Descriptor.RELU, x, 1, null, out);
  }

  /** {@code out = scale · x + y}; out may be x or y. */
  static void scaleAdd(Tensor x, float scale, Tensor y, Tensor out) {
    Checks.input("x", x);
    Checks.input("y", y);
    Checks.output("out", out);
    Checks.shape("y", y, "the shape of x", x.shape());
    Checks.shape("out", out, "the shape of x", x.shape());
    Checks.sameOrDisjoint("out", out, "x", x);
    Checks.sameOrDisjoint("out", out, "y", y);
    run(Descriptor.SCALE_ADD, x, scale, y, out);
  }

  private static void run(int operation, Tensor x, float scale, Tensor y, Tensor out) {
    if (out.count() == 0) {
      return;
    }
    if (Rows.needSplitting(x, out) || (y != null && Rows.needSplitting(y, out))) {
      for (long i = 0; i < x.size(0); i++) {
        Tensor part = y == null ? null : y.select(0, i);
        run(operation, x.select(0, i), scale, part, out.select(0, i));
      }
      return;
    }
    long xStrideRow = Checks.rowStride("x", x);
    long yStrideRow = y == null ? 0 : Checks.rowStride("y", y);
    long outStrideRow = Checks.rowStride("out", out);
    try (Workspaces.Lease lease = Workspaces.lease()) {
      MemorySegment d =
          Descriptor.elementwise(
              lease,
              A4j.threads(),
              operation,
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
