package io.github.attention4j.classics.t2t;

import static io.github.attention4j.testing.Checked.random;
import static org.junit.jupiter.api.Assertions.assertArrayEquals;
import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertThrows;

import io.github.attention4j.Alignment;
import io.github.attention4j.DType;
import io.github.attention4j.Extras;
import io.github.attention4j.Mask;
import io.github.attention4j.Tensor;
import io.github.attention4j.layer.Linear;
import io.github.attention4j.layer.MultiHeadAttention;
import java.lang.foreign.Arena;
import java.util.Arrays;
import java.util.Random;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.BeforeEach;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.function.Executable;

/** The memory of recent tokens, against plain lists, and around a layer. */
class RecentTokensMemoryTest {
  private static final float HIDDEN = -1e9f;

  private final Random random = new Random(23);
  private Arena arena;

  @BeforeEach
  void openArena() {
    arena = Arena.ofConfined();
  }

  @AfterEach
  void closeArena() {
    arena.close();
  }

  private Tensor floats(long... shape) {
    return Tensor.allocate(arena, DType.F32, shape);
  }

  private Tensor causal(int len) {
    return AttentionBias.lowerTriangle(arena, len);
  }

  private static void refuse(String message, Executable call) {
    assertEquals(message, assertThrows(IllegalArgumentException.class, call).getMessage());
  }

  /** As the original says it: concatenate, and keep the last items. */
  @Test
  void shouldPutTheLastFeaturesOfEarlierChunksBeforeEachChunk() {
    for (int round = 0; round < 40; round++) {
      int all = 1 + random.nextInt(3);
      int len = 1 + random.nextInt(5);
      int items = 1 + random.nextInt(9);
      int dim = 1 + random.nextInt(4);
      RecentTokensMemory memory =
          items == len
              ? RecentTokensMemory.allocate(arena, all, len, dim)
              : RecentTokensMemory.allocate(arena, all, len, items, dim);
      float[][][] values = new float[all][items][dim];
      float[][] bias = new float[all][items];
      for (float[] row : bias) {
        Arrays.fill(row, HIDDEN);
      }
      for (int c = 0; c < 6; c++) {
        int batch = 1 + random.nextInt(all);
        int[] segments = random.ints(batch, 0, 3).toArray();
        Tensor x = random(arena, random, batch, len, dim);
        Tensor own =
            random(
                arena,
                random,
                random.nextBoolean() ? 1 : batch,
                1,
                random.nextBoolean() ? 1 : len,
                len);
        RecurrentMemory.Chunk chunk = memory.preAttention(arena, segments, x, own);
        assertArrayEquals(new long[] {batch, items + len, dim}, chunk.memoryAntecedent().shape());
        assertArrayEquals(new long[] {batch, 1, len, items + len}, chunk.bias().shape());
        float[][][] nextValues = new float[all][items][dim];
        float[][] nextBias = new float[all][items];
        for (int b = 0; b < all; b++) {
          float[][] rows = Arrays.copyOf(values[b], items + len);
          float[] seen = Arrays.copyOf(bias[b], items + len);
          for (int j = 0; j < items; j++) {
            seen[j] += b >= batch || segments[b] == 0 ? HIDDEN : 0;
          }
          for (int j = 0; j < len; j++) {
            rows[items + j] = b < batch ? row(x, b, j) : new float[dim];
            seen[items + j] = b < batch || own.size(0) == 1 ? most(own, b, j) : HIDDEN;
          }
          nextValues[b] = Arrays.copyOfRange(rows, len, items + len);
          nextBias[b] = Arrays.copyOfRange(seen, len, items + len);
          if (b < batch) {
            for (int j = 0; j < items + len; j++) {
              assertArrayEquals(rows[j], row(chunk.memoryAntecedent(), b, j));
              for (int i = 0; i < len; i++) {
                float wanted = j < items ? seen[j] : at(own, b, i, j - items);
                assertEquals(wanted, chunk.bias().getFloat(b, 0, i, j));
              }
            }
          }
        }
        if (random.nextInt(4) == 0) {
          continue; // not remembered
        }
        chunk.postAttention(x);
        values = nextValues;
        bias = nextBias;
        assertArrayEquals(Arrays.copyOf(segments, all), memory.segments());
        for (int b = 0; b < all; b++) {
          assertArrayEquals(bias[b], memory.bias().select(0, b).toFloatArray());
          for (int j = 0; j < items; j++) {
            assertArrayEquals(values[b][j], row(memory.values(), b, j));
          }
        }
      }
    }
  }

  private static float[] row(Tensor tensor, int batch, int row) {
    return tensor.select(0, batch).select(0, row).toFloatArray();
  }

  private static float at(Tensor bias, int batch, int query, int key) {
    return bias.getFloat(bias.size(0) == 1 ? 0 : batch, 0, bias.size(2) == 1 ? 0 : query, key);
  }

  private static float most(Tensor bias, int batch, int key) {
    float most = Float.NEGATIVE_INFINITY;
    for (int i = 0; i < bias.size(2); i++) {
      most = Math.max(most, at(bias, batch, i, key));
    }
    return most;
  }

  @Test
  void shouldMakeAttentionOverChunksEqualToAttentionOverAllTokensSoFar() {
    int len = 3;
    int chunks = 4;
    int dim = 8;
    MultiHeadAttention layer =
        MultiHeadAttention.builder(
                Linear.of(random(arena, random, dim, dim)),
                Linear.of(random(arena, random, dim, dim)),
                Linear.of(random(arena, random, dim, dim)),
                Linear.of(random(arena, random, dim, dim)))
            .heads(2)
            .build();
    Tensor x = random(arena, random, 2, len * chunks, dim);
    Tensor whole = floats(2, len * chunks, dim);
    layer.forward(x, x, x, Mask.causal(Alignment.TOP_LEFT), whole, Extras.none());

    RecentTokensMemory memory = RecentTokensMemory.allocate(arena, 2, len, len * (chunks - 1), dim);
    Tensor out = floats(2, len * chunks, dim);
    for (int round = 0; round < 2; round++) { // the second begins anew
      for (int c = 0; c < chunks; c++) {
        Tensor own = x.slice(1, (long) c * len, len);
        RecurrentMemory.Chunk chunk =
            memory.preAttention(arena, new int[] {c, c}, own, causal(len));
        Tensor read = chunk.memoryAntecedent();
        Tensor result = floats(2, len, dim);
        layer.forward(own, read, read, Mask.bias(chunk.bias()), result, Extras.none());
        out.slice(1, (long) c * len, len).copyFrom(result);
        chunk.postAttention(result);
      }
      assertArrayEquals(whole.toFloatArray(), out.toFloatArray(), 2e-5f);
    }
  }

  @Test
  void shouldForgetEverythingWhenReset() {
    RecentTokensMemory memory = RecentTokensMemory.allocate(arena, 1, 2, 3);
    Tensor x = random(arena, random, 1, 2, 3);
    memory.preAttention(arena, new int[] {4}, x, causal(2)).postAttention(x);
    assertArrayEquals(new int[] {4}, memory.segments());
    assertArrayEquals(new float[2], memory.bias().toFloatArray());
    memory.reset();
    assertArrayEquals(new int[1], memory.segments());
    assertArrayEquals(new float[6], memory.values().toFloatArray());
    assertArrayEquals(new float[] {HIDDEN, HIDDEN}, memory.bias().toFloatArray());
  }

  @Test
  void shouldRefuseWhatDoesNotFit() {
    RecentTokensMemory memory = RecentTokensMemory.allocate(arena, 2, 3, 4);
    int[] two = {1, 1};
    Tensor bias = causal(3);
    refuse(
        "queryAntecedent.len must equal chunkLength: queryAntecedent.len=2, chunkLength=3",
        () -> memory.preAttention(arena, two, floats(2, 2, 4), bias));
    refuse(
        "queryAntecedent.dim must equal channels: queryAntecedent.dim=5, channels=4",
        () -> memory.preAttention(arena, two, floats(2, 3, 5), bias));
    refuse(
        "queryAntecedent.batch must lie in [0, 2]: queryAntecedent.batch=3",
        () -> memory.preAttention(arena, new int[3], floats(3, 3, 4), bias));
    refuse(
        "chunkNumber.length must equal queryAntecedent.batch: chunkNumber.length=2,"
            + " queryAntecedent.batch=1",
        () -> memory.preAttention(arena, two, floats(1, 3, 4), bias));
    refuse(
        "bias.batch must equal queryAntecedent.batch: bias.batch=3," + " queryAntecedent.batch=2",
        () -> memory.preAttention(arena, two, floats(2, 3, 4), floats(3, 1, 3, 3)));
    refuse(
        "bias.heads must equal the memory's heads: bias.heads=2, the memory's heads=1",
        () -> memory.preAttention(arena, two, floats(2, 3, 4), floats(1, 2, 3, 3)));
    refuse(
        "bias.lenQ must equal chunkLength: bias.lenQ=2, chunkLength=3",
        () -> memory.preAttention(arena, two, floats(2, 3, 4), floats(1, 1, 2, 3)));
    refuse(
        "bias.lenK must equal chunkLength: bias.lenK=6, chunkLength=3",
        () -> memory.preAttention(arena, two, floats(2, 3, 4), floats(1, 1, 3, 6)));
    refuse(
        "numMemoryItems must be at least 1: numMemoryItems=0",
        () -> RecentTokensMemory.allocate(arena, 2, 3, 0, 4));
  }

  @Test
  void shouldRememberAChunkOnce() {
    RecentTokensMemory memory = RecentTokensMemory.allocate(arena, 1, 3, 4);
    RecurrentMemory.Chunk chunk =
        memory.preAttention(arena, new int[1], floats(1, 3, 4), causal(3));
    chunk.postAttention(floats(1, 3, 4));
    assertEquals(
        "chunk must be finished before the memory changes: changes then=1, now=2",
        assertThrows(IllegalStateException.class, () -> chunk.postAttention(null)).getMessage());
  }
}
