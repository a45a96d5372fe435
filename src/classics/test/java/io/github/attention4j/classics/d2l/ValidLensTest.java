package io.github.attention4j.classics.d2l;

import static io.github.attention4j.classics.ReferenceD2l.columns;
import static io.github.attention4j.classics.ReferenceD2l.dotProducts;
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
import static org.junit.jupiter.api.Assertions.assertTrue;

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

/** Valid lengths, and what takes them: masked softmax, dot-product and multi-head attention. */
class ValidLensTest {
  private final Random random = new Random(11);
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

  private Tensor lens(int[] shape, int... values) {
    Tensor flat = Tensor.allocate(arena, DType.I32, values.length);
    for (int i = 0; i < values.length; i++) {
      flat.setInt(values[i], i);
    }
    return flat.reshape(Arrays.stream(shape).asLongStream().toArray());
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

  // ---- Masked softmax ----

  @Test
  void shouldReplaceScoresOfInvalidKeysBeforeSoftmax() {
    for (int lenK : new int[] {1, 2, 15, 16, 17, 64, 100, 300}) {
      int batch = 3;
      int lenQ = 5;
      Tensor scores = random(arena, random, batch, lenQ, lenK);
      Tensor weights = floats(batch, lenQ, lenK);
      int[] each = new int[batch * lenQ];
      for (int i = 0; i < each.length; i++) {
        each[i] = i % 4 == 0 ? 0 : random.nextInt(lenK + 3);
      }
      onEveryTier(
          () -> {
            MaskedSoftmax.forward(scores, ValidLens.none(), weights);
            requireSoftmax(scores, weights, (b, i) -> lenK);
            int[] byBatch = {lenK, 0, lenK / 2};
            MaskedSoftmax.forward(scores, ValidLens.of(byBatch), weights);
            requireSoftmax(scores, weights, (b, i) -> byBatch[b]);
            Tensor perQuery = lens(new int[] {batch, lenQ}, each);
            MaskedSoftmax.forward(scores, ValidLens.of(perQuery), weights);
            requireSoftmax(scores, weights, (b, i) -> each[b * lenQ + i]);
          });
    }
  }

  @FunctionalInterface
  private interface Length {
    int of(int b, int i);
  }

  private static int[] lengths(int b, long lenQ, Length length) {
    int[] lengths = new int[(int) lenQ];
    Arrays.setAll(lengths, i -> length.of(b, i));
    return lengths;
  }

  private static void requireSoftmax(Tensor scores, Tensor weights, Length length) {
    for (int b = 0; b < scores.size(0); b++) {
      Tensor batch = scores.select(0, b);
      int[] lengths = lengths(b, scores.size(1), length);
      double[][] exact =
          maskedSoftmax(
              (int) scores.size(1), (int) scores.size(2), (i, j) -> batch.getFloat(i, j), lengths);
      requireRows(exact, weights.select(0, b), 1e-6);
    }
  }

  @Test
  void shouldGiveUniformWeightsWhereNoKeyIsValid() {
    Tensor scores = random(arena, random, 1, 2, 5);
    scores.setFloat(Float.NaN, 0, 1, 4);
    Tensor weights = floats(1, 2, 5);
    MaskedSoftmax.forward(scores, ValidLens.of(0), weights);
    float[] uniform = new float[10];
    Arrays.fill(uniform, 0.2f);
    assertArrayEquals(uniform, weights.toFloatArray());
  }

  @Test
  void shouldTakeScoresOfAnyStridesAndEmptyOnes() {
    Tensor scores = random(arena, random, 4, 3, 6).transpose(0, 2);
    Tensor weights = floats(6, 3, 4);
    MaskedSoftmax.forward(scores, ValidLens.of(1, 2, 3, 4, 0, 9), weights);
    requireSoftmax(scores, weights, (b, i) -> new int[] {1, 2, 3, 4, 0, 9}[b]);
    MaskedSoftmax.forward(floats(2, 3, 0), ValidLens.of(0, 0), floats(2, 3, 0));
    MaskedSoftmax.forward(floats(0, 3, 4), ValidLens.of(), floats(0, 3, 4));
    MaskedSoftmax.forward(floats(2, 0, 4), ValidLens.of(0, 1), floats(2, 0, 4));
  }

  @Test
  void shouldRefuseScoresAndLengthsThatDoNotFit() {
    Tensor scores = floats(2, 3, 4);
    refuse(
        "weights.shape must be the shape of scores = [2, 3, 4]: weights.shape=[2, 3, 5]",
        () -> MaskedSoftmax.forward(scores, ValidLens.none(), floats(2, 3, 5)));
    refuse(
        "scores.rank must be 3: scores.rank=2, F32[3, 4]",
        () -> MaskedSoftmax.forward(floats(3, 4), ValidLens.none(), floats(3, 4)));
    refuse(
        "validLens.length must equal queries.batch: validLens.length=3, queries.batch=2",
        () -> MaskedSoftmax.forward(scores, ValidLens.of(1, 2, 3), floats(2, 3, 4)));
    refuse(
        "validLens.lenQ must equal queries.lenQ: validLens.lenQ=2, queries.lenQ=3",
        () ->
            MaskedSoftmax.forward(
                scores, ValidLens.of(lens(new int[] {2, 2}, 1, 2, 3, 4)), floats(2, 3, 4)));
    refuse("validLens[1] must not be negative: validLens[1]=-1", () -> ValidLens.of(3, -1));
    refuse(
        "validLens[1, 0] must not be negative: validLens[1, 0]=-7",
        () ->
            MaskedSoftmax.forward(
                floats(2, 1, 4), ValidLens.of(lens(new int[] {2, 1}, 1, -7)), floats(2, 1, 4)));
    refuse("validLens.dtype must be I32: validLens.dtype=F32", () -> ValidLens.of(floats(2)));
    refuse(
        "validLens.rank must be 1 [batch] or 2 [batch, lenQ]: validLens.rank=3",
        () -> ValidLens.of(lens(new int[] {1, 1, 1}, 3)));
    assertTrue(
        assertThrows(
                IllegalArgumentException.class,
                () -> MaskedSoftmax.forward(scores, ValidLens.none(), scores))
            .getMessage()
            .startsWith("weights must not overlap scores: "));
  }

  // ---- Dot-product attention ----

  @Test
  void shouldAttendToValidKeysAlone() {
    for (int[] sizes : new int[][] {{1, 1, 1, 1}, {3, 10, 2, 4}, {50, 70, 20, 9}, {5, 7, 80, 33}}) {
      int lenQ = sizes[0];
      int lenK = sizes[1];
      Tensor queries = random(arena, random, 2, lenQ, sizes[2]);
      Tensor keys = random(arena, random, 2, lenK, sizes[2]);
      Tensor values = random(arena, random, 2, lenK, sizes[3]);
      Tensor out = floats(2, lenQ, sizes[3]);
      Tensor weights = floats(2, lenQ, lenK);
      int[] each = new int[2 * lenQ];
      for (int i = 0; i < each.length; i++) {
        each[i] = i % 3 == 1 ? 0 : random.nextInt(lenK + 2);
      }
      onEveryTier(
          () -> {
            DotProductAttention.forward(queries, keys, values, ValidLens.none(), out, weights);
            requireAttention(queries, keys, values, out, weights, (b, i) -> lenK);
            int[] byBatch = {lenK - 1, lenK + 5};
            ValidLens lens = ValidLens.of(byBatch);
            DotProductAttention.forward(queries, keys, values, lens, out, weights);
            requireAttention(queries, keys, values, out, weights, (b, i) -> byBatch[b]);
            ValidLens perQuery = ValidLens.of(lens(new int[] {2, lenQ}, each));
            DotProductAttention.forward(queries, keys, values, perQuery, out, weights);
            requireAttention(queries, keys, values, out, weights, (b, i) -> each[b * lenQ + i]);
            out.fill(9);
            DotProductAttention.forward(queries, keys, values, perQuery, out);
            requireAttention(queries, keys, values, out, weights, (b, i) -> each[b * lenQ + i]);
          });
    }
  }

  private static void requireAttention(
      Tensor queries, Tensor keys, Tensor values, Tensor out, Tensor weights, Length length) {
    for (int b = 0; b < queries.size(0); b++) {
      int lenK = (int) keys.size(1);
      int[] lengths = lengths(b, queries.size(1), length);
      double[][] exact =
          maskedSoftmax(
              lengths.length,
              lenK,
              dotProducts(matrix(queries.select(0, b)), matrix(keys.select(0, b))),
              lengths);
      requireRows(exact, weights.select(0, b), 2e-6);
      requireRows(weighted(exact, matrix(values.select(0, b))), out.select(0, b), 4e-6);
    }
  }

  @Test
  void shouldNotLetPaddingLeakWhereAKeyIsValid() {
    Tensor queries = random(arena, random, 2, 3, 8);
    Tensor keys = random(arena, random, 2, 5, 8);
    Tensor values = random(arena, random, 2, 5, 4);
    ValidLens lens = ValidLens.of(3, 4);
    Tensor clean = floats(2, 3, 4);
    DotProductAttention.forward(queries, keys, values, lens, clean);
    keys.select(0, 0).slice(0, 3, 2).fill(Float.NaN);
    values.select(0, 0).slice(0, 3, 2).fill(Float.POSITIVE_INFINITY);
    keys.select(0, 1).slice(0, 4, 1).fill(Float.NEGATIVE_INFINITY);
    values.select(0, 1).slice(0, 4, 1).fill(Float.NaN);
    Tensor out = floats(2, 3, 4);
    DotProductAttention.forward(queries, keys, values, lens, out);
    assertArrayEquals(clean.toFloatArray(), out.toFloatArray());
  }

  @Test
  void shouldAverageAllValuesWhereNoKeyIsValidWhateverTheKeysAre() {
    Tensor queries = random(arena, random, 2, 2, 3, 8);
    Tensor keys = random(arena, random, 2, 2, 4, 8).fill(Float.NaN);
    Tensor values = random(arena, random, 2, 2, 4, 5);
    Tensor out = floats(2, 2, 3, 5);
    Tensor weights = floats(2, 2, 3, 4);
    Tensor lens = lens(new int[] {2, 3}, 0, 0, 0, 0, 0, 0);
    DotProductAttention.forward(queries, keys, values, ValidLens.of(lens), out, weights);
    for (int b = 0; b < 2; b++) {
      for (int h = 0; h < 2; h++) {
        for (int i = 0; i < 3; i++) {
          for (int d = 0; d < 5; d++) {
            double mean = 0;
            for (int j = 0; j < 4; j++) {
              mean += values.getFloat(b, h, j, d) / 4;
              assertEquals(0.25f, weights.getFloat(b, h, i, j));
            }
            assertEquals(mean, out.getFloat(b, h, i, d), 1e-6);
          }
        }
      }
    }
    values.setFloat(Float.NaN, 1, 0, 3, 2);
    DotProductAttention.forward(queries, keys, values, ValidLens.of(0, 0), out);
    assertTrue(Float.isNaN(out.getFloat(1, 0, 0, 2)));
    assertTrue(Float.isFinite(out.getFloat(1, 0, 0, 1)));
    assertTrue(Float.isFinite(out.getFloat(1, 1, 0, 2)));
  }

  @Test
  void shouldGiveZeroWhereThereIsNoKeyAtAll() {
    Tensor out = floats(2, 3, 5).fill(7);
    DotProductAttention.forward(
        floats(2, 3, 8), floats(2, 0, 8), floats(2, 0, 5), ValidLens.of(0, 4), out);
    assertArrayEquals(new float[30], out.toFloatArray());
  }

  // ---- Multi-head attention ----

  private Map<String, Tensor> multiHeadWeights(boolean bias, boolean stateNames) {
    int[] dimsIn = {12, 7, 9, 24};
    Map<String, Tensor> weights = new LinkedHashMap<>();
    for (int n = 0; n < 4; n++) {
      String letter = "qkvo".substring(n, n + 1);
      Tensor weight = random(arena, random, 24, dimsIn[n]);
      weights.put("attention.W_" + letter + (stateNames ? ".weight" : ""), weight);
      if (bias) {
        String name = stateNames ? "W_" + letter + ".bias" : "b_" + letter;
        weights.put("attention." + name, random(arena, random, 24));
      }
    }
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

  @Test
  void shouldReadWeightsByTheBooksNamesAndAttendWithManyHeads() {
    for (int option = 0; option < 4; option++) {
      boolean bias = option % 2 == 1;
      boolean stateNames = option >= 2;
      Map<String, Tensor> weights = multiHeadWeights(bias, stateNames);
      SafeTensors file = written(weights);
      MultiHeadAttention layer = MultiHeadAttention.load(file, "attention.", 3, arena);
      assertEquals(24, layer.layer().dimOut());
      assertEquals(3, layer.layer().heads());
      Tensor queries = random(arena, random, 2, 4, 12);
      Tensor keys = random(arena, random, 2, 6, 7);
      Tensor values = random(arena, random, 2, 6, 9);
      Tensor out = floats(2, 4, 24);
      Tensor maps = floats(2, 3, 4, 6);
      int[] each = {3, 0, 6, 1, 0, 0, 2, 9};
      onEveryTier(
          () -> {
            ValidLens perQuery = ValidLens.of(lens(new int[] {2, 4}, each));
            layer.forward(queries, keys, values, perQuery, out, maps);
            requireHeads(weights, queries, keys, values, (b, i) -> each[b * 4 + i], out, maps);
            layer.forward(queries, keys, values, ValidLens.of(0, 5), out, maps);
            requireHeads(weights, queries, keys, values, (b, i) -> 5 * b, out, maps);
            out.fill(0);
            layer.forward(queries, keys, values, ValidLens.of(0, 5), out);
            requireHeads(weights, queries, keys, values, (b, i) -> 5 * b, out, maps);
          });
    }
  }

  private static void requireHeads(
      Map<String, Tensor> weights,
      Tensor queries,
      Tensor keys,
      Tensor values,
      Length length,
      Tensor out,
      Tensor maps) {
    for (int b = 0; b < queries.size(0); b++) {
      double[][] q = projected(weights, "q", matrix(queries.select(0, b)));
      double[][] k = projected(weights, "k", matrix(keys.select(0, b)));
      double[][] v = projected(weights, "v", matrix(values.select(0, b)));
      double[][] joined = new double[q.length][24];
      int[] lengths = lengths(b, queries.size(1), length);
      for (int h = 0; h < 3; h++) {
        double[][] map =
            maskedSoftmax(
                q.length,
                k.length,
                dotProducts(columns(q, 8 * h, 8), columns(k, 8 * h, 8)),
                lengths);
        requireRows(map, maps.select(0, b).select(0, h), 1e-5);
        double[][] head = weighted(map, columns(v, 8 * h, 8));
        for (int i = 0; i < q.length; i++) {
          System.arraycopy(head[i], 0, joined[i], 8 * h, 8);
        }
      }
      requireRows(projected(weights, "o", joined), out.select(0, b), 1e-5);
    }
  }

  private static double[][] projected(Map<String, Tensor> weights, String letter, double[][] x) {
    String w = "attention.W_" + letter;
    Tensor weight = weights.getOrDefault(w, weights.get(w + ".weight"));
    Tensor bias = weights.getOrDefault("attention.b_" + letter, weights.get(w + ".bias"));
    return linear(x, matrix(weight), bias == null ? null : vector(bias));
  }

  @Test
  void shouldRefuseWeightsThatAreMissingUnknownOrDoNotDivide() {
    Map<String, Tensor> weights = multiHeadWeights(false, false);
    refuse(
        "queryProjection.dimOut must be a multiple of heads: queryProjection.dimOut=24, heads=5",
        () -> MultiHeadAttention.load(written(weights), "attention.", 5, arena));
    weights.put("attention.W_z", floats(2, 2));
    SafeTensors unknown = written(weights);
    refuse(
        unknown
            + " must not have tensors below \"attention.\" that the layer does not use:"
            + " it has \"attention.W_z\"",
        () -> MultiHeadAttention.load(unknown, "attention.", 3, arena));
    weights.remove("attention.W_z");
    weights.remove("attention.W_o");
    SafeTensors missing = written(weights);
    refuse(
        missing
            + " must have the tensor \"attention.W_o.weight\" or \"attention.W_o\": it has none",
        () -> MultiHeadAttention.load(missing, "attention.", 3, arena));
  }

  @Test
  void shouldReadWeightsThatLieMisalignedOrInAnotherType() {
    Map<String, Tensor> weights = new LinkedHashMap<>();
    Tensor flag = Tensor.allocate(arena, DType.BOOL, 1);
    weights.put("flag", flag);
    weights.putAll(multiHeadWeights(true, true));
    Map<String, Tensor> exact = new LinkedHashMap<>(weights);
    Tensor narrow = Tensor.allocate(arena, DType.BF16, 24, 7);
    narrow.copyFrom(weights.get("attention.W_k.weight"));
    weights.put("attention.W_k.weight", narrow);
    exact.put("attention.W_k.weight", narrow.toF32(arena));
    MultiHeadAttention layer = MultiHeadAttention.load(written(weights), "attention.", 3, arena);
    Tensor queries = random(arena, random, 1, 2, 12);
    Tensor keys = random(arena, random, 1, 4, 7);
    Tensor values = random(arena, random, 1, 4, 9);
    Tensor out = floats(1, 2, 24);
    Tensor maps = floats(1, 3, 2, 4);
    layer.forward(queries, keys, values, ValidLens.of(3), out, maps);
    requireHeads(exact, queries, keys, values, (b, i) -> 3, out, maps);
  }

  @Test
  void shouldRefuseQueriesKeysAndValuesThatDoNotFit() {
    MultiHeadAttention layer =
        MultiHeadAttention.load(written(multiHeadWeights(false, true)), "attention.", 3, arena);
    refuse(
        "keys.batch must equal queries.batch: keys.batch=1, queries.batch=2",
        () ->
            layer.forward(
                floats(2, 4, 12),
                floats(1, 6, 7),
                floats(2, 6, 9),
                ValidLens.none(),
                floats(2, 4, 24)));
    refuse(
        "values.len must equal keys.len: values.len=5, keys.len=6",
        () ->
            layer.forward(
                floats(2, 4, 12),
                floats(2, 6, 7),
                floats(2, 5, 9),
                ValidLens.none(),
                floats(2, 4, 24)));
    refuse(
        "x.dim must equal weight.dimIn: x.dim=9, weight.dimIn=7",
        () ->
            layer.forward(
                floats(2, 4, 12),
                floats(2, 6, 9),
                floats(2, 6, 9),
                ValidLens.none(),
                floats(2, 4, 24)));
    refuse(
        "validLens.length must equal queries.batch: validLens.length=1, queries.batch=2",
        () ->
            layer.forward(
                floats(2, 4, 12),
                floats(2, 6, 7),
                floats(2, 6, 9),
                ValidLens.of(3),
                floats(2, 4, 24)));
  }

  @Test
  void shouldShowHeadsAsViewsAndBack() {
    Tensor x = random(arena, random, 2, 5, 12);
    Tensor heads = MultiHeadAttention.transposeQkv(x, 3);
    assertArrayEquals(new long[] {2, 3, 5, 4}, heads.shape());
    assertEquals(x.getFloat(1, 3, 9), heads.getFloat(1, 2, 3, 1));
    heads.setFloat(42, 1, 2, 3, 1);
    assertEquals(42, x.getFloat(1, 3, 9));
    Tensor back = MultiHeadAttention.transposeOutput(heads);
    assertEquals(x.toString(), back.toString());
    assertArrayEquals(x.toFloatArray(), back.toFloatArray());
    refuse(
        "size of dimension 2 must be a multiple of heads: size=12, heads=5",
        () -> MultiHeadAttention.transposeQkv(x, 5));
    refuse(
        "x.rank must be 4: x.rank=3, F32[2, 5, 12]", () -> MultiHeadAttention.transposeOutput(x));
  }
}
