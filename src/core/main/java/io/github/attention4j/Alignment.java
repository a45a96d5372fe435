package io.github.attention4j;

/**
 * Where the queries are among the keys, that is, which corner of their matrix causal masks,
 * windows, chunks, ALiBi and relative positions are aligned to. With as many queries as keys the
 * two are the same; otherwise they differ, so there is no default. The keys that a causal mask
 * shows:
 *
 * <pre>
 *   2 queries, 4 keys      TOP_LEFT      BOTTOM_RIGHT
 *                          x . . .       x x x .
 *                          x x . .       x x x x
 * </pre>
 */
public enum Alignment {
  /** Query i is at key i: both begin at the same position. */
  TOP_LEFT,

  /**
   * Query i is at key {@code i + n - lenQ}, where n is the number of keys, or the batch's own
   * length if there is a {@link Mask#keyLengths(int...)}: both end at the same position, as when
   * new tokens attend to a cache that already contains them.
   */
  BOTTOM_RIGHT
}
