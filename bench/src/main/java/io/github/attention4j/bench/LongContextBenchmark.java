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

/**
 * Question: what does causal attention over 131 072 tokens cost? Its matrix of scores would take 64
 * GiB; by how much memory grows instead is measured by {@code bench/run compare memory}.
 *
 * <p>Expected: 1.1 TFLOP at the speed of the long prefill shapes.
 *
 * <p>Run: {@code bench/run jmh LongContextBenchmark}. Some rows are checked against float64 after
 * the measurement.
 */
@State(Scope.Benchmark)
@BenchmarkMode(Mode.SingleShotTime)
@OutputTimeUnit(TimeUnit.MILLISECONDS)
@Fork(1)
@Measurement(iterations = 3)
public class LongContextBenchmark {
  @Param("2")
  public int threads;

  private LongContext context;

  @Setup
  public void prepare() {
    context = new LongContext(threads);
  }

  @TearDown
  public void close() {
    context.check();
    context.close();
  }

  /** attention4j. */
  @Benchmark
  public void fused() {
    context.forward();
  }
}
