package io.github.attention4j.models;

import java.util.Objects;
import java.util.function.DoubleConsumer;

/**
 * The options for opening a model.
 *
 * <pre>{@code
 * CausalLm model = CausalLm.open(path, LoadOptions.builder().weights(LoadOptions.Weights.INT8).build());
 * }</pre>
 *
 * <p>Immutable; safe for any number of threads if its listener is.
 */
public final class LoadOptions {
  /** How matrices are stored in memory. Norms and biases are always F32. */
  public enum Weights {
    /**
     * As in the file: F32, BF16 and F16 are mapped; blocks of GGUF files become integers of 8, 6 or
     * 4 bits with the file's own scales.
     */
    AS_STORED,

    /** Widened to F32: more memory, but products are exact up to float arithmetic. */
    FLOAT32,

    /** Quantised to 8 bits with a scale per 32 weights, if rows are multiples of 32. */
    INT8,

    /** Quantised to 4 bits with a scale per 32 weights, if rows are multiples of 32. */
    INT4
  }

  private static final LoadOptions DEFAULTS = builder().build();

  private final Weights weights;
  private final boolean bf16Products;
  private final DoubleConsumer progress;

  private LoadOptions(Builder builder) {
    weights = builder.weights;
    bf16Products = builder.bf16Products;
    progress = builder.progress;
  }

  /**
   * Returns the options of {@link CausalLm#open(java.nio.file.Path)}.
   *
   * @return weights as they are stored, no rounding in products, no progress listener
   */
  public static LoadOptions defaults() {
    return DEFAULTS;
  }

  /**
   * Starts from {@link #defaults}.
   *
   * @return a builder
   */
  public static Builder builder() {
    return new Builder();
  }

  Weights weights() {
    return weights;
  }

  boolean bf16Products() {
    return bf16Products;
  }

  DoubleConsumer progress() {
    return progress;
  }

  /** Collects the options. Not safe for use by several threads. */
  public static final class Builder {
    private Weights weights = Weights.AS_STORED;
    private boolean bf16Products;
    private DoubleConsumer progress = share -> {};

    private Builder() {}

    /**
     * Chooses how matrices are stored.
     *
     * @param weights the kind
     * @return this builder
     */
    public Builder weights(Weights weights) {
      this.weights = Objects.requireNonNull(weights, "weights");
      return this;
    }

    /**
     * Lets products with many rows, those of a prompt, round their operands to bfloat16, with sums
     * in float32: up to twice as fast if the processor can multiply bfloat16, with errors of about
     * 0.4 % of a term. Single tokens and quantised weights are not affected.
     *
     * @return this builder
     */
    public Builder bf16Products() {
      this.bf16Products = true;
      return this;
    }

    /**
     * Reports the progress of opening.
     *
     * @param progress is given the share that is done, up to 1, one call at a time, from any
     *     thread; an exception from it ends the opening
     * @return this builder
     */
    public Builder progress(DoubleConsumer progress) {
      this.progress = Objects.requireNonNull(progress, "progress");
      return this;
    }

    /**
     * Makes the options.
     *
     * @return immutable options as chosen so far
     */
    public LoadOptions build() {
      return new LoadOptions(this);
    }
  }
}
