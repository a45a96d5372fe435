/*
 * AVX-512 for a CPU without it: every intrinsic that vec_avx512.h uses, in plain vectors and loops. The real header comes first, and
 * macros hide its functions. Slow, so only tests are built with it (native/check avx512). A dot product of bfloat16 is two fused
 * multiply-adds, the second pair's first, with denormals as zeros, as Intel's manual describes VDPBF16PS.
 */
#include_next <immintrin.h>

#ifndef A4J_EMULATED_H
#define A4J_EMULATED_H

#include <math.h>
#include <stdint.h>
#include <string.h>

#ifdef A4J_EMULATE_BF16
#define __AVX512BF16__ 1
#define __AVX512VNNI__ 1
#endif

typedef float ef __attribute__((vector_size(64), may_alias));
typedef int32_t ei __attribute__((vector_size(64), may_alias));
typedef uint32_t eu __attribute__((vector_size(64), may_alias));
typedef int64_t el __attribute__((vector_size(64), may_alias));
typedef uint64_t eul __attribute__((vector_size(64), may_alias));
typedef int16_t es __attribute__((vector_size(64), may_alias));
typedef uint16_t eus __attribute__((vector_size(64), may_alias));
typedef int8_t eb __attribute__((vector_size(64), may_alias));
typedef uint8_t eub __attribute__((vector_size(64), may_alias));
typedef double ed __attribute__((vector_size(64), may_alias));
#define EMULATED static inline __attribute__((always_inline, unused))
EMULATED __m512 e_loadu_ps(const void *p) {
  __m512 r;
  memcpy(&r, p, 64);
  return r;
}
EMULATED void e_storeu_ps(void *p, __m512 a) { memcpy(p, &a, 64); }
EMULATED __m512i e_loadu_si512(const void *p) {
  __m512i r;
  memcpy(&r, p, 64);
  return r;
}
EMULATED void e_storeu_si512(void *p, __m512i a) { memcpy(p, &a, 64); }
EMULATED __m512 e_maskz_loadu_ps(__mmask16 m, const void *p) {
  float f[16] = {0};
  for (int i = 0; i < 16; i++)
    if (m >> i & 1) f[i] = ((const float *)p)[i];
  return e_loadu_ps(f);
}
EMULATED void e_mask_storeu_ps(void *p, __mmask16 m, __m512 a) {
  float f[16];
  e_storeu_ps(f, a);
  for (int i = 0; i < 16; i++)
    if (m >> i & 1) ((float *)p)[i] = f[i];
}
EMULATED __m256i e_256_maskz_loadu_epi16(__mmask16 m, const void *p) {
  uint16_t f[16] = {0};
  for (int i = 0; i < 16; i++)
    if (m >> i & 1) memcpy(f + i, (const char *)p + 2 * i, 2);
  __m256i r;
  memcpy(&r, f, 32);
  return r;
}
EMULATED void e_256_mask_storeu_epi16(void *p, __mmask16 m, __m256i a) {
  uint16_t f[16];
  memcpy(f, &a, 32);
  for (int i = 0; i < 16; i++)
    if (m >> i & 1) memcpy((char *)p + 2 * i, f + i, 2);
}
EMULATED __m128i e_128_maskz_loadu_epi8(__mmask16 m, const void *p) {
  uint8_t f[16] = {0};
  for (int i = 0; i < 16; i++)
    if (m >> i & 1) f[i] = ((const uint8_t *)p)[i];
  __m128i r;
  memcpy(&r, f, 16);
  return r;
}
EMULATED __m512 e_add_ps(__m512 a, __m512 b) { return (__m512)((ef)a + (ef)b); }
EMULATED __m512 e_sub_ps(__m512 a, __m512 b) { return (__m512)((ef)a - (ef)b); }
EMULATED __m512 e_mul_ps(__m512 a, __m512 b) { return (__m512)((ef)a * (ef)b); }
EMULATED __m512 e_div_ps(__m512 a, __m512 b) { return (__m512)((ef)a / (ef)b); }
EMULATED __m512 e_join(__m256 lo, __m256 hi) {
  __m512 r;
  memcpy(&r, &lo, 32);
  memcpy((char *)&r + 32, &hi, 32);
  return r;
}
EMULATED __m256 e_lo(__m512 a) {
  __m256 r;
  memcpy(&r, &a, 32);
  return r;
}
EMULATED __m256 e_hi(__m512 a) {
  __m256 r;
  memcpy(&r, (char *)&a + 32, 32);
  return r;
}
EMULATED __m512 e_max_ps(__m512 a, __m512 b) {
  return e_join(_mm256_max_ps(e_lo(a), e_lo(b)), _mm256_max_ps(e_hi(a), e_hi(b)));
}
EMULATED __m512 e_min_ps(__m512 a, __m512 b) {
  return e_join(_mm256_min_ps(e_lo(a), e_lo(b)), _mm256_min_ps(e_hi(a), e_hi(b)));
}
EMULATED __m512 e_sqrt_ps(__m512 a) { return e_join(_mm256_sqrt_ps(e_lo(a)), _mm256_sqrt_ps(e_hi(a))); }
EMULATED __m512 e_fmadd_ps(__m512 a, __m512 b, __m512 c) {
  return e_join(_mm256_fmadd_ps(e_lo(a), e_lo(b), e_lo(c)), _mm256_fmadd_ps(e_hi(a), e_hi(b), e_hi(c)));
}
EMULATED __m512i e_and_si512(__m512i a, __m512i b) { return (__m512i)((el)a & (el)b); }
EMULATED __m512i e_or_si512(__m512i a, __m512i b) { return (__m512i)((el)a | (el)b); }
EMULATED __m512i e_xor_si512(__m512i a, __m512i b) { return (__m512i)((el)a ^ (el)b); }
EMULATED __m512i e_set1_epi32(int x) { return (__m512i)(ei){x, x, x, x, x, x, x, x, x, x, x, x, x, x, x, x}; }
EMULATED __m512i e_set1_epi8(int x) {
  __m512i r;
  memset(&r, x, 64);
  return r;
}
EMULATED __m512 e_set1_ps(float x) { return (__m512)(ef){x, x, x, x, x, x, x, x, x, x, x, x, x, x, x, x}; }
EMULATED __m512 e_abs_ps(__m512 a) { return (__m512)((ei)a & 0x7fffffff); }
EMULATED __m512i e_add_epi32(__m512i a, __m512i b) { return (__m512i)((eu)a + (eu)b); }
EMULATED __mmask16 e_mask_of(ei m) {
  __mmask16 r = 0;
  for (int i = 0; i < 16; i++) r |= (__mmask16)((m[i] != 0) << i);
  return r;
}
#define e_cmp_ps_mask(a, b, p)                                                                                                 \
  ((__mmask16)(_mm256_movemask_ps(_mm256_cmp_ps(e_lo(a), e_lo(b), p)) | _mm256_movemask_ps(_mm256_cmp_ps(e_hi(a), e_hi(b), p)) \
                                                                            << 8))
EMULATED __mmask16 e_cmpeq_epi32_mask(__m512i a, __m512i b) { return e_mask_of((ei)a == (ei)b); }
EMULATED __mmask16 e_test_epi32_mask(__m512i a, __m512i b) { return e_mask_of(((ei)a & (ei)b) != 0); }
EMULATED __mmask64 e_test_epi8_mask(__m512i a, __m512i b) {
  eb m = (eb)a & (eb)b;
  __mmask64 r = 0;
  for (int i = 0; i < 64; i++) r |= (__mmask64)(m[i] != 0) << i;
  return r;
}
EMULATED __m256i e_cvtepi32_epi16(__m512i a) {
  __m256i r;
  int16_t f[16];
  for (int i = 0; i < 16; i++) f[i] = (int16_t)((ei)a)[i];
  memcpy(&r, f, 32);
  return r;
}
EMULATED __m128i e_cvtepi32_epi8(__m512i a) {
  __m128i r;
  int8_t f[16];
  for (int i = 0; i < 16; i++) f[i] = (int8_t)((ei)a)[i];
  memcpy(&r, f, 16);
  return r;
}
EMULATED __m512 e_cvtepi32_ps(__m512i a) {
  ef r;
  for (int i = 0; i < 16; i++) r[i] = (float)((ei)a)[i];
  return (__m512)r;
}
EMULATED __m512i e_cvtepi8_epi32(__m128i a) {
  int8_t f[16];
  memcpy(f, &a, 16);
  ei r;
  for (int i = 0; i < 16; i++) r[i] = f[i];
  return (__m512i)r;
}
EMULATED __m512i e_cvtepu16_epi32(__m256i a) {
  uint16_t f[16];
  memcpy(f, &a, 32);
  ei r;
  for (int i = 0; i < 16; i++) r[i] = f[i];
  return (__m512i)r;
}
EMULATED __m512 e_cvtph_ps(__m256i a) {
  __m128i l, h;
  memcpy(&l, &a, 16);
  memcpy(&h, (char *)&a + 16, 16);
  return e_join(_mm256_cvtph_ps(l), _mm256_cvtph_ps(h));
}
#define e_cvtps_ph(a, r) e_cvtps_ph_(a)
EMULATED __m256i e_cvtps_ph_(__m512 a) {
  __m128i l = _mm256_cvtps_ph(e_lo(a), 0), h = _mm256_cvtps_ph(e_hi(a), 0);
  __m256i r;
  memcpy(&r, &l, 16);
  memcpy((char *)&r + 16, &h, 16);
  return r;
}
EMULATED __m512i e_cvtps_epi32(__m512 a) {
  __m256i l = _mm256_cvtps_epi32(e_lo(a)), h = _mm256_cvtps_epi32(e_hi(a));
  __m512i r;
  memcpy(&r, &l, 32);
  memcpy((char *)&r + 32, &h, 32);
  return r;
}
EMULATED uint16_t e_bf16(float x) {
  uint32_t b;
  memcpy(&b, &x, 4);
  if ((b & 0x7f800000) == 0) return (uint16_t)(b >> 16 & 0x8000);
  if ((b & 0x7fffffff) > 0x7f800000) return (uint16_t)(b >> 16 | 0x40);
  return (uint16_t)((b + 0x7fff + (b >> 16 & 1)) >> 16);
}
EMULATED __m512bh e_cvtne2ps_pbh(__m512 hi, __m512 lo) {
  uint16_t f[32];
  for (int i = 0; i < 16; i++) {
    f[i] = e_bf16(((ef)lo)[i]);
    f[i + 16] = e_bf16(((ef)hi)[i]);
  }
  __m512bh r;
  memcpy(&r, f, 64);
  return r;
}
EMULATED float e_flush(float x) { return fabsf(x) < 0x1p-126f ? copysignf(0, x) : x; }
EMULATED float e_wide(uint16_t b) {
  uint32_t u = (uint32_t)b << 16;
  float f;
  memcpy(&f, &u, 4);
  return e_flush(f);
}
EMULATED __m512 e_dpbf16_ps(__m512 c, __m512bh a, __m512bh b) {
  uint16_t x[32], y[32];
  float s[16];
  memcpy(x, &a, 64);
  memcpy(y, &b, 64);
  memcpy(s, &c, 64);
  for (int i = 0; i < 16; i++) {
    float t = e_flush(__builtin_fmaf(e_wide(x[2 * i + 1]), e_wide(y[2 * i + 1]), e_flush(s[i])));
    s[i] = e_flush(__builtin_fmaf(e_wide(x[2 * i]), e_wide(y[2 * i]), t));
  }
  return e_loadu_ps(s);
}
EMULATED __m512i e_dpbusd_epi32(__m512i c, __m512i a, __m512i b) {
  ei r = (ei)c;
  eub x = (eub)a;
  eb y = (eb)b;
  for (int i = 0; i < 16; i++)
    r[i] = (int32_t)((uint32_t)r[i] + (uint32_t)(x[4 * i] * y[4 * i] + x[4 * i + 1] * y[4 * i + 1] +
                                                 x[4 * i + 2] * y[4 * i + 2] + x[4 * i + 3] * y[4 * i + 3]));
  return (__m512i)r;
}
EMULATED __m512i e_sub_epi16(__m512i a, __m512i b) { return (__m512i)((eus)a - (eus)b); }
EMULATED __m512i e_madd_epi16(__m512i a, __m512i b) {
  es x = (es)a, y = (es)b;
  ei r;
  for (int i = 0; i < 16; i++) r[i] = (int32_t)((uint32_t)(x[2 * i] * y[2 * i]) + (uint32_t)(x[2 * i + 1] * y[2 * i + 1]));
  return (__m512i)r;
}
EMULATED __m512i e_min_epi16(__m512i a, __m512i b) {
  es x = (es)a;
  for (int i = 0; i < 32; i++) x[i] = x[i] < ((es)b)[i] ? x[i] : ((es)b)[i];
  return (__m512i)x;
}
EMULATED __m512i e_max_epi16(__m512i a, __m512i b) {
  es x = (es)a;
  for (int i = 0; i < 32; i++) x[i] = x[i] > ((es)b)[i] ? x[i] : ((es)b)[i];
  return (__m512i)x;
}
EMULATED __m512i e_mask_blend_epi32(__mmask16 m, __m512i a, __m512i b) {
  ei r = (ei)a;
  for (int i = 0; i < 16; i++)
    if (m >> i & 1) r[i] = ((ei)b)[i];
  return (__m512i)r;
}
EMULATED __m512 e_mask_blend_ps(__mmask16 m, __m512 a, __m512 b) {
  return (__m512)e_mask_blend_epi32(m, (__m512i)a, (__m512i)b);
}
EMULATED __m512i e_mask_or_epi32(__m512i src, __mmask16 m, __m512i a, __m512i b) {
  return e_mask_blend_epi32(m, src, e_or_si512(a, b));
}
EMULATED __m512i e_mul_epu32(__m512i a, __m512i b) { return (__m512i)(((eul)a & 0xffffffffu) * ((eul)b & 0xffffffffu)); }
EMULATED __m512 e_permutex2var_ps(__m512 a, __m512i n, __m512 b) {
  ef r;
  for (int i = 0; i < 16; i++) {
    int k = ((ei)n)[i] & 31;
    r[i] = k < 16 ? ((ef)a)[k] : ((ef)b)[k - 16];
  }
  return (__m512)r;
}
EMULATED __m512i e_permutexvar_epi16(__m512i n, __m512i a) {
  es r;
  for (int i = 0; i < 32; i++) r[i] = ((es)a)[((es)n)[i] & 31];
  return (__m512i)r;
}
EMULATED float e_reduce_max_ps(__m512 a) {
  ef x = (ef)a;
  float most = x[0];
  for (int i = 1; i < 16; i++) most = x[i] > most ? x[i] : most;
  return most;
}
EMULATED float e_reduce_add_ps(__m512 a) {
  float f[16];
  e_storeu_ps(f, a);
  for (int w = 8; w; w /= 2)
    for (int i = 0; i < w; i++) f[i] += f[i + w];
  return f[0];
}
#define e_reduce_ps(a, mode) e_reduce_((a), ((mode)&3))
EMULATED __m512 e_reduce_(__m512 a, int mode) {
  ef r;
  for (int i = 0; i < 16; i++) {
    float x = ((ef)a)[i];
    r[i] = isinf(x) ? 0 : x - (mode == 0 ? nearbyintf(x) : mode == 1 ? floorf(x) : mode == 2 ? ceilf(x) : truncf(x));
  }
  return (__m512)r;
}
EMULATED __m512 e_scalef_ps(__m512 a, __m512 b) {
  ef r;
  for (int i = 0; i < 16; i++) {
    float x = ((ef)a)[i], y = ((ef)b)[i];
    r[i] = isnan(x) || isnan(y) ? x + y
           : isinf(y)           ? (y > 0 ? (x == 0 ? NAN : copysignf(INFINITY, x)) : (isinf(x) ? NAN : copysignf(0, x)))
                                : (float)ldexp((double)x, (int)fmax(-2000, fmin(2000, floor(y))));
  }
  return (__m512)r;
}
#define e_setr_epi32(...) ((__m512i)(ei){__VA_ARGS__})
#define e_shuffle_f32x4(a, b, n) e_shuffle_f32x4_((a), (b), (n))
EMULATED __m512 e_shuffle_f32x4_(__m512 a, __m512 b, int n) {
  ef r;
  for (int q = 0; q < 4; q++)
    for (int i = 0; i < 4; i++) r[4 * q + i] = (q < 2 ? (ef)a : (ef)b)[4 * (n >> 2 * q & 3) + i];
  return (__m512)r;
}
#define e_slli_epi32(a, n) ((__m512i)((eu)(a) << (n)))
#define e_srli_epi32(a, n) ((__m512i)((eu)(a) >> (n)))
#define e_srai_epi32(a, n) ((__m512i)((ei)(a) >> (n)))
#define e_slli_epi64(a, n) ((__m512i)((eul)(a) << (n)))
#define e_srli_epi64(a, n) ((__m512i)((eul)(a) >> (n)))
#define e_slli_epi16(a, n) ((__m512i)((eus)(a) << (n)))
#define e_srli_epi16(a, n) ((__m512i)((eus)(a) >> (n)))
#define e_ternarylogic_epi32(a, b, c, n) e_ternary_((a), (b), (c), (n))
EMULATED __m512i e_ternary_(__m512i a, __m512i b, __m512i c, int n) {
  eul r = {0}, x = (eul)a, y = (eul)b, z = (eul)c;
  for (int k = 0; k < 8; k++)
    if (n >> k & 1) r |= (k & 4 ? x : ~x) & (k & 2 ? y : ~y) & (k & 1 ? z : ~z);
  return (__m512i)r;
}
EMULATED __m512d e_unpacklo_pd(__m512d a, __m512d b) {
  ed x = (ed)a, y = (ed)b;
  return (__m512d)(ed){x[0], y[0], x[2], y[2], x[4], y[4], x[6], y[6]};
}
EMULATED __m512d e_unpackhi_pd(__m512d a, __m512d b) {
  ed x = (ed)a, y = (ed)b;
  return (__m512d)(ed){x[1], y[1], x[3], y[3], x[5], y[5], x[7], y[7]};
}
EMULATED __m512 e_unpacklo_ps(__m512 a, __m512 b) {
  return e_join(_mm256_unpacklo_ps(e_lo(a), e_lo(b)), _mm256_unpacklo_ps(e_hi(a), e_hi(b)));
}
EMULATED __m512 e_unpackhi_ps(__m512 a, __m512 b) {
  return e_join(_mm256_unpackhi_ps(e_lo(a), e_lo(b)), _mm256_unpackhi_ps(e_hi(a), e_hi(b)));
}
#define e_castpd_ps(a) ((__m512)(a))
#define e_castps_pd(a) ((__m512d)(a))
#define e_castps_si512(a) ((__m512i)(a))
#define e_castsi512_ps(a) ((__m512)(a))
#define e_castps512_ps256(a) e_lo(a)
#define e_extractf32x8_ps(a, n) ((n) ? e_hi(a) : e_lo(a))
#define _mm256_mask_storeu_epi16 e_256_mask_storeu_epi16
#define _mm256_maskz_loadu_epi16 e_256_maskz_loadu_epi16
#define _mm512_abs_ps e_abs_ps
#define _mm512_add_epi32 e_add_epi32
#define _mm512_add_ps e_add_ps
#define _mm512_and_si512 e_and_si512
#define _mm512_castpd_ps e_castpd_ps
#define _mm512_castps512_ps256 e_castps512_ps256
#define _mm512_castps_pd e_castps_pd
#define _mm512_castps_si512 e_castps_si512
#define _mm512_castsi512_ps e_castsi512_ps
#define _mm512_cmp_ps_mask e_cmp_ps_mask
#define _mm512_cmpeq_epi32_mask e_cmpeq_epi32_mask
#define _mm512_cvtepi32_epi16 e_cvtepi32_epi16
#define _mm512_cvtepi32_epi8 e_cvtepi32_epi8
#define _mm512_cvtepi32_ps e_cvtepi32_ps
#define _mm512_cvtepi8_epi32 e_cvtepi8_epi32
#define _mm512_cvtepu16_epi32 e_cvtepu16_epi32
#define _mm512_cvtne2ps_pbh e_cvtne2ps_pbh
#define _mm512_cvtph_ps e_cvtph_ps
#define _mm512_cvtps_epi32 e_cvtps_epi32
#define _mm512_cvtps_ph e_cvtps_ph
#define _mm512_div_ps e_div_ps
#define _mm512_dpbf16_ps e_dpbf16_ps
#define _mm512_dpbusd_epi32 e_dpbusd_epi32
#define _mm512_extractf32x8_ps e_extractf32x8_ps
#define _mm512_fmadd_ps e_fmadd_ps
#define _mm512_load_si512 e_loadu_si512
#define _mm512_loadu_ps e_loadu_ps
#define _mm512_loadu_si512 e_loadu_si512
#define _mm512_madd_epi16 e_madd_epi16
#define _mm512_mask_blend_epi32 e_mask_blend_epi32
#define _mm512_mask_blend_ps e_mask_blend_ps
#define _mm512_mask_or_epi32 e_mask_or_epi32
#define _mm512_mask_storeu_ps e_mask_storeu_ps
#define _mm512_maskz_loadu_ps e_maskz_loadu_ps
#define _mm512_max_epi16 e_max_epi16
#define _mm512_max_ps e_max_ps
#define _mm512_min_epi16 e_min_epi16
#define _mm512_min_ps e_min_ps
#define _mm512_mul_epu32 e_mul_epu32
#define _mm512_mul_ps e_mul_ps
#define _mm512_or_si512 e_or_si512
#define _mm512_permutex2var_ps e_permutex2var_ps
#define _mm512_permutexvar_epi16 e_permutexvar_epi16
#define _mm512_reduce_add_ps e_reduce_add_ps
#define _mm512_reduce_max_ps e_reduce_max_ps
#define _mm512_reduce_ps e_reduce_ps
#define _mm512_scalef_ps e_scalef_ps
#define _mm512_set1_epi32 e_set1_epi32
#define _mm512_set1_epi8 e_set1_epi8
#define _mm512_set1_ps e_set1_ps
#define _mm512_setr_epi32 e_setr_epi32
#define _mm512_shuffle_f32x4 e_shuffle_f32x4
#define _mm512_slli_epi32 e_slli_epi32
#define _mm512_slli_epi64 e_slli_epi64
#define _mm512_sqrt_ps e_sqrt_ps
#define _mm512_srai_epi32 e_srai_epi32
#define _mm512_slli_epi16 e_slli_epi16
#define _mm512_srli_epi16 e_srli_epi16
#define _mm512_srli_epi32 e_srli_epi32
#define _mm512_srli_epi64 e_srli_epi64
#define _mm512_storeu_ps e_storeu_ps
#define _mm512_storeu_si512 e_storeu_si512
#define _mm512_sub_epi16 e_sub_epi16
#define _mm512_sub_ps e_sub_ps
#define _mm512_ternarylogic_epi32 e_ternarylogic_epi32
#define _mm512_test_epi32_mask e_test_epi32_mask
#define _mm512_test_epi8_mask e_test_epi8_mask
#define _mm512_unpackhi_pd e_unpackhi_pd
#define _mm512_unpackhi_ps e_unpackhi_ps
#define _mm512_unpacklo_pd e_unpacklo_pd
#define _mm512_unpacklo_ps e_unpacklo_ps
#define _mm512_xor_si512 e_xor_si512
#define _mm_maskz_loadu_epi8 e_128_maskz_loadu_epi8
#endif
