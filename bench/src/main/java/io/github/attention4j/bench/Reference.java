package io.github.attention4j.bench;

/** The formula in double, row by row, for checking every contender before it is measured. */
final class Reference {
  private Reference() {}

  /** What an option turns a scaled product into; −∞ hides the key. */
  interface Logit {
    double of(double scaled, int head, int query, int key);
  }

  /** A term of the sum of a row's exponentials that belongs to no key. */
  interface Sink {
    Sink NONE = head -> Double.NEGATIVE_INFINITY;

    double of(int head);
  }

  /** What an option adds to a channel of a value. */
  interface Value {
    Value NONE = (query, key, channel) -> 0;

    double of(int query, int key, int channel);
  }

  /** The logits of a shape without any option. */
  private static Logit plain(Shape shape) {
    return shape.causal()
        ? (scaled, head, query, key) -> key <= query ? scaled : Double.NEGATIVE_INFINITY
        : (scaled, head, query, key) -> scaled;
  }

  /**
   * The largest absolute difference between {@code out} and the formula, over every {@code step}-th
   * row.
   */
  static double error(Shape shape, float[] q, float[] k, float[] v, float[] out, int step) {
    return error(shape, plain(shape), Sink.NONE, Value.NONE, q, k, v, out, step);
  }

  /** The same with an option. */
  static double error(
      Shape shape,
      Logit logit,
      Sink sink,
      Value value,
      float[] q,
      float[] k,
      float[] v,
      float[] out,
      int step) {
    double worst = 0;
    int rows = shape.batch() * shape.headsQ() * shape.lenQ();
    for (int row = 0; row < rows; row += step) {
      double[] expected = row(shape, logit, sink, value, row, q, k, v);
      for (int d = 0; d < shape.dimV(); d++) {
        worst = larger(worst, Math.abs(expected[d] - out[row * shape.dimV() + d]));
      }
    }
    return worst;
  }

  /** The same for {@code first map - lambda · second map}; q and k hold both maps' heads. */
  static double differentialError(
      Shape shape, double lambda, float[] q, float[] k, float[] v, float[] out, int step) {
    double worst = 0;
    Shape maps = shape.unpaired();
    int lenQ = shape.lenQ();
    int rows = shape.batch() * shape.headsQ() * lenQ;
    for (int row = 0; row < rows; row += step) {
      int first = row / lenQ * 2 * lenQ + row % lenQ;
      double[] a = row(maps, plain(maps), Sink.NONE, Value.NONE, first, q, k, v);
      double[] b = row(maps, plain(maps), Sink.NONE, Value.NONE, first + lenQ, q, k, v);
      for (int d = 0; d < shape.dimV(); d++) {
        worst = larger(worst, Math.abs(a[d] - lambda * b[d] - out[row * shape.dimV() + d]));
      }
    }
    return worst;
  }

  /** The same for {@code y = x · wᵀ + bias}. */
  static double linearError(
      int rows, int in, int out, float[] x, float[] w, float[] bias, float[] y, int step) {
    double worst = 0;
    for (int row = 0; row < rows; row += step) {
      for (int o = 0; o < out; o++) {
        double sum = bias[o];
        for (int i = 0; i < in; i++) {
          sum += (double) x[row * in + i] * w[o * in + i];
        }
        worst = larger(worst, Math.abs(sum - y[row * out + o]));
      }
    }
    return worst;
  }

  /** The larger of the two; NaN counts as infinite, so that it cannot pass a check. */
  private static double larger(double a, double b) {
    return Double.isNaN(b) ? Double.POSITIVE_INFINITY : Math.max(a, b);
  }

  private static double[] row(
      Shape shape, Logit logit, Sink sink, Value value, int row, float[] q, float[] k, float[] v) {
    int query = row % shape.lenQ();
    int head = row / shape.lenQ() % shape.headsQ();
    int batch = row / shape.lenQ() / shape.headsQ();
    int headK = batch * shape.headsK() + head / (shape.headsQ() / shape.headsK());
    int headV = batch * shape.headsV() + head / (shape.headsQ() / shape.headsV());
    double[] logits = new double[shape.lenK()];
    double max = sink.of(head);
    for (int j = 0; j < logits.length; j++) {
      double product = 0;
      for (int d = 0; d < shape.dimQk(); d++) {
        product +=
            (double) q[row * shape.dimQk() + d] * k[(headK * shape.lenK() + j) * shape.dimQk() + d];
      }
      logits[j] = logit.of(product / Math.sqrt(shape.dimQk()), head, query, j);
      max = Math.max(max, logits[j]);
    }
    double sum = Math.exp(sink.of(head) - max);
    double[] out = new double[shape.dimV()];
    for (int j = 0; j < logits.length; j++) {
      double weight = Math.exp(logits[j] - max);
      sum += weight;
      for (int d = 0; d < out.length; d++) {
        double own = v[(headV * shape.lenK() + j) * shape.dimV() + d];
        out[d] += weight * (own + value.of(query, j, d));
      }
    }
    for (int d = 0; d < out.length; d++) {
      out[d] /= sum;
    }
    return out;
  }
}
