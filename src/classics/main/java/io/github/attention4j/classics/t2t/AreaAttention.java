package io.github.attention4j.classics.t2t;

import io.github.attention4j.Attention;
import io.github.attention4j.Extras;
import io.github.attention4j.Mask;
import io.github.attention4j.Tensor;
import io.github.attention4j.internal.Checks;
import io.github.attention4j.internal.Linears;
import io.github.attention4j.internal.Scratch;
import io.github.attention4j.internal.Weights;
import io.github.attention4j.io.SafeTensors;
import io.github.attention4j.layer.Activation;
import io.github.attention4j.layer.Elementwise;
import io.github.attention4j.layer.Linear;
import java.lang.foreign.Arena;
import java.lang.foreign.MemorySegment;
import java.lang.foreign.ValueLayout;
import java.util.Arrays;
import java.util.Locale;
import java.util.Objects;

/**
 * Area attention (Li, Kaiser, Bengio, Si, "Area Attention", ICML 2019), tensor2tensor's {@code
 * dot_product_area_attention}: queries attend to {@linkplain Areas areas} of the memory (runs of a
 * text, rectangles of a picture) as well as to single items.
 *
 * <pre>
 *   key(area)   = mean | max | mean + deviation · noise | dense2(relu(dense1(features)))     a key mode
 *   value(area) = sum | mean | max                                                           a value mode
 *   weights     = softmax((scale · q · key(area) + hidden) / temperature)                    over all areas
 *   out         = weights · value(area)
 * </pre>
 *
 * <pre>{@code
 * Areas areas = new Areas(lines, 3, 3); // a memory of so many lines, areas of up to 3 x 3
 * AreaAttention attention =
 *     AreaAttention.builder(areas)
 *         .keyMode(AreaAttention.KeyMode.MEAN)
 *         .valueMode(AreaAttention.ValueMode.SUM)
 *         .scale(1 / Math.sqrt(dim))
 *         .build();
 * attention.forward(q, k, v, out);
 * }</pre>
 *
 * <p>Keys and values are pooled, and {@link Attention} runs over the areas. To query the same
 * memory many times, pool once ({@link #areaKeys}, {@link #areaValues}) and call {@link
 * #forwardAreas}.
 *
 * <p><b>Shapes.</b> All tensors are {@link io.github.attention4j.DType#F32}:
 *
 * <pre>
 *   q     [batch, headsQ,  lenQ, dim]        out     [batch, headsQ, lenQ, dimV]
 *   k     [batch, headsKv, len,  dim]        weights [batch, headsQ, lenQ, areas]
 *   v     [batch, headsKv, len,  dimV]       bias    [1 or batch, 1 or headsQ, 1 or lenQ, len]
 * </pre>
 *
 * tensor2tensor has as many heads for keys as for queries, and one depth for keys and values; here
 * they may differ as in {@link Attention}. Areas are in the order of {@link Areas}. The length must
 * be a multiple of the memory's height. If the memory has no items, the result is 0.
 *
 * <p><b>Bias.</b> The bias only marks padding: an element less than −1 marks an item as padding,
 * and every area that touches it is hidden. Other elements, including −0.5 and NaN, are ignored and
 * not added. In a memory of several lines the items of a bias are in line order, so the padding of
 * a short sequence hides its last lines and the end of the line in which it ends. A query whose
 * areas are all hidden gets 0; tensor2tensor returns NaN.
 *
 * <p><b>Names</b> in tensor2tensor, if they differ:
 *
 * <pre>
 *   max_area_width, max_area_height, memory_height    {@link Areas}
 *   area_key_mode, area_value_mode                    {@link Builder#keyMode}, {@link Builder#valueMode}
 *   area_temperature                                  {@link Builder#temperature}
 *   top_k_areas                                       {@link Builder#topKAreas}
 *   training                                          {@link AreaNoise}: none() where it is False
 *   save_weights_to                                   {@link Extras#weights}; its logits {@link Extras#scores}
 *   dropout_rate, dropout_broadcast_dims              {@link Extras}
 *   q multiplied by key_depth_per_head ** -0.5        {@link Builder#scale}
 * </pre>
 */
public final class AreaAttention {
  /** The most floats of features held in memory while keys are computed. */
  private static final long MOST_FLOATS = 1 << 21;

  /** An element of a bias below this one marks padding. */
  private static final float PADDING = -1;

  /** What the key of an area is made of, {@code area_key_mode}. */
  public enum KeyMode {
    /** The mean of the keys in the area. */
    MEAN(false, false),
    /** The maximum of each channel. */
    MAX(false, false),
    /** The mean, in training moved by noise times the standard deviation. */
    SAMPLE(false, true),
    /** Two dense layers over mean, standard deviation and the embeddings of height and width. */
    CONCAT(true, false),
    /** Two dense layers over the maximum and the embeddings of height and width. */
    MAX_CONCAT(true, false),
    /** Two dense layers over the sum of mean, standard deviation and embeddings. */
    SUM(true, false),
    /** Two dense layers over the mean, moved by noise as above, and the embeddings. */
    SAMPLE_CONCAT(true, true),
    /** Two dense layers over the sum of the mean, moved by noise as above, and the embeddings. */
    SAMPLE_SUM(true, true);

    private final boolean weights;
    private final boolean samples;

    KeyMode(boolean weights, boolean samples) {
      this.weights = weights;
      this.samples = samples;
    }

    /**
     * Tells whether the mode has dense layers and embeddings.
     *
     * @return whether {@link Builder#weights} must be called
     */
    public boolean hasWeights() {
      return weights;
    }

    /**
     * Tells whether the mode uses {@link AreaNoise}.
     *
     * @return whether it samples
     */
    public boolean samples() {
      return samples;
    }

    /** Whether embeddings are added to the features; otherwise they are concatenated. */
    private boolean adds() {
      return this == SUM || this == SAMPLE_SUM;
    }

    /** The width of an area's features, without embeddings. */
    private long features(long dim) {
      return this == CONCAT ? 2 * dim : dim;
    }

    /** The input width of the first dense layer. */
    private long width(long dim) {
      return adds() ? dim : features(dim) + 2 * (dim / 2);
    }

    /**
     * Finds a mode by tensor2tensor's name, such as {@code "sample_concat"}.
     *
     * @param name one of mean, max, sample, concat, max_concat, sum, sample_concat, sample_sum
     * @return the mode
     * @throws IllegalArgumentException if there is none of this name
     */
    public static KeyMode of(String name) {
      return named(KeyMode.values(), name, "key");
    }
  }

  /** What the value of an area is, {@code area_value_mode}. */
  public enum ValueMode {
    /** The sum of the values in the area. */
    SUM,
    /** Their mean. */
    MEAN,
    /** The maximum of each channel. */
    MAX;

    /**
     * Finds a mode by tensor2tensor's name.
     *
     * @param name one of sum, mean, max
     * @return the mode
     * @throws IllegalArgumentException if there is none of this name
     */
    public static ValueMode of(String name) {
      return named(ValueMode.values(), name, "value");
    }
  }

  private static <T extends Enum<T>> T named(T[] modes, String name, String what) {
    Objects.requireNonNull(name, "name");
    for (T mode : modes) {
      if (mode.name().toLowerCase(Locale.ROOT).equals(name)) {
        return mode;
      }
    }
    throw new IllegalArgumentException(
        "Unsupported area "
            + what
            + " mode="
            + name
            + ": known are "
            + Arrays.toString(modes).toLowerCase(Locale.ROOT));
  }

  private final Areas areas;
  private final KeyMode keyMode;
  private final ValueMode valueMode;
  private final double scale;
  private final double temperature;
  private final int topKAreas;

  /** All four are null if the key mode has no weights. */
  private final Tensor heightEmbedding;

  private final Tensor widthEmbedding;
  private final Linear dense1;
  private final Linear dense2;

  private AreaAttention(Builder builder) {
    areas = builder.areas;
    keyMode = builder.keyMode;
    valueMode = builder.valueMode;
    scale = builder.scale;
    temperature = builder.temperature;
    topKAreas = builder.topKAreas;
    heightEmbedding = builder.heightEmbedding;
    widthEmbedding = builder.widthEmbedding;
    dense1 = builder.dense1;
    dense2 = builder.dense2;
    if (keyMode.hasWeights()) {
      checkWeights();
    } else if (dense1 != null) {
      throw new IllegalArgumentException("keyMode " + keyMode + " has no weights: weights are set");
    }
  }

  private void checkWeights() {
    if (dense1 == null) {
      throw new IllegalArgumentException("keyMode " + keyMode + " needs weights: none are set");
    }
    long dim = dense2.dimOut();
    if (keyMode.adds() && dim % 2 != 0) {
      throw new IllegalArgumentException(
          "dim must be even under keyMode "
              + keyMode
              + ", which adds embeddings of 2 * (dim / 2) elements to features of dim: dim="
              + dim
              + ", embeddings="
              + dim / 2 * 2);
    }
    Checks.equal("dense2.dimIn", dense2.dimIn(), "dense2.dimOut", dim);
    Checks.equal("dense1.dimOut", dense1.dimOut(), "dense2.dimIn", dim);
    String features =
        switch (keyMode) {
          case CONCAT -> "2 * dim + 2 * (dim / 2)";
          case MAX_CONCAT, SAMPLE_CONCAT -> "dim + 2 * (dim / 2)";
          default -> "dim";
        };
    Checks.equal("dense1.dimIn", dense1.dimIn(), features, keyMode.width(dim));
    Checks.shape(
        "heightEmbedding", heightEmbedding, "[maxHeight, dim / 2]", areas.maxHeight(), dim / 2);
    Checks.shape(
        "widthEmbedding", widthEmbedding, "[maxWidth, dim / 2]", areas.maxWidth(), dim / 2);
  }

  /**
   * Starts with tensor2tensor's defaults: key mode MEAN, value mode SUM, scale and temperature 1,
   * all areas.
   *
   * @param areas which areas there are
   * @return a builder
   */
  public static Builder builder(Areas areas) {
    return new Builder(Objects.requireNonNull(areas, "areas"));
  }

  /**
   * Returns the areas.
   *
   * @return which areas there are
   */
  public Areas areas() {
    return areas;
  }

  /**
   * Returns the key mode.
   *
   * @return what the key of an area is made of
   */
  public KeyMode keyMode() {
    return keyMode;
  }

  /**
   * Returns the value mode.
   *
   * @return what the value of an area is
   */
  public ValueMode valueMode() {
    return valueMode;
  }

  // ---- Attention ----

  /**
   * Computes attention to all areas.
   *
   * @param q queries {@code [batch, headsQ, lenQ, dim]}. Not modified.
   * @param k keys {@code [batch, headsKv, len, dim]}. Not modified.
   * @param v values {@code [batch, headsKv, len, dimV]}. Not modified.
   * @param out the result {@code [batch, headsQ, lenQ, dimV]}, overwritten. Modified.
   * @throws IllegalArgumentException if types, ranks, shapes, strides or alignment do not fit, the
   *     length is not a multiple of the memory's height, or out is read-only or overlaps an input
   *     or itself
   * @throws OutOfMemoryError if there is no memory for the areas
   */
  public void forward(Tensor q, Tensor k, Tensor v, Tensor out) {
    forward(q, k, v, null, AreaNoise.none(), out, Extras.none());
  }

  /**
   * Computes attention to the areas without padding, with extra inputs and outputs.
   *
   * @param q queries {@code [batch, headsQ, lenQ, dim]}. Not modified.
   * @param k keys {@code [batch, headsKv, len, dim]}. Not modified.
   * @param v values {@code [batch, headsKv, len, dimV]}. Not modified.
   * @param bias which items are padding, {@code [1 or batch, 1 or headsQ, 1 or lenQ, len]}, with
   *     elements less than −1; or null if there is no padding. Not modified.
   * @param noise the noise of key modes that sample in training; other modes ignore it
   * @param out the result {@code [batch, headsQ, lenQ, dimV]}, overwritten. Modified.
   * @param extras logsumexp, weights and scores over areas, dropout; its outputs are modified
   * @throws IllegalArgumentException as {@link #forward(Tensor, Tensor, Tensor, Tensor)}, and if
   *     bias, noise or an extra does not fit
   * @throws OutOfMemoryError if there is no memory for the areas
   */
  public void forward(
      Tensor q, Tensor k, Tensor v, Tensor bias, AreaNoise noise, Tensor out, Extras extras) {
    checkInput("q", q);
    checkMemory("k", k);
    checkMemory("v", v);
    Objects.requireNonNull(noise, "noise");
    Checks.rank("out", Objects.requireNonNull(out, "out"), 4);
    Checks.output("out", out);
    Objects.requireNonNull(extras, "extras");
    Checks.equal("k", "q", "batch", k.size(0), q.size(0));
    Checks.equal("k", "q", "dim", k.size(3), q.size(3));
    Checks.equal("v", "k", "batch", v.size(0), k.size(0));
    Checks.equal("v", "k", "heads", v.size(1), k.size(1));
    Checks.equal("v", "k", "len", v.size(2), k.size(2));
    Checks.multiple("q.heads", q.size(1), "k.heads", k.size(1));
    Checks.shape(
        "out", out, "[batch, headsQ, lenQ, dimV]", q.size(0), q.size(1), q.size(2), v.size(3));
    Checks.disjoint("out", out, "k", k);
    Checks.disjoint("out", out, "v", v);
    long len = k.size(2);
    if (bias != null) {
      checkBias(bias, q);
      if (bias.size(3) == 1 && areas.memoryHeight() == 1) {
        bias = bias.expand(3, len);
      }
      Checks.equal("bias", "k", "len", bias.size(3), len);
    }
    try (Scratch scratch = new Scratch()) {
      long count = areas.count(len);
      Tensor keys = scratch.floats(k.size(0), k.size(1), count, k.size(3));
      Tensor values = scratch.floats(v.size(0), v.size(1), count, v.size(3));
      areaKeys(k, noise, keys);
      areaValues(v, values);
      attend(q, keys, values, bias, out, extras, scratch);
    }
  }

  /**
   * Computes attention to areas that have been pooled.
   *
   * @param q queries {@code [batch, headsQ, lenQ, dim]}. Not modified.
   * @param areaKeys {@code [batch, headsKv, areas, dim]}, from {@link #areaKeys}. Not modified.
   * @param areaValues {@code [batch, headsKv, areas, dimV]}, from {@link #areaValues}. Not
   *     modified.
   * @param bias which items of the memory are padding, {@code [1 or batch, 1 or headsQ, 1 or lenQ,
   *     len]}; or null. Not modified.
   * @param out the result {@code [batch, headsQ, lenQ, dimV]}, overwritten. Modified.
   * @param extras logsumexp, weights and scores over areas, dropout; its outputs are modified
   * @throws IllegalArgumentException as {@link Attention#forward(Tensor, Tensor, Tensor, Tensor,
   *     Extras)}, and if bias does not match the number of areas
   * @throws OutOfMemoryError if there is no memory for the bias of the areas
   */
  public void forwardAreas(
      Tensor q, Tensor areaKeys, Tensor areaValues, Tensor bias, Tensor out, Extras extras) {
    checkInput("q", q);
    checkInput("areaKeys", areaKeys);
    checkInput("areaValues", areaValues);
    Checks.rank("out", Objects.requireNonNull(out, "out"), 4);
    Objects.requireNonNull(extras, "extras");
    if (bias != null) {
      checkBias(bias, q);
      Checks.equal(
          "areaKeys.areas", areaKeys.size(2), "areas of bias.len", areas.count(bias.size(3)));
    }
    try (Scratch scratch = new Scratch()) {
      attend(q, areaKeys, areaValues, bias, out, extras, scratch);
    }
  }

  private void attend(
      Tensor q,
      Tensor keys,
      Tensor values,
      Tensor bias,
      Tensor out,
      Extras extras,
      Scratch scratch) {
    Attention.Builder attention = Attention.builder().scale(scale / temperature);
    if (bias != null) {
      Checks.disjoint("out", out, "bias", bias);
      attention.mask(Mask.bias(areaBias(bias, scratch)));
    }
    if (topKAreas > 0) {
      attention.topK(topKAreas);
    }
    attention.build().forward(q, keys, values, out, extras);
  }

  private static void checkInput(String name, Tensor tensor) {
    Checks.rank(name, Objects.requireNonNull(tensor, name), 4);
    Checks.input(name, tensor);
  }

  private void checkMemory(String name, Tensor tensor) {
    checkInput(name, tensor);
    Checks.packedRows(name, tensor);
    Checks.positive(name + ".dim", tensor.size(3));
    Checks.multiple(name + ".len", tensor.size(2), "memoryHeight", areas.memoryHeight());
  }

  private static void checkBias(Tensor bias, Tensor q) {
    checkInput("bias", bias);
    for (int dim = 0; dim < 3; dim++) {
      if (bias.size(dim) != 1 && bias.size(dim) != q.size(dim)) {
        throw new IllegalArgumentException(
            "bias.shape must broadcast to [batch, headsQ, lenQ, len] = "
                + Arrays.toString(new long[] {q.size(0), q.size(1), q.size(2), bias.size(3)})
                + ": bias.shape="
                + Arrays.toString(bias.shape()));
      }
    }
  }

  /** −∞ for each area that touches padding, else 0: sums of −∞ and 0. */
  private Tensor areaBias(Tensor bias, Scratch scratch) {
    for (int dim = 0; dim < 3; dim++) {
      if (bias.stride(dim) == 0 && bias.size(dim) > 1) {
        bias = bias.slice(dim, 0, 1);
      }
    }
    Tensor hidden = scratch.floats(bias.shape()).copyFrom(bias);
    MemorySegment floats = hidden.segment();
    for (long n = 0; n < hidden.count(); n++) {
      boolean padding = floats.getAtIndex(ValueLayout.JAVA_FLOAT, n) < PADDING;
      floats.setAtIndex(ValueLayout.JAVA_FLOAT, n, padding ? Float.NEGATIVE_INFINITY : 0);
    }
    long len = bias.size(3);
    long count = areas.count(len);
    Tensor sums = scratch.floats(bias.size(0), bias.size(1), bias.size(2), count);
    long rows = bias.size(0) * bias.size(1) * bias.size(2);
    areas.sum(hidden.reshape(rows, len, 1), sums.reshape(rows, count, 1));
    return sums;
  }

  // ---- Keys and values of areas ----

  /**
   * Computes the value of each area.
   *
   * @param v values {@code [batch, heads, len, dimV]}. Not modified.
   * @param areaValues {@code [batch, heads, areas, dimV]}; equally spaced rows. Modified.
   * @throws IllegalArgumentException if types, ranks, shapes, strides or alignment do not fit, the
   *     length is not a multiple of the memory's height, or areaValues is read-only or overlaps v
   */
  public void areaValues(Tensor v, Tensor areaValues) {
    checkMemory("v", v);
    checkAreas("areaValues", areaValues, v);
    switch (valueMode) {
      case SUM -> areas.sum(v, areaValues);
      case MEAN -> areas.mean(v, areaValues);
      case MAX -> areas.max(v, areaValues);
    }
  }

  /**
   * Computes the key of each area, {@code compute_area_key}.
   *
   * @param k keys {@code [batch, heads, len, dim]}. Not modified.
   * @param noise the noise of key modes that sample in training; other modes ignore it
   * @param areaKeys {@code [batch, heads, areas, dim]}, contiguous. Modified.
   * @throws IllegalArgumentException if types, ranks, shapes, strides or alignment do not fit, the
   *     length is not a multiple of the memory's height, given noise has another shape, or areaKeys
   *     is read-only or overlaps k, the noise or a weight
   * @throws OutOfMemoryError if there is no memory for features and noise
   */
  public void areaKeys(Tensor k, AreaNoise noise, Tensor areaKeys) {
    checkMemory("k", k);
    Objects.requireNonNull(noise, "noise");
    checkAreas("areaKeys", areaKeys, k);
    Checks.contiguous("areaKeys", areaKeys);
    Checks.disjoint("areaKeys", areaKeys, "k", k);
    final AreaNoise moves = keyMode.samples() ? noise : AreaNoise.none();
    moves.check(areaKeys);
    if (dense2 != null) {
      Checks.equal("k.dim", k.size(3), "dense2.dimOut", dense2.dimOut());
      Checks.reachable("heightEmbedding", heightEmbedding);
      Checks.reachable("widthEmbedding", widthEmbedding);
    }
    if (areaKeys.count() == 0) {
      return;
    }
    if (dense2 == null && moves.isNone()) {
      if (keyMode == KeyMode.MAX) {
        areas.max(k, areaKeys);
      } else {
        areas.mean(k, areaKeys);
      }
      return;
    }
    // A few heads at a time, to bound the memory of the features.
    try (Scratch scratch = new Scratch()) {
      Tensor sizes = dense2 == null ? null : hiddenOfSizes(k.size(2), scratch);
      long heads = k.size(1);
      long floats = areaKeys.size(2) * (keyMode.features(k.size(3)) + k.size(3));
      long most = Math.max(1, MOST_FLOATS / floats);
      if (most >= k.size(0) * heads) {
        computeKeys(k, moves, 0, 0, heads, sizes, areaKeys);
        return;
      }
      for (long b = 0; b < k.size(0); b++) {
        for (long h = 0; h < heads; h += most) {
          long some = Math.min(most, heads - h);
          Tensor part = areaKeys.slice(0, b, 1).slice(1, h, some);
          computeKeys(k.slice(0, b, 1).slice(1, h, some), moves, b, h, heads, sizes, part);
        }
      }
    }
  }

  /**
   * Computes the keys of modes with dense layers.
   *
   * @param k the keys of whole batches, or of some heads of one batch
   * @param batch the first one's batch
   * @param head the first one's number in it
   * @param heads how many heads each batch has
   * @param sizes from {@code hiddenOfSizes}
   */
  private void computeKeys(
      Tensor k, AreaNoise noise, long batch, long head, long heads, Tensor sizes, Tensor areaKeys) {
    long dim = k.size(3);
    try (Scratch scratch = new Scratch()) {
      Tensor normals =
          noise.isNone() ? null : noise.part(batch, head, heads, scratch, areaKeys.shape());
      if (dense2 == null) {
        areas.sample(k, normals, areaKeys);
        return;
      }
      Tensor hidden = scratch.floats(areaKeys.shape());
      for (long b = 0; b < k.size(0); b++) {
        for (long h = 0; h < k.size(1); h++) {
          hidden.select(0, b).select(0, h).copyFrom(sizes);
        }
      }
      long width = keyMode.features(dim);
      Tensor features = scratch.floats(k.size(0), k.size(1), areaKeys.size(2), width);
      switch (keyMode) {
        case CONCAT ->
            areas.features(k, features.slice(3, 0, dim), features.slice(3, dim, dim), null, null);
        case MAX_CONCAT -> areas.max(k, features);
        case SUM -> {
          Tensor deviation = scratch.floats(features.shape());
          areas.features(k, features, deviation, null, null);
          Elementwise.scaleAdd(features, 1, deviation, features);
        }
        default -> {
          if (normals == null) {
            areas.mean(k, features);
          } else {
            areas.sample(k, normals, features);
          }
        }
      }
      Linear.of(dense1.weight().slice(1, 0, width)).forwardAdd(features, hidden);
      Activation.RELU.forward(hidden, hidden);
      dense2.forward(hidden, areaKeys);
    }
  }

  /**
   * The share of the height and width embeddings and the bias in the first dense layer's sums, for
   * each area of a head: {@code [areas, dim]}. It depends only on the size of an area, so it is
   * computed once for each size.
   */
  private Tensor hiddenOfSizes(long len, Scratch scratch) {
    long dim = dense2.dimOut();
    long half = dim / 2;
    long heights = areas.highest();
    long widths = Math.min(areas.maxWidth(), len / areas.memoryHeight());
    Tensor embeddings = scratch.floats(heights, widths, 2 * half);
    Tensor ofHeights = heightEmbedding.slice(0, 0, heights).unsqueeze(1);
    Tensor ofWidths = widthEmbedding.slice(0, 0, widths).unsqueeze(0);
    embeddings.slice(2, 0, half).copyFrom(ofHeights.expand(1, widths));
    embeddings.slice(2, half, half).copyFrom(ofWidths.expand(0, heights));
    Tensor products = scratch.floats(heights, widths, dim);
    long start = keyMode.adds() ? 0 : keyMode.features(dim);
    Tensor bias = dense1.bias();
    if (half > 0) {
      Tensor weight = dense1.weight().slice(1, start, 2 * half);
      Linear ofSizes = Linears.of(weight, bias);
      ofSizes.forward(embeddings, products);
    } else if (bias == null) {
      products.fill(0);
    } else {
      products.copyFrom(bias.unsqueeze(0).unsqueeze(0).expand(0, heights).expand(1, widths));
    }
    Tensor hidden = scratch.floats(areas.count(len), dim);
    areas.forEachSize(
        len,
        (h, w, first, count) -> {
          Tensor ofSize = products.select(0, h - 1).select(0, w - 1).unsqueeze(0);
          hidden.slice(0, first, count).copyFrom(ofSize.expand(0, count));
        });
    return hidden;
  }

  private void checkAreas(String name, Tensor pooled, Tensor memory) {
    Checks.rank(name, Objects.requireNonNull(pooled, name), 4);
    Checks.output(name, pooled);
    Checks.shape(
        name,
        pooled,
        "[batch, heads, areas, dim]",
        memory.size(0),
        memory.size(1),
        areas.count(memory.size(2)),
        memory.size(3));
  }

  // ---- Builder ----

  /** Collects the options of an {@link AreaAttention}. Not safe for several threads. */
  public static final class Builder {
    private final Areas areas;
    private KeyMode keyMode = KeyMode.MEAN;
    private ValueMode valueMode = ValueMode.SUM;
    private double scale = 1;
    private double temperature = 1;
    private int topKAreas;
    private Tensor heightEmbedding;
    private Tensor widthEmbedding;
    private Linear dense1;
    private Linear dense2;

    private Builder(Areas areas) {
      this.areas = areas;
    }

    /**
     * Chooses what keys are made of, {@code area_key_mode}.
     *
     * @param keyMode replaces the one chosen before
     * @return this builder
     */
    public Builder keyMode(KeyMode keyMode) {
      this.keyMode = Objects.requireNonNull(keyMode, "keyMode");
      return this;
    }

    /**
     * Chooses what values are, {@code area_value_mode}.
     *
     * @param valueMode replaces the one chosen before
     * @return this builder
     */
    public Builder valueMode(ValueMode valueMode) {
      this.valueMode = Objects.requireNonNull(valueMode, "valueMode");
      return this;
    }

    /**
     * Chooses what multiplies the products of queries and keys. tensor2tensor's function has none,
     * because its layer multiplies the queries by {@code dim^−1/2}.
     *
     * @param scale finite; 1 by default
     * @return this builder
     * @throws IllegalArgumentException if the scale is not finite as a float
     */
    public Builder scale(double scale) {
      if (!Float.isFinite((float) scale)) {
        throw new IllegalArgumentException("scale must be a finite float: scale=" + scale);
      }
      this.scale = scale;
      return this;
    }

    /**
     * Chooses what logits are divided by, {@code area_temperature}.
     *
     * @param temperature positive and finite; 1 by default
     * @return this builder
     * @throws IllegalArgumentException if the temperature is not positive or not finite as a float
     */
    public Builder temperature(double temperature) {
      if (!((float) temperature > 0) || !Float.isFinite((float) temperature)) {
        throw new IllegalArgumentException(
            "temperature must be a positive, finite float: temperature=" + temperature);
      }
      this.temperature = temperature;
      return this;
    }

    /**
     * Keeps only the largest weights of each query, {@code top_k_areas}: weights less than the k-th
     * largest become 0, and the others are divided by their sum. Ties with the k-th largest stay,
     * so there may be more than k.
     *
     * @param topKAreas how many; 0, as it is by default, keeps all
     * @return this builder
     * @throws IllegalArgumentException if topKAreas is negative
     */
    public Builder topKAreas(int topKAreas) {
      Checks.inRange("topKAreas", topKAreas, 0, Integer.MAX_VALUE);
      this.topKAreas = topKAreas;
      return this;
    }

    /**
     * Sets the weights that some key modes have.
     *
     * @param heightEmbedding {@code area_height_emb} {@code [maxHeight, dim / 2]}, row h − 1 for
     *     areas of h lines. Kept, not modified.
     * @param widthEmbedding {@code area_width_emb} {@code [maxWidth, dim / 2]}, row w − 1 for areas
     *     of w columns. Kept, not modified.
     * @param dense1 the first dense layer, which is followed by ReLU: to dim, from the
     *     concatenation of mean, deviation and embeddings (CONCAT), of maximum or mean and
     *     embeddings (MAX_CONCAT, SAMPLE_CONCAT), or from their sum (SUM, SAMPLE_SUM); the height's
     *     embedding comes before the width's
     * @param dense2 the second, from dim to dim
     * @return this builder
     * @throws IllegalArgumentException if types, ranks or alignment do not fit
     */
    public Builder weights(
        Tensor heightEmbedding, Tensor widthEmbedding, Linear dense1, Linear dense2) {
      Checks.rank("heightEmbedding", Objects.requireNonNull(heightEmbedding, "heightEmbedding"), 2);
      Checks.rank("widthEmbedding", Objects.requireNonNull(widthEmbedding, "widthEmbedding"), 2);
      Checks.input("heightEmbedding", heightEmbedding);
      Checks.input("widthEmbedding", widthEmbedding);
      this.dense1 = Objects.requireNonNull(dense1, "dense1");
      this.dense2 = Objects.requireNonNull(dense2, "dense2");
      this.heightEmbedding = heightEmbedding;
      this.widthEmbedding = widthEmbedding;
      return this;
    }

    /**
     * Reads the weights that some key modes have by tensor2tensor's names: {@code area_height_emb},
     * {@code area_width_emb}, {@code dense/kernel}, {@code dense/bias}, {@code dense_1/kernel} and
     * {@code dense_1/bias}; or with {@code dense1.} for {@code dense/}, and {@code dense2.} for
     * {@code dense_1/}. Kernels are {@code [in, out]} and are transposed.
     *
     * @param file contains the tensors, and under the prefix no others
     * @param prefix what their names begin with, for example {@code
     *     "….dot_product_area_attention/combine_area_features/"}
     * @param arena for the transposed kernels, and for copies of weights that are not F32 or are
     *     misaligned in the file
     * @return this builder
     * @throws IllegalArgumentException if a tensor is missing or unknown, or ranks or shapes do not
     *     match
     * @throws OutOfMemoryError if there is no memory for a copy
     */
    public Builder weights(SafeTensors file, String prefix, Arena arena) {
      Weights weights = new Weights(file, prefix, arena);
      Tensor heights = weights.get("area_height_emb");
      Tensor widths = weights.get("area_width_emb");
      Linear first = Tensor2TensorWeights.readKernel(weights, arena, "dense/", "dense1.");
      Linear second = Tensor2TensorWeights.readKernel(weights, arena, "dense_1/", "dense2.");
      weights.requireAllRead();
      return weights(heights, widths, first, second);
    }

    /**
     * Makes the attention.
     *
     * @return an immutable attention with the options chosen so far
     * @throws IllegalArgumentException if the key mode has weights and none are set, or has none
     *     and some are, if weights do not fit the mode, the areas or each other, or dim is odd
     *     where embeddings are added
     */
    public AreaAttention build() {
      return new AreaAttention(this);
    }
  }
}
