package io.github.attention4j;

import static org.junit.jupiter.api.Assertions.assertArrayEquals;
import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertThrows;

import io.github.attention4j.testing.Checked;
import java.lang.foreign.Arena;
import java.lang.reflect.Method;
import java.util.Arrays;
import java.util.List;
import java.util.Random;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;

/** Short forms for tests and experiments give the same results as the long ones. */
class ShortFormsTest {
  private final Arena arena = Arena.ofConfined();
  private final Random random = new Random(17);
  private final Attention attention = Attention.builder().build();

  @AfterEach
  void closeArena() {
    arena.close();
  }

  private Tensor random(long... shape) {
    return Checked.random(arena, random, shape);
  }

  // ---- Tensors ----

  @Test
  void shouldAllocateZeros() {
    Tensor zeros = Tensor.zeros(arena, 2, 3);
    assertEquals("F32[2, 3]", zeros.layout());
    assertArrayEquals(new float[6], zeros.toFloatArray());
    assertEquals("F32[]", Tensor.zeros(arena).layout());
  }

  @Test
  void shouldReadElements() {
    Tensor floats = Tensor.of(arena, new float[] {1, 2, 3, 4}, 2, 2);
    assertEquals(3f, floats.get(1, 0));
    Tensor ints = Tensor.allocate(arena, DType.I32, 1);
    assertEquals(
        "getFloat needs dtype F32, BF16 or F16: dtype=I32",
        assertThrows(IllegalArgumentException.class, () -> ints.get(0)).getMessage());
    Tensor longs = Tensor.allocate(arena, DType.I64, 1);
    longs.setInt(-5, 0);
    assertEquals(-5L, longs.getLong(0));
    ints.setInt(-6, 0);
    assertEquals(-6L, ints.getLong(0));
    assertThrows(IllegalArgumentException.class, () -> floats.getLong(0, 0));
  }

  @Test
  void shouldMakeTensorsOfBooleans() {
    Tensor booleans = Tensor.of(arena, new boolean[] {true, false, false, true}, 2, 2);
    assertEquals("BOOL[2, 2] [[true, false], [false, true]]", booleans.toString());
    assertEquals(
        "values.length must equal the number of elements of shape [3]: values.length=2, elements=3",
        assertThrows(
                IllegalArgumentException.class,
                () -> Tensor.of(arena, new boolean[] {true, false}, 3))
            .getMessage());
  }

  @Test
  void shouldShowValues() {
    Tensor floats = Tensor.of(arena, new float[] {1, 2.5f, Float.NaN, -0f, 5, 6}, 2, 3);
    assertEquals("F32[2, 3] [[1.0, 2.5, NaN], [-0.0, 5.0, 6.0]]", floats.toString());
    assertEquals(
        "F32[3, 2] strides [1, 3] [[1.0, -0.0], [2.5, 5.0], [NaN, 6.0]]",
        floats.transpose(0, 1).toString());
    assertEquals("F32[] 2.5", floats.select(0, 0).select(0, 1).toString());
    assertEquals("F32[0, 7] []", Tensor.zeros(arena, 0, 7).toString());
    assertEquals("BF16[2] [0.0, 0.0]", Tensor.allocate(arena, DType.BF16, 2).toString());
    assertEquals("I64[1] [0]", Tensor.allocate(arena, DType.I64, 1).toString());
    assertEquals("I8[2] [0, 0]", Tensor.allocate(arena, DType.I8, 2).toString());
  }

  @Test
  void shouldAbridgeLargeTensors() {
    Tensor large = Tensor.allocate(arena, DType.I32, 2, 4000);
    for (int i = 0; i < 4000; i++) {
      large.setInt(i, 0, i);
      large.setInt(-i, 1, i);
    }
    assertEquals(
        "I32[2, 4000] [[0, 1, 2, …, 3997, 3998, 3999], [0, -1, -2, …, -3997, -3998, -3999]]",
        large.toString());
  }

  @Test
  void shouldNotReadTensorsThatCannotBeRead() throws Exception {
    Arena other = Arena.ofConfined();
    Tensor gone = Tensor.zeros(other, 2);
    Thread[] thread = {null};
    String[] text = {null};
    thread[0] = new Thread(() -> text[0] = gone.toString());
    thread[0].start();
    thread[0].join();
    assertEquals("F32[2] in an arena of another thread", text[0]);
    other.close();
    assertEquals("F32[2] in a closed arena", gone.toString());
  }

  // ---- Attention ----

  @Test
  void shouldAllocateTheResult() {
    Tensor q = random(2, 4, 5, 8);
    Tensor k = random(2, 2, 7, 8);
    Tensor v = random(2, 2, 7, 6);
    Tensor out = Tensor.zeros(arena, 2, 4, 5, 6);
    attention.forward(q, k, v, out);
    Tensor allocated = attention.forward(arena, q, k, v);
    assertArrayEquals(new long[] {2, 4, 5, 6}, allocated.shape());
    assertArrayEquals(out.toFloatArray(), allocated.toFloatArray());
    Tensor rank3 = attention.forward(arena, q.select(1, 0), k.select(1, 0), v.select(1, 0));
    assertArrayEquals(new long[] {2, 5, 6}, rank3.shape());
    Tensor rank3Out = Tensor.zeros(arena, 2, 5, 6);
    attention.forward(q.select(1, 0), k.select(1, 0), v.select(1, 0), rank3Out);
    assertArrayEquals(rank3Out.toFloatArray(), rank3.toFloatArray());
    assertEquals(
        "v.rank must equal q.rank: v.rank=3, q.rank=4",
        assertThrows(
                IllegalArgumentException.class,
                () -> attention.forward(arena, q, k, v.select(1, 0)))
            .getMessage());
    assertEquals(
        "q.rank must be 4 [batch, heads, length, dim] or 3 [batch, length, dim]: q.rank=1",
        assertThrows(
                IllegalArgumentException.class,
                () -> attention.forward(arena, random(8), random(8), random(8)))
            .getMessage());
  }

  @Test
  void shouldAllocateTheResultOfArrays() {
    AttentionShape shape = new AttentionShape(2, 4, 2, 5, 7, 8, 6);
    Tensor q = random(2, 4, 5, 8);
    Tensor k = random(2, 2, 7, 8);
    Tensor v = random(2, 2, 7, 6);
    float[] out = attention.forward(shape, q.toFloatArray(), k.toFloatArray(), v.toFloatArray());
    assertArrayEquals(attention.forward(arena, q, k, v).toFloatArray(), out);
    AttentionShape huge = AttentionShape.of(1 << 20, 1 << 20, 1 << 20, 1 << 20);
    assertEquals(
        "batch * headsQ * lenQ * dimV must lie in [0, 2147483639]:"
            + " batch * headsQ * lenQ * dimV=9223372036854775807",
        assertThrows(
                IllegalArgumentException.class,
                () -> attention.forward(huge, new float[0], new float[0], new float[0]))
            .getMessage());
  }

  @Test
  void shouldStartExtrasWithAnyOutput() {
    Tensor q = random(1, 2, 5, 8);
    Tensor out = Tensor.zeros(arena, 1, 2, 5, 8);
    Tensor weights = Tensor.zeros(arena, 1, 2, 5, 5);
    attention.forward(q, q, q, out, Extras.ofWeights(weights));
    assertEquals(1, weights.get(0, 0, 0, 0) + rest(weights), 1e-6);
    Tensor lse = Tensor.zeros(arena, 1, 2, 5);
    attention.forward(q, q, q, out, Extras.ofLogsumexp(lse));
    Tensor scores = Tensor.zeros(arena, 1, 2, 5, 5);
    attention.forward(q, q, q, out, Extras.ofScores(ScoreStage.LOGITS, scores));
    assertEquals(
        Math.exp(scores.get(0, 0, 0, 0) - lse.get(0, 0, 0)), weights.get(0, 0, 0, 0), 1e-6);
    Tensor dropped = Tensor.zeros(arena, 1, 2, 5, 8);
    attention.forward(q, q, q, dropped, Extras.ofDropout(Dropout.of(0.5, 3)));
    assertFalse(Arrays.equals(out.toFloatArray(), dropped.toFloatArray()));
  }

  private static float rest(Tensor weights) {
    float sum = 0;
    for (int j = 1; j < 5; j++) {
      sum += weights.get(0, 0, 0, j);
    }
    return sum;
  }

  // ---- Masks ----

  @Test
  void shouldMakeMasksOfArrays() {
    Tensor q = random(1, 2, 3, 8);
    boolean[] allow = {true, false, true, false, true, true, true, true, false};
    float[] bias = new float[9];
    for (int i = 0; i < 9; i++) {
      bias[i] = allow[i] ? 0.5f * i : Float.NEGATIVE_INFINITY;
    }
    Tensor allowTensor = Tensor.of(arena, allow, 3, 3);
    Tensor biasTensor = Tensor.of(arena, bias, 3, 3);
    assertArrayEquals(
        attention.withMask(Mask.allow(allowTensor)).forward(arena, q, q, q).toFloatArray(),
        attention.withMask(Mask.of(allow, 3, 3)).forward(arena, q, q, q).toFloatArray());
    assertArrayEquals(
        attention.withMask(Mask.bias(biasTensor)).forward(arena, q, q, q).toFloatArray(),
        attention.withMask(Mask.bias(bias, 3, 3)).forward(arena, q, q, q).toFloatArray());
    assertThrows(IllegalArgumentException.class, () -> Mask.of(allow, 3, 4));
  }

  @Test
  void shouldTakeLengthsOf64Bits() {
    Tensor q = random(2, 2, 3, 8);
    Tensor k = random(2, 2, 6, 8);
    Tensor lengths = Tensor.allocate(arena, DType.I64, 2);
    lengths.setInt(4, 0);
    lengths.setInt(1, 1);
    assertArrayEquals(
        attention.withMask(Mask.keyLengths(4, 1)).forward(arena, q, k, k).toFloatArray(),
        attention.withMask(Mask.keyLengths(lengths)).forward(arena, q, k, k).toFloatArray());
    Tensor perRow = Tensor.allocate(arena, DType.I64, 2, 3);
    Tensor perRow32 = Tensor.allocate(arena, DType.I32, 2, 3);
    for (int b = 0; b < 2; b++) {
      for (int i = 0; i < 3; i++) {
        perRow.setInt(2 * i + b, b, i);
        perRow32.setInt(2 * i + b, b, i);
      }
    }
    assertArrayEquals(
        attention.withMask(Mask.keyLengths(perRow32)).forward(arena, q, k, k).toFloatArray(),
        attention.withMask(Mask.keyLengths(perRow)).forward(arena, q, k, k).toFloatArray());
  }

  @Test
  void shouldHideKeysBeyondAPaddedMask() {
    Tensor q = random(1, 2, 3, 8);
    Tensor k = random(1, 2, 6, 8);
    Tensor visible = k.slice(2, 0, 4);
    float[] bias = {0.5f, -1, 2, 0};
    boolean[] all = {true, true, true, true};
    float[] expected =
        attention.withMask(Mask.bias(bias, 4)).forward(arena, q, visible, visible).toFloatArray();
    Mask padded = Mask.bias(bias, 4).paddedWithHidden();
    assertArrayEquals(expected, attention.withMask(padded).forward(arena, q, k, k).toFloatArray());
    assertArrayEquals(
        attention.forward(arena, q, visible, visible).toFloatArray(),
        attention
            .withMask(Mask.of(all, 4).paddedWithHidden())
            .forward(arena, q, k, k)
            .toFloatArray());
    Mask both = padded.and(Mask.causal(Alignment.BOTTOM_RIGHT)).and(Mask.none());
    attention.withMask(both).forward(arena, q, k, k);
  }

  @ParameterizedTest
  @CsvSource({"Mask, causal, 0", "Mask, window, 2", "Mask, chunks, 1", "Score, position, 0"})
  void shouldNotCompileWithoutAPlacement(String type, String name, int otherArguments)
      throws ClassNotFoundException {
    List<Method> methods =
        Arrays.stream(Class.forName("io.github.attention4j." + type).getMethods())
            .filter(method -> method.getName().equals(name))
            .toList();
    assertEquals(3, methods.size(), methods.toString());
    for (Method method : methods) {
      int required = method.getParameterCount() - (method.isVarArgs() ? 1 : 0);
      assertEquals(otherArguments + 1, required, method.toString());
    }
  }
}
