/* The AVX2 tier, with FMA. */
#include "vec_avx2.h"

#include "table.inc"
