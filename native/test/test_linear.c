/*
 * a4j_linear against the formula in double, on every tier: sizes around lanes, tiles and parts, strides, bias and accumulation;
 * what it must not read or write, and what must not change its bits. The BLAS is the one that the environment variable
 * A4J_TEST_BLAS names, or a plain sgemm.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <pthread.h>
#include <stdatomic.h>

#include "half.h"
#include "layer_cases.h"
#include "reference_layers.h"

/* More rows than any kernel for few rows takes. */
enum { MANY = 1024 };

/* An epilogue, as one number: activation * EPILOGUES_PER_ACTIVATION + combination. */
enum { EPILOGUES_PER_ACTIVATION = 3, EPILOGUES = EPILOGUES_PER_ACTIVATION * (A4J_TANH + 1) };

/* Half of them plain sums, replacing or added. */
static int some_epilogue(void) { return (int)(up_to(1) == 0 ? up_to(A4J_ADD) : up_to(EPILOGUES - 1)); }

static _Atomic int64_t plain_calls;

static void plain_sgemm(int order, int trans_a, int trans_b, int m, int n, int k, float alpha, const float *a, int lda,
                        const float *b, int ldb, float beta, float *c, int ldc) {
  CHECK(order == 101 && trans_a == 111 && trans_b == 112, "order %d, trans_a %d, trans_b %d", order, trans_a, trans_b);
  CHECK(lda >= k && ldb >= k && ldc >= n && m > 0 && n > 0, "m %d n %d k %d lda %d ldb %d ldc %d", m, n, k, lda, ldb, ldc);
  atomic_fetch_add(&plain_calls, 1);
  for (int i = 0; i < m; i++)
    for (int j = 0; j < n; j++) {
      float sum = 0;
      for (int p = 0; p < k; p++) sum += a[(int64_t)i * lda + p] * b[(int64_t)j * ldb + p];
      float *at = &c[(int64_t)i * ldc + j];
      *at = beta == 0 ? alpha * sum : beta * *at + alpha * sum;
    }
}

static const void *real_sgemm(void) {
  const char *path = getenv("A4J_TEST_BLAS");
  void *blas = path == NULL ? NULL : dlopen(path, RTLD_NOW);
  if (path != NULL && blas == NULL) CHECK(0, "%s", dlerror());
  return blas == NULL ? NULL : dlsym(blas, "cblas_sgemm");
}

struct problem {
  a4j_linear_desc d;
  struct tensor x, weight, bias, out;
};

static struct problem make(int64_t rows, int64_t dim_in, int64_t dim_out, int64_t gap) {
  struct problem p = {.d = {DESC(a4j_linear_desc), .rows = rows, .dim_in = dim_in, .dim_out = dim_out},
                      .x = tensor(rows, dim_in, gap, 1),
                      .weight = tensor(dim_out, dim_in, 2 * gap, 1),
                      .bias = tensor(1, dim_out, 0, 1),
                      .out = tensor(rows, dim_out, 3 * gap, 1)};
  p.d.x_stride_row = p.x.stride;
  p.d.weight_stride_row = p.weight.stride;
  p.d.out_stride_row = p.out.stride;
  return p;
}

/* Replaces the weights by packed ones. */
static void pack(struct problem *p) {
  const int64_t panels = p->d.dim_out == 0 ? 0 : (p->d.dim_out - 1) / A4J_PANEL + 1;
  struct tensor packed = tensor(panels * p->d.dim_in, A4J_PANEL, 0, 1);
  fill(&packed, NAN);
  CHECK_INT(a4j_linear_pack(&p->d, p->weight.data, packed.data), A4J_OK);
  check_guards(&packed, "packed");
  for (int64_t i = 0; i < panels * p->d.dim_in; i++)
    for (int64_t c = 0; c < A4J_PANEL; c++) {
      const int64_t d = p->d.dim_in == 0 ? 0 : i % p->d.dim_in, out = p->d.dim_in == 0 ? 0 : i / p->d.dim_in * A4J_PANEL + c;
      const float wanted = out < p->d.dim_out ? p->weight.data[out * p->weight.stride + d] : 0;
      if (packed.data[i * A4J_PANEL + c] != wanted)
        CHECK(0, "packed[%d][%d] is not weight[%d][%d]", (int)i, (int)c, (int)out, (int)d);
    }
  free(p->weight.base);
  p->weight = packed;
  p->d.product = A4J_PRODUCT_PACKED;
  p->d.weight_stride_row = 0;
}

static void release(struct problem *p) {
  free(p->x.base);
  free(p->weight.base);
  free(p->bias.base);
  free(p->out.base);
}

static int32_t run(struct problem *p, int with_bias) {
  const int64_t bytes = a4j_linear_workspace_bytes(&p->d);
  if (bytes < 0) return (int32_t)-bytes;
  void *workspace = aligned_alloc(A4J_WORKSPACE_ALIGNMENT, (size_t)(bytes + 63) / 64 * 64 + 64);
  const int32_t status = a4j_linear(&p->d, p->x.data, p->weight.data, with_bias ? p->bias.data : NULL, p->out.data,
                                    bytes == 0 ? NULL : workspace, bytes);
  free(workspace);
  return status;
}

static void compare_by(int product, int64_t rows, int64_t dim_in, int64_t dim_out, int64_t gap, int with_bias, int epilogue) {
  struct problem p = make(rows, dim_in, dim_out, gap);
  p.d.combine = epilogue % EPILOGUES_PER_ACTIVATION;
  p.d.activation = epilogue / EPILOGUES_PER_ACTIVATION;
  p.d.threads = 1 + (int32_t)up_to(2);
  int64_t count = rows * dim_out;
  float *before = malloc(sizeof(float) * (size_t)(count + 1)), *plain = malloc(sizeof(float) * (size_t)(count + 1));
  double *wanted = malloc(sizeof(double) * (size_t)(count + 1));
  for (int64_t r = 0; r < rows; r++)
    memcpy(before + r * dim_out, p.out.data + r * p.out.stride, sizeof(float) * (size_t)dim_out);
  if (p.d.combine == A4J_SET) fill(&p.out, NAN);
  const float *bias = with_bias ? p.bias.data : NULL;
  reference_linear_f64(&p.d, p.x.data, p.weight.data, bias, before, wanted);
  reference_linear_f32(&p.d, p.x.data, p.weight.data, bias, before, plain);
  if (product == A4J_PRODUCT_PACKED)
    pack(&p);
  else
    p.d.product = product;
  CHECK_INT(run(&p, with_bias), A4J_OK);
  char what[128];
  snprintf(what, sizeof what, "product %d rows %d dim_in %d dim_out %d gap %d bias %d epilogue %d", product, (int)rows,
           (int)dim_in, (int)dim_out, (int)gap, with_bias, epilogue);
  check_error(&p.out, wanted, plain, 1 + sqrt((double)dim_in) / 3, what); /* partial sums are of this size */
  check_guards(&p.out, what);
  free(before);
  free(plain);
  free(wanted);
  release(&p);
}

static void compare(int64_t rows, int64_t dim_in, int64_t dim_out, int64_t gap, int with_bias, int epilogue) {
  compare_by(A4J_PRODUCT_OWN, rows, dim_in, dim_out, gap, with_bias, epilogue);
}

static void shouldAskForABlasWhereRowsAreManyAndItIsWanted(void) {
  struct problem p = make(MANY, 3, 5, 0);
  p.d.product = A4J_PRODUCT_BLAS;
  fill(&p.out, 7);
  struct tensor before = copy_of(&p.out);
  CHECK_INT(run(&p, 0), A4J_NO_BLAS);
  CHECK(same(&p.out, &before), "out was written");
  CHECK_INT(a4j_use_blas(NULL), A4J_NULL_POINTER);
  free(before.base);
  release(&p);
}

static void matchAtTheEdges(void) {
  static const int64_t rows[] = {1, 2, 3, 4, 5, 7, 8, 31, 32, 33, 57};
  static const int64_t dims_in[] = {0, 1, 3, 4, 5, 7, 8, 9, 15, 16, 17, 31, 32, 33, 192};
  static const int64_t dims_out[] = {1, 2, 3, 6, 7, 8, 9, 11, 12, 13, 23, 24, 25, 49};
  for (size_t r = 0; r < sizeof rows / sizeof *rows; r++)
    for (size_t i = 0; i < sizeof dims_in / sizeof *dims_in; i++)
      for (size_t o = 0; o < sizeof dims_out / sizeof *dims_out; o++) {
        const int epilogue = some_epilogue(), with_bias = (int)up_to(1);
        compare(rows[r], dims_in[i], dims_out[o], up_to(3), with_bias, epilogue);
      }
}
static void shouldMatchTheFormulaAtTheEdgesOfLanesAndTiles(void) { on_every_tier(matchAtTheEdges); }

static void matchLongRows(void) {
  static const int64_t dims_in[] = {1023, 1024, 1025, 2048, 2049, 3000};
  for (size_t i = 0; i < sizeof dims_in / sizeof *dims_in; i++) {
    compare(1, dims_in[i], 25, 0, 1, 0);
    compare(4, dims_in[i], 25, 1, 0, 1);
    compare(7, dims_in[i], 25, 0, 1, 1);
    compare(39, dims_in[i], 29, 5, 0, 0);
  }
}
static void shouldMatchTheFormulaWhenRowsAreCutIntoParts(void) { on_every_tier(matchLongRows); }

static void shouldMatchTheFormulaThroughSgemm(void) {
  static const int64_t rows[] = {MANY, MANY + 1, MANY + 257};
  static const int64_t dims_out[] = {1, 7, 65, 400};
  static const int epilogues[] = {A4J_SET, A4J_ADD, A4J_MULTIPLY, EPILOGUES_PER_ACTIVATION * A4J_GELU + A4J_SET,
                                  EPILOGUES_PER_ACTIVATION * A4J_SILU + A4J_MULTIPLY};
  for (size_t r = 0; r < sizeof rows / sizeof *rows; r++)
    for (size_t o = 0; o < sizeof dims_out / sizeof *dims_out; o++)
      for (int with_bias = 0; with_bias < 2; with_bias++)
        for (size_t e = 0; e < sizeof epilogues / sizeof *epilogues; e++) {
          const int64_t gap = up_to(3);
          compare_by(A4J_PRODUCT_BLAS, rows[r], 1 + up_to(40), dims_out[o], gap, with_bias, epilogues[e]);
        }
}

static void shouldComputeManyEmptyRowsWithoutSgemm(void) { compare_by(A4J_PRODUCT_BLAS, MANY, 0, 9, 1, 1, 1); }

static void matchByPanels(void) {
  static const int64_t rows[] = {1, 2, 3, 7, 8, 9, 11, 257};
  static const int64_t dims_in[] = {0, 1, 5, 16, 17, 383, 384, 385, 800};
  static const int64_t dims_out[] = {1, 4, 15, 16, 17, 33, 47, 48, 49, 97};
  for (size_t r = 0; r < sizeof rows / sizeof *rows; r++)
    for (size_t i = 0; i < sizeof dims_in / sizeof *dims_in; i++)
      for (size_t o = 0; o < sizeof dims_out / sizeof *dims_out; o++)
        if (rows[r] * dims_out[o] >= dims_in[i] / 4 && (rows[r] < 257 || up_to(4) == 0)) { /* few results hide a plain error */
          int epilogue = some_epilogue(), with_bias = (int)up_to(1);
          compare_by(A4J_PRODUCT_PACKED, rows[r], dims_in[i], dims_out[o], up_to(3), with_bias, epilogue);
          if (rows[r] < 257) continue;
          epilogue = some_epilogue(), with_bias = (int)up_to(1);
          compare_by(A4J_PRODUCT_OWN, rows[r], dims_in[i], dims_out[o], up_to(3), with_bias, epilogue);
        }
}
static void shouldMatchTheFormulaWithPackedWeights(void) { on_every_tier(matchByPanels); }

static void packedOnceOrForTheCall(void) {
  struct problem p = make(300, 500, 130, 1);
  struct tensor start = copy_of(&p.out);
  CHECK_INT(run(&p, 1), A4J_OK);
  struct tensor first = copy_of(&p.out);
  memcpy(p.out.base, start.base, sizeof(float) * (size_t)start.total);
  pack(&p);
  CHECK_INT(run(&p, 1), A4J_OK);
  CHECK(same(&p.out, &first), "weights packed before give other bits");
  free(start.base);
  free(first.base);
  release(&p);
}
static void shouldGiveTheSameBitsWhetherWeightsWerePackedBefore(void) { on_every_tier(packedOnceOrForTheCall); }

static void sameBits(int product, int64_t rows, int64_t dim_in, int64_t dim_out, int with_bias, int epilogue) {
  static const int32_t threads[] = {2, 3, 7, 16};
  struct problem p = make(rows, dim_in, dim_out, 1);
  p.d.combine = epilogue % EPILOGUES_PER_ACTIVATION;
  p.d.activation = epilogue / EPILOGUES_PER_ACTIVATION;
  if (product == A4J_PRODUCT_PACKED)
    pack(&p);
  else
    p.d.product = product;
  struct tensor start = p.out;
  struct tensor once = p.out = copy_of(&start);
  CHECK_INT(run(&p, with_bias), A4J_OK);
  for (size_t t = 0; t < sizeof threads / sizeof *threads; t++) {
    p.d.threads = threads[t];
    p.out = copy_of(&start);
    CHECK_INT(run(&p, with_bias), A4J_OK);
    CHECK(same(&p.out, &once), "%d threads give other bits for %d x %d x %d", (int)threads[t], (int)rows, (int)dim_in,
          (int)dim_out);
    free(p.out.base);
  }
  free(once.base);
  p.out = start;
  release(&p);
}

static void sameBitsForThreads(void) {
  sameBits(A4J_PRODUCT_OWN, 1, 700, 2001, 1, 0);
  sameBits(A4J_PRODUCT_OWN, 3, 1100, 1003, 0, 1);
  sameBits(A4J_PRODUCT_OWN, 8, 512, 1031, 1, 1);
  sameBits(A4J_PRODUCT_OWN, 61, 300, 333, 1, 0);
  sameBits(A4J_PRODUCT_OWN, 130, 192, 50, 0, 0);
  sameBits(A4J_PRODUCT_OWN, MANY, 33, 530, 1, 1);
  sameBits(A4J_PRODUCT_OWN, MANY, 400, 50, 0, 0);
  sameBits(A4J_PRODUCT_OWN, 1, 700, 2001, 1, EPILOGUES_PER_ACTIVATION * A4J_GELU + A4J_SET);
  sameBits(A4J_PRODUCT_OWN, 61, 300, 333, 1, EPILOGUES_PER_ACTIVATION * A4J_SILU + A4J_MULTIPLY);
  sameBits(A4J_PRODUCT_OWN, MANY, 600, 90, 1, EPILOGUES_PER_ACTIVATION * A4J_TANH + A4J_ADD);
  sameBits(A4J_PRODUCT_OWN, MANY, 600, 90, 0, EPILOGUES_PER_ACTIVATION * A4J_GELU_TANH + A4J_SET);
  sameBits(A4J_PRODUCT_PACKED, 19, 900, 700, 1, 0);
  sameBits(A4J_PRODUCT_PACKED, MANY, 70, 90, 0, 1);
  sameBits(A4J_PRODUCT_BLAS, MANY + 30, 70, 410, 1, 0);
  sameBits(A4J_PRODUCT_BLAS, MANY, 33, 530, 1, 1);
}
static void shouldGiveTheSameBitsForEveryThreadCount(void) { on_every_tier(sameBitsForThreads); }

/* The same bits as from the plain sums and an operation element by element. */
static void epilogueApart(int product, int64_t rows, int epilogue) {
  struct problem p = make(rows, 600, 75, 2);
  if (product == A4J_PRODUCT_PACKED)
    pack(&p);
  else
    p.d.product = product;
  struct tensor sums = copy_of(&p.out), once = copy_of(&p.out);
  a4j_linear_desc plain = p.d;
  struct problem apart = p;
  apart.d = plain;
  apart.out = sums;
  CHECK_INT(run(&apart, 1), A4J_OK);
  a4j_elementwise_desc e = {DESC(a4j_elementwise_desc), .activation = epilogue / EPILOGUES_PER_ACTIVATION};
  e.combine = epilogue % EPILOGUES_PER_ACTIVATION, e.scale = 1, e.rows = rows, e.dim = p.d.dim_out;
  e.x_stride_row = e.y_stride_row = e.out_stride_row = once.stride;
  CHECK_INT(a4j_elementwise(&e, sums.data, once.data, once.data), A4J_OK);
  p.d.activation = e.activation, p.d.combine = e.combine;
  CHECK_INT(run(&p, 1), A4J_OK);
  CHECK(same(&p.out, &once), "product %d, %d rows, epilogue %d: other bits than in two steps", product, (int)rows, epilogue);
  free(sums.base), free(once.base);
  release(&p);
}
static void epiloguesApart(void) {
  for (int epilogue = EPILOGUES_PER_ACTIVATION; epilogue < EPILOGUES; epilogue++) {
    epilogueApart(A4J_PRODUCT_OWN, 5, epilogue);
    epilogueApart(A4J_PRODUCT_OWN, 300, epilogue);
    epilogueApart(A4J_PRODUCT_PACKED, 20, epilogue);
  }
}
static void shouldFinishWithTheBitsOfTwoSteps(void) { on_every_tier(epiloguesApart); }

/* ---- Weights of 16 bits ---- */

/* Weights of 16 bits give the same bits as the same numbers in float32, which they replace for one call. */
static void storedBy(int dtype, int product, int64_t rows, int64_t dim_in, int64_t dim_out) {
  struct problem p = make(rows, dim_in, dim_out, up_to(3));
  const int64_t stride = dim_in + up_to(3);
  uint16_t *stored = malloc(sizeof *stored * (size_t)(dim_out * stride + 1));
  for (int64_t c = 0; c < dim_out; c++)
    for (int64_t d = 0; d < dim_in; d++) {
      float *weight = &p.weight.data[c * p.weight.stride + d];
      if (next() % 50 == 0) *weight = ldexpf(*weight, -20); /* denormal in F16 */
      stored[c * stride + d] = half_nearest(dtype, (double)*weight);
      *weight = (float)half_value(dtype, stored[c * stride + d]);
    }
  p.d.activation = (int32_t)up_to(A4J_TANH), p.d.combine = (int32_t)up_to(A4J_MULTIPLY);
  struct tensor start = copy_of(&p.out);
  struct problem plain = p;
  if (product == A4J_PRODUCT_PACKED) pack(&plain);
  CHECK_INT(run(&plain, 1), A4J_OK);
  struct tensor wanted = copy_of(&p.out);
  memcpy(p.out.base, start.base, sizeof(float) * (size_t)start.total);

  struct problem reduced = p;
  reduced.d.weight.dtype = dtype;
  reduced.d.weight_stride_row = stride;
  reduced.weight.data = (float *)(void *)stored;
  struct tensor packed = {0};
  if (product == A4J_PRODUCT_PACKED) {
    packed = tensor(((dim_out - 1) / A4J_PANEL + 1) * dim_in, dtype == A4J_F16 ? A4J_PANEL / 2 : A4J_PANEL, 0, 1);
    CHECK_INT(a4j_linear_pack(&reduced.d, stored, packed.data), A4J_OK);
    check_guards(&packed, "packed");
    reduced.weight = packed;
    reduced.d.product = A4J_PRODUCT_PACKED;
  }
  reduced.d.threads = 1 + (int32_t)up_to(2);
  CHECK_INT(run(&reduced, 1), A4J_OK);
  CHECK(same(&p.out, &wanted), "type %d product %d %d x %d x %d: other bits than with the widened weights", dtype, product,
        (int)rows, (int)dim_in, (int)dim_out);
  check_guards(&p.out, "stored");
  free(stored), free(start.base), free(wanted.base), free(packed.base);
  if (product == A4J_PRODUCT_PACKED) free(plain.weight.base), p.weight.base = NULL;
  release(&p);
}
static void storedOnThisTier(void) {
  static const int64_t rows[] = {1, 2, 3, 4, 7, 33, 97, 130};
  static const int64_t dims_in[] = {1, 7, 16, 33, 192, 1100};
  for (int dtype = A4J_BF16; dtype <= A4J_F16; dtype++)
    for (size_t r = 0; r < sizeof rows / sizeof *rows; r++)
      for (size_t i = 0; i < sizeof dims_in / sizeof *dims_in; i++) {
        storedBy(dtype, A4J_PRODUCT_OWN, rows[r], dims_in[i], 1 + up_to(70));
        storedBy(dtype, A4J_PRODUCT_PACKED, rows[r], dims_in[i], 1 + up_to(70));
      }
}
static void shouldGiveTheBitsOfTheWidenedWeights(void) { on_every_tier(storedOnThisTier); }

/* ---- Products of bfloat16 ---- */

/* Numbers rounded to bfloat16 where the tier has dot products of them, and sums that are as exact as those of float32. */
static void bf16By(int weight_dtype, int product, int64_t rows, int64_t dim_in, int64_t dim_out) {
  struct problem p = make(rows, dim_in, dim_out, up_to(2));
  uint16_t *stored = malloc(sizeof *stored * (size_t)(dim_out * dim_in + 1));
  for (int64_t c = 0; c < dim_out; c++)
    for (int64_t d = 0; d < dim_in; d++)
      stored[c * dim_in + d] =
          half_nearest(weight_dtype == A4J_F32 ? A4J_BF16 : weight_dtype, (double)p.weight.data[c * p.weight.stride + d]);
  struct problem q = p;
  q.d.arithmetic = A4J_ARITHMETIC_BF16, q.d.weight.dtype = weight_dtype;
  if (weight_dtype != A4J_F32) q.weight.data = (float *)(void *)stored, q.d.weight_stride_row = dim_in;
  struct tensor packed = tensor(((dim_out - 1) / A4J_PANEL + 1) * ((dim_in + 1) / 2), A4J_PANEL, 0, 1);
  if (product == A4J_PRODUCT_PACKED) {
    CHECK_INT(a4j_linear_pack(&q.d, q.weight.data, packed.data), A4J_OK);
    check_guards(&packed, "packed pairs");
    q.weight = packed;
    q.d.product = A4J_PRODUCT_PACKED;
  }
  fill(&q.out, NAN);
  CHECK_INT(run(&q, 1), A4J_OK);

  const int rounds_x = strcmp(a4j_isa_active(), "avx512bf16") == 0;
  double worst = 0, most = 0;
  for (int64_t r = 0; r < rows; r++)
    for (int64_t c = 0; c < dim_out; c++) {
      double sum = p.bias.data[c], terms = fabs(sum);
      for (int64_t d = 0; d < dim_in; d++) {
        const double x = p.x.data[r * p.x.stride + d];
        double weight = half_value(weight_dtype == A4J_F32 ? A4J_BF16 : weight_dtype, stored[c * dim_in + d]);
        if (weight_dtype == A4J_F16) weight = half_value(A4J_BF16, half_nearest(A4J_BF16, weight));
        const double term = weight * (rounds_x ? half_value(A4J_BF16, half_nearest(A4J_BF16, x)) : x);
        sum += term, terms += fabs(term);
      }
      worst = fmax(worst, fabs((double)p.out.data[r * p.out.stride + c] - sum)), most = fmax(most, 1e-6 * terms);
    }
  CHECK(worst <= most, "weights %d product %d %d x %d x %d: error %g", weight_dtype, product, (int)rows, (int)dim_in,
        (int)dim_out, worst);
  check_guards(&p.out, "bfloat16");

  struct tensor once = copy_of(&p.out);
  q.d.threads = 2 + (int32_t)up_to(3);
  CHECK_INT(run(&q, 1), A4J_OK);
  CHECK(same(&p.out, &once), "%d threads give other bits", (int)q.d.threads);
  free(stored), free(packed.base), free(once.base);
  release(&p);
}
static void bf16OnThisTier(void) {
  static const int64_t dims_in[] = {1, 2, 7, 31, 32, 33, 64, 65, 515, 1100, 2200};
  for (int dtype = A4J_F32; dtype <= A4J_F16; dtype++)
    for (size_t i = 0; i < sizeof dims_in / sizeof *dims_in; i++) {
      int64_t dim_out = 1 + up_to(100);
      bf16By(dtype, A4J_PRODUCT_OWN, 97 + up_to(170), dims_in[i], dim_out);
      dim_out = 1 + up_to(100);
      bf16By(dtype, A4J_PRODUCT_PACKED, 1 + up_to(40), dims_in[i], dim_out);
    }
}
static void shouldMultiplyRoundedNumbersWhereThatWasAskedFor(void) { on_every_tier(bf16OnThisTier); }

static void rowsAloneBy(int product) {
  struct problem p = make(45, 1100, 53, 0);
  if (product == A4J_PRODUCT_PACKED) pack(&p);
  CHECK_INT(run(&p, 1), A4J_OK);
  struct tensor row = tensor(1, p.d.dim_out, 0, 0);
  a4j_linear_desc one = p.d;
  one.rows = 1;
  for (int64_t r = 0; r < p.d.rows; r++) {
    CHECK_INT(a4j_linear(&one, p.x.data + r * p.x.stride, p.weight.data, p.bias.data, row.data, NULL, 0), A4J_OK);
    CHECK(memcmp(row.data, p.out.data + r * p.out.stride, sizeof(float) * (size_t)p.d.dim_out) == 0,
          "row %" PRId64 " has other bits alone", r);
  }
  free(row.base);
  release(&p);
}
static void rowsAlone(void) {
  rowsAloneBy(A4J_PRODUCT_OWN);
  rowsAloneBy(A4J_PRODUCT_PACKED);
}
static void shouldGiveARowTheSameBitsAloneAndAmongOthers(void) { on_every_tier(rowsAlone); }

static void nanStays(int product, int64_t rows) {
  struct problem p = make(rows, 37, 61, 2);
  p.x.data[2 * p.x.stride + 36] = NAN;
  p.weight.data[9 * p.weight.stride + 5] = INFINITY;
  p.bias.data[20] = NAN;
  if (product == A4J_PRODUCT_PACKED) pack(&p);
  CHECK_INT(run(&p, 1), A4J_OK);
  for (int64_t r = 0; r < rows; r++)
    for (int64_t c = 0; c < p.d.dim_out; c++) {
      float got = p.out.data[r * p.out.stride + c];
      if (r == 2 || c == 20)
        CHECK(isnan(got), "(%d, %d) hides a NaN: %g", (int)r, (int)c, (double)got);
      else
        CHECK(c == 9 ? !isfinite(got) : isfinite(got), "(%d, %d) is %g", (int)r, (int)c, (double)got);
    }
  release(&p);
}
static void nanStaysWhereItIs(void) {
  nanStays(A4J_PRODUCT_OWN, 3);
  nanStays(A4J_PRODUCT_OWN, 38);
  nanStays(A4J_PRODUCT_OWN, 258);
  nanStays(A4J_PRODUCT_PACKED, 12);
}
static void shouldShowNanWhereItBelongsAndNowhereElse(void) { on_every_tier(nanStaysWhereItIs); }

static void shouldCutSlicesByTheShapeAlone(void) {
  CHECK_INT(a4j_use_blas((const void *)plain_sgemm), A4J_OK);
  struct problem p = make(2 * MANY, 20, 900, 0);
  p.d.product = A4J_PRODUCT_BLAS;
  int64_t calls[2];
  for (int i = 0; i < 2; i++) {
    p.d.threads = i == 0 ? 1 : 7;
    atomic_store(&plain_calls, 0);
    CHECK_INT(run(&p, 0), A4J_OK);
    calls[i] = atomic_load(&plain_calls);
  }
  CHECK(calls[0] == calls[1] && calls[0] >= 16, "%d slices on one thread, %d on seven", (int)calls[0], (int)calls[1]);
  release(&p);
}

static void *callOften(void *context) {
  struct problem *p = context;
  struct tensor first = copy_of(&p->out);
  for (int i = 0; i < 200; i++) {
    fill(&p->out, 0);
    if (run(p, 1) != A4J_OK || !same(&p->out, &first)) {
      free(first.base);
      return p;
    }
  }
  free(first.base);
  return NULL;
}

static void shouldServeCallersAtOnce(void) {
  enum { CALLERS = 8 };
  pthread_t threads[CALLERS];
  struct problem problems[CALLERS];
  for (int i = 0; i < CALLERS; i++) {
    problems[i] = make(1 + i, 600, 700, 0);
    problems[i].d.threads = 2;
    CHECK_INT(run(&problems[i], 1), A4J_OK);
  }
  for (int i = 0; i < CALLERS; i++) pthread_create(&threads[i], NULL, callOften, &problems[i]);
  for (int i = 0; i < CALLERS; i++) {
    void *wrong;
    pthread_join(threads[i], &wrong);
    CHECK(wrong == NULL, "caller %d got other bits", i);
    release(&problems[i]);
  }
}

static void shouldRefuseWhatTheDescriptorCannotMean(void) {
  struct problem p = make(4, 5, 6, 0);
  a4j_linear_desc good = p.d;
  const float *x = p.x.data, *w = p.weight.data;
#define REFUSES(change, status)                                                                                                \
  do {                                                                                                                         \
    a4j_linear_desc d = good;                                                                                                  \
    change;                                                                                                                    \
    CHECK_INT(a4j_linear(&d, x, w, NULL, p.out.data, NULL, 0), status);                                                        \
  } while (0)
  CHECK_INT(a4j_linear(NULL, x, w, NULL, p.out.data, NULL, 0), A4J_NULL_POINTER);
  CHECK_INT(a4j_linear(&good, NULL, w, NULL, p.out.data, NULL, 0), A4J_NULL_POINTER);
  CHECK_INT(a4j_linear(&good, x, NULL, NULL, p.out.data, NULL, 0), A4J_NULL_POINTER);
  CHECK_INT(a4j_linear(&good, x, w, NULL, NULL, NULL, 0), A4J_NULL_POINTER);
  REFUSES(d.size_bytes--, A4J_BAD_DESCRIPTOR);
  REFUSES(d.size_bytes = 0, A4J_BAD_DESCRIPTOR);
  REFUSES(d.abi_version++, A4J_BAD_ABI);
  REFUSES(d.dtype = A4J_I8, A4J_UNSUPPORTED_DTYPE);
  REFUSES(d.out_dtype = A4J_I8, A4J_UNSUPPORTED_DTYPE);
  REFUSES(d.threads = 0, A4J_BAD_OPTION);
  REFUSES(d.combine = 3, A4J_BAD_OPTION);
  REFUSES(d.combine = -1, A4J_BAD_OPTION);
  REFUSES(d.activation = A4J_TANH + 1, A4J_BAD_OPTION);
  REFUSES(d.activation = -1, A4J_BAD_OPTION);
  REFUSES(d.arithmetic = -1, A4J_BAD_OPTION);
  REFUSES(d.arithmetic = 7, A4J_BAD_OPTION);
  REFUSES(d.weight.dtype = 9, A4J_UNSUPPORTED_DTYPE);
  REFUSES(d.product = 3, A4J_BAD_OPTION);
  REFUSES(d.product = -1, A4J_BAD_OPTION);
  REFUSES(d.rows = -1, A4J_BAD_SIZE);
  REFUSES(d.dim_in = -1, A4J_BAD_SIZE);
  REFUSES(d.dim_out = -1, A4J_BAD_SIZE);
  REFUSES(d.x_stride_row = 4, A4J_BAD_SIZE);
  REFUSES(d.weight_stride_row = 4, A4J_BAD_SIZE);
  REFUSES(d.out_stride_row = 5, A4J_BAD_SIZE);
  REFUSES((d.rows = INT64_MAX / 8, d.dim_in = d.x_stride_row = d.weight_stride_row = 4), A4J_SIZE_OVERFLOW);
  REFUSES((d.dim_in = d.x_stride_row = d.weight_stride_row = INT64_MAX / 2), A4J_SIZE_OVERFLOW);
  REFUSES(d.rows = 0, A4J_OK);
  REFUSES(d.dim_out = 0, A4J_OK);
  check_guards(&p.out, "refused");
  CHECK_INT(a4j_linear_pack(&good, NULL, p.out.data), A4J_NULL_POINTER);
  CHECK_INT(a4j_linear_pack(&good, w, NULL), A4J_NULL_POINTER);
  struct problem many = make(MANY, 5, 6, 0);
  const int64_t bytes = a4j_linear_workspace_bytes(&many.d);
  float *workspace = aligned_alloc(A4J_WORKSPACE_ALIGNMENT, (size_t)(bytes + 63) / 64 * 64 + 64);
  CHECK(bytes > 0, "no workspace");
  CHECK_INT(a4j_linear(&many.d, many.x.data, w, NULL, many.out.data, NULL, bytes), A4J_NULL_POINTER);
  CHECK_INT(a4j_linear(&many.d, many.x.data, w, NULL, many.out.data, workspace, bytes - 1), A4J_SMALL_WORKSPACE);
  CHECK_INT(a4j_linear(&many.d, many.x.data, w, NULL, many.out.data, workspace + 1, bytes), A4J_MISALIGNED);
  free(workspace);
  release(&many);
  release(&p);
}

int main(void) {
  RUN(shouldAskForABlasWhereRowsAreManyAndItIsWanted);
  const void *blas = real_sgemm();
  printf("sgemm: %s\n", blas == NULL ? "the plain one of this test" : getenv("A4J_TEST_BLAS"));
  a4j_use_blas(blas == NULL ? (const void *)plain_sgemm : blas);
  RUN(shouldMatchTheFormulaAtTheEdgesOfLanesAndTiles);
  RUN(shouldMatchTheFormulaWhenRowsAreCutIntoParts);
  RUN(shouldMatchTheFormulaThroughSgemm);
  RUN(shouldComputeManyEmptyRowsWithoutSgemm);
  RUN(shouldMatchTheFormulaWithPackedWeights);
  RUN(shouldGiveTheSameBitsWhetherWeightsWerePackedBefore);
  RUN(shouldGiveTheSameBitsForEveryThreadCount);
  RUN(shouldGiveTheBitsOfTheWidenedWeights);
  RUN(shouldMultiplyRoundedNumbersWhereThatWasAskedFor);
  RUN(shouldFinishWithTheBitsOfTwoSteps);
  RUN(shouldGiveARowTheSameBitsAloneAndAmongOthers);
  RUN(shouldShowNanWhereItBelongsAndNowhereElse);
  RUN(shouldCutSlicesByTheShapeAlone);
  RUN(shouldServeCallersAtOnce);
  RUN(shouldRefuseWhatTheDescriptorCannotMean);
  return CHECK_RESULT();
}
