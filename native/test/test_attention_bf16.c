/*
 * Attention over keys and values of bfloat16, and with A4J_ARITHMETIC_BF16, on every tier: awkward numbers, the promised bounds of an
 * output (2^-8 of the sum of w |v| for each number, 2^-9 of the root of the sum of w^2 v^2 on average), values that are all the same,
 * threads, and what is refused. Random combinations with all options are in test_attention_options.c.
 */
#include <stdlib.h>

#include "a4j.h"
#include "check.h"
#include "half.h"
#include "problem.h"
#include "tiers.h"

static void check(struct problem *p, const char *what) {
  const char *fault = fault_of(p);
  CHECK(fault == NULL, "%s: %s", what, fault);
}

/* How q, k and v are stored, and whether the call rounds them. */
static const struct way {
  const char *name;
  int q, kv;
  bool rounds;
} ways[] = {{"bf16", A4J_BF16, A4J_BF16, false},
            {"f32 queries over bf16", A4J_F32, A4J_BF16, false},
            {"f16 queries over bf16", A4J_F16, A4J_BF16, false},
            {"f32 rounded", A4J_F32, A4J_F32, true},
            {"f16 rounded", A4J_F16, A4J_F16, true},
            {"f32 queries rounded over bf16", A4J_F32, A4J_BF16, true}};
enum { WAYS = sizeof ways / sizeof *ways };

static void go(struct problem *p, const struct way *way) {
  with_query_storage(p, way->q, A4J_F32);
  with_kv_storage(p, way->kv);
  if (way->rounds) with_bf16_products(p);
}

static struct problem *plain(int64_t rows, int64_t keys, int64_t dim) {
  return make((struct shape){.heads_kv = 2, .group = 1, .len_q = rows, .len_k = keys, .dim_qk = dim, .dim_v = dim});
}

/* ---- Awkward numbers ------------------------------------------------------------------------------------------------------ */

/* Each makes q, k or v awkward. */
static void outliers(struct problem *p) {
  for (int64_t i = 0; i < p->k_count; i += 37) p->k[i] *= 300;
  for (int64_t i = 0; i < p->q_count; i += 41) p->q[i] *= 50;
  for (int64_t i = 0; i < p->v_count; i += 29) p->v[i] *= 3e4f;
}
static void denormals(struct problem *p) {
  for (int64_t i = 0; i < p->q_count; i += 3) p->q[i] *= 0x1p-130f;
  for (int64_t i = 0; i < p->k_count; i += 5) p->k[i] *= 0x1p-128f;
  for (int64_t i = 0; i < p->v_count; i += 2) p->v[i] *= 0x1p-127f;
}
static void negative_zeros(struct problem *p) {
  for (int64_t i = 0; i < p->q_count; i += 2) p->q[i] = -0.0f;
  for (int64_t i = 0; i < p->k_count; i += 3) p->k[i] = -0.0f;
  for (int64_t i = 0; i < p->v_count; i++) p->v[i] = i % 5 == 0 ? p->v[i] : -0.0f;
}
/* With keys just above the denormals, which count as 0 in dot products. */
static void largest_queries(struct problem *p) {
  for (int64_t i = 0; i < p->q_count; i++) p->q[i] = i % 7 == 0 ? (i % 2 ? 3.3e38f : -3.3e38f) : p->q[i];
  for (int64_t i = 0; i < p->k_count; i++) p->k[i] = p->k[i] * 4e-38f + copysignf(2e-38f, p->k[i]);
}
static void largest_values(struct problem *p) {
  for (int64_t i = 0; i < p->v_count; i++) p->v[i] *= 0x1p100f;
}
static void all_equal(struct problem *p) {
  for (int64_t i = 0; i < p->q_count; i++) p->q[i] = 0.7f;
  for (int64_t i = 0; i < p->k_count; i++) p->k[i] = 0.3f;
  for (int64_t i = 0; i < p->v_count; i++) p->v[i] = -1.1f;
}
static void one_huge_value_row(struct problem *p) {
  const int64_t row = p->d->v.stride_row, at = p->d->len_k / 3 * row;
  for (int64_t i = at; i < at + row && i < p->v_count; i++) p->v[i] *= 3e4f;
}
static void one_huge_key(struct problem *p) {
  const int64_t row = p->d->k.stride_row, at = p->d->len_k / 2 * row;
  for (int64_t i = at; i < at + row && i < p->k_count; i++) p->k[i] *= 40;
}

static const struct {
  const char *name;
  void (*apply)(struct problem *);
} awkward[] = {{"outliers", outliers},
               {"denormals", denormals},
               {"negative zeros", negative_zeros},
               {"largest queries", largest_queries},
               {"largest values", largest_values},
               {"all equal", all_equal},
               {"one huge row of values", one_huge_value_row},
               {"one huge key", one_huge_key}};
enum { AWKWARD = sizeof awkward / sizeof *awkward };

static void shouldStandAwkwardNumbers(void) {
  static const int64_t sizes[][3] = {{1, 90, 8}, {9, 65, 7}, {50, 131, 16}, {49, 700, 33}};
  for (int kind = 0; kind < AWKWARD; kind++)
    for (int way = 0; way < WAYS; way++)
      for (int size = 0; size < 4; size++) {
        const bool too_large = awkward[kind].apply == largest_queries || awkward[kind].apply == largest_values;
        if (too_large && (ways[way].q == A4J_F16 || ways[way].kv == A4J_F16)) continue;
        struct problem *p = plain(sizes[size][0], sizes[size][1], sizes[size][2]);
        awkward[kind].apply(p);
        go(p, &ways[way]);
        set_causal(p->d, size % 3);
        check(p, awkward[kind].name);
        release(p);
      }
}

/* ---- The bounds ------------------------------------------------------------------------------------------------------------- */

/* 2^-9 of the root of the sum of w^2 v^2, as a root mean square over all numbers of the output. */
static void shouldBeWithinTheAverageError(void) {
  for (int way = 0; way < WAYS; way++) {
    enum { ROWS = 60, KEYS = 200, DIM = 32 };
    struct problem *p = make((struct shape){.len_q = ROWS, .len_k = KEYS, .dim_qk = DIM, .dim_v = DIM, .range = 2});
    go(p, &ways[way]);
    CHECK_INT(status_of(p), A4J_OK);
    round_all(A4J_BF16, p->k, p->k_count);
    round_all(A4J_BF16, p->v, p->v_count);
    if (ways[way].rounds) round_all(A4J_BF16, p->q, p->q_count);
    static double out[ROWS * DIM], weights[ROWS * KEYS];
    reference_attention_f64(&p->in, out, NULL, weights, NULL, NULL);
    double mean = 0;
    for (int i = 0; i < ROWS; i++)
      for (int e = 0; e < DIM; e++) {
        double squares = 0;
        for (int j = 0; j < KEYS; j++) squares += pow(weights[i * KEYS + j] * (double)p->v[j * DIM + e], 2);
        const double error = fmax(0, fabs((double)out_at(p, 0, 0, i, e) - out[i * DIM + e]) - 1e-6);
        mean += error * error / (0x1p-18 * squares) / (ROWS * DIM);
      }
    CHECK(mean <= 1, "%s on %s: root mean square error is %g of what it may be", ways[way].name, a4j_isa_active(), sqrt(mean));
    release(p);
  }
}

/*
 * The hardest rows for the bound of each number: only one key has a value, and its weight is rounded up as far as possible, all others
 * down. Weights that are divided by the sum of the rounded ones would make that number too large by up to 2^-7 of it.
 *
 * Logits are log2 of the weights: 1 for the first key, so that the maximum is 1 from there on; then just below and just above
 * 1 + 2^-8, which rounds to 1 and to 1 + 2^-7.
 */
static void shouldKeepTheBoundWhereRoundingIsWorst(void) {
  for (int way = 0; way < WAYS; way++)
    for (int64_t keys = 3; keys < 400; keys = keys * 2 + 1)
      for (int sign = -1; sign <= 1; sign += 2) {
        struct problem *p = make((struct shape){.len_q = 40, .len_k = keys, .dim_qk = 3, .dim_v = 9});
        p->d->scale = logf(2);
        for (int64_t i = 0; i < 40; i++) {
          /* k holds the logit in three parts of 8 bits, which q leaves as they are. */
          for (int e = 0; e < 3; e++) p->q[i * 3 + e] = 1;
        }
        for (int64_t j = 0; j < keys; j++) {
          const bool alone = j == keys / 2;
          double rest = j == 0 ? 0 : log2(1 + 0x1p-8 + (alone ? sign : -sign) * 0x1p-13);
          for (int e = 0; e < 3; e++) {
            p->k[j * 3 + e] = (float)half_value(A4J_BF16, half_nearest(A4J_BF16, rest));
            rest -= (double)p->k[j * 3 + e];
          }
          for (int e = 0; e < 9; e++) p->v[j * 9 + e] = alone ? (e % 2 ? 1 : -1) : 0;
        }
        go(p, &ways[way]);
        check(p, "the worst rounding");
        release(p);
      }
}

/* Whatever the weights, their sum is one: to a few units in the last place of float. */
static void shouldReturnValuesThatAreAllTheSame(void) {
  static const float values[] = {1, -1, 3.140625f, -0x1p100f, 0x1p-100f};
  for (int way = 0; way < WAYS; way++)
    for (int number = 0; number < 5; number++)
      for (int64_t rows = 1; rows < 100; rows = rows * 3 + 2)
        for (int causal = 0; causal < 3 && !(ways[way].kv == A4J_F16 && number > 2); causal++) {
          struct problem *p = plain(rows, 150, 24);
          for (int64_t i = 0; i < p->v_count; i++) p->v[i] = values[number];
          go(p, &ways[way]);
          set_causal(p->d, causal);
          if (causal == 1) with_mask(p, 0, SPECKLED);
          CHECK_INT(status_of(p), A4J_OK);
          for (int64_t h = 0; h < 2; h++)
            for (int64_t i = 0; i < rows; i++) {
              bool any = false;
              for (int64_t j = 0; j < 150; j++) any |= sees(&p->in, 0, h, i, j);
              const double got = out_at(p, 0, h, i, 5), wanted = any ? values[number] : 0;
              CHECK(fabs(got - wanted) <= 1e-6 * fabs(wanted), "%s on %s, row %d of %d: wanted %.9g, got %.9g", ways[way].name,
                    a4j_isa_active(), (int)i, (int)rows, wanted, got);
            }
          release(p);
        }
}

/* ---- What the option means -------------------------------------------------------------------------------------------------- */

/* On every tier and for any number of rows, a product of numbers that bfloat16 cannot hold is that of the rounded ones. */
static void shouldRoundInputsOnEveryTier(void) {
  for (int64_t rows = 1; rows < 60; rows += 19)
    for (int storage = A4J_F32; storage <= A4J_F16; storage += 2) {
      struct problem *p = make((struct shape){.len_q = rows, .len_k = 1, .dim_qk = 1, .dim_v = 1});
      with_scores(p, A4J_STAGE_SCALED);
      p->d->scale = 1;
      for (int64_t i = 0; i < rows; i++) p->q[i] = 1 + 0x1p-9f;
      p->k[0] = 1 + 0x1p-8f + 0x1p-10f;
      p->v[0] = 3 + 0x1p-7f;
      with_query_storage(p, storage, A4J_F32);
      with_kv_storage(p, storage);
      for (int rounds = 0; rounds < 2; rounds++) {
        p->d->arithmetic = rounds;
        CHECK_INT(status_of(p), A4J_OK);
        CHECK_NEAR(p->scores[GUARD], rounds ? 1 + 0x1p-7 : (1 + 0x1p-9) * (1 + 0x1p-8 + 0x1p-10), 1e-6);
        CHECK_NEAR(out_at(p, 0, 0, rows - 1, 0), rounds ? 3 : 3 + 0x1p-7, 1e-6);
      }
      free(p->scores);
      p->scores = NULL, p->scores_count = 0;
      CHECK_INT(status_of(p), A4J_OK);
      CHECK_NEAR(out_at(p, 0, 0, rows - 1, 0), 3, 1e-6);
      release(p);
    }
}

static void shouldRefuseWhatCannotBeRounded(void) {
  struct problem *p = plain(20, 20, 8);
  p->d->arithmetic = 2;
  CHECK_TEXT(a4j_status_name(status_of(p)), "A4J_BAD_OPTION");
  p->d->arithmetic = A4J_ARITHMETIC_BF16;
  CHECK_TEXT(a4j_status_name(status_of(p)), "A4J_OK");
  with_kv_storage(p, A4J_I8);
  CHECK_TEXT(a4j_status_name(status_of(p)), "A4J_BAD_OPTION");
  release(p);
}

/* ---- Threads ----------------------------------------------------------------------------------------------------------------- */

static void shouldGiveTheSameBitsForEveryThreadCount(void) {
  static const int64_t sizes[][2] = {{1, 3000}, {30, 1500}, {330, 330}};
  for (int way = 0; way < WAYS; way++)
    for (int size = 0; size < 3; size++)
      for (int option = 0; option < 4; option++) {
        struct problem *p = make((struct shape){.heads_kv = 2,
                                                .group = 2,
                                                .len_q = sizes[size][0],
                                                .len_k = sizes[size][1],
                                                .dim_qk = 32 + option % 2,
                                                .dim_v = 32,
                                                .maps = 1 + option % 2});
        go(p, &ways[way]);
        if (option == 1) p->d->window_left = 101, p->d->window_right = 0;
        if (option == 2) with_dropout(p), with_relative(p, 100);
        if (option == 3) with_weights(p), with_scores(p, A4J_STAGE_LOGITS);
        p->without_lse = option == 0;
        p->d->threads = 1;
        CHECK_INT(status_of(p), A4J_OK);
        const uint64_t once = hash_of(p);
        for (int32_t threads = 2; threads < 8; threads += 3) {
          p->d->threads = threads;
          CHECK_INT(status_of(p), A4J_OK);
          CHECK(hash_of(p) == once, "%s, len %d,%d: %d threads give other bits", ways[way].name, (int)sizes[size][0],
                (int)sizes[size][1], threads);
        }
        release(p);
      }
}

int main(void) {
  FOR_EACH_TIER (i) {
    seed = check_seed();
    printf("tier %s, seed %" PRIu64 "\n", a4j_isa_name(i), seed);
    RUN(shouldStandAwkwardNumbers);
    RUN(shouldBeWithinTheAverageError);
    RUN(shouldKeepTheBoundWhereRoundingIsWorst);
    RUN(shouldReturnValuesThatAreAllTheSame);
    RUN(shouldRoundInputsOnEveryTier);
    RUN(shouldRefuseWhatCannotBeRounded);
    RUN(shouldGiveTheSameBitsForEveryThreadCount);
  }
  return CHECK_RESULT();
}
