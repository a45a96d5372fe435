package io.github.attention4j.models;

import io.github.attention4j.Tensor;
import io.github.attention4j.internal.Json;
import io.github.attention4j.layer.Activation;
import io.github.attention4j.models.files.Checkpoint;
import io.github.attention4j.models.files.Settings;
import io.github.attention4j.models.weights.Source;
import io.github.attention4j.models.weights.Storage;
import io.github.attention4j.models.weights.WeightReader;
import java.io.IOException;
import java.lang.foreign.Arena;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.Comparator;
import java.util.List;
import java.util.Map;
import java.util.function.IntUnaryOperator;

/**
 * What sentence-transformers does with a text's hidden states: the modules of {@code modules.json}
 * after the Transformer. Without that file: mean pooling and normalization.
 *
 * @param pooling the results of several poolings are concatenated
 * @param includePrompt whether the prompt's tokens are pooled as well
 * @param steps in the order in which they are applied
 * @param dimension of the result
 * @param fromFiles whether there is a {@code modules.json}
 */
record Pipeline(
    List<Pooling> pooling,
    boolean includePrompt,
    List<Step> steps,
    int dimension,
    boolean fromFiles) {

  static final String MODULES = "modules.json";

  /** What follows pooling. */
  sealed interface Step {}

  /** Divides by the Euclidean norm. */
  record Normalize() implements Step {}

  /**
   * {@code activation(W x + b)}, to which {@code x} or {@code R x} may be added.
   *
   * @param weight {@code [out, in]} row by row
   * @param bias null for none
   * @param residual {@code [out, in]} row by row; null for none
   */
  record Dense(
      int in,
      int out,
      float[] weight,
      float[] bias,
      Activation activation,
      boolean residualAdded,
      float[] residual)
      implements Step {}

  /** Mean pooling and normalization, for directories without modules. */
  static Pipeline meanAndNormalize(int width) {
    return new Pipeline(List.of(Pooling.MEAN), true, List.of(new Normalize()), width, false);
  }

  /**
   * Reads a directory's modules.
   *
   * @throws IllegalArgumentException if a module is not supported, naming it
   */
  static Pipeline read(ModelFiles files, int width) throws IOException {
    if (!files.hasModules()) {
      Settings config = files.settings("config.json");
      if (config.texts("architectures").stream().anyMatch(name -> name.contains("ColBERT"))) {
        throw config.refused(
            "architectures",
            "of a model with one vector for a text: late interaction (ColBERT) is not supported");
      }
      return meanAndNormalize(width);
    }
    Path directory = files.root();
    Path file = directory.resolve(MODULES);
    List<Pooling> pooling = List.of();
    boolean includePrompt = true;
    int dimension = width;
    List<Step> steps = new ArrayList<>();
    for (Settings module : modules(file)) {
      String name = name(module);
      Path path = path(module, directory);
      switch (name) {
        case "Transformer" -> {
          if (!pooling.isEmpty() || !steps.isEmpty()) {
            throw module.refused("type", "the first module");
          }
        }
        case "Pooling" -> {
          if (!pooling.isEmpty() || !steps.isEmpty()) {
            throw module.refused("type", "the only pooling, before Dense and Normalize");
          }
          Settings settings = Settings.read(path.resolve("config.json"));
          pooling = pooling(settings);
          includePrompt = settings.flag("include_prompt", true);
          settings.ignore("word_embedding_dimension", "embedding_dimension");
          settings.requireAllRead();
          dimension = width * pooling.size();
        }
        case "Dense" -> {
          if (pooling.isEmpty()) {
            throw new IllegalArgumentException(
                file
                    + ": Dense without Pooling makes a vector of each token (late interaction,"
                    + " ColBERT), which is not supported");
          }
          Dense dense = dense(path, dimension);
          dimension = dense.out;
          steps.add(dense);
        }
        case "Normalize" -> {
          Path config = path.resolve("config.json");
          if (!path.equals(directory.normalize()) && Files.exists(config)) {
            Settings settings = Settings.read(config);
            requireSentenceEmbedding(settings);
            settings.requireAllRead();
          }
          steps.add(new Normalize());
        }
        case "Dropout" -> {
          // Only training drops anything.
        }
        default ->
            throw new IllegalArgumentException(
                file
                    + ": module must be Transformer, Pooling, Dense, Normalize or Dropout: type="
                    + Json.show(module.text("type"))
                    + (name.contains("Splade") || name.equals("MLMTransformer")
                        ? ", a sparse encoder (SPLADE), which is not supported"
                        : ""));
      }
    }
    if (pooling.isEmpty()) {
      throw new IllegalArgumentException(
          file
              + ": there must be a Pooling: without it each token keeps its vector (late"
              + " interaction, ColBERT), which is not supported");
    }
    return new Pipeline(pooling, includePrompt, List.copyOf(steps), dimension, true);
  }

  /** The last word of a module's type. */
  private static String name(Settings module) {
    String type = module.text("type");
    return type.substring(type.lastIndexOf('.') + 1);
  }

  /** The directory of a module. */
  private static Path path(Settings module, Path directory) {
    Path path = directory.resolve(module.text("path", "")).normalize();
    if (!path.startsWith(directory.normalize())) {
      throw module.refused("path", "inside the directory");
    }
    return path;
  }

  /**
   * The directory of the Transformer's own files, such as {@code 0_Transformer}: where {@code
   * modules.json} says that it is, otherwise the directory itself.
   */
  static Path transformer(Path directory) throws IOException {
    Path file = directory.resolve(MODULES);
    if (Files.exists(file)) {
      for (Settings module : modules(file)) {
        if (name(module).equals("Transformer") && !module.text("path", "").isEmpty()) {
          return path(module, directory);
        }
      }
    }
    return directory;
  }

  /**
   * Refuses modules other than a Transformer, for models whose vectors are not computed.
   *
   * @throws IllegalArgumentException naming the first of them
   */
  static void requireOnlyTransformer(ModelFiles files) throws IOException {
    if (files.hasModules()) {
      for (Settings module : modules(files.root().resolve(MODULES))) {
        if (!name(module).equals("Transformer")) {
          throw module.refused("type", "Transformer, the only module of a reranker here");
        }
      }
    }
  }

  private static List<Settings> modules(Path file) throws IOException {
    Object value;
    try {
      value = Json.parse(Files.readAllBytes(file));
    } catch (Json.MalformedException e) {
      throw new IOException(file + " must be valid JSON: " + e.getMessage(), e);
    }
    if (!(value instanceof List<?> list) || list.isEmpty()) {
      throw new IllegalArgumentException(
          file + " must hold a list of modules: it holds " + Json.show(value));
    }
    List<Settings> modules = new ArrayList<>();
    for (Object each : list) {
      if (!(each instanceof Map<?, ?> members)) {
        throw new IllegalArgumentException(
            file + " must hold objects: it holds " + Json.show(each));
      }
      modules.add(Settings.of(file.toString(), members));
    }
    modules.sort(Comparator.comparingInt(module -> module.count("idx", 0)));
    return modules;
  }

  /**
   * The old keys, one per pooling, or the new one, a word or a list of words in any order. Without
   * any of them the mean, as in sentence-transformers.
   */
  private static List<Pooling> pooling(Settings settings) {
    List<Pooling> kinds = new ArrayList<>();
    if (settings.has("pooling_mode")) {
      List<String> words =
          settings.value("pooling_mode") instanceof String word
              ? List.of(word)
              : settings.texts("pooling_mode");
      for (String word : words) {
        kinds.add(
            Arrays.stream(Pooling.values())
                .filter(kind -> kind.word().equals(word))
                .findFirst()
                .orElseThrow(
                    () ->
                        settings.refused(
                            "pooling_mode",
                            "of cls, max, mean, mean_sqrt_len_tokens, weightedmean and"
                                + " lasttoken")));
      }
      // Newer files may contain the old keys as well.
      for (String key : settings.keys()) {
        if (key.startsWith("pooling_mode_")) {
          settings.ignore(key);
        }
      }
      return List.copyOf(kinds);
    }
    String[] keys = {
      "pooling_mode_cls_token",
      "pooling_mode_max_tokens",
      "pooling_mode_mean_tokens",
      "pooling_mode_mean_sqrt_len_tokens",
      "pooling_mode_weightedmean_tokens",
      "pooling_mode_lasttoken"
    };
    for (int i = 0; i < keys.length; i++) {
      if (settings.flag(keys[i], false)) {
        kinds.add(Pooling.values()[i]);
      }
    }
    return kinds.isEmpty() ? List.of(Pooling.MEAN) : List.copyOf(kinds);
  }

  /** Newer files say which of the features a module reads and writes. */
  private static void requireSentenceEmbedding(Settings settings) {
    settings.require("module_input_name", "sentence_embedding");
    settings.require("module_output_name", "sentence_embedding");
  }

  private static Dense dense(Path directory, int dimension) throws IOException {
    Settings settings = Settings.read(directory.resolve("config.json"));
    int in = settings.integer("in_features");
    int out = settings.integer("out_features");
    if (in != dimension) {
      throw settings.refused("in_features", "what the module before gives, " + dimension);
    }
    boolean biased = settings.flag("bias", true);
    boolean residualAdded = settings.flag("use_residual", false);
    requireSentenceEmbedding(settings);
    Activation activation =
        activation(
            settings.text("activation_function", "torch.nn.modules.activation.Tanh"),
            settings.source() + ": activation_function");
    settings.requireAllRead();
    try (Arena arena = Arena.ofConfined()) {
      WeightReader reader =
          new WeightReader(
              directory.toString(),
              Checkpoint.open(directory, arena),
              Storage.FLOAT32,
              false,
              arena);
      Tensor weight = reader.floats(Source.of("linear.weight", out, in));
      Tensor bias = biased ? reader.floats(Source.of("linear.bias", out)) : null;
      Tensor residual =
          residualAdded && in != out ? reader.floats(Source.of("residual.weight", out, in)) : null;
      reader.requireComplete();
      return new Dense(
          in,
          out,
          weight.toFloatArray(),
          biased ? bias.toFloatArray() : null,
          activation,
          residualAdded,
          residual == null ? null : residual.toFloatArray());
    }
  }

  /**
   * An activation function by the name of its PyTorch class.
   *
   * @param what the name of the setting in the message
   */
  static Activation activation(String name, String what) {
    return switch (name.substring(name.lastIndexOf('.') + 1)) {
      case "Identity" -> Activation.IDENTITY;
      case "Tanh" -> Activation.TANH;
      case "Sigmoid" -> Activation.SIGMOID;
      case "ReLU" -> Activation.RELU;
      case "SiLU" -> Activation.SILU;
      case "GELU" -> Activation.GELU;
      default ->
          throw new IllegalArgumentException(
              what
                  + " must be Identity, Tanh, Sigmoid, ReLU, SiLU or GELU of torch.nn: "
                  + Json.show(name));
    };
  }

  /**
   * The only token of a text that is pooled, as a function of the text's length; null if several
   * are. {@link #vector} accepts its hidden state as a text of one token.
   */
  IntUnaryOperator onlyPooled(int promptTokens) {
    if (pooling.size() != 1) {
      return null;
    }
    return switch (pooling.getFirst()) {
      case CLS -> length -> skipped(length, promptTokens);
      case LAST_TOKEN -> length -> length - 1;
      default -> null;
    };
  }

  /** How many of a text's first tokens are not pooled. */
  private int skipped(int length, int promptTokens) {
    return includePrompt ? 0 : Math.min(promptTokens, length - 1);
  }

  /** The vector of a text. */
  float[] vector(Tensor hidden, int row, int length, int promptTokens) {
    int width = Math.toIntExact(hidden.size(1));
    int skip = skipped(length, promptTokens);
    float[] vector = new float[width * pooling.size()];
    for (int i = 0; i < pooling.size(); i++) {
      pooling.get(i).pool(hidden, row, length, skip, vector, i * width);
    }
    for (Step step : steps) {
      switch (step) {
        case Normalize() -> Pooling.normalize(vector);
        case Dense dense -> vector = apply(dense, vector);
      }
    }
    return vector;
  }

  /** Whether the result has length 1. */
  boolean normalizes() {
    return !steps.isEmpty() && steps.getLast() instanceof Normalize;
  }

  private static float[] apply(Dense dense, float[] x) {
    float[] result = apply(dense.activation, product(dense.weight, dense.bias, x, dense.out));
    if (dense.residualAdded) {
      float[] added = dense.residual == null ? x : product(dense.residual, null, x, dense.out);
      for (int o = 0; o < result.length; o++) {
        result[o] += added[o];
      }
    }
    return result;
  }

  private static float[] product(float[] weight, float[] bias, float[] x, int out) {
    float[] sums = new float[out];
    for (int o = 0; o < out; o++) {
      double sum = bias == null ? 0 : bias[o];
      for (int i = 0; i < x.length; i++) {
        sum += (double) weight[o * x.length + i] * x[i];
      }
      sums[o] = (float) sum;
    }
    return sums;
  }

  /** An activation of each element. */
  static float[] apply(Activation activation, float[] x) {
    if (activation == Activation.IDENTITY) {
      return x;
    }
    try (Arena arena = Arena.ofConfined()) {
      Tensor values = Tensor.of(arena, x, 1, x.length);
      activation.forward(values, values);
      return values.toFloatArray();
    }
  }
}
