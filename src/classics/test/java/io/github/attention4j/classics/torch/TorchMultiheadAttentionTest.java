package io.github.attention4j.classics.torch;

import static io.github.attention4j.testing.Checked.onEveryTier;
import static io.github.attention4j.testing.Checked.random;
import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertSame;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import io.github.attention4j.DType;
import io.github.attention4j.Extras;
import io.github.attention4j.Mask;
import io.github.attention4j.Tensor;
import io.github.attention4j.io.SafeTensors;
import io.github.attention4j.layer.MultiHeadAttention;
import java.io.IOException;
import java.lang.foreign.Arena;
import java.nio.file.Path;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.Random;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.BeforeEach;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.function.Executable;
import org.junit.jupiter.api.io.TempDir;

/** The layer as PyTorch's nn.MultiheadAttention, against that one's formula in double. */
class TorchMultiheadAttentionTest {
  private static final int HEADS = 3;
  private static final int BATCH = 2;
  private static final int LEN_Q = 5;
  private static final int LEN_K = 7;
  private static final int EMBED = 12;

  private final Random random = new Random(23);
  private Arena arena;

  @TempDir private Path directory;

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

  // ---- The formula ----

  /** Whether a key is hidden, or what is added to its score: −∞ hides it. */
  @FunctionalInterface
  private interface Score {
    double of(int b, int h, int i, int j);
  }

  private static double[] row(Tensor x, int b, int i, Tensor weight, Tensor bias, int first) {
    double[] row = new double[EMBED];
    for (int o = 0; o < EMBED; o++) {
      row[o] = bias == null ? 0 : bias.getFloat(first + o);
      for (int c = 0; c < x.size(2); c++) {
        row[o] += (double) weight.getFloat(first + o, c) * x.getFloat(b, i, c);
      }
    }
    return row;
  }

  /** Compares the result, the weights and their average with softmax(q kᵀ / √d + score) v. */
  private void requireTorch(
      Map<String, Tensor> w,
      Tensor query,
      Tensor key,
      Tensor value,
      Score score,
      Tensor out,
      Tensor weights) {
    boolean packed = w.containsKey("in_proj_weight");
    Tensor bias = w.get("in_proj_bias");
    int dim = EMBED / HEADS;
    Tensor average = floats(BATCH, query.size(1), key.size(1));
    TorchMultiheadAttention.averageHeads(weights, average);
    for (int b = 0; b < BATCH; b++) {
      for (int i = 0; i < query.size(1); i++) {
        double[] q =
            packed
                ? row(query, b, i, w.get("in_proj_weight"), bias, 0)
                : row(query, b, i, w.get("q_proj_weight"), part(bias, 0), 0);
        double[] mixed = new double[EMBED];
        double[] means = new double[(int) key.size(1)];
        for (int h = 0; h < HEADS; h++) {
          double[] p = new double[means.length];
          double[][] v = new double[means.length][];
          double sum = 0;
          for (int j = 0; j < p.length; j++) {
            double[] k =
                packed
                    ? row(key, b, j, w.get("in_proj_weight"), bias, EMBED)
                    : row(key, b, j, w.get("k_proj_weight"), part(bias, EMBED), 0);
            v[j] =
                packed
                    ? row(value, b, j, w.get("in_proj_weight"), bias, 2 * EMBED)
                    : row(value, b, j, w.get("v_proj_weight"), part(bias, 2 * EMBED), 0);
            double dot = 0;
            for (int c = h * dim; c < (h + 1) * dim; c++) {
              dot += q[c] * k[c];
            }
            p[j] = Math.exp(dot / Math.sqrt(dim) + score.of(b, h, i, j));
            sum += p[j];
          }
          for (int j = 0; j < p.length; j++) {
            p[j] /= sum == 0 ? 1 : sum;
            means[j] += p[j] / HEADS;
            assertEquals(p[j], weights.getFloat(b, h, i, j), 2e-6, "weight");
            for (int c = h * dim; c < (h + 1) * dim; c++) {
              mixed[c] += p[j] * v[j][c];
            }
          }
        }
        for (int j = 0; j < means.length; j++) {
          assertEquals(means[j], average.getFloat(b, i, j), 2e-6, "average");
        }
        for (int o = 0; o < EMBED; o++) {
          Tensor outBias = w.get("out_proj.bias");
          double wanted = outBias == null ? 0 : outBias.getFloat(o);
          for (int c = 0; c < EMBED; c++) {
            wanted += mixed[c] * w.get("out_proj.weight").getFloat(o, c);
          }
          assertEquals(wanted, out.getFloat(b, i, o), 2e-5, "result");
        }
      }
    }
  }

  private static Tensor part(Tensor bias, int start) {
    return bias == null ? null : bias.slice(0, start, EMBED);
  }

  // ---- PyTorch's parameters ----

  private Map<String, Tensor> parameters(boolean bias, int kdim, int vdim) {
    Map<String, Tensor> tensors = new LinkedHashMap<>();
    if (kdim == EMBED && vdim == EMBED) {
      tensors.put("in_proj_weight", random(arena, random, 3 * EMBED, EMBED));
    } else {
      tensors.put("q_proj_weight", random(arena, random, EMBED, EMBED));
      tensors.put("k_proj_weight", random(arena, random, EMBED, kdim));
      tensors.put("v_proj_weight", random(arena, random, EMBED, vdim));
    }
    tensors.put("out_proj.weight", random(arena, random, EMBED, EMBED));
    if (bias) {
      tensors.put("in_proj_bias", random(arena, random, 3 * EMBED));
      tensors.put("out_proj.bias", random(arena, random, EMBED));
    }
    for (String name : tensors.keySet()) {
      Tensor tensor = tensors.get(name);
      float[] values = tensor.toFloatArray();
      for (int i = 0; i < values.length; i++) {
        values[i] *= 0.4f;
      }
      tensor.copyFrom(values);
    }
    return tensors;
  }

  private SafeTensors file(String prefix, Map<String, Tensor> tensors) throws IOException {
    Map<String, Tensor> named = new LinkedHashMap<>();
    tensors.forEach((name, tensor) -> named.put(prefix + name, tensor));
    Path file = directory.resolve("layer" + random.nextLong() + ".safetensors");
    SafeTensors.write(file, named, Map.of());
    return SafeTensors.open(file, arena);
  }

  private MultiHeadAttention load(Map<String, Tensor> tensors) throws IOException {
    return TorchMultiheadAttention.load(file("attn.", tensors), "attn.", HEADS, arena);
  }

  private Tensor booleans(double p, long... shape) {
    Tensor tensor = Tensor.allocate(arena, DType.BOOL, shape);
    Tensor flat = tensor.reshape(tensor.count());
    for (long i = 0; i < flat.count(); i++) {
      flat.setBoolean(random.nextDouble() < p, i);
    }
    return tensor;
  }

  private static double hidden(boolean hidden) {
    return hidden ? Double.NEGATIVE_INFINITY : 0;
  }

  // ---- Tests ----

  @Test
  void shouldComputeWhatPytorchDoesWithEveryFormOfParameters() throws IOException {
    int[][] widths = {{EMBED, EMBED}, {EMBED, 10}, {9, 10}};
    for (int[] width : widths) {
      for (boolean bias : new boolean[] {false, true}) {
        Map<String, Tensor> tensors = parameters(bias, width[0], width[1]);
        MultiHeadAttention layer = load(tensors);
        Tensor query = random(arena, random, BATCH, LEN_Q, EMBED);
        Tensor key = random(arena, random, BATCH, LEN_K, width[0]);
        Tensor value = random(arena, random, BATCH, LEN_K, width[1]);
        Tensor out = floats(BATCH, LEN_Q, EMBED);
        Tensor weights = floats(BATCH, HEADS, LEN_Q, LEN_K);
        onEveryTier(
            () -> {
              layer.forward(query, key, value, Mask.none(), out, Extras.none().weights(weights));
              requireTorch(tensors, query, key, value, (b, h, i, j) -> 0, out, weights);
            });
      }
    }
  }

  @Test
  void shouldHideWhatPytorchsMasksHide() throws IOException {
    Map<String, Tensor> tensors = parameters(true, EMBED, EMBED);
    MultiHeadAttention layer = load(tensors);
    Tensor query = random(arena, random, BATCH, LEN_Q, EMBED);
    Tensor key = random(arena, random, BATCH, LEN_K, EMBED);
    Tensor value = random(arena, random, BATCH, LEN_K, EMBED);
    Tensor padding = booleans(0.3, BATCH, LEN_K);
    padding.setBoolean(false, 0, 0);
    padding.setBoolean(true, 1, 6);
    Tensor square = booleans(0.3, LEN_Q, LEN_K);
    Tensor each = booleans(0.3, BATCH * HEADS, LEN_Q, LEN_K);
    Tensor added = random(arena, random, LEN_Q, LEN_K);
    added.setFloat(Float.NEGATIVE_INFINITY, 2, 3);
    Tensor addedEach = random(arena, random, BATCH * HEADS, LEN_Q, LEN_K);
    Score byPadding = (b, h, i, j) -> hidden(padding.getBoolean(b, j));
    Score bySquare = (b, h, i, j) -> hidden(square.getBoolean(i, j));
    Score byEach = (b, h, i, j) -> hidden(each.getBoolean(b * HEADS + h, i, j));
    Score byAdded = (b, h, i, j) -> added.getFloat(i, j);
    Score byAddedEach = (b, h, i, j) -> addedEach.getFloat(b * HEADS + h, i, j);
    Tensor[] masks = {null, square, each, added, addedEach};
    Score[] scores = {(b, h, i, j) -> 0, bySquare, byEach, byAdded, byAddedEach};
    for (int m = 0; m < masks.length; m++) {
      for (boolean padded : new boolean[] {false, true}) {
        Mask mask = TorchMultiheadAttention.mask(padded ? padding : null, masks[m], HEADS, arena);
        Score score = scores[m];
        Tensor out = floats(BATCH, LEN_Q, EMBED);
        Tensor weights = floats(BATCH, HEADS, LEN_Q, LEN_K);
        layer.forward(query, key, value, mask, out, Extras.none().weights(weights));
        requireTorch(
            tensors,
            query,
            key,
            value,
            (b, h, i, j) -> score.of(b, h, i, j) + (padded ? byPadding.of(b, h, i, j) : 0),
            out,
            weights);
      }
    }
    assertSame(Mask.none(), TorchMultiheadAttention.mask(null, null, HEADS, arena));
  }

  @Test
  void shouldAddPaddingOfFloats() throws IOException {
    Map<String, Tensor> tensors = parameters(true, EMBED, EMBED);
    MultiHeadAttention layer = load(tensors);
    Tensor query = random(arena, random, BATCH, LEN_Q, EMBED);
    Tensor key = random(arena, random, BATCH, LEN_K, EMBED);
    Tensor value = random(arena, random, BATCH, LEN_K, EMBED);
    Tensor padding = random(arena, random, BATCH, LEN_K);
    padding.setFloat(Float.NEGATIVE_INFINITY, 1, 6);
    Tensor square = booleans(0.3, LEN_Q, LEN_K);
    Tensor each = booleans(0.3, BATCH * HEADS, LEN_Q, LEN_K);
    Tensor added = random(arena, random, LEN_Q, LEN_K);
    Tensor addedEach = random(arena, random, BATCH * HEADS, LEN_Q, LEN_K);
    Tensor[] masks = {null, square, each, added, addedEach};
    Score[] scores = {
      (b, h, i, j) -> 0,
      (b, h, i, j) -> hidden(square.getBoolean(i, j)),
      (b, h, i, j) -> hidden(each.getBoolean(b * HEADS + h, i, j)),
      (b, h, i, j) -> added.getFloat(i, j),
      (b, h, i, j) -> addedEach.getFloat(b * HEADS + h, i, j)
    };
    for (int m = 0; m < masks.length; m++) {
      Mask mask = TorchMultiheadAttention.mask(padding, masks[m], HEADS, arena);
      Score score = scores[m];
      Tensor out = floats(BATCH, LEN_Q, EMBED);
      Tensor weights = floats(BATCH, HEADS, LEN_Q, LEN_K);
      layer.forward(query, key, value, mask, out, Extras.none().weights(weights));
      requireTorch(
          tensors,
          query,
          key,
          value,
          (b, h, i, j) -> score.of(b, h, i, j) + padding.getFloat(b, j),
          out,
          weights);
    }
  }

  @Test
  void shouldTakeSequencesThatComeBeforeTheBatch() throws IOException {
    Map<String, Tensor> tensors = parameters(true, EMBED, EMBED);
    MultiHeadAttention layer = load(tensors);
    Tensor query = random(arena, random, LEN_Q, BATCH, EMBED).transpose(0, 1);
    Tensor key = random(arena, random, LEN_K, BATCH, EMBED).transpose(0, 1);
    Tensor value = random(arena, random, LEN_K, BATCH, EMBED).transpose(0, 1);
    Tensor out = floats(LEN_Q, BATCH, EMBED).transpose(0, 1);
    Tensor weights = floats(BATCH, HEADS, LEN_Q, LEN_K);
    layer.forward(query, key, value, Mask.none(), out, Extras.none().weights(weights));
    requireTorch(tensors, query, key, value, (b, h, i, j) -> 0, out, weights);
    Tensor self = floats(LEN_Q, BATCH, EMBED).transpose(0, 1);
    Tensor selfWeights = floats(BATCH, HEADS, LEN_Q, LEN_Q);
    layer.forward(query, query, query, Mask.none(), self, Extras.none().weights(selfWeights));
    requireTorch(tensors, query, query, query, (b, h, i, j) -> 0, self, selfWeights);
  }

  @Test
  void shouldRefuseParametersThatPytorchsLayerDoesNotHave() throws IOException {
    Map<String, Tensor> tensors = parameters(true, EMBED, EMBED);
    tensors.put("bias_k", floats(1, 1, EMBED));
    tensors.put("bias_v", floats(1, 1, EMBED));
    SafeTensors withKey = file("", tensors);
    refuse(
        withKey
            + " must not have bias_k and bias_v, a learned key and value after each sequence:"
            + " they are not supported",
        () -> TorchMultiheadAttention.load(withKey, "", HEADS, arena));
    tensors.keySet().removeAll(List.of("bias_k", "bias_v"));
    tensors.put("q_norm.weight", floats(4));
    SafeTensors withNorm = file("", tensors);
    assertTrue(
        assertThrows(
                IllegalArgumentException.class,
                () -> TorchMultiheadAttention.load(withNorm, "", HEADS, arena))
            .getMessage()
            .contains("q_norm.weight"));
    tensors.remove("q_norm.weight");
    tensors.put("in_proj_weight", floats(3 * EMBED + 1, EMBED));
    tensors.remove("in_proj_bias");
    refuse(
        "packedProjection.dimOut must be a multiple of heads + 2 * headsKv: "
            + "packedProjection.dimOut=37, heads + 2 * headsKv=9",
        () -> load(tensors));
  }

  @Test
  void shouldRefuseMasksAndAveragesThatDoNotFit() {
    Tensor padding = booleans(0.5, 2, 4);
    refuse(
        "keyPaddingMask.dtype must be BOOL: keyPaddingMask.dtype=I32",
        () ->
            TorchMultiheadAttention.mask(Tensor.allocate(arena, DType.I32, 2, 4), null, 3, arena));
    refuse(
        "attnMask.rank must be 2 [lenQ, lenK] or 3 [batch * heads, lenQ, lenK]: attnMask.rank=1",
        () -> TorchMultiheadAttention.mask(null, floats(4), 3, arena));
    refuse(
        "attnMask.size(0) must be a multiple of heads: attnMask.size(0)=4, heads=3",
        () -> TorchMultiheadAttention.mask(null, booleans(0.5, 4, 5, 4), 3, arena));
    refuse(
        "attnMask.lenK must equal keyPaddingMask.lenK: attnMask.lenK=5, keyPaddingMask.lenK=4",
        () -> TorchMultiheadAttention.mask(padding, booleans(0.5, 5, 5), 3, arena));
    refuse(
        "attnMask.batch must equal keyPaddingMask.batch: attnMask.batch=1, "
            + "keyPaddingMask.batch=2",
        () -> TorchMultiheadAttention.mask(padding, booleans(0.5, 3, 5, 4), 3, arena));
    refuse(
        "average.shape must be [batch, lenQ, lenK] = [2, 5, 4]: average.shape=[2, 4, 5]",
        () -> TorchMultiheadAttention.averageHeads(floats(2, 3, 5, 4), floats(2, 4, 5)));
    refuse(
        "weights.heads must be at least 1: weights.heads=0",
        () -> TorchMultiheadAttention.averageHeads(floats(2, 0, 5, 4), floats(2, 5, 4)));
  }
}
