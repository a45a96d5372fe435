package io.github.attention4j.internal;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertThrows;

import io.github.attention4j.DType;
import io.github.attention4j.bindings.a4j_area_desc;
import io.github.attention4j.bindings.a4j_convert_desc;
import io.github.attention4j.bindings.a4j_dropout_desc;
import io.github.attention4j.bindings.a4j_elementwise_desc;
import io.github.attention4j.bindings.a4j_gru_desc;
import io.github.attention4j.bindings.a4j_layer_norm_desc;
import io.github.attention4j.bindings.a4j_linear_attention_desc;
import io.github.attention4j.bindings.a4j_linear_desc;
import io.github.attention4j.bindings.a4j_merge_desc;
import io.github.attention4j.bindings.a4j_pair_scores_desc;
import io.github.attention4j.bindings.a4j_quantized_desc;
import io.github.attention4j.bindings.a4j_rms_norm_desc;
import io.github.attention4j.bindings.a4j_rope_desc;
import java.lang.foreign.GroupLayout;
import java.lang.foreign.MemorySegment;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.Test;

/** Every operation but attention and appending, whose events OperationsTest records. */
class CallBytesTest {
  private static final long F32 = Float.BYTES;

  private final Workspaces.Lease lease = Workspaces.lease();

  @AfterEach
  void giveBack() {
    lease.close();
  }

  private static void assertBytes(
      long wanted, String function, GroupLayout layout, MemorySegment descriptor) {
    assertEquals(wanted, CallBytes.of(function, layout, descriptor), function);
  }

  @Test
  void shouldCountRows() {
    assertBytes(
        15 * (4 + 2),
        "a4j_rms_norm",
        a4j_rms_norm_desc.layout(),
        Descriptor.rmsNorm(lease, 1, DType.F32, DType.BF16, 3, 5, 5, 5, 1e-6f, 1));
    assertBytes(
        15 * (2 + 4),
        "a4j_layer_norm",
        a4j_layer_norm_desc.layout(),
        Descriptor.layerNorm(lease, 1, DType.F16, DType.F32, 3, 5, 5, 5, 1e-6f));
    assertBytes(
        7 * (2 + 2),
        "a4j_convert",
        a4j_convert_desc.layout(),
        Descriptor.convert(lease, 1, DType.F16, DType.BF16, 7));
    assertBytes(
        15 * (3 + 3 + 1 + 1) * F32,
        "a4j_gru",
        a4j_gru_desc.layout(),
        Descriptor.gru(lease, 1, 3, 5, 15, 15, 5, 5));
    MemorySegment rope =
        Descriptor.rotary(lease, 1, DType.BF16, DType.F32, Descriptor.ROPE_HALF, 4, 9, 0);
    Descriptor.rotarySizes(rope, 2, 3, 4, 5);
    assertBytes(120 * (2 + 4), "a4j_rope", a4j_rope_desc.layout(), rope);
    MemorySegment merge = Descriptor.merge(lease, 1, 2, 3, 4, 5);
    assertBytes(3 * 120 * F32, "a4j_merge", a4j_merge_desc.layout(), merge);
  }

  @Test
  void shouldCountASecondOperandOnlyIfThereIsOne() {
    assertBytes(
        15 * (4 + 2),
        "a4j_elementwise",
        a4j_elementwise_desc.layout(),
        elementwise(Descriptor.SET));
    assertBytes(
        15 * (4 + 2 + 2),
        "a4j_elementwise",
        a4j_elementwise_desc.layout(),
        elementwise(Descriptor.ADD));
  }

  private MemorySegment elementwise(int combine) {
    return Descriptor.elementwise(
        lease, 1, DType.F32, DType.BF16, DType.F16, Descriptor.RELU, combine, 1, 3, 5, 5, 5, 5);
  }

  @Test
  void shouldCountWeightsAsTheyAreStored() {
    assertBytes(
        20 * 64 * (4 + 4),
        "a4j_linear_pack",
        a4j_linear_desc.layout(),
        linear(DType.F32, Descriptor.ARITHMETIC_EXACT));
    assertBytes(
        20 * 64 * (4 + 2),
        "a4j_linear_pack",
        a4j_linear_desc.layout(),
        linear(DType.F32, Descriptor.ARITHMETIC_BF16));
    assertBytes(
        3 * 64 * F32 + 20 * 64 * 2 + 3 * 20 * F32,
        "a4j_linear",
        a4j_linear_desc.layout(),
        linear(DType.F16, Descriptor.ARITHMETIC_EXACT));
  }

  private MemorySegment linear(DType weight, int arithmetic) {
    return Descriptor.linear(
        lease,
        1,
        DType.F32,
        DType.F32,
        Descriptor.Storage.of(weight),
        arithmetic,
        Descriptor.PRODUCT_PACKED,
        Descriptor.IDENTITY,
        Descriptor.SET,
        3,
        64,
        20,
        64,
        64,
        20);
  }

  /** The sizes that the library itself gives. */
  @Test
  void shouldCountQuantizedWeightsAsPacked() {
    for (int dtype : new int[] {3, 4, 5}) {
      for (int scales : new int[] {0, 2, 3}) {
        for (int minimums = 0; minimums < 2; minimums++) {
          MemorySegment d =
              Descriptor.quantized(
                  lease,
                  1,
                  new Descriptor.Storage(dtype, 32, scales, minimums),
                  DType.BF16,
                  0,
                  20,
                  512,
                  512);
          long packed = Downcalls.quantizedBytes(d);
          GroupLayout layout = a4j_quantized_desc.layout();
          assertBytes(20 * 512 * 2 + packed, "a4j_quantize", layout, d);
          assertBytes(20 * 512 * 2 + packed, "a4j_dequantize", layout, d);
          assertBytes(packed, "a4j_blocks_pack", layout, d);
          assertBytes(20 * 512 * 2, "a4j_blocks_widen", layout, d);
          long group = scales == 3 ? 1 : scales == 2 ? 2 : 4;
          long unpacked = 20 * (512 / 32 * group + (scales == 3 ? 2 * 2 : 0)) * (1 + minimums);
          assertBytes(20 * 512 + unpacked + packed, "a4j_quantized_pack", layout, d);
        }
      }
    }
  }

  @Test
  void shouldCountStatesScoresAndAreas() {
    MemorySegment state =
        Descriptor.linearAttention(
            lease, 1, Descriptor.UPDATE_GATED_DELTA, 1, 2, 6, 3, 4, 8, 16, 8);
    assertBytes(
        F32 * (2 * 6 * 4 * (8 + 16) + 2 * 3 * 4 * (8 + 16 + 8) + 2 * 2 * 3 * 8 * 16),
        "a4j_linear_attention",
        a4j_linear_attention_desc.layout(),
        state);
    MemorySegment pairs = Descriptor.pairScores(lease, 1, Descriptor.PAIR_ADDITIVE, 1, false, 0);
    Descriptor.pairSizes(pairs, 2, 3, 4, 5);
    assertBytes(
        F32 * 2 * (3 * 5 + 4 * 5 + 3 * 4), "a4j_pair_scores", a4j_pair_scores_desc.layout(), pairs);
    assertBytes(
        120,
        "a4j_dropout",
        a4j_dropout_desc.layout(),
        Descriptor.dropoutMask(lease, 1, 0.5f, 1, 0, 2, 3, 4, 5));
    MemorySegment areas = Descriptor.areas(lease, 1, 1e-6f, 2, 3, 5);
    Descriptor.areaSizes(areas, 2, 3, 2, 2);
    Descriptor.areaStridesOut(areas, 5, 0, 5, 0);
    // (2 + 1) places of lines, (3 + 2) of columns.
    GroupLayout layout = a4j_area_desc.layout();
    assertBytes(F32 * 30 * (6 + 2 * 15), "a4j_area_features", layout, areas);
    assertEquals(F32 * 30 * 15, CallBytes.noise(layout, areas));
  }

  @Test
  void shouldRefuseFunctionsWithoutADescriptor() {
    assertEquals(
        "no descriptor: a4j_version",
        assertThrows(
                IllegalArgumentException.class,
                () -> CallBytes.of("a4j_version", a4j_gru_desc.layout(), MemorySegment.NULL))
            .getMessage());
  }
}
