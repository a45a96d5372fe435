package io.github.attention4j.bench;

import java.util.ArrayList;
import java.util.Arrays;
import java.util.Collections;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.function.DoubleSupplier;
import java.util.stream.IntStream;

/**
 * Contenders and limits, taking turns.
 *
 * <p>A clock that drifts or a neighbour that comes and goes affects all that run in the same round
 * alike. So each round measures each entry once, in an order that rotates, and ratios are taken
 * within a round; what is reported is a median over rounds.
 */
final class Experiment {
  /** A batch of calls lasts at least this long, so that the clock's grain does not count. */
  private static final double BATCH_NANOS = 5e6;

  /** Calls before a batch that do not count: they wake threads and fill the caches. */
  private static final double WARM_NANOS = 1e7;

  /**
   * An entry that takes longer than this for a call, or many times as long as the first and more
   * than moments, only takes part in {@link #SLOW_ROUNDS} rounds, to leave the others enough.
   */
  private static final double SLOW_NANOS = 4e8;

  private static final double SLOW_TIMES = 10;
  private static final double MOMENT_NANOS = 2e7;

  private static final int SLOW_ROUNDS = 3;
  private static final int FEWEST_ROUNDS = 5;
  private static final int MOST_ROUNDS = 41;

  private final List<Entry> entries = new ArrayList<>();

  /** A participant: {@code batch} measures a number of calls and returns a figure per call. */
  private record Entry(String name, Batch batch) {}

  private interface Batch {
    double measure(int calls);
  }

  /** Figures of one entry, one per round; NaN if it skipped the round. */
  record Figures(double[] perRound) {
    double median() {
      return medianOf(perRound);
    }
  }

  /** The results: for each entry its figure in every round. */
  record Result(int rounds, Map<String, Figures> figures) {
    boolean has(String name) {
      return figures.containsKey(name);
    }

    double median(String name) {
      return figures.get(name).median();
    }

    /** The median over rounds of a function of both figures of a round. */
    double paired(String a, String b, java.util.function.DoubleBinaryOperator function) {
      double[] first = figures.get(a).perRound();
      double[] second = figures.get(b).perRound();
      double[] both = new double[rounds];
      for (int round = 0; round < rounds; round++) {
        both[round] = function.applyAsDouble(first[round], second[round]);
      }
      return medianOf(both);
    }

    /** The median over rounds of a / b. */
    double ratio(String a, String b) {
      return paired(a, b, (x, y) -> x / y);
    }

    /** The quartiles of a / b over the rounds of both. */
    double[] quartiles(String a, String b) {
      double[] first = figures.get(a).perRound();
      double[] second = figures.get(b).perRound();
      double[] sorted =
          IntStream.range(0, rounds)
              .mapToDouble(round -> first[round] / second[round])
              .filter(ratio -> !Double.isNaN(ratio))
              .sorted()
              .toArray();
      int last = sorted.length - 1;
      return new double[] {sorted[last / 4], sorted[last - last / 4]};
    }
  }

  /** Adds code that is timed: nanoseconds a call. */
  Experiment timed(String name, Runnable call) {
    entries.add(
        new Entry(
            name,
            calls -> {
              long start = System.nanoTime();
              for (int i = 0; i < calls; i++) {
                call.run();
              }
              return (double) (System.nanoTime() - start) / calls;
            }));
    return this;
  }

  /** Adds something that measures itself once a round. */
  Experiment measured(String name, DoubleSupplier figure) {
    entries.add(new Entry(name, calls -> figure.getAsDouble()));
    return this;
  }

  /** Runs rounds for about this many seconds. */
  Result run(double seconds) {
    int[] calls = new int[entries.size()];
    boolean[] slow = new boolean[entries.size()];
    double round = 0;
    double first = 0;
    for (int e = 0; e < calls.length; e++) {
      double once = calibrate(entries.get(e), calls, e);
      first = e == 0 ? once : first;
      slow[e] = once > SLOW_NANOS || once > Math.max(SLOW_TIMES * first, MOMENT_NANOS) && e > 0;
      round += slow[e] ? 0 : Math.max(once, WARM_NANOS) + once * calls[e];
    }
    int rounds =
        round == 0 || slow[0]
            ? SLOW_ROUNDS
            : (int) Math.clamp(seconds * 1e9 / round, FEWEST_ROUNDS, MOST_ROUNDS);
    double[][] figures = new double[calls.length][rounds];
    for (int r = 0; r < rounds; r++) {
      for (int turn = 0; turn < calls.length; turn++) {
        int e = (turn + r) % calls.length;
        if (slow[e] && r >= SLOW_ROUNDS) {
          figures[e][r] = Double.NaN;
          continue;
        }
        if (!slow[e]) {
          warm(entries.get(e).batch());
        }
        figures[e][r] = entries.get(e).batch().measure(calls[e]);
      }
    }
    Map<String, Figures> result = new HashMap<>();
    for (int e = 0; e < calls.length; e++) {
      result.put(entries.get(e).name(), new Figures(figures[e]));
    }
    return new Result(rounds, Collections.unmodifiableMap(result));
  }

  /** As many calls as there is time for, at least one. */
  private static void warm(Batch batch) {
    long start = System.nanoTime();
    do {
      batch.measure(1);
    } while (System.nanoTime() - start < WARM_NANOS);
  }

  /** Warms an entry up and finds how many calls make a batch; returns the nanoseconds of one. */
  private static double calibrate(Entry entry, int[] calls, int e) {
    long start = System.nanoTime();
    double once;
    int warm = 0;
    do {
      long before = System.nanoTime();
      entry.batch().measure(1);
      once = System.nanoTime() - before;
      warm++;
    } while (System.nanoTime() - start < 1e8 && warm < 20_000);
    calls[e] = (int) Math.clamp(BATCH_NANOS / once, 1, 20_000);
    return once;
  }

  /** The median of those that are numbers. */
  static double medianOf(double[] values) {
    double[] sorted = Arrays.stream(values).filter(x -> !Double.isNaN(x)).sorted().toArray();
    if (sorted.length == 0) {
      return Double.NaN;
    }
    int middle = sorted.length / 2;
    return sorted.length % 2 == 1 ? sorted[middle] : (sorted[middle - 1] + sorted[middle]) / 2;
  }
}
