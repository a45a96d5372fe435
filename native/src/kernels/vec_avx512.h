/*
 * The vocabulary of the kernels for AVX-512 (F, DQ, BW, VL) and, if the compiler may use BF16 and VNNI, for the tier
 * `avx512bf16`.
 *
 * Every vec_*.h defines the same words; vec_sse2.h is the easiest to read. Two groups exist only here: the table lookup for
 * tanh.h (A4J_TABLE_32) and pairs of bfloat16 (A4J_PAIRS). A vector holds A4J_LANES floats.
 */
#ifndef A4J_VEC_H
#define A4J_VEC_H

#include <immintrin.h>
#include <stdint.h>

#include "exp2.h"

#if defined(__AVX512BF16__) && defined(__AVX512VNNI__)
#define A4J_ISA avx512bf16
#else
#define A4J_ISA avx512
#endif
#define A4J_LANES 16
/* Whether v_fma rounds once. */
#define A4J_FUSED 1
/* The register tile: TILE_VECS vectors of queries x TILE_KEYS keys (or value channels) are 24 accumulators in 32 registers. */
#define A4J_TILE_VECS 3
#define A4J_TILE_KEYS 8
/* Keys whose exponentials are computed together: six vectors and their temporaries fit 32 registers. */
#define A4J_SIDE_KEYS 2

typedef __m512 vf;
typedef __mmask16 vmask;

static inline vf v_load(const float *p) { return _mm512_loadu_ps(p); }
static inline void v_store(float *p, vf a) { _mm512_storeu_ps(p, a); }
static inline vf v_set1(float x) { return _mm512_set1_ps(x); }

/* The first n lanes, 0 <= n <= A4J_LANES; the others are read as 0 and never written. */
static inline __mmask16 v_first(int n) { return (__mmask16)((1u << n) - 1u); }
static inline vf v_load_part(const float *p, int n) { return _mm512_maskz_loadu_ps(v_first(n), p); }
static inline void v_store_part(float *p, vf a, int n) { _mm512_mask_storeu_ps(p, v_first(n), a); }

/* 16-bit numbers: loads widen exactly, stores round to nearest, ties to even. A NaN becomes a quiet NaN. */
static inline vf v_from_bf16(__m256i a) { return _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_cvtepu16_epi32(a), 16)); }
static inline vf v_load_bf16(const uint16_t *p) { return v_from_bf16(_mm256_loadu_si256((const __m256i *)p)); }
static inline vf v_load_bf16_part(const uint16_t *p, int n) { return v_from_bf16(_mm256_maskz_loadu_epi16(v_first(n), p)); }
static inline vf v_load_f16(const uint16_t *p) { return _mm512_cvtph_ps(_mm256_loadu_si256((const __m256i *)p)); }
static inline vf v_load_f16_part(const uint16_t *p, int n) { return _mm512_cvtph_ps(_mm256_maskz_loadu_epi16(v_first(n), p)); }
/* 8-bit integers as floats. */
static inline vf v_load_i8(const int8_t *p) {
  return _mm512_cvtepi32_ps(_mm512_cvtepi8_epi32(_mm_loadu_si128((const __m128i *)p)));
}
static inline vf v_load_i8_part(const int8_t *p, int n) {
  return _mm512_cvtepi32_ps(_mm512_cvtepi8_epi32(_mm_maskz_loadu_epi8(v_first(n), p)));
}
/* In integer arithmetic, because vcvtneps2bf16 flushes denormals to zero. */
static inline __m256i v_to_bf16(vf a) {
  const __m512i bits = _mm512_castps_si512(a), high = _mm512_srli_epi32(bits, 16);
  const __m512i odd = _mm512_and_si512(high, _mm512_set1_epi32(1));
  const __m512i rounded = _mm512_srli_epi32(_mm512_add_epi32(bits, _mm512_add_epi32(odd, _mm512_set1_epi32(0x7fff))), 16);
  const __mmask16 nan = _mm512_cmp_ps_mask(a, a, _CMP_UNORD_Q);
  return _mm512_cvtepi32_epi16(_mm512_mask_or_epi32(rounded, nan, high, _mm512_set1_epi32(0x40)));
}
static inline void v_store_bf16(uint16_t *p, vf a) { _mm256_storeu_si256((__m256i *)p, v_to_bf16(a)); }
static inline void v_store_bf16_part(uint16_t *p, vf a, int n) { _mm256_mask_storeu_epi16(p, v_first(n), v_to_bf16(a)); }
static inline __m256i v_to_f16(vf a) { return _mm512_cvtps_ph(a, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC); }
static inline void v_store_f16(uint16_t *p, vf a) { _mm256_storeu_si256((__m256i *)p, v_to_f16(a)); }
static inline void v_store_f16_part(uint16_t *p, vf a, int n) { _mm256_mask_storeu_epi16(p, v_first(n), v_to_f16(a)); }

static inline vf v_add(vf a, vf b) { return _mm512_add_ps(a, b); }
static inline vf v_sub(vf a, vf b) { return _mm512_sub_ps(a, b); }
static inline vf v_mul(vf a, vf b) { return _mm512_mul_ps(a, b); }
static inline vf v_div(vf a, vf b) { return _mm512_div_ps(a, b); }
static inline vf v_sqrt(vf a) { return _mm512_sqrt_ps(a); }
/* a * b + c */
static inline vf v_fma(vf a, vf b, vf c) { return _mm512_fmadd_ps(a, b, c); }
#if defined(__AVX512BF16__) && defined(__AVX512VNNI__)
/*
 * Pairs of bfloat16, one per 32-bit lane. v_dot adds both products, low and high, to c and treats denormals as 0. v_pair rounds
 * two numbers to a pair, to nearest, ties to even.
 */
#define A4J_PAIRS
static inline vf v_dot(vf a, vf b, vf c) {
  return _mm512_dpbf16_ps(c, (__m512bh)_mm512_castps_si512(a), (__m512bh)_mm512_castps_si512(b));
}
static inline vf v_pair(vf low, vf high) {
  static const _Alignas(64) uint16_t interleave[32] = {0, 16, 1, 17, 2,  18, 3,  19, 4,  20, 5,  21, 6,  22, 7,  23,
                                                       8, 24, 9, 25, 10, 26, 11, 27, 12, 28, 13, 29, 14, 30, 15, 31};
  const __m512i both = (__m512i)_mm512_cvtne2ps_pbh(high, low);
  return _mm512_castsi512_ps(_mm512_permutexvar_epi16(_mm512_load_si512(interleave), both));
}
/* The two numbers of a pair. */
static inline vf v_low(vf pair) { return _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_castps_si512(pair), 16)); }
static inline vf v_high(vf pair) {
  return _mm512_castsi512_ps(_mm512_and_si512(_mm512_castps_si512(pair), _mm512_set1_epi32((int)0xffff0000)));
}
/* The numbers of two vectors in their order, two in each lane. */
static inline vf v_pack(vf first, vf second) { return _mm512_castsi512_ps((__m512i)_mm512_cvtne2ps_pbh(second, first)); }
/* The least and the greatest of pairs, low and high apart, as integers of 16 bits: which orders numbers from 0 on, and
   negative ones in reverse. */
static inline vf v_pair_least(vf a, vf b) {
  return _mm512_castsi512_ps(_mm512_min_epi16(_mm512_castps_si512(a), _mm512_castps_si512(b)));
}
static inline vf v_pair_greatest(vf a, vf b) {
  return _mm512_castsi512_ps(_mm512_max_epi16(_mm512_castps_si512(a), _mm512_castps_si512(b)));
}
/* n channels of two rows of bfloat16, paired. */
static inline vf v_load_pair(const uint16_t *low, const uint16_t *high, int n) {
  const __m512i a = _mm512_cvtepu16_epi32(_mm256_maskz_loadu_epi16(v_first(n), low));
  const __m512i b = _mm512_cvtepu16_epi32(_mm256_maskz_loadu_epi16(v_first(n), high));
  return _mm512_castsi512_ps(_mm512_or_si512(a, _mm512_slli_epi32(b, 16)));
}
#endif
/* The larger and the smaller of two numbers; b if a is NaN. */
static inline vf v_max(vf a, vf b) { return _mm512_max_ps(a, b); }
static inline vf v_min(vf a, vf b) { return _mm512_min_ps(a, b); }

static inline vmask v_eq(vf a, vf b) { return _mm512_cmp_ps_mask(a, b, _CMP_EQ_OQ); }
static inline vmask v_ge(vf a, vf b) { return _mm512_cmp_ps_mask(a, b, _CMP_GE_OQ); }
static inline int v_all(vmask m) { return m == 0xffff; }
static inline int v_none(vmask m) { return m == 0; }
/* a if m, else b */
static inline vf v_select(vmask m, vf a, vf b) { return _mm512_mask_blend_ps(m, b, a); }
/* Lanes that hold -0.0 and not 0.0, which v_eq does not distinguish. */
static inline vmask v_is_negative_zero(vf a) {
  return _mm512_cmpeq_epi32_mask(_mm512_castps_si512(a), _mm512_set1_epi32(INT32_MIN));
}

/* |a|, and |a| with the sign of b. */
static inline vf v_abs(vf a) { return _mm512_abs_ps(a); }
static inline vf v_with_sign_of(vf a, vf b) {
  const __m512i sign = _mm512_set1_epi32(INT32_MIN);
  return _mm512_castsi512_ps(_mm512_ternarylogic_epi32(sign, _mm512_castps_si512(b), _mm512_castps_si512(a), 0xca));
}

/* v_pick_32: element i of the 32 in t, where i is the low 5 bits of a lane of `number`. v_beyond_nearest: a minus the nearest
   integer. */
#define A4J_TABLE_32
static inline vf v_pick_32(const vf t[2], vf number) { return _mm512_permutex2var_ps(t[0], _mm512_castps_si512(number), t[1]); }
static inline vf v_beyond_nearest(vf a) { return _mm512_reduce_ps(a, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC); }

/* The lanes of m as bits, lane 0 first. */
static inline uint32_t v_bits(vmask m) { return m; }
/* Lanes i in which bit number `bit` of sets[i] is 1. */
static inline vmask v_has_bit(const uint32_t *sets, int bit) {
  return _mm512_test_epi32_mask(_mm512_loadu_si512(sets), _mm512_set1_epi32((int)(1u << bit)));
}
/* Which of 64 bytes are not 0; bit 0 is the first. */
static inline uint64_t v_nonzero_bytes(const uint8_t *p) {
  const __m512i bytes = _mm512_loadu_si512(p);
  return _mm512_test_epi8_mask(bytes, bytes);
}

/* A vector of A4J_LANES unsigned 32-bit integers (vu), for random numbers and quantised weights. */
typedef __m512i vu;

static inline vu u_load(const uint32_t *p) { return _mm512_loadu_si512(p); }
static inline void u_store(uint32_t *p, vu a) { _mm512_storeu_si512(p, a); }
static inline vu u_set1(uint32_t x) { return _mm512_set1_epi32((int)x); }
static inline vu u_xor(vu a, vu b) { return _mm512_xor_si512(a, b); }
/* Returns the low words of the products a * m and stores their high words in *high. */
static inline vu u_mul(vu a, uint32_t m, vu *high) {
  const vu even = _mm512_mul_epu32(a, u_set1(m)), odd = _mm512_mul_epu32(_mm512_srli_epi64(a, 32), u_set1(m));
  *high = _mm512_mask_blend_epi32(0xaaaa, _mm512_srli_epi64(even, 32), odd);
  return _mm512_mask_blend_epi32(0xaaaa, even, _mm512_slli_epi64(odd, 32));
}
static inline vu u_add(vu a, vu b) { return _mm512_add_epi32(a, b); }
/* Inserts the two top bits of each byte of `words` as bits 2 PLACE and 2 PLACE + 1 of the bytes of a, where a has zeros. */
static inline vu u_or_top(vu a, vu words, const int PLACE) {
  const vu moved = _mm512_srli_epi16(words, 6 - 2 * PLACE), mask = _mm512_set1_epi8((char)(3 << 2 * PLACE));
  return _mm512_ternarylogic_epi32(a, moved, mask, 0xf8); /* a | (moved & mask) */
}
static inline vu u_low_sixes(vu a) { return _mm512_and_si512(a, _mm512_set1_epi8(63)); }
/* The low and the high four bits of each byte. */
static inline vu u_low_nibbles(vu a) { return _mm512_and_si512(a, _mm512_set1_epi8(15)); }
static inline vu u_high_nibbles(vu a) { return _mm512_and_si512(_mm512_srli_epi16(a, 4), _mm512_set1_epi8(15)); }
/* The even and the odd bytes as 16-bit integers, and differences of those. */
static inline vu u_even_bytes(vu a) { return _mm512_and_si512(a, _mm512_set1_epi32(0xff00ff)); }
static inline vu u_odd_bytes(vu a) { return _mm512_srli_epi16(a, 8); }
static inline vu u_sub_shorts(vu a, vu b) { return _mm512_sub_epi16(a, b); }
/* Dot products of the two signed 16-bit integers of each lane. */
static inline vu u_pairs(vu a, vu b) { return _mm512_madd_epi16(a, b); }
static inline vu u_add_pairs(vu sum, vu a, vu b) { return u_add(sum, u_pairs(a, b)); }
/* Signed integers to floats, and floats to the nearest integer, ties to even. */
static inline vf v_from_int(vu a) { return _mm512_cvtepi32_ps(a); }
static inline vu u_nearest(vf a) { return _mm512_cvtps_epi32(a); }

/*
 * Dot products of bytes; see vec_sse2.h. If the CPU has an instruction for them, integers are taken as bytes, v = 256 h + l with l
 * signed.
 */
enum { U_NARROW = 0 };
#if defined(__AVX512VNNI__)
static inline void u_dot4(const int NARROW, vu sum[2], vu bytes, const uint32_t x[2]) {
  (void)NARROW;
  sum[0] = _mm512_dpbusd_epi32(sum[0], bytes, u_set1(x[0]));
  sum[1] = _mm512_dpbusd_epi32(sum[1], bytes, u_set1(x[1]));
}
static inline vu u_dot4_total(const int NARROW, const vu sum[2]) {
  (void)NARROW;
  return _mm512_add_epi32(_mm512_slli_epi32(sum[0], 8), sum[1]);
}
static inline void u_store_limbs(const int NARROW, uint32_t *p, vu v) {
  (void)NARROW;
  const __m128i high = _mm512_cvtepi32_epi8(_mm512_srai_epi32(_mm512_add_epi32(v, _mm512_set1_epi32(128)), 8));
  const __m128i low = _mm512_cvtepi32_epi8(v);
  _mm_storeu_si128((__m128i *)p, _mm_unpacklo_epi32(high, low));
  _mm_storeu_si128((__m128i *)(p + 4), _mm_unpackhi_epi32(high, low));
}
#else
static inline void u_dot4(const int NARROW, vu sum[2], vu bytes, const uint32_t x[2]) {
  (void)NARROW;
  sum[0] = u_add_pairs(sum[0], u_even_bytes(bytes), u_set1(x[0]));
  sum[1] = u_add_pairs(sum[1], u_odd_bytes(bytes), u_set1(x[1]));
}
static inline vu u_dot4_total(const int NARROW, const vu sum[2]) {
  (void)NARROW;
  return u_add(sum[0], sum[1]);
}
static inline void u_store_limbs(const int NARROW, uint32_t *p, vu v) {
  (void)NARROW;
  const __m256i words = _mm512_cvtepi32_epi16(v);
  _mm256_storeu_si256((__m256i *)p, _mm256_shufflehi_epi16(_mm256_shufflelo_epi16(words, 0xd8), 0xd8));
}
#endif
/* The upper 24 bits of each lane as a number in [0, 1). */
static inline vf u_fraction(vu a) { return v_mul(_mm512_cvtepi32_ps(_mm512_srli_epi32(a, 8)), v_set1(0x1p-24f)); }

/*
 * a[i] = 2^a[i] for n vectors: 2^floor(a) * p(a - floor(a)) with a polynomial of exp2.h, whose coefficients before the constant 1
 * are c[0] to c[count - 1]. 0 for -infinity and below about -150, infinity from 128 up, NaN for NaN. vreduce and vscalef do the
 * floor. Each step is done for all vectors before the next one: six vectors then take 4 cycles each, against 5 one after the other,
 * because the steps of one vector wait for each other.
 */
static inline __attribute__((always_inline)) void v_exp2_by(const float *c, const int count, vf *a, const int n) {
  vf f[8], p[8];
#pragma GCC unroll 8
  for (int i = 0; i < n; i++) {
    f[i] = _mm512_reduce_ps(a[i], _MM_FROUND_TO_NEG_INF | _MM_FROUND_NO_EXC);
    p[i] = v_set1(c[0]);
  }
#pragma GCC unroll 8
  for (int step = 1; step <= count; step++)
#pragma GCC unroll 8
    for (int i = 0; i < n; i++) p[i] = v_fma(p[i], f[i], v_set1(step < count ? c[step] : 1.0f));
#pragma GCC unroll 8
  for (int i = 0; i < n; i++) a[i] = _mm512_scalef_ps(p[i], a[i]);
}
static inline __attribute__((always_inline)) void v_exp2_each(vf *a, const int n) {
  static const float c[] = {A4J_EXP2_C5, A4J_EXP2_C4, A4J_EXP2_C3, A4J_EXP2_C2, A4J_EXP2_C1};
  v_exp2_by(c, 5, a, n);
}
#ifdef A4J_PAIRS
/* The same for weights that are rounded to bfloat16. */
static inline __attribute__((always_inline)) void v_exp2_short(vf *a, const int n) {
  static const float c[] = {A4J_EXP2_SHORT_C4, A4J_EXP2_SHORT_C3, A4J_EXP2_SHORT_C2, A4J_EXP2_SHORT_C1};
  v_exp2_by(c, 4, a, n);
}
#endif
static inline vf v_exp2(vf a) {
  v_exp2_each(&a, 1);
  return a;
}

/* The largest of all lanes, none of which is NaN. */
static inline float v_largest(vf a) { return _mm512_reduce_max_ps(a); }
/* The sum of all lanes, added pairwise. */
static inline float v_sum(vf a) { return _mm512_reduce_add_ps(a); }

/* p[i] = the sum of all lanes of argument i, each added in the same order. */
static inline void v_sum4(vf a, vf b, vf c, vf d, float *p) {
  __m512d ab = _mm512_castps_pd(_mm512_add_ps(_mm512_unpacklo_ps(a, b), _mm512_unpackhi_ps(a, b)));
  __m512d cd = _mm512_castps_pd(_mm512_add_ps(_mm512_unpacklo_ps(c, d), _mm512_unpackhi_ps(c, d)));
  __m512 s = _mm512_add_ps(_mm512_castpd_ps(_mm512_unpacklo_pd(ab, cd)), _mm512_castpd_ps(_mm512_unpackhi_pd(ab, cd)));
  __m256 t = _mm256_add_ps(_mm512_castps512_ps256(s), _mm512_extractf32x8_ps(s, 1));
  _mm_storeu_ps(p, _mm_add_ps(_mm256_castps256_ps128(t), _mm256_extractf128_ps(t, 1)));
}

/* Loads and stores A4J_LANES pairs: p[2 i] is lane i of even, p[2 i + 1] lane i of odd. */
static inline void v_load_pairs(const float *p, vf *even, vf *odd) {
  vf a = v_load(p), b = v_load(p + 16);
  __m512i index = _mm512_setr_epi32(0, 2, 4, 6, 8, 10, 12, 14, 16, 18, 20, 22, 24, 26, 28, 30);
  *even = _mm512_permutex2var_ps(a, index, b);
  *odd = _mm512_permutex2var_ps(a, _mm512_add_epi32(index, _mm512_set1_epi32(1)), b);
}
static inline void v_store_pairs(float *p, vf even, vf odd) {
  __m512i index = _mm512_setr_epi32(0, 16, 1, 17, 2, 18, 3, 19, 4, 20, 5, 21, 6, 22, 7, 23);
  v_store(p, _mm512_permutex2var_ps(even, index, odd));
  v_store(p + 16, _mm512_permutex2var_ps(even, _mm512_add_epi32(index, _mm512_set1_epi32(8)), odd));
}

/* Transposes the 16 x 16 matrix with rows r[0..15] in place. */
static inline void v_transpose(vf r[A4J_LANES]) {
  vf t[16];
#pragma GCC unroll 16
  for (int i = 0; i < 16; i += 2) {
    t[i] = _mm512_unpacklo_ps(r[i], r[i + 1]);
    t[i + 1] = _mm512_unpackhi_ps(r[i], r[i + 1]);
  }
#pragma GCC unroll 4
  for (int i = 0; i < 16; i += 4) {
    __m512d a = _mm512_castps_pd(t[i]), b = _mm512_castps_pd(t[i + 2]);
    __m512d c = _mm512_castps_pd(t[i + 1]), d = _mm512_castps_pd(t[i + 3]);
    r[i] = _mm512_castpd_ps(_mm512_unpacklo_pd(a, b));
    r[i + 1] = _mm512_castpd_ps(_mm512_unpackhi_pd(a, b));
    r[i + 2] = _mm512_castpd_ps(_mm512_unpacklo_pd(c, d));
    r[i + 3] = _mm512_castpd_ps(_mm512_unpackhi_pd(c, d));
  }
#pragma GCC unroll 4
  for (int i = 0; i < 4; i++) {
    t[i] = _mm512_shuffle_f32x4(r[i], r[i + 4], 0x88);
    t[i + 4] = _mm512_shuffle_f32x4(r[i], r[i + 4], 0xdd);
    t[i + 8] = _mm512_shuffle_f32x4(r[i + 8], r[i + 12], 0x88);
    t[i + 12] = _mm512_shuffle_f32x4(r[i + 8], r[i + 12], 0xdd);
  }
#pragma GCC unroll 4
  for (int i = 0; i < 4; i++) {
    r[i] = _mm512_shuffle_f32x4(t[i], t[i + 8], 0x88);
    r[i + 8] = _mm512_shuffle_f32x4(t[i], t[i + 8], 0xdd);
    r[i + 4] = _mm512_shuffle_f32x4(t[i + 4], t[i + 12], 0x88);
    r[i + 12] = _mm512_shuffle_f32x4(t[i + 4], t[i + 12], 0xdd);
  }
}

#endif
