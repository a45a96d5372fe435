package io.github.attention4j.reference;

import io.github.attention4j.Tensor;

/**
 * The textbook, three plain passes over a row: logits, softmax, weighted sum. In double it is what
 * results are compared with; in float it says how much error the textbook itself has, of which the
 * library may have twice as much. Written from the formulas alone, without a look at the C.
 */
public final class ReferenceAttention {
  /** A number for batch b, head h, query i and key j. */
  @FunctionalInterface
  public interface Entry {
    /** Returns the number. */
    double at(int b, int h, int i, int j);
  }

  /** Adds nothing and hides nothing. */
  public static final Entry NO_BIAS = (b, h, i, j) -> 0;

  /** Drops nothing. */
  public static final Entry KEEP_ALL = (b, h, i, j) -> 1;

  /** Row-major: out [batch, heads, lenQ, dimV], lse [batch, heads, lenQ], weights [.., lenK]. */
  public record Result(double[] out, double[] lse, double[] weights) {}

  private ReferenceAttention() {}

  /**
   * Computes attention in double.
   *
   * @param q [batch, headsQ, lenQ, dim]
   * @param k [batch, headsKv, lenK, dim]
   * @param v [batch, headsKv, lenK, dimV]
   * @param bias added to the scaled logits; −∞ hides the key
   * @param keep multiplies the weights after softmax
   */
  public static Result attention(
      Tensor q, Tensor k, Tensor v, double scale, Entry bias, Entry keep) {
    return compute(q, k, v, scale, 0, null, bias, keep, false);
  }

  /** As {@link #attention}, but each operation rounds to float. */
  public static Result inFloat(Tensor q, Tensor k, Tensor v, double scale, Entry bias, Entry keep) {
    return compute(q, k, v, scale, 0, null, bias, keep, true);
  }

  /**
   * Computes attention in double or in float.
   *
   * @param softCap bounds the scaled logits before the bias; 0 for none
   * @param sinks a logit without a value for each head, or null
   */
  public static Result compute(
      Tensor q,
      Tensor k,
      Tensor v,
      double scale,
      double softCap,
      float[] sinks,
      Entry bias,
      Entry keep,
      boolean inFloat) {
    int batch = (int) q.size(0);
    int headsQ = (int) q.size(1);
    int lenQ = (int) q.size(2);
    int dim = (int) q.size(3);
    int headsKv = (int) k.size(1);
    int lenK = (int) k.size(2);
    int dimV = (int) v.size(3);
    float[] queries = q.toFloatArray();
    float[] keys = k.toFloatArray();
    float[] values = v.toFloatArray();
    double[] out = new double[batch * headsQ * lenQ * dimV];
    double[] lse = new double[batch * headsQ * lenQ];
    double[] weights = new double[batch * headsQ * lenQ * lenK];
    double[] logits = new double[lenK];
    float usedScale = (float) scale;
    for (int row = 0; row < lse.length; row++) {
      int i = row % lenQ;
      int h = row / lenQ % headsQ;
      int b = row / lenQ / headsQ;
      int headKv = b * headsKv + h / (headsQ / headsKv);

      double sink = sinks == null ? Double.NEGATIVE_INFINITY : sinks[h];
      double max = sink;
      for (int j = 0; j < lenK; j++) {
        double added = bias.at(b, h, i, j);
        if (added == Double.NEGATIVE_INFINITY) {
          logits[j] = added;
          continue;
        }
        int keyRow = (headKv * lenK + j) * dim;
        if (inFloat) {
          float dot = 0;
          for (int d = 0; d < dim; d++) {
            dot += queries[row * dim + d] * keys[keyRow + d];
          }
          logits[j] = (float) capped(dot * usedScale, softCap) + (float) added;
        } else {
          double dot = 0;
          for (int d = 0; d < dim; d++) {
            dot += (double) queries[row * dim + d] * keys[keyRow + d];
          }
          logits[j] = capped(dot * scale, softCap) + added;
        }
        max = Math.max(max, logits[j]);
      }

      boolean noSink = sink == Double.NEGATIVE_INFINITY;
      double sum = noSink ? 0 : round(Math.exp(round(sink - max, inFloat)), inFloat);
      for (int j = 0; j < lenK; j++) {
        boolean hidden = logits[j] == Double.NEGATIVE_INFINITY;
        double power = hidden ? 0 : Math.exp(round(logits[j] - max, inFloat));
        weights[row * lenK + j] = round(power, inFloat);
        sum = round(sum + weights[row * lenK + j], inFloat);
      }
      if (max == Double.NEGATIVE_INFINITY) {
        lse[row] = max;
        continue;
      }
      lse[row] = round(max + round(Math.log(sum), inFloat), inFloat);

      for (int j = 0; j < lenK; j++) {
        int at = row * lenK + j;
        weights[at] = round(weights[at] / sum, inFloat);
        if (logits[j] == Double.NEGATIVE_INFINITY) {
          continue;
        }
        double weight = round(weights[at] * keep.at(b, h, i, j), inFloat);
        int valueRow = (headKv * lenK + j) * dimV;
        for (int d = 0; d < dimV; d++) {
          int o = row * dimV + d;
          out[o] = round(out[o] + round(weight * values[valueRow + d], inFloat), inFloat);
        }
      }
    }
    return new Result(out, lse, weights);
  }

  private static double capped(double x, double cap) {
    return cap == 0 ? x : cap * Math.tanh(x / cap);
  }

  private static double round(double value, boolean toFloat) {
    return toFloat ? (float) value : value;
  }
}
