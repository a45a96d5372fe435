package io.github.attention4j.layer;

import io.github.attention4j.A4j;
import io.github.attention4j.DType;
import io.github.attention4j.Tensor;
import io.github.attention4j.internal.Checks;
import io.github.attention4j.internal.Descriptor;
import io.github.attention4j.internal.Downcalls;
import io.github.attention4j.internal.Workspaces;
import java.lang.foreign.Arena;
import java.lang.foreign.MemorySegment;
import java.util.Objects;

/**
 * A linear projection: {@code out = activation(x Wᵀ + b)}, with the weight as PyTorch keeps it,
 * {@code [dimOut, dimIn]}. For few rows the weights are read where they are, at the speed of
 * memory. For many rows they are repacked on every call; use {@link #packed} to do it once.
 *
 * <p>The weight is {@link DType#F32}, {@link DType#BF16} or {@link DType#F16}, and may be part of a
 * mapped file. 16-bit weights are widened as they are read, which is exact: the result has the same
 * bits as with a widened copy, no copy is made, and few rows take half the time. 8-, 6- and 4-bit
 * weights are {@link QuantizedWeights}. The bias is F32.
 *
 * <p>Quantised weights multiply rows of x that are rounded to 16-bit integers. A row has the same
 * bits in every call, whatever other rows the call has.
 */
public final class Linear {
  /** Null if the weight is quantised. */
  private final Tensor weight;

  private final QuantizedWeights quantized;
  private final Tensor bias;
  private final long dimIn;
  private final long dimOut;
  private final long weightStrideRow;

  /** The weight in panels of {@link Descriptor#PANEL} outputs, or null. */
  private final Tensor packed;

  private final Activation activation;

  /** Whether products may round their numbers to bfloat16. */
  private final boolean rounding;

  private Linear(QuantizedWeights quantized, Tensor bias, Activation activation) {
    this.rounding = false;
    this.weight = null;
    this.quantized = quantized;
    this.bias = bias;
    this.packed = null;
    this.activation = activation;
    this.dimOut = quantized.rows();
    this.dimIn = quantized.columns();
    this.weightStrideRow = 0;
  }

  private Linear(
      Tensor weight, Tensor bias, Tensor packed, Activation activation, boolean rounding) {
    this.rounding = rounding;
    this.weight = weight;
    this.quantized = null;
    this.bias = bias;
    this.packed = packed;
    this.activation = activation;
    this.dimOut = weight.size(0);
    this.dimIn = weight.size(1);
    this.weightStrideRow = Checks.rowStride("weight", weight);
  }

  /**
   * Makes a projection without bias.
   *
   * @param weight {@code [dimOut, dimIn]} of F32, BF16 or F16, rows contiguous. Kept, not modified.
   * @return the projection
   * @throws IllegalArgumentException if type, rank, strides or alignment do not fit, or a size is 0
   */
  public static Linear of(Tensor weight) {
    Checks.rank("weight", Objects.requireNonNull(weight, "weight"), 2);
    Checks.realInput("weight", weight);
    Checks.positive("weight.dimOut", weight.size(0));
    Checks.positive("weight.dimIn", weight.size(1));
    return new Linear(weight, null, null, Activation.IDENTITY, false);
  }

  /**
   * Makes a projection with bias.
   *
   * @param weight {@code [dimOut, dimIn]} of F32, BF16 or F16, rows contiguous. Kept, not modified.
   * @param bias {@code [dimOut]}, contiguous. Kept, not modified.
   * @return the projection
   * @throws IllegalArgumentException if types, ranks, sizes, strides or alignment do not fit, or a
   *     size is 0
   */
  public static Linear of(Tensor weight, Tensor bias) {
    Linear linear = of(weight);
    linear.requireBias(bias);
    return new Linear(weight, bias, null, Activation.IDENTITY, false);
  }

  /**
   * Makes a projection without bias by quantised weights.
   *
   * @param weight of {@code dimOut} rows and {@code dimIn} columns
   * @return the projection
   */
  public static Linear of(QuantizedWeights weight) {
    return new Linear(Objects.requireNonNull(weight, "weight"), null, Activation.IDENTITY);
  }

  /**
   * Makes a projection with bias by quantised weights.
   *
   * @param weight of {@code dimOut} rows and {@code dimIn} columns
   * @param bias {@code [dimOut]}, contiguous. Kept, not modified.
   * @return the projection
   * @throws IllegalArgumentException if the bias has another type, rank, size, stride or alignment
   */
  public static Linear of(QuantizedWeights weight, Tensor bias) {
    of(weight).requireBias(bias);
    return new Linear(weight, bias, Activation.IDENTITY);
  }

  private void requireBias(Tensor bias) {
    Checks.rank(
        "bias",
        Objects.requireNonNull(
            bias, "bias must not be null: Linear.of(weight) makes a projection without bias"),
        1);
    Checks.input("bias", bias);
    Checks.contiguous("bias", bias);
    Checks.equal("bias.dim", bias.size(0), "weight.dimOut", dimOut);
  }

  /**
   * Makes a projection with random weights and bias, for tests and experiments: uniform in [−b, b)
   * with {@code b = 1 / sqrt(dimIn)}, like PyTorch's {@code nn.Linear}.
   *
   * @param arena supplies the memory of weight and bias
   * @param dimIn the number of inputs, at least 1
   * @param dimOut the number of outputs, at least 1
   * @param seed the same seed gives the same weights
   * @return the projection
   * @throws IllegalArgumentException if a size is less than 1
   * @throws OutOfMemoryError if there is not enough memory
   */
  public static Linear random(Arena arena, long dimIn, long dimOut, long seed) {
    return new RandomWeights(arena, seed).linear(dimIn, dimOut);
  }

  /**
   * Returns the same projection with a copy of its weights in the order that the matrix product
   * reads. Without it, each call with many rows makes such a copy, which is 3 to 5 % of the time
   * for 500 rows and more for fewer. The copy is as large as the weights and pays off if calls have
   * dozens of rows. For many rows the result has the same bits either way. Quantised weights are
   * packed already.
   *
   * <p>A BLAS reads weights as they are: with {@code -Da4j.product=blas} this projection is
   * returned if it multiplies in float32, the only type that a BLAS is used for.
   *
   * @param arena where the copy lives
   * @return a projection that keeps the weight and the bias of this one too
   * @throws OutOfMemoryError if there is no memory for the copy
   */
  public Linear packed(Arena arena) {
    Objects.requireNonNull(arena, "arena");
    if (quantized != null) {
      return this;
    }
    Checks.reachable("weight", weight);
    if (product() == Descriptor.PRODUCT_BLAS) {
      return this;
    }
    long panels = Math.ceilDiv(dimOut, (long) Descriptor.PANEL);
    // Pairs of bfloat16 take the place of floats.
    boolean pairs = rounding || weight.dtype() == DType.BF16;
    long units = pairs ? Math.ceilDiv(dimIn, 2L) : dimIn;
    DType type = pairs ? DType.F32 : weight.dtype();
    Tensor copy = Tensor.allocate(arena, type, panels, units, Descriptor.PANEL);
    try (Workspaces.Lease lease = Workspaces.lease()) {
      MemorySegment d =
          Descriptor.linear(
              lease,
              A4j.threads(),
              DType.F32,
              DType.F32,
              Descriptor.Storage.of(weight.dtype()),
              arithmetic(),
              Descriptor.PRODUCT_PACKED,
              Descriptor.IDENTITY,
              Descriptor.SET,
              0,
              dimIn,
              dimOut,
              dimIn,
              weightStrideRow,
              dimOut);
      Downcalls.linearPack(d, Checks.first(weight), Checks.first(copy));
    }
    return new Linear(weight, bias, copy, activation, rounding);
  }

  /**
   * Returns a projection by the same weights whose products may round x and the weight to bfloat16,
   * with sums in float32: errors of up to 0.4 % of a term, and twice the speed for many rows if the
   * CPU has bfloat16 dot products. Few rows are computed as before, and so are quantised weights.
   * Without this, nothing is rounded.
   *
   * @return the projection; call this before {@link #packed}
   * @throws IllegalStateException if the weights are packed already
   */
  public Linear withBf16Products() {
    if (packed != null) {
      throw new IllegalStateException("withBf16Products comes before packed");
    }
    return quantized != null ? this : new Linear(weight, bias, null, activation, true);
  }

  /**
   * Returns a projection by the same weights that applies a function to its results while they are
   * in the cache: {@code out = activation(x Wᵀ + b)}.
   *
   * @param activation replaces the function that this projection has
   * @return a projection that shares weight, bias and packed weights with this one
   */
  public Linear withActivation(Activation activation) {
    Objects.requireNonNull(activation, "activation");
    return quantized != null
        ? new Linear(quantized, bias, activation)
        : new Linear(weight, bias, packed, activation, rounding);
  }

  /** Refuses a projection with an activation, because the layer adds its own. */
  void requireNoActivation(String name) {
    if (activation != Activation.IDENTITY) {
      throw new IllegalArgumentException(
          name
              + ".activation must be IDENTITY, the layer adds its own: "
              + name
              + ".activation="
              + activation);
    }
  }

  /** Checks what a layer that ends with this projection reads and writes. */
  void checkLayer(String name, Tensor x, Tensor out) {
    Checks.rank(name, Objects.requireNonNull(x, name), 3);
    Checks.rank("out", Objects.requireNonNull(out, "out"), 3);
    Checks.equal("out", name, "batch", out.size(0), x.size(0));
    Checks.equal("out", name, "len", out.size(1), x.size(1));
    Checks.equal("out.dim", out.size(2), "outProjection.dimOut", dimOut());
    Checks.realOutput("out", out);
    Checks.disjoint("out", out, name, x);
  }

  /**
   * The projection to some of its outputs only, by the same weights; packed if the first of them
   * begins a panel.
   */
  Linear outputs(long start, long count) {
    Tensor part = bias == null ? null : bias.slice(0, start, count);
    if (quantized != null) {
      return new Linear(quantized.slice(start, count), part, activation);
    }
    Tensor panels = null;
    if (packed != null && start % Descriptor.PANEL == 0) {
      panels =
          packed.slice(0, start / Descriptor.PANEL, Math.ceilDiv(count, (long) Descriptor.PANEL));
    }
    return new Linear(weight.slice(0, start, count), part, panels, activation, rounding);
  }

  /**
   * Returns the weight.
   *
   * @return {@code [dimOut, dimIn]}, the tensor that this projection reads at each call
   * @throws IllegalStateException if the weights are quantised and therefore not in a tensor
   */
  public Tensor weight() {
    if (quantized != null) {
      throw new IllegalStateException("quantised weights are not in a tensor: " + quantized);
    }
    return weight;
  }

  /**
   * Returns the bias.
   *
   * @return {@code [dimOut]}, the tensor that this projection reads at each call; or null
   */
  public Tensor bias() {
    return bias;
  }

  /**
   * Returns the function that is applied to the results.
   *
   * @return {@link Activation#IDENTITY} if there is none
   */
  public Activation activation() {
    return activation;
  }

  /**
   * Returns the width of an input row.
   *
   * @return its number of elements
   */
  public long dimIn() {
    return dimIn;
  }

  /**
   * Returns the width of an output row.
   *
   * @return its number of elements
   */
  public long dimOut() {
    return dimOut;
  }

  /**
   * Projects each row.
   *
   * @param x {@code [..., dimIn]}, of any rank; rows evenly spaced, at least within each index of
   *     the first dimension. Not modified.
   * @param out {@code [..., dimOut]}, with as many rows, likewise. Modified.
   * @throws IllegalArgumentException if types, sizes, strides or alignment do not fit, or out is
   *     read-only or overlaps x, the weight or the bias
   */
  public void forward(Tensor x, Tensor out) {
    run(x, out, Descriptor.SET);
  }

  /**
   * Projects each row and adds the result, after its activation, to what {@code out} holds, as a
   * residual connection does.
   *
   * @param x {@code [..., dimIn]}, as in {@link #forward}. Not modified.
   * @param out {@code [..., dimOut]}, with as many rows. Modified.
   * @throws IllegalArgumentException if types, sizes, strides or alignment do not fit, or out is
   *     read-only or overlaps x, the weight or the bias
   */
  public void forwardAdd(Tensor x, Tensor out) {
    run(x, out, Descriptor.ADD);
  }

  /**
   * Projects each row and multiplies what {@code out} holds by the result, as gated units do: with
   * {@link Activation#SILU}, after {@code up.forward(x, out)}, this is SwiGLU.
   *
   * @param x {@code [..., dimIn]}, as in {@link #forward}. Not modified.
   * @param out {@code [..., dimOut]}, with as many rows. Modified.
   * @throws IllegalArgumentException if types, sizes, strides or alignment do not fit, or out is
   *     read-only or overlaps x, the weight or the bias
   */
  public void forwardMultiply(Tensor x, Tensor out) {
    run(x, out, Descriptor.MULTIPLY);
  }

  private void run(Tensor x, Tensor out, int combine) {
    Checks.hasRows("x", x);
    Checks.hasRows("out", out);
    Checks.realInput("x", x);
    Checks.realOutput("out", out);
    Checks.equal("x.dim", x.size(-1), "weight.dimIn", dimIn);
    Checks.equal("out.dim", out.size(-1), "weight.dimOut", dimOut);
    long rows = Checks.rows(x);
    Checks.equal("out.rows", Checks.rows(out), "x.rows", rows);
    Checks.disjoint("out", out, "x", x);
    Tensor weights = quantized != null ? quantized.packed() : packed == null ? weight : packed;
    Checks.reachable("weight", weights);
    Checks.disjoint("out", out, "weight", weights);
    if (bias != null) {
      Checks.reachable("bias", bias);
      Checks.disjoint("out", out, "bias", bias);
    }
    if (rows == 0) {
      return;
    }
    if (Rows.needSplitting(x, out)) {
      for (long i = 0; i < x.size(0); i++) {
        run(x.select(0, i), out.select(0, i), combine);
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
              x.dtype(),
              out.dtype(),
              quantized != null
                  ? quantized.quantization().storage()
                  : Descriptor.Storage.of(weight.dtype()),
              arithmetic(),
              product(),
              activation.code(),
              combine,
              rows,
              dimIn,
              dimOut,
              xStrideRow,
              weightStrideRow,
              outStrideRow);
      Downcalls.linear(
          lease,
          d,
          Checks.first(x),
          Checks.first(weights),
          Checks.firstOrNull(bias),
          Checks.first(out));
    }
  }

  private int arithmetic() {
    return rounding ? Descriptor.ARITHMETIC_BF16 : Descriptor.ARITHMETIC_EXACT;
  }

  private int product() {
    if (packed != null) {
      return Descriptor.PRODUCT_PACKED;
    }
    return isFloat32() && Downcalls.multipliesByBlas()
        ? Descriptor.PRODUCT_BLAS
        : Descriptor.PRODUCT_OWN;
  }

  private boolean isFloat32() {
    return quantized == null && weight.dtype() == DType.F32 && !rounding;
  }
}
