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
    float[] slopes;

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

    /** 0 for {@link A4j#threads()} at the time of the call. */
    int threads;
  }

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
  Options over(KvCache cache) {
    requireCachePlacement();
    return withMask(values.mask.and(cache.mask()));
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

  float[] slopes() {
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
     * @param mask replaces the present mask
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
      return alibi(Placement.of(alignment), slopes);
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
      return alibi(Placement.of(offsets), slopes);
    }

    private B alibi(Placement placement, float[] slopes) {
      float[] own = Objects.requireNonNull(slopes, "slopes").clone();
      for (int h = 0; h < own.length; h++) {
        if (!Float.isFinite(own[h])) {
          throw new IllegalArgumentException(
              "slopes[%d] must be finite: slopes[%d]=%s".formatted(h, h, own[h]));
        }
      }
      values.slopes = own;
      values.slopesPlacement = placement;
      return self();
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
