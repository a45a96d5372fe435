package io.github.attention4j.classics.t2t;

import static io.github.attention4j.testing.Checked.random;
import static org.junit.jupiter.api.Assertions.assertArrayEquals;
import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertThrows;

import io.github.attention4j.Alignment;
import io.github.attention4j.Attention;
import io.github.attention4j.DType;
import io.github.attention4j.Mask;
import io.github.attention4j.Tensor;
import java.lang.foreign.Arena;
import java.util.Random;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.BeforeEach;
import org.junit.jupiter.api.Test;

/** tensor2tensor's biases: their values, and that each one's mask does the same. */
class AttentionBiasTest {
  private static final float H = -1e9f;

  private final Random random = new Random(6);
  private Arena arena;
  private Tensor q;
  private Tensor k;
  private Tensor v;

  @BeforeEach
  void makeTensors() {
    arena = Arena.ofConfined();
    q = random(arena, random, 2, 3, 40, 8);
    k = random(arena, random, 2, 3, 40, 8);
    v = random(arena, random, 2, 3, 40, 8);
  }

  @AfterEach
  void closeArena() {
    arena.close();
  }

  private float[] attend(Attention.Builder attention) {
    Tensor out = Tensor.allocate(arena, DType.F32, q.shape());
    attention.build().forward(q, k, v, out);
    return out.toFloatArray();
  }

  private void requireSame(Tensor bias, Mask mask) {
    requireSame(bias, Attention.builder().mask(mask));
  }

  private void requireSame(Tensor bias, Attention.Builder other) {
    float[] dense = attend(Attention.builder().mask(Mask.bias(bias)));
    assertArrayEquals(dense, attend(other), 1e-5f);
  }

  private Tensor rows(int columns, float... values) {
    return Tensor.of(arena, values, values.length / columns, columns);
  }

  /** Numbers that never fall, a few alike each. */
  private Tensor steps(int batch) {
    float[] values = new float[batch * 40];
    for (int n = 0; n < values.length; n++) {
      values[n] = n % 40 == 0 ? 0 : values[n - 1] + random.nextInt(4) / 3;
    }
    return Tensor.of(arena, values, batch, 40);
  }

  @Test
  void shouldBoundDistancesOnEitherSideOrNot() {
    float[] both = {0, 0, H, 0, 0, 0, H, 0, 0};
    assertArrayEquals(both, AttentionBias.local(arena, 3, 1, 1).toFloatArray());
    float[] backward = {0, 0, 0, H, 0, 0, H, H, 0};
    assertArrayEquals(backward, AttentionBias.local(arena, 3, 0, -1).toFloatArray());
    float[] triangle = {0, H, H, 0, 0, H, 0, 0, 0};
    assertArrayEquals(triangle, AttentionBias.local(arena, 3, -7, 0).toFloatArray());
    assertArrayEquals(triangle, AttentionBias.lowerTriangle(arena, 3).toFloatArray());
    assertArrayEquals(new long[] {1, 1, 0, 0}, AttentionBias.local(arena, 0, 1, 1).shape());
    Mask near = Mask.window(5, 2, Alignment.TOP_LEFT);
    requireSame(AttentionBias.local(arena, 40, 5, 2), near);
    Mask later = Mask.window(Mask.UNBOUNDED, 3, Alignment.TOP_LEFT);
    requireSame(AttentionBias.local(arena, 40, -1, 3), later);
    requireSame(AttentionBias.lowerTriangle(arena, 40), Mask.causal(Alignment.TOP_LEFT));
  }

  @Test
  void shouldPreferWhatIsNear() {
    float two = (float) -Math.log(2);
    float three = (float) -Math.log(3);
    float[] expected = {0, two, three, two, 0, two, three, two, 0};
    assertArrayEquals(expected, AttentionBias.proximal(arena, 3).toFloatArray(), 1e-7f);
    requireSame(
        AttentionBias.proximal(arena, 40),
        Attention.builder().score(AttentionBias.proximalScore()));
  }

  @Test
  void shouldTellPaddingForthAndBack() {
    Tensor padding = rows(3, 0, 1, 0, 0, 0, 1);
    Tensor bias = AttentionBias.ignorePadding(arena, padding);
    assertArrayEquals(new long[] {2, 1, 1, 3}, bias.shape());
    assertArrayEquals(new float[] {0, H, 0, 0, 0, H}, bias.toFloatArray());
    Tensor back = AttentionBias.toPadding(arena, bias);
    assertArrayEquals(new long[] {2, 3}, back.shape());
    assertArrayEquals(padding.toFloatArray(), back.toFloatArray());
    Tensor mild = Tensor.of(arena, new float[] {-1, -1.5f}, 1, 1, 1, 2);
    assertArrayEquals(new float[] {0, 1}, AttentionBias.toPadding(arena, mild).toFloatArray());
    Tensor lengths = AttentionBias.paddingToLength(arena, padding);
    assertArrayEquals(new long[] {2}, lengths.shape());
    assertArrayEquals(new int[] {2, 2}, lengths.toIntArray());
    Tensor tail = Tensor.allocate(arena, DType.F32, 2, 40);
    tail.select(0, 1).slice(0, 30, 10).fill(1);
    requireSame(
        AttentionBias.ignorePadding(arena, tail),
        Mask.keyLengths(AttentionBias.paddingToLength(arena, tail)));
  }

  @Test
  void shouldTakeEmbeddingsThatAreExactlyZeroForPadding() {
    Tensor emb = Tensor.of(arena, new float[] {0, -0f, 0, 1e-45f, Float.NaN, 0}, 1, 3, 2);
    Tensor padding = AttentionBias.embeddingToPadding(arena, emb);
    assertArrayEquals(new long[] {1, 3}, padding.shape());
    assertArrayEquals(new float[] {1, 0, 0}, padding.toFloatArray());
  }

  @Test
  void shouldKeepToSegments() {
    Tensor queries = rows(2, 1, 2, 3, 0);
    Tensor keys = rows(2, 1, 3, 1, 3);
    Tensor bias = AttentionBias.sameSegment(arena, queries, keys);
    assertArrayEquals(new long[] {2, 1, 2, 2}, bias.shape());
    assertArrayEquals(new float[] {0, H, H, H, H, 0, H, H}, bias.toFloatArray());
    Tensor segments = steps(2);
    requireSame(
        AttentionBias.sameSegment(arena, segments, segments),
        AttentionBias.sameSegmentMask(segments, segments));
  }

  @Test
  void shouldShowTheInputWholeAndTheTargetWhatPrecedesIt() {
    // Two places of input, the separator, two of target: these count 1 and 2, the others 0.
    Tensor padding = rows(5, 0, 0, 1, 0, 0);
    float[] expected = {
      0, 0, 0, H, H, //
      0, 0, 0, H, H, //
      0, 0, 0, H, H, //
      0, 0, 0, 0, H, //
      0, 0, 0, 0, 0
    };
    Tensor bias = AttentionBias.prependInputsFullAttention(arena, padding);
    assertArrayEquals(new long[] {1, 1, 5, 5}, bias.shape());
    assertArrayEquals(expected, bias.toFloatArray());
    Tensor two = Tensor.allocate(arena, DType.F32, 2, 40);
    two.setFloat(1, 0, 11);
    two.setFloat(1, 1, 20);
    two.select(0, 1).slice(0, 37, 3).fill(1);
    requireSame(
        AttentionBias.prependInputsFullAttention(arena, two),
        AttentionBias.prependInputsFullAttentionMask(arena, two));
  }

  @Test
  void shouldCompareCoordinates() {
    Tensor whole = Tensor.allocate(arena, DType.I32, 3);
    whole.setInt(2, 1);
    whole.setInt(2, 2);
    float[] same = {0, H, H, H, 0, 0, H, 0, 0};
    assertArrayEquals(same, AttentionBias.batchCoordinates(arena, whole, whole).toFloatArray());
    float[] future = {0, H, H, 0, 0, 0, 0, 0, 0};
    assertArrayEquals(future, AttentionBias.future(arena, whole, whole).toFloatArray());
    Tensor column = whole.unsqueeze(1);
    assertArrayEquals(future, AttentionBias.future(arena, column, whole).toFloatArray());
    Tensor near = Tensor.of(arena, new float[] {0, 0.5f}, 2);
    float[] half = {0, H / 2, H / 2, 0};
    assertArrayEquals(half, AttentionBias.batchCoordinates(arena, near, near).toFloatArray());
    Tensor c = steps(1).select(0, 0);
    requireSame(
        AttentionBias.batchCoordinates(arena, c, c), AttentionBias.batchCoordinatesMask(c, c));
    requireSame(AttentionBias.future(arena, c, c), AttentionBias.futureMask(c, c));
  }

  @Test
  void shouldRefuseWhatDoesNotFit() {
    Tensor flat = Tensor.allocate(arena, DType.F32, 4);
    Tensor ints = Tensor.allocate(arena, DType.I32, 2, 4);
    refuse(
        "length must lie in [0, 2147483647]: length=-1",
        () -> AttentionBias.local(arena, -1, 0, 0));
    refuse("padding.rank must be 2: padding.rank=1, " + flat.layout(), () -> ignore(flat));
    refuse("padding.dtype must be F32: padding.dtype=I32", () -> ignore(ints));
    refuse(
        "bias.shape must be [batch, 1, 1, lenK] = [2, 1, 1, 8]: bias.shape=[2, 3, 40, 8]",
        () -> AttentionBias.toPadding(arena, q));
    refuse("emb.rank must be at least 2: emb.rank=1", () -> emb(flat));
    refuse(
        "memorySegmentId.batch must equal querySegmentId.batch: memorySegmentId.batch=3,"
            + " querySegmentId.batch=2",
        () -> AttentionBias.sameSegment(arena, steps(2), steps(3)));
    refuse(
        "queries.shape must be [len, 1] = [2, 1]: queries.shape=[2, 4]",
        () -> AttentionBias.future(arena, ints, flat));
    refuse(
        "keys.dtype must be F32: keys.dtype=I32",
        () -> AttentionBias.futureMask(flat, ints.select(0, 0)));
  }

  private Tensor ignore(Tensor padding) {
    return AttentionBias.ignorePadding(arena, padding);
  }

  private Tensor emb(Tensor emb) {
    return AttentionBias.embeddingToPadding(arena, emb);
  }

  private static void refuse(String message, Runnable call) {
    assertEquals(message, assertThrows(IllegalArgumentException.class, call::run).getMessage());
  }
}
