package io.github.attention4j.bench;

import ai.djl.pytorch.jni.JniUtils;
import java.util.ArrayList;
import java.util.List;

/**
 * PyTorch: libtorch through DJL, each workload as a TorchScript program, in each form that could be
 * the fastest.
 */
final class TorchContender implements Contender {
  private final int threads;

  TorchContender(int threads) {
    this.threads = threads;
    TorchWay.engine();
    JniUtils.setNumInteropThreads(1);
    JniUtils.setNumThreads(threads);
    JniUtils.setGraphExecutorOptimize(false);
  }

  @Override
  public String about() {
    return "libtorch "
        + TorchWay.engine().getVersion()
        + " (MKL) through DJL, OMP threads "
        + JniUtils.getNumThreads()
        + ", inter-op "
        + JniUtils.getNumInteropThreads()
        + ", TorchScript";
  }

  @Override
  public List<Opening> ways(Workload workload) {
    Storage storage = workload.storage();
    if (storage != Storage.F32 && storage != Storage.BF16) {
      return List.of();
    }
    return switch (workload) {
      case Workload.Prefill prefill -> prefill(prefill.shape(), storage);
      case Workload.Step step -> step(step.shape(), storage);
      case Workload.Pairs pairs -> storage == Storage.F32 ? pairs(pairs.shape()) : List.of();
      case Workload.Layer layer -> TorchBlocks.layer(layer.layer(), storage);
      case Workload.Product product -> List.of(() -> TorchBlocks.product(product));
      case Workload.Encoder encoder -> TorchBlocks.encoder(encoder.block());
      case Workload.Decoder decoder -> TorchBlocks.decoder(decoder.block());
      case Workload.Texts texts -> List.of();
      case Workload.Model model -> List.of();
    };
  }

  /** PyTorch's own function, in its causal form if wanted. */
  static String sdpa(String q, String k, String v, boolean causal) {
    return "torch.scaled_dot_product_attention(%s, %s, %s, None, 0., %s)"
        .formatted(q, k, v, causal ? "True" : "False");
  }

  /** Two batched products around a softmax. */
  static String composed(String q, String k, String v, double scale) {
    String scores =
        "torch.matmul(torch.mul(%s, %s), torch.transpose(%s, -2, -1))"
            .formatted(q, Double.toString(scale), k);
    return "torch.matmul(torch.softmax(%s, -1), %s)".formatted(scores, v);
  }

  private static TorchWay arguments(String name, Shape s, Storage storage) {
    Inputs in = SharedInputs.of(s, storage);
    return new TorchWay(name)
        .with("q", storage, in.q(), s.batch(), s.headsQ(), s.lenQ(), s.dimQk())
        .with("k", storage, in.k(), s.batch(), s.headsK(), s.lenK(), s.dimQk())
        .with("v", storage, in.v(), s.batch(), s.headsV(), s.lenK(), s.dimV());
  }

  private static Opening way(String name, Shape shape, Storage storage, String body) {
    return () -> arguments(name, shape, storage).program(body);
  }

  private List<Opening> prefill(Shape s, Storage storage) {
    List<Opening> ways = new ArrayList<>();
    if (s.headsQ() != s.headsK()) {
      int group = s.headsQ() / s.headsK();
      ways.add(
          way(
              "rep",
              s,
              storage,
              "return " + sdpa("q", repeated("k", group), repeated("v", group), s.causal())));
      ways.add(way("gqa", s, storage, "return " + grouped("q", "k", "v", s.causal())));
    } else {
      ways.add(way("sdpa", s, storage, "return " + sdpa("q", "k", "v", s.causal())));
    }
    if (!s.causal() && s.lenK() <= 1024) {
      ways.add(way("bmm", s, storage, "return " + composed("q", "k", "v", s.scale())));
    }
    return ways;
  }

  private static String repeated(String heads, int group) {
    return "torch.repeat_interleave(%s, %d, 1)".formatted(heads, group);
  }

  private static String grouped(String q, String k, String v, boolean causal) {
    return "torch.scaled_dot_product_attention("
        + "%s, %s, %s, None, 0., %s, scale=None, enable_gqa=True)"
            .formatted(q, k, v, causal ? "True" : "False");
  }

  /** The heads of a group become rows of one matrix: they share keys and values. */
  private List<Opening> step(Shape s, Storage storage) {
    List<Opening> ways = new ArrayList<>();
    if (s.headsQ() == s.headsK()) {
      ways.add(way("sdpa", s, storage, "return " + sdpa("q", "k", "v", false)));
      ways.add(way("bmm", s, storage, "return " + composed("q", "k", "v", s.scale())));
      return ways;
    }
    String fold =
        "f = torch.reshape(q, [%d, %d, %d, %d])\n"
            .formatted(s.batch(), s.headsK(), s.headsQ() / s.headsK(), s.dimQk());
    String unfold =
        "\nreturn torch.reshape(o, [%d, %d, 1, %d])".formatted(s.batch(), s.headsQ(), s.dimV());
    ways.add(way("fold", s, storage, fold + "o = " + sdpa("f", "k", "v", false) + unfold));
    ways.add(way("bmm", s, storage, fold + "o = " + composed("f", "k", "v", s.scale()) + unfold));
    return ways;
  }

  /** Two attentions and a subtraction; the fast path wants values as wide as queries. */
  private static List<Opening> pairs(Shape s) {
    String lambda = Double.toString(Fused.LAMBDA);
    String both =
        """
        a = %s
        b = %s
        return torch.sub(a, torch.mul(b, %s))
        """;
    String split =
        """
        v1, v2 = torch.split(v, [%d, %d], 3)
        a = torch.cat([%s, %s], 3)
        b = torch.cat([%s, %s], 3)
        return torch.sub(a, torch.mul(b, %s))
        """
            .formatted(
                s.dimV() / 2,
                s.dimV() - s.dimV() / 2,
                sdpa("q0", "k0", "v1", s.causal()),
                sdpa("q0", "k0", "v2", s.causal()),
                sdpa("q1", "k1", "v1", s.causal()),
                sdpa("q1", "k1", "v2", s.causal()),
                lambda);
    int pad = s.dimV() - s.dimQk();
    String padded =
        "torch.scaled_dot_product_attention(torch.pad(%s, [0, "
            + pad
            + "]), torch.pad(%s, [0, "
            + pad
            + "]), v, None, 0., "
            + (s.causal() ? "True" : "False")
            + ", scale="
            + Double.toString(1 / Math.sqrt(s.dimQk()))
            + ")";
    return List.of(
        () ->
            pairArguments("diff_math", s)
                .program(
                    both.formatted(
                        sdpa("q0", "k0", "v", s.causal()),
                        sdpa("q1", "k1", "v", s.causal()),
                        lambda)),
        () -> pairArguments("diff_split", s).program(split),
        () ->
            pairArguments("diff_pad", s)
                .program(
                    both.formatted(
                        padded.formatted("q0", "k0"), padded.formatted("q1", "k1"), lambda)));
  }

  private static TorchWay pairArguments(String name, Shape s) {
    Inputs in = SharedInputs.of(s.unpaired());
    TorchWay way = new TorchWay(name).with("v", in.v(), s.batch(), s.headsV(), s.lenK(), s.dimV());
    for (int map = 0; map < 2; map++) {
      way.with("q" + map, half(s, in.q(), map), s.batch(), s.headsQ(), s.lenQ(), s.dimQk());
      way.with("k" + map, half(s, in.k(), map), s.batch(), s.headsK(), s.lenK(), s.dimQk());
    }
    return way;
  }

  private static float[] half(Shape s, float[] heads, int map) {
    return Layouts.everySecondHead(heads, map, s.batch(), 2 * s.headsQ(), s.lenQ(), s.dimQk());
  }
}
