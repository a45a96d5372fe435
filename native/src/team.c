/*
 * One team of threads for the process: the caller is thread 0, workers are plain threads that sleep until there are tickets.
 *
 * A call publishes `threads` tickets in one word and runs ticket 0 itself; workers that are awake claim the others by incrementing the
 * word. All tickets take their work from one shared counter, so when ticket 0 returns, no work is left to start: the caller runs the
 * unclaimed tickets, which costs nothing, and waits only for the claimed ones. So a call never waits for a thread to wake up, and short
 * work costs no more than doing it on one thread plus one futex call. A caller that finds the team busy computes on its own thread: any
 * number of callers share `threads` - 1 workers and never queue.
 *
 * OpenMP can take the place of these workers (a4j_use_team). It is not the default for three reasons, all measured with 2
 * threads on 2 virtual processors of a KVM guest, Linux 6.18, gcc 12; microseconds; "work" is 20 pieces of 1 us:
 *
 *  - libgomp ends the process if it cannot create a thread. Creating the same number of threads first, as a trial, does not help if
 *    other processes create threads too: of 100 processes started twenty at a time, each with a team of 8 under `ulimit -u 100`, 29
 *    died in libgomp, each after a successful trial. None died with this team: if a thread is refused, the team is smaller and says why.
 *  - libgomp spins after each region, for about 7 ms by default, which keeps a processor busy for every caller that returns sooner.
 *    Only an environment variable changes that; it is read when libgomp is loaded, and a JVM must not call setenv.
 *  - With spinning limited to 100 us, it waits for threads that the kernel has placed on the caller's own processor:
 *
 *                                   calls back to back           1 ms of sleep between calls     processors kept busy
 *                                   empty        20 us of work   empty        20 us of work      in that sleep
 *    region, default spinning       0.5          11.2            1.3          11.3               1.0
 *    region, spinning 100 us        0.5          11.2            158 .. 209   209 .. 234         0.2
 *    region opened by a leader      105          77 .. 118       106 .. 296   127 .. 332         0.1 .. 0.2
 *    this team                      0.4          10.9            6.9          28                 0.1
 *
 * What differs between operating systems is in os.h.
 */
#include "team.h"

#include "a4j.h"
#include "floats.h"
#include "os.h"

#include <stdalign.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>

enum { MAX_THREADS = 1024 };

/* How long a thread looks for work, or for the end of a call, before it sleeps. */
static const int64_t SPIN_NANOS = 100 * 1000;

/* With more threads than processors, a spinning thread keeps another from working. */
static const int64_t SPIN_NANOS_CROWDED = 1000;

/* After the system refused a thread, it is asked again at most this often. */
static const int64_t RETRY_NANOS = 1000 * 1000 * 1000;

/*
 * The ticket word: wanted << 16 | next. Tickets [next, wanted) of the current call can be claimed; a word with next == wanted
 * is exhausted and is what sleepers wait on. STOP, exhausted too, ends the workers.
 */
static const uint32_t STOP = UINT32_MAX;

/* In `unfinished`: wake the caller when the rest is zero. */
static const uint32_t CALLER_SLEEPS = UINT32_C(1) << 31;

static const char *const NO_FAILURE = NULL;

/* Each cache line has one reason to be written. */
static struct {
  alignas(64) atomic_bool busy; /* held during a call; its holder may write all that is plain here */
  alignas(64) _Atomic uint32_t tickets;
  alignas(64) _Atomic uint32_t unfinished; /* tickets of this call not yet done, CALLER_SLEEPS */
  alignas(64) _Atomic uint32_t sleepers;

  alignas(64) void (*fn)(void *context, int32_t thread, int32_t threads);
  void *context;
  _Atomic int64_t spin_nanos;
  _Atomic int32_t caller_processor;

  alignas(64) _Atomic int32_t size; /* 0 = not started, else workers + 1 */
  _Atomic int32_t other_size;       /* the most threads that the other team gave so far */
  _Atomic(const char *) problem;
  _Atomic(a4j_team_fn *) other; /* runs calls in place of the workers; NULL: there is none */
  bool prepared;                /* for forks, and processors is known */
  int32_t processors;
  int64_t retry_at; /* no earlier than this; 0 = whenever wanted */
  a4j_os_thread workers[MAX_THREADS - 1];

  alignas(64) _Atomic int64_t shared_calls;
  _Atomic int64_t busy_calls;
} team;

/* What a4j_team_last returns on this thread. */
static _Thread_local int32_t last;

/*
 * Spins until the word is no longer `old` or the time is over; returns the last value seen. It yields now and then (0.4 us if no other
 * thread is ready), because the thread that it waits for may need this processor: without that, one call in ten of 20 us took 75 us.
 */
static uint32_t await_change(_Atomic uint32_t *word, uint32_t old) {
  int64_t deadline = 0;
  for (;;) {
    for (int i = 0; i < 64; i++) {
      uint32_t value = atomic_load_explicit(word, memory_order_acquire);
      if (value != old) return value;
      a4j_os_relax();
    }
    a4j_os_yield();
    int64_t now = a4j_os_nanos();
    if (deadline == 0)
      deadline = now + atomic_load_explicit(&team.spin_nanos, memory_order_relaxed);
    else if (now >= deadline)
      return old;
  }
}

/* Claims a ticket: `seen` is the word with the ticket as its next, or the exhausted word if there is none. */
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

static void work(void) {
  /* Otherwise workers would have the floating-point mode of the thread that happened to start them. */
  a4j_floats_enter();
  for (;;) {
    uint32_t word;
    while (claim(&word)) {
      run_ticket(word);
      /* The call may return as soon as this is done; waking nobody afterwards does no harm. */
      if (atomic_fetch_sub_explicit(&team.unfinished, 1, memory_order_acq_rel) == (CALLER_SLEEPS | 1))
        a4j_os_wake(&team.unfinished, 1);
    }
    if (word == STOP) return;

    /* Spinning on the caller's processor would slow the caller down; a worker that sleeps moves to another one. */
    const int32_t caller = atomic_load_explicit(&team.caller_processor, memory_order_relaxed);
    if (a4j_os_processor() == caller || await_change(&team.tickets, word) == word)
      a4j_os_wait_elsewhere(&team.tickets, word, &team.sleepers,
                            atomic_load_explicit(&team.caller_processor, memory_order_relaxed));
  }
}

static void forked(void) {
  /* Busy forever: the child has none of the threads, and must not start any before it calls exec. */
  atomic_store(&team.busy, true);
  atomic_store(&team.size, 1);
  atomic_store(&team.other_size, 1);
  atomic_store(&team.problem, "this process is a fork and has no team of threads");
}

/* Runs once, before the first call that wants more than one thread. Called while busy is held. */
static void prepare(void) {
  if (team.prepared) return;
  a4j_os_at_fork(forked);
  team.processors = a4j_os_processors();
  team.prepared = true;
}

/* Grows the team to `threads` threads, or to as many as the system allows. Called while busy is held. */
static void grow(int32_t wanted) {
  int32_t threads = wanted < MAX_THREADS ? wanted : MAX_THREADS;
  int32_t size = atomic_load(&team.size);
  if (size == 0)
    size = 1;
  else if (team.retry_at != 0 && a4j_os_nanos() < team.retry_at)
    return;

  const char *problem = NO_FAILURE;
  for (; size < threads; size++) {
    problem = a4j_os_start(&team.workers[size - 1], work);
    if (problem != NO_FAILURE) break;
  }
  team.retry_at = problem == NO_FAILURE ? 0 : a4j_os_nanos() + RETRY_NANOS;
  if (problem == NO_FAILURE && wanted > MAX_THREADS) problem = "a team has at most 1024 threads";
  atomic_store(&team.problem, problem);
  atomic_store(&team.size, size);
}

static void run_workers(int32_t threads, void (*fn)(void *context, int32_t thread, int32_t threads), void *context) {
  team.fn = fn;
  team.context = context;
  atomic_store_explicit(&team.caller_processor, a4j_os_processor(), memory_order_relaxed);
  atomic_store_explicit(&team.spin_nanos, threads > team.processors ? SPIN_NANOS_CROWDED : SPIN_NANOS, memory_order_relaxed);
  atomic_store_explicit(&team.unfinished, (uint32_t)threads - 1, memory_order_relaxed);
  atomic_store(&team.tickets, (uint32_t)threads << 16 | 1);

  /* A worker that does not sleep will find a ticket without being called. */
  int32_t sleepers = (int32_t)atomic_load(&team.sleepers);
  int32_t awake = atomic_load_explicit(&team.size, memory_order_relaxed) - 1 - sleepers;
  bool woke = sleepers > 0 && threads - 1 > awake && a4j_os_wake(&team.tickets, threads - 1 - awake) > 0;

  fn(context, 0, threads);

  /*
   * When ticket 0 returns, no work is left. Tickets that are still unclaimed are those of threads that have not woken up; running
   * them here costs nothing, waiting for those threads does.
   */
  uint32_t word, own = 0;
  for (; claim(&word); own++) run_ticket(word);

  /*
   * No worker had to be woken and yet none came: they may be waiting for this processor, because the caller has moved to it since
   * they went to sleep. Yielding lets them leave it. When callers change processors, ten calls of 100 us took 690 us, not 1063.
   */
  if (!woke && own == (uint32_t)threads - 1) a4j_os_yield();

  uint32_t left = atomic_fetch_sub_explicit(&team.unfinished, own, memory_order_acq_rel) - own;
  while (left != 0) {
    uint32_t seen = await_change(&team.unfinished, left);
    if (seen == left) break;
    left = seen;
  }
  if (left == 0) return;
  left = atomic_fetch_or(&team.unfinished, CALLER_SLEEPS) | CALLER_SLEEPS;
  while (left != CALLER_SLEEPS) {
    a4j_os_wait(&team.unfinished, left);
    left = atomic_load_explicit(&team.unfinished, memory_order_acquire);
  }
}

/* ---- Another team ---- */

struct other_call {
  void (*fn)(void *context, int32_t thread, int32_t threads);
  void *context;
  _Atomic int32_t threads; /* as many as the other team gave */
};

/* Its threads have the floating-point mode of the thread that started them. */
static void run_share(void *context, int32_t thread, int32_t threads) {
  struct other_call *call = context;
  A4J_DEFAULT_FLOATS;
  if (thread == 0) atomic_store_explicit(&call->threads, threads, memory_order_relaxed);
  call->fn(call->context, thread, threads);
}

static int32_t run_other(a4j_team_fn *other, int32_t threads, void (*fn)(void *context, int32_t thread, int32_t threads),
                         void *context) {
  struct other_call call = {.fn = fn, .context = context};
  other(threads < MAX_THREADS ? threads : MAX_THREADS, run_share, &call);
  const int32_t got = atomic_load_explicit(&call.threads, memory_order_relaxed);
  if (got > atomic_load_explicit(&team.other_size, memory_order_relaxed)) atomic_store(&team.other_size, got);
  atomic_store(&team.problem, threads > MAX_THREADS ? "a team has at most 1024 threads"
                              : got < threads       ? "the other team gave fewer threads than a call wanted"
                                                    : NO_FAILURE);
  return got;
}

/* ---- A call ---- */

void a4j_team_run(int32_t threads, void (*fn)(void *context, int32_t thread, int32_t threads), void *context) {
  if (threads <= 1) {
    fn(context, 0, 1);
    return;
  }
  if (atomic_load_explicit(&team.busy, memory_order_relaxed) ||
      atomic_exchange_explicit(&team.busy, true, memory_order_acquire)) {
    last = -1;
    atomic_fetch_add_explicit(&team.busy_calls, 1, memory_order_relaxed);
    fn(context, 0, 1);
    return;
  }

  /* A caller that is cancelled in the middle would leave workers with a context that no longer exists. */
  const int cancel = a4j_os_forbid_cancel();
  prepare();
  a4j_team_fn *other = atomic_load_explicit(&team.other, memory_order_acquire);
  if (other != NULL)
    last = run_other(other, threads, fn, context);
  else {
    int32_t size = atomic_load_explicit(&team.size, memory_order_relaxed);
    if (threads > size) {
      grow(threads);
      size = atomic_load_explicit(&team.size, memory_order_relaxed);
      if (threads > size) threads = size;
    }
    if (threads > 1) run_workers(threads, fn, context);
    last = threads;
  }
  /* Only the holder of busy writes it. */
  atomic_store_explicit(&team.shared_calls, atomic_load_explicit(&team.shared_calls, memory_order_relaxed) + 1,
                        memory_order_relaxed);
  atomic_store_explicit(&team.busy, false, memory_order_release);
  a4j_os_allow_cancel(cancel);
  if (threads <= 1) fn(context, 0, 1);
}

int32_t a4j_use_team(const void *run) {
  if (run == NULL) return A4J_NULL_POINTER;
  atomic_store_explicit(&team.other, (a4j_team_fn *)run, memory_order_release);
  return A4J_OK;
}

int32_t a4j_team_threads(void) { return atomic_load(atomic_load(&team.other) == NULL ? &team.size : &team.other_size); }

int64_t a4j_team_shared_calls(void) { return atomic_load(&team.shared_calls); }

int64_t a4j_team_busy_calls(void) { return atomic_load(&team.busy_calls); }

int32_t a4j_team_last(void) {
  const int32_t answer = last;
  last = 0;
  return answer;
}

const char *a4j_team_failure(void) { return atomic_load(&team.problem); }

/*
 * When the library is unloaded (its class loader was collected) or the process ends: no thread may still run code that is about to be
 * unmapped. If the team is busy at this moment, the process is ending during a call or is a fork, and there is nothing to wait for.
 */
__attribute__((destructor)) static void stop(void) {
  if (atomic_exchange(&team.busy, true)) return;
  atomic_store(&team.tickets, STOP);
  a4j_os_wake(&team.tickets, MAX_THREADS);
  for (int32_t i = 0; i < atomic_load(&team.size) - 1; i++) a4j_os_join(team.workers[i]);
}
