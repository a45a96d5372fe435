package io.github.attention4j.models;

/**
 * Turns text into the tokens that a model reads, and back.
 *
 * <p>{@link HuggingFaceTokenizer} reads a {@code tokenizer.json}. Callers that already have tokens
 * need no tokenizer: every model also accepts {@code int[]}.
 *
 * <p>An implementation must be safe for any number of threads, must neither pad nor truncate, and
 * must accept every Java string, including empty ones and unpaired surrogates.
 */
public interface Tokenizer extends AutoCloseable {
  /**
   * Encodes a text, with the special tokens that the model expects around it.
   *
   * @param text any text
   * @return its tokens
   * @throws IllegalStateException if the tokenizer is closed
   */
  default Encoding encode(String text) {
    return encode(text, true);
  }

  /**
   * Encodes a text.
   *
   * @param text any text
   * @param special whether to add the special tokens that the model expects around it
   * @return its tokens
   * @throws IllegalStateException if the tokenizer is closed
   */
  Encoding encode(String text, boolean special);

  /**
   * Encodes two texts to be read together, such as a query and a passage, with the special tokens
   * that the model expects around and between them.
   *
   * @param first any text
   * @param second any text
   * @return their tokens
   * @throws IllegalStateException if the tokenizer is closed
   */
  Encoding encodePair(String first, String second);

  /**
   * Counts the tokens of a text, special ones included.
   *
   * @param text any text
   * @return the length of {@code encode(text).tokens()}
   * @throws IllegalStateException if the tokenizer is closed
   */
  default int count(String text) {
    return encode(text).length();
  }

  /**
   * Turns tokens back into text.
   *
   * @param tokens from 0 below {@link #vocabulary()}. Not modified.
   * @param skipSpecial whether to leave special tokens out
   * @return the text
   * @throws IllegalStateException if the tokenizer is closed
   */
  String decode(int[] tokens, boolean skipSpecial);

  /**
   * Returns the size of the vocabulary; tokens are numbers from 0 up to this, exclusive.
   *
   * @return the largest token plus 1
   */
  int vocabulary();

  /** Releases native resources. Waits for calls that are running; closing again is a no-op. */
  @Override
  void close();
}
