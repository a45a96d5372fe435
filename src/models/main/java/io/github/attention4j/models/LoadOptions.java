package io.github.attention4j.models;

import java.util.Objects;
import java.util.function.DoubleConsumer;

/**
 * How a model is opened.
 *
 * <pre>{@code
 * CausalLm model = CausalLm.open(path, LoadOptions.builder().weights(LoadOptions.Weights.INT8).build());
 * }</pre>
 *
 * <p>Immutable and safe for any number of threads if its listener is.
 */
public final class LoadOptions {
  /** What matrices are kept as. Norms and biases are always F32. */
  public enum Weights {
    /**
     * As the file stores them: F32, BF16 and F16 where they are mapped, blocks of GGUF files as
     * integers of 8, 6 or 4 bits with the file's own scales.
     */
    AS_STORED,

    /** Widened to F32, which costs the memory but keeps products exact to float arithmetic. */
    FLOAT32,

    /** Quantised to 8 bits with a scale for 32 weights, wherever rows are multiples of 32. */
    INT8,

    /** Quantised to 4 bits with a scale for 32 weights, wherever rows are multiples of 32. */
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
   * @return weights as they are stored, nothing rounded in products, nobody told of the progress
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

  /** Collects the options. Not safe for several threads. */
  public static final class Builder {
    private Weights weights = Weights.AS_STORED;
    private boolean bf16Products;
    private DoubleConsumer progress = share -> {};

    private Builder() {}

    /**
     * Chooses what matrices are kept as.
     *
     * @param weights the kind
     * @return this builder
     */
    public Builder weights(Weights weights) {
      this.weights = Objects.requireNonNull(weights, "weights");
      return this;
    }

    /**
     * Lets products of many rows, those of a prompt, round their numbers to bfloat16, with sums in
     * float32: up to twice as fast where the processor multiplies such numbers, with errors of
     * about 0.4 % of a term. Single tokens are computed as before, and so are quantised weights.
     *
     * @return this builder
     */
    public Builder bf16Products() {
      this.bf16Products = true;
      return this;
    }

    /**
     * Lets somebody follow the opening.
     *
     * @param progress is given the share that is done, rising to 1, one call at a time, by any
     *     thread; what it throws ends the opening
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
