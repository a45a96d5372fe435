/*
 * Windows 8 and later: WaitOnAddress (synchronization.lib). Compiled with MinGW, never run. There are no forks, no cancelled
 * threads and no signals to keep away from the workers.
 *
 * Not solved: unloading the library joins the workers under the loader lock, which they need to end. Until then the library
 * must stay loaded for the life of the process.
 */
#define WIN32_LEAN_AND_MEAN
#define _WIN32_WINNT 0x0602
#include "os.h"

#include <process.h>
#include <stddef.h>
#include <windows.h>

int64_t a4j_os_nanos(void) {
  LARGE_INTEGER count, per_second;
  QueryPerformanceCounter(&count);
  QueryPerformanceFrequency(&per_second);
  const int64_t seconds = count.QuadPart / per_second.QuadPart, rest = count.QuadPart % per_second.QuadPart;
  return seconds * INT64_C(1000000000) + rest * INT64_C(1000000000) / per_second.QuadPart;
}

void a4j_os_yield(void) { SwitchToThread(); }

int32_t a4j_os_processor(void) { return (int32_t)GetCurrentProcessorNumber(); }

int32_t a4j_os_processors(void) {
  DWORD_PTR process, system;
  int32_t count = 0;
  if (GetProcessAffinityMask(GetCurrentProcess(), &process, &system))
    for (; process != 0; process &= process - 1) count++;
  return count < 1 ? 1 : count;
}

void a4j_os_wait(_Atomic uint32_t *word, uint32_t value) {
  WaitOnAddress((volatile void *)word, &value, sizeof value, INFINITE);
}

/* The system does not say how many it wakes. */
int32_t a4j_os_wake(_Atomic uint32_t *word, int32_t count) {
  for (int32_t i = 0; i < count; i++) WakeByAddressSingle((void *)word);
  return 0;
}

void a4j_os_wait_elsewhere(_Atomic uint32_t *word, uint32_t value, _Atomic uint32_t *sleepers, int32_t processor) {
  (void)processor;
  atomic_fetch_add(sleepers, 1);
  if (atomic_load(word) == value) a4j_os_wait(word, value);
  atomic_fetch_sub(sleepers, 1);
}

static unsigned __stdcall run(void *fn) {
  ((void (*)(void))fn)();
  return 0;
}

const char *a4j_os_start(a4j_os_thread *thread, void (*fn)(void)) {
  *thread = _beginthreadex(NULL, A4J_OS_STACK, run, (void *)fn, STACK_SIZE_PARAM_IS_A_RESERVATION, NULL);
  if (*thread == 0) return "the system refused another thread (_beginthreadex failed)";
  return NULL;
}

void a4j_os_join(a4j_os_thread thread) {
  WaitForSingleObject((HANDLE)thread, INFINITE);
  CloseHandle((HANDLE)thread);
}

void a4j_os_at_fork(void (*in_child)(void)) { (void)in_child; }

int a4j_os_forbid_cancel(void) { return 0; }

void a4j_os_allow_cancel(int before) { (void)before; }

void a4j_os_huge_pages(void *memory, int64_t bytes) { (void)memory, (void)bytes; }
