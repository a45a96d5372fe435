/*
 * The blocks that GGUF files keep quantised weights in: packed for products, or widened to numbers.
 *
 * A block is split into codes, four columns to a word, and the scales and minimums that the storage of its format has; a4j.h has the
 * formulas. Opening a model means reading its blocks once and writing them once, so whole words are moved.
 */
#include <stddef.h>
#include <string.h>

#include "a4j.h"
#include "floats.h"
#include "kernels.h"
#include "os.h"
#include "quantized.h"
#include "rows.h"

/* Everything below is compiled once for each format, whose numbers are constants then. */
#define INLINE static inline __attribute__((always_inline))

enum { ROWS = A4J_QUANTIZED_ROWS, MOST_COLUMNS = A4J_QUANTIZED_SPAN };

struct call {
  const struct a4j_kernels *kernels;
  const a4j_quantized_desc *desc;
  const uint8_t *blocks;
  uint8_t *packed;
  char *out;
};

/* A block: unsigned codes, and for each group its scale and minimum, in the storage's type. */
struct parts {
  uint32_t codes[MOST_COLUMNS / 4];
  uint8_t scales[16], minimums[16];
  uint8_t outer_scale[2], outer_minimum[2];
};

struct format {
  int16_t columns, bytes;
  a4j_storage storage;
};

static const struct format formats[] = {
    [A4J_Q4_0] = {32, 18, {A4J_I4, 32, A4J_F16, 0}},   [A4J_Q4_1] = {32, 20, {A4J_I4, 32, A4J_F16, 1}},
    [A4J_Q5_0] = {32, 22, {A4J_I6, 32, A4J_F16, 0}},   [A4J_Q5_1] = {32, 24, {A4J_I6, 32, A4J_F16, 1}},
    [A4J_Q8_0] = {32, 34, {A4J_I8, 32, A4J_F16, 0}},   [A4J_Q2_K] = {256, 84, {A4J_I4, 16, A4J_I8, 1}},
    [A4J_Q3_K] = {256, 110, {A4J_I4, 16, A4J_I8, 0}},  [A4J_Q4_K] = {256, 144, {A4J_I4, 32, A4J_I8, 1}},
    [A4J_Q5_K] = {256, 176, {A4J_I6, 32, A4J_I8, 1}},  [A4J_Q6_K] = {256, 210, {A4J_I6, 16, A4J_I8, 0}},
    [A4J_IQ4_NL] = {32, 18, {A4J_I8, 32, A4J_F16, 0}}, [A4J_IQ4_XS] = {256, 136, {A4J_I8, 32, A4J_I8, 0}},
    [A4J_MXFP4] = {32, 17, {A4J_I8, 32, A4J_F32, 0}},
};
enum { FORMATS = sizeof formats / sizeof *formats };

/* ---- Taking apart ---- */

INLINE uint32_t word(const uint8_t *p) {
  uint32_t w;
  memcpy(&w, p, sizeof w);
  return w;
}

INLINE uint32_t in_each_byte(int x) { return (uint32_t)x * 0x01010101u; }

/* What to add to each byte of a word of codes whose zero is `zero` in the file, so that it is the storage's zero point. */
INLINE uint32_t raised(int format, int zero) { return in_each_byte(a4j_zero_point(&formats[format].storage) - zero); }

/* 16 bytes of codes of 4 bits: columns 0 to 15 in the low halves. */
INLINE void halves(const uint8_t *p, uint32_t *codes) {
  for (int i = 0; i < 4; i++) {
    codes[i] = word(p + 4 * i) & 0x0f0f0f0f;
    codes[4 + i] = word(p + 4 * i) >> 4 & 0x0f0f0f0f;
  }
}

/* Codes of 4 bits that are indices of a table: 16 bytes as in halves(). */
INLINE void looked_up(const uint8_t *p, const uint8_t table[16], uint32_t *codes) {
  for (int i = 0; i < 4; i++) {
    uint32_t low = 0, high = 0;
    for (int j = 0; j < 4; j++) {
      low |= (uint32_t)table[p[4 * i + j] & 15] << 8 * j;
      high |= (uint32_t)table[p[4 * i + j] >> 4] << 8 * j;
    }
    codes[i] = low;
    codes[4 + i] = high;
  }
}

/* Fifth bits of 4 codes, from the low four bits of x. */
INLINE uint32_t fifths(uint32_t x) { return ((x & 15) * 0x00204081u & 0x01010101u) << 4; }

/* Of each byte of a word, the bits from `first` on that `mask` keeps. */
INLINE uint32_t fields(const uint8_t *p, int first, int mask) { return word(p) >> first & in_each_byte(mask); }

/* The scales and minimums of Q4_K and Q5_K, 6 bits each in 12 bytes. Minimums are subtracted there. */
INLINE void six_bit_numbers(const uint8_t *p, struct parts *to) {
  for (int g = 0; g < 4; g++) {
    to->scales[g] = p[g] & 63;
    to->minimums[g] = (uint8_t) - (p[4 + g] & 63);
    to->scales[4 + g] = (uint8_t)((p[8 + g] & 15) | p[g] >> 6 << 4);
    to->minimums[4 + g] = (uint8_t) - (p[8 + g] >> 4 | p[4 + g] >> 6 << 4);
  }
}

/* 2^(exponent - 128), which may be denormal. */
INLINE void put_power(int exponent, uint8_t *to) {
  const uint32_t bits = exponent < 2 ? 0x00200000u << exponent : (uint32_t)(exponent - 1) << 23;
  memcpy(to, &bits, sizeof bits);
}

/* For word w of each eighth e of 64 words. Within an eighth all are shifted alike, so the compiler makes vectors of them. */
#define FOR_EIGHTS(e, w) _Pragma("GCC unroll 8") for (int e = 0; e < 8; e++) for (int w = 0; w < 8; w++)

/* b is a block of the format, and to what it becomes. */
INLINE void take_apart(const int FORMAT, const uint8_t *b, struct parts *to) {
  /* The values of IQ4 codes plus 128; twice the values of MXFP4 codes plus 128. */
  static const uint8_t uneven[16] = {1, 24, 45, 63, 79, 93, 106, 118, 129, 141, 153, 166, 181, 197, 217, 241};
  static const uint8_t floats_of_4_bits[16] = {128, 129, 130, 131, 132, 134, 136, 140, 128, 127, 126, 125, 124, 122, 120, 116};
  uint32_t *codes = to->codes;
  switch (FORMAT) {
  case A4J_Q4_0:
    memcpy(to->scales, b, 2);
    halves(b + 2, codes);
    break;
  case A4J_Q4_1:
    memcpy(to->scales, b, 2);
    memcpy(to->minimums, b + 2, 2);
    halves(b + 4, codes);
    break;
  case A4J_Q5_0:
  case A4J_Q5_1: {
    const uint8_t *high = b + (FORMAT == A4J_Q5_1 ? 4 : 2);
    const uint32_t up = FORMAT == A4J_Q5_1 ? 0 : raised(FORMAT, 16);
    memcpy(to->scales, b, 2);
    if (FORMAT == A4J_Q5_1) memcpy(to->minimums, b + 2, 2);
    halves(high + 4, codes);
    for (int i = 0; i < 8; i++) codes[i] = (codes[i] | fifths(word(high) >> 4 * i)) + up;
    break;
  }
  case A4J_Q8_0:
    memcpy(to->scales, b, 2);
    for (int i = 0; i < 8; i++) codes[i] = word(b + 2 + 4 * i) ^ 0x80808080;
    break;
  case A4J_Q2_K:
    memcpy(to->outer_scale, b + 80, 2);
    memcpy(to->outer_minimum, b + 82, 2);
    for (int g = 0; g < 16; g++) {
      to->scales[g] = b[g] & 15;
      to->minimums[g] = (uint8_t) - (b[g] >> 4);
    }
    FOR_EIGHTS(e, w) { codes[8 * e + w] = fields(b + 16 + 32 * (e / 4) + 4 * w, 2 * (e % 4), 3); }
    break;
  case A4J_Q3_K:
    memcpy(to->outer_scale, b + 108, 2);
    for (int g = 0; g < 16; g++) {
      const int low = g < 8 ? b[96 + g] & 15 : b[96 + g - 8] >> 4;
      to->scales[g] = (uint8_t)((low | (b[104 + g % 4] >> 2 * (g / 4) & 3) << 4) - 32);
    }
    FOR_EIGHTS(e, w) {
      codes[8 * e + w] =
          (fields(b + 32 + 32 * (e / 4) + 4 * w, 2 * (e % 4), 3) | fields(b + 4 * w, e, 1) << 2) + raised(FORMAT, 4);
    }
    break;
  case A4J_Q4_K:
  case A4J_Q5_K:
    memcpy(to->outer_scale, b, 2);
    memcpy(to->outer_minimum, b + 2, 2);
    six_bit_numbers(b + 4, to);
    FOR_EIGHTS(e, w) {
      codes[8 * e + w] = fields(b + (FORMAT == A4J_Q4_K ? 16 : 48) + 32 * (e / 2) + 4 * w, 4 * (e % 2), 15);
      if (FORMAT == A4J_Q5_K) codes[8 * e + w] |= fields(b + 16 + 4 * w, e, 1) << 4;
    }
    break;
  case A4J_Q6_K:
    memcpy(to->outer_scale, b + 208, 2);
    memcpy(to->scales, b + 192, 16);
    FOR_EIGHTS(e, w) {
      codes[8 * e + w] = (fields(b + 64 * (e / 4) + 32 * (e % 2) + 4 * w, e % 4 / 2 * 4, 15) |
                          fields(b + 128 + 32 * (e / 4) + 4 * w, 2 * (e % 4), 3) << 4) +
                         raised(FORMAT, 32);
    }
    break;
  case A4J_IQ4_NL:
    memcpy(to->scales, b, 2);
    looked_up(b + 2, uneven, codes);
    break;
  case A4J_IQ4_XS:
    memcpy(to->outer_scale, b, 2);
    for (int g = 0; g < 8; g++) {
      const int low = b[4 + g / 2] >> 4 * (g % 2) & 15, high = (b[2] | b[3] << 8) >> 2 * g & 3;
      to->scales[g] = (uint8_t)((low | high << 4) - 32);
      looked_up(b + 8 + 16 * g, uneven, codes + 8 * g);
    }
    break;
  default: /* A4J_MXFP4 */
    put_power(b[0], to->scales);
    looked_up(b + 1, floats_of_4_bits, codes);
    break;
  }
}

/* take_apart of one format. A function, because inlining it in every loop would make 1.4 times as much code. */
typedef void apart_fn(const uint8_t *block, struct parts *to);

/* ---- Packing ---- */

/* Writes a block as row `row` of the groups that begin at `to`, with the scales of their span. */
INLINE void put(const a4j_storage *s, int groups, const struct parts *parts, int row, uint8_t *to) {
  const int64_t number = a4j_scales_bytes(s) / ROWS;
  if (a4j_scales_are_nested(s)) {
    memcpy(to + 2 * row, parts->outer_scale, 2);
    if (s->minimums) memcpy(to + 2 * ROWS + 2 * row, parts->outer_minimum, 2);
    to += a4j_outer_bytes(s);
  }
  for (int g = 0; g < groups; g++, to += a4j_group_bytes(s)) {
    uint8_t *scales = to + a4j_codes_bytes(s);
    a4j_put_codes(s, to, row, parts->codes + g * s->group / 4);
    memcpy(scales + row * number, parts->scales + g * number, (size_t)number);
    if (s->minimums) memcpy(scales + a4j_scales_bytes(s) + row * number, parts->minimums + g * number, (size_t)number);
  }
}

INLINE void pack_format(const struct call *call, const int FORMAT, apart_fn *const apart, int64_t block, int64_t block_end) {
  const a4j_quantized_desc *desc = call->desc;
  const a4j_storage s = formats[FORMAT].storage;
  const int columns = formats[FORMAT].columns, bytes = formats[FORMAT].bytes, groups = columns / s.group;
  const int64_t in_row = desc->dim / columns, step = groups * a4j_group_bytes(&s) + a4j_outer_bytes(&s);
  for (; block < block_end; block++) {
    const int64_t row = block * ROWS, rows = desc->rows - row < ROWS ? desc->rows - row : ROWS;
    const uint8_t *from = call->blocks + row * in_row * bytes;
    uint8_t *to = call->packed + (desc->first_row / ROWS + block) * a4j_block_bytes(&s, desc->dim);
    if (rows < ROWS) memset(to, 0, (size_t)a4j_block_bytes(&s, desc->dim));
    for (int64_t i = 0; i < in_row; i++)
      for (int64_t r = 0; r < rows; r++) {
        struct parts parts;
        apart(from + (r * in_row + i) * bytes, &parts);
        put(&s, groups, &parts, (int)r, to + i * step);
      }
  }
}

/* ---- Widening ---- */

INLINE void widen_format(const struct call *call, const int FORMAT, apart_fn *const apart, int64_t row, int64_t row_end) {
  const a4j_quantized_desc *desc = call->desc;
  const a4j_storage *s = &formats[FORMAT].storage;
  const int columns = formats[FORMAT].columns, bytes = formats[FORMAT].bytes;
  const int64_t in_row = desc->dim / columns, number = a4j_scales_bytes(s) / ROWS;
  for (; row < row_end; row++)
    for (int64_t i = 0; i < in_row; i++) {
      struct parts parts;
      float x[MOST_COLUMNS], outer = 1, outer_minimum = 1;
      apart(call->blocks + (row * in_row + i) * bytes, &parts);
      if (a4j_scales_are_nested(s)) {
        outer = a4j_number(call->kernels, A4J_F16, parts.outer_scale);
        if (s->minimums) outer_minimum = a4j_number(call->kernels, A4J_F16, parts.outer_minimum);
      }
      for (int g = 0; g < columns / s->group; g++) {
        const float scale = a4j_number(call->kernels, s->scale_dtype, parts.scales + g * number);
        const float minimum = s->minimums ? a4j_number(call->kernels, s->scale_dtype, parts.minimums + g * number) : 0;
        a4j_widen_group(s, scale, outer, minimum, outer_minimum, parts.codes + g * s->group / 4, x + g * s->group);
      }
      char *to = call->out + (row * desc->stride_row + i * columns) * a4j_dtype_bytes(desc->dtype);
      call->kernels->convert(columns, A4J_F32, x, desc->dtype, to);
    }
}

/* ---- Every format ---- */

/* clang-format off */
#define FOR_EVERY_FORMAT(of)                                                                                                   \
  of(A4J_Q4_0) of(A4J_Q4_1) of(A4J_Q5_0) of(A4J_Q5_1) of(A4J_Q8_0) of(A4J_Q2_K) of(A4J_Q3_K) of(A4J_Q4_K) of(A4J_Q5_K)         \
  of(A4J_Q6_K) of(A4J_IQ4_NL) of(A4J_IQ4_XS) of(A4J_MXFP4)
/* clang-format on */

typedef void part_fn(const void *call, int64_t from, int64_t to);

#define FUNCTIONS(format)                                                                                                      \
  static void apart_##format(const uint8_t *block, struct parts *to) { take_apart(format, block, to); }                        \
  static void pack_##format(const void *call, int64_t block, int64_t block_end) {                                              \
    pack_format(call, format, apart_##format, block, block_end);                                                               \
  }                                                                                                                            \
  static void widen_##format(const void *call, int64_t row, int64_t row_end) {                                                 \
    widen_format(call, format, apart_##format, row, row_end);                                                                  \
  }
FOR_EVERY_FORMAT(FUNCTIONS)

#define PACKER(format) [format] = pack_##format,
#define WIDENER(format) [format] = widen_##format,
static part_fn *const packers[] = {FOR_EVERY_FORMAT(PACKER)};
static part_fn *const wideners[] = {FOR_EVERY_FORMAT(WIDENER)};

/* ---- Exported ---- */

static int32_t check(const a4j_quantized_desc *desc, int32_t format) {
  const int32_t status = a4j_check_quantized_rows(desc);
  if (status != A4J_OK) return status;
  if (format < 0 || format >= FORMATS || memcmp(&desc->storage, &formats[format].storage, sizeof desc->storage) != 0)
    return A4J_BAD_OPTION;
  return desc->dim % formats[format].columns == 0 ? A4J_OK : A4J_BAD_SIZE;
}

int32_t a4j_blocks_pack(const a4j_quantized_desc *desc, int32_t format, const void *blocks, void *packed) {
  const int32_t status = check(desc, format);
  if (status != A4J_OK) return status;
  if (desc->first_row % ROWS != 0) return A4J_BAD_POSITION;
  if (desc->rows == 0 || desc->dim == 0) return A4J_OK;
  if (blocks == NULL || packed == NULL) return A4J_NULL_POINTER;
  const struct call call = {.desc = desc, .blocks = blocks, .packed = packed};
  const int64_t block_bytes = a4j_block_bytes(&desc->storage, desc->dim);
  a4j_os_huge_pages((char *)packed + desc->first_row / ROWS * block_bytes, ceil_div(desc->rows, ROWS) * block_bytes);
  a4j_rows_run(desc->threads, (desc->rows - 1) / ROWS + 1, (double)desc->dim * ROWS * 0.1, packers[format], &call);
  return A4J_OK;
}

int32_t a4j_blocks_widen(const a4j_quantized_desc *desc, int32_t format, const void *blocks, void *out) {
  A4J_DEFAULT_FLOATS;
  const int32_t status = check(desc, format);
  if (status != A4J_OK) return status;
  if (desc->rows == 0 || desc->dim == 0) return A4J_OK;
  if (blocks == NULL || out == NULL) return A4J_NULL_POINTER;
  const struct call call = {.kernels = a4j_kernels_active(), .desc = desc, .blocks = blocks, .out = out};
  a4j_rows_run(desc->threads, desc->rows, (double)desc->dim, wideners[format], &call);
  return A4J_OK;
}
