package io.github.attention4j;

import static io.github.attention4j.testing.Checked.random;
import static org.junit.jupiter.api.Assertions.assertArrayEquals;
import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import io.github.attention4j.testing.Checked;
import java.lang.foreign.Arena;
import java.util.Random;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.BeforeEach;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.function.Executable;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.EnumSource;

/** A ring gives what attention with a window gives over all rows. */
class KvRingTest {
  private static final int HEADS = 2;
  private static final int DIM = 16;

  private final Random random = new Random(5);
  private Arena arena;

  @BeforeEach
  void openArena() {
    arena = Arena.ofConfined();
  }

  @AfterEach
  void closeArena() {
    arena.close();
  }

  private KvCache ring(DType dtype, int batch, int window, int mostNew) {
    return KvCache.ring(arena, dtype, batch, HEADS, DIM, window, mostNew);
  }

  private Tensor rows(int batch, int count) {
    return random(arena, random, batch, HEADS, count, DIM);
  }

  @ParameterizedTest
  @EnumSource(
      value = DType.class,
      names = {"F32", "BF16", "F16", "I8"})
  void shouldSeeWhatAWindowSeesOverAllRows(DType dtype) {
    // BF16 rounds the weights in some kernels, by 2⁻⁸ at most.
    float tolerance = dtype == DType.BF16 ? 0.02f : 4e-6f;
    for (int window : new int[] {1, 2, 64, 65, 100}) {
      KvCache full = KvCache.allocate(arena, dtype, 2, HEADS, 900, DIM);
      KvCache ring = ring(dtype, 2, window, 33);
      Attention plain =
          Attention.builder().alibi(Alignment.BOTTOM_RIGHT, 0.1f, 0.2f, 0, -0.1f).build();
      Attention windowed = plain.withMask(Mask.window(window - 1, 0, Alignment.BOTTOM_RIGHT));
      for (int step = 0; step < 26; step++) {
        int[] counts = {random.nextInt(34), random.nextInt(34)};
        int most = Math.max(Math.max(counts[0], counts[1]), 1);
        Tensor k = rows(2, most);
        Tensor v = rows(2, most);
        full.append(k, v, counts);
        ring.append(k, v, counts);
        assertArrayEquals(full.lengths(), ring.lengths());
        Tensor q = random(arena, random, 2, 2 * HEADS, most, DIM);
        Mask own = Mask.queryLengths(counts);
        Tensor expected = Tensor.zeros(arena, 2, 2 * HEADS, most, DIM);
        windowed.withMask(windowed.mask().and(own)).forward(q, full, expected);
        Tensor got = Tensor.zeros(arena, 2, 2 * HEADS, most, DIM);
        plain.withMask(own).forward(q, ring, got);
        assertArrayEquals(
            expected.toFloatArray(), got.toFloatArray(), tolerance, "window " + window);
      }
      assertTrue(ring.firstRow(0) > 0, "it has overwritten rows");
      int first = ring.firstRow(1);
      assertArrayEquals(
          full.copyKeys(arena).select(0, 1).slice(1, first, full.length(1) - first).toFloatArray(),
          ring.copyKeys(arena).select(0, 1).slice(1, 0, full.length(1) - first).toFloatArray());
    }
  }

  @Test
  void shouldSubtractMapsOverARing() {
    KvCache full = KvCache.allocate(arena, 1, 2, DIM, 1, DIM, 400);
    KvCache ring = KvCache.ring(arena, DType.F32, 1, 2, DIM, 1, DIM, 80, 20);
    Differential plain = Differential.builder().build();
    Differential windowed = plain.withMask(Mask.window(79, 0, Alignment.BOTTOM_RIGHT));
    Checked.onEveryTier(
        () -> {
          full.reset();
          ring.reset();
          for (int step = 0; step < 15; step++) {
            Tensor k = random(arena, random, 1, 2, 20, DIM);
            Tensor v = random(arena, random, 1, 1, 20, DIM);
            full.append(k, v);
            ring.append(k, v);
            Tensor q = random(arena, random, 1, 4, 20, DIM);
            Tensor expected = Tensor.zeros(arena, 1, 2, 20, DIM);
            Tensor got = Tensor.zeros(arena, 1, 2, 20, DIM);
            windowed.forward(q, full, 0.3f, expected);
            plain.forward(q, ring, 0.3f, got);
            assertArrayEquals(expected.toFloatArray(), got.toFloatArray(), 4e-6f);
          }
        });
  }

  @Test
  void shouldRollBackAsFarAsItHolds() {
    KvCache ring = ring(DType.F32, 1, 50, 30);
    Tensor k = rows(1, 30);
    for (int i = 0; i < 10; i++) {
      ring.append(k, k);
    }
    // 78 rows are needed and 3 pages are there: rows 128 to 299.
    assertEquals(128, ring.firstRow(0));
    ring.truncate(0, 177);
    assertEquals(
        "length of batch 0 must be 0 or at least 177, for the ring has overwritten the rows that"
            + " the next one would see: length=176, first row=128, window=50",
        assertThrows(IllegalArgumentException.class, () -> ring.truncate(176)).getMessage());
    assertEquals(177, ring.longest());

    Tensor q = rows(1, 2);
    Tensor out = Tensor.zeros(arena, 1, HEADS, 2, DIM);
    Attention attention = Attention.builder().build();
    refuse(
        "the queries of batch 0 must be at most 0, for the ring has overwritten the rows that"
            + " earlier ones would see: queries=2, first row=128, window=50",
        () -> attention.forward(q, ring, out));
    ring.append(k.slice(2, 0, 2), k.slice(2, 0, 2));
    attention.forward(q, ring, out);
    KvCache whole = KvCache.allocate(arena, 1, HEADS, 400, DIM);
    for (int i = 0; i < 10; i++) {
      whole.append(k, k);
    }
    whole.truncate(177);
    whole.append(k.slice(2, 0, 2), k.slice(2, 0, 2));
    Tensor expected = Tensor.zeros(arena, 1, HEADS, 2, DIM);
    Mask window = Mask.window(49, 0, Alignment.BOTTOM_RIGHT);
    attention.withMask(window).forward(q, whole, expected);
    assertArrayEquals(expected.toFloatArray(), out.toFloatArray(), 4e-6f);

    ring.reset();
    assertEquals(0, ring.firstRow(0));
    assertEquals("KvCache[F32, ring, lengths=[0]]", ring.toString());
  }

  @Test
  void shouldChangeNothingIfRowsCannotBeQuantised() {
    KvCache ring = KvCache.ring(arena, DType.I8, 1, 1, 4, 60, 64);
    for (int i = 0; i < 10; i++) {
      Tensor rows = Tensor.allocate(arena, DType.F32, 1, 1, 64, 4).fill(i);
      ring.append(rows, rows);
    }
    Attention attention = Attention.builder().build();
    Tensor q = Tensor.zeros(arena, 1, 1, 1, 4);
    Tensor out = Tensor.zeros(arena, 1, 1, 1, 4);
    attention.forward(q, ring, out);
    float[] before = out.toFloatArray();
    final float[] keys = ring.copyKeys(arena).toFloatArray();
    final int first = ring.firstRow(0);
    Tensor rows = Tensor.allocate(arena, DType.F32, 1, 1, 64, 4).fill(3);
    Tensor bad = Tensor.allocate(arena, DType.F32, 1, 1, 64, 4).copyFrom(rows);
    bad.setFloat(Float.NaN, 0, 0, 63, 2);
    refuse(
        "v[0, 0, 63, 2] must be finite to be quantised: v[0, 0, 63, 2]=NaN",
        () -> ring.append(rows, bad));
    refuse(
        "k[0, 0, 63, 2] must be finite to be quantised: k[0, 0, 63, 2]=NaN",
        () -> ring.append(bad, rows));
    attention.forward(q, ring, out);
    assertArrayEquals(before, out.toFloatArray());
    assertEquals(9, before[0]);
    assertEquals(first, ring.firstRow(0));
    assertArrayEquals(keys, ring.copyKeys(arena).toFloatArray());
  }

  @Test
  void shouldHoldAsManyRowsHoweverLongTheTextGrows() {
    KvCache ring = ring(DType.I8, 1, 200, 1);
    Tensor k = rows(1, 1);
    Tensor out = Tensor.zeros(arena, 1, HEADS, 1, DIM);
    Attention attention = Attention.builder().build();
    for (int i = 0; i < 2000; i++) {
      ring.append(k, k);
      attention.forward(k, ring, out);
    }
    assertEquals(2000, ring.longest());
    assertEquals(Integer.MAX_VALUE, ring.capacity());
    assertTrue(ring.copyKeys(arena).size(2) <= 320, "rows=" + ring.copyKeys(arena).size(2));
  }

  @Test
  void shouldRefuseWhatIdentifiesKeysByTheirIndex() {
    KvCache ring = ring(DType.F32, 1, 8, 4);
    Tensor k = rows(1, 4);
    ring.append(k, k);
    Tensor out = Tensor.zeros(arena, 1, HEADS, 4, DIM);
    Attention attention = Attention.builder().build();
    String rest =
        " is not supported with a ring, which overwrites rows, so that keys have no fixed index";
    Mask bias = Mask.bias(Tensor.zeros(arena, 4, 4));
    refuse("mask.bias" + rest, () -> attention.withMask(bias).forward(k, ring, out));
    refuse(
        "mask.keyLengths" + rest,
        () -> attention.withMask(Mask.keyLengths(2)).forward(k, ring, out));
    Mask chunks = Mask.chunks(4, Alignment.BOTTOM_RIGHT);
    refuse("mask.chunks" + rest, () -> attention.withMask(chunks).forward(k, ring, out));
    refuse(
        "weights" + rest,
        () ->
            attention.forward(k, ring, out, Extras.ofWeights(Tensor.zeros(arena, 1, HEADS, 4, 4))));
    refuse(
        "dropout" + rest,
        () -> attention.forward(k, ring, out, Extras.ofDropout(Dropout.of(0.1, 1))));
    refuse(
        "new rows of batch 0 must be at most the mostNew of the ring: new rows=5, mostNew=4",
        () -> ring.append(rows(1, 5), rows(1, 5)));
    refuse(
        "window must be at least 1: window=0", () -> KvCache.ring(arena, DType.F32, 1, 1, 8, 0, 1));
    KvCache prefix = KvCache.allocate(arena, 1, HEADS, 8, DIM);
    prefix.append(k, k);
    refuse(
        "continuations must not be a ring, which forgets rows: "
            + "continuations=KvCache[F32, ring, lengths=[4]]",
        () -> attention.forward(k, prefix, ring, out));
    refuse(
        "prefix must be a dense cache of F32, BF16 or F16: "
            + "prefix=KvCache[F32, ring, lengths=[4]]",
        () -> attention.forward(k, ring, prefix, out));
  }

  private static void refuse(String message, Executable call) {
    assertEquals(message, assertThrows(IllegalArgumentException.class, call).getMessage());
  }
}
