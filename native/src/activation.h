/* The options of operations that activate and combine their results. */
#ifndef A4J_ACTIVATION_H
#define A4J_ACTIVATION_H

#include <stdint.h>

#include "a4j.h"

static inline int a4j_is_activation(int32_t activation) { return activation >= A4J_IDENTITY && activation <= A4J_TANH; }
static inline int a4j_is_combine(int32_t combine) { return combine >= A4J_SET && combine <= A4J_MULTIPLY; }

/* The time of one vector, for the choice of a thread count. */
static inline double a4j_activation_nanos(int32_t activation) { return activation <= A4J_RELU ? 0 : 4; }

#endif
