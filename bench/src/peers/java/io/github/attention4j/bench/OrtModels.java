package io.github.attention4j.bench;

import static io.github.attention4j.bench.OnnxGraph.INT32;
import static io.github.attention4j.bench.OnnxGraph.MICROSOFT;

import ai.onnxruntime.OrtException;
import java.util.Arrays;
import java.util.List;
import java.util.Map;
import java.util.function.DoubleUnaryOperator;

/** Whole encoders in ONNX Runtime, built from its fused operators. */
final class OrtModels {
  private final ModelShape shape;
  private final Map<String, ModelShape.Weight> weights;
  private final OnnxGraph graph = new OnnxGraph();

  private OrtModels(ModelShape shape) {
    this.shape = shape;
    this.weights = shape.weights();
  }

  static OrtWay open(ModelShape shape, int threads) throws OrtException {
    OrtModels model = new OrtModels(shape);
    long[] ids = {shape.batch(), shape.length()};
    String x = shape.isBert() ? model.bert(ids) : model.modernBert(ids);
    model.graph.output(x, shape.batch(), shape.length(), shape.width());
    OrtWay way = new OrtWay("", model.graph, threads).with("ids", shape.tokens(), ids);
    return shape.isBert() ? way.with("types", new int[shape.batch() * shape.length()], ids) : way;
  }

  private float[] values(String name) {
    return weights.get(name).values();
  }

  private String vector(String name) {
    return graph.weight(values(name), values(name).length);
  }

  private String table(String name) {
    return graph.weight(values(name), weights.get(name).shape());
  }

  /** {@code x · wᵀ}. */
  private String product(String x, float[] w, int out) {
    int in = w.length / out;
    return graph.node("MatMul", x, graph.weight(Layouts.transposed(w, out, in), in, out));
  }

  private String product(String x, String name, int out) {
    return product(x, values(name + ".weight"), out);
  }

  // ---- BERT ----

  private String bert(long[] ids) {
    String e = "embeddings.";
    graph.nodes(
        MICROSOFT,
        "EmbedLayerNormalization",
        List.of(
            graph.input("ids", INT32, ids),
            graph.input("types", INT32, ids),
            table(e + "word_embeddings.weight"),
            table(e + "position_embeddings.weight"),
            table(e + "token_type_embeddings.weight"),
            vector(e + "LayerNorm.weight"),
            vector(e + "LayerNorm.bias")),
        Map.of("epsilon", ModelShape.EPSILON),
        List.of("embedded", "unused"));
    String x = "embedded";
    for (int i = 0; i < shape.layers(); i++) {
      x = bertLayer(x, "encoder.layer." + i + ".");
    }
    return x;
  }

  private String bertLayer(String x, String layer) {
    int width = shape.width();
    String self = layer + "attention.self.";
    float[] joined =
        FusedBlock.joined(
            values(self + "query.weight"),
            values(self + "key.weight"),
            values(self + "value.weight"));
    float[] bias =
        FusedBlock.joined(
            values(self + "query.bias"), values(self + "key.bias"), values(self + "value.bias"));
    String read =
        graph.node(
            MICROSOFT,
            "Attention",
            List.of(
                x,
                graph.weight(Layouts.transposed(joined, 3 * width, width), width, 3L * width),
                graph.weight(bias, 3L * width)),
            Map.of("num_heads", shape.heads()));
    String out = layer + "attention.output.";
    String y = addNorm(x, product(read, out + "dense", width), out);
    String up = product(y, layer + "intermediate.dense", shape.hidden());
    String hidden =
        graph.node(
            MICROSOFT,
            "BiasGelu",
            List.of(up, vector(layer + "intermediate.dense.bias")),
            Map.of());
    String down = layer + "output.";
    return addNorm(y, product(hidden, down + "dense", width), down);
  }

  /** {@code norm(x + y + bias)}. */
  private String addNorm(String x, String y, String name) {
    return graph.node(
        MICROSOFT,
        "SkipLayerNormalization",
        List.of(
            y,
            x,
            vector(name + "LayerNorm.weight"),
            vector(name + "LayerNorm.bias"),
            vector(name + "dense.bias")),
        Map.of("epsilon", ModelShape.EPSILON));
  }

  // ---- ModernBERT ----

  private String modernBert(long[] ids) {
    String embedded =
        graph.node(
            "Gather", table("embeddings.tok_embeddings.weight"), graph.input("ids", INT32, ids));
    String x = norm(embedded, "embeddings.norm");
    String first = graph.indices(0);
    String window = window();
    String[] global = angles(ModelShape.GLOBAL_THETA);
    String[] local = angles(ModelShape.LOCAL_THETA);
    for (int i = 0; i < shape.layers(); i++) {
      boolean all = shape.isGlobal(i);
      x = modernBertLayer(x, i, first, all ? global : local, all ? "" : window);
    }
    return norm(x, "final_norm");
  }

  private String norm(String x, String name) {
    return graph.node(
        "",
        "LayerNormalization",
        List.of(x, vector(name + ".weight")),
        Map.of("axis", -1, "epsilon", ModelShape.EPSILON));
  }

  /** What is added to the scores of local layers. */
  private String window() {
    int n = shape.length();
    float[] bias = new float[n * n];
    for (int i = 0; i < n; i++) {
      for (int j = 0; j < n; j++) {
        bias[i * n + j] = Math.abs(i - j) > ModelShape.WINDOW ? -1e30f : 0;
      }
    }
    return graph.weight(bias, 1, 1, n, n);
  }

  private String[] angles(double theta) {
    return new String[] {angles(theta, Math::cos), angles(theta, Math::sin)};
  }

  private String angles(double theta, DoubleUnaryOperator function) {
    int half = shape.dim() / 2;
    float[] table = new float[shape.length() * half];
    for (int position = 0; position < shape.length(); position++) {
      for (int i = 0; i < half; i++) {
        double angle = position * Math.pow(theta, -(double) i / half);
        table[position * half + i] = (float) function.applyAsDouble(angle);
      }
    }
    return graph.weight(table, shape.length(), half);
  }

  private String modernBertLayer(
      String x, int index, String first, String[] angles, String window) {
    String layer = "layers." + index + ".";
    int width = shape.width();
    String in = index == 0 ? x : norm(x, layer + "attn_norm");
    float[] all = values(layer + "attn.Wqkv.weight");
    String[] parts = new String[3];
    for (int i = 0; i < parts.length; i++) {
      int size = width * width;
      String part = product(in, Arrays.copyOfRange(all, i * size, (i + 1) * size), width);
      parts[i] = i == 2 ? part : rotated(part, first, angles);
    }
    String read =
        graph.node(
            MICROSOFT,
            "MultiHeadAttention",
            window.isEmpty()
                ? List.of(parts)
                : List.of(parts[0], parts[1], parts[2], "", "", window),
            Map.of("num_heads", shape.heads()));
    String y = graph.node("Add", x, product(read, layer + "attn.Wo", width));
    String normed = norm(y, layer + "mlp_norm");
    float[] both = values(layer + "mlp.Wi.weight");
    int half = both.length / 2;
    String gate = product(normed, Arrays.copyOf(both, half), shape.hidden());
    String up = product(normed, Arrays.copyOfRange(both, half, 2 * half), shape.hidden());
    String hidden = graph.node("Mul", graph.node(MICROSOFT, "Gelu", List.of(gate), Map.of()), up);
    return graph.node("Add", y, product(hidden, layer + "mlp.Wo", width));
  }

  private String rotated(String x, String first, String[] angles) {
    return graph.node(
        MICROSOFT,
        "RotaryEmbedding",
        List.of(x, first, angles[0], angles[1]),
        Map.of("num_heads", shape.heads(), "rotary_embedding_dim", shape.dim()));
  }
}
