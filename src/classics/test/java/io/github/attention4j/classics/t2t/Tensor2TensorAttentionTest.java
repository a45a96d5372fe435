package io.github.attention4j.classics.t2t;

import static io.github.attention4j.testing.Checked.onEveryTier;
import static io.github.attention4j.testing.Checked.random;
import static org.junit.jupiter.api.Assertions.assertArrayEquals;
import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertNull;
import static org.junit.jupiter.api.Assertions.assertSame;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import io.github.attention4j.A4j;
import io.github.attention4j.Alignment;
import io.github.attention4j.Attention;
import io.github.attention4j.DType;
import io.github.attention4j.Extras;
import io.github.attention4j.KvCache;
import io.github.attention4j.Mask;
import io.github.attention4j.Tensor;
import io.github.attention4j.classics.ReferenceT2t;
import io.github.attention4j.classics.t2t.Conv1d.Padding;
import io.github.attention4j.io.SafeTensors;
import io.github.attention4j.layer.Linear;
import java.io.IOException;
import java.io.UncheckedIOException;
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

class Tensor2TensorAttentionTest {
  private static final int BATCH = 2;
  private static final int CHANNELS = 7;
  private static final int CHANNELS_M = 5;
  private static final int OUTPUT_DEPTH = 6;

  private Random random = new Random(41);
  private Arena arena;
  private int files;

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

  private Tensor normal(long... shape) {
    return random(arena, random, shape);
  }

  private static void refuse(String message, Executable call) {
    assertEquals(message, assertThrows(IllegalArgumentException.class, call).getMessage());
  }

  // ---- Weights, as the original keeps them and as the reference takes them ----

  /** A layer's parameters twice over: the reference, and the builder and file of the library. */
  private final class Setup {
    final ReferenceT2t reference = new ReferenceT2t();
    final Tensor2TensorAttentionBuilder builder = Tensor2TensorAttention.builder();
    final Map<String, Tensor> file = new LinkedHashMap<>();
    final boolean self;
    final int depthK;
    final int depthV;

    Setup(AttentionType type, int numHeads, int depthK, int depthV, boolean self) {
      this.self = self;
      this.depthK = depthK;
      this.depthV = depthV;
      reference.attentionType = type.toString();
      reference.numHeads = numHeads;
      builder
          .attentionType(type)
          .numHeads(numHeads)
          .totalKeyDepth((long) numHeads * depthK)
          .totalValueDepth((long) numHeads * depthV)
          .outputDepth(OUTPUT_DEPTH);
      projections(1, 1);
      Tensor o = kernel((long) numHeads * depthV, OUTPUT_DEPTH);
      reference.outputTransform = o;
      file.put("output_transform/kernel", o);
    }

    int numHeads() {
      return reference.numHeads;
    }

    private Tensor kernel(long... shape) {
      Tensor kernel = normal(shape);
      float factor = (float) (1 / Math.sqrt(shape[shape.length - 2]));
      float[] values = kernel.toFloatArray();
      for (int i = 0; i < values.length; i++) {
        values[i] *= factor;
      }
      return kernel.copyFrom(values);
    }

    Setup projections(int qWidth, int kvWidth) {
      long in = self ? CHANNELS : CHANNELS_M;
      reference.q = kernel(qWidth, CHANNELS, (long) numHeads() * depthK);
      reference.k = kernel(kvWidth, in, (long) numHeads() * depthK);
      reference.v = kernel(kvWidth, in, (long) numHeads() * depthV);
      reference.qBias = qWidth == 1 ? null : normal((long) numHeads() * depthK);
      reference.kBias = kvWidth == 1 ? null : normal((long) numHeads() * depthK);
      reference.vBias = kvWidth == 1 ? null : normal((long) numHeads() * depthV);
      file.keySet().removeIf(name -> name.matches("[qkv](_single)?/.*"));
      put("q", reference.q, reference.qBias);
      put("k", reference.k, reference.kBias);
      put("v", reference.v, reference.vBias);
      builder.qFilterWidth(qWidth).kvFilterWidth(kvWidth);
      return this;
    }

    private void put(String name, Tensor kernel, Tensor bias) {
      if (bias == null) {
        file.put(name + "/kernel", kernel.select(0, 0));
      } else {
        file.put(name + "_single/kernel", kernel.unsqueeze(1));
        file.put(name + "_single/bias", bias);
      }
    }

    Setup padding(Padding q, Padding kv) {
      reference.qPadding = q.name();
      reference.kvPadding = kv.name();
      builder.qPadding(q).kvPadding(kv);
      return this;
    }

    Setup blocks(int length, int width, int gap, int memoryBlocks) {
      reference.blockLength = length;
      reference.blockWidth = width;
      reference.gapSize = gap;
      reference.numMemoryBlocks = memoryBlocks;
      builder.blockLength(length).blockWidth(width).gapSize(gap).numMemoryBlocks(memoryBlocks);
      return this;
    }

    /** Tables of so many rows, one for all heads or one a head. */
    Setup tables(int rows, boolean shared, boolean values) {
      reference.keyEmbeddings =
          shared ? kernel(rows, depthK) : kernel(reference.numHeads, rows, depthK);
      reference.valueEmbeddings =
          !values ? null : shared ? kernel(rows, depthV) : kernel(reference.numHeads, rows, depthV);
      String scope =
          switch (reference.attentionType) {
            case "dot_product_relative" -> "dot_product_attention_relative/";
            case "dot_product_relative_v2" -> "dot_product_self_attention_relative_v2/";
            case "dot_product_unmasked_relative_v2" ->
                "dot_product_unmasked_self_attention_relative_v2/";
            default -> "masked_relative_local_attention_1d/";
          };
      boolean first = reference.attentionType.equals("dot_product_relative");
      boolean local = reference.attentionType.startsWith("local");
      file.put(
          scope
              + (first
                  ? "relative_positions_keys/embeddings"
                  : local ? "relative_embeddings" : "key_relative_embeddings"),
          reference.keyEmbeddings);
      if (values) {
        file.put(
            scope + (first ? "relative_positions_values/embeddings" : "value_relative_embeddings"),
            reference.valueEmbeddings);
      }
      builder.headsShareRelativeEmbedding(shared).addRelativeToValues(values);
      return this;
    }

    Setup relative(int maxRelativePosition, boolean shared, boolean values) {
      reference.maxRelativePosition = maxRelativePosition;
      builder.maxRelativePosition(maxRelativePosition);
      int rows =
          switch (reference.attentionType) {
            case "dot_product_relative" -> 2 * maxRelativePosition + 1;
            case "dot_product_relative_v2" -> maxRelativePosition;
            default -> 2 * maxRelativePosition - 1;
          };
      return tables(rows, shared, values);
    }

    Tensor2TensorAttention layer() {
      return builder.load(open(file), "layer/", arena);
    }
  }

  private SafeTensors open(Map<String, Tensor> tensors) {
    Map<String, Tensor> named = new LinkedHashMap<>();
    tensors.forEach((name, tensor) -> named.put("layer/" + name, tensor));
    Path path = directory.resolve("layer" + files++ + ".safetensors");
    try {
      SafeTensors.write(path, named, Map.of());
      return SafeTensors.open(path, arena);
    } catch (IOException e) {
      throw new UncheckedIOException(e);
    }
  }

  private static void requireEqual(double[][][] wanted, Tensor got, String what) {
    requireNear(wanted, got, 1e-5, what);
  }

  private static void requireNear(double[][][] wanted, Tensor got, double error, String what) {
    for (int b = 0; b < wanted.length; b++) {
      for (int i = 0; i < wanted[b].length; i++) {
        for (int c = 0; c < wanted[b][i].length; c++) {
          double value = wanted[b][i][c];
          String at = what + " at " + b + ", " + i + ", " + c;
          assertEquals(value, got.getFloat(b, i, c), error * (1 + Math.abs(value)), at);
        }
      }
    }
  }

  private static void requireWeights(double[][][][] wanted, Tensor got, String what) {
    for (int b = 0; b < wanted.length; b++) {
      requireEqual(wanted[b], got.select(0, b), what + ", weights of batch " + b);
    }
  }

  private void requireReference(Setup setup, int lenQ, int lenM, Mask bias, String what) {
    Tensor2TensorAttention layer = setup.layer();
    Tensor query = normal(BATCH, lenQ, CHANNELS);
    Tensor memory = setup.self ? null : normal(BATCH, lenM, CHANNELS_M);
    ReferenceT2t.Result wanted = setup.reference.run(query, memory);
    onEveryTier(
        () -> {
          Tensor out = floats(BATCH, layer.lengthOut(lenQ), OUTPUT_DEPTH).fill(Float.NaN);
          Tensor weights =
              layer.allocateWeights(
                  arena, BATCH, layer.lengthOut(lenQ), layer.lengthK(setup.self ? lenQ : lenM));
          layer.forward(query, memory, bias, out, Extras.none().weights(weights));
          requireEqual(wanted.out(), out, what);
          requireWeights(wanted.weights(), weights, what);
          Tensor alone = floats(out.shape());
          layer.forward(query, memory, bias, alone);
          requireEqual(wanted.out(), alone, what + ", without weights");
        });
  }

  // ---- The formula ----

  @Test
  void shouldMatchTheReferenceWithDotProducts() {
    for (int round = 0; round < 40; round++) {
      boolean self = random.nextBoolean();
      int heads = 1 + random.nextInt(3);
      Setup setup =
          new Setup(
              AttentionType.DOT_PRODUCT, heads, 1 + random.nextInt(9), 1 + random.nextInt(9), self);
      int lenQ = 4 + random.nextInt(9);
      int lenM = self ? lenQ : 4 + random.nextInt(9);
      Padding[] paddings = Padding.values();
      Padding q = paddings[random.nextInt(3)];
      Padding kv = paddings[random.nextInt(3)];
      int qWidth = q == Padding.LEFT ? 1 + 2 * random.nextInt(2) : 1 + random.nextInt(4);
      int kvWidth = kv == Padding.LEFT ? 1 + 2 * random.nextInt(2) : 1 + random.nextInt(4);
      setup.padding(q, kv).projections(qWidth, kvWidth);
      int rows = q == Padding.VALID ? lenQ - qWidth + 1 : lenQ;
      int keys = kv == Padding.VALID ? lenM - kvWidth + 1 : lenM;
      Tensor bias =
          normal(
              random.nextBoolean() ? BATCH : 1,
              random.nextBoolean() ? heads : 1,
              random.nextBoolean() ? rows : 1,
              keys);
      hideSome(bias);
      setup.reference.bias = (b, h, i, j) -> at(bias, b, h, i, j);
      String what =
          "round " + round + ": " + q + qWidth + ", " + kv + kvWidth + ", " + bias + ", " + self;
      requireReference(setup, lenQ, lenM, Mask.bias(bias), what);
    }
  }

  /** Hides every third key but the first, as the original does. */
  private static void hideSome(Tensor bias) {
    for (long j = 2; j < bias.size(3); j += 3) {
      bias.select(3, j).fill(-1e9f);
    }
  }

  private static double at(Tensor bias, int b, int h, int i, int j) {
    return bias.getFloat(
        bias.size(0) == 1 ? 0 : b, bias.size(1) == 1 ? 0 : h, bias.size(2) == 1 ? 0 : i, j);
  }

  @Test
  void shouldMatchTheReferenceWithLocalAndDilatedTypesWhichIgnoreABias() {
    Tensor ignored = normal(1, 1, 1, 1).fill(-3);
    for (AttentionType type : AttentionType.values()) {
      if (!type.toString().matches("local_(within|mask|unm).*|.*dilated.*")) {
        continue;
      }
      for (int length : new int[] {1, 3, 4, 8, 13, 21}) {
        for (int block : new int[] {1, 3, 4}) {
          int width = 1 + random.nextInt(5);
          int gap = random.nextInt(3);
          int memoryBlocks = random.nextInt(3);
          Setup setup = new Setup(type, 2, 4, 4, true).blocks(block, width, gap, memoryBlocks);
          String what =
              type
                  + " of "
                  + length
                  + ": "
                  + block
                  + ", "
                  + width
                  + ", "
                  + gap
                  + ", "
                  + memoryBlocks;
          requireReference(setup, length, length, Mask.bias(ignored), what);
        }
      }
    }
  }

  @Test
  void shouldMatchTheReferenceWithRelativePositions() {
    for (AttentionType type : AttentionType.values()) {
      if (!type.toString().startsWith("dot_product_")) {
        continue;
      }
      boolean first = type == AttentionType.DOT_PRODUCT_RELATIVE;
      for (int round = 0; round < 12; round++) {
        int depth = 1 + random.nextInt(9);
        boolean both = type == AttentionType.DOT_PRODUCT_RELATIVE_V2;
        Setup setup =
            new Setup(
                type, 1 + random.nextInt(3), depth, both ? 1 + random.nextInt(9) : depth, true);
        setup.relative(
            1 + random.nextInt(9), first || random.nextBoolean(), first || random.nextBoolean());
        int length = 1 + random.nextInt(12);
        boolean causal = both || random.nextBoolean();
        setup.reference.bias = (b, h, i, j) -> causal && j > i ? -1e9 : 0;
        Mask bias = causal ? Mask.causal(Alignment.TOP_LEFT) : null;
        requireReference(setup, length, length, bias, type + ", round " + round);
      }
    }
  }

  @Test
  void shouldMatchTheReferenceWithLocalRelativePositions() {
    for (int length : new int[] {1, 4, 6, 7, 8, 12, 23}) {
      for (int block : new int[] {1, 3, 4}) {
        boolean shared = random.nextBoolean();
        boolean values = random.nextBoolean();
        Setup setup = new Setup(AttentionType.LOCAL_RELATIVE_MASK_RIGHT, 2, 5, 3, true);
        setup.blocks(block, 1, 0, 0).tables(4 * block, shared, values);
        String what = length + " in blocks of " + block + ", " + shared + ", " + values;
        requireReference(setup, length, length, null, what);
      }
    }
  }

  @Test
  void shouldHardenWeightsOfTypesThatCanBeHardened() {
    for (AttentionType type :
        new AttentionType[] {AttentionType.DOT_PRODUCT, AttentionType.DOT_PRODUCT_RELATIVE}) {
      for (int k = 1; k < 6; k++) {
        Setup setup = new Setup(type, 2, 4, 4, true);
        if (type == AttentionType.DOT_PRODUCT_RELATIVE) {
          setup.relative(3, true, true);
        }
        setup.reference.hardAttentionK = k;
        setup.builder.hardAttentionK(k);
        requireReference(setup, 7, 7, null, type + " with k = " + k);
        Tensor uniform = uniforms(BATCH, 2, 7, 7);
        setup.reference.gumbelNoiseWeight = 0.3;
        setup.reference.uniform = uniform::getFloat;
        Tensor query = normal(BATCH, 7, CHANNELS);
        Tensor2TensorAttention layer =
            setup.builder.gumbelNoiseWeight(0.3).load(open(setup.file), "layer/", arena);
        Tensor out = floats(BATCH, 7, OUTPUT_DEPTH);
        layer.forward(query, null, null, out, Extras.none().gumbelNoise(0.3, uniform));
        // What survives may be small, and is divided by its sum: so is its error.
        requireNear(setup.reference.run(query, null).out(), out, 1e-4, "with noise, k = " + k);
      }
    }
  }

  private Tensor uniforms(long... shape) {
    Tensor uniform = floats(shape);
    float[] values = uniform.toFloatArray();
    for (int i = 0; i < values.length; i++) {
      values[i] = 1e-5f + random.nextFloat() * (1 - 2e-5f);
    }
    return uniform.copyFrom(values);
  }

  @Test
  void shouldDropTheWeightsThatTheCallerHasDrawn() {
    Setup setup = new Setup(AttentionType.DOT_PRODUCT_RELATIVE, 2, 4, 4, true);
    setup.relative(3, true, true);
    Tensor keep = Tensor.allocate(arena, DType.BOOL, 1, 2, 7, 7);
    for (int i = 0; i < 98; i++) {
      keep.reshape(98).setBoolean(random.nextDouble() > 0.4, i);
    }
    setup.reference.dropoutRate = 0.4;
    setup.reference.keep = (b, h, i, j) -> keep.getBoolean(0, h, i, j) ? 1 : 0;
    Tensor query = normal(BATCH, 7, CHANNELS);
    Tensor2TensorAttention layer = setup.layer();
    ReferenceT2t.Result wanted = setup.reference.run(query, null);
    onEveryTier(
        () -> {
          Tensor out = floats(BATCH, 7, OUTPUT_DEPTH);
          Tensor weights = layer.allocateWeights(arena, BATCH, 7, 7);
          layer.forward(query, null, null, out, Extras.none().keep(keep, 0.4).weights(weights));
          requireEqual(wanted.out(), out, "dropout");
          requireWeights(wanted.weights(), weights, "dropout");
        });
  }

  @Test
  void shouldDrawDropoutAndNoiseFromASeedWithTheSameBitsForEveryNumberOfThreads() {
    Setup setup = new Setup(AttentionType.DOT_PRODUCT, 2, 8, 8, true);
    setup.builder.dropoutRate(0.3).hardAttentionK(20).gumbelNoiseWeight(0.2);
    Tensor2TensorAttention layer = setup.layer();
    Tensor query = normal(BATCH, 130, CHANNELS);
    int before = A4j.threads();
    try {
      Tensor one = floats(BATCH, 130, OUTPUT_DEPTH);
      Tensor two = floats(BATCH, 130, OUTPUT_DEPTH);
      A4j.threads(1);
      layer.forward(query, null, null, one, layer.drawn(5));
      A4j.threads(2);
      layer.forward(query, null, null, two, layer.drawn(5));
      assertArrayEquals(one.toFloatArray(), two.toFloatArray());
      layer.forward(query, null, null, two, layer.drawn(6));
      assertFalse(Arrays.equals(one.toFloatArray(), two.toFloatArray()), "another seed");
      layer.forward(query, one);
      layer.forward(query, null, null, two, Extras.none());
      assertArrayEquals(one.toFloatArray(), two.toFloatArray(), "nothing is drawn unasked");
    } finally {
      A4j.threads(before);
    }
  }

  @Test
  void shouldShareDropoutAlongTheDimensionsOfTheTypesThatTheOriginalSharesIn() {
    Tensor alike = normal(1, 12, CHANNELS);
    Tensor query = floats(BATCH, 12, CHANNELS).copyFrom(alike.expand(0, BATCH));
    for (AttentionType type : AttentionType.values()) {
      Setup setup = new Setup(type, 2, 4, 4, true).blocks(3, 2, 0, 1);
      if (type == AttentionType.LOCAL_RELATIVE_MASK_RIGHT) {
        setup.tables(12, true, true);
      } else if (type.toString().startsWith("dot_product_")) {
        setup.relative(3, true, true);
      }
      setup.builder.dropoutRate(0.5).dropoutBroadcastDims(-4);
      Tensor2TensorAttention layer = setup.layer();
      Tensor out = floats(BATCH, 12, OUTPUT_DEPTH);
      layer.forward(query, null, null, out, layer.drawn(9));
      Tensor kept = floats(BATCH, 12, OUTPUT_DEPTH);
      layer.forward(query, kept);
      boolean drops = !Arrays.equals(kept.toFloatArray(), out.toFloatArray());
      boolean shares =
          Arrays.equals(out.select(0, 0).toFloatArray(), out.select(0, 1).toFloatArray());
      boolean relative =
          type == AttentionType.DOT_PRODUCT_RELATIVE
              || type == AttentionType.LOCAL_RELATIVE_MASK_RIGHT;
      assertEquals(type.toString().startsWith("dot") || relative, drops, type + " drops");
      assertEquals(!relative, shares, type + " shares");
    }
  }

  @Test
  void shouldMatchTheReferenceWithAreas() {
    for (int round = 0; round < 30; round++) {
      int height = 1 + random.nextInt(3);
      int length = height * (2 + random.nextInt(4));
      Setup setup = new Setup(AttentionType.DOT_PRODUCT, 2, 4, 4, true);
      ReferenceT2t reference = setup.reference;
      reference.memoryHeight = height;
      reference.maxAreaHeight = 1 + random.nextInt(height);
      reference.maxAreaWidth = 1 + random.nextInt(2) + (reference.maxAreaHeight == 1 ? 1 : 0);
      reference.areaKeyMode = random.nextBoolean() ? "mean" : "max";
      reference.areaValueMode = new String[] {"sum", "mean", "max"}[random.nextInt(3)];
      setup
          .builder
          .memoryHeight(height)
          .maxAreaHeight(reference.maxAreaHeight)
          .maxAreaWidth(reference.maxAreaWidth)
          .areaKeyMode(AreaAttention.KeyMode.of(reference.areaKeyMode))
          .areaValueMode(AreaAttention.ValueMode.of(reference.areaValueMode));
      Tensor bias = floats(BATCH, 1, 1, length);
      bias.slice(3, length - 1, 1).fill(-1e9f);
      boolean padded = random.nextBoolean();
      setup.reference.bias = (b, h, i, j) -> padded ? at(bias, b, h, i, j) : 0;
      requireReference(setup, length, length, padded ? Mask.bias(bias) : null, "round " + round);
    }
  }

  @Test
  void shouldReadTheWeightsOfAreasAndMoveTheirKeysByNoise() {
    Setup setup = new Setup(AttentionType.DOT_PRODUCT, 2, 4, 4, true);
    String scope = "dot_product_area_attention/combine_area_features/";
    setup.file.put(scope + "area_height_emb", normal(1, 2));
    setup.file.put(scope + "area_width_emb", normal(3, 2));
    setup.file.put(scope + "dense/kernel", normal(8, 4));
    setup.file.put(scope + "dense/bias", normal(4));
    setup.file.put(scope + "dense_1/kernel", normal(4, 4));
    setup.file.put(scope + "dense_1/bias", normal(4));
    setup.builder.maxAreaWidth(3).areaKeyMode(AreaAttention.KeyMode.SAMPLE_CONCAT);
    Tensor2TensorAttention layer = setup.layer();
    Tensor query = normal(BATCH, 5, CHANNELS);
    Tensor q = times(query, setup.reference.q);
    Tensor k = times(query, setup.reference.k);
    Tensor v = times(query, setup.reference.v);
    AreaAttention areas =
        AreaAttention.builder(Areas.of(3))
            .keyMode(AreaAttention.KeyMode.SAMPLE_CONCAT)
            .scale(0.5)
            .weights(
                setup.file.get(scope + "area_height_emb"),
                setup.file.get(scope + "area_width_emb"),
                linear(
                    setup.file.get(scope + "dense/kernel"), setup.file.get(scope + "dense/bias")),
                linear(
                    setup.file.get(scope + "dense_1/kernel"),
                    setup.file.get(scope + "dense_1/bias")))
            .build();
    for (AreaNoise noise : new AreaNoise[] {AreaNoise.none(), AreaNoise.seeded(3)}) {
      Tensor heads = floats(BATCH, 5, 8);
      areas.forward(q, k, v, null, noise, heads.splitHeads(2), Extras.none());
      Tensor wanted = floats(BATCH, 5, OUTPUT_DEPTH);
      linear(setup.reference.outputTransform, null).forward(heads, wanted);
      Tensor out = floats(BATCH, 5, OUTPUT_DEPTH);
      layer.forward(query, null, null, noise, out, Extras.none());
      requireClose(wanted, out, "areas");
    }
  }

  private Linear linear(Tensor kernel, Tensor bias) {
    Tensor weight = kernel.transpose(0, 1).toF32(arena);
    return bias == null ? Linear.of(weight) : Linear.of(weight, bias);
  }

  private Tensor times(Tensor x, Tensor kernel) {
    Tensor rows = floats(x.size(0), x.size(1), kernel.size(2));
    linear(kernel.select(0, 0), null).forward(x, rows);
    return rows.splitHeads(2);
  }

  @Test
  void shouldNotScaleWithThreeDimensionalVariables() {
    Setup setup = new Setup(AttentionType.DOT_PRODUCT, 3, 4, 5, false);
    setup.reference.vars3d = true;
    Map<String, Tensor> file = new LinkedHashMap<>();
    file.put("q", setup.reference.q.reshape(CHANNELS, 3, 4));
    file.put("k", setup.reference.k.reshape(CHANNELS_M, 3, 4));
    file.put("v", setup.reference.v.reshape(CHANNELS_M, 3, 5));
    file.put("o", setup.reference.outputTransform.reshape(3, 5, OUTPUT_DEPTH));
    setup.file.clear();
    setup.file.putAll(file);
    setup.builder.vars3d(true);
    requireReference(setup, 6, 9, null, "vars_3d");
    setup.builder.qFilterWidth(3).qPadding(Padding.SAME);
    refuse("qFilterWidth must be 1 with vars3d: qFilterWidth=3", setup::layer);
    setup.builder.qFilterWidth(1).numHeads(2);
    refuse("q.heads must equal numHeads: q.heads=3, numHeads=2", setup::layer);
  }

  @Test
  void shouldMatchTheReferenceWithRandomCombinations() {
    for (int round = 0; round < 60; round++) {
      boolean relative = random.nextBoolean();
      boolean self = relative || random.nextBoolean();
      int heads = 1 + random.nextInt(3);
      int depth = 1 + random.nextInt(9);
      Setup setup =
          new Setup(
              relative ? AttentionType.DOT_PRODUCT_RELATIVE : AttentionType.DOT_PRODUCT,
              heads,
              depth,
              relative ? depth : 1 + random.nextInt(9),
              self);
      ReferenceT2t reference = setup.reference;
      int width = 1 + random.nextInt(3);
      setup.padding(Padding.SAME, Padding.SAME).projections(width, 1 + random.nextInt(3));
      if (relative) {
        setup.relative(1 + random.nextInt(9), true, true);
      }
      int lenQ = 2 + random.nextInt(8);
      int lenK = self ? lenQ : 2 + random.nextInt(8);
      reference.hardAttentionK = random.nextInt(5);
      setup.builder.hardAttentionK(reference.hardAttentionK);
      Extras extras = Extras.none();
      if (reference.hardAttentionK > 0 && random.nextBoolean()) {
        Tensor uniform = uniforms(BATCH, heads, lenQ, lenK);
        reference.gumbelNoiseWeight = 0.5;
        reference.uniform = uniform::getFloat;
        extras = extras.gumbelNoise(0.5, uniform);
      }
      if (random.nextBoolean()) {
        Tensor keep = Tensor.allocate(arena, DType.BOOL, BATCH, 1, lenQ, lenK);
        for (int i = 0; i < keep.count(); i++) {
          keep.reshape(keep.count()).setBoolean(random.nextDouble() > 0.3, i);
        }
        reference.dropoutRate = 0.3;
        reference.keep = (b, h, i, j) -> keep.getBoolean(b, 0, i, j) ? 1 : 0;
        extras = extras.keep(keep, 0.3);
      }
      Tensor bias = normal(BATCH, 1, lenQ, lenK);
      reference.bias = (b, h, i, j) -> bias.getFloat(b, 0, i, j);
      Tensor query = normal(BATCH, lenQ, CHANNELS);
      Tensor memory = self ? null : normal(BATCH, lenK, CHANNELS_M);
      Tensor2TensorAttention layer = setup.layer();
      ReferenceT2t.Result wanted = reference.run(query, memory);
      Extras given = extras;
      String what = "round " + round + ", k = " + reference.hardAttentionK;
      onEveryTier(
          () -> {
            Tensor out = floats(BATCH, lenQ, OUTPUT_DEPTH);
            layer.forward(query, memory, Mask.bias(bias), out, given);
            requireNear(wanted.out(), out, reference.hardAttentionK > 0 ? 2e-4 : 1e-5, what);
          });
    }
  }

  @Test
  void shouldLetACallersFunctionAttend() {
    Setup setup = new Setup(AttentionType.DOT_PRODUCT, 2, 4, 3, true);
    Tensor query = normal(BATCH, 5, CHANNELS);
    Attention attention = Attention.builder().scale(1).build();
    Tensor2TensorAttention layer =
        setup.builder.attentionType(attention::forward).load(open(setup.file), "layer/", arena);
    assertNull(layer.attentionType());
    Tensor out = floats(BATCH, 5, OUTPUT_DEPTH);
    layer.forward(query, null, Mask.causal(Alignment.TOP_LEFT), out);
    requireEqual(setup.reference.run(query, null).out(), out, "a function");
    refuse(
        "extras must be none if attentionType is a function, which only gives its result",
        () ->
            layer.forward(
                query,
                null,
                null,
                out,
                Extras.none().weights(layer.allocateWeights(arena, BATCH, 5, 5))));
    refuse(
        "attentionType must be dot_product or dot_product_relative for caching:"
            + " attentionType=a function",
        () ->
            layer.forwardCached(
                query, layer.allocateCache(arena, BATCH, 9), Mask.none(), out, Extras.none()));
  }

  // ---- Caches ----

  @Test
  void shouldDecodeStepByStepWhatAWholePassGives() {
    Setup setup = new Setup(AttentionType.DOT_PRODUCT, 3, 4, 6, true);
    requireSteps(setup.layer());
    Setup relative = new Setup(AttentionType.DOT_PRODUCT_RELATIVE, 2, 4, 4, true);
    requireSteps(relative.relative(3, true, true).layer());
    Setup hard = new Setup(AttentionType.DOT_PRODUCT_RELATIVE, 2, 4, 4, true);
    hard.builder.hardAttentionK(3);
    requireSteps(hard.relative(20, true, true).layer());
  }

  private void requireSteps(Tensor2TensorAttention layer) {
    int length = 9;
    Tensor query = normal(BATCH, length, CHANNELS);
    Tensor whole = floats(BATCH, length, OUTPUT_DEPTH);
    Tensor weights = layer.allocateWeights(arena, BATCH, length, length);
    layer.forward(
        query, null, Mask.causal(Alignment.TOP_LEFT), whole, Extras.none().weights(weights));
    onEveryTier(
        () -> {
          KvCache cache = layer.allocateCache(arena, BATCH, length);
          KvCache full = layer.allocateFullCache(arena, BATCH, length);
          for (int s = 0; s < length; s++) {
            Tensor x = query.slice(1, s, 1);
            Tensor out = floats(BATCH, 1, OUTPUT_DEPTH);
            Tensor row = layer.allocateWeights(arena, BATCH, 1, s + 1);
            layer.forwardCached(x, cache, Mask.none(), out, Extras.none().weights(row));
            requireClose(whole.slice(1, s, 1), out, "step " + s);
            requireClose(weights.slice(2, s, 1).slice(3, 0, s + 1), row, "weights of step " + s);
            Tensor later = floats(1, 1, 1, length);
            later.slice(3, s + 1, length - s - 1).fill(-1e9f);
            layer.forwardCached(x, full, s, Mask.bias(later), out, Extras.none());
            requireClose(whole.slice(1, s, 1), out, "in place at " + s);
          }
          requireClose(cache.keys(arena), full.keys(arena), "keys");
          requireClose(cache.values(arena), full.values(arena), "values");
          cache.truncate(4);
          Tensor rest = floats(BATCH, 5, OUTPUT_DEPTH);
          layer.forwardCached(
              query.slice(1, 4, 5),
              cache,
              Mask.causal(Alignment.BOTTOM_RIGHT),
              rest,
              Extras.none());
          requireClose(whole.slice(1, 4, 5), rest, "five at once");
        });
  }

  private static void requireClose(Tensor wanted, Tensor got, String what) {
    assertArrayEquals(wanted.shape(), got.shape(), what);
    assertArrayEquals(wanted.toFloatArray(), got.toFloatArray(), 1e-5f, what);
  }

  @Test
  void shouldGiveEachSequenceOfARaggedCacheItsOwnKeys() {
    Tensor2TensorAttention layer = new Setup(AttentionType.DOT_PRODUCT, 2, 4, 4, true).layer();
    Tensor query = normal(BATCH, 6, CHANNELS);
    KvCache cache = layer.allocateCache(arena, BATCH, 9);
    Tensor out = floats(BATCH, 6, OUTPUT_DEPTH);
    Mask causal = Mask.causal(Alignment.BOTTOM_RIGHT);
    layer.forwardCached(query, cache, causal, out, Extras.none());
    cache.truncate(1, 3);
    Tensor step = floats(BATCH, 1, OUTPUT_DEPTH);
    Tensor next = normal(BATCH, 1, CHANNELS);
    layer.forwardCached(next, cache, Mask.none(), step, Extras.none());
    KvCache alone = layer.allocateCache(arena, 1, 9);
    layer.forwardCached(
        query.slice(0, 1, 1).slice(1, 0, 3),
        alone,
        causal,
        floats(1, 3, OUTPUT_DEPTH),
        Extras.none());
    Tensor wanted = floats(1, 1, OUTPUT_DEPTH);
    layer.forwardCached(next.slice(0, 1, 1), alone, Mask.none(), wanted, Extras.none());
    requireClose(wanted, step.slice(0, 1, 1), "the shorter sequence");
  }

  @Test
  void shouldTakeBackTheTokensOfARefusedCall() {
    Tensor2TensorAttention layer = new Setup(AttentionType.DOT_PRODUCT, 2, 4, 4, true).layer();
    Tensor query = normal(BATCH, 3, CHANNELS);
    Mask causal = Mask.causal(Alignment.BOTTOM_RIGHT);
    KvCache cache = layer.allocateCache(arena, BATCH, 9);
    Tensor out = floats(BATCH, 3, OUTPUT_DEPTH);
    layer.forwardCached(query, cache, causal, out, Extras.none());
    Extras wrong = Extras.ofWeights(layer.allocateWeights(arena, BATCH, 3, 7));
    assertThrows(
        IllegalArgumentException.class,
        () -> layer.forwardCached(query, cache, causal, out, wrong));
    assertArrayEquals(new int[] {3, 3}, cache.lengths());
    Extras right = Extras.ofWeights(layer.allocateWeights(arena, BATCH, 3, 6));
    layer.forwardCached(query, cache, causal, out, right);
    assertArrayEquals(new int[] {6, 6}, cache.lengths());
  }

  @Test
  void shouldReadAnEncodersMemoryOnce() {
    Setup setup = new Setup(AttentionType.DOT_PRODUCT, 3, 4, 2, false);
    setup.padding(Padding.SAME, Padding.VALID).projections(1, 3);
    Tensor2TensorAttention layer = setup.layer();
    Tensor query = normal(BATCH, 5, CHANNELS);
    Tensor memory = normal(BATCH, 8, CHANNELS_M);
    Tensor bias = normal(BATCH, 1, 1, 6);
    hideSome(bias);
    Tensor whole = floats(BATCH, 5, OUTPUT_DEPTH);
    layer.forward(query, memory, Mask.bias(bias), whole);
    KvCache read = layer.readMemory(arena, memory);
    assertEquals(6, read.longest());
    onEveryTier(
        () -> {
          for (int from = 0; from < 5; from += 2) {
            int rows = Math.min(2, 5 - from);
            Tensor out = floats(BATCH, rows, OUTPUT_DEPTH);
            layer.forwardMemory(
                query.slice(1, from, rows), read, Mask.bias(bias), out, Extras.none());
            requireClose(whole.slice(1, from, rows), out, "rows from " + from);
          }
        });
  }

  @Test
  void shouldRefuseCachesThatTheOriginalCannotHave() {
    Tensor2TensorAttention layer = new Setup(AttentionType.LOCAL_MASK_RIGHT, 2, 4, 4, true).layer();
    Tensor query = normal(BATCH, 1, CHANNELS);
    Tensor out = floats(BATCH, 1, OUTPUT_DEPTH);
    String message =
        "attentionType must be dot_product or dot_product_relative for caching:"
            + " attentionType=local_mask_right";
    KvCache cache = layer.allocateCache(arena, BATCH, 4);
    refuse(message, () -> layer.forwardCached(query, cache, Mask.none(), out, Extras.none()));
    refuse(message, () -> layer.forwardMemory(query, cache, Mask.none(), out, Extras.none()));
    Tensor2TensorAttention dot = new Setup(AttentionType.DOT_PRODUCT, 2, 4, 4, true).layer();
    String noBias = "bias must be given for caching, Mask.none() where it hides nothing: bias=null";
    refuse(noBias, () -> dot.forwardCached(query, cache, null, out, Extras.none()));
    refuse(noBias, () -> dot.forwardMemory(query, cache, null, out, Extras.none()));
    assertEquals(0, cache.longest());
    refuse(
        "cache.length(0) must equal cache.capacity: cache.length(0)=0, cache.capacity=4",
        () -> dot.forwardCached(query, cache, 0, Mask.none(), out, Extras.none()));
    KvCache full = dot.allocateFullCache(arena, BATCH, 4);
    refuse(
        "decodeLoopStep must lie in [0, 3]: decodeLoopStep=4",
        () -> dot.forwardCached(query, full, 4, Mask.none(), out, Extras.none()));
    refuse(
        "queryAntecedent.len must equal the positions of a decodeLoopStep: queryAntecedent.len=2,"
            + " the positions of a decodeLoopStep=1",
        () ->
            dot.forwardCached(
                normal(BATCH, 2, CHANNELS), full, 0, Mask.none(), out, Extras.none()));
  }

  // ---- Recurrent memory ----

  @Test
  void shouldAttendToTheChunkBeforeAsToOneLongSequence() {
    Tensor2TensorAttention layer = new Setup(AttentionType.DOT_PRODUCT, 2, 4, 6, true).layer();
    requireChunks(layer);
    Setup relative = new Setup(AttentionType.DOT_PRODUCT_RELATIVE, 2, 4, 4, true);
    requireChunks(relative.relative(3, true, true).layer());
  }

  @Test
  void shouldRefuseARecurrentMemoryWhereTheOriginalDoes() {
    Setup setup = new Setup(AttentionType.DOT_PRODUCT_RELATIVE_V2, 2, 4, 4, true);
    Tensor2TensorAttention layer = setup.relative(3, true, true).layer();
    refuse(
        "k.len must equal q.len, dot_product_relative_v2 is self-attention: k.len=6, q.len=3",
        () ->
            layer.forwardChunk(
                floats(BATCH, 3, CHANNELS),
                RecentTokensMemory.allocate(arena, BATCH, 3, 3, CHANNELS),
                new int[] {0, 0},
                floats(1, 1, 3, 3),
                floats(BATCH, 3, OUTPUT_DEPTH),
                Extras.none()));
    Setup threeD = new Setup(AttentionType.DOT_PRODUCT, 2, 4, 4, true);
    threeD.file.clear();
    threeD.file.put("q", threeD.reference.q.reshape(CHANNELS, 2, 4));
    threeD.file.put("k", threeD.reference.k.reshape(CHANNELS, 2, 4));
    threeD.file.put("v", threeD.reference.v.reshape(CHANNELS, 2, 4));
    threeD.file.put("o", threeD.reference.outputTransform.reshape(2, 4, OUTPUT_DEPTH));
    threeD.builder.vars3d(true);
    Tensor2TensorAttention unscaled = threeD.layer();
    refuse(
        "vars3d is not supported with a recurrent memory",
        () ->
            unscaled.forwardChunk(
                floats(BATCH, 3, CHANNELS),
                RecentTokensMemory.allocate(arena, BATCH, 3, 3, CHANNELS),
                new int[] {0, 0},
                floats(1, 1, 3, 3),
                floats(BATCH, 3, OUTPUT_DEPTH),
                Extras.none()));
  }

  private void requireChunks(Tensor2TensorAttention layer) {
    Tensor sequence = normal(BATCH, 6, CHANNELS);
    Tensor whole = floats(BATCH, 6, OUTPUT_DEPTH);
    layer.forward(sequence, null, Mask.causal(Alignment.TOP_LEFT), whole);
    Tensor causal = floats(1, 1, 3, 3);
    for (int i = 0; i < 3; i++) {
      for (int j = i + 1; j < 3; j++) {
        causal.setFloat(-1e9f, 0, 0, i, j);
      }
    }
    onEveryTier(
        () -> {
          RecentTokensMemory memory = RecentTokensMemory.allocate(arena, BATCH, 3, 3, CHANNELS);
          Tensor out = floats(BATCH, 3, OUTPUT_DEPTH);
          Tensor weights = layer.allocateWeights(arena, BATCH, 3, 6);
          for (int chunk = 0; chunk < 2; chunk++) {
            layer.forwardChunk(
                sequence.slice(1, 3L * chunk, 3),
                memory,
                new int[] {chunk, chunk},
                causal,
                out,
                Extras.none().weights(weights));
            requireClose(whole.slice(1, 3L * chunk, 3), out, "chunk " + chunk);
          }
        });
  }

  // ---- What does not fit ----

  @Test
  void shouldSayWhatTheOriginalWouldHaveSaid() {
    Setup heads = new Setup(AttentionType.DOT_PRODUCT, 2, 6, 4, true);
    heads.builder.numHeads(8);
    refuse(
        "totalKeyDepth must be a multiple of numHeads: totalKeyDepth=12, numHeads=8", heads::layer);
    Setup values = new Setup(AttentionType.DOT_PRODUCT, 2, 6, 4, true);
    values.builder.numHeads(3);
    refuse(
        "totalValueDepth must be a multiple of numHeads: totalValueDepth=8, numHeads=3",
        values::layer);
    Setup depth = new Setup(AttentionType.DOT_PRODUCT, 2, 6, 4, true);
    depth.builder.totalKeyDepth(16);
    refuse("totalKeyDepth must equal q.dimOut: totalKeyDepth=16, q.dimOut=12", depth::layer);
    Setup even = new Setup(AttentionType.DOT_PRODUCT, 2, 4, 4, true).projections(1, 4);
    even.padding(Padding.VALID, Padding.LEFT);
    refuse("kvFilterWidth must be odd under padding LEFT: kvFilterWidth=4", even::layer);
    Setup width = new Setup(AttentionType.DOT_PRODUCT, 2, 4, 4, true).projections(1, 4);
    width.builder.kvFilterWidth(3);
    refuse(
        "k/kernel.width must equal kvFilterWidth: k/kernel.width=4, kvFilterWidth=3", width::layer);
    refuse(
        "blockLength must be at least 1: blockLength=0",
        () -> Tensor2TensorAttention.builder().blockLength(0));
    assertEquals(
        "attentionType must be one of [dot_product, dot_product_relative, dot_product_relative_v2,"
            + " dot_product_unmasked_relative_v2, local_within_block_mask_right,"
            + " local_relative_mask_right, local_mask_right, local_unmasked, masked_dilated_1d,"
            + " unmasked_dilated_1d]: attentionType=edge_vector",
        assertThrows(IllegalArgumentException.class, () -> AttentionType.of("edge_vector"))
            .getMessage());
    for (AttentionType type : AttentionType.values()) {
      assertSame(type, AttentionType.of(type.toString()));
    }
    assertEquals(
        "numHeads must be given",
        assertThrows(
                IllegalStateException.class,
                () -> Tensor2TensorAttention.builder().load(open(even.file), "layer/", arena))
            .getMessage());
  }

  @Test
  void shouldRefuseParametersThatAnAttentionTypeDoesNotHave() {
    Setup hard = new Setup(AttentionType.LOCAL_MASK_RIGHT, 2, 4, 4, true);
    hard.builder.hardAttentionK(3);
    refuse("hardAttentionK must be 0 for local_mask_right: hardAttentionK=3", hard::layer);
    Setup hardAreas = new Setup(AttentionType.DOT_PRODUCT, 2, 4, 4, true);
    hardAreas.builder.hardAttentionK(3).maxAreaWidth(2);
    refuse("hardAttentionK must be 0 for areas: hardAttentionK=3", hardAreas::layer);
    Setup areas = new Setup(AttentionType.LOCAL_UNMASKED, 2, 4, 4, true);
    areas.builder.maxAreaWidth(3);
    refuse(
        "maxAreaWidth and maxAreaHeight must be 1 for local_unmasked, only dot_product has areas:"
            + " maxAreaWidth=3, maxAreaHeight=1",
        areas::layer);
    refuse(
        "totalValueDepth must equal totalKeyDepth for masked_dilated_1d: totalValueDepth=6,"
            + " totalKeyDepth=8",
        new Setup(AttentionType.MASKED_DILATED_1D, 2, 4, 3, true)::layer);
    Setup relative = new Setup(AttentionType.DOT_PRODUCT_RELATIVE, 2, 4, 4, true);
    relative.relative(3, true, true).builder.maxRelativePosition(0);
    refuse(
        "maxRelativePosition must be at least 1 for dot_product_relative: maxRelativePosition=0",
        relative::layer);
    relative.builder.maxRelativePosition(4);
    refuse(
        "keyEmbeddings.shape must be [2 * maxRelativePosition + 1, keyDepth] = [9, 4]:"
            + " keyEmbeddings.shape=[7, 4]",
        relative::layer);
    Setup perHead = new Setup(AttentionType.DOT_PRODUCT_RELATIVE_V2, 2, 4, 4, true);
    perHead.relative(3, true, true).builder.headsShareRelativeEmbedding(false);
    refuse(
        "keyEmbeddings.shape must be [numHeads, maxRelativePosition, keyDepth] = [2, 3, 4]:"
            + " keyEmbeddings.shape=[3, 4]",
        perHead::layer);
    Setup block = new Setup(AttentionType.LOCAL_RELATIVE_MASK_RIGHT, 2, 4, 4, true);
    block.tables(12, false, true).builder.blockLength(4);
    refuse(
        "keyEmbeddings.shape must be [numHeads, 4 * blockLength, keyDepth] = [2, 16, 4]:"
            + " keyEmbeddings.shape=[2, 12, 4]",
        block::layer);
    Tensor2TensorAttention widths = areaLayer();
    refuse(
        "bias must be Mask.bias of a tensor, or none, where areas are attended to",
        () ->
            widths.forward(
                floats(BATCH, 5, CHANNELS),
                null,
                Mask.causal(Alignment.TOP_LEFT),
                floats(BATCH, 5, OUTPUT_DEPTH)));
    refuse(
        "dropoutBroadcastDims must lie in [-4, 3]: dropoutBroadcastDims=4",
        () -> Tensor2TensorAttention.builder().dropoutBroadcastDims(0, 4));
    refuse("p must lie in [0, 1): p=1.0", () -> Tensor2TensorAttention.builder().dropoutRate(1));
  }

  private Tensor2TensorAttention areaLayer() {
    Setup setup = new Setup(AttentionType.DOT_PRODUCT, 2, 4, 4, true);
    setup.builder.maxAreaWidth(2);
    return setup.layer();
  }

  @Test
  void shouldRefuseMemoryForTypesThatAreSelfAttention() {
    for (AttentionType type : AttentionType.values()) {
      if (type == AttentionType.DOT_PRODUCT) {
        continue;
      }
      Setup setup = new Setup(type, 2, 4, 4, false).blocks(2, 1, 0, 1);
      if (type == AttentionType.LOCAL_RELATIVE_MASK_RIGHT) {
        setup.tables(8, true, true);
      } else if (type.toString().contains("relative")) {
        setup.relative(3, true, true);
      }
      Tensor2TensorAttention layer = setup.layer();
      refuse(
          "k.len must equal q.len, " + type + " is self-attention: k.len=7, q.len=5",
          () ->
              layer.forward(
                  floats(BATCH, 5, CHANNELS),
                  floats(BATCH, 7, CHANNELS_M),
                  null,
                  floats(BATCH, 5, OUTPUT_DEPTH)));
    }
  }

  @Test
  void shouldRefuseTensorsThatDoNotFit() {
    Tensor2TensorAttention layer = new Setup(AttentionType.DOT_PRODUCT, 2, 4, 4, false).layer();
    Tensor query = floats(BATCH, 5, CHANNELS);
    Tensor memory = floats(BATCH, 7, CHANNELS_M);
    Tensor out = floats(BATCH, 5, OUTPUT_DEPTH);
    refuse(
        "memoryAntecedent.dim must equal k.dimIn: memoryAntecedent.dim=7, k.dimIn=5",
        () -> layer.forward(query, null, null, out));
    refuse(
        "queryAntecedent.dim must equal q.dimIn: queryAntecedent.dim=5, q.dimIn=7",
        () -> layer.forward(memory, memory, null, out));
    refuse(
        "out.shape must be [batch, lengthOut, outputDepth] = [2, 5, 6]: out.shape=[2, 7, 5]",
        () -> layer.forward(query, memory, null, memory));
    refuse(
        "memoryAntecedent.batch must equal queryAntecedent.batch: memoryAntecedent.batch=1,"
            + " queryAntecedent.batch=2",
        () -> layer.forward(query, memory.slice(0, 0, 1), null, out));
    Map<String, Tensor> file = new Setup(AttentionType.DOT_PRODUCT, 2, 4, 4, false).file;
    file.put("q/bias", floats(8));
    assertTrue(
        assertThrows(
                IllegalArgumentException.class,
                () ->
                    Tensor2TensorAttention.builder().numHeads(2).load(open(file), "layer/", arena))
            .getMessage()
            .contains("that the layer does not use: it has \"layer/q/bias\""));
  }

  @Test
  void shouldRefuseAClosedArena() {
    Tensor2TensorAttention layer = new Setup(AttentionType.DOT_PRODUCT, 2, 4, 4, true).layer();
    Arena closed = Arena.ofConfined();
    Tensor gone = Tensor.allocate(closed, DType.F32, BATCH, 5, CHANNELS);
    KvCache cache = layer.allocateCache(closed, BATCH, 5);
    closed.close();
    Tensor out = floats(BATCH, 5, OUTPUT_DEPTH);
    assertEquals(
        "queryAntecedent is in an arena that has been closed",
        assertThrows(IllegalStateException.class, () -> layer.forward(gone, out))
            .getMessage()
            .split(":")[0]);
    assertEquals(
        "keys is in an arena that has been closed",
        assertThrows(
                IllegalStateException.class,
                () ->
                    layer.forwardCached(
                        normal(BATCH, 5, CHANNELS), cache, Mask.none(), out, Extras.none()))
            .getMessage()
            .split(":")[0]);
  }

  @Test
  void shouldRefuseWeightsWhoseArenaHasBeenClosed() {
    Arena closed = Arena.ofConfined();
    Setup setup = new Setup(AttentionType.DOT_PRODUCT_RELATIVE, 2, 4, 4, true);
    setup.relative(3, true, true);
    Tensor2TensorAttention layer =
        setup
            .builder
            .q(linear(setup.reference.q.select(0, 0), null))
            .k(linear(setup.reference.k.select(0, 0), null))
            .v(linear(setup.reference.v.select(0, 0), null))
            .outputTransform(linear(setup.reference.outputTransform, null))
            .keyEmbeddings(setup.reference.keyEmbeddings)
            .valueEmbeddings(setup.reference.valueEmbeddings.toF32(closed))
            .build();
    Tensor query = normal(BATCH, 5, CHANNELS);
    Tensor out = floats(BATCH, 5, OUTPUT_DEPTH);
    layer.forward(query, out);
    requireEqual(setup.reference.run(query, null).out(), out, "weights that were given");
    closed.close();
    assertTrue(
        assertThrows(IllegalStateException.class, () -> layer.forward(query, out))
            .getMessage()
            .contains("is in an arena that has been closed"));
    Tensor2TensorAttentionBuilder wider = Tensor2TensorAttention.builder();
    Linear same = linear(floats(8, 8), null);
    wider.numHeads(2).q(same).k(same).v(same).outputTransform(same).qFilterWidth(3);
    refuse("qFilterWidth must equal q.width: qFilterWidth=3, q.width=1", wider::build);
  }

  @Test
  void shouldGiveTheSameBitsForEveryNumberOfThreads() {
    Setup setup = new Setup(AttentionType.DOT_PRODUCT, 2, 16, 16, true);
    setup.padding(Padding.SAME, Padding.LEFT).projections(4, 3);
    Tensor2TensorAttention layer = setup.layer();
    Tensor query = normal(BATCH, 150, CHANNELS);
    int before = A4j.threads();
    try {
      Tensor one = floats(BATCH, 150, OUTPUT_DEPTH);
      Tensor two = floats(BATCH, 150, OUTPUT_DEPTH);
      A4j.threads(1);
      layer.forward(query, one);
      A4j.threads(2);
      layer.forward(query, two);
      assertArrayEquals(one.toFloatArray(), two.toFloatArray());
    } finally {
      A4j.threads(before);
    }
  }
}
