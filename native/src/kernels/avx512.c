/* The AVX-512 tier: F, DQ, BW and VL; and the table of avx512bf16, which adds kernels with dot products to it. */
#include "vec_avx512.h"

#include "avx512bf16.h"
#include "table.inc"

const struct a4j_kernels a4j_kernels_avx512bf16 = {
    .isa = "avx512bf16",
    A4J_COMMON_SLOTS,
    .attention_tiles = {[A4J_F32] = a4j_attention_tiles_avx512bf16,
                        [A4J_BF16] = a4j_attention_tiles_avx512bf16,
                        [A4J_F16] = a4j_attention_tiles_avx512bf16,
                        [A4J_I8] = attention_tiles},
    .pair_product = a4j_pair_product_avx512bf16,
    .quantize_row = a4j_quantize_row_avx512bf16,
    .quantized_product = {[A4J_I8] = a4j_quantized_i8_avx512bf16,
                          [A4J_I4] = a4j_quantized_i4_avx512bf16,
                          [A4J_I6] = a4j_quantized_i6_avx512bf16},
};
