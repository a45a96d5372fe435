package io.github.attention4j.models.gguf;

import io.github.attention4j.DType;
import io.github.attention4j.layer.BlockFormat;
import java.lang.foreign.MemorySegment;
import java.lang.foreign.ValueLayout;
import java.nio.ByteOrder;

/**
 * The types of tensors in GGUF files: number, block size and meaning.
 *
 * <p>Only the last operation of decoding can round, because the product of a 16-bit scale, a 6-bit
 * or 8-bit sub-scale and a code fits the 24 bits of a float.
 */
public enum GgufType {
  /** IEEE 754 binary32. */
  F32(0, 1, 4),
  /** IEEE 754 binary16. */
  F16(1, 1, 2),
  /** {@code d · (q − 8)}, 4 bits. */
  Q4_0(2, BlockFormat.Q4_0),
  /** {@code d · q + m}, 4 bits. */
  Q4_1(3, BlockFormat.Q4_1),
  /** {@code d · (q − 16)}, 5 bits. */
  Q5_0(6, BlockFormat.Q5_0),
  /** {@code d · q + m}, 5 bits. */
  Q5_1(7, BlockFormat.Q5_1),
  /** {@code d · q}, 8 bits. */
  Q8_0(8, BlockFormat.Q8_0),
  /** 2 bits with 4-bit scales and minima for 16 values. */
  Q2_K(10, BlockFormat.Q2_K),
  /** 3 bits with 6-bit scales for 16 values. */
  Q3_K(11, BlockFormat.Q3_K),
  /** 4 bits with 6-bit scales and minima for 32 values. */
  Q4_K(12, BlockFormat.Q4_K),
  /** 5 bits with 6-bit scales and minima for 32 values. */
  Q5_K(13, BlockFormat.Q5_K),
  /** 6 bits with 8-bit scales for 16 values. */
  Q6_K(14, BlockFormat.Q6_K),
  /** 4 bits, codes of a table that is denser around zero. */
  IQ4_NL(20, BlockFormat.IQ4_NL),
  /** Like IQ4_NL, with 6-bit scales for 32 values. */
  IQ4_XS(23, BlockFormat.IQ4_XS),
  /** Signed bytes. */
  I8(24, 1, 1),
  /** Signed 16-bit integers. */
  I16(25, 1, 2),
  /** Signed 32-bit integers, which are not decoded. */
  I32(26, 1, 4),
  /** Signed 64-bit integers, which are not decoded. */
  I64(27, 1, 8),
  /** IEEE 754 binary64, which is not decoded. */
  F64(28, 1, 8),
  /** The upper half of a binary32. */
  BF16(30, 1, 2),
  /** 4-bit floats with a power-of-two scale for 32 values (OCP Microscaling). */
  MXFP4(39, BlockFormat.MXFP4);

  private static final ValueLayout.OfFloat FLOAT =
      ValueLayout.JAVA_FLOAT_UNALIGNED.withOrder(ByteOrder.LITTLE_ENDIAN);
  private static final ValueLayout.OfShort SHORT =
      ValueLayout.JAVA_SHORT_UNALIGNED.withOrder(ByteOrder.LITTLE_ENDIAN);

  private final int number;
  private final int blockValues;
  private final int blockBytes;
  private final BlockFormat format;

  GgufType(int number, int blockValues, int blockBytes) {
    this.number = number;
    this.blockValues = blockValues;
    this.blockBytes = blockBytes;
    format = null;
  }

  GgufType(int number, BlockFormat format) {
    this.number = number;
    blockValues = format.blockColumns();
    blockBytes = format.blockBytes();
    this.format = format;
  }

  /** The core's format of the same blocks, or null. */
  BlockFormat format() {
    return format;
  }

  /**
   * Returns the number of the type in files.
   *
   * @return the number
   */
  public int number() {
    return number;
  }

  /**
   * Returns how many values a block has.
   *
   * @return 1, 32 or 256
   */
  public int blockValues() {
    return blockValues;
  }

  /**
   * Returns how many bytes a block has.
   *
   * @return the size
   */
  public int blockBytes() {
    return blockBytes;
  }

  /**
   * Tells whether tensors of this type can be decoded exactly to floats.
   *
   * @return false for I32, I64 and F64
   */
  public boolean isDecoded() {
    return this != I32 && this != I64 && this != F64;
  }

  /** The corresponding type of tensors, or null. */
  DType dtype() {
    return switch (this) {
      case F32 -> DType.F32;
      case F16 -> DType.F16;
      case BF16 -> DType.BF16;
      default -> null;
    };
  }

  static GgufType of(int number) {
    for (GgufType type : values()) {
      if (type.number == number) {
        return type;
      }
    }
    return null;
  }

  /** The message about an unknown type number. */
  static String describe(long number) {
    String[] named = {
      "9:Q8_1", "15:Q8_K", "16:IQ2_XXS", "17:IQ2_XS", "18:IQ3_XXS", "19:IQ1_S", "21:IQ3_S",
      "22:IQ2_S", "29:IQ1_M", "34:TQ1_0", "35:TQ2_0", "40:NVFP4", "41:Q1_0", "42:Q2_0"
    };
    for (String name : named) {
      if (name.startsWith(number + ":")) {
        return "tensor type "
            + number
            + ", "
            + name.substring(name.indexOf(':') + 1)
            + ", is not supported";
      }
    }
    boolean old =
        number == 4
            || number == 5
            || (number >= 31 && number <= 33)
            || (number >= 36 && number <= 38);
    return "tensor type " + number + (old ? " is no longer in use" : " is not known");
  }

  /**
   * Decodes values of a type without blocks.
   *
   * @param values contiguous; need not be aligned
   * @param first the first value to decode
   * @param out receives as many values as it has room for
   */
  void decode(MemorySegment values, long first, float[] out) {
    for (int i = 0; i < out.length; i++) {
      long at = (first + i) * blockBytes;
      out[i] =
          switch (this) {
            case F32 -> values.get(FLOAT, at);
            case F16 -> Float.float16ToFloat(values.get(SHORT, at));
            case BF16 -> Float.intBitsToFloat(values.get(SHORT, at) << 16);
            case I8 -> values.get(ValueLayout.JAVA_BYTE, at);
            case I16 -> values.get(SHORT, at);
            default -> throw new IllegalStateException(this + " has blocks or is not decoded");
          };
    }
  }
}
