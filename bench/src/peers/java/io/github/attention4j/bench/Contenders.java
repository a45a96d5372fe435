package io.github.attention4j.bench;

import java.io.IOException;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;

/**
 * The processes of all contenders with one number of threads, and the order in which they take
 * turns.
 *
 * <p>A clock that drifts or a neighbour that comes and goes hits all who run in the same round
 * alike. So each round measures each contender once, in an order that rotates, and ratios are taken
 * within a round.
 */
final class Contenders implements AutoCloseable {
  /** A turn lasts at least this long, and what precedes it untimed a third of that. */
  private static final double TURN_NANOS = 9e6;

  /** Who needs longer for a call warms up within it. */
  private static final double LONG_NANOS = 5e7;

  /** Who needs longer than that takes part in few rounds. */
  private static final double SLOW_NANOS = 4e8;

  private static final int SLOW_ROUNDS = 3;
  private static final int MOST_ROUNDS = 41;
  private static final int MOST_CALLS = 20_000;

  private final int threads;
  private final Path directory;
  private final List<ContenderProcess> processes = new ArrayList<>();
  private final Thread hook = new Thread(this::killAll);

  /** One that takes part in a workload. */
  private record Entry(ContenderProcess process, ContenderProcess.Ready ready) {
    boolean slow() {
      return ready.nanos() > SLOW_NANOS;
    }

    int calls() {
      return (int) Math.clamp(TURN_NANOS / ready.nanos(), 1, MOST_CALLS);
    }

    int warm() {
      return ready.nanos() > LONG_NANOS ? 0 : 1 + calls() / 3;
    }

    double turnNanos() {
      return ready.nanos() * (warm() + calls());
    }
  }

  /**
   * What came of a workload.
   *
   * @param ready what each contender chose, and how wrong it was
   * @param failures why a contender did not take part
   * @param result nanoseconds of a call in every round
   */
  record Outcome(
      Workload workload,
      int threads,
      Map<String, ContenderProcess.Ready> ready,
      Map<String, String> failures,
      Experiment.Result result) {}

  Contenders(List<String> names, int threads, Path directory) throws IOException {
    this.threads = threads;
    this.directory = directory;
    Runtime.getRuntime().addShutdownHook(hook);
    for (String name : names) {
      processes.add(new ContenderProcess(name, threads, directory));
    }
    processes.forEach(ContenderProcess::awaitStart);
  }

  /** Versions and settings of everybody. */
  Map<String, String> about() {
    Map<String, String> about = new LinkedHashMap<>();
    processes.forEach(process -> about.put(process.name(), process.about()));
    return about;
  }

  /** Lets all prepare a workload, then measures in rounds. */
  Outcome compare(Workload workload, PeersOptions options) {
    Map<String, ContenderProcess.Ready> ready = new LinkedHashMap<>();
    Map<String, String> failures = new LinkedHashMap<>();
    List<Entry> entries = new ArrayList<>();
    for (ContenderProcess process : processes) {
      try {
        ContenderProcess.Ready one =
            process.prepare(workload, directory.resolve(workload.name() + ".bin"));
        if (one != null) {
          entries.add(new Entry(process, one));
          ready.put(process.name(), one);
        }
      } catch (IllegalStateException e) {
        failures.put(process.name(), e.getMessage());
      }
    }
    Experiment.Result result = measure(entries, options);
    entries.forEach(entry -> entry.process.drop());
    return new Outcome(workload, threads, ready, failures, result);
  }

  private static Experiment.Result measure(List<Entry> entries, PeersOptions options) {
    double nanos =
        entries.stream().filter(entry -> !entry.slow()).mapToDouble(Entry::turnNanos).sum();
    boolean few = entries.getFirst().slow();
    int rounds =
        few
            ? SLOW_ROUNDS
            : (int)
                Math.clamp(options.seconds() * 1e9 / nanos, options.fewestRounds(), MOST_ROUNDS);
    double[][] figures = new double[entries.size()][rounds];
    for (int round = 0; round < rounds; round++) {
      for (int turn = 0; turn < entries.size(); turn++) {
        int e = (turn + round) % entries.size();
        Entry entry = entries.get(e);
        figures[e][round] =
            entry.slow() && round >= SLOW_ROUNDS
                ? Double.NaN
                : entry.process.measure(entry.warm(), entry.calls());
      }
    }
    Map<String, Experiment.Figures> result = new LinkedHashMap<>();
    for (int e = 0; e < figures.length; e++) {
      result.put(entries.get(e).process.name(), new Experiment.Figures(figures[e]));
    }
    return new Experiment.Result(rounds, result);
  }

  private void killAll() {
    processes.forEach(ContenderProcess::close);
  }

  @Override
  public void close() {
    killAll();
    Runtime.getRuntime().removeShutdownHook(hook);
  }
}
