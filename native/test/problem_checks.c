/* Runs problems, and compares every output with the textbook formula. */
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "problem.h"

static const float GUARD_VALUE = -77.25f;

static void *memory(int64_t bytes) {
  void *p = malloc(bytes == 0 ? 1 : (size_t)bytes);
  if (p == NULL) abort();
  return p;
}

static float *floats(int64_t n) { return memory(n * (int64_t)sizeof(float)); }

/* ---- NaN and infinity -------------------------------------------------------------------------------------------------- */

/* Which key head and map the map m of head h reads. */
static int64_t k_offset(const struct problem *p, int64_t b, int64_t h, int m, int64_t j) {
  const a4j_attention_desc *d = p->d;
  const int64_t group = d->heads_q / d->heads_kv, x = (2 * h + m) / group;
  const bool heads = d->maps == 2 && d->key_map == A4J_KEY_HEADS;
  return p->k_shift + b * d->k.stride_batch + (heads ? x / 2 : h / group) * d->k.stride_head +
         (heads ? x % 2 : m) * d->k.stride_map + (keys_of(d, b).begin + j) * d->k.stride_row;
}

static int64_t v_offset(const struct problem *p, int64_t b, int64_t h, int part, int64_t j) {
  const a4j_attention_desc *d = p->d;
  return p->v_shift + b * d->v.stride_batch + h / (d->heads_q / d->heads_kv) * d->v.stride_head + part * d->v.stride_map +
         (keys_of(d, b).begin + j) * d->v.stride_row;
}

static int64_t q_offset(const struct problem *p, int64_t b, int64_t h, int m, int64_t i) {
  const a4j_attention_desc *d = p->d;
  return b * d->q.stride_batch + h * d->q.stride_head + m * d->q.stride_map + (rows_of(d, b).begin + i) * d->q.stride_row;
}

static int64_t bias_offset(const a4j_attention_desc *d, int64_t b, int64_t h, int64_t i, int64_t j) {
  return b * d->bias_stride_batch + h * d->bias_stride_head + i * d->bias_stride_row + j * d->bias_stride_key;
}

static int64_t lambda_offset(const a4j_attention_desc *d, int64_t b, int64_t h, int64_t i) {
  return b * d->lambda_stride_batch + h * d->lambda_stride_head + (rows_of(d, b).begin + i) * d->lambda_stride_row;
}

static float a_poison(void) {
  static const float poisons[] = {NAN, INFINITY, -INFINITY};
  return poisons[up_to(2)];
}

static void fill(float *row, int64_t width, float value) {
  for (int64_t e = 0; e < width; e++) row[e] = value;
}

/* Marks what some row needs: each row of a map of k, of a part of v, of q and of a table has its mark at its first
   element. */
struct needs {
  bool *q, *k, *v, *bias, *relative_keys, *relative_values;
};

static struct needs needs_of(const struct problem *p) {
  const a4j_attention_desc *d = p->d;
  struct needs n = {calloc(1, (size_t)p->q_count + 1),
                    calloc(1, (size_t)p->k_count + 1),
                    calloc(1, (size_t)p->v_count + 1),
                    calloc(1, (size_t)p->bias_count + 1),
                    calloc(1, (size_t)p->relative_keys_count + 1),
                    calloc(1, (size_t)p->relative_values_count + 1)};
  for (int64_t b = 0; b < d->batch; b++)
    for (int64_t h = 0; h < d->heads_q; h++)
      for (int64_t i = 0; i < rows_of(d, b).count; i++)
        for (int64_t j = 0; j < keys_of(d, b).count; j++) {
          if (!sees(&p->in, b, h, i, j)) continue;
          for (int m = 0; m < d->maps; m++) n.q[q_offset(p, b, h, m, i)] = n.k[k_offset(p, b, h, m, j)] = true;
          for (int part = 0; part < d->value_parts; part++) n.v[v_offset(p, b, h, part, j)] = true;
          if (p->bias != NULL) n.bias[bias_offset(d, b, h, i, j)] = true;
          const int64_t distance = j - position_of(d, b, i);
          const float *row =
              relative_row(d, p->relative_keys, d->relative_keys_stride_head, d->relative_keys_stride_row, h, distance);
          if (row != NULL) n.relative_keys[row - p->relative_keys] = true;
          row = relative_row(d, p->relative_values, d->relative_values_stride_head, d->relative_values_stride_row, h, distance);
          if (row != NULL && i >= d->relative_values_first) n.relative_values[row - p->relative_values] = true;
        }
  return n;
}

static void free_needs(struct needs n) {
  free(n.q), free(n.k), free(n.v), free(n.bias), free(n.relative_keys), free(n.relative_values);
}

/* Poisons the rows of a table that have no mark. */
static void poison_table(float *table, const bool *marks, int64_t count, int64_t stride_row, int64_t width) {
  for (int64_t at = 0; at < count; at += stride_row)
    if (!marks[at]) fill(table + at, width, a_poison());
}

void poison(struct problem *p) {
  const a4j_attention_desc *d = p->d;
  const struct needs n = needs_of(p);
  for (int64_t b = 0; b < d->batch; b++)
    for (int64_t h = 0; h < d->heads_q; h++) {
      for (int64_t j = 0; j < keys_of(d, b).count; j++) {
        for (int m = 0; m < d->maps; m++)
          if (!n.k[k_offset(p, b, h, m, j)]) fill(p->k + k_offset(p, b, h, m, j), d->dim_qk, a_poison());
        for (int part = 0; part < d->value_parts; part++)
          if (!n.v[v_offset(p, b, h, part, j)]) fill(p->v + v_offset(p, b, h, part, j), d->dim_v / d->value_parts, a_poison());
      }
      for (int64_t i = 0; i < rows_of(d, b).count; i++)
        if (!n.q[q_offset(p, b, h, 0, i)]) {
          for (int m = 0; m < d->maps; m++) fill(p->q + q_offset(p, b, h, m, i), d->dim_qk, a_poison());
          if (p->lambda != NULL) p->lambda[lambda_offset(d, b, h, i)] = a_poison();
        }
    }
  for (int64_t at = 0; at < p->bias_count; at++)
    if (!n.bias[at] && p->bias[at] != -INFINITY) p->bias[at] = one_in(2) ? NAN : INFINITY;
  poison_table(p->relative_keys, n.relative_keys, p->relative_keys_count, d->relative_keys_stride_row, d->dim_qk);
  poison_table(p->relative_values, n.relative_values, p->relative_values_count, d->relative_values_stride_row, d->dim_v);
  free_needs(n);
}

/* A random one of the marked places, or -1. */
static int64_t any_of(const bool *marks, int64_t count) {
  const int64_t start = count == 0 ? 0 : up_to(count - 1);
  for (int64_t x = 0; x < count; x++)
    if (marks[(start + x) % count]) return (start + x) % count;
  return -1;
}

void put_nan(struct problem *p) {
  const struct needs n = needs_of(p);
  const struct {
    float *to;
    const bool *marks;
    int64_t count, width;
  } places[] = {{p->q, n.q, p->q_count, p->d->dim_qk},
                {p->k, n.k, p->k_count, p->d->dim_qk},
                {p->v, n.v, p->v_count, p->d->dim_v / p->d->value_parts},
                {p->bias, n.bias, p->bias_count, 1},
                {p->relative_keys, n.relative_keys, p->relative_keys_count, p->d->dim_qk},
                {p->relative_values, n.relative_values, p->relative_values_count, p->d->dim_v}};
  int64_t x;
  do x = up_to(5);
  while ((x > 2 && places[x].count == 0) || ((x == 1 || x == 2) && p->kv_storage == A4J_I8)); /* a scale is a whole row's */
  const int64_t at = any_of(places[x].marks, places[x].count);
  if (at >= 0) places[x].to[at + up_to(places[x].width - 1)] = NAN;
  free_needs(n);
}

/* ---- Running ----------------------------------------------------------------------------------------------------------- */

static float *cleared(float *output, int64_t count) {
  if (output == NULL) return NULL;
  fill(output, count + 2 * GUARD, GUARD_VALUE);
  return output + GUARD;
}

int32_t status_of(struct problem *p) {
  float *out = cleared(p->out, p->out_count), *lse = cleared(p->lse, p->lse_count);
  float *weights = cleared(p->weights, p->weights_count), *scores = cleared(p->scores, p->scores_count);
  p->work = -1;
  return run_stored(p, out, lse, weights, scores);
}

static int64_t out_offset(const struct problem *p, int64_t b, int64_t h, int64_t i) {
  const a4j_attention_desc *d = p->d;
  return GUARD + b * d->out.stride_batch + h * d->out.stride_head + (rows_of(d, b).begin + i) * d->out.stride_row;
}

static int64_t lse_offset(const struct problem *p, int64_t b, int64_t h, int m, int64_t i) {
  const a4j_attention_desc *d = p->d;
  return GUARD + b * d->lse_stride_batch + h * d->lse_stride_head + m * d->lse_stride_map + rows_of(d, b).begin + i;
}

float out_at(const struct problem *p, int64_t b, int64_t h, int64_t i, int64_t e) { return p->out[out_offset(p, b, h, i) + e]; }
float lse_at(const struct problem *p, int64_t b, int64_t h, int m, int64_t i) { return p->lse[lse_offset(p, b, h, m, i)]; }

static uint64_t hash_floats(uint64_t hash, const float *x, int64_t count) {
  for (int64_t i = 0; x != NULL && i < count + 2 * GUARD; i++) {
    uint32_t bits;
    memcpy(&bits, x + i, sizeof bits);
    hash = (hash ^ bits) * 0x100000001b3u;
  }
  return hash;
}

uint64_t hash_of(const struct problem *p) {
  const uint64_t hash = hash_floats(hash_floats(14695981039346656037u, p->out, p->out_count), p->lse, p->lse_count);
  return hash_floats(hash_floats(hash, p->weights, p->weights_count), p->scores, p->scores_count);
}

/* ---- Comparing --------------------------------------------------------------------------------------------------------- */

static char sentence[1024];

const char *described(const struct problem *p, const char *what) {
  const a4j_attention_desc *d = p->d;
  snprintf(sentence, sizeof sentence,
           "%s; seed=%" PRIu64 " arithmetic=%d storage=%d,%d,%d pages=%" PRId64
           " maps=%d key_map=%d parts=%d batch=%d heads=%d/%d len=%d,%d dims=%d,%d%s%s align=%d window=%" PRId64 ",%" PRId64
           " chunk=%d limit=%d lengths=%s ranges=%d mask=%d key_mask=%d bias=%d keep=%d softcap=%g alibi=%d sinks=%d "
           "relative=%d,%" PRId64 ",%d first=%" PRId64 " harden=%d,%" PRId64
           " noise=%d dropout=%d,%d weights=%d scores=%d mask_program=%d score_program=%d threads=%d scale=%g tier=%s",
           what, p->seed, d->arithmetic, p->q_storage, p->kv_storage, p->out_storage, p->page_rows, d->maps, d->key_map,
           d->value_parts, (int)d->batch, (int)d->heads_q, (int)d->heads_kv, (int)d->len_q, (int)d->len_k, (int)d->dim_qk,
           (int)d->dim_v, d->q_begins_offset ? " packed" : "", d->lambda_form ? " sigmoid" : "", d->align, d->window_left,
           d->window_right, (int)d->chunk, (int)d->key_limit,
           d->key_lengths_offset == 0  ? "none"
           : d->key_lengths_stride_row ? "rows"
                                       : "batch",
           (int)d->range_rows, p->mask != NULL, p->key_mask != NULL, p->bias != NULL, p->keep != NULL, d->softcap,
           (d->slopes_offset != 0) + (d->slopes_stride_batch != 0), d->sinks_offset != 0, (int)d->relative_rows,
           d->relative_zero, d->beyond, d->relative_values_first, d->harden, d->harden_k, d->noisy + (p->noise != NULL),
           d->dropout, d->dropout_shared, p->weights != NULL, p->scores == NULL ? -1 : d->scores_stage,
           (int)d->mask_program_words, (int)d->score_program_words, d->threads, d->scale, a4j_isa_active());
  return sentence;
}

static double distance(double got, double wanted) {
  if (got == wanted || (isnan(got) && isnan(wanted))) return 0;
  return isnan(got) || isnan(wanted) ? INFINITY : fabs(got - wanted);
}

/* One output against the formula: the largest errors, and which of its elements were compared. */
struct agreement {
  const char *name;
  const float *got;
  int64_t count;
  bool *compared;
  int storage;                  /* its type: rounding to it does not count as an error */
  double error, plain, largest; /* ours, that of the plain float program, the largest finite number wanted */
  int64_t worst;                /* where our error is largest */
  double worst_wanted;
};

/* Half a unit in the last place of a number near x. */
static double half_unit(int storage, double x) {
  if (storage == A4J_F32 || !isfinite(x)) return 0;
  return storage == A4J_BF16 ? fmax(fabs(x) * 0x1p-8, 0x1p-134) : fmax(fabs(x) * 0x1p-11, 0x1p-25);
}

/* `allowed` is an additional error that is accepted. */
static void add(struct agreement *a, int64_t at, float plain, double wanted, double hardness, double allowed) {
  a->compared[at] = true;
  if (isinf(hardness) && !isnan(wanted) && isfinite(a->got[at])) return;
  if (!isfinite(allowed)) allowed = 0;
  const double error = fmax(0, distance(a->got[at], wanted) - half_unit(a->storage, wanted) - allowed) / hardness;
  if (error > a->error) {
    a->worst = at;
    a->worst_wanted = wanted;
    a->error = error;
  }
  const double of_plain = distance(plain, wanted) / hardness;
  if (isfinite(of_plain)) a->plain = fmax(a->plain, of_plain); /* an infinite allowance would accept everything */
  if (isfinite(wanted)) a->largest = fmax(a->largest, fabs(wanted));
}

/*
 * At most twice the error of the float formula. In a small case that error is a matter of luck, so there is slack besides. And
 * what was not compared must be untouched.
 */
static const char *judge(const struct problem *p, struct agreement *a, double slack) {
  char what[256];
  const char *result = NULL;
  if (!(a->error <= 2 * a->plain + slack)) {
    snprintf(what, sizeof what,
             "%s is off by %.3g, the plain float program by %.3g: element %" PRId64 ", wanted %.9g, got %.9g", a->name,
             a->error, a->plain, a->worst - GUARD, a->worst_wanted, a->got[a->worst]);
    result = described(p, what);
  }
  for (int64_t at = 0; result == NULL && at < a->count + 2 * GUARD; at++)
    if (!a->compared[at] && a->got[at] != GUARD_VALUE) {
      snprintf(what, sizeof what, "%s: element %" PRId64 " of %" PRId64 " is none of its rows, but was written: %g", a->name,
               at - GUARD, a->count, a->got[at]);
      result = described(p, what);
    }
  return result;
}

/* ---- Pairs of bfloat16 -------------------------------------------------------------------------------------------------- */

static float *copy_of(const float *from, int64_t count) {
  float *copy = floats(count);
  if (count > 0) memcpy(copy, from, sizeof(float) * (size_t)count);
  return copy;
}

/* Whether this run may round weights, or q to 16 bits. */
static bool rounds_weights(const struct problem *p) {
  const bool pairs = p->kv_storage == A4J_BF16 || p->d->arithmetic == A4J_ARITHMETIC_BF16;
  return pairs && p->d->harden == A4J_HARDEN_NONE && !p->scores && strcmp(a4j_isa_active(), "avx512bf16") == 0;
}
static bool rounds_queries(const struct problem *p) {
  return rounds_weights(p) && p->q_storage == A4J_F32 && p->d->arithmetic == A4J_ARITHMETIC_EXACT;
}

/* The sum of w |v| for each number of the output, both maps added up: the formula with these values, and -|lambda|. */
static double *magnitudes(const struct problem *p, const struct attention_call *of) {
  const a4j_attention_desc *d = p->d;
  const int64_t rows = d->batch * d->heads_q * d->len_q;
  double *sums = memory(8 * rows * d->dim_v);
  struct attention_call call = *of;
  a4j_attention_desc *own = memory(d->size_bytes);
  memcpy(own, d, (size_t)d->size_bytes);
  own->lambda_form = A4J_LAMBDA_AS_GIVEN;
  float *v = copy_of(of->v - p->v_shift, p->v_count), *lambda = copy_of(p->lambda, p->lambda_count);
  float *table = copy_of(p->relative_values, p->relative_values_count);
  for (int64_t i = 0; i < p->v_count; i++) v[i] = fabsf(v[i]);
  for (int64_t i = 0; i < p->relative_values_count; i++) table[i] = fabsf(table[i]);
  for (int64_t i = 0; i < p->lambda_count; i++)
    lambda[i] = d->lambda_form == A4J_LAMBDA_SIGMOID ? -1 / (1 + expf(-lambda[i])) : -fabsf(lambda[i]);
  call.d = own;
  call.v = v + p->v_shift;
  call.lambda = lambda;
  if (call.relative_values != NULL) call.relative_values = table;
  reference_attention_f64(&call, sums, NULL, NULL, NULL, NULL);
  free(v), free(lambda), free(table), free(own);
  return sums;
}

/* The largest |scale| sum of |q| |k| of any query and key that are finite. */
static double reach(const struct problem *p) {
  const a4j_attention_desc *d = p->d;
  double largest = 0;
  for (int64_t b = 0; b < d->batch; b++)
    for (int64_t h = 0; h < d->heads_q; h++)
      for (int m = 0; m < d->maps; m++)
        for (int64_t i = 0; i < rows_of(d, b).count; i++)
          for (int64_t j = 0; j < keys_of(d, b).count; j++) {
            const float *q = p->q + q_offset(p, b, h, m, i), *k = p->k + k_offset(p, b, h, m, j);
            double sum = 0;
            for (int64_t e = 0; e < d->dim_qk; e++) sum += fabs((double)q[e] * (double)k[e]);
            if (isfinite(sum)) largest = fmax(largest, fabs((double)d->scale) * sum);
          }
  return largest;
}

/*
 * The largest sum of |q k| times the scale, times the slope of the cap where the logit is. A cap keeps logits small even if products
 * are large; where it is steep, it passes the rounding of the products on.
 */
static double steepest_products(const struct problem *p) {
  const a4j_attention_desc *d = p->d;
  double most = 0;
  for (int64_t b = 0; b < d->batch && d->softcap > 0; b++)
    for (int64_t h = 0; h < d->heads_q; h++)
      for (int64_t i = 0; i < rows_of(d, b).count; i++)
        for (int64_t j = 0; j < keys_of(d, b).count; j++) {
          if (!sees(&p->in, b, h, i, j)) continue;
          for (int m = 0; m < d->maps; m++) {
            const float *q = p->q + q_offset(p, b, h, m, i), *k = p->k + k_offset(p, b, h, m, j);
            double sum = 0, sizes = 0;
            for (int64_t e = 0; e < d->dim_qk; e++) {
              sum += (double)q[e] * k[e];
              sizes += fabs((double)q[e] * k[e]);
            }
            const double t = tanh(sum * d->scale / d->softcap), here = sizes * fabs(d->scale) * (1 - t * t);
            if (here > most) most = here;
          }
        }
  return most;
}

const char *fault_of(struct problem *p) {
  const int32_t status = status_of(p);
  if (status != A4J_OK) return described(p, a4j_status_name(status));

  const a4j_attention_desc *d = p->d;
  const int64_t rows = d->batch * d->heads_q * d->len_q, full = rows * d->len_k;
  double *out = memory(8 * rows * d->dim_v), *lse = memory(8 * rows * d->maps);
  double *weights = p->weights ? memory(8 * full) : NULL, *scores = p->scores ? memory(8 * full * d->maps) : NULL;
  float *out32 = floats(rows * d->dim_v), *lse32 = floats(rows * d->maps);
  float *weights32 = p->weights ? floats(full) : NULL, *scores32 = p->scores ? floats(full * d->maps) : NULL;
  double *hardness = memory(8 * rows);
  for (int64_t x = 0; x < rows; x++) hardness[x] = 1;
  struct attention_call call = p->in;
  float *q = NULL, *k = NULL, *v = NULL;
  if (d->arithmetic == A4J_ARITHMETIC_BF16) {
    q = copy_of(p->q, p->q_count), k = copy_of(p->k, p->k_count), v = copy_of(p->v, p->v_count);
    round_all(A4J_BF16, q, p->q_count), round_all(A4J_BF16, k, p->k_count), round_all(A4J_BF16, v, p->v_count);
    call.q = q, call.k = k + p->k_shift, call.v = v + p->v_shift;
  }
  reference_attention_f64(&call, out, lse, weights, scores, hardness);
  reference_attention_f32(&call, out32, lse32, weights32, scores32, NULL);
  double *magnitude = rounds_weights(p) ? magnitudes(p, &call) : NULL;
  const double of_query = rounds_queries(p) ? 0x1p-16 * reach(p) : 0; /* in a logit; in a weight, twice that of it */
  free(q), free(k), free(v);

  struct agreement all[] = {{.name = "out", .got = p->out, .count = p->out_count, .storage = p->out_storage},
                            {.name = "lse", .got = p->lse, .count = p->lse_count},
                            {.name = "weights", .got = p->weights, .count = p->weights_count},
                            {.name = "scores", .got = p->scores, .count = p->scores_count}};
  for (int x = 0; x < 4; x++) all[x].compared = calloc(1, (size_t)all[x].count + 2 * GUARD);
  for (int64_t b = 0; b < d->batch; b++)
    for (int64_t h = 0; h < d->heads_q; h++)
      for (int64_t i = 0; i < rows_of(d, b).count; i++) {
        const int64_t row = (b * d->heads_q + h) * d->len_q + i;
        for (int64_t e = 0; e < d->dim_v; e++) {
          const double allowed = magnitude == NULL ? 0 : (0x1p-8 + 2 * of_query) * magnitude[row * d->dim_v + e];
          add(&all[0], out_offset(p, b, h, i) + e, out32[row * d->dim_v + e], out[row * d->dim_v + e], hardness[row], allowed);
        }
        for (int m = 0; m < d->maps; m++) {
          const int64_t row_of_map = ((b * d->heads_q + h) * d->maps + m) * d->len_q + i;
          if (!p->without_lse)
            add(&all[1], lse_offset(p, b, h, m, i), lse32[row_of_map], lse[row_of_map], 1, of_query);
          else if (isfinite(lse[row_of_map]))
            all[1].largest = fmax(all[1].largest, fabs(lse[row_of_map]));
          for (int64_t j = 0; p->scores && j < d->len_k; j++)
            add(&all[3], GUARD + row_of_map * d->len_k + j, scores32[row_of_map * d->len_k + j],
                scores[row_of_map * d->len_k + j], 1, 0);
        }
        for (int64_t j = 0; p->weights && j < d->len_k; j++)
          add(&all[2], GUARD + row * d->len_k + j, weights32[row * d->len_k + j], weights[row * d->len_k + j], hardness[row],
              2 * of_query * fmax(1, fabs(weights[row * d->len_k + j])));
      }

  p->error = all[0].error;
  p->plain_error = all[0].plain;
  p->largest_out = all[0].largest;

  /* A few ulp of the result, and what an error of 2 ulp in the largest logit, or of half an ulp of capped products, does to it. */
  const double slack = 4e-7 + 0x1p-22 * all[1].largest + 0x1p-24 * steepest_products(p);
  const double slacks[] = {slack * all[0].largest, slack, slack, 4e-7 + 0x1p-22 * all[3].largest};
  const char *result = NULL;
  for (int x = 0; x < 4; x++) {
    if (result == NULL && all[x].got != NULL) result = judge(p, &all[x], slacks[x]);
    free(all[x].compared);
  }
  free(out), free(lse), free(weights), free(scores), free(out32), free(lse32), free(weights32), free(scores32);
  free(hardness), free(magnitude);
  return result;
}

/*
 * Scores that may be computed for one batch and the heads of one group. A tile holds up to 48 rows, of one head or of the heads
 * of a group side by side; a block is up to 64 keys in a row. So a score may be computed if a row less than 48 away, of any of
 * the heads, sees a key less than 64 away. Lanes after the last row count as one more tile.
 */
static int64_t most_work(const struct problem *p, int64_t b, int64_t h_kv, int64_t *seen) {
  enum { ROWS = 48, KEYS = 64 };
  const a4j_attention_desc *d = p->d;
  const int64_t group = d->heads_q / d->heads_kv, rows = rows_of(d, b).count, keys = keys_of(d, b).count;
  bool *near = calloc(1, (size_t)(rows * keys) + 1), *wide = memory(keys + 1);
  int64_t area = 0, of_last = 0;
  for (int64_t i = 0; i < rows; i++) {
    bool *row = near + i * keys;
    for (int64_t j = 0; j < keys; j++)
      for (int64_t h = h_kv * group; h < (h_kv + 1) * group; h++)
        if (sees(&p->in, b, h, i, j)) {
          row[j] = true;
          ++*seen;
        }
    for (int64_t j = 0, to = -1; j < keys; j++) {
      if (row[j]) to = j + KEYS - 1;
      wide[j] = j <= to;
    }
    for (int64_t j = keys - 1, to = keys; j >= 0; j--) {
      if (row[j]) to = j - KEYS + 1;
      wide[j] |= j >= to;
    }
    for (int64_t j = 0; j < keys; j++) row[j] = wide[j];
  }
  for (int64_t j = 0; j < keys; j++) {
    int64_t above = -ROWS, below = 0;
    for (int64_t i = 0; i < rows; i++) {
      if (near[i * keys + j]) above = i;
      if (below < i) below = i;
      while (below < rows && (below < i || !near[below * keys + j])) below++;
      const bool counts = i - above < ROWS || (below < rows && below - i < ROWS);
      area += counts;
      if (i == rows - 1) of_last += counts;
    }
  }
  free(near), free(wide);
  return group * (area + (ROWS - 1) * of_last);
}

const char *work_fault_of(const struct problem *p) {
  int64_t least = 0, most = 0;
  for (int64_t b = 0; b < p->d->batch; b++)
    for (int64_t h = 0; h < p->d->heads_kv; h++) most += most_work(p, b, h, &least);
  least *= p->d->maps;
  most *= p->d->maps;
  if (least <= p->work && p->work <= most) return NULL;
  char what[128];
  snprintf(what, sizeof what, "computed %" PRId64 " scores of %" PRId64 " that are seen, %" PRId64 " in whole blocks", p->work,
           least, most);
  return described(p, what);
}
