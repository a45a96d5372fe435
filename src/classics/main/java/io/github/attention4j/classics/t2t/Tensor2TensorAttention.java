package io.github.attention4j.classics.t2t;

import io.github.attention4j.Alignment;
import io.github.attention4j.Attention;
import io.github.attention4j.DType;
import io.github.attention4j.Dropout;
import io.github.attention4j.Extras;
import io.github.attention4j.KvCache;
import io.github.attention4j.Mask;
import io.github.attention4j.RelativePositions;
import io.github.attention4j.Tensor;
import io.github.attention4j.internal.Checks;
import io.github.attention4j.internal.Scratch;
import io.github.attention4j.io.SafeTensors;
import io.github.attention4j.layer.Linear;
import java.lang.foreign.Arena;
import java.lang.foreign.MemorySegment;
import java.lang.foreign.ValueLayout;
import java.util.Arrays;
import java.util.Locale;
import java.util.Objects;
import java.util.function.Consumer;

/**
 * {@code common_attention.multihead_attention} of tensor2tensor, with every one of its attention
 * types:
 *
 * <pre>
 *   q, k, v = heads of q(queryAntecedent), k(memoryAntecedent), v(memoryAntecedent)
 *   q       = q · (totalKeyDepth / numHeads)^-0.5                  not with vars3d
 *   out     = outputTransform(concat over heads of attentionType(q, k, v, bias))
 * </pre>
 *
 * <pre>{@code
 * Tensor2TensorAttention layer =
 *     Tensor2TensorAttention.builder()
 *         .numHeads(8)
 *         .attentionType(AttentionType.DOT_PRODUCT_RELATIVE)
 *         .maxRelativePosition(16)
 *         .load(file, "body/decoder/layer_0/self_attention/multihead_attention/", arena);
 * layer.forward(x, null, Mask.causal(Alignment.TOP_LEFT), out);
 * }</pre>
 *
 * <p><b>The original's parameters.</b>
 *
 * <table class="striped">
 * <caption>Parameters of {@code multihead_attention}</caption>
 * <thead><tr><th>tensor2tensor</th><th>here</th></tr></thead>
 * <tbody>
 * <tr><td>{@code query_antecedent}, {@code memory_antecedent}</td>
 *   <td>parameters of {@link #forward(Tensor, Tensor, Mask, Tensor)}; memory null: self-attention
 *   </td></tr>
 * <tr><td>{@code bias}</td>
 *   <td>the same, {@link Mask#bias} of the original's tensor or any other mask; null: none</td></tr>
 * <tr><td>{@code total_key_depth}, {@code total_value_depth}, {@code output_depth}, {@code
 *   num_heads}, {@code dropout_rate}, {@code attention_type}, {@code max_relative_position}, {@code
 *   heads_share_relative_embedding}, {@code add_relative_to_values}, {@code block_length}, {@code
 *   block_width}, {@code q_filter_width}, {@code kv_filter_width}, {@code q_padding}, {@code
 *   kv_padding}, {@code gap_size}, {@code num_memory_blocks}, {@code dropout_broadcast_dims},
 *   {@code vars_3d}, {@code hard_attention_k}, {@code gumbel_noise_weight}, {@code max_area_width},
 *   {@code max_area_height}, {@code memory_height}, {@code area_key_mode}, {@code area_value_mode}
 *   </td><td>methods of the {@link Builder}, of the same names</td></tr>
 * <tr><td>{@code cache} with {@code k}, {@code v}; {@code decode_loop_step}</td>
 *   <td>{@link #forwardCached(Tensor, KvCache, Mask, Tensor, Extras) forwardCached}</td></tr>
 * <tr><td>{@code cache} with {@code k_encdec}, {@code v_encdec}</td>
 *   <td>{@link #readMemory readMemory}, {@link #forwardMemory forwardMemory}</td></tr>
 * <tr><td>{@code recurrent_memory}, {@code chunk_number}</td>
 *   <td>{@link #forwardChunk forwardChunk}</td></tr>
 * <tr><td>{@code save_weights_to}</td>
 *   <td>{@link Extras#weights} of {@link #allocateWeights}; the logits are {@link
 *   Extras#scores}</td></tr>
 * <tr><td>{@code training}</td>
 *   <td>{@link #drawn}; {@link AreaNoise} of {@link #forward(Tensor, Tensor, Mask, AreaNoise,
 *   Tensor, Extras)}</td></tr>
 * <tr><td>{@code name}</td><td>the prefix that {@link Builder#load} reads below</td></tr>
 * <tr><td>{@code image_shapes}, {@code make_image_summary}</td>
 *   <td>{@link io.github.attention4j.classics.t2t.AttentionImage} of the weights</td></tr>
 * <tr><td>{@code layer_collection}</td>
 *   <td>of a training method of the original's graph: nothing here</td></tr>
 * </tbody>
 * </table>
 *
 * <p>All tensors are {@link DType#F32}. Heads are views of the projections, never copies. Immutable
 * and safe for any number of threads.
 */
public final class Tensor2TensorAttention {
  /** How queries attend to keys, by the names of {@code attention_type}. */
  public enum AttentionType {
    /**
     * Softmax over all keys; over areas of them where {@code max_area_width} or {@code
     * max_area_height} exceeds 1. Any memory, cache and bias.
     */
    DOT_PRODUCT,

    /**
     * A row of a table for each distance is added to keys and to values; distances beyond {@code
     * max_relative_position} have the outermost rows (Shaw et al. 2018). Self-attention, with cache
     * or recurrent memory where wanted; dropout decisions are never shared.
     */
    DOT_PRODUCT_RELATIVE,

    /**
     * Tables of distances to the left, {@code max_relative_position} rows whose last is for
     * distance 0; zero beyond. For self-attention with a bias that hides the keys after a query.
     */
    DOT_PRODUCT_RELATIVE_V2,

    /**
     * Tables of distances to both sides, {@code 2 · max_relative_position - 1} rows whose middle is
     * for distance 0; zero beyond. Self-attention.
     */
    DOT_PRODUCT_UNMASKED_RELATIVE_V2,

    /** {@link LocalMasks#localWithinBlockMaskRight}. Self-attention without bias or dropout. */
    LOCAL_WITHIN_BLOCK_MASK_RIGHT,

    /**
     * The keys of {@link #LOCAL_MASK_RIGHT}, with tables of {@code 4 · block_length} distances to
     * the left, the last row for distance 0. Queries of the first block take nothing from the table
     * of values. Self-attention without bias.
     */
    LOCAL_RELATIVE_MASK_RIGHT,

    /** {@link LocalMasks#localMaskRight}. Self-attention without bias or dropout. */
    LOCAL_MASK_RIGHT,

    /**
     * {@link LocalMasks#localUnmasked(Tensor, int, int)}, {@code block_width} being the width of
     * its filter. Self-attention without bias or dropout.
     */
    LOCAL_UNMASKED,

    /**
     * {@link LocalMasks#maskedDilated1d(Tensor, int, int, int, int)}, {@code block_length} being
     * the size of query blocks and {@code block_width} that of memory blocks. Self-attention
     * without bias or dropout.
     */
    MASKED_DILATED_1D,

    /**
     * {@link LocalMasks#unmaskedDilated1d(Tensor, int, int, int, int)}, with the same sizes.
     * Self-attention without bias or dropout.
     */
    UNMASKED_DILATED_1D;

    /**
     * Finds a type by the original's word.
     *
     * @param name for example {@code "local_mask_right"}
     * @return the type
     * @throws IllegalArgumentException if there is no such type
     */
    public static AttentionType of(String name) {
      Objects.requireNonNull(name, "name");
      for (AttentionType type : values()) {
        if (type.toString().equals(name)) {
          return type;
        }
      }
      throw new IllegalArgumentException(
          "attentionType must be one of " + Arrays.toString(values()) + ": attentionType=" + name);
    }

    /** Returns the original's word, for example {@code local_mask_right}. */
    @Override
    public String toString() {
      return name().toLowerCase(Locale.ROOT);
    }

    private boolean relative() {
      return this == DOT_PRODUCT_RELATIVE
          || this == DOT_PRODUCT_RELATIVE_V2
          || this == DOT_PRODUCT_UNMASKED_RELATIVE_V2
          || this == LOCAL_RELATIVE_MASK_RIGHT;
    }

    /** Whether keys are chosen by blocks, and a bias is ignored. */
    private boolean local() {
      return ordinal() >= LOCAL_WITHIN_BLOCK_MASK_RIGHT.ordinal();
    }

    private boolean cached() {
      return this == DOT_PRODUCT || this == DOT_PRODUCT_RELATIVE;
    }
  }

  /**
   * Attention of a caller's own, an {@code attention_type} that is a function of q, k and v. Such a
   * type gets neither bias nor cache.
   */
  @FunctionalInterface
  public interface AttentionFunction {
    /**
     * Computes attention. Called on the thread of the layer's call, whose memory the tensors are
     * until it returns.
     *
     * @param q queries {@code [batch, numHeads, lenQ, keyDepth]}, scaled already. May be modified.
     * @param k keys {@code [batch, numHeads, lenK, keyDepth]}. May be modified.
     * @param v values {@code [batch, numHeads, lenK, valueDepth]}. May be modified.
     * @param out {@code [batch, numHeads, lenQ, valueDepth]}, zero before. Modified.
     */
    void attend(Tensor q, Tensor k, Tensor v, Tensor out);
  }

  /** One of q, k and v: dense or convolutional, the other being null. */
  record Projection(Linear dense, Conv1d conv) {
    static Projection of(Linear dense) {
      return new Projection(dense, null);
    }

    static Projection of(Conv1d conv) {
      return new Projection(null, conv);
    }

    long dimIn() {
      return dense != null ? dense.dimIn() : conv.dimIn();
    }

    long dimOut() {
      return dense != null ? dense.dimOut() : conv.dimOut();
    }

    long width() {
      return dense != null ? 1 : conv.width();
    }

    long lengthOut(long len) {
      return dense != null ? len : conv.lengthOut(len);
    }

    void forward(Tensor x, Tensor out) {
      if (dense != null) {
        dense.forward(x, out);
      } else {
        conv.forward(x, out);
      }
    }
  }

  private final AttentionType type;
  private final AttentionFunction function;
  private final Projection query;
  private final Projection key;
  private final Projection value;
  private final Linear outputTransform;
  private final long numHeads;
  private final boolean vars3d;
  private final float scale;
  private final int blockLength;
  private final int blockWidth;
  private final int gapSize;
  private final int numMemoryBlocks;
  private final double dropoutRate;
  private final Dropout.Dimension[] dropoutShared;
  private final int hardAttentionK;
  private final double gumbelNoiseWeight;

  /** Null if the type is not relative; the second table is null if values have none. */
  private final Tensor keyEmbeddings;

  private final Tensor valueEmbeddings;
  private final int maxRelativePosition;

  /** Null where areas are single keys. */
  private final AreaAttention areaAttention;

  private Tensor2TensorAttention(Builder builder) {
    type = builder.type;
    function = builder.function;
    query = builder.query;
    key = builder.key;
    value = builder.value;
    outputTransform = builder.outputTransform;
    numHeads = builder.numHeads;
    blockLength = builder.blockLength;
    blockWidth = builder.blockWidth;
    gapSize = builder.gapSize;
    numMemoryBlocks = builder.numMemoryBlocks;
    vars3d = builder.vars3d;
    scale = vars3d ? 1 : (float) (1 / Math.sqrt(query.dimOut() / numHeads));
    dropoutRate = builder.drops() ? builder.dropoutRate : 0;
    dropoutShared = builder.dropoutShared();
    hardAttentionK = builder.hardAttentionK;
    gumbelNoiseWeight = hardAttentionK > 0 ? builder.gumbelNoiseWeight : 0;
    boolean relative = type != null && type.relative();
    keyEmbeddings = relative ? builder.keyEmbeddings : null;
    valueEmbeddings = relative && builder.hasValueEmbeddings() ? builder.valueEmbeddings : null;
    maxRelativePosition = builder.maxRelativePosition;
    areaAttention = builder.hasAreas() ? builder.areas().scale(scale).build() : null;
  }

  /**
   * Starts a layer with the original's defaults: {@code dot_product}, filters of width 1, blocks of
   * 128.
   *
   * @return a builder
   */
  public static Builder builder() {
    return new Builder();
  }

  // ---- What it is ----

  /**
   * Returns how queries attend to keys.
   *
   * @return the type, or null if it is the caller's function
   */
  public AttentionType attentionType() {
    return type;
  }

  /**
   * Returns the number of heads.
   *
   * @return {@code num_heads}
   */
  public long numHeads() {
    return numHeads;
  }

  /**
   * Returns the width of queries and keys, all heads together.
   *
   * @return {@code total_key_depth}
   */
  public long totalKeyDepth() {
    return key.dimOut();
  }

  /**
   * Returns the width of values, all heads together.
   *
   * @return {@code total_value_depth}
   */
  public long totalValueDepth() {
    return value.dimOut();
  }

  /**
   * Returns the width of the result.
   *
   * @return {@code output_depth}
   */
  public long outputDepth() {
    return outputTransform.dimOut();
  }

  /**
   * Returns how long the result is, which is shorter than the queries where {@code q_padding} is
   * VALID.
   *
   * @param lenQ the length of query_antecedent
   * @return the length of the result
   * @throws IllegalArgumentException if the filter is longer than the queries allow
   */
  public long lengthOut(long lenQ) {
    return query.lengthOut(lenQ);
  }

  /**
   * Returns how many keys there are, which are fewer than what is attended to where {@code
   * kv_padding} is VALID.
   *
   * @param lenM the length of memory_antecedent, or of query_antecedent
   * @return the number of keys
   * @throws IllegalArgumentException if the filter is longer than the memory allows
   */
  public long lengthK(long lenM) {
    return key.lengthOut(lenM);
  }

  // ---- Training ----

  /**
   * Draws what one step of training draws: dropout with {@code dropout_rate}, along {@code
   * dropout_broadcast_dims} once, and the noise of {@code gumbel_noise_weight}, as far as the
   * attention type has them. Masks and numbers that the caller has drawn are given with {@link
   * Extras#keep} and {@link Extras#gumbelNoise(double, Tensor)} instead.
   *
   * @param seed another one for each step and layer
   * @return extras for one call, to which weights may be added
   */
  public Extras drawn(long seed) {
    Extras extras = Extras.none();
    if (dropoutRate > 0) {
      extras = extras.dropout(Dropout.of(dropoutRate, seed).sharedAlong(dropoutShared));
    }
    // Another seed: from the same one, a weight would be dropped where its noise is least.
    return gumbelNoiseWeight == 0 ? extras : extras.gumbelNoise(gumbelNoiseWeight, ~seed);
  }

  // ---- Whole sequences ----

  /**
   * Applies the layer to sequences that attend to themselves, without bias.
   *
   * @param queryAntecedent {@code [batch, len, channels]}. Not modified.
   * @param out {@code [batch, lengthOut, outputDepth]}. Modified.
   * @throws IllegalArgumentException if types, sizes, strides or alignment do not fit, or out is
   *     read-only or overlaps an input or a weight
   * @throws IllegalStateException if a tensor's arena is closed or confined to another thread
   * @throws OutOfMemoryError if there is no memory for queries, keys and values
   */
  public void forward(Tensor queryAntecedent, Tensor out) {
    forward(queryAntecedent, null, null, out, Extras.none());
  }

  /**
   * Applies the layer.
   *
   * @param queryAntecedent {@code [batch, lenQ, channels]}. Not modified.
   * @param memoryAntecedent what is attended to, {@code [batch, lenM, channelsM]}; null:
   *     self-attention. Not modified.
   * @param bias what is added to logits or hides keys, of any shape that broadcasts to {@code
   *     [batch, numHeads, lenQ, lenK]}; null: nothing. Parts that place queries among keys are
   *     {@link Alignment#TOP_LEFT} if the type is relative. Local and dilated types, and functions,
   *     have none: it is ignored, as in the original.
   * @param out {@code [batch, lengthOut, outputDepth]}. Modified.
   * @throws IllegalArgumentException if types, sizes, strides or alignment do not fit, the bias
   *     does not fit, queries and keys differ in number for a type that is self-attention, or out
   *     is read-only or overlaps an input or a weight
   * @throws IllegalStateException if a tensor's arena is closed or confined to another thread
   * @throws OutOfMemoryError if there is no memory for queries, keys and values
   */
  public void forward(Tensor queryAntecedent, Tensor memoryAntecedent, Mask bias, Tensor out) {
    forward(queryAntecedent, memoryAntecedent, bias, out, Extras.none());
  }

  /**
   * Applies the layer with extra inputs and outputs.
   *
   * @param queryAntecedent {@code [batch, lenQ, channels]}. Not modified.
   * @param memoryAntecedent {@code [batch, lenM, channelsM]}; null: self-attention. Not modified.
   * @param bias as in {@link #forward(Tensor, Tensor, Mask, Tensor)}
   * @param out {@code [batch, lengthOut, outputDepth]}. Modified.
   * @param extras weights as {@link #allocateWeights} makes them, scores, dropout; its outputs are
   *     modified. A function of the caller's own has none.
   * @throws IllegalArgumentException as {@link #forward(Tensor, Tensor, Mask, Tensor)}, and if an
   *     extra does not fit
   * @throws IllegalStateException if a tensor's arena is closed or confined to another thread
   * @throws OutOfMemoryError if there is no memory for queries, keys and values
   */
  public void forward(
      Tensor queryAntecedent, Tensor memoryAntecedent, Mask bias, Tensor out, Extras extras) {
    forward(queryAntecedent, memoryAntecedent, bias, AreaNoise.none(), out, extras);
  }

  /**
   * Applies the layer with noise for the keys of areas, the original's {@code training}.
   *
   * @param queryAntecedent {@code [batch, lenQ, channels]}. Not modified.
   * @param memoryAntecedent {@code [batch, lenM, channelsM]}; null: self-attention. Not modified.
   * @param bias as in {@link #forward(Tensor, Tensor, Mask, Tensor)}
   * @param areaNoise the noise of area key modes that sample; ignored by everything else
   * @param out {@code [batch, lengthOut, outputDepth]}. Modified.
   * @param extras as in {@link #forward(Tensor, Tensor, Mask, Tensor, Extras)}, for example {@link
   *     #drawn}
   * @throws IllegalArgumentException as {@link #forward(Tensor, Tensor, Mask, Tensor, Extras)}, and
   *     if the noise does not fit
   * @throws IllegalStateException if a tensor's arena is closed or confined to another thread
   * @throws OutOfMemoryError if there is no memory for queries, keys and values
   */
  public void forward(
      Tensor queryAntecedent,
      Tensor memoryAntecedent,
      Mask bias,
      AreaNoise areaNoise,
      Tensor out,
      Extras extras) {
    Objects.requireNonNull(areaNoise, "areaNoise");
    Objects.requireNonNull(extras, "extras");
    check(queryAntecedent, out);
    Tensor memory = memoryAntecedent == null ? queryAntecedent : memoryAntecedent;
    checkMemory(memory, queryAntecedent, out);
    try (Scratch scratch = new Scratch()) {
      Tensor k = project(scratch, key, memory);
      Tensor v = project(scratch, value, memory);
      attend(scratch, queryAntecedent, k, v, bias, Place.SELF, areaNoise, out, extras);
    }
  }

  /**
   * Makes room for the weights of a call, {@code save_weights_to}.
   *
   * @param arena supplies the memory and decides how long it lives
   * @param batch the number of sequences
   * @param lengthOut the length of the result
   * @param lenK the number of keys: {@link #lengthK} of what is attended to, or the longest length
   *     of a cache
   * @return {@code [batch, numHeads, lengthOut, lenK]}, or with areas {@code [batch, numHeads,
   *     lengthOut, areas]}
   * @throws IllegalArgumentException if a size is negative or the memory's size overflows
   * @throws OutOfMemoryError if the memory cannot be allocated
   */
  public Tensor allocateWeights(Arena arena, long batch, long lengthOut, long lenK) {
    long columns = areaAttention == null ? lenK : areaAttention.areas().count(lenK);
    return Tensor.allocate(arena, DType.F32, batch, numHeads, lengthOut, columns);
  }

  // ---- Caches ----

  /**
   * Makes an empty cache for step by step decoding, {@code {"k": …, "v": …}}.
   *
   * @param arena supplies the memory and decides how long it lives
   * @param batch the number of sequences
   * @param capacity the most positions of each
   * @return an empty cache
   * @throws IllegalArgumentException if a size is negative or the memory's size overflows
   * @throws OutOfMemoryError if the memory cannot be allocated
   */
  public KvCache allocateCache(Arena arena, long batch, long capacity) {
    return KvCache.allocate(
        arena,
        batch,
        numHeads,
        key.dimOut() / numHeads,
        numHeads,
        value.dimOut() / numHeads,
        capacity);
  }

  /**
   * Makes a cache of full length, all of it zero, for steps that write in place: with {@code
   * decode_loop_step}.
   *
   * @param arena supplies the memory and decides how long it lives
   * @param batch the number of sequences
   * @param length the positions of each, all in use from the beginning
   * @return a full cache
   * @throws IllegalArgumentException if a size is negative or the memory's size overflows
   * @throws OutOfMemoryError if the memory cannot be allocated
   */
  public KvCache allocateFullCache(Arena arena, long batch, long length) {
    Checks.inRange("batch", batch, 0, Integer.MAX_VALUE);
    Checks.inRange("length", length, 0, Integer.MAX_VALUE);
    Tensor keys =
        Tensor.allocate(arena, DType.F32, batch, numHeads, length, key.dimOut() / numHeads);
    Tensor values =
        Tensor.allocate(arena, DType.F32, batch, numHeads, length, value.dimOut() / numHeads);
    return KvCache.of(keys, values, lengths((int) batch, (int) length));
  }

  private static int[] lengths(int batch, int length) {
    int[] lengths = new int[batch];
    Arrays.fill(lengths, length);
    return lengths;
  }

  /**
   * Appends new positions to a cache and applies the layer to them; each attends to all that the
   * cache then holds, as far as the bias lets it.
   *
   * @param queryAntecedent the new positions, {@code [batch, len, channels]}, mostly one. Not
   *     modified.
   * @param cache as {@link #allocateCache} makes it. Modified.
   * @param bias required, as in the original: if there are several new positions, it hides those
   *     that come later, for example {@code Mask.causal(Alignment.BOTTOM_RIGHT)}; lenK is the
   *     cache's longest length
   * @param out {@code [batch, lengthOut, outputDepth]}. Modified.
   * @param extras weights as {@link #allocateWeights} makes them, scores, dropout; its outputs are
   *     modified
   * @throws IllegalArgumentException as {@link #forward(Tensor, Tensor, Mask, Tensor, Extras)}, if
   *     the type is neither {@code dot_product} nor {@code dot_product_relative}, the bias is null,
   *     or the cache's shape is another
   * @throws IllegalStateException if the cache has no room, in which case nothing is appended; or
   *     if a tensor's arena is closed or confined to another thread
   * @throws OutOfMemoryError if there is no memory for queries, keys and values
   */
  public void forwardCached(
      Tensor queryAntecedent, KvCache cache, Mask bias, Tensor out, Extras extras) {
    forwardCached(queryAntecedent, cache, cache, bias, Place.LAST, out, extras);
  }

  /**
   * Writes one position into a full cache in place and applies the layer to it, {@code
   * decode_loop_step}. It attends to the whole cache, so that the bias has to hide the later
   * positions; then the result is that of a cache that grows.
   *
   * @param queryAntecedent the position, {@code [batch, 1, channels]}. Not modified.
   * @param cache as {@link #allocateFullCache} makes it. Modified.
   * @param decodeLoopStep where in the cache the position is
   * @param bias required; lenK is the cache's length
   * @param out {@code [batch, 1, outputDepth]}. Modified.
   * @param extras weights, scores, dropout; its outputs are modified
   * @throws IllegalArgumentException as {@link #forwardCached(Tensor, KvCache, Mask, Tensor,
   *     Extras)}, and if the query is not one position, the step lies outside the cache, or not all
   *     of the cache is in use
   * @throws IllegalStateException if a tensor's arena is closed or confined to another thread
   * @throws OutOfMemoryError if there is no memory for queries, keys and values
   */
  public void forwardCached(
      Tensor queryAntecedent,
      KvCache cache,
      int decodeLoopStep,
      Mask bias,
      Tensor out,
      Extras extras) {
    Objects.requireNonNull(cache, "cache");
    int[] lengths = cache.lengths();
    for (int b = 0; b < lengths.length; b++) {
      Checks.equal("cache.length(" + b + ")", lengths[b], "cache.capacity", cache.capacity());
    }
    Checks.inRange("decodeLoopStep", decodeLoopStep, 0, cache.capacity() - 1L);
    Checks.rank("queryAntecedent", Objects.requireNonNull(queryAntecedent, "queryAntecedent"), 3);
    Checks.equal(
        "queryAntecedent.len", queryAntecedent.size(1), "the positions of a decodeLoopStep", 1);
    int[] steps = lengths(lengths.length, decodeLoopStep);
    KvCache written = KvCache.of(cache.keys(), cache.values(), steps);
    Place place = new Place(null, steps);
    forwardCached(queryAntecedent, written, cache, bias, place, out, extras);
  }

  private void forwardCached(
      Tensor queryAntecedent,
      KvCache appended,
      KvCache read,
      Mask bias,
      Place place,
      Tensor out,
      Extras extras) {
    Objects.requireNonNull(read, "cache");
    Objects.requireNonNull(extras, "extras");
    requireCacheable(bias);
    check(queryAntecedent, out);
    Checks.equal("queryAntecedent.dim", queryAntecedent.size(2), "k.dimIn", key.dimIn());
    try (Scratch scratch = new Scratch()) {
      Tensor k = project(scratch, key, queryAntecedent);
      Tensor v = project(scratch, value, queryAntecedent);
      appended.append(k, v);
      attend(
          scratch,
          queryAntecedent,
          read.keys(),
          read.values(),
          bias.and(ragged(read)),
          place,
          AreaNoise.none(),
          out,
          extras);
    }
  }

  /** Hides the unused rows of sequences that are shorter than the longest. */
  private static Mask ragged(KvCache cache) {
    int[] lengths = cache.lengths();
    for (int length : lengths) {
      if (length != cache.longest()) {
        return Mask.keyLengths(lengths);
      }
    }
    return Mask.none();
  }

  private void requireCacheable(Mask bias) {
    if (function != null || !type.cached()) {
      throw new IllegalArgumentException(
          "attentionType must be dot_product or dot_product_relative for caching: attentionType="
              + (function != null ? "a function" : type));
    }
    if (bias == null) {
      throw new IllegalArgumentException(
          "bias must be given for caching, Mask.none() where it hides nothing: bias=null");
    }
  }

  /**
   * Projects a memory once for all the calls that will attend to it, {@code {"k_encdec": …,
   * "v_encdec": …}}.
   *
   * @param arena supplies the memory and decides how long it lives
   * @param memoryAntecedent {@code [batch, lenM, channelsM]}. Not modified.
   * @return its keys and values, a full cache
   * @throws IllegalArgumentException if type, rank, sizes, strides or alignment do not fit
   * @throws IllegalStateException if a tensor's arena is closed or confined to another thread
   * @throws OutOfMemoryError if the memory cannot be allocated
   */
  public KvCache readMemory(Arena arena, Tensor memoryAntecedent) {
    Checks.rank(
        "memoryAntecedent", Objects.requireNonNull(memoryAntecedent, "memoryAntecedent"), 3);
    Checks.input("memoryAntecedent", memoryAntecedent);
    checkWidth(memoryAntecedent);
    long lenK = key.lengthOut(memoryAntecedent.size(1));
    KvCache cache = allocateCache(arena, memoryAntecedent.size(0), lenK);
    try (Scratch scratch = new Scratch()) {
      Tensor k = project(scratch, key, memoryAntecedent);
      cache.append(k, project(scratch, value, memoryAntecedent));
    }
    return cache;
  }

  /**
   * Applies the layer to queries that attend to a memory that has been projected. Any part of the
   * queries gives the same rows as all of them; but not with {@code dot_product_relative}, whose
   * queries are at the last keys.
   *
   * @param queryAntecedent {@code [batch, lenQ, channels]}. Not modified.
   * @param memory as {@link #readMemory} makes it. Not modified.
   * @param bias required, as in the original; {@link Mask#none()} if it hides nothing
   * @param out {@code [batch, lengthOut, outputDepth]}. Modified.
   * @param extras weights, scores, dropout; its outputs are modified
   * @throws IllegalArgumentException as {@link #forwardCached(Tensor, KvCache, Mask, Tensor,
   *     Extras)}
   * @throws IllegalStateException if a tensor's arena is closed or confined to another thread
   * @throws OutOfMemoryError if there is no memory for queries
   */
  public void forwardMemory(
      Tensor queryAntecedent, KvCache memory, Mask bias, Tensor out, Extras extras) {
    Objects.requireNonNull(memory, "memory");
    Objects.requireNonNull(extras, "extras");
    requireCacheable(bias);
    check(queryAntecedent, out);
    try (Scratch scratch = new Scratch()) {
      Tensor k = memory.keys();
      Tensor v = memory.values();
      Mask mask = bias.and(ragged(memory));
      attend(scratch, queryAntecedent, k, v, mask, Place.LAST, AreaNoise.none(), out, extras);
    }
  }

  // ---- Recurrent memory ----

  /**
   * Applies the layer to a chunk of a sequence that also attends to what a memory holds of the
   * chunks before it, {@code recurrent_memory}; afterwards the memory holds this chunk too.
   *
   * @param queryAntecedent the chunk, {@code [batch, len, channels]}. Not modified.
   * @param memory what has been read so far. Modified.
   * @param chunkNumber for each batch the number of its chunk, 0 if a new sequence begins. Not
   *     modified.
   * @param bias what is added to the logits within the chunk, {@code [batch or 1, 1, len or 1,
   *     len]}, −10⁹ for hidden keys. Not modified.
   * @param out {@code [batch, len, outputDepth]}. Modified.
   * @param extras weights as {@link #allocateWeights} makes them for memory and chunk together,
   *     scores, dropout; its outputs are modified
   * @throws IllegalArgumentException as {@link #forward(Tensor, Tensor, Mask, Tensor, Extras)}, and
   *     if the layer has vars3d or the chunk does not fit the memory
   * @throws IllegalStateException if a tensor's arena is closed or confined to another thread
   * @throws OutOfMemoryError if there is no memory for the chunk, queries, keys and values
   */
  public void forwardChunk(
      Tensor queryAntecedent,
      RecurrentMemory memory,
      int[] chunkNumber,
      Tensor bias,
      Tensor out,
      Extras extras) {
    Objects.requireNonNull(memory, "memory");
    Objects.requireNonNull(chunkNumber, "chunkNumber");
    Objects.requireNonNull(extras, "extras");
    if (vars3d) {
      throw new IllegalArgumentException("vars3d is not supported with a recurrent memory");
    }
    check(queryAntecedent, out);
    try (Scratch scratch = new Scratch()) {
      RecurrentMemory.Chunk chunk =
          memory.preAttention(scratch.arena(), chunkNumber, queryAntecedent, bias);
      Tensor read = chunk.memoryAntecedent() == null ? queryAntecedent : chunk.memoryAntecedent();
      checkMemory(read, queryAntecedent, out);
      Tensor k = project(scratch, key, read);
      Tensor v = project(scratch, value, read);
      Mask mask = chunk.bias() == null ? null : Mask.bias(chunk.bias());
      attend(scratch, queryAntecedent, k, v, mask, Place.LAST, AreaNoise.none(), out, extras);
      chunk.postAttention(out);
    }
  }

  // ---- One call ----

  /** The position of the queries among the keys: one of the two. */
  private record Place(Alignment alignment, int[] offsets) {
    /** Each at its own key. */
    static final Place SELF = new Place(Alignment.TOP_LEFT, null);

    /** At the last keys, after a memory or the earlier contents of a cache. */
    static final Place LAST = new Place(Alignment.BOTTOM_RIGHT, null);
  }

  private void check(Tensor queryAntecedent, Tensor out) {
    Checks.rank("queryAntecedent", Objects.requireNonNull(queryAntecedent, "queryAntecedent"), 3);
    Checks.input("queryAntecedent", queryAntecedent);
    Checks.equal("queryAntecedent.dim", queryAntecedent.size(2), "q.dimIn", query.dimIn());
    Checks.output("out", Objects.requireNonNull(out, "out"));
    Checks.shape(
        "out",
        out,
        "[batch, lengthOut, outputDepth]",
        queryAntecedent.size(0),
        query.lengthOut(queryAntecedent.size(1)),
        outputDepth());
    Checks.disjoint("out", out, "queryAntecedent", queryAntecedent);
  }

  private void checkMemory(Tensor memory, Tensor queryAntecedent, Tensor out) {
    if (memory != queryAntecedent) {
      Checks.rank("memoryAntecedent", memory, 3);
      Checks.input("memoryAntecedent", memory);
      Checks.equal(
          "memoryAntecedent", "queryAntecedent", "batch", memory.size(0), queryAntecedent.size(0));
      Checks.disjoint("out", out, "memoryAntecedent", memory);
    }
    checkWidth(memory);
  }

  private void checkWidth(Tensor memory) {
    Checks.equal("memoryAntecedent.dim", memory.size(2), "k.dimIn", key.dimIn());
  }

  private Tensor project(Scratch scratch, Projection projection, Tensor x) {
    Tensor rows = scratch.floats(x.size(0), projection.lengthOut(x.size(1)), projection.dimOut());
    projection.forward(x, rows);
    return rows.splitHeads(numHeads);
  }

  /** Queries, and keys and values. With a memory there may be more keys than queries. */
  private void attend(
      Scratch scratch,
      Tensor queryAntecedent,
      Tensor k,
      Tensor v,
      Mask bias,
      Place place,
      AreaNoise areaNoise,
      Tensor out,
      Extras extras) {
    Tensor q = project(scratch, query, queryAntecedent);
    Tensor result = scratch.floats(q.size(0), q.size(2), outputTransform.dimIn());
    Tensor perHead = result.splitHeads(numHeads);
    if (function != null) {
      if (extras != Extras.none()) {
        throw new IllegalArgumentException(
            "extras must be none where attentionType is a function, which gives its result alone");
      }
      multiply(q, scale);
      function.attend(q, k, v, perHead);
    } else if (areaAttention != null) {
      areaAttention.forward(q, k, v, areaBias(bias), areaNoise, perHead, extras);
    } else {
      if (type != AttentionType.DOT_PRODUCT && (place == Place.SELF || !type.cached())) {
        requireSelfAttention(q, k);
      }
      attention(mask(k, bias), k.size(2), place).forward(q, k, v, perHead, extras);
    }
    outputTransform.forward(result, out);
  }

  private Attention attention(Mask mask, long lenK, Place place) {
    Attention.Builder builder = Attention.builder().scale(scale).mask(mask);
    if (hardAttentionK > 0) {
      builder.hardAttention(hardAttentionK);
    }
    if (keyEmbeddings != null) {
      RelativePositions positions = relativePositions(lenK);
      if (place.offsets != null) {
        builder.relative(place.offsets, positions);
      } else {
        builder.relative(place.alignment, positions);
      }
    }
    return builder.build();
  }

  private RelativePositions relativePositions(long length) {
    return switch (type) {
      case DOT_PRODUCT_RELATIVE ->
          RelativePositions.clipped(maxRelativePosition, keyEmbeddings, valueEmbeddings);
      case DOT_PRODUCT_RELATIVE_V2 ->
          RelativePositions.masked(maxRelativePosition, keyEmbeddings, valueEmbeddings);
      case DOT_PRODUCT_UNMASKED_RELATIVE_V2 ->
          RelativePositions.unmasked(maxRelativePosition, keyEmbeddings, valueEmbeddings);
      default ->
          RelativePositions.localMaskRight(
              length(length), blockLength, keyEmbeddings, valueEmbeddings);
    };
  }

  private static int length(long lenK) {
    Checks.inRange("k.len", lenK, 0, Integer.MAX_VALUE);
    return (int) lenK;
  }

  private void requireSelfAttention(Tensor q, Tensor k) {
    if (q.size(2) != k.size(2)) {
      throw new IllegalArgumentException(
          "k.len must equal q.len, "
              + type
              + " is self-attention: k.len="
              + k.size(2)
              + ", q.len="
              + q.size(2));
    }
  }

  /** Area attention supports a bias that marks padding, and no other mask. */
  private static Tensor areaBias(Mask bias) {
    if (bias == null || bias == Mask.none()) {
      return null;
    }
    Tensor tensor = bias.biasAlone();
    if (tensor == null) {
      throw new IllegalArgumentException(
          "bias must be Mask.bias of a tensor, or none, where areas are attended to");
    }
    return tensor;
  }

  private Mask mask(Tensor k, Mask bias) {
    return switch (type) {
      case LOCAL_WITHIN_BLOCK_MASK_RIGHT -> LocalMasks.localWithinBlockMaskRight(blockLength);
      case LOCAL_MASK_RIGHT, LOCAL_RELATIVE_MASK_RIGHT ->
          LocalMasks.localMaskRight(length(k.size(2)), blockLength);
      case LOCAL_UNMASKED -> LocalMasks.localUnmasked(k, blockLength, blockWidth);
      case MASKED_DILATED_1D ->
          LocalMasks.maskedDilated1d(k, blockLength, blockWidth, gapSize, numMemoryBlocks);
      case UNMASKED_DILATED_1D ->
          LocalMasks.unmaskedDilated1d(k, blockLength, blockWidth, gapSize, numMemoryBlocks);
      default -> bias == null ? Mask.none() : bias;
    };
  }

  /** Scales the heads of a projection in place. */
  private static void multiply(Tensor heads, float factor) {
    MemorySegment floats = heads.segment();
    for (long i = 0; i < heads.count(); i++) {
      float value = floats.getAtIndex(ValueLayout.JAVA_FLOAT, i);
      floats.setAtIndex(ValueLayout.JAVA_FLOAT, i, value * factor);
    }
  }

  /**
   * Collects the parameters and weights of a {@link Tensor2TensorAttention}. Not safe for several
   * threads.
   */
  public static final class Builder {
    private AttentionType type = AttentionType.DOT_PRODUCT;
    private AttentionFunction function;
    private Projection query;
    private Projection key;
    private Projection value;
    private Linear outputTransform;
    private Tensor keyEmbeddings;
    private Tensor valueEmbeddings;
    private long numHeads;
    private long totalKeyDepth;
    private long totalValueDepth;
    private long outputDepth;
    private boolean vars3d;
    private int qFilterWidth = 1;
    private int kvFilterWidth = 1;
    private Conv1d.Padding qPadding = Conv1d.Padding.VALID;
    private Conv1d.Padding kvPadding = Conv1d.Padding.VALID;
    private int maxRelativePosition;
    private boolean headsShareRelativeEmbedding;
    private boolean addRelativeToValues;
    private int blockLength = 128;
    private int blockWidth = 128;
    private int gapSize;
    private int numMemoryBlocks = 2;
    private double dropoutRate;
    private int[] dropoutBroadcastDims = {};
    private int hardAttentionK;
    private double gumbelNoiseWeight;
    private int maxAreaWidth = 1;
    private int maxAreaHeight = 1;
    private int memoryHeight = 1;
    private AreaAttention.KeyMode areaKeyMode = AreaAttention.KeyMode.MEAN;
    private AreaAttention.ValueMode areaValueMode = AreaAttention.ValueMode.SUM;

    /** Sets the weights of area attention; null if it has none. */
    private Consumer<AreaAttention.Builder> areaWeights = builder -> {};

    private Builder() {}

    // ---- Parameters ----

    /**
     * Chooses how queries attend to keys, {@code attention_type}.
     *
     * @param type {@code dot_product} by default
     * @return this builder
     */
    public Builder attentionType(AttentionType type) {
      this.type = Objects.requireNonNull(type, "type");
      this.function = null;
      return this;
    }

    /**
     * Lets a function of the caller's own attend, an {@code attention_type} that is callable. It
     * must be safe for as many threads as the layer is used by.
     *
     * @param function of q, k and v
     * @return this builder
     */
    public Builder attentionType(AttentionFunction function) {
      this.function = Objects.requireNonNull(function, "function");
      this.type = null;
      return this;
    }

    /**
     * Sets {@code num_heads}. Required.
     *
     * @param numHeads at least 1
     * @return this builder
     * @throws IllegalArgumentException if numHeads is less than 1
     */
    public Builder numHeads(long numHeads) {
      Checks.positive("numHeads", numHeads);
      this.numHeads = numHeads;
      return this;
    }

    /**
     * Says what {@code total_key_depth} the weights have, which they say themselves.
     *
     * @param totalKeyDepth compared with the weights
     * @return this builder
     * @throws IllegalArgumentException if it is less than 1
     */
    public Builder totalKeyDepth(long totalKeyDepth) {
      Checks.positive("totalKeyDepth", totalKeyDepth);
      this.totalKeyDepth = totalKeyDepth;
      return this;
    }

    /**
     * Says what {@code total_value_depth} the weights have, which they say themselves.
     *
     * @param totalValueDepth compared with the weights
     * @return this builder
     * @throws IllegalArgumentException if it is less than 1
     */
    public Builder totalValueDepth(long totalValueDepth) {
      Checks.positive("totalValueDepth", totalValueDepth);
      this.totalValueDepth = totalValueDepth;
      return this;
    }

    /**
     * Says what {@code output_depth} the weights have, which they say themselves.
     *
     * @param outputDepth compared with the weights
     * @return this builder
     * @throws IllegalArgumentException if it is less than 1
     */
    public Builder outputDepth(long outputDepth) {
      Checks.positive("outputDepth", outputDepth);
      this.outputDepth = outputDepth;
      return this;
    }

    /**
     * Says that the variables had three dimensions, {@code vars_3d}: {@link #load} reads {@code q},
     * {@code k}, {@code v} {@code [in, heads, depth]} and {@code o} {@code [heads, depth, out]},
     * and queries are not scaled.
     *
     * @param vars3d false by default
     * @return this builder
     */
    public Builder vars3d(boolean vars3d) {
      this.vars3d = vars3d;
      return this;
    }

    /**
     * Sets {@code q_filter_width}: above 1, queries are a convolution with bias.
     *
     * @param qFilterWidth 1 by default
     * @return this builder
     * @throws IllegalArgumentException if it is less than 1
     */
    public Builder qFilterWidth(int qFilterWidth) {
      Checks.positive("qFilterWidth", qFilterWidth);
      this.qFilterWidth = qFilterWidth;
      return this;
    }

    /**
     * Sets {@code kv_filter_width}: above 1, keys and values are convolutions with bias.
     *
     * @param kvFilterWidth 1 by default
     * @return this builder
     * @throws IllegalArgumentException if it is less than 1
     */
    public Builder kvFilterWidth(int kvFilterWidth) {
      Checks.positive("kvFilterWidth", kvFilterWidth);
      this.kvFilterWidth = kvFilterWidth;
      return this;
    }

    /**
     * Sets {@code q_padding}.
     *
     * @param qPadding VALID by default; only matters if the filter is wider than 1
     * @return this builder
     */
    public Builder qPadding(Conv1d.Padding qPadding) {
      this.qPadding = Objects.requireNonNull(qPadding, "qPadding");
      return this;
    }

    /**
     * Sets {@code kv_padding}.
     *
     * @param kvPadding VALID by default; only matters if the filter is wider than 1
     * @return this builder
     */
    public Builder kvPadding(Conv1d.Padding kvPadding) {
      this.kvPadding = Objects.requireNonNull(kvPadding, "kvPadding");
      return this;
    }

    /**
     * Sets {@code max_relative_position}, required by the {@code dot_product} types that are
     * relative.
     *
     * @param maxRelativePosition at least 1
     * @return this builder
     */
    public Builder maxRelativePosition(int maxRelativePosition) {
      this.maxRelativePosition = maxRelativePosition;
      return this;
    }

    /**
     * Sets {@code heads_share_relative_embedding}: whether there is one table for all heads. {@code
     * dot_product_relative} always has one.
     *
     * @param headsShareRelativeEmbedding false by default
     * @return this builder
     */
    public Builder headsShareRelativeEmbedding(boolean headsShareRelativeEmbedding) {
      this.headsShareRelativeEmbedding = headsShareRelativeEmbedding;
      return this;
    }

    /**
     * Sets {@code add_relative_to_values}: whether there is a table for values as well. {@code
     * dot_product_relative} always has one.
     *
     * @param addRelativeToValues false by default
     * @return this builder
     */
    public Builder addRelativeToValues(boolean addRelativeToValues) {
      this.addRelativeToValues = addRelativeToValues;
      return this;
    }

    /**
     * Sets {@code block_length}: the queries of a block of the local types, {@code
     * query_block_size} of the dilated ones.
     *
     * @param blockLength 128 by default
     * @return this builder
     * @throws IllegalArgumentException if it is less than 1
     */
    public Builder blockLength(int blockLength) {
      Checks.positive("blockLength", blockLength);
      this.blockLength = blockLength;
      return this;
    }

    /**
     * Sets {@code block_width}: {@code filter_width} of {@code local_unmasked}, how many keys are
     * seen on both sides of a block; {@code memory_block_size} of the dilated types, for which it
     * is at least 1.
     *
     * @param blockWidth 128 by default
     * @return this builder
     * @throws IllegalArgumentException if it is negative
     */
    public Builder blockWidth(int blockWidth) {
      Checks.inRange("blockWidth", blockWidth, 0, Integer.MAX_VALUE);
      this.blockWidth = blockWidth;
      return this;
    }

    /**
     * Sets {@code gap_size}: the keys between two memory blocks of the dilated types.
     *
     * @param gapSize 0 by default
     * @return this builder
     * @throws IllegalArgumentException if it is negative
     */
    public Builder gapSize(int gapSize) {
      Checks.inRange("gapSize", gapSize, 0, Integer.MAX_VALUE);
      this.gapSize = gapSize;
      return this;
    }

    /**
     * Sets {@code num_memory_blocks}: how many memory blocks the dilated types see, on each side
     * that they see.
     *
     * @param numMemoryBlocks 2 by default
     * @return this builder
     * @throws IllegalArgumentException if it is negative
     */
    public Builder numMemoryBlocks(int numMemoryBlocks) {
      Checks.inRange("numMemoryBlocks", numMemoryBlocks, 0, Integer.MAX_VALUE);
      this.numMemoryBlocks = numMemoryBlocks;
      return this;
    }

    /**
     * Sets {@code dropout_rate}, with which {@link #drawn} draws. The local and dilated types have
     * no dropout, except for {@code local_relative_mask_right}.
     *
     * @param dropoutRate in [0, 1); 0 by default
     * @return this builder
     * @throws IllegalArgumentException if it is not in [0, 1)
     */
    public Builder dropoutRate(double dropoutRate) {
      Dropout.of(dropoutRate, 0); // refuses what cannot be one
      this.dropoutRate = dropoutRate;
      return this;
    }

    /**
     * Sets {@code dropout_broadcast_dims}: the dimensions of {@code [batch, heads, lenQ, lenK]}
     * along which one decision is shared. The relative types, except version 2, ignore it, as the
     * original does.
     *
     * @param dropoutBroadcastDims from 0 to 3, or from -4 counted from the end. Copied.
     * @return this builder
     * @throws IllegalArgumentException if there is no such dimension
     */
    public Builder dropoutBroadcastDims(int... dropoutBroadcastDims) {
      int[] own = Objects.requireNonNull(dropoutBroadcastDims, "dropoutBroadcastDims").clone();
      for (int dim : own) {
        Checks.inRange("dropoutBroadcastDims", dim, -4, 3);
      }
      this.dropoutBroadcastDims = own;
      return this;
    }

    /**
     * Sets {@code hard_attention_k}: {@link Attention.Builder#hardAttention} of {@code dot_product}
     * and {@code dot_product_relative}. The k-th largest weight is subtracted from all, so that
     * {@code k - 1} survive.
     *
     * @param hardAttentionK 0, as by default: softmax
     * @return this builder
     * @throws IllegalArgumentException if it is negative
     */
    public Builder hardAttentionK(int hardAttentionK) {
      Checks.inRange("hardAttentionK", hardAttentionK, 0, Integer.MAX_VALUE);
      this.hardAttentionK = hardAttentionK;
      return this;
    }

    /**
     * Sets {@code gumbel_noise_weight}, with which {@link #drawn} draws noise for weights that are
     * hardened; without hard attention it has no effect.
     *
     * @param gumbelNoiseWeight finite; 0 by default
     * @return this builder
     * @throws IllegalArgumentException if it is not finite as a float
     */
    public Builder gumbelNoiseWeight(double gumbelNoiseWeight) {
      Extras.none().gumbelNoise(gumbelNoiseWeight, 0); // refuses what cannot be one
      this.gumbelNoiseWeight = gumbelNoiseWeight;
      return this;
    }

    /**
     * Sets {@code max_area_width}: {@code dot_product} attends to {@link Areas} of up to so many
     * keys, {@link AreaAttention}.
     *
     * @param maxAreaWidth 1 by default
     * @return this builder
     * @throws IllegalArgumentException if it is less than 1
     */
    public Builder maxAreaWidth(int maxAreaWidth) {
      Checks.positive("maxAreaWidth", maxAreaWidth);
      this.maxAreaWidth = maxAreaWidth;
      return this;
    }

    /**
     * Sets {@code max_area_height}: up to how many lines of the memory an area has.
     *
     * @param maxAreaHeight 1 by default
     * @return this builder
     * @throws IllegalArgumentException if it is less than 1
     */
    public Builder maxAreaHeight(int maxAreaHeight) {
      Checks.positive("maxAreaHeight", maxAreaHeight);
      this.maxAreaHeight = maxAreaHeight;
      return this;
    }

    /**
     * Sets {@code memory_height}: the number of lines of the keys.
     *
     * @param memoryHeight 1 by default
     * @return this builder
     * @throws IllegalArgumentException if it is less than 1
     */
    public Builder memoryHeight(int memoryHeight) {
      Checks.positive("memoryHeight", memoryHeight);
      this.memoryHeight = memoryHeight;
      return this;
    }

    /**
     * Sets {@code area_key_mode}.
     *
     * @param areaKeyMode {@code mean} by default
     * @return this builder
     */
    public Builder areaKeyMode(AreaAttention.KeyMode areaKeyMode) {
      this.areaKeyMode = Objects.requireNonNull(areaKeyMode, "areaKeyMode");
      return this;
    }

    /**
     * Sets {@code area_value_mode}.
     *
     * @param areaValueMode {@code sum} by default
     * @return this builder
     */
    public Builder areaValueMode(AreaAttention.ValueMode areaValueMode) {
      this.areaValueMode = Objects.requireNonNull(areaValueMode, "areaValueMode");
      return this;
    }

    // ---- Weights ----

    /**
     * Sets the dense projection of queries.
     *
     * @param q from the queries' channels to total_key_depth; the original's have no bias
     * @return this builder
     */
    public Builder q(Linear q) {
      query = Projection.of(Objects.requireNonNull(q, "q"));
      return this;
    }

    /**
     * Sets the convolution of queries, which defines q_filter_width and q_padding.
     *
     * @param q from the queries' channels to total_key_depth
     * @return this builder
     */
    public Builder q(Conv1d q) {
      query = Projection.of(Objects.requireNonNull(q, "q"));
      return this;
    }

    /**
     * Sets the dense projection of keys.
     *
     * @param k from the memory's channels to total_key_depth
     * @return this builder
     */
    public Builder k(Linear k) {
      key = Projection.of(Objects.requireNonNull(k, "k"));
      return this;
    }

    /**
     * Sets the convolution of keys, which defines kv_filter_width and kv_padding.
     *
     * @param k from the memory's channels to total_key_depth
     * @return this builder
     */
    public Builder k(Conv1d k) {
      key = Projection.of(Objects.requireNonNull(k, "k"));
      return this;
    }

    /**
     * Sets the dense projection of values.
     *
     * @param v from the memory's channels to total_value_depth
     * @return this builder
     */
    public Builder v(Linear v) {
      value = Projection.of(Objects.requireNonNull(v, "v"));
      return this;
    }

    /**
     * Sets the convolution of values, with the same width and padding as that of keys.
     *
     * @param v from the memory's channels to total_value_depth
     * @return this builder
     */
    public Builder v(Conv1d v) {
      value = Projection.of(Objects.requireNonNull(v, "v"));
      return this;
    }

    /**
     * Sets the projection of the result, {@code output_transform}.
     *
     * @param outputTransform from total_value_depth to output_depth
     * @return this builder
     */
    public Builder outputTransform(Linear outputTransform) {
      this.outputTransform = Objects.requireNonNull(outputTransform, "outputTransform");
      return this;
    }

    /**
     * Sets the table of relative positions that is added to keys: {@code
     * relative_positions_keys/embeddings}, {@code key_relative_embeddings}, or {@code
     * relative_embeddings} of {@code local_relative_mask_right}.
     *
     * @param keyEmbeddings {@code [rows, keyDepth]} or {@code [numHeads, rows, keyDepth]}, rows as
     *     the {@link AttentionType} says. Kept, not modified.
     * @return this builder
     */
    public Builder keyEmbeddings(Tensor keyEmbeddings) {
      this.keyEmbeddings = Objects.requireNonNull(keyEmbeddings, "keyEmbeddings");
      return this;
    }

    /**
     * Sets the table of relative positions that is added to values: {@code
     * relative_positions_values/embeddings} or {@code value_relative_embeddings}.
     *
     * @param valueEmbeddings {@code [rows, valueDepth]} or {@code [numHeads, rows, valueDepth]}.
     *     Kept, not modified.
     * @return this builder
     */
    public Builder valueEmbeddings(Tensor valueEmbeddings) {
      this.valueEmbeddings = Objects.requireNonNull(valueEmbeddings, "valueEmbeddings");
      return this;
    }

    /**
     * Sets the weights that some area key modes have.
     *
     * @param heightEmbedding {@code area_height_emb} {@code [max_area_height, keyDepth / 2]}. Kept,
     *     not modified.
     * @param widthEmbedding {@code area_width_emb} {@code [max_area_width, keyDepth / 2]}. Kept,
     *     not modified.
     * @param dense1 the layer before the ReLU, as {@link AreaAttention.Builder} describes it
     * @param dense2 the layer after it, from keyDepth to keyDepth
     * @return this builder
     */
    public Builder areaWeights(
        Tensor heightEmbedding, Tensor widthEmbedding, Linear dense1, Linear dense2) {
      areaWeights = builder -> builder.weights(heightEmbedding, widthEmbedding, dense1, dense2);
      return this;
    }

    /**
     * Builds the layer from the weights set before.
     *
     * @return an immutable layer
     * @throws IllegalStateException if numHeads or a projection has not been given
     * @throws IllegalArgumentException if weights and parameters do not fit one another: numHeads
     *     does not divide total_key_depth or total_value_depth, a table has other rows than the
     *     attention type's, a filter is wider than 1 with vars3d, a width is even with padding LEFT
     */
    public Tensor2TensorAttention build() {
      require(numHeads > 0, "numHeads");
      require(query != null, "q");
      require(key != null, "k");
      require(value != null, "v");
      require(outputTransform != null, "outputTransform");
      checkDepths();
      checkOptions();
      if (type != null && type.relative()) {
        checkTables();
      }
      return new Tensor2TensorAttention(this);
    }

    /**
     * Reads the weights by the original's variable names and builds the layer.
     *
     * <pre>
     *   q/kernel, k/kernel, v/kernel            [in, depth]
     *   q_single/kernel, q_single/bias, …       [width, 1, in, depth], [depth]    filters wider than 1
     *   q, k, v                                 [in, heads, depth]                vars3d
     *   output_transform/kernel                 [total_value_depth, output_depth]
     *   o                                       [heads, depth, output_depth]      vars3d
     *   relative_positions_keys/embeddings      [2 · max_relative_position + 1, depth]
     *   key_relative_embeddings                 [rows, depth] or [heads, rows, depth]
     *   relative_embeddings                     the same, of local_relative_mask_right
     *   area_height_emb, area_width_emb         [max_area_height, depth / 2], [max_area_width, depth / 2]
     *   dense/kernel, dense/bias, dense_1/…     of area key modes that have weights
     * </pre>
     *
     * The tables of values are named accordingly. The scopes that attention types put around their
     * variables, for example {@code dot_product_attention_relative/} or {@code
     * dot_product_area_attention/combine_area_features/}, are optional. The bare names {@code q},
     * {@code q_conv}, {@code q_conv_bias}, {@code output_transform} and so on also work. Kernels
     * are transposed once, here.
     *
     * @param file holds the tensors, all of those below the prefix
     * @param prefix the scope, with its final slash, for example {@code
     *     "body/decoder/layer_0/self_attention/multihead_attention/"}
     * @param arena for transposed kernels, and copies of tensors that are not F32 or are misaligned
     * @return an immutable layer
     * @throws IllegalStateException if numHeads has not been set, or an arena is closed or confined
     *     to another thread
     * @throws IllegalArgumentException if a tensor is missing, one is not known, or as {@link
     *     #build}
     * @throws OutOfMemoryError if there is no memory for a copy
     */
    public Tensor2TensorAttention load(SafeTensors file, String prefix, Arena arena) {
      require(numHeads > 0, "numHeads");
      Tensor2TensorWeights weights =
          new Tensor2TensorWeights(file, prefix, arena, vars3d, numHeads);
      query = weights.projection("q", "qFilterWidth", qFilterWidth, qPadding);
      key = weights.projection("k", "kvFilterWidth", kvFilterWidth, kvPadding);
      value = weights.projection("v", "kvFilterWidth", kvFilterWidth, kvPadding);
      outputTransform = weights.outputTransform();
      if (type != null && type.relative()) {
        keyEmbeddings = weights.keyTable(type);
        valueEmbeddings = hasValueEmbeddings() ? weights.valueTable(type) : null;
      }
      if (hasAreas() && areaKeyMode.hasWeights()) {
        areaWeights = weights::areas;
      }
      Tensor2TensorAttention layer = build();
      weights.requireAllRead();
      return layer;
    }

    private static void require(boolean given, String name) {
      if (!given) {
        throw new IllegalStateException(name + " must be given");
      }
    }

    // ---- What the layer is made of ----

    private boolean hasAreas() {
      return type == AttentionType.DOT_PRODUCT && (maxAreaWidth > 1 || maxAreaHeight > 1);
    }

    private AreaAttention.Builder areas() {
      AreaAttention.Builder builder =
          AreaAttention.builder(new Areas(memoryHeight, maxAreaHeight, maxAreaWidth))
              .keyMode(areaKeyMode)
              .valueMode(areaValueMode);
      areaWeights.accept(builder);
      return builder;
    }

    private boolean hasValueEmbeddings() {
      return type == AttentionType.DOT_PRODUCT_RELATIVE || addRelativeToValues;
    }

    /** Whether the original's function has a dropout rate. */
    private boolean drops() {
      return type != null && (!type.local() || type == AttentionType.LOCAL_RELATIVE_MASK_RIGHT);
    }

    private Dropout.Dimension[] dropoutShared() {
      if (type == AttentionType.DOT_PRODUCT_RELATIVE
          || type == AttentionType.LOCAL_RELATIVE_MASK_RIGHT) {
        return new Dropout.Dimension[0];
      }
      return Arrays.stream(dropoutBroadcastDims)
          .mapToObj(dim -> Dropout.Dimension.values()[Math.floorMod(dim, 4)])
          .toArray(Dropout.Dimension[]::new);
    }

    // ---- What does not fit ----

    private void checkOptions() {
      String name = type == null ? "a function" : type.toString();
      if (hardAttentionK > 0 && (type == null || !type.cached() || hasAreas())) {
        throw new IllegalArgumentException(
            "hardAttentionK must be 0 for "
                + (hasAreas() ? "areas" : name)
                + ": hardAttentionK="
                + hardAttentionK);
      }
      if (type != AttentionType.DOT_PRODUCT && (maxAreaWidth > 1 || maxAreaHeight > 1)) {
        throw new IllegalArgumentException(
            "maxAreaWidth and maxAreaHeight must be 1 for "
                + name
                + ", only dot_product has areas: maxAreaWidth="
                + maxAreaWidth
                + ", maxAreaHeight="
                + maxAreaHeight);
      }
      boolean dilated =
          type == AttentionType.MASKED_DILATED_1D || type == AttentionType.UNMASKED_DILATED_1D;
      boolean oneTable =
          type == AttentionType.DOT_PRODUCT_RELATIVE
              || type == AttentionType.DOT_PRODUCT_UNMASKED_RELATIVE_V2;
      if (value.dimOut() != key.dimOut() && (dilated || oneTable || hasAreas())) {
        throw new IllegalArgumentException(
            "totalValueDepth must equal totalKeyDepth for "
                + (hasAreas() ? "areas" : name)
                + ": totalValueDepth="
                + value.dimOut()
                + ", totalKeyDepth="
                + key.dimOut());
      }
    }

    private void checkDepths() {
      long keyDepth = query.dimOut();
      Checks.equal("k.dimOut", key.dimOut(), "q.dimOut", keyDepth);
      Checks.multiple("totalKeyDepth", keyDepth, "numHeads", numHeads);
      Checks.multiple("totalValueDepth", value.dimOut(), "numHeads", numHeads);
      Checks.equal("v.dimIn", value.dimIn(), "k.dimIn", key.dimIn());
      Checks.equal("outputTransform.dimIn", outputTransform.dimIn(), "v.dimOut", value.dimOut());
      given("totalKeyDepth", totalKeyDepth, "q.dimOut", keyDepth);
      given("totalValueDepth", totalValueDepth, "v.dimOut", value.dimOut());
      given("outputDepth", outputDepth, "outputTransform.dimOut", outputTransform.dimOut());
      given("qFilterWidth", qFilterWidth == 1 ? 0 : qFilterWidth, "q.width", query.width());
      given("kvFilterWidth", kvFilterWidth == 1 ? 0 : kvFilterWidth, "k.width", key.width());
      Checks.equal("v.width", value.width(), "k.width", key.width());
      if (key.conv != null && value.conv != null && key.conv.padding() != value.conv.padding()) {
        throw new IllegalArgumentException(
            "v.padding must equal k.padding: v.padding="
                + value.conv.padding()
                + ", k.padding="
                + key.conv.padding());
      }
      if (vars3d && (query.width() > 1 || key.width() > 1)) {
        throw new IllegalArgumentException(
            "filter widths must be 1 with vars3d: qFilterWidth="
                + query.width()
                + ", kvFilterWidth="
                + key.width());
      }
    }

    private void checkTables() {
      boolean local = type == AttentionType.LOCAL_RELATIVE_MASK_RIGHT;
      if (!local && maxRelativePosition < 1) {
        throw new IllegalArgumentException(
            "maxRelativePosition must be at least 1 for "
                + type
                + ": maxRelativePosition="
                + maxRelativePosition);
      }
      require(keyEmbeddings != null, "keyEmbeddings");
      checkTable("keyEmbeddings", keyEmbeddings, "keyDepth", key.dimOut() / numHeads);
      if (hasValueEmbeddings()) {
        require(valueEmbeddings != null, "valueEmbeddings");
        checkTable("valueEmbeddings", valueEmbeddings, "valueDepth", value.dimOut() / numHeads);
      }
    }

    private void checkTable(String name, Tensor table, String depthName, long depth) {
      long m = maxRelativePosition;
      switch (type) {
        case DOT_PRODUCT_RELATIVE ->
            checkRows(
                name, table, true, "2 * maxRelativePosition + 1", 2 * m + 1, depthName, depth);
        case DOT_PRODUCT_RELATIVE_V2 ->
            checkRows(name, table, false, "maxRelativePosition", m, depthName, depth);
        case DOT_PRODUCT_UNMASKED_RELATIVE_V2 ->
            checkRows(
                name, table, false, "2 * maxRelativePosition - 1", 2 * m - 1, depthName, depth);
        default ->
            checkRows(name, table, false, "4 * blockLength", 4L * blockLength, depthName, depth);
      }
    }

    private void checkRows(
        String name,
        Tensor table,
        boolean shared,
        String rowsName,
        long rows,
        String depthName,
        long depth) {
      Checks.input(name, table);
      String dims = rowsName + ", " + depthName + "]";
      if (shared || headsShareRelativeEmbedding) {
        Checks.shape(name, table, "[" + dims, rows, depth);
      } else {
        Checks.shape(name, table, "[numHeads, " + dims, numHeads, rows, depth);
      }
    }

    private static void given(String name, long said, String weights, long size) {
      if (said != 0) {
        Checks.equal(name, said, weights, size);
      }
    }
  }
}
