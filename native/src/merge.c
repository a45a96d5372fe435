/* a4j_merge: checks, the weights of both sides, and rows dealt to the team. */
#include <math.h>
#include <string.h>

#include "a4j.h"
#include "checks.h"
#include "floats.h"
#include "kernels.h"
#include "rows.h"

struct call {
  const struct a4j_kernels *kernels;
  const a4j_merge_desc *desc;
  const float *a, *lse_a, *b, *lse_b;
  float *out, *lse;
};

/*
 * Both logarithms are taken relative to the larger, so that one exponential is 1 and nothing overflows. A side that saw no key
 * is not multiplied at all, so whatever it contains, NaN included, has no effect. NaN in a logsumexp reaches the whole row.
 */
static void merge_row(const struct call *call, float lse_a, float lse_b, const float *a, const float *b, float *out,
                      float *lse) {
  size_t row_bytes = (size_t)call->desc->dim * sizeof *out;
  float sum = lse_a == -INFINITY ? lse_b : lse_a;
  if (lse_a == -INFINITY && lse_b == -INFINITY) {
    memset(out, 0, row_bytes);
  } else if (lse_b == -INFINITY) {
    if (out != a) memcpy(out, a, row_bytes);
  } else if (lse_a == -INFINITY) {
    memcpy(out, b, row_bytes);
  } else {
    float larger = lse_a > lse_b ? lse_a : lse_b;
    float e_a = expf(lse_a - larger), e_b = expf(lse_b - larger);
    call->kernels->merge(call->desc->dim, a, e_a / (e_a + e_b), b, e_b / (e_a + e_b), out);
    sum = larger + logf(e_a + e_b);
  }
  if (lse != NULL) *lse = sum;
}

/* Rows are numbered (b, h, i), i fastest, in the order of the logsumexps. */
static void merge_rows(const void *context, int64_t row, int64_t row_end) {
  const struct call *call = context;
  const a4j_merge_desc *desc = call->desc;
  for (int64_t r = row; r < row_end; r++) {
    int64_t i = r % desc->len, h = r / desc->len % desc->heads, b = r / desc->len / desc->heads;
    merge_row(call, call->lse_a[r], call->lse_b[r],
              call->a + b * desc->a_stride_batch + h * desc->a_stride_head + i * desc->a_stride_row,
              call->b + b * desc->b_stride_batch + h * desc->b_stride_head + i * desc->b_stride_row,
              call->out + b * desc->out_stride_batch + h * desc->out_stride_head + i * desc->out_stride_row,
              call->lse == NULL ? NULL : call->lse + r);
  }
}

int32_t a4j_merge(const a4j_merge_desc *desc, const void *a, const float *lse_a, const void *b, const float *lse_b, void *out,
                  float *lse) {
  A4J_DEFAULT_FLOATS;
  int32_t status = a4j_check_head(desc, sizeof *desc);
  if (status != A4J_OK) return status;
  status = a4j_check_sizes(4, (const int64_t[]){desc->batch, desc->heads, desc->len, desc->dim});
  if (status != A4J_OK) return status;
  status = a4j_check_sizes(3, (const int64_t[]){desc->batch, desc->heads, desc->len});
  if (status != A4J_OK) return status;
  int64_t rows = desc->batch * desc->heads * desc->len;
  if (rows == 0) return A4J_OK;
  if (lse_a == NULL || lse_b == NULL) return A4J_NULL_POINTER;
  if (desc->dim > 0 && (a == NULL || b == NULL || out == NULL)) return A4J_NULL_POINTER;

  struct call call = {a4j_kernels_active(), desc, a, lse_a, b, lse_b, out, lse};
  a4j_rows_run(desc->threads, rows, 30 + 0.15 * (double)desc->dim, merge_rows, &call);
  return A4J_OK;
}
