package io.github.attention4j.layer;

import io.github.attention4j.Tensor;
import io.github.attention4j.internal.Checks;
import java.lang.foreign.Arena;
import java.lang.foreign.MemorySegment;
import java.lang.foreign.ValueLayout;
import java.util.Objects;
import java.util.SplittableRandom;

/** Random weights for layers made from sizes. The same seed gives the same weights everywhere. */
final class RandomWeights {
  private final Arena arena;
  private final SplittableRandom random;

  RandomWeights(Arena arena, long seed) {
    this.arena = Objects.requireNonNull(arena, "arena");
    this.random = new SplittableRandom(seed);
  }

  /** Floats that are uniform in [-bound, bound). */
  Tensor uniform(double bound, long... shape) {
    Tensor tensor = Tensor.zeros(arena, shape);
    MemorySegment segment = tensor.segment();
    for (long i = 0; i < tensor.count(); i++) {
      float value = (float) (bound * (2 * random.nextDouble() - 1));
      segment.setAtIndex(ValueLayout.JAVA_FLOAT, i, value);
    }
    return tensor;
  }

  /** A projection with bias, initialised as PyTorch's {@code nn.Linear}. */
  Linear linear(long dimIn, long dimOut) {
    Checks.positive("dimIn", dimIn);
    Checks.positive("dimOut", dimOut);
    double bound = 1 / Math.sqrt(dimIn);
    return Linear.of(uniform(bound, dimOut, dimIn), uniform(bound, dimOut));
  }
}
