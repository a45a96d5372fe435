package io.github.attention4j.models.decoder;

import io.github.attention4j.Tensor;

/** A norm of either kind. */
@FunctionalInterface
interface RowNorm {
  /** Normalises each row; out may be x. */
  void forward(Tensor x, Tensor out);
}
