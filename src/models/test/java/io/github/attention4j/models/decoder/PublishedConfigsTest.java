package io.github.attention4j.models.decoder;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import io.github.attention4j.internal.Json;
import io.github.attention4j.models.files.Settings;
import java.nio.charset.StandardCharsets;
import java.util.LinkedHashMap;
import java.util.Map;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;

/** Keys in the {@code config.json} of well-known models that say nothing, or nothing new. */
class PublishedConfigsTest {
  private static final String SIZES =
      "\"vocab_size\": 100, \"hidden_size\": 64, \"intermediate_size\": 96,"
          + " \"num_hidden_layers\": 4, \"num_attention_heads\": 4, \"num_key_value_heads\": 2,"
          + " \"head_dim\": 16, \"max_position_embeddings\": 128";

  private static final String GPT2_SIZES =
      "\"vocab_size\": 100, \"n_embd\": 64, \"n_layer\": 2, \"n_head\": 4, \"n_positions\": 128";

  @ParameterizedTest
  @CsvSource(
      delimiter = '|',
      value = {
        "SmolLM2 | llama | \"is_llama_config\": true, \"rope_interleaved\": false,"
            + " \"pretraining_tp\": 1, \"transformers.js_config\": {\"dtype\": \"q4\"}",
        "LLaMA | llama | \"max_sequence_length\": 2048, \"pad_token_id\": 0",
        "Yarn Mistral | mistral | \"rope_scaling\": {\"type\": \"yarn\", \"factor\": 4.0,"
            + " \"original_max_position_embeddings\": 32, \"finetuned\": true}",
        "Gemma 2 9B | gemma2 | \"sliding_window\": 32, \"sliding_window_size\": 32,"
            + " \"cache_implementation\": \"hybrid\", \"hidden_act\": \"gelu_pytorch_tanh\"",
        "Phi-4-mini | phi3 | \"full_attn_mod\": 1, \"interpolate_factor\": 1, \"lm_head_bias\":"
            + " false, \"mlp_bias\": false, \"partial_rotary_factor\": 0.75",
        "Command R7B | cohere2 | \"layer_switch\": 4, \"order_of_interleaved_layers\":"
            + " \"local_attn_first\", \"position_embedding_type\": \"rope_gptj\", \"rotary_pct\":"
            + " 1.0, \"sliding_window_pattern\": 4, \"use_embedding_sharing\": true,"
            + " \"use_gated_activation\": true, \"use_parallel_block\": true,"
            + " \"use_parallel_embedding\": true, \"use_qk_norm\": false",
        "DistilGPT-2 | gpt2 | \"_num_labels\": 1, \"id2label\": {\"0\": \"LABEL_0\"}, \"label2id\":"
            + " {\"LABEL_0\": 0}, \"n_ctx\": 128",
        "GPT-2 XL | gpt2 | \"n_special\": 0, \"output_past\": true, \"predict_special_tokens\":"
            + " true",
        "Qwen 3 without experts | qwen3_moe | \"num_experts\": 0, \"num_experts_per_tok\": 8",
      })
  void shouldReadThem(String model, String family, String keys) throws Json.MalformedException {
    assertEquals(family, read(family, keys).family(), model);
  }

  @ParameterizedTest
  @CsvSource(
      delimiter = '|',
      value = {
        "mistral | \"rope_scaling\": {\"type\": \"yarn\", \"factor\": 4.0, \"finetuned\": false} |"
            + " rope_scaling.finetuned must be true: rope_scaling.finetuned=false",
        "gemma2 | \"sliding_window\": 32, \"sliding_window_size\": 16 | sliding_window_size must be"
            + " sliding_window, 32: sliding_window_size=16",
        "phi3 | \"full_attn_mod\": 2 | full_attn_mod must be 1: full_attn_mod=2",
        "phi3 | \"interpolate_factor\": 2 | interpolate_factor must be 1: interpolate_factor=2",
        "cohere2 | \"layer_switch\": 3 | layer_switch must be 4: layer_switch=3",
        "cohere2 | \"position_embedding_type\": \"rope_neox\" | position_embedding_type must be"
            + " \"rope_gptj\": position_embedding_type=\"rope_neox\"",
        "cohere2 | \"use_parallel_block\": false | use_parallel_block must be true:"
            + " use_parallel_block=false",
        "cohere2 | \"use_qk_norm\": true | use_qk_norm=true",
      })
  void shouldRefuseThemWithValuesThatMatter(String family, String keys, String wanted) {
    String message =
        assertThrows(IllegalArgumentException.class, () -> read(family, keys)).getMessage();
    assertTrue(message.endsWith(wanted), message);
  }

  private static Specification read(String family, String keys) throws Json.MalformedException {
    String sizes = family.equals("gpt2") ? GPT2_SIZES : SIZES;
    Map<Object, Object> settings = new LinkedHashMap<>();
    settings.put("model_type", family);
    settings.putAll(
        (Map<?, ?>) Json.parse(("{" + sizes + ", " + keys + "}").getBytes(StandardCharsets.UTF_8)));
    return Families.read(Settings.of("config.json", settings), Family.Layout.HUGGING_FACE);
  }
}
