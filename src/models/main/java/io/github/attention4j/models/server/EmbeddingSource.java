package io.github.attention4j.models.server;

import io.github.attention4j.models.TextEmbedder;
import java.util.List;
import java.util.Objects;
import java.util.concurrent.CancellationException;
import java.util.function.BooleanSupplier;

/**
 * Computes the answers of {@code /v1/embeddings}.
 *
 * <pre>{@code
 * TextEmbedder embedder = TextEmbedder.builder(directory).refuseTruncation().open();
 * OpenAiServer.builder().embeddings("minilm", EmbeddingSource.of(embedder)).start();
 * }</pre>
 *
 * <p>Must be safe for any number of threads.
 */
@FunctionalInterface
public interface EmbeddingSource {
  /**
   * What a client asks for.
   *
   * @param texts at least one, unless there are {@code tokens} instead
   * @param tokens texts as tokens of the model, special ones included; empty if there are {@code
   *     texts}
   * @param dimensions how many elements of each vector are wanted; 0 for all
   * @param cancelled true once nobody waits for the vectors, because the client is gone, the time
   *     is up or the server is being closed. To be asked often, such as once a second.
   */
  record Request(
      List<String> texts, List<int[]> tokens, int dimensions, BooleanSupplier cancelled) {
    /** Checks that nothing is null. */
    public Request {
      Objects.requireNonNull(texts, "texts");
      Objects.requireNonNull(tokens, "tokens");
      Objects.requireNonNull(cancelled, "cancelled");
    }
  }

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
   * @param request the texts
   * @return their vectors
   * @throws IllegalArgumentException if a text cannot be embedded, or the request asks for what the
   *     model cannot do; clients get the message with status 400
   * @throws CancellationException if the request was cancelled
   */
  Embeddings embed(Request request);

  /**
   * Embeds with a model, with its default prompt if it has one.
   *
   * @param embedder the model, which must stay open. It decides what happens to texts that are too
   *     long: clients do not see that a text was truncated, so an embedder with {@link
   *     TextEmbedder.Builder#refuseTruncation} is usually the right one.
   * @return a source that checks for cancellation after each few thousand characters or tokens
   */
  static EmbeddingSource of(TextEmbedder embedder) {
    return new EmbedderSource(embedder);
  }
}
