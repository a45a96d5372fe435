/* a4j_area_features: checks, and the corners of areas dealt to the team. */
#include <math.h>
#include <stddef.h>

#include "a4j.h"
#include "checks.h"
#include "floats.h"
#include "kernels.h"
#include "rows.h"
#include "sizes.h"

struct run {
  const struct a4j_kernels *kernels;
  struct a4j_area_call call;
};

static void run_corners(const void *context, int64_t corner, int64_t corner_end) {
  const struct run *run = context;
  const int64_t height = run->call.desc->height, width = run->call.desc->width;
  for (; corner < corner_end; corner++)
    run->kernels->area_corner(&run->call, corner / (height * width), corner / width % height, corner % width);
}

/* How many corners areas of 1 to `most` have along an axis of `axis` places. */
static int64_t places(int64_t axis, int64_t most) { return most * axis - most * (most - 1) / 2; }

int32_t a4j_area_features(const a4j_area_desc *desc, const void *x, const float *noise, float *mean, float *sum, float *max,
                          float *deviation) {
  A4J_DEFAULT_FLOATS;
  int32_t status = a4j_check_head(desc, sizeof *desc);
  if (status != A4J_OK) return status;
  if (!isfinite(desc->epsilon) || desc->epsilon < 0) return A4J_BAD_OPTION;
  if (desc->max_height < 1 || desc->max_width < 1) return A4J_BAD_SIZE;
  const int64_t highest = smaller(desc->max_height, desc->height), widest = smaller(desc->max_width, desc->width);
  status =
      a4j_check_sizes(7, (const int64_t[]){desc->batch, desc->heads, desc->height, highest, desc->width, widest, desc->dim});
  if (status != A4J_OK) return status;
  if ((mean != NULL && desc->mean_stride_row < desc->dim) || (sum != NULL && desc->sum_stride_row < desc->dim) ||
      (max != NULL && desc->max_stride_row < desc->dim) || (deviation != NULL && desc->deviation_stride_row < desc->dim))
    return A4J_BAD_SIZE;
  const int64_t count = desc->batch * desc->heads * desc->height * desc->width;
  if (count == 0 || desc->dim == 0) return A4J_OK;
  if (x == NULL) return A4J_NULL_POINTER;
  if (mean == NULL && sum == NULL && max == NULL && deviation == NULL) return A4J_OK;

  if (mean == NULL) noise = NULL;
  const int64_t areas = places(desc->height, highest) * places(desc->width, widest);
  const struct run run = {a4j_kernels_active(), {desc, x, noise, mean, sum, max, deviation, areas}};
  /* On a Zen 5 core with AVX-512 an area takes 4 ns a vector, and 0.5 more for each of its rows if they are read again. */
  double each = 4 + (deviation != NULL || noise != NULL ? 0.5 * (double)(highest * widest) / 4 : 0);
  double vectors = 1 + (double)desc->dim / run.kernels->lanes;
  a4j_rows_run(desc->threads, count, 10 + (double)(highest * widest) * vectors * each, run_corners, &run);
  return A4J_OK;
}
