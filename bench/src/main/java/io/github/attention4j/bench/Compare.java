package io.github.attention4j.bench;

import io.github.attention4j.A4j;
import io.github.attention4j.Alignment;
import io.github.attention4j.DType;
import io.github.attention4j.Mask;
import io.github.attention4j.Tensor;
import io.github.attention4j.layer.Linear;
import io.github.attention4j.layer.MultiHeadAttention;
import java.io.IOException;
import java.lang.foreign.Arena;
import java.lang.foreign.MemorySegment;
import java.util.Arrays;
import java.util.LinkedHashSet;
import java.util.List;
import java.util.Random;
import java.util.Set;
import java.util.function.DoubleSupplier;

/**
 * Question: how fast is attention4j beside plain Java, beside the best that the Vector API gives
 * us, and beside what the machine can do at all?
 *
 * <p>Expected: where arithmetic decides, above 80 % of the FMA peak; where memory decides, close to
 * a plain sum over the same bytes; ahead of the Vector API everywhere but in the smallest problems.
 *
 * <p>All take turns in one JVM, see {@link Experiment}, and every result is checked against float64
 * before it is timed. How to run: {@code bench/run compare}, or {@code bench/run compare P1 D4} for
 * some shapes only; the results go to {@code bench/results/}.
 */
final class Compare {
  static final String FUSED = "attention4j";
  static final String VECTOR = "vector";
  static final String PLAIN = "plain";
  static final String FMA = "FMA limit";
  static final String SUM = "sum limit";
  static final String ALL_HEADS = "plain attention, all heads";
  static final String TWO_CALLS = "two calls and a subtraction";

  /** Above this, plain Java would take longer than all the rest together. */
  private static final double MOST_PLAIN_FLOPS_PER_THREAD = 2e10;

  private final double seconds;
  private final Set<String> wanted;
  private final Report report = new Report();

  private Compare(double seconds, Set<String> wanted) {
    this.seconds = seconds;
    this.wanted = wanted;
  }

  /** Measures all shapes, or those named; {@code --seconds=2} is the time for each. */
  public static void main(String[] arguments) throws IOException {
    double seconds = 1;
    Set<String> wanted = new LinkedHashSet<>();
    for (String argument : arguments) {
      if (argument.startsWith("--seconds=")) {
        seconds = Double.parseDouble(argument.substring("--seconds=".length()));
      } else {
        wanted.add(argument);
      }
    }
    Compare compare = new Compare(seconds, wanted);
    int most = Math.min(2, Runtime.getRuntime().availableProcessors());
    if (compare.wants("memory")) {
      compare.report.addMemory(LongContext.SHAPE, LongContext.measure(most));
    }
    warmUp(most);
    for (int threads = 1; threads <= most; threads++) {
      compare.run(threads);
    }
    compare.options(most);
    if (compare.wants("calls")) {
      compare.calls(most);
    }
    if (compare.wants("doublings")) {
      try (Team team = new Team(1)) {
        compare.doublings(team);
      }
    }
    String command = ("bench/run compare " + String.join(" ", arguments)).strip();
    compare.report.write(Machine.slug(), Machine.describe(command), most, wanted.isEmpty());
  }

  private boolean wants(String name) {
    return wanted.isEmpty() || wanted.contains(name);
  }

  /**
   * Lets the JIT compiler see every path of the Java contenders, and of the library's Java code,
   * before the first figure. Otherwise the few calls of a long shape would all be interpreted, with
   * code that the call before has pushed out of the caches (D4: 2 % of the time).
   */
  private static void warmUp(int threads) {
    Shape smallest = new Shape("warm", 1, 1, 1, 1, 1, 1, 8, 8, false, "");
    try (Fused fused = Fused.plain(smallest, new Inputs(smallest), 1)) {
      for (int i = 0; i < 100_000; i++) {
        fused.forward();
      }
    }
    try (Team team = new Team(threads)) {
      PlainAttention plain = new PlainAttention(team);
      VectorAttention vector = new VectorAttention(team);
      for (String name : List.of("P11", "P2", "P1")) {
        warm(Shape.named("prefill", name), plain, vector);
      }
      for (String name : List.of("D2", "D5", "D1")) {
        warm(Shape.named("decode", name), plain, vector);
      }
    }
  }

  private static void warm(Shape shape, PlainAttention plain, VectorAttention vector) {
    Inputs in = new Inputs(shape);
    float[] out = new float[shape.outCount()];
    long end = System.nanoTime() + 500_000_000L;
    while (System.nanoTime() < end) {
      vector.forward(shape, in.q(), in.k(), in.v(), out);
    }
    if (shape.flops() < 1e9) {
      plain.forward(shape, in.q(), in.k(), in.v(), out);
    }
  }

  private void run(int threads) {
    A4j.threads(threads);
    startTeam(threads);
    Limits.pin(0);
    try (Team team = new Team(threads)) {
      for (String file : List.of("prefill", "decode")) {
        for (Shape shape : Shape.all(file)) {
          if (wants(shape.name())) {
            attention(file, shape, team);
          }
        }
      }
      for (Shape shape : Shape.all("differential")) {
        if (wants(shape.name())) {
          differential(shape, team);
        }
      }
      for (LayerShape layer : LayerShape.all()) {
        if (wants(layer.name())) {
          layer(layer, team);
        }
      }
      for (Projection projection : Projection.all()) {
        if (wants(projection.name())) {
          projection(projection, team);
        }
      }
    } finally {
      Limits.unpin();
    }
  }

  /**
   * Lets attention4j start its threads while the caller may still run anywhere, because they
   * inherit where they may run. Afterwards the caller stays on one core for all contenders: if it
   * were pinned for some turns only, it would move away from where a sleeping team expects it.
   */
  private static void startTeam(int threads) {
    Shape shape = Shape.named("prefill", "P1");
    try (Fused fused = Fused.plain(shape, new Inputs(shape), threads)) {
      for (int i = 0; i < 10; i++) {
        fused.forward();
      }
    }
  }

  private void attention(String section, Shape shape, Team team) {
    int threads = team.threads();
    Inputs in = new Inputs(shape);
    float[] out = new float[shape.outCount()];
    PlainAttention plain = new PlainAttention(team);
    VectorAttention vector = new VectorAttention(team);
    Runnable plainCall = () -> plain.forward(shape, in.q(), in.k(), in.v(), out);
    Runnable vectorCall = () -> vector.forward(shape, in.q(), in.k(), in.v(), out);
    try (Fused fused = Fused.plain(shape, in, threads)) {
      fused.forward();
      SelfCheck.require(FUSED, shape, in, fused.resultArray());
      vectorCall.run();
      SelfCheck.require(VECTOR, shape, in, out);

      Experiment experiment =
          new Experiment()
              .timed(FUSED, fused::forward)
              .timed(VECTOR, vectorCall)
              .measured(FMA, () -> Limits.fmaGflops(threads));
      if (section.equals("decode")) {
        MemorySegment keys = fused.keys();
        MemorySegment values = fused.values();
        experiment.measured(SUM, () -> Limits.sumNanos(threads, keys, values));
      }
      if (shape.flops() <= MOST_PLAIN_FLOPS_PER_THREAD * threads) {
        experiment.timed(PLAIN, plainCall);
      }
      Experiment.Result result = experiment.run(section.equals("decode") ? 2 * seconds : seconds);
      report.add(
          section,
          shape.name(),
          shape.source(),
          threads,
          shape.flops(),
          section.equals("decode") ? shape.cacheBytes() : 0,
          result);
    }
  }

  private void differential(Shape shape, Team team) {
    int threads = team.threads();
    Inputs in = new Inputs(shape.unpaired());
    float[] maps = new float[2 * shape.outCount()];
    float[] out = new float[shape.outCount()];
    float lambda = Fused.LAMBDA;
    PlainAttention plain = new PlainAttention(team);
    VectorAttention vector = new VectorAttention(team);
    Runnable plainCall = () -> plain.differential(shape, lambda, in.q(), in.k(), in.v(), maps, out);
    Runnable vectorCall =
        () -> vector.differential(shape, lambda, in.q(), in.k(), in.v(), maps, out);
    try (Fused fused = Fused.pairs(shape, in, threads)) {
      Runnable twoCalls = () -> fused.twoCallsAndSubtraction(team);
      twoCalls.run();
      SelfCheck.requirePairs(TWO_CALLS, shape, in, fused.resultArray());
      fused.differential();
      SelfCheck.requirePairs(FUSED, shape, in, fused.resultArray());
      vectorCall.run();
      SelfCheck.requirePairs(VECTOR, shape, in, out);

      Experiment.Result result =
          new Experiment()
              .timed(FUSED, fused::differential)
              .timed(ALL_HEADS, fused::plainWithAllHeads)
              .timed(TWO_CALLS, twoCalls)
              .timed(VECTOR, vectorCall)
              .timed(PLAIN, plainCall)
              .measured(FMA, () -> Limits.fmaGflops(threads))
              .run(2 * seconds);
      double flops = shape.unpaired().flops();
      report.add("differential", shape.name(), shape.source(), threads, flops, 0, result);
    }
  }

  private void layer(LayerShape shape, Team team) {
    int threads = team.threads();
    JavaLayer.Weights weights = new JavaLayer.Weights(shape);
    JavaLayer plain = JavaLayer.plain(shape, weights, team);
    JavaLayer vector = JavaLayer.vector(shape, weights, team);
    try (Arena arena = Arena.ofShared()) {
      Linear[] linears = new Linear[4];
      for (int i = 0; i < 4; i++) {
        linears[i] =
            Linear.of(
                Tensor.of(arena, weights.weight()[i], shape.width(), shape.width()),
                Tensor.of(arena, weights.bias()[i], shape.width()));
      }
      MultiHeadAttention fused =
          MultiHeadAttention.builder(linears[0], linears[1], linears[2], linears[3])
              .heads(shape.heads())
              .mask(shape.causal() ? Mask.causal(Alignment.TOP_LEFT) : Mask.none())
              .build();
      Tensor x = Tensor.of(arena, weights.x(), shape.batch(), shape.length(), shape.width());
      Tensor out = Tensor.allocate(arena, DType.F32, shape.batch(), shape.length(), shape.width());
      fused.forward(x, out);
      SelfCheck.requireEqual(shape.name(), out.toFloatArray(), vector.forward());
      SelfCheck.requireEqual(shape.name(), plain.forward(), vector.forward());

      Experiment experiment =
          new Experiment()
              .timed(FUSED, () -> fused.forward(x, out))
              .timed(VECTOR, vector::forward)
              .measured(FMA, () -> Limits.fmaGflops(threads));
      if (shape.flops() <= MOST_PLAIN_FLOPS_PER_THREAD * threads) {
        experiment.timed(PLAIN, plain::forward);
      }
      report.add(
          "layer",
          shape.name(),
          shape.source(),
          threads,
          shape.flops(),
          0,
          experiment.run(seconds));
    }
  }

  private void projection(Projection shape, Team team) {
    int threads = team.threads();
    float[] x = Inputs.normal(new Random(4), shape.rows() * shape.dimIn());
    float[] w = Inputs.normal(new Random(5), shape.dimOut() * shape.dimIn());
    float[] bias = Inputs.normal(new Random(6), shape.dimOut());
    float[] y = new float[shape.rows() * shape.dimOut()];
    PlainAttention plain = new PlainAttention(team);
    VectorLinear vector = new VectorLinear(team, shape.dimIn(), shape.dimOut(), w, bias);
    try (Arena arena = Arena.ofShared()) {
      Tensor weight = Tensor.of(arena, w, shape.dimOut(), shape.dimIn());
      Linear linear = Linear.of(weight, Tensor.of(arena, bias, shape.dimOut()));
      Tensor in = Tensor.of(arena, x, shape.rows(), shape.dimIn());
      Tensor out = Tensor.allocate(arena, DType.F32, shape.rows(), shape.dimOut());
      linear.forward(in, out);
      SelfCheck.require(FUSED, shape, x, w, bias, out.toFloatArray());
      vector.forward(shape.rows(), x, y);
      SelfCheck.require(VECTOR, shape, x, w, bias, y);

      Experiment experiment =
          new Experiment()
              .timed(FUSED, () -> linear.forward(in, out))
              .timed(VECTOR, () -> vector.forward(shape.rows(), x, y))
              .timed(
                  PLAIN,
                  () -> plain.linear(shape.rows(), shape.dimIn(), shape.dimOut(), x, w, bias, y))
              .measured(FMA, () -> Limits.fmaGflops(threads));
      boolean bandwidth = shape.rows() == 1;
      if (bandwidth) {
        MemorySegment all = weight.segment();
        experiment.measured(SUM, () -> Limits.sumNanos(threads, all, all.asSlice(0, 0)));
      }
      Experiment.Result result = experiment.run(seconds);
      report.add(
          "projection",
          shape.name(),
          shape.source(),
          threads,
          shape.flops(),
          bandwidth ? shape.weightBytes() : 0,
          result);
    }
  }

  /** Calls that differ in one option, group by group. */
  private void options(int threads) {
    A4j.threads(threads);
    startTeam(threads);
    Limits.pin(0);
    try {
      for (String group : OptionCalls.GROUPS) {
        if (wants(group)) {
          try (OptionCalls calls = OptionCalls.of(group, threads)) {
            Experiment experiment = new Experiment();
            calls.calls().forEach(call -> experiment.timed(call.name(), call.code()));
            report.addOptions(calls.title(), calls.calls(), experiment.run(5 * seconds));
          }
        }
      }
    } finally {
      Limits.unpin();
    }
  }

  /** Doubles each size of a shape in turn: every contender's time must double. */
  private void doublings(Team team) {
    Shape base = new Shape("base", 2, 4, 4, 4, 384, 384, 64, 64, false, "");
    Experiment.Result before = times(base, team);
    List<Shape> doubled =
        List.of(
            new Shape("batch", 4, 4, 4, 4, 384, 384, 64, 64, false, ""),
            new Shape("heads", 2, 8, 8, 8, 384, 384, 64, 64, false, ""),
            new Shape("lenQ", 2, 4, 4, 4, 768, 384, 64, 64, false, ""),
            new Shape("lenK", 2, 4, 4, 4, 384, 768, 64, 64, false, ""),
            new Shape("dimQk and dimV", 2, 4, 4, 4, 384, 384, 128, 128, false, ""));
    for (Shape shape : doubled) {
      report.addDoubling(shape.name(), before, times(shape, team));
    }
    Shape causal = new Shape("causal", 2, 4, 4, 4, 768, 768, 64, 64, true, "");
    report.addDoubling("lenQ and lenK, causal instead of not", before, times(causal, team));
  }

  private Experiment.Result times(Shape shape, Team team) {
    Inputs in = new Inputs(shape);
    float[] out = new float[shape.outCount()];
    PlainAttention plain = new PlainAttention(team);
    VectorAttention vector = new VectorAttention(team);
    try (Fused fused = Fused.plain(shape, in, team.threads())) {
      return new Experiment()
          .timed(FUSED, fused::forward)
          .timed(VECTOR, () -> vector.forward(shape, in.q(), in.k(), in.v(), out))
          .timed(PLAIN, () -> plain.forward(shape, in.q(), in.k(), in.v(), out))
          .run(seconds / 4);
    }
  }

  /** What a call costs apart from its arithmetic. */
  private void calls(int threads) {
    A4j.threads(threads);
    for (int[] sizes : new int[][] {{1, 1, 8}, {16, 16, 64}}) {
      Shape shape =
          new Shape("call", 1, 1, 1, 1, sizes[0], sizes[1], sizes[2], sizes[2], false, "");
      try (Fused fused = Fused.plain(shape, new Inputs(shape), 1)) {
        Experiment.Result result =
            new Experiment()
                .timed(Report.FROM_JAVA, fused::forward)
                .measured(Report.FROM_C, () -> fromC(shape, fused))
                .timed(Report.DOWNCALL, Limits::nothing)
                .run(seconds);
        report.addCall("1 head, %d x %d, d %d".formatted(sizes[0], sizes[1], sizes[2]), result);
      }
    }
    for (long pause : new long[] {0, 1_000_000}) {
      Experiment.Result result =
          new Experiment()
              .measured(Report.TEAM, () -> quietly(pause, () -> Limits.teamNanos(threads, pause)))
              .measured(
                  Report.REGION, () -> quietly(pause, () -> Limits.regionNanos(threads, pause)))
              .run(seconds);
      report.addHandOver(pause == 0 ? "back to back" : "after 1 ms of rest", result);
    }
  }

  private static double fromC(Shape shape, Fused fused) {
    return Limits.attentionNanos(
        1,
        shape.headsQ(),
        shape.lenQ(),
        shape.lenK(),
        shape.dimQk(),
        fused.queries(),
        fused.keys(),
        fused.values(),
        fused.result(),
        3_000);
  }

  /** The median of many, after the threads of the previous contender have gone to sleep. */
  private static double quietly(long pause, DoubleSupplier nanos) {
    try {
      Thread.sleep(10);
    } catch (InterruptedException e) {
      throw new IllegalStateException(e);
    }
    double[] samples = new double[pause == 0 ? 201 : 21];
    for (int i = 0; i < samples.length; i++) {
      samples[i] = nanos.getAsDouble();
    }
    Arrays.sort(samples);
    return samples[samples.length / 2];
  }
}
