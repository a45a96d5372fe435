/* a4j_convert on every tier: all 16-bit numbers, rounding at and next to every tie, numbers that are not finite, and views. */
#include "half.h"
#include "layer_cases.h"

enum { ALL = 65536 };

static a4j_convert_desc from_to(int from, int to, int64_t rows, int64_t dim) {
  return (a4j_convert_desc){.size_bytes = sizeof(a4j_convert_desc),
                            .abi_version = A4J_ABI_VERSION,
                            .dtype = from,
                            .threads = 1,
                            .rows = rows,
                            .dim = dim,
                            .x_stride_row = dim,
                            .out_stride_row = dim,
                            .out_dtype = to};
}

static uint32_t bits_of(float x) {
  uint32_t bits;
  memcpy(&bits, &x, sizeof bits);
  return bits;
}
static float float_of(uint32_t bits) {
  float x;
  memcpy(&x, &bits, sizeof x);
  return x;
}

static void widen(int from) {
  static uint16_t x[ALL];
  static float out[ALL];
  for (int i = 0; i < ALL; i++) x[i] = (uint16_t)i;
  const a4j_convert_desc d = from_to(from, A4J_F32, 1, ALL);
  CHECK_INT(a4j_convert(&d, x, out), A4J_OK);
  int wrong = 0;
  for (int i = 0; i < ALL; i++) {
    const double value = half_value(from, (uint16_t)i);
    const int right = isnan(value) ? isnan(out[i]) : (double)out[i] == value && (signbit(out[i]) != 0) == (i >> 15);
    if (!right && wrong++ == 0) CHECK(0, "type %d, bits %04x: wanted %g, got %g", from, (unsigned)i, value, (double)out[i]);
  }
}
static void widenAll(void) {
  widen(A4J_BF16);
  widen(A4J_F16);
}
static void shouldWidenEveryNumberExactly(void) { on_every_tier(widenAll); }

static void round_to(int to, const float *x, int count) {
  uint16_t *out = malloc(sizeof *out * (size_t)count);
  const a4j_convert_desc d = from_to(A4J_F32, to, 1, count);
  CHECK_INT(a4j_convert(&d, x, out), A4J_OK);
  int wrong = 0;
  for (int i = 0; i < count; i++) {
    const uint16_t infinite = to == A4J_BF16 ? 0x7f80 : 0x7c00, quiet = to == A4J_BF16 ? 0x40 : 0x200;
    const int right = isnan(x[i])
                          ? (out[i] & 0x7fff) > infinite && (out[i] & quiet) != 0 && out[i] >> 15 == (bits_of(x[i]) >> 31)
                          : out[i] == half_nearest(to, x[i]);
    if (!right && wrong++ == 0)
      CHECK(0, "%a as type %d: wanted %04x, got %04x", (double)x[i], to, isnan(x[i]) ? 0 : half_nearest(to, x[i]), out[i]);
  }
  free(out);
}

/* Each number, the tie above it, and their neighbours in float32. */
static void roundAtTies(void) {
  static float x[ALL * 6];
  for (int to = A4J_BF16; to <= A4J_F16; to++) {
    int count = 0;
    for (int i = 0; i < ALL; i++) {
      const double value = half_value(to, (uint16_t)i), next = half_value(to, (uint16_t)(i + 1));
      if (!isfinite(value) || !isfinite(next)) continue;
      const float at[2] = {(float)value, (float)((value + next) / 2)};
      for (int k = 0; k < 2; k++) {
        x[count++] = at[k];
        x[count++] = nextafterf(at[k], INFINITY);
        x[count++] = nextafterf(at[k], -INFINITY);
      }
    }
    round_to(to, x, count);
  }
}
static void shouldRoundToTheNearestAndTiesToEven(void) { on_every_tier(roundAtTies); }

static void roundAnything(void) {
  enum { COUNT = 20000 };
  static float x[COUNT];
  static const uint32_t special[] = {0x7f800000, 0xff800000, 0x7f800001, 0xff800001, 0x7fc00000, 0x7fffffff, 0xffc12345,
                                     0x7f7fffff, 0x477fefff, 0x477ff000, 0x477fffff, 0x47800000, 0x33000000, 0x33000001,
                                     0x32ffffff, 0x00000001, 0x80000001, 0x007fffff, 0x00008000, 0x00018000};
  for (int i = 0; i < COUNT; i++) x[i] = float_of((uint32_t)next());
  for (size_t i = 0; i < sizeof special / sizeof *special; i++) x[i] = float_of(special[i]);
  round_to(A4J_BF16, x, COUNT);
  round_to(A4J_F16, x, COUNT);
}
static void shouldRoundWhatIsLargeSmallOrNoNumber(void) { on_every_tier(roundAnything); }

/* Rows at a distance, of every length around the lanes, on some threads; nothing beside them is written. */
static void viewsOnThisTier(void) {
  for (int from = A4J_F32; from <= A4J_F16; from++)
    for (int to = A4J_F32; to <= A4J_F16; to++)
      for (int64_t dim = 1; dim <= 40; dim++) {
        enum { ROWS = 3, GAP = 5, SPARE = 7 };
        const int64_t stride = dim + GAP, total = ROWS * stride + SPARE;
        uint16_t halves[ROWS * 45 + SPARE], narrow[ROWS * 45 + SPARE];
        float floats[ROWS * 45 + SPARE], wide[ROWS * 45 + SPARE];
        for (int64_t i = 0; i < total; i++) {
          floats[i] = uniform() * 100;
          halves[i] = half_nearest(from == A4J_F32 ? A4J_BF16 : from, floats[i]);
          narrow[i] = 0x1234, wide[i] = GUARD_VALUE;
        }
        a4j_convert_desc d = from_to(from, to, ROWS, dim);
        d.x_stride_row = d.out_stride_row = stride;
        CHECK_INT(a4j_convert(&d, from == A4J_F32 ? (const void *)floats : halves, to == A4J_F32 ? (void *)wide : narrow),
                  A4J_OK);
        for (int64_t i = 0; i < total; i++) {
          const int inside = i < ROWS * stride && i % stride < dim;
          const double x = from == A4J_F32 ? (double)floats[i] : half_value(from, halves[i]);
          if (to == A4J_F32)
            CHECK((double)wide[i] == (inside ? x : (double)GUARD_VALUE), "%d to %d, dim %d: %g at %d", from, to, (int)dim,
                  (double)wide[i], (int)i);
          else
            CHECK(narrow[i] == (inside ? half_nearest(to, x) : 0x1234), "%d to %d, dim %d: %x at %d", from, to, (int)dim,
                  narrow[i], (int)i);
        }
      }
}
static void shouldConvertRowsAndNothingElse(void) { on_every_tier(viewsOnThisTier); }

static void shouldGiveTheSameForEveryThreadCount(void) {
  enum { COUNT = 300001 };
  float *x = malloc(sizeof *x * COUNT);
  uint16_t *once = malloc(sizeof *once * COUNT), *out = malloc(sizeof *out * COUNT);
  for (int i = 0; i < COUNT; i++) x[i] = uniform();
  a4j_convert_desc d = from_to(A4J_F32, A4J_F16, 1, COUNT);
  CHECK_INT(a4j_convert(&d, x, once), A4J_OK);
  for (int threads = 2; threads < 5; threads++) {
    d.threads = threads;
    memset(out, 0, sizeof *out * COUNT);
    CHECK_INT(a4j_convert(&d, x, out), A4J_OK);
    CHECK(memcmp(out, once, sizeof *out * COUNT) == 0, "%d threads give other bits", threads);
  }
  free(x), free(once), free(out);
}

static void shouldRefuseWhatADescriptorCannotMean(void) {
  float x[4] = {0}, out[4];
  a4j_convert_desc d = from_to(A4J_F32, A4J_BF16, 1, 4);
  CHECK_INT(a4j_convert(NULL, x, out), A4J_NULL_POINTER);
  CHECK_INT(a4j_convert(&d, NULL, out), A4J_NULL_POINTER);
  CHECK_INT(a4j_convert(&d, x, NULL), A4J_NULL_POINTER);
  d.dtype = 7;
  CHECK_INT(a4j_convert(&d, x, out), A4J_UNSUPPORTED_DTYPE);
  d.dtype = A4J_F32, d.out_dtype = -1;
  CHECK_INT(a4j_convert(&d, x, out), A4J_UNSUPPORTED_DTYPE);
  d.out_dtype = A4J_F16, d.dim = -1;
  CHECK_INT(a4j_convert(&d, x, out), A4J_BAD_SIZE);
  d.dim = 4, d.rows = INT64_MAX;
  CHECK_INT(a4j_convert(&d, x, out), A4J_SIZE_OVERFLOW);
  d.rows = 0;
  CHECK_INT(a4j_convert(&d, NULL, NULL), A4J_OK);
}

int main(void) {
  RUN(shouldWidenEveryNumberExactly);
  RUN(shouldRoundToTheNearestAndTiesToEven);
  RUN(shouldRoundWhatIsLargeSmallOrNoNumber);
  RUN(shouldConvertRowsAndNothingElse);
  RUN(shouldGiveTheSameForEveryThreadCount);
  RUN(shouldRefuseWhatADescriptorCannotMean);
  return CHECK_RESULT();
}
