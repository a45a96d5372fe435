package io.github.attention4j;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertThrows;

import io.github.attention4j.internal.Descriptor;
import io.github.attention4j.internal.Workspaces;
import io.github.attention4j.layer.DifferentialAttention;
import io.github.attention4j.layer.Linear;
import io.github.attention4j.layer.MultiHeadAttention;
import io.github.attention4j.layer.RotaryEmbedding;
import io.github.attention4j.layer.RotaryTable;
import java.lang.foreign.Arena;
import java.util.Arrays;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.Timeout;
import org.junit.jupiter.api.function.Executable;

/** Sizes whose products overflow are refused with the numbers, before memory is taken. */
@Timeout(30)
class ExtremeSizesTest {
  private static void assertRefused(String message, Executable call) {
    assertEquals(message, assertThrows(IllegalArgumentException.class, call).getMessage());
  }

  @Test
  void shouldRefuseMoreSlopesThanAnArrayHolds() {
    float[][] slopes = new float[65_536][];
    Arrays.fill(slopes, new float[65_536]);
    assertRefused(
        "slopes.length * slopes[0].length must lie in [0, 2147483639]:"
            + " slopes.length * slopes[0].length=4294967296",
        () -> Attention.builder().alibi(new int[] {0}, slopes));
  }

  @Test
  void shouldRefuseMoreListsOfKeyRangesThanAnArrayHolds() {
    KeyRanges[] parts = new KeyRanges[65_536];
    Arrays.fill(parts, KeyRanges.of(1, new int[65_537], new int[0][]));
    String message =
        "the number of lists of key ranges must lie in [0, 1073741819]:"
            + " the number of lists of key ranges=4294967296";
    assertRefused(message, () -> KeyRanges.perBatch(parts));
    assertRefused(message, () -> KeyRanges.perHead(parts));

    KeyRanges[] few = new KeyRanges[1024];
    Arrays.fill(few, KeyRanges.of(1, new int[4097], new int[0][]));
    Mask batches = Mask.keyRanges(KeyRanges.perBatch(few));
    Mask heads = Mask.keyRanges(KeyRanges.perHead(few));
    assertRefused(message, () -> batches.and(heads));
  }

  @Test
  void shouldRefuseMoreKeyRangesThanAnArrayHolds() {
    int[][] ranges = new int[65_536][];
    Arrays.setAll(ranges, i -> new int[] {2 * i, 2 * i + 1});
    KeyRanges[] parts = new KeyRanges[65_536];
    Arrays.fill(parts, KeyRanges.of(1, new int[] {0, ranges.length}, ranges));
    assertRefused(
        "the number of key ranges must lie in [0, 1073741819]:"
            + " the number of key ranges=4294967296",
        () -> KeyRanges.perBatch(parts));
  }

  @Test
  void shouldRefuseMorePositionsThanADescriptorHolds() {
    try (Workspaces.Lease lease = Workspaces.lease()) {
      for (long positions : new long[] {1L << 29, 1L << 40, Long.MAX_VALUE}) {
        IllegalArgumentException refused =
            assertThrows(
                IllegalArgumentException.class,
                () ->
                    Descriptor.rotary(
                        lease, 1, DType.F32, DType.F32, Descriptor.ROPE_HALF, 2, 1, positions));
        String name = "the number of lengths or positions of one call";
        assertEquals(
            name + "=" + positions,
            refused.getMessage().substring(refused.getMessage().indexOf(": ") + 2));
      }
    }
  }

  /** A table without columns takes no memory. */
  @Test
  void shouldRefuseRowsOfATableThatAnIntCannotCount() {
    try (Arena arena = Arena.ofConfined()) {
      Tensor table = Tensor.zeros(arena, 2, 1L << 31, 0);
      RotaryEmbedding rotary =
          RotaryEmbedding.of(RotaryTable.of(table, table), RotaryEmbedding.Style.HALF);
      Tensor x = Tensor.zeros(arena, 2, 1, 1, 4);
      assertRefused(
          "the row of the table must lie in [0, 2147483647]: the row of the table=2147483653",
          () -> rotary.forward(x, x, new int[] {5, 5}));
    }
  }

  @Test
  void shouldRefuseHeadsWhoseMultipleOverflows() {
    try (Arena arena = Arena.ofConfined()) {
      Linear square = Linear.random(arena, 8, 8, 1);
      Tensor vector = Tensor.zeros(arena, 4);
      for (long pairs : new long[] {Long.MAX_VALUE, (Long.MAX_VALUE >> 1) + 1}) {
        DifferentialAttention.Builder differential =
            DifferentialAttention.builder(square, square, square, square)
                .pairs(pairs)
                .lambda(vector, vector, vector, vector, 0);
        assertRefused("pairs must lie in [1, 8]: pairs=" + pairs, differential::build);
        assertRefused(
            "pairs must lie in [1, 4611686018427387903]: pairs=" + pairs,
            () -> DifferentialAttention.random(arena, 8, pairs, 0, 1));
      }
      // 2 * headsKv is -2 in 64 bits.
      assertRefused(
          "headsKv must lie in [1, 8]: headsKv=9223372036854775807",
          () ->
              MultiHeadAttention.builder(square, square).heads(2).headsKv(Long.MAX_VALUE).build());
    }
  }

  @Test
  void shouldSayThatThereIsNoMemoryForTheLargestTensor() {
    try (Arena arena = Arena.ofConfined()) {
      OutOfMemoryError none =
          assertThrows(
              OutOfMemoryError.class, () -> Tensor.allocate(arena, DType.BOOL, Long.MAX_VALUE));
      assertEquals("Cannot allocate 9223372036854775807 bytes of native memory", none.getMessage());
    }
  }
}
