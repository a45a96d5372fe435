package io.github.attention4j;

import io.github.attention4j.internal.Checks;
import io.github.attention4j.internal.Descriptor;
import java.lang.foreign.MemorySegment;
import java.util.List;
import java.util.Objects;

/**
 * The options of {@link Attention} and {@link Differential}: everything that is chosen before a
 * call and does not depend on its tensors. Immutable.
 *
 * <p>To add an option, add a field to {@link Values}, a method to {@link Builder}, and a line to
 * {@link #describe}.
 */
final class Options {
  private static final Placement TOP_LEFT = Placement.of(Alignment.TOP_LEFT);

  private final Values values;
  private final Placement placement;
  private final List<Tensor> tables;
  private final boolean plain;

  /** The options themselves. Arrays are never modified. */
  private static final class Values extends Draft<Values> {
    Mask mask = Mask.none();

    /** NaN for {@code 1 / sqrt(dim)}. */
    float scale = Float.NaN;

    /** 0 for no cap. */
    float softCap;

    /** ALiBi slopes and their placement, or null. */
    Slopes slopes;

    Placement slopesPlacement;

    /** Relative positions and their placement, or null. */
    RelativePositions relative;

    Placement relativePlacement;

    /** Computes new scores; null to keep them. */
    Program score;

    /** Sink logits, or null. */
    float[] sinks;

    /** What is done to the weights before they are applied to the values, or null. */
    Hardening hardening;

    /** Whether queries, keys and values are rounded to bfloat16 before they are multiplied. */
    boolean bf16Products;

    /** 0 for {@link A4j#threads()} at the time of the call. */
    int threads;
  }

  /**
   * ALiBi slopes, {@code [heads]} or {@code [batches][heads]}.
   *
   * @param batches 0 if all batches share the slopes
   */
  record Slopes(int batches, float[] values) {}

  private Options(Values values) {
    this.values = values;
    Mask mask = values.mask;
    Placement place = Placement.one("mask and ALiBi", mask.placement(), values.slopesPlacement);
    Placement scorePlacement = values.score == null ? null : values.score.placement;
    place = Placement.one("mask, ALiBi and score", place, scorePlacement);
    placement =
        Placement.one("mask, ALiBi, score and relative positions", place, values.relativePlacement);
    tables = Program.tables(mask.program(), values.score);
    plain =
        mask.isPlain()
            && values.slopes == null
            && values.relative == null
            && values.score == null
            && values.sinks == null
            && values.hardening == null;
  }

  // ---- Changed copies ----

  Options withMask(Mask mask) {
    Values changed = values.copy();
    changed.mask = Objects.requireNonNull(mask, "mask");
    return new Options(changed);
  }

  Options withoutSinks() {
    Values changed = values.copy();
    changed.sinks = null;
    return new Options(changed);
  }

  /** Moves the queries of every option that has a placement. */
  Options withPlacement(Placement other) {
    Values changed = values.copy();
    changed.mask = changed.mask.withPlacement(other);
    changed.slopesPlacement = changed.slopes == null ? null : other;
    changed.relativePlacement = changed.relative == null ? null : other;
    return new Options(changed);
  }

  /** The options for queries that are the last ones of a cache. */
  Options over(KvCache cache, long lenQ, Extras extras) {
    requireCachePlacement();
    if (values.bf16Products && cache.dtype() == DType.I8) {
      throw new IllegalArgumentException(
          "bf16Products rounds caches of F32, BF16 or F16, but this one is quantised:"
              + " cache.dtype=I8");
    }
    if (cache.isRing()) {
      String why = "a ring, which overwrites rows, so that keys have no fixed index";
      refuseIndexed(extras, why);
      refuse("mask.chunks", values.mask.chunk() == 0 ? null : values.mask.chunk(), why);
    }
    cache.checkQueries(values.mask.queryLengths(), lenQ);
    return withMask(values.mask.and(cache.mask()));
  }

  /**
   * Refuses every option and extra that identifies a key by its index.
   *
   * @param why what they are not supported with, and the reason
   */
  void refuseIndexed(Extras extras, String why) {
    Mask mask = values.mask;
    refuse("mask.allow", mask.allow(), why);
    refuse("mask.bias", mask.bias(), why);
    refuse("mask.keyLengths", mask.keyLengths(), why);
    refuse("mask.keyLengths", mask.keyLengthsTensor(), why);
    refuse("mask.keyLengths", mask.rowLengths(), why);
    refuse("mask.padding", mask.tokens(), why);
    refuse("mask.keyRanges", mask.ranges(), why);
    refuse("mask.where", mask.program(), why);
    refuse("score", values.score, why);
    refuse("weights", extras.weights(), why);
    refuse("scores", extras.scores(), why);
    refuse("keep", extras.keep(), why);
    refuse("dropout", extras.dropout(), why);
    refuse("gumbelNoise", extras.noise(), why);
  }

  /** Refuses hardened weights. */
  void refuseHardening(String why) {
    if (values.hardening != null) {
      refuse(values.hardening.name(), values.hardening, why);
    }
  }

  /** Refuses a part that is not null. */
  static void refuse(String name, Object part, String why) {
    if (part != null) {
      throw new IllegalArgumentException(name + " is not supported with " + why);
    }
  }

  /** A cache fixes where the queries are; the options must not say otherwise. */
  void requireCachePlacement() {
    if (placement != null && placement.alignment() != Alignment.BOTTOM_RIGHT) {
      throw new IllegalArgumentException(
          "attention over a cache aligns its queries BOTTOM_RIGHT, so mask, ALiBi, score and"
              + " relative positions must be aligned BOTTOM_RIGHT too: they are aligned "
              + placement);
    }
  }

  // ---- What a call needs ----

  Mask mask() {
    return values.mask;
  }

  Slopes slopes() {
    return values.slopes;
  }

  RelativePositions relative() {
    return values.relative;
  }

  Program score() {
    return values.score;
  }

  float[] sinks() {
    return values.sinks;
  }

  Hardening hardening() {
    return values.hardening;
  }

  /** The tables that mask and score read, each once. */
  List<Tensor> tables() {
    return tables;
  }

  /** Where the queries are among the keys; TOP_LEFT if no option depends on it. */
  Placement placement() {
    return placement != null ? placement : TOP_LEFT;
  }

  /** Whether the options are a few numbers, without arrays or tensors. */
  boolean isPlain() {
    return plain;
  }

  /** Writes the options that are numbers into a descriptor. */
  void describe(MemorySegment d, long dimQk, long keyLimit) {
    Mask mask = values.mask;
    float scale = Float.isNaN(values.scale) ? (float) (1 / Math.sqrt(dimQk)) : values.scale;
    int threads = values.threads == 0 ? A4j.threads() : values.threads;
    Descriptor.numbers(d, threads, scale, values.softCap);
    if (values.bf16Products) {
      Descriptor.bf16Products(d);
    }
    Descriptor.window(d, mask.windowLeft(), mask.windowRight(), mask.chunk(), keyLimit);
    if (values.hardening != null) {
      Descriptor.harden(d, values.hardening.code(), values.hardening.k());
    }
  }

  /**
   * Collects options, for the builders of both classes. Not safe for several threads.
   *
   * @param <B> the builder that extends this one
   */
  abstract static class Builder<B extends Builder<B>> {
    private final Values values = new Values();

    Builder() {}

    abstract B self();

    Options options() {
      return new Options(values.copy());
    }

    /**
     * Sets the mask, which hides keys from queries.
     *
     * @param mask replaces the current mask
     * @return this builder
     */
    public B mask(Mask mask) {
      values.mask = Objects.requireNonNull(mask, "mask");
      return self();
    }

    /**
     * Sets the factor of the products of queries and keys.
     *
     * @param scale finite; the default is {@code 1 / sqrt(dim)}
     * @return this builder
     * @throws IllegalArgumentException if the scale is NaN or, as a float, infinite
     */
    public B scale(double scale) {
      values.scale = Checks.finite("scale", scale);
      return self();
    }

    /**
     * Caps the scaled logits smoothly, before anything is added to them: {@code cap · tanh(x /
     * cap)}, as Gemma 2 and Grok do.
     *
     * @param cap positive and finite; the default is no cap
     * @return this builder
     * @throws IllegalArgumentException if the cap is not positive or, as a float, not finite
     */
    public B softCap(double cap) {
      if (!((float) cap > 0) || !Float.isFinite((float) cap)) {
        throw new IllegalArgumentException(
            "softCap must be a positive, finite float: softCap=" + cap);
      }
      values.softCap = (float) cap;
      return self();
    }

    /**
     * Adds a penalty for distance (Press et al., "Train Short, Test Long", 2022): {@code -slope ·
     * |p - j|} for a query at position p and key j.
     *
     * @param alignment where the positions of queries and keys coincide; must be the mask's if the
     *     mask depends on positions too
     * @param slopes one for each output head; {@link Alibi#slopes} returns the usual ones. Copied.
     * @return this builder
     * @throws IllegalArgumentException if a slope is not finite
     */
    public B alibi(Alignment alignment, float... slopes) {
      return alibi(Placement.of(alignment), shared(slopes));
    }

    /**
     * Adds a penalty for distance, with slopes of its own for each batch.
     *
     * @param alignment as in {@link #alibi(Alignment, float...)}
     * @param slopes for each batch, or packed sequence, one for each output head. Copied.
     * @return this builder
     * @throws IllegalArgumentException if a slope is not finite, or batches have different numbers
     *     of them
     */
    public B alibi(Alignment alignment, float[][] slopes) {
      return alibi(Placement.of(alignment), perBatch(slopes));
    }

    /**
     * Adds a penalty for distance: {@code -slope · |p - j|} for a query at position {@code p = i +
     * offsets[b]} and key j.
     *
     * @param offsets for each batch the position of its first query; must be the mask's if the mask
     *     depends on positions too. Copied.
     * @param slopes one for each output head; {@link Alibi#slopes} returns the usual ones. Copied.
     * @return this builder
     * @throws IllegalArgumentException if offsets is empty, or a slope is not finite
     */
    public B alibi(int[] offsets, float... slopes) {
      return alibi(Placement.of(offsets), shared(slopes));
    }

    /**
     * Adds a penalty for distance, with slopes of its own for each batch.
     *
     * @param offsets as in {@link #alibi(int[], float...)}. Copied.
     * @param slopes for each batch, or packed sequence, one for each output head. Copied.
     * @return this builder
     * @throws IllegalArgumentException if offsets is empty, a slope is not finite, or batches have
     *     different numbers of slopes
     */
    public B alibi(int[] offsets, float[][] slopes) {
      return alibi(Placement.of(offsets), perBatch(slopes));
    }

    private B alibi(Placement placement, Slopes slopes) {
      values.slopes = slopes;
      values.slopesPlacement = placement;
      return self();
    }

    private static Slopes shared(float[] slopes) {
      float[] own = Objects.requireNonNull(slopes, "slopes").clone();
      checkSlopes("slopes", own);
      return new Slopes(0, own);
    }

    private static Slopes perBatch(float[][] slopes) {
      int batches = Objects.requireNonNull(slopes, "slopes").length;
      Checks.positive("slopes.length", batches);
      int heads = slopes[0].length;
      float[] all =
          new float[Checks.arrayLength("slopes.length * slopes[0].length", (long) batches * heads)];
      for (int b = 0; b < batches; b++) {
        String name = "slopes[" + b + "]";
        Checks.equal(name + ".length", slopes[b].length, "slopes[0].length", heads);
        checkSlopes(name, slopes[b]);
        System.arraycopy(slopes[b], 0, all, b * heads, heads);
      }
      return new Slopes(batches, all);
    }

    private static void checkSlopes(String name, float[] slopes) {
      for (int h = 0; h < slopes.length; h++) {
        if (!Float.isFinite(slopes[h])) {
          throw new IllegalArgumentException(
              "%s[%d] must be finite: %s[%d]=%s".formatted(name, h, name, h, slopes[h]));
        }
      }
    }

    /** For {@link Attention}, which makes it public. */
    void relative(Placement placement, RelativePositions positions) {
      values.relative = Objects.requireNonNull(positions, "positions");
      values.relativePlacement = placement;
    }

    /** For {@link Attention}, which offers two kinds. */
    void hardening(Hardening hardening) {
      values.hardening = hardening;
    }

    /**
     * Replaces each score by the value of an expression, like FlexAttention's {@code score_mod};
     * {@link Score} has examples.
     *
     * @param score the new score; −∞ hides the key
     * @return this builder
     * @throws IllegalArgumentException if the expression has more than 64 operations, constants and
     *     inputs, needs more than 32 values at once, or uses positions under several alignments
     */
    public B score(FloatExpression score) {
      values.score = Program.of(Objects.requireNonNull(score, "score"));
      return self();
    }

    /**
     * Adds to each query's softmax a logit that belongs to no key, so that a query may attend to
     * nothing (attention sinks, as in gpt-oss). The weights then sum to less than 1, and the
     * logsumexp includes the sink.
     *
     * @param sinks one logit for each head, or in differential attention two for each pair, that of
     *     its first and that of its second map; −∞ for no sink. Copied.
     * @return this builder
     * @throws IllegalArgumentException if a sink is NaN or ∞
     */
    public B sinks(float... sinks) {
      float[] own = Objects.requireNonNull(sinks, "sinks").clone();
      for (int h = 0; h < own.length; h++) {
        if (!(own[h] < Float.POSITIVE_INFINITY)) {
          throw new IllegalArgumentException(
              "sinks[%d] must be a number below infinity: sinks[%d]=%s".formatted(h, h, own[h]));
        }
      }
      values.sinks = own;
      return self();
    }

    /**
     * Rounds queries, keys and values to bfloat16 before they are multiplied, and weights as well
     * if the processor multiplies bfloat16 ({@link A4j#isa()} is {@code avx512bf16}). Only such a
     * processor can be faster for it, if there are many queries. Softmax and sums stay float32.
     *
     * <p>Rounding changes a number by at most 2⁻⁸ of itself, so a logit by about 2⁻⁷ of its sum of
     * |q|·|k|; rounded weights change an output by at most 2⁻⁸ of its sum of w·|v|. Inputs are
     * rounded on every processor and for any number of queries. The default is to multiply F32 and
     * F16 as they are, and also F32 queries with BF16 keys.
     *
     * @return this builder
     */
    public B bf16Products() {
      values.bf16Products = true;
      return self();
    }

    /**
     * Limits the number of threads that one call uses.
     *
     * @param threads at least 1; the default is {@link A4j#threads()} at the time of the call
     * @return this builder
     * @throws IllegalArgumentException if threads is less than 1
     */
    public B threads(int threads) {
      Checks.positive("threads", threads);
      values.threads = threads;
      return self();
    }
  }
}
