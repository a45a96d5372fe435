package io.github.attention4j.models.text;

import io.github.attention4j.models.LogitsProcessor;
import java.util.Arrays;
import java.util.Objects;
import java.util.Set;

/**
 * Restricts a model's output to a single JSON object.
 *
 * <p>Only tokens whose text continues a JSON object (RFC 8259) may follow; once the object is
 * complete, the text ends. Objects and arrays nest at most 64 deep, and at most 20 characters of
 * white space follow one another outside strings. If the limit of tokens ends the text, it is the
 * beginning of an object.
 *
 * <p>An instance remembers how far it has read a text, so each text needs its own. Not safe for use
 * by several threads.
 */
public final class JsonConstraint implements LogitsProcessor {
  private final TokenTexts texts;
  private final Set<Integer> ends;
  private final JsonPrefix written = new JsonPrefix();
  private final JsonPrefix tried = new JsonPrefix();

  /** The generated tokens that {@code written} has read. */
  private int[] taken = new int[16];

  private int count;

  /**
   * Creates a constraint for one text.
   *
   * @param texts the texts of the tokens
   * @param ends the tokens that end a text
   */
  public JsonConstraint(TokenTexts texts, Set<Integer> ends) {
    this.texts = Objects.requireNonNull(texts, "texts");
    this.ends = Set.copyOf(ends);
  }

  /**
   * Sets the logits of tokens that must not come next to −∞.
   *
   * @throws IllegalArgumentException if the generated text is not the beginning of a JSON object
   * @throws IllegalStateException if no token may follow
   */
  @Override
  public void process(int[] tokens, int length, int promptLength, float[] logits) {
    read(tokens, length, promptLength);
    boolean any = false;
    for (int token = 0; token < logits.length; token++) {
      if (mayFollow(token)) {
        any = true;
      } else {
        logits[token] = Float.NEGATIVE_INFINITY;
      }
    }
    if (!any) {
      throw new IllegalStateException(
          written.complete()
              ? "the JSON object is complete, and the model has no token that ends a text"
              : "no token of the vocabulary continues the JSON object");
    }
  }

  /**
   * Tells whether the object is complete.
   *
   * @throws IllegalArgumentException if the generated text is not the beginning of a JSON object
   */
  @Override
  public boolean completes(int[] tokens, int length, int promptLength) {
    read(tokens, length, promptLength);
    return written.complete();
  }

  /** Reads the newly generated tokens, or all of them if this is another text. */
  private void read(int[] tokens, int length, int promptLength) {
    int generated = length - promptLength;
    if (count > generated
        || !Arrays.equals(taken, 0, count, tokens, promptLength, promptLength + count)) {
      written.copyFrom(new JsonPrefix());
      count = 0;
    }
    while (count < generated) {
      int token = tokens[promptLength + count];
      if (!ends.contains(token) && !written.accept(texts.text(token))) {
        throw new IllegalArgumentException(
            "token must continue the JSON object: token=%d, text=\"%s\""
                .formatted(token, texts.text(token)));
      }
      if (count == taken.length) {
        taken = Arrays.copyOf(taken, 2 * count);
      }
      taken[count++] = token;
    }
  }

  private boolean mayFollow(int token) {
    if (ends.contains(token)) {
      return written.complete();
    }
    if (written.complete() || token >= texts.count() || texts.text(token).isEmpty()) {
      return false;
    }
    tried.copyFrom(written);
    return tried.accept(texts.text(token));
  }
}
