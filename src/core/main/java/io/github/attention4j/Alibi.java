package io.github.attention4j;

import io.github.attention4j.internal.Checks;

/**
 * The slopes of attention with linear biases (Press et al., "Train Short, Test Long", 2022), for
 * {@link Attention.Builder#alibi}.
 */
public final class Alibi {
  private Alibi() {}

  /**
   * Returns the paper's slopes. If the number of heads is a power of two, they are the geometric
   * sequence that starts at {@code 2^(-8 / heads)} and has that ratio; otherwise they are the
   * slopes for the next smaller power, followed by every other slope for twice that power.
   *
   * @param heads the number of heads, at least 1
   * @return one slope for each head
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
