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
 * Question: what does a projection cost with many rows (L1, a matrix product) and with one (L3, a
 * decode step that reads 67 MB of weights)?
 *
 * <p>Expected: L1 is OpenBLAS's sgemm on slices, no faster than it; L3 takes the time of reading
 * the weights once.
 *
 * <p>Run: {@code bench/run jmh ProjectionBenchmark}. Every contender is checked against float64
 * before it is timed; the Vector API packs its weights in advance.
 */
@State(Scope.Benchmark)
@BenchmarkMode(Mode.AverageTime)
@OutputTimeUnit(TimeUnit.MICROSECONDS)
@Fork(1)
@Warmup(iterations = 3, time = 300, timeUnit = TimeUnit.MILLISECONDS)
@Measurement(iterations = 4, time = 400, timeUnit = TimeUnit.MILLISECONDS)
public class ProjectionBenchmark {
  @Param({"L1", "L3"})
  public String shape;

  @Param("2")
  public int threads;

  private Projection sizes;
  private float[] x;
  private float[] w;
  private float[] bias;
  private float[] y;
  private Team team;
  private PlainAttention plain;
  private VectorLinear vector;
  private Arena arena;
  private Linear linear;
  private Tensor in;
  private Tensor out;

  @Setup
  public void prepare() {
    sizes = Projection.named(shape);
    x = Inputs.normal(new Random(4), sizes.rows() * sizes.dimIn());
    w = Inputs.normal(new Random(5), sizes.dimOut() * sizes.dimIn());
    bias = Inputs.normal(new Random(6), sizes.dimOut());
    y = new float[sizes.rows() * sizes.dimOut()];
    team = new Team(threads);
    plain = new PlainAttention(team);
    vector = new VectorLinear(team, sizes.dimIn(), sizes.dimOut(), w, bias);
    A4j.threads(threads);
    arena = Arena.ofShared();
    linear =
        Linear.of(
            Tensor.of(arena, w, sizes.dimOut(), sizes.dimIn()),
            Tensor.of(arena, bias, sizes.dimOut()));
    in = Tensor.of(arena, x, sizes.rows(), sizes.dimIn());
    out = Tensor.allocate(arena, DType.F32, sizes.rows(), sizes.dimOut());
    SelfCheck.require("fused", sizes, x, w, bias, fused().toFloatArray());
    SelfCheck.require("vector", sizes, x, w, bias, vector());
    SelfCheck.require("plain", sizes, x, w, bias, plain());
    Limits.pin(0); // only now: threads inherit where they may run
  }

  @TearDown
  public void close() {
    arena.close();
    team.close();
  }

  /** attention4j. */
  @Benchmark
  public Tensor fused() {
    linear.forward(in, out);
    return out;
  }

  /** Tuned code in the Vector API. */
  @Benchmark
  public float[] vector() {
    vector.forward(sizes.rows(), x, y);
    return y;
  }

  /** Scalar loops. */
  @Benchmark
  public float[] plain() {
    plain.linear(sizes.rows(), sizes.dimIn(), sizes.dimOut(), x, w, bias, y);
    return y;
  }
}
