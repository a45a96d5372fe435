package io.github.attention4j;

import static org.junit.jupiter.api.Assertions.assertArrayEquals;
import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertTrue;

import io.github.attention4j.model.CausalLm;
import io.github.attention4j.model.Sampler;
import java.lang.foreign.Arena;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.Arrays;
import java.util.List;
import java.util.Random;
import java.util.regex.Matcher;
import java.util.regex.Pattern;
import java.util.stream.Collectors;
import org.junit.jupiter.api.Test;

/** The README's Java, which stands here line by line, does what the README says. */
class TutorialTest {
  private final Random random = new Random(17);

  private float[] normal(int count) {
    float[] values = new float[count];
    for (int i = 0; i < count; i++) {
      values[i] = (float) random.nextGaussian();
    }
    return values;
  }

  @Test
  void shouldAttendOverFloats() {
    float[] queries = normal(128 * 512);
    float[] keys = normal(128 * 512);
    float[] values = normal(128 * 512);
    float[] result;

    try (Arena arena = Arena.ofConfined()) {
      // 128 tokens, 8 heads of 64: [batch, length, heads * dim] as [batch, heads, length, dim].
      Tensor q = Tensor.of(arena, queries, 1, 128, 512).splitHeads(8);
      Tensor k = Tensor.of(arena, keys, 1, 128, 512).splitHeads(8);
      Tensor v = Tensor.of(arena, values, 1, 128, 512).splitHeads(8);
      Tensor out = Tensor.allocate(arena, DType.F32, 1, 8, 128, 64);
      Attention attention = Attention.builder().mask(Mask.causal(Alignment.TOP_LEFT)).build();
      attention.forward(q, k, v, out);
      result = out.toFloatArray();
    }

    // The first query sees the first key alone.
    assertArrayEquals(Arrays.copyOf(values, 64), Arrays.copyOf(result, 64));
    assertEquals(128 * 512, result.length);
  }

  @Test
  void shouldSubtractOneMapFromTheOther() {
    float lambda = 0.25f;
    try (Arena arena = Arena.ofConfined()) {
      Tensor q = Tensor.of(arena, normal(128 * 512), 1, 128, 512).splitHeads(8);
      Tensor k = Tensor.of(arena, normal(128 * 512), 1, 128, 512).splitHeads(8);
      float[] values = normal(128 * 512);
      Tensor v = Tensor.of(arena, values, 1, 128, 512).splitHeads(4);
      Tensor out = Tensor.allocate(arena, DType.F32, 1, 4, 128, 128);

      // Eight heads are four pairs (2h, 2h + 1); v and out have four heads of 128.
      Differential.builder()
          .mask(Mask.causal(Alignment.TOP_LEFT))
          .build()
          .forward(q, k, v, lambda, out);

      for (int d = 0; d < 128; d++) {
        assertEquals((1 - lambda) * values[d], out.getFloat(0, 0, 0, d), 1e-6);
      }
    }
  }

  @Test
  void shouldDecodeFromACache() {
    try (Arena arena = Arena.ofConfined()) {
      Tensor q = Tensor.of(arena, normal(129 * 512), 1, 129, 512).splitHeads(8);
      Tensor k = Tensor.of(arena, normal(129 * 512), 1, 129, 512).splitHeads(8);
      Tensor v = Tensor.of(arena, normal(129 * 512), 1, 129, 512).splitHeads(8);
      Tensor whole = Tensor.allocate(arena, DType.F32, q.shape());
      Tensor pieces = Tensor.allocate(arena, DType.F32, q.shape());
      Attention.builder().mask(Mask.causal(Alignment.TOP_LEFT)).build().forward(q, k, v, whole);
      Tensor promptQ = q.slice(2, 0, 128);
      Tensor promptK = k.slice(2, 0, 128);
      Tensor promptV = v.slice(2, 0, 128);
      Tensor promptOut = pieces.slice(2, 0, 128);
      Tensor nextQ = q.slice(2, 128, 1);
      Tensor nextK = k.slice(2, 128, 1);
      Tensor nextV = v.slice(2, 128, 1);
      Tensor nextOut = pieces.slice(2, 128, 1);

      KvCache cache = KvCache.allocate(arena, 1, 8, 4096, 64); // batch, heads, capacity, dim
      Attention attention = Attention.builder().build(); // causal is what a cache implies
      cache.append(promptK, promptV);
      attention.forward(promptQ, cache, promptOut);
      cache.append(nextK, nextV); // one token more, as often as there is room
      attention.forward(nextQ, cache, nextOut);

      assertArrayEquals(whole.toFloatArray(), pieces.toFloatArray(), 1e-5f);
    }
  }

  @Test
  void shouldGenerateFromACheckpoint() throws Exception {
    String directory = "src/demo/resources/models/llama";
    StringBuilder text = new StringBuilder();

    try (CausalLm model = CausalLm.open(Path.of(directory))) {
      int[] prompt = "ROMEO:\n".chars().toArray(); // these models read bytes
      Sampler sampler = Sampler.builder().temperature(0.5).topP(0.9).seed(2).build();
      model.generate(prompt, 100, sampler, token -> text.append((char) token));
    }

    assertEquals(100, text.length());
    assertTrue(text.toString().matches("[\\p{Print}\n]+"), text.toString());
  }

  @Test
  void shouldStandInTheReadmeLineByLine() throws Exception {
    String tutorial = lines(Path.of("src/test/java/io/github/attention4j/TutorialTest.java"));
    Matcher java =
        Pattern.compile("```java\n(.*?)```", Pattern.DOTALL)
            .matcher(Files.readString(Path.of("README.md"), StandardCharsets.UTF_8));
    List<String> blocks = java.results().map(block -> block.group(1)).toList();
    assertEquals(4, blocks.size(), "blocks of Java in README.md");
    for (String block : blocks) {
      assertTrue(tutorial.contains(withoutIndentation(block)), "not in the tutorial:\n" + block);
    }
  }

  private static String lines(Path file) throws Exception {
    return withoutIndentation(Files.readString(file, StandardCharsets.UTF_8));
  }

  private static String withoutIndentation(String text) {
    return text.lines().map(String::strip).collect(Collectors.joining("\n"));
  }
}
