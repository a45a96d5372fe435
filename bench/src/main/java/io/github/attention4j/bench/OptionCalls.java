package io.github.attention4j.bench;

import static io.github.attention4j.Score.floats;
import static io.github.attention4j.Score.head;
import static io.github.attention4j.Score.key;
import static io.github.attention4j.Score.query;
import static io.github.attention4j.Score.score;

import io.github.attention4j.Alibi;
import io.github.attention4j.Alignment;
import io.github.attention4j.Attention;
import io.github.attention4j.DType;
import io.github.attention4j.Dropout;
import io.github.attention4j.Extras;
import io.github.attention4j.Mask;
import io.github.attention4j.RelativePositions;
import io.github.attention4j.Sequences;
import io.github.attention4j.Tensor;
import io.github.attention4j.classics.t2t.LocalMasks;
import java.lang.foreign.Arena;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import java.util.Random;
import java.util.function.Supplier;

/**
 * Calls that differ in one option, over the same tensors, in groups: each call is compared with
 * another one of its group, most with the first, which has no option at all.
 *
 * <p>Every result is checked when the group is made: against float64, or, for packed sequences,
 * against a call for each sequence by itself.
 */
final class OptionCalls implements AutoCloseable {
  /** The names of the groups. */
  static final List<String> GROUPS = List.of("options", "window", "local", "packed");

  /** What a group's first call is compared with. */
  private static final String NOTHING = "";

  private static final double ANY = Double.NaN;
  private static final double CAP = 30;
  private static final double NEVER = Double.NEGATIVE_INFINITY;

  private final Arena arena = Arena.ofShared();
  private final String title;
  private final List<Call> calls = new ArrayList<>();
  private final int threads;

  /**
   * One call that is measured.
   *
   * @param name what the tables call it
   * @param against the call whose time its own is divided by; itself has none
   * @param most the largest quotient that is wanted, NaN for none
   */
  record Call(String name, String against, double most, Runnable code) {
    boolean isBase() {
      return against.equals(NOTHING);
    }
  }

  private OptionCalls(String title, int threads) {
    this.title = title;
    this.threads = threads;
  }

  /** The calls of one of {@link #GROUPS}. */
  static OptionCalls of(String group, int threads) {
    return switch (group) {
      case "options" -> options(threads);
      case "window" -> window(threads);
      case "local" -> local(threads);
      case "packed" -> packed(threads);
      default ->
          throw new IllegalArgumentException("no group " + group + " of options, only " + GROUPS);
    };
  }

  /** The group that holds a call of that name. */
  static OptionCalls with(String name, int threads) {
    for (String group : GROUPS) {
      OptionCalls calls = of(group, threads);
      if (calls.calls.stream().anyMatch(call -> call.name.equals(name))) {
        return calls;
      }
      calls.close();
    }
    throw new IllegalArgumentException("no group of options has a call \"" + name + "\"");
  }

  String title() {
    return title;
  }

  List<Call> calls() {
    return calls;
  }

  Runnable code(String name) {
    return calls.stream().filter(call -> call.name.equals(name)).findFirst().orElseThrow().code;
  }

  @Override
  public void close() {
    arena.close();
  }

  // ---- Single options ----

  private static OptionCalls options(int threads) {
    Shape shape = new Shape("options", 1, 12, 12, 12, 1024, 1024, 64, 64, false, "");
    OptionCalls group = new OptionCalls("12 heads, 1024 x 1024, d 64", threads);
    Problem on = group.new Problem(shape);
    Arena arena = group.arena;
    int heads = shape.headsQ();
    int length = shape.lenK();
    Random random = new Random(7);

    final String plain = "no option";
    group.add(plain, NOTHING, ANY, on.call(builder(), Extras.none(), (x, h, i, j) -> x));
    group.add(
        "causal",
        plain,
        0.57,
        on.call(
            builder().mask(Mask.causal(Alignment.TOP_LEFT)),
            Extras.none(),
            (x, h, i, j) -> j <= i ? x : NEVER));

    final String softCap = "soft-capping";
    Reference.Logit capped = (x, h, i, j) -> CAP * Math.tanh(x / CAP);
    group.add(softCap, plain, 1.10, on.call(builder().softCap(CAP), Extras.none(), capped));

    final String alibi = "ALiBi";
    float[] slopes = Alibi.slopes(heads);
    Reference.Logit biased = (x, h, i, j) -> x - slopes[h] * Math.abs(i - j);
    group.add(
        alibi,
        plain,
        1.10,
        on.call(builder().alibi(Alignment.TOP_LEFT, slopes), Extras.none(), biased));

    float[] sinks = Inputs.normal(random, heads);
    group.add(
        "sinks",
        plain,
        1.10,
        on.call(builder().sinks(sinks), Extras.none(), (x, h, i, j) -> x, h -> sinks[h]));

    // Tables of 16 distances to both sides, and of all that there are.
    for (int most : new int[] {16, length}) {
      int rows = most == 16 ? 2 * most + 1 : 2 * most - 1;
      Tensor tableK = Tensor.of(arena, Inputs.normal(random, rows * 64), rows, 64);
      Tensor tableV = Tensor.of(arena, Inputs.normal(random, rows * 64), rows, 64);
      String name = "relative positions, " + rows + " distances, of keys";
      for (Tensor values : new Tensor[] {null, tableV}) {
        group.add(
            values == null ? name : name + " and values",
            plain,
            values == null ? 1.60 : 2.30,
            on.call(
                most == 16
                    ? RelativePositions.clipped(most, tableK, values)
                    : RelativePositions.unmasked(most, tableK, values)));
      }
    }

    int keys = length - 3;
    group.add(
        "key lengths: 1021 of 1024 keys",
        plain,
        1.10,
        on.call(
            builder().mask(Mask.keyLengths(keys)),
            Extras.none(),
            (x, h, i, j) -> j < keys ? x : NEVER));

    // Neighbours differ a lot, so that hardly any block of keys is hidden from all of them.
    int[] lengths = new int[shape.lenQ()];
    Tensor rowLengths = Tensor.allocate(arena, DType.I32, 1, lengths.length);
    for (int i = 0; i < lengths.length; i++) {
      lengths[i] = length - 37 * i % (length / 2);
      rowLengths.setInt(lengths[i], 0, i);
    }
    group.add(
        "key lengths of each query: 513 to 1024",
        plain,
        1.10,
        on.call(
            builder().mask(Mask.keyLengths(rowLengths)),
            Extras.none(),
            (x, h, i, j) -> j < lengths[i] ? x : NEVER));

    float[] bias = Inputs.normal(random, length * length);
    group.add(
        "additive mask [1024, 1024]",
        plain,
        1.25,
        on.call(
            builder().mask(Mask.bias(Tensor.of(arena, bias, length, length))),
            Extras.none(),
            (x, h, i, j) -> x + bias[i * length + j]));

    Tensor allow = Tensor.allocate(arena, DType.BOOL, length, length);
    boolean[][] seen = new boolean[length][length];
    for (int i = 0; i < length; i++) {
      for (int j = 0; j < length; j++) {
        seen[i][j] = random.nextInt(10) > 0;
        allow.setBoolean(seen[i][j], i, j);
      }
    }
    group.add(
        "boolean mask [1024, 1024]",
        plain,
        ANY,
        on.call(
            builder().mask(Mask.allow(allow)),
            Extras.none(),
            (x, h, i, j) -> seen[i][j] ? x : NEVER));

    Tensor logsumexp = Tensor.allocate(arena, DType.F32, 1, heads, shape.lenQ());
    group.add(
        "logsumexp",
        plain,
        1.03,
        on.call(builder(), Extras.none().logsumexp(logsumexp), (x, h, i, j) -> x));

    Tensor weights = Tensor.allocate(arena, DType.F32, 1, heads, shape.lenQ(), length);
    group.add(
        "returned weights, 50 MB",
        plain,
        2.00,
        on.call(builder(), Extras.none().weights(weights), (x, h, i, j) -> x));

    for (int kept : new int[] {8, 32}) {
      group.add("top-k of " + kept, plain, 2.00, on.hardened(builder().topK(kept), weights));
      group.add(
          "hard attention of " + kept,
          plain,
          2.00,
          on.hardened(builder().hardAttention(kept), weights));
    }
    group.add("drawn dropout", plain, ANY, on.dropped(Dropout.of(0.1, 1)));

    Tensor table = Tensor.of(arena, slopes, heads);
    group.add(
        "ALiBi as an expression",
        alibi,
        2.00,
        on.call(
            builder()
                .score(
                    score()
                        .minus(
                            floats(table).at(head()).times(query().minus(key()).abs().toFloat()))),
            Extras.none(),
            biased));
    group.add(
        "soft-capping as an expression",
        softCap,
        2.00,
        on.call(
            builder().score(score().dividedBy((float) CAP).tanh().times((float) CAP)),
            Extras.none(),
            capped));
    return group;
  }

  // ---- A window over long sequences ----

  private static OptionCalls window(int threads) {
    Shape shape = new Shape("window", 1, 12, 12, 12, 8192, 8192, 64, 64, false, "");
    OptionCalls group = new OptionCalls("12 heads, 8192 x 8192, d 64", threads);
    Problem on = group.new Problem(shape);
    int left = 127;
    // The window comes first: the call that needs long takes part in few rounds.
    group.add(
        "window (127, 0)",
        "all keys",
        0.04,
        on.call(
            builder().mask(Mask.window(left, 0, Alignment.TOP_LEFT)),
            Extras.none(),
            (x, h, i, j) -> j <= i && j >= i - left ? x : NEVER));
    group.add("all keys", NOTHING, ANY, on.call(builder(), Extras.none(), (x, h, i, j) -> x));
    return group;
  }

  // ---- Blocks of long sequences ----

  /**
   * Each local type is compared with a dense call that has as many visible scores: the same
   * queries, none of them masked, and as many keys as a query of the local type sees in the mean,
   * the fraction left out. Both read the same queries and write the same outputs. A square of as
   * many scores, which has far fewer rows to read and to write, shows what the scores themselves
   * cost.
   */
  private static OptionCalls local(int threads) {
    int heads = 2;
    int length = 65_536;
    int block = 128;
    Shape shape = new Shape("local", 1, heads, heads, heads, length, length, 64, 64, false, "");
    OptionCalls group =
        new OptionCalls(
            "%d heads, %d x %d, d 64, blocks of %d".formatted(heads, length, length, block),
            threads);
    Problem on = group.new Problem(shape);
    long ownUpToItself = (long) length / block * (block * (block + 1) / 2);
    long before = ((long) length / block - 1) * block * block;
    long around = (long) length * 3 * block - 2L * block * block;
    // With local_unmasked the keys are searched for zeros in each call.
    on.local(
        "local_unmasked, filter_width 128",
        1.3,
        around,
        () -> LocalMasks.localUnmasked(on.k, block, block),
        (i, j) -> Math.abs(i / block - j / block) <= 1);
    on.local(
        "local_mask_right",
        1.3,
        ownUpToItself + before,
        () -> LocalMasks.localMaskRight(length, block),
        (i, j) -> j <= i && j / block >= i / block - 1);
    on.local(
        "local_within_block_mask_right",
        1.5,
        ownUpToItself,
        () -> LocalMasks.localWithinBlockMaskRight(block),
        (i, j) -> j <= i && j / block == i / block);
    return group;
  }

  // ---- Packed sequences ----

  private static OptionCalls packed(int threads) {
    int heads = 12;
    int dim = 64;
    int[] lengths = new int[32];
    Arrays.setAll(lengths, i -> 64 + 30 * i);
    long squares = Arrays.stream(lengths).mapToLong(n -> (long) n * n).sum();
    int one = (int) Math.round(Math.sqrt(squares));
    Sequences sequences = Sequences.ofLengths(lengths);
    OptionCalls group =
        new OptionCalls("12 heads, d 64, the sum of length² always " + squares, threads);
    Arena arena = group.arena;
    Tensor[] qkvOut = new Tensor[4];
    for (int t = 0; t < 4; t++) {
      float[] values = Inputs.normal(new Random(1 + t), sequences.total() * heads * dim);
      qkvOut[t] = Tensor.of(arena, values, sequences.total(), heads, dim);
    }
    final String alone = "one sequence of " + one;
    for (Mask mask : new Mask[] {Mask.none(), Mask.causal(Alignment.TOP_LEFT)}) {
      Attention attention = builder().mask(mask).threads(threads).build();
      Tensor[] rows = each(qkvOut, 0, one);
      String suffix = mask == Mask.none() ? "" : ", causal";
      Runnable packed =
          () ->
              attention.forwardPacked(
                  qkvOut[0], sequences, qkvOut[1], qkvOut[2], sequences, qkvOut[3]);
      group.add(
          alone + suffix,
          NOTHING,
          ANY,
          () -> attention.forward(rows[0], rows[1], rows[2], rows[3]));
      group.add(
          "32 packed sequences of 64 to 994" + suffix,
          alone + suffix,
          mask == Mask.none() ? 1 / 0.85 : ANY,
          packed);
      packed.run();
      requirePacked(attention, qkvOut, lengths);
    }
    return group;
  }

  /** Some rows of [total, heads, dim] as [1, heads, length, dim]. */
  private static Tensor[] each(Tensor[] tensors, long start, long length) {
    return Arrays.stream(tensors)
        .map(t -> t.slice(0, start, length).transpose(0, 1).unsqueeze(0))
        .toArray(Tensor[]::new);
  }

  private static void requirePacked(Attention attention, Tensor[] qkvOut, int[] lengths) {
    long start = 0;
    for (int length : lengths) {
      try (Arena arena = Arena.ofConfined()) {
        Tensor[] rows = each(qkvOut, start, length);
        Tensor own = Tensor.allocate(arena, DType.F32, rows[3].shape());
        attention.forward(rows[0], rows[1], rows[2], own);
        SelfCheck.requireEqual("packed", rows[3].toFloatArray(), own.toFloatArray());
      }
      start += length;
    }
  }

  // ---- Shared parts ----

  private static Attention.Builder builder() {
    return Attention.builder();
  }

  private void add(String name, String against, double most, Runnable code) {
    calls.add(new Call(name, against, most, code));
  }

  /** The tensors of a shape. */
  private final class Problem {
    private final Shape shape;
    private final Inputs in;
    private final Tensor q;
    private final Tensor k;
    private final Tensor v;
    private final Tensor out;

    Problem(Shape shape) {
      this.shape = shape;
      in = new Inputs(shape);
      q = of(in.q(), shape.headsQ(), shape.lenQ(), shape.dimQk());
      k = of(in.k(), shape.headsK(), shape.lenK(), shape.dimQk());
      v = of(in.v(), shape.headsV(), shape.lenK(), shape.dimV());
      out = Tensor.allocate(arena, DType.F32, 1, shape.headsQ(), shape.lenQ(), shape.dimV());
    }

    private Tensor of(float[] values, long heads, long length, long dim) {
      return Tensor.of(arena, values, 1, heads, length, dim);
    }

    /** A call that has been run and compared with the formula. */
    Runnable call(Attention.Builder builder, Extras extras, Reference.Logit logit) {
      return call(builder, extras, logit, Reference.Sink.NONE, Reference.Value.NONE);
    }

    /** Whether a query sees a key. */
    interface Sees {
      boolean key(int i, int j);
    }

    /** A local type, its mask made in each call; the dense call with as many scores; a square. */
    void local(String name, double most, long scores, Supplier<Mask> mask, Sees sees) {
      int keys = (int) (scores / shape.lenQ());
      int side = (int) Math.sqrt(scores);
      final String dense = "all of %d keys".formatted(keys);
      Runnable code =
          () -> builder().mask(mask.get()).threads(threads).build().forward(q, k, v, out);
      code.run();
      SelfCheck.require(
          name,
          shape,
          (x, h, i, j) -> sees.key(i, j) ? x : NEVER,
          Reference.Sink.NONE,
          Reference.Value.NONE,
          in,
          out.toFloatArray());
      Attention plain = builder().threads(threads).build();
      Tensor fewK = k.slice(2, 0, keys);
      Tensor fewV = v.slice(2, 0, keys);
      Tensor[] square = {
        q.slice(2, 0, side), k.slice(2, 0, side), v.slice(2, 0, side), out.slice(2, 0, side)
      };
      add(name, dense, most, code);
      add(dense, NOTHING, ANY, () -> plain.forward(q, fewK, fewV, out));
      add(
          "all of %d x %d".formatted(side, side),
          dense,
          ANY,
          () -> plain.forward(square[0], square[1], square[2], square[3]));
    }

    /** The same with weights that are hardened: the formula is given those that survive. */
    Runnable hardened(Attention.Builder builder, Tensor weights) {
      builder.threads(threads).build().forward(q, k, v, out, Extras.none().weights(weights));
      return call(builder, Extras.none(), (x, h, i, j) -> Math.log(weights.getFloat(0, h, i, j)));
    }

    /** The same with dropout that the call draws: as if its mask had been given. */
    Runnable dropped(Dropout dropout) {
      Tensor keep =
          Tensor.allocate(arena, DType.BOOL, 1, shape.headsQ(), shape.lenQ(), shape.lenK());
      Attention attention = builder().threads(threads).build();
      dropout.mask(keep);
      attention.forward(q, k, v, out, Extras.none().keep(keep, 0.1));
      final float[] given = out.toFloatArray();
      Runnable code = () -> attention.forward(q, k, v, out, Extras.none().dropout(dropout));
      code.run();
      SelfCheck.requireEqual("drawn dropout", given, out.toFloatArray());
      return code;
    }

    Runnable call(
        Attention.Builder builder, Extras extras, Reference.Logit logit, Reference.Sink sink) {
      return call(builder, extras, logit, sink, Reference.Value.NONE);
    }

    /** A call with tables of relative positions, of which that of the values may be null. */
    Runnable call(RelativePositions positions) {
      float[] keys = positions.keys().toFloatArray();
      float[] values = positions.values() == null ? null : positions.values().toFloatArray();
      int dim = shape.dimQk();
      double scale = 1 / Math.sqrt(dim);
      int zero = (int) positions.zero();
      int last = (int) positions.rows() - 1;
      return call(
          builder().relative(Alignment.TOP_LEFT, positions),
          Extras.none(),
          (x, h, i, j) -> {
            int row = Math.clamp(zero + j - i, 0, last);
            double product = 0;
            for (int d = 0; d < dim; d++) {
              product += (double) in.q()[(h * shape.lenQ() + i) * dim + d] * keys[row * dim + d];
            }
            return x + scale * product;
          },
          Reference.Sink.NONE,
          values == null
              ? Reference.Value.NONE
              : (i, j, c) -> values[Math.clamp(zero + j - i, 0, last) * shape.dimV() + c]);
    }

    Runnable call(
        Attention.Builder builder,
        Extras extras,
        Reference.Logit logit,
        Reference.Sink sink,
        Reference.Value value) {
      Attention attention = builder.threads(threads).build();
      Runnable code = () -> attention.forward(q, k, v, out, extras);
      code.run();
      SelfCheck.require(shape.name(), shape, logit, sink, value, in, out.toFloatArray());
      return code;
    }
  }
}
