package io.github.attention4j.models;

import static org.junit.jupiter.api.Assertions.assertArrayEquals;
import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertThrows;

import io.github.attention4j.DType;
import io.github.attention4j.Tensor;
import java.io.IOException;
import java.lang.foreign.Arena;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import java.util.Map;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;

/**
 * Arrangements of GGUF files that converters write, compared with the same model from safetensors.
 */
class GgufModelTest {
  private static final int HEADS = 4;
  private static final int HEADS_KV = 2;
  private static final int DIM = 6;

  @TempDir private Path directory;

  private final TinyGguf gguf = new TinyGguf();
  private final Map<String, Object> metadata = gguf.metadata;
  private final Map<String, Tensor> tensors = gguf.tensors;

  @Test
  void shouldComputeWhatTheCheckpointDoes() throws IOException {
    TinyCheckpoint tiny = llama();
    convert(tiny);
    assertSame(tiny);
  }

  @Test
  void shouldReadFusedProjections() throws IOException {
    TinyCheckpoint tiny = llama();
    convert(tiny);
    for (int i = 0; i < 2; i++) {
      List<float[]> rows = new ArrayList<>();
      for (String name : List.of("attn_q", "attn_k", "attn_v")) {
        rows.add(tensors.remove("blk." + i + "." + name + ".weight").toFloatArray());
      }
      put("blk." + i + ".attn_qkv.weight", rows, (HEADS + 2L * HEADS_KV) * DIM, 12);
    }
    assertSame(tiny);
  }

  @Test
  void shouldReadExpertsThatLieInOneTensor() throws IOException {
    TinyCheckpoint tiny = llama();
    tiny.put("model_type", "\"mixtral\"")
        .put("num_local_experts", "3")
        .put("num_experts_per_tok", "2");
    for (int i = 0; i < 2; i++) {
      String layer = "model.layers." + i + ".";
      for (String name : List.of("gate_proj", "up_proj", "down_proj")) {
        tiny.tensors.remove(layer + "mlp." + name + ".weight");
      }
      tiny.weight(layer + "block_sparse_moe.gate.weight", DType.F32, 1, 0, 3, 12);
      for (int e = 0; e < 3; e++) {
        String expert = layer + "block_sparse_moe.experts." + e + ".";
        tiny.weight(expert + "w1.weight", DType.F32, 0.4, 0, 20, 12);
        tiny.weight(expert + "w3.weight", DType.F32, 0.4, 0, 20, 12);
        tiny.weight(expert + "w2.weight", DType.F32, 0.3, 0, 12, 20);
      }
    }
    convert(tiny);
    metadata.put("llama.expert_count", 3);
    metadata.put("llama.expert_used_count", 2);
    for (int i = 0; i < 2; i++) {
      String moe = "model.layers." + i + ".block_sparse_moe.";
      tensors.put("blk." + i + ".ffn_gate_inp.weight", tiny.tensors.get(moe + "gate.weight"));
      String[][] names = {
        {"w1", "ffn_gate_exps", "20", "12"},
        {"w2", "ffn_down_exps", "12", "20"},
        {"w3", "ffn_up_exps", "20", "12"}
      };
      for (String[] name : names) {
        List<float[]> all = new ArrayList<>();
        for (int e = 0; e < 3; e++) {
          all.add(
              tiny.tensors.get(moe + "experts." + e + "." + name[0] + ".weight").toFloatArray());
        }
        put(
            "blk." + i + "." + name[1] + ".weight",
            all,
            3,
            Long.parseLong(name[2]),
            Long.parseLong(name[3]));
      }
    }
    assertSame(tiny);
  }

  @Test
  void shouldRefuseMetadataThatWouldChangeTheResult() throws IOException {
    TinyCheckpoint tiny = llama();
    convert(tiny);
    metadata.put("llama.attention.temperature_length", 8192);
    Path file = write();
    assertEquals(
        file
            + ": settings that could change the result and are not computed are refused:"
            + " llama.attention.temperature_length=8192",
        assertThrows(IllegalArgumentException.class, () -> CausalLm.open(file)).getMessage());
  }

  @Test
  void shouldScaleRotaryPositionsByYarn() throws IOException {
    TinyCheckpoint tiny = llama();
    convert(tiny);
    tiny.put(
        "rope_scaling",
        "{\"type\": \"yarn\", \"factor\": 4, \"original_max_position_embeddings\": 12}");
    metadata.put("llama.rope.scaling.type", "yarn");
    metadata.put("llama.rope.scaling.factor", 4f);
    metadata.put("llama.rope.scaling.original_context_length", 12);
    assertSame(tiny);
  }

  // ---- Converting ----

  private static TinyCheckpoint llama() {
    return TinyCheckpoint.of("llama", "num_key_value_heads", "" + HEADS_KV);
  }

  private void convert(TinyCheckpoint tiny) {
    metadata.put("general.architecture", "llama");
    metadata.put("llama.block_count", 2);
    metadata.put("llama.context_length", 48);
    metadata.put("llama.embedding_length", 12);
    metadata.put("llama.feed_forward_length", 20);
    metadata.put("llama.attention.head_count", HEADS);
    metadata.put("llama.attention.head_count_kv", HEADS_KV);
    metadata.put("llama.attention.key_length", DIM);
    metadata.put("llama.attention.value_length", DIM);
    metadata.put("llama.attention.layer_norm_rms_epsilon", 1e-5f);
    metadata.put("llama.rope.freq_base", 500f);
    metadata.put("tokenizer.ggml.model", "none");
    tensors.put("token_embd.weight", tiny.tensors.get("model.embed_tokens.weight"));
    tensors.put("output_norm.weight", tiny.tensors.get("model.norm.weight"));
    String[][] names = {
      {"input_layernorm", "attn_norm"},
      {"self_attn.v_proj", "attn_v"},
      {"self_attn.o_proj", "attn_output"},
      {"post_attention_layernorm", "ffn_norm"},
      {"mlp.gate_proj", "ffn_gate"},
      {"mlp.up_proj", "ffn_up"},
      {"mlp.down_proj", "ffn_down"}
    };
    for (int i = 0; i < 2; i++) {
      String layer = "model.layers." + i + ".";
      for (String[] name : names) {
        Tensor tensor = tiny.tensors.get(layer + name[0] + ".weight");
        if (tensor != null) {
          tensors.put("blk." + i + "." + name[1] + ".weight", tensor);
        }
      }
      moveRows(tiny, layer + "self_attn.q_proj.weight", "blk." + i + ".attn_q.weight", HEADS);
      moveRows(tiny, layer + "self_attn.k_proj.weight", "blk." + i + ".attn_k.weight", HEADS_KV);
    }
  }

  /** Row j of a head goes to 2j, row j + dim/2 to 2j + 1, as llama.cpp's converter does. */
  private void moveRows(TinyCheckpoint tiny, String from, String to, int heads) {
    float[] rows = tiny.tensors.get(from).toFloatArray();
    float[] moved = new float[rows.length];
    for (int h = 0; h < heads; h++) {
      for (int j = 0; j < DIM; j++) {
        int target = j < DIM / 2 ? 2 * j : 2 * (j - DIM / 2) + 1;
        System.arraycopy(rows, (h * DIM + j) * 12, moved, (h * DIM + target) * 12, 12);
      }
    }
    put(to, List.of(moved), (long) heads * DIM, 12);
  }

  private void put(String name, List<float[]> parts, long... shape) {
    Tensor tensor = Tensor.allocate(Arena.ofAuto(), DType.F32, shape);
    float[] all = new float[(int) tensor.count()];
    int at = 0;
    for (float[] part : parts) {
      System.arraycopy(part, 0, all, at, part.length);
      at += part.length;
    }
    tensors.put(name, tensor.copyFrom(all));
  }

  private Path write() throws IOException {
    return gguf.write(directory.resolve("tiny.gguf"));
  }

  private void assertSame(TinyCheckpoint tiny) throws IOException {
    int[] text = new int[48];
    Arrays.setAll(text, i -> (i * i + 3 * i) % 29);
    Path checkpoint = tiny.write(Files.createDirectory(directory.resolve("checkpoint")));
    try (Arena arena = Arena.ofConfined();
        CausalLm wanted = CausalLm.open(checkpoint);
        CausalLm got = CausalLm.open(write())) {
      assertEquals(wanted.family(), got.family());
      assertEquals(wanted.parameters(), got.parameters());
      assertArrayEquals(
          wanted.logits(arena, text).toFloatArray(), got.logits(arena, text).toFloatArray(), 2e-5f);
    }
  }
}
