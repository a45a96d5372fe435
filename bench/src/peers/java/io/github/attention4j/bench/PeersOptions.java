package io.github.attention4j.bench;

import java.util.ArrayList;
import java.util.List;
import java.util.stream.IntStream;
import java.util.stream.Stream;

/**
 * What a run is asked for.
 *
 * @param workloads in the order of the tables
 * @param contenders ours among them
 * @param threads how many, one comparison each
 * @param seconds about how long the rounds of one workload last
 * @param all whether nothing was left out, so that the results are to be kept
 */
record PeersOptions(
    List<Workload> workloads,
    List<String> contenders,
    int[] threads,
    double seconds,
    boolean quick,
    boolean all) {

  private static final double SECONDS = 5;
  private static final double QUICK_SECONDS = 1;

  /**
   * Reads names of workloads, {@code --quick}, {@code --seconds=}, {@code --threads=}, {@code
   * --contenders=}.
   */
  static PeersOptions parse(String[] arguments) {
    List<Workload> workloads = new ArrayList<>();
    List<String> contenders = Peers.contenders();
    int most = Math.min(2, Runtime.getRuntime().availableProcessors());
    int[] threads = IntStream.rangeClosed(1, most).toArray();
    boolean quick = false;
    boolean all = true;
    double seconds = 0;
    for (String argument : arguments) {
      String value = argument.substring(argument.indexOf('=') + 1);
      if (argument.equals("--quick")) {
        quick = true;
      } else if (argument.startsWith("--seconds=")) {
        seconds = Double.parseDouble(value);
      } else if (argument.startsWith("--threads=")) {
        threads = Stream.of(value.split(",")).mapToInt(Integer::parseInt).toArray();
        all = false;
      } else if (argument.startsWith("--contenders=")) {
        contenders = List.of(value.replace('_', ' ').split(","));
        all = false;
      } else if (!argument.isEmpty()) {
        workloads.add(Workload.named(argument));
        all = false;
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
        all);
  }

  /** However long they last. */
  int fewestRounds() {
    return quick ? 3 : 5;
  }

  /** Leaves out those that are far behind. */
  private static boolean isQuick(String contender) {
    return !contender.startsWith(Peers.OURS + " ") && !contender.equals(Peers.PLAIN);
  }
}
