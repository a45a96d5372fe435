package io.github.attention4j;

import static org.junit.jupiter.api.Assertions.assertArrayEquals;
import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertThrows;

import java.lang.foreign.Arena;
import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.nio.FloatBuffer;
import java.util.Random;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.function.Executable;

/** Arrays and buffers give the same results as tensors. */
class CopyingTest {
  private static final AttentionShape SHAPE = new AttentionShape(2, 4, 2, 5, 9, 8, 6);

  private final Random random = new Random(14);
  private final float[] q = normal(2 * 4 * 5 * 8);
  private final float[] k = normal(2 * 2 * 9 * 8);
  private final float[] v = normal(2 * 2 * 9 * 6);
  private final Attention attention =
      Attention.builder().mask(Mask.causal(Alignment.BOTTOM_RIGHT)).build();

  private float[] normal(int count) {
    float[] values = new float[count];
    for (int i = 0; i < count; i++) {
      values[i] = (float) random.nextGaussian();
    }
    return values;
  }

  private float[] expected() {
    try (Arena arena = Arena.ofConfined()) {
      Tensor out = Tensor.allocate(arena, DType.F32, 2, 4, 5, 6);
      attention.forward(
          Tensor.of(arena, q, 2, 4, 5, 8),
          Tensor.of(arena, k, 2, 2, 9, 8),
          Tensor.of(arena, v, 2, 2, 9, 6),
          out);
      return out.toFloatArray();
    }
  }

  @Test
  void shouldComputeOverArrays() {
    float[] out = new float[2 * 4 * 5 * 6];
    attention.forward(SHAPE, q, k, v, out);
    assertArrayEquals(expected(), out);
    float[] own = normal(3 * 7 * 4);
    float[] inPlace = own.clone();
    AttentionShape shape = AttentionShape.of(1, 3, 7, 4);
    Attention.builder().build().forward(shape, inPlace, inPlace, inPlace, inPlace);
    float[] apart = new float[own.length];
    Attention.builder().build().forward(shape, own, own, own, apart);
    assertArrayEquals(apart, inPlace);
  }

  @Test
  void shouldComputeOverWhatRemainsInBuffers() {
    FloatBuffer direct =
        ByteBuffer.allocateDirect(4 * (q.length + 3))
            .order(ByteOrder.nativeOrder())
            .asFloatBuffer();
    direct.position(3).put(q).position(3);
    FloatBuffer foreign =
        ByteBuffer.allocate(4 * k.length).order(ByteOrder.BIG_ENDIAN).asFloatBuffer();
    foreign.put(k).flip();
    FloatBuffer out =
        ByteBuffer.allocateDirect(4 * 240).order(ByteOrder.BIG_ENDIAN).asFloatBuffer();
    attention.forward(SHAPE, direct, foreign, FloatBuffer.wrap(v).asReadOnlyBuffer(), out);
    float[] values = new float[240];
    out.get(0, values);
    assertArrayEquals(expected(), values);
    assertEquals(3, direct.position());
    assertEquals(0, out.position());
  }

  private static void refuse(String message, Executable call) {
    assertEquals(message, assertThrows(IllegalArgumentException.class, call).getMessage());
  }

  @Test
  void shouldRefuseLengthsThatDoNotFit() {
    float[] out = new float[240];
    refuse(
        "k.length must equal batch * headsKv * lenK * dim: k.length=287, batch * headsKv * lenK *"
            + " dim=288",
        () -> attention.forward(SHAPE, q, new float[287], v, out));
    refuse(
        "lenK must lie in [0, 9223372036854775807]: lenK=-1",
        () -> new AttentionShape(1, 1, 1, 1, -1, 1, 1));
    AttentionShape huge = new AttentionShape(1L << 40, 1 << 20, 1, 1 << 20, 1, 1, 1);
    assertEquals(
        "q.length must equal batch * headsQ * lenQ * dim: q.length=320, batch * headsQ * lenQ *"
            + " dim=9223372036854775807",
        assertThrows(IllegalArgumentException.class, () -> attention.forward(huge, q, k, v, out))
            .getMessage());
    refuse(
        "out must be writable: it is read-only",
        () ->
            attention.forward(
                SHAPE,
                FloatBuffer.wrap(q),
                FloatBuffer.wrap(k),
                FloatBuffer.wrap(v),
                FloatBuffer.wrap(out).asReadOnlyBuffer()));
    assertEquals(
        "v",
        assertThrows(NullPointerException.class, () -> attention.forward(SHAPE, q, k, null, out))
            .getMessage());
  }
}
