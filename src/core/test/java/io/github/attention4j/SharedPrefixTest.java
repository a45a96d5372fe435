package io.github.attention4j;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertThrows;

import io.github.attention4j.testing.Checked;
import java.lang.foreign.Arena;
import java.util.Random;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.BeforeEach;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.function.Executable;

/** A shared prefix gives the same result as a copy of it in every batch. */
class SharedPrefixTest {
  private final Random random = new Random(13);
  private Arena arena;

  @BeforeEach
  void open() {
    arena = Arena.ofConfined();
  }

  @AfterEach
  void close() {
    arena.close();
  }

  private Tensor floats(long... shape) {
    return Tensor.allocate(arena, DType.F32, shape);
  }

  private void check(String what, Attention.Builder builder, int prefixLength, int lenQ) {
    int[] lengths = {lenQ + 3, Math.max(lenQ - 2, 0), 40};
    final Attention attention = builder.build();
    Tensor prefixK = Checked.random(arena, random, 1, 2, prefixLength, 16);
    Tensor prefixV = Checked.random(arena, random, 1, 2, prefixLength, 12);
    KvCache prefix = KvCache.of(prefixK, prefixV, prefixLength);
    Tensor ownK = Checked.random(arena, random, 3, 2, 40, 16);
    Tensor ownV = Checked.random(arena, random, 3, 2, 40, 12);
    final KvCache continuations = KvCache.of(ownK, ownV, lengths);
    KvCache copies = KvCache.allocate(arena, 3, 2, 16, 2, 12, prefixLength + 40);
    Tensor repeatedK = floats(3, 2, prefixLength, 16).copyFrom(prefixK.expand(0, 3));
    Tensor repeatedV = floats(3, 2, prefixLength, 12).copyFrom(prefixV.expand(0, 3));
    copies.append(repeatedK, repeatedV);
    copies.append(ownK, ownV, lengths);
    Tensor q = Checked.random(arena, random, 3, 4, lenQ, 16);
    Checked.onEveryTier(
        () -> {
          Tensor expected = floats(3, 4, lenQ, 12);
          Tensor expectedLse = floats(3, 4, lenQ);
          attention.forward(q, copies, expected, Extras.none().logsumexp(expectedLse));
          Tensor out = floats(3, 4, lenQ, 12);
          Tensor lse = floats(3, 4, lenQ);
          attention.forward(q, prefix, continuations, out, Extras.none().logsumexp(lse));
          requireNear(what, expected, out);
          requireNear(what + " lse", expectedLse, lse);
          out.fill(7);
          attention.forward(q, prefix, continuations, out);
          requireNear(what + " without lse", expected, out);
        });
  }

  private static void requireNear(String what, Tensor expected, Tensor got) {
    float[] wanted = expected.toFloatArray();
    float[] values = got.toFloatArray();
    for (int i = 0; i < wanted.length; i++) {
      double allowed = wanted[i] == values[i] ? 1 : 4e-6 * (1 + Math.abs(wanted[i]));
      assertEquals(wanted[i], values[i], allowed, what + ": element " + i);
    }
  }

  @Test
  void shouldEqualTheConcatenation() {
    for (int lenQ : new int[] {1, 5, 33}) {
      for (int prefixLength : new int[] {0, 1, 200}) {
        check("plain", Attention.builder(), prefixLength, lenQ);
      }
      check("soft-cap", Attention.builder().softCap(3), 64, lenQ);
      check("sinks", Attention.builder().sinks(1, -2, 0.5f, 3), 64, lenQ);
    }
  }

  @Test
  void shouldCountPositionsFromThePrefix() {
    for (int lenQ : new int[] {1, 5, 33}) {
      Mask window = Mask.window(37, 0, Alignment.BOTTOM_RIGHT);
      check("window", Attention.builder().mask(window), 64, lenQ);
      Mask chunks = Mask.chunks(32, Alignment.BOTTOM_RIGHT);
      check("chunks", Attention.builder().mask(chunks), 64, lenQ);
      float[] slopes = Alibi.slopes(4);
      check("alibi", Attention.builder().alibi(Alignment.BOTTOM_RIGHT, slopes), 64, lenQ);
      RelativePositions near =
          RelativePositions.clipped(
              30, Checked.random(arena, random, 61, 16), Checked.random(arena, random, 61, 12));
      check("near", Attention.builder().relative(Alignment.BOTTOM_RIGHT, near), 64, lenQ);
    }
  }

  private static void refuse(String message, Executable call) {
    assertEquals(message, assertThrows(IllegalArgumentException.class, call).getMessage());
  }

  @Test
  void shouldRefuseWhatCannotBeSplit() {
    Attention attention = Attention.builder().build();
    KvCache prefix = KvCache.of(floats(1, 2, 6, 8), floats(1, 2, 6, 8), 6);
    KvCache own = KvCache.of(floats(2, 2, 4, 8), floats(2, 2, 4, 8), 4, 3);
    Tensor q = floats(2, 2, 1, 8);
    Tensor out = floats(2, 2, 1, 8);
    attention.forward(q, prefix, own, out);
    String rest = " is not supported with a shared prefix, which is attended to in two parts";
    refuse(
        "prefix.batch must equal the batch of a shared prefix: prefix.batch=2, the batch of a"
            + " shared prefix=1",
        () -> attention.forward(q, own, own, out));
    KvCache oneHead = KvCache.of(floats(1, 1, 6, 8), floats(1, 1, 6, 8), 6);
    refuse(
        "prefix.keys.heads must equal continuations.keys.heads: prefix.keys.heads=1,"
            + " continuations.keys.heads=2",
        () -> attention.forward(q, oneHead, own, out));
    KvCache narrow = KvCache.of(floats(1, 2, 6, 8), floats(1, 2, 6, 4), 6);
    refuse(
        "prefix.values.dim must equal continuations.values.dim: prefix.values.dim=4,"
            + " continuations.values.dim=8",
        () -> attention.forward(q, narrow, own, out));
    refuse(
        "mask.bias" + rest,
        () -> attention.withMask(Mask.bias(floats(1, 10))).forward(q, prefix, own, out));
    refuse(
        "weights" + rest,
        () -> attention.forward(q, prefix, own, out, Extras.none().weights(floats(2, 2, 1, 10))));
    refuse(
        "prefix.length must be a multiple of the size of chunks: prefix.length=6, the size of"
            + " chunks=4",
        () ->
            attention
                .withMask(Mask.chunks(4, Alignment.BOTTOM_RIGHT))
                .forward(q, prefix, own, out));
    refuse(
        "attention over a cache aligns its queries BOTTOM_RIGHT, so mask, ALiBi, score and relative"
            + " positions must be aligned BOTTOM_RIGHT too: they are aligned TOP_LEFT",
        () ->
            attention.withMask(Mask.window(4, 0, Alignment.TOP_LEFT)).forward(q, prefix, own, out));
  }
}
