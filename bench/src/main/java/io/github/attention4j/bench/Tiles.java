package io.github.attention4j.bench;

import jdk.incubator.vector.FloatVector;
import jdk.incubator.vector.IntVector;
import jdk.incubator.vector.VectorOperators;
import jdk.incubator.vector.VectorSpecies;

/**
 * The inner loops that the Vector API contenders share.
 *
 * <p>The register tile is 6 rows by 4 vectors (6 × 64 with AVX-512): 24 sums, 4 vectors of B and a
 * broadcast of A fill 29 of the 32 vector registers, and 24 chains hide the latency of two
 * multiply-add pipes three times over. It is tuned for 512-bit vectors; it runs with any.
 */
final class Tiles {
  static final VectorSpecies<Float> SPECIES = FloatVector.SPECIES_PREFERRED;
  static final int LANES = SPECIES.length();
  static final int ROWS = 6;

  /** Columns of a tile, and the width of a packed panel. */
  static final int WIDTH = 4 * LANES;

  /* 2^r for |r| <= 1/2, degree five with the least largest relative error, 1e-7. */
  private static final float E0 = 1.0000001192092896f;
  private static final float E1 = 0.6931469440460205f;
  private static final float E2 = 0.24022120237350464f;
  private static final float E3 = 0.05550713092088699f;
  private static final float E4 = 0.009675541892647743f;
  private static final float E5 = 0.0013276472454890609f;

  /* Adding 1.5 · 2^23 leaves the nearest integer in the lowest bits of the sum. */
  private static final float ROUND = 12582912f;

  private static final int LOWEST = Float.floatToRawIntBits(-126f);

  private Tiles() {}

  /**
   * {@code c[i][·] = Σ_n a[i][n] · b[n][·]} for 6 rows and {@link #WIDTH} columns.
   *
   * @param a holds six rows that start at a0 to a5; not modified
   * @param b holds {@code count} rows, {@code bStride} apart, from {@code bAt}; not modified
   * @param c receives six rows, {@code cStride} apart, from {@code cAt}; overwritten
   */
  static void multiply(
      float[] a,
      int a0,
      int a1,
      int a2,
      int a3,
      int a4,
      int a5,
      float[] b,
      int bAt,
      int bStride,
      int count,
      float[] c,
      int cAt,
      int cStride) {
    FloatVector c00 = FloatVector.zero(SPECIES);
    FloatVector c01 = FloatVector.zero(SPECIES);
    FloatVector c02 = FloatVector.zero(SPECIES);
    FloatVector c03 = FloatVector.zero(SPECIES);
    FloatVector c10 = FloatVector.zero(SPECIES);
    FloatVector c11 = FloatVector.zero(SPECIES);
    FloatVector c12 = FloatVector.zero(SPECIES);
    FloatVector c13 = FloatVector.zero(SPECIES);
    FloatVector c20 = FloatVector.zero(SPECIES);
    FloatVector c21 = FloatVector.zero(SPECIES);
    FloatVector c22 = FloatVector.zero(SPECIES);
    FloatVector c23 = FloatVector.zero(SPECIES);
    FloatVector c30 = FloatVector.zero(SPECIES);
    FloatVector c31 = FloatVector.zero(SPECIES);
    FloatVector c32 = FloatVector.zero(SPECIES);
    FloatVector c33 = FloatVector.zero(SPECIES);
    FloatVector c40 = FloatVector.zero(SPECIES);
    FloatVector c41 = FloatVector.zero(SPECIES);
    FloatVector c42 = FloatVector.zero(SPECIES);
    FloatVector c43 = FloatVector.zero(SPECIES);
    FloatVector c50 = FloatVector.zero(SPECIES);
    FloatVector c51 = FloatVector.zero(SPECIES);
    FloatVector c52 = FloatVector.zero(SPECIES);
    FloatVector c53 = FloatVector.zero(SPECIES);
    int bRow = bAt;
    for (int n = 0; n < count; n++) {
      FloatVector b0 = FloatVector.fromArray(SPECIES, b, bRow);
      FloatVector b1 = FloatVector.fromArray(SPECIES, b, bRow + LANES);
      FloatVector b2 = FloatVector.fromArray(SPECIES, b, bRow + 2 * LANES);
      FloatVector b3 = FloatVector.fromArray(SPECIES, b, bRow + 3 * LANES);
      FloatVector x0 = FloatVector.broadcast(SPECIES, a[a0 + n]);
      c00 = b0.fma(x0, c00);
      c01 = b1.fma(x0, c01);
      c02 = b2.fma(x0, c02);
      c03 = b3.fma(x0, c03);
      FloatVector x1 = FloatVector.broadcast(SPECIES, a[a1 + n]);
      c10 = b0.fma(x1, c10);
      c11 = b1.fma(x1, c11);
      c12 = b2.fma(x1, c12);
      c13 = b3.fma(x1, c13);
      FloatVector x2 = FloatVector.broadcast(SPECIES, a[a2 + n]);
      c20 = b0.fma(x2, c20);
      c21 = b1.fma(x2, c21);
      c22 = b2.fma(x2, c22);
      c23 = b3.fma(x2, c23);
      FloatVector x3 = FloatVector.broadcast(SPECIES, a[a3 + n]);
      c30 = b0.fma(x3, c30);
      c31 = b1.fma(x3, c31);
      c32 = b2.fma(x3, c32);
      c33 = b3.fma(x3, c33);
      FloatVector x4 = FloatVector.broadcast(SPECIES, a[a4 + n]);
      c40 = b0.fma(x4, c40);
      c41 = b1.fma(x4, c41);
      c42 = b2.fma(x4, c42);
      c43 = b3.fma(x4, c43);
      FloatVector x5 = FloatVector.broadcast(SPECIES, a[a5 + n]);
      c50 = b0.fma(x5, c50);
      c51 = b1.fma(x5, c51);
      c52 = b2.fma(x5, c52);
      c53 = b3.fma(x5, c53);
      bRow += bStride;
    }
    int cRow = cAt;
    c00.intoArray(c, cRow);
    c01.intoArray(c, cRow + LANES);
    c02.intoArray(c, cRow + 2 * LANES);
    c03.intoArray(c, cRow + 3 * LANES);
    cRow += cStride;
    c10.intoArray(c, cRow);
    c11.intoArray(c, cRow + LANES);
    c12.intoArray(c, cRow + 2 * LANES);
    c13.intoArray(c, cRow + 3 * LANES);
    cRow += cStride;
    c20.intoArray(c, cRow);
    c21.intoArray(c, cRow + LANES);
    c22.intoArray(c, cRow + 2 * LANES);
    c23.intoArray(c, cRow + 3 * LANES);
    cRow += cStride;
    c30.intoArray(c, cRow);
    c31.intoArray(c, cRow + LANES);
    c32.intoArray(c, cRow + 2 * LANES);
    c33.intoArray(c, cRow + 3 * LANES);
    cRow += cStride;
    c40.intoArray(c, cRow);
    c41.intoArray(c, cRow + LANES);
    c42.intoArray(c, cRow + 2 * LANES);
    c43.intoArray(c, cRow + 3 * LANES);
    cRow += cStride;
    c50.intoArray(c, cRow);
    c51.intoArray(c, cRow + LANES);
    c52.intoArray(c, cRow + 2 * LANES);
    c53.intoArray(c, cRow + 3 * LANES);
  }

  /** The same for the first half of the columns only. */
  static void multiplyHalf(
      float[] a,
      int a0,
      int a1,
      int a2,
      int a3,
      int a4,
      int a5,
      float[] b,
      int bAt,
      int bStride,
      int count,
      float[] c,
      int cAt,
      int cStride) {
    FloatVector c00 = FloatVector.zero(SPECIES);
    FloatVector c01 = FloatVector.zero(SPECIES);
    FloatVector c10 = FloatVector.zero(SPECIES);
    FloatVector c11 = FloatVector.zero(SPECIES);
    FloatVector c20 = FloatVector.zero(SPECIES);
    FloatVector c21 = FloatVector.zero(SPECIES);
    FloatVector c30 = FloatVector.zero(SPECIES);
    FloatVector c31 = FloatVector.zero(SPECIES);
    FloatVector c40 = FloatVector.zero(SPECIES);
    FloatVector c41 = FloatVector.zero(SPECIES);
    FloatVector c50 = FloatVector.zero(SPECIES);
    FloatVector c51 = FloatVector.zero(SPECIES);
    int bRow = bAt;
    for (int n = 0; n < count; n++) {
      FloatVector b0 = FloatVector.fromArray(SPECIES, b, bRow);
      FloatVector b1 = FloatVector.fromArray(SPECIES, b, bRow + LANES);
      FloatVector x0 = FloatVector.broadcast(SPECIES, a[a0 + n]);
      c00 = b0.fma(x0, c00);
      c01 = b1.fma(x0, c01);
      FloatVector x1 = FloatVector.broadcast(SPECIES, a[a1 + n]);
      c10 = b0.fma(x1, c10);
      c11 = b1.fma(x1, c11);
      FloatVector x2 = FloatVector.broadcast(SPECIES, a[a2 + n]);
      c20 = b0.fma(x2, c20);
      c21 = b1.fma(x2, c21);
      FloatVector x3 = FloatVector.broadcast(SPECIES, a[a3 + n]);
      c30 = b0.fma(x3, c30);
      c31 = b1.fma(x3, c31);
      FloatVector x4 = FloatVector.broadcast(SPECIES, a[a4 + n]);
      c40 = b0.fma(x4, c40);
      c41 = b1.fma(x4, c41);
      FloatVector x5 = FloatVector.broadcast(SPECIES, a[a5 + n]);
      c50 = b0.fma(x5, c50);
      c51 = b1.fma(x5, c51);
      bRow += bStride;
    }
    int cRow = cAt;
    c00.intoArray(c, cRow);
    c01.intoArray(c, cRow + LANES);
    cRow += cStride;
    c10.intoArray(c, cRow);
    c11.intoArray(c, cRow + LANES);
    cRow += cStride;
    c20.intoArray(c, cRow);
    c21.intoArray(c, cRow + LANES);
    cRow += cStride;
    c30.intoArray(c, cRow);
    c31.intoArray(c, cRow + LANES);
    cRow += cStride;
    c40.intoArray(c, cRow);
    c41.intoArray(c, cRow + LANES);
    cRow += cStride;
    c50.intoArray(c, cRow);
    c51.intoArray(c, cRow + LANES);
  }

  /**
   * {@code to[i][·] = alpha[i] · to[i][·] + from[i][·]} for a tile; from is packed, rows of to are
   * {@code stride} apart.
   */
  static void merge(float[] from, float[] alpha, float[] to, int at, int stride) {
    for (int i = 0; i < ROWS; i++) {
      FloatVector old = FloatVector.broadcast(SPECIES, alpha[i]);
      int row = at + i * stride;
      for (int j = 0; j < WIDTH; j += LANES) {
        FloatVector.fromArray(SPECIES, to, row + j)
            .fma(old, FloatVector.fromArray(SPECIES, from, i * WIDTH + j))
            .intoArray(to, row + j);
      }
    }
  }

  /**
   * {@code 2^x} for {@code x <= 0}; what is below 2^-126, and -∞, gives 2^-126.
   *
   * <p>The bits of negative floats, read as unsigned integers, grow with the magnitude. So an
   * unsigned minimum is one instruction for what {@code max}, with its rules for NaN and -0, needs
   * seven for.
   */
  static FloatVector exp2(FloatVector x) {
    FloatVector y =
        x.reinterpretAsInts().lanewise(VectorOperators.UMIN, LOWEST).reinterpretAsFloats();
    FloatVector rounded = y.add(ROUND);
    FloatVector r = y.sub(rounded.sub(ROUND));
    FloatVector p = FloatVector.broadcast(SPECIES, E5).fma(r, FloatVector.broadcast(SPECIES, E4));
    p = p.fma(r, FloatVector.broadcast(SPECIES, E3));
    p = p.fma(r, FloatVector.broadcast(SPECIES, E2));
    p = p.fma(r, FloatVector.broadcast(SPECIES, E1));
    p = p.fma(r, FloatVector.broadcast(SPECIES, E0));
    IntVector exponent = rounded.reinterpretAsInts().lanewise(VectorOperators.LSHL, 23);
    return p.reinterpretAsInts().add(exponent).reinterpretAsFloats();
  }

  /** The larger of the two, lane by lane; two instructions where {@code max} has seven. */
  private static FloatVector larger(FloatVector a, FloatVector b) {
    return a.blend(b, b.compare(VectorOperators.GT, a));
  }

  /**
   * Turns one row of raw scores into weights, online.
   *
   * <p>Before and after, {@code maxima[row]} is the largest score seen and {@code sums} holds, one
   * lane each, the sum of {@code 2^(logScale · (score - max))}. Lanes are only added up at the end,
   * and the maximum is only searched across lanes when some lane exceeds it.
   *
   * @param scores from {@code at}, {@code valid} of them; the rest up to the next full vector is
   *     scratch, what follows up to {@code padded} becomes 0; modified
   * @return the factor by which what was accumulated before must shrink
   */
  static float softmax(
      float[] scores,
      int at,
      int valid,
      int padded,
      float logScale,
      float[] maxima,
      float[] sums,
      int row) {
    int end = at + SPECIES.loopBound(valid + LANES - 1);
    for (int j = at + valid; j < end; j++) {
      scores[j] = Float.NEGATIVE_INFINITY;
    }
    FloatVector best = FloatVector.broadcast(SPECIES, Float.NEGATIVE_INFINITY);
    FloatVector best1 = best;
    FloatVector best2 = best;
    FloatVector best3 = best;
    int i = at;
    for (; i + WIDTH <= end; i += WIDTH) {
      best = larger(best, FloatVector.fromArray(SPECIES, scores, i));
      best1 = larger(best1, FloatVector.fromArray(SPECIES, scores, i + LANES));
      best2 = larger(best2, FloatVector.fromArray(SPECIES, scores, i + 2 * LANES));
      best3 = larger(best3, FloatVector.fromArray(SPECIES, scores, i + 3 * LANES));
    }
    for (; i < end; i += LANES) {
      best = larger(best, FloatVector.fromArray(SPECIES, scores, i));
    }
    best = larger(larger(best, best1), larger(best2, best3));
    float max = maxima[row];
    float alpha = 1;
    if (best.compare(VectorOperators.GT, max).anyTrue()) {
      float larger = best.reduceLanes(VectorOperators.MAX);
      alpha = (float) Math.exp((max - larger) * logScale * 0.6931471805599453);
      max = larger;
      maxima[row] = max;
    }
    FloatVector factor = FloatVector.broadcast(SPECIES, logScale);
    FloatVector shift = FloatVector.broadcast(SPECIES, -max * logScale);
    FloatVector sum = FloatVector.fromArray(SPECIES, sums, row * LANES).mul(alpha);
    for (int j = at; j < end; j += LANES) {
      FloatVector weight = exp2(FloatVector.fromArray(SPECIES, scores, j).fma(factor, shift));
      sum = sum.add(weight);
      weight.intoArray(scores, j);
    }
    sum.intoArray(sums, row * LANES);
    for (int j = at + valid; j < at + padded; j++) {
      scores[j] = 0;
    }
    return alpha;
  }

  /**
   * Packs {@code rows} rows of length {@code dim} into panels of {@link #WIDTH} rows, transposed:
   * {@code to[panel][d][row in panel]}. Rows that are missing in the last panel become 0.
   */
  static void pack(float[] from, int at, int rows, int dim, float[] to) {
    for (int first = 0; first < rows; first += WIDTH) {
      int panel = first * dim;
      int present = Math.min(WIDTH, rows - first);
      for (int d = 0; d < dim; d++) {
        int source = at + first * dim + d;
        for (int r = 0; r < present; r++) {
          to[panel + d * WIDTH + r] = from[source + r * dim];
        }
      }
      for (int r = present; r < WIDTH; r++) {
        for (int d = 0; d < dim; d++) {
          to[panel + d * WIDTH + r] = 0;
        }
      }
    }
  }
}
