/*
 * The second team, in a library of its own (liba4j-openmp.so): a parallel region of the compiler's OpenMP run-time library.
 * liba4j.so only knows the address of this one function (a4j_use_team).
 *
 * For processes that have an OpenMP pool already and want one pool, not two. A region belongs to the thread that opens it:
 * libgomp keeps a pool for each such thread until that thread ends. The call determines a region's number of threads, and
 * the usual OMP_* variables everything else (spinning, binding, limits).
 */
#include "a4j.h"
#include "team.h"

#include <omp.h>

A4J_API void a4j_openmp_run(int32_t threads, void (*fn)(void *context, int32_t thread, int32_t threads), void *context);

void a4j_openmp_run(int32_t threads, void (*fn)(void *context, int32_t thread, int32_t threads), void *context) {
#pragma omp parallel num_threads(threads)
  fn(context, omp_get_thread_num(), omp_get_num_threads());
}
