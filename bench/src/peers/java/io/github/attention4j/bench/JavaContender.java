package io.github.attention4j.bench;

import java.util.List;

/** The two Java contenders of {@link Compare}: tuned Vector API, or plain loops. */
final class JavaContender implements Contender {
  /** Above this, plain Java would take longer than all the rest together. */
  private static final double MOST_PLAIN_FLOPS_PER_THREAD = 2e10;

  private final boolean vector;
  private final Team team;
  private final PlainAttention plain;
  private final VectorAttention tuned;

  JavaContender(boolean vector, int threads) {
    this.vector = vector;
    team = new Team(threads);
    plain = new PlainAttention(team);
    tuned = new VectorAttention(team);
  }

  @Override
  public String about() {
    return (vector ? "jdk.incubator.vector" : "loops") + ", Java " + Runtime.version();
  }

  @Override
  public void warmUp() {
    for (String name : List.of("P11", "P2", "P1")) {
      warm(Shape.named("prefill", name));
    }
    for (String name : List.of("D2", "D1")) {
      warm(Shape.named("decode", name));
    }
  }

  private void warm(Shape shape) {
    OfShape way = new OfShape(shape, false);
    long end = System.nanoTime() + WARM_NANOS;
    do {
      way.run();
    } while (System.nanoTime() < end);
  }

  @Override
  public List<Opening> ways(Workload workload) {
    if (workload.storage() != Storage.F32) {
      return List.of();
    }
    if (!vector && workload.flops() > MOST_PLAIN_FLOPS_PER_THREAD * team.threads()) {
      return List.of();
    }
    return switch (workload) {
      case Workload.Prefill prefill -> List.of(() -> new OfShape(prefill.shape(), false));
      case Workload.Step step -> List.of(() -> new OfShape(step.shape(), false));
      case Workload.Pairs pairs -> List.of(() -> new OfShape(pairs.shape(), true));
      case Workload.Layer layer -> List.of(() -> new OfLayer(layer.layer()));
      case Workload.Product product -> List.of();
      case Workload.Encoder encoder -> List.of();
      case Workload.Decoder decoder -> List.of();
      case Workload.Texts texts -> List.of();
      case Workload.Model model -> List.of();
    };
  }

  private final class OfShape implements Way {
    private final Shape shape;
    private final boolean pairs;
    private final Inputs in;
    private final float[] maps;
    private final float[] out;

    OfShape(Shape shape, boolean pairs) {
      this.shape = shape;
      this.pairs = pairs;
      in = SharedInputs.of(pairs ? shape.unpaired() : shape);
      maps = new float[pairs ? 2 * shape.outCount() : 0];
      out = new float[shape.outCount()];
    }

    @Override
    public String name() {
      return "";
    }

    @Override
    public void run() {
      if (pairs && vector) {
        tuned.differential(shape, Fused.LAMBDA, in.q(), in.k(), in.v(), maps, out);
      } else if (pairs) {
        plain.differential(shape, Fused.LAMBDA, in.q(), in.k(), in.v(), maps, out);
      } else if (vector) {
        tuned.forward(shape, in.q(), in.k(), in.v(), out);
      } else {
        plain.forward(shape, in.q(), in.k(), in.v(), out);
      }
    }

    @Override
    public float[] result() {
      return out;
    }

    @Override
    public void close() {}
  }

  private final class OfLayer implements Way {
    private final JavaLayer layer;
    private float[] out;

    OfLayer(LayerShape shape) {
      JavaLayer.Weights weights = new JavaLayer.Weights(shape);
      layer =
          vector ? JavaLayer.vector(shape, weights, team) : JavaLayer.plain(shape, weights, team);
    }

    @Override
    public String name() {
      return "";
    }

    @Override
    public void run() {
      out = layer.forward();
    }

    @Override
    public float[] result() {
      return out;
    }

    @Override
    public void close() {}
  }
}
