package io.github.attention4j.classics.paper;

import io.github.attention4j.DType;
import io.github.attention4j.Tensor;
import io.github.attention4j.internal.Checks;
import io.github.attention4j.layer.Elementwise;
import java.lang.foreign.Arena;
import java.util.Objects;

/**
 * The sinusoidal positions of "Attention Is All You Need" (Vaswani et al., 2017, section 3.5):
 *
 * <pre>
 *   P[pos, 2i]     = sin(pos / 10000^(2i / dim))
 *   P[pos, 2i + 1] = cos(pos / 10000^(2i / dim))
 * </pre>
 *
 * <pre>{@code
 * PositionalEncoding positions = PositionalEncoding.sinusoidal(arena, 1000, dim);
 * positions.forward(x, out); // out = x + P, "Dive into Deep Learning"'s PositionalEncoding
 * Tensor encoding = positions.encoding(seqLen); // P without x
 * }</pre>
 *
 * <p>When generating token by token, pass the position of each step as {@code start}. (The book's
 * own prediction adds position 0 at every step, a bug that is not reproduced here.)
 *
 * <p>Immutable and safe for any number of threads; the memory of the table belongs to the arena's
 * owner.
 */
public final class PositionalEncoding {
  private static final double BASE = 10_000;

  private final Tensor table;

  private PositionalEncoding(Tensor table) {
    this.table = table;
  }

  /**
   * Computes the table. Angles are computed in double.
   *
   * @param arena supplies the memory and decides how long it lives
   * @param maxLen the number of positions, from 0 on
   * @param dim the width of the model, the book's {@code num_hiddens}; even
   * @return the encoding
   * @throws IllegalArgumentException if maxLen is negative, or dim is odd or less than 2
   * @throws OutOfMemoryError if the memory cannot be allocated
   */
  public static PositionalEncoding sinusoidal(Arena arena, int maxLen, int dim) {
    Objects.requireNonNull(arena, "arena");
    Checks.inRange("maxLen", maxLen, 0, Integer.MAX_VALUE);
    if (dim < 2 || dim % 2 != 0) {
      throw new IllegalArgumentException(
          "dim must be even, a sine and a cosine for each frequency: dim=" + dim);
    }
    Tensor table = Tensor.allocate(arena, DType.F32, maxLen, dim);
    for (int i = 0; i < dim; i += 2) {
      double wavelength = Math.pow(BASE, (double) i / dim);
      for (int position = 0; position < maxLen; position++) {
        double angle = position / wavelength;
        table.setFloat((float) Math.sin(angle), position, i);
        table.setFloat((float) Math.cos(angle), position, i + 1);
      }
    }
    return new PositionalEncoding(Tensor.of(table.segment().asReadOnly(), DType.F32, maxLen, dim));
  }

  /**
   * Returns the number of positions.
   *
   * @return {@code maxLen}
   */
  public int maxLen() {
    return (int) table.size(0);
  }

  /**
   * Returns the encoding of the first positions.
   *
   * @param len the number of positions, at most {@link #maxLen}
   * @return a read-only view {@code [len, dim]}
   * @throws IllegalArgumentException if len is negative or more than there are
   */
  public Tensor encoding(long len) {
    checkPositions(0, len);
    return table.slice(0, 0, len);
  }

  /**
   * Adds the encoding: {@code out = x + P}.
   *
   * @param x {@link DType#F32} {@code [batch, len, dim]}. Not modified, unless it is out.
   * @param out of the same shape; may be x. Modified.
   * @throws IllegalArgumentException if types, shapes, strides or alignment do not fit, len is more
   *     than maxLen, or out is read-only or overlaps x without being the same view
   */
  public void forward(Tensor x, Tensor out) {
    forward(x, 1, 0, out);
  }

  /**
   * Scales and adds the encoding from a position on: {@code out = scale · x + P[start + i]}. Models
   * scale their embeddings by {@code sqrt(dim)}.
   *
   * @param x {@link DType#F32} {@code [batch, len, dim]}. Not modified, unless it is out.
   * @param scale finite
   * @param start the position of the first row
   * @param out of the same shape; may be x. Modified.
   * @throws IllegalArgumentException as {@link #forward(Tensor, Tensor)}, or if scale is infinite
   *     or NaN, or start negative
   */
  public void forward(Tensor x, double scale, long start, Tensor out) {
    Checks.rank("x", Objects.requireNonNull(x, "x"), 3);
    Objects.requireNonNull(out, "out");
    if (!Float.isFinite((float) scale)) {
      throw new IllegalArgumentException("scale must be a finite float: scale=" + scale);
    }
    Checks.equal("x.dim", x.size(2), "encoding.dim", table.size(1));
    Checks.shape("out", out, "the shape of x", x.shape());
    Checks.input("x", x);
    Checks.output("out", out);
    Checks.packedRows("x", x);
    Checks.packedRows("out", out);
    Checks.sameOrDisjoint("out", out, "x", x);
    checkPositions(start, x.size(1));
    Tensor rows = table.slice(0, start, x.size(1));
    for (long b = 0; b < x.size(0); b++) {
      Elementwise.scaleAdd(x.select(0, b), (float) scale, rows, out.select(0, b));
    }
  }

  private void checkPositions(long start, long len) {
    if (start < 0 || len < 0 || len > maxLen() - start) {
      throw new IllegalArgumentException(
          "positions must lie in the table: start="
              + start
              + ", len="
              + len
              + ", maxLen="
              + maxLen());
    }
  }
}
