package io.github.attention4j;

import io.github.attention4j.internal.Checks;
import io.github.attention4j.internal.Descriptor;
import io.github.attention4j.internal.Downcalls;
import io.github.attention4j.internal.Workspaces;
import java.lang.foreign.Arena;
import java.lang.foreign.MemorySegment;
import java.nio.FloatBuffer;
import java.util.Arrays;
import java.util.Objects;

/**
 * Scaled dot-product attention (Vaswani et al., "Attention Is All You Need", 2017), in one fused
 * pass that never stores the matrix of scores:
 *
 * <pre>
 *   logits = softcap(scale · q kᵀ) + bias − slope · distance      soft-capping, bias, ALiBi and
 *                                                                 relative positions are optional
 *   logits = score(logits)                                        optional, the caller's expression
 *   out    = softmax(logits, over the keys that the mask lets a query see, and the sink) · v
 * </pre>
 *
 * <pre>{@code
 * try (Arena arena = Arena.ofConfined()) {
 *   Tensor q = Tensor.zeros(arena, batch, heads, lenQ, dim); // k and v likewise
 *   Attention attention = Attention.builder().mask(Mask.causal(Alignment.TOP_LEFT)).build();
 *   Tensor out = attention.forward(arena, q, k, v);
 * }
 * }</pre>
 *
 * <p><b>Shapes.</b> Each of q, k, v and out is {@link DType#F32}, {@link DType#BF16} or {@link
 * DType#F16}; k and v have the same type.
 *
 * <pre>
 *   q    [batch, headsQ,  lenQ, dim]       out  [batch, headsQ, lenQ, dimV]
 *   k    [batch, headsKv, lenK, dim]
 *   v    [batch, headsKv, lenK, dimV]
 * </pre>
 *
 * Query head h reads key and value head {@code h / (headsQ / headsKv)}, so headsQ must be a
 * multiple of headsKv (grouped-query attention; multi-query with headsKv = 1). With a single head
 * all four may have rank 3, without the head dimension. The elements of a row must be contiguous;
 * all other strides are free, so the views that {@link Tensor#splitHeads} makes of a projection are
 * read in place. Batch and lengths may be 0; with no keys the output is 0. Head sizes are at least
 * 1.
 *
 * <p><b>Corner cases.</b> A query that sees no key has output 0, weights 0 and logsumexp −∞ (with a
 * sink: the sink). NaN and infinity affect only the queries that see them.
 *
 * <p><b>Precision.</b> Softmax and sums are computed in float32, from queries, keys and values as
 * they are stored. If keys and values are BF16, a processor that multiplies bfloat16 rounds the
 * weights to bfloat16, which changes an output by at most 2⁻⁸ of its sum of w·|v|, and takes 16
 * bits of F32 queries. {@link Builder#bf16Products()} also rounds inputs of other types.
 *
 * <p><b>Threads.</b> Immutable, and safe for any number of threads. A call may use several threads
 * of the process's one team ({@link A4j#threads()}); if the team is busy, the call runs on its own
 * thread only. The result has the same bits for every number of threads.
 */
public final class Attention {
  private final Options options;

  private Attention(Options options) {
    this.options = options;
  }

  /**
   * Starts with the defaults: no mask, scale {@code 1 / sqrt(dim)}, {@link A4j#threads()}.
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
   *     ALiBi, the score or the relative positions do, or the expressions of mask and score read
   *     more than 4 tables
   */
  public Attention withMask(Mask mask) {
    return new Attention(options.withMask(mask));
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
   * Computes attention into a new tensor. To reuse one, as a loop should, pass it to {@link
   * #forward(Tensor, Tensor, Tensor, Tensor)}.
   *
   * @param arena allocates the result
   * @param q queries {@code [batch, headsQ, lenQ, dim]}. Not modified.
   * @param k keys {@code [batch, headsKv, lenK, dim]}. Not modified.
   * @param v values {@code [batch, headsKv, lenK, dimV]}. Not modified.
   * @return the result {@code [batch, headsQ, lenQ, dimV]}
   * @throws IllegalArgumentException as {@link #forward(Tensor, Tensor, Tensor, Tensor)}
   * @throws OutOfMemoryError if there is no memory for the result
   */
  public Tensor forward(Arena arena, Tensor q, Tensor k, Tensor v) {
    Objects.requireNonNull(arena, "arena");
    Checks.rankOf3Or4("q", Objects.requireNonNull(q, "q"));
    Checks.equal("v.rank", Objects.requireNonNull(v, "v").rank(), "q.rank", q.rank());
    long[] shape = q.shape();
    shape[shape.length - 1] = v.size(-1);
    Tensor out = Tensor.zeros(arena, shape);
    forward(q, k, v, out);
    return out;
  }

  /**
   * Computes attention.
   *
   * @param q queries {@code [batch, headsQ, lenQ, dim]}. Not modified.
   * @param k keys {@code [batch, headsKv, lenK, dim]}. Not modified.
   * @param v values {@code [batch, headsKv, lenK, dimV]}. Not modified.
   * @param out the result {@code [batch, headsQ, lenQ, dimV]}, overwritten. Modified.
   * @throws IllegalArgumentException if types, ranks, shapes, strides or alignment do not fit, if
   *     the mask does not fit the shapes, or if out is read-only or overlaps an input or itself
   */
  public void forward(Tensor q, Tensor k, Tensor v, Tensor out) {
    forward(q, k, v, out, Extras.none());
  }

  /**
   * Computes attention with extras.
   *
   * @param q queries {@code [batch, headsQ, lenQ, dim]}. Not modified.
   * @param k keys {@code [batch, headsKv, lenK, dim]}. Not modified.
   * @param v values {@code [batch, headsKv, lenK, dimV]}. Not modified.
   * @param out the result {@code [batch, headsQ, lenQ, dimV]}, overwritten. Modified.
   * @param extras logsumexp, weights, scores, work, dropout; its outputs are modified
   * @throws IllegalArgumentException as {@link #forward(Tensor, Tensor, Tensor, Tensor)}, and if an
   *     output among the extras overlaps any other tensor of the call
   */
  public void forward(Tensor q, Tensor k, Tensor v, Tensor out, Extras extras) {
    run(options, q, k, v, out, extras);
  }

  /** Computes attention over a cache with these options. */
  static void run(Options options, Tensor q, KvCache cache, Tensor out, Extras extras) {
    Objects.requireNonNull(q, "q");
    Objects.requireNonNull(out, "out");
    Objects.requireNonNull(extras, "extras");
    filled(new AttentionCall(q, cache, out)).run(options.over(cache, q.size(-2), extras), extras);
  }

  /** Computes attention with these options. */
  static void run(Options options, Tensor q, Tensor k, Tensor v, Tensor out, Extras extras) {
    Objects.requireNonNull(q, "q");
    Objects.requireNonNull(k, "k");
    Objects.requireNonNull(v, "v");
    Objects.requireNonNull(out, "out");
    Objects.requireNonNull(extras, "extras");
    filled(new AttentionCall(q, k, v, out)).run(options, extras);
  }

  private static AttentionCall filled(AttentionCall call) {
    call.headsQ = Checks.heads(call.q);
    call.headsKv = Checks.heads(call.k);
    call.dimV = call.v.size(-1);
    Checks.equal("v", "k", "heads", Checks.heads(call.v), call.headsKv);
    Checks.equal("out", "q", "heads", Checks.heads(call.out), call.headsQ);
    Checks.multiple("q.heads", call.headsQ, "k.heads", call.headsKv);
    Checks.equal("out", "v", "dim", call.out.size(-1), call.dimV);
    call.strideHeadQ = Checks.headStride(call.q);
    call.strideHeadK = Checks.headStride(call.k);
    call.strideHeadV = Checks.headStride(call.v);
    return call;
  }

  // ---- Packed sequences ----

  /**
   * Computes attention within each of several sequences of different lengths, stored one after the
   * other without padding. Rows, keys, positions, key lengths and key ranges count within a
   * sequence; {@link Alignment#BOTTOM_RIGHT} is aligned to the end of each sequence. Masks with
   * {@code allow}, {@code bias}, padding, or key lengths for each query are not supported.
   *
   * @param q queries {@code [totalQ, headsQ, dim]}. Not modified.
   * @param queries the sequences of q and out
   * @param k keys {@code [totalK, headsKv, dim]}. Not modified.
   * @param v values {@code [totalK, headsKv, dimV]}. Not modified.
   * @param keys the sequences of k and v; as many as in q, each of any length
   * @param out the result {@code [totalQ, headsQ, dimV]}, overwritten. Modified.
   * @throws IllegalArgumentException as {@link #forward(Tensor, Tensor, Tensor, Tensor)}, and if
   *     the sequences do not fit the tensors or each other, or the mask needs a matrix
   */
  public void forwardPacked(
      Tensor q, Sequences queries, Tensor k, Tensor v, Sequences keys, Tensor out) {
    forwardPacked(q, queries, k, v, keys, out, Extras.none());
  }

  /**
   * Computes attention within each of several packed sequences, with extras.
   *
   * @param q queries {@code [totalQ, headsQ, dim]}. Not modified.
   * @param queries the sequences of q and out
   * @param k keys {@code [totalK, headsKv, dim]}. Not modified.
   * @param v values {@code [totalK, headsKv, dimV]}. Not modified.
   * @param keys the sequences of k and v; as many as in q, each of any length
   * @param out the result {@code [totalQ, headsQ, dimV]}, overwritten. Modified.
   * @param extras logsumexp {@code [heads, totalQ]}, work, and dropout, whose batch is the index of
   *     the sequence; its outputs are modified
   * @throws IllegalArgumentException as {@link #forwardPacked(Tensor, Sequences, Tensor, Tensor,
   *     Sequences, Tensor)}, and if the extras have weights, scores or keep, or an output among
   *     them overlaps any other tensor of the call
   */
  public void forwardPacked(
      Tensor q, Sequences queries, Tensor k, Tensor v, Sequences keys, Tensor out, Extras extras) {
    Objects.requireNonNull(extras, "extras");
    filled(AttentionCall.packed(q, queries, k, v, keys, out)).run(options, extras);
  }

  // ---- Caches ----

  /**
   * Computes attention over the keys and values of a cache. The queries are the last ones of their
   * batch, whose keys have been appended already; each sees the keys up to its own. The current
   * mask also applies; its lenK is the longest length in the cache.
   *
   * @param q queries {@code [batch, headsQ, lenQ, dim]}. Not modified.
   * @param cache keys and values. Not modified.
   * @param out the result {@code [batch, headsQ, lenQ, dimV]}, overwritten. Modified.
   * @throws IllegalArgumentException as {@link #forward(Tensor, Tensor, Tensor, Tensor)}, and if
   *     mask, ALiBi, score or relative positions are not aligned {@link Alignment#BOTTOM_RIGHT}
   */
  public void forward(Tensor q, KvCache cache, Tensor out) {
    forward(q, cache, out, Extras.none());
  }

  /**
   * Computes attention over the keys and values of a cache, with extras; weights have as many keys
   * as the longest length in the cache.
   *
   * @param q queries {@code [batch, headsQ, lenQ, dim]}. Not modified.
   * @param cache keys and values. Not modified.
   * @param out the result {@code [batch, headsQ, lenQ, dimV]}, overwritten. Modified.
   * @param extras logsumexp, weights, scores, work, dropout; its outputs are modified
   * @throws IllegalArgumentException as {@link #forward(Tensor, KvCache, Tensor)} and {@link
   *     #forward(Tensor, Tensor, Tensor, Tensor, Extras)}
   */
  public void forward(Tensor q, KvCache cache, Tensor out, Extras extras) {
    Objects.requireNonNull(cache, "cache");
    run(options, q, cache, out, extras);
  }

  /**
   * Computes attention over a prefix that all batches share, followed by each batch's own
   * continuation, as if the two were one cache: each query sees the keys up to its own. The prefix
   * is not copied, and its keys and values are read once for several batches.
   *
   * @param q queries {@code [batch, headsQ, lenQ, dim]}. Not modified.
   * @param prefix keys and values of batch 1. Not modified.
   * @param continuations keys and values of each batch, after the prefix. Not modified.
   * @param out the result {@code [batch, headsQ, lenQ, dimV]}, overwritten. Modified.
   * @throws IllegalArgumentException as {@link #forward(Tensor, Tensor, Tensor, Tensor)}, and if
   *     the prefix has more than one batch or other heads than the continuations, there is a score
   *     expression, the mask has parts other than causal, windows and chunks, these, ALiBi or
   *     relative positions are not aligned {@link Alignment#BOTTOM_RIGHT}, or the prefix ends
   *     within a chunk
   */
  public void forward(Tensor q, KvCache prefix, KvCache continuations, Tensor out) {
    forward(q, prefix, continuations, out, Extras.none());
  }

  /**
   * Computes attention over a prefix that all batches share, followed by each batch's own
   * continuation, and the logsumexp over both.
   *
   * @param q queries {@code [batch, headsQ, lenQ, dim]}. Not modified.
   * @param prefix keys and values of batch 1. Not modified.
   * @param continuations keys and values of each batch, after the prefix. Not modified.
   * @param out the result {@code [batch, headsQ, lenQ, dimV]}, overwritten. Modified.
   * @param extras logsumexp; it is modified
   * @throws IllegalArgumentException as {@link #forward(Tensor, KvCache, KvCache, Tensor)}, and if
   *     there is any other extra
   */
  public void forward(Tensor q, KvCache prefix, KvCache continuations, Tensor out, Extras extras) {
    SharedPrefix.forward(options, q, prefix, continuations, out, extras);
  }

  // ---- Floats on the heap ----

  /**
   * Computes attention over arrays, into a new array. See {@link #forward(AttentionShape, float[],
   * float[], float[], float[])}.
   *
   * @param shape the sizes
   * @param q queries {@code [batch, headsQ, lenQ, dim]}. Not modified.
   * @param k keys {@code [batch, headsKv, lenK, dim]}. Not modified.
   * @param v values {@code [batch, headsKv, lenK, dimV]}. Not modified.
   * @return the result {@code [batch, headsQ, lenQ, dimV]}
   * @throws IllegalArgumentException if an array's length is not the product of its sizes, the
   *     result does not fit an array, or the sizes or the mask do not fit
   * @throws OutOfMemoryError if there is no memory for the copies
   */
  public float[] forward(AttentionShape shape, float[] q, float[] k, float[] v) {
    float[] out = new float[Objects.requireNonNull(shape, "shape").outLength()];
    forward(shape, q, k, v, out);
    return out;
  }

  /**
   * Computes attention over arrays. They are copied to pooled off-heap memory and back; tensors are
   * not copied. The result may be one of the inputs.
   *
   * @param shape the sizes
   * @param q queries {@code [batch, headsQ, lenQ, dim]}. Not modified.
   * @param k keys {@code [batch, headsKv, lenK, dim]}. Not modified.
   * @param v values {@code [batch, headsKv, lenK, dimV]}. Not modified.
   * @param out the result {@code [batch, headsQ, lenQ, dimV]}, overwritten. Modified.
   * @throws IllegalArgumentException if an array's length is not the product of its sizes, or the
   *     sizes or the mask do not fit
   * @throws OutOfMemoryError if there is no memory for the copies
   */
  public void forward(AttentionShape shape, float[] q, float[] k, float[] v, float[] out) {
    Copying.forward(
        this,
        shape,
        Copying.Floats.of("q", q),
        Copying.Floats.of("k", k),
        Copying.Floats.of("v", v),
        Copying.Floats.of("out", out));
  }

  /**
   * Computes attention over the remaining floats of buffers, whose positions do not change. They
   * are copied to pooled off-heap memory and back; tensors are not copied ({@link Tensor#of} views
   * a direct buffer's segment in place). The result may be one of the inputs.
   *
   * @param shape the sizes
   * @param q queries {@code [batch, headsQ, lenQ, dim]}. Not modified.
   * @param k keys {@code [batch, headsKv, lenK, dim]}. Not modified.
   * @param v values {@code [batch, headsKv, lenK, dimV]}. Not modified.
   * @param out the result {@code [batch, headsQ, lenQ, dimV]}, overwritten. Modified.
   * @throws IllegalArgumentException if a buffer's remaining floats are not the product of its
   *     sizes, the sizes or the mask do not fit, or out is read-only
   * @throws OutOfMemoryError if there is no memory for the copies
   */
  public void forward(
      AttentionShape shape, FloatBuffer q, FloatBuffer k, FloatBuffer v, FloatBuffer out) {
    Copying.forward(
        this,
        shape,
        Copying.Floats.of("q", q),
        Copying.Floats.of("k", k),
        Copying.Floats.of("v", v),
        Copying.Floats.of("out", out));
  }

  // ---- Partial results ----

  /**
   * Merges two results over disjoint sets of keys into the result over both:
   *
   * <pre>
   *   lse = log(exp(lseA) + exp(lseB)),   out = outA · exp(lseA − lse) + outB · exp(lseB − lse)
   * </pre>
   *
   * If one logsumexp is −∞, the other side is the result; if both are, the result is 0 and −∞.
   * {@code out} may be {@code outA}, and {@code lse} may be {@code lseA}.
   *
   * @param outA a result {@code [batch, heads, len, dim]}, or {@code [batch, len, dim]}. Not
   *     modified.
   * @param lseA its logsumexp {@code [batch, heads, len]}, or {@code [batch, len]}; contiguous. Not
   *     modified.
   * @param outB the other result, of the same shape. Not modified.
   * @param lseB its logsumexp, contiguous. Not modified.
   * @param out the merged result, of the same shape. Modified.
   * @param lse the merged logsumexp, contiguous; or null. Modified.
   * @throws IllegalArgumentException if types, shapes, strides or alignment do not fit, or an
   *     output is read-only or overlaps an input in any other way
   */
  public static void merge(
      Tensor outA, Tensor lseA, Tensor outB, Tensor lseB, Tensor out, Tensor lse) {
    checkPart("outA", outA, "lseA", lseA);
    checkPart("outB", outB, "lseB", lseB);
    Checks.shape("outB", outB, "the shape of outA", outA.shape());
    Checks.output("out", Objects.requireNonNull(out, "out"));
    Checks.shape("out", out, "the shape of outA", outA.shape());
    Checks.packedRows("out", out);
    Checks.sameOrDisjoint("out", out, "outA", outA);
    Checks.disjoint("out", out, "outB", outB);
    Checks.disjoint("out", out, "lseA", lseA);
    Checks.disjoint("out", out, "lseB", lseB);
    if (lse != null) {
      Checks.output("lse", lse);
      Checks.shape("lse", lse, "the shape of lseA", lseA.shape());
      Checks.contiguous("lse", lse);
      Checks.sameOrDisjoint("lse", lse, "lseA", lseA);
      Checks.disjoint("lse", lse, "lseB", lseB);
      Checks.disjoint("lse", lse, "outA", outA);
      Checks.disjoint("lse", lse, "outB", outB);
      Checks.disjoint("lse", lse, "out", out);
    }
    if (out.count() == 0) {
      return;
    }
    try (Workspaces.Lease lease = Workspaces.lease()) {
      long heads = Checks.heads(out);
      MemorySegment d =
          Descriptor.merge(lease, A4j.threads(), out.size(0), heads, out.size(-2), out.size(-1));
      Descriptor.mergeStridesA(d, outA.stride(0), Checks.headStride(outA), outA.stride(-2));
      Descriptor.mergeStridesB(d, outB.stride(0), Checks.headStride(outB), outB.stride(-2));
      Descriptor.mergeStridesOut(d, out.stride(0), Checks.headStride(out), out.stride(-2));
      Downcalls.merge(
          d,
          Checks.first(outA),
          Checks.first(lseA),
          Checks.first(outB),
          Checks.first(lseB),
          Checks.first(out),
          Checks.firstOrNull(lse));
    }
  }

  private static void checkPart(String name, Tensor part, String lseName, Tensor lse) {
    Objects.requireNonNull(part, name);
    Objects.requireNonNull(lse, lseName);
    Checks.rankOf3Or4(name, part);
    Checks.input(name, part);
    Checks.packedRows(name, part);
    Checks.positive(name + ".dim", part.size(-1));
    Checks.input(lseName, lse);
    Checks.contiguous(lseName, lse);
    long[] rows = Arrays.copyOf(part.shape(), part.rank() - 1);
    Checks.shape(lseName, lse, "the shape of " + name + " without its last dimension", rows);
  }

  /** Collects the options of an {@link Attention}. Not safe for several threads. */
  public static final class Builder extends Options.Builder<Builder> {
    private int topK;
    private int hardAttention;

    private Builder() {}

    @Override
    Builder self() {
      return this;
    }

    /**
     * Adds embeddings of the distance between query and key to keys and values (Shaw et al. 2018).
     *
     * @param alignment where the positions of queries and keys coincide; must be the mask's if the
     *     mask depends on positions too
     * @param positions the tables of embeddings
     * @return this builder
     */
    public Builder relative(Alignment alignment, RelativePositions positions) {
      relative(Placement.of(alignment), positions);
      return this;
    }

    /**
     * Adds embeddings of the distance between query and key to keys and values. Query i of batch b
     * is at position {@code i + offsets[b]} among the keys.
     *
     * @param offsets for each batch the position of its first query; must be the mask's if the mask
     *     depends on positions too. Copied.
     * @param positions the tables of embeddings
     * @return this builder
     * @throws IllegalArgumentException if offsets is empty
     */
    public Builder relative(int[] offsets, RelativePositions positions) {
      relative(Placement.of(offsets), positions);
      return this;
    }

    /**
     * Keeps only the k largest weights of each query: weights below the k-th largest become 0, ties
     * with it are kept, and the rest is divided by its sum. If k is more than the number of keys
     * that a query sees, all are kept.
     *
     * <p>All weights of a query are needed at once, so the call stores the logits of the queries
     * that each thread works on (up to 48), and takes up to about twice as long.
     *
     * @param k at least 1
     * @return this builder
     * @throws IllegalArgumentException if k is less than 1
     */
    public Builder topK(int k) {
      Checks.positive("topK", k);
      this.topK = k;
      return this;
    }

    /**
     * Hardens the weights of each query as tensor2tensor's {@code harden_attention_weights} does
     * ({@code hard_attention_k}): {@code w' = max(w - t, 0)}, divided by {@code max(sum(w'),
     * 1e-6)}, where t is the k-th largest of the distinct weights, or 0 if there are fewer. So k −
     * 1 distinct weights survive; with k = 1 none does, and weights and output are 0.
     *
     * <p>{@link Extras#gumbelNoise} is added to the weights first. Memory and time are as with
     * {@link #topK}.
     *
     * @param k at least 1
     * @return this builder
     * @throws IllegalArgumentException if k is less than 1
     */
    public Builder hardAttention(int k) {
      Checks.positive("hardAttention", k);
      this.hardAttention = k;
      return this;
    }

    /**
     * Builds the attention.
     *
     * @return an immutable attention with the options chosen so far
     * @throws IllegalArgumentException if mask, ALiBi, score and relative positions place the
     *     queries differently among the keys, the expressions of mask and score read more than 4
     *     tables, or both top-k and hard attention were chosen
     */
    public Attention build() {
      if (topK != 0 && hardAttention != 0) {
        throw new IllegalArgumentException(
            "topK and hardAttention exclude each other: topK="
                + topK
                + ", hardAttention="
                + hardAttention);
      }
      if (topK != 0) {
        hardening(Hardening.topK(topK));
      } else if (hardAttention != 0) {
        hardening(Hardening.hardAttention(hardAttention));
      }
      return new Attention(options());
    }
  }
}
