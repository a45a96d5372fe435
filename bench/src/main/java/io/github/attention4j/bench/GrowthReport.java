package io.github.attention4j.bench;

import static io.github.attention4j.bench.Report.number;
import static io.github.attention4j.bench.Report.percent;

import java.io.IOException;
import java.util.ArrayList;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Locale;
import java.util.Map;

/** How time and memory grow, as tables, lines and pictures. */
final class GrowthReport {
  private static final double MIB = 1 << 20;

  /** Work that fills the machine: about half a millisecond on each of today's cores. */
  private static final double FILLING_FLOPS_PER_THREAD = 1.2e8;

  private static final int SMALL_HEAD = 64;
  private static final double SPREAD = 1.15;
  private static final double FIT = 0.1;

  private final List<Measured> all = new ArrayList<>();
  private final Map<Integer, Double> memory = new LinkedHashMap<>();

  private record Measured(Growth.Series series, int most, Experiment.Result result) {
    double nanos(int i) {
      return result.median(series.entry(i));
    }

    double flops(int i) {
      return series.shapes().get(i).flops();
    }

    /** The share of the peak of as many cores, each round against its own. */
    double share(int i) {
      double cores = (double) series.threads()[i] / most;
      return result.paired(
          series.entry(i), Growth.FMA, (nanos, peak) -> flops(i) / nanos / (peak * cores));
    }

    /** Whether there is work for all threads, in whole heads of a size that fills vectors. */
    boolean fills(int i) {
      return flops(i) >= FILLING_FLOPS_PER_THREAD * series.threads()[i]
          && series.shapes().get(i).dimQk() >= SMALL_HEAD;
    }

    /** The most expensive unit of work over the cheapest, of those that fill the machine. */
    double spread() {
      double least = Double.POSITIVE_INFINITY;
      double most = 0;
      for (int i = 0; i < series.sizes().length; i++) {
        if (fills(i)) {
          least = Math.min(least, share(i));
          most = Math.max(most, share(i));
        }
      }
      return most / least;
    }

    /** Picoseconds of a score: a query and a key that it sees. */
    double picosPerScore(int i) {
      Shape shape = series.shapes().get(i);
      double scores = (double) shape.batch() * shape.headsQ() * shape.lenQ() * shape.lenK();
      return 1000 * nanos(i) / (shape.causal() ? scores / 2 : scores);
    }

    boolean ofHeadSizes() {
      return series.name().startsWith("head-size");
    }

    /** The fit for heads of at most 64 channels. */
    Line line() {
      int count = 0;
      while (count < series.sizes().length && series.sizes()[count] <= SMALL_HEAD) {
        count++;
      }
      double[] x = new double[count];
      double[] y = new double[count];
      for (int i = 0; i < count; i++) {
        x[i] = series.sizes()[i];
        y[i] = picosPerScore(i);
      }
      return Line.through(x, y);
    }
  }

  void add(Growth.Series series, int most, Experiment.Result result) {
    Measured measured = new Measured(series, most, result);
    all.add(measured);
    for (int i = 0; i < series.sizes().length; i++) {
      System.out.printf(
          Locale.ROOT,
          "%-24s %10s ms  %s of peak  (%d rounds)%n",
          series.entry(i),
          number(measured.nanos(i) / 1e6),
          percent(measured.share(i)),
          result.rounds());
    }
  }

  void addMemory(int length, double bytes) {
    memory.put(length, bytes);
    System.out.printf(Locale.ROOT, "memory %d: %.2f MiB%n", length, bytes / MIB);
  }

  /** Prints everything; writes it to {@code results/} if nothing was left out. */
  void write(String slug, Map<String, String> machine, boolean complete) throws IOException {
    String name = "growth-" + slug;
    Map<String, String> charts = new LinkedHashMap<>();
    for (Measured measured : all) {
      charts.put(file(name, measured), chart(measured).toString());
    }
    charts.put(name + "-memory.svg", memoryChart().toString());
    ResultFiles.write(name, markdown(name, machine), json(machine), charts, complete);
  }

  private static String file(String name, Measured measured) {
    return name + "-" + measured.series.name() + ".svg";
  }

  private String markdown(String name, Map<String, String> machine) {
    StringBuilder text = new StringBuilder();
    text.append(
        """
        # How time and memory grow

        Written by `bench/run growth`; `bench/README.md` explains how it measures. One size grows at
        a time; all sizes of a series take turns in the same rounds, the multiply-add peak with them.
        Medians; float32. *cost of a unit*: time over work, 1 where it is cheapest among the sizes
        that fill the machine (%s GFLOP a thread or more, 64 channels or more).

        """
            .formatted(number(FILLING_FLOPS_PER_THREAD / 1e9)));
    ResultFiles.machineTable(text, machine);
    for (Measured measured : all) {
      series(text, name, measured);
    }
    if (!memory.isEmpty()) {
      memory(text, name);
    }
    text.append("\n## Aims\n\n").append(Goal.table(goals()));
    return text.toString();
  }

  private static void series(StringBuilder text, String name, Measured measured) {
    Growth.Series series = measured.series;
    text.append("\n## %s\n\n".formatted(series.name()));
    text.append("%s.\n\n".formatted(sentence(series)));
    text.append("![time over %s](%s)\n\n".formatted(series.name(), file(name, measured)));
    text.append("| %s | ms | GFLOP/s | of FMA | cost of a unit | |\n".formatted(series.name()));
    text.append("|---:|---:|---:|---:|---:|---|\n");
    double best = 0;
    for (int i = 0; i < series.sizes().length; i++) {
      best = measured.fills(i) ? Math.max(best, measured.share(i)) : best;
    }
    for (int i = 0; i < series.sizes().length; i++) {
      text.append(
          "| %d | %s | %s | %s | %s | %s |\n"
              .formatted(
                  series.sizes()[i],
                  number(measured.nanos(i) / 1e6),
                  number(measured.flops(i) / measured.nanos(i)),
                  percent(measured.share(i)),
                  number(best / measured.share(i)),
                  measured.fills(i) ? "" : "does not fill the machine"));
    }
    if (measured.ofHeadSizes()) {
      Line line = measured.line();
      text.append(
          """

          Up to %d channels a score takes a + b · d with a = %s ps, the price of its exponential, and
          b = %s ps a channel, on %d threads; no size is further from that line than %s.
          """
              .formatted(
                  SMALL_HEAD,
                  number(line.a()),
                  number(line.b()),
                  measured.most,
                  percent(line.worst())));
    }
  }

  private static String sentence(Growth.Series series) {
    Shape s = series.shapes().getLast();
    return "At the end: batch %d, %d heads, %d x %d, d %d%s, %d threads"
        .formatted(
            s.batch(),
            s.headsQ(),
            s.lenQ(),
            s.lenK(),
            s.dimQk(),
            s.causal() ? ", causal" : "",
            series.threads()[series.threads().length - 1]);
  }

  private void memory(StringBuilder text, String name) {
    text.append(
        "\n## memory\n\nBy how much a fresh process grows while it computes causal attention,");
    text.append(" one head, d 64, beside its tensors; threads that start then count.\n\n");
    text.append("![memory over length](%s-memory.svg)\n\n".formatted(name));
    text.append("| length | grown, MiB | tensors, MiB | a matrix of scores, MiB |\n");
    text.append("|---:|---:|---:|---:|\n");
    memory.forEach(
        (length, bytes) ->
            text.append(
                "| %d | %s | %s | %s |\n"
                    .formatted(
                        length,
                        number(bytes / MIB),
                        number(tensorBytes(length) / MIB),
                        number(scoreBytes(length) / MIB))));
  }

  private static double tensorBytes(int length) {
    return 4.0 * 4 * length * 64;
  }

  private static double scoreBytes(int length) {
    return 4.0 * length * length;
  }

  private List<Goal> goals() {
    List<Goal> goals = new ArrayList<>();
    for (Measured measured : all) {
      double spread = measured.spread();
      if (spread > 0 && !measured.series.name().equals("threads")) {
        goals.add(
            Goal.atMost(
                "dearest unit of work over the cheapest, " + measured.series.name(),
                spread,
                SPREAD));
      }
      if (measured.ofHeadSizes()) {
        double worst = measured.line().worst();
        goals.add(
            new Goal(
                "distance from a + b · d up to 64 channels, " + measured.series.name(),
                "<= " + percent(FIT),
                percent(worst),
                worst <= FIT));
      }
    }
    if (!memory.isEmpty()) {
      int longest = memory.keySet().stream().mapToInt(Integer::intValue).max().orElseThrow();
      double least = memory.values().stream().mapToDouble(Double::doubleValue).min().orElseThrow();
      double more = (memory.get(longest) - least) / MIB;
      goals.add(
          new Goal(
              "memory beside the tensors, longest over least",
              "<= 4 MiB more",
              number(more) + " MiB more",
              more <= 4));
    }
    return goals;
  }

  // ---- Pictures and JSON ----

  private static LineChart chart(Measured measured) {
    Growth.Series series = measured.series;
    LineChart chart =
        new LineChart(
            "Time over " + series.name(), series.name() + ", " + sentence(series), "ms", true);
    for (int i = 0; i < series.sizes().length; i++) {
      double atPeak = measured.nanos(i) / 1e6 * measured.share(i);
      chart.add("attention4j", series.sizes()[i], measured.nanos(i) / 1e6);
      chart.add("at the multiply-add peak", series.sizes()[i], atPeak);
    }
    return chart;
  }

  private LineChart memoryChart() {
    LineChart chart =
        new LineChart("Memory over length", "length, causal, one head, d 64", "MiB", true);
    memory.forEach(
        (length, bytes) ->
            chart
                .add("grown", length, Math.max(bytes, 4096) / MIB)
                .add("tensors", length, tensorBytes(length) / MIB)
                .add("a matrix of scores", length, scoreBytes(length) / MIB));
    return chart;
  }

  private String json(Map<String, String> machine) {
    Map<String, Object> root = new LinkedHashMap<>();
    root.put("machine", machine);
    List<Object> list = new ArrayList<>();
    for (Measured measured : all) {
      for (int i = 0; i < measured.series.sizes().length; i++) {
        Map<String, Object> fields = new LinkedHashMap<>();
        fields.put("series", measured.series.name());
        fields.put("size", measured.series.sizes()[i]);
        fields.put("threads", measured.series.threads()[i]);
        fields.put("flops", measured.flops(i));
        fields.put("medianNanos", measured.nanos(i));
        fields.put("shareOfPeak", measured.share(i));
        fields.put("nanos", measured.result.figures().get(measured.series.entry(i)).perRound());
        list.add(fields);
      }
    }
    root.put("times", list);
    Map<String, Object> bytes = new LinkedHashMap<>();
    memory.forEach((length, grown) -> bytes.put(Integer.toString(length), grown));
    root.put("grownBytes", bytes);
    return Json.write(root);
  }
}
