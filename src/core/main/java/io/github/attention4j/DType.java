package io.github.attention4j;

/**
 * The type of a tensor's elements; the names are those of the safetensors format.
 *
 * <p>Elements are in the platform's byte order, which is little-endian on every platform that
 * attention4j supports.
 */
public enum DType {
  /** IEEE 754 binary32, the type that every kernel computes and accumulates in. */
  F32(4),

  /** The upper half of a binary32: 8 exponent bits, 7 fraction bits. */
  BF16(2),

  /** IEEE 754 binary16: 5 exponent bits, 10 fraction bits, largest finite value 65504. */
  F16(2),

  /** Signed 32-bit integer. */
  I32(4),

  /** Signed 64-bit integer. */
  I64(8),

  /**
   * Signed 8-bit integer. A {@link KvCache} of this type stores quantised rows, each with a scale
   * of its own.
   */
  I8(1),

  /** One byte: zero is false, anything else is true; true is written as 1. */
  BOOL(1);

  private final int bytes;

  DType(int bytes) {
    this.bytes = bytes;
  }

  /**
   * Returns the size of one element.
   *
   * @return the size in bytes: 1, 2, 4 or 8
   */
  public int bytes() {
    return bytes;
  }

  /**
   * Tells whether elements are real numbers, so that they can be read and written as {@code float}.
   *
   * @return true for {@link #F32}, {@link #BF16} and {@link #F16}
   */
  public boolean isFloat() {
    return switch (this) {
      case F32, BF16, F16 -> true;
      case I32, I64, I8, BOOL -> false;
    };
  }

  /** Widens exactly: every bfloat16 is the upper half of a float. */
  static float bf16ToFloat(short bits) {
    return Float.intBitsToFloat(bits << 16);
  }

  /**
   * Rounds to the nearest bfloat16, ties to even. Values beyond the largest finite one become
   * infinite; NaN stays NaN (made quiet, because its payload may be only in the lower half).
   */
  static short floatToBf16(float value) {
    int bits = Float.floatToRawIntBits(value);
    if (Float.isNaN(value)) {
      return (short) ((bits >>> 16) | 0x40);
    }
    int roundToEven = 0x7fff + ((bits >>> 16) & 1);
    return (short) ((bits + roundToEven) >>> 16);
  }
}
