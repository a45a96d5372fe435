package io.github.attention4j.models;

import java.util.List;

/**
 * A token as soon as it is chosen.
 *
 * @param token the token
 * @param logProbability the natural logarithm of its probability in the model's own distribution,
 *     before sampling changes it; NaN unless log-probabilities were asked for
 * @param likeliest the likeliest tokens with theirs, likeliest first; as many as were asked for
 * @param end whether it ends the text
 */
public record GeneratedToken(
    int token, double logProbability, List<Alternative> likeliest, boolean end) {
  public GeneratedToken {
    likeliest = List.copyOf(likeliest);
  }

  /** The most alternatives that can be asked for. */
  public static final int MOST_ALTERNATIVES = 100;

  /**
   * A token that could have been chosen.
   *
   * @param token the token
   * @param logProbability as above
   */
  public record Alternative(int token, double logProbability) {}
}
