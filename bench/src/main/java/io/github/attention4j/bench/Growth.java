package io.github.attention4j.bench;

import io.github.attention4j.A4j;
import java.io.IOException;
import java.util.ArrayList;
import java.util.List;

/**
 * Question: how do time and memory grow with each size of a problem?
 *
 * <p>Expected: time is proportional to the work once there is enough of it to fill the machine, so
 * a multiplication costs the same everywhere; for heads below 64 channels it is a + b · d, where a
 * is the exponential of each score, whose cost does not depend on d. Memory grows with the length,
 * never with its square.
 *
 * <p>The sizes of a series take turns in rounds, and the multiply-add peak with them, see {@link
 * Experiment}. How to run: {@code bench/run growth}; the results go to {@code bench/results/}.
 */
final class Growth {
  static final String FMA = "FMA limit";

  /** Room for a series of calls that may each last seconds. */
  private static final double SECONDS = 8;

  private final int most = Runtime.getRuntime().availableProcessors();
  private final GrowthReport report = new GrowthReport();

  /**
   * A series: one size grows.
   *
   * @param name what grows
   * @param sizes its values
   * @param shapes the problem at each of them
   * @param threads how many at each of them
   */
  record Series(String name, int[] sizes, List<Shape> shapes, int[] threads) {
    String entry(int i) {
      return name + " " + sizes[i];
    }
  }

  private interface Sized {
    Shape of(int size);
  }

  /** Measures all series, or those named. */
  public static void main(String[] arguments) throws IOException {
    Growth growth = new Growth();
    List<String> wanted = List.of(arguments);
    boolean all = wanted.isEmpty();
    for (Series series : growth.series()) {
      if (all || wanted.contains(series.name)) {
        growth.measure(series);
      }
    }
    if (all || wanted.contains("memory")) {
      growth.memory();
    }
    String command = ("bench/run growth " + String.join(" ", arguments)).strip();
    growth.report.write(Machine.slug(), Machine.describe(command), all);
  }

  private List<Series> series() {
    int[] lengths = {128, 256, 512, 1024, 2048, 4096, 8192, 16384, 32768, 65536};
    int[] counts = {1, 2, 4, 8, 16, 32, 64};
    int[] dims = {8, 16, 24, 32, 40, 48, 56, 64, 96, 128, 160, 192, 224, 256};
    int[] threads = new int[most];
    for (int i = 0; i < most; i++) {
      threads[i] = i + 1;
    }
    List<Series> all = new ArrayList<>();
    all.add(series("length", lengths, l -> shape(1, 2, l, 64, false)));
    all.add(series("length-causal", lengths, l -> shape(1, 2, l, 64, true)));
    all.add(series("batch", counts, n -> shape(n, 2, 512, 64, false)));
    all.add(series("heads", counts, n -> shape(1, n, 512, 64, false)));
    all.add(series("head-size", dims, d -> shape(1, 8, 1024, d, false)));
    all.add(series("head-size-causal", dims, d -> shape(1, 8, 1024, d, true)));
    List<Shape> same = new ArrayList<>();
    for (int i = 0; i < most; i++) {
      same.add(shape(1, 12, 1024, 64, false));
    }
    all.add(new Series("threads", threads, same, threads));
    return all;
  }

  private Series series(String name, int[] sizes, Sized sized) {
    List<Shape> shapes = new ArrayList<>();
    int[] threads = new int[sizes.length];
    for (int i = 0; i < sizes.length; i++) {
      shapes.add(sized.of(sizes[i]));
      threads[i] = most;
    }
    return new Series(name, sizes, shapes, threads);
  }

  private static Shape shape(int batch, int heads, int length, int dim, boolean causal) {
    return new Shape("growth", batch, heads, heads, heads, length, length, dim, dim, causal, "");
  }

  private void measure(Series series) {
    A4j.threads(most);
    Experiment experiment = new Experiment();
    List<Fused> open = new ArrayList<>();
    try {
      for (int i = 0; i < series.sizes.length; i++) {
        Shape shape = series.shapes.get(i);
        Inputs in = new Inputs(shape);
        Fused fused = Fused.plain(shape, in, series.threads[i]);
        open.add(fused);
        fused.forward();
        SelfCheck.require("attention4j", shape, in, fused.resultArray());
        experiment.timed(series.entry(i), fused::forward);
      }
      experiment.measured(FMA, () -> Limits.fmaGflops(most));
      report.add(series, most, experiment.run(SECONDS));
    } finally {
      open.forEach(Fused::close);
    }
  }

  /** Each length in a process of its own, so that nothing is left to be reused. */
  private void memory() throws IOException {
    for (int length = 1024; length <= 65536; length *= 2) {
      report.addMemory(length, GrowthMemory.inChild(length, most));
    }
  }
}
