/*
 * At least one call of every function that computes, with inputs from a fixed seed, for tests of what must hold for all functions: the
 * same bits in every floating-point mode and on every team, and a small stack.
 */
#ifndef A4J_CALLS_H
#define A4J_CALLS_H

#include <stdint.h>

struct call_kind {
  const char *name;
  int64_t stack; /* the most bytes of stack that it may use */
  void *(*make)(void);
  int32_t (*run)(void *call, int32_t threads); /* fills the outputs; the status */
  uint64_t (*hash)(const void *call);          /* of all bits of the outputs */
  void (*free)(void *call);
};

extern const struct call_kind call_kinds[];
extern const int call_kind_count;

#endif
