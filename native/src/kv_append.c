/* a4j_kv_append: checks of all batches, then rows copied by the team. */
#include <string.h>

#include "a4j.h"
#include "checks.h"
#include "floats.h"
#include "rows.h"

struct call {
  const a4j_kv_append_desc *desc;
  const int32_t *lengths, *counts;
  const float *rows;
  float *cache;
};

static int64_t new_rows(const struct call *call, int64_t b) {
  return call->counts != NULL ? call->counts[b] : call->desc->len_new;
}

/* Heads are numbered (b, h), h fastest. */
static void append_heads(const void *context, int64_t head, int64_t head_end) {
  const struct call *call = context;
  const a4j_kv_append_desc *desc = call->desc;
  for (int64_t n = head; n < head_end; n++) {
    int64_t b = n / desc->heads, h = n % desc->heads, count = new_rows(call, b);
    const float *from = call->rows + b * desc->rows_stride_batch + h * desc->rows_stride_head;
    float *to =
        call->cache + b * desc->cache_stride_batch + h * desc->cache_stride_head + call->lengths[b] * desc->cache_stride_row;
    if (desc->rows_stride_row == desc->dim && desc->cache_stride_row == desc->dim) {
      memcpy(to, from, (size_t)(count * desc->dim) * sizeof *to);
      continue;
    }
    for (int64_t i = 0; i < count; i++)
      memcpy(to + i * desc->cache_stride_row, from + i * desc->rows_stride_row, (size_t)desc->dim * sizeof *to);
  }
}

int32_t a4j_kv_append(const a4j_kv_append_desc *desc, const void *rows, void *cache) {
  A4J_DEFAULT_FLOATS;
  int32_t status = a4j_check_head(desc, sizeof *desc);
  if (status != A4J_OK) return status;
  status = a4j_check_sizes(4, (const int64_t[]){desc->batch, desc->heads, desc->len_new, desc->dim});
  if (status != A4J_OK) return status;
  status = a4j_check_sizes(4, (const int64_t[]){desc->batch, desc->heads, desc->capacity, desc->dim});
  if (status != A4J_OK) return status;

  struct call call = {.desc = desc, .rows = rows, .cache = cache};
  status = a4j_check_tail(desc, sizeof *desc, desc->lengths_offset, desc->batch, &call.lengths);
  if (status != A4J_OK) return status;
  status = a4j_check_tail(desc, sizeof *desc, desc->counts_offset, desc->batch, &call.counts);
  if (status != A4J_OK) return status;
  if (desc->batch == 0) return A4J_OK;
  if (call.lengths == NULL) return A4J_BAD_DESCRIPTOR;
  for (int64_t b = 0; b < desc->batch; b++) {
    int64_t count = new_rows(&call, b);
    if (count < 0) return A4J_BAD_SIZE;
    if (call.lengths[b] < 0 || count > desc->len_new || count > desc->capacity - call.lengths[b]) return A4J_BAD_POSITION;
  }
  if (desc->heads == 0 || desc->len_new == 0 || desc->dim == 0) return A4J_OK;
  if (rows == NULL || cache == NULL) return A4J_NULL_POINTER;

  a4j_rows_run(desc->threads, desc->batch * desc->heads, (double)desc->len_new * (5 + 0.1 * (double)desc->dim), append_heads,
               &call);
  return A4J_OK;
}
