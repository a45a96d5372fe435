package io.github.attention4j.bench;

import static io.github.attention4j.bench.OnnxGraph.MICROSOFT;

import ai.onnxruntime.OrtException;
import java.util.List;
import java.util.Map;

/** Projections in ONNX Runtime: weights of float32, and of 8 and 4 bits in its own operator. */
final class OrtProducts {
  private static final int GROUP = 32;

  private OrtProducts() {}

  static List<Contender.Opening> ways(Workload.Product product, int threads) {
    return switch (product.storage()) {
      case F32 -> List.of(() -> RotatingWay.of(product, () -> floats(product.shape(), threads)));
      case I8 -> quantized(product, 8, threads);
      case I4 -> quantized(product, 4, threads);
      case BF16, F16 -> List.of();
    };
  }

  private static OrtWay floats(Projection s, int threads) throws OrtException {
    OnnxGraph graph = new OnnxGraph();
    long[] size = {s.rows(), s.dimIn()};
    float[] weight = Layouts.transposed(SharedRows.weight(s), s.dimOut(), s.dimIn());
    String y =
        graph.node("MatMul", graph.input("x", size), graph.weight(weight, s.dimIn(), s.dimOut()));
    graph.output(y, s.rows(), s.dimOut());
    return new OrtWay("", graph, threads).with("x", SharedRows.x(s), size);
  }

  /** Computed in float32, or with x rounded to 8 bits: the operator's levels of accuracy. */
  private static List<Contender.Opening> quantized(
      Workload.Product product, int bits, int threads) {
    return List.of(
        () -> quantized(product, bits, 1, "float32", threads),
        () -> quantized(product, bits, 4, "x of 8 bits", threads));
  }

  private static Way quantized(
      Workload.Product product, int bits, int accuracy, String name, int threads) throws Exception {
    Projection s = product.shape();
    byte[] codes = new byte[s.dimOut() * s.dimIn() * bits / 8];
    float[] scales = new float[s.dimOut() * s.dimIn() / GROUP];
    quantize(SharedRows.weight(s), bits, codes, scales);
    return RotatingWay.of(
        product, () -> quantized(s, bits, accuracy, codes, scales, name, threads));
  }

  private static OrtWay quantized(
      Projection s, int bits, int accuracy, byte[] codes, float[] scales, String name, int threads)
      throws OrtException {
    int groups = s.dimIn() / GROUP;
    OnnxGraph graph = new OnnxGraph();
    long[] size = {s.rows(), s.dimIn()};
    String y =
        graph.node(
            MICROSOFT,
            "MatMulNBits",
            List.of(
                graph.input("x", size),
                graph.weight(codes, s.dimOut(), groups, (long) GROUP * bits / 8),
                graph.weight(scales, (long) s.dimOut() * groups)),
            Map.of(
                "K", s.dimIn(),
                "N", s.dimOut(),
                "bits", bits,
                "block_size", GROUP,
                "accuracy_level", accuracy));
    graph.output(y, s.rows(), s.dimOut());
    return new OrtWay(name, graph, threads).with("x", SharedRows.x(s), size);
  }

  /** Symmetric, codes stored above a zero point; of two 4-bit codes the first is the lower half. */
  private static void quantize(float[] weight, int bits, byte[] codes, float[] scales) {
    int most = (1 << bits - 1) - 1;
    for (int g = 0; g < scales.length; g++) {
      float largest = 0;
      for (int i = g * GROUP; i < (g + 1) * GROUP; i++) {
        largest = Math.max(largest, Math.abs(weight[i]));
      }
      scales[g] = largest / most;
      for (int i = g * GROUP; i < (g + 1) * GROUP; i++) {
        int code = Math.round(weight[i] / scales[g]) + most + 1;
        codes[i * bits / 8] |= (byte) (bits == 8 ? code : code << i % 2 * 4);
      }
    }
  }
}
