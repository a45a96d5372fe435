/* a4j_elementwise: checks, and rows dealt to the team. */
#include <math.h>

#include "a4j.h"
#include "activation.h"
#include "checks.h"
#include "floats.h"
#include "kernels.h"
#include "rows.h"

struct call {
  const struct a4j_kernels *kernels;
  const a4j_elementwise_desc *desc;
  const float *x, *y;
  float *out;
};

static void rows_of(const void *context, int64_t row, int64_t row_end) {
  const struct call *call = context;
  const a4j_elementwise_desc *desc = call->desc;
  for (int64_t r = row; r < row_end; r++) {
    const float *x = call->x + r * desc->x_stride_row;
    const float *y = desc->combine == A4J_SET ? x : call->y + r * desc->y_stride_row;
    call->kernels->combine(desc->dim, desc->activation, desc->combine, desc->scale, x, y, call->out + r * desc->out_stride_row);
  }
}

int32_t a4j_elementwise(const a4j_elementwise_desc *desc, const void *x, const void *y, void *out) {
  A4J_DEFAULT_FLOATS;
  int32_t status = a4j_check_head(desc, sizeof *desc);
  if (status != A4J_OK) return status;
  if (!a4j_is_activation(desc->activation) || !a4j_is_combine(desc->combine)) return A4J_BAD_OPTION;
  if (desc->combine == A4J_ADD && !isfinite(desc->scale)) return A4J_BAD_OPTION;
  status = a4j_check_sizes(2, (const int64_t[]){desc->rows, desc->dim});
  if (status != A4J_OK) return status;
  if (desc->rows == 0 || desc->dim == 0) return A4J_OK;
  if (x == NULL || out == NULL || (desc->combine != A4J_SET && y == NULL)) return A4J_NULL_POINTER;

  struct call call = {a4j_kernels_active(), desc, x, y, out};
  const double nanos = a4j_activation_nanos(desc->activation) / call.kernels->lanes;
  a4j_rows_run(desc->threads, desc->rows, 5 + (0.1 + nanos) * (double)desc->dim, rows_of, &call);
  return A4J_OK;
}
