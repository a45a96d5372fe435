package io.github.attention4j;

import static io.github.attention4j.testing.Checked.onEveryTier;
import static io.github.attention4j.testing.Checked.random;
import static org.junit.jupiter.api.Assertions.assertArrayEquals;
import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import io.github.attention4j.reference.Philox;
import java.lang.foreign.Arena;
import java.util.Arrays;
import java.util.Random;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.BeforeEach;
import org.junit.jupiter.api.Test;

class HardenedAttentionTest {
  private static final int[] COUNTS = {1, 2, 3, 8, 9, 32, 33, 70, 1000};
  private static final double LEAST_SUM = 1e-6;

  private final Random random = new Random(19);
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

  /** Queries, keys and values, and the hardened weights computed from the softmax weights. */
  private final class Problem {
    final Mask mask;
    final Tensor q;
    final Tensor k;
    final Tensor v;
    final Tensor out;
    final Tensor weights;
    final Tensor softmax;

    Problem(Mask mask, int batch, int headsQ, int headsKv, int lenQ, int lenK) {
      this.mask = mask;
      q = random(arena, random, batch, headsQ, lenQ, 24);
      k = random(arena, random, batch, headsKv, lenK, 24);
      v = random(arena, random, batch, headsKv, lenK, 9);
      out = floats(batch, headsQ, lenQ, 9);
      weights = floats(batch, headsQ, lenQ, lenK);
      softmax = floats(batch, headsQ, lenQ, lenK);
    }

    Attention.Builder builder() {
      return Attention.builder().mask(mask);
    }

    /** Compares weights and output with the plain formula applied to the softmax weights. */
    void check(Attention attention, Extras extras, Formula formula) {
      Attention.builder().mask(mask).build().forward(q, k, v, out, Extras.none().weights(softmax));
      attention.forward(q, k, v, out, extras.weights(weights));
      int lenQ = (int) q.size(2);
      int lenK = (int) k.size(2);
      int group = (int) (q.size(1) / k.size(1));
      for (int b = 0; b < q.size(0); b++) {
        for (int h = 0; h < q.size(1); h++) {
          for (int i = 0; i < lenQ; i++) {
            double[] row = new double[lenK];
            for (int j = 0; j < lenK; j++) {
              row[j] = softmax.getFloat(b, h, i, j);
            }
            double[] wanted = formula.harden(row, b, h, i);
            for (int j = 0; j < lenK; j++) {
              assertEquals(wanted[j], weights.getFloat(b, h, i, j), 2e-5, "weight " + i + ", " + j);
            }
            for (int e = 0; e < 9; e++) {
              double sum = 0;
              for (int j = 0; j < lenK; j++) {
                sum += weights.getFloat(b, h, i, j) * (double) v.getFloat(b, h / group, j, e);
              }
              assertEquals(sum, out.getFloat(b, h, i, e), 1e-5, "output " + i + ", " + e);
            }
          }
        }
      }
    }
  }

  private interface Formula {
    double[] harden(double[] weights, int b, int h, int i);
  }

  private static double[] topK(double[] weights, int k) {
    double[] sorted = Arrays.stream(weights).sorted().toArray();
    double least = sorted[Math.max(0, sorted.length - k)];
    double[] kept = Arrays.stream(weights).map(w -> w >= least ? w : 0).toArray();
    double sum = Arrays.stream(kept).sum();
    return Arrays.stream(kept).map(w -> sum == 0 ? 0 : w / sum).toArray();
  }

  /** tensor2tensor's algorithm: replaces the maxima by 0, k - 1 times. */
  private static double[] subtract(double[] weights, int k) {
    double[] left = weights.clone();
    for (int n = 0; n < Math.min(k, weights.length + 1) - 1; n++) {
      double top = Arrays.stream(left).max().orElseThrow();
      left = Arrays.stream(left).map(w -> w < top ? w : 0).toArray();
    }
    double kth = Arrays.stream(left).max().orElseThrow();
    double[] rest = Arrays.stream(weights).map(w -> Math.max(w - kth, 0)).toArray();
    double sum = Math.max(Arrays.stream(rest).sum(), LEAST_SUM);
    return Arrays.stream(rest).map(w -> w / sum).toArray();
  }

  @Test
  void shouldLetTheHeaviestWeightsThrough() {
    for (int[] sizes : new int[][] {{1, 40}, {5, 600}, {49, 130}, {100, 65}}) {
      Problem problem =
          new Problem(Mask.causal(Alignment.BOTTOM_RIGHT), 2, 4, 2, sizes[0], sizes[1]);
      for (int k : COUNTS) {
        onEveryTier(
            () ->
                problem.check(
                    problem.builder().topK(k).build(),
                    Extras.none(),
                    (row, b, h, i) -> topK(row, k)));
      }
    }
  }

  @Test
  void shouldSubtractTheKthLargestWeightAsTensor2tensorDoes() {
    for (int[] sizes : new int[][] {{1, 40}, {5, 600}, {49, 130}, {100, 65}}) {
      Problem problem = new Problem(Mask.causal(Alignment.TOP_LEFT), 2, 4, 2, sizes[0], sizes[1]);
      for (int k : COUNTS) {
        onEveryTier(
            () ->
                problem.check(
                    problem.builder().hardAttention(k).build(),
                    Extras.none(),
                    (row, b, h, i) -> subtract(row, k)));
      }
    }
  }

  @Test
  void shouldAddGumbelNoiseThatIsGivenOrDrawn() {
    final double weight = 0.3;
    final long seed = 0x1234_5678_9abc_def0L;
    Problem problem = new Problem(Mask.none(), 2, 4, 2, 50, 70);
    Tensor uniform = floats(2, 4, 50, 70);
    for (int b = 0; b < 2; b++) {
      for (int h = 0; h < 4; h++) {
        for (int i = 0; i < 50; i++) {
          for (int j = 0; j < 70; j++) {
            float u = Philox.uniform(seed, b, h, i, j);
            uniform.setFloat(1e-5f + u * (1 - 2e-5f), b, h, i, j);
          }
        }
      }
    }
    for (int k : new int[] {2, 5, 40}) {
      Formula formula =
          (row, b, h, i) -> {
            double[] noisy = new double[row.length];
            for (int j = 0; j < row.length; j++) {
              noisy[j] = row[j] - weight * Math.log(-Math.log(uniform.getFloat(b, h, i, j)));
            }
            return subtract(noisy, k);
          };
      onEveryTier(
          () -> {
            Attention attention = problem.builder().hardAttention(k).build();
            problem.check(attention, Extras.none().gumbelNoise(weight, uniform), formula);
            final float[] given = problem.weights.toFloatArray();
            problem.check(attention, Extras.none().gumbelNoise(weight, seed), formula);
            assertArrayEquals(given, problem.weights.toFloatArray());
          });
    }
  }

  @Test
  void shouldGiveTheSameBitsForEveryNumberOfThreads() {
    Problem problem = new Problem(Mask.none(), 2, 4, 2, 200, 300);
    Extras extras = Extras.none().gumbelNoise(0.1, 5).dropout(Dropout.of(0.2, 6));
    for (int k : new int[] {5, 50}) {
      problem
          .builder()
          .hardAttention(k)
          .threads(1)
          .build()
          .forward(problem.q, problem.k, problem.v, problem.out, extras);
      float[] once = problem.out.toFloatArray();
      for (int threads : new int[] {2, 3, 8}) {
        problem
            .builder()
            .hardAttention(k)
            .threads(threads)
            .build()
            .forward(problem.q, problem.k, problem.v, problem.out, extras);
        assertArrayEquals(once, problem.out.toFloatArray(), threads + " threads");
      }
    }
  }

  @Test
  void shouldRefuseWhatDoesNotFit() {
    Attention.Builder both = Attention.builder().topK(3).hardAttention(2);
    refuse("topK and hardAttention exclude each other: topK=3, hardAttention=2", both::build);
    refuse("topK must be at least 1: topK=0", () -> Attention.builder().topK(0));
    refuse(
        "hardAttention must be at least 1: hardAttention=-1",
        () -> Attention.builder().hardAttention(-1));
    refuse(
        "weight must be a finite float: weight=NaN",
        () -> Extras.none().gumbelNoise(Double.NaN, 1));
    Problem problem = new Problem(Mask.none(), 1, 1, 1, 3, 4);
    refuse(
        "gumbelNoise is added to weights before they are hardened: choose topK or hardAttention",
        () ->
            problem
                .builder()
                .build()
                .forward(
                    problem.q,
                    problem.k,
                    problem.v,
                    problem.out,
                    Extras.none().gumbelNoise(0.1, 1)));
    refuse(
        "uniform must broadcast to [batch, heads, lenQ, lenK] = [1, 1, 3, 4]: uniform.shape=[5]",
        () ->
            problem
                .builder()
                .topK(1)
                .build()
                .forward(
                    problem.q,
                    problem.k,
                    problem.v,
                    problem.out,
                    Extras.none().gumbelNoise(0.1, floats(5))));
  }

  private static void refuse(String message, org.junit.jupiter.api.function.Executable call) {
    String got = assertThrows(IllegalArgumentException.class, call).getMessage();
    assertTrue(got.startsWith(message), "\"" + got + "\" must begin with \"" + message + "\"");
  }
}
