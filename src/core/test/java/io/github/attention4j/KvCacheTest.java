package io.github.attention4j;

import static io.github.attention4j.testing.Checked.random;
import static org.junit.jupiter.api.Assertions.assertArrayEquals;
import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import java.lang.foreign.Arena;
import java.util.Random;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.BeforeEach;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.function.Executable;

class KvCacheTest {
  private final Random random = new Random(42);
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

  @Test
  void shouldHoldWhatWasAppendedBehindWhatItHeld() {
    KvCache cache = KvCache.allocate(arena, 2, 3, 10, 8);
    Tensor k = random(arena, random, 2, 3, 4, 8);
    Tensor v = random(arena, random, 2, 3, 4, 8);
    cache.append(k, v);
    cache.append(k.slice(2, 0, 2), v.slice(2, 0, 2), new int[] {0, 2});
    cache.append(k.slice(2, 1, 3), v.slice(2, 1, 3));
    assertArrayEquals(new int[] {7, 9}, cache.lengths());
    assertEquals(9, cache.longest());
    assertEquals(7, cache.length(0));
    assertArrayEquals(new long[] {2, 3, 9, 8}, cache.keyView().shape());
    same(k.slice(0, 0, 1), cache.keyView().slice(0, 0, 1).slice(2, 0, 4));
    same(k.slice(0, 0, 1).slice(2, 1, 3), cache.keyView().slice(0, 0, 1).slice(2, 4, 3));
    same(v.slice(0, 1, 1), cache.valueView().slice(0, 1, 1).slice(2, 0, 4));
    same(v.slice(0, 1, 1).slice(2, 0, 2), cache.valueView().slice(0, 1, 1).slice(2, 4, 2));
    same(v.slice(0, 1, 1).slice(2, 1, 3), cache.valueView().slice(0, 1, 1).slice(2, 6, 3));
  }

  private static void same(Tensor expected, Tensor got) {
    assertArrayEquals(expected.toFloatArray(), got.toFloatArray());
  }

  @Test
  void shouldDecodeTokenByTokenLikeOneCausalCall() {
    int length = 40;
    Tensor q = random(arena, random, 2, 4, length, 16);
    Tensor k = random(arena, random, 2, 2, length, 16);
    Tensor v = random(arena, random, 2, 2, length, 16);
    Tensor whole = floats(2, 4, length, 16);
    Attention.builder().mask(Mask.causal(Alignment.TOP_LEFT)).build().forward(q, k, v, whole);
    KvCache cache = KvCache.allocate(arena, 2, 2, length, 16);
    Attention attention = Attention.builder().build();
    Tensor out = floats(2, 4, length, 16);
    for (int i = 0; i < length; ) {
      int count = Math.min(1 + i % 3, length - i);
      cache.append(k.slice(2, i, count), v.slice(2, i, count));
      attention.forward(q.slice(2, i, count), cache, out.slice(2, i, count));
      i += count;
    }
    assertArrayEquals(whole.toFloatArray(), out.toFloatArray(), 1e-5f);
  }

  @Test
  void shouldNeverReadUnusedRows() {
    Tensor keys = floats(2, 1, 9, 4).fill(Float.NaN);
    Tensor values = floats(2, 1, 9, 4).fill(Float.NaN);
    KvCache cache = KvCache.of(keys, values, 0, 0);
    Tensor k = random(arena, random, 2, 1, 6, 4);
    cache.append(k, k, new int[] {6, 2});
    Tensor out = floats(2, 1, 1, 4);
    Attention.builder().build().forward(k.slice(2, 0, 1), cache, out);
    for (float value : out.toFloatArray()) {
      assertTrue(Float.isFinite(value));
    }
  }

  @Test
  void shouldRefuseRowsThatItHasNoRoomForAndAppendNothing() {
    KvCache cache = KvCache.allocate(arena, 2, 1, 5, 4);
    Tensor rows = random(arena, random, 2, 1, 3, 4);
    cache.append(rows, rows, new int[] {1, 3});
    float[] before = cache.keyView().toFloatArray();
    String message =
        assertThrows(IllegalStateException.class, () -> cache.append(rows, rows)).getMessage();
    assertEquals(
        "cache must have room for the new rows of batch 1: new rows=3, length=3, capacity=5",
        message);
    assertArrayEquals(new int[] {1, 3}, cache.lengths());
    assertArrayEquals(before, cache.keyView().toFloatArray());
  }

  @Test
  void shouldRefuseRowsThatDoNotFit() {
    KvCache cache = KvCache.allocate(arena, 2, 3, 4, 2, 8, 5);
    Tensor k = floats(2, 3, 1, 4);
    Tensor v = floats(2, 2, 1, 8);
    refuse("k.heads must equal keys.heads: k.heads=2, keys.heads=3", () -> cache.append(v, v));
    refuse("v.heads must equal values.heads: v.heads=3, values.heads=2", () -> cache.append(k, k));
    refuse(
        "v.lenNew must equal k.lenNew: v.lenNew=2, k.lenNew=1",
        () -> cache.append(k, floats(2, 2, 2, 8)));
    refuse("counts[1] must lie in [0, 1]: counts[1]=2", () -> cache.append(k, v, new int[] {1, 2}));
    refuse(
        "counts.length must equal cache.batch: counts.length=1, cache.batch=2",
        () -> cache.append(k, v, new int[] {1}));
    cache.append(k, v);
    String message =
        assertThrows(IllegalArgumentException.class, () -> cache.append(cache.keyView(), v))
            .getMessage();
    assertTrue(message.startsWith("keys must not overlap k: "), message);
  }

  @Test
  void shouldRefuseMemoryThatCannotBeACache() {
    Tensor keys = floats(2, 1, 5, 4);
    refuse(
        "values.capacity must equal keys.capacity: values.capacity=6, keys.capacity=5",
        () -> KvCache.of(keys, floats(2, 1, 6, 4), 0, 0));
    refuse(
        "lengths[1] must lie in [0, 5]: lengths[1]=6",
        () -> KvCache.of(keys, floats(2, 1, 5, 4), 0, 6));
    refuse(
        "lengths.length must equal keys.batch: lengths.length=1, keys.batch=2",
        () -> KvCache.of(keys, floats(2, 1, 5, 4), 0));
    assertThrows(IllegalArgumentException.class, () -> KvCache.of(keys, keys, 0, 0));
  }

  @Test
  void shouldForgetFromALengthOn() {
    KvCache cache = KvCache.allocate(arena, 3, 1, 8, 2);
    Tensor rows = random(arena, random, 3, 1, 6, 2);
    cache.append(rows, rows, new int[] {6, 2, 4});
    cache.truncate(3);
    assertArrayEquals(new int[] {3, 2, 3}, cache.lengths());
    cache.truncate(0, 1);
    assertArrayEquals(new int[] {1, 2, 3}, cache.lengths());
    assertEquals(3, cache.longest());
    refuse("length must lie in [0, 2]: length=3", () -> cache.truncate(1, 3));
    cache.reset();
    assertArrayEquals(new int[3], cache.lengths());
    assertEquals(0, cache.keyView().size(2));
  }

  @Test
  void shouldReplaceRowsInPlace() {
    KvCache cache = KvCache.allocate(arena, 2, 1, 8, 2);
    Tensor rows = random(arena, random, 2, 1, 6, 2);
    cache.append(rows, rows);
    Tensor other = random(arena, random, 2, 1, 2, 2);
    cache.replace(3, other, other);
    assertArrayEquals(new int[] {6, 6}, cache.lengths());
    Tensor expected = rows.toF32(arena);
    expected.slice(2, 3, 2).copyFrom(other);
    same(expected, cache.copyKeys(arena));
    same(expected, cache.values(arena));
    refuse(
        "row + k.lenNew must lie in [5, 6]: row + k.lenNew=7",
        () -> cache.replace(5, other, other));
    assertEquals("KvCache[F32, dense, lengths=[6, 6]]", cache.toString());
  }

  private static void refuse(String message, Executable call) {
    assertEquals(message, assertThrows(IllegalArgumentException.class, call).getMessage());
  }
}
