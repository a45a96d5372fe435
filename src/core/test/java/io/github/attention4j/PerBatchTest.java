package io.github.attention4j;

import static io.github.attention4j.testing.Checked.random;
import static org.junit.jupiter.api.Assertions.assertArrayEquals;
import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertThrows;

import io.github.attention4j.testing.Checked;
import java.lang.foreign.Arena;
import java.util.Arrays;
import java.util.Random;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.BeforeEach;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.function.Executable;

/** Options that each batch has for itself give what each batch gives in a call of its own. */
class PerBatchTest {
  private static final int BATCH = 3;
  private static final int HEADS = 4;
  private static final int DIM = 16;
  private static final float[][] SLOPES = {
    {0.1f, 0, 0.3f, -0.2f}, {1, 0.5f, 0.25f, 0.125f}, {0, 0, 0, 0.7f}
  };

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

  private Tensor batch(Tensor tensor, int b) {
    return tensor.slice(0, b, 1);
  }

  @Test
  void shouldLowerLogitsByTheSlopesOfEachBatch() {
    for (int lenQ : new int[] {1, 3, 70}) {
      Tensor q = random(arena, random, BATCH, HEADS, lenQ, DIM);
      Tensor k = random(arena, random, BATCH, 2, 90, DIM);
      Tensor v = random(arena, random, BATCH, 2, 90, DIM);
      Attention each =
          Attention.builder()
              .mask(Mask.causal(Alignment.BOTTOM_RIGHT))
              .alibi(Alignment.BOTTOM_RIGHT, SLOPES)
              .build();
      Checked.onEveryTier(
          () -> {
            Tensor out = Tensor.zeros(arena, BATCH, HEADS, lenQ, DIM);
            each.forward(q, k, v, out);
            for (int b = 0; b < BATCH; b++) {
              Tensor alone = Tensor.zeros(arena, 1, HEADS, lenQ, DIM);
              Attention.builder()
                  .mask(Mask.causal(Alignment.BOTTOM_RIGHT))
                  .alibi(Alignment.BOTTOM_RIGHT, SLOPES[b])
                  .build()
                  .forward(batch(q, b), batch(k, b), batch(v, b), alone);
              assertArrayEquals(
                  alone.toFloatArray(), batch(out, b).toFloatArray(), 2e-6f, "batch " + b);
            }
          });
      // Batches that share keys are computed together.
      Tensor shared = batch(k, 0).expand(0, BATCH);
      Tensor sharedValues = batch(v, 0).expand(0, BATCH);
      Tensor together = Tensor.zeros(arena, BATCH, HEADS, lenQ, DIM);
      each.forward(q, shared, sharedValues, together);
      Tensor apart = Tensor.zeros(arena, BATCH, HEADS, lenQ, DIM);
      each.forward(q, shared.toF32(arena), sharedValues.toF32(arena), apart);
      assertArrayEquals(apart.toFloatArray(), together.toFloatArray(), 2e-6f);
    }
  }

  @Test
  void shouldHaveSlopesForEachPackedSequence() {
    Sequences sequences = Sequences.ofLengths(5, 40, 1);
    Tensor x = random(arena, random, sequences.total(), HEADS, DIM);
    Tensor out = Tensor.zeros(arena, sequences.total(), HEADS, DIM);
    Attention.builder()
        .alibi(new int[] {0, 0, 2}, SLOPES)
        .build()
        .forwardPacked(x, sequences, x, x, sequences, out);
    for (int s = 0, begin = 0; s < BATCH; begin += sequences.length(s++)) {
      Tensor own = x.slice(0, begin, sequences.length(s)).transpose(0, 1).unsqueeze(0);
      Tensor alone = Tensor.zeros(arena, 1, HEADS, sequences.length(s), DIM);
      Attention.builder()
          .alibi(new int[] {s == 2 ? 2 : 0}, SLOPES[s])
          .build()
          .forward(own, own, own, alone);
      Tensor got = out.slice(0, begin, sequences.length(s)).transpose(0, 1);
      assertArrayEquals(alone.toFloatArray(), got.toFloatArray(), 2e-6f, "sequence " + s);
    }
  }

  @Test
  void shouldRefuseSlopesThatDoNotFit() {
    Tensor x = Tensor.zeros(arena, 2, HEADS, 3, DIM);
    refuse(
        "slopes.length must equal q.batch: slopes.length=3, q.batch=2",
        () -> alibi(SLOPES).forward(x, x, x, Tensor.zeros(arena, 2, HEADS, 3, DIM)));
    refuse(
        "slopes[0].length must equal out.heads: slopes[0].length=1, out.heads=4",
        () -> alibi(new float[2][1]).forward(x, x, x, Tensor.zeros(arena, 2, HEADS, 3, DIM)));
    refuse(
        "slopes[1].length must equal slopes[0].length: slopes[1].length=1, slopes[0].length=2",
        () -> alibi(new float[][] {{0, 1}, {2}}));
    refuse(
        "slopes[1][0] must be finite: slopes[1][0]=NaN",
        () -> alibi(new float[][] {{0}, {Float.NaN}}));
    refuse("slopes.length must be at least 1: slopes.length=0", () -> alibi(new float[0][]));
  }

  private static Attention alibi(float[][] slopes) {
    return Attention.builder().alibi(Alignment.TOP_LEFT, slopes).build();
  }

  // ---- Lengths of queries ----

  @Test
  void shouldHideAllKeysFromQueriesOfPadding() {
    int[] queries = {7, 0, 3};
    int[] keys = {30, 12, 3};
    int lenQ = 9;
    Tensor q = random(arena, random, BATCH, HEADS, lenQ, DIM);
    Tensor k = random(arena, random, BATCH, HEADS, 30, DIM);
    Tensor v = random(arena, random, BATCH, HEADS, 30, DIM);
    for (Alignment alignment : Alignment.values()) {
      Mask position = Mask.window(5, 0, alignment);
      Mask all = position.and(Mask.queryLengths(queries)).and(Mask.keyLengths(keys));
      Checked.onEveryTier(
          () -> {
            Tensor out = Tensor.zeros(arena, BATCH, HEADS, lenQ, DIM).fill(7);
            Tensor lse = Tensor.zeros(arena, BATCH, HEADS, lenQ);
            Attention.builder().mask(all).build().forward(q, k, v, out, Extras.ofLogsumexp(lse));
            for (int b = 0; b < BATCH; b++) {
              Tensor alone = Tensor.zeros(arena, 1, HEADS, queries[b], DIM);
              Tensor own = batch(k, b).slice(2, 0, keys[b]);
              Attention.builder()
                  .mask(position)
                  .build()
                  .forward(
                      batch(q, b).slice(2, 0, queries[b]),
                      own,
                      batch(v, b).slice(2, 0, keys[b]),
                      alone);
              String what = alignment + ", batch " + b;
              assertArrayEquals(
                  alone.toFloatArray(),
                  batch(out, b).slice(2, 0, queries[b]).toFloatArray(),
                  2e-6f,
                  what);
              Tensor padding = batch(out, b).slice(2, queries[b], lenQ - queries[b]);
              assertArrayEquals(new float[(int) padding.count()], padding.toFloatArray(), what);
              float[] none = new float[HEADS * (lenQ - queries[b])];
              Arrays.fill(none, Float.NEGATIVE_INFINITY);
              assertArrayEquals(
                  none, batch(lse, b).slice(2, queries[b], lenQ - queries[b]).toFloatArray(), what);
            }
          });
    }
  }

  @Test
  void shouldAttendToWhatEachBatchAppended() {
    KvCache cache = KvCache.allocate(arena, 2, HEADS, 20, DIM);
    Tensor first = random(arena, random, 2, HEADS, 6, DIM);
    cache.append(first, first, new int[] {6, 2});
    Tensor next = random(arena, random, 2, HEADS, 4, DIM);
    int[] counts = {1, 4};
    cache.append(next, next, counts);
    Attention attention = Attention.builder().mask(Mask.queryLengths(counts)).build();
    Tensor out = Tensor.zeros(arena, 2, HEADS, 4, DIM);
    attention.forward(next, cache, out);
    for (int b = 0; b < 2; b++) {
      KvCache own = cache.gather(arena, b);
      Tensor alone = Tensor.zeros(arena, 1, HEADS, counts[b], DIM);
      Attention.builder().build().forward(batch(next, b).slice(2, 0, counts[b]), own, alone);
      assertArrayEquals(
          alone.toFloatArray(),
          batch(out, b).slice(2, 0, counts[b]).toFloatArray(),
          2e-6f,
          "batch " + b);
    }
  }

  @Test
  void shouldRefuseLengthsOfQueriesThatDoNotFit() {
    Tensor x = Tensor.zeros(arena, 2, HEADS, 3, DIM);
    Tensor out = Tensor.zeros(arena, 2, HEADS, 3, DIM);
    refuse(
        "mask.queryLengths.length must equal q.batch: mask.queryLengths.length=1, q.batch=2",
        () -> masked(Mask.queryLengths(1)).forward(x, x, x, out));
    refuse(
        "mask.queryLengths[1] must lie in [0, 3]: mask.queryLengths[1]=4",
        () -> masked(Mask.queryLengths(1, 4)).forward(x, x, x, out));
    refuse("queryLengths[0] must not be negative: queryLengths[0]=-1", () -> Mask.queryLengths(-1));
    refuse(
        "query lengths must be for the same number of batches: 1 and 2",
        () -> Mask.queryLengths(1).and(Mask.queryLengths(1, 2)));
    Sequences one = Sequences.ofLengths(3);
    Tensor packed = Tensor.zeros(arena, 3, HEADS, DIM);
    refuse(
        "mask.queryLengths is not supported with packed sequences, which have lengths of their own",
        () ->
            masked(Mask.queryLengths(1))
                .forwardPacked(
                    packed, one, packed, packed, one, Tensor.zeros(arena, 3, HEADS, DIM)));
  }

  private static Attention masked(Mask mask) {
    return Attention.builder().mask(mask).build();
  }

  private static void refuse(String message, Executable call) {
    assertEquals(message, assertThrows(IllegalArgumentException.class, call).getMessage());
  }
}
