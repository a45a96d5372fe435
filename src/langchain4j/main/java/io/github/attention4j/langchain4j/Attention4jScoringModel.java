package io.github.attention4j.langchain4j;

import dev.langchain4j.data.segment.TextSegment;
import dev.langchain4j.model.output.Response;
import dev.langchain4j.model.output.TokenUsage;
import dev.langchain4j.model.scoring.ScoringModel;
import io.github.attention4j.models.Reranker;
import java.io.IOException;
import java.io.UncheckedIOException;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import java.util.Objects;

/**
 * Scores texts against a query with a cross encoder in this process.
 *
 * <pre>{@code
 * ScoringModel model =
 *     Attention4jScoringModel.builder().modelPath(Path.of("ms-marco-MiniLM-L6-v2")).build();
 * ContentAggregator aggregator = ReRankingContentAggregator.builder().scoringModel(model).build();
 * }</pre>
 */
public final class Attention4jScoringModel implements ScoringModel, AutoCloseable {
  private final Reranker reranker;
  private final boolean owned;

  private Attention4jScoringModel(Reranker reranker, boolean owned) {
    this.reranker = reranker;
    this.owned = owned;
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
   * Returns the reranker.
   *
   * @return the reranker, open as long as this model or the caller's
   */
  public Reranker reranker() {
    return reranker;
  }

  @Override
  public Response<List<Double>> scoreAll(List<TextSegment> segments, String query) {
    List<Double> scores = new ArrayList<>(segments.size());
    int tokens = 0;
    List<String> texts = segments.stream().map(TextSegment::text).toList();
    for (Reranker.Result result : reranker.rank(query, texts)) {
      scores.add((double) result.score());
      tokens += result.tokens();
    }
    return Response.from(scores, new TokenUsage(tokens));
  }

  /** Releases the model if the builder opened it; closing again is a no-op. */
  @Override
  public void close() {
    if (owned) {
      reranker.close();
    }
  }

  /** Collects the options of a model. Not safe for use by several threads. */
  public static final class Builder {
    private Path modelPath;
    private Reranker reranker;
    private boolean refuseTruncation;

    private Builder() {}

    /**
     * Opens the model at a path; see {@link Reranker#open(Path)}.
     *
     * @param modelPath a path for {@code Reranker}, such as a directory from Hugging Face
     * @return this builder
     */
    public Builder modelPath(Path modelPath) {
      this.modelPath = Objects.requireNonNull(modelPath, "modelPath");
      return this;
    }

    /**
     * Uses an open reranker.
     *
     * @param reranker the reranker, which the model does not close
     * @return this builder
     */
    public Builder reranker(Reranker reranker) {
      this.reranker = Objects.requireNonNull(reranker, "reranker");
      return this;
    }

    /**
     * Refuses a query and text that are too long together instead of truncating them.
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
     * @throws IllegalArgumentException if not exactly one of modelPath and reranker is set, if
     *     refuseTruncation is set for an open reranker, or if the model is not supported
     * @throws UncheckedIOException if a file cannot be read
     */
    public Attention4jScoringModel build() {
      if ((modelPath == null) == (reranker == null)) {
        throw new IllegalArgumentException(
            "exactly one of modelPath and reranker must be set: modelPath=%s, reranker=%s"
                .formatted(modelPath, reranker));
      }
      if (reranker != null) {
        if (refuseTruncation) {
          throw new IllegalArgumentException(
              "refuseTruncation cannot change a reranker that is open");
        }
        return new Attention4jScoringModel(reranker, false);
      }
      try {
        Reranker.Builder builder = Reranker.builder(modelPath);
        if (refuseTruncation) {
          builder.refuseTruncation();
        }
        return new Attention4jScoringModel(builder.open(), true);
      } catch (IOException e) {
        throw new UncheckedIOException(e);
      }
    }
  }
}
