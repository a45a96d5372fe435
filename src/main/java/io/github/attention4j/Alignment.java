package io.github.attention4j;

/**
 * Which corner of the matrix of queries and keys a causal mask starts from. With as many queries as
 * keys both are the same triangle; otherwise they are not, and nobody should have to guess.
 *
 * <pre>
 *   2 queries, 4 keys      TOP_LEFT      BOTTOM_RIGHT
 *                          x . . .       x x x .
 *                          x x . .       x x x x
 * </pre>
 */
public enum Alignment {
  /** Query i sees key j if {@code j <= i}: both begin at the same position. */
  TOP_LEFT,

  /**
   * Query i sees key j if {@code j <= i + n - lenQ}, where n is the number of keys (of the batch's
   * own keys where {@link Mask#keyLengths} is given): both end at the same position, as when new
   * tokens attend to a cache that holds them already.
   */
  BOTTOM_RIGHT
}
