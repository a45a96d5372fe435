/*
 * tanh in the words of vec_*.h. tanh(NaN) is NaN, and zeros, denormals and infinities come back as they should.
 *
 * If a vector can look up 32 values at once (A4J_TABLE_32), |x| is measured in intervals of 1/3.5 and clamped to 31, where tanh
 * is 1. Each integer has a polynomial of degree 5 in the distance of |x| from it, fitted for the least relative error. Adding
 * 1.5 * 2^23 leaves the number of the nearest integer in the low bits. The last polynomial is flat, the first has no constant
 * term. This takes about 7 cycles per vector on Zen 5, six of them for the permutations, half as long as the other method; the
 * largest relative error is 2.4e-7.
 *
 * Otherwise, from 5/8 on tanh|x| = (1 - e) / (1 + e) with e = 2^(-2 log2(e) |x|) in (0, 0.29], which loses nothing to
 * cancellation and needs no upper bound. Below, where 1 - e would lose small x, x + x^3 P(x^2) with P fitted for the least
 * relative error. The largest error is 2.2 ulp.
 *
 * (x P(x^2) / Q(x^2) takes 6 cycles, but is 5 ulp off near 1, where soft-capped logits that matter lie. A short polynomial for
 * blocks with only small |x| would take 5, but the bits of a row would depend on its neighbours.)
 */
#ifndef A4J_TANH_H
#define A4J_TANH_H

#include "words.h"

#ifdef A4J_TABLE_32

#define A4J_TANH_INTERVALS 3.5f /* a unit */

/* Coefficient k of integer i at [k][i]. */
static const float tanh_table[6][32] = {
    {0.0f,           0x1.1cdca8p-2f, 0x1.086696p-1f, 0x1.63ba8ep-1f, 0x1.a178b2p-1f, 0x1.c8621ap-1f, 0x1.dfd4eap-1f,
     0x1.ed9506p-1f, 0x1.f5845cp-1f, 0x1.fa0db6p-1f, 0x1.fca228p-1f, 0x1.fe189ap-1f, 0x1.feec8ap-1f, 0x1.ff645ep-1f,
     0x1.ffa818p-1f, 0x1.ffce5ap-1f, 0x1.ffe3f6p-1f, 0x1.fff02ap-1f, 0x1.fff70ep-1f, 0x1.fffaf4p-1f, 0x1.fffd26p-1f,
     0x1.fffe64p-1f, 0x1.ffff18p-1f, 0x1.ffff7cp-1f, 0x1.ffffb6p-1f, 0x1.ffffd6p-1f, 0x1.ffffe8p-1f, 0x1.fffff2p-1f,
     0x1.fffff8p-1f, 0x1.fffffcp-1f, 0x1.fffffep-1f, 0x1p+0f},
    {0x1.24924ap-2f,  0x1.0dee24p-2f,  0x1.ad194ep-3f,  0x1.2eae54p-3f,
     0x1.883d3cp-4f,  0x1.e0e0d2p-5f,  0x1.1cdefcp-5f,  0x1.4aba02p-6f,
     0x1.7b73fp-7f,   0x1.b069bap-8f,  0x1.eadc7ep-9f,  0x1.15fe4cp-9f,
     0x1.3a7c0ep-10f, 0x1.6383f4p-11f, 0x1.91bd5ap-12f, 0x1.c5df2ep-13f,
     0x1.005a16p-13f, 0x1.218f62p-14f, 0x1.470e8ep-15f, 0x1.71669ep-16f,
     0x1.a138cp-17f,  0x1.d73ad2p-18f, 0x1.0a1d08p-18f, 0x1.2c8f1cp-19f,
     0x1.53767ep-20f, 0x1.7f66eap-21f, 0x1.b10744p-22f, 0x1.e913fcp-23f,
     0x1.1430f8p-23f, 0x1.37f0c4p-24f, 0x1.605122p-25f, 0.0f},
    {-0x1.99ac8p-21f,  -0x1.574102p-6f,  -0x1.fa7cc2p-6f,  -0x1.e0af2cp-6f,
     -0x1.6d85b6p-6f,  -0x1.e9dea4p-7f,  -0x1.3122f8p-7f,  -0x1.6c624p-8f,
     -0x1.a8de26p-9f,  -0x1.e83854p-10f, -0x1.1673f8p-10f, -0x1.3c07fp-11f,
     -0x1.674b62p-12f, -0x1.94984p-13f,  -0x1.cea4dp-14f,  -0x1.067dd4p-14f,
     -0x1.29d2fap-15f, -0x1.4c3f06p-16f, -0x1.6528f6p-17f, -0x1.e0ea72p-18f,
     -0x1.ef4aa2p-19f, -0x1.36e36cp-19f, -0x1.03bc24p-19f, -0x1.5e2a4ap-23f,
     -0x1.447c2p-21f,  -0x1.31ab3ap-23f, 0x1.8e90ecp-23f,  0x1.1aa16p-21f,
     0x1.9e6962p-22f,  -0x1.22a00cp-22f, -0x1.aa725ep-22f, 0.0f},
    {-0x1.fd0b3ap-8f, -0x1.690a82p-8f, -0x1.2b08f8p-10f, 0x1.d87452p-10f,
     0x1.53aa06p-9f,  0x1.21b0a2p-9f,  0x1.9586eep-10f,  0x1.017694p-10f,
     0x1.365196p-11f, 0x1.6b7c6cp-12f, 0x1.a303e6p-13f,  0x1.debd08p-14f,
     0x1.101bd2p-14f, 0x1.347676p-15f, 0x1.5d19c6p-16f,  0x1.8ac0ecp-17f,
     0x1.be24bap-18f, 0x1.f814d8p-19f, 0x1.1cba0ap-19f,  0x1.419c88p-20f,
     0x1.6b4598p-21f, 0x1.9a4dcep-22f, 0x1.cf6c42p-23f,  0x1.05b65p-23f,
     0x1.2794c6p-24f, 0x1.4dd89ep-25f, 0x1.790e3ep-26f,  0x1.a9de72p-27f,
     0x1.e0feacp-28f, 0x1.0f9f36p-28f, 0x1.32c706p-29f,  0.0f},
    {-0x1.5c95dp-16f,  0x1.04a578p-10f,  0x1.071dacp-10f,  0x1.d0a29ap-12f,
     0x1.23fa14p-17f,  -0x1.466ffap-13f, -0x1.4a515ap-13f, -0x1.f2534cp-14f,
     -0x1.3a4d54p-14f, -0x1.a99772p-15f, -0x1.02861cp-15f, -0x1.4d4f4cp-16f,
     -0x1.c70b2p-18f,  -0x1.fc7b9ep-18f, 0x1.65272ep-21f,  0x1.77012ap-20f,
     0x1.747786p-20f,  -0x1.cb62c8p-23f, -0x1.31d966p-19f, 0x1.be4ac2p-19f,
     0x1.e6410ep-22f,  0x1.3db69ep-20f,  0x1.a9d86ap-19f,  -0x1.01e2d8p-19f,
     0x1.01f2c4p-20f,  -0x1.0e8fc6p-22f, -0x1.4354dep-20f, -0x1.3d4b32p-19f,
     -0x1.c568bcp-20f, 0x1.0bc2f6p-20f,  0x1.9d1d5ep-20f,  0.0f},
    {0x1.1c0308p-12f, 0x1.db6612p-14f,  -0x1.5dbc2ap-14f, -0x1.dd7542p-14f,
     -0x1.df948p-15f, -0x1.967306p-17f, 0x1.998b44p-18f,  0x1.2fb122p-17f,
     0x1.ea5d76p-18f, 0x1.45a1c8p-18f,  0x1.93097cp-19f,  0x1.dd4a5cp-20f,
     0x1.1698aep-20f, 0x1.3e0f96p-21f,  0x1.6cd14cp-22f,  0x1.9cef58p-23f,
     0x1.d37706p-24f, 0x1.07eb4ap-24f,  0x1.29940ep-25f,  0x1.5238dep-26f,
     0x1.7c5714p-27f, 0x1.ae6efp-28f,   0x1.e667e4p-29f,  0x1.11320cp-29f,
     0x1.36473cp-30f, 0x1.5d7642p-31f,  0x1.8b16fap-32f,  0x1.bca778p-33f,
     0x1.f5e08p-34f,  0x1.1c8268p-34f,  0x1.41c89cp-35f,  0.0f}};

/* x -> out * tanh(in * x), for many vectors: the factors are multiplied into the coefficients once. */
struct tanh_of {
  vf in; /* intervals a unit of x */
  vf table[6][2];
};

static inline __attribute__((always_inline)) void tanh_prepare(struct tanh_of *t, float in, float out) {
  t->in = v_set1(in * A4J_TANH_INTERVALS);
#pragma GCC unroll 6
  for (int k = 0; k < 6; k++)
#pragma GCC unroll 2
    for (int half = 0; half < 2; half++) t->table[k][half] = v_mul(v_load(tanh_table[k] + 16 * half), v_set1(out));
}

static inline __attribute__((always_inline)) vf v_tanh_of(const struct tanh_of *t, vf x) {
  const vf round = v_set1(0x1.8p+23f), a = v_min(v_set1(31), v_mul(v_abs(x), t->in));
  const vf number = v_add(a, round), r = v_beyond_nearest(a);
  vf p = v_pick_32(t->table[5], number);
#pragma GCC unroll 5
  for (int k = 4; k >= 0; k--) p = v_fma(p, r, v_pick_32(t->table[k], number));
  return v_with_sign_of(p, x);
}

static inline vf v_tanh(vf x) {
  struct tanh_of t;
  tanh_prepare(&t, 1, 1);
  return v_tanh_of(&t, x);
}

#else

static inline vf v_tanh(vf x) {
  vf negative = v_sub(v_set1(0.0f), x), a = v_max(x, negative);
  vf e = v_exp2(v_mul(a, v_set1(-0x1.715476p+1f)));
  vf large = v_div(v_sub(v_set1(1.0f), e), v_add(v_set1(1.0f), e));
  large = v_select(v_ge(x, v_set1(0.0f)), large, v_sub(v_set1(0.0f), large));
  vf square = v_mul(x, x);
  vf p = v_set1(-0x1.75e1a0p-8f);
  p = v_fma(p, square, v_set1(0x1.522690p-6f));
  p = v_fma(p, square, v_set1(-0x1.b83c58p-5f));
  p = v_fma(p, square, v_set1(0x1.110726p-3f));
  p = v_fma(p, square, v_set1(-0x1.555532p-2f));
  vf small = v_fma(v_mul(p, square), x, x);
  return v_select(v_ge(a, v_set1(0.625f)), large, small);
}

/* x -> out * tanh(in * x) */
struct tanh_of {
  vf in, out;
};

static inline void tanh_prepare(struct tanh_of *t, float in, float out) {
  t->in = v_set1(in);
  t->out = v_set1(out);
}

static inline vf v_tanh_of(const struct tanh_of *t, vf x) { return v_mul(v_tanh(v_mul(x, t->in)), t->out); }

#endif

#endif
