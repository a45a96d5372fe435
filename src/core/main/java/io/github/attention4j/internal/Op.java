package io.github.attention4j.internal;

import io.github.attention4j.bindings.a4j_h;

/** The instructions of programs, as {@code a4j.h} numbers them; see "Programs" there. */
public enum Op {
  SCORE(a4j_h.A4J_OP_SCORE()),
  BATCH(a4j_h.A4J_OP_BATCH()),
  HEAD(a4j_h.A4J_OP_HEAD()),
  QUERY(a4j_h.A4J_OP_QUERY()),
  POSITION(a4j_h.A4J_OP_POSITION()),
  KEY(a4j_h.A4J_OP_KEY()),
  FLOAT(a4j_h.A4J_OP_FLOAT()),
  INT(a4j_h.A4J_OP_INT()),
  LOAD_FLOAT(a4j_h.A4J_OP_LOAD_FLOAT()),
  LOAD_INT(a4j_h.A4J_OP_LOAD_INT()),
  TO_FLOAT(a4j_h.A4J_OP_TO_FLOAT()),
  TO_INT(a4j_h.A4J_OP_TO_INT()),
  NEG(a4j_h.A4J_OP_NEG()),
  ABS(a4j_h.A4J_OP_ABS()),
  EXP(a4j_h.A4J_OP_EXP()),
  LOG(a4j_h.A4J_OP_LOG()),
  TANH(a4j_h.A4J_OP_TANH()),
  SQRT(a4j_h.A4J_OP_SQRT()),
  ADD(a4j_h.A4J_OP_ADD()),
  SUB(a4j_h.A4J_OP_SUB()),
  MUL(a4j_h.A4J_OP_MUL()),
  DIV(a4j_h.A4J_OP_DIV()),
  MIN(a4j_h.A4J_OP_MIN()),
  MAX(a4j_h.A4J_OP_MAX()),
  INT_NEG(a4j_h.A4J_OP_INT_NEG()),
  INT_ABS(a4j_h.A4J_OP_INT_ABS()),
  INT_ADD(a4j_h.A4J_OP_INT_ADD()),
  INT_SUB(a4j_h.A4J_OP_INT_SUB()),
  INT_MUL(a4j_h.A4J_OP_INT_MUL()),
  INT_DIV(a4j_h.A4J_OP_INT_DIV()),
  INT_MOD(a4j_h.A4J_OP_INT_MOD()),
  INT_MIN(a4j_h.A4J_OP_INT_MIN()),
  INT_MAX(a4j_h.A4J_OP_INT_MAX()),
  LESS(a4j_h.A4J_OP_LESS()),
  LESS_EQUAL(a4j_h.A4J_OP_LESS_EQUAL()),
  EQUAL(a4j_h.A4J_OP_EQUAL()),
  INT_LESS(a4j_h.A4J_OP_INT_LESS()),
  INT_LESS_EQUAL(a4j_h.A4J_OP_INT_LESS_EQUAL()),
  INT_EQUAL(a4j_h.A4J_OP_INT_EQUAL()),
  AND(a4j_h.A4J_OP_AND()),
  OR(a4j_h.A4J_OP_OR()),
  NOT(a4j_h.A4J_OP_NOT()),
  SELECT(a4j_h.A4J_OP_SELECT()),
  INT_SELECT(a4j_h.A4J_OP_INT_SELECT());

  /** The most instructions of a program. */
  public static final int MOST = a4j_h.A4J_PROGRAM_MAX();

  /** The most values that wait for a later instruction at any time. */
  public static final int MOST_LIVE = a4j_h.A4J_PROGRAM_LIVE();

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
