package io.github.attention4j.models;

import io.github.attention4j.models.encoder.Shares;
import io.github.attention4j.models.files.Settings;
import java.io.IOException;
import java.util.Arrays;
import java.util.List;
import java.util.Locale;
import java.util.Set;
import java.util.function.IntFunction;

/**
 * How a model reads texts: its tokenizer, the most tokens of a text that it reads, and what happens
 * to a longer one. Tokens are counted before truncation, so a result can tell how many were
 * dropped.
 */
final class TextInput implements AutoCloseable {
  /** Roughly how long tokenizers take. */
  private static final double NANOS_PER_CHAR = 300;

  private final Tokenizer tokenizer;
  private final int limit;
  private final boolean fromLeft;
  private final boolean lowerCase;
  private final boolean typed;
  private final boolean refuses;

  private TextInput(
      Tokenizer tokenizer,
      int limit,
      boolean fromLeft,
      boolean lowerCase,
      boolean typed,
      boolean refuses) {
    this.tokenizer = tokenizer;
    this.limit = limit;
    this.fromLeft = fromLeft;
    this.lowerCase = lowerCase;
    this.typed = typed;
    this.refuses = refuses;
  }

  /** The tokens of a text that the model reads, and how many were dropped. */
  record Cut(Encoding encoding, int dropped) {}

  /**
   * Reads a model's tokenizer and limits.
   *
   * @param tokenizer replaces the model's; or null
   * @param maxTokens at most the model's limit; 0 for the limit in the files
   */
  static TextInput open(
      ModelFiles files, Tokenizer tokenizer, TextEncoder encoder, int maxTokens, boolean refuses)
      throws IOException {
    Settings sentence = sentence(files);
    Settings config = files.settings("tokenizer_config.json");
    double limit = config.number("model_max_length", Double.MAX_VALUE);
    if (sentence.has("max_seq_length")) {
      limit = sentence.integer("max_seq_length");
    }
    if (maxTokens > 0) {
      limit = maxTokens;
    }
    boolean lowerCase = sentence.flag("do_lower_case", false);
    sentence.requireAllRead();
    String side = config.text("truncation_side", "right");
    if (!side.equals("left") && !side.equals("right")) {
      throw config.refused("truncation_side", "left or right");
    }
    // Models are given what the tokenizer's configuration lists; token types are 0 otherwise.
    List<String> names = config.texts("model_input_names");
    boolean typed = names.isEmpty() || names.contains("token_type_ids");
    int most = (int) Math.clamp(limit, 1, encoder.maxTokens());
    Tokenizer own = tokenizer != null ? tokenizer : files.openTokenizer();
    try {
      requireFit(own, encoder);
      TextInput input = new TextInput(own, most, side.equals("left"), lowerCase, typed, refuses);
      own = null;
      return input;
    } finally {
      if (own != null) {
        own.close();
      }
    }
  }

  /** The Transformer module's own settings, whose file was once named after the family. */
  private static Settings sentence(ModelFiles files) throws IOException {
    String found = "sentence_bert_config.json";
    for (String family : List.of("xlm-roberta", "albert", "camembert", "distilbert", "roberta")) {
      String other = "sentence_" + family + "_config.json";
      found = !files.has(found) && files.has(other) ? other : found;
    }
    Settings settings = files.settings(found);
    settings.ignore("module_output_name", "unpad_inputs");
    settings.object("modality_config").ignoreAll();
    // How weights are loaded and attention is implemented.
    settings.object("model_args").ignoreAll();
    settings.object("model_kwargs").ignoreAll();
    String task = settings.text("transformer_task", "feature-extraction");
    if (!Set.of("feature-extraction", "sequence-classification").contains(task)) {
      throw settings.refused("transformer_task", "feature-extraction or sequence-classification");
    }
    return settings;
  }

  /** Refuses a tokenizer with tokens that the model does not have. */
  static void requireFit(Tokenizer tokenizer, TextEncoder encoder) {
    if (tokenizer.vocabulary() > encoder.vocabulary()) {
      throw new IllegalArgumentException(
          "tokenizer must fit the model's vocabulary: tokenizer="
              + tokenizer.vocabulary()
              + " tokens, model="
              + encoder.vocabulary());
    }
  }

  /** The most tokens of a text that the model reads, special ones included. */
  int limit() {
    return limit;
  }

  Tokenizer tokenizer() {
    return tokenizer;
  }

  Cut encode(String text) {
    return cut(tokenizer.encode(cased(text)), "texts", 0, 1);
  }

  /**
   * Encodes several texts, in several threads if they are long.
   *
   * @param first the number of the first of them in messages
   */
  List<Cut> encodeAll(List<String> texts, long first) {
    return shared(
        texts.size(),
        chars(texts),
        i -> cut(tokenizer.encode(cased(texts.get(i))), "texts", first + i, first + texts.size()));
  }

  /** Encodes pairs of texts, likewise; both lists have the same length. */
  List<Cut> encodePairs(List<String> first, List<String> second) {
    return shared(
        first.size(),
        chars(first) + chars(second),
        i ->
            cut(
                tokenizer.encodePair(cased(first.get(i)), cased(second.get(i))),
                "pairs",
                i,
                first.size()));
  }

  private static String name(String all, long number, long count) {
    return count == 1 ? all.substring(0, all.length() - 1) : all + "[" + number + "]";
  }

  private static List<Cut> shared(int count, long chars, IntFunction<Cut> encode) {
    Cut[] cuts = new Cut[count];
    Shares.run(count, chars * NANOS_PER_CHAR, i -> cuts[i] = encode.apply(i));
    return Arrays.asList(cuts);
  }

  private static long chars(List<String> texts) {
    return texts.stream().mapToLong(String::length).sum();
  }

  /** How many tokens a text has before truncation. */
  int count(String text) {
    return tokenizer.count(cased(text));
  }

  /** How many of the first tokens of a prompted text are the prompt's: all but the end token. */
  int promptTokens(String prompt) {
    Encoding encoding = tokenizer.encode(cased(prompt));
    int length = encoding.length();
    boolean ends = length > 0 && encoding.parts()[length - 1] == Encoding.SPECIAL;
    return ends ? length - 1 : length;
  }

  private String cased(String text) {
    return lowerCase ? text.toLowerCase(Locale.ROOT) : text;
  }

  private Cut cut(Encoding encoding, String all, long number, long count) {
    if (encoding.length() > limit && refuses) {
      throw new TextTooLongException(name(all, number, count), number, encoding.length(), limit);
    }
    if (encoding.length() == 0) {
      throw new IllegalArgumentException(
          name(all, number, count)
              + " must have at least 1 token: tokens=0, and the tokenizer adds no special tokens");
    }
    Encoding cut = encoding.truncated(limit, fromLeft);
    int[] types = typed ? cut.types() : new int[cut.length()];
    return new Cut(
        new Encoding(cut.tokens(), types, cut.parts()), encoding.length() - cut.length());
  }

  @Override
  public void close() {
    tokenizer.close();
  }
}
