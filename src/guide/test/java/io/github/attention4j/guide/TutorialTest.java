package io.github.attention4j.guide;

import static org.junit.jupiter.api.Assertions.assertArrayEquals;
import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertTrue;

import io.github.attention4j.Alibi;
import io.github.attention4j.Alignment;
import io.github.attention4j.Attention;
import io.github.attention4j.DType;
import io.github.attention4j.Differential;
import io.github.attention4j.FloatExpression;
import io.github.attention4j.IntExpression;
import io.github.attention4j.KeyRanges;
import io.github.attention4j.KvCache;
import io.github.attention4j.KvPagePool;
import io.github.attention4j.Mask;
import io.github.attention4j.Score;
import io.github.attention4j.Score.FloatTable;
import io.github.attention4j.Score.IntTable;
import io.github.attention4j.Sequences;
import io.github.attention4j.Tensor;
import io.github.attention4j.layer.MultiHeadAttention;
import io.github.attention4j.models.TextEmbedder;
import io.github.attention4j.models.text.Chat;
import io.github.attention4j.models.text.ChatMessage;
import io.github.attention4j.testing.Snippets;
import java.io.IOException;
import java.lang.foreign.Arena;
import java.nio.file.Path;
import java.util.Arrays;
import java.util.List;
import java.util.Random;
import org.junit.jupiter.api.Test;

/** Runs the Java of the README and of "Attention by example". */
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
  void shouldHideWhatAMaskHides() {
    try (Arena arena = Arena.ofConfined()) {
      Tensor q = Tensor.of(arena, normal(2 * 128 * 64), 2, 128, 64).splitHeads(4);
      Tensor k = Tensor.of(arena, normal(2 * 128 * 64), 2, 128, 64).splitHeads(4);
      float[] values = normal(2 * 128 * 64);
      Tensor v = Tensor.of(arena, values, 2, 128, 64).splitHeads(4);
      Tensor out = Tensor.allocate(arena, DType.F32, 2, 4, 128, 16);
      boolean[][] seen = new boolean[8][8];
      seen[3][5] = true;

      // A window of 32 tokens, soft-capped logits; batch 0 has 128 keys, batch 1 has 90.
      Mask local = Mask.window(31, 0, Alignment.BOTTOM_RIGHT).and(Mask.keyLengths(128, 90));
      Attention.builder().mask(local).softCap(50).build().forward(q, k, v, out);

      // The 39th query of batch 1 stands at its first key.
      assertEquals(0f, out.getFloat(1, 2, 37, 0));
      assertEquals(v.getFloat(1, 2, 0, 0), out.getFloat(1, 2, 38, 0));

      // Any pattern of blocks: which 16 rows see which 16 keys.
      Mask sparse = Mask.keyRanges(KeyRanges.ofBlocks(16, 16, 128, seen));
      Attention.builder().mask(sparse).build().forward(q, k, v, out);

      assertEquals(0f, out.getFloat(0, 0, 47, 3));
      assertTrue(out.getFloat(0, 0, 48, 3) != 0);
    }
  }

  @Test
  void shouldScoreByAnExpression() {
    try (Arena arena = Arena.ofConfined()) {
      Tensor q = Tensor.of(arena, normal(128 * 512), 1, 128, 512).splitHeads(8);
      Tensor k = Tensor.of(arena, normal(128 * 512), 1, 128, 512).splitHeads(8);
      Tensor v = Tensor.of(arena, normal(128 * 512), 1, 128, 512).splitHeads(8);
      Tensor out = Tensor.allocate(arena, DType.F32, 1, 8, 128, 64);
      Tensor slopes = Tensor.of(arena, Alibi.slopes(8), 8);
      Tensor documents = Tensor.allocate(arena, DType.I32, 128);
      for (int i = 0; i < 128; i++) {
        documents.setInt(i / 50, i);
      }

      // ALiBi with learned slopes, within documents packed into one row.
      IntTable document = Score.ints(documents); // [length]: the document of each token
      FloatTable slope = Score.floats(slopes); // [heads]
      IntExpression distance = Score.query().minus(Score.key());
      FloatExpression penalty = slope.at(Score.head()).times(distance.abs().toFloat());
      Attention.builder()
          .mask(
              Mask.causal(Alignment.TOP_LEFT)
                  .and(Mask.where(document.at(Score.query()).equalTo(document.at(Score.key())))))
          .score(Score.score().minus(penalty))
          .build()
          .forward(q, k, v, out);

      // The first token of the second document sees nothing but itself.
      assertEquals(v.getFloat(0, 5, 50, 9), out.getFloat(0, 5, 50, 9));
      // The second document alone, by the built-in form.
      Tensor alone = Tensor.allocate(arena, DType.F32, 1, 8, 50, 64);
      Attention.builder()
          .mask(Mask.causal(Alignment.TOP_LEFT))
          .alibi(Alignment.TOP_LEFT, Alibi.slopes(8))
          .build()
          .forward(q.slice(2, 50, 50), k.slice(2, 50, 50), v.slice(2, 50, 50), alone);
      assertArrayEquals(alone.toFloatArray(), out.slice(2, 50, 50).toFloatArray(), 1e-5f);
    }
  }

  @Test
  void shouldPackSequences() {
    try (Arena arena = Arena.ofConfined()) {
      Tensor q = Tensor.of(arena, normal(13 * 64), 13, 4, 16);
      Tensor k = Tensor.of(arena, normal(13 * 64), 13, 4, 16);
      Tensor v = Tensor.of(arena, normal(13 * 64), 13, 4, 16);
      Tensor out = Tensor.allocate(arena, DType.F32, 13, 4, 16);

      Sequences sequences = Sequences.ofLengths(5, 1, 7); // q, k, v and out are [13, heads, dim]
      Attention attention = Attention.builder().mask(Mask.causal(Alignment.TOP_LEFT)).build();
      attention.forwardPacked(q, sequences, k, v, sequences, out);

      for (int first : new int[] {0, 5, 6}) {
        assertEquals(v.getFloat(first, 3, 7), out.getFloat(first, 3, 7));
      }
    }
  }

  @Test
  void shouldSubtractWithALambdaForEachToken() {
    try (Arena arena = Arena.ofConfined()) {
      Tensor q = Tensor.of(arena, normal(128 * 512), 1, 128, 512).splitHeads(8);
      Tensor k = Tensor.of(arena, normal(128 * 128), 1, 128, 128).splitHeads(2);
      Tensor v = Tensor.of(arena, normal(128 * 128), 1, 128, 128).splitHeads(2);
      Tensor lambda = Tensor.of(arena, normal(128 * 4), 1, 128, 4);
      Tensor out = Tensor.allocate(arena, DType.F32, 1, 4, 128, 64);

      Differential v2 =
          Differential.builder()
              .mask(Mask.causal(Alignment.TOP_LEFT))
              .keyMap(Differential.KeyMap.SHARED)
              .lambdaForm(Differential.LambdaForm.SIGMOID)
              .build();
      // lambda is a projection [batch, length, pairs].
      v2.forward(q, k, v, lambda.transpose(1, 2), out);

      double rest = 1 - 1 / (1 + Math.exp(-lambda.getFloat(0, 0, 3)));
      assertEquals(rest * v.getFloat(0, 1, 0, 9), out.getFloat(0, 3, 0, 9), 1e-6);
    }
  }

  @Test
  void shouldContinueOnePromptSeveralTimes() {
    try (Arena arena = Arena.ofConfined()) {
      Tensor promptK = Tensor.of(arena, normal(100 * 512), 1, 100, 512).splitHeads(8);
      Tensor promptV = Tensor.of(arena, normal(100 * 512), 1, 100, 512).splitHeads(8);
      Tensor nextQ = Tensor.of(arena, normal(4 * 512), 4, 1, 512).splitHeads(8);
      Tensor nextK = Tensor.of(arena, normal(4 * 512), 4, 1, 512).splitHeads(8);
      Tensor nextV = Tensor.of(arena, normal(4 * 512), 4, 1, 512).splitHeads(8);
      Tensor nextOut = Tensor.allocate(arena, DType.F32, 4, 8, 1, 64);
      Attention attention = Attention.builder().build();

      KvCache prefix = KvCache.allocate(arena, 1, 8, 128, 64);
      KvCache continuations = KvCache.allocate(arena, 4, 8, 128, 64);
      prefix.append(promptK, promptV);
      continuations.append(nextK, nextV); // each batch its own next token
      attention.forward(nextQ, prefix, continuations, nextOut);

      // The third continuation, as if it were alone.
      prefix.append(nextK.slice(0, 2, 1), nextV.slice(0, 2, 1));
      Tensor alone = Tensor.allocate(arena, DType.F32, 1, 8, 1, 64);
      attention.forward(nextQ.slice(0, 2, 1), prefix, alone);
      assertArrayEquals(alone.toFloatArray(), nextOut.slice(0, 2, 1).toFloatArray(), 1e-5f);
    }
  }

  @Test
  void shouldAttendToWhatEachBatchAppended() {
    try (Arena arena = Arena.ofConfined()) {
      Tensor newQ = Tensor.of(arena, normal(2 * 3 * 64), 2, 3, 64).splitHeads(4);
      Tensor newK = Tensor.of(arena, normal(2 * 3 * 64), 2, 3, 64).splitHeads(4);
      Tensor newV = Tensor.of(arena, normal(2 * 3 * 64), 2, 3, 64).splitHeads(4);
      Tensor newOut = Tensor.zeros(arena, 2, 4, 3, 16).fill(9);
      KvCache cache = KvCache.allocate(arena, 2, 4, 8, 16);
      int[] counts = {3, 1};

      cache.append(newK, newV, counts); // of each batch only its first counts[b] rows
      Mask own = Mask.queryLengths(counts);
      Attention.builder().mask(own).build().forward(newQ, cache, newOut);

      assertEquals(newV.get(0, 2, 0, 5), newOut.get(0, 2, 0, 5));
      assertEquals(newV.get(1, 2, 0, 5), newOut.get(1, 2, 0, 5));
      assertEquals(0f, newOut.get(1, 2, 1, 5));
    }
  }

  @Test
  void shouldHaveShortFormsForExperiments() {
    try (Arena arena = Arena.ofConfined()) {
      Tensor q = Tensor.zeros(arena, 1, 2, 3, 4); // float32
      Tensor k = Tensor.of(arena, new float[16], 1, 2, 2, 4);
      Mask seen = Mask.of(new boolean[] {true, false, true, true, true, true}, 3, 2);
      Mask bias = Mask.bias(new float[] {0, -1}, 2);
      Attention small = Attention.builder().mask(seen.and(bias)).build();
      Tensor out = small.forward(arena, q, k, k);
      float first = out.get(0, 1, 2, 3);
      String shown = out.toString(); // F32[1, 2, 3, 4] [[[[0.0, 0.0, …
      MultiHeadAttention layer = MultiHeadAttention.random(arena, 64, 4, 17).build();

      assertEquals(0f, first);
      assertTrue(shown.startsWith("F32[1, 2, 3, 4] [[[[0.0, 0.0, "), shown);
      Tensor x = Tensor.of(arena, normal(5 * 64), 1, 5, 64);
      Tensor y = Tensor.zeros(arena, 1, 5, 64);
      layer.forward(x, y);
      assertTrue(y.get(0, 4, 63) != 0);
    }
  }

  @Test
  void shouldReorderBeams() {
    try (Arena arena = Arena.ofConfined()) {
      Tensor promptK = Tensor.of(arena, normal(100 * 512), 1, 100, 512).splitHeads(8);
      Tensor promptV = Tensor.of(arena, normal(100 * 512), 1, 100, 512).splitHeads(8);
      Tensor nextK = Tensor.of(arena, normal(4 * 512), 4, 1, 512).splitHeads(8);
      Tensor nextV = Tensor.of(arena, normal(4 * 512), 4, 1, 512).splitHeads(8);

      KvPagePool pool = KvPagePool.allocate(arena, DType.F32, 8, 64, 64, 100);
      KvCache prompt = KvCache.paged(pool, 1);
      prompt.append(promptK, promptV);
      KvCache beams = prompt.gather(arena, 0, 0, 0, 0); // batch 0, four times
      beams.append(nextK, nextV);
      beams.reorder(2, 2, 0, 3); // beam 0 and 1 go on from beam 2, beam 2 from beam 0

      Tensor keys = beams.copyKeys(arena).select(1, 5).select(1, 100);
      int[] parents = {2, 2, 0, 3};
      for (int b = 0; b < 4; b++) {
        assertArrayEquals(
            nextK.select(0, parents[b]).select(0, 5).select(0, 0).toFloatArray(),
            keys.select(0, b).toFloatArray());
      }
      // One page that all share, and the last page of each but beam 1, which shares that of beam 0;
      // the prompt still holds its own last page.
      assertEquals(100 - 5, pool.freePages());
    }
  }

  @Test
  void shouldReadALongTextThroughAWindow() {
    try (Arena arena = Arena.ofConfined()) {
      Tensor longQ = Tensor.of(arena, normal(2048 * 512), 1, 2048, 512).splitHeads(8);
      Tensor longK = Tensor.of(arena, normal(2048 * 512), 1, 2048, 512).splitHeads(8);
      Tensor longV = Tensor.of(arena, normal(2048 * 512), 1, 2048, 512).splitHeads(8);
      Tensor longOut = Tensor.zeros(arena, longQ.shape());
      Attention attention = Attention.builder().build();

      // Each token sees 512 tokens, itself included; up to 128 tokens are appended at a time.
      KvCache ring = KvCache.ring(arena, DType.F32, 1, 8, 64, 512, 128);
      for (int from = 0; from < 2048; from += 128) {
        ring.append(longK.slice(2, from, 128), longV.slice(2, from, 128));
        attention.forward(longQ.slice(2, from, 128), ring, longOut.slice(2, from, 128));
      }

      Tensor whole = Tensor.zeros(arena, longQ.shape());
      Mask window = Mask.window(511, 0, Alignment.TOP_LEFT);
      attention.withMask(window).forward(longQ, longK, longV, whole);
      assertArrayEquals(whole.toFloatArray(), longOut.toFloatArray(), 1e-5f);
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
      Attention attention = Attention.builder().build(); // over a cache it is causal
      cache.append(promptK, promptV);
      attention.forward(promptQ, cache, promptOut);
      cache.append(nextK, nextV); // one more token, while there is room
      attention.forward(nextQ, cache, nextOut);

      assertArrayEquals(whole.toFloatArray(), pieces.toFloatArray(), 1e-5f);
    }
  }

  @Test
  void shouldEmbedAndAnswer() throws Exception {
    String models = "src/models/test/resources/golden-models/";
    String embeddingModel = models + "encoder/bert_st_mean";
    String languageModel = models + "gguf/models/qwen3-bpe-f32.gguf";
    float[] answer;
    try (Printed printed = new Printed()) {
      answer = embedAndAnswer(embeddingModel, languageModel);
      assertTrue(printed.size() > 0);
    }
    double square = 0;
    for (float element : answer) {
      square += element * element;
    }
    assertEquals(1, square, 1e-5);
  }

  private static float[] embedAndAnswer(String embeddingModel, String languageModel)
      throws IOException {
    float[] vector;
    try (TextEmbedder embedder = TextEmbedder.open(Path.of(embeddingModel));
        Chat chat = Chat.open(Path.of(languageModel))) {
      vector = embedder.embedQuery("Who repairs cars?");
      chat.reply(List.of(ChatMessage.user("Why is the sky blue?")), System.out::print);
    }
    return vector;
  }

  @Test
  void shouldRunEveryBlockOfTheReadmeAndOfAttentionByExample() {
    Snippets.requireRunBy(TutorialTest.class, Path.of("README.md"), 4);
    Snippets.requireRunBy(TutorialTest.class, Path.of("src/guide/attention.md"), 10);
  }
}
