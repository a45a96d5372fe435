package io.github.attention4j.layer;

import io.github.attention4j.DType;
import io.github.attention4j.Tensor;
import io.github.attention4j.internal.Checks;
import java.lang.foreign.Arena;
import java.util.Objects;

/**
 * Cosines and sines of the angles by which {@link RotaryEmbedding} turns: one row for each
 * position, one column for each pair of channels; the same rows for every batch, or each batch's
 * own. Immutable and safe for any number of threads; the memory belongs to the arena's owner.
 */
public final class RotaryTable {
  private final Tensor cos;
  private final Tensor sin;

  private RotaryTable(Tensor cos, Tensor sin) {
    this.cos = cos;
    this.sin = sin;
  }

  /**
   * Takes tables that exist already.
   *
   * @param cos {@link DType#F32} {@code [positions, rotaryDim / 2]}, or {@code [batch, positions,
   *     rotaryDim / 2]} where each batch has its own; contiguous. Kept, not modified.
   * @param sin of the same shape, contiguous. Kept, not modified.
   * @return the table
   * @throws IllegalArgumentException if types, ranks, shapes, strides or alignment do not fit
   * @throws IllegalStateException if a tensor's arena is closed or confined to another thread
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
   * Computes the table of the paper (Su et al., "RoFormer", 2021): at position p, pair i turns by
   * {@code p · base^(−2i / rotaryDim)}. Angles are computed in double.
   *
   * @param arena supplies the memory and decides how long it lives
   * @param positions the number of positions, from 0 on
   * @param rotaryDim the number of channels that are turned, even
   * @param base 10 000 in the paper
   * @return the table
   * @throws IllegalArgumentException if positions is negative, rotaryDim is odd or less than 2, or
   *     base is not a positive number
   * @throws OutOfMemoryError if the memory is not to be had
   */
  public static RotaryTable compute(Arena arena, int positions, int rotaryDim, double base) {
    return compute(arena, positions, rotaryDim, base, RotaryScaling.none());
  }

  /**
   * Computes the table of the paper with other frequencies: at position p, pair i turns by p times
   * the i-th of {@link RotaryScaling#frequencies}, and lengthens by {@link
   * RotaryScaling#magnitude}. Angles are computed in double.
   *
   * @param arena supplies the memory and decides how long it lives
   * @param positions the number of positions, from 0 on
   * @param rotaryDim the number of channels that are turned, even
   * @param base 10 000 in the paper
   * @param scaling how the angles are slowed down
   * @return the table
   * @throws IllegalArgumentException if positions is negative, rotaryDim is odd or less than 2, or
   *     base is not a positive number; and as {@link RotaryScaling#frequencies}
   * @throws OutOfMemoryError if the memory is not to be had
   */
  public static RotaryTable compute(
      Arena arena, int positions, int rotaryDim, double base, RotaryScaling scaling) {
    Objects.requireNonNull(arena, "arena");
    Objects.requireNonNull(scaling, "scaling");
    Checks.inRange("positions", positions, 0, Integer.MAX_VALUE);
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
   * @return the number of rows, of each batch where it has its own
   */
  public long positions() {
    return cos.size(-2);
  }

  /** The number of rows of all batches together. */
  long rows() {
    return isPerBatch() ? cos.size(0) * cos.size(1) : cos.size(0);
  }

  /** Whether each batch has rows of its own, one list after the other. */
  boolean isPerBatch() {
    return cos.rank() == 3;
  }

  /**
   * Returns how many channels are turned.
   *
   * @return twice the number of columns
   */
  public long rotaryDim() {
    return 2 * cos.size(-1);
  }
}
