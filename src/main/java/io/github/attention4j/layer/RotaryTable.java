package io.github.attention4j.layer;

import io.github.attention4j.DType;
import io.github.attention4j.Tensor;
import io.github.attention4j.internal.Checks;
import java.lang.foreign.Arena;
import java.util.Objects;

/**
 * Cosines and sines of the angles by which {@link RotaryEmbedding} turns: one row for each
 * position, one column for each pair of channels. Immutable and safe for any number of threads; the
 * memory belongs to the arena's owner.
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
   * @param cos {@link DType#F32} {@code [positions, rotaryDim / 2]}, contiguous. Kept, not
   *     modified.
   * @param sin of the same shape, contiguous. Kept, not modified.
   * @return the table
   * @throws IllegalArgumentException if types, ranks, shapes, strides or alignment do not fit
   * @throws IllegalStateException if a tensor's arena is closed or confined to another thread
   */
  public static RotaryTable of(Tensor cos, Tensor sin) {
    Checks.rank("cos", Objects.requireNonNull(cos, "cos"), 2);
    Objects.requireNonNull(sin, "sin");
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
    Objects.requireNonNull(arena, "arena");
    Checks.inRange("positions", positions, 0, Integer.MAX_VALUE);
    Checks.positive("rotaryDim", rotaryDim);
    Checks.multiple("rotaryDim", rotaryDim, "the channels of a pair", 2);
    if (!(base > 0) || Double.isInfinite(base)) {
      throw new IllegalArgumentException("base must be a positive number: base=" + base);
    }
    int pairs = rotaryDim / 2;
    Tensor cos = Tensor.allocate(arena, DType.F32, positions, pairs);
    Tensor sin = Tensor.allocate(arena, DType.F32, positions, pairs);
    for (int i = 0; i < pairs; i++) {
      double frequency = Math.pow(base, -2.0 * i / rotaryDim);
      for (int p = 0; p < positions; p++) {
        cos.setFloat((float) Math.cos(p * frequency), p, i);
        sin.setFloat((float) Math.sin(p * frequency), p, i);
      }
    }
    return new RotaryTable(cos.asReadOnly(), sin.asReadOnly());
  }

  /**
   * Returns the cosines.
   *
   * @return {@code [positions, rotaryDim / 2]}
   */
  public Tensor cos() {
    return cos;
  }

  /**
   * Returns the sines.
   *
   * @return {@code [positions, rotaryDim / 2]}
   */
  public Tensor sin() {
    return sin;
  }

  /**
   * Returns the number of positions, from 0 on.
   *
   * @return the number of rows
   */
  public long positions() {
    return cos.size(0);
  }

  /**
   * Returns how many channels are turned.
   *
   * @return twice the number of columns
   */
  public long rotaryDim() {
    return 2 * cos.size(1);
  }
}
