/* a4j_dropout: checks, and rows of the mask dealt to the team. */
#include "a4j.h"
#include "checks.h"
#include "floats.h"
#include "kernels.h"
#include "rows.h"

struct call {
  const struct a4j_kernels *kernels;
  const a4j_dropout_desc *desc;
  uint8_t *keep;
};

/* Numbers of one row that are drawn at once. */
enum { SOME = 256 };

static void draw_row(const struct call *call, int64_t row) {
  const a4j_dropout_desc *d = call->desc;
  const int64_t i = row % d->len_q, h = row / d->len_q % d->heads, b = row / d->len_q / d->heads;
  const uint32_t counter[3] = {d->shared & A4J_SHARED_ROW ? 0 : (uint32_t)i, d->shared & A4J_SHARED_HEAD ? 0 : (uint32_t)h,
                               d->shared & A4J_SHARED_BATCH ? 0 : (uint32_t)b};
  const int one = (d->shared & A4J_SHARED_KEY) != 0;
  uint8_t *keep = call->keep + row * d->len_k;
  for (int64_t j0 = 0; j0 < d->len_k; j0 += SOME) {
    const int64_t keys = d->len_k - j0 < SOME ? d->len_k - j0 : SOME;
    float number[SOME];
    call->kernels->uniform_numbers((uint64_t)d->seed, counter, one ? 0 : j0, one ? 1 : keys, number);
    for (int64_t j = 0; j < keys; j++) keep[j0 + j] = number[one ? 0 : j] >= d->rate;
  }
}

static void draw_rows(const void *context, int64_t row, int64_t row_end) {
  for (int64_t r = row; r < row_end; r++) draw_row(context, r);
}

int32_t a4j_dropout(const a4j_dropout_desc *desc, uint8_t *keep) {
  A4J_DEFAULT_FLOATS;
  int32_t status = a4j_check_head(desc, sizeof *desc);
  if (status != A4J_OK) return status;
  status = a4j_check_sizes(4, (const int64_t[]){desc->batch, desc->heads, desc->len_q, desc->len_k});
  if (status != A4J_OK) return status;
  if (!(desc->rate >= 0 && desc->rate < 1) || desc->shared < 0 ||
      desc->shared > (A4J_SHARED_BATCH | A4J_SHARED_HEAD | A4J_SHARED_ROW | A4J_SHARED_KEY))
    return A4J_BAD_OPTION;
  if (desc->batch == 0 || desc->heads == 0 || desc->len_q == 0 || desc->len_k == 0) return A4J_OK;
  if (keep == NULL) return A4J_NULL_POINTER;

  struct call call = {a4j_kernels_active(), desc, keep};
  a4j_rows_run(desc->threads, desc->batch * desc->heads * desc->len_q, 20 + 2 * (double)desc->len_k, draw_rows, &call);
  return A4J_OK;
}
