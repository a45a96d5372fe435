package io.github.attention4j.bench;

import java.io.IOException;
import java.io.UncheckedIOException;
import java.lang.management.ManagementFactory;
import java.lang.management.ThreadMXBean;
import java.nio.file.Files;
import java.nio.file.Path;
import java.time.Instant;
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

    require("the other's share", Report.percent(ahead.share(Peers.ORT)), "75.0 %");

    PeersRow behind =
        row(
            "P4",
            Map.of(Peers.OURS, 9.0, Peers.TORCH, 8.1, Peers.VECTOR, 4.5, LimitContender.FMA, 4.5));
    require("a peer, not our own", behind.best().orElseThrow().who(), Peers.TORCH);
    List<PeersRow> rows = List.of(ahead, behind);
    List<PeersGoals.Aim> aims = new PeersGoals(rows, new Recorded()).aims(1);
    require(
        "aims that are met",
        met(aims).toString(),
        "[true, true, true, false, false, false, false, false, false]");
    require("the mean of ratios", got(aims, "ahead of the fastest .* mean .*"), "1.04 x");
    require("recorded", got(aims, "share, over the best .* P4"), "0.98 x (java-vector)");
    require("unsupported", got(aims, "wish: .* P4"), "none");
    keepsWhatItReads(ahead.outcome());
    others();
  }

  private static List<Boolean> met(List<PeersGoals.Aim> aims) {
    return aims.stream().map(aim -> aim.goal().met()).toList();
  }

  private static String got(List<PeersGoals.Aim> aims, String text) {
    return aims.stream()
        .map(PeersGoals.Aim::goal)
        .filter(goal -> goal.text().matches(text))
        .map(Goal::got)
        .findFirst()
        .orElse("none");
  }

  /** A row that was kept is found again, but not with other settings. */
  private static void keepsWhatItReads(Contenders.Outcome outcome) {
    try {
      Path directory = Files.createTempDirectory("rows");
      new PeersKept(directory, "a").keep(outcome);
      Contenders.Outcome found =
          new PeersKept(directory, "a").find(outcome.workload(), outcome.threads()).orElseThrow();
      require(
          "what was kept",
          Json.write(new PeersRow(found).json()),
          Json.write(new PeersRow(outcome).json()));
      require(
          "a row of other settings",
          new PeersKept(directory, "b").find(outcome.workload(), outcome.threads()).isPresent(),
          false);
      for (Path file : List.of(directory.resolve("P3-1.tsv"), directory)) {
        Files.delete(file);
      }
    } catch (IOException e) {
      throw new UncheckedIOException(e);
    }
  }

  /** What this thread itself uses is not used by others. */
  private static void others() {
    Others others = new Others(List.of(ProcessHandle.current().pid()));
    Others without = new Others(List.of());
    double before = without.seconds() - others.seconds();
    ThreadMXBean threads = ManagementFactory.getThreadMXBean();
    long end = threads.getCurrentThreadCpuTime() + 60_000_000L;
    while (threads.getCurrentThreadCpuTime() < end) {
      Thread.onSpinWait();
    }
    double used = without.seconds() - others.seconds() - before;
    require("60 ms of work, counted as ours", used > 0.03, true);
    require("an eighth of a second in a whole one", Others.disturb(0.125, 1), true);
    require("ticks that do not count", Others.disturb(0.05, 0.4), false);
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
            Workload.named(name),
            1,
            Instant.EPOCH,
            Map.of(Peers.OURS, "made up"),
            ready,
            Map.of(),
            0,
            0,
            new Experiment.Result(3, figures)));
  }

  private static void require(String what, Object got, Object wanted) {
    if (!got.equals(wanted)) {
      throw new IllegalStateException(what + " must be " + wanted + ": " + got);
    }
  }
}
