package io.github.attention4j.models;

import io.github.attention4j.internal.Checks;
import java.util.Objects;
import java.util.Set;
import java.util.function.BooleanSupplier;

/**
 * The options for continuing a text.
 *
 * <pre>{@code
 * Generation generation =
 *     Generation.builder().maxNewTokens(200).sampler(sampler).stopTokens(Set.of(13)).build();
 * }</pre>
 *
 * <p>Immutable; safe for any number of threads if its processor and drafter are.
 */
public final class Generation {
  private final int maxNewTokens;
  private final Sampler sampler;
  private final Set<Integer> stopTokens;
  private final boolean ignoreEnds;
  private final LogitsProcessor processor;
  private final int logProbabilities;
  private final Drafter drafter;
  private final BooleanSupplier cancelled;

  private Generation(Builder builder) {
    maxNewTokens = builder.maxNewTokens;
    sampler = builder.sampler;
    stopTokens = builder.stopTokens;
    ignoreEnds = builder.ignoreEnds;
    processor = builder.processor;
    logProbabilities = builder.logProbabilities;
    drafter = builder.drafter;
    cancelled = builder.cancelled;
  }

  /**
   * Starts with at most 256 new tokens, greedy sampling, and the model's own end tokens.
   *
   * @return a builder
   */
  public static Builder builder() {
    return new Builder();
  }

  int maxNewTokens() {
    return maxNewTokens;
  }

  Sampler sampler() {
    return sampler;
  }

  boolean ends(int token, Set<Integer> modelEnds) {
    return stopTokens.contains(token) || (!ignoreEnds && modelEnds.contains(token));
  }

  /** Null if there is none. */
  LogitsProcessor processor() {
    return processor;
  }

  /** Null if there is none. */
  Drafter drafter() {
    return drafter;
  }

  boolean isCancelled() {
    return cancelled.getAsBoolean();
  }

  /** -1 if none are wanted. */
  int logProbabilities() {
    return logProbabilities;
  }

  /** Collects the options of a {@link Generation}. Not safe for several threads. */
  public static final class Builder {
    private int maxNewTokens = 256;
    private Sampler sampler = Sampler.greedy();
    private Set<Integer> stopTokens = Set.of();
    private boolean ignoreEnds;
    private LogitsProcessor processor;
    private int logProbabilities = -1;
    private Drafter drafter;
    private BooleanSupplier cancelled = () -> false;

    private Builder() {}

    /**
     * Limits the length.
     *
     * @param tokens the most tokens to add, not negative
     * @return this builder
     * @throws IllegalArgumentException if tokens is negative
     */
    public Builder maxNewTokens(int tokens) {
      if (tokens < 0) {
        throw new IllegalArgumentException(
            "maxNewTokens must not be negative: maxNewTokens=" + tokens);
      }
      this.maxNewTokens = tokens;
      return this;
    }

    /**
     * Sets how tokens are chosen.
     *
     * @param sampler the sampler
     * @return this builder
     */
    public Builder sampler(Sampler sampler) {
      this.sampler = Objects.requireNonNull(sampler, "sampler");
      return this;
    }

    /**
     * Adds tokens that end the text.
     *
     * @param tokens in addition to the model's own. Copied.
     * @return this builder
     */
    public Builder stopTokens(Set<Integer> tokens) {
      this.stopTokens = Set.copyOf(tokens);
      return this;
    }

    /**
     * Does not stop at tokens that end a text according to the model's files.
     *
     * @return this builder
     */
    public Builder ignoreEnds() {
      this.ignoreEnds = true;
      return this;
    }

    /**
     * Lets the caller influence each token.
     *
     * @param processor changes the logits before penalties, biases and sampling
     * @return this builder
     */
    public Builder processor(LogitsProcessor processor) {
      this.processor = Objects.requireNonNull(processor, "processor");
      return this;
    }

    /**
     * Requests log-probabilities.
     *
     * @param likeliest how many of the likeliest tokens to list in addition to the chosen one, from
     *     0 to {@link GeneratedToken#MOST_ALTERNATIVES}
     * @return this builder
     * @throws IllegalArgumentException if the number is out of range
     */
    public Builder logProbabilities(int likeliest) {
      Checks.inRange("logProbabilities", likeliest, 0, GeneratedToken.MOST_ALTERNATIVES);
      this.logProbabilities = likeliest;
      return this;
    }

    /**
     * Lets something fast propose tokens, which the model checks several at a time (Leviathan et
     * al., "Fast Inference from Transformers via Speculative Decoding", 2023). A proposed token is
     * accepted only if the model itself chooses it, with the same random draw, so the text is the
     * same as without proposals.
     *
     * @param drafter makes the proposals, for one text at a time
     * @return this builder
     */
    public Builder drafter(Drafter drafter) {
      this.drafter = Objects.requireNonNull(drafter, "drafter");
      return this;
    }

    /**
     * Makes the generation cancellable. This is checked before each part of the prompt and each
     * token.
     *
     * @param cancelled returns true to end the generation
     * @return this builder
     */
    public Builder cancelled(BooleanSupplier cancelled) {
      this.cancelled = Objects.requireNonNull(cancelled, "cancelled");
      return this;
    }

    /**
     * Builds the options.
     *
     * @return immutable options
     */
    public Generation build() {
      return new Generation(this);
    }
  }
}
