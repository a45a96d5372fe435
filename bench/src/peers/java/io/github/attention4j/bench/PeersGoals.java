package io.github.attention4j.bench;

import java.util.ArrayList;
import java.util.Arrays;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.function.ToDoubleFunction;

/** The aims of the comparison, and whether they are met. */
final class PeersGoals {
  /** Shares of the FMA peak. */
  private static final Map<String, Double> PEAK =
      Map.of(
          "P3", 0.88, "P6", 0.88, "P4", 0.83, "P9", 0.83, "P5", 0.85, "P7", 0.85, "P10", 0.85, "P8",
          0.75, "P11", 0.55);

  /** The ratio of times that differ only by the clock's grain and the scheduler. */
  private static final double NO_SLOWER = 0.97;

  private static final String FASTEST = "ahead of the fastest peer, ";
  private static final String SHIPPED = "share, over the best recorded one as shipped, ";
  private static final String UNSUPPORTED = "wish: the same beside MKL told of another CPU, ";

  private final List<PeersRow> rows;
  private final RecordedRows recorded;
  private final List<Aim> aims = new ArrayList<>();

  /** A goal with one number of threads. */
  record Aim(int threads, Goal goal) {}

  PeersGoals(List<PeersRow> rows, Recorded recorded) {
    this.rows = rows;
    this.recorded = new RecordedRows(recorded);
  }

  /** All aims that the rows can answer. */
  List<Aim> aims(int mostThreads) {
    List<PeersRow> ours = rows.stream().filter(row -> row.has(Peers.OURS)).toList();
    for (String name : ours.stream().map(PeersRow::name).distinct().toList()) {
      ours.stream().filter(row -> row.name().equals(name)).forEach(this::add);
    }
    for (int threads = 1; threads <= mostThreads; threads++) {
      int count = threads;
      List<PeersRow> prefill =
          ours.stream()
              .filter(row -> row.threads() == count && row.name().startsWith("P"))
              .filter(row -> !row.isReduced())
              .toList();
      mean(FASTEST, prefill, count, row -> row.best().map(PeersRow.Best::ahead).orElse(Double.NaN));
      mean(SHIPPED, prefill, count, row -> aheadOfRecorded(row, true));
      mean(UNSUPPORTED, prefill, count, row -> aheadOfRecorded(row, false));
    }
    moreThreads(mostThreads);
    return aims;
  }

  private double aheadOfRecorded(PeersRow row, boolean asShipped) {
    return recorded.best(row, asShipped).map(RecordedRows.Best::ahead).orElse(Double.NaN);
  }

  private void add(PeersRow row, Goal goal) {
    aims.add(new Aim(row.threads(), goal));
  }

  private void add(PeersRow row) {
    if (row.isReduced()) {
      reduced(row);
      return;
    }
    switch (row.workload()) {
      case Workload.Prefill prefill -> prefill(row, prefill.shape());
      case Workload.Step step -> step(row);
      case Workload.Pairs pairs -> pairs(row);
      case Workload.Layer layer -> layer(row);
      case Workload.Product product -> {}
      case Workload.Encoder encoder -> fastest(row, 1);
      case Workload.Decoder decoder -> fastest(row, 1);
      case Workload.Texts texts -> texts(row);
      case Workload.Model model -> fastest(row, 1.15);
    }
  }

  private void prefill(PeersRow row, Shape shape) {
    if (shape == Workload.SMALLEST) {
      double nanos = 1e6 * row.millis(Peers.OURS);
      add(
          row,
          new Goal(
              "the smallest call from Java, C1",
              "< 1000 ns",
              "%.0f ns".formatted(nanos),
              nanos < 1000));
      return;
    }
    Double peak = PEAK.get(row.name());
    if (peak != null && row.has(LimitContender.FMA)) {
      add(row, Goal.share("share of the FMA peak, " + row.name(), row.share(Peers.OURS), peak));
    }
    best(row, shape.causal() ? 1.25 : 1.05);
  }

  /** Compared with contenders that are run, and with recorded ones. */
  private void best(PeersRow row, double least) {
    fastest(row, least);
    recorded(row, least, SHIPPED, true);
    recorded(row, least, UNSUPPORTED, false);
  }

  private void fastest(PeersRow row, double least) {
    row.best()
        .ifPresent(best -> add(row, named(FASTEST + row.name(), best.who(), best.ahead(), least)));
  }

  private void recorded(PeersRow row, double least, String text, boolean asShipped) {
    recorded
        .best(row, asShipped)
        .filter(best -> !Double.isNaN(best.ahead()))
        .filter(best -> asShipped || !recorded.best(row, true).orElseThrow().equals(best))
        .ifPresent(best -> add(row, named(text + row.name(), best.who(), best.ahead(), least)));
  }

  private static Goal named(String text, String who, double ratio, double least) {
    Goal goal = Goal.ahead(text, ratio, least);
    return new Goal(text, goal.wanted(), goal.got() + " (" + who + ")", goal.met());
  }

  private void step(PeersRow row) {
    if (row.name().equals("D1") || row.name().equals("D4")) {
      add(row, Goal.share("share of the memory limit, " + row.name(), row.share(Peers.OURS), 0.95));
    }
    if (!row.name().equals("D1")) {
      best(row, 1.1);
    }
  }

  private void pairs(PeersRow row) {
    add(row, Goal.share("share of the FMA peak, " + row.name(), row.share(Peers.OURS), 0.8));
    if (row.has(Peers.TORCH)) {
      add(row, Goal.ahead("ahead of PyTorch's best, " + row.name(), row.ahead(Peers.TORCH), 1.8));
    }
    add(
        row,
        Goal.ahead(
            "share, over the recorded Vector API version's, " + row.name(),
            recorded.ahead(Recorded.VECTOR, row),
            1.4));
  }

  /** Beside oneDNN in bfloat16, beside ourselves in float32, and beside reading. */
  private void reduced(PeersRow row) {
    String name = row.name();
    if (row.has(LimitContender.DOT) && name.matches("[PM]\\d+-bf16")) {
      boolean causal = name.matches("(P2|P4|P5|P7|P9|M3)-bf16");
      fastest(row, causal ? 1.5 : name.startsWith("M") ? 1 : 1.15);
      recorded(row, causal ? 1.5 : name.startsWith("M") ? 1 : 1.15, SHIPPED, true);
      rows.stream()
          .filter(one -> one.threads() == row.threads() && name.equals(one.name() + "-bf16"))
          .filter(one -> one.name().matches("P[3-7]|M[1-3]"))
          .forEach(
              one ->
                  add(
                      row,
                      Goal.ahead(
                          "ahead of our float32, " + name,
                          one.millis(Peers.OURS) / row.millis(Peers.OURS),
                          1.8)));
    }
    if (row.workload().bytes() > 0) {
      add(row, Goal.share("share of the memory limit, " + name, row.share(Peers.OURS), 0.9));
      fastest(row, 1);
    }
  }

  /** Sentences, passages and one sentence, by the number of threads. */
  private void texts(PeersRow row) {
    boolean alone = row.threads() == 1;
    double least =
        switch (row.name()) {
          case "S1" -> alone ? 1.4 : 1.55;
          case "S2" -> alone ? 1.35 : 1.4;
          default -> 1.5;
        };
    ahead(row, "ahead of ONNX Runtime, ", Peers.ORT, least);
    switch (row.name()) {
      case "S1" -> ahead(row, "ahead of LangChain4j, ", Peers.LANGCHAIN, alone ? 2 : 3.2);
      case "S2" -> ahead(row, "ahead of LangChain4j, ", Peers.LANGCHAIN, alone ? 1.3 : 2);
      default -> {}
    }
  }

  private void ahead(PeersRow row, String text, String who, double least) {
    if (row.has(who)) {
      add(row, Goal.ahead(text + row.name(), row.ahead(who), least));
    }
  }

  private void layer(PeersRow row) {
    if (row.has(Peers.PARTS)) {
      double more = row.outcome().result().ratio(Peers.OURS, Peers.PARTS);
      add(row, Goal.atMost("layer over the sum of its parts, " + row.name(), more, 1.03));
    }
    switch (row.name()) {
      case "M1" -> {
        if (row.has(Peers.ORT)) {
          add(row, Goal.ahead("ahead of ONNX Runtime, M1", row.ahead(Peers.ORT), 1));
        }
      }
      case "M2" ->
          add(
              row,
              Goal.ahead(
                  "share, over the recorded one of oneDNN, M2",
                  recorded.ahead(Recorded.ONEDNN, row),
                  0.97));
      case "M3" -> best(row, 1.15);
      default -> {}
    }
  }

  private void mean(
      String text, List<PeersRow> prefill, int threads, ToDoubleFunction<PeersRow> ahead) {
    double[] logs =
        prefill.stream()
            .mapToDouble(ahead)
            .filter(ratio -> !Double.isNaN(ratio))
            .map(Math::log)
            .toArray();
    if (logs.length > 0) {
      double mean = Math.exp(Arrays.stream(logs).average().orElseThrow());
      aims.add(new Aim(threads, Goal.ahead(text + "geometric mean of all P", mean, 1.25)));
    }
  }

  /** The two comparisons ran one after the other, so this is rougher than the rest. */
  private void moreThreads(int mostThreads) {
    String worstName = null;
    double worst = Double.POSITIVE_INFINITY;
    for (PeersRow many : rows) {
      for (PeersRow one : rows) {
        if (many.threads() == mostThreads
            && one.threads() == 1
            && many.name().equals(one.name())
            && many.millis(Peers.OURS) > 0) {
          double ratio = one.millis(Peers.OURS) / many.millis(Peers.OURS);
          if (ratio < worst) {
            worst = ratio;
            worstName = many.name();
          }
        }
      }
    }
    if (mostThreads > 1 && worstName != null) {
      aims.add(
          new Aim(
              mostThreads,
              new Goal(
                  "never slower than with 1 thread, least gain",
                  ">= 1 x (%.2f: noise)".formatted(NO_SLOWER),
                  "%.2f x (%s)".formatted(worst, worstName),
                  worst >= NO_SLOWER)));
    }
  }

  /** A table of them, a column for each number of threads. */
  static String table(List<Aim> aims, int mostThreads) {
    Map<String, Map<Integer, Goal>> lines = new LinkedHashMap<>();
    for (Aim aim : aims) {
      lines
          .computeIfAbsent(aim.goal.text(), text -> new LinkedHashMap<>())
          .put(aim.threads, aim.goal);
    }
    StringBuilder text = new StringBuilder("| aim | wanted |");
    for (int threads = 1; threads <= mostThreads; threads++) {
      text.append(threads == 1 ? " 1 thread |" : " " + threads + " threads |");
    }
    text.append("\n|---|---:|").append("---:|".repeat(mostThreads)).append('\n');
    lines.forEach(
        (aim, goals) -> {
          String wanted = goals.values().iterator().next().wanted();
          text.append("| %s | %s |".formatted(aim, wanted));
          for (int threads = 1; threads <= mostThreads; threads++) {
            Goal goal = goals.get(threads);
            text.append(goal == null ? " |" : " " + verdict(goal) + " |");
          }
          text.append('\n');
        });
    List<Goal> all =
        aims.stream().map(Aim::goal).filter(goal -> !goal.text().startsWith(UNSUPPORTED)).toList();
    long met = all.stream().filter(Goal::met).count();
    return text.append("\n%d of %d are met, wishes aside.\n".formatted(met, all.size())).toString();
  }

  private static String verdict(Goal goal) {
    return goal.met() ? goal.got() + ", met" : "**" + goal.got() + ", missed**";
  }
}
