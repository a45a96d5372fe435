package io.github.attention4j.layer;

import io.github.attention4j.Tensor;
import io.github.attention4j.internal.Descriptor;

/**
 * A function that layers apply to each element: by itself, in the product of a {@link Linear} layer
 * ({@link Linear#withActivation}), or as a gate.
 *
 * <p>Relative errors stay below 1e-6, apart from the rounding of x² in the tails of both forms of
 * GELU.
 */
public enum Activation {
  /** {@code x}. */
  IDENTITY(Descriptor.IDENTITY),

  /** {@code max(x, 0)}; NaN stays NaN. */
  RELU(Descriptor.RELU),

  /**
   * {@code x (1 + erf(x / √2)) / 2}, the exact form: PyTorch's {@code gelu}, Hugging Face's {@code
   * gelu} (Hendrycks and Gimpel, "Gaussian Error Linear Units", 2016).
   */
  GELU(Descriptor.GELU),

  /**
   * {@code x (1 + tanh(√(2/π) (x + 0.044715 x³))) / 2}: PyTorch's {@code gelu(approximate="tanh")},
   * Hugging Face's {@code gelu_new}, {@code gelu_fast} and {@code gelu_pytorch_tanh}.
   */
  GELU_TANH(Descriptor.GELU_TANH),

  /** {@code x sigmoid(x)}, also called swish. */
  SILU(Descriptor.SILU),

  /** {@code 1 / (1 + exp(-x))}. */
  SIGMOID(Descriptor.SIGMOID),

  /** The hyperbolic tangent. */
  TANH(Descriptor.TANH);

  private final int code;

  Activation(int code) {
    this.code = code;
  }

  int code() {
    return code;
  }

  /**
   * Applies the function to each element.
   *
   * @param x {@code [..., dim]}, equally spaced rows. Not modified, unless it is out.
   * @param out of the same shape, likewise; may be x. Modified.
   * @throws IllegalArgumentException if types, shapes, strides or alignment do not fit, or out is
   *     read-only or overlaps x without being it
   */
  public void forward(Tensor x, Tensor out) {
    Elementwise.run(this, Descriptor.SET, "x", x, 1, "y", null, out);
  }

  /**
   * Computes a gated unit: {@code out = activation(gate) · up}, element by element. With {@link
   * #SILU} it is SwiGLU, with {@link #GELU} or {@link #GELU_TANH} GEGLU, with {@link #SIGMOID} the
   * original GLU (Shazeer, "GLU Variants Improve Transformer", 2020).
   *
   * @param gate {@code [..., dim]}, equally spaced rows. Not modified, unless it is out.
   * @param up of the same shape, likewise. Not modified, unless it is out.
   * @param out of the same shape, likewise; may be gate or up. Modified.
   * @throws IllegalArgumentException if types, shapes, strides or alignment do not fit, or out is
   *     read-only or overlaps gate or up without being it
   */
  public void gate(Tensor gate, Tensor up, Tensor out) {
    Elementwise.run(this, Descriptor.MULTIPLY, "gate", gate, 1, "up", up, out);
  }
}
