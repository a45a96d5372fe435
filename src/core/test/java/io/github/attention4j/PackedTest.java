package io.github.attention4j;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import io.github.attention4j.testing.Checked;
import java.lang.foreign.Arena;
import java.lang.foreign.ValueLayout;
import java.util.Random;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.BeforeEach;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.function.Executable;

/** Packed sequences give the same results as each sequence in its own call. */
class PackedTest {
  private static final int[] LENGTHS_Q = {5, 1, 0, 70, 33};
  private static final int[] LENGTHS_K = {9, 4, 3, 70, 0};

  private final Random random = new Random(12);
  private Arena arena;
  private Sequences queries;
  private Sequences keys;

  @BeforeEach
  void open() {
    arena = Arena.ofConfined();
    queries = Sequences.ofLengths(LENGTHS_Q);
    keys = Sequences.ofLengths(LENGTHS_K);
  }

  @AfterEach
  void close() {
    arena.close();
  }

  private Tensor floats(long... shape) {
    return Tensor.allocate(arena, DType.F32, shape);
  }

  /** The rows of one sequence as [1, heads, length, dim]. */
  private static Tensor sequence(Tensor packed, Sequences sequences, int s) {
    Tensor rows = packed.slice(0, sequences.begins()[s], sequences.length(s));
    return rows.transpose(0, 1).unsqueeze(0);
  }

  private void compare(String what, Tensor expected, Tensor got) {
    float[] wanted = expected.toFloatArray();
    float[] values = got.toFloatArray();
    assertEquals(wanted.length, values.length, what);
    for (int i = 0; i < wanted.length; i++) {
      boolean near =
          wanted[i] == values[i]
              || Math.abs(wanted[i] - values[i]) <= 4e-6 * (1 + Math.abs(wanted[i]));
      assertTrue(near, what + ": element " + i + ", " + values[i] + " for " + wanted[i]);
    }
  }

  private void check(String what, Attention.Builder builder, Mask... ofSequence) {
    Tensor q = Checked.random(arena, random, queries.total(), 4, 16);
    Tensor k = Checked.random(arena, random, keys.total(), 2, 16);
    Tensor v = Checked.random(arena, random, keys.total(), 2, 10);
    Attention packed = builder.build();
    Checked.onEveryTier(
        () -> {
          Tensor out = floats(queries.total(), 4, 10);
          Tensor lse = floats(4, queries.total());
          packed.forwardPacked(q, queries, k, v, keys, out, Extras.none().logsumexp(lse));
          for (int s = 0; s < queries.count(); s++) {
            Tensor alone = floats(1, 4, queries.length(s), 10);
            Tensor aloneLse = floats(1, 4, queries.length(s));
            Attention one = ofSequence.length == 0 ? packed : packed.withMask(ofSequence[s]);
            one.forward(
                sequence(q, queries, s),
                sequence(k, keys, s),
                sequence(v, keys, s),
                alone,
                Extras.none().logsumexp(aloneLse));
            String of = what + ", sequence " + s;
            compare(of, alone, sequence(out, queries, s));
            int begin = queries.begins()[s];
            compare(of + " lse", aloneLse.select(0, 0), lse.slice(1, begin, queries.length(s)));
          }
        });
  }

  @Test
  void shouldComputeEachSequenceAsIfAlone() {
    check("plain", Attention.builder());
    for (Alignment alignment : Alignment.values()) {
      check("causal " + alignment, Attention.builder().mask(Mask.causal(alignment)));
      Mask window = Mask.window(7, 3, alignment).and(Mask.chunks(16, alignment));
      check("window " + alignment, Attention.builder().mask(window));
    }
    check(
        "scores",
        Attention.builder()
            .softCap(5)
            .sinks(1, 0, -1, 2)
            .alibi(Alignment.BOTTOM_RIGHT, Alibi.slopes(4))
            .mask(Mask.causal(Alignment.BOTTOM_RIGHT)));
  }

  @Test
  void shouldCountOffsetsAndLengthsWithinASequence() {
    int[] offsets = {4, 3, 0, 1, 7};
    Mask[] causal = new Mask[5];
    int[] lengths = {3, 4, 0, 60, 0};
    Mask[] shorter = new Mask[5];
    for (int s = 0; s < 5; s++) {
      causal[s] = Mask.causal(offsets[s]);
      shorter[s] = Mask.keyLengths(lengths[s]).and(Mask.causal(Alignment.BOTTOM_RIGHT));
    }
    check("offsets", Attention.builder().mask(Mask.causal(offsets)), causal);
    Mask mask = Mask.keyLengths(lengths).and(Mask.causal(Alignment.BOTTOM_RIGHT));
    check("lengths", Attention.builder().mask(mask), shorter);
  }

  @Test
  void shouldCountRangesWithinASequence() {
    int[][] first = {{0, 3}, {5, 70}, {10, 20}, {30, 31}, {60, 64}};
    KeyRanges ranges = KeyRanges.of(16, new int[] {0, 2, 3, 3, 4, 5}, first);
    Tensor q = Checked.random(arena, random, queries.total(), 2, 8);
    Tensor k = Checked.random(arena, random, keys.total(), 2, 8);
    Tensor out = floats(queries.total(), 2, 8);
    Attention attention = Attention.builder().mask(Mask.keyRanges(ranges)).build();
    attention.forwardPacked(q, queries, k, k, keys, out);
    // The sequence of 5 rows sees those of its 9 keys that the first list allows.
    Tensor alone = floats(1, 2, 5, 8);
    KeyRanges own = KeyRanges.of(5, new int[] {0, 2}, new int[][] {{0, 3}, {5, 9}});
    Tensor ownKeys = sequence(k, keys, 0);
    Attention.builder()
        .mask(Mask.keyRanges(own))
        .build()
        .forward(sequence(q, queries, 0), ownKeys, ownKeys, alone);
    compare("ranges", alone, sequence(out, queries, 0));
  }

  @Test
  void shouldSubtractMapsWithinASequence() {
    Tensor q = Checked.random(arena, random, queries.total(), 4, 16);
    Tensor k = Checked.random(arena, random, keys.total(), 2, 16);
    Tensor v = Checked.random(arena, random, keys.total(), 1, 12);
    Tensor lambda = Checked.random(arena, random, queries.total(), 2);
    Differential attention =
        Differential.builder().mask(Mask.causal(Alignment.BOTTOM_RIGHT)).build();
    Checked.onEveryTier(
        () -> {
          Tensor out = floats(queries.total(), 2, 12);
          Tensor lse = floats(2, 2, queries.total());
          attention.forwardPacked(
              q, queries, k, v, keys, lambda.transpose(0, 1), out, Extras.none().logsumexp(lse));
          for (int s = 0; s < queries.count(); s++) {
            int begin = queries.begins()[s];
            int length = queries.length(s);
            Tensor alone = floats(1, 2, length, 12);
            Tensor aloneLse = floats(1, 2, 2, length);
            attention.forward(
                sequence(q, queries, s),
                sequence(k, keys, s),
                sequence(v, keys, s),
                lambda.slice(0, begin, length).transpose(0, 1).unsqueeze(0),
                alone,
                Extras.none().logsumexp(aloneLse));
            compare("sequence " + s, alone, sequence(out, queries, s));
            compare("lse " + s, aloneLse.select(0, 0), lse.slice(2, begin, length));
          }
        });
  }

  // ---- Refusals ----

  private static void refuse(String message, Executable call) {
    assertEquals(message, assertThrows(IllegalArgumentException.class, call).getMessage());
  }

  @Test
  void shouldReadWhereSequencesBegin() {
    Tensor begins = Tensor.allocate(arena, DType.I32, 3);
    begins.setInt(4, 1);
    begins.setInt(4, 2);
    Sequences sequences = Sequences.ofBegins(begins);
    assertEquals(2, sequences.count());
    assertEquals(4, sequences.longest());
    assertEquals(0, sequences.length(1));
    assertEquals("Sequences[0, 4, 4]", sequences.toString());
    begins.setInt(3, 2);
    refuse("begins must ascend: begins[1]=4, begins[2]=3", () -> Sequences.ofBegins(begins));
    begins.setInt(1, 0);
    refuse("begins[0] must lie in [0, 0]: begins[0]=1", () -> Sequences.ofBegins(begins));
    refuse(
        "begins.dtype must be I32 or I64: begins.dtype=F32", () -> Sequences.ofBegins(floats(2)));
    Tensor long64 = Tensor.allocate(arena, DType.I64, 3);
    long64.setInt(4, 1);
    long64.setInt(9, 2);
    assertEquals("Sequences[0, 4, 9]", Sequences.ofBegins(long64).toString());
    long64.segment().setAtIndex(ValueLayout.JAVA_LONG, 2, 1L << 33);
    refuse(
        "begins[2] must lie in [0, 2147483647]: begins[2]=8589934592",
        () -> Sequences.ofBegins(long64));
    refuse(
        "lengths[1] must lie in [0, 2147483647]: lengths[1]=-1", () -> Sequences.ofLengths(1, -1));
    refuse(
        "the sum of lengths must lie in [0, 2147483647]: the sum of lengths=2147483648",
        () -> Sequences.ofLengths(Integer.MAX_VALUE, 1));
  }

  @Test
  void shouldRefuseSequencesThatDoNotFit() {
    Attention attention = Attention.builder().build();
    Sequences three = Sequences.ofLengths(1, 2);
    Tensor x = floats(3, 2, 8);
    Tensor out = floats(3, 2, 8);
    attention.forwardPacked(x, three, x, x, three, out);
    refuse(
        "k.total must equal keys.total: k.total=4, keys.total=3",
        () -> attention.forwardPacked(x, three, floats(4, 2, 8), x, three, out));
    refuse(
        "keys.count must equal queries.count: keys.count=1, queries.count=2",
        () -> attention.forwardPacked(x, three, x, x, Sequences.ofLengths(3), out));
    refuse(
        "q.rank must be 3 [total, heads, dim]: q.rank=4",
        () -> attention.forwardPacked(floats(1, 3, 2, 8), three, x, x, three, out));
    refuse(
        "logsumexp.shape must be [heads, totalQ] = [2, 3]: logsumexp.shape=[3, 2]",
        () ->
            attention.forwardPacked(
                x, three, x, x, three, out, Extras.none().logsumexp(floats(3, 2))));
    refuse(
        "mask.keyLengths[0] must lie in [0, 1]: mask.keyLengths[0]=2",
        () -> attention.withMask(Mask.keyLengths(2, 2)).forwardPacked(x, three, x, x, three, out));
  }

  @Test
  void shouldRefuseWhatNeedsAMatrix() {
    Attention attention = Attention.builder().build();
    Sequences one = Sequences.ofLengths(3);
    Tensor x = floats(3, 2, 8);
    Tensor out = floats(3, 2, 8);
    String rest = " is not supported with packed sequences, which have no matrix of rows and keys";
    refuse(
        "mask.bias" + rest,
        () -> attention.withMask(Mask.bias(floats(3, 3))).forwardPacked(x, one, x, x, one, out));
    refuse(
        "weights" + rest,
        () ->
            attention.forwardPacked(
                x, one, x, x, one, out, Extras.none().weights(floats(1, 2, 3, 3))));
    Mask lengths = Mask.keyLengths(Tensor.allocate(arena, DType.I32, 1, 3));
    refuse(
        "mask.keyLengths of each query" + rest,
        () -> attention.withMask(lengths).forwardPacked(x, one, x, x, one, out));
  }
}
