package io.github.attention4j;

import static io.github.attention4j.reference.ReferenceAttention.KEEP_ALL;
import static io.github.attention4j.reference.ReferenceAttention.NO_BIAS;
import static io.github.attention4j.testing.Checked.onEveryTier;
import static io.github.attention4j.testing.Checked.random;
import static io.github.attention4j.testing.Checked.randomBooleans;
import static io.github.attention4j.testing.Checked.requireNear;
import static org.junit.jupiter.api.Assertions.assertArrayEquals;
import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import io.github.attention4j.Differential.KeyMap;
import io.github.attention4j.Differential.Pairing;
import io.github.attention4j.reference.ReferenceAttention;
import io.github.attention4j.reference.ReferenceAttention.Entry;
import io.github.attention4j.reference.ReferenceAttention.Result;
import java.lang.foreign.Arena;
import java.util.List;
import java.util.Random;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.BeforeEach;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.function.Executable;

class DifferentialTest {
  private static final double HIDDEN = Double.NEGATIVE_INFINITY;

  private final Random random = new Random(20_241_007);
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

  /** λ for batch b, pair h and query i. */
  @FunctionalInterface
  private interface Lambda {
    double at(int b, int h, int i);
  }

  /** The expected heads of both maps, written out: [batch, pairs] in the order of the paper. */
  private final class Expected {
    private final double[][] out = new double[2][];
    private final double[][] weights = new double[2][];
    private final double[][] lse = new double[2][];

    Expected(
        Pairing pairing,
        KeyMap keyMap,
        Tensor q,
        Tensor k,
        Tensor v,
        Lambda lambda,
        Entry bias,
        Entry keep) {
      int batch = (int) q.size(0);
      int pairs = (int) q.size(1) / 2;
      int pairsKv = (int) k.size(1) / 2;
      int group = pairs / pairsKv;
      Tensor[] queries = new Tensor[2];
      Tensor[] keys = new Tensor[2];
      Tensor values = floats(q.size(0), pairs, k.size(2), dimV(k, v));
      for (int m = 0; m < 2; m++) {
        queries[m] = floats(q.size(0), pairs, q.size(2), q.size(3));
        keys[m] = floats(q.size(0), pairs, k.size(2), k.size(3));
        for (int h = 0; h < pairs; h++) {
          int keyHead =
              keyMap == KeyMap.HEADS && pairing == Pairing.INTERLEAVED
                  ? (2 * h + m) / group
                  : head(pairing, h / group, m, pairsKv);
          queries[m].select(1, h).copyFrom(q.select(1, head(pairing, h, m, pairs)));
          keys[m].select(1, h).copyFrom(k.select(1, keyHead));
        }
      }
      for (int h = 0; h < pairs; h++) {
        if (v.size(1) == pairsKv) {
          values.select(1, h).copyFrom(v.select(1, h / group));
        } else {
          for (int m = 0; m < 2; m++) {
            Tensor half = values.select(1, h).slice(2, m * v.size(3), v.size(3));
            half.copyFrom(v.select(1, head(pairing, h / group, m, pairsKv)));
          }
        }
      }
      double scale = 1 / Math.sqrt(q.size(3));
      for (int precision = 0; precision < 2; precision++) {
        Result[] maps = new Result[2];
        for (int m = 0; m < 2; m++) {
          maps[m] =
              precision == 0
                  ? ReferenceAttention.attention(queries[m], keys[m], values, scale, bias, keep)
                  : ReferenceAttention.inFloat(queries[m], keys[m], values, scale, bias, keep);
        }
        int lenQ = (int) q.size(2);
        out[precision] = difference(maps[0].out(), maps[1].out(), lambda, batch, pairs, lenQ);
        weights[precision] =
            difference(maps[0].weights(), maps[1].weights(), lambda, batch, pairs, lenQ);
        lse[precision] = new double[2 * maps[0].lse().length];
        for (int row = 0; row < maps[0].lse().length; row++) {
          for (int m = 0; m < 2; m++) {
            int at = (row / lenQ * 2 + m) * lenQ + row % lenQ;
            lse[precision][at] = maps[m].lse()[row];
          }
        }
      }
    }

    private double[] difference(
        double[] a, double[] b, Lambda lambda, int batch, int pairs, int lenQ) {
      double[] difference = new double[a.length];
      int width = a.length / (batch * pairs * lenQ);
      for (int at = 0; at < a.length; at++) {
        int row = at / width;
        double l = lambda.at(row / lenQ / pairs, row / lenQ % pairs, row % lenQ);
        difference[at] = a[at] - l * b[at];
      }
      return difference;
    }

    void require(String what, Tensor gotOut, Tensor gotWeights, Tensor gotLse) {
      requireNear(what + " out", out[0], out[1], 5e-6, gotOut);
      requireNear(what + " weights", weights[0], weights[1], 2e-6, gotWeights);
      requireNear(what + " logsumexp", lse[0], lse[1], 2e-6, gotLse);
    }
  }

  private static int head(Pairing pairing, int pair, int map, int pairs) {
    return pairing == Pairing.INTERLEAVED ? 2 * pair + map : pair + map * pairs;
  }

  private static long dimV(Tensor k, Tensor v) {
    return v.size(1) == k.size(1) ? 2 * v.size(3) : v.size(3);
  }

  @Test
  void shouldMatchReferenceInEveryPairingOfHeadsKeysAndValues() {
    for (Pairing pairing : Pairing.values()) {
      for (KeyMap keyMap : List.of(KeyMap.PAIRS, KeyMap.HEADS)) {
        for (int pairsKv : new int[] {1, 2, 4}) {
          for (boolean wide : new boolean[] {true, false}) {
            for (int lenQ : new int[] {1, 5, 50}) {
              Tensor q = random(arena, random, 2, 8, lenQ, 20);
              Tensor k = random(arena, random, 2, 2 * pairsKv, 37, 20);
              Tensor v =
                  wide
                      ? random(arena, random, 2, pairsKv, 37, 40)
                      : random(arena, random, 2, 2 * pairsKv, 37, 20);
              Mask mask = Mask.causal(Alignment.BOTTOM_RIGHT);
              Entry bias = (b, h, i, j) -> j <= i + 37 - lenQ ? 0 : HIDDEN;
              Expected expected =
                  new Expected(pairing, keyMap, q, k, v, (b, h, i) -> 0.35f, bias, KEEP_ALL);
              Differential attention =
                  Differential.builder().pairing(pairing).keyMap(keyMap).mask(mask).build();
              String what = pairing + ", " + keyMap + ", " + pairsKv + ", wide=" + wide;
              Tensor out = floats(2, 4, lenQ, 40);
              Tensor weights = floats(2, 4, lenQ, 37);
              Tensor lse = floats(2, 4, 2, lenQ);
              onEveryTier(
                  () -> {
                    Extras extras = Extras.none().weights(weights).logsumexp(lse);
                    attention.forward(q, k, v, 0.35f, out, extras);
                    expected.require(what, out, weights, lse);
                    out.fill(Float.NaN);
                    attention.forward(q, k, v, 0.35f, out);
                    expected.require(what, out, weights, lse);
                  });
            }
          }
        }
      }
    }
  }

  @Test
  void shouldTakeLambdaOfEveryShape() {
    Tensor q = random(arena, random, 2, 6, 9, 16);
    Tensor k = random(arena, random, 2, 6, 9, 16);
    Tensor v = random(arena, random, 2, 3, 9, 32);
    long[][] shapes = {{}, {1}, {3}, {2, 3, 9}, {1, 3, 1}, {2, 1, 1}, {1, 1, 9}, {1, 1, 1}};
    for (long[] shape : shapes) {
      Tensor lambda = random(arena, random, shape);
      Lambda at =
          (b, h, i) ->
              switch (shape.length) {
                case 0 -> lambda.getFloat();
                case 1 -> lambda.getFloat(shape[0] == 1 ? 0 : h);
                default ->
                    lambda.getFloat(
                        shape[0] == 1 ? 0 : b, shape[1] == 1 ? 0 : h, shape[2] == 1 ? 0 : i);
              };
      Expected expected =
          new Expected(Pairing.INTERLEAVED, KeyMap.PAIRS, q, k, v, at, NO_BIAS, KEEP_ALL);
      Tensor out = floats(2, 3, 9, 32);
      Tensor weights = floats(2, 3, 9, 9);
      Tensor lse = floats(2, 3, 2, 9);
      onEveryTier(
          () -> {
            Extras extras = Extras.none().weights(weights).logsumexp(lse);
            Differential.builder().build().forward(q, k, v, lambda, out, extras);
            expected.require("lambda " + lambda, out, weights, lse);
          });
    }
  }

  @Test
  void shouldApplyMasksAndDropoutToBothMaps() {
    Tensor q = random(arena, random, 2, 4, 19, 16);
    Tensor k = random(arena, random, 2, 4, 23, 16);
    Tensor v = random(arena, random, 2, 2, 23, 24);
    Tensor allow = randomBooleans(arena, random, 0.8, 2, 1, 19, 23);
    Tensor add = random(arena, random, 2, 19, 23);
    Tensor keep = randomBooleans(arena, random, 0.5, 2, 2, 19, 23);
    Entry bias =
        (b, h, i, j) -> allow.getBoolean(b, 0, i, j) && j < 20 - b ? add.getFloat(h, i, j) : HIDDEN;
    Entry factor = (b, h, i, j) -> keep.getBoolean(b, h, i, j) ? 2 : 0;
    Expected expected =
        new Expected(Pairing.INTERLEAVED, KeyMap.PAIRS, q, k, v, (b, h, i) -> 0.5, bias, factor);
    Mask mask = Mask.allow(allow).and(Mask.bias(add)).and(Mask.keyLengths(20, 19));
    Tensor out = floats(2, 2, 19, 24);
    Tensor weights = floats(2, 2, 19, 23);
    Tensor lse = floats(2, 2, 2, 19);
    onEveryTier(
        () -> {
          Extras extras = Extras.none().weights(weights).logsumexp(lse).keep(keep, 0.5);
          Differential.builder().mask(mask).build().forward(q, k, v, 0.5f, out, extras);
          expected.require("masks and dropout", out, weights, lse);
        });
  }

  @Test
  void shouldGiveZeroToQueriesThatSeeNothing() {
    Tensor q = random(arena, random, 1, 4, 6, 8);
    Tensor k = random(arena, random, 1, 4, 2, 8);
    Tensor v = random(arena, random, 1, 2, 2, 16);
    Tensor out = floats(1, 2, 6, 16).fill(Float.NaN);
    Tensor lse = floats(1, 2, 2, 6);
    onEveryTier(
        () -> {
          Mask mask = Mask.causal(Alignment.BOTTOM_RIGHT);
          Extras extras = Extras.none().logsumexp(lse);
          Differential.builder().mask(mask).build().forward(q, k, v, 0.3f, out, extras);
          for (int i = 0; i < 4; i++) {
            assertEquals(0f, out.getFloat(0, 1, i, 3));
            assertEquals(Float.NEGATIVE_INFINITY, lse.getFloat(0, 1, 0, i));
            assertEquals(Float.NEGATIVE_INFINITY, lse.getFloat(0, 1, 1, i));
          }
          assertTrue(Float.isFinite(lse.getFloat(0, 1, 1, 4)));
        });
  }

  @Test
  void shouldGiveZeroToQueriesThatSeeNothingWhateverLambdaIs() {
    Mask mask = Mask.keyLengths(0, 7);
    for (long lenQ : new long[] {1, 50}) {
      Tensor q = random(arena, random, 2, 2, lenQ, 8);
      Tensor k = random(arena, random, 2, 2, 7, 8);
      Tensor v = random(arena, random, 2, 1, 7, 16);
      Tensor out = floats(2, 1, lenQ, 16);
      onEveryTier(
          () -> {
            for (float lambda : new float[] {Float.NaN, Float.POSITIVE_INFINITY}) {
              Differential.builder().mask(mask).build().forward(q, k, v, lambda, out.fill(7));
              assertEquals(0f, out.getFloat(0, 0, lenQ - 1, 15));
              assertFalse(Float.isFinite(out.getFloat(1, 0, lenQ - 1, 15)));
            }
          });
    }
  }

  @Test
  void shouldGiveTheSameBitsForEveryNumberOfThreads() {
    for (long[] length : new long[][] {{400, 400}, {1, 3000}}) {
      Tensor q = random(arena, random, 1, 16, length[0], 32);
      Tensor k = random(arena, random, 1, 8, length[1], 32);
      Tensor v = random(arena, random, 1, 8, length[1], 32);
      onEveryTier(
          () -> {
            float[] alone = null;
            for (int threads : new int[] {1, 2, 3, 7}) {
              Tensor out = floats(1, 8, length[0], 64);
              Differential attention =
                  Differential.builder()
                      .pairing(Pairing.HALVES)
                      .mask(Mask.causal(Alignment.BOTTOM_RIGHT))
                      .threads(threads)
                      .build();
              attention.forward(q, k, v, 0.4f, out);
              if (alone == null) {
                alone = out.toFloatArray();
              }
              assertArrayEquals(alone, out.toFloatArray(), threads + " threads");
            }
          });
    }
  }

  @Test
  void shouldReadACacheLikeItsKeysAndValues() {
    Tensor q = random(arena, random, 2, 4, 3, 8);
    Tensor k = random(arena, random, 2, 4, 9, 8);
    Tensor v = random(arena, random, 2, 2, 9, 16);
    KvCache cache = KvCache.allocate(arena, 2, 4, 8, 2, 16, 12);
    cache.append(k, v, new int[] {9, 5});
    Tensor out = floats(2, 2, 3, 16);
    Differential.builder().build().forward(q, cache, 0.3f, out);
    Tensor expected = floats(2, 2, 3, 16);
    Mask mask = Mask.causal(Alignment.BOTTOM_RIGHT).and(Mask.keyLengths(9, 5));
    Differential.builder().mask(mask).build().forward(q, k, v, 0.3f, expected);
    assertArrayEquals(expected.toFloatArray(), out.toFloatArray());
  }

  /** Repeats each head, so that it becomes a pair. */
  private Tensor twice(Tensor heads) {
    Tensor twice = floats(heads.size(0), 2 * heads.size(1), heads.size(2), heads.size(3));
    for (long h = 0; h < twice.size(1); h++) {
      twice.select(1, h).copyFrom(heads.select(1, h / 2));
    }
    return twice;
  }

  @Test
  void shouldSubtractAsVersion2Does() {
    for (int headsKv : new int[] {1, 2, 4}) {
      for (int lenQ : new int[] {1, 5, 50}) {
        Tensor q = random(arena, random, 2, 8, lenQ, 20);
        Tensor k = random(arena, random, 2, headsKv, 61, 20);
        Tensor v = random(arena, random, 2, headsKv, 61, 24);
        Tensor logits = random(arena, random, 2, lenQ, 4);
        Lambda lambda = (b, h, i) -> 1 / (1 + Math.exp(-logits.getFloat(b, i, h)));
        Entry bias = (b, h, i, j) -> j <= i + 61 - lenQ && j >= i + 21 - lenQ ? 0 : HIDDEN;
        Expected expected =
            new Expected(Pairing.INTERLEAVED, KeyMap.PAIRS, q, twice(k), v, lambda, bias, KEEP_ALL);
        Differential attention =
            Differential.builder()
                .keyMap(KeyMap.SHARED)
                .lambdaForm(Differential.LambdaForm.SIGMOID)
                .mask(Mask.window(40, 0, Alignment.BOTTOM_RIGHT))
                .build();
        KvCache cache = KvCache.allocate(arena, 2, headsKv, 20, headsKv, 24, 80);
        cache.append(k, v);
        String what = headsKv + " key heads, " + lenQ + " queries";
        Tensor out = floats(2, 4, lenQ, 24);
        Tensor weights = floats(2, 4, lenQ, 61);
        Tensor lse = floats(2, 4, 2, lenQ);
        onEveryTier(
            () -> {
              Extras extras = Extras.none().weights(weights).logsumexp(lse);
              attention.forward(q, k, v, logits.transpose(1, 2), out, extras);
              expected.require(what, out, weights, lse);
              out.fill(Float.NaN);
              attention.forward(q, cache, logits.transpose(1, 2), out);
              expected.require(what + ", cache", out, weights, lse);
            });
      }
    }
  }

  @Test
  void shouldApplyScoreOptionsToBothMaps() {
    float[] slopes = {0.5f, 0.1f};
    float[] sinks = {1, -2, Float.NEGATIVE_INFINITY, 3};
    for (int lenQ : new int[] {1, 40}) {
      Tensor q = random(arena, random, 1, 4, lenQ, 16);
      Tensor k = random(arena, random, 1, 4, 40, 16);
      Tensor v = random(arena, random, 1, 2, 40, 24);
      Differential attention =
          Differential.builder()
              .softCap(2)
              .alibi(Alignment.BOTTOM_RIGHT, slopes)
              .sinks(sinks)
              .build();
      Entry bias = (b, h, i, j) -> -slopes[h] * Math.abs(i + 40 - lenQ - j);
      Tensor out = floats(1, 2, lenQ, 24);
      Tensor scores = floats(1, 2, 2, lenQ, 40);
      onEveryTier(
          () -> {
            attention.forward(q, k, v, 0.25f, out);
            Tensor again = floats(1, 2, lenQ, 24);
            Extras extras = Extras.none().scores(ScoreStage.LOGITS, scores);
            attention.forward(q, k, v, 0.25f, again, extras);
            for (int h = 0; h < 2; h++) {
              Result[] maps = new Result[2];
              for (int m = 0; m < 2; m++) {
                float[] sink = {sinks[2 * h + m]};
                int head = h;
                maps[m] =
                    ReferenceAttention.compute(
                        q.slice(1, 2 * h + m, 1),
                        k.slice(1, 2 * h + m, 1),
                        v.slice(1, h, 1),
                        0.25,
                        2,
                        sink,
                        (b, x, i, j) -> bias.at(b, head, i, j),
                        KEEP_ALL,
                        false);
              }
              for (int i = 0; i < lenQ; i++) {
                for (int d = 0; d < 24; d++) {
                  int at = i * 24 + d;
                  double wanted = maps[0].out()[at] - 0.25 * maps[1].out()[at];
                  assertEquals(wanted, out.getFloat(0, h, i, d), 3e-6);
                  assertEquals(wanted, again.getFloat(0, h, i, d), 3e-6);
                }
                for (int j = 0; j < 40; j++) {
                  double logit = Math.log(maps[1].weights()[i * 40 + j]) + maps[1].lse()[i];
                  assertEquals(logit, scores.getFloat(0, h, 1, i, j), 1e-5);
                }
              }
            }
          });
    }
  }

  @Test
  void shouldRefuseSharedKeysThatDoNotFit() {
    Differential attention = Differential.builder().keyMap(KeyMap.SHARED).build();
    Tensor q = floats(1, 8, 3, 8);
    Tensor out = floats(1, 4, 3, 16);
    refuse(
        "q.pairs must be a multiple of k.heads: q.pairs=4, k.heads=3",
        () -> attention.forward(q, floats(1, 3, 3, 8), floats(1, 3, 3, 16), 0.1f, out));
    refuse(
        "v.heads must equal k.heads: v.heads=4, k.heads=2",
        () -> attention.forward(q, floats(1, 2, 3, 8), floats(1, 4, 3, 16), 0.1f, out));
    refuse(
        "sinks.length must equal 2 * pairs: sinks.length=4, 2 * pairs=8",
        () ->
            Differential.builder()
                .sinks(1, 2, 3, 4)
                .build()
                .forward(q, q, out, 0.1f, floats(1, 4, 3, 16)));
  }

  @Test
  void shouldRefuseHeadsThatMakeNoPairs() {
    Differential attention = Differential.builder().build();
    Tensor q = floats(1, 8, 3, 8);
    Tensor out = floats(1, 4, 3, 16);
    Tensor wide = floats(1, 4, 3, 16);
    refuse(
        "q.heads must be a multiple of the heads of a pair: q.heads=7, the heads of a pair=2",
        () -> attention.forward(floats(1, 7, 3, 8), q, wide, 0.1f, out));
    refuse(
        "q.pairs must be a multiple of k.pairs: q.pairs=4, k.pairs=3",
        () -> attention.forward(q, floats(1, 6, 3, 8), wide, 0.1f, out));
    refuse(
        "out.heads must equal q.pairs: out.heads=8, q.pairs=4",
        () -> attention.forward(q, q, wide, 0.1f, floats(1, 8, 3, 16)));
    refuse(
        "v.heads must equal k.heads (narrow values) or half of it (wide values): "
            + "v.heads=2, k.heads=8",
        () -> attention.forward(q, q, floats(1, 2, 3, 16), 0.1f, out));
    refuse(
        "out.dim must equal dimV: out.dim=8, dimV=16",
        () -> attention.forward(q, q, wide, 0.1f, floats(1, 4, 3, 8)));
    refuse(
        "q.rank must be 4: q.rank=3, F32[8, 3, 8]",
        () -> attention.forward(floats(8, 3, 8), q, wide, 0.1f, out));
    refuse(
        "lambda.shape must be [1], [pairs] or broadcast to [batch, pairs, lenQ] = [1, 4, 3]: "
            + "lambda.shape=[3]",
        () -> attention.forward(q, q, wide, floats(3), out));
    refuse(
        "logsumexp.shape must be [batch, pairs, 2, lenQ] = [1, 4, 2, 3]: "
            + "logsumexp.shape=[1, 4, 3]",
        () -> attention.forward(q, q, wide, 0.1f, out, Extras.none().logsumexp(floats(1, 4, 3))));
  }

  @Test
  void shouldComputeLambdaFromItsVectors() {
    assertEquals(0.2f, Differential.lambdaInit(0));
    assertEquals((float) (0.8 - 0.6 * Math.exp(-1.5)), Differential.lambdaInit(5));
    Tensor ones = floats(4).fill(1);
    Tensor halves = floats(4).fill(0.5f);
    float lambda = Differential.lambda(halves, ones, halves, halves, 2);
    double exact = Math.exp(2) - Math.exp(1) + 0.8 - 0.6 * Math.exp(-0.6);
    assertEquals(exact, lambda, 1e-6);
    refuse(
        "depth must lie in [0, 2147483647]: depth=-1",
        () -> Differential.lambda(ones, ones, ones, ones, -1));
    refuse(
        "lambdaK1.dim must equal lambdaQ1.dim: lambdaK1.dim=3, lambdaQ1.dim=4",
        () -> Differential.lambda(ones, floats(3), ones, ones, 0));
  }

  private static void refuse(String message, Executable call) {
    assertEquals(message, assertThrows(IllegalArgumentException.class, call).getMessage());
  }
}
