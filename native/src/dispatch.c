/* Which kernel table runs: the best that the machine supports, or the one selected by name. */
#include <stdatomic.h>
#include <stddef.h>
#include <string.h>

#include "a4j.h"
#include "cpu.h"
#include "kernels.h"

/* Best first. The last one runs on every machine of its architecture. */
static const struct a4j_kernels *const tiers[] = {
#if defined(__x86_64__)
    &a4j_kernels_avx512bf16,
    &a4j_kernels_avx512,
    &a4j_kernels_avx2,
    &a4j_kernels_baseline,
#elif defined(__aarch64__)
    &a4j_kernels_neon,
#endif
};

enum { TIERS = sizeof tiers / sizeof tiers[0] };

static _Atomic(const struct a4j_kernels *) active;

const struct a4j_kernels *a4j_kernels_active(void) {
  const struct a4j_kernels *kernels = atomic_load_explicit(&active, memory_order_acquire);
  for (int i = 0; kernels == NULL; i++)
    if (a4j_cpu_runs(tiers[i]->isa)) {
      const struct a4j_kernels *none = NULL;
      atomic_compare_exchange_strong(&active, &none, tiers[i]);
      kernels = atomic_load(&active);
    }
  return kernels;
}

int32_t a4j_isa_count(void) { return TIERS; }

const char *a4j_isa_name(int32_t index) { return index >= 0 && index < TIERS ? tiers[index]->isa : ""; }

int32_t a4j_isa_available(int32_t index) { return index >= 0 && index < TIERS && a4j_cpu_runs(tiers[index]->isa); }

const char *a4j_isa_active(void) { return a4j_kernels_active()->isa; }

int32_t a4j_isa_select(const char *name) {
  if (name == NULL) return A4J_NULL_POINTER;
  for (int i = 0; i < TIERS; i++)
    if (strcmp(tiers[i]->isa, name) == 0) {
      if (!a4j_cpu_runs(name)) return A4J_ISA_UNAVAILABLE;
      atomic_store_explicit(&active, tiers[i], memory_order_release);
      return A4J_OK;
    }
  return A4J_ISA_UNKNOWN;
}
