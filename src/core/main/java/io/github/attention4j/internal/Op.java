package io.github.attention4j.internal;

/**
 * The instructions of programs, as {@code a4j.h} numbers them; see "Programs" there. The numbers
 * are literals, compared with the bindings by a test, for the reason that {@link Descriptor} gives.
 */
public enum Op {
  SCORE(1),
  BATCH(2),
  HEAD(3),
  QUERY(4),
  POSITION(5),
  KEY(6),
  FLOAT(7),
  INT(8),
  LOAD_FLOAT(9),
  LOAD_INT(10),
  TO_FLOAT(11),
  TO_INT(12),
  NEG(13),
  ABS(14),
  EXP(15),
  LOG(16),
  TANH(17),
  SQRT(18),
  ADD(19),
  SUB(20),
  MUL(21),
  DIV(22),
  MIN(23),
  MAX(24),
  INT_NEG(25),
  INT_ABS(26),
  INT_ADD(27),
  INT_SUB(28),
  INT_MUL(29),
  INT_DIV(30),
  INT_MOD(31),
  INT_MIN(32),
  INT_MAX(33),
  LESS(34),
  LESS_EQUAL(35),
  EQUAL(36),
  INT_LESS(37),
  INT_LESS_EQUAL(38),
  INT_EQUAL(39),
  AND(40),
  OR(41),
  NOT(42),
  SELECT(43),
  INT_SELECT(44);

  /** The most instructions of a program. */
  public static final int MOST = 64;

  /** The most values that wait for a later instruction at any time. */
  public static final int MOST_LIVE = 32;

  /** The most tables of a call. */
  public static final int MOST_TABLES = 4;

  private final int code;

  Op(int code) {
    this.code = code;
  }

  /** The instruction's word, without its operands. */
  public int code() {
    return code;
  }
}
