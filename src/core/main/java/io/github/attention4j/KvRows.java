package io.github.attention4j;

import io.github.attention4j.internal.Checks;
import io.github.attention4j.internal.Descriptor;
import java.lang.foreign.Arena;
import java.lang.foreign.MemorySegment;
import java.lang.foreign.ValueLayout;
import java.util.Objects;

/**
 * The keys, or the values, that a cache stores: {@code data} is {@code [blocks, heads, rows, dim]},
 * where a block is a batch of a dense cache, or a page; {@code scales} has one F32 for each row,
 * without the last dimension, or is null unless the type is I8.
 */
record KvRows(Tensor data, Tensor scales) {
  static void checkStorage(DType dtype) {
    if (!Objects.requireNonNull(dtype, "dtype").isFloat() && dtype != DType.I8) {
      throw new IllegalArgumentException("dtype must be F32, BF16, F16 or I8: dtype=" + dtype);
    }
  }

  static KvRows allocate(Arena arena, DType dtype, long blocks, long heads, long rows, long dim) {
    Tensor data = Tensor.allocate(arena, dtype, blocks, heads, rows, dim);
    return new KvRows(
        data, dtype == DType.I8 ? Tensor.allocate(arena, DType.F32, blocks, heads, rows) : null);
  }

  /** Allocates rows like these, with another number of blocks and of rows in a block. */
  KvRows allocateLike(Arena arena, long blocks, long rows) {
    return allocate(arena, data.dtype(), blocks, data.size(1), rows, data.size(3));
  }

  /**
   * Shows the rows of pages as a tensor of the shape that attention expects. Its elements are only
   * addressed through the page table; the strides of heads and rows are those of a page.
   */
  Tensor paged(long batch, long rows) {
    return Tensor.strided(
        data.segment(),
        data.dtype(),
        data.offset(),
        new long[] {batch, data.size(1), rows, data.size(3)},
        new long[] {0, data.stride(1), data.stride(2), 1});
  }

  /**
   * Writes the strides of scales into a view that has those of the elements: a distance of whole
   * heads is one of as many scales.
   */
  void describeScales(MemorySegment view, long strideHead, long strideMap) {
    if (scales != null) {
      Descriptor.scales(
          view,
          scales.stride(0),
          headsIn(strideHead) * scales.stride(1),
          headsIn(strideMap) * scales.stride(1),
          scales.stride(2));
    }
  }

  private long headsIn(long stride) {
    long head = data.stride(1);
    return head == 0 || stride % head != 0 ? 0 : stride / head;
  }

  /** Copies the first rows of a block of others, which are stored alike. */
  void copyBlock(KvRows from, int fromBlock, int toBlock, int rows) {
    Tensor to = data.select(0, toBlock).slice(1, 0, rows);
    to.copyFrom(from.data.select(0, fromBlock).slice(1, 0, rows));
    if (scales != null) {
      Tensor toScales = scales.select(0, toBlock).slice(1, 0, rows);
      toScales.copyFrom(from.scales.select(0, fromBlock).slice(1, 0, rows));
    }
  }

  /** Copies rows of a block, widened to float32, to {@code [heads, rows, dim]}. */
  void widen(int block, int row, Tensor to) {
    if (scales == null) {
      to.copyFrom(data.select(0, block).slice(1, row, to.size(1)));
      return;
    }
    for (long h = 0; h < to.size(0); h++) {
      for (long i = 0; i < to.size(1); i++) {
        float scale = scales.getFloat(block, h, row + i);
        long first =
            data.offset()
                + block * data.stride(0)
                + h * data.stride(1)
                + (row + i) * data.stride(2);
        for (long c = 0; c < to.size(2); c++) {
          to.setFloat(data.segment().get(ValueLayout.JAVA_BYTE, first + c) * scale, h, i, c);
        }
      }
    }
  }

  void checkReachable(String name) {
    Checks.reachable(name, data);
  }
}
