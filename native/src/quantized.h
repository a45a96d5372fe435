/* The layout of quantised weights, and the checks of a description of how weights are stored. */
#ifndef A4J_QUANTIZED_H
#define A4J_QUANTIZED_H

#include <stdint.h>
#include <string.h>

#include "a4j.h"
#include "checks.h"
#include "kernels.h"
#include "sizes.h"

static inline int a4j_is_quantized(int32_t dtype) { return dtype == A4J_I8 || dtype == A4J_I6 || dtype == A4J_I4; }

static inline int a4j_scales_are_nested(const a4j_storage *s) { return s->scale_dtype == A4J_I8; }

static inline int a4j_code_bits(const a4j_storage *s) { return s->dtype == A4J_I8 ? 8 : s->dtype == A4J_I6 ? 6 : 4; }

/* The bytes of the scales of a group: one number for each of 16 rows. */
static inline int64_t a4j_scales_bytes(const a4j_storage *s) { return A4J_QUANTIZED_ROWS * a4j_dtype_bytes(s->scale_dtype); }
static inline int64_t a4j_codes_bytes(const a4j_storage *s) { return A4J_QUANTIZED_ROWS * s->group / 8 * a4j_code_bits(s); }
static inline int64_t a4j_group_bytes(const a4j_storage *s) {
  return a4j_codes_bytes(s) + a4j_scales_bytes(s) * (1 + s->minimums);
}
/* The bytes before the groups of a span; 0 if scales are not nested. */
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

/* What is added to a signed code so that it is stored unsigned. */
static inline int a4j_zero_point(const a4j_storage *s) { return s->minimums ? 0 : 1 << (a4j_code_bits(s) - 1); }

/* Stores and reads the codes of a group in one row of a block, unsigned and four columns to a word. */
static inline __attribute__((always_inline)) void a4j_put_codes(const a4j_storage *s, uint8_t *codes, int row,
                                                                const uint32_t *from) {
  const int lines = a4j_code_bits(s) / 2; /* of 16 columns */
  codes += 4 * row;
  for (int i = 0; i < s->group / 4; i += 4, from += 4)
    for (int j = 0; j < lines; j++, codes += 64) {
      const uint32_t word = s->dtype == A4J_I8   ? from[j]
                            : s->dtype == A4J_I6 ? from[j] | (from[3] >> 2 * j & 0x03030303) << 6
                                                 : from[2 * j] | from[2 * j + 1] << 4;
      memcpy(codes, &word, 4);
    }
}
static inline void a4j_get_codes(const a4j_storage *s, const uint8_t *codes, int row, uint32_t *to) {
  const int lines = a4j_code_bits(s) / 2;
  codes += 4 * row;
  for (int i = 0; i < s->group / 4; i += 4, to += 4) {
    if (s->dtype == A4J_I6) to[3] = 0;
    for (int j = 0; j < lines; j++, codes += 64) {
      uint32_t word;
      memcpy(&word, codes, 4);
      if (s->dtype == A4J_I8) {
        to[j] = word;
      } else if (s->dtype == A4J_I6) {
        to[j] = word & 0x3f3f3f3f;
        to[3] |= (word >> 6 & 0x03030303) << 2 * j;
      } else {
        to[2 * j] = word & 0x0f0f0f0f;
        to[2 * j + 1] = word >> 4 & 0x0f0f0f0f;
      }
    }
  }
}

/* A scale or minimum, of any type that the storage may have. */
static inline float a4j_number(const struct a4j_kernels *kernels, int32_t dtype, const uint8_t *p) {
  float x;
  if (dtype == A4J_I8) return (float)(int8_t)*p;
  kernels->convert(1, dtype, p, A4J_F32, &x);
  return x;
}

/* The weights of a group. Nested minimums are subtracted, as formats define it: that decides the sign of a zero. */
static inline void a4j_widen_group(const a4j_storage *s, float scale, float outer, float minimum, float outer_minimum,
                                   const uint32_t *codes, float *x) {
  const int zero = a4j_zero_point(s);
  if (a4j_scales_are_nested(s)) {
    scale *= outer;
    minimum = -((0.0f - minimum) * outer_minimum);
  }
  for (int c = 0; c < s->group; c++) {
    x[c] = scale * (float)((int)(codes[c / 4] >> 8 * (c % 4) & 255) - zero);
    if (s->minimums) x[c] += minimum;
  }
}

/* A description of quantised rows of `dim` columns. */
static inline int32_t a4j_check_quantized(const a4j_storage *s, int64_t dim) {
  if (!a4j_is_quantized(s->dtype)) return A4J_UNSUPPORTED_DTYPE;
  if (s->scale_dtype != A4J_F32 && s->scale_dtype != A4J_F16 && s->scale_dtype != A4J_I8) return A4J_UNSUPPORTED_DTYPE;
  if (s->group != 16 && s->group != 32 && s->group != 64 && s->group != 128) return A4J_BAD_OPTION;
  if (s->minimums != 0 && s->minimums != 1) return A4J_BAD_OPTION;
  return dim % (a4j_scales_are_nested(s) ? A4J_QUANTIZED_SPAN : s->group) == 0 ? A4J_OK : A4J_BAD_SIZE;
}

/* The same, and how many rows. */
static inline int32_t a4j_check_quantized_rows(const a4j_quantized_desc *desc) {
  int32_t status = a4j_check_version(desc, sizeof *desc);
  if (status != A4J_OK) return status;
  if (!a4j_is_float(desc->dtype)) return A4J_UNSUPPORTED_DTYPE;
  if (desc->first_row < 0 || desc->rows < 0 || desc->dim < 0) return A4J_BAD_SIZE;
  status = a4j_check_quantized(&desc->storage, desc->dim);
  if (status != A4J_OK) return status;
  int64_t rows;
  if (__builtin_add_overflow(desc->first_row, desc->rows, &rows) || __builtin_add_overflow(rows, A4J_QUANTIZED_ROWS, &rows))
    return A4J_SIZE_OVERFLOW;
  /* A weight with its scales never takes more than the bytes of a float and a half. */
  return a4j_check_sizes(3, (const int64_t[]){rows, desc->dim, 2});
}

/* A description of weights of either kind. */
static inline int32_t a4j_check_storage(const a4j_storage *s, int64_t dim) {
  if (a4j_is_quantized(s->dtype)) return a4j_check_quantized(s, dim);
  if (!a4j_is_float(s->dtype)) return A4J_UNSUPPORTED_DTYPE;
  return s->group == 0 && s->scale_dtype == 0 && s->minimums == 0 ? A4J_OK : A4J_BAD_OPTION;
}

#endif
