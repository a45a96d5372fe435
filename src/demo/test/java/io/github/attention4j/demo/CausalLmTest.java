package io.github.attention4j.demo;

import static org.junit.jupiter.api.Assertions.assertArrayEquals;
import static org.junit.jupiter.api.Assertions.assertEquals;

import io.github.attention4j.A4j;
import io.github.attention4j.Tensor;
import io.github.attention4j.io.SafeTensors;
import io.github.attention4j.models.CausalLm;
import io.github.attention4j.models.Sampler;
import java.io.IOException;
import java.lang.foreign.Arena;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.EnumSource;

/** The two demonstration models, compared with what float64 and plain Java make of them. */
class CausalLmTest {
  /** From the issue: a smaller error cannot change a byte of the greedy texts. */
  private static final double REFERENCE_TOLERANCE = 2e-3;

  private static final double CACHE_TOLERANCE = 1e-4;

  private static final int NEW_TOKENS = 160;

  private final String isa = A4j.isa();

  @AfterEach
  void restoreKernels() {
    A4j.isa(isa);
  }

  @ParameterizedTest
  @EnumSource
  void shouldReachTheReferenceLogitsOnEveryTier(DemoModel demo) throws IOException {
    try (Arena arena = Arena.ofConfined();
        CausalLm model = CausalLm.open(demo.directory())) {
      SafeTensors reference = reference(demo, arena);
      float[] wanted = reference.get("logits").toFloatArray();
      int[] prompt = reference.get("prompt").toIntArray();
      for (String tier : A4j.availableIsas()) {
        A4j.isa(tier);
        Tensor logits = model.logits(arena, prompt);
        assertArrayEquals(new long[] {prompt.length, 256}, logits.shape());
        assertClose(wanted, logits.toFloatArray(), REFERENCE_TOLERANCE, demo + " on " + tier);
      }
    }
  }

  @ParameterizedTest
  @EnumSource
  void shouldContinueGreedilyByteForByteOnEveryTier(DemoModel demo) throws IOException {
    try (Arena arena = Arena.ofConfined();
        CausalLm model = CausalLm.open(demo.directory())) {
      int[] prompt = reference(demo, arena).get("prompt").toIntArray();
      for (String tier : A4j.availableIsas()) {
        A4j.isa(tier);
        List<Integer> streamed = new ArrayList<>();
        int[] tokens = model.generate(prompt, NEW_TOKENS, Sampler.greedy(), streamed::add);
        assertArrayEquals(greedy(demo, arena), tokens, demo + " on " + tier);
        assertArrayEquals(tokens, streamed.stream().mapToInt(Integer::intValue).toArray());
      }
    }
  }

  @ParameterizedTest
  @EnumSource
  void shouldComputeTheSameWithTheCacheAndWithout(DemoModel demo) throws IOException {
    try (Arena arena = Arena.ofConfined();
        CausalLm model = CausalLm.open(demo.directory())) {
      int[] prompt = reference(demo, arena).get("prompt").toIntArray();
      int[] text = Arrays.copyOf(prompt, prompt.length + NEW_TOKENS);
      System.arraycopy(greedy(demo, arena), 0, text, prompt.length, NEW_TOKENS);
      Tensor whole = model.logits(arena, text);
      CausalLm.Session session = model.newSession(arena);
      for (int i = prompt.length; i <= text.length; i++) {
        Tensor logits = i == prompt.length ? session.prefill(prompt) : session.step(text[i - 1]);
        assertEquals(i, session.length());
        float[] row = whole.select(0, i - 1).toFloatArray();
        assertClose(row, logits.toFloatArray(), CACHE_TOLERANCE, demo + " at " + i);
        if (i < text.length) {
          assertEquals(text[i], Sampler.greedy().next(logits, 0), demo + " at " + i);
        }
      }
    }
  }

  @ParameterizedTest
  @EnumSource
  void shouldAgreeWithPlainJava(DemoModel demo) throws IOException {
    PlainCausalLm plain = PlainCausalLm.load(demo.directory());
    int[] text = new int[256];
    Arrays.setAll(text, i -> (i * i * 31 + 7 * i) & 0x7f);
    try (Arena arena = Arena.ofConfined();
        CausalLm model = CausalLm.open(demo.directory())) {
      float[][] wanted = plain.forward(text);
      Tensor logits = model.logits(arena, text);
      float[][][][] maps = plain.attentionWeights(text);
      for (int i = 0; i < text.length; i++) {
        assertClose(
            wanted[i], logits.select(0, i).toFloatArray(), REFERENCE_TOLERANCE, demo + " at " + i);
      }
      for (int layer = 0; layer < model.layers(); layer++) {
        Tensor weights = model.attentionWeights(arena, text, layer);
        assertArrayEquals(new long[] {model.maps(), 256, 256}, weights.shape());
        for (int map = 0; map < model.maps(); map++) {
          for (int row = 0; row < text.length; row++) {
            assertClose(
                maps[layer][map][row],
                weights.select(0, map).select(0, row).toFloatArray(),
                1e-4,
                demo + " layer " + layer + " map " + map + " row " + row);
          }
        }
      }
    }
  }

  private static SafeTensors reference(DemoModel demo, Arena arena) throws IOException {
    return SafeTensors.open(demo.directory().resolve("reference.safetensors"), arena);
  }

  /** The reference's continuation without its prompt. */
  private static int[] greedy(DemoModel demo, Arena arena) throws IOException {
    SafeTensors reference = reference(demo, arena);
    int[] text = reference.get("greedy").toIntArray();
    return Arrays.copyOfRange(text, (int) reference.get("prompt").count(), text.length);
  }

  private static void assertClose(float[] wanted, float[] got, double tolerance, String what) {
    assertEquals(wanted.length, got.length, what);
    for (int i = 0; i < wanted.length; i++) {
      if (!(Math.abs((double) wanted[i] - got[i]) <= tolerance)) {
        assertEquals(wanted[i], got[i], tolerance, what + " [" + i + "]");
      }
    }
  }
}
