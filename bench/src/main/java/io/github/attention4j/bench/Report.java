package io.github.attention4j.bench;

import static io.github.attention4j.bench.Compare.ALL_HEADS;
import static io.github.attention4j.bench.Compare.FMA;
import static io.github.attention4j.bench.Compare.FUSED;
import static io.github.attention4j.bench.Compare.PLAIN;
import static io.github.attention4j.bench.Compare.SUM;
import static io.github.attention4j.bench.Compare.TWO_CALLS;
import static io.github.attention4j.bench.Compare.VECTOR;

import java.io.IOException;
import java.util.ArrayList;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Locale;
import java.util.Map;
import java.util.function.Predicate;

/** Figures, the tables made of them, and the aims that they are compared with. */
final class Report {
  static final String FROM_JAVA = "from Java";
  static final String FROM_C = "from C";
  static final String DOWNCALL = "empty downcall";
  static final String TEAM = "team";
  static final String REGION = "OpenMP region";

  private static final double MIB = 1 << 20;

  private final List<Row> rows = new ArrayList<>();
  private final Map<String, Experiment.Result> calls = new LinkedHashMap<>();
  private final Map<String, Experiment.Result> handOvers = new LinkedHashMap<>();
  private final Map<String, Map<String, Double>> doublings = new LinkedHashMap<>();
  private final List<OptionGroup> options = new ArrayList<>();
  private LongContext.Measured memory;

  /** One shape with one number of threads; bytes is 0 if memory is no limit. */
  private record Row(
      String section,
      String name,
      String source,
      int threads,
      double flops,
      double bytes,
      Experiment.Result result) {

    double millis(String who) {
      return result.has(who) ? result.median(who) / 1e6 : Double.NaN;
    }

    double gflops(String who) {
      return flops / result.median(who);
    }

    /** The share of the FMA peak, each round against its own. */
    double shareOfPeak(String who) {
      return result.paired(who, FMA, (nanos, peak) -> flops / nanos / peak);
    }

    double shareOfMemory(String who) {
      return result.has(SUM) ? result.ratio(SUM, who) : Double.NaN;
    }

    /** How many times faster we are. */
    double ahead(String who) {
      return result.has(who) ? result.ratio(who, FUSED) : Double.NaN;
    }
  }

  /** Calls that differ in one option, measured in the same rounds. */
  private record OptionGroup(String title, List<OptionCalls.Call> calls, Experiment.Result result) {

    /** The time of a call over that of the call it is compared with. */
    double ratio(OptionCalls.Call call) {
      return result.ratio(call.name(), call.against());
    }
  }

  void add(
      String section,
      String name,
      String source,
      int threads,
      double flops,
      double bytes,
      Experiment.Result result) {
    Row row = new Row(section, name, source, threads, flops, bytes, result);
    rows.add(row);
    System.out.printf(
        Locale.ROOT,
        "%-4s %d thread%s  %9.4f ms  %6.1f GFLOP/s  %s of peak%s  vector %.2f x, plain %.1f x"
            + "  (%d rounds)%n",
        name,
        threads,
        threads == 1 ? " " : "s",
        row.millis(FUSED),
        row.gflops(FUSED),
        percent(row.shareOfPeak(FUSED)),
        bytes > 0 ? ", " + percent(row.shareOfMemory(FUSED)) + " of memory" : "",
        row.ahead(VECTOR),
        row.ahead(PLAIN),
        result.rounds());
  }

  void addCall(String what, Experiment.Result result) {
    calls.put(what, result);
    System.out.printf(
        Locale.ROOT,
        "%s: %.0f ns from Java, %.0f ns from C, empty downcall %.0f ns%n",
        what,
        result.median(FROM_JAVA),
        result.median(FROM_C),
        result.median(DOWNCALL));
  }

  void addOptions(String title, List<OptionCalls.Call> calls, Experiment.Result result) {
    OptionGroup group = new OptionGroup(title, calls, result);
    options.add(group);
    for (OptionCalls.Call call : calls) {
      System.out.printf(
          Locale.ROOT,
          "%-40s %9.4f ms  %s%n",
          call.name(),
          result.median(call.name()) / 1e6,
          call.isBase()
              ? "(" + result.rounds() + " rounds)"
              : "%.3f of %s".formatted(group.ratio(call), call.against()));
    }
  }

  void addMemory(Shape shape, LongContext.Measured measured) {
    memory = measured;
    System.out.printf(
        Locale.ROOT,
        "causal over %d tokens: %.0f ms, %.2f MiB more a thread%n",
        shape.lenK(),
        measured.nanos() / 1e6,
        measured.moreBytesPerThread() / MIB);
  }

  void addHandOver(String when, Experiment.Result result) {
    handOvers.put(when, result);
    System.out.printf(
        Locale.ROOT,
        "hand-over %s: %.1f us to the team, %.1f us to an OpenMP region%n",
        when,
        result.median(TEAM) / 1e3,
        result.median(REGION) / 1e3);
  }

  /** The median times of one shape over those of another with half the work. */
  void addDoubling(String what, Experiment.Result before, Experiment.Result after) {
    Map<String, Double> ratios = new LinkedHashMap<>();
    for (String who : List.of(FUSED, VECTOR, PLAIN)) {
      ratios.put(who, after.median(who) / before.median(who));
    }
    doublings.put(what, ratios);
    System.out.println("twice the work by " + what + ": " + ratios);
  }

  /** Writes {@code results/<name>.md} and {@code .json}; a partial run is only printed. */
  void write(String name, Map<String, String> machine, int mostThreads, boolean complete)
      throws IOException {
    ResultFiles.write(name, markdown(machine, mostThreads), json(machine, mostThreads), complete);
  }

  // ---- Markdown ----

  private String markdown(Map<String, String> machine, int mostThreads) {
    StringBuilder text =
        new StringBuilder("# attention4j beside plain Java, the Vector API and the machine\n\n");
    text.append(
        """
        Written by `bench/run compare`; `bench/README.md` explains how it measures. All take turns
        in one JVM; each figure is a median over rounds, each ratio is taken within a round. GFLOP/s
        count half the work where the mask is causal. *of FMA*: share of the multiply-add peak of as
        many cores. *of memory*: time of a plain sum over the same bytes, with as many threads, over
        ours. *vector*: our tuned Vector API implementation; *plain*: scalar loops, same threads.
        "3.1 x" means that attention4j is 3.1 times as fast.

        """);
    ResultFiles.machineTable(text, machine);
    for (int threads = mostThreads; threads >= 1; threads--) {
      String suffix = threads == 1 ? ", 1 thread" : ", " + threads + " threads";
      table(text, "Many queries" + suffix, "prefill", threads);
      table(text, "One query a sequence" + suffix, "decode", threads);
      table(text, "Differential attention" + suffix, "differential", threads);
      pairs(text, threads);
      table(text, "Whole multi-head layers" + suffix, "layer", threads);
      table(text, "Projections" + suffix, "projection", threads);
    }
    options(text, mostThreads);
    memory(text);
    calls(text);
    doublings(text);
    goals(text, mostThreads);
    losses(text, mostThreads);
    return text.toString();
  }

  private void table(StringBuilder text, String title, String section, int threads) {
    List<Row> chosen = select(row -> row.section.equals(section) && row.threads == threads);
    if (chosen.isEmpty()) {
      return;
    }
    boolean memory = chosen.stream().anyMatch(row -> row.bytes > 0);
    text.append("\n## ").append(title).append("\n\n");
    text.append("| | | attention4j, ms | GFLOP/s | of FMA |");
    text.append(memory ? " GB/s | of memory |" : "");
    text.append(" vector, ms | plain, ms | vector | plain |\n|---|---|---:|---:|---:|");
    text.append(memory ? "---:|---:|" : "").append("---:|---:|---:|---:|\n");
    for (Row row : chosen) {
      text.append(
          "| %s | %s | **%s** | %s | %s |"
              .formatted(
                  row.name,
                  row.source,
                  number(row.millis(FUSED)),
                  number(row.gflops(FUSED)),
                  percent(row.shareOfPeak(FUSED))));
      if (memory) {
        text.append(
            " %s | %s |"
                .formatted(
                    row.bytes > 0 ? number(row.bytes / row.result.median(FUSED)) : "",
                    percent(row.shareOfMemory(FUSED))));
      }
      text.append(
          " %s | %s | %s | %s |\n"
              .formatted(
                  number(row.millis(VECTOR)),
                  number(row.millis(PLAIN)),
                  times(row.ahead(VECTOR)),
                  times(row.ahead(PLAIN))));
    }
    double peak = median(chosen.stream().mapToDouble(row -> row.result.median(FMA)).toArray());
    text.append("\nFMA peak beside these rows: %s GFLOP/s".formatted(number(peak)));
    List<Row> bound = chosen.stream().filter(row -> row.bytes > 0).toList();
    if (!bound.isEmpty()) {
      text.append("; the sum reads ");
      text.append(
          String.join(
              ", ",
              bound.stream()
                  .map(row -> row.name + " " + number(row.bytes / row.result.median(SUM)))
                  .toList()));
      text.append(" GB/s");
    }
    text.append(".\n");
  }

  private void pairs(StringBuilder text, int threads) {
    List<Row> chosen = select(row -> row.result.has(ALL_HEADS) && row.threads == threads);
    if (chosen.isEmpty()) {
      return;
    }
    text.append(
        """

        | | one pass, ms | plain attention with all heads, ms | one pass / that | two calls and a \
        subtraction, ms | one pass / that |
        |---|---:|---:|---:|---:|---:|
        """);
    for (Row row : chosen) {
      text.append(
          "| %s | %s | %s | %.3f | %s | %.3f |\n"
              .formatted(
                  row.name,
                  number(row.millis(FUSED)),
                  number(row.millis(ALL_HEADS)),
                  row.result.ratio(FUSED, ALL_HEADS),
                  number(row.millis(TWO_CALLS)),
                  row.result.ratio(FUSED, TWO_CALLS)));
    }
  }

  private void options(StringBuilder text, int threads) {
    for (OptionGroup group : options) {
      text.append("\n## %s, %d threads\n\n".formatted(group.title, threads));
      optionTable(text, group);
    }
  }

  private static void optionTable(StringBuilder text, OptionGroup group) {
    text.append("| | ms | of the time of | | wanted |\n|---|---:|---|---:|---:|\n");
    for (OptionCalls.Call call : group.calls) {
      text.append(
          "| %s | **%s** | %s | %s | %s |\n"
              .formatted(
                  call.name(),
                  number(group.result.median(call.name()) / 1e6),
                  call.against(),
                  call.isBase() ? "" : number(group.ratio(call)) + " x",
                  Double.isNaN(call.most()) ? "" : atMost(call.most())));
    }
  }

  private static String atMost(double ratio) {
    return String.format(Locale.ROOT, "<= %.2f x", ratio);
  }

  private void memory(StringBuilder text) {
    if (memory == null) {
      return;
    }
    Shape shape = LongContext.SHAPE;
    text.append(
        """

        ## Causal over %d tokens, %d threads

        One head, d %d: %s ms, %s GFLOP/s. Queries, keys, values and output are %s MiB; the process
        grew by %s MiB while it computed, %s MiB a thread. A matrix of scores would be %s MiB.
        """
            .formatted(
                shape.lenK(),
                memory.threads(),
                shape.dimQk(),
                number(memory.nanos() / 1e6),
                number(shape.flops() / memory.nanos()),
                number(memory.tensorBytes() / MIB),
                number(memory.moreBytes() / MIB),
                number(memory.moreBytesPerThread() / MIB),
                number(scoreBytes() / MIB)));
  }

  private void calls(StringBuilder text) {
    if (calls.isEmpty()) {
      return;
    }
    text.append("\n## What a call costs\n\n");
    text.append("| | from Java, ns | from C, ns | difference, ns | empty downcall, ns |\n");
    text.append("|---|---:|---:|---:|---:|\n");
    calls.forEach(
        (what, result) ->
            text.append(
                "| %s | %.0f | %.0f | %.0f | %.1f |\n"
                    .formatted(
                        what,
                        result.median(FROM_JAVA),
                        result.median(FROM_C),
                        result.paired(FROM_JAVA, FROM_C, (java, c) -> java - c),
                        result.median(DOWNCALL))));
    text.append(
        "\n"
            + "| Handing nothing over | to the team, us | to an OpenMP region, us | difference,"
            + " us |\n");
    text.append("|---|---:|---:|---:|\n");
    handOvers.forEach(
        (when, result) ->
            text.append(
                "| %s | %.1f | %.1f | %.1f |\n"
                    .formatted(
                        when,
                        result.median(TEAM) / 1e3,
                        result.median(REGION) / 1e3,
                        moreThanRegion(result) / 1e3)));
  }

  private void doublings(StringBuilder text) {
    if (doublings.isEmpty()) {
      return;
    }
    text.append("\n## Twice the work, 1 thread\n\n");
    text.append(
        "Time over that of batch 2, 4 heads, 384 x 384, d 64: each size reaches the code.\n\n");
    text.append("| twice | attention4j | vector | plain |\n|---|---:|---:|---:|\n");
    doublings.forEach(
        (what, ratios) ->
            text.append(
                "| %s | %.2f | %.2f | %.2f |\n"
                    .formatted(what, ratios.get(FUSED), ratios.get(VECTOR), ratios.get(PLAIN))));
  }

  private void goals(StringBuilder text, int threads) {
    List<Goal> goals = goals(threads);
    if (goals.isEmpty()) {
      return;
    }
    text.append("\n## Aims, with " + threads + " threads\n\n").append(Goal.table(goals));
  }

  private List<Goal> goals(int threads) {
    List<Goal> goals = new ArrayList<>();
    for (Row row : select(row -> row.threads == threads)) {
      switch (row.name) {
        case "P3" -> goals.add(peakGoal(row, 0.81));
        case "P6" -> goals.add(peakGoal(row, 0.86));
        case "P7" -> goals.add(peakGoal(row, 0.82));
        case "X1" -> {
          goals.add(ratioGoal(row, "plain attention with all heads", ALL_HEADS, 1.05));
          goals.add(ratioGoal(row, "two calls and a subtraction", TWO_CALLS, 0.97));
        }
        default -> {}
      }
    }
    for (Row row : select(row -> row.name.equals("D4"))) {
      double share = row.shareOfMemory(FUSED);
      goals.add(
          new Goal(
              "D4 share of the memory limit, " + threads(row.threads),
              ">= 92 %",
              percent(share),
              share >= 0.92));
    }
    List<Row> scalar =
        select(
            row ->
                row.section.equals("prefill") && row.threads == threads && row.result.has(PLAIN));
    if (!scalar.isEmpty()) {
      Row least = scalar.getFirst();
      for (Row row : scalar) {
        least = row.ahead(PLAIN) < least.ahead(PLAIN) ? row : least;
      }
      double ahead = least.ahead(PLAIN);
      goals.add(
          new Goal(
              "speed over scalar Java, least of the prefill shapes",
              ">= 15 x",
              times(ahead) + " (" + least.name + ")",
              ahead >= 15));
    }
    for (OptionGroup group : options) {
      for (OptionCalls.Call call : group.calls) {
        if (!Double.isNaN(call.most())) {
          double ratio = group.ratio(call);
          goals.add(
              new Goal(
                  call.name() + " / " + call.against(),
                  atMost(call.most()),
                  "%.3f x".formatted(ratio),
                  ratio <= call.most()));
        }
      }
    }
    if (memory != null) {
      double more = memory.moreBytesPerThread() / MIB;
      goals.add(
          new Goal(
              "causal over %d tokens, memory beside the tensors"
                  .formatted(LongContext.SHAPE.lenK()),
              "<= 4 MiB a thread",
              "%.2f MiB".formatted(more),
              more <= 4));
    }
    calls.forEach(
        (what, result) -> {
          double more = result.paired(FROM_JAVA, FROM_C, (java, c) -> java - c);
          goals.add(
              new Goal(
                  "a call from Java over the same from C, " + what,
                  "<= 300 ns",
                  "%.0f ns".formatted(more),
                  more <= 300));
        });
    if (!calls.isEmpty()) {
      double smallest = calls.values().iterator().next().median(FROM_JAVA);
      goals.add(
          new Goal(
              "the smallest call",
              "< 1.5 us",
              "%.2f us".formatted(smallest / 1e3),
              smallest < 1500));
    }
    handOvers.forEach(
        (when, result) -> {
          double more = moreThanRegion(result) / 1e3;
          goals.add(
              new Goal(
                  "hand-over to the team over an OpenMP region, " + when,
                  "<= 15 us",
                  "%.1f us".formatted(more),
                  more <= 15));
        });
    return goals;
  }

  private static double moreThanRegion(Experiment.Result result) {
    return result.paired(TEAM, REGION, (team, region) -> team - region);
  }

  private static Goal peakGoal(Row row, double wanted) {
    double share = row.shareOfPeak(FUSED);
    return new Goal(
        row.name + " share of the FMA peak",
        ">= %.0f %%".formatted(100 * wanted),
        percent(share),
        share >= wanted);
  }

  private static Goal ratioGoal(Row row, String what, String who, double wanted) {
    double ratio = row.result.ratio(FUSED, who);
    return new Goal(
        row.name + " one pass / " + what,
        "<= %.2f".formatted(wanted),
        "%.3f".formatted(ratio),
        ratio <= wanted);
  }

  /** Every row in which another contender is faster, and every aim that was missed. */
  private void losses(StringBuilder text, int threads) {
    text.append("\n## Where we lose\n\n");
    List<String> losses = new ArrayList<>();
    for (Row row : rows) {
      for (String who : List.of(VECTOR, PLAIN)) {
        if (row.ahead(who) < 1) {
          losses.add(
              "%s with %d thread%s: %s is %.2f times as fast."
                  .formatted(
                      row.name, row.threads, row.threads == 1 ? "" : "s", who, 1 / row.ahead(who)));
        }
      }
    }
    for (Goal goal : goals(threads)) {
      if (!goal.met()) {
        losses.add("%s: wanted %s, got %s.".formatted(goal.text(), goal.wanted(), goal.got()));
      }
    }
    for (String section : List.of("prefill", "differential")) {
      Row least = null;
      for (Row row : select(row -> row.section.equals(section) && row.threads == threads)) {
        least = least == null || row.shareOfPeak(FUSED) < least.shareOfPeak(FUSED) ? row : least;
      }
      if (least != null) {
        losses.add(
            "Furthest from the FMA peak (%s): %s (%s), %s."
                .formatted(section, least.name, least.source, percent(least.shareOfPeak(FUSED))));
      }
    }
    losses.forEach(loss -> text.append("- ").append(loss).append('\n'));
  }

  private List<Row> select(Predicate<Row> condition) {
    return rows.stream().filter(condition).toList();
  }

  /** What the matrix of scores of {@link LongContext} would take. */
  private static double scoreBytes() {
    return 4.0 * LongContext.SHAPE.lenQ() * LongContext.SHAPE.lenK();
  }

  private static double median(double[] values) {
    java.util.Arrays.sort(values);
    return values[values.length / 2];
  }

  private static String threads(int count) {
    return count + (count == 1 ? " thread" : " threads");
  }

  static String number(double value) {
    if (Double.isNaN(value)) {
      return "–";
    }
    int digits = value >= 100 ? 0 : value >= 10 ? 1 : value >= 1 ? 2 : value >= 0.1 ? 3 : 4;
    return String.format(Locale.ROOT, "%." + digits + "f", value);
  }

  static String percent(double share) {
    return Double.isNaN(share) ? "–" : String.format(Locale.ROOT, "%.1f %%", 100 * share);
  }

  static String times(double ratio) {
    return Double.isNaN(ratio)
        ? "–"
        : String.format(Locale.ROOT, ratio >= 10 ? "%.0f x" : "%.2f x", ratio);
  }

  // ---- JSON ----

  private String json(Map<String, String> machine, int threads) {
    Map<String, Object> root = new LinkedHashMap<>();
    root.put("machine", machine);
    List<Object> all = new ArrayList<>();
    for (Row row : rows) {
      Map<String, Object> fields = new LinkedHashMap<>();
      fields.put("section", row.section);
      fields.put("name", row.name);
      fields.put("threads", row.threads);
      fields.put("rounds", row.result.rounds());
      fields.put("flops", row.flops);
      fields.put("bytes", row.bytes);
      fields.put("shareOfFmaPeak", row.shareOfPeak(FUSED));
      fields.put("shareOfMemoryLimit", row.shareOfMemory(FUSED));
      fields.put("timesVector", row.ahead(VECTOR));
      fields.put("timesPlain", row.ahead(PLAIN));
      fields.put("perRound", perRound(row.result));
      all.add(fields);
    }
    root.put("rows", all);
    root.put("options", options.stream().map(Report::json).toList());
    if (memory != null) {
      root.put(
          "longContext",
          Map.of(
              "threads", memory.threads(),
              "nanos", memory.nanos(),
              "tensorBytes", memory.tensorBytes(),
              "moreBytes", memory.moreBytes()));
    }
    root.put("calls", perRoundOfAll(calls));
    root.put("handOvers", perRoundOfAll(handOvers));
    root.put("doublings", doublings);
    List<Object> aims = new ArrayList<>();
    for (Goal goal : goals(threads)) {
      aims.add(
          Map.of(
              "aim", goal.text(), "wanted", goal.wanted(), "got", goal.got(), "met", goal.met()));
    }
    root.put("aims", aims);
    return Json.write(root);
  }

  private static Map<String, Object> json(OptionGroup group) {
    Map<String, Object> fields = new LinkedHashMap<>();
    fields.put("title", group.title);
    fields.put("rounds", group.result.rounds());
    Map<String, Object> ratios = new LinkedHashMap<>();
    for (OptionCalls.Call call : group.calls) {
      if (!call.isBase()) {
        ratios.put(call.name() + " / " + call.against(), group.ratio(call));
      }
    }
    fields.put("ratios", ratios);
    fields.put("perRound", perRound(group.result));
    return fields;
  }

  private static Map<String, Object> perRoundOfAll(Map<String, Experiment.Result> results) {
    Map<String, Object> all = new LinkedHashMap<>();
    results.forEach((name, result) -> all.put(name, perRound(result)));
    return all;
  }

  /** Nanoseconds a call, GFLOP/s for the FMA limit; null if a round was skipped. */
  private static Map<String, Object> perRound(Experiment.Result result) {
    Map<String, Object> figures = new java.util.TreeMap<>();
    result.figures().forEach((name, figure) -> figures.put(name, figure.perRound()));
    return figures;
  }
}
