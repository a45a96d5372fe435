/* The layout of quantised weights, and the checks of a description of how weights are stored. */
#ifndef A4J_QUANTIZED_H
#define A4J_QUANTIZED_H

#include <stdint.h>

#include "a4j.h"
#include "checks.h"
#include "sizes.h"

static inline int a4j_is_quantized(int32_t dtype) { return dtype == A4J_I8 || dtype == A4J_I4; }

static inline int a4j_scales_are_nested(const a4j_storage *s) { return s->scale_dtype == A4J_I8; }

/* The bytes of the scales of 16 rows of a group, of one number a row. */
static inline int64_t a4j_scales_bytes(const a4j_storage *s) { return A4J_QUANTIZED_ROWS * a4j_dtype_bytes(s->scale_dtype); }
static inline int64_t a4j_codes_bytes(const a4j_storage *s) {
  return A4J_QUANTIZED_ROWS * s->group / (s->dtype == A4J_I8 ? 1 : 2);
}
static inline int64_t a4j_group_bytes(const a4j_storage *s) {
  return a4j_codes_bytes(s) + a4j_scales_bytes(s) * (1 + s->minimums);
}
/* What stands before the groups of a span; 0 if scales are not nested. */
static inline int64_t a4j_outer_bytes(const a4j_storage *s) {
  return a4j_scales_are_nested(s) ? A4J_QUANTIZED_ROWS * 2 * (1 + s->minimums) : 0;
}
static inline int64_t a4j_block_bytes(const a4j_storage *s, int64_t dim) {
  return dim / s->group * a4j_group_bytes(s) + dim / A4J_QUANTIZED_SPAN * a4j_outer_bytes(s);
}
/* Where in a block a group begins. */
static inline int64_t a4j_group_offset(const a4j_storage *s, int64_t group) {
  return group * a4j_group_bytes(s) + (group * s->group / A4J_QUANTIZED_SPAN + 1) * a4j_outer_bytes(s);
}

/* A description of quantised rows of `dim` columns. */
static inline int32_t a4j_check_quantized(const a4j_storage *s, int64_t dim) {
  if (!a4j_is_quantized(s->dtype)) return A4J_UNSUPPORTED_DTYPE;
  if (s->scale_dtype != A4J_F32 && s->scale_dtype != A4J_F16 && s->scale_dtype != A4J_I8) return A4J_UNSUPPORTED_DTYPE;
  if (s->group != 16 && s->group != 32 && s->group != 64 && s->group != 128) return A4J_BAD_OPTION;
  if (s->minimums != 0 && s->minimums != 1) return A4J_BAD_OPTION;
  return dim % (a4j_scales_are_nested(s) ? A4J_QUANTIZED_SPAN : s->group) == 0 ? A4J_OK : A4J_BAD_SIZE;
}

/* A description of weights of either kind. */
static inline int32_t a4j_check_storage(const a4j_storage *s, int64_t dim) {
  if (a4j_is_quantized(s->dtype)) return a4j_check_quantized(s, dim);
  if (!a4j_is_float(s->dtype)) return A4J_UNSUPPORTED_DTYPE;
  return s->group == 0 && s->scale_dtype == 0 && s->minimums == 0 ? A4J_OK : A4J_BAD_OPTION;
}

#endif
