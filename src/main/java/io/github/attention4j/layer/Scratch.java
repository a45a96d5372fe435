package io.github.attention4j.layer;

import io.github.attention4j.DType;
import io.github.attention4j.Tensor;
import java.lang.foreign.Arena;

/**
 * Memory for what a layer holds between its steps, for the duration of one call. Its arena is
 * confined: closing one costs nobody else anything.
 */
final class Scratch implements AutoCloseable {
  private final Arena arena = Arena.ofConfined();

  Tensor floats(long... shape) {
    return Tensor.allocate(arena, DType.F32, shape);
  }

  Tensor ints(long... shape) {
    return Tensor.allocate(arena, DType.I32, shape);
  }

  /** For what others allocate, for as long. */
  Arena arena() {
    return arena;
  }

  @Override
  public void close() {
    arena.close();
  }
}
