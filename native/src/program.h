/* The caller's mask and score programs (a4j.h, "Programs"): checked and decoded once per call, run by kernels/program.inc. */
#ifndef A4J_PROGRAM_H
#define A4J_PROGRAM_H

#include <stdint.h>

#include "a4j.h"

/* What a value varies with; both if it reads the score. */
enum { A4J_VARIES_BY_ROW = 1, A4J_VARIES_BY_KEY = 2, A4J_VARIES_BY_BOTH = 3 };

enum { A4J_FLOAT_VALUE, A4J_INT_VALUE, A4J_BOOL_VALUE };

struct a4j_instruction {
  uint8_t op, operands[3]; /* table number as it stands */
  uint8_t type, varies;
  uint8_t needed; /* whether the result depends on it */
  uint8_t slot;   /* below A4J_PROGRAM_LIVE: which values that are needed at once do not share */
  int32_t literal;
};

struct a4j_program {
  int32_t count; /* 0: no program */
  const void *tables[4];
  int32_t last[4]; /* index of their last element */
  struct a4j_instruction code[A4J_PROGRAM_MAX];
};

/*
 * A block of scores that a kernel has at hand: rows of a tile side by side for each key, or keys side by side for each row.
 * The inner axis is the one whose elements lie side by side. Every array has room for a whole number of vectors.
 */
enum {
  A4J_PATCH_SIDE = 64,
  A4J_PROGRAM_STRIP = 8, /* inner rows that an instruction takes at a time */
  /* 32-bit numbers that a program needs along the way: one row for each instruction and a strip for each live value */
  A4J_PROGRAM_ROOM = (A4J_PROGRAM_MAX + A4J_PROGRAM_LIVE * A4J_PROGRAM_STRIP) * A4J_PATCH_SIDE
};

struct a4j_patch {
  int inner, outer;                               /* elements of the two axes, 1 to A4J_PATCH_SIDE */
  int rows_inner;                                 /* 1: rows lie along the inner axis, keys along the outer; 0: the other way */
  const int32_t *batch, *head, *query, *position; /* along the axis of rows */
  const int32_t *key;                             /* along the axis of keys */
  float *score;                                   /* [outer][stride]; not used by masks */
  int64_t stride;
  int32_t *room; /* A4J_PROGRAM_ROOM, aligned to 64 bytes: too much for the stack of a small thread */
};

/* How many operands an instruction has that are values, the first ones. */
int a4j_program_arity(int op);

/*
 * Decodes `words` into *p. A4J_BAD_PROGRAM if they are not what a4j.h says; A4J_NULL_POINTER if a table that is read is NULL.
 * If `tables` is NULL, only the counts are checked, and the program must not be run.
 */
int32_t a4j_program_prepare(const int32_t *words, int64_t count, int is_mask, const void *const *tables, const int64_t *counts,
                            struct a4j_program *p);

#endif
