/*
 * The team: which thread runs what, how many threads there are, and what happens if none can be created. On another team
 * (chosen_team.c), only the tests that hold for any team run.
 */
#define _GNU_SOURCE
#include "check.h"
#include "team.h"

#include "a4j.h"

#include <dirent.h>
#include <limits.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum { THREADS = 4, CALLERS = 64, MOST = 1024 };

static int64_t now_nanos(clockid_t clock) {
  struct timespec now;
  clock_gettime(clock, &now);
  return now.tv_sec * INT64_C(1000000000) + now.tv_nsec;
}

static void sleep_millis(long millis) { nanosleep(&(struct timespec){millis / 1000, millis % 1000 * 1000000}, NULL); }

static int process_threads(void) {
  int count = 0;
  DIR *tasks = opendir("/proc/self/task");
  for (struct dirent *task; tasks != NULL && (task = readdir(tasks)) != NULL;) count += task->d_name[0] != '.';
  if (tasks != NULL) closedir(tasks);
  return count;
}

static bool own_team(void) { return getenv("A4J_TEST_TEAM") == NULL; }

/* The own team's threads only, by their name: a sanitizer may have one of its own. */
static int team_threads_to(pid_t *ids, int most) {
  int count = 0;
  DIR *tasks = opendir("/proc/self/task");
  for (struct dirent *task; tasks != NULL && (task = readdir(tasks)) != NULL;) {
    char path[300], name[32] = "";
    snprintf(path, sizeof path, "/proc/self/task/%s/comm", task->d_name);
    FILE *file = task->d_name[0] == '.' ? NULL : fopen(path, "r");
    if (file == NULL) continue;
    if (fgets(name, sizeof name, file) != NULL && strcmp(name, "a4j-team\n") == 0 && count < most)
      ids[count++] = (pid_t)atoi(task->d_name);
    fclose(file);
  }
  if (tasks != NULL) closedir(tasks);
  return count;
}

static int team_threads(void) {
  pid_t ids[MOST];
  return team_threads_to(ids, MOST);
}

/* What every index of a call writes down; parts are taken from a shared counter, as kernels do. */
typedef struct {
  atomic_int runs[MOST];
  atomic_int threads; /* as fn was told; -1 if it was told different things */
  atomic_int outside; /* indices that do not belong */
  atomic_long next, sum;
  long parts;
  int64_t part_nanos;
} Call;

static void take_parts(void *context, int32_t thread, int32_t threads) {
  Call *call = context;
  int none = 0;
  if (!atomic_compare_exchange_strong(&call->threads, &none, threads) && none != threads) atomic_store(&call->threads, -1);
  if (thread < 0 || thread >= threads || thread >= MOST)
    atomic_fetch_add(&call->outside, 1);
  else
    atomic_fetch_add(&call->runs[thread], 1);
  for (long part; (part = atomic_fetch_add(&call->next, 1)) < call->parts;) {
    int64_t end = call->part_nanos == 0 ? 0 : now_nanos(CLOCK_MONOTONIC) + call->part_nanos;
    while (end != 0 && now_nanos(CLOCK_MONOTONIC) < end) continue;
    atomic_fetch_add(&call->sum, part + 1);
  }
}

static Call *new_call(long parts, int64_t part_nanos) {
  Call *call = calloc(1, sizeof *call);
  call->parts = parts;
  call->part_nanos = part_nanos;
  return call;
}

static void check_call(Call *call, int most) {
  int threads = atomic_load(&call->threads);
  CHECK(threads >= 1 && threads <= most, "wanted 1 to %d threads, got %d", most, threads);
  CHECK_INT(atomic_load(&call->outside), 0);
  for (int i = 0; i < MOST; i++) CHECK_INT(atomic_load(&call->runs[i]), i < threads ? 1 : 0);
  CHECK_INT(atomic_load(&call->sum), call->parts * (call->parts + 1) / 2);
}

static void shouldComputeAloneWhenOneThreadIsWanted(void) {
  int before = process_threads();
  for (int32_t threads = -1; threads <= 1; threads++) {
    Call *call = new_call(10, 0);
    a4j_team_run(threads, take_parts, call);
    check_call(call, 1);
    free(call);
  }
  CHECK_INT(a4j_team_threads(), 0);
  CHECK_INT(process_threads(), before);
}

static void shouldRunEveryIndexOnceForEveryNumberOfThreads(void) {
  const int32_t sizes[] = {2, 3, THREADS, 2, 5, 9, 1, 8};
  for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++)
    for (int repeat = 0; repeat < 200; repeat++) {
      Call *call = new_call(repeat % 50, repeat % 3 * 1000);
      a4j_team_run(sizes[i], take_parts, call);
      check_call(call, sizes[i]);
      CHECK_INT(atomic_load(&call->threads), sizes[i]);
      free(call);
    }
  CHECK_INT(a4j_team_threads(), 9);
  CHECK(a4j_team_failure() == NULL, "%s", a4j_team_failure());
}

static void shouldGiveEveryIndexItsOwnRunAfterASleep(void) {
  for (int repeat = 0; repeat < 50; repeat++) {
    sleep_millis(repeat % 4);
    Call *call = new_call(20, 20000);
    a4j_team_run(THREADS, take_parts, call);
    check_call(call, THREADS);
    free(call);
  }
}

static void run_nested(void *context, int32_t thread, int32_t threads) {
  (void)thread;
  (void)threads;
  atomic_int *alone = context;
  Call *call = new_call(5, 0);
  a4j_team_run(THREADS, take_parts, call);
  check_call(call, 1);
  atomic_fetch_add(alone, 1);
  free(call);
}

static void shouldComputeAloneInsideACall(void) {
  atomic_int alone = 0;
  a4j_team_run(THREADS, run_nested, &alone);
  CHECK_INT(atomic_load(&alone), THREADS);
}

typedef struct {
  atomic_int entered, released;
} Gate;

static void wait_at_gate(void *context, int32_t thread, int32_t threads) {
  (void)threads;
  Gate *gate = context;
  if (thread != 0) return;
  atomic_store(&gate->entered, 1);
  while (!atomic_load(&gate->released)) sleep_millis(1);
}

static void *hold_the_team(void *gate) {
  a4j_team_run(THREADS, wait_at_gate, gate);
  return NULL;
}

static void shouldComputeAloneWhileTheTeamIsBusy(void) {
  Gate gate = {0, 0};
  pthread_t holder;
  int refused = pthread_create(&holder, NULL, hold_the_team, &gate);
  CHECK_INT(refused, 0);
  if (refused != 0) return;
  while (!atomic_load(&gate.entered)) sleep_millis(1);
  a4j_team_last();
  const int64_t busy = a4j_team_busy_calls(), shared = a4j_team_shared_calls();
  Call *call = new_call(100, 0);
  a4j_team_run(THREADS, take_parts, call);
  check_call(call, 1);
  CHECK_INT(a4j_team_busy_calls(), busy + 1);
  CHECK_INT(a4j_team_last(), -1);
  CHECK_INT(a4j_team_last(), 0);
  atomic_store(&gate.released, 1);
  pthread_join(holder, NULL);
  free(call);

  call = new_call(100, 0);
  a4j_team_run(THREADS, take_parts, call);
  CHECK_INT(atomic_load(&call->threads), THREADS);
  CHECK_INT(a4j_team_last(), THREADS);
  CHECK_INT(a4j_team_shared_calls(), shared + 2); /* that of the holder too */
  a4j_team_run(1, take_parts, call);
  CHECK_INT(a4j_team_last(), 0);
  free(call);
}

static atomic_int most_threads, callers_done;

static void *call_often(void *unused) {
  (void)unused;
  for (int repeat = 0; repeat < 200; repeat++) {
    Call *call = new_call(7, repeat % 2 * 3000);
    a4j_team_run(THREADS, take_parts, call);
    check_call(call, THREADS);
    free(call);
  }
  atomic_fetch_add(&callers_done, 1);
  return NULL;
}

/* In a process of its own, so that the team does not exist yet. */
static void shouldStayWithinItsThreadsWithManyCallers(void) {
  pthread_t callers[CALLERS];
  int before = process_threads(), started = 0;
  while (started < CALLERS && pthread_create(&callers[started], NULL, call_often, NULL) == 0) started++;
  CHECK_INT(started, CALLERS);
  while (atomic_load(&callers_done) < started) {
    int threads = process_threads() - before - started;
    if (threads > atomic_load(&most_threads)) atomic_store(&most_threads, threads);
    sleep_millis(1);
  }
  for (int k = 0; k < started; k++) pthread_join(callers[k], NULL);
  CHECK_INT(a4j_team_threads(), THREADS);
  if (!own_team()) return; /* another may keep a pool for each caller */
  CHECK(atomic_load(&most_threads) <= THREADS, "wanted at most %d threads more, got %d", THREADS, atomic_load(&most_threads));
  CHECK_INT(team_threads(), THREADS - 1);
}

static void shouldUseNoProcessorWhenIdle(void) {
  Call *call = new_call(100, 1000);
  a4j_team_run(THREADS, take_parts, call);
  free(call);
  sleep_millis(20);
  int64_t before = now_nanos(CLOCK_PROCESS_CPUTIME_ID);
  sleep_millis(200);
  int64_t used = now_nanos(CLOCK_PROCESS_CPUTIME_ID) - before;
  CHECK(used < 1000000, "wanted less than 1 ms of processor time in 200 ms, got %.3f ms", (double)used * 1e-6);
}

typedef struct {
  cpu_set_t wanted;
  atomic_int other, workers;
  pid_t caller;
} Affinity;

static void compare_affinity(void *context, int32_t thread, int32_t threads) {
  (void)thread;
  (void)threads;
  Affinity *affinity = context;
  if (gettid() == affinity->caller) {
    sleep_millis(2); /* leaves tickets to the workers */
    return;
  }
  cpu_set_t own;
  sched_getaffinity(0, sizeof own, &own);
  atomic_fetch_add(&affinity->workers, 1);
  if (!CPU_EQUAL(&own, &affinity->wanted)) atomic_fetch_add(&affinity->other, 1);
}

static void check_affinity(const cpu_set_t *wanted) {
  Affinity affinity = {.wanted = *wanted, .caller = gettid()};
  /* On a busy machine the workers may miss some calls. */
  for (int repeat = 0; repeat < 10 || (repeat < 300 && atomic_load(&affinity.workers) == 0); repeat++) {
    a4j_team_run(THREADS, compare_affinity, &affinity);
    sleep_millis(repeat % 3 * 2); /* so that some calls find the workers asleep, and some awake */
  }
  CHECK(atomic_load(&affinity.workers) > 0, "wanted workers at work, got none");
  CHECK_INT(atomic_load(&affinity.other), 0);
}

static int set_team_affinity(const cpu_set_t *set) {
  int count = 0;
  pid_t workers[MOST];
  int found = team_threads_to(workers, MOST);
  for (int i = 0; i < found; i++) count += sched_setaffinity(workers[i], sizeof *set, set) == 0;
  return count;
}

/* All threads of the process, or those of a thread that is not its first. */
static void set_process_affinity(const cpu_set_t *set) {
  DIR *tasks = opendir("/proc/self/task");
  for (struct dirent *task; tasks != NULL && (task = readdir(tasks)) != NULL;)
    if (task->d_name[0] != '.') sched_setaffinity((pid_t)atoi(task->d_name), sizeof *set, set);
  if (tasks != NULL) closedir(tasks);
}

/* Two single processors that the process may use; false if it has only one. */
static bool two_processors(cpu_set_t *process, cpu_set_t *first, cpu_set_t *last) {
  sched_getaffinity(0, sizeof *process, process);
  if (CPU_COUNT(process) == 1) {
    printf("skip   one processor leaves no affinity to choose\n");
    return false;
  }
  CPU_ZERO(first);
  CPU_ZERO(last);
  int processor = 0;
  while (!CPU_ISSET(processor, process)) processor++;
  CPU_SET(processor, first);
  for (processor = CPU_SETSIZE - 1; !CPU_ISSET(processor, process);) processor--;
  CPU_SET(processor, last);
  return true;
}

/* Runs a test on a thread that is not the process's first, so that its affinity affects no other thread. */
static void on_another_thread(void *(*test)(void *)) {
  pthread_t thread;
  const int refused = pthread_create(&thread, NULL, test, NULL);
  CHECK_INT(refused, 0);
  if (refused == 0) pthread_join(thread, NULL);
}

static void shouldRunWhereverTheProcessMay(void) {
  cpu_set_t process;
  sched_getaffinity(0, sizeof process, &process);
  check_affinity(&process);
}

static void *call_from_one_processor(void *unused) {
  cpu_set_t process, first, last;
  if (!two_processors(&process, &first, &last)) return unused;
  sched_setaffinity(0, sizeof first, &first);
  check_affinity(&process);
  return unused;
}

/* In a process of its own, so that the team is started by the thread that is pinned. */
static void shouldNotInheritTheAffinityOfTheFirstCaller(void) { on_another_thread(call_from_one_processor); }

static void *set_affinity_of_sleepers(void *unused) {
  cpu_set_t process, first, last;
  if (!two_processors(&process, &first, &last)) return unused;

  /* The caller's processors are those that the workers are moved to later, so they differ from what the workers slept with. */
  sched_setaffinity(0, sizeof first, &first);
  check_affinity(&process);
  sleep_millis(20);
  CHECK_INT(set_team_affinity(&first), a4j_team_threads() - 1);
  check_affinity(&first);
  sched_setaffinity(0, sizeof process, &process);

  sleep_millis(20);
  CHECK_INT(set_team_affinity(&process), a4j_team_threads() - 1);
  check_affinity(&process);
  return unused;
}

static void shouldKeepAnAffinityThatWasSetFromOutsideWhileAsleep(void) { on_another_thread(set_affinity_of_sleepers); }

/* As by taskset --all-tasks, to each processor: on two, one of them is just what the workers sleep with. */
static void shouldFollowTheProcessToAnotherAffinityWhileAsleep(void) {
  cpu_set_t process, first, last;
  if (!two_processors(&process, &first, &last)) return;
  for (int repeat = 0; repeat < 6; repeat++) {
    check_affinity(&process);
    sleep_millis(20);
    const cpu_set_t *one = repeat % 2 == 0 ? &first : &last;
    set_process_affinity(one);
    check_affinity(one);
    check_affinity(one);
    sleep_millis(20);
    set_process_affinity(&process);
  }
  check_affinity(&process);
}

static atomic_long smallest_stack = LONG_MAX, largest_stack;

static void note_stack(void *caller, int32_t thread, int32_t threads) {
  (void)thread, (void)threads;
  if (gettid() == *(pid_t *)caller) {
    sleep_millis(2);
    return;
  }
  pthread_attr_t attributes;
  size_t size = 0;
  if (pthread_getattr_np(pthread_self(), &attributes) != 0) return;
  pthread_attr_getstacksize(&attributes, &size);
  pthread_attr_destroy(&attributes);
  long known = atomic_load(&smallest_stack);
  while ((long)size < known && !atomic_compare_exchange_weak(&smallest_stack, &known, (long)size)) {
  }
  known = atomic_load(&largest_stack);
  while ((long)size > known && !atomic_compare_exchange_weak(&largest_stack, &known, (long)size)) {
  }
}

static void shouldAskForAStackOfItsOwnSize(void) {
  pid_t caller = gettid();
  for (int repeat = 0; repeat < 10 || (repeat < 300 && atomic_load(&largest_stack) == 0); repeat++)
    a4j_team_run(THREADS, note_stack, &caller);
  CHECK(atomic_load(&largest_stack) > 0, "no worker took part in %d calls", 300);
  CHECK(atomic_load(&smallest_stack) >= 500 * 1024, "wanted at least 500 KB, got %ld bytes", atomic_load(&smallest_stack));
  CHECK(atomic_load(&largest_stack) <= 1024 * 1024, "wanted at most 1 MB, got %ld bytes", atomic_load(&largest_stack));
}

static atomic_int signals_elsewhere;
static pthread_t signal_caller;

static void note_signal(int signal) {
  (void)signal;
  if (!pthread_equal(pthread_self(), signal_caller)) atomic_fetch_add(&signals_elsewhere, 1);
}

static void shouldLeaveSignalsToTheCallersThreads(void) {
  struct sigaction action = {.sa_handler = note_signal}, before;
  signal_caller = pthread_self();
  sigaction(SIGUSR1, &action, &before);
  for (int repeat = 0; repeat < 100; repeat++) {
    Call *call = new_call(4, 1000);
    a4j_team_run(THREADS, take_parts, call);
    free(call);
    kill(getpid(), SIGUSR1);
  }
  sigaction(SIGUSR1, &before, NULL);
  CHECK_INT(atomic_load(&signals_elsewhere), 0);
}

static void shouldComputeAloneInAFork(void) {
  fflush(NULL);
  pid_t child = fork();
  if (child == 0) {
    int before = check_failures;
    Call *call = new_call(10, 0);
    a4j_team_run(THREADS, take_parts, call);
    check_call(call, 1);
    CHECK_INT(team_threads(), 0);
    CHECK_TEXT(a4j_team_failure(), "this process is a fork and has no team of threads");
    free(call);
    exit(check_failures != before); /* through exit, so that the library's destructor runs too */
  }
  int status = -1;
  CHECK(child > 0, "wanted a fork, got %d", (int)child);
  if (child > 0) waitpid(child, &status, 0);
  CHECK(WIFEXITED(status) && WEXITSTATUS(status) == 0, "wanted exit 0, got status %#x", (unsigned)status);
}

/* In a process of its own: no thread can be started, then some, then all that are wanted. */
static void shouldComputeWithTheThreadsThatItGets(void) {
  if (geteuid() == 0 && (setgid(64901) != 0 || setuid(64901) != 0)) {
    printf("skip   no user without privileges to be\n");
    return;
  }
  struct rlimit before, none;
  getrlimit(RLIMIT_NPROC, &before);
  none = before;
  none.rlim_cur = 0;
  setrlimit(RLIMIT_NPROC, &none);
  for (int repeat = 0; repeat < 3; repeat++) {
    Call *call = new_call(10, 0);
    a4j_team_run(THREADS, take_parts, call);
    check_call(call, 1);
    free(call);
  }
  CHECK_INT(a4j_team_threads(), 1);
  CHECK_INT(team_threads(), 0);
  const char *problem = a4j_team_failure();
  CHECK(problem != NULL && strstr(problem, "EAGAIN") != NULL, "wanted a sentence with EAGAIN, got %s",
        problem == NULL ? "(null)" : problem);

  setrlimit(RLIMIT_NPROC, &before);
  sleep_millis(1100);
  Call *call = new_call(10, 0);
  a4j_team_run(THREADS, take_parts, call);
  check_call(call, THREADS);
  CHECK_INT(a4j_team_threads(), THREADS);
  CHECK(a4j_team_failure() == NULL, "wanted no problem, got %s", a4j_team_failure());
  free(call);
}

/* In a process of its own, for its thousand threads. */
static void shouldClampAHugeNumberOfThreads(void) {
  for (int repeat = 0; repeat < 3; repeat++) {
    Call *call = new_call(5000, 0);
    a4j_team_run(INT32_MAX, take_parts, call);
    check_call(call, MOST);
    free(call);
  }
  CHECK(a4j_team_threads() <= MOST, "wanted at most %d, got %d", MOST, a4j_team_threads());
  CHECK(a4j_team_failure() != NULL, "wanted a sentence, got none");
  if (a4j_team_threads() == MOST) CHECK_TEXT(a4j_team_failure(), "a team has at most 1024 threads");
}

/* Runs a test in a child that is forked before this process has a team. */
static void apart(void (*test)(void)) {
  fflush(NULL);
  pid_t child = fork();
  if (child == 0) {
    check_failures = 0;
    test();
    exit(check_failures != 0);
  }
  int status = -1;
  CHECK(child > 0, "wanted a fork, got %d", (int)child);
  if (child > 0) waitpid(child, &status, 0);
  CHECK(WIFEXITED(status) && WEXITSTATUS(status) == 0, "wanted exit 0, got status %#x", (unsigned)status);
}

#define RUN_APART(test)                                                                                                        \
  do {                                                                                                                         \
    int apart_before = check_failures;                                                                                         \
    apart(test);                                                                                                               \
    printf("%s %s\n", check_failures == apart_before ? "ok    " : "FAILED", #test);                                            \
  } while (0)

static void shouldRefuseNoTeam(void) { CHECK_INT(a4j_use_team(NULL), A4J_NULL_POINTER); }

int main(void) {
  RUN_APART(shouldStayWithinItsThreadsWithManyCallers);
  if (own_team()) {
    RUN_APART(shouldComputeWithTheThreadsThatItGets);
    RUN_APART(shouldNotInheritTheAffinityOfTheFirstCaller);
    RUN_APART(shouldFollowTheProcessToAnotherAffinityWhileAsleep);
  }
  RUN_APART(shouldClampAHugeNumberOfThreads);
  RUN(shouldRefuseNoTeam);
  RUN(shouldComputeAloneWhenOneThreadIsWanted);
  RUN(shouldRunEveryIndexOnceForEveryNumberOfThreads);
  RUN(shouldGiveEveryIndexItsOwnRunAfterASleep);
  RUN(shouldComputeAloneInsideACall);
  RUN(shouldComputeAloneWhileTheTeamIsBusy);
  if (own_team()) {
    RUN(shouldUseNoProcessorWhenIdle);
    RUN(shouldRunWhereverTheProcessMay);
    RUN(shouldKeepAnAffinityThatWasSetFromOutsideWhileAsleep);
    RUN(shouldAskForAStackOfItsOwnSize);
    RUN(shouldLeaveSignalsToTheCallersThreads);
  }
  RUN(shouldComputeAloneInAFork);
  return CHECK_RESULT();
}
