package io.github.attention4j.classics.d2l;

import io.github.attention4j.Tensor;
import io.github.attention4j.internal.Weights;
import io.github.attention4j.layer.Linear;

/** Reads projections by the names that the book gives them. */
final class Linears {
  private Linears() {}

  /**
   * Reads {@code name.weight} and {@code name.bias}, or the parameters {@code name} and {@code
   * biasName}; the bias is optional.
   */
  static Linear read(Weights weights, String name, String biasName) {
    Tensor weight = weights.getStored(name + ".weight", name);
    return weights.has(name + ".bias", biasName)
        ? Linear.of(weight, weights.get(name + ".bias", biasName))
        : Linear.of(weight);
  }
}
