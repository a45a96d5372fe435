/* a4j_layer_norm: checks, and rows dealt to the team. */
#include "a4j.h"
#include "checks.h"
#include "floats.h"
#include "kernels.h"
#include "rows.h"

struct call {
  const struct a4j_kernels *kernels;
  const a4j_layer_norm_desc *desc;
  const float *x, *weight, *bias;
  float *out, *mean, *inv_std;
};

static void norm_rows(const void *context, int64_t row, int64_t row_end) {
  const struct call *call = context;
  const a4j_layer_norm_desc *desc = call->desc;
  for (int64_t r = row; r < row_end; r++) {
    float mean, inv_std;
    call->kernels->layer_norm(desc->dim, call->x + r * desc->x_stride_row, call->weight, call->bias, desc->epsilon,
                              call->out + r * desc->out_stride_row, &mean, &inv_std);
    if (call->mean != NULL) call->mean[r] = mean;
    if (call->inv_std != NULL) call->inv_std[r] = inv_std;
  }
}

int32_t a4j_layer_norm(const a4j_layer_norm_desc *desc, const void *x, const float *weight, const float *bias, void *out,
                       float *mean, float *inv_std) {
  A4J_DEFAULT_FLOATS;
  int32_t status = a4j_check_head(desc, sizeof *desc);
  if (status != A4J_OK) return status;
  status = a4j_check_sizes(2, (const int64_t[]){desc->rows, desc->dim});
  if (status != A4J_OK) return status;
  if (desc->rows == 0 || desc->dim == 0) return A4J_OK;
  if (x == NULL || out == NULL) return A4J_NULL_POINTER;

  struct call call = {a4j_kernels_active(), desc, x, weight, bias, out, mean, inv_std};
  a4j_rows_run(desc->threads, desc->rows, 10 + 0.15 * (double)desc->dim, norm_rows, &call);
  return A4J_OK;
}
