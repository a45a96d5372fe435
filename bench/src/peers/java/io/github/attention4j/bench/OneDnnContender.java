package io.github.attention4j.bench;

import io.github.attention4j.bench.OneDnnWay.View;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import java.util.function.UnaryOperator;
import org.bytedeco.dnnl.memory;

/**
 * oneDNN from Maven Central, in float32 and bfloat16: attention of two matrix products around a
 * softmax, for all rows at once or for some rows of all heads after each other, so that the scores
 * stay in a cache; causal rows skip the keys behind their block. Weights of projections are packed
 * before.
 */
final class OneDnnContender implements Contender {
  /** Scores of all rows at once are skipped if they take more bytes. */
  private static final double MOST_SCORE_BYTES = 2e9;

  private static final int[] BLOCKS = {64, 128, 256};

  private final int threads;

  OneDnnContender(int threads) {
    this.threads = threads;
  }

  @Override
  public String about() {
    return "oneDNN "
        + OneDnnWay.version()
        + " of org.bytedeco, OMP threads "
        + threads
        + ", primitives";
  }

  @Override
  public List<Opening> ways(Workload workload) {
    if (workload.storage() != Storage.F32 && workload.storage() != Storage.BF16) {
      return List.of();
    }
    return switch (workload) {
      case Workload.Prefill prefill -> attention(prefill.shape(), prefill.storage());
      case Workload.Step step -> attention(step.shape(), step.storage());
      case Workload.Layer layer -> layer(layer.layer(), layer.storage());
      case Workload.Product product -> List.of(() -> product(product));
      case Workload.Pairs pairs -> List.of();
      case Workload.Encoder encoder -> List.of();
      case Workload.Decoder decoder -> List.of();
      case Workload.Texts texts -> List.of();
      case Workload.Model model -> List.of();
    };
  }

  private static memory.data_type type(Storage storage) {
    return storage == Storage.BF16 ? memory.data_type.bf16 : memory.data_type.f32;
  }

  // ---- Attention ----

  private static List<Opening> attention(Shape shape, Storage storage) {
    List<Opening> ways = new ArrayList<>();
    for (int block : blocks(shape)) {
      for (memory.data_type scores : scoreTypes(storage)) {
        ways.add(
            () ->
                OneDnnWay.of(
                    name(shape, block, storage, scores),
                    way -> attention(way, shape, storage, block, scores),
                    UnaryOperator.identity()));
      }
    }
    return ways;
  }

  private static List<memory.data_type> scoreTypes(Storage storage) {
    return storage == Storage.F32
        ? List.of(memory.data_type.f32)
        : List.of(memory.data_type.f32, memory.data_type.bf16);
  }

  private static String name(Shape shape, int block, Storage storage, memory.data_type scores) {
    String rows = block == shape.lenQ() ? "" : " rows of " + block;
    return storage == Storage.F32 ? rows.strip() : scores + " scores" + rows;
  }

  /** How many rows are computed at once. */
  private static List<Integer> blocks(Shape shape) {
    List<Integer> blocks = new ArrayList<>();
    for (int block : BLOCKS) {
      if (block < shape.lenQ()) {
        blocks.add(block);
      }
    }
    double scores = 4.0 * shape.batch() * shape.headsQ() * shape.lenQ() * shape.lenK();
    if (scores <= MOST_SCORE_BYTES && (!shape.causal() || blocks.isEmpty())) {
      blocks.add(shape.lenQ());
    }
    return blocks;
  }

  private static View attention(
      OneDnnWay way, Shape s, Storage storage, int block, memory.data_type scores) {
    Inputs in = SharedInputs.of(s, storage);
    memory.data_type type = type(storage);
    View q = way.of(in.q(), type, s.batch(), s.headsQ(), s.lenQ(), s.dimQk());
    View k = way.of(in.k(), type, s.batch(), s.headsK(), s.lenK(), s.dimQk());
    View v = way.of(in.v(), type, s.batch(), s.headsV(), s.lenK(), s.dimV());
    View out = way.room(type, s.batch(), s.headsQ(), s.lenQ(), s.dimV());
    boolean step = s.lenQ() == 1 && s.headsQ() != s.headsK();
    add(
        way,
        s,
        step ? folded(q, s) : grouped(q, s),
        step ? k : grouped(k, s),
        step ? v : grouped(v, s),
        step ? folded(out, s) : grouped(out, s),
        block,
        scores);
    return out;
  }

  /** [batch, key heads, queries of a group, length, dim]; keys have one head for the group. */
  private static View grouped(View heads, Shape s) {
    long group = heads.dims()[1] / s.headsK();
    long[] sizes = {heads.dims()[0], s.headsK(), group, heads.dims()[2], heads.dims()[3]};
    long[] strides = {
      heads.strides()[0],
      group * heads.strides()[1],
      heads.strides()[1],
      heads.strides()[2],
      heads.strides()[3]
    };
    return heads.as(sizes, strides);
  }

  /** The single rows of a group as rows of one head. */
  private static View folded(View heads, Shape s) {
    long group = heads.dims()[1] / s.headsK();
    return heads.as(
        new long[] {heads.dims()[0], s.headsK(), group, heads.dims()[3]},
        new long[] {
          heads.strides()[0], group * heads.strides()[1], heads.strides()[1], heads.strides()[3]
        });
  }

  /** Steps of attention over views whose last dimensions are rows and channels. */
  private static void add(
      OneDnnWay way,
      Shape s,
      View q,
      View k,
      View v,
      View out,
      int block,
      memory.data_type scoreType) {
    int rowDim = q.dims().length - 2;
    long rows = q.dims()[rowDim];
    long step = Math.min(block == s.lenQ() ? rows : block, rows);
    long[] sizes = q.dims().clone();
    sizes[rowDim] = step;
    sizes[rowDim + 1] = s.lenK();
    View room = way.room(scoreType, sizes);
    View weightRoom = scoreType == q.type() ? room : way.room(q.type(), sizes);
    for (long row = 0; row < rows; row += step) {
      long count = Math.min(step, rows - row);
      long keys = s.causal() ? Math.min(s.lenK(), row + count) : s.lenK();
      View scores = part(room, sizes, count, keys);
      View weights = part(weightRoom, sizes, count, keys);
      View mask = s.causal() ? mask(way, sizes.length, row, count, keys) : null;
      View some = q.slice(rowDim, row, count);
      way.product(some, k.slice(rowDim, 0, keys).transposed(), s.scale(), mask, scores);
      way.softmax(scores, weights);
      way.product(weights, v.slice(rowDim, 0, keys), 1, null, out.slice(rowDim, row, count));
    }
  }

  /** Scores of this many rows and keys, contiguous in a larger buffer. */
  private static View part(View room, long[] most, long rows, long keys) {
    long[] sizes = most.clone();
    sizes[most.length - 2] = rows;
    sizes[most.length - 1] = keys;
    return room.as(sizes, OneDnnWay.dense(sizes));
  }

  private static View mask(OneDnnWay way, int rank, long row, long rows, long keys) {
    float[] values = new float[Math.toIntExact(rows * keys)];
    for (int i = 0; i < rows; i++) {
      for (int j = (int) row + i + 1; j < keys; j++) {
        values[(int) (i * keys) + j] = Float.NEGATIVE_INFINITY;
      }
    }
    long[] sizes = new long[rank];
    Arrays.fill(sizes, 1);
    sizes[rank - 2] = rows;
    sizes[rank - 1] = keys;
    return way.of(values, memory.data_type.f32, sizes);
  }

  // ---- Layers ----

  private static List<Opening> layer(LayerShape layer, Storage storage) {
    List<Opening> ways = new ArrayList<>();
    Shape attention = layer.attention();
    for (int block : blocks(attention)) {
      for (memory.data_type scores : scoreTypes(storage)) {
        ways.add(
            () ->
                OneDnnWay.of(
                    name(attention, block, storage, scores),
                    way -> layer(way, layer, storage, block, scores),
                    UnaryOperator.identity()));
      }
    }
    return ways;
  }

  private static View layer(
      OneDnnWay way, LayerShape layer, Storage storage, int block, memory.data_type scores) {
    JavaLayer.Weights w = new JavaLayer.Weights(layer);
    memory.data_type type = type(storage);
    Shape s = layer.attention();
    long width = layer.width();
    View x = way.of(w.x(), type, layer.rows(), width);
    View packed = way.room(type, layer.rows(), 3 * width);
    View read = way.room(type, layer.rows(), width);
    View out = way.room(type, layer.rows(), width);
    way.linear(
        x,
        way.of(FusedBlock.first3(w.weight()), type, 3 * width, width),
        way.of(FusedBlock.first3(w.bias()), memory.data_type.f32, 1, 3 * width),
        packed);
    add(
        way,
        s,
        heads(packed, s, 0),
        heads(packed, s, width),
        heads(packed, s, 2 * width),
        heads(read, s, 0),
        block,
        scores);
    way.linear(
        read,
        way.of(w.weight()[3], type, width, width),
        way.of(w.bias()[3], memory.data_type.f32, 1, width),
        out);
    return out;
  }

  /** [batch, heads, length, dim] in columns of [batch · length, columns], from one on. */
  private static View heads(View rows, Shape s, long column) {
    long stride = rows.strides()[0];
    return rows.slice(1, column, (long) s.headsQ() * s.dimQk())
        .as(
            new long[] {s.batch(), s.headsQ(), s.lenQ(), s.dimQk()},
            new long[] {stride * s.lenQ(), s.dimQk(), stride, 1});
  }

  // ---- Projections ----

  private static Way product(Workload.Product product) throws Exception {
    Projection shape = product.shape();
    memory.data_type type = type(product.storage());
    return RotatingWay.of(
        product,
        () ->
            OneDnnWay.of(
                "",
                way -> {
                  View out = way.room(memory.data_type.f32, shape.rows(), shape.dimOut());
                  way.linear(
                      way.of(SharedRows.x(shape), type, shape.rows(), shape.dimIn()),
                      way.of(SharedRows.weight(shape), type, shape.dimOut(), shape.dimIn()),
                      null,
                      out);
                  return out;
                },
                UnaryOperator.identity()));
  }
}
