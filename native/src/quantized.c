/* Quantised weights: packing, quantising and widening, a block of 16 rows after the other, dealt to the team. */
#include "quantized.h"

#include <float.h>
#include <math.h>
#include <stdatomic.h>
#include <stddef.h>
#include <string.h>

#include "a4j.h"
#include "floats.h"
#include "kernels.h"
#include "rows.h"
#include "scale.h"
#include "sizes.h"

enum { ROWS = A4J_QUANTIZED_ROWS, MOST_GROUP = 128 };

/* Unsigned codes of a group of a row. */
union codes {
  uint8_t each[MOST_GROUP];
  uint32_t words[MOST_GROUP / 4];
};

struct call {
  const struct a4j_kernels *kernels;
  const a4j_quantized_desc *desc;
  const char *codes, *scales, *minimums, *outer_scales, *outer_minimums, *x;
  uint8_t *packed;
  char *out;
  _Atomic int bad; /* a value cannot be quantised */
};

static uint8_t *block_of(const struct call *call, int64_t row) {
  const a4j_quantized_desc *desc = call->desc;
  return call->packed + row / ROWS * a4j_block_bytes(&desc->storage, desc->dim);
}

/* ---- Packing ---- */

/* Copies one number of `bytes` bytes for each row of a block from [rows][count] at number `index`. */
static void put_numbers(uint8_t *to, const char *from, int64_t rows, int64_t row, int64_t count, int64_t index, int64_t bytes) {
  for (int64_t r = 0; r < rows; r++) memcpy(to + r * bytes, from + ((row + r) * count + index) * bytes, (size_t)bytes);
}

static void pack_blocks(const void *context, int64_t block, int64_t block_end) {
  struct call *call = (struct call *)context;
  const a4j_quantized_desc *desc = call->desc;
  const a4j_storage *s = &desc->storage;
  const int64_t groups = desc->dim / s->group, spans = desc->dim / A4J_QUANTIZED_SPAN;
  const int64_t numbers = a4j_scales_bytes(s) / ROWS;
  const int zero = a4j_zero_point(s), most = (1 << a4j_code_bits(s)) - 1;
  for (; block < block_end; block++) {
    const int64_t row = block * ROWS, rows = smaller(ROWS, desc->rows - row);
    uint8_t *to = block_of(call, desc->first_row + row);
    memset(to, 0, (size_t)a4j_block_bytes(s, desc->dim));
    for (int64_t g = 0; g < groups; g++) {
      uint8_t *codes = to + a4j_group_offset(s, g), *scales = codes + a4j_codes_bytes(s);
      if (a4j_scales_are_nested(s) && g * s->group % A4J_QUANTIZED_SPAN == 0) {
        const int64_t span = g * s->group / A4J_QUANTIZED_SPAN;
        put_numbers(codes - a4j_outer_bytes(s), call->outer_scales, rows, row, spans, span, 2);
        if (s->minimums) put_numbers(codes - ROWS * 2, call->outer_minimums, rows, row, spans, span, 2);
      }
      for (int64_t r = 0; r < rows; r++) {
        const char *from = call->codes + (row + r) * desc->dim + g * s->group;
        union codes all;
        for (int64_t c = 0; c < s->group; c++) {
          const int code = (s->minimums ? (uint8_t)from[c] : (int8_t)from[c]) + zero;
          if (code < 0 || code > most) atomic_store_explicit(&call->bad, 1, memory_order_relaxed);
          all.each[c] = (uint8_t)(code & most);
        }
        a4j_put_codes(s, codes, (int)r, all.words);
      }
      put_numbers(scales, call->scales, rows, row, groups, g, numbers);
      if (s->minimums) put_numbers(scales + a4j_scales_bytes(s), call->minimums, rows, row, groups, g, numbers);
    }
  }
}

/* ---- Quantising ---- */

/* The number of the type of scales that is nearest to x, or with `down` the nearest that is not above x. */
static float rounded(const struct call *call, float x, int down) {
  uint16_t half;
  float nearest;
  if (call->desc->storage.scale_dtype == A4J_F32) return x;
  call->kernels->convert(1, A4J_F32, &x, A4J_F16, &half);
  call->kernels->convert(1, A4J_F16, &half, A4J_F32, &nearest);
  if (!down || nearest <= x) return nearest;
  half = (uint16_t)(half & 0x8000 ? half + 1 : half - 1);
  call->kernels->convert(1, A4J_F16, &half, A4J_F32, &nearest);
  return nearest;
}

static void put_number(const struct call *call, uint8_t *numbers, int row, float x) {
  const int32_t dtype = call->desc->storage.scale_dtype;
  call->kernels->convert(1, A4J_F32, &x, dtype, numbers + row * a4j_dtype_bytes(dtype));
}

static void quantize_group(struct call *call, const float *x, int row, uint8_t *codes) {
  const a4j_storage *s = &call->desc->storage;
  const int bits = a4j_code_bits(s), zero = a4j_zero_point(s);
  const int most = s->minimums ? (1 << bits) - 1 : (1 << (bits - 1)) - 1, least = s->minimums ? 0 : -most;
  float low = x[0], high = x[0];
  int finite = 1;
  for (int64_t c = 0; c < s->group; c++) {
    finite &= fabsf(x[c]) <= FLT_MAX;
    low = x[c] < low ? x[c] : low;
    high = x[c] > high ? x[c] : high;
  }
  const float minimum = s->minimums ? rounded(call, low, 1) : 0;
  const float range = s->minimums ? high - minimum : fmaxf(high, -low);
  const int bounded = finite && range <= FLT_MAX && minimum >= -FLT_MAX;
  const float scale = bounded ? rounded(call, a4j_scale_of(range, most), 0) : INFINITY;
  if (!(scale <= FLT_MAX)) {
    atomic_store_explicit(&call->bad, 1, memory_order_relaxed);
    return;
  }
  union codes all;
  for (int64_t c = 0; c < s->group; c++) {
    const float steps = scale > 0 ? (x[c] - minimum) / scale : 0;
    const float code = nearbyintf(steps < (float)least ? (float)least : steps > (float)most ? (float)most : steps);
    all.each[c] = (uint8_t)((int)code + zero);
  }
  a4j_put_codes(s, codes, row, all.words);
  put_number(call, codes + a4j_codes_bytes(s), row, scale);
  if (s->minimums) put_number(call, codes + a4j_codes_bytes(s) + a4j_scales_bytes(s), row, minimum);
}

static void quantize_blocks(const void *context, int64_t block, int64_t block_end) {
  struct call *call = (struct call *)context;
  const a4j_quantized_desc *desc = call->desc;
  const a4j_storage *s = &desc->storage;
  for (; block < block_end; block++) {
    const int64_t row = block * ROWS, rows = smaller(ROWS, desc->rows - row);
    uint8_t *to = block_of(call, desc->first_row + row);
    memset(to, 0, (size_t)a4j_block_bytes(s, desc->dim));
    for (int64_t r = 0; r < rows; r++)
      for (int64_t g = 0; g < desc->dim / s->group; g++) {
        float x[MOST_GROUP];
        const char *from = call->x + ((row + r) * desc->stride_row + g * s->group) * a4j_dtype_bytes(desc->dtype);
        call->kernels->convert(s->group, desc->dtype, from, A4J_F32, x);
        quantize_group(call, x, (int)r, to + a4j_group_offset(s, g));
      }
  }
}

/* ---- Widening ---- */

static void widen_rows(const void *context, int64_t index, int64_t index_end) {
  const struct call *call = context;
  const a4j_quantized_desc *desc = call->desc;
  const a4j_storage *s = &desc->storage;
  const int64_t number = a4j_scales_bytes(s) / ROWS;
  for (; index < index_end; index++) {
    const int64_t row = desc->first_row + index;
    const int lane = (int)(row % ROWS);
    const uint8_t *block = block_of(call, row);
    float outer = 1, outer_minimum = 1;
    for (int64_t g = 0; g < desc->dim / s->group; g++) {
      const uint8_t *codes = block + a4j_group_offset(s, g), *scales = codes + a4j_codes_bytes(s) + lane * number;
      if (a4j_scales_are_nested(s) && g * s->group % A4J_QUANTIZED_SPAN == 0) {
        outer = a4j_number(call->kernels, A4J_F16, codes - a4j_outer_bytes(s) + lane * 2);
        if (s->minimums) outer_minimum = a4j_number(call->kernels, A4J_F16, codes - ROWS * 2 + lane * 2);
      }
      const float scale = a4j_number(call->kernels, s->scale_dtype, scales);
      const float minimum = s->minimums ? a4j_number(call->kernels, s->scale_dtype, scales + a4j_scales_bytes(s)) : 0;
      union codes all;
      float x[MOST_GROUP];
      a4j_get_codes(s, codes, lane, all.words);
      a4j_widen_group(s, scale, outer, minimum, outer_minimum, all.words, x);
      char *to = call->out + (index * desc->stride_row + g * s->group) * a4j_dtype_bytes(desc->dtype);
      call->kernels->convert(s->group, A4J_F32, x, desc->dtype, to);
    }
  }
}

/* ---- Exported ---- */

static int32_t run(struct call *call, int64_t units, double nanos, void (*fn)(const void *, int64_t, int64_t)) {
  call->kernels = a4j_kernels_active();
  atomic_init(&call->bad, 0);
  a4j_rows_run(call->desc->threads, units, nanos, fn, call);
  return atomic_load_explicit(&call->bad, memory_order_relaxed) ? A4J_BAD_VALUE : A4J_OK;
}

int64_t a4j_quantized_bytes(const a4j_quantized_desc *desc) {
  A4J_DEFAULT_FLOATS;
  const int32_t status = a4j_check_quantized_rows(desc);
  if (status != A4J_OK) return -(int64_t)status;
  return ceil_div(desc->first_row + desc->rows, ROWS) * a4j_block_bytes(&desc->storage, desc->dim);
}

int32_t a4j_quantized_pack(const a4j_quantized_desc *desc, const void *codes, const void *scales, const void *minimums,
                           const void *outer_scales, const void *outer_minimums, void *packed) {
  A4J_DEFAULT_FLOATS;
  const int32_t status = a4j_check_quantized_rows(desc);
  if (status != A4J_OK) return status;
  if (desc->first_row % ROWS != 0) return A4J_BAD_POSITION;
  if (desc->rows == 0 || desc->dim == 0) return A4J_OK;
  const a4j_storage *s = &desc->storage;
  if (codes == NULL || scales == NULL || packed == NULL || (s->minimums && minimums == NULL)) return A4J_NULL_POINTER;
  if (a4j_scales_are_nested(s) && (outer_scales == NULL || (s->minimums && outer_minimums == NULL))) return A4J_NULL_POINTER;
  struct call call = {.desc = desc,
                      .codes = codes,
                      .scales = scales,
                      .minimums = minimums,
                      .outer_scales = outer_scales,
                      .outer_minimums = outer_minimums,
                      .packed = packed};
  return run(&call, ceil_div(desc->rows, ROWS), (double)desc->dim * ROWS, pack_blocks);
}

int32_t a4j_quantize(const a4j_quantized_desc *desc, const void *x, void *packed) {
  A4J_DEFAULT_FLOATS;
  const int32_t status = a4j_check_quantized_rows(desc);
  if (status != A4J_OK) return status;
  if (a4j_scales_are_nested(&desc->storage)) return A4J_UNSUPPORTED_DTYPE;
  if (desc->first_row % ROWS != 0) return A4J_BAD_POSITION;
  if (desc->rows == 0 || desc->dim == 0) return A4J_OK;
  if (x == NULL || packed == NULL) return A4J_NULL_POINTER;
  struct call call = {.desc = desc, .x = x, .packed = packed};
  return run(&call, ceil_div(desc->rows, ROWS), (double)desc->dim * ROWS * 2, quantize_blocks);
}

int32_t a4j_dequantize(const a4j_quantized_desc *desc, const void *packed, void *out) {
  A4J_DEFAULT_FLOATS;
  const int32_t status = a4j_check_quantized_rows(desc);
  if (status != A4J_OK) return status;
  if (desc->rows == 0 || desc->dim == 0) return A4J_OK;
  if (packed == NULL || out == NULL) return A4J_NULL_POINTER;
  struct call call = {.desc = desc, .packed = (uint8_t *)packed, .out = out};
  return run(&call, desc->rows, (double)desc->dim, widen_rows);
}
