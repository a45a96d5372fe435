package io.github.attention4j.models.decoder;

import io.github.attention4j.Tensor;
import io.github.attention4j.layer.Activation;
import io.github.attention4j.layer.Linear;
import java.util.List;

/**
 * A projection whose rows may lie in several tensors, each of which gives some of the outputs: so
 * weights that a file keeps apart are used where they are.
 */
final class Projector {
  private final List<Linear> parts;

  Projector(List<Linear> parts) {
    this.parts = List.copyOf(parts);
  }

  Projector withActivation(Activation activation) {
    return new Projector(parts.stream().map(part -> part.withActivation(activation)).toList());
  }

  /** Sets {@code out [..., dimOut]}, rows at one distance. */
  void forward(Tensor x, Tensor out) {
    if (parts.size() == 1) {
      parts.getFirst().forward(x, out);
      return;
    }
    long column = 0;
    for (Linear part : parts) {
      part.forward(x, out.slice(out.rank() - 1, column, part.dimOut()));
      column += part.dimOut();
    }
  }

  /** Adds to {@code out [..., dimOut]}. */
  void forwardAdd(Tensor x, Tensor out) {
    if (parts.size() == 1) {
      parts.getFirst().forwardAdd(x, out);
      return;
    }
    long column = 0;
    for (Linear part : parts) {
      part.forwardAdd(x, out.slice(out.rank() - 1, column, part.dimOut()));
      column += part.dimOut();
    }
  }
}
