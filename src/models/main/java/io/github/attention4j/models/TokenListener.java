package io.github.attention4j.models;

/** Is told of each new token. */
@FunctionalInterface
public interface TokenListener {
  /**
   * Takes a token, in the thread that generates.
   *
   * @param token the token, which is part of the result
   * @return whether to go on
   */
  boolean onToken(GeneratedToken token);
}
