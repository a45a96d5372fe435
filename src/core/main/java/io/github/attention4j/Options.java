package io.github.attention4j;

import io.github.attention4j.internal.Checks;
import java.util.Objects;

/**
 * What {@link Attention} and {@link Differential} have in common: everything that is chosen before
 * a call and does not depend on its tensors.
 *
 * @param mask what hides keys
 * @param scale NaN where it follows from the head size
 * @param softCap 0 where there is none
 * @param slopes ALiBi's, null where there is none; never modified
 * @param slopesPlacement where ALiBi says that queries stand; null without slopes
 * @param relative null where there are no embeddings of distances
 * @param relativePlacement where those say that queries stand; null without them
 * @param score null where scores are left as they are
 * @param sinks null where there are none; never modified
 * @param hardening what becomes of the weights before they meet the values; null where they stay
 * @param threads 0 where it is the process's number at the time of the call
 */
record Options(
    Mask mask,
    float scale,
    float softCap,
    float[] slopes,
    Placement slopesPlacement,
    RelativePositions relative,
    Placement relativePlacement,
    Program score,
    float[] sinks,
    Hardening hardening,
    int threads) {
  private static final Placement ANYWHERE = Placement.of(Alignment.TOP_LEFT);

  Options {
    Placement placement = Placement.one("mask and ALiBi", mask.placement(), slopesPlacement);
    placement =
        Placement.one("mask, ALiBi and score", placement, score == null ? null : score.placement);
    Placement.one("mask, ALiBi, score and relative positions", placement, relativePlacement);
    Program.tables(mask.program(), score);
  }

  Options withMask(Mask other) {
    Objects.requireNonNull(other, "mask");
    return new Options(
        other,
        scale,
        softCap,
        slopes,
        slopesPlacement,
        relative,
        relativePlacement,
        score,
        sinks,
        hardening,
        threads);
  }

  Options withoutSinks() {
    return new Options(
        mask,
        scale,
        softCap,
        slopes,
        slopesPlacement,
        relative,
        relativePlacement,
        score,
        null,
        hardening,
        threads);
  }

  /** The same with other places of the queries, for whoever asks for any. */
  Options withPlacement(Placement placement) {
    return new Options(
        mask.withPlacement(placement),
        scale,
        softCap,
        slopes,
        slopes == null ? null : placement,
        relative,
        relative == null ? null : placement,
        score,
        sinks,
        hardening,
        threads);
  }

  /** Where the queries stand; null where nothing asks for it. */
  Placement placementOrNull() {
    Placement placement = mask.placement() != null ? mask.placement() : slopesPlacement;
    placement = placement != null ? placement : relativePlacement;
    return placement != null || score == null ? placement : score.placement;
  }

  /** Where the queries stand, TOP_LEFT where nothing asks for it. */
  Placement placement() {
    Placement placement = placementOrNull();
    return placement != null ? placement : ANYWHERE;
  }

  /** Whether a few numbers say it all, without arrays and tensors. */
  boolean isPlain() {
    return mask.isPlain()
        && slopes == null
        && relative == null
        && score == null
        && sinks == null
        && hardening == null;
  }

  float scaleFor(long dim) {
    return Float.isNaN(scale) ? (float) (1 / Math.sqrt(dim)) : scale;
  }

  int threadsNow() {
    return threads == 0 ? A4j.threads() : threads;
  }

  /**
   * Collects them, for the builders of both classes. Not safe for several threads.
   *
   * @param <B> the builder that extends this one
   */
  abstract static class Builder<B extends Builder<B>> {
    private Mask mask = Mask.none();
    private float scale = Float.NaN;
    private float softCap;
    private float[] slopes;
    private Placement slopesPlacement;
    private RelativePositions relative;
    private Placement relativePlacement;
    private Program score;
    private float[] sinks;
    private int threads;

    Builder() {}

    abstract B self();

    Options options() {
      return options(null);
    }

    Options options(Hardening hardening) {
      return new Options(
          mask,
          scale,
          softCap,
          slopes,
          slopesPlacement,
          relative,
          relativePlacement,
          score,
          sinks,
          hardening,
          threads);
    }

    /**
     * Chooses what hides keys from queries.
     *
     * @param mask replaces the one chosen before
     * @return this builder
     */
    public B mask(Mask mask) {
      this.mask = Objects.requireNonNull(mask, "mask");
      return self();
    }

    /**
     * Chooses what multiplies the products of queries and keys.
     *
     * @param scale finite; {@code 1 / sqrt(dim)} where it is not chosen
     * @return this builder
     * @throws IllegalArgumentException if the scale is NaN or, as a float, infinite
     */
    public B scale(double scale) {
      if (!Float.isFinite((float) scale)) {
        throw new IllegalArgumentException("scale must be a finite float: scale=" + scale);
      }
      this.scale = (float) scale;
      return self();
    }

    /**
     * Bounds the scaled logits softly, before anything is added to them: {@code cap · tanh(x /
     * cap)}, as Gemma 2 and Grok do.
     *
     * @param cap positive and finite; without it there is no bound
     * @return this builder
     * @throws IllegalArgumentException if the cap is not positive or, as a float, not finite
     */
    public B softCap(double cap) {
      if (!((float) cap > 0) || !Float.isFinite((float) cap)) {
        throw new IllegalArgumentException(
            "softCap must be a positive, finite float: softCap=" + cap);
      }
      this.softCap = (float) cap;
      return self();
    }

    /**
     * Adds a penalty for distance (Press et al., "Train Short, Test Long", 2022): {@code -slope ·
     * |p - j|} for a query at position p and key j.
     *
     * @param alignment where the positions of queries and keys coincide; the mask's, where that
     *     asks for positions too
     * @param slopes for each output head, {@link Alibi#slopes} for the usual ones. Copied.
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
     * @param offsets for each batch the number of the key at which its first query stands; the
     *     mask's, where that asks for positions too. Copied.
     * @param slopes for each output head, {@link Alibi#slopes} for the usual ones. Copied.
     * @return this builder
     * @throws IllegalArgumentException if there are no offsets, or a slope is not finite
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
      this.slopes = own;
      this.slopesPlacement = placement;
      return self();
    }

    /** For the builder that has it among its choices. */
    void relative(Placement placement, RelativePositions positions) {
      this.relative = Objects.requireNonNull(positions, "positions");
      this.relativePlacement = placement;
    }

    /**
     * Computes each score anew, in the manner of FlexAttention's {@code score_mod}; {@link Score}
     * has examples.
     *
     * @param score the new score; −∞ hides the key
     * @return this builder
     * @throws IllegalArgumentException if the expression holds more than 64 operations, constants
     *     and inputs, needs more than 32 values at once, or asks for positions under several
     *     alignments
     */
    public B score(FloatExpression score) {
      this.score = Program.of(Objects.requireNonNull(score, "score"));
      return self();
    }

    /**
     * Adds to each query's softmax a logit that belongs to no key, so that a query may attend to
     * nothing (attention sinks, as in gpt-oss): weights sum to less than 1, and the logsumexp
     * includes it.
     *
     * @param sinks for each head its logit, in differential attention for each pair that of its
     *     first and its second map; −∞ where there is none. Copied.
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
      this.sinks = own;
      return self();
    }

    /**
     * Chooses the most threads that one call may use.
     *
     * @param threads at least 1; {@link A4j#threads()} at the time of the call where it is not
     *     chosen
     * @return this builder
     * @throws IllegalArgumentException if threads is less than 1
     */
    public B threads(int threads) {
      Checks.positive("threads", threads);
      this.threads = threads;
      return self();
    }
  }
}
