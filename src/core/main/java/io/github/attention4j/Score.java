package io.github.attention4j;

import io.github.attention4j.internal.Checks;
import io.github.attention4j.internal.Op;
import java.util.Arrays;
import java.util.Objects;

/**
 * Custom scores and masks: small typed expressions over a score and its indices, evaluated inside
 * the native kernel for a block of query-key pairs at a time. After Dong et al., "Flex Attention: A
 * Programming Model for Generating Optimized Attention Kernels", 2024.
 *
 * <p>{@link Attention.Builder#score} takes a {@link FloatExpression}, the new score of a query and
 * a key (PyTorch's {@code score_mod}); {@link Mask#where} takes a {@link BoolExpression}, true if
 * the query sees the key (its {@code mask_mod}). FlexAttention's examples:
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
 * <p><b>Inputs.</b> The {@link #score}: scaled, then soft-capped, then with bias and ALiBi if they
 * are used too; a score of −∞ hides the key, and so does a new score of −∞. The {@link #batch}, the
 * output {@link #head} (in differential attention the pair, for each of its two maps in turn), the
 * {@link #query} and the {@link #key}, all counted from 0, in packed sequences within the sequence;
 * and the {@link #position} of the query among the keys, which differs from the query's index if
 * keys are cached. Keys that a mask hides stay hidden whatever the new score is.
 *
 * <p><b>Tables.</b> {@link #floats} and {@link #ints} make tensors readable at computed indices. An
 * index outside its dimension reads the nearest element. One call reads at most 4 different
 * tensors. They are read at each call, and belong to the caller, who must keep their arena open.
 *
 * <p><b>Cost.</b> Subexpressions that depend only on the query, or only on the key, are computed
 * once for a block of some thousands of pairs. All others cost about as much per operation as an
 * addition for each pair, and several times that for a table that is indexed by both. A mask is
 * evaluated before the products are computed, and blocks that it hides from all queries are
 * skipped; but evaluating it takes time, while {@link Mask#window} and {@link Mask#keyRanges} know
 * the hidden keys in advance: prefer them if they can express the same.
 *
 * <p>An expression has at most 64 operations, constants and inputs, counting equal ones once, and
 * needs at most 32 values at once. Safe for any number of threads.
 */
public final class Score {
  private static final FloatExpression SCORE = new FloatExpression(Op.SCORE);
  private static final IntExpression BATCH = new IntExpression(Op.BATCH);
  private static final IntExpression HEAD = new IntExpression(Op.HEAD);
  private static final IntExpression QUERY = new IntExpression(Op.QUERY);
  private static final IntExpression KEY = new IntExpression(Op.KEY);

  private Score() {}

  // ---- Inputs ----

  /**
   * Returns the score before softmax; not for masks.
   *
   * @return the scaled, capped, biased product of query and key
   */
  public static FloatExpression score() {
    return SCORE;
  }

  /**
   * Returns the index of the batch, or of the sequence if sequences are packed.
   *
   * @return the index, counted from 0
   */
  public static IntExpression batch() {
    return BATCH;
  }

  /**
   * Returns the index of the output head.
   *
   * @return the index, counted from 0
   */
  public static IntExpression head() {
    return HEAD;
  }

  /**
   * Returns the index of the query.
   *
   * @return the index, counted from 0
   */
  public static IntExpression query() {
    return QUERY;
  }

  /**
   * Returns the index of the key.
   *
   * @return the index, counted from 0
   */
  public static IntExpression key() {
    return KEY;
  }

  /**
   * Returns the query's position among the keys; it may be before the first or after the last key.
   *
   * @param alignment where the positions of queries and keys coincide; must be that of the mask and
   *     of ALiBi if they depend on positions too
   * @return the position
   */
  public static IntExpression position(Alignment alignment) {
    return new IntExpression(Placement.of(alignment));
  }

  /**
   * Returns the query's position among the keys, {@code i + offset[b]} for query i of batch b.
   *
   * @param offset for the first batch the position of its first query; must be that of the mask and
   *     of ALiBi if they depend on positions too
   * @param others likewise for the other batches. Copied.
   * @return the position
   */
  public static IntExpression position(int offset, int... others) {
    return new IntExpression(Placement.of(offset, others));
  }

  /**
   * Returns the query's position among the keys, {@code i + offsets[b]} for query i of batch b.
   *
   * @param offsets for each batch the position of its first query; must be those of the mask and of
   *     ALiBi if they depend on positions too. Copied.
   * @return the position
   * @throws IllegalArgumentException if offsets is empty
   */
  public static IntExpression position(int[] offsets) {
    return new IntExpression(Placement.of(offsets));
  }

  // ---- Constants and tables ----

  /**
   * Returns a constant number.
   *
   * @param value any number; −∞ hides the key
   * @return the constant
   */
  public static FloatExpression constant(float value) {
    return new FloatExpression(value);
  }

  /**
   * Returns a constant integer.
   *
   * @param value the integer
   * @return the constant
   */
  public static IntExpression constant(int value) {
    return new IntExpression(value);
  }

  /**
   * Makes a tensor of floats readable in expressions.
   *
   * @param table {@link DType#F32} of rank 1 to 3, contiguous, with at least one element. Not
   *     modified.
   * @return the table
   * @throws IllegalArgumentException if type, rank or layout do not fit, or the tensor has no
   *     elements, or 2^31 or more
   */
  public static FloatTable floats(Tensor table) {
    return new FloatTable(checked(table, DType.F32));
  }

  /**
   * Makes a tensor of integers readable in expressions.
   *
   * @param table {@link DType#I32} of rank 1 to 3, contiguous, with at least one element. Not
   *     modified.
   * @return the table
   * @throws IllegalArgumentException if type, rank or layout do not fit, or the tensor has no
   *     elements, or 2^31 or more
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
     * Returns an element; an index outside its dimension reads the nearest element.
     *
     * @param indices one for each dimension
     * @return the element
     * @throws IllegalArgumentException if the number of indices is not the number of dimensions
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
     * Returns an element; an index outside its dimension reads the nearest element.
     *
     * @param indices one for each dimension
     * @return the element
     * @throws IllegalArgumentException if the number of indices is not the number of dimensions
     */
    public IntExpression at(IntExpression... indices) {
      return new IntExpression(table, flat(table, indices));
    }
  }

  private static Tensor checked(Tensor table, DType dtype) {
    Checks.dtype("table", Objects.requireNonNull(table, "table"), dtype);
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

  /** The row-major index of an element, each index clamped to its dimension. */
  private static IntExpression flat(Tensor table, IntExpression[] indices) {
    if (Objects.requireNonNull(indices, "indices").length != table.rank()) {
      throw new IllegalArgumentException(
          "indices.length must equal table.rank: indices.length="
              + indices.length
              + ", table.rank="
              + table.rank());
    }
    if (indices.length == 1) { // the native library clamps the index itself
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
   * Chooses one of two numbers; the other never affects the result, even if it is NaN.
   *
   * @param condition the condition
   * @param then the result if it is true
   * @param otherwise the result if it is false
   * @return one of the two
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
   * hides the keys for which the condition is false.
   *
   * @param condition the condition
   * @param then the result if it is true
   * @param otherwise the result if it is false
   * @return one of the two
   */
  public static FloatExpression where(
      BoolExpression condition, FloatExpression then, float otherwise) {
    return where(condition, then, new FloatExpression(otherwise));
  }

  /**
   * Chooses one of two integers.
   *
   * @param condition the condition
   * @param then the result if it is true
   * @param otherwise the result if it is false
   * @return one of the two
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
   * @param condition the condition
   * @param then the result if it is true
   * @param otherwise the result if it is false
   * @return one of the two
   */
  public static IntExpression where(BoolExpression condition, IntExpression then, int otherwise) {
    return where(condition, then, new IntExpression(otherwise));
  }
}
