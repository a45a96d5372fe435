package io.github.attention4j.langchain4j;

import dev.langchain4j.data.embedding.Embedding;
import dev.langchain4j.model.embedding.EmbeddingModel;
import dev.langchain4j.model.embedding.request.EmbeddingInput;
import dev.langchain4j.model.embedding.request.EmbeddingInputType;
import dev.langchain4j.model.embedding.request.EmbeddingParameter;
import dev.langchain4j.model.embedding.request.EmbeddingRequest;
import dev.langchain4j.model.embedding.request.EmbeddingRequestParameters;
import dev.langchain4j.model.embedding.response.EmbeddingResponse;
import dev.langchain4j.model.embedding.response.EmbeddingResponseMetadata;
import dev.langchain4j.model.output.TokenUsage;
import io.github.attention4j.models.TextEmbedder;
import java.io.IOException;
import java.io.UncheckedIOException;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import java.util.Objects;
import java.util.Set;

/**
 * Embeds texts with an encoder in this process.
 *
 * <pre>{@code
 * EmbeddingModel model =
 *     Attention4jEmbeddingModel.builder().modelPath(Path.of("all-MiniLM-L6-v2")).build();
 * }</pre>
 *
 * <p>A list of texts is one packed computation, so prefer {@code embedAll} to many calls of {@code
 * embed}. If the model has prompts for queries and documents, the request's {@link
 * EmbeddingInputType} chooses between them (LangChain4j's ingestor and retriever have an option
 * {@code inputType}); a request without a type gets the model's default prompt, usually none.
 */
public final class Attention4jEmbeddingModel implements EmbeddingModel, AutoCloseable {
  private final TextEmbedder embedder;
  private final boolean owned;
  private final String modelName;

  private Attention4jEmbeddingModel(TextEmbedder embedder, boolean owned, String modelName) {
    this.embedder = embedder;
    this.owned = owned;
    this.modelName = modelName;
  }

  /**
   * Starts with the settings of the model's files.
   *
   * @return a builder
   */
  public static Builder builder() {
    return new Builder();
  }

  /**
   * Returns the embedder.
   *
   * @return the embedder, open as long as this model or the caller's
   */
  public TextEmbedder embedder() {
    return embedder;
  }

  @Override
  public EmbeddingResponse doEmbed(EmbeddingRequest request) {
    List<String> texts = request.inputs().stream().map(EmbeddingInput::text).toList();
    List<Embedding> embeddings = new ArrayList<>(texts.size());
    int tokens = 0;
    for (TextEmbedder.Result result : embed(texts, request.inputType())) {
      embeddings.add(Embedding.from(result.vector()));
      tokens += result.tokens();
    }
    return EmbeddingResponse.builder()
        .embeddings(embeddings)
        .metadata(
            EmbeddingResponseMetadata.builder()
                .modelName(modelName)
                .tokenUsage(new TokenUsage(tokens))
                .build())
        .build();
  }

  private List<TextEmbedder.Result> embed(List<String> texts, EmbeddingInputType type) {
    if (type == EmbeddingInputType.DOCUMENT) {
      return embedder.embedDocuments(texts);
    }
    if (type == EmbeddingInputType.QUERY) {
      return embedder.embedQueries(texts);
    }
    return embedder.embedAll(texts);
  }

  @Override
  public Set<EmbeddingParameter<?>> supportedParameters() {
    return Set.of(EmbeddingRequestParameters.INPUT_TYPE);
  }

  @Override
  public int dimension() {
    return embedder.dimension();
  }

  @Override
  public String modelName() {
    return modelName;
  }

  /** Releases the model if the builder opened it; closing again is a no-op. */
  @Override
  public void close() {
    if (owned) {
      embedder.close();
    }
  }

  /** Collects the options of a model. Not safe for use by several threads. */
  public static final class Builder {
    private Path modelPath;
    private TextEmbedder embedder;
    private String modelName;
    private Integer maxTokens;
    private Integer dimensions;
    private boolean refuseTruncation;

    private Builder() {}

    /**
     * Opens the model at a path; see {@link TextEmbedder#open}.
     *
     * @param modelPath a path for {@code TextEmbedder}, such as a directory from Hugging Face
     * @return this builder
     */
    public Builder modelPath(Path modelPath) {
      this.modelPath = Objects.requireNonNull(modelPath, "modelPath");
      return this;
    }

    /**
     * Uses an open embedder with all its options.
     *
     * @param embedder the embedder, which the model does not close
     * @return this builder
     */
    public Builder embedder(TextEmbedder embedder) {
      this.embedder = Objects.requireNonNull(embedder, "embedder");
      return this;
    }

    /**
     * Sets the model's name in responses and listeners.
     *
     * @param modelName any name; the file name of the path by default
     * @return this builder
     */
    public Builder modelName(String modelName) {
      this.modelName = Objects.requireNonNull(modelName, "modelName");
      return this;
    }

    /**
     * Sets how many tokens of a text are read, instead of the model's files.
     *
     * @param maxTokens see {@link TextEmbedder.Builder#maxTokens}
     * @return this builder
     */
    public Builder maxTokens(int maxTokens) {
      this.maxTokens = maxTokens;
      return this;
    }

    /**
     * Keeps only the first elements of each vector.
     *
     * @param dimensions see {@link TextEmbedder.Builder#dimensions}
     * @return this builder
     */
    public Builder dimensions(int dimensions) {
      this.dimensions = dimensions;
      return this;
    }

    /**
     * Refuses texts that are too long instead of truncating them.
     *
     * @return this builder
     */
    public Builder refuseTruncation() {
      refuseTruncation = true;
      return this;
    }

    /**
     * Opens the model.
     *
     * @return the model, to be closed
     * @throws IllegalArgumentException if not exactly one of modelPath and embedder is set, if an
     *     option is set that an open embedder cannot change, or if the model is not supported
     * @throws UncheckedIOException if a file cannot be read
     */
    public Attention4jEmbeddingModel build() {
      if ((modelPath == null) == (embedder == null)) {
        throw new IllegalArgumentException(
            "exactly one of modelPath and embedder must be set: modelPath=%s, embedder=%s"
                .formatted(modelPath, embedder));
      }
      if (embedder != null) {
        if (maxTokens != null || dimensions != null || refuseTruncation) {
          throw new IllegalArgumentException(
              "maxTokens, dimensions and refuseTruncation cannot change an embedder that is open");
        }
        String name = modelName == null ? embedder.encoder().family() : modelName;
        return new Attention4jEmbeddingModel(embedder, false, name);
      }
      try {
        TextEmbedder.Builder builder = TextEmbedder.builder(modelPath);
        if (maxTokens != null) {
          builder.maxTokens(maxTokens);
        }
        if (dimensions != null) {
          builder.dimensions(dimensions);
        }
        if (refuseTruncation) {
          builder.refuseTruncation();
        }
        String name = modelName == null ? Names.of(modelPath) : modelName;
        return new Attention4jEmbeddingModel(builder.open(), true, name);
      } catch (IOException e) {
        throw new UncheckedIOException(e);
      }
    }
  }
}
