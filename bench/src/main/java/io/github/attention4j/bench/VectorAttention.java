package io.github.attention4j.bench;

import static io.github.attention4j.bench.Tiles.LANES;
import static io.github.attention4j.bench.Tiles.ROWS;
import static io.github.attention4j.bench.Tiles.SPECIES;
import static io.github.attention4j.bench.Tiles.WIDTH;

import java.util.Arrays;
import jdk.incubator.vector.FloatVector;
import jdk.incubator.vector.VectorOperators;

/**
 * How fast attention can be in pure Java: the Vector API, tuned.
 *
 * <p><b>Many queries.</b> The keys of a head are packed once into transposed panels, so that 64
 * keys lie in the lanes; then tiles of 6 queries go over blocks of keys: scores (6 × 64 register
 * tile), online softmax, product with the values (6 × 64 again). Scores never leave a buffer of 6 ×
 * {@value #KEY_BLOCK}, and a block of packed keys and values stays in the second-level cache while
 * {@value #QUERY_BLOCK} queries use it. A causal tile ends at its diagonal.
 *
 * <p><b>One query.</b> A bandwidth problem: keys and values are read in place, once, for all query
 * heads of a group.
 *
 * <p>Work is shared out by key head, so that packing is done once, and by range of queries where
 * there are too few heads.
 */
final class VectorAttention {
  private static final int KEY_BLOCK = 256;
  private static final int QUERY_BLOCK = 96;
  private static final int DECODE_BLOCK = 256;
  private static final float LOG2_E = 1.4426950408889634f;

  private final Team team;
  private final ThreadLocal<Scratch> scratch = ThreadLocal.withInitial(Scratch::new);

  VectorAttention(Team team) {
    this.team = team;
  }

  /** The buffers of one thread; they grow and stay. */
  private static final class Scratch {
    float[] keys = {};
    final float[] scores = new float[ROWS * KEY_BLOCK];
    final float[] maxima = new float[QUERY_BLOCK];
    final float[] sums = new float[QUERY_BLOCK * LANES];
    final float[] alpha = new float[ROWS];
    final float[] product = new float[ROWS * WIDTH];
    float[] out = {};
    float[] values = {};

    float[] keys(int size) {
      return keys.length >= size ? keys : (keys = new float[size]);
    }

    float[] out(int size) {
      return out.length >= size ? out : (out = new float[size]);
    }

    float[] values(int size) {
      return values.length >= size ? values : (values = new float[size]);
    }
  }

  /** {@code softmax(scale · q·kᵀ) · v}; out is modified, the others are not. */
  void forward(Shape shape, float[] q, float[] k, float[] v, float[] out) {
    if (shape.lenQ() == 1 && !shape.causal() && shape.headsK() == shape.headsV()) {
      int group = shape.headsQ() / shape.headsK();
      team.run(
          shape.batch() * shape.headsK(),
          item -> decode(shape, item, group, shape.lenK(), q, k, v, out));
      return;
    }
    int heads = shape.batch() * shape.headsK();
    int tiles = (shape.lenQ() + ROWS - 1) / ROWS;
    int parts = Math.clamp(4L * team.threads() / heads, 1, tiles);
    team.run(
        heads * parts,
        item -> {
          int part = parts - 1 - item / heads; // causal: the longest first
          int from = tiles * part / parts * ROWS;
          int to = Math.min(tiles * (part + 1) / parts * ROWS, shape.lenQ());
          prefill(shape, item % heads, from, to, q, k, v, out);
        });
  }

  /**
   * Differential attention: two plain ones over {@code shape.unpaired()} and a subtraction, {@code
   * out[h] = maps[2h] - lambda · maps[2h + 1]}. Both maps and out are modified.
   */
  void differential(
      Shape shape, float lambda, float[] q, float[] k, float[] v, float[] maps, float[] out) {
    forward(shape.unpaired(), q, k, v, maps);
    int size = shape.lenQ() * shape.dimV();
    team.run(
        shape.batch() * shape.headsQ(),
        head -> {
          int to = head * size;
          int first = 2 * head * size;
          int second = first + size;
          int i = 0;
          for (; i < SPECIES.loopBound(size); i += LANES) {
            FloatVector map = FloatVector.fromArray(SPECIES, maps, second + i);
            map.fma(
                    FloatVector.broadcast(SPECIES, -lambda),
                    FloatVector.fromArray(SPECIES, maps, first + i))
                .intoArray(out, to + i);
          }
          for (; i < size; i++) {
            out[to + i] = maps[first + i] - lambda * maps[second + i];
          }
        });
  }

  /** All query heads of key head {@code head} (counted over the batch), queries [from, to). */
  private void prefill(
      Shape shape, int head, int from, int to, float[] q, float[] k, float[] v, float[] out) {
    Scratch buffers = scratch.get();
    int lenK = shape.causal() ? Math.min(shape.lenK(), to) : shape.lenK();
    int panels = (lenK + WIDTH - 1) / WIDTH;
    float[] keys = buffers.keys(panels * WIDTH * shape.dimQk());
    Tiles.pack(k, head * shape.lenK() * shape.dimQk(), lenK, shape.dimQk(), keys);
    int group = shape.headsQ() / shape.headsK();
    int perValue = shape.headsQ() / shape.headsV();
    int width = (shape.dimV() + WIDTH - 1) / WIDTH * WIDTH;
    for (int h = head * group; h < (head + 1) * group; h++) {
      float[] values = v;
      int valuesAt = h / perValue * shape.lenK() * shape.dimV();
      if (width != shape.dimV()) {
        values = widen(v, valuesAt, lenK, shape.dimV(), width, buffers);
        valuesAt = 0;
      }
      for (int block = from; block < to; block += QUERY_BLOCK) {
        int end = Math.min(block + QUERY_BLOCK, to);
        queryBlock(shape, h, block, end, lenK, width, q, keys, values, valuesAt, out, buffers);
      }
    }
  }

  /** Value rows that do not fill a tile are copied into rows that do. */
  private static float[] widen(float[] v, int at, int rows, int dim, int width, Scratch buffers) {
    float[] wide = buffers.values(rows * width);
    for (int j = 0; j < rows; j++) {
      System.arraycopy(v, at + j * dim, wide, j * width, dim);
    }
    return wide;
  }

  private static void queryBlock(
      Shape shape,
      int head,
      int from,
      int to,
      int lenK,
      int width,
      float[] q,
      float[] keys,
      float[] values,
      int valuesAt,
      float[] out,
      Scratch buffers) {
    int dim = shape.dimQk();
    float logScale = shape.scale() * LOG2_E;
    float[] sums = buffers.sums;
    float[] scores = buffers.scores;
    float[] alpha = buffers.alpha;
    float[] acc = buffers.out(QUERY_BLOCK * width);
    Arrays.fill(buffers.maxima, Float.NEGATIVE_INFINITY);
    Arrays.fill(sums, 0);
    Arrays.fill(acc, 0, QUERY_BLOCK * width, 0);
    int qHead = head * shape.lenQ() * dim;
    int visible = shape.causal() ? Math.min(to, lenK) : lenK;
    for (int key = 0; key < visible; key += KEY_BLOCK) {
      int blockEnd = Math.min(key + KEY_BLOCK, visible);
      for (int tile = from; tile < to; tile += ROWS) {
        int tileEnd = shape.causal() ? Math.min(blockEnd, Math.min(tile + ROWS, to)) : blockEnd;
        int count = tileEnd - key;
        if (count <= 0) {
          continue;
        }
        int last = to - 1;
        int q0 = qHead + tile * dim;
        int q1 = qHead + Math.min(tile + 1, last) * dim;
        int q2 = qHead + Math.min(tile + 2, last) * dim;
        int q3 = qHead + Math.min(tile + 3, last) * dim;
        int q4 = qHead + Math.min(tile + 4, last) * dim;
        int q5 = qHead + Math.min(tile + 5, last) * dim;
        for (int j = 0; j < count; j += WIDTH) {
          int panel = (key + j) * dim;
          if (count - j > WIDTH / 2) {
            Tiles.multiply(
                q, q0, q1, q2, q3, q4, q5, keys, panel, WIDTH, dim, scores, j, KEY_BLOCK);
          } else {
            Tiles.multiplyHalf(
                q, q0, q1, q2, q3, q4, q5, keys, panel, WIDTH, dim, scores, j, KEY_BLOCK);
          }
        }
        for (int r = 0; r < ROWS; r++) {
          int row = tile - from + r;
          int valid = shape.causal() ? Math.min(count, tile + r + 1 - key) : count;
          alpha[r] =
              valid > 0
                  ? Tiles.softmax(
                      scores, r * KEY_BLOCK, valid, count, logScale, buffers.maxima, sums, row)
                  : hide(scores, r * KEY_BLOCK, count);
        }
        int vRow = valuesAt + key * width;
        for (int d = 0; d < width; d += WIDTH) {
          Tiles.multiply(
              scores,
              0,
              KEY_BLOCK,
              2 * KEY_BLOCK,
              3 * KEY_BLOCK,
              4 * KEY_BLOCK,
              5 * KEY_BLOCK,
              values,
              vRow + d,
              width,
              count,
              buffers.product,
              0,
              WIDTH);
          Tiles.merge(buffers.product, alpha, acc, (tile - from) * width + d, width);
        }
      }
    }
    int dimV = shape.dimV();
    for (int row = from; row < to; row++) {
      float sum =
          FloatVector.fromArray(SPECIES, sums, (row - from) * LANES)
              .reduceLanes(VectorOperators.ADD);
      int at = (head * shape.lenQ() + row) * dimV;
      int accAt = (row - from) * width;
      for (int d = 0; d < dimV; d++) {
        out[at + d] = acc[accAt + d] / sum;
      }
    }
  }

  /** A row that sees no key of this block: its weights are 0, and nothing is rescaled. */
  private static float hide(float[] scores, int at, int count) {
    Arrays.fill(scores, at, at + count, 0);
    return 1;
  }

  /**
   * One query a head against caches of {@code capacity} rows a head, of which {@code shape.lenK()}
   * are filled; out is modified.
   */
  void step(Shape shape, int capacity, float[] q, float[] k, float[] v, float[] out) {
    int group = shape.headsQ() / shape.headsK();
    team.run(
        shape.batch() * shape.headsK(), item -> decode(shape, item, group, capacity, q, k, v, out));
  }

  /** One query of each head of a group against key/value head {@code head}. */
  private void decode(
      Shape shape,
      int head,
      int group,
      int capacity,
      float[] q,
      float[] k,
      float[] v,
      float[] out) {
    Scratch buffers = scratch.get();
    int dim = shape.dimQk();
    int dimV = shape.dimV();
    int lenK = shape.lenK();
    float logScale = shape.scale() * LOG2_E;
    float[] scores = buffers.keys(group * DECODE_BLOCK);
    float[] acc = buffers.out(group * dimV);
    float[] maxima = buffers.maxima;
    float[] sums = buffers.sums;
    Arrays.fill(maxima, 0, group, Float.NEGATIVE_INFINITY);
    Arrays.fill(sums, 0, group * LANES, 0);
    Arrays.fill(acc, 0, group * dimV, 0);
    for (int key = 0; key < lenK; key += DECODE_BLOCK) {
      int count = Math.min(DECODE_BLOCK, lenK - key);
      int kAt = (head * capacity + key) * dim;
      int vAt = (head * capacity + key) * dimV;
      int r = 0;
      for (; r + 4 <= group; r += 4) {
        dots4(q, (head * group + r) * dim, k, kAt, dim, count, scores, r * DECODE_BLOCK);
      }
      for (; r < group; r++) {
        dots1(q, (head * group + r) * dim, k, kAt, dim, count, scores, r * DECODE_BLOCK);
      }
      for (r = 0; r < group; r++) {
        float shrink =
            Tiles.softmax(scores, r * DECODE_BLOCK, count, count, logScale, maxima, sums, r);
        if (shrink != 1) {
          for (int d = 0; d < dimV; d++) {
            acc[r * dimV + d] *= shrink;
          }
        }
      }
      r = 0;
      for (; r + 2 <= group; r += 2) {
        weigh2(scores, r * DECODE_BLOCK, v, vAt, dimV, count, acc, r * dimV);
      }
      for (; r < group; r++) {
        weighColumns4(scores, r * DECODE_BLOCK, v, vAt, dimV, 0, count, acc, r * dimV);
      }
    }
    for (int r = 0; r < group; r++) {
      float sum = FloatVector.fromArray(SPECIES, sums, r * LANES).reduceLanes(VectorOperators.ADD);
      int at = (head * group + r) * dimV;
      for (int d = 0; d < dimV; d++) {
        out[at + d] = acc[r * dimV + d] / sum;
      }
    }
  }

  /** Scores of four queries: each key is read once, each product summed across its lanes. */
  private static void dots4(
      float[] q, int q0, float[] k, int kAt, int dim, int count, float[] scores, int at) {
    int q1 = q0 + dim;
    int q2 = q1 + dim;
    int q3 = q2 + dim;
    int whole = SPECIES.loopBound(dim);
    for (int j = 0; j < count; j++) {
      FloatVector s0 = FloatVector.zero(SPECIES);
      FloatVector s1 = s0;
      FloatVector s2 = s0;
      FloatVector s3 = s0;
      int row = kAt + j * dim;
      for (int d = 0; d < whole; d += LANES) {
        FloatVector key = FloatVector.fromArray(SPECIES, k, row + d);
        s0 = key.fma(FloatVector.fromArray(SPECIES, q, q0 + d), s0);
        s1 = key.fma(FloatVector.fromArray(SPECIES, q, q1 + d), s1);
        s2 = key.fma(FloatVector.fromArray(SPECIES, q, q2 + d), s2);
        s3 = key.fma(FloatVector.fromArray(SPECIES, q, q3 + d), s3);
      }
      float t0 = s0.reduceLanes(VectorOperators.ADD);
      float t1 = s1.reduceLanes(VectorOperators.ADD);
      float t2 = s2.reduceLanes(VectorOperators.ADD);
      float t3 = s3.reduceLanes(VectorOperators.ADD);
      for (int d = whole; d < dim; d++) {
        t0 += q[q0 + d] * k[row + d];
        t1 += q[q1 + d] * k[row + d];
        t2 += q[q2 + d] * k[row + d];
        t3 += q[q3 + d] * k[row + d];
      }
      scores[at + j] = t0;
      scores[at + DECODE_BLOCK + j] = t1;
      scores[at + 2 * DECODE_BLOCK + j] = t2;
      scores[at + 3 * DECODE_BLOCK + j] = t3;
    }
  }

  private static void dots1(
      float[] q, int qAt, float[] k, int kAt, int dim, int count, float[] scores, int at) {
    int whole = SPECIES.loopBound(dim);
    for (int j = 0; j < count; j++) {
      FloatVector sum = FloatVector.zero(SPECIES);
      int row = kAt + j * dim;
      for (int d = 0; d < whole; d += LANES) {
        sum =
            FloatVector.fromArray(SPECIES, k, row + d)
                .fma(FloatVector.fromArray(SPECIES, q, qAt + d), sum);
      }
      float total = sum.reduceLanes(VectorOperators.ADD);
      for (int d = whole; d < dim; d++) {
        total += q[qAt + d] * k[row + d];
      }
      scores[at + j] = total;
    }
  }

  /** Adds weighted values for two queries, eight vectors of columns at a time: whole rows. */
  private static void weigh2(
      float[] weights, int at, float[] v, int vAt, int dim, int count, float[] acc, int accAt) {
    int d = 0;
    for (; d + 8 * LANES <= dim; d += 8 * LANES) {
      int to = accAt + d;
      FloatVector a0 = FloatVector.fromArray(SPECIES, acc, to);
      FloatVector a1 = FloatVector.fromArray(SPECIES, acc, to + LANES);
      FloatVector a2 = FloatVector.fromArray(SPECIES, acc, to + 2 * LANES);
      FloatVector a3 = FloatVector.fromArray(SPECIES, acc, to + 3 * LANES);
      FloatVector a4 = FloatVector.fromArray(SPECIES, acc, to + 4 * LANES);
      FloatVector a5 = FloatVector.fromArray(SPECIES, acc, to + 5 * LANES);
      FloatVector a6 = FloatVector.fromArray(SPECIES, acc, to + 6 * LANES);
      FloatVector a7 = FloatVector.fromArray(SPECIES, acc, to + 7 * LANES);
      to += dim;
      FloatVector b0 = FloatVector.fromArray(SPECIES, acc, to);
      FloatVector b1 = FloatVector.fromArray(SPECIES, acc, to + LANES);
      FloatVector b2 = FloatVector.fromArray(SPECIES, acc, to + 2 * LANES);
      FloatVector b3 = FloatVector.fromArray(SPECIES, acc, to + 3 * LANES);
      FloatVector b4 = FloatVector.fromArray(SPECIES, acc, to + 4 * LANES);
      FloatVector b5 = FloatVector.fromArray(SPECIES, acc, to + 5 * LANES);
      FloatVector b6 = FloatVector.fromArray(SPECIES, acc, to + 6 * LANES);
      FloatVector b7 = FloatVector.fromArray(SPECIES, acc, to + 7 * LANES);
      for (int j = 0; j < count; j++) {
        int row = vAt + j * dim + d;
        FloatVector x = FloatVector.broadcast(SPECIES, weights[at + j]);
        FloatVector y = FloatVector.broadcast(SPECIES, weights[at + DECODE_BLOCK + j]);
        FloatVector v0 = FloatVector.fromArray(SPECIES, v, row);
        a0 = v0.fma(x, a0);
        b0 = v0.fma(y, b0);
        FloatVector v1 = FloatVector.fromArray(SPECIES, v, row + LANES);
        a1 = v1.fma(x, a1);
        b1 = v1.fma(y, b1);
        FloatVector v2 = FloatVector.fromArray(SPECIES, v, row + 2 * LANES);
        a2 = v2.fma(x, a2);
        b2 = v2.fma(y, b2);
        FloatVector v3 = FloatVector.fromArray(SPECIES, v, row + 3 * LANES);
        a3 = v3.fma(x, a3);
        b3 = v3.fma(y, b3);
        FloatVector v4 = FloatVector.fromArray(SPECIES, v, row + 4 * LANES);
        a4 = v4.fma(x, a4);
        b4 = v4.fma(y, b4);
        FloatVector v5 = FloatVector.fromArray(SPECIES, v, row + 5 * LANES);
        a5 = v5.fma(x, a5);
        b5 = v5.fma(y, b5);
        FloatVector v6 = FloatVector.fromArray(SPECIES, v, row + 6 * LANES);
        a6 = v6.fma(x, a6);
        b6 = v6.fma(y, b6);
        FloatVector v7 = FloatVector.fromArray(SPECIES, v, row + 7 * LANES);
        a7 = v7.fma(x, a7);
        b7 = v7.fma(y, b7);
      }
      to = accAt + d;
      a0.intoArray(acc, to);
      a1.intoArray(acc, to + LANES);
      a2.intoArray(acc, to + 2 * LANES);
      a3.intoArray(acc, to + 3 * LANES);
      a4.intoArray(acc, to + 4 * LANES);
      a5.intoArray(acc, to + 5 * LANES);
      a6.intoArray(acc, to + 6 * LANES);
      a7.intoArray(acc, to + 7 * LANES);
      to += dim;
      b0.intoArray(acc, to);
      b1.intoArray(acc, to + LANES);
      b2.intoArray(acc, to + 2 * LANES);
      b3.intoArray(acc, to + 3 * LANES);
      b4.intoArray(acc, to + 4 * LANES);
      b5.intoArray(acc, to + 5 * LANES);
      b6.intoArray(acc, to + 6 * LANES);
      b7.intoArray(acc, to + 7 * LANES);
    }
    weighColumns4(weights, at, v, vAt, dim, d, count, acc, accAt);
    weighColumns4(weights, at + DECODE_BLOCK, v, vAt, dim, d, count, acc, accAt + dim);
  }

  /** The columns from {@code first} on for one query, four vectors at a time, then singly. */
  private static void weighColumns4(
      float[] weights,
      int at,
      float[] v,
      int vAt,
      int dim,
      int first,
      int count,
      float[] acc,
      int accAt) {
    int d = first;
    for (; d + 4 * LANES <= dim; d += 4 * LANES) {
      FloatVector a0 = FloatVector.fromArray(SPECIES, acc, accAt + d);
      FloatVector a1 = FloatVector.fromArray(SPECIES, acc, accAt + d + LANES);
      FloatVector a2 = FloatVector.fromArray(SPECIES, acc, accAt + d + 2 * LANES);
      FloatVector a3 = FloatVector.fromArray(SPECIES, acc, accAt + d + 3 * LANES);
      for (int j = 0; j < count; j++) {
        int row = vAt + j * dim + d;
        FloatVector w = FloatVector.broadcast(SPECIES, weights[at + j]);
        a0 = FloatVector.fromArray(SPECIES, v, row).fma(w, a0);
        a1 = FloatVector.fromArray(SPECIES, v, row + LANES).fma(w, a1);
        a2 = FloatVector.fromArray(SPECIES, v, row + 2 * LANES).fma(w, a2);
        a3 = FloatVector.fromArray(SPECIES, v, row + 3 * LANES).fma(w, a3);
      }
      a0.intoArray(acc, accAt + d);
      a1.intoArray(acc, accAt + d + LANES);
      a2.intoArray(acc, accAt + d + 2 * LANES);
      a3.intoArray(acc, accAt + d + 3 * LANES);
    }
    for (; d + LANES <= dim; d += LANES) {
      FloatVector a = FloatVector.fromArray(SPECIES, acc, accAt + d);
      for (int j = 0; j < count; j++) {
        FloatVector w = FloatVector.broadcast(SPECIES, weights[at + j]);
        a = FloatVector.fromArray(SPECIES, v, vAt + j * dim + d).fma(w, a);
      }
      a.intoArray(acc, accAt + d);
    }
    weighColumns(weights, at, v, vAt, dim, d, count, acc, accAt);
  }

  /** The columns from {@code first} on, fewer than a vector. */
  private static void weighColumns(
      float[] weights,
      int at,
      float[] v,
      int vAt,
      int dim,
      int first,
      int count,
      float[] acc,
      int accAt) {
    for (int j = 0; j < count && first < dim; j++) {
      for (int d = first; d < dim; d++) {
        acc[accAt + d] += weights[at + j] * v[vAt + j * dim + d];
      }
    }
  }
}
