package io.github.attention4j.bench;

import java.lang.foreign.MemorySegment;
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
 * Question: what does a pair of softmax maps over the same values cost in one fused pass, against
 * two plain calls and a subtraction, and against plain attention with as many heads?
 *
 * <p>Expected: less than the two calls, because values are read once and the difference never goes
 * to memory; about as much as plain attention with all heads, which does the same arithmetic.
 *
 * <p>Run: {@code bench/run jmh DifferentialBenchmark}. Every contender is checked against float64
 * before it is timed.
 */
@State(Scope.Benchmark)
@BenchmarkMode(Mode.AverageTime)
@OutputTimeUnit(TimeUnit.MICROSECONDS)
@Fork(1)
@Warmup(iterations = 3, time = 300, timeUnit = TimeUnit.MILLISECONDS)
@Measurement(iterations = 4, time = 400, timeUnit = TimeUnit.MILLISECONDS)
public class DifferentialBenchmark {
  @Param({"X1"})
  public String shape;

  @Param("2")
  public int threads;

  private Shape sizes;
  private Inputs in;
  private float[] maps;
  private float[] out;
  private Team team;
  private PlainAttention plain;
  private VectorAttention vector;
  private Fused fused;

  @Setup
  public void prepare() {
    sizes = Shape.named("differential", shape);
    in = new Inputs(sizes.unpaired());
    maps = new float[2 * sizes.outCount()];
    out = new float[sizes.outCount()];
    team = new Team(threads);
    plain = new PlainAttention(team);
    vector = new VectorAttention(team);
    fused = Fused.pairs(sizes, in, threads);
    twoCallsAndSubtraction();
    SelfCheck.requirePairs("two calls", sizes, in, fused.resultArray());
    fused();
    SelfCheck.requirePairs("fused", sizes, in, fused.resultArray());
    SelfCheck.requirePairs("vector", sizes, in, vector());
    SelfCheck.requirePairs("plain", sizes, in, plain());
    Limits.pin(0); // only now: threads inherit where they may run
  }

  @TearDown
  public void close() {
    fused.close();
    team.close();
  }

  /** attention4j: both maps and their difference in one pass. */
  @Benchmark
  public MemorySegment fused() {
    fused.differential();
    return fused.result();
  }

  /** attention4j: plain attention with the heads of both maps, each with its own values. */
  @Benchmark
  public void allHeads() {
    fused.plainWithAllHeads();
  }

  /** attention4j: two plain calls, and a subtraction in Java. */
  @Benchmark
  public MemorySegment twoCallsAndSubtraction() {
    fused.twoCallsAndSubtraction(team);
    return fused.result();
  }

  /** Tuned code in the Vector API. */
  @Benchmark
  public float[] vector() {
    vector.differential(sizes, Fused.LAMBDA, in.q(), in.k(), in.v(), maps, out);
    return out;
  }

  /** Scalar loops. */
  @Benchmark
  public float[] plain() {
    plain.differential(sizes, Fused.LAMBDA, in.q(), in.k(), in.v(), maps, out);
    return out;
  }
}
