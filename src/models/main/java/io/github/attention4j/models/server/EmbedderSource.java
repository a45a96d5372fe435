package io.github.attention4j.models.server;

import io.github.attention4j.models.TextEmbedder;
import io.github.attention4j.models.TextTooLongException;
import java.util.ArrayList;
import java.util.List;
import java.util.Objects;
import java.util.concurrent.CancellationException;
import java.util.function.ToIntFunction;

/** Embeds with a {@link TextEmbedder}, a slice of the texts at a time. */
final class EmbedderSource implements EmbeddingSource {
  /** Between slices of about this many characters, cancellation is checked. */
  private static final int SLICE_CHARS = 8192;

  /** Likewise of texts that are given as tokens. */
  private static final int SLICE_TOKENS = 2048;

  private final TextEmbedder embedder;

  EmbedderSource(TextEmbedder embedder) {
    this.embedder = Objects.requireNonNull(embedder, "embedder");
  }

  @Override
  public Embeddings embed(Request request) {
    int dimensions = request.dimensions() == 0 ? embedder.dimension() : request.dimensions();
    if (dimensions > embedder.dimension()) {
      throw new IllegalArgumentException(
          "dimensions must not exceed what the model gives: dimensions=%d, model=%d"
              .formatted(dimensions, embedder.dimension()));
    }
    List<float[]> vectors = new ArrayList<>();
    long tokens = 0;
    for (List<String> slice : slices(request.texts(), String::length, SLICE_CHARS)) {
      requireWanted(request, vectors.size());
      for (TextEmbedder.Result result : embedAll(slice, vectors.size(), request.texts().size())) {
        vectors.add(embedder.shortened(result.vector(), dimensions));
        tokens += result.tokens();
      }
    }
    for (int[] text : request.tokens()) {
      requireFit(text);
      tokens += text.length;
    }
    for (List<int[]> slice : slices(request.tokens(), text -> text.length, SLICE_TOKENS)) {
      requireWanted(request, vectors.size());
      for (float[] vector : embedder.embedTokens(slice)) {
        vectors.add(embedder.shortened(vector, dimensions));
      }
    }
    return new Embeddings(vectors, tokens);
  }

  private List<TextEmbedder.Result> embedAll(List<String> slice, int first, int count) {
    try {
      return embedder.embedAll(slice);
    } catch (TextTooLongException e) {
      long index = first + e.index();
      String name = count == 1 ? "input" : "input[" + index + "]";
      throw new TextTooLongException(name, index, e.tokens(), e.limit());
    }
  }

  private static void requireWanted(Request request, int embedded) {
    if (request.cancelled().getAsBoolean()) {
      throw new CancellationException("embedding was cancelled: embedded=" + embedded);
    }
  }

  private void requireFit(int[] text) {
    if (text.length == 0 || text.length > embedder.maxTokens()) {
      throw new IllegalArgumentException(
          "a text of tokens must have 1 to limit tokens: tokens=%d, limit=%d"
              .formatted(text.length, embedder.maxTokens()));
    }
  }

  private static <T> List<List<T>> slices(List<T> texts, ToIntFunction<T> size, int enough) {
    List<List<T>> slices = new ArrayList<>();
    int from = 0;
    long filled = 0;
    for (int i = 0; i < texts.size(); i++) {
      filled += size.applyAsInt(texts.get(i));
      if (filled >= enough || i == texts.size() - 1) {
        slices.add(texts.subList(from, i + 1));
        from = i + 1;
        filled = 0;
      }
    }
    return slices;
  }
}
