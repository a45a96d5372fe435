package io.github.attention4j.models;

import java.util.Arrays;

/**
 * What the tiny checkpoints compute, in double and without any arrangement: every formula as
 * Transformers' Llama and DiffLlama state it, head by head and token by token, with key and value
 * heads repeated for each query head.
 */
final class ReferenceLm {
  private final TinyCheckpoint tiny;
  private final int heads;
  private final int group;
  private final int dim;
  private final double epsilon;

  ReferenceLm(TinyCheckpoint tiny) {
    this.tiny = tiny;
    this.heads = tiny.integer("num_attention_heads");
    this.group = heads / tiny.integer("num_key_value_heads");
    this.dim = tiny.integer("head_dim");
    this.epsilon = Double.parseDouble(tiny.config.get("rms_norm_eps"));
  }

  /** [token][vocabulary] */
  double[][] logits(int[] tokens) {
    double[][] x = new double[tokens.length][];
    double[] embedding = values("model.embed_tokens.weight");
    int width = tiny.integer("hidden_size");
    for (int t = 0; t < x.length; t++) {
      x[t] = Arrays.copyOfRange(embedding, tokens[t] * width, (tokens[t] + 1) * width);
    }
    for (int i = 0; i < tiny.integer("num_hidden_layers"); i++) {
      layer(x, i);
    }
    String head = tiny.flag("tie_word_embeddings") ? "model.embed_tokens" : "lm_head";
    double[][] logits = new double[x.length][];
    for (int t = 0; t < x.length; t++) {
      logits[t] = linear(head, norm(x[t], values("model.norm.weight")));
    }
    return logits;
  }

  private void layer(double[][] x, int index) {
    String layer = "model.layers." + index + ".";
    double[][] q = new double[x.length][];
    double[][] k = new double[x.length][];
    double[][] v = new double[x.length][];
    for (int t = 0; t < x.length; t++) {
      double[] normed = norm(x[t], values(layer + "input_layernorm.weight"));
      q[t] = turned(linear(layer + "self_attn.q_proj", normed), t);
      k[t] = turned(linear(layer + "self_attn.k_proj", normed), t);
      v[t] = linear(layer + "self_attn.v_proj", normed);
    }
    for (int t = 0; t < x.length; t++) {
      double[] read = tiny.differential() ? readPairs(layer, index, q, k, v, t) : read(q, k, v, t);
      add(x[t], linear(layer + "self_attn.o_proj", read));
    }
    for (double[] row : x) {
      double[] normed = norm(row, values(layer + "post_attention_layernorm.weight"));
      double[] gate = linear(layer + "mlp.gate_proj", normed);
      double[] up = linear(layer + "mlp.up_proj", normed);
      for (int i = 0; i < gate.length; i++) {
        gate[i] = gate[i] / (1 + Math.exp(-gate[i])) * up[i];
      }
      add(row, linear(layer + "mlp.down_proj", gate));
    }
  }

  private double[] read(double[][] q, double[][] k, double[][] v, int t) {
    double[] read = new double[heads * dim];
    for (int h = 0; h < heads; h++) {
      double[] weights = weights(q, k, h, t);
      for (int c = 0; c < dim; c++) {
        read[h * dim + c] = weighted(weights, v, (h / group) * dim + c);
      }
    }
    return read;
  }

  private double[] readPairs(
      String layer, int index, double[][] q, double[][] k, double[][] v, int t) {
    double lambdaInit = 0.8 - 0.6 * Math.exp(-0.3 * index);
    double lambda =
        Math.exp(dot(layer + "self_attn.lambda_q1", layer + "self_attn.lambda_k1"))
            - Math.exp(dot(layer + "self_attn.lambda_q2", layer + "self_attn.lambda_k2"))
            + lambdaInit;
    int pairs = heads / 2;
    double[] read = new double[heads * dim];
    for (int p = 0; p < pairs; p++) {
      double[] weights = weights(q, k, p, t);
      double[] others = weights(q, k, p + pairs, t);
      for (int j = 0; j < weights.length; j++) {
        weights[j] -= lambda * others[j];
      }
      double[] both = new double[2 * dim];
      for (int c = 0; c < dim; c++) {
        both[c] = weighted(weights, v, (p / group) * dim + c);
        both[dim + c] = weighted(weights, v, ((p + pairs) / group) * dim + c);
      }
      double[] normed = norm(both, null);
      for (int c = 0; c < 2 * dim; c++) {
        read[p * 2 * dim + c] = (1 - lambdaInit) * normed[c];
      }
    }
    return read;
  }

  /** Of one head and token over all tokens up to itself. */
  private double[] weights(double[][] q, double[][] k, int head, int t) {
    double[] weights = new double[t + 1];
    double sum = 0;
    for (int j = 0; j <= t; j++) {
      double score = 0;
      for (int c = 0; c < dim; c++) {
        score += q[t][head * dim + c] * k[j][(head / group) * dim + c];
      }
      weights[j] = Math.exp(score / Math.sqrt(dim));
      sum += weights[j];
    }
    for (int j = 0; j <= t; j++) {
      weights[j] /= sum;
    }
    return weights;
  }

  private static double weighted(double[] weights, double[][] v, int channel) {
    double sum = 0;
    for (int j = 0; j < weights.length; j++) {
      sum += weights[j] * v[j][channel];
    }
    return sum;
  }

  /** Every head of the row, channel i with channel i + dim / 2. */
  private double[] turned(double[] row, int position) {
    double base = Double.parseDouble(tiny.config.get("rope_theta"));
    double[] turned = row.clone();
    for (int h = 0; h < row.length / dim; h++) {
      for (int i = 0; i < dim / 2; i++) {
        double frequency =
            tiny.rotaryFrequencies == null
                ? Math.pow(base, -2.0 * i / dim)
                : tiny.rotaryFrequencies[i];
        double cos = tiny.rotaryMagnitude * Math.cos(position * frequency);
        double sin = tiny.rotaryMagnitude * Math.sin(position * frequency);
        double a = row[h * dim + i];
        double b = row[h * dim + i + dim / 2];
        turned[h * dim + i] = a * cos - b * sin;
        turned[h * dim + i + dim / 2] = b * cos + a * sin;
      }
    }
    return turned;
  }

  private double[] norm(double[] row, double[] weight) {
    double square = 0;
    for (double value : row) {
      square += value * value;
    }
    double[] normed = new double[row.length];
    for (int i = 0; i < row.length; i++) {
      normed[i] = row[i] / Math.sqrt(square / row.length + epsilon);
      if (weight != null) {
        normed[i] *= weight[i];
      }
    }
    return normed;
  }

  private double[] linear(String name, double[] row) {
    double[] weight = values(name + ".weight");
    double[] out = new double[weight.length / row.length];
    if (tiny.tensors.containsKey(name + ".bias")) {
      out = values(name + ".bias");
    }
    for (int o = 0; o < out.length; o++) {
      for (int i = 0; i < row.length; i++) {
        out[o] += weight[o * row.length + i] * row[i];
      }
    }
    return out;
  }

  private double dot(String a, String b) {
    double[] other = values(b);
    double sum = 0;
    for (int i = 0; i < other.length; i++) {
      sum += values(a)[i] * other[i];
    }
    return sum;
  }

  private static void add(double[] to, double[] row) {
    for (int i = 0; i < to.length; i++) {
      to[i] += row[i];
    }
  }

  private double[] values(String name) {
    float[] floats = tiny.tensors.get(name).toFloatArray();
    double[] values = new double[floats.length];
    for (int i = 0; i < floats.length; i++) {
      values[i] = floats[i];
    }
    return values;
  }
}
