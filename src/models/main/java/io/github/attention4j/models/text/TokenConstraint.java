package io.github.attention4j.models.text;

/**
 * Decides which tokens may come next in one text.
 *
 * <p>Before each token, {@link #mask} removes the tokens that must not follow; the sampler then
 * chooses among the others, and {@link #accept} is told which one it chose. An instance belongs to
 * one text and one thread.
 */
public interface TokenConstraint {
  /**
   * Sets the logits of the tokens that must not come next to −∞.
   *
   * @param logits one for each token of the vocabulary. Modified.
   * @throws IllegalStateException if no token may follow
   */
  void mask(float[] logits);

  /**
   * Moves on by a token that was chosen.
   *
   * @param token a token that {@link #mask} left in
   */
  void accept(int token);

  /**
   * Tells whether the text must end here, so that the model need not choose a token that says so.
   *
   * @return whether nothing may follow; false unless overridden
   */
  default boolean complete() {
    return false;
  }
}
