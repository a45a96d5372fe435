package io.github.attention4j.bench;

import java.io.IOException;
import java.nio.file.Path;
import java.time.Instant;
import java.time.temporal.ChronoUnit;
import java.util.ArrayList;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.stream.Stream;

/**
 * The processes of all contenders with one number of threads, and the order in which they take
 * turns.
 *
 * <p>A clock that drifts or a neighbour that comes and goes affects all that run in the same round
 * alike. So each round measures each contender once, in an order that rotates, and ratios are taken
 * within a round. A round during which others used the processors is measured again.
 */
final class Contenders implements AutoCloseable {
  /**
   * What does not count at the beginning of a turn. Caches, sleeping threads and clocks have to
   * come back: calls of 0.4 ms take twice as long at first, and a tenth longer for 10 ms, those of
   * PyTorch for 40.
   */
  private static final double WARM_NANOS = 40e6;

  /** How long the calls that count take together. */
  private static final double TURN_NANOS = 20e6;

  /** A contender that takes longer than this for a call takes part in few rounds. */
  private static final double SLOW_NANOS = 1.5e9;

  private static final int SLOW_ROUNDS = 3;

  /** If a round lasts longer than this, there are few rounds. */
  private static final double LONG_ROUND_NANOS = 4e9;

  private static final int FEWEST_ROUNDS = 5;
  private static final int MOST_ROUNDS = 31;

  private final int threads;
  private final Path directory;
  private final List<ContenderProcess> processes = new ArrayList<>();

  /** Why a contender did not start, by name. */
  private final Map<String, String> absent = new LinkedHashMap<>();

  private final Others others;
  private final Thread hook = new Thread(this::killAll);

  /** A contender that takes part in a workload, or what else its process measures. */
  private record Entry(String name, ContenderProcess process, boolean beside, double nanos) {
    boolean slow() {
      return nanos > SLOW_NANOS;
    }

    double turnNanos() {
      return Math.max(WARM_NANOS, nanos) + Math.max(TURN_NANOS, nanos);
    }

    double measure() {
      return beside
          ? process.measureBeside(WARM_NANOS, TURN_NANOS)
          : process.measure(WARM_NANOS, TURN_NANOS);
    }
  }

  /**
   * The outcome of a workload.
   *
   * @param time when it was measured
   * @param about versions and settings of all contenders
   * @param ready what each contender chose, and how wrong it was
   * @param failures why contenders did not take part
   * @param repeated how many rounds were measured again because others used the processors
   * @param disturbed how many rounds count although others used the processors
   * @param result nanoseconds of a call in every round
   */
  record Outcome(
      Workload workload,
      int threads,
      Instant time,
      Map<String, String> about,
      Map<String, ContenderProcess.Ready> ready,
      Map<String, String> failures,
      int repeated,
      int disturbed,
      Experiment.Result result) {}

  Contenders(List<String> names, int threads, Path directory) throws IOException {
    this.threads = threads;
    this.directory = directory;
    Runtime.getRuntime().addShutdownHook(hook);
    for (String name : names) {
      processes.add(new ContenderProcess(name, threads, directory));
    }
    for (ContenderProcess process : List.copyOf(processes)) {
      try {
        process.awaitStart();
      } catch (IllegalStateException e) {
        System.out.println(process.name() + " does not take part: " + e.getMessage());
        absent.put(process.name(), e.getMessage());
        processes.remove(process);
        process.close();
      }
    }
    others =
        new Others(
            Stream.concat(
                    Stream.of(ProcessHandle.current().pid()),
                    processes.stream().map(ContenderProcess::id))
                .toList());
  }

  /** Lets all contenders prepare a workload, then measures in rounds. */
  Outcome compare(Workload workload, PeersOptions options) {
    Map<String, String> about = new LinkedHashMap<>();
    Map<String, ContenderProcess.Ready> ready = new LinkedHashMap<>();
    Map<String, String> failures = new LinkedHashMap<>(absent);
    List<Entry> entries = new ArrayList<>();
    for (ContenderProcess process : processes) {
      about.put(process.name(), process.about());
      try {
        ContenderProcess.Ready one =
            process.prepare(workload, directory.resolve(workload.name() + ".bin"));
        if (one != null) {
          String name = nameOf(process, workload);
          entries.add(new Entry(name, process, false, one.nanos()));
          ready.put(name, one);
        }
      } catch (IllegalStateException e) {
        failures.put(process.name(), e.getMessage());
      }
    }
    List<ContenderProcess> prepared = entries.stream().map(Entry::process).toList();
    List<Entry> beside = new ArrayList<>();
    for (Entry entry : entries) {
      String measured = measuredBeside(entry.name, workload);
      if (about.containsKey(measured) || measured.equals(LimitContender.HANDOVER)) {
        beside.add(new Entry(measured, entry.process, true, entry.nanos));
        ready.put(measured, new ContenderProcess.Ready("", entry.nanos, 0));
      }
    }
    entries.addAll(beside);
    Instant time = Instant.now().truncatedTo(ChronoUnit.MINUTES);
    Rounds rounds = new Rounds(entries, rounds(entries, options));
    rounds.run(others);
    prepared.forEach(ContenderProcess::drop);
    return new Outcome(
        workload,
        threads,
        time,
        about,
        ready,
        failures,
        rounds.repeated,
        rounds.disturbed,
        rounds.result());
  }

  /** What a process measures; beside a step of attention, the limit's sum is another one. */
  private static String nameOf(ContenderProcess process, Workload workload) {
    return process.name().equals(LimitContender.SUM) && LimitContender.ofOurs(workload)
        ? LimitContender.MEMORY
        : process.name();
  }

  /** What the process of a contender measures as well; empty if nothing. */
  private String measuredBeside(String name, Workload workload) {
    if (name.equals(Peers.OURS) && LimitContender.ofOurs(workload)) {
      return LimitContender.SUM;
    }
    return name.equals(LimitContender.FMA) && threads > 1 ? LimitContender.HANDOVER : "";
  }

  private static int rounds(List<Entry> entries, PeersOptions options) {
    double nanos =
        entries.stream().filter(entry -> !entry.slow()).mapToDouble(Entry::turnNanos).sum();
    int fewest = nanos > LONG_ROUND_NANOS ? FEWEST_ROUNDS : options.fewestRounds();
    return (int) Math.clamp(options.seconds() * 1e9 / nanos, fewest, MOST_ROUNDS);
  }

  /** Figures of all entries, round by round. */
  private static final class Rounds {
    private final List<Entry> entries;
    private final double[][] figures;
    private final int rounds;
    private int repeated;
    private int disturbed;

    Rounds(List<Entry> entries, int rounds) {
      this.entries = entries;
      this.rounds = rounds;
      figures = new double[entries.size()][rounds];
    }

    /** If the machine never becomes idle, twice the rounds have to suffice. */
    void run(Others others) {
      for (int round = 0; round < rounds; ) {
        double elsewhere = others.seconds();
        long start = System.nanoTime();
        measure(round);
        double elapsed = (System.nanoTime() - start) / 1e9;
        boolean disturb = Others.disturb(others.seconds() - elsewhere, elapsed);
        if (disturb && repeated < rounds) {
          repeated++;
        } else {
          disturbed += disturb ? 1 : 0;
          round++;
        }
      }
    }

    private void measure(int round) {
      for (int turn = 0; turn < figures.length; turn++) {
        int e = (turn + round) % figures.length;
        Entry entry = entries.get(e);
        figures[e][round] = entry.slow() && round >= SLOW_ROUNDS ? Double.NaN : entry.measure();
      }
    }

    Experiment.Result result() {
      Map<String, Experiment.Figures> result = new LinkedHashMap<>();
      for (int e = 0; e < figures.length; e++) {
        result.put(entries.get(e).name, new Experiment.Figures(figures[e]));
      }
      return new Experiment.Result(rounds, result);
    }
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
