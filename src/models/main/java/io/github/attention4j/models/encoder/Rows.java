package io.github.attention4j.models.encoder;

import io.github.attention4j.DType;
import io.github.attention4j.Sequences;
import io.github.attention4j.Tensor;
import java.lang.foreign.Arena;
import java.lang.foreign.MemorySegment;
import java.lang.foreign.ValueLayout;
import java.util.Arrays;
import java.util.function.IntUnaryOperator;

/** Copies, sums and averages of rows of contiguous matrices. */
public final class Rows {
  private static final ValueLayout.OfFloat FLOAT = ValueLayout.JAVA_FLOAT_UNALIGNED;
  private static final ValueLayout.OfShort SHORT = ValueLayout.JAVA_SHORT_UNALIGNED;

  private Rows() {}

  /** {@code to[row] = from[number]}, of any float type. */
  static void copy(Tensor from, long number, Tensor to, long row, int width) {
    MemorySegment target = to.segment();
    MemorySegment source = from.segment();
    long begin = to.offset() + row * width;
    long first = from.offset() + number * width;
    switch (from.dtype()) {
      case F32 ->
          MemorySegment.copy(
              source, first * Float.BYTES, target, begin * Float.BYTES, (long) width * Float.BYTES);
      case BF16 -> {
        for (int i = 0; i < width; i++) {
          int bits = source.getAtIndex(SHORT, first + i) << 16;
          target.setAtIndex(FLOAT, begin + i, Float.intBitsToFloat(bits));
        }
      }
      default -> {
        for (int i = 0; i < width; i++) {
          float value = Float.float16ToFloat(source.getAtIndex(SHORT, first + i));
          target.setAtIndex(FLOAT, begin + i, value);
        }
      }
    }
  }

  /** Moves some rows, in ascending order, to the beginning, and returns them. */
  static Tensor keep(Tensor x, int[] rows) {
    int width = Math.toIntExact(x.size(1));
    for (int i = 0; i < rows.length; i++) {
      copy(x, rows[i], x, i, width);
    }
    return x.slice(0, 0, rows.length);
  }

  /** {@code to[row] += from[number]}, both float32. */
  static void add(Tensor from, long number, Tensor to, long row, int width) {
    MemorySegment source = from.segment();
    MemorySegment target = to.segment();
    long begin = to.offset() + row * width;
    long first = from.offset() + number * width;
    for (long i = begin, j = first; i < begin + width; i++, j++) {
      target.setAtIndex(FLOAT, i, target.getAtIndex(FLOAT, i) + source.getAtIndex(FLOAT, j));
    }
  }

  /** The first row of each sequence. */
  static Tensor first(Tensor x, Sequences sequences, Arena arena) {
    return one(x, sequences, length -> 0, arena);
  }

  /** The last row of each sequence. */
  static Tensor last(Tensor x, Sequences sequences, Arena arena) {
    return one(x, sequences, length -> length - 1, arena);
  }

  private static Tensor one(Tensor x, Sequences sequences, IntUnaryOperator ofLength, Arena arena) {
    int width = Math.toIntExact(x.size(1));
    Tensor out = Tensor.allocate(arena, DType.F32, sequences.count(), width);
    int row = 0;
    for (int s = 0; s < sequences.count(); s++) {
      int length = sequences.length(s);
      copy(x, row + ofLength.applyAsInt(length), out, s, width);
      row += length;
    }
    return out;
  }

  /** The average of the rows of each sequence. */
  static Tensor mean(Tensor x, Sequences sequences, Arena arena) {
    int width = Math.toIntExact(x.size(1));
    Tensor out = Tensor.allocate(arena, DType.F32, sequences.count(), width);
    double[] sums = new double[width];
    int row = 0;
    for (int s = 0; s < sequences.count(); s++) {
      Arrays.fill(sums, 0);
      for (int i = 0; i < sequences.length(s); i++) {
        addTo(sums, x, row++, 1);
      }
      for (int i = 0; i < width; i++) {
        out.segment()
            .setAtIndex(FLOAT, (long) s * width + i, (float) (sums[i] / sequences.length(s)));
      }
    }
    return out;
  }

  /** {@code sums += weight · x[row]}. */
  public static void addTo(double[] sums, Tensor x, long row, double weight) {
    MemorySegment segment = x.segment();
    long begin = x.offset() + row * sums.length;
    for (int i = 0; i < sums.length; i++) {
      sums[i] += weight * segment.getAtIndex(FLOAT, begin + i);
    }
  }
}
