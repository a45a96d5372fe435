/* Rows of layers that may be stored in 16 bits: what a kernel takes is widened, and what it returns is rounded. */
#ifndef A4J_STORED_H
#define A4J_STORED_H

#include <stdint.h>

#include "kernels.h"
#include "sizes.h"

/* Element `at` of a tensor. */
static inline const void *a4j_element(int32_t dtype, const void *from, int64_t at) {
  return (const char *)from + at * a4j_dtype_bytes(dtype);
}

/* `count` numbers from element `at` on as floats: in place if they are floats, else widened into `room`. */
static inline const float *a4j_widen(const struct a4j_kernels *kernels, int32_t dtype, const void *from, int64_t at,
                                     int64_t count, float *room) {
  const void *first = a4j_element(dtype, from, at);
  if (dtype == A4J_F32) return first;
  kernels->convert(count, dtype, first, A4J_F32, room);
  return room;
}

/* Where a kernel writes floats that become elements from `at` on: to their place if they are floats, else to `room`. */
static inline float *a4j_target(int32_t dtype, void *to, int64_t at, float *room) {
  return dtype == A4J_F32 ? (float *)to + at : room;
}

/* Rounds what a kernel wrote to such a target. */
static inline void a4j_round(const struct a4j_kernels *kernels, int32_t dtype, void *to, int64_t at, int64_t count,
                             const float *room) {
  if (dtype != A4J_F32) kernels->convert(count, A4J_F32, room, dtype, (char *)to + at * a4j_dtype_bytes(dtype));
}

#endif
