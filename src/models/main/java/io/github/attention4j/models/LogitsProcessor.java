package io.github.attention4j.models;

/**
 * Lets a caller influence the next token, for example to enforce a grammar or JSON. It is called
 * before each token, and forbids tokens by −∞ or changes their logits in any other way.
 */
@FunctionalInterface
public interface LogitsProcessor {
  /**
   * Changes the logits of the next token.
   *
   * @param tokens the text so far, at the beginning of the array; do not modify it or keep it
   * @param length how many tokens the text has
   * @param promptLength how many of them belong to the prompt
   * @param logits the logits of all tokens. Modified; at least one must stay finite.
   */
  void process(int[] tokens, int length, int promptLength, float[] logits);

  /**
   * Tells whether the text is complete, so the model need not choose an end token.
   *
   * @param tokens the text so far, at the beginning of the array; do not modify it or keep it
   * @param length how many tokens the text has
   * @param promptLength how many of them belong to the prompt
   * @return whether nothing may follow; by default false
   */
  default boolean completes(int[] tokens, int length, int promptLength) {
    return false;
  }
}
