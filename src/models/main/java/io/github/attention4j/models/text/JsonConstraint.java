package io.github.attention4j.models.text;

import java.util.Objects;
import java.util.Set;

/**
 * Lets a model write one JSON object and nothing else.
 *
 * <p>Only tokens whose text continues a JSON object (RFC 8259) may follow; once the object is
 * closed, the text ends. Objects and arrays nest at most 64 deep, and at most 20 characters of
 * white space follow one another outside strings. If the model stops at a limit of tokens, the text
 * is the beginning of an object.
 *
 * <p>An instance belongs to one text and one thread.
 */
public final class JsonConstraint implements TokenConstraint {
  private final TokenTexts texts;
  private final Set<Integer> ends;
  private final JsonPrefix written = new JsonPrefix();
  private final JsonPrefix tried = new JsonPrefix();

  /**
   * Starts an object.
   *
   * @param texts the texts of the tokens
   * @param ends the tokens that end a text
   */
  public JsonConstraint(TokenTexts texts, Set<Integer> ends) {
    this.texts = Objects.requireNonNull(texts, "texts");
    this.ends = Set.copyOf(ends);
  }

  @Override
  public void mask(float[] logits) {
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

  @Override
  public void accept(int token) {
    if (!ends.contains(token) && !written.accept(texts.text(token))) {
      throw new IllegalArgumentException(
          "token must continue the JSON object: token=%d, text=\"%s\""
              .formatted(token, texts.text(token)));
    }
  }

  /**
   * Tells whether the object is closed.
   *
   * @return whether the text so far is a JSON object
   */
  @Override
  public boolean complete() {
    return written.complete();
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
