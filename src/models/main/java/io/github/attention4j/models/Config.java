package io.github.attention4j.models;

import io.github.attention4j.internal.Json;
import io.github.attention4j.layer.RotaryScaling;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.List;
import java.util.Map;
import java.util.Set;
import java.util.TreeSet;

/**
 * What a checkpoint's {@code config.json} says about its model, under the names that Hugging Face's
 * Transformers writes. Whatever would change the result and is not computed here is refused by name
 * and value; keys that only training or other software looks at are ignored.
 */
record Config(
    boolean differential,
    int vocabulary,
    int width,
    int hidden,
    int layers,
    int heads,
    int headsKv,
    int dim,
    int context,
    double normEpsilon,
    double rotaryBase,
    RotaryScaling rotaryScaling,
    boolean tied,
    boolean attentionBias,
    boolean feedForwardBias,
    Set<Integer> ends) {

  /** Far beyond every model there is; a hostile number must not keep the loader busy for hours. */
  private static final int MOST_LAYERS = 1 << 16;

  private static final double DEFAULT_ROTARY_BASE = 10_000;

  /** How many heads or pairs have an attention map of their own. */
  int maps() {
    return differential ? heads / 2 : heads;
  }

  /** The width of all query heads side by side. */
  long widthQ() {
    return (long) heads * dim;
  }

  /** The width of all key heads, or of all value heads, side by side. */
  long widthKv() {
    return (long) headsKv * dim;
  }

  static Config read(Path file) throws IOException {
    return new Reader(file, readObject(file), "").read();
  }

  /** Reads a file that holds one JSON object. */
  static Map<?, ?> readObject(Path file) throws IOException {
    Object value;
    try {
      value = Json.parse(Files.readAllBytes(file));
    } catch (Json.MalformedException e) {
      throw new IOException(file + " must be valid JSON: " + e.getMessage(), e);
    }
    if (!(value instanceof Map<?, ?> object)) {
      throw new IllegalArgumentException(
          file + " must hold an object: it holds " + Json.show(value));
    }
    return object;
  }

  /**
   * Takes one value after another, and says for each what it must be.
   *
   * @param prefix where the object stands in the file, for messages
   */
  private record Reader(Path file, Map<?, ?> json, String prefix) {

    Config read() {
      String type = text("model_type");
      boolean differential = type.equals("diffllama");
      if (!differential && !type.equals("llama")) {
        throw refused("model_type", "\"llama\" or \"diffllama\"", type);
      }
      require("hidden_act", "silu");
      require("quantization_config", null);
      int width = integer("hidden_size", null);
      int heads = integer("num_attention_heads", null);
      int headsKv = integer("num_key_value_heads", heads);
      if (heads % headsKv != 0) {
        throw new IllegalArgumentException(
            file
                + ": num_attention_heads must be a multiple of num_key_value_heads:"
                + " num_attention_heads="
                + heads
                + ", num_key_value_heads="
                + headsKv);
      }
      if (differential && headsKv % 2 != 0) {
        throw refused("num_key_value_heads", "even, as model_type is \"diffllama\"", headsKv);
      }
      int dim = headDim(width, heads);
      boolean feedForwardBias = flag("mlp_bias");
      if (differential && feedForwardBias) {
        throw refused("mlp_bias", "false, as model_type is \"diffllama\"", true);
      }
      return new Config(
          differential,
          integer("vocab_size", null),
          width,
          integer("intermediate_size", null),
          layers(),
          heads,
          headsKv,
          dim,
          integer("max_position_embeddings", null),
          positive("rms_norm_eps", json.get("rms_norm_eps")),
          rotaryBase(),
          rotaryScaling(),
          flag("tie_word_embeddings"),
          flag("attention_bias"),
          feedForwardBias,
          ends());
    }

    private int headDim(int width, int heads) {
      int dim = json.get("head_dim") != null ? integer("head_dim", null) : width / heads;
      if (json.get("head_dim") == null && width % heads != 0) {
        throw new IllegalArgumentException(
            file
                + ": hidden_size must be a multiple of num_attention_heads where there is no"
                + " head_dim: hidden_size="
                + width
                + ", num_attention_heads="
                + heads);
      }
      if (dim % 2 != 0) {
        throw refused("head_dim", "even, as rotary positions turn pairs of channels", dim);
      }
      return dim;
    }

    private int layers() {
      int layers = integer("num_hidden_layers", null);
      if (layers > MOST_LAYERS) {
        throw refused("num_hidden_layers", "at most " + MOST_LAYERS, layers);
      }
      return layers;
    }

    /** Older files say it beside the other sizes, newer ones together with the kind of rotation. */
    private double rotaryBase() {
      Object base = json.get("rope_theta");
      for (String key : List.of("rope_scaling", "rope_parameters")) {
        Map<?, ?> members = members(key);
        partial(key + ".partial_rotary_factor", members.get("partial_rotary_factor"));
        if (base == null) {
          base = members.get("rope_theta");
        }
      }
      partial("partial_rotary_factor", json.get("partial_rotary_factor"));
      return base == null ? DEFAULT_ROTARY_BASE : positive("rope_theta", base);
    }

    /** The object under a key, empty where there is none. */
    private Map<?, ?> members(String key) {
      Object value = json.get(key);
      if (value == null) {
        return Map.of();
      }
      if (value instanceof Map<?, ?> members) {
        return members;
      }
      throw refused(key, "null or an object", value);
    }

    private RotaryScaling rotaryScaling() {
      RotaryScaling scaling = RotaryScaling.none();
      for (String key : List.of("rope_scaling", "rope_parameters")) {
        if (json.get(key) == null) {
          continue;
        }
        RotaryScaling other = rotaryScaling(key, members(key));
        if (scaling != RotaryScaling.none() && other != RotaryScaling.none()) {
          throw refused(key, "null, as rope_scaling scales already", json.get(key));
        }
        scaling = other == RotaryScaling.none() ? scaling : other;
      }
      return scaling;
    }

    private RotaryScaling rotaryScaling(String key, Map<?, ?> members) {
      Object type =
          members.containsKey("rope_type") ? members.get("rope_type") : members.get("type");
      Reader reader = new Reader(file, members, key + ".");
      return switch (type instanceof String name ? name : "") {
        case "default" -> RotaryScaling.none();
        case "linear" -> RotaryScaling.linear(reader.atLeastOne("factor"));
        case "dynamic" -> reader.dynamicScaling(integer("max_position_embeddings", null));
        case "yarn" -> reader.yarnScaling(integer("max_position_embeddings", null));
        case "llama3" -> reader.llama3Scaling();
        default ->
            throw refused(
                key + ".rope_type",
                "\"default\", \"linear\", \"dynamic\", \"yarn\" or \"llama3\"",
                type);
      };
    }

    /** The context ends where this scaling begins, unless the original length is shorter. */
    private RotaryScaling dynamicScaling(int context) {
      double factor = atLeastOne("factor");
      String key = "original_max_position_embeddings";
      if (integer(key, context) != context) {
        throw refused(key, "max_position_embeddings, " + context, json.get(key));
      }
      return RotaryScaling.dynamicNtk(factor, context);
    }

    private RotaryScaling yarnScaling(int context) {
      double factor = atLeastOne("factor");
      double fast = positive("beta_fast", 32);
      double slow = positive("beta_slow", 1);
      if (fast < slow) {
        throw refused("beta_fast", "at least beta_slow, " + slow, fast);
      }
      boolean truncate = json.get("truncate") == null || flag("truncate");
      int original = integer("original_max_position_embeddings", context);
      RotaryScaling scaling = RotaryScaling.yarn(factor, original, fast, slow, truncate);
      if (json.get("attention_factor") != null) {
        return scaling.withMagnitude(positive("attention_factor", json.get("attention_factor")));
      }
      if (isSet("mscale") && isSet("mscale_all_dim")) {
        return scaling.withMagnitude(
            RotaryScaling.yarnMagnitude(factor, positive("mscale", json.get("mscale")))
                / RotaryScaling.yarnMagnitude(
                    factor, positive("mscale_all_dim", json.get("mscale_all_dim"))));
      }
      return scaling;
    }

    private RotaryScaling llama3Scaling() {
      double factor = atLeastOne("factor");
      double low = positive("low_freq_factor", json.get("low_freq_factor"));
      double high = positive("high_freq_factor", json.get("high_freq_factor"));
      if (high <= low) {
        throw refused("high_freq_factor", "more than low_freq_factor, " + low, high);
      }
      return RotaryScaling.llama3(
          factor, low, high, integer("original_max_position_embeddings", null));
    }

    /** Transformers takes 0 for what is not there. */
    private boolean isSet(String key) {
      return json.get(key) != null && !(json.get(key) instanceof Number n && n.doubleValue() == 0);
    }

    private double atLeastOne(String key) {
      Object value = json.get(key);
      if (!(value instanceof Number number) || !(number.doubleValue() >= 1)) {
        throw refused(key, "a number of at least 1", value);
      }
      return number.doubleValue();
    }

    private double positive(String key, double otherwise) {
      return json.get(key) == null ? otherwise : positive(key, json.get(key));
    }

    private void partial(String key, Object factor) {
      if (factor != null && !(factor instanceof Number number && number.doubleValue() == 1)) {
        throw refused(key, "1", factor);
      }
    }

    private Set<Integer> ends() {
      Object value = json.get("eos_token_id");
      List<?> tokens =
          value instanceof List<?> list ? list : value == null ? List.of() : List.of(value);
      Set<Integer> ends = new TreeSet<>();
      for (Object token : tokens) {
        if (!(token instanceof Long number) || number < -1 || number > Integer.MAX_VALUE) {
          throw refused("eos_token_id", "a token, a list of tokens, or null", value);
        }
        ends.add(number.intValue());
      }
      return Set.copyOf(ends);
    }

    private int integer(String key, Integer otherwise) {
      Object value = json.get(key);
      if (value == null && otherwise != null) {
        return otherwise;
      }
      if (!(value instanceof Long number) || number < 1 || number > Integer.MAX_VALUE) {
        throw refused(key, "an integer from 1 to 2^31-1", value);
      }
      return number.intValue();
    }

    private double positive(String key, Object value) {
      if (!(value instanceof Number number) || !(number.doubleValue() > 0)) {
        throw refused(key, "a positive number", value);
      }
      return number.doubleValue();
    }

    private boolean flag(String key) {
      return switch (json.get(key)) {
        case null -> false;
        case Boolean value -> value;
        case Object value -> throw refused(key, "true or false", value);
      };
    }

    private String text(String key) {
      if (json.get(key) instanceof String value) {
        return value;
      }
      throw refused(key, "a string", json.get(key));
    }

    /** The key is absent, or has the one value that is computed here. */
    private void require(String key, Object supported) {
      Object value = json.get(key);
      if (value != null && !value.equals(supported)) {
        throw refused(key, Json.show(supported), value);
      }
    }

    private IllegalArgumentException refused(String key, String wanted, Object value) {
      String name = prefix + key;
      String got = value == null ? "it is missing" : name + "=" + Json.show(value);
      return new IllegalArgumentException(file + ": " + name + " must be " + wanted + ": " + got);
    }
  }
}
