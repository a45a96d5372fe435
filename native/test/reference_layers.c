/* The formulas of the layers, in double and in float. */
#include "reference_layers.h"

#include <math.h>
#include <stddef.h>

#define PI 3.14159265358979323846

#define REAL double
#define NAME(name) name##_f64
#define EXP exp
#define LOG log
#define SQRT sqrt
#define TANH tanh
#define ERFC erfc
#include "reference_layers.inc"
#undef REAL
#undef NAME
#undef EXP
#undef LOG
#undef SQRT
#undef TANH
#undef ERFC

#define REAL float
#define NAME(name) name##_f32
#define EXP expf
#define LOG logf
#define SQRT sqrtf
#define TANH tanhf
#define ERFC erfcf
#include "reference_layers.inc"
