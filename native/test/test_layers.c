/*
 * RMS and layer normalisation, rotary positions, SwiGLU, the merge and the cache append against their formulas in double, on
 * every tier: sizes around the lanes, strides, results in place, what must not be touched, what must be refused.
 */
#include <float.h>

#include "half.h"
#include "layer_cases.h"
#include "reference_layers.h"

/* Around the lanes of every tier, four vectors of the widest, and with a rest. */
static const int64_t dims[] = {1, 2, 3, 4, 5, 7, 8, 9, 15, 16, 17, 24, 31, 32, 33, 63, 64, 65, 80, 127, 128, 130, 192, 500};
enum { DIMS = sizeof dims / sizeof *dims };

struct wanted {
  double *exact;
  float *plain;
};
static struct wanted wanted(int64_t count) {
  return (struct wanted){malloc(sizeof(double) * (size_t)(count + 1)), malloc(sizeof(float) * (size_t)(count + 1))};
}
static void release(struct wanted w) {
  free(w.exact);
  free(w.plain);
}

/* ---- RMS normalisation ---- */

static void norm(int64_t rows, int64_t dim, int64_t gap, float range, int with_weight, int in_place, int32_t threads) {
  struct tensor x = tensor(rows, dim, gap, range), weight = tensor(1, dim, 0, 1),
                out = tensor(rows, dim, in_place ? gap : 2, 1);
  a4j_rms_norm_desc d = {DESC(a4j_rms_norm_desc),      .rows = rows,     .dim = dim,   .x_stride_row = x.stride,
                         .out_stride_row = out.stride, .epsilon = 1e-5f, .scale = 0.8f};
  d.threads = threads;
  struct wanted w = wanted(rows * dim);
  const float *weights = with_weight ? weight.data : NULL;
  reference_rms_norm_f64(&d, x.data, weights, w.exact);
  reference_rms_norm_f32(&d, x.data, weights, w.plain);
  struct tensor *result = in_place ? &x : &out;
  CHECK_INT(a4j_rms_norm(&d, x.data, weights, result->data), A4J_OK);
  char what[96];
  snprintf(what, sizeof what, "rms_norm rows %d dim %d range %g weight %d in place %d", (int)rows, (int)dim, (double)range,
           with_weight, in_place);
  check_error(result, w.exact, w.plain, 0, what);
  check_guards(result, what);
  release(w);
  free(x.base), free(weight.base), free(out.base);
}
static void normOnThisTier(void) {
  for (int i = 0; i < DIMS; i++)
    for (int option = 0; option < 4; option++) {
      const int64_t gap = up_to(3), rows = 1 + up_to(4);
      norm(rows, dims[i], gap, 3, option & 1, option >> 1, 1);
    }
  norm(3, 64, 0, 1e-4f, 1, 0, 1);
  norm(3, 64, 0, 1e15f, 1, 0, 1);
  norm(2, 0, 3, 1, 1, 0, 1);
  norm(3000, 96, 0, 1, 1, 1, 3);
}
static void shouldNormaliseAsTheFormulaSays(void) { on_every_tier(normOnThisTier); }

static void normNan(void) {
  struct tensor x = tensor(3, 37, 0, 1);
  x.data[37 + 36] = NAN;
  memset(x.data + 2 * 37, 0, sizeof(float) * 37);
  a4j_rms_norm_desc d = {DESC(a4j_rms_norm_desc), .rows = 3,        .dim = 37, .x_stride_row = 37,
                         .out_stride_row = 37,    .epsilon = 1e-6f, .scale = 1};
  CHECK_INT(a4j_rms_norm(&d, x.data, NULL, x.data), A4J_OK);
  for (int i = 0; i < 37; i++) {
    CHECK(isfinite(x.data[i]), "row 0 has %g", (double)x.data[i]);
    CHECK(isnan(x.data[37 + i]), "row 1 hides its NaN: %g", (double)x.data[37 + i]);
    CHECK(x.data[2 * 37 + i] == 0, "a row of zeros gives %g", (double)x.data[2 * 37 + i]);
  }
  free(x.base);
}
static void shouldShowNanInItsRowAloneWhenNormalising(void) { on_every_tier(normNan); }

/* Squares of these overflow, and so do their sums; the normed rows are of the size of one. */
static void normsOfLargeRows(void) {
  static const float sizes[] = {1e19f, 1e30f, 3.4e38f};
  for (int i = 0; i < 3; i++)
    for (int64_t dim = 5; dim < 200; dim += 31) {
      struct tensor x = tensor(1, dim, 0, sizes[i]), weight = tensor(1, dim, 0, 1), out = tensor(1, dim, 0, 0);
      double mean = 0, variance = 0, squares = 0;
      for (int64_t d = 0; d < dim; d++) {
        if (i == 2 && d % 3 > 0) x.data[d] = fabsf(x.data[d]);
        mean += (double)x.data[d] / (double)dim;
        squares += (double)x.data[d] * (double)x.data[d] / (double)dim;
      }
      for (int64_t d = 0; d < dim; d++) variance += ((double)x.data[d] - mean) * ((double)x.data[d] - mean) / (double)dim;
      a4j_rms_norm_desc rms = {DESC(a4j_rms_norm_desc), .rows = 1, .dim = dim, .epsilon = 1e-6f, .scale = 2};
      CHECK_INT(a4j_rms_norm(&rms, x.data, weight.data, out.data), A4J_OK);
      for (int64_t d = 0; d < dim; d++)
        CHECK_NEAR(out.data[d], 2 * (double)x.data[d] / sqrt(squares) * (double)weight.data[d], 1e-6);
      a4j_layer_norm_desc layer = {DESC(a4j_layer_norm_desc), .rows = 1, .dim = dim, .epsilon = 1e-6f};
      float got_mean, got_inv_std;
      CHECK_INT(a4j_layer_norm(&layer, x.data, weight.data, weight.data, out.data, &got_mean, &got_inv_std), A4J_OK);
      for (int64_t d = 0; d < dim; d++)
        CHECK_NEAR(out.data[d], (((double)x.data[d] - mean) / sqrt(variance) + 1) * (double)weight.data[d], 1e-6);
      CHECK_NEAR(got_mean, mean, 1e-6 * (double)sizes[i]);
      CHECK_NEAR(got_inv_std * sqrt(variance), 1, 1e-6);
      free(x.base), free(weight.base), free(out.base);
    }
}
static void shouldNormaliseRowsWhoseSquaresOverflow(void) { on_every_tier(normsOfLargeRows); }

/* ---- Layer normalisation ---- */

struct layer_norm_options {
  float range, centre;
  int with_weight, with_bias, in_place;
  int32_t threads;
};

static void layer_norm(int64_t rows, int64_t dim, int64_t gap, struct layer_norm_options o) {
  struct tensor x = tensor(rows, dim, gap, o.range), weight = tensor(1, dim, 0, 1), bias = tensor(1, dim, 0, 1),
                out = tensor(rows, dim, o.in_place ? gap : 2, 1), mean = tensor(1, rows, 0, 0), inv_std = tensor(1, rows, 0, 0);
  for (int64_t r = 0; r < rows; r++)
    for (int64_t i = 0; i < dim; i++) x.data[r * x.stride + i] += o.centre;
  a4j_layer_norm_desc d = {DESC(a4j_layer_norm_desc),    .rows = rows,    .dim = dim, .x_stride_row = x.stride,
                           .out_stride_row = out.stride, .epsilon = 1e-5f};
  d.threads = o.threads;
  struct wanted w = wanted(rows * dim), w_mean = wanted(rows), w_inv_std = wanted(rows);
  const float *weights = o.with_weight ? weight.data : NULL, *biases = o.with_bias ? bias.data : NULL;
  reference_layer_norm_f64(&d, x.data, weights, biases, w.exact, w_mean.exact, w_inv_std.exact);
  reference_layer_norm_f32(&d, x.data, weights, biases, w.plain, w_mean.plain, w_inv_std.plain);
  struct tensor *result = o.in_place ? &x : &out, before = copy_of(&x);
  CHECK_INT(a4j_layer_norm(&d, x.data, weights, biases, result->data, mean.data, inv_std.data), A4J_OK);
  char what[128];
  snprintf(what, sizeof what, "layer_norm rows %d dim %d range %g centre %g weight %d bias %d in place %d", (int)rows, (int)dim,
           (double)o.range, (double)o.centre, o.with_weight, o.with_bias, o.in_place);
  check_error(result, w.exact, w.plain, 0, what);
  check_error(&mean, w_mean.exact, w_mean.plain, o.range + fabs((double)o.centre), what);
  check_error(&inv_std, w_inv_std.exact, w_inv_std.plain, 0, what);
  check_guards(result, what);
  check_guards(&mean, what);
  check_guards(&inv_std, what);
  struct tensor again = tensor(rows, dim, result->stride - dim, 0);
  CHECK_INT(a4j_layer_norm(&d, before.data, weights, biases, again.data, NULL, NULL), A4J_OK);
  CHECK(same(&again, result), "%s: other bits without the mean", what);
  release(w), release(w_mean), release(w_inv_std);
  free(x.base), free(weight.base), free(bias.base), free(out.base), free(mean.base), free(inv_std.base);
  free(before.base), free(again.base);
}
static void layerNormOnThisTier(void) {
  for (int i = 0; i < DIMS; i++)
    for (int option = 0; option < 8; option++) {
      const int64_t gap = up_to(3), rows = 1 + up_to(4);
      layer_norm(rows, dims[i], gap, (struct layer_norm_options){3, 0, option & 1, option >> 1 & 1, option >> 2, 1});
    }
  layer_norm(3, 64, 0, (struct layer_norm_options){1e-4f, 0, 1, 1, 0, 1});
  layer_norm(3, 64, 0, (struct layer_norm_options){1e15f, 0, 1, 0, 0, 1});
  layer_norm(2, 0, 3, (struct layer_norm_options){1, 0, 1, 1, 0, 1});
  layer_norm(3000, 96, 0, (struct layer_norm_options){1, 0, 1, 1, 1, 3});
}
static void shouldNormaliseLayersAsTheFormulaSays(void) { on_every_tier(layerNormOnThisTier); }

/* The spread is a millionth of the mean: E[x^2] - E[x]^2 in float would be noise, and so would deviations from a rounded mean. */
static void layerNormLargeMean(void) {
  static const int64_t widths[] = {5, 64, 130, 1000};
  for (int i = 0; i < 4; i++) {
    int64_t dim = widths[i];
    struct tensor x = tensor(1, dim, 0, 1), out = tensor(1, dim, 0, 0);
    for (int64_t c = 0; c < dim; c++) x.data[c] = 1e6f + x.data[c];
    a4j_layer_norm_desc d = {DESC(a4j_layer_norm_desc), .rows = 1,       .dim = dim, .x_stride_row = dim,
                             .out_stride_row = dim,     .epsilon = 1e-5f};
    struct wanted w = wanted(dim);
    double mean, inv_std;
    float got_mean, got_inv_std;
    reference_layer_norm_f64(&d, x.data, NULL, NULL, w.exact, &mean, &inv_std);
    CHECK_INT(a4j_layer_norm(&d, x.data, NULL, NULL, out.data, &got_mean, &got_inv_std), A4J_OK);
    for (int64_t c = 0; c < dim; c++) CHECK_NEAR(out.data[c], w.exact[c], 2e-6);
    CHECK_NEAR(got_mean, mean, 0.0625); /* the distance of floats there */
    CHECK_NEAR(got_inv_std, inv_std, 1e-6 * inv_std);
    release(w);
    free(x.base), free(out.base);
  }
}
static void shouldStayAccurateWhereTheMeanIsLarge(void) { on_every_tier(layerNormLargeMean); }

static void layerNormNan(void) {
  enum { DIM = 37 };
  struct tensor x = tensor(4, DIM, 0, 1);
  float mean[4], inv_std[4];
  x.data[DIM + 36] = NAN;
  for (int i = 0; i < DIM; i++) x.data[2 * DIM + i] = 0.1f;
  x.data[3 * DIM + 5] = INFINITY;
  a4j_layer_norm_desc d = {DESC(a4j_layer_norm_desc), .rows = 4,       .dim = DIM, .x_stride_row = DIM,
                           .out_stride_row = DIM,     .epsilon = 1e-6f};
  CHECK_INT(a4j_layer_norm(&d, x.data, NULL, NULL, x.data, mean, inv_std), A4J_OK);
  for (int i = 0; i < DIM; i++) {
    CHECK(isfinite(x.data[i]), "row 0 has %g", (double)x.data[i]);
    CHECK(isnan(x.data[DIM + i]), "row 1 hides its NaN: %g", (double)x.data[DIM + i]);
    CHECK_NEAR(x.data[2 * DIM + i], 0, 1e-6);
    CHECK(isnan(x.data[3 * DIM + i]), "row 3 hides its infinity: %g", (double)x.data[3 * DIM + i]);
  }
  CHECK_NEAR(inv_std[2], 1000, 1e-2);
  CHECK(isnan(mean[1]) && isnan(inv_std[1]), "row 1 has mean %g, factor %g", (double)mean[1], (double)inv_std[1]);
  free(x.base);
}
static void shouldShowNanInItsRowAloneAndMakeZerosOfAConstantRow(void) { on_every_tier(layerNormNan); }

/* ---- Element by element ---- */

static void element(int activation, int combine, int64_t rows, int64_t dim, float range, int place, int32_t threads) {
  struct tensor x = tensor(rows, dim, 2, range), y = tensor(rows, dim, 1, 2), out = tensor(rows, dim, 3, 1);
  struct tensor *result = place == 0 ? &out : place == 1 ? &x : &y;
  a4j_elementwise_desc d = {DESC(a4j_elementwise_desc), .activation = activation, .combine = combine, .scale = 1.75f};
  d.rows = rows, d.dim = dim, d.threads = threads;
  d.x_stride_row = x.stride, d.y_stride_row = y.stride, d.out_stride_row = result->stride;
  struct wanted w = wanted(rows * dim);
  reference_elementwise_f64(&d, x.data, y.data, w.exact);
  reference_elementwise_f32(&d, x.data, y.data, w.plain);
  CHECK_INT(a4j_elementwise(&d, x.data, combine == A4J_SET && place < 2 ? NULL : y.data, result->data), A4J_OK);
  char what[128];
  snprintf(what, sizeof what, "activation %d combine %d rows %d dim %d range %g place %d", activation, combine, (int)rows,
           (int)dim, (double)range, place);
  /* The tails of both forms of GELU are granted some roundings of x; see below for their relative error. */
  check_error(result, w.exact, w.plain, activation == A4J_GELU || activation == A4J_GELU_TANH ? (double)range : 0, what);
  check_guards(result, what);
  release(w);
  free(x.base), free(y.base), free(out.base);
}
static void elementsOnThisTier(void) {
  for (int activation = A4J_IDENTITY; activation <= A4J_TANH; activation++)
    for (int combine = A4J_SET; combine <= A4J_MULTIPLY; combine++) {
      for (int i = 0; i < DIMS; i++)
        for (int place = 0; place < 3; place++) element(activation, combine, 1 + up_to(3), dims[i], 8, place, 1);
      element(activation, combine, 5, 1000, 0.01f, 0, 1);
      element(activation, combine, 5, 1000, 1000, 0, 1);
      element(activation, combine, 300, 512, 5, 1, 3);
    }
}
static void shouldActivateAndCombineAsTheFormulasSay(void) { on_every_tier(elementsOnThisTier); }

/* Relative errors where results are small beside the largest of a row, and the limits. */
static void activationsOnThisTier(void) {
  static const float x[] = {0,   -0.0f, 1e-30f, -1e-30f, 1e-3f, -1e-3f,   0.3f,      -0.3f, 1,    -1,
                            2,   -2,    3.99f,  -3.99f,  -5,    -7,       87,        89,    200,  20,
                            -20, 3e38f, -6,     -87,     -89,   INFINITY, -INFINITY, NAN,   -200, -3e38f};
  enum { N = sizeof x / sizeof *x };
  for (int activation = A4J_RELU; activation <= A4J_TANH; activation++) {
    float out[N], y[N] = {0};
    double wanted[N];
    a4j_elementwise_desc d = {DESC(a4j_elementwise_desc), .activation = activation, .rows = 1, .dim = N};
    CHECK_INT(a4j_elementwise(&d, x, NULL, out), A4J_OK);
    reference_elementwise_f64(&d, x, y, wanted);
    for (int i = 0; i < N; i++) {
      const double value = wanted[i], error = fabs((double)out[i] - value);
      const int tail = (activation == A4J_GELU || activation == A4J_GELU_TANH) && x[i] < -1; /* exp() of a rounded x^2 */
      const double most = (tail ? 1e-6 + 2e-7 * (double)(x[i] * x[i]) : 1e-6) * fabs(value) + 1e-35;
      CHECK(isnan(value) ? isnan(out[i]) : error <= most || out[i] == value, "activation %d of %g: wanted %g, got %g",
            activation, (double)x[i], value, (double)out[i]);
    }
  }
}
static void shouldStayAccurateInTheTailsAndReachTheLimitsWithoutNan(void) { on_every_tier(activationsOnThisTier); }

/* ---- Rotary positions ---- */

enum { TABLE = 40 };

static void rope(int style, int64_t dim, int64_t rotary_dim, int positions, int in_place, int32_t threads, int64_t len) {
  struct {
    a4j_rope_desc d;
    int32_t positions[64];
  } block = {.d = {DESC(a4j_rope_desc), .style = style, .batch = 3, .heads = 2, .len = len, .dim = dim,
                   .rotary_dim = rotary_dim, .table_rows = positions == 0 ? len + 5 : TABLE, .position_start = 5}};
  a4j_rope_desc *d = &block.d;
  d->threads = threads;
  /* x is [batch, len, heads, dim], as a projection writes it; out is [batch, heads, len, dim]. */
  struct tensor x = tensor(3 * len * 2, dim, 3, 2), out = tensor(3 * 2 * len, dim, 1, 1);
  d->x_stride_row = 2 * x.stride, d->x_stride_head = x.stride, d->x_stride_batch = len * 2 * x.stride;
  d->out_stride_row = out.stride, d->out_stride_head = len * out.stride, d->out_stride_batch = 2 * len * out.stride;
  if (positions != 0) {
    d->size_bytes = sizeof block;
    d->positions_offset = sizeof *d;
    d->positions_stride_batch = positions == 1 ? 0 : len;
    for (int i = 0; i < 64; i++) block.positions[i] = (int32_t)up_to(TABLE - 1);
  }
  struct tensor cosines = tensor(d->table_rows, rotary_dim / 2, 0, 1), sines = tensor(d->table_rows, rotary_dim / 2, 0, 1);
  struct wanted w = wanted(3 * 2 * len * dim);
  reference_rope_f64(d, x.data, cosines.data, sines.data, w.exact);
  reference_rope_f32(d, x.data, cosines.data, sines.data, w.plain);
  char what[128];
  snprintf(what, sizeof what, "rope style %d dim %d rotary %d positions %d in place %d", style, (int)dim, (int)rotary_dim,
           positions, in_place);
  if (in_place) {
    a4j_rope_desc *same = d;
    same->out_stride_row = d->x_stride_row, same->out_stride_head = d->x_stride_head,
    same->out_stride_batch = d->x_stride_batch;
    CHECK_INT(a4j_rope(d, x.data, cosines.data, sines.data, x.data), A4J_OK);
    for (int64_t n = 0; n < 3 * 2 * len; n++) {
      int64_t i = n % len, h = n / len % 2, b = n / len / 2;
      memcpy(out.data + n * out.stride, x.data + b * d->x_stride_batch + h * d->x_stride_head + i * d->x_stride_row,
             sizeof(float) * (size_t)dim);
    }
    check_guards(&x, what);
  } else {
    CHECK_INT(a4j_rope(d, x.data, cosines.data, sines.data, out.data), A4J_OK);
  }
  check_error(&out, w.exact, w.plain, 1, what);
  check_guards(&out, what);
  release(w);
  free(x.base), free(out.base), free(cosines.base), free(sines.base);
}
static void ropeOnThisTier(void) {
  for (int style = 0; style < 2; style++) {
    for (int i = 0; i < DIMS; i++)
      for (int option = 0; option < 6; option++) {
        rope(style, dims[i], dims[i] / 2 * 2, option % 3, option / 3, 1, 1 + up_to(5));
        rope(style, dims[i], dims[i] / 4 * 2, option % 3, option / 3, 1, 1 + up_to(5));
      }
    rope(style, 64, 64, 0, 1, 3, 1500);
  }
}
static void shouldTurnPairsAsTheFormulaSays(void) { on_every_tier(ropeOnThisTier); }

static void shouldRefusePositionsOutsideTheTableBeforeItWrites(void) {
  struct {
    a4j_rope_desc d;
    int32_t positions[4];
  } block = {.d = {DESC(a4j_rope_desc), .batch = 2, .heads = 1, .len = 2, .dim = 4, .rotary_dim = 4, .table_rows = 10,
                   .x_stride_batch = 8, .x_stride_row = 4, .out_stride_batch = 8, .out_stride_row = 4}};
  a4j_rope_desc good = block.d, *d = &block.d;
  float x[16] = {1, 2, 3}, cosines[20] = {1}, sines[20] = {1}, before[16];
  memcpy(before, x, sizeof x);
#define ROPE(change, status)                                                                                                   \
  do {                                                                                                                         \
    *d = good;                                                                                                                 \
    change;                                                                                                                    \
    CHECK_INT(a4j_rope(d, x, cosines, sines, x), status);                                                                      \
  } while (0)
  ROPE(d->position_start = 9, A4J_BAD_POSITION);
  ROPE(d->position_start = -1, A4J_BAD_POSITION);
  ROPE(d->position_start = INT64_MAX, A4J_BAD_POSITION);
  ROPE((d->size_bytes = sizeof block, d->positions_offset = sizeof *d, d->positions_stride_batch = 2, block.positions[3] = 10),
       A4J_BAD_POSITION);
  ROPE((d->size_bytes = sizeof block, d->positions_offset = sizeof *d, d->positions_stride_batch = 2, block.positions[3] = -1),
       A4J_BAD_POSITION);
  ROPE((d->size_bytes = sizeof block, d->positions_offset = sizeof *d, d->positions_stride_batch = 1), A4J_BAD_SIZE);
  ROPE((d->size_bytes = (int32_t)sizeof *d + 12, d->positions_offset = sizeof *d, d->positions_stride_batch = 2),
       A4J_BAD_DESCRIPTOR);
  ROPE((d->size_bytes = sizeof block, d->positions_offset = sizeof *d + 2), A4J_BAD_DESCRIPTOR);
  ROPE((d->size_bytes = sizeof block, d->positions_offset = 8), A4J_BAD_DESCRIPTOR);
  ROPE((d->size_bytes = sizeof block, d->positions_offset = INT64_MAX - 3), A4J_BAD_DESCRIPTOR);
  ROPE(d->style = 2, A4J_BAD_OPTION);
  ROPE(d->rotary_dim = 3, A4J_BAD_SIZE);
  ROPE(d->rotary_dim = 6, A4J_BAD_SIZE);
  ROPE(d->len = -1, A4J_BAD_SIZE);
  ROPE(d->table_rows = -1, A4J_BAD_SIZE);
  ROPE((d->batch = INT64_MAX / 4, d->heads = 4), A4J_SIZE_OVERFLOW);
  ROPE(d->abi_version = 0, A4J_BAD_ABI);
  ROPE(d->len = 0, A4J_OK);
  *d = good;
  CHECK_INT(a4j_rope(d, NULL, cosines, sines, x), A4J_NULL_POINTER);
  CHECK_INT(a4j_rope(d, x, NULL, sines, x), A4J_NULL_POINTER);
  CHECK_INT(a4j_rope(d, x, cosines, NULL, x), A4J_NULL_POINTER);
  CHECK_INT(a4j_rope(d, x, cosines, sines, NULL), A4J_NULL_POINTER);
  CHECK(memcmp(x, before, sizeof x) == 0, "a refused call wrote");
}

/* ---- Merge ---- */

static void merge(int64_t len, int64_t dim, int in_place, int with_lse, int32_t threads) {
  enum { BATCH = 2, HEADS = 3 };
  int64_t rows = BATCH * HEADS * len;
  struct tensor a = tensor(rows, dim, 1, 1), b = tensor(rows, dim, 2, 1), out = tensor(rows, dim, 1, 1);
  struct tensor lse_a = tensor(1, rows, 0, 30), lse_b = tensor(1, rows, 0, 30), lse = tensor(1, rows, 0, 0);
  for (int64_t r = 0; r < rows; r++) {
    if (r % 7 == 1 || r % 7 == 3) lse_a.data[r] = -INFINITY, a.data[r * a.stride] = NAN;
    if (r % 7 == 2 || r % 7 == 3) lse_b.data[r] = -INFINITY, b.data[r * b.stride] = NAN;
    if (r % 7 == 4) lse_b.data[r] = lse_a.data[r];
  }
  a4j_merge_desc d = {DESC(a4j_merge_desc), .batch = BATCH, .heads = HEADS, .len = len, .dim = dim};
  d.threads = threads;
  d.a_stride_row = a.stride, d.a_stride_head = len * a.stride, d.a_stride_batch = HEADS * len * a.stride;
  d.b_stride_row = b.stride, d.b_stride_head = len * b.stride, d.b_stride_batch = HEADS * len * b.stride;
  d.out_stride_row = out.stride, d.out_stride_head = len * out.stride, d.out_stride_batch = HEADS * len * out.stride;
  struct wanted w = wanted(rows * dim), w_lse = wanted(rows);
  reference_merge_f64(&d, a.data, lse_a.data, b.data, lse_b.data, w.exact, w_lse.exact);
  reference_merge_f32(&d, a.data, lse_a.data, b.data, lse_b.data, w.plain, w_lse.plain);
  struct tensor *result = in_place ? &a : &out, *result_lse = in_place ? &lse_a : &lse;
  CHECK_INT(a4j_merge(&d, a.data, lse_a.data, b.data, lse_b.data, result->data, with_lse ? result_lse->data : NULL), A4J_OK);
  char what[96];
  snprintf(what, sizeof what, "merge len %d dim %d in place %d", (int)len, (int)dim, in_place);
  check_error(result, w.exact, w.plain, 1, what);
  check_guards(result, what);
  if (with_lse) {
    for (int64_t r = 0; r < rows; r++) CHECK_NEAR(result_lse->data[r], w_lse.exact[r], 2e-6 + 2e-7 * fabs(w_lse.exact[r]));
    check_guards(result_lse, what);
  }
  release(w), release(w_lse);
  free(a.base), free(b.base), free(out.base), free(lse_a.base), free(lse_b.base), free(lse.base);
}
static void mergeOnThisTier(void) {
  for (int i = 0; i < DIMS; i++)
    for (int option = 0; option < 4; option++) merge(1 + up_to(4), dims[i], option & 1, option >> 1, 1);
  merge(4, 0, 0, 1, 1);
  merge(900, 64, 1, 1, 3);
}
static void shouldMergeAsTheFormulaSays(void) { on_every_tier(mergeOnThisTier); }

static void shouldShowNanOfASideThatCountsAndStandLargeLogsumexps(void) {
  float a[4] = {1, 1, 1, NAN}, b[4] = {3, 3, 3, 3}, out[4], lse[4];
  float lse_a[4] = {1e30f, -1e30f, NAN, 0}, lse_b[4] = {1e30f, 1e30f, 0, 0};
  a4j_merge_desc d = {DESC(a4j_merge_desc), .batch = 1,        .heads = 1,         .len = 4, .dim = 1,
                      .a_stride_row = 1,    .b_stride_row = 1, .out_stride_row = 1};
  CHECK_INT(a4j_merge(&d, a, lse_a, b, lse_b, out, lse), A4J_OK);
  CHECK_NEAR(out[0], 2, 0);
  CHECK_NEAR(out[1], 3, 0);
  CHECK(isnan(out[2]) && isnan(lse[2]), "NaN in a logsumexp gives %g, %g", (double)out[2], (double)lse[2]);
  CHECK(isnan(out[3]) && isfinite(lse[3]), "NaN in a row gives %g, %g", (double)out[3], (double)lse[3]);
  CHECK_INT(a4j_merge(&d, a, NULL, b, lse_b, out, lse), A4J_NULL_POINTER);
  CHECK_INT(a4j_merge(&d, NULL, lse_a, b, lse_b, out, lse), A4J_NULL_POINTER);
  d.len = -1;
  CHECK_INT(a4j_merge(&d, a, lse_a, b, lse_b, out, lse), A4J_BAD_SIZE);
  d.len = INT64_MAX / 4, d.heads = 8, d.dim = 0;
  CHECK_INT(a4j_merge(&d, a, lse_a, b, lse_b, out, lse), A4J_SIZE_OVERFLOW);
}

/* Weights that sum up to a rounding more than 1 may not carry an average beyond the largest float. */
static void largestOnThisTier(void) {
  enum { LEN = 4000, DIM = 5 };
  struct tensor a = tensor(LEN, DIM, 0, 1), b = tensor(LEN, DIM, 0, 1), lse = tensor(2, LEN, 0, 3),
                out = tensor(LEN, DIM, 0, 0);
  for (int64_t r = 0; r < LEN; r++) {
    const float x = r % 2 ? FLT_MAX : -FLT_MAX, one[DIM] = {x, x, x, INFINITY, NAN},
                other[DIM] = {x, nextafterf(x, 0), -x, x, x};
    memcpy(a.data + r * DIM, one, sizeof one);
    memcpy(b.data + r * DIM, other, sizeof other);
  }
  a4j_merge_desc d = {DESC(a4j_merge_desc), .batch = 1,          .heads = 1,          .len = LEN,
                      .dim = DIM,           .a_stride_row = DIM, .b_stride_row = DIM, .out_stride_row = DIM};
  CHECK_INT(a4j_merge(&d, a.data, lse.data, b.data, lse.data + LEN, out.data, NULL), A4J_OK);
  for (int64_t r = 0; r < LEN; r++) {
    const float *row = out.data + r * DIM, x = r % 2 ? FLT_MAX : -FLT_MAX;
    CHECK_NEAR(row[0], x, 0x1p-22 * FLT_MAX);
    CHECK_NEAR(row[1], x, 0x1p-22 * FLT_MAX);
    CHECK(fabsf(row[2]) <= FLT_MAX && row[3] == INFINITY && isnan(row[4]), "row %d: %g, %g, %g", (int)r, (double)row[2],
          (double)row[3], (double)row[4]);
  }
  free(a.base), free(b.base), free(lse.base), free(out.base);
}
static void shouldMergeAveragesOfTheLargestFloat(void) { on_every_tier(largestOnThisTier); }

/* ---- Cache append ---- */

static void append(int64_t len_new, int64_t dim, int64_t rows_gap, int64_t cache_gap, int with_counts, int32_t threads) {
  enum { BATCH = 3, HEADS = 2 };
  const int64_t capacity = len_new + 6;
  struct {
    a4j_kv_append_desc d;
    int32_t lengths[BATCH], counts[BATCH];
  } block = {
      .d = {DESC(a4j_kv_append_desc), .batch = BATCH, .heads = HEADS, .len_new = len_new, .capacity = capacity, .dim = dim},
      .lengths = {0, 6, 3}};
  a4j_kv_append_desc *d = &block.d;
  d->threads = threads;
  d->size_bytes = sizeof block;
  d->lengths_offset = sizeof *d;
  d->counts_offset = with_counts ? (int64_t)sizeof *d + 4 * BATCH : 0;
  for (int b = 0; b < BATCH; b++) block.counts[b] = (int32_t)up_to(len_new);
  struct tensor rows = tensor(BATCH * HEADS * len_new, dim, rows_gap, 1);
  struct tensor cache = tensor(BATCH * HEADS * capacity, dim, cache_gap, 1), wanted = copy_of(&cache);
  d->rows_stride_row = rows.stride, d->rows_stride_head = len_new * rows.stride,
  d->rows_stride_batch = HEADS * d->rows_stride_head;
  d->cache.stride_row = cache.stride, d->cache.stride_head = capacity * cache.stride;
  d->cache.stride_batch = HEADS * d->cache.stride_head;
  for (int64_t n = 0; n < BATCH * HEADS; n++)
    for (int64_t i = 0; i < (with_counts ? block.counts[n / HEADS] : len_new); i++)
      memcpy(wanted.data + (n * capacity + block.lengths[n / HEADS] + i) * wanted.stride,
             rows.data + (n * len_new + i) * rows.stride, sizeof(float) * (size_t)dim);
  CHECK_INT(a4j_kv_append(d, rows.data, cache.data, NULL, NULL), A4J_OK);
  CHECK(memcmp(cache.base, wanted.base, sizeof(float) * (size_t)cache.total) == 0, "len_new %d dim %d counts %d", (int)len_new,
        (int)dim, with_counts);
  free(rows.base), free(cache.base), free(wanted.base);
}

static void shouldAppendToEachBatchAtItsOwnLength(void) {
  for (int64_t len_new = 0; len_new < 5; len_new++)
    for (int option = 0; option < 8; option++) append(len_new, 1 + up_to(20), option & 1, option >> 1 & 1, option >> 2, 1);
  append(2000, 64, 0, 0, 1, 3);
  append(2000, 64, 1, 0, 0, 3);
}

/* Appends in three steps to pages in a random order, of any storage; what was not appended stays as it was. */
static void shouldRoundRowsIntoPages(void) {
  enum { BATCH = 2, HEADS = 3, STEP = 50, STEPS = 3, DIM = 19, EACH = 3, PAGES = BATCH * EACH + 1, ROWS = A4J_PAGE_ROWS };
  static const int32_t pages[BATCH][EACH] = {{5, 0, 3}, {2, 6, 1}};
  static const int storages[] = {A4J_F32, A4J_BF16, A4J_F16, A4J_I8};
  for (int x = 0; x < 4; x++) {
    const int storage = storages[x], bytes = storage == A4J_F32 ? 4 : storage == A4J_I8 ? 1 : 2;
    struct tensor rows = tensor(BATCH * HEADS * STEP * STEPS, DIM, 0, 1);
    const int64_t elements = PAGES * ROWS * HEADS * DIM;
    char *cache = malloc((size_t)(elements * bytes));
    float *scales = malloc(sizeof(float) * PAGES * ROWS * HEADS);
    memset(cache, 0x55, (size_t)(elements * bytes));
    for (int i = 0; i < PAGES * ROWS * HEADS; i++) scales[i] = -1;
    struct {
      a4j_kv_append_desc d;
      int32_t lengths[BATCH];
    } block = {.d = {DESC(a4j_kv_append_desc), .batch = BATCH, .heads = HEADS, .len_new = STEP, .capacity = EACH * ROWS,
                     .dim = DIM, .rows_stride_batch = HEADS * STEP * STEPS * DIM, .rows_stride_head = STEP * STEPS * DIM,
                     .rows_stride_row = DIM}};
    block.d.size_bytes = sizeof block;
    block.d.lengths_offset = sizeof block.d;
    block.d.cache = (a4j_view){.dtype = storage,
                               .page_rows = ROWS,
                               .stride_batch = ROWS * HEADS * DIM,
                               .stride_head = DIM,
                               .stride_row = HEADS * DIM,
                               .scale_stride_batch = ROWS * HEADS,
                               .scale_stride_head = 1,
                               .scale_stride_row = HEADS,
                               .pages = PAGES,
                               .pages_stride_batch = EACH};
    for (int step = 0; step < STEPS; step++) {
      for (int b = 0; b < BATCH; b++) block.lengths[b] = step * STEP;
      CHECK_INT(a4j_kv_append(&block.d, rows.data + step * STEP * DIM, cache, storage == A4J_I8 ? scales : NULL, &pages[0][0]),
                A4J_OK);
    }
    int wrong = 0, touched = 0;
    for (int b = 0; b < BATCH; b++)
      for (int h = 0; h < HEADS; h++)
        for (int i = 0; i < EACH * ROWS; i++) {
          const int64_t place = (pages[b][i / ROWS] * ROWS + i % ROWS) * HEADS + h;
          const float *row = rows.data + ((b * HEADS + h) * STEP * STEPS + i) * DIM;
          float largest = 0;
          for (int c = 0; c < DIM && i < STEP * STEPS; c++) largest = fmaxf(largest, fabsf(row[c]));
          for (int c = 0; c < DIM; c++) {
            const char *at = cache + (place * DIM + c) * bytes;
            if (i >= STEP * STEPS) {
              for (int byte = 0; byte < bytes; byte++) touched += at[byte] != 0x55;
            } else if (storage == A4J_F32) {
              wrong += memcmp(at, row + c, 4) != 0;
            } else if (storage == A4J_I8) {
              wrong += !(fabs((double)scales[place] * *(const int8_t *)at - row[c]) <= 0.5001 * scales[place]);
            } else {
              uint16_t bits;
              memcpy(&bits, at, 2);
              wrong += bits != half_nearest(storage, row[c]);
            }
          }
          if (storage == A4J_I8 && i < STEP * STEPS) wrong += scales[place] != largest / 127;
          if (storage == A4J_I8 && i >= STEP * STEPS) touched += scales[place] != -1;
        }
    CHECK(wrong == 0 && touched == 0, "storage %d: %d wrong, %d touched", storage, wrong, touched);
    if (storage == A4J_I8) {
      rows.data[7] = NAN;
      block.lengths[0] = block.lengths[1] = 0;
      CHECK_INT(a4j_kv_append(&block.d, rows.data, cache, scales, &pages[0][0]), A4J_BAD_VALUE);
      rows.data[7] = 0;
      CHECK_INT(a4j_kv_append(&block.d, rows.data, cache, NULL, &pages[0][0]), A4J_NULL_POINTER);
      block.d.dtype = A4J_BF16;
      CHECK_INT(a4j_kv_append(&block.d, rows.data, cache, scales, &pages[0][0]), A4J_UNSUPPORTED_DTYPE);
    } else {
      CHECK_INT(a4j_kv_append(&block.d, rows.data, cache, scales, &pages[0][0]), A4J_BAD_OPTION);
      CHECK_INT(a4j_kv_append(&block.d, rows.data, cache, NULL, NULL), A4J_NULL_POINTER);
      block.d.cache.pages = 3;
      CHECK_INT(a4j_kv_append(&block.d, rows.data, cache, NULL, &pages[0][0]), A4J_BAD_POSITION);
      block.d.cache.page_rows = 63;
      CHECK_INT(a4j_kv_append(&block.d, rows.data, cache, NULL, &pages[0][0]), A4J_BAD_OPTION);
    }
    free(rows.base), free(cache), free(scales);
  }
}

static void shouldRefuseRowsThatTheCacheCannotHoldBeforeItWrites(void) {
  struct {
    a4j_kv_append_desc d;
    int32_t lengths[2], counts[2];
  } block, good = {.d = {DESC(a4j_kv_append_desc), .batch = 2, .heads = 1, .len_new = 3, .capacity = 4, .dim = 1,
                         .rows_stride_batch = 3, .rows_stride_row = 1, .cache.stride_batch = 4, .cache.stride_row = 1},
                   .lengths = {0, 1},
                   .counts = {3, 2}};
  good.d.size_bytes = sizeof good;
  good.d.lengths_offset = sizeof good.d;
  good.d.counts_offset = sizeof good.d + 8;
  float rows[6] = {1, 2, 3, 4, 5, 6}, cache[8] = {0}, zeros[8] = {0};
#define APPEND(change, status)                                                                                                 \
  do {                                                                                                                         \
    block = good;                                                                                                              \
    change;                                                                                                                    \
    CHECK_INT(a4j_kv_append(&block.d, rows, cache, NULL, NULL), status);                                                       \
  } while (0)
  APPEND(block.lengths[1] = 3, A4J_BAD_POSITION);
  APPEND(block.lengths[1] = INT32_MAX, A4J_BAD_POSITION);
  APPEND(block.lengths[1] = -1, A4J_BAD_POSITION);
  APPEND(block.counts[1] = 4, A4J_BAD_POSITION);
  APPEND(block.counts[1] = -1, A4J_BAD_SIZE);
  APPEND((block.d.counts_offset = 0, block.lengths[1] = 2), A4J_BAD_POSITION);
  APPEND(block.d.lengths_offset = 0, A4J_BAD_DESCRIPTOR);
  APPEND(block.d.lengths_offset += 12, A4J_BAD_DESCRIPTOR);
  APPEND(block.d.counts_offset += 1, A4J_BAD_DESCRIPTOR);
  APPEND(block.d.capacity = -4, A4J_BAD_SIZE);
  APPEND(block.d.threads = 0, A4J_BAD_OPTION);
  CHECK(memcmp(cache, zeros, sizeof cache) == 0, "a refused call wrote");
  block = good;
  CHECK_INT(a4j_kv_append(&block.d, NULL, cache, NULL, NULL), A4J_NULL_POINTER);
  CHECK_INT(a4j_kv_append(&block.d, rows, NULL, NULL, NULL), A4J_NULL_POINTER);
  CHECK_INT(a4j_kv_append(NULL, rows, cache, NULL, NULL), A4J_NULL_POINTER);
}

/* ---- All ---- */

static void sameBits(void) {
  struct tensor x = tensor(4000, 100, 0, 2), up = tensor(4000, 100, 0, 2), lse = tensor(1, 4000, 0, 9);
  struct tensor once[4], out = tensor(4000, 100, 0, 0);
  a4j_rms_norm_desc norm = {DESC(a4j_rms_norm_desc), .rows = 4000,     .dim = 100, .x_stride_row = 100,
                            .out_stride_row = 100,   .epsilon = 1e-6f, .scale = 1};
  a4j_layer_norm_desc layer = {DESC(a4j_layer_norm_desc), .rows = 4000,          .dim = 100,
                               .x_stride_row = 100,       .out_stride_row = 100, .epsilon = 1e-6f};
  a4j_elementwise_desc gate = {
      DESC(a4j_elementwise_desc), .activation = A4J_SILU, .combine = A4J_MULTIPLY, .rows = 4000, .dim = 100,
      .x_stride_row = 100,        .y_stride_row = 100,    .out_stride_row = 100};
  a4j_merge_desc merge = {DESC(a4j_merge_desc), .batch = 1,          .heads = 1,          .len = 4000,
                          .dim = 100,           .a_stride_row = 100, .b_stride_row = 100, .out_stride_row = 100};
  static const int32_t threads[] = {1, 2, 3, 7};
  for (int t = 0; t < 4; t++) {
    norm.threads = layer.threads = gate.threads = merge.threads = threads[t];
    for (int op = 0; op < 4; op++) {
      if (op == 0) CHECK_INT(a4j_rms_norm(&norm, x.data, NULL, out.data), A4J_OK);
      if (op == 1) CHECK_INT(a4j_elementwise(&gate, x.data, up.data, out.data), A4J_OK);
      if (op == 2) CHECK_INT(a4j_merge(&merge, x.data, lse.data, up.data, up.data, out.data, NULL), A4J_OK);
      if (op == 3) CHECK_INT(a4j_layer_norm(&layer, x.data, NULL, NULL, out.data, NULL, NULL), A4J_OK);
      if (t == 0) once[op] = copy_of(&out);
      CHECK(same(&out, &once[op]), "operation %d has other bits on %d threads", op, (int)threads[t]);
    }
  }
  for (int op = 0; op < 4; op++) free(once[op].base);
  free(x.base), free(up.base), free(lse.base), free(out.base);
}
static void shouldGiveTheSameBitsForEveryThreadCount(void) { on_every_tier(sameBits); }

/* A dimension of one has no second element, so its stride may be any number. */
static void unusedStridesOnThisTier(void) {
  enum { DIM = 20 };
  static const int64_t strides[] = {DIM, (int64_t)1 << 60, -((int64_t)1 << 60), INT64_MAX, INT64_MIN};
  struct tensor x = tensor(3, DIM, 0, 1), out = tensor(1, DIM, 0, 0), first[7];
  float lse[1] = {1}, angles[DIM / 2] = {0};
  for (int s = 0; s < 5; s++) {
    const int64_t any = strides[s];
    a4j_rms_norm_desc rms = {DESC(a4j_rms_norm_desc), .rows = 1, .dim = DIM, .x_stride_row = any, .out_stride_row = any};
    a4j_layer_norm_desc layer = {DESC(a4j_layer_norm_desc), .rows = 1, .dim = DIM, .x_stride_row = any, .out_stride_row = any};
    a4j_elementwise_desc gate = {
        DESC(a4j_elementwise_desc), .activation = A4J_SILU, .combine = A4J_MULTIPLY, .rows = 1, .dim = DIM,
        .x_stride_row = any,        .y_stride_row = any,    .out_stride_row = any};
    a4j_merge_desc merge = {DESC(a4j_merge_desc),
                            .batch = 1,
                            .heads = 1,
                            .len = 1,
                            .dim = DIM,
                            .a_stride_batch = any,
                            .a_stride_head = any,
                            .a_stride_row = any,
                            .b_stride_batch = any,
                            .b_stride_head = any,
                            .b_stride_row = any,
                            .out_stride_batch = any,
                            .out_stride_head = any,
                            .out_stride_row = any};
    a4j_rope_desc rope = {DESC(a4j_rope_desc),
                          .batch = 1,
                          .heads = 1,
                          .len = 1,
                          .dim = DIM,
                          .rotary_dim = DIM,
                          .table_rows = 1,
                          .x_stride_batch = any,
                          .x_stride_head = any,
                          .x_stride_row = any,
                          .out_stride_batch = any,
                          .out_stride_head = any,
                          .out_stride_row = any};
    a4j_convert_desc convert = {DESC(a4j_convert_desc), .rows = 1, .dim = DIM, .x_stride_row = any, .out_stride_row = any};
    struct {
      a4j_kv_append_desc d;
      int32_t length;
    } append = {.d = {DESC(a4j_kv_append_desc), .batch = 1, .heads = 1, .len_new = 1, .capacity = 1, .dim = DIM}};
    append.d.size_bytes = sizeof append;
    append.d.lengths_offset = sizeof append.d;
    append.d.rows_stride_batch = append.d.rows_stride_head = append.d.rows_stride_row = any;
    append.d.cache.stride_batch = append.d.cache.stride_head = append.d.cache.stride_row = any;
    for (int op = 0; op < 7; op++) {
      const float *a = x.data, *b = x.data + DIM;
      const int32_t status = op == 0   ? a4j_rms_norm(&rms, a, NULL, out.data)
                             : op == 1 ? a4j_layer_norm(&layer, a, NULL, NULL, out.data, NULL, NULL)
                             : op == 2 ? a4j_elementwise(&gate, a, b, out.data)
                             : op == 3 ? a4j_merge(&merge, a, lse, b, lse, out.data, NULL)
                             : op == 4 ? a4j_rope(&rope, a, angles, angles, out.data)
                             : op == 5 ? a4j_convert(&convert, a, out.data)
                                       : a4j_kv_append(&append.d, a, out.data, NULL, NULL);
      CHECK_INT(status, A4J_OK);
      if (s == 0) first[op] = copy_of(&out);
      CHECK(same(&out, &first[op]), "operation %d with stride %" PRId64 ": other bits", op, any);
      check_guards(&out, "one row");
    }
  }
  for (int op = 0; op < 7; op++) free(first[op].base);
  free(x.base), free(out.base);
}
static void shouldTakeAnyStrideOfADimensionOfOne(void) { on_every_tier(unusedStridesOnThisTier); }

static void shouldRefuseWhatADescriptorCannotMean(void) {
  float x[8] = {0};
  a4j_rms_norm_desc norm = {DESC(a4j_rms_norm_desc), .rows = 2, .dim = 4, .x_stride_row = 4, .out_stride_row = 4};
  CHECK_INT(a4j_rms_norm(NULL, x, NULL, x), A4J_NULL_POINTER);
  CHECK_INT(a4j_rms_norm(&norm, NULL, NULL, x), A4J_NULL_POINTER);
  CHECK_INT(a4j_rms_norm(&norm, x, NULL, NULL), A4J_NULL_POINTER);
  norm.rows = -1;
  CHECK_INT(a4j_rms_norm(&norm, x, NULL, x), A4J_BAD_SIZE);
  norm.rows = INT64_MAX;
  CHECK_INT(a4j_rms_norm(&norm, x, NULL, x), A4J_SIZE_OVERFLOW);
  a4j_layer_norm_desc layer = {DESC(a4j_layer_norm_desc), .rows = 2, .dim = 4, .x_stride_row = 4, .out_stride_row = 4};
  CHECK_INT(a4j_layer_norm(&layer, NULL, NULL, NULL, x, NULL, NULL), A4J_NULL_POINTER);
  CHECK_INT(a4j_layer_norm(&layer, x, NULL, NULL, NULL, NULL, NULL), A4J_NULL_POINTER);
  layer.dim = -1;
  CHECK_INT(a4j_layer_norm(&layer, x, NULL, NULL, x, NULL, NULL), A4J_BAD_SIZE);
  layer.dim = INT64_MAX;
  CHECK_INT(a4j_layer_norm(&layer, x, NULL, NULL, x, NULL, NULL), A4J_SIZE_OVERFLOW);
  a4j_elementwise_desc d = {DESC(a4j_elementwise_desc), .combine = A4J_ADD, .rows = 2, .dim = 4};
  CHECK_INT(a4j_elementwise(&d, NULL, x, x), A4J_NULL_POINTER);
  CHECK_INT(a4j_elementwise(&d, x, NULL, x), A4J_NULL_POINTER);
  CHECK_INT(a4j_elementwise(&d, x, x, NULL), A4J_NULL_POINTER);
  d.scale = NAN;
  CHECK_INT(a4j_elementwise(&d, x, x, x), A4J_BAD_OPTION);
  d.combine = A4J_MULTIPLY;
  CHECK_INT(a4j_elementwise(&d, x, x, x), A4J_OK);
  d.combine = 3;
  CHECK_INT(a4j_elementwise(&d, x, x, x), A4J_BAD_OPTION);
  d.combine = A4J_SET, d.activation = A4J_TANH + 1;
  CHECK_INT(a4j_elementwise(&d, x, x, x), A4J_BAD_OPTION);
  d.activation = A4J_RELU, d.rows = -1;
  CHECK_INT(a4j_elementwise(&d, x, x, x), A4J_BAD_SIZE);
  d.rows = 0;
  CHECK_INT(a4j_elementwise(&d, NULL, NULL, NULL), A4J_OK);
  d.size_bytes = 16;
  CHECK_INT(a4j_elementwise(&d, x, x, x), A4J_BAD_DESCRIPTOR);
}

int main(void) {
  RUN(shouldNormaliseAsTheFormulaSays);
  RUN(shouldShowNanInItsRowAloneWhenNormalising);
  RUN(shouldActivateAndCombineAsTheFormulasSay);
  RUN(shouldStayAccurateInTheTailsAndReachTheLimitsWithoutNan);
  RUN(shouldTurnPairsAsTheFormulaSays);
  RUN(shouldRefusePositionsOutsideTheTableBeforeItWrites);
  RUN(shouldMergeAsTheFormulaSays);
  RUN(shouldShowNanOfASideThatCountsAndStandLargeLogsumexps);
  RUN(shouldMergeAveragesOfTheLargestFloat);
  RUN(shouldAppendToEachBatchAtItsOwnLength);
  RUN(shouldRoundRowsIntoPages);
  RUN(shouldRefuseRowsThatTheCacheCannotHoldBeforeItWrites);
  RUN(shouldGiveTheSameBitsForEveryThreadCount);
  RUN(shouldTakeAnyStrideOfADimensionOfOne);
  RUN(shouldRefuseWhatADescriptorCannotMean);
  RUN(shouldNormaliseLayersAsTheFormulaSays);
  RUN(shouldStayAccurateWhereTheMeanIsLarge);
  RUN(shouldShowNanInItsRowAloneAndMakeZerosOfAConstantRow);
  RUN(shouldNormaliseRowsWhoseSquaresOverflow);
  return CHECK_RESULT();
}
