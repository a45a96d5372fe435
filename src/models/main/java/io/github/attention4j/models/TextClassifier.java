package io.github.attention4j.models;

import io.github.attention4j.Sequences;
import io.github.attention4j.Tensor;
import io.github.attention4j.models.files.Settings;
import java.io.IOException;
import java.lang.foreign.Arena;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.Collections;
import java.util.List;
import java.util.Objects;
import java.util.function.IntUnaryOperator;

/**
 * A sequence classifier: an encoder with a classification head, such as Transformers' {@code
 * BertForSequenceClassification}. For models that score a query and a passage see {@link Reranker}.
 *
 * <pre>{@code
 * try (TextClassifier classifier = TextClassifier.open(directory)) {
 *   TextClassifier.Result result = classifier.classify("I would buy it again.");
 *   System.out.println(result.label() + " " + result.probability());
 * }
 * }</pre>
 *
 * <p>For batches, memory and threads see {@link TextEncoder}.
 */
public final class TextClassifier implements AutoCloseable {
  private static final String TASK = "ForSequenceClassification";
  private static final List<String> OTHER_TASKS =
      List.of(
          "ForTokenClassification",
          "ForQuestionAnswering",
          "ForMultipleChoice",
          "ForNextSentencePrediction");

  private final TextEncoder encoder;
  private final TextInput input;
  private final List<String> labels;
  private final boolean independent;

  /** Heads on the last token pass over tokens of this kind; -1 for none. */
  private final int padding;

  private TextClassifier(
      TextEncoder encoder, TextInput input, List<String> labels, boolean independent, int padding) {
    this.padding = padding;
    this.encoder = encoder;
    this.input = input;
    this.labels = labels;
    this.independent = independent;
  }

  /**
   * The classification of a text.
   *
   * @param labels the names of the labels
   * @param logits for each label
   * @param probabilities for each label: the softmax of the logits; the sigmoid of each if there is
   *     one label, or several that may hold at once ({@code problem_type} is {@code
   *     multi_label_classification})
   * @param tokens how many tokens were read
   * @param dropped how many tokens were cut off because the text exceeds the model's limit
   */
  public record Result(
      List<String> labels, float[] logits, float[] probabilities, int tokens, int dropped) {
    /**
     * Returns the number of the most probable label.
     *
     * @return the first of them, if several are equal
     */
    public int best() {
      int best = 0;
      for (int i = 1; i < logits.length; i++) {
        best = logits[i] > logits[best] ? i : best;
      }
      return best;
    }

    /**
     * Returns the most probable label.
     *
     * @return its name
     */
    public String label() {
      return labels.get(best());
    }

    /**
     * Returns the probability of the most probable label.
     *
     * @return from 0 to 1
     */
    public float probability() {
      return probabilities[best()];
    }
  }

  /**
   * Opens a checkpoint directory with the files that {@link TextEncoder#open} reads and {@code
   * tokenizer.json}, without which only the methods that take tokens work.
   *
   * @param directory contains the files, which are not needed afterwards
   * @return the classifier, to be closed
   * @throws IOException if a file is missing, cannot be read, or is malformed
   * @throws IllegalArgumentException as for {@link TextEncoder#open}, and if the checkpoint has no
   *     classification head or the tokenizer does not fit
   */
  public static TextClassifier open(Path directory) throws IOException {
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
    private boolean refuses;
    private WeightStorage storage = WeightStorage.FLOAT32;

    private Builder(Path directory) {
      this.directory = Objects.requireNonNull(directory, "directory");
    }

    /**
     * Refuses texts that are too long instead of truncating them.
     *
     * @return this builder
     */
    public Builder refuseTruncation() {
      refuses = true;
      return this;
    }

    /**
     * Sets how matrices are stored in memory.
     *
     * @param storage float32 by default
     * @return this builder
     */
    public Builder storage(WeightStorage storage) {
      this.storage = Objects.requireNonNull(storage, "storage");
      return this;
    }

    /**
     * Opens the model.
     *
     * @return the classifier, to be closed
     * @throws IOException as for {@link TextClassifier#open}
     * @throws IllegalArgumentException as for {@link TextClassifier#open}
     */
    public TextClassifier open() throws IOException {
      ModelFiles files = ModelFiles.of(directory);
      Settings settings = files.settings("config.json");
      requireClassifiesTexts(settings);
      boolean independent = independent(settings);
      int padding = settings.value("pad_token_id") instanceof Long token ? token.intValue() : -1;
      TextEncoder encoder = files.openEncoder(false, storage);
      try {
        if (!encoder.hasClassifier()) {
          throw new IllegalArgumentException(
              directory
                  + " must have a classification head: the head's tensors are "
                  + (encoder.spec().classifier() == null ? "not known" : "missing")
                  + " for "
                  + encoder.family());
        }
        TextInput input =
            files.has("tokenizer.json") ? TextInput.open(files, null, encoder, 0, refuses) : null;
        TextClassifier classifier =
            new TextClassifier(
                encoder, input, labels(settings, encoder.labels()), independent, padding);
        encoder = null;
        return classifier;
      } finally {
        if (encoder != null) {
          encoder.close();
        }
      }
    }
  }

  /** Refuses heads for other tasks, whose tensors may have the same names. */
  private static void requireClassifiesTexts(Settings settings) {
    List<String> architectures = settings.texts("architectures");
    boolean otherwise =
        architectures.stream().anyMatch(name -> OTHER_TASKS.stream().anyMatch(name::endsWith));
    if (otherwise && architectures.stream().noneMatch(name -> name.endsWith(TASK))) {
      throw settings.refused("architectures", "of a model " + TASK);
    }
  }

  private static boolean independent(Settings settings) {
    String type = settings.text("problem_type", "single_label_classification");
    return switch (type) {
      case "multi_label_classification" -> true;
      case "single_label_classification", "regression" -> false;
      default ->
          throw settings.refused(
              "problem_type",
              "single_label_classification, multi_label_classification or regression");
    };
  }

  private static List<String> labels(Settings settings, int count) {
    Settings names = settings.object("id2label");
    List<String> labels = new ArrayList<>();
    for (int i = 0; i < count; i++) {
      labels.add(names.text(Integer.toString(i), "LABEL_" + i));
    }
    return List.copyOf(labels);
  }

  /**
   * Returns the encoder.
   *
   * @return the encoder; closing it closes the classifier
   */
  public TextEncoder encoder() {
    return encoder;
  }

  /**
   * Returns the names of the labels.
   *
   * @return {@code id2label} in order
   */
  public List<String> labels() {
    return labels;
  }

  /**
   * Returns the most tokens of a text, or of two texts read together, that are read; special ones
   * included.
   *
   * @return from the model's files; without a tokenizer what the positions of the model allow
   */
  public int maxTokens() {
    return input == null ? encoder.maxTokens() : input.limit();
  }

  /**
   * Classifies a text.
   *
   * @param text any text
   * @return the classification
   * @throws TextTooLongException if the text is too long and truncation is refused
   * @throws IllegalStateException if the classifier is closed, or has no tokenizer
   */
  public Result classify(String text) {
    return classify(List.of(text)).getFirst();
  }

  /**
   * Classifies texts.
   *
   * @param texts any texts
   * @return the classification of each text, in order
   * @throws TextTooLongException if a text is too long and truncation is refused
   * @throws IllegalStateException if the classifier is closed, or has no tokenizer
   */
  public List<Result> classify(List<String> texts) {
    TextInput own = input();
    return results(own.encodeAll(texts, 0));
  }

  /**
   * Classifies pairs of a first text and several second texts, such as a premise and hypotheses.
   *
   * @param first any text
   * @param second any texts
   * @return the classification of each pair, in the order of the second texts
   * @throws IllegalArgumentException if a pair is too long and truncation is refused
   * @throws IllegalStateException if the classifier is closed, or has no tokenizer
   */
  public List<Result> classifyPairs(String first, List<String> second) {
    return classifyPairs(Collections.nCopies(second.size(), first), second);
  }

  /**
   * Classifies pairs of texts that are read together, each with a first text of its own.
   *
   * @param first any texts
   * @param second as many texts
   * @return the classification of each pair, in order
   * @throws IllegalArgumentException if there are not as many second texts as first ones, or a pair
   *     is too long and truncation is refused
   * @throws IllegalStateException if the classifier is closed, or has no tokenizer
   */
  public List<Result> classifyPairs(List<String> first, List<String> second) {
    if (first.size() != second.size()) {
      throw new IllegalArgumentException(
          "pairs must be complete: first=" + first.size() + ", second=" + second.size());
    }
    TextInput own = input();
    return results(own.encodePairs(first, second));
  }

  private TextInput input() {
    if (input == null) {
      throw new IllegalStateException("the directory has no tokenizer.json: " + encoder);
    }
    return input;
  }

  private List<Result> results(List<TextInput.Cut> cuts) {
    List<float[]> logits =
        logits(
            cuts.stream().map(cut -> cut.encoding().tokens()).toList(),
            cuts.stream().map(cut -> cut.encoding().types()).toList());
    List<Result> results = new ArrayList<>();
    for (int i = 0; i < cuts.size(); i++) {
      TextInput.Cut cut = cuts.get(i);
      float[] own = logits.get(i);
      results.add(
          new Result(
              labels,
              own,
              independent ? sigmoids(own) : probabilities(own),
              cut.encoding().length(),
              cut.dropped()));
    }
    return List.copyOf(results);
  }

  /**
   * Computes the logits of texts given as tokens.
   *
   * @param texts the tokens of each text, special ones included. Not modified.
   * @param types the token types of each text; null for zeros. Not modified.
   * @return the logits of the labels for each text
   * @throws IllegalArgumentException as for {@link TextEncoder#encode(Arena, List, List)}
   * @throws IllegalStateException if the classifier is closed
   */
  public List<float[]> logits(List<int[]> texts, List<int[]> types) {
    encoder.check(texts, types);
    List<float[]> logits = new ArrayList<>();
    IntUnaryOperator only = encoder.onlyClassified();
    requireNoPadding(texts);
    encoder.encode(
        texts,
        types,
        only,
        (from, to, hidden) -> {
          int[] lengths = TextEncoder.rows(texts, from, to, only);
          try (Arena arena = Arena.ofConfined()) {
            Tensor out = encoder.classify(arena, hidden, Sequences.ofLengths(lengths));
            for (int i = 0; i < lengths.length; i++) {
              logits.add(out.select(0, i).toFloatArray());
            }
          }
        });
    return logits;
  }

  /** Transformers would read the token before, whose hidden state is not computed then. */
  private void requireNoPadding(List<int[]> texts) {
    if (encoder.classifiesLast()) {
      for (int i = 0; i < texts.size(); i++) {
        int[] text = texts.get(i);
        if (text[text.length - 1] == padding) {
          throw new IllegalArgumentException(
              "texts[%d] must not end with the padding token: pad_token_id=%d"
                  .formatted(i, padding));
        }
      }
    }
  }

  /**
   * Turns logits into probabilities.
   *
   * @param logits the logits of a text. Not modified.
   * @return their softmax; the sigmoid if there is one
   */
  public static float[] probabilities(float[] logits) {
    if (logits.length == 1) {
      return sigmoids(logits);
    }
    float[] probabilities = new float[logits.length];
    double most = Double.NEGATIVE_INFINITY;
    for (float logit : logits) {
      most = Math.max(most, logit);
    }
    double sum = 0;
    for (float logit : logits) {
      sum += Math.exp(logit - most);
    }
    for (int i = 0; i < logits.length; i++) {
      probabilities[i] = (float) (Math.exp(logits[i] - most) / sum);
    }
    return probabilities;
  }

  private static float[] sigmoids(float[] logits) {
    float[] sigmoids = new float[logits.length];
    for (int i = 0; i < logits.length; i++) {
      sigmoids[i] = (float) (1 / (1 + Math.exp(-(double) logits[i])));
    }
    return sigmoids;
  }

  /** Releases the memory. Waits for calls that are running; closing again is a no-op. */
  @Override
  public void close() {
    encoder.close();
    if (input != null) {
      input.close();
    }
  }
}
