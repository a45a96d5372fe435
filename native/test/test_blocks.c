/* Blocks of GGUF files: packed and widened, against the formula of each format, weight by weight. */
#include "half.h"
#include "layer_cases.h"

struct format {
  const char *name;
  int columns, bytes;
  int scale_at, minimum_at; /* where the numbers of 16 bits are, -1 for none */
  a4j_storage storage;
};

static const struct format formats[] = {
    [A4J_Q4_0] = {"Q4_0", 32, 18, 0, -1, {A4J_I4, 32, A4J_F16, 0}},
    [A4J_Q4_1] = {"Q4_1", 32, 20, 0, 2, {A4J_I4, 32, A4J_F16, 1}},
    [A4J_Q5_0] = {"Q5_0", 32, 22, 0, -1, {A4J_I6, 32, A4J_F16, 0}},
    [A4J_Q5_1] = {"Q5_1", 32, 24, 0, 2, {A4J_I6, 32, A4J_F16, 1}},
    [A4J_Q8_0] = {"Q8_0", 32, 34, 0, -1, {A4J_I8, 32, A4J_F16, 0}},
    [A4J_Q2_K] = {"Q2_K", 256, 84, 80, 82, {A4J_I4, 16, A4J_I8, 1}},
    [A4J_Q3_K] = {"Q3_K", 256, 110, 108, -1, {A4J_I4, 16, A4J_I8, 0}},
    [A4J_Q4_K] = {"Q4_K", 256, 144, 0, 2, {A4J_I4, 32, A4J_I8, 1}},
    [A4J_Q5_K] = {"Q5_K", 256, 176, 0, 2, {A4J_I6, 32, A4J_I8, 1}},
    [A4J_Q6_K] = {"Q6_K", 256, 210, 208, -1, {A4J_I6, 16, A4J_I8, 0}},
    [A4J_IQ4_NL] = {"IQ4_NL", 32, 18, 0, -1, {A4J_I8, 32, A4J_F16, 0}},
    [A4J_IQ4_XS] = {"IQ4_XS", 256, 136, 0, -1, {A4J_I8, 32, A4J_I8, 0}},
    [A4J_MXFP4] = {"MXFP4", 32, 17, -1, -1, {A4J_I8, 32, A4J_F32, 0}},
};
enum { FORMATS = sizeof formats / sizeof *formats };

/* ---- The formulas ---- */

static float half_at(const uint8_t *p) { return (float)half_value(A4J_F16, (uint16_t)(p[0] | p[1] << 8)); }
static int bit(const uint8_t *p, int i) { return p[i / 8] >> i % 8 & 1; }
/* Code i of 32 whose first half is in low nibbles. */
static int nibble(const uint8_t *p, int i) { return i < 16 ? p[i] & 15 : p[i - 16] >> 4; }
/* Two bits of column i of 256: 32 bytes have 128 columns. */
static int two_bits(const uint8_t *p, int i) { return p[i / 128 * 32 + i % 32] >> 2 * (i % 128 / 32) & 3; }

/* Weight i of a block. Each operation before the last is exact. */
static float weight(int format, const uint8_t *b, int i) {
  static const int8_t uneven[] = {-127, -104, -83, -65, -49, -35, -22, -10, 1, 13, 25, 38, 53, 69, 89, 113};
  static const float small[] = {0, 0.5f, 1, 1.5f, 2, 3, 4, 6};
  const int g = i / 32;
  switch (format) {
  case A4J_Q4_0: return half_at(b) * (float)(nibble(b + 2, i) - 8);
  case A4J_Q4_1: return half_at(b) * (float)nibble(b + 4, i) + half_at(b + 2);
  case A4J_Q5_0: return half_at(b) * (float)(nibble(b + 6, i) + 16 * bit(b + 2, i) - 16);
  case A4J_Q5_1: return half_at(b) * (float)(nibble(b + 8, i) + 16 * bit(b + 4, i)) + half_at(b + 2);
  case A4J_Q8_0: return half_at(b) * (float)(int8_t)b[2 + i];
  case A4J_Q2_K:
    return half_at(b + 80) * (float)(b[i / 16] & 15) * (float)two_bits(b + 16, i) - half_at(b + 82) * (float)(b[i / 16] >> 4);
  case A4J_Q3_K: {
    const int j = i / 16, low = j < 8 ? b[96 + j] & 15 : b[96 + j - 8] >> 4, high = b[104 + j % 4] >> j / 4 * 2 & 3;
    const int code = two_bits(b + 32, i) + 4 * (b[i % 32] >> g & 1) - 4;
    return half_at(b + 108) * (float)(low + 16 * high - 32) * (float)code;
  }
  case A4J_Q4_K:
  case A4J_Q5_K: {
    const uint8_t *s = b + 4, both = b[(format == A4J_Q4_K ? 16 : 48) + i / 64 * 32 + i % 32];
    const int scale = g < 4 ? s[g] % 64 : s[g + 4] % 16 + s[g - 4] / 64 * 16;
    const int minimum = g < 4 ? s[g + 4] % 64 : s[g + 4] / 16 + s[g] / 64 * 16;
    int code = g % 2 == 0 ? both % 16 : both / 16;
    if (format == A4J_Q5_K) code += 16 * (b[16 + i % 32] >> g & 1);
    return half_at(b) * (float)scale * (float)code - half_at(b + 2) * (float)minimum;
  }
  case A4J_Q6_K: {
    const int quarter = i % 128 / 32, low = b[i / 128 * 64 + quarter % 2 * 32 + i % 32];
    const int code = (quarter < 2 ? low % 16 : low / 16) + 16 * two_bits(b + 128, i) - 32;
    return half_at(b + 208) * (float)(int8_t)b[192 + i / 16] * (float)code;
  }
  case A4J_IQ4_NL: return half_at(b) * (float)uneven[nibble(b + 2, i)];
  case A4J_IQ4_XS: {
    const int low = b[4 + g / 2] >> g % 2 * 4 & 15, high = (b[2] + 256 * b[3]) >> 2 * g & 3;
    return half_at(b) * (float)(low + 16 * high - 32) * (float)uneven[nibble(b + 8 + 16 * g, i % 32)];
  }
  default: {
    const int code = nibble(b + 1, i);
    return (float)(ldexp((double)small[code % 8], b[0] - 127) * (code < 8 || code == 8 ? 1 : -1));
  }
  }
}

/* ---- Problems ---- */

struct blocks {
  a4j_quantized_desc d;
  uint8_t *base, *data; /* not aligned */
  float *values;
};

static struct blocks make_blocks(int format, int64_t rows, int64_t dim) {
  const struct format *f = &formats[format];
  const int64_t count = rows * dim / f->columns;
  struct blocks b = {.d = {DESC(a4j_quantized_desc), .storage = f->storage, .rows = rows, .dim = dim, .stride_row = dim}};
  b.d.threads = 1 + (int32_t)up_to(2);
  b.base = malloc((size_t)(count * f->bytes + 1));
  b.data = b.base + 1;
  for (int64_t i = 0; i < count * f->bytes; i++) b.data[i] = (uint8_t)next();
  b.values = malloc(sizeof(float) * (size_t)(rows * dim));
  for (int64_t i = 0; i < count; i++) {
    uint8_t *block = b.data + i * f->bytes;
    for (int k = 0; k < 2; k++) {
      const int at = k == 0 ? f->scale_at : f->minimum_at;
      const uint16_t scale = half_nearest(A4J_F16, (double)uniform() / 50);
      if (at >= 0) block[at] = (uint8_t)scale, block[at + 1] = (uint8_t)(scale >> 8);
    }
    for (int c = 0; c < f->columns; c++) b.values[i * f->columns + c] = weight(format, block, c);
  }
  return b;
}

static void free_blocks(struct blocks *b) { free(b->base), free(b->values); }

/* ---- Tests ---- */

static void widenOnThisTier(void) {
  enum { ROW_COUNT = 21, DIM = 512 };
  for (int format = 0; format < FORMATS; format++) {
    struct blocks b = make_blocks(format, ROW_COUNT, DIM);
    struct tensor out = tensor(ROW_COUNT, DIM, 3, 0);
    b.d.stride_row = out.stride;
    CHECK_INT(a4j_blocks_widen(&b.d, format, b.data, out.data), A4J_OK);
    int wrong = 0;
    for (int64_t r = 0; r < ROW_COUNT; r++)
      wrong += memcmp(out.data + r * out.stride, b.values + r * DIM, DIM * sizeof(float)) != 0;
    CHECK(wrong == 0, "%s: %d rows differ in a bit", formats[format].name, wrong);
    check_guards(&out, formats[format].name);

    uint16_t *halves = malloc(2 * ROW_COUNT * DIM);
    b.d.dtype = A4J_BF16, b.d.stride_row = DIM;
    CHECK_INT(a4j_blocks_widen(&b.d, format, b.data, halves), A4J_OK);
    for (int64_t i = 0; i < ROW_COUNT * DIM; i++) wrong += halves[i] != half_nearest(A4J_BF16, (double)b.values[i]);
    CHECK(wrong == 0, "%s as bfloat16: %d wrong", formats[format].name, wrong);
    free(halves), free(out.base), free_blocks(&b);
  }
}
static void shouldWidenWithEveryBitOfTheFormula(void) { on_every_tier(widenOnThisTier); }

/* A matrix that ends in the middle of a block of rows, whole and in pieces. */
static void shouldPackWhatTheyStandFor(void) {
  enum { ROW_COUNT = 53, DIM = 768 };
  for (int format = 0; format < FORMATS; format++) {
    struct blocks b = make_blocks(format, ROW_COUNT, DIM);
    const int64_t bytes = a4j_quantized_bytes(&b.d), row_bytes = DIM / formats[format].columns * formats[format].bytes;
    uint8_t *packed = malloc((size_t)bytes + 1), *pieces = malloc((size_t)bytes);
    memset(packed, 0x77, (size_t)bytes + 1);
    memset(pieces, 0x55, (size_t)bytes);
    CHECK_INT(a4j_blocks_pack(&b.d, format, b.data, packed), A4J_OK);
    CHECK_INT(packed[bytes], 0x77);
    float *out = malloc(sizeof(float) * ROW_COUNT * DIM);
    CHECK_INT(a4j_dequantize(&b.d, packed, out), A4J_OK);
    CHECK(memcmp(out, b.values, sizeof(float) * ROW_COUNT * DIM) == 0, "%s: other weights", formats[format].name);
    for (int64_t row = 0; row < ROW_COUNT; row += 32) {
      a4j_quantized_desc d = b.d;
      d.first_row = row, d.rows = row + 32 < ROW_COUNT ? 32 : ROW_COUNT - row, d.threads = 3 - b.d.threads % 2;
      CHECK_INT(a4j_blocks_pack(&d, format, b.data + row * row_bytes, pieces), A4J_OK);
    }
    CHECK(memcmp(pieces, packed, (size_t)bytes) == 0, "%s: other bytes in pieces", formats[format].name);

    /* Rows beyond the last are 0, so that they are the same every time. */
    memset(pieces, 0x33, (size_t)bytes);
    CHECK_INT(a4j_blocks_pack(&b.d, format, b.data, pieces), A4J_OK);
    CHECK(memcmp(pieces, packed, (size_t)bytes) == 0, "%s: bytes that nobody wrote", formats[format].name);
    free(packed), free(pieces), free(out), free_blocks(&b);
  }
}

static void shouldRefuseWhatIsNoBlock(void) {
  struct blocks b = make_blocks(A4J_Q4_K, 16, 256);
  uint8_t packed[16 * 256];
  float out[16 * 256];
#define REFUSES(change, format, status)                                                                                        \
  do {                                                                                                                         \
    a4j_quantized_desc d = b.d;                                                                                                \
    change;                                                                                                                    \
    CHECK_INT(a4j_blocks_pack(&d, format, b.data, packed), status);                                                            \
    CHECK_INT(a4j_blocks_widen(&d, format, b.data, out), status);                                                              \
  } while (0)
  REFUSES(, -1, A4J_BAD_OPTION);
  REFUSES(, FORMATS, A4J_BAD_OPTION);
  REFUSES(, A4J_Q6_K, A4J_BAD_OPTION);
  REFUSES(d.storage.minimums = 0, A4J_Q4_K, A4J_BAD_OPTION);
  REFUSES(d.dim = 128, A4J_Q4_K, A4J_BAD_SIZE);
  REFUSES(d.rows = -1, A4J_Q4_K, A4J_BAD_SIZE);
  REFUSES(d.threads = 0, A4J_Q4_K, A4J_BAD_OPTION);
  REFUSES(d.dtype = A4J_I8, A4J_Q4_K, A4J_UNSUPPORTED_DTYPE);
  a4j_quantized_desc d = b.d;
  d.first_row = 8, d.rows = 8;
  CHECK_INT(a4j_blocks_pack(&d, A4J_Q4_K, b.data, packed), A4J_BAD_POSITION);
  CHECK_INT(a4j_blocks_pack(&b.d, A4J_Q4_K, NULL, packed), A4J_NULL_POINTER);
  CHECK_INT(a4j_blocks_pack(&b.d, A4J_Q4_K, b.data, NULL), A4J_NULL_POINTER);
  CHECK_INT(a4j_blocks_widen(&b.d, A4J_Q4_K, b.data, NULL), A4J_NULL_POINTER);
  d.rows = 0, d.first_row = 0;
  CHECK_INT(a4j_blocks_pack(&d, A4J_Q4_K, NULL, NULL), A4J_OK);
  free_blocks(&b);
}

int main(void) {
  RUN(shouldWidenWithEveryBitOfTheFormula);
  RUN(shouldPackWhatTheyStandFor);
  RUN(shouldRefuseWhatIsNoBlock);
  return CHECK_RESULT();
}
