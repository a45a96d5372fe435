package io.github.attention4j.models;

import java.util.List;

/**
 * A newly chosen token.
 *
 * @param token the token
 * @param logProbability the natural logarithm of its probability in the model's own distribution,
 *     before sampling changes it; NaN unless log-probabilities were requested
 * @param likeliest the likeliest tokens and their log-probabilities, likeliest first; as many as
 *     were requested
 * @param end whether it ends the text
 */
public record GeneratedToken(
    int token, double logProbability, List<Alternative> likeliest, boolean end) {
  public GeneratedToken {
    likeliest = List.copyOf(likeliest);
  }

  /** The most alternatives that can be requested. */
  public static final int MOST_ALTERNATIVES = 100;

  /**
   * A token that could have been chosen.
   *
   * @param token the token
   * @param logProbability as above
   */
  public record Alternative(int token, double logProbability) {}
}
