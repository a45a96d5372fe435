package io.github.attention4j.bench;

import static io.github.attention4j.bench.Report.number;
import static io.github.attention4j.bench.Report.percent;
import static io.github.attention4j.bench.Report.times;

import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Locale;
import java.util.Map;
import java.util.TreeMap;

/** Figures, and the tables and the chart made of them. */
final class PeersReport {
  private static final Path DIRECTORY = Path.of("results");
  private static final List<String> CHARTED =
      List.of(Peers.OURS, Peers.ORT, Peers.TORCH, Peers.VECTOR);

  private final Map<String, String> contenders = new LinkedHashMap<>();
  private final List<PeersRow> rows = new ArrayList<>();
  private final Recorded recorded = new Recorded();

  void addContender(String name, int threads, String about) {
    contenders.put(name + ", " + threads(threads), about);
  }

  void add(Contenders.Outcome outcome) {
    PeersRow row = new PeersRow(outcome);
    rows.add(row);
    StringBuilder line = new StringBuilder();
    line.append(
        String.format(
            Locale.ROOT,
            "%-3s %d thread%s %2d rounds ",
            row.name(),
            row.threads(),
            row.threads() == 1 ? " " : "s",
            outcome.result().rounds()));
    for (String who : outcome.ready().keySet()) {
      String way = row.way(who);
      line.append(
          String.format(
              Locale.ROOT,
              " %s %s%s",
              who,
              number(row.millis(who)),
              way.isEmpty() ? "" : " " + way));
    }
    row.best().ifPresent(best -> line.append("  ").append(times(best.ahead())));
    System.out.println(line);
    outcome.failures().forEach((who, why) -> System.out.println("    " + why));
  }

  /** Prints everything; writes it to {@code results/} if nothing was left out. */
  void write(String slug, Map<String, String> machine, boolean complete) throws IOException {
    String name = "peers-" + slug;
    String markdown = markdown(name, machine);
    System.out.println("\n" + markdown);
    if (!complete) {
      return;
    }
    Files.createDirectories(DIRECTORY);
    Files.writeString(DIRECTORY.resolve(name + ".md"), markdown);
    Files.writeString(DIRECTORY.resolve(name + ".json"), json(machine));
    for (int threads = mostThreads(); threads >= 1; threads--) {
      Files.writeString(DIRECTORY.resolve(chartName(name, threads)), chart(threads).toString());
    }
  }

  private static String chartName(String name, int threads) {
    return "%s-%d.svg".formatted(name, threads);
  }

  private int mostThreads() {
    return rows.stream().mapToInt(PeersRow::threads).max().orElse(1);
  }

  private List<PeersRow> rows(int threads) {
    return rows.stream().filter(row -> row.threads() == threads).toList();
  }

  private static String threads(int count) {
    return count == 1 ? "1 thread" : count + " threads";
  }

  // ---- Markdown ----

  private String markdown(String name, Map<String, String> machine) {
    StringBuilder text = new StringBuilder();
    text.append(
        """
        # attention4j beside its peers

        Written by `bench/peers`; how it measures stands in `bench/README.md`. Each contender has a
        process of its own and gets its turns while all others are stopped; figures are medians
        over rounds, ratios are taken within a round. *of the limit*: share of the multiply-add peak
        of as many cores, or, for D and T2, the time of a plain sum over the same bytes over ours.
        *best*: the fastest of the others; *ahead*: how many times faster attention4j is than it.
        "–": took no part, or cannot compute it. Beside a peer's figure
        stands the operator or composition that was its fastest. All float32.

        | | |
        |---|---|
        """);
    machine.forEach((key, value) -> text.append("| %s | %s |\n".formatted(key, value)));
    contenders.forEach((who, about) -> text.append("| %s | %s |\n".formatted(who, about)));
    text.append("| tolerance | %s |\n".formatted(tolerance()));
    for (int threads = mostThreads(); threads >= 1; threads--) {
      if (!rows(threads).isEmpty()) {
        text.append("\n## %s\n\n".formatted(threads(threads)));
        text.append(
            "![share of the limit, %s](%s)\n\n"
                .formatted(threads(threads), chartName(name, threads)));
        table(text, rows(threads));
        others(text, rows(threads), threads);
      }
    }
    text.append("\n## Aims\n\n");
    text.append(Goal.table(new PeersGoals(rows, recorded).goals(mostThreads())));
    losses(text);
    return text.toString();
  }

  private String tolerance() {
    double worst =
        rows.stream()
            .flatMap(row -> row.outcome().ready().values().stream())
            .mapToDouble(ContenderProcess.Ready::error)
            .max()
            .orElse(0);
    return "in absolute terms: attention alone at most %.0e from float64, layers and blocks at most"
            .formatted(SelfCheck.TOLERANCE)
        + " %.0e from ours; the worst of all was %.1e"
            .formatted(ContenderMain.LAYER_TOLERANCE, worst);
  }

  private void table(StringBuilder text, List<PeersRow> chosen) {
    List<String> columns = new ArrayList<>();
    for (String who : Peers.contenders()) {
      boolean limit = LimitContender.NAMES.contains(who) || who.equals(Peers.PARTS);
      if (!limit && !who.equals(Peers.OURS) && chosen.stream().anyMatch(row -> row.has(who))) {
        columns.add(who);
      }
    }
    text.append("| | | attention4j, ms | of the limit | best | ahead |");
    columns.forEach(who -> text.append(" ").append(who).append(", ms |"));
    text.append("\n|---|---|---:|---:|---|---:|").append("---:|".repeat(columns.size()));
    text.append('\n');
    for (PeersRow row : chosen) {
      text.append(
          "| %s | %s | **%s** | %s | %s | %s |"
              .formatted(
                  row.name(),
                  row.workload().source(),
                  number(row.millis(Peers.OURS)),
                  percent(row.share(Peers.OURS)),
                  row.best().map(PeersRow.Best::who).orElse("–"),
                  row.best().map(best -> times(best.ahead())).orElse("–")));
      for (String who : columns) {
        String way = row.way(who);
        text.append(" ").append(number(row.millis(who)));
        text.append(way.isEmpty() ? " |" : " <sub>" + way + "</sub> |");
      }
      text.append('\n');
    }
    limits(text, chosen);
  }

  /** What the limits were meanwhile. */
  private static void limits(StringBuilder text, List<PeersRow> chosen) {
    List<String> words = new ArrayList<>();
    for (String who : List.of(LimitContender.FMA, LimitContender.SGEMM)) {
      double[] peaks =
          chosen.stream().filter(row -> row.has(who)).mapToDouble(row -> row.gflops(who)).toArray();
      if (peaks.length > 0) {
        words.add("%s %s GFLOP/s".formatted(who, number(Experiment.medianOf(peaks))));
      }
    }
    for (PeersRow row : chosen) {
      if (row.has(LimitContender.SUM)) {
        double speed = row.workload().bytes() / 1e6 / row.millis(LimitContender.SUM);
        words.add("sum on %s %s GB/s".formatted(row.name(), number(speed)));
      }
    }
    if (!words.isEmpty()) {
      text.append("\nThe limits beside these rows: %s.\n".formatted(String.join(", ", words)));
    }
  }

  /** Peers that are not run: shares only. */
  private void others(StringBuilder text, List<PeersRow> chosen, int threads) {
    text.append(
        "\nShare of the limit beside peers that are not run here, theirs as recorded on a Zen 4"
            + " machine:\n\n| | attention4j |");
    Recorded.NAMES.forEach(who -> text.append(" ").append(who).append(" |"));
    text.append("\n|---|---:|").append("---:|".repeat(Recorded.NAMES.size())).append('\n');
    for (PeersRow row : chosen) {
      boolean any =
          Recorded.NAMES.stream()
              .anyMatch(who -> !Double.isNaN(recorded.share(who, row.workload(), threads)));
      if (any) {
        text.append("| %s | %s |".formatted(row.name(), percent(row.share(Peers.OURS))));
        for (String who : Recorded.NAMES) {
          text.append(" %s |".formatted(percent(recorded.share(who, row.workload(), threads))));
        }
        text.append('\n');
      }
    }
  }

  private void losses(StringBuilder text) {
    text.append("\n## Where we lose\n\n");
    List<String> lines = new ArrayList<>();
    for (PeersRow row : rows) {
      for (String who : PeersRow.RIVALS) {
        if (row.ahead(who) < 1) {
          lines.add(
              "- %s, %s: %s takes %s of our time"
                  .formatted(row.name(), threads(row.threads()), who, percent(row.ahead(who))));
        }
      }
    }
    text.append(
        lines.isEmpty()
            ? "Nowhere in these tables. What was wanted beyond that and is missed stands above.\n"
            : String.join("\n", lines) + "\n");
    Map<String, String> failures = new TreeMap<>();
    rows.forEach(row -> failures.putAll(row.outcome().failures()));
    failures.forEach((who, why) -> text.append("\n%s took no part: %s\n".formatted(who, why)));
  }

  // ---- The chart and JSON ----

  private BarChart chart(int threads) {
    BarChart chart =
        new BarChart(
            "Share of the limit, float32, " + threads(threads),
            "of the multiply-add peak; D and T2: of the speed at which memory can be read",
            CHARTED);
    for (PeersRow row : rows(threads)) {
      if (!row.name().equals(Workload.SMALLEST.name())) {
        chart.add(row.name(), CHARTED.stream().mapToDouble(row::share).toArray());
      }
    }
    return chart;
  }

  private String json(Map<String, String> machine) {
    Map<String, Object> root = new LinkedHashMap<>();
    root.put("machine", machine);
    root.put("contenders", contenders);
    List<Object> goals = new ArrayList<>();
    for (Goal goal : new PeersGoals(rows, recorded).goals(mostThreads())) {
      Map<String, Object> one = new LinkedHashMap<>();
      one.put("aim", goal.text());
      one.put("wanted", goal.wanted());
      one.put("got", goal.got());
      one.put("met", goal.met());
      goals.add(one);
    }
    root.put("aims", goals);
    root.put("rows", rows.stream().map(PeersRow::json).toList());
    return Json.write(root);
  }
}
