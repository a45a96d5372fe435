package io.github.attention4j.demo;

import java.util.Arrays;

/**
 * The layers of the demonstration models as in a textbook: plain loops over {@code float[]} on one
 * thread.
 *
 * <p>They are meant to be readable and a fair baseline. Inner loops run over contiguous floats with
 * one index, which the JIT compiler turns into vector instructions; there is no blocking, no
 * unrolling, no vector API and no second thread. Numbers are float32; sums that decide a whole row
 * (mean square, softmax denominator), exponentials and the angles of RoPE are double.
 */
final class PlainLayers {
  private PlainLayers() {}

  /**
   * Multiplies by a weight matrix: {@code y[o] = sum over i of x[i] * weights[i][o]}.
   *
   * @param x the input vector. Not modified.
   * @param weights one row per input, as long as {@code y}: the transpose of what a checkpoint
   *     stores. Not modified.
   * @param y the output vector. Modified.
   */
  static void linear(float[] x, float[][] weights, float[] y) {
    Arrays.fill(y, 0);
    for (int i = 0; i < x.length; i++) {
      addScaled(y, x[i], weights[i]);
    }
  }

  /** Adds {@code scale * x} to the first {@code y.length} elements of {@code y}. */
  static void addScaled(float[] y, float scale, float[] x) {
    for (int i = 0; i < y.length; i++) {
      y[i] += scale * x[i];
    }
  }

  /**
   * Divides a vector by its root mean square, then multiplies by the weights.
   *
   * @param weights one factor per element, or null for none. Not modified.
   */
  static void rmsNorm(float[] x, float[] weights, double epsilon, float[] y) {
    double squares = 0;
    for (float value : x) {
      squares += (double) value * value;
    }
    float scale = (float) (1 / Math.sqrt(squares / x.length + epsilon));
    for (int i = 0; i < x.length; i++) {
      y[i] = x[i] * scale * (weights == null ? 1 : weights[i]);
    }
  }

  /**
   * The rotation angles of RoPE, {@code position * theta^(-2i / dim)}, as cosines and sines.
   *
   * @return [position][i] of (cos, sin), i &lt; dim / 2
   */
  static float[][][] rotations(int positions, int dim, double theta) {
    float[][][] rotations = new float[positions][dim / 2][2];
    for (int position = 0; position < positions; position++) {
      for (int i = 0; i < dim / 2; i++) {
        double angle = position * Math.pow(theta, -2.0 * i / dim);
        rotations[position][i][0] = (float) Math.cos(angle);
        rotations[position][i][1] = (float) Math.sin(angle);
      }
    }
    return rotations;
  }

  /**
   * Rotates one head's vector, in place: element i of its first half and element i of its second
   * half are the coordinates of a point that is rotated by angle i (RoPE, half-split).
   *
   * @param x holds the head's vector from {@code start} on. Modified.
   * @param rotation cosine and sine of each angle. Not modified.
   */
  static void rope(float[] x, int start, float[][] rotation) {
    int half = rotation.length;
    for (int i = 0; i < half; i++) {
      float cos = rotation[i][0];
      float sin = rotation[i][1];
      float a = x[start + i];
      float b = x[start + half + i];
      x[start + i] = a * cos - b * sin;
      x[start + half + i] = b * cos + a * sin;
    }
  }

  /** Replaces the first {@code length} elements by their softmax. */
  static void softmax(float[] x, int length) {
    float max = Float.NEGATIVE_INFINITY;
    for (int i = 0; i < length; i++) {
      max = Math.max(max, x[i]);
    }
    double sum = 0;
    for (int i = 0; i < length; i++) {
      double e = Math.exp(x[i] - max);
      x[i] = (float) e;
      sum += e;
    }
    float scale = (float) (1 / sum);
    for (int i = 0; i < length; i++) {
      x[i] *= scale;
    }
  }

  /** Gates a vector, in place: {@code gate[i] = gate[i] * sigmoid(gate[i]) * up[i]}. */
  static void swiGlu(float[] gate, float[] up) {
    for (int i = 0; i < gate.length; i++) {
      gate[i] = (float) (gate[i] / (1 + Math.exp(-gate[i]))) * up[i];
    }
  }
}
