package io.github.attention4j.layer;

import io.github.attention4j.DType;
import io.github.attention4j.Differential;
import io.github.attention4j.Extras;
import io.github.attention4j.KvCache;
import io.github.attention4j.Mask;
import io.github.attention4j.Tensor;
import io.github.attention4j.internal.Checks;
import io.github.attention4j.internal.Scratch;
import java.lang.foreign.Arena;
import java.lang.foreign.MemorySegment;
import java.lang.foreign.ValueLayout;
import java.util.Objects;

/**
 * A whole layer of differential attention (Ye et al., "Differential Transformer", 2024):
 *
 * <pre>
 *   q, k, v = queryProjection(x), keyProjection(x), valueProjection(x)       rotary on q and k
 *   head_p  = (softmax(scale · q₁ k₁ᵀ) − λ · softmax(scale · q₂ k₂ᵀ)) · v    for each pair p
 *   out     = outProjection(concat of norm(head_p) · (1 − λ_init))
 * </pre>
 *
 * <p>The founding version has neither rotary positions, norm nor mask; Microsoft's has all three
 * (interleaved rotary, RMSNorm with weights, causal); Hugging Face's DiffLlama has {@link
 * Differential.Pairing#HALVES}, half-split rotary and a norm without weights. Version 2 takes λ
 * from the token instead: {@link Builder#lambda(Linear)}.
 *
 * <pre>{@code
 * DifferentialAttention layer =
 *     DifferentialAttention.builder(queryProjection, keyProjection, valueProjection, outProjection)
 *         .pairs(4)
 *         .lambda(lambdaQ1, lambdaK1, lambdaQ2, lambdaK2, depth)
 *         .rotary(rotary)
 *         .norm(RmsNorm.of(weight, 1e-5))
 *         .mask(Mask.causal(Alignment.BOTTOM_RIGHT))
 *         .build();
 * layer.forward(x, out);
 * }</pre>
 *
 * <p><b>Widths.</b> With heads of {@code dim} channels, the query projection gives {@code 2 · pairs
 * · dim}, keys and values {@code 2 · pairsKv · dim}, and the output projection takes {@code 2 ·
 * pairs · dim}. A pair's values are {@code 2 · dim} wide: the two heads of its {@link
 * Differential.Pairing}. In version 2 keys and values are {@code pairsKv · dim}, a pair's values
 * {@code dim} wide, and the output projection takes {@code pairs · dim}.
 *
 * <p>Immutable and safe for any number of threads. λ of learned vectors is computed when the layer
 * is built.
 */
public final class DifferentialAttention {
  private final Linear queryProjection;
  private final Linear keyProjection;
  private final Linear valueProjection;
  private final Linear outProjection;

  /** Gives λ in version 2; null in version 1. */
  private final Linear lambdaProjection;

  private final long pairs;
  private final long pairsKv;
  private final long dim;
  private final float lambda;
  private final float lambdaInit;
  private final RotaryEmbedding rotary;
  private final RmsNorm norm;
  private final Differential attention;

  private DifferentialAttention(Builder builder) {
    queryProjection = builder.query;
    keyProjection = builder.key;
    valueProjection = builder.value;
    outProjection = builder.out;
    lambdaProjection = builder.lambdaProjection;
    pairs = builder.pairs;
    pairsKv = builder.pairsKv == 0 ? pairs : builder.pairsKv;
    lambda = builder.lambda;
    lambdaInit = builder.lambdaInit;
    rotary = builder.rotary;
    norm = builder.norm == null ? null : builder.norm.withScale(1 - (double) lambdaInit);
    attention = builder.attention.build();
    dim = queryProjection.dimOut() / (2 * pairs);
    Checks.equal(
        "queryProjection.dimOut", queryProjection.dimOut(), "2 * pairs * dim", 2 * pairs * dim);
    Checks.multiple("pairs", pairs, "pairsKv", pairsKv);
    String widthKv = isVersion2() ? "pairsKv * dim" : "2 * pairsKv * dim";
    Checks.equal("keyProjection.dimOut", keyProjection.dimOut(), widthKv, keyHeads() * dim);
    Checks.equal("valueProjection.dimOut", valueProjection.dimOut(), widthKv, keyHeads() * dim);
    Checks.equal(
        "outProjection.dimIn",
        outProjection.dimIn(),
        isVersion2() ? "pairs * dim" : "2 * pairs * dim",
        pairs * width());
    if (isVersion2()) {
      Checks.equal("lambdaProjection.dimOut", lambdaProjection.dimOut(), "pairs", pairs);
      Checks.equal(
          "lambdaProjection.dimIn",
          lambdaProjection.dimIn(),
          "queryProjection.dimIn",
          queryProjection.dimIn());
    }
    Checks.equal(
        "keyProjection.dimIn",
        keyProjection.dimIn(),
        "queryProjection.dimIn",
        queryProjection.dimIn());
    Checks.equal(
        "valueProjection.dimIn",
        valueProjection.dimIn(),
        "queryProjection.dimIn",
        queryProjection.dimIn());
  }

  /**
   * Starts a layer of its four projections.
   *
   * @param query from the model's width to {@code 2 · pairs · dim}
   * @param key from the model's width to {@code 2 · pairsKv · dim}
   * @param value from the model's width to {@code 2 · pairsKv · dim}
   * @param out from {@code 2 · pairs · dim} to the model's width
   * @return a builder
   */
  public static Builder builder(Linear query, Linear key, Linear value, Linear out) {
    return new Builder(query, key, value, out);
  }

  /**
   * Returns the λ that it computes with.
   *
   * @return as {@link Differential#lambda}; NaN in version 2, where each token has its own
   */
  public float lambda() {
    return lambda;
  }

  /**
   * Returns the initial λ of its depth, by whose rest to 1 the heads are multiplied.
   *
   * @return as {@link Differential#lambdaInit}; 0 in version 2
   */
  public float lambdaInit() {
    return lambdaInit;
  }

  /**
   * What a call shows from its inside; null where it is not wanted.
   *
   * @param weights the difference of the two maps, {@code [batch, pairs, len, lenK]}, contiguous.
   *     Modified by the call.
   * @param heads each pair's result before norm and factor, {@code [batch, pairs, len, 2 · dim]},
   *     {@code dim} wide in version 2. Modified by the call.
   */
  public record Taps(Tensor weights, Tensor heads) {
    private static final Taps NONE = new Taps(null, null);
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
    return KvCache.allocate(arena, batch, keyHeads(), dim, valueHeads(), valueDim(), capacity);
  }

  /**
   * Applies the layer to whole sequences.
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
    forward(x, out, Taps.NONE);
  }

  /**
   * Applies the layer to whole sequences, and shows its inside.
   *
   * @param x {@link DType#F32} {@code [batch, len, dimModel]}. Not modified.
   * @param out of the same batch and length, {@code [batch, len, dimModel]}. Modified.
   * @param taps what else is wanted; its tensors are modified
   * @throws IllegalArgumentException as {@link #forward(Tensor, Tensor)}, and if a tap does not fit
   * @throws IllegalStateException if a tensor's arena is closed or confined to another thread
   * @throws OutOfMemoryError if there is no memory for queries, keys and values
   * @throws io.github.attention4j.AttentionException if the native library or a BLAS is not to be
   *     had
   */
  public void forward(Tensor x, Tensor out, Taps taps) {
    Objects.requireNonNull(taps, "taps");
    check(x, out);
    try (Scratch scratch = new Scratch()) {
      Tensor q = project(scratch, queryProjection, x, 2 * pairs);
      Tensor k = project(scratch, keyProjection, x, keyHeads());
      Tensor v = project(scratch, valueProjection, x, valueHeads());
      if (rotary != null) {
        rotary.forward(q, q, 0);
        rotary.forward(k, k, 0);
      }
      Tensor heads = scratch.room(x.size(0), x.size(1), pairs, width());
      if (isVersion2()) {
        Tensor lambdas = lambdas(scratch, x);
        attention.forward(q, k, v, lambdas, heads.transpose(1, 2), extras(taps));
      } else {
        attention.forward(q, k, v, lambda, heads.transpose(1, 2), extras(taps));
      }
      finish(heads, out, taps);
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
    forward(x, cache, out, Taps.NONE);
  }

  /**
   * Appends new tokens to a cache, applies the layer to them, and shows its inside; weights have as
   * many keys as the cache's longest length after the new tokens.
   *
   * @param x the new tokens, {@link DType#F32} {@code [batch, len, dimModel]}. Not modified.
   * @param cache as {@link #allocateCache} makes it. Modified.
   * @param out {@code [batch, len, dimModel]}. Modified.
   * @param taps what else is wanted; its tensors are modified
   * @throws IllegalArgumentException as {@link #forward(Tensor, KvCache, Tensor)}, and if a tap
   *     does not fit
   * @throws IllegalStateException if the cache has no room, in which case nothing is appended; or
   *     if a tensor's arena is closed or confined to another thread
   * @throws OutOfMemoryError if there is no memory for queries, keys and values
   * @throws io.github.attention4j.AttentionException if the native library or a BLAS is not to be
   *     had
   */
  public void forward(Tensor x, KvCache cache, Tensor out, Taps taps) {
    Objects.requireNonNull(cache, "cache");
    Objects.requireNonNull(taps, "taps");
    check(x, out);
    try (Scratch scratch = new Scratch()) {
      Tensor q = project(scratch, queryProjection, x, 2 * pairs);
      Tensor k = project(scratch, keyProjection, x, keyHeads());
      Tensor v = project(scratch, valueProjection, x, valueHeads());
      if (rotary != null) {
        int[] starts = cache.lengths();
        rotary.forward(q, q, starts);
        rotary.forward(k, k, starts);
      }
      cache.append(k, v);
      Tensor heads = scratch.room(x.size(0), x.size(1), pairs, width());
      if (isVersion2()) {
        Tensor lambdas = lambdas(scratch, x);
        attention.forward(q, cache, lambdas, heads.transpose(1, 2), extras(taps));
      } else {
        attention.forward(q, cache, lambda, heads.transpose(1, 2), extras(taps));
      }
      finish(heads, out, taps);
    }
  }

  private void check(Tensor x, Tensor out) {
    Checks.rank("x", Objects.requireNonNull(x, "x"), 3);
    Checks.rank("out", Objects.requireNonNull(out, "out"), 3);
    Checks.equal("out", "x", "batch", out.size(0), x.size(0));
    Checks.equal("out", "x", "len", out.size(1), x.size(1));
    Checks.output("out", out);
    Checks.disjoint("out", out, "x", x);
  }

  private static Tensor project(Scratch scratch, Linear projection, Tensor x, long heads) {
    Tensor rows = scratch.room(x.size(0), x.size(1), projection.dimOut());
    projection.forward(x, rows);
    return rows.splitHeads(heads);
  }

  private boolean isVersion2() {
    return lambdaProjection != null;
  }

  /** λ of each token before the sigmoid, {@code [batch, pairs, len]}. */
  private Tensor lambdas(Scratch scratch, Tensor x) {
    Tensor rows = scratch.room(x.size(0), x.size(1), pairs);
    lambdaProjection.forward(x, rows);
    return rows.transpose(1, 2);
  }

  private long keyHeads() {
    return isVersion2() ? pairsKv : 2 * pairsKv;
  }

  /** The width of a pair's values and result. */
  private long width() {
    return isVersion2() ? dim : 2 * dim;
  }

  /** Interleaved heads of a pair lie side by side, and are one wide head. */
  private long valueHeads() {
    boolean narrow = attention.pairing() == Differential.Pairing.HALVES && !isVersion2();
    return narrow ? 2 * pairsKv : pairsKv;
  }

  private long valueDim() {
    return pairsKv * width() / valueHeads();
  }

  private static Extras extras(Taps taps) {
    return taps.weights() == null ? Extras.none() : Extras.none().weights(taps.weights());
  }

  private void finish(Tensor heads, Tensor out, Taps taps) {
    if (taps.heads() != null) {
      taps.heads().copyFrom(heads.transpose(1, 2));
    }
    if (norm != null) {
      norm.forward(heads, heads);
    } else if (!isVersion2()) {
      scale(heads, 1 - lambdaInit);
    }
    outProjection.forward(heads.reshape(heads.size(0), heads.size(1), pairs * width()), out);
  }

  private static void scale(Tensor contiguous, float factor) {
    MemorySegment segment = Checks.first(contiguous);
    for (long i = 0; i < contiguous.count(); i++) {
      float value = segment.getAtIndex(ValueLayout.JAVA_FLOAT, i);
      segment.setAtIndex(ValueLayout.JAVA_FLOAT, i, value * factor);
    }
  }

  /** Collects the options of a {@link DifferentialAttention}. Not safe for several threads. */
  public static final class Builder {
    private final Linear query;
    private final Linear key;
    private final Linear value;
    private final Linear out;
    private final Differential.Builder attention = Differential.builder();
    private long pairs;
    private long pairsKv;
    private Linear lambdaProjection;
    private float lambda = Float.NaN;
    private float lambdaInit;
    private RotaryEmbedding rotary;
    private RmsNorm norm;

    private Builder(Linear query, Linear key, Linear value, Linear out) {
      this.query = Objects.requireNonNull(query, "query");
      this.key = Objects.requireNonNull(key, "key");
      this.value = Objects.requireNonNull(value, "value");
      this.out = Objects.requireNonNull(out, "out");
    }

    /**
     * Sets the number of pairs, which are the layer's output heads. Required.
     *
     * @param pairs at least 1
     * @return this builder
     * @throws IllegalArgumentException if pairs is less than 1
     */
    public Builder pairs(long pairs) {
      Checks.positive("pairs", pairs);
      this.pairs = pairs;
      return this;
    }

    /**
     * Sets the number of pairs of keys and values, as many as pairs where it is not set.
     *
     * @param pairsKv at least 1, a divisor of pairs
     * @return this builder
     * @throws IllegalArgumentException if pairsKv is less than 1
     */
    public Builder pairsKv(long pairsKv) {
      Checks.positive("pairsKv", pairsKv);
      this.pairsKv = pairsKv;
      return this;
    }

    /**
     * Sets λ from its learned vectors. Either this or a projection is required.
     *
     * @param lambdaQ1 floats {@code [dim]}. Not modified.
     * @param lambdaK1 floats {@code [dim]}. Not modified.
     * @param lambdaQ2 floats {@code [dim]}. Not modified.
     * @param lambdaK2 floats {@code [dim]}. Not modified.
     * @param depth the layer's number, from 0
     * @return this builder
     * @throws IllegalArgumentException as {@link Differential#lambda}
     */
    public Builder lambda(
        Tensor lambdaQ1, Tensor lambdaK1, Tensor lambdaQ2, Tensor lambdaK2, int depth) {
      lambda = Differential.lambda(lambdaQ1, lambdaK1, lambdaQ2, lambdaK2, depth);
      lambdaInit = Differential.lambdaInit(depth);
      return this;
    }

    /**
     * Takes λ of each token and pair from a projection, through a sigmoid: Differential Transformer
     * V2. Both maps of a pair read the same keys ({@link Differential.KeyMap#SHARED}), there is no
     * λ_init, and no norm.
     *
     * @param projection from the model's width to pairs
     * @return this builder
     */
    public Builder lambda(Linear projection) {
      lambdaProjection = Objects.requireNonNull(projection, "projection");
      attention.keyMap(Differential.KeyMap.SHARED).lambdaForm(Differential.LambdaForm.SIGMOID);
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
     * Normalises each pair's result, {@code 2 · dim} wide; the factor {@code 1 − λ_init} replaces
     * the norm's own scale. Without a norm the factor alone is applied.
     *
     * @param norm replaces the one chosen before
     * @return this builder
     */
    public Builder norm(RmsNorm norm) {
      this.norm = Objects.requireNonNull(norm, "norm");
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
     * Chooses which two heads make a pair; {@link Differential.Pairing#INTERLEAVED} where it is not
     * chosen.
     *
     * @param pairing replaces the one chosen before
     * @return this builder
     */
    public Builder pairing(Differential.Pairing pairing) {
      attention.pairing(pairing);
      return this;
    }

    /**
     * Chooses which keys a pair reads where pairs share them; {@link Differential.KeyMap#PAIRS}
     * where it is not chosen.
     *
     * @param keyMap replaces the one chosen before
     * @return this builder
     */
    public Builder keyMap(Differential.KeyMap keyMap) {
      attention.keyMap(keyMap);
      return this;
    }

    /**
     * Makes the layer.
     *
     * @return an immutable layer with the options chosen so far
     * @throws IllegalStateException if pairs or λ have not been set, or options of the two versions
     *     are mixed
     * @throws IllegalArgumentException if the projections' widths do not fit the numbers of pairs
     */
    public DifferentialAttention build() {
      if (pairs == 0) {
        throw new IllegalStateException("pairs must be set");
      }
      if (lambdaProjection == null && Float.isNaN(lambda)) {
        throw new IllegalStateException("lambda must be set, and be a number");
      }
      if (lambdaProjection != null && (norm != null || !Float.isNaN(lambda))) {
        throw new IllegalStateException(
            "a projection of lambda goes with neither learned vectors nor a norm");
      }
      boolean shared = attention.build().keyMap() == Differential.KeyMap.SHARED;
      if (shared != (lambdaProjection != null)) {
        throw new IllegalStateException(
            "KeyMap.SHARED and a projection of lambda go together, they are version 2");
      }
      return new DifferentialAttention(this);
    }
  }
}
