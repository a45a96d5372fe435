package io.github.attention4j.classics.paper;

import static io.github.attention4j.classics.ReferenceD2l.columns;
import static io.github.attention4j.classics.ReferenceD2l.dotProducts;
import static io.github.attention4j.classics.ReferenceD2l.layerNorm;
import static io.github.attention4j.classics.ReferenceD2l.linear;
import static io.github.attention4j.classics.ReferenceD2l.matrix;
import static io.github.attention4j.classics.ReferenceD2l.sum;
import static io.github.attention4j.classics.ReferenceD2l.vector;
import static io.github.attention4j.testing.Checked.onEveryTier;
import static io.github.attention4j.testing.Checked.random;
import static org.junit.jupiter.api.Assertions.assertArrayEquals;
import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import io.github.attention4j.DType;
import io.github.attention4j.Extras;
import io.github.attention4j.Tensor;
import io.github.attention4j.layer.LayerNorm;
import io.github.attention4j.layer.Linear;
import io.github.attention4j.layer.MultiHeadAttention;
import java.lang.foreign.Arena;
import java.util.Random;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.BeforeEach;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.function.Executable;

/** The masks of the paper, and the layer that takes them. */
class ResidualAttentionTest {
  private static final int DIM = 20;

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

  private Tensor tokens(int[]... rows) {
    Tensor tokens = Tensor.allocate(arena, DType.I32, rows.length, rows[0].length);
    for (int b = 0; b < rows.length; b++) {
      for (int i = 0; i < rows[b].length; i++) {
        tokens.setInt(rows[b][i], b, i);
      }
    }
    return tokens;
  }

  private static void refuse(String message, Executable call) {
    assertEquals(message, assertThrows(IllegalArgumentException.class, call).getMessage());
  }

  // ---- Masks ----

  @Test
  void shouldMaskPaddingAndWhatComesLater() {
    Tensor seqK = tokens(new int[] {3, 0, 2, 0}, new int[] {1, 1, 1, 1});
    Tensor seqQ = tokens(new int[] {9, 9, 0}, new int[] {9, 0, 0});
    Tensor padding = SequenceMasks.padMask(arena, seqK, seqQ);
    assertArrayEquals(new long[] {2, 3, 4}, padding.shape());
    Tensor later = SequenceMasks.sequenceMask(arena, seqK);
    assertArrayEquals(new long[] {2, 4, 4}, later.shape());
    for (int b = 0; b < 2; b++) {
      for (int i = 0; i < 4; i++) {
        for (int j = 0; j < 4; j++) {
          assertEquals(j > i, later.getBoolean(b, i, j));
          assertTrue(i == 3 || padding.getBoolean(b, i, j) == (seqK.getInt(b, j) == 0));
        }
      }
    }
    Tensor both = SequenceMasks.either(arena, SequenceMasks.padMask(arena, seqK, seqK), later);
    assertTrue(both.getBoolean(0, 3, 1));
    assertTrue(both.getBoolean(1, 0, 1));
    assertFalse(both.getBoolean(0, 2, 2));
    Tensor transposed = SequenceMasks.either(arena, later, later.transpose(1, 2));
    assertFalse(transposed.getBoolean(1, 2, 2));
    assertTrue(transposed.getBoolean(1, 2, 1));
    assertEquals(0, SequenceMasks.sequenceMask(arena, seqK.slice(1, 0, 0)).count());
  }

  @Test
  void shouldRefuseMasksThatDoNotFit() {
    Tensor seq = tokens(new int[] {1, 2});
    refuse(
        "seqK.batch must equal seqQ.batch: seqK.batch=1, seqQ.batch=2",
        () -> SequenceMasks.padMask(arena, seq, tokens(new int[] {1}, new int[] {2})));
    refuse(
        "seq.dtype must be I32: seq.dtype=F32",
        () -> SequenceMasks.sequenceMask(arena, floats(1, 2)));
    refuse(
        "masked.dtype must be BOOL: masked.dtype=F32",
        () -> SequenceMasks.hiding(arena, floats(1, 2)));
  }

  // ---- The layer ----

  private final Tensor[] weights = new Tensor[4];
  private final Tensor[] biases = new Tensor[4];

  private ResidualAttention layer(int heads, Tensor scale, Tensor shift) {
    Linear[] linears = new Linear[4];
    for (int n = 0; n < 4; n++) {
      weights[n] = random(arena, random, DIM, DIM);
      biases[n] = random(arena, random, DIM);
      linears[n] = Linear.of(weights[n], biases[n]);
    }
    MultiHeadAttention attention =
        MultiHeadAttention.builder(linears[0], linears[1], linears[2], linears[3])
            .heads(heads)
            .build();
    return ResidualAttention.of(attention, LayerNorm.of(scale, shift));
  }

  @Test
  void shouldAddAndNormaliseWhatEveryHeadReadsUnderTheMaskOfItsBatch() {
    Tensor scale = random(arena, random, DIM);
    Tensor shift = random(arena, random, DIM);
    for (int heads : new int[] {1, 2, 5}) {
      ResidualAttention layer = layer(heads, scale, shift);
      Tensor query = random(arena, random, 3, 4, DIM);
      Tensor key = random(arena, random, 3, 6, DIM);
      Tensor value = random(arena, random, 3, 6, DIM);
      Tensor masked = Tensor.allocate(arena, DType.BOOL, 3, 4, 6);
      for (int n = 0; n < 72; n++) {
        boolean all = n / 6 == 7;
        masked.reshape(72).setBoolean(all || random.nextInt(3) == 0, n);
      }
      Tensor out = floats(3, 4, DIM);
      Tensor maps = floats(3, heads, 4, 6);
      onEveryTier(
          () -> {
            layer.forward(query, key, value, masked, out, Extras.none().weights(maps));
            require(heads, query, key, value, masked, scale, shift, out, maps);
            layer.forward(query, key, value, null, out, Extras.none().weights(maps));
            require(heads, query, key, value, null, scale, shift, out, maps);
            Tensor plain = floats(3, 4, DIM);
            layer.forward(query, key, value, plain);
            assertArrayEquals(out.toFloatArray(), plain.toFloatArray(), 1e-5f);
          });
    }
  }

  private void require(
      int heads,
      Tensor query,
      Tensor key,
      Tensor value,
      Tensor masked,
      Tensor scale,
      Tensor shift,
      Tensor out,
      Tensor maps) {
    int dim = DIM / heads;
    for (int b = 0; b < 3; b++) {
      double[][] x = matrix(query.select(0, b));
      double[][] q = projected(0, x);
      double[][] k = projected(1, matrix(key.select(0, b)));
      double[][] v = projected(2, matrix(value.select(0, b)));
      double[][] joined = new double[4][DIM];
      for (int h = 0; h < heads; h++) {
        var score = dotProducts(columns(q, h * dim, dim), columns(k, h * dim, dim));
        for (int i = 0; i < 4; i++) {
          double total = 0;
          double[] power = new double[6];
          for (int j = 0; j < 6; j++) {
            boolean hidden = masked != null && masked.getBoolean(b, i, j);
            power[j] = hidden ? 0 : Math.exp(score.at(i, j));
            total += power[j];
          }
          for (int j = 0; j < 6; j++) {
            double weight = total == 0 ? 0 : power[j] / total;
            assertEquals(weight, maps.getFloat(b, h, i, j), 1e-5);
            for (int d = 0; d < dim; d++) {
              joined[i][h * dim + d] += weight * v[j][h * dim + d];
            }
          }
        }
      }
      double[][] exact = layerNorm(sum(x, projected(3, joined)), vector(scale), vector(shift));
      for (int i = 0; i < 4; i++) {
        for (int d = 0; d < DIM; d++) {
          assertEquals(exact[i][d], out.getFloat(b, i, d), 2e-5);
        }
      }
    }
  }

  private double[][] projected(int n, double[][] x) {
    return linear(x, matrix(weights[n]), vector(biases[n]));
  }

  @Test
  void shouldRefuseAMaskOfAnotherShape() {
    ResidualAttention layer = layer(2, floats(DIM), floats(DIM));
    Tensor x = floats(2, 3, DIM);
    Tensor out = floats(2, 3, DIM);
    refuse(
        "attnMask.shape must be [batch, lenQ, lenK] = [2, 3, 3]: attnMask.shape=[2, 3, 4]",
        () ->
            layer.forward(
                x, x, x, Tensor.allocate(arena, DType.BOOL, 2, 3, 4), out, Extras.none()));
    refuse(
        "queryProjection.dimOut must be a multiple of heads: queryProjection.dimOut=20, heads=3",
        () -> layer(3, floats(DIM), floats(DIM)));
  }
}
