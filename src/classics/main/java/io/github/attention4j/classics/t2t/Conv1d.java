package io.github.attention4j.classics.t2t;

import io.github.attention4j.Tensor;
import io.github.attention4j.internal.Checks;
import io.github.attention4j.internal.Linears;
import io.github.attention4j.layer.Linear;
import java.util.Locale;
import java.util.Objects;

/**
 * A convolution along the length of sequences; as in every neural network, it is a
 * cross-correlation:
 *
 * <pre>
 *   out[b, t] = Σ_tap  kernel[tap] · x[b, t + tap − left] + bias      rows outside x count as 0
 * </pre>
 *
 * <p>Nothing is unfolded or padded: each tap is a matrix product over shifted views of input and
 * output, added to the sum of the taps before it.
 *
 * <p>All tensors are {@link io.github.attention4j.DType#F32}.
 */
public final class Conv1d {
  /** How a sequence is padded. */
  public enum Padding {
    /** Nothing: the result is shorter by {@code width - 1} rows. */
    VALID,
    /** {@code (width - 1) / 2} rows on the left and {@code width / 2} on the right. */
    SAME,
    /** {@code width - 1} rows on the left, so that nothing looks ahead; the width must be odd. */
    LEFT
  }

  /** One projection per tap; the first has the bias. */
  private final Linear[] taps;

  private final Padding padding;
  private final int left;

  private Conv1d(Linear[] taps, Padding padding, int left) {
    this.taps = taps;
    this.padding = padding;
    this.left = left;
  }

  /**
   * Makes a convolution.
   *
   * @param kernel {@code [width, dimOut, dimIn]}, rows contiguous. TensorFlow's {@code [width, in,
   *     out]} and PyTorch's {@code [out, in, width]} are copied to it with {@link Tensor#copyFrom}
   *     and {@link Tensor#transpose}. Kept, not modified.
   * @param bias {@code [dimOut]}, contiguous; or null if there is none. Kept, not modified.
   * @param padding how a sequence is padded
   * @return the convolution
   * @throws IllegalArgumentException if types, ranks, sizes, strides or alignment do not fit, a
   *     size is 0, or the width is even under padding LEFT
   */
  public static Conv1d of(Tensor kernel, Tensor bias, Padding padding) {
    Checks.rank("kernel", Objects.requireNonNull(kernel, "kernel"), 3);
    Objects.requireNonNull(padding, "padding");
    Checks.inRange("kernel.width", kernel.size(0), 1, Integer.MAX_VALUE);
    int width = (int) kernel.size(0);
    requireWidth("kernel.width", width, padding);
    int left =
        switch (padding) {
          case VALID -> 0;
          case SAME -> (width - 1) / 2;
          case LEFT -> width - 1;
        };
    Linear[] taps = new Linear[width];
    for (int tap = 0; tap < width; tap++) {
      Tensor weight = kernel.select(0, tap);
      taps[tap] = Linears.of(weight, tap == left ? bias : null);
    }
    return new Conv1d(taps, padding, left);
  }

  /** Refuses an even width if the original does. */
  static void requireWidth(String name, long width, Padding padding) {
    if (padding == Padding.LEFT && width % 2 == 0) {
      throw new IllegalArgumentException(
          name + " must be odd under padding LEFT: " + name + "=" + width);
    }
  }

  /**
   * Returns how many rows of input each row of the result sees.
   *
   * @return the number of taps
   */
  public int width() {
    return taps.length;
  }

  /**
   * Returns how sequences are padded.
   *
   * @return the padding that was chosen
   */
  public Padding padding() {
    return padding;
  }

  /**
   * Returns the input width.
   *
   * @return the number of elements of an input row
   */
  public long dimIn() {
    return taps[0].dimIn();
  }

  /**
   * Returns the output width.
   *
   * @return the number of elements of an output row
   */
  public long dimOut() {
    return taps[0].dimOut();
  }

  /**
   * Returns how long the result is.
   *
   * @param len the length of the input
   * @return the same, or under padding VALID {@code len - (width - 1)}
   * @throws IllegalArgumentException if len is less than {@code width - 1} under padding VALID
   */
  public long lengthOut(long len) {
    if (padding != Padding.VALID) {
      return len;
    }
    if (len < taps.length - 1) {
      throw new IllegalArgumentException(
          String.format(
              Locale.ROOT,
              "x.len must be at least width - 1 under padding VALID: x.len=%d, width=%d",
              len,
              taps.length));
    }
    return len - (taps.length - 1);
  }

  /**
   * Convolves each sequence.
   *
   * @param x {@code [batch, len, dimIn]}, contiguous rows, equally spaced within a sequence. Not
   *     modified.
   * @param out {@code [batch, lengthOut, dimOut]}, likewise. Modified.
   * @throws IllegalArgumentException if types, sizes, strides or alignment do not fit, or out is
   *     read-only or overlaps x, the kernel or the bias
   */
  public void forward(Tensor x, Tensor out) {
    Checks.rank("x", Objects.requireNonNull(x, "x"), 3);
    Checks.rank("out", Objects.requireNonNull(out, "out"), 3);
    Checks.equal("x.dim", x.size(2), "kernel.dimIn", dimIn());
    long len = x.size(1);
    long lenOut = lengthOut(len);
    Checks.shape("out", out, "[batch, lengthOut, dimOut]", x.size(0), lenOut, dimOut());
    Checks.disjoint("out", out, "x", x);
    taps[left].forward(x.slice(1, 0, lenOut), out);
    for (int tap = 0; tap < taps.length; tap++) {
      long from = Math.max(0, left - tap);
      long rows = Math.min(lenOut, len + left - tap) - from;
      if (tap != left && rows > 0) {
        taps[tap].forwardAdd(x.slice(1, from + tap - left, rows), out.slice(1, from, rows));
      }
    }
  }
}
