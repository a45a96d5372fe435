/*
 * The vocabulary of the kernels, and helpers that need nothing else. A tier includes its own vec_*.h first; a file opened by
 * itself in an editor gets the baseline's.
 */
#ifndef A4J_WORDS_H
#define A4J_WORDS_H

#ifndef A4J_VEC_H
#if defined(__aarch64__)
#include "vec_neon.h"
#else
#include "vec_sse2.h"
#endif
#endif

#include <float.h>
#include <math.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "../kernels.h"
#include "../sizes.h"

#define LOG2_E 0x1.715476p+0f
#define INLINE static inline __attribute__((always_inline))

/* The first n lanes, 0 <= n <= A4J_LANES; the others are read as 0 and never written. The test vanishes if n is constant. */
INLINE vf v_load_n(const float *p, int n) { return n == A4J_LANES ? v_load(p) : v_load_part(p, n); }
INLINE void v_store_n(float *p, vf a, int n) {
  if (n == A4J_LANES)
    v_store(p, a);
  else
    v_store_part(p, a, n);
}

/* n numbers of a row, starting at number `at`, stored as dtype: A4J_F32, A4J_BF16 or A4J_F16. dtype is a constant. */
INLINE vf v_load_as(const int dtype, const void *row, int64_t at, int n) {
  if (dtype == A4J_F32) return v_load_n((const float *)row + at, n);
  const uint16_t *p = (const uint16_t *)row + at;
  if (dtype == A4J_BF16) return n == A4J_LANES ? v_load_bf16(p) : v_load_bf16_part(p, n);
  return n == A4J_LANES ? v_load_f16(p) : v_load_f16_part(p, n);
}
INLINE void v_store_as(const int dtype, void *row, int64_t at, vf a, int n) {
  uint16_t *p = (uint16_t *)row + at;
  if (dtype == A4J_F32)
    v_store_n((float *)row + at, a, n);
  else if (dtype == A4J_BF16 && n == A4J_LANES)
    v_store_bf16(p, a);
  else if (dtype == A4J_BF16)
    v_store_bf16_part(p, a, n);
  else if (n == A4J_LANES)
    v_store_f16(p, a);
  else
    v_store_f16_part(p, a, n);
}

/* The nearest numbers of bfloat16, as floats. */
INLINE vf v_rounded(vf a) {
  uint16_t rounded[A4J_LANES];
  v_store_bf16(rounded, a);
  return v_load_bf16(rounded);
}

#endif
