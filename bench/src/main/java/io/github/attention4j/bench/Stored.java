package io.github.attention4j.bench;

import io.github.attention4j.A4j;
import io.github.attention4j.Attention;
import io.github.attention4j.DType;
import io.github.attention4j.KvCache;
import io.github.attention4j.Tensor;
import io.github.attention4j.layer.Linear;
import java.io.IOException;
import java.lang.foreign.Arena;
import java.lang.foreign.MemorySegment;
import java.util.ArrayList;
import java.util.EnumMap;
import java.util.List;
import java.util.Map;
import java.util.Random;
import java.util.Set;

/**
 * Question: what do projections and steps of attention gain if weights, keys and values are stored
 * in fewer bits, and is there a number of rows at which a projection suddenly takes longer?
 *
 * <p>Expected: with few rows the time of a plain sum over the same bytes, so half of it with half
 * of the bytes; with many rows the multiply-add peak, and no step in between.
 *
 * <p>All storages of a shape take turns in the same rounds, and the sums over as many bytes with
 * them, see {@link Experiment}. Each call reads another copy of its weights or cache, so that they
 * come from memory as in a model of many layers. How to run: {@code bench/run storage}; the results
 * go to {@code bench/results/}.
 */
final class Stored {
  static final String FMA = "FMA limit";

  /** Follows the name of a storage: weights packed in advance. */
  static final String PACKED = " packed";

  /** Weights packed in advance, products in bfloat16. */
  static final String PRODUCTS = " products";

  /** The bytes of all copies of the same numbers, more than a cache holds. */
  private static final long LEAST_BYTES = 160L << 20;

  /** Outputs that are compared with float64. */
  private static final int CHECKED = 48;

  private static final double SECONDS = 3;

  private final StoredReport report = new StoredReport();
  private final MemorySegment bytes = Arena.global().allocate(LEAST_BYTES, 64).fill((byte) 0);
  private long at;

  /** Measures all shapes, or those named. */
  public static void main(String[] arguments) throws IOException {
    Set<String> wanted = Set.of(arguments);
    Stored stored = new Stored();
    int most = Math.min(2, Runtime.getRuntime().availableProcessors());
    for (int threads = 1; threads <= most; threads++) {
      A4j.threads(threads);
      for (Projection projection : Projection.all("rows")) {
        if (wanted.isEmpty() || wanted.contains(projection.name())) {
          stored.projection(projection, threads);
        }
      }
      for (Shape shape : Shape.all("decode")) {
        boolean large = Storage.I8.cacheBytes(shape) > 1e6;
        if (large && (wanted.isEmpty() || wanted.contains(shape.name()))) {
          stored.cache(shape, threads);
        }
      }
    }
    String command = ("bench/run storage " + String.join(" ", arguments)).strip();
    stored.report.write(Machine.slug(), Machine.describe(command), wanted.isEmpty());
  }

  /** The name of the sum over the bytes of a storage. */
  static String sum(Storage storage) {
    return "sum " + storage;
  }

  private static int copies(double bytes) {
    return (int) Math.ceil(LEAST_BYTES / bytes);
  }

  /** A sum over this many bytes, different ones each time. */
  private double sumNanos(int threads, double count) {
    long size = Math.min((long) count / 64 * 64, LEAST_BYTES);
    if (at + size > LEAST_BYTES) {
      at = 0;
    }
    MemorySegment part = bytes.asSlice(at, size);
    at += size;
    return Limits.sumNanos(threads, part, bytes.asSlice(0, 0));
  }

  /** Calls that take turns. */
  private record Rotation(List<Runnable> calls, int[] next) implements Runnable {
    Rotation(List<Runnable> calls) {
      this(calls, new int[1]);
    }

    @Override
    public void run() {
      calls.get(next[0]++ % calls.size()).run();
    }
  }

  // ---- Projections ----

  private void projection(Projection shape, int threads) {
    float[] x = Inputs.normal(new Random(4), shape.rows() * shape.dimIn());
    float[] w = Inputs.normal(new Random(5), shape.dimOut() * shape.dimIn());
    double weights = (double) shape.dimOut() * shape.dimIn();
    try (Arena arena = Arena.ofShared()) {
      Tensor in = Tensor.of(arena, x, shape.rows(), shape.dimIn());
      Tensor out = Tensor.allocate(arena, DType.F32, shape.rows(), shape.dimOut());
      Tensor weight = Tensor.of(arena, w, shape.dimOut(), shape.dimIn());
      Experiment experiment = new Experiment();
      for (Storage storage : Storage.values()) {
        double size = storage.weightBytes(weights);
        List<Runnable> asStored = new ArrayList<>();
        List<Runnable> packed = new ArrayList<>();
        List<Runnable> products = new ArrayList<>();
        float[] exact = storage.widened(arena, weight.slice(0, 0, CHECKED));
        for (int copy = 0; copy < copies(size); copy++) {
          Linear linear = storage.linear(arena, weight);
          add(asStored, linear, in, out, x, exact, storage.tolerance());
          if (storage != Storage.I8 && storage != Storage.I4) {
            add(packed, linear.packed(arena), in, out, x, exact, storage.tolerance());
          }
          Linear rounding = linear.withBf16Products().packed(arena);
          add(products, rounding, in, out, x, exact, Storage.BF16_PRODUCTS);
        }
        experiment.timed(storage.name(), new Rotation(asStored));
        if (!packed.isEmpty()) {
          experiment.timed(storage + PACKED, new Rotation(packed));
        }
        experiment.timed(storage + PRODUCTS, new Rotation(products));
        experiment.measured(sum(storage), () -> sumNanos(threads, size));
      }
      experiment.measured(FMA, () -> Limits.fmaGflops(threads));
      report.add(shape, threads, experiment.run(SECONDS));
    }
  }

  private static void add(
      List<Runnable> calls,
      Linear linear,
      Tensor in,
      Tensor out,
      float[] x,
      float[] exact,
      double tolerance) {
    linear.forward(in, out);
    if (calls.isEmpty()) {
      check(linear, in, out, x, exact, tolerance);
    }
    calls.add(() -> linear.forward(in, out));
  }

  /** Compares the first outputs of each row with products in float64. */
  private static void check(
      Linear linear, Tensor in, Tensor out, float[] x, float[] exact, double tolerance) {
    int dimIn = (int) linear.dimIn();
    for (int row = 0; row < in.size(0); row++) {
      for (int o = 0; o < CHECKED; o++) {
        double product = 0;
        for (int i = 0; i < dimIn; i++) {
          product += (double) x[row * dimIn + i] * exact[o * dimIn + i];
        }
        double wrong = Math.abs(product - out.get(row, o));
        if (!(wrong <= tolerance * Math.sqrt(dimIn))) {
          throw new IllegalStateException(
              "%s: row %d, output %d is wrong by %s"
                  .formatted(linear.dimIn() + " inputs", row, o, wrong));
        }
      }
    }
  }

  // ---- Caches ----

  private void cache(Shape shape, int threads) {
    Inputs in = new Inputs(shape);
    try (Arena arena = Arena.ofShared()) {
      Tensor q =
          Tensor.of(arena, in.q(), shape.batch(), shape.headsQ(), shape.lenQ(), shape.dimQk());
      Tensor k =
          Tensor.of(arena, in.k(), shape.batch(), shape.headsK(), shape.lenK(), shape.dimQk());
      Tensor v =
          Tensor.of(arena, in.v(), shape.batch(), shape.headsV(), shape.lenK(), shape.dimV());
      Tensor out =
          Tensor.allocate(
              arena, DType.F32, shape.batch(), shape.headsQ(), shape.lenQ(), shape.dimV());
      Attention attention = Attention.builder().threads(threads).build();
      Experiment experiment = new Experiment();
      Map<Storage, Double> sizes = new EnumMap<>(Storage.class);
      for (Storage storage : List.of(Storage.F32, Storage.BF16, Storage.F16, Storage.I8)) {
        double size = storage.cacheBytes(shape);
        sizes.put(storage, size);
        List<Runnable> calls = new ArrayList<>();
        for (int copy = 0; copy < copies(size); copy++) {
          KvCache cache =
              KvCache.allocate(
                  arena,
                  storage.dtype(),
                  shape.batch(),
                  shape.headsK(),
                  shape.lenK(),
                  shape.dimQk());
          cache.append(k, v);
          attention.forward(q, cache, out);
          if (copy == 0) {
            Inputs stored =
                new Inputs(
                    in.q(),
                    cache.copyKeys(arena).toFloatArray(),
                    cache.copyValues(arena).toFloatArray());
            check(storage, shape, stored, out.toFloatArray());
          }
          calls.add(() -> attention.forward(q, cache, out));
        }
        experiment.timed(storage.name(), new Rotation(calls));
        experiment.measured(sum(storage), () -> sumNanos(threads, size));
      }
      report.add(shape, threads, sizes, experiment.run(SECONDS));
    }
  }

  /** Compares with float64 over the numbers as they are stored. */
  private static void check(Storage storage, Shape shape, Inputs stored, float[] out) {
    double wrong =
        Reference.error(shape, stored.q(), stored.k(), stored.v(), out, SelfCheck.step(shape));
    if (!(wrong <= 1e-4)) {
      throw new IllegalStateException(
          "%s on %s is wrong by %s".formatted(storage, shape.name(), wrong));
    }
  }
}
