package io.github.attention4j.bench;

/** Copies between the layouts that contenders prefer. */
final class Layouts {
  private Layouts() {}

  /** [batch, heads, length, dim] to [batch, length, heads, dim]. */
  static float[] rowsFirst(float[] from, int batch, int heads, int length, int dim) {
    float[] to = new float[from.length];
    for (int b = 0; b < batch; b++) {
      for (int h = 0; h < heads; h++) {
        for (int i = 0; i < length; i++) {
          int source = ((b * heads + h) * length + i) * dim;
          int target = ((b * length + i) * heads + h) * dim;
          System.arraycopy(from, source, to, target, dim);
        }
      }
    }
    return to;
  }

  /** [batch, length, heads, dim] to [batch, heads, length, dim]. */
  static float[] headsFirst(float[] from, int batch, int heads, int length, int dim) {
    return rowsFirst(from, batch, length, heads, dim);
  }

  /** Every second head, from the first or second on, of [batch, heads, length, dim]. */
  static float[] everySecondHead(
      float[] from, int first, int batch, int heads, int length, int dim) {
    int head = length * dim;
    float[] to = new float[from.length / 2];
    for (int h = 0; h < batch * heads / 2; h++) {
      System.arraycopy(from, (2 * h + first) * head, to, h * head, head);
    }
    return to;
  }

  /** [rows, columns] to [columns, rows]. */
  static float[] transposed(float[] from, int rows, int columns) {
    float[] to = new float[from.length];
    for (int i = 0; i < rows; i++) {
      for (int j = 0; j < columns; j++) {
        to[j * rows + i] = from[i * columns + j];
      }
    }
    return to;
  }

  /** The first rows of each head of [heads, length, dim], in room for more. */
  static float[] withRoom(float[] from, int heads, int length, int room, int dim) {
    float[] to = new float[heads * room * dim];
    for (int h = 0; h < heads; h++) {
      System.arraycopy(from, h * length * dim, to, h * room * dim, length * dim);
    }
    return to;
  }

  /** Rows [start, start + count) of each head of [heads, length, dim]. */
  static float[] rows(float[] from, int heads, int length, int dim, int start, int count) {
    float[] to = new float[heads * count * dim];
    for (int h = 0; h < heads; h++) {
      System.arraycopy(from, (h * length + start) * dim, to, h * count * dim, count * dim);
    }
    return to;
  }
}
