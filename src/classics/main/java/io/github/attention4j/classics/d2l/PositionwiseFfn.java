package io.github.attention4j.classics.d2l;

import io.github.attention4j.Tensor;
import io.github.attention4j.internal.Checks;
import io.github.attention4j.internal.Scratch;
import io.github.attention4j.internal.Weights;
import io.github.attention4j.io.SafeTensors;
import io.github.attention4j.layer.Activation;
import io.github.attention4j.layer.Linear;
import java.lang.foreign.Arena;
import java.util.Arrays;
import java.util.Objects;

/**
 * The position-wise feed-forward network of "Attention Is All You Need" (Vaswani et al., 2017,
 * section 3.3), {@code PositionWiseFFN} of "Dive into Deep Learning":
 *
 * <pre>
 *   out = dense2(max(0, dense1(x)))
 * </pre>
 *
 * <p>All tensors are {@link io.github.attention4j.DType#F32}.
 */
public final class PositionwiseFfn {
  /**
   * Rows processed at a time: enough for the products to run at full speed, few enough for the
   * hidden rows to stay in the last-level cache.
   */
  private static final long ROWS = 512;

  /** With its activation. */
  private final Linear dense1;

  private final Linear dense2;

  private PositionwiseFfn(Linear dense1, Linear dense2) {
    this.dense1 = dense1;
    this.dense2 = dense2;
  }

  /**
   * Makes a network from two projections.
   *
   * @param dense1 to the hidden width
   * @param dense2 from the hidden width
   * @return the network
   * @throws IllegalArgumentException if the hidden widths differ, or dense1 has an activation of
   *     its own
   */
  public static PositionwiseFfn of(Linear dense1, Linear dense2) {
    Objects.requireNonNull(dense1, "dense1");
    Objects.requireNonNull(dense2, "dense2");
    Checks.equal("dense2.dimIn", dense2.dimIn(), "dense1.dimOut", dense1.dimOut());
    if (dense1.activation() != Activation.IDENTITY) {
      throw new IllegalArgumentException(
          "dense1.activation must be IDENTITY, the layer adds its own: dense1.activation="
              + dense1.activation());
    }
    return new PositionwiseFfn(dense1.withActivation(Activation.RELU), dense2);
  }

  /**
   * Reads {@code dense1} and {@code dense2}, each with {@code .weight} and, optionally, {@code
   * .bias}.
   *
   * @param file contains the tensors, and under the prefix no others
   * @param prefix what their names begin with, for example {@code "encoder.blks.block0.ffn."}
   * @param arena for copies of weights that are not F32 or are misaligned in the file
   * @return the network
   * @throws IllegalArgumentException if a tensor is missing or unknown, or the shapes do not match
   *     each other
   * @throws OutOfMemoryError if there is no memory for a copy
   */
  public static PositionwiseFfn load(SafeTensors file, String prefix, Arena arena) {
    Weights weights = new Weights(file, prefix, arena);
    PositionwiseFfn ffn =
        of(weights.linear("dense1", "dense1.bias"), weights.linear("dense2", "dense2.bias"));
    weights.requireAllRead();
    return ffn;
  }

  /**
   * Returns the input width.
   *
   * @return the width of x
   */
  public long dimIn() {
    return dense1.dimIn();
  }

  /**
   * Returns the width of the result.
   *
   * @return the width of out
   */
  public long dimOut() {
    return dense2.dimOut();
  }

  /**
   * Applies the network to each row.
   *
   * @param x {@code [..., dimIn]}; equally spaced rows. Not modified.
   * @param out {@code [..., dimOut]}, with as many rows. Modified.
   * @throws IllegalArgumentException if types, sizes, strides or alignment do not fit, or out is
   *     read-only or overlaps x or a weight
   * @throws OutOfMemoryError if there is no memory for the hidden rows
   */
  public void forward(Tensor x, Tensor out) {
    Checks.hasRows("x", x);
    Checks.hasRows("out", out);
    Checks.output("out", out);
    Checks.disjoint("out", out, "x", x);
    while (x.rank() > 2 && x.size(0) == 1 && sameRows(x, out)) {
      x = x.select(0, 0);
      out = out.select(0, 0);
    }
    long count = x.rank() > 1 && sameRows(x, out) ? x.size(0) : 0;
    long most = count == 0 ? 1 : Math.max(1, ROWS * count / Math.max(1, Checks.rows(x)));
    if (count <= most || x.count() == 0) {
      rows(x, out);
      return;
    }
    long step = Math.ceilDiv(count, Math.ceilDiv(count, most));
    for (long i = 0; i < count; i += step) {
      long part = Math.min(step, count - i);
      rows(x.slice(0, i, part), out.slice(0, i, part));
    }
  }

  private static boolean sameRows(Tensor x, Tensor out) {
    return Arrays.equals(x.shape(), 0, x.rank() - 1, out.shape(), 0, out.rank() - 1);
  }

  private void rows(Tensor x, Tensor out) {
    try (Scratch scratch = new Scratch()) {
      long[] shape = x.shape();
      shape[shape.length - 1] = dense1.dimOut();
      Tensor hidden = scratch.room(shape);
      dense1.forward(x, hidden);
      dense2.forward(hidden, out);
    }
  }
}
