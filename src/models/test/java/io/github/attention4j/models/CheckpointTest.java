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
import java.nio.file.Files;
import java.nio.file.NoSuchFileException;
import java.nio.file.Path;
import java.util.Arrays;
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
  void shouldNotNeedTheFilesOnceOpen() throws IOException {
    TinyCheckpoint tiny = TinyCheckpoint.of("llama");
    tiny.write(directory);
    try (Arena arena = Arena.ofConfined();
        CausalLm model = CausalLm.open(directory)) {
      float[] before = model.logits(arena, text(tiny)).toFloatArray();
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
    tiny.weight("lm_head.weight", DType.F32, 1, 0, 29, 12);
    assertMatchesReference(tiny);
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
            + "\n  model.layers.0.mlp.up_proj.weight must be F32, BF16 or F16 [20, 12]:"
            + " it is I32 [20, 12]"
            + "\n  model.layers.1.self_attn.lambda_k2 must be F32, BF16 or F16 [6]: it is missing"
            + "\n  model.norm.weight must be F32, BF16 or F16 [12]: it is BF16 [13]"
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
            .endsWith("\n  lm_head.weight must be F32, BF16 or F16 [29, 12]: it is missing"));
  }

  @ParameterizedTest
  @CsvSource(
      delimiter = '|',
      value = {
        "model_type | \"gpt2\" | model_type must be \"llama\" or \"diffllama\":"
            + " model_type=\"gpt2\"",
        "model_type | null | model_type must be a string: it is missing",
        "hidden_act | \"gelu\" | hidden_act must be \"silu\": hidden_act=\"gelu\"",
        "hidden_size | 0 | hidden_size must be an integer from 1 to 2^31-1: hidden_size=0",
        "hidden_size | 12.5 | hidden_size must be an integer from 1 to 2^31-1: hidden_size=12.5",
        "vocab_size | 2147483648 | vocab_size must be an integer from 1 to 2^31-1:"
            + " vocab_size=2147483648",
        "num_hidden_layers | 65537 | num_hidden_layers must be at most 65536:"
            + " num_hidden_layers=65537",
        "num_key_value_heads | 3 | num_attention_heads must be a multiple of num_key_value_heads:"
            + " num_attention_heads=4, num_key_value_heads=3",
        "head_dim | 5 | head_dim must be even, as rotary positions turn pairs of channels:"
            + " head_dim=5",
        "rms_norm_eps | -1 | rms_norm_eps must be a positive number: rms_norm_eps=-1",
        "rope_theta | \"a\" | rope_theta must be a positive number: rope_theta=\"a\"",
        "rope_scaling | {\"rope_type\": \"longrope\", \"factor\": 4.0} |"
            + " rope_scaling.rope_type must be \"default\", \"linear\", \"dynamic\", \"yarn\" or"
            + " \"llama3\": rope_scaling.rope_type=\"longrope\"",
        "rope_scaling | {} |"
            + " rope_scaling.rope_type must be \"default\", \"linear\", \"dynamic\", \"yarn\" or"
            + " \"llama3\": it is missing",
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
            + " rope_scaling.high_freq_factor=4.0",
        "rope_scaling | {\"rope_type\": \"llama3\", \"factor\": 8, \"low_freq_factor\": 1,"
            + " \"high_freq_factor\": 4} |"
            + " rope_scaling.original_max_position_embeddings must be an integer from 1 to 2^31-1:"
            + " it is missing",
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
  @ValueSource(strings = {"../a.safetensors", "/a.safetensors", "a\\\\b.safetensors", "a.bin"})
  void shouldReadNoFileElsewhereThatAnIndexNames(String name) throws IOException {
    TinyCheckpoint.of("llama").writeConfig(directory);
    Path index = directory.resolve("model.safetensors.index.json");
    Files.writeString(index, "{\"weight_map\": {\"x\": \"" + name + "\"}}");
    assertEquals(
        index + ": weight_map must name safetensors files beside it: \"x\" is in \"" + name + "\"",
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
            + ": tensors must be those that config.json asks for: wrong=2"
            + "\n  model.norm.weight must be in model-00001-of-00002.safetensors, as the index"
            + " says: it is not"
            + "\n  model.norm.weight must be F32, BF16 or F16 [12]: it is missing",
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
