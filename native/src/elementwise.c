/* a4j_elementwise: checks, and rows dealt to the team. */
#include <math.h>

#include "a4j.h"
#include "activation.h"
#include "checks.h"
#include "floats.h"
#include "kernels.h"
#include "rows.h"
#include "stored.h"

struct call {
  const struct a4j_kernels *kernels;
  const a4j_elementwise_desc *desc;
  const void *x, *y;
  void *out;
};

/* Numbers of 16 bits that are widened and rounded at a time. */
enum { SHORT_PART = 512 };

static int is_short(const a4j_elementwise_desc *desc) {
  return desc->dtype != A4J_F32 || desc->out_dtype != A4J_F32 || (desc->combine != A4J_SET && desc->y_dtype != A4J_F32);
}

static void short_row(const struct call *call, int64_t row) {
  const a4j_elementwise_desc *desc = call->desc;
  float room_x[SHORT_PART], room_y[SHORT_PART];
  for (int64_t d = 0; d < desc->dim; d += SHORT_PART) {
    const int64_t n = desc->dim - d < SHORT_PART ? desc->dim - d : SHORT_PART, out_at = row * desc->out_stride_row + d;
    const float *x = a4j_widen(call->kernels, desc->dtype, call->x, row * desc->x_stride_row + d, n, room_x), *y = x;
    if (desc->combine != A4J_SET) y = a4j_widen(call->kernels, desc->y_dtype, call->y, row * desc->y_stride_row + d, n, room_y);
    float *out = a4j_target(desc->out_dtype, call->out, out_at, room_x);
    call->kernels->combine(n, desc->activation, desc->combine, desc->scale, x, y, out);
    a4j_round(call->kernels, desc->out_dtype, call->out, out_at, n, room_x);
  }
}

static void rows_of(const void *context, int64_t row, int64_t row_end) {
  const struct call *call = context;
  const a4j_elementwise_desc *desc = call->desc;
  for (int64_t r = row; r < row_end; r++) {
    if (is_short(desc)) {
      short_row(call, r);
      continue;
    }
    const float *x = (const float *)call->x + r * desc->x_stride_row;
    const float *y = desc->combine == A4J_SET ? x : (const float *)call->y + r * desc->y_stride_row;
    float *out = (float *)call->out + r * desc->out_stride_row;
    call->kernels->combine(desc->dim, desc->activation, desc->combine, desc->scale, x, y, out);
  }
}

int32_t a4j_elementwise(const a4j_elementwise_desc *desc, const void *x, const void *y, void *out) {
  A4J_DEFAULT_FLOATS;
  int32_t status = a4j_check_version(desc, sizeof *desc);
  if (status == A4J_OK) status = a4j_check_layer(desc, desc->out_dtype);
  if (status != A4J_OK) return status;
  if (!a4j_is_activation(desc->activation) || !a4j_is_combine(desc->combine)) return A4J_BAD_OPTION;
  if (desc->combine == A4J_ADD && !isfinite(desc->scale)) return A4J_BAD_OPTION;
  if (desc->combine != A4J_SET && !a4j_is_float(desc->y_dtype)) return A4J_UNSUPPORTED_DTYPE;
  status = a4j_check_sizes(2, (const int64_t[]){desc->rows, desc->dim});
  if (status != A4J_OK) return status;
  if (desc->rows == 0 || desc->dim == 0) return A4J_OK;
  if (x == NULL || out == NULL || (desc->combine != A4J_SET && y == NULL)) return A4J_NULL_POINTER;

  struct call call = {a4j_kernels_active(), desc, x, y, out};
  const double nanos = a4j_activation_nanos(desc->activation) / call.kernels->lanes;
  a4j_rows_run(desc->threads, desc->rows, 5 + (0.1 + nanos) * (double)desc->dim, rows_of, &call);
  return A4J_OK;
}
