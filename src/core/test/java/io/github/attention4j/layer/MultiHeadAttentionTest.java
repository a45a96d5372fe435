package io.github.attention4j.layer;

import static io.github.attention4j.testing.Checked.onEveryTier;
import static io.github.attention4j.testing.Checked.random;
import static org.junit.jupiter.api.Assertions.assertArrayEquals;
import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertThrows;

import io.github.attention4j.Alignment;
import io.github.attention4j.DType;
import io.github.attention4j.Extras;
import io.github.attention4j.KvCache;
import io.github.attention4j.KvPagePool;
import io.github.attention4j.Mask;
import io.github.attention4j.Tensor;
import java.lang.foreign.Arena;
import java.util.Random;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.BeforeEach;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.function.Executable;

/** {@link MultiHeadAttention}: its projections, packed and apart, and attention of the caller's. */
class MultiHeadAttentionTest {
  private final Random random = new Random(23);
  private Arena arena;

  @BeforeEach
  void openArena() {
    arena = Arena.ofConfined();
  }

  @AfterEach
  void closeArena() {
    arena.close();
  }

  private Tensor floats(long... shape) {
    return Tensor.allocate(arena, DType.F32, shape);
  }

  private static void refuse(String message, Executable call) {
    assertEquals(message, assertThrows(IllegalArgumentException.class, call).getMessage());
  }

  @Test
  void shouldReadPackedRowsOnceAndGiveTheSameAsThreeProjections() {
    int dim = 4;
    Tensor weight = random(arena, random, (6 + 2 * 3) * dim, 20);
    Linear out = Linear.of(random(arena, random, 20, 6 * dim));
    RotaryEmbedding rotary =
        RotaryEmbedding.of(RotaryTable.compute(arena, 32, dim, 10_000), RotaryEmbedding.Style.HALF);
    MultiHeadAttention packed =
        MultiHeadAttention.builder(Linear.of(weight), out)
            .heads(6)
            .headsKv(3)
            .rotary(rotary)
            .scale(0.1)
            .mask(Mask.causal(Alignment.BOTTOM_RIGHT))
            .build();
    MultiHeadAttention apart =
        MultiHeadAttention.builder(
                Linear.of(weight.slice(0, 0, 6 * dim)),
                Linear.of(weight.slice(0, 6 * dim, 3 * dim)),
                Linear.of(weight.slice(0, 9 * dim, 3 * dim)),
                out)
            .heads(6)
            .headsKv(3)
            .rotary(rotary)
            .scale(0.1)
            .mask(Mask.causal(Alignment.BOTTOM_RIGHT))
            .build();
    Tensor x = random(arena, random, 2, 18, 20);
    Tensor wanted = floats(2, 18, 20);
    Tensor got = floats(2, 18, 20);
    onEveryTier(
        () -> {
          apart.forward(x, wanted);
          packed.forward(x, got);
          assertArrayEquals(wanted.toFloatArray(), got.toFloatArray(), 2e-4f);
          got.fill(0);
          KvCache cache = packed.allocateCache(arena, 2, 18);
          for (int i = 0; i < 18; i += 6) {
            packed.forward(x.slice(1, i, 6), cache, got.slice(1, i, 6));
          }
          assertArrayEquals(wanted.toFloatArray(), got.toFloatArray(), 2e-4f);
          apart.forward(x, x, x, Mask.keyLengths(18, 11), wanted, Extras.none());
          packed.forward(x, x, x, Mask.keyLengths(18, 11), got, Extras.none());
          assertArrayEquals(wanted.toFloatArray(), got.toFloatArray(), 2e-4f);
        });
  }

  @Test
  void shouldAttendAsTheCallerSays() {
    MultiHeadAttention layer =
        MultiHeadAttention.builder(
                Linear.of(random(arena, random, 24, 10)),
                Linear.of(random(arena, random, 12, 9)),
                Linear.of(random(arena, random, 12, 8)),
                Linear.of(random(arena, random, 7, 24)))
            .heads(4)
            .headsKv(2)
            .scale(0.3)
            .mask(Mask.window(2, 3, Alignment.TOP_LEFT))
            .build();
    Tensor queries = random(arena, random, 2, 5, 10);
    Tensor keys = random(arena, random, 2, 6, 9);
    Tensor values = random(arena, random, 2, 6, 8);
    Tensor wanted = floats(2, 5, 7);
    layer.forward(queries, keys, values, Mask.none(), wanted, Extras.none());
    Tensor out = floats(2, 5, 7);
    layer.forward(queries, keys, values, layer.attention()::forward, out);
    assertArrayEquals(wanted.toFloatArray(), out.toFloatArray());

    layer.forward(queries, keys, values, (q, k, v, heads) -> heads.fill(0), out);
    assertArrayEquals(new float[2 * 5 * 7], out.toFloatArray());
  }

  @Test
  void shouldReadAProjectedMemory() {
    MultiHeadAttention layer =
        MultiHeadAttention.builder(
                Linear.of(random(arena, random, 12, 10)),
                Linear.of(random(arena, random, 12, 9)),
                Linear.of(random(arena, random, 12, 9)),
                Linear.of(random(arena, random, 10, 12)))
            .heads(3)
            .build();
    Tensor x = random(arena, random, 2, 5, 10);
    Tensor memory = random(arena, random, 2, 6, 9);
    Tensor wanted = floats(2, 5, 10);
    layer.forward(x, memory, wanted, Extras.none());
    Tensor out = floats(2, 5, 10);
    KvCache read = layer.readMemory(arena, memory);
    layer.forwardMemory(x, read, layer.attention()::forward, out);
    assertArrayEquals(wanted.toFloatArray(), out.toFloatArray());
  }

  private MultiHeadAttention causal(Alignment alignment) {
    return MultiHeadAttention.random(arena, 64, 4, 7).mask(Mask.causal(alignment)).build();
  }

  /** A call after a refused one gives what it gives without that. */
  private void requireRepeatable(KvCache cache, KvCache untouched, Executable refused) {
    MultiHeadAttention layer = causal(Alignment.BOTTOM_RIGHT);
    Tensor x = random(arena, random, 1, 3, 64);
    layer.forward(x, cache, floats(1, 3, 64));
    layer.forward(x, untouched, floats(1, 3, 64));
    assertThrows(IllegalArgumentException.class, refused);
    assertArrayEquals(untouched.lengths(), cache.lengths());
    Tensor wanted = floats(1, 3, 64);
    Tensor got = floats(1, 3, 64);
    layer.forward(x, untouched, wanted);
    layer.forward(x, cache, got);
    assertArrayEquals(wanted.toFloatArray(), got.toFloatArray());
    assertArrayEquals(untouched.lengths(), cache.lengths());
  }

  @Test
  void shouldTakeBackTheTokensOfARefusedCall() {
    MultiHeadAttention layer = causal(Alignment.BOTTOM_RIGHT);
    MultiHeadAttention topLeft = causal(Alignment.TOP_LEFT);
    Tensor x = random(arena, random, 1, 3, 64);
    Tensor out = floats(1, 3, 64);
    KvPagePool pool = KvPagePool.allocate(arena, DType.F32, 4, 16, 64, 8);
    Extras wrong = Extras.ofWeights(floats(1, 4, 3, 65));
    for (int kind = 0; kind < 3; kind++) {
      KvCache[] caches = new KvCache[2];
      for (int i = 0; i < 2; i++) {
        caches[i] =
            switch (kind) {
              case 0 -> layer.allocateCache(arena, 1, 100);
              case 1 -> KvCache.paged(pool, 1);
              default -> KvCache.ring(arena, DType.F32, 1, 4, 16, 8, 64);
            };
      }
      KvCache cache = caches[0];
      KvCache untouched = caches[1];
      requireRepeatable(cache, untouched, () -> layer.forward(x, cache, floats(1, 3, 65)));
      requireRepeatable(cache, untouched, () -> layer.forward(x, cache, out, wrong));
      requireRepeatable(cache, untouched, () -> topLeft.forward(x, cache, out));
      requireRepeatable(
          cache,
          untouched,
          () -> layer.forward(random(arena, random, 1, 64, 64), cache, floats(1, 64, 64), wrong));
      refuse(
          "out.dim must equal outProjection.dimOut: out.dim=65, outProjection.dimOut=64",
          () -> layer.forward(x, cache, floats(1, 3, 65)));
    }
  }

  @Test
  void shouldTakeBackTheTokensOfARefusedDifferentialCall() {
    DifferentialAttention layer =
        DifferentialAttention.random(arena, 64, 2, 1, 5)
            .mask(Mask.causal(Alignment.BOTTOM_RIGHT))
            .build();
    Tensor x = random(arena, random, 1, 3, 64);
    Tensor out = floats(1, 3, 64);
    KvCache cache = layer.allocateCache(arena, 1, 20);
    assertThrows(IllegalArgumentException.class, () -> layer.forward(x, cache, floats(1, 3, 65)));
    DifferentialAttention.Taps weights = new DifferentialAttention.Taps(floats(1, 2, 3, 65), null);
    assertThrows(IllegalArgumentException.class, () -> layer.forward(x, cache, out, weights));
    DifferentialAttention.Taps heads = new DifferentialAttention.Taps(null, floats(1, 2, 3, 65));
    assertThrows(IllegalArgumentException.class, () -> layer.forward(x, cache, out, heads));
    assertArrayEquals(new int[1], cache.lengths());
    layer.forward(x, cache, out);
    assertArrayEquals(new int[] {3}, cache.lengths());
    Tensor whole = floats(1, 3, 64);
    layer.forward(x, whole);
    assertArrayEquals(whole.toFloatArray(), out.toFloatArray(), 1e-5f);
  }

  @Test
  void shouldRefuseValuesOfAnotherLength() {
    MultiHeadAttention layer =
        MultiHeadAttention.builder(Linear.of(floats(24, 8)), Linear.of(floats(8, 8)))
            .heads(2)
            .build();
    refuse(
        "values.len must equal keys.len: values.len=6, keys.len=5",
        () ->
            layer.forward(
                floats(1, 3, 8),
                floats(1, 5, 8),
                floats(1, 6, 8),
                Mask.none(),
                floats(1, 3, 8),
                Extras.none()));
  }
}
