/* The AVX-512 tier: F, DQ, BW and VL. */
#include "vec_avx512.h"

#include "table.inc"
