/* a4j_swiglu: checks, and rows dealt to the team. */
#include "a4j.h"
#include "checks.h"
#include "floats.h"
#include "kernels.h"
#include "rows.h"

struct call {
  const struct a4j_kernels *kernels;
  const a4j_swiglu_desc *desc;
  const float *gate, *up;
  float *out;
};

static void gate_rows(const void *context, int64_t row, int64_t row_end) {
  const struct call *call = context;
  const a4j_swiglu_desc *desc = call->desc;
  for (int64_t r = row; r < row_end; r++)
    call->kernels->swiglu(desc->dim, call->gate + r * desc->gate_stride_row, call->up + r * desc->up_stride_row,
                          call->out + r * desc->out_stride_row);
}

int32_t a4j_swiglu(const a4j_swiglu_desc *desc, const void *gate, const void *up, void *out) {
  A4J_DEFAULT_FLOATS;
  int32_t status = a4j_check_head(desc, sizeof *desc);
  if (status != A4J_OK) return status;
  status = a4j_check_sizes(2, (const int64_t[]){desc->rows, desc->dim});
  if (status != A4J_OK) return status;
  if (desc->rows == 0 || desc->dim == 0) return A4J_OK;
  if (gate == NULL || up == NULL || out == NULL) return A4J_NULL_POINTER;

  struct call call = {a4j_kernels_active(), desc, gate, up, out};
  a4j_rows_run(desc->threads, desc->rows, 10 + 0.3 * (double)desc->dim, gate_rows, &call);
  return A4J_OK;
}
