package io.github.attention4j.classics;

import io.github.attention4j.Tensor;
import io.github.attention4j.classics.t2t.Areas;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;

/**
 * Area attention as its definition reads, in double: each area is a list of its items, and every
 * feature is computed from that list.
 */
public final class ReferenceAreas {
  private record Area(int height, int width, int[] items) {}

  private final List<Area> list;
  private final int heads;
  private final int dim;
  private final double[] mean;
  private final double[] deviation;
  private final double[] sum;
  private final double[] max;

  private ReferenceAreas(List<Area> list, Tensor x, double epsilon) {
    this.list = list;
    heads = (int) (x.size(0) * x.size(1));
    dim = (int) x.size(3);
    int count = heads * list.size() * dim;
    mean = new double[count];
    deviation = new double[count];
    sum = new double[count];
    max = new double[count];
    int length = (int) x.size(2);
    float[] values = x.toFloatArray();
    for (int n = 0; n < count; n++) {
      int[] items = list.get(n / dim % list.size()).items;
      int head = n / dim / list.size();
      max[n] = Double.NEGATIVE_INFINITY;
      for (int item : items) {
        double value = values[(head * length + item) * dim + n % dim];
        sum[n] += value;
        max[n] = Math.max(max[n], value);
      }
      mean[n] = sum[n] / items.length;
      double squares = 0;
      for (int item : items) {
        double value = values[(head * length + item) * dim + n % dim];
        squares += (value - mean[n]) * (value - mean[n]);
      }
      deviation[n] = Math.sqrt(squares / items.length + epsilon);
    }
  }

  private static List<Area> list(Areas areas, int length) {
    List<Area> list = new ArrayList<>();
    int memoryHeight = (int) areas.memoryHeight();
    int memoryWidth = length / memoryHeight;
    for (int height = 1; height <= areas.maxHeight(); height++) {
      for (int width = 1; width <= areas.maxWidth(); width++) {
        for (int top = 0; top + height <= memoryHeight; top++) {
          for (int left = 0; left + width <= memoryWidth; left++) {
            int[] items = new int[height * width];
            for (int n = 0; n < items.length; n++) {
              items[n] = (top + n / width) * memoryWidth + left + n % width;
            }
            list.add(new Area(height, width, items));
          }
        }
      }
    }
    return list;
  }

  /** Computes the features of x {@code [batch, heads, length, dim]}. */
  public static ReferenceAreas of(Areas areas, Tensor x, double epsilon) {
    return new ReferenceAreas(list(areas, (int) x.size(2)), x, epsilon);
  }

  /** The number of areas. */
  public long areas() {
    return list.size();
  }

  public double[] mean() {
    return mean;
  }

  public double[] deviation() {
    return deviation;
  }

  public double[] sum() {
    return sum;
  }

  public double[] max() {
    return max;
  }

  /** The values of areas under a mode SUM, MEAN or MAX. */
  public double[] values(String mode) {
    return switch (mode) {
      case "SUM" -> sum;
      case "MEAN" -> mean;
      case "MAX" -> max;
      default -> throw new AssertionError(mode);
    };
  }

  /**
   * The keys of areas under a mode; noise is null in evaluation, and the rest is null if the mode
   * has no weights, which are {@code [out, in]}.
   */
  public double[] keys(
      String mode,
      float[] noise,
      Tensor heightEmbedding,
      Tensor widthEmbedding,
      Tensor[] weights,
      Tensor[] biases) {
    double[] centre = mode.startsWith("MAX") ? max.clone() : mean.clone();
    if (mode.startsWith("SAMPLE") && noise != null) {
      for (int n = 0; n < centre.length; n++) {
        centre[n] += deviation[n] * noise[n];
      }
    }
    if (weights == null) {
      return centre;
    }
    float[][] matrices = {weights[0].toFloatArray(), weights[1].toFloatArray()};
    double[] keys = new double[mean.length];
    for (int row = 0; row < heads * list.size(); row++) {
      Area area = list.get(row % list.size());
      double[] key = Arrays.copyOfRange(centre, row * dim, (row + 1) * dim);
      double[] spread = Arrays.copyOfRange(deviation, row * dim, (row + 1) * dim);
      double[] size =
          joined(
              doubles(heightEmbedding.select(0, area.height - 1)),
              doubles(widthEmbedding.select(0, area.width - 1)));
      double[] features =
          switch (mode) {
            case "CONCAT" -> joined(joined(key, spread), size);
            case "MAX_CONCAT", "SAMPLE_CONCAT" -> joined(key, size);
            case "SUM" -> added(added(size, key), spread);
            case "SAMPLE_SUM" -> added(key, size);
            default -> throw new AssertionError(mode);
          };
      double[] hidden = dense(features, matrices[0], biases[0]);
      for (int n = 0; n < hidden.length; n++) {
        hidden[n] = Math.max(0, hidden[n]);
      }
      System.arraycopy(dense(hidden, matrices[1], biases[1]), 0, keys, row * dim, dim);
    }
    return keys;
  }

  private static double[] doubles(Tensor row) {
    float[] floats = row.toFloatArray();
    double[] doubles = new double[floats.length];
    for (int i = 0; i < floats.length; i++) {
      doubles[i] = floats[i];
    }
    return doubles;
  }

  private static double[] joined(double[] a, double[] b) {
    double[] joined = Arrays.copyOf(a, a.length + b.length);
    System.arraycopy(b, 0, joined, a.length, b.length);
    return joined;
  }

  private static double[] added(double[] a, double[] b) {
    double[] added = a.clone();
    for (int i = 0; i < a.length; i++) {
      added[i] += b[i];
    }
    return added;
  }

  private static double[] dense(double[] x, float[] weight, Tensor bias) {
    double[] out = doubles(bias);
    for (int o = 0; o < out.length; o++) {
      for (int i = 0; i < x.length; i++) {
        out[o] += weight[o * x.length + i] * x[i];
      }
    }
    return out;
  }

  /** What attention gives, each {@code [batch, headsQ, lenQ, …]}. */
  public record Attended(double[] out, double[] weights, double[] logits) {}

  /**
   * Attends to areas.
   *
   * @param bias {@code [1 or batch, 1 or headsQ, 1 or lenQ, len]}, or null
   * @param topK 0 for all
   */
  public static Attended attend(
      Areas areas,
      Tensor q,
      double[] keys,
      double[] values,
      int headsKv,
      int dimV,
      Tensor bias,
      double scale,
      double temperature,
      int topK) {
    int headsQ = (int) q.size(1);
    int lenQ = (int) q.size(2);
    int dim = (int) q.size(3);
    int rows = (int) q.size(0) * headsQ * lenQ;
    int count = rows == 0 ? 0 : keys.length / dim / ((int) q.size(0) * headsKv);
    List<Area> list = bias == null ? null : list(areas, (int) bias.size(3));
    float[] queries = q.toFloatArray();
    Attended attended =
        new Attended(new double[rows * dimV], new double[rows * count], new double[rows * count]);
    for (int row = 0; row < rows; row++) {
      int b = row / lenQ / headsQ;
      int h = row / lenQ % headsQ;
      int first = (b * headsKv + h / (headsQ / headsKv)) * count;
      double[] logits = new double[count];
      for (int a = 0; a < count; a++) {
        for (int c = 0; c < dim; c++) {
          logits[a] += scale * queries[row * dim + c] * keys[(first + a) * dim + c];
        }
        logits[a] /= temperature;
        if (bias != null && touchesPadding(list.get(a), bias, b, h, row % lenQ)) {
          logits[a] = Double.NEGATIVE_INFINITY;
        }
      }
      double[] weights = hardened(softmax(logits), topK);
      System.arraycopy(logits, 0, attended.logits, row * count, count);
      System.arraycopy(weights, 0, attended.weights, row * count, count);
      for (int a = 0; a < count; a++) {
        for (int c = 0; c < dimV && weights[a] != 0; c++) {
          attended.out[row * dimV + c] += weights[a] * values[(first + a) * dimV + c];
        }
      }
    }
    return attended;
  }

  private static boolean touchesPadding(Area area, Tensor bias, int b, int h, int i) {
    for (int item : area.items) {
      float element =
          bias.getFloat(
              bias.size(0) == 1 ? 0 : b,
              bias.size(1) == 1 ? 0 : h,
              bias.size(2) == 1 ? 0 : i,
              item);
      if (element < -1) {
        return true;
      }
    }
    return false;
  }

  private static double[] softmax(double[] logits) {
    double largest = Arrays.stream(logits).max().orElse(Double.NEGATIVE_INFINITY);
    double[] weights = new double[logits.length];
    if (largest == Double.NEGATIVE_INFINITY) {
      return weights;
    }
    double sum = 0;
    for (int a = 0; a < weights.length; a++) {
      weights[a] = Math.exp(logits[a] - largest);
      sum += weights[a];
    }
    for (int a = 0; a < weights.length; a++) {
      weights[a] /= sum;
    }
    return weights;
  }

  private static double[] hardened(double[] weights, int topK) {
    if (topK == 0 || topK >= weights.length) {
      return weights;
    }
    double[] sorted = weights.clone();
    Arrays.sort(sorted);
    double least = sorted[sorted.length - topK];
    double sum = Arrays.stream(weights).filter(weight -> weight >= least).sum();
    return Arrays.stream(weights)
        .map(weight -> weight < least || sum == 0 ? 0 : weight / sum)
        .toArray();
  }
}
