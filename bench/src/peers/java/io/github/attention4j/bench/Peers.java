package io.github.attention4j.bench;

import io.github.attention4j.A4j;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import java.util.Locale;

/**
 * Question: how fast is attention4j beside ONNX Runtime and PyTorch, beside Java, and beside what
 * the machine can do at all?
 *
 * <p>Expected: ahead of the best of them on every workload.
 *
 * <p>Each contender has a process of its own, because runtimes disturb each other within one: their
 * threads spin between calls, and two OpenMP libraries do not agree on cores. The processes take
 * turns in rounds, all others stopped. How to run: {@code bench/peers}; the results go to {@code
 * bench/results/}.
 */
final class Peers {
  static final String OURS = "attention4j";
  static final String ORT = "onnxruntime";
  static final String TORCH = "pytorch";
  static final String VECTOR = "vector";
  static final String PLAIN = "plain";

  /** attention4j again: the parts of a layer, each by itself. */
  static final String PARTS = "parts";

  /** Where the processes leave what they have to say, and results for comparison. */
  private static final Path DIRECTORY = Path.of("target", "peers");

  private final PeersOptions options;
  private final PeersReport report = new PeersReport();

  private Peers(PeersOptions options) {
    this.options = options;
  }

  /** Measures all workloads, or those named. */
  public static void main(String[] arguments) throws IOException {
    long start = System.nanoTime();
    PeersCheck.run();
    Files.createDirectories(DIRECTORY);
    Peers peers = new Peers(PeersOptions.parse(arguments));
    for (int threads : peers.options.threads()) {
      peers.run(threads);
    }
    String command = ("bench/peers " + String.join(" ", arguments)).strip();
    peers.report.write(Machine.slug(), Machine.describe(command), peers.options.all());
    System.out.printf(Locale.ROOT, "%n%.0f s%n", (System.nanoTime() - start) / 1e9);
  }

  private void run(int threads) throws IOException {
    try (Contenders contenders = new Contenders(options.contenders(), threads, DIRECTORY)) {
      contenders.about().forEach((name, about) -> report.addContender(name, threads, about));
      for (Workload workload : options.workloads()) {
        report.add(contenders.compare(workload, options));
      }
    }
  }

  /** Everybody who takes part, ours first: it makes the results that others are compared with. */
  static List<String> contenders() {
    List<String> all = new ArrayList<>();
    all.add(OURS);
    A4j.availableIsas().stream().skip(1).map(isa -> OURS + " " + isa).forEach(all::add);
    all.addAll(
        List.of(
            ORT,
            TORCH,
            VECTOR,
            PLAIN,
            PARTS,
            LimitContender.FMA,
            LimitContender.SUM,
            LimitContender.SGEMM));
    return all;
  }
}
