package io.github.attention4j.models.gguf;

import io.github.attention4j.DType;
import io.github.attention4j.layer.BlockFormat;
import java.lang.foreign.MemorySegment;
import java.lang.foreign.ValueLayout;

/**
 * The types of tensors in GGUF files: their numbers, the size of a block, and what its bits mean.
 *
 * <p>Each value is computed so that only the last operation can round: products of a 16-bit scale,
 * a 6-bit or 8-bit sub-scale and a code fit the 24 bits of a float.
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
  Q2_K(10, 256, 84),
  /** 3 bits with 6-bit scales for 16 values. */
  Q3_K(11, 256, 110),
  /** 4 bits with 6-bit scales and minima for 32 values. */
  Q4_K(12, BlockFormat.Q4_K),
  /** 5 bits with 6-bit scales and minima for 32 values. */
  Q5_K(13, BlockFormat.Q5_K),
  /** 6 bits with 8-bit scales for 16 values. */
  Q6_K(14, BlockFormat.Q6_K),
  /** 4 bits, codes for values that lie closer around zero. */
  IQ4_NL(20, 32, 18),
  /** As IQ4_NL, with 6-bit scales for 32 values. */
  IQ4_XS(23, 256, 136),
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
  /** 4-bit floats with a power of two for 32 values (OCP Microscaling). */
  MXFP4(39, 32, 17);

  private static final float[] NONLINEAR = {
    -127, -104, -83, -65, -49, -35, -22, -10, 1, 13, 25, 38, 53, 69, 89, 113
  };

  private static final double[] E2M1 = {
    0, 0.5, 1, 1.5, 2, 3, 4, 6, 0, -0.5, -1, -1.5, -2, -3, -4, -6
  };

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
   * Returns the number that stands for the type in files.
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
   * Tells whether every value is a float, so that tensors can be decoded exactly.
   *
   * @return false for I32, I64 and F64
   */
  public boolean isDecoded() {
    return this != I32 && this != I64 && this != F64;
  }

  /** The same type in a tensor, or null. */
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

  /** What to say of a number that is none of these types. */
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
   * Decodes whole blocks.
   *
   * @param blocks the blocks, one after the other
   * @param out receives their values from its beginning
   */
  void decode(MemorySegment blocks, float[] out) {
    if (format != null) {
      format.widen(blocks, out);
      return;
    }
    byte[] bytes = blocks.toArray(ValueLayout.JAVA_BYTE);
    for (int b = 0, o = 0; b < bytes.length; b += blockBytes, o += blockValues) {
      switch (this) {
        case F32 -> out[o] = Float.intBitsToFloat(u32(bytes, b));
        case F16 -> out[o] = f16(bytes, b);
        case BF16 -> out[o] = Float.intBitsToFloat(u16(bytes, b) << 16);
        case I8 -> out[o] = bytes[b];
        case I16 -> out[o] = (short) u16(bytes, b);
        case Q2_K -> q2k(bytes, b, o, out);
        case Q3_K -> q3k(bytes, b, o, out);
        case IQ4_NL -> nonlinear(bytes, b + 2, o, out, f16(bytes, b));
        case IQ4_XS -> iq4xs(bytes, b, o, out);
        case MXFP4 -> mxfp4(bytes, b, o, out);
        default -> throw new IllegalStateException(this + " is not decoded");
      }
    }
  }

  private static int u16(byte[] bytes, int at) {
    return (bytes[at] & 0xff) | (bytes[at + 1] & 0xff) << 8;
  }

  private static int u32(byte[] bytes, int at) {
    return u16(bytes, at) | u16(bytes, at + 2) << 16;
  }

  private static float f16(byte[] bytes, int at) {
    return Float.float16ToFloat((short) u16(bytes, at));
  }

  /** Code i of 32 whose first half lies in low nibbles and whose second lies in high ones. */
  private static int halves(byte[] bytes, int at, int i) {
    return i < 16 ? bytes[at + i] & 15 : (bytes[at + i - 16] & 0xff) >> 4;
  }

  /** 16 bytes of scales and minima, 64 of codes, d, m. */
  private static void q2k(byte[] bytes, int b, int o, float[] out) {
    float d = f16(bytes, b + 80);
    float m = f16(bytes, b + 82);
    for (int i = 0; i < 256; i++) {
      int s = bytes[b + i / 16] & 0xff;
      out[o + i] = d * (s & 15) * twoBits(bytes, b + 16, i) - m * (s >> 4);
    }
  }

  /** Code i of 256: 32 bytes hold 128 values, four to a byte, 32 apart. */
  static int twoBits(byte[] bytes, int at, int i) {
    return (bytes[at + 32 * (i / 128) + i % 32] & 0xff) >> 2 * (i % 128 / 32) & 3;
  }

  /** 32 bytes of high bits, 64 of codes, 12 of scales, d. */
  private static void q3k(byte[] bytes, int b, int o, float[] out) {
    float d = f16(bytes, b + 108);
    for (int i = 0; i < 256; i++) {
      out[o + i] = d * q3kScale(bytes, b, i / 16) * q3kCode(bytes, b, i);
    }
  }

  /** Scale j of a block of Q3_K, from −32 to 31. */
  static int q3kScale(byte[] bytes, int b, int j) {
    int scales = b + 96;
    int low = j < 8 ? bytes[scales + j] & 15 : (bytes[scales + j - 8] & 0xff) >> 4;
    return (low | ((bytes[scales + 8 + j % 4] & 0xff) >> 2 * (j / 4) & 3) << 4) - 32;
  }

  /** Code i of a block of Q3_K, from −4 to 3. */
  static int q3kCode(byte[] bytes, int b, int i) {
    int bit = (bytes[b + i % 32] & 0xff) >> i / 32 & 1;
    return twoBits(bytes, b + 32, i) + 4 * bit - 4;
  }

  private static void nonlinear(byte[] bytes, int codes, int o, float[] out, float scale) {
    for (int i = 0; i < 32; i++) {
      out[o + i] = scale * NONLINEAR[halves(bytes, codes, i)];
    }
  }

  /** What 32 codes of IQ4_NL and IQ4_XS stand for. */
  static void nonlinearCodes(byte[] bytes, int codes, int o, byte[] out) {
    for (int i = 0; i < 32; i++) {
      out[o + i] = (byte) NONLINEAR[halves(bytes, codes, i)];
    }
  }

  /** d, 2 bytes of upper bits of the scales, 4 of their lower ones, 128 of codes. */
  private static void iq4xs(byte[] bytes, int b, int o, float[] out) {
    float d = f16(bytes, b);
    for (int g = 0; g < 8; g++) {
      nonlinear(bytes, b + 8 + 16 * g, o + 32 * g, out, d * iq4xsScale(bytes, b, g));
    }
  }

  /** Scale g of a block of IQ4_XS, from −32 to 31. */
  static int iq4xsScale(byte[] bytes, int b, int g) {
    int upper = u16(bytes, b + 2);
    return ((bytes[b + 4 + g / 2] & 0xff) >> 4 * (g % 2) & 15 | (upper >> 2 * g & 3) << 4) - 32;
  }

  private static void mxfp4(byte[] bytes, int b, int o, float[] out) {
    int exponent = (bytes[b] & 0xff) - 127;
    for (int i = 0; i < 32; i++) {
      out[o + i] = (float) Math.scalb(E2M1[halves(bytes, b + 1, i)], exponent);
    }
  }

  /** Twice what 32 codes of MXFP4 stand for, which are integers. */
  static void mxfp4Codes(byte[] bytes, int codes, byte[] out) {
    for (int i = 0; i < 32; i++) {
      out[i] = (byte) (2 * E2M1[halves(bytes, codes, i)]);
    }
  }
}
