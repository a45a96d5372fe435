/* Features of areas against plain loops in double, on every tier. */
#include <float.h>

#include "layer_cases.h"

/* Around the lanes of every tier and with a rest. */
static const int64_t dims[] = {1, 2, 3, 4, 5, 7, 8, 9, 15, 16, 17, 31, 32, 33, 48, 63, 64, 65, 100};
enum { DIMS = sizeof dims / sizeof *dims };

/* height and width of the memory, the largest area: one line, columns, areas larger than the memory, more than a tile or two. */
static const int64_t shapes[][4] = {{1, 1, 1, 1}, {1, 7, 1, 3},   {1, 5, 1, 9},   {1, 2, 3, 2},  {3, 4, 2, 3},
                                    {3, 3, 3, 2}, {4, 1, 2, 1},   {5, 2, 9, 4},   {1, 20, 1, 7}, {1, 20, 1, 8},
                                    {1, 9, 1, 9}, {2, 21, 2, 17}, {2, 24, 1, 24}, {4, 6, 4, 6}};
enum { SHAPES = sizeof shapes / sizeof *shapes };

enum { BATCH = 2, HEADS = 3 };

/* What the formulas give for each area of a head in its order, in double and as a plain program in float has them. */
struct features {
  int64_t areas;
  double *mean, *sum, *max, *deviation;
  float *mean32, *sum32, *deviation32;
};

static int64_t count_areas(const a4j_area_desc *d) {
  int64_t areas = 0;
  for (int64_t h = 1; h <= d->max_height; h++)
    for (int64_t w = 1; w <= d->max_width; w++)
      for (int64_t y = 0; y + h <= d->height; y++)
        for (int64_t x = 0; x + w <= d->width; x++) areas++;
  return areas;
}

static void one_area(const a4j_area_desc *d, const float *x, int64_t y, int64_t left, int64_t h, int64_t w, int64_t c,
                     struct features *f, int64_t at) {
  double sum = 0, max = -INFINITY, squares = 0;
  float sum32 = 0, squares32 = 0;
  for (int64_t i = 0; i < h * w; i++) {
    float value = x[((y + i / w) * d->width + left + i % w) * d->x_stride_row + c];
    sum += value, sum32 += value;
    if (isnan(value) || value > max) max = isnan(max) ? max : (double)value;
  }
  double mean = sum / (double)(h * w);
  float mean32 = sum32 / (float)(h * w);
  for (int64_t i = 0; i < h * w; i++) {
    float value = x[((y + i / w) * d->width + left + i % w) * d->x_stride_row + c];
    squares += ((double)value - mean) * ((double)value - mean);
    squares32 += (value - mean32) * (value - mean32);
  }
  f->sum[at] = sum, f->sum32[at] = sum32;
  f->mean[at] = mean, f->mean32[at] = mean32;
  f->max[at] = max;
  f->deviation[at] = sqrt(fabs(squares / (double)(h * w)) + (double)d->epsilon);
  f->deviation32[at] = sqrtf(fabsf(squares32 / (float)(h * w)) + d->epsilon);
}

static struct features reference(const a4j_area_desc *d, const float *x) {
  struct features f = {.areas = count_areas(d)};
  const int64_t count = d->batch * d->heads * f.areas * d->dim;
  f.mean = malloc(sizeof(double) * (size_t)count), f.sum = malloc(sizeof(double) * (size_t)count);
  f.max = malloc(sizeof(double) * (size_t)count), f.deviation = malloc(sizeof(double) * (size_t)count);
  f.mean32 = malloc(sizeof(float) * (size_t)count), f.sum32 = malloc(sizeof(float) * (size_t)count);
  f.deviation32 = malloc(sizeof(float) * (size_t)count);
  int64_t area = 0;
  for (int64_t o = 0; o < d->batch * d->heads; o++) {
    const float *head = x + o / d->heads * d->x_stride_batch + o % d->heads * d->x_stride_head;
    for (int64_t h = 1; h <= d->max_height; h++)
      for (int64_t w = 1; w <= d->max_width; w++)
        for (int64_t y = 0; y + h <= d->height; y++)
          for (int64_t left = 0; left + w <= d->width; left++, area++)
            for (int64_t c = 0; c < d->dim; c++) one_area(d, head, y, left, h, w, c, &f, area * d->dim + c);
  }
  return f;
}

static void free_features(const struct features *f) {
  free(f->mean), free(f->sum), free(f->max), free(f->deviation), free(f->mean32), free(f->sum32), free(f->deviation32);
}

static a4j_area_desc describe(const int64_t *shape, int64_t dim, const struct tensor *x) {
  return (a4j_area_desc){DESC(a4j_area_desc),
                         .epsilon = 1e-6f,
                         .batch = BATCH,
                         .heads = HEADS,
                         .height = shape[0],
                         .width = shape[1],
                         .dim = dim,
                         .max_height = shape[2],
                         .max_width = shape[3],
                         .x_stride_batch = HEADS * shape[0] * shape[1] * x->stride,
                         .x_stride_head = shape[0] * shape[1] * x->stride,
                         .x_stride_row = x->stride};
}

static void areas(const int64_t *shape, int64_t dim, float range, float shift, int with_noise, int32_t threads) {
  const int64_t rows = shape[0] * shape[1];
  struct tensor x = tensor(BATCH * HEADS * rows, dim, 3, range);
  for (int64_t r = 0; r < x.rows; r++)
    for (int64_t i = 0; i < dim; i++) x.data[r * x.stride + i] += shift;
  a4j_area_desc d = describe(shape, dim, &x);
  d.threads = threads;
  struct features wanted = reference(&d, x.data);
  const int64_t all = BATCH * HEADS * wanted.areas;
  struct tensor mean = tensor(all, dim, 2, 0), sum = tensor(all, dim, 0, 0), max = tensor(all, dim, 5, 0),
                deviation = tensor(all, dim, 1, 0), noise = tensor(all, dim, 0, 2);
  d.mean_stride_row = mean.stride, d.sum_stride_row = sum.stride, d.max_stride_row = max.stride;
  d.deviation_stride_row = deviation.stride;
  CHECK_INT(a4j_area_features(&d, x.data, with_noise ? noise.data : NULL, mean.data, sum.data, max.data, deviation.data),
            A4J_OK);
  for (int64_t i = 0; i < all * dim && with_noise; i++) {
    float n = noise.data[i / dim * noise.stride + i % dim];
    wanted.mean[i] += wanted.deviation[i] * (double)n;
    wanted.mean32[i] += wanted.deviation32[i] * n;
  }
  char what[128];
  snprintf(what, sizeof what, "memory %d x %d, areas to %d x %d, dim %d", (int)shape[0], (int)shape[1], (int)shape[2],
           (int)shape[3], (int)dim);
  check_error(&mean, wanted.mean, wanted.mean32, range, what);
  check_error(&sum, wanted.sum, wanted.sum32, range, what);
  check_error(&deviation, wanted.deviation, wanted.deviation32, range, what);
  for (int64_t i = 0; i < all * dim; i++)
    CHECK(max.data[i / dim * max.stride + i % dim] == wanted.max[i], "%s: largest %g, wanted %g", what,
          (double)max.data[i / dim * max.stride + i % dim], wanted.max[i]);
  check_guards(&mean, what), check_guards(&sum, what), check_guards(&max, what), check_guards(&deviation, what);

  /* Each output is the same if it is the only one. */
  struct tensor alone = tensor(all, dim, 2, 0);
  d.mean_stride_row = d.sum_stride_row = d.max_stride_row = d.deviation_stride_row = alone.stride;
  CHECK_INT(a4j_area_features(&d, x.data, NULL, NULL, alone.data, NULL, NULL), A4J_OK);
  CHECK(same(&alone, &sum), "%s: other sums without the rest", what);
  CHECK_INT(a4j_area_features(&d, x.data, NULL, NULL, NULL, alone.data, NULL), A4J_OK);
  CHECK(same(&alone, &max), "%s: other maxima without the rest", what);
  CHECK_INT(a4j_area_features(&d, x.data, NULL, NULL, NULL, NULL, alone.data), A4J_OK);
  CHECK(same(&alone, &deviation), "%s: other deviations without the rest", what);
  CHECK_INT(a4j_area_features(&d, x.data, with_noise ? noise.data : NULL, alone.data, NULL, NULL, NULL), A4J_OK);
  CHECK(same(&alone, &mean), "%s: other means without the rest", what);
  check_guards(&alone, what);

  free(x.base), free(mean.base), free(sum.base), free(max.base), free(deviation.base), free(noise.base), free(alone.base);
  free_features(&wanted);
}
static void areasOnThisTier(void) {
  for (int i = 0; i < SHAPES; i++) areas(shapes[i], dims[up_to(DIMS - 1)], 1, 0, i & 1, 1);
  for (int i = 0; i < SHAPES; i++) areas(shapes[i], dims[i], 3, 1, ~i & 1, 2);
  for (int i = 0; i < DIMS; i++) areas(shapes[1], dims[i], 1, 0, 0, 1);
  for (int i = 0; i < DIMS; i++) areas(shapes[4], dims[i], 2, -1, 1, 3);
}
static void shouldPoolEveryAreaAsTheFormulasSay(void) { on_every_tier(areasOnThisTier); }

/* A mean of a thousand times the deviation costs the deviation nothing: differences of squares would lose all of it. */
static void farFromZero(void) {
  const int64_t shape[] = {1, 12, 1, 5};
  struct tensor x = tensor(BATCH * HEADS * 12, 33, 0, 1);
  for (int64_t i = 0; i < x.rows * x.width; i++) x.data[i] += 4096;
  a4j_area_desc d = describe(shape, 33, &x);
  d.deviation_stride_row = 33;
  struct features wanted = reference(&d, x.data);
  struct tensor deviation = tensor(BATCH * HEADS * wanted.areas, 33, 0, 0);
  CHECK_INT(a4j_area_features(&d, x.data, NULL, NULL, NULL, NULL, deviation.data), A4J_OK);
  for (int64_t i = 0; i < deviation.rows * 33; i++) CHECK_NEAR(deviation.data[i], wanted.deviation[i], 2e-6);
  free(x.base), free(deviation.base), free_features(&wanted);
}
static void shouldNotLoseTheDeviationBesideALargeMean(void) { on_every_tier(farFromZero); }

/* NaN and infinity reach the areas that contain them, and no others. */
static void oddNumbers(void) {
  static const float odd[] = {NAN, INFINITY, -INFINITY, -0.0f};
  const int64_t shape[] = {3, 5, 2, 3};
  for (int i = 0; i < 4; i++) {
    struct tensor x = tensor(BATCH * HEADS * 15, 5, 0, 1), results[4];
    x.data[(15 + 7) * 5 + 2] = odd[i]; /* line 1, column 2 of the second head */
    x.data[(15 + 8) * 5 + 4] = odd[i], x.data[(15 + 9) * 5 + 4] = -odd[i];
    a4j_area_desc d = describe(shape, 5, &x);
    d.mean_stride_row = d.sum_stride_row = d.max_stride_row = d.deviation_stride_row = 5;
    struct features wanted = reference(&d, x.data);
    const double *formulas[] = {wanted.mean, wanted.sum, wanted.max, wanted.deviation};
    for (int k = 0; k < 4; k++) results[k] = tensor(BATCH * HEADS * wanted.areas, 5, 0, 0);
    CHECK_INT(a4j_area_features(&d, x.data, NULL, results[0].data, results[1].data, results[2].data, results[3].data), A4J_OK);
    for (int k = 0; k < 4; k++) {
      for (int64_t n = 0; n < results[k].rows * 5; n++) {
        double got = results[k].data[n], formula = formulas[k][n];
        if (isnan(formula))
          CHECK(isnan(got), "feature %d, odd number %d: got %g at %d, wanted NaN", k, i, got, (int)n);
        else if (isinf(formula))
          CHECK(got == formula, "feature %d, odd number %d: got %g at %d, wanted %g", k, i, got, (int)n, formula);
        else
          CHECK_NEAR(got, formula, 2e-6);
      }
      free(results[k].base);
    }
    free(x.base), free_features(&wanted);
  }
}
static void shouldShowOddNumbersInTheAreasThatHoldThemAlone(void) { on_every_tier(oddNumbers); }

/* Hidden rows as in a bias: -infinity and 0 of one channel, broadcast by strides of 0. */
static void shouldTakeBroadcastHeadsAndBackwardRows(void) {
  float x[6] = {0, 0, -INFINITY, 0, 0, 0}, sum[2 * 3 * 11];
  a4j_area_desc d = {DESC(a4j_area_desc), .batch = 2,     .heads = 3,         .height = 1,        .width = 6, .dim = 1,
                     .max_height = 1,     .max_width = 2, .x_stride_row = -1, .sum_stride_row = 1};
  CHECK_INT(a4j_area_features(&d, x + 5, NULL, NULL, sum, NULL, NULL), A4J_OK);
  for (int i = 0; i < 66; i++) {
    int hidden = i % 11 == 3 || i % 11 == 8 || i % 11 == 9;
    CHECK(sum[i] == (hidden ? -INFINITY : 0), "sum %d is %g", i, (double)sum[i]);
  }
}

static void sameAreas(void) {
  const int64_t shape[] = {6, 50, 3, 10};
  struct tensor x = tensor(BATCH * HEADS * 300, 37, 0, 1), first[4], other[4];
  a4j_area_desc d = describe(shape, 37, &x);
  d.mean_stride_row = d.sum_stride_row = d.max_stride_row = d.deviation_stride_row = 37;
  const int64_t all = BATCH * HEADS * count_areas(&d);
  for (int k = 0; k < 4; k++) first[k] = tensor(all, 37, 0, 0), other[k] = tensor(all, 37, 0, 0);
  CHECK_INT(a4j_area_features(&d, x.data, NULL, first[0].data, first[1].data, first[2].data, first[3].data), A4J_OK);
  for (d.threads = 2; d.threads < 9; d.threads += 3) {
    CHECK_INT(a4j_area_features(&d, x.data, NULL, other[0].data, other[1].data, other[2].data, other[3].data), A4J_OK);
    for (int k = 0; k < 4; k++) CHECK(same(&first[k], &other[k]), "feature %d: other bits on %d threads", k, (int)d.threads);
  }
  for (int k = 0; k < 4; k++) free(first[k].base), free(other[k].base);
  free(x.base);
}
static void shouldGiveTheSameBitsForEveryThreadCount(void) { on_every_tier(sameAreas); }

static void shouldRefuseAreasThatADescriptorCannotMean(void) {
  float x[64] = {0}, out[256] = {5}, before[256];
  memcpy(before, out, sizeof before);
  const a4j_area_desc good = {DESC(a4j_area_desc),
                              .epsilon = 1e-6f,
                              .batch = 1,
                              .heads = 2,
                              .height = 2,
                              .width = 4,
                              .dim = 4,
                              .max_height = 2,
                              .max_width = 2,
                              .x_stride_head = 32,
                              .x_stride_row = 4,
                              .mean_stride_row = 4,
                              .sum_stride_row = 4,
                              .max_stride_row = 4,
                              .deviation_stride_row = 4};
  a4j_area_desc d;
#define AREAS(change, status)                                                                                                  \
  do {                                                                                                                         \
    d = good;                                                                                                                  \
    change;                                                                                                                    \
    CHECK_INT(a4j_area_features(&d, x, NULL, out, out, out, out), status);                                                     \
  } while (0)
  AREAS(d.size_bytes -= 4, A4J_BAD_DESCRIPTOR);
  AREAS(d.abi_version = 0, A4J_BAD_ABI);
  AREAS(d.dtype = 1, A4J_UNSUPPORTED_DTYPE);
  AREAS(d.threads = 0, A4J_BAD_OPTION);
  AREAS(d.epsilon = NAN, A4J_BAD_OPTION);
  AREAS(d.epsilon = -1e-6f, A4J_BAD_OPTION);
  AREAS(d.max_height = 0, A4J_BAD_SIZE);
  AREAS(d.max_width = 0, A4J_BAD_SIZE);
  AREAS(d.batch = -1, A4J_BAD_SIZE);
  AREAS(d.width = -1, A4J_BAD_SIZE);
  AREAS(d.mean_stride_row = 3, A4J_BAD_SIZE);
  AREAS(d.sum_stride_row = 3, A4J_BAD_SIZE);
  AREAS(d.max_stride_row = 3, A4J_BAD_SIZE);
  AREAS(d.deviation_stride_row = 3, A4J_BAD_SIZE);
  AREAS((d.width = INT64_C(1) << 30, d.max_width = INT64_MAX), A4J_SIZE_OVERFLOW);
  AREAS((d.height = INT64_C(1) << 60, d.max_height = 1), A4J_SIZE_OVERFLOW);
  CHECK(memcmp(out, before, sizeof out) == 0, "a refused call wrote");
  AREAS(d.batch = 0, A4J_OK);
  AREAS(d.dim = 0, A4J_OK);
  AREAS(d.height = 0, A4J_OK);
  AREAS(d.width = 0, A4J_OK);
  CHECK(memcmp(out, before, sizeof out) == 0, "a call without areas wrote");
  d = good;
  CHECK_INT(a4j_area_features(&d, x, NULL, NULL, NULL, NULL, NULL), A4J_OK);
  CHECK_INT(a4j_area_features(&d, NULL, NULL, out, NULL, NULL, NULL), A4J_NULL_POINTER);
  CHECK_INT(a4j_area_features(NULL, x, NULL, out, NULL, NULL, NULL), A4J_NULL_POINTER);
  CHECK_INT(a4j_area_features(&d, x, NULL, out, NULL, NULL, NULL), A4J_OK);
}

/* Means and deviations of areas whose sums and squares overflow. */
static void largeAreas(void) {
  static const int64_t shape[] = {3, 5, 2, 3};
  for (int64_t dim = 3; dim < 40; dim += 9) {
    struct tensor x = tensor(BATCH * HEADS * 15, dim, 3, 0);
    for (int64_t r = 0; r < x.rows; r++)
      for (int64_t i = 0; i < dim; i++) x.data[r * x.stride + i] = (up_to(3) == 0 ? -1 : 1) * FLT_MAX * 0.9f;
    a4j_area_desc d = describe(shape, dim, &x);
    struct features wanted = reference(&d, x.data);
    const int64_t all = BATCH * HEADS * wanted.areas;
    struct tensor mean = tensor(all, dim, 2, 0), deviation = tensor(all, dim, 1, 0);
    d.mean_stride_row = mean.stride, d.deviation_stride_row = deviation.stride;
    CHECK_INT(a4j_area_features(&d, x.data, NULL, mean.data, NULL, NULL, deviation.data), A4J_OK);
    for (int64_t i = 0; i < all * dim; i++) {
      CHECK_NEAR(mean.data[i / dim * mean.stride + i % dim], wanted.mean[i], 1e-6 * FLT_MAX);
      CHECK_NEAR(deviation.data[i / dim * deviation.stride + i % dim], wanted.deviation[i], 1e-6 * FLT_MAX);
    }
    free_features(&wanted);
    free(x.base), free(mean.base), free(deviation.base);
  }
}
static void shouldAverageValuesWhoseSumsOverflow(void) { on_every_tier(largeAreas); }

int main(void) {
  RUN(shouldPoolEveryAreaAsTheFormulasSay);
  RUN(shouldNotLoseTheDeviationBesideALargeMean);
  RUN(shouldShowOddNumbersInTheAreasThatHoldThemAlone);
  RUN(shouldTakeBroadcastHeadsAndBackwardRows);
  RUN(shouldGiveTheSameBitsForEveryThreadCount);
  RUN(shouldRefuseAreasThatADescriptorCannotMean);
  RUN(shouldAverageValuesWhoseSumsOverflow);
  return CHECK_RESULT();
}
