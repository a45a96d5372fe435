/*
 * What the library needs of the operating system: waiting on a word, threads, processors, large pages. One file implements it for
 * each system: os_linux.c, os_macos.c, os_windows.c. Everything else in this library is plain C11.
 */
#ifndef A4J_OS_H
#define A4J_OS_H

#include <stdatomic.h>
#include <stdint.h>

/* Nanoseconds of a clock that never runs backwards. */
int64_t a4j_os_nanos(void);

/* Lets another thread have this processor. */
void a4j_os_yield(void);

/* The processor that runs this thread; -1 if the system does not say. */
int32_t a4j_os_processor(void);

/* How many processors the process may use, at least 1. */
int32_t a4j_os_processors(void);

/* Sleeps while *word is `value`. May return early. */
void a4j_os_wait(_Atomic uint32_t *word, uint32_t value);

/*
 * The same for a worker, which then sleeps where its next caller does not run: a worker that is woken on the caller's processor
 * would wait until the caller has done all the work. `sleepers` counts those who sleep; `processor` is that of the last caller.
 * The count goes up before the word is read, both sequentially consistent.
 */
void a4j_os_wait_elsewhere(_Atomic uint32_t *word, uint32_t value, _Atomic uint32_t *sleepers, int32_t processor);

/* Wakes up to `count` threads that wait on the word; returns how many, or 0 if the system does not say. */
int32_t a4j_os_wake(_Atomic uint32_t *word, int32_t count);

typedef uintptr_t a4j_os_thread;

/*
 * Starts a thread that runs fn, named "a4j-team" if threads have names, on the process's processors, with a stack of A4J_OS_STACK
 * bytes and the signals that are meant for the process blocked. 0, or a sentence about why the system refused.
 */
const char *a4j_os_start(a4j_os_thread *thread, void (*fn)(void));

/* Returns when the thread has ended. */
void a4j_os_join(a4j_os_thread thread);

/* Kernels need less than 64 KB; a BLAS that runs on a worker may need more. musl would give 128 KB, glibc 8 MB. */
enum { A4J_OS_STACK = 512 * 1024 };

/* Registers what a forked child runs first. */
void a4j_os_at_fork(void (*in_child)(void));

/* Keeps this thread from being cancelled; returns what a4j_os_allow_cancel takes. */
int a4j_os_forbid_cancel(void);
void a4j_os_allow_cancel(int before);

/* Asks for huge pages for memory that is about to be written from end to end; a hint. */
void a4j_os_huge_pages(void *memory, int64_t bytes);

/* A pause in a spin loop. */
static inline void a4j_os_relax(void) {
#if defined(__x86_64__)
  __builtin_ia32_pause();
#elif defined(__aarch64__)
  __asm__ volatile("isb" ::: "memory"); /* yield is a no-op on most cores */
#endif
}

#endif
