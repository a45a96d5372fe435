package io.github.attention4j.bench;

import java.util.LinkedHashMap;
import java.util.LinkedHashSet;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import java.util.Set;

/**
 * What others reached on another machine, as recorded in {@code shapes/recorded.txt}: only shares
 * of a limit can be compared, not times.
 */
final class Recorded {
  static final String ONEDNN = "onednn";
  static final String VECTOR = "java-vector";

  /** Told that the processor is another: fast, but nobody supports it. */
  private static final Set<String> UNSUPPORTED =
      Set.of("libtorch-djl-mkl512", "libtorch-djl-mkl512-bf16");

  private static final String FMA = "fma";
  private static final String MEMORY = "memory";
  private static final String DOT = "dot";

  private final Set<String> names = new LinkedHashSet<>();
  private final Map<String, Double> values = new LinkedHashMap<>();

  /** The fastest of those recorded on a workload. */
  record Best(String who, double share) {}

  Recorded() {
    List<String> columns = List.of();
    for (String line : Shape.lines("recorded")) {
      String[] words = line.strip().split("\\s+");
      switch (words[0]) {
        case "limit" -> {
          put(words[2], words[2], words[1], words[3]);
          put(words[4], words[4], words[1], words[5]);
          put(words[6], words[6], words[1], words[7]);
        }
        case "workload" -> {
          columns = List.of(words).subList(2, words.length);
          names.addAll(columns);
        }
        default -> {
          for (int c = 0; c < columns.size(); c++) {
            put(columns.get(c), words[0], words[1], words[2 + c]);
          }
        }
      }
    }
  }

  private void put(String who, String what, String threads, String value) {
    if (!value.equals("-")) {
      values.put(key(who, what, Integer.parseInt(threads)), Double.parseDouble(value));
    }
  }

  private static String key(String who, String what, int threads) {
    return who + " " + what + " " + threads;
  }

  private double value(String who, String what, int threads) {
    return values.getOrDefault(key(who, what, threads), Double.NaN);
  }

  /** All who were recorded in float32, or in 16 bits. */
  List<String> names(boolean reduced) {
    return names.stream().filter(who -> who.matches(".*-b?f16") == reduced).toList();
  }

  double millis(String who, Workload workload, int threads) {
    return value(who, workload.name(), threads);
  }

  /**
   * The share of memory's speed, or else of the multiply-adds or, in 16 bits, dot products; NaN if
   * it was not measured.
   */
  double share(String who, Workload workload, int threads) {
    double millis = millis(who, workload, threads);
    return workload.bytes() > 0
        ? workload.bytes() / (1e6 * millis) / value(MEMORY, MEMORY, threads)
        : workload.flops() / (1e6 * millis) / peak(workload, threads);
  }

  private double peak(Workload workload, int threads) {
    String limit = workload.storage() == Storage.F32 ? FMA : DOT;
    return value(limit, limit, threads);
  }

  /** The best of all, or of those that can be had as they are shipped. */
  Optional<Best> best(Workload workload, int threads, boolean asShipped) {
    return names.stream()
        .filter(who -> !asShipped || !UNSUPPORTED.contains(who))
        .map(who -> new Best(who, share(who, workload, threads)))
        .filter(best -> !Double.isNaN(best.share))
        .max((a, b) -> Double.compare(a.share, b.share));
  }
}
