package io.github.attention4j;

import io.github.attention4j.internal.Op;
import java.util.List;
import java.util.Objects;

/**
 * A value that depends on the score of a query and a key and on their indices, built from the
 * inputs in {@link Score}. Immutable, and safe for any number of threads.
 */
public abstract sealed class Expression permits FloatExpression, IntExpression, BoolExpression {
  final Op op;
  final List<Expression> operands;

  /** The bits of a constant, or 0. */
  final int literal;

  /** The table that a load reads, or null. */
  final Tensor table;

  /** The placement of {@link Op#POSITION}, or null. */
  final Placement placement;

  Expression(Op op, List<Expression> operands, int literal, Tensor table, Placement placement) {
    this.op = op;
    this.operands = operands;
    this.literal = literal;
    this.table = table;
    this.placement = placement;
  }

  Expression(Op op, Expression... operands) {
    this(op, List.of(operands), 0, null, null);
  }

  static <E extends Expression> E operand(E expression) {
    return Objects.requireNonNull(expression, "operand");
  }
}
