package io.github.attention4j;

import io.github.attention4j.internal.Checks;
import io.github.attention4j.internal.Descriptor;
import java.util.Arrays;
import java.util.Objects;

/**
 * Differential attention (Ye et al., "Differential Transformer", 2024): two heads of queries and
 * keys make two softmax maps over the same values, and taking the difference cancels what both
 * attend to. One fused pass reads the values once:
 *
 * <pre>
 *   out = (softmax(scale · q₁ k₁ᵀ) − λ · softmax(scale · q₂ k₂ᵀ)) · v
 * </pre>
 *
 * <pre>{@code
 * Differential attention = Differential.builder().pairing(Differential.Pairing.HALVES).build();
 * attention.forward(q, k, v, 0.35f, out);
 * }</pre>
 *
 * <p><b>Shapes.</b> Types are as in {@link Attention}, and each output head is a pair:
 *
 * <pre>
 *   q    [batch, 2 · pairs,   lenQ, dim]
 *   k    [batch, 2 · pairsKv, lenK, dim]       pairs is a multiple of pairsKv
 *   v    [batch, pairsKv, lenK, dimV]          wide: a pair's values are one row, or
 *        [batch, 2 · pairsKv, lenK, dimV / 2]  narrow: the concatenated rows of its two heads
 *   out  [batch, pairs, lenQ, dimV]
 * </pre>
 *
 * {@link Pairing} says which two heads of q, of k and of narrow values are a pair; {@link KeyMap}
 * says which keys a pair reads if pairs share keys. The values of pair h are those of pair {@code h
 * / (pairs / pairsKv)}. Strides are free as in {@link Attention}; nothing is copied.
 *
 * <p><b>Version 2</b> (Microsoft, "Differential Transformer V2") keeps the keys of ordinary
 * attention: twice the query heads over headsKv heads of keys and of values, pairs a multiple of
 * headsKv, and a λ for each token and pair, computed by a projection:
 *
 * <pre>{@code
 * Differential v2 =
 *     Differential.builder()
 *         .keyMap(Differential.KeyMap.SHARED)
 *         .lambdaForm(Differential.LambdaForm.SIGMOID)
 *         .build();
 * v2.forward(q, k, v, lambda.transpose(1, 2), out); // lambda [batch, lenQ, pairs]
 * }</pre>
 *
 * <p>Masks, scale, soft-cap, ALiBi, the caller's own score and sinks are those of {@link Attention}
 * and apply to both maps. A query that sees no key has output 0, weights 0 and both logsumexps −∞
 * (with sinks: the sinks).
 *
 * <p>Results cannot be {@linkplain Attention#merge merged}: each map would need its own factor, and
 * only their difference is left. Append to a {@link KvCache} instead.
 *
 * <p><b>Threads.</b> Immutable, and safe for any number of threads at once; as {@link Attention}.
 */
public final class Differential {
  /** Which two heads are a pair. */
  public enum Pairing {
    /** Pair h is heads 2h and 2h + 1, as in Microsoft's code. */
    INTERLEAVED,

    /** Pair h is heads h and h + pairs: Hugging Face's DiffLlama. */
    HALVES
  }

  /**
   * Which keys a pair reads. {@link #PAIRS} and {@link #HEADS} differ only where {@code r = pairs /
   * pairsKv} pairs share keys, and not with {@link Pairing#HALVES}.
   */
  public enum KeyMap {
    /** Both maps of pair h read key pair {@code h / r}: pairs are grouped (the main form). */
    PAIRS,

    /**
     * Single key heads are repeated: map m of pair h reads key head {@code (2h + m) / r}, even if
     * it belongs to another pair (as in Microsoft's {@code multihead_diffattn.py}).
     */
    HEADS,

    /**
     * Keys are not paired: both maps of pair h read key head {@code h / (pairs / headsKv)}, and
     * values have as many heads as keys (Differential Transformer V2).
     */
    SHARED
  }

  /** How the λ of a call is turned into the factor of the second map. */
  public enum LambdaForm {
    /** λ is the factor. */
    AS_GIVEN,

    /** The factor is {@code sigmoid(λ) = 1 / (1 + exp(-λ))} (Differential Transformer V2). */
    SIGMOID
  }

  private final Pairing pairing;
  private final KeyMap keyMap;
  private final LambdaForm lambdaForm;
  private final Options options;

  private Differential(Pairing pairing, KeyMap keyMap, LambdaForm lambdaForm, Options options) {
    this.pairing = pairing;
    this.keyMap = keyMap;
    this.lambdaForm = lambdaForm;
    this.options = options;
  }

  /**
   * Starts with the defaults: {@link Pairing#INTERLEAVED}, {@link KeyMap#PAIRS}, no mask, scale
   * {@code 1 / sqrt(dim)}, {@link A4j#threads()}.
   *
   * @return a builder
   */
  public static Builder builder() {
    return new Builder();
  }

  /**
   * Returns this attention with another mask.
   *
   * @param mask replaces the current mask
   * @return a new attention
   * @throws IllegalArgumentException if the mask places the queries among the keys differently than
   *     ALiBi or the score do, or the expressions of mask and score read more than 4 tables
   */
  public Differential withMask(Mask mask) {
    return new Differential(pairing, keyMap, lambdaForm, options.withMask(mask));
  }

  /**
   * Returns the mask.
   *
   * @return the mask; {@link Mask#none()} by default
   */
  public Mask mask() {
    return options.mask();
  }

  /**
   * Returns which two heads are a pair.
   *
   * @return the pairing
   */
  public Pairing pairing() {
    return pairing;
  }

  /**
   * Returns which keys a pair reads.
   *
   * @return the map
   */
  public KeyMap keyMap() {
    return keyMap;
  }

  // ---- Lambda ----

  /**
   * Returns the initial λ of a layer, {@code 0.8 − 0.6 · exp(−0.3 · depth)}.
   *
   * @param depth the layer's number, from 0
   * @return λ_init, from 0.2 towards 0.8
   * @throws IllegalArgumentException if depth is negative
   */
  public static float lambdaInit(int depth) {
    return (float) exactLambdaInit(depth);
  }

  /**
   * Returns the λ of a layer from its four learned vectors:
   *
   * <pre>
   *   λ = exp(lambdaQ1 · lambdaK1) − exp(lambdaQ2 · lambdaK2) + λ_init(depth)
   * </pre>
   *
   * @param lambdaQ1 floats {@code [dim]}. Not modified.
   * @param lambdaK1 floats {@code [dim]}. Not modified.
   * @param lambdaQ2 floats {@code [dim]}. Not modified.
   * @param lambdaK2 floats {@code [dim]}. Not modified.
   * @param depth the layer's number, from 0
   * @return λ
   * @throws IllegalArgumentException if a vector's rank is not 1 or its type not a float, the sizes
   *     differ, or depth is negative
   */
  public static float lambda(
      Tensor lambdaQ1, Tensor lambdaK1, Tensor lambdaQ2, Tensor lambdaK2, int depth) {
    double first = Math.exp(dot("lambdaQ1", lambdaQ1, "lambdaK1", lambdaK1));
    double second = Math.exp(dot("lambdaQ2", lambdaQ2, "lambdaK2", lambdaK2));
    Checks.equal("lambdaQ2.dim", lambdaQ2.size(0), "lambdaQ1.dim", lambdaQ1.size(0));
    return (float) (first - second + exactLambdaInit(depth));
  }

  private static double exactLambdaInit(int depth) {
    Checks.inRange("depth", depth, 0, Integer.MAX_VALUE);
    return 0.8 - 0.6 * Math.exp(-0.3 * depth);
  }

  private static double dot(String nameA, Tensor a, String nameB, Tensor b) {
    Checks.rank(nameA, Objects.requireNonNull(a, nameA), 1);
    Checks.rank(nameB, Objects.requireNonNull(b, nameB), 1);
    Checks.equal(nameB + ".dim", b.size(0), nameA + ".dim", a.size(0));
    double sum = 0;
    for (long i = 0; i < a.size(0); i++) {
      sum += (double) a.getFloat(i) * b.getFloat(i);
    }
    return sum;
  }

  // ---- Computing ----

  /**
   * Computes differential attention with a single λ.
   *
   * @param q queries {@code [batch, 2 · pairs, lenQ, dim]}. Not modified.
   * @param k keys {@code [batch, 2 · pairsKv, lenK, dim]}. Not modified.
   * @param v values {@code [batch, pairsKv, lenK, dimV]} or {@code [batch, 2 · pairsKv, lenK, dimV
   *     / 2]}. Not modified.
   * @param lambda the factor of the second map
   * @param out the result {@code [batch, pairs, lenQ, dimV]}, overwritten. Modified.
   * @throws IllegalArgumentException if types, ranks, shapes, strides or alignment do not fit, if
   *     the mask does not fit the shapes, or if out is read-only or overlaps an input or itself
   */
  public void forward(Tensor q, Tensor k, Tensor v, float lambda, Tensor out) {
    forward(q, k, v, lambda, out, Extras.none());
  }

  /**
   * Computes differential attention with a single λ, with extras.
   *
   * @param q queries {@code [batch, 2 · pairs, lenQ, dim]}. Not modified.
   * @param k keys {@code [batch, 2 · pairsKv, lenK, dim]}. Not modified.
   * @param v values {@code [batch, pairsKv, lenK, dimV]} or {@code [batch, 2 · pairsKv, lenK, dimV
   *     / 2]}. Not modified.
   * @param lambda the factor of the second map
   * @param out the result {@code [batch, pairs, lenQ, dimV]}, overwritten. Modified.
   * @param extras logsumexp {@code [batch, pairs, 2, lenQ]}, weights {@code [batch, pairs, lenQ,
   *     lenK]} (the difference of the maps), dropout; its outputs are modified
   * @throws IllegalArgumentException as {@link #forward(Tensor, Tensor, Tensor, float, Tensor)},
   *     and if an output among the extras overlaps any other tensor of the call
   */
  public void forward(Tensor q, Tensor k, Tensor v, float lambda, Tensor out, Extras extras) {
    AttentionCall call = call(q, k, v, out, extras);
    call.lambdaValue = lambda;
    call.run(options, extras);
  }

  /**
   * Computes differential attention with a λ for each pair or each query.
   *
   * @param q queries {@code [batch, 2 · pairs, lenQ, dim]}. Not modified.
   * @param k keys {@code [batch, 2 · pairsKv, lenK, dim]}. Not modified.
   * @param v values {@code [batch, pairsKv, lenK, dimV]} or {@code [batch, 2 · pairsKv, lenK, dimV
   *     / 2]}. Not modified.
   * @param lambda the factor of the second map: {@code [1]} or a scalar, {@code [pairs]}, or {@code
   *     [batch, pairs, lenQ]}, in which sizes may be 1. Not modified.
   * @param out the result {@code [batch, pairs, lenQ, dimV]}, overwritten. Modified.
   * @throws IllegalArgumentException as {@link #forward(Tensor, Tensor, Tensor, float, Tensor)}
   */
  public void forward(Tensor q, Tensor k, Tensor v, Tensor lambda, Tensor out) {
    forward(q, k, v, lambda, out, Extras.none());
  }

  /**
   * Computes differential attention with a λ for each pair or each query, with extras.
   *
   * @param q queries {@code [batch, 2 · pairs, lenQ, dim]}. Not modified.
   * @param k keys {@code [batch, 2 · pairsKv, lenK, dim]}. Not modified.
   * @param v values {@code [batch, pairsKv, lenK, dimV]} or {@code [batch, 2 · pairsKv, lenK, dimV
   *     / 2]}. Not modified.
   * @param lambda the factor of the second map: {@code [1]} or a scalar, {@code [pairs]}, or {@code
   *     [batch, pairs, lenQ]}, in which sizes may be 1. Not modified.
   * @param out the result {@code [batch, pairs, lenQ, dimV]}, overwritten. Modified.
   * @param extras logsumexp {@code [batch, pairs, 2, lenQ]}, weights {@code [batch, pairs, lenQ,
   *     lenK]} (the difference of the maps), dropout; its outputs are modified
   * @throws IllegalArgumentException as {@link #forward(Tensor, Tensor, Tensor, float, Tensor)},
   *     and if an output among the extras overlaps any other tensor of the call
   */
  public void forward(Tensor q, Tensor k, Tensor v, Tensor lambda, Tensor out, Extras extras) {
    Objects.requireNonNull(lambda, "lambda");
    AttentionCall call = call(q, k, v, out, extras);
    putLambda(call, lambda);
    call.run(options, extras);
  }

  /**
   * Computes differential attention over the keys and values of a cache. Each query sees the keys
   * up to its own, as in {@link Attention#forward(Tensor, KvCache, Tensor)}.
   *
   * @param q queries {@code [batch, 2 · pairs, lenQ, dim]}. Not modified.
   * @param cache keys and values, of the shapes of k and v. Not modified.
   * @param lambda the factor of the second map
   * @param out the result {@code [batch, pairs, lenQ, dimV]}, overwritten. Modified.
   * @throws IllegalArgumentException as {@link #forward(Tensor, Tensor, Tensor, float, Tensor)}
   */
  public void forward(Tensor q, KvCache cache, float lambda, Tensor out) {
    forward(q, cache, lambda, out, Extras.none());
  }

  /**
   * Computes differential attention over the keys and values of a cache, with extras; weights have
   * as many keys as the longest length in the cache.
   *
   * @param q queries {@code [batch, 2 · pairs, lenQ, dim]}. Not modified.
   * @param cache keys and values, of the shapes of k and v. Not modified.
   * @param lambda the factor of the second map
   * @param out the result {@code [batch, pairs, lenQ, dimV]}, overwritten. Modified.
   * @param extras logsumexp, weights, scores, work, dropout; its outputs are modified
   * @throws IllegalArgumentException as {@link #forward(Tensor, Tensor, Tensor, float, Tensor)}
   */
  public void forward(Tensor q, KvCache cache, float lambda, Tensor out, Extras extras) {
    Objects.requireNonNull(cache, "cache");
    AttentionCall call = call(q, cache, out, extras);
    call.lambdaValue = lambda;
    call.run(options.over(cache, q.size(2), extras), extras);
  }

  /**
   * Computes differential attention with a λ for each pair or each query over the keys and values
   * of a cache. Each query sees the keys up to its own.
   *
   * @param q queries {@code [batch, 2 · pairs, lenQ, dim]}. Not modified.
   * @param cache keys and values, of the shapes of k and v. Not modified.
   * @param lambda the factor of the second map: {@code [1]} or a scalar, {@code [pairs]}, or {@code
   *     [batch, pairs, lenQ]}, in which sizes may be 1. Not modified.
   * @param out the result {@code [batch, pairs, lenQ, dimV]}, overwritten. Modified.
   * @throws IllegalArgumentException as {@link #forward(Tensor, Tensor, Tensor, float, Tensor)}
   */
  public void forward(Tensor q, KvCache cache, Tensor lambda, Tensor out) {
    forward(q, cache, lambda, out, Extras.none());
  }

  /**
   * Computes differential attention with a λ for each pair or each query over the keys and values
   * of a cache, with extras.
   *
   * @param q queries {@code [batch, 2 · pairs, lenQ, dim]}. Not modified.
   * @param cache keys and values, of the shapes of k and v. Not modified.
   * @param lambda the factor of the second map: {@code [1]} or a scalar, {@code [pairs]}, or {@code
   *     [batch, pairs, lenQ]}, in which sizes may be 1. Not modified.
   * @param out the result {@code [batch, pairs, lenQ, dimV]}, overwritten. Modified.
   * @param extras logsumexp, weights, scores, work, dropout; its outputs are modified
   * @throws IllegalArgumentException as {@link #forward(Tensor, Tensor, Tensor, float, Tensor)}
   */
  public void forward(Tensor q, KvCache cache, Tensor lambda, Tensor out, Extras extras) {
    Objects.requireNonNull(lambda, "lambda");
    Objects.requireNonNull(cache, "cache");
    AttentionCall call = call(q, cache, out, extras);
    putLambda(call, lambda);
    call.run(options.over(cache, q.size(2), extras), extras);
  }

  /**
   * Computes differential attention within each of several packed sequences, as {@link
   * Attention#forwardPacked} does.
   *
   * @param q queries {@code [totalQ, 2 · pairs, dim]}. Not modified.
   * @param queries the sequences of q and out
   * @param k keys {@code [totalK, 2 · pairsKv, dim]}. Not modified.
   * @param v values {@code [totalK, pairsKv, dimV]} or {@code [totalK, 2 · pairsKv, dimV / 2]}. Not
   *     modified.
   * @param keys the sequences of k and v; as many as in q, each of any length
   * @param lambda the factor of the second map: {@code [1]} or a scalar, {@code [pairs]}, or {@code
   *     [pairs, totalQ]}, in which sizes may be 1. Not modified.
   * @param out the result {@code [totalQ, pairs, dimV]}, overwritten. Modified.
   * @param extras logsumexp {@code [pairs, 2, totalQ]}, work, and dropout, whose batch is the index
   *     of the sequence; its outputs are modified
   * @throws IllegalArgumentException as {@link #forward(Tensor, Tensor, Tensor, float, Tensor)}, if
   *     the sequences do not fit the tensors or each other, the mask needs a matrix, or the extras
   *     have weights, scores or keep
   */
  public void forwardPacked(
      Tensor q,
      Sequences queries,
      Tensor k,
      Tensor v,
      Sequences keys,
      Tensor lambda,
      Tensor out,
      Extras extras) {
    Objects.requireNonNull(lambda, "lambda");
    Objects.requireNonNull(extras, "extras");
    AttentionCall call = filled(AttentionCall.packed(q, queries, k, v, keys, out));
    putLambda(call, lambda);
    call.run(options, extras);
  }

  private AttentionCall call(Tensor q, Tensor k, Tensor v, Tensor out, Extras extras) {
    Objects.requireNonNull(extras, "extras");
    Checks.rank("q", Objects.requireNonNull(q, "q"), 4);
    Objects.requireNonNull(k, "k");
    Objects.requireNonNull(v, "v");
    Objects.requireNonNull(out, "out");
    return filled(new AttentionCall(q, k, v, out));
  }

  private AttentionCall call(Tensor q, KvCache cache, Tensor out, Extras extras) {
    Objects.requireNonNull(extras, "extras");
    Checks.rank("q", Objects.requireNonNull(q, "q"), 4);
    Objects.requireNonNull(out, "out");
    return filled(new AttentionCall(q, cache, out));
  }

  private AttentionCall filled(AttentionCall call) {
    Tensor q = call.q;
    Checks.multiple("q.heads", q.size(1), "the heads of a pair", 2);
    call.headsQ = q.size(1) / 2;
    Checks.equal("out.heads", call.out.size(1), "q.pairs", call.headsQ);
    call.maps = 2;
    call.lambdaForm =
        lambdaForm == LambdaForm.SIGMOID ? Descriptor.LAMBDA_SIGMOID : Descriptor.LAMBDA_AS_GIVEN;
    call.strideHeadQ = betweenPairs(q);
    call.strideMapQ = withinPair(q, call.headsQ);
    if (keyMap == KeyMap.SHARED) {
      fillShared(call);
    } else {
      fillPaired(call);
    }
    Checks.equal("out.dim", call.out.size(3), "dimV", call.dimV);
    return call;
  }

  private static void fillShared(AttentionCall call) {
    call.headsKv = call.k.size(1);
    Checks.multiple("q.pairs", call.headsQ, "k.heads", call.headsKv);
    Checks.equal("v", "k", "heads", call.v.size(1), call.headsKv);
    call.strideHeadK = call.k.stride(1);
    call.strideHeadV = call.v.stride(1);
    call.dimV = call.v.size(3);
  }

  private void fillPaired(AttentionCall call) {
    Tensor k = call.k;
    Tensor v = call.v;
    Checks.multiple("k.heads", k.size(1), "the heads of a pair", 2);
    long pairsKv = k.size(1) / 2;
    Checks.multiple("q.pairs", call.headsQ, "k.pairs", pairsKv);
    call.headsKv = pairsKv;
    boolean apart = keyMap == KeyMap.HEADS && pairing == Pairing.INTERLEAVED;
    call.keyMap = apart ? Descriptor.KEY_HEADS : Descriptor.KEY_PAIRS;
    call.strideHeadK = betweenPairs(k);
    call.strideMapK = withinPair(k, pairsKv);
    if (v.size(1) == pairsKv) {
      call.strideHeadV = v.stride(1);
      call.dimV = v.size(3);
    } else if (v.size(1) == 2 * pairsKv) {
      call.valueParts = 2;
      call.strideHeadV = betweenPairs(v);
      call.stridePartV = withinPair(v, pairsKv);
      call.dimV = 2 * v.size(3);
    } else {
      throw new IllegalArgumentException(
          "v.heads must equal k.heads (narrow values) or half of it (wide values): v.heads="
              + v.size(1)
              + ", k.heads="
              + k.size(1));
    }
  }

  private long betweenPairs(Tensor heads) {
    return pairing == Pairing.HALVES ? heads.stride(1) : 2 * heads.stride(1);
  }

  private long withinPair(Tensor heads, long pairs) {
    return pairing == Pairing.HALVES ? pairs * heads.stride(1) : heads.stride(1);
  }

  private static void putLambda(AttentionCall call, Tensor lambda) {
    call.lambda = lambda;
    int rank = lambda.rank();
    if (rank <= 1 && lambda.count() == 1) {
      return;
    }
    if (rank == 1 && lambda.size(0) == call.headsQ) {
      call.strideHeadLambda = lambda.stride(0);
      return;
    }
    boolean packed = call.queries != null;
    long rows = packed ? call.queries.total() : call.lenQ;
    if (rank == (packed ? 2 : 3)
        && (packed || Checks.broadcasts(lambda.size(0), call.batch))
        && Checks.broadcasts(lambda.size(-2), call.headsQ)
        && Checks.broadcasts(lambda.size(-1), rows)) {
      call.strideBatchLambda = packed || lambda.size(0) == 1 ? 0 : lambda.stride(0);
      call.strideHeadLambda = lambda.size(-2) == 1 ? 0 : lambda.stride(-2);
      call.strideRowLambda = lambda.size(-1) == 1 ? 0 : lambda.stride(-1);
      return;
    }
    throw new IllegalArgumentException(
        "lambda.shape must be [1], [pairs] or broadcast to "
            + (packed
                ? "[pairs, totalQ] = " + Arrays.toString(new long[] {call.headsQ, rows})
                : "[batch, pairs, lenQ] = "
                    + Arrays.toString(new long[] {call.batch, call.headsQ, rows}))
            + ": lambda.shape="
            + Arrays.toString(lambda.shape()));
  }

  /** Collects the options of a {@link Differential}. Not safe for several threads. */
  public static final class Builder extends Options.Builder<Builder> {
    private Pairing pairing = Pairing.INTERLEAVED;
    private KeyMap keyMap = KeyMap.PAIRS;
    private LambdaForm lambdaForm = LambdaForm.AS_GIVEN;

    private Builder() {}

    @Override
    Builder self() {
      return this;
    }

    /**
     * Sets which two heads are a pair.
     *
     * @param pairing the default is {@link Pairing#INTERLEAVED}
     * @return this builder
     */
    public Builder pairing(Pairing pairing) {
      this.pairing = Objects.requireNonNull(pairing, "pairing");
      return this;
    }

    /**
     * Sets which keys a pair reads.
     *
     * @param keyMap the default is {@link KeyMap#PAIRS}
     * @return this builder
     */
    public Builder keyMap(KeyMap keyMap) {
      this.keyMap = Objects.requireNonNull(keyMap, "keyMap");
      return this;
    }

    /**
     * Sets how the λ of a call is turned into the factor of the second map.
     *
     * @param form the default is {@link LambdaForm#AS_GIVEN}
     * @return this builder
     */
    public Builder lambdaForm(LambdaForm form) {
      this.lambdaForm = Objects.requireNonNull(form, "form");
      return this;
    }

    /**
     * Builds the attention.
     *
     * @return an immutable attention with the options chosen so far
     * @throws IllegalArgumentException if mask, ALiBi and score place the queries differently among
     *     the keys, or the expressions of mask and score read more than 4 tables
     */
    public Differential build() {
      return new Differential(pairing, keyMap, lambdaForm, options());
    }
  }
}
