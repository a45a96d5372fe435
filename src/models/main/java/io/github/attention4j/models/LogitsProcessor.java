package io.github.attention4j.models;

/**
 * A caller's own say in the next token: grammars and JSON are built on it. It is asked before each
 * token, and forbids tokens by −∞ or changes their logits in any other way.
 */
@FunctionalInterface
public interface LogitsProcessor {
  /**
   * Changes the logits of the next token.
   *
   * @param tokens the text so far, in the array's beginning; do not modify it or keep it
   * @param length how many tokens the text has
   * @param promptLength how many of them were given rather than generated
   * @param logits of all tokens. Modified; at least one must stay finite.
   */
  void process(int[] tokens, int length, int promptLength, float[] logits);

  /**
   * Tells whether the text must end here, so that the model need not choose a token that says so.
   *
   * @param tokens the text so far, in the array's beginning; do not modify it or keep it
   * @param length how many tokens the text has
   * @param promptLength how many of them were given rather than generated
   * @return whether nothing may follow; false unless overridden
   */
  default boolean completes(int[] tokens, int length, int promptLength) {
    return false;
  }
}
