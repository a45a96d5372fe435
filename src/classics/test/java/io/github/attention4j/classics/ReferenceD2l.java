package io.github.attention4j.classics;

import io.github.attention4j.Tensor;

/**
 * The layers of "Dive into Deep Learning" in double, as the book's formulas have them: loops over
 * arrays, no view of how the library computes. Matrices are {@code double[rows][columns]}.
 */
public final class ReferenceD2l {
  private ReferenceD2l() {}

  /** A score for query i and key j. */
  @FunctionalInterface
  public interface Score {
    /** Returns the score. */
    double at(int i, int j);
  }

  /** The elements of a tensor of rank 2. */
  public static double[][] matrix(Tensor tensor) {
    double[][] rows = new double[(int) tensor.size(0)][(int) tensor.size(1)];
    for (int r = 0; r < rows.length; r++) {
      for (int c = 0; c < rows[r].length; c++) {
        rows[r][c] = tensor.getFloat(r, c);
      }
    }
    return rows;
  }

  /** The elements of a tensor of rank 1. */
  public static double[] vector(Tensor tensor) {
    double[] values = new double[(int) tensor.size(0)];
    for (int i = 0; i < values.length; i++) {
      values[i] = tensor.getFloat(i);
    }
    return values;
  }

  /** Replaces the scores of invalid keys by -10^6, then takes the softmax of each row. */
  public static double[][] maskedSoftmax(int lenQ, int lenK, Score score, int[] validByQuery) {
    double[][] weights = new double[lenQ][lenK];
    for (int i = 0; i < lenQ; i++) {
      double max = Double.NEGATIVE_INFINITY;
      for (int j = 0; j < lenK; j++) {
        weights[i][j] = j < validByQuery[i] ? score.at(i, j) : -1e6;
        max = Math.max(max, weights[i][j]);
      }
      double sum = 0;
      for (int j = 0; j < lenK; j++) {
        weights[i][j] = Math.exp(weights[i][j] - max);
        sum += weights[i][j];
      }
      for (int j = 0; j < lenK; j++) {
        weights[i][j] /= sum;
      }
    }
    return weights;
  }

  /** The plain product; what has weight 0 does not count, whatever it is. */
  public static double[][] weighted(double[][] weights, double[][] values) {
    int width = values.length == 0 ? 0 : values[0].length;
    double[][] out = new double[weights.length][width];
    for (int i = 0; i < weights.length; i++) {
      for (int j = 0; j < values.length; j++) {
        for (int d = 0; d < width && weights[i][j] != 0; d++) {
          out[i][d] += weights[i][j] * values[j][d];
        }
      }
    }
    return out;
  }

  /** The scores of scaled dot-product attention. */
  public static Score dotProducts(double[][] q, double[][] k) {
    return (i, j) -> {
      double sum = 0;
      for (int d = 0; d < q[i].length; d++) {
        sum += q[i][d] * k[j][d];
      }
      return sum / Math.sqrt(q[i].length);
    };
  }

  /** x Wᵀ + b; the bias may be null. */
  public static double[][] linear(double[][] x, double[][] weight, double[] bias) {
    double[][] out = new double[x.length][weight.length];
    for (int r = 0; r < x.length; r++) {
      for (int c = 0; c < weight.length; c++) {
        out[r][c] = bias == null ? 0 : bias[c];
        for (int i = 0; i < weight[c].length; i++) {
          out[r][c] += x[r][i] * weight[c][i];
        }
      }
    }
    return out;
  }

  /** Columns [first, first + count) of each row. */
  public static double[][] columns(double[][] x, int first, int count) {
    double[][] part = new double[x.length][count];
    for (int r = 0; r < x.length; r++) {
      System.arraycopy(x[r], first, part[r], 0, count);
    }
    return part;
  }

  /** The scores of additive attention, of queries and keys that are projected here. */
  public static Score additive(
      double[][] queries, double[][] keys, double[][] wq, double[][] wk, double[] wv) {
    double[][] q = linear(queries, wq, null);
    double[][] k = linear(keys, wk, null);
    return (i, j) -> {
      double sum = 0;
      for (int d = 0; d < wv.length; d++) {
        sum += wv[d] * Math.tanh(q[i][d] + k[j][d]);
      }
      return sum;
    };
  }

  /** Each element of two matrices, added. */
  public static double[][] sum(double[][] x, double[][] y) {
    double[][] out = new double[x.length][];
    for (int r = 0; r < x.length; r++) {
      out[r] = x[r].clone();
      for (int c = 0; c < x[r].length; c++) {
        out[r][c] += y[r][c];
      }
    }
    return out;
  }

  /** Negative elements become 0. */
  public static double[][] relu(double[][] x) {
    double[][] out = new double[x.length][];
    for (int r = 0; r < x.length; r++) {
      out[r] = x[r].clone();
      for (int c = 0; c < x[r].length; c++) {
        out[r][c] = Math.max(0, x[r][c]);
      }
    }
    return out;
  }

  /** Rows of mean 0 and variance 1, times weight, plus bias. */
  public static double[][] layerNorm(double[][] x, double[] weight, double[] bias) {
    double[][] out = new double[x.length][];
    for (int r = 0; r < x.length; r++) {
      int n = x[r].length;
      double mean = 0;
      for (double value : x[r]) {
        mean += value / n;
      }
      double variance = 0;
      for (double value : x[r]) {
        variance += (value - mean) * (value - mean) / n;
      }
      out[r] = new double[n];
      for (int c = 0; c < n; c++) {
        out[r][c] = (x[r][c] - mean) / Math.sqrt(variance + 1e-5) * weight[c] + bias[c];
      }
    }
    return out;
  }

  /** The sinusoid at a position and channel. */
  public static double sinusoid(int position, int channel, int dim) {
    double angle = position / Math.pow(10_000, (double) (channel / 2 * 2) / dim);
    return channel % 2 == 0 ? Math.sin(angle) : Math.cos(angle);
  }
}
