package io.github.attention4j;

import static org.junit.jupiter.api.Assertions.assertArrayEquals;
import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertTrue;

import io.github.attention4j.reference.ReferenceAttention;
import io.github.attention4j.reference.ReferenceAttention.Entry;
import io.github.attention4j.testing.Checked;
import io.github.attention4j.testing.Checked.Expected;
import java.lang.foreign.Arena;
import java.util.Arrays;
import java.util.Random;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.BeforeEach;
import org.junit.jupiter.api.Test;

/** Each part of a mask, alone and combined, against the textbook in double. */
class StructureTest {
  private static final double HIDDEN = Double.NEGATIVE_INFINITY;

  private final Random random = new Random(11);
  private Arena arena;

  @BeforeEach
  void open() {
    arena = Arena.ofConfined();
  }

  @AfterEach
  void close() {
    arena.close();
  }

  /** Whether query i of batch b and head h sees key j. */
  @FunctionalInterface
  private interface Sees {
    boolean at(int b, int h, int i, int j);

    default Sees and(Sees other) {
      return (b, h, i, j) -> at(b, h, i, j) && other.at(b, h, i, j);
    }

    default Entry bias() {
      return (b, h, i, j) -> at(b, h, i, j) ? 0 : HIDDEN;
    }
  }

  private Tensor floats(long... shape) {
    return Tensor.allocate(arena, DType.F32, shape);
  }

  private Tensor ints(int[] values, long... shape) {
    Tensor tensor = Tensor.allocate(arena, DType.I32, shape);
    Tensor flat = tensor.reshape(values.length);
    for (int i = 0; i < values.length; i++) {
      flat.setInt(values[i], i);
    }
    return tensor;
  }

  private void check(String what, Mask mask, Sees sees, int batch, int lenQ, int lenK) {
    check(what, Attention.builder().mask(mask), 0, null, sees.bias(), batch, lenQ, lenK);
  }

  private void check(
      String what,
      Attention.Builder builder,
      double softCap,
      float[] sinks,
      Entry bias,
      int batch,
      int lenQ,
      int lenK) {
    Tensor q = Checked.random(arena, random, batch, 4, lenQ, 12);
    Tensor k = Checked.random(arena, random, batch, 2, lenK, 12);
    Tensor v = Checked.random(arena, random, batch, 2, lenK, 9);
    Expected expected = Expected.of(q, k, v, softCap, sinks, bias, ReferenceAttention.KEEP_ALL);
    Checked.onEveryTier(
        () -> {
          Tensor out = floats(batch, 4, lenQ, 9);
          Tensor lse = floats(batch, 4, lenQ);
          Tensor weights = floats(batch, 4, lenQ, lenK);
          Attention attention = builder.build();
          attention.forward(q, k, v, out, Extras.none().logsumexp(lse));
          expected.requireOut(what, out);
          expected.requireLogsumexp(what, lse);
          attention.forward(q, k, v, out, Extras.none().logsumexp(lse).weights(weights));
          expected.requireOut(what + " beside weights", out);
          expected.requireWeights(what, weights);
        });
  }

  // ---- Parts alone ----

  private static Sees window(int left, int right, int... offsets) {
    return (b, h, i, j) -> {
      int p = i + offsets[b];
      return (left < 0 || j >= p - left) && (right < 0 || j <= p + right);
    };
  }

  @Test
  void shouldPlaceEachBatchByItsOffset() {
    check("causal", Mask.causal(3, -2), window(-1, 0, 3, -2), 2, 9, 14);
    check("causal, long", Mask.causal(150, 20), window(-1, 0, 150, 20), 2, 70, 220);
  }

  @Test
  void shouldSeeBothSidesOfAWindow() {
    check("top left", Mask.window(2, 1, Alignment.TOP_LEFT), window(2, 1, 0), 1, 7, 7);
    check("bottom right", Mask.window(2, 0, Alignment.BOTTOM_RIGHT), window(2, 0, 6), 1, 4, 10);
    check("empty rows", Mask.window(1, 0, Alignment.BOTTOM_RIGHT), window(1, 0, -5), 1, 9, 4);
    check("right only", Mask.window(-1, 3, Alignment.TOP_LEFT), window(-1, 3, 0), 1, 40, 60);
    check("left only", Mask.window(5, -1, 7, 0), window(5, -1, 7, 0), 2, 60, 80);
    check("long", Mask.window(33, 17, 5, 100), window(33, 17, 5, 100), 2, 130, 260);
  }

  private static Sees chunks(int size, int... offsets) {
    return (b, h, i, j) -> Math.floorDiv(j, size) == Math.floorDiv(i + offsets[b], size);
  }

  @Test
  void shouldKeepToItsChunk() {
    Mask chunks = Mask.chunks(16, Alignment.TOP_LEFT);
    check("chunks", chunks, chunks(16, 0, 0), 2, 50, 50);
    check("offsets", Mask.chunks(10, -5, 44), chunks(10, -5, 44), 2, 30, 80);
    Mask causal = chunks.and(Mask.causal(Alignment.TOP_LEFT));
    check("causal chunks", causal, chunks(16, 0).and(window(-1, 0, 0)), 1, 90, 90);
  }

  @Test
  void shouldHideKeysBehindEachQuerysLength() {
    int[] lengths = new int[2 * 21];
    Arrays.setAll(lengths, n -> n * 7 % 34);
    Mask mask = Mask.keyLengths(ints(lengths, 2, 21));
    Sees sees = (b, h, i, j) -> j < lengths[b * 21 + i];
    check("rows", mask, sees, 2, 21, 33);
    // Lengths of batches move the end of BOTTOM_RIGHT; lengths of queries do not.
    check(
        "rows, causal to the end",
        mask.and(Mask.causal(Alignment.BOTTOM_RIGHT)),
        sees.and(window(-1, 0, 12, 12)),
        2,
        21,
        33);
    check(
        "rows and batches",
        mask.and(Mask.keyLengths(30, 5)).and(Mask.causal(Alignment.BOTTOM_RIGHT)),
        sees.and((b, h, i, j) -> j < (b == 0 ? 30 : 5)).and(window(-1, 0, 9, -16)),
        2,
        21,
        33);
  }

  @Test
  void shouldTakeTheShorterOfGivenAndReadLengths() {
    Mask both = Mask.keyLengths(20, 7).and(Mask.keyLengths(ints(new int[] {12, 19}, 2)));
    check("shorter", both, (b, h, i, j) -> j < (b == 0 ? 12 : 7), 2, 5, 25);
  }

  @Test
  void shouldHidePaddingWhereverItStands() {
    int[] tokens = new int[3 * 40];
    Arrays.setAll(tokens, n -> random.nextInt(4));
    Tensor tensor = ints(tokens, 3, 40);
    check("pad", Mask.padding(tensor, 2), (b, h, i, j) -> tokens[b * 40 + j] != 2, 3, 6, 40);
    tensor.setInt(7, 1, 0);
    tokens[40] = 7;
    check("read again", Mask.padding(tensor, 7), (b, h, i, j) -> b != 1 || j != 0, 3, 60, 40);
    Tensor shared = tensor.slice(0, 1, 1).expand(0, 2);
    check("shared", Mask.padding(shared, 7), (b, h, i, j) -> j != 0, 2, 6, 40);
  }

  @Test
  void shouldHideKeysBeyondAPaddedMask() {
    Tensor allow = Checked.randomBooleans(arena, random, 0.7, 9, 20);
    Sees sees = (b, h, i, j) -> j < 20 && allow.getBoolean(i, j);
    check("allow", Mask.allow(allow).paddedWithHidden(), sees, 2, 9, 33);
    Tensor bias = Checked.random(arena, random, 2, 1, 9, 18);
    check(
        "bias",
        Attention.builder().mask(Mask.bias(bias).and(Mask.allow(allow)).paddedWithHidden()),
        0,
        null,
        (b, h, i, j) -> j < 18 && sees.at(b, h, i, j) ? bias.getFloat(b, 0, i, j) : HIDDEN,
        2,
        9,
        33);
    Tensor one = Checked.randomBooleans(arena, random, 0.5, 9, 1);
    check("one", Mask.allow(one), (b, h, i, j) -> one.getBoolean(i, 0), 2, 9, 33);
  }

  private static Sees ranges(KeyRanges ranges) {
    return (b, h, i, j) -> {
      int block = i / ranges.rowsPerBlock();
      int list =
          ((ranges.batches() == 1 ? 0 : b) * ranges.heads() + (ranges.heads() == 1 ? 0 : h))
                  * ranges.blocks()
              + block;
      for (int r = ranges.starts()[list]; r < ranges.starts()[list + 1]; r++) {
        if (j >= ranges.bounds()[2 * r] && j < ranges.bounds()[2 * r + 1]) {
          return true;
        }
      }
      return false;
    };
  }

  private KeyRanges randomBlocks(int rows, int lenQ, int keys, int lenK) {
    boolean[][] seen = new boolean[Math.ceilDiv(lenQ, rows)][Math.ceilDiv(lenK, keys)];
    for (boolean[] row : seen) {
      for (int y = 0; y < row.length; y++) {
        row[y] = random.nextInt(3) == 0;
      }
    }
    return KeyRanges.ofBlocks(rows, keys, lenK, seen);
  }

  @Test
  void shouldKeepToTheRangesOfABlock() {
    KeyRanges blocks = randomBlocks(16, 100, 8, 150);
    check("blocks", Mask.keyRanges(blocks), ranges(blocks), 2, 100, 150);
    KeyRanges odd = randomBlocks(5, 33, 3, 61);
    Mask causal = Mask.keyRanges(odd).and(Mask.causal(Alignment.BOTTOM_RIGHT));
    check("causal", causal, ranges(odd).and(window(-1, 0, 28)), 1, 33, 61);
    KeyRanges[] heads = new KeyRanges[4];
    Arrays.setAll(heads, h -> randomBlocks(7, 60, 6, 90));
    KeyRanges perHead = KeyRanges.perHead(heads);
    check("heads", Mask.keyRanges(perHead), ranges(perHead), 2, 60, 90);
    KeyRanges perBatch =
        KeyRanges.perBatch(randomBlocks(60, 60, 6, 90), randomBlocks(60, 60, 6, 90));
    check("batches", Mask.keyRanges(perBatch), ranges(perBatch), 2, 60, 90);
  }

  @Test
  void shouldVerifyATreeOfDraftedTokens() {
    int[] parents = {-1, 0, 0, 1, 2, 2, -1, 6};
    KeyRanges tree = KeyRanges.tree(70, parents);
    Sees sees =
        (b, h, i, j) -> {
          for (int a = i; a >= 0; a = parents[a]) {
            if (j == 70 + a) {
              return true;
            }
          }
          return j < 70;
        };
    check("tree", Mask.keyRanges(tree), sees, 1, 8, 78);
    Mask causal = Mask.keyRanges(tree).and(Mask.causal(Alignment.BOTTOM_RIGHT));
    check("causal tree", causal, sees, 1, 8, 78);
  }

  // ---- Scores ----

  private static final float[] SLOPES = {0.5f, 0.25f, 0.125f, 0};

  @Test
  void shouldGiveThePapersSlopes() {
    float[] four = {0.25f, 0.0625f, 0.015625f, 0.00390625f};
    assertArrayEquals(four, Alibi.slopes(4));
    float[] six = Alibi.slopes(6);
    assertArrayEquals(four, Arrays.copyOf(six, 4));
    assertEquals(0.5f, six[4]);
    assertEquals(0.125f, six[5]);
  }

  @Test
  void shouldPunishDistance() {
    check(
        "alibi",
        Attention.builder().alibi(Alignment.BOTTOM_RIGHT, SLOPES),
        0,
        null,
        (b, h, i, j) -> -SLOPES[h] * Math.abs(i + 13 - j),
        1,
        20,
        33);
    Sees causal = window(-1, 0, 4, 30);
    check(
        "alibi, offsets",
        Attention.builder().alibi(new int[] {4, 30}, SLOPES).mask(Mask.causal(4, 30)),
        0,
        null,
        (b, h, i, j) ->
            causal.at(b, h, i, j) ? -SLOPES[h] * Math.abs(i + (b == 0 ? 4 : 30) - j) : HIDDEN,
        2,
        60,
        90);
  }

  @Test
  void shouldBoundLogitsSoftly() {
    for (double cap : new double[] {0.5, 5, 50}) {
      Attention.Builder builder = Attention.builder().softCap(cap);
      check("cap " + cap, builder, cap, null, ReferenceAttention.NO_BIAS, 2, 5, 77);
      check("cap " + cap, builder, cap, null, ReferenceAttention.NO_BIAS, 1, 77, 77);
    }
  }

  @Test
  void shouldLetQueriesAttendToNothing() {
    float[] sinks = {1.5f, -40, Float.NEGATIVE_INFINITY, 30};
    Attention.Builder builder = Attention.builder().sinks(sinks);
    check("sinks", builder, 0, sinks, ReferenceAttention.NO_BIAS, 2, 5, 77);
    check("sinks", builder, 0, sinks, ReferenceAttention.NO_BIAS, 1, 77, 77);
    builder.mask(Mask.window(1, 0, Alignment.BOTTOM_RIGHT));
    check("sinks of empty rows", builder, 0, sinks, window(1, 0, -5).bias(), 1, 9, 4);
  }

  // ---- Parts together ----

  @Test
  void shouldIntersectAnyParts() {
    for (int round = 0; round < 60; round++) {
      int seed = random.nextInt();
      Random draw = new Random(seed);
      int lenQ = 1 + draw.nextInt(draw.nextBoolean() ? 6 : 90);
      int lenK = 1 + draw.nextInt(draw.nextBoolean() ? 20 : 200);
      int[] offsets = {draw.nextInt(40) - 20, lenK - lenQ};
      Mask mask = Mask.none();
      Sees sees = (b, h, i, j) -> true;
      if (draw.nextBoolean()) {
        int left = draw.nextInt(30) - 1;
        int right = draw.nextInt(30) - 1;
        mask = mask.and(Mask.window(left, right, offsets));
        sees = sees.and(window(left, right, offsets));
      }
      if (draw.nextBoolean()) {
        mask = mask.and(Mask.causal(offsets));
        sees = sees.and(window(-1, 0, offsets));
      }
      if (draw.nextBoolean()) {
        int size = 1 + draw.nextInt(40);
        mask = mask.and(Mask.chunks(size, offsets));
        sees = sees.and(chunks(size, offsets));
      }
      if (draw.nextBoolean()) {
        int[] lengths = {draw.nextInt(lenK + 1), draw.nextInt(lenK + 1)};
        mask = mask.and(Mask.keyLengths(lengths));
        sees = sees.and((b, h, i, j) -> j < lengths[b]);
      }
      if (draw.nextBoolean()) {
        KeyRanges blocks = randomBlocks(1 + draw.nextInt(20), lenQ, 1 + draw.nextInt(20), lenK);
        mask = mask.and(Mask.keyRanges(blocks));
        sees = sees.and(ranges(blocks));
      }
      if (draw.nextBoolean()) {
        Tensor allow = Checked.randomBooleans(arena, draw, 0.8, lenQ, lenK);
        mask = mask.and(Mask.allow(allow));
        sees = sees.and((b, h, i, j) -> allow.getBoolean(i, j));
      }
      if (draw.nextBoolean()) {
        Tensor tokens = ints(draw.ints(2L * lenK, 0, 5).toArray(), 2, lenK);
        mask = mask.and(Mask.padding(tokens, 0));
        sees = sees.and((b, h, i, j) -> tokens.getInt(b, j) != 0);
      }
      Attention.Builder builder = Attention.builder().mask(mask);
      double cap = draw.nextBoolean() ? 0 : 1 + draw.nextInt(20);
      if (cap != 0) {
        builder.softCap(cap);
      }
      float[] sinks = draw.nextBoolean() ? null : new float[] {0.5f, -1, 2, 0};
      if (sinks != null) {
        builder.sinks(sinks);
      }
      Sees all = sees;
      boolean alibi = draw.nextBoolean();
      if (alibi) {
        builder.alibi(offsets, SLOPES);
      }
      Entry bias =
          (b, h, i, j) ->
              !all.at(b, h, i, j) ? HIDDEN : alibi ? -SLOPES[h] * Math.abs(i + offsets[b] - j) : 0;
      check("seed " + seed, builder, cap, sinks, bias, 2, lenQ, lenK);
    }
  }

  @Test
  void shouldNotLetWhatIsHiddenTouchTheResult() {
    Mask mask =
        Mask.window(20, 0, Alignment.TOP_LEFT)
            .and(Mask.chunks(32, Alignment.TOP_LEFT))
            .and(Mask.keyLengths(90));
    Tensor q = Checked.random(arena, random, 1, 2, 100, 8);
    Tensor k = Checked.random(arena, random, 1, 2, 100, 8);
    Tensor v = Checked.random(arena, random, 1, 2, 100, 8);
    k.slice(2, 90, 10).fill(Float.NaN);
    v.slice(2, 90, 10).fill(Float.POSITIVE_INFINITY);
    v.slice(2, 40, 1).fill(Float.NaN);
    Checked.onEveryTier(
        () -> {
          Tensor out = floats(1, 2, 100, 8);
          Attention.builder().mask(mask).build().forward(q, k, v, out);
          for (int i = 0; i < 100; i++) {
            boolean touched = i >= 40 && i <= 60 && i < 64;
            assertEquals(touched, Float.isNaN(out.getFloat(0, 1, i, 3)), "row " + i);
          }
        });
  }

  @Test
  void shouldShowScoresAtEachStage() {
    for (int lenQ : new int[] {1, 6, 70}) {
      int lenK = 75;
      Tensor q = Checked.random(arena, random, 2, 4, lenQ, 12);
      Tensor k = Checked.random(arena, random, 2, 2, lenK, 12);
      Tensor bias = Checked.random(arena, random, lenQ, lenK);
      Attention attention =
          Attention.builder()
              .scale(0.3)
              .softCap(2)
              .mask(Mask.bias(bias).and(Mask.causal(Alignment.BOTTOM_RIGHT)))
              .build();
      Tensor out = floats(2, 4, lenQ, 12);
      Tensor plain = floats(2, 4, lenQ, 12);
      Tensor scores = floats(2, 4, lenQ, lenK);
      Checked.onEveryTier(
          () -> {
            attention.forward(q, k, k, plain);
            for (ScoreStage stage : ScoreStage.values()) {
              attention.forward(q, k, k, out, Extras.none().scores(stage, scores));
              assertArrayEquals(plain.toFloatArray(), out.toFloatArray(), 2e-6f);
              for (int n = 0; n < scores.count(); n++) {
                int j = n % lenK;
                int i = n / lenK % lenQ;
                int h = n / lenK / lenQ % 4;
                int b = n / lenK / lenQ / 4;
                double dot = 0;
                for (int d = 0; d < 12; d++) {
                  dot += (double) q.getFloat(b, h, i, d) * k.getFloat(b, h / 2, j, d);
                }
                double scaled = (double) 0.3f * dot;
                double capped = 2 * Math.tanh(scaled / 2);
                boolean seen = j <= i + lenK - lenQ;
                double wanted =
                    switch (stage) {
                      case SCALED -> scaled;
                      case CAPPED -> capped;
                      case LOGITS -> seen ? capped + bias.getFloat(i, j) : HIDDEN;
                    };
                float got = scores.getFloat(b, h, i, j);
                assertTrue(
                    got == wanted || Math.abs(got - wanted) <= 3e-6,
                    stage + ": " + got + " for " + wanted);
              }
            }
          });
    }
  }

  @Test
  void shouldBoundWhatACacheShows() {
    Tensor q = Checked.random(arena, random, 2, 4, 3, 8);
    Tensor k = Checked.random(arena, random, 2, 2, 50, 8);
    KvCache cache = KvCache.allocate(arena, 2, 2, 60, 8);
    cache.append(k, k, new int[] {50, 31});
    Mask mask =
        Mask.window(9, -1, Alignment.BOTTOM_RIGHT).and(Mask.chunks(16, Alignment.BOTTOM_RIGHT));
    Sees sees = window(9, 0, 47, 28).and(chunks(16, 47, 28));
    Sees all = sees.and((b, h, i, j) -> j < (b == 0 ? 50 : 31));
    Expected expected = Expected.of(q, k, k, all.bias());
    Checked.onEveryTier(
        () -> {
          Tensor out = floats(2, 4, 3, 8);
          Attention.builder().mask(mask).build().forward(q, cache, out);
          expected.requireOut("cache", out);
        });
  }

  @Test
  void shouldSkipWhatAWindowHides() {
    Tensor q = Checked.random(arena, random, 1, 1, 4096, 16);
    Tensor out = floats(1, 1, 4096, 16);
    Tensor work = Tensor.allocate(arena, DType.I64, 1);
    Checked.onEveryTier(
        () -> {
          Attention.builder().build().forward(q, q, q, out, Extras.none().work(work));
          assertTrue(work.getInt(0) >= 4096 * 4096, "all: " + work.getInt(0));
          Attention.builder()
              .mask(Mask.window(127, 0, Alignment.TOP_LEFT))
              .build()
              .forward(q, q, q, out, Extras.none().work(work));
          assertTrue(work.getInt(0) >= 4096 * 128 - 127 * 64, "window: " + work.getInt(0));
          assertTrue(work.getInt(0) <= 4096 * 512, "window: " + work.getInt(0));
        });
  }
}
