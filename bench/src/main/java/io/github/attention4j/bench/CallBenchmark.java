package io.github.attention4j.bench;

import java.util.concurrent.TimeUnit;
import org.openjdk.jmh.annotations.Benchmark;
import org.openjdk.jmh.annotations.BenchmarkMode;
import org.openjdk.jmh.annotations.Fork;
import org.openjdk.jmh.annotations.Measurement;
import org.openjdk.jmh.annotations.Mode;
import org.openjdk.jmh.annotations.OutputTimeUnit;
import org.openjdk.jmh.annotations.Scope;
import org.openjdk.jmh.annotations.Setup;
import org.openjdk.jmh.annotations.State;
import org.openjdk.jmh.annotations.TearDown;
import org.openjdk.jmh.annotations.Warmup;

/**
 * Question: what does a call cost that has next to nothing to compute?
 *
 * <p>Expected: a downcall to an empty function about 10 ns; the smallest attention, one head and
 * one query on one key, some hundred: checks, a descriptor, a workspace, the kernel's set-up. From
 * C the same call costs what {@link Compare} says.
 *
 * <p>Run: {@code bench/run jmh CallBenchmark}.
 */
@State(Scope.Benchmark)
@BenchmarkMode(Mode.AverageTime)
@OutputTimeUnit(TimeUnit.NANOSECONDS)
@Fork(1)
@Warmup(iterations = 3, time = 300, timeUnit = TimeUnit.MILLISECONDS)
@Measurement(iterations = 4, time = 400, timeUnit = TimeUnit.MILLISECONDS)
public class CallBenchmark {
  private Fused fused;

  @Setup
  public void prepare() {
    Shape shape = new Shape("call", 1, 1, 1, 1, 1, 1, 8, 8, false, "the smallest");
    fused = Fused.plain(shape, new Inputs(shape), 1);
  }

  @TearDown
  public void close() {
    fused.close();
  }

  /** A function that does nothing. */
  @Benchmark
  public void downcallOnly() {
    Limits.nothing();
  }

  /** attention4j, one head, 1 × 1, d 8. */
  @Benchmark
  public void fused() {
    fused.forward();
  }
}
