package io.github.attention4j.classics.d2l;

import static io.github.attention4j.classics.ReferenceD2l.additive;
import static io.github.attention4j.classics.ReferenceD2l.linear;
import static io.github.attention4j.classics.ReferenceD2l.maskedSoftmax;
import static io.github.attention4j.classics.ReferenceD2l.matrix;
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

/** Gated recurrent units, and the translator that is made of them, against the same in double. */
class BahdanauSeq2SeqTest {
  private static final int HIDDEN = 10;
  private static final int EMBED = 6;
  private static final int VOCABULARY = 7;

  private final Random random = new Random(29);
  private final Map<String, Tensor> weights = new LinkedHashMap<>();
  private Arena arena;

  @TempDir Path directory;

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

  private Tensor tokens(int[]... rows) {
    Tensor tokens = Tensor.allocate(arena, DType.I32, rows.length, rows[0].length);
    for (int b = 0; b < rows.length; b++) {
      for (int i = 0; i < rows[b].length; i++) {
        tokens.setInt(rows[b][i], b, i);
      }
    }
    return tokens;
  }

  private void put(String name, long... shape) {
    weights.put(name, random(arena, random, shape));
  }

  private void putRnn(String prefix, int layers, int dimIn, boolean bias) {
    for (int n = 0; n < layers; n++) {
      put(prefix + "weight_ih_l" + n, 3 * HIDDEN, n == 0 ? dimIn : HIDDEN);
      put(prefix + "weight_hh_l" + n, 3 * HIDDEN, HIDDEN);
      if (bias) {
        put(prefix + "bias_ih_l" + n, 3 * HIDDEN);
        put(prefix + "bias_hh_l" + n, 3 * HIDDEN);
      }
    }
  }

  private void putModel(int layers) {
    weights.clear();
    put("encoder.embedding.weight", 9, EMBED);
    putRnn("encoder.rnn.rnn.", layers, EMBED, true);
    put("decoder.embedding.weight", VOCABULARY, EMBED);
    put("decoder.attention.W_q.weight", 12, HIDDEN);
    put("decoder.attention.W_k.weight", 12, HIDDEN);
    put("decoder.attention.w_v.weight", 1, 12);
    putRnn("decoder.rnn.", layers, HIDDEN + EMBED, true);
    put("decoder.dense.weight", VOCABULARY, HIDDEN);
    put("decoder.dense.bias", VOCABULARY);
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

  // ---- The same in double ----

  private double[] vectorOf(String name) {
    return weights.containsKey(name) ? vector(weights.get(name)) : null;
  }

  /** One step of one sequence through all layers; h is the state of each, and changes. */
  private double[] step(String prefix, double[] x, double[][] h) {
    for (int n = 0; n < h.length; n++) {
      double[] a =
          linear(
              new double[][] {x},
              matrix(weights.get(prefix + "weight_ih_l" + n)),
              vectorOf(prefix + "bias_ih_l" + n))[0];
      double[] b =
          linear(
              new double[][] {h[n]},
              matrix(weights.get(prefix + "weight_hh_l" + n)),
              vectorOf(prefix + "bias_hh_l" + n))[0];
      double[] next = new double[HIDDEN];
      for (int i = 0; i < HIDDEN; i++) {
        double r = 1 / (1 + Math.exp(-a[i] - b[i]));
        double z = 1 / (1 + Math.exp(-a[HIDDEN + i] - b[HIDDEN + i]));
        double fresh = Math.tanh(a[2 * HIDDEN + i] + r * b[2 * HIDDEN + i]);
        next[i] = (1 - z) * fresh + z * h[n][i];
      }
      h[n] = next;
      x = next;
    }
    return x;
  }

  private double[][] encoded(int[] src, double[][] h) {
    double[][] table = matrix(weights.get("encoder.embedding.weight"));
    double[][] outputs = new double[src.length][];
    for (int t = 0; t < src.length; t++) {
      outputs[t] = step("encoder.rnn.rnn.", table[src[t]], h);
    }
    return outputs;
  }

  /** The logits after one token; h changes. */
  private double[] decoded(int token, double[][] outputs, int valid, double[][] h) {
    double[][] query = {h[h.length - 1]};
    double[][] map =
        maskedSoftmax(
            1,
            outputs.length,
            additive(
                query,
                outputs,
                matrix(weights.get("decoder.attention.W_q.weight")),
                matrix(weights.get("decoder.attention.W_k.weight")),
                matrix(weights.get("decoder.attention.w_v.weight"))[0]),
            new int[] {valid});
    double[] context = weighted(map, outputs)[0];
    double[] x = Arrays.copyOf(context, HIDDEN + EMBED);
    double[] embedded = matrix(weights.get("decoder.embedding.weight"))[token];
    System.arraycopy(embedded, 0, x, HIDDEN, EMBED);
    double[] y = step("decoder.rnn.", x, h);
    return linear(
        new double[][] {y},
        matrix(weights.get("decoder.dense.weight")),
        vector(weights.get("decoder.dense.bias")))[0];
  }

  private static void requireRow(double[] exact, Tensor got) {
    for (int i = 0; i < exact.length; i++) {
      assertEquals(exact[i], got.getFloat(i), 2e-5 * Math.max(1, Math.abs(exact[i])));
    }
  }

  // ---- Gated recurrent units ----

  @Test
  void shouldStepStackedUnits() {
    for (int layers = 1; layers <= 3; layers++) {
      weights.clear();
      putRnn("", layers, 5, layers != 2);
      Gru gru = Gru.load(written(weights), "", arena);
      assertEquals(5, gru.dimIn());
      assertEquals(HIDDEN, gru.hidden());
      assertEquals(layers, gru.layers());
      Tensor x = random(arena, random, 2, 7, 5);
      Tensor start = random(arena, random, layers, 2, HIDDEN);
      int count = layers;
      onEveryTier(
          () -> {
            Tensor state = start.toF32(arena);
            Tensor out = floats(2, 7, HIDDEN);
            gru.forward(x, state, out);
            Tensor again = start.toF32(arena);
            Tensor parts = floats(2, 9, HIDDEN).slice(1, 1, 7);
            for (int t = 0; t < 7; t += 3) {
              int len = Math.min(3, 7 - t);
              gru.forward(x.slice(1, t, len), again, parts.slice(1, t, len));
            }
            for (int b = 0; b < 2; b++) {
              double[][] h = new double[count][];
              for (int n = 0; n < count; n++) {
                h[n] = vector(start.select(0, n).select(0, b));
              }
              for (int t = 0; t < 7; t++) {
                double[] y = step("", vector(x.select(0, b).select(0, t)), h);
                requireRow(y, out.select(0, b).select(0, t));
                requireRow(y, parts.select(0, b).select(0, t));
              }
              for (int n = 0; n < count; n++) {
                requireRow(h[n], state.select(0, n).select(0, b));
                requireRow(h[n], again.select(0, n).select(0, b));
              }
            }
          });
    }
  }

  @Test
  void shouldLeaveTheStateWhereThereIsNothingToRead() {
    putRnn("", 2, 5, true);
    Gru gru = Gru.load(written(weights), "", arena);
    Tensor state = random(arena, random, 2, 3, HIDDEN);
    float[] before = state.toFloatArray();
    gru.forward(floats(3, 0, 5), state, floats(3, 0, HIDDEN));
    assertArrayEquals(before, state.toFloatArray());
    gru.forward(floats(0, 4, 5), floats(2, 0, HIDDEN), floats(0, 4, HIDDEN));
  }

  @Test
  void shouldRefuseUnitsThatDoNotFit() {
    putRnn("", 2, 5, true);
    Gru gru = Gru.load(written(weights), "", arena);
    refuse(
        "x.dim must equal weight_ih.dimIn: x.dim=6, weight_ih.dimIn=5",
        () -> gru.forward(floats(3, 4, 6), floats(2, 3, HIDDEN), floats(3, 4, HIDDEN)));
    refuse(
        "state.shape must be [layers, batch, hidden] = [2, 3, 10]: state.shape=[1, 3, 10]",
        () -> gru.forward(floats(3, 4, 5), floats(1, 3, HIDDEN), floats(3, 4, HIDDEN)));
    weights.put("weight_ih_l1", floats(3 * HIDDEN, 5));
    refuse(
        "layer 1: weight_ih.dimIn must equal hidden: layer 1: weight_ih.dimIn=5, hidden=10",
        () -> Gru.load(written(weights), "", arena));
    weights.put("weight_hh_l0", floats(2 * HIDDEN, HIDDEN));
    weights.put("bias_hh_l0", floats(2 * HIDDEN));
    refuse(
        "layer 0: weight_hh.dimOut must equal 3 * hidden: layer 0: weight_hh.dimOut=20,"
            + " 3 * hidden=30",
        () -> Gru.load(written(weights), "", arena));
  }

  // ---- The translator ----

  @Test
  void shouldEncodeAndDecodeAsTheFormulasSay() {
    int[][] src = {{3, 8, 1, 0, 4}, {2, 2, 5, 7, 7}};
    int[][] text = {{1, 6, 3}, {4, 0, 5}};
    int[] valid = {3, 0};
    for (int layers = 1; layers <= 2; layers++) {
      putModel(layers);
      BahdanauSeq2Seq model = BahdanauSeq2Seq.load(written(weights), "", arena);
      assertEquals(HIDDEN, model.hidden());
      assertEquals(EMBED, model.embedSize());
      assertEquals(layers, model.layers());
      assertEquals(VOCABULARY, model.vocabulary());
      int count = layers;
      onEveryTier(
          () -> {
            Tensor outputs = floats(2, 5, HIDDEN);
            Tensor encState = floats(count, 2, HIDDEN).fill(9);
            model.encode(tokens(src), outputs, encState);
            var state = model.newState(arena, outputs, encState, ValidLens.of(valid));
            var steps = model.newState(arena, outputs, encState, ValidLens.of(valid));
            Tensor logits = floats(2, 3, VOCABULARY);
            Tensor maps = floats(2, 3, 5);
            Tensor contexts = floats(2, 3, HIDDEN);
            model.decode(tokens(text), state, logits, maps, contexts);
            Tensor one = floats(2, 1, VOCABULARY);
            for (int t = 0; t < 3; t++) {
              model.decode(tokens(text).slice(1, t, 1), steps, one);
              for (int b = 0; b < 2; b++) {
                requireRow(vector(logits.select(0, b).select(0, t)), one.select(0, b).select(0, 0));
              }
            }
            assertArrayEquals(state.hidden().toFloatArray(), steps.hidden().toFloatArray(), 1e-5f);
            for (int b = 0; b < 2; b++) {
              double[][] h = new double[count][HIDDEN];
              double[][] exact = encoded(src[b], h);
              for (int t = 0; t < 5; t++) {
                requireRow(exact[t], outputs.select(0, b).select(0, t));
              }
              for (int t = 0; t < 3; t++) {
                double[] wanted = decoded(text[b][t], exact, valid[b], h);
                requireRow(wanted, logits.select(0, b).select(0, t));
                assertEquals(valid[b] == 0 ? 0.2 : 0, maps.getFloat(b, t, 4), 1e-7);
                double mean = 0;
                for (int j = 0; j < 5; j++) {
                  mean += maps.getFloat(b, t, j) * exact[j][3];
                }
                assertEquals(mean, contexts.getFloat(b, t, 3), 1e-5);
              }
            }
          });
    }
  }

  @Test
  void shouldWriteTheLikeliestTokensAndSearchByBeams() {
    putModel(2);
    BahdanauSeq2Seq model = BahdanauSeq2Seq.load(written(weights), "", arena);
    int[][] src = {{3, 8, 1, 0}, {2, 2, 5, 7}};
    int[][] texts = model.predict(tokens(src), ValidLens.of(4, 2), 1, -1, 6);
    double[][] h = new double[2][HIDDEN];
    double[][] outputs = encoded(src[0], h);
    int token = 1;
    for (int t = 0; t < 6; t++) {
      double[] logits = decoded(token, outputs, 4, h);
      token = 0;
      for (int n = 1; n < VOCABULARY; n++) {
        token = logits[n] > logits[token] ? n : token;
      }
      assertEquals(token, texts[0][t]);
    }
    Tensor one = tokens(src[0]);
    Beam greedy = model.predictBeam(one, 4, 1, -1, 6, 1, 0.75);
    assertArrayEquals(texts[0], greedy.tokens());

    // As many beams as tokens: nothing is lost in two steps.
    for (int eos = 0; eos < VOCABULARY; eos++) {
      Beam beam = model.predictBeam(one, 4, 1, eos, 2, VOCABULARY, 0.75);
      double best = Double.NEGATIVE_INFINITY;
      int[] text = null;
      for (int a = 0; a < VOCABULARY; a++) {
        for (int b = 0; b < VOCABULARY; b++) {
          double[][] state = new double[2][HIDDEN];
          double[][] memory = encoded(src[0], state);
          double sum = logProbability(decoded(1, memory, 4, state), a);
          if (a != eos) {
            sum += logProbability(decoded(a, memory, 4, state), b);
          }
          double score = sum / Math.pow(a == eos ? 1 : 2, 0.75);
          if (score > best) {
            best = score;
            text = a == eos ? new int[] {a} : new int[] {a, b};
          }
        }
      }
      assertArrayEquals(text, beam.tokens());
      assertEquals(best, beam.score(), 1e-4);
    }
  }

  private static double logProbability(double[] logits, int token) {
    double total = 0;
    for (double logit : logits) {
      total += Math.exp(logit);
    }
    return logits[token] - Math.log(total);
  }

  @Test
  void shouldRefuseWhatDoesNotFit() {
    putModel(1);
    BahdanauSeq2Seq model = BahdanauSeq2Seq.load(written(weights), "", arena);
    Tensor src = tokens(new int[] {1, 2, 3});
    refuse(
        "tokens[0, 1] must be in the vocabulary: tokens[0, 1]=-1, vocabulary=9",
        () -> model.predict(tokens(new int[] {1, -1}), ValidLens.none(), 1, -1, 3));
    refuse(
        "validLens.length must equal queries.batch: validLens.length=2, queries.batch=1",
        () -> model.predict(src, ValidLens.of(1, 2), 1, -1, 3));
    refuse("bos must lie in [0, 6]: bos=-1", () -> model.predict(src, ValidLens.none(), -1, -1, 3));
    refuse(
        "src.batch must equal one source: src.batch=2, one source=1",
        () -> model.predictBeam(tokens(new int[] {1}, new int[] {1}), 1, 1, -1, 3, 2, 0.75));
    Tensor outputs = floats(1, 3, HIDDEN);
    Tensor encState = floats(1, 1, HIDDEN);
    var state = model.newState(arena, outputs, encState, ValidLens.none());
    refuse(
        "logits.shape must be [batch, len, dim] = [1, 3, 7]: logits.shape=[1, 3, 8]",
        () -> model.decode(src, state, floats(1, 3, 8)));
    refuse(
        "encState.shape must be [layers, batch, hidden] = [1, 1, 10]: encState.shape=[2, 1, 10]",
        () -> model.newState(arena, outputs, floats(2, 1, HIDDEN), ValidLens.none()));
    weights.put("decoder.dense.weight", floats(VOCABULARY, HIDDEN + 1));
    refuse(
        "decoder.dense.dimIn must equal decoder.rnn.hidden: decoder.dense.dimIn=11,"
            + " decoder.rnn.hidden=10",
        () -> BahdanauSeq2Seq.load(written(weights), "", arena));
  }
}
