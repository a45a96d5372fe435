package io.github.attention4j.bench;

import java.util.Random;

/**
 * The numbers of one problem, the same for every contender and every run: independent normal
 * deviates, so that scaled scores are about as far apart as a trained model's.
 */
record Inputs(float[] q, float[] k, float[] v) {
  Inputs(Shape shape) {
    this(
        normal(new Random(1), shape.queryCount()),
        normal(new Random(2), shape.keyCount()),
        normal(new Random(3), shape.valueCount()));
  }

  /** {@code count} normal deviates; long arrays repeat after a prime number of them. */
  static float[] normal(Random random, int count) {
    int period = 1_000_003;
    float[] values = new float[count];
    for (int i = 0; i < count; i++) {
      values[i] = i < period ? (float) random.nextGaussian() : values[i - period];
    }
    return values;
  }
}
