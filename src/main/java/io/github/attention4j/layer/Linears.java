package io.github.attention4j.layer;

import io.github.attention4j.internal.Weights;

/** Reads projections as the layers of "Dive into Deep Learning" name them. */
final class Linears {
  private Linears() {}

  /**
   * Reads {@code name.weight} and {@code name.bias}, or the parameters {@code name} and {@code
   * biasName}; without bias where there is none.
   */
  static Linear read(Weights weights, String name, String biasName) {
    var weight = weights.get(name + ".weight", name);
    return weights.has(name + ".bias", biasName)
        ? Linear.of(weight, weights.get(name + ".bias", biasName))
        : Linear.of(weight);
  }
}
