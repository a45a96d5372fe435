/*
 * The kernels of one tier, and what each slot promises.
 *
 * Every kernel is serial, allocates nothing, prints nothing and never aborts; its arguments were checked by the exported
 * function. The bodies stand in kernels/<name>.inc and are compiled once a tier, in the words of its kernels/vec_<tier>.h.
 */
#ifndef A4J_KERNELS_H
#define A4J_KERNELS_H

#include <stdint.h>

#include "a4j.h"


struct a4j_kernels {
  const char *isa;
  int32_t tile_rows; /* rows of q that one attention tile takes at the most */
};

/* The tier in use; stays valid for the life of the process. */
const struct a4j_kernels *a4j_kernels_active(void);

/* Tables of the tiers that were compiled, best first; A4J_TIERS is the list of their names, from CMake. */
extern const struct a4j_kernels a4j_kernels_avx512, a4j_kernels_avx2, a4j_kernels_neon, a4j_kernels_baseline;

#endif
