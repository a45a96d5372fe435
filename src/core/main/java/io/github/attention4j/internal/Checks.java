package io.github.attention4j.internal;

import io.github.attention4j.DType;
import io.github.attention4j.Tensor;
import java.lang.foreign.MemorySegment;
import java.util.Arrays;

/**
 * Everything that can be refused before native code runs, with the names and both numbers. A {@link
 * Tensor} already guarantees that each of its elements lies inside an off-heap segment and that no
 * product of its sizes and strides overflows, so that is not asked again here.
 */
public final class Checks {
  private Checks() {}

  // ---- One tensor ----

  /** A tensor of floats that native code will read. */
  public static void input(String name, Tensor tensor) {
    input(name, tensor, DType.F32);
  }

  /** A tensor that native code will read: type, alignment, liveness, thread. */
  public static void input(String name, Tensor tensor, DType dtype) {
    if (tensor.dtype() != dtype) {
      throw new IllegalArgumentException(
          name + ".dtype must be " + dtype + ": " + name + ".dtype=" + tensor.dtype());
    }
    reachable(name, tensor);
    MemorySegment segment = tensor.segment();
    if ((segment.address() & dtype.bytes() - 1) != 0) {
      throw new IllegalArgumentException(
          name
              + " must be aligned to its elements' "
              + dtype.bytes()
              + " bytes: address=0x"
              + Long.toHexString(segment.address()));
    }
  }

  /** A tensor of numbers that native code will read and widen: F32, BF16 or F16. */
  public static void realInput(String name, Tensor tensor) {
    if (!tensor.dtype().isFloat()) {
      throw new IllegalArgumentException(
          name + ".dtype must be F32, BF16 or F16: " + name + ".dtype=" + tensor.dtype());
    }
    input(name, tensor, tensor.dtype());
  }

  /** A tensor of floats that native code will write: also writable, without sharing elements. */
  public static void output(String name, Tensor tensor) {
    output(name, tensor, DType.F32);
  }

  /** A tensor of numbers that native code will round to its type: F32, BF16 or F16. */
  public static void realOutput(String name, Tensor tensor) {
    if (!tensor.dtype().isFloat()) {
      throw new IllegalArgumentException(
          name + ".dtype must be F32, BF16 or F16: " + name + ".dtype=" + tensor.dtype());
    }
    output(name, tensor, tensor.dtype());
  }

  /** A tensor that native code will write: also writable, without sharing elements. */
  public static void output(String name, Tensor tensor, DType dtype) {
    input(name, tensor, dtype);
    if (tensor.segment().isReadOnly()) {
      throw new IllegalArgumentException(name + " must be writable: it is read-only, " + tensor);
    }
    if (!tensor.isContiguous() && sharesElements(tensor)) {
      throw new IllegalArgumentException(
          name
              + " must not overlap itself, each element needs its own place: shape="
              + Arrays.toString(tensor.shape())
              + ", strides="
              + Arrays.toString(tensor.strides()));
    }
  }

  /** A tensor whose arena is open, and open to this thread. */
  public static void reachable(String name, Tensor tensor) {
    MemorySegment segment = tensor.segment();
    if (!segment.scope().isAlive()) {
      throw new IllegalStateException(name + " lies in an arena that has been closed: " + tensor);
    }
    Thread caller = Thread.currentThread();
    if (!segment.isAccessibleBy(caller)) {
      throw new IllegalStateException(
          name
              + " lies in an arena that is confined to another thread: "
              + tensor
              + ", calling thread="
              + caller.getName());
    }
  }

  /** Elements of the last dimension lie side by side. */
  public static void packedRows(String name, Tensor tensor) {
    if (tensor.stride(-1) != 1 && tensor.size(-1) > 1) {
      throw new IllegalArgumentException(
          name
              + ".stride(-1) must be 1, the elements of a row side by side: "
              + name
              + ".stride(-1)="
              + tensor.stride(-1));
    }
  }

  public static void contiguous(String name, Tensor tensor) {
    if (!tensor.isContiguous()) {
      throw new IllegalArgumentException(
          name
              + " must be contiguous: shape="
              + Arrays.toString(tensor.shape())
              + ", strides="
              + Arrays.toString(tensor.strides()));
    }
  }

  public static void rank(String name, Tensor tensor, int rank) {
    if (tensor.rank() != rank) {
      throw new IllegalArgumentException(
          name + ".rank must be " + rank + ": " + name + ".rank=" + tensor.rank() + ", " + tensor);
    }
  }

  /** Attention's tensors have a head dimension or, with one head, do without it. */
  public static void rankOf3Or4(String name, Tensor tensor) {
    if (tensor.rank() != 3 && tensor.rank() != 4) {
      throw new IllegalArgumentException(
          name
              + ".rank must be 4 [batch, heads, length, dim] or 3 [batch, length, dim]: "
              + name
              + ".rank="
              + tensor.rank());
    }
  }

  // ---- Sizes ----

  public static void equal(String name, long size, String otherName, long otherSize) {
    if (size != otherSize) {
      throw new IllegalArgumentException(
          name
              + " must equal "
              + otherName
              + ": "
              + name
              + "="
              + size
              + ", "
              + otherName
              + "="
              + otherSize);
    }
  }

  /** As {@code equal}, for a size of one tensor and the like of another, named when it fails. */
  public static void equal(String name, String otherName, String what, long size, long otherSize) {
    if (size != otherSize) {
      equal(name + "." + what, size, otherName + "." + what, otherSize);
    }
  }

  public static void positive(String name, long size) {
    if (size < 1) {
      throw new IllegalArgumentException(name + " must be at least 1: " + name + "=" + size);
    }
  }

  public static void multiple(String name, long size, String otherName, long otherSize) {
    if (otherSize == 0 ? size != 0 : size % otherSize != 0) {
      throw new IllegalArgumentException(
          name
              + " must be a multiple of "
              + otherName
              + ": "
              + name
              + "="
              + size
              + ", "
              + otherName
              + "="
              + otherSize);
    }
  }

  public static void inRange(String name, long value, long least, long most) {
    if (value < least || value > most) {
      throw new IllegalArgumentException(
          name + " must lie in [" + least + ", " + most + "]: " + name + "=" + value);
    }
  }

  /** The tensor has exactly this shape; {@code dims} names its dimensions for the message. */
  public static void shape(String name, Tensor tensor, String dims, long... wanted) {
    if (!Arrays.equals(tensor.shape(), wanted)) {
      throw new IllegalArgumentException(
          name
              + ".shape must be "
              + dims
              + " = "
              + Arrays.toString(wanted)
              + ": "
              + name
              + ".shape="
              + Arrays.toString(tensor.shape()));
    }
  }

  // ---- Overlap ----

  /**
   * An output shares no byte with another tensor. Views of one buffer are welcome where it can be
   * shown that they interleave without touching, as the q, k and v of one packed projection do.
   * Both must be reachable: the address of freed memory may belong to another tensor by now.
   */
  public static void disjoint(String outName, Tensor out, String name, Tensor tensor) {
    reachable(outName, out);
    reachable(name, tensor);
    if (out.count() == 0 || tensor.count() == 0) {
      return;
    }
    long outStart = address(out);
    long outEnd = outStart + spanBytes(out);
    long start = address(tensor);
    long end = start + spanBytes(tensor);
    if (outStart < end && start < outEnd && !interleave(out, outStart, tensor, start)) {
      throw new IllegalArgumentException(
          outName
              + " must not overlap "
              + name
              + ": "
              + outName
              + "=["
              + hex(outStart)
              + ", "
              + hex(outEnd)
              + "), "
              + name
              + "=["
              + hex(start)
              + ", "
              + hex(end)
              + ")");
    }
  }

  /** An output is the very same view as an input (computed in place) or shares no byte with it. */
  public static void sameOrDisjoint(String outName, Tensor out, String name, Tensor tensor) {
    if (out != tensor && !sameView(out, tensor)) {
      disjoint(outName, out, name, tensor);
    }
  }

  private static boolean sameView(Tensor a, Tensor b) {
    return address(a) == address(b)
        && Arrays.equals(a.shape(), b.shape())
        && Arrays.equals(a.strides(), b.strides());
  }

  /**
   * Tells whether two views of one buffer surely miss each other. Take some stride of either as a
   * period. Dimensions whose stride is a multiple of it do not move an element within the period;
   * the others, together, make a window. If both windows fit into one period side by side, no
   * element of one view can be an element of the other: for q, k and v in rows of one packed buffer
   * the period is the row.
   */
  private static boolean interleave(Tensor a, long startA, Tensor b, long startB) {
    return interleaveAtStridesOf(a, a, startA, b, startB)
        || interleaveAtStridesOf(b, a, startA, b, startB);
  }

  private static boolean interleaveAtStridesOf(
      Tensor strided, Tensor a, long startA, Tensor b, long startB) {
    for (int i = 0; i < strided.rank(); i++) {
      long period = strided.stride(i) * strided.dtype().bytes();
      if (period == 0 || strided.size(i) == 1) {
        continue;
      }
      long windowA = windowBytes(a, period);
      long windowB = windowBytes(b, period);
      long distance = Math.floorMod(startB - startA, period);
      if (distance >= windowA && windowB <= period - distance) {
        return true;
      }
    }
    return false;
  }

  private static long windowBytes(Tensor tensor, long periodBytes) {
    int bytes = tensor.dtype().bytes();
    long window = bytes;
    for (int i = 0; i < tensor.rank(); i++) {
      long stride = tensor.stride(i) * bytes;
      if (stride % periodBytes != 0) {
        window += (tensor.size(i) - 1) * stride;
      }
    }
    return window;
  }

  /**
   * Sorted by stride, each dimension of an injective view steps over all that smaller ones span.
   */
  private static boolean sharesElements(Tensor tensor) {
    long span = 1;
    long stride = 0;
    while (true) {
      long next = Long.MAX_VALUE;
      long extent = 0;
      int found = 0;
      for (int i = 0; i < tensor.rank(); i++) {
        if (tensor.size(i) > 1 && tensor.stride(i) == 0) {
          return true;
        }
        if (tensor.size(i) > 1 && tensor.stride(i) > stride && tensor.stride(i) <= next) {
          found = tensor.stride(i) == next ? found + 1 : 1;
          next = tensor.stride(i);
          extent = (tensor.size(i) - 1) * next;
        }
      }
      if (found == 0) {
        return false;
      }
      if (found > 1 || next < span) {
        return true;
      }
      span += extent;
      stride = next;
    }
  }

  // ---- Addresses ----

  /** The segment that begins at the tensor's first element. */
  public static MemorySegment first(Tensor tensor) {
    long offset = tensor.offset();
    MemorySegment segment = tensor.segment();
    return offset == 0 ? segment : segment.asSlice(offset * tensor.dtype().bytes());
  }

  /** As {@code first}, or NULL where there is no tensor. */
  public static MemorySegment firstOrNull(Tensor tensor) {
    return tensor == null ? MemorySegment.NULL : first(tensor);
  }

  /** The distance of rows, with all dimensions but the last taken as one list of rows. */
  public static long rowStride(String name, Tensor tensor) {
    packedRows(name, tensor);
    long width = tensor.size(-1);
    if (tensor.isContiguous()) {
      return width;
    }
    long stride = -1;
    long follows = 0;
    boolean regular = true;
    for (int i = tensor.rank() - 2; i >= 0; i--) {
      if (tensor.size(i) != 1) {
        if (stride < 0) {
          stride = tensor.stride(i);
          follows = stride;
        }
        regular &= tensor.stride(i) == follows;
        follows *= tensor.size(i);
      }
    }
    if (!regular || stride < width) {
      throw new IllegalArgumentException(
          name
              + " must be rows at one distance of at least their width: shape="
              + Arrays.toString(tensor.shape())
              + ", strides="
              + Arrays.toString(tensor.strides()));
    }
    return stride;
  }

  /** The number of rows: the product of all sizes but the last. */
  public static long rows(Tensor tensor) {
    long rows = 1;
    for (int i = 0; i < tensor.rank() - 1; i++) {
      rows *= tensor.size(i);
    }
    return rows;
  }

  private static long address(Tensor tensor) {
    return tensor.segment().address() + tensor.offset() * tensor.dtype().bytes();
  }

  private static long spanBytes(Tensor tensor) {
    long span = 1;
    for (int i = 0; i < tensor.rank(); i++) {
      span += (tensor.size(i) - 1) * tensor.stride(i);
    }
    return span * tensor.dtype().bytes();
  }

  private static String hex(long address) {
    return "0x" + Long.toHexString(address);
  }
}
