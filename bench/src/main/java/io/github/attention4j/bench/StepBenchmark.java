package io.github.attention4j.bench;

import io.github.attention4j.A4j;
import io.github.attention4j.Tensor;
import io.github.attention4j.demo.PlainCausalLm;
import io.github.attention4j.models.CausalLm;
import java.io.IOException;
import java.lang.foreign.Arena;
import java.nio.file.Path;
import java.util.concurrent.TimeUnit;
import org.openjdk.jmh.annotations.Benchmark;
import org.openjdk.jmh.annotations.BenchmarkMode;
import org.openjdk.jmh.annotations.Fork;
import org.openjdk.jmh.annotations.Measurement;
import org.openjdk.jmh.annotations.Mode;
import org.openjdk.jmh.annotations.OperationsPerInvocation;
import org.openjdk.jmh.annotations.OutputTimeUnit;
import org.openjdk.jmh.annotations.Param;
import org.openjdk.jmh.annotations.Scope;
import org.openjdk.jmh.annotations.Setup;
import org.openjdk.jmh.annotations.State;
import org.openjdk.jmh.annotations.TearDown;
import org.openjdk.jmh.annotations.Warmup;

/**
 * Question: what does the next token of a small language model cost, 1.8 million parameters, in a
 * text of up to 128 tokens?
 *
 * <p>Expected: the weights fit into the second-level caches, so bandwidth hardly matters; with some
 * thirty calls a step, the cost of a call does. Ahead of plain Java by the threads and the vectors
 * that it lacks.
 *
 * <p>Run: {@code bench/run jmh StepBenchmark}. {@code plain} is the demonstration's model on one
 * thread. The three must agree on the logits before anything is timed.
 */
@State(Scope.Benchmark)
@BenchmarkMode(Mode.AverageTime)
@OutputTimeUnit(TimeUnit.MICROSECONDS)
@Fork(1)
@Warmup(iterations = 4, time = 500, timeUnit = TimeUnit.MILLISECONDS)
@Measurement(iterations = 4, time = 400, timeUnit = TimeUnit.MILLISECONDS)
public class StepBenchmark {
  static final int STEPS = 128;
  static final Path MODEL = Path.of("../src/demo/main/resources/models/llama");

  @Param("2")
  public int threads;

  private Arena arena;
  private CausalLm model;
  private CausalLm.Session session;
  private PlainCausalLm plain;
  private VectorCausalLm vector;
  private Team team;

  @Setup
  public void prepare() throws IOException {
    A4j.threads(threads);
    arena = Arena.ofShared();
    model = CausalLm.open(MODEL);
    session = model.newSession(arena);
    plain = PlainCausalLm.load(MODEL);
    team = new Team(threads);
    vector = VectorCausalLm.load(MODEL, team);
    float[] expected = fused().toFloatArray();
    requireEqual("vector", expected, vector());
    requireEqual("plain", expected, plain());
    Limits.pin(0); // only now: threads inherit where they may run
  }

  private static void requireEqual(String who, float[] expected, float[] got) {
    for (int i = 0; i < expected.length; i++) {
      if (!(Math.abs(expected[i] - got[i]) < 1e-3)) {
        throw new IllegalStateException(
            who + " differs in logit " + i + ": " + got[i] + ", expected " + expected[i]);
      }
    }
  }

  @TearDown
  public void close() {
    model.close();
    arena.close();
    team.close();
  }

  /** The text: letters, one after the other. */
  private static int token(int i) {
    return 'a' + i * 7 % 26;
  }

  /** attention4j. */
  @Benchmark
  @OperationsPerInvocation(STEPS)
  public Tensor fused() {
    session.truncate(0);
    Tensor logits = null;
    for (int i = 0; i < STEPS; i++) {
      logits = session.step(token(i));
    }
    return logits;
  }

  /** Tuned code in the Vector API. */
  @Benchmark
  @OperationsPerInvocation(STEPS)
  public float[] vector() {
    vector.reset();
    float[] logits = null;
    for (int i = 0; i < STEPS; i++) {
      logits = vector.step(token(i));
    }
    return logits;
  }

  /** The demonstration's plain Java, one thread. */
  @Benchmark
  @OperationsPerInvocation(STEPS)
  public float[] plain() {
    PlainCausalLm.Cache cache = plain.newCache();
    int[] next = new int[1];
    float[] logits = null;
    for (int i = 0; i < STEPS; i++) {
      next[0] = token(i);
      logits = plain.forward(next, cache)[0];
    }
    return logits;
  }
}
