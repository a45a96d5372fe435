/*
 * Linear projection: a kernel without packing for few rows, a product with packed weights for more, or sgemm.
 *
 * The kernel for few rows takes little longer than reading the weights once. Packing costs as much as about twenty rows of the
 * product (kernels/product.inc). It is done either during the call, one panel of weights at a time by the thread that uses it,
 * or once in advance; then every call uses the product.
 *
 * sgemm runs on slices of out in our team, because its own threads would compete with ours. It may sum in another order for
 * another shape, and does, so the slices depend only on the shape of the whole, never on the number of threads.
 */
#include <float.h>
#include <stdatomic.h>
#include <stddef.h>
#include <string.h>

#include "a4j.h"
#include "activation.h"
#include "checks.h"
#include "floats.h"
#include "kernels.h"
#include "quantized.h"
#include "rows.h"
#include "sizes.h"
#include "stored.h"
#include "team.h"

/* cblas_sgemm, LP64; enum arguments are ints. */
typedef void sgemm_fn(int order, int trans_a, int trans_b, int m, int n, int k, float alpha, const float *a, int lda,
                      const float *b, int ldb, float beta, float *c, int ldc);
enum { ROW_MAJOR = 101, NO_TRANS = 111, TRANS = 112 };

static _Atomic(sgemm_fn *) sgemm;

/*
 * Up to UNPACKED_ROWS the kernel without packing is as fast as the product that packs its weights during the call: at 96 x 768
 * x 768 it reaches 86 % of the multiply-add peak of a Zen 5 core and the product 89 %, at 256 rows 86 and 93, at 48 rows 83 and
 * 80. Up to UNPACKED_ROWS_BLAS it is as fast as sgemm: medians in GFLOP/s on one thread (peak 270 with AVX-512, 136 with AVX2),
 * ours before OpenBLAS 0.3.31 for SkylakeX and for Haswell:
 *
 *                        AVX-512                                AVX2
 *    dim_in x dim_out    8 rows    64 rows   256 rows           8 rows    128 rows  256 rows
 *    192 x 192           211 : 52  217 : 173 217 : 228          117 : 38  120 : 111 119 : 119
 *    768 x 768           192 : 47  232 : 178 225 : 227          123 : 38  120 : 109 117 : 115
 *    4096 x 4096          79 : 35  178 : 144 203 : 205           46 : 33  110 : 107 114 : 114
 */
enum { UNPACKED_ROWS = 96, UNPACKED_ROWS_BLAS = 256 };

/*
 * Slices for sgemm: large ones make better use of what sgemm packs (512 x 512 runs at 97 % of the speed of the whole, 256 x 384
 * at 93 %), many keep many threads busy. They are large if there are still enough of them.
 */
enum { SLICES_WANTED = 16, LARGE_SLICE_ROWS = 512, LARGE_SLICE_COLS = 512, SLICE_ROWS = 256, SLICE_COLS = 384 };

/* Columns are divided in groups of this size, which the tiles of our kernels fill evenly. */
enum { COL_GROUP = 24 };

/* Bytes of weights that stay in the second-level cache while all rows are multiplied by them. */
enum { WEIGHTS_BYTES = 256 * 1024 };

struct call {
  const struct a4j_kernels *kernels;
  const a4j_linear_desc *desc;
  const float *x, *bias;
  const void *weight;
  float *out, *workspace;
  float *x_pairs;               /* rows of x in pairs of bfloat16, or NULL */
  int64_t rows_step, cols_step; /* of a unit of work */
  int64_t col_units;
  int64_t units;
  int32_t threads; /* that share the units */
  _Atomic int64_t next;
};

/* The size of a piece if the whole is split evenly into as few pieces as possible, each at most `most`; a multiple of all
   tiles. */
static int64_t even_step(int64_t whole, int64_t most) {
  enum { MULTIPLE = 16 };
  return ceil_div(ceil_div(whole, ceil_div(whole, most)), MULTIPLE) * MULTIPLE;
}

/* The weights of outputs from `col` on, which is a multiple of A4J_QUANTIZED_ROWS if they are quantised. */
static struct a4j_weights weights_of(const struct call *call, int64_t col) {
  const a4j_linear_desc *desc = call->desc;
  struct a4j_weights weights = {.rows.storage = desc->weight.dtype, .quantized = desc->weight, .dim = desc->dim_in};
  int64_t at;
  if (a4j_is_quantized(desc->weight.dtype)) {
    weights.rows.stride = a4j_block_bytes(&desc->weight, desc->dim_in);
    at = col / A4J_QUANTIZED_ROWS * weights.rows.stride;
  } else {
    weights.rows.stride = desc->weight_stride_row;
    at = col * weights.rows.stride * a4j_dtype_bytes(desc->weight.dtype);
  }
  weights.rows.first = (const char *)call->weight + at;
  return weights;
}

/* Packs the inputs [d, d + depth) of a panel's outputs, from `col` on, in pairs of bfloat16 or as floats. */
static void pack(const struct call *call, int64_t col, int64_t d, int64_t depth, int pairs, float *panel) {
  const a4j_linear_desc *desc = call->desc;
  struct a4j_weights weights = weights_of(call, col);
  weights.rows.first = (const char *)weights.rows.first + d * a4j_dtype_bytes(desc->weight.dtype);
  weights.dim -= d;
  a4j_pack_fn *const *const packers = pairs ? call->kernels->pack_pairs : call->kernels->pack_panel;
  packers[desc->weight.dtype](smaller(A4J_PANEL, desc->dim_out - col), depth, &weights, panel);
}

/* ---- From sums to results ---- */

/*
 * Sums are the results, unless they pass through an activation or a multiplication at the end or are rounded to 16 bits. If a
 * float32 out is simply replaced, sums are accumulated and activated in its own memory. Otherwise out still holds an operand or
 * has no room for them, and they are accumulated in a separate block, small enough to stay in the cache.
 */
static int finishes(const a4j_linear_desc *desc) {
  return desc->activation != A4J_IDENTITY || desc->combine == A4J_MULTIPLY || desc->out_dtype != A4J_F32;
}
static int needs_block(const a4j_linear_desc *desc) {
  return finishes(desc) && (desc->combine != A4J_SET || desc->out_dtype != A4J_F32);
}

/* Whether the first part of a sum is added to what out holds. */
static int accumulates(const a4j_linear_desc *desc) { return !finishes(desc) && desc->combine == A4J_ADD; }

/* finish for one row of a 16-bit out, PART numbers at a time. */
static void finish_short(const struct call *call, int64_t at, int64_t cols, const float *sums) {
  enum { PART = 256 };
  const a4j_linear_desc *desc = call->desc;
  float room[PART];
  for (int64_t c = 0; c < cols; c += PART) {
    const int64_t n = smaller(PART, cols - c);
    if (desc->combine != A4J_SET) a4j_widen(call->kernels, desc->out_dtype, call->out, at + c, n, room);
    call->kernels->combine(n, desc->activation, desc->combine, 1.0f, sums + c, room, room);
    a4j_round(call->kernels, desc->out_dtype, call->out, at + c, n, room);
  }
}

static void finish(const struct call *call, int64_t row, int64_t rows, int64_t col, int64_t cols, const float *sums,
                   int64_t sums_stride) {
  const a4j_linear_desc *desc = call->desc;
  if (desc->out_dtype != A4J_F32) {
    for (int64_t r = 0; r < rows; r++) finish_short(call, (row + r) * desc->out_stride_row + col, cols, sums + r * sums_stride);
    return;
  }
  for (int64_t r = 0; r < rows; r++) {
    float *out = call->out + (row + r) * desc->out_stride_row + col;
    call->kernels->combine(cols, desc->activation, desc->combine, 1.0f, sums + r * sums_stride, out, out);
  }
}

/* ---- Choice of the kernel ---- */

/* The most rows for which the kernel without packing is used. */
static int64_t unpacked_rows(const a4j_linear_desc *desc) {
  return desc->product == A4J_PRODUCT_BLAS ? UNPACKED_ROWS_BLAS : UNPACKED_ROWS;
}

/* sgemm only knows float32 and int sizes. It can add its result to out, but cannot multiply by out or add an activated result.
   */
static int fits_sgemm(const a4j_linear_desc *desc) {
  return desc->dim_in <= INT32_MAX && desc->x_stride_row <= INT32_MAX && desc->weight_stride_row <= INT32_MAX &&
         desc->out_stride_row <= INT32_MAX && desc->weight.dtype == A4J_F32 && desc->arithmetic == A4J_ARITHMETIC_EXACT &&
         !needs_block(desc);
}

/* Whether the call packs its weights itself. */
static int packs(const a4j_linear_desc *desc) {
  return desc->rows > unpacked_rows(desc) && desc->dim_in > 0 && desc->dim_out > 0 && !a4j_is_quantized(desc->weight.dtype) &&
         (desc->product == A4J_PRODUCT_OWN || (desc->product == A4J_PRODUCT_BLAS && !fits_sgemm(desc)));
}

/* Whether panels, packed in advance or during the call, hold pairs of bfloat16. */
static int panels_hold_pairs(const a4j_linear_desc *desc) {
  return desc->arithmetic == A4J_ARITHMETIC_BF16 || (desc->product == A4J_PRODUCT_PACKED && desc->weight.dtype == A4J_BF16);
}

/* Whether panels that are packed in advance hold F16. */
static int panels_hold_halves(const a4j_linear_desc *desc) {
  return desc->product == A4J_PRODUCT_PACKED && desc->weight.dtype == A4J_F16 && desc->arithmetic == A4J_ARITHMETIC_EXACT;
}

/* How many floats or pairs a row of x or a column of a panel has. */
static int64_t units_in(const a4j_linear_desc *desc, int pairs) { return pairs ? ceil_div(desc->dim_in, 2) : desc->dim_in; }

/* Whether the call multiplies by panels of weights, packed by itself or in advance. */
static int takes_panels(const a4j_linear_desc *desc) {
  return packs(desc) || (desc->product == A4J_PRODUCT_PACKED && desc->rows > 0 && desc->dim_in > 0 && desc->dim_out > 0);
}

/* ---- Few rows ---- */

/* Columns of a block of sums outside out. */
enum { BLOCK_COLS = 96 };

/* Rows [row, row + rows), at most A4J_LINEAR_ROWS. */
static void own_tile(const struct call *call, int64_t row, int64_t rows, int64_t col, int64_t cols, int accumulate, float *sums,
                     int64_t sums_stride) {
  const a4j_linear_desc *desc = call->desc;
  const struct a4j_weights weights = weights_of(call, col);
  call->kernels->linear[desc->weight.dtype](rows, cols, call->x + row * desc->x_stride_row, desc->x_stride_row, &weights,
                                            call->bias == NULL ? NULL : call->bias + col, accumulate, sums, sums_stride);
}

static void own_block(const struct call *call, int64_t row, int64_t row_end, int64_t col, int64_t cols) {
  const a4j_linear_desc *desc = call->desc;
  for (; row < row_end; row += A4J_LINEAR_ROWS) {
    const int64_t rows = smaller(A4J_LINEAR_ROWS, row_end - row);
    if (!needs_block(desc)) {
      float *out = call->out + row * desc->out_stride_row + col;
      own_tile(call, row, rows, col, cols, accumulates(desc), out, desc->out_stride_row);
      if (finishes(desc)) finish(call, row, rows, col, cols, out, desc->out_stride_row);
      continue;
    }
    float sums[A4J_LINEAR_ROWS * BLOCK_COLS];
    for (int64_t c = 0; c < cols; c += BLOCK_COLS) {
      const int64_t n = smaller(BLOCK_COLS, cols - c);
      own_tile(call, row, rows, col + c, n, 0, sums, BLOCK_COLS);
      finish(call, row, rows, col + c, n, sums, BLOCK_COLS);
    }
  }
}

/* Units are numbered (row step, column step); consecutive ones of the same row step are computed together. */
static void own_units(const void *context, int64_t unit, int64_t unit_end) {
  const struct call *call = context;
  const a4j_linear_desc *desc = call->desc;
  int64_t cached = desc->dim_out;
  if (desc->rows > A4J_LINEAR_ROWS && desc->dim_in > 0) {
    int64_t groups = WEIGHTS_BYTES / (COL_GROUP * (int64_t)sizeof(float)) / desc->dim_in;
    cached = groups > 1 ? groups * COL_GROUP : COL_GROUP;
  }
  while (unit < unit_end) {
    int64_t row = unit / call->col_units * call->rows_step, rows = smaller(call->rows_step, desc->rows - row);
    int64_t last = smaller(unit_end, (unit / call->col_units + 1) * call->col_units);
    int64_t col = unit % call->col_units * call->cols_step;
    int64_t col_end = smaller(desc->dim_out, col + (last - unit) * call->cols_step);
    for (; col < col_end; col += cached) own_block(call, row, row + rows, col, smaller(cached, col_end - col));
    unit = last;
  }
}

static void run_own(struct call *call) {
  const a4j_linear_desc *desc = call->desc;
  call->cols_step = COL_GROUP;
  call->col_units = ceil_div(desc->dim_out, call->cols_step);
  call->rows_step = call->col_units >= 4 * (int64_t)desc->threads ? desc->rows : smaller(A4J_LINEAR_ROWS, desc->rows);
  double weights = (double)COL_GROUP * (double)desc->dim_in;
  double nanos = weights * 0.04 + weights * (double)call->rows_step * 0.133 / call->kernels->lanes;
  a4j_rows_run(desc->threads, ceil_div(desc->rows, call->rows_step) * call->col_units, nanos, own_units, call);
}

/* ---- Packed weights ---- */

/*
 * Rows that share a panel: enough that packing it costs little compared with the product, and few enough that threads finish
 * together. All rows share it if it is packed during the call and there are many panels.
 */
enum { PACKED_ROWS = 256 };

/* Panels that share a part of x, as long as enough units remain for threads to finish together. */
enum { PANELS_TOGETHER = 4, UNITS_PER_THREAD = 4 };

/*
 * The workspace of one thread: the part of a panel in use, packed and widened, as needed, and a block of sums. Rows of x in
 * pairs follow the workspaces of all threads.
 */
enum { PANEL_FLOATS = A4J_PANEL * A4J_PANEL_DEPTH, BLOCK_FLOATS = PACKED_ROWS * A4J_PANEL };

static int64_t own_panel_floats(const a4j_linear_desc *desc) { return packs(desc) ? PANEL_FLOATS : 0; }
static int64_t wide_panel_floats(const a4j_linear_desc *desc) {
  return panels_hold_pairs(desc) || panels_hold_halves(desc) ? PANEL_FLOATS : 0;
}
static int64_t scratch_floats(const a4j_linear_desc *desc) {
  return own_panel_floats(desc) + wide_panel_floats(desc) + (needs_block(desc) ? BLOCK_FLOATS : 0);
}
/* A pair takes the space of a float. */
static int64_t x_pair_floats(const a4j_linear_desc *desc) {
  return desc->arithmetic == A4J_ARITHMETIC_BF16 ? desc->rows * units_in(desc, 1) : 0;
}

static void pair_x(const void *context, int64_t row, int64_t row_end) {
  const struct call *call = context;
  const a4j_linear_desc *desc = call->desc;
  for (; row < row_end; row++) {
    uint16_t *to = (uint16_t *)(void *)(call->x_pairs + row * units_in(desc, 1));
    call->kernels->convert(desc->dim_in, A4J_F32, call->x + row * desc->x_stride_row, A4J_BF16, to);
    if (desc->dim_in % 2 != 0) to[desc->dim_in] = 0;
  }
}

/* The part of a panel that was packed in advance: the columns from col on, from unit u on. */
static const void *packed_part(const struct call *call, int64_t col, int64_t u) {
  const int64_t at = col * units_in(call->desc, panels_hold_pairs(call->desc)) + u * A4J_PANEL;
  return (const char *)call->weight + at * (panels_hold_halves(call->desc) ? 2 : (int64_t)sizeof(float));
}

/* Adds to the sums of some rows the product with the part of a panel from unit u on, and prefetches the part that is needed
   next, at column next_col and unit next_u. */
static void panel_part(const struct call *call, int64_t row, int64_t rows, int64_t col, int64_t u, int64_t part,
                       int64_t next_col, int64_t next_u, float *scratch, float *sums, int64_t sums_stride) {
  const a4j_linear_desc *desc = call->desc;
  const int pairs = panels_hold_pairs(desc), per_unit = pairs ? 2 : 1;
  const int64_t units = units_in(desc, pairs), d = u * per_unit, depth = smaller(part * per_unit, desc->dim_in - d);
  const int64_t cols = smaller(A4J_PANEL, desc->dim_out - col);
  const void *panel = scratch, *next = scratch;
  if (desc->product == A4J_PRODUCT_PACKED) {
    panel = packed_part(call, col, u);
    next = packed_part(call, next_col, next_u);
  } else {
    pack(call, col, d, depth, pairs, scratch);
  }
  const float *bias = u > 0 || call->bias == NULL ? NULL : call->bias + col;
  const int accumulate = u > 0 || accumulates(desc);
  if (call->x_pairs != NULL) {
    call->kernels->pair_product(rows, cols, part, call->x_pairs + row * units + u, units, panel, next, bias, accumulate, sums,
                                sums_stride);
    return;
  }
  float *wide = scratch + own_panel_floats(desc);
  if (pairs) call->kernels->widen_pairs(depth, panel, wide);
  if (panels_hold_halves(desc)) call->kernels->convert(depth * A4J_PANEL, A4J_F16, panel, A4J_F32, wide);
  call->kernels->panel_product(rows, cols, depth, call->x + row * desc->x_stride_row + d, desc->x_stride_row,
                               wide_panel_floats(desc) > 0 ? wide : panel, next, bias, accumulate, sums, sums_stride);
}

/* Multiplies each part of x by all panels of the unit before the next part, so it stays in the second-level cache. */
static void panel_unit(const struct call *call, int64_t unit, float *scratch) {
  const a4j_linear_desc *desc = call->desc;
  const int64_t row = unit / call->col_units * call->rows_step, rows = smaller(call->rows_step, desc->rows - row);
  const int64_t col = unit % call->col_units * call->cols_step, col_end = smaller(desc->dim_out, col + call->cols_step);
  const int pairs = panels_hold_pairs(desc);
  /* Widened pairs are split into parts at the same inputs as floats. */
  const int64_t units = units_in(desc, pairs);
  const int64_t step =
      call->x_pairs != NULL ? even_step(units, A4J_PANEL_DEPTH) : even_step(desc->dim_in, A4J_PANEL_DEPTH) / (pairs ? 2 : 1);
  float *block = scratch + own_panel_floats(desc) + wide_panel_floats(desc);
  for (int64_t u = 0; u < units; u += step)
    for (int64_t c = col; c < col_end; c += A4J_PANEL) {
      float *sums = needs_block(desc) ? block : call->out + row * desc->out_stride_row + c;
      const int64_t sums_stride = needs_block(desc) ? A4J_PANEL : desc->out_stride_row;
      /* A guess: the other threads take about one unit each before this one takes its next. */
      int64_t next_col = c + A4J_PANEL, next_u = u;
      if (next_col >= col_end) {
        const int64_t later = col + call->threads * call->cols_step;
        next_u = u + step < units ? u + step : 0;
        next_col = next_u > 0 ? col : later < desc->dim_out ? later : 0;
      }
      panel_part(call, row, rows, c, u, smaller(step, units - u), next_col, next_u, scratch, sums, sums_stride);
      if (u + step >= units && finishes(desc)) finish(call, row, rows, c, smaller(A4J_PANEL, col_end - c), sums, sums_stride);
    }
}

static void panel_units(void *context, int32_t thread, int32_t threads) {
  struct call *call = context;
  float *scratch = call->workspace == NULL ? NULL : call->workspace + thread * scratch_floats(call->desc);
  (void)threads;
  for (;;) {
    const int64_t unit = atomic_fetch_add_explicit(&call->next, 1, memory_order_relaxed);
    if (unit >= call->units) return;
    panel_unit(call, unit, scratch);
  }
}

/* How many threads share the panels, from an estimate of one thread's time in nanoseconds. */
static int32_t panel_threads(const a4j_linear_desc *desc, int32_t lanes) {
  const double products = (double)desc->rows * (double)desc->dim_in * (double)desc->dim_out;
  const double weights = (double)desc->dim_in * (double)desc->dim_out;
  return a4j_team_paying(desc->threads, products * 0.133 / lanes + weights * 0.04);
}

static void run_panels(struct call *call) {
  const a4j_linear_desc *desc = call->desc;
  const int32_t threads = panel_threads(desc, call->kernels->lanes);
  const int64_t panels = ceil_div(desc->dim_out, A4J_PANEL);
  const int share = packs(desc) && !needs_block(desc) && panels >= 4 * (int64_t)threads;
  call->rows_step = share ? desc->rows : even_step(desc->rows, PACKED_ROWS);
  const int64_t row_units = ceil_div(desc->rows, call->rows_step);
  int64_t together = share || needs_block(desc) || desc->dim_in <= A4J_PANEL_DEPTH ? 1 : PANELS_TOGETHER;
  while (together > 1 && row_units * ceil_div(panels, together) < UNITS_PER_THREAD * (int64_t)threads) together /= 2;
  call->cols_step = together * A4J_PANEL;
  call->col_units = ceil_div(panels, together);
  call->units = row_units * call->col_units;
  call->threads = threads;
  if (desc->arithmetic == A4J_ARITHMETIC_BF16 && call->kernels->pair_product != NULL) {
    call->x_pairs = call->workspace + panel_threads(desc, A4J_LANES_MIN) * scratch_floats(desc);
    a4j_rows_run(desc->threads, desc->rows, 5 + 0.1 * (double)desc->dim_in, pair_x, call);
  }
  a4j_team_run(threads, panel_units, call);
}

/* Packs a panel of F16 through floats, a few inputs at a time; this changes no bit. */
static void pack_halves(const struct call *call, int64_t col) {
  enum { PART = 32 };
  const int64_t dim = call->desc->dim_in;
  uint16_t *to = (uint16_t *)(void *)call->out + col * dim;
  float room[PART * A4J_PANEL];
  for (int64_t d = 0; d < dim; d += PART) {
    const int64_t depth = smaller(PART, dim - d);
    pack(call, col, d, depth, 0, room);
    call->kernels->convert(depth * A4J_PANEL, A4J_F32, room, A4J_F16, to + d * A4J_PANEL);
  }
}

static void pack_units(const void *context, int64_t unit, int64_t unit_end) {
  const struct call *call = context;
  const a4j_linear_desc *desc = call->desc;
  for (; unit < unit_end; unit++) {
    const int64_t col = unit * A4J_PANEL;
    if (desc->weight.dtype == A4J_F16 && desc->arithmetic == A4J_ARITHMETIC_EXACT) {
      pack_halves(call, col);
      continue;
    }
    const int pairs = desc->weight.dtype == A4J_BF16 || desc->arithmetic == A4J_ARITHMETIC_BF16;
    pack(call, col, 0, desc->dim_in, pairs, call->out + col * units_in(desc, pairs));
  }
}

/* ---- Quantised weights ---- */

/* Columns of a unit of work: whole blocks of rows of the weights. */
enum { QUANTIZED_COLS = 4 * A4J_QUANTIZED_ROWS };

/* Rows of x of a unit of work; unless weights are widened, as many as fit the second-level cache, within these bounds. */
enum { QUANTIZED_BYTES = 512 * 1024, QUANTIZED_X_ROWS = 64, QUANTIZED_X_ROWS_LEAST = 8 };

/*
 * Whether the rows of a call are enough to pay for widening the weights, on a tier that has a product for it. Times of the tiles of
 * quantized.inc divided by those of widened weights, with 2048 columns, on one Zen 3 core:
 *
 *   rows    2     3     4     8     16    64
 *   I4      0.89  1.02  1.14  1.36  1.49  1.57
 *   I6      1.09  1.30  1.26  1.50  1.65  1.76
 *   I8      0.67  0.84  0.89  1.02  1.14  1.20
 */
static int widens(const struct call *call) {
  enum { WIDENED_ROWS = 4, WIDENED_ROWS_I8 = 12 };
  const a4j_linear_desc *desc = call->desc;
  return call->kernels->widened_product != NULL &&
         desc->rows >= (desc->weight.dtype == A4J_I8 ? WIDENED_ROWS_I8 : WIDENED_ROWS);
}

/* The size of `columns` columns of a quantised row of x. */
static int64_t quantized_bytes(int64_t columns) { return 2 * columns + 12 * (columns / A4J_QUANTIZED_X); }

static int64_t quantized_row_bytes(const a4j_linear_desc *desc) { return quantized_bytes(desc->dim_in); }

/* What the sums of each row are multiplied by; stored after the quantised rows. */
static float *factors(const struct call *call) {
  return call->workspace + call->desc->rows * (quantized_row_bytes(call->desc) / (int64_t)sizeof(float));
}

/*
 * Quantises a row of x and returns the factor of its sums. Where x is so large that sums of its products with codes overflow before
 * the scales of the weights make them small, or so small that its own scales are denormal, it is multiplied by a power of two.
 */
static float quantize_row(const struct call *call, const float *x, char *to) {
  enum { PART = 256 };
  const a4j_linear_desc *desc = call->desc;
  int32_t largest = 0; /* the bits of a magnitude grow with it */
  for (int64_t d = 0; d < desc->dim_in; d++) {
    int32_t bits;
    memcpy(&bits, x + d, sizeof bits);
    bits &= INT32_MAX;
    largest = bits > largest ? bits : largest;
  }
  float peak;
  memcpy(&peak, &largest, sizeof peak);
  const float factor = peak >= 0x1p110f && peak <= FLT_MAX ? 0x1p-60f : peak > 0 && peak < 0x1p-95f ? 0x1p60f : 1;
  if (factor == 1) {
    call->kernels->quantize_row(desc->dim_in, x, &desc->weight, widens(call), to);
    return 1;
  }
  for (int64_t d = 0; d < desc->dim_in; d += PART) {
    const int64_t n = smaller(PART, desc->dim_in - d);
    float part[PART];
    for (int64_t i = 0; i < n; i++) part[i] = x[d + i] * factor;
    call->kernels->quantize_row(n, part, &desc->weight, widens(call), to + quantized_bytes(d));
  }
  return 1 / factor;
}

static void quantize_x(const void *context, int64_t row, int64_t row_end) {
  const struct call *call = context;
  const a4j_linear_desc *desc = call->desc;
  for (; row < row_end; row++)
    factors(call)[row] =
        quantize_row(call, call->x + row * desc->x_stride_row, (char *)call->workspace + row * quantized_row_bytes(desc));
}

/* quantized_block for rows of which some have a factor: the others get the bits that they have there. */
static void multiplied_block(const struct call *call, int64_t row, int64_t rows, int64_t col, int64_t cols,
                             const struct a4j_weights *weights) {
  const a4j_linear_desc *desc = call->desc;
  const int64_t x_bytes = quantized_row_bytes(desc);
  const char *x = (const char *)call->workspace + row * x_bytes;
  float block[QUANTIZED_X_ROWS * QUANTIZED_COLS];
  if (widens(call))
    call->kernels->widened_product(rows, cols, x, x_bytes, weights, NULL, block, QUANTIZED_COLS);
  else
    call->kernels->quantized_product[desc->weight.dtype](rows, cols, x, x_bytes, weights, NULL, 0, block, QUANTIZED_COLS);
  for (int64_t r = 0; r < rows; r++)
    for (int64_t c = 0; c < cols; c++) {
      float *sum = block + r * QUANTIZED_COLS + c;
      *sum *= factors(call)[row + r];
      if (call->bias != NULL) *sum += call->bias[col + c];
    }
  finish(call, row, rows, col, cols, block, QUANTIZED_COLS);
}

static void quantized_block(const struct call *call, int64_t row, int64_t rows, int64_t col, int64_t cols) {
  const a4j_linear_desc *desc = call->desc;
  const int64_t x_bytes = quantized_row_bytes(desc);
  const struct a4j_weights weights = weights_of(call, col);
  const char *x = (const char *)call->workspace + row * x_bytes;
  const float *bias = call->bias == NULL ? NULL : call->bias + col;
  for (int64_t r = 0; r < rows; r++)
    if (factors(call)[row + r] != 1) {
      multiplied_block(call, row, rows, col, cols, &weights);
      return;
    }
  float *out = call->out + row * desc->out_stride_row + col, block[QUANTIZED_X_ROWS * QUANTIZED_COLS];
  a4j_quantized_fn *const product = call->kernels->quantized_product[desc->weight.dtype];
  if (widens(call)) {
    call->kernels->widened_product(rows, cols, x, x_bytes, &weights, bias, block, QUANTIZED_COLS);
    finish(call, row, rows, col, cols, block, QUANTIZED_COLS);
    return;
  }
  if (needs_block(desc)) {
    product(rows, cols, x, x_bytes, &weights, bias, 0, block, QUANTIZED_COLS);
    finish(call, row, rows, col, cols, block, QUANTIZED_COLS);
    return;
  }
  product(rows, cols, x, x_bytes, &weights, bias, accumulates(desc), out, desc->out_stride_row);
  if (finishes(desc)) finish(call, row, rows, col, cols, out, desc->out_stride_row);
}

static void quantized_units(const void *context, int64_t unit, int64_t unit_end) {
  const struct call *call = context;
  const a4j_linear_desc *desc = call->desc;
  for (; unit < unit_end; unit++) {
    const int64_t row = unit / call->col_units * call->rows_step, rows = smaller(call->rows_step, desc->rows - row);
    const int64_t col = unit % call->col_units * QUANTIZED_COLS, cols = smaller(QUANTIZED_COLS, desc->dim_out - col);
    quantized_block(call, row, rows, col, cols);
  }
}

static void run_quantized(struct call *call) {
  const a4j_linear_desc *desc = call->desc;
  const double weights = (double)QUANTIZED_COLS * (double)desc->dim_in;
  a4j_rows_run(desc->threads, desc->rows, (double)desc->dim_in * 0.3, quantize_x, call);
  call->rows_step = QUANTIZED_X_ROWS;
  while (!widens(call) && call->rows_step > QUANTIZED_X_ROWS_LEAST &&
         call->rows_step * quantized_row_bytes(desc) > QUANTIZED_BYTES)
    call->rows_step /= 2;
  if (call->rows_step > desc->rows) call->rows_step = desc->rows;
  call->col_units = ceil_div(desc->dim_out, QUANTIZED_COLS);
  const double nanos = weights * 0.02 + weights * (double)call->rows_step * 0.064 / call->kernels->lanes;
  a4j_rows_run(desc->threads, ceil_div(desc->rows, call->rows_step) * call->col_units, nanos, quantized_units, call);
}

/* ---- sgemm ---- */

/* Sets a slice of out to the bias, or adds the bias to it; sgemm then adds the product. */
static void start_slice(const struct call *call, int64_t row, int64_t rows, int64_t col, int64_t cols) {
  const float *bias = call->bias + col;
  for (int64_t r = row; r < row + rows; r++) {
    float *out = call->out + r * call->desc->out_stride_row + col;
    if (!accumulates(call->desc))
      memcpy(out, bias, (size_t)cols * sizeof *out);
    else
      for (int64_t c = 0; c < cols; c++) out[c] += bias[c];
  }
}

static void sgemm_units(const void *context, int64_t unit, int64_t unit_end) {
  const struct call *call = context;
  const a4j_linear_desc *desc = call->desc;
  sgemm_fn *multiply = atomic_load_explicit(&sgemm, memory_order_acquire);
  for (; unit < unit_end; unit++) {
    int64_t row = unit / call->col_units * call->rows_step, rows = smaller(call->rows_step, desc->rows - row);
    int64_t col = unit % call->col_units * call->cols_step, cols = smaller(call->cols_step, desc->dim_out - col);
    if (call->bias != NULL) start_slice(call, row, rows, col, cols);
    float beta = call->bias != NULL || accumulates(desc) ? 1.0f : 0.0f;
    float *out = call->out + row * desc->out_stride_row + col;
    multiply(ROW_MAJOR, NO_TRANS, TRANS, (int)rows, (int)cols, (int)desc->dim_in, 1.0f, call->x + row * desc->x_stride_row,
             (int)desc->x_stride_row, weights_of(call, col).rows.first, (int)desc->weight_stride_row, beta, out,
             (int)desc->out_stride_row);
    if (finishes(desc)) finish(call, row, rows, col, cols, out, desc->out_stride_row);
  }
}

static void run_sgemm(struct call *call) {
  const a4j_linear_desc *desc = call->desc;
  int large = ceil_div(desc->rows, LARGE_SLICE_ROWS) * ceil_div(desc->dim_out, LARGE_SLICE_COLS) >= SLICES_WANTED;
  call->rows_step = even_step(desc->rows, large ? LARGE_SLICE_ROWS : SLICE_ROWS);
  call->cols_step = even_step(desc->dim_out, large ? LARGE_SLICE_COLS : SLICE_COLS);
  call->col_units = ceil_div(desc->dim_out, call->cols_step);
  double nanos = (double)call->rows_step * (double)call->cols_step * (double)desc->dim_in * 0.01;
  a4j_rows_run(desc->threads, ceil_div(desc->rows, call->rows_step) * call->col_units, nanos, sgemm_units, call);
}

/* ---- Exported ---- */

int32_t a4j_use_blas(const void *cblas_sgemm) {
  if (cblas_sgemm == NULL) return A4J_NULL_POINTER;
  atomic_store_explicit(&sgemm, (sgemm_fn *)cblas_sgemm, memory_order_release);
  return A4J_OK;
}

static int32_t check(const a4j_linear_desc *desc) {
  int32_t status = a4j_check_version(desc, sizeof *desc);
  if (status == A4J_OK) status = a4j_check_layer(desc, desc->out_dtype);
  if (status != A4J_OK) return status;
  if (!a4j_is_activation(desc->activation) || !a4j_is_combine(desc->combine) || desc->product < A4J_PRODUCT_OWN ||
      desc->product > A4J_PRODUCT_PACKED || desc->arithmetic < A4J_ARITHMETIC_EXACT || desc->arithmetic > A4J_ARITHMETIC_BF16)
    return A4J_BAD_OPTION;
  if (a4j_is_quantized(desc->weight.dtype) && desc->product != A4J_PRODUCT_OWN) return A4J_BAD_OPTION;
  status = a4j_check_sizes(2, (const int64_t[]){desc->rows, desc->dim_in});
  if (status != A4J_OK) return status;
  status = a4j_check_sizes(2, (const int64_t[]){desc->dim_out, desc->dim_in});
  if (status != A4J_OK) return status;
  status = a4j_check_sizes(3, (const int64_t[]){ceil_div(desc->dim_out, A4J_PANEL), A4J_PANEL, desc->dim_in});
  if (status != A4J_OK) return status;
  status = a4j_check_sizes(2, (const int64_t[]){desc->rows, desc->dim_out});
  return status == A4J_OK ? a4j_check_storage(&desc->weight, desc->dim_in) : status;
}

static int32_t check_strides(const a4j_linear_desc *desc) {
  const int packed = desc->product == A4J_PRODUCT_PACKED || a4j_is_quantized(desc->weight.dtype);
  return desc->x_stride_row < desc->dim_in || (!packed && desc->weight_stride_row < desc->dim_in) ||
                 desc->out_stride_row < desc->dim_out
             ? A4J_BAD_SIZE
             : A4J_OK;
}

/* For as many threads as any tier would use, so a workspace stays large enough when another tier is selected. */
static int64_t product_bytes(const a4j_linear_desc *desc) {
  if (a4j_is_quantized(desc->weight.dtype))
    return desc->dim_out > 0 ? desc->rows * (quantized_row_bytes(desc) + (int64_t)sizeof(float)) : 0;
  if (!takes_panels(desc)) return 0;
  return (panel_threads(desc, A4J_LANES_MIN) * scratch_floats(desc) + x_pair_floats(desc)) * (int64_t)sizeof(float);
}

/* Where 16-bit rows of x are widened to: after the workspace of the product, at a cache line. */
static int64_t wide_x_offset(const a4j_linear_desc *desc) {
  return ceil_div(product_bytes(desc), A4J_WORKSPACE_ALIGNMENT) * A4J_WORKSPACE_ALIGNMENT;
}

static int widens_x(const a4j_linear_desc *desc) { return desc->dtype != A4J_F32 && desc->dim_in > 0 && desc->dim_out > 0; }

static int64_t workspace_bytes(const a4j_linear_desc *desc) {
  return widens_x(desc) ? wide_x_offset(desc) + desc->rows * desc->dim_in * (int64_t)sizeof(float) : product_bytes(desc);
}

struct widening {
  const struct a4j_kernels *kernels;
  const a4j_linear_desc *desc;
  const void *x;
  float *wide;
};

static void widen_rows(const void *context, int64_t row, int64_t row_end) {
  const struct widening *w = context;
  const int64_t dim = w->desc->dim_in;
  for (; row < row_end; row++)
    a4j_widen(w->kernels, w->desc->dtype, w->x, row * w->desc->x_stride_row, dim, w->wide + row * dim);
}

int64_t a4j_linear_workspace_bytes(const a4j_linear_desc *desc) {
  A4J_DEFAULT_FLOATS;
  int32_t status = check(desc);
  if (status == A4J_OK) status = check_strides(desc);
  return status == A4J_OK ? workspace_bytes(desc) : -(int64_t)status;
}

int32_t a4j_linear(const a4j_linear_desc *desc, const void *x, const void *weight, const float *bias, void *out,
                   void *workspace, int64_t bytes) {
  A4J_DEFAULT_FLOATS;
  int32_t status = check(desc);
  if (status == A4J_OK) status = check_strides(desc);
  if (status != A4J_OK) return status;
  if (desc->rows == 0 || desc->dim_out == 0) return A4J_OK;
  if (out == NULL || (desc->dim_in > 0 && (x == NULL || weight == NULL))) return A4J_NULL_POINTER;
  const int64_t needed = workspace_bytes(desc);
  if (needed > 0 && workspace == NULL) return A4J_NULL_POINTER;
  if (needed > 0 && (uintptr_t)workspace % A4J_WORKSPACE_ALIGNMENT != 0) return A4J_MISALIGNED;
  if (bytes < needed) return A4J_SMALL_WORKSPACE;

  struct call call = {.kernels = a4j_kernels_active(), .desc = desc, .x = x, .weight = weight, .bias = bias, .out = out};
  if (needed > 0) call.workspace = workspace;
  a4j_linear_desc wide = *desc;
  if (widens_x(desc)) {
    const struct widening widening = {call.kernels, desc, x, (float *)(void *)((char *)workspace + wide_x_offset(desc))};
    a4j_rows_run(desc->threads, desc->rows, 5 + 0.1 * (double)desc->dim_in, widen_rows, &widening);
    wide.dtype = A4J_F32;
    wide.x_stride_row = desc->dim_in;
    call.desc = desc = &wide;
    call.x = widening.wide;
  }
  if (a4j_is_quantized(desc->weight.dtype) && desc->dim_in > 0)
    run_quantized(&call);
  else if (takes_panels(desc))
    run_panels(&call);
  else if (desc->rows <= unpacked_rows(desc) || desc->dim_in == 0)
    run_own(&call);
  else if (atomic_load_explicit(&sgemm, memory_order_relaxed) == NULL)
    return A4J_NO_BLAS;
  else
    run_sgemm(&call);
  return A4J_OK;
}

int32_t a4j_linear_pack(const a4j_linear_desc *desc, const void *weight, void *packed) {
  A4J_DEFAULT_FLOATS;
  int32_t status = check(desc);
  if (status != A4J_OK) return status;
  if (a4j_is_quantized(desc->weight.dtype)) return A4J_UNSUPPORTED_DTYPE;
  if (desc->weight_stride_row < desc->dim_in) return A4J_BAD_SIZE;
  if (desc->dim_out == 0 || desc->dim_in == 0) return A4J_OK;
  if (weight == NULL || packed == NULL) return A4J_NULL_POINTER;
  struct call call = {.kernels = a4j_kernels_active(), .desc = desc, .weight = weight, .out = packed};
  a4j_rows_run(desc->threads, ceil_div(desc->dim_out, A4J_PANEL), (double)desc->dim_in * A4J_PANEL * 0.2, pack_units, &call);
  return A4J_OK;
}
