package io.github.attention4j.models.decoder;

import io.github.attention4j.models.files.Settings;
import java.util.LinkedHashMap;
import java.util.Map;
import java.util.TreeMap;
import java.util.function.Predicate;

/**
 * What is specific to one of GGUF's architectures: its family, the names of its tensors, and
 * metadata that only it has. {@link GgufModel} reads what they share.
 *
 * @param family the family that computes it
 * @param names of its tensors
 * @param epsilon the metadata key of the norms' epsilon
 * @param familyEpsilon the family's key for it
 * @param windows whether layers may have a window
 * @param turnedPart the family's key for the share of a head's channels that are rotated; null if
 *     all of them must be
 * @param own reads the metadata that only this architecture has
 */
record GgufArchitecture(
    String family,
    Names names,
    String epsilon,
    String familyEpsilon,
    boolean windows,
    String turnedPart,
    Own own) {

  /** Reads metadata into the family's settings. */
  @FunctionalInterface
  interface Own {
    /**
     * @param metadata of the file
     * @param tensors tells whether the file has a tensor
     * @param config the family's settings so far. Modified.
     */
    void read(Metadata metadata, Predicate<String> tensors, Map<String, Object> config);
  }

  /**
   * The metadata of an architecture, by keys without its name.
   *
   * @param settings all keys that begin with the architecture's name
   * @param prefix that name and a dot
   */
  record Metadata(Settings settings, String prefix) {
    boolean has(String key) {
      return settings.has(prefix + key);
    }

    Object value(String key) {
      return settings.value(prefix + key);
    }

    int integer(String key) {
      return settings.integer(prefix + key);
    }

    int integer(String key, int otherwise) {
      return settings.integer(prefix + key, otherwise);
    }

    int count(String key, int otherwise) {
      return settings.count(prefix + key, otherwise);
    }

    double positive(String key) {
      return settings.positive(prefix + key);
    }

    double positive(String key, double otherwise) {
      return settings.positive(prefix + key, otherwise);
    }

    /** A positive number; 0 means that it is absent. */
    double factor(String key, double otherwise) {
      return settings.number(prefix + key, 0) == 0 ? otherwise : positive(key);
    }

    boolean flag(String key, boolean otherwise) {
      return settings.flag(prefix + key, otherwise);
    }

    String text(String key, String otherwise) {
      return settings.text(prefix + key, otherwise);
    }

    IllegalArgumentException refused(String key, String wanted) {
      return settings.refused(prefix + key, wanted);
    }
  }

  /**
   * Names in the file by the family's names, both without {@code .weight} or {@code .bias}.
   *
   * @param layers the start of the family's names of a layer's tensors, up to the number
   * @param outer names outside the layers
   * @param inner names in a layer, after its number
   */
  record Names(String layers, Map<String, String> outer, Map<String, String> inner) {
    /** These names and more. */
    private Names and(String... more) {
      Map<String, String> all = new LinkedHashMap<>(inner);
      for (int i = 0; i < more.length; i += 2) {
        all.put(more[i], more[i + 1]);
      }
      return new Names(layers, outer, Map.copyOf(all));
    }
  }

  private static final String LAYER_NORM = "attention.layer_norm_epsilon";

  private static final Names LLAMA =
      new Names(
          "model.layers.",
          Map.of(
              "model.embed_tokens", "token_embd",
              "model.norm", "output_norm",
              "lm_head", "output"),
          Map.ofEntries(
              Map.entry("input_layernorm", "attn_norm"),
              Map.entry("self_attn.q_proj", "attn_q"),
              Map.entry("self_attn.k_proj", "attn_k"),
              Map.entry("self_attn.v_proj", "attn_v"),
              Map.entry("self_attn.o_proj", "attn_output"),
              Map.entry("self_attn.q_norm", "attn_q_norm"),
              Map.entry("self_attn.k_norm", "attn_k_norm"),
              Map.entry("post_attention_layernorm", "ffn_norm"),
              Map.entry("mlp.gate_proj", "ffn_gate"),
              Map.entry("mlp.up_proj", "ffn_up"),
              Map.entry("mlp.down_proj", "ffn_down"),
              Map.entry("mlp.gate", "ffn_gate_inp"),
              Map.entry("block_sparse_moe.gate", "ffn_gate_inp")));

  /** Norms after the two parts of a layer, and before the second part if there is one. */
  private static final Names NORMS_AFTER =
      LLAMA.and(
          "post_attention_layernorm", "post_attention_norm",
          "pre_feedforward_layernorm", "ffn_norm",
          "post_feedforward_layernorm", "post_ffw_norm");

  private static final Names FUSED =
      LLAMA.and("self_attn.qkv_proj", "attn_qkv", "mlp.gate_up_proj", "ffn_up");

  private static final Names GPT2 =
      new Names(
          "transformer.h.",
          Map.of(
              "transformer.wte", "token_embd",
              "transformer.wpe", "position_embd",
              "transformer.ln_f", "output_norm",
              "lm_head", "output"),
          Map.of(
              "ln_1", "attn_norm",
              "attn.c_attn", "attn_qkv",
              "attn.c_proj", "attn_output",
              "ln_2", "ffn_norm",
              "mlp.c_fc", "ffn_up",
              "mlp.c_proj", "ffn_down"));

  private static final Names GPT_NEOX =
      new Names(
          "gpt_neox.layers.",
          Map.of(
              "gpt_neox.embed_in", "token_embd",
              "gpt_neox.final_layer_norm", "output_norm",
              "embed_out", "output"),
          Map.of(
              "input_layernorm", "attn_norm",
              "attention.query_key_value", "attn_qkv",
              "attention.dense", "attn_output",
              "post_attention_layernorm", "ffn_norm",
              "mlp.dense_h_to_4h", "ffn_up",
              "mlp.dense_4h_to_h", "ffn_down"));

  /** All architectures by {@code general.architecture}. */
  static final Map<String, GgufArchitecture> ALL =
      new TreeMap<>(
          Map.ofEntries(
              Map.entry(
                  "cohere2",
                  new GgufArchitecture(
                      "cohere2",
                      LLAMA,
                      LAYER_NORM,
                      "layer_norm_eps",
                      true,
                      null,
                      GgufArchitecture::cohere2)),
              Map.entry("gemma2", rms("gemma2", NORMS_AFTER, true, null, GgufArchitecture::gemma2)),
              Map.entry(
                  "gemma3", rms("gemma3_text", NORMS_AFTER, true, null, GgufArchitecture::gemma3)),
              Map.entry(
                  "gpt2",
                  new GgufArchitecture(
                      "gpt2",
                      GPT2,
                      LAYER_NORM,
                      "layer_norm_epsilon",
                      false,
                      null,
                      GgufArchitecture::gpt2)),
              Map.entry(
                  "gptneox",
                  new GgufArchitecture(
                      "gpt_neox",
                      GPT_NEOX,
                      LAYER_NORM,
                      "layer_norm_eps",
                      false,
                      "rotary_pct",
                      GgufArchitecture::gptNeoX)),
              Map.entry("granite", rms("granite", LLAMA, false, null, GgufArchitecture::granite)),
              Map.entry("llama", rms("llama", LLAMA, false, null, GgufArchitecture::llama)),
              Map.entry("olmo2", rms("olmo2", NORMS_AFTER, false, null, GgufArchitecture::biases)),
              Map.entry(
                  "phi3",
                  rms(
                      "phi3",
                      FUSED,
                      true,
                      "partial_rotary_factor",
                      (metadata, tensors, config) -> {})),
              Map.entry(
                  "qwen2", rms("qwen2", LLAMA, false, null, (metadata, tensors, config) -> {})),
              Map.entry("qwen3", rms("qwen3", LLAMA, false, null, GgufArchitecture::biases)),
              Map.entry(
                  "qwen3moe", rms("qwen3_moe", LLAMA, false, null, GgufArchitecture::qwen3Moe)),
              Map.entry(
                  "smollm3", rms("smollm3", LLAMA, false, null, GgufArchitecture::allBiases))));

  private static GgufArchitecture rms(
      String family, Names names, boolean windows, String turnedPart, Own own) {
    return new GgufArchitecture(
        family,
        names,
        "attention.layer_norm_rms_epsilon",
        "rms_norm_eps",
        windows,
        turnedPart,
        own);
  }

  // ---- What only some have ----

  /** Only the tensors tell whether there are biases. */
  private static void biases(
      Metadata metadata, Predicate<String> tensors, Map<String, Object> config) {
    boolean bias =
        tensors.test("blk.0.attn_q.bias")
            || tensors.test("blk.0.attn_qkv.bias")
            || tensors.test("blk.0.attn_output.bias");
    config.put("attention_bias", bias);
  }

  private static void llama(
      Metadata metadata, Predicate<String> tensors, Map<String, Object> config) {
    // The order of rows that all files of this architecture have.
    metadata.settings().require(metadata.prefix() + "tensor_data_layout", "Meta AI original pth");
    int experts = metadata.count("expert_count", 0);
    if (experts > 0) {
      config.put("model_type", "mixtral");
      config.put("num_local_experts", (long) experts);
      config.put("num_experts_per_tok", (long) metadata.integer("expert_used_count"));
    }
    allBiases(metadata, tensors, config);
  }

  private static void allBiases(
      Metadata metadata, Predicate<String> tensors, Map<String, Object> config) {
    biases(metadata, tensors, config);
    config.put("mlp_bias", tensors.test("blk.0.ffn_up.bias"));
  }

  private static void qwen3Moe(
      Metadata metadata, Predicate<String> tensors, Map<String, Object> config) {
    biases(metadata, tensors, config);
    config.put("num_experts", (long) metadata.integer("expert_count"));
    config.put("num_experts_per_tok", (long) metadata.integer("expert_used_count"));
    config.put("moe_intermediate_size", (long) metadata.integer("expert_feed_forward_length"));
    config.put("norm_topk_prob", true);
  }

  private static void granite(
      Metadata metadata, Predicate<String> tensors, Map<String, Object> config) {
    allBiases(metadata, tensors, config);
    double dim = ((Long) config.get("head_dim")).doubleValue();
    config.put("attention_multiplier", metadata.factor("attention.scale", 1 / Math.sqrt(dim)));
    config.put("embedding_multiplier", metadata.factor("embedding_scale", 1));
    config.put("residual_multiplier", metadata.factor("residual_scale", 1));
    config.put("logits_scaling", metadata.factor("logit_scale", 1));
    // Only here does llama.cpp take false to mean that there are no rotary positions.
    if (!metadata.flag("rope.scaling.finetuned", true)) {
      throw metadata.refused("rope.scaling.finetuned", "true or absent");
    }
  }

  private static void cohere2(
      Metadata metadata, Predicate<String> tensors, Map<String, Object> config) {
    biases(metadata, tensors, config);
    config.put("logit_scale", metadata.positive("logit_scale"));
  }

  private static void gemma2(
      Metadata metadata, Predicate<String> tensors, Map<String, Object> config) {
    long width = (Long) config.get("hidden_size");
    long heads = (Long) config.get("num_attention_heads");
    // Like llama.cpp, recognises Gemma 2 27B, which has another scale, by its number of layers.
    boolean other = (Long) config.get("num_hidden_layers") == 46;
    config.put(
        "query_pre_attn_scalar", other ? (double) width / heads : (Long) config.get("head_dim"));
    config.put("attn_logit_softcapping", metadata.positive("attn_logit_softcapping", 50));
    config.put("final_logit_softcapping", metadata.positive("final_logit_softcapping", 30));
  }

  private static void gemma3(
      Metadata metadata, Predicate<String> tensors, Map<String, Object> config) {
    config.put("query_pre_attn_scalar", config.get("head_dim"));
    for (String cap : new String[] {"attn_logit_softcapping", "final_logit_softcapping"}) {
      config.put(cap, metadata.has(cap) ? metadata.positive(cap, 0) : null);
    }
    Map<String, Object> local = new LinkedHashMap<>();
    local.put("rope_type", "default");
    local.put("rope_theta", metadata.positive("rope.freq_base_swa", 10_000));
    config.put(
        "rope_parameters",
        Map.of("full_attention", config.get("rope_parameters"), "sliding_attention", local));
  }

  private static void gptNeoX(
      Metadata metadata, Predicate<String> tensors, Map<String, Object> config) {
    config.put("use_parallel_residual", metadata.flag("use_parallel_residual", true));
    config.put("attention_bias", tensors.test("blk.0.attn_qkv.bias"));
    requirePlainHeads(metadata, config);
  }

  private static void gpt2(
      Metadata metadata, Predicate<String> tensors, Map<String, Object> config) {
    requirePlainHeads(metadata, config);
    config.remove("rope_parameters");
    rename(config, "hidden_size", "n_embd");
    rename(config, "intermediate_size", "n_inner");
    rename(config, "num_attention_heads", "n_head");
    rename(config, "num_hidden_layers", "n_layer");
    rename(config, "max_position_embeddings", "n_positions");
  }

  private static void rename(Map<String, Object> config, String from, String to) {
    config.put(to, config.remove(from));
  }

  /** Families whose heads divide the width and do not share keys and values. */
  private static void requirePlainHeads(Metadata metadata, Map<String, Object> config) {
    long heads = (Long) config.get("num_attention_heads");
    if (!config.remove("num_key_value_heads").equals(heads)) {
      throw metadata.refused("attention.head_count_kv", "attention.head_count, " + heads);
    }
    long width = (Long) config.get("hidden_size");
    long dim = (Long) config.remove("head_dim");
    if (dim * heads != width) {
      throw metadata.refused(
          "attention.key_length", "embedding_length / attention.head_count, " + width / heads);
    }
  }
}
