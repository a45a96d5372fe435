package io.github.attention4j.layer;

import io.github.attention4j.Tensor;

/** How the rows of a tensor lie, for layers that work row by row. */
final class Rows {
  private Rows() {}

  /**
   * Whether rows are evenly spaced only within each index of the first dimension, as in a slice of
   * every sequence of a batch. Then each index needs its own call.
   */
  static boolean needSplitting(Tensor x, Tensor out) {
    return x.rank() > 2
        && out.rank() == x.rank()
        && out.size(0) == x.size(0)
        && !(evenlySpaced(x) && evenlySpaced(out));
  }

  private static boolean evenlySpaced(Tensor tensor) {
    long follows = -1;
    for (int i = tensor.rank() - 2; i >= 0; i--) {
      if (tensor.size(i) != 1) {
        if (follows >= 0 && tensor.stride(i) != follows) {
          return false;
        }
        follows = tensor.stride(i) * tensor.size(i);
      }
    }
    return true;
  }
}
