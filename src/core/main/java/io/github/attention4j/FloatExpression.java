package io.github.attention4j;

import io.github.attention4j.internal.Op;
import java.util.List;

/**
 * A float32 for each pair of a query and a key; {@link Score} says how to begin. Arithmetic is
 * float32's, rounded after each operation; NaN stays NaN. No method modifies anything.
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
   * @param other what is added
   * @return the sum
   */
  public FloatExpression plus(FloatExpression other) {
    return new FloatExpression(Op.ADD, this, operand(other));
  }

  /**
   * Returns this + other.
   *
   * @param other what is added
   * @return the sum
   */
  public FloatExpression plus(float other) {
    return plus(new FloatExpression(other));
  }

  /**
   * Returns this − other.
   *
   * @param other what is subtracted
   * @return the difference
   */
  public FloatExpression minus(FloatExpression other) {
    return new FloatExpression(Op.SUB, this, operand(other));
  }

  /**
   * Returns this − other.
   *
   * @param other what is subtracted
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
   * Returns the smaller one, NaN where either is.
   *
   * @param other the other number
   * @return the minimum
   */
  public FloatExpression min(FloatExpression other) {
    return new FloatExpression(Op.MIN, this, operand(other));
  }

  /**
   * Returns the smaller one, NaN where either is.
   *
   * @param other the other number
   * @return the minimum
   */
  public FloatExpression min(float other) {
    return min(new FloatExpression(other));
  }

  /**
   * Returns the larger one, NaN where either is.
   *
   * @param other the other number
   * @return the maximum
   */
  public FloatExpression max(FloatExpression other) {
    return new FloatExpression(Op.MAX, this, operand(other));
  }

  /**
   * Returns the larger one, NaN where either is.
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
   * Returns the natural logarithm. The slowest operation: keep it to what depends on the query or
   * on the key alone, where it can be.
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
   * Returns the whole part, as Java's cast: towards zero, and 0 for NaN. What does not fit an int
   * becomes the nearest that does.
   *
   * @return the whole part
   */
  public IntExpression toInt() {
    return new IntExpression(Op.TO_INT, this);
  }

  /**
   * Asks whether this &lt; other.
   *
   * @param other the other number
   * @return the answer, false with NaN
   */
  public BoolExpression lessThan(FloatExpression other) {
    return new BoolExpression(Op.LESS, this, operand(other));
  }

  /**
   * Asks whether this &lt; other.
   *
   * @param other the other number
   * @return the answer, false with NaN
   */
  public BoolExpression lessThan(float other) {
    return lessThan(new FloatExpression(other));
  }

  /**
   * Asks whether this ≤ other.
   *
   * @param other the other number
   * @return the answer, false with NaN
   */
  public BoolExpression atMost(FloatExpression other) {
    return new BoolExpression(Op.LESS_EQUAL, this, operand(other));
  }

  /**
   * Asks whether this ≤ other.
   *
   * @param other the other number
   * @return the answer, false with NaN
   */
  public BoolExpression atMost(float other) {
    return atMost(new FloatExpression(other));
  }

  /**
   * Asks whether this &gt; other.
   *
   * @param other the other number
   * @return the answer, false with NaN
   */
  public BoolExpression greaterThan(FloatExpression other) {
    return operand(other).lessThan(this);
  }

  /**
   * Asks whether this &gt; other.
   *
   * @param other the other number
   * @return the answer, false with NaN
   */
  public BoolExpression greaterThan(float other) {
    return greaterThan(new FloatExpression(other));
  }

  /**
   * Asks whether this ≥ other.
   *
   * @param other the other number
   * @return the answer, false with NaN
   */
  public BoolExpression atLeast(FloatExpression other) {
    return operand(other).atMost(this);
  }

  /**
   * Asks whether this ≥ other.
   *
   * @param other the other number
   * @return the answer, false with NaN
   */
  public BoolExpression atLeast(float other) {
    return atLeast(new FloatExpression(other));
  }

  /**
   * Asks whether this = other; 0 equals −0, and NaN nothing.
   *
   * @param other the other number
   * @return the answer
   */
  public BoolExpression equalTo(FloatExpression other) {
    return new BoolExpression(Op.EQUAL, this, operand(other));
  }

  /**
   * Asks whether this = other; 0 equals −0, and NaN nothing.
   *
   * @param other the other number
   * @return the answer
   */
  public BoolExpression equalTo(float other) {
    return equalTo(new FloatExpression(other));
  }
}
