package io.github.attention4j.bench;

import static java.lang.foreign.ValueLayout.ADDRESS;
import static java.lang.foreign.ValueLayout.JAVA_FLOAT;
import static java.lang.foreign.ValueLayout.JAVA_INT;

import io.github.attention4j.A4j;
import io.github.attention4j.DType;
import io.github.attention4j.Tensor;
import io.github.attention4j.layer.Linear;
import java.lang.foreign.Arena;
import java.lang.foreign.FunctionDescriptor;
import java.lang.foreign.Linker;
import java.lang.foreign.MemorySegment;
import java.lang.foreign.SymbolLookup;
import java.lang.invoke.MethodHandle;

/**
 * The speed of a square matrix product in the OpenBLAS that attention4j brings, called directly:
 * each thread of a team computes a slice of the rows.
 */
final class Sgemm {
  private static final int SIZE = 1024;
  private static final int ROW_MAJOR = 101;
  private static final int PLAIN = 111;
  private static final int TRANSPOSED = 112;

  private final Arena arena = Arena.global();
  private final Team team;
  private final MemorySegment a = matrix();
  private final MemorySegment b = matrix();
  private final MemorySegment c = matrix();
  private final MethodHandle product;

  Sgemm(int threads) {
    team = new Team(threads);
    loadBlas();
    // The library is already in the process, so its name suffices to find it.
    MemorySegment function =
        SymbolLookup.libraryLookup("libopenblas.so.0", arena).findOrThrow("cblas_sgemm");
    product =
        Linker.nativeLinker()
            .downcallHandle(
                function,
                FunctionDescriptor.ofVoid(
                    JAVA_INT,
                    JAVA_INT,
                    JAVA_INT,
                    JAVA_INT,
                    JAVA_INT,
                    JAVA_INT,
                    JAVA_FLOAT,
                    ADDRESS,
                    JAVA_INT,
                    ADDRESS,
                    JAVA_INT,
                    JAVA_FLOAT,
                    ADDRESS,
                    JAVA_INT));
  }

  private static void loadBlas() {
    try (Arena arena = Arena.ofShared()) {
      Tensor x = Tensor.allocate(arena, DType.F32, 64, 64);
      Linear.of(Tensor.allocate(arena, DType.F32, 64, 64))
          .forward(x, Tensor.allocate(arena, DType.F32, 64, 64));
    }
  }

  String about() {
    String blas =
        A4j.describe()
            .lines()
            .filter(line -> line.contains("OpenBLAS") && !line.contains("/"))
            .findFirst()
            .orElse("BLAS")
            .strip()
            .replaceAll("\\s+", " ");
    return "%s, %d x %d x %d".formatted(blas, SIZE, SIZE, SIZE);
  }

  private MemorySegment matrix() {
    MemorySegment matrix = arena.allocate(4L * SIZE * SIZE, 64);
    for (long i = 0; i < (long) SIZE * SIZE; i++) {
      matrix.setAtIndex(JAVA_FLOAT, i, 1 + i % 7);
    }
    return matrix;
  }

  /** GFLOP/s of one product. */
  double gflops() {
    long start = System.nanoTime();
    team.run(team.threads(), this::slice);
    return 2.0 * SIZE * SIZE * SIZE / (System.nanoTime() - start);
  }

  private void slice(int part) {
    int from = SIZE * part / team.threads();
    int rows = SIZE * (part + 1) / team.threads() - from;
    try {
      product.invokeExact(
          ROW_MAJOR,
          PLAIN,
          TRANSPOSED,
          rows,
          SIZE,
          SIZE,
          1f,
          a.asSlice(4L * from * SIZE),
          SIZE,
          b,
          SIZE,
          0f,
          c.asSlice(4L * from * SIZE),
          SIZE);
    } catch (Throwable e) {
      throw new IllegalStateException(e);
    }
  }
}
