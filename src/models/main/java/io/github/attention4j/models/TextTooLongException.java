package io.github.attention4j.models;

/** Thrown where truncation is refused and a text has more tokens than the limit. */
public final class TextTooLongException extends IllegalArgumentException {
  private static final long serialVersionUID = 1;

  private final long index;
  private final int tokens;
  private final int limit;

  /**
   * Creates an exception.
   *
   * @param name what is too long, in the message
   * @param index the number of the text among those of the call, from 0
   * @param tokens how many tokens it has, special ones included
   * @param limit how many are read at most
   */
  public TextTooLongException(String name, long index, int tokens, int limit) {
    super(
        name
            + " must not exceed the limit, as truncation is refused: tokens="
            + tokens
            + ", limit="
            + limit);
    this.index = index;
    this.tokens = tokens;
    this.limit = limit;
  }

  /**
   * Returns which text is too long.
   *
   * @return its number among the texts of the call, from 0
   */
  public long index() {
    return index;
  }

  /**
   * Returns the length of the text.
   *
   * @return how many tokens it has, special ones included
   */
  public int tokens() {
    return tokens;
  }

  /**
   * Returns the limit.
   *
   * @return how many tokens are read at most
   */
  public int limit() {
    return limit;
  }
}
