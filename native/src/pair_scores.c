/* a4j_pair_scores: checks, and rows of scores, cut into runs of keys, dealt to the team. */
#include <math.h>
#include <stddef.h>

#include "a4j.h"
#include "checks.h"
#include "floats.h"
#include "kernels.h"
#include "rows.h"
#include "sizes.h"

/* Keys of a unit of work: few enough to keep many threads busy when there is one query, as in a decoder's step. */
enum { KEYS = 64 };

struct call {
  const struct a4j_kernels *kernels;
  const a4j_pair_scores_desc *desc;
  const float *q, *k, *v;
  float *scores;
  const int32_t *key_lengths;
  int64_t key_units;
};

/* The kernel's logarithm of a squared distance. NaN stays NaN in the forms whose formula keeps it. */
static void kernel_logs(int32_t form, int64_t keys, float *scores) {
  if (form == A4J_PAIR_GAUSSIAN)
    for (int64_t j = 0; j < keys; j++) scores[j] *= -0.5f;
  else if (form == A4J_PAIR_BOXCAR)
    for (int64_t j = 0; j < keys; j++) scores[j] = scores[j] < 1.0f ? 0.0f : -INFINITY;
  else
    for (int64_t j = 0; j < keys; j++) {
      float rest = 1.0f - sqrtf(scores[j]);
      scores[j] = rest <= 0.0f ? -INFINITY : logf(rest);
    }
}

static void score_keys(const struct call *call, int64_t b, int64_t i, int64_t key, int64_t key_end) {
  const a4j_pair_scores_desc *desc = call->desc;
  float *scores = call->scores + (b * desc->len_q + i) * desc->len_k;
  int64_t valid = desc->len_k;
  if (call->key_lengths != NULL)
    valid = call->key_lengths[b * desc->key_lengths_stride_batch + i * desc->key_lengths_stride_row];
  if (valid == 0 && desc->empty_rows == A4J_EMPTY_ALIKE) {
    for (int64_t j = key; j < key_end; j++) scores[j] = 0.0f;
    return;
  }
  int64_t last = valid < key_end ? valid : key_end;
  if (last > key) {
    const float *q = call->q + b * desc->q_stride_batch + i * desc->q_stride_row;
    const float *k = call->k + b * desc->k_stride_batch + key * desc->k_stride_row;
    if (desc->form == A4J_PAIR_ADDITIVE) {
      call->kernels->additive_scores(last - key, desc->dim, q, k, desc->k_stride_row, call->v, scores + key);
    } else {
      call->kernels->square_distances(last - key, desc->dim, q, k, desc->k_stride_row, desc->scale, scores + key);
      kernel_logs(desc->form, last - key, scores + key);
    }
  } else {
    last = key;
  }
  for (int64_t j = last; j < key_end; j++) scores[j] = -INFINITY;
}

static void score_units(const void *context, int64_t unit, int64_t unit_end) {
  const struct call *call = context;
  const a4j_pair_scores_desc *desc = call->desc;
  for (; unit < unit_end; unit++) {
    int64_t row = unit / call->key_units, key = unit % call->key_units * KEYS;
    score_keys(call, row / desc->len_q, row % desc->len_q, key, key + KEYS < desc->len_k ? key + KEYS : desc->len_k);
  }
}

int32_t a4j_pair_scores(const a4j_pair_scores_desc *desc, const void *q, const void *k, const float *v, float *scores) {
  A4J_DEFAULT_FLOATS;
  int32_t status = a4j_check_head(desc, sizeof *desc);
  if (status != A4J_OK) return status;
  if (desc->form < A4J_PAIR_ADDITIVE || desc->form > A4J_PAIR_EPANECHIKOV || desc->empty_rows < A4J_EMPTY_UNSEEN ||
      desc->empty_rows > A4J_EMPTY_ALIKE || !isfinite(desc->scale))
    return A4J_BAD_OPTION;
  status = a4j_check_sizes(3, (const int64_t[]){desc->batch, desc->len_q, desc->len_k});
  if (status == A4J_OK) status = a4j_check_sizes(3, (const int64_t[]){desc->batch, desc->len_q, desc->dim});
  if (status == A4J_OK) status = a4j_check_sizes(3, (const int64_t[]){desc->batch, desc->len_k, desc->dim});
  if (status != A4J_OK) return status;
  const int64_t rows = desc->batch * desc->len_q;
  const int32_t *key_lengths;
  int64_t lengths = desc->key_lengths_stride_row == 0 ? desc->batch : rows;
  status = a4j_check_tail(desc, sizeof *desc, desc->key_lengths_offset, lengths, &key_lengths);
  if (status != A4J_OK) return status;
  if (key_lengths != NULL) {
    int64_t stride_row = desc->key_lengths_stride_row;
    if (stride_row != 0 && stride_row != 1) return A4J_BAD_OPTION;
    if (desc->key_lengths_stride_batch != (stride_row == 0 ? 1 : desc->len_q)) return A4J_BAD_OPTION;
    for (int64_t n = 0; n < lengths; n++)
      if (key_lengths[n] < 0 || key_lengths[n] > desc->len_k) return A4J_BAD_POSITION;
  }
  if (rows == 0 || desc->len_k == 0) return A4J_OK;
  if (scores == NULL || (desc->dim > 0 && (q == NULL || k == NULL || (desc->form == A4J_PAIR_ADDITIVE && v == NULL))))
    return A4J_NULL_POINTER;

  struct call call = {a4j_kernels_active(), desc, q, k, v, scores, key_lengths, ceil_div(desc->len_k, KEYS)};
  int64_t keys = desc->len_k < KEYS ? desc->len_k : KEYS;
  /* A vector of tangents takes 2.3 ns (AVX-512), 3.7 (AVX2) or 7 (SSE2) on a Zen 5 core, one of distances 0.3 to 0.6. */
  double pair = (double)desc->dim * (desc->form == A4J_PAIR_ADDITIVE ? 4.0 : 0.5) / call.kernels->lanes;
  if (desc->form == A4J_PAIR_EPANECHIKOV) pair += 3; /* a logarithm */
  a4j_rows_run(desc->threads, rows * call.key_units, 10 + (double)keys * (1 + pair), score_units, &call);
  return A4J_OK;
}
