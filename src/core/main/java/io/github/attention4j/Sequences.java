package io.github.attention4j;

import io.github.attention4j.internal.Checks;
import java.util.Arrays;
import java.util.Objects;

/**
 * The lengths of sequences that are stored one after the other in one dimension, without padding
 * ({@code cu_seqlens} in other libraries), for {@link Attention#forwardPacked}.
 *
 * <pre>{@code
 * Sequences.ofLengths(5, 1, 7) // rows 0 to 4, row 5, rows 6 to 12
 * }</pre>
 *
 * <p>An immutable value, safe for any number of threads.
 */
public final class Sequences {
  /** Where each sequence begins, and finally where the last one ends. */
  private final int[] begins;

  private final int longest;

  private Sequences(int[] begins) {
    this.begins = begins;
    int most = 0;
    for (int s = 0; s + 1 < begins.length; s++) {
      most = Math.max(most, begins[s + 1] - begins[s]);
    }
    this.longest = most;
  }

  /**
   * Makes sequences from their lengths.
   *
   * @param lengths for each sequence its number of rows, which may be 0. Not modified.
   * @return the sequences
   * @throws IllegalArgumentException if a length is negative, or their sum exceeds 2³¹ − 1
   */
  public static Sequences ofLengths(int... lengths) {
    int[] begins = new int[Objects.requireNonNull(lengths, "lengths").length + 1];
    for (int s = 0; s < lengths.length; s++) {
      Checks.inRange("lengths[" + s + "]", lengths[s], 0, Integer.MAX_VALUE);
      Checks.inRange("the sum of lengths", (long) begins[s] + lengths[s], 0, Integer.MAX_VALUE);
      begins[s + 1] = begins[s] + lengths[s];
    }
    return new Sequences(begins);
  }

  /**
   * Makes sequences from their first rows, the {@code cu_seqlens} of other libraries.
   *
   * @param begins {@link DType#I32} or {@link DType#I64} {@code [sequences + 1]}, ascending from 0
   *     to the total number of rows, at most 2³¹ − 1; read once, by this method. Not modified.
   * @return the sequences
   * @throws IllegalArgumentException if the type is neither I32 nor I64, the rank not 1, there is
   *     no element, the first is not 0, one is less than the one before it, or one exceeds 2³¹ − 1
   */
  public static Sequences ofBegins(Tensor begins) {
    Checks.integers("begins", Objects.requireNonNull(begins, "begins"));
    Checks.rank("begins", begins, 1);
    Checks.inRange("begins.length", begins.size(0), 1, Checks.MAX_ARRAY_LENGTH);
    int[] own = new int[(int) begins.size(0)];
    for (int s = 0; s < own.length; s++) {
      long begin = begins.getLong(s);
      if (s > 0 && begin < own[s - 1]) {
        throw new IllegalArgumentException(
            "begins must ascend: begins[%d]=%d, begins[%d]=%d"
                .formatted(s - 1, own[s - 1], s, begin));
      }
      Checks.inRange("begins[" + s + "]", begin, 0, s == 0 ? 0 : Integer.MAX_VALUE);
      own[s] = (int) begin;
    }
    return new Sequences(own);
  }

  /**
   * Returns the number of sequences.
   *
   * @return the number, including empty ones
   */
  public int count() {
    return begins.length - 1;
  }

  /**
   * Returns the number of rows of one sequence.
   *
   * @param sequence the index of the sequence
   * @return its length
   * @throws IndexOutOfBoundsException if there is no such sequence
   */
  public int length(int sequence) {
    Objects.checkIndex(sequence, count());
    return begins[sequence + 1] - begins[sequence];
  }

  /**
   * Returns the number of rows of all sequences.
   *
   * @return the sum of the lengths
   */
  public int total() {
    return begins[begins.length - 1];
  }

  /**
   * Returns the length of the longest sequence.
   *
   * @return the largest length, 0 if there is no sequence
   */
  public int longest() {
    return longest;
  }

  /** Must not be modified. */
  int[] begins() {
    return begins;
  }

  /**
   * Lists where the sequences begin.
   *
   * @return for example {@code Sequences[0, 5, 6, 13]}
   */
  @Override
  public String toString() {
    return "Sequences" + Arrays.toString(begins);
  }
}
