package io.github.attention4j.models.decoder;

import io.github.attention4j.Tensor;
import io.github.attention4j.layer.Activation;
import io.github.attention4j.layer.Linear;
import java.util.List;

/**
 * A projection whose weights may be in several tensors, each for some of the outputs, so weights
 * that a file stores separately need not be copied.
 */
final class Projector {
  private final List<Linear> parts;

  Projector(List<Linear> parts) {
    this.parts = List.copyOf(parts);
  }

  Projector withActivation(Activation activation) {
    return new Projector(parts.stream().map(part -> part.withActivation(activation)).toList());
  }

  /** Sets {@code out [..., dimOut]}, whose rows have one stride. */
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
