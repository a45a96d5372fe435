package io.github.attention4j.models.gguf;

import io.github.attention4j.layer.Quantization;
import io.github.attention4j.layer.QuantizedWeights;
import java.lang.foreign.Arena;
import java.lang.foreign.MemorySegment;
import java.lang.foreign.ValueLayout;

/**
 * Blocks that have no format of their own in the core: taken apart into codes and scales that give
 * the same numbers.
 *
 * <pre>
 *   Q2_K     d · s · q − m · t     4 bits, nested scales s and minimums −t, 16 columns
 *   Q3_K     d · (s − 32) · q      8 bits, nested scales, 16 columns
 *   IQ4_NL   d · L[q]              8 bits, scales of 16 bits, 32 columns
 *   IQ4_XS   d · (s − 32) · L[q]   8 bits, nested scales, 32 columns
 *   MXFP4    2^e / 2 · 2 E[q]      8 bits, scales of 32 bits, 32 columns
 * </pre>
 */
final class OtherBlocks {
  private OtherBlocks() {}

  static QuantizedWeights pack(
      Arena arena, GgufType type, MemorySegment blocks, long rows, long columns) {
    Quantization quantization =
        switch (type) {
          case Q2_K -> new Quantization(4, 16, Quantization.Scales.NESTED, true);
          case Q3_K -> new Quantization(8, 16, Quantization.Scales.NESTED, false);
          case IQ4_NL -> new Quantization(8, 32, Quantization.Scales.F16, false);
          case IQ4_XS -> new Quantization(8, 32, Quantization.Scales.NESTED, false);
          case MXFP4 -> new Quantization(8, 32, Quantization.Scales.F32, false);
          default -> throw new IllegalArgumentException("type must be one of these: " + type);
        };
    boolean nested = quantization.scales() == Quantization.Scales.NESTED;
    boolean minimums = quantization.minimums();
    int scaleBytes =
        switch (quantization.scales()) {
          case F32 -> Float.BYTES;
          case F16 -> Short.BYTES;
          case NESTED -> Byte.BYTES;
        };
    long groups = rows * (columns / quantization.group());
    long spans = nested ? rows * (columns / Quantization.SPAN) : 0;
    try (Arena scratch = Arena.ofConfined()) {
      MemorySegment codes = scratch.allocate(rows * columns, 64);
      MemorySegment scales = scratch.allocate(groups * scaleBytes, 64);
      MemorySegment lows = minimums ? scratch.allocate(groups * scaleBytes, 64) : null;
      MemorySegment outer = nested ? scratch.allocate(spans * Short.BYTES, 64) : null;
      MemorySegment outerLows =
          nested && minimums ? scratch.allocate(spans * Short.BYTES, 64) : null;
      byte[] bytes = new byte[type.blockBytes()];
      byte[] code = new byte[type.blockValues()];
      int perBlock = type.blockValues() / quantization.group();
      long count = rows * columns / type.blockValues();
      for (long block = 0; block < count; block++) {
        MemorySegment.copy(
            blocks, ValueLayout.JAVA_BYTE, block * bytes.length, bytes, 0, bytes.length);
        long group = block * perBlock;
        switch (type) {
          case Q2_K -> {
            for (int i = 0; i < code.length; i++) {
              code[i] = (byte) GgufType.twoBits(bytes, 16, i);
            }
            for (int j = 0; j < perBlock; j++) {
              scales.set(ValueLayout.JAVA_BYTE, group + j, (byte) (bytes[j] & 15));
              lows.set(ValueLayout.JAVA_BYTE, group + j, (byte) -((bytes[j] & 0xff) >> 4));
            }
            copyShort(bytes, 80, outer, block);
            copyShort(bytes, 82, outerLows, block);
          }
          case Q3_K -> {
            for (int i = 0; i < code.length; i++) {
              code[i] = (byte) GgufType.q3kCode(bytes, 0, i);
            }
            for (int j = 0; j < perBlock; j++) {
              scales.set(ValueLayout.JAVA_BYTE, group + j, (byte) GgufType.q3kScale(bytes, 0, j));
            }
            copyShort(bytes, 108, outer, block);
          }
          case IQ4_NL -> {
            GgufType.nonlinearCodes(bytes, 2, 0, code);
            copyShort(bytes, 0, scales, block);
          }
          case IQ4_XS -> {
            for (int g = 0; g < perBlock; g++) {
              GgufType.nonlinearCodes(bytes, 8 + 16 * g, 32 * g, code);
              scales.set(ValueLayout.JAVA_BYTE, group + g, (byte) GgufType.iq4xsScale(bytes, 0, g));
            }
            copyShort(bytes, 0, outer, block);
          }
          default -> {
            GgufType.mxfp4Codes(bytes, 1, code);
            scales.setAtIndex(
                ValueLayout.JAVA_FLOAT, block, Math.scalb(1f, (bytes[0] & 0xff) - 128));
          }
        }
        MemorySegment.copy(code, 0, codes, ValueLayout.JAVA_BYTE, block * code.length, code.length);
      }
      return QuantizedWeights.pack(
          arena,
          quantization,
          rows,
          columns,
          new QuantizedWeights.Parts(codes, scales, lows, outer, outerLows));
    }
  }

  private static void copyShort(byte[] from, int at, MemorySegment to, long index) {
    MemorySegment.copy(from, at, to, ValueLayout.JAVA_BYTE, index * Short.BYTES, Short.BYTES);
  }
}
