package io.github.attention4j.classics.d2l;

import io.github.attention4j.Attention;
import io.github.attention4j.DType;
import io.github.attention4j.Extras;
import io.github.attention4j.Mask;
import io.github.attention4j.Tensor;
import io.github.attention4j.internal.Checks;
import io.github.attention4j.internal.Scratch;
import java.util.Arrays;
import java.util.Objects;

/**
 * How many keys are valid, the {@code valid_lens} of "Dive into Deep Learning" (Zhang, Lipton, Li,
 * Smola, chapter 11): one number for each batch, or one for each query. Keys from that number on
 * are padding.
 *
 * <pre>{@code
 * DotProductAttention.forward(queries, keys, values, ValidLens.of(2, 6), out);
 * }</pre>
 *
 * <p>The book replaces the score of a padded key by −10⁶ before softmax, with these consequences:
 *
 * <ul>
 *   <li>If a query has a valid key, the weight of padding is exactly 0. (Here that holds whatever
 *       the padding contains; in the book a NaN in a padded value spreads, since 0 · NaN is NaN.)
 *   <li>If a length is 0, all scores are the same, so all keys, padded ones included, have weight
 *       {@code 1 / lenK}, and the result is the plain average of the values. {@link
 *       Mask#keyLengths} gives 0 instead.
 *   <li>A length above lenK hides nothing.
 * </ul>
 *
 * <p>Immutable and safe for any number of threads. A tensor is read at each call, and belongs to
 * the caller.
 */
public final class ValidLens {
  private static final ValidLens NONE = new ValidLens(null, null);

  /** At most one is not null. */
  private final int[] lens;

  private final Tensor tensor;

  private ValidLens(int[] lens, Tensor tensor) {
    this.lens = lens;
    this.tensor = tensor;
  }

  /**
   * All keys are valid, the book's {@code None}.
   *
   * @return lengths that hide nothing
   */
  public static ValidLens none() {
    return NONE;
  }

  /**
   * Sets the number of valid keys of each batch.
   *
   * @param lens for each batch the number of keys, not negative. Copied.
   * @return the lengths
   * @throws IllegalArgumentException if a length is negative
   */
  public static ValidLens of(int... lens) {
    int[] own = Objects.requireNonNull(lens, "lens").clone();
    for (int b = 0; b < own.length; b++) {
      requireLength("[" + b + "]", own[b]);
    }
    return new ValidLens(own, null);
  }

  /**
   * Sets the number of valid keys of each batch, or of each query; the tensor is read at each call.
   *
   * @param lens {@link DType#I32} {@code [batch]} or {@code [batch, lenQ]}, not negative. Not
   *     modified.
   * @return the lengths
   * @throws IllegalArgumentException if the type is not I32, or the rank neither 1 nor 2
   */
  public static ValidLens of(Tensor lens) {
    if (Objects.requireNonNull(lens, "lens").dtype() != DType.I32) {
      throw new IllegalArgumentException(
          "validLens.dtype must be I32: validLens.dtype=" + lens.dtype());
    }
    if (lens.rank() != 1 && lens.rank() != 2) {
      throw new IllegalArgumentException(
          "validLens.rank must be 1 [batch] or 2 [batch, lenQ]: validLens.rank=" + lens.rank());
    }
    return new ValidLens(null, lens);
  }

  private static int requireLength(String index, int length) {
    if (length < 0) {
      throw new IllegalArgumentException(
          "validLens" + index + " must not be negative: validLens" + index + "=" + length);
    }
    return length;
  }

  // ---- For the layers ----

  /** Whether all keys are valid. */
  boolean isNone() {
    return this == NONE;
  }

  /** Whether each query has its own length. */
  boolean perQuery() {
    return tensor != null && tensor.rank() == 2;
  }

  /** Checks that the lengths match the queries. */
  void check(long batch, long lenQ) {
    if (lens != null) {
      Checks.equal("validLens.length", lens.length, "queries.batch", batch);
    } else if (tensor != null) {
      Checks.reachable("validLens", tensor);
      Checks.equal("validLens", "queries", "batch", tensor.size(0), batch);
      if (perQuery()) {
        Checks.equal("validLens", "queries", "lenQ", tensor.size(1), lenQ);
      }
    }
  }

  /** The number of valid keys of one query, at most lenK. */
  int length(long b, long i, long lenK) {
    int length;
    if (isNone()) {
      return Checks.arrayLength("keys.lenK", lenK);
    } else if (lens != null) {
      length = lens[(int) b];
    } else if (perQuery()) {
      length = requireLength("[" + b + ", " + i + "]", tensor.getInt(b, i));
    } else {
      length = requireLength("[" + b + "]", tensor.getInt(b));
    }
    return (int) Math.min(length, lenK);
  }

  private int[] lengths(long batch, long lenK) {
    int[] lengths = new int[Checks.arrayLength("queries.batch", batch)];
    Arrays.setAll(lengths, b -> length(b, 0, lenK));
    return lengths;
  }

  /**
   * Computes attention under these lengths, and the attention's own mask. Tensors are those of
   * {@link Attention#forward(Tensor, Tensor, Tensor, Tensor)}.
   *
   * @param weights as in {@link Extras#weights}, or null
   */
  void attend(
      Attention attention,
      Tensor q,
      Tensor k,
      Tensor v,
      Tensor out,
      Tensor weights,
      Scratch scratch) {
    Extras extras = weights == null ? Extras.none() : Extras.none().weights(weights);
    if (isNone()) {
      attention.forward(q, k, v, out, extras);
      return;
    }
    long batch = q.size(0);
    long lenQ = q.size(-2);
    long lenK = k.size(-2);
    check(batch, lenQ);
    Mask valid =
        perQuery()
            ? perQueryMask(batch, lenQ, lenK, scratch)
            : Mask.keyLengths(lengths(batch, lenK));
    attention.withMask(attention.mask().and(valid)).forward(q, k, v, out, extras);
    if (lenK > 0) {
      averageEmptyRows(v, out, weights, lenQ, lenK, scratch);
    }
  }

  private Mask perQueryMask(long batch, long lenQ, long lenK, Scratch scratch) {
    Tensor lengths = scratch.ints(batch, lenQ);
    for (long b = 0; b < batch; b++) {
      for (long i = 0; i < lenQ; i++) {
        lengths.setInt(length(b, i, lenK), b, i);
      }
    }
    return Mask.keyLengths(lengths);
  }

  /** Replaces the zero rows of queries without keys by the average, a run of queries at a time. */
  private void averageEmptyRows(
      Tensor v, Tensor out, Tensor weights, long lenQ, long lenK, Scratch scratch) {
    Tensor zero = null;
    for (long b = 0; b < out.size(0); b++) {
      long i = 0;
      while (i < lenQ) {
        if (length(b, i, lenK) > 0) {
          i += perQuery() ? 1 : lenQ;
          continue;
        }
        long first = i;
        while (i < lenQ && length(b, i, lenK) == 0) {
          i += perQuery() ? 1 : lenQ;
        }
        zero = zero == null ? scratch.floats(1, 1, 1, 1) : zero;
        average(zero, v.slice(0, b, 1), out.slice(0, b, 1).slice(-2, first, i - first));
        if (weights != null) {
          weights.slice(0, b, 1).slice(-2, first, i - first).fill(1f / lenK);
        }
      }
    }
  }

  /** Averages the values: with queries and keys of 0, every key has the same weight. */
  private static void average(Tensor zero, Tensor v, Tensor out) {
    Tensor queries = zero.expand(2, out.size(-2));
    Tensor keys = zero.expand(2, v.size(-2));
    if (v.rank() == 4) {
      queries = queries.expand(1, out.size(1));
      keys = keys.expand(1, v.size(1));
    } else {
      queries = queries.select(1, 0);
      keys = keys.select(1, 0);
    }
    Attention.builder().build().forward(queries, keys, v, out);
  }
}
