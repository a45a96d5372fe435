/*
 * tanh in the words of vec_*.h.
 *
 * From 5/8 on tanh|x| = (1 - e) / (1 + e) with e = 2^(-2 log2(e) |x|) in (0, 0.29], which loses nothing to cancellation and runs
 * into 1 without a bound. Below, where 1 - e would lose the small ones, x + x^3 P(x^2) with P fitted for the least relative
 * error. Largest error 2.2 ulp; tanh(NaN) is NaN.
 */
#ifndef A4J_TANH_H
#define A4J_TANH_H

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

#endif
