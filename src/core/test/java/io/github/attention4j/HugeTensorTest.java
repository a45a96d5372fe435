package io.github.attention4j;

import static io.github.attention4j.testing.Checked.onEveryTier;
import static io.github.attention4j.testing.Checked.random;
import static io.github.attention4j.testing.Checked.randomBooleans;
import static org.junit.jupiter.api.Assertions.assertArrayEquals;
import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import io.github.attention4j.layer.Linear;
import io.github.attention4j.layer.RmsNorm;
import io.github.attention4j.layer.RotaryEmbedding;
import io.github.attention4j.layer.RotaryTable;
import io.github.attention4j.layer.SwiGlu;
import java.io.IOException;
import java.lang.foreign.Arena;
import java.lang.foreign.MemorySegment;
import java.nio.channels.FileChannel;
import java.nio.file.Files;
import java.nio.file.Path;
import java.nio.file.StandardOpenOption;
import java.util.Random;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.BeforeEach;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;

/**
 * Tensors of more than 2³¹ elements. They cost almost nothing, because their memory is a mapped
 * sparse file or one repeated row. Elements that a 32-bit index would confuse are gigabytes apart,
 * and results must have the same bits as those from packed copies.
 */
class HugeTensorTest {
  /** The stride of rows. The last of {@link #ROWS} is beyond 2³¹ elements. */
  private static final long ROW = (1 << 25) + 16;

  private static final int ROWS = 70;

  /** The maximum number of (batch, head) pairs; the mapping ends with the last of their rows. */
  private static final int HEADS = 4;

  private static final long FLOATS = HEADS * ROWS * ROW;

  /** Rows of different tensors are adjacent. */
  private static final int SLOT = 256;

  @TempDir Path directory;

  private final Random random = new Random(31);
  private Arena arena;
  private MemorySegment sparse;
  private int slots;

  @BeforeEach
  void mapASparseFile() throws IOException {
    arena = Arena.ofShared();
    Path file = directory.resolve("sparse");
    try (FileChannel channel =
        FileChannel.open(
            file,
            StandardOpenOption.CREATE_NEW,
            StandardOpenOption.SPARSE,
            StandardOpenOption.READ,
            StandardOpenOption.WRITE)) {
      sparse = channel.map(FileChannel.MapMode.READ_WRITE, 0, FLOATS * Float.BYTES, arena);
    }
    Files.delete(file);
  }

  @AfterEach
  void unmap() {
    arena.close();
  }

  /** A view of zeros of this shape, whose rows and heads are as far apart as possible. */
  private Tensor far(DType dtype, long... shape) {
    int rank = shape.length;
    long[] strides = new long[rank];
    long stride = ROW * Float.BYTES / dtype.bytes();
    strides[rank - 1] = 1;
    for (int i = rank - 2; i >= 0; i--) {
      strides[i] = stride;
      stride *= i == rank - 2 ? ROWS : shape[i];
    }
    long offset = (long) SLOT * slots++ * Float.BYTES / dtype.bytes();
    return Tensor.strided(sparse, dtype, offset, shape, strides);
  }

  /** The same elements, far apart. */
  private Tensor far(Tensor packed) {
    return far(packed.dtype(), packed.shape()).copyFrom(packed);
  }

  private Tensor zeros(long... shape) {
    return Tensor.allocate(arena, DType.F32, shape);
  }

  // ---- Attention ----

  @Test
  void shouldFindKeysAndQueriesBeyondTwoToThe31Elements() {
    for (int lenQ : new int[] {1, 5, ROWS}) {
      slots = 0;
      Tensor q = random(arena, random, 2, 2, lenQ, 40);
      Tensor k = random(arena, random, 2, 2, ROWS, 40);
      Tensor v = random(arena, random, 2, 2, ROWS, 33);
      Tensor allow = randomBooleans(arena, random, 0.8, 2, 2, lenQ, ROWS);
      Tensor bias = random(arena, random, 2, 2, lenQ, ROWS);
      Tensor keep = randomBooleans(arena, random, 0.9, 2, 2, lenQ, ROWS);
      Tensor farQ = far(q);
      Tensor farK = far(k);
      Tensor farV = far(v);
      Tensor farOut = far(DType.F32, 2, 2, lenQ, 33);
      Mask near = Mask.allow(allow).and(Mask.bias(bias)).and(Mask.causal(Alignment.BOTTOM_RIGHT));
      Mask away =
          Mask.allow(far(allow)).and(Mask.bias(far(bias))).and(Mask.causal(Alignment.BOTTOM_RIGHT));
      Tensor farKeep = far(keep);
      Tensor out = zeros(2, 2, lenQ, 33);
      Tensor lse = zeros(2, 2, lenQ);
      Tensor farLse = zeros(2, 2, lenQ);
      Attention attention = Attention.builder().build();
      onEveryTier(
          () -> {
            attention.withMask(near).forward(q, k, v, out, Extras.none().logsumexp(lse));
            attention
                .withMask(away)
                .forward(farQ, farK, farV, farOut, Extras.none().logsumexp(farLse));
            assertArrayEquals(out.toFloatArray(), farOut.toFloatArray());
            assertArrayEquals(lse.toFloatArray(), farLse.toFloatArray());

            attention.withMask(near).forward(q, k, v, out, Extras.none().keep(keep, 0.1));
            farOut.fill(Float.NaN);
            attention
                .withMask(away)
                .forward(farQ, farK, farV, farOut, Extras.none().keep(farKeep, 0.1));
            assertArrayEquals(out.toFloatArray(), farOut.toFloatArray());
          });
    }
  }

  @Test
  void shouldFindPairsBeyondTwoToThe31Elements() {
    for (int lenQ : new int[] {1, ROWS}) {
      slots = 0;
      Tensor q = random(arena, random, 1, 4, lenQ, 24);
      Tensor k = random(arena, random, 1, 4, ROWS, 24);
      Tensor v = random(arena, random, 1, 4, ROWS, 16);
      Tensor farQ = far(q);
      Tensor farK = far(k);
      Tensor farV = far(v);
      Tensor farOut = far(DType.F32, 1, 2, lenQ, 32);
      Tensor out = zeros(1, 2, lenQ, 32);
      for (Differential.Pairing pairing : Differential.Pairing.values()) {
        Differential differential = Differential.builder().pairing(pairing).build();
        onEveryTier(
            () -> {
              differential.forward(q, k, v, 0.4f, out);
              differential.forward(farQ, farK, farV, 0.4f, farOut);
              assertArrayEquals(out.toFloatArray(), farOut.toFloatArray());
            });
      }
    }
  }

  @Test
  void shouldAppendAndReadAtTheFarEndOfACache() {
    long capacity = FLOATS / 2 / 64;
    Tensor keys = Tensor.of(sparse, DType.F32, 2 * capacity * 64).slice(0, 0, capacity * 64);
    Tensor values =
        Tensor.of(sparse, DType.F32, 2 * capacity * 64).slice(0, capacity * 64, capacity * 64);
    KvCache cache =
        KvCache.of(
            keys.reshape(1, 1, capacity, 64),
            values.reshape(1, 1, capacity, 64),
            (int) capacity - 3);
    assertTrue(cache.keyView().count() > 1L << 32, "count=" + cache.keyView().count());
    Tensor k = random(arena, random, 1, 1, 3, 64);
    Tensor v = random(arena, random, 1, 1, 3, 64);
    cache.append(k, v);
    assertEquals(capacity, cache.length(0));

    Tensor end = cache.keyView().slice(2, capacity - 3, 3);
    assertArrayEquals(k.toFloatArray(), end.toFloatArray());
    Tensor q = random(arena, random, 1, 1, 1, 64);
    Tensor out = zeros(1, 1, 1, 64);
    Tensor wanted = zeros(1, 1, 1, 64);
    Attention attention = Attention.builder().build();
    attention.forward(q, k, v, wanted);
    attention.forward(q, end, cache.valueView().slice(2, capacity - 3, 3), out);
    assertArrayEquals(wanted.toFloatArray(), out.toFloatArray());
    assertThrows(IllegalStateException.class, () -> cache.append(k, v));
  }

  @Test
  void shouldAttendToMoreThanTwoToThe31ElementsOfKeys() {
    long lenK = (1L << 31) / 128 + 5;
    Tensor key = random(arena, random, 1, 1, 1, 128);
    Tensor value = random(arena, random, 1, 1, 1, 16);
    Tensor q = random(arena, random, 1, 1, 1, 128);
    Tensor out = zeros(1, 1, 1, 16);
    Tensor lse = zeros(1, 1, 1);
    Tensor lseOfOne = zeros(1, 1, 1);
    Attention attention = Attention.builder().build();
    attention.forward(q, key, value, out, Extras.none().logsumexp(lseOfOne));
    attention.forward(
        q, key.expand(2, lenK), value.expand(2, lenK), out, Extras.none().logsumexp(lse));
    // Sums of 17 million terms in float; adding them in sequence would be wrong by some percent.
    assertArrayEquals(value.toFloatArray(), out.toFloatArray(), 1e-3f);
    assertEquals(lseOfOne.getFloat(0, 0, 0) + Math.log(lenK), lse.getFloat(0, 0, 0), 1e-3);
  }

  @Test
  void shouldMergeBeyondTwoToThe31Elements() {
    Tensor a = random(arena, random, 2, 2, ROWS, 24);
    Tensor b = random(arena, random, 2, 2, ROWS, 24);
    Tensor lseA = random(arena, random, 2, 2, ROWS);
    Tensor lseB = random(arena, random, 2, 2, ROWS);
    Tensor out = zeros(2, 2, ROWS, 24);
    Tensor farOut = far(DType.F32, 2, 2, ROWS, 24);
    Attention.merge(a, lseA, b, lseB, out, null);
    Attention.merge(far(a), lseA, far(b), lseB, farOut, null);
    assertArrayEquals(out.toFloatArray(), farOut.toFloatArray());
  }

  // ---- Layers ----

  @Test
  void shouldWorkOnRowsBeyondTwoToThe31Elements() {
    // 280 rows are too many for the few-row kernel, so sgemm computes them.
    Tensor x = random(arena, random, HEADS * ROWS, 48);
    Tensor farX = far(x);
    Tensor out = zeros(HEADS * ROWS, 24);
    Tensor farOut = far(DType.F32, HEADS * ROWS, 24);
    Tensor weight = random(arena, random, 24, 48);
    Linear linear = Linear.of(weight, random(arena, random, 24));
    Linear farLinear = Linear.of(far(weight));
    for (int rows : new int[] {1, ROWS, HEADS * ROWS}) {
      linear.forward(x.slice(0, 0, rows), out.slice(0, 0, rows));
      linear.forward(farX.slice(0, 0, rows), farOut.slice(0, 0, rows));
      assertArrayEquals(
          out.slice(0, 0, rows).toFloatArray(), farOut.slice(0, 0, rows).toFloatArray(), 1e-5f);
      Linear.of(weight).forward(x.slice(0, 0, rows), out.slice(0, 0, rows));
      farLinear.forward(farX.slice(0, 0, rows), farOut.slice(0, 0, rows));
      assertArrayEquals(
          out.slice(0, 0, rows).toFloatArray(), farOut.slice(0, 0, rows).toFloatArray(), 1e-5f);
    }

    Tensor normed = zeros(HEADS * ROWS, 48);
    Tensor farNormed = far(DType.F32, HEADS * ROWS, 48);
    RmsNorm norm = RmsNorm.of(random(arena, random, 48), 1e-6);
    norm.forward(x, normed);
    norm.forward(farX, farNormed);
    assertArrayEquals(normed.toFloatArray(), farNormed.toFloatArray());

    SwiGlu.multiply(x, normed, normed);
    SwiGlu.multiply(farX, farNormed, farNormed);
    assertArrayEquals(normed.toFloatArray(), farNormed.toFloatArray());
  }

  @Test
  void shouldTurnRowsBeyondTwoToThe31Elements() {
    Tensor x = random(arena, random, 2, 2, ROWS, 32);
    Tensor farX = far(x);
    Tensor out = zeros(2, 2, ROWS, 32);
    RotaryTable table = RotaryTable.compute(arena, ROWS, 32, 10_000);
    for (RotaryEmbedding.Style style : RotaryEmbedding.Style.values()) {
      RotaryEmbedding rotary = RotaryEmbedding.of(table, style);
      rotary.forward(x, out, 0);
      Tensor farOut = far(DType.F32, 2, 2, ROWS, 32);
      rotary.forward(farX, farOut, 0);
      assertArrayEquals(out.toFloatArray(), farOut.toFloatArray());
    }
  }

  // ---- Too much ----

  @Test
  void shouldRefuseLogitsWhoseNumberOverflows() {
    long lenQ = 1L << 33;
    Tensor row = zeros(1, 1, 1, 1);
    Tensor out = Tensor.of(sparse, DType.F32, FLOATS).slice(0, 0, lenQ).reshape(1, 1, lenQ, 1);
    IllegalArgumentException refused =
        assertThrows(
            IllegalArgumentException.class,
            () ->
                Attention.builder()
                    .build()
                    .forward(row.expand(2, lenQ), row.expand(2, lenQ), row.expand(2, lenQ), out));
    assertTrue(refused.getMessage().contains("A4J_SIZE_OVERFLOW"), refused.getMessage());
  }

  @Test
  void shouldGoOnAfterAWorkspaceThatIsNotToBeHad() {
    Tensor x = random(arena, random, 1, 2, 70, 32);
    Tensor wanted = zeros(1, 2, 70, 32);
    Tensor out = zeros(1, 2, 70, 32);
    Attention attention = Attention.builder().build();
    attention.forward(x, x, x, wanted);
    // Tiles of such a wide head for so many threads exceed the address space, so that no system can
    // allocate them.
    long dim = Integer.MAX_VALUE;
    Tensor wide = Tensor.of(sparse, DType.F32, FLOATS).slice(0, 0, dim).reshape(1, 1, 1, dim);
    Tensor value = zeros(1, 1, 1, 64);
    Attention threaded = Attention.builder().threads(1024).build();
    for (int i = 0; i < 2; i++) {
      assertThrows(
          OutOfMemoryError.class, () -> threaded.forward(wide, wide, value, zeros(1, 1, 1, 64)));
      assertThrows(OutOfMemoryError.class, () -> KvCache.allocate(arena, 1, 1 << 20, 1 << 30, 64));
      attention.forward(x, x, x, out);
      assertArrayEquals(wanted.toFloatArray(), out.toFloatArray());
    }
  }
}
