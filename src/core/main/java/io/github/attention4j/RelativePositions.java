package io.github.attention4j;

import io.github.attention4j.internal.Checks;
import java.util.Objects;

/**
 * Embeddings of the distance between a query and a key, which are added to the keys and the values
 * that the query sees (Shaw et al., "Self-Attention with Relative Position Representations", 2018):
 *
 * <pre>
 *   logits[i, j] = scale · q[i] · (k[j] + E[j − p])       p the position of query i among the keys
 *   out[i]       = Σ w[i, j] · (v[j] + F[j − p])
 * </pre>
 *
 * <p>E and F are rows of two tables, one row for each distance. The tables need not reach as far as
 * the keys do: beyond their ends a distance has the nearest row that there is, or none. Neither the
 * products with E nor the sums with F ever take the memory of a matrix of queries and keys, and
 * what lies beyond a table costs next to nothing.
 *
 * <pre>{@code
 * RelativePositions positions = RelativePositions.clipped(16, keys, values); // [33, dim] each
 * Attention.builder().relative(Alignment.TOP_LEFT, positions).build().forward(q, k, v, out);
 * }</pre>
 *
 * <p>The names of tensor2tensor's attention types that use such tables, and theirs here:
 *
 * <pre>
 *   dot_product_relative               {@link #clipped}          rows −m … m, clipped
 *   dot_product_relative_v2            {@link #masked}           rows −(m − 1) … 0
 *   dot_product_unmasked_relative_v2   {@link #unmasked}         rows −(m − 1) … m − 1
 *   local_relative_mask_right          {@link #localMaskRight}   rows −(4 · block_length − 1) … 0
 * </pre>
 *
 * <p>Immutable, and safe for any number of threads; its tensors are the caller's, and read by each
 * call.
 */
public final class RelativePositions {
  /** What a distance beyond the ends of the tables has. */
  public enum Beyond {
    /** The nearest row that there is (Shaw et al. 2018). */
    CLIP,

    /** Nothing: its key and its value are left as they are (Huang et al. 2018). */
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
   * Takes two tables.
   *
   * @param keys E, {@code [rows, dim]} for all heads or {@code [headsQ, rows, dim]}; null where
   *     nothing is added to keys. Not modified.
   * @param values F, {@code [rows, dimV]} for all heads or {@code [headsQ, rows, dimV]}; null where
   *     nothing is added to values. Not modified.
   * @param zero the row of distance 0, that is of a query's own key; any number, and the rows
   *     before it are for keys to the left
   * @param beyond what distances beyond the tables have
   * @return the embeddings
   * @throws IllegalArgumentException if both tables are null, a table has neither rank 2 nor 3 or
   *     no rows, or they have not the same number of them
   */
  public static RelativePositions of(Tensor keys, Tensor values, long zero, Beyond beyond) {
    Objects.requireNonNull(beyond, "beyond");
    if (keys == null && values == null) {
      throw new IllegalArgumentException("keys or values must be there: both are null");
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
   * Takes tables for the distances from {@code -maxRelativePosition} to {@code
   * maxRelativePosition}, whose ends stand for everything beyond: Shaw et al. 2018 and
   * tensor2tensor's {@code dot_product_relative}.
   *
   * @param maxRelativePosition tensor2tensor's {@code max_relative_position}, at least 1
   * @param keys {@code [2 · maxRelativePosition + 1, dim]}, or with a table for each head; null
   *     where nothing is added to keys. Not modified.
   * @param values {@code [2 · maxRelativePosition + 1, dimV]}, likewise. Not modified.
   * @return the embeddings
   * @throws IllegalArgumentException as {@link #of}, and if maxRelativePosition is less than 1 or
   *     the tables have another number of rows
   */
  public static RelativePositions clipped(int maxRelativePosition, Tensor keys, Tensor values) {
    Checks.positive("maxRelativePosition", maxRelativePosition);
    long rows = 2L * maxRelativePosition + 1;
    return of(keys, values, maxRelativePosition, Beyond.CLIP)
        .withRows("2 * maxRelativePosition + 1", rows);
  }

  /**
   * Takes tables for the distances from {@code -(maxRelativePosition - 1)} to 0, with nothing
   * beyond: Huang et al., "Music Transformer", 2018, and tensor2tensor's {@code
   * dot_product_relative_v2}, which a causal mask goes with.
   *
   * @param maxRelativePosition tensor2tensor's {@code max_relative_position}, at least 1
   * @param keys {@code [maxRelativePosition, dim]}, or with a table for each head; null where
   *     nothing is added to keys. Not modified.
   * @param values {@code [maxRelativePosition, dimV]}, likewise. Not modified.
   * @return the embeddings
   * @throws IllegalArgumentException as {@link #of}, and if maxRelativePosition is less than 1 or
   *     the tables have another number of rows
   */
  public static RelativePositions masked(int maxRelativePosition, Tensor keys, Tensor values) {
    Checks.positive("maxRelativePosition", maxRelativePosition);
    return of(keys, values, maxRelativePosition - 1L, Beyond.ZERO)
        .withRows("maxRelativePosition", maxRelativePosition);
  }

  /**
   * Takes tables for the distances from {@code -(maxRelativePosition - 1)} to {@code
   * maxRelativePosition - 1}, with nothing beyond: tensor2tensor's {@code
   * dot_product_unmasked_relative_v2}.
   *
   * @param maxRelativePosition tensor2tensor's {@code max_relative_position}, at least 1
   * @param keys {@code [2 · maxRelativePosition - 1, dim]}, or with a table for each head; null
   *     where nothing is added to keys. Not modified.
   * @param values {@code [2 · maxRelativePosition - 1, dimV]}, likewise. Not modified.
   * @return the embeddings
   * @throws IllegalArgumentException as {@link #of}, and if maxRelativePosition is less than 1 or
   *     the tables have another number of rows
   */
  public static RelativePositions unmasked(int maxRelativePosition, Tensor keys, Tensor values) {
    Checks.positive("maxRelativePosition", maxRelativePosition);
    return of(keys, values, maxRelativePosition - 1L, Beyond.ZERO)
        .withRows("2 * maxRelativePosition - 1", 2L * maxRelativePosition - 1);
  }

  /**
   * Takes tables for the distances from {@code -(4 · blockLength - 1)} to 0: tensor2tensor's {@code
   * local_relative_mask_right}, which {@code LocalMasks.localMaskRight} goes with. As in
   * tensor2tensor, queries of the first block take nothing from the values' table, and none does
   * where the sequence is shorter than two blocks.
   *
   * @param length the number of queries, and of keys
   * @param blockLength the queries and keys of a block, tensor2tensor's {@code block_length}, at
   *     least 1
   * @param keys {@code [4 · blockLength, dim]}, or with a table for each head; null where nothing
   *     is added to keys. Not modified.
   * @param values {@code [4 · blockLength, dimV]}, likewise. Not modified.
   * @return the embeddings, for this length
   * @throws IllegalArgumentException as {@link #of}, and if length is negative, blockLength less
   *     than 1 or the tables have another number of rows
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
   * Returns the same embeddings, from whose values the first queries take nothing.
   *
   * @param firstQuery the first query that does, counted from 0
   * @return new embeddings
   * @throws IllegalArgumentException if firstQuery is negative
   */
  public RelativePositions valuesFrom(long firstQuery) {
    Checks.inRange("firstQuery", firstQuery, 0, Long.MAX_VALUE);
    return new RelativePositions(keys, values, zero, beyond, firstQuery);
  }

  // ---- What they are ----

  /**
   * Returns the table of what is added to keys.
   *
   * @return the table, or null
   */
  public Tensor keys() {
    return keys;
  }

  /**
   * Returns the table of what is added to values.
   *
   * @return the table, or null
   */
  public Tensor values() {
    return values;
  }

  /**
   * Returns the number of distances that the tables hold.
   *
   * @return their rows
   */
  public long rows() {
    return rows;
  }

  /**
   * Returns the row of a query's own key.
   *
   * @return the row of distance 0
   */
  public long zero() {
    return zero;
  }

  /**
   * Returns what distances beyond the tables have.
   *
   * @return the nearest row or nothing
   */
  public Beyond beyond() {
    return beyond;
  }

  /**
   * Returns the first query that takes something from the table of values.
   *
   * @return its number, 0 for all
   */
  public long firstWithValues() {
    return firstWithValues;
  }
}
