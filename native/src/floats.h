/*
 * The floating-point mode of a call: round to nearest, keep subnormal numbers, no traps.
 *
 * A caller's thread may have flush-to-zero or another rounding mode set. Its share of a call would then be computed differently from
 * the workers', and which rows those are changes from call to call. So each exported function that computes begins with
 * A4J_DEFAULT_FLOATS, which sets the mode for that function and restores the caller's at every return. Reading the mode costs
 * about 2 ns; it is written only if it differs.
 */
#ifndef A4J_FLOATS_H
#define A4J_FLOATS_H

#include <stdint.h>

#if defined(__x86_64__)

/* MXCSR: all exceptions masked, round to nearest, no flush-to-zero, no denormals-are-zero. Bits 0 to 5 are sticky flags. */
enum { A4J_MXCSR_DEFAULT = 0x1f80, A4J_MXCSR_FLAGS = 0x3f };

typedef uint32_t a4j_floats;

static inline a4j_floats a4j_floats_enter(void) {
  uint32_t before;
  __asm__ volatile("stmxcsr %0" : "=m"(before));
  if ((before & ~(uint32_t)A4J_MXCSR_FLAGS) != A4J_MXCSR_DEFAULT) {
    const uint32_t mode = A4J_MXCSR_DEFAULT;
    __asm__ volatile("ldmxcsr %0" ::"m"(mode) : "memory");
  }
  return before;
}

static inline void a4j_floats_leave(const a4j_floats *before) {
  if ((*before & ~(uint32_t)A4J_MXCSR_FLAGS) != A4J_MXCSR_DEFAULT) __asm__ volatile("ldmxcsr %0" ::"m"(*before) : "memory");
}

#elif defined(__aarch64__)

/* FPCR is 0 by default: round to nearest, no flush-to-zero, NaNs are propagated, no traps. */
typedef uint64_t a4j_floats;

static inline a4j_floats a4j_floats_enter(void) {
  uint64_t before;
  __asm__ volatile("mrs %0, fpcr" : "=r"(before));
  if (before != 0) __asm__ volatile("msr fpcr, %0" ::"r"(UINT64_C(0)) : "memory");
  return before;
}

static inline void a4j_floats_leave(const a4j_floats *before) {
  if (*before != 0) __asm__ volatile("msr fpcr, %0" ::"r"(*before) : "memory");
}

#endif

/* A declaration: holds until the block that it opens ends. */
#define A4J_DEFAULT_FLOATS                                                                                                     \
  __attribute__((cleanup(a4j_floats_leave), unused)) const a4j_floats a4j_floats_before = a4j_floats_enter()

#endif
