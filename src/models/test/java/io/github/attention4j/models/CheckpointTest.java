package io.github.attention4j.models;

import static org.junit.jupiter.api.Assertions.assertArrayEquals;
import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import io.github.attention4j.A4j;
import io.github.attention4j.DType;
import io.github.attention4j.Tensor;
import java.io.IOException;
import java.lang.foreign.Arena;
import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.nio.charset.StandardCharsets;
import java.nio.file.FileSystem;
import java.nio.file.FileSystems;
import java.nio.file.Files;
import java.nio.file.NoSuchFileException;
import java.nio.file.Path;
import java.util.Arrays;
import java.util.List;
import java.util.Map;
import java.util.Set;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;
import org.junit.jupiter.params.provider.ValueSource;

/** Every form of checkpoint that is read, compared with a reference in double; and what is not. */
class CheckpointTest {
  @TempDir private Path directory;

  // ---- What is read ----

  @ParameterizedTest
  @ValueSource(strings = {"llama", "diffllama"})
  void shouldComputeWhatTheReferenceDoes(String type) throws IOException {
    assertMatchesReference(TinyCheckpoint.of(type));
  }

  @ParameterizedTest
  @CsvSource({"llama, 2", "llama, 1", "diffllama, 2"})
  void shouldShareKeysAndValuesAmongQueryHeads(String type, String headsKv) throws IOException {
    assertMatchesReference(TinyCheckpoint.of(type, "num_key_value_heads", headsKv));
  }

  @ParameterizedTest
  @ValueSource(strings = {"2", "4"})
  void shouldPairGroupedHeadsAsTransformersDoes(String headsKv) throws IOException {
    assertMatchesReference(
        TinyCheckpoint.of("diffllama", "num_attention_heads", "8", "num_key_value_heads", headsKv));
  }

  @ParameterizedTest
  @ValueSource(strings = {"llama", "diffllama"})
  void shouldAddTheBiasesOfAttention(String type) throws IOException {
    assertMatchesReference(TinyCheckpoint.of(type, "attention_bias", "true"));
  }

  @Test
  void shouldAddTheBiasesOfTheFeedForwardNetwork() throws IOException {
    assertMatchesReference(TinyCheckpoint.of("llama", "mlp_bias", "true"));
  }

  @ParameterizedTest
  @ValueSource(strings = {"llama", "diffllama"})
  void shouldTakeTheHeadThatIsNotTied(String type) throws IOException {
    assertMatchesReference(TinyCheckpoint.of(type, "tie_word_embeddings", "false"));
  }

  @Test
  void shouldReadEqualWeightsFromOneFileAndFromSeveral() throws IOException {
    TinyCheckpoint tiny = TinyCheckpoint.of("diffllama");
    Path single = tiny.write(Files.createDirectory(directory.resolve("single")));
    Path sharded = tiny.writeShards(Files.createDirectory(directory.resolve("sharded")), 3);
    int[] text = text(tiny);
    try (Arena arena = Arena.ofConfined();
        CausalLm one = CausalLm.open(single);
        CausalLm several = CausalLm.open(sharded)) {
      assertArrayEquals(
          one.logits(arena, text).toFloatArray(), several.logits(arena, text).toFloatArray());
      assertEquals(List.of(single.resolve("model.safetensors")), one.weightFiles());
      assertEquals(
          Set.of(
              sharded.resolve("model-00001-of-00003.safetensors"),
              sharded.resolve("model-00002-of-00003.safetensors"),
              sharded.resolve("model-00003-of-00003.safetensors")),
          Set.copyOf(several.weightFiles()));
      assertEquals(3, several.weightFiles().size());
    }
  }

  @Test
  void shouldReadWeightsThatLieMisalignedInTheirFile() throws IOException {
    TinyCheckpoint tiny = TinyCheckpoint.of("diffllama");
    Path aligned = tiny.write(Files.createDirectory(directory.resolve("aligned")));
    Path shifted = tiny.write(Files.createDirectory(directory.resolve("shifted")));
    Path file = shifted.resolve("model.safetensors");
    ByteBuffer old = ByteBuffer.wrap(Files.readAllBytes(file)).order(ByteOrder.LITTLE_ENDIAN);
    int header = Math.toIntExact(old.getLong(0));
    ByteBuffer longer = ByteBuffer.allocate(old.limit() + 1).order(ByteOrder.LITTLE_ENDIAN);
    longer.putLong(header + 1).put(old.array(), 8, header).put((byte) ' ');
    longer.put(old.array(), 8 + header, old.limit() - 8 - header);
    Files.write(file, longer.array());
    int[] text = text(tiny);
    try (Arena arena = Arena.ofConfined();
        CausalLm one = CausalLm.open(aligned);
        CausalLm other = CausalLm.open(shifted)) {
      assertArrayEquals(
          one.logits(arena, text).toFloatArray(), other.logits(arena, text).toFloatArray());
    }
  }

  @Test
  void shouldKeepTheOldFilesWhereOthersTakeTheirPlace() throws IOException {
    TinyCheckpoint tiny = TinyCheckpoint.of("llama");
    tiny.write(directory);
    try (Arena arena = Arena.ofConfined();
        CausalLm model = CausalLm.open(directory)) {
      float[] before = model.logits(arena, text(tiny)).toFloatArray();
      Files.delete(directory.resolve("model.safetensors"));
      Files.write(directory.resolve("model.safetensors"), new byte[0]);
      assertArrayEquals(before, model.logits(arena, text(tiny)).toFloatArray());
    }
  }

  @Test
  void shouldTakeDefaultsWhereOldConfigurationsAreSilent() throws IOException {
    TinyCheckpoint tiny = TinyCheckpoint.of("llama", "hidden_size", "24");
    for (String key : new String[] {"num_key_value_heads", "head_dim", "rope_theta"}) {
      tiny.config.remove(key);
    }
    Path silent = tiny.write(directory);
    tiny.put("num_key_value_heads", "4").put("head_dim", "6").put("rope_theta", "10000.0");
    try (CausalLm model = CausalLm.open(silent)) {
      assertMatchesReference(tiny, model);
    }
  }

  @Test
  void shouldReadTheRotaryBaseWhereNewConfigurationsSayIt() throws IOException {
    TinyCheckpoint tiny = TinyCheckpoint.of("llama");
    tiny.config.remove("rope_theta");
    tiny.put("rope_parameters", "{\"rope_theta\": 500.0, \"rope_type\": \"default\"}");
    Path written = tiny.write(directory);
    tiny.put("rope_theta", "500.0");
    try (CausalLm model = CausalLm.open(written)) {
      assertMatchesReference(tiny, model);
    }
  }

  /** The numbers follow from the formulas of the papers for 6 channels and base 500. */
  @ParameterizedTest
  @CsvSource(
      delimiter = '|',
      value = {
        "{\"type\": \"linear\", \"factor\": 4.0} | 1 | 0.25 0.03149802624737183 0.0039685026299205",
        "{\"rope_type\": \"dynamic\", \"factor\": 4.0} | 1 | 1.0 0.12599210498948732"
            + " 0.015874010519682",
        "{\"rope_type\": \"yarn\", \"factor\": 4, \"original_max_position_embeddings\": 12}"
            + " | 1.138629436111989 | 1.0 0.03149802624737183 0.0039685026299205",
        "{\"type\": \"yarn\", \"factor\": 2.0, \"beta_fast\": 4, \"beta_slow\": 1, \"truncate\":"
            + " false, \"mscale\": 0.7, \"mscale_all_dim\": 1.5} | 0.949770673012614 | 1.0"
            + " 0.06299605249474366 0.007937005259841",
        "{\"rope_type\": \"yarn\", \"factor\": 4, \"original_max_position_embeddings\": 12,"
            + " \"attention_factor\": 0.75} | 0.75 | 1.0 0.03149802624737183 0.0039685026299205",
        "{\"rope_type\": \"llama3\", \"factor\": 8.0, \"low_freq_factor\": 0.1,"
            + " \"high_freq_factor\": 4.0, \"original_max_position_embeddings\": 20} | 1 |"
            + " 0.816720898489274 0.024258799669627514 0.00198425131496025",
      })
  void shouldSlowRotaryAnglesDownAsTheConfigurationSays(
      String scaling, double magnitude, String frequencies) throws IOException {
    TinyCheckpoint tiny = TinyCheckpoint.of("llama");
    tiny.rotaryMagnitude = magnitude;
    tiny.rotaryFrequencies =
        Arrays.stream(frequencies.split(" ")).mapToDouble(Double::parseDouble).toArray();
    for (String key : new String[] {"rope_scaling", "rope_parameters"}) {
      tiny.config.keySet().removeIf(name -> name.startsWith("rope_") && !name.equals("rope_theta"));
      assertMatchesReference(tiny.put(key, scaling));
    }
  }

  @Test
  void shouldIgnoreWhatFollowsFromTheConfiguration() throws IOException {
    TinyCheckpoint tiny = TinyCheckpoint.of("llama");
    tiny.weight("model.layers.1.self_attn.rotary_emb.inv_freq", DType.F32, 1, 0, 3);
    tiny.weight("model.rotary_emb.inv_freq", DType.F32, 1, 0, 3);
    tiny.weight("model.layers.0.self_attn.rotary_emb.cos_cached", DType.F32, 1, 0, 1, 1, 48, 6);
    tiny.weight("model.layers.0.self_attn.rotary_emb.sin_cached", DType.F32, 1, 0, 1, 1, 48, 6);
    assertMatchesReference(tiny);
  }

  @Test
  void shouldTieAHeadThatEqualsTheEmbeddingAndTakeOneThatDiffers() throws IOException {
    TinyCheckpoint tiny = TinyCheckpoint.of("llama");
    tiny.tensors.put("lm_head.weight", tiny.tensors.get("model.embed_tokens.weight"));
    assertMatchesReference(tiny);
    tiny.weight("lm_head.weight", DType.F32, 1, 0, 29, 12);
    Path other = tiny.write(Files.createDirectory(directory.resolve("other")));
    tiny.put("tie_word_embeddings", "false");
    try (CausalLm model = CausalLm.open(other)) {
      assertMatchesReference(tiny, model);
    }
  }

  @Test
  void shouldTakeWhatStandsInRopeParametersBeforeWhatStandsBesideTheSizes() throws IOException {
    TinyCheckpoint tiny = TinyCheckpoint.of("llama");
    tiny.put("rope_theta", "1000");
    tiny.put("rope_parameters", "{\"rope_type\": \"default\", \"rope_theta\": 50}");
    Path written = tiny.write(directory);
    tiny.put("rope_theta", "50");
    try (CausalLm model = CausalLm.open(written)) {
      assertMatchesReference(tiny, model);
    }
  }

  /** The first form is what the others must be equal to. */
  @ParameterizedTest
  @CsvSource(
      delimiter = '|',
      value = {
        "\"rope_scaling\": {\"rope_type\": \"yarn\", \"factor\": 4,"
            + " \"original_max_position_embeddings\": 12}",
        "\"original_max_position_embeddings\": 12, \"rope_scaling\": {\"type\": \"yarn\","
            + " \"factor\": 4}",
        "\"original_max_position_embeddings\": 12, \"rope_scaling\": {\"type\": \"yarn\","
            + " \"factor\": 4, \"original_max_position_embeddings\": 30}",
        "\"rope_scaling\": {\"rope_type\": null, \"type\": \"yarn\", \"factor\": null,"
            + " \"original_max_position_embeddings\": 12}",
        "\"rope_scaling\": {\"rope_type\": \"yarn\", \"factor\": 4,"
            + " \"original_max_position_embeddings\": 12}, \"rope_parameters\": {\"type\":"
            + " \"yarn\", \"factor\": 4.0, \"original_max_position_embeddings\": 12}",
        "\"rope_parameters\": {\"full_attention\": {\"rope_type\": \"yarn\", \"factor\": 4,"
            + " \"original_max_position_embeddings\": 12}}",
      })
  void shouldFindRotaryPositionsWhereverTheyStand(String json) throws IOException {
    TinyCheckpoint tiny = TinyCheckpoint.of("llama");
    tiny.rotaryMagnitude = 1.138629436111989;
    tiny.rotaryFrequencies = new double[] {1.0, 0.03149802624737183, 0.0039685026299205};
    tiny.write(directory);
    Path config = directory.resolve("config.json");
    Files.writeString(config, Files.readString(config).replaceFirst("\\{", "{" + json + ", "));
    try (CausalLm model = CausalLm.open(directory)) {
      assertMatchesReference(tiny, model);
    }
  }

  @ParameterizedTest
  @ValueSource(
      strings = {
        "\"rope_scaling\": {}",
        "\"rope_parameters\": {\"rope_theta\": 500.0}",
        "\"hidden_act\": \"swish\"",
        "\"time_step_limit\": null, \"max_length\": Infinity, \"_x\": NaN",
        "\"attention_dropout\": 0.1, \"layer_types\": [\"full_attention\", \"full_attention\"],"
            + " \"residual_multiplier\": 1.0, \"use_qk_norm\": false, \"clip_qkv\": null",
      })
  void shouldReadWhatOtherSoftwareReads(String json) throws IOException {
    TinyCheckpoint tiny = TinyCheckpoint.of("llama");
    tiny.write(directory);
    Path config = directory.resolve("config.json");
    String text = Files.readString(config).replaceFirst("\\{", "{" + json + ", ");
    Files.writeString(config, "\uFEFF" + text);
    try (CausalLm model = CausalLm.open(directory)) {
      assertMatchesReference(tiny, model);
    }
  }

  @Test
  void shouldScaleByLlama3FromTheContextIfNoOriginalLengthIsGiven() throws IOException {
    TinyCheckpoint tiny = TinyCheckpoint.of("llama");
    String scaling =
        "{\"rope_type\": \"llama3\", \"factor\": 8.0, \"low_freq_factor\": 0.1,"
            + " \"high_freq_factor\": 4.0";
    Path one = tiny.put("rope_scaling", scaling + "}").write(named("one"));
    tiny.put("rope_scaling", scaling + ", \"original_max_position_embeddings\": 48}");
    assertSameLogits(tiny, one, tiny.write(named("other")));
  }

  @Test
  void shouldTakeTheDefaultEpsilon() throws IOException {
    TinyCheckpoint tiny = TinyCheckpoint.of("llama").put("rms_norm_eps", "1e-6");
    Path one = tiny.write(named("one"));
    tiny.config.remove("rms_norm_eps");
    assertSameLogits(tiny, one, tiny.write(named("other")));
  }

  @Test
  void shouldEndWhereTheGenerationConfigurationSays() throws IOException {
    TinyCheckpoint.of("llama", "eos_token_id", "[3, 4]").write(directory);
    assertEquals(Set.of(3, 4), ends());
    Path generation = directory.resolve("generation_config.json");
    Files.writeString(generation, "{\"eos_token_id\": [5, 6], \"temperature\": 0.6}");
    assertEquals(Set.of(5, 6), ends());
    Files.writeString(generation, "{\"eos_token_id\": 7}");
    assertEquals(Set.of(7), ends());
    Files.writeString(generation, "{\"eos_token_id\": -1}");
    assertEquals(Set.of(), ends());
    Files.writeString(generation, "{}");
    assertEquals(Set.of(), ends());
    Files.writeString(generation, "{\"eos_token_id\": \"x\"}");
    assertEquals(
        generation
            + ": eos_token_id must be a token, a list of tokens, or null: eos_token_id=\"x\"",
        refusal(directory));
  }

  private Set<Integer> ends() throws IOException {
    try (CausalLm model = CausalLm.open(directory)) {
      return model.ends();
    }
  }

  @Test
  void shouldReadShardsInASubFolder() throws IOException {
    TinyCheckpoint tiny = TinyCheckpoint.of("llama");
    Path one = tiny.write(named("one"));
    Path other = tiny.writeShards(named("other"), 2);
    Path folder = Files.createDirectory(other.resolve("shards"));
    Path index = other.resolve("model.safetensors.index.json");
    String places = Files.readString(index);
    for (int i = 0; i < 2; i++) {
      String name = TinyCheckpoint.shardName(i, 2);
      Files.move(other.resolve(name), folder.resolve(name));
      places = places.replace("\"" + name, "\"shards/" + name);
    }
    Files.writeString(index, places);
    assertSameLogits(tiny, one, other);
  }

  @ParameterizedTest
  @ValueSource(strings = {"language_model.", "base."})
  void shouldReadTensorsBelowOnePrefix(String prefix) throws IOException {
    TinyCheckpoint tiny = TinyCheckpoint.of("llama", "tie_word_embeddings", "false");
    Path one = tiny.write(named("one"));
    for (String name : List.copyOf(tiny.tensors.keySet())) {
      tiny.tensors.put(prefix + name, tiny.tensors.remove(name));
    }
    assertSameLogits(tiny, one, tiny.write(named("other")));
  }

  @Test
  void shouldReadTensorsWithoutTheUsualPrefix() throws IOException {
    TinyCheckpoint tiny = TinyCheckpoint.of("llama", "tie_word_embeddings", "false");
    Path one = tiny.write(named("one"));
    for (String name : List.copyOf(tiny.tensors.keySet())) {
      tiny.tensors.put(name.replaceFirst("^model\\.", ""), tiny.tensors.remove(name));
    }
    assertSameLogits(tiny, one, tiny.write(named("other")));
  }

  private Path named(String name) throws IOException {
    return Files.createDirectory(directory.resolve(name));
  }

  private static void assertSameLogits(TinyCheckpoint tiny, Path one, Path other)
      throws IOException {
    try (Arena arena = Arena.ofConfined();
        CausalLm first = CausalLm.open(one);
        CausalLm second = CausalLm.open(other)) {
      assertArrayEquals(
          first.logits(arena, text(tiny)).toFloatArray(),
          second.logits(arena, text(tiny)).toFloatArray());
    }
  }

  @Test
  void shouldCountAndDescribeTheModel() throws IOException {
    TinyCheckpoint.of("diffllama").write(directory);
    try (CausalLm model = CausalLm.open(directory)) {
      assertEquals(29, model.vocabulary());
      assertEquals(48, model.context());
      assertEquals(2, model.layers());
      assertEquals(2, model.maps());
      assertTrue(model.isDifferential());
      long layer = 12 + 4 * 24 * 12 + 4 * 6 + 12 + 3 * 20 * 12;
      assertEquals(29 * 12 + 2 * layer + 12, model.parameters());
      assertEquals(
          "diffllama with " + model.parameters() + " parameters from " + directory,
          model.toString());
    }
  }

  // ---- What is refused ----

  @Test
  void shouldListAllTensorsThatAreWrong() throws IOException {
    TinyCheckpoint tiny = TinyCheckpoint.of("diffllama");
    tiny.tensors.remove("model.layers.1.self_attn.lambda_k2");
    tiny.weight("model.norm.weight", DType.BF16, 1, 0, 13);
    tiny.tensors.put(
        "model.layers.0.mlp.up_proj.weight", Tensor.allocate(Arena.ofAuto(), DType.I32, 20, 12));
    tiny.weight("model.layers.0.self_attn.q_norm.weight", DType.F32, 1, 0, 6);
    assertEquals(
        directory
            + ": tensors must be those that config.json asks for: wrong=4"
            + "\n  model.layers.0.mlp.up_proj.weight must hold floats [20, 12]:"
            + " it is I32 [20, 12]"
            + "\n  model.layers.1.self_attn.lambda_k2 must hold floats [6]: it is missing"
            + "\n  model.norm.weight must hold floats [12]: it is BF16 [13]"
            + "\n  \"model.layers.0.self_attn.q_norm.weight\" must not be there, as no part of the"
            + " model is known by that name: it is F32[6]",
        refusal(tiny.write(directory)));
  }

  @Test
  void shouldCutALongListShort() throws IOException {
    TinyCheckpoint tiny = TinyCheckpoint.of("llama").put("num_hidden_layers", "60000");
    String message = refusal(tiny.write(directory));
    assertTrue(message.contains("wrong=539982\n"), message);
    assertTrue(message.endsWith("\n  and 539942 more"), message);
  }

  @Test
  void shouldAskForTheHeadThatIsNotTied() throws IOException {
    TinyCheckpoint tiny = TinyCheckpoint.of("llama").put("tie_word_embeddings", "false");
    assertTrue(
        refusal(tiny.write(directory))
            .endsWith("\n  lm_head.weight must hold floats [29, 12]: it is missing"));
  }

  @ParameterizedTest
  @CsvSource(
      delimiter = '|',
      value = {
        "model_type | \"mamba\" | model_type must be one of cohere2, diffllama, gemma2,"
            + " gemma3_text, gpt2, gpt_neox, granite, llama, mistral, mixtral, olmo2, phi3, qwen2,"
            + " qwen3, qwen3_moe, smollm3: model_type=\"mamba\"",
        "model_type | null | model_type must be a string: it is missing",
        "hidden_act | \"mish\" | hidden_act must be \"silu\", \"swish\", \"gelu\","
            + " \"gelu_python\", \"gelu_new\", \"gelu_fast\", \"gelu_accurate\","
            + " \"gelu_pytorch_tanh\", \"relu\", \"tanh\" or \"sigmoid\":"
            + " hidden_act=\"mish\"",
        "hidden_size | 0 | hidden_size must be an integer from 1 to 2^31-1: hidden_size=0",
        "hidden_size | 12.5 | hidden_size must be an integer from 1 to 2^31-1: hidden_size=12.5",
        "vocab_size | 2147483648 | vocab_size must be an integer from 1 to 2^31-1:"
            + " vocab_size=2147483648",
        "num_hidden_layers | 65537 | num_hidden_layers must be at most 65536:"
            + " num_hidden_layers=65537",
        "num_key_value_heads | 3 | num_attention_heads must be a multiple of num_key_value_heads:"
            + " num_attention_heads=4, num_key_value_heads=3",
        "head_dim | 5 | the part of head_dim that turns must be even, as rotary positions turn"
            + " pairs of channels: channels=5",
        "head_dim | 33554432 | the part of head_dim that turns must have at most 65536 channels:"
            + " channels=33554432",
        "rms_norm_eps | -1 | rms_norm_eps must be a positive number: rms_norm_eps=-1",
        "rope_theta | \"a\" | rope_theta must be a positive number: rope_theta=\"a\"",
        "rope_scaling | {\"rope_type\": \"longrope\", \"factor\": 4.0} |"
            + " rope_scaling.short_factor must be a list of 3 numbers, one for each pair that"
            + " turns: it is missing",
        "rope_scaling | {\"type\": \"mrope\"} |"
            + " rope_scaling.type must be \"default\", \"linear\", \"dynamic\", \"yarn\","
            + " \"llama3\" or \"longrope\": rope_scaling.type=\"mrope\"",
        "rope_scaling | {\"type\": \"linear\"} |"
            + " rope_scaling.factor must be a number of at least 1: it is missing",
        "rope_parameters | {\"rope_type\": \"yarn\", \"factor\": 0.5} |"
            + " rope_parameters.factor must be a number of at least 1: rope_parameters.factor=0.5",
        "rope_scaling | {\"type\": \"yarn\", \"factor\": 2, \"beta_fast\": 0.5} |"
            + " rope_scaling.beta_fast must be at least beta_slow, 1.0: rope_scaling.beta_fast=0.5",
        "rope_scaling | {\"type\": \"dynamic\", \"factor\": 2,"
            + " \"original_max_position_embeddings\": 24} |"
            + " rope_scaling.original_max_position_embeddings must be max_position_embeddings, 48:"
            + " rope_scaling.original_max_position_embeddings=24",
        "rope_scaling | {\"rope_type\": \"llama3\", \"factor\": 8, \"low_freq_factor\": 4,"
            + " \"high_freq_factor\": 4} |"
            + " rope_scaling.high_freq_factor must be more than low_freq_factor, 4.0:"
            + " rope_scaling.high_freq_factor=4",
        "rope_scaling | 2 | rope_scaling must be null or an object: rope_scaling=2",
        "partial_rotary_factor | 0.5 | partial_rotary_factor must be 1: partial_rotary_factor=0.5",
        "tie_word_embeddings | 1 | tie_word_embeddings must be true or false:"
            + " tie_word_embeddings=1",
        "quantization_config | {\"bits\": 4} | quantization_config must be null:"
            + " quantization_config=an object with 1 members",
        "eos_token_id | \"end\" | eos_token_id must be a token, a list of tokens, or null:"
            + " eos_token_id=\"end\"",
      })
  void shouldRefuseAConfigurationByNameAndValue(String key, String json, String wanted)
      throws IOException {
    TinyCheckpoint tiny = TinyCheckpoint.of("llama").put(key, json);
    assertEquals(directory.resolve("config.json") + ": " + wanted, refusal(tiny.write(directory)));
  }

  @ParameterizedTest
  @CsvSource({"mixtral, num_local_experts, 65537", "qwen3_moe, num_experts, 2147483647"})
  void shouldRefuseMoreExpertsThanItCouldDescribe(String type, String key, String count)
      throws IOException {
    TinyCheckpoint tiny = TinyCheckpoint.of(type).put(key, count);
    assertEquals(
        directory.resolve("config.json")
            + ": %s must be at most 65536 in each of 2 layers, 131072 together: %s=%s"
                .formatted(key, key, count),
        refusal(tiny.write(directory)));
  }

  @ParameterizedTest
  @CsvSource(
      delimiter = '|',
      value = {
        "layer_types | [\"sliding_attention\", \"full_attention\"] | a list of 2 values",
        "attention_chunk_size | 8192 | 8192",
        "use_bidirectional_attention | true | true",
        "attn_logit_softcapping | 50.0 | 50.0",
        "final_logit_softcapping | 30.0 | 30.0",
        "no_rope_layers | [0, 1] | a list of 2 values",
        "logit_scale | 0.0625 | 0.0625",
        "embedding_multiplier | 12.0 | 12.0",
        "residual_multiplier | 0.22 | 0.22",
        "attention_multiplier | 0.5 | 0.5",
        "query_pre_attn_scalar | 256 | 256",
        "use_qk_norm | true | true",
        "clip_qkv | 8.0 | 8.0",
        "alibi | true | true",
        "sliding_window | 16 | 16",
        "rope_interleaved | true | true",
        "rope_interleave | true | true",
        "rope_traditional | true | true",
        "rotary_pct | 0.25 | 0.25",
        "rotary_dim | 4 | 4",
        "hidden_activation | \"gelu\" | \"gelu\"",
        "scale_emb | 12 | 12",
        "quantization | {\"bits\": 4} | an object with 1 members",
        "compression_config | {\"bits\": 4} | an object with 1 members",
        "num_local_experts | 8 | 8",
      })
  void shouldRefuseWhatItWouldHaveToIgnore(String key, String json, String shown)
      throws IOException {
    TinyCheckpoint tiny = TinyCheckpoint.of("llama").put(key, json);
    assertEquals(
        directory.resolve("config.json")
            + ": settings that could change the result and are not computed are refused: "
            + key
            + "="
            + shown,
        refusal(tiny.write(directory)));
  }

  @Test
  void shouldRefuseAModelThatIsNotCausal() throws IOException {
    TinyCheckpoint tiny = TinyCheckpoint.of("llama").put("is_causal", "false");
    assertEquals(
        directory.resolve("config.json") + ": is_causal must be true: is_causal=false",
        refusal(tiny.write(directory)));
  }

  @Test
  void shouldRefuseUnknownMembersOfTheScaling() throws IOException {
    TinyCheckpoint tiny =
        TinyCheckpoint.of("llama")
            .put("rope_scaling", "{\"type\": \"yarn\", \"factor\": 2, \"attn_factor\": 2}");
    assertEquals(
        directory.resolve("config.json")
            + ": settings that could change the result and are not computed are refused:"
            + " rope_scaling.attn_factor=2",
        refusal(tiny.write(directory)));
  }

  @Test
  void shouldRefuseScalingsThatContradictEachOther() throws IOException {
    TinyCheckpoint tiny =
        TinyCheckpoint.of("llama")
            .put("rope_scaling", "{\"type\": \"linear\", \"factor\": 2}")
            .put("rope_parameters", "{\"rope_type\": \"linear\", \"factor\": 3}");
    assertEquals(
        directory.resolve("config.json")
            + ": rope_parameters must be equal to rope_scaling where both are there:"
            + " rope_parameters=an object with 2 members",
        refusal(tiny.write(directory)));
  }

  @Test
  void shouldRefuseAnOldFileBesideAnIndexThatDoesNotNameIt() throws IOException {
    TinyCheckpoint tiny = TinyCheckpoint.of("llama");
    tiny.writeShards(directory, 2);
    tiny.write(directory);
    assertEquals(
        directory
            + " must have one checkpoint: it has model.safetensors and"
            + " model.safetensors.index.json, which does not name it",
        refusal(directory));
  }

  @Test
  void shouldRefuseATensorOfAShardThatTheIndexDoesNotName() throws IOException {
    TinyCheckpoint tiny = TinyCheckpoint.of("llama");
    tiny.writeShards(directory, 1);
    Path index = directory.resolve("model.safetensors.index.json");
    String places = Files.readString(index);
    tiny.weight("model.layers.0.self_attn.q_norm.weight", DType.F32, 1, 0, 6);
    tiny.writeShards(directory, 1);
    Files.writeString(index, places);
    assertEquals(
        directory
            + ": the index must fit its files: \"model.layers.0.self_attn.q_norm.weight\" is in"
            + " model-00001-of-00001.safetensors, where the index does not name it",
        refusal(directory));
  }

  @ParameterizedTest
  @ValueSource(strings = {"adapter_config.json", "adapter_model.safetensors"})
  void shouldRefuseAdapters(String name) throws IOException {
    TinyCheckpoint.of("llama").write(directory);
    Files.writeString(directory.resolve(name), "{}");
    assertEquals(
        directory
            + " has an adapter, "
            + name
            + ", which is not computed: merge it into the model, or take it away",
        refusal(directory));
  }

  @ParameterizedTest
  @CsvSource(
      delimiter = '|',
      value = {
        "version https://git-lfs.github.com/spec/v1 oid | a Git LFS pointer, not the content (run:"
            + " git lfs pull)",
        "<!DOCTYPE html><html> | an HTML page, perhaps the error page of a failed download",
        "PK\u0003\u0004xxxxxxxx | a zip archive, such as a PyTorch checkpoint (pytorch_model.bin)",
        "GGUFxxxxxxxx | a GGUF file",
      })
  void shouldSayWhatAFileIsInsteadOfSafetensors(String content, String wanted) throws IOException {
    TinyCheckpoint.of("llama").write(directory);
    Path file = directory.resolve("model.safetensors");
    Files.delete(file);
    Files.writeString(file, content);
    assertEquals(
        file + ": file must be a safetensors file: it is " + wanted,
        assertThrows(IOException.class, () -> CausalLm.open(directory)).getMessage());
  }

  @ParameterizedTest
  @ValueSource(strings = {"pytorch_model.bin", "consolidated.safetensors", "snapshots"})
  void shouldSayWhatIsThereInsteadOfSafetensors(String name) throws IOException {
    TinyCheckpoint.of("llama").writeConfig(directory);
    Files.writeString(directory.resolve(name), "x");
    String message =
        assertThrows(NoSuchFileException.class, () -> CausalLm.open(directory)).getMessage();
    assertTrue(message.startsWith(directory.resolve("model.safetensors") + ": "), message);
    assertTrue(message.contains("the directory has " + name), message);
  }

  @Test
  void shouldSayInOneSentenceThatNoNameFits() throws IOException {
    TinyCheckpoint tiny = TinyCheckpoint.of("llama");
    for (String name : List.copyOf(tiny.tensors.keySet())) {
      tiny.tensors.put(name.replace("model.", "decoder.x."), tiny.tensors.remove(name));
    }
    String message = refusal(tiny.write(directory));
    assertTrue(
        message.startsWith(
            directory
                + ": tensors must have the names of llama: none of the 20 that the configuration"
                + " asks for is there; wanted=\"model.embed_tokens.weight\", found=\"decoder.x."),
        message);
  }

  @Test
  void shouldNameATensorOfATypeThatIsNotComputed() throws IOException {
    TinyCheckpoint.of("llama").write(directory);
    Path file = directory.resolve("model.safetensors");
    byte[] bytes = Files.readAllBytes(file);
    String all = new String(bytes, StandardCharsets.ISO_8859_1);
    // The first BF16 tensor becomes one of another type of 16 bits.
    String other = all.replaceFirst("\"dtype\":\"BF16\"", "\"dtype\":\"U16\" ");
    Files.delete(file);
    Files.write(file, other.getBytes(StandardCharsets.ISO_8859_1));
    String message = refusal(directory);
    assertTrue(message.contains("must hold floats"), message);
    assertTrue(message.contains("it is U16 ["), message);
  }

  @Test
  void shouldReadAFileWhoseUnusedTensorsHaveOtherTypes() throws IOException {
    TinyCheckpoint tiny = TinyCheckpoint.of("llama");
    tiny.weight("model.rotary_emb.inv_freq", DType.F32, 1, 0, 8);
    tiny.write(directory);
    Path file = directory.resolve("model.safetensors");
    String all = new String(Files.readAllBytes(file), StandardCharsets.ISO_8859_1);
    String name = "\"model.rotary_emb.inv_freq\":{";
    String was = name + "\"dtype\":\"F32\",\"shape\":[8]";
    assertTrue(all.contains(was));
    for (String type :
        List.of("F64\",\"shape\":[4]", "C64\",\"shape\":[4]", "U32\",\"shape\":[8]")) {
      String other = all.replace(was, name + "\"dtype\":\"" + type);
      Files.delete(file);
      Files.write(file, other.getBytes(StandardCharsets.ISO_8859_1));
      try (CausalLm model = CausalLm.open(directory)) {
        assertMatchesReference(tiny, model);
      }
      // A tensor that nobody knows is refused whatever its type.
      String unknown = other.replace("model.rotary_emb.inv_freq", "model.rotary_emb.xxx_freq");
      Files.delete(file);
      Files.write(file, unknown.getBytes(StandardCharsets.ISO_8859_1));
      String message = refusal(directory);
      assertTrue(message.contains("model.rotary_emb.xxx_freq"), message);
      assertTrue(message.contains(type.substring(0, 3)), message);
    }
  }

  @ParameterizedTest
  @CsvSource(
      delimiter = '|',
      quoteCharacter = '`',
      value = {
        "{\"type\": \"linear\", \"factor\": 4.0} | 192",
        "{\"rope_type\": \"yarn\", \"factor\": 8, \"original_max_position_embeddings\": 12} | 96",
        "{\"rope_type\": \"yarn\", \"factor\": 4, \"original_max_position_embeddings\": 12} | 48",
        "{\"rope_type\": \"yarn\", \"factor\": null, \"original_max_position_embeddings\": 12} |"
            + " 48",
        "{\"rope_type\": \"dynamic\", \"factor\": 4.0} | 48",
        "{\"rope_type\": \"llama3\", \"factor\": 8.0, \"low_freq_factor\": 0.1,"
            + " \"high_freq_factor\": 4.0, \"original_max_position_embeddings\": 20} | 48",
      })
  void shouldReadTextsAsLongAsScaledPositionsReach(String scaling, int reach) throws IOException {
    TinyCheckpoint.of("llama").put("rope_scaling", scaling).write(directory);
    int[] text = new int[reach];
    Arrays.setAll(text, i -> (i * i + 3 * i) % 29);
    try (CausalLm model = CausalLm.open(directory);
        Arena arena = Arena.ofConfined()) {
      assertEquals(reach, model.context());
      Tensor whole = model.logits(arena, text).select(0, reach - 1);
      CausalLm.Session session = model.newSession(arena);
      session.prefill(Arrays.copyOf(text, reach - 1));
      assertArrayEquals(whole.toFloatArray(), session.step(text[reach - 1]).toFloatArray(), 1e-4f);
      assertThrows(
          IllegalArgumentException.class,
          () -> model.logits(arena, Arrays.copyOf(text, reach + 1)));
    }
  }

  @Test
  void shouldSayThatAFileSystemCannotMap() throws IOException {
    Path zip = directory.resolve("model.zip");
    try (FileSystem files =
        FileSystems.newFileSystem(zip, Map.of("create", "true"), (ClassLoader) null)) {
      Path inside = Files.createDirectory(files.getPath("/model"));
      TinyCheckpoint tiny = TinyCheckpoint.of("llama");
      Path outside = tiny.write(named("outside"));
      for (String name : List.of("config.json", "model.safetensors")) {
        Files.copy(outside.resolve(name), inside.resolve(name));
      }
      assertEquals(
          "/model/model.safetensors must be in a file system that can map files into memory: it"
              + " is in jar",
          assertThrows(IOException.class, () -> CausalLm.open(inside)).getMessage());
    }
  }

  @ParameterizedTest
  @CsvSource(
      delimiter = '|',
      value = {
        "num_key_value_heads | 1 | num_key_value_heads must be even, as model_type is"
            + " \"diffllama\": num_key_value_heads=1",
        "mlp_bias | true | mlp_bias must be false, as model_type is \"diffllama\": mlp_bias=true",
      })
  void shouldRefuseWhatDiffLlamaDoesNotHave(String key, String json, String wanted)
      throws IOException {
    TinyCheckpoint tiny = TinyCheckpoint.of("diffllama").put(key, json);
    assertEquals(directory.resolve("config.json") + ": " + wanted, refusal(tiny.write(directory)));
  }

  @Test
  void shouldRefuseHeadsThatDoNotShareTheWidth() throws IOException {
    TinyCheckpoint tiny = TinyCheckpoint.of("llama").put("hidden_size", "14");
    tiny.config.remove("head_dim");
    assertEquals(
        directory.resolve("config.json")
            + ": hidden_size must be a multiple of num_attention_heads where there is no head_dim:"
            + " hidden_size=14, num_attention_heads=4",
        refusal(tiny.write(directory)));
  }

  @Test
  void shouldSayWhichFileIsMissing() throws IOException {
    assertEquals(
        directory.resolve("config.json").toString(),
        assertThrows(NoSuchFileException.class, () -> CausalLm.open(directory)).getMessage());
    TinyCheckpoint.of("llama").writeConfig(directory);
    assertEquals(
        directory.resolve("model.safetensors").toString(),
        assertThrows(NoSuchFileException.class, () -> CausalLm.open(directory)).getMessage());
  }

  @Test
  void shouldRefuseAConfigurationThatIsNoJsonObject() throws IOException {
    Path file = directory.resolve("config.json");
    Files.writeString(file, "{\"model_type\": ");
    assertEquals(
        file + " must be valid JSON: expected a value but got the end at character 15",
        assertThrows(IOException.class, () -> CausalLm.open(directory)).getMessage());
    Files.writeString(file, "[1, 2]");
    assertEquals(file + " must hold an object: it holds a list of 2 values", refusal(directory));
  }

  @Test
  void shouldRefuseAMalformedFileOfTensors() throws IOException {
    TinyCheckpoint.of("llama").write(directory);
    Files.write(directory.resolve("model.safetensors"), new byte[3]);
    assertEquals(
        directory.resolve("model.safetensors") + ": file must have at least 8 bytes: file=3",
        assertThrows(IOException.class, () -> CausalLm.open(directory)).getMessage());
  }

  @ParameterizedTest
  @ValueSource(
      strings = {
        "../a.safetensors",
        "x/../../a.safetensors",
        "/a.safetensors",
        "a\\\\b.safetensors",
        "a.bin"
      })
  void shouldReadNoFileElsewhereThatAnIndexNames(String name) throws IOException {
    TinyCheckpoint.of("llama").writeConfig(directory);
    Path index = directory.resolve("model.safetensors.index.json");
    Files.writeString(index, "{\"weight_map\": {\"x\": \"" + name + "\"}}");
    assertEquals(
        index
            + ": weight_map must name safetensors files in its directory or below it: \"x\" is in"
            + " \""
            + name
            + "\"",
        refusal(directory));
  }

  @Test
  void shouldRefuseAnIndexThatDoesNotFitItsFiles() throws IOException {
    TinyCheckpoint tiny = TinyCheckpoint.of("llama");
    tiny.writeShards(directory, 2);
    Path index = directory.resolve("model.safetensors.index.json");
    String places = Files.readString(index);
    Files.writeString(
        index,
        places.replace(
            "\"model.norm.weight\": \"" + TinyCheckpoint.shardName(1, 2),
            "\"model.norm.weight\": \"" + TinyCheckpoint.shardName(0, 2)));
    assertEquals(
        directory
            + ": the index must fit its files: model.norm.weight must be in"
            + " model-00001-of-00002.safetensors, as the index says: it is not;"
            + " \"model.norm.weight\" is in model-00002-of-00002.safetensors, where the index does"
            + " not name it",
        refusal(directory));
    Files.writeString(index, "{\"weight_map\": 3}");
    assertEquals(index + ": weight_map must be an object: weight_map=3", refusal(directory));
  }

  // ---- Help ----

  private void assertMatchesReference(TinyCheckpoint tiny) throws IOException {
    tiny.write(directory);
    try (CausalLm model = CausalLm.open(directory)) {
      assertMatchesReference(tiny, model);
    }
  }

  /** Whole and by a session, on every tier. Logits are of the order of 1. */
  private static void assertMatchesReference(TinyCheckpoint tiny, CausalLm model) {
    String before = A4j.isa();
    int[] text = text(tiny);
    double[][] wanted = new ReferenceLm(tiny).logits(text);
    try (Arena arena = Arena.ofConfined()) {
      for (String tier : A4j.availableIsas()) {
        A4j.isa(tier);
        Tensor logits = model.logits(arena, text);
        CausalLm.Session session = model.newSession(arena);
        session.prefill(Arrays.copyOf(text, 5));
        for (int t = 0; t < text.length; t++) {
          assertClose(wanted[t], logits.select(0, t), tier + " at " + t);
          if (t >= 5) {
            assertClose(wanted[t], session.step(text[t]), tier + ", session, at " + t);
          }
        }
      }
    } finally {
      A4j.isa(before);
    }
  }

  private static int[] text(TinyCheckpoint tiny) {
    int[] text = new int[tiny.integer("max_position_embeddings")];
    Arrays.setAll(text, i -> (i * i + 3 * i) % tiny.integer("vocab_size"));
    return text;
  }

  private static void assertClose(double[] wanted, Tensor got, String what) {
    float[] values = got.toFloatArray();
    for (int i = 0; i < wanted.length; i++) {
      assertEquals(wanted[i], values[i], 2e-5, what + " [" + i + "]");
    }
  }

  private static String refusal(Path directory) {
    return assertThrows(IllegalArgumentException.class, () -> CausalLm.open(directory))
        .getMessage();
  }
}
