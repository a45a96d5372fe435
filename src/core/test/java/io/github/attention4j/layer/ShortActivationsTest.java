package io.github.attention4j.layer;

import static io.github.attention4j.testing.Checked.onEveryTier;
import static io.github.attention4j.testing.Checked.random;
import static org.junit.jupiter.api.Assertions.assertArrayEquals;
import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertThrows;

import io.github.attention4j.A4j;
import io.github.attention4j.Attention;
import io.github.attention4j.DType;
import io.github.attention4j.KvCache;
import io.github.attention4j.Tensor;
import java.lang.foreign.Arena;
import java.util.Random;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.function.Executable;

/**
 * Layers whose inputs and outputs have 16 bits: the same bits as float32 over the widened inputs,
 * rounded once.
 */
class ShortActivationsTest {
  private static final DType[] HALVES = {DType.BF16, DType.F16};
  private static final DType[] REALS = {DType.F32, DType.BF16, DType.F16};

  private final Random random = new Random(11);
  private final Arena arena = Arena.ofShared();
  private final int threadsBefore = A4j.threads();

  private interface Layer {
    void run(Tensor x, Tensor out);
  }

  @AfterEach
  void close() {
    A4j.threads(threadsBefore);
    arena.close();
  }

  private Tensor stored(DType dtype, Tensor floats) {
    return Tensor.allocate(arena, dtype, floats.shape()).copyFrom(floats);
  }

  private Tensor room(DType dtype, long... shape) {
    return Tensor.allocate(arena, dtype, shape);
  }

  private static void refuse(String message, Executable call) {
    assertEquals(message, assertThrows(IllegalArgumentException.class, call).getMessage());
  }

  /** Every pair of types, on every tier, with one and with two threads. */
  private void requireRoundedFloats(Layer layer, long[] xShape, long[] outShape) {
    Tensor numbers = random(arena, random, xShape);
    for (DType of : REALS) {
      Tensor x = stored(of, numbers);
      Tensor wide = stored(DType.F32, x);
      for (DType to : REALS) {
        Tensor expected = room(DType.F32, outShape);
        Tensor out = room(to, outShape);
        onEveryTier(
            () -> {
              layer.run(wide, expected);
              float[] rounded = stored(to, expected).toFloatArray();
              for (int threads = 1; threads <= 2; threads++) {
                A4j.threads(threads);
                layer.run(x, out);
                assertArrayEquals(rounded, out.toFloatArray(), of + " to " + to);
              }
            });
      }
    }
  }

  @Test
  void shouldProjectShortRows() {
    Tensor weight = random(arena, random, 70, 320);
    Tensor bias = random(arena, random, 70);
    Linear[] linears = {
      Linear.of(weight, bias),
      Linear.of(stored(DType.BF16, weight), bias).withActivation(Activation.GELU),
      Linear.of(weight).packed(arena).withActivation(Activation.SILU),
      Linear.of(weight, bias).packed(arena),
      Linear.of(QuantizedWeights.quantize(arena, weight, Quantization.symmetric(8)), bias)
    };
    for (Linear linear : linears) {
      for (int rows : new int[] {1, 5, 130}) {
        requireRoundedFloats(linear::forward, new long[] {rows, 320}, new long[] {rows, 70});
      }
    }
  }

  @Test
  void shouldAddToAndMultiplyShortOutputs() {
    Linear linear = Linear.of(random(arena, random, 100, 33), random(arena, random, 100));
    for (DType dtype : HALVES) {
      for (int rows : new int[] {2, 150}) {
        Tensor x = stored(dtype, random(arena, random, rows, 33));
        Tensor old = stored(dtype, random(arena, random, rows, 100));
        onEveryTier(
            () -> {
              Tensor product = room(DType.F32, rows, 100);
              Tensor joined = room(DType.F32, rows, 100);
              Linear gate = linear.withActivation(Activation.SILU);
              linear.forward(x, product);
              Elementwise.add(product, old, joined);
              Tensor out = room(dtype, rows, 100).copyFrom(old);
              linear.forwardAdd(x, out);
              assertArrayEquals(stored(dtype, joined).toFloatArray(), out.toFloatArray());
              gate.forward(x, product);
              Elementwise.multiply(product, old, joined);
              out.copyFrom(old);
              gate.forwardMultiply(x, out);
              assertArrayEquals(stored(dtype, joined).toFloatArray(), out.toFloatArray());
            });
      }
    }
  }

  @Test
  void shouldNormaliseShortRows() {
    for (int dim : new int[] {1, 37, 768}) {
      Tensor weight = random(arena, random, dim);
      Tensor bias = random(arena, random, dim);
      long[] shape = {3, 4, dim};
      requireRoundedFloats(RmsNorm.of(weight, 1e-6)::forward, shape, shape);
      requireRoundedFloats(LayerNorm.of(weight, bias)::forward, shape, shape);
    }
    Tensor x = stored(DType.BF16, random(arena, random, 2, 16384));
    Tensor expected = room(DType.F32, 2, 16384);
    LayerNorm norm = LayerNorm.of(null, null);
    norm.forward(x.toF32(arena), expected);
    norm.forward(x, x); // in place, and as wide as rows may be
    assertArrayEquals(stored(DType.BF16, expected).toFloatArray(), x.toFloatArray());
    Tensor wide = room(DType.F16, 1, 16385);
    refuse("x.dim must be at most 16384 if it is F16: x.dim=16385", () -> norm.forward(wide, wide));
    refuse(
        "out.dim must be at most 16384 if it is F16: out.dim=16385",
        () -> norm.forward(room(DType.F32, 1, 16385), wide));
    RmsNorm rms = RmsNorm.of(room(DType.F32, 16385), 1e-6);
    refuse("x.dim must be at most 16384 if it is F16: x.dim=16385", () -> rms.forward(wide, wide));
  }

  @Test
  void shouldReportMeansOfShortRows() {
    Tensor x = stored(DType.F16, random(arena, random, 5, 64));
    Tensor[] expected = {room(DType.F32, 5, 64), room(DType.F32, 5, 1), room(DType.F32, 5, 1)};
    Tensor[] got = {room(DType.F16, 5, 64), room(DType.F32, 5, 1), room(DType.F32, 5, 1)};
    LayerNorm norm = LayerNorm.of(null, null);
    norm.forward(x.toF32(arena), expected[0], expected[1], expected[2]);
    norm.forward(x, got[0], got[1], got[2]);
    assertArrayEquals(expected[1].toFloatArray(), got[1].toFloatArray());
    assertArrayEquals(expected[2].toFloatArray(), got[2].toFloatArray());
  }

  @Test
  void shouldRotateShortRows() {
    for (RotaryEmbedding.Style style : RotaryEmbedding.Style.values()) {
      for (int[] dims : new int[][] {{64, 64}, {70, 26}, {1200, 1100}}) {
        RotaryEmbedding rotary =
            RotaryEmbedding.builder().positions(1300).rotaryDim(dims[1]).style(style).build(arena);
        long[] shape = {2, 3, 5, dims[0]};
        requireRoundedFloats((x, out) -> rotary.forward(x, out, 2), shape, shape);
      }
    }
    RotaryEmbedding rotary = RotaryEmbedding.builder().positions(1300).rotaryDim(26).build(arena);
    Tensor x = stored(DType.BF16, random(arena, random, 2, 3, 5, 70));
    Tensor out = room(DType.BF16, 2, 3, 5, 70);
    rotary.forward(x, out);
    rotary.forward(x, x);
    assertArrayEquals(out.toFloatArray(), x.toFloatArray());
  }

  @Test
  void shouldActivateAddAndMultiplyShortRows() {
    long[] shape = {3, 1300};
    for (Activation activation : Activation.values()) {
      requireRoundedFloats(activation::forward, shape, shape);
    }
    for (DType dtype : REALS) {
      Tensor y = stored(dtype, random(arena, random, shape));
      requireRoundedFloats((x, out) -> Elementwise.add(x, y, out), shape, shape);
      requireRoundedFloats((x, out) -> Elementwise.scaleAdd(x, 0.3f, y, out), shape, shape);
      requireRoundedFloats((x, out) -> Activation.GELU.gate(x, y, out), shape, shape);
    }
    Tensor x = stored(DType.BF16, random(arena, random, shape));
    Tensor sum = room(DType.BF16, shape);
    Elementwise.add(x, x, sum);
    Elementwise.add(x, x, x);
    assertArrayEquals(sum.toFloatArray(), x.toFloatArray());
  }

  @Test
  void shouldLookUpShortRows() {
    Tensor numbers = random(arena, random, 7, 20);
    Tensor tokens = Tensor.allocate(arena, DType.I32, 2, 2);
    int[] rows = {6, 0, 3, 6};
    for (int i = 0; i < rows.length; i++) {
      tokens.setInt(rows[i], i / 2, i % 2);
    }
    for (DType of : REALS) {
      Tensor table = stored(of, numbers);
      for (DType to : REALS) {
        Tensor out = room(to, 2, 2, 20);
        Embedding.of(table).forward(tokens, out);
        for (int i = 0; i < rows.length; i++) {
          Tensor expected = stored(to, stored(DType.F32, table.select(0, rows[i])));
          assertArrayEquals(
              expected.toFloatArray(), out.select(0, i / 2).select(0, i % 2).toFloatArray());
        }
      }
    }
  }

  @Test
  void shouldGateShortRows() {
    SwiGlu network =
        SwiGlu.of(
            Linear.of(random(arena, random, 90, 40)),
            Linear.of(random(arena, random, 90, 40)),
            Linear.of(random(arena, random, 40, 90)));
    requireRoundedFloats(network::forward, new long[] {6, 40}, new long[] {6, 40});
  }

  @Test
  void shouldAttendWithShortRowsBetweenProjections() {
    Linear query = Linear.of(random(arena, random, 64, 48), random(arena, random, 64));
    Linear key = Linear.of(random(arena, random, 32, 48));
    Linear value = Linear.of(random(arena, random, 32, 48));
    Linear last = Linear.of(random(arena, random, 48, 64));
    MultiHeadAttention layer =
        MultiHeadAttention.builder(query, key, value, last).heads(4).headsKv(2).build();
    for (DType dtype : HALVES) {
      Tensor x = stored(dtype, random(arena, random, 2, 9, 48));
      onEveryTier(
          () -> {
            Tensor q = room(dtype, 2, 9, 64);
            Tensor k = room(dtype, 2, 9, 32);
            Tensor v = room(dtype, 2, 9, 32);
            Tensor read = room(dtype, 2, 9, 64);
            Tensor expected = room(dtype, 2, 9, 48);
            query.forward(x, q);
            key.forward(x, k);
            value.forward(x, v);
            Attention.builder()
                .build()
                .forward(q.splitHeads(4), k.splitHeads(2), v.splitHeads(2), read.splitHeads(4));
            last.forward(read, expected);
            Tensor out = room(dtype, 2, 9, 48);
            layer.forward(x, out);
            assertArrayEquals(expected.toFloatArray(), out.toFloatArray());
          });
    }
  }

  @Test
  void shouldAppendShortRowsToCaches() {
    MultiHeadAttention layer = MultiHeadAttention.random(arena, 32, 4, 5).build();
    Tensor x = stored(DType.BF16, random(arena, random, 1, 6, 32));
    Tensor expected = room(DType.F32, 1, 6, 32);
    Tensor out = room(DType.BF16, 1, 6, 32);
    KvCache cache = layer.allocateCache(arena, 1, 6);
    layer.forward(x.toF32(arena), cache, expected);
    cache.reset();
    layer.forward(x, cache, out);
    assertArrayEquals(stored(DType.BF16, expected).toFloatArray(), out.toFloatArray());
  }

  @Test
  void shouldRefuseWhatIsNoRealNumber() {
    Tensor ints = room(DType.I32, 2, 8);
    Tensor x = random(arena, random, 2, 8);
    Linear linear = Linear.of(random(arena, random, 8, 8));
    refuse("x.dtype must be F32, BF16 or F16: x.dtype=I32", () -> linear.forward(ints, x));
    refuse("out.dtype must be F32, BF16 or F16: out.dtype=I32", () -> linear.forward(x, ints));
    refuse("y.dtype must be F32, BF16 or F16: y.dtype=I32", () -> Elementwise.add(x, ints, x));
    Tensor bytes = Tensor.of(x.segment(), DType.BF16, 2, 8);
    assertEquals(
        "out must not overlap x",
        assertThrows(
                IllegalArgumentException.class,
                () -> RmsNorm.of(room(DType.F32, 8), 1e-6).forward(x, bytes))
            .getMessage()
            .split(":")[0]);
  }
}
