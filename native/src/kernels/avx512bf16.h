/* The kernels that tier avx512bf16 has of its own; the rest of its table is avx512's. See struct a4j_kernels. */
#ifndef A4J_AVX512BF16_H
#define A4J_AVX512BF16_H

#include "../kernels.h"

void a4j_attention_tiles_avx512bf16(struct a4j_tile *tiles, int count, float *scratch);
void a4j_pair_product_avx512bf16(int64_t rows, int64_t cols, int64_t depth, const float *x, int64_t x_stride_row,
                                 const float *panel, const float *next, const float *bias, int accumulate, float *out,
                                 int64_t out_stride_row);
void a4j_quantize_row_avx512bf16(int64_t dim, const float *x, const a4j_storage *weights, int widened, void *row);
a4j_quantized_fn a4j_quantized_i8_avx512bf16, a4j_quantized_i4_avx512bf16, a4j_quantized_i6_avx512bf16;

#endif
