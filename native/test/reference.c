#include "reference.h"

#include <math.h>
#include <stdlib.h>

#define REAL double
#define EXP exp
#define LOG log
#define REFERENCE reference_attention_f64
#include "reference_attention.inc"
#undef REAL
#undef EXP
#undef LOG
#undef REFERENCE

#define REAL float
#define EXP expf
#define LOG logf
#define REFERENCE reference_attention_f32
#include "reference_attention.inc"
