/* The textbook formulas, three plain passes, in double (the oracle) and in float (the error that a plain program makes). */
#ifndef A4J_REFERENCE_H
#define A4J_REFERENCE_H

#include "a4j.h"

/* Like a4j_attention, with the strides of the descriptor; out is [batch, heads_q, len_q, dim_v] contiguous, lse and weights as there. */
void reference_attention_f64(const a4j_attention_desc *d, const float *q, const float *k, const float *v, const uint8_t *mask,
                             const float *bias, const uint8_t *keep, const float *lambda, double *out, double *lse,
                             double *weights);
void reference_attention_f32(const a4j_attention_desc *d, const float *q, const float *k, const float *v, const uint8_t *mask,
                             const float *bias, const uint8_t *keep, const float *lambda, float *out, float *lse,
                             float *weights);

/* causal 0: every row sees every key; 1: aligned at the top left; 2: at the bottom right. */
static inline void set_causal(a4j_attention_desc *d, int causal) {
  d->align = causal == 2 ? A4J_ALIGN_BOTTOM_RIGHT : A4J_ALIGN_TOP_LEFT;
  d->window_right = causal == 0 ? A4J_UNBOUNDED : 0;
}

#endif
