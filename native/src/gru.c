/* a4j_gru: checks, and rows dealt to the team. */
#include "a4j.h"
#include "checks.h"
#include "floats.h"
#include "kernels.h"
#include "rows.h"

struct call {
  const struct a4j_kernels *kernels;
  const a4j_gru_desc *desc;
  const float *x, *u, *h;
  float *out;
};

static void step_rows(const void *context, int64_t row, int64_t row_end) {
  const struct call *call = context;
  const a4j_gru_desc *desc = call->desc;
  for (int64_t r = row; r < row_end; r++)
    call->kernels->gru(desc->dim, call->x + r * desc->x_stride_row, call->u + r * desc->u_stride_row,
                       call->h + r * desc->h_stride_row, call->out + r * desc->out_stride_row);
}

int32_t a4j_gru(const a4j_gru_desc *desc, const void *x, const void *u, const void *h, void *out) {
  A4J_DEFAULT_FLOATS;
  int32_t status = a4j_check_head(desc, sizeof *desc);
  if (status != A4J_OK) return status;
  status = a4j_check_sizes(3, (const int64_t[]){desc->rows, desc->dim, 3});
  if (status != A4J_OK) return status;
  if (desc->rows == 0 || desc->dim == 0) return A4J_OK;
  if (x == NULL || u == NULL || h == NULL || out == NULL) return A4J_NULL_POINTER;

  struct call call = {a4j_kernels_active(), desc, x, u, h, out};
  a4j_rows_run(desc->threads, desc->rows, 10 + (double)desc->dim * 16 / call.kernels->lanes, step_rows, &call);
  return A4J_OK;
}
