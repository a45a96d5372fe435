package io.github.attention4j.demo;

import java.util.SplittableRandom;

/** Draws tokens from {@code softmax(logits / temperature)}, the same ones for the same seed. */
final class Sampler {
  private final float temperature;
  private final SplittableRandom random;

  /**
   * @param temperature above 0; small values prefer the likeliest tokens
   */
  Sampler(float temperature, long seed) {
    this.temperature = temperature;
    this.random = new SplittableRandom(seed);
  }

  /**
   * The next token.
   *
   * @param logits one per token of the vocabulary. Not modified.
   */
  int next(float[] logits) {
    float[] weights = new float[logits.length];
    for (int i = 0; i < weights.length; i++) {
      weights[i] = logits[i] / temperature;
    }
    PlainLayers.softmax(weights, weights.length);
    double left = random.nextDouble();
    for (int i = 0; i < weights.length; i++) {
      left -= weights[i];
      if (left < 0) {
        return i;
      }
    }
    return PlainCausalLm.argmax(logits);
  }
}
