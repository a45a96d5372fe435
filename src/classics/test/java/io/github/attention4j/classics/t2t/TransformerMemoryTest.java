package io.github.attention4j.classics.t2t;

import static io.github.attention4j.classics.ReferenceD2l.linear;
import static io.github.attention4j.classics.ReferenceD2l.maskedSoftmax;
import static io.github.attention4j.classics.ReferenceD2l.matrix;
import static io.github.attention4j.classics.ReferenceD2l.relu;
import static io.github.attention4j.classics.ReferenceD2l.sum;
import static io.github.attention4j.classics.ReferenceD2l.vector;
import static io.github.attention4j.classics.ReferenceD2l.weighted;
import static io.github.attention4j.testing.Checked.onEveryTier;
import static io.github.attention4j.testing.Checked.random;
import static org.junit.jupiter.api.Assertions.assertArrayEquals;
import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertThrows;

import io.github.attention4j.DType;
import io.github.attention4j.Tensor;
import io.github.attention4j.io.SafeTensors;
import java.io.IOException;
import java.lang.foreign.Arena;
import java.nio.file.Path;
import java.util.Arrays;
import java.util.LinkedHashMap;
import java.util.Map;
import java.util.Random;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.BeforeEach;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.function.Executable;
import org.junit.jupiter.api.io.TempDir;

/** The memory that is addressed by content, against its formulas in double. */
class TransformerMemoryTest {
  @TempDir private Path directory;

  private final Random random = new Random(29);
  private final Map<String, Tensor> weights = new LinkedHashMap<>();
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

  private SafeTensors written(Map<String, Tensor> tensors) {
    try {
      Path path = directory.resolve("weights" + random.nextInt() + ".safetensors");
      SafeTensors.write(path, tensors, Map.of());
      return SafeTensors.open(path, arena);
    } catch (IOException e) {
      throw new AssertionError(e);
    }
  }

  private void put(String name, int dimIn, int dimOut) {
    weights.put("m/" + name + "/kernel", random(arena, random, dimIn, dimOut));
    weights.put("m/" + name + "/bias", random(arena, random, dimOut));
  }

  /** Under the names that the original's graph has. */
  private void putLayer(int channels, int depth, int size, int keyDepth, int valDepth) {
    weights.clear();
    put("pre_attention/mem_key", valDepth, keyDepth);
    put("pre_attention/mem_query", channels, keyDepth);
    put("post_attention/dense", depth, depth);
    weights.remove("m/post_attention/dense/bias");
    put("post_attention/dense_1", valDepth, depth);
    put("post_attention/gamma", channels, 1);
    put("post_attention/candidate_value", channels, valDepth);
    put("post_attention/erase", channels, size);
  }

  // ---- The same in double ----

  private double[][] dense(String name, double[][] x) {
    Tensor bias = weights.get("m/" + name + "/bias");
    return linear(
        x,
        matrix(weights.get("m/" + name + "/kernel").transpose(0, 1)),
        bias == null ? null : vector(bias));
  }

  private static double norm(double[] x) {
    return Math.sqrt(Arrays.stream(x).map(v -> v * v).sum() + 1e-7);
  }

  private static double sigmoid(double x) {
    return 1 / (1 + Math.exp(-x));
  }

  /** One sequence's memory. */
  private final class Expected {
    final double[][] items;
    final double[] means;
    int segment = 100_000;
    double[][] access;
    double[][] read;

    Expected(int size, int valDepth) {
      items = new double[size][valDepth];
      means = new double[size];
    }

    void read(double[][] x, int newSegment, double sharpen) {
      if (newSegment < segment) {
        Arrays.fill(means, 0);
        for (double[] item : items) {
          Arrays.fill(item, 0);
        }
      }
      segment = newSegment;
      double[][] keys = dense("pre_attention/mem_key", items);
      double[][] queries = dense("pre_attention/mem_query", x);
      access = new double[x.length][items.length];
      for (int t = 0; t < x.length; t++) {
        for (int m = 0; m < items.length; m++) {
          for (int d = 0; d < keys[m].length; d++) {
            access[t][m] += queries[t][d] * keys[m][d];
          }
          access[t][m] *= sharpen / (norm(queries[t]) * norm(keys[m]) + 1e-7);
        }
      }
      read = weighted(softmax(access), items);
    }

    double[][] mixed(double[][] attended) {
      return sum(dense("post_attention/dense", attended), dense("post_attention/dense_1", read));
    }

    void write(double[][] x) {
      double[][] gamma = dense("post_attention/gamma", x);
      double[][] candidates = relu(dense("post_attention/candidate_value", x));
      double[][] erase = dense("post_attention/erase", x);
      double[][] logits = new double[x.length][items.length];
      for (int t = 0; t < x.length; t++) {
        for (int m = 0; m < items.length; m++) {
          logits[t][m] = access[t][m] - sigmoid(gamma[t][0]) * means[m];
        }
      }
      double[][] w = softmax(logits);
      for (int m = 0; m < items.length; m++) {
        for (int d = 0; d < items[m].length; d++) {
          double mean = 0;
          for (int t = 0; t < x.length; t++) {
            mean += (1 - sigmoid(erase[t][m]) * w[t][m]) * items[m][d] + w[t][m] * candidates[t][d];
          }
          items[m][d] = mean / x.length;
        }
        double mean = 0;
        for (int t = 0; t < x.length; t++) {
          mean += logits[t][m] / x.length;
        }
        means[m] = 0.1 * means[m] + 0.9 * mean;
      }
    }

    private double[][] softmax(double[][] scores) {
      int[] all = new int[scores.length];
      Arrays.fill(all, items.length);
      return maskedSoftmax(scores.length, items.length, (i, j) -> scores[i][j], all);
    }
  }

  private static void near(String what, double[][] exact, Tensor got) {
    for (int r = 0; r < exact.length; r++) {
      for (int c = 0; c < exact[r].length; c++) {
        double allowed = 2e-5 * Math.max(1, Math.abs(exact[r][c]));
        assertEquals(exact[r][c], got.getFloat(r, c), allowed, what + " " + r + ", " + c);
      }
    }
  }

  @Test
  void shouldReadMixAndWriteAsItsFormulasSay() {
    for (int round = 0; round < 12; round++) {
      int channels = 1 + random.nextInt(9);
      int depth = 1 + random.nextInt(9);
      int size = 1 + random.nextInt(20);
      int valDepth = 1 + random.nextInt(9);
      int all = 1 + random.nextInt(3);
      double sharpen = round % 3 == 0 ? 1 : 4 * random.nextGaussian();
      putLayer(channels, depth, size, 1 + random.nextInt(9), valDepth);
      TransformerMemory memory = TransformerMemory.load(written(weights), "m/", sharpen, arena);
      assertEquals(size, memory.memorySize());
      assertEquals(valDepth, memory.valDepth());
      int[] batches = random.ints(5, 1, all + 1).toArray();
      int[][] segments = new int[5][];
      Tensor[] xs = new Tensor[5];
      Tensor[] attended = new Tensor[5];
      for (int c = 0; c < 5; c++) {
        int len = 1 + random.nextInt(7);
        segments[c] = random.ints(batches[c], 0, 4).toArray();
        xs[c] = random(arena, random, batches[c], len, channels);
        attended[c] = random(arena, random, batches[c], len, depth);
      }
      onEveryTier(
          () -> {
            TransformerMemory.State state = memory.newState(arena, all);
            Expected[] expected = new Expected[all];
            Arrays.setAll(expected, b -> new Expected(size, valDepth));
            for (int c = 0; c < 5; c++) {
              step(state, expected, segments[c], xs[c], attended[c], sharpen);
            }
          });
    }
  }

  private void step(
      TransformerMemory.State state,
      Expected[] expected,
      int[] segments,
      Tensor x,
      Tensor attended,
      double sharpen) {
    Tensor out = floats(attended.shape());
    TransformerMemory.Read read = state.preAttention(arena, segments, x, null);
    for (int b = 0; b < expected.length; b++) {
      boolean present = b < segments.length;
      double[][] own =
          present ? matrix(x.select(0, b)) : new double[(int) x.size(1)][(int) x.size(2)];
      expected[b].read(own, present ? segments[b] : 0, sharpen);
      near("access", expected[b].access, read.accessLogits().select(0, b));
      near("retrieved", expected[b].read, read.retrieved().select(0, b));
      expected[b].write(own);
    }
    out.copyFrom(attended);
    read.postAttention(out);
    for (int b = 0; b < expected.length; b++) {
      if (b < segments.length) {
        near("out", expected[b].mixed(matrix(attended.select(0, b))), out.select(0, b));
      }
      near("memory", expected[b].items, state.memVals().select(0, b));
      near("means", new double[][] {expected[b].means}, state.meanLogits().slice(0, b, 1));
      assertEquals(expected[b].segment, state.segmentNumbers()[b]);
    }
  }

  @Test
  void shouldGoOnFromWhatWasRememberedElsewhere() {
    putLayer(3, 3, 4, 2, 5);
    weights.put("m/memvals", floats(2, 4, 5));
    weights.put("m/meanlogits", floats(2, 4));
    TransformerMemory memory = TransformerMemory.load(written(weights), "m/", 1, arena);
    TransformerMemory.State state = memory.newState(arena, 1);
    Tensor x = random(arena, random, 1, 2, 3);
    Tensor out = floats(1, 2, 3);
    out.copyFrom(x);
    state.preAttention(arena, new int[] {0}, x, null).postAttention(out);
    TransformerMemory.State same =
        memory.newState(arena, state.memVals(), state.meanLogits(), state.segmentNumbers());
    out.copyFrom(x);
    state.preAttention(arena, new int[] {1}, x, null).postAttention(out);
    Tensor again = floats(1, 2, 3);
    again.copyFrom(x);
    same.preAttention(arena, new int[] {1}, x, null).postAttention(again);
    assertArrayEquals(out.toFloatArray(), again.toFloatArray());
    assertArrayEquals(state.memVals().toFloatArray(), same.memVals().toFloatArray());
  }

  @Test
  void shouldRefuseWhatDoesNotFit() {
    putLayer(3, 6, 4, 2, 5);
    TransformerMemory memory = TransformerMemory.load(written(weights), "m/", 1, arena);
    TransformerMemory.State state = memory.newState(arena, 2);
    int[] two = {0, 0};
    refuse(
        "queryAntecedent.dim must equal mem_query.dimIn: queryAntecedent.dim=4, mem_query.dimIn=3",
        () -> state.preAttention(arena, two, floats(2, 5, 4), null));
    refuse(
        "queryAntecedent.batch must lie in [0, 2]: queryAntecedent.batch=3",
        () -> state.preAttention(arena, new int[3], floats(3, 5, 3), null));
    refuse(
        "queryAntecedent.len must be at least 1: queryAntecedent.len=0",
        () -> state.preAttention(arena, two, floats(2, 0, 3), null));
    refuse(
        "chunkNumber.length must equal queryAntecedent.batch: chunkNumber.length=1,"
            + " queryAntecedent.batch=2",
        () -> state.preAttention(arena, new int[1], floats(2, 5, 3), null));
    refuse(
        "memVals.shape must be [batch, memorySize, valDepth] = [2, 4, 5]: memVals.shape=[2, 5, 4]",
        () -> memory.newState(arena, floats(2, 5, 4), floats(2, 4), two));
    TransformerMemory.Read read = state.preAttention(arena, two, floats(2, 5, 3), null);
    refuse(
        "x.shape must be [batch, len, depth] = [2, 5, 6]: x.shape=[2, 5, 3]",
        () -> read.postAttention(floats(2, 5, 3)));
    refuse(
        "sharpenFactor must be a finite float: sharpenFactor=NaN",
        () -> TransformerMemory.load(written(weights), "m/", Double.NaN, arena));
    put("post_attention/erase", 2, 4);
    SafeTensors file = written(weights);
    refuse(
        "erase.dimIn must equal mem_query.dimIn: erase.dimIn=2, mem_query.dimIn=3",
        () -> TransformerMemory.load(file, "m/", 1, arena));
    putLayer(3, 6, 4, 2, 5);
    put("post_attention/dense_1", 5, 7);
    SafeTensors wide = written(weights);
    refuse(
        "post_mem.depth must equal post_x.depth: post_mem.depth=7, post_x.depth=6",
        () -> TransformerMemory.load(wide, "m/", 1, arena));
  }

  @Test
  void shouldWriteWhatWasReadOnce() {
    putLayer(3, 3, 4, 2, 5);
    TransformerMemory memory = TransformerMemory.load(written(weights), "m/", 1, arena);
    TransformerMemory.State state = memory.newState(arena, 1);
    Tensor x = random(arena, random, 1, 2, 3);
    TransformerMemory.Read read = state.preAttention(arena, new int[1], x, null);
    read.postAttention(floats(1, 2, 3));
    assertEquals(
        "read must be written before its state changes: changes then=1, now=2",
        assertThrows(IllegalStateException.class, () -> read.postAttention(floats(1, 2, 3)))
            .getMessage());
  }
}
