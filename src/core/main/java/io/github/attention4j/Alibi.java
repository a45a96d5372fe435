package io.github.attention4j;

import io.github.attention4j.internal.Checks;

/**
 * The slopes of attention with linear biases (Press et al., "Train Short, Test Long", 2022), for
 * {@link Attention.Builder#alibi}.
 */
public final class Alibi {
  private Alibi() {}

  /**
   * Returns the paper's slopes: for a power of two heads the geometric sequence from {@code 2^(-8 /
   * heads)} with that ratio; for another number those of the next smaller power, followed by every
   * other one of the sequence for twice as many.
   *
   * @param heads the number of heads, at least 1
   * @return a slope for each head
   * @throws IllegalArgumentException if heads is less than 1
   */
  public static float[] slopes(int heads) {
    Checks.positive("heads", heads);
    int power = Integer.highestOneBit(heads);
    float[] slopes = new float[heads];
    for (int h = 0; h < heads; h++) {
      double exponent = h < power ? -8.0 * (h + 1) / power : -4.0 * (2 * (h - power) + 1) / power;
      slopes[h] = (float) Math.pow(2, exponent);
    }
    return slopes;
  }
}
