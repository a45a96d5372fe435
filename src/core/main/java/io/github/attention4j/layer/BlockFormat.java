package io.github.attention4j.layer;

import io.github.attention4j.internal.Checks;
import java.lang.foreign.Arena;
import java.lang.foreign.MemorySegment;
import java.lang.foreign.SegmentAllocator;
import java.lang.foreign.ValueLayout;
import java.nio.ByteOrder;
import java.util.Objects;

/**
 * The blocks that the weights of GGUF files come in, by their names there. A block has the columns
 * of a row that share a scale, or for the K formats a span of 256 of them whose groups have scales
 * of 6 or 8 bits. Weights are read bit by bit as the format defines them; codes of 5 and 6 bits are
 * kept in 8, so these take more memory than the file.
 */
public enum BlockFormat {
  /** 32 weights of 4 bits, symmetric: 4.5 bits a weight. */
  Q4_0(32, 18, 4, 32, Quantization.Scales.F16, false),

  /** 32 weights of 4 bits above a minimum: 5 bits a weight. */
  Q4_1(32, 20, 4, 32, Quantization.Scales.F16, true),

  /** 32 weights of 5 bits, symmetric: 5.5 bits a weight in the file, 8.5 here. */
  Q5_0(32, 22, 8, 32, Quantization.Scales.F16, false),

  /** 32 weights of 5 bits above a minimum: 6 bits a weight in the file, 9 here. */
  Q5_1(32, 24, 8, 32, Quantization.Scales.F16, true),

  /** 32 weights of 8 bits, symmetric: 8.5 bits a weight. */
  Q8_0(32, 34, 8, 32, Quantization.Scales.F16, false),

  /**
   * 256 weights of 4 bits above minimums, in groups of 32: 4.5 bits a weight in the file, 4.625
   * here.
   */
  Q4_K(256, 144, 4, 32, Quantization.Scales.NESTED, true),

  /**
   * 256 weights of 5 bits above minimums, in groups of 32: 5.5 bits a weight in the file, 8.625
   * here.
   */
  Q5_K(256, 176, 8, 32, Quantization.Scales.NESTED, true),

  /**
   * 256 weights of 6 bits, symmetric, in groups of 16: 6.56 bits a weight in the file, 8.56 here.
   */
  Q6_K(256, 210, 8, 16, Quantization.Scales.NESTED, false);

  private static final ValueLayout.OfShort SHORT =
      ValueLayout.JAVA_SHORT_UNALIGNED.withOrder(ByteOrder.LITTLE_ENDIAN);
  private static final ValueLayout.OfInt INT =
      ValueLayout.JAVA_INT_UNALIGNED.withOrder(ByteOrder.LITTLE_ENDIAN);

  /** Rows that are taken apart at a time; a multiple of the rows of a packed block. */
  private static final long PIECE_ROWS = 64;

  private final int columns;
  private final int bytes;
  private final Quantization quantization;

  BlockFormat(
      int columns, int bytes, int bits, int group, Quantization.Scales scales, boolean minimums) {
    this.columns = columns;
    this.bytes = bytes;
    this.quantization = new Quantization(bits, group, scales, minimums);
  }

  /**
   * Returns how many columns of a row a block has.
   *
   * @return 32 or 256
   */
  public int blockColumns() {
    return columns;
  }

  /**
   * Returns the size of a block.
   *
   * @return the size in bytes
   */
  public int blockBytes() {
    return bytes;
  }

  /**
   * Returns how the weights are kept when they are read.
   *
   * @return the format
   */
  public Quantization quantization() {
    return quantization;
  }

  /**
   * Reads the blocks of a matrix and packs them.
   *
   * @param arena where the packed weights live
   * @param blocks row by row, as the file has them; may be mapped. Not modified.
   * @param rows of the matrix
   * @param columns of the matrix, a multiple of those of a block
   * @return the packed weights
   * @throws IllegalArgumentException if a size is 0, a block does not divide the columns, or there
   *     are more or fewer bytes than blocks take
   * @throws IllegalStateException if an arena is closed or confined to another thread
   * @throws OutOfMemoryError if there is no memory for the packed weights
   */
  public QuantizedWeights read(Arena arena, MemorySegment blocks, long rows, long columns) {
    Objects.requireNonNull(blocks, "blocks");
    Checks.positive("rows", rows);
    Checks.positive("columns", columns);
    Checks.multiple("columns", columns, "the columns of a block of " + this, this.columns);
    long perRow = columns / this.columns;
    Checks.equal(
        "blocks.byteSize",
        blocks.byteSize(),
        "rows * columns / " + this.columns + " * " + bytes,
        Math.multiplyExact(Math.multiplyExact(rows, perRow), bytes));
    QuantizedWeights weights = QuantizedWeights.allocate(arena, quantization, rows, columns);
    try (Arena pieces = Arena.ofConfined()) {
      Piece piece = new Piece(pieces, Math.min(PIECE_ROWS, rows), columns);
      for (long row = 0; row < rows; row += PIECE_ROWS) {
        long count = Math.min(PIECE_ROWS, rows - row);
        for (long block = 0; block < count * perRow; block++) {
          takeApart(blocks, (row * perRow + block) * bytes, block, piece);
        }
        weights.write(row, count, piece.parts(count));
      }
    }
    return weights;
  }

  /**
   * Widens blocks to floats. Each value is rounded once at most: the products of its scales and its
   * code are exact.
   *
   * @param blocks as the file has them, one after the other; may be mapped. Not modified.
   * @param out receives the values of all blocks, in their order. Modified.
   * @throws IllegalArgumentException if there are parts of blocks, or more values than out holds
   * @throws IllegalStateException if the blocks' arena is closed or confined to another thread
   */
  public void widen(MemorySegment blocks, float[] out) {
    Objects.requireNonNull(blocks, "blocks");
    Checks.multiple("blocks.byteSize", blocks.byteSize(), "a block of " + this, bytes);
    long count = blocks.byteSize() / bytes;
    Checks.inRange("out.length", out.length, count * columns, Integer.MAX_VALUE);
    Piece block =
        new Piece((size, alignment) -> MemorySegment.ofArray(new byte[(int) size]), 1, columns);
    for (int i = 0; i < count; i++) {
      takeApart(blocks, (long) i * bytes, 0, block);
      block.widen(out, i * columns);
    }
  }

  /** The parts of some rows, of which a block fills its share. */
  private final class Piece {
    private final long columns;
    private final MemorySegment codes;
    private final MemorySegment scales;
    private final MemorySegment minimums;
    private final MemorySegment outerScales;
    private final MemorySegment outerMinimums;

    Piece(SegmentAllocator arena, long rows, long columns) {
      this.columns = columns;
      boolean nested = quantization.scales() == Quantization.Scales.NESTED;
      this.codes = arena.allocate(rows * columns, 64);
      this.scales = arena.allocate(numbers(rows), 64);
      this.minimums = quantization.minimums() ? arena.allocate(numbers(rows), 64) : null;
      this.outerScales = nested ? arena.allocate(outer(rows), 64) : null;
      this.outerMinimums =
          nested && quantization.minimums() ? arena.allocate(outer(rows), 64) : null;
    }

    private long numbers(long rows) {
      return rows * (columns / quantization.group()) * quantization.scales().bytes;
    }

    private long outer(long rows) {
      return rows * (columns / Quantization.SPAN) * Short.BYTES;
    }

    QuantizedWeights.Parts parts(long rows) {
      return new QuantizedWeights.Parts(
          codes.asSlice(0, rows * columns),
          scales.asSlice(0, numbers(rows)),
          minimums == null ? null : minimums.asSlice(0, numbers(rows)),
          outerScales == null ? null : outerScales.asSlice(0, outer(rows)),
          outerMinimums == null ? null : outerMinimums.asSlice(0, outer(rows)));
    }

    private static float half(MemorySegment numbers, long index) {
      return Float.float16ToFloat(numbers.get(SHORT, Short.BYTES * index));
    }

    /** The values of a single block. */
    void widen(float[] out, int first) {
      boolean nested = outerScales != null;
      for (int group = 0, column = 0; column < columns; group++) {
        float scale = nested ? half(outerScales, 0) * inner(scales, group) : half(scales, group);
        float minimum = 0;
        if (minimums != null) {
          // Minimums of K formats are subtracted, which differs for zeros.
          minimum =
              nested ? -(half(outerMinimums, 0) * -inner(minimums, group)) : half(minimums, group);
        }
        for (int end = column + quantization.group(); column < end; column++) {
          float product = scale * codes.get(ValueLayout.JAVA_BYTE, column);
          out[first + column] = minimums == null ? product : product + minimum;
        }
      }
    }

    private static int inner(MemorySegment numbers, int group) {
      return numbers.get(ValueLayout.JAVA_BYTE, group);
    }

    void code(long index, int value) {
      codes.set(ValueLayout.JAVA_BYTE, index, (byte) value);
    }
  }

  private static int unsigned(MemorySegment from, long at) {
    return from.get(ValueLayout.JAVA_BYTE, at) & 0xff;
  }

  /** Number `block` of a piece: its codes in the order of the columns, and its numbers. */
  private void takeApart(MemorySegment from, long at, long block, Piece to) {
    long first = block * columns;
    switch (this) {
      case Q4_0 -> {
        to.scales.set(SHORT, 2 * block, from.get(SHORT, at));
        for (int i = 0; i < 16; i++) {
          int both = unsigned(from, at + 2 + i);
          to.code(first + i, (both & 15) - 8);
          to.code(first + 16 + i, (both >> 4) - 8);
        }
      }
      case Q4_1 -> {
        to.scales.set(SHORT, 2 * block, from.get(SHORT, at));
        to.minimums.set(SHORT, 2 * block, from.get(SHORT, at + 2));
        for (int i = 0; i < 16; i++) {
          int both = unsigned(from, at + 4 + i);
          to.code(first + i, both & 15);
          to.code(first + 16 + i, both >> 4);
        }
      }
      case Q5_0, Q5_1 -> {
        boolean minimums = this == Q5_1;
        int zero = minimums ? 0 : 16;
        long high = at + (minimums ? 4 : 2);
        to.scales.set(SHORT, 2 * block, from.get(SHORT, at));
        if (minimums) {
          to.minimums.set(SHORT, 2 * block, from.get(SHORT, at + 2));
        }
        int fifths = from.get(INT, high);
        for (int i = 0; i < 16; i++) {
          int both = unsigned(from, high + 4 + i);
          to.code(first + i, (both & 15 | (fifths >>> i & 1) << 4) - zero);
          to.code(first + 16 + i, (both >> 4 | (fifths >>> i + 16 & 1) << 4) - zero);
        }
      }
      case Q8_0 -> {
        to.scales.set(SHORT, 2 * block, from.get(SHORT, at));
        MemorySegment.copy(from, at + 2, to.codes, first, 32);
      }
      case Q4_K -> {
        scalesOfK(from, at, block, to);
        for (int i = 0; i < 128; i++) {
          int both = unsigned(from, at + 16 + i);
          long column = first + i / 32 * 64 + i % 32;
          to.code(column, both & 15);
          to.code(column + 32, both >> 4);
        }
      }
      case Q5_K -> {
        scalesOfK(from, at, block, to);
        for (int i = 0; i < 128; i++) {
          int fifths = unsigned(from, at + 16 + i % 32) >> i / 32 * 2;
          int both = unsigned(from, at + 48 + i);
          long column = first + i / 32 * 64 + i % 32;
          to.code(column, both & 15 | (fifths & 1) << 4);
          to.code(column + 32, both >> 4 | (fifths >> 1 & 1) << 4);
        }
      }
      case Q6_K -> {
        to.outerScales.set(SHORT, 2 * block, from.get(SHORT, at + 208));
        MemorySegment.copy(from, at + 192, to.scales, 16 * block, 16);
        for (int half = 0; half < 2; half++) {
          for (int i = 0; i < 32; i++) {
            int low = unsigned(from, at + 64 * half + i);
            int next = unsigned(from, at + 64 * half + 32 + i);
            int high = unsigned(from, at + 128 + 32 * half + i);
            long column = first + 128 * half + i;
            to.code(column, (low & 15 | (high & 3) << 4) - 32);
            to.code(column + 32, (next & 15 | (high >> 2 & 3) << 4) - 32);
            to.code(column + 64, (low >> 4 | (high >> 4 & 3) << 4) - 32);
            to.code(column + 96, (next >> 4 | (high >> 6) << 4) - 32);
          }
        }
      }
    }
  }

  /**
   * The numbers of a block of Q4_K or Q5_K: scales and minimums of 6 bits in 12 bytes, the last
   * four of each with their upper two bits in the first eight bytes. Minimums are subtracted there.
   */
  private static void scalesOfK(MemorySegment from, long at, long block, Piece to) {
    to.outerScales.set(SHORT, 2 * block, from.get(SHORT, at));
    to.outerMinimums.set(SHORT, 2 * block, from.get(SHORT, at + 2));
    for (int i = 0; i < 8; i++) {
      int scale;
      int minimum;
      if (i < 4) {
        scale = unsigned(from, at + 4 + i) & 63;
        minimum = unsigned(from, at + 8 + i) & 63;
      } else {
        int both = unsigned(from, at + 8 + i);
        scale = both & 15 | unsigned(from, at + i) >> 6 << 4;
        minimum = both >> 4 | unsigned(from, at + 4 + i) >> 6 << 4;
      }
      to.scales.set(ValueLayout.JAVA_BYTE, 8 * block + i, (byte) scale);
      to.minimums.set(ValueLayout.JAVA_BYTE, 8 * block + i, (byte) -minimum);
    }
  }
}
