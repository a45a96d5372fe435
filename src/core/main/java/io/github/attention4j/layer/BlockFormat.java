package io.github.attention4j.layer;

import io.github.attention4j.A4j;
import io.github.attention4j.DType;
import io.github.attention4j.Tensor;
import io.github.attention4j.internal.Checks;
import io.github.attention4j.internal.Descriptor;
import io.github.attention4j.internal.Downcalls;
import io.github.attention4j.internal.Workspaces;
import java.lang.foreign.Arena;
import java.lang.foreign.MemorySegment;
import java.util.Objects;

/**
 * The blocks that the weights of GGUF files come in, by their names there. A block has the columns
 * of a row that share a scale, or for the K formats and IQ4_XS a span of 256 of them whose groups
 * have scales of 4 to 8 bits. Weights are read bit by bit as the format defines them, and keep
 * their codes and scales: codes of 2 and 3 bits are kept in 4, those of 5 in 6, and those of 4 that
 * are unevenly spaced in 8.
 */
public enum BlockFormat {
  // In the order of enum a4j_block_format.

  /** 32 weights of 4 bits, symmetric: 4.5 bits a weight. */
  Q4_0(32, 18, 4, 32, Quantization.Scales.F16, false),

  /** 32 weights of 4 bits above a minimum: 5 bits a weight. */
  Q4_1(32, 20, 4, 32, Quantization.Scales.F16, true),

  /** 32 weights of 5 bits, symmetric: 5.5 bits a weight in the file, 6.5 here. */
  Q5_0(32, 22, 6, 32, Quantization.Scales.F16, false),

  /** 32 weights of 5 bits above a minimum: 6 bits a weight in the file, 7 here. */
  Q5_1(32, 24, 6, 32, Quantization.Scales.F16, true),

  /** 32 weights of 8 bits, symmetric: 8.5 bits a weight. */
  Q8_0(32, 34, 8, 32, Quantization.Scales.F16, false),

  /**
   * 256 weights of 2 bits above minimums, in groups of 16: 2.625 bits a weight in the file, 5.125
   * here.
   */
  Q2_K(256, 84, 4, 16, Quantization.Scales.NESTED, true),

  /**
   * 256 weights of 3 bits, symmetric, in groups of 16: 3.44 bits a weight in the file, 4.56 here.
   */
  Q3_K(256, 110, 4, 16, Quantization.Scales.NESTED, false),

  /**
   * 256 weights of 4 bits above minimums, in groups of 32: 4.5 bits a weight in the file, 4.625
   * here.
   */
  Q4_K(256, 144, 4, 32, Quantization.Scales.NESTED, true),

  /**
   * 256 weights of 5 bits above minimums, in groups of 32: 5.5 bits a weight in the file, 6.625
   * here.
   */
  Q5_K(256, 176, 6, 32, Quantization.Scales.NESTED, true),

  /** 256 weights of 6 bits, symmetric, in groups of 16: 6.5625 bits a weight. */
  Q6_K(256, 210, 6, 16, Quantization.Scales.NESTED, false),

  /**
   * 32 weights of 4 bits for 16 unevenly spaced values: 4.5 bits a weight in the file, 8.5 here.
   */
  IQ4_NL(32, 18, 8, 32, Quantization.Scales.F16, false),

  /** The same in groups of 32 of 256: 4.25 bits a weight in the file, 8.31 here. */
  IQ4_XS(256, 136, 8, 32, Quantization.Scales.NESTED, false),

  /**
   * 32 floats of 4 bits with a power of two (OCP Microscaling): 4.25 bits a weight in the file, 9
   * here.
   */
  MXFP4(32, 17, 8, 32, Quantization.Scales.F32, false);

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
   * Reads the blocks of a matrix and packs them, with as many threads as {@link A4j#threads()}
   * says. Blocks are read once, and nothing but the packed weights takes memory.
   *
   * @param arena where the packed weights live
   * @param blocks off-heap, row by row, as the file has them; may be mapped. Not modified.
   * @param rows of the matrix
   * @param columns of the matrix, a multiple of those of a block
   * @return the packed weights
   * @throws IllegalArgumentException if a size is 0, a block does not divide the columns, there are
   *     more or fewer bytes than blocks take, or they are on the heap
   * @throws OutOfMemoryError if there is no memory for the packed weights
   */
  public QuantizedWeights read(Arena arena, MemorySegment blocks, long rows, long columns) {
    Objects.requireNonNull(arena, "arena");
    Checks.positive("rows", rows);
    Checks.positive("columns", columns);
    requireBlocks(blocks, rows, "columns", columns);
    QuantizedWeights weights = QuantizedWeights.allocate(arena, quantization, rows, columns);
    try (Workspaces.Lease lease = Workspaces.lease()) {
      MemorySegment d =
          Descriptor.quantized(
              lease, A4j.threads(), quantization.storage(), DType.F32, 0, rows, columns, columns);
      Downcalls.blocksPack(d, ordinal(), blocks, Checks.first(weights.packed()));
    }
    return weights;
  }

  /**
   * Widens blocks to numbers. Each value is rounded at most once in float32: the products of its
   * scales and its code are exact.
   *
   * @param blocks off-heap, row by row, as the file has them; may be mapped. Not modified.
   * @param out {@code [..., columns]} of F32, BF16 or F16, contiguous; columns are a multiple of
   *     those of a block. Modified.
   * @throws IllegalArgumentException if type, sizes or strides do not fit, there are more or fewer
   *     bytes than the blocks of out take, they are on the heap, or out is read-only
   */
  public void widen(MemorySegment blocks, Tensor out) {
    Checks.hasRows("out", Objects.requireNonNull(out, "out"));
    Checks.realOutput("out", out);
    Checks.contiguous("out", out);
    long rows = Checks.rows(out);
    requireBlocks(blocks, rows, "out.columns", out.size(-1));
    if (out.count() == 0) {
      return;
    }
    try (Workspaces.Lease lease = Workspaces.lease()) {
      MemorySegment d =
          Descriptor.quantized(
              lease,
              A4j.threads(),
              quantization.storage(),
              out.dtype(),
              0,
              rows,
              out.size(-1),
              out.size(-1));
      Downcalls.blocksWiden(d, ordinal(), blocks, Checks.first(out));
    }
  }

  private void requireBlocks(MemorySegment blocks, long rows, String name, long columns) {
    Objects.requireNonNull(blocks, "blocks");
    Checks.multiple(name, columns, "the columns of a block of " + this, this.columns);
    Checks.equal(
        "blocks.byteSize",
        blocks.byteSize(),
        "rows * columns / " + this.columns + " * " + bytes,
        Checks.saturatedProduct(rows, columns / this.columns, bytes));
    if (!blocks.isNative()) {
      throw new IllegalArgumentException("blocks must be off-heap: " + blocks);
    }
  }
}
