/*
 * a4j_attention against the textbook formula in double, on every tier that this machine runs: sizes at the edges of the code
 * paths, seeded random combinations of all options, what must not leak, and what must not depend on threads.
 */
#include <stddef.h>
#include <stdlib.h>

#include "a4j.h"
#include "check.h"
#include "reference.h"

enum { GUARD = 64 };
static const float GUARD_VALUE = -77.25f;

static uint64_t seed;

static uint64_t next(void) {
  seed += 0x9e3779b97f4a7c15u;
  uint64_t x = seed;
  x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9u;
  x = (x ^ (x >> 27)) * 0x94d049bb133111ebu;
  return x ^ (x >> 31);
}
static int64_t up_to(int64_t n) { return (int64_t)(next() % (uint64_t)(n + 1)); }
static float uniform(void) { return (float)((double)(next() >> 11) * 0x1p-52 - 1.0); }

/* A descriptor with a tail, and every buffer it speaks of; out has guard zones before and behind it. */
struct problem {
  struct {
    a4j_attention_desc d;
    int32_t lengths[8];
  } block;
  a4j_attention_desc *d;
  float *q, *k, *v, *bias, *lambda, *out, *lse, *weights;
  uint8_t *mask, *keep;
  int64_t q_count, k_count, v_count, out_count, full_count;
};

static float *floats(int64_t n) { return malloc(sizeof(float) * (size_t)(n + 1)); }
static float *random_floats(int64_t n, float range) {
  float *p = floats(n);
  for (int64_t i = 0; i < n; i++) p[i] = uniform() * range;
  return p;
}

/* Heads and rows of q, k, v and out lie as [batch, len, head, map, dim], as a projection leaves them, with `gap` floats more a row. */
static struct problem *make(int64_t batch, int64_t heads_kv, int64_t group, int64_t len_q, int64_t len_k, int64_t dim_qk,
                            int64_t dim_v, int maps, float range, int64_t gap) {
  struct problem *p = calloc(1, sizeof *p);
  a4j_attention_desc *d = p->d = &p->block.d;
  d->size_bytes = sizeof p->block;
  d->abi_version = A4J_ABI_VERSION;
  d->threads = 1;
  d->maps = maps;
  d->value_parts = 1;
  d->batch = batch;
  d->heads_q = heads_kv * group;
  d->heads_kv = heads_kv;
  d->len_q = len_q;
  d->len_k = len_k;
  d->dim_qk = dim_qk;
  d->dim_v = dim_v;
  d->scale = 1.0f / sqrtf((float)dim_qk);
  d->window_left = d->window_right = A4J_UNBOUNDED;
  d->key_limit = len_k;
  d->q_stride_map = d->k_stride_map = dim_qk;
  d->q_stride_head = d->k_stride_head = maps * dim_qk;
  d->q_stride_row = d->heads_q * maps * dim_qk + gap;
  d->k_stride_row = heads_kv * maps * dim_qk + gap;
  d->q_stride_batch = len_q * d->q_stride_row;
  d->k_stride_batch = len_k * d->k_stride_row;
  d->v_stride_head = d->out_stride_head = dim_v;
  d->v_stride_row = heads_kv * dim_v + gap;
  d->out_stride_row = d->heads_q * dim_v + gap;
  d->v_stride_batch = len_k * d->v_stride_row;
  d->lse_stride_map = len_q;
  d->lse_stride_head = maps * len_q;
  d->lse_stride_batch = d->heads_q * maps * len_q;
  d->key_lengths_stride_batch = 1;
  d->out_stride_batch = len_q * d->out_stride_row;
  p->q_count = batch * d->q_stride_batch;
  p->k_count = batch * d->k_stride_batch;
  p->v_count = batch * d->v_stride_batch;
  p->out_count = batch * d->out_stride_batch;
  p->full_count = batch * d->heads_q * len_q * len_k;
  p->q = random_floats(p->q_count, range);
  p->k = random_floats(p->k_count, range);
  p->v = random_floats(p->v_count, 1);
  p->out = floats(p->out_count + 2 * GUARD);
  p->lse = floats(batch * d->heads_q * maps * len_q);
  if (maps == 2) {
    p->lambda = random_floats(batch * d->heads_q * len_q, 1);
    d->lambda_stride_batch = d->heads_q * len_q;
    d->lambda_stride_head = len_q;
    d->lambda_stride_row = 1;
  }
  return p;
}

static void release(struct problem *p) {
  void *all[] = {p->q, p->k, p->v, p->bias, p->lambda, p->out, p->lse, p->weights, p->mask, p->keep, p};
  for (size_t i = 0; i < sizeof all / sizeof all[0]; i++) free(all[i]);
}

static void with_lengths(struct problem *p) {
  p->d->key_lengths_offset = offsetof(__typeof__(p->block), lengths);
  for (int64_t b = 0; b < p->d->batch; b++) p->block.lengths[b] = (int32_t)up_to(p->d->len_k);
}

static void with_mask(struct problem *p) {
  p->mask = malloc((size_t)p->full_count + 1);
  for (int64_t i = 0; i < p->full_count; i++) p->mask[i] = next() % 4 != 0;
  p->d->mask_stride_key = 1;
  p->d->mask_stride_row = p->d->len_k;
  p->d->mask_stride_head = p->d->len_q * p->d->len_k;
  p->d->mask_stride_batch = p->d->heads_q * p->d->mask_stride_head;
}

/* kind 0: whole; 1: the same for all heads and rows; 2: transposed in memory; 3: whole with hidden keys */
static void with_bias(struct problem *p, int kind) {
  a4j_attention_desc *d = p->d;
  p->bias = random_floats(p->full_count, 2);
  d->bias_stride_batch = d->heads_q * d->len_q * d->len_k;
  d->bias_stride_head = d->len_q * d->len_k;
  d->bias_stride_row = d->len_k;
  d->bias_stride_key = 1;
  if (kind == 1) d->bias_stride_head = d->bias_stride_row = 0;
  if (kind == 2) {
    d->bias_stride_row = 1;
    d->bias_stride_key = d->len_q;
  }
  if (kind == 3)
    for (int64_t i = 0; i < p->full_count; i += 3) p->bias[i] = -INFINITY;
}

static void with_keep(struct problem *p) {
  p->keep = malloc((size_t)p->full_count + 1);
  for (int64_t i = 0; i < p->full_count; i++) p->keep[i] = next() % 4 != 0;
  p->d->keep_stride_key = 1;
  p->d->keep_stride_row = p->d->len_k;
  p->d->keep_stride_head = p->d->len_q * p->d->len_k;
  p->d->keep_stride_batch = p->d->heads_q * p->d->keep_stride_head;
  p->d->keep_scale = 1 / 0.75f;
}

static void with_weights(struct problem *p) { p->weights = floats(p->full_count); }

static void run(struct problem *p) {
  for (int64_t i = 0; i < p->out_count + 2 * GUARD; i++) p->out[i] = GUARD_VALUE;
  const int64_t bytes = a4j_attention_workspace_bytes(p->d);
  CHECK(bytes >= 0, "workspace of %s", a4j_status_name((int32_t)-bytes));
  void *workspace = aligned_alloc(64, (size_t)(bytes + 63) / 64 * 64 + 64);
  /* A workspace full of NaN: nothing may be read before it is written. */
  memset(workspace, 0xff, (size_t)bytes);
  CHECK_INT(a4j_attention(p->d, p->q, p->k, p->v, p->mask, NULL, p->bias, p->keep, p->lambda, NULL, NULL, NULL, NULL,
                          p->out + GUARD, p->lse, p->weights, NULL, NULL, workspace, bytes),
            A4J_OK);
  free(workspace);
}

static float out_at(const struct problem *p, int64_t b, int64_t h, int64_t i, int64_t c) {
  return p->out[GUARD + b * p->d->out_stride_batch + h * p->d->out_stride_head + i * p->d->out_stride_row + c];
}

static double distance(double got, double wanted) {
  if (got == wanted || (isnan(got) && isnan(wanted))) return 0;
  return isnan(got) || isnan(wanted) ? INFINITY : fabs(got - wanted);
}

/*
 * Compares out, lse, weights with the formula: at most twice the error of the float formula. In a small case that error is a matter
 * of luck, so there is slack besides: a few ulp of the result, and what an error of 2 ulp in the largest logit does to it.
 */
static void compare(const struct problem *p, const char *what) {
  const a4j_attention_desc *d = p->d;
  const int64_t rows = d->batch * d->heads_q * d->len_q;
  double *out = malloc(sizeof(double) * (size_t)(rows * d->dim_v + 1)),
         *lse = malloc(sizeof(double) * (size_t)(rows * d->maps + 1));
  double *weights = malloc(sizeof(double) * (size_t)(p->full_count + 1));
  float *out32 = floats(rows * d->dim_v), *lse32 = floats(rows * d->maps), *weights32 = floats(p->full_count);
  reference_attention_f64(d, p->q, p->k, p->v, p->mask, p->bias, p->keep, p->lambda, out, lse, weights);
  reference_attention_f32(d, p->q, p->k, p->v, p->mask, p->bias, p->keep, p->lambda, out32, lse32, weights32);
  double error = 0, plain = 0, largest = 0;
  for (int64_t r = 0; r < rows * d->maps; r++) {
    error = fmax(error, distance(p->lse[r], lse[r]));
    plain = fmax(plain, distance(lse32[r], lse[r]));
    if (isfinite(lse[r])) largest = fmax(largest, fabs(lse[r]));
  }
  const double slack = 4e-7 + 0x1p-22 * largest;
  CHECK(error <= 2 * plain + slack, "%s: lse is off by %.3g, the plain float program by %.3g", what, error, plain);
  error = plain = largest = 0;
  for (int64_t r = 0; r < rows; r++)
    for (int64_t c = 0; c < d->dim_v; c++) {
      const int64_t i = r % d->len_q, h = r / d->len_q % d->heads_q, b = r / d->len_q / d->heads_q;
      error = fmax(error, distance(out_at(p, b, h, i, c), out[r * d->dim_v + c]));
      plain = fmax(plain, distance(out32[r * d->dim_v + c], out[r * d->dim_v + c]));
      if (isfinite(out[r * d->dim_v + c])) largest = fmax(largest, fabs(out[r * d->dim_v + c]));
    }
  CHECK(error <= 2 * plain + slack * largest, "%s: out is off by %.3g, the plain float program by %.3g", what, error, plain);
  error = plain = 0;
  for (int64_t i = 0; p->weights != NULL && i < p->full_count; i++) {
    error = fmax(error, distance(p->weights[i], weights[i]));
    plain = fmax(plain, distance(weights32[i], weights[i]));
  }
  CHECK(error <= 2 * plain + slack, "%s: weights are off by %.3g, the plain float program by %.3g", what, error, plain);
  for (int64_t i = 0; i < GUARD; i++)
    CHECK(p->out[i] == GUARD_VALUE && p->out[GUARD + p->out_count + i] == GUARD_VALUE, "%s: guard zone %" PRId64, what, i);
  const int64_t used = d->heads_q * d->dim_v;
  for (int64_t r = 0; r < d->batch * d->len_q; r++)
    for (int64_t c = used; c < d->out_stride_row; c++)
      CHECK(p->out[GUARD + r * d->out_stride_row + c] == GUARD_VALUE, "%s: gap behind row %" PRId64, what, r);
  free(out), free(lse), free(weights), free(out32), free(lse32), free(weights32);
}

static void shouldMatchTheFormulaAtTheEdgesOfTilesAndBlocks(void) {
  /* rows: one lane, whole vectors and tiles of each tier, and one more or less; keys: groups of 4 and 8, blocks of 64 */
  static const int64_t rows[] = {1, 2, 3, 4, 5, 8, 9, 11, 12, 13, 15, 16, 17, 24, 25, 32, 33, 47, 48, 49, 64, 65, 97};
  static const int64_t keys[] = {1, 2, 7, 8, 9, 15, 16, 17, 63, 64, 65, 127, 128, 131, 200};
  static const int64_t dims[] = {1, 3, 4, 7, 8, 9, 15, 16, 17, 20, 33, 64, 80};
  for (size_t r = 0; r < sizeof rows / sizeof *rows; r++)
    for (size_t k = 0; k < sizeof keys / sizeof *keys; k++)
      for (int causal = 0; causal < 3; causal++) {
        const int64_t dim_qk = dims[up_to(12)], dim_v = dims[up_to(12)];
        char what[128];
        snprintf(what, sizeof what, "len_q=%d len_k=%d dim_qk=%d dim_v=%d causal=%d", (int)rows[r], (int)keys[k], (int)dim_qk,
                 (int)dim_v, causal);
        struct problem *p = make(1, 1, 1 + up_to(2), rows[r], keys[k], dim_qk, dim_v, 1, 1, 0);
        set_causal(p->d, causal);
        run(p);
        compare(p, what);
        release(p);
      }
}

static void shouldMatchTheFormulaForWideHeads(void) {
  static const int64_t dims[] = {96, 128, 255, 256, 512};
  for (size_t i = 0; i < 5; i++) {
    struct problem *p = make(1, 1, 2, 50, 70, dims[i], dims[4 - i], 1, 1, 0);
    run(p);
    compare(p, "wide head");
    release(p);
  }
}

static void shouldMatchTheFormulaForRandomCombinationsOfOptions(void) {
  for (int i = 0; i < 1500; i++) {
    const uint64_t start = seed;
    const int maps = 1 + (int)up_to(1);
    const int64_t len_q = 1 + up_to(up_to(3) == 0 ? 100 : 20), len_k = up_to(up_to(3) == 0 ? 200 : 30);
    struct problem *p = make(1 + up_to(2), 1 + up_to(1), 1 + up_to(3), len_q, len_k, 1 + up_to(40), 2 * (1 + up_to(20)), maps,
                             up_to(5) == 0 ? 12 : 1, up_to(3));
    if (maps == 2) p->d->key_map = (int)up_to(1);
    if (up_to(3) == 0) {
      /* The halves of each value row lie where two narrow heads would: all first halves, then all second ones. */
      p->d->value_parts = 2;
      p->d->v_stride_head = p->d->dim_v / 2;
      p->d->v_stride_part = p->d->heads_kv * p->d->dim_v / 2;
    }
    const int causal = (int)up_to(2);
    set_causal(p->d, causal);
    if (up_to(2) == 0) with_lengths(p);
    if (up_to(2) == 0) with_mask(p);
    if (up_to(2) == 0) with_bias(p, (int)up_to(3));
    if (up_to(3) == 0) with_keep(p);
    if (up_to(2) == 0) with_weights(p);
    if (up_to(3) == 0) p->d->scale = up_to(1) ? 0.3f : up_to(1) ? -0.2f : 0;
    p->d->threads = 1 + (int)up_to(2);
    char what[256];
    snprintf(what, sizeof what,
             "seed=%" PRIu64
             " maps=%d batch=%d heads=%d/%d len_q=%d len_k=%d dims=%d,%d parts=%d causal=%d mask=%d bias=%d keep=%d",
             start, maps, (int)p->d->batch, (int)p->d->heads_q, (int)p->d->heads_kv, (int)len_q, (int)len_k, (int)p->d->dim_qk,
             (int)p->d->dim_v, p->d->value_parts, causal, p->mask != NULL, p->bias != NULL, p->keep != NULL);
    run(p);
    compare(p, what);
    release(p);
  }
}

static void shouldGiveTheSameBitsForEveryThreadCount(void) {
  for (int shape = 0; shape < 4; shape++) {
    struct problem *p = shape == 0   ? make(2, 2, 2, 200, 300, 64, 64, 1, 1, 0)
                        : shape == 1 ? make(1, 4, 4, 1, 5000, 64, 64, 1, 1, 0)
                        : shape == 2 ? make(1, 2, 1, 130, 257, 32, 64, 2, 1, 0)
                                     : make(1, 1, 1, 3, 9000, 128, 128, 1, 1, 0);
    set_causal(p->d, 2);
    run(p);
    float *once = floats(p->out_count);
    memcpy(once, p->out + GUARD, sizeof(float) * (size_t)p->out_count);
    for (int threads = 2; threads <= 7; threads++) {
      p->d->threads = threads;
      run(p);
      CHECK(memcmp(once, p->out + GUARD, sizeof(float) * (size_t)p->out_count) == 0, "shape %d with %d threads", shape,
            threads);
    }
    free(once);
    release(p);
  }
}

/* Rows i < half see keys < half; the rest of k and v is poison. */
static void shouldNotLetHiddenValuesLeak(void) {
  static const float poison[] = {NAN, INFINITY, -INFINITY};
  for (int kind = 0; kind < 4; kind++)
    for (int x = 0; x < 3; x++)
      for (int64_t len = 5; len < 150; len += 29)
        for (int maps = 1; maps <= 2; maps++) {
          struct problem *p = make(1, 2, 1, len, len, 20, 12, maps, 1, 0);
          const int64_t half = len / 2;
          if (kind == 0) set_causal(p->d, 1);
          if (kind == 1) {
            with_lengths(p);
            p->block.lengths[0] = (int32_t)half;
          }
          if (kind == 2) with_mask(p);
          if (kind == 3) with_bias(p, 0);
          for (int64_t at = 0; kind >= 2 && at < p->full_count; at++) {
            const int hide = at % len >= half;
            if (kind == 2) p->mask[at] = !hide;
            if (kind == 3 && hide) p->bias[at] = -INFINITY;
          }
          if (up_to(1)) with_weights(p);
          for (int64_t j = half; j < len; j++) {
            for (int64_t c = 0; c < p->d->k_stride_row; c++) p->k[j * p->d->k_stride_row + c] = poison[x];
            for (int64_t c = 0; c < p->d->v_stride_row; c++) p->v[j * p->d->v_stride_row + c] = poison[x];
          }
          run(p);
          for (int64_t h = 0; h < 2; h++)
            for (int64_t i = 0; i < (kind == 0 ? half : len); i++)
              for (int64_t c = 0; c < 12; c++)
                CHECK(isfinite(out_at(p, 0, h, i, c)), "kind %d, poison %g, row %d of %d", kind, poison[x], (int)i, (int)len);
          if (kind > 0) compare(p, "poison behind a mask");
          release(p);
        }
}

static void shouldShowNanInTheRowsThatItTouchesAndInNoOthers(void) {
  for (int64_t len = 3; len < 140; len += 17) {
    struct problem *p = make(1, 1, 1, len, len, 16, 16, 1, 1, 0);
    const int64_t bad = len / 2;
    set_causal(p->d, 1);
    p->k[bad * 16 + 3] = NAN;
    run(p);
    for (int64_t i = 0; i < len; i++)
      CHECK(isnan(out_at(p, 0, 0, i, 5)) == (i >= bad), "NaN in key %d, row %d of %d", (int)bad, (int)i, (int)len);
    p->k[bad * 16 + 3] = 0;
    p->q[bad * 16 + 3] = NAN;
    run(p);
    for (int64_t i = 0; i < len; i++)
      CHECK(isnan(out_at(p, 0, 0, i, 5)) == (i == bad), "NaN in query %d, row %d of %d", (int)bad, (int)i, (int)len);
    p->q[bad * 16 + 3] = 0;
    p->v[bad * 16 + 3] = NAN;
    run(p);
    for (int64_t i = 0; i < len; i++) {
      CHECK(isnan(out_at(p, 0, 0, i, 3)) == (i >= bad), "NaN in value %d, row %d of %d", (int)bad, (int)i, (int)len);
      CHECK(isfinite(out_at(p, 0, 0, i, 5)), "NaN in another channel, row %d of %d", (int)i, (int)len);
    }
    release(p);
  }
}

static void shouldStandLogitsThatOverflowTheExponential(void) {
  struct problem *p = make(1, 1, 1, 40, 90, 8, 8, 1, 60, 0);
  with_weights(p);
  run(p);
  compare(p, "huge logits");
  for (int64_t i = 0; i < p->q_count; i++) p->q[i] = 1e19f;
  for (int64_t i = 0; i < p->k_count; i++) p->k[i] = i / 8 % 2 ? 1e18f : -1e18f;
  run(p);
  for (int64_t i = 0; i < 40; i++) CHECK(isfinite(out_at(p, 0, 0, i, 0)), "row %d of equal huge logits", (int)i);
  release(p);
}

static void shouldWriteZerosWhereNothingIsSeen(void) {
  struct problem *p = make(1, 2, 1, 20, 10, 8, 8, 1, 1, 0);
  with_weights(p);
  set_causal(p->d, 2);
  run(p);
  compare(p, "rows that see no key");
  for (int64_t i = 0; i < 10; i++) {
    CHECK(out_at(p, 0, 0, i, 0) == 0, "row %d is %g", (int)i, out_at(p, 0, 0, i, 0));
    CHECK(p->lse[i] == -INFINITY, "lse %d is %g", (int)i, p->lse[i]);
    CHECK(p->weights[i * 10] == 0, "weight of row %d is %g", (int)i, p->weights[i * 10]);
  }
  release(p);
}

/* Another thread may select another tier between the two calls. */
static void shouldPlanTheSameWorkspaceForEveryTier(void) {
  static const int64_t rows[] = {1, 3, 8, 13, 30, 60, 200, 700};
  for (size_t i = 0; i < sizeof rows / sizeof *rows; i++)
    for (int64_t keys = 20; keys < 20000; keys *= 7)
      for (int64_t dim = 16; dim <= 128; dim *= 2) {
        struct problem *p = make(1, 1, 3, rows[i], 1, dim, dim, 1, 1, 0);
        p->d->len_k = keys;
        p->d->threads = 16;
        int64_t first = -1;
        for (int tier = 0; tier < a4j_isa_count(); tier++) {
          if (!a4j_isa_available(tier)) continue;
          CHECK_INT(a4j_isa_select(a4j_isa_name(tier)), A4J_OK);
          const int64_t bytes = a4j_attention_workspace_bytes(p->d);
          if (first < 0) first = bytes;
          CHECK(bytes == first, "len_q=%d len_k=%d dim=%d on %s: wanted %" PRId64 " bytes, got %" PRId64, (int)rows[i],
                (int)keys, (int)dim, a4j_isa_name(tier), first, bytes);
        }
        release(p);
      }
}

static void shouldRefuseWhatTheDescriptorCannotMean(void) {
  struct problem *p = make(1, 1, 1, 4, 4, 8, 8, 1, 1, 0);
  const a4j_attention_desc good = *p->d;
  const int64_t bytes = a4j_attention_workspace_bytes(p->d);
  void *workspace = aligned_alloc(64, (size_t)bytes + 64);
#define STATUS()                                                                                                               \
  a4j_attention(p->d, p->q, p->k, p->v, 0, 0, 0, 0, p->lambda, 0, 0, 0, 0, p->out, p->lse, 0, 0, 0, workspace, bytes)
#define REFUSE(change, status)                                                                                                 \
  do {                                                                                                                         \
    *p->d = good;                                                                                                              \
    change;                                                                                                                    \
    CHECK_INT(STATUS(), status);                                                                                               \
  } while (0)
  REFUSE((void)0, A4J_OK);
  REFUSE(p->d->size_bytes = 8, A4J_BAD_DESCRIPTOR);
  REFUSE(p->d->size_bytes = sizeof good - 4, A4J_BAD_DESCRIPTOR);
  REFUSE(p->d->abi_version++, A4J_BAD_ABI);
  REFUSE(p->d->dtype = 9, A4J_UNSUPPORTED_DTYPE);
  REFUSE(p->d->threads = 0, A4J_BAD_OPTION);
  REFUSE(p->d->maps = 3, A4J_BAD_OPTION);
  REFUSE(p->d->maps = 2, A4J_NULL_POINTER);
  REFUSE(p->d->align = 7, A4J_BAD_OPTION);
  REFUSE(p->d->scale = NAN, A4J_BAD_OPTION);
  REFUSE(p->d->len_k = -1, A4J_BAD_SIZE);
  REFUSE(p->d->heads_q = 3; p->d->heads_kv = 2, A4J_BAD_SIZE);
  REFUSE(p->d->value_parts = 2; p->d->dim_v = 7, A4J_BAD_SIZE);
  REFUSE(p->d->len_q = INT64_MAX / 4, A4J_SIZE_OVERFLOW);
  REFUSE(p->d->key_lengths_offset = 4, A4J_BAD_DESCRIPTOR);
  REFUSE(p->d->key_lengths_offset = sizeof p->block, A4J_BAD_DESCRIPTOR);
  REFUSE(p->d->key_lengths_offset = sizeof good; p->block.lengths[0] = 5, A4J_BAD_SIZE);
  *p->d = good;
  CHECK_INT(a4j_attention(p->d, NULL, p->k, p->v, 0, 0, 0, 0, 0, 0, 0, 0, 0, p->out, 0, 0, 0, 0, workspace, bytes),
            A4J_NULL_POINTER);
  CHECK_INT(a4j_attention(p->d, p->q, p->k, p->v, 0, 0, 0, 0, 0, 0, 0, 0, 0, p->out, 0, 0, 0, 0, workspace, bytes - 1),
            A4J_SMALL_WORKSPACE);
  CHECK_INT(a4j_attention(p->d, p->q, p->k, p->v, 0, 0, 0, 0, 0, 0, 0, 0, 0, p->out, 0, 0, 0, 0, (char *)workspace + 4, bytes),
            A4J_MISALIGNED);
  CHECK_INT(a4j_attention(NULL, p->q, p->k, p->v, 0, 0, 0, 0, 0, 0, 0, 0, 0, p->out, 0, 0, 0, 0, workspace, bytes),
            A4J_NULL_POINTER);
  free(workspace);
  release(p);
}

int main(void) {
  for (int i = 0; i < a4j_isa_count(); i++) {
    if (!a4j_isa_available(i)) {
      printf("tier %s cannot run on this machine\n", a4j_isa_name(i));
      continue;
    }
    CHECK_INT(a4j_isa_select(a4j_isa_name(i)), A4J_OK);
    seed = 1;
    printf("tier %s, seed %" PRIu64 "\n", a4j_isa_active(), seed);
    RUN(shouldMatchTheFormulaAtTheEdgesOfTilesAndBlocks);
    RUN(shouldMatchTheFormulaForWideHeads);
    RUN(shouldMatchTheFormulaForRandomCombinationsOfOptions);
    RUN(shouldGiveTheSameBitsForEveryThreadCount);
    RUN(shouldNotLetHiddenValuesLeak);
    RUN(shouldShowNanInTheRowsThatItTouchesAndInNoOthers);
    RUN(shouldStandLogitsThatOverflowTheExponential);
    RUN(shouldWriteZerosWhereNothingIsSeen);
  }
  RUN(shouldPlanTheSameWorkspaceForEveryTier);
  RUN(shouldRefuseWhatTheDescriptorCannotMean);
  return CHECK_RESULT();
}
