package io.github.attention4j.bench;

import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.Random;

/**
 * A whole encoder with random weights, read from a line of {@code shapes/models.txt}.
 *
 * @param name what the tables call it
 * @param family {@code bert} or {@code modernbert}
 * @param hidden width of the feed-forward network
 * @param source what such a call is
 */
record ModelShape(
    String name,
    String family,
    int batch,
    int length,
    int layers,
    int width,
    int heads,
    int hidden,
    String source) {

  static final float EPSILON = 1e-5f;
  static final int VOCABULARY = 2000;
  static final int POSITIONS = 512;

  /** ModernBERT: every third layer attends to all tokens, the others to 64 on each side. */
  static final int GLOBAL_EVERY = 3;

  static final int WINDOW = 64;
  static final double GLOBAL_THETA = 160_000;
  static final double LOCAL_THETA = 10_000;

  static List<ModelShape> all() {
    return Shape.lines("models").stream().map(ModelShape::parse).toList();
  }

  private static ModelShape parse(String line) {
    String[] words = line.strip().split("\\s+", 9);
    return new ModelShape(
        words[0],
        words[1],
        Integer.parseInt(words[2]),
        Integer.parseInt(words[3]),
        Integer.parseInt(words[4]),
        Integer.parseInt(words[5]),
        Integer.parseInt(words[6]),
        Integer.parseInt(words[7]),
        words[8]);
  }

  boolean isBert() {
    return family.equals("bert");
  }

  boolean isGlobal(int layer) {
    return isBert() || layer % GLOBAL_EVERY == 0;
  }

  int dim() {
    return width / heads;
  }

  double flops() {
    double rows = (double) batch * length;
    double matrices = 4.0 * width * width + (isBert() ? 2.0 : 3.0) * width * hidden;
    double keys = 0;
    for (int layer = 0; layer < layers; layer++) {
      for (int i = 0; i < length; i++) {
        keys +=
            isGlobal(layer)
                ? length
                : Math.min(length - 1, i + WINDOW) - Math.max(0, i - WINDOW) + 1;
      }
    }
    return 2 * rows * layers * matrices + 4 * batch * keys * width;
  }

  /** {@code [batch · length]}, drawn from the vocabulary. */
  int[] tokens() {
    return new Random(50).ints((long) batch * length, 0, VOCABULARY).toArray();
  }

  /** A matrix or vector of weights, row by row. */
  record Weight(float[] values, long... shape) {}

  /** All weights under Hugging Face's names. */
  Map<String, Weight> weights() {
    Map<String, Weight> weights = new LinkedHashMap<>();
    if (isBert()) {
      bert(weights);
    } else {
      modernBert(weights);
    }
    return weights;
  }

  private void bert(Map<String, Weight> weights) {
    String embeddings = "embeddings.";
    matrix(weights, embeddings + "word_embeddings", VOCABULARY, width);
    matrix(weights, embeddings + "position_embeddings", POSITIONS, width);
    matrix(weights, embeddings + "token_type_embeddings", 2, width);
    norm(weights, embeddings + "LayerNorm", true);
    for (int i = 0; i < layers; i++) {
      String layer = "encoder.layer." + i + ".";
      for (String part : List.of("query", "key", "value")) {
        dense(weights, layer + "attention.self." + part, width, width);
      }
      dense(weights, layer + "attention.output.dense", width, width);
      norm(weights, layer + "attention.output.LayerNorm", true);
      dense(weights, layer + "intermediate.dense", hidden, width);
      dense(weights, layer + "output.dense", width, hidden);
      norm(weights, layer + "output.LayerNorm", true);
    }
  }

  private void modernBert(Map<String, Weight> weights) {
    matrix(weights, "embeddings.tok_embeddings", VOCABULARY, width);
    norm(weights, "embeddings.norm", false);
    for (int i = 0; i < layers; i++) {
      String layer = "layers." + i + ".";
      if (i > 0) {
        norm(weights, layer + "attn_norm", false);
      }
      matrix(weights, layer + "attn.Wqkv", 3 * width, width);
      matrix(weights, layer + "attn.Wo", width, width);
      norm(weights, layer + "mlp_norm", false);
      matrix(weights, layer + "mlp.Wi", 2 * hidden, width);
      matrix(weights, layer + "mlp.Wo", width, hidden);
    }
    norm(weights, "final_norm", false);
  }

  private static void matrix(Map<String, Weight> weights, String name, int out, int in) {
    float[] values = EncoderShape.scaled(100 + weights.size(), out, in);
    weights.put(name + ".weight", new Weight(values, out, in));
  }

  private static void vector(Map<String, Weight> weights, String name, int size, float mean) {
    float[] values = Inputs.normal(new Random(100 + weights.size()), size);
    for (int i = 0; i < size; i++) {
      values[i] = mean + 0.1f * values[i];
    }
    weights.put(name, new Weight(values, size));
  }

  private static void dense(Map<String, Weight> weights, String name, int out, int in) {
    matrix(weights, name, out, in);
    vector(weights, name + ".bias", out, 0);
  }

  private void norm(Map<String, Weight> weights, String name, boolean bias) {
    vector(weights, name + ".weight", width, 1);
    if (bias) {
      vector(weights, name + ".bias", width, 0);
    }
  }

  /** The configuration as Hugging Face's Transformers writes it. */
  String config() {
    return isBert()
        ? """
        {"model_type": "bert", "vocab_size": %d, "hidden_size": %d, "num_hidden_layers": %d,
         "num_attention_heads": %d, "intermediate_size": %d, "max_position_embeddings": %d,
         "type_vocab_size": 2, "layer_norm_eps": %s}
        """
            .formatted(VOCABULARY, width, layers, heads, hidden, POSITIONS, EPSILON)
        : """
        {"model_type": "modernbert", "vocab_size": %d, "hidden_size": %d, "num_hidden_layers": %d,
         "num_attention_heads": %d, "intermediate_size": %d, "max_position_embeddings": %d,
         "norm_eps": %s, "local_attention": %d, "global_attn_every_n_layers": %d,
         "global_rope_theta": %s, "local_rope_theta": %s}
        """
            .formatted(
                VOCABULARY,
                width,
                layers,
                heads,
                hidden,
                POSITIONS,
                EPSILON,
                2 * WINDOW,
                GLOBAL_EVERY,
                GLOBAL_THETA,
                LOCAL_THETA);
  }
}
