package io.github.attention4j.bench;

import io.github.attention4j.A4j;
import io.github.attention4j.DType;
import io.github.attention4j.Tensor;
import io.github.attention4j.layer.Linear;
import java.lang.foreign.Arena;
import java.util.Random;
import java.util.concurrent.TimeUnit;
import org.openjdk.jmh.annotations.Benchmark;
import org.openjdk.jmh.annotations.BenchmarkMode;
import org.openjdk.jmh.annotations.Fork;
import org.openjdk.jmh.annotations.Measurement;
import org.openjdk.jmh.annotations.Mode;
import org.openjdk.jmh.annotations.OutputTimeUnit;
import org.openjdk.jmh.annotations.Param;
import org.openjdk.jmh.annotations.Scope;
import org.openjdk.jmh.annotations.Setup;
import org.openjdk.jmh.annotations.State;
import org.openjdk.jmh.annotations.TearDown;
import org.openjdk.jmh.annotations.Warmup;

/**
 * Question: what does a projection gain if its weights are stored in fewer bits, with one row and
 * with many?
 *
 * <p>Expected: one row takes the time of reading the weights, so 4 bits take an eighth of
 * float32's; many rows take the time of the products, whatever the storage.
 *
 * <p>Run: {@code bench/run jmh StorageBenchmark}. The weights of most storages fit into a large
 * last-level cache here; {@code bench/run storage} reads them from memory, beside a sum over as
 * many bytes, and checks the results.
 */
@State(Scope.Benchmark)
@BenchmarkMode(Mode.AverageTime)
@OutputTimeUnit(TimeUnit.MICROSECONDS)
@Fork(1)
@Warmup(iterations = 3, time = 300, timeUnit = TimeUnit.MILLISECONDS)
@Measurement(iterations = 4, time = 400, timeUnit = TimeUnit.MILLISECONDS)
public class StorageBenchmark {
  @Param({"F32", "BF16", "F16", "I8", "I4"})
  public String storage;

  @Param({"W1", "W16", "W512"})
  public String shape;

  @Param("2")
  public int threads;

  private Arena arena;
  private Linear linear;
  private Linear products;
  private Tensor in;
  private Tensor out;

  @Setup
  public void prepare() {
    Projection sizes = Projection.named("rows", shape);
    A4j.threads(threads);
    arena = Arena.ofShared();
    float[] w = Inputs.normal(new Random(5), sizes.dimOut() * sizes.dimIn());
    float[] x = Inputs.normal(new Random(4), sizes.rows() * sizes.dimIn());
    linear =
        Storage.valueOf(storage).linear(arena, Tensor.of(arena, w, sizes.dimOut(), sizes.dimIn()));
    products = linear.withBf16Products().packed(arena);
    in = Tensor.of(arena, x, sizes.rows(), sizes.dimIn());
    out = Tensor.allocate(arena, DType.F32, sizes.rows(), sizes.dimOut());
    asStored();
    Limits.pin(0); // only now: threads inherit where they may run
  }

  @TearDown
  public void close() {
    arena.close();
  }

  /** Weights where they are. */
  @Benchmark
  public Tensor asStored() {
    linear.forward(in, out);
    return out;
  }

  /** Weights packed, products of numbers rounded to bfloat16. */
  @Benchmark
  public Tensor bf16Products() {
    products.forward(in, out);
    return out;
  }
}
