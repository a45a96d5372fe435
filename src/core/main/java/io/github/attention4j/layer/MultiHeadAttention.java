package io.github.attention4j.layer;

import io.github.attention4j.Attention;
import io.github.attention4j.DType;
import io.github.attention4j.Extras;
import io.github.attention4j.KvCache;
import io.github.attention4j.Mask;
import io.github.attention4j.Tensor;
import io.github.attention4j.internal.Checks;
import io.github.attention4j.internal.Linears;
import io.github.attention4j.internal.Scratch;
import io.github.attention4j.internal.Weights;
import io.github.attention4j.io.SafeTensors;
import java.lang.foreign.Arena;
import java.lang.foreign.MemorySegment;
import java.lang.foreign.ValueLayout;
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
 * <p>{@link #loadTorch} makes PyTorch's {@code nn.MultiheadAttention} of its weights. What that
 * takes with {@code batch_first=False} are views here: {@code x.transpose(0, 1)}, and likewise for
 * the result.
 *
 * <p>Heads are views of the projections, never copies. Immutable and safe for any number of
 * threads.
 */
public final class MultiHeadAttention {
  /** All three of those below in one, where they are one: then a row is read once. */
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
   * Starts a layer of its four projections.
   *
   * @param query from the model's width to {@code heads · dim}
   * @param key from the width of what is attended to, to {@code headsKv · dim}
   * @param value from the same width to {@code headsKv · dimV}
   * @param out from {@code heads · dimV} to the model's width
   * @return a builder
   */
  public static Builder builder(Linear query, Linear key, Linear value, Linear out) {
    return new Builder(null, query, key, value, out);
  }

  /**
   * Starts a layer whose first three projections are one. Sequences that attend to themselves are
   * then read once.
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

  /**
   * Reads the layer as PyTorch's {@code nn.MultiheadAttention} names its parts: {@code
   * in_proj_weight} with the rows of queries, keys and values, or {@code q_proj_weight}, {@code
   * k_proj_weight} and {@code v_proj_weight} where their widths differ; {@code in_proj_bias},
   * {@code out_proj.weight} and {@code out_proj.bias}, with or without the biases.
   *
   * @param file holds the tensors, all of those below the prefix
   * @param prefix what their names begin with, for example {@code "layers.0.self_attn."}
   * @param numHeads PyTorch's {@code num_heads}
   * @param arena for copies of weights that are not F32 or lie misaligned in the file
   * @return a layer without rotary positions or mask; {@link #torchMask} makes masks for its calls
   * @throws IllegalArgumentException if a tensor is missing, one is not known, the shapes do not
   *     fit one another or the number of heads, or there are {@code bias_k} and {@code bias_v},
   *     which are not supported
   * @throws IllegalStateException if an arena is closed or confined to another thread
   * @throws OutOfMemoryError if there is no memory for a copy
   */
  public static MultiHeadAttention loadTorch(
      SafeTensors file, String prefix, long numHeads, Arena arena) {
    Weights weights = new Weights(file, prefix, arena);
    if (weights.has("bias_k", "bias_v")) {
      throw new IllegalArgumentException(
          file
              + " must not have bias_k and bias_v, a learned key and value behind each sequence:"
              + " they are not supported");
    }
    Linear out =
        linear(
            weights.get("out_proj.weight", "out_proj_weight"),
            weights.has("out_proj.bias", "out_proj_bias")
                ? weights.get("out_proj.bias", "out_proj_bias")
                : null);
    Tensor bias = weights.has("in_proj_bias") ? weights.get("in_proj_bias") : null;
    Builder builder;
    if (weights.has("q_proj_weight")) {
      Tensor query = weights.get("q_proj_weight");
      Checks.rank("q_proj_weight", query, 2);
      long width = query.size(0);
      if (bias != null) {
        Checks.shape("in_proj_bias", bias, "[3 * embed]", 3 * width);
      }
      builder =
          builder(
              linear(query, part(bias, 0, width)),
              linear(weights.get("k_proj_weight"), part(bias, width, width)),
              linear(weights.get("v_proj_weight"), part(bias, 2 * width, width)),
              out);
    } else {
      builder = builder(linear(weights.get("in_proj_weight"), bias), out);
    }
    weights.requireAllRead();
    return builder.heads(numHeads).build();
  }

  private static Linear linear(Tensor weight, Tensor bias) {
    return bias == null ? Linear.of(weight) : Linear.of(weight, bias);
  }

  private static Tensor part(Tensor bias, long start, long count) {
    return bias == null ? null : bias.slice(0, start, count);
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

  // ---- PyTorch's masks and weights ----

  /**
   * Makes a mask of those that PyTorch's {@code nn.MultiheadAttention} takes, in which true hides:
   * the opposite of {@link Mask#allow}. A query that sees no key has result 0 before the output
   * projection, where PyTorch has NaN.
   *
   * @param keyPaddingMask {@link DType#BOOL} {@code [batch, lenK]}, true where a key is padding; or
   *     null. Read now, not modified.
   * @param attnMask {@link DType#BOOL} true where a query does not see a key, or {@link DType#F32}
   *     added to the scaled logits; {@code [lenQ, lenK]} or {@code [batch · heads, lenQ, lenK]}; or
   *     null. Booleans are read now, floats at each call. Not modified.
   * @param heads the number of heads
   * @param arena supplies the memory of the mask
   * @return the mask, {@link Mask#none} where both are null
   * @throws IllegalArgumentException if types, ranks or sizes do not fit
   * @throws IllegalStateException if a tensor's arena is closed or confined to another thread
   * @throws OutOfMemoryError if the memory is not to be had
   */
  public static Mask torchMask(Tensor keyPaddingMask, Tensor attnMask, long heads, Arena arena) {
    Checks.positive("heads", heads);
    Objects.requireNonNull(arena, "arena");
    Tensor padding = null;
    if (keyPaddingMask != null) {
      Checks.input("keyPaddingMask", keyPaddingMask, DType.BOOL);
      Checks.rank("keyPaddingMask", keyPaddingMask, 2);
      padding = keyPaddingMask.unsqueeze(1).unsqueeze(1);
    }
    if (attnMask == null) {
      return padding == null ? Mask.none() : Mask.allow(inverse(padding, arena));
    }
    boolean added = attnMask.dtype() == DType.F32;
    Checks.input("attnMask", attnMask, added ? DType.F32 : DType.BOOL);
    Tensor scores = attnMask;
    if (attnMask.rank() == 3) {
      Checks.multiple("attnMask.size(0)", attnMask.size(0), "heads", heads);
      long batch = attnMask.size(0) / heads;
      scores = attnMask.reshape(batch, heads, attnMask.size(1), attnMask.size(2));
    } else if (attnMask.rank() != 2) {
      throw new IllegalArgumentException(
          "attnMask.rank must be 2 [lenQ, lenK] or 3 [batch * heads, lenQ, lenK]: attnMask.rank="
              + attnMask.rank());
    }
    if (added) {
      Mask bias = Mask.bias(scores);
      return padding == null ? bias : bias.and(Mask.allow(inverse(padding, arena)));
    }
    if (padding == null) {
      return Mask.allow(inverse(scores, arena));
    }
    Checks.equal("attnMask", "keyPaddingMask", "lenK", scores.size(-1), padding.size(-1));
    long batch = padding.size(0);
    if (scores.rank() == 2) {
      scores = scores.unsqueeze(0).unsqueeze(0).expand(0, batch);
    }
    Checks.equal("attnMask", "keyPaddingMask", "batch", scores.size(0), batch);
    Tensor shown = padding.expand(1, scores.size(1)).expand(2, scores.size(2));
    Tensor allow = Tensor.allocate(arena, DType.BOOL, scores.shape());
    for (long b = 0; b < batch; b++) {
      for (long h = 0; h < allow.size(1); h++) {
        for (long i = 0; i < allow.size(2); i++) {
          for (long j = 0; j < allow.size(3); j++) {
            boolean hidden = scores.getBoolean(b, h, i, j) || shown.getBoolean(b, h, i, j);
            allow.setBoolean(!hidden, b, h, i, j);
          }
        }
      }
    }
    return Mask.allow(allow);
  }

  /** A copy with true for false. */
  private static Tensor inverse(Tensor hidden, Arena arena) {
    Tensor allow = Tensor.allocate(arena, DType.BOOL, hidden.shape()).copyFrom(hidden);
    Tensor flat = allow.reshape(allow.count());
    for (long i = 0; i < flat.count(); i++) {
      flat.setBoolean(!flat.getBoolean(i), i);
    }
    return allow;
  }

  /**
   * Averages the weights of all heads, which is what PyTorch's {@code nn.MultiheadAttention}
   * returns unless it is told not to.
   *
   * @param weights {@link DType#F32} {@code [batch, heads, lenQ, lenK]}, keys side by side. Not
   *     modified.
   * @param average {@code [batch, lenQ, lenK]}, likewise. Modified.
   * @throws IllegalArgumentException if types, shapes, strides or alignment do not fit, heads is 0,
   *     or average is read-only or overlaps weights
   * @throws IllegalStateException if a tensor's arena is closed or confined to another thread
   */
  public static void averageHeads(Tensor weights, Tensor average) {
    Checks.rank("weights", Objects.requireNonNull(weights, "weights"), 4);
    Checks.input("weights", weights);
    Checks.packedRows("weights", weights);
    Checks.output("average", Objects.requireNonNull(average, "average"));
    long heads = weights.size(1);
    long lenK = weights.size(3);
    Checks.positive("weights.heads", heads);
    Checks.shape("average", average, "[batch, lenQ, lenK]", weights.size(0), weights.size(2), lenK);
    Checks.packedRows("average", average);
    Checks.disjoint("average", average, "weights", weights);
    if (average.count() == 0) {
      return;
    }
    MemorySegment from = Checks.first(weights);
    MemorySegment to = Checks.first(average);
    for (long b = 0; b < average.size(0); b++) {
      for (long i = 0; i < average.size(1); i++) {
        long row = b * weights.stride(0) + i * weights.stride(2);
        long result = b * average.stride(0) + i * average.stride(1);
        for (long j = 0; j < lenK; j++) {
          float sum = 0;
          for (long h = 0; h < heads; h++) {
            sum += from.getAtIndex(ValueLayout.JAVA_FLOAT, row + h * weights.stride(1) + j);
          }
          to.setAtIndex(ValueLayout.JAVA_FLOAT, result + j, sum / heads);
        }
      }
    }
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
    run(
        x,
        memory,
        memory,
        out,
        (q, k, v, result, scratch) -> attention.forward(q, k, v, result, extras));
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
      Projected projected = project(scratch, x, x, x);
      Tensor q = projected.q;
      if (rotary != null) {
        int[] starts = cache.lengths();
        rotary.forward(q, q, starts);
        rotary.forward(projected.k, projected.k, starts);
      }
      cache.append(projected.k, projected.v);
      Tensor result = scratch.room(x.size(0), x.size(1), outProjection.dimIn());
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
    underLengths(queries, keys, values, validLens, out, null);
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
    underLengths(queries, keys, values, validLens, out, Objects.requireNonNull(weights, "weights"));
  }

  private void underLengths(
      Tensor queries, Tensor keys, Tensor values, ValidLens validLens, Tensor out, Tensor weights) {
    Objects.requireNonNull(validLens, "validLens");
    check(queries, keys, values, out);
    validLens.check(queries.size(0), queries.size(1));
    run(
        queries,
        keys,
        values,
        out,
        (q, k, v, result, scratch) ->
            validLens.attend(attention, q, k, v, result, weights, scratch));
  }

  /**
   * Applies the layer to queries, keys and values of their own under a mask of this call, as
   * PyTorch's {@code nn.MultiheadAttention} does.
   *
   * @param queries {@link DType#F32} {@code [batch, lenQ, dimQueries]}. Not modified.
   * @param keys {@code [batch, lenK, dimKeys]}. Not modified.
   * @param values {@code [batch, lenK, dimValues]}. Not modified.
   * @param mask hides keys in addition to the layer's own mask, for example {@link #torchMask}
   * @param out {@code [batch, lenQ, dimModel]}. Modified.
   * @param extras logsumexp {@code [batch, heads, lenQ]}, weights {@code [batch, heads, lenQ,
   *     lenK]} ({@link #averageHeads} averages them), dropout; its outputs are modified
   * @throws IllegalArgumentException as {@link #forward(Tensor, Tensor)}, if an extra does not fit,
   *     or if the two masks have no intersection
   * @throws IllegalStateException if a tensor's arena is closed or confined to another thread
   * @throws OutOfMemoryError if there is no memory for queries, keys and values
   * @throws io.github.attention4j.AttentionException if the native library or a BLAS is not to be
   *     had
   */
  public void forward(
      Tensor queries, Tensor keys, Tensor values, Mask mask, Tensor out, Extras extras) {
    Objects.requireNonNull(mask, "mask");
    Objects.requireNonNull(extras, "extras");
    check(queries, keys, values, out);
    Attention masked = mask == Mask.none() ? attention : attention(this.mask.and(mask));
    run(
        queries,
        keys,
        values,
        out,
        (q, k, v, result, scratch) -> masked.forward(q, k, v, result, extras));
  }

  /**
   * Projects what is attended to, once for all the calls that will read it, as a decoder reads an
   * encoder's outputs at every step.
   *
   * @param arena supplies the memory and decides how long it lives
   * @param memory {@code [batch, lenK, dimMemory]}. Not modified.
   * @return its keys and values, a full cache
   * @throws IllegalArgumentException if type, rank, sizes, strides or alignment do not fit
   * @throws IllegalStateException if a tensor's arena is closed or confined to another thread
   * @throws OutOfMemoryError if the memory is not to be had
   * @throws io.github.attention4j.AttentionException if the native library or a BLAS is not to be
   *     had
   */
  public KvCache readMemory(Arena arena, Tensor memory) {
    Checks.rank("memory", Objects.requireNonNull(memory, "memory"), 3);
    Checks.input("memory", memory);
    KvCache cache = allocateCache(arena, memory.size(0), memory.size(1));
    try (Scratch scratch = new Scratch()) {
      Tensor k = project(scratch, keyProjection, memory, headsKv);
      Tensor v = project(scratch, valueProjection, memory, headsKv);
      if (rotary != null) {
        rotary.forward(k, k, 0);
      }
      cache.append(k, v);
    }
    return cache;
  }

  /**
   * Applies the layer to queries that attend to a memory that has been projected.
   *
   * @param x {@link DType#F32} {@code [batch, len, dimModel]}. Not modified.
   * @param memory as {@link #readMemory} makes it. Not modified.
   * @param validLens how many of its keys are valid
   * @param out {@code [batch, len, dimModel]}. Modified.
   * @param weights {@code [batch, heads, len, lenK]}, contiguous; or null where they are not
   *     wanted. Modified.
   * @throws IllegalArgumentException as {@link #forward(Tensor, Tensor)}, and if the memory, the
   *     lengths or weights do not fit
   * @throws IllegalStateException if a tensor's arena is closed or confined to another thread
   * @throws OutOfMemoryError if there is no memory for queries
   * @throws io.github.attention4j.AttentionException if the native library or a BLAS is not to be
   *     had
   */
  public void forwardMemory(
      Tensor x, KvCache memory, ValidLens validLens, Tensor out, Tensor weights) {
    Objects.requireNonNull(memory, "memory");
    Objects.requireNonNull(validLens, "validLens");
    check(x, out);
    validLens.check(x.size(0), x.size(1));
    try (Scratch scratch = new Scratch()) {
      Tensor q = project(scratch, queryProjection, x, heads);
      if (rotary != null) {
        rotary.forward(q, q, 0);
      }
      Tensor result = scratch.room(x.size(0), x.size(1), outProjection.dimIn());
      Tensor read = result.splitHeads(heads);
      validLens.attend(attention, q, memory.keys(), memory.values(), read, weights, scratch);
      outProjection.forward(result, out);
    }
  }

  private Attention attention(Mask mask) {
    Attention.Builder builder = Attention.builder().mask(mask);
    return Double.isNaN(scale) ? builder.build() : builder.scale(scale).build();
  }

  /** What turns projected heads into a result that lies as {@code [batch, heads, lenQ, dim]}. */
  @FunctionalInterface
  private interface Attend {
    void attend(Tensor q, Tensor k, Tensor v, Tensor result, Scratch scratch);
  }

  private void run(Tensor queries, Tensor keys, Tensor values, Tensor out, Attend attend) {
    try (Scratch scratch = new Scratch()) {
      Projected projected = project(scratch, queries, keys, values);
      if (rotary != null) {
        rotary.forward(projected.q, projected.q, 0);
        rotary.forward(projected.k, projected.k, 0);
      }
      Tensor result = scratch.room(queries.size(0), queries.size(1), outProjection.dimIn());
      attend.attend(projected.q, projected.k, projected.v, result.splitHeads(heads), scratch);
      outProjection.forward(result, out);
    }
  }

  private static void check(Tensor queries, Tensor keys, Tensor values, Tensor out) {
    Checks.rank("queries", Objects.requireNonNull(queries, "queries"), 3);
    Checks.rank("out", Objects.requireNonNull(out, "out"), 3);
    Checks.equal("out", "queries", "batch", out.size(0), queries.size(0));
    Checks.equal("out", "queries", "len", out.size(1), queries.size(1));
    Checks.output("out", out);
    Checks.disjoint("out", out, "queries", queries);
    checkMemory("keys", keys, queries, out);
    checkMemory("values", values, queries, out);
    Checks.equal("values", "keys", "len", values.size(1), keys.size(1));
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

  /** Each {@code [batch, heads, len, dim]}, in memory that may be written. */
  private record Projected(Tensor q, Tensor k, Tensor v) {}

  private Projected project(Scratch scratch, Tensor queries, Tensor keys, Tensor values) {
    if (packedProjection == null || queries != keys || keys != values) {
      return new Projected(
          project(scratch, queryProjection, queries, heads),
          project(scratch, keyProjection, keys, headsKv),
          project(scratch, valueProjection, values, headsKv));
    }
    Tensor rows = scratch.room(queries.size(0), queries.size(1), packedProjection.dimOut());
    packedProjection.forward(queries, rows);
    long widthQ = queryProjection.dimOut();
    long widthKv = keyProjection.dimOut();
    return new Projected(
        rows.slice(2, 0, widthQ).splitHeads(heads),
        rows.slice(2, widthQ, widthKv).splitHeads(headsKv),
        rows.slice(2, widthQ + widthKv, widthKv).splitHeads(headsKv));
  }

  private static Tensor project(Scratch scratch, Linear projection, Tensor x, long heads) {
    Tensor rows = scratch.room(x.size(0), x.size(1), projection.dimOut());
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

    /** Either the first, or the next three. */
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
      this.mask = Objects.requireNonNull(mask, "mask");
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
      Attention.builder().scale(scale); // refuses what cannot be one
      this.scale = scale;
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
