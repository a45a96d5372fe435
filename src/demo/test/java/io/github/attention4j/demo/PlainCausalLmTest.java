package io.github.attention4j.demo;

import static org.junit.jupiter.api.Assertions.assertArrayEquals;
import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import io.github.attention4j.io.SafeTensors;
import java.io.IOException;
import java.lang.foreign.Arena;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.Arrays;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;
import org.junit.jupiter.params.provider.EnumSource;

/**
 * Compares plain Java with {@code reference.safetensors}, which holds what {@code train.py}
 * computed in float64 from the same weights.
 */
class PlainCausalLmTest {

  /** Smaller than the smallest gap between the best two logits along the reference text, 0.0073. */
  private static final float TOLERANCE = 2e-3f;

  @ParameterizedTest
  @EnumSource
  void shouldMatchFloat64LogitsOfTheTrainedModel(DemoModel demo) throws IOException {
    PlainCausalLm model = PlainCausalLm.load(demo.directory());
    try (Arena arena = Arena.ofConfined()) {
      SafeTensors reference = reference(demo, arena);
      int[] prompt = reference.get("prompt").toIntArray();
      float[] expected = reference.get("logits").toFloatArray();
      float[] actual = flatten(model.forward(prompt));
      assertArrayEquals(expected, actual, TOLERANCE);
    }
  }

  @ParameterizedTest
  @EnumSource
  void shouldContinueGreedilyByteForByte(DemoModel demo) throws IOException {
    PlainCausalLm model = PlainCausalLm.load(demo.directory());
    try (Arena arena = Arena.ofConfined()) {
      SafeTensors reference = reference(demo, arena);
      int[] prompt = reference.get("prompt").toIntArray();
      int[] expected = reference.get("greedy").toIntArray();
      assertEquals(text(expected), text(model.greedy(prompt, expected.length - prompt.length)));
    }
  }

  @ParameterizedTest
  @EnumSource
  void shouldGiveTheSameLogitsWhenTheTextArrivesInPieces(DemoModel demo) throws IOException {
    PlainCausalLm model = PlainCausalLm.load(demo.directory());
    int[] tokens = Prompt.tokens(Prompt.DEFAULT, model.config().context());
    PlainCausalLm.Cache cache = model.newCache();
    float[][] expected = model.forward(tokens);
    int read = 0;
    for (int piece : new int[] {1, 7, 1, 1, 30, tokens.length - 40}) {
      float[][] actual = model.forward(Arrays.copyOfRange(tokens, read, read + piece), cache);
      for (int i = 0; i < piece; i++) {
        assertArrayEquals(expected[read + i], actual[i], "token " + (read + i));
      }
      read += piece;
    }
    assertEquals(tokens.length, cache.length());
  }

  @ParameterizedTest
  @CsvSource({"LLAMA, 6", "DIFFLLAMA, 3"})
  void shouldReturnWeightsThatSumToOneLessLambda(DemoModel demo, int maps) throws IOException {
    PlainCausalLm model = PlainCausalLm.load(demo.directory());
    int[] tokens = Prompt.tokens("To be, or not", model.config().context());
    float[][][][] weights = model.attentionWeights(tokens);
    assertEquals(4, weights.length, "layers");
    for (int layer = 0; layer < weights.length; layer++) {
      assertEquals(maps, weights[layer].length, "maps");
      double lambda = model.config().differential() ? model.lambda()[layer] : 0;
      for (float[][] map : weights[layer]) {
        for (int query = 0; query < tokens.length; query++) {
          double sum = 0;
          for (int key = 0; key < tokens.length; key++) {
            sum += map[query][key];
            assertTrue(key <= query || map[query][key] == 0, "a key after its query has weight");
          }
          assertEquals(1 - lambda, sum, 1e-5, "layer " + layer + " query " + query);
        }
      }
    }
  }

  @Test
  void shouldRejectTextLongerThanTheContext() throws IOException {
    PlainCausalLm model = PlainCausalLm.load(DemoModel.LLAMA.directory());
    PlainCausalLm.Cache cache = model.newCache();
    model.forward(new int[200], cache);
    IllegalArgumentException e =
        assertThrows(IllegalArgumentException.class, () -> model.forward(new int[57], cache));
    assertEquals("text must fit the context: text=257 tokens, context=256", e.getMessage());
  }

  @Test
  void shouldRejectTokensOutsideTheVocabulary() throws IOException {
    PlainCausalLm model = PlainCausalLm.load(DemoModel.LLAMA.directory());
    IllegalArgumentException e =
        assertThrows(IllegalArgumentException.class, () -> model.forward(new int[] {256}));
    assertEquals("token must be in the vocabulary: token=256, vocabulary=256", e.getMessage());
  }

  @Test
  void shouldHaveLambdaOnlyIfDifferential() throws IOException {
    PlainCausalLm model = PlainCausalLm.load(DemoModel.LLAMA.directory());
    IllegalStateException e = assertThrows(IllegalStateException.class, model::lambda);
    assertEquals("lambda belongs to diffllama: model_type=llama", e.getMessage());
  }

  @Test
  void shouldRejectAnotherArchitecture(@TempDir Path directory) throws IOException {
    Path config = directory.resolve("config.json");
    Files.writeString(config, "{\"model_type\": \"mamba\"}");
    IllegalArgumentException e =
        assertThrows(IllegalArgumentException.class, () -> PlainCausalLm.load(directory));
    assertEquals(
        "model_type must be llama or diffllama: model_type=mamba in " + config, e.getMessage());
  }

  @Test
  void shouldRejectATensorOfAnotherShapeThanTheConfigurationSays(@TempDir Path directory)
      throws IOException {
    Path model = DemoModel.LLAMA.directory();
    String config = Files.readString(model.resolve("config.json"));
    Files.writeString(
        directory.resolve("config.json"),
        config.replace("\"vocab_size\": 256", "\"vocab_size\": 300"));
    Files.copy(model.resolve("model.safetensors"), directory.resolve("model.safetensors"));
    IllegalArgumentException e =
        assertThrows(IllegalArgumentException.class, () -> PlainCausalLm.load(directory));
    assertEquals(
        "shape of model.embed_tokens.weight must be what config.json says:"
            + " wanted=[300, 192], got=[256, 192]",
        e.getMessage());
  }

  private static SafeTensors reference(DemoModel demo, Arena arena) throws IOException {
    return SafeTensors.open(demo.directory().resolve("reference.safetensors"), arena);
  }

  private static float[] flatten(float[][] rows) {
    float[] all = new float[rows.length * rows[0].length];
    for (int i = 0; i < rows.length; i++) {
      System.arraycopy(rows[i], 0, all, i * rows[0].length, rows[0].length);
    }
    return all;
  }

  private static String text(int[] tokens) {
    byte[] bytes = new byte[tokens.length];
    for (int i = 0; i < bytes.length; i++) {
      bytes[i] = (byte) tokens[i];
    }
    return new String(bytes, StandardCharsets.ISO_8859_1);
  }
}
