package io.github.attention4j.bench;

import java.io.BufferedReader;
import java.io.IOException;
import java.io.UncheckedIOException;
import java.io.Writer;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import java.util.concurrent.BlockingQueue;
import java.util.concurrent.LinkedBlockingQueue;
import java.util.concurrent.TimeUnit;

/**
 * The driver's end of a contender's process, which is stopped except during its own turns, so that
 * whatever its threads do between calls disturbs no other contender.
 */
final class ContenderProcess implements AutoCloseable {
  private static final int PATIENCE_SECONDS = 100;

  /** What libraries read on their own: all get the same, the number of threads of this run. */
  private static final List<String> UNWANTED =
      List.of("OPENBLAS_CORETYPE", "OPENBLAS_L2_SIZE", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS");

  private final String name;
  private final Path errors;
  private final Process process;
  private final Writer commands;
  private final BlockingQueue<String> answers = new LinkedBlockingQueue<>();
  private String about;

  /** The outcome of a preparation. */
  record Ready(String way, double nanos, double error) {}

  ContenderProcess(String name, int threads, Path directory) throws IOException {
    this.name = name;
    errors = directory.resolve(name.replace(' ', '-') + "-" + threads + ".err");
    ProcessBuilder builder = new ProcessBuilder(command(name, threads));
    Map<String, String> environment = builder.environment();
    UNWANTED.forEach(environment::remove);
    environment.put("OMP_NUM_THREADS", Integer.toString(threads));
    // Not among the arguments: ONNX Runtime 1.29 overflows its stack over a command line of a few
    // kilobytes.
    environment.put("CLASSPATH", System.getProperty("java.class.path"));
    environment.put("DJL_CACHE_DIR", directory.resolve("djl").toAbsolutePath().toString());
    process = builder.redirectError(errors.toFile()).start();
    commands = process.outputWriter();
    Thread.ofVirtual().start(this::listen);
  }

  private static List<String> command(String name, int threads) {
    List<String> command = new ArrayList<>();
    command.add(ProcessHandle.current().info().command().orElse("java"));
    command.addAll(
        List.of(
            "--add-modules=jdk.incubator.vector",
            "-Djdk.incubator.vector.VECTOR_ACCESS_OOB_CHECK=0",
            "--enable-native-access=ALL-UNNAMED",
            "-XX:CompileCommand=quiet",
            "-XX:CompileCommand=inline,io.github.attention4j.bench.Tiles::exp2",
            "-XX:CompileCommand=inline,io.github.attention4j.bench.Tiles::larger",
            "-XX:+UseTransparentHugePages",
            "-Dai.djl.offline=true",
            "-DRUST_FLAVOR=cpu",
            "-DOPT_OUT_TRACKING=true",
            "-Dlimits.library=" + System.getProperty("limits.library", "target/liblimits.so")));
    boolean java = name.equals(Peers.VECTOR) || name.equals(Peers.PLAIN);
    command.addAll(java ? List.of("-Xms2g", "-Xmx2g", "-XX:+AlwaysPreTouch") : List.of("-Xmx6g"));
    if (name.equals(Peers.OPENMP)) {
      command.add("-Da4j.team=openmp");
    } else if (name.startsWith(Peers.OURS + " ")) {
      command.add("-Da4j.isa=" + name.substring(Peers.OURS.length() + 1));
    }
    command.addAll(List.of(ContenderMain.class.getName(), name, Integer.toString(threads)));
    return command;
  }

  private void listen() {
    try (BufferedReader lines = process.inputReader()) {
      for (String line; (line = lines.readLine()) != null; ) {
        if (line.startsWith(ContenderMain.ANSWER)) {
          answers.add(line.substring(ContenderMain.ANSWER.length()));
        }
      }
    } catch (IOException e) {
      answers.add("failed " + e.getMessage());
    }
  }

  String name() {
    return name;
  }

  long id() {
    return process.pid();
  }

  /** Versions and settings, as the contender itself reports them. */
  String about() {
    return about;
  }

  /** Waits until the process has started, and stops it. */
  void awaitStart() {
    about = answer();
    Signals.stop(process.pid());
  }

  /** Prepares a workload; null if the contender has no way to compute it. */
  Ready prepare(Workload workload, Path file) {
    String[] words = turn("prepare " + workload.name() + " " + file).split(" ", 4);
    return switch (words[0]) {
      case "ready" ->
          new Ready(
              words[1].equals("-") ? "" : words[1].replace('_', ' '),
              Double.parseDouble(words[2]),
              Double.parseDouble(words[3]));
      case "none" -> null;
      default -> throw new IllegalStateException(name + ": " + String.join(" ", words));
    };
  }

  /** Nanoseconds of a call, see {@link Way#turn}. */
  double measure(double warmNanos, double turnNanos) {
    return Double.parseDouble(turn("measure " + warmNanos + " " + turnNanos));
  }

  /** The same of {@link Way#beside}. */
  double measureBeside(double warmNanos, double turnNanos) {
    return Double.parseDouble(turn("beside " + warmNanos + " " + turnNanos));
  }

  /** Releases the workload. */
  void drop() {
    turn("drop");
  }

  private String turn(String command) {
    Signals.resume(process.pid());
    try {
      commands.write(command + "\n");
      commands.flush();
      return answer();
    } catch (IOException e) {
      throw new UncheckedIOException(this + " has ended", e);
    } finally {
      if (process.isAlive()) {
        Signals.stop(process.pid());
      }
    }
  }

  private String answer() {
    try {
      for (int second = 0; second < PATIENCE_SECONDS; second++) {
        String answer = answers.poll(1, TimeUnit.SECONDS);
        if (answer != null) {
          return answer;
        }
        if (!process.isAlive()) {
          throw new IllegalStateException(this + " has ended, status " + process.exitValue());
        }
      }
    } catch (InterruptedException e) {
      Thread.currentThread().interrupt();
      throw new IllegalStateException(e);
    }
    throw new IllegalStateException(this + " does not answer");
  }

  @Override
  public void close() {
    process.destroyForcibly();
  }

  @Override
  public String toString() {
    return name + " (see " + errors + ")";
  }
}
