package io.github.attention4j.bench;

import io.github.attention4j.Alignment;
import io.github.attention4j.Attention;
import io.github.attention4j.DType;
import io.github.attention4j.Mask;
import io.github.attention4j.Tensor;
import io.github.attention4j.layer.Linear;
import java.lang.foreign.Arena;
import java.util.List;

/**
 * The parts of a multi-head layer of attention4j: each is timed by itself, one after the other, and
 * the figure is the sum. The layer's additional time is the cost of joining them.
 */
final class FusedParts implements Way {
  private final Arena arena = Arena.ofShared();
  private final Tensor out;
  private final List<Runnable> parts;

  FusedParts(LayerShape shape) {
    JavaLayer.Weights weights = new JavaLayer.Weights(shape);
    int width = shape.width();
    Linear project =
        Linear.of(
                Tensor.of(arena, FusedBlock.first3(weights.weight()), 3L * width, width),
                Tensor.of(arena, FusedBlock.first3(weights.bias()), 3L * width))
            .packed(arena);
    Linear unite =
        Linear.of(
                Tensor.of(arena, weights.weight()[3], width, width),
                Tensor.of(arena, weights.bias()[3], width))
            .packed(arena);
    Attention attention =
        Attention.builder()
            .mask(shape.causal() ? Mask.causal(Alignment.TOP_LEFT) : Mask.none())
            .build();
    Tensor x = Tensor.of(arena, weights.x(), shape.batch(), shape.length(), width);
    Tensor packed = Tensor.allocate(arena, DType.F32, shape.batch(), shape.length(), 3L * width);
    Tensor heads = packed.splitHeads(3L * shape.heads());
    Tensor q = heads.slice(1, 0, shape.heads());
    Tensor k = heads.slice(1, shape.heads(), shape.heads());
    Tensor v = heads.slice(1, 2L * shape.heads(), shape.heads());
    Tensor read = Tensor.allocate(arena, DType.F32, x.shape());
    Tensor readHeads = read.splitHeads(shape.heads());
    out = Tensor.allocate(arena, DType.F32, x.shape());
    parts =
        List.of(
            () -> project.forward(x, packed),
            () -> attention.forward(q, k, v, readHeads),
            () -> unite.forward(read, out));
  }

  @Override
  public String name() {
    return "";
  }

  @Override
  public void run() {
    parts.forEach(Runnable::run);
  }

  @Override
  public double nanos(int calls) {
    double sum = 0;
    for (Runnable part : parts) {
      part.run();
      long start = System.nanoTime();
      for (int i = 0; i < calls; i++) {
        part.run();
      }
      sum += (double) (System.nanoTime() - start) / calls;
    }
    return sum;
  }

  @Override
  public float[] result() {
    return out.toFloatArray();
  }

  @Override
  public void close() {
    arena.close();
  }
}
