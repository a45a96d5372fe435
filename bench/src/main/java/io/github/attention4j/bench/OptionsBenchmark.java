package io.github.attention4j.bench;

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
 * Question: what does each option cost over a call that has none?
 *
 * <p>Expected: what hides keys saves its share of the work; what changes scores costs a few
 * percent; a dense mask has to be read once for each head; returned weights cost a second pass and
 * 50 MB; an expression costs less than twice the built-in form; local attention costs what its
 * visible scores cost, and half as much again if every block of keys has a diagonal.
 *
 * <p>Run: {@code bench/run jmh OptionsBenchmark}; for ratios {@code bench/run compare options}.
 * Every call is checked against float64 before it is timed.
 */
@State(Scope.Benchmark)
@BenchmarkMode(Mode.AverageTime)
@OutputTimeUnit(TimeUnit.MICROSECONDS)
@Fork(1)
@Warmup(iterations = 3, time = 200, timeUnit = TimeUnit.MILLISECONDS)
@Measurement(iterations = 4, time = 300, timeUnit = TimeUnit.MILLISECONDS)
public class OptionsBenchmark {
  @Param({
    "no option",
    "causal",
    "soft-capping",
    "ALiBi",
    "sinks",
    "relative positions, 33 distances, of keys",
    "relative positions, 33 distances, of keys and values",
    "relative positions, 2047 distances, of keys",
    "relative positions, 2047 distances, of keys and values",
    "key lengths: 1021 of 1024 keys",
    "key lengths of each query: 513 to 1024",
    "additive mask [1024, 1024]",
    "boolean mask [1024, 1024]",
    "logsumexp",
    "returned weights, 50 MB",
    "ALiBi as an expression",
    "soft-capping as an expression",
    "window (127, 0)",
    "all keys",
    "local_unmasked, filter_width 128",
    "all of 383 keys",
    "local_mask_right",
    "all of 192 keys",
    "local_within_block_mask_right",
    "all of 64 keys",
    "one sequence of 3378",
    "32 packed sequences of 64 to 994"
  })
  public String option;

  @Param("2")
  public int threads;

  private OptionCalls calls;
  private Runnable code;

  @Setup
  public void prepare() {
    calls = OptionCalls.with(option, threads);
    code = calls.code(option);
    Limits.pin(0); // only now: threads inherit where they may run
  }

  @TearDown
  public void close() {
    calls.close();
  }

  /** attention4j. */
  @Benchmark
  public void call() {
    code.run();
  }
}
