package io.github.attention4j.models;

/** Receives each new token. */
@FunctionalInterface
public interface TokenListener {
  /**
   * Receives a token, in the generating thread.
   *
   * @param token the token, which is part of the result
   * @return whether to continue
   */
  boolean onToken(GeneratedToken token);
}
