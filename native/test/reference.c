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

#define REAL double
#define EXP exp
#define LOG log
#define TANH tanh
#define REFERENCE reference_attention_f64
#include "reference_attention.inc"
#undef REAL
#undef EXP
#undef LOG
#undef TANH
#undef REFERENCE

#define REAL float
#define EXP expf
#define LOG logf
#define TANH tanhf
#define REFERENCE reference_attention_f32
#include "reference_attention.inc"
