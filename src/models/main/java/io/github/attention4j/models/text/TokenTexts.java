package io.github.attention4j.models.text;

import io.github.attention4j.models.Tokenizer;
import java.util.Arrays;
import java.util.Objects;

/**
 * The text of each token of a vocabulary as it appears in the middle of a text.
 *
 * <p>Special tokens have an empty text. A token that is part of a character has U+FFFD for it.
 * Immutable and safe for any number of threads. Creating an instance decodes the whole vocabulary,
 * so create one per tokenizer.
 */
public final class TokenTexts {
  private final String[] texts;

  private TokenTexts(String[] texts) {
    this.texts = texts;
  }

  /**
   * Decodes every token of a vocabulary.
   *
   * @param tokenizer the tokenizer, not needed afterwards
   * @return the texts
   * @throws IllegalStateException if the tokenizer is closed
   */
  public static TokenTexts of(Tokenizer tokenizer) {
    Objects.requireNonNull(tokenizer, "tokenizer");
    // Many tokenizers drop the space at the beginning of a text, so decode after another token.
    int[] before = tokenizer.encode("a", false).tokens();
    String start = tokenizer.decode(before, true);
    int[] pair = Arrays.copyOf(before, before.length + 1);
    String[] texts = new String[tokenizer.vocabulary()];
    for (int token = 0; token < texts.length; token++) {
      pair[before.length] = token;
      String text = tokenizer.decode(pair, true);
      texts[token] =
          text.startsWith(start)
              ? text.substring(start.length())
              : tokenizer.decode(new int[] {token}, true);
    }
    return new TokenTexts(texts);
  }

  /**
   * Returns the number of tokens.
   *
   * @return the size of the tokenizer's vocabulary
   */
  public int count() {
    return texts.length;
  }

  /**
   * Returns the text of a token.
   *
   * @param token from 0 below {@link #count()}
   * @return its text, empty for a special token
   * @throws IndexOutOfBoundsException if there is no such token
   */
  public String text(int token) {
    return texts[token];
  }
}
