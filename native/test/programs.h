/* Writing mask and score programs in C, and some whose meaning is known: what problems are given (problem.h). */
#ifndef A4J_PROGRAMS_H
#define A4J_PROGRAMS_H

#include "problem.h"

struct code {
  int32_t words[2 * A4J_PROGRAM_MAX + 4];
  int count, values;
  char types[A4J_PROGRAM_MAX]; /* of the values: F, I or B */
};

/* Each appends one instruction, and gives the number of its value. */
int step(struct code *c, int op, int x, int y, int z, char type);
int literal_bits(struct code *c, int op, int32_t bits, char type);
int literal_int(struct code *c, int32_t x);
int literal_float(struct code *c, float x);

/* Gives a problem the program, and what it means as a C function whose context is the problem. */
void with_score_code(struct problem *p, const struct code *c,
                     double (*meaning)(const void *context, double score, int64_t b, int64_t h, int64_t i, int64_t j));
void with_mask_code(struct problem *p, const struct code *c,
                    bool (*meaning)(const void *context, int64_t b, int64_t h, int64_t i, int64_t j));

/* A copy of `count` words becomes table `number`; it ends where AddressSanitizer sees any access beyond. */
void with_table(struct problem *p, int number, const void *words, int64_t count);

/*
 * Programs by number, with random tables: a slant by head and distance; -infinity far from the diagonal; a bias looked up by
 * distance under a cap; keys of the row's own document and the first one; every third key; bounds by batch and head; rows that
 * see nothing; keys by a table of them.
 */
enum { SCORE_PROGRAMS = 3, MASK_PROGRAMS = 5 };
void with_score_program(struct problem *p, int number);
void with_mask_program(struct problem *p, int number);

#endif
