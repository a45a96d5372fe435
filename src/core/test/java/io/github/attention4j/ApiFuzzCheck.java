package io.github.attention4j;

import static io.github.attention4j.Alignment.BOTTOM_RIGHT;
import static io.github.attention4j.reference.ReferenceAttention.KEEP_ALL;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import io.github.attention4j.reference.ReferenceAttention;
import io.github.attention4j.reference.ReferenceAttention.Entry;
import io.github.attention4j.testing.Checked;
import io.github.attention4j.testing.Checked.Expected;
import java.lang.foreign.Arena;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import java.util.Random;
import org.junit.jupiter.api.Test;

/**
 * Random calls of the Java API: shapes, layouts, options and ways of calling, on every tier,
 * against the textbook in double; and calls with one size that does not fit, which are refused. One
 * of the long checks: {@code -Dcheck.rounds} says how many calls, {@code -Dcheck.seed} which is the
 * first.
 */
class ApiFuzzCheck {
  private static final int ROUNDS = Integer.getInteger("check.rounds", 4000);
  private static final int FIRST_SEED = Integer.getInteger("check.seed", 1);

  @Test
  void shouldMatchTheTextbookInEveryCall() {
    long start = System.nanoTime();
    int[] ways = new int[Way.values().length];
    for (int seed = FIRST_SEED; seed < FIRST_SEED + ROUNDS; seed++) {
      try (Arena arena = Arena.ofConfined()) {
        RandomCall call = new RandomCall(arena, seed);
        call.check();
        ways[call.way.ordinal()]++;
      } catch (AssertionError | RuntimeException e) {
        throw new AssertionError("-Dcheck.seed=" + seed + " -Dcheck.rounds=1: " + e, e);
      }
    }
    System.out.printf(
        "%d calls on %s in %d s; %s: %s%n",
        ROUNDS,
        A4j.availableIsas(),
        (System.nanoTime() - start) / 1_000_000_000,
        Arrays.toString(Way.values()),
        Arrays.toString(ways));
    for (int count : ways) {
      assertTrue(ROUNDS < 100 || count > 0, Arrays.toString(ways));
    }
  }

  private enum Way {
    /** A call with tensors of any layout. */
    TENSORS,
    /** A call with arrays on the heap. */
    ARRAYS,
    /** Keys and values that were appended to a cache in parts. */
    CACHE,
    /** A call in which a size does not fit. */
    REFUSED
  }

  /** One call, all of it drawn from a seed. */
  private static final class RandomCall {
    private final Arena arena;
    private final Random random;
    private final Way way;
    private final int batch;
    private final int headsKv;
    private final int headsQ;
    private final int lenQ;
    private final int lenK;
    private final int dim;
    private final int dimV;
    private final Tensor q;
    private final Tensor k;
    private final Tensor v;
    private final List<Entry> biases = new ArrayList<>();
    private Mask mask = Mask.none();
    private final Attention.Builder builder = Attention.builder();

    /** Of everything that has positions. */
    private final Alignment alignment;

    private double scale;
    private double softCap;
    private int[] lengths;
    private float[] sinks;
    private boolean rounds;
    private final StringBuilder options = new StringBuilder();

    RandomCall(Arena arena, int seed) {
      this.arena = arena;
      random = new Random(seed * 0x9E3779B97F4A7C15L); // neighbours begin alike
      way = Way.values()[random.nextInt(Way.values().length)];
      batch = 1 + random.nextInt(3);
      headsKv = 1 + random.nextInt(3);
      headsQ = headsKv * (1 + random.nextInt(3));
      boolean isLong = random.nextInt(5) == 0;
      lenQ = 1 + random.nextInt(isLong ? 70 : 12);
      int more = random.nextInt(isLong ? 300 : 30);
      // Queries of a cache are the last of its keys.
      lenK = way == Way.CACHE ? lenQ + more : 1 + more;
      alignment = way == Way.CACHE || random.nextBoolean() ? BOTTOM_RIGHT : Alignment.TOP_LEFT;
      dim = 1 + random.nextInt(random.nextInt(8) == 0 ? 130 : 40);
      dimV = random.nextBoolean() ? dim : 1 + random.nextInt(40);
      q = tensor(headsQ, lenQ, dim);
      k = tensor(headsKv, lenK, dim);
      v = tensor(headsKv, lenK, dimV);
      scale = 1 / Math.sqrt(dim);
      choose();
    }

    /** [batch, heads, length, dim], of any layout that keeps rows together. */
    private Tensor tensor(int heads, int length, int width) {
      if (way == Way.ARRAYS) {
        return Checked.random(arena, random, batch, heads, length, width);
      }
      return switch (random.nextInt(4)) {
        case 0 -> Checked.random(arena, random, batch, length, heads, width).transpose(1, 2);
        case 1 ->
            Checked.random(arena, random, batch, heads, length + 2, width + 3)
                .slice(2, 1, length)
                .slice(3, 2, width);
        default -> Checked.random(arena, random, batch, heads, length, width);
      };
    }

    private boolean oneIn(int n) {
      return random.nextInt(n) == 0;
    }

    /** The end that BOTTOM_RIGHT is aligned to is that of the batch's own keys. */
    private int position(int b, int i) {
      return alignment == BOTTOM_RIGHT ? i + (lengths == null ? lenK : lengths[b]) - lenQ : i;
    }

    private void and(String name, Mask other, Entry bias) {
      options.append(' ').append(name);
      mask = mask.and(other);
      biases.add(bias);
    }

    private static double hidden(boolean isHidden) {
      return isHidden ? Double.NEGATIVE_INFINITY : 0;
    }

    private void choose() {
      if (way == Way.CACHE) {
        biases.add((b, h, i, j) -> hidden(j > position(b, i)));
      }
      if (oneIn(3)) {
        and(
            "causal " + alignment,
            Mask.causal(alignment),
            (b, h, i, j) -> hidden(j > position(b, i)));
      } else if (oneIn(3)) {
        int left = random.nextInt(20);
        int right = random.nextInt(20);
        and(
            "window " + left + "," + right + " " + alignment,
            Mask.window(left, right, alignment),
            (b, h, i, j) -> hidden(j < position(b, i) - left || j > position(b, i) + right));
      }
      if (way != Way.CACHE && oneIn(4)) {
        lengths = random.ints(batch, 0, lenK + 1).toArray();
        and(
            "lengths " + Arrays.toString(lengths),
            Mask.keyLengths(lengths),
            (b, h, i, j) -> hidden(j >= lengths[b]));
      }
      if (oneIn(4)) {
        boolean perHead = random.nextBoolean();
        Tensor allow =
            Checked.randomBooleans(arena, random, 0.7, batch, perHead ? headsQ : 1, lenQ, lenK);
        and(
            "allow " + Arrays.toString(allow.shape()),
            Mask.allow(allow),
            (b, h, i, j) -> hidden(!allow.getBoolean(b, perHead ? h : 0, i, j)));
      }
      if (oneIn(4)) {
        boolean perBatch = random.nextBoolean();
        Tensor bias = Checked.random(arena, random, perBatch ? batch : 1, headsQ, lenQ, lenK);
        and(
            "bias " + Arrays.toString(bias.shape()),
            Mask.bias(bias),
            (b, h, i, j) -> bias.getFloat(perBatch ? b : 0, h, i, j));
      }
      if (oneIn(5)) {
        float[] slopes = Alibi.slopes(headsQ);
        options.append(" alibi ").append(alignment);
        builder.alibi(alignment, slopes);
        biases.add((b, h, i, j) -> alibi(slopes[h], j - position(b, i)));
      }
      if (oneIn(5)) {
        softCap = 1 + random.nextInt(30);
        builder.softCap(softCap);
        options.append(" cap ").append(softCap);
      }
      if (oneIn(5)) {
        sinks = new float[headsQ];
        for (int h = 0; h < headsQ; h++) {
          sinks[h] = (float) random.nextGaussian();
        }
        builder.sinks(sinks);
        options.append(" sinks");
      }
      if (oneIn(4)) {
        scale = 0.25 + random.nextInt(4);
        builder.scale(scale);
        options.append(" scale ").append(scale);
      }
      if (oneIn(4)) {
        rounds = true;
        builder.bf16Products();
        options.append(" bf16Products");
      }
      builder.mask(mask).threads(1 + random.nextInt(3));
    }

    private static double alibi(float slope, int distance) {
      return -(double) slope * Math.abs(distance);
    }

    private double bias(int b, int h, int i, int j) {
      double sum = 0;
      for (Entry entry : biases) {
        sum += entry.at(b, h, i, j);
      }
      return sum;
    }

    void check() {
      Attention attention = builder.build();
      if (way == Way.REFUSED) {
        refuse(attention);
        return;
      }
      String what =
          way + " " + batch + "x" + headsQ + "/" + headsKv + " " + lenQ + "x" + lenK + " dims "
              + dim + "," + dimV + options;
      double largest = 0;
      for (float value : v.toFloatArray()) {
        largest = Math.max(largest, Math.abs(value));
      }
      Tensor fromQ = multiplied(q);
      Tensor fromK = multiplied(k);
      Tensor fromV = multiplied(v);
      Expected expected =
          new Expected(
              ReferenceAttention.compute(
                  fromQ, fromK, fromV, scale, softCap, sinks, this::bias, KEEP_ALL, false),
              ReferenceAttention.compute(
                  fromQ, fromK, fromV, scale, softCap, sinks, this::bias, KEEP_ALL, true),
              largest);
      Checked.onEveryTier(
          () -> {
            Tensor out = Tensor.allocate(arena, DType.F32, batch, headsQ, lenQ, dimV);
            Tensor lse = Tensor.allocate(arena, DType.F32, batch, headsQ, lenQ);
            run(attention, out, lse);
            boolean roundsWeights = rounds && A4j.isa().equals("avx512bf16");
            expected.requireOut(what, roundsWeights ? 0x1p-8 : 0, out);
            if (way != Way.ARRAYS) {
              expected.requireLogsumexp(what, lse);
            }
          });
    }

    /** The numbers that are multiplied: as they are, or rounded. */
    private Tensor multiplied(Tensor x) {
      return rounds ? Tensor.allocate(arena, DType.BF16, x.shape()).copyFrom(x).toF32(arena) : x;
    }

    private void run(Attention attention, Tensor out, Tensor lse) {
      switch (way) {
        case TENSORS -> attention.forward(q, k, v, out, Extras.none().logsumexp(lse));
        case ARRAYS -> {
          AttentionShape shape = new AttentionShape(batch, headsQ, headsKv, lenQ, lenK, dim, dimV);
          out.copyFrom(
              attention.forward(shape, q.toFloatArray(), k.toFloatArray(), v.toFloatArray()));
        }
        case CACHE -> {
          KvCache cache =
              KvCache.allocate(arena, DType.F32, batch, headsKv, dim, headsKv, dimV, lenK + 3);
          int first = random.nextInt(lenK + 1);
          append(cache, 0, first);
          append(cache, first, lenK - first);
          attention.forward(q, cache, out, Extras.none().logsumexp(lse));
        }
        case REFUSED -> throw new IllegalStateException();
      }
    }

    private void append(KvCache cache, int from, int length) {
      if (length > 0) {
        cache.append(k.slice(2, from, length), v.slice(2, from, length));
      }
    }

    /** One of the four tensors has one size more or less. */
    private void refuse(Attention attention) {
      List<Tensor> tensors =
          new ArrayList<>(
              List.of(q, k, v, Tensor.allocate(arena, DType.F32, batch, headsQ, lenQ, dimV)));
      int which = random.nextInt(4);
      long[] shape = tensors.get(which).shape();
      // Fewer or more of these is another problem, which fits.
      boolean free = which == 2 || which == 3;
      int dimension = free ? random.nextInt(3) : new int[] {0, 3}[random.nextInt(2)];
      shape[dimension] += random.nextBoolean() ? 1 : -1;
      tensors.set(which, Tensor.allocate(arena, DType.F32, shape));
      IllegalArgumentException e =
          assertThrows(
              IllegalArgumentException.class,
              () ->
                  attention.forward(
                      tensors.get(0), tensors.get(1), tensors.get(2), tensors.get(3)));
      assertFalse(e.getMessage().isBlank());
    }
  }
}
