package io.github.attention4j.bench;

/**
 * The straight line {@code a + b · x} with the least relative errors through some points.
 *
 * @param worst the largest relative distance of a point from it
 */
record Line(double a, double b, double worst) {

  static Line through(double[] x, double[] y) {
    double weights = 0;
    double sumX = 0;
    double sumY = 0;
    double sumXx = 0;
    double sumXy = 0;
    for (int i = 0; i < x.length; i++) {
      double weight = 1 / (y[i] * y[i]);
      weights += weight;
      sumX += weight * x[i];
      sumY += weight * y[i];
      sumXx += weight * x[i] * x[i];
      sumXy += weight * x[i] * y[i];
    }
    double b = (weights * sumXy - sumX * sumY) / (weights * sumXx - sumX * sumX);
    double a = (sumY - b * sumX) / weights;
    double worst = 0;
    for (int i = 0; i < x.length; i++) {
      worst = Math.max(worst, Math.abs((a + b * x[i]) / y[i] - 1));
    }
    return new Line(a, b, worst);
  }
}
