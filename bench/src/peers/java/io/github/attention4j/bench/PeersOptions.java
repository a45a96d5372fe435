package io.github.attention4j.bench;

import java.util.ArrayList;
import java.util.Iterator;
import java.util.List;
import java.util.stream.IntStream;
import java.util.stream.Stream;

/**
 * The options of a run.
 *
 * @param workloads in the order of the tables
 * @param contenders including ours
 * @param threads how many, one comparison each
 * @param seconds about how long the rounds of one workload last
 * @param quick whether few rounds are enough
 * @param resume whether rows that were kept are used instead of measuring again
 * @param begin how many seconds after the start the last row may be begun
 * @param all whether nothing was left out, so that the results are kept
 */
record PeersOptions(
    List<Workload> workloads,
    List<String> contenders,
    int[] threads,
    double seconds,
    boolean quick,
    boolean resume,
    double begin,
    boolean all) {

  private static final double SECONDS = 10;
  private static final double QUICK_SECONDS = 5;

  /**
   * Reads names of workloads, {@code --quick}, {@code --resume}, and with a value, after "=" or as
   * the next word, {@code --begin}, {@code --seconds}, {@code --threads}, {@code --contenders}.
   */
  static PeersOptions parse(String[] arguments) {
    List<Workload> workloads = new ArrayList<>();
    List<String> contenders = Peers.contenders();
    int most = Math.min(2, Runtime.getRuntime().availableProcessors());
    int[] threads = IntStream.rangeClosed(1, most).toArray();
    boolean quick = false;
    boolean resume = false;
    boolean all = true;
    double seconds = 0;
    double begin = Double.POSITIVE_INFINITY;
    Iterator<String> words =
        Stream.of(arguments)
            .flatMap(word -> Stream.of(word.split("=", 2)))
            .filter(word -> !word.isEmpty())
            .iterator();
    while (words.hasNext()) {
      String word = words.next();
      switch (word) {
        case "--quick" -> quick = true;
        case "--resume" -> resume = true;
        case "--begin" -> begin = Double.parseDouble(words.next());
        case "--seconds" -> seconds = Double.parseDouble(words.next());
        case "--threads" -> {
          threads = Stream.of(words.next().split(",")).mapToInt(Integer::parseInt).toArray();
          all = false;
        }
        case "--contenders" -> {
          contenders = List.of(words.next().replace('_', ' ').split(","));
          all = false;
        }
        default -> {
          workloads.add(Workload.named(word));
          all = false;
        }
      }
    }
    if (quick && contenders.equals(Peers.contenders())) {
      contenders = contenders.stream().filter(PeersOptions::isQuick).toList();
    }
    return new PeersOptions(
        workloads.isEmpty() ? Workload.all() : workloads,
        contenders,
        threads,
        seconds > 0 ? seconds : quick ? QUICK_SECONDS : SECONDS,
        quick,
        resume,
        begin,
        all);
  }

  /** The fewest rounds, even if they last longer than wanted. */
  int fewestRounds() {
    return quick ? 7 : 9;
  }

  /** What must be equal for rows to belong together. */
  String settings() {
    return "%s%.0f s a row, %s".formatted(quick ? "quick, " : "", seconds, contenders);
  }

  /** How to get the same results. */
  String command() {
    return quick ? "bench/peers --quick" : "bench/peers";
  }

  /** Skips contenders that are far slower. */
  private static boolean isQuick(String contender) {
    return !contender.startsWith(Peers.OURS + " ") && !contender.equals(Peers.PLAIN);
  }
}
