/*
 * One team of threads for the process: the caller is its thread 0, workers are plain threads that sleep until there are
 * tickets.
 *
 * A call publishes `threads` tickets in one word, runs ticket 0 itself, and whoever is awake claims the others by counting
 * the word up. Work lies behind a counter that all tickets share, so when ticket 0 comes back nothing is left to begin:
 * tickets that nobody has claimed yet are run by the caller, for nothing, and it waits only for those that were. Hence a
 * call never waits for a thread to wake up, and short work costs no more than doing it alone and one futex call.
 * A caller that finds the team busy computes alone: any number of callers shares `threads` - 1 workers and never queues.
 *
 * Why not OpenMP regions, which would otherwise be the obvious way (all measured with 2 threads on 2 virtual processors
 * of a KVM guest, Linux 6.18, gcc 12; microseconds; "work" is 20 pieces of 1 us):
 *
 *  - libgomp ends the process when it cannot create a thread. Creating as many as a trial first does not help when others
 *    create threads too: of 100 processes started twenty at once, each with a team of 8 under `ulimit -u 100`, 29 died in
 *    libgomp, each after a successful trial. Here none did: a refused thread is a smaller team and a sentence.
 *  - libgomp spins after each region, by default about 7 ms, which keeps a processor busy for every caller that comes back
 *    sooner. Only an environment variable changes it, read when libgomp is loaded, and a JVM must not be made to setenv.
 *  - With its spinning tuned to 100 us it waits for threads that the kernel has put on the caller's own processor:
 *
 *                                   calls back to back           1 ms of sleep between calls     processors kept busy
 *                                   empty        20 us of work   empty        20 us of work      in that sleep
 *    region, default spinning       0.5          11.2            1.3          11.3               1.0
 *    region, spinning 100 us        0.5          11.2            158 .. 209   209 .. 234         0.2
 *    region opened by a leader      105          77 .. 118       106 .. 296   127 .. 332         0.1 .. 0.2
 *    this team                      0.4          10.9            6.9          28                 0.1
 *
 * Sleepers and processors. In a guest an idle processor that has been halted counts as taken (the hypervisor reports it as
 * preempted), so the kernel wakes a worker on the caller's processor, where it waits until the caller has done all the
 * work: ten calls of 100 us after 3 ms of sleep took 1066 us, as long as one thread takes. So a worker lies down with the
 * last caller's processor out of its affinity and takes it back when it gets up: 589 us, with 562 us for a region whose
 * threads never sleep. Awake, a worker may run wherever the process may.
 */
#define _GNU_SOURCE
#include "team.h"

#include "a4j.h"

#include <errno.h>
#include <fenv.h>
#include <linux/futex.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdalign.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

enum { MAX_THREADS = 1024 };

/* How long a thread looks for work, or for the end of a call, before it sleeps. */
static const int64_t SPIN_NANOS = 100 * 1000;

/* With more threads than processors whoever spins keeps another from working. */
static const int64_t SPIN_NANOS_CROWDED = 1000;

/* After a refusal the system is asked again at most this often. */
static const int64_t RETRY_NANOS = 1000 * 1000 * 1000;

/*
 * The ticket word: wanted << 16 | next. Tickets [next, wanted) of the current call are to be had; a word with next == wanted
 * is exhausted and is what sleepers wait on. STOP, exhausted too, ends the workers.
 */
static const uint32_t STOP = UINT32_MAX;

/* In `unfinished`: the caller is to be woken when the rest is zero. */
static const uint32_t CALLER_SLEEPS = UINT32_C(1) << 31;

/* Each line of cache has one reason to be written. */
static struct {
  alignas(64) atomic_bool busy; /* held during a call; who has it may write all that is plain here */
  alignas(64) _Atomic uint32_t tickets;
  alignas(64) _Atomic uint32_t unfinished; /* tickets of this call not yet done, CALLER_SLEEPS */
  alignas(64) _Atomic uint32_t sleepers;

  alignas(64) void (*fn)(void *context, int32_t thread, int32_t threads);
  void *context;
  _Atomic int64_t spin_nanos;
  _Atomic int32_t caller_processor;

  alignas(64) _Atomic int32_t size; /* 0 = not started, else workers + 1 */
  _Atomic(const char *) problem;
  int32_t processors;
  int64_t retry_at; /* no earlier than this; 0 = whenever wanted */
  pthread_t workers[MAX_THREADS - 1];
} team;

static int64_t now_nanos(void) {
  struct timespec now;
  clock_gettime(CLOCK_MONOTONIC, &now);
  return now.tv_sec * INT64_C(1000000000) + now.tv_nsec;
}

static void futex_wait(_Atomic uint32_t *word, uint32_t value) {
  syscall(SYS_futex, word, FUTEX_WAIT_PRIVATE, value, NULL, NULL, 0);
}

/* Returns how many it woke. */
static int32_t futex_wake(_Atomic uint32_t *word, int32_t count) {
  return (int32_t)syscall(SYS_futex, word, FUTEX_WAKE_PRIVATE, count, NULL, NULL, 0);
}

static void relax(void) {
#if defined(__x86_64__)
  __builtin_ia32_pause();
#elif defined(__aarch64__)
  __asm__ volatile("isb" ::: "memory"); /* yield is a no-op on most cores */
#endif
}

/*
 * Spins until the word is no longer `old` or the time is over; returns what it saw last. It yields now and then (0.4 us
 * where nobody waits), because who is spun for may be waiting for this very processor: without, one call in ten of 20 us
 * took 75.
 */
static uint32_t await_change(_Atomic uint32_t *word, uint32_t old) {
  int64_t deadline = 0;
  for (;;) {
    for (int i = 0; i < 64; i++) {
      uint32_t value = atomic_load_explicit(word, memory_order_acquire);
      if (value != old) return value;
      relax();
    }
    sched_yield();
    int64_t now = now_nanos();
    if (deadline == 0)
      deadline = now + atomic_load_explicit(&team.spin_nanos, memory_order_relaxed);
    else if (now >= deadline)
      return old;
  }
}

/* Takes a ticket: `seen` is the word with the ticket as its next. Where there is none, the exhausted word. */
static bool claim(uint32_t *seen) {
  uint32_t word = atomic_load_explicit(&team.tickets, memory_order_acquire);
  while ((word & 0xffff) < word >> 16)
    if (atomic_compare_exchange_weak_explicit(&team.tickets, &word, word + 1, memory_order_acq_rel, memory_order_acquire)) {
      *seen = word;
      return true;
    }
  *seen = word;
  return false;
}

/* Whoever holds a ticket may read fn and context: they stay until `unfinished` is zero. */
static void run_ticket(uint32_t word) { team.fn(team.context, (int32_t)(word & 0xffff), (int32_t)(word >> 16)); }

/*
 * Sleeps until the ticket word is no longer the exhausted `word`, away from the caller's processor. An affinity that
 * someone sets from outside meanwhile stays, unless it is by chance the very one that this thread sleeps with.
 */
static void sleep_until_called(uint32_t word) {
  cpu_set_t own, narrow, found;
  bool narrowed = false;
  if (sched_getaffinity(0, sizeof own, &own) == 0) {
    narrow = own;
    CPU_CLR((size_t)atomic_load_explicit(&team.caller_processor, memory_order_relaxed), &narrow);
    narrowed = CPU_COUNT(&narrow) > 0 && !CPU_EQUAL(&narrow, &own) && sched_setaffinity(0, sizeof narrow, &narrow) == 0;
  }

  /*
   * Either the caller sees this sleeper, or the load here sees the caller's tickets: both sides write, then read, all
   * sequentially consistent.
   */
  atomic_fetch_add(&team.sleepers, 1);
  if (atomic_load(&team.tickets) == word) futex_wait(&team.tickets, word);
  atomic_fetch_sub(&team.sleepers, 1);

  if (narrowed && sched_getaffinity(0, sizeof found, &found) == 0 && CPU_EQUAL(&found, &narrow))
    sched_setaffinity(0, sizeof own, &own);
}

static void *work(void *unused) {
  (void)unused;
  /* Else the thread that happened to come first would lend its rounding and flush-to-zero to all. */
  fesetenv(FE_DFL_ENV);
  for (;;) {
    uint32_t word;
    while (claim(&word)) {
      run_ticket(word);
      /* The call may return as soon as this is done; waking nobody afterwards does no harm. */
      if (atomic_fetch_sub_explicit(&team.unfinished, 1, memory_order_acq_rel) == (CALLER_SLEEPS | 1))
        futex_wake(&team.unfinished, 1);
    }
    if (word == STOP) return NULL;

    /* On the caller's processor spinning would be in its way; sleeping leads away from there. */
    if (sched_getcpu() == atomic_load_explicit(&team.caller_processor, memory_order_relaxed) ||
        await_change(&team.tickets, word) == word)
      sleep_until_called(word);
  }
}

static void forked(void) {
  /* Busy for ever: the child has none of the threads, and must not start any before it execs. */
  atomic_store(&team.busy, true);
  atomic_store(&team.size, 1);
  atomic_store(&team.problem, "this process is a fork and has no team of threads");
}

/* Lets the team have `threads` threads, or as many as the system gives. Called when busy is held. */
static void grow(int32_t wanted) {
  int32_t threads = wanted < MAX_THREADS ? wanted : MAX_THREADS;
  int32_t size = atomic_load(&team.size);
  if (size == 0) {
    pthread_atfork(NULL, NULL, forked);
    cpu_set_t set;
    team.processors = sched_getaffinity(0, sizeof set, &set) == 0 ? CPU_COUNT(&set) : (int32_t)sysconf(_SC_NPROCESSORS_ONLN);
    size = 1;
  } else if (team.retry_at != 0 && now_nanos() < team.retry_at)
    return;

  /*
   * Signals meant for the process run on the caller's threads, which a JVM expects. Faults of the thread itself stay open:
   * blocked, they would kill without the JVM's crash report.
   */
  sigset_t blocked, before;
  sigfillset(&blocked);
  const int faults[] = {SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGTRAP, SIGSYS, SIGABRT};
  for (size_t i = 0; i < sizeof faults / sizeof *faults; i++) sigdelset(&blocked, faults[i]);
  pthread_sigmask(SIG_SETMASK, &blocked, &before);
  int refused = 0;
  for (; size < threads; size++) {
    pthread_t *worker = &team.workers[size - 1];
    refused = pthread_create(worker, NULL, work, NULL);
    if (refused != 0) break;
    pthread_setname_np(*worker, "a4j-team");
  }
  pthread_sigmask(SIG_SETMASK, &before, NULL);

  team.retry_at = refused == 0 ? 0 : now_nanos() + RETRY_NANOS;
  const char *problem = NULL;
  if (refused == EAGAIN)
    problem = "the system refused another thread (EAGAIN: a limit on threads or processes, such as ulimit -u "
              "or a container's pids limit, or no memory for its stack)";
  else if (refused != 0)
    problem = "the system refused another thread (pthread_create failed)";
  else if (wanted > MAX_THREADS)
    problem = "a team has at most 1024 threads";
  atomic_store(&team.problem, problem);
  atomic_store(&team.size, size);
}

static void run_team(int32_t threads, void (*fn)(void *context, int32_t thread, int32_t threads), void *context) {
  team.fn = fn;
  team.context = context;
  atomic_store_explicit(&team.caller_processor, sched_getcpu(), memory_order_relaxed);
  atomic_store_explicit(&team.spin_nanos, threads > team.processors ? SPIN_NANOS_CROWDED : SPIN_NANOS, memory_order_relaxed);
  atomic_store_explicit(&team.unfinished, (uint32_t)threads - 1, memory_order_relaxed);
  atomic_store(&team.tickets, (uint32_t)threads << 16 | 1);

  /* Who does not sleep will find a ticket without being called. */
  int32_t sleepers = (int32_t)atomic_load(&team.sleepers);
  int32_t awake = atomic_load_explicit(&team.size, memory_order_relaxed) - 1 - sleepers;
  bool woke = sleepers > 0 && threads - 1 > awake && futex_wake(&team.tickets, threads - 1 - awake) > 0;

  fn(context, 0, threads);

  /*
   * Back from ticket 0 all work is taken. Tickets still to be had are those of threads that have not woken up; running
   * them here costs nothing, waiting for those threads does.
   */
  uint32_t word, own = 0;
  for (; claim(&word); own++) run_ticket(word);

  /*
   * Nobody had to be woken and yet nobody came: they may wait for this processor, as when the caller has moved to it since
   * they lay down. Given a turn, they leave. Where callers change processors, ten calls of 100 us took 690 us instead of
   * 1063.
   */
  if (!woke && own == (uint32_t)threads - 1) sched_yield();

  uint32_t left = atomic_fetch_sub_explicit(&team.unfinished, own, memory_order_acq_rel) - own;
  while (left != 0) {
    uint32_t seen = await_change(&team.unfinished, left);
    if (seen == left) break;
    left = seen;
  }
  if (left == 0) return;
  left = atomic_fetch_or(&team.unfinished, CALLER_SLEEPS) | CALLER_SLEEPS;
  while (left != CALLER_SLEEPS) {
    futex_wait(&team.unfinished, left);
    left = atomic_load_explicit(&team.unfinished, memory_order_acquire);
  }
}

void a4j_team_run(int32_t threads, void (*fn)(void *context, int32_t thread, int32_t threads), void *context) {
  if (threads <= 1 || atomic_load_explicit(&team.busy, memory_order_relaxed) ||
      atomic_exchange_explicit(&team.busy, true, memory_order_acquire)) {
    fn(context, 0, 1);
    return;
  }

  /* A caller cancelled half way would leave workers with a context that is gone. */
  int cancel_state;
  pthread_setcancelstate(PTHREAD_CANCEL_DISABLE, &cancel_state);
  int32_t size = atomic_load_explicit(&team.size, memory_order_relaxed);
  if (threads > size) {
    grow(threads);
    size = atomic_load_explicit(&team.size, memory_order_relaxed);
    if (threads > size) threads = size;
  }
  if (threads > 1) run_team(threads, fn, context);
  atomic_store_explicit(&team.busy, false, memory_order_release);
  pthread_setcancelstate(cancel_state, NULL);
  if (threads <= 1) fn(context, 0, 1);
}

int32_t a4j_team_threads(void) { return atomic_load(&team.size); }

const char *a4j_team_failure(void) { return atomic_load(&team.problem); }

/*
 * When the library is unloaded (its class loader is gone) or the process ends: no thread may be left
 * in code that is no longer there. Busy at this moment means that the process ends under a running
 * call, or that it is a fork; then there is nothing to wait for.
 */
__attribute__((destructor)) static void stop(void) {
  if (atomic_exchange(&team.busy, true)) return;
  atomic_store(&team.tickets, STOP);
  futex_wake(&team.tickets, MAX_THREADS);
  for (int32_t i = 0; i < atomic_load(&team.size) - 1; i++) pthread_join(team.workers[i], NULL);
}
