package io.github.attention4j;

import static io.github.attention4j.DType.BF16;
import static io.github.attention4j.DType.BOOL;
import static io.github.attention4j.DType.F16;
import static io.github.attention4j.DType.F32;
import static io.github.attention4j.DType.I32;
import static io.github.attention4j.DType.I64;
import static org.junit.jupiter.api.Assertions.assertArrayEquals;
import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertNotEquals;
import static org.junit.jupiter.api.Assertions.assertSame;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import java.io.IOException;
import java.lang.foreign.Arena;
import java.lang.foreign.MemorySegment;
import java.lang.foreign.ValueLayout;
import java.nio.channels.FileChannel;
import java.nio.file.Path;
import java.nio.file.StandardOpenOption;
import java.util.List;
import java.util.Random;
import java.util.concurrent.atomic.AtomicReference;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.function.Executable;
import org.junit.jupiter.api.io.TempDir;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.EnumSource;

class TensorTest {
  private final Arena arena = Arena.ofConfined();

  @AfterEach
  void closeArena() {
    arena.close();
  }

  // ---- Allocating ----

  @ParameterizedTest
  @EnumSource(DType.class)
  void shouldAllocateZeroedMemoryAlignedTo64Bytes(DType dtype) {
    Tensor tensor = Tensor.allocate(arena, dtype, 2, 3, 5);

    assertEquals(0, tensor.segment().address() % 64);
    assertEquals(30L * dtype.bytes(), tensor.segment().byteSize());
    for (byte b : tensor.segment().toArray(ValueLayout.JAVA_BYTE)) {
      assertEquals(0, b);
    }
    assertEquals(dtype, tensor.dtype());
    assertEquals(3, tensor.rank());
    assertArrayEquals(new long[] {2, 3, 5}, tensor.shape());
    assertArrayEquals(new long[] {15, 5, 1}, tensor.strides());
    assertEquals(0, tensor.offset());
    assertEquals(30, tensor.count());
    assertTrue(tensor.isContiguous());
  }

  @Test
  void shouldHoldOneElementWhenRankIsZero() {
    Tensor scalar = Tensor.allocate(arena, F32);

    scalar.setFloat(2.5f);

    assertEquals(0, scalar.rank());
    assertEquals(1, scalar.count());
    assertTrue(scalar.isContiguous());
    assertEquals(2.5f, scalar.getFloat());
    assertArrayEquals(new float[] {2.5f}, scalar.toFloatArray());
    assertEquals("F32[]", scalar.layout());
    assertRefused("dim must lie in [0, 0): dim=0, rank=0", () -> scalar.size(0));
    assertEquals("F32[1, 1]", scalar.reshape(1, 1).layout());
    assertEquals("F32[1]", scalar.unsqueeze(-1).layout());
  }

  @Test
  void shouldAllowSizesOfZero() {
    Tensor empty = Tensor.allocate(arena, F32, 3, 0, 2);

    assertEquals(0, empty.count());
    assertTrue(empty.isContiguous());
    assertNotEquals(0, empty.segment().address());
    assertArrayEquals(new float[0], empty.toFloatArray());
    assertSame(empty, empty.fill(1).copyFrom(new float[0]).copyFrom(empty.toF32(arena)));
    assertEquals("F32[0, 7]", empty.reshape(0, 7).layout());
    assertEquals("F32[0, 2]", empty.select(0, 2).layout());
    assertEquals("F32[3, 2, 0]", empty.transpose(1, 2).layout());
    assertEquals("F32[0, 0, 2]", empty.slice(0, 3, 0).layout());
    assertRefused(
        "index of dimension 1 must lie in [0, 0): index=0, size=0", () -> empty.getFloat(0, 0, 0));
  }

  @Test
  void shouldRefuseNegativeSize() {
    String message = "shape[1] must not be negative: shape[1]=-3";
    assertRefused(message, () -> Tensor.allocate(arena, F32, 2, -3));
    assertRefused(message, () -> Tensor.of(arena.allocate(64), F32, 2, -3));
    assertRefused(message, () -> Tensor.of(arena, new float[6], 2, -3));
    assertRefused(
        message, () -> Tensor.strided(arena.allocate(64), F32, 0, longs(2, -3), longs(1, 1)));
    assertRefused(message, () -> Tensor.allocate(arena, F32, 6).reshape(2, -3));
  }

  @Test
  void shouldRefuseShapeWhoseProductOverflows() {
    assertRefused(
        "size in bytes must be at most 2^63-1: F32[4294967296, 4294967296] with 4 bytes an element",
        () -> Tensor.allocate(arena, F32, 1L << 32, 1L << 32));
    assertRefused(
        "size in bytes must be at most 2^63-1: I64[1152921504606846976] with 8 bytes an element",
        () -> Tensor.of(arena.allocate(64), I64, 1L << 60));
    assertRefused(
        "size in bytes must be at most 2^63-1: BOOL[9223372036854775807, 0, 2] with 1 bytes an"
            + " element",
        () -> Tensor.allocate(arena, BOOL, Long.MAX_VALUE, 0, 2));
    Tensor one = Tensor.allocate(arena, F32, 1, 1);
    assertRefused(
        "size in bytes must be at most 2^63-1: F32[2305843009213693951, 2] with 4 bytes an element",
        () -> one.expand(0, Long.MAX_VALUE / 4).expand(1, 2));
  }

  @Test
  void shouldReportMemoryThatIsNotToBeHad() {
    assertThrows(OutOfMemoryError.class, () -> Tensor.allocate(arena, F32, 1L << 60));
  }

  @Test
  void shouldRefuseNullByName() {
    MemorySegment segment = arena.allocate(64);
    Tensor tensor = Tensor.allocate(arena, F32, 2);
    assertNull("arena", () -> Tensor.allocate(null, F32, 2));
    assertNull("dtype", () -> Tensor.allocate(arena, null, 2));
    assertNull("shape", () -> Tensor.allocate(arena, F32, (long[]) null));
    assertNull("segment", () -> Tensor.of((MemorySegment) null, F32, 2));
    assertNull("dtype", () -> Tensor.of(segment, null, 2));
    assertNull("shape", () -> Tensor.of(segment, F32, (long[]) null));
    assertNull("arena", () -> Tensor.of((Arena) null, new float[2], 2));
    assertNull("values", () -> Tensor.of(arena, (float[]) null, 2));
    assertNull("shape", () -> Tensor.of(arena, new float[2], (long[]) null));
    assertNull("segment", () -> Tensor.strided(null, F32, 0, longs(2), longs(1)));
    assertNull("dtype", () -> Tensor.strided(segment, null, 0, longs(2), longs(1)));
    assertNull("shape", () -> Tensor.strided(segment, F32, 0, null, longs(1)));
    assertNull("strides", () -> Tensor.strided(segment, F32, 0, longs(2), null));
    assertNull("newShape", () -> tensor.reshape((long[]) null));
    assertNull("index", () -> tensor.getFloat((long[]) null));
    assertNull("values", () -> tensor.copyFrom((float[]) null));
    assertNull("source", () -> tensor.copyFrom((Tensor) null));
    assertNull("arena", () -> tensor.toF32(null));
  }

  // ---- Viewing memory ----

  @Test
  void shouldShareTheMemoryOfItsSegment() {
    MemorySegment segment = arena.allocate(100);
    Tensor tensor = Tensor.of(segment, F32, 2, 3);

    tensor.setFloat(7, 1, 2);

    assertSame(segment, tensor.segment());
    assertEquals(7, segment.get(ValueLayout.JAVA_FLOAT_UNALIGNED, 20));
  }

  @Test
  void shouldRefuseHeapSegment() {
    assertRefused(
        "segment must be off-heap: it is backed by float[]",
        () -> Tensor.of(MemorySegment.ofArray(new float[6]), F32, 2, 3));
    assertRefused(
        "segment must be off-heap: it is backed by an array",
        () -> Tensor.of(MemorySegment.ofArray(new byte[24]).asReadOnly(), F32, 2, 3));
    assertRefused(
        "segment must be off-heap: it is backed by long[]",
        () -> Tensor.strided(MemorySegment.ofArray(new long[6]), F32, 0, longs(2, 3), longs(3, 1)));
  }

  @Test
  void shouldRefuseSegmentThatIsTooShort() {
    assertRefused(
        "segment is too short for F32[2, 3] at offset 0: elements needed=6, segment has 5 (23"
            + " bytes)",
        () -> Tensor.of(arena.allocate(23), F32, 2, 3));
    assertRefused(
        "segment is too short for BOOL[] at offset 0: elements needed=1, segment has 0 (0 bytes)",
        () -> Tensor.of(MemorySegment.NULL, BOOL));
  }

  @Test
  void shouldReachTheLastElementButNoFurther() {
    MemorySegment segment = arena.allocate(4 * 12);

    Tensor tensor = Tensor.strided(segment, F32, 4, longs(2, 3), longs(5, 1));

    assertEquals("F32[2, 3] strides [5, 1]", tensor.layout());
    assertFalse(tensor.isContiguous());
    tensor.setFloat(1, 1, 2);
    assertEquals(1, segment.get(ValueLayout.JAVA_FLOAT_UNALIGNED, 44));
    assertRefused(
        "segment is too short for F32[2, 3] strides [5, 1] at offset 5: elements needed=13, segment"
            + " has 12 (48 bytes)",
        () -> Tensor.strided(segment, F32, 5, longs(2, 3), longs(5, 1)));
  }

  @Test
  void shouldRefuseNegativeStrideAndOffset() {
    MemorySegment segment = arena.allocate(64);
    assertRefused(
        "strides[0] must not be negative: strides[0]=-3",
        () -> Tensor.strided(segment, F32, 6, longs(2, 3), longs(-3, 1)));
    assertRefused(
        "offset must not be negative: offset=-1",
        () -> Tensor.strided(segment, F32, -1, longs(2, 3), longs(3, 1)));
    assertRefused(
        "offset must not be negative: offset=-9223372036854775808",
        () -> Tensor.strided(segment, F32, Long.MIN_VALUE, longs(0), longs(1)));
  }

  @Test
  void shouldRefuseStridesThatOverflow() {
    MemorySegment segment = arena.allocate(64);
    assertRefused(
        "shape[i] * strides[i] must be at most 2^63-1: shape[0]=3, strides[0]=4611686018427387904",
        () -> Tensor.strided(segment, BOOL, 0, longs(3), longs(1L << 62)));
    assertRefused(
        "segment is too short for BOOL[2, 2] strides [4611686018427387903, 4611686018427387903] at"
            + " offset 5: elements needed=9223372036854775807, segment has 64 (64 bytes)",
        () -> Tensor.strided(segment, BOOL, 5, longs(2, 2), longs((1L << 62) - 1, (1L << 62) - 1)));
  }

  @Test
  void shouldRefuseShapeAndStridesOfDifferentLength() {
    assertRefused(
        "strides.length must equal shape.length: strides.length=1, shape.length=2",
        () -> Tensor.strided(arena.allocate(64), F32, 0, longs(2, 3), longs(1)));
  }

  @Test
  void shouldRefuseOffsetPastTheSegmentEvenWithoutElements() {
    MemorySegment segment = arena.allocate(64);
    assertEquals(16, Tensor.strided(segment, F32, 16, longs(0), longs(1)).offset());
    assertRefused(
        "segment is too short for F32[0] at offset 17: elements needed=17, segment has 16 (64"
            + " bytes)",
        () -> Tensor.strided(segment, F32, 17, longs(0), longs(1)));
  }

  @Test
  void shouldNotChangeWhenTheCallersArraysDo() {
    long[] shape = {2, 3};
    long[] strides = {3, 1};
    Tensor strided = Tensor.strided(arena.allocate(24), F32, 0, shape, strides);
    Tensor allocated = Tensor.allocate(arena, F32, shape);
    Tensor reshaped = Tensor.allocate(arena, F32, 6).reshape(shape);

    shape[0] = 99;
    strides[0] = 99;
    strided.shape()[0] = 99;
    strided.strides()[0] = 99;

    for (Tensor tensor : List.of(strided, allocated, reshaped)) {
      assertArrayEquals(new long[] {2, 3}, tensor.shape());
      assertArrayEquals(new long[] {3, 1}, tensor.strides());
    }
  }

  @ParameterizedTest
  @EnumSource(DType.class)
  void shouldReadAndWriteAtMisalignedAddresses(DType dtype) {
    MemorySegment misaligned = arena.allocate(65, 64).asSlice(1, 6L * dtype.bytes());
    Tensor tensor = Tensor.of(misaligned, dtype, 2, 3);
    Tensor aligned = Tensor.allocate(arena, dtype, 2, 3);

    switch (dtype) {
      case F32, BF16, F16 -> {
        tensor.setFloat(-1.5f, 1, 2);
        assertEquals(-1.5f, tensor.getFloat(1, 2));
        assertArrayEquals(new float[] {0, 0, 0, 0, 0, -1.5f}, tensor.toFloatArray());
      }
      case I32, I64 -> {
        tensor.setInt(-7, 1, 2);
        assertEquals(-7, tensor.getInt(1, 2));
        assertArrayEquals(new int[] {0, 0, 0, 0, 0, -7}, tensor.toIntArray());
      }
      case BOOL -> {
        tensor.setBoolean(true, 1, 2);
        assertTrue(tensor.getBoolean(1, 2));
      }
    }
    assertEquals(-1, aligned.copyFrom(tensor).segment().mismatch(misaligned));
    tensor.transpose(0, 1).copyFrom(aligned.transpose(0, 1));
    assertEquals(-1, aligned.segment().mismatch(misaligned));
  }

  @Test
  void shouldReachBeyondTwoToThe32Bytes(@TempDir Path directory) throws IOException {
    long count = (1L << 31) + 5;
    Path sparse = directory.resolve("sparse");
    try (FileChannel channel =
        FileChannel.open(
            sparse,
            StandardOpenOption.CREATE_NEW,
            StandardOpenOption.SPARSE,
            StandardOpenOption.READ,
            StandardOpenOption.WRITE)) {
      Tensor tensor =
          Tensor.of(channel.map(FileChannel.MapMode.READ_WRITE, 0, count * 4, arena), F32, count);

      tensor.setFloat(3, count - 1);

      assertEquals(3, tensor.slice(0, count - 2, 2).getFloat(1));
      assertEquals(3, tensor.select(0, count - 1).getFloat());
      IllegalStateException e =
          assertThrows(IllegalStateException.class, () -> tensor.toFloatArray());
      assertEquals(
          "elements must be at most 2147483639 to fit in an array: elements=2147483653,"
              + " F32[2147483653]",
          e.getMessage());
    }
  }

  // ---- Views ----

  @Test
  void shouldCountNegativeDimensionsFromTheEnd() {
    Tensor tensor = Tensor.allocate(arena, F32, 2, 3, 5);

    assertEquals(5, tensor.size(-1));
    assertEquals(2, tensor.size(-3));
    assertEquals(15, tensor.stride(-3));
    assertEquals("F32[2, 3, 5, 1]", tensor.unsqueeze(-1).layout());
    assertEquals("F32[1, 2, 3, 5]", tensor.unsqueeze(-4).layout());
    assertEquals("F32[2, 5] strides [15, 1]", tensor.select(-2, 0).layout());
  }

  @Test
  void shouldRefuseDimensionThatDoesNotExist() {
    Tensor tensor = Tensor.allocate(arena, F32, 2, 3);
    String at2 = "dim must lie in [-2, 2): dim=2, rank=2";
    assertRefused(at2, () -> tensor.size(2));
    assertRefused(at2, () -> tensor.stride(2));
    assertRefused(at2, () -> tensor.slice(2, 0, 1));
    assertRefused(at2, () -> tensor.select(2, 0));
    assertRefused(at2, () -> tensor.transpose(0, 2));
    assertRefused(at2, () -> tensor.expand(2, 1));
    assertRefused("dim must lie in [-2, 2): dim=-3, rank=2", () -> tensor.size(-3));
    assertRefused("dim must lie in [-3, 3): dim=3, rank=3", () -> tensor.unsqueeze(3));
    assertRefused(
        "dim must lie in [-2, 2): dim=-2147483648, rank=2", () -> tensor.size(Integer.MIN_VALUE));
  }

  @Test
  void shouldSliceWithoutCopying() {
    Tensor tensor = counting(4, 3);

    Tensor middle = tensor.slice(0, 1, 2);
    Tensor column = tensor.slice(1, 2, 1);

    assertSame(tensor.segment(), middle.segment());
    assertEquals(3, middle.offset());
    assertTrue(middle.isContiguous());
    assertArrayEquals(new float[] {3, 4, 5, 6, 7, 8}, middle.toFloatArray());
    assertFalse(column.isContiguous());
    assertArrayEquals(new float[] {2, 5, 8, 11}, column.toFloatArray());
    assertEquals(0, tensor.slice(0, 4, 0).count());
  }

  @Test
  void shouldRefuseSliceOutsideItsDimension() {
    Tensor tensor = counting(4, 3);
    assertRefused(
        "range must lie inside dimension 0: start=3, length=2, size=4",
        () -> tensor.slice(0, 3, 2));
    assertRefused(
        "range must lie inside dimension 1: start=-1, length=1, size=3",
        () -> tensor.slice(1, -1, 1));
    assertRefused(
        "range must lie inside dimension 1: start=0, length=-1, size=3",
        () -> tensor.slice(-1, 0, -1));
    assertRefused(
        "range must lie inside dimension 0: start=1, length=9223372036854775807, size=4",
        () -> tensor.slice(0, 1, Long.MAX_VALUE));
    assertRefused(
        "range must lie inside dimension 0: start=5, length=0, size=4",
        () -> tensor.slice(0, 5, 0));
  }

  @Test
  void shouldStayInsideTheSegmentWhenAnEmptySliceStartsAtTheEnd() {
    MemorySegment segment = arena.allocate(8);
    Tensor tensor = Tensor.strided(segment, F32, 1, longs(1), longs(Long.MAX_VALUE));

    assertEquals(1, tensor.slice(0, 1, 0).offset());
    assertEquals(0, tensor.slice(0, 1, 0).unsqueeze(0).count());
  }

  @Test
  void shouldDropTheSelectedDimension() {
    Tensor tensor = counting(2, 3, 4);

    Tensor selected = tensor.select(1, 2);

    assertArrayEquals(new long[] {2, 4}, selected.shape());
    assertArrayEquals(new float[] {8, 9, 10, 11, 20, 21, 22, 23}, selected.toFloatArray());
    assertRefused(
        "index of dimension 1 must lie in [0, 3): index=3, size=3", () -> tensor.select(1, 3));
    assertRefused(
        "index of dimension 1 must lie in [0, 3): index=-1, size=3", () -> tensor.select(-2, -1));
  }

  @Test
  void shouldTransposeWithoutCopying() {
    Tensor tensor = counting(2, 3);

    Tensor transposed = tensor.transpose(0, -1);

    assertSame(tensor.segment(), transposed.segment());
    assertArrayEquals(new float[] {0, 3, 1, 4, 2, 5}, transposed.toFloatArray());
    assertArrayEquals(tensor.toFloatArray(), transposed.transpose(0, 1).toFloatArray());
    assertArrayEquals(tensor.strides(), tensor.transpose(1, 1).strides());
  }

  @Test
  void shouldReshapeContiguousElements() {
    Tensor tensor = counting(2, 3, 4);

    Tensor reshaped = tensor.slice(0, 1, 1).reshape(4, 3);

    assertArrayEquals(new long[] {3, 1}, reshaped.strides());
    assertEquals(12, reshaped.offset());
    assertEquals(12, reshaped.getFloat(0, 0));
    assertEquals(23, reshaped.getFloat(3, 2));
  }

  @Test
  void shouldSplitButNotMergeDimensionsThatAreApart() {
    Tensor apart = counting(4, 6).slice(1, 0, 4);

    assertEquals("F32[2, 2, 2, 2] strides [12, 6, 2, 1]", apart.reshape(2, 2, 2, 2).layout());
    assertRefused(
        "reshape to [16] would have to merge dimensions that are not adjacent in memory:"
            + " F32[4, 4] strides [6, 1]",
        () -> apart.reshape(16));
    assertRefused(
        "reshape to [2, 8] would have to merge dimensions that are not adjacent in memory:"
            + " F32[4, 4] strides [6, 1]",
        () -> apart.reshape(2, 8));
  }

  @Test
  void shouldRefuseReshapeToAnotherNumberOfElements() {
    Tensor tensor = counting(2, 3);
    assertRefused(
        "newShape must have as many elements as this tensor: newShape=[4, 2] has 8, F32[2, 3] has"
            + " 6",
        () -> tensor.reshape(4, 2));
    assertRefused(
        "newShape must have as many elements as this tensor: newShape=[] has 1, F32[2, 3] has 6",
        tensor::reshape);
  }

  @Test
  void shouldRepeatOneIndexWhenExpanded() {
    Tensor row = counting(1, 3);

    Tensor expanded = row.expand(0, 4);

    assertArrayEquals(new long[] {0, 1}, expanded.strides());
    assertFalse(expanded.isContiguous());
    assertArrayEquals(new float[] {0, 1, 2, 0, 1, 2, 0, 1, 2, 0, 1, 2}, expanded.toFloatArray());
    row.setFloat(9, 0, 1);
    assertEquals(9, expanded.getFloat(3, 1));
    assertEquals(0, row.expand(0, 0).count());
    assertSame(row, row.expand(1, 3));
    assertRefused("size of dimension 1 must be 1 to become 6: size=3", () -> row.expand(1, 6));
    assertRefused("shape[0] must not be negative: shape[0]=-1", () -> row.expand(0, -1));
  }

  @Test
  void shouldSplitHeadsOfAnyLayout() {
    Tensor packed = counting(2, 3, 8);
    Tensor slice = packed.slice(2, 2, 4);

    Tensor heads = slice.splitHeads(2);

    assertArrayEquals(new long[] {2, 2, 3, 2}, heads.shape());
    for (int b = 0; b < 2; b++) {
      for (int h = 0; h < 2; h++) {
        for (int i = 0; i < 3; i++) {
          for (int d = 0; d < 2; d++) {
            assertEquals(slice.getFloat(b, i, h * 2 + d), heads.getFloat(b, h, i, d));
          }
        }
      }
    }
    Tensor strided = packed.transpose(1, 2).slice(2, 0, 2).splitHeads(1);
    assertArrayEquals(new long[] {2, 1, 8, 2}, strided.shape());
    assertEquals(packed.getFloat(1, 1, 5), strided.getFloat(1, 0, 5, 1));
  }

  @Test
  void shouldRefuseHeadsThatDoNotDivideTheLastDimension() {
    Tensor tensor = counting(2, 3, 8);
    String message = "size of dimension 2 must be a multiple of heads: size=8, heads=";
    assertRefused(message + 3, () -> tensor.splitHeads(3));
    assertRefused(message + 0, () -> tensor.splitHeads(0));
    assertRefused(message + -2, () -> tensor.splitHeads(-2));
    assertRefused(
        "rank must be 3, as in [batch, length, heads * dim]: rank=2, F32[6, 8]",
        () -> tensor.reshape(6, 8).splitHeads(2));
  }

  @Test
  void shouldIgnoreStridesOfSizeOneWhenAskedForContiguity() {
    MemorySegment segment = arena.allocate(64);
    assertTrue(
        Tensor.strided(segment, F32, 1, longs(1, 2, 1, 3), longs(77, 3, 5, 1)).isContiguous());
    assertFalse(Tensor.strided(segment, F32, 1, longs(2, 3), longs(3, 2)).isContiguous());
    assertTrue(Tensor.strided(segment, F32, 1, longs(2, 0), longs(3, 2)).isContiguous());
  }

  // ---- Single elements ----

  @Test
  void shouldRefuseIndexThatDoesNotExist() {
    Tensor tensor = counting(2, 3);
    String inDim1 = "index of dimension 1 must lie in [0, 3): index=";
    assertRefused(inDim1 + "3, size=3", () -> tensor.getFloat(0, 3));
    assertRefused(inDim1 + "-1, size=3", () -> tensor.setFloat(1, 0, -1));
    assertRefused("number of indices must equal rank: indices=1, rank=2", () -> tensor.getFloat(0));
    assertRefused(
        "number of indices must equal rank: indices=3, rank=2", () -> tensor.setFloat(0, 0, 0, 0));
    assertRefused(inDim1 + Long.MAX_VALUE + ", size=3", () -> tensor.getFloat(0, Long.MAX_VALUE));
    Tensor mask = Tensor.allocate(arena, BOOL, 2, 3);
    assertRefused(inDim1 + "3, size=3", () -> mask.getBoolean(1, 3));
    assertRefused(inDim1 + "3, size=3", () -> mask.setBoolean(true, 1, 3));
    Tensor ids = Tensor.allocate(arena, I32, 2, 3);
    assertRefused(inDim1 + "3, size=3", () -> ids.getInt(1, 3));
    assertRefused(inDim1 + "3, size=3", () -> ids.setInt(1, 1, 3));
  }

  @Test
  void shouldRefuseAccessAsAnotherKindOfType() {
    Tensor floats = Tensor.allocate(arena, F16, 1);
    Tensor ints = Tensor.allocate(arena, I64, 1);
    Tensor mask = Tensor.allocate(arena, BOOL, 1);
    String wantsFloat = " needs dtype F32, BF16 or F16: dtype=";
    assertRefused("getFloat" + wantsFloat + "I64", () -> ints.getFloat(0));
    assertRefused("setFloat" + wantsFloat + "I64", () -> ints.setFloat(1, 0));
    assertRefused("toFloatArray" + wantsFloat + "BOOL", mask::toFloatArray);
    assertRefused("copyFrom(float[])" + wantsFloat + "BOOL", () -> mask.copyFrom(new float[1]));
    assertRefused("fill" + wantsFloat + "I64", () -> ints.fill(1));
    assertRefused("toF32" + wantsFloat + "I64", () -> ints.toF32(arena));
    assertRefused("getInt needs dtype I32 or I64: dtype=F16", () -> floats.getInt(0));
    assertRefused("setInt needs dtype I32 or I64: dtype=BOOL", () -> mask.setInt(1, 0));
    assertRefused("toIntArray needs dtype I32 or I64: dtype=F16", floats::toIntArray);
    assertRefused("getBoolean needs dtype BOOL: dtype=I64", () -> ints.getBoolean(0));
    assertRefused("setBoolean needs dtype BOOL: dtype=F16", () -> floats.setBoolean(true, 0));
  }

  @Test
  void shouldRoundOnWritingToHalfPrecision() {
    Tensor half = Tensor.allocate(arena, F16, 6);
    half.copyFrom(new float[] {65504, 65520, 2049, 2051, 0x1p-24f, 0x1p-25f});
    assertArrayEquals(
        new float[] {65504, Float.POSITIVE_INFINITY, 2048, 2052, 0x1p-24f, 0}, half.toFloatArray());

    Tensor brain = Tensor.allocate(arena, BF16, 4);
    brain.copyFrom(new float[] {257, 259, -0.0f, Float.NaN});
    assertArrayEquals(new float[] {256, 260, -0.0f, Float.NaN}, brain.toFloatArray());
    brain.setFloat(0.1f, 0);
    assertEquals(0x1.9ap-4f, brain.getFloat(0));
  }

  @Test
  void shouldRefuseLongThatDoesNotFitInAnInt() {
    Tensor tensor = Tensor.allocate(arena, I64, 2);
    tensor.setInt(Integer.MIN_VALUE, 0);
    tensor.segment().set(ValueLayout.JAVA_LONG, 8, 1L << 31);

    assertEquals(Integer.MIN_VALUE, tensor.getInt(0));
    String message = "element must lie in [-2^31, 2^31-1] to fit in an int: element=2147483648";
    assertFails(message, () -> tensor.getInt(1));
    assertFails(message, tensor::toIntArray);
  }

  @Test
  void shouldReadEveryNonZeroByteAsTrueAndWriteOne() {
    Tensor mask = Tensor.allocate(arena, BOOL, 3);
    mask.segment().set(ValueLayout.JAVA_BYTE, 0, (byte) 0x80);
    mask.setBoolean(true, 1);

    assertTrue(mask.getBoolean(0));
    assertTrue(mask.getBoolean(1));
    assertFalse(mask.getBoolean(2));
    assertEquals(1, mask.segment().get(ValueLayout.JAVA_BYTE, 1));
    mask.setBoolean(false, 0);
    assertFalse(mask.getBoolean(0));
  }

  // ---- All elements ----

  @Test
  void shouldRefuseAnotherNumberOfValues() {
    assertRefused(
        "values.length must equal the number of elements of shape [2, 3]: values.length=5,"
            + " elements=6",
        () -> Tensor.of(arena, new float[5], 2, 3));
    assertRefused(
        "values.length must equal the number of elements of shape [2, 3]: values.length=7,"
            + " elements=6",
        () -> counting(2, 3).copyFrom(new float[7]));
  }

  @Test
  void shouldLeaveEverythingAroundAViewUntouched() {
    for (DType dtype : DType.values()) {
      MemorySegment guarded = arena.allocate(40L * dtype.bytes()).fill((byte) 0x55);
      Tensor view = Tensor.strided(guarded, dtype, 3, longs(3, 2, 2), longs(11, 4, 2));
      view.copyFrom(Tensor.allocate(arena, dtype, 3, 2, 2));
      if (dtype.isFloat()) {
        view.fill(0).copyFrom(new float[12]);
      }

      long zeros = 0;
      for (byte b : guarded.toArray(ValueLayout.JAVA_BYTE)) {
        assertTrue(b == 0 || b == 0x55);
        zeros += b == 0 ? 1 : 0;
      }
      assertEquals(12L * dtype.bytes(), zeros);
    }
  }

  @ParameterizedTest
  @EnumSource(DType.class)
  void shouldCopyBitsBetweenAnyStridesOfOneType(DType dtype) {
    Tensor source = Tensor.allocate(arena, dtype, 4, 3, 2);
    byte[] bytes = new byte[(int) source.segment().byteSize()];
    new Random(2).nextBytes(bytes);
    source.segment().copyFrom(MemorySegment.ofArray(bytes));
    Tensor turned = Tensor.allocate(arena, dtype, 2, 3, 4);
    turned.copyFrom(source.transpose(0, 2));
    Tensor back = Tensor.allocate(arena, dtype, 4, 3, 2);
    back.transpose(0, 2).copyFrom(turned);

    assertEquals(-1, source.segment().mismatch(back.segment()));
    assertNotEquals(-1, source.segment().mismatch(turned.segment()));
  }

  @Test
  void shouldConvertAmongFloatTypes() {
    float[] values = {1, -2.5f, Float.NEGATIVE_INFINITY, 0};
    for (DType from : List.of(F32, BF16, F16)) {
      for (DType to : List.of(F32, BF16, F16)) {
        Tensor source = Tensor.allocate(arena, from, 2, 2).copyFrom(values);
        Tensor target = Tensor.allocate(arena, to, 2, 2).copyFrom(source);
        assertArrayEquals(values, target.toFloatArray());
        assertArrayEquals(
            new float[] {1, Float.NEGATIVE_INFINITY, -2.5f, 0},
            source.transpose(0, 1).toF32(arena).toFloatArray());
      }
    }
  }

  @Test
  void shouldReturnAnOwnCopyAsF32() {
    Tensor tensor = counting(2, 3);

    Tensor copy = tensor.asReadOnly().transpose(0, 1).toF32(arena);
    copy.fill(5);

    assertTrue(copy.isContiguous());
    assertEquals(0, copy.segment().address() % 64);
    assertArrayEquals(new float[] {0, 1, 2, 3, 4, 5}, tensor.toFloatArray());
  }

  @Test
  void shouldRefuseSourceOfAnotherShapeOrKindOfType() {
    Tensor tensor = counting(2, 3);
    assertRefused(
        "source.shape must equal shape: source.shape=[3, 2], shape=[2, 3]",
        () -> tensor.copyFrom(counting(3, 2)));
    assertRefused(
        "source.dtype must equal dtype, or both be floats: source.dtype=I32, dtype=F32",
        () -> tensor.copyFrom(Tensor.allocate(arena, I32, 2, 3)));
    assertRefused(
        "source.dtype must equal dtype, or both be floats: source.dtype=I32, dtype=I64",
        () -> Tensor.allocate(arena, I64, 2).copyFrom(Tensor.allocate(arena, I32, 2)));
  }

  @Test
  void shouldCopyAsIfTheSourceWereReadFirstWhenTheTwoOverlap() {
    Tensor square = counting(3, 3);
    square.copyFrom(square.transpose(0, 1));
    assertArrayEquals(new float[] {0, 3, 6, 1, 4, 7, 2, 5, 8}, square.toFloatArray());

    Tensor line = counting(6);
    line.slice(0, 1, 5).copyFrom(line.slice(0, 0, 5));
    assertArrayEquals(new float[] {0, 0, 1, 2, 3, 4}, line.toFloatArray());

    Tensor whole = counting(4);
    whole.copyFrom(whole.slice(0, 2, 1).expand(0, 4));
    assertArrayEquals(new float[] {2, 2, 2, 2}, whole.toFloatArray());

    Tensor narrowed = counting(4);
    Tensor.of(narrowed.segment(), BF16, 4).copyFrom(narrowed);
    assertArrayEquals(
        new float[] {0, 1, 2, 3}, Tensor.of(narrowed.segment(), BF16, 4).toFloatArray());
  }

  @Test
  void shouldRefuseToCopyIntoElementsThatShareMemory() {
    Tensor expanded = counting(1, 3).expand(0, 2);
    String message =
        "strides of a copy's destination must step over everything that smaller strides span: ";
    assertRefused(message + "F32[2, 3] strides [0, 1]", () -> expanded.copyFrom(new float[6]));
    assertRefused(message + "F32[2, 3] strides [0, 1]", () -> expanded.copyFrom(counting(2, 3)));
    Tensor sliding = Tensor.strided(arena.allocate(64), F32, 0, longs(3, 3), longs(1, 1));
    assertRefused(message + "F32[3, 3] strides [1, 1]", () -> sliding.copyFrom(counting(3, 3)));
    assertEquals(4, expanded.fill(4).getFloat(1, 2));
  }

  // ---- Read-only, closed, foreign ----

  @Test
  void shouldRefuseEveryWriteThroughAReadOnlyView() {
    Tensor tensor = counting(2, 3);
    Tensor readOnly = tensor.asReadOnly();

    String message = "tensor must not be read-only to be written: ";
    assertFails(message + "F32[2, 3]", () -> readOnly.setFloat(1, 0, 0));
    assertFails(message + "F32[2, 3]", () -> readOnly.fill(1));
    assertFails(message + "F32[2, 3]", () -> readOnly.copyFrom(new float[6]));
    assertFails(message + "F32[2, 3]", () -> readOnly.copyFrom(tensor));
    assertFails(message + "F32[3]", () -> readOnly.select(0, 1).setFloat(1, 0));
    assertFails(message + "I32[1]", () -> Tensor.allocate(arena, I32, 1).asReadOnly().setInt(1, 0));
    assertFails(
        message + "BOOL[1]",
        () -> Tensor.allocate(arena, BOOL, 1).asReadOnly().setBoolean(true, 0));
    assertSame(readOnly, readOnly.asReadOnly());
    assertTrue(readOnly.segment().isReadOnly());
    tensor.setFloat(8, 0, 0);
    assertEquals(8, readOnly.getFloat(0, 0));
  }

  @Test
  void shouldRefuseAccessAfterItsArenaIsClosed() {
    Tensor tensor;
    try (Arena shortLived = Arena.ofConfined()) {
      tensor = Tensor.allocate(shortLived, F32, 2, 3);
    }
    assertFails("Already closed", () -> tensor.getFloat(0, 0));
    assertFails("Already closed", () -> tensor.setFloat(1, 0, 0));
    assertFails("Already closed", tensor::toFloatArray);
    assertFails("Already closed", () -> tensor.fill(1));
    assertFails("Already closed", () -> tensor.copyFrom(new float[6]));
    assertFails("Already closed", () -> tensor.transpose(0, 1).copyFrom(counting(3, 2)));
    assertFails("Already closed", () -> counting(2, 3).copyFrom(tensor));
    assertEquals("F32[3, 2] strides [1, 3]", tensor.transpose(0, 1).layout());
  }

  @Test
  void shouldRefuseAnotherThreadThanTheConfinedArenasOwner() throws InterruptedException {
    Tensor tensor = counting(2, 3);
    AtomicReference<Throwable> thrown = new AtomicReference<>();
    Thread thread =
        new Thread(
            () -> {
              try {
                tensor.getFloat(0, 0);
              } catch (WrongThreadException e) {
                thrown.set(e);
              }
            });
    thread.start();
    thread.join();
    assertEquals(WrongThreadException.class, thrown.get().getClass());
  }

  // ---- Helpers ----

  /** Elements 0, 1, 2, … in row-major order. */
  private Tensor counting(long... shape) {
    Tensor tensor = Tensor.allocate(arena, F32, shape);
    float[] values = new float[(int) tensor.count()];
    for (int i = 0; i < values.length; i++) {
      values[i] = i;
    }
    return tensor.copyFrom(values);
  }

  private static long[] longs(long... values) {
    return values;
  }

  private static void assertRefused(String message, Executable call) {
    assertEquals(message, assertThrows(IllegalArgumentException.class, call).getMessage());
  }

  private static void assertFails(String message, Executable call) {
    assertEquals(message, assertThrows(IllegalStateException.class, call).getMessage());
  }

  private static void assertNull(String name, Executable call) {
    assertEquals(name, assertThrows(NullPointerException.class, call).getMessage());
  }
}
