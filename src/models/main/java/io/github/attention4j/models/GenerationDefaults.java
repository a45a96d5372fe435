package io.github.attention4j.models;

import io.github.attention4j.internal.Json;
import io.github.attention4j.models.files.Settings;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import java.util.Set;
import java.util.TreeSet;
import java.util.function.Supplier;

/**
 * How a model's files want its texts to be continued: {@code generation_config.json} as Hugging
 * Face's Transformers reads it, or the keys {@code general.sampling.*} of a GGUF file.
 *
 * <p>A key that would change the text and is not computed is refused by name and value.
 *
 * @param ends the tokens that end a text
 * @param sampler chooses the tokens
 * @param stopTexts the texts before which a text ends
 * @param maxNewTokens the most tokens that are added, {@link Integer#MAX_VALUE} for no limit
 * @param maxLength the most tokens of a text with its prompt, {@link Integer#MAX_VALUE} for no
 *     limit
 */
record GenerationDefaults(
    Set<Integer> ends, Sampler sampler, List<String> stopTexts, int maxNewTokens, int maxLength) {

  /** What Transformers assumes where a file has no {@code max_length}, and also writes to files. */
  private static final int UNSET_LENGTH = 20;

  /**
   * Keys that do not change the text: bookkeeping, what is returned besides the text, how passes
   * and caches are organised, how tokens are drafted, and what only concerns several beams.
   */
  private static final Set<String> HARMLESS =
      Set.of(
          "transformers_version",
          "trust_remote_code",
          "bos_token_id",
          "decoder_start_token_id",
          "pad_token_id",
          "output_attentions",
          "output_hidden_states",
          "output_logits",
          "output_scores",
          "return_dict_in_generate",
          "cache_config",
          "cache_implementation",
          "compile_config",
          "disable_compile",
          "low_memory",
          "prefill_chunk_size",
          "return_legacy_cache",
          "use_cache",
          "remove_invalid_values",
          "renormalize_logits",
          "assistant_confidence_threshold",
          "assistant_early_exit",
          "assistant_lookbehind",
          "is_assistant",
          "max_matching_ngram_size",
          "num_assistant_tokens",
          "num_assistant_tokens_schedule",
          "prompt_lookup_num_tokens",
          "target_lookbehind",
          "early_stopping",
          "length_penalty");

  /** Keys that are computed, the last seven only where tokens are drawn. */
  private static final Set<String> COMPUTED =
      Set.of(
          "bad_words_ids",
          "begin_suppress_tokens",
          "do_sample",
          "eos_token_id",
          "max_length",
          "max_new_tokens",
          "min_length",
          "min_new_tokens",
          "no_repeat_ngram_size",
          "repetition_penalty",
          "sequence_bias",
          "stop_strings",
          "suppress_tokens",
          "temperature",
          "top_k",
          "top_p",
          "min_p",
          "typical_p",
          "epsilon_cutoff",
          "eta_cutoff");

  /** Keys that are not computed, and only matter where tokens are drawn. */
  private static final Set<String> OF_DRAWING = Set.of("top_h");

  /** Numbers with which keys that are not computed change nothing. */
  private static final Map<String, Double> NEUTRAL =
      Map.ofEntries(
          Map.entry("diversity_penalty", 0.0),
          Map.entry("encoder_no_repeat_ngram_size", 0.0),
          Map.entry("encoder_repetition_penalty", 1.0),
          Map.entry("guidance_scale", 1.0),
          Map.entry("num_beam_groups", 1.0),
          Map.entry("num_beams", 1.0),
          Map.entry("num_return_sequences", 1.0),
          Map.entry("penalty_alpha", 0.0));

  /** Other keys of Transformers that are refused unless null, false or empty. */
  private static final Set<String> REFUSED =
      Set.of(
          "constraints",
          "dola_layers",
          "exponential_decay_length_penalty",
          "force_words_ids",
          "forced_bos_token_id",
          "forced_eos_token_id",
          "max_time",
          "token_healing",
          "watermarking_config");

  private static final String SEQUENCES = "lists of tokens that are not empty";
  private static final String BIASES = "pairs of a list of tokens and a number";

  private static final String SAMPLING = "general.sampling.";

  /**
   * Reads {@code generation_config.json}. Where that file is missing, the same keys of {@code
   * config.json} count, as older models have them.
   */
  static GenerationDefaults ofDirectory(Path directory, Settings config, int vocabulary)
      throws IOException {
    Path file = directory.resolve("generation_config.json");
    boolean own = Files.exists(file);
    Settings settings = own ? Settings.read(file) : config;
    boolean drawn = settings.flag("do_sample", false);
    List<String> refused = new ArrayList<>();
    for (String key : settings.keys()) {
      // Other keys of config.json are the family's.
      boolean concerned = own || NEUTRAL.containsKey(key) || REFUSED.contains(key);
      boolean accepted =
          COMPUTED.contains(key)
              || HARMLESS.contains(key)
              || key.startsWith("_")
              || (OF_DRAWING.contains(key) && !drawn);
      Object value = settings.value(key);
      if (concerned && !accepted && !isNeutral(value, NEUTRAL.get(key))) {
        refused.add(key + "=" + Json.show(value));
      }
    }
    refuse(settings.source(), refused);
    Set<Integer> ends = ends(settings);
    return new GenerationDefaults(
        ends,
        sampler(settings, drawn, ends, vocabulary),
        stopTexts(settings),
        settings.count("max_new_tokens", Integer.MAX_VALUE),
        maxLength(settings));
  }

  private static int maxLength(Settings settings) {
    boolean infinite = settings.value("max_length") instanceof Double length && length.isInfinite();
    if (infinite || settings.has("max_new_tokens")) {
      return Integer.MAX_VALUE;
    }
    int length = settings.count("max_length", UNSET_LENGTH);
    return length == UNSET_LENGTH ? Integer.MAX_VALUE : length;
  }

  private static void refuse(String source, List<String> settings) {
    if (!settings.isEmpty()) {
      throw new IllegalArgumentException(
          source
              + ": settings that would change the text and are not computed are refused: "
              + String.join(", ", settings));
    }
  }

  private static boolean isNeutral(Object value, Double neutral) {
    return switch (value) {
      case null -> true;
      case Boolean flag -> !flag;
      case Number number -> neutral != null && number.doubleValue() == neutral;
      case String text -> text.isEmpty();
      case List<?> list -> list.isEmpty();
      case Map<?, ?> members -> members.isEmpty();
      default -> false;
    };
  }

  private static Set<Integer> ends(Settings settings) {
    Object value = settings.value("eos_token_id");
    List<?> tokens =
        value instanceof List<?> list ? list : value == null ? List.of() : List.of(value);
    Set<Integer> ends = new TreeSet<>();
    for (Object token : tokens) {
      if (!(token instanceof Long number) || number < -1 || number > Integer.MAX_VALUE) {
        throw settings.refused("eos_token_id", "a token, a list of tokens, or null");
      }
      if (number >= 0) {
        ends.add(number.intValue());
      }
    }
    return Set.copyOf(ends);
  }

  private static List<String> stopTexts(Settings settings) {
    List<String> texts =
        settings.value("stop_strings") instanceof String text
            ? List.of(text)
            : settings.texts("stop_strings");
    if (texts.contains("")) {
      throw settings.refused("stop_strings", "texts that are not empty");
    }
    return texts;
  }

  private static Sampler sampler(
      Settings settings, boolean drawn, Set<Integer> ends, int vocabulary) {
    Sampler.Builder sampler =
        Sampler.builder()
            .temperature(0)
            .noRepeatNgram(settings.count("no_repeat_ngram_size", 0))
            .minTokens(settings.count("min_new_tokens", 0), minLength(settings), ends);
    biasSequences(settings, ends, vocabulary, sampler);
    for (int token : settings.integers("suppress_tokens")) {
      sampler.logitBias(
          known(settings, "suppress_tokens", token, vocabulary), Double.NEGATIVE_INFINITY);
    }
    for (int token : settings.integers("begin_suppress_tokens")) {
      sampler.forbidFirst(known(settings, "begin_suppress_tokens", token, vocabulary));
    }
    return inRange(
        settings.source(),
        () -> {
          sampler.repetitionPenalty(settings.positive("repetition_penalty", 1));
          if (drawn) {
            sampler
                .temperature(settings.number("temperature", 1))
                .topK(topK(settings.count("top_k", 0)))
                .topP(settings.positive("top_p", 1))
                .minP(settings.number("min_p", 0))
                .typicalP(settings.positive("typical_p", 1))
                .epsilonCutoff(settings.number("epsilon_cutoff", 0))
                .etaCutoff(settings.number("eta_cutoff", 0));
          }
          return sampler.build();
        });
  }

  /** Transformers counts from the prompt's end instead if there is a min_new_tokens. */
  private static int minLength(Settings settings) {
    return settings.has("min_new_tokens") ? 0 : settings.count("min_length", 0);
  }

  /** An end token by itself is not a bad word, as in Transformers. */
  private static void biasSequences(
      Settings settings, Set<Integer> ends, int vocabulary, Sampler.Builder sampler) {
    for (Object pair : pairs(settings)) {
      if (!(pair instanceof List<?> list)
          || list.size() != 2
          || !(list.getLast() instanceof Number value)) {
        throw settings.refused("sequence_bias", BIASES);
      }
      int[] sequence = sequence(settings, "sequence_bias", BIASES, list.getFirst(), vocabulary);
      inRange(settings.source(), () -> sampler.sequenceBias(sequence, value.doubleValue()));
    }
    for (Object word : settings.list("bad_words_ids", SEQUENCES)) {
      int[] sequence = sequence(settings, "bad_words_ids", SEQUENCES, word, vocabulary);
      if (sequence.length > 1 || !ends.contains(sequence[0])) {
        sampler.sequenceBias(sequence, Double.NEGATIVE_INFINITY);
      }
    }
  }

  private static List<?> pairs(Settings settings) {
    boolean none = settings.value("sequence_bias") instanceof Map<?, ?> map && map.isEmpty();
    return none ? List.of() : settings.list("sequence_bias", BIASES);
  }

  private static int[] sequence(
      Settings settings, String key, String wanted, Object value, int vocabulary) {
    if (!(value instanceof List<?> tokens) || tokens.isEmpty()) {
      throw settings.refused(key, wanted);
    }
    int[] sequence = new int[tokens.size()];
    for (int i = 0; i < sequence.length; i++) {
      if (!(tokens.get(i) instanceof Long token)) {
        throw settings.refused(key, wanted);
      }
      sequence[i] = known(settings, key, token, vocabulary);
    }
    return sequence;
  }

  private static int known(Settings settings, String key, long token, int vocabulary) {
    if (token < 0 || token >= vocabulary) {
      throw settings.refused(key, "tokens in [0, vocabulary=" + vocabulary + ")");
    }
    return (int) token;
  }

  private static int topK(int k) {
    return k == 0 ? Integer.MAX_VALUE : k;
  }

  /** Names the file if a setting is out of the sampler's range. */
  private static <T> T inRange(String source, Supplier<T> options) {
    try {
      return options.get();
    } catch (IllegalArgumentException e) {
      String message = e.getMessage();
      throw message.startsWith(source)
          ? e
          : new IllegalArgumentException(source + ": " + message, e);
    }
  }

  /**
   * Reads the keys {@code general.sampling.*} of a GGUF file. Tokens are drawn if there is a
   * temperature above 0, or none but another limit. llama.cpp applies the temperature after the
   * other limits; here it comes first, as in Transformers.
   *
   * @param metadata all of the file
   */
  static GenerationDefaults ofGguf(String source, Map<String, ?> metadata, Set<Integer> ends) {
    Settings settings = Settings.of(source, metadata);
    boolean drawn = false;
    List<String> refused = new ArrayList<>();
    // Without that, llama.cpp only counts the last 64 tokens of a text.
    boolean whole = settings.number(SAMPLING + "penalty_last_n", 0) == -1;
    for (String key : settings.keys()) {
      if (!key.startsWith(SAMPLING)) {
        continue;
      }
      Object value = settings.value(key);
      boolean accepted =
          switch (key.substring(SAMPLING.length())) {
            case "temp" -> true;
            case "top_k", "top_p", "min_p" -> {
              drawn = true;
              yield true;
            }
            case "penalty_last_n", "xtc_threshold", "mirostat_tau", "mirostat_eta" -> true;
            case "penalty_repeat" -> whole || isNeutral(value, 1.0);
            case "mirostat", "xtc_probability" -> isNeutral(value, 0.0);
            default -> isNeutral(value, null);
          };
      if (!accepted) {
        refused.add(key + "=" + Json.show(value));
      }
    }
    refuse(source, refused);
    // llama.cpp takes the likeliest token at temperatures up to 0, and keeps all at such a top_k.
    boolean limited = drawn;
    Sampler sampler =
        inRange(
            source,
            () ->
                Sampler.builder()
                    .temperature(
                        Math.max(0, single(settings.number(SAMPLING + "temp", limited ? 1 : 0))))
                    .topK(topK((int) Math.max(0, settings.number(SAMPLING + "top_k", 0))))
                    .topP(single(settings.positive(SAMPLING + "top_p", 1)))
                    .minP(single(settings.number(SAMPLING + "min_p", 0)))
                    .repetitionPenalty(single(settings.positive(SAMPLING + "penalty_repeat", 1)))
                    .build());
    return new GenerationDefaults(ends, sampler, List.of(), Integer.MAX_VALUE, Integer.MAX_VALUE);
  }

  /** The decimal number that a file's float32 stands for, such as 0.6. */
  private static double single(double value) {
    return Double.parseDouble(Float.toString((float) value));
  }
}
