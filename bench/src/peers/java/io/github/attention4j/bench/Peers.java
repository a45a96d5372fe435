package io.github.attention4j.bench;

import io.github.attention4j.A4j;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import java.util.Locale;
import java.util.Map;

/**
 * Question: how fast is attention4j beside ONNX Runtime, PyTorch and oneDNN, beside Java, and
 * beside what the machine can do at all?
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

  /** attention4j again, on OpenMP's threads instead of its own. */
  static final String OPENMP = OURS + " openmp";

  static final String ORT = "onnxruntime";
  static final String TORCH = "pytorch";
  static final String ONEDNN = "onednn";
  static final String LANGCHAIN = "langchain4j";
  static final String VECTOR = "vector";
  static final String PLAIN = "plain";

  /** attention4j again: the parts of a layer, each timed by itself. */
  static final String PARTS = "parts";

  /** The directory for messages and results of the processes. */
  private static final Path DIRECTORY = Path.of("target", "peers");

  private final long start = System.nanoTime();
  private final PeersOptions options;
  private final PeersKept kept;
  private int missing;

  private Peers(PeersOptions options, PeersKept kept) {
    this.options = options;
    this.kept = kept;
  }

  /** Measures all workloads, or those named. */
  public static void main(String[] arguments) throws IOException {
    PeersCheck.run();
    Files.createDirectories(DIRECTORY);
    PeersOptions options = PeersOptions.parse(arguments);
    Map<String, String> machine = Machine.describe(options.command());
    String key = "%s; %s; %s".formatted(Machine.sources(), options.settings(), machine.get("CPU"));
    Peers peers =
        new Peers(
            options,
            new PeersKept(
                DIRECTORY.resolve("rows-" + Integer.toHexString(options.settings().hashCode())),
                key));
    for (int threads : options.threads()) {
      peers.run(threads);
    }
    peers.report(machine);
    System.out.printf(Locale.ROOT, "%n%.0f s%n", peers.seconds());
  }

  private double seconds() {
    return (System.nanoTime() - start) / 1e9;
  }

  private boolean isWanted(Workload workload, int threads) {
    return !options.resume() || kept.find(workload, threads).isEmpty();
  }

  private void run(int threads) throws IOException {
    List<Workload> wanted =
        options.workloads().stream().filter(workload -> isWanted(workload, threads)).toList();
    if (wanted.isEmpty() || seconds() >= options.begin()) {
      missing += wanted.size();
      return;
    }
    try (Contenders contenders = new Contenders(options.contenders(), threads, DIRECTORY)) {
      for (Workload workload : wanted) {
        if (seconds() >= options.begin()) {
          missing++;
          continue;
        }
        Contenders.Outcome outcome = contenders.compare(workload, options);
        kept.keep(outcome);
        PeersReport.print(new PeersRow(outcome), seconds());
      }
    }
  }

  /** Reports the outcome if everything that was requested has been measured. */
  private void report(Map<String, String> machine) throws IOException {
    if (missing > 0) {
      System.out.printf(
          "%n%d rows are still missing: go on with --resume and the same settings%n", missing);
      return;
    }
    PeersReport report = new PeersReport();
    for (int threads : options.threads()) {
      for (Workload workload : options.workloads()) {
        kept.find(workload, threads).ifPresent(report::add);
      }
    }
    report.write(Machine.slug(), machine, options.all());
  }

  /** All contenders, ours first: it makes the results that the others are compared with. */
  static List<String> contenders() {
    List<String> all = new ArrayList<>();
    all.add(OURS);
    A4j.availableIsas().stream().skip(1).map(isa -> OURS + " " + isa).forEach(all::add);
    all.addAll(
        List.of(
            OPENMP,
            ORT,
            TORCH,
            ONEDNN,
            LANGCHAIN,
            VECTOR,
            PLAIN,
            PARTS,
            LimitContender.FMA,
            LimitContender.DOT,
            LimitContender.SUM,
            LimitContender.SGEMM));
    return all;
  }
}
