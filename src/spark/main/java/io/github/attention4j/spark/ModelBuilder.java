package io.github.attention4j.spark;

import io.github.attention4j.models.WeightStorage;
import java.util.Objects;

/**
 * The options that {@link TextEmbedding} and {@link TextScoring} share. Not safe for use by several
 * threads.
 *
 * @param <B> the builder itself
 */
public abstract class ModelBuilder<B extends ModelBuilder<B>> {
  final String path;
  String outputColumn;
  boolean refuses;
  WeightStorage storage = WeightStorage.FLOAT32;

  ModelBuilder(String path, String outputColumn) {
    this.path = ModelSettings.requirePath(Objects.requireNonNull(path, "path"));
    this.outputColumn = outputColumn;
  }

  @SuppressWarnings("unchecked") // B is the class that extends this one.
  private B self() {
    return (B) this;
  }

  /**
   * Sets the name of the new column.
   *
   * @param name a new column; by default {@code vector} for vectors and {@code score} for scores
   * @return this builder
   */
  public B outputColumn(String name) {
    outputColumn = Objects.requireNonNull(name, "name");
    return self();
  }

  /**
   * Refuses texts that are too long instead of truncating them. One such text makes the job fail.
   *
   * @return this builder
   */
  public B refuseTruncation() {
    refuses = true;
    return self();
  }

  /**
   * Sets how executors store the model's matrices in memory.
   *
   * @param storage {@link WeightStorage#FLOAT32} by default
   * @return this builder
   */
  public B storage(WeightStorage storage) {
    this.storage = Objects.requireNonNull(storage, "storage");
    return self();
  }
}
