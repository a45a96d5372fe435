/*
 * The polynomials of v_exp2. Where v_fma rounds once: 2^f = 1 + f (C1 + f (C2 + f (C3 + f (C4 + f C5)))) for f in [0, 1).
 *
 * Fitted for the least relative error with the constant fixed at 1, so that 2^0 is exact and a row with one key has weight 1.
 * Largest relative error 8.2e-8 of the polynomial, 1.5e-7 (1.2 ulp) in float32. A term more would give 6.5e-8; the products
 * q k^T that feed it are less exact than that.
 *
 * Where it rounds twice (vec_sse2.h), f in [-1/2, 1/2] and one term more: 3.0e-9 and 9.1e-8 there, where the polynomial above would
 * have 1.7e-7.
 */
#ifndef A4J_EXP2_H
#define A4J_EXP2_H

#define A4J_EXP2_C1 0x1.62e4bap-1f
#define A4J_EXP2_C2 0x1.ebdb56p-3f
#define A4J_EXP2_C3 0x1.c91ce6p-5f
#define A4J_EXP2_C4 0x1.277856p-7f
#define A4J_EXP2_C5 0x1.e974fap-10f

#define A4J_EXP2_HALF_C1 0x1.62e430p-1f
#define A4J_EXP2_HALF_C2 0x1.ebfbdcp-3f
#define A4J_EXP2_HALF_C3 0x1.c6af7cp-5f
#define A4J_EXP2_HALF_C4 0x1.3b2de0p-7f
#define A4J_EXP2_HALF_C5 0x1.5f082ep-10f
#define A4J_EXP2_HALF_C6 0x1.416b5ep-13f

/*
 * One of degree 4, for weights that are then rounded to bfloat16: largest relative error 3.0e-6. Rounding moves a weight by up to
 * 0.9961 * 2^-8 of it, so this one leaves it within 2^-8; degree 3 would not (8.6e-5, a 45th of 2^-8).
 */
#define A4J_EXP2_SHORT_C1 0x1.62d6c6p-1f
#define A4J_EXP2_SHORT_C2 0x1.ee2452p-3f
#define A4J_EXP2_SHORT_C3 0x1.abf868p-5f
#define A4J_EXP2_SHORT_C4 0x1.b7f734p-7f

#endif
