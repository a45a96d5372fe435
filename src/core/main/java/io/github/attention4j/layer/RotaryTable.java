package io.github.attention4j.layer;

import io.github.attention4j.DType;
import io.github.attention4j.Tensor;
import io.github.attention4j.internal.Checks;
import java.lang.foreign.Arena;
import java.util.Objects;

/**
 * The cosines and sines of the angles of a {@link RotaryEmbedding}: one row for each position, one
 * column for each pair of channels; the same rows for every batch, or rows for each batch.
 */
public final class RotaryTable {
  /** No model has wider heads. */
  private static final int WIDEST_HEAD = 1024;

  private final Tensor cos;
  private final Tensor sin;

  private RotaryTable(Tensor cos, Tensor sin) {
    this.cos = cos;
    this.sin = sin;
  }

  /**
   * Makes a table from existing tensors.
   *
   * @param cos {@link DType#F32} {@code [positions, rotaryDim / 2]}, or {@code [batch, positions,
   *     rotaryDim / 2]} with rows for each batch; contiguous. Kept, not modified.
   * @param sin of the same shape, contiguous. Kept, not modified.
   * @return the table
   * @throws IllegalArgumentException if types, ranks, shapes, strides or alignment do not fit
   */
  public static RotaryTable of(Tensor cos, Tensor sin) {
    Objects.requireNonNull(cos, "cos");
    Objects.requireNonNull(sin, "sin");
    if (cos.rank() != 2 && cos.rank() != 3) {
      throw new IllegalArgumentException(
          "cos.rank must be 2 [positions, pairs] or 3 [batch, positions, pairs]: cos.rank="
              + cos.rank());
    }
    Checks.input("cos", cos);
    Checks.input("sin", sin);
    Checks.contiguous("cos", cos);
    Checks.contiguous("sin", sin);
    Checks.shape("sin", sin, "the shape of cos", cos.shape());
    return new RotaryTable(cos, sin);
  }

  /**
   * Computes the table of the paper (Su et al., "RoFormer", 2021): at position p, pair i is rotated
   * by {@code p · base^(−2i / rotaryDim)}. Angles are computed in double.
   *
   * @param arena supplies the memory and decides how long it lives
   * @param positions the number of positions, from 0 on
   * @param rotaryDim the number of channels that are rotated, even
   * @param base 10 000 in the paper
   * @return the table
   * @throws IllegalArgumentException if positions is negative, rotaryDim is odd, less than 2, or
   *     more than 1024 and more than positions (so that the two must have been swapped), or base is
   *     not a positive number
   * @throws OutOfMemoryError if there is not enough memory
   */
  public static RotaryTable compute(Arena arena, int positions, int rotaryDim, double base) {
    return compute(arena, positions, rotaryDim, base, RotaryScaling.none());
  }

  /**
   * Computes a table with scaled frequencies: at position p, pair i is rotated by p times frequency
   * i of {@link RotaryScaling#frequencies}, and multiplied by {@link RotaryScaling#magnitude}.
   * Angles are computed in double.
   *
   * @param arena supplies the memory and decides how long it lives
   * @param positions the number of positions, from 0 on
   * @param rotaryDim the number of channels that are rotated, even
   * @param base 10 000 in the paper
   * @param scaling how the frequencies are scaled
   * @return the table
   * @throws IllegalArgumentException as {@link #compute(Arena, int, int, double)} and {@link
   *     RotaryScaling#frequencies}
   * @throws OutOfMemoryError if there is not enough memory
   */
  public static RotaryTable compute(
      Arena arena, int positions, int rotaryDim, double base, RotaryScaling scaling) {
    Objects.requireNonNull(arena, "arena");
    Objects.requireNonNull(scaling, "scaling");
    Checks.inRange("positions", positions, 0, Integer.MAX_VALUE);
    checkRotaryDim(rotaryDim);
    if (rotaryDim > WIDEST_HEAD && rotaryDim > positions) {
      throw new IllegalArgumentException(
          "rotaryDim must be the width of a head, and positions the length of a sequence; they may"
              + " be swapped: positions="
              + positions
              + ", rotaryDim="
              + rotaryDim);
    }
    double[] frequencies = scaling.frequencies(rotaryDim, base, positions);
    double magnitude = scaling.magnitude();
    Tensor cos = Tensor.allocate(arena, DType.F32, positions, frequencies.length);
    Tensor sin = Tensor.allocate(arena, DType.F32, positions, frequencies.length);
    for (int i = 0; i < frequencies.length; i++) {
      for (int p = 0; p < positions; p++) {
        cos.setFloat((float) (magnitude * Math.cos(p * frequencies[i])), p, i);
        sin.setFloat((float) (magnitude * Math.sin(p * frequencies[i])), p, i);
      }
    }
    return new RotaryTable(cos.asReadOnly(), sin.asReadOnly());
  }

  static void checkRotaryDim(int rotaryDim) {
    Checks.positive("rotaryDim", rotaryDim);
    Checks.multiple("rotaryDim", rotaryDim, "the channels of a pair", 2);
  }

  /**
   * Returns the cosines.
   *
   * @return {@code [positions, rotaryDim / 2]}, or {@code [batch, positions, rotaryDim / 2]}
   */
  public Tensor cos() {
    return cos;
  }

  /**
   * Returns the sines.
   *
   * @return {@code [positions, rotaryDim / 2]}, or {@code [batch, positions, rotaryDim / 2]}
   */
  public Tensor sin() {
    return sin;
  }

  /**
   * Returns the number of positions, from 0 on.
   *
   * @return the number of rows, for each batch
   */
  public long positions() {
    return cos.size(-2);
  }

  /** The number of rows of all batches. */
  long rows() {
    return isPerBatch() ? cos.size(0) * cos.size(1) : cos.size(0);
  }

  /** Whether there are rows for each batch. */
  boolean isPerBatch() {
    return cos.rank() == 3;
  }

  /**
   * Returns the number of channels that are rotated.
   *
   * @return twice the number of columns
   */
  public long rotaryDim() {
    return 2 * cos.size(-1);
  }
}
