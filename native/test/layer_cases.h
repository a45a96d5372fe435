/* Shared by the tests of layers: seeded numbers, strided tensors between guard zones, and the bound for errors. */
#ifndef A4J_LAYER_CASES_H
#define A4J_LAYER_CASES_H

#include <stdlib.h>

#include "a4j.h"
#include "check.h"
#include "tiers.h"

/* The first fields of every descriptor; the braces of the initialiser stay open for more. */
#define DESC(type) .size_bytes = sizeof(type), .abi_version = A4J_ABI_VERSION, .dtype = A4J_F32, .threads = 1

static uint64_t seed = 1;

static inline uint64_t next(void) {
  seed += 0x9e3779b97f4a7c15u;
  uint64_t x = seed;
  x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9u;
  x = (x ^ (x >> 27)) * 0x94d049bb133111ebu;
  return x ^ (x >> 31);
}
static inline int64_t up_to(int64_t n) { return (int64_t)(next() % (uint64_t)(n + 1)); }
static inline float uniform(void) { return (float)((double)(next() >> 11) * 0x1p-52 - 1.0); }

/* Rows of `width` floats, with `gap` guard floats between them, and more before the first and after the last. */
struct tensor {
  float *base, *data;
  int64_t rows, width, stride, total;
};
enum { GUARD = 32 };
static const float GUARD_VALUE = -77.25f;

static inline struct tensor tensor(int64_t rows, int64_t width, int64_t gap, float range) {
  struct tensor t = {.rows = rows, .width = width, .stride = width + gap, .total = rows * (width + gap) + 2 * GUARD};
  t.base = malloc(sizeof(float) * (size_t)t.total);
  t.data = t.base + GUARD;
  for (int64_t i = 0; i < t.total; i++) t.base[i] = GUARD_VALUE;
  for (int64_t r = 0; r < rows; r++)
    for (int64_t i = 0; i < width; i++) t.data[r * t.stride + i] = uniform() * range;
  return t;
}

static inline struct tensor copy_of(const struct tensor *t) {
  struct tensor copy = *t;
  copy.base = malloc(sizeof(float) * (size_t)t->total);
  copy.data = copy.base + GUARD;
  memcpy(copy.base, t->base, sizeof(float) * (size_t)t->total);
  return copy;
}

static inline void fill(const struct tensor *t, float value) {
  for (int64_t r = 0; r < t->rows; r++)
    for (int64_t i = 0; i < t->width; i++) t->data[r * t->stride + i] = value;
}

static inline void check_guards(const struct tensor *t, const char *what) {
  for (int64_t i = 0; i < t->total; i++) {
    int64_t at = i - GUARD;
    if (at >= 0 && at < t->rows * t->stride && at % t->stride < t->width) continue;
    if (t->base[i] == GUARD_VALUE) continue;
    CHECK(0, "%s: wrote %g at %" PRId64 ", outside its %" PRId64 " rows of %" PRId64, what, (double)t->base[i], at, t->rows,
          t->width);
    return;
  }
}

/* Same bits in every row of two tensors. */
static inline int same(const struct tensor *a, const struct tensor *b) {
  for (int64_t r = 0; r < a->rows; r++)
    if (memcmp(a->data + r * a->stride, b->data + r * b->stride, sizeof(float) * (size_t)a->width) != 0) return 0;
  return 1;
}

/*
 * The largest error of out against the formula in double is at most twice that of the formula in float. Some roundings of
 * `magnitude`, the size of the terms or of the largest result, are granted on top, in case the plain program happens to be exact.
 */
static inline void check_error(const struct tensor *out, const double *wanted, const float *plain, double magnitude,
                               const char *what) {
  double error = 0, plain_error = 0, largest = magnitude;
  for (int64_t r = 0; r < out->rows; r++)
    for (int64_t i = 0; i < out->width; i++) {
      double value = wanted[r * out->width + i], got = out->data[r * out->stride + i];
      CHECK(got - got == 0, "%s: got %g at (%" PRId64 ", %" PRId64 "), wanted %g", what, got, r, i, value);
      error = fmax(error, fabs(got - value));
      plain_error = fmax(plain_error, fabs(plain[r * out->width + i] - value));
      largest = fmax(largest, fabs(value));
    }
  double most = 2 * plain_error + 2.5e-7 * largest;
  CHECK(error <= most, "%s: largest error %g, a plain program's %g, magnitude %g", what, error, plain_error, largest);
}

/* Runs a test on every tier that this machine has. */
static inline void on_every_tier(void (*test)(void)) {
  FOR_EACH_TIER (i) {
    int before = check_failures;
    test();
    if (check_failures != before) fprintf(stderr, "  on tier %s\n", a4j_isa_name(i));
  }
}

#endif
