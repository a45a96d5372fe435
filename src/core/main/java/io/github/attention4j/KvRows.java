package io.github.attention4j;

import io.github.attention4j.internal.Checks;
import io.github.attention4j.internal.Descriptor;
import java.lang.foreign.MemorySegment;
import java.util.Objects;

/**
 * The keys, or the values, that a cache stores: {@code data} is {@code [batch, heads, capacity,
 * dim]}, or {@code [pages, heads, pageRows, dim]} in a pool; {@code scales} has one F32 for each
 * row, without the last dimension, or is null unless the type is I8.
 */
record KvRows(Tensor data, Tensor scales) {
  static void checkStorage(DType dtype) {
    if (!Objects.requireNonNull(dtype, "dtype").isFloat() && dtype != DType.I8) {
      throw new IllegalArgumentException("dtype must be F32, BF16, F16 or I8: dtype=" + dtype);
    }
  }

  /**
   * Shows the rows of a paged cache as a tensor of the shape that attention expects. Its elements
   * are only addressed through the page table; the strides of heads and rows are those of a page.
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

  void copyPage(int from, int to) {
    data.select(0, to).copyFrom(data.select(0, from));
    if (scales != null) {
      scales.select(0, to).copyFrom(scales.select(0, from));
    }
  }

  void checkReachable(String name) {
    Checks.reachable(name, data);
  }
}
