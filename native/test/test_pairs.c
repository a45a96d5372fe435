/*
 * Scores of pairs, rectifying and adding, and the gates of a recurrent unit against their formulas in double, on every tier.
 */
#include "layer_cases.h"

/* Around the lanes of every tier and with a rest. */
static const int64_t dims[] = {1, 2, 3, 4, 5, 7, 8, 9, 15, 16, 17, 31, 32, 33, 48, 63, 64, 65, 100, 130};
enum { DIMS = sizeof dims / sizeof *dims };

/* Around four keys, the lanes, and a unit of work. */
static const int64_t lens[] = {1, 2, 3, 4, 5, 8, 15, 16, 17, 63, 64, 65, 130};
enum { LENS = sizeof lens / sizeof *lens };

/* A descriptor with one length for each of up to 64 rows. */
struct block {
  a4j_pair_scores_desc d;
  int32_t lengths[64];
};

static double score64(int form, int64_t dim, const float *q, const float *k, const float *v, double scale) {
  double sum = 0;
  for (int64_t i = 0; i < dim; i++) {
    double x = scale * ((double)q[i] - (double)k[i]);
    sum += form == A4J_PAIR_ADDITIVE ? (double)v[i] * tanh((double)q[i] + (double)k[i]) : x * x;
  }
  return form == A4J_PAIR_ADDITIVE   ? sum
         : form == A4J_PAIR_GAUSSIAN ? -sum / 2
         : form == A4J_PAIR_BOXCAR   ? (sum < 1 ? 0 : -INFINITY)
                                     : log(fmax(1 - sqrt(sum), 0));
}

static float score32(int form, int64_t dim, const float *q, const float *k, const float *v, float scale) {
  float sum = 0;
  for (int64_t i = 0; i < dim; i++) {
    float x = scale * (q[i] - k[i]);
    sum += form == A4J_PAIR_ADDITIVE ? v[i] * tanhf(q[i] + k[i]) : x * x;
  }
  return form == A4J_PAIR_ADDITIVE ? sum : -sum / 2;
}

/* The sum of the sizes of what the additive form adds up: each term is rounded, whatever their sum comes to. */
static double terms64(int64_t dim, const float *q, const float *k, const float *v) {
  double sum = 0;
  for (int64_t i = 0; i < dim && v != NULL; i++) sum += fabs((double)v[i] * tanh((double)q[i] + (double)k[i]));
  return sum;
}

/* Compares a row of scores; the last form is compared as a kernel, since its logarithm runs away at the edge. */
static void check_row(const struct block *b, const float *q, const float *k, const float *v, const float *scores, int64_t valid,
                      const char *what) {
  const a4j_pair_scores_desc *d = &b->d;
  double error = 0, plain_error = 0, largest = 0, terms = 0;
  for (int64_t j = 0; j < d->len_k; j++) {
    if (valid == 0 && d->empty_rows == A4J_EMPTY_ALIKE) {
      CHECK(scores[j] == 0, "%s: key %d of a row without keys is %g", what, (int)j, (double)scores[j]);
    } else if (j >= valid) {
      CHECK(scores[j] == -INFINITY, "%s: key %d behind %d is %g", what, (int)j, (int)valid, (double)scores[j]);
    } else {
      const float *key = k + j * d->k_stride_row;
      double wanted = score64(d->form, d->dim, q, key, v, d->scale);
      if (d->form >= A4J_PAIR_BOXCAR) {
        CHECK_NEAR(exp(scores[j]), exp(wanted), 2e-6);
        continue;
      }
      error = fmax(error, fabs(scores[j] - wanted));
      CHECK(scores[j] - scores[j] == 0, "%s: key %d is %g", what, (int)j, (double)scores[j]);
      plain_error = fmax(plain_error, fabs(score32(d->form, d->dim, q, key, v, d->scale) - wanted));
      for (int64_t i = 0; i < d->dim && v != NULL; i++) largest = fmax(largest, fabsf(v[i]));
      largest = fmax(largest, fabs(wanted));
      terms = fmax(terms, terms64(d->dim, q, key, v));
    }
  }
  double most = 2 * plain_error + 2.5e-7 * largest + 0x1p-24 * terms;
  CHECK(error <= most, "%s: largest error %g, a plain program's %g, magnitude %g, terms %g", what, error, plain_error, largest,
        terms);
}

static void pairs(int form, int64_t len_q, int64_t len_k, int64_t dim, int per_row, int empty, int32_t threads) {
  enum { BATCH = 2 };
  struct tensor q = tensor(BATCH * len_q, dim, 3, 2), k = tensor(BATCH * len_k, dim, dim == 1 ? 0 : 5, 2),
                v = tensor(1, dim, 0, 1), scores = tensor(BATCH * len_q, len_k, 0, 0);
  struct block b = {.d = {DESC(a4j_pair_scores_desc), .form = form, .empty_rows = empty, .batch = BATCH, .len_q = len_q,
                          .len_k = len_k, .dim = dim, .q_stride_batch = len_q * q.stride, .q_stride_row = q.stride,
                          .k_stride_batch = len_k * k.stride, .k_stride_row = k.stride, .scale = 0.7f}};
  b.d.threads = threads;
  int lengths = per_row >= 0;
  if (lengths) {
    b.d.size_bytes = sizeof b;
    b.d.key_lengths_offset = sizeof b.d;
    b.d.key_lengths_stride_row = per_row;
    b.d.key_lengths_stride_batch = per_row ? len_q : 1;
    for (int n = 0; n < (per_row ? BATCH * len_q : BATCH); n++) b.lengths[n] = n % 3 == 1 ? 0 : (int32_t)up_to(len_k);
    /* Scores beyond the length of their batch are undefined. */
    if (!per_row)
      for (int64_t n = 0; n < BATCH * len_k; n++)
        if (n % len_k >= b.lengths[n / len_k]) k.data[n * k.stride] = NAN;
  }
  CHECK_INT(a4j_pair_scores(&b.d, q.data, k.data, form == A4J_PAIR_ADDITIVE ? v.data : NULL, scores.data), A4J_OK);
  char what[96];
  snprintf(what, sizeof what, "form %d, %d x %d, dim %d, lengths %d", form, (int)len_q, (int)len_k, (int)dim, per_row);
  for (int64_t n = 0; n < BATCH * len_q; n++) {
    int64_t batch = n / len_q, valid = lengths ? b.lengths[per_row ? n : batch] : len_k;
    check_row(&b, q.data + n * q.stride, k.data + batch * len_k * k.stride, form == A4J_PAIR_ADDITIVE ? v.data : NULL,
              scores.data + n * scores.stride, valid, what);
  }
  check_guards(&scores, what);
  free(q.base), free(k.base), free(v.base), free(scores.base);
}
static void pairsOnThisTier(void) {
  for (int form = A4J_PAIR_ADDITIVE; form <= A4J_PAIR_EPANECHIKOV; form++) {
    for (int i = 0; i < DIMS; i++) {
      const int per_row = (int)up_to(2) - 1;
      const int64_t len = lens[up_to(LENS - 1)];
      pairs(form, 1 + up_to(4), len, dims[i], per_row, i & 1, 1);
    }
    for (int i = 0; i < LENS; i++) {
      const int per_row = (int)up_to(2) - 1;
      const int64_t dim = dims[up_to(DIMS - 1)];
      pairs(form, 1 + up_to(4), lens[i], dim, per_row, i & 1, 1);
    }
    for (int i = 0; i < LENS; i++) pairs(form, 2, lens[i], 1, i % 3 - 1, i & 1, 1);
    pairs(form, 30, 500, 64, 1, 1, 3);
  }
}
static void shouldScorePairsAsTheFormulasSay(void) { on_every_tier(pairsOnThisTier); }

/* One dimension with v = 1 and k = 0: the score is the tangent itself. */
static void tangents(void) {
  enum { COUNT = 40000 };
  static float q[COUNT], scores[COUNT];
  float k = 0, one = 1;
  for (int i = 0; i < COUNT; i++)
    q[i] = i < COUNT / 2 ? (float)(12.0 * (i - COUNT / 4) / (COUNT / 4)) : copysignf(exp2f((float)(i % 150) - 149), uniform());
  a4j_pair_scores_desc d = {DESC(a4j_pair_scores_desc), .batch = 1, .len_q = COUNT, .len_k = 1, .dim = 1, .q_stride_row = 1};
  CHECK_INT(a4j_pair_scores(&d, q, &k, &one, scores), A4J_OK);
  double worst = 0;
  for (int i = 0; i < COUNT; i++) {
    double exact = tanh((double)q[i]);
    worst = fmax(worst, fabs(scores[i] - exact) / fmax(fabs(exact), 0x1p-126));
    CHECK(fabsf(scores[i]) <= 1, "tanh(%g) is %g", (double)q[i], (double)scores[i]);
  }
  CHECK(worst <= 2.7e-7, "largest relative error %g", worst);
  float odd[4] = {INFINITY, -INFINITY, NAN, 1e30f}, at[4];
  d.len_q = 4;
  CHECK_INT(a4j_pair_scores(&d, odd, &k, &one, at), A4J_OK);
  CHECK(at[0] == 1 && at[1] == -1 && isnan(at[2]) && at[3] == 1, "limits %g %g %g %g", (double)at[0], (double)at[1],
        (double)at[2], (double)at[3]);
}
static void shouldGiveTheTangentToItsLastBits(void) { on_every_tier(tangents); }

static void sameScores(void) {
  struct tensor q = tensor(90, 70, 0, 1), k = tensor(300, 70, 0, 1), v = tensor(1, 70, 0, 1), out = tensor(90, 300, 0, 0);
  struct tensor first = copy_of(&out);
  a4j_pair_scores_desc d = {DESC(a4j_pair_scores_desc), .batch = 1,        .len_q = 90, .len_k = 300, .dim = 70,
                            .q_stride_row = 70,         .k_stride_row = 70};
  for (int32_t threads = 1; threads < 8; threads += 2) {
    d.threads = threads;
    CHECK_INT(a4j_pair_scores(&d, q.data, k.data, v.data, out.data), A4J_OK);
    if (threads == 1) memcpy(first.base, out.base, sizeof(float) * (size_t)out.total);
    CHECK(same(&out, &first), "other bits on %d threads", (int)threads);
  }
  /* A key has the same score alone as among others. */
  float alone;
  d.len_q = d.len_k = 1;
  CHECK_INT(a4j_pair_scores(&d, q.data + 7 * 70, k.data + 130 * 70, v.data, &alone), A4J_OK);
  CHECK(alone == first.data[7 * 300 + 130], "alone %.9g, among others %.9g", (double)alone, (double)first.data[7 * 300 + 130]);
  free(q.base), free(k.base), free(v.base), free(out.base), free(first.base);
}
static void shouldScoreWithTheSameBitsForEveryThreadCountAndNeighbour(void) { on_every_tier(sameScores); }

static void shouldRefuseScoresThatADescriptorCannotMean(void) {
  float x[64] = {0}, scores[64] = {5}, before[64];
  memcpy(before, scores, sizeof before);
  struct block good = {.d = {DESC(a4j_pair_scores_desc), .batch = 2, .len_q = 2, .len_k = 3, .dim = 4, .q_stride_batch = 8,
                             .q_stride_row = 4, .k_stride_batch = 12, .k_stride_row = 4}},
               block;
#define SCORE(change, status)                                                                                                  \
  do {                                                                                                                         \
    block = good;                                                                                                              \
    change;                                                                                                                    \
    CHECK_INT(a4j_pair_scores(&block.d, x, x, x, scores), status);                                                             \
  } while (0)
#define LENGTHS(stride_batch, stride_row)                                                                                      \
  (block.d.size_bytes = sizeof block, block.d.key_lengths_offset = sizeof block.d,                                             \
   block.d.key_lengths_stride_batch = (stride_batch), block.d.key_lengths_stride_row = (stride_row))
  SCORE(block.d.form = 4, A4J_BAD_OPTION);
  SCORE(block.d.form = -1, A4J_BAD_OPTION);
  SCORE(block.d.empty_rows = 2, A4J_BAD_OPTION);
  SCORE(block.d.scale = INFINITY, A4J_BAD_OPTION);
  SCORE(block.d.threads = 0, A4J_BAD_OPTION);
  SCORE(block.d.len_k = -1, A4J_BAD_SIZE);
  SCORE((block.d.len_k = INT64_MAX / 4, block.d.len_q = 3), A4J_SIZE_OVERFLOW);
  SCORE((LENGTHS(1, 0), block.lengths[1] = 4), A4J_BAD_POSITION);
  SCORE((LENGTHS(1, 0), block.lengths[1] = -1), A4J_BAD_POSITION);
  SCORE((LENGTHS(2, 1), block.lengths[3] = 4), A4J_BAD_POSITION);
  SCORE(LENGTHS(3, 1), A4J_BAD_OPTION);
  SCORE(LENGTHS(1, 2), A4J_BAD_OPTION);
  SCORE((LENGTHS(1, 0), block.d.size_bytes = sizeof block.d + 4), A4J_BAD_DESCRIPTOR);
  SCORE(block.d.abi_version = 0, A4J_BAD_ABI);
  CHECK(memcmp(scores, before, sizeof scores) == 0, "a refused call wrote");
  SCORE(block.d.len_k = 0, A4J_OK);
  SCORE(block.d.len_q = 0, A4J_OK);
  block = good;
  CHECK_INT(a4j_pair_scores(NULL, x, x, x, scores), A4J_NULL_POINTER);
  CHECK_INT(a4j_pair_scores(&block.d, NULL, x, x, scores), A4J_NULL_POINTER);
  CHECK_INT(a4j_pair_scores(&block.d, x, NULL, x, scores), A4J_NULL_POINTER);
  CHECK_INT(a4j_pair_scores(&block.d, x, x, NULL, scores), A4J_NULL_POINTER);
  CHECK_INT(a4j_pair_scores(&block.d, x, x, x, NULL), A4J_NULL_POINTER);
  block.d.form = A4J_PAIR_BOXCAR;
  CHECK_INT(a4j_pair_scores(&block.d, x, x, NULL, scores), A4J_OK);
}

/* ---- Gates ---- */

static void gates(int64_t rows, int64_t dim, float range, int in_place, int32_t threads) {
  struct tensor x = tensor(rows, 3 * dim, 2, range), u = tensor(rows, 3 * dim, 0, range), h = tensor(rows, dim, 1, 1),
                out = tensor(rows, dim, in_place ? 1 : 4, 0), before = copy_of(&h);
  struct tensor *to = in_place ? &h : &out;
  a4j_gru_desc d = {DESC(a4j_gru_desc),
                    .rows = rows,
                    .dim = dim,
                    .x_stride_row = x.stride,
                    .u_stride_row = u.stride,
                    .h_stride_row = h.stride,
                    .out_stride_row = to->stride};
  d.threads = threads;
  CHECK_INT(a4j_gru(&d, x.data, u.data, h.data, to->data), A4J_OK);
  for (int64_t n = 0; n < rows * dim; n++) {
    const float *a = x.data + n / dim * x.stride + n % dim, *b = u.data + n / dim * u.stride + n % dim;
    double r = 1 / (1 + exp(-((double)a[0] + (double)b[0]))), z = 1 / (1 + exp(-((double)a[dim] + (double)b[dim])));
    double new = tanh((double)a[2 * dim] + r * (double)b[2 * dim]);
    double wanted = (1 - z) * new + z *(double)before.data[n / dim * before.stride + n % dim];
    CHECK_NEAR(to->data[n / dim * to->stride + n % dim], wanted, 1e-6 * (range > 1 ? range : 1));
  }
  check_guards(to, "gates");
  free(x.base), free(u.base), free(h.base), free(out.base), free(before.base);
}
static void gatesOnThisTier(void) {
  for (int i = 0; i < DIMS; i++)
    for (int in_place = 0; in_place < 2; in_place++) gates(1 + up_to(3), dims[i], in_place ? 30 : 1, in_place, 1);
  gates(2, 16, 200, 0, 1);
  gates(1500, 64, 1, 1, 3);
}
static void shouldStepARecurrentUnitAsItsFormulaSays(void) { on_every_tier(gatesOnThisTier); }

static void shouldRefuseGatesThatADescriptorCannotMean(void) {
  float x[24] = {0};
  a4j_gru_desc d = {DESC(a4j_gru_desc), .rows = 2, .dim = 4};
  CHECK_INT(a4j_gru(&d, NULL, x, x, x), A4J_NULL_POINTER);
  CHECK_INT(a4j_gru(&d, x, NULL, x, x), A4J_NULL_POINTER);
  CHECK_INT(a4j_gru(&d, x, x, NULL, x), A4J_NULL_POINTER);
  CHECK_INT(a4j_gru(&d, x, x, x, NULL), A4J_NULL_POINTER);
  d.dim = -4;
  CHECK_INT(a4j_gru(&d, x, x, x, x), A4J_BAD_SIZE);
  d.dim = INT64_MAX / 8;
  CHECK_INT(a4j_gru(&d, x, x, x, x), A4J_SIZE_OVERFLOW);
  d.dim = 0;
  CHECK_INT(a4j_gru(&d, NULL, NULL, NULL, NULL), A4J_OK);
}

int main(void) {
  RUN(shouldScorePairsAsTheFormulasSay);
  RUN(shouldGiveTheTangentToItsLastBits);
  RUN(shouldScoreWithTheSameBitsForEveryThreadCountAndNeighbour);
  RUN(shouldRefuseScoresThatADescriptorCannotMean);
  RUN(shouldStepARecurrentUnitAsItsFormulaSays);
  RUN(shouldRefuseGatesThatADescriptorCannotMean);
  return CHECK_RESULT();
}
