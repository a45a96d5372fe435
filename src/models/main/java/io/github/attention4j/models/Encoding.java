package io.github.attention4j.models;

import java.util.Arrays;
import java.util.Objects;

/**
 * The tokens of a text, or of two texts read together.
 *
 * <p>The arrays have one element per token. They are not copied; do not modify them.
 *
 * @param tokens the numbers of the tokens
 * @param types the token types, such as BERT's 0 and 1 for the first and the second text
 * @param parts which text a token belongs to: {@link #FIRST}, {@link #SECOND}, or {@link #SPECIAL}
 *     for a token that the tokenizer added
 */
public record Encoding(int[] tokens, int[] types, int[] parts) {
  /** A token of the first text. */
  public static final int FIRST = 0;

  /** A token of the second text. */
  public static final int SECOND = 1;

  /** A token that belongs to no text. */
  public static final int SPECIAL = -1;

  /**
   * Checks the lengths.
   *
   * @throws IllegalArgumentException if the arrays differ in length
   */
  public Encoding {
    Objects.requireNonNull(tokens, "tokens");
    Objects.requireNonNull(types, "types");
    Objects.requireNonNull(parts, "parts");
    if (types.length != tokens.length || parts.length != tokens.length) {
      throw new IllegalArgumentException(
          "tokens, types and parts must have one length: tokens="
              + tokens.length
              + ", types="
              + types.length
              + ", parts="
              + parts.length);
    }
  }

  /**
   * Returns the number of tokens.
   *
   * @return special tokens included
   */
  public int length() {
    return tokens.length;
  }

  /**
   * Truncates to a number of tokens, keeping all special tokens. Of two texts the longer one is cut
   * first, as in Hugging Face's strategy {@code longest_first}: a text that needs at most half of
   * the room is kept whole, and two longer ones get half each.
   *
   * @param limit the most tokens, special ones included
   * @param fromLeft whether to drop the beginning of a text rather than its end
   * @return this encoding if it is short enough, otherwise a shorter one
   * @throws IllegalArgumentException if the special tokens alone exceed the limit
   */
  public Encoding truncated(int limit, boolean fromLeft) {
    if (length() <= limit) {
      return this;
    }
    int first = count(FIRST);
    int second = count(SECOND);
    int special = length() - first - second;
    int room = limit - special;
    if (room < 0) {
      throw new IllegalArgumentException(
          "limit must have room for the special tokens: limit="
              + limit
              + ", special tokens="
              + special);
    }
    int shorter = Math.min(first, second);
    int longer = Math.max(shorter, room - shorter);
    if (shorter + longer > room) {
      shorter = room / 2;
      longer = room - shorter;
    }
    boolean firstIsLonger = first > second;
    int keepFirst = Math.min(first, firstIsLonger ? longer : shorter);
    int keepSecond = Math.min(second, firstIsLonger ? shorter : longer);
    int[] kept = new int[special + keepFirst + keepSecond];
    int count = 0;
    int[] seen = new int[2];
    int[] from = {fromLeft ? first - keepFirst : 0, fromLeft ? second - keepSecond : 0};
    int[] to = {from[0] + keepFirst, from[1] + keepSecond};
    for (int i = 0; i < length(); i++) {
      int part = parts[i];
      if (part == SPECIAL) {
        kept[count++] = i;
      } else {
        int at = seen[part]++;
        if (at >= from[part] && at < to[part]) {
          kept[count++] = i;
        }
      }
    }
    return new Encoding(take(tokens, kept), take(types, kept), take(parts, kept));
  }

  private int count(int part) {
    int count = 0;
    for (int each : parts) {
      count += each == part ? 1 : 0;
    }
    return count;
  }

  private static int[] take(int[] from, int[] kept) {
    int[] taken = new int[kept.length];
    for (int i = 0; i < kept.length; i++) {
      taken[i] = from[kept[i]];
    }
    return taken;
  }

  /** Compares the arrays' contents. */
  @Override
  public boolean equals(Object other) {
    return other instanceof Encoding that
        && Arrays.equals(tokens, that.tokens)
        && Arrays.equals(types, that.types)
        && Arrays.equals(parts, that.parts);
  }

  @Override
  public int hashCode() {
    return Arrays.hashCode(tokens);
  }

  /**
   * Shows the tokens.
   *
   * @return for example {@code Encoding[101, 7592, 102]}
   */
  @Override
  public String toString() {
    return "Encoding" + Arrays.toString(tokens);
  }
}
