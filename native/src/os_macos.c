/*
 * macOS: os_sync_wait_on_address (macOS 14.4). Never compiled and never run: there was no such machine. Affinity of threads
 * does not exist there; the scheduler moves woken threads to idle processors by itself.
 */
#include "os.h"

#include <errno.h>
#include <os/os_sync_wait_on_address.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stddef.h>
#include <time.h>
#include <unistd.h>

int64_t a4j_os_nanos(void) { return (int64_t)clock_gettime_nsec_np(CLOCK_UPTIME_RAW); }

void a4j_os_yield(void) { sched_yield(); }

int32_t a4j_os_processor(void) { return -1; }

int32_t a4j_os_processors(void) {
  const long count = sysconf(_SC_NPROCESSORS_ONLN);
  return count < 1 ? 1 : (int32_t)count;
}

void a4j_os_wait(_Atomic uint32_t *word, uint32_t value) {
  os_sync_wait_on_address((void *)word, value, sizeof value, OS_SYNC_WAIT_ON_ADDRESS_NONE);
}

int32_t a4j_os_wake(_Atomic uint32_t *word, int32_t count) {
  int32_t woken = 0;
  while (woken < count && os_sync_wake_by_address_any((void *)word, sizeof(uint32_t), OS_SYNC_WAKE_BY_ADDRESS_NONE) == 0)
    woken++;
  return woken;
}

void a4j_os_wait_elsewhere(_Atomic uint32_t *word, uint32_t value, _Atomic uint32_t *sleepers, int32_t processor) {
  (void)processor;
  atomic_fetch_add(sleepers, 1);
  if (atomic_load(word) == value) a4j_os_wait(word, value);
  atomic_fetch_sub(sleepers, 1);
}

static void *run(void *fn) {
  pthread_setname_np("a4j-team");
  ((void (*)(void))fn)();
  return NULL;
}

const char *a4j_os_start(a4j_os_thread *thread, void (*fn)(void)) {
  /* As on Linux: signals for the process run on the caller's threads, faults of the thread itself stay open. */
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
    *thread = (a4j_os_thread)started;
    return NULL;
  }
  return refused == EAGAIN ? "the system refused another thread (EAGAIN: a limit on threads, or no memory for its stack)"
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

void a4j_os_huge_pages(void *memory, int64_t bytes) { (void)memory, (void)bytes; }
