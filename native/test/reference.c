/* The textbook formula, in double and in float. */
#include "reference.h"

#include <math.h>
#include <stdlib.h>

struct span rows_of(const a4j_attention_desc *d, int64_t b) {
  const int32_t *begins = tail_of(d, d->q_begins_offset);
  if (begins == NULL) return (struct span){0, d->len_q};
  return (struct span){begins[b], begins[b + 1] - begins[b]};
}

struct span keys_of(const a4j_attention_desc *d, int64_t b) {
  const int32_t *begins = tail_of(d, d->k_begins_offset);
  if (begins == NULL) return (struct span){0, d->len_k};
  return (struct span){begins[b], begins[b + 1] - begins[b]};
}

/* The n of the header. */
static int64_t key_count(const a4j_attention_desc *d, int64_t b) {
  const int32_t *lengths = tail_of(d, d->key_lengths_offset);
  if (lengths == NULL || d->key_lengths_stride_row != 0) return keys_of(d, b).count;
  return lengths[b * d->key_lengths_stride_batch];
}

int64_t position_of(const a4j_attention_desc *d, int64_t b, int64_t i) {
  const int32_t *offsets = tail_of(d, d->row_offsets_offset);
  if (d->align == A4J_ALIGN_BOTTOM_RIGHT) return i + key_count(d, b) - rows_of(d, b).count;
  return d->align == A4J_ALIGN_OFFSETS ? i + offsets[b] : i;
}

static int64_t floor_div(int64_t a, int64_t b) { return a / b - (a % b < 0); }

static bool in_ranges(const a4j_attention_desc *d, int64_t b, int64_t h, int64_t i, int64_t j) {
  const int32_t *starts = tail_of(d, d->range_starts_offset), *ranges = tail_of(d, d->ranges_offset);
  const int64_t list = b * d->range_stride_batch + h * d->range_stride_head + i / d->range_rows;
  for (int64_t x = starts[list]; x < starts[list + 1]; x++)
    if (ranges[2 * x] <= j && j < ranges[2 * x + 1]) return true;
  return false;
}

bool sees(const struct attention_call *c, int64_t b, int64_t h, int64_t i, int64_t j) {
  const a4j_attention_desc *d = c->d;
  const int32_t *lengths = tail_of(d, d->key_lengths_offset);
  const int64_t p = position_of(d, b, i);
  if (j >= key_count(d, b) || j >= d->key_limit) return false;
  if (lengths && d->key_lengths_stride_row == 1 && j >= lengths[b * d->key_lengths_stride_batch + i]) return false;
  if (d->window_left != A4J_UNBOUNDED && p - j > d->window_left) return false;
  if (d->window_right != A4J_UNBOUNDED && j - p > d->window_right) return false;
  if (d->chunk != 0 && floor_div(j, d->chunk) != floor_div(p, d->chunk)) return false;
  if (d->range_rows != 0 && !in_ranges(d, b, h, i, j)) return false;
  if (c->mask && !c->mask[b * d->mask_stride_batch + h * d->mask_stride_head + i * d->mask_stride_row + j * d->mask_stride_key])
    return false;
  if (c->key_mask && !c->key_mask[b * d->key_mask_stride_batch + j]) return false;
  if (c->mask_program && !c->mask_program(c->context, b, h, i, j)) return false;
  return !c->bias ||
         c->bias[b * d->bias_stride_batch + h * d->bias_stride_head + i * d->bias_stride_row + j * d->bias_stride_key] !=
             -INFINITY;
}

const float *relative_row(const a4j_attention_desc *d, const float *table, int64_t stride_head, int64_t stride_row, int64_t h,
                          int64_t distance) {
  if (table == NULL || d->relative_rows == 0) return NULL;
  const __int128 x = (__int128)d->relative_zero + distance, last = d->relative_rows - 1;
  if (d->beyond == A4J_BEYOND_ZERO && (x < 0 || x > last)) return NULL;
  return table + h * stride_head + (int64_t)(x < 0 ? 0 : x > last ? last : x) * stride_row;
}

void philox_words(const uint32_t counter[4], const uint32_t key[2], uint32_t words[4]) {
  uint32_t c[4] = {counter[0], counter[1], counter[2], counter[3]}, k[2] = {key[0], key[1]};
  for (int round = 0; round < 10; round++) {
    const uint64_t x = (uint64_t)0xd2511f53 * c[0], y = (uint64_t)0xcd9e8d57 * c[2];
    const uint32_t next[4] = {(uint32_t)(y >> 32) ^ c[1] ^ k[0], (uint32_t)y, (uint32_t)(x >> 32) ^ c[3] ^ k[1], (uint32_t)x};
    for (int i = 0; i < 4; i++) c[i] = next[i];
    k[0] += 0x9e3779b9;
    k[1] += 0xbb67ae85;
  }
  for (int i = 0; i < 4; i++) words[i] = c[i];
}

static float drawn(int64_t seed, int shared, int64_t b, int64_t h, int64_t i, int64_t j) {
  if (shared & A4J_SHARED_BATCH) b = 0;
  if (shared & A4J_SHARED_HEAD) h = 0;
  if (shared & A4J_SHARED_ROW) i = 0;
  if (shared & A4J_SHARED_KEY) j = 0;
  const uint32_t counter[4] = {(uint32_t)(j / 4), (uint32_t)i, (uint32_t)h, (uint32_t)b};
  const uint32_t key[2] = {(uint32_t)seed, (uint32_t)((uint64_t)seed >> 32)};
  uint32_t words[4];
  philox_words(counter, key, words);
  return (float)(words[j % 4] >> 8) * 0x1p-24f;
}

bool keeps(const struct attention_call *c, int64_t b, int64_t h, int64_t i, int64_t j) {
  const a4j_attention_desc *d = c->d;
  if (d->dropout) return drawn(d->dropout_seed, d->dropout_shared, b, h, i, j) >= d->dropout_rate;
  return c->keep == NULL ||
         c->keep[b * d->keep_stride_batch + h * d->keep_stride_head + i * d->keep_stride_row + j * d->keep_stride_key] != 0;
}

/* u of the noise, rounded to float if it is drawn: near 1 its logarithm depends on that. */
static float noise_at(const struct attention_call *c, int64_t b, int64_t h, int64_t i, int64_t j) {
  const a4j_attention_desc *d = c->d;
  if (c->noise == NULL) return 1e-5f + drawn(d->noise_seed, 0, b, h, i, j) * (1 - 2e-5f);
  return c->noise[b * d->noise_stride_batch + h * d->noise_stride_head + i * d->noise_stride_row + j * d->noise_stride_key];
}

static int descending(const void *a, const void *b) {
  const double x = *(const double *)a, y = *(const double *)b;
  return x > y ? -1 : x < y;
}

/* The weight that k is about, among n that are sorted from the largest on; and whether those that matter are far enough apart. */
static double kth_of(const a4j_attention_desc *d, const double *sorted, int64_t n, bool *apart) {
  const double near = 1e-4, noise = d->noisy ? 1e-5 * fabs(d->noise_weight) : 0;
  const bool subtract = d->harden == A4J_HARDEN_SUBTRACT;
  int64_t rank = 0, x = 0;
  double kth = subtract ? 0 : -INFINITY;
  for (; x < n && rank < d->harden_k && !(subtract && sorted[x] <= 0); x++) {
    const bool repeated = x > 0 && sorted[x] == sorted[x - 1];
    if (!subtract || !repeated) rank++;
    if (subtract && x > 0 && !repeated && sorted[x - 1] - sorted[x] <= near * sorted[x - 1] + noise) *apart = false;
    if (rank == d->harden_k) kth = sorted[x];
  }
  for (; x < n && x > 0; x++) {
    if (sorted[x] == sorted[x - 1]) continue;
    if (sorted[x - 1] - sorted[x] <= near * fabs(sorted[x - 1]) + noise) *apart = false;
    break;
  }
  return kth;
}

#define REAL double
#define EXP exp
#define LOG log
#define TANH tanh
#define REFERENCE reference_attention_f64
#define HARDEN harden_f64
#include "reference_attention.inc"
#undef REAL
#undef EXP
#undef LOG
#undef TANH
#undef REFERENCE
#undef HARDEN

#define REAL float
#define EXP expf
#define LOG logf
#define TANH tanhf
#define REFERENCE reference_attention_f32
#define HARDEN harden_f32
#include "reference_attention.inc"
