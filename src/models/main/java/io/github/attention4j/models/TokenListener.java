package io.github.attention4j.models;

/** Receives each new token. */
@FunctionalInterface
public interface TokenListener {
  /**
   * Is told by a {@link Scheduler} that the text has left its queue, in the scheduler's thread; an
   * exception ends the text.
   */
  default void onStart() {}

  /**
   * Receives a token, in the generating thread.
   *
   * @param token the token, which is part of the result
   * @return whether to continue
   */
  boolean onToken(GeneratedToken token);
}
