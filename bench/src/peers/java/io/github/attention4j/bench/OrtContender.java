package io.github.attention4j.bench;

import static io.github.attention4j.bench.OnnxGraph.INT32;
import static io.github.attention4j.bench.OnnxGraph.MICROSOFT;

import ai.onnxruntime.OrtException;
import java.util.ArrayList;
import java.util.HashMap;
import java.util.List;
import java.util.Map;

/**
 * ONNX Runtime: attention through each operator that fits, with inputs in the layout that suits it
 * best; 16 bits are float16, because it has no bfloat16 on CPUs.
 */
final class OrtContender implements Contender {
  /** Operators that keep the whole matrix of scores are skipped if it takes more bytes. */
  private static final double MOST_SCORE_BYTES = 2e9;

  private final int threads;

  OrtContender(int threads) {
    this.threads = threads;
  }

  @Override
  public String about() {
    return "ONNX Runtime "
        + OrtWay.environment().getVersion()
        + ", intra-op threads "
        + threads
        + ", inter-op 1, all optimizations, pinned outputs";
  }

  @Override
  public List<Opening> ways(Workload workload) {
    Storage storage = workload.storage();
    return switch (workload) {
      case Workload.Product product -> OrtProducts.ways(product, threads);
      case Workload.Prefill prefill -> prefill(prefill.shape(), storage);
      case Workload.Step step -> storage == Storage.I8 ? List.of() : step(step.shape(), storage);
      case Workload.Pairs pairs -> storage == Storage.F32 ? pairs(pairs.shape()) : List.of();
      case Workload.Layer layer ->
          storage == Storage.F32 ? OrtBlocks.layer(layer.layer(), threads) : List.of();
      case Workload.Encoder encoder -> OrtBlocks.encoder(encoder.block(), threads);
      case Workload.Decoder decoder -> OrtBlocks.decoder(decoder.block(), threads);
      case Workload.Texts texts -> List.of(() -> new OrtTexts(texts.texts(), threads));
      case Workload.Model model -> List.of(() -> OrtModels.open(model.model(), threads));
    };
  }

  private static int type(Storage storage) {
    return storage == Storage.F32 ? OnnxGraph.FLOAT : OnnxGraph.FLOAT16;
  }

  private static String name(String operator, Storage storage) {
    return storage == Storage.F32 ? operator : operator + " f16";
  }

  private List<Opening> prefill(Shape shape, Storage storage) {
    List<Opening> ways = new ArrayList<>();
    double scores = 4.0 * shape.batch() * shape.headsQ() * shape.lenQ() * shape.lenK();
    if (!shape.causal() || scores <= MOST_SCORE_BYTES) {
      ways.add(() -> attention23(shape, storage));
      if (shape.headsQ() == shape.headsK()) {
        ways.add(() -> multiHead(shape, storage));
      }
    }
    if (shape.causal()) {
      ways.add(() -> groupQuery(shape, storage, 0));
    }
    return ways;
  }

  private List<Opening> step(Shape shape, Storage storage) {
    List<Opening> ways = new ArrayList<>();
    ways.add(() -> attention23(shape, storage));
    if (shape.headsQ() == shape.headsK()) {
      ways.add(() -> multiHeadCache(shape, storage));
    }
    // One more key and value into a cache that holds all others.
    ways.add(() -> groupQuery(shape, storage, shape.lenK() - shape.lenQ()));
    return ways;
  }

  /** The operator of the ONNX standard. */
  private OrtWay attention23(Shape s, Storage storage) throws OrtException {
    Inputs in = SharedInputs.of(s, storage);
    OnnxGraph graph = new OnnxGraph();
    long[] q = {s.batch(), s.headsQ(), s.lenQ(), s.dimQk()};
    long[] k = {s.batch(), s.headsK(), s.lenK(), s.dimQk()};
    long[] v = {s.batch(), s.headsV(), s.lenK(), s.dimV()};
    String out =
        graph.node(
            "",
            "Attention",
            List.of(
                graph.input("q", type(storage), q),
                graph.input("k", type(storage), k),
                graph.input("v", type(storage), v)),
            Map.of("is_causal", s.causal() ? 1 : 0, "scale", s.scale()));
    graph.output(type(storage), out, s.batch(), s.headsQ(), s.lenQ(), s.dimV());
    return new OrtWay(name("Attention23", storage), graph, threads)
        .with("q", storage, in.q(), q)
        .with("k", storage, in.k(), k)
        .with("v", storage, in.v(), v);
  }

  /** Rows of all heads side by side. */
  private OrtWay multiHead(Shape s, Storage storage) throws OrtException {
    Inputs in = SharedInputs.of(s, storage);
    OnnxGraph graph = new OnnxGraph();
    long[] q = {s.batch(), s.lenQ(), (long) s.headsQ() * s.dimQk()};
    long[] k = {s.batch(), s.lenK(), (long) s.headsK() * s.dimQk()};
    long[] v = {s.batch(), s.lenK(), (long) s.headsV() * s.dimV()};
    String out =
        graph.node(
            MICROSOFT,
            "MultiHeadAttention",
            List.of(
                graph.input("q", type(storage), q),
                graph.input("k", type(storage), k),
                graph.input("v", type(storage), v)),
            multiHeadAttributes(s));
    graph.output(type(storage), out, s.batch(), s.lenQ(), (long) s.headsQ() * s.dimV());
    return new OrtWay(name("MHA", storage), graph, threads)
        .with(
            "q", storage, Layouts.rowsFirst(in.q(), s.batch(), s.headsQ(), s.lenQ(), s.dimQk()), q)
        .with(
            "k", storage, Layouts.rowsFirst(in.k(), s.batch(), s.headsK(), s.lenK(), s.dimQk()), k)
        .with("v", storage, Layouts.rowsFirst(in.v(), s.batch(), s.headsV(), s.lenK(), s.dimV()), v)
        .layout(r -> Layouts.headsFirst(r, s.batch(), s.headsQ(), s.lenQ(), s.dimV()));
  }

  private static Map<String, Object> multiHeadAttributes(Shape s) {
    return Map.of(
        "num_heads", s.headsQ(), "unidirectional", s.causal() ? 1 : 0, "scale", s.scale());
  }

  /** Keys and values head by head, as a cache has them. */
  private OrtWay multiHeadCache(Shape s, Storage storage) throws OrtException {
    Inputs in = SharedInputs.of(s, storage);
    OnnxGraph graph = new OnnxGraph();
    long[] q = {s.batch(), s.lenQ(), (long) s.headsQ() * s.dimQk()};
    long[] k = {s.batch(), s.headsK(), s.lenK(), s.dimQk()};
    long[] v = {s.batch(), s.headsV(), s.lenK(), s.dimV()};
    String out =
        graph.node(
            MICROSOFT,
            "MultiHeadAttention",
            List.of(
                graph.input("q", type(storage), q),
                graph.input("k", type(storage), k),
                graph.input("v", type(storage), v)),
            multiHeadAttributes(s));
    graph.output(type(storage), out, s.batch(), s.lenQ(), (long) s.headsQ() * s.dimV());
    return new OrtWay(name("MHA", storage), graph, threads)
        .with(
            "q", storage, Layouts.rowsFirst(in.q(), s.batch(), s.headsQ(), s.lenQ(), s.dimQk()), q)
        .with("k", storage, in.k(), k)
        .with("v", storage, in.v(), v)
        .layout(r -> Layouts.headsFirst(r, s.batch(), s.headsQ(), s.lenQ(), s.dimV()));
  }

  /**
   * Causal by nature. The cache has room for all keys; what is appended is written into it, in
   * place.
   */
  private OrtWay groupQuery(Shape s, Storage storage, int past) throws OrtException {
    Inputs in = SharedInputs.of(s, storage);
    OnnxGraph graph = new OnnxGraph();
    int fresh = s.lenK() - past;
    long[] q = {s.batch(), s.lenQ(), (long) s.headsQ() * s.dimQk()};
    long[] kv = {s.batch(), fresh, (long) s.headsK() * s.dimQk()};
    long[] cache = {s.batch(), s.headsK(), s.lenK(), s.dimQk()};
    String out = "out";
    graph.nodes(
        MICROSOFT,
        "GroupQueryAttention",
        List.of(
            graph.input("q", type(storage), q),
            graph.input("k", type(storage), kv),
            graph.input("v", type(storage), kv),
            graph.input("past_key", type(storage), cache),
            graph.input("past_value", type(storage), cache),
            graph.input("seqlens_k", INT32, s.batch()),
            graph.input("total", INT32, 1)),
        new HashMap<>(
            Map.of("num_heads", s.headsQ(), "kv_num_heads", s.headsK(), "scale", s.scale())),
        List.of(out, "present_key", "present_value"));
    graph.output(type(storage), out, s.batch(), s.lenQ(), (long) s.headsQ() * s.dimV());
    graph.output(type(storage), "present_key", cache);
    graph.output(type(storage), "present_value", cache);
    int[] lengths = new int[s.batch()];
    java.util.Arrays.fill(lengths, s.lenK() - 1);
    int heads = s.batch() * s.headsK();
    float[] freshK = Layouts.rows(in.k(), heads, s.lenK(), s.dimQk(), past, fresh);
    float[] freshV = Layouts.rows(in.v(), heads, s.lenK(), s.dimV(), past, fresh);
    return new OrtWay(name("GQA", storage), graph, threads)
        .with(
            "q", storage, Layouts.rowsFirst(in.q(), s.batch(), s.headsQ(), s.lenQ(), s.dimQk()), q)
        .with("k", storage, Layouts.rowsFirst(freshK, s.batch(), s.headsK(), fresh, s.dimQk()), kv)
        .with("v", storage, Layouts.rowsFirst(freshV, s.batch(), s.headsV(), fresh, s.dimV()), kv)
        .with("past_key", storage, in.k(), cache)
        .with("past_value", storage, in.v(), cache)
        .with("seqlens_k", lengths, s.batch())
        .with("total", new int[] {s.lenK()}, 1)
        .inPlace("present_key", "past_key")
        .inPlace("present_value", "past_value")
        .layout(r -> Layouts.headsFirst(r, s.batch(), s.headsQ(), s.lenQ(), s.dimV()));
  }

  /** Two attentions over the same values, and a subtraction. */
  private List<Opening> pairs(Shape s) {
    return List.of(() -> pairsOfMultiHead(s), () -> pairsOfAttention23(s));
  }

  private OrtWay pairsOfMultiHead(Shape s) throws OrtException {
    Inputs in = SharedInputs.of(s.unpaired());
    OnnxGraph graph = new OnnxGraph();
    long[] row = {s.batch(), s.lenQ(), (long) s.headsQ() * s.dimQk()};
    long[] v = {s.batch(), s.lenK(), (long) s.headsV() * s.dimV()};
    String values = graph.input("v", v);
    List<String> maps = new ArrayList<>();
    for (int map = 0; map < 2; map++) {
      maps.add(
          graph.node(
              MICROSOFT,
              "MultiHeadAttention",
              List.of(graph.input("q" + map, row), graph.input("k" + map, row), values),
              multiHeadAttributes(s)));
    }
    graph.output(difference(graph, maps), s.batch(), s.lenQ(), (long) s.headsQ() * s.dimV());
    OrtWay way =
        new OrtWay("2 MHA", graph, threads)
            .with("v", Layouts.rowsFirst(in.v(), s.batch(), s.headsV(), s.lenK(), s.dimV()), v)
            .layout(r -> Layouts.headsFirst(r, s.batch(), s.headsQ(), s.lenQ(), s.dimV()));
    for (int map = 0; map < 2; map++) {
      way.with("q" + map, rows(s, half(s, in.q(), map)), row);
      way.with("k" + map, rows(s, half(s, in.k(), map)), row);
    }
    return way;
  }

  private OrtWay pairsOfAttention23(Shape s) throws OrtException {
    Inputs in = SharedInputs.of(s.unpaired());
    OnnxGraph graph = new OnnxGraph();
    long[] row = {s.batch(), s.headsQ(), s.lenQ(), s.dimQk()};
    long[] v = {s.batch(), s.headsV(), s.lenK(), s.dimV()};
    String values = graph.input("v", v);
    List<String> maps = new ArrayList<>();
    for (int map = 0; map < 2; map++) {
      maps.add(
          graph.node(
              "",
              "Attention",
              List.of(graph.input("q" + map, row), graph.input("k" + map, row), values),
              Map.of("is_causal", s.causal() ? 1 : 0, "scale", s.scale())));
    }
    graph.output(difference(graph, maps), s.batch(), s.headsQ(), s.lenQ(), s.dimV());
    OrtWay way = new OrtWay("2 Attention23", graph, threads).with("v", in.v(), v);
    for (int map = 0; map < 2; map++) {
      way.with("q" + map, half(s, in.q(), map), row);
      way.with("k" + map, half(s, in.k(), map), row);
    }
    return way;
  }

  private static String difference(OnnxGraph graph, List<String> maps) {
    String second = graph.node("Mul", maps.get(1), graph.weight(new float[] {Fused.LAMBDA}, 1));
    return graph.node("Sub", maps.get(0), second);
  }

  /** The heads of one map of each pair. */
  private static float[] half(Shape s, float[] heads, int map) {
    return Layouts.everySecondHead(heads, map, s.batch(), 2 * s.headsQ(), s.lenQ(), s.dimQk());
  }

  private static float[] rows(Shape s, float[] heads) {
    return Layouts.rowsFirst(heads, s.batch(), s.headsQ(), s.lenQ(), s.dimQk());
  }
}
