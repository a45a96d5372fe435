package io.github.attention4j.bench;

import java.util.List;
import java.util.function.Predicate;

/**
 * Peers that are not run here, as {@code shapes/recorded.txt} has them: only shares of a limit can
 * be compared, not times.
 */
final class Recorded {
  static final List<String> NAMES = List.of("ggml", "oneDNN", "libtorch on OpenBLAS");

  private final List<String[]> lines =
      Shape.lines("recorded").stream().map(line -> line.strip().split("\\s+")).toList();

  /** The share of the limit that the workload is bound by; NaN if it was not measured. */
  double share(String who, Workload workload, int threads) {
    double millis = value(who, workload.name(), threads);
    return workload.bytes() > 0
        ? workload.bytes() / (1e6 * millis) / value(who, "memory", threads)
        : shareOfPeak(who, workload, threads);
  }

  /** The share of multiply-adds. */
  double shareOfPeak(String who, Workload workload, int threads) {
    double millis = value(who, workload.name(), threads);
    return workload.flops() / (1e6 * millis) / value(who, "fma", threads);
  }

  private double value(String who, String name, int threads) {
    Predicate<String[]> wanted =
        words -> words[0].equals(name) && words[1].equals(Integer.toString(threads));
    return lines.stream()
        .filter(wanted)
        .map(words -> words[2 + NAMES.indexOf(who)])
        .filter(word -> !word.equals("-"))
        .mapToDouble(Double::parseDouble)
        .findFirst()
        .orElse(Double.NaN);
  }
}
