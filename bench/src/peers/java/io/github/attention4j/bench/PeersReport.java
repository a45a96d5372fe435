package io.github.attention4j.bench;

import static io.github.attention4j.bench.Report.number;
import static io.github.attention4j.bench.Report.percent;
import static io.github.attention4j.bench.Report.times;

import java.io.IOException;
import java.time.Instant;
import java.util.ArrayList;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Locale;
import java.util.Map;
import java.util.TreeMap;
import java.util.stream.Collectors;

/** Figures, and the tables and the chart made of them. */
final class PeersReport {
  /** The text before the tables of numbers in fewer bits. */
  private static final String REDUCED =
      """
      P, M and X: everything stored in bfloat16 (ONNX Runtime: float16). D: a float32 query over a cache in
      so many bits. W: projections of 2048 to 4096 by weights in so many bits. A sum of W1 and D is one
      over as many bytes, from memory.

      """;

  private static final List<String> CHARTED =
      List.of(Peers.OURS, Peers.ORT, Peers.TORCH, Peers.ONEDNN, Peers.VECTOR);

  private final Map<String, String> contenders = new TreeMap<>();
  private final List<PeersRow> rows = new ArrayList<>();
  private final Recorded recorded = new Recorded();

  /** A progress line, with the seconds since the start. */
  static void print(PeersRow row, double seconds) {
    StringBuilder line = new StringBuilder();
    line.append(
        String.format(
            Locale.ROOT,
            "%5.0f s  %-8s %d thread%s %2d rounds%s ",
            seconds,
            row.name(),
            row.threads(),
            row.threads() == 1 ? " " : "s",
            row.outcome().result().rounds(),
            row.outcome().repeated() > 0
                ? " (%d again, %d disturbed)"
                    .formatted(row.outcome().repeated(), row.outcome().disturbed())
                : ""));
    for (String who : row.outcome().ready().keySet()) {
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
    row.outcome().failures().forEach((who, why) -> System.out.println("    " + why));
  }

  void add(Contenders.Outcome outcome) {
    rows.add(new PeersRow(outcome));
    outcome
        .about()
        .forEach((who, about) -> contenders.put(threads(outcome.threads()) + ", " + who, about));
  }

  /** Prints everything; writes it to {@code results/} if nothing was left out. */
  void write(String slug, Map<String, String> machine, boolean complete) throws IOException {
    String name = "peers-" + slug;
    Map<String, String> charts = new LinkedHashMap<>();
    for (int threads = mostThreads(); threads >= 1; threads--) {
      charts.put(chartName(name, threads), chart(threads).toString());
    }
    ResultFiles.write(name, markdown(name, machine), json(machine), charts, complete);
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

        Written by `bench/peers`; `bench/README.md` explains how it measures. Each contender has a
        process of its own and gets its turns while all others are stopped. Times are medians over
        rounds; shares and ratios are taken within a round, and their medians stand here. Float32,
        and in tables of their own 16, 8 and 4 bits.

        *of the limit*: share of the multiply-add peak of as many cores, or, for D, W1 and T2, the
        time of a plain sum over as many bytes over ours; in 16 bits, of the peak of dot products of
        bfloat16, where the CPU has them; below it the quartiles of the rounds. *ahead*: how many
        times faster attention4j is than the fastest of ONNX Runtime, PyTorch and oneDNN; beside their
        figures stands the operator or composition that was their fastest. *Vector API, ours*
        is no peer: it is a port of attention4j's own design, at %s of the peak on a long prompt, and
        nobody can be 1.25 times as fast as what has more than 80 %%. It shows what Java itself can
        do. "–": took no part, or cannot compute it.

        """
            .formatted(vectorShare()));
    ResultFiles.machineTable(text, machine);
    text.append("| measured | %s |\n".formatted(period()));
    contenders.forEach((who, about) -> text.append("| %s | %s |\n".formatted(who, about)));
    text.append("| tolerance | %s |\n".formatted(tolerance()));
    text.append("| rounds | %s |\n".formatted(rounds()));
    List<PeersGoals.Aim> aims = aims();
    text.append("\n## Aims\n\n");
    text.append(
        """
        *ahead of the fastest peer*: measured here, in the same rounds.
        *share, over the best recorded one*: our share of this machine's limit over the largest that
        any of those in `bench/shapes/recorded.txt` had of the limit of its machine.

        """);
    text.append(PeersGoals.table(aims, mostThreads()));
    losses(text);
    for (int threads = 1; threads <= mostThreads(); threads++) {
      if (!rows(threads).isEmpty()) {
        text.append("\n## %s\n\n".formatted(threads(threads)));
        text.append(
            "![share of the limit, %s](%s)\n\n"
                .formatted(threads(threads), chartName(name, threads)));
        List<PeersRow> whole = rows(threads).stream().filter(row -> !row.isReduced()).toList();
        List<PeersRow> reduced = rows(threads).stream().filter(PeersRow::isReduced).toList();
        table(text, whole);
        recorded(text, whole, threads, false);
        if (!reduced.isEmpty()) {
          text.append("\n### Numbers in 16, 8 and 4 bits, %s\n\n".formatted(threads(threads)));
          text.append(REDUCED);
          table(text, reduced);
          recorded(text, reduced, threads, true);
        }
      }
    }
    return text.toString();
  }

  private List<PeersGoals.Aim> aims() {
    return new PeersGoals(rows, recorded).aims(mostThreads());
  }

  private String vectorShare() {
    return rows.stream()
        .filter(row -> row.name().equals("P10") && row.threads() == 1)
        .map(row -> percent(row.share(Peers.VECTOR)))
        .findFirst()
        .orElse("–");
  }

  private String period() {
    List<Instant> times = rows.stream().map(row -> row.outcome().time()).sorted().toList();
    return times.isEmpty() ? "" : times.getFirst() + " to " + times.getLast();
  }

  private String rounds() {
    int all = rows.stream().mapToInt(row -> row.outcome().result().rounds()).sum();
    int again = rows.stream().mapToInt(row -> row.outcome().repeated()).sum();
    String disturbed =
        rows.stream()
            .filter(row -> row.outcome().disturbed() > 0)
            .map(
                row ->
                    "%s of %s, %s"
                        .formatted(row.outcome().disturbed(), row.name(), threads(row.threads())))
            .collect(Collectors.joining("; "));
    return "%d in %d rows; %d more were measured again, because others used the processors"
            .formatted(all, rows.size(), again)
        + (disturbed.isEmpty() ? "" : ", and still did in " + disturbed);
  }

  private String tolerance() {
    double worst =
        rows.stream()
            .filter(row -> !row.isReduced())
            .flatMap(row -> row.outcome().ready().values().stream())
            .mapToDouble(ContenderProcess.Ready::error)
            .max()
            .orElse(0);
    return "in absolute terms: attention alone at most %.0e from float64, layers and blocks at most"
            .formatted(SelfCheck.TOLERANCE)
        + " %.0e from ours; the worst of all was %.1e; in 16 bits %.0e and %.0e, of weights in 8 and"
            .formatted(
                ContenderMain.LAYER_TOLERANCE,
                worst,
                ContenderMain.SHORT_TOLERANCE,
                ContenderMain.SHORT_LAYER_TOLERANCE)
        + " 4 bits %.0e and %.0e for each root of the inputs, over the numbers before they were stored"
            .formatted(ContenderMain.I8_TOLERANCE, ContenderMain.I4_TOLERANCE);
  }

  private static String heading(String who) {
    return switch (who) {
      case Peers.VECTOR -> "Vector API, ours";
      case Peers.PLAIN -> "plain Java";
      default -> who;
    };
  }

  private void table(StringBuilder text, List<PeersRow> chosen) {
    List<String> columns = new ArrayList<>();
    for (String who : Peers.contenders()) {
      boolean limit = LimitContender.NAMES.contains(who) || who.equals(Peers.PARTS);
      if (!limit && !who.equals(Peers.OURS) && chosen.stream().anyMatch(row -> row.has(who))) {
        columns.add(who);
      }
    }
    boolean vector = columns.contains(Peers.VECTOR);
    text.append("| | | attention4j, ms | of the limit | ahead |");
    columns.forEach(who -> text.append(" %s, ms |".formatted(heading(who))));
    text.append(vector ? " ahead of it |" : "").append("\n|---|---|---:|---:|---:|");
    text.append("---:|".repeat(columns.size() + (vector ? 1 : 0))).append('\n');
    columns.remove(Peers.VECTOR);
    if (vector) {
      columns.add(Peers.VECTOR); // beside the ratio to it
    }
    for (PeersRow row : chosen) {
      double[] quartiles = row.shareQuartiles();
      text.append(
          "| %s | %s | **%s** | %s <sub>%s – %s</sub> | %s |"
              .formatted(
                  row.name(),
                  row.workload().source(),
                  number(row.millis(Peers.OURS)),
                  percent(row.share(Peers.OURS)),
                  percent(quartiles[0]),
                  percent(quartiles[1]),
                  row.best().map(best -> times(best.ahead())).orElse("–")));
      for (String who : columns) {
        String way = row.way(who);
        text.append(" ").append(number(row.millis(who)));
        text.append(way.isEmpty() ? " |" : " <sub>" + way + "</sub> |");
      }
      text.append(vector ? " %s |".formatted(times(row.ahead(Peers.VECTOR))) : "").append('\n');
    }
    limits(text, chosen);
  }

  /** The limits as measured in the same rounds. */
  private static void limits(StringBuilder text, List<PeersRow> chosen) {
    List<String> words = new ArrayList<>();
    for (String who : List.of(LimitContender.FMA, LimitContender.DOT, LimitContender.SGEMM)) {
      double[] peaks =
          chosen.stream().filter(row -> row.has(who)).mapToDouble(row -> row.gflops(who)).toArray();
      if (peaks.length > 0) {
        words.add("%s %s GFLOP/s".formatted(who, number(Experiment.medianOf(peaks))));
      }
    }
    handover(words, chosen);
    for (PeersRow row : chosen) {
      for (String who : List.of(LimitContender.SUM, LimitContender.MEMORY)) {
        if (row.has(who)) {
          double speed = row.workload().bytes() / 1e6 / row.millis(who);
          words.add("%s on %s %s GB/s".formatted(who, row.name(), number(speed)));
        }
      }
    }
    if (!words.isEmpty()) {
      text.append("\nThe limits beside these rows: %s.\n".formatted(String.join(", ", words)));
    }
  }

  /** How fast threads read what others wrote, and which machines were far slower. */
  private static void handover(List<String> words, List<PeersRow> chosen) {
    List<PeersRow> with = chosen.stream().filter(row -> row.has(LimitContender.HANDOVER)).toList();
    if (!with.isEmpty()) {
      double usual =
          Experiment.medianOf(with.stream().mapToDouble(PeersReport::handover).toArray());
      String slow =
          with.stream()
              .filter(row -> handover(row) < usual / 2)
              .map(row -> "%s %s".formatted(row.name(), number(handover(row))))
              .collect(Collectors.joining(", "));
      words.add(
          "a core reads 2 MiB that the other has written at %s GB/s%s"
              .formatted(number(usual), slow.isEmpty() ? "" : " (but beside " + slow + ")"));
    }
  }

  private static double handover(PeersRow row) {
    return LimitContender.HANDOVER_BYTES / 1e6 / row.millis(LimitContender.HANDOVER);
  }

  /** What was recorded on other machines: shares only. */
  private void recorded(StringBuilder text, List<PeersRow> chosen, int threads, boolean reduced) {
    RecordedRows beside = new RecordedRows(recorded);
    if (chosen.stream().noneMatch(row -> beside.best(row, true).isPresent())) {
      return;
    }
    text.append(
        """

        Beside what was recorded on a Zen 4 machine: shares of the limit of either machine, for D of
        the speed of memory (here: a sum over 256 MiB), from milliseconds in `bench/shapes/recorded.txt`.
        *mkl512* is libtorch with MKL told that the CPU is another one, which nobody supports. A core
        here does twice the multiply-adds of a core there, so all that is no multiply-add weighs about
        twice as much: *here* is the share that the peers have on this machine.

        | | attention4j | best as shipped | ahead | best of all | ahead |\
        """);
    PeersRow.PEERS.forEach(who -> text.append(" %s here |".formatted(who)));
    List<String> names = recorded.names(reduced);
    names.forEach(who -> text.append(" %s |".formatted(who)));
    text.append("\n|---|---:|---:|---:|---:|---:|");
    text.append("---:|".repeat(PeersRow.PEERS.size() + names.size())).append('\n');
    for (PeersRow row : chosen) {
      if (beside.best(row, true).isPresent()) {
        text.append("| %s | %s |".formatted(row.name(), percent(beside.share(row, Peers.OURS))));
        for (boolean asShipped : new boolean[] {true, false}) {
          RecordedRows.Best best = beside.best(row, asShipped).orElseThrow();
          text.append(
              " %s <sub>%s</sub> | %s |"
                  .formatted(percent(best.share()), best.who(), times(best.ahead())));
        }
        for (String who : PeersRow.PEERS) {
          text.append(" %s |".formatted(percent(beside.share(row, who))));
        }
        for (String who : names) {
          text.append(" %s |".formatted(percent(recorded.share(who, row.workload(), threads))));
        }
        text.append('\n');
      }
    }
  }

  private void losses(StringBuilder text) {
    text.append("\n## Where we lose\n\n");
    RecordedRows beside = new RecordedRows(recorded);
    List<String> lines = new ArrayList<>();
    List<String> toOwn = new ArrayList<>();
    for (PeersRow row : rows) {
      String where = "- %s, %s: ".formatted(row.name(), threads(row.threads()));
      for (String who : PeersRow.PEERS) {
        if (row.ahead(who) < 1) {
          lines.add(where + "%s takes %s of our time".formatted(who, percent(row.ahead(who))));
        }
      }
      for (String who : recorded.names(row.isReduced())) {
        double ahead = beside.ahead(who, row);
        if (ahead < 1) {
          lines.add(
              where + "our share is %s of the recorded one of %s".formatted(percent(ahead), who));
        }
      }
      for (String who : PeersRow.OWN) {
        if (row.ahead(who) < 1) {
          toOwn.add(
              where + "%s takes %s of our time".formatted(heading(who), percent(row.ahead(who))));
        }
      }
    }
    text.append(
        lines.isEmpty()
            ? "To no peer in these tables. What was wanted beyond that and is missed stands"
                + " above.\n"
            : String.join("\n", lines) + "\n");
    if (!toOwn.isEmpty()) {
      text.append("\nTo Java of our own:\n\n").append(String.join("\n", toOwn)).append('\n');
    }
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
            CHARTED.stream().map(PeersReport::heading).toList());
    for (PeersRow row : rows(threads)) {
      if (!row.name().equals(Workload.SMALLEST.name()) && !row.isReduced()) {
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
    for (PeersGoals.Aim aim : aims()) {
      Map<String, Object> one = new LinkedHashMap<>();
      one.put("aim", aim.goal().text());
      one.put("threads", aim.threads());
      one.put("wanted", aim.goal().wanted());
      one.put("got", aim.goal().got());
      one.put("met", aim.goal().met());
      goals.add(one);
    }
    root.put("aims", goals);
    root.put("rows", rows.stream().map(PeersRow::json).toList());
    root.put("recorded", recordedJson());
    return Json.write(root);
  }

  /** The best recorded result, by share. */
  private List<Object> recordedJson() {
    RecordedRows beside = new RecordedRows(recorded);
    List<Object> all = new ArrayList<>();
    for (PeersRow row : rows) {
      beside
          .best(row, true)
          .ifPresent(
              shipped -> {
                RecordedRows.Best best = beside.best(row, false).orElseThrow();
                Map<String, Object> one = new LinkedHashMap<>();
                one.put("workload", row.name());
                one.put("threads", row.threads());
                one.put("share", beside.share(row, Peers.OURS));
                one.put("bestAsShipped", shipped.who());
                one.put("bestAsShippedShare", shipped.share());
                one.put("aheadAsShipped", shipped.ahead());
                one.put("bestOfAll", best.who());
                one.put("bestOfAllShare", best.share());
                one.put("aheadOfAll", best.ahead());
                all.add(one);
              });
    }
    return all;
  }
}
