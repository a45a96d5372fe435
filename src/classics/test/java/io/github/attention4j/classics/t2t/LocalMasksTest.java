package io.github.attention4j.classics.t2t;

import static io.github.attention4j.testing.Checked.onEveryTier;
import static io.github.attention4j.testing.Checked.random;
import static org.junit.jupiter.api.Assertions.assertArrayEquals;
import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import io.github.attention4j.Alignment;
import io.github.attention4j.Attention;
import io.github.attention4j.DType;
import io.github.attention4j.Extras;
import io.github.attention4j.Mask;
import io.github.attention4j.Tensor;
import io.github.attention4j.reference.ReferenceAttention;
import java.lang.foreign.Arena;
import java.lang.foreign.ValueLayout;
import java.util.Random;
import org.junit.jupiter.api.Test;

/** Local and dilated attention, against the rule of each type asked for every query and key. */
class LocalMasksTest {
  private static final double PADDING = -1e9;

  /** What a type says of query i and key j, and of a key that is zero. */
  private interface Rule {
    boolean sees(int i, int j);

    default boolean mindsZero(int i, int j) {
      return false;
    }
  }

  private static boolean inSteps(int distance, int size, int gap, int blocks) {
    return distance >= 0
        && distance / (size + gap) < blocks
        && distance % (size + gap) < (long) size + gap
        && distance % (size + gap) >= gap;
  }

  private static Rule unmasked(int block, int width) {
    return new Rule() {
      @Override
      public boolean sees(int i, int j) {
        int start = i / block * block;
        return j >= start - width && j < start + block + width;
      }

      @Override
      public boolean mindsZero(int i, int j) {
        return true;
      }
    };
  }

  private static Rule dilated(int rows, int size, int gap, int blocks, boolean masked) {
    return new Rule() {
      @Override
      public boolean sees(int i, int j) {
        int start = i / rows * rows;
        int end = start + rows;
        // Counted away from the own block, a gap comes first and then a block, again and again.
        return j < start
            ? inSteps(start - 1 - j, size, gap, blocks)
            : j < end ? !masked || j <= i : !masked && inSteps(j - end, size, gap, blocks);
      }

      @Override
      public boolean mindsZero(int i, int j) {
        return !masked || j < i / rows * rows;
      }
    };
  }

  private static void require(
      String what, Mask mask, Rule rule, Tensor q, Tensor k, Tensor v, Arena arena) {
    boolean[][][] zero = new boolean[(int) k.size(0)][(int) k.size(1)][(int) k.size(2)];
    for (int b = 0; b < k.size(0); b++) {
      for (int h = 0; h < k.size(1); h++) {
        for (int j = 0; j < k.size(2); j++) {
          boolean all = true;
          for (float value : k.select(0, b).select(0, h).select(0, j).toFloatArray()) {
            all &= value == 0;
          }
          zero[b][h][j] = all;
        }
      }
    }
    ReferenceAttention.Result exact =
        ReferenceAttention.attention(
            q,
            k,
            v,
            1,
            (b, h, i, j) ->
                !rule.sees(i, j)
                    ? Double.NEGATIVE_INFINITY
                    : zero[b][h][j] && rule.mindsZero(i, j) ? PADDING : 0,
            ReferenceAttention.KEEP_ALL);
    Tensor out =
        Tensor.allocate(arena, DType.F32, q.size(0), q.size(1), q.size(2), v.size(3)).fill(7);
    Tensor weights =
        Tensor.allocate(arena, DType.F32, q.size(0), q.size(1), q.size(2), q.size(2)).fill(7);
    Attention attention = Attention.builder().scale(1).mask(mask).build();
    attention.forward(q, k, v, out, Extras.none().weights(weights));
    requireNear(what + " out", exact.out(), out);
    requireNear(what + " weights", exact.weights(), weights);
    attention.forward(q, k, v, out.fill(7));
    requireNear(what + " out alone", exact.out(), out);
  }

  private static void requireNear(String what, double[] exact, Tensor got) {
    float[] values = got.toFloatArray();
    assertEquals(exact.length, values.length, what);
    for (int i = 0; i < exact.length; i++) {
      if (!(Math.abs(exact[i] - values[i]) <= 2e-5 * Math.max(1, Math.abs(exact[i])))) {
        throw new AssertionError(what + ", element " + i + ": " + exact[i] + ", got " + values[i]);
      }
    }
  }

  /** Zeroes some keys: none, a tail as padding is, single ones, or all. */
  private static void zeroKeys(Tensor k, Random random) {
    int kind = random.nextInt(5);
    int length = (int) k.size(2);
    for (int b = 0; b < k.size(0); b++) {
      int tail = random.nextInt(length + 1);
      for (int h = 0; h < k.size(1); h++) {
        for (int j = 0; j < length; j++) {
          boolean zero =
              switch (kind) {
                case 0 -> false;
                case 1 -> j >= tail;
                case 2 -> random.nextInt(4) == 0;
                case 3 -> random.nextInt(8) > 0;
                default -> random.nextInt(40) > 0;
              };
          if (zero) {
            k.select(0, b).select(0, h).select(0, j).fill(random.nextBoolean() ? 0f : -0f);
          }
        }
      }
    }
  }

  @Test
  void shouldShowWhatEachTypeSaysForRandomSizes() {
    onEveryTier(
        () -> {
          Random random = new Random(20);
          for (int trial = 0; trial < 400; trial++) {
            try (Arena arena = Arena.ofConfined()) {
              requireAllTypes(trial, random, arena);
            }
          }
        });
  }

  private static void requireAllTypes(int trial, Random random, Arena arena) {
    int batch = 1 + random.nextInt(2);
    int heads = 1 + random.nextInt(3);
    int length = trial % 20 == 0 ? 1 + random.nextInt(2) : 1 + random.nextInt(trial % 4 * 50 + 20);
    int dim = 1 + random.nextInt(20);
    int block = trial % 7 == 0 ? 1 : 1 + random.nextInt(trial % 3 == 0 ? 2 * length : 40);
    int width = random.nextInt(trial % 5 == 0 ? 2 * length : 20);
    int size = 1 + random.nextInt(trial % 5 == 0 ? length : 9);
    int gap = trial % 3 == 0 ? 0 : random.nextInt(7);
    int blocks = random.nextInt(5);
    String what =
        "trial %d: length %d, block %d, width %d, size %d, gap %d, blocks %d "
            .formatted(trial, length, block, width, size, gap, blocks);
    Tensor q = random(arena, random, batch, heads, length, dim);
    Tensor k = random(arena, random, batch, heads, length, dim);
    Tensor v = random(arena, random, batch, heads, length, 1 + random.nextInt(12));

    Rule within = (i, j) -> j <= i && j / block == i / block;
    require(what + "within", LocalMasks.localWithinBlockMaskRight(block), within, q, k, v, arena);
    Rule right = (i, j) -> j <= i && (length < 2 * block || j / block >= i / block - 1);
    require(what + "right", LocalMasks.localMaskRight(length, block), right, q, k, v, arena);
    Rule around = unmasked(block, width);
    Rule masked = dilated(block, size, gap, blocks, true);
    Rule both = dilated(block, size, gap, blocks, false);
    require(
        what + "unmasked", LocalMasks.localUnmasked(length, block, width), around, q, k, v, arena);
    require(
        what + "masked dilated",
        LocalMasks.maskedDilated1d(length, block, size, gap, blocks),
        masked,
        q,
        k,
        v,
        arena);
    require(
        what + "unmasked dilated",
        LocalMasks.unmaskedDilated1d(length, block, size, gap, blocks),
        both,
        q,
        k,
        v,
        arena);

    zeroKeys(k, random);
    require(
        what + "unmasked, zeros",
        LocalMasks.localUnmasked(k, block, width),
        around,
        q,
        k,
        v,
        arena);
    require(
        what + "masked dilated, zeros",
        LocalMasks.maskedDilated1d(k, block, size, gap, blocks),
        masked,
        q,
        k,
        v,
        arena);
    require(
        what + "unmasked dilated, zeros",
        LocalMasks.unmaskedDilated1d(k, block, size, gap, blocks),
        both,
        q,
        k,
        v,
        arena);
  }

  @Test
  void shouldAverageTheValuesOfABlockThatSeesOnlyZeroKeys() {
    try (Arena arena = Arena.ofConfined()) {
      Tensor q = random(arena, new Random(1), 1, 1, 6, 3);
      Tensor k = Tensor.allocate(arena, DType.F32, 1, 1, 6, 3);
      Tensor v = Tensor.of(arena, new float[] {1, 2, 3, 4, 5, 6}, 1, 1, 6, 1);
      Tensor out = Tensor.allocate(arena, DType.F32, 1, 1, 6, 1);
      k.setFloat(1e-38f, 0, 0, 5, 2);
      Attention.builder().mask(LocalMasks.localUnmasked(k, 2, 1)).build().forward(q, k, v, out);
      // Queries 0 and 1 see keys 0 to 2, queries 2 and 3 keys 1 to 4, the last two only key 5.
      float[] expected = {2, 2, 3.5f, 3.5f, 6, 6};
      assertArrayEquals(expected, out.toFloatArray(), 1e-6f);
    }
  }

  @Test
  void shouldTakeKeysOfRankThreeAndStridedViews() {
    try (Arena arena = Arena.ofConfined()) {
      Random random = new Random(3);
      Tensor rows = random(arena, random, 2, 30, 3 * 8);
      Tensor k = rows.splitHeads(3);
      k.select(0, 1).select(1, 7).fill(0);
      Tensor q = random(arena, random, 2, 3, 30, 8);
      require("strided", LocalMasks.localUnmasked(k, 5, 3), unmasked(5, 3), q, k, q, arena);
      Tensor one = k.select(1, 2);
      Tensor out = Tensor.allocate(arena, DType.F32, 2, 30, 8);
      Mask mask = LocalMasks.localUnmasked(one, 5, 3);
      Attention.builder().mask(mask).build().forward(one, one, one, out);
      Tensor same = Tensor.allocate(arena, DType.F32, 2, 1, 30, 8);
      Tensor four = one.unsqueeze(1);
      Attention.builder()
          .mask(LocalMasks.localUnmasked(four, 5, 3))
          .build()
          .forward(four, four, four, same);
      assertArrayEquals(same.toFloatArray(), out.toFloatArray());
    }
  }

  @Test
  void shouldComputeOnlyWhatIsSeen() {
    try (Arena arena = Arena.ofConfined()) {
      int length = 4096;
      Tensor x = random(arena, new Random(4), 1, 1, length, 16);
      Tensor out = Tensor.allocate(arena, DType.F32, 1, 1, length, 16);
      // Exactly what is seen; along a diagonal whole vectors of queries are computed, which is
      // more.
      double[] seen = {64.5, 64.5 + 128 - 128.0 / 32, 384 - 2 * 128.0 / 32};
      Mask[] masks = {
        LocalMasks.localWithinBlockMaskRight(128),
        LocalMasks.localMaskRight(length, 128),
        LocalMasks.localUnmasked(x, 128, 128)
      };
      Tensor work = Tensor.allocate(arena, DType.I64, 1);
      for (int m = 0; m < masks.length; m++) {
        Attention attention = Attention.builder().mask(masks[m]).build();
        attention.forward(x, x, x, out, Extras.none().work(work));
        double scores = (double) work.segment().get(ValueLayout.JAVA_LONG, 0) / length;
        assertTrue(scores >= seen[m] - 1e-9 && scores <= seen[m] + 8, m + ": " + scores);
      }
    }
  }

  @Test
  void shouldAcceptNoKeysAtAll() {
    try (Arena arena = Arena.ofConfined()) {
      for (long[] shape : new long[][] {{2, 3, 0, 4}, {0, 3, 5, 4}, {2, 0, 5, 4}, {2, 3, 5, 4}}) {
        Tensor k = Tensor.allocate(arena, DType.F32, shape);
        Tensor out = Tensor.allocate(arena, DType.F32, shape);
        for (Mask mask :
            new Mask[] {
              LocalMasks.localMaskRight((int) shape[2], 2),
              LocalMasks.localUnmasked(k, 2, 1),
              LocalMasks.maskedDilated1d(k, 2, 1, 1, 1),
              LocalMasks.unmaskedDilated1d(k, 2, 1, 1, 1)
            }) {
          Attention.builder().mask(mask).build().forward(k, k, k, out);
        }
      }
    }
  }

  @Test
  void shouldNotOverflowOnTheLargestSizes() {
    int max = Integer.MAX_VALUE;
    try (Arena arena = Arena.ofConfined()) {
      Tensor x = random(arena, new Random(5), 1, 1, 9, 4);
      Tensor dense = Tensor.allocate(arena, DType.F32, 1, 1, 9, 4);
      Tensor out = Tensor.allocate(arena, DType.F32, 1, 1, 9, 4);
      Attention.builder().build().forward(x, x, x, dense);
      for (Mask mask :
          new Mask[] {
            LocalMasks.localUnmasked(x, max, max),
            LocalMasks.localUnmasked(x, 1, max),
            LocalMasks.unmaskedDilated1d(x, max, max, max, max),
            LocalMasks.unmaskedDilated1d(x, 2, 3, 0, max)
          }) {
        Attention.builder().mask(mask).build().forward(x, x, x, out);
        assertArrayEquals(dense.toFloatArray(), out.toFloatArray(), 1e-6f);
      }
      Mask causal = Mask.causal(Alignment.TOP_LEFT);
      Attention.builder().mask(causal).build().forward(x, x, x, dense);
      for (Mask mask :
          new Mask[] {
            LocalMasks.localWithinBlockMaskRight(max),
            LocalMasks.localMaskRight(9, max),
            LocalMasks.maskedDilated1d(x, max, max, max, max),
            LocalMasks.maskedDilated1d(x, 1, 1, 0, max)
          }) {
        Attention.builder().mask(mask).build().forward(x, x, x, out);
        assertArrayEquals(dense.toFloatArray(), out.toFloatArray(), 1e-6f);
      }
    }
  }

  @Test
  void shouldRefuseSizesThatMakeNoPattern() {
    try (Arena arena = Arena.ofConfined()) {
      Tensor k = Tensor.allocate(arena, DType.F32, 1, 1, 4, 2);
      refuse(
          "blockLength must be at least 1: blockLength=0",
          () -> LocalMasks.localWithinBlockMaskRight(0));
      refuse(
          "blockLength must be at least 1: blockLength=0", () -> LocalMasks.localMaskRight(4, 0));
      refuse(
          "length must lie in [0, 2147483647]: length=-1", () -> LocalMasks.localMaskRight(-1, 4));
      refuse(
          "filterWidth must lie in [0, 2147483647]: filterWidth=-1",
          () -> LocalMasks.localUnmasked(k, 2, -1));
      refuse(
          "queryBlockSize must be at least 1: queryBlockSize=0",
          () -> LocalMasks.maskedDilated1d(k, 0, 1, 1, 1));
      refuse(
          "memoryBlockSize must be at least 1: memoryBlockSize=0",
          () -> LocalMasks.unmaskedDilated1d(k, 1, 0, 1, 1));
      refuse(
          "gapSize must lie in [0, 2147483647]: gapSize=-2",
          () -> LocalMasks.unmaskedDilated1d(4, 1, 1, -2, 1));
      refuse(
          "numMemoryBlocks must lie in [0, 2147483647]: numMemoryBlocks=-1",
          () -> LocalMasks.maskedDilated1d(4, 1, 1, 1, -1));
      refuse(
          "k.rank must be 4 [batch, heads, length, dim] or 3 [batch, length, dim]: k.rank=1",
          () -> LocalMasks.localUnmasked(k.reshape(8), 2, 1));
      Tensor ints = Tensor.allocate(arena, DType.I32, 1, 1, 4, 2);
      refuse("k.dtype must be F32: k.dtype=I32", () -> LocalMasks.localUnmasked(ints, 2, 1));
    }
  }

  private static void refuse(String message, Runnable call) {
    assertEquals(message, assertThrows(IllegalArgumentException.class, call::run).getMessage());
  }
}
