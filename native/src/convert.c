/* a4j_convert: checks, and rows dealt to the team; a long row is cut. */
#include "a4j.h"
#include "checks.h"
#include "floats.h"
#include "kernels.h"
#include "rows.h"
#include "sizes.h"

/* The most numbers that one unit of work converts. */
enum { UNIT = 16384 };

struct call {
  const struct a4j_kernels *kernels;
  const a4j_convert_desc *desc;
  const char *x;
  char *out;
  int64_t units_per_row;
};

static void convert_units(const void *context, int64_t unit, int64_t unit_end) {
  const struct call *call = context;
  const a4j_convert_desc *desc = call->desc;
  for (; unit < unit_end; unit++) {
    const int64_t row = unit / call->units_per_row, at = unit % call->units_per_row * UNIT;
    const int64_t count = desc->dim - at < UNIT ? desc->dim - at : UNIT;
    call->kernels->convert(count, desc->dtype, call->x + (row * desc->x_stride_row + at) * a4j_dtype_bytes(desc->dtype),
                           desc->out_dtype, call->out + (row * desc->out_stride_row + at) * a4j_dtype_bytes(desc->out_dtype));
  }
}

int32_t a4j_convert(const a4j_convert_desc *desc, const void *x, void *out) {
  A4J_DEFAULT_FLOATS;
  int32_t status = a4j_check_version(desc, sizeof *desc);
  if (status != A4J_OK) return status;
  if (!a4j_is_float(desc->dtype) || !a4j_is_float(desc->out_dtype)) return A4J_UNSUPPORTED_DTYPE;
  status = a4j_check_sizes(2, (const int64_t[]){desc->rows, desc->dim});
  if (status != A4J_OK) return status;
  if (desc->rows == 0 || desc->dim == 0) return A4J_OK;
  if (x == NULL || out == NULL) return A4J_NULL_POINTER;

  struct call call = {a4j_kernels_active(), desc, x, out, ceil_div(desc->dim, UNIT)};
  const double nanos = 5 + 0.1 * (double)(desc->dim < UNIT ? desc->dim : UNIT);
  a4j_rows_run(desc->threads, desc->rows * call.units_per_row, nanos, convert_units, &call);
  return A4J_OK;
}
