package io.github.attention4j.bench;

import java.util.ArrayList;
import java.util.List;
import java.util.Map;

/** What the comparison was hoped to show, and whether it does. */
final class PeersGoals {
  /** Shares of the FMA peak. */
  private static final Map<String, Double> PEAK =
      Map.of(
          "P3", 0.88, "P6", 0.88, "P4", 0.83, "P9", 0.83, "P5", 0.85, "P7", 0.85, "P10", 0.85, "P8",
          0.75, "P11", 0.55);

  /** Times that are equal but for the clock's grain and the scheduler. */
  private static final double NO_SLOWER = 0.97;

  private final List<PeersRow> rows;
  private final Recorded recorded;
  private final List<Goal> goals = new ArrayList<>();

  PeersGoals(List<PeersRow> rows, Recorded recorded) {
    this.rows = rows;
    this.recorded = recorded;
  }

  /** All that the rows can answer. */
  List<Goal> goals(int mostThreads) {
    for (int threads = mostThreads; threads >= 1; threads--) {
      int count = threads;
      List<PeersRow> mine = rows.stream().filter(row -> row.threads() == count).toList();
      mine.forEach(this::add);
      geometricMean(mine, count);
    }
    moreThreads(mostThreads);
    return goals;
  }

  private static String at(PeersRow row) {
    return row.name() + ", " + threads(row.threads());
  }

  private static String threads(int count) {
    return count == 1 ? "1 thread" : count + " threads";
  }

  private void add(PeersRow row) {
    if (!row.has(Peers.OURS)) {
      return;
    }
    switch (row.workload()) {
      case Workload.Prefill prefill -> prefill(row, prefill.shape());
      case Workload.Step step -> step(row);
      case Workload.Pairs pairs -> pairs(row);
      case Workload.Layer layer -> layer(row);
      case Workload.Encoder encoder -> best(row, 1);
      case Workload.Decoder decoder -> best(row, 1);
    }
  }

  private void prefill(PeersRow row, Shape shape) {
    if (shape == Workload.SMALLEST) {
      double nanos = 1e6 * row.millis(Peers.OURS);
      goals.add(
          new Goal(
              "the smallest call from Java, " + threads(row.threads()),
              "< 1000 ns",
              "%.0f ns".formatted(nanos),
              nanos < 1000));
      return;
    }
    Double peak = PEAK.get(row.name());
    if (peak != null && row.has(LimitContender.FMA)) {
      goals.add(Goal.share("share of the FMA peak, " + at(row), row.share(Peers.OURS), peak));
    }
    best(row, shape.causal() ? 1.25 : 1.05);
  }

  private void best(PeersRow row, double least) {
    row.best()
        .ifPresent(
            best ->
                goals.add(
                    Goal.ahead(
                        "against the best, " + best.who() + ", " + at(row), best.ahead(), least)));
  }

  private void step(PeersRow row) {
    if (row.name().equals("D1") || row.name().equals("D4")) {
      goals.add(Goal.share("share of the memory limit, " + at(row), row.share(Peers.OURS), 0.95));
    }
    if (!row.name().equals("D1")) {
      best(row, 1.1);
    }
  }

  private void pairs(PeersRow row) {
    goals.add(Goal.share("share of the FMA peak, " + at(row), row.share(Peers.OURS), 0.8));
    if (row.has(Peers.TORCH)) {
      goals.add(Goal.ahead("against PyTorch's best, " + at(row), row.ahead(Peers.TORCH), 1.8));
    }
    if (row.has(Peers.VECTOR)) {
      goals.add(Goal.ahead("against the Vector API, " + at(row), row.ahead(Peers.VECTOR), 1.4));
    }
  }

  private void layer(PeersRow row) {
    if (row.has(Peers.PARTS)) {
      double more = row.outcome().result().ratio(Peers.OURS, Peers.PARTS);
      goals.add(Goal.atMost("layer over the sum of its parts, " + at(row), more, 1.03));
    }
    switch (row.name()) {
      case "M1" -> {
        if (row.has(Peers.ORT)) {
          goals.add(Goal.ahead("against ONNX Runtime, " + at(row), row.ahead(Peers.ORT), 1));
        }
      }
      case "M2" -> {
        double theirs = recorded.shareOfPeak("oneDNN", row.workload(), row.threads());
        goals.add(
            Goal.ahead(
                "share of peak over oneDNN's recorded one, " + at(row),
                row.share(Peers.OURS) / theirs,
                0.97));
      }
      case "M3" -> best(row, 1.15);
      default -> {}
    }
  }

  private void geometricMean(List<PeersRow> mine, int threads) {
    double[] logs =
        mine.stream()
            .filter(row -> row.name().startsWith("P"))
            .flatMap(row -> row.best().stream())
            .mapToDouble(best -> Math.log(best.ahead()))
            .toArray();
    if (logs.length > 0) {
      double mean = Math.exp(java.util.Arrays.stream(logs).average().orElseThrow());
      goals.add(
          Goal.ahead("against the best, geometric mean of all P, " + threads(threads), mean, 1.25));
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
      goals.add(
          new Goal(
              "%d threads never slower than 1, least gain".formatted(mostThreads),
              ">= 1 x (%.2f: noise)".formatted(NO_SLOWER),
              "%.2f x (%s)".formatted(worst, worstName),
              worst >= NO_SLOWER));
    }
  }
}
