package io.github.attention4j.bench;

import java.util.Random;

/**
 * A multi-head layer built on one of the Java contenders: four projections with bias, heads split
 * and merged by copying, attention in between.
 */
final class JavaLayer {
  /** A projection of x to y, such as {@link PlainAttention#linear} or {@link VectorLinear}. */
  private interface Linear {
    void forward(int rows, float[] x, float[] y);
  }

  /** Either attention. */
  private interface Attention {
    void forward(Shape shape, float[] q, float[] k, float[] v, float[] out);
  }

  /** The numbers of a layer: x, and weight and bias of query, key, value and output. */
  record Weights(float[] x, float[][] weight, float[][] bias) {
    Weights(LayerShape shape) {
      this(
          Inputs.normal(new Random(7), shape.rows() * shape.width()),
          new float[4][],
          new float[4][]);
      for (int i = 0; i < 4; i++) {
        weight[i] = Inputs.normal(new Random(8 + i), shape.width() * shape.width());
        bias[i] = Inputs.normal(new Random(12 + i), shape.width());
        // Keeps outputs as large as inputs.
        for (int j = 0; j < weight[i].length; j++) {
          weight[i][j] /= (float) Math.sqrt(shape.width());
        }
      }
    }
  }

  private final LayerShape shape;
  private final Team team;
  private final Linear[] linears;
  private final Attention attention;
  private final float[] x;
  private final float[][] projected = new float[3][];
  private final float[][] heads = new float[4][];
  private final float[] together;
  private final float[] out;

  private JavaLayer(
      LayerShape shape, Weights weights, Team team, Linear[] linears, Attention attention) {
    this.shape = shape;
    this.team = team;
    this.linears = linears;
    this.attention = attention;
    this.x = weights.x;
    for (int i = 0; i < 3; i++) {
      projected[i] = new float[x.length];
    }
    for (int i = 0; i < 4; i++) {
      heads[i] = new float[x.length];
    }
    together = new float[x.length];
    out = new float[x.length];
  }

  static JavaLayer plain(LayerShape shape, Weights weights, Team team) {
    PlainAttention plain = new PlainAttention(team);
    Linear[] linears = new Linear[4];
    for (int i = 0; i < 4; i++) {
      float[] weight = weights.weight[i];
      float[] bias = weights.bias[i];
      linears[i] =
          (rows, x, y) -> plain.linear(rows, shape.width(), shape.width(), x, weight, bias, y);
    }
    return new JavaLayer(shape, weights, team, linears, plain::forward);
  }

  static JavaLayer vector(LayerShape shape, Weights weights, Team team) {
    Linear[] linears = new Linear[4];
    for (int i = 0; i < 4; i++) {
      linears[i] =
          new VectorLinear(team, shape.width(), shape.width(), weights.weight[i], weights.bias[i])
              ::forward;
    }
    return new JavaLayer(shape, weights, team, linears, new VectorAttention(team)::forward);
  }

  /** Computes the layer; the result is overwritten by the next call. */
  float[] forward() {
    for (int i = 0; i < 3; i++) {
      linears[i].forward(shape.rows(), x, projected[i]);
    }
    int dim = shape.width() / shape.heads();
    team.run(
        shape.batch() * shape.heads(),
        item -> {
          for (int row = 0; row < shape.length(); row++) {
            int apart = (item * shape.length() + row) * dim;
            for (int i = 0; i < 3; i++) {
              System.arraycopy(projected[i], at(item, row), heads[i], apart, dim);
            }
          }
        });
    attention.forward(shape.attention(), heads[0], heads[1], heads[2], heads[3]);
    team.run(
        shape.batch() * shape.heads(),
        item -> {
          for (int row = 0; row < shape.length(); row++) {
            int apart = (item * shape.length() + row) * dim;
            System.arraycopy(heads[3], apart, together, at(item, row), dim);
          }
        });
    linears[3].forward(shape.rows(), together, out);
    return out;
  }

  /** Where a row of head {@code item} (counted over the batch) is between its neighbours. */
  private int at(int item, int row) {
    int batch = item / shape.heads();
    int head = item % shape.heads();
    return (batch * shape.length() + row) * shape.width() + head * (shape.width() / shape.heads());
  }
}
