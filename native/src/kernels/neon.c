/* The aarch64 tier: NEON. */
#include "vec_neon.h"

#include "table.inc"
