package io.github.attention4j;

import static io.github.attention4j.Alignment.BOTTOM_RIGHT;
import static io.github.attention4j.Alignment.TOP_LEFT;
import static io.github.attention4j.reference.ReferenceAttention.KEEP_ALL;
import static io.github.attention4j.testing.Checked.onEveryTier;
import static org.junit.jupiter.api.Assertions.assertArrayEquals;
import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import io.github.attention4j.RelativePositions.Beyond;
import io.github.attention4j.reference.ReferenceAttention;
import io.github.attention4j.reference.ReferenceAttention.Entry;
import io.github.attention4j.reference.ReferenceAttention.Result;
import io.github.attention4j.testing.Checked;
import java.lang.foreign.Arena;
import java.util.Random;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.BeforeEach;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.function.Executable;

class RelativePositionsTest {
  private static final double HIDDEN = Double.NEGATIVE_INFINITY;

  private final Random random = new Random(2018);
  private Arena arena;

  @BeforeEach
  void openArena() {
    arena = Arena.ofConfined();
  }

  @AfterEach
  void closeArena() {
    arena.close();
  }

  private Tensor random(long... shape) {
    return Checked.random(arena, random, shape);
  }

  private Tensor floats(long... shape) {
    return Tensor.allocate(arena, DType.F32, shape);
  }

  // ---- The formula ----

  /** The row of a table for a distance, or null. */
  private static float[] row(RelativePositions positions, Tensor table, int h, long distance) {
    long x = positions.zero() + distance;
    long last = positions.rows() - 1;
    if (table == null || positions.beyond() == Beyond.ZERO && (x < 0 || x > last)) {
      return null;
    }
    Tensor own = table.rank() == 2 ? table : table.select(0, h);
    return own.select(0, Math.clamp(x, 0, last)).toFloatArray();
  }

  private static Result expected(
      Tensor q, Tensor k, Tensor v, RelativePositions positions, int offset, boolean causal) {
    int dim = (int) q.size(3);
    int dimV = (int) v.size(3);
    double scale = 1 / Math.sqrt(dim);
    Entry bias =
        (b, h, i, j) -> {
          float[] row = row(positions, positions.keys(), h, j - i - offset);
          double sum = 0;
          for (int c = 0; row != null && c < dim; c++) {
            sum += scale * q.getFloat(b, h, i, c) * row[c];
          }
          return causal && j > i + offset ? HIDDEN : sum;
        };
    Result plain = ReferenceAttention.attention(q, k, v, scale, bias, KEEP_ALL);
    int at = 0;
    for (int b = 0; b < q.size(0); b++) {
      for (int h = 0; h < q.size(1); h++) {
        for (int i = 0; i < q.size(2); i++) {
          for (int j = 0; j < k.size(2); j++, at++) {
            float[] row = row(positions, positions.values(), h, j - i - offset);
            for (int c = 0; row != null && i >= positions.firstWithValues() && c < dimV; c++) {
              plain.out()[at / (int) k.size(2) * dimV + c] += plain.weights()[at] * row[c];
            }
          }
        }
      }
    }
    return plain;
  }

  private void check(
      String what, RelativePositions positions, int lenQ, int lenK, int dim, int dimV) {
    Tensor q = random(2, 4, lenQ, dim);
    Tensor k = random(2, 2, lenK, dim);
    Tensor v = random(2, 2, lenK, dimV);
    Tensor out = floats(2, 4, lenQ, dimV);
    Tensor weights = floats(2, 4, lenQ, lenK);
    Result ends = expected(q, k, v, positions, lenK - lenQ, false);
    Result causal = expected(q, k, v, positions, 0, true);
    onEveryTier(
        () -> {
          Attention attention = Attention.builder().relative(BOTTOM_RIGHT, positions).build();
          attention.forward(q, k, v, out, Extras.none().weights(weights));
          requireNear(what, ends.out(), out);
          requireNear(what + " weights", ends.weights(), weights);
          attention =
              Attention.builder()
                  .mask(Mask.causal(0, 0))
                  .relative(new int[] {0, 0}, positions)
                  .build();
          attention.forward(q, k, v, out);
          requireNear(what + " causal", causal.out(), out);
        });
  }

  private static void requireNear(String what, double[] expected, Tensor got) {
    float[] values = got.toFloatArray();
    for (int i = 0; i < expected.length; i++) {
      assertEquals(expected[i], values[i], 3e-6 * (1 + Math.abs(expected[i])), what + " " + i);
    }
  }

  @Test
  void shouldAddTheRowOfItsDistanceToEachKeyAndValue() {
    int[][] lengths = {{1, 1}, {1, 70}, {5, 5}, {33, 20}, {49, 130}, {100, 64}};
    for (int[] length : lengths) {
      for (int m : new int[] {1, 3, 40}) {
        String what = "m " + m + ", " + length[0] + " x " + length[1];
        check(
            "clipped " + what,
            RelativePositions.clipped(m, random(2 * m + 1, 12), random(2 * m + 1, 7)),
            length[0],
            length[1],
            12,
            7);
        check(
            "masked " + what,
            RelativePositions.masked(m, random(4, m, 8), random(m, 16)),
            length[0],
            length[1],
            8,
            16);
        check(
            "unmasked " + what,
            RelativePositions.unmasked(m, random(2 * m - 1, 5), random(4, 2 * m - 1, 6)),
            length[0],
            length[1],
            5,
            6);
      }
    }
  }

  @Test
  void shouldTakeTablesOfKeysOrOfValuesAlone() {
    Tensor table = random(9, 8);
    check("keys", RelativePositions.clipped(4, table, null), 50, 70, 8, 8);
    check("values", RelativePositions.clipped(4, null, table), 50, 70, 8, 8);
    check("far", RelativePositions.of(table, table, 1L << 62, Beyond.CLIP), 50, 70, 8, 8);
    check("far", RelativePositions.of(table, table, Long.MIN_VALUE, Beyond.ZERO), 50, 70, 8, 8);
    check("late", RelativePositions.masked(9, table, table).valuesFrom(20), 50, 70, 8, 8);
    check("none", RelativePositions.masked(9, table, table).valuesFrom(50), 50, 70, 8, 8);
  }

  @Test
  void shouldGiveTheFirstBlockNothingOfTheValues() {
    Tensor keys = random(12, 8);
    Tensor values = random(12, 8);
    RelativePositions longer = RelativePositions.localMaskRight(7, 3, keys, values);
    assertEquals(3, longer.firstWithValues());
    assertEquals(11, longer.zero());
    assertEquals(Beyond.ZERO, longer.beyond());
    RelativePositions shorter = RelativePositions.localMaskRight(5, 3, keys, values);
    Tensor q = random(1, 1, 5, 8);
    Attention.Builder builder = Attention.builder().mask(Mask.causal(TOP_LEFT));
    Tensor all = floats(q.shape());
    Tensor keysOnly = floats(q.shape());
    builder.relative(TOP_LEFT, shorter).build().forward(q, q, q, all);
    builder
        .relative(TOP_LEFT, RelativePositions.localMaskRight(5, 3, keys, null))
        .build()
        .forward(q, q, q, keysOnly);
    assertArrayEquals(keysOnly.toFloatArray(), all.toFloatArray());
  }

  // ---- Together with the rest ----

  @Test
  void shouldDecodeTokenByTokenLikeOneCausalCall() {
    int length = 90;
    final Tensor q = random(2, 4, length, 16);
    final Tensor k = random(2, 2, length, 16);
    final Tensor v = random(2, 2, length, 16);
    for (RelativePositions positions :
        new RelativePositions[] {
          RelativePositions.clipped(5, random(11, 16), random(11, 16)),
          RelativePositions.masked(70, random(4, 70, 16), random(70, 16))
        }) {
      onEveryTier(
          () -> {
            Tensor whole = floats(q.shape());
            Attention.builder()
                .mask(Mask.causal(TOP_LEFT))
                .relative(TOP_LEFT, positions)
                .build()
                .forward(q, k, v, whole);
            KvCache cache = KvCache.allocate(arena, 2, 2, length, 16);
            Attention attention = Attention.builder().relative(BOTTOM_RIGHT, positions).build();
            Tensor out = floats(q.shape());
            for (int i = 0; i < length; ) {
              int count = Math.min(1 + i % 3, length - i);
              cache.append(k.slice(2, i, count), v.slice(2, i, count));
              attention.forward(q.slice(2, i, count), cache, out.slice(2, i, count));
              i += count;
            }
            assertArrayEquals(whole.toFloatArray(), out.toFloatArray(), 1e-5f);
          });
    }
  }

  @Test
  void shouldGivePackedSequencesWhatTheyHaveAlone() {
    final Sequences queries = Sequences.ofLengths(3, 0, 60, 1);
    final Sequences keys = Sequences.ofLengths(70, 5, 60, 9);
    Tensor q = random(64, 4, 8);
    Tensor k = random(144, 2, 8);
    Tensor out = floats(64, 4, 8);
    RelativePositions positions = RelativePositions.clipped(20, random(41, 8), random(41, 8));
    Attention attention = Attention.builder().relative(BOTTOM_RIGHT, positions).build();
    attention.forwardPacked(q, queries, k, k, keys, out);
    Tensor alone = floats(1, 4, 60, 8);
    Tensor ownQ = q.slice(0, 3, 60).transpose(0, 1).unsqueeze(0);
    Tensor ownK = k.slice(0, 75, 60).transpose(0, 1).unsqueeze(0);
    attention.forward(ownQ, ownK, ownK, alone);
    assertArrayEquals(
        alone.toFloatArray(),
        out.slice(0, 3, 60).transpose(0, 1).unsqueeze(0).toFloatArray(),
        1e-6f);
  }

  @Test
  void shouldLetNoRowOfATableLeakThatNoQuerySees() {
    Tensor keys = random(9, 8);
    Tensor values = random(9, 8);
    Tensor q = random(1, 2, 40, 8);
    final Tensor expected = floats(q.shape());
    Attention attention =
        Attention.builder()
            .mask(Mask.causal(TOP_LEFT))
            .relative(TOP_LEFT, RelativePositions.clipped(4, keys, values))
            .build();
    attention.forward(q, q, q, expected);
    keys.slice(0, 5, 4).fill(Float.NaN);
    values.slice(0, 5, 4).fill(Float.POSITIVE_INFINITY);
    Tensor out = floats(q.shape());
    attention.forward(q, q, q, out);
    assertArrayEquals(expected.toFloatArray(), out.toFloatArray());
    values.slice(0, 2, 1).fill(Float.NaN); // two keys back
    attention.forward(q, q, q, out);
    for (int i = 0; i < 40; i++) {
      boolean isNan = Float.isNaN(out.getFloat(0, 1, i, 3));
      assertEquals(i >= 2, isNan, "query " + i);
    }
  }

  @Test
  void shouldApplyToArraysToo() {
    RelativePositions positions = RelativePositions.clipped(2, random(5, 3), random(5, 3));
    Attention attention = Attention.builder().relative(TOP_LEFT, positions).build();
    Tensor q = random(1, 1, 6, 3);
    Tensor out = floats(q.shape());
    attention.forward(q, q, q, out);
    float[] values = q.toFloatArray();
    float[] got = new float[values.length];
    attention.forward(AttentionShape.of(1, 1, 6, 3), values, values, values, got);
    assertArrayEquals(out.toFloatArray(), got);
  }

  // ---- What is refused ----

  private static void refuse(String message, Executable call) {
    assertEquals(message, assertThrows(IllegalArgumentException.class, call).getMessage());
  }

  @Test
  void shouldRefuseTablesThatAreNone() {
    Tensor table = random(5, 8);
    refuse(
        "keys or values must not be null: both are",
        () -> RelativePositions.of(null, null, 0, Beyond.CLIP));
    refuse(
        "keys.rank must be 2 [rows, dim] or 3 [heads, rows, dim]: keys.rank=1",
        () -> RelativePositions.clipped(2, random(5), null));
    refuse(
        "values.rows must be at least 1: values.rows=0",
        () -> RelativePositions.of(null, floats(0, 8), 0, Beyond.ZERO));
    refuse(
        "values.rows must equal keys.rows: values.rows=4, keys.rows=5",
        () -> RelativePositions.clipped(2, table, random(4, 8)));
    refuse(
        "keys.rows must equal 2 * maxRelativePosition + 1: keys.rows=5,"
            + " 2 * maxRelativePosition + 1=7",
        () -> RelativePositions.clipped(3, table, table));
    refuse(
        "keys.rows must equal maxRelativePosition: keys.rows=5, maxRelativePosition=6",
        () -> RelativePositions.masked(6, table, null));
    refuse(
        "values.rows must equal 2 * maxRelativePosition - 1: values.rows=5,"
            + " 2 * maxRelativePosition - 1=11",
        () -> RelativePositions.unmasked(6, null, table));
    refuse(
        "keys.rows must equal 4 * blockLength: keys.rows=5, 4 * blockLength=8",
        () -> RelativePositions.localMaskRight(10, 2, table, null));
    refuse(
        "maxRelativePosition must be at least 1: maxRelativePosition=0",
        () -> RelativePositions.clipped(0, table, table));
    refuse(
        "blockLength must be at least 1: blockLength=0",
        () -> RelativePositions.localMaskRight(10, 0, table, null));
    assertTrue(
        assertThrows(
                IllegalArgumentException.class,
                () -> RelativePositions.clipped(2, table, null).valuesFrom(-1))
            .getMessage()
            .startsWith("firstQuery must lie in [0, "));
  }

  @Test
  void shouldRefuseTablesThatDoNotFitTheCall() {
    Tensor q = random(2, 4, 5, 8);
    Tensor k = random(2, 2, 7, 8);
    Tensor v = random(2, 2, 7, 6);
    Tensor out = floats(2, 4, 5, 6);
    Tensor keys = random(5, 8);
    Tensor values = random(5, 6);
    call(keys, values).forward(q, k, v, out);
    refuse(
        "relative.keys.dim must equal q.dim: relative.keys.dim=6, q.dim=8",
        () -> call(values, null).forward(q, k, v, out));
    refuse(
        "relative.values.dim must equal v.dim: relative.values.dim=8, v.dim=6",
        () -> call(keys, keys).forward(q, k, v, out));
    refuse(
        "relative.keys.heads must equal q.heads: relative.keys.heads=2, q.heads=4",
        () -> call(random(2, 5, 8), values).forward(q, k, v, out));
    Tensor half = Tensor.allocate(arena, DType.BF16, 5, 8);
    refuse(
        "relative.keys.dtype must be F32: relative.keys.dtype=BF16",
        () -> call(half, null).forward(q, k, v, out));
    Tensor inOut = out.select(0, 0).select(0, 0);
    String overlap =
        assertThrows(IllegalArgumentException.class, () -> call(null, inOut).forward(q, k, v, out))
            .getMessage();
    assertTrue(overlap.startsWith("out must not overlap relative.values"), overlap);
    Tensor gone;
    try (Arena closed = Arena.ofConfined()) {
      gone = Tensor.allocate(closed, DType.F32, 5, 8);
    }
    assertThrows(IllegalStateException.class, () -> call(gone, null).forward(q, k, v, out));
  }

  private static Attention call(Tensor keys, Tensor values) {
    return Attention.builder()
        .relative(TOP_LEFT, RelativePositions.of(keys, values, 2, Beyond.CLIP))
        .build();
  }

  @Test
  void shouldRefuseOtherPlacesThanTheMasks() {
    RelativePositions positions = RelativePositions.clipped(2, random(5, 8), null);
    refuse(
        "mask, ALiBi, score and relative positions must have one alignment: BOTTOM_RIGHT and"
            + " TOP_LEFT",
        () ->
            Attention.builder()
                .mask(Mask.causal(BOTTOM_RIGHT))
                .relative(TOP_LEFT, positions)
                .build());
    KvCache cache = KvCache.allocate(arena, 1, 1, 4, 8);
    cache.append(random(1, 1, 2, 8), random(1, 1, 2, 8));
    assertThrows(
        IllegalArgumentException.class,
        () ->
            Attention.builder()
                .relative(TOP_LEFT, positions)
                .build()
                .forward(random(1, 1, 1, 8), cache, floats(1, 1, 1, 8)));
  }
}
