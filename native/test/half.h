/* 16-bit numbers computed from their definition: the oracle for conversions, and numbers for tests of storage. */
#ifndef A4J_TEST_HALF_H
#define A4J_TEST_HALF_H

#include <math.h>
#include <stdint.h>
#include <string.h>

#include "a4j.h"

/* 2^exponent from its bits, for -1022 <= exponent <= 1023; ldexp would take most of the time of the tests. */
static inline double power_of_two(int exponent) {
  const uint64_t bits = (uint64_t)(exponent + 1023) << 52;
  double power;
  memcpy(&power, &bits, sizeof power);
  return power;
}

/* The value of 16 bits; NaN for NaN. */
static inline double half_value(int dtype, uint16_t bits) {
  const int fraction_bits = dtype == A4J_BF16 ? 7 : 10, exponent_bits = 15 - fraction_bits;
  const int exponent = bits >> fraction_bits & ((1 << exponent_bits) - 1), fraction = bits & ((1 << fraction_bits) - 1);
  const int bias = (1 << (exponent_bits - 1)) - 1;
  const double sign = bits & 0x8000 ? -1 : 1;
  if (exponent == (1 << exponent_bits) - 1) return fraction != 0 ? NAN : sign * INFINITY;
  if (exponent == 0) return sign * fraction * power_of_two(1 - bias - fraction_bits);
  return sign * ((1 << fraction_bits) + fraction) * power_of_two(exponent - bias - fraction_bits);
}

/* The bits of the nearest 16-bit number, ties to even, by a search among all of them, which are in order. x is not NaN. */
static inline uint16_t half_nearest(int dtype, double x) {
  const uint16_t infinite = dtype == A4J_BF16 ? 0x7f80 : 0x7c00, sign = signbit(x) ? 0x8000 : 0;
  const double size = fabs(x);
  int low = 0, high = infinite; /* value(low) <= size < value(high), unless size is infinite */
  if (isinf(size)) return sign | infinite;
  while (high - low > 1) {
    const int middle = (low + high) / 2;
    if (half_value(dtype, (uint16_t)middle) <= size)
      low = middle;
    else
      high = middle;
  }
  /* Beyond the largest number, rounding works as if there were one more exponent. */
  const double below = half_value(dtype, (uint16_t)low);
  const double above =
      high == infinite ? 2 * below - half_value(dtype, (uint16_t)(low - 1)) : half_value(dtype, (uint16_t)high);
  const double down = size - below, up = above - size;
  return sign | (uint16_t)(down < up || (down == up && low % 2 == 0) ? low : high);
}

#endif
