package io.github.attention4j.models;

import io.github.attention4j.io.SafeTensors;
import java.io.IOException;
import java.lang.foreign.Arena;
import java.nio.file.Path;
import java.util.HashMap;
import java.util.Map;

/**
 * BERT and DeBERTa v2 in double precision, by their formulas, one text at a time; an oracle that
 * shares nothing with the interpreter. Reads the names of a model without a head's prefix.
 */
final class ReferenceEncoder {
  private final Map<String, double[]> tensors = new HashMap<>();
  private final int width;
  private final int heads;
  private final int hidden;
  private final int layers;
  private final double epsilon;

  /** Of DeBERTa; 0 for BERT. */
  private final int buckets;

  private final int most;

  /** Of DeBERTa's convolution; 0 without one. */
  private final int kernel;

  private final int groups;

  /** The weights of attention of each layer of the last text, {@code [heads, tokens, tokens]}. */
  double[][] attention;

  ReferenceEncoder(Path directory, String prefix) throws IOException {
    Map<?, ?> config = (Map<?, ?>) GoldenModel.json(directory.resolve("config.json"));
    width = integer(config, "hidden_size", 0);
    heads = integer(config, "num_attention_heads", 0);
    hidden = integer(config, "intermediate_size", 0);
    layers = integer(config, "num_hidden_layers", 0);
    epsilon = ((Number) config.get("layer_norm_eps")).doubleValue();
    buckets = integer(config, "position_buckets", 0);
    most = integer(config, "max_position_embeddings", 0);
    kernel = integer(config, "conv_kernel_size", 0);
    groups = integer(config, "conv_groups", 1);
    try (Arena arena = Arena.ofConfined()) {
      SafeTensors file = SafeTensors.open(directory.resolve("model.safetensors"), arena);
      for (String name : file.names()) {
        if (name.endsWith("position_ids")) {
          continue;
        }
        float[] floats = file.get(name).toF32(arena).toFloatArray();
        double[] doubles = new double[floats.length];
        for (int i = 0; i < floats.length; i++) {
          doubles[i] = floats[i];
        }
        tensors.put(name.startsWith(prefix) ? name.substring(prefix.length()) : name, doubles);
      }
    }
  }

  private static int integer(Map<?, ?> config, String key, int otherwise) {
    Number number = (Number) config.get(key);
    return number == null ? otherwise : number.intValue();
  }

  /** The last hidden states, {@code [tokens, width]}. */
  double[] encode(int[] tokens) {
    int n = tokens.length;
    double[] x = new double[n * width];
    for (int t = 0; t < n; t++) {
      for (int i = 0; i < width; i++) {
        x[t * width + i] = tensors.get("embeddings.word_embeddings.weight")[tokens[t] * width + i];
        if (buckets == 0) {
          x[t * width + i] +=
              tensors.get("embeddings.position_embeddings.weight")[t * width + i]
                  + tensors.get("embeddings.token_type_embeddings.weight")[i];
        }
      }
    }
    x = norm("embeddings.LayerNorm", x);
    double[] embedded = x;
    attention = new double[layers][];
    for (int l = 0; l < layers; l++) {
      String layer = "encoder.layer." + l + ".";
      double[] read = linear(layer + "attention.output.dense", attend(l, layer, x, n), width);
      x = norm(layer + "attention.output.LayerNorm", sum(x, read));
      double[] up = linear(layer + "intermediate.dense", x, width);
      for (int i = 0; i < up.length; i++) {
        up[i] = gelu(up[i]);
      }
      x = norm(layer + "output.LayerNorm", sum(x, linear(layer + "output.dense", up, hidden)));
      if (l == 0 && kernel > 0) {
        x = norm("encoder.conv.LayerNorm", sum(x, convolution(embedded, n)));
      }
    }
    return x;
  }

  private double[] attend(int l, String layer, double[] x, int n) {
    String self = layer + "attention.self.";
    String end = buckets > 0 ? "_proj" : "";
    double[] q = linear(self + "query" + end, x, width);
    double[] k = linear(self + "key" + end, x, width);
    double[] v = linear(self + "value" + end, x, width);
    double[] relativeK = null;
    double[] relativeQ = null;
    if (buckets > 0) {
      double[] table = norm("encoder.LayerNorm", tensors.get("encoder.rel_embeddings.weight"));
      relativeK = linear(self + "key_proj", table, width);
      relativeQ = linear(self + "query_proj", table, width);
    }
    int dim = width / heads;
    double scale = 1 / Math.sqrt(dim * (buckets > 0 ? 3.0 : 1.0));
    double[] weights = new double[heads * n * n];
    double[] out = new double[n * width];
    for (int h = 0; h < heads; h++) {
      for (int i = 0; i < n; i++) {
        double total = 0;
        for (int j = 0; j < n; j++) {
          double score = dot(q, i, k, j, h, dim);
          if (buckets > 0) {
            int row = bucket(i - j);
            score += dot(q, i, relativeK, row, h, dim) + dot(k, j, relativeQ, row, h, dim);
          }
          // The scores of these models are far from where exp overflows.
          weights[(h * n + i) * n + j] = Math.exp(score * scale);
          total += weights[(h * n + i) * n + j];
        }
        for (int j = 0; j < n; j++) {
          double weight = weights[(h * n + i) * n + j] /= total;
          for (int d = 0; d < dim; d++) {
            out[i * width + h * dim + d] += weight * v[j * width + h * dim + d];
          }
        }
      }
    }
    attention[l] = weights;
    return out;
  }

  private double dot(double[] a, int rowA, double[] b, int rowB, int head, int dim) {
    double sum = 0;
    for (int d = 0; d < dim; d++) {
      sum += a[rowA * width + head * dim + d] * b[rowB * width + head * dim + d];
    }
    return sum;
  }

  private int bucket(int r) {
    int mid = buckets / 2;
    int n = Math.abs(r);
    int bucket = r;
    if (n > mid) {
      double log = Math.log((double) n / mid) / Math.log((most - 1.0) / mid);
      bucket = Integer.signum(r) * (mid + (int) Math.ceil(log * (mid - 1)));
    }
    return Math.clamp(bucket + buckets, 0, 2 * buckets - 1);
  }

  /** {@code tanh(conv1d(e) + bias)} with zeros beyond the ends. */
  private double[] convolution(double[] e, int n) {
    double[] weight = tensors.get("encoder.conv.conv.weight");
    double[] bias = tensors.get("encoder.conv.conv.bias");
    int in = width / groups;
    double[] out = new double[n * width];
    for (int t = 0; t < n; t++) {
      for (int o = 0; o < width; o++) {
        double sum = bias[o];
        for (int c = 0; c < in; c++) {
          for (int tap = 0; tap < kernel; tap++) {
            int from = t + tap - kernel / 2;
            if (from >= 0 && from < n) {
              sum += weight[(o * in + c) * kernel + tap] * e[from * width + o / in * in + c];
            }
          }
        }
        out[t * width + o] = Math.tanh(sum);
      }
    }
    return out;
  }

  /** {@code x Wᵀ + b} of rows of {@code in} elements. */
  double[] linear(String name, double[] x, int in) {
    double[] weight = tensors.get(name + ".weight");
    double[] bias = tensors.get(name + ".bias");
    return linear(weight, bias, x, in);
  }

  static double[] linear(double[] weight, double[] bias, double[] x, int in) {
    int out = weight.length / in;
    double[] y = new double[x.length / in * out];
    for (int row = 0; row < x.length / in; row++) {
      for (int o = 0; o < out; o++) {
        double sum = bias == null ? 0 : bias[o];
        for (int i = 0; i < in; i++) {
          sum += weight[o * in + i] * x[row * in + i];
        }
        y[row * out + o] = sum;
      }
    }
    return y;
  }

  private double[] norm(String name, double[] x) {
    double[] weight = tensors.get(name + ".weight");
    double[] bias = tensors.get(name + ".bias");
    double[] y = new double[x.length];
    for (int row = 0; row < x.length / width; row++) {
      double mean = 0;
      double square = 0;
      for (int i = 0; i < width; i++) {
        mean += x[row * width + i] / width;
      }
      for (int i = 0; i < width; i++) {
        square += Math.pow(x[row * width + i] - mean, 2) / width;
      }
      for (int i = 0; i < width; i++) {
        double unit = (x[row * width + i] - mean) / Math.sqrt(square + epsilon);
        y[row * width + i] = unit * weight[i] + bias[i];
      }
    }
    return y;
  }

  private static double[] sum(double[] a, double[] b) {
    double[] sum = a.clone();
    for (int i = 0; i < sum.length; i++) {
      sum[i] += b[i];
    }
    return sum;
  }

  static double gelu(double x) {
    return x / 2 * (1 + erf(x / Math.sqrt(2)));
  }

  /** By the series around 0, which converges everywhere; activations are a few units wide. */
  private static double erf(double x) {
    if (Math.abs(x) > 5) {
      return Math.signum(x);
    }
    double term = x;
    double sum = x;
    for (int n = 1; n < 120; n++) {
      term *= -x * x / n;
      sum += term / (2 * n + 1);
    }
    return 2 / Math.sqrt(Math.PI) * sum;
  }
}
