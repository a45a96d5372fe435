package io.github.attention4j.classics.t2t;

import static io.github.attention4j.testing.Checked.onEveryTier;
import static io.github.attention4j.testing.Checked.random;
import static org.junit.jupiter.api.Assertions.assertArrayEquals;
import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertThrows;

import io.github.attention4j.A4j;
import io.github.attention4j.DType;
import io.github.attention4j.Tensor;
import io.github.attention4j.classics.t2t.Conv1d.Padding;
import java.lang.foreign.Arena;
import java.util.Random;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.BeforeEach;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.function.Executable;

class Conv1dTest {
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

  /** The rows of zeros to the left of a sequence. */
  private static int left(int width, Padding padding) {
    return switch (padding) {
      case VALID -> 0;
      case SAME -> (width - 1) / 2;
      case LEFT -> width - 1;
    };
  }

  private static void requireConvolution(
      Tensor x, Tensor kernel, Tensor bias, Padding padding, Tensor out) {
    int width = (int) kernel.size(0);
    for (int b = 0; b < out.size(0); b++) {
      for (int t = 0; t < out.size(1); t++) {
        for (int o = 0; o < out.size(2); o++) {
          double wanted = bias == null ? 0 : bias.getFloat(o);
          double size = Math.abs(wanted);
          for (int tap = 0; tap < width; tap++) {
            int row = t + tap - left(width, padding);
            for (int c = 0; row >= 0 && row < x.size(1) && c < x.size(2); c++) {
              double term = (double) x.getFloat(b, row, c) * kernel.getFloat(tap, o, c);
              wanted += term;
              size += Math.abs(term);
            }
          }
          String at = padding + " width " + width + " at " + b + ", " + t + ", " + o;
          assertEquals(wanted, out.getFloat(b, t, o), 1e-6 * (1 + size), at);
        }
      }
    }
  }

  @Test
  void shouldConvolveUnderEveryPaddingWithEveryWidth() {
    for (Padding padding : Padding.values()) {
      for (int width : new int[] {1, 2, 3, 4, 5, 8}) {
        if (padding == Padding.LEFT && width % 2 == 0) {
          continue;
        }
        // Shorter than the kernel, as long, and longer.
        for (int len : new int[] {0, 1, 2, 5, 9, 40}) {
          if (padding == Padding.VALID && len < width - 1) {
            continue;
          }
          Tensor x = random(arena, random, 2, len, 6);
          Tensor kernel = random(arena, random, width, 7, 6);
          Tensor bias = random(arena, random, 7);
          onEveryTier(
              () -> {
                for (Tensor added : new Tensor[] {bias, null}) {
                  Conv1d conv = Conv1d.of(kernel, added, padding);
                  Tensor out = floats(2, conv.lengthOut(len), 7).fill(Float.NaN);
                  conv.forward(x, out);
                  requireConvolution(x, kernel, added, padding, out);
                }
              });
        }
      }
    }
  }

  @Test
  void shouldTakeViewsOfWiderRows() {
    Tensor x = random(arena, random, 3, 12, 10).slice(2, 2, 6).slice(1, 1, 9);
    Tensor kernel = random(arena, random, 3, 6, 4).transpose(1, 2).toF32(arena);
    Conv1d conv = Conv1d.of(kernel, null, Padding.SAME);
    Tensor out = floats(3, 9, 8).slice(2, 3, 4);
    conv.forward(x, out);
    requireConvolution(x, kernel, null, Padding.SAME, out);
  }

  @Test
  void shouldGiveTheSameBitsForEveryNumberOfThreads() {
    Tensor x = random(arena, random, 2, 300, 32);
    Conv1d conv =
        Conv1d.of(random(arena, random, 5, 48, 32), random(arena, random, 48), Padding.LEFT);
    int before = A4j.threads();
    try {
      Tensor one = floats(2, 300, 48);
      A4j.threads(1);
      conv.forward(x, one);
      A4j.threads(2);
      Tensor two = floats(2, 300, 48);
      conv.forward(x, two);
      assertArrayEquals(one.toFloatArray(), two.toFloatArray());
    } finally {
      A4j.threads(before);
    }
  }

  @Test
  void shouldSayWhatItIs() {
    Conv1d conv = Conv1d.of(floats(3, 5, 4), floats(5), Padding.VALID);
    assertEquals(3, conv.width());
    assertEquals(4, conv.dimIn());
    assertEquals(5, conv.dimOut());
    assertEquals(Padding.VALID, conv.padding());
    assertEquals(6, conv.lengthOut(8));
    assertEquals(8, Conv1d.of(floats(3, 5, 4), null, Padding.LEFT).lengthOut(8));
  }

  @Test
  void shouldRefuseWhatDoesNotFit() {
    refuse(
        "kernel.width must be odd under padding LEFT: kernel.width=4",
        () -> Conv1d.of(floats(4, 5, 4), null, Padding.LEFT));
    refuse(
        "kernel.width must lie in [1, 2147483647]: kernel.width=0",
        () -> Conv1d.of(floats(0, 5, 4), null, Padding.SAME));
    refuse(
        "bias.dim must equal weight.dimOut: bias.dim=4, weight.dimOut=5",
        () -> Conv1d.of(floats(3, 5, 4), floats(4), Padding.SAME));
    Conv1d valid = Conv1d.of(floats(4, 5, 4), null, Padding.VALID);
    refuse(
        "x.len must be at least width - 1 under padding VALID: x.len=2, width=4",
        () -> valid.forward(floats(1, 2, 4), floats(1, 0, 5)));
    refuse(
        "x.dim must equal kernel.dimIn: x.dim=3, kernel.dimIn=4",
        () -> valid.forward(floats(1, 6, 3), floats(1, 3, 5)));
    refuse(
        "out.shape must be [batch, lengthOut, dimOut] = [1, 3, 5]: out.shape=[1, 6, 5]",
        () -> valid.forward(floats(1, 6, 4), floats(1, 6, 5)));
    Tensor shared = floats(1, 9, 5);
    Conv1d same = Conv1d.of(floats(3, 5, 5), null, Padding.SAME);
    assertEquals(
        "out must not overlap x",
        assertThrows(IllegalArgumentException.class, () -> same.forward(shared, shared))
            .getMessage()
            .split(":")[0]);
  }

  @Test
  void shouldRefuseAClosedArena() {
    Arena closed = Arena.ofConfined();
    Tensor gone = Tensor.allocate(closed, DType.F32, 1, 4, 5);
    closed.close();
    Conv1d conv = Conv1d.of(floats(3, 5, 5), null, Padding.SAME);
    String message =
        assertThrows(IllegalStateException.class, () -> conv.forward(gone, floats(1, 4, 5)))
            .getMessage();
    assertEquals("x is in an arena that has been closed", message.split(":")[0]);
  }
}
