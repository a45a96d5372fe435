package io.github.attention4j.classics.t2t;

import io.github.attention4j.Tensor;
import io.github.attention4j.layer.Linear;

/** The projection to q, k or v: dense or convolutional; the other one is null. */
record Projection(Linear dense, Conv1d conv) {
  static Projection of(Linear dense) {
    return new Projection(dense, null);
  }

  static Projection of(Conv1d conv) {
    return new Projection(null, conv);
  }

  long dimIn() {
    return dense != null ? dense.dimIn() : conv.dimIn();
  }

  long dimOut() {
    return dense != null ? dense.dimOut() : conv.dimOut();
  }

  long width() {
    return dense != null ? 1 : conv.width();
  }

  long lengthOut(long len) {
    return dense != null ? len : conv.lengthOut(len);
  }

  void forward(Tensor x, Tensor out) {
    if (dense != null) {
      dense.forward(x, out);
    } else {
      conv.forward(x, out);
    }
  }
}
