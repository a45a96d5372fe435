/* The AVX-512 tier with dot products of bfloat16 pairs (AVX512_BF16) and of bytes (AVX512_VNNI). */
#include "vec_avx512.h"

#include "table.inc"
