package io.github.attention4j.bench;

import static io.github.attention4j.bench.Tiles.LANES;
import static io.github.attention4j.bench.Tiles.ROWS;
import static io.github.attention4j.bench.Tiles.SPECIES;
import static io.github.attention4j.bench.Tiles.WIDTH;

import java.util.Arrays;
import jdk.incubator.vector.FloatVector;
import jdk.incubator.vector.VectorOperators;

/**
 * A projection {@code y = x · wᵀ + bias} in the Vector API, its weights packed once in advance.
 *
 * <p>Many rows go through the 6 × 64 register tile in slices of {@value #DEPTH} inputs, so that a
 * packed panel stays in the first-level cache while all rows of an item use it. Few rows are a
 * bandwidth problem and read the weights unpacked.
 */
final class VectorLinear {
  private static final int DEPTH = 128;
  private static final int ROW_BLOCK = 96;
  private static final int FEW = 4;
  private static final float[] ONES = {1, 1, 1, 1, 1, 1};

  private final Team team;
  private final int in;
  private final int out;
  private final float[] weights;
  private final float[] packed;
  private final float[] bias;
  private final ThreadLocal<Scratch> scratch = ThreadLocal.withInitial(Scratch::new);

  private static final class Scratch {
    final float[] block = new float[(ROW_BLOCK + ROWS) * WIDTH];
    final float[] product = new float[ROWS * WIDTH];
  }

  /** Keeps weights [out, in] and bias [out], and a packed copy of the weights. Not modified. */
  VectorLinear(Team team, int in, int out, float[] weights, float[] bias) {
    this.team = team;
    this.in = in;
    this.out = out;
    this.weights = weights;
    this.bias = bias;
    packed = new float[(out + WIDTH - 1) / WIDTH * WIDTH * in];
    Tiles.pack(weights, 0, out, in, packed);
  }

  /** Computes {@code rows} rows of y, which is modified. */
  void forward(int rows, float[] x, float[] y) {
    if (rows <= FEW) {
      int chunk = 64;
      team.run((out + chunk - 1) / chunk, item -> few(rows, item * chunk, chunk, x, y));
      return;
    }
    int panels = (out + WIDTH - 1) / WIDTH;
    int blocks = (rows + ROW_BLOCK - 1) / ROW_BLOCK;
    team.run(
        panels * blocks,
        item -> {
          int row = item % blocks * ROW_BLOCK;
          panel(row, Math.min(row + ROW_BLOCK, rows), item / blocks, x, y);
        });
  }

  private void few(int rows, int from, int chunk, float[] x, float[] y) {
    int whole = SPECIES.loopBound(in);
    for (int o = from; o < Math.min(from + chunk, out); o++) {
      for (int row = 0; row < rows; row++) {
        FloatVector a = FloatVector.zero(SPECIES);
        FloatVector b = a;
        int d = 0;
        for (; d + 2 * LANES <= whole; d += 2 * LANES) {
          a =
              FloatVector.fromArray(SPECIES, weights, o * in + d)
                  .fma(FloatVector.fromArray(SPECIES, x, row * in + d), a);
          b =
              FloatVector.fromArray(SPECIES, weights, o * in + d + LANES)
                  .fma(FloatVector.fromArray(SPECIES, x, row * in + d + LANES), b);
        }
        float sum = bias[o] + a.add(b).reduceLanes(VectorOperators.ADD);
        for (; d < in; d++) {
          sum += weights[o * in + d] * x[row * in + d];
        }
        y[row * out + o] = sum;
      }
    }
  }

  /** Rows [from, to) of the {@value #ROW_BLOCK} × 64 block of y below one panel of weights. */
  private void panel(int from, int to, int panel, float[] x, float[] y) {
    Scratch buffers = scratch.get();
    Arrays.fill(buffers.block, 0);
    for (int depth = 0; depth < in; depth += DEPTH) {
      int count = Math.min(DEPTH, in - depth);
      int weightsAt = (panel * in + depth) * WIDTH;
      for (int row = from; row < to; row += ROWS) {
        Tiles.multiply(
            x,
            row * in + depth,
            Math.min(row + 1, to - 1) * in + depth,
            Math.min(row + 2, to - 1) * in + depth,
            Math.min(row + 3, to - 1) * in + depth,
            Math.min(row + 4, to - 1) * in + depth,
            Math.min(row + 5, to - 1) * in + depth,
            packed,
            weightsAt,
            WIDTH,
            count,
            buffers.product,
            0,
            WIDTH);
        Tiles.merge(buffers.product, ONES, buffers.block, (row - from) * WIDTH, WIDTH);
      }
    }
    int first = panel * WIDTH;
    int width = Math.min(WIDTH, out - first);
    for (int row = from; row < to; row++) {
      for (int o = 0; o < width; o++) {
        y[row * out + first + o] = buffers.block[(row - from) * WIDTH + o] + bias[first + o];
      }
    }
  }
}
