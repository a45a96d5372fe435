/* The vocabulary of the kernels for AVX2 with FMA and F16C; vec_sse2.h is the one to read first. */
#ifndef A4J_VEC_H
#define A4J_VEC_H

#include <immintrin.h>
#include <stdint.h>
#include <string.h>

#include "exp2.h"

#define A4J_ISA avx2
#define A4J_LANES 8
/* Whether v_fma rounds once. */
#define A4J_FUSED 1
/* 12 accumulators, 3 vectors of queries and a broadcast fill the 16 registers. */
#define A4J_TILE_VECS 3
#define A4J_TILE_KEYS 4
/*
 * The matrix product has 12 accumulators, 2 vectors of weights and a broadcast. Its 16 columns are one cache line of each row
 * of a panel, so a part of 384 inputs, 24 KiB, stays in the first-level cache for all rows; 24 columns would be read from the
 * second level for every four rows.
 */
#define A4J_PRODUCT_VECS 2
#define A4J_PRODUCT_ROWS 6
/* Keys whose exponentials are computed together. */
#define A4J_SIDE_KEYS 1

typedef __m256 vf;
typedef __m256 vmask;

static inline vf v_load(const float *p) { return _mm256_loadu_ps(p); }
static inline void v_store(float *p, vf a) { _mm256_storeu_ps(p, a); }
static inline vf v_set1(float x) { return _mm256_set1_ps(x); }

/* The first n lanes, 0 <= n <= A4J_LANES; the others are read as 0 and never written. */
static inline __m256i v_first(int n) {
  return _mm256_cmpgt_epi32(_mm256_set1_epi32(n), _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7));
}
static inline vf v_load_part(const float *p, int n) { return _mm256_maskload_ps(p, v_first(n)); }
/* A whole vector is stored without a mask: AMD CPUs before Zen 4 take some ten cycles for each masked store. */
static inline void v_store_part(float *p, vf a, int n) {
  if (n == A4J_LANES) {
    v_store(p, a);
  } else {
    _mm256_maskstore_ps(p, v_first(n), a);
  }
}

/* 16-bit numbers: loads widen exactly, stores round to nearest, ties to even. A NaN becomes a quiet NaN. */
static inline vf v_load_bf16(const uint16_t *p) {
  return _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_cvtepu16_epi32(_mm_loadu_si128((const __m128i *)p)), 16));
}
static inline vf v_load_f16(const uint16_t *p) { return _mm256_cvtph_ps(_mm_loadu_si128((const __m128i *)p)); }
/* 8-bit integers as floats. */
static inline vf v_load_i8(const int8_t *p) {
  return _mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(_mm_loadl_epi64((const __m128i *)p)));
}
static inline vf v_load_i8_part(const int8_t *p, int n) {
  int8_t t[A4J_LANES] = {0};
  memcpy(t, p, (size_t)n);
  return v_load_i8(t);
}
static inline vf v_load_bf16_part(const uint16_t *p, int n) {
  uint16_t t[A4J_LANES] = {0};
  memcpy(t, p, (size_t)n * sizeof *p);
  return v_load_bf16(t);
}
static inline vf v_load_f16_part(const uint16_t *p, int n) {
  uint16_t t[A4J_LANES] = {0};
  memcpy(t, p, (size_t)n * sizeof *p);
  return v_load_f16(t);
}
static inline void v_store_bf16(uint16_t *p, vf a) {
  const __m256i bits = _mm256_castps_si256(a), high = _mm256_srli_epi32(bits, 16);
  const __m256i odd = _mm256_and_si256(high, _mm256_set1_epi32(1));
  const __m256i rounded = _mm256_srli_epi32(_mm256_add_epi32(bits, _mm256_add_epi32(odd, _mm256_set1_epi32(0x7fff))), 16);
  const __m256i nan = _mm256_castps_si256(_mm256_cmp_ps(a, a, _CMP_UNORD_Q));
  const __m256i words = _mm256_blendv_epi8(rounded, _mm256_or_si256(high, _mm256_set1_epi32(0x40)), nan);
  _mm_storeu_si128((__m128i *)p, _mm_packus_epi32(_mm256_castsi256_si128(words), _mm256_extracti128_si256(words, 1)));
}
static inline void v_store_f16(uint16_t *p, vf a) {
  _mm_storeu_si128((__m128i *)p, _mm256_cvtps_ph(a, _MM_FROUND_TO_NEAREST_INT));
}
static inline void v_store_bf16_part(uint16_t *p, vf a, int n) {
  uint16_t t[A4J_LANES];
  v_store_bf16(t, a);
  memcpy(p, t, (size_t)n * sizeof *p);
}
static inline void v_store_f16_part(uint16_t *p, vf a, int n) {
  uint16_t t[A4J_LANES];
  v_store_f16(t, a);
  memcpy(p, t, (size_t)n * sizeof *p);
}

static inline vf v_add(vf a, vf b) { return _mm256_add_ps(a, b); }
static inline vf v_sub(vf a, vf b) { return _mm256_sub_ps(a, b); }
static inline vf v_mul(vf a, vf b) { return _mm256_mul_ps(a, b); }
static inline vf v_div(vf a, vf b) { return _mm256_div_ps(a, b); }
static inline vf v_sqrt(vf a) { return _mm256_sqrt_ps(a); }
/* a * b + c */
static inline vf v_fma(vf a, vf b, vf c) { return _mm256_fmadd_ps(a, b, c); }
/*
 * The steps of a product take 12 multiply-adds in 6 cycles, and the loop's own instructions would be a fifth of all. The sum of
 * v_add_product keeps its register: left to itself, GCC moves such sums about and spills some.
 */
#define A4J_UNROLLED_STEPS 8
static inline vf v_add_product(vf a, vf b, vf sum) {
  __asm__("vfmadd231ps %2, %1, %0" : "+x"(sum) : "x"(a), "x"(b));
  return sum;
}
/* The larger and the smaller of two numbers; b if a is NaN. */
static inline vf v_max(vf a, vf b) { return _mm256_max_ps(a, b); }
static inline vf v_min(vf a, vf b) { return _mm256_min_ps(a, b); }

static inline vmask v_eq(vf a, vf b) { return _mm256_cmp_ps(a, b, _CMP_EQ_OQ); }
static inline vmask v_ge(vf a, vf b) { return _mm256_cmp_ps(a, b, _CMP_GE_OQ); }
static inline int v_all(vmask m) { return _mm256_movemask_ps(m) == 0xff; }
static inline int v_none(vmask m) { return _mm256_movemask_ps(m) == 0; }
/* a if m, else b */
static inline vf v_select(vmask m, vf a, vf b) { return _mm256_blendv_ps(b, a, m); }
/* Lanes that hold -0.0 and not 0.0, which v_eq does not distinguish. */
static inline vmask v_is_negative_zero(vf a) {
  return _mm256_castsi256_ps(_mm256_cmpeq_epi32(_mm256_castps_si256(a), _mm256_set1_epi32(INT32_MIN)));
}

/* The lanes of m as bits, lane 0 first. */
static inline uint32_t v_bits(vmask m) { return (uint32_t)_mm256_movemask_ps(m); }
/* Lanes i in which bit number `bit` of sets[i] is 1. */
static inline vmask v_has_bit(const uint32_t *sets, int bit) {
  const __m256i one = _mm256_set1_epi32((int)(1u << bit));
  return _mm256_castsi256_ps(_mm256_cmpeq_epi32(_mm256_and_si256(_mm256_loadu_si256((const __m256i *)sets), one), one));
}
/* Which of 64 bytes are not 0; bit 0 is the first. */
static inline uint64_t v_nonzero_bytes(const uint8_t *p) {
  uint64_t zero = 0;
  for (int i = 0; i < 64; i += 32) {
    const __m256i bytes = _mm256_loadu_si256((const __m256i *)(p + i));
    zero |= (uint64_t)(uint32_t)_mm256_movemask_epi8(_mm256_cmpeq_epi8(bytes, _mm256_setzero_si256())) << i;
  }
  return ~zero;
}

/* A vector of A4J_LANES unsigned 32-bit integers (vu), for random numbers and quantised weights. */
typedef __m256i vu;

static inline vu u_load(const uint32_t *p) { return _mm256_loadu_si256((const __m256i *)p); }
static inline void u_store(uint32_t *p, vu a) { _mm256_storeu_si256((__m256i *)p, a); }
static inline vu u_set1(uint32_t x) { return _mm256_set1_epi32((int)x); }
static inline vu u_xor(vu a, vu b) { return _mm256_xor_si256(a, b); }
/* Returns the low words of the products a * m and stores their high words in *high. */
static inline vu u_mul(vu a, uint32_t m, vu *high) {
  const vu even = _mm256_mul_epu32(a, u_set1(m)), odd = _mm256_mul_epu32(_mm256_srli_epi64(a, 32), u_set1(m));
  *high = _mm256_blend_epi32(_mm256_srli_epi64(even, 32), odd, 0xaa);
  return _mm256_blend_epi32(even, _mm256_slli_epi64(odd, 32), 0xaa);
}
static inline vu u_add(vu a, vu b) { return _mm256_add_epi32(a, b); }
/* Inserts the two top bits of each byte of `words` as bits 2 PLACE and 2 PLACE + 1 of the bytes of a, where a has zeros. */
static inline vu u_or_top(vu a, vu words, const int PLACE) {
  return _mm256_or_si256(a,
                         _mm256_and_si256(_mm256_srli_epi16(words, 6 - 2 * PLACE), _mm256_set1_epi8((char)(3 << 2 * PLACE))));
}
static inline vu u_low_sixes(vu a) { return _mm256_and_si256(a, _mm256_set1_epi8(63)); }
/* The low and the high four bits of each byte. */
static inline vu u_low_nibbles(vu a) { return _mm256_and_si256(a, _mm256_set1_epi8(15)); }
static inline vu u_high_nibbles(vu a) { return _mm256_and_si256(_mm256_srli_epi16(a, 4), _mm256_set1_epi8(15)); }
/* The even and the odd bytes as 16-bit integers, and differences of those. */
static inline vu u_even_bytes(vu a) { return _mm256_and_si256(a, _mm256_set1_epi32(0xff00ff)); }
static inline vu u_odd_bytes(vu a) { return _mm256_srli_epi16(a, 8); }
static inline vu u_sub_shorts(vu a, vu b) { return _mm256_sub_epi16(a, b); }
/* Dot products of the two signed 16-bit integers of each lane. */
static inline vu u_pairs(vu a, vu b) { return _mm256_madd_epi16(a, b); }
static inline vu u_add_pairs(vu sum, vu a, vu b) {
  const vu products = u_pairs(a, b);
  __asm__("vpaddd %1, %0, %0" : "+x"(sum) : "x"(products));
  return sum;
}
/* Signed integers to floats, and floats to the nearest integer, ties to even. */
static inline vf v_from_int(vu a) { return _mm256_cvtepi32_ps(a); }
static inline vu u_nearest(vf a) { return _mm256_cvtps_epi32(a); }
/*
 * Dot products of bytes; see vec_sse2.h. Narrow ones take integers as bytes, v = 256 h + l with l signed, and add in 16 bits, which
 * suffice for four of them with codes below 16, 4 * 2 * 15 * 128, and for two with codes below 64, 2 * 2 * 63 * 128.
 */
enum { U_NARROW = 1 };
static inline void u_dot4(const int NARROW, vu sum[2], vu bytes, const uint32_t x[2]) {
  if (NARROW) {
    sum[0] = _mm256_add_epi16(sum[0], _mm256_maddubs_epi16(bytes, u_set1(x[0])));
    sum[1] = _mm256_add_epi16(sum[1], _mm256_maddubs_epi16(bytes, u_set1(x[1])));
    __asm__("" : "+x"(sum[0]), "+x"(sum[1]));
    return;
  }
  sum[1] = u_add_pairs(sum[1], u_even_bytes(bytes), u_set1(x[0]));
  sum[1] = u_add_pairs(sum[1], u_odd_bytes(bytes), u_set1(x[1]));
}
static inline vu u_dot4_total(const int NARROW, const vu sum[2]) {
  if (!NARROW) return sum[1];
  return u_add(_mm256_madd_epi16(sum[0], _mm256_set1_epi16(256)), _mm256_madd_epi16(sum[1], _mm256_set1_epi16(1)));
}
static inline __m128i u_shorts(vu v) { return _mm_packs_epi32(_mm256_castsi256_si128(v), _mm256_extracti128_si256(v, 1)); }
static inline void u_store_limbs(const int NARROW, uint32_t *p, vu v) {
  if (NARROW) {
    const vu high = _mm256_srai_epi32(u_add(v, u_set1(128)), 8), low = _mm256_sub_epi32(v, _mm256_slli_epi32(high, 8));
    _mm_storeu_si128((__m128i *)p, _mm_shuffle_epi32(_mm_packs_epi16(u_shorts(high), u_shorts(low)), 0xd8));
  } else {
    _mm_storeu_si128((__m128i *)p, _mm_shufflehi_epi16(_mm_shufflelo_epi16(u_shorts(v), 0xd8), 0xd8));
  }
}
/* The upper 24 bits of each lane as a number in [0, 1). */
static inline vf u_fraction(vu a) { return v_mul(_mm256_cvtepi32_ps(_mm256_srli_epi32(a, 8)), v_set1(0x1p-24f)); }

/*
 * 2^a. The integer part is added to the exponent bits of the polynomial, so a is first clamped to [-126, 128]. Below that the
 * result is 0, never a denormal; 128 gives infinity. The bounds are the first operands of min and max, so a NaN passes through.
 */
static inline vf v_exp2(vf a) {
  vf x = _mm256_min_ps(v_set1(128.0f), _mm256_max_ps(v_set1(-126.0f), a));
  vf n = _mm256_floor_ps(x);
  vf f = v_sub(x, n);
  vf p = v_set1(A4J_EXP2_C5);
  p = v_fma(p, f, v_set1(A4J_EXP2_C4));
  p = v_fma(p, f, v_set1(A4J_EXP2_C3));
  p = v_fma(p, f, v_set1(A4J_EXP2_C2));
  p = v_fma(p, f, v_set1(A4J_EXP2_C1));
  p = v_fma(p, f, v_set1(1.0f));
  __m256i e = _mm256_slli_epi32(_mm256_cvtps_epi32(n), 23);
  p = _mm256_castsi256_ps(_mm256_add_epi32(_mm256_castps_si256(p), e));
  return _mm256_andnot_ps(_mm256_cmp_ps(a, v_set1(-126.0f), _CMP_LT_OQ), p);
}

/* a[i] = 2^a[i] for n vectors. */
static inline void v_exp2_each(vf *a, const int n) {
#pragma GCC unroll 8
  for (int i = 0; i < n; i++) a[i] = v_exp2(a[i]);
}

/* The largest of all lanes, none of which is NaN. */
static inline float v_largest(vf a) {
  __m128 m = _mm_max_ps(_mm256_castps256_ps128(a), _mm256_extractf128_ps(a, 1));
  m = _mm_max_ps(m, _mm_movehl_ps(m, m));
  return _mm_cvtss_f32(_mm_max_ss(m, _mm_shuffle_ps(m, m, 1)));
}
/* The sum of all lanes, added pairwise. */
static inline float v_sum(vf a) {
  __m128 s = _mm_add_ps(_mm256_castps256_ps128(a), _mm256_extractf128_ps(a, 1));
  s = _mm_add_ps(s, _mm_movehl_ps(s, s));
  return _mm_cvtss_f32(_mm_add_ss(s, _mm_shuffle_ps(s, s, 1)));
}

/* p[i] = the sum of all lanes of argument i, each added in the same order. */
static inline void v_sum4(vf a, vf b, vf c, vf d, float *p) {
  vf s = _mm256_hadd_ps(_mm256_hadd_ps(a, b), _mm256_hadd_ps(c, d));
  _mm_storeu_ps(p, _mm_add_ps(_mm256_castps256_ps128(s), _mm256_extractf128_ps(s, 1)));
}

/* Loads and stores A4J_LANES pairs: p[2 i] is lane i of even, p[2 i + 1] lane i of odd. */
static inline void v_load_pairs(const float *p, vf *even, vf *odd) {
  vf a = v_load(p), b = v_load(p + 8);
  vf lo = _mm256_permute2f128_ps(a, b, 0x20), hi = _mm256_permute2f128_ps(a, b, 0x31);
  *even = _mm256_shuffle_ps(lo, hi, 0x88);
  *odd = _mm256_shuffle_ps(lo, hi, 0xdd);
}
static inline void v_store_pairs(float *p, vf even, vf odd) {
  vf lo = _mm256_unpacklo_ps(even, odd), hi = _mm256_unpackhi_ps(even, odd);
  v_store(p, _mm256_permute2f128_ps(lo, hi, 0x20));
  v_store(p + 8, _mm256_permute2f128_ps(lo, hi, 0x31));
}

/* Transposes the 8 x 8 matrix with rows r[0..7] in place. */
static inline void v_transpose(vf r[A4J_LANES]) {
  vf t[8];
#pragma GCC unroll 8
  for (int i = 0; i < 8; i += 2) {
    t[i] = _mm256_unpacklo_ps(r[i], r[i + 1]);
    t[i + 1] = _mm256_unpackhi_ps(r[i], r[i + 1]);
  }
#pragma GCC unroll 2
  for (int i = 0; i < 8; i += 4) {
    r[i] = _mm256_shuffle_ps(t[i], t[i + 2], 0x44);
    r[i + 1] = _mm256_shuffle_ps(t[i], t[i + 2], 0xee);
    r[i + 2] = _mm256_shuffle_ps(t[i + 1], t[i + 3], 0x44);
    r[i + 3] = _mm256_shuffle_ps(t[i + 1], t[i + 3], 0xee);
  }
#pragma GCC unroll 4
  for (int i = 0; i < 4; i++) {
    vf lo = _mm256_permute2f128_ps(r[i], r[i + 4], 0x20);
    vf hi = _mm256_permute2f128_ps(r[i], r[i + 4], 0x31);
    r[i] = lo;
    r[i + 4] = hi;
  }
}

#endif
