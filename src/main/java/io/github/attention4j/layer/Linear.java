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
 * A linear projection: {@code out = x Wᵀ + b}, with the weight as PyTorch keeps it, {@code [dimOut,
 * dimIn]}. Many rows are a matrix product; a few are read at the speed of memory by a kernel of
 * their own.
 *
 * <p>All tensors are {@link io.github.attention4j.DType#F32}. Safe for any number of threads.
 */
public final class Linear {
  private final Tensor weight;
  private final Tensor bias;
  private final long dimIn;
  private final long dimOut;
  private final long weightStrideRow;

  private Linear(Tensor weight, Tensor bias) {
    this.weight = weight;
    this.bias = bias;
    this.dimOut = weight.size(0);
    this.dimIn = weight.size(1);
    this.weightStrideRow = Checks.rowStride("weight", weight);
  }

  /**
   * Makes a projection without bias.
   *
   * @param weight {@code [dimOut, dimIn]}, rows contiguous. Kept, not modified.
   * @return the projection
   * @throws IllegalArgumentException if type, rank, strides or alignment do not fit, or a size is 0
   * @throws IllegalStateException if the tensor's arena is closed or confined to another thread
   */
  public static Linear of(Tensor weight) {
    Checks.rank("weight", Objects.requireNonNull(weight, "weight"), 2);
    Checks.input("weight", weight);
    Checks.positive("weight.dimOut", weight.size(0));
    Checks.positive("weight.dimIn", weight.size(1));
    return new Linear(weight, null);
  }

  /**
   * Makes a projection with bias.
   *
   * @param weight {@code [dimOut, dimIn]}, rows contiguous. Kept, not modified.
   * @param bias {@code [dimOut]}, contiguous. Kept, not modified.
   * @return the projection
   * @throws IllegalArgumentException if types, ranks, sizes, strides or alignment do not fit, or a
   *     size is 0
   * @throws IllegalStateException if a tensor's arena is closed or confined to another thread
   */
  public static Linear of(Tensor weight, Tensor bias) {
    Linear linear = of(weight);
    Checks.rank("bias", Objects.requireNonNull(bias, "bias"), 1);
    Checks.input("bias", bias);
    Checks.contiguous("bias", bias);
    Checks.equal("bias.dim", bias.size(0), "weight.dimOut", linear.dimOut);
    return new Linear(weight, bias);
  }

  /** The projection to some of its outputs alone, of the same weights. */
  Linear outputs(long start, long count) {
    return new Linear(
        weight.slice(0, start, count), bias == null ? null : bias.slice(0, start, count));
  }

  /**
   * Returns the width of the rows that it takes.
   *
   * @return the number of elements of an input row
   */
  public long dimIn() {
    return dimIn;
  }

  /**
   * Returns the width of the rows that it gives.
   *
   * @return the number of elements of an output row
   */
  public long dimOut() {
    return dimOut;
  }

  /**
   * Projects each row.
   *
   * @param x {@code [..., dimIn]}, of any rank, all dimensions but the last forming rows at one
   *     distance, at least within each index of the first. Not modified.
   * @param out {@code [..., dimOut]}, with as many rows, likewise. Modified.
   * @throws IllegalArgumentException if types, sizes, strides or alignment do not fit, or out is
   *     read-only or overlaps x, the weight or the bias
   * @throws IllegalStateException if a tensor's arena is closed or confined to another thread
   * @throws io.github.attention4j.AttentionException if the native library or a BLAS is not to be
   *     had
   */
  public void forward(Tensor x, Tensor out) {
    run(x, out, false);
  }

  /**
   * Projects each row and adds the result to what {@code out} holds, as a residual connection does.
   *
   * @param x {@code [..., dimIn]}, as in {@link #forward}. Not modified.
   * @param out {@code [..., dimOut]}, with as many rows. Modified.
   * @throws IllegalArgumentException if types, sizes, strides or alignment do not fit, or out is
   *     read-only or overlaps x, the weight or the bias
   * @throws IllegalStateException if a tensor's arena is closed or confined to another thread
   * @throws io.github.attention4j.AttentionException if the native library or a BLAS is not to be
   *     had
   */
  public void forwardAdd(Tensor x, Tensor out) {
    run(x, out, true);
  }

  private void run(Tensor x, Tensor out, boolean accumulate) {
    Rows.check("x", x);
    Rows.check("out", out);
    Checks.input("x", x);
    Checks.output("out", out);
    Checks.equal("x.dim", x.size(-1), "weight.dimIn", dimIn);
    Checks.equal("out.dim", out.size(-1), "weight.dimOut", dimOut);
    long rows = Checks.rows(x);
    Checks.equal("out.rows", Checks.rows(out), "x.rows", rows);
    Checks.disjoint("out", out, "x", x);
    Checks.reachable("weight", weight);
    Checks.disjoint("out", out, "weight", weight);
    if (bias != null) {
      Checks.reachable("bias", bias);
      Checks.disjoint("out", out, "bias", bias);
    }
    if (rows == 0) {
      return;
    }
    if (Rows.needSplitting(x, out)) {
      for (long i = 0; i < x.size(0); i++) {
        run(x.select(0, i), out.select(0, i), accumulate);
      }
      return;
    }
    long xStrideRow = Checks.rowStride("x", x);
    long outStrideRow = Checks.rowStride("out", out);
    try (Workspaces.Lease lease = Workspaces.lease()) {
      MemorySegment d =
          Descriptor.linear(
              lease,
              A4j.threads(),
              accumulate,
              rows,
              dimIn,
              dimOut,
              xStrideRow,
              weightStrideRow,
              outStrideRow);
      Downcalls.linear(
          d, Checks.first(x), Checks.first(weight), Checks.firstOrNull(bias), Checks.first(out));
    }
  }
}
