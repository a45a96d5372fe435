package io.github.attention4j.layer;

import io.github.attention4j.Tensor;
import io.github.attention4j.internal.Checks;
import io.github.attention4j.internal.Scratch;
import java.util.Objects;

/**
 * The gated feed-forward network (Shazeer, "GLU Variants Improve Transformer", 2020):
 *
 * <pre>
 *   out = down(silu(gate(x)) · up(x)),   silu(a) = a · sigmoid(a)
 * </pre>
 *
 * <p>The hidden rows are F32.
 */
public final class SwiGlu {
  /** Includes the activation. */
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
   * @throws IllegalArgumentException if the widths do not fit, or gate has an activation of its own
   */
  public static SwiGlu of(Linear gate, Linear up, Linear down) {
    Objects.requireNonNull(gate, "gate");
    Objects.requireNonNull(up, "up");
    Objects.requireNonNull(down, "down");
    Checks.equal("up.dimIn", up.dimIn(), "gate.dimIn", gate.dimIn());
    Checks.equal("up.dimOut", up.dimOut(), "gate.dimOut", gate.dimOut());
    Checks.equal("down.dimIn", down.dimIn(), "gate.dimOut", gate.dimOut());
    gate.requireNoActivation("gate");
    return new SwiGlu(gate.withActivation(Activation.SILU), up, down);
  }

  /**
   * Applies the network to each row.
   *
   * @param x {@code [..., dim]}, rows evenly spaced. Not modified.
   * @param out {@code [..., dim]}, with as many rows. Modified.
   * @throws IllegalArgumentException if types, sizes, strides or alignment do not fit, or out is
   *     read-only or overlaps x or a weight
   * @throws OutOfMemoryError if there is no memory for the hidden rows
   */
  public void forward(Tensor x, Tensor out) {
    run(x, out, false);
  }

  /**
   * Applies the network to each row and adds the result to what {@code out} holds.
   *
   * @param x {@code [..., dim]}, rows evenly spaced. Not modified.
   * @param out {@code [..., dim]}, with as many rows. Modified.
   * @throws IllegalArgumentException if types, sizes, strides or alignment do not fit, or out is
   *     read-only or overlaps x or a weight
   * @throws OutOfMemoryError if there is no memory for the hidden rows
   */
  public void forwardAdd(Tensor x, Tensor out) {
    run(x, out, true);
  }

  private void run(Tensor x, Tensor out, boolean add) {
    Checks.hasRows("x", x);
    try (Scratch scratch = new Scratch()) {
      Tensor hidden = scratch.room(Checks.rows(x), up.dimOut());
      up.forward(x, hidden);
      gate.forwardMultiply(x, hidden);
      if (add) {
        down.forwardAdd(hidden, out);
      } else {
        down.forward(hidden, out);
      }
    }
  }

  /**
   * Computes only the gating: {@code out = silu(gate) · up}, element by element.
   *
   * @param gate {@code [..., dim]}, rows evenly spaced. Not modified, unless it is out.
   * @param up of the same shape, likewise. Not modified, unless it is out.
   * @param out of the same shape, likewise; may be gate or up. Modified.
   * @throws IllegalArgumentException if types, shapes, strides or alignment do not fit, or out is
   *     read-only, or overlaps gate or up without being the same view
   */
  public static void multiply(Tensor gate, Tensor up, Tensor out) {
    Activation.SILU.gate(gate, up, out);
  }
}
