package io.github.attention4j.classics;

import io.github.attention4j.Tensor;
import io.github.attention4j.reference.ReferenceAttention;
import io.github.attention4j.reference.ReferenceAttention.Entry;
import java.util.ArrayList;
import java.util.List;

/**
 * tensor2tensor's multihead_attention in double, as its definition has it: loops over rows, no view
 * of how the library computes. Parameters have the original's names and defaults.
 */
public final class ReferenceT2t {
  public String attentionType = "dot_product";
  public int numHeads = 1;
  public boolean vars3d;
  public String qPadding = "VALID";
  public String kvPadding = "VALID";
  public int maxRelativePosition;
  public int blockLength = 128;
  public int blockWidth = 128;
  public int gapSize;
  public int numMemoryBlocks = 2;
  public int hardAttentionK;
  public double gumbelNoiseWeight;
  public double dropoutRate;
  public int maxAreaWidth = 1;
  public int maxAreaHeight = 1;
  public int memoryHeight = 1;
  public String areaKeyMode = "mean";
  public String areaValueMode = "sum";

  /** Kernels {@code [width, in, out]}, with biases or null. */
  public Tensor q;

  public Tensor qBias;
  public Tensor k;
  public Tensor kBias;
  public Tensor v;
  public Tensor vBias;

  /** {@code [in, out]}. */
  public Tensor outputTransform;

  /** {@code [rows, depth]} or {@code [heads, rows, depth]}, or null. */
  public Tensor keyEmbeddings;

  public Tensor valueEmbeddings;

  /** What is added to logits; what dropout keeps, as 0 or 1; the uniform numbers of the noise. */
  public Entry bias = ReferenceAttention.NO_BIAS;

  public Entry keep = ReferenceAttention.KEEP_ALL;
  public Entry uniform;

  /** {@code out[b][i][c]} and {@code weights[b][h][i][j]}. */
  public record Result(double[][][] out, double[][][][] weights) {}

  /** Computes the layer; a null memory is self-attention. */
  public Result run(Tensor queryAntecedent, Tensor memoryAntecedent) {
    Tensor memory = memoryAntecedent == null ? queryAntecedent : memoryAntecedent;
    double[][][] queries = convolve(queryAntecedent, q, qBias, qPadding);
    double[][][] keys = convolve(memory, k, kBias, kvPadding);
    double[][][] values = convolve(memory, v, vBias, kvPadding);
    int batch = queries.length;
    int lenQ = batch == 0 ? 0 : queries[0].length;
    int depthK = (int) q.size(2) / numHeads;
    int depthV = (int) v.size(2) / numHeads;
    double[][][] out = new double[batch][lenQ][];
    double[][][][] weights = new double[batch][numHeads][lenQ][];
    for (int b = 0; b < batch; b++) {
      for (int i = 0; i < lenQ; i++) {
        double[] mixed = new double[numHeads * depthV];
        for (int h = 0; h < numHeads; h++) {
          double[] query = part(queries[b][i], h, depthK);
          for (int c = 0; c < depthK && !vars3d; c++) {
            query[c] *= Math.pow(depthK, -0.5);
          }
          double[][] kh = head(keys[b], h, depthK);
          double[][] vh = head(values[b], h, depthV);
          double[] result = new double[depthV];
          weights[b][h][i] = attend(b, h, i, lenQ, query, kh, vh, result);
          System.arraycopy(result, 0, mixed, h * depthV, depthV);
        }
        out[b][i] = times(mixed, outputTransform);
      }
    }
    return new Result(out, weights);
  }

  private double[] attend(
      int b,
      int h,
      int i,
      int lenQ,
      double[] query,
      double[][] keys,
      double[][] values,
      double[] out) {
    if (maxAreaWidth > 1 || maxAreaHeight > 1) {
      return attendToAreas(b, h, i, query, keys, values, out);
    }
    int lenK = keys.length;
    int position = i + lenK - lenQ;
    boolean local = attentionType.startsWith("local") || attentionType.contains("dilated");
    double[] logits = new double[lenK];
    for (int j = 0; j < lenK; j++) {
      if (local && !sees(i, j, lenK)) {
        logits[j] = Double.NEGATIVE_INFINITY;
        continue;
      }
      double[] key = plus(keys[j], embedding(keyEmbeddings, h, position, j));
      logits[j] = dot(query, key) + (local ? 0 : bias.at(b, h, i, j));
    }
    double[] weights = softmax(logits);
    if (hardAttentionK > 0) {
      harden(weights, b, h, i);
    }
    boolean firstBlock =
        attentionType.equals("local_relative_mask_right")
            && (i < blockLength || lenK < 2 * blockLength);
    for (int j = 0; j < lenK; j++) {
      double kept = weights[j] * keep.at(b, h, i, j) / (1 - dropoutRate);
      double[] row = firstBlock ? null : embedding(valueEmbeddings, h, position, j);
      double[] value = plus(values[j], row);
      for (int c = 0; c < out.length; c++) {
        out[c] += kept * value[c];
      }
    }
    return weights;
  }

  /** Whether a query of a local or dilated type sees a key. */
  private boolean sees(int i, int j, int length) {
    int own = i / blockLength * blockLength;
    int end = own + blockLength;
    boolean inOwn = j >= own && j < end;
    int step = blockWidth + gapSize;
    switch (attentionType) {
      case "local_within_block_mask_right":
        return inOwn && j <= i;
      case "local_mask_right", "local_relative_mask_right":
        return j <= i && (length < 2 * blockLength || j >= own - blockLength);
      case "local_unmasked":
        return j >= own - blockWidth && j < end + blockWidth;
      default:
        boolean masked = attentionType.equals("masked_dilated_1d");
        boolean seen = inOwn && (!masked || j <= i);
        for (int t = 0; t < numMemoryBlocks; t++) {
          int left = own - (t + 1) * step;
          int right = end + gapSize + t * step;
          seen |= j >= left && j < left + blockWidth;
          seen |= !masked && j >= right && j < right + blockWidth;
        }
        return seen;
    }
  }

  /** The row of a table for the distance of a key from a query; null is zero. */
  private double[] embedding(Tensor table, int h, int position, int j) {
    if (table == null) {
      return null;
    }
    Tensor rows = table.rank() == 3 ? table.select(0, h) : table;
    int m = maxRelativePosition;
    int row =
        switch (attentionType) {
          case "dot_product_relative" -> Math.max(-m, Math.min(m, j - position)) + m;
          case "local_relative_mask_right" -> 4 * blockLength - 1 + j - position;
          default -> m - 1 + j - position;
        };
    if (row < 0 || row >= rows.size(0)) {
      return null;
    }
    double[] values = new double[(int) rows.size(1)];
    for (int c = 0; c < values.length; c++) {
      values[c] = rows.getFloat(row, c);
    }
    return values;
  }

  /** The k-th largest of the different weights is subtracted from all. */
  private void harden(double[] weights, int b, int h, int i) {
    for (int j = 0; j < weights.length && uniform != null; j++) {
      weights[j] += gumbelNoiseWeight * -Math.log(-Math.log(uniform.at(b, h, i, j)));
    }
    double[] rest = weights.clone();
    for (int round = 1; round < hardAttentionK; round++) {
      double top = max(rest);
      for (int j = 0; j < rest.length; j++) {
        rest[j] = rest[j] < top ? rest[j] : 0;
      }
    }
    double least = max(rest);
    double sum = 0;
    for (int j = 0; j < weights.length; j++) {
      weights[j] = Math.max(weights[j] - least, 0);
      sum += weights[j];
    }
    for (int j = 0; j < weights.length; j++) {
      weights[j] /= Math.max(sum, 1e-6);
    }
  }

  // ---- Areas ----

  private double[] attendToAreas(
      int b, int h, int i, double[] query, double[][] keys, double[][] values, double[] out) {
    int width = keys.length / memoryHeight;
    List<int[]> areas = new ArrayList<>();
    for (int height = 1; height <= maxAreaHeight; height++) {
      for (int wide = 1; wide <= maxAreaWidth; wide++) {
        for (int y = 0; y + height <= memoryHeight; y++) {
          for (int x = 0; x + wide <= width; x++) {
            areas.add(cells(x, y, wide, height, width));
          }
        }
      }
    }
    double[] logits = new double[areas.size()];
    for (int a = 0; a < logits.length; a++) {
      logits[a] = dot(query, pool(keys, areas.get(a), areaKeyMode));
      for (int j : areas.get(a)) {
        if (bias.at(b, h, i, j) < -1) {
          logits[a] = Double.NEGATIVE_INFINITY;
        }
      }
    }
    double[] weights = softmax(logits);
    for (int a = 0; a < weights.length; a++) {
      double[] value = pool(values, areas.get(a), areaValueMode);
      for (int c = 0; c < out.length; c++) {
        out[c] += weights[a] * value[c];
      }
    }
    return weights;
  }

  private static int[] cells(int x, int y, int wide, int height, int width) {
    int[] cells = new int[wide * height];
    for (int n = 0; n < cells.length; n++) {
      cells[n] = (y + n / wide) * width + x + n % wide;
    }
    return cells;
  }

  private static double[] pool(double[][] rows, int[] cells, String mode) {
    double[] pooled = rows[cells[0]].clone();
    for (int n = 1; n < cells.length; n++) {
      for (int c = 0; c < pooled.length; c++) {
        double value = rows[cells[n]][c];
        pooled[c] = mode.equals("max") ? Math.max(pooled[c], value) : pooled[c] + value;
      }
    }
    for (int c = 0; c < pooled.length && mode.equals("mean"); c++) {
      pooled[c] /= cells.length;
    }
    return pooled;
  }

  // ---- Rows ----

  /** {@code out[b][t][o]}. */
  private static double[][][] convolve(Tensor x, Tensor kernel, Tensor bias, String padding) {
    int width = (int) kernel.size(0);
    int len = (int) x.size(1);
    int left = padding.equals("VALID") ? 0 : padding.equals("SAME") ? (width - 1) / 2 : width - 1;
    int lenOut = padding.equals("VALID") ? len - width + 1 : len;
    double[][][] out = new double[(int) x.size(0)][lenOut][(int) kernel.size(2)];
    for (int b = 0; b < out.length; b++) {
      for (int t = 0; t < lenOut; t++) {
        for (int o = 0; o < kernel.size(2); o++) {
          double sum = bias == null ? 0 : bias.getFloat(o);
          for (int tap = 0; tap < width; tap++) {
            int row = t + tap - left;
            for (int c = 0; row >= 0 && row < len && c < x.size(2); c++) {
              sum += (double) x.getFloat(b, row, c) * kernel.getFloat(tap, c, o);
            }
          }
          out[b][t][o] = sum;
        }
      }
    }
    return out;
  }

  private static double[] times(double[] row, Tensor kernel) {
    double[] out = new double[(int) kernel.size(1)];
    for (int o = 0; o < out.length; o++) {
      for (int c = 0; c < row.length; c++) {
        out[o] += row[c] * kernel.getFloat(c, o);
      }
    }
    return out;
  }

  private static double[] part(double[] row, int head, int depth) {
    double[] part = new double[depth];
    System.arraycopy(row, head * depth, part, 0, depth);
    return part;
  }

  private static double[][] head(double[][] rows, int head, int depth) {
    double[][] part = new double[rows.length][];
    for (int r = 0; r < part.length; r++) {
      part[r] = part(rows[r], head, depth);
    }
    return part;
  }

  private static double[] plus(double[] row, double[] other) {
    if (other == null) {
      return row;
    }
    double[] sum = row.clone();
    for (int c = 0; c < sum.length; c++) {
      sum[c] += other[c];
    }
    return sum;
  }

  private static double dot(double[] row, double[] other) {
    double sum = 0;
    for (int c = 0; c < row.length; c++) {
      sum += row[c] * other[c];
    }
    return sum;
  }

  private static double max(double[] row) {
    double max = Double.NEGATIVE_INFINITY;
    for (double value : row) {
      max = Math.max(max, value);
    }
    return max;
  }

  private static double[] softmax(double[] logits) {
    double max = max(logits);
    double sum = 0;
    double[] weights = new double[logits.length];
    for (int j = 0; j < weights.length; j++) {
      weights[j] = Math.exp(logits[j] - max);
      sum += weights[j];
    }
    for (int j = 0; j < weights.length; j++) {
      weights[j] /= sum;
    }
    return weights;
  }
}
