package io.github.attention4j;

/**
 * Where queries stand among the keys, that is, which corner of their matrix causal masks, windows,
 * chunks, ALiBi and relative positions start from. With as many queries as keys both are the same;
 * otherwise they are not, and nobody should have to guess. The picture shows what a causal mask
 * lets see:
 *
 * <pre>
 *   2 queries, 4 keys      TOP_LEFT      BOTTOM_RIGHT
 *                          x . . .       x x x .
 *                          x x . .       x x x x
 * </pre>
 */
public enum Alignment {
  /** Query i stands at key i: both begin at the same position. */
  TOP_LEFT,

  /**
   * Query i stands at key {@code i + n - lenQ}, where n is the number of keys (of the batch's own
   * keys where {@link Mask#keyLengths(int...)} gives it some): both end at the same position, as
   * when new tokens attend to a cache that holds them already.
   */
  BOTTOM_RIGHT
}
