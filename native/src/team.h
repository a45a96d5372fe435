/* One team of threads for the whole process. team.c says how and why. */
#ifndef A4J_TEAM_H
#define A4J_TEAM_H

#include <stdint.h>

/*
 * Runs fn(context, thread, threads) once for each thread in [0, threads) of a team no larger than `threads`, and returns when
 * all have finished. The caller's own thread is one of the team.
 *
 * Calls fn(context, 0, 1) on the caller's own thread when threads <= 1, when the team is busy with another call (so also from
 * inside fn), or when it could not be started.
 *
 * So fn must get all work done for any number of threads: work is taken from a shared counter. One thread may run several
 * indices one after the other, thus fn must never wait for another index. `thread` is an index into the caller's workspace,
 * nothing more. fn must return: no longjmp, no pthread_exit.
 *
 * Workers compute in the default floating-point mode (floats.h); the caller is responsible for its own.
 *
 * Thread-safe, never blocks on another caller, allocates nothing once the team has reached its size.
 */
void a4j_team_run(int32_t threads, void (*fn)(void *context, int32_t thread, int32_t threads), void *context);

/* Another team, as a4j_use_team of a4j.h registers it: does what a4j_team_run does for threads > 1, one call at a time. */
typedef void a4j_team_fn(int32_t threads, void (*fn)(void *context, int32_t thread, int32_t threads), void *context);

/* What was started, and why not more: a4j_team_threads and a4j_team_failure of a4j.h. */

/*
 * How many of `threads` pay for themselves, at least 1, if one thread takes `nanos`: each further thread must save more than
 * the hand-over costs, about 3 us when the team is awake and 10 when it sleeps.
 */
static inline int32_t a4j_team_paying(int32_t threads, double nanos) {
#if defined(A4J_TEAM_ALWAYS) /* for tests: small calls are shared too */
  nanos = 1e12;
#endif
  const double paying = nanos / 10e3;
  return paying >= threads ? threads : paying < 1 ? 1 : (int32_t)paying;
}

#endif
