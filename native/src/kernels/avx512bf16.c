/*
 * Tier avx512bf16: AVX-512 with dot products of bfloat16 pairs (AVX512_BF16) and of bytes (AVX512_VNNI). Only the kernels that use
 * these instructions are compiled here. avx512.c fills the tier's table with them and with its own kernels.
 */
#include "vec_avx512.h"

/* The tier that computes whatever has no dot product. */
#define A4J_BELOW a4j_kernels_avx512

#include "attention.inc"
#include "avx512bf16.h"
#include "product.inc"
#include "quantized.inc"

void a4j_attention_tiles_avx512bf16(struct a4j_tile *tiles, int count, float *scratch) {
  if (unit_of(tiles) == UNIT_FLOAT)
    A4J_BELOW.attention_tiles[tiles->call->desc->k.dtype](tiles, count, scratch);
  else
    attention_tiles(tiles, count, scratch);
}

void a4j_pair_product_avx512bf16(int64_t rows, int64_t cols, int64_t depth, const float *x, int64_t x_stride_row,
                                 const float *panel, const float *next, const float *bias, int accumulate, float *out,
                                 int64_t out_stride_row) {
  pair_product(rows, cols, depth, x, x_stride_row, panel, next, bias, accumulate, out, out_stride_row);
}

void a4j_quantize_row_avx512bf16(int64_t dim, const float *x, const a4j_storage *weights, int widened, void *row) {
  quantize_row(dim, x, weights, widened, row);
}

QUANTIZED_PRODUCT(extern, a4j_quantized_i8_avx512bf16, A4J_I8)
QUANTIZED_PRODUCT(extern, a4j_quantized_i4_avx512bf16, A4J_I4)
QUANTIZED_PRODUCT(extern, a4j_quantized_i6_avx512bf16, A4J_I6)
