package io.github.attention4j.layer;

import static io.github.attention4j.Checked.onEveryTier;
import static io.github.attention4j.Checked.random;
import static org.junit.jupiter.api.Assertions.assertArrayEquals;
import static org.junit.jupiter.api.Assertions.assertEquals;
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
import io.github.attention4j.io.SafeTensors;
import io.github.attention4j.layer.Conv1d.Padding;
import io.github.attention4j.layer.Tensor2TensorAttention.AttentionType;
import io.github.attention4j.reference.ReferenceT2t;
import java.io.IOException;
import java.io.UncheckedIOException;
import java.lang.foreign.Arena;
import java.nio.file.Path;
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
    final Tensor2TensorAttention.Builder builder = Tensor2TensorAttention.builder();
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
    for (int b = 0; b < wanted.length; b++) {
      for (int i = 0; i < wanted[b].length; i++) {
        for (int c = 0; c < wanted[b][i].length; c++) {
          double value = wanted[b][i][c];
          String at = what + " at " + b + ", " + i + ", " + c;
          assertEquals(value, got.getFloat(b, i, c), 1e-5 * (1 + Math.abs(value)), at);
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
          Tensor weights = layer.allocateWeights(arena, BATCH, lenQ, setup.self ? lenQ : lenM);
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
    refuse("filter width must be 1 with vars3d: width of q=3", setup::layer);
    setup.builder.qFilterWidth(1).numHeads(2);
    refuse("q.heads must equal numHeads: q.heads=3, numHeads=2", setup::layer);
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
        "extras must be none where attentionType is a function, which gives its result alone",
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
          requireClose(cache.keys(), full.keys(), "keys");
          requireClose(cache.values(), full.values(), "values");
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
  void shouldRefuseMemoryForTypesThatAreSelfAttention() {
    for (AttentionType type : AttentionType.values()) {
      if (type == AttentionType.DOT_PRODUCT || type.toString().contains("relative")) {
        continue;
      }
      Tensor2TensorAttention layer = new Setup(type, 2, 4, 4, false).layer();
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
            .contains("that no part of the layer is known by: it has \"layer/q/bias\""));
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
        "queryAntecedent lies in an arena that has been closed",
        assertThrows(IllegalStateException.class, () -> layer.forward(gone, out))
            .getMessage()
            .split(":")[0]);
    assertEquals(
        "keys lies in an arena that has been closed",
        assertThrows(
                IllegalStateException.class,
                () ->
                    layer.forwardCached(
                        normal(BATCH, 5, CHANNELS), cache, Mask.none(), out, Extras.none()))
            .getMessage()
            .split(":")[0]);
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
