/*
 * Quantised weights on every tier: their layout against its definition, the results of the quantiser, and products against those of the
 * stored weights, computed in double.
 */
#include "half.h"
#include "layer_cases.h"

/* ---- Problems ---- */

static const a4j_storage storages[] = {
    {A4J_I8, 16, A4J_F16, 0}, {A4J_I8, 32, A4J_F16, 0},  {A4J_I8, 64, A4J_F32, 0}, {A4J_I8, 128, A4J_F16, 0},
    {A4J_I8, 32, A4J_F32, 1}, {A4J_I8, 16, A4J_I8, 0},   {A4J_I8, 32, A4J_I8, 1},  {A4J_I4, 16, A4J_F32, 0},
    {A4J_I4, 32, A4J_F16, 0}, {A4J_I4, 32, A4J_F16, 1},  {A4J_I4, 64, A4J_F32, 1}, {A4J_I4, 128, A4J_F32, 0},
    {A4J_I4, 32, A4J_I8, 1},  {A4J_I4, 128, A4J_F16, 1}, {A4J_I4, 128, A4J_I8, 0}, {A4J_I6, 16, A4J_I8, 0},
    {A4J_I6, 32, A4J_I8, 1},  {A4J_I6, 32, A4J_F16, 0},  {A4J_I6, 64, A4J_F32, 1},
};
enum { STORAGES = sizeof storages / sizeof *storages };

static int bits_of(a4j_storage s) { return s.dtype == A4J_I8 ? 8 : s.dtype == A4J_I6 ? 6 : 4; }

/* The code of a row and column of a group, as the header draws it. */
static int code_at(a4j_storage s, const uint8_t *codes, int64_t r, int64_t c) {
  if (s.dtype == A4J_I8) return codes[c / 4 * 64 + 4 * r + c % 4];
  if (s.dtype == A4J_I6) {
    codes += c / 16 * 192 + 4 * r + c % 4;
    const int64_t line = c % 16 / 4;
    return line < 3 ? codes[64 * line] & 63 : codes[0] >> 6 | (codes[64] >> 6) << 2 | (codes[128] >> 6) << 4;
  }
  const int both = codes[c / 8 * 64 + 4 * r + c % 4];
  return c % 8 < 4 ? both & 15 : both >> 4;
}

/* Quantised rows: what they are packed from, packed, and the exact value of each weight. */
struct weights {
  a4j_quantized_desc d;
  int8_t *codes;
  void *scales, *minimums;
  uint16_t *outer_scales, *outer_minimums;
  uint8_t *packed;
  int64_t bytes;
  double *values;
};

static double number(int dtype, const void *numbers, int64_t i) {
  if (dtype == A4J_I8) return ((const int8_t *)numbers)[i];
  return dtype == A4J_F32 ? (double)((const float *)numbers)[i] : half_value(A4J_F16, ((const uint16_t *)numbers)[i]);
}

static void put_number(int dtype, void *numbers, int64_t i, double x) {
  if (dtype == A4J_I8)
    ((int8_t *)numbers)[i] = (int8_t)(x * 1000);
  else if (dtype == A4J_F32)
    ((float *)numbers)[i] = (float)x;
  else
    ((uint16_t *)numbers)[i] = half_nearest(A4J_F16, x);
}

static a4j_quantized_desc desc_of(a4j_storage s, int64_t rows, int64_t dim) {
  return (a4j_quantized_desc){.size_bytes = sizeof(a4j_quantized_desc),
                              .abi_version = A4J_ABI_VERSION,
                              .dtype = A4J_F32,
                              .threads = 1 + (int32_t)up_to(2),
                              .storage = s,
                              .rows = rows,
                              .dim = dim,
                              .stride_row = dim};
}

static struct weights make_weights(a4j_storage s, int64_t rows, int64_t dim) {
  const int64_t groups = dim / s.group, spans = dim / A4J_QUANTIZED_SPAN;
  const int bits = bits_of(s), nested = s.scale_dtype == A4J_I8;
  struct weights w = {.d = desc_of(s, rows, dim)};
  w.codes = malloc((size_t)(rows * dim));
  w.scales = malloc(sizeof(float) * (size_t)(rows * groups));
  w.minimums = malloc(sizeof(float) * (size_t)(rows * groups));
  w.outer_scales = malloc(2 * (size_t)(rows * spans + 1));
  w.outer_minimums = malloc(2 * (size_t)(rows * spans + 1));
  w.values = malloc(sizeof(double) * (size_t)(rows * dim));
  for (int64_t i = 0; i < rows * dim; i++) w.codes[i] = (int8_t)(up_to((1 << bits) - 1) - (s.minimums ? 0 : 1 << (bits - 1)));
  for (int64_t i = 0; i < rows * groups; i++) {
    put_number(s.scale_dtype, w.scales, i, 0.002 + 0.05 * fabs((double)uniform()));
    put_number(s.scale_dtype, w.minimums, i, 0.1 * (double)uniform());
  }
  for (int64_t i = 0; i < rows * spans; i++) {
    w.outer_scales[i] = half_nearest(A4J_F16, 0.001 * (1 + (double)uniform() / 2));
    w.outer_minimums[i] = half_nearest(A4J_F16, 0.001 * (1 + (double)uniform() / 2));
  }
  for (int64_t r = 0; r < rows; r++)
    for (int64_t c = 0; c < dim; c++) {
      const int64_t g = r * groups + c / s.group, span = r * spans + c / A4J_QUANTIZED_SPAN;
      const double code = s.minimums ? (uint8_t)w.codes[r * dim + c] : w.codes[r * dim + c];
      const double outer = nested ? half_value(A4J_F16, w.outer_scales[span]) : 1;
      const double outer_minimum = nested ? half_value(A4J_F16, w.outer_minimums[span]) : 1;
      w.values[r * dim + c] = outer * number(s.scale_dtype, w.scales, g) * code +
                              (s.minimums ? outer_minimum * number(s.scale_dtype, w.minimums, g) : 0);
    }
  w.bytes = a4j_quantized_bytes(&w.d);
  CHECK(w.bytes > 0 && w.bytes % 16 == 0, "%d bytes", (int)w.bytes);
  w.packed = aligned_alloc(64, (size_t)(w.bytes + 127) / 64 * 64);
  memset(w.packed, 0xa5, (size_t)(w.bytes + 127) / 64 * 64);
  CHECK_INT(a4j_quantized_pack(&w.d, w.codes, w.scales, s.minimums ? w.minimums : NULL, nested ? w.outer_scales : NULL,
                               nested && s.minimums ? w.outer_minimums : NULL, w.packed),
            A4J_OK);
  CHECK(w.packed[w.bytes] == 0xa5, "wrote behind the packed weights");
  return w;
}

static void free_weights(struct weights *w) {
  free(w->codes), free(w->scales), free(w->minimums), free(w->outer_scales), free(w->outer_minimums);
  free(w->packed), free(w->values);
}

/* ---- Layout ---- */

/* Every number is at the position that the header defines. */
static void layoutOnThisTier(void) {
  for (int i = 0; i < STORAGES; i++) {
    const a4j_storage s = storages[i];
    enum { ROW_COUNT = 35, DIM = 512 };
    struct weights w = make_weights(s, ROW_COUNT, DIM);
    const int numbers = s.scale_dtype == A4J_F32 ? 4 : s.scale_dtype == A4J_F16 ? 2 : 1, nested = s.scale_dtype == A4J_I8;
    const int zero = s.minimums ? 0 : 1 << (bits_of(s) - 1);
    int wrong = 0;
    const uint8_t *p = w.packed;
    for (int64_t block = 0; block < (ROW_COUNT + 15) / 16; block++)
      for (int64_t g = 0; g < DIM / s.group; g++) {
        if (nested && g * s.group % A4J_QUANTIZED_SPAN == 0)
          for (int kind = 0; kind <= s.minimums; kind++)
            for (int64_t r = 0; r < 16; r++, p += 2) {
              const int64_t row = block * 16 + r, span = row * 2 + g * s.group / A4J_QUANTIZED_SPAN;
              uint16_t got, want = row >= ROW_COUNT ? 0 : kind == 0 ? w.outer_scales[span] : w.outer_minimums[span];
              memcpy(&got, p, 2);
              wrong += got != want;
            }
        for (int64_t c = 0; c < s.group; c++)
          for (int64_t r = 0; r < 16; r++) {
            const int64_t row = block * 16 + r;
            const int got = code_at(s, p, r, c);
            if (row < ROW_COUNT) {
              const int8_t code = w.codes[row * DIM + g * s.group + c];
              wrong += got != (s.minimums ? (uint8_t)code : code) + zero;
            }
          }
        p += 2 * s.group * bits_of(s);
        for (int kind = 0; kind <= s.minimums; kind++)
          for (int64_t r = 0; r < 16; r++, p += numbers) {
            const int64_t row = block * 16 + r;
            const char *from = (const char *)(kind == 0 ? w.scales : w.minimums) + (row * (DIM / s.group) + g) * numbers;
            wrong += row < ROW_COUNT ? memcmp(p, from, (size_t)numbers) != 0 : *p != 0;
          }
      }
    CHECK(p == w.packed + w.bytes, "storage %d: %d bytes counted, %d told", i, (int)(p - w.packed), (int)w.bytes);
    CHECK(wrong == 0, "storage %d: %d numbers are elsewhere", i, wrong);

    /* Widened again, from any row on, into any type. */
    for (int dtype = A4J_F32; dtype <= A4J_F16; dtype++) {
      a4j_quantized_desc d = w.d;
      d.first_row = up_to(20), d.rows = 1 + up_to(ROW_COUNT - 1 - d.first_row), d.stride_row = DIM + 3, d.dtype = dtype;
      char *out = malloc((size_t)(d.rows * d.stride_row * 4));
      CHECK_INT(a4j_dequantize(&d, w.packed, out), A4J_OK);
      wrong = 0;
      for (int64_t r = 0; r < d.rows; r++)
        for (int64_t c = 0; c < DIM; c++) {
          const int64_t row = d.first_row + r, g = row * (DIM / s.group) + c / s.group, span = row * 2 + c / A4J_QUANTIZED_SPAN;
          const int8_t code = w.codes[row * DIM + c];
          float scale = (float)number(s.scale_dtype, w.scales, g), minimum = (float)number(s.scale_dtype, w.minimums, g);
          if (nested) scale *= (float)half_value(A4J_F16, w.outer_scales[span]);
          if (nested) minimum *= (float)half_value(A4J_F16, w.outer_minimums[span]);
          float value = scale * (float)(s.minimums ? (uint8_t)code : code);
          if (s.minimums) value += minimum;
          const int64_t at = r * d.stride_row + c;
          wrong += dtype == A4J_F32 ? ((float *)(void *)out)[at] != value
                                    : ((uint16_t *)(void *)out)[at] != half_nearest(dtype, (double)value);
        }
      CHECK(wrong == 0, "storage %d to type %d: %d wrong", i, dtype, wrong);
      free(out);
    }
    free_weights(&w);
  }
}
static void shouldPackAsTheHeaderDrawsItAndWidenBitByBit(void) { on_every_tier(layoutOnThisTier); }

static void shouldPackInPieces(void) {
  for (int i = 0; i < STORAGES; i++) {
    const a4j_storage s = storages[i];
    const int64_t dim = 256, groups = dim / s.group;
    struct weights w = make_weights(s, 50, dim);
    const int64_t numbers = s.scale_dtype == A4J_F32 ? 4 : s.scale_dtype == A4J_F16 ? 2 : 1;
    uint8_t *pieces = malloc((size_t)w.bytes);
    memset(pieces, 0x77, (size_t)w.bytes);
    for (int64_t row = 0; row < 50; row += 32) {
      a4j_quantized_desc d = w.d;
      d.first_row = row, d.rows = row + 32 < 50 ? 32 : 50 - row;
      CHECK_INT(a4j_quantized_pack(&d, w.codes + row * dim, (char *)w.scales + row * groups * numbers,
                                   (char *)w.minimums + row * groups * numbers, w.outer_scales + row, w.outer_minimums + row,
                                   pieces),
                A4J_OK);
    }
    CHECK(memcmp(pieces, w.packed, (size_t)w.bytes) == 0, "storage %d: other bytes in pieces", i);
    free(pieces);
    free_weights(&w);
  }
}

/* ---- Quantising ---- */

static void quantizeOnThisTier(void) {
  static const float ranges[] = {1, 1e-5f, 300, 0};
  for (int i = 0; i < STORAGES; i++) {
    const a4j_storage s = storages[i];
    if (s.scale_dtype == A4J_I8) continue;
    for (size_t k = 0; k < sizeof ranges / sizeof *ranges; k++) {
      struct tensor x = tensor(19, 256, 5, ranges[k]);
      for (int64_t c = 0; c < s.group; c++) x.data[c] = -ranges[k];           /* all equal */
      x.data[2 * x.stride + 7] = 40 * ranges[k];                              /* an outlier */
      for (int64_t c = 0; c < s.group; c++) x.data[3 * x.stride + c] = -0.0f; /* all zero */
      a4j_quantized_desc d = desc_of(s, 19, 256);
      d.stride_row = x.stride;
      const int64_t bytes = a4j_quantized_bytes(&d);
      uint8_t *packed = malloc((size_t)bytes);
      float *out = malloc(sizeof *out * 19 * 256);
      CHECK_INT(a4j_quantize(&d, x.data, packed), A4J_OK);
      a4j_quantized_desc back = d;
      back.stride_row = 256;
      CHECK_INT(a4j_dequantize(&back, packed, out), A4J_OK);
      const double levels = (1 << (bits_of(s) - 1 + s.minimums)) - 1;
      /* Rounded numbers of scales: relative, and absolute where F16 is denormal. */
      const double relative = s.scale_dtype == A4J_F16 ? 0x1p-11 : 0x1p-23, absolute = s.scale_dtype == A4J_F16 ? 0x1p-25 : 0;
      for (int64_t r = 0; r < 19; r++)
        for (int64_t g = 0; g < 256 / s.group; g++) {
          double low = INFINITY, high = -INFINITY;
          for (int64_t c = 0; c < s.group; c++) {
            low = fmin(low, (double)x.data[r * x.stride + g * s.group + c]);
            high = fmax(high, (double)x.data[r * x.stride + g * s.group + c]);
          }
          const double largest = fmax(fabs(low), fabs(high)), range = s.minimums ? high - low : largest;
          const double rounding = s.minimums ? relative * largest + absolute : 0;
          const double step = (range + rounding) / levels * (1 + relative) + absolute;
          const double most = step / 2 + levels * (step * relative + absolute) + rounding + 1e-7 * largest;
          for (int64_t c = 0; c < s.group; c++) {
            const int64_t at = g * s.group + c;
            const double error = fabs((double)out[r * 256 + at] - (double)x.data[r * x.stride + at]);
            CHECK(error <= most, "storage %d range %g (%d, %d): %g became %g", i, (double)ranges[k], (int)r, (int)at,
                  (double)x.data[r * x.stride + at], (double)out[r * 256 + at]);
          }
        }
      free(x.base), free(packed), free(out);
    }
  }
}
static void shouldQuantizeWithinHalfAStep(void) { on_every_tier(quantizeOnThisTier); }

static void shouldRefuseToQuantizeWhatIsNoNumberOrTooLarge(void) {
  static const float bad[] = {NAN, INFINITY, -INFINITY};
  for (int minimums = 0; minimums < 2; minimums++) {
    const a4j_quantized_desc d = desc_of((a4j_storage){A4J_I8, 32, A4J_F16, minimums}, 16, 64);
    struct tensor x = tensor(16, 64, 0, 1);
    uint8_t packed[16 * 64 * 2];
    CHECK_INT(a4j_quantize(&d, x.data, packed), A4J_OK);
    for (int i = 0; i < 3; i++) {
      x.data[777] = bad[i];
      CHECK_INT(a4j_quantize(&d, x.data, packed), A4J_BAD_VALUE);
    }
    x.data[777] = 3e38f; /* its scale does not fit F16 */
    CHECK_INT(a4j_quantize(&d, x.data, packed), A4J_BAD_VALUE);
    free(x.base);
  }
}

/* ---- Products ---- */

struct problem {
  struct weights w;
  a4j_linear_desc d;
  struct tensor x, bias, out;
};

static struct problem make(a4j_storage s, int64_t rows, int64_t dim_in, int64_t dim_out) {
  struct problem p = {.w = make_weights(s, dim_out, dim_in),
                      .x = tensor(rows, dim_in, 3, 1),
                      .bias = tensor(1, dim_out, 0, 1),
                      .out = tensor(rows, dim_out, 5, 1)};
  p.d = (a4j_linear_desc){DESC(a4j_linear_desc), .weight = s, .rows = rows, .dim_in = dim_in, .dim_out = dim_out};
  p.d.x_stride_row = p.x.stride, p.d.out_stride_row = p.out.stride;
  return p;
}

static void release(struct problem *p) {
  free_weights(&p->w);
  free(p->x.base), free(p->bias.base), free(p->out.base);
}

static int32_t run(struct problem *p) {
  const int64_t bytes = a4j_linear_workspace_bytes(&p->d);
  if (bytes < 0) return (int32_t)-bytes;
  void *workspace = aligned_alloc(A4J_WORKSPACE_ALIGNMENT, (size_t)bytes / 64 * 64 + 128);
  memset((char *)workspace + bytes, 0x5a, 64);
  const int32_t status = a4j_linear(&p->d, p->x.data, p->w.packed, p->bias.data, p->out.data, workspace, bytes);
  CHECK(((char *)workspace)[bytes] == 0x5a, "wrote behind the workspace");
  free(workspace);
  return status;
}

/* x in several shapes: uniform, with an outlier, mostly zeros, tiny, huge, all equal. */
static void shape_x(struct tensor *x, int shape) {
  for (int64_t r = 0; r < x->rows; r++)
    for (int64_t c = 0; c < x->width; c++) {
      float *at = &x->data[r * x->stride + c];
      if (shape == 1 && c % 37 == 5) *at *= 1000;
      if (shape == 2 && next() % 8 != 0) *at = next() % 2 == 0 ? 0.0f : -0.0f;
      if (shape == 3) *at *= 1e-30f;
      if (shape == 4) *at *= 1e30f;
      if (shape == 5) *at = 0.7f;
    }
}

static void product(a4j_storage s, int64_t rows, int64_t dim_in, int64_t dim_out, int shape) {
  struct problem p = make(s, rows, dim_in, dim_out);
  if (rows < 7 && shape == 1) shape = 0; /* the error of few outliers is chance */
  shape_x(&p.x, shape);
  p.d.threads = 1 + (int32_t)up_to(2);
  p.d.combine = (int32_t)up_to(1);
  for (int64_t c = 0; c < dim_out; c++) p.bias.data[c] *= shape == 3 ? 1e-30f : shape == 4 ? 1e30f : 1;
  if (shape == 3 || shape == 4) p.d.combine = A4J_SET;
  struct tensor before = copy_of(&p.out);
  CHECK_INT(run(&p), A4J_OK);
  double errors = 0, size = 0;
  for (int64_t r = 0; r < rows; r++)
    for (int64_t o = 0; o < dim_out; o++) {
      double sum = p.bias.data[o], squares = 0;
      if (p.d.combine == A4J_ADD) sum += (double)before.data[r * before.stride + o];
      for (int64_t c = 0; c < dim_in; c++) {
        const double term = p.w.values[o * dim_in + c] * (double)p.x.data[r * p.x.stride + c];
        sum += term, squares += term * term;
      }
      const double error = (double)p.out.data[r * p.out.stride + o] - sum;
      errors += error * error, size += squares;
    }
  CHECK(errors <= 5e-5 * 5e-5 * size, "type %d group %d scales %d minimums %d, %d x %d x %d, shape %d: error %g", s.dtype,
        s.group, s.scale_dtype, s.minimums, (int)rows, (int)dim_in, (int)dim_out, shape, sqrt(errors / size));
  check_guards(&p.out, "quantised");
  free(before.base);
  release(&p);
}
static void productsOnThisTier(void) {
  static const int64_t rows[] = {1, 2, 3, 4, 7, 8, 9, 15, 33, 70};
  for (int i = 0; i < STORAGES; i++)
    for (size_t r = 0; r < sizeof rows / sizeof *rows; r++) {
      const int64_t dim_out = 1 + up_to(90) + 100 / rows[r]; /* enough results that their error is that of many */
      product(storages[i], rows[r], 256 * (1 + up_to(2)), dim_out, (int)((r + (size_t)i) % 6));
    }
  product(storages[8], 130, 2048, 200, 0);
  product(storages[8], 3, 32, 17, 0);
  product(storages[0], 5, 16, 16, 0);
}
static void shouldMultiplyByTheStoredWeights(void) { on_every_tier(productsOnThisTier); }

/* Makes products so small that most round to 0 or -0, whose sign then depends on how sums begin and end. */
static void make_tiny(struct problem *p) {
  const a4j_storage s = p->d.weight;
  for (int64_t i = 0; i < p->x.stride * p->d.rows; i++) p->x.data[i] *= 1e-38f;
  for (int64_t c = 0; c < p->d.dim_out; c++) p->bias.data[c] = -0.0f;
  for (int64_t i = 0; i < p->w.d.rows * p->w.d.dim / s.group; i++) ((float *)p->w.scales)[i] *= 0x1p-40f;
  CHECK_INT(a4j_quantized_pack(&p->w.d, p->w.codes, p->w.scales, s.minimums ? p->w.minimums : NULL, NULL, NULL, p->w.packed),
            A4J_OK);
}

/* A row alone is multiplied by another kernel than many rows on some tiers. */
static void sameBitsOf(a4j_storage s, int i, int64_t rows, int64_t dim_in, int64_t dim_out, int tiny) {
  struct problem p = make(s, rows, dim_in, dim_out);
  if (tiny) make_tiny(&p);
  CHECK_INT(run(&p), A4J_OK);
  struct tensor once = copy_of(&p.out);
  for (int threads = 2; threads < 6; threads++) {
    fill(&p.out, 0);
    p.d.threads = threads;
    CHECK_INT(run(&p), A4J_OK);
    CHECK(same(&p.out, &once), "storage %d: other bits on %d threads", i, threads);
  }
  for (int64_t r = 0; r < rows; r++) {
    struct problem alone = p;
    alone.d.rows = 1;
    alone.x.data += r * p.x.stride;
    CHECK_INT(run(&alone), A4J_OK);
    CHECK(memcmp(p.out.data, once.data + r * once.stride, sizeof(float) * (size_t)dim_out) == 0,
          "storage %d: row %d of %d has other bits alone", i, (int)r, (int)rows);
  }
  free(once.base);
  release(&p);
}
static void sameBitsOnThisTier(void) {
  for (int i = 0; i < STORAGES; i++) {
    const a4j_storage s = storages[i];
    const int64_t unit = s.scale_dtype == A4J_I8 ? A4J_QUANTIZED_SPAN : s.group;
    sameBitsOf(s, i, 75, 512, 150, 0);
    sameBitsOf(s, i, 10, 4096 + unit, 20, 0);
    if (s.scale_dtype == A4J_F32) sameBitsOf(s, i, 12, unit, 20, 1);
  }
}
static void shouldGiveTheSameBitsForEveryThreadCountAndNeighbour(void) { on_every_tier(sameBitsOnThisTier); }

static void epiloguesOnThisTier(void) {
  for (int activation = A4J_IDENTITY; activation <= A4J_TANH; activation++)
    for (int combine = A4J_SET; combine <= A4J_MULTIPLY; combine++) {
      if (activation == A4J_IDENTITY && combine == A4J_ADD) continue; /* is added to the sum */
      struct problem p = make(storages[8 + combine], 70, 256, 131);
      struct tensor before = copy_of(&p.out), wanted = copy_of(&p.out);
      CHECK_INT(run(&p), A4J_OK);
      a4j_elementwise_desc e = {DESC(a4j_elementwise_desc), .activation = activation, .combine = combine, .scale = 1};
      e.rows = 70, e.dim = 131, e.x_stride_row = e.y_stride_row = e.out_stride_row = p.out.stride;
      CHECK_INT(a4j_elementwise(&e, p.out.data, before.data, wanted.data), A4J_OK);
      memcpy(p.out.base, before.base, sizeof(float) * (size_t)before.total);
      p.d.activation = activation, p.d.combine = combine;
      CHECK_INT(run(&p), A4J_OK);
      CHECK(same(&p.out, &wanted), "activation %d combine %d: other bits than in two steps", activation, combine);
      check_guards(&p.out, "epilogue");
      free(before.base), free(wanted.base);
      release(&p);
    }
}
static void shouldFinishWithTheBitsOfTwoSteps(void) { on_every_tier(epiloguesOnThisTier); }

static void nanOnThisTier(void) {
  static const float bad[] = {NAN, INFINITY, -INFINITY};
  for (int i = 0; i < STORAGES; i++) {
    struct problem p = make(storages[i], 11, 256, 40);
    p.x.data[4 * p.x.stride + 200] = bad[i % 3];
    p.bias.data[13] = NAN;
    CHECK_INT(run(&p), A4J_OK);
    for (int64_t r = 0; r < 11; r++)
      for (int64_t c = 0; c < 40; c++) {
        const float got = p.out.data[r * p.out.stride + c];
        CHECK(isnan(got) == (r == 4 || c == 13), "storage %d (%d, %d) is %g", i, (int)r, (int)c, (double)got);
      }
    release(&p);
  }
}
static void shouldShowWhatIsNotFiniteInItsRowAlone(void) { on_every_tier(nanOnThisTier); }

/* ---- Refusals ---- */

static void shouldRefuseWhatADescriptorCannotMean(void) {
  const a4j_storage good = {A4J_I4, 32, A4J_F16, 0};
  static float x[64];
  uint8_t packed[16 * 64];
  int8_t codes[64] = {0};
  uint16_t scales[2] = {0};
#define REFUSES(change, status)                                                                                                \
  do {                                                                                                                         \
    a4j_quantized_desc d = desc_of(good, 1, 64);                                                                               \
    change;                                                                                                                    \
    CHECK_INT(a4j_quantized_bytes(&d), -(int64_t)(status));                                                                    \
    CHECK_INT(a4j_quantize(&d, x, packed), status);                                                                            \
    CHECK_INT(a4j_dequantize(&d, packed, x), status);                                                                          \
    CHECK_INT(a4j_quantized_pack(&d, codes, scales, NULL, NULL, NULL, packed), status);                                        \
  } while (0)
  REFUSES(d.storage.dtype = A4J_BF16, A4J_UNSUPPORTED_DTYPE);
  REFUSES(d.storage.scale_dtype = A4J_BF16, A4J_UNSUPPORTED_DTYPE);
  REFUSES(d.storage.scale_dtype = A4J_I8, A4J_BAD_SIZE);
  REFUSES(d.storage.group = 48, A4J_BAD_OPTION);
  REFUSES(d.storage.group = 128, A4J_BAD_SIZE);
  REFUSES(d.storage.minimums = 2, A4J_BAD_OPTION);
  REFUSES(d.rows = -1, A4J_BAD_SIZE);
  REFUSES(d.first_row = INT64_MAX, A4J_SIZE_OVERFLOW);
  REFUSES(d.dtype = A4J_I8, A4J_UNSUPPORTED_DTYPE);
  REFUSES(d.threads = 0, A4J_BAD_OPTION);
  a4j_quantized_desc d = desc_of(good, 1, 64);
  d.first_row = 8;
  CHECK_INT(a4j_quantize(&d, x, packed), A4J_BAD_POSITION);
  CHECK_INT(a4j_quantized_pack(&d, codes, scales, NULL, NULL, NULL, packed), A4J_BAD_POSITION);
  d.first_row = 0;
  CHECK_INT(a4j_quantize(&d, NULL, packed), A4J_NULL_POINTER);
  CHECK_INT(a4j_dequantize(&d, packed, NULL), A4J_NULL_POINTER);
  CHECK_INT(a4j_quantized_pack(&d, codes, NULL, NULL, NULL, NULL, packed), A4J_NULL_POINTER);
  codes[3] = 8;
  CHECK_INT(a4j_quantized_pack(&d, codes, scales, NULL, NULL, NULL, packed), A4J_BAD_VALUE);
  codes[3] = 0, d.storage.minimums = 1;
  CHECK_INT(a4j_quantized_pack(&d, codes, scales, NULL, NULL, NULL, packed), A4J_NULL_POINTER);

  struct problem p = make(good, 2, 64, 16);
  p.d.weight.group = 0;
  CHECK_INT(run(&p), A4J_BAD_OPTION);
  p.d.weight.group = 128;
  CHECK_INT(run(&p), A4J_BAD_SIZE);
  p.d.weight = good, p.d.product = A4J_PRODUCT_PACKED;
  CHECK_INT(run(&p), A4J_BAD_OPTION);
  p.d.product = A4J_PRODUCT_OWN, p.d.weight = (a4j_storage){.dtype = A4J_BF16, .group = 32};
  CHECK_INT(run(&p), A4J_BAD_OPTION);
  p.d.weight = good;
  CHECK_INT(a4j_linear_pack(&p.d, p.w.packed, packed), A4J_UNSUPPORTED_DTYPE);
  CHECK_INT(a4j_linear(&p.d, p.x.data, p.w.packed, NULL, p.out.data, NULL, 0), A4J_NULL_POINTER);
  release(&p);
}

int main(void) {
  RUN(shouldPackAsTheHeaderDrawsItAndWidenBitByBit);
  RUN(shouldPackInPieces);
  RUN(shouldQuantizeWithinHalfAStep);
  RUN(shouldRefuseToQuantizeWhatIsNoNumberOrTooLarge);
  RUN(shouldMultiplyByTheStoredWeights);
  RUN(shouldGiveTheSameBitsForEveryThreadCountAndNeighbour);
  RUN(shouldFinishWithTheBitsOfTwoSteps);
  RUN(shouldShowWhatIsNotFiniteInItsRowAlone);
  RUN(shouldRefuseWhatADescriptorCannotMean);
  return CHECK_RESULT();
}
