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
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.EnumSource;

/** Caches that store rows in other types than float32, or in pages. */
class KvStorageTest {
  private static final int HEADS = 2;
  private static final int DIM = 24;
  private static final int DIM_V = 20;

  private final Random random = new Random(7);
  private Arena arena;

  @BeforeEach
  void openArena() {
    arena = Arena.ofConfined();
  }

  @AfterEach
  void closeArena() {
    arena.close();
  }

  private KvPagePool pool(DType dtype, int pages) {
    return KvPagePool.allocate(arena, dtype, HEADS, DIM, HEADS, DIM_V, 64, pages);
  }

  private KvCache cache(DType dtype, boolean paged, int batch) {
    return paged
        ? KvCache.paged(pool(dtype, 16), batch)
        : KvCache.allocate(arena, dtype, batch, HEADS, DIM, HEADS, DIM_V, 300);
  }

  private Tensor keys(int batch, int rows) {
    return random(arena, random, batch, HEADS, rows, DIM);
  }

  private Tensor values(int batch, int rows) {
    return random(arena, random, batch, HEADS, rows, DIM_V);
  }

  /** Largest difference of an element that may be, in steps of its type. */
  private static double tolerance(DType dtype, float value, float largest) {
    return switch (dtype) {
      case F32 -> 0;
      case BF16 -> Math.abs(value) / 256;
      case F16 -> Math.abs(value) / 2048;
      default -> largest / 127 * 0.5001;
    };
  }

  private static void near(Tensor wanted, Tensor got, DType dtype) {
    assertArrayEquals(wanted.shape(), got.shape());
    float[] expected = wanted.toFloatArray();
    float[] actual = got.toFloatArray();
    int dim = (int) wanted.size(-1);
    for (int i = 0; i < expected.length; i++) {
      float largest = 0;
      for (int c = i / dim * dim; c < (i / dim + 1) * dim; c++) {
        largest = Math.max(largest, Math.abs(expected[c]));
      }
      double most = tolerance(dtype, expected[i], largest) + 1e-7;
      assertTrue(
          Math.abs(expected[i] - actual[i]) <= most,
          i + ": expected " + expected[i] + ", got " + actual[i]);
    }
  }

  @ParameterizedTest
  @EnumSource(
      value = DType.class,
      names = {"F32", "BF16", "F16", "I8"})
  void shouldAttendToWhatItStores(DType dtype) {
    for (boolean paged : new boolean[] {false, true}) {
      KvCache cache = cache(dtype, paged, 2);
      assertEquals(dtype, cache.dtype());
      Tensor k = keys(2, 150);
      Tensor v = values(2, 150);
      for (int row = 0; row < 150; row += 50) {
        cache.append(k.slice(2, row, 50), v.slice(2, row, 50));
      }
      near(k, cache.copyKeys(arena), dtype);
      near(v, cache.copyValues(arena), dtype);
      cache.append(k.slice(2, 0, 2), v.slice(2, 0, 2), new int[] {0, 2});

      for (int lenQ : new int[] {1, 5, 60}) {
        Tensor q = random(arena, random, 2, 2 * HEADS, lenQ, DIM);
        Tensor wanted = Tensor.allocate(arena, DType.F32, 2, 2 * HEADS, lenQ, DIM_V);
        Tensor got = Tensor.allocate(arena, DType.F32, 2, 2 * HEADS, lenQ, DIM_V);
        Attention attention = Attention.builder().softCap(20).build();
        Attention masked = attention.withMask(cache.mask());
        masked.forward(q, cache.copyKeys(arena), cache.copyValues(arena), wanted);
        attention.forward(q, cache, got);
        Tensor weighted = Tensor.allocate(arena, DType.F32, wanted.shape());
        masked.forward(q, cache.copyKeys(arena), magnitudes(cache.copyValues(arena)), weighted);
        closeAsStored(roundsWeights(dtype, lenQ), wanted, weighted, got);
      }
    }
  }

  @ParameterizedTest
  @EnumSource(
      value = DType.class,
      names = {"F32", "BF16", "F16", "I8"})
  void shouldAttendDifferentiallyToWhatItStores(DType dtype) {
    for (boolean paged : new boolean[] {false, true}) {
      KvCache cache = cache(dtype, paged, 1);
      cache.append(keys(1, 100), values(1, 100));
      Tensor q = random(arena, random, 1, 2 * HEADS, 3, DIM);
      Tensor wanted = Tensor.allocate(arena, DType.F32, 1, HEADS, 3, 2 * DIM_V);
      Tensor got = Tensor.allocate(arena, DType.F32, 1, HEADS, 3, 2 * DIM_V);
      Differential attention = Differential.builder().build();
      attention
          .withMask(cache.mask())
          .forward(q, cache.copyKeys(arena), cache.copyValues(arena), 0.3f, wanted);
      attention.forward(q, cache, 0.3f, got);
      close(wanted, got);
    }
  }

  /** The values without their signs. */
  private Tensor magnitudes(Tensor values) {
    float[] numbers = values.toFloatArray();
    for (int i = 0; i < numbers.length; i++) {
      numbers[i] = Math.abs(numbers[i]);
    }
    return Tensor.of(arena, numbers, values.shape());
  }

  /**
   * Whether weights are rounded to bfloat16: only by dot products of pairs, which the tier
   * avx512bf16 has, and only in tiles. Up to eight rows of a key head, here two heads, are computed
   * from widened keys and values, as everything is on other tiers.
   */
  private static boolean roundsWeights(DType dtype, int lenQ) {
    return dtype == DType.BF16 && 2 * lenQ > 8 && A4j.isa().equals("avx512bf16");
  }

  /** Rounded weights move an output by at most 2⁻⁸ of the weighted magnitudes of its values. */
  private static void closeAsStored(boolean rounded, Tensor wanted, Tensor weighted, Tensor got) {
    float[] expected = wanted.toFloatArray();
    float[] bound = weighted.toFloatArray();
    float[] actual = got.toFloatArray();
    for (int i = 0; i < expected.length; i++) {
      float most = 1e-6f + (rounded ? bound[i] / 256 : 0);
      assertEquals(expected[i], actual[i], most, "element " + i);
    }
  }

  private static void close(Tensor wanted, Tensor got) {
    assertArrayEquals(wanted.toFloatArray(), got.toFloatArray(), 2e-6f);
  }

  // ---- Pages ----

  @Test
  void shouldTakePagesAsRowsComeAndReturnThem() {
    KvPagePool pool = pool(DType.BF16, 10);
    KvCache cache = KvCache.paged(pool, 2);
    assertEquals(10, pool.freePages());
    cache.append(keys(2, 64), values(2, 64));
    assertEquals(8, pool.freePages());
    cache.append(keys(2, 65), values(2, 65), new int[] {1, 65});
    assertEquals(5, pool.freePages());
    assertEquals("KvPagePool[BF16, 5 of 10 pages of 64 rows in use]", pool.toString());
    cache.truncate(1, 128);
    assertEquals(6, pool.freePages());
    cache.truncate(1, 65);
    assertEquals(6, pool.freePages());
    cache.reset();
    assertEquals(10, pool.freePages());
  }

  @Test
  void shouldLoseNothingWhenPagesRunOut() {
    KvPagePool pool = pool(DType.F32, 3);
    KvCache cache = KvCache.paged(pool, 2);
    Tensor k = keys(2, 60);
    Tensor v = values(2, 60);
    cache.append(k, v);
    assertEquals(
        "pool must have free pages for the new rows: needed=2, free=1, pages=3",
        assertThrows(IllegalStateException.class, () -> cache.append(k, v)).getMessage());
    assertArrayEquals(new int[] {60, 60}, cache.lengths());
    assertEquals(1, pool.freePages());
    same(k, cache.copyKeys(arena));
    same(v, cache.copyValues(arena));
    cache.append(k, v, new int[] {60, 0});
    assertEquals(0, pool.freePages());
  }

  @Test
  void shouldReturnThePagesOfAnAppendThatFails() {
    KvPagePool pool = pool(DType.I8, 4);
    KvCache cache = KvCache.paged(pool, 1);
    Tensor k = keys(1, 70);
    Tensor v = values(1, 70);
    v.setFloat(Float.NaN, 0, 1, 69, 3);
    refuse(
        "v[0, 1, 69, 3] must be finite to be quantised: v[0, 1, 69, 3]=NaN",
        () -> cache.append(k, v));
    assertEquals(4, pool.freePages());
    assertEquals(0, cache.longest());
  }

  @Test
  void shouldQuantiseTheLargestAndTheSmallestRowsWithinHalfAStep() {
    for (float most : new float[] {Float.MAX_VALUE, 7 * Float.MIN_VALUE, 1e-41f}) {
      KvCache cache = cache(DType.I8, false, 1);
      Tensor k = keys(1, 3).fill(0);
      k.setFloat(most, 0, 0, 1, 2);
      k.setFloat(-most, 0, 0, 1, 3);
      cache.append(k, values(1, 3));
      float[] stored = cache.copyKeys(arena).toFloatArray();
      float[] exact = k.toFloatArray();
      for (int i = 0; i < exact.length; i++) {
        assertEquals(exact[i], stored[i], most / 254 + Float.MIN_VALUE / 2);
      }
    }
  }

  @Test
  void shouldChangeNothingIfRowsCannotBeQuantised() {
    for (boolean paged : new boolean[] {false, true}) {
      KvCache cache = cache(DType.I8, paged, 2);
      cache.append(keys(2, 80), values(2, 80));
      float[] keys = cache.copyKeys(arena).toFloatArray();
      float[] values = cache.copyValues(arena).toFloatArray();
      Tensor k = keys(2, 5);
      Tensor v = values(2, 5);
      v.setFloat(Float.NEGATIVE_INFINITY, 1, 0, 4, DIM_V - 1);
      String why = "v[1, 0, 4, 19] must be finite to be quantised: v[1, 0, 4, 19]=-Infinity";
      refuse(why, () -> cache.replace(62, k, v));
      refuse(why, () -> cache.append(k, v));
      k.setFloat(Float.NaN, 0, 1, 2, 0);
      refuse(
          "k[0, 1, 2, 0] must be finite to be quantised: k[0, 1, 2, 0]=NaN",
          () -> cache.replace(62, k, v));
      assertArrayEquals(new int[] {80, 80}, cache.lengths());
      assertArrayEquals(keys, cache.copyKeys(arena).toFloatArray());
      assertArrayEquals(values, cache.copyValues(arena).toFloatArray());
      // Rows that are not a batch's own do not matter.
      cache.append(k, v, new int[] {2, 4});
      assertArrayEquals(new int[] {82, 84}, cache.lengths());
    }
  }

  @ParameterizedTest
  @EnumSource(
      value = DType.class,
      names = {"F32", "BF16", "F16", "I8"})
  void shouldShareAPrefixUntilItIsWritten(DType dtype) {
    KvPagePool pool = pool(dtype, 8);
    KvCache first = KvCache.paged(pool, 1);
    first.append(keys(1, 100), values(1, 100));
    KvCache second = KvCache.paged(pool, 2);
    second.share(1, first, 0, 90);
    assertEquals(6, pool.freePages());
    assertArrayEquals(new int[] {0, 90}, second.lengths());
    final float[] kept = first.copyKeys(arena).toFloatArray();

    Tensor more = keys(2, 10);
    second.append(more, values(2, 10), new int[] {0, 10});
    assertEquals(5, pool.freePages());
    assertArrayEquals(kept, first.copyKeys(arena).toFloatArray());
    same(
        first.copyKeys(arena).slice(2, 0, 90),
        second.copyKeys(arena).slice(0, 1, 1).slice(2, 0, 90));
    near(more.slice(0, 1, 1), second.copyKeys(arena).slice(0, 1, 1).slice(2, 90, 10), dtype);
    first.append(keys(1, 5), values(1, 5));
    assertEquals(5, pool.freePages(), "the page is its own again");
    first.reset();
    assertEquals(6, pool.freePages());
    second.reset();
    assertEquals(8, pool.freePages());
  }

  @Test
  void shouldReserveALongContextWithoutTouchingIt() {
    KvPagePool pool = KvPagePool.allocate(arena, DType.BF16, 8, 128, 64, 2048);
    KvCache cache = KvCache.paged(pool, 1);
    assertEquals(131_072, cache.capacity());
    Tensor row = random(arena, random, 1, 8, 1, 128);
    cache.append(row, row);
    assertEquals(2047, pool.freePages());
  }

  @Test
  void shouldFindRowsInATableThatGrows() {
    KvPagePool pool = pool(DType.F32, 200);
    KvCache cache = KvCache.paged(pool, 2);
    KvCache dense = KvCache.allocate(arena, DType.F32, 2, HEADS, DIM, HEADS, DIM_V, 5000);
    KvCache shared = KvCache.paged(pool, 1);
    for (int step = 0; step < 5; step++) {
      Tensor k = keys(2, 900);
      Tensor v = values(2, 900);
      int[] counts = {900, step == 2 ? 20 : 0};
      cache.append(k, v, counts);
      dense.append(k, v, counts);
      same(dense.copyKeys(arena), cache.copyKeys(arena));
      Tensor q = random(arena, random, 2, HEADS, 3, DIM);
      Attention attention = Attention.builder().build();
      Tensor wanted = Tensor.allocate(arena, DType.F32, 2, HEADS, 3, DIM_V);
      Tensor got = Tensor.allocate(arena, DType.F32, wanted.shape());
      attention.forward(q, dense, wanted);
      attention.forward(q, cache, got);
      close(wanted, got);
    }
    shared.share(0, cache, 0, 4000);
    same(cache.copyKeys(arena).slice(0, 0, 1).slice(2, 0, 4000), shared.copyKeys(arena));
    cache.reorder(1, 0);
    dense.reorder(1, 0);
    same(dense.copyValues(arena), cache.copyValues(arena));
    cache.reset();
    shared.reset();
    assertEquals(200, pool.freePages());
  }

  private static void same(Tensor expected, Tensor got) {
    assertArrayEquals(expected.toFloatArray(), got.toFloatArray());
  }

  // ---- What is refused ----

  @Test
  void shouldRefuseWhatCannotBeStored() {
    refuse(
        "dtype must be F32, BF16, F16 or I8: dtype=I64",
        () -> KvCache.allocate(arena, DType.I64, 1, 1, 8, 8));
    refuse(
        "pageRows must be a multiple of the rows of a block: pageRows=63, the rows of a block=64",
        () -> KvPagePool.allocate(arena, DType.F32, 1, 8, 63, 4));
    refuse(
        "size in bytes must be at most 2^63-1: F32[1073741824, 1073741824, 64, 1073741824]"
            + " with 4 bytes an element",
        () -> KvPagePool.allocate(arena, DType.F32, 1 << 30, 1 << 30, 64, 1 << 30));
    refuse(
        "batch * pages must lie in [0, 2147483647]: batch * pages=68720525312",
        () -> KvCache.ring(arena, DType.I8, 1 << 20, 1, 1, 1 << 22, 1));
    KvCache quantised = cache(DType.I8, false, 1);
    Tensor half = Tensor.allocate(arena, DType.BF16, 1, HEADS, 2, DIM);
    refuse("k.dtype must be F32: k.dtype=BF16", () -> quantised.append(half, values(1, 2)));
    KvCache paged = cache(DType.F32, true, 1);
    paged.append(keys(1, 3), values(1, 3));
    assertEquals(
        "batch 0 must be empty to share rows: length=3",
        assertThrows(IllegalStateException.class, () -> paged.share(0, paged, 0, 2)).getMessage());
    refuse("length must lie in [0, 3]: length=4", () -> paged.share(0, paged, 0, 4));
    assertThrows(IllegalArgumentException.class, () -> quantised.share(0, paged, 0, 1));
    Tensor bytes = Tensor.allocate(arena, DType.I8, 1, HEADS, 2, DIM);
    Tensor q = random(arena, random, 1, HEADS, 1, DIM);
    Tensor out = Tensor.allocate(arena, DType.F32, 1, HEADS, 1, DIM);
    refuse(
        "k.dtype must be F32, BF16 or F16: k.dtype=I8",
        () -> Attention.builder().build().forward(q, bytes, bytes, out));
  }

  private static void refuse(String message, Executable call) {
    assertEquals(message, assertThrows(IllegalArgumentException.class, call).getMessage());
  }
}
