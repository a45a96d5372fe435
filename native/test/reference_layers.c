/* The formulas of the layers, in double and in float. */
#include "reference_layers.h"

#include <math.h>
#include <stddef.h>

#define REAL double
#define NAME(name) name##_f64
#define EXP exp
#define LOG log
#define SQRT sqrt
#include "reference_layers.inc"
#undef REAL
#undef NAME
#undef EXP
#undef LOG
#undef SQRT

#define REAL float
#define NAME(name) name##_f32
#define EXP expf
#define LOG logf
#define SQRT sqrtf
#include "reference_layers.inc"
