package io.github.attention4j;

import io.github.attention4j.internal.Op;
import java.util.Arrays;
import java.util.Objects;

/**
 * The caller's own scores and masks, as small typed expressions over a score and the place where it
 * stands, computed inside the native kernel for a block of pairs at a time; after Dong et al.,
 * "Flex Attention: A Programming Model for Generating Optimized Attention Kernels", 2024.
 *
 * <p>{@link Attention.Builder#score} takes a {@link FloatExpression}, the new score of a pair of a
 * query and a key (PyTorch's {@code score_mod}); {@link Mask#where} takes a {@link BoolExpression},
 * true where the query sees the key (its {@code mask_mod}). FlexAttention's examples here:
 *
 * <pre>{@code
 * // ALiBi                       score - slopes[h] * (q_idx - kv_idx)
 * FloatExpression alibi = score().minus(
 *     floats(slopes).at(head()).times(query().minus(key()).toFloat()));
 *
 * // soft-capping                cap * tanh(score / cap)
 * FloatExpression capped = score().dividedBy(cap).tanh().times(cap);
 *
 * // relative positions          score + bias[h, kv_idx - q_idx + length]
 * FloatExpression relative = score().plus(
 *     floats(bias).at(head(), key().minus(query()).plus(length)));
 *
 * // causal                      q_idx >= kv_idx
 * BoolExpression causal = query().atLeast(key());
 *
 * // sliding window              (q_idx >= kv_idx) & (q_idx - kv_idx <= window)
 * BoolExpression local = causal.and(query().minus(key()).atMost(window));
 *
 * // documents                   document_id[q_idx] == document_id[kv_idx]
 * IntTable document = ints(documents);
 * BoolExpression same = document.at(query()).equalTo(document.at(key()));
 * }</pre>
 *
 * <p><b>What is known of a pair.</b> The {@link #score}: scaled, then soft-capped, then with bias
 * and ALiBi where those are chosen too; a score of −∞ hides the key, and so does a new score of −∞.
 * The {@link #batch}, the output {@link #head} (in differential attention the pair, whose two maps
 * are asked one after the other), the {@link #query} and the {@link #key}, all counted from 0, in
 * packed sequences within the sequence; and the {@link #position} of the query among the keys,
 * which is not the query's number where keys are cached. What a mask hides is hidden whatever the
 * new score is.
 *
 * <p><b>Tables.</b> {@link #floats} and {@link #ints} make tensors readable at computed indices. An
 * index outside of a dimension reads the nearest element. One call reads at most 4 different
 * tensors. They are read at each call, and belong to the caller, who must keep their arena open.
 *
 * <p><b>Cost.</b> What depends on the query alone, or on the key alone, is computed once for a
 * block of some thousands of pairs; the rest costs about as much per operation as an addition in
 * each pair, a table that both choose some times that. A mask is asked before the products are
 * computed, and blocks that it hides from all queries are skipped; but it has to be asked, where
 * {@link Mask#window} and {@link Mask#keyRanges} know beforehand: use those where they can say it.
 *
 * <p>An expression holds at most 64 operations, constants and inputs, equal ones counted once, and
 * needs at most 32 values at once. Safe for any number of threads.
 */
public final class Score {
  private static final FloatExpression SCORE = new FloatExpression(Op.SCORE);
  private static final IntExpression BATCH = new IntExpression(Op.BATCH);
  private static final IntExpression HEAD = new IntExpression(Op.HEAD);
  private static final IntExpression QUERY = new IntExpression(Op.QUERY);
  private static final IntExpression KEY = new IntExpression(Op.KEY);

  private Score() {}

  // ---- What is known of a pair ----

  /**
   * Returns the score, as it is before the softmax; not for masks.
   *
   * @return the scaled, capped, biased product of query and key
   */
  public static FloatExpression score() {
    return SCORE;
  }

  /**
   * Returns the number of the batch, or of the sequence where those are packed.
   *
   * @return from 0 on
   */
  public static IntExpression batch() {
    return BATCH;
  }

  /**
   * Returns the number of the output head.
   *
   * @return from 0 on
   */
  public static IntExpression head() {
    return HEAD;
  }

  /**
   * Returns the number of the query.
   *
   * @return from 0 on
   */
  public static IntExpression query() {
    return QUERY;
  }

  /**
   * Returns the number of the key.
   *
   * @return from 0 on
   */
  public static IntExpression key() {
    return KEY;
  }

  /**
   * Returns the query's position among the keys, which is the number of a key, or of one before the
   * first or behind the last.
   *
   * @param alignment where the positions of queries and keys coincide; that of the mask and of
   *     ALiBi, where they ask for positions too
   * @return the position
   */
  public static IntExpression position(Alignment alignment) {
    return new IntExpression(Placement.of(alignment));
  }

  /**
   * Returns the query's position among the keys, {@code i + offsets[b]} for query i of batch b.
   *
   * @param offsets for each batch the number of the key at which its first query stands; those of
   *     the mask and of ALiBi, where they ask for positions too. Copied.
   * @return the position
   * @throws IllegalArgumentException if there are no offsets
   */
  public static IntExpression position(int... offsets) {
    return new IntExpression(Placement.of(offsets));
  }

  // ---- Constants and tables ----

  /**
   * Returns a number that is the same for all pairs.
   *
   * @param value any number, −∞ to hide
   * @return the constant
   */
  public static FloatExpression constant(float value) {
    return new FloatExpression(value);
  }

  /**
   * Returns an integer that is the same for all pairs.
   *
   * @param value the integer
   * @return the constant
   */
  public static IntExpression constant(int value) {
    return new IntExpression(value);
  }

  /**
   * Makes a tensor of floats readable.
   *
   * @param table {@link DType#F32} of rank 1 to 3, contiguous, with at least one element. Not
   *     modified.
   * @return the table
   * @throws IllegalArgumentException if type, rank or layout do not fit, or the tensor has no
   *     element, or 2^31 or more
   */
  public static FloatTable floats(Tensor table) {
    return new FloatTable(checked(table, DType.F32));
  }

  /**
   * Makes a tensor of integers readable.
   *
   * @param table {@link DType#I32} of rank 1 to 3, contiguous, with at least one element. Not
   *     modified.
   * @return the table
   * @throws IllegalArgumentException if type, rank or layout do not fit, or the tensor has no
   *     element, or 2^31 or more
   */
  public static IntTable ints(Tensor table) {
    return new IntTable(checked(table, DType.I32));
  }

  /** A tensor of floats that expressions read. */
  public static final class FloatTable {
    private final Tensor table;

    private FloatTable(Tensor table) {
      this.table = table;
    }

    /**
     * Returns an element; an index outside of its dimension reads the nearest.
     *
     * @param indices one for each dimension
     * @return the element
     * @throws IllegalArgumentException if there are not as many indices as dimensions
     */
    public FloatExpression at(IntExpression... indices) {
      return new FloatExpression(table, flat(table, indices));
    }
  }

  /** A tensor of integers that expressions read. */
  public static final class IntTable {
    private final Tensor table;

    private IntTable(Tensor table) {
      this.table = table;
    }

    /**
     * Returns an element; an index outside of its dimension reads the nearest.
     *
     * @param indices one for each dimension
     * @return the element
     * @throws IllegalArgumentException if there are not as many indices as dimensions
     */
    public IntExpression at(IntExpression... indices) {
      return new IntExpression(table, flat(table, indices));
    }
  }

  private static Tensor checked(Tensor table, DType dtype) {
    if (Objects.requireNonNull(table, "table").dtype() != dtype) {
      throw new IllegalArgumentException(
          "table.dtype must be " + dtype + ": table.dtype=" + table.dtype());
    }
    if (table.rank() < 1 || table.rank() > 3) {
      throw new IllegalArgumentException(
          "table.rank must be 1, 2 or 3: table.rank=" + table.rank());
    }
    if (table.count() < 1 || table.count() > Integer.MAX_VALUE) {
      throw new IllegalArgumentException(
          "table must have 1 to 2147483647 elements: table.shape="
              + Arrays.toString(table.shape()));
    }
    if (!table.isContiguous()) {
      throw new IllegalArgumentException(
          "table must be contiguous (copy it first): table.shape="
              + Arrays.toString(table.shape())
              + ", table.strides="
              + Arrays.toString(table.strides()));
    }
    return table;
  }

  /** The number of an element in row-major order, each index cut to its dimension. */
  private static IntExpression flat(Tensor table, IntExpression[] indices) {
    if (Objects.requireNonNull(indices, "indices").length != table.rank()) {
      throw new IllegalArgumentException(
          "indices.length must equal table.rank: indices.length="
              + indices.length
              + ", table.rank="
              + table.rank());
    }
    if (indices.length == 1) { // the library cuts the sum itself
      return Expression.operand(indices[0]);
    }
    IntExpression flat = null;
    for (int dim = 0; dim < indices.length; dim++) {
      int size = (int) table.size(dim);
      IntExpression index = Expression.operand(indices[dim]).max(0).min(size - 1);
      flat = flat == null ? index : flat.times(size).plus(index);
    }
    return flat;
  }

  // ---- Choosing ----

  /**
   * Chooses one of two numbers; what is not chosen never touches the result, NaN included.
   *
   * @param condition decides
   * @param then the result where it is true
   * @param otherwise the result where it is false
   * @return one of both
   */
  public static FloatExpression where(
      BoolExpression condition, FloatExpression then, FloatExpression otherwise) {
    return new FloatExpression(
        Op.SELECT,
        Expression.operand(condition),
        Expression.operand(then),
        Expression.operand(otherwise));
  }

  /**
   * Chooses a number or a constant: {@code where(condition, score(), Float.NEGATIVE_INFINITY)}
   * hides what does not meet the condition.
   *
   * @param condition decides
   * @param then the result where it is true
   * @param otherwise the result where it is false
   * @return one of both
   */
  public static FloatExpression where(
      BoolExpression condition, FloatExpression then, float otherwise) {
    return where(condition, then, new FloatExpression(otherwise));
  }

  /**
   * Chooses one of two integers.
   *
   * @param condition decides
   * @param then the result where it is true
   * @param otherwise the result where it is false
   * @return one of both
   */
  public static IntExpression where(
      BoolExpression condition, IntExpression then, IntExpression otherwise) {
    return new IntExpression(
        Op.INT_SELECT,
        Expression.operand(condition),
        Expression.operand(then),
        Expression.operand(otherwise));
  }

  /**
   * Chooses an integer or a constant.
   *
   * @param condition decides
   * @param then the result where it is true
   * @param otherwise the result where it is false
   * @return one of both
   */
  public static IntExpression where(BoolExpression condition, IntExpression then, int otherwise) {
    return where(condition, then, new IntExpression(otherwise));
  }
}
