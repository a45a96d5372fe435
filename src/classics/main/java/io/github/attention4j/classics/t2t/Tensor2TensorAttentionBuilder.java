package io.github.attention4j.classics.t2t;

import io.github.attention4j.Attention;
import io.github.attention4j.Dropout;
import io.github.attention4j.Extras;
import io.github.attention4j.Tensor;
import io.github.attention4j.classics.t2t.Tensor2TensorAttention.AttentionFunction;
import io.github.attention4j.internal.Checks;
import io.github.attention4j.io.SafeTensors;
import io.github.attention4j.layer.Linear;
import java.lang.foreign.Arena;
import java.util.Arrays;
import java.util.Objects;
import java.util.function.Consumer;

/**
 * Collects the parameters and weights of a {@link Tensor2TensorAttention}. Not safe for several
 * threads.
 */
public final class Tensor2TensorAttentionBuilder {
  AttentionType type = AttentionType.DOT_PRODUCT;
  AttentionFunction function;
  Projection query;
  Projection key;
  Projection value;
  Linear outputTransform;
  Tensor keyEmbeddings;
  Tensor valueEmbeddings;
  long numHeads;
  private long totalKeyDepth;
  private long totalValueDepth;
  private long outputDepth;
  boolean vars3d;
  private int qFilterWidth = 1;
  private int kvFilterWidth = 1;
  private Conv1d.Padding qPadding = Conv1d.Padding.VALID;
  private Conv1d.Padding kvPadding = Conv1d.Padding.VALID;
  int maxRelativePosition;
  private boolean headsShareRelativeEmbedding;
  private boolean addRelativeToValues;
  int blockLength = 128;
  int blockWidth = 128;
  int gapSize;
  int numMemoryBlocks = 2;
  double dropoutRate;
  private int[] dropoutBroadcastDims = {};
  int hardAttentionK;
  double gumbelNoiseWeight;
  private int maxAreaWidth = 1;
  private int maxAreaHeight = 1;
  private int memoryHeight = 1;
  private AreaAttention.KeyMode areaKeyMode = AreaAttention.KeyMode.MEAN;
  private AreaAttention.ValueMode areaValueMode = AreaAttention.ValueMode.SUM;

  /** Sets the weights of area attention; null if it has none. */
  private Consumer<AreaAttention.Builder> areaWeights = builder -> {};

  Tensor2TensorAttentionBuilder() {}

  // ---- Parameters ----

  /**
   * Chooses how queries attend to keys, {@code attention_type}.
   *
   * @param type {@code dot_product} by default
   * @return this builder
   */
  public Tensor2TensorAttentionBuilder attentionType(AttentionType type) {
    this.type = Objects.requireNonNull(type, "type");
    this.function = null;
    return this;
  }

  /**
   * Uses a function of the caller's as a callable {@code attention_type}. It must be safe for as
   * many threads as use the layer.
   *
   * @param function of q, k and v
   * @return this builder
   */
  public Tensor2TensorAttentionBuilder attentionType(AttentionFunction function) {
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
  public Tensor2TensorAttentionBuilder numHeads(long numHeads) {
    Checks.positive("numHeads", numHeads);
    this.numHeads = numHeads;
    return this;
  }

  /**
   * Optional: asserts that the weights have this {@code total_key_depth}.
   *
   * @param totalKeyDepth compared with the weights
   * @return this builder
   * @throws IllegalArgumentException if it is less than 1
   */
  public Tensor2TensorAttentionBuilder totalKeyDepth(long totalKeyDepth) {
    Checks.positive("totalKeyDepth", totalKeyDepth);
    this.totalKeyDepth = totalKeyDepth;
    return this;
  }

  /**
   * Optional: asserts that the weights have this {@code total_value_depth}.
   *
   * @param totalValueDepth compared with the weights
   * @return this builder
   * @throws IllegalArgumentException if it is less than 1
   */
  public Tensor2TensorAttentionBuilder totalValueDepth(long totalValueDepth) {
    Checks.positive("totalValueDepth", totalValueDepth);
    this.totalValueDepth = totalValueDepth;
    return this;
  }

  /**
   * Optional: asserts that the weights have this {@code output_depth}.
   *
   * @param outputDepth compared with the weights
   * @return this builder
   * @throws IllegalArgumentException if it is less than 1
   */
  public Tensor2TensorAttentionBuilder outputDepth(long outputDepth) {
    Checks.positive("outputDepth", outputDepth);
    this.outputDepth = outputDepth;
    return this;
  }

  /**
   * Says that the variables had three dimensions, {@code vars_3d}: {@link #load} reads {@code q},
   * {@code k}, {@code v} {@code [in, heads, depth]} and {@code o} {@code [heads, depth, out]}, and
   * queries are not scaled.
   *
   * @param vars3d false by default
   * @return this builder
   */
  public Tensor2TensorAttentionBuilder vars3d(boolean vars3d) {
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
  public Tensor2TensorAttentionBuilder qFilterWidth(int qFilterWidth) {
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
  public Tensor2TensorAttentionBuilder kvFilterWidth(int kvFilterWidth) {
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
  public Tensor2TensorAttentionBuilder qPadding(Conv1d.Padding qPadding) {
    this.qPadding = Objects.requireNonNull(qPadding, "qPadding");
    return this;
  }

  /**
   * Sets {@code kv_padding}.
   *
   * @param kvPadding VALID by default; only matters if the filter is wider than 1
   * @return this builder
   */
  public Tensor2TensorAttentionBuilder kvPadding(Conv1d.Padding kvPadding) {
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
  public Tensor2TensorAttentionBuilder maxRelativePosition(int maxRelativePosition) {
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
  public Tensor2TensorAttentionBuilder headsShareRelativeEmbedding(
      boolean headsShareRelativeEmbedding) {
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
  public Tensor2TensorAttentionBuilder addRelativeToValues(boolean addRelativeToValues) {
    this.addRelativeToValues = addRelativeToValues;
    return this;
  }

  /**
   * Sets {@code block_length}: the queries of a block of the local types, {@code query_block_size}
   * of the dilated ones.
   *
   * @param blockLength 128 by default
   * @return this builder
   * @throws IllegalArgumentException if it is less than 1
   */
  public Tensor2TensorAttentionBuilder blockLength(int blockLength) {
    Checks.positive("blockLength", blockLength);
    this.blockLength = blockLength;
    return this;
  }

  /**
   * Sets {@code block_width}: {@code filter_width} of {@code local_unmasked}, how many keys are
   * seen on both sides of a block; {@code memory_block_size} of the dilated types, for which it is
   * at least 1.
   *
   * @param blockWidth 128 by default
   * @return this builder
   * @throws IllegalArgumentException if it is negative
   */
  public Tensor2TensorAttentionBuilder blockWidth(int blockWidth) {
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
  public Tensor2TensorAttentionBuilder gapSize(int gapSize) {
    Checks.inRange("gapSize", gapSize, 0, Integer.MAX_VALUE);
    this.gapSize = gapSize;
    return this;
  }

  /**
   * Sets {@code num_memory_blocks}: how many memory blocks the dilated types see, on each side that
   * they see.
   *
   * @param numMemoryBlocks 2 by default
   * @return this builder
   * @throws IllegalArgumentException if it is negative
   */
  public Tensor2TensorAttentionBuilder numMemoryBlocks(int numMemoryBlocks) {
    Checks.inRange("numMemoryBlocks", numMemoryBlocks, 0, Integer.MAX_VALUE);
    this.numMemoryBlocks = numMemoryBlocks;
    return this;
  }

  /**
   * Sets {@code dropout_rate}, with which {@link Tensor2TensorAttention#drawn} draws. The local and
   * dilated types have no dropout, except for {@code local_relative_mask_right}.
   *
   * @param dropoutRate in [0, 1); 0 by default
   * @return this builder
   * @throws IllegalArgumentException if it is not in [0, 1)
   */
  public Tensor2TensorAttentionBuilder dropoutRate(double dropoutRate) {
    Dropout.of(dropoutRate, 0); // refuses what cannot be one
    this.dropoutRate = dropoutRate;
    return this;
  }

  /**
   * Sets {@code dropout_broadcast_dims}: the dimensions of {@code [batch, heads, lenQ, lenK]} along
   * which one decision is shared. The relative types, except version 2, ignore it, as the original
   * does.
   *
   * @param dropoutBroadcastDims from 0 to 3, or from -4 counted from the end. Copied.
   * @return this builder
   * @throws IllegalArgumentException if there is no such dimension
   */
  public Tensor2TensorAttentionBuilder dropoutBroadcastDims(int... dropoutBroadcastDims) {
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
  public Tensor2TensorAttentionBuilder hardAttentionK(int hardAttentionK) {
    Checks.inRange("hardAttentionK", hardAttentionK, 0, Integer.MAX_VALUE);
    this.hardAttentionK = hardAttentionK;
    return this;
  }

  /**
   * Sets {@code gumbel_noise_weight}, with which {@link Tensor2TensorAttention#drawn} draws noise
   * for weights that are hardened; without hard attention it has no effect.
   *
   * @param gumbelNoiseWeight finite; 0 by default
   * @return this builder
   * @throws IllegalArgumentException if it is not finite as a float
   */
  public Tensor2TensorAttentionBuilder gumbelNoiseWeight(double gumbelNoiseWeight) {
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
  public Tensor2TensorAttentionBuilder maxAreaWidth(int maxAreaWidth) {
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
  public Tensor2TensorAttentionBuilder maxAreaHeight(int maxAreaHeight) {
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
  public Tensor2TensorAttentionBuilder memoryHeight(int memoryHeight) {
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
  public Tensor2TensorAttentionBuilder areaKeyMode(AreaAttention.KeyMode areaKeyMode) {
    this.areaKeyMode = Objects.requireNonNull(areaKeyMode, "areaKeyMode");
    return this;
  }

  /**
   * Sets {@code area_value_mode}.
   *
   * @param areaValueMode {@code sum} by default
   * @return this builder
   */
  public Tensor2TensorAttentionBuilder areaValueMode(AreaAttention.ValueMode areaValueMode) {
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
  public Tensor2TensorAttentionBuilder q(Linear q) {
    query = Projection.of(Objects.requireNonNull(q, "q"));
    return this;
  }

  /**
   * Sets the convolution of queries, which defines q_filter_width and q_padding.
   *
   * @param q from the queries' channels to total_key_depth
   * @return this builder
   */
  public Tensor2TensorAttentionBuilder q(Conv1d q) {
    query = Projection.of(Objects.requireNonNull(q, "q"));
    return this;
  }

  /**
   * Sets the dense projection of keys.
   *
   * @param k from the memory's channels to total_key_depth
   * @return this builder
   */
  public Tensor2TensorAttentionBuilder k(Linear k) {
    key = Projection.of(Objects.requireNonNull(k, "k"));
    return this;
  }

  /**
   * Sets the convolution of keys, which defines kv_filter_width and kv_padding.
   *
   * @param k from the memory's channels to total_key_depth
   * @return this builder
   */
  public Tensor2TensorAttentionBuilder k(Conv1d k) {
    key = Projection.of(Objects.requireNonNull(k, "k"));
    return this;
  }

  /**
   * Sets the dense projection of values.
   *
   * @param v from the memory's channels to total_value_depth
   * @return this builder
   */
  public Tensor2TensorAttentionBuilder v(Linear v) {
    value = Projection.of(Objects.requireNonNull(v, "v"));
    return this;
  }

  /**
   * Sets the convolution of values, with the same width and padding as that of keys.
   *
   * @param v from the memory's channels to total_value_depth
   * @return this builder
   */
  public Tensor2TensorAttentionBuilder v(Conv1d v) {
    value = Projection.of(Objects.requireNonNull(v, "v"));
    return this;
  }

  /**
   * Sets the projection of the result, {@code output_transform}.
   *
   * @param outputTransform from total_value_depth to output_depth
   * @return this builder
   */
  public Tensor2TensorAttentionBuilder outputTransform(Linear outputTransform) {
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
  public Tensor2TensorAttentionBuilder keyEmbeddings(Tensor keyEmbeddings) {
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
  public Tensor2TensorAttentionBuilder valueEmbeddings(Tensor valueEmbeddings) {
    this.valueEmbeddings = Objects.requireNonNull(valueEmbeddings, "valueEmbeddings");
    return this;
  }

  /**
   * Sets the weights that some area key modes have.
   *
   * @param heightEmbedding {@code area_height_emb} {@code [max_area_height, keyDepth / 2]}. Kept,
   *     not modified.
   * @param widthEmbedding {@code area_width_emb} {@code [max_area_width, keyDepth / 2]}. Kept, not
   *     modified.
   * @param dense1 the layer before the ReLU, as {@link AreaAttention.Builder} describes it
   * @param dense2 the layer after it, from keyDepth to keyDepth
   * @return this builder
   */
  public Tensor2TensorAttentionBuilder areaWeights(
      Tensor heightEmbedding, Tensor widthEmbedding, Linear dense1, Linear dense2) {
    areaWeights = builder -> builder.weights(heightEmbedding, widthEmbedding, dense1, dense2);
    return this;
  }

  /**
   * Builds the layer from the weights set before.
   *
   * @return an immutable layer
   * @throws IllegalStateException if numHeads or a projection has not been given
   * @throws IllegalArgumentException if weights and parameters do not match: numHeads does not
   *     divide total_key_depth or total_value_depth, a table has other rows than the attention
   *     type's, a filter is wider than 1 with vars3d, a width is even with padding LEFT
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
   * {@code q_conv}, {@code q_conv_bias}, {@code output_transform} and so on also work. Kernels are
   * transposed once, here.
   *
   * @param file contains the tensors, and under the prefix no others
   * @param prefix the scope, with its final slash, for example {@code
   *     "body/decoder/layer_0/self_attention/multihead_attention/"}
   * @param arena for transposed kernels, and copies of tensors that are not F32 or are misaligned
   * @return an immutable layer
   * @throws IllegalStateException if numHeads has not been set
   * @throws IllegalArgumentException if a tensor is missing or unknown, or as {@link #build}
   * @throws OutOfMemoryError if there is no memory for a copy
   */
  public Tensor2TensorAttention load(SafeTensors file, String prefix, Arena arena) {
    require(numHeads > 0, "numHeads");
    Tensor2TensorWeights weights = new Tensor2TensorWeights(file, prefix, arena, vars3d, numHeads);
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

  boolean hasAreas() {
    return type == AttentionType.DOT_PRODUCT && (maxAreaWidth > 1 || maxAreaHeight > 1);
  }

  AreaAttention.Builder areas() {
    AreaAttention.Builder builder =
        AreaAttention.builder(new Areas(memoryHeight, maxAreaHeight, maxAreaWidth))
            .keyMode(areaKeyMode)
            .valueMode(areaValueMode);
    areaWeights.accept(builder);
    return builder;
  }

  boolean hasValueEmbeddings() {
    return type == AttentionType.DOT_PRODUCT_RELATIVE || addRelativeToValues;
  }

  /** Whether the original's function has a dropout rate. */
  boolean drops() {
    return type != null && (!type.local() || type == AttentionType.LOCAL_RELATIVE_MASK_RIGHT);
  }

  Dropout.Dimension[] dropoutShared() {
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
    if (key.conv() != null
        && value.conv() != null
        && key.conv().padding() != value.conv().padding()) {
      throw new IllegalArgumentException(
          "v.padding must equal k.padding: v.padding="
              + value.conv().padding()
              + ", k.padding="
              + key.conv().padding());
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
          checkRows(name, table, true, "2 * maxRelativePosition + 1", 2 * m + 1, depthName, depth);
      case DOT_PRODUCT_RELATIVE_V2 ->
          checkRows(name, table, false, "maxRelativePosition", m, depthName, depth);
      case DOT_PRODUCT_UNMASKED_RELATIVE_V2 ->
          checkRows(name, table, false, "2 * maxRelativePosition - 1", 2 * m - 1, depthName, depth);
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
