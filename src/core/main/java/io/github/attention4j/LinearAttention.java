package io.github.attention4j;

import io.github.attention4j.internal.Checks;
import io.github.attention4j.internal.Descriptor;
import io.github.attention4j.internal.Downcalls;
import io.github.attention4j.internal.Workspaces;
import java.lang.foreign.Arena;
import java.lang.foreign.MemorySegment;
import java.util.Objects;

/**
 * Linear attention, as ONNX {@code LinearAttention} (opset 27) defines it: instead of a cache of
 * keys and values, each head keeps a state S of fixed size, which every token updates and then
 * reads. The rules cover linear transformers (Katharopoulos et al., 2020), gated linear attention
 * (Yang et al., 2023), DeltaNet (Schlag et al., 2021; Yang et al., 2024) and Gated DeltaNet (Yang
 * et al., 2024):
 *
 * <pre>
 *   LINEAR       S = S + k vᵀ
 *   GATED        S = D S + k vᵀ                      D = diag(exp(decay))
 *   DELTA        S = S + β k (v − Sᵀ k)ᵀ
 *   GATED_DELTA  S = D S, then as DELTA
 *
 *   out = scale · Sᵀ q
 * </pre>
 *
 * <pre>{@code
 * LinearAttention attention = LinearAttention.of(LinearAttention.Rule.GATED_DELTA);
 * Tensor state = attention.newState(arena, batch, headsKv, dim, dimV); // zeros
 * attention.forward(q, k, v, decay, beta, state, out); // the prompt, at once or in chunks
 * attention.forward(q1, k1, v1, decay1, beta1, state, out1); // then token by token
 * }</pre>
 *
 * <p><b>Shapes.</b> All tensors are {@link DType#F32}. Packed projections {@code [batch, len, heads
 * · dim]} become views of these shapes by {@link Tensor#splitHeads}.
 *
 * <pre>
 *   q      [batch, headsQ, len, dim]          headsQ is a multiple of headsKv, and query head h
 *   k      [batch, headsKv, len, dim]         reads the state of head h / (headsQ / headsKv)
 *   v      [batch, headsKv, len, dimV]
 *   decay  [batch, headsKv, len]              one for each head, or
 *          [batch, headsKv, len, dim]         one for each channel of the key; logarithms
 *   beta   [batch, headsKv, len]
 *   state  [batch, headsKv, dim, dimV]
 *   out    [batch, headsQ, len, dimV]
 * </pre>
 *
 * Strides are free, except that the elements of a row of q, k, v, state and out, and of a decay for
 * each channel, are contiguous. Nothing is copied.
 *
 * <p>Results have the same bits however a sequence is divided into calls, and for every number of
 * threads.
 *
 * <p>With the delta rules, keys should have length 1, and decays should not be positive; otherwise
 * the state grows without bound. NaN and infinities do not spread beyond their batch and head.
 *
 * <p>Immutable, and safe for any number of threads at once.
 */
public final class LinearAttention {
  /** How a token changes the state. */
  public enum Rule {
    /** {@code S + k vᵀ}: no decay, no beta. */
    LINEAR(Descriptor.UPDATE_LINEAR, false, false),

    /** {@code D S + k vᵀ}: decay, no beta. */
    GATED(Descriptor.UPDATE_GATED, true, false),

    /** {@code S + β k (v − Sᵀ k)ᵀ}: beta, no decay. */
    DELTA(Descriptor.UPDATE_DELTA, false, true),

    /** First {@code D S}, then {@link #DELTA}: decay and beta. ONNX's default. */
    GATED_DELTA(Descriptor.UPDATE_GATED_DELTA, true, true);

    private final int update;
    private final boolean decays;
    private final boolean hasBeta;

    Rule(int update, boolean decays, boolean hasBeta) {
      this.update = update;
      this.decays = decays;
      this.hasBeta = hasBeta;
    }
  }

  private final Rule rule;
  private final double scale;

  private LinearAttention(Rule rule, double scale) {
    this.rule = rule;
    this.scale = scale;
  }

  /**
   * Creates linear attention with scale {@code 1 / sqrt(dim)}.
   *
   * @param rule how a token changes the state
   * @return the attention
   */
  public static LinearAttention of(Rule rule) {
    return new LinearAttention(Objects.requireNonNull(rule, "rule"), Double.NaN);
  }

  /**
   * Returns the same attention with another scale.
   *
   * @param scale multiplies the output; finite
   * @return a new attention
   * @throws IllegalArgumentException if the scale is NaN or, as a float, infinite
   */
  public LinearAttention withScale(double scale) {
    return new LinearAttention(rule, Checks.finite("scale", scale));
  }

  /**
   * Returns the rule.
   *
   * @return how a token changes the state
   */
  public Rule rule() {
    return rule;
  }

  /**
   * Allocates the state of new sequences.
   *
   * @param arena supplies the memory
   * @param batch the number of sequences
   * @param headsKv the number of key and value heads
   * @param dim the width of a key
   * @param dimV the width of a value
   * @return zeros {@code [batch, headsKv, dim, dimV]}
   * @throws IllegalArgumentException if a size is negative or the memory's size overflows
   * @throws OutOfMemoryError if the memory cannot be allocated
   */
  public Tensor newState(Arena arena, long batch, long headsKv, long dim, long dimV) {
    return Tensor.allocate(arena, DType.F32, batch, headsKv, dim, dimV);
  }

  /**
   * Processes the first or the next tokens of each sequence.
   *
   * @param q the queries. Not modified.
   * @param k the keys. Not modified.
   * @param v the values. Not modified.
   * @param decay the logarithms of the factors that multiply the state before each token; null if
   *     the rule has no decay. Not modified.
   * @param beta how strongly each token is written, usually in [0, 1]; null if the rule has no
   *     beta. If all heads share one, {@link Tensor#expand} it. Not modified.
   * @param state the state after all previous tokens, zeros for new sequences; on return, the state
   *     after these tokens. Modified.
   * @param out the results. Modified.
   * @throws IllegalArgumentException if types, ranks, sizes, strides or alignment do not fit; decay
   *     or beta is missing, or given to a rule without it; or state or out is read-only or overlaps
   *     another tensor or itself
   * @throws OutOfMemoryError if there is no memory for the computation
   */
  public void forward(
      Tensor q, Tensor k, Tensor v, Tensor decay, Tensor beta, Tensor state, Tensor out) {
    checkTensor("q", q);
    checkTensor("k", k);
    checkTensor("v", v);
    checkTensor("state", state);
    checkTensor("out", out);
    final long batch = q.size(0);
    final long headsQ = q.size(1);
    final long len = q.size(2);
    final long dim = q.size(3);
    final long headsKv = k.size(1);
    final long dimV = v.size(3);
    Checks.positive("q.dim", dim);
    Checks.shape("k", k, "[batch, headsKv, len, dim] of q", batch, headsKv, len, dim);
    Checks.shape("v", v, "[batch, headsKv, len, dimV] of q and k", batch, headsKv, len, dimV);
    Checks.multiple("q.heads", headsQ, "k.heads", headsKv);
    Checks.shape("state", state, "[batch, headsKv, dim, dimV]", batch, headsKv, dim, dimV);
    Checks.shape("out", out, "[batch, headsQ, len, dimV]", batch, headsQ, len, dimV);
    checkGiven("decay", decay, rule.decays);
    checkGiven("beta", beta, rule.hasBeta);
    if (decay != null) {
      checkDecay(decay, batch, headsKv, len, dim);
    }
    if (beta != null) {
      Checks.shape("beta", beta, "[batch, headsKv, len]", batch, headsKv, len);
      Checks.input("beta", beta);
    }
    Checks.output("state", state);
    Checks.output("out", out);
    Checks.disjoint("out", out, "state", state);
    checkDisjoint("q", q, state, out);
    checkDisjoint("k", k, state, out);
    checkDisjoint("v", v, state, out);
    checkDisjoint("decay", decay, state, out);
    checkDisjoint("beta", beta, state, out);

    float factor = (float) (Double.isNaN(scale) ? 1 / Math.sqrt(dim) : scale);
    long decayDim = decay != null && decay.rank() == 4 ? dim : 1;
    try (Workspaces.Lease lease = Workspaces.lease()) {
      MemorySegment d =
          Descriptor.linearAttention(
              lease,
              A4j.threads(),
              rule.update,
              factor,
              batch,
              headsQ,
              headsKv,
              len,
              dim,
              dimV,
              decayDim);
      Descriptor.linearAttentionStridesQ(d, q.stride(0), q.stride(1), q.stride(2));
      Descriptor.linearAttentionStridesK(d, k.stride(0), k.stride(1), k.stride(2));
      Descriptor.linearAttentionStridesV(d, v.stride(0), v.stride(1), v.stride(2));
      Descriptor.linearAttentionStridesState(d, state.stride(0), state.stride(1), state.stride(2));
      Descriptor.linearAttentionStridesOut(d, out.stride(0), out.stride(1), out.stride(2));
      if (decay != null) {
        Descriptor.linearAttentionStridesDecay(
            d, decay.stride(0), decay.stride(1), decay.stride(2));
      }
      if (beta != null) {
        Descriptor.linearAttentionStridesBeta(d, beta.stride(0), beta.stride(1), beta.stride(2));
      }
      Downcalls.linearAttention(
          lease,
          d,
          Checks.first(q),
          Checks.first(k),
          Checks.first(v),
          Checks.firstOrNull(decay),
          Checks.firstOrNull(beta),
          Checks.first(state),
          Checks.first(out));
    }
  }

  private static void checkTensor(String name, Tensor tensor) {
    Checks.rank(name, Objects.requireNonNull(tensor, name), 4);
    Checks.input(name, tensor);
    Checks.packedRows(name, tensor);
  }

  private void checkGiven(String name, Tensor tensor, boolean wanted) {
    if (wanted != (tensor != null)) {
      throw new IllegalArgumentException(
          name
              + (wanted ? " must be given" : " must be null")
              + ": rule="
              + rule
              + ", "
              + name
              + "="
              + (tensor == null ? null : tensor.layout()));
    }
  }

  private static void checkDecay(Tensor decay, long batch, long headsKv, long len, long dim) {
    if (decay.rank() == 3) {
      Checks.shape("decay", decay, "[batch, headsKv, len]", batch, headsKv, len);
    } else {
      Checks.shape("decay", decay, "[batch, headsKv, len, dim]", batch, headsKv, len, dim);
      Checks.packedRows("decay", decay);
    }
    Checks.input("decay", decay);
  }

  private static void checkDisjoint(String name, Tensor tensor, Tensor state, Tensor out) {
    if (tensor != null) {
      Checks.disjoint("state", state, name, tensor);
      Checks.disjoint("out", out, name, tensor);
    }
  }
}
