package io.github.attention4j.classics.t2t;

import static io.github.attention4j.testing.Checked.random;
import static org.junit.jupiter.api.Assertions.assertArrayEquals;
import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertThrows;

import io.github.attention4j.DType;
import io.github.attention4j.Tensor;
import java.lang.foreign.Arena;
import java.util.Arrays;
import java.util.Random;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.BeforeEach;
import org.junit.jupiter.api.Test;

/** tensor2tensor's timing signals, against the formula for each channel. */
class TimingSignalTest {
  private final Random random = new Random(8);
  private Arena arena;

  @BeforeEach
  void openArena() {
    arena = Arena.ofConfined();
  }

  @AfterEach
  void closeArena() {
    arena.close();
  }

  /** Channel c of `channels`, of which the last may be odd. */
  private static double signal(double position, int c, int channels, double min, double max) {
    int n = channels / 2;
    if (c >= 2 * n) {
      return 0;
    }
    double inverse = min * Math.pow(min / max, (double) (c % n) / Math.max(n - 1, 1));
    return c < n ? Math.sin(position * inverse) : Math.cos(position * inverse);
  }

  @Test
  void shouldPutAllSinesBeforeAllCosines() {
    for (int channels : new int[] {0, 1, 2, 3, 4, 7, 16, 33}) {
      Tensor got = TimingSignal.of(0.5, 300).get1d(arena, 9, channels, -3);
      assertArrayEquals(new long[] {1, 9, channels}, got.shape());
      for (int i = 0; i < 9; i++) {
        for (int c = 0; c < channels; c++) {
          double exact = signal(i - 3, c, channels, 0.5, 300);
          assertEquals(exact, got.getFloat(0, i, c), 1e-6, channels + " channels, " + i + ", " + c);
        }
      }
    }
  }

  @Test
  void shouldAddToEachBatchAndInPlace() {
    Tensor x = random(arena, random, 2, 5, 7);
    float[] before = x.toFloatArray();
    TimingSignal.standard().add1d(x, 11, x);
    float[] after = x.toFloatArray();
    for (int n = 0; n < after.length; n++) {
      double exact = before[n] + signal(11 + n / 7 % 5, n % 7, 7, 1, 1e4);
      assertEquals(exact, after[n], 1e-6, "element " + n);
    }
  }

  @Test
  void shouldTakePositionsAsTheyAreGiven() {
    Tensor x = random(arena, random, 2, 3, 6);
    Tensor floats = Tensor.of(arena, new float[] {5, 0.5f, -2, 1, 1, 1000}, 2, 3);
    Tensor ints = Tensor.allocate(arena, DType.I32, 2, 3);
    ints.setInt(4, 1, 2);
    Tensor out = Tensor.allocate(arena, DType.F32, 2, 3, 6);
    TimingSignal.standard().add1dGivenPosition(x, floats, out);
    requireSum(x, out, (b, i, c) -> signal(floats.getFloat(b, i), c, 6, 1, 1e4));
    TimingSignal.standard().addGivenPositions(x, Arrays.asList(ints, null), out);
    // Two positions have 6 / 4 = 1 frequency each, and two channels remain.
    requireSum(
        x,
        out,
        (b, i, c) ->
            c < 2
                ? signal(ints.getInt(b, i), c, 2, 1, 1e4)
                : c < 4 ? signal(i, c - 2, 2, 1, 1e4) : 0);
  }

  private interface Value {
    double at(int b, int i, int c);
  }

  private static void requireSum(Tensor x, Tensor out, Value value) {
    for (int b = 0; b < x.size(0); b++) {
      for (int i = 0; i < x.size(1); i++) {
        for (int c = 0; c < x.size(2); c++) {
          double exact = x.getFloat(b, i, c) + value.at(b, i, c);
          assertEquals(exact, out.getFloat(b, i, c), 1e-6, b + ", " + i + ", " + c);
        }
      }
    }
  }

  @Test
  void shouldShareTheChannelsOfAGridAmongItsDimensions() {
    Tensor x = random(arena, random, 2, 3, 4, 2, 15);
    Tensor out = Tensor.allocate(arena, DType.F32, x.shape());
    TimingSignal.standard().addNd(x, out);
    for (int[] at : new int[][] {{0, 0, 0, 0}, {1, 2, 3, 1}, {0, 1, 2, 0}, {1, 0, 3, 1}}) {
      for (int c = 0; c < 15; c++) {
        // Three dimensions of 15 / 6 = 2 frequencies each: four channels, and three remain.
        double added = c < 12 ? signal(at[1 + c / 4], c % 4, 4, 1, 1e4) : 0;
        double before = x.getFloat(at[0], at[1], at[2], at[3], c);
        float after = out.getFloat(at[0], at[1], at[2], at[3], c);
        assertEquals(before + added, after, 1e-6, Arrays.toString(at) + ", " + c);
      }
    }
    Tensor line = random(arena, random, 2, 5, 8);
    Tensor flat = Tensor.allocate(arena, DType.F32, 2, 5, 8);
    Tensor grid = Tensor.allocate(arena, DType.F32, 2, 5, 8);
    TimingSignal.standard().add1d(line, 0, flat);
    TimingSignal.standard().addNd(line, grid);
    assertArrayEquals(flat.toFloatArray(), grid.toFloatArray());
  }

  @Test
  void shouldTellLayersApart() {
    Tensor x = random(arena, random, 2, 3, 6);
    Tensor out = Tensor.allocate(arena, DType.F32, 2, 3, 6);
    TimingSignal.standard().addLayer(x, 4, 5, out);
    requireSum(x, out, (b, i, c) -> signal(4, c, 6, 1, 1e4));
    Tensor alone = TimingSignal.standard().getLayer(arena, 6, 4, 5);
    assertArrayEquals(new long[] {1, 1, 6}, alone.shape());
    assertEquals(signal(4, 5, 6, 1, 1e4), alone.getFloat(0, 0, 5), 1e-6);
    Tensor learned = random(arena, random, 5, 1, 1, 6);
    TimingSignal.addLayerLearned(x, learned, 3, out);
    requireSum(x, out, (b, i, c) -> learned.getFloat(3, 0, 0, c) * Math.sqrt(6));
  }

  @Test
  void shouldRefuseWhatDoesNotFit() {
    Tensor x = Tensor.allocate(arena, DType.F32, 2, 3, 4);
    TimingSignal signal = TimingSignal.standard();
    refuse("minTimescale must be positive and finite: minTimescale=0.0", () -> signalOf(0, 1));
    refuse(
        "maxTimescale must be positive and finite: maxTimescale=NaN",
        () -> signalOf(1, Double.NaN));
    refuse(
        "channels must lie in [0, 2147483647]: channels=-1", () -> signal.get1d(arena, 1, -1, 0));
    refuse("layer must lie in [0, 4]: layer=5", () -> signal.addLayer(x, 5, 5, x));
    refuse(
        "x.rank must be at least 3 [batch, d1, ..., channels]: x.rank=2",
        () -> {
          Tensor flat = x.reshape(6, 4);
          signal.addNd(flat, flat);
        });
    refuse(
        "positions[0].shape must be [x.batch, x.length] = [2, 3]: positions[0].shape=[3, 2]",
        () -> signal.add1dGivenPosition(x, Tensor.allocate(arena, DType.I32, 3, 2), x));
    refuse(
        "out.shape must be the shape of x = [2, 3, 4]: out.shape=[2, 3, 2]",
        () -> signal.add1d(x, 0, x.slice(2, 0, 2)));
  }

  private static TimingSignal signalOf(double min, double max) {
    return TimingSignal.of(min, max);
  }

  private static void refuse(String message, Runnable call) {
    assertEquals(message, assertThrows(IllegalArgumentException.class, call::run).getMessage());
  }
}
