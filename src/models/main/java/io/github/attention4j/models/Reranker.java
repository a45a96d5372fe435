package io.github.attention4j.models;

import io.github.attention4j.layer.Activation;
import io.github.attention4j.models.files.Settings;
import java.io.IOException;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.Collections;
import java.util.List;

/**
 * A cross encoder: scores passages against a query by reading both together.
 *
 * <pre>{@code
 * try (Reranker reranker = Reranker.open(directory)) {
 *   float[] scores = reranker.score("Who repairs the engine?", passages);
 * }
 * }</pre>
 *
 * <p>The score is the sigmoid of the one logit, unless {@code config.json} names another function
 * ({@code sentence_transformers.activation_fn}, formerly {@code
 * sbert_ce_default_activation_function}) or {@code config_sentence_transformers.json} does ({@code
 * activation_fn}). Query and passage together are truncated to the model's limit, the longer one
 * first.
 *
 * <p>For batches, memory and threads see {@link TextEncoder}.
 */
public final class Reranker implements AutoCloseable {
  private final TextClassifier classifier;
  private final Activation activation;

  private Reranker(TextClassifier classifier, Activation activation) {
    this.classifier = classifier;
    this.activation = activation;
  }

  /**
   * How well a passage answers a query.
   *
   * @param score higher is better
   * @param tokens how many tokens of query and passage were read together
   * @param dropped how many tokens were cut off because both together exceed the model's limit
   */
  public record Result(float score, int tokens, int dropped) {}

  /**
   * Opens a checkpoint directory.
   *
   * @param directory contains the files, which are not needed afterwards
   * @return the reranker, to be closed
   * @throws IOException if a file is missing, cannot be read, or is malformed
   * @throws IllegalArgumentException as for {@link TextClassifier#open(Path)}, and unless the model
   *     has exactly one label
   */
  public static Reranker open(Path directory) throws IOException {
    return builder(directory).open();
  }

  /**
   * Starts with the settings of a model's files.
   *
   * @param directory what {@link #open} takes
   * @return a builder
   */
  public static Builder builder(Path directory) {
    return new Builder(directory);
  }

  /** Collects settings that differ from the files. Not safe for use by several threads. */
  public static final class Builder {
    private final Path directory;
    private final TextClassifier.Builder classifier;

    private Builder(Path directory) {
      this.directory = directory;
      classifier = TextClassifier.builder(directory);
    }

    /**
     * Refuses a query and passage that are too long instead of truncating them.
     *
     * @return this builder
     */
    public Builder refuseTruncation() {
      classifier.refuseTruncation();
      return this;
    }

    /**
     * Sets how matrices are stored in memory.
     *
     * @param storage float32 by default
     * @return this builder
     */
    public Builder storage(WeightStorage storage) {
      classifier.storage(storage);
      return this;
    }

    /**
     * Opens the model.
     *
     * @return the reranker, to be closed
     * @throws IOException as for {@link Reranker#open}
     * @throws IllegalArgumentException as for {@link Reranker#open}
     */
    public Reranker open() throws IOException {
      Activation activation = activation(ModelFiles.of(directory));
      TextClassifier opened = classifier.open();
      if (opened.labels().size() != 1) {
        opened.close();
        throw new IllegalArgumentException(
            directory
                + " must have one label to score with, others are for TextClassifier: labels="
                + opened.labels().size());
      }
      return new Reranker(opened, activation);
    }
  }

  /** The newest of the places that may name it. */
  private static Activation activation(ModelFiles files) throws IOException {
    Settings saved = files.sentenceTransformers();
    if (saved.text("model_type", "").equals("CrossEncoder")) {
      saved.require("default_prompt_name", null);
      Pipeline.requireOnlyTransformer(files);
      if (saved.has("activation_fn")) {
        return activation(saved, saved.text("activation_fn"));
      }
    }
    Settings config = files.settings("config.json");
    Settings own = config.object("sentence_transformers");
    String old = "sbert_ce_default_activation_function";
    return activation(config, own.text("activation_fn", config.text(old, "Sigmoid")));
  }

  private static Activation activation(Settings settings, String name) {
    return Pipeline.activation(name, settings.source() + ": activation_fn");
  }

  /**
   * Returns the classifier that computes the scores.
   *
   * @return lives as long as the reranker
   */
  public TextClassifier classifier() {
    return classifier;
  }

  /**
   * Scores passages.
   *
   * @param query any text
   * @param passages any texts
   * @return for each passage its score, in their order; higher is better
   * @throws TextTooLongException if a query with its passage is too long and truncation is refused
   * @throws IllegalStateException if the reranker is closed, or has no tokenizer
   */
  public float[] score(String query, List<String> passages) {
    return score(Collections.nCopies(passages.size(), query), passages);
  }

  /**
   * Scores pairs of a query and a passage.
   *
   * @param queries any texts
   * @param passages as many texts
   * @return for each passage its score, in their order; higher is better
   * @throws IllegalArgumentException if there are not as many passages as queries, or a query with
   *     its passage is too long and truncation is refused
   * @throws IllegalStateException if the reranker is closed, or has no tokenizer
   */
  public float[] score(List<String> queries, List<String> passages) {
    List<TextClassifier.Result> results = classifier.classifyPairs(queries, passages);
    float[] scores = new float[results.size()];
    for (int i = 0; i < scores.length; i++) {
      scores[i] = score(results.get(i).logits()[0]);
    }
    return scores;
  }

  /**
   * Scores passages and reports truncation.
   *
   * @param query any text
   * @param passages any texts
   * @return for each passage its result, in their order
   * @throws TextTooLongException if a query with its passage is too long and truncation is refused
   * @throws IllegalStateException if the reranker is closed, or has no tokenizer
   */
  public List<Result> rank(String query, List<String> passages) {
    List<Result> results = new ArrayList<>();
    for (TextClassifier.Result each : classifier.classifyPairs(query, passages)) {
      results.add(new Result(score(each.logits()[0]), each.tokens(), each.dropped()));
    }
    return List.copyOf(results);
  }

  /**
   * Scores queries with their passages, given as tokens.
   *
   * @param pairs the tokens of each pair, special ones included. Not modified.
   * @param types the token types of each pair; null for zeros. Not modified.
   * @return for each pair its score
   * @throws IllegalArgumentException as for {@link TextClassifier#logits}
   * @throws IllegalStateException if the reranker is closed
   */
  public float[] scoreTokens(List<int[]> pairs, List<int[]> types) {
    List<float[]> logits = classifier.logits(pairs, types);
    float[] scores = new float[logits.size()];
    for (int i = 0; i < scores.length; i++) {
      scores[i] = score(logits.get(i)[0]);
    }
    return scores;
  }

  private float score(float logit) {
    return Pipeline.apply(activation, new float[] {logit})[0];
  }

  /** Releases the memory. Waits for calls that are running; closing again is a no-op. */
  @Override
  public void close() {
    classifier.close();
  }
}
