package io.github.attention4j.layer;

import io.github.attention4j.Tensor;
import java.util.Objects;

/** What layers that work row by row ask of a tensor: a last dimension, and a name for messages. */
final class Rows {
  private Rows() {}

  static void check(String name, Tensor tensor) {
    if (Objects.requireNonNull(tensor, name).rank() < 1) {
      throw new IllegalArgumentException(
          name + ".rank must be at least 1 [..., dim]: " + name + ".rank=0");
    }
  }
}
