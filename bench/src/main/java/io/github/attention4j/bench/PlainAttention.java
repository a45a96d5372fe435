package io.github.attention4j.bench;

/**
 * Attention as the textbook has it: three loops per row, scalar code, one row per thread at a time.
 *
 * <p>It only keeps the scores of one row. The compiler may vectorise what it can (the sum of value
 * rows, but not the dot product, whose order it must keep).
 */
final class PlainAttention {
  private final Team team;

  PlainAttention(Team team) {
    this.team = team;
  }

  /** {@code softmax(scale · q·kᵀ) · v}; out is modified, the others are not. */
  void forward(Shape shape, float[] q, float[] k, float[] v, float[] out) {
    int rows = shape.batch() * shape.headsQ() * shape.lenQ();
    int chunk = Math.max(1, Math.min(64, rows / (4 * team.threads())));
    team.run(
        (rows + chunk - 1) / chunk,
        item -> {
          float[] scores = new float[shape.lenK()];
          int end = Math.min(rows, (item + 1) * chunk);
          for (int row = item * chunk; row < end; row++) {
            row(shape, row, q, k, v, out, scores);
          }
        });
  }

  /**
   * Differential attention: two plain ones over {@code shape.unpaired()} and a subtraction, {@code
   * out[h] = maps[2h] - lambda · maps[2h + 1]}. Both maps and out are modified.
   */
  void differential(
      Shape shape, float lambda, float[] q, float[] k, float[] v, float[] maps, float[] out) {
    forward(shape.unpaired(), q, k, v, maps);
    int size = shape.lenQ() * shape.dimV();
    team.run(
        shape.batch() * shape.headsQ(),
        head -> {
          int to = head * size;
          int first = 2 * head * size;
          int second = first + size;
          for (int i = 0; i < size; i++) {
            out[to + i] = maps[first + i] - lambda * maps[second + i];
          }
        });
  }

  /** {@code y = x · wᵀ + bias} for x [rows, in] and w [out, in]; y is modified. */
  void linear(int rows, int in, int out, float[] x, float[] w, float[] bias, float[] y) {
    team.run(
        rows,
        row -> {
          for (int o = 0; o < out; o++) {
            float sum = bias[o];
            for (int i = 0; i < in; i++) {
              sum += x[row * in + i] * w[o * in + i];
            }
            y[row * out + o] = sum;
          }
        });
  }

  private static void row(
      Shape shape, int row, float[] q, float[] k, float[] v, float[] out, float[] scores) {
    int dimQk = shape.dimQk();
    int dimV = shape.dimV();
    int query = row % shape.lenQ();
    int head = row / shape.lenQ() % shape.headsQ();
    int batch = row / shape.lenQ() / shape.headsQ();
    int headK = batch * shape.headsK() + head / (shape.headsQ() / shape.headsK());
    int headV = batch * shape.headsV() + head / (shape.headsQ() / shape.headsV());
    int keys = shape.causal() ? Math.min(query + 1, shape.lenK()) : shape.lenK();
    int qAt = row * dimQk;
    int outAt = row * dimV;
    float max = Float.NEGATIVE_INFINITY;
    for (int j = 0; j < keys; j++) {
      int kAt = (headK * shape.lenK() + j) * dimQk;
      float dot = 0;
      for (int d = 0; d < dimQk; d++) {
        dot += q[qAt + d] * k[kAt + d];
      }
      scores[j] = dot * shape.scale();
      max = Math.max(max, scores[j]);
    }
    float sum = 0;
    for (int j = 0; j < keys; j++) {
      scores[j] = (float) Math.exp(scores[j] - max);
      sum += scores[j];
    }
    for (int d = 0; d < dimV; d++) {
      out[outAt + d] = 0;
    }
    for (int j = 0; j < keys; j++) {
      int vAt = (headV * shape.lenK() + j) * dimV;
      float weight = scores[j] / sum;
      for (int d = 0; d < dimV; d++) {
        out[outAt + d] += weight * v[vAt + d];
      }
    }
  }
}
