/*
 * The vocabulary of the kernels for baseline x86-64 (SSE2): the plainest of the vec_*.h, so the one to read first.
 *
 * A vector (vf) holds A4J_LANES floats, a mask (vmask) one yes or no per lane.
 */
#ifndef A4J_VEC_H
#define A4J_VEC_H

#include <emmintrin.h>
#include <stdint.h>
#include <string.h>

#include "exp2.h"

#define A4J_ISA baseline
#define A4J_LANES 4
/* Whether v_fma rounds once. */
#define A4J_FUSED 0
/* 12 accumulators, 3 vectors of queries and a broadcast fill the 16 registers. */
#define A4J_TILE_VECS 3
#define A4J_TILE_KEYS 4
/* Keys whose exponentials are computed together. */
#define A4J_SIDE_KEYS 1

typedef __m128 vf;
typedef __m128 vmask;

static inline vf v_load(const float *p) { return _mm_loadu_ps(p); }
static inline void v_store(float *p, vf a) { _mm_storeu_ps(p, a); }
static inline vf v_set1(float x) { return _mm_set1_ps(x); }

/* The first n lanes, 0 <= n <= A4J_LANES; the others are read as 0 and never written. */
static inline vf v_load_part(const float *p, int n) {
  float t[4] = {0, 0, 0, 0};
  memcpy(t, p, (size_t)n * sizeof *p);
  return _mm_loadu_ps(t);
}
static inline void v_store_part(float *p, vf a, int n) {
  if (n == A4J_LANES) {
    v_store(p, a);
    return;
  }
  float t[A4J_LANES];
  v_store(t, a);
  memcpy(p, t, (size_t)n * sizeof *p);
}

static inline vf v_add(vf a, vf b) { return _mm_add_ps(a, b); }
static inline vf v_sub(vf a, vf b) { return _mm_sub_ps(a, b); }
static inline vf v_mul(vf a, vf b) { return _mm_mul_ps(a, b); }
static inline vf v_div(vf a, vf b) { return _mm_div_ps(a, b); }
static inline vf v_sqrt(vf a) { return _mm_sqrt_ps(a); }
/* a * b + c: rounded twice here, once on tiers with FMA */
static inline vf v_fma(vf a, vf b, vf c) { return _mm_add_ps(_mm_mul_ps(a, b), c); }
/* The larger and the smaller of two numbers; b if a is NaN. */
static inline vf v_max(vf a, vf b) { return _mm_max_ps(a, b); }
static inline vf v_min(vf a, vf b) { return _mm_min_ps(a, b); }

static inline vmask v_eq(vf a, vf b) { return _mm_cmpeq_ps(a, b); }
static inline vmask v_ge(vf a, vf b) { return _mm_cmpge_ps(a, b); }
static inline int v_all(vmask m) { return _mm_movemask_ps(m) == 0xf; }
static inline int v_none(vmask m) { return _mm_movemask_ps(m) == 0; }
/* a if m, else b */
static inline vf v_select(vmask m, vf a, vf b) { return _mm_or_ps(_mm_and_ps(m, a), _mm_andnot_ps(m, b)); }
/* Lanes that hold -0.0 and not 0.0, which v_eq does not distinguish. */
static inline vmask v_is_negative_zero(vf a) {
  return _mm_castsi128_ps(_mm_cmpeq_epi32(_mm_castps_si128(a), _mm_set1_epi32(INT32_MIN)));
}

/* 16-bit numbers: loads widen exactly, stores round to nearest, ties to even. A NaN becomes a quiet NaN. */
static inline vf v_load_bf16(const uint16_t *p) {
  return _mm_castsi128_ps(_mm_unpacklo_epi16(_mm_setzero_si128(), _mm_loadl_epi64((const __m128i *)p)));
}
/* Multiplying by 2^112 adjusts the exponent, also of denormals; only infinity and NaN need special care. */
static inline vf v_load_f16(const uint16_t *p) {
  const __m128i half = _mm_unpacklo_epi16(_mm_loadl_epi64((const __m128i *)p), _mm_setzero_si128());
  const __m128i sign = _mm_slli_epi32(_mm_and_si128(half, _mm_set1_epi32(0x8000)), 16);
  const __m128i size = _mm_slli_epi32(_mm_and_si128(half, _mm_set1_epi32(0x7fff)), 13);
  const __m128i not_finite = _mm_cmpgt_epi32(size, _mm_set1_epi32(0x0f7fffff));
  const __m128i nan = _mm_cmpgt_epi32(size, _mm_set1_epi32(0x0f800000));
  const __m128i finite = _mm_castps_si128(_mm_mul_ps(_mm_castsi128_ps(size), v_set1(0x1p112f)));
  const __m128i other =
      _mm_or_si128(_mm_or_si128(size, _mm_set1_epi32(0x7f800000)), _mm_and_si128(nan, _mm_set1_epi32(0x400000)));
  return _mm_castsi128_ps(
      _mm_or_si128(sign, _mm_or_si128(_mm_andnot_si128(not_finite, finite), _mm_and_si128(not_finite, other))));
}
/* 8-bit integers as floats. */
static inline vf v_load_i8(const int8_t *p) {
  int32_t four;
  memcpy(&four, p, sizeof four);
  const __m128i zero = _mm_setzero_si128(), words = _mm_unpacklo_epi8(zero, _mm_cvtsi32_si128(four));
  return _mm_cvtepi32_ps(_mm_srai_epi32(_mm_unpacklo_epi16(zero, words), 24));
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
static inline __m128i i_select(__m128i m, __m128i a, __m128i b) {
  return _mm_or_si128(_mm_and_si128(m, a), _mm_andnot_si128(m, b));
}
/* The low halves of the lanes; packing saturates, so they are sign-extended first. */
static inline void i_store_words(uint16_t *p, __m128i a) {
  a = _mm_srai_epi32(_mm_slli_epi32(a, 16), 16);
  _mm_storel_epi64((__m128i *)p, _mm_packs_epi32(a, a));
}
static inline void v_store_bf16(uint16_t *p, vf a) {
  const __m128i bits = _mm_castps_si128(a), high = _mm_srli_epi32(bits, 16);
  const __m128i odd = _mm_and_si128(high, _mm_set1_epi32(1));
  const __m128i rounded = _mm_srli_epi32(_mm_add_epi32(bits, _mm_add_epi32(odd, _mm_set1_epi32(0x7fff))), 16);
  const __m128i nan = _mm_castps_si128(_mm_cmpunord_ps(a, a));
  i_store_words(p, i_select(nan, _mm_or_si128(high, _mm_set1_epi32(0x40)), rounded));
}
/*
 * Below 2^-14, adding 1/2 rounds at the last bit of a denormal. Above, the exponent is adjusted and half a unit in the last
 * place is added, minus one bit if the last place is even; the carry may reach infinity.
 */
static inline void v_store_f16(uint16_t *p, vf a) {
  const __m128i bits = _mm_castps_si128(a), size = _mm_and_si128(bits, _mm_set1_epi32(INT32_MAX));
  const __m128i sign = _mm_srli_epi32(_mm_and_si128(bits, _mm_set1_epi32(INT32_MIN)), 16);
  const __m128i half = _mm_castps_si128(v_set1(0.5f));
  const __m128i small = _mm_sub_epi32(_mm_castps_si128(_mm_add_ps(_mm_castsi128_ps(size), v_set1(0.5f))), half);
  const __m128i odd = _mm_and_si128(_mm_srli_epi32(size, 13), _mm_set1_epi32(1));
  const __m128i moved = _mm_add_epi32(size, _mm_add_epi32(odd, _mm_set1_epi32(0xfff - (112 << 23))));
  __m128i result = i_select(_mm_cmpgt_epi32(_mm_set1_epi32(0x38800000), size), small, _mm_srli_epi32(moved, 13));
  result = i_select(_mm_cmpgt_epi32(size, _mm_set1_epi32(0x477fffff)), _mm_set1_epi32(0x7c00), result);
  const __m128i nan = _mm_or_si128(_mm_set1_epi32(0x7e00), _mm_and_si128(_mm_srli_epi32(size, 13), _mm_set1_epi32(0x3ff)));
  result = i_select(_mm_cmpgt_epi32(size, _mm_set1_epi32(0x7f800000)), nan, result);
  i_store_words(p, _mm_or_si128(sign, result));
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

/* The lanes of m as bits, lane 0 first. */
static inline uint32_t v_bits(vmask m) { return (uint32_t)_mm_movemask_ps(m); }
/* Lanes i in which bit number `bit` of sets[i] is 1. */
static inline vmask v_has_bit(const uint32_t *sets, int bit) {
  const __m128i one = _mm_set1_epi32((int)(1u << bit));
  return _mm_castsi128_ps(_mm_cmpeq_epi32(_mm_and_si128(_mm_loadu_si128((const __m128i *)sets), one), one));
}
/* Which of 64 bytes are not 0; bit 0 is the first. */
static inline uint64_t v_nonzero_bytes(const uint8_t *p) {
  uint64_t zero = 0;
  for (int i = 0; i < 64; i += 16) {
    const __m128i bytes = _mm_loadu_si128((const __m128i *)(p + i));
    zero |= (uint64_t)(uint32_t)_mm_movemask_epi8(_mm_cmpeq_epi8(bytes, _mm_setzero_si128())) << i;
  }
  return ~zero;
}

/* A vector of A4J_LANES unsigned 32-bit integers (vu), for random numbers and quantised weights. */
typedef __m128i vu;

static inline vu u_load(const uint32_t *p) { return _mm_loadu_si128((const __m128i *)p); }
static inline void u_store(uint32_t *p, vu a) { _mm_storeu_si128((__m128i *)p, a); }
static inline vu u_set1(uint32_t x) { return _mm_set1_epi32((int)x); }
static inline vu u_xor(vu a, vu b) { return _mm_xor_si128(a, b); }
/* Returns the low words of the products a * m and stores their high words in *high. */
static inline vu u_mul(vu a, uint32_t m, vu *high) {
  const vu even = _mm_mul_epu32(a, u_set1(m)), odd = _mm_mul_epu32(_mm_srli_epi64(a, 32), u_set1(m));
  *high = _mm_unpacklo_epi32(_mm_shuffle_epi32(even, 0x0d), _mm_shuffle_epi32(odd, 0x0d));
  return _mm_unpacklo_epi32(_mm_shuffle_epi32(even, 0x08), _mm_shuffle_epi32(odd, 0x08));
}
static inline vu u_add(vu a, vu b) { return _mm_add_epi32(a, b); }
/* Inserts the two top bits of each byte of `words` as bits 2 PLACE and 2 PLACE + 1 of the bytes of a, where a has zeros. */
static inline vu u_or_top(vu a, vu words, const int PLACE) {
  return _mm_or_si128(a, _mm_and_si128(_mm_srli_epi16(words, 6 - 2 * PLACE), _mm_set1_epi8((char)(3 << 2 * PLACE))));
}
static inline vu u_low_sixes(vu a) { return _mm_and_si128(a, _mm_set1_epi8(63)); }
/* The low and the high four bits of each byte. */
static inline vu u_low_nibbles(vu a) { return _mm_and_si128(a, _mm_set1_epi8(15)); }
static inline vu u_high_nibbles(vu a) { return _mm_and_si128(_mm_srli_epi16(a, 4), _mm_set1_epi8(15)); }
/* The even and the odd bytes as 16-bit integers, and differences of those. */
static inline vu u_even_bytes(vu a) { return _mm_and_si128(a, _mm_set1_epi32(0xff00ff)); }
static inline vu u_odd_bytes(vu a) { return _mm_srli_epi16(a, 8); }
static inline vu u_sub_shorts(vu a, vu b) { return _mm_sub_epi16(a, b); }
/*
 * Dot products of the two signed 16-bit integers of each lane, and those added to a sum. The empty assembly keeps the compiler from adding
 * many products as a tree, which needs more registers than there are.
 */
static inline vu u_pairs(vu a, vu b) { return _mm_madd_epi16(a, b); }
static inline vu u_add_pairs(vu sum, vu a, vu b) {
  sum = u_add(sum, u_pairs(a, b));
  __asm__("" : "+x"(sum));
  return sum;
}
/* Signed integers to floats, and floats to the nearest integer, ties to even. */
static inline vf v_from_int(vu a) { return _mm_cvtepi32_ps(a); }
static inline vu u_nearest(vf a) { return _mm_cvtps_epi32(a); }
/*
 * u_dot4 adds dot products of the four unsigned bytes of each lane with four integers v, |v| <= 32512, the same for all lanes, to two
 * accumulators, whose total is exact. A tier may have a shorter way, U_NARROW, for 16 bytes below 16 or 8 bytes below 64, whose
 * accumulators begin at 0.
 * u_store_limbs writes A4J_LANES integers in the form that u_dot4 reads, two words for four of them: here 16 bits each, even
 * positions before odd ones.
 */
enum { U_NARROW = 0 };
static inline void u_dot4(const int NARROW, vu sum[2], vu bytes, const uint32_t x[2]) {
  (void)NARROW;
  sum[1] = u_add_pairs(sum[1], u_even_bytes(bytes), u_set1(x[0]));
  sum[1] = u_add_pairs(sum[1], u_odd_bytes(bytes), u_set1(x[1]));
}
static inline vu u_dot4_total(const int NARROW, const vu sum[2]) {
  (void)NARROW;
  return sum[1];
}
static inline void u_store_limbs(const int NARROW, uint32_t *p, vu v) {
  (void)NARROW;
  _mm_storel_epi64((__m128i *)p, _mm_shufflelo_epi16(_mm_packs_epi32(v, v), 0xd8));
}
/* The upper 24 bits of each lane as a number in [0, 1). */
static inline vf u_fraction(vu a) { return v_mul(_mm_cvtepi32_ps(_mm_srli_epi32(a, 8)), v_set1(0x1p-24f)); }

/*
 * 2^a. The integer part is added to the exponent bits of the polynomial, so a is first clamped to [-126, 128]. Below that the
 * result is 0, never a denormal; 128 gives infinity. The bounds are the first operands of min and max, so a NaN passes through.
 */
static inline vf v_exp2(vf a) {
  vf x = _mm_min_ps(v_set1(128.0f), _mm_max_ps(v_set1(-126.0f), a));
  __m128i nearest = _mm_cvtps_epi32(x);
  vf f = v_sub(x, _mm_cvtepi32_ps(nearest));
  vf p = v_set1(A4J_EXP2_HALF_C6);
  p = v_fma(p, f, v_set1(A4J_EXP2_HALF_C5));
  p = v_fma(p, f, v_set1(A4J_EXP2_HALF_C4));
  p = v_fma(p, f, v_set1(A4J_EXP2_HALF_C3));
  p = v_fma(p, f, v_set1(A4J_EXP2_HALF_C2));
  p = v_fma(p, f, v_set1(A4J_EXP2_HALF_C1));
  p = v_fma(p, f, v_set1(1.0f));
  __m128i e = _mm_slli_epi32(nearest, 23);
  p = _mm_castsi128_ps(_mm_add_epi32(_mm_castps_si128(p), e));
  return _mm_andnot_ps(_mm_cmplt_ps(a, v_set1(-126.0f)), p);
}

/* a[i] = 2^a[i] for n vectors. */
static inline void v_exp2_each(vf *a, const int n) {
#pragma GCC unroll 8
  for (int i = 0; i < n; i++) a[i] = v_exp2(a[i]);
}

/* The largest of all lanes, none of which is NaN. */
static inline float v_largest(vf a) {
  a = _mm_max_ps(a, _mm_movehl_ps(a, a));
  return _mm_cvtss_f32(_mm_max_ss(a, _mm_shuffle_ps(a, a, 1)));
}
/* The sum of all lanes, added pairwise. */
static inline float v_sum(vf a) {
  vf s = _mm_add_ps(a, _mm_movehl_ps(a, a));
  return _mm_cvtss_f32(_mm_add_ss(s, _mm_shuffle_ps(s, s, 1)));
}

/* p[i] = the sum of all lanes of argument i, each added in the same order. */
static inline void v_sum4(vf a, vf b, vf c, vf d, float *p) {
  _MM_TRANSPOSE4_PS(a, b, c, d);
  v_store(p, v_add(v_add(a, b), v_add(c, d)));
}

/* Loads and stores A4J_LANES pairs: p[2 i] is lane i of even, p[2 i + 1] lane i of odd. */
static inline void v_load_pairs(const float *p, vf *even, vf *odd) {
  vf a = v_load(p), b = v_load(p + 4);
  *even = _mm_shuffle_ps(a, b, 0x88);
  *odd = _mm_shuffle_ps(a, b, 0xdd);
}
static inline void v_store_pairs(float *p, vf even, vf odd) {
  v_store(p, _mm_unpacklo_ps(even, odd));
  v_store(p + 4, _mm_unpackhi_ps(even, odd));
}

/* Transposes the 4 x 4 matrix with rows r[0..3] in place. */
static inline void v_transpose(vf r[A4J_LANES]) { _MM_TRANSPOSE4_PS(r[0], r[1], r[2], r[3]); }

#endif
