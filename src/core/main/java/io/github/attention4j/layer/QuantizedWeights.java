package io.github.attention4j.layer;

import io.github.attention4j.A4j;
import io.github.attention4j.DType;
import io.github.attention4j.Tensor;
import io.github.attention4j.internal.Checks;
import io.github.attention4j.internal.Descriptor;
import io.github.attention4j.internal.Downcalls;
import io.github.attention4j.internal.LazyMemory;
import io.github.attention4j.internal.Workspaces;
import java.lang.foreign.Arena;
import java.lang.foreign.MemorySegment;
import java.util.Objects;

/**
 * A matrix of 8, 6 or 4 bits a weight, packed for the product of a {@link Linear} layer: {@link
 * Linear#of(QuantizedWeights)}.
 *
 * <p>They are packed once, when a model is loaded: from a file's own blocks ({@link
 * BlockFormat#read}), from codes and scales in any other order ({@link #pack}), or by quantising
 * numbers ({@link #quantize}). Products take them as they are. Inputs stay float32; a product
 * rounds them to integers of 16 bits in groups of 16, an error of about 2e-5 of the result.
 *
 * <p>Immutable, and safe for any number of threads.
 */
public final class QuantizedWeights {
  private static final long BLOCK_ROWS = 16;

  private static final float LARGEST_F16 = 65504;

  private final Quantization quantization;
  private final long rows;
  private final long columns;

  /** All bytes; as long as the rows in whole blocks. */
  private final Tensor packed;

  private QuantizedWeights(Quantization quantization, long rows, long columns, Tensor packed) {
    this.quantization = quantization;
    this.rows = rows;
    this.columns = columns;
    this.packed = packed;
  }

  /**
   * Quantises numbers: each group's scale is its largest magnitude over 127, 31 or 7, or with
   * minimums its range over 255, 63 or 15; minimums are rounded down, and codes to the nearest,
   * ties to even. An error is at most half a step, plus the rounding of the scale.
   *
   * @param arena where the packed weights live
   * @param weight {@code [rows, columns]} of F32, BF16 or F16, rows contiguous. Not modified.
   * @param quantization the format; scales are not nested
   * @return the packed weights
   * @throws IllegalArgumentException if type, rank, strides or alignment do not fit, a size is 0,
   *     the group does not divide the columns, scales are nested, a number is NaN or infinite, or a
   *     scale or minimum does not fit its type
   * @throws OutOfMemoryError if there is no memory for the packed weights
   */
  public static QuantizedWeights quantize(Arena arena, Tensor weight, Quantization quantization) {
    Checks.rank("weight", Objects.requireNonNull(weight, "weight"), 2);
    Checks.realInput("weight", weight);
    if (quantization.scales() == Quantization.Scales.NESTED) {
      throw new IllegalArgumentException(
          "scales must be F32 or F16 to quantise numbers: scales=NESTED");
    }
    long strideRow = Checks.rowStride("weight", weight);
    QuantizedWeights weights = allocate(arena, quantization, weight.size(0), weight.size(1));
    try (Workspaces.Lease lease = Workspaces.lease()) {
      MemorySegment d =
          Descriptor.quantized(
              lease,
              A4j.threads(),
              quantization.storage(),
              weight.dtype(),
              0,
              weights.rows,
              weights.columns,
              strideRow);
      Downcalls.quantize(d, Checks.first(weight), Checks.first(weights.packed));
    } catch (IllegalArgumentException refused) {
      requireFinite(weight, refused);
      requireRanges(weight, quantization, refused);
      throw refused;
    }
    return weights;
  }

  /** Names the first element that is not finite, if there is one. */
  private static void requireFinite(Tensor weight, IllegalArgumentException refused) {
    for (long row = 0; row < weight.size(0); row++) {
      for (long column = 0; column < weight.size(1); column++) {
        float value = weight.getFloat(row, column);
        if (!Float.isFinite(value)) {
          String name = "weight[" + row + ", " + column + "]";
          throw new IllegalArgumentException(
              name + " must be finite to be quantised: " + name + "=" + value, refused);
        }
      }
    }
  }

  /**
   * Names the first group whose numbers are too large for its scale or minimum, if there is one.
   */
  private static void requireRanges(
      Tensor weight, Quantization quantization, IllegalArgumentException refused) {
    int group = quantization.group();
    boolean minimums = quantization.minimums();
    float largest =
        quantization.scales() == Quantization.Scales.F16 ? LARGEST_F16 : Float.MAX_VALUE;
    double most = Math.min(Float.MAX_VALUE, (double) largest * quantization.largestCode());
    for (long row = 0; row < weight.size(0); row++) {
      for (long first = 0; first < weight.size(1); first += group) {
        double low = Double.POSITIVE_INFINITY;
        double high = Double.NEGATIVE_INFINITY;
        for (long column = first; column < first + group; column++) {
          low = Math.min(low, weight.getFloat(row, column));
          high = Math.max(high, weight.getFloat(row, column));
        }
        String name = "weight[" + row + ", " + first + " to " + (first + group - 1) + "]";
        if (minimums && low < -largest) {
          throw new IllegalArgumentException(
              "minimum of %s must be at least %s to be stored as %s: minimum=%s"
                  .formatted(name, -largest, quantization.scales(), low),
              refused);
        }
        double range = minimums ? high - low : Math.max(high, -low);
        if (range > most) {
          String kind = minimums ? "range" : "largest magnitude";
          throw new IllegalArgumentException(
              "%s of %s must be at most %s for a scale of %s: %s=%s"
                  .formatted(kind, name, most, quantization.scales(), kind, range),
              refused);
        }
      }
    }
  }

  /**
   * Packs weights that are quantised already. All arrays are contiguous, off-heap and in row-major
   * order, numbers little-endian.
   *
   * @param arena where the packed weights live
   * @param quantization the format
   * @param rows of the matrix
   * @param columns of the matrix
   * @param parts what the weights are made of. Not modified.
   * @return the packed weights
   * @throws IllegalArgumentException if a size is 0, the group does not divide the columns, an
   *     array is missing, not wanted or of another size, or a code of 6 or 4 bits does not fit
   * @throws OutOfMemoryError if there is no memory for the packed weights
   */
  public static QuantizedWeights pack(
      Arena arena, Quantization quantization, long rows, long columns, Parts parts) {
    QuantizedWeights weights = allocate(arena, quantization, rows, columns);
    weights.write(0, rows, parts);
    return weights;
  }

  /**
   * What quantised weights are made of, one element after the other, row by row. An array that the
   * format does not have is null.
   *
   * @param codes a byte for each weight, signed or, with minimums, unsigned
   * @param scales one for each group: floats, halves, or bytes if they are nested
   * @param minimums the same; null without minimums
   * @param outerScales halves, one for each {@link Quantization#SPAN} columns; null unless scales
   *     are nested
   * @param outerMinimums the same; null unless minimums are nested
   */
  public record Parts(
      MemorySegment codes,
      MemorySegment scales,
      MemorySegment minimums,
      MemorySegment outerScales,
      MemorySegment outerMinimums) {
    /**
     * Codes and their scales.
     *
     * @param codes a byte for each weight
     * @param scales one for each group
     * @return the parts
     */
    public static Parts of(MemorySegment codes, MemorySegment scales) {
      return new Parts(codes, scales, null, null, null);
    }

    /**
     * Codes with their scales and minimums.
     *
     * @param codes a byte for each weight
     * @param scales one for each group
     * @param minimums one for each group
     * @return the parts
     */
    public static Parts of(MemorySegment codes, MemorySegment scales, MemorySegment minimums) {
      return new Parts(codes, scales, minimums, null, null);
    }
  }

  /** Room for weights that are written block by block. */
  static QuantizedWeights allocate(
      Arena arena, Quantization quantization, long rows, long columns) {
    Objects.requireNonNull(arena, "arena");
    Objects.requireNonNull(quantization, "quantization");
    Checks.positive("rows", rows);
    Checks.positive("columns", columns);
    Checks.multiple("columns", columns, "group", quantization.group());
    if (quantization.scales() == Quantization.Scales.NESTED) {
      Checks.multiple("columns", columns, "the span of nested scales", Quantization.SPAN);
    }
    long bytes;
    try (Workspaces.Lease lease = Workspaces.lease()) {
      bytes =
          Downcalls.quantizedBytes(
              Descriptor.quantized(
                  lease, 1, quantization.storage(), DType.F32, 0, rows, columns, columns));
    }
    // BOOL, because it has one byte per element and is not read as numbers. Every byte is written.
    Tensor packed = Tensor.of(LazyMemory.allocate(arena, bytes), DType.BOOL, bytes);
    return new QuantizedWeights(quantization, rows, columns, packed);
  }

  /** Packs rows from firstRow on; it and, except at the end, count are multiples of 16. */
  void write(long firstRow, long count, Parts parts) {
    Objects.requireNonNull(parts, "parts");
    final boolean nested = quantization.scales() == Quantization.Scales.NESTED;
    final boolean minimums = quantization.minimums();
    long numbers = count * (columns / quantization.group()) * quantization.scales().bytes;
    long outer = count * (columns / Quantization.SPAN) * Short.BYTES;
    requirePart("codes", parts.codes, true, count * columns);
    requirePart("scales", parts.scales, true, numbers);
    requirePart("minimums", parts.minimums, minimums, numbers);
    requirePart("outerScales", parts.outerScales, nested, outer);
    requirePart("outerMinimums", parts.outerMinimums, nested && minimums, outer);
    try (Workspaces.Lease lease = Workspaces.lease()) {
      MemorySegment d =
          Descriptor.quantized(
              lease,
              A4j.threads(),
              quantization.storage(),
              DType.F32,
              firstRow,
              count,
              columns,
              columns);
      Downcalls.quantizedPack(
          d,
          parts.codes,
          parts.scales,
          orNull(parts.minimums),
          orNull(parts.outerScales),
          orNull(parts.outerMinimums),
          Checks.first(packed));
    }
  }

  private static MemorySegment orNull(MemorySegment segment) {
    return segment == null ? MemorySegment.NULL : segment;
  }

  private void requirePart(String name, MemorySegment part, boolean wanted, long bytes) {
    if ((part != null) != wanted) {
      throw new IllegalArgumentException(
          name + (wanted ? " are missing: " : " are not part of the format: ") + quantization);
    }
    if (wanted) {
      Checks.equal(name + ".byteSize", part.byteSize(), "the bytes of " + name, bytes);
      if (!part.isNative()) {
        throw new IllegalArgumentException(name + " must be off-heap: " + part);
      }
    }
  }

  /**
   * Widens rows: scale · code rounded to float32, plus the minimum rounded again, and then to the
   * type of out.
   *
   * @param firstRow the first row, counted from 0
   * @param out {@code [count, columns]} of F32, BF16 or F16, rows contiguous. Modified.
   * @throws IllegalArgumentException if types, sizes, strides or alignment do not fit, there are
   *     too few rows, or out is read-only
   */
  public void dequantize(long firstRow, Tensor out) {
    Checks.rank("out", Objects.requireNonNull(out, "out"), 2);
    Checks.realInput("out", out);
    Checks.output("out", out, out.dtype());
    Checks.equal("out.dim", out.size(1), "columns", columns);
    Checks.inRange("firstRow", firstRow, 0, rows);
    Checks.inRange("firstRow + out.rows", firstRow + out.size(0), 0, rows);
    Checks.reachable("weights", packed);
    Checks.disjoint("out", out, "weights", packed);
    long strideRow = Checks.rowStride("out", out);
    if (out.size(0) == 0) {
      return;
    }
    try (Workspaces.Lease lease = Workspaces.lease()) {
      MemorySegment d =
          Descriptor.quantized(
              lease,
              A4j.threads(),
              quantization.storage(),
              out.dtype(),
              firstRow,
              out.size(0),
              columns,
              strideRow);
      Downcalls.dequantize(d, Checks.first(packed), Checks.first(out));
    }
  }

  /** The same weights from a multiple of 16 rows on. */
  QuantizedWeights slice(long firstRow, long count) {
    Checks.multiple(
        "the first of some quantised rows", firstRow, "the rows of a block", BLOCK_ROWS);
    Checks.inRange("firstRow + count", firstRow + count, 0, rows);
    long blockBytes = packed.size(0) / Math.ceilDiv(rows, BLOCK_ROWS);
    Tensor part =
        packed.slice(
            0, firstRow / BLOCK_ROWS * blockBytes, Math.ceilDiv(count, BLOCK_ROWS) * blockBytes);
    return new QuantizedWeights(quantization, count, columns, part);
  }

  /** The packed bytes, for checks and for the product. */
  Tensor packed() {
    return packed;
  }

  /**
   * Returns how the weights are kept.
   *
   * @return the format
   */
  public Quantization quantization() {
    return quantization;
  }

  /**
   * Returns the rows of the matrix, which are the outputs of a projection.
   *
   * @return their number
   */
  public long rows() {
    return rows;
  }

  /**
   * Returns the columns of the matrix, which are the inputs of a projection.
   *
   * @return their number
   */
  public long columns() {
    return columns;
  }

  /**
   * Returns what the weights take.
   *
   * @return the size in bytes
   */
  public long byteSize() {
    return packed.size(0);
  }

  @Override
  public String toString() {
    return "QuantizedWeights[" + rows + ", " + columns + "] " + quantization;
  }
}
