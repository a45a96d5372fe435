package io.github.attention4j;

import io.github.attention4j.internal.Checks;

/**
 * The sizes of an attention over plain arrays, whose elements are in row-major order:
 *
 * <pre>
 *   q    [batch, headsQ,  lenQ, dim]       out  [batch, headsQ, lenQ, dimV]
 *   k    [batch, headsKv, lenK, dim]
 *   v    [batch, headsKv, lenK, dimV]
 * </pre>
 *
 * @param batch the number of batches
 * @param headsQ the number of query heads, a multiple of headsKv
 * @param headsKv the number of key and value heads
 * @param lenQ the number of queries
 * @param lenK the number of keys
 * @param dim the width of a query and a key
 * @param dimV the width of a value
 */
public record AttentionShape(
    long batch, long headsQ, long headsKv, long lenQ, long lenK, long dim, long dimV) {
  /**
   * Makes a shape.
   *
   * @throws IllegalArgumentException if a size is negative
   */
  public AttentionShape {
    Checks.inRange("batch", batch, 0, Long.MAX_VALUE);
    Checks.inRange("headsQ", headsQ, 0, Long.MAX_VALUE);
    Checks.inRange("headsKv", headsKv, 0, Long.MAX_VALUE);
    Checks.inRange("lenQ", lenQ, 0, Long.MAX_VALUE);
    Checks.inRange("lenK", lenK, 0, Long.MAX_VALUE);
    Checks.inRange("dim", dim, 0, Long.MAX_VALUE);
    Checks.inRange("dimV", dimV, 0, Long.MAX_VALUE);
  }

  /**
   * Makes the shape of self-attention: as many keys as queries, in as many heads of the same width.
   *
   * @param batch the number of batches
   * @param heads the number of heads
   * @param length the number of queries and of keys
   * @param dim the width of a head
   * @return the shape
   * @throws IllegalArgumentException if a size is negative
   */
  public static AttentionShape of(long batch, long heads, long length, long dim) {
    return new AttentionShape(batch, heads, heads, length, length, dim, dim);
  }

  /** The length of an array for out. */
  int outLength() {
    long count = Checks.saturatedProduct(batch, headsQ, lenQ, dimV);
    Checks.inRange("batch * headsQ * lenQ * dimV", count, 0, Checks.MAX_ARRAY_LENGTH);
    return (int) count;
  }
}
