/* Asks CPU and operating system what they can run. */
#include "cpu.h"

#include <string.h>

#if defined(__x86_64__)
#include <cpuid.h>
#endif

/*
 * The compiler's own run-time support asks CPUID for the instructions and XGETBV for the registers that the operating system
 * saves (bits 1, 2 for AVX; 5, 6, 7 for AVX-512); a feature counts only where both agree.
 */
#if defined(__x86_64__)
static int runs_avx512(void) {
  return __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512bw") &&
         __builtin_cpu_supports("avx512vl");
}

/* Conversion of float16. Clang 14 does not know it by name; its registers are those of AVX. */
static int has_f16c(void) {
  unsigned eax, ebx, ecx, edx;
  return __get_cpuid(1, &eax, &ebx, &ecx, &edx) && (ecx & bit_F16C) != 0;
}

int a4j_cpu_runs(const char *tier) {
#ifdef A4J_EMULATE_AVX512
  if (strncmp(tier, "avx512", 6) == 0) tier = "avx2"; /* which is all that the emulation needs */
#endif
  __builtin_cpu_init();
  if (strcmp(tier, "avx512bf16") == 0)
    return runs_avx512() && __builtin_cpu_supports("avx512bf16") && __builtin_cpu_supports("avx512vnni");
  if (strcmp(tier, "avx512") == 0) return runs_avx512();
  if (strcmp(tier, "avx2") == 0) return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") && has_f16c();
  return strcmp(tier, "baseline") == 0;
}
#elif defined(__aarch64__)
int a4j_cpu_runs(const char *tier) { return strcmp(tier, "neon") == 0; }
#else
#error "attention4j has kernels for x86-64 and aarch64"
#endif
