/*
 * limits: what this machine can do at best, as functions to be called between the contenders.
 *
 * A share of a limit is only worth something when the limit was measured in the same minute, in the
 * same process and on the same threads as the contender: clocks move, neighbours come and go. So the
 * driver loads this file as a shared library and calls it in every round.
 *
 * limits_fma   Independent multiply-add chains that stay in registers. A core with two FMA pipes of
 *              latency four needs eight chains in flight; there are 24 of 512 bits (of the 32
 *              registers, the rest hold the two constants), or 12 of 256 bits, or 12 of 128. Each
 *              chain converges to addend / (1 - factor), so that no value ever becomes denormal.
 * limits_dot   The same of dot products of pairs of bfloat16, which do two multiply-adds a lane; 0
 *              where the CPU has none.
 * limits_sum   A vectorised sum over two buffers, each cut into one contiguous slice a thread. It
 *              loads every byte once and does nothing else: the least that a decode step must do
 *              with its keys and values.
 * limits_handover  One core reads what another has written: slow where they have no cache in common.
 * limits_call  What one attention call costs from C, to set beside the same call from Java.
 * limits_nothing  Nothing: what a downcall costs by itself.
 * limits_team, limits_region  Handing nothing to the library's team of threads (its source is
 *              compiled in), and the same to an OpenMP region opened directly.
 *
 * Times are taken inside. For the first three they last from the moment at which the first thread
 * starts to work to the moment at which the last is done: creating a thread is not part of a limit.
 *
 * The body is written once in vector extensions of the compiler and compiled for each instruction
 * set with its own target attribute; what the processor and the operating system allow is asked
 * when it runs.
 */
#define _GNU_SOURCE /* for the cores that a thread may use: this file is for Linux */
#include "a4j.h"
#include "team.h"

#if defined(__x86_64__)
#include <immintrin.h>
#endif
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

#define EXPORT __attribute__((visibility("default")))

typedef double (*fma_fn)(int64_t iterations);
typedef float (*sum_fn)(const float *values, int64_t count);

/*
 * One instruction set: vectors of `lanes` floats, `chains` accumulators for the FMA loop, eight for
 * the sum. The unrolled loops over a constant count become registers at -O2.
 */
#define DEFINE_LIMITS(isa, attribute, lanes, chains)                                                                           \
  typedef float vec_##isa __attribute__((vector_size(4 * lanes)));                                                             \
  typedef float loose_##isa __attribute__((vector_size(4 * lanes), aligned(4), may_alias));                                    \
  attribute static double fma_##isa(int64_t iterations) {                                                                      \
    volatile float factor_source = 0.75f, addend_source = 0.25f;                                                               \
    vec_##isa factor = (vec_##isa){0} + factor_source, addend = (vec_##isa){0} + addend_source;                                \
    vec_##isa acc[chains];                                                                                                     \
    _Pragma("GCC unroll 32") for (int c = 0; c < chains; c++) acc[c] = addend * (float)c;                                      \
    for (int64_t i = 0; i < iterations; i++) {                                                                                 \
      _Pragma("GCC unroll 32") for (int c = 0; c < chains; c++) acc[c] = acc[c] * factor + addend;                             \
    }                                                                                                                          \
    vec_##isa total = (vec_##isa){0};                                                                                          \
    _Pragma("GCC unroll 32") for (int c = 0; c < chains; c++) total += acc[c];                                                 \
    volatile float sink = total[0];                                                                                            \
    (void)sink;                                                                                                                \
    return 2.0 * lanes * chains * (double)iterations;                                                                          \
  }                                                                                                                            \
  attribute static float sum_##isa(const float *values, int64_t count) {                                                       \
    vec_##isa acc[8];                                                                                                          \
    _Pragma("GCC unroll 8") for (int c = 0; c < 8; c++) acc[c] = (vec_##isa){0};                                               \
    int64_t i = 0;                                                                                                             \
    for (; i + 8 * lanes <= count; i += 8 * lanes) {                                                                           \
      _Pragma("GCC unroll 8") for (int c = 0; c < 8; c++) acc[c] += *(const loose_##isa *)(values + i + c * lanes);            \
    }                                                                                                                          \
    vec_##isa total = (vec_##isa){0};                                                                                          \
    _Pragma("GCC unroll 8") for (int c = 0; c < 8; c++) total += acc[c];                                                       \
    float sum = 0;                                                                                                             \
    for (int lane = 0; lane < lanes; lane++) sum += total[lane];                                                               \
    for (; i < count; i++) sum += values[i];                                                                                   \
    return sum;                                                                                                                \
  }

#if defined(__x86_64__)
DEFINE_LIMITS(avx512, __attribute__((target("avx512f,fma"))), 16, 24)
DEFINE_LIMITS(avx2, __attribute__((target("avx2,fma"))), 8, 12)
#endif
/* 128 bits: separate multiply and add on baseline x86-64, FMA on aarch64. */
DEFINE_LIMITS(base, , 4, 12)

#if defined(__x86_64__)
/* Pairs of ones and zeros: sums grow by one, and nothing becomes denormal. */
__attribute__((target("avx512f,avx512bf16"))) static double dot_avx512bf16(int64_t iterations) {
  enum { CHAINS = 24, LANES = 16 };
  volatile int32_t ones_source = 0x3f803f80, pair_source = 0x00003f80;
  const __m512bh ones = (__m512bh)_mm512_set1_epi32(ones_source), pair = (__m512bh)_mm512_set1_epi32(pair_source);
  __m512 acc[CHAINS];
#pragma GCC unroll 24
  for (int c = 0; c < CHAINS; c++) acc[c] = _mm512_set1_ps((float)c);
  for (int64_t i = 0; i < iterations; i++) {
#pragma GCC unroll 24
    for (int c = 0; c < CHAINS; c++) acc[c] = _mm512_dpbf16_ps(acc[c], ones, pair);
  }
  __m512 total = _mm512_setzero_ps();
#pragma GCC unroll 24
  for (int c = 0; c < CHAINS; c++) total = _mm512_add_ps(total, acc[c]);
  volatile float sink = _mm512_reduce_add_ps(total);
  (void)sink;
  return 4.0 * LANES * CHAINS * (double)iterations;
}
#endif

static struct {
  const char *name;
  fma_fn fma, dot; /* dot is NULL where there is none */
  sum_fn sum;
} isa = {"base", fma_base, NULL, sum_base};

static void choose_isa(void) {
#if defined(__x86_64__)
  __builtin_cpu_init();
  if (__builtin_cpu_supports("avx512bf16")) isa.dot = dot_avx512bf16;
  if (__builtin_cpu_supports("avx512f")) {
    isa.name = "avx512", isa.fma = fma_avx512, isa.sum = sum_avx512;
  } else if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma")) {
    isa.name = "avx2", isa.fma = fma_avx2, isa.sum = sum_avx2;
  }
#endif
}

static pthread_once_t chosen = PTHREAD_ONCE_INIT;

static int64_t nanos(void) {
  struct timespec now;
  clock_gettime(CLOCK_MONOTONIC, &now);
  return now.tv_sec * INT64_C(1000000000) + now.tv_nsec;
}

/*
 * A job: all threads meet, then each does its share and notes when it started and when it ended.
 * Each is pinned to a core of its own where there are enough: left alone, a new thread often starts
 * on the core of its creator and stays there for milliseconds (seen: half of the peak on two).
 */
struct share {
  struct job *job;
  int index;
  int64_t start, end;
  double work; /* FLOPs done, or the sum of the values read */
};

struct job {
  int threads;
  atomic_int arrived;
  atomic_int released;
  int64_t iterations; /* of `loop` if positive, else limits_sum */
  fma_fn loop;
  const float *first, *second;
  int64_t first_count, second_count;
};

static double share_of_sum(const struct share *share, const float *values, int64_t count) {
  const int threads = share->job->threads;
  const int64_t from = count * share->index / threads, to = count * (share->index + 1) / threads;
  return isa.sum(values + from, to - from);
}

static void work_on(struct share *share) {
  const struct job *job = share->job;
  share->start = nanos();
  share->work = job->iterations > 0
                    ? job->loop(job->iterations)
                    : share_of_sum(share, job->first, job->first_count) + share_of_sum(share, job->second, job->second_count);
  share->end = nanos();
}

enum { GO = 1, GIVE_UP = 2 };

static void *run_share(void *argument) {
  struct share *share = argument;
  struct job *job = share->job;
  atomic_fetch_add(&job->arrived, 1);
  int released;
  while ((released = atomic_load_explicit(&job->released, memory_order_acquire)) == 0) {
  }
  if (released == GO) work_on(share);
  return NULL;
}

/*
 * Fills cores[i] with the i-th core that the process began with; false if there are too few. Asked
 * of its first thread, which nobody pins: a thread inherits the mask of the one that created it.
 */
static int find_cores(int count, int cores[], cpu_set_t *allowed) {
  if (sched_getaffinity(getpid(), sizeof *allowed, allowed) != 0 || CPU_COUNT(allowed) < count) return 0;
  for (int core = 0, i = 0; i < count; core++) {
    if (CPU_ISSET(core, allowed)) cores[i++] = core;
  }
  return 1;
}

static cpu_set_t only(int core) {
  cpu_set_t set;
  CPU_ZERO(&set);
  CPU_SET(core, &set);
  return set;
}

/* Runs the job and returns nanoseconds, or -1 if a thread could not be started. */
static int64_t run(struct job *job, double *work) {
  enum { MAX_THREADS = 256 };
  struct share shares[MAX_THREADS];
  pthread_t ids[MAX_THREADS];
  int cores[MAX_THREADS];
  cpu_set_t allowed, before;
  pthread_once(&chosen, choose_isa);
  if (job->threads < 1 || job->threads > MAX_THREADS) return -1;
  const int pinned = sched_getaffinity(0, sizeof before, &before) == 0 && find_cores(job->threads, cores, &allowed);
  int created = 1;
  for (int i = 0; i < job->threads; i++) shares[i] = (struct share){.job = job, .index = i};
  for (; created < job->threads; created++) {
    pthread_attr_t attributes;
    pthread_attr_init(&attributes);
    if (pinned) {
      const cpu_set_t core = only(cores[created]);
      pthread_attr_setaffinity_np(&attributes, sizeof core, &core);
    }
    const int failed = pthread_create(&ids[created], &attributes, run_share, &shares[created]);
    pthread_attr_destroy(&attributes);
    if (failed) break;
  }
  if (pinned) {
    const cpu_set_t core = only(cores[0]);
    sched_setaffinity(0, sizeof core, &core);
  }
  while (atomic_load_explicit(&job->arrived, memory_order_acquire) < created - 1) {
  }
  const int all_here = created == job->threads;
  atomic_store_explicit(&job->released, all_here ? GO : GIVE_UP, memory_order_release);
  if (all_here) work_on(&shares[0]);
  for (int i = 1; i < created; i++) pthread_join(ids[i], NULL);
  if (pinned) sched_setaffinity(0, sizeof before, &before);
  if (!all_here) return -1;
  int64_t start = shares[0].start, end = shares[0].end;
  *work = 0;
  for (int i = 0; i < job->threads; i++) {
    if (shares[i].start < start) start = shares[i].start;
    if (shares[i].end > end) end = shares[i].end;
    *work += shares[i].work;
  }
  return end - start;
}

/* The instruction set in use: "avx512", "avx2" or "base". */
EXPORT const char *limits_isa(void) {
  pthread_once(&chosen, choose_isa);
  return isa.name;
}

static double gflops(int32_t threads, int64_t iterations, fma_fn loop) {
  struct job job = {.threads = threads, .iterations = iterations, .loop = loop};
  double flops = 0;
  const int64_t elapsed = run(&job, &flops);
  return elapsed > 0 ? flops / (double)elapsed : -1;
}

/* GFLOP/s of `threads` cores together over `iterations` turns of the loop (24 chains on AVX-512). */
EXPORT double limits_fma(int32_t threads, int64_t iterations) {
  pthread_once(&chosen, choose_isa);
  return gflops(threads, iterations, isa.fma);
}

/* The same of dot products of bfloat16, or 0. */
EXPORT double limits_dot(int32_t threads, int64_t iterations) {
  pthread_once(&chosen, choose_isa);
  return isa.dot == NULL ? 0 : gflops(threads, iterations, isa.dot);
}

/* Nanoseconds to read both buffers once with `threads` cores; the sum is stored in *sum. */
EXPORT int64_t limits_sum(int32_t threads, const float *first, int64_t first_count, const float *second, int64_t second_count,
                          double *sum) {
  struct job job = {
      .threads = threads, .first = first, .first_count = first_count, .second = second, .second_count = second_count};
  return run(&job, sum);
}

enum { HANDED_OVER = 2 << 20 };

struct writer {
  volatile char *lines;
  int core;
};

static void *write_lines(void *argument) {
  const struct writer *writer = argument;
  const cpu_set_t core = only(writer->core);
  sched_setaffinity(0, sizeof core, &core);
  for (int i = 0; i < HANDED_OVER; i += 64) writer->lines[i]++;
  return NULL;
}

/* Nanoseconds in which the first core reads 2 MiB that the second has just written, or -1. */
EXPORT int64_t limits_handover(void) {
  int cores[2];
  cpu_set_t allowed, before;
  if (sched_getaffinity(0, sizeof before, &before) != 0 || !find_cores(2, cores, &allowed)) return -1;
  char *lines = calloc(HANDED_OVER, 1);
  if (lines == NULL) return -1;
  const cpu_set_t first = only(cores[0]);
  sched_setaffinity(0, sizeof first, &first);
  struct writer writer = {.lines = lines, .core = cores[1]};
  int64_t elapsed = -1;
  pthread_t id;
  if (pthread_create(&id, NULL, write_lines, &writer) == 0) {
    pthread_join(id, NULL);
    const int64_t start = nanos();
    int sum = 0;
    for (int i = 0; i < HANDED_OVER; i += 64) sum += writer.lines[i];
    elapsed = nanos() - start;
    volatile int sink = sum;
    (void)sink;
  }
  sched_setaffinity(0, sizeof before, &before);
  free(lines);
  return elapsed;
}

/*
 * Lets the calling thread run only on the index-th of the process's cores, or on all of them if
 * index is negative. Returns 0 if that was possible.
 */
EXPORT int32_t limits_pin(int32_t index) {
  int cores[CPU_SETSIZE];
  cpu_set_t mask;
  if (index >= CPU_SETSIZE || !find_cores(index < 0 ? 0 : index + 1, cores, &mask)) return -1;
  if (index >= 0) mask = only(cores[index]);
  return sched_setaffinity(0, sizeof mask, &mask);
}

EXPORT void limits_nothing(void) {}

/*
 * Nanoseconds a call, over `calls` calls, of `attention` on contiguous tensors with as many query as
 * key/value heads; or the status of the first call that failed, negative.
 */
EXPORT double limits_call(__typeof__(a4j_attention) *attention, __typeof__(a4j_attention_workspace_bytes) *workspace_bytes,
                          int32_t threads, int64_t heads, int64_t len_q, int64_t len_k, int64_t dim, const float *q,
                          const float *k, const float *v, float *out, int64_t calls) {
  a4j_attention_desc desc = {
      .size_bytes = sizeof desc,
      .abi_version = A4J_ABI_VERSION,
      .threads = threads,
      .window_left = A4J_UNBOUNDED,
      .window_right = A4J_UNBOUNDED,
      .key_limit = len_k,
      .maps = 1,
      .value_parts = 1,
      .batch = 1,
      .heads_q = heads,
      .heads_kv = heads,
      .len_q = len_q,
      .len_k = len_k,
      .dim_qk = dim,
      .dim_v = dim,
      .q.stride_batch = heads * len_q * dim,
      .q.stride_head = len_q * dim,
      .q.stride_row = dim,
      .k.stride_batch = heads * len_k * dim,
      .k.stride_head = len_k * dim,
      .k.stride_row = dim,
      .v.stride_batch = heads * len_k * dim,
      .v.stride_head = len_k * dim,
      .v.stride_row = dim,
      .out.stride_batch = heads * len_q * dim,
      .out.stride_head = len_q * dim,
      .out.stride_row = dim,
      .scale = 0.125f,
      .keep_scale = 1,
  };
  const int64_t bytes = workspace_bytes(&desc);
  if (bytes < 0) return (double)bytes;
  void *workspace = NULL;
  if (posix_memalign(&workspace, A4J_WORKSPACE_ALIGNMENT, (size_t)bytes + 1) != 0) return -1;
  int32_t status = A4J_OK;
  const int64_t start = nanos();
  for (int64_t call = 0; call < calls && status == A4J_OK; call++) {
    status = attention(&desc, q, k, v, out, workspace, bytes);
  }
  const int64_t elapsed = nanos() - start;
  free(workspace);
  return status == A4J_OK ? (double)elapsed / (double)calls : -(double)status;
}

static void count_in(void *context, int32_t thread, int32_t threads) {
  (void)thread, (void)threads;
  atomic_fetch_add_explicit((atomic_int *)context, 1, memory_order_relaxed);
}

/* The pause between two calls, in which a team that wants to sleep may. */
static void rest(int64_t pause_nanos) {
  if (pause_nanos == 0) return;
  const struct timespec pause = {.tv_sec = 0, .tv_nsec = (long)pause_nanos};
  nanosleep(&pause, NULL);
}

/* Nanoseconds to hand nothing to `threads` threads of the library's team, after a pause. */
EXPORT int64_t limits_team(int32_t threads, int64_t pause_nanos) {
  atomic_int count = 0;
  rest(pause_nanos);
  const int64_t start = nanos();
  a4j_team_run(threads, count_in, &count);
  return nanos() - start;
}

/* The same with an OpenMP region, opened by the calling thread. */
EXPORT int64_t limits_region(int32_t threads, int64_t pause_nanos) {
  atomic_int count = 0;
  rest(pause_nanos);
  const int64_t start = nanos();
#pragma omp parallel num_threads(threads)
  count_in(&count, 0, threads);
  return nanos() - start;
}
