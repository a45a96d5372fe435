package io.github.attention4j;

import static io.github.attention4j.testing.Checked.random;
import static org.junit.jupiter.api.Assertions.assertArrayEquals;
import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertThrows;

import java.lang.foreign.Arena;
import java.util.Random;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.BeforeEach;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.function.Executable;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.EnumSource;

/** Batches of a cache that take the rows of others, as the beams of a search do. */
class KvBeamsTest {
  private static final int BATCH = 5;
  private static final int[] LENGTHS = {70, 3, 0, 64, 129};

  private final Random random = new Random(11);
  private Arena arena;

  @BeforeEach
  void openArena() {
    arena = Arena.ofConfined();
  }

  @AfterEach
  void closeArena() {
    arena.close();
  }

  private enum Kind {
    DENSE,
    PAGED,
    RING
  }

  private KvCache cache(Kind kind, DType dtype) {
    return switch (kind) {
      case DENSE -> KvCache.allocate(arena, dtype, BATCH, 2, 8, 1, 12, 300);
      case PAGED -> KvCache.paged(KvPagePool.allocate(arena, dtype, 2, 8, 1, 12, 64, 40), BATCH);
      case RING -> KvCache.ring(arena, dtype, BATCH, 2, 8, 1, 12, 60, 200);
    };
  }

  private void append(KvCache cache, int[] counts) {
    int most = 0;
    for (int count : counts) {
      most = Math.max(most, count);
    }
    Tensor k = random(arena, random, counts.length, 2, most, 8);
    cache.append(k, random(arena, random, counts.length, 1, most, 12), counts);
  }

  /** What a batch holds. */
  private float[][] batch(KvCache cache, int b) {
    int held = cache.length(b) - cache.firstRow(b);
    return new float[][] {
      cache.copyKeys(arena).select(0, b).slice(1, 0, held).toFloatArray(),
      cache.copyValues(arena).select(0, b).slice(1, 0, held).toFloatArray()
    };
  }

  private void requireOrder(KvCache cache, float[][][] before, int[] lengths, int... parents) {
    for (int b = 0; b < parents.length; b++) {
      assertEquals(lengths[parents[b]], cache.length(b), "length of " + b);
      float[][] rows = batch(cache, b);
      assertArrayEquals(before[parents[b]][0], rows[0], "keys of " + b);
      assertArrayEquals(before[parents[b]][1], rows[1], "values of " + b);
    }
  }

  private float[][][] all(KvCache cache) {
    float[][][] rows = new float[BATCH][][];
    for (int b = 0; b < BATCH; b++) {
      rows[b] = batch(cache, b);
    }
    return rows;
  }

  @ParameterizedTest
  @EnumSource
  void shouldGiveEachBatchTheRowsOfItsParent(Kind kind) {
    int[][] orders = {
      {0, 1, 2, 3, 4},
      {4, 4, 4, 4, 4},
      {1, 0, 3, 4, 2},
      {1, 2, 3, 4, 0},
      {1, 0, 0, 1, 3},
      {3, 3, 4, 2, 2},
      {0, 0, 1, 2, 3},
      {2, 2, 2, 2, 2}
    };
    for (DType dtype : new DType[] {DType.F32, DType.BF16, DType.I8}) {
      for (int[] order : orders) {
        KvCache cache = cache(kind, dtype);
        append(cache, LENGTHS);
        float[][][] before = all(cache);
        cache.reorder(order);
        requireOrder(cache, before, LENGTHS, order);

        // Each goes on by itself.
        float[][][] reordered = all(cache);
        int[] lengths = cache.lengths();
        append(cache, new int[] {2, 0, 0, 0, 0});
        requireOrder(
            cache.gather(arena, 1, 2, 3, 4),
            new float[][][] {reordered[1], reordered[2], reordered[3], reordered[4]},
            new int[] {lengths[1], lengths[2], lengths[3], lengths[4]},
            0,
            1,
            2,
            3);
      }
    }
  }

  @ParameterizedTest
  @EnumSource
  void shouldGatherBatchesIntoACacheOfItsOwn(Kind kind) {
    KvCache cache = cache(kind, DType.F16);
    append(cache, LENGTHS);
    float[][][] before = all(cache);
    KvCache beams = cache.gather(arena, 4, 4, 0, 2, 4, 1);
    requireOrder(beams, before, LENGTHS, 4, 4, 0, 2, 4, 1);
    append(cache, new int[] {1, 1, 1, 1, 1});
    append(beams, new int[] {9, 9, 9, 9, 9, 9});
    cache.truncate(5);
    cache.reset();
    append(cache, LENGTHS);
    beams.truncate(64);
    KvCache kept = beams.gather(arena, 3);
    assertArrayEquals(new int[] {9}, kept.lengths());
    assertEquals(0, cache.gather(arena).lengths().length);
  }

  @Test
  void shouldShareThePagesOfBeams() {
    KvPagePool pool = KvPagePool.allocate(arena, DType.F32, 1, 4, 64, 10);
    KvCache prompt = KvCache.paged(pool, 1);
    Tensor rows = random(arena, random, 1, 1, 130, 4);
    prompt.append(rows, rows);
    assertEquals(7, pool.freePages());
    KvCache beams = prompt.gather(arena, 0, 0, 0);
    assertEquals(7, pool.freePages());
    Tensor next = random(arena, random, 3, 1, 1, 4);
    beams.append(next, next);
    assertEquals(4, pool.freePages(), "each beam has its own last page");
    beams.reorder(1, 1, 1);
    assertEquals(6, pool.freePages(), "they share that of one");
    prompt.reset();
    assertEquals(7, pool.freePages());
    beams.reset();
    assertEquals(10, pool.freePages());
  }

  @Test
  void shouldRefuseParentsThatDoNotExist() {
    KvCache cache = cache(Kind.DENSE, DType.F32);
    refuse(
        "parents.length must equal cache.batch: parents.length=2, cache.batch=5",
        () -> cache.reorder(0, 1));
    refuse("parents[1] must lie in [0, 4]: parents[1]=5", () -> cache.reorder(0, 5, 1, 1, 1));
    refuse("batches[0] must lie in [0, 4]: batches[0]=-1", () -> cache.gather(arena, -1));
  }

  private static void refuse(String message, Executable call) {
    assertEquals(message, assertThrows(IllegalArgumentException.class, call).getMessage());
  }
}
