package io.github.attention4j.bench;

import java.io.BufferedReader;
import java.io.IOException;
import java.io.InputStreamReader;
import java.io.PrintStream;
import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.nio.FloatBuffer;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;

/**
 * The process of one contender: it does what {@link ContenderProcess} writes to its input, line by
 * line, and answers with one line each.
 *
 * <pre>
 *   prepare P1 FILE     ready WAY NANOS ERROR | none | failed WHY
 *   measure WARM TURN   NANOS
 *   beside WARM TURN    NANOS
 *   drop                dropped
 * </pre>
 *
 * <p>WARM and TURN are nanoseconds, see {@link Way#turn}; NANOS are those of one call.
 *
 * <p>To prepare is to try every way of the contender, to refuse those whose result is wrong, and to
 * keep the fastest. attention4j writes its result of a layer to the file, the others compare theirs
 * with it; attention without projections is compared with float64.
 */
final class ContenderMain {
  /** Before each answer: libraries print lines of their own. */
  static final String ANSWER = "@ ";

  /** The error allowed in outputs of layers, which are about 1. */
  static final double LAYER_TOLERANCE = 1e-4;

  /** In 16 bits, the weights of attention included: of attention and projections, and of layers. */
  static final double SHORT_TOLERANCE = 2e-2;

  static final double SHORT_LAYER_TOLERANCE = 5e-2;

  /** Mostly the rounding of what is stored. */
  static final double I8_TOLERANCE = 5e-2;

  static final double I4_TOLERANCE = 0.6;

  private static final double TRIAL_NANOS = 1.5e8;

  /** For calls so short that it matters how well their Java is compiled, which takes a while. */
  private static final double SHORT_NANOS = 2e4;

  private static final double SHORT_TRIAL_NANOS = 2e9;

  private final Contender contender;
  private final boolean ours;
  private final PrintStream answers = System.out;
  private Way way;
  private double error;

  private ContenderMain(Contender contender, boolean ours) {
    this.contender = contender;
    this.ours = ours;
  }

  /** Serves one contender, named as in {@link Peers}, with a number of threads. */
  public static void main(String[] arguments) throws Exception {
    String name = arguments[0];
    int threads = Integer.parseInt(arguments[1]);
    Contender contender =
        switch (name) {
          case Peers.ORT -> new OrtContender(threads);
          case Peers.TORCH -> new TorchContender(threads);
          case Peers.ONEDNN -> new OneDnnContender(threads);
          case Peers.LANGCHAIN -> new LangChainContender(threads);
          case Peers.VECTOR -> new JavaContender(true, threads);
          case Peers.PLAIN -> new JavaContender(false, threads);
          case LimitContender.FMA, LimitContender.DOT, LimitContender.SUM, LimitContender.SGEMM ->
              new LimitContender(name, threads);
          default -> new FusedContender(threads, name.equals(Peers.PARTS));
        };
    new ContenderMain(contender, name.equals(Peers.OURS)).serve();
  }

  private void serve() throws Exception {
    contender.warmUp();
    answer(contender.about());
    BufferedReader lines = new BufferedReader(new InputStreamReader(System.in));
    for (String line; (line = lines.readLine()) != null; ) {
      String[] words = line.split(" ");
      switch (words[0]) {
        case "prepare" -> prepare(Workload.named(words[1]), Path.of(words[2]));
        case "measure" -> measure(way, words);
        case "beside" -> measure(way.beside(), words);
        case "drop" -> {
          drop();
          answer("dropped");
        }
        default -> throw new IllegalArgumentException(line);
      }
    }
  }

  private void answer(String text) {
    answers.println(ANSWER + text);
    answers.flush();
  }

  private void measure(Way measured, String[] words) {
    double nanos = measured.turn(Double.parseDouble(words[1]), Double.parseDouble(words[2]));
    answer(Double.toString(nanos));
  }

  private void drop() {
    if (way != null) {
      way.close();
      way = null;
    }
    System.gc();
  }

  /** Starts threads while the caller may run anywhere; afterwards it stays on one core. */
  private void prepare(Workload workload, Path file) {
    drop();
    double best = Double.POSITIVE_INFINITY;
    String failure = null;
    for (Contender.Opening opening : contender.ways(workload)) {
      Way next = null;
      try {
        Limits.unpin();
        next = opening.open();
        next.run();
        Limits.pin(0);
        double wrong = error(workload, next.result(), file);
        double nanos = trial(next);
        if (nanos < best) {
          best = nanos;
          drop();
          way = next;
          error = wrong;
          continue;
        }
      } catch (Exception e) {
        failure = (next == null ? "" : next.name() + ": ") + e.getMessage();
        e.printStackTrace();
      }
      if (next != null) {
        next.close();
      }
    }
    System.gc(); // what was only needed to prepare would add up over all processes
    if (way != null) {
      answer(
          "ready %s %s %s"
              .formatted(way.name().isEmpty() ? "-" : way.name().replace(' ', '_'), best, error));
    } else {
      answer(failure == null ? "none" : "failed " + failure.lines().findFirst().orElse(""));
    }
  }

  /** Nanoseconds of a call: the median of those in the second half of the trial. */
  private static double trial(Way way) {
    if (way instanceof LimitWay) {
      return way.nanos(1);
    }
    List<Double> calls = new ArrayList<>();
    long start = System.nanoTime();
    do {
      calls.add(way.nanos(1));
    } while (System.nanoTime() - start < TRIAL_NANOS);
    List<Double> later = calls.subList(calls.size() / 2, calls.size());
    double once = later.stream().sorted().skip(later.size() / 2).findFirst().orElseThrow();
    if (once < SHORT_NANOS) {
      return way.nanos((int) (SHORT_TRIAL_NANOS / once));
    }
    return once;
  }

  private double error(Workload workload, float[] result, Path file) throws IOException {
    if (result == null) {
      return 0;
    }
    double wrong =
        switch (workload) {
          case Workload.Prefill prefill -> plainError(prefill.shape(), prefill.storage(), result);
          case Workload.Step step -> plainError(step.shape(), step.storage(), result);
          case Workload.Pairs pairs -> pairsError(pairs.shape(), pairs.storage(), result);
          case Workload.Product product -> SharedRows.error(product.shape(), result);
          default -> layerError(result, file);
        };
    double tolerance = tolerance(workload);
    if (!(wrong <= tolerance)) {
      throw new IllegalStateException("wrong by " + wrong + " on " + workload.name());
    }
    return wrong;
  }

  /**
   * What a result may be wrong by: of attention from float64 over the numbers as stored, of a
   * projection over the numbers as drawn, of layers from ours.
   */
  private static double tolerance(Workload workload) {
    boolean layer =
        !(workload instanceof Workload.Prefill
            || workload instanceof Workload.Step
            || workload instanceof Workload.Pairs
            || workload instanceof Workload.Product);
    return switch (workload.storage()) {
      case F32 -> layer ? LAYER_TOLERANCE : SelfCheck.TOLERANCE;
      case BF16, F16 -> layer ? SHORT_LAYER_TOLERANCE : SHORT_TOLERANCE;
      case I8 -> I8_TOLERANCE;
      case I4 -> I4_TOLERANCE;
    };
  }

  private static double plainError(Shape shape, Storage storage, float[] out) {
    Inputs in = SharedInputs.of(shape, storage);
    return Reference.error(shape, in.q(), in.k(), in.v(), out, SelfCheck.step(shape));
  }

  private static double pairsError(Shape shape, Storage storage, float[] out) {
    Inputs in = SharedInputs.of(shape.unpaired(), storage);
    return Reference.differentialError(
        shape, Fused.LAMBDA, in.q(), in.k(), in.v(), out, SelfCheck.step(shape));
  }

  private double layerError(float[] out, Path file) throws IOException {
    if (ours) {
      write(file, out);
      return 0;
    }
    return difference(read(file), out);
  }

  private static double difference(float[] expected, float[] out) {
    double worst = expected.length == out.length ? 0 : Double.POSITIVE_INFINITY;
    for (int i = 0; i < out.length && worst < Double.POSITIVE_INFINITY; i++) {
      double wrong = Math.abs((double) expected[i] - out[i]);
      worst = Double.isNaN(wrong) ? Double.POSITIVE_INFINITY : Math.max(worst, wrong);
    }
    return worst;
  }

  private static void write(Path file, float[] values) throws IOException {
    ByteBuffer bytes = ByteBuffer.allocate(4 * values.length).order(ByteOrder.nativeOrder());
    bytes.asFloatBuffer().put(values);
    Files.write(file, bytes.array());
  }

  private static float[] read(Path file) throws IOException {
    FloatBuffer values =
        ByteBuffer.wrap(Files.readAllBytes(file)).order(ByteOrder.nativeOrder()).asFloatBuffer();
    float[] array = new float[values.remaining()];
    values.get(array);
    return array;
  }
}
