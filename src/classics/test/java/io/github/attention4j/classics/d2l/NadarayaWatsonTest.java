package io.github.attention4j.classics.d2l;

import static io.github.attention4j.testing.Checked.onEveryTier;
import static io.github.attention4j.testing.Checked.random;
import static org.junit.jupiter.api.Assertions.assertArrayEquals;
import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertThrows;

import io.github.attention4j.DType;
import io.github.attention4j.Tensor;
import io.github.attention4j.classics.d2l.NadarayaWatson.Kernel;
import java.lang.foreign.Arena;
import java.util.Random;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.BeforeEach;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.function.Executable;

class NadarayaWatsonTest {
  private final Random random = new Random(17);
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

  /** The kernel itself, not its logarithm. */
  private static double kernel(Kernel kernel, double distance) {
    return switch (kernel) {
      case GAUSSIAN -> Math.exp(-distance * distance / 2);
      case BOXCAR -> distance < 1 ? 1 : 0;
      case CONSTANT -> 1;
      case EPANECHIKOV -> Math.max(1 - distance, 0);
    };
  }

  /** Tensors of vectors; keys and values have each query's own where their rank is 3. */
  private static void require(
      Kernel kernel, double w, Tensor q, Tensor k, Tensor v, Tensor out, Tensor weights) {
    for (int i = 0; i < q.size(0); i++) {
      Tensor keys = k.rank() == 3 ? k.select(0, i) : k;
      Tensor values = v.rank() == 3 ? v.select(0, i) : v;
      int m = (int) keys.size(0);
      double[] exact = new double[m];
      double sum = 0;
      for (int j = 0; j < m; j++) {
        double squares = 0;
        for (int d = 0; d < q.size(1); d++) {
          double x = w * ((double) q.getFloat(i, d) - keys.getFloat(j, d));
          squares += x * x;
        }
        exact[j] = kernel(kernel, Math.sqrt(squares));
        sum += exact[j];
      }
      double[] mean = new double[(int) values.size(1)];
      for (int j = 0; j < m; j++) {
        double weight = sum == 0 ? 0 : exact[j] / sum;
        assertEquals(weight, weights.getFloat(i, j), 2e-6);
        for (int d = 0; d < mean.length; d++) {
          mean[d] += weight * values.getFloat(j, d);
        }
      }
      for (int d = 0; d < mean.length; d++) {
        assertEquals(mean[d], out.getFloat(i, d), 1e-5);
      }
    }
  }

  @Test
  void shouldWeightValuesByTheKernelOfTheDistance() {
    for (Kernel kernel : Kernel.values()) {
      for (int[] sizes :
          new int[][] {
            {1, 1, 1, 1}, {7, 20, 1, 1}, {50, 131, 1, 2}, {6, 11, 3, 2}, {9, 30, 20, 1}
          }) {
        Tensor q = random(arena, random, sizes[0], sizes[2]);
        Tensor k = random(arena, random, sizes[1], sizes[2]);
        Tensor v = random(arena, random, sizes[1], sizes[3]);
        Tensor out = floats(sizes[0], sizes[3]);
        Tensor weights = floats(sizes[0], sizes[1]);
        for (double w : new double[] {1, 0.4, -2.5}) {
          NadarayaWatson estimator = NadarayaWatson.of(kernel).withW(w);
          onEveryTier(
              () -> {
                estimator.forward(q, k, v, out, weights);
                require(kernel, w, q, k, v, out, weights);
                out.fill(Float.NaN);
                estimator.forward(q, k, v, out);
                require(kernel, w, q, k, v, out, weights);
              });
        }
      }
    }
  }

  @Test
  void shouldTakeNumbersAsVectorsOfWidthOne() {
    Tensor q = random(arena, random, 9);
    Tensor k = random(arena, random, 40);
    Tensor v = random(arena, random, 40);
    Tensor out = floats(9);
    Tensor weights = floats(9, 40);
    NadarayaWatson estimator = NadarayaWatson.of(Kernel.GAUSSIAN).withSigma(0.25);
    estimator.forward(q, k, v, out, weights);
    require(
        Kernel.GAUSSIAN,
        4,
        q.unsqueeze(1),
        k.unsqueeze(1),
        v.unsqueeze(1),
        out.unsqueeze(1),
        weights);
  }

  @Test
  void shouldKeepDistancesOfLargeNumbersExact() {
    int m = 64;
    Tensor k = floats(m);
    Tensor v = random(arena, random, m);
    for (int j = 0; j < m; j++) {
      k.setFloat(1_700_000f + j, j);
    }
    Tensor out = floats(m);
    Tensor weights = floats(m, m);
    NadarayaWatson.of(Kernel.GAUSSIAN).forward(k, k, v, out, weights);
    require(
        Kernel.GAUSSIAN,
        1,
        k.unsqueeze(1),
        k.unsqueeze(1),
        v.unsqueeze(1),
        out.unsqueeze(1),
        weights);
  }

  @Test
  void shouldLeaveEachExampleOutOfItsOwnPrediction() {
    for (int rank = 1; rank <= 2; rank++) {
      Tensor x = rank == 1 ? random(arena, random, 6) : random(arena, random, 6, 3);
      Tensor y = rank == 1 ? random(arena, random, 6) : random(arena, random, 6, 2);
      Tensor keys = NadarayaWatson.leaveOneOut(arena, x);
      Tensor values = NadarayaWatson.leaveOneOut(arena, y);
      Tensor wide = rank == 1 ? keys.unsqueeze(2) : keys;
      Tensor wideX = rank == 1 ? x.unsqueeze(1) : x;
      for (int i = 0; i < 6; i++) {
        for (int j = 0; j < 5; j++) {
          assertEquals(wideX.getFloat(j < i ? j : j + 1, 0), wide.getFloat(i, j, 0));
        }
      }
      Tensor out = rank == 1 ? floats(6) : floats(6, 2);
      Tensor weights = floats(6, 5);
      NadarayaWatson.of(Kernel.GAUSSIAN).withW(0.6).forward(x, keys, values, out, weights);
      require(
          Kernel.GAUSSIAN,
          0.6,
          wideX,
          wide,
          rank == 1 ? values.unsqueeze(2) : values,
          rank == 1 ? out.unsqueeze(1) : out,
          weights);
    }
    assertArrayEquals(new long[] {1, 0}, NadarayaWatson.leaveOneOut(arena, floats(1)).shape());
  }

  @Test
  void shouldGiveZeroWhereNoKeyIsNear() {
    Tensor q = Tensor.of(arena, new float[] {0, 50}, 2);
    Tensor k = Tensor.of(arena, new float[] {0.1f, 0.2f}, 2);
    Tensor v = Tensor.of(arena, new float[] {4, 6}, 2);
    Tensor out = floats(2).fill(9);
    Tensor weights = floats(2, 2).fill(9);
    for (Kernel kernel : new Kernel[] {Kernel.BOXCAR, Kernel.EPANECHIKOV}) {
      NadarayaWatson.of(kernel).forward(q, k, v, out, weights);
      assertEquals(0, out.getFloat(1));
      assertEquals(0, weights.getFloat(1, 0));
      assertEquals(1, weights.getFloat(0, 0) + weights.getFloat(0, 1), 1e-6);
    }
  }

  @Test
  void shouldRefuseWhatDoesNotFit() {
    NadarayaWatson estimator = NadarayaWatson.of(Kernel.GAUSSIAN);
    refuse(
        "values.m must equal keys.m: values.m=6, keys.m=5",
        () -> estimator.forward(floats(3), floats(5), floats(6), floats(3)));
    refuse(
        "out.n must equal queries.n: out.n=4, queries.n=3",
        () -> estimator.forward(floats(3), floats(5), floats(5), floats(4)));
    refuse(
        "keys.dim must equal queries.dim: keys.dim=3, queries.dim=2",
        () -> estimator.forward(floats(3, 2), floats(5, 3), floats(5), floats(3)));
    refuse(
        "keys.n must equal queries.n: keys.n=4, queries.n=3",
        () -> estimator.forward(floats(3), floats(4, 5), floats(4, 5), floats(3)));
    refuse(
        "queries.rank must be 1 or 2: queries.rank=3",
        () -> estimator.forward(floats(3, 2, 1), floats(5, 2), floats(5), floats(3)));
    refuse(
        "weights.shape must be [n, m] = [3, 5]: weights.shape=[5, 3]",
        () -> estimator.forward(floats(3), floats(5), floats(5), floats(3), floats(5, 3)));
    refuse("sigma must be positive and finite: sigma=0.0", () -> estimator.withSigma(0));
    refuse("w must be a finite float: w=NaN", () -> estimator.withW(Double.NaN));
    refuse("x.n must be at least 1: x.n=0", () -> NadarayaWatson.leaveOneOut(arena, floats(0)));
  }
}
