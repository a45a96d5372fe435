package io.github.attention4j.layer;

import io.github.attention4j.internal.Descriptor;
import java.util.Objects;

/**
 * How quantised weights are kept: integers of a few bits, and for each group of columns of a row
 * numbers that scale them.
 *
 * <pre>
 *   weight = scale · code              code in [-128, 127], [-32, 31] or [-8, 7]
 *   weight = scale · code + minimum    code in [0, 255], [0, 63] or [0, 15], with minimums
 * </pre>
 *
 * @param bits of a code: 8, 6 or 4
 * @param group columns that share a scale: 16, 32, 64 or 128. It divides the columns.
 * @param scales how scales and minimums are stored
 * @param minimums whether groups have minimums
 */
public record Quantization(int bits, int group, Scales scales, boolean minimums) {
  /** How scales and minimums are stored. */
  public enum Scales {
    /** IEEE 754 binary32. */
    F32(Descriptor.Storage.F32, 4),

    /** IEEE 754 binary16. */
    F16(Descriptor.Storage.F16, 2),

    /**
     * A signed byte for each group, times a number of binary16 for each {@link #SPAN} columns,
     * which then divide the columns; the product is exact in float32.
     */
    NESTED(Descriptor.Storage.I8, 1);

    final int code;
    final int bytes;

    Scales(int code, int bytes) {
      this.code = code;
      this.bytes = bytes;
    }
  }

  /** Columns that share a number of nested scales. */
  public static final int SPAN = 256;

  /** Checks the sizes. */
  public Quantization {
    Objects.requireNonNull(scales, "scales");
    if (bits != 8 && bits != 6 && bits != 4) {
      throw new IllegalArgumentException("bits must be 8, 6 or 4: bits=" + bits);
    }
    if (group != 16 && group != 32 && group != 64 && group != 128) {
      throw new IllegalArgumentException("group must be 16, 32, 64 or 128: group=" + group);
    }
  }

  /**
   * Symmetric codes in groups of 32 with scales of 16 bits: 8.5, 6.5 or 4.5 bits a weight.
   *
   * @param bits 8, 6 or 4
   * @return the format
   */
  public static Quantization symmetric(int bits) {
    return new Quantization(bits, 32, Scales.F16, false);
  }

  /**
   * Codes above a minimum in groups of 32 with scales and minimums of 16 bits: 9, 7 or 5 bits a
   * weight.
   *
   * @param bits 8, 6 or 4
   * @return the format
   */
  public static Quantization withMinimums(int bits) {
    return new Quantization(bits, 32, Scales.F16, true);
  }

  /** The largest code that numbers are quantised to. */
  int largestCode() {
    return minimums ? (1 << bits) - 1 : (1 << (bits - 1)) - 1;
  }

  Descriptor.Storage storage() {
    int dtype =
        switch (bits) {
          case 8 -> Descriptor.Storage.I8;
          case 6 -> Descriptor.Storage.I6;
          default -> Descriptor.Storage.I4;
        };
    return new Descriptor.Storage(dtype, group, scales.code, minimums ? 1 : 0);
  }
}
