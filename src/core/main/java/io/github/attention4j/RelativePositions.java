package io.github.attention4j;

import io.github.attention4j.internal.Checks;
import java.util.Objects;

/**
 * Embeddings of the distance between a query and a key, added to the keys and the values that the
 * query sees (Shaw et al., "Self-Attention with Relative Position Representations", 2018):
 *
 * <pre>
 *   logits[i, j] = scale · q[i] · (k[j] + E[j − p])       p the position of query i among the keys
 *   out[i]       = Σ w[i, j] · (v[j] + F[j − p])
 * </pre>
 *
 * <p>E and F are rows of two tables, one row for each distance. The tables may be shorter than the
 * keys: a distance beyond their ends uses the nearest row, or none. No matrix of queries and keys
 * is stored for the products with E or the sums with F, and distances beyond a table cost almost
 * nothing.
 *
 * <pre>{@code
 * RelativePositions positions = RelativePositions.clipped(16, keys, values); // [33, dim] each
 * Attention.builder().relative(Alignment.TOP_LEFT, positions).build().forward(q, k, v, out);
 * }</pre>
 *
 * <p>The attention types of tensor2tensor that use such tables, and the methods that make them:
 *
 * <pre>
 *   dot_product_relative               {@link #clipped}          rows −m … m, clipped
 *   dot_product_relative_v2            {@link #masked}           rows −(m − 1) … 0
 *   dot_product_unmasked_relative_v2   {@link #unmasked}         rows −(m − 1) … m − 1
 *   local_relative_mask_right          {@link #localMaskRight}   rows −(4 · block_length − 1) … 0
 * </pre>
 *
 * <p>Immutable, and safe for any number of threads. The tensors belong to the caller and are read
 * at each call.
 */
public final class RelativePositions {
  /** What is used for a distance beyond the ends of the tables. */
  public enum Beyond {
    /** The nearest row (Shaw et al. 2018). */
    CLIP,

    /** Nothing: key and value are unchanged (Huang et al. 2018). */
    ZERO
  }

  private final Tensor keys;
  private final Tensor values;
  private final long rows;
  private final long zero;
  private final Beyond beyond;
  private final long firstWithValues;

  private RelativePositions(
      Tensor keys, Tensor values, long zero, Beyond beyond, long firstWithValues) {
    this.keys = keys;
    this.values = values;
    this.rows = (keys != null ? keys : values).size(-2);
    this.zero = zero;
    this.beyond = beyond;
    this.firstWithValues = firstWithValues;
  }

  // ---- Making them ----

  /**
   * Makes relative positions from two tables.
   *
   * @param keys E, {@code [rows, dim]} for all heads or {@code [headsQ, rows, dim]}; null to add
   *     nothing to keys. Not modified.
   * @param values F, {@code [rows, dimV]} for all heads or {@code [headsQ, rows, dimV]}; null to
   *     add nothing to values. Not modified.
   * @param zero the row for distance 0, a query's own key; may be outside the table. The rows
   *     before it are for keys to the left.
   * @param beyond what is used for distances beyond the tables
   * @return the relative positions
   * @throws IllegalArgumentException if both tables are null, a table has neither rank 2 nor 3 or
   *     no rows, or their numbers of rows differ
   */
  public static RelativePositions of(Tensor keys, Tensor values, long zero, Beyond beyond) {
    Objects.requireNonNull(beyond, "beyond");
    if (keys == null && values == null) {
      throw new IllegalArgumentException("keys or values must not be null: both are");
    }
    checkTable("keys", keys);
    checkTable("values", values);
    if (keys != null && values != null) {
      Checks.equal("values", "keys", "rows", values.size(-2), keys.size(-2));
    }
    return new RelativePositions(keys, values, zero, beyond, 0);
  }

  private static void checkTable(String name, Tensor table) {
    if (table == null) {
      return;
    }
    if (table.rank() != 2 && table.rank() != 3) {
      throw new IllegalArgumentException(
          name
              + ".rank must be 2 [rows, dim] or 3 [heads, rows, dim]: "
              + name
              + ".rank="
              + table.rank());
    }
    Checks.positive(name + ".rows", table.size(-2));
  }

  /**
   * Makes relative positions for the distances from {@code -maxRelativePosition} to {@code
   * maxRelativePosition}; distances beyond use the first or last row. This is Shaw et al. 2018 and
   * tensor2tensor's {@code dot_product_relative}.
   *
   * @param maxRelativePosition tensor2tensor's {@code max_relative_position}, at least 1
   * @param keys {@code [2 · maxRelativePosition + 1, dim]}, or with a table for each head; null to
   *     add nothing to keys. Not modified.
   * @param values {@code [2 · maxRelativePosition + 1, dimV]}, likewise. Not modified.
   * @return the relative positions
   * @throws IllegalArgumentException as {@link #of}, and if maxRelativePosition is less than 1 or a
   *     table has a different number of rows
   */
  public static RelativePositions clipped(int maxRelativePosition, Tensor keys, Tensor values) {
    Checks.positive("maxRelativePosition", maxRelativePosition);
    long rows = 2L * maxRelativePosition + 1;
    return of(keys, values, maxRelativePosition, Beyond.CLIP)
        .withRows("2 * maxRelativePosition + 1", rows);
  }

  /**
   * Makes relative positions for the distances from {@code -(maxRelativePosition - 1)} to 0, with
   * nothing beyond. This is Huang et al., "Music Transformer", 2018, and tensor2tensor's {@code
   * dot_product_relative_v2}; combine it with a causal mask.
   *
   * @param maxRelativePosition tensor2tensor's {@code max_relative_position}, at least 1
   * @param keys {@code [maxRelativePosition, dim]}, or with a table for each head; null to add
   *     nothing to keys. Not modified.
   * @param values {@code [maxRelativePosition, dimV]}, likewise. Not modified.
   * @return the relative positions
   * @throws IllegalArgumentException as {@link #of}, and if maxRelativePosition is less than 1 or a
   *     table has a different number of rows
   */
  public static RelativePositions masked(int maxRelativePosition, Tensor keys, Tensor values) {
    Checks.positive("maxRelativePosition", maxRelativePosition);
    return of(keys, values, maxRelativePosition - 1L, Beyond.ZERO)
        .withRows("maxRelativePosition", maxRelativePosition);
  }

  /**
   * Makes relative positions for the distances from {@code -(maxRelativePosition - 1)} to {@code
   * maxRelativePosition - 1}, with nothing beyond. This is tensor2tensor's {@code
   * dot_product_unmasked_relative_v2}.
   *
   * @param maxRelativePosition tensor2tensor's {@code max_relative_position}, at least 1
   * @param keys {@code [2 · maxRelativePosition - 1, dim]}, or with a table for each head; null to
   *     add nothing to keys. Not modified.
   * @param values {@code [2 · maxRelativePosition - 1, dimV]}, likewise. Not modified.
   * @return the relative positions
   * @throws IllegalArgumentException as {@link #of}, and if maxRelativePosition is less than 1 or a
   *     table has a different number of rows
   */
  public static RelativePositions unmasked(int maxRelativePosition, Tensor keys, Tensor values) {
    Checks.positive("maxRelativePosition", maxRelativePosition);
    return of(keys, values, maxRelativePosition - 1L, Beyond.ZERO)
        .withRows("2 * maxRelativePosition - 1", 2L * maxRelativePosition - 1);
  }

  /**
   * Makes relative positions for the distances from {@code -(4 · blockLength - 1)} to 0. This is
   * tensor2tensor's {@code local_relative_mask_right}; combine it with {@code
   * LocalMasks.localMaskRight}. As in tensor2tensor, the table of values is not used by queries of
   * the first block, nor by any query if the sequence is shorter than two blocks.
   *
   * @param length the number of queries, and of keys
   * @param blockLength the number of queries and keys in a block, tensor2tensor's {@code
   *     block_length}, at least 1
   * @param keys {@code [4 · blockLength, dim]}, or with a table for each head; null to add nothing
   *     to keys. Not modified.
   * @param values {@code [4 · blockLength, dimV]}, likewise. Not modified.
   * @return the relative positions, for this length
   * @throws IllegalArgumentException as {@link #of}, and if length is negative, blockLength less
   *     than 1 or a table has a different number of rows
   */
  public static RelativePositions localMaskRight(
      int length, int blockLength, Tensor keys, Tensor values) {
    Checks.inRange("length", length, 0, Integer.MAX_VALUE);
    Checks.positive("blockLength", blockLength);
    long rows = 4L * blockLength;
    return of(keys, values, rows - 1, Beyond.ZERO)
        .withRows("4 * blockLength", rows)
        .valuesFrom(length < 2L * blockLength ? length : blockLength);
  }

  private RelativePositions withRows(String what, long wanted) {
    Checks.equal((keys != null ? "keys" : "values") + ".rows", rows, what, wanted);
    return this;
  }

  /**
   * Returns these relative positions with the table of values used only from some query on.
   *
   * @param firstQuery the first query that uses the table, counted from 0
   * @return new relative positions
   * @throws IllegalArgumentException if firstQuery is negative
   */
  public RelativePositions valuesFrom(long firstQuery) {
    Checks.inRange("firstQuery", firstQuery, 0, Long.MAX_VALUE);
    return new RelativePositions(keys, values, zero, beyond, firstQuery);
  }

  // ---- What they are ----

  /**
   * Returns the table that is added to keys.
   *
   * @return the table, or null
   */
  public Tensor keys() {
    return keys;
  }

  /**
   * Returns the table that is added to values.
   *
   * @return the table, or null
   */
  public Tensor values() {
    return values;
  }

  /**
   * Returns the number of distances in the tables.
   *
   * @return the number of rows
   */
  public long rows() {
    return rows;
  }

  /**
   * Returns the row for a query's own key.
   *
   * @return the row for distance 0
   */
  public long zero() {
    return zero;
  }

  /**
   * Returns what is used for distances beyond the tables.
   *
   * @return the nearest row or nothing
   */
  public Beyond beyond() {
    return beyond;
  }

  /**
   * Returns the first query that uses the table of values.
   *
   * @return its index, 0 for all queries
   */
  public long firstWithValues() {
    return firstWithValues;
  }
}
