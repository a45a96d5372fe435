package io.github.attention4j.bench;

import io.github.attention4j.Alignment;
import io.github.attention4j.Attention;
import io.github.attention4j.DType;
import io.github.attention4j.Differential;
import io.github.attention4j.Mask;
import io.github.attention4j.Tensor;
import java.lang.foreign.Arena;
import java.lang.foreign.MemorySegment;
import java.lang.foreign.ValueLayout;

/**
 * attention4j on one problem: the tensors, off-heap, and the calls that are measured.
 *
 * <p>Shapes whose query and key heads come in pairs are made by {@link #pairs}.
 */
final class Fused implements AutoCloseable {
  static final float LAMBDA = 0.4f;

  private final Arena arena = Arena.ofShared();
  private final Attention attention;
  private final Differential differential;
  private final Tensor q;
  private final Tensor k;
  private final Tensor v;
  private final Tensor out;

  /* Only for pairs: every second head of q and k, a copy of v for each map, and their results. */
  private Tensor[] mapQ;
  private Tensor[] mapK;
  private Tensor[] mapOut;
  private Tensor ownV;
  private Tensor ownOut;

  private Fused(Shape shape, Shape unpaired, Inputs in, int threads) {
    Mask mask = shape.causal() ? Mask.causal(Alignment.TOP_LEFT) : Mask.none();
    attention = Attention.builder().mask(mask).threads(threads).build();
    differential = Differential.builder().mask(mask).threads(threads).build();
    q = of(in.q(), shape.batch(), unpaired.headsQ(), shape.lenQ(), shape.dimQk());
    k = of(in.k(), shape.batch(), unpaired.headsK(), shape.lenK(), shape.dimQk());
    v = of(in.v(), shape.batch(), shape.headsV(), shape.lenK(), shape.dimV());
    out = outOf(shape);
  }

  /** The tensors of a plain problem. */
  static Fused plain(Shape shape, Inputs in, int threads) {
    return new Fused(shape, shape, in, threads);
  }

  /** The tensors of a differential problem; the inputs are those of {@code shape.unpaired()}. */
  static Fused pairs(Shape shape, Inputs in, int threads) {
    Fused fused = new Fused(shape, shape.unpaired(), in, threads);
    fused.addComparisons(shape);
    return fused;
  }

  private void addComparisons(Shape shape) {
    mapQ = new Tensor[] {everySecondHead(q, 0), everySecondHead(q, 1)};
    mapK = new Tensor[] {everySecondHead(k, 0), everySecondHead(k, 1)};
    mapOut = new Tensor[] {outOf(shape), outOf(shape)};
    Shape unpaired = shape.unpaired();
    ownV = Tensor.allocate(arena, DType.F32, v.size(0), unpaired.headsK(), v.size(2), v.size(3));
    for (int map = 0; map < 2; map++) {
      everySecondHead(ownV, map).copyFrom(v);
    }
    ownOut = outOf(unpaired);
  }

  private static Tensor everySecondHead(Tensor heads, int first) {
    return heads
        .reshape(heads.size(0), heads.size(1) / 2, 2, heads.size(2), heads.size(3))
        .select(2, first);
  }

  private Tensor of(float[] values, long... shape) {
    return Tensor.of(arena, values, shape);
  }

  private Tensor outOf(Shape shape) {
    return Tensor.allocate(
        arena, DType.F32, shape.batch(), shape.headsQ(), shape.lenQ(), shape.dimV());
  }

  /** {@code out = softmax(scale · q·kᵀ) · v}. */
  void forward() {
    attention.forward(q, k, v, out);
  }

  /** Both maps of every pair and their difference, in one pass. */
  void differential() {
    differential.forward(q, k, v, LAMBDA, out);
  }

  /** The same by two plain calls and a subtraction, which a team of Java threads shares. */
  void twoCallsAndSubtraction(Team team) {
    for (int map = 0; map < 2; map++) {
      attention.forward(mapQ[map], mapK[map], v, mapOut[map]);
    }
    MemorySegment first = mapOut[0].segment();
    MemorySegment second = mapOut[1].segment();
    int parts = 4 * team.threads();
    long count = out.count();
    team.run(
        parts,
        part ->
            subtract(
                first, second, out.segment(), count * part / parts, count * (part + 1) / parts));
  }

  private static void subtract(
      MemorySegment first, MemorySegment second, MemorySegment to, long from, long end) {
    for (long i = from; i < end; i++) {
      float difference =
          first.getAtIndex(ValueLayout.JAVA_FLOAT, i)
              - LAMBDA * second.getAtIndex(ValueLayout.JAVA_FLOAT, i);
      to.setAtIndex(ValueLayout.JAVA_FLOAT, i, difference);
    }
  }

  /** Plain attention with as many heads as both maps together, each with values of its own. */
  void plainWithAllHeads() {
    attention.forward(q, k, ownV, ownOut);
  }

  MemorySegment queries() {
    return q.segment();
  }

  MemorySegment keys() {
    return k.segment();
  }

  MemorySegment values() {
    return v.segment();
  }

  MemorySegment result() {
    return out.segment();
  }

  float[] resultArray() {
    return out.toFloatArray();
  }

  @Override
  public void close() {
    arena.close();
  }
}
