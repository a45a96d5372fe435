package io.github.attention4j.bench;

import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;

/**
 * Whether the report says what the figures say: made-up figures, and what must come of them. Run by
 * {@code bench/peers} before anything is measured.
 */
final class PeersCheck {
  private PeersCheck() {}

  /** Checks; ends with an exception that says what is wrong. */
  static void run() {
    PeersRow ahead = row("P3", Map.of(Peers.OURS, 9.0, Peers.ORT, 10.8, LimitContender.FMA, 8.1));
    require("share of the limit", Report.percent(ahead.share(Peers.OURS)), "90.0 %");
    require("best", ahead.best().orElseThrow().who(), Peers.ORT);
    require("ahead", Report.times(ahead.ahead(Peers.ORT)), "1.20 x");
    require("who took no part", Report.times(ahead.ahead(Peers.TORCH)), "–");

    PeersRow behind = row("P4", Map.of(Peers.OURS, 9.0, Peers.TORCH, 12.0, Peers.VECTOR, 8.1));
    require("best", behind.best().orElseThrow().who(), Peers.VECTOR);
    List<Goal> goals = new PeersGoals(List.of(ahead, behind), new Recorded()).goals(1);
    require("aims that are met", met(goals), "[true, true, false, false]");
    require("the smallest of ratios", goals.getLast().got(), "1.04 x");
  }

  private static List<Boolean> met(List<Goal> goals) {
    return goals.stream().map(Goal::met).toList();
  }

  /** Milliseconds in each of three rounds, the second twice as slow for all. */
  private static PeersRow row(String name, Map<String, Double> millis) {
    Map<String, Experiment.Figures> figures = new LinkedHashMap<>();
    Map<String, ContenderProcess.Ready> ready = new LinkedHashMap<>();
    millis.forEach(
        (who, value) -> {
          double nanos = 1e6 * value;
          figures.put(who, new Experiment.Figures(new double[] {nanos, 2 * nanos, nanos}));
          ready.put(who, new ContenderProcess.Ready("", nanos, 0));
        });
    return new PeersRow(
        new Contenders.Outcome(
            Workload.named(name), 1, ready, Map.of(), new Experiment.Result(3, figures)));
  }

  private static void require(String what, Object got, String wanted) {
    if (!got.toString().equals(wanted)) {
      throw new IllegalStateException(what + " must be " + wanted + ": " + got);
    }
  }
}
