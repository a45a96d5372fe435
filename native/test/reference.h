/* The textbook formula in three plain passes: in double, the oracle, and in float, to measure the error of a plain program. */
#ifndef A4J_REFERENCE_H
#define A4J_REFERENCE_H

#include <stdbool.h>
#include <stddef.h>

#include "a4j.h"

/* The inputs of a4j_attention, with the strides of the descriptor. */
struct attention_call {
  const a4j_attention_desc *d;
  const float *q, *k, *v;
  const uint8_t *mask, *key_mask;
  const float *bias;
  const uint8_t *keep;
  const float *relative_keys, *relative_values;
  const float *noise;
  const float *lambda;
  const void *tables[4];
  /* The mask program and the score program as C functions of a context; NULL if there is none. */
  bool (*mask_program)(const void *context, int64_t b, int64_t h, int64_t i, int64_t j);
  double (*score_program)(const void *context, double score, int64_t b, int64_t h, int64_t i, int64_t j);
  const void *context;
};

struct span {
  int64_t begin, count;
};

/* The first row and key of batch b in their dimension, and how many there are; packed or not. */
struct span rows_of(const a4j_attention_desc *d, int64_t b);
struct span keys_of(const a4j_attention_desc *d, int64_t b);

/* The position of row i of batch b. */
int64_t position_of(const a4j_attention_desc *d, int64_t b, int64_t i);

/* Whether row i of batch b and head h sees key j < keys_of(d, b).count: the header's list of conditions, one by one. */
bool sees(const struct attention_call *c, int64_t b, int64_t h, int64_t i, int64_t j);

/* The row of head h for `distance` in a table of relative positions with these strides; NULL for a row of zeros. */
const float *relative_row(const a4j_attention_desc *d, const float *table, int64_t stride_head, int64_t stride_row, int64_t h,
                          int64_t distance);

/* The four words that Philox4x32-10 makes of a counter and a key. */
void philox_words(const uint32_t counter[4], const uint32_t key[2], uint32_t words[4]);

/* Whether row i of batch b and head h keeps its weight of key j, by the mask that is given or drawn. */
bool keeps(const struct attention_call *c, int64_t b, int64_t h, int64_t i, int64_t j);

/*
 * Like a4j_attention, but every result is contiguous: out [batch, heads_q, len_q, dim_v], lse [batch, heads_q, maps, len_q],
 * weights [batch, heads_q, len_q, len_k], scores [batch, heads_q, maps, len_q, len_k]; the last three may be NULL. Of a packed
 * sequence the first rows_of(d, b).count rows are written.
 *
 * Hardening is not a continuous function of the weights. hardness [batch, heads_q, len_q], if not NULL, is the factor by which it
 * increases their errors, at least 1; INFINITY if two weights are so close that an error may change which of them survive, or if those
 * that survive are so small that the kernels have 0 for some.
 */
void reference_attention_f64(const struct attention_call *c, double *out, double *lse, double *weights, double *scores,
                             double *hardness);
void reference_attention_f32(const struct attention_call *c, float *out, float *lse, float *weights, float *scores,
                             double *hardness);

/* Array `offset` of the descriptor's tail, or NULL. */
static inline const void *tail_of(const a4j_attention_desc *d, int64_t offset) {
  return offset == 0 ? NULL : (const char *)d + offset;
}

/* causal 0: every row sees every key; 1: aligned at the top left; 2: at the bottom right. */
static inline void set_causal(a4j_attention_desc *d, int causal) {
  d->align = causal == 2 ? A4J_ALIGN_BOTTOM_RIGHT : A4J_ALIGN_TOP_LEFT;
  d->window_right = causal == 0 ? A4J_UNBOUNDED : 0;
}

#endif
