/* a4j_layer_norm: checks, and rows dealt to the team. */
#include "a4j.h"
#include "checks.h"
#include "floats.h"
#include "kernels.h"
#include "rows.h"
#include "sizes.h"
#include "stored.h"

struct call {
  const struct a4j_kernels *kernels;
  const a4j_layer_norm_desc *desc;
  const void *x;
  const float *weight, *bias;
  void *out;
  float *mean, *inv_std;
};

static void norm_row(const struct call *call, int64_t row, const float *x, float *out) {
  const a4j_layer_norm_desc *desc = call->desc;
  float mean, inv_std;
  call->kernels->layer_norm(desc->dim, x, call->weight, call->bias, desc->epsilon, out, &mean, &inv_std);
  if (call->mean != NULL) call->mean[row] = mean;
  if (call->inv_std != NULL) call->inv_std[row] = inv_std;
}

/* Rows that are widened or rounded, in a buffer of their size, since stacks may be small; rows of float32 need none. */
static void norm_short_rows(const struct call *call, int64_t row, int64_t row_end) {
  const a4j_layer_norm_desc *desc = call->desc;
  float room[larger(desc->dim, 1)];
  for (int64_t r = row; r < row_end; r++) {
    const float *x = a4j_widen(call->kernels, desc->dtype, call->x, r * desc->x_stride_row, desc->dim, room);
    norm_row(call, r, x, a4j_target(desc->out_dtype, call->out, r * desc->out_stride_row, room));
    a4j_round(call->kernels, desc->out_dtype, call->out, r * desc->out_stride_row, desc->dim, room);
  }
}

static void norm_rows(const void *context, int64_t row, int64_t row_end) {
  const struct call *call = context;
  const a4j_layer_norm_desc *desc = call->desc;
  if (desc->dtype != A4J_F32 || desc->out_dtype != A4J_F32) {
    norm_short_rows(call, row, row_end);
    return;
  }
  for (int64_t r = row; r < row_end; r++)
    norm_row(call, r, (const float *)call->x + r * desc->x_stride_row, (float *)call->out + r * desc->out_stride_row);
}

int32_t a4j_layer_norm(const a4j_layer_norm_desc *desc, const void *x, const float *weight, const float *bias, void *out,
                       float *mean, float *inv_std) {
  A4J_DEFAULT_FLOATS;
  int32_t status = a4j_check_version(desc, sizeof *desc);
  if (status == A4J_OK) status = a4j_check_layer(desc, desc->out_dtype);
  if (status != A4J_OK) return status;
  status = a4j_check_sizes(2, (const int64_t[]){desc->rows, desc->dim});
  if (status != A4J_OK) return status;
  if ((desc->dtype != A4J_F32 || desc->out_dtype != A4J_F32) && desc->dim > A4J_SHORT_ROW) return A4J_BAD_SIZE;
  if (desc->rows == 0 || desc->dim == 0) return A4J_OK;
  if (x == NULL || out == NULL) return A4J_NULL_POINTER;

  struct call call = {a4j_kernels_active(), desc, x, weight, bias, out, mean, inv_std};
  a4j_rows_run(desc->threads, desc->rows, 10 + 0.15 * (double)desc->dim, norm_rows, &call);
  return A4J_OK;
}
