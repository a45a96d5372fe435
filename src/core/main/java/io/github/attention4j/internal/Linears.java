package io.github.attention4j.internal;

import io.github.attention4j.Tensor;
import io.github.attention4j.layer.Linear;
import io.github.attention4j.layer.QuantizedWeights;

/** Makes projections of weights that may come without a bias, as those of a file do. */
public final class Linears {
  private Linears() {}

  /** A projection with a bias, or without if that is null. */
  public static Linear of(Tensor weight, Tensor bias) {
    return bias == null ? Linear.of(weight) : Linear.of(weight, bias);
  }

  /** A projection with a bias, or without if that is null. */
  public static Linear of(QuantizedWeights weight, Tensor bias) {
    return bias == null ? Linear.of(weight) : Linear.of(weight, bias);
  }
}
