package io.github.attention4j.classics.d2l;

import static io.github.attention4j.classics.ReferenceD2l.layerNorm;
import static io.github.attention4j.classics.ReferenceD2l.linear;
import static io.github.attention4j.classics.ReferenceD2l.matrix;
import static io.github.attention4j.classics.ReferenceD2l.relu;
import static io.github.attention4j.classics.ReferenceD2l.sinusoid;
import static io.github.attention4j.classics.ReferenceD2l.sum;
import static io.github.attention4j.classics.ReferenceD2l.vector;
import static io.github.attention4j.testing.Checked.onEveryTier;
import static io.github.attention4j.testing.Checked.random;
import static org.junit.jupiter.api.Assertions.assertArrayEquals;
import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import io.github.attention4j.DType;
import io.github.attention4j.Tensor;
import io.github.attention4j.classics.paper.PositionalEncoding;
import io.github.attention4j.layer.Activation;
import io.github.attention4j.layer.Embedding;
import io.github.attention4j.layer.LayerNorm;
import io.github.attention4j.layer.Linear;
import java.lang.foreign.Arena;
import java.util.Random;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.BeforeEach;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.function.Executable;

/** Positions, feed-forward network, residual norm and embedding. */
class TransformerLayersTest {
  private final Random random = new Random(5);
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

  private static void requireRows(double[][] exact, Tensor got, double tolerance) {
    for (int i = 0; i < exact.length; i++) {
      for (int j = 0; j < exact[i].length; j++) {
        double error = tolerance * Math.max(1, Math.abs(exact[i][j]));
        assertEquals(exact[i][j], got.getFloat(i, j), error, "row " + i + ", column " + j);
      }
    }
  }

  // ---- Positions ----

  @Test
  void shouldEncodePositionsBySineAndCosine() {
    for (int dim : new int[] {2, 6, 20, 64}) {
      PositionalEncoding positions = PositionalEncoding.sinusoidal(arena, 300, dim);
      assertEquals(300, positions.maxLen());
      Tensor encoding = positions.encoding(300);
      for (int position = 0; position < 300; position++) {
        for (int c = 0; c < dim; c++) {
          assertEquals(sinusoid(position, c, dim), encoding.getFloat(position, c), 1e-7);
        }
      }
    }
  }

  @Test
  void shouldScaleAndAddPositionsFromAStart() {
    PositionalEncoding positions = PositionalEncoding.sinusoidal(arena, 40, 10);
    Tensor wide = random(arena, random, 3, 9, 14);
    Tensor x = wide.slice(2, 2, 10).slice(1, 1, 7);
    Tensor out = floats(3, 7, 10);
    onEveryTier(
        () -> {
          positions.forward(x, 2.5, 33, out);
          for (int b = 0; b < 3; b++) {
            for (int i = 0; i < 7; i++) {
              for (int c = 0; c < 10; c++) {
                double exact = 2.5 * x.getFloat(b, i, c) + sinusoid(33 + i, c, 10);
                assertEquals(exact, out.getFloat(b, i, c), 1e-6);
              }
            }
          }
          Tensor inPlace = floats(3, 7, 10).copyFrom(x);
          positions.forward(inPlace, 2.5, 33, inPlace);
          assertArrayEquals(out.toFloatArray(), inPlace.toFloatArray());
        });
    positions.forward(floats(3, 0, 10), floats(3, 0, 10));
    positions.forward(floats(0, 3, 10), floats(0, 3, 10));
  }

  @Test
  void shouldRefusePositionsThatDoNotFit() {
    PositionalEncoding positions = PositionalEncoding.sinusoidal(arena, 40, 10);
    refuse(
        "dim must be even, a sine and a cosine for each frequency: dim=7",
        () -> PositionalEncoding.sinusoidal(arena, 40, 7));
    refuse(
        "positions must lie in the table: start=0, len=41, maxLen=40",
        () -> positions.forward(floats(1, 41, 10), floats(1, 41, 10)));
    refuse(
        "positions must lie in the table: start=38, len=3, maxLen=40",
        () -> positions.forward(floats(1, 3, 10), 1, 38, floats(1, 3, 10)));
    refuse(
        "positions must lie in the table: start=0, len=41, maxLen=40",
        () -> positions.encoding(41));
    refuse(
        "x.dim must equal encoding.dim: x.dim=12, encoding.dim=10",
        () -> positions.forward(floats(1, 3, 12), floats(1, 3, 12)));
    refuse(
        "scale must be a finite float: scale=NaN",
        () -> positions.forward(floats(1, 3, 10), Double.NaN, 0, floats(1, 3, 10)));
    assertThrows(IllegalStateException.class, () -> positions.encoding(3).fill(0));
  }

  // ---- Feed-forward network ----

  @Test
  void shouldRectifyBetweenTwoProjections() {
    Tensor w1 = random(arena, random, 20, 12);
    Tensor b1 = random(arena, random, 20);
    Tensor w2 = random(arena, random, 9, 20);
    Tensor b2 = random(arena, random, 9);
    PositionwiseFfn ffn = PositionwiseFfn.of(Linear.of(w1, b1), Linear.of(w2, b2));
    assertEquals(12, ffn.dimIn());
    assertEquals(9, ffn.dimOut());
    for (int rows : new int[] {0, 1, 5, 300}) {
      Tensor x = random(arena, random, rows, 12);
      Tensor out = floats(rows, 9);
      onEveryTier(
          () -> {
            ffn.forward(x, out);
            double[][] hidden = relu(linear(matrix(x), matrix(w1), vector(b1)));
            requireRows(linear(hidden, matrix(w2), vector(b2)), out, 1e-5);
          });
    }
    Tensor x = random(arena, random, 2, 3, 12);
    x.setFloat(Float.NaN, 1, 0, 4);
    Tensor out = floats(2, 3, 9);
    ffn.forward(x, out);
    assertTrue(Float.isNaN(out.getFloat(1, 0, 0)));
    assertTrue(Float.isFinite(out.getFloat(0, 2, 8)) && Float.isFinite(out.getFloat(1, 1, 0)));
    refuse(
        "dense2.dimIn must equal dense1.dimOut: dense2.dimIn=19, dense1.dimOut=20",
        () -> PositionwiseFfn.of(Linear.of(w1), Linear.of(floats(9, 19))));
    refuse(
        "x.dim must equal weight.dimIn: x.dim=11, weight.dimIn=12",
        () -> ffn.forward(floats(2, 11), floats(2, 9)));
  }

  // ---- Residual norm ----

  @Test
  void shouldNormaliseTheSum() {
    Tensor weight = random(arena, random, 33);
    Tensor bias = random(arena, random, 33);
    AddNorm addNorm = AddNorm.of(LayerNorm.of(weight, bias));
    Tensor x = random(arena, random, 7, 33);
    Tensor y = random(arena, random, 7, 40).slice(1, 3, 33);
    Tensor out = floats(7, 33);
    onEveryTier(
        () -> {
          double[][] exact = layerNorm(sum(matrix(x), matrix(y)), vector(weight), vector(bias));
          addNorm.forward(x, y, out);
          requireRows(exact, out, 3e-6);
          Tensor inPlace = floats(7, 33).copyFrom(x);
          addNorm.forward(inPlace, y, inPlace);
          assertArrayEquals(out.toFloatArray(), inPlace.toFloatArray());
          inPlace.copyFrom(y);
          addNorm.forward(x, inPlace, inPlace);
          assertArrayEquals(out.toFloatArray(), inPlace.toFloatArray());
        });
    Tensor parts = random(arena, random, 2, 9, 33).slice(1, 2, 4);
    Tensor sums = floats(2, 8, 33).slice(1, 4, 4);
    addNorm.forward(parts, parts, sums);
    for (int b = 0; b < 2; b++) {
      double[][] part = matrix(parts.select(0, b));
      double[][] exact = layerNorm(sum(part, part), vector(weight), vector(bias));
      requireRows(exact, sums.select(0, b), 3e-6);
    }
    refuse(
        "y.shape must be the shape of x = [7, 33]: y.shape=[6, 33]",
        () -> addNorm.forward(x, floats(6, 33), out));
    refuse(
        "weight.dim must equal x.dim: weight.dim=33, x.dim=32",
        () -> addNorm.forward(floats(7, 32), floats(7, 32), floats(7, 32)));
  }

  // ---- Embedding ----

  @Test
  void shouldLookUpRows() {
    Tensor weight = random(arena, random, 11, 5);
    Embedding embedding = Embedding.of(weight);
    assertEquals(11, embedding.vocabulary());
    assertEquals(5, embedding.dim());
    Tensor tokens = Tensor.allocate(arena, DType.I32, 2, 3);
    tokens.setInt(10, 0, 0);
    tokens.setInt(4, 1, 2);
    Tensor out = floats(2, 3, 5);
    embedding.forward(tokens, out);
    for (int c = 0; c < 5; c++) {
      assertEquals(weight.getFloat(10, c), out.getFloat(0, 0, c));
      assertEquals(weight.getFloat(0, c), out.getFloat(1, 1, c));
      assertEquals(weight.getFloat(4, c), out.getFloat(1, 2, c));
    }
    tokens.setInt(11, 1, 1);
    refuse(
        "tokens[1, 1] must be in the vocabulary: tokens[1, 1]=11, vocabulary=11",
        () -> embedding.forward(tokens, out));
    refuse(
        "tokens.dtype must be I32: tokens.dtype=F32", () -> embedding.forward(floats(2, 3), out));
    refuse(
        "out.shape must be [batch, len, dim] = [2, 3, 5]: out.shape=[2, 3, 6]",
        () -> embedding.forward(tokens, floats(2, 3, 6)));
  }

  @Test
  void shouldForgetWhatEarlierCallsComputed() {
    PositionwiseFfn ffn =
        PositionwiseFfn.of(
            Linear.of(random(arena, random, 200, 64)), Linear.of(random(arena, random, 64, 200)));
    Tensor x = random(arena, random, 2, 30, 64);
    Tensor poison = floats(2, 30, 64);
    poison.fill(Float.NaN);
    Tensor out = floats(2, 30, 64);
    ffn.forward(x, out);
    final float[] fed = out.toFloatArray();
    for (int call = 0; call < 3; call++) {
      ffn.forward(poison, out);
    }
    ffn.forward(x, out);
    assertArrayEquals(fed, out.toFloatArray());
  }

  @Test
  void shouldRefuseAFirstProjectionWithAnActivationOfItsOwn() {
    Linear plain = Linear.of(floats(3, 3));
    Linear active = plain.withActivation(Activation.GELU);
    refuse(
        "dense1.activation must be IDENTITY, the layer adds its own: dense1.activation=GELU",
        () -> PositionwiseFfn.of(active, plain));
  }
}
