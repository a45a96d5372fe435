package io.github.attention4j.models;

import static org.junit.jupiter.api.Assertions.assertArrayEquals;
import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertThrows;

import com.google.gson.GsonBuilder;
import io.github.attention4j.DType;
import io.github.attention4j.Tensor;
import io.github.attention4j.internal.Json;
import io.github.attention4j.io.SafeTensors;
import java.io.IOException;
import java.lang.foreign.Arena;
import java.net.URISyntaxException;
import java.nio.file.DirectoryStream;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.Arrays;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.Objects;
import java.util.regex.Matcher;
import java.util.regex.Pattern;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;
import org.junit.jupiter.params.provider.ValueSource;

/**
 * Every family that GGUF knows: a checkpoint and the same model arranged as llama.cpp's converter
 * arranges it give the same logits.
 */
class GgufFamiliesTest {
  private static final LoadOptions FLOATS =
      LoadOptions.builder().weights(LoadOptions.Weights.FLOAT32).build();

  @TempDir private Path directory;

  private final TinyGguf gguf = new TinyGguf();
  private final Map<String, Object> config = new LinkedHashMap<>();
  private String architecture;

  @ParameterizedTest
  @CsvSource({
    "llama_eos_list, llama",
    "llama_linear_biases, llama",
    "llama_yarn, llama",
    "mistral_window, llama",
    "mixtral_4x2, llama",
    "qwen2_tied, qwen2",
    "qwen3_tied, qwen3",
    "qwen3_moe_normalised, qwen3moe",
    "smollm3_no_rope_list, smollm3",
    "gemma2_caps, gemma2",
    "gemma3_old, gemma3",
    "phi3_window, phi3",
    "phi3_longrope, phi3",
    "phi3_longrope_crossing, phi3",
    "granite_tied, granite",
    "olmo2_mha, olmo2",
    "cohere2_pattern, cohere2",
    "gpt2_prefixed, gpt2",
    "gpt_neox_parallel, gptneox"
  })
  void shouldComputeWhatTheCheckpointDoes(String name, String to) throws Exception {
    Path checkpoint = convert(name, to);
    Path file = gguf.write(directory.resolve(name + ".gguf"));
    try (Arena arena = Arena.ofConfined();
        CausalLm wanted = CausalLm.open(checkpoint, FLOATS);
        CausalLm got = CausalLm.open(file, FLOATS)) {
      int[] text = new int[Math.min(48, wanted.context())];
      Arrays.setAll(text, i -> (i * i + 3 * i) % wanted.vocabulary());
      assertEquals(wanted.context(), got.context());
      assertEquals(wanted.parameters(), got.parameters());
      float[] logits = wanted.logits(arena, text).toFloatArray();
      float largest = 0;
      for (float logit : logits) {
        largest = Math.max(largest, Math.abs(logit));
      }
      assertArrayEquals(logits, got.logits(arena, text).toFloatArray(), 2e-6f * largest);
    }
  }

  @ParameterizedTest
  @ValueSource(strings = {"rope.scaling.factor", "rope.scale_linear"})
  void shouldTakeAFactorWithoutATypeForLinearScaling(String key) throws Exception {
    Path checkpoint = convert("llama_linear_biases", "llama");
    gguf.metadata.remove("llama.rope.scaling.type");
    gguf.metadata.put("llama." + key, gguf.metadata.remove("llama.rope.scaling.factor"));
    gguf.metadata.put("llama.tensor_data_layout", "Meta AI original pth");
    assertSameLogits(checkpoint, gguf.write(directory.resolve("linear.gguf")));
  }

  @Test
  void shouldReadExpertsThatLieInTensorsOfTheirOwn() throws Exception {
    Path checkpoint = convert("mixtral_4x2", "llama");
    for (String name : List.copyOf(gguf.tensors.keySet())) {
      if (name.contains("_exps.")) {
        Tensor all = gguf.tensors.remove(name);
        for (int e = 0; e < all.size(0); e++) {
          gguf.tensors.put(name.replace("_exps.", "." + e + "."), all.select(0, e));
        }
      }
    }
    assertSameLogits(checkpoint, gguf.write(directory.resolve("experts.gguf")));
  }

  private static void assertSameLogits(Path checkpoint, Path file) throws IOException {
    int[] text = {1, 5, 9, 12, 7};
    try (Arena arena = Arena.ofConfined();
        CausalLm wanted = CausalLm.open(checkpoint, FLOATS);
        CausalLm got = CausalLm.open(file, FLOATS)) {
      assertArrayEquals(
          wanted.logits(arena, text).toFloatArray(), got.logits(arena, text).toFloatArray(), 1e-4f);
    }
  }

  @ParameterizedTest
  @CsvSource(
      delimiter = '|',
      value = {
        "granite_tied | granite | rope.scaling.finetuned | false | true or absent",
        "olmo2_mha | olmo2 | attention.sliding_window | 7 | 0 or absent",
        "qwen2_tied | qwen2 | expert_count | 4 | 0 or absent",
        "cohere2_pattern | cohere2 | rope.dimension_count | 8 | the head size, 16",
        "phi3_window | phi3 | rope.dimension_count | 18 | at most the head size, 16",
        "gpt_neox_parallel | gptneox | attention.head_count_kv | 2 | attention.head_count, 4",
        "gpt_neox_parallel | gptneox | attention.key_length | 8 | embedding_length /"
            + " attention.head_count, 16",
        "phi3_window | phi3 | rope.scaling.type | longrope | another where there is no"
            + " rope_factors_long.weight",
        "llama_eos_list | llama | rope.scaling.type | su | \"none\", \"linear\", \"yarn\" or"
            + " \"longrope\""
      })
  void shouldRefuseByNameWhatIsNotComputed(
      String name, String to, String key, String value, String wanted) throws Exception {
    convert(name, to);
    Object typed =
        value.equals("false")
            ? (Object) false
            : value.matches("\\d+") ? Integer.valueOf(value) : value;
    gguf.metadata.put(to + "." + key, typed);
    Path file = gguf.write(directory.resolve("refused.gguf"));
    String shown = typed instanceof String ? "\"" + value + "\"" : value;
    assertEquals(
        "%s: %s.%s must be %s: %2$s.%3$s=%s".formatted(file, to, key, wanted, shown),
        assertThrows(IllegalArgumentException.class, () -> CausalLm.open(file)).getMessage());
  }

  @Test
  void shouldRefuseAFactorTensorOfAnotherLength() throws Exception {
    convert("phi3_longrope", "phi3");
    gguf.put("rope_factors_short.weight", new float[5], 5);
    Path file = gguf.write(directory.resolve("refused.gguf"));
    assertEquals(
        file
            + ": rope_factors_short.weight must be floats [8]: it is"
            + " rope_factors_short.weight F32[5]",
        assertThrows(IllegalArgumentException.class, () -> CausalLm.open(file)).getMessage());
  }

  // ---- Converting ----

  /** Returns the checkpoint's directory, changed where GGUF cannot say what the original does. */
  private Path convert(String name, String to) throws IOException, URISyntaxException {
    architecture = to;
    Path original =
        Path.of(
            Objects.requireNonNull(GgufFamiliesTest.class.getResource("/golden-models/llm/" + name))
                .toURI());
    Path copy = Files.createDirectory(directory.resolve(name));
    ((Map<?, ?>) Json.parse(Files.readAllBytes(original.resolve("config.json"))))
        .forEach((key, value) -> config.put((String) key, value));
    if (to.equals("smollm3")) {
      // The file does not say which layers turn: llama.cpp leaves out every fourth.
      config.remove("no_rope_layers");
      config.remove("layer_types");
    }
    if (to.equals("gemma2")) {
      // Nor what queries are scaled by.
      config.put("query_pre_attn_scalar", (long) dim());
    }
    if (name.startsWith("mistral")) {
      // Architecture llama has no windows.
      config.put("sliding_window", null);
    }
    Files.writeString(
        copy.resolve("config.json"), new GsonBuilder().serializeNulls().create().toJson(config));
    try (Arena arena = Arena.ofConfined()) {
      Map<String, Tensor> all = new LinkedHashMap<>();
      try (DirectoryStream<Path> files = Files.newDirectoryStream(original, "model*.safetensors")) {
        for (Path file : files) {
          SafeTensors weights = SafeTensors.open(file, arena);
          for (String tensor : weights.names()) {
            if (weights.get(tensor).dtype() != DType.BOOL) {
              all.put(tensor, weights.get(tensor).toF32(Arena.ofAuto()));
            }
          }
        }
      }
      SafeTensors.write(copy.resolve("model.safetensors"), all, Map.of());
      all.forEach(this::put);
      experts(all);
    }
    metadata();
    return copy;
  }

  private int integer(String... keys) {
    for (String key : keys) {
      if (config.get(key) instanceof Long value) {
        return value.intValue();
      }
    }
    return -1;
  }

  private float number(String... keys) {
    for (String key : keys) {
      if (config.get(key) instanceof Number value) {
        return value.floatValue();
      }
    }
    return Float.NaN;
  }

  private int heads() {
    return integer("num_attention_heads", "n_head");
  }

  private int headsKv() {
    int heads = integer("num_key_value_heads");
    return heads < 0 ? heads() : heads;
  }

  private int dim() {
    int dim = integer("head_dim");
    return dim < 0 ? integer("hidden_size", "n_embd") / heads() : dim;
  }

  private Map<?, ?> rope() {
    Object rope = config.getOrDefault("rope_parameters", config.get("rope_scaling"));
    return rope instanceof Map<?, ?> map ? map : Map.of();
  }

  private void say(String key, Object value) {
    gguf.metadata.put(architecture + "." + key, value);
  }

  private void metadata() {
    gguf.metadata.put("general.architecture", architecture);
    gguf.metadata.put("tokenizer.ggml.model", "none");
    say("block_count", integer("num_hidden_layers", "n_layer"));
    say("context_length", integer("max_position_embeddings", "n_positions"));
    say("embedding_length", integer("hidden_size", "n_embd"));
    int hidden = integer("intermediate_size", "n_inner");
    say("feed_forward_length", hidden < 0 ? 4 * integer("n_embd") : hidden);
    say("attention.head_count", heads());
    boolean layerNorm = List.of("cohere2", "gpt2", "gptneox").contains(architecture);
    say(
        layerNorm ? "attention.layer_norm_epsilon" : "attention.layer_norm_rms_epsilon",
        number("rms_norm_eps", "layer_norm_eps", "layer_norm_epsilon"));
    if (!architecture.startsWith("gpt")) {
      say("attention.head_count_kv", headsKv());
      if (integer("head_dim") > 0) {
        say("attention.key_length", dim());
        say("attention.value_length", dim());
      }
    }
    if (!architecture.equals("gpt2")) {
      rotary();
    }
    boolean windows = !Boolean.FALSE.equals(config.get("use_sliding_window"));
    if (windows && config.get("sliding_window") instanceof Long window) {
      say("attention.sliding_window", window.intValue());
    }
    switch (architecture) {
      case "granite" -> {
        say("attention.scale", number("attention_multiplier"));
        say("embedding_scale", number("embedding_multiplier"));
        say("residual_scale", number("residual_multiplier"));
        say("logit_scale", number("logits_scaling"));
      }
      case "cohere2" -> say("logit_scale", number("logit_scale"));
      case "gptneox" -> say("use_parallel_residual", config.get("use_parallel_residual"));
      case "gemma2" -> {
        say("attn_logit_softcapping", number("attn_logit_softcapping"));
        say("final_logit_softcapping", number("final_logit_softcapping"));
      }
      case "gemma3" -> {
        say("attention.sliding_window_pattern", integer("sliding_window_pattern"));
        say("rope.freq_base_swa", number("rope_local_base_freq"));
      }
      default -> {}
    }
    int experts = integer("num_local_experts", "num_experts");
    if (experts > 0) {
      say("expert_count", experts);
      say("expert_used_count", integer("num_experts_per_tok"));
    }
    if (architecture.equals("qwen3moe")) {
      say("expert_feed_forward_length", integer("moe_intermediate_size"));
    }
  }

  private void rotary() {
    Map<?, ?> rope = rope();
    Object base =
        rope.get("rope_theta") == null ? config.get("rope_theta") : rope.get("rope_theta");
    if (base == null) {
      base = config.getOrDefault("rotary_emb_base", 10_000L);
    }
    say("rope.freq_base", ((Number) base).floatValue());
    double part = 1;
    if (config.get("rotary_pct") instanceof Double share) {
      part = share;
    } else if (rope.get("partial_rotary_factor") instanceof Double share) {
      part = share;
    }
    int turned = (int) (dim() * part);
    say("rope.dimension_count", turned);
    Object type = rope.get("rope_type") == null ? rope.get("type") : rope.get("rope_type");
    switch ((String) Objects.requireNonNullElse(type, "default")) {
      case "default" -> say("rope.scaling.type", "none");
      case "linear" -> {
        say("rope.scaling.type", "linear");
        say("rope.scaling.factor", ((Number) rope.get("factor")).floatValue());
      }
      case "yarn" -> {
        say("rope.scaling.type", "yarn");
        say("rope.scaling.factor", ((Number) rope.get("factor")).floatValue());
        say("rope.scaling.original_context_length", original(rope));
      }
      default -> {
        double scale = (double) integer("max_position_embeddings") / original(rope);
        say("rope.scaling.original_context_length", original(rope));
        say(
            "rope.scaling.attn_factor",
            (float) Math.sqrt(1 + Math.log(scale) / Math.log(original(rope))));
        factors("long", rope);
        factors("short", rope);
      }
    }
  }

  private int original(Map<?, ?> rope) {
    Object original = rope.get("original_max_position_embeddings");
    return original instanceof Long value
        ? value.intValue()
        : integer("original_max_position_embeddings");
  }

  private void factors(String which, Map<?, ?> rope) {
    List<?> list = (List<?>) rope.get(which + "_factor");
    float[] values = new float[list.size()];
    for (int i = 0; i < values.length; i++) {
      values[i] = ((Number) list.get(i)).floatValue();
    }
    gguf.put("rope_factors_" + which + ".weight", values, values.length);
  }

  private static final String[][] NAMES = {
    {"^(model\\.embed_tokens|transformer\\.wte|gpt_neox\\.embed_in)\\.", "token_embd."},
    {"^transformer\\.wpe\\.", "position_embd."},
    {"^(model\\.norm|transformer\\.ln_f|gpt_neox\\.final_layer_norm)\\.", "output_norm."},
    {"^(lm_head|embed_out)\\.", "output."},
    {"^(model\\.layers|transformer\\.h|gpt_neox\\.layers)\\.(\\d+)\\.", "blk.$2."},
    {"\\.(input_layernorm|ln_1)\\.", ".attn_norm."},
    {"\\.self_attn\\.([qkv])_proj\\.", ".attn_$1."},
    {"\\.self_attn\\.([qk])_norm\\.", ".attn_$1_norm."},
    {"\\.(self_attn\\.qkv_proj|attn\\.c_attn|attention\\.query_key_value)\\.", ".attn_qkv."},
    {"\\.(self_attn\\.o_proj|attn\\.c_proj|attention\\.dense)\\.", ".attn_output."},
    {"\\.(pre_feedforward_layernorm|ln_2)\\.", ".ffn_norm."},
    {"\\.post_feedforward_layernorm\\.", ".post_ffw_norm."},
    {"\\.mlp\\.gate_proj\\.", ".ffn_gate."},
    {"\\.mlp\\.(gate_up_proj|up_proj|c_fc|dense_h_to_4h)\\.", ".ffn_up."},
    {"\\.mlp\\.(down_proj|c_proj|dense_4h_to_h)\\.", ".ffn_down."},
    {"\\.(mlp|block_sparse_moe)\\.gate\\.", ".ffn_gate_inp."}
  };

  private String named(String name) {
    boolean after = architecture.startsWith("gemma") || architecture.equals("olmo2");
    String to =
        name.replaceFirst(
            "\\.post_attention_layernorm\\.", after ? ".post_attention_norm." : ".ffn_norm.");
    for (String[] rule : NAMES) {
      to = to.replaceFirst(rule[0], rule[1]);
    }
    return to;
  }

  private void put(String name, Tensor tensor) {
    // Converters leave out what old checkpoints store of masks and angles.
    if (name.contains(".experts.") || name.endsWith(".masked_bias") || name.endsWith(".inv_freq")) {
      return;
    }
    String to = named(name);
    float[] values = tensor.toFloatArray();
    long[] shape = tensor.shape();
    boolean moved = List.of("llama", "granite", "smollm3").contains(architecture);
    if (architecture.equals("gpt2") && shape.length == 2 && to.startsWith("blk.")) {
      values = turned(values, shape);
      shape = new long[] {shape[1], shape[0]};
    } else if (architecture.startsWith("gemma") && to.contains("norm")) {
      for (int i = 0; i < values.length; i++) {
        values[i] += 1;
      }
    } else if (architecture.equals("gptneox") && to.contains("attn_qkv")) {
      values = queriesFirst(values);
    } else if (moved && to.matches("blk\\.\\d+\\.attn_[qk]\\.(weight|bias)")) {
      values = pairsTogether(values, to.contains("attn_q") ? heads() : headsKv());
    }
    gguf.put(to, values, shape);
  }

  private static float[] turned(float[] values, long[] shape) {
    int rows = (int) shape[0];
    int columns = (int) shape[1];
    float[] turned = new float[values.length];
    for (int i = 0; i < values.length; i++) {
      turned[i % columns * rows + i / columns] = values[i];
    }
    return turned;
  }

  /** Queries, keys and values of each head become all queries, all keys, all values. */
  private float[] queriesFirst(float[] values) {
    int row = values.length / (3 * heads() * dim());
    int block = dim() * row;
    float[] moved = new float[values.length];
    for (int h = 0; h < heads(); h++) {
      for (int part = 0; part < 3; part++) {
        System.arraycopy(
            values, (3 * h + part) * block, moved, (part * heads() + h) * block, block);
      }
    }
    return moved;
  }

  /** Row j of a head goes to 2j, row j + dim/2 to 2j + 1. */
  private float[] pairsTogether(float[] values, int heads) {
    int row = values.length / (heads * dim());
    float[] moved = new float[values.length];
    for (int h = 0; h < heads; h++) {
      for (int j = 0; j < dim(); j++) {
        int target = j < dim() / 2 ? 2 * j : 2 * (j - dim() / 2) + 1;
        System.arraycopy(values, (h * dim() + j) * row, moved, (h * dim() + target) * row, row);
      }
    }
    return moved;
  }

  private void experts(Map<String, Tensor> all) {
    Pattern first =
        Pattern.compile("model\\.layers\\.(\\d+)\\.(\\w+)\\.experts\\.0\\.(\\w+)\\.weight");
    Map<String, String> names =
        Map.of(
            "w1",
            "gate",
            "w2",
            "down",
            "w3",
            "up",
            "gate_proj",
            "gate",
            "down_proj",
            "down",
            "up_proj",
            "up");
    for (String name : all.keySet()) {
      Matcher match = first.matcher(name);
      if (match.matches()) {
        int experts = integer("num_local_experts", "num_experts");
        Tensor one = all.get(name);
        float[] together = new float[experts * (int) one.count()];
        for (int e = 0; e < experts; e++) {
          float[] values = all.get(name.replace("experts.0", "experts." + e)).toFloatArray();
          System.arraycopy(values, 0, together, e * values.length, values.length);
        }
        gguf.put(
            "blk." + match.group(1) + ".ffn_" + names.get(match.group(3)) + "_exps.weight",
            together,
            experts,
            one.size(0),
            one.size(1));
      }
    }
  }
}
