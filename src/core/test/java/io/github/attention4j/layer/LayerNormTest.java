package io.github.attention4j.layer;

import static io.github.attention4j.testing.Checked.onEveryTier;
import static io.github.attention4j.testing.Checked.random;
import static org.junit.jupiter.api.Assertions.assertArrayEquals;
import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import io.github.attention4j.DType;
import io.github.attention4j.Tensor;
import java.lang.foreign.Arena;
import java.util.Arrays;
import java.util.Random;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.BeforeEach;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.function.Executable;

/** Layer normalisation, and the axis of both norms. */
class LayerNormTest {
  private final Random random = new Random(11);
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

  /** The expected result for rows of this many elements; weight and bias may be null. */
  private static void requireNorm(
      Tensor x, int width, Tensor weight, Tensor bias, double epsilon, Tensor out) {
    float[] values = x.toFloatArray();
    float[] weights = weight == null ? null : weight.toFloatArray();
    float[] biases = bias == null ? null : bias.toFloatArray();
    float[] got = out.toFloatArray();
    for (int row = 0; row < values.length; row += width) {
      double mean = mean(values, row, width);
      double factor = factor(values, row, width, epsilon);
      for (int i = 0; i < width; i++) {
        double exact = (values[row + i] - mean) * factor;
        exact = exact * (weights == null ? 1 : weights[i]) + (biases == null ? 0 : biases[i]);
        assertEquals(exact, got[row + i], 2e-6 * Math.max(1, Math.abs(exact)));
      }
    }
  }

  private static double mean(float[] values, int row, int width) {
    double sum = 0;
    for (int i = 0; i < width; i++) {
      sum += values[row + i];
    }
    return sum / width;
  }

  private static double factor(float[] values, int row, int width, double epsilon) {
    double mean = mean(values, row, width);
    double squares = 0;
    for (int i = 0; i < width; i++) {
      squares += (values[row + i] - mean) * (values[row + i] - mean);
    }
    return 1 / Math.sqrt(squares / width + (float) epsilon);
  }

  @Test
  void shouldNormaliseRowsWithAndWithoutWeightAndBias() {
    for (int dim : new int[] {1, 2, 5, 16, 17, 64, 130, 1000}) {
      Tensor x = random(arena, random, 3, 4, dim);
      Tensor weight = random(arena, random, dim);
      Tensor bias = random(arena, random, dim);
      Tensor out = floats(3, 4, dim);
      onEveryTier(
          () -> {
            LayerNorm.of(weight, bias).forward(x, out);
            requireNorm(x, dim, weight, bias, 1e-5, out);
            LayerNorm.of(weight, null, 0.1).forward(x, out);
            requireNorm(x, dim, weight, null, 0.1, out);
            LayerNorm.of(null, bias).forward(x, out);
            requireNorm(x, dim, null, bias, 1e-5, out);
            out.copyFrom(x);
            LayerNorm.of(null, null).forward(out, out);
            requireNorm(x, dim, null, null, 1e-5, out);
          });
    }
  }

  @Test
  void shouldNormaliseOverTheDimensionsFromAnyAxisOn() {
    Tensor x = random(arena, random, 2, 3, 4, 5);
    Tensor out = floats(2, 3, 4, 5);
    for (int axis = -4; axis < 4; axis++) {
      int first = axis < 0 ? axis + 4 : axis;
      long[] row = Arrays.copyOfRange(x.shape(), first, 4);
      Tensor weight = random(arena, random, row);
      Tensor bias = random(arena, random, row);
      int width = (int) weight.count();
      long[] ones = x.shape();
      Arrays.fill(ones, first, 4, 1);
      Tensor mean = floats(ones);
      Tensor invStdDev = floats(ones);
      int given = axis;
      onEveryTier(
          () -> {
            LayerNorm.of(weight, bias).withAxis(given).forward(x, out, mean, invStdDev);
            requireNorm(x, width, weight, bias, 1e-5, out);
            float[] values = x.toFloatArray();
            for (int i = 0; i < mean.count(); i++) {
              assertEquals(
                  mean(values, i * width, width), mean.toFloatArray()[i], 1e-6, "mean " + i);
              assertEquals(
                  factor(values, i * width, width, 1e-5), invStdDev.toFloatArray()[i], 4e-6);
            }
            float[] withAxis = out.toFloatArray();
            LayerNorm.of(weight, bias).forward(x, out);
            assertArrayEquals(withAxis, out.toFloatArray(), "the weight says the same");
            RmsNorm.of(weight, 1e-5).withAxis(given).withScale(0.5).forward(x, out);
            requireRms(x, width, weight, 0.5, out);
            RmsNorm.withoutWeight(1e-5).withAxis(given).forward(x, out);
            requireRms(x, width, null, 1, out);
          });
    }
  }

  private static void requireRms(Tensor x, int width, Tensor weight, double scale, Tensor out) {
    float[] values = x.toFloatArray();
    float[] got = out.toFloatArray();
    for (int row = 0; row < values.length; row += width) {
      double squares = 0;
      for (int i = 0; i < width; i++) {
        squares += (double) values[row + i] * values[row + i];
      }
      double factor = scale / Math.sqrt(squares / width + 1e-5f);
      for (int i = 0; i < width; i++) {
        double exact = values[row + i] * factor * (weight == null ? 1 : weight.toFloatArray()[i]);
        assertEquals(exact, got[row + i], 2e-6 * Math.max(1, Math.abs(exact)));
      }
    }
  }

  @Test
  void shouldNormaliseRowsAtAnyDistance() {
    Tensor x = random(arena, random, 2, 6, 3, 7).slice(1, 2, 3);
    Tensor wide = floats(2, 3, 4, 7);
    wide.fill(-7);
    Tensor out = wide.slice(2, 0, 3);
    Tensor mean = floats(2, 3, 3, 1);
    LayerNorm.of(null, null).forward(x, out, mean, null);
    requireNorm(x, 7, null, null, 1e-5, out);
    for (int i = 0; i < 18; i++) {
      assertEquals(mean(x.toFloatArray(), 7 * i, 7), mean.toFloatArray()[i], 1e-6);
    }
    for (float untouched : wide.slice(2, 3, 1).toFloatArray()) {
      assertEquals(-7, untouched);
    }
    Tensor rows = random(arena, random, 2, 5, 3, 4).slice(1, 1, 2);
    Tensor result = floats(2, 2, 3, 4);
    LayerNorm.of(null, null).withAxis(2).forward(rows, result);
    requireNorm(rows, 12, null, null, 1e-5, result);
    Tensor none = floats(0, 8);
    LayerNorm.of(null, null).forward(none, none);
  }

  @Test
  void shouldStayAccurateWhereTheMeanIsLarge() {
    float[] values = new float[300];
    for (int i = 0; i < values.length; i++) {
      values[i] = 1e6f + (float) random.nextGaussian();
    }
    Tensor x = Tensor.of(arena, values, 3, 100);
    Tensor out = floats(3, 100);
    onEveryTier(
        () -> {
          LayerNorm.of(null, null).forward(x, out);
          requireNorm(x, 100, null, null, 1e-5, out);
        });
  }

  @Test
  void shouldRefuseNormsThatDoNotFit() {
    LayerNorm norm = LayerNorm.of(floats(3, 4), floats(3, 4));
    Tensor x = floats(2, 3, 4);
    Tensor out = floats(2, 3, 4);
    refuse(
        "weight.shape must be the shape of x from dimension 1 on = [4, 3]: weight.shape=[3, 4]",
        () -> norm.forward(floats(2, 4, 3), floats(2, 4, 3)));
    refuse(
        "weight.shape must be the shape of x from dimension 2 on = [4]: weight.shape=[3, 4]",
        () -> norm.withAxis(-1).forward(x, out));
    refuse(
        "bias.shape must be the shape of weight = [3]: bias.shape=[4]",
        () -> LayerNorm.of(floats(3), floats(4)));
    refuse(
        "axis must lie in [-x.rank, x.rank): axis=3, x.rank=3",
        () -> norm.withAxis(3).forward(x, out));
    refuse(
        "axis must lie in [-x.rank, x.rank): axis=-2, x.rank=1",
        () -> norm.forward(floats(12), floats(12)));
    refuse(
        "out.shape must be the shape of x = [2, 3, 4]: out.shape=[6, 4]",
        () -> norm.forward(x, floats(6, 4)));
    refuse(
        "mean.shape must be the shape of x with 1 from dimension 1 on = [2, 1, 1]: mean.shape=[2]",
        () -> norm.forward(x, out, floats(2), null));
    refuse(
        "x must have contiguous elements from dimension 1 on: shape=[2, 3, 4], "
            + "strides=[4, 8, 1]",
        () -> norm.forward(floats(3, 2, 4).transpose(0, 1), out));
    refuse(
        "epsilon must be a finite float and not negative: epsilon=NaN",
        () -> LayerNorm.of(null, null, Double.NaN));
    refuse(
        "weight.rank must be at least 1 [..., dim]: weight.rank=0",
        () -> LayerNorm.of(floats(), null));
    refuse(
        "x.dim must be at least 1: x.dim=0",
        () -> LayerNorm.of(null, null).forward(floats(2, 0), floats(2, 0)));
    Tensor statistic = out.reshape(24).slice(0, 0, 2).reshape(2, 1, 1);
    assertTrue(
        assertThrows(IllegalArgumentException.class, () -> norm.forward(x, out, null, statistic))
            .getMessage()
            .startsWith("invStdDev must not overlap out: "));
  }
}
