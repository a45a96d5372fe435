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
import io.github.attention4j.internal.Appended;
import io.github.attention4j.internal.Checks;
import io.github.attention4j.internal.Scratch;
import io.github.attention4j.layer.Linear;
import java.lang.foreign.Arena;
import java.lang.foreign.MemorySegment;
import java.lang.foreign.ValueLayout;
import java.util.Arrays;
import java.util.Objects;

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
 *   </td><td>methods of the {@link Tensor2TensorAttentionBuilder}, of the same names</td></tr>
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
 * <tr><td>{@code name}</td>
 *   <td>the prefix of {@link Tensor2TensorAttentionBuilder#load}</td></tr>
 * <tr><td>{@code image_shapes}, {@code make_image_summary}</td>
 *   <td>{@link io.github.attention4j.classics.t2t.AttentionImage} of the weights</td></tr>
 * <tr><td>{@code layer_collection}</td>
 *   <td>used by a training method of the original: not needed here</td></tr>
 * </tbody>
 * </table>
 *
 * <p>All tensors are {@link DType#F32}. Heads are views of the projections, never copies.
 */
public final class Tensor2TensorAttention {
  /**
   * Attention supplied by the caller: an {@code attention_type} that is a function of q, k and v.
   * It supports neither bias nor cache.
   */
  @FunctionalInterface
  public interface AttentionFunction {
    /**
     * Computes attention. Called on the thread of the layer's call; the tensors are only valid
     * until it returns.
     *
     * @param q scaled queries {@code [batch, numHeads, lenQ, keyDepth]}. May be modified.
     * @param k keys {@code [batch, numHeads, lenK, keyDepth]}. May be modified.
     * @param v values {@code [batch, numHeads, lenK, valueDepth]}. May be modified.
     * @param out {@code [batch, numHeads, lenQ, valueDepth]}, initially zero. Modified.
     */
    void attend(Tensor q, Tensor k, Tensor v, Tensor out);
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

  /** Null if areas are single keys. */
  private final AreaAttention areaAttention;

  Tensor2TensorAttention(Tensor2TensorAttentionBuilder builder) {
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
  public static Tensor2TensorAttentionBuilder builder() {
    return new Tensor2TensorAttentionBuilder();
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
   * Draws the random numbers of one training step: dropout with {@code dropout_rate}, shared along
   * {@code dropout_broadcast_dims}, and the noise of {@code gumbel_noise_weight}, if the attention
   * type uses them. To supply your own, use {@link Extras#keep} and {@link
   * Extras#gumbelNoise(double, Tensor)}.
   *
   * @param seed different for each step and layer
   * @return extras for one call, to which weights may be added
   */
  public Extras drawn(long seed) {
    Extras extras = Extras.none();
    if (dropoutRate > 0) {
      extras = extras.dropout(Dropout.of(dropoutRate, seed).sharedAlong(dropoutShared));
    }
    // Another seed: with the same one, weights would be dropped where their noise is smallest.
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
   * @param bias added to the logits, or hides keys; any shape that broadcasts to {@code [batch,
   *     numHeads, lenQ, lenK]}; null: nothing. Parts that place queries among keys are {@link
   *     Alignment#TOP_LEFT} if the type is relative. Local and dilated types, and functions, ignore
   *     it, as in the original.
   * @param out {@code [batch, lengthOut, outputDepth]}. Modified.
   * @throws IllegalArgumentException if types, sizes, strides or alignment do not fit, the bias
   *     does not fit, queries and keys differ in number for a type that is self-attention, or out
   *     is read-only or overlaps an input or a weight
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
   *     modified. Functions supplied by the caller support none.
   * @throws IllegalArgumentException as {@link #forward(Tensor, Tensor, Mask, Tensor)}, and if an
   *     extra does not fit
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
   * Allocates a tensor for the weights of a call, {@code save_weights_to}.
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
   * Makes an empty cache for step-by-step decoding, {@code {"k": …, "v": …}}.
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
   * Makes a full-length cache of zeros for steps that write in place: with {@code
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
    Tensor keys = Tensor.zeros(arena, batch, numHeads, length, key.dimOut() / numHeads);
    Tensor values = Tensor.zeros(arena, batch, numHeads, length, value.dimOut() / numHeads);
    return KvCache.of(keys, values, lengths((int) batch, (int) length));
  }

  private static int[] lengths(int batch, int length) {
    int[] lengths = new int[batch];
    Arrays.fill(lengths, length);
    return lengths;
  }

  /**
   * Appends new positions to a cache and applies the layer to them; each attends to all that the
   * cache then holds, as far as the bias lets it. If it throws, the cache has the lengths that it
   * had before.
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
   * @throws IllegalStateException if the cache has no room
   * @throws OutOfMemoryError if there is no memory for queries, keys and values
   */
  public void forwardCached(
      Tensor queryAntecedent, KvCache cache, Mask bias, Tensor out, Extras extras) {
    checkCached(queryAntecedent, cache, bias, out, extras);
    try (Scratch scratch = new Scratch()) {
      Tensor k = project(scratch, key, queryAntecedent);
      Tensor v = project(scratch, value, queryAntecedent);
      try (Appended rows = new Appended(cache, k, v)) {
        attendCached(scratch, queryAntecedent, cache, bias, Place.LAST, out, extras);
        rows.keep();
      }
    }
  }

  /**
   * Writes one position into a full cache in place and applies the layer to it, {@code
   * decode_loop_step}. It attends to the whole cache, so the bias must hide the later positions;
   * the result is then that of a growing cache. If it throws, the position may have been written,
   * and the call can be repeated.
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
    checkCached(queryAntecedent, cache, bias, out, extras);
    Place place = new Place(null, lengths(lengths.length, decodeLoopStep));
    try (Scratch scratch = new Scratch()) {
      Tensor k = project(scratch, key, queryAntecedent);
      cache.replace(decodeLoopStep, k, project(scratch, value, queryAntecedent));
      attendCached(scratch, queryAntecedent, cache, bias, place, out, extras);
    }
  }

  private void checkCached(
      Tensor queryAntecedent, KvCache cache, Mask bias, Tensor out, Extras extras) {
    Objects.requireNonNull(cache, "cache");
    Objects.requireNonNull(extras, "extras");
    requireCacheable(bias);
    check(queryAntecedent, out);
    Checks.equal("queryAntecedent.dim", queryAntecedent.size(2), "k.dimIn", key.dimIn());
  }

  private void attendCached(
      Scratch scratch,
      Tensor queryAntecedent,
      KvCache cache,
      Mask bias,
      Place place,
      Tensor out,
      Extras extras) {
    Tensor k = cache.keys(scratch.arena());
    Tensor v = cache.values(scratch.arena());
    Mask mask = bias.and(ragged(cache));
    attend(scratch, queryAntecedent, k, v, mask, place, AreaNoise.none(), out, extras);
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
   * Applies the layer to queries that attend to a projected memory. A subset of the queries gives
   * the same rows as all of them, except with {@code dot_product_relative}, whose queries are at
   * the last keys.
   *
   * @param queryAntecedent {@code [batch, lenQ, channels]}. Not modified.
   * @param memory as {@link #readMemory} makes it. Not modified.
   * @param bias required, as in the original; {@link Mask#none()} if it hides nothing
   * @param out {@code [batch, lengthOut, outputDepth]}. Modified.
   * @param extras weights, scores, dropout; its outputs are modified
   * @throws IllegalArgumentException as {@link #forwardCached(Tensor, KvCache, Mask, Tensor,
   *     Extras)}
   * @throws OutOfMemoryError if there is no memory for queries
   */
  public void forwardMemory(
      Tensor queryAntecedent, KvCache memory, Mask bias, Tensor out, Extras extras) {
    Objects.requireNonNull(memory, "memory");
    Objects.requireNonNull(extras, "extras");
    requireCacheable(bias);
    check(queryAntecedent, out);
    try (Scratch scratch = new Scratch()) {
      attendCached(scratch, queryAntecedent, memory, bias, Place.LAST, out, extras);
    }
  }

  // ---- Recurrent memory ----

  /**
   * Applies the layer to a chunk of a sequence that also attends to a memory of earlier chunks,
   * {@code recurrent_memory}; afterwards the memory includes this chunk.
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
            "extras must be none if attentionType is a function, which only gives its result");
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
}
