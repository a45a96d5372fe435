/* Generates random problems and lays out their tensors. */
#include "problem.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

uint64_t seed = 1;

uint64_t next(void) {
  seed += 0x9e3779b97f4a7c15u;
  uint64_t x = seed;
  x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9u;
  x = (x ^ (x >> 27)) * 0x94d049bb133111ebu;
  return x ^ (x >> 31);
}
int64_t up_to(int64_t n) { return (int64_t)(next() % (uint64_t)(n + 1)); }
float uniform(void) { return (float)((double)(next() >> 11) * 0x1p-52 - 1.0); }

static void *memory(int64_t bytes) {
  void *p = malloc(bytes == 0 ? 1 : (size_t)bytes);
  if (p == NULL) abort();
  return p;
}

static float *floats(int64_t n) { return memory(n * (int64_t)sizeof(float)); }

/* Rows of `width` random floats, with `gap` NaNs after each row but the last. */
static float *random_rows(int64_t rows, int64_t width, int64_t gap, float range, int64_t *count) {
  *count = rows == 0 ? 0 : rows * (width + gap) - gap;
  float *p = floats(*count);
  for (int64_t i = 0; i < *count; i++) p[i] = i % (width + gap) < width ? uniform() * range : NAN;
  return p;
}

/* ---- Making ------------------------------------------------------------------------------------------------------------ */

int64_t append(struct problem *p, const void *array, int64_t bytes) {
  const int64_t at = p->d->size_bytes;
  p->d = realloc(p->d, (size_t)(at + bytes));
  if (p->d == NULL) abort();
  if (bytes > 0) memcpy((char *)p->d + at, array, (size_t)bytes);
  p->d->size_bytes = (int32_t)(at + bytes);
  p->in.d = p->d;
  return at;
}

/* cu_seqlens of `lens`; the largest of them in *largest. */
static int64_t append_begins(struct problem *p, int64_t batch, const int32_t *lens, int64_t *largest) {
  int32_t *begins = memory((batch + 1) * (int64_t)sizeof *begins);
  begins[0] = 0;
  *largest = 0;
  for (int64_t b = 0; b < batch; b++) {
    begins[b + 1] = begins[b] + lens[b];
    if (lens[b] > *largest) *largest = lens[b];
  }
  const int64_t at = append(p, begins, (batch + 1) * (int64_t)sizeof *begins);
  free(begins);
  return at;
}

static void set_default(int64_t *value) {
  if (*value == 0) *value = 1;
}

/* q, k, v and out in the order [batch, len, head, map or part, dim], as a projection writes them. */
struct problem *make(struct shape s) {
  struct problem *p = calloc(1, sizeof *p);
  p->seed = seed;
  int64_t *sizes[] = {&s.batch, &s.heads_kv, &s.group, &s.dim_qk, &s.dim_v};
  for (int i = 0; i < 5; i++) set_default(sizes[i]);
  if (s.maps == 0) s.maps = 1;
  if (s.value_parts == 0) s.value_parts = 1;
  if (s.range == 0) s.range = 1;

  a4j_attention_desc *d = p->d = calloc(1, sizeof *d);
  if (p == NULL || d == NULL) abort();
  d->size_bytes = sizeof *d;
  int64_t q_rows = s.batch * s.len_q, k_rows = s.shared_keys ? s.len_k : s.batch * s.len_k;
  if (s.q_lens != NULL) {
    const int64_t q_begins = append_begins(p, s.batch, s.q_lens, &s.len_q);
    const int64_t k_begins = append_begins(p, s.batch, s.k_lens, &s.len_k);
    d = p->d;
    d->q_begins_offset = q_begins;
    d->k_begins_offset = k_begins;
    const int32_t *q_ends = tail_of(d, q_begins), *k_ends = tail_of(d, k_begins);
    q_rows = q_ends[s.batch];
    k_rows = k_ends[s.batch];
  }
  const bool packed = s.q_lens != NULL;
  const int k_maps = s.one_key ? 1 : s.maps;
  d->abi_version = A4J_ABI_VERSION;
  d->threads = 1;
  d->maps = s.maps;
  d->value_parts = s.value_parts;
  d->batch = s.batch;
  d->heads_q = s.heads_kv * s.group;
  d->heads_kv = s.heads_kv;
  d->len_q = s.len_q;
  d->len_k = s.len_k;
  d->dim_qk = s.dim_qk;
  d->dim_v = s.dim_v;
  d->scale = 1.0f / sqrtf((float)s.dim_qk);
  d->window_left = d->window_right = A4J_UNBOUNDED;
  d->key_limit = s.len_k;

  const int64_t q_width = d->heads_q * s.maps * s.dim_qk, k_width = s.heads_kv * k_maps * s.dim_qk;
  const int64_t v_width = s.heads_kv * s.dim_v, out_width = d->heads_q * s.dim_v;
  d->q.stride_map = s.dim_qk;
  d->q.stride_head = s.maps * s.dim_qk;
  d->q.stride_row = q_width + s.gap;
  d->q.stride_batch = packed ? 0 : s.len_q * d->q.stride_row;
  d->k.stride_map = s.one_key ? 0 : s.dim_qk;
  d->k.stride_head = k_maps * s.dim_qk;
  d->k.stride_row = k_width + s.gap;
  d->k.stride_batch = packed || s.shared_keys ? 0 : s.len_k * d->k.stride_row;
  /* The halves of the value rows are stored like two narrow heads: all first halves, then all second ones. */
  d->v.stride_head = s.dim_v / s.value_parts;
  d->v.stride_map = v_width / s.value_parts;
  d->v.stride_row = v_width + s.gap;
  d->v.stride_batch = packed || s.shared_keys ? 0 : s.len_k * d->v.stride_row;
  d->out.stride_head = s.dim_v;
  d->out.stride_row = out_width + s.gap;
  d->out.stride_batch = packed ? 0 : s.len_q * d->out.stride_row;
  d->lse_stride_map = packed ? q_rows : s.len_q;
  d->lse_stride_head = s.maps * d->lse_stride_map;
  d->lse_stride_batch = packed ? 0 : d->heads_q * d->lse_stride_head;
  p->q = random_rows(q_rows, q_width, s.gap, s.range, &p->q_count);
  p->k = random_rows(k_rows, k_width, s.gap, s.range, &p->k_count);
  p->v = random_rows(k_rows, v_width, s.gap, 1, &p->v_count);
  p->out_count = q_rows == 0 ? 0 : q_rows * d->out.stride_row - s.gap;
  p->lse_count = q_rows * d->heads_q * s.maps;
  p->out = floats(p->out_count + 2 * GUARD);
  p->lse = floats(p->lse_count + 2 * GUARD);
  if (s.maps == 2) {
    p->lambda = random_rows(1, q_rows * d->heads_q, 0, 1, &p->lambda_count);
    d->lambda_stride_row = 1;
    d->lambda_stride_head = packed ? q_rows : s.len_q;
    d->lambda_stride_batch = packed ? 0 : d->heads_q * s.len_q;
  }
  if (s.backwards && k_rows > 0) {
    p->k_shift = (k_rows - 1) * d->k.stride_row;
    p->v_shift = (k_rows - 1) * d->v.stride_row;
    int64_t *strides[] = {&d->k.stride_row, &d->v.stride_row, &d->k.stride_batch, &d->v.stride_batch};
    for (int i = 0; i < 4; i++) *strides[i] = -*strides[i];
  }
  p->in = (struct attention_call){.d = d, .q = p->q, .k = p->k + p->k_shift, .v = p->v + p->v_shift, .lambda = p->lambda};
  return p;
}

void release(struct problem *p) {
  for (int i = 0; i < 4; i++) free(p->tables[i]);
  void *all[] = {p->d,
                 p->q,
                 p->k,
                 p->v,
                 p->lambda,
                 p->bias,
                 p->mask,
                 p->keep,
                 p->key_mask,
                 p->out,
                 p->lse,
                 p->weights,
                 p->scores,
                 p->relative_keys,
                 p->relative_values,
                 p->noise,
                 p->k_scales,
                 p->v_scales,
                 p};
  for (size_t i = 0; i < sizeof all / sizeof all[0]; i++) free(all[i]);
}

/* ---- Options ----------------------------------------------------------------------------------------------------------- */

void with_lengths(struct problem *p) {
  int32_t lengths[64];
  for (int64_t b = 0; b < p->d->batch; b++) lengths[b] = (int32_t)up_to(keys_of(p->d, b).count);
  const int64_t at = append(p, lengths, p->d->batch * 4);
  p->d->key_lengths_offset = at;
  p->d->key_lengths_stride_batch = 1;
  p->d->key_lengths_stride_row = 0;
}

void with_row_lengths(struct problem *p, bool shared) {
  const int64_t count = p->d->len_q * (shared ? 1 : p->d->batch);
  int32_t *lengths = memory(count * 4);
  for (int64_t i = 0; i < count; i++) lengths[i] = (int32_t)up_to(p->d->len_k);
  const int64_t at = append(p, lengths, count * 4);
  p->d->key_lengths_offset = at;
  p->d->key_lengths_stride_batch = shared ? 0 : p->d->len_q;
  p->d->key_lengths_stride_row = 1;
  free(lengths);
}

void with_offsets(struct problem *p) {
  int32_t offsets[64];
  for (int64_t b = 0; b < p->d->batch; b++) offsets[b] = (int32_t)(up_to(p->d->len_k + p->d->len_q + 6) - p->d->len_q - 3);
  const int64_t at = append(p, offsets, p->d->batch * 4);
  p->d->align = A4J_ALIGN_OFFSETS;
  p->d->row_offsets_offset = at;
}

void with_key_limit(struct problem *p, int64_t limit) { p->d->key_limit = limit; }

void with_ranges(struct problem *p, int64_t range_rows, bool each_batch, bool each_head) {
  const int64_t blocks = (p->d->len_q + range_rows - 1) / range_rows;
  const int64_t heads = each_head ? p->d->heads_q : 1, lists = blocks * heads * (each_batch ? p->d->batch : 1);
  const int64_t len_k = p->d->len_k;
  int32_t *starts = memory((lists + 1) * 4), *ranges = memory(lists * (len_k + 1) * 8);
  int32_t count = 0;
  for (int64_t list = 0; list < lists; list++) {
    static const int64_t steps[] = {1, 5, 40, 200};
    const int64_t step = steps[up_to(3)];
    starts[list] = count;
    for (int64_t begin = up_to(step), end; !one_in(20) && begin < len_k; begin = end + up_to(step)) {
      end = begin + 1 + up_to(step);
      if (end > len_k) end = len_k;
      ranges[2 * count] = (int32_t)begin;
      ranges[2 * count++ + 1] = (int32_t)end;
    }
    if (one_in(5)) count = starts[list];
  }
  starts[lists] = count;
  const int64_t starts_at = append(p, starts, (lists + 1) * 4), ranges_at = append(p, ranges, (int64_t)count * 8);
  p->d->range_rows = range_rows;
  p->d->range_lists = lists;
  p->d->range_starts_offset = starts_at;
  p->d->ranges_offset = ranges_at;
  p->d->range_stride_head = each_head ? blocks : 0;
  p->d->range_stride_batch = each_batch ? blocks * heads : 0;
  free(starts);
  free(ranges);
}

void with_one_list(struct problem *p, int count, const int32_t (*ranges)[2]) {
  const int32_t starts[] = {0, count};
  const int64_t starts_at = append(p, starts, sizeof starts), ranges_at = append(p, ranges, (int64_t)count * 8);
  p->d->range_rows = p->d->len_q;
  p->d->range_lists = 1;
  p->d->range_starts_offset = starts_at;
  p->d->ranges_offset = ranges_at;
}

/* Strides of a tensor [batch, heads_q, len_q, key_limit], and its elements in memory. */
struct strides {
  int64_t batch, head, row, key, count;
};

static struct strides strides_of(const a4j_attention_desc *d, int64_t width, int spread) {
  const int64_t rows = spread & OVER_ROWS ? 1 : d->len_q, keys = spread & OVER_KEYS ? 1 : width;
  const int64_t heads = spread & OVER_HEADS ? 1 : d->heads_q, batch = spread & OVER_BATCH ? 1 : d->batch;
  return (struct strides){.batch = spread & OVER_BATCH ? 0 : heads * rows * keys,
                          .head = spread & OVER_HEADS ? 0 : rows * keys,
                          .row = spread & OVER_ROWS    ? 0
                                 : spread & TRANSPOSED ? 1
                                                       : keys,
                          .key = spread & OVER_KEYS    ? 0
                                 : spread & TRANSPOSED ? rows
                                                       : 1,
                          .count = batch * heads * rows * keys};
}

/* Bytes of such a tensor, 0 for hidden keys. */
static uint8_t *bytes_of(const a4j_attention_desc *d, int64_t width, int spread, enum pattern pattern) {
  const struct strides s = strides_of(d, width, spread);
  const int64_t rows = s.row == 0 ? 1 : d->len_q, keys = s.key == 0 ? 1 : width;
  const int64_t patch_rows = 1 + up_to(60), patch_keys = 1 + up_to(130);
  const uint64_t salt = next();
  uint8_t *bytes = memory(s.count);
  for (int64_t at = 0; at < s.count; at++) {
    const int64_t i = spread & TRANSPOSED ? at % rows : at / keys % rows;
    const int64_t j = spread & TRANSPOSED ? at / rows % keys : at % keys;
    bool shown = true;
    switch (pattern) {
    case SPECKLED: shown = !one_in(4); break;
    case SCARCE: shown = one_in(50); break;
    case PATCHES: {
      const uint64_t patch = (uint64_t)(i / patch_rows * 1000 + j / patch_keys) ^ salt;
      shown = patch * 0x9e3779b97f4a7c15u >> 62 != 0;
      break;
    }
    case SECOND_HALF: shown = j < width / 2; break;
    }
    bytes[at] = shown ? (uint8_t)(1 + up_to(254)) : 0;
  }
  return bytes;
}

void with_mask(struct problem *p, int spread, enum pattern pattern) {
  const struct strides s = strides_of(p->d, p->d->key_limit, spread);
  p->in.mask = p->mask = bytes_of(p->d, p->d->key_limit, spread, pattern);
  p->mask_count = s.count;
  p->d->mask_stride_batch = s.batch;
  p->d->mask_stride_head = s.head;
  p->d->mask_stride_row = s.row;
  p->d->mask_stride_key = s.key;
}

void with_key_mask(struct problem *p, bool shared, enum pattern pattern) {
  p->in.key_mask = p->key_mask = bytes_of(p->d, p->d->key_limit, OVER_HEADS | OVER_ROWS | (shared ? OVER_BATCH : 0), pattern);
  p->d->key_mask_stride_batch = shared ? 0 : p->d->key_limit;
}

void with_bias(struct problem *p, int spread, bool hide, enum pattern pattern) {
  const struct strides s = strides_of(p->d, p->d->key_limit, spread);
  uint8_t *shown = bytes_of(p->d, p->d->key_limit, spread, pattern);
  p->in.bias = p->bias = random_rows(1, s.count, 0, 2, &p->bias_count);
  for (int64_t at = 0; hide && at < s.count; at++)
    if (!shown[at]) p->bias[at] = -INFINITY;
  p->d->bias_stride_batch = s.batch;
  p->d->bias_stride_head = s.head;
  p->d->bias_stride_row = s.row;
  p->d->bias_stride_key = s.key;
  free(shown);
}

void with_keep(struct problem *p, int spread) {
  const struct strides s = strides_of(p->d, p->d->len_k, spread);
  p->in.keep = p->keep = bytes_of(p->d, p->d->len_k, spread, SPECKLED);
  p->d->keep_stride_batch = s.batch;
  p->d->keep_stride_head = s.head;
  p->d->keep_stride_row = s.row;
  p->d->keep_stride_key = s.key;
  p->d->keep_scale = 1 / 0.75f;
}

void with_dropout(struct problem *p) {
  p->d->dropout = 1;
  p->d->dropout_rate = one_in(5) ? 0 : 0.4f;
  p->d->keep_scale = 1 / (1 - p->d->dropout_rate);
  p->d->dropout_seed = (int64_t)next();
  p->d->dropout_shared = (int)(next() & next() & 15);
}

void with_hardening(struct problem *p) {
  static const int64_t many[] = {33, 50, 100, 1000, INT64_MAX};
  a4j_attention_desc *d = p->d;
  d->harden = one_in(2) ? A4J_HARDEN_TOP_K : A4J_HARDEN_SUBTRACT;
  d->harden_k = one_in(2) ? 1 + up_to(9) : one_in(2) ? 1 + up_to(31) : many[up_to(4)];
  if (one_in(2)) return;
  d->noisy = 1;
  d->noise_weight = 0.2f * uniform();
  d->noise_seed = (int64_t)next();
  if (one_in(2)) return;
  const struct strides s = strides_of(d, d->len_k, (int)(next() & next() & SPREADS));
  p->in.noise = p->noise = floats(s.count);
  for (int64_t at = 0; at < s.count; at++) p->noise[at] = 0.5f + 0.49999f * uniform();
  d->noise_stride_batch = s.batch;
  d->noise_stride_head = s.head;
  d->noise_stride_row = s.row;
  d->noise_stride_key = s.key;
}

void with_alibi(struct problem *p) {
  const int64_t heads = p->d->heads_q, batches = p->seed % 3 == 0 ? p->d->batch : 1;
  float *slopes = malloc((size_t)(batches * heads) * sizeof *slopes + 1);
  for (int64_t h = 0; h < heads; h++) slopes[h] = one_in(8) ? 0 : uniform();
  for (int64_t n = heads; n < batches * heads; n++) slopes[n] = slopes[n % heads] * (float)(n / heads + 1) / 2;
  const int64_t at = append(p, slopes, batches * heads * 4);
  free(slopes);
  p->d->slopes_offset = at;
  p->d->slopes_stride_batch = batches > 1 ? heads : 0;
}

void with_relative(struct problem *p, int64_t rows) {
  static const int64_t far[] = {INT64_MIN, INT64_MIN + 1, -1, 0, INT64_MAX - 1, INT64_MAX};
  a4j_attention_desc *d = p->d;
  const int64_t heads = one_in(2) ? 1 : d->heads_q, gap = up_to(3);
  const int which = (int)up_to(3);
  d->relative_rows = 1 + up_to(rows - 1);
  d->relative_zero = one_in(12) ? far[up_to(5)] : up_to(d->relative_rows + 20) - 10;
  d->beyond = (int)up_to(1);
  d->relative_keys_stride_row = d->dim_qk + gap;
  d->relative_values_stride_row = d->dim_v + gap;
  d->relative_keys_stride_head = heads == 1 ? 0 : d->relative_rows * d->relative_keys_stride_row;
  d->relative_values_stride_head = heads == 1 ? 0 : d->relative_rows * d->relative_values_stride_row;
  if (which != 0)
    p->in.relative_keys = p->relative_keys = random_rows(heads * d->relative_rows, d->dim_qk, gap, 1, &p->relative_keys_count);
  if (which != 1)
    p->in.relative_values = p->relative_values =
        random_rows(heads * d->relative_rows, d->dim_v, gap, 1, &p->relative_values_count);
  if (one_in(3)) d->relative_values_first = one_in(8) ? far[up_to(5)] : up_to(d->len_q);
}

void with_sinks(struct problem *p) {
  float sinks[128];
  for (int64_t x = 0; x < p->d->heads_q * p->d->maps; x++) sinks[x] = one_in(3) ? -INFINITY : 4 * uniform();
  const int64_t at = append(p, sinks, p->d->heads_q * p->d->maps * 4);
  p->d->sinks_offset = at;
}

void with_weights(struct problem *p) {
  p->weights_count = p->d->batch * p->d->heads_q * p->d->len_q * p->d->len_k;
  p->weights = floats(p->weights_count + 2 * GUARD);
}

void with_scores(struct problem *p, int stage) {
  p->scores_count = p->d->batch * p->d->heads_q * p->d->maps * p->d->len_q * p->d->len_k;
  p->scores = floats(p->scores_count + 2 * GUARD);
  p->d->scores_stage = stage;
}

void with_lse_turned(struct problem *p) {
  a4j_attention_desc *d = p->d;
  const bool packed = d->q_begins_offset != 0;
  const int64_t row = (packed ? rows_of(d, d->batch - 1).begin + rows_of(d, d->batch - 1).count : d->len_q) + 3;
  const int64_t batch = packed ? 1 : d->batch;
  d->lse_stride_batch = packed ? 0 : row;
  d->lse_stride_head = batch * row;
  d->lse_stride_map = d->heads_q * batch * row;
  p->lse_count = d->maps * d->lse_stride_map;
  free(p->lse);
  p->lse = floats(p->lse_count + 2 * GUARD);
}
