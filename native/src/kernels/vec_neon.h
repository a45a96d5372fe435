/* The vocabulary of the kernels for NEON (aarch64); vec_sse2.h is the one to read first. */
#ifndef A4J_VEC_H
#define A4J_VEC_H

#include <arm_neon.h>
#include <stdint.h>
#include <string.h>

#include "exp2.h"

#define A4J_ISA neon
#define A4J_LANES 4
/* Whether v_fma rounds once. */
#define A4J_FUSED 1
/* 24 accumulators, 3 vectors of queries and the broadcasts fit the 32 registers. */
#define A4J_TILE_VECS 3
#define A4J_TILE_KEYS 8
/* Keys whose exponentials are computed together: six vectors and their temporaries fit 32 registers. */
#define A4J_SIDE_KEYS 2

typedef float32x4_t vf;
typedef uint32x4_t vmask;

static inline vf v_load(const float *p) { return vld1q_f32(p); }
static inline void v_store(float *p, vf a) { vst1q_f32(p, a); }
static inline vf v_set1(float x) { return vdupq_n_f32(x); }

/* The first n lanes, 0 <= n <= A4J_LANES; the others are read as 0 and never written. */
static inline vf v_load_part(const float *p, int n) {
  float t[4] = {0, 0, 0, 0};
  memcpy(t, p, (size_t)n * sizeof *p);
  return vld1q_f32(t);
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

/* 16-bit numbers: loads widen exactly, stores round to nearest, ties to even. A NaN becomes a quiet NaN. */
static inline vf v_load_bf16(const uint16_t *p) { return vreinterpretq_f32_u32(vshll_n_u16(vld1_u16(p), 16)); }
static inline vf v_load_f16(const uint16_t *p) { return vcvt_f32_f16(vreinterpret_f16_u16(vld1_u16(p))); }
/* 8-bit integers as floats. */
static inline vf v_load_i8(const int8_t *p) {
  int8_t t[8] = {0};
  memcpy(t, p, A4J_LANES);
  return vcvtq_f32_s32(vmovl_s16(vget_low_s16(vmovl_s8(vld1_s8(t)))));
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
  const uint32x4_t bits = vreinterpretq_u32_f32(a), high = vshrq_n_u32(bits, 16);
  const uint32x4_t odd = vandq_u32(high, vdupq_n_u32(1));
  const uint32x4_t rounded = vshrq_n_u32(vaddq_u32(bits, vaddq_u32(odd, vdupq_n_u32(0x7fff))), 16);
  vst1_u16(p, vmovn_u32(vbslq_u32(vceqq_f32(a, a), rounded, vorrq_u32(high, vdupq_n_u32(0x40)))));
}
static inline void v_store_f16(uint16_t *p, vf a) { vst1_u16(p, vreinterpret_u16_f16(vcvt_f16_f32(a))); }
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

static inline vf v_add(vf a, vf b) { return vaddq_f32(a, b); }
static inline vf v_sub(vf a, vf b) { return vsubq_f32(a, b); }
static inline vf v_mul(vf a, vf b) { return vmulq_f32(a, b); }
static inline vf v_div(vf a, vf b) { return vdivq_f32(a, b); }
static inline vf v_sqrt(vf a) { return vsqrtq_f32(a); }
/* a * b + c */
static inline vf v_fma(vf a, vf b, vf c) { return vfmaq_f32(c, a, b); }
/* a if m, else b */
static inline vf v_select(vmask m, vf a, vf b) { return vbslq_f32(m, a, b); }
/* The larger and the smaller of two numbers; b if a is NaN. */
static inline vf v_max(vf a, vf b) { return v_select(vcgtq_f32(a, b), a, b); }
static inline vf v_min(vf a, vf b) { return v_select(vcltq_f32(a, b), a, b); }

static inline vmask v_eq(vf a, vf b) { return vceqq_f32(a, b); }
static inline vmask v_ge(vf a, vf b) { return vcgeq_f32(a, b); }
static inline int v_all(vmask m) { return vminvq_u32(m) != 0; }
static inline int v_none(vmask m) { return vmaxvq_u32(m) == 0; }
/* Lanes that hold -0.0 and not 0.0, which v_eq does not distinguish. */
static inline vmask v_is_negative_zero(vf a) { return vceqq_u32(vreinterpretq_u32_f32(a), vdupq_n_u32(0x80000000u)); }

/* The lanes of m as bits, lane 0 first. */
static inline uint32_t v_bits(vmask m) {
  static const uint32_t bit[4] = {1, 2, 4, 8};
  return vaddvq_u32(vandq_u32(m, vld1q_u32(bit)));
}
/* Lanes i in which bit number `bit` of sets[i] is 1. */
static inline vmask v_has_bit(const uint32_t *sets, int bit) { return vtstq_u32(vld1q_u32(sets), vdupq_n_u32(1u << bit)); }
/* Which of 64 bytes are not 0; bit 0 is the first. */
static inline uint64_t v_nonzero_bytes(const uint8_t *p) {
  uint64_t set = 0;
  for (int i = 0; i < 64; i++) set |= (uint64_t)(p[i] != 0) << i;
  return set;
}

/* A vector of A4J_LANES unsigned 32-bit integers (vu), for random numbers and quantised weights. */
typedef uint32x4_t vu;

static inline vu u_load(const uint32_t *p) { return vld1q_u32(p); }
static inline void u_store(uint32_t *p, vu a) { vst1q_u32(p, a); }
static inline vu u_set1(uint32_t x) { return vdupq_n_u32(x); }
static inline vu u_xor(vu a, vu b) { return veorq_u32(a, b); }
/* Returns the low words of the products a * m and stores their high words in *high. */
static inline vu u_mul(vu a, uint32_t m, vu *high) {
  const uint32x4_t first = vreinterpretq_u32_u64(vmull_u32(vget_low_u32(a), vdup_n_u32(m)));
  const uint32x4_t second = vreinterpretq_u32_u64(vmull_u32(vget_high_u32(a), vdup_n_u32(m)));
  *high = vuzp2q_u32(first, second);
  return vuzp1q_u32(first, second);
}
static inline vu u_add(vu a, vu b) { return vaddq_u32(a, b); }
/* Inserts the two top bits of each byte of `words` as bits 2 PLACE and 2 PLACE + 1 of the bytes of a, where a has zeros. */
static inline vu u_or_top(vu a, vu words, const int PLACE) {
  const vu moved = PLACE == 0 ? vshrq_n_u32(words, 6) : PLACE == 1 ? vshrq_n_u32(words, 4) : vshrq_n_u32(words, 2);
  return vorrq_u32(a, vandq_u32(moved, vdupq_n_u32(0x03030303u << 2 * PLACE)));
}
static inline vu u_low_sixes(vu a) { return vandq_u32(a, vdupq_n_u32(0x3f3f3f3f)); }
/* The low and the high four bits of each byte. */
static inline vu u_low_nibbles(vu a) { return vandq_u32(a, vdupq_n_u32(0x0f0f0f0f)); }
static inline vu u_high_nibbles(vu a) { return vandq_u32(vshrq_n_u32(a, 4), vdupq_n_u32(0x0f0f0f0f)); }
/* The even and the odd bytes as 16-bit integers, and differences of those. */
static inline vu u_even_bytes(vu a) { return vandq_u32(a, vdupq_n_u32(0xff00ff)); }
static inline vu u_odd_bytes(vu a) { return u_even_bytes(vshrq_n_u32(a, 8)); }
static inline vu u_sub_shorts(vu a, vu b) {
  return vreinterpretq_u32_u16(vsubq_u16(vreinterpretq_u16_u32(a), vreinterpretq_u16_u32(b)));
}
/* Dot products of the two signed 16-bit integers of each lane, and those added to a sum. */
static inline vu u_pairs(vu a, vu b) {
  const int16x8_t x = vreinterpretq_s16_u32(a), y = vreinterpretq_s16_u32(b);
  return vreinterpretq_u32_s32(vpaddq_s32(vmull_s16(vget_low_s16(x), vget_low_s16(y)), vmull_high_s16(x, y)));
}
static inline vu u_add_pairs(vu sum, vu a, vu b) { return u_add(sum, u_pairs(a, b)); }
/* Signed integers to floats, and floats to the nearest integer, ties to even. */
static inline vf v_from_int(vu a) { return vcvtq_f32_s32(vreinterpretq_s32_u32(a)); }
static inline vu u_nearest(vf a) { return vreinterpretq_u32_s32(vcvtnq_s32_f32(a)); }
/* Dot products of bytes; see vec_sse2.h. */
enum { U_NARROW = 0 };
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
  const int16x4_t words = vmovn_s32(vreinterpretq_s32_u32(v));
  const int16x4_t odd = vrev32_s16(words);               /* 1 0 3 2 */
  const int16x4_t even_of_all = vuzp1_s16(words, words); /* 0 2 0 2 */
  const int16x4_t odd_of_all = vuzp1_s16(odd, odd);      /* 1 3 1 3 */
  vst1_u32(p, vzip1_u32(vreinterpret_u32_s16(even_of_all), vreinterpret_u32_s16(odd_of_all)));
}
/* The upper 24 bits of each lane as a number in [0, 1). */
static inline vf u_fraction(vu a) { return v_mul(vcvtq_f32_u32(vshrq_n_u32(a, 8)), v_set1(0x1p-24f)); }

/*
 * 2^a. The integer part is added to the exponent bits of the polynomial, so a is first clamped to [-126, 128]. Below that the
 * result is 0, never a denormal; 128 gives infinity. vmin and vmax keep a NaN.
 */
static inline vf v_exp2(vf a) {
  vf x = vminq_f32(v_set1(128.0f), vmaxq_f32(v_set1(-126.0f), a));
  vf n = vrndmq_f32(x);
  vf f = v_sub(x, n);
  vf p = v_set1(A4J_EXP2_C5);
  p = v_fma(p, f, v_set1(A4J_EXP2_C4));
  p = v_fma(p, f, v_set1(A4J_EXP2_C3));
  p = v_fma(p, f, v_set1(A4J_EXP2_C2));
  p = v_fma(p, f, v_set1(A4J_EXP2_C1));
  p = v_fma(p, f, v_set1(1.0f));
  int32x4_t e = vshlq_n_s32(vcvtq_s32_f32(n), 23);
  p = vreinterpretq_f32_s32(vaddq_s32(vreinterpretq_s32_f32(p), e));
  return v_select(vcltq_f32(a, v_set1(-126.0f)), v_set1(0.0f), p);
}

/* a[i] = 2^a[i] for n vectors. */
static inline void v_exp2_each(vf *a, const int n) {
#pragma GCC unroll 8
  for (int i = 0; i < n; i++) a[i] = v_exp2(a[i]);
}

/* The largest of all lanes, none of which is NaN. */
static inline float v_largest(vf a) { return vmaxvq_f32(a); }
/* The sum of all lanes, added pairwise. */
static inline float v_sum(vf a) { return vaddvq_f32(a); }

/* p[i] = the sum of all lanes of argument i, each added in the same order. */
static inline void v_sum4(vf a, vf b, vf c, vf d, float *p) { v_store(p, vpaddq_f32(vpaddq_f32(a, b), vpaddq_f32(c, d))); }

/* Loads and stores A4J_LANES pairs: p[2 i] is lane i of even, p[2 i + 1] lane i of odd. */
static inline void v_load_pairs(const float *p, vf *even, vf *odd) {
  float32x4x2_t pairs = vld2q_f32(p);
  *even = pairs.val[0];
  *odd = pairs.val[1];
}
static inline void v_store_pairs(float *p, vf even, vf odd) {
  float32x4x2_t pairs = {{even, odd}};
  vst2q_f32(p, pairs);
}

/* Transposes the 4 x 4 matrix with rows r[0..3] in place. */
static inline void v_transpose(vf r[A4J_LANES]) {
  float32x4x2_t a = vtrnq_f32(r[0], r[1]), b = vtrnq_f32(r[2], r[3]);
  r[0] = vcombine_f32(vget_low_f32(a.val[0]), vget_low_f32(b.val[0]));
  r[1] = vcombine_f32(vget_low_f32(a.val[1]), vget_low_f32(b.val[1]));
  r[2] = vcombine_f32(vget_high_f32(a.val[0]), vget_high_f32(b.val[0]));
  r[3] = vcombine_f32(vget_high_f32(a.val[1]), vget_high_f32(b.val[1]));
}

#endif
