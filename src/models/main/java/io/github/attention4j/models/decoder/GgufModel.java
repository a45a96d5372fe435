package io.github.attention4j.models.decoder;

import io.github.attention4j.Tensor;
import io.github.attention4j.layer.QuantizedWeights;
import io.github.attention4j.models.files.Checkpoint;
import io.github.attention4j.models.files.Settings;
import io.github.attention4j.models.files.Stored;
import io.github.attention4j.models.gguf.GgufFile;
import io.github.attention4j.models.gguf.GgufTensor;
import java.lang.foreign.Arena;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.HashSet;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.Set;
import java.util.TreeMap;
import java.util.regex.Matcher;
import java.util.regex.Pattern;

/**
 * The model in a GGUF file, as the families know it: metadata under Hugging Face's keys, and
 * tensors under Hugging Face's names.
 *
 * @param specification what the model computes
 * @param checkpoint its tensors
 */
public record GgufModel(Specification specification, Checkpoint checkpoint) {
  /** {@code general.architecture}, and the family that computes it. */
  private static final Map<String, String> ARCHITECTURES =
      new TreeMap<>(
          Map.of(
              "llama", "llama",
              "qwen2", "qwen2",
              "qwen3", "qwen3",
              "qwen3moe", "qwen3_moe",
              "gemma2", "gemma2",
              "gemma3", "gemma3_text"));

  private static final Pattern LAYER = Pattern.compile("model\\.layers\\.(\\d+)\\.(.*)");

  private static final Pattern EXPERT =
      Pattern.compile("(?:block_sparse_moe|mlp)\\.experts\\.(\\d+)\\.(\\w+)\\.weight");

  private static final Map<String, String> EXPERT_NAMES =
      Map.of(
          "w1", "ffn_gate_exps",
          "w2", "ffn_down_exps",
          "w3", "ffn_up_exps",
          "gate_proj", "ffn_gate_exps",
          "down_proj", "ffn_down_exps",
          "up_proj", "ffn_up_exps");

  /** Names below a layer, without {@code .weight} or {@code .bias}. */
  private static final Map<String, String> NAMES =
      Map.ofEntries(
          Map.entry("input_layernorm", "attn_norm"),
          Map.entry("self_attn.q_proj", "attn_q"),
          Map.entry("self_attn.k_proj", "attn_k"),
          Map.entry("self_attn.v_proj", "attn_v"),
          Map.entry("self_attn.o_proj", "attn_output"),
          Map.entry("self_attn.q_norm", "attn_q_norm"),
          Map.entry("self_attn.k_norm", "attn_k_norm"),
          Map.entry("pre_feedforward_layernorm", "ffn_norm"),
          Map.entry("post_feedforward_layernorm", "post_ffw_norm"),
          Map.entry("mlp.gate_proj", "ffn_gate"),
          Map.entry("mlp.up_proj", "ffn_up"),
          Map.entry("mlp.down_proj", "ffn_down"),
          Map.entry("mlp.gate", "ffn_gate_inp"),
          Map.entry("block_sparse_moe.gate", "ffn_gate_inp"));

  /**
   * Reads what a file says about its model.
   *
   * @throws IllegalArgumentException naming what is missing, wrong or not supported
   */
  public static GgufModel read(GgufFile file) {
    return new Reader(file).read();
  }

  /** The name in the file of a tensor that the family knows by Hugging Face's. */
  public String ggufName(String name) {
    return ggufName(name, specification.family().startsWith("gemma"));
  }

  private static String ggufName(String name, boolean gemma) {
    switch (name) {
      case "model.embed_tokens.weight":
        return "token_embd.weight";
      case "model.norm.weight":
        return "output_norm.weight";
      case "lm_head.weight":
        return "output.weight";
      default:
        break;
    }
    Matcher layer = LAYER.matcher(name);
    if (!layer.matches()) {
      return name;
    }
    String rest = layer.group(2);
    Matcher expert = EXPERT.matcher(rest);
    if (expert.matches()) {
      return "blk." + layer.group(1) + "." + EXPERT_NAMES.get(expert.group(2)) + ".weight";
    }
    int dot = rest.lastIndexOf('.');
    String stem = rest.substring(0, dot);
    String inner =
        stem.equals("post_attention_layernorm")
            ? gemma ? "post_attention_norm" : "ffn_norm"
            : NAMES.getOrDefault(stem, stem);
    return "blk." + layer.group(1) + "." + inner + rest.substring(dot);
  }

  private static final class Reader {
    private final GgufFile file;
    private final String architecture;
    private final String family;

    /** The keys that begin with the architecture's name. */
    private final Settings metadata;

    private final Map<String, Object> config = new LinkedHashMap<>();
    private final Set<String> used = new HashSet<>();

    Reader(GgufFile file) {
      this.file = file;
      Settings all = Settings.of(file.path().toString(), file.metadata());
      architecture = all.text("general.architecture");
      if (!ARCHITECTURES.containsKey(architecture)) {
        throw all.refused(
            "general.architecture", "one of " + String.join(", ", ARCHITECTURES.keySet()));
      }
      Map<String, Object> own = new LinkedHashMap<>();
      file.metadata()
          .forEach(
              (key, value) -> {
                if (key.startsWith(architecture + ".")) {
                  own.put(key, value);
                }
              });
      metadata = Settings.of(file.path().toString(), own);
      boolean experts = metadata.count(key("expert_count"), 0) > 0;
      family =
          architecture.equals("llama") && experts ? "mixtral" : ARCHITECTURES.get(architecture);
    }

    private String key(String name) {
      return architecture + "." + name;
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
      caps();
      experts();
      metadata.requireAllRead();
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
      return new GgufModel(specification, Checkpoint.of(tensors));
    }

    private void sizes() {
      config.put("model_type", family);
      int width = metadata.integer(key("embedding_length"));
      int heads = equalInAllLayers("attention.head_count", -1);
      int dim = metadata.integer(key("attention.key_length"), width / heads);
      int dimV = metadata.integer(key("attention.value_length"), dim);
      if (dimV != dim) {
        throw metadata.refused(key("attention.value_length"), "the key length, " + dim);
      }
      int turned = metadata.integer(key("rope.dimension_count"), dim);
      if (turned != dim) {
        throw metadata.refused(key("rope.dimension_count"), "the head size, " + dim);
      }
      long[] embedding = file.tensors().get("token_embd.weight").shape();
      config.put("vocab_size", (long) metadata.integer(key("vocab_size"), (int) embedding[0]));
      config.put("hidden_size", (long) width);
      config.put("intermediate_size", (long) equalInAllLayers("feed_forward_length", -1));
      config.put("num_hidden_layers", (long) layers());
      config.put("num_attention_heads", (long) heads);
      config.put("num_key_value_heads", (long) equalInAllLayers("attention.head_count_kv", heads));
      config.put("head_dim", (long) dim);
      config.put("max_position_embeddings", (long) metadata.integer(key("context_length")));
      config.put("rms_norm_eps", metadata.positive(key("attention.layer_norm_rms_epsilon")));
      config.put("tie_word_embeddings", !file.tensors().containsKey("output.weight"));
      if (!architecture.equals("qwen2")) {
        config.put("attention_bias", file.tensors().containsKey("blk.0.attn_q.bias"));
      }
      if (family.startsWith("gemma")) {
        // llama.cpp recognises Gemma 2 27B, which has another scale, by its number of layers.
        boolean other = family.equals("gemma2") && layers() == 46;
        config.put("query_pre_attn_scalar", other ? (double) width / heads : (double) dim);
        config.remove("attention_bias");
      }
      metadata.ignore(key("attention.causal"));
      if (!metadata.flag(key("attention.causal"), true)) {
        throw metadata.refused(key("attention.causal"), "true");
      }
    }

    private int layers() {
      int layers = metadata.integer(key("block_count"));
      if (layers > file.tensors().size()) {
        throw metadata.refused(
            key("block_count"), "at most the number of tensors, " + file.tensors().size());
      }
      return layers;
    }

    /** A size that may be a list with one value for each layer, if they are all equal. */
    private int equalInAllLayers(String name, int otherwise) {
      if (metadata.value(key(name)) instanceof List<?> list) {
        if (list.isEmpty() || !(list.getFirst() instanceof Long first)) {
          throw metadata.refused(key(name), "an integer or a list of integers");
        }
        if (!list.stream().allMatch(first::equals)) {
          throw metadata.refused(key(name), "equal in all layers, as others are not computed");
        }
        return Math.toIntExact(first);
      }
      return otherwise < 0 ? metadata.integer(key(name)) : metadata.integer(key(name), otherwise);
    }

    private void positions() {
      Map<String, Object> rope = new LinkedHashMap<>();
      rope.put("rope_theta", metadata.positive(key("rope.freq_base"), 10_000));
      double factor = metadata.positive(key("rope.scaling.factor"), 1);
      String type = metadata.text(key("rope.scaling.type"), "none");
      int context = metadata.integer(key("context_length"));
      int original = metadata.integer(key("rope.scaling.original_context_length"), context);
      double magnitude = metadata.positive(key("rope.scaling.attn_factor"), 1);
      metadata.ignore(key("rope.scaling.finetuned"));
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
          rope.put("beta_fast", metadata.positive(key("rope.scaling.yarn_beta_fast"), 32));
          rope.put("beta_slow", metadata.positive(key("rope.scaling.yarn_beta_slow"), 1));
          rope.put("attention_factor", magnitude * (1 + 0.1 * Math.log(factor)));
          magnitude = 1;
        }
        default ->
            throw metadata.refused(key("rope.scaling.type"), "\"none\", \"linear\" or \"yarn\"");
      }
      if (magnitude != 1) {
        throw metadata.refused(key("rope.scaling.attn_factor"), "1 unless the type is yarn");
      }
      GgufTensor factors = file.tensors().get("rope_freqs.weight");
      if (factors != null) {
        divide(rope, factors, type, context);
      }
      if (family.equals("gemma3_text")) {
        Map<String, Object> local = new LinkedHashMap<>();
        local.put("rope_type", "default");
        local.put("rope_theta", metadata.positive(key("rope.freq_base_swa"), 10_000));
        config.put("rope_parameters", Map.of("full_attention", rope, "sliding_attention", local));
      } else {
        config.put("rope_parameters", rope);
      }
    }

    /** {@code rope_freqs.weight} divides the frequencies, of texts of any length. */
    private void divide(Map<String, Object> rope, GgufTensor factors, String type, int context) {
      used.add(factors.name());
      long[] wanted = {(Long) config.get("head_dim") / 2};
      if (!Arrays.equals(factors.shape(), wanted) || !factors.type().isDecoded()) {
        throw new IllegalArgumentException(
            file.path()
                + ": rope_freqs.weight must be floats "
                + Arrays.toString(wanted)
                + ": it is "
                + factors);
      }
      if (!type.equals("none")) {
        throw metadata.refused(
            key("rope.scaling.type"), "\"none\" where there is rope_freqs.weight");
      }
      List<Object> list = new ArrayList<>();
      try (Arena scratch = Arena.ofConfined()) {
        for (float factor : factors.floats(scratch).toFloatArray()) {
          list.add((double) factor);
        }
      }
      rope.put("rope_type", "longrope");
      rope.put("short_factor", list);
      rope.put("long_factor", list);
      rope.put("attention_factor", 1.0);
      rope.put("original_max_position_embeddings", (long) context);
    }

    private void windows() {
      if (metadata.has(key("attention.sliding_window"))) {
        int window = metadata.count(key("attention.sliding_window"), 0);
        boolean gemma = family.startsWith("gemma");
        if (!gemma && window > 0) {
          throw metadata.refused(key("attention.sliding_window"), "0 or absent");
        }
        config.put("sliding_window", (long) window);
      }
      String pattern = key("attention.sliding_window_pattern");
      switch (metadata.value(pattern)) {
        case null -> {}
        case Long period when family.equals("gemma3_text") ->
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

    private void caps() {
      boolean capped = family.equals("gemma2");
      for (String name : List.of("attn_logit_softcapping", "final_logit_softcapping")) {
        if (metadata.has(key(name))) {
          double cap = metadata.positive(key(name));
          config.put(name, cap);
        } else if (!capped) {
          config.put(name, null);
        }
      }
    }

    private void experts() {
      int count = metadata.count(key("expert_count"), 0);
      if (count == 0) {
        return;
      }
      boolean mixtral = family.equals("mixtral");
      config.put(mixtral ? "num_local_experts" : "num_experts", (long) count);
      config.put("num_experts_per_tok", (long) metadata.integer(key("expert_used_count")));
      if (!mixtral) {
        config.put(
            "moe_intermediate_size", (long) metadata.integer(key("expert_feed_forward_length")));
        config.put("norm_topk_prob", true);
      }
    }

    // ---- Tensors ----

    private void find(Source source, Map<String, Stored> tensors) {
      boolean gemma = family.startsWith("gemma");
      String name = ggufName(source.name(), gemma);
      GgufTensor tensor = file.tensors().get(name);
      if (tensor == null) {
        tensor = partOfFused(source, name);
      } else {
        used.add(name);
        Matcher layer = LAYER.matcher(source.name());
        Matcher expert = layer.matches() ? EXPERT.matcher(layer.group(2)) : null;
        if (expert != null && expert.matches()) {
          tensor = expert(source, tensor, Integer.parseInt(expert.group(1)));
        }
      }
      if (tensor != null) {
        tensors.put(source.name(), new InFile(tensor));
      }
    }

    /** One expert's matrix of the tensor that has all of them. */
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

    /** Queries, keys or values of a tensor that has all three, one below the other. */
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
