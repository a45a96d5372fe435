package io.github.attention4j.bench;

import static io.github.attention4j.bench.OnnxGraph.INT32;
import static io.github.attention4j.bench.OnnxGraph.MICROSOFT;

import ai.onnxruntime.OrtException;
import java.util.List;
import java.util.Map;

/**
 * Layers and blocks in ONNX Runtime, built from its fused operators; weights are constants, so that
 * it packs them in advance.
 */
final class OrtBlocks {
  private OrtBlocks() {}

  static List<Contender.Opening> layer(LayerShape shape, int threads) {
    return List.of(
        () -> layer(shape, threads, "Attention"),
        () -> layer(shape, threads, "MHA"),
        () -> layer(shape, threads, "Attention23"));
  }

  private static OrtWay layer(LayerShape shape, int threads, String kind) throws OrtException {
    JavaLayer.Weights weights = new JavaLayer.Weights(shape);
    OnnxGraph graph = new OnnxGraph();
    long[] size = {shape.batch(), shape.length(), shape.width()};
    String x = graph.input("x", size);
    graph.output(attention(graph, x, shape, weights, kind), size);
    return new OrtWay(kind, graph, threads).with("x", weights.x(), size);
  }

  /** Projections, attention, projection. */
  private static String attention(
      OnnxGraph graph, String x, LayerShape shape, JavaLayer.Weights weights, String kind) {
    String heads =
        switch (kind) {
          case "Attention" -> fused(graph, x, shape, weights);
          case "MHA" -> multiHead(graph, x, shape, weights);
          default -> attention23(graph, x, shape, weights);
        };
    return dense(graph, heads, weights.weight()[3], weights.bias()[3]);
  }

  /** One operator for three projections and attention. */
  private static String fused(
      OnnxGraph graph, String x, LayerShape shape, JavaLayer.Weights weights) {
    int width = shape.width();
    float[] all = FusedBlock.first3(weights.weight());
    return graph.node(
        MICROSOFT,
        "Attention",
        List.of(
            x,
            graph.weight(Layouts.transposed(all, 3 * width, width), width, 3L * width),
            graph.weight(FusedBlock.first3(weights.bias()), 3L * width)),
        Map.of("num_heads", shape.heads(), "unidirectional", shape.causal() ? 1 : 0));
  }

  private static String multiHead(
      OnnxGraph graph, String x, LayerShape shape, JavaLayer.Weights weights) {
    return graph.node(
        MICROSOFT,
        "MultiHeadAttention",
        List.of(
            product(graph, x, weights.weight()[0], shape.width()),
            product(graph, x, weights.weight()[1], shape.width()),
            product(graph, x, weights.weight()[2], shape.width()),
            graph.weight(FusedBlock.first3(weights.bias()), 3L * shape.width())),
        Map.of("num_heads", shape.heads(), "unidirectional", shape.causal() ? 1 : 0));
  }

  private static String attention23(
      OnnxGraph graph, String x, LayerShape shape, JavaLayer.Weights weights) {
    return graph.node(
        "",
        "Attention",
        List.of(
            dense(graph, x, weights.weight()[0], weights.bias()[0]),
            dense(graph, x, weights.weight()[1], weights.bias()[1]),
            dense(graph, x, weights.weight()[2], weights.bias()[2])),
        Map.of(
            "q_num_heads",
            shape.heads(),
            "kv_num_heads",
            shape.heads(),
            "is_causal",
            shape.causal() ? 1 : 0));
  }

  /** {@code x · wᵀ} for w [out, in]. */
  private static String product(OnnxGraph graph, String x, float[] w, int in) {
    int out = w.length / in;
    return graph.node("MatMul", x, graph.weight(Layouts.transposed(w, out, in), in, out));
  }

  private static String dense(OnnxGraph graph, String x, float[] w, float[] bias) {
    String y = product(graph, x, w, w.length / bias.length);
    return graph.node("Add", y, graph.weight(bias, bias.length));
  }

  static List<Contender.Opening> encoder(EncoderShape shape, int threads) {
    return List.of(
        () -> encoder(shape, threads, "Attention"),
        () -> encoder(shape, threads, "MHA"),
        () -> encoder(shape, threads, "Attention23"));
  }

  private static OrtWay encoder(EncoderShape shape, int threads, String kind) throws OrtException {
    EncoderShape.Weights w = new EncoderShape.Weights(shape);
    OnnxGraph graph = new OnnxGraph();
    long[] size = {shape.batch(), shape.length(), shape.width()};
    String x = graph.input("x", size);
    String read = attention(graph, x, shape.attention(), w.attention(), kind);
    String y = addNorm(graph, x, read, w.norm1Weight(), w.norm1Bias());
    String hidden = graph.node("Relu", dense(graph, y, w.up(), w.upBias()));
    String added = dense(graph, hidden, w.down(), w.downBias());
    graph.output(addNorm(graph, y, added, w.norm2Weight(), w.norm2Bias()), size);
    return new OrtWay(kind, graph, threads).with("x", w.attention().x(), size);
  }

  private static String addNorm(OnnxGraph graph, String x, String y, float[] weight, float[] bias) {
    return graph.node(
        MICROSOFT,
        "SkipLayerNormalization",
        List.of(x, y, graph.weight(weight, weight.length), graph.weight(bias, bias.length)),
        Map.of("epsilon", EncoderShape.EPSILON));
  }

  static List<Contender.Opening> decoder(DecoderShape shape, int threads) {
    return List.of(() -> decoderOfGroupQuery(shape, threads));
  }

  private static OrtWay decoderOfGroupQuery(DecoderShape s, int threads) throws OrtException {
    DecoderShape.Weights w = new DecoderShape.Weights(s);
    OnnxGraph graph = new OnnxGraph();
    long[] size = {1, s.tokens(), s.width()};
    long[] cache = {1, s.headsKv(), s.keys(), s.dim()};
    int half = s.dim() / 2;
    String x = graph.input("x", size);
    String normed = rmsNorm(graph, x, w.norm1());
    graph.nodes(
        MICROSOFT,
        "GroupQueryAttention",
        List.of(
            product(graph, normed, FusedBlock.joined(w.query(), w.key(), w.value()), s.width()),
            "",
            "",
            graph.input("past_key", cache),
            graph.input("past_value", cache),
            graph.input("seqlens_k", INT32, 1),
            graph.input("total", INT32, 1),
            graph.weight(s.angles(Math::cos), s.keys(), half),
            graph.weight(s.angles(Math::sin), s.keys(), half)),
        Map.of("num_heads", s.heads(), "kv_num_heads", s.headsKv(), "do_rotary", 1),
        List.of("read", "present_key", "present_value"));
    String read = product(graph, "read", w.out(), s.width());
    String added = graph.node("Add", x, read);
    String normed2 = rmsNorm(graph, added, w.norm2());
    String gate = product(graph, normed2, w.gate(), s.width());
    String up = product(graph, normed2, w.up(), s.width());
    String silu = graph.node(MICROSOFT, "QuickGelu", List.of(gate), Map.of("alpha", 1f));
    String down = product(graph, graph.node("Mul", silu, up), w.down(), s.hidden());
    graph.output(graph.node("Add", added, down), size);
    graph.output("present_key", cache);
    graph.output("present_value", cache);
    return new OrtWay("GQA", graph, threads)
        .with("x", w.x(), size)
        .with("past_key", room(s, w.keys()), cache)
        .with("past_value", room(s, w.values()), cache)
        .with("seqlens_k", new int[] {s.keys() - 1}, 1)
        .with("total", new int[] {s.keys()}, 1)
        .inPlace("present_key", "past_key")
        .inPlace("present_value", "past_value");
  }

  private static float[] room(DecoderShape s, float[] cached) {
    return Layouts.withRoom(cached, s.headsKv(), s.start(), s.keys(), s.dim());
  }

  private static String rmsNorm(OnnxGraph graph, String x, float[] weight) {
    return graph.node(
        "",
        "SimplifiedLayerNormalization",
        List.of(x, graph.weight(weight, weight.length)),
        Map.of("axis", -1, "epsilon", DecoderShape.EPSILON));
  }
}
