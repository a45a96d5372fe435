package io.github.attention4j;

import io.github.attention4j.internal.Op;
import java.util.List;

/**
 * A float32 for each pair of a query and a key; see {@link Score} for how to start. Arithmetic is
 * in float32, rounded after each operation; NaN stays NaN. Immutable.
 */
public final class FloatExpression extends Expression {
  FloatExpression(Op op, Expression... operands) {
    super(op, operands);
  }

  FloatExpression(float constant) {
    super(Op.FLOAT, List.of(), Float.floatToRawIntBits(constant), null, null);
  }

  FloatExpression(Tensor table, IntExpression index) {
    super(Op.LOAD_FLOAT, List.of(index), 0, table, null);
  }

  /**
   * Returns this + other.
   *
   * @param other the other summand
   * @return the sum
   */
  public FloatExpression plus(FloatExpression other) {
    return new FloatExpression(Op.ADD, this, operand(other));
  }

  /**
   * Returns this + other.
   *
   * @param other the other summand
   * @return the sum
   */
  public FloatExpression plus(float other) {
    return plus(new FloatExpression(other));
  }

  /**
   * Returns this − other.
   *
   * @param other the subtrahend
   * @return the difference
   */
  public FloatExpression minus(FloatExpression other) {
    return new FloatExpression(Op.SUB, this, operand(other));
  }

  /**
   * Returns this − other.
   *
   * @param other the subtrahend
   * @return the difference
   */
  public FloatExpression minus(float other) {
    return minus(new FloatExpression(other));
  }

  /**
   * Returns this · other.
   *
   * @param other the other factor
   * @return the product
   */
  public FloatExpression times(FloatExpression other) {
    return new FloatExpression(Op.MUL, this, operand(other));
  }

  /**
   * Returns this · other.
   *
   * @param other the other factor
   * @return the product
   */
  public FloatExpression times(float other) {
    return times(new FloatExpression(other));
  }

  /**
   * Returns this / other.
   *
   * @param other the divisor
   * @return the quotient
   */
  public FloatExpression dividedBy(FloatExpression other) {
    return new FloatExpression(Op.DIV, this, operand(other));
  }

  /**
   * Returns this / other.
   *
   * @param other the divisor
   * @return the quotient
   */
  public FloatExpression dividedBy(float other) {
    return dividedBy(new FloatExpression(other));
  }

  /**
   * Returns the smaller of the two, NaN if either is.
   *
   * @param other the other number
   * @return the minimum
   */
  public FloatExpression min(FloatExpression other) {
    return new FloatExpression(Op.MIN, this, operand(other));
  }

  /**
   * Returns the smaller of the two, NaN if either is.
   *
   * @param other the other number
   * @return the minimum
   */
  public FloatExpression min(float other) {
    return min(new FloatExpression(other));
  }

  /**
   * Returns the larger of the two, NaN if either is.
   *
   * @param other the other number
   * @return the maximum
   */
  public FloatExpression max(FloatExpression other) {
    return new FloatExpression(Op.MAX, this, operand(other));
  }

  /**
   * Returns the larger of the two, NaN if either is.
   *
   * @param other the other number
   * @return the maximum
   */
  public FloatExpression max(float other) {
    return max(new FloatExpression(other));
  }

  /**
   * Returns −this.
   *
   * @return the negative
   */
  public FloatExpression negated() {
    return new FloatExpression(Op.NEG, this);
  }

  /**
   * Returns |this|.
   *
   * @return the absolute value
   */
  public FloatExpression abs() {
    return new FloatExpression(Op.ABS, this);
  }

  /**
   * Returns e to the power of this, with a relative error of at most 3e-7.
   *
   * @return the exponential
   */
  public FloatExpression exp() {
    return new FloatExpression(Op.EXP, this);
  }

  /**
   * Returns the natural logarithm. The slowest operation: if possible, apply it only to values that
   * depend on the query or on the key, but not on both.
   *
   * @return the logarithm
   */
  public FloatExpression log() {
    return new FloatExpression(Op.LOG, this);
  }

  /**
   * Returns the hyperbolic tangent.
   *
   * @return the tangent, from −1 to 1
   */
  public FloatExpression tanh() {
    return new FloatExpression(Op.TANH, this);
  }

  /**
   * Returns the square root.
   *
   * @return the root
   */
  public FloatExpression sqrt() {
    return new FloatExpression(Op.SQRT, this);
  }

  /**
   * Returns the integer part, like Java's cast: rounded towards zero, 0 for NaN, and clamped to the
   * range of int.
   *
   * @return the integer part
   */
  public IntExpression toInt() {
    return new IntExpression(Op.TO_INT, this);
  }

  /**
   * Returns whether this &lt; other.
   *
   * @param other the other number
   * @return the answer, false with NaN
   */
  public BoolExpression lessThan(FloatExpression other) {
    return new BoolExpression(Op.LESS, this, operand(other));
  }

  /**
   * Returns whether this &lt; other.
   *
   * @param other the other number
   * @return the answer, false with NaN
   */
  public BoolExpression lessThan(float other) {
    return lessThan(new FloatExpression(other));
  }

  /**
   * Returns whether this ≤ other.
   *
   * @param other the other number
   * @return the answer, false with NaN
   */
  public BoolExpression atMost(FloatExpression other) {
    return new BoolExpression(Op.LESS_EQUAL, this, operand(other));
  }

  /**
   * Returns whether this ≤ other.
   *
   * @param other the other number
   * @return the answer, false with NaN
   */
  public BoolExpression atMost(float other) {
    return atMost(new FloatExpression(other));
  }

  /**
   * Returns whether this &gt; other.
   *
   * @param other the other number
   * @return the answer, false with NaN
   */
  public BoolExpression greaterThan(FloatExpression other) {
    return operand(other).lessThan(this);
  }

  /**
   * Returns whether this &gt; other.
   *
   * @param other the other number
   * @return the answer, false with NaN
   */
  public BoolExpression greaterThan(float other) {
    return greaterThan(new FloatExpression(other));
  }

  /**
   * Returns whether this ≥ other.
   *
   * @param other the other number
   * @return the answer, false with NaN
   */
  public BoolExpression atLeast(FloatExpression other) {
    return operand(other).atMost(this);
  }

  /**
   * Returns whether this ≥ other.
   *
   * @param other the other number
   * @return the answer, false with NaN
   */
  public BoolExpression atLeast(float other) {
    return atLeast(new FloatExpression(other));
  }

  /**
   * Returns whether this = other; 0 equals −0, and NaN equals nothing.
   *
   * @param other the other number
   * @return the answer
   */
  public BoolExpression equalTo(FloatExpression other) {
    return new BoolExpression(Op.EQUAL, this, operand(other));
  }

  /**
   * Returns whether this = other; 0 equals −0, and NaN equals nothing.
   *
   * @param other the other number
   * @return the answer
   */
  public BoolExpression equalTo(float other) {
    return equalTo(new FloatExpression(other));
  }
}
