/* The tier that runs on every x86-64 machine: SSE2. */
#include "vec_sse2.h"

#include "table.inc"
