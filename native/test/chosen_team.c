/*
 * Every test runs on the library's own team, or on that of the library that A4J_TEST_TEAM names. If that library cannot be used, the
 * test ends with an error rather than pass on the wrong team.
 */
#include "a4j.h"

#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>

__attribute__((constructor)) static void choose_team(void) {
  const char *path = getenv("A4J_TEST_TEAM");
  if (path == NULL) return;
  void *library = dlopen(path, RTLD_NOW);
  const void *run = library == NULL ? NULL : dlsym(library, "a4j_openmp_run");
  if (a4j_use_team(run) == A4J_OK) {
    printf("team: %s\n", path);
    return;
  }
  fprintf(stderr, "A4J_TEST_TEAM cannot be used: %s\n", dlerror());
  exit(2);
}
