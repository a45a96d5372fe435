package io.github.attention4j.bench;

import io.github.attention4j.Alignment;
import io.github.attention4j.Attention;
import io.github.attention4j.DType;
import io.github.attention4j.Mask;
import io.github.attention4j.Tensor;
import java.io.IOException;
import java.io.UncheckedIOException;
import java.lang.foreign.Arena;
import java.nio.file.Files;
import java.nio.file.Path;

/** Causal attention over 131 072 tokens, whose matrix of scores would take 64 GiB. */
final class LongContext implements AutoCloseable {
  static final Shape SHAPE =
      new Shape("long", 1, 1, 1, 1, 131_072, 131_072, 64, 64, true, "a book in one piece");

  private static final Path STATUS = Path.of("/proc/self/status");
  private static final Path CLEAR = Path.of("/proc/self/clear_refs");
  private static final String RESET_PEAK = "5";

  private final Arena arena = Arena.ofShared();
  private final Shape shape;
  private final Inputs in;
  private final Attention attention;
  private final Tensor q;
  private final Tensor k;
  private final Tensor v;
  private final Tensor out;

  LongContext(int threads) {
    this(SHAPE, threads);
  }

  /** The same with another shape of one head. */
  private LongContext(Shape shape, int threads) {
    this.shape = shape;
    in = new Inputs(shape);
    q = of(in.q());
    k = of(in.k());
    v = of(in.v());
    out = of(new float[shape.outCount()]);
    attention = Attention.builder().mask(Mask.causal(Alignment.TOP_LEFT)).threads(threads).build();
    // Loads classes and the library, which are not part of a call.
    Tensor[] few = new Tensor[4];
    for (int t = 0; t < 4; t++) {
      few[t] = Tensor.allocate(arena, DType.F32, 1, 1, 8, shape.dimQk());
    }
    attention.forward(few[0], few[1], few[2], few[3]);
  }

  private Tensor of(float[] values) {
    return Tensor.of(arena, values, 1, 1, shape.lenK(), shape.dimQk());
  }

  void forward() {
    attention.forward(q, k, v, out);
  }

  /** What a call took. */
  record Measured(int threads, double nanos, double tensorBytes, double moreBytes) {
    double moreBytesPerThread() {
      return moreBytes / threads;
    }
  }

  /**
   * Calls once and measures by how much the memory of the process grew at most: workspace, stacks
   * of threads that had to be started, and whatever the JVM did, as exactly as Linux counts (some
   * hundred KiB). Must run before anything else has left a workspace or threads behind.
   */
  static Measured measure(int threads) {
    return measure(SHAPE, threads);
  }

  /** The same with another shape of one head. */
  static Measured measure(Shape shape, int threads) {
    try (LongContext context = new LongContext(shape, threads)) {
      System.gc();
      writeOrThrow(CLEAR, RESET_PEAK);
      double before = statusBytes("VmRSS");
      long start = System.nanoTime();
      context.forward();
      long nanos = System.nanoTime() - start;
      double more = statusBytes("VmHWM") - before;
      context.check();
      return new Measured(threads, nanos, 4.0 * 4 * shape.outCount(), more);
    }
  }

  /** Compares the present result with the formula. */
  void check() {
    SelfCheck.require("attention4j", shape, in, out.toFloatArray());
  }

  private static void writeOrThrow(Path file, String text) {
    try {
      Files.writeString(file, text);
    } catch (IOException e) {
      throw new UncheckedIOException(e);
    }
  }

  /** A line of the process's status, for example {@code VmRSS: 1234 kB}. */
  private static double statusBytes(String name) {
    try {
      String line =
          Files.readAllLines(STATUS).stream()
              .filter(l -> l.startsWith(name + ":"))
              .findFirst()
              .orElseThrow();
      return 1024.0 * Long.parseLong(line.replaceAll("\\D", ""));
    } catch (IOException e) {
      throw new UncheckedIOException(e);
    }
  }

  @Override
  public void close() {
    arena.close();
  }
}
