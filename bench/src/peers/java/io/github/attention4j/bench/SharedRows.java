package io.github.attention4j.bench;

import java.util.Random;

/** The numbers of the last projection requested, which all copies and the check share. */
final class SharedRows {
  /** Outputs of each row that are compared with float64. */
  private static final int CHECKED = 48;

  private static Projection shape;
  private static float[] x;
  private static float[] weight;

  private SharedRows() {}

  private static void prepare(Projection wanted) {
    if (!wanted.equals(shape)) {
      x = Inputs.normal(new Random(4), wanted.rows() * wanted.dimIn());
      weight = Inputs.normal(new Random(5), wanted.dimOut() * wanted.dimIn());
      shape = wanted;
    }
  }

  static float[] x(Projection wanted) {
    prepare(wanted);
    return x;
  }

  static float[] weight(Projection wanted) {
    prepare(wanted);
    return weight;
  }

  /**
   * The largest difference of the first outputs of each row from the product in float64 of the
   * numbers as drawn, over the root of its terms.
   */
  static double error(Projection wanted, float[] out) {
    prepare(wanted);
    int in = wanted.dimIn();
    double worst = 0;
    for (int row = 0; row < wanted.rows(); row++) {
      for (int o = 0; o < CHECKED; o++) {
        double sum = 0;
        for (int i = 0; i < in; i++) {
          sum += (double) x[row * in + i] * weight[o * in + i];
        }
        double wrong = Math.abs(sum - out[row * wanted.dimOut() + o]) / Math.sqrt(in);
        worst = Double.isNaN(wrong) ? Double.POSITIVE_INFINITY : Math.max(worst, wrong);
      }
    }
    return worst;
  }
}
