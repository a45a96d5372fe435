/* a4j_kv_append: checks of all batches, then rows rounded into the cache by the team. */
#include <math.h>
#include <string.h>

#include "a4j.h"
#include "checks.h"
#include "floats.h"
#include "kernels.h"
#include "rows.h"
#include "scale.h"
#include "sizes.h"

struct call {
  const struct a4j_kernels *kernels;
  const a4j_kv_append_desc *desc;
  const int32_t *lengths, *counts, *pages;
  const char *rows;
  char *cache;
  float *scales;
};

static int64_t new_rows(const struct call *call, int64_t b) {
  return call->counts != NULL ? call->counts[b] : call->desc->len_new;
}

static int32_t page_of(const struct call *call, int64_t b, int64_t row) {
  const a4j_view *cache = &call->desc->cache;
  return call->pages[b * cache->pages_stride_batch + row / cache->page_rows];
}

/* Elements from the cache's beginning to cache row `row` of batch b and head h, and the same for its scale. */
static int64_t place_of(const struct call *call, int64_t b, int64_t h, int64_t row, int64_t *scale) {
  const a4j_view *cache = &call->desc->cache;
  const int64_t outer = cache->page_rows == 0 ? b : page_of(call, b, row),
                j = cache->page_rows == 0 ? row : row % cache->page_rows;
  *scale = outer * cache->scale_stride_batch + h * cache->scale_stride_head + j * cache->scale_stride_row;
  return outer * cache->stride_batch + h * cache->stride_head + j * cache->stride_row;
}

static float largest_of(const float *x, int64_t dim) {
  float largest = 0;
  for (int64_t c = 0; c < dim; c++) largest = fabsf(x[c]) > largest ? fabsf(x[c]) : largest;
  return largest;
}

static float quantise(const float *x, int64_t dim, int8_t *to) {
  const float scale = a4j_scale_of(largest_of(x, dim), 127);
  const double inverse = scale > 0 ? 1 / (double)scale : 0;
  for (int64_t c = 0; c < dim; c++) {
    const double step = nearbyint((double)x[c] * inverse);
    to[c] = (int8_t)(step > 127 ? 127 : step < -127 ? -127 : step);
  }
  return scale;
}

static const char *row_of(const struct call *call, int64_t b, int64_t h, int64_t i) {
  const a4j_kv_append_desc *desc = call->desc;
  const int64_t at = b * desc->rows_stride_batch + h * desc->rows_stride_head + i * desc->rows_stride_row;
  return call->rows + at * a4j_dtype_bytes(desc->dtype);
}

/* Heads are numbered (b, h), h fastest. */
static void append_heads(const void *context, int64_t head, int64_t head_end) {
  const struct call *call = context;
  const a4j_kv_append_desc *desc = call->desc;
  const int32_t dtype = desc->cache.dtype;
  for (int64_t n = head; n < head_end; n++) {
    const int64_t b = n / desc->heads, h = n % desc->heads, count = new_rows(call, b);
    for (int64_t i = 0; i < count; i++) {
      int64_t scale;
      const char *from = row_of(call, b, h, i);
      char *to = call->cache + place_of(call, b, h, call->lengths[b] + i, &scale) * a4j_dtype_bytes(dtype);
      if (dtype == A4J_I8)
        call->scales[scale] = quantise((const float *)from, desc->dim, (int8_t *)to);
      else
        call->kernels->convert(desc->dim, desc->dtype, from, dtype, to);
    }
  }
}

static int32_t check_types(const a4j_kv_append_desc *desc) {
  const a4j_view *cache = &desc->cache;
  if (!a4j_is_float(desc->dtype)) return A4J_UNSUPPORTED_DTYPE;
  if (!a4j_is_float(cache->dtype) && (cache->dtype != A4J_I8 || desc->dtype != A4J_F32)) return A4J_UNSUPPORTED_DTYPE;
  if (cache->page_rows < 0 || cache->page_rows % A4J_PAGE_ROWS != 0) return A4J_BAD_OPTION;
  return cache->pages < 0 ? A4J_BAD_SIZE : A4J_OK;
}

/* That all rows have room, in pages that exist. */
static int32_t check_places(const struct call *call) {
  const a4j_kv_append_desc *desc = call->desc;
  for (int64_t b = 0; b < desc->batch; b++) {
    const int64_t count = new_rows(call, b);
    if (count < 0) return A4J_BAD_SIZE;
    if (call->lengths[b] < 0 || count > desc->len_new || count > desc->capacity - call->lengths[b]) return A4J_BAD_POSITION;
    for (int64_t row = call->lengths[b]; desc->cache.page_rows > 0 && call->pages != NULL && row < call->lengths[b] + count;
         row = (row / desc->cache.page_rows + 1) * desc->cache.page_rows)
      if (page_of(call, b, row) < 0 || page_of(call, b, row) >= desc->cache.pages) return A4J_BAD_POSITION;
  }
  return A4J_OK;
}

static int32_t check_finite(const struct call *call) {
  const a4j_kv_append_desc *desc = call->desc;
  for (int64_t b = 0; b < desc->batch; b++)
    for (int64_t h = 0; h < desc->heads; h++)
      for (int64_t i = 0; i < new_rows(call, b); i++) {
        const float *row = (const float *)row_of(call, b, h, i);
        for (int64_t c = 0; c < desc->dim; c++)
          if (!isfinite(row[c])) return A4J_BAD_VALUE;
      }
  return A4J_OK;
}

int32_t a4j_kv_append(const a4j_kv_append_desc *desc, const void *rows, void *cache, float *scales, const int32_t *pages) {
  A4J_DEFAULT_FLOATS;
  int32_t status = a4j_check_version(desc, sizeof *desc);
  if (status == A4J_OK) status = check_types(desc);
  if (status != A4J_OK) return status;
  status = a4j_check_sizes(4, (const int64_t[]){desc->batch, desc->heads, desc->len_new, desc->dim});
  if (status != A4J_OK) return status;
  status = a4j_check_sizes(4, (const int64_t[]){desc->batch, desc->heads, desc->capacity, desc->dim});
  if (status != A4J_OK) return status;

  struct call call = {
      .kernels = a4j_kernels_active(), .desc = desc, .rows = rows, .cache = cache, .scales = scales, .pages = pages};
  status = a4j_check_tail(desc, sizeof *desc, desc->lengths_offset, desc->batch, &call.lengths);
  if (status != A4J_OK) return status;
  status = a4j_check_tail(desc, sizeof *desc, desc->counts_offset, desc->batch, &call.counts);
  if (status != A4J_OK) return status;
  if (desc->batch == 0) return A4J_OK;
  if (call.lengths == NULL) return A4J_BAD_DESCRIPTOR;
  status = check_places(&call);
  if (status != A4J_OK) return status;
  if ((desc->cache.dtype != A4J_I8 && scales != NULL) || (desc->cache.page_rows == 0 && pages != NULL)) return A4J_BAD_OPTION;
  if (desc->heads == 0 || desc->len_new == 0 || desc->dim == 0) return A4J_OK;
  if (rows == NULL || cache == NULL || (desc->cache.dtype == A4J_I8 && scales == NULL) ||
      (desc->cache.page_rows > 0 && pages == NULL))
    return A4J_NULL_POINTER;
  if (desc->cache.dtype == A4J_I8) status = check_finite(&call);
  if (status != A4J_OK) return status;

  a4j_rows_run(desc->threads, desc->batch * desc->heads, (double)desc->len_new * (5 + 0.1 * (double)desc->dim), append_heads,
               &call);
  return A4J_OK;
}
