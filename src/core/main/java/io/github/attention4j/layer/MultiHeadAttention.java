package io.github.attention4j.layer;

import io.github.attention4j.Attention;
import io.github.attention4j.DType;
import io.github.attention4j.Extras;
import io.github.attention4j.KvCache;
import io.github.attention4j.Mask;
import io.github.attention4j.Tensor;
import io.github.attention4j.internal.Appended;
import io.github.attention4j.internal.Checks;
import io.github.attention4j.internal.Scratch;
import java.lang.foreign.Arena;
import java.util.Objects;

/**
 * A complete layer of multi-head attention (Vaswani et al., "Attention Is All You Need", 2017),
 * with optional grouped queries and rotary positions:
 *
 * <pre>
 *   q, k, v = queryProjection(x), keyProjection(x), valueProjection(x)       rotary on q and k
 *   head_h  = softmax(scale · q_h k_hᵀ, under the mask) · v_h
 *   out     = outProjection(concat of head_h)
 * </pre>
 *
 * <pre>{@code
 * MultiHeadAttention layer =
 *     MultiHeadAttention.builder(queryProjection, keyProjection, valueProjection, outProjection)
 *         .heads(6)
 *         .rotary(rotary)
 *         .mask(Mask.causal(Alignment.BOTTOM_RIGHT))
 *         .build();
 * layer.forward(x, out);
 * }</pre>
 *
 * <p>Heads are views of the projections, never copies.
 *
 * <p>If all inputs are {@link DType#BF16}, or all {@link DType#F16}, queries, keys, values and the
 * heads' results are rounded to that type in between, as PyTorch does, so that attention computes
 * with 16-bit keys and values. With a {@link KvCache} or a memory they stay F32.
 */
public final class MultiHeadAttention {
  /** An attention that the caller supplies, between the projections. */
  @FunctionalInterface
  public interface HeadAttention {
    /**
     * Computes the heads.
     *
     * @param q {@code [batch, heads, lenQ, dim]}, projected and rotated. Valid during this call.
     * @param k {@code [batch, headsKv, lenK, dim]}. Valid during this call.
     * @param v {@code [batch, headsKv, lenK, dimV]}. Valid during this call.
     * @param out {@code [batch, heads, lenQ, dimV]}, the input of the last projection. Modified.
     */
    void forward(Tensor q, Tensor k, Tensor v, Tensor out);
  }

  /** The next three as one projection, which reads each row once; null if they are separate. */
  private final Linear packedProjection;

  private final Linear queryProjection;
  private final Linear keyProjection;
  private final Linear valueProjection;
  private final Linear outProjection;
  private final long heads;
  private final long headsKv;
  private final RotaryEmbedding rotary;
  private final Mask mask;
  private final double scale;
  private final Attention attention;

  private MultiHeadAttention(Builder builder) {
    heads = builder.heads;
    headsKv = builder.headsKv == 0 ? heads : builder.headsKv;
    packedProjection = builder.packed;
    if (packedProjection == null) {
      queryProjection = builder.query;
      keyProjection = builder.key;
      valueProjection = builder.value;
    } else {
      long width = packedProjection.dimOut();
      Checks.inRange("heads", heads, 1, width);
      Checks.inRange("headsKv", headsKv, 1, width);
      Checks.multiple("packedProjection.dimOut", width, "heads + 2 * headsKv", heads + 2 * headsKv);
      long widthKv = width / (heads + 2 * headsKv) * headsKv;
      long widthQ = width - 2 * widthKv;
      queryProjection = packedProjection.outputs(0, widthQ);
      keyProjection = packedProjection.outputs(widthQ, widthKv);
      valueProjection = packedProjection.outputs(widthQ + widthKv, widthKv);
    }
    outProjection = builder.out;
    rotary = builder.rotary;
    mask = builder.mask;
    scale = builder.scale;
    attention = attention(mask);
    Checks.multiple("queryProjection.dimOut", queryProjection.dimOut(), "heads", heads);
    Checks.multiple("keyProjection.dimOut", keyProjection.dimOut(), "headsKv", headsKv);
    Checks.multiple("valueProjection.dimOut", valueProjection.dimOut(), "headsKv", headsKv);
    Checks.multiple("heads", heads, "headsKv", headsKv);
    Checks.equal("key dim", keyDim(), "query dim", queryProjection.dimOut() / heads);
    Checks.equal(
        "outProjection.dimIn", outProjection.dimIn(), "heads * value dim", heads * valueDim());
  }

  /**
   * Starts a layer with its four projections.
   *
   * @param query from the model's width to {@code heads · dim}
   * @param key from the memory's width to {@code headsKv · dim}
   * @param value from the memory's width to {@code headsKv · dimV}
   * @param out from {@code heads · dimV} to the model's width
   * @return a builder
   */
  public static Builder builder(Linear query, Linear key, Linear value, Linear out) {
    return new Builder(null, query, key, value, out);
  }

  /**
   * Starts a layer with random projections of one width, for tests and experiments; see {@link
   * Linear#random}.
   *
   * @param arena supplies the memory of the weights
   * @param dimModel the width of the model, a multiple of heads
   * @param heads the number of heads, at least 1
   * @param seed the same seed gives the same weights
   * @return a builder with these heads
   * @throws IllegalArgumentException if heads is less than 1, or dimModel not a positive multiple
   *     of it
   * @throws OutOfMemoryError if there is not enough memory
   */
  public static Builder random(Arena arena, long dimModel, long heads, long seed) {
    Checks.positive("heads", heads);
    Checks.multiple("dimModel", dimModel, "heads", heads);
    RandomWeights random = new RandomWeights(arena, seed);
    return builder(
            random.linear(dimModel, dimModel),
            random.linear(dimModel, dimModel),
            random.linear(dimModel, dimModel),
            random.linear(dimModel, dimModel))
        .heads(heads);
  }

  /**
   * Starts a layer whose first three projections are combined, so that sequences that attend to
   * themselves are read only once.
   *
   * @param packed from the model's width to {@code (heads + 2 · headsKv) · dim}: queries, keys,
   *     values
   * @param out from {@code heads · dim} to the model's width
   * @return a builder
   */
  public static Builder builder(Linear packed, Linear out) {
    Objects.requireNonNull(packed, "packed");
    return new Builder(packed, null, null, null, out);
  }

  // ---- Applying the layer ----

  /**
   * Returns the width of the result.
   *
   * @return {@code dimModel}
   */
  public long dimOut() {
    return outProjection.dimOut();
  }

  /**
   * Returns the number of heads.
   *
   * @return the number of heads
   */
  public long heads() {
    return heads;
  }

  /**
   * Allocates an empty cache for this layer.
   *
   * @param arena supplies the memory and decides how long it lives
   * @param batch the number of sequences
   * @param capacity the maximum number of tokens of each
   * @return an empty cache
   * @throws IllegalArgumentException if a size is negative or the memory's size overflows
   * @throws OutOfMemoryError if there is not enough memory
   */
  public KvCache allocateCache(Arena arena, long batch, long capacity) {
    return KvCache.allocate(arena, batch, headsKv, keyDim(), headsKv, valueDim(), capacity);
  }

  /**
   * Applies the layer to whole sequences that attend to themselves.
   *
   * @param x {@code [batch, len, dimModel]}. Not modified.
   * @param out of the same batch and length, {@code [batch, len, dimModel]}. Modified.
   * @throws IllegalArgumentException if types, sizes, strides or alignment do not fit, len exceeds
   *     the rotary table, the mask does not fit, or out is read-only or overlaps x or a weight
   * @throws OutOfMemoryError if there is not enough memory for queries, keys and values
   */
  public void forward(Tensor x, Tensor out) {
    forward(x, x, out, Extras.none());
  }

  /**
   * Applies the layer to sequences that attend to others, or to themselves if both are the same
   * tensor.
   *
   * @param x {@code [batch, len, dimModel]}. Not modified.
   * @param memory the sequences attended to, {@code [batch, lenK, dimMemory]}. Not modified.
   * @param out {@code [batch, len, dimModel]}. Modified.
   * @param extras logsumexp {@code [batch, heads, len]}, weights {@code [batch, heads, len, lenK]},
   *     dropout; its outputs are modified
   * @throws IllegalArgumentException as {@link #forward(Tensor, Tensor)}, and if an extra does not
   *     fit
   * @throws OutOfMemoryError if there is not enough memory for queries, keys and values
   */
  public void forward(Tensor x, Tensor memory, Tensor out, Extras extras) {
    outProjection.checkLayer("x", x, out);
    Checks.rank("memory", Objects.requireNonNull(memory, "memory"), 3);
    Checks.equal("memory", "x", "batch", memory.size(0), x.size(0));
    Checks.realInput("memory", memory);
    Checks.disjoint("out", out, "memory", memory);
    run(x, memory, memory, out, (q, k, v, result) -> attention.forward(q, k, v, result, extras));
  }

  /**
   * Appends new tokens to a cache and applies the layer to them; each sees the tokens up to itself.
   * Rotary positions continue from the cache's lengths. If it throws, the cache has the lengths
   * that it had before.
   *
   * @param x the new tokens, {@code [batch, len, dimModel]}. Not modified.
   * @param cache as {@link #allocateCache} makes it. Modified.
   * @param out {@code [batch, len, dimModel]}. Modified.
   * @throws IllegalArgumentException as {@link #forward(Tensor, Tensor)}, or if the cache has
   *     another shape
   * @throws IllegalStateException if the cache has no room
   * @throws OutOfMemoryError if there is not enough memory for queries, keys and values
   */
  public void forward(Tensor x, KvCache cache, Tensor out) {
    forward(x, cache, out, Extras.none());
  }

  /**
   * Appends new tokens to a cache and applies the layer to them, with extras; weights have as many
   * keys as the cache's longest length, including the new tokens. If it throws, the cache has the
   * lengths that it had before.
   *
   * @param x the new tokens, {@code [batch, len, dimModel]}. Not modified.
   * @param cache as {@link #allocateCache} makes it. Modified.
   * @param out {@code [batch, len, dimModel]}. Modified.
   * @param extras logsumexp, weights, dropout; its outputs are modified
   * @throws IllegalArgumentException as {@link #forward(Tensor, KvCache, Tensor)}, and if an extra
   *     does not fit
   * @throws IllegalStateException if the cache has no room
   * @throws OutOfMemoryError if there is not enough memory for queries, keys and values
   */
  public void forward(Tensor x, KvCache cache, Tensor out, Extras extras) {
    Objects.requireNonNull(cache, "cache");
    outProjection.checkLayer("x", x, out);
    try (Scratch scratch = new Scratch()) {
      Projected projected = project(scratch, DType.F32, x, x, x);
      Tensor q = projected.q;
      if (rotary != null) {
        int[] starts = cache.lengths();
        rotary.forward(q, q, starts);
        rotary.forward(projected.k, projected.k, starts);
      }
      try (Appended rows = new Appended(cache, projected.k, projected.v)) {
        Tensor result = scratch.room(x.size(0), x.size(1), outProjection.dimIn());
        attention.forward(q, cache, result.splitHeads(heads), extras);
        outProjection.forward(result, out);
        rows.keep();
      }
    }
  }

  /**
   * Applies the layer to separate queries, keys and values, with another attention between its
   * projections.
   *
   * @param queries {@code [batch, lenQ, dimQueries]}. Not modified.
   * @param keys {@code [batch, lenK, dimKeys]}. Not modified.
   * @param values {@code [batch, lenK, dimValues]}. Not modified.
   * @param attend computes the heads, in place of {@link #attention}
   * @param out {@code [batch, lenQ, dimModel]}. Modified.
   * @throws IllegalArgumentException as {@link #forward(Tensor, Tensor)}
   * @throws OutOfMemoryError if there is not enough memory for queries, keys and values
   */
  public void forward(
      Tensor queries, Tensor keys, Tensor values, HeadAttention attend, Tensor out) {
    Objects.requireNonNull(attend, "attend");
    check(queries, keys, values, out);
    run(queries, keys, values, out, attend);
  }

  /**
   * Applies the layer to separate queries, keys and values with an additional mask, as PyTorch's
   * {@code nn.MultiheadAttention} does.
   *
   * @param queries {@code [batch, lenQ, dimQueries]}. Not modified.
   * @param keys {@code [batch, lenK, dimKeys]}. Not modified.
   * @param values {@code [batch, lenK, dimValues]}. Not modified.
   * @param mask hides keys in addition to the layer's own mask
   * @param out {@code [batch, lenQ, dimModel]}. Modified.
   * @param extras logsumexp {@code [batch, heads, lenQ]}, weights {@code [batch, heads, lenQ,
   *     lenK]}, dropout; its outputs are modified
   * @throws IllegalArgumentException as {@link #forward(Tensor, Tensor)}, if an extra does not fit,
   *     or if the two masks cannot be intersected
   * @throws OutOfMemoryError if there is not enough memory for queries, keys and values
   */
  public void forward(
      Tensor queries, Tensor keys, Tensor values, Mask mask, Tensor out, Extras extras) {
    Objects.requireNonNull(mask, "mask");
    Objects.requireNonNull(extras, "extras");
    check(queries, keys, values, out);
    Attention masked = mask == Mask.none() ? attention : attention(this.mask.and(mask));
    run(queries, keys, values, out, (q, k, v, result) -> masked.forward(q, k, v, result, extras));
  }

  /**
   * Projects a memory once, for all calls that will attend to it, as a decoder attends to an
   * encoder's outputs at every step.
   *
   * @param arena supplies the memory and decides how long it lives
   * @param memory {@code [batch, lenK, dimMemory]}. Not modified.
   * @return its keys and values, as a full cache
   * @throws IllegalArgumentException if type, rank, sizes, strides or alignment do not fit
   * @throws OutOfMemoryError if there is not enough memory
   */
  public KvCache readMemory(Arena arena, Tensor memory) {
    Checks.rank("memory", Objects.requireNonNull(memory, "memory"), 3);
    Checks.realInput("memory", memory);
    KvCache cache = allocateCache(arena, memory.size(0), memory.size(1));
    try (Scratch scratch = new Scratch()) {
      Tensor k = project(scratch, DType.F32, keyProjection, memory, headsKv);
      Tensor v = project(scratch, DType.F32, valueProjection, memory, headsKv);
      if (rotary != null) {
        rotary.forward(k, k, 0);
      }
      cache.append(k, v);
    }
    return cache;
  }

  /**
   * Applies the layer to queries that attend to a projected memory.
   *
   * @param x {@code [batch, len, dimModel]}. Not modified.
   * @param memory as {@link #readMemory} makes it. Not modified.
   * @param attend computes the heads, in place of {@link #attention}
   * @param out {@code [batch, len, dimModel]}. Modified.
   * @throws IllegalArgumentException as {@link #forward(Tensor, Tensor)}, and if the memory does
   *     not fit
   * @throws OutOfMemoryError if there is not enough memory for queries
   */
  public void forwardMemory(Tensor x, KvCache memory, HeadAttention attend, Tensor out) {
    Objects.requireNonNull(memory, "memory");
    Objects.requireNonNull(attend, "attend");
    outProjection.checkLayer("x", x, out);
    try (Scratch scratch = new Scratch()) {
      Tensor q = project(scratch, DType.F32, queryProjection, x, heads);
      if (rotary != null) {
        rotary.forward(q, q, 0);
      }
      Tensor result = scratch.room(x.size(0), x.size(1), outProjection.dimIn());
      Tensor k = memory.keys(scratch.arena());
      Tensor v = memory.values(scratch.arena());
      attend.forward(q, k, v, result.splitHeads(heads));
      outProjection.forward(result, out);
    }
  }

  /**
   * Returns the attention between the projections.
   *
   * @return attention with the layer's mask and scale
   */
  public Attention attention() {
    return attention;
  }

  private Attention attention(Mask mask) {
    Attention.Builder builder = Attention.builder().mask(mask);
    return Double.isNaN(scale) ? builder.build() : builder.scale(scale).build();
  }

  private void run(Tensor queries, Tensor keys, Tensor values, Tensor out, HeadAttention attend) {
    try (Scratch scratch = new Scratch()) {
      DType between = between(queries, keys, values);
      Projected projected = project(scratch, between, queries, keys, values);
      if (rotary != null) {
        rotary.forward(projected.q, projected.q, 0);
        rotary.forward(projected.k, projected.k, 0);
      }
      Tensor result =
          scratch.room(between, queries.size(0), queries.size(1), outProjection.dimIn());
      attend.forward(projected.q, projected.k, projected.v, result.splitHeads(heads));
      outProjection.forward(result, out);
    }
  }

  private void check(Tensor queries, Tensor keys, Tensor values, Tensor out) {
    outProjection.checkLayer("queries", queries, out);
    checkMemory("keys", keys, queries, out);
    checkMemory("values", values, queries, out);
    Checks.equal("values", "keys", "len", values.size(1), keys.size(1));
  }

  private static void checkMemory(String name, Tensor memory, Tensor queries, Tensor out) {
    Checks.rank(name, Objects.requireNonNull(memory, name), 3);
    Checks.equal(name, "queries", "batch", memory.size(0), queries.size(0));
    Checks.realInput(name, memory);
    Checks.disjoint("out", out, name, memory);
  }

  /** Each is {@code [batch, heads, len, dim]}, in writable memory. */
  private record Projected(Tensor q, Tensor k, Tensor v) {}

  /** The type of what the projections make: that of the inputs if all have the same. */
  private static DType between(Tensor queries, Tensor keys, Tensor values) {
    DType dtype = queries.dtype();
    return keys.dtype() == dtype && values.dtype() == dtype ? dtype : DType.F32;
  }

  private Projected project(
      Scratch scratch, DType dtype, Tensor queries, Tensor keys, Tensor values) {
    if (packedProjection == null || queries != keys || keys != values) {
      return new Projected(
          project(scratch, dtype, queryProjection, queries, heads),
          project(scratch, dtype, keyProjection, keys, headsKv),
          project(scratch, dtype, valueProjection, values, headsKv));
    }
    Tensor rows = scratch.room(dtype, queries.size(0), queries.size(1), packedProjection.dimOut());
    packedProjection.forward(queries, rows);
    long widthQ = queryProjection.dimOut();
    long widthKv = keyProjection.dimOut();
    return new Projected(
        rows.slice(2, 0, widthQ).splitHeads(heads),
        rows.slice(2, widthQ, widthKv).splitHeads(headsKv),
        rows.slice(2, widthQ + widthKv, widthKv).splitHeads(headsKv));
  }

  private static Tensor project(
      Scratch scratch, DType dtype, Linear projection, Tensor x, long heads) {
    Tensor rows = scratch.room(dtype, x.size(0), x.size(1), projection.dimOut());
    projection.forward(x, rows);
    return rows.splitHeads(heads);
  }

  private long keyDim() {
    return keyProjection.dimOut() / headsKv;
  }

  private long valueDim() {
    return valueProjection.dimOut() / headsKv;
  }

  /** Collects the options of a {@link MultiHeadAttention}. Not safe for several threads. */
  public static final class Builder {
    private final Linear packed;
    private final Linear query;
    private final Linear key;
    private final Linear value;
    private final Linear out;
    private Mask mask = Mask.none();
    private double scale = Double.NaN;
    private long heads;
    private long headsKv;
    private RotaryEmbedding rotary;

    /** Either packed or the next three are null. */
    private Builder(Linear packed, Linear query, Linear key, Linear value, Linear out) {
      this.packed = packed;
      this.query = packed != null ? null : Objects.requireNonNull(query, "query");
      this.key = packed != null ? null : Objects.requireNonNull(key, "key");
      this.value = packed != null ? null : Objects.requireNonNull(value, "value");
      this.out = Objects.requireNonNull(out, "out");
    }

    /**
     * Sets the number of heads. Required.
     *
     * @param heads at least 1
     * @return this builder
     * @throws IllegalArgumentException if heads is less than 1
     */
    public Builder heads(long heads) {
      Checks.positive("heads", heads);
      this.heads = heads;
      return this;
    }

    /**
     * Sets the number of key and value heads.
     *
     * @param headsKv at least 1, a divisor of heads; the default is heads
     * @return this builder
     * @throws IllegalArgumentException if headsKv is less than 1
     */
    public Builder headsKv(long headsKv) {
      Checks.positive("headsKv", headsKv);
      this.headsKv = headsKv;
      return this;
    }

    /**
     * Rotates queries and keys by their positions.
     *
     * @param rotary the default is no rotation
     * @return this builder
     */
    public Builder rotary(RotaryEmbedding rotary) {
      this.rotary = Objects.requireNonNull(rotary, "rotary");
      return this;
    }

    /**
     * Sets the mask, which hides keys from queries.
     *
     * @param mask the default is {@link Mask#none()}
     * @return this builder
     */
    public Builder mask(Mask mask) {
      this.mask = Objects.requireNonNull(mask, "mask");
      return this;
    }

    /**
     * Sets the factor of the products of queries and keys.
     *
     * @param scale finite; the default is {@code 1 / sqrt(dim)}
     * @return this builder
     * @throws IllegalArgumentException if the scale is NaN or, as a float, infinite
     */
    public Builder scale(double scale) {
      this.scale = Checks.finite("scale", scale);
      return this;
    }

    /**
     * Builds the layer.
     *
     * @return an immutable layer with the options chosen so far
     * @throws IllegalStateException if heads has not been set
     * @throws IllegalArgumentException if the projections' widths do not fit the numbers of heads
     */
    public MultiHeadAttention build() {
      if (heads == 0) {
        throw new IllegalStateException("heads must be set");
      }
      return new MultiHeadAttention(this);
    }
  }
}
