package io.github.attention4j.models.weights;

import io.github.attention4j.Tensor;
import io.github.attention4j.layer.LayerNorm;
import io.github.attention4j.layer.RmsNorm;

/** A layer norm or a root-mean-square norm. */
@FunctionalInterface
public interface RowNorm {
  /** Normalises each row; out may be x. */
  void forward(Tensor x, Tensor out);

  /** A layer norm; bias may be null. */
  static RowNorm layer(Tensor weight, Tensor bias, double epsilon) {
    return LayerNorm.of(weight, bias, epsilon)::forward;
  }

  /** A root-mean-square norm. */
  static RowNorm rms(Tensor weight, double epsilon) {
    return RmsNorm.of(weight, epsilon)::forward;
  }
}
