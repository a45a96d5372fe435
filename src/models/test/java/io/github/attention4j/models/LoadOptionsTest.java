package io.github.attention4j.models;

import static org.junit.jupiter.api.Assertions.assertArrayEquals;
import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertSame;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import java.io.IOException;
import java.lang.foreign.Arena;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import java.util.Map;
import org.junit.jupiter.api.BeforeEach;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;

/** What weights are kept as, and how opening is followed. */
class LoadOptionsTest {
  @TempDir private Path directory;

  @BeforeEach
  void write() throws IOException {
    TinyCheckpoint.of(
            "llama",
            "hidden_size",
            "32",
            "intermediate_size",
            "64",
            "head_dim",
            "8",
            "max_position_embeddings",
            "128")
        .write(directory);
  }

  @Test
  void shouldUseWeightsWhereTheyAreMapped() throws IOException {
    try (CausalLm model = CausalLm.open(directory)) {
      long matrices = 2 * (4 * 32 * 32 + 3 * 32 * 64);
      assertEquals(
          Map.of("BF16 mapped", 2 * matrices, "F32 mapped", 4L * 29 * 32, "F32", 5L * 4 * 32),
          model.weightBytes());
    }
  }

  @Test
  void shouldGiveTheSameBitsOfWidenedWeights() throws IOException {
    LoadOptions options = LoadOptions.builder().weights(LoadOptions.Weights.FLOAT32).build();
    try (CausalLm stored = CausalLm.open(directory);
        CausalLm widened = CausalLm.open(directory, options)) {
      assertEquals(List.of("F32"), List.copyOf(widened.weightBytes().keySet()));
      assertArrayEquals(logits(stored), logits(widened));
    }
  }

  @Test
  void shouldQuantiseToEightAndFourBits() throws IOException {
    try (CausalLm stored = CausalLm.open(directory)) {
      float[] wanted = logits(stored);
      double[] allowed = {0.03, 0.5};
      LoadOptions.Weights[] kinds = {LoadOptions.Weights.INT8, LoadOptions.Weights.INT4};
      for (int i = 0; i < kinds.length; i++) {
        LoadOptions options = LoadOptions.builder().weights(kinds[i]).build();
        try (CausalLm quantised = CausalLm.open(directory, options)) {
          String kind = (i == 0 ? 8 : 4) + " bits, F16 scales of 32";
          assertTrue(quantised.weightBytes().containsKey(kind), quantised.weightBytes().toString());
          float[] got = logits(quantised);
          double error = relativeError(wanted, got);
          assertTrue(error < allowed[i], kind + ": " + error);
          assertTrue(error > 0);
        }
      }
    }
  }

  @Test
  void shouldRoundOnlyProductsOfManyRows() throws IOException {
    LoadOptions options = LoadOptions.builder().bf16Products().build();
    try (CausalLm exact = CausalLm.open(directory);
        CausalLm rounding = CausalLm.open(directory, options)) {
      assertArrayEquals(logits(exact), logits(rounding));
      float[] wanted = logits(exact, 120);
      double error = relativeError(wanted, logits(rounding, 120));
      assertTrue(error > 0 && error < 0.02, "error is " + error);
    }
  }

  @Test
  void shouldTellTheProgressAndEndWithWhatTheListenerThrows() throws IOException {
    List<Double> told = new ArrayList<>();
    LoadOptions options = LoadOptions.builder().progress(told::add).build();
    CausalLm.open(directory, options).close();
    assertEquals(List.of(0.5, 1.0), told);
    IllegalStateException enough = new IllegalStateException("enough");
    LoadOptions ending =
        LoadOptions.builder()
            .progress(
                share -> {
                  throw enough;
                })
            .build();
    Throwable thrown =
        assertThrows(IllegalStateException.class, () -> CausalLm.open(directory, ending));
    while (thrown != enough && thrown.getCause() != null) {
      thrown = thrown.getCause();
    }
    assertSame(enough, thrown);
  }

  /** The length of the difference by that of what is wanted. */
  private static double relativeError(float[] wanted, float[] got) {
    double error = 0;
    double size = 0;
    for (int i = 0; i < wanted.length; i++) {
      error += Math.pow(got[i] - (double) wanted[i], 2);
      size += Math.pow(wanted[i], 2);
    }
    return Math.sqrt(error / size);
  }

  private static float[] logits(CausalLm model) {
    return logits(model, 40);
  }

  private static float[] logits(CausalLm model, int length) {
    int[] text = new int[length];
    Arrays.setAll(text, i -> (i * i + 3 * i) % 29);
    try (Arena arena = Arena.ofConfined()) {
      return model.logits(arena, text).toFloatArray();
    }
  }
}
