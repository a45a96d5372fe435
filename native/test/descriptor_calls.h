/*
 * Every function that takes a descriptor, called with NULL for a buffer that it needs: it must return an answer, and nothing
 * else may happen. Buffers that are not needed are NULL or not, at random.
 */
#ifndef A4J_DESCRIPTOR_CALLS_H
#define A4J_DESCRIPTOR_CALLS_H

#include <stdbool.h>
#include <stdint.h>

struct descriptor_call {
  const char *name;
  const char *desc;                  /* the struct that it takes */
  int64_t (*call)(const void *desc); /* a status */
  bool answers_bytes;                /* A4J_OK instead of the bytes */
};

extern const struct descriptor_call descriptor_calls[];
extern const int descriptor_call_count;

/* The call of that name. */
const struct descriptor_call *descriptor_call(const char *name);

/* Splitmix64: what is drawn. */
extern uint64_t descriptor_draws;
uint64_t draw(void);

#endif
