package io.github.attention4j.classics.d2l;

import static io.github.attention4j.classics.ReferenceD2l.columns;
import static io.github.attention4j.classics.ReferenceD2l.dotProducts;
import static io.github.attention4j.classics.ReferenceD2l.layerNorm;
import static io.github.attention4j.classics.ReferenceD2l.linear;
import static io.github.attention4j.classics.ReferenceD2l.maskedSoftmax;
import static io.github.attention4j.classics.ReferenceD2l.matrix;
import static io.github.attention4j.classics.ReferenceD2l.relu;
import static io.github.attention4j.classics.ReferenceD2l.sinusoid;
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

/** The Transformer of the book and its blocks, against the same in double. */
class TransformerTest {
  private static final int DIM = 12;
  private static final int HEADS = 3;
  private static final int BLOCKS = 2;
  private static final int VOCABULARY = 7;

  private final Random random = new Random(23);
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

  // ---- A model with random weights ----

  private void put(String name, long... shape) {
    float[] values = random(arena, random, shape).toFloatArray();
    for (int i = 0; i < values.length; i++) {
      values[i] /= (float) Math.sqrt(shape.length == 1 ? 1 : shape[shape.length - 1]);
    }
    weights.put(name, Tensor.of(arena, values, shape));
  }

  private void putBlock(String block, int attentions) {
    for (int n = 1; n <= attentions; n++) {
      String attention = block + (attentions == 1 ? "attention." : "attention" + n + ".");
      for (String letter : new String[] {"q", "k", "v", "o"}) {
        put(attention + "W_" + letter + ".weight", DIM, DIM);
        put(attention + "W_" + letter + ".bias", DIM);
      }
    }
    for (int n = 1; n <= attentions + 1; n++) {
      put(block + "addnorm" + n + ".ln.weight", DIM);
      put(block + "addnorm" + n + ".ln.bias", DIM);
    }
    put(block + "ffn.dense1.weight", 18, DIM);
    put(block + "ffn.dense1.bias", 18);
    put(block + "ffn.dense2.weight", DIM, 18);
    put(block + "ffn.dense2.bias", DIM);
  }

  private Map<String, Tensor> putModel() {
    put("encoder.embedding.weight", 9, DIM);
    put("decoder.embedding.weight", VOCABULARY, DIM);
    for (int n = 0; n < BLOCKS; n++) {
      putBlock("encoder.blks.block" + n + ".", 1);
      putBlock("decoder.blks.block" + n + ".", 2);
    }
    put("decoder.dense.weight", VOCABULARY, DIM);
    put("decoder.dense.bias", VOCABULARY);
    return weights;
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

  private Transformer model() {
    return Transformer.load(written(putModel()), "", HEADS, arena);
  }

  // ---- The same in double ----

  private double[][] projected(String name, double[][] x) {
    Tensor bias = weights.get(name + ".bias");
    return linear(x, matrix(weights.get(name + ".weight")), vector(bias));
  }

  private double[][] attended(String attention, double[][] x, double[][] memory, int[] valid) {
    double[][] q = projected(attention + "W_q", x);
    double[][] k = projected(attention + "W_k", memory);
    double[][] v = projected(attention + "W_v", memory);
    double[][] joined = new double[x.length][DIM];
    int dim = DIM / HEADS;
    for (int h = 0; h < HEADS; h++) {
      var score = dotProducts(columns(q, h * dim, dim), columns(k, h * dim, dim));
      double[][] head =
          weighted(maskedSoftmax(x.length, memory.length, score, valid), columns(v, h * dim, dim));
      for (int i = 0; i < x.length; i++) {
        System.arraycopy(head[i], 0, joined[i], h * dim, dim);
      }
    }
    return projected(attention + "W_o", joined);
  }

  private double[][] normed(String addNorm, double[][] x, double[][] y) {
    return layerNorm(
        sum(x, y),
        vector(weights.get(addNorm + ".ln.weight")),
        vector(weights.get(addNorm + ".ln.bias")));
  }

  private double[][] fed(String ffn, double[][] x) {
    return projected(ffn + "dense2", relu(projected(ffn + "dense1", x)));
  }

  private static int[] each(int count, int valid) {
    int[] lengths = new int[count];
    Arrays.fill(lengths, valid);
    return lengths;
  }

  private double[][] encoderBlock(String block, double[][] x, int valid) {
    double[][] read = attended(block + "attention.", x, x, each(x.length, valid));
    double[][] y = normed(block + "addnorm1", x, read);
    return normed(block + "addnorm2", y, fed(block + "ffn.", y));
  }

  private double[][] decoderBlock(String block, double[][] x, double[][] memory, int valid) {
    int[] causal = new int[x.length];
    Arrays.setAll(causal, i -> i + 1);
    double[][] y = normed(block + "addnorm1", x, attended(block + "attention1.", x, x, causal));
    double[][] read = attended(block + "attention2.", y, memory, each(x.length, valid));
    double[][] z = normed(block + "addnorm2", y, read);
    return normed(block + "addnorm3", z, fed(block + "ffn.", z));
  }

  private double[][] embedded(String embedding, int... tokens) {
    double[][] table = matrix(weights.get(embedding));
    double[][] x = new double[tokens.length][DIM];
    for (int i = 0; i < tokens.length; i++) {
      for (int d = 0; d < DIM; d++) {
        x[i][d] = table[tokens[i]][d] * Math.sqrt(DIM) + sinusoid(i, d, DIM);
      }
    }
    return x;
  }

  private double[][] encoded(int[] src, int valid) {
    double[][] x = embedded("encoder.embedding.weight", src);
    for (int n = 0; n < BLOCKS; n++) {
      x = encoderBlock("encoder.blks.block" + n + ".", x, valid);
    }
    return x;
  }

  private double[][] logits(double[][] memory, int valid, int... tokens) {
    double[][] x = embedded("decoder.embedding.weight", tokens);
    for (int n = 0; n < BLOCKS; n++) {
      x = decoderBlock("decoder.blks.block" + n + ".", x, memory, valid);
    }
    return projected("decoder.dense", x);
  }

  private static void requireRows(double[][] exact, Tensor got, double tolerance) {
    for (int i = 0; i < exact.length; i++) {
      for (int j = 0; j < exact[i].length; j++) {
        double error = tolerance * Math.max(1, Math.abs(exact[i][j]));
        assertEquals(exact[i][j], got.getFloat(i, j), error, "row " + i + ", column " + j);
      }
    }
  }

  // ---- Blocks ----

  @Test
  void shouldApplyAnEncoderBlock() {
    putBlock("", 1);
    TransformerEncoderBlock block =
        TransformerEncoderBlock.load(written(weights), "", HEADS, arena);
    Tensor x = random(arena, random, 2, 5, DIM);
    Tensor out = floats(2, 5, DIM);
    Tensor maps = floats(2, HEADS, 5, 5);
    onEveryTier(
        () -> {
          block.forward(x, ValidLens.of(3, 0), out, maps);
          requireRows(encoderBlock("", matrix(x.select(0, 0)), 3), out.select(0, 0), 1e-5);
          requireRows(encoderBlock("", matrix(x.select(0, 1)), 0), out.select(0, 1), 1e-5);
          assertEquals(0, maps.getFloat(0, 1, 2, 3));
          assertEquals(0.2f, maps.getFloat(1, 1, 2, 3));
          block.forward(x, ValidLens.none(), out);
          requireRows(encoderBlock("", matrix(x.select(0, 1)), 5), out.select(0, 1), 1e-5);
        });
    block.forward(floats(2, 0, DIM), ValidLens.none(), floats(2, 0, DIM));
    refuse(
        "out.shape must be the shape of x = [2, 5, 12]: out.shape=[2, 4, 12]",
        () -> block.forward(x, ValidLens.none(), floats(2, 4, DIM), floats(2, HEADS, 5, 5)));
  }

  @Test
  void shouldApplyADecoderBlockAtOnceAndStepByStep() {
    putBlock("", 2);
    TransformerDecoderBlock block =
        TransformerDecoderBlock.load(written(weights), "", HEADS, arena);
    Tensor x = random(arena, random, 2, 6, DIM);
    Tensor memory = random(arena, random, 2, 4, DIM);
    ValidLens lens = ValidLens.of(0, 3);
    onEveryTier(
        () -> {
          for (int part : new int[] {6, 1, 4}) {
            var state = block.newState(arena, memory, lens, 6);
            for (int i = 0; i < 6; i += part) {
              Tensor next = x.slice(1, i, Math.min(part, 6 - i));
              Tensor out = floats(2, next.size(1), DIM);
              block.forward(next, state, out);
              for (int b = 0; b < 2; b++) {
                double[][] exact =
                    decoderBlock("", matrix(x.select(0, b)), matrix(memory.select(0, b)), 3 * b);
                int end = i + (int) next.size(1);
                requireRows(Arrays.copyOfRange(exact, i, end), out.select(0, b), 2e-5);
              }
            }
            assertEquals(6, state.length());
          }
        });
    var full = block.newState(arena, memory, lens, 2);
    assertThrows(IllegalStateException.class, () -> block.forward(x, full, floats(2, 6, DIM)));
    assertEquals(0, full.length());
    Tensor two = x.slice(1, 0, 2);
    assertThrows(
        IllegalArgumentException.class,
        () -> block.forward(two, full, floats(2, 2, DIM), null, floats(2, HEADS, 2, 5)));
    assertEquals(0, full.length());
    block.forward(two, full, floats(2, 2, DIM), null, floats(2, HEADS, 2, 4));
    assertEquals(2, full.length());
  }

  // ---- Whole models ----

  @Test
  void shouldEncodeAndDecodeAsTheFormulasSay() {
    Transformer model = model();
    assertEquals(DIM, model.dim());
    assertEquals(HEADS, model.heads());
    assertEquals(BLOCKS, model.encoderBlocks());
    assertEquals(BLOCKS, model.decoderBlocks());
    assertEquals(VOCABULARY, model.vocabulary());
    int[][] src = {{3, 8, 1, 0}, {2, 2, 5, 7}};
    int[][] text = {{1, 6, 3}, {1, 0, 5}};
    ValidLens lens = ValidLens.of(3, 4);
    onEveryTier(
        () -> {
          Tensor encoded = floats(2, 4, DIM);
          model.encode(tokens(src), lens, encoded);
          Tensor logits = floats(2, 3, VOCABULARY);
          model.decode(tokens(text), model.newState(arena, encoded, lens, 3), logits);
          var state = model.newState(arena, encoded, lens, 3);
          Tensor step = floats(2, 1, VOCABULARY);
          for (int b = 0; b < 2; b++) {
            double[][] exact = encoded(src[b], 3 + b);
            requireRows(exact, encoded.select(0, b), 2e-5);
            requireRows(logits(exact, 3 + b, text[b]), logits.select(0, b), 5e-5);
          }
          for (int i = 0; i < 3; i++) {
            assertEquals(i, state.length());
            model.decode(tokens(new int[] {text[0][i]}, new int[] {text[1][i]}), state, step);
            for (int b = 0; b < 2; b++) {
              for (int token = 0; token < VOCABULARY; token++) {
                assertEquals(logits.getFloat(b, i, token), step.getFloat(b, 0, token), 2e-5);
              }
            }
          }
        });
  }

  @Test
  void shouldReadTheShorterNamesToo() {
    Transformer model = model();
    Map<String, Tensor> shorter = new LinkedHashMap<>();
    weights.forEach(
        (name, tensor) ->
            shorter.put(
                "model."
                    + name.replace("blks.block", "blks.")
                        .replace("embedding.weight", "embedding")
                        .replaceAll("W_(.)\\.weight", "W_$1")
                        .replaceAll("W_(.)\\.bias", "b_$1"),
                tensor));
    Transformer same = Transformer.load(written(shorter), "model.", HEADS, arena);
    Tensor src = tokens(new int[] {3, 4, 5});
    assertArrayEquals(
        model.predict(src, ValidLens.none(), 1, -1, 9)[0],
        same.predict(src, ValidLens.none(), 1, -1, 9)[0]);
  }

  /** The next token by the plain formulas. */
  private double[] logProbabilities(double[][] memory, int valid, int... tokens) {
    double[] last = logits(memory, valid, tokens)[tokens.length - 1];
    double total = 0;
    for (double logit : last) {
      total += Math.exp(logit);
    }
    double[] logs = new double[last.length];
    for (int token = 0; token < logs.length; token++) {
      logs[token] = last[token] - Math.log(total);
    }
    return logs;
  }

  @Test
  void shouldWriteTheLikeliestTokenUntilATextEnds() {
    Transformer model = model();
    int[][] src = {{3, 8, 1, 0}, {2, 2, 5, 7}, {6, 6, 6, 6}};
    int[] valid = {3, 4, 1};
    int[][] texts = model.predict(tokens(src), ValidLens.of(valid), 1, -1, 8);
    for (int b = 0; b < 3; b++) {
      double[][] memory = encoded(src[b], valid[b]);
      int[] text = {1};
      for (int step = 0; step < 8; step++) {
        double[] logs = logProbabilities(memory, valid[b], text);
        int best = 0;
        for (int token = 1; token < logs.length; token++) {
          best = logs[token] > logs[best] ? token : best;
        }
        assertEquals(best, texts[b][step]);
        text = Arrays.copyOf(text, text.length + 1);
        text[step + 1] = best;
      }
    }
    int eos = texts[0][1];
    int[][] ended = model.predict(tokens(src), ValidLens.of(valid), 1, eos, 8);
    for (int b = 0; b < 3; b++) {
      int length = 0;
      while (length < 8 && texts[b][length++] != eos) {
        // up to the first eos, with it
      }
      assertArrayEquals(Arrays.copyOf(texts[b], length), ended[b]);
    }
    assertEquals(0, model.predict(tokens(src), ValidLens.of(valid), 1, -1, 0)[2].length);
  }

  @Test
  void shouldFindTheBestTextByAWideBeamAndTheGreedyOneByABeamOfOne() {
    Transformer model = model();
    int[] src = {2, 2, 5, 7};
    Tensor tokens = tokens(src);
    double[][] memory = encoded(src, 4);
    Beam one = model.predictBeam(tokens, 4, 1, -1, 6, 1, 0.75);
    assertArrayEquals(model.predict(tokens, ValidLens.of(4), 1, -1, 6)[0], one.tokens());

    // As many beams as there are beginnings of two tokens: nothing is lost in three steps.
    for (int eos = 0; eos < VOCABULARY; eos++) {
      Beam beam = model.predictBeam(tokens, 4, 1, eos, 3, VOCABULARY * VOCABULARY, 0.75);
      double best = Double.NEGATIVE_INFINITY;
      int[] text = null;
      for (int a = 0; a < VOCABULARY; a++) {
        for (int b = 0; b < VOCABULARY; b++) {
          for (int c = 0; c < VOCABULARY; c++) {
            int length = a == eos ? 1 : b == eos ? 2 : 3;
            int[] all = {1, a, b, c};
            double sum = 0;
            for (int i = 1; i <= length; i++) {
              sum += logProbabilities(memory, 4, Arrays.copyOf(all, i))[all[i]];
            }
            if (sum / Math.pow(length, 0.75) > best) {
              best = sum / Math.pow(length, 0.75);
              text = Arrays.copyOfRange(all, 1, length + 1);
            }
          }
        }
      }
      assertArrayEquals(text, beam.tokens());
      assertEquals(best, beam.score(), 1e-4);
      assertEquals(beam.score() * Math.pow(text.length, 0.75), beam.logProbability(), 1e-9);
    }
  }

  @Test
  void shouldRefuseWhatDoesNotFit() {
    Transformer model = model();
    Tensor src = tokens(new int[] {1, 2, 3});
    refuse(
        "tokens[0, 1] must be in the vocabulary: tokens[0, 1]=9, vocabulary=9",
        () -> model.predict(tokens(new int[] {1, 9}), ValidLens.none(), 1, -1, 3));
    refuse(
        "validLens.length must equal queries.batch: validLens.length=2, queries.batch=1",
        () -> model.predict(src, ValidLens.of(1, 2), 1, -1, 3));
    refuse("bos must lie in [0, 6]: bos=7", () -> model.predict(src, ValidLens.none(), 7, -1, 3));
    refuse(
        "capacity must lie in [0, 1000]: capacity=1001",
        () -> model.predict(src, ValidLens.none(), 1, -1, 1001));
    refuse(
        "beamSize must be at least 1: beamSize=0",
        () -> model.predictBeam(src, 3, 1, -1, 3, 0, 0.75));
    Tensor encoded = floats(1, 3, DIM);
    var state = model.newState(arena, encoded, ValidLens.none(), 2);
    refuse(
        "tokens.batch must equal state.batch: tokens.batch=2, state.batch=1",
        () -> model.decode(tokens(new int[] {1}, new int[] {1}), state, floats(2, 1, VOCABULARY)));
    assertThrows(
        IllegalStateException.class, () -> model.decode(src, state, floats(1, 3, VOCABULARY)));
    assertEquals(0, state.length());
    model.decode(src.slice(1, 0, 2), state, floats(1, 2, VOCABULARY));
    refuse(
        "queryProjection.dimOut must be a multiple of heads: queryProjection.dimOut=12, heads=5",
        () -> Transformer.load(written(weights), "", 5, arena));
    weights.put("decoder.extra", floats(2));
    SafeTensors unknown = written(weights);
    refuse(
        unknown
            + " must not have tensors below \"decoder.\" that the layer does not use:"
            + " it has \"decoder.extra\"",
        () -> Transformer.load(unknown, "", HEADS, arena));
    weights.remove("decoder.extra");
    weights.remove("encoder.blks.block1.ffn.dense2.weight");
    SafeTensors missing = written(weights);
    assertEquals(
        missing
            + " must have the tensor \"encoder.blks.block1.ffn.dense2.weight\" or"
            + " \"encoder.blks.block1.ffn.dense2\": it has"
            + " \"encoder.blks.block1.ffn.dense2.bias\"",
        assertThrows(
                IllegalArgumentException.class, () -> Transformer.load(missing, "", HEADS, arena))
            .getMessage());
  }
}
