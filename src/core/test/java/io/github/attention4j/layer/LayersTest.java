package io.github.attention4j.layer;

import static io.github.attention4j.testing.Checked.onEveryTier;
import static io.github.attention4j.testing.Checked.random;
import static org.junit.jupiter.api.Assertions.assertArrayEquals;
import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import io.github.attention4j.Alignment;
import io.github.attention4j.DType;
import io.github.attention4j.Differential;
import io.github.attention4j.Extras;
import io.github.attention4j.KvCache;
import io.github.attention4j.Mask;
import io.github.attention4j.Tensor;
import java.lang.foreign.Arena;
import java.lang.foreign.ValueLayout;
import java.util.Random;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.BeforeEach;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.function.Executable;

class LayersTest {
  private final Random random = new Random(7);
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

  // ---- Linear ----

  @Test
  void shouldProjectFewRowsAndMany() {
    for (int rows : new int[] {1, 2, 3, 5, 17, 64, 200, 300}) {
      for (int[] dims : new int[][] {{1, 1}, {7, 5}, {64, 48}, {192, 512}, {33, 130}}) {
        Tensor x = random(arena, random, rows, dims[0]);
        Tensor weight = random(arena, random, dims[1], dims[0]);
        Tensor bias = random(arena, random, dims[1]);
        Tensor out = floats(rows, dims[1]);
        onEveryTier(
            () -> {
              Linear.of(weight, bias).forward(x, out);
              requireProjection(x, weight, bias, 0, out);
              Linear.of(weight).forward(x, out);
              requireProjection(x, weight, null, 0, out);
              out.fill(3);
              Linear.of(weight, bias).forwardAdd(x, out);
              requireProjection(x, weight, bias, 3, out);
              Linear.of(weight, bias).packed(arena).forward(x, out);
              requireProjection(x, weight, bias, 0, out);
            });
      }
    }
  }

  @Test
  void shouldGiveTheSameBitsWithPackedWeightsWhereRowsAreMany() {
    Tensor x = random(arena, random, 300, 400);
    Linear linear = Linear.of(random(arena, random, 100, 400), random(arena, random, 100));
    Tensor[] outs = {floats(300, 100), floats(300, 100), floats(300, 52)};
    linear.forward(x, outs[0]);
    linear.packed(arena).forward(x, outs[1]);
    linear.packed(arena).outputs(48, 52).forward(x, outs[2]);
    assertArrayEquals(outs[0].toFloatArray(), outs[1].toFloatArray());
    assertArrayEquals(outs[0].slice(1, 48, 52).toFloatArray(), outs[2].toFloatArray());
  }

  @Test
  void shouldForgetWhatEarlierCallsComputed() {
    MultiHeadAttention attention =
        MultiHeadAttention.builder(linear(64, 48), linear(64, 48), linear(64, 48), linear(48, 64))
            .heads(4)
            .build();
    SwiGlu ffn = SwiGlu.of(linear(64, 200), linear(64, 200), linear(200, 64));
    Tensor x = random(arena, random, 2, 30, 64);
    Tensor poison = floats(2, 30, 64);
    poison.fill(Float.NaN);
    Tensor out = floats(2, 30, 64);
    attention.forward(x, out);
    final float[] attended = out.toFloatArray();
    ffn.forward(x, out);
    final float[] fed = out.toFloatArray();
    for (int call = 0; call < 3; call++) {
      attention.forward(poison, out);
      ffn.forward(poison, out);
    }
    attention.forward(x, out);
    assertArrayEquals(attended, out.toFloatArray());
    ffn.forward(x, out);
    assertArrayEquals(fed, out.toFloatArray());
  }

  @Test
  void shouldRefusePackedWeightsWhoseArenaIsClosed() {
    Linear linear = Linear.of(random(arena, random, 100, 400));
    Linear packed;
    try (Arena other = Arena.ofConfined()) {
      packed = linear.packed(other);
    }
    IllegalStateException closed =
        assertThrows(
            IllegalStateException.class, () -> packed.forward(floats(2, 400), floats(2, 100)));
    assertTrue(closed.getMessage().startsWith("weight"), closed.getMessage());
    linear.forward(floats(2, 400), floats(2, 100));
  }

  private static void requireProjection(
      Tensor x, Tensor weight, Tensor bias, float before, Tensor out) {
    int dimIn = (int) weight.size(1);
    int dimOut = (int) weight.size(0);
    float[] xs = x.toFloatArray();
    float[] weights = weight.toFloatArray();
    float[] got = out.toFloatArray();
    for (int at = 0; at < got.length; at++) {
      int row = at / dimOut;
      int o = at % dimOut;
      double exact = before + (bias == null ? 0 : bias.getFloat(o));
      double size = Math.abs(exact);
      for (int i = 0; i < dimIn; i++) {
        double product = (double) xs[row * dimIn + i] * weights[o * dimIn + i];
        exact += product;
        size += Math.abs(product);
      }
      assertEquals(exact, got[at], size * 1e-6, "row " + row + ", column " + o);
    }
  }

  @Test
  void shouldProjectRowsOfAnyRankAndDistance() {
    Tensor wide = random(arena, random, 2, 9, 30);
    Tensor x = wide.slice(2, 4, 20);
    Tensor weight = random(arena, random, 12, 25).slice(1, 3, 20);
    Tensor out = floats(2, 9, 40).slice(2, 8, 12);
    Linear.of(weight).forward(x, out);
    requireProjection(x, weight, null, 0, out);
    Tensor part = random(arena, random, 3, 9, 20).slice(1, 2, 5);
    Tensor result = floats(3, 8, 12).slice(1, 3, 5);
    Linear.of(weight).forward(part, result);
    requireProjection(part, weight, null, 0, result);
    RmsNorm.withoutWeight(1e-5).forward(part, part);
  }

  @Test
  void shouldRefuseProjectionsThatDoNotFit() {
    Linear linear = Linear.of(floats(5, 8), floats(5));
    refuse(
        "x.dim must equal weight.dimIn: x.dim=7, weight.dimIn=8",
        () -> linear.forward(floats(2, 7), floats(2, 5)));
    refuse(
        "out.dim must equal weight.dimOut: out.dim=8, weight.dimOut=5",
        () -> linear.forward(floats(2, 8), floats(2, 8)));
    refuse(
        "out.rows must equal x.rows: out.rows=3, x.rows=2",
        () -> linear.forward(floats(2, 8), floats(3, 5)));
    refuse("weight.rank must be 2: weight.rank=1, F32[8]", () -> Linear.of(floats(8)));
    refuse(
        "bias.dim must equal weight.dimOut: bias.dim=8, weight.dimOut=5",
        () -> Linear.of(floats(5, 8), floats(8)));
    refuse(
        "x must have evenly spaced rows that do not overlap: shape=[3, 2, 8], "
            + "strides=[8, 24, 1]",
        () -> linear.forward(floats(2, 3, 8).transpose(0, 1), floats(6, 5)));
    Tensor x = floats(2, 8);
    assertTrue(
        assertThrows(IllegalArgumentException.class, () -> linear.forward(x, x.slice(1, 0, 5)))
            .getMessage()
            .startsWith("out must not overlap x: "));
    linear.forward(floats(0, 8), floats(0, 5));
  }

  // ---- RMSNorm ----

  @Test
  void shouldNormaliseRows() {
    for (int dim : new int[] {1, 5, 16, 64, 130, 1000}) {
      Tensor x = random(arena, random, 3, 4, dim);
      Tensor weight = random(arena, random, dim);
      Tensor out = floats(3, 4, dim);
      onEveryTier(
          () -> {
            RmsNorm.of(weight, 1e-5).withScale(0.75).forward(x, out);
            requireNorm(x, weight, 0.75, out);
            RmsNorm.withoutWeight(1e-5).forward(x, out);
            requireNorm(x, null, 1, out);
            out.copyFrom(x);
            RmsNorm.of(weight, 1e-5).forward(out, out);
            requireNorm(x, weight, 1, out);
          });
    }
  }

  private static void requireNorm(Tensor x, Tensor weight, double scale, Tensor out) {
    int dim = (int) x.size(-1);
    float[] values = x.toFloatArray();
    float[] got = out.toFloatArray();
    for (int row = 0; row < values.length / dim; row++) {
      double squares = 0;
      for (int i = 0; i < dim; i++) {
        squares += (double) values[row * dim + i] * values[row * dim + i];
      }
      double factor = scale / Math.sqrt(squares / dim + 1e-5f);
      for (int i = 0; i < dim; i++) {
        double exact = values[row * dim + i] * factor * (weight == null ? 1 : weight.getFloat(i));
        assertEquals(exact, got[row * dim + i], 2e-6 * Math.max(1, Math.abs(exact)));
      }
    }
  }

  @Test
  void shouldRefuseNormsThatDoNotFit() {
    RmsNorm norm = RmsNorm.of(floats(8), 1e-6);
    refuse(
        "weight.dim must equal x.dim: weight.dim=8, x.dim=6",
        () -> norm.forward(floats(2, 6), floats(2, 6)));
    refuse(
        "epsilon must be a finite float and not negative: epsilon=-1.0",
        () -> RmsNorm.withoutWeight(-1));
    Tensor x = floats(17);
    Tensor shifted = x.slice(0, 1, 16).reshape(2, 8);
    assertTrue(
        assertThrows(
                IllegalArgumentException.class,
                () -> norm.forward(x.slice(0, 0, 16).reshape(2, 8), shifted))
            .getMessage()
            .startsWith("out must not overlap x: "));
  }

  // ---- Rotary positions ----

  @Test
  void shouldTurnPairsByTheirPositions() {
    RotaryTable table = RotaryTable.compute(arena, 40, 12, 10_000);
    for (RotaryEmbedding.Style style : RotaryEmbedding.Style.values()) {
      RotaryEmbedding rotary = RotaryEmbedding.of(table, style);
      Tensor x = random(arena, random, 2, 7, 3 * 20).splitHeads(3);
      Tensor out = floats(2, 3, 7, 20);
      Tensor shared = ints(7, 5, 5, 0, 39, 1, 2, 3);
      Tensor each = ints(14, 0, 1, 2, 3, 4, 5, 6, 30, 31, 32, 33, 34, 35, 36).reshape(2, 7);
      onEveryTier(
          () -> {
            rotary.forward(x, out, 9);
            requireTurned(x, out, style, (b, i) -> 9 + i);
            rotary.forward(x, out, new int[] {0, 33});
            requireTurned(x, out, style, (b, i) -> (b == 0 ? 0 : 33) + i);
            rotary.forward(x, out, shared);
            requireTurned(x, out, style, (b, i) -> shared.getInt(i));
            rotary.forward(x, out, each);
            requireTurned(x, out, style, (b, i) -> each.getInt(b, i));
            Tensor inPlace = floats(2, 7, 60).splitHeads(3).copyFrom(x);
            rotary.forward(inPlace, inPlace, each);
            assertArrayEquals(out.toFloatArray(), inPlace.toFloatArray());
          });
    }
  }

  private Tensor ints(int count, int... values) {
    Tensor tensor = Tensor.allocate(arena, DType.I32, count);
    for (int i = 0; i < count; i++) {
      tensor.setInt(values[i], i);
    }
    return tensor;
  }

  @FunctionalInterface
  private interface Position {
    int of(int b, int i);
  }

  private static void requireTurned(
      Tensor x, Tensor out, RotaryEmbedding.Style style, Position position) {
    int rotaryDim = 12;
    for (int b = 0; b < x.size(0); b++) {
      for (int h = 0; h < x.size(1); h++) {
        for (int i = 0; i < x.size(2); i++) {
          for (int c = 0; c < x.size(3); c++) {
            double exact = x.getFloat(b, h, i, c);
            if (c < rotaryDim) {
              boolean half = style == RotaryEmbedding.Style.HALF;
              int pair = half ? c % (rotaryDim / 2) : c / 2;
              boolean second = half ? c >= rotaryDim / 2 : c % 2 == 1;
              int other = half ? (c + rotaryDim / 2) % rotaryDim : c ^ 1;
              double angle = position.of(b, i) * Math.pow(10_000, -2.0 * pair / rotaryDim);
              double cross = x.getFloat(b, h, i, other) * Math.sin(angle);
              exact = exact * Math.cos(angle) + (second ? cross : -cross);
            }
            assertEquals(exact, out.getFloat(b, h, i, c), 2e-6);
          }
        }
      }
    }
  }

  @Test
  void shouldTurnByTheTableOfEachBatchAndByWidePositions() {
    int rotaryDim = 12;
    RotaryTable shared = RotaryTable.compute(arena, 40, rotaryDim, 10_000);
    Tensor cos = floats(2, 7, rotaryDim / 2);
    Tensor sin = floats(2, 7, rotaryDim / 2);
    for (int b = 0; b < 2; b++) {
      cos.select(0, b).copyFrom(shared.cos().slice(0, 20 * b, 7));
      sin.select(0, b).copyFrom(shared.sin().slice(0, 20 * b, 7));
    }
    RotaryTable each = RotaryTable.of(cos, sin);
    assertEquals(7, each.positions());
    assertEquals(rotaryDim, each.rotaryDim());
    for (RotaryEmbedding.Style style : RotaryEmbedding.Style.values()) {
      RotaryEmbedding rotary = RotaryEmbedding.of(each, style);
      Tensor x = random(arena, random, 2, 7, 3 * 20).splitHeads(3);
      Tensor out = floats(2, 3, 7, 20);
      Tensor wide = Tensor.allocate(arena, DType.I64, 7);
      for (int i = 0; i < 7; i++) {
        wide.setInt(6 - i, i);
      }
      onEveryTier(
          () -> {
            rotary.forward(x, out);
            requireTurned(x, out, style, (b, i) -> 20 * b + i);
            rotary.forward(x, out, wide);
            requireTurned(x, out, style, (b, i) -> 20 * b + 6 - i);
            Tensor two = x.slice(2, 0, 2);
            Tensor turned = out.slice(2, 0, 2);
            rotary.forward(two, turned, 4);
            requireTurned(two, turned, style, (b, i) -> 20 * b + 4 + i);
            rotary.forward(two, turned, new int[] {5, 1});
            requireTurned(two, turned, style, (b, i) -> 20 * b + (b == 0 ? 5 : 1) + i);
          });
      wide.segment().set(ValueLayout.JAVA_LONG, 8, 1L << 32);
      refuse(
          "positions[0, 1] must lie in [0, 6]: positions[0, 1]=4294967296",
          () -> rotary.forward(x, out, wide.unsqueeze(0).expand(0, 2)));
      Tensor three = floats(3, 1, 7, 20);
      refuse(
          "table.batch must equal x.batch: table.batch=2, x.batch=3",
          () -> rotary.forward(three, three));
    }
    refuse(
        "cos.rank must be 2 [positions, pairs] or 3 [batch, positions, pairs]: cos.rank=1",
        () -> RotaryTable.of(floats(4), floats(4)));
  }

  @Test
  void shouldRefusePositionsOutsideTheTable() {
    RotaryTable table = RotaryTable.compute(arena, 10, 8, 10_000);
    RotaryEmbedding rotary = RotaryEmbedding.of(table, RotaryEmbedding.Style.HALF);
    Tensor x = floats(2, 1, 4, 8);
    refuse(
        "positions must lie in the table: start=7, len=4, table.positions=10",
        () -> rotary.forward(x, x, 7));
    refuse(
        "starts[1] must lie in [0, 6]: starts[1]=7", () -> rotary.forward(x, x, new int[] {0, 7}));
    refuse(
        "positions[2] must lie in [0, 9]: positions[2]=10",
        () -> rotary.forward(x, x, ints(4, 0, 1, 10, 2)));
    refuse(
        "positions.shape must be [batch, len] = [2, 4]: positions.shape=[1, 4]",
        () -> rotary.forward(x, x, ints(4, 0, 1, 2, 3).unsqueeze(0)));
    refuse(
        "x.dim must be at least rotaryDim: x.dim=6, rotaryDim=8 of a table of 10 positions",
        () -> rotary.forward(floats(1, 4, 6), floats(1, 4, 6), 0));
    refuse(
        "rotaryDim must be a multiple of the channels of a pair: rotaryDim=7, "
            + "the channels of a pair=2",
        () -> RotaryTable.compute(arena, 10, 7, 10_000));
    refuse(
        "rotaryDim must be the width of a head, and positions the length of a sequence; they may be"
            + " swapped: positions=64, rotaryDim=4096",
        () -> RotaryTable.compute(arena, 64, 4096, 10_000));
    RotaryTable.compute(arena, 2048, 2048, 10_000);
  }

  // ---- SwiGLU ----

  @Test
  void shouldGateByTheSigmoid() {
    Tensor gate = random(arena, random, 5, 37);
    Tensor up = random(arena, random, 5, 37);
    gate.setFloat(100, 0, 0);
    gate.setFloat(-100, 0, 1);
    Tensor out = floats(5, 37);
    onEveryTier(
        () -> {
          SwiGlu.multiply(gate, up, out);
          for (int r = 0; r < 5; r++) {
            for (int c = 0; c < 37; c++) {
              double g = gate.getFloat(r, c);
              double exact = g / (1 + Math.exp(-g)) * up.getFloat(r, c);
              assertEquals(exact, out.getFloat(r, c), 1e-6 * Math.max(1, Math.abs(exact)));
            }
          }
        });
    Tensor x = random(arena, random, 5, 16);
    Linear gating = Linear.of(random(arena, random, 37, 16));
    Linear rising = Linear.of(random(arena, random, 37, 16));
    Linear falling = Linear.of(random(arena, random, 16, 37));
    Tensor a = floats(5, 37);
    Tensor b = floats(5, 37);
    gating.forward(x, a);
    rising.forward(x, b);
    SwiGlu.multiply(a, b, a);
    Tensor expected = floats(5, 16);
    falling.forward(a, expected);
    Tensor whole = floats(5, 16);
    SwiGlu.of(gating, rising, falling).forward(x, whole);
    assertArrayEquals(expected.toFloatArray(), whole.toFloatArray());
    refuse(
        "down.dimIn must equal gate.dimOut: down.dimIn=16, gate.dimOut=37",
        () -> SwiGlu.of(gating, rising, Linear.of(floats(16, 16))));
  }

  // ---- Whole layers ----

  private Linear linear(int dimIn, int dimOut) {
    float[] values = random(arena, random, dimOut, dimIn).toFloatArray();
    for (int i = 0; i < values.length; i++) {
      values[i] /= (float) Math.sqrt(dimIn);
    }
    return Linear.of(Tensor.of(arena, values, dimOut, dimIn));
  }

  private RotaryEmbedding rotary(int dim) {
    RotaryTable table = RotaryTable.compute(arena, 64, dim, 10_000);
    return RotaryEmbedding.of(table, RotaryEmbedding.Style.HALF);
  }

  @Test
  void shouldGiveTheSameWithACacheAsWithoutInMultiHeadAttention() {
    MultiHeadAttention layer =
        MultiHeadAttention.builder(linear(48, 48), linear(48, 24), linear(48, 24), linear(48, 48))
            .heads(6)
            .headsKv(3)
            .rotary(rotary(8))
            .mask(Mask.causal(Alignment.BOTTOM_RIGHT))
            .build();
    Tensor x = random(arena, random, 2, 21, 48);
    Tensor whole = floats(2, 21, 48);
    Tensor weights = floats(2, 6, 21, 21);
    layer.forward(x, x, whole, Extras.none().weights(weights));
    Tensor out = floats(2, 21, 48);
    KvCache cache = layer.allocateCache(arena, 2, 21);
    for (int i = 0; i < 21; i += 7) {
      layer.forward(x.slice(1, i, 7), cache, out.slice(1, i, 7));
    }
    assertArrayEquals(whole.toFloatArray(), out.toFloatArray(), 1e-5f);
    assertEquals(1, weights.getFloat(1, 5, 0, 0), 1e-6);
  }

  @Test
  void shouldComposeVersion2OfDifferentialAttention() {
    Linear query = linear(64, 48);
    Linear key = linear(64, 12);
    Linear value = linear(64, 12);
    Linear result = linear(24, 64);
    Linear lambda = linear(64, 4);
    DifferentialAttention layer =
        DifferentialAttention.builder(query, key, value, result)
            .pairs(4)
            .pairsKv(2)
            .lambda(lambda)
            .rotary(rotary(6))
            .mask(Mask.causal(Alignment.BOTTOM_RIGHT))
            .build();
    Tensor x = random(arena, random, 2, 9, 64);
    Tensor whole = floats(2, 9, 64);
    Tensor heads = floats(2, 4, 9, 6);
    layer.forward(x, whole, new DifferentialAttention.Taps(null, heads));
    Tensor pieces = floats(2, 9, 64);
    KvCache cache = layer.allocateCache(arena, 2, 9);
    for (int i = 0; i < 9; i += 3) {
      layer.forward(x.slice(1, i, 3), cache, pieces.slice(1, i, 3));
    }
    assertArrayEquals(whole.toFloatArray(), pieces.toFloatArray(), 1e-5f);
    // The first token sees only itself: both maps are 1, and their difference is 1 - sigmoid(λ).
    Tensor values = floats(2, 9, 12);
    value.forward(x, values);
    Tensor lambdas = floats(2, 9, 4);
    lambda.forward(x, lambdas);
    for (int h = 0; h < 4; h++) {
      double rest = 1 - 1 / (1 + Math.exp(-lambdas.getFloat(1, 0, h)));
      float wanted = (float) (rest * values.getFloat(1, 0, h / 2 * 6 + 5));
      assertEquals(wanted, heads.getFloat(1, h, 0, 5), 1e-6);
    }
    refuse(
        "lambdaProjection.dimOut must equal pairs: lambdaProjection.dimOut=4, pairs=2",
        () ->
            DifferentialAttention.builder(linear(64, 24), key, value, linear(12, 64))
                .pairs(2)
                .lambda(lambda)
                .build());
    assertEquals(
        "a projection of lambda excludes learned vectors and a norm",
        assertThrows(
                IllegalStateException.class,
                () ->
                    DifferentialAttention.builder(query, key, value, result)
                        .pairs(4)
                        .lambda(lambda)
                        .norm(RmsNorm.of(floats(6), 1e-5))
                        .build())
            .getMessage());
  }

  @Test
  void shouldMakeLayersFromSizes() {
    Linear linear = Linear.random(arena, 6, 4, 11);
    Tensor x = random(arena, random, 3, 6);
    Tensor out = floats(3, 4);
    linear.forward(x, out);
    Tensor again = floats(3, 4);
    Linear.random(arena, 6, 4, 11).forward(x, again);
    assertArrayEquals(out.toFloatArray(), again.toFloatArray());
    Linear.random(arena, 6, 4, 12).forward(x, again);
    assertTrue(out.get(0, 0) != again.get(0, 0));

    Tensor tokens = ints(5, 3, 0, 3, 6, 1).unsqueeze(0);
    Embedding embedding = Embedding.random(arena, 7, 24, 1);
    Tensor embedded = floats(1, 5, 24);
    embedding.forward(tokens, embedded);
    assertEquals(embedded.get(0, 0, 5), embedded.get(0, 2, 5));
    double sum = 0;
    for (float value : embedded.toFloatArray()) {
      assertTrue(Math.abs(value) <= Math.sqrt(3));
      sum += value * value;
    }
    assertEquals(1, sum / embedded.count(), 0.3);

    Tensor result = floats(1, 5, 24);
    MultiHeadAttention layer = MultiHeadAttention.random(arena, 24, 4, 5).build();
    layer.forward(embedded, result);
    assertTrue(result.get(0, 4, 23) != 0 && Math.abs(result.get(0, 4, 23)) < 5);
    DifferentialAttention differential =
        DifferentialAttention.random(arena, 24, 3, 1, 5)
            .mask(Mask.causal(Alignment.TOP_LEFT))
            .build();
    differential.forward(embedded, result);
    assertTrue(result.get(0, 4, 23) != 0 && Math.abs(result.get(0, 4, 23)) < 5);
    assertEquals(Differential.lambdaInit(1), differential.lambda(), 0.5);

    refuse("dimIn must be at least 1: dimIn=0", () -> Linear.random(arena, 0, 4, 1));
    refuse(
        "dimModel must be a multiple of heads: dimModel=24, heads=5",
        () -> MultiHeadAttention.random(arena, 24, 5, 1));
    refuse(
        "dimModel must be a multiple of 2 * pairs: dimModel=24, 2 * pairs=10",
        () -> DifferentialAttention.random(arena, 24, 5, 0, 1));
  }

  @Test
  void shouldNameTheFormWithoutABias() {
    assertEquals(
        "bias must not be null: Linear.of(weight) makes a projection without bias",
        assertThrows(NullPointerException.class, () -> Linear.of(floats(4, 6), null)).getMessage());
  }

  @Test
  void shouldBuildRotaryEmbeddingsFromSizes() {
    RotaryTable table = RotaryTable.compute(arena, 12, 6, 500, RotaryScaling.linear(2));
    RotaryEmbedding built =
        RotaryEmbedding.builder()
            .positions(12)
            .rotaryDim(6)
            .base(500)
            .scaling(RotaryScaling.linear(2))
            .style(RotaryEmbedding.Style.INTERLEAVED)
            .build(arena);
    Tensor x = random(arena, random, 1, 2, 5, 8);
    Tensor expected = floats(1, 2, 5, 8);
    Tensor out = floats(1, 2, 5, 8);
    RotaryEmbedding.of(table, RotaryEmbedding.Style.INTERLEAVED).forward(x, expected, 3);
    built.forward(x, out, 3);
    assertArrayEquals(expected.toFloatArray(), out.toFloatArray());
    RotaryEmbedding defaults = RotaryEmbedding.builder().positions(12).rotaryDim(6).build(arena);
    RotaryEmbedding.of(RotaryTable.compute(arena, 12, 6, 10_000), RotaryEmbedding.Style.HALF)
        .forward(x, expected, 0);
    defaults.forward(x, out, 0);
    assertArrayEquals(expected.toFloatArray(), out.toFloatArray());
    assertEquals(
        "rotaryDim must be set",
        assertThrows(
                IllegalStateException.class,
                () -> RotaryEmbedding.builder().positions(3).build(arena))
            .getMessage());
    assertEquals(
        "positions must be set",
        assertThrows(
                IllegalStateException.class,
                () -> RotaryEmbedding.builder().rotaryDim(4).build(arena))
            .getMessage());
  }

  @Test
  void shouldGiveTheSameWithACacheAsWithoutInDifferentialAttention() {
    for (Differential.Pairing pairing : Differential.Pairing.values()) {
      Tensor vector = random(arena, random, 8);
      DifferentialAttention layer =
          DifferentialAttention.builder(
                  linear(64, 64), linear(64, 32), linear(64, 32), linear(64, 64))
              .pairs(4)
              .pairsKv(2)
              .lambda(vector, vector, vector, vector, 3)
              .pairing(pairing)
              .rotary(rotary(8))
              .norm(RmsNorm.withoutWeight(1e-5))
              .mask(Mask.causal(Alignment.BOTTOM_RIGHT))
              .build();
      assertEquals(Differential.lambdaInit(3), layer.lambda());
      Tensor x = random(arena, random, 2, 12, 64);
      Tensor whole = floats(2, 12, 64);
      layer.forward(x, whole);
      Tensor out = floats(2, 12, 64);
      KvCache cache = layer.allocateCache(arena, 2, 12);
      for (int i = 0; i < 12; i += 3) {
        layer.forward(x.slice(1, i, 3), cache, out.slice(1, i, 3));
      }
      assertArrayEquals(whole.toFloatArray(), out.toFloatArray(), 2e-5f);
    }
  }

  @Test
  void shouldRefuseLayersWhoseWidthsDoNotFit() {
    refuse(
        "keyProjection.dimOut must equal 2 * pairsKv * dim: keyProjection.dimOut=24, "
            + "2 * pairsKv * dim=48",
        () ->
            DifferentialAttention.builder(
                    linear(48, 48), linear(48, 24), linear(48, 48), linear(48, 48))
                .pairs(3)
                .lambda(floats(8), floats(8), floats(8), floats(8), 0)
                .build());
    refuse(
        "heads must be a multiple of headsKv: heads=6, headsKv=4",
        () ->
            MultiHeadAttention.builder(
                    linear(48, 48), linear(48, 32), linear(48, 32), linear(48, 48))
                .heads(6)
                .headsKv(4)
                .build());
    assertEquals(
        "pairs must be set",
        assertThrows(
                IllegalStateException.class,
                () ->
                    DifferentialAttention.builder(
                            linear(8, 8), linear(8, 8), linear(8, 8), linear(8, 8))
                        .build())
            .getMessage());
  }
}
