package io.github.attention4j.models.files;

import io.github.attention4j.internal.Json;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.HashSet;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.Objects;
import java.util.OptionalDouble;
import java.util.Set;
import java.util.TreeSet;

/**
 * A JSON object of settings, such as {@code config.json}. Each getter checks one value and records
 * that its key was read; {@link #requireAllRead} then refuses all other keys, because ignoring a
 * key may change the model's result.
 *
 * <p>A family reads everything that it needs, ignores by name what has no effect, and has the rest
 * refused:
 *
 * <pre>{@code
 * Settings settings = Settings.read(directory.resolve("config.json"));
 * int width = settings.integer("hidden_size");
 * double epsilon = settings.positive("rms_norm_eps", 1e-6);
 * Settings rope = settings.object("rope_parameters"); // empty if absent or null
 * settings.ignore("hidden_act"); // this family looks at hidden_activation
 * settings.requireAllRead(); // includes rope's members
 * }</pre>
 *
 * <p>A key that was not read is accepted if it is on the list of keys known to be harmless, begins
 * with an underscore, or has a neutral value: null, false, 1.0, an empty list, object or string, or
 * a list that contains only {@code "full_attention"}.
 *
 * <p>Every getter treats null like an absent key. Not safe for use by several threads.
 */
public final class Settings {
  /** Far more than any model has, so that a hostile file cannot keep the loader busy for hours. */
  private static final int MOST_LAYERS = 1 << 16;

  private static final int MOST_POSITIONS = 1 << 18;

  /**
   * Keys that never change what a model computes for a given text: bookkeeping, training, defaults
   * of sampling, and keys that Transformers writes for every model.
   */
  private static final Set<String> HARMLESS =
      Set.of(
          // Bookkeeping.
          "architectures",
          "auto_map",
          "dtype",
          "torch_dtype",
          "id2label",
          "is_llama_config",
          "label2id",
          "max_sequence_length",
          "model_type",
          "n_special",
          "name_or_path",
          "num_labels",
          "tokenizer_class",
          "transformers_version",
          "transformers.js_config",
          "unsloth_fixed",
          "unsloth_version",
          "custom_pipelines",
          // Special tokens, which belong to the tokenizer and to generation.
          "bos_token_id",
          "cls_token_id",
          "decoder_start_token_id",
          "eos_token_id",
          "forced_bos_token_id",
          "forced_eos_token_id",
          "mask_token_id",
          "pad_token_id",
          "sep_token_id",
          "unk_token_id",
          // Training.
          "attention_dropout",
          "attention_probs_dropout_prob",
          "attn_pdrop",
          "classifier_dropout",
          "dropout",
          "embd_pdrop",
          "embedding_dropout",
          "ffn_dropout",
          "gradient_checkpointing",
          "hidden_dropout",
          "hidden_dropout_prob",
          "initializer_factor",
          "initializer_range",
          "lambda_std_dev",
          "mlp_dropout",
          "output_router_logits",
          "pretraining_tp",
          "resid_pdrop",
          "router_aux_loss_coef",
          "router_jitter_noise",
          "tf_legacy_loss",
          "use_bfloat16",
          "problem_type",
          "finetuning_task",
          "task_specific_params",
          // Execution.
          "attn_implementation",
          "cache_implementation",
          "chunk_size_feed_forward",
          "output_attentions",
          "output_hidden_states",
          "output_past",
          "predict_special_tokens",
          "return_dict",
          "torchscript",
          "use_cache",
          // Defaults of generation.
          "begin_suppress_tokens",
          "diversity_penalty",
          "do_sample",
          "early_stopping",
          "encoder_no_repeat_ngram_size",
          "exponential_decay_length_penalty",
          "length_penalty",
          "max_length",
          "max_new_tokens",
          "min_length",
          "no_repeat_ngram_size",
          "num_beam_groups",
          "num_beams",
          "num_return_sequences",
          "output_scores",
          "prefix",
          "remove_invalid_values",
          "repetition_penalty",
          "return_dict_in_generate",
          "suppress_tokens",
          "temperature",
          "top_k",
          "top_p",
          "typical_p");

  private final String source;
  private final String prefix;
  private final Map<?, ?> values;
  private final Set<String> read = new HashSet<>();
  private final Map<String, Settings> parts = new LinkedHashMap<>();

  private Settings(String source, String prefix, Map<?, ?> values) {
    this.source = source;
    this.prefix = prefix;
    this.values = values;
  }

  /**
   * Reads a file with one JSON object as Python writes it: NaN, infinities and a byte-order mark
   * are accepted.
   *
   * @throws IOException if the file cannot be read or is not JSON
   * @throws IllegalArgumentException if it contains anything but an object
   */
  public static Settings read(Path file) throws IOException {
    return of(file.toString(), readObject(file));
  }

  /**
   * Wraps settings that come from elsewhere.
   *
   * @param source the start of messages, such as the file's path
   * @param values an object as {@link Json} returns it
   */
  public static Settings of(String source, Map<?, ?> values) {
    return new Settings(source, "", Objects.requireNonNull(values, "values"));
  }

  /** Reads a file with one JSON object, like {@link #read}. */
  public static Map<?, ?> readObject(Path file) throws IOException {
    Object value;
    try {
      value = Json.parseAsPythonWrites(Files.readAllBytes(file));
    } catch (Json.MalformedException e) {
      throw new IOException(file + " must be valid JSON: " + e.getMessage(), e);
    }
    if (!(value instanceof Map<?, ?> object)) {
      throw new IllegalArgumentException(
          file + " must hold an object: it holds " + Json.show(value));
    }
    return object;
  }

  /** The start of messages about these settings. */
  public String source() {
    return source;
  }

  // ---- Reading ----

  /** Whether the key is present and not null. Records it as read. */
  public boolean has(String key) {
    return value(key) != null;
  }

  /** Whether the key is present, null or not. Records it as read. */
  public boolean mentions(String key) {
    read.add(key);
    return values.containsKey(key);
  }

  /** The value as {@link Json} returns it, null if absent. Records it as read. */
  public Object value(String key) {
    read.add(key);
    return values.get(key);
  }

  /** An integer from 1 to 2^31-1, which must be present. */
  public int integer(String key) {
    Object value = value(key);
    if (!(value instanceof Long number) || number < 1 || number > Integer.MAX_VALUE) {
      throw refused(key, "an integer from 1 to 2^31-1");
    }
    return number.intValue();
  }

  /** An integer from 1 to 2^31-1, or the default if absent or null. */
  public int integer(String key, int otherwise) {
    return has(key) ? integer(key) : otherwise;
  }

  /** A number of layers, which must be present; at most 65 536. */
  public int layers(String key) {
    int layers = integer(key);
    if (layers > MOST_LAYERS) {
      throw refused(key, "at most " + MOST_LAYERS);
    }
    return layers;
  }

  /** A number of layers, or the default if absent or null. */
  public int layers(String key, int otherwise) {
    return has(key) ? layers(key) : otherwise;
  }

  /**
   * The longest text of an encoder, or the default if absent or null. At most 262 144 tokens, as
   * tables of rotations and of distances have a row for each position.
   */
  public int positions(String key, int otherwise) {
    int positions = integer(key, otherwise);
    if (positions > MOST_POSITIONS) {
      throw refused(key, "at most " + MOST_POSITIONS);
    }
    return positions;
  }

  /** An integer from 0 to 2^31-1, or the default if absent or null. */
  public int count(String key, int otherwise) {
    Object value = value(key);
    if (value == null) {
      return otherwise;
    }
    if (!(value instanceof Long number) || number < 0 || number > Integer.MAX_VALUE) {
      throw refused(key, "an integer from 0 to 2^31-1");
    }
    return number.intValue();
  }

  /** A finite number, or the default if absent or null. */
  public double number(String key, double otherwise) {
    Object value = value(key);
    if (value == null) {
      return otherwise;
    }
    if (!(value instanceof Number number) || !Double.isFinite(number.doubleValue())) {
      throw refused(key, "a finite number");
    }
    return number.doubleValue();
  }

  /** A finite number above 0, which must be present. */
  public double positive(String key) {
    Object value = value(key);
    if (!(value instanceof Number number)
        || !(number.doubleValue() > 0)
        || Double.isInfinite(number.doubleValue())) {
      throw refused(key, "a positive number");
    }
    return number.doubleValue();
  }

  /** A finite number above 0, or the default if absent or null. */
  public double positive(String key, double otherwise) {
    return has(key) ? positive(key) : otherwise;
  }

  /** A finite number above 0, or empty if absent or null. */
  public OptionalDouble optionalPositive(String key) {
    return has(key) ? OptionalDouble.of(positive(key)) : OptionalDouble.empty();
  }

  /** A finite number of at least 1, which must be present. */
  public double atLeastOne(String key) {
    Object value = value(key);
    if (!(value instanceof Number number)
        || !(number.doubleValue() >= 1)
        || Double.isInfinite(number.doubleValue())) {
      throw refused(key, "a number of at least 1");
    }
    return number.doubleValue();
  }

  /** True or false, or the default if absent or null. */
  public boolean flag(String key, boolean otherwise) {
    return switch (value(key)) {
      case null -> otherwise;
      case Boolean value -> value;
      default -> throw refused(key, "true or false");
    };
  }

  /** A string, which must be present. */
  public String text(String key) {
    if (value(key) instanceof String text) {
      return text;
    }
    throw refused(key, "a string");
  }

  /** A string, or the default if absent or null. */
  public String text(String key, String otherwise) {
    return has(key) ? text(key) : otherwise;
  }

  /** A list of strings; empty if absent or null. */
  public List<String> texts(String key) {
    List<String> texts = new ArrayList<>();
    for (Object element : list(key, "a list of strings")) {
      if (!(element instanceof String text)) {
        throw refused(key, "a list of strings");
      }
      texts.add(text);
    }
    return List.copyOf(texts);
  }

  /** A list of integers from 0 to 2^31-1; empty if absent or null. */
  public List<Integer> integers(String key) {
    String wanted = "a list of integers from 0 to 2^31-1";
    List<Integer> integers = new ArrayList<>();
    for (Object element : list(key, wanted)) {
      if (!(element instanceof Long number) || number < 0 || number > Integer.MAX_VALUE) {
        throw refused(key, wanted);
      }
      integers.add(number.intValue());
    }
    return List.copyOf(integers);
  }

  /** A list of finite numbers; empty if absent or null. */
  public double[] numbers(String key) {
    return list(key, "a list of finite numbers").stream()
        .mapToDouble(
            element -> {
              if (element instanceof Number number && Double.isFinite(number.doubleValue())) {
                return number.doubleValue();
              }
              throw refused(key, "a list of finite numbers");
            })
        .toArray();
  }

  /**
   * A list; empty if absent or null.
   *
   * @param wanted what the message asks for if it is none
   */
  public List<?> list(String key, String wanted) {
    return switch (value(key)) {
      case null -> List.of();
      case List<?> list -> list;
      default -> throw refused(key, wanted);
    };
  }

  /** An object whose members are then read in the same way; empty if absent or null. */
  public Settings object(String key) {
    Settings part = parts.get(key);
    if (part == null) {
      Map<?, ?> members =
          switch (value(key)) {
            case null -> Map.of();
            case Map<?, ?> object -> object;
            default -> throw refused(key, "null or an object");
          };
      part = new Settings(source, prefix + key + ".", members);
      parts.put(key, part);
    }
    return part;
  }

  /** Whether there are no keys. */
  public boolean isEmpty() {
    return values.isEmpty();
  }

  /** All keys. Does not record them as read. */
  public Set<String> keys() {
    Set<String> keys = new TreeSet<>();
    for (Object key : values.keySet()) {
      keys.add((String) key);
    }
    return keys;
  }

  // ---- Refusing ----

  /** Requires one value, unless the key is absent or null. */
  public void require(String key, Object supported) {
    Object value = value(key);
    if (value != null && !value.equals(supported)) {
      throw refused(key, Json.show(supported));
    }
  }

  /** Records keys that have no effect in this family as read. */
  public void ignore(String... keys) {
    read.addAll(List.of(keys));
  }

  /** Records every member as read, for an object that has no effect. */
  public void ignoreAll() {
    for (Object key : values.keySet()) {
      read.add((String) key);
      if (values.get(key) instanceof Map<?, ?>) {
        object((String) key).ignoreAll();
      }
    }
  }

  /**
   * Refuses every key that was not read and could matter, in this object and its nested objects.
   *
   * @throws IllegalArgumentException naming all such keys and their values
   */
  public void requireAllRead() {
    List<String> unknown = new ArrayList<>();
    collectUnread(unknown);
    if (!unknown.isEmpty()) {
      throw new IllegalArgumentException(
          source
              + ": settings that could change the result and are not computed are refused: "
              + String.join(", ", unknown));
    }
  }

  private void collectUnread(List<String> unknown) {
    for (Map.Entry<?, ?> member : values.entrySet()) {
      String key = (String) member.getKey();
      boolean harmless = prefix.isEmpty() && HARMLESS.contains(key);
      if (!read.contains(key)
          && !harmless
          && !key.startsWith("_")
          && !isNeutral(member.getValue())) {
        unknown.add(prefix + key + "=" + Json.show(member.getValue()));
      }
    }
    parts.values().forEach(part -> part.collectUnread(unknown));
  }

  private static boolean isNeutral(Object value) {
    return switch (value) {
      case null -> true;
      case Boolean flag -> !flag;
      case Double number -> number == 1;
      case String text -> text.isEmpty();
      case List<?> list -> list.stream().allMatch("full_attention"::equals);
      case Map<?, ?> members -> members.isEmpty();
      default -> false;
    };
  }

  /**
   * Creates the exception that refuses a value.
   *
   * @param wanted what it must be; follows "must be" in the message
   */
  public IllegalArgumentException refused(String key, String wanted) {
    String name = prefix + key;
    Object value = values.get(key);
    String got = value == null ? "it is missing" : name + "=" + Json.show(value);
    return new IllegalArgumentException(source + ": " + name + " must be " + wanted + ": " + got);
  }
}
