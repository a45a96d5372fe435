/*
 * The options of a4j_attention, on every tier that this machine runs: seeded random combinations of all of them against the
 * textbook formula in double; each way of hiding keys, with NaN in what is hidden; what must not change results (threads, packing,
 * cuts); and the count of work.
 *
 * Every random problem also has NaN and infinity in everything that no row sees, guard zones, and a bound for its count of work.
 */
#include <stdlib.h>

#include "a4j.h"
#include "check.h"
#include "problem.h"
#include "programs.h"
#include "tiers.h"

#if defined(__SANITIZE_ADDRESS__)
enum { COMBINATIONS = 400 };
#else
enum { COMBINATIONS = 1500 };
#endif

static void check(struct problem *p, const char *what) {
  const char *fault = fault_of(p);
  CHECK(fault == NULL, "%s: %s", what, fault);
}

/* ---- Random combinations ------------------------------------------------------------------------------------------------ */

static void shouldMatchTheFormulaForRandomCombinationsOfAllOptions(void) {
  const int before = check_failures; /* of the tiers before this one */
  for (int i = 0; i < COMBINATIONS && check_failures < before + 20; i++) {
    struct problem *p = random_problem();
    poison(p);
    if (one_in(10)) put_nan(p);
    check(p, "random combination");
    const char *fault = work_fault_of(p);
    CHECK(fault == NULL, "%s", fault);
    release(p);
  }
}

/* Any storage of q, k and v, and out; sometimes in pages. */
static void store_somehow(struct problem *p) {
  const bool packed = p->d->k_begins_offset != 0;
  with_query_storage(p, (int)up_to(A4J_F16), (int)up_to(A4J_F16));
  with_kv_storage(p, (int)up_to(A4J_I8));
  if (p->kv_storage != A4J_I8 && one_in(3)) with_bf16_products(p);
  p->without_lse = one_in(2);
  if (!packed && one_in(2)) with_pages(p, A4J_PAGE_ROWS * (1 + up_to(2)));
}

static void shouldMatchTheFormulaOverWhatIsStored(void) {
  const int before = check_failures;
  for (int i = 0; i < COMBINATIONS && check_failures < before + 20; i++) {
    struct problem *p = random_problem();
    store_somehow(p);
    poison(p);
    if (one_in(10)) put_nan(p);
    check(p, "stored");
    release(p);
  }
}

/* Logits that a cap keeps small are as exact as their products, not as exact as their size suggests. */
static void shouldCapLargeProducts(void) {
  for (int i = 0; i < 100; i++) {
    struct problem *p = make((struct shape){
        .batch = 2, .heads_kv = 2, .len_q = 16, .len_k = 11, .dim_qk = 36, .dim_v = 32, .maps = 1 + i % 2, .range = 12});
    p->d->softcap = 0.5f + (float)(i % 5);
    p->d->scale = 0.3f;
    set_causal(p->d, 2);
    check(p, "capped");
    release(p);
  }
}

/* ---- Each way of hiding ------------------------------------------------------------------------------------------------- */

/* Each adds one option that hides keys, for shapes of every kind. */
static void by_causal(struct problem *p) { set_causal(p->d, 2); }
static void by_offsets(struct problem *p) {
  with_offsets(p);
  p->d->window_right = 0;
}
static void by_window(struct problem *p) {
  set_causal(p->d, 2);
  p->d->window_left = p->d->len_k / 3;
  p->d->window_right = 2;
}
static void by_chunk(struct problem *p) { p->d->chunk = 1 + p->d->len_k / 3; }
static void by_key_limit(struct problem *p) { with_key_limit(p, p->d->len_k / 2); }
static void by_lengths(struct problem *p) { with_lengths(p); }
static void by_row_lengths(struct problem *p) { with_row_lengths(p, false); }
static void by_ranges(struct problem *p) { with_ranges(p, 3, true, true); }
static void by_mask(struct problem *p) { with_mask(p, 0, SPECKLED), with_key_mask(p, true, SECOND_HALF); }
static void by_blocks_of_mask(struct problem *p) { with_mask(p, 0, SECOND_HALF); }
static void by_key_mask(struct problem *p) { with_key_mask(p, false, SPECKLED); }
static void by_bias(struct problem *p) { with_bias(p, OVER_ROWS, true, SPECKLED); }
static void by_blocks_of_bias(struct problem *p) { with_bias(p, 0, true, SECOND_HALF); }
static void by_mask_program(struct problem *p) { with_mask_program(p, 1); }
static void by_documents(struct problem *p) { with_mask_program(p, 0); }

static const struct {
  const char *name;
  void (*apply)(struct problem *);
} ways[] = {
    {"causal", by_causal},
    {"offsets", by_offsets},
    {"window", by_window},
    {"chunk", by_chunk},
    {"key_limit", by_key_limit},
    {"lengths", by_lengths},
    {"row lengths", by_row_lengths},
    {"ranges", by_ranges},
    {"mask", by_mask},
    {"half a mask", by_blocks_of_mask},
    {"key_mask", by_key_mask},
    {"bias", by_bias},
    {"half a bias", by_blocks_of_bias},
    {"mask program", by_mask_program},
    {"documents", by_documents},
};
enum { WAYS = sizeof ways / sizeof *ways };

/* A row, few rows with several chunks of keys, some, a tile and its neighbours, several tiles. */
static const int64_t shapes[][2] = {{1, 40},  {1, 1700}, {3, 1300}, {8, 600},  {20, 1100},
                                    {45, 45}, {48, 64},  {49, 130}, {130, 200}};
enum { SHAPES = sizeof shapes / sizeof *shapes };

static struct shape shape_number(int number, int maps) {
  return (struct shape){.batch = 2,
                        .heads_kv = 1,
                        .group = 2,
                        .len_q = shapes[number][0],
                        .len_k = shapes[number][1],
                        .dim_qk = 12,
                        .dim_v = 10,
                        .maps = maps,
                        .gap = 1};
}

static void shouldNotLetHiddenValuesLeak(void) {
  for (int way = 0; way < WAYS; way++)
    for (int number = 0; number < SHAPES; number++)
      for (int maps = 1; maps <= 2; maps++) {
        struct problem *p = make(shape_number(number, maps));
        const int more = (way + number + maps) % 3;
        ways[way].apply(p);
        if (maps == 1 && more != 0) with_relative(p, 60);
        if (more == 1) with_weights(p);
        if (more == 1) with_scores(p, A4J_STAGE_LOGITS);
        if (more == 2) with_sinks(p);
        poison(p);
        check(p, ways[way].name);
        const char *fault = work_fault_of(p);
        CHECK(fault == NULL, "%s: %s", ways[way].name, fault);
        release(p);
      }
}

static void shouldKeepPackedSequencesApart(void) {
  static const int32_t lens[][6] = {{5, 0, 70, 1, 200, 3}, {1, 1, 1, 1, 1, 1}, {0, 0, 49, 0, 48, 0}, {530, 7, 0, 1, 2, 64}};
  for (int kind = 0; kind < 4; kind++)
    for (int keys = 0; keys < 4; keys++)
      for (int causal = 0; causal < 3; causal++) {
        struct problem *p = make((struct shape){
            .batch = 6, .group = 2, .q_lens = lens[kind], .k_lens = lens[keys], .dim_qk = 8, .dim_v = 8, .maps = 1 + kind % 2});
        set_causal(p->d, causal);
        /* Each sequence in turn is NaN: all others are as they were. */
        for (int b = 0; causal == 1 && b < 6; b++) {
          float *k = p->k + keys_of(p->d, b).begin * p->d->k.stride_row, before[8];
          if (keys_of(p->d, b).count == 0) continue;
          memcpy(before, k, sizeof before);
          for (int e = 0; e < 8; e++) k[e] = NAN;
          check(p, "packed");
          memcpy(k, before, sizeof before);
        }
        check(p, "packed");
        release(p);
      }
}

static void shouldGiveRowsThatSeeNothingTheirSink(void) {
  for (int number = 0; number < SHAPES; number++)
    for (int maps = 1; maps <= 2; maps++) {
      struct problem *p = make(shape_number(number, maps));
      with_sinks(p);
      with_key_limit(p, 0);
      with_weights(p);
      poison(p);
      check(p, "sinks");
      const float *sinks = tail_of(p->d, p->d->sinks_offset);
      for (int64_t h = 0; h < 2; h++)
        for (int m = 0; m < maps; m++)
          for (int64_t i = 0; i < p->d->len_q; i++) {
            CHECK(lse_at(p, 1, h, m, i) == sinks[h * maps + m], "row %d: lse is %g, its sink %g", (int)i, lse_at(p, 1, h, m, i),
                  sinks[h * maps + m]);
            CHECK(out_at(p, 1, h, i, 3) == 0, "row %d is %g", (int)i, out_at(p, 1, h, i, 3));
          }
      release(p);
    }
}

static void shouldShowNanInTheRowsThatSeeItAndInNoOthers(void) {
  for (int way = 0; way < WAYS; way++)
    for (int number = 0; number < SHAPES; number++) {
      struct problem *p = make(shape_number(number, 1 + (way + number) % 2));
      ways[way].apply(p);
      if (p->d->maps == 1) with_relative(p, 60);
      put_nan(p);
      check(p, ways[way].name);
      release(p);
    }
}

/* Hidden weights are told by being -0.0, which a negative weight times 0 is too. */
static void shouldShowNanUnderDroppedWeightsThatNoiseMadeNegative(void) {
  for (int i = 0; i < 100; i++) {
    struct problem *p =
        make((struct shape){.batch = 1, .heads_kv = 1, .group = 2, .len_q = 7, .len_k = 12, .dim_qk = 9, .dim_v = 4});
    set_causal(p->d, 2);
    p->d->harden = A4J_HARDEN_TOP_K;
    p->d->harden_k = 1 + up_to(11);
    p->d->noisy = 1;
    p->d->noise_weight = 0.2f;
    p->d->noise_seed = (int64_t)next();
    with_dropout(p);
    put_nan(p);
    check(p, "noise and dropout");
    release(p);
  }
}

/* ---- Threads -------------------------------------------------------------------------------------------------------------- */

static void compare_threads(struct problem *p, const char *what) {
  p->d->threads = 1;
  CHECK_INT(status_of(p), A4J_OK);
  const uint64_t once = hash_of(p);
  static const int32_t counts[] = {2, 3, 7};
  for (int i = 0; i < 3; i++) {
    p->d->threads = counts[i];
    CHECK_INT(status_of(p), A4J_OK);
    CHECK(hash_of(p) == once, "%s, len %d,%d: %d threads give other bits", what, (int)p->d->len_q, (int)p->d->len_k, counts[i]);
  }
}

/* Large enough for the planner to take them all. */
static void shouldGiveTheSameBitsForEveryThreadCount(void) {
  static const int64_t sizes[][2] = {{1, 4000}, {3, 3000}, {30, 1500}, {170, 200}, {330, 130}};
  for (int size = 0; size < 5; size++)
    for (int way = -1; way < WAYS; way++) {
      struct problem *p = make((struct shape){.batch = 1,
                                              .heads_kv = 2,
                                              .group = 2,
                                              .len_q = sizes[size][0],
                                              .len_k = sizes[size][1],
                                              .dim_qk = 32,
                                              .dim_v = 32,
                                              .maps = 1 + (way & 1)});
      if (way >= 0) ways[way].apply(p);
      if (p->d->maps == 1) with_relative(p, 200);
      if (way % 4 == 1) with_sinks(p), with_alibi(p);
      if (way % 4 == 3) with_weights(p), with_scores(p, A4J_STAGE_CAPPED);
      const uint64_t drawn = seed;
      if (way % 3 == 0) with_dropout(p);
      if (way % 3 == 1 && p->d->maps == 1) with_hardening(p);
      seed = drawn;
      compare_threads(p, way < 0 ? "everything seen" : ways[way].name);
      release(p);
    }
  static const int32_t lens[] = {300, 0, 1, 5, 200, 700};
  struct problem *p =
      make((struct shape){.batch = 6, .heads_kv = 2, .group = 2, .q_lens = lens, .k_lens = lens, .dim_qk = 32, .dim_v = 32});
  set_causal(p->d, 1);
  compare_threads(p, "packed");
  release(p);
}

/* ---- What must not matter ------------------------------------------------------------------------------------------------- */

/* Sequence b of a packed problem as a call of its own, with outputs of its own. Frees nothing of p. */
static struct problem alone(const struct problem *p, int64_t b) {
  const struct span rows = rows_of(p->d, b), keys = keys_of(p->d, b);
  struct problem one = *p;
  one.d = malloc((size_t)p->d->size_bytes);
  one.out = malloc(sizeof(float) * (size_t)(p->out_count + 2 * GUARD));
  one.lse = malloc(sizeof(float) * (size_t)(p->lse_count + 2 * GUARD));
  if (one.d == NULL || one.out == NULL || one.lse == NULL) abort();
  memcpy(one.d, p->d, (size_t)p->d->size_bytes);
  one.in.d = one.d;
  one.d->batch = 1;
  one.d->len_q = rows.count;
  one.d->len_k = one.d->key_limit = keys.count;
  one.d->q_begins_offset = one.d->k_begins_offset = 0;
  if (one.d->row_offsets_offset != 0) one.d->row_offsets_offset += 4 * b;
  if (one.d->slopes_offset != 0) one.d->slopes_offset += 4 * b * one.d->slopes_stride_batch;
  if (one.d->key_lengths_offset != 0) one.d->key_lengths_offset += 4 * b;
  one.in.q += rows.begin * p->d->q.stride_row;
  one.in.k += keys.begin * p->d->k.stride_row;
  one.in.v += keys.begin * p->d->v.stride_row;
  if (one.in.lambda != NULL) one.in.lambda += rows.begin * p->d->lambda_stride_row;
  return one;
}

static void shouldGivePackedSequencesTheBitsThatTheyHaveAlone(void) {
  for (int times = 0; times < 30; times++) {
    int32_t q_lens[4], k_lens[4];
    random_lens(q_lens, 4, times % 3 == 0 ? 200 : 20);
    random_lens(k_lens, 4, times % 2 == 0 ? 1200 : 90);
    struct problem *p = make((struct shape){.batch = 4,
                                            .heads_kv = 2,
                                            .group = 2,
                                            .q_lens = q_lens,
                                            .k_lens = k_lens,
                                            .dim_qk = 9,
                                            .dim_v = 6,
                                            .maps = 1 + times % 2});
    set_causal(p->d, (int)up_to(2));
    if (one_in(3)) with_offsets(p);
    if (one_in(3)) with_lengths(p);
    if (one_in(3)) with_alibi(p);
    if (one_in(3)) with_sinks(p);
    if (one_in(3)) with_score_program(p, (int)up_to(SCORE_PROGRAMS - 1));
    if (one_in(3)) with_mask_program(p, (int)up_to(1));
    if (one_in(3)) p->d->softcap = 3;
    if (p->d->maps == 1 && one_in(2)) with_relative(p, 100);
    if (one_in(3)) p->d->window_left = up_to(300);
    CHECK_INT(status_of(p), A4J_OK);
    for (int64_t b = 0; b < 4; b++) {
      struct problem one = alone(p, b);
      int64_t others = 0;
      CHECK_INT(status_of(&one), A4J_OK);
      for (int64_t h = 0; h < 4; h++)
        for (int64_t i = 0; i < rows_of(p->d, b).count; i++) {
          for (int64_t e = 0; e < 6; e++) others += out_at(p, b, h, i, e) != out_at(&one, 0, h, i, e);
          for (int m = 0; m < p->d->maps; m++) others += lse_at(p, b, h, m, i) != lse_at(&one, 0, h, m, i);
        }
      CHECK(others == 0, "sequence %d of %d rows, %d keys: %d numbers are others than alone, on %s", (int)b, q_lens[b],
            k_lens[b], (int)others, a4j_isa_active());
      free(one.d), free(one.out), free(one.lse);
    }
    release(p);
  }
}

/* The largest difference of two arrays; NaN if only one has NaN somewhere. */
static double difference(const float *a, const float *b, int64_t count) {
  double largest = 0;
  for (int64_t i = 0; i < count; i++)
    if (!(a[i] == b[i]) && !(isnan(a[i]) && isnan(b[i]))) {
      const double d = fabs((double)a[i] - b[i]);
      if (!(d <= largest)) largest = d;
    }
  return largest;
}

static float *copy_of(const float *from, int64_t count) {
  float *copy = malloc(sizeof(float) * (size_t)(count == 0 ? 1 : count));
  if (copy == NULL) abort();
  return memcpy(copy, from, sizeof(float) * (size_t)count);
}

/* Keys in chunks, merged in the end, against keys that one tile walks: what is asked for decides, here the weights. */
static void shouldGiveTheSameForKeysInChunks(void) {
  for (int way = 0; way < WAYS; way++)
    for (int few = 0; few < 2; few++) {
      struct problem *p = make((struct shape){.heads_kv = 1 + up_to(1),
                                              .len_q = few ? 1 + up_to(7) : 9 + up_to(39),
                                              .len_k = 513 + up_to(700),
                                              .dim_qk = 7,
                                              .dim_v = 6,
                                              .maps = 1 + (int)up_to(1)});
      ways[way].apply(p);
      if (p->d->maps == 1) with_relative(p, 500);
      if (way % 3 == 0) with_sinks(p);
      if (way % 3 == 1) with_score_program(p, 0);
      CHECK_INT(status_of(p), A4J_OK);
      float *out = copy_of(p->out, p->out_count + 2 * GUARD), *lse = copy_of(p->lse, p->lse_count + 2 * GUARD);
      with_weights(p);
      CHECK_INT(status_of(p), A4J_OK);
      const double out_error = difference(out, p->out, p->out_count + 2 * GUARD);
      const double lse_error = difference(lse, p->lse, p->lse_count + 2 * GUARD);
      CHECK(out_error <= 1e-5 && lse_error <= 1e-5, "%s, %d rows, %d keys: out differs by %g, lse by %g", ways[way].name,
            (int)p->d->len_q, (int)p->d->len_k, out_error, lse_error);
      free(out), free(lse);
      release(p);
    }
}

/* Copies of the keys and values for every batch, in place of those that all batches share. */
static void unshare(struct problem *p) {
  float *k = malloc(sizeof(float) * (size_t)(p->d->batch * p->k_count));
  float *v = malloc(sizeof(float) * (size_t)(p->d->batch * p->v_count));
  if (k == NULL || v == NULL) abort();
  for (int64_t b = 0; b < p->d->batch; b++) {
    memcpy(k + b * p->k_count, p->k, sizeof(float) * (size_t)p->k_count);
    memcpy(v + b * p->v_count, p->v, sizeof(float) * (size_t)p->v_count);
  }
  free(p->k), free(p->v);
  p->in.k = p->k = k;
  p->in.v = p->v = v;
  p->d->k.stride_batch = p->k_count;
  p->d->v.stride_batch = p->v_count;
}

static void shouldReadSharedKeysAsItReadsCopies(void) {
  static const int64_t batches[] = {2, 3, 7, 50, 1000};
  for (int number = 0; number < 5; number++)
    for (int64_t len_q = 1; len_q < 60; len_q += 29) {
      struct problem *p = make((struct shape){.batch = batches[number],
                                              .heads_kv = 1,
                                              .group = 2,
                                              .len_q = len_q,
                                              .len_k = number == 4 ? 20 : 600,
                                              .dim_qk = 5,
                                              .dim_v = 4,
                                              .maps = 1 + number % 2,
                                              .shared_keys = true});
      set_causal(p->d, 2);
      with_sinks(p);
      if (batches[number] <= 50) with_lengths(p);
      with_mask_program(p, 2);
      CHECK_INT(status_of(p), A4J_OK);
      float *out = copy_of(p->out, p->out_count + 2 * GUARD), *lse = copy_of(p->lse, p->lse_count + 2 * GUARD);
      unshare(p);
      CHECK_INT(status_of(p), A4J_OK);
      const double out_error = difference(out, p->out, p->out_count + 2 * GUARD);
      const double lse_error = difference(lse, p->lse, p->lse_count + 2 * GUARD);
      CHECK(out_error <= 1e-5 && lse_error <= 1e-5, "%d batches of %d rows: out differs by %g, lse by %g", (int)p->d->batch,
            (int)len_q, out_error, lse_error);
      free(out), free(lse);
      release(p);
    }
}

/* ---- Odd, but valid ----------------------------------------------------------------------------------------------------- */

static void set_offsets(struct problem *p, int32_t offset) {
  const int64_t batch = p->d->batch;
  int32_t offsets[8];
  for (int64_t b = 0; b < batch; b++) offsets[b] = offset;
  const int64_t at = append(p, offsets, 4 * batch);
  p->d->align = A4J_ALIGN_OFFSETS;
  p->d->row_offsets_offset = at;
}

static void shouldStandPositionsAndWindowsAtTheEndsOfIntegers(void) {
  static const int32_t offsets[] = {INT32_MIN, INT32_MIN + 1, -100, 0, INT32_MAX - 1, INT32_MAX};
  static const int64_t bounds[] = {A4J_UNBOUNDED, 0, 5, INT32_MAX, (int64_t)INT32_MAX + 60, INT64_MAX - 1, INT64_MAX};
  static const int64_t chunks[] = {0, 1, 3, INT32_MAX, (int64_t)1 << 31, INT64_MAX - 1, INT64_MAX};
  for (int offset = 0; offset < 6; offset++)
    for (int left = 0; left < 7; left++)
      for (int right = 0; right < 7; right++) {
        struct problem *p = make((struct shape){
            .batch = 2, .len_q = right % 2 ? 3 : 50, .len_k = 70, .dim_qk = 1, .dim_v = 2, .maps = 1 + left % 2});
        set_offsets(p, offsets[offset]);
        p->d->window_left = bounds[left];
        p->d->window_right = bounds[right];
        p->d->chunk = chunks[up_to(6)];
        poison(p);
        check(p, "far positions");
        release(p);
      }
}

/* A distance that float cannot hold to the last unit must still tell one key from the next. */
static void shouldKeepTheSlopeOfAlibiAtFarPositions(void) {
  static const int32_t offsets[] = {(1 << 24) - 20, (1 << 24) + 3, (1 << 25) + 7, -(1 << 26)};
  for (int number = 0; number < 4; number++)
    for (int64_t len_q = 3; len_q < 60; len_q += 47) {
      struct problem *p = make((struct shape){.batch = 1, .len_q = len_q, .len_k = 70, .dim_qk = 2, .dim_v = 2});
      set_offsets(p, offsets[number]);
      with_alibi(p);
      check(p, "far ALiBi");
      release(p);
    }
}

static void shouldStandSizesAtTheirEnds(void) {
  for (int64_t len_q = 1; len_q <= 60; len_q += 59)
    for (int maps = 1; maps <= 2; maps++) {
      /* no keys, with sinks */
      struct problem *p = make((struct shape){.batch = 2, .len_q = len_q, .len_k = 0, .dim_qk = 3, .dim_v = 2, .maps = maps});
      with_sinks(p);
      with_weights(p);
      check(p, "no keys");
      release(p);

      /* a head for every slope that there is, one channel each */
      p = make((struct shape){.heads_kv = 1, .group = 64, .len_q = len_q, .len_k = 600, .dim_qk = 1, .dim_v = 1, .maps = maps});
      with_alibi(p);
      set_causal(p->d, 2);
      check(p, "64 heads to a group");
      release(p);

      /* a block of ranges for each row, a range for each second key */
      p = make((struct shape){.batch = 2, .len_q = len_q, .len_k = 90, .dim_qk = 2, .dim_v = 2, .maps = maps});
      int32_t starts[61], ranges[60][2];
      for (int i = 0; i <= len_q; i++) starts[i] = i;
      for (int i = 0; i < len_q; i++) ranges[i][0] = i, ranges[i][1] = i + 1;
      const int64_t starts_at = append(p, starts, 4 * (len_q + 1)), ranges_at = append(p, ranges, 8 * len_q);
      p->d->range_rows = 1;
      p->d->range_lists = len_q;
      p->d->range_starts_offset = starts_at;
      p->d->ranges_offset = ranges_at;
      poison(p);
      check(p, "one key a row");
      release(p);

      /* lists without a range, and no array of ranges */
      p = make((struct shape){.batch = 2, .len_q = len_q, .len_k = 90, .dim_qk = 2, .dim_v = 2, .maps = maps});
      const int32_t none[2] = {0, 0};
      const int64_t none_at = append(p, none, sizeof none);
      p->d->range_rows = INT64_MAX;
      p->d->range_lists = 1;
      p->d->range_starts_offset = none_at;
      poison(p);
      check(p, "lists without a range");
      release(p);

      /* all batches share one length, whatever their number */
      p = make(
          (struct shape){.batch = 100, .len_q = len_q, .len_k = 9, .dim_qk = 2, .dim_v = 2, .maps = maps, .shared_keys = true});
      const int32_t length = 5;
      const int64_t length_at = append(p, &length, sizeof length);
      p->d->key_lengths_offset = length_at;
      set_causal(p->d, 2);
      poison(p);
      check(p, "one length for all");
      release(p);

      /* no channels at all: every key weighs the same */
      p = make((struct shape){.batch = 2, .len_q = len_q, .len_k = 9, .dim_qk = 2, .dim_v = 2, .maps = maps});
      p->d->dim_qk = 0;
      check(p, "no channels");
      release(p);
    }
}

/* A score program may hide all of one map's keys and none of the other's. */
static double positive_alone(const void *context, double score, int64_t b, int64_t h, int64_t i, int64_t j) {
  (void)context, (void)b, (void)h, (void)i, (void)j;
  return score < 0 ? -INFINITY : score;
}

static void shouldTellWhichMapSawNothing(void) {
  struct code c = {.count = 0};
  const int score = step(&c, A4J_OP_SCORE, 0, 0, 0, 'F');
  const int hidden = step(&c, A4J_OP_LESS, score, literal_float(&c, 0), 0, 'B');
  step(&c, A4J_OP_SELECT, hidden, literal_float(&c, -INFINITY), score, 'F');
  for (int64_t len_q = 4; len_q < 60; len_q += 46)
    for (int sinks = 0; sinks < 2; sinks++) {
      struct problem *p = make((struct shape){.len_q = len_q, .len_k = 70, .dim_qk = 1, .dim_v = 4, .maps = 2});
      for (int64_t i = 0; i < 2 * len_q; i++) p->q[i] = next() & 1 ? 1 : -1;
      for (int64_t j = 0; j < 2 * 70; j++) p->k[j] = 1 + up_to(3);
      if (sinks) with_sinks(p);
      if (!sinks) p->lambda[0] = NAN;
      with_score_code(p, &c, positive_alone);
      check(p, "one map sees nothing");
      with_weights(p);
      check(p, "one map sees nothing, weights");
      release(p);
    }
}

/* Lists of every length, full and not, with repeated weights; and values beyond all lists. */
static void shouldFindTheWeightThatKIsAbout(void) {
  static const int64_t ks[] = {1, 2, 8, 9, 17, 32, 33, 64, 100, 128, 200, 256, 257, 511, 520, 699, 700, 701};
  static const int64_t lens[] = {30, 130, 700}, kinds[] = {2, 40, 1500};
  for (int len = 0; len < 3; len++)
    for (int kind = 0; kind < 3; kind++)
      for (int x = 0; x < 2 * (int)(sizeof ks / sizeof *ks); x++) {
        struct problem *p = make((struct shape){.len_q = 50, .len_k = lens[len], .dim_qk = 1, .dim_v = 3});
        p->d->harden = x & 1 ? A4J_HARDEN_TOP_K : A4J_HARDEN_SUBTRACT;
        p->d->harden_k = ks[x / 2];
        for (int64_t i = 0; i < 50; i++) p->q[i] = next() & 1 ? 1 : -1;
        for (int64_t j = 0; j < lens[len]; j++) p->k[j] = 0.01f * (float)up_to(kinds[kind]) / p->d->scale;
        if (kind == 1) set_causal(p->d, 2);
        with_weights(p);
        check(p, "k-th weight");
        release(p);
      }
}

/* More blocks than a tile can save before their sums are known. */
static void shouldReturnTheWeightsOfManyBlocks(void) {
  for (int way = 0; way < 4; way++) {
    struct problem *p = make((struct shape){.len_q = 60, .len_k = 4500, .dim_qk = 3, .dim_v = 3});
    if (way == 1) set_causal(p->d, 2);
    if (way == 2) with_ranges(p, 60, false, false);
    if (way == 3) with_mask(p, 0, PATCHES);
    if (way > 0) with_sinks(p);
    with_weights(p);
    check(p, "weights of many blocks");
    release(p);
  }
}

/* ---- Work ----------------------------------------------------------------------------------------------------------------- */

/* Runs, checks the bounds of the work, and gives it as a share of all scores. */
static double share_of_work(struct problem *p) {
  const char *fault = NULL;
  CHECK_INT(status_of(p), A4J_OK);
  CHECK((fault = work_fault_of(p)) == NULL, "%s", fault);
  const a4j_attention_desc *d = p->d;
  const double share = (double)p->work / (double)(d->batch * d->heads_q * d->maps) / (double)(d->len_q * d->len_k);
  release(p);
  return share;
}

static void shouldComputeOnlyBlocksThatSomeRowSees(void) {
  const struct shape square = {.len_q = 960, .len_k = 960, .dim_qk = 4, .dim_v = 4};
  struct problem *p = make(square);
  double share = share_of_work(p);
  CHECK(share == 1, "everything is seen, %g is computed", share);

  p = make(square);
  set_causal(p->d, 1);
  share = share_of_work(p);
  CHECK(share < 0.57, "half is seen, %g is computed", share);

  p = make((struct shape){.len_q = 8192, .len_k = 8192, .dim_qk = 2, .dim_v = 2});
  p->d->window_left = 127;
  p->d->window_right = 0;
  CHECK_INT(status_of(p), A4J_OK);
  share = (double)p->work / 8192 / 8192;
  CHECK(share > 0.015 && share < 0.036, "128 keys of 8192 are seen, %g is computed", share);
  release(p);

  p = make(square);
  p->d->chunk = 96;
  share = share_of_work(p);
  CHECK(share < 0.2, "a tenth is seen, %g is computed", share);

  p = make(square);
  static const int32_t ranges[][2] = {{64, 128}, {320, 321}, {896, 960}};
  with_one_list(p, 3, ranges);
  share = share_of_work(p);
  CHECK(share < 0.27, "129 keys of 960 are seen, %g is computed", share);

  p = make(square);
  with_mask(p, 0, SECOND_HALF);
  share = share_of_work(p);
  CHECK(share < 0.55, "half a mask is hidden, %g is computed", share);

  p = make(square);
  with_mask(p, OVER_BATCH | OVER_HEADS | OVER_ROWS, SECOND_HALF);
  share = share_of_work(p);
  CHECK(share < 0.55, "half a mask of keys is hidden, %g is computed", share);

  p = make(square);
  with_key_mask(p, true, SECOND_HALF);
  share = share_of_work(p);
  CHECK(share < 0.55, "half of the keys are padding, %g is computed", share);

  p = make(square);
  with_bias(p, 0, true, SECOND_HALF);
  share = share_of_work(p);
  CHECK(share < 0.55, "half of a bias is -infinity, %g is computed", share);

  p = make(square);
  with_key_limit(p, 100);
  share = share_of_work(p);
  CHECK(share < 0.14, "100 keys of 960 are seen, %g is computed", share);

  p = make((struct shape){.len_q = 1, .len_k = 4096, .dim_qk = 4, .dim_v = 4});
  set_causal(p->d, 2);
  p->d->window_left = 511;
  share = share_of_work(p);
  CHECK(share < 0.16, "one row sees 512 keys of 4096, %g is computed", share);

  static const int32_t lens[] = {64, 64, 64, 64, 64, 64, 64, 64};
  p = make((struct shape){.batch = 8, .q_lens = lens, .k_lens = lens, .dim_qk = 4, .dim_v = 4});
  share = share_of_work(p);
  CHECK(share <= 1.5, "of packed sequences %g is computed", share);
}

int main(void) {
  FOR_EACH_TIER (i) {
    seed = check_seed();
    printf("tier %s, seed %" PRIu64 "\n", a4j_isa_name(i), seed);
    RUN(shouldMatchTheFormulaForRandomCombinationsOfAllOptions);
    RUN(shouldMatchTheFormulaOverWhatIsStored);
    RUN(shouldCapLargeProducts);
    RUN(shouldNotLetHiddenValuesLeak);
    RUN(shouldKeepPackedSequencesApart);
    RUN(shouldGiveRowsThatSeeNothingTheirSink);
    RUN(shouldShowNanInTheRowsThatSeeItAndInNoOthers);
    RUN(shouldShowNanUnderDroppedWeightsThatNoiseMadeNegative);
    RUN(shouldGiveTheSameBitsForEveryThreadCount);
    RUN(shouldGivePackedSequencesTheBitsThatTheyHaveAlone);
    RUN(shouldGiveTheSameForKeysInChunks);
    RUN(shouldReadSharedKeysAsItReadsCopies);
    RUN(shouldStandPositionsAndWindowsAtTheEndsOfIntegers);
    RUN(shouldKeepTheSlopeOfAlibiAtFarPositions);
    RUN(shouldStandSizesAtTheirEnds);
    RUN(shouldTellWhichMapSawNothing);
    RUN(shouldFindTheWeightThatKIsAbout);
    RUN(shouldReturnTheWeightsOfManyBlocks);
    RUN(shouldComputeOnlyBlocksThatSomeRowSees);
  }
  return CHECK_RESULT();
}
