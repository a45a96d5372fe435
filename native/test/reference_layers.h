/* The textbook formulas of the layers: in double, the oracle, and in float, to measure the error of a plain program. */
#ifndef A4J_REFERENCE_LAYERS_H
#define A4J_REFERENCE_LAYERS_H

#include "a4j.h"

/*
 * Each reads its inputs with the strides of the descriptor and writes out contiguously: [rows, dim_out] or [rows, dim], and
 * [batch, heads, len, dim] for rotary positions and for the merge. `before` is what out held, contiguous like out; it is not
 * read if combine is A4J_SET.
 */
void reference_linear_f64(const a4j_linear_desc *d, const float *x, const float *weight, const float *bias, const float *before,
                          double *out);
void reference_linear_f32(const a4j_linear_desc *d, const float *x, const float *weight, const float *bias, const float *before,
                          float *out);
void reference_rms_norm_f64(const a4j_rms_norm_desc *d, const float *x, const float *weight, double *out);
void reference_rms_norm_f32(const a4j_rms_norm_desc *d, const float *x, const float *weight, float *out);
/* mean and inv_std are [rows]. */
void reference_layer_norm_f64(const a4j_layer_norm_desc *d, const float *x, const float *weight, const float *bias, double *out,
                              double *mean, double *inv_std);
void reference_layer_norm_f32(const a4j_layer_norm_desc *d, const float *x, const float *weight, const float *bias, float *out,
                              float *mean, float *inv_std);
void reference_rope_f64(const a4j_rope_desc *d, const float *x, const float *cos, const float *sin, double *out);
void reference_rope_f32(const a4j_rope_desc *d, const float *x, const float *cos, const float *sin, float *out);
/* y is read by each combination; the strides of out do not count. */
void reference_elementwise_f64(const a4j_elementwise_desc *d, const float *x, const float *y, double *out);
void reference_elementwise_f32(const a4j_elementwise_desc *d, const float *x, const float *y, float *out);
/* lse is [batch, heads, len]. */
void reference_merge_f64(const a4j_merge_desc *d, const float *a, const float *lse_a, const float *b, const float *lse_b,
                         double *out, double *lse);
void reference_merge_f32(const a4j_merge_desc *d, const float *a, const float *lse_a, const float *b, const float *lse_b,
                         float *out, float *lse);
/* Token by token as the formulas say. state [batch, heads_kv, dim_qk, dim_v] is contiguous here, and updated in place. */
void reference_linear_attention_f64(const a4j_linear_attention_desc *d, const float *q, const float *k, const float *v,
                                    const float *decay, const float *beta, double *state, double *out);
void reference_linear_attention_f32(const a4j_linear_attention_desc *d, const float *q, const float *k, const float *v,
                                    const float *decay, const float *beta, float *state, float *out);

#endif
