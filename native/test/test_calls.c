/* What holds for every function that computes: the same bits in every floating-point mode, on every team, on a small stack. */
#define _GNU_SOURCE
#include "a4j.h"
#include "calls.h"
#include "check.h"
#include "tiers.h"

#include <pthread.h>
#include <stdlib.h>
#include <sys/mman.h>

static const int32_t THREADS[] = {1, 2, 3, 7};
enum { THREAD_COUNTS = sizeof THREADS / sizeof *THREADS };

/* ---- The floating-point mode ---- */

#if defined(__x86_64__)

/* MXCSR: flush-to-zero and denormals-are-zero; round up; round to zero, and traps on inexact results. */
static const uint64_t MODES[] = {0x1f80 | 0x8040, 0x1f80 | 0x4000, (0x1f80 & ~0x1000) | 0x6000};

static uint64_t mode(void) {
  uint32_t value;
  __asm__ volatile("stmxcsr %0" : "=m"(value));
  return value & ~UINT32_C(0x3f); /* without the sticky flags */
}

static void set_mode(uint64_t value) {
  const uint32_t word = (uint32_t)value;
  __asm__ volatile("ldmxcsr %0" ::"m"(word) : "memory");
}

#elif defined(__aarch64__)

/* FPCR: flush-to-zero and default NaN; round up; round to zero. */
static const uint64_t MODES[] = {3u << 24, 1u << 22, 3u << 22};

static uint64_t mode(void) {
  uint64_t value;
  __asm__ volatile("mrs %0, fpcr" : "=r"(value));
  return value;
}

static void set_mode(uint64_t value) { __asm__ volatile("msr fpcr, %0" ::"r"(value) : "memory"); }

#endif

static void sameBits(const struct call_kind *kind) {
  void *call = kind->make();
  int32_t status = kind->run(call, 1);
  CHECK(status == A4J_OK, "%s: wanted A4J_OK, got %s", kind->name, a4j_status_name(status));
  const uint64_t wanted = kind->hash(call), usual = mode();
  for (int t = 0; t < THREAD_COUNTS; t++) {
    kind->run(call, THREADS[t]);
    uint64_t got = kind->hash(call);
    CHECK(got == wanted, "%s on %d threads: other bits than on one", kind->name, (int)THREADS[t]);
    for (size_t m = 0; m < sizeof MODES / sizeof *MODES; m++) {
      set_mode(MODES[m]);
      status = kind->run(call, THREADS[t]);
      const uint64_t left = mode();
      set_mode(usual);
      got = kind->hash(call);
      CHECK(status == A4J_OK, "%s: wanted A4J_OK, got %s", kind->name, a4j_status_name(status));
      CHECK(left == MODES[m], "%s: called in mode %#" PRIx64 ", returned in %#" PRIx64, kind->name, MODES[m], left);
      CHECK(got == wanted, "%s on %d threads, called in mode %#" PRIx64 ": other bits than in the default mode", kind->name,
            (int)THREADS[t], MODES[m]);
    }
  }
  kind->free(call);
}

static void shouldGiveTheSameBitsInEveryModeOnEveryNumberOfThreads(void) {
  FOR_EACH_TIER (i) {
    const int before = check_failures;
    for (int k = 0; k < call_kind_count; k++) sameBits(&call_kinds[k]);
    if (check_failures != before) fprintf(stderr, "  on tier %s\n", a4j_isa_name(i));
  }
}

/* ---- The stack ---- */

#if !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)

enum { STACK = 512 * 1024, PAINT = 0xa5 };

struct deep_call {
  const struct call_kind *kind;
  void *call;
  int32_t status;
};

static void *run_deep(void *argument) {
  struct deep_call *deep = argument;
  deep->status = deep->kind == NULL ? A4J_OK : deep->kind->run(deep->call, 1);
  return NULL;
}

/* Bytes of a painted stack that a thread wrote to, what a thread needs for itself included. */
static int64_t stack_of(struct deep_call *deep) {
  unsigned char *stack = mmap(NULL, STACK, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (stack == MAP_FAILED) abort();
  memset(stack, PAINT, STACK);
  pthread_attr_t attributes;
  pthread_attr_init(&attributes);
  pthread_attr_setstack(&attributes, stack, STACK);
  pthread_t thread;
  if (pthread_create(&thread, &attributes, run_deep, deep) != 0) abort();
  pthread_join(thread, NULL);
  int64_t untouched = 0;
  while (untouched < STACK && stack[untouched] == PAINT) untouched++;
  munmap(stack, STACK);
  return STACK - untouched;
}

static void shouldNeedLittleStack(void) {
  const int64_t empty = stack_of(&(struct deep_call){0});
  FOR_EACH_TIER (i) {
    for (int k = 0; k < call_kind_count; k++) {
      struct deep_call deep = {.kind = &call_kinds[k], .call = call_kinds[k].make()};
      const int64_t used = stack_of(&deep) - empty;
      CHECK_INT(deep.status, A4J_OK);
      deep.kind->free(deep.call);
      if (getenv("A4J_TEST_STACK") != NULL) printf("%-8s %6" PRId64 "  %s\n", a4j_isa_name(i), used, call_kinds[k].name);
      CHECK(used <= deep.kind->stack, "%s on %s: wanted at most %" PRId64 " bytes of stack, got %" PRId64, deep.kind->name,
            a4j_isa_name(i), deep.kind->stack, used);
    }
  }
}

#endif

int main(void) {
  RUN(shouldGiveTheSameBitsInEveryModeOnEveryNumberOfThreads);
#if !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)
  RUN(shouldNeedLittleStack);
#endif
  return CHECK_RESULT();
}
