package io.github.attention4j;

import io.github.attention4j.internal.Op;

/**
 * True or false for each pair of a query and a key, for {@link Mask#where} and {@link Score#where};
 * made by comparing {@link FloatExpression floats} or {@link IntExpression ints}. Immutable.
 */
public final class BoolExpression extends Expression {
  BoolExpression(Op op, Expression... operands) {
    super(op, operands);
  }

  /**
   * Returns whether both hold.
   *
   * @param other the other condition
   * @return true if both are
   */
  public BoolExpression and(BoolExpression other) {
    return new BoolExpression(Op.AND, this, operand(other));
  }

  /**
   * Returns whether at least one holds.
   *
   * @param other the other condition
   * @return true if this, the other or both are
   */
  public BoolExpression or(BoolExpression other) {
    return new BoolExpression(Op.OR, this, operand(other));
  }

  /**
   * Returns whether this does not hold.
   *
   * @return true if this is false
   */
  public BoolExpression not() {
    return new BoolExpression(Op.NOT, this);
  }
}
