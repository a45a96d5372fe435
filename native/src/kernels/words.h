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

/*
 * A divisor of many numbers. Its inverse is rounded, and an error that all quotients share matters more than independent ones, so
 * the part that rounding took is multiplied too, for one more operation. Without fused multiply-adds that would not help, and numbers
 * are divided.
 */
struct divisor {
  vf by, inverse, rest;
};

/* A divisor of 0 counts as 1, so that 0 / 0 is 0. */
INLINE struct divisor divisor_of(vf l) {
  const vf zero = v_set1(0), one = v_set1(1);
  struct divisor d;
  d.by = v_select(v_eq(l, zero), one, l);
  d.inverse = v_div(one, d.by);
  d.rest = v_mul(d.inverse, v_fma(v_sub(zero, d.by), d.inverse, one));
  return d;
}

INLINE vf quotient(vf x, const struct divisor *d) {
  return A4J_FUSED ? v_fma(x, d->inverse, v_mul(x, d->rest)) : v_div(x, d->by);
}

/* The rounding error of the product p of a and b; without fused multiply-adds by splitting both (Dekker 1971). */
INLINE vf rest_of_product(vf a, vf b, vf p) {
  if (A4J_FUSED) return v_fma(a, b, v_sub(v_set1(0), p));
  const vf halves = v_set1(0x1p12f + 1), a_times = v_mul(a, halves), b_times = v_mul(b, halves);
  const vf a_high = v_sub(a_times, v_sub(a_times, a)), b_high = v_sub(b_times, v_sub(b_times, b));
  const vf a_low = v_sub(a, a_high), b_low = v_sub(b, b_high);
  const vf high = v_add(v_sub(v_mul(a_high, b_high), p), v_add(v_mul(a_high, b_low), v_mul(a_low, b_high)));
  return v_add(high, v_mul(a_low, b_low));
}

/* The rounding error of a quotient q of x. */
INLINE vf rest_of_quotient(vf x, const struct divisor *d, vf q) {
  const vf p = v_mul(q, d->by);
  return v_mul(v_sub(v_sub(x, p), rest_of_product(q, d->by, p)), d->inverse);
}

/* x / d + factor * y / e. The two may cancel, so their rounding errors matter. */
INLINE vf sum_of_quotients(vf x, const struct divisor *d, vf factor, vf y, const struct divisor *e) {
  const vf first = quotient(x, d), second = quotient(y, e), rest = rest_of_quotient(x, d, first);
  if (A4J_FUSED) return v_add(v_fma(second, factor, first), rest);
  const vf p = v_mul(second, factor), of_p = rest_of_product(second, factor, p);
  return v_add(v_add(first, p), v_add(rest, v_add(of_p, v_mul(rest_of_quotient(y, e, second), factor))));
}

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
