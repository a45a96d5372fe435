/* Arithmetic with sizes. */
#ifndef A4J_SIZES_H
#define A4J_SIZES_H

#include <stdint.h>

#include "a4j.h"

static inline int64_t smaller(int64_t a, int64_t b) { return a < b ? a : b; }
static inline int64_t larger(int64_t a, int64_t b) { return a > b ? a : b; }

/* How many pieces of at most `size` make up the whole, 0 or more. */
static inline int64_t ceil_div(int64_t whole, int64_t size) { return whole / size + (whole % size != 0); }

/* Bytes of a number that is stored by itself. */
static inline int64_t a4j_dtype_bytes(int32_t dtype) { return dtype == A4J_F32 ? 4 : dtype == A4J_I8 ? 1 : 2; }

#endif
