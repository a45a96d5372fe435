package io.github.attention4j.langchain4j;

import dev.langchain4j.model.embedding.EmbeddingModel;
import dev.langchain4j.spi.model.embedding.EmbeddingModelFactory;
import java.nio.file.Path;

/**
 * The factory that LangChain4j finds when no embedding model is configured, for example in its
 * {@code EmbeddingStoreIngestor}. It opens the model at the path in the system property {@value
 * #PROPERTY}.
 */
public final class Attention4jEmbeddingModelFactory implements EmbeddingModelFactory {
  /** The system property that holds the path. */
  public static final String PROPERTY = "attention4j.embedding.model";

  /** Creates a factory, for {@link java.util.ServiceLoader}. */
  public Attention4jEmbeddingModelFactory() {}

  /**
   * Opens the model.
   *
   * @return a new model
   * @throws IllegalStateException if the property is not set
   */
  @Override
  public EmbeddingModel create() {
    String path = System.getProperty(PROPERTY, "");
    if (path.isEmpty()) {
      throw new IllegalStateException(
          "attention4j does not know which embedding model to open: set -D"
              + PROPERTY
              + "=PATH,"
              + " or give LangChain4j the model of Attention4jEmbeddingModel.builder()");
    }
    return Attention4jEmbeddingModel.builder().modelPath(Path.of(path)).build();
  }
}
