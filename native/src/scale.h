/* The scale of quantised numbers. */
#ifndef A4J_SCALE_H
#define A4J_SCALE_H

#include <float.h>
#include <stdint.h>
#include <string.h>

/*
 * The scale by which codes up to `most` reach `range`, a finite number. It is rounded to nearest, unless that would lose
 * what it scales: FLT_MAX / 127 rounds up, and 127 times that is infinite; a denormal scale could round down to 0.
 */
static inline float a4j_scale_of(float range, int most) {
  float scale = range / (float)most;
  const int step = scale * (float)most > FLT_MAX ? -1 : scale < FLT_MIN && (double)scale * most < (double)range ? 1 : 0;
  uint32_t bits;
  memcpy(&bits, &scale, sizeof bits);
  bits += (uint32_t)step;
  memcpy(&scale, &bits, sizeof scale);
  return scale;
}

#endif
