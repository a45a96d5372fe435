package io.github.attention4j.models.server;

import java.util.List;

/** Computes the answers of {@code /v1/embeddings}. Must be safe for any number of threads. */
@FunctionalInterface
public interface EmbeddingSource {
  /**
   * The vectors of some texts.
   *
   * @param vectors one for each text, in order
   * @param tokens how many tokens were read
   */
  record Embeddings(List<float[]> vectors, long tokens) {}

  /**
   * Embeds texts.
   *
   * @param texts at least one
   * @return their vectors
   * @throws IllegalArgumentException if a text cannot be embedded
   */
  Embeddings embed(List<String> texts);
}
