package io.github.attention4j.classics.d2l;

import static io.github.attention4j.classics.ReferenceD2l.additive;
import static io.github.attention4j.classics.ReferenceD2l.maskedSoftmax;
import static io.github.attention4j.classics.ReferenceD2l.matrix;
import static io.github.attention4j.classics.ReferenceD2l.weighted;
import static io.github.attention4j.testing.Checked.onEveryTier;
import static io.github.attention4j.testing.Checked.random;
import static org.junit.jupiter.api.Assertions.assertArrayEquals;
import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import io.github.attention4j.A4j;
import io.github.attention4j.DType;
import io.github.attention4j.Tensor;
import io.github.attention4j.layer.Linear;
import java.lang.foreign.Arena;
import java.util.Arrays;
import java.util.Random;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.BeforeEach;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.function.Executable;

class AdditiveAttentionTest {
  private final Random random = new Random(13);
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

  private static void refuse(String message, Executable call) {
    assertEquals(message, assertThrows(IllegalArgumentException.class, call).getMessage());
  }

  /** A layer and the weights that it is made of. */
  private final class Case {
    final Tensor wq;
    final Tensor wk;
    final Tensor wv;
    final AdditiveAttention layer;

    Case(int dimQ, int dimK, int hidden) {
      wq = random(arena, random, hidden, dimQ);
      wk = random(arena, random, hidden, dimK);
      wv = random(arena, random, hidden);
      layer = AdditiveAttention.of(Linear.of(wq), Linear.of(wk), wv);
    }

    void require(Tensor q, Tensor k, Tensor v, int[] each, Tensor out, Tensor weights) {
      int lenQ = (int) q.size(1);
      for (int b = 0; b < q.size(0); b++) {
        int[] lengths = Arrays.copyOfRange(each, b * lenQ, (b + 1) * lenQ);
        double[] last = new double[(int) wv.count()];
        Arrays.setAll(last, i -> wv.getFloat(i));
        double[][] exact =
            maskedSoftmax(
                lenQ,
                (int) k.size(1),
                additive(
                    matrix(q.select(0, b)), matrix(k.select(0, b)), matrix(wq), matrix(wk), last),
                lengths);
        requireRows(exact, weights.select(0, b));
        requireRows(weighted(exact, matrix(v.select(0, b))), out.select(0, b));
      }
    }
  }

  private static void requireRows(double[][] exact, Tensor got) {
    for (int i = 0; i < exact.length; i++) {
      for (int j = 0; j < exact[i].length; j++) {
        double error = 1e-5 * Math.max(1, Math.abs(exact[i][j]));
        assertEquals(exact[i][j], got.getFloat(i, j), error, "row " + i + ", column " + j);
      }
    }
  }

  @Test
  void shouldScoreByTheTangentOfTheSum() {
    for (int[] sizes :
        new int[][] {
          {1, 1, 1, 1, 1, 1}, {1, 10, 20, 2, 8, 4}, {5, 7, 9, 13, 17, 6}, {33, 70, 8, 8, 64, 9}
        }) {
      Case made = new Case(sizes[2], sizes[3], sizes[4]);
      assertEquals(sizes[4], made.layer.hidden());
      Tensor q = random(arena, random, 2, sizes[0], sizes[2]);
      Tensor k = random(arena, random, 2, sizes[1], sizes[3]);
      Tensor v = random(arena, random, 2, sizes[1], sizes[5]);
      Tensor out = floats(2, sizes[0], sizes[5]);
      Tensor weights = floats(2, sizes[0], sizes[1]);
      Tensor lens = Tensor.allocate(arena, DType.I32, 2, sizes[0]);
      int[] each = new int[2 * sizes[0]];
      for (int i = 0; i < each.length; i++) {
        each[i] = i % 3 == 2 ? 0 : random.nextInt(sizes[1] + 2);
        lens.setInt(each[i], i / sizes[0], i % sizes[0]);
      }
      int[] full = new int[each.length];
      Arrays.fill(full, sizes[1]);
      int[] byBatch = new int[each.length];
      Arrays.setAll(byBatch, i -> i < sizes[0] ? sizes[1] - 1 : sizes[1] + 3);
      onEveryTier(
          () -> {
            made.layer.forward(q, k, v, ValidLens.none(), out, weights);
            made.require(q, k, v, full, out, weights);
            ValidLens batches = ValidLens.of(sizes[1] - 1, sizes[1] + 3);
            made.layer.forward(q, k, v, batches, out, weights);
            made.require(q, k, v, byBatch, out, weights);
            made.layer.forward(q, k, v, ValidLens.of(lens), out, weights);
            made.require(q, k, v, each, out, weights);
            out.fill(Float.NaN);
            made.layer.forward(q, k, v, ValidLens.of(lens), out);
            made.require(q, k, v, each, out, weights);
            Tensor projected = floats(2, sizes[1], sizes[4]);
            made.layer.projectKeys(k, projected);
            Tensor again = floats(2, sizes[0], sizes[5]);
            made.layer.forwardProjected(q, projected, v, ValidLens.of(lens), again, null);
            assertArrayEquals(out.toFloatArray(), again.toFloatArray());
          });
    }
  }

  @Test
  void shouldNotLetPaddingLeakAndAverageWhereNoKeyIsValid() {
    Case made = new Case(6, 5, 12);
    Tensor q = random(arena, random, 2, 3, 6);
    Tensor k = random(arena, random, 2, 4, 5);
    Tensor v = random(arena, random, 2, 4, 2);
    Tensor clean = floats(2, 3, 2);
    made.layer.forward(q, k, v, ValidLens.of(3, 0), clean);
    k.select(0, 0).slice(0, 3, 1).fill(Float.NaN);
    v.select(0, 0).slice(0, 3, 1).fill(Float.NaN);
    k.select(0, 1).fill(Float.NaN);
    Tensor out = floats(2, 3, 2);
    made.layer.forward(q, k, v, ValidLens.of(3, 0), out);
    assertArrayEquals(clean.toFloatArray(), out.toFloatArray(), 1e-6f);
    double mean = 0;
    for (int j = 0; j < 4; j++) {
      mean += v.getFloat(1, j, 1) / 4;
    }
    assertEquals(mean, out.getFloat(1, 2, 1), 1e-6);
  }

  @Test
  void shouldGiveTheSameInPartsAsWholeAndForEveryThreadCount() {
    Case made = new Case(4, 4, 20);
    Tensor q = random(arena, random, 1, 600, 4);
    Tensor k = random(arena, random, 1, 4000, 4);
    Tensor v = random(arena, random, 1, 4000, 3);
    Tensor weights = floats(1, 600, 4000);
    Tensor whole = floats(1, 600, 3);
    made.layer.forward(q, k, v, ValidLens.of(3500), whole, weights);
    int before = A4j.threads();
    try {
      for (int threads = 1; threads <= 3; threads++) {
        A4j.threads(threads);
        Tensor parts = floats(1, 600, 3);
        made.layer.forward(q, k, v, ValidLens.of(3500), parts);
        assertArrayEquals(whole.toFloatArray(), parts.toFloatArray());
      }
    } finally {
      A4j.threads(before);
    }
    assertEquals(0, weights.getFloat(0, 599, 3500));
  }

  @Test
  void shouldTakeEmptyTensors() {
    Case made = new Case(4, 5, 6);
    made.layer.forward(
        floats(2, 0, 4), floats(2, 3, 5), floats(2, 3, 7), ValidLens.none(), floats(2, 0, 7));
    made.layer.forward(
        floats(0, 2, 4), floats(0, 3, 5), floats(0, 3, 7), ValidLens.of(), floats(0, 2, 7));
    Tensor out = floats(2, 2, 7).fill(3);
    made.layer.forward(floats(2, 2, 4), floats(2, 0, 5), floats(2, 0, 7), ValidLens.of(0, 1), out);
    assertArrayEquals(new float[28], out.toFloatArray());
  }

  @Test
  void shouldRefuseWhatDoesNotFit() {
    Case made = new Case(4, 5, 6);
    refuse(
        "wk.dimOut must equal wq.dimOut: wk.dimOut=7, wq.dimOut=6",
        () -> AdditiveAttention.of(Linear.of(floats(6, 4)), Linear.of(floats(7, 5)), floats(6)));
    refuse(
        "wv.hidden must equal wq.dimOut: wv.hidden=7, wq.dimOut=6",
        () -> AdditiveAttention.of(Linear.of(floats(6, 4)), Linear.of(floats(6, 5)), floats(1, 7)));
    refuse(
        "wv.shape must be [hidden] or [1, hidden]: wv=F32[6, 1]",
        () -> AdditiveAttention.of(Linear.of(floats(6, 4)), Linear.of(floats(6, 5)), floats(6, 1)));
    Tensor q = floats(2, 3, 4);
    Tensor k = floats(2, 7, 5);
    Tensor v = floats(2, 7, 8);
    Tensor out = floats(2, 3, 8);
    refuse(
        "keys.dim must equal W_k.dimIn: keys.dim=4, W_k.dimIn=5",
        () -> made.layer.forward(q, floats(2, 7, 4), v, ValidLens.none(), out));
    refuse(
        "queries.dim must equal W_q.dimIn: queries.dim=5, W_q.dimIn=4",
        () -> made.layer.forward(floats(2, 3, 5), k, v, ValidLens.none(), out));
    refuse(
        "values.len must equal keys.len: values.len=6, keys.len=7",
        () -> made.layer.forward(q, k, floats(2, 6, 8), ValidLens.none(), out));
    refuse(
        "validLens.length must equal queries.batch: validLens.length=3, queries.batch=2",
        () -> made.layer.forward(q, k, v, ValidLens.of(1, 2, 3), out));
    refuse(
        "out.shape must be [batch, lenQ, dimV] = [2, 3, 8]: out.shape=[2, 3, 7]",
        () -> made.layer.forward(q, k, v, ValidLens.none(), floats(2, 3, 7)));
    refuse(
        "projected.dim must equal hidden: projected.dim=5, hidden=6",
        () -> made.layer.forwardProjected(q, k, v, ValidLens.none(), out, null));
    refuse(
        "weights.shape must be [batch, lenQ, lenK] = [2, 3, 7]: weights.shape=[2, 7, 3]",
        () -> made.layer.forward(q, k, v, ValidLens.none(), out, floats(2, 7, 3)));
    assertTrue(
        assertThrows(
                IllegalArgumentException.class,
                () -> made.layer.forward(q, k, v, ValidLens.none(), v.slice(1, 0, 3)))
            .getMessage()
            .startsWith("out must not overlap v: "));
  }
}
