package io.github.attention4j.classics.t2t;

import static io.github.attention4j.testing.Checked.onEveryTier;
import static io.github.attention4j.testing.Checked.random;
import static org.junit.jupiter.api.Assertions.assertArrayEquals;
import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertNotEquals;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import io.github.attention4j.A4j;
import io.github.attention4j.DType;
import io.github.attention4j.Extras;
import io.github.attention4j.ScoreStage;
import io.github.attention4j.Tensor;
import io.github.attention4j.classics.ReferenceAreas;
import io.github.attention4j.classics.t2t.AreaAttention.KeyMode;
import io.github.attention4j.classics.t2t.AreaAttention.ValueMode;
import io.github.attention4j.io.SafeTensors;
import io.github.attention4j.layer.Linear;
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

/** Areas, their features, and attention to them, against plain loops in double. */
class AreaAttentionTest {
  private final Random random = new Random(31);
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

  private Tensor ints(int... values) {
    Tensor ints = Tensor.allocate(arena, DType.I32, values.length);
    for (int i = 0; i < values.length; i++) {
      ints.setInt(values[i], i);
    }
    return ints;
  }

  private static void refuse(String message, Executable call) {
    assertEquals(message, assertThrows(IllegalArgumentException.class, call).getMessage());
  }

  private static void near(String what, double[] wanted, Tensor got, double tolerance) {
    float[] values = got.toFloatArray();
    assertEquals(wanted.length, values.length, what);
    for (int i = 0; i < wanted.length; i++) {
      double allowed = tolerance * (1 + Math.abs(wanted[i]));
      boolean same = Double.compare(wanted[i], values[i]) == 0;
      assertTrue(
          same || Math.abs(wanted[i] - values[i]) <= allowed,
          what + ": element " + i + " must be " + wanted[i] + " and is " + values[i]);
    }
  }

  // ---- Areas ----

  @Test
  void shouldOrderAreasByHeightThenWidthThenCorner() {
    Areas areas = new Areas(2, 2, 2);
    assertEquals(6 + 4 + 3 + 2, areas.count(6));
    assertArrayEquals(
        new int[] {1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 2, 2, 2, 2, 2},
        areas.heights(arena, 6).toIntArray());
    assertArrayEquals(
        new int[] {1, 1, 1, 1, 1, 1, 2, 2, 2, 2, 1, 1, 1, 2, 2},
        areas.widths(arena, 6).toIntArray());
    Tensor items = Tensor.of(arena, new float[] {1, 2, 4, 8, 16, 32}, 1, 6, 1);
    Tensor sums = floats(1, 15, 1);
    areas.sum(items, sums);
    assertArrayEquals(
        new float[] {1, 2, 4, 8, 16, 32, 3, 6, 24, 48, 9, 18, 36, 27, 54}, sums.toFloatArray());
    assertEquals(0, areas.count(0));
    assertEquals(3 + 2 + 1, Areas.of(100).count(3));
    assertEquals(0, areas.heights(arena, 0).count());
  }

  @Test
  void shouldTellWhichAreasLieWithinTheValidItems() {
    Tensor mask = Areas.of(2).lengthsMask(arena, ints(3, 0, 9, -4), 4);
    assertArrayEquals(new long[] {4, 7}, mask.shape());
    boolean[] three = {true, true, true, false, true, true, false};
    for (int n = 0; n < 7; n++) {
      assertEquals(three[n], mask.getBoolean(0, n));
      assertFalse(mask.getBoolean(1, n));
      assertTrue(mask.getBoolean(2, n));
      assertFalse(mask.getBoolean(3, n));
    }
    // Two lines of three, five items: the last one of the second line is padding.
    mask = new Areas(2, 2, 2).lengthsMask(arena, ints(5), 6);
    StringBuilder seen = new StringBuilder();
    for (int n = 0; n < 15; n++) {
      seen.append(mask.getBoolean(0, n) ? '1' : '0');
    }
    assertEquals("111110" + "1110" + "110" + "10", seen.toString());
  }

  @Test
  void shouldComputeTheFeaturesOfEveryArea() {
    int[][] shapes = {{1, 1, 1, 9}, {1, 3, 3, 9}, {2, 2, 3, 8}, {3, 2, 20, 12}, {4, 9, 1, 4}};
    for (int[] shape : shapes) {
      Areas areas = new Areas(shape[0], shape[1], shape[2]);
      int length = shape[3];
      Tensor x = random(arena, random, 2, length, 3 * 5).splitHeads(3);
      long count = areas.count(length);
      ReferenceAreas wanted = ReferenceAreas.of(areas, x, 1e-6);
      assertEquals(count, wanted.areas());
      onEveryTier(
          () -> {
            Tensor both = floats(2, 3, count, 13);
            Tensor mean = both.slice(3, 1, 5);
            Tensor deviation = both.slice(3, 7, 5);
            Tensor sum = floats(2, 3, count, 5);
            Tensor max = floats(2, 3, count, 5);
            areas.features(x, mean, deviation, sum, max);
            near("mean", wanted.mean(), mean, 1e-6);
            near("deviation", wanted.deviation(), deviation, 1e-6);
            near("sum", wanted.sum(), sum, 1e-6);
            near("max", wanted.max(), max, 0);
            Tensor alone = floats(2, 3, count, 5);
            areas.mean(x, alone);
            assertArrayEquals(mean.toFloatArray(), alone.toFloatArray());
            areas.deviation(x, alone);
            assertArrayEquals(deviation.toFloatArray(), alone.toFloatArray());
            areas.sum(x, alone);
            assertArrayEquals(sum.toFloatArray(), alone.toFloatArray());
            areas.max(x, alone);
            assertArrayEquals(max.toFloatArray(), alone.toFloatArray());
            Tensor headless = floats(2, count, 5);
            areas.max(x.select(1, 1), headless);
            assertArrayEquals(max.select(1, 1).toFloatArray(), headless.toFloatArray());
            areas.features(x, 0, null, alone, null, null);
            near("epsilon", ReferenceAreas.of(areas, x, 0).deviation(), alone, 1e-6);
          });
    }
  }

  @Test
  void shouldRefuseAreasThatDoNotFit() {
    refuse("memoryHeight must be at least 1: memoryHeight=0", () -> new Areas(0, 1, 1));
    refuse("maxHeight must be at least 1: maxHeight=0", () -> new Areas(1, 0, 1));
    refuse("maxWidth must be at least 1: maxWidth=-2", () -> Areas.of(-2));
    Areas areas = new Areas(3, 2, 2);
    refuse(
        "length must be a multiple of memoryHeight: length=7, memoryHeight=3",
        () -> areas.count(7));
    refuse(
        "the number of areas must fit in 63 bits: Areas[memoryHeight=1, maxHeight=1,"
            + " maxWidth=9223372036854775807], length=9223372036854775807",
        () -> Areas.of(Long.MAX_VALUE).count(Long.MAX_VALUE));
    Tensor x = floats(2, 6, 4);
    refuse(
        "mean.shape must be [batch, areas, dim] = [2, 15, 4]: mean.shape=[2, 14, 4]",
        () -> areas.mean(x, floats(2, 14, 4)));
    refuse(
        "features.length must be a multiple of memoryHeight: features.length=5, memoryHeight=3",
        () -> areas.mean(x.slice(1, 0, 5), floats(2, 14, 4)));
    refuse(
        "epsilon must be a finite float and not negative: epsilon=-1.0",
        () -> areas.features(x, -1, null, null, null, null));
    refuse(
        "features.rank must be 4 [batch, heads, length, dim] or 3 [batch, length, dim]:"
            + " features.rank=2",
        () -> areas.mean(floats(6, 4), floats(15, 4)));
    Tensor out = floats(2, 15, 4);
    assertTrue(
        assertThrows(IllegalArgumentException.class, () -> areas.features(x, out, out, null, null))
            .getMessage()
            .startsWith("deviation must not overlap mean: "));
    refuse(
        "lengths.dtype must be I32: lengths.dtype=F32",
        () -> areas.lengthsMask(arena, floats(3), 6));
  }

  @Test
  void shouldRefuseFeaturesInAClosedArena() {
    Tensor x;
    try (Arena closing = Arena.ofConfined()) {
      x = Tensor.allocate(closing, DType.F32, 1, 4, 2);
    }
    Tensor out = floats(1, 4, 2);
    String message =
        assertThrows(IllegalStateException.class, () -> Areas.of(1).mean(x, out)).getMessage();
    assertTrue(message.startsWith("features is in an arena that has been closed: "), message);
  }

  // ---- Attention ----

  /** Dense layers and embeddings, if the mode has any, of numbers that keep keys of size 1. */
  private record Model(Tensor heights, Tensor widths, Tensor[] weights, Tensor[] biases) {}

  private Model model(KeyMode mode, Areas areas, int dim) {
    if (!mode.hasWeights()) {
      return null;
    }
    boolean adds = mode == KeyMode.SUM || mode == KeyMode.SAMPLE_SUM;
    long width = adds ? dim : (mode == KeyMode.CONCAT ? 2 * dim : dim) + 2 * (dim / 2);
    return new Model(
        random(arena, random, areas.maxHeight(), dim / 2),
        random(arena, random, areas.maxWidth(), dim / 2),
        new Tensor[] {scaled(dim, width), scaled(dim, dim)},
        new Tensor[] {random(arena, random, dim), random(arena, random, dim)});
  }

  private Tensor scaled(long rows, long columns) {
    Tensor weight = random(arena, random, rows, columns);
    float[] values = weight.toFloatArray();
    for (int i = 0; i < values.length; i++) {
      values[i] /= (float) Math.sqrt(columns);
    }
    return weight.copyFrom(values);
  }

  private static AreaAttention.Builder builder(KeyMode mode, Areas areas, Model model) {
    AreaAttention.Builder builder = AreaAttention.builder(areas).keyMode(mode);
    return model == null
        ? builder
        : builder.weights(
            model.heights,
            model.widths,
            Linear.of(model.weights[0], model.biases[0]),
            Linear.of(model.weights[1], model.biases[1]));
  }

  private static double[] keys(KeyMode mode, Areas areas, Model model, Tensor k, float[] noise) {
    ReferenceAreas features = ReferenceAreas.of(areas, k, 1e-6);
    return model == null
        ? features.keys(mode.name(), noise, null, null, null, null)
        : features.keys(
            mode.name(), noise, model.heights, model.widths, model.weights, model.biases);
  }

  /** A bias of large and small numbers of both signs; some less than -1, one of them infinite. */
  private Tensor bias(long... shape) {
    Tensor bias = floats(shape);
    float[] values = new float[(int) bias.count()];
    float[] choices = {0, -1e9f, -1.25f, -1, 3, -0.5f, Float.NaN, 0.25f, 0, 0, 0, 0};
    for (int i = 0; i < values.length; i++) {
      values[i] = choices[random.nextInt(choices.length)];
    }
    values[values.length - 1] = Float.NEGATIVE_INFINITY;
    return bias.copyFrom(values);
  }

  @Test
  void shouldAttendToAreasUnderEveryKeyAndValueMode() {
    int trial = 0;
    for (KeyMode keyMode : KeyMode.values()) {
      for (ValueMode valueMode : ValueMode.values()) {
        for (boolean training : new boolean[] {false, true}) {
          attend(keyMode, valueMode, training, trial++);
        }
      }
    }
  }

  private void attend(KeyMode keyMode, ValueMode valueMode, boolean training, int trial) {
    final int batch = 1 + random.nextInt(3);
    final int heads = 1 + random.nextInt(3);
    final int lenQ = 1 + random.nextInt(5);
    final int memoryHeight = 1 + random.nextInt(3);
    final int len = memoryHeight * (1 + random.nextInt(6));
    final int dim = 2 * (1 + random.nextInt(10)) + (concatenates(keyMode) ? trial % 2 : 0);
    final int dimV = trial % 3 == 0 ? dim : 1 + random.nextInt(20);
    final int queryHeads = trial % 4 == 0 ? 2 * heads : heads;
    Areas areas = new Areas(memoryHeight, 1 + random.nextInt(4), 1 + random.nextInt(5));
    long count = areas.count(len);
    Tensor q = random(arena, random, batch, lenQ, queryHeads * dim).splitHeads(queryHeads);
    Tensor k = random(arena, random, batch, len, heads * dim).splitHeads(heads);
    Tensor v = random(arena, random, batch, heads, len, dimV);
    Tensor bias =
        switch (trial % 5) {
          case 0 -> null;
          case 1 -> bias(batch, 1, 1, len);
          case 2 -> bias(1, 1, lenQ, len);
          case 3 -> bias(batch, queryHeads, lenQ, len);
          default -> bias(batch, 1, 1, len).expand(1, queryHeads).expand(2, lenQ);
        };
    Tensor normals = random(arena, random, batch * heads, count, dim);
    AreaNoise noise = training ? AreaNoise.of(normals) : AreaNoise.none();
    Model model = model(keyMode, areas, dim);
    final double scale = 1 / Math.sqrt(dim);
    final double temperature = 0.5 + random.nextDouble();
    final int topK = trial % 3 == 1 ? 1 + random.nextInt(6) : 0;
    final AreaAttention attention =
        builder(keyMode, areas, model)
            .valueMode(valueMode)
            .scale(scale)
            .temperature(temperature)
            .topKAreas(topK)
            .build();
    double[] keys = keys(keyMode, areas, model, k, training ? normals.toFloatArray() : null);
    double[] values = ReferenceAreas.of(areas, v, 1e-6).values(valueMode.name());
    ReferenceAreas.Attended wanted =
        ReferenceAreas.attend(areas, q, keys, values, heads, dimV, bias, scale, temperature, topK);
    String what = keyMode + ", " + valueMode + ", trial " + trial;
    onEveryTier(
        () -> {
          Tensor areaKeys = floats(batch, heads, count, dim);
          attention.areaKeys(k, noise, areaKeys);
          near(what + ", keys", keys, areaKeys, 1e-5);
          Tensor areaValues = floats(batch, heads, count, dimV);
          attention.areaValues(v, areaValues);
          near(what + ", values", values, areaValues, 2e-6);
          Tensor out = floats(batch, queryHeads, lenQ, dimV);
          Tensor weights = floats(batch, queryHeads, lenQ, count);
          attention.forward(q, k, v, bias, noise, out, Extras.none().weights(weights));
          near(what + ", weights", wanted.weights(), weights, 2e-5);
          near(what + ", out", wanted.out(), out, 4e-5);
          Tensor again = floats(batch, queryHeads, lenQ, dimV);
          Tensor logits = floats(batch, queryHeads, lenQ, count);
          attention.forwardAreas(
              q,
              areaKeys,
              areaValues,
              bias,
              again,
              Extras.none().scores(ScoreStage.LOGITS, logits));
          near(what + ", again", wanted.out(), again, 4e-5);
          near(what + ", logits", wanted.logits(), logits, 4e-5);
        });
  }

  private static boolean concatenates(KeyMode mode) {
    return mode != KeyMode.SUM && mode != KeyMode.SAMPLE_SUM;
  }

  @Test
  void shouldKeepAreasThatTieWithTheLastOfTheLargest() {
    Tensor q = Tensor.of(arena, new float[] {1}, 1, 1, 1, 1);
    Tensor k = Tensor.of(arena, new float[] {0, 2, 0, 2, 1}, 1, 1, 5, 1);
    Tensor out = floats(1, 1, 1, 1);
    Tensor weights = floats(1, 1, 1, 5);
    AreaAttention.Builder builder = AreaAttention.builder(Areas.of(1));
    double e = Math.E;
    float[][] wanted = {
      {0, 0.5f, 0, 0.5f, 0},
      {0, 0.5f, 0, 0.5f, 0},
      {0, (float) (e / (2 * e + 1)), 0, (float) (e / (2 * e + 1)), (float) (1 / (2 * e + 1))},
    };
    for (int n = 0; n < 3; n++) {
      builder
          .topKAreas(n + 1)
          .build()
          .forward(q, k, k, null, AreaNoise.none(), out, Extras.none().weights(weights));
      assertArrayEquals(wanted[n], weights.toFloatArray(), 1e-6f);
    }
    for (int topK : new int[] {0, 4, 5, 6}) {
      builder
          .topKAreas(topK)
          .build()
          .forward(q, k, k, null, AreaNoise.none(), out, Extras.none().weights(weights));
      assertTrue(weights.getFloat(0, 0, 0, 0) > 0, "topKAreas=" + topK);
    }
  }

  @Test
  void shouldDropWeightsOfAreas() {
    Areas areas = Areas.of(3);
    Tensor q = random(arena, random, 1, 2, 3, 8);
    Tensor k = random(arena, random, 1, 2, 5, 8);
    Tensor v = random(arena, random, 1, 2, 5, 8);
    Tensor keep = Tensor.allocate(arena, DType.BOOL, 1, 2, 3, 12);
    for (int n = 0; n < 72; n++) {
      keep.reshape(72).setBoolean(n % 3 != 1, n);
    }
    AreaAttention attention = AreaAttention.builder(areas).build();
    Tensor out = floats(1, 2, 3, 8);
    Tensor weights = floats(1, 2, 3, 12);
    attention.forward(
        q, k, v, null, AreaNoise.none(), out, Extras.none().weights(weights).keep(keep, 0.25));
    Tensor values = floats(1, 2, 12, 8);
    attention.areaValues(v, values);
    for (int h = 0; h < 2; h++) {
      for (int i = 0; i < 3; i++) {
        for (int c = 0; c < 8; c++) {
          double sum = 0;
          for (int a = 0; a < 12; a++) {
            sum +=
                keep.getBoolean(0, h, i, a)
                    ? weights.getFloat(0, h, i, a) / 0.75 * values.getFloat(0, h, a, c)
                    : 0;
          }
          assertEquals(sum, out.getFloat(0, h, i, c), 1e-4);
        }
      }
    }
  }

  @Test
  void shouldHideAreasThatTouchPaddingOfAMemoryOfSeveralLines() {
    Areas areas = new Areas(2, 2, 3);
    Tensor q = random(arena, random, 2, 1, 2, 4);
    Tensor k = random(arena, random, 2, 1, 8, 4);
    Tensor bias = floats(2, 1, 1, 8);
    for (int j = 6; j < 8; j++) {
      bias.setFloat(-1e9f, 0, 0, 0, j);
      k.select(0, 0).select(1, j).fill(Float.NaN);
    }
    bias.select(0, 1).fill(-1e9f);
    Tensor out = floats(2, 1, 2, 4);
    Tensor weights = floats(2, 1, 2, areas.count(8));
    AreaAttention.builder(areas)
        .build()
        .forward(q, k, k, bias, AreaNoise.none(), out, Extras.none().weights(weights));
    Tensor seen = areas.lengthsMask(arena, ints(6, 0), 8);
    for (int a = 0; a < areas.count(8); a++) {
      assertEquals(seen.getBoolean(0, a), weights.getFloat(0, 0, 1, a) > 0);
    }
    // All areas of the second sequence are hidden.
    assertArrayEquals(new float[8], out.select(0, 1).toFloatArray());
    assertTrue(Float.isFinite(out.getFloat(0, 0, 1, 3)));
  }

  @Test
  void shouldBroadcastABiasOfOneItemOverOneLine() {
    Tensor q = random(arena, random, 1, 1, 2, 4);
    Tensor k = random(arena, random, 1, 1, 3, 4);
    Tensor out = floats(1, 1, 2, 4);
    Tensor plain = floats(1, 1, 2, 4);
    AreaAttention attention = AreaAttention.builder(Areas.of(2)).build();
    Tensor bias = floats(1, 1, 1, 1);
    attention.forward(q, k, k, plain);
    attention.forward(q, k, k, bias, AreaNoise.none(), out, Extras.none());
    assertArrayEquals(plain.toFloatArray(), out.toFloatArray());
    attention.forward(q, k, k, bias.fill(-2), AreaNoise.none(), out, Extras.none());
    assertArrayEquals(new float[8], out.toFloatArray());
    AreaAttention lines = AreaAttention.builder(new Areas(3, 1, 1)).build();
    refuse(
        "bias.len must equal k.len: bias.len=1, k.len=3",
        () -> lines.forward(q, k, k, bias, AreaNoise.none(), out, Extras.none()));
  }

  @Test
  void shouldGiveNothingForAMemoryWithoutItems() {
    for (KeyMode mode : KeyMode.values()) {
      Areas areas = new Areas(2, 2, 2);
      AreaAttention attention = builder(mode, areas, model(mode, areas, 6)).build();
      Tensor out = floats(2, 1, 3, 6).fill(7);
      attention.forward(
          random(arena, random, 2, 1, 3, 6),
          floats(2, 1, 0, 6),
          floats(2, 1, 0, 6),
          floats(2, 1, 1, 0),
          AreaNoise.seeded(1),
          out,
          Extras.none());
      assertArrayEquals(new float[36], out.toFloatArray());
      attention.forward(
          floats(0, 1, 3, 6), floats(0, 1, 4, 6), floats(0, 1, 4, 6), floats(0, 1, 3, 6));
    }
  }

  @Test
  void shouldTakeWidthsSoSmallThatEmbeddingsAreEmpty() {
    Areas areas = Areas.of(2);
    Model model = model(KeyMode.CONCAT, areas, 1);
    Tensor k = random(arena, random, 1, 2, 5, 1);
    Tensor keys = floats(1, 2, 9, 1);
    builder(KeyMode.CONCAT, areas, model).build().areaKeys(k, AreaNoise.none(), keys);
    near("keys", keys(KeyMode.CONCAT, areas, model, k, null), keys, 1e-6);
  }

  /** So many areas that features are computed head by head. */
  @Test
  void shouldComputeKeysOfAnyNumberOfHeads() {
    Areas areas = Areas.of(5);
    Tensor k = random(arena, random, 2, 3, 500, 96);
    long count = areas.count(500);
    for (KeyMode mode : new KeyMode[] {KeyMode.SAMPLE, KeyMode.CONCAT, KeyMode.SAMPLE_SUM}) {
      Model model = model(mode, areas, 96);
      AreaAttention attention = builder(mode, areas, model).build();
      Tensor drawn = floats(2, 3, count, 96);
      attention.areaKeys(k, AreaNoise.seeded(5), drawn);
      Tensor noise = floats(2, 3, count, 96);
      AreaNoise.draw(5, noise);
      Tensor given = floats(2, 3, count, 96);
      attention.areaKeys(k, AreaNoise.of(noise.reshape(6, count, 96)), given);
      assertArrayEquals(drawn.toFloatArray(), given.toFloatArray());
      near("keys", keys(mode, areas, model, k, noise.toFloatArray()), given, 2e-5);
    }
  }

  // ---- Noise ----

  @Test
  void shouldDrawTheNumbersOfPhilox() {
    int[] words = new int[4];
    AreaNoise.philox(0, words);
    assertArrayEquals(new int[] {0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8}, words);
    Arrays.fill(words, -1);
    AreaNoise.philox(-1, words);
    assertArrayEquals(new int[] {0x408f276d, 0x41c83b0e, 0xa20bc7c6, 0x6d5451fd}, words);
    words = new int[] {0x243f6a88, 0x85a308d3, 0x13198a2e, 0x03707344};
    AreaNoise.philox(0x299f31d0a4093822L, words);
    assertArrayEquals(new int[] {0xd16cfe09, 0x94fdcceb, 0x5001e420, 0x24126ea1}, words);
  }

  @Test
  void shouldDrawNormalNumbersThatDependOnTheirPlaceAlone() {
    Tensor noise = floats(2, 3, 500, 10);
    AreaNoise.draw(99, noise);
    double sum = 0;
    double squares = 0;
    double neighbours = 0;
    float[] values = noise.toFloatArray();
    for (int i = 0; i < values.length; i++) {
      sum += values[i];
      squares += (double) values[i] * values[i];
      neighbours += i == 0 ? 0 : (double) values[i] * values[i - 1];
    }
    assertEquals(0, sum / values.length, 0.02);
    assertEquals(1, squares / values.length, 0.03);
    assertEquals(0, neighbours / values.length, 0.02);
    Tensor fewer = floats(1, 2, 7, 3);
    AreaNoise.draw(99, fewer);
    for (int h = 0; h < 2; h++) {
      for (int a = 0; a < 7; a++) {
        for (int c = 0; c < 3; c++) {
          assertEquals(noise.getFloat(0, h, a, c), fewer.getFloat(0, h, a, c));
        }
      }
    }
    AreaNoise.draw(100, fewer);
    assertNotEquals(noise.getFloat(0, 0, 0, 0), fewer.getFloat(0, 0, 0, 0));
  }

  @Test
  void shouldSampleTheSameOnEveryNumberOfThreads() {
    Areas areas = Areas.of(4);
    Tensor k = random(arena, random, 2, 2, 300, 24);
    long count = areas.count(300);
    Tensor first = floats(2, 2, count, 24);
    Tensor other = floats(2, 2, count, 24);
    AreaAttention attention = AreaAttention.builder(areas).keyMode(KeyMode.SAMPLE).build();
    int before = A4j.threads();
    try {
      A4j.threads(1);
      attention.areaKeys(k, AreaNoise.seeded(-3), first);
      A4j.threads(3);
      attention.areaKeys(k, AreaNoise.seeded(-3), other);
    } finally {
      A4j.threads(before);
    }
    assertArrayEquals(first.toFloatArray(), other.toFloatArray());
    attention.areaKeys(k, AreaNoise.none(), other);
    Tensor mean = floats(2, 2, count, 24);
    areas.mean(k, mean);
    assertArrayEquals(mean.toFloatArray(), other.toFloatArray());
  }

  @Test
  void shouldRefuseNoiseThatDoesNotFit() {
    AreaAttention sampling = AreaAttention.builder(Areas.of(2)).keyMode(KeyMode.SAMPLE).build();
    Tensor k = floats(2, 3, 4, 5);
    refuse(
        "noise.shape must be [batch * heads, areas, dim] = [6, 7, 5]: noise.shape=[6, 6, 5]",
        () -> sampling.areaKeys(k, AreaNoise.of(floats(6, 6, 5)), floats(2, 3, 7, 5)));
    refuse(
        "noise.rank must be 3: noise.rank=4, " + floats(2, 3, 7, 5).layout(),
        () -> AreaNoise.of(floats(2, 3, 7, 5)));
    Tensor wide = floats(6, 7, 6);
    refuse(
        "noise must be contiguous: shape=[6, 7, 5], strides=[42, 6, 1]",
        () -> AreaNoise.of(wide.slice(2, 0, 5)));
  }

  // ---- Refusals ----

  @Test
  void shouldRefuseModesThatTensor2TensorDoesNotKnow() {
    assertEquals(KeyMode.SAMPLE_CONCAT, KeyMode.of("sample_concat"));
    assertEquals(ValueMode.MAX, ValueMode.of("max"));
    refuse(
        "Unsupported area key mode=median: known are [mean, max, sample, concat, max_concat, sum,"
            + " sample_concat, sample_sum]",
        () -> KeyMode.of("median"));
    refuse(
        "Unsupported area value mode=concat: known are [sum, mean, max]",
        () -> ValueMode.of("concat"));
  }

  @Test
  void shouldRefuseWeightsThatDoNotFitTheMode() {
    Areas areas = new Areas(1, 2, 3);
    AreaAttention.Builder concat = AreaAttention.builder(areas).keyMode(KeyMode.CONCAT);
    refuse("keyMode CONCAT needs weights: none are set", concat::build);
    Model model = model(KeyMode.CONCAT, areas, 6);
    refuse(
        "keyMode MEAN has no weights: weights are set",
        () -> builder(KeyMode.MEAN, areas, model).build());
    refuse(
        "dense1.dimIn must equal dim + 2 * (dim / 2): dense1.dimIn=18, dim + 2 * (dim / 2)=12",
        () -> builder(KeyMode.MAX_CONCAT, areas, model).build());
    refuse(
        "dense1.dimIn must equal dim: dense1.dimIn=18, dim=6",
        () -> builder(KeyMode.SUM, areas, model).build());
    refuse(
        "dim must be even under keyMode SAMPLE_SUM, which adds embeddings of 2 * (dim / 2) elements"
            + " to features of dim: dim=5, embeddings=4",
        () -> builder(KeyMode.SAMPLE_SUM, areas, model(KeyMode.SAMPLE_SUM, areas, 5)).build());
    refuse(
        "heightEmbedding.shape must be [maxHeight, dim / 2] = [4, 3]: heightEmbedding.shape=[2, 3]",
        () -> builder(KeyMode.CONCAT, new Areas(1, 4, 3), model).build());
    refuse(
        "widthEmbedding.shape must be [maxWidth, dim / 2] = [2, 3]: widthEmbedding.shape=[3, 3]",
        () -> builder(KeyMode.CONCAT, new Areas(1, 2, 2), model).build());
    refuse(
        "dense2.dimIn must equal dense2.dimOut: dense2.dimIn=6, dense2.dimOut=4",
        () ->
            concat
                .weights(
                    model.heights,
                    model.widths,
                    Linear.of(model.weights[0]),
                    Linear.of(floats(4, 6)))
                .build());
    AreaAttention attention = builder(KeyMode.CONCAT, areas, model).build();
    refuse(
        "k.dim must equal dense2.dimOut: k.dim=8, dense2.dimOut=6",
        () -> attention.areaKeys(floats(1, 1, 3, 8), AreaNoise.none(), floats(1, 1, 6, 8)));
  }

  @Test
  void shouldRefuseOptionsAndTensorsThatDoNotFit() {
    AreaAttention.Builder builder = AreaAttention.builder(new Areas(3, 2, 2));
    refuse("scale must be a finite float: scale=NaN", () -> builder.scale(Double.NaN));
    refuse(
        "temperature must be a positive, finite float: temperature=0.0",
        () -> builder.temperature(0));
    refuse("topKAreas must lie in [0, 2147483647]: topKAreas=-1", () -> builder.topKAreas(-1));
    AreaAttention attention = builder.build();
    Tensor q = floats(2, 2, 3, 4);
    Tensor k = floats(2, 2, 6, 4);
    Tensor out = floats(2, 2, 3, 4);
    refuse(
        "k.len must be a multiple of memoryHeight: k.len=7, memoryHeight=3",
        () -> attention.forward(q, floats(2, 2, 7, 4), floats(2, 2, 7, 4), out));
    refuse(
        "v.len must equal k.len: v.len=3, k.len=6",
        () -> attention.forward(q, k, floats(2, 2, 3, 4), out));
    refuse(
        "k.dim must equal q.dim: k.dim=5, q.dim=4",
        () -> attention.forward(q, floats(2, 2, 6, 5), k, out));
    refuse(
        "k.batch must equal q.batch: k.batch=1, q.batch=2",
        () -> attention.forward(q, k.slice(0, 0, 1), k, out));
    refuse(
        "out.shape must be [batch, headsQ, lenQ, dimV] = [2, 2, 3, 4]: out.shape=[2, 2, 3, 5]",
        () -> attention.forward(q, k, k, floats(2, 2, 3, 5)));
    refuse(
        "q.rank must be 4: q.rank=3, " + q.select(1, 0).layout(),
        () -> attention.forward(q.select(1, 0), k, k, out));
    refuse(
        "bias.len must equal k.len: bias.len=3, k.len=6",
        () -> attention.forward(q, k, k, floats(2, 1, 1, 3), AreaNoise.none(), out, Extras.none()));
    refuse(
        "bias.shape must broadcast to [batch, headsQ, lenQ, len] = [2, 2, 3, 6]:"
            + " bias.shape=[2, 3, 1, 6]",
        () -> attention.forward(q, k, k, floats(2, 3, 1, 6), AreaNoise.none(), out, Extras.none()));
    refuse(
        "areaKeys.areas must equal areas of bias.len: areaKeys.areas=15, areas of bias.len=25",
        () ->
            attention.forwardAreas(
                q,
                floats(2, 2, 15, 4),
                floats(2, 2, 15, 4),
                floats(2, 1, 1, 9),
                out,
                Extras.none()));
    refuse(
        "areaValues.shape must be [batch, heads, areas, dim] = [2, 2, 15, 4]:"
            + " areaValues.shape=[2, 2, 6, 4]",
        () -> attention.areaValues(k, floats(2, 2, 6, 4)));
    String overlap =
        assertThrows(
                IllegalArgumentException.class, () -> attention.forward(q, k, k, k.slice(2, 0, 3)))
            .getMessage();
    assertTrue(overlap.startsWith("out must not overlap k: "), overlap);
  }

  // ---- Weights in files ----

  @Test
  void shouldReadWeightsByTheNamesOfTensor2Tensor(@TempDir Path directory) throws Exception {
    Areas areas = new Areas(2, 2, 3);
    Model model = model(KeyMode.CONCAT, areas, 6);
    Tensor k = random(arena, random, 1, 2, 8, 6);
    Tensor wanted = floats(1, 2, areas.count(8), 6);
    builder(KeyMode.CONCAT, areas, model).build().areaKeys(k, AreaNoise.none(), wanted);
    String prefix = "body/dot_product_area_attention/combine_area_features/";
    String[][] names = {{prefix, "dense/", "dense_1/"}, {"w.", "dense1.", "dense2."}};
    for (String[] each : names) {
      Map<String, Tensor> tensors = new LinkedHashMap<>();
      tensors.put(each[0] + "area_height_emb", model.heights);
      tensors.put(each[0] + "area_width_emb", model.widths);
      tensors.put("other", model.widths);
      for (int n = 0; n < 2; n++) {
        Tensor kernel = floats(model.weights[n].size(1), 6);
        kernel.copyFrom(model.weights[n].transpose(0, 1));
        tensors.put(each[0] + each[n + 1] + "kernel", kernel);
        tensors.put(each[0] + each[n + 1] + "bias", model.biases[n]);
      }
      Path path = directory.resolve(each[0].length() + ".safetensors");
      SafeTensors.write(path, tensors, Map.of());
      SafeTensors file = SafeTensors.open(path, arena);
      Tensor got = floats(1, 2, areas.count(8), 6);
      AreaAttention.builder(areas)
          .keyMode(KeyMode.CONCAT)
          .weights(file, each[0], arena)
          .build()
          .areaKeys(k, AreaNoise.none(), got);
      assertArrayEquals(wanted.toFloatArray(), got.toFloatArray());
    }
  }
}
