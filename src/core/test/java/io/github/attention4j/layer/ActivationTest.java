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
import java.util.Random;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.BeforeEach;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.function.Executable;

class ActivationTest {
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

  /** The cumulative distribution function of the normal distribution, by Simpson's rule. */
  private static double phi(double x) {
    double lower = Math.min(x, -12);
    int steps = 20_000;
    double h = (x - lower) / steps;
    double sum = 0;
    for (int i = 0; i <= steps; i++) {
      double t = lower + i * h;
      sum += (i == 0 || i == steps ? 1 : i % 2 == 1 ? 4 : 2) * Math.exp(-t * t / 2);
    }
    return sum * h / 3 / Math.sqrt(2 * Math.PI);
  }

  private static double formula(Activation activation, double x) {
    return switch (activation) {
      case IDENTITY -> x;
      case RELU -> Math.max(x, 0);
      case GELU -> x * phi(x);
      case GELU_TANH ->
          x / 2 * (1 + Math.tanh(Math.sqrt(2 / Math.PI) * (x + 0.044715 * x * x * x)));
      case SILU -> x / (1 + Math.exp(-x));
      case SIGMOID -> 1 / (1 + Math.exp(-x));
      case TANH -> Math.tanh(x);
    };
  }

  @Test
  void shouldBeItsFormula() {
    float[] values = {0, -0.0f, 1e-3f, -1e-3f, 0.5f, -0.5f, 1, -1, 1.7f, -1.7f, 3, -3, 9, -9};
    Tensor x = Tensor.of(arena, values, 1, values.length);
    Tensor out = floats(1, values.length);
    for (Activation activation : Activation.values()) {
      onEveryTier(
          () -> {
            activation.forward(x, out);
            for (int i = 0; i < values.length; i++) {
              double exact = formula(activation, values[i]);
              double error = Math.abs(out.getFloat(0, i) - exact);
              assertTrue(
                  error <= 1e-6 * Math.abs(exact) + 1e-9,
                  () -> activation + ": wanted " + exact + ", error " + error);
            }
          });
    }
  }

  @Test
  void shouldKeepNanAndReachTheLimits() {
    float[] values = {Float.NaN, Float.POSITIVE_INFINITY, 200, -200, 3e38f, -3e38f};
    Tensor x = Tensor.of(arena, values, 1, values.length);
    Tensor out = floats(1, values.length);
    for (Activation activation : Activation.values()) {
      onEveryTier(
          () -> {
            activation.forward(x, out);
            assertTrue(Float.isNaN(out.getFloat(0, 0)), activation + " hides NaN");
            for (int i = 1; i < values.length; i++) {
              float most =
                  activation == Activation.SIGMOID || activation == Activation.TANH ? 1 : 0;
              float wanted = values[i] > 0 ? values[i] : activation == Activation.TANH ? -1 : 0;
              wanted = activation == Activation.IDENTITY ? values[i] : wanted;
              wanted = most > 0 ? Math.min(most, wanted) : wanted;
              assertEquals(wanted, out.getFloat(0, i) + 0.0f, activation + " of " + values[i]);
            }
          });
    }
  }

  @Test
  void shouldGateAddAndMultiplyInPlaceAndInViews() {
    Tensor both = random(arena, random, 3, 4, 34);
    Tensor gate = both.slice(2, 0, 17);
    Tensor up = both.slice(2, 17, 17);
    Tensor out = floats(3, 4, 17);
    Activation.SILU.gate(gate, up, out);
    Tensor activated = floats(3, 4, 17);
    Activation.SILU.forward(gate, activated);
    Tensor product = floats(3, 4, 17);
    Elementwise.multiply(activated, up, product);
    assertArrayEquals(product.toFloatArray(), out.toFloatArray());
    Tensor sum = floats(3, 4, 17);
    Elementwise.add(gate, up, sum);
    float expected = gate.getFloat(2, 3, 16) + up.getFloat(2, 3, 16);
    assertEquals(expected, sum.getFloat(2, 3, 16));
    float first = gate.getFloat(1, 1, 1);
    float second = up.getFloat(1, 1, 1);
    Elementwise.scaleAdd(gate, 0.5f, up, up);
    assertEquals(Math.fma(first, 0.5f, second), up.getFloat(1, 1, 1), 1e-6f);
    Activation.RELU.forward(gate, gate);
    assertEquals(Math.max(first, 0), gate.getFloat(1, 1, 1));
  }

  @Test
  void shouldFinishProjectionsWithTheBitsOfTwoSteps() {
    for (int rows : new int[] {1, 5, 130, 300}) {
      Tensor x = random(arena, random, rows, 600);
      Linear plain = Linear.of(random(arena, random, 70, 600), random(arena, random, 70));
      Linear packed = plain.packed(arena);
      Tensor before = random(arena, random, rows, 70);
      Tensor expected = floats(rows, 70);
      Tensor out = floats(rows, 70);
      for (Activation activation : Activation.values()) {
        for (Linear linear : new Linear[] {plain, packed}) {
          linear.forward(x, expected);
          activation.forward(expected, expected);
          linear.withActivation(activation).forward(x, out);
          assertArrayEquals(expected.toFloatArray(), out.toFloatArray());

          linear.forward(x, expected);
          activation.gate(expected, before, expected);
          out.copyFrom(before);
          linear.withActivation(activation).forwardMultiply(x, out);
          assertArrayEquals(expected.toFloatArray(), out.toFloatArray());

          if (activation != Activation.IDENTITY) {
            linear.forward(x, expected);
            activation.forward(expected, expected);
            Elementwise.add(expected, before, expected);
            out.copyFrom(before);
            linear.withActivation(activation).forwardAdd(x, out);
            assertArrayEquals(expected.toFloatArray(), out.toFloatArray());
          }
        }
      }
    }
  }

  @Test
  void shouldRefuseWhatDoesNotFit() {
    Tensor x = floats(2, 3);
    refuse(
        "out.shape must be the shape of x = [2, 3]: out.shape=[2, 4]",
        () -> Activation.GELU.forward(x, floats(2, 4)));
    refuse(
        "up.shape must be the shape of gate = [2, 3]: up.shape=[3, 3]",
        () -> Activation.GELU.gate(x, floats(3, 3), floats(2, 3)));
    refuse(
        "scale must be finite: scale=NaN",
        () -> Elementwise.scaleAdd(x, Float.NaN, x, floats(2, 3)));
    Linear active = Linear.of(floats(3, 3)).withActivation(Activation.GELU);
    Linear plain = Linear.of(floats(3, 3));
    refuse(
        "gate.activation must be IDENTITY, the layer adds its own: gate.activation=GELU",
        () -> SwiGlu.of(active, plain, plain));
  }
}
