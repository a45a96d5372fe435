package io.github.attention4j.layer;

import io.github.attention4j.A4j;
import io.github.attention4j.Tensor;
import io.github.attention4j.internal.Checks;
import io.github.attention4j.internal.Descriptor;
import io.github.attention4j.internal.Downcalls;
import io.github.attention4j.internal.Scratch;
import io.github.attention4j.internal.Workspaces;
import java.lang.foreign.MemorySegment;
import java.util.Objects;

/**
 * The gated feed-forward network (Shazeer, "GLU Variants Improve Transformer", 2020):
 *
 * <pre>
 *   out = down(silu(gate(x)) · up(x)),   silu(a) = a · sigmoid(a)
 * </pre>
 *
 * <p>All tensors are {@link io.github.attention4j.DType#F32}. Safe for any number of threads.
 */
public final class SwiGlu {
  private final Linear gate;
  private final Linear up;
  private final Linear down;

  private SwiGlu(Linear gate, Linear up, Linear down) {
    this.gate = gate;
    this.up = up;
    this.down = down;
  }

  /**
   * Makes a network of three projections.
   *
   * @param gate from dim to the hidden width
   * @param up from dim to the hidden width
   * @param down from the hidden width to dim
   * @return the network
   * @throws IllegalArgumentException if the widths do not fit
   */
  public static SwiGlu of(Linear gate, Linear up, Linear down) {
    Objects.requireNonNull(gate, "gate");
    Objects.requireNonNull(up, "up");
    Objects.requireNonNull(down, "down");
    Checks.equal("up.dimIn", up.dimIn(), "gate.dimIn", gate.dimIn());
    Checks.equal("up.dimOut", up.dimOut(), "gate.dimOut", gate.dimOut());
    Checks.equal("down.dimIn", down.dimIn(), "gate.dimOut", gate.dimOut());
    return new SwiGlu(gate, up, down);
  }

  /**
   * Applies the network to each row.
   *
   * @param x {@code [..., dim]}, rows at one distance. Not modified.
   * @param out {@code [..., dim]}, with as many rows. Modified.
   * @throws IllegalArgumentException if types, sizes, strides or alignment do not fit, or out is
   *     read-only or overlaps x or a weight
   * @throws IllegalStateException if a tensor's arena is closed or confined to another thread
   * @throws OutOfMemoryError if there is no memory for the hidden rows
   * @throws io.github.attention4j.AttentionException if the native library or a BLAS is not to be
   *     had
   */
  public void forward(Tensor x, Tensor out) {
    run(x, out, false);
  }

  /**
   * Applies the network to each row and adds the result to what {@code out} holds.
   *
   * @param x {@code [..., dim]}, rows at one distance. Not modified.
   * @param out {@code [..., dim]}, with as many rows. Modified.
   * @throws IllegalArgumentException if types, sizes, strides or alignment do not fit, or out is
   *     read-only or overlaps x or a weight
   * @throws IllegalStateException if a tensor's arena is closed or confined to another thread
   * @throws OutOfMemoryError if there is no memory for the hidden rows
   * @throws io.github.attention4j.AttentionException if the native library or a BLAS is not to be
   *     had
   */
  public void forwardAdd(Tensor x, Tensor out) {
    run(x, out, true);
  }

  private void run(Tensor x, Tensor out, boolean add) {
    Rows.check("x", x);
    try (Scratch scratch = new Scratch()) {
      long rows = Checks.rows(x);
      Tensor gated = scratch.room(rows, gate.dimOut());
      Tensor upper = scratch.room(rows, up.dimOut());
      gate.forward(x, gated);
      up.forward(x, upper);
      multiply(gated, upper, gated);
      if (add) {
        down.forwardAdd(gated, out);
      } else {
        down.forward(gated, out);
      }
    }
  }

  /**
   * Computes the gating alone: {@code out = silu(gate) · up}, element by element.
   *
   * @param gate {@code [..., dim]}, rows at one distance. Not modified, unless it is out.
   * @param up of the same shape, likewise. Not modified, unless it is out.
   * @param out of the same shape, likewise; may be gate or up. Modified.
   * @throws IllegalArgumentException if types, shapes, strides or alignment do not fit, or out is
   *     read-only or overlaps gate or up in any other way than being it
   * @throws IllegalStateException if a tensor's arena is closed or confined to another thread
   * @throws io.github.attention4j.AttentionException if the native library is not to be had
   */
  public static void multiply(Tensor gate, Tensor up, Tensor out) {
    Rows.check("gate", gate);
    Rows.check("up", up);
    Rows.check("out", out);
    Checks.input("gate", gate);
    Checks.input("up", up);
    Checks.output("out", out);
    Checks.shape("up", up, "the shape of gate", gate.shape());
    Checks.shape("out", out, "the shape of gate", gate.shape());
    long gateStrideRow = Checks.rowStride("gate", gate);
    long upStrideRow = Checks.rowStride("up", up);
    long outStrideRow = Checks.rowStride("out", out);
    Checks.sameOrDisjoint("out", out, "gate", gate);
    Checks.sameOrDisjoint("out", out, "up", up);
    if (out.count() == 0) {
      return;
    }
    try (Workspaces.Lease lease = Workspaces.lease()) {
      MemorySegment d =
          Descriptor.swiGlu(
              lease,
              A4j.threads(),
              Checks.rows(out),
              out.size(-1),
              gateStrideRow,
              upStrideRow,
              outStrideRow);
      Downcalls.swiGlu(d, Checks.first(gate), Checks.first(up), Checks.first(out));
    }
  }
}
