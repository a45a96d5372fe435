package io.github.attention4j.layer;

import io.github.attention4j.Attention;
import io.github.attention4j.DType;
import io.github.attention4j.Extras;
import io.github.attention4j.KvCache;
import io.github.attention4j.Mask;
import io.github.attention4j.Tensor;
import io.github.attention4j.internal.Checks;
import io.github.attention4j.internal.Weights;
import io.github.attention4j.io.SafeTensors;
import java.lang.foreign.Arena;
import java.util.Objects;

/**
 * A whole layer of multi-head attention (Vaswani et al., "Attention Is All You Need", 2017), with
 * grouped queries and rotary positions where they are wanted:
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
 * <p>Heads are views of the projections, never copies. Immutable and safe for any number of
 * threads.
 */
public final class MultiHeadAttention {
  private final Linear queryProjection;
  private final Linear keyProjection;
  private final Linear valueProjection;
  private final Linear outProjection;
  private final long heads;
  private final long headsKv;
  private final RotaryEmbedding rotary;
  private final Attention attention;

  private MultiHeadAttention(Builder builder) {
    queryProjection = builder.query;
    keyProjection = builder.key;
    valueProjection = builder.value;
    outProjection = builder.out;
    heads = builder.heads;
    headsKv = builder.headsKv == 0 ? heads : builder.headsKv;
    rotary = builder.rotary;
    attention = builder.attention.build();
    Checks.multiple("queryProjection.dimOut", queryProjection.dimOut(), "heads", heads);
    Checks.multiple("keyProjection.dimOut", keyProjection.dimOut(), "headsKv", headsKv);
    Checks.multiple("valueProjection.dimOut", valueProjection.dimOut(), "headsKv", headsKv);
    Checks.multiple("heads", heads, "headsKv", headsKv);
    Checks.equal("key dim", keyDim(), "query dim", queryProjection.dimOut() / heads);
    Checks.equal(
        "outProjection.dimIn", outProjection.dimIn(), "heads * value dim", heads * valueDim());
  }

  /**
   * Starts a layer of its four projections.
   *
   * @param query from the model's width to {@code heads · dim}
   * @param key from the width of what is attended to, to {@code headsKv · dim}
   * @param value from the same width to {@code headsKv · dimV}
   * @param out from {@code heads · dimV} to the model's width
   * @return a builder
   */
  public static Builder builder(Linear query, Linear key, Linear value, Linear out) {
    return new Builder(query, key, value, out);
  }

  /**
   * Reads the layer as "Dive into Deep Learning" names its parts: {@code W_q}, {@code W_k}, {@code
   * W_v}, {@code W_o} ({@code .weight}, and {@code .bias} where there is one), or {@code W_q} and
   * {@code b_q} for the parameters alone.
   *
   * @param file holds the tensors, all of those below the prefix
   * @param prefix what their names begin with, for example {@code "encoder.blks.block0.attention."}
   * @param numHeads the book's {@code num_heads}
   * @param arena for copies of weights that are not F32 or lie misaligned in the file
   * @return a layer without rotary positions or mask
   * @throws IllegalArgumentException if a tensor is missing, one is not known, or the shapes do not
   *     fit one another or the number of heads
   * @throws IllegalStateException if an arena is closed or confined to another thread
   * @throws OutOfMemoryError if there is no memory for a copy
   */
  public static MultiHeadAttention loadD2l(
      SafeTensors file, String prefix, long numHeads, Arena arena) {
    Weights weights = new Weights(file, prefix, arena);
    MultiHeadAttention layer =
        builder(
                Linears.read(weights, "W_q", "b_q"),
                Linears.read(weights, "W_k", "b_k"),
                Linears.read(weights, "W_v", "b_v"),
                Linears.read(weights, "W_o", "b_o"))
            .heads(numHeads)
            .build();
    weights.requireAllRead();
    return layer;
  }

  // ---- Heads as views ----

  /**
   * Shows the heads of a projection, {@code transpose_qkv} of "Dive into Deep Learning". Where the
   * book makes one dimension of batch and heads, row {@code b * numHeads + h}, which no view can,
   * here they stay two, in that order.
   *
   * @param x {@code [batch, len, numHeads · dim]}. Not modified.
   * @param numHeads the number of heads
   * @return a view {@code [batch, numHeads, len, dim]}
   * @throws IllegalArgumentException if the rank is not 3, or the width is not a multiple of the
   *     number of heads
   */
  public static Tensor transposeQkv(Tensor x, long numHeads) {
    return Objects.requireNonNull(x, "x").splitHeads(numHeads);
  }

  /**
   * Reverses {@link #transposeQkv}, {@code transpose_output} of "Dive into Deep Learning".
   *
   * @param x {@code [batch, numHeads, len, dim]}, whose heads lie side by side in memory as those
   *     that transposeQkv shows. Not modified.
   * @return a view {@code [batch, len, numHeads · dim]}
   * @throws IllegalArgumentException if the rank is not 4, or the heads lie in any other way
   */
  public static Tensor transposeOutput(Tensor x) {
    Checks.rank("x", Objects.requireNonNull(x, "x"), 4);
    return x.transpose(1, 2).reshape(x.size(0), x.size(2), x.size(1) * x.size(3));
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
   * @return as many as the weights have
   */
  public long heads() {
    return heads;
  }

  /**
   * Makes an empty cache of the shape that this layer appends to.
   *
   * @param arena supplies the memory and decides how long it lives
   * @param batch the number of sequences
   * @param capacity the most tokens of each
   * @return an empty cache
   * @throws IllegalArgumentException if a size is negative or the memory's size overflows
   * @throws OutOfMemoryError if the memory is not to be had
   */
  public KvCache allocateCache(Arena arena, long batch, long capacity) {
    return KvCache.allocate(arena, batch, headsKv, keyDim(), headsKv, valueDim(), capacity);
  }

  /**
   * Applies the layer to whole sequences that attend to themselves.
   *
   * @param x {@link DType#F32} {@code [batch, len, dimModel]}. Not modified.
   * @param out of the same batch and length, {@code [batch, len, dimModel]}. Modified.
   * @throws IllegalArgumentException if types, sizes, strides or alignment do not fit, len exceeds
   *     the rotary table, the mask does not fit, or out is read-only or overlaps x or a weight
   * @throws IllegalStateException if a tensor's arena is closed or confined to another thread
   * @throws OutOfMemoryError if there is no memory for queries, keys and values
   * @throws io.github.attention4j.AttentionException if the native library or a BLAS is not to be
   *     had
   */
  public void forward(Tensor x, Tensor out) {
    forward(x, x, out, Extras.none());
  }

  /**
   * Applies the layer to sequences that attend to others, or to themselves where both are the same.
   *
   * @param x {@link DType#F32} {@code [batch, len, dimModel]}. Not modified.
   * @param memory what is attended to, {@code [batch, lenK, dimMemory]}. Not modified.
   * @param out {@code [batch, len, dimModel]}. Modified.
   * @param extras logsumexp {@code [batch, heads, len]}, weights {@code [batch, heads, len, lenK]},
   *     dropout; its outputs are modified
   * @throws IllegalArgumentException as {@link #forward(Tensor, Tensor)}, and if an extra does not
   *     fit
   * @throws IllegalStateException if a tensor's arena is closed or confined to another thread
   * @throws OutOfMemoryError if there is no memory for queries, keys and values
   * @throws io.github.attention4j.AttentionException if the native library or a BLAS is not to be
   *     had
   */
  public void forward(Tensor x, Tensor memory, Tensor out, Extras extras) {
    check(x, out);
    Checks.rank("memory", Objects.requireNonNull(memory, "memory"), 3);
    Checks.equal("memory", "x", "batch", memory.size(0), x.size(0));
    Checks.input("memory", memory);
    Checks.disjoint("out", out, "memory", memory);
    try (Scratch scratch = new Scratch()) {
      Tensor q = project(scratch, queryProjection, x, heads);
      Tensor k = project(scratch, keyProjection, memory, headsKv);
      Tensor v = project(scratch, valueProjection, memory, headsKv);
      if (rotary != null) {
        rotary.forward(q, q, 0);
        rotary.forward(k, k, 0);
      }
      Tensor result = scratch.floats(x.size(0), x.size(1), outProjection.dimIn());
      attention.forward(q, k, v, result.splitHeads(heads), extras);
      outProjection.forward(result, out);
    }
  }

  /**
   * Appends new tokens to a cache and applies the layer to them, each seeing the tokens up to its
   * own. Rotary positions go on from the cache's lengths.
   *
   * @param x the new tokens, {@link DType#F32} {@code [batch, len, dimModel]}. Not modified.
   * @param cache as {@link #allocateCache} makes it. Modified.
   * @param out {@code [batch, len, dimModel]}. Modified.
   * @throws IllegalArgumentException as {@link #forward(Tensor, Tensor)}, or if the cache's shape
   *     is another
   * @throws IllegalStateException if the cache has no room, in which case nothing is appended; or
   *     if a tensor's arena is closed or confined to another thread
   * @throws OutOfMemoryError if there is no memory for queries, keys and values
   * @throws io.github.attention4j.AttentionException if the native library or a BLAS is not to be
   *     had
   */
  public void forward(Tensor x, KvCache cache, Tensor out) {
    forward(x, cache, out, Extras.none());
  }

  /**
   * Appends new tokens to a cache, applies the layer to them, and gives what else is asked for;
   * weights have as many keys as the cache's longest length after the new tokens.
   *
   * @param x the new tokens, {@link DType#F32} {@code [batch, len, dimModel]}. Not modified.
   * @param cache as {@link #allocateCache} makes it. Modified.
   * @param out {@code [batch, len, dimModel]}. Modified.
   * @param extras logsumexp, weights, dropout; its outputs are modified
   * @throws IllegalArgumentException as {@link #forward(Tensor, KvCache, Tensor)}, and if an extra
   *     does not fit
   * @throws IllegalStateException if the cache has no room, in which case nothing is appended; or
   *     if a tensor's arena is closed or confined to another thread
   * @throws OutOfMemoryError if there is no memory for queries, keys and values
   * @throws io.github.attention4j.AttentionException if the native library or a BLAS is not to be
   *     had
   */
  public void forward(Tensor x, KvCache cache, Tensor out, Extras extras) {
    Objects.requireNonNull(cache, "cache");
    check(x, out);
    try (Scratch scratch = new Scratch()) {
      Tensor q = project(scratch, queryProjection, x, heads);
      Tensor k = project(scratch, keyProjection, x, headsKv);
      Tensor v = project(scratch, valueProjection, x, headsKv);
      if (rotary != null) {
        int[] starts = cache.lengths();
        rotary.forward(q, q, starts);
        rotary.forward(k, k, starts);
      }
      cache.append(k, v);
      Tensor result = scratch.floats(x.size(0), x.size(1), outProjection.dimIn());
      attention.forward(q, cache, result.splitHeads(heads), extras);
      outProjection.forward(result, out);
    }
  }

  /**
   * Applies the layer to queries, keys and values of their own under valid lengths, as {@code
   * MultiHeadAttention} of "Dive into Deep Learning" (chapter 11.5) does.
   *
   * @param queries {@link DType#F32} {@code [batch, lenQ, dimQueries]}. Not modified.
   * @param keys {@code [batch, lenK, dimKeys]}. Not modified.
   * @param values {@code [batch, lenK, dimValues]}. Not modified.
   * @param validLens how many keys are valid, the same for every head
   * @param out {@code [batch, lenQ, dimModel]}. Modified.
   * @throws IllegalArgumentException as {@link #forward(Tensor, Tensor)}, and if the lengths are
   *     for another batch or number of queries
   * @throws IllegalStateException if a tensor's arena is closed or confined to another thread
   * @throws OutOfMemoryError if there is no memory for queries, keys and values
   * @throws io.github.attention4j.AttentionException if the native library or a BLAS is not to be
   *     had
   */
  public void forward(Tensor queries, Tensor keys, Tensor values, ValidLens validLens, Tensor out) {
    run(queries, keys, values, validLens, out, null);
  }

  /**
   * Applies the layer to queries, keys and values of their own under valid lengths, and gives the
   * weights. The book numbers their rows {@code batch * heads + head}, the same order.
   *
   * @param queries {@code [batch, lenQ, dimQueries]}. Not modified.
   * @param keys {@code [batch, lenK, dimKeys]}. Not modified.
   * @param values {@code [batch, lenK, dimValues]}. Not modified.
   * @param validLens how many keys are valid, the same for every head
   * @param out {@code [batch, lenQ, dimModel]}. Modified.
   * @param weights {@code [batch, heads, lenQ, lenK]}, contiguous. Modified.
   * @throws IllegalArgumentException as {@link #forward(Tensor, Tensor, Tensor, ValidLens,
   *     Tensor)}, and if weights does not fit
   * @throws IllegalStateException if a tensor's arena is closed or confined to another thread
   * @throws OutOfMemoryError if there is no memory for queries, keys and values
   * @throws io.github.attention4j.AttentionException if the native library or a BLAS is not to be
   *     had
   */
  public void forward(
      Tensor queries, Tensor keys, Tensor values, ValidLens validLens, Tensor out, Tensor weights) {
    run(queries, keys, values, validLens, out, Objects.requireNonNull(weights, "weights"));
  }

  private void run(
      Tensor queries, Tensor keys, Tensor values, ValidLens validLens, Tensor out, Tensor weights) {
    Objects.requireNonNull(validLens, "validLens");
    Checks.rank("queries", Objects.requireNonNull(queries, "queries"), 3);
    Checks.rank("out", Objects.requireNonNull(out, "out"), 3);
    Checks.equal("out", "queries", "batch", out.size(0), queries.size(0));
    Checks.equal("out", "queries", "len", out.size(1), queries.size(1));
    Checks.output("out", out);
    Checks.disjoint("out", out, "queries", queries);
    checkMemory("keys", keys, queries, out);
    checkMemory("values", values, queries, out);
    Checks.equal("values", "keys", "len", values.size(1), keys.size(1));
    validLens.check(queries.size(0), queries.size(1));
    try (Scratch scratch = new Scratch()) {
      Tensor q = project(scratch, queryProjection, queries, heads);
      Tensor k = project(scratch, keyProjection, keys, headsKv);
      Tensor v = project(scratch, valueProjection, values, headsKv);
      if (rotary != null) {
        rotary.forward(q, q, 0);
        rotary.forward(k, k, 0);
      }
      Tensor result = scratch.floats(queries.size(0), queries.size(1), outProjection.dimIn());
      validLens.attend(attention, q, k, v, result.splitHeads(heads), weights, scratch);
      outProjection.forward(result, out);
    }
  }

  private static void checkMemory(String name, Tensor memory, Tensor queries, Tensor out) {
    Checks.rank(name, Objects.requireNonNull(memory, name), 3);
    Checks.equal(name, "queries", "batch", memory.size(0), queries.size(0));
    Checks.input(name, memory);
    Checks.disjoint("out", out, name, memory);
  }

  private static void check(Tensor x, Tensor out) {
    Checks.rank("x", Objects.requireNonNull(x, "x"), 3);
    Checks.rank("out", Objects.requireNonNull(out, "out"), 3);
    Checks.equal("out", "x", "batch", out.size(0), x.size(0));
    Checks.equal("out", "x", "len", out.size(1), x.size(1));
    Checks.output("out", out);
    Checks.disjoint("out", out, "x", x);
  }

  private static Tensor project(Scratch scratch, Linear projection, Tensor x, long heads) {
    Tensor rows = scratch.floats(x.size(0), x.size(1), projection.dimOut());
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
    private final Linear query;
    private final Linear key;
    private final Linear value;
    private final Linear out;
    private final Attention.Builder attention = Attention.builder();
    private long heads;
    private long headsKv;
    private RotaryEmbedding rotary;

    private Builder(Linear query, Linear key, Linear value, Linear out) {
      this.query = Objects.requireNonNull(query, "query");
      this.key = Objects.requireNonNull(key, "key");
      this.value = Objects.requireNonNull(value, "value");
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
     * Sets the number of key and value heads, as many as heads where it is not set.
     *
     * @param headsKv at least 1, a divisor of heads
     * @return this builder
     * @throws IllegalArgumentException if headsKv is less than 1
     */
    public Builder headsKv(long headsKv) {
      Checks.positive("headsKv", headsKv);
      this.headsKv = headsKv;
      return this;
    }

    /**
     * Turns queries and keys by their positions; without it they have none.
     *
     * @param rotary replaces the one chosen before
     * @return this builder
     */
    public Builder rotary(RotaryEmbedding rotary) {
      this.rotary = Objects.requireNonNull(rotary, "rotary");
      return this;
    }

    /**
     * Chooses what hides keys from queries; {@link Mask#none()} where it is not chosen.
     *
     * @param mask replaces the one chosen before
     * @return this builder
     */
    public Builder mask(Mask mask) {
      attention.mask(mask);
      return this;
    }

    /**
     * Chooses what multiplies the products of queries and keys.
     *
     * @param scale finite; {@code 1 / sqrt(dim)} where it is not chosen
     * @return this builder
     * @throws IllegalArgumentException if the scale is NaN or, as a float, infinite
     */
    public Builder scale(double scale) {
      attention.scale(scale);
      return this;
    }

    /**
     * Makes the layer.
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
