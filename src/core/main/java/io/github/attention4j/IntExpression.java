package io.github.attention4j;

import io.github.attention4j.internal.Op;
import java.util.List;

/**
 * A 32-bit integer for each pair of a query and a key; see {@link Score} for how to start.
 * Arithmetic wraps around like Java's, but division and remainder round down. Immutable.
 */
public final class IntExpression extends Expression {
  IntExpression(Op op, Expression... operands) {
    super(op, operands);
  }

  IntExpression(int constant) {
    super(Op.INT, List.of(), constant, null, null);
  }

  IntExpression(Placement placement) {
    super(Op.POSITION, List.of(), 0, null, placement);
  }

  IntExpression(Tensor table, IntExpression index) {
    super(Op.LOAD_INT, List.of(index), 0, table, null);
  }

  /**
   * Returns this + other.
   *
   * @param other the other summand
   * @return the sum
   */
  public IntExpression plus(IntExpression other) {
    return new IntExpression(Op.INT_ADD, this, operand(other));
  }

  /**
   * Returns this + other.
   *
   * @param other the other summand
   * @return the sum
   */
  public IntExpression plus(int other) {
    return plus(new IntExpression(other));
  }

  /**
   * Returns this − other.
   *
   * @param other the subtrahend
   * @return the difference
   */
  public IntExpression minus(IntExpression other) {
    return new IntExpression(Op.INT_SUB, this, operand(other));
  }

  /**
   * Returns this − other.
   *
   * @param other the subtrahend
   * @return the difference
   */
  public IntExpression minus(int other) {
    return minus(new IntExpression(other));
  }

  /**
   * Returns this · other.
   *
   * @param other the other factor
   * @return the product
   */
  public IntExpression times(IntExpression other) {
    return new IntExpression(Op.INT_MUL, this, operand(other));
  }

  /**
   * Returns this · other.
   *
   * @param other the other factor
   * @return the product
   */
  public IntExpression times(int other) {
    return times(new IntExpression(other));
  }

  /**
   * Returns floor(this / other), and 0 if other is 0: the index of the block of that size.
   *
   * @param other the divisor
   * @return the quotient
   */
  public IntExpression dividedBy(IntExpression other) {
    return new IntExpression(Op.INT_DIV, this, operand(other));
  }

  /**
   * Returns floor(this / other), and 0 if other is 0: the index of the block of that size.
   *
   * @param other the divisor
   * @return the quotient
   */
  public IntExpression dividedBy(int other) {
    return dividedBy(new IntExpression(other));
  }

  /**
   * Returns this − other · floor(this / other), which has the sign of other, and 0 if other is 0.
   *
   * @param other the divisor
   * @return the remainder
   */
  public IntExpression modulo(IntExpression other) {
    return new IntExpression(Op.INT_MOD, this, operand(other));
  }

  /**
   * Returns this − other · floor(this / other), which has the sign of other, and 0 if other is 0.
   *
   * @param other the divisor
   * @return the remainder
   */
  public IntExpression modulo(int other) {
    return modulo(new IntExpression(other));
  }

  /**
   * Returns the smaller of the two.
   *
   * @param other the other number
   * @return the minimum
   */
  public IntExpression min(IntExpression other) {
    return new IntExpression(Op.INT_MIN, this, operand(other));
  }

  /**
   * Returns the smaller of the two.
   *
   * @param other the other number
   * @return the minimum
   */
  public IntExpression min(int other) {
    return min(new IntExpression(other));
  }

  /**
   * Returns the larger of the two.
   *
   * @param other the other number
   * @return the maximum
   */
  public IntExpression max(IntExpression other) {
    return new IntExpression(Op.INT_MAX, this, operand(other));
  }

  /**
   * Returns the larger of the two.
   *
   * @param other the other number
   * @return the maximum
   */
  public IntExpression max(int other) {
    return max(new IntExpression(other));
  }

  /**
   * Returns −this.
   *
   * @return the negative
   */
  public IntExpression negated() {
    return new IntExpression(Op.INT_NEG, this);
  }

  /**
   * Returns |this|.
   *
   * @return the absolute value
   */
  public IntExpression abs() {
    return new IntExpression(Op.INT_ABS, this);
  }

  /**
   * Returns the nearest float.
   *
   * @return the same number, exact up to 2^24
   */
  public FloatExpression toFloat() {
    return new FloatExpression(Op.TO_FLOAT, this);
  }

  /**
   * Returns whether this &lt; other.
   *
   * @param other the other number
   * @return the answer
   */
  public BoolExpression lessThan(IntExpression other) {
    return new BoolExpression(Op.INT_LESS, this, operand(other));
  }

  /**
   * Returns whether this &lt; other.
   *
   * @param other the other number
   * @return the answer
   */
  public BoolExpression lessThan(int other) {
    return lessThan(new IntExpression(other));
  }

  /**
   * Returns whether this ≤ other.
   *
   * @param other the other number
   * @return the answer
   */
  public BoolExpression atMost(IntExpression other) {
    return new BoolExpression(Op.INT_LESS_EQUAL, this, operand(other));
  }

  /**
   * Returns whether this ≤ other.
   *
   * @param other the other number
   * @return the answer
   */
  public BoolExpression atMost(int other) {
    return atMost(new IntExpression(other));
  }

  /**
   * Returns whether this &gt; other.
   *
   * @param other the other number
   * @return the answer
   */
  public BoolExpression greaterThan(IntExpression other) {
    return operand(other).lessThan(this);
  }

  /**
   * Returns whether this &gt; other.
   *
   * @param other the other number
   * @return the answer
   */
  public BoolExpression greaterThan(int other) {
    return greaterThan(new IntExpression(other));
  }

  /**
   * Returns whether this ≥ other.
   *
   * @param other the other number
   * @return the answer
   */
  public BoolExpression atLeast(IntExpression other) {
    return operand(other).atMost(this);
  }

  /**
   * Returns whether this ≥ other.
   *
   * @param other the other number
   * @return the answer
   */
  public BoolExpression atLeast(int other) {
    return atLeast(new IntExpression(other));
  }

  /**
   * Returns whether this = other.
   *
   * @param other the other number
   * @return the answer
   */
  public BoolExpression equalTo(IntExpression other) {
    return new BoolExpression(Op.INT_EQUAL, this, operand(other));
  }

  /**
   * Returns whether this = other.
   *
   * @param other the other number
   * @return the answer
   */
  public BoolExpression equalTo(int other) {
    return equalTo(new IntExpression(other));
  }
}
