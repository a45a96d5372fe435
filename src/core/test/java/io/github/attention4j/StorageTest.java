package io.github.attention4j;

import static io.github.attention4j.testing.Checked.onEveryTier;
import static io.github.attention4j.testing.Checked.random;
import static org.junit.jupiter.api.Assertions.assertArrayEquals;
import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertThrows;

import io.github.attention4j.layer.Activation;
import io.github.attention4j.layer.Linear;
import java.lang.foreign.Arena;
import java.lang.foreign.MemorySegment;
import java.nio.channels.FileChannel;
import java.nio.file.Files;
import java.nio.file.Path;
import java.nio.file.StandardOpenOption;
import java.util.Random;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.function.Executable;
import org.junit.jupiter.api.io.TempDir;

/** Numbers of 16 bits: conversions, and weights that are read as they are stored. */
class StorageTest {
  private static final DType[] HALVES = {DType.BF16, DType.F16};

  private final Random random = new Random(3);

  private static void refuse(String message, Executable call) {
    assertEquals(message, assertThrows(IllegalArgumentException.class, call).getMessage());
  }

  private static Tensor stored(Arena arena, Tensor x, DType dtype) {
    return Tensor.allocate(arena, dtype, x.shape()).copyFrom(x);
  }

  @Test
  void shouldConvertLongTensorsWithTheBitsOfSingleElements() {
    try (Arena arena = Arena.ofShared()) {
      Tensor x = random(arena, random, 3, 5000);
      x.setFloat(Float.NaN, 0, 0);
      x.setFloat(Float.NEGATIVE_INFINITY, 0, 1);
      x.setFloat(1e-41f, 0, 2);
      x.setFloat(-0.0f, 0, 3);
      x.setFloat(65520, 0, 4);
      for (DType dtype : HALVES) {
        Tensor single = Tensor.allocate(arena, dtype, 1);
        onEveryTier(
            () -> {
              Tensor whole = stored(arena, x, dtype);
              Tensor wide = whole.toF32(arena);
              for (int r = 0; r < 3; r++) {
                for (int c = 0; c < 5000; c++) {
                  single.setFloat(x.getFloat(r, c), 0);
                  assertEquals(single.getFloat(0), whole.getFloat(r, c));
                  assertEquals(single.getFloat(0), wide.getFloat(r, c));
                }
              }
            });
      }
    }
  }

  @Test
  void shouldProjectByStoredWeightsWithTheBitsOfWidenedOnes(@TempDir Path directory)
      throws Exception {
    for (DType dtype : HALVES) {
      try (Arena arena = Arena.ofShared()) {
        Tensor weight = stored(arena, random(arena, random, 70, 300), dtype);
        Path file = directory.resolve(dtype.name());
        Files.write(file, new byte[6]);
        try (FileChannel channel =
            FileChannel.open(file, StandardOpenOption.READ, StandardOpenOption.WRITE)) {
          channel.write(weight.segment().asByteBuffer(), 6);
          MemorySegment mapped =
              channel.map(FileChannel.MapMode.READ_ONLY, 0, channel.size(), arena);
          Tensor inFile = Tensor.of(mapped.asSlice(6, 2 * 70 * 300), dtype, 70, 300);
          Tensor bias = random(arena, random, 70);
          Linear wide = Linear.of(weight.toF32(arena), bias);
          for (int rows : new int[] {1, 3, 40, 150}) {
            Tensor x = random(arena, random, rows, 300);
            Tensor expected = Tensor.allocate(arena, DType.F32, rows, 70);
            Tensor out = Tensor.allocate(arena, DType.F32, rows, 70);
            onEveryTier(
                () -> {
                  wide.withActivation(Activation.GELU).forward(x, expected);
                  Linear linear = Linear.of(inFile, bias).withActivation(Activation.GELU);
                  linear.forward(x, out);
                  assertArrayEquals(expected.toFloatArray(), out.toFloatArray());
                  wide.packed(arena).forward(x, expected);
                  Linear.of(inFile, bias).packed(arena).forward(x, out);
                  assertArrayEquals(expected.toFloatArray(), out.toFloatArray());
                });
          }
        }
      }
    }
  }

  @Test
  void shouldRoundProductsToBf16WhereThatWasAskedFor() {
    try (Arena arena = Arena.ofShared()) {
      int rows = 130;
      Tensor x = random(arena, random, rows, 301);
      Tensor rounded = stored(arena, x, DType.BF16).toF32(arena);
      Tensor weight = random(arena, random, 70, 301);
      Tensor wide = stored(arena, weight, DType.BF16).toF32(arena);
      Tensor expected = Tensor.allocate(arena, DType.F32, rows, 70);
      Tensor out = Tensor.allocate(arena, DType.F32, rows, 70);
      for (Tensor w : new Tensor[] {weight, stored(arena, weight, DType.BF16)}) {
        onEveryTier(
            () -> {
              boolean rounds = A4j.isa().equals("avx512bf16");
              Linear.of(wide).forward(rounds ? rounded : x, expected);
              Linear linear = Linear.of(w).withBf16Products();
              linear.forward(x, out);
              assertArrayEquals(expected.toFloatArray(), out.toFloatArray(), 2e-4f);
              out.fill(0);
              linear.packed(arena).forward(x, out);
              assertArrayEquals(expected.toFloatArray(), out.toFloatArray(), 2e-4f);
            });
      }
      assertEquals(
          "withBf16Products comes before packed",
          assertThrows(
                  IllegalStateException.class,
                  () -> Linear.of(weight).packed(arena).withBf16Products())
              .getMessage());
    }
  }

  /**
   * The tier that multiplies pairs of bfloat16 rounds weights, which may move an output by 2⁻⁸ of
   * the weighted magnitudes of its values.
   */
  private static void near(Tensor wanted, Tensor weighted, Tensor got) {
    float[] expected = wanted.toFloatArray();
    float[] bound = weighted.toFloatArray();
    float[] actual = got.toFloatArray();
    boolean rounds = A4j.isa().equals("avx512bf16");
    for (int i = 0; i < expected.length; i++) {
      float most = 2e-6f + (rounds ? bound[i] / 256 : 0);
      assertEquals(expected[i], actual[i], most, "element " + i);
    }
  }

  private static Tensor rounded(Arena arena, Tensor x) {
    return stored(arena, x.toF32(arena), DType.BF16).toF32(arena);
  }

  private static Tensor magnitudes(Arena arena, Tensor values) {
    float[] numbers = values.toFloatArray();
    for (int i = 0; i < numbers.length; i++) {
      numbers[i] = Math.abs(numbers[i]);
    }
    return Tensor.of(arena, numbers, values.shape());
  }

  @Test
  void shouldAttendToRoundedInputsWhereThatWasAskedFor() {
    try (Arena arena = Arena.ofShared()) {
      Mask mask = Mask.causal(Alignment.BOTTOM_RIGHT);
      Attention exact = Attention.builder().mask(mask).softCap(30).build();
      Attention rounding = Attention.builder().mask(mask).softCap(30).bf16Products().build();
      for (int lenQ : new int[] {1, 70}) {
        for (DType dtype : new DType[] {DType.F32, DType.BF16, DType.F16}) {
          final Tensor q = stored(arena, random(arena, random, 1, 4, lenQ, 33), dtype);
          final Tensor k = stored(arena, random(arena, random, 1, 2, 140, 33), dtype);
          final Tensor v = stored(arena, random(arena, random, 1, 2, 140, 20), dtype);
          final Tensor wideQ = rounded(arena, q);
          final Tensor wideK = rounded(arena, k);
          final Tensor wideV = rounded(arena, v);
          final Tensor expected = Tensor.allocate(arena, DType.F32, 1, 4, lenQ, 20);
          final Tensor weighted = Tensor.allocate(arena, DType.F32, 1, 4, lenQ, 20);
          final Tensor out = Tensor.allocate(arena, DType.F32, 1, 4, lenQ, 20);
          onEveryTier(
              () -> {
                exact.forward(wideQ, wideK, wideV, expected);
                exact.forward(wideQ, wideK, magnitudes(arena, wideV), weighted);
                rounding.forward(q, k, v, out);
                near(expected, weighted, out);
              });
        }
      }
    }
  }

  @Test
  void shouldAttendDifferentiallyToRoundedInputsWhereThatWasAskedFor() {
    try (Arena arena = Arena.ofShared()) {
      Tensor q = random(arena, random, 1, 4, 30, 16);
      Tensor k = random(arena, random, 1, 4, 90, 16);
      Tensor v = random(arena, random, 1, 4, 90, 8);
      Tensor expected = Tensor.allocate(arena, DType.F32, 1, 2, 30, 16);
      Tensor weighted = Tensor.allocate(arena, DType.F32, 1, 2, 30, 16);
      Tensor out = Tensor.allocate(arena, DType.F32, 1, 2, 30, 16);
      Tensor wideQ = rounded(arena, q);
      Tensor wideK = rounded(arena, k);
      Tensor wideV = rounded(arena, v);
      Differential exact = Differential.builder().build();
      onEveryTier(
          () -> {
            exact.forward(wideQ, wideK, wideV, 0.4f, expected);
            exact.forward(wideQ, wideK, magnitudes(arena, wideV), -0.4f, weighted);
            Differential.builder().bf16Products().build().forward(q, k, v, 0.4f, out);
            near(expected, weighted, out);
          });
    }
  }

  @Test
  void shouldNotRoundAQuantisedCache() {
    try (Arena arena = Arena.ofConfined()) {
      KvCache cache = KvCache.allocate(arena, DType.I8, 1, 2, 8, 2, 8, 10);
      cache.append(random(arena, random, 1, 2, 3, 8), random(arena, random, 1, 2, 3, 8));
      Tensor q = random(arena, random, 1, 2, 1, 8);
      Tensor out = Tensor.allocate(arena, DType.F32, 1, 2, 1, 8);
      refuse(
          "bf16Products rounds caches of F32, BF16 or F16, but this one is quantised:"
              + " cache.dtype=I8",
          () -> Attention.builder().bf16Products().build().forward(q, cache, out));
    }
  }

  @Test
  void shouldRefuseWeightsThatAreNoRealNumbers() {
    try (Arena arena = Arena.ofConfined()) {
      refuse(
          "weight.dtype must be F32, BF16 or F16: weight.dtype=I32",
          () -> Linear.of(Tensor.allocate(arena, DType.I32, 2, 3)));
      refuse(
          "bias.dtype must be F32: bias.dtype=BF16",
          () ->
              Linear.of(
                  Tensor.allocate(arena, DType.BF16, 2, 3), Tensor.allocate(arena, DType.BF16, 2)));
    }
  }
}
