package io.github.attention4j.internal;

import io.github.attention4j.DType;
import io.github.attention4j.Tensor;
import java.lang.foreign.MemorySegment;
import java.util.Arrays;
import java.util.Objects;

/**
 * The checks that run before native code, which refuse an argument by name with both numbers. A
 * {@link Tensor} already guarantees that its elements are inside an off-heap segment and that no
 * product of its sizes and strides overflows, so that is not checked again here.
 */
public final class Checks {
  /** The largest array that every JVM can allocate. */
  public static final int MAX_ARRAY_LENGTH = Integer.MAX_VALUE - 8;

  private Checks() {}

  // ---- One tensor ----

  /** A tensor of floats that native code will read. */
  public static void input(String name, Tensor tensor) {
    input(name, tensor, DType.F32);
  }

  /** A tensor that native code will read: type, alignment, liveness, thread. */
  public static void input(String name, Tensor tensor, DType dtype) {
    dtype(name, tensor, dtype);
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
    real(name, tensor);
    input(name, tensor, tensor.dtype());
  }

  /** The elements are integers: I32 or I64. */
  public static void integers(String name, Tensor tensor) {
    if (tensor.dtype() != DType.I32 && tensor.dtype() != DType.I64) {
      throw new IllegalArgumentException(
          name + ".dtype must be I32 or I64: " + name + ".dtype=" + tensor.dtype());
    }
  }

  /** A norm's row of 16 bits, which native code keeps on its stack, is not too wide. */
  public static void shortRow(String name, Tensor tensor, long dim) {
    if (tensor.dtype() != DType.F32 && dim > Descriptor.SHORT_ROW) {
      throw new IllegalArgumentException(
          name
              + ".dim must be at most "
              + Descriptor.SHORT_ROW
              + " if it is "
              + tensor.dtype()
              + ": "
              + name
              + ".dim="
              + dim);
    }
  }

  private static void real(String name, Tensor tensor) {
    if (!tensor.dtype().isFloat()) {
      throw new IllegalArgumentException(
          name + ".dtype must be F32, BF16 or F16: " + name + ".dtype=" + tensor.dtype());
    }
  }

  /** The tensor has this element type. */
  public static void dtype(String name, Tensor tensor, DType dtype) {
    if (tensor.dtype() != dtype) {
      throw new IllegalArgumentException(
          name + ".dtype must be " + dtype + ": " + name + ".dtype=" + tensor.dtype());
    }
  }

  /** A tensor of floats that native code will write: also writable, without sharing elements. */
  public static void output(String name, Tensor tensor) {
    output(name, tensor, DType.F32);
  }

  /** A tensor of numbers that native code will round to its type: F32, BF16 or F16. */
  public static void realOutput(String name, Tensor tensor) {
    real(name, tensor);
    output(name, tensor, tensor.dtype());
  }

  /** A tensor that native code will write: also writable, without sharing elements. */
  public static void output(String name, Tensor tensor, DType dtype) {
    input(name, tensor, dtype);
    if (tensor.segment().isReadOnly()) {
      throw new IllegalArgumentException(
          name + " must be writable: it is read-only, " + tensor.layout());
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

  /** The tensor's arena is open and accessible to this thread. */
  public static void reachable(String name, Tensor tensor) {
    MemorySegment segment = tensor.segment();
    if (!segment.scope().isAlive()) {
      throw new IllegalStateException(
          name + " is in an arena that has been closed: " + tensor.layout());
    }
    Thread caller = Thread.currentThread();
    if (!segment.isAccessibleBy(caller)) {
      throw new IllegalStateException(
          name
              + " is in an arena that is confined to another thread: "
              + tensor.layout()
              + ", calling thread="
              + caller.getName());
    }
  }

  /** The elements of a row are contiguous. */
  public static void packedRows(String name, Tensor tensor) {
    if (tensor.stride(-1) != 1 && tensor.size(-1) > 1) {
      throw new IllegalArgumentException(
          name
              + ".stride(-1) must be 1, the elements of a row contiguous: "
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
          name
              + ".rank must be "
              + rank
              + ": "
              + name
              + ".rank="
              + tensor.rank()
              + ", "
              + tensor.layout());
    }
  }

  /** The tensor has a last dimension, which forms rows. */
  public static void hasRows(String name, Tensor tensor) {
    if (Objects.requireNonNull(tensor, name).rank() < 1) {
      throw new IllegalArgumentException(
          name + ".rank must be at least 1 [..., dim]: " + name + ".rank=0");
    }
  }

  /** Attention's tensors have a head dimension, or none for a single head. */
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

  /** The number of heads: 1 if there is no head dimension. */
  public static long heads(Tensor tensor) {
    return tensor.rank() == 4 ? tensor.size(1) : 1;
  }

  /** The distance of heads: 0 if there is no head dimension. */
  public static long headStride(Tensor tensor) {
    return tensor.rank() == 4 ? tensor.stride(1) : 0;
  }

  // ---- Sizes and numbers ----

  /** Whether a dimension of this size broadcasts to the wanted size. */
  public static boolean broadcasts(long size, long wanted) {
    return size == wanted || size == 1;
  }

  /** The product of sizes that are not negative, or Long.MAX_VALUE if it overflows. */
  public static long saturatedProduct(long... sizes) {
    long product = 1;
    for (long size : sizes) {
      product = size != 0 && product > Long.MAX_VALUE / size ? Long.MAX_VALUE : product * size;
    }
    return product;
  }

  /** The number is finite as a float, which is returned. */
  public static float finite(String name, double value) {
    if (!Float.isFinite((float) value)) {
      throw new IllegalArgumentException(name + " must be a finite float: " + name + "=" + value);
    }
    return (float) value;
  }

  /** The number can be the epsilon of a norm, which is returned as a float. */
  public static float epsilon(double epsilon) {
    if (!(epsilon >= 0) || !Float.isFinite((float) epsilon)) {
      throw new IllegalArgumentException(
          "epsilon must be a finite float and not negative: epsilon=" + epsilon);
    }
    return (float) epsilon;
  }

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

  /** As {@code equal}, for the same size of two tensors; the names are joined only on failure. */
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

  /** The length fits an array of Java, and is returned as an int. */
  public static int arrayLength(String name, long length) {
    inRange(name, length, 0, MAX_ARRAY_LENGTH);
    return (int) length;
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
   * An output shares no byte with another tensor. Views of one buffer are accepted if they provably
   * interleave without overlap, as the q, k and v of one packed projection do. Both must be
   * reachable: the address of freed memory may already belong to another tensor.
   */
  public static void disjoint(String outName, Tensor out, String name, Tensor tensor) {
    reachable(outName, out);
    reachable(name, tensor);
    disjointReachable(outName, out, name, tensor);
  }

  /** As {@link #disjoint}, for tensors that have just been found reachable. */
  public static void disjointReachable(String outName, Tensor out, String name, Tensor tensor) {
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

  /** An output is the same view as an input (computed in place) or shares no byte with it. */
  public static void sameOrDisjoint(String outName, Tensor out, String name, Tensor tensor) {
    if (out != tensor && !sameView(out, tensor)) {
      disjoint(outName, out, name, tensor);
    }
  }

  private static boolean sameView(Tensor a, Tensor b) {
    return a.dtype() == b.dtype()
        && address(a) == address(b)
        && Arrays.equals(a.shape(), b.shape())
        && Arrays.equals(a.strides(), b.strides());
  }

  /**
   * Tells whether two views of one buffer provably do not overlap. Take a stride of either view as
   * the period. Dimensions whose stride is a multiple of the period do not move an element within
   * the period; the others together span a window. If both windows fit side by side into one
   * period, the views have no element in common. For q, k and v in rows of one packed buffer the
   * period is the row.
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

  /** In a view without repeats, each stride steps over everything that smaller strides span. */
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

  /** The segment that starts at the tensor's first element. */
  public static MemorySegment first(Tensor tensor) {
    long offset = tensor.offset();
    MemorySegment segment = tensor.segment();
    return offset == 0 ? segment : segment.asSlice(offset * tensor.dtype().bytes());
  }

  /** As {@code first}, or NULL for null. */
  public static MemorySegment firstOrNull(Tensor tensor) {
    return tensor == null ? MemorySegment.NULL : first(tensor);
  }

  /** The distance of rows, with all dimensions but the last taken as one. */
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
              + " must have evenly spaced rows that do not overlap: shape="
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

  /** From the first byte of a tensor that has elements to its last. */
  private static long spanBytes(Tensor tensor) {
    if (tensor.isContiguous()) {
      return tensor.count() * tensor.dtype().bytes();
    }
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
