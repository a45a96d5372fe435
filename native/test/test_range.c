/*
 * Attention at the ends of the range of floats, on every tier that this machine runs: values whose sums overflow although their
 * averages do not, and products that overflow although logits do not. Whatever was finite keeps its bits.
 */
#include <float.h>
#include <math.h>

#include "a4j.h"
#include "check.h"
#include "problem.h"
#include "tiers.h"

/* One shape for each path through the library: tiles, tiles together, a few rows, chunks of keys, heads and batches side by side. */
static const struct shape shapes[] = {
    {.len_q = 60, .len_k = 70, .dim_qk = 8, .dim_v = 12},
    {.len_q = 100, .len_k = 1100, .dim_qk = 80, .dim_v = 80},
    {.len_q = 1, .len_k = 2, .dim_qk = 4, .dim_v = 5},
    {.heads_kv = 2, .group = 3, .len_q = 2, .len_k = 1300, .dim_qk = 16, .dim_v = 20},
    {.len_q = 20, .len_k = 1500, .dim_qk = 8, .dim_v = 8},
    {.batch = 3, .group = 2, .len_q = 3, .len_k = 40, .dim_qk = 8, .dim_v = 7, .shared_keys = true},
};
enum { SHAPES = sizeof shapes / sizeof *shapes };

static void no_option(struct problem *p) { (void)p; }
static void causal(struct problem *p) { set_causal(p->d, 2); }
static void mask(struct problem *p) { with_mask(p, 0, SPECKLED); }
static void bias(struct problem *p) { with_bias(p, OVER_ROWS, true, SPECKLED); }
static void sinks(struct problem *p) { with_sinks(p); }
static void capped(struct problem *p) { p->d->softcap = 5; }
static void dropout(struct problem *p) { with_dropout(p); }
static void ranges(struct problem *p) { with_ranges(p, 3, true, true); }
static void weights(struct problem *p) { with_weights(p); }
static void relative(struct problem *p) { with_relative(p, 20); }
static void top_k(struct problem *p) {
  p->d->harden = A4J_HARDEN_TOP_K;
  p->d->harden_k = 1 << 20;
}
static void pages(struct problem *p) { with_pages(p, 64); }
static void bf16(struct problem *p) { with_kv_storage(p, A4J_BF16); }
static void i8(struct problem *p) { with_kv_storage(p, A4J_I8); }
static void bf16_weights(struct problem *p) {
  bf16(p);
  with_weights(p);
}
static void bf16_dropout(struct problem *p) {
  bf16(p);
  with_dropout(p);
}

static const struct option {
  const char *name;
  void (*put)(struct problem *p);
} options[] = {{"plain", no_option},
               {"causal", causal},
               {"mask", mask},
               {"bias", bias},
               {"sinks", sinks},
               {"softcap", capped},
               {"dropout", dropout},
               {"ranges", ranges},
               {"weights", weights},
               {"relative", relative},
               {"top k", top_k},
               {"pages", pages},
               {"bf16", bf16},
               {"i8", i8},
               {"bf16 products", with_bf16_products},
               {"weights of bf16", bf16_weights},
               {"dropout of bf16", bf16_dropout}};
enum { OPTIONS = sizeof options / sizeof *options };

/* Values of both signs within 0.66 and 0.95 times the largest float. Dropout multiplies by 1. */
static struct problem *large_values(const struct shape *shape, const struct option *option) {
  struct problem *p = make(*shape);
  for (int64_t x = 0; x < p->v_count; x++)
    p->v[x] = (one_in(3) ? -1 : 1) * FLT_MAX * (0.66f + 0.29f * fabsf(uniform())); /* gaps between rows are never read */
  option->put(p);
  if (p->d->dropout) p->d->keep_scale = 1;
  return p;
}

static void shouldAverageValuesNearTheLargestFloat(void) {
  for (int s = 0; s < SHAPES; s++)
    for (int o = 0; o < OPTIONS; o++) {
      struct problem *p = large_values(&shapes[s], &options[o]);
      const char *fault = fault_of(p);
      CHECK(fault == NULL, "%s: %s", options[o].name, fault);
      release(p);
    }
}

static void shouldCombineAveragesOfTwoMaps(void) {
  for (int s = 0; s < SHAPES; s++)
    for (int parts = 1; parts < 3; parts++)
      for (int o = 0; o < OPTIONS; o++) {
        if (options[o].put == relative || options[o].put == top_k) continue;
        struct shape shape = shapes[s];
        shape.maps = 2, shape.value_parts = parts, shape.dim_v *= parts;
        struct problem *p = large_values(&shape, &options[o]);
        for (int64_t x = 0; x < p->lambda_count; x++) p->lambda[x] = x % 3 == 0 ? 0 : 0.04f * uniform();
        const char *fault = fault_of(p);
        CHECK(fault == NULL, "%s: %s", options[o].name, fault);
        release(p);
      }
}

/* An average of equal values is rounded once for each key at the most, and never beyond the largest float. */
static void shouldGiveTheLargestFloatWhereEveryValueIsIt(void) {
  for (int s = 0; s < SHAPES; s++)
    for (int sign = -1; sign < 2; sign += 2)
      for (int harden = 0; harden < 2; harden++) {
        struct problem *p = make(shapes[s]);
        for (int64_t x = 0; x < p->v_count; x++) p->v[x] = sign * FLT_MAX;
        if (harden) top_k(p);
        CHECK_INT(status_of(p), A4J_OK);
        for (int64_t b = 0; b < p->d->batch; b++)
          for (int64_t h = 0; h < p->d->heads_q; h++)
            for (int64_t i = 0; i < p->d->len_q; i++)
              for (int64_t e = 0; e < p->d->dim_v; e++)
                CHECK_NEAR(out_at(p, b, h, i, e), sign * (double)FLT_MAX, 0x1p-23 * (double)p->d->len_k * FLT_MAX);
        release(p);
      }
}

/* Weights and what they multiply are bfloat16 in the tiles that multiply pairs. */
static void shouldAverageLargeValuesOfPairs(void) {
  for (int s = 0; s < SHAPES; s++) {
    struct problem *p = make(shapes[s]);
    for (int64_t x = 0; x < p->v_count; x++) p->v[x] = 3e38f;
    with_kv_storage(p, A4J_BF16);
    p->without_lse = true;
    CHECK_INT(status_of(p), A4J_OK);
    for (int64_t i = 0; i < p->d->len_q; i++)
      for (int64_t e = 0; e < p->d->dim_v; e++) CHECK_NEAR(out_at(p, 0, 0, i, e), 3e38, 3e36);
    release(p);
  }
}

static bool same_bits(float a, float b) { return memcmp(&a, &b, sizeof a) == 0; }

static void shouldKeepTheBitsOfWhatWasFinite(void) {
  for (int s = 0; s < SHAPES; s++)
    for (int o = 0; o < OPTIONS; o++) {
      if (options[o].put == i8) continue; /* a row's scale would change */
      struct problem *p = make(shapes[s]), *other = NULL;
      const uint64_t of_options = seed;
      options[o].put(p);
      CHECK_INT(status_of(p), A4J_OK);
      seed = p->seed;
      other = make(shapes[s]);
      const int64_t stride = other->d->v.stride_row;
      for (int64_t x = 1; x < other->v_count; x += stride) other->v[x] = FLT_MAX;
      seed = of_options;
      options[o].put(other);
      CHECK_INT(status_of(other), A4J_OK);
      for (int64_t b = 0; b < p->d->batch; b++)
        for (int64_t h = 0; h < p->d->heads_q; h++)
          for (int64_t i = 0; i < p->d->len_q; i++)
            for (int64_t e = 0; e < p->d->dim_v; e++)
              CHECK(e == 1 || same_bits(out_at(p, b, h, i, e), out_at(other, b, h, i, e)), "%s, shape %d, row %d, channel %d",
                    options[o].name, s, (int)i, (int)e);
      release(p);
      release(other);
    }
}

static void shouldGiveTheSameBitsForEveryThreadCount(void) {
  for (int s = 0; s < SHAPES; s++)
    for (int o = 0; o < OPTIONS; o++) {
      struct problem *p = large_values(&shapes[s], &options[o]);
      p->d->threads = 1;
      CHECK_INT(status_of(p), A4J_OK);
      const uint64_t alone = hash_of(p);
      p->d->threads = 3;
      CHECK_INT(status_of(p), A4J_OK);
      CHECK(hash_of(p) == alone, "%s, shape %d: three threads give other bits", options[o].name, s);
      release(p);
    }
}

/* q k^T is 1e40 times dim_qk, or minus that, and the logit 1e10 times dim_qk, of every key or of one half of them. */
static void shouldScaleProductsBeforeTheyOverflow(void) {
  static const float sides[][2] = {{1, 1}, {-1, -1}, {1, -1}};
  for (int s = 0; s < SHAPES; s++)
    for (int side = 0; side < 3; side++)
      for (int option = 0; option < 3; option++) {
        struct problem *p = make(shapes[s]);
        p->d->scale = 1e-30f;
        if (option == 1) with_weights(p);
        if (option == 2) with_scores(p, A4J_STAGE_SCALED);
        for (int64_t x = 0; x < p->q_count; x++) p->q[x] = 1e20f;
        for (int64_t x = 0; x < p->k_count; x++)
          p->k[x] = 1e20f * sides[side][x % (p->d->len_k * p->d->k.stride_row) >= p->d->len_k / 2 * p->d->k.stride_row];
        CHECK_INT(status_of(p), A4J_OK);
        const int64_t seen = side == 2 ? p->d->len_k / 2 : p->d->len_k;
        const double logit = (sides[side][0] > 0 ? 1e10 : -1e10) * (double)p->d->dim_qk;
        for (int64_t i = 0; i < p->d->len_q; i++) {
          double mean = 0;
          for (int64_t j = 0; j < seen; j++) mean += (double)p->v[j * p->d->v.stride_row] / (double)seen;
          CHECK_NEAR(out_at(p, 0, 0, i, 0), mean, 1e-6);
          CHECK_NEAR(lse_at(p, 0, 0, 0, i), logit, 1e-6 * fabs(logit));
          for (int64_t j = 0; option > 0 && j < p->d->len_k; j++) {
            const double wanted = option == 1 ? (j < seen ? 1.0 / (double)seen : 0) : j < seen ? logit : -logit;
            const float *matrix = option == 1 ? p->weights : p->scores;
            CHECK_NEAR(matrix[GUARD + i * p->d->len_k + j], wanted, 1e-6 * fabs(wanted));
          }
        }
        release(p);
      }
}

/* W = 1 - lambda for a single key, and out = W v. */
static void shouldWeighAnInfiniteValueByBothMaps(void) {
  static const float lambdas[] = {0, 0.3f, 1.5f};
  for (int64_t rows = 1; rows < 60; rows += 19)
    for (int x = 0; x < 3; x++) {
      struct problem *p = make((struct shape){.len_q = rows, .len_k = 1, .dim_qk = 4, .dim_v = 6, .maps = 2});
      for (int64_t i = 0; i < p->lambda_count; i++) p->lambda[i] = lambdas[x];
      p->v[2] = INFINITY;
      CHECK_INT(status_of(p), A4J_OK);
      for (int64_t i = 0; i < rows; i++)
        CHECK(out_at(p, 0, 0, i, 2) == (x < 2 ? INFINITY : -INFINITY), "lambda %g: %g", lambdas[x], out_at(p, 0, 0, i, 2));
      release(p);
    }
}

int main(void) {
  FOR_EACH_TIER (i) {
    seed = check_seed();
    printf("tier %s, seed %" PRIu64 "\n", a4j_isa_name(i), seed);
    RUN(shouldAverageValuesNearTheLargestFloat);
    RUN(shouldCombineAveragesOfTwoMaps);
    RUN(shouldGiveTheLargestFloatWhereEveryValueIsIt);
    RUN(shouldAverageLargeValuesOfPairs);
    RUN(shouldKeepTheBitsOfWhatWasFinite);
    RUN(shouldGiveTheSameBitsForEveryThreadCount);
    RUN(shouldScaleProductsBeforeTheyOverflow);
    RUN(shouldWeighAnInfiniteValueByBothMaps);
  }
  return CHECK_RESULT();
}
