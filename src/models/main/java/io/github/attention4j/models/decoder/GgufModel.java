package io.github.attention4j.models.decoder;

import io.github.attention4j.Tensor;
import io.github.attention4j.layer.QuantizedWeights;
import io.github.attention4j.models.files.Checkpoint;
import io.github.attention4j.models.files.Settings;
import io.github.attention4j.models.files.Stored;
import io.github.attention4j.models.gguf.GgufFile;
import io.github.attention4j.models.gguf.GgufTensor;
import io.github.attention4j.models.weights.Source;
import java.lang.foreign.Arena;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.HashSet;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.Set;
import java.util.regex.Matcher;
import java.util.regex.Pattern;

/**
 * The model in a GGUF file as families expect it: metadata under Hugging Face's keys, and tensors
 * under Hugging Face's names.
 */
public final class GgufModel {
  private static final Pattern EXPERT =
      Pattern.compile("(?:block_sparse_moe|mlp)\\.experts\\.(\\d+)\\.(\\w+)");

  private static final Map<String, String> EXPERT_NAMES =
      Map.of(
          "w1", "ffn_gate_exps",
          "w2", "ffn_down_exps",
          "w3", "ffn_up_exps",
          "gate_proj", "ffn_gate_exps",
          "down_proj", "ffn_down_exps",
          "up_proj", "ffn_up_exps");

  private final Specification specification;
  private final Checkpoint checkpoint;
  private final GgufArchitecture architecture;

  private GgufModel(
      Specification specification, Checkpoint checkpoint, GgufArchitecture architecture) {
    this.specification = specification;
    this.checkpoint = checkpoint;
    this.architecture = architecture;
  }

  /** What the model computes. */
  public Specification specification() {
    return specification;
  }

  /** Its tensors. */
  public Checkpoint checkpoint() {
    return checkpoint;
  }

  /**
   * Reads what a file says about its model.
   *
   * @throws IllegalArgumentException naming what is missing, wrong or not supported
   */
  public static GgufModel read(GgufFile file) {
    return new Reader(file).read();
  }

  /** The file's name of a tensor, given Hugging Face's. */
  public String ggufName(String name) {
    return ggufName(name, architecture);
  }

  private static String ggufName(String name, GgufArchitecture architecture) {
    GgufArchitecture.Names names = architecture.names();
    int dot = name.lastIndexOf('.');
    String stem = name.substring(0, dot);
    if (!stem.startsWith(names.layers())) {
      return names.outer().getOrDefault(stem, stem) + name.substring(dot);
    }
    int number = names.layers().length();
    int end = stem.indexOf('.', number);
    String layer = "blk." + stem.substring(number, end) + ".";
    String rest = stem.substring(end + 1);
    Matcher expert = EXPERT.matcher(rest);
    String inner =
        expert.matches()
            ? EXPERT_NAMES.get(expert.group(2))
            : names.inner().getOrDefault(rest, rest);
    return layer + inner + name.substring(dot);
  }

  private static final class Reader {
    private final GgufFile file;
    private final GgufArchitecture architecture;
    private final GgufArchitecture.Metadata metadata;
    private final Map<String, Object> config = new LinkedHashMap<>();
    private final Set<String> used = new HashSet<>();

    Reader(GgufFile file) {
      this.file = file;
      Settings all = Settings.of(file.path().toString(), file.metadata());
      String name = all.text("general.architecture");
      architecture = GgufArchitecture.ALL.get(name);
      if (architecture == null) {
        throw all.refused(
            "general.architecture", "one of " + String.join(", ", GgufArchitecture.ALL.keySet()));
      }
      Map<String, Object> own = new LinkedHashMap<>();
      file.metadata()
          .forEach(
              (key, value) -> {
                if (key.startsWith(name + ".")) {
                  own.put(key, value);
                }
              });
      metadata =
          new GgufArchitecture.Metadata(Settings.of(file.path().toString(), own), name + ".");
    }

    GgufModel read() {
      if (!file.tensors().containsKey("token_embd.weight")) {
        throw new IllegalArgumentException(
            file.path()
                + ": token_embd.weight must be there: it is missing among "
                + file.tensors().size()
                + " tensors");
      }
      sizes();
      positions();
      windows();
      architecture.own().read(metadata, file.tensors()::containsKey, config);
      boolean experts = config.containsKey("num_experts_per_tok");
      if (metadata.count("expert_count", 0) > 0 && !experts) {
        throw metadata.refused("expert_count", "0 or absent");
      }
      if (!experts) {
        metadata.settings().ignore(metadata.prefix() + "expert_used_count");
      }
      metadata.settings().requireAllRead();
      Settings settings = Settings.of(file.path().toString(), config);
      Specification specification = Families.read(settings, Family.Layout.GGUF);
      Map<String, Stored> tensors = new LinkedHashMap<>();
      specification.forEachSource(source -> find(source, tensors));
      file.tensors()
          .forEach(
              (name, tensor) -> {
                if (!used.contains(name)) {
                  tensors.put(name, new InFile(tensor));
                }
              });
      return new GgufModel(specification, Checkpoint.of(tensors, file.files()), architecture);
    }

    private void sizes() {
      config.put("model_type", architecture.family());
      int width = metadata.integer("embedding_length");
      int heads = equalInAllLayers("attention.head_count", -1);
      int dim = metadata.integer("attention.key_length", Math.max(1, width / heads));
      int dimV = metadata.integer("attention.value_length", dim);
      if (dimV != dim) {
        throw metadata.refused("attention.value_length", "the key length, " + dim);
      }
      turnedPart(dim);
      long[] embedding = file.tensors().get("token_embd.weight").shape();
      config.put("vocab_size", (long) metadata.integer("vocab_size", (int) embedding[0]));
      config.put("hidden_size", (long) width);
      config.put("intermediate_size", (long) equalInAllLayers("feed_forward_length", -1));
      config.put("num_hidden_layers", (long) layers());
      config.put("num_attention_heads", (long) heads);
      config.put("num_key_value_heads", (long) equalInAllLayers("attention.head_count_kv", heads));
      config.put("head_dim", (long) dim);
      config.put("max_position_embeddings", (long) metadata.integer("context_length"));
      config.put(architecture.familyEpsilon(), metadata.positive(architecture.epsilon()));
      config.put("tie_word_embeddings", !file.tensors().containsKey("output.weight"));
      if (!metadata.flag("attention.causal", true)) {
        throw metadata.refused("attention.causal", "true");
      }
    }

    private void turnedPart(int dim) {
      int turned = metadata.integer("rope.dimension_count", dim);
      if (turned > dim || (turned != dim && architecture.turnedPart() == null)) {
        throw metadata.refused(
            "rope.dimension_count",
            (architecture.turnedPart() == null ? "" : "at most ") + "the head size, " + dim);
      }
      if (architecture.turnedPart() != null) {
        // Families truncate the product with the head size to an integer.
        config.put(architecture.turnedPart(), turned == dim ? 1 : (turned + 0.5) / dim);
      }
    }

    private int layers() {
      int layers = metadata.integer("block_count");
      if (layers > file.tensors().size()) {
        throw metadata.refused(
            "block_count", "at most the number of tensors, " + file.tensors().size());
      }
      return layers;
    }

    /** A size, or a list with the same size for each layer. */
    private int equalInAllLayers(String name, int otherwise) {
      if (metadata.value(name) instanceof List<?> list) {
        if (list.isEmpty() || !(list.getFirst() instanceof Long first)) {
          throw metadata.refused(name, "an integer or a list of integers");
        }
        if (!list.stream().allMatch(first::equals)) {
          throw metadata.refused(name, "equal in all layers, as others are not computed");
        }
        if (first != first.intValue()) {
          throw metadata.refused(name, "a list of integers of at most " + Integer.MAX_VALUE);
        }
        return first.intValue();
      }
      return otherwise < 0 ? metadata.integer(name) : metadata.integer(name, otherwise);
    }

    private void positions() {
      Map<String, Object> rope = new LinkedHashMap<>();
      rope.put("rope_theta", metadata.positive("rope.freq_base", 10_000));
      // Old files have another key of the factor. llama.cpp takes a factor without a type for
      // linear.
      double old = metadata.factor("rope.scale_linear", 1);
      double factor = metadata.factor("rope.scaling.factor", old);
      String type = metadata.text("rope.scaling.type", factor == 1 ? "none" : "linear");
      int context = metadata.integer("context_length");
      int original = metadata.integer("rope.scaling.original_context_length", context);
      double magnitude = metadata.positive("rope.scaling.attn_factor", 1);
      metadata.flag("rope.scaling.finetuned", true);
      boolean longRope = file.tensors().containsKey("rope_factors_long.weight");
      switch (type) {
        case "none" -> rope.put("rope_type", "default");
        case "linear" -> {
          rope.put("rope_type", "linear");
          rope.put("factor", factor);
        }
        case "yarn" -> {
          rope.put("rope_type", "yarn");
          rope.put("factor", factor);
          rope.put("original_max_position_embeddings", (long) original);
          rope.put("beta_fast", metadata.positive("rope.scaling.yarn_beta_fast", 32));
          rope.put("beta_slow", metadata.positive("rope.scaling.yarn_beta_slow", 1));
          rope.put("attention_factor", magnitude * (1 + 0.1 * Math.log(factor)));
          magnitude = 1;
        }
        case "longrope" -> {
          if (!longRope) {
            throw metadata.refused(
                "rope.scaling.type", "another where there is no rope_factors_long.weight");
          }
        }
        default ->
            throw metadata.refused(
                "rope.scaling.type", "\"none\", \"linear\", \"yarn\" or \"longrope\"");
      }
      if (longRope) {
        require(type.equals("none") || type.equals("longrope"), "rope_factors_long.weight");
        rope.put("rope_type", "longrope");
        rope.put("short_factor", factors("rope_factors_short.weight"));
        rope.put("long_factor", factors("rope_factors_long.weight"));
        rope.put("attention_factor", magnitude);
        rope.put("original_max_position_embeddings", (long) original);
        magnitude = 1;
      }
      if (magnitude != 1) {
        throw metadata.refused("rope.scaling.attn_factor", "1 unless the type is yarn or longrope");
      }
      if (file.tensors().containsKey("rope_freqs.weight")) {
        // One tensor of factors for texts of any length.
        require(type.equals("none") && !longRope, "rope_freqs.weight");
        List<Object> factors = factors("rope_freqs.weight");
        rope.put("rope_type", "longrope");
        rope.put("short_factor", factors);
        rope.put("long_factor", factors);
        rope.put("attention_factor", 1.0);
        rope.put("original_max_position_embeddings", (long) context);
      }
      config.put("rope_parameters", rope);
    }

    private void require(boolean alone, String tensor) {
      if (!alone) {
        throw metadata.refused("rope.scaling.type", "\"none\" where there is " + tensor);
      }
    }

    /** The divisors of the frequencies in a tensor, one for each rotated pair. */
    private List<Object> factors(String name) {
      GgufTensor factors = file.tensors().get(name);
      used.add(name);
      long[] wanted = {
        metadata.integer("rope.dimension_count", Math.toIntExact((Long) config.get("head_dim"))) / 2
      };
      if (factors == null
          || !Arrays.equals(factors.shape(), wanted)
          || !factors.type().isDecoded()) {
        throw new IllegalArgumentException(
            file.path()
                + ": "
                + name
                + " must be floats "
                + Arrays.toString(wanted)
                + ": it is "
                + (factors == null ? "missing" : factors));
      }
      List<Object> list = new ArrayList<>();
      try (Arena scratch = Arena.ofConfined()) {
        for (float factor : factors.floats(scratch).toFloatArray()) {
          list.add((double) factor);
        }
      }
      return list;
    }

    private void windows() {
      if (metadata.has("attention.sliding_window")) {
        int window = metadata.count("attention.sliding_window", 0);
        if (!architecture.windows() && window > 0) {
          throw metadata.refused("attention.sliding_window", "0 or absent");
        }
        if (architecture.windows()) {
          config.put("sliding_window", (long) window);
        }
      }
      String pattern = "attention.sliding_window_pattern";
      switch (metadata.value(pattern)) {
        case null -> {}
        case Long period when architecture.windows() ->
            config.put("sliding_window_pattern", period);
        case List<?> layers -> {
          List<Object> types = new ArrayList<>();
          for (Object slides : layers) {
            types.add(Boolean.TRUE.equals(slides) ? "sliding_attention" : "full_attention");
          }
          config.put("layer_types", types);
        }
        default -> throw metadata.refused(pattern, "absent, or a list with a value for each layer");
      }
    }

    // ---- Tensors ----

    private void find(Source source, Map<String, Stored> tensors) {
      String name = ggufName(source.name(), architecture);
      Matcher expert = EXPERT.matcher(source.name());
      boolean isExpert = expert.find();
      GgufTensor tensor = file.tensors().get(name);
      if (tensor == null && isExpert) {
        // Files of 2023 have a tensor for each expert.
        name = name.replace("_exps.", "." + expert.group(1) + ".");
        tensor = file.tensors().get(name);
        isExpert = false;
      }
      if (tensor == null) {
        tensor = partOfFused(source, name);
      } else {
        used.add(name);
        if (isExpert) {
          tensor = expert(source, tensor, Integer.parseInt(expert.group(1)));
        }
      }
      if (tensor != null) {
        tensors.put(source.name(), new InFile(tensor));
      }
    }

    /** One expert's matrix in the tensor of all experts. */
    private GgufTensor expert(Source source, GgufTensor all, int index) {
      long[] shape = all.shape();
      long rows = source.shape()[0];
      Object count = config.getOrDefault("num_local_experts", config.get("num_experts"));
      long[] wanted = {(Long) count, rows, source.shape()[1]};
      if (!Arrays.equals(shape, wanted)) {
        throw new IllegalArgumentException(
            file.path()
                + ": "
                + all.name()
                + " must have the shape "
                + Arrays.toString(wanted)
                + ": it is "
                + Arrays.toString(shape));
      }
      return all.part(all.name() + "[" + index + "]", index * rows, rows);
    }

    /** The queries, keys or values in a tensor that stacks all three. */
    private GgufTensor partOfFused(Source source, String name) {
      String fusedName = name.replaceFirst("\\.attn_[qkv]\\.", ".attn_qkv.");
      GgufTensor fused = file.tensors().get(fusedName);
      if (fused == null || fusedName.equals(name)) {
        return null;
      }
      used.add(fusedName);
      long heads = (Long) config.get("num_attention_heads") * (Long) config.get("head_dim");
      long keys = (Long) config.get("num_key_value_heads") * (Long) config.get("head_dim");
      long from = name.contains(".attn_q.") ? 0 : name.contains(".attn_k.") ? heads : heads + keys;
      long[] wanted = source.shape().clone();
      wanted[0] = heads + 2 * keys;
      if (!Arrays.equals(fused.shape(), wanted)) {
        throw new IllegalArgumentException(
            file.path()
                + ": "
                + fusedName
                + " must have the shape "
                + Arrays.toString(wanted)
                + ": it is "
                + Arrays.toString(fused.shape()));
      }
      return fused.part(name, from, source.shape()[0]);
    }
  }

  /** A tensor of the file. */
  private record InFile(GgufTensor tensor) implements Stored {
    @Override
    public String type() {
      return tensor.type().name();
    }

    @Override
    public long[] shape() {
      return tensor.shape();
    }

    @Override
    public long bytes() {
      return tensor.bytes();
    }

    @Override
    public boolean isReadable() {
      return tensor.type().isDecoded();
    }

    @Override
    public Tensor inPlace() {
      return tensor.inPlace();
    }

    @Override
    public QuantizedWeights quantized(Arena arena) {
      return tensor.quantized(arena);
    }

    @Override
    public Tensor floats(Arena arena) {
      return tensor.floats(arena);
    }

    @Override
    public void row(long row, Tensor out) {
      tensor.row(row, out);
    }
  }
}
