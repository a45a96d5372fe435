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
 * Question: what does one query a sequence cost against a cache of keys? D2 reads 33 MB, D4 268 MB,
 * D5 40 kB.
 *
 * <p>Expected: D2 and D4 take the time of reading the cache once, which is {@code sum}; D5 is
 * mostly the call itself.
 *
 * <p>Run: {@code bench/run jmh AttentionDecodeBenchmark}. Every contender is checked against
 * float64 before it is timed.
 */
@State(Scope.Benchmark)
@BenchmarkMode(Mode.AverageTime)
@OutputTimeUnit(TimeUnit.MICROSECONDS)
@Fork(1)
@Warmup(iterations = 3, time = 300, timeUnit = TimeUnit.MILLISECONDS)
@Measurement(iterations = 4, time = 400, timeUnit = TimeUnit.MILLISECONDS)
public class AttentionDecodeBenchmark {
  @Param({"D2", "D4", "D5"})
  public String shape;

  @Param("2")
  public int threads;

  private Shape sizes;
  private Inputs in;
  private float[] out;
  private Team team;
  private PlainAttention plain;
  private VectorAttention vector;
  private Fused fused;

  @Setup
  public void prepare() {
    sizes = Shape.named("decode", shape);
    in = new Inputs(sizes);
    out = new float[sizes.outCount()];
    team = new Team(threads);
    plain = new PlainAttention(team);
    vector = new VectorAttention(team);
    fused = Fused.plain(sizes, in, threads);
    fused();
    SelfCheck.require("fused", sizes, in, fused.resultArray());
    SelfCheck.require("vector", sizes, in, vector());
    SelfCheck.require("plain", sizes, in, plain());
    Limits.pin(0); // only now: threads inherit where they may run
  }

  @TearDown
  public void close() {
    fused.close();
    team.close();
  }

  /** attention4j. */
  @Benchmark
  public MemorySegment fused() {
    fused.forward();
    return fused.result();
  }

  /** The limit: a sum over the same keys and values, and starting its threads. */
  @Benchmark
  public double sum() {
    return Limits.sumNanos(threads, fused.keys(), fused.values());
  }

  /** Tuned code in the Vector API. */
  @Benchmark
  public float[] vector() {
    vector.forward(sizes, in.q(), in.k(), in.v(), out);
    return out;
  }

  /** Scalar loops. */
  @Benchmark
  public float[] plain() {
    plain.forward(sizes, in.q(), in.k(), in.v(), out);
    return out;
  }
}
