package io.github.attention4j;

import static io.github.attention4j.Alignment.BOTTOM_RIGHT;
import static io.github.attention4j.Alignment.TOP_LEFT;
import static io.github.attention4j.reference.ReferenceAttention.KEEP_ALL;
import static io.github.attention4j.reference.ReferenceAttention.NO_BIAS;
import static io.github.attention4j.testing.Checked.onEveryTier;
import static io.github.attention4j.testing.Checked.random;
import static io.github.attention4j.testing.Checked.randomBooleans;
import static io.github.attention4j.testing.Checked.requireNear;
import static org.junit.jupiter.api.Assertions.assertArrayEquals;
import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertTrue;

import io.github.attention4j.reference.ReferenceAttention.Entry;
import io.github.attention4j.testing.Checked.Expected;
import java.lang.foreign.Arena;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import java.util.Random;
import java.util.concurrent.ExecutorService;
import java.util.concurrent.Executors;
import java.util.concurrent.Future;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.BeforeEach;
import org.junit.jupiter.api.Test;

class AttentionTest {
  /** Around one vector of 16 lanes, three vectors, and two tiles. */
  private static final int[] QUERIES = {1, 15, 16, 17, 47, 48, 49, 97};

  /** Around a block of 8 keys, and blocks of 64 and 128. */
  private static final int[] KEYS = {1, 7, 8, 9, 63, 64, 65, 127, 128, 129};

  /** One, odd, one vector, not a power of two, the usual sizes, the largest. */
  private static final int[] DIMS = {1, 3, 8, 20, 64, 80, 96, 128, 512};

  private static final double HIDDEN = Double.NEGATIVE_INFINITY;

  private final Random random = new Random(20_170_612);
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

  // ---- Sizes ----

  @Test
  void shouldMatchReferenceForSizesAroundEveryTile() {
    for (int lenQ : QUERIES) {
      for (int lenK : KEYS) {
        for (int dim : DIMS) {
          try (Arena local = Arena.ofConfined()) {
            Tensor q = random(local, random, 1, 1, lenQ, dim);
            Tensor k = random(local, random, 1, 1, lenK, dim);
            Tensor v = random(local, random, 1, 1, lenK, dim);
            Tensor out = Tensor.allocate(local, DType.F32, 1, 1, lenQ, dim);
            Tensor lse = Tensor.allocate(local, DType.F32, 1, 1, lenQ);
            Expected expected = Expected.of(q, k, v, NO_BIAS);
            String what = lenQ + " x " + lenK + ", dim " + dim;
            onEveryTier(
                () -> {
                  Attention attention = Attention.builder().build();
                  attention.forward(q, k, v, out, Extras.none().logsumexp(lse));
                  expected.requireOut(what, out);
                  expected.requireLogsumexp(what, lse);
                });
          }
        }
      }
    }
  }

  @Test
  void shouldErrAtMostTwiceAsMuchAsTheTextbook() {
    for (int dim : new int[] {64, 80, 128}) {
      for (float factor : new float[] {1, 5}) {
        Tensor q = times(random(arena, random, 2, 6, 97, dim), factor);
        Tensor k = random(arena, random, 2, 6, 160, dim);
        Tensor v = random(arena, random, 2, 6, 160, dim);
        Expected expected = Expected.of(q, k, v, NO_BIAS);
        Tensor out = floats(q.shape());
        onEveryTier(
            () -> {
              Attention.builder().build().forward(q, k, v, out);
              String what = "dim " + dim + ", logits times " + factor;
              requireNear(what, expected.exact().out(), expected.textbook().out(), 0, out);
            });
      }
    }
  }

  private Tensor times(Tensor tensor, float factor) {
    float[] values = tensor.toFloatArray();
    for (int i = 0; i < values.length; i++) {
      values[i] *= factor;
    }
    return floats(tensor.shape()).copyFrom(values);
  }

  @Test
  void shouldReadGroupedHeadsAndValuesOfAnotherWidth() {
    for (int headsKv : new int[] {1, 2, 3, 6}) {
      for (int dimV : new int[] {1, 5, 16, 48, 130}) {
        for (int lenQ : new int[] {1, 2, 19}) {
          Tensor q = random(arena, random, 2, 6, lenQ, 24);
          Tensor k = random(arena, random, 2, headsKv, 33, 24);
          Tensor v = random(arena, random, 2, headsKv, 33, dimV);
          Expected expected = Expected.of(q, k, v, NO_BIAS);
          check("6 heads on " + headsKv + ", dimV " + dimV, expected, q, k, v, Mask.none());
        }
      }
    }
  }

  @Test
  void shouldUseTheScaleThatIsGiven() {
    Tensor q = random(arena, random, 1, 2, 5, 16);
    Tensor k = random(arena, random, 1, 2, 9, 16);
    Tensor v = random(arena, random, 1, 2, 9, 16);
    Tensor out = floats(1, 2, 5, 16);
    for (double scale : new double[] {0, 0.3, -1.5}) {
      Expected expected = Expected.of(q, k, v, (float) scale, NO_BIAS, KEEP_ALL);
      onEveryTier(
          () -> {
            Attention.builder().scale(scale).build().forward(q, k, v, out);
            expected.requireOut("scale " + scale, out);
          });
    }
  }

  @Test
  void shouldTreatRank3AsOneHead() {
    Tensor q = random(arena, random, 3, 7, 20);
    Tensor k = random(arena, random, 3, 11, 20);
    Tensor v = random(arena, random, 3, 11, 12);
    Tensor allow = randomBooleans(arena, random, 0.6, 3, 7, 11);
    Attention attention = Attention.builder().mask(Mask.allow(allow)).build();
    Tensor out3 = floats(3, 7, 12);
    Tensor lse3 = floats(3, 7);
    Tensor weights3 = floats(3, 7, 11);
    attention.forward(q, k, v, out3, Extras.none().logsumexp(lse3).weights(weights3));
    Tensor out4 = floats(3, 1, 7, 12);
    Tensor lse4 = floats(3, 1, 7);
    Tensor weights4 = floats(3, 1, 7, 11);
    attention
        .withMask(Mask.allow(allow.unsqueeze(1)))
        .forward(
            q.unsqueeze(1),
            k.unsqueeze(1),
            v.unsqueeze(1),
            out4,
            Extras.none().logsumexp(lse4).weights(weights4));
    assertArrayEquals(out4.toFloatArray(), out3.toFloatArray());
    assertArrayEquals(lse4.toFloatArray(), lse3.toFloatArray());
    assertArrayEquals(weights4.toFloatArray(), weights3.toFloatArray());
  }

  @Test
  void shouldDoNothingForNoBatchOrNoQueryAndGiveZerosForNoKey() {
    Attention attention = Attention.builder().build();
    onEveryTier(
        () -> {
          attention.forward(
              floats(0, 2, 3, 8), floats(0, 2, 4, 8), floats(0, 2, 4, 8), floats(0, 2, 3, 8));
          attention.forward(
              floats(1, 2, 0, 8), floats(1, 2, 4, 8), floats(1, 2, 4, 8), floats(1, 2, 0, 8));
          attention.forward(
              floats(1, 0, 3, 8), floats(1, 0, 4, 8), floats(1, 0, 4, 8), floats(1, 0, 3, 8));
          Tensor out = floats(1, 2, 3, 8).fill(7);
          Tensor lse = floats(1, 2, 3).fill(7);
          Extras extras = Extras.none().logsumexp(lse).weights(floats(1, 2, 3, 0));
          attention.forward(
              random(arena, random, 1, 2, 3, 8),
              floats(1, 2, 0, 8),
              floats(1, 2, 0, 8),
              out,
              extras);
          assertArrayEquals(new float[48], out.toFloatArray());
          for (float value : lse.toFloatArray()) {
            assertEquals(Float.NEGATIVE_INFINITY, value);
          }
        });
  }

  // ---- Masks ----

  @Test
  void shouldHideLaterKeysInEitherAlignment() {
    int[][] lengths = {{1, 1}, {5, 5}, {49, 49}, {3, 70}, {70, 3}, {97, 129}, {129, 97}, {1, 64}};
    for (int[] length : lengths) {
      int lenQ = length[0];
      int lenK = length[1];
      Tensor q = random(arena, random, 2, 2, lenQ, 20);
      Tensor k = random(arena, random, 2, 2, lenK, 20);
      Tensor v = random(arena, random, 2, 2, lenK, 20);
      Expected top = Expected.of(q, k, v, (b, h, i, j) -> j <= i ? 0 : HIDDEN);
      check("top left " + lenQ + ", " + lenK, top, q, k, v, Mask.causal(TOP_LEFT));
      Expected bottom = Expected.of(q, k, v, (b, h, i, j) -> j <= i + lenK - lenQ ? 0 : HIDDEN);
      check("bottom right " + lenQ + ", " + lenK, bottom, q, k, v, Mask.causal(BOTTOM_RIGHT));
    }
  }

  @Test
  void shouldGiveEachBatchItsOwnKeys() {
    Tensor q = random(arena, random, 4, 2, 19, 16);
    Tensor k = random(arena, random, 4, 1, 70, 16);
    Tensor v = random(arena, random, 4, 1, 70, 16);
    int[] lengths = {70, 0, 9, 33};
    Tensor tensor = Tensor.allocate(arena, DType.I32, 4);
    for (int b = 0; b < 4; b++) {
      tensor.setInt(lengths[b], b);
    }
    Expected plain = Expected.of(q, k, v, (b, h, i, j) -> j < lengths[b] ? 0 : HIDDEN);
    check("lengths", plain, q, k, v, Mask.keyLengths(lengths));
    check("lengths in a tensor", plain, q, k, v, Mask.keyLengths(tensor));
    Expected top = Expected.of(q, k, v, (b, h, i, j) -> j < lengths[b] && j <= i ? 0 : HIDDEN);
    check("top left", top, q, k, v, Mask.keyLengths(lengths).and(Mask.causal(TOP_LEFT)));
    Expected bottom =
        Expected.of(
            q, k, v, (b, h, i, j) -> j < lengths[b] && j <= i + lengths[b] - 19 ? 0 : HIDDEN);
    check("bottom right", bottom, q, k, v, Mask.causal(BOTTOM_RIGHT).and(Mask.keyLengths(tensor)));
    Expected shorter =
        Expected.of(q, k, v, (b, h, i, j) -> j < Math.min(lengths[b], 30) ? 0 : HIDDEN);
    Mask both = Mask.keyLengths(lengths).and(Mask.keyLengths(30, 30, 30, 30));
    check("the shorter of two", shorter, q, k, v, both);
  }

  @Test
  void shouldBroadcastMasksOfEveryShape() {
    long[] full = {2, 3, 18, 21};
    Tensor q = random(arena, random, 2, 3, 18, 12);
    Tensor k = random(arena, random, 2, 3, 21, 12);
    Tensor v = random(arena, random, 2, 3, 21, 12);
    for (int rank = 0; rank <= 4; rank++) {
      for (int ones = 0; ones < 1 << rank; ones++) {
        long[] shape = new long[rank];
        for (int d = 0; d < rank; d++) {
          shape[d] = (ones >> d & 1) == 1 ? 1 : full[4 - rank + d];
        }
        Tensor allow = randomBooleans(arena, random, 0.7, shape);
        Tensor bias = random(arena, random, shape);
        Entry hide = (b, h, i, j) -> allow.getBoolean(index(allow, b, h, i, j)) ? 0 : HIDDEN;
        Entry add = (b, h, i, j) -> bias.getFloat(index(bias, b, h, i, j));
        String what = Arrays.toString(shape);
        check("allow " + what, Expected.of(q, k, v, hide), q, k, v, Mask.allow(allow));
        check("bias " + what, Expected.of(q, k, v, add), q, k, v, Mask.bias(bias));
        Entry all =
            (b, h, i, j) ->
                j <= i && j < 20 - b ? hide.at(b, h, i, j) + add.at(b, h, i, j) : HIDDEN;
        Mask mask =
            Mask.allow(allow)
                .and(Mask.bias(bias))
                .and(Mask.causal(TOP_LEFT))
                .and(Mask.keyLengths(20, 19));
        check("all together " + what, Expected.of(q, k, v, all), q, k, v, mask);
      }
    }
  }

  private static long[] index(Tensor mask, int... full) {
    long[] index = new long[mask.rank()];
    for (int d = 0; d < index.length; d++) {
      index[d] = mask.size(d) == 1 ? 0 : full[4 - index.length + d];
    }
    return index;
  }

  @Test
  void shouldReadMasksAsTheyLie() {
    Tensor q = random(arena, random, 2, 2, 17, 8);
    Tensor k = random(arena, random, 2, 2, 23, 8);
    Tensor v = random(arena, random, 2, 2, 23, 8);
    Tensor allow = randomBooleans(arena, random, 0.5, 23, 17).transpose(0, 1);
    Tensor bias = random(arena, random, 23, 2, 17, 2).transpose(0, 3);
    Expected expected =
        Expected.of(
            q, k, v, (b, h, i, j) -> allow.getBoolean(i, j) ? bias.getFloat(b, h, i, j) : HIDDEN);
    check("transposed", expected, q, k, v, Mask.allow(allow).and(Mask.bias(bias)));
  }

  @Test
  void shouldHideKeysWhoseBiasIsMinusInfinity() {
    Tensor q = random(arena, random, 1, 2, 20, 8);
    Tensor k = random(arena, random, 1, 2, 40, 8);
    Tensor v = random(arena, random, 1, 2, 40, 8);
    Tensor bias = floats(20, 40);
    for (int i = 0; i < 20; i++) {
      for (int j = 0; j < 40; j++) {
        bias.setFloat((i + j) % 3 == 0 || i == 11 ? Float.NEGATIVE_INFINITY : 0.5f, i, j);
      }
    }
    Expected expected = Expected.of(q, k, v, (b, h, i, j) -> bias.getFloat(i, j));
    check("−∞", expected, q, k, v, Mask.bias(bias));
  }

  // ---- Corner cases ----

  @Test
  void shouldGiveZeroToQueriesThatSeeNothing() {
    Tensor q = random(arena, random, 1, 2, 50, 16);
    Tensor k = random(arena, random, 1, 2, 30, 16);
    Tensor v = random(arena, random, 1, 2, 30, 16);
    Tensor out = floats(1, 2, 50, 16).fill(Float.NaN);
    Tensor lse = floats(1, 2, 50).fill(Float.NaN);
    Tensor weights = floats(1, 2, 50, 30).fill(Float.NaN);
    onEveryTier(
        () -> {
          Attention.builder()
              .mask(Mask.causal(BOTTOM_RIGHT))
              .build()
              .forward(q, k, v, out, Extras.none().logsumexp(lse).weights(weights));
          for (int i = 0; i < 20; i++) {
            assertEquals(Float.NEGATIVE_INFINITY, lse.getFloat(0, 1, i));
            assertEquals(0f, out.getFloat(0, 1, i, 15));
            assertEquals(0f, weights.getFloat(0, 1, i, 0));
          }
          assertTrue(Float.isFinite(lse.getFloat(0, 0, 20)));
        });
  }

  @Test
  void shouldNeverLetHiddenNanOrInfinityLeak() {
    for (float poison : new float[] {Float.NaN, Float.POSITIVE_INFINITY, Float.NEGATIVE_INFINITY}) {
      for (int lenQ : new int[] {1, 17, 60}) {
        Tensor q = random(arena, random, 2, 2, lenQ, 20);
        Tensor k = random(arena, random, 2, 2, 70, 20);
        Tensor v = random(arena, random, 2, 2, 70, 20);
        Tensor allow = Tensor.allocate(arena, DType.BOOL, 70);
        for (int j = 0; j < 70; j++) {
          allow.setBoolean(j % 7 != 3, j);
        }
        Expected expected = Expected.of(q, k, v, (b, h, i, j) -> j % 7 != 3 && j < 65 ? 0 : HIDDEN);
        for (int j = 0; j < 70; j++) {
          if (j % 7 == 3 || j >= 65) {
            k.slice(2, j, 1).fill(poison);
            v.slice(2, j, 1).fill(poison);
          }
        }
        Mask mask = Mask.allow(allow).and(Mask.keyLengths(65, 65));
        check("hidden " + poison, expected, q, k, v, mask);
      }
    }
  }

  @Test
  void shouldKeepVisibleNanToTheQueriesThatSeeIt() {
    Tensor q = random(arena, random, 1, 1, 60, 16);
    Tensor k = random(arena, random, 1, 1, 60, 16);
    Tensor v = random(arena, random, 1, 1, 60, 16);
    k.setFloat(Float.NaN, 0, 0, 40, 3);
    q.setFloat(Float.NaN, 0, 0, 10, 0);
    v.setFloat(Float.NaN, 0, 0, 50, 7);
    Tensor out = floats(1, 1, 60, 16);
    onEveryTier(
        () -> {
          Attention.builder().mask(Mask.causal(TOP_LEFT)).build().forward(q, k, v, out);
          for (int i = 0; i < 60; i++) {
            boolean wanted = i == 10 || i >= 40;
            assertEquals(wanted, Float.isNaN(out.getFloat(0, 0, i, 0)), "query " + i);
            assertEquals(wanted, Float.isNaN(out.getFloat(0, 0, i, 7)), "query " + i);
          }
        });
  }

  @Test
  void shouldSurviveLogitsWhoseExponentialsOverflow() {
    Tensor q = random(arena, random, 1, 2, 33, 16);
    Tensor k = random(arena, random, 1, 2, 70, 16);
    Tensor v = random(arena, random, 1, 2, 70, 16);
    for (float factor : new float[] {0, 40, 1000}) {
      Tensor scaled = times(q, factor);
      check("times " + factor, Expected.of(scaled, k, v, NO_BIAS), scaled, k, v, Mask.none());
    }
  }

  // ---- Outputs beside the result ----

  @Test
  void shouldGiveWeightsBeforeDropoutAndApplyItAfterwards() {
    for (int lenQ : new int[] {1, 5, 50}) {
      Tensor q = random(arena, random, 2, 4, lenQ, 16);
      Tensor k = random(arena, random, 2, 2, 37, 16);
      Tensor v = random(arena, random, 2, 2, 37, 24);
      for (long[] shape : new long[][] {{2, 4, lenQ, 37}, {lenQ, 37}, {2, 1, 1, 37}}) {
        Tensor keep = randomBooleans(arena, random, 0.75, shape);
        Entry factor = (b, h, i, j) -> keep.getBoolean(index(keep, b, h, i, j)) ? 1 / 0.75 : 0;
        Expected expected = Expected.of(q, k, v, 0.25, NO_BIAS, factor);
        Tensor out = floats(2, 4, lenQ, 24);
        Tensor weights = floats(2, 4, lenQ, 37);
        Tensor lse = floats(2, 4, lenQ);
        onEveryTier(
            () -> {
              Extras extras = Extras.none().keep(keep, 0.25).weights(weights).logsumexp(lse);
              Attention.builder().build().forward(q, k, v, out, extras);
              expected.requireOut("dropout", out);
              expected.requireWeights("dropout", weights);
              expected.requireLogsumexp("dropout", lse);
            });
      }
    }
  }

  @Test
  void shouldMergeResultsOverPartsOfTheKeys() {
    Tensor q = random(arena, random, 2, 3, 20, 16);
    Tensor k = random(arena, random, 2, 3, 50, 16);
    Tensor v = random(arena, random, 2, 3, 50, 16);
    Expected expected = Expected.of(q, k, v, NO_BIAS);
    Attention attention = Attention.builder().build();
    for (int split : new int[] {0, 1, 17, 49, 50}) {
      onEveryTier(
          () -> {
            Tensor outA = floats(2, 20, 48).splitHeads(3);
            Tensor lseA = floats(2, 3, 20);
            Tensor outB = floats(2, 3, 20, 16);
            Tensor lseB = floats(2, 3, 20);
            attention.forward(
                q, k.slice(2, 0, split), v.slice(2, 0, split), outA, Extras.none().logsumexp(lseA));
            attention.forward(
                q,
                k.slice(2, split, 50 - split),
                v.slice(2, split, 50 - split),
                outB,
                Extras.none().logsumexp(lseB));
            Tensor out = floats(2, 3, 20, 16);
            Tensor lse = floats(2, 3, 20);
            Attention.merge(outA, lseA, outB, lseB, out, lse);
            expected.requireOut("split at " + split, out);
            expected.requireLogsumexp("split at " + split, lse);
            Attention.merge(outA, lseA, outB, lseB, outA, lseA);
            assertArrayEquals(out.toFloatArray(), outA.toFloatArray());
            assertArrayEquals(lse.toFloatArray(), lseA.toFloatArray());
          });
    }
  }

  @Test
  void shouldMergeNothingWithNothingToNothing() {
    Tensor nothing = floats(1, 2, 3, 4);
    Tensor lse = floats(1, 2, 3).fill(Float.NEGATIVE_INFINITY);
    Tensor out = floats(1, 2, 3, 4).fill(5);
    Attention.merge(nothing, lse, nothing, lse, out, null);
    assertArrayEquals(new float[24], out.toFloatArray());
  }

  // ---- Memory ----

  @Test
  void shouldUseProjectionsAsTheyLie() {
    Tensor packed = random(arena, random, 2, 19, 4 * 3 * 8);
    Tensor q = packed.slice(2, 0, 24).splitHeads(3);
    Tensor k = packed.slice(2, 24, 24).splitHeads(3);
    Tensor v = packed.slice(2, 48, 24).splitHeads(3);
    Tensor out = packed.slice(2, 72, 24).splitHeads(3);
    Expected expected = Expected.of(q.toF32(arena), k.toF32(arena), v.toF32(arena), NO_BIAS);
    onEveryTier(
        () -> {
          Attention.builder().build().forward(q, k, v, out);
          expected.requireOut("the fourth slice of one buffer", out);
        });
  }

  @Test
  void shouldTakeAnyStrideAndAnyAlignmentOfFloats() {
    for (int shift = 0; shift < 4; shift++) {
      Tensor q = shifted(random(arena, random, 2, 3, 18, 20), shift);
      Tensor k = shifted(random(arena, random, 2, 3, 41, 20), shift + 1);
      Tensor v = shifted(random(arena, random, 2, 3, 41, 24), shift + 2);
      Tensor out = shifted(floats(2, 3, 18, 24), shift + 3);
      Expected expected = Expected.of(q, k, v, NO_BIAS);
      onEveryTier(
          () -> {
            Attention.builder().build().forward(q, k, v, out);
            expected.requireOut("shifted", out);
          });
    }
  }

  /** A copy whose rows and heads have gaps between them. */
  private Tensor shifted(Tensor tensor, int shift) {
    long b = tensor.size(0);
    long h = tensor.size(1);
    long l = tensor.size(2);
    long d = tensor.size(3);
    long row = d + 3;
    long head = l * row + 5;
    Tensor store = floats(shift + b * h * head);
    long[] strides = {h * head, head, row, 1};
    return Tensor.strided(store.segment(), DType.F32, shift, tensor.shape(), strides)
        .copyFrom(tensor);
  }

  @Test
  void shouldWriteNothingBesideItsOutputs() {
    float guard = -77.25f;
    for (int lenQ : new int[] {1, 3, 17, 50}) {
      for (int dimV : new int[] {1, 7, 20}) {
        Tensor store = floats(2 * (lenQ + 2) * (dimV + 4)).fill(guard);
        Tensor padded = store.reshape(1, 2, lenQ + 2, dimV + 4);
        Tensor out = padded.slice(2, 1, lenQ).slice(3, 2, dimV);
        Tensor lseStore = floats(2 * lenQ + 32).fill(guard);
        Tensor lse = lseStore.slice(0, 16, 2 * lenQ).reshape(1, 2, lenQ);
        Tensor weightsStore = floats(2 * lenQ * 29 + 32).fill(guard);
        Tensor weights = weightsStore.slice(0, 16, 2 * lenQ * 29).reshape(1, 2, lenQ, 29);
        Tensor q = random(arena, random, 1, 2, lenQ, 9);
        Tensor k = random(arena, random, 1, 2, 29, 9);
        Tensor v = random(arena, random, 1, 2, 29, dimV);
        onEveryTier(
            () -> {
              out.fill(guard);
              lse.fill(guard);
              weights.fill(guard);
              Extras extras = Extras.none().logsumexp(lse).weights(weights);
              Attention.builder().build().forward(q, k, v, out, extras);
              assertEquals(2 * lenQ * dimV, changed(store, guard));
              assertEquals(2 * lenQ, changed(lseStore, guard));
              assertEquals(2 * lenQ * 29, changed(weightsStore, guard));
              assertEquals(2 * lenQ * dimV, changed(out, guard));
            });
      }
    }
  }

  private static int changed(Tensor tensor, float from) {
    int changed = 0;
    for (float value : tensor.toFloatArray()) {
      changed += value == from ? 0 : 1;
    }
    return changed;
  }

  // ---- Threads ----

  @Test
  void shouldGiveTheSameBitsForEveryNumberOfThreads() {
    long[][] shapes = {
      {1, 8, 8, 512, 512, 64},
      {3, 4, 2, 100, 300, 32},
      {1, 8, 2, 1, 4096, 64},
      {2, 3, 3, 7, 900, 20}
    };
    for (long[] s : shapes) {
      Tensor q = random(arena, random, s[0], s[1], s[3], s[5]);
      Tensor k = random(arena, random, s[0], s[2], s[4], s[5]);
      Tensor v = random(arena, random, s[0], s[2], s[4], s[5]);
      for (Mask mask : List.of(Mask.none(), Mask.causal(BOTTOM_RIGHT))) {
        onEveryTier(
            () -> {
              float[] alone = computed(q, k, v, mask, 1);
              for (int threads : new int[] {2, 3, 7}) {
                assertArrayEquals(alone, computed(q, k, v, mask, threads), threads + " threads");
              }
            });
      }
    }
  }

  private static float[] computed(Tensor q, Tensor k, Tensor v, Mask mask, int threads) {
    try (Arena local = Arena.ofConfined()) {
      Tensor out = Tensor.allocate(local, DType.F32, q.shape());
      Tensor lse = Tensor.allocate(local, DType.F32, q.size(0), q.size(1), q.size(2));
      Attention attention = Attention.builder().mask(mask).threads(threads).build();
      attention.forward(q, k, v, out, Extras.none().logsumexp(lse));
      float[] both = Arrays.copyOf(out.toFloatArray(), (int) (out.count() + lse.count()));
      System.arraycopy(lse.toFloatArray(), 0, both, (int) out.count(), (int) lse.count());
      return both;
    }
  }

  @Test
  void shouldServeManyCallersAtOnce() throws Exception {
    Arena shared = Arena.ofAuto();
    Attention attention = Attention.builder().mask(Mask.causal(TOP_LEFT)).build();
    List<Future<?>> futures = new ArrayList<>();
    try (ExecutorService callers = Executors.newFixedThreadPool(16)) {
      for (int caller = 0; caller < 16; caller++) {
        int length = 20 + 13 * caller;
        Tensor q = random(shared, random, 2, 4, length, 32);
        Tensor k = random(shared, random, 2, 4, length, 32);
        Tensor v = random(shared, random, 2, 4, length, 32);
        float[] alone = computed(q, k, v, attention.mask(), 1);
        futures.add(
            callers.submit(
                () -> {
                  for (int i = 0; i < 50; i++) {
                    float[] now = computed(q, k, v, attention.mask(), 2);
                    assertArrayEquals(alone, now, "length " + length);
                  }
                }));
      }
      for (Future<?> future : futures) {
        future.get();
      }
    }
  }

  @Test
  void shouldServeVirtualThreads() throws Exception {
    Arena shared = Arena.ofAuto();
    Tensor q = random(shared, random, 1, 2, 9, 16);
    float[] alone = computed(q, q, q, Mask.none(), 1);
    List<Future<float[]>> futures = new ArrayList<>();
    try (ExecutorService callers = Executors.newVirtualThreadPerTaskExecutor()) {
      for (int i = 0; i < 2000; i++) {
        futures.add(callers.submit(() -> computed(q, q, q, Mask.none(), 2)));
      }
      for (Future<float[]> future : futures) {
        assertArrayEquals(alone, future.get());
      }
    }
  }

  // ---- Checking ----

  private void check(String what, Expected expected, Tensor q, Tensor k, Tensor v, Mask mask) {
    try (Arena local = Arena.ofConfined()) {
      long[] rows = {q.size(0), q.size(1), q.size(2)};
      Tensor out = Tensor.allocate(local, DType.F32, rows[0], rows[1], rows[2], v.size(3));
      Tensor lse = Tensor.allocate(local, DType.F32, rows);
      Tensor weights = Tensor.allocate(local, DType.F32, rows[0], rows[1], rows[2], k.size(2));
      Attention attention = Attention.builder().mask(mask).build();
      onEveryTier(
          () -> {
            out.fill(Float.NaN);
            attention.forward(q, k, v, out);
            expected.requireOut(what, out);
            out.fill(Float.NaN);
            attention.forward(q, k, v, out, Extras.none().logsumexp(lse).weights(weights));
            expected.requireOut(what + " beside weights", out);
            expected.requireLogsumexp(what, lse);
            expected.requireWeights(what, weights);
          });
    }
  }
}
