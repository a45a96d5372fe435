package io.github.attention4j.layer;

import static io.github.attention4j.testing.Checked.onEveryTier;
import static io.github.attention4j.testing.Checked.random;
import static org.junit.jupiter.api.Assertions.assertArrayEquals;
import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import io.github.attention4j.DType;
import io.github.attention4j.Tensor;
import io.github.attention4j.layer.Quantization.Scales;
import java.lang.foreign.Arena;
import java.lang.foreign.MemorySegment;
import java.lang.foreign.ValueLayout;
import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.util.Arrays;
import java.util.Random;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.BeforeEach;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.function.Executable;

class QuantizedWeightsTest {
  private final Random random = new Random(5);
  private Arena arena;

  @BeforeEach
  void openArena() {
    arena = Arena.ofShared();
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

  // ---- Blocks of files, by the formulas of the formats ----

  private static float half(ByteBuffer block, int at) {
    return Float.float16ToFloat(block.getShort(at));
  }

  private static int at(ByteBuffer block, int index) {
    return block.get(index) & 0xff;
  }

  private static final int[] UNEVEN = {
    -127, -104, -83, -65, -49, -35, -22, -10, 1, 13, 25, 38, 53, 69, 89, 113
  };
  private static final float[] E2M1 = {0, 0.5f, 1, 1.5f, 2, 3, 4, 6};

  /** The two bits of column i of 256, four columns to a byte, 32 apart. */
  private static int twoBits(ByteBuffer block, int at, int i) {
    return at(block, at + i / 128 * 32 + i % 32) >> 2 * (i % 128 / 32) & 3;
  }

  /** Number i of the weights of a block, in float32 as the format's authors compute it. */
  private static float weight(BlockFormat format, ByteBuffer b, int i) {
    int j = i % 16;
    switch (format) {
      case Q4_0:
        return half(b, 0) * ((i < 16 ? at(b, 2 + j) & 15 : at(b, 2 + j) >> 4) - 8);
      case Q4_1:
        return half(b, 0) * (i < 16 ? at(b, 4 + j) & 15 : at(b, 4 + j) >> 4) + half(b, 2);
      case Q5_0:
        return half(b, 0)
            * (((i < 16 ? at(b, 6 + j) & 15 : at(b, 6 + j) >> 4) | (b.getInt(2) >>> i & 1) * 16)
                - 16);
      case Q5_1:
        return half(b, 0)
                * ((i < 16 ? at(b, 8 + j) & 15 : at(b, 8 + j) >> 4) | (b.getInt(4) >>> i & 1) * 16)
            + half(b, 2);
      case Q8_0:
        return half(b, 0) * b.get(2 + i);
      case Q4_K:
      case Q5_K:
        {
          int group = i / 32;
          int scale =
              group < 4 ? at(b, 4 + group) % 64 : at(b, 8 + group) % 16 + at(b, group) / 64 * 16;
          int minimum =
              group < 4
                  ? at(b, 8 + group) % 64
                  : at(b, 8 + group) / 16 + at(b, 4 + group) / 64 * 16;
          int codes = format == BlockFormat.Q4_K ? 16 : 48;
          int both = at(b, codes + group / 2 * 32 + i % 32);
          int code = group % 2 == 0 ? both % 16 : both / 16;
          if (format == BlockFormat.Q5_K) {
            code += (at(b, 16 + i % 32) >> group & 1) * 16;
          }
          return half(b, 0) * scale * code - half(b, 2) * minimum;
        }
      case Q6_K:
        {
          int quarter = i % 128 / 32;
          int low = at(b, i / 128 * 64 + quarter % 2 * 32 + i % 32);
          int code = (quarter < 2 ? low % 16 : low / 16) + 16 * twoBits(b, 128, i) - 32;
          return half(b, 208) * b.get(192 + i / 16) * code;
        }
      case Q2_K:
        {
          int numbers = at(b, i / 16);
          return half(b, 80) * (numbers % 16) * twoBits(b, 16, i) - half(b, 82) * (numbers / 16);
        }
      case Q3_K:
        {
          int group = i / 16;
          int low = group < 8 ? at(b, 96 + group) % 16 : at(b, 88 + group) / 16;
          int high = at(b, 104 + group % 4) >> group / 4 * 2 & 3;
          int code = twoBits(b, 32, i) + (at(b, i % 32) >> i / 32 & 1) * 4 - 4;
          return half(b, 108) * (low + 16 * high - 32) * code;
        }
      case IQ4_NL:
        return half(b, 0) * UNEVEN[i < 16 ? at(b, 2 + j) % 16 : at(b, 2 + j) / 16];
      case IQ4_XS:
        {
          int group = i / 32;
          int low = at(b, 4 + group / 2) >> group % 2 * 4 & 15;
          int high = b.getShort(2) >> 2 * group & 3;
          int both = at(b, 8 + 16 * group + j);
          return half(b, 0) * (low + 16 * high - 32) * UNEVEN[i % 32 < 16 ? both % 16 : both / 16];
        }
      default:
        {
          int code = i < 16 ? at(b, 1 + j) % 16 : at(b, 1 + j) / 16;
          float value = Math.scalb(E2M1[code % 8], at(b, 0) - 127);
          return code > 8 ? -value : value;
        }
    }
  }

  private MemorySegment blocks(BlockFormat format, long rows, long columns) {
    long count = rows * columns / format.blockColumns();
    MemorySegment blocks = arena.allocate(count * format.blockBytes() + 2);
    byte[] bytes = new byte[(int) blocks.byteSize()];
    random.nextBytes(bytes);
    MemorySegment.copy(bytes, 0, blocks, ValueLayout.JAVA_BYTE, 0, bytes.length);
    blocks = blocks.asSlice(2); // not aligned
    for (long i = 0; i < count; i++) {
      // Scales of a size that weights have.
      for (int k = 0; k < 2; k++) {
        short scale = Float.floatToFloat16((random.nextFloat() - 0.5f) / 50);
        int first =
            switch (format) {
              case Q2_K -> 80;
              case Q3_K -> 108;
              case Q6_K -> 208;
              default -> 0;
            };
        long at = i * format.blockBytes() + first + 2 * k;
        if (format == BlockFormat.MXFP4) {
          blocks.set(ValueLayout.JAVA_BYTE, i * format.blockBytes(), (byte) (115 + k));
        } else if (k == 0 || format.quantization().minimums()) {
          blocks.set(ValueLayout.JAVA_SHORT_UNALIGNED, at, scale);
        }
      }
    }
    return blocks;
  }

  @Test
  void shouldReadBlocksBitByBitAndMultiplyByThem() {
    for (BlockFormat format : BlockFormat.values()) {
      long rows = 77;
      long columns = 512;
      MemorySegment blocks = blocks(format, rows, columns);
      QuantizedWeights weights = format.read(arena, blocks, rows, columns);
      Tensor wide = floats(rows, columns);
      weights.dequantize(0, wide);
      Tensor direct = floats(rows, columns);
      format.widen(blocks, direct);
      assertArrayEquals(wide.toFloatArray(), direct.toFloatArray(), format.toString());
      ByteBuffer bytes = blocks.asByteBuffer().order(ByteOrder.LITTLE_ENDIAN);
      for (int r = 0; r < rows; r++) {
        for (int c = 0; c < columns; c++) {
          int block = (int) ((r * columns + c) / format.blockColumns());
          ByteBuffer one =
              bytes
                  .slice(block * format.blockBytes(), format.blockBytes())
                  .order(ByteOrder.LITTLE_ENDIAN);
          float wanted = weight(format, one, c % format.blockColumns());
          assertEquals(wanted, wide.getFloat(r, c), format + " (" + r + ", " + c + ")");
        }
      }
      requireProduct(weights, wide);
    }
  }

  /** Products of several numbers of rows, against those of the widened weights. */
  private void requireProduct(QuantizedWeights weights, Tensor wide) {
    Tensor bias = random(arena, random, weights.rows());
    Linear exact = Linear.of(wide, bias).withActivation(Activation.IDENTITY);
    for (int rows : new int[] {1, 5, 40}) {
      Tensor x = random(arena, random, rows, weights.columns());
      Tensor expected = floats(rows, weights.rows());
      Tensor out = floats(rows, weights.rows());
      exact.forward(x, expected);
      onEveryTier(
          () -> {
            Linear.of(weights, bias).forward(x, out);
            double errors = 0;
            double size = 0;
            for (int r = 0; r < rows; r++) {
              for (int c = 0; c < weights.rows(); c++) {
                errors += Math.pow(out.getFloat(r, c) - expected.getFloat(r, c), 2);
                size += Math.pow(expected.getFloat(r, c), 2);
              }
            }
            double error = Math.sqrt(errors / size);
            assertTrue(error < 5e-5, () -> weights + ", " + rows + " rows: error " + error);
          });
    }
  }

  // ---- Quantising ----

  @Test
  void shouldQuantizeWithinHalfAStep() {
    for (Scales scales : new Scales[] {Scales.F32, Scales.F16}) {
      for (int bits : new int[] {8, 6, 4}) {
        for (boolean minimums : new boolean[] {false, true}) {
          for (DType dtype : new DType[] {DType.F32, DType.BF16}) {
            Quantization format = new Quantization(bits, 64, scales, minimums);
            Tensor x =
                Tensor.allocate(arena, dtype, 37, 192).copyFrom(random(arena, random, 37, 192));
            QuantizedWeights weights = QuantizedWeights.quantize(arena, x, format);
            Tensor wide = floats(37, 192);
            weights.dequantize(0, wide);
            float levels = minimums ? (1 << bits) - 1 : (1 << bits - 1) - 1;
            float peak = 0;
            for (float value : x.toFloatArray()) {
              peak = Math.max(peak, Math.abs(value));
            }
            float most = peak * ((minimums ? 2 : 1) / levels / 2 * 1.002f + 1e-3f);
            for (int r = 0; r < 37; r++) {
              for (int c = 0; c < 192; c++) {
                assertEquals(x.getFloat(r, c), wide.getFloat(r, c), most, format.toString());
              }
            }
            requireProduct(weights, wide);
          }
        }
      }
    }
  }

  @Test
  void shouldQuantizeNumbersFarFromZeroWithinHalfAStep() {
    for (int bits : new int[] {8, 6, 4}) {
      for (float far : new float[] {100, -300, 1}) {
        Tensor x = random(arena, random, 17, 64);
        for (int r = 0; r < 17; r++) {
          for (int c = 0; c < 64; c++) {
            x.setFloat(r == 3 ? far - 0.03f : far + 0.01f * x.getFloat(r, c), r, c);
          }
        }
        Tensor wide = floats(17, 64);
        QuantizedWeights.quantize(arena, x, Quantization.withMinimums(bits)).dequantize(0, wide);
        for (int r = 0; r < 17; r++) {
          for (int c = 0; c < 64; c += 32) {
            float[] numbers = new float[32];
            for (int i = 0; i < 32; i++) {
              numbers[i] = x.getFloat(r, c + i);
            }
            Arrays.sort(numbers);
            // The minimum is rounded to a multiple of 2^-10 of itself at most.
            float range = numbers[31] - numbers[0] + Math.abs(numbers[0]) / 1024;
            float most = range * (0.5f / ((1 << bits) - 1) + 0x1p-11f) + Math.abs(far) * 0x1p-22f;
            for (int i = 0; i < 32; i++) {
              assertEquals(x.getFloat(r, c + i), wide.getFloat(r, c + i), most);
            }
          }
        }
      }
    }
  }

  @Test
  void shouldKeepTheLargestNumbersFiniteAndTheSmallestOnes() {
    for (int bits : new int[] {8, 6, 4}) {
      for (float most : new float[] {Float.MAX_VALUE, 7 * Float.MIN_VALUE, 1e-41f}) {
        Tensor x = floats(1, 32);
        for (int c = 0; c < 32; c++) {
          x.setFloat(c % 3 == 0 ? most : c % 3 == 1 ? -most : 0, 0, c);
        }
        Quantization format = new Quantization(bits, 32, Scales.F32, false);
        Tensor wide = floats(1, 32);
        QuantizedWeights.quantize(arena, x, format).dequantize(0, wide);
        float half = most / format.largestCode() / 2;
        for (int c = 0; c < 32; c++) {
          assertEquals(x.getFloat(0, c), wide.getFloat(0, c), half + Float.MIN_VALUE / 2);
        }
      }
    }
  }

  /** Rows near both ends of float's range, among ordinary ones. */
  @Test
  void shouldProjectTheLargestAndTheSmallestRows() {
    int dim = 128;
    for (int bits : new int[] {8, 6, 4}) {
      Quantization format = new Quantization(bits, 64, Scales.F32, bits != 6);
      for (float far : new float[] {0x1p124f, 0x1p-115f, 0x1p-130f}) {
        Tensor weight = random(arena, random, 40, dim);
        for (int n = 0; n < 40 * dim; n++) {
          float value = weight.getFloat(n / dim, n % dim);
          weight.setFloat(value * (far > 1 ? 0x1p-30f : 0x1p30f), n / dim, n % dim);
        }
        QuantizedWeights weights = QuantizedWeights.quantize(arena, weight, format);
        Tensor bias = floats(40).fill(far > 1 ? far * 0x1p-30f : far * 0x1p30f);
        Tensor wide = floats(40, dim);
        weights.dequantize(0, wide);
        for (int rows : new int[] {1, 3, 20}) {
          Tensor x = random(arena, random, rows, dim);
          for (int c = 0; c < dim; c++) {
            x.setFloat(x.getFloat(rows / 2, c) * far, rows / 2, c);
          }
          Tensor out = floats(rows, 40);
          Tensor alone = floats(rows, 40);
          onEveryTier(
              () -> {
                Linear.of(weights, bias).forward(x, out);
                for (int r = 0; r < rows; r++) {
                  Linear.of(weights, bias).forward(x.slice(0, r, 1), alone.slice(0, r, 1));
                  double errors = 0;
                  double size = 0;
                  for (int o = 0; o < 40; o++) {
                    double sum = bias.getFloat(o);
                    size += sum * sum;
                    for (int c = 0; c < dim; c++) {
                      double term = (double) x.getFloat(r, c) * wide.getFloat(o, c);
                      sum += term;
                      size += term * term;
                    }
                    errors += Math.pow(out.getFloat(r, o) - sum, 2);
                  }
                  double error = Math.sqrt(errors / size);
                  assertTrue(error < 5e-5, () -> weights + ", " + far + ": error " + error);
                }
                assertArrayEquals(alone.toFloatArray(), out.toFloatArray());
              });
        }
      }
    }
  }

  @Test
  void shouldProjectWithPartsOfTheOutputsAndFuseEpilogues() {
    Tensor wide = floats(96, 64);
    QuantizedWeights weights =
        QuantizedWeights.quantize(arena, random(arena, random, 96, 64), Quantization.symmetric(4));
    weights.dequantize(0, wide);
    Tensor x = random(arena, random, 7, 64);
    Tensor all = floats(7, 96);
    Linear linear = Linear.of(weights);
    linear.forward(x, all);
    Tensor part = floats(7, 48);
    linear.outputs(32, 48).forward(x, part);
    for (int r = 0; r < 7; r++) {
      for (int c = 0; c < 48; c++) {
        assertEquals(all.getFloat(r, 32 + c), part.getFloat(r, c));
      }
    }
    Tensor gated = random(arena, random, 7, 96);
    Tensor expected = floats(7, 96);
    Activation.GELU.gate(all, gated, expected);
    linear.withActivation(Activation.GELU).packed(arena).forwardMultiply(x, gated);
    assertArrayEquals(expected.toFloatArray(), gated.toFloatArray());
    Tensor rows = Tensor.allocate(arena, DType.BF16, 3, 64);
    weights.dequantize(50, rows);
    assertArrayEquals(
        Tensor.allocate(arena, DType.BF16, 3, 64).copyFrom(wide.slice(0, 50, 3)).toFloatArray(),
        rows.toFloatArray());
    assertEquals(96 * 64 * 18 / 32, weights.byteSize());
  }

  @Test
  void shouldRefuseWhatDoesNotFit() {
    Tensor x = random(arena, random, 4, 64);
    refuse("bits must be 8, 6 or 4: bits=5", () -> new Quantization(5, 32, Scales.F16, false));
    refuse(
        "group must be 16, 32, 64 or 128: group=48",
        () -> new Quantization(4, 48, Scales.F16, false));
    refuse(
        "columns must be a multiple of group: columns=64, group=128",
        () -> QuantizedWeights.quantize(arena, x, new Quantization(4, 128, Scales.F16, false)));
    refuse(
        "scales must be F32 or F16 to quantise numbers: scales=NESTED",
        () -> QuantizedWeights.quantize(arena, x, new Quantization(4, 32, Scales.NESTED, false)));
    x.setFloat(Float.NaN, 2, 33);
    refuse(
        "weight[2, 33] must be finite to be quantised: weight[2, 33]=NaN",
        () -> QuantizedWeights.quantize(arena, x, Quantization.symmetric(8)));
    x.setFloat(-1e9f, 2, 33);
    refuse(
        "largest magnitude of weight[2, 32 to 63] must be at most 8319008.0 for a scale of F16: "
            + "largest magnitude=1.0E9",
        () -> QuantizedWeights.quantize(arena, x, Quantization.symmetric(8)));
    refuse(
        "minimum of weight[2, 32 to 63] must be at least -65504.0 to be stored as F16: "
            + "minimum=-1.0E9",
        () -> QuantizedWeights.quantize(arena, x, Quantization.withMinimums(8)));
    Tensor apart = x.slice(0, 2, 1);
    apart.fill(-65000);
    apart.setFloat(1e6f, 0, 1);
    refuse(
        "range of weight[0, 0 to 31] must be at most 982560.0 for a scale of F16: range=1065000.0",
        () -> QuantizedWeights.quantize(arena, apart, Quantization.withMinimums(4)));
    apart.setFloat(Float.MAX_VALUE, 0, 1);
    apart.setFloat(-Float.MAX_VALUE, 0, 2);
    refuse(
        "range of weight[0, 0 to 63] must be at most 3.4028234663852886E38 for a scale of F32: "
            + "range=6.805646932770577E38",
        () -> QuantizedWeights.quantize(arena, apart, new Quantization(8, 64, Scales.F32, true)));
    Quantization format = Quantization.symmetric(8);
    MemorySegment codes = arena.allocate(4 * 64);
    refuse(
        "scales are missing: " + format,
        () -> QuantizedWeights.pack(arena, format, 4, 64, QuantizedWeights.Parts.of(codes, null)));
    refuse(
        "scales.byteSize must equal the bytes of scales: scales.byteSize=8, the bytes of scales=16",
        () ->
            QuantizedWeights.pack(
                arena, format, 4, 64, QuantizedWeights.Parts.of(codes, arena.allocate(8))));
    refuse(
        "minimums are not part of the format: " + format,
        () ->
            QuantizedWeights.pack(
                arena,
                format,
                4,
                64,
                QuantizedWeights.Parts.of(codes, arena.allocate(16), arena.allocate(16))));
    refuse(
        "columns must be a multiple of the columns of a block of Q4_K: columns=64, "
            + "the columns of a block of Q4_K=256",
        () -> BlockFormat.Q4_K.read(arena, codes, 4, 64));
    refuse(
        "blocks.byteSize must equal rows * columns / 32 * 34: blocks.byteSize=256, "
            + "rows * columns / 32 * 34=272",
        () -> BlockFormat.Q8_0.read(arena, codes, 4, 64));
    refuse(
        "blocks.byteSize must equal rows * columns / 32 * 34: blocks.byteSize=256, "
            + "rows * columns / 32 * 34=9223372036854775807",
        () -> BlockFormat.Q8_0.read(arena, codes, 1L << 60, 64));
    refuse(
        "blocks.byteSize must equal rows * columns / 32 * 18: blocks.byteSize=256, "
            + "rows * columns / 32 * 18=144",
        () -> BlockFormat.Q4_0.widen(codes, floats(4, 64)));
    assertTrue(
        assertThrows(
                IllegalArgumentException.class,
                () -> BlockFormat.Q4_0.read(arena, MemorySegment.ofArray(new byte[18]), 1, 32))
            .getMessage()
            .startsWith("blocks must be off-heap: "));
    QuantizedWeights weights =
        QuantizedWeights.quantize(arena, random(arena, random, 4, 64), format);
    refuse(
        "x.dim must equal weight.dimIn: x.dim=32, weight.dimIn=64",
        () -> Linear.of(weights).forward(floats(1, 32), floats(1, 4)));
    refuse(
        "firstRow + out.rows must lie in [0, 4]: firstRow + out.rows=5",
        () -> weights.dequantize(3, floats(2, 64)));
    refuse(
        "bias.dim must equal weight.dimOut: bias.dim=3, weight.dimOut=4",
        () -> Linear.of(weights, floats(3)));
    Tensor late = floats(1, 4);
    QuantizedWeights gone;
    try (Arena other = Arena.ofShared()) {
      gone = QuantizedWeights.quantize(other, random(arena, random, 4, 64), format);
    }
    assertThrows(IllegalStateException.class, () -> Linear.of(gone).forward(floats(1, 64), late));
  }
}
