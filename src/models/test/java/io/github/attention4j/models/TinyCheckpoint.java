package io.github.attention4j.models;

import io.github.attention4j.DType;
import io.github.attention4j.Tensor;
import io.github.attention4j.internal.Json;
import io.github.attention4j.io.SafeTensors;
import java.io.IOException;
import java.lang.foreign.Arena;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.SplittableRandom;

/** A checkpoint of a few thousand random weights, to be spoilt as a test wants. */
final class TinyCheckpoint {
  /** JSON by key. */
  final Map<String, String> config = new LinkedHashMap<>();

  final Map<String, Tensor> tensors = new LinkedHashMap<>();

  /** By how much pairs turn from one position to the next, where it is not the usual. */
  double[] rotaryFrequencies;

  /** By how much turned rows lengthen. */
  double rotaryMagnitude = 1;

  private final SplittableRandom random = new SplittableRandom(42);

  /** Width 12, hidden 20, 2 layers, 4 heads, vocabulary 29, context 48; more or less by choice. */
  static TinyCheckpoint of(String modelType, String... keysAndValues) {
    TinyCheckpoint tiny = new TinyCheckpoint();
    tiny.put("model_type", Json.quote(modelType));
    tiny.put("vocab_size", "29");
    tiny.put("hidden_size", "12");
    tiny.put("intermediate_size", "20");
    tiny.put("num_hidden_layers", "2");
    tiny.put("num_attention_heads", "4");
    tiny.put("num_key_value_heads", "4");
    tiny.put("head_dim", "6");
    tiny.put("max_position_embeddings", "48");
    tiny.put("rms_norm_eps", "1e-05");
    tiny.put("rope_theta", "500.0");
    tiny.put("tie_word_embeddings", "true");
    for (int i = 0; i < keysAndValues.length; i += 2) {
      tiny.put(keysAndValues[i], keysAndValues[i + 1]);
    }
    tiny.makeTensors();
    return tiny;
  }

  TinyCheckpoint put(String key, String json) {
    config.put(key, json);
    return this;
  }

  int integer(String key) {
    return Integer.parseInt(config.get(key));
  }

  boolean flag(String key) {
    return Boolean.parseBoolean(config.getOrDefault(key, "false"));
  }

  boolean differential() {
    return config.get("model_type").equals("\"diffllama\"");
  }

  private void makeTensors() {
    int width = integer("hidden_size");
    int hidden = integer("intermediate_size");
    int widthQ = integer("num_attention_heads") * integer("head_dim");
    int widthKv = integer("num_key_value_heads") * integer("head_dim");
    weight("model.embed_tokens.weight", DType.F32, 1, 0, integer("vocab_size"), width);
    for (int i = 0; i < integer("num_hidden_layers"); i++) {
      String layer = "model.layers." + i + ".";
      weight(layer + "input_layernorm.weight", DType.BF16, 0.5, 1, width);
      projection(layer + "self_attn.q_proj", "attention_bias", widthQ, width);
      projection(layer + "self_attn.k_proj", "attention_bias", widthKv, width);
      projection(layer + "self_attn.v_proj", "attention_bias", widthKv, width);
      projection(layer + "self_attn.o_proj", "attention_bias", width, widthQ);
      if (differential()) {
        for (String vector : List.of("q1", "k1", "q2", "k2")) {
          weight(layer + "self_attn.lambda_" + vector, DType.F16, 0.4, 0, integer("head_dim"));
        }
      }
      weight(layer + "post_attention_layernorm.weight", DType.BF16, 0.5, 1, width);
      projection(layer + "mlp.gate_proj", "mlp_bias", hidden, width);
      projection(layer + "mlp.up_proj", "mlp_bias", hidden, width);
      projection(layer + "mlp.down_proj", "mlp_bias", width, hidden);
    }
    weight("model.norm.weight", DType.F32, 0.5, 1, width);
    if (!flag("tie_word_embeddings")) {
      weight("lm_head.weight", DType.F16, 0.5, 0, integer("vocab_size"), width);
    }
  }

  private void projection(String name, String biasKey, int dimOut, int dimIn) {
    weight(name + ".weight", DType.BF16, 1.5 / Math.sqrt(dimIn), 0, dimOut, dimIn);
    if (flag(biasKey)) {
      weight(name + ".bias", DType.F32, 0.5, 0, dimOut);
    }
  }

  /** Random numbers around a centre. */
  void weight(String name, DType dtype, double spread, double centre, long... shape) {
    Tensor tensor = Tensor.allocate(Arena.ofAuto(), dtype, shape);
    float[] values = new float[(int) tensor.count()];
    for (int i = 0; i < values.length; i++) {
      values[i] = (float) (centre + spread * (2 * random.nextDouble() - 1));
    }
    tensors.put(name, tensor.copyFrom(values));
  }

  /** A checkpoint of one file. */
  Path write(Path directory) throws IOException {
    writeConfig(directory);
    SafeTensors.write(directory.resolve("model.safetensors"), tensors, Map.of("format", "pt"));
    return directory;
  }

  void writeConfig(Path directory) throws IOException {
    List<String> members = new ArrayList<>();
    config.forEach((key, json) -> members.add("  " + Json.quote(key) + ": " + json));
    Files.writeString(
        directory.resolve("config.json"), "{\n" + String.join(",\n", members) + "\n}\n");
  }

  /** A checkpoint of several files and an index, the tensors dealt out in turn. */
  Path writeShards(Path directory, int files) throws IOException {
    writeConfig(directory);
    List<Map<String, Tensor>> shards = new ArrayList<>();
    for (int i = 0; i < files; i++) {
      shards.add(new LinkedHashMap<>());
    }
    List<String> places = new ArrayList<>();
    int dealt = 0;
    for (Map.Entry<String, Tensor> entry : tensors.entrySet()) {
      int shard = dealt++ % files;
      shards.get(shard).put(entry.getKey(), entry.getValue());
      places.add(Json.quote(entry.getKey()) + ": " + Json.quote(shardName(shard, files)));
    }
    for (int i = 0; i < files; i++) {
      SafeTensors.write(directory.resolve(shardName(i, files)), shards.get(i), Map.of());
    }
    Files.writeString(
        directory.resolve("model.safetensors.index.json"),
        "{\"metadata\": {\"total_size\": 1}, \"weight_map\": {" + String.join(", ", places) + "}}");
    return directory;
  }

  static String shardName(int shard, int files) {
    return String.format("model-%05d-of-%05d.safetensors", shard + 1, files);
  }
}
