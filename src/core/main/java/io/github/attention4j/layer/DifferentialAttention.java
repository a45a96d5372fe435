package io.github.attention4j.layer;

import io.github.attention4j.Differential;
import io.github.attention4j.Extras;
import io.github.attention4j.KvCache;
import io.github.attention4j.Mask;
import io.github.attention4j.Tensor;
import io.github.attention4j.internal.Appended;
import io.github.attention4j.internal.Checks;
import io.github.attention4j.internal.Scratch;
import java.lang.foreign.Arena;
import java.lang.foreign.MemorySegment;
import java.lang.foreign.ValueLayout;
import java.util.Objects;

/**
 * A complete layer of differential attention (Ye et al., "Differential Transformer", 2024):
 *
 * <pre>
 *   q, k, v = queryProjection(x), keyProjection(x), valueProjection(x)       rotary on q and k
 *   head_p  = (softmax(scale · q₁ k₁ᵀ) − λ · softmax(scale · q₂ k₂ᵀ)) · v    for each pair p
 *   out     = outProjection(concat of norm(head_p) · (1 − λ_init))
 * </pre>
 *
 * <p>Rotary positions, norm and mask are optional. Microsoft's version has all three (interleaved
 * rotary, RMSNorm with weights, causal); Hugging Face's DiffLlama has {@link
 * Differential.Pairing#HALVES}, half-split rotary and a norm without weights. Version 2 computes λ
 * from each token instead: {@link Builder#lambda(Linear)}.
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
 * <p><b>Widths.</b> With heads of {@code dim} channels, the query projection has {@code 2 · pairs ·
 * dim} outputs, the key and value projections have {@code 2 · pairsKv · dim}, and the output
 * projection has {@code 2 · pairs · dim} inputs. The values of a pair are {@code 2 · dim} wide: the
 * two heads of its {@link Differential.Pairing}. In version 2 keys and values have {@code pairsKv ·
 * dim} channels, the values of a pair are {@code dim} wide, and the output projection has {@code
 * pairs · dim} inputs.
 *
 * <p>A λ from learned vectors is computed when the layer is built.
 */
public final class DifferentialAttention {
  private final Linear queryProjection;
  private final Linear keyProjection;
  private final Linear valueProjection;
  private final Linear outProjection;

  /** Computes λ in version 2; null in version 1. */
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
    Checks.inRange("pairs", pairs, 1, queryProjection.dimOut());
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
      checkDimIn("lambdaProjection", lambdaProjection);
    }
    checkDimIn("keyProjection", keyProjection);
    checkDimIn("valueProjection", valueProjection);
  }

  private void checkDimIn(String name, Linear projection) {
    Checks.equal(
        name + ".dimIn", projection.dimIn(), "queryProjection.dimIn", queryProjection.dimIn());
  }

  /**
   * Starts a layer with its four projections.
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
   * Starts a layer with random projections and vectors for λ, for tests and experiments; see {@link
   * Linear#random}.
   *
   * @param arena supplies the memory of the weights
   * @param dimModel the width of the model, a multiple of {@code 2 · pairs}
   * @param pairs the number of pairs, at least 1
   * @param depth the index of the layer, from 0
   * @param seed the same seed gives the same weights
   * @return a builder with these pairs and λ
   * @throws IllegalArgumentException if pairs is less than 1, dimModel not a positive multiple of
   *     {@code 2 · pairs}, or depth negative
   * @throws OutOfMemoryError if there is not enough memory
   */
  public static Builder random(Arena arena, long dimModel, long pairs, int depth, long seed) {
    Checks.inRange("pairs", pairs, 1, Long.MAX_VALUE / 2);
    Checks.multiple("dimModel", dimModel, "2 * pairs", 2 * pairs);
    RandomWeights random = new RandomWeights(arena, seed);
    long dim = dimModel / (2 * pairs);
    return builder(
            random.linear(dimModel, dimModel),
            random.linear(dimModel, dimModel),
            random.linear(dimModel, dimModel),
            random.linear(dimModel, dimModel))
        .pairs(pairs)
        .lambda(
            random.uniform(0.1, dim),
            random.uniform(0.1, dim),
            random.uniform(0.1, dim),
            random.uniform(0.1, dim),
            depth);
  }

  /**
   * Returns λ.
   *
   * @return as {@link Differential#lambda}; NaN in version 2, where each token has its own
   */
  public float lambda() {
    return lambda;
  }

  /**
   * Returns λ_init; the heads are multiplied by {@code 1 − λ_init}.
   *
   * @return as {@link Differential#lambdaInit}; 0 in version 2
   */
  public float lambdaInit() {
    return lambdaInit;
  }

  /**
   * Optional outputs of a call; null to omit.
   *
   * @param weights the difference of the two maps, {@code [batch, pairs, len, lenK]}, contiguous.
   *     Modified by the call.
   * @param heads each pair's result before the norm and the factor, {@code [batch, pairs, len, 2 ·
   *     dim]}, {@code dim} wide in version 2. Modified by the call.
   */
  public record Taps(Tensor weights, Tensor heads) {
    private static final Taps NONE = new Taps(null, null);
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
    return KvCache.allocate(arena, batch, keyHeads(), dim, valueHeads(), valueDim(), capacity);
  }

  /**
   * Applies the layer to whole sequences.
   *
   * @param x {@code [batch, len, dimModel]}. Not modified.
   * @param out of the same batch and length, {@code [batch, len, dimModel]}. Modified.
   * @throws IllegalArgumentException if types, sizes, strides or alignment do not fit, len exceeds
   *     the rotary table, the mask does not fit, or out is read-only or overlaps x or a weight
   * @throws OutOfMemoryError if there is not enough memory for queries, keys and values
   */
  public void forward(Tensor x, Tensor out) {
    forward(x, out, Taps.NONE);
  }

  /**
   * Applies the layer to whole sequences, with optional outputs.
   *
   * @param x {@code [batch, len, dimModel]}. Not modified.
   * @param out of the same batch and length, {@code [batch, len, dimModel]}. Modified.
   * @param taps the optional outputs; its tensors are modified
   * @throws IllegalArgumentException as {@link #forward(Tensor, Tensor)}, and if a tap does not fit
   * @throws OutOfMemoryError if there is not enough memory for queries, keys and values
   */
  public void forward(Tensor x, Tensor out, Taps taps) {
    Objects.requireNonNull(taps, "taps");
    outProjection.checkLayer("x", x, out);
    try (Scratch scratch = new Scratch()) {
      Projected own = project(scratch, x, null);
      Tensor heads = scratch.room(x.size(0), x.size(1), pairs, width());
      if (isVersion2()) {
        Tensor lambdas = lambdas(scratch, x);
        attention.forward(own.q, own.k, own.v, lambdas, heads.transpose(1, 2), extras(taps));
      } else {
        attention.forward(own.q, own.k, own.v, lambda, heads.transpose(1, 2), extras(taps));
      }
      finish(heads, out, taps);
    }
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
    forward(x, cache, out, Taps.NONE);
  }

  /**
   * Appends new tokens to a cache and applies the layer to them, with optional outputs; weights
   * have as many keys as the cache's longest length, including the new tokens. If it throws, the
   * cache has the lengths that it had before.
   *
   * @param x the new tokens, {@code [batch, len, dimModel]}. Not modified.
   * @param cache as {@link #allocateCache} makes it. Modified.
   * @param out {@code [batch, len, dimModel]}. Modified.
   * @param taps the optional outputs; its tensors are modified
   * @throws IllegalArgumentException as {@link #forward(Tensor, KvCache, Tensor)}, and if a tap
   *     does not fit
   * @throws IllegalStateException if the cache has no room
   * @throws OutOfMemoryError if there is not enough memory for queries, keys and values
   */
  public void forward(Tensor x, KvCache cache, Tensor out, Taps taps) {
    Objects.requireNonNull(cache, "cache");
    Objects.requireNonNull(taps, "taps");
    outProjection.checkLayer("x", x, out);
    try (Scratch scratch = new Scratch()) {
      Projected own = project(scratch, x, cache.lengths());
      try (Appended rows = new Appended(cache, own.k, own.v)) {
        Tensor heads = scratch.room(x.size(0), x.size(1), pairs, width());
        if (isVersion2()) {
          Tensor lambdas = lambdas(scratch, x);
          attention.forward(own.q, cache, lambdas, heads.transpose(1, 2), extras(taps));
        } else {
          attention.forward(own.q, cache, lambda, heads.transpose(1, 2), extras(taps));
        }
        finish(heads, out, taps);
        rows.keep();
      }
    }
  }

  /** Each is {@code [batch, heads, len, dim]}. */
  private record Projected(Tensor q, Tensor k, Tensor v) {}

  /** Projects and rotates; each batch's positions begin at its start, or at 0 if that is null. */
  private Projected project(Scratch scratch, Tensor x, int[] starts) {
    Tensor q = project(scratch, queryProjection, x, 2 * pairs);
    Tensor k = project(scratch, keyProjection, x, keyHeads());
    Tensor v = project(scratch, valueProjection, x, valueHeads());
    if (rotary != null && starts == null) {
      rotary.forward(q, q);
      rotary.forward(k, k);
    } else if (rotary != null) {
      rotary.forward(q, q, starts);
      rotary.forward(k, k, starts);
    }
    return new Projected(q, k, v);
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

  /** The width of a pair's values and of its result. */
  private long width() {
    return isVersion2() ? dim : 2 * dim;
  }

  /** Interleaved heads of a pair are adjacent, so they form one wide head. */
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
    private Differential.KeyMap keyMap = Differential.KeyMap.PAIRS;
    private RotaryEmbedding rotary;
    private RmsNorm norm;

    private Builder(Linear query, Linear key, Linear value, Linear out) {
      this.query = Objects.requireNonNull(query, "query");
      this.key = Objects.requireNonNull(key, "key");
      this.value = Objects.requireNonNull(value, "value");
      this.out = Objects.requireNonNull(out, "out");
    }

    /**
     * Sets the number of pairs, that is, of output heads. Required.
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
     * Sets the number of pairs of keys and values.
     *
     * @param pairsKv at least 1, a divisor of pairs; the default is pairs
     * @return this builder
     * @throws IllegalArgumentException if pairsKv is less than 1
     */
    public Builder pairsKv(long pairsKv) {
      Checks.positive("pairsKv", pairsKv);
      this.pairsKv = pairsKv;
      return this;
    }

    /**
     * Computes λ from learned vectors. Either this or a projection is required.
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
     * Computes λ of each token and pair by a projection and a sigmoid, as Differential Transformer
     * V2 does. Both maps of a pair read the same keys ({@link Differential.KeyMap#SHARED}), and
     * there is neither λ_init nor a norm.
     *
     * @param projection from the model's width to the number of pairs
     * @return this builder
     */
    public Builder lambda(Linear projection) {
      lambdaProjection = Objects.requireNonNull(projection, "projection");
      attention.lambdaForm(Differential.LambdaForm.SIGMOID);
      return keyMap(Differential.KeyMap.SHARED);
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
     * Normalises each pair's result, {@code 2 · dim} wide; the factor {@code 1 − λ_init} replaces
     * the norm's own scale.
     *
     * @param norm the default is to apply only the factor
     * @return this builder
     */
    public Builder norm(RmsNorm norm) {
      this.norm = Objects.requireNonNull(norm, "norm");
      return this;
    }

    /**
     * Sets the mask, which hides keys from queries.
     *
     * @param mask the default is {@link Mask#none()}
     * @return this builder
     */
    public Builder mask(Mask mask) {
      attention.mask(mask);
      return this;
    }

    /**
     * Sets which two heads are a pair.
     *
     * @param pairing the default is {@link Differential.Pairing#INTERLEAVED}
     * @return this builder
     */
    public Builder pairing(Differential.Pairing pairing) {
      attention.pairing(pairing);
      return this;
    }

    /**
     * Sets which keys a pair reads if pairs share keys.
     *
     * @param keyMap the default is {@link Differential.KeyMap#PAIRS}
     * @return this builder
     */
    public Builder keyMap(Differential.KeyMap keyMap) {
      attention.keyMap(keyMap);
      this.keyMap = keyMap;
      return this;
    }

    /**
     * Builds the layer.
     *
     * @return an immutable layer with the options chosen so far
     * @throws IllegalStateException if pairs or λ has not been set, or options of the two versions
     *     are mixed
     * @throws IllegalArgumentException if the projections' widths do not fit the numbers of pairs
     */
    public DifferentialAttention build() {
      if (pairs == 0) {
        throw new IllegalStateException("pairs must be set");
      }
      if (lambdaProjection == null && Float.isNaN(lambda)) {
        throw new IllegalStateException("lambda must be set and must not be NaN");
      }
      if (lambdaProjection != null && (norm != null || !Float.isNaN(lambda))) {
        throw new IllegalStateException(
            "a projection of lambda excludes learned vectors and a norm");
      }
      boolean shared = keyMap == Differential.KeyMap.SHARED;
      if (shared != (lambdaProjection != null)) {
        throw new IllegalStateException(
            "KeyMap.SHARED and a projection of lambda require each other: both are version 2");
      }
      return new DifferentialAttention(this);
    }
  }
}
