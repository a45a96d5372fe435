/* Linux: futexes, affinity of single threads, transparent huge pages. */
#define _GNU_SOURCE
#include "os.h"

#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdbool.h>
#include <stddef.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

/* From linux/futex.h, which musl does not have. */
enum { FUTEX_WAIT_PRIVATE = 0 | 128, FUTEX_WAKE_PRIVATE = 1 | 128 };

int64_t a4j_os_nanos(void) {
  struct timespec now;
  clock_gettime(CLOCK_MONOTONIC, &now);
  return now.tv_sec * INT64_C(1000000000) + now.tv_nsec;
}

void a4j_os_yield(void) { sched_yield(); }

int32_t a4j_os_processor(void) { return sched_getcpu(); }

/*
 * The processors of the process are those of its first thread: taskset, a container and numactl set that one, while the thread
 * that happens to call us first may have been pinned on its own.
 */
static bool process_processors(cpu_set_t *set) { return sched_getaffinity(getpid(), sizeof *set, set) == 0; }

int32_t a4j_os_processors(void) {
  cpu_set_t set;
  const long count = process_processors(&set) ? CPU_COUNT(&set) : sysconf(_SC_NPROCESSORS_ONLN);
  return count < 1 ? 1 : (int32_t)count;
}

void a4j_os_wait(_Atomic uint32_t *word, uint32_t value) { syscall(SYS_futex, word, FUTEX_WAIT_PRIVATE, value, NULL, NULL, 0); }

int32_t a4j_os_wake(_Atomic uint32_t *word, int32_t count) {
  const long woken = syscall(SYS_futex, word, FUTEX_WAKE_PRIVATE, count, NULL, NULL, 0);
  return woken < 0 ? 0 : (int32_t)woken;
}

/*
 * In a guest an idle processor that has been halted counts as taken (the hypervisor reports it as preempted), so the kernel
 * wakes a worker on the caller's processor: ten calls of 100 us after 3 ms of sleep took 1066 us, as long as one thread takes.
 * With the caller's processor out of the sleeper's affinity they took 589 us, and 562 us with threads that never sleep.
 *
 * What is set from outside meanwhile stays. A mask that equals by chance the one that this thread sleeps with can only be told
 * by the process's: if that changed too, and left of our mask what we find, the whole process was given another mask, and the
 * worker takes it.
 */
void a4j_os_wait_elsewhere(_Atomic uint32_t *word, uint32_t value, _Atomic uint32_t *sleepers, int32_t processor) {
  cpu_set_t own, narrow, process;
  bool narrowed = false;
  if (processor >= 0 && processor < CPU_SETSIZE && process_processors(&process) &&
      sched_getaffinity(0, sizeof own, &own) == 0) {
    narrow = own;
    CPU_CLR((size_t)processor, &narrow);
    narrowed = CPU_COUNT(&narrow) > 0 && !CPU_EQUAL(&narrow, &own) && sched_setaffinity(0, sizeof narrow, &narrow) == 0;
  }

  atomic_fetch_add(sleepers, 1);
  if (atomic_load(word) == value) a4j_os_wait(word, value);
  atomic_fetch_sub(sleepers, 1);

  cpu_set_t found, process_now, rest;
  if (!narrowed || sched_getaffinity(0, sizeof found, &found) != 0 || !process_processors(&process_now)) return;
  CPU_AND(&rest, &narrow, &process_now);
  if (!CPU_EQUAL(&process, &process_now) && CPU_EQUAL(&found, &rest))
    sched_setaffinity(0, sizeof process_now, &process_now);
  else if (CPU_EQUAL(&found, &narrow))
    sched_setaffinity(0, sizeof own, &own);
}

/* A thread begins with the affinity of the one that starts it. */
static void *run(void *fn) {
  cpu_set_t process;
  if (process_processors(&process)) sched_setaffinity(0, sizeof process, &process);
  ((void (*)(void))fn)();
  return NULL;
}

const char *a4j_os_start(a4j_os_thread *thread, void (*fn)(void)) {
  /*
   * Signals for the process run on the caller's threads, as a JVM expects. Faults of the thread itself stay open: blocked, they
   * would kill the process without the JVM's crash report.
   */
  sigset_t blocked, before;
  sigfillset(&blocked);
  const int faults[] = {SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGTRAP, SIGSYS, SIGABRT};
  for (size_t i = 0; i < sizeof faults / sizeof *faults; i++) sigdelset(&blocked, faults[i]);

  pthread_attr_t attributes;
  pthread_attr_init(&attributes);
  pthread_attr_setstacksize(&attributes, A4J_OS_STACK);
  pthread_sigmask(SIG_SETMASK, &blocked, &before);
  pthread_t started;
  const int refused = pthread_create(&started, &attributes, run, (void *)fn);
  pthread_sigmask(SIG_SETMASK, &before, NULL);
  pthread_attr_destroy(&attributes);
  if (refused == 0) {
    pthread_setname_np(started, "a4j-team");
    *thread = (a4j_os_thread)started;
    return NULL;
  }
  return refused == EAGAIN ? "the system refused another thread (EAGAIN: a limit on threads or processes, such as ulimit -u "
                             "or a container's pids limit, or no memory for its stack)"
                           : "the system refused another thread (pthread_create failed)";
}

void a4j_os_join(a4j_os_thread thread) { pthread_join((pthread_t)thread, NULL); }

void a4j_os_at_fork(void (*in_child)(void)) { pthread_atfork(NULL, NULL, in_child); }

int a4j_os_forbid_cancel(void) {
  int before;
  pthread_setcancelstate(PTHREAD_CANCEL_DISABLE, &before);
  return before;
}

void a4j_os_allow_cancel(int before) { pthread_setcancelstate(before, NULL); }

/* Only the huge pages that are entirely inside the memory. */
void a4j_os_huge_pages(void *memory, int64_t bytes) {
  const uintptr_t size = (uintptr_t)2 << 20, from = ((uintptr_t)memory + size - 1) / size * size;
  const uintptr_t to = ((uintptr_t)memory + (uintptr_t)bytes) / size * size;
  if (from < to) madvise((void *)from, to - from, MADV_HUGEPAGE);
}
