/* Assertions for the native tests: a failure prints what was wanted and what was got, and is counted. */
#ifndef A4J_CHECK_H
#define A4J_CHECK_H

#include <inttypes.h>
#include <math.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static int check_failures;

/* The seed of random tests: A4J_TEST_SEED, or 1. */
static inline uint64_t check_seed(void) {
  const char *text = getenv("A4J_TEST_SEED");
  return text == NULL ? 1 : strtoull(text, NULL, 10);
}

/* CHECK(condition, format, ...): the sentence names both numbers. */
#define CHECK(condition, ...)                                                                                                  \
  do {                                                                                                                         \
    if (!(condition)) {                                                                                                        \
      fprintf(stderr, "%s:%d: %s: ", __FILE__, __LINE__, #condition);                                                          \
      fprintf(stderr, __VA_ARGS__);                                                                                            \
      fputc('\n', stderr);                                                                                                     \
      check_failures++;                                                                                                        \
    }                                                                                                                          \
  } while (0)

#define CHECK_INT(got, wanted)                                                                                                 \
  do {                                                                                                                         \
    int64_t check_got = (got), check_wanted = (wanted);                                                                        \
    CHECK(check_got == check_wanted, "wanted %" PRId64 ", got %" PRId64, check_wanted, check_got);                             \
  } while (0)

/* NaN equals nothing, so a NaN always fails. */
#define CHECK_NEAR(got, wanted, tolerance)                                                                                     \
  do {                                                                                                                         \
    double check_got = (got), check_wanted = (wanted), check_tolerance = (tolerance);                                          \
    CHECK(check_got == check_wanted || fabs(check_got - check_wanted) <= check_tolerance, "wanted %.9g within %.3g, got %.9g", \
          check_wanted, check_tolerance, check_got);                                                                           \
  } while (0)

#define CHECK_TEXT(got, wanted)                                                                                                \
  do {                                                                                                                         \
    const char *check_got = (got), *check_wanted = (wanted);                                                                   \
    CHECK(check_got != NULL && strcmp(check_got, check_wanted) == 0, "wanted \"%s\", got \"%s\"", check_wanted,                \
          check_got == NULL ? "(null)" : check_got);                                                                           \
  } while (0)

/* Runs a test and prints its name and whether it passed. */
#define RUN(test)                                                                                                              \
  do {                                                                                                                         \
    int check_before = check_failures;                                                                                         \
    test();                                                                                                                    \
    printf("%s %s\n", check_failures == check_before ? "ok    " : "FAILED", #test);                                            \
    fflush(stdout);                                                                                                            \
  } while (0)

/* The last line of main: return CHECK_RESULT(); */
#define CHECK_RESULT() (check_failures == 0 ? 0 : 1)

#endif
