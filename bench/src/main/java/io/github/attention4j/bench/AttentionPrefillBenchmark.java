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
 * Question: what does attention over many queries cost, in one pass off-heap, in the Vector API, in
 * plain Java? P2 is a page of text under a causal mask, P11 a batch of short sentences.
 *
 * <p>Expected: at least 15 times as fast as plain Java, and ahead of the Vector API by the price of
 * what it has to do in addition: packing keys, masks, a softmax whose constants are reloaded.
 *
 * <p>Run: {@code bench/run jmh AttentionPrefillBenchmark}. Every contender is checked against
 * float64 before it is timed.
 */
@State(Scope.Benchmark)
@BenchmarkMode(Mode.AverageTime)
@OutputTimeUnit(TimeUnit.MICROSECONDS)
@Fork(1)
@Warmup(iterations = 3, time = 300, timeUnit = TimeUnit.MILLISECONDS)
@Measurement(iterations = 4, time = 400, timeUnit = TimeUnit.MILLISECONDS)
public class AttentionPrefillBenchmark {
  @Param({"P2", "P11"})
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
    sizes = Shape.named("prefill", shape);
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
