package io.github.attention4j.models;

import java.util.Arrays;

/**
 * The result of a generation.
 *
 * @param tokens the new tokens, including the one that ended the text
 * @param reason why the generation ended
 */
@SuppressWarnings("ArrayRecordComponent") // equals and hashCode are written out.
public record Generated(int[] tokens, Reason reason) {
  /** Why a generation ended. */
  public enum Reason {
    /** The last token ends a text. */
    END,

    /** As many tokens as were asked for. */
    LENGTH,

    /** The listener wanted no more. */
    STOPPED,

    /** It was cancelled; either all of the prompt was read or nothing. */
    CANCELLED
  }

  @Override
  public boolean equals(Object other) {
    return other instanceof Generated that
        && Arrays.equals(tokens, that.tokens)
        && reason == that.reason;
  }

  @Override
  public int hashCode() {
    return Arrays.hashCode(tokens);
  }

  /**
   * Shows the tokens and the reason.
   *
   * @return for people
   */
  @Override
  public String toString() {
    return Arrays.toString(tokens) + " " + reason;
  }
}
