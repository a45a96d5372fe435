package io.github.attention4j;

import io.github.attention4j.internal.Checks;
import io.github.attention4j.internal.Descriptor;
import io.github.attention4j.internal.Downcalls;
import io.github.attention4j.internal.Workspaces;
import java.lang.foreign.Arena;
import java.lang.foreign.MemorySegment;
import java.lang.foreign.ValueLayout;
import java.util.Arrays;
import java.util.Objects;

/**
 * An immutable view of off-heap memory as an array of any rank: a segment, an element type, a shape
 * and strides. Views of the same elements never copy them; whoever owns the segment's {@link Arena}
 * owns the memory.
 *
 * <p>Element {@code [i, j, …]} is at
 *
 * <pre>
 *   segment.address() + (offset + i * stride(0) + j * stride(1) + …) * dtype.bytes()
 *
 *   F32[2, 3] at offset 4 with strides [5, 1] in a segment of 12 floats:
 *
 *    0       4       8       12      16      20      24      28      32      36      40      44   bytes
 *   +-------+-------+-------+-------+-------+-------+-------+-------+-------+-------+-------+-------+
 *   |   .   |   .   |   .   |   .   | [0,0] | [0,1] | [0,2] |   .   |   .   | [1,0] | [1,1] | [1,2] |
 *   +-------+-------+-------+-------+-------+-------+-------+-------+-------+-------+-------+-------+
 *   |&lt;---------- offset -----------&gt;|&lt;-------------- stride(0) --------------&gt;|
 * </pre>
 *
 * <p>All elements of a tensor are inside its segment: a tensor that would reach outside cannot be
 * made. Strides are in elements and never negative; a stride of 0 repeats the same elements ({@link
 * #expand}). Sizes may be 0, and a tensor of rank 0 is a scalar with one element. The segment's
 * address need not be aligned.
 *
 * <pre>{@code
 * try (Arena arena = Arena.ofConfined()) {
 *   Tensor x = Tensor.zeros(arena, batch, length, heads * headDim);
 *   Tensor perHead = x.splitHeads(heads); // [batch, heads, length, headDim], the same memory
 *   perHead.setFloat(1.5f, 0, 2, 5, 7);
 * }
 * }</pre>
 *
 * <p><b>Dimensions</b> are numbered from 0; a negative number counts from the end, so that -1 is
 * the last. Indices of elements are never negative.
 *
 * <p><b>Threads.</b> The view is immutable and may be shared. The elements are plain memory: if one
 * thread writes while others read, the caller must synchronize them. Every method that accesses
 * elements throws {@link IllegalStateException} if the arena is closed, and {@link
 * WrongThreadException} if it is confined to another thread; methods that write throw {@link
 * IllegalStateException} if the tensor is {@linkplain #asReadOnly() read-only}.
 *
 * <p>Equality is identity: tensors are never compared by content.
 */
public final class Tensor {
  /** Cache lines and the widest vectors are 64 bytes. */
  private static final long ALIGNMENT_BYTES = 64;

  /** The most values that {@link #toString} shows at each end of a dimension, and in all. */
  private static final int SHOWN_AT_EDGE = 3;

  private static final int MOST_SHOWN = 1000;

  private static final ValueLayout.OfFloat FLOAT = ValueLayout.JAVA_FLOAT_UNALIGNED;
  private static final ValueLayout.OfShort SHORT = ValueLayout.JAVA_SHORT_UNALIGNED;
  private static final ValueLayout.OfInt INT = ValueLayout.JAVA_INT_UNALIGNED;
  private static final ValueLayout.OfLong LONG = ValueLayout.JAVA_LONG_UNALIGNED;
  private static final ValueLayout.OfByte BYTE = ValueLayout.JAVA_BYTE;

  /** The fewest elements for which a conversion is worth a native call on several threads. */
  private static final long LONG_RUN = 4096;

  private final MemorySegment segment;
  private final DType dtype;
  private final long offset;
  private final long[] shape;
  private final long[] strides;
  private final long count;
  private final boolean contiguous;

  /**
   * The one place that decides what a valid tensor is. Takes ownership of both arrays. Guarantees
   * that every element is inside the segment, or at least the offset if there are no elements, and
   * that no {@code shape[i] * strides[i]} overflows.
   */
  private Tensor(MemorySegment segment, DType dtype, long offset, long[] shape, long[] strides) {
    this.segment = segment;
    this.dtype = dtype;
    this.offset = offset;
    this.shape = shape;
    this.strides = strides;
    this.count = elementCount(dtype, shape);
    this.contiguous = isRowMajor(shape, strides);
    checkInsideSegment();
  }

  // ---- Making tensors ----

  /**
   * Allocates a tensor whose elements are all zero (false), contiguous and aligned to 64 bytes.
   *
   * @param arena supplies the memory and decides how long it lives
   * @param dtype the element type
   * @param shape the size of each dimension; none for a scalar
   * @return a contiguous tensor
   * @throws IllegalArgumentException if a size is negative, or the size in bytes overflows
   * @throws OutOfMemoryError if there is not enough memory
   */
  public static Tensor allocate(Arena arena, DType dtype, long... shape) {
    Objects.requireNonNull(arena, "arena");
    Objects.requireNonNull(dtype, "dtype");
    long[] sizes = Objects.requireNonNull(shape, "shape").clone();
    long bytes = elementCount(dtype, sizes) * dtype.bytes();
    if (bytes > Long.MAX_VALUE - ALIGNMENT_BYTES) {
      throw new OutOfMemoryError("Cannot allocate " + bytes + " bytes of native memory");
    }
    MemorySegment segment = requireNative(arena.allocate(bytes, ALIGNMENT_BYTES));
    return new Tensor(segment, dtype, 0, sizes, rowMajorStrides(sizes));
  }

  /**
   * Allocates an {@link DType#F32} tensor of zeros, contiguous and aligned to 64 bytes.
   *
   * @param arena supplies the memory and decides how long it lives
   * @param shape the size of each dimension; none for a scalar
   * @return a contiguous tensor
   * @throws IllegalArgumentException if a size is negative, or the size in bytes overflows
   * @throws OutOfMemoryError if there is not enough memory
   */
  public static Tensor zeros(Arena arena, long... shape) {
    return allocate(arena, DType.F32, shape);
  }

  /**
   * Views the beginning of a segment as a contiguous tensor, without copying.
   *
   * @param segment off-heap memory (allocated or mapped); may be longer than the tensor needs
   * @param dtype the element type
   * @param shape the size of each dimension; none for a scalar
   * @return a contiguous tensor with offset 0, read-only if the segment is
   * @throws IllegalArgumentException if the segment is on the heap or too short, a size is
   *     negative, or the size in bytes overflows
   */
  public static Tensor of(MemorySegment segment, DType dtype, long... shape) {
    requireNative(segment);
    Objects.requireNonNull(dtype, "dtype");
    long[] sizes = Objects.requireNonNull(shape, "shape").clone();
    elementCount(dtype, sizes);
    return new Tensor(segment, dtype, 0, sizes, rowMajorStrides(sizes));
  }

  /**
   * Allocates an {@link DType#F32} tensor and copies the values into it.
   *
   * @param arena supplies the memory and decides how long it lives
   * @param values the elements in row-major order. Not modified.
   * @param shape the size of each dimension; none for a scalar
   * @return a contiguous tensor, aligned to 64 bytes
   * @throws IllegalArgumentException if the number of values is not the product of the shape, a
   *     size is negative, or the size in bytes overflows
   */
  public static Tensor of(Arena arena, float[] values, long... shape) {
    Objects.requireNonNull(arena, "arena");
    Objects.requireNonNull(values, "values");
    Objects.requireNonNull(shape, "shape");
    checkValueCount(values.length, elementCount(DType.F32, shape), shape);
    return allocate(arena, DType.F32, shape).copyFrom(values);
  }

  /**
   * Allocates a {@link DType#BOOL} tensor and copies the values into it.
   *
   * @param arena supplies the memory and decides how long it lives
   * @param values the elements in row-major order. Not modified.
   * @param shape the size of each dimension; none for a scalar
   * @return a contiguous tensor, aligned to 64 bytes
   * @throws IllegalArgumentException if the number of values is not the product of the shape, a
   *     size is negative, or the size in bytes overflows
   */
  public static Tensor of(Arena arena, boolean[] values, long... shape) {
    Objects.requireNonNull(arena, "arena");
    Objects.requireNonNull(values, "values");
    Objects.requireNonNull(shape, "shape");
    checkValueCount(values.length, elementCount(DType.BOOL, shape), shape);
    Tensor tensor = allocate(arena, DType.BOOL, shape);
    for (int i = 0; i < values.length; i++) {
      tensor.segment.set(BYTE, i, (byte) (values[i] ? 1 : 0));
    }
    return tensor;
  }

  /**
   * Views a segment as a tensor with any layout, without copying.
   *
   * @param segment off-heap memory (allocated or mapped)
   * @param dtype the element type
   * @param offset the number of elements from the segment's start to the first element
   * @param shape the size of each dimension; empty for a scalar
   * @param strides for each dimension the number of elements from one index to the next; not
   *     negative; 0 repeats the same elements for all indices
   * @return the tensor, read-only if the segment is
   * @throws IllegalArgumentException if the segment is on the heap, shape and strides differ in
   *     length, a size, a stride or the offset is negative, sizes or strides overflow, or an
   *     element would be outside the segment
   */
  public static Tensor strided(
      MemorySegment segment, DType dtype, long offset, long[] shape, long[] strides) {
    requireNative(segment);
    Objects.requireNonNull(dtype, "dtype");
    Objects.requireNonNull(shape, "shape");
    Objects.requireNonNull(strides, "strides");
    if (strides.length != shape.length) {
      throw new IllegalArgumentException(
          "strides.length must equal shape.length: strides.length="
              + strides.length
              + ", shape.length="
              + shape.length);
    }
    return new Tensor(segment, dtype, offset, shape.clone(), strides.clone());
  }

  // ---- Properties ----

  /**
   * Returns the whole backing segment, which may be more than this tensor.
   *
   * @return the segment, read-only if this tensor is
   */
  public MemorySegment segment() {
    return segment;
  }

  /**
   * Returns the element type.
   *
   * @return the type of every element
   */
  public DType dtype() {
    return dtype;
  }

  /**
   * Returns the number of dimensions.
   *
   * @return 0 for a scalar
   */
  public int rank() {
    return shape.length;
  }

  /**
   * Returns the size of one dimension.
   *
   * @param dim the dimension; negative counts from the end
   * @return the number of indices, not negative
   * @throws IllegalArgumentException if there is no such dimension
   */
  public long size(int dim) {
    return shape[checkDim(dim)];
  }

  /**
   * Returns the distance between neighbours along one dimension.
   *
   * @param dim the dimension; negative counts from the end
   * @return the number of elements, not negative
   * @throws IllegalArgumentException if there is no such dimension
   */
  public long stride(int dim) {
    return strides[checkDim(dim)];
  }

  /**
   * Returns the size of every dimension.
   *
   * @return a copy
   */
  public long[] shape() {
    return shape.clone();
  }

  /**
   * Returns the stride of every dimension, in elements.
   *
   * @return a copy
   */
  public long[] strides() {
    return strides.clone();
  }

  /**
   * Returns the offset of the first element.
   *
   * @return the number of elements from the segment's start
   */
  public long offset() {
    return offset;
  }

  /**
   * Returns the number of elements: the product of all sizes, 1 for a scalar. With a stride of 0 it
   * may be more than the number of elements in memory.
   *
   * @return the number of elements
   */
  public long count() {
    return count;
  }

  /**
   * Tells whether the elements are in row-major order without gaps. Dimensions of size 1 do not
   * matter, and a tensor without elements is contiguous.
   *
   * @return true if this tensor is exactly the {@code count()} elements from {@code offset()} on
   */
  public boolean isContiguous() {
    return contiguous;
  }

  // ---- Views, which never copy ----

  /**
   * Selects a range of one dimension.
   *
   * @param dim the dimension; negative counts from the end
   * @param start the first index
   * @param length the number of indices; may be 0
   * @return a view of the same rank
   * @throws IllegalArgumentException if there is no such dimension, or the range is outside it
   */
  public Tensor slice(int dim, long start, long length) {
    int d = checkDim(dim);
    if (start < 0 || length < 0 || start > shape[d] - length) {
      throw new IllegalArgumentException(
          "range must lie inside dimension "
              + d
              + ": start="
              + start
              + ", length="
              + length
              + ", size="
              + shape[d]);
    }
    long[] sizes = shape.clone();
    sizes[d] = length;
    // A view without elements keeps its offset: the start may be past the end of the segment.
    long first = count == 0 || length == 0 ? offset : offset + start * strides[d];
    return new Tensor(segment, dtype, first, sizes, strides.clone());
  }

  /**
   * Selects one index of one dimension, and drops that dimension.
   *
   * @param dim the dimension; negative counts from the end
   * @param index the index
   * @return a view with one dimension fewer
   * @throws IllegalArgumentException if there is no such dimension or no such index
   */
  public Tensor select(int dim, long index) {
    int d = checkDim(dim);
    checkIndex(d, index);
    long first = count == 0 ? offset : offset + index * strides[d];
    return new Tensor(segment, dtype, first, without(shape, d), without(strides, d));
  }

  /**
   * Swaps two dimensions.
   *
   * @param dimA a dimension; negative counts from the end
   * @param dimB another dimension, or the same
   * @return a view of the same rank
   * @throws IllegalArgumentException if there is no such dimension
   */
  public Tensor transpose(int dimA, int dimB) {
    int a = checkDim(dimA);
    int b = checkDim(dimB);
    return new Tensor(segment, dtype, offset, swapped(shape, a, b), swapped(strides, a, b));
  }

  /**
   * Changes the shape; the elements keep their row-major order. Dimensions can always be split, and
   * they can be merged if their elements are adjacent in memory.
   *
   * @param newShape the size of each dimension; none for a scalar
   * @return a view
   * @throws IllegalArgumentException if the numbers of elements differ, a size is negative, or
   *     dimensions would have to be merged whose elements are not adjacent (copy first: {@code
   *     Tensor.allocate(arena, dtype, shape).copyFrom(tensor)})
   */
  public Tensor reshape(long... newShape) {
    long[] sizes = Objects.requireNonNull(newShape, "newShape").clone();
    long newCount = elementCount(dtype, sizes);
    if (newCount != count) {
      throw new IllegalArgumentException(
          "newShape must have as many elements as this tensor: newShape="
              + Arrays.toString(sizes)
              + " has "
              + newCount
              + ", "
              + layout()
              + " has "
              + count);
    }
    long[] newStrides = contiguous ? rowMajorStrides(sizes) : stridesAfterReshape(sizes);
    return new Tensor(segment, dtype, offset, sizes, newStrides);
  }

  /**
   * Inserts a dimension of size 1.
   *
   * @param dim the index of the new dimension, from 0 to the current rank; negative counts from the
   *     end of the new shape, so that -1 appends it
   * @return a view with one more dimension
   * @throws IllegalArgumentException if the new shape has no such dimension
   */
  public Tensor unsqueeze(int dim) {
    int d = checkDim(dim, rank() + 1);
    long stride = d == rank() ? 1 : shape[d] * strides[d];
    return new Tensor(segment, dtype, offset, with(shape, d, 1), with(strides, d, stride));
  }

  /**
   * Repeats a dimension of size 1 with a stride of 0, as broadcasting does.
   *
   * @param dim the dimension; negative counts from the end
   * @param size the new size
   * @return a view of the same rank; this tensor itself if the dimension already has that size
   * @throws IllegalArgumentException if there is no such dimension, its size is neither 1 nor the
   *     new size, the new size is negative, or the number of elements overflows
   */
  public Tensor expand(int dim, long size) {
    int d = checkDim(dim);
    if (shape[d] == size) {
      return this;
    }
    if (shape[d] != 1) {
      throw new IllegalArgumentException(
          "size of dimension " + d + " must be 1 to become " + size + ": size=" + shape[d]);
    }
    long[] sizes = shape.clone();
    long[] steps = strides.clone();
    sizes[d] = size;
    steps[d] = 0;
    return new Tensor(segment, dtype, offset, sizes, steps);
  }

  /**
   * Splits the last dimension of {@code [batch, length, heads * dim]} into heads, in the order that
   * attention expects.
   *
   * @param heads the number of heads in the last dimension
   * @return a view {@code [batch, heads, length, dim]}
   * @throws IllegalArgumentException if the rank is not 3, or the last size is not a multiple of
   *     {@code heads}, which must be positive
   */
  public Tensor splitHeads(long heads) {
    if (rank() != 3) {
      throw new IllegalArgumentException(
          "rank must be 3, as in [batch, length, heads * dim]: rank=" + rank() + ", " + layout());
    }
    if (heads <= 0 || shape[2] % heads != 0) {
      throw new IllegalArgumentException(
          "size of dimension 2 must be a multiple of heads: size=" + shape[2] + ", heads=" + heads);
    }
    long dim = shape[2] / heads;
    long[] sizes = {shape[0], heads, shape[1], dim};
    long[] steps = {strides[0], dim * strides[2], strides[1], strides[2]};
    return new Tensor(segment, dtype, offset, sizes, steps);
  }

  /**
   * Makes a view that cannot be written through.
   *
   * @return a view whose segment is read-only; this tensor itself if it is read-only already
   */
  public Tensor asReadOnly() {
    return segment.isReadOnly()
        ? this
        : new Tensor(segment.asReadOnly(), dtype, offset, shape, strides);
  }

  // ---- Single elements ----

  /**
   * Short for {@link #getFloat}.
   *
   * @param index one index for each dimension
   * @return the element
   * @throws IllegalArgumentException if the element type is not a float, or there is no such
   *     element
   */
  public float get(long... index) {
    return getFloat(index);
  }

  /**
   * Reads one element; {@link DType#BF16} and {@link DType#F16} are widened, which is exact.
   *
   * @param index one index for each dimension
   * @return the element
   * @throws IllegalArgumentException if the element type is not a float, or there is no such
   *     element
   */
  public float getFloat(long... index) {
    requireFloat("getFloat");
    return loadFloat(segment, dtype, elementAt(index));
  }

  /**
   * Writes one element, rounded to the nearest value of the element type, ties to even.
   *
   * @param value the new value
   * @param index one index for each dimension
   * @throws IllegalArgumentException if the element type is not a float, or there is no such
   *     element
   * @throws IllegalStateException if this tensor is read-only
   */
  public void setFloat(float value, long... index) {
    requireFloat("setFloat");
    long element = elementAt(index);
    requireWritable();
    storeFloat(segment, dtype, element, value);
  }

  /**
   * Reads one element of an {@link DType#I32} or {@link DType#I64} tensor.
   *
   * @param index one index for each dimension
   * @return the element
   * @throws IllegalArgumentException if the element type is not an integer, or there is no such
   *     element
   * @throws IllegalStateException if the element does not fit in an {@code int}
   */
  public int getInt(long... index) {
    requireInteger("getInt");
    return loadInt(segment, dtype, elementAt(index));
  }

  /**
   * Writes one element of an {@link DType#I32} or {@link DType#I64} tensor.
   *
   * @param value the new value
   * @param index one index for each dimension
   * @throws IllegalArgumentException if the element type is not an integer, or there is no such
   *     element
   * @throws IllegalStateException if this tensor is read-only
   */
  public void setInt(int value, long... index) {
    requireInteger("setInt");
    long element = elementAt(index);
    requireWritable();
    storeInt(segment, dtype, element, value);
  }

  /**
   * Reads one element of an {@link DType#I32} or {@link DType#I64} tensor.
   *
   * @param index one index for each dimension
   * @return the element
   * @throws IllegalArgumentException if the element type is not an integer, or there is no such
   *     element
   */
  public long getLong(long... index) {
    requireInteger("getLong");
    return loadLong(segment, dtype, elementAt(index));
  }

  /**
   * Reads one element of a {@link DType#BOOL} tensor.
   *
   * @param index one index for each dimension
   * @return false if the element's byte is zero, else true
   * @throws IllegalArgumentException if the element type is not BOOL, or there is no such element
   */
  public boolean getBoolean(long... index) {
    requireBool("getBoolean");
    return segment.get(BYTE, elementAt(index)) != 0;
  }

  /**
   * Writes one element of a {@link DType#BOOL} tensor, as the byte 0 or 1.
   *
   * @param value the new value
   * @param index one index for each dimension
   * @throws IllegalArgumentException if the element type is not BOOL, or there is no such element
   * @throws IllegalStateException if this tensor is read-only
   */
  public void setBoolean(boolean value, long... index) {
    requireBool("setBoolean");
    long element = elementAt(index);
    requireWritable();
    segment.set(BYTE, element, (byte) (value ? 1 : 0));
  }

  // ---- All elements ----

  /**
   * Copies all elements out, in row-major order; {@link DType#BF16} and {@link DType#F16} are
   * widened, which is exact.
   *
   * @return a new array of {@code count()} elements
   * @throws IllegalArgumentException if the element type is not a float
   * @throws IllegalStateException if there are more elements than an array can hold
   */
  public float[] toFloatArray() {
    requireFloat("toFloatArray");
    float[] values = new float[arrayLength()];
    onHeap(MemorySegment.ofArray(values), DType.F32).write(this);
    return values;
  }

  /**
   * Copies all elements of an {@link DType#I32} or {@link DType#I64} tensor out, in row-major
   * order.
   *
   * @return a new array of {@code count()} elements
   * @throws IllegalArgumentException if the element type is not an integer
   * @throws IllegalStateException if there are more elements than an array can hold, or an element
   *     does not fit in an {@code int}
   */
  public int[] toIntArray() {
    requireInteger("toIntArray");
    int[] values = new int[arrayLength()];
    onHeap(MemorySegment.ofArray(values), DType.I32).write(this);
    return values;
  }

  /**
   * Overwrites all elements, each rounded to the nearest value of the element type, ties to even.
   *
   * @param values the new elements in row-major order. Not modified.
   * @return this tensor
   * @throws IllegalArgumentException if the element type is not a float, the number of values is
   *     not {@code count()}, or a stride of this tensor does not step over everything that smaller
   *     strides span, so that elements may share memory
   * @throws IllegalStateException if this tensor is read-only
   */
  public Tensor copyFrom(float[] values) {
    Objects.requireNonNull(values, "values");
    requireFloat("copyFrom(float[])");
    checkValueCount(values.length, count, shape);
    requireDistinctElements();
    requireWritable();
    write(onHeap(MemorySegment.ofArray(values), DType.F32));
    return this;
  }

  /**
   * Overwrites all elements with those of another tensor of the same shape, with any strides. The
   * types must be equal, or both be floats: then each element is rounded to the nearest value of
   * this tensor's type, ties to even. The two may overlap in memory in any way.
   *
   * @param source the new elements. Not modified, unless it overlaps this tensor.
   * @return this tensor
   * @throws IllegalArgumentException if the shapes differ, the types cannot be converted, or a
   *     stride of this tensor does not step over everything that smaller strides span, so that
   *     elements may share memory
   * @throws IllegalStateException if this tensor is read-only
   */
  public Tensor copyFrom(Tensor source) {
    Objects.requireNonNull(source, "source");
    if (!Arrays.equals(shape, source.shape)) {
      throw new IllegalArgumentException(
          "source.shape must equal shape: source.shape="
              + Arrays.toString(source.shape)
              + ", shape="
              + Arrays.toString(shape));
    }
    if (dtype != source.dtype && !(dtype.isFloat() && source.dtype.isFloat())) {
      throw new IllegalArgumentException(
          "source.dtype must equal dtype, or both be floats: source.dtype="
              + source.dtype
              + ", dtype="
              + dtype);
    }
    requireDistinctElements();
    requireWritable();
    if (overlaps(source)) {
      try (Arena arena = Arena.ofConfined()) {
        Tensor read = allocate(arena, source.dtype, shape);
        read.write(source);
        write(read);
      }
    } else {
      write(source);
    }
    return this;
  }

  /**
   * Overwrites all elements with one value, rounded to the nearest value of the element type, ties
   * to even.
   *
   * @param value the new value of every element
   * @return this tensor
   * @throws IllegalArgumentException if the element type is not a float
   * @throws IllegalStateException if this tensor is read-only
   */
  public Tensor fill(float value) {
    requireFloat("fill");
    requireWritable();
    forEachRun(
        this,
        this,
        (first, step, same, sameStep, n) -> {
          for (long i = 0; i < n; i++) {
            storeFloat(segment, dtype, first + i * step, value);
          }
        });
    return this;
  }

  /**
   * Copies all elements to newly allocated memory as {@link DType#F32}, which is exact.
   *
   * @param arena supplies the memory and decides how long it lives
   * @return a contiguous tensor of the same shape, aligned to 64 bytes
   * @throws IllegalArgumentException if the element type is not a float
   * @throws OutOfMemoryError if there is not enough memory
   */
  public Tensor toF32(Arena arena) {
    requireFloat("toF32");
    Tensor copy = allocate(arena, DType.F32, shape);
    copy.write(this);
    return copy;
  }

  // ---- Text ----

  /**
   * Describes type and shape, and the strides unless they follow from the shape. Does not access
   * elements.
   *
   * @return for example {@code F32[2, 3]} or {@code F32[2, 3] strides [5, 1]}
   */
  public String layout() {
    String typeAndShape = dtype + Arrays.toString(shape);
    return contiguous ? typeAndShape : typeAndShape + " strides " + Arrays.toString(strides);
  }

  /**
   * Describes the layout and the values. Of a dimension with more than 6 indices only the first and
   * last 3 are shown if the tensor has more than 1000 elements; a tensor that cannot be read says
   * why.
   *
   * @return for example {@code F32[2, 3] [[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]]}
   */
  @Override
  public String toString() {
    if (!segment.scope().isAlive()) {
      return layout() + " in a closed arena";
    }
    if (!segment.isAccessibleBy(Thread.currentThread())) {
      return layout() + " in an arena of another thread";
    }
    StringBuilder text = new StringBuilder(layout()).append(' ');
    try {
      appendValues(text, 0, offset);
    } catch (IllegalStateException closedMeanwhile) {
      return layout() + " in a closed arena";
    }
    return text.toString();
  }

  private void appendValues(StringBuilder text, int dim, long element) {
    if (dim == rank()) {
      switch (dtype) {
        case F32, BF16, F16 -> text.append(loadFloat(segment, dtype, element));
        case I32, I64 -> text.append(loadLong(segment, dtype, element));
        case I8 -> text.append(segment.get(BYTE, element));
        case BOOL -> text.append(segment.get(BYTE, element) != 0);
      }
      return;
    }
    boolean abridged = count > MOST_SHOWN && shape[dim] > 2 * SHOWN_AT_EDGE;
    text.append('[');
    for (long i = 0; i < shape[dim]; i++) {
      if (abridged && i == SHOWN_AT_EDGE) {
        text.append(", …");
        i = shape[dim] - SHOWN_AT_EDGE;
      }
      text.append(i == 0 ? "" : ", ");
      appendValues(text, dim + 1, element + i * strides[dim]);
    }
    text.append(']');
  }

  // ---- Shapes and strides ----

  /**
   * Multiplies the sizes, and refuses more bytes than a long can count. Zeros count as ones when
   * checking for overflow, so that the strides of a tensor without elements can be computed too.
   */
  static long elementCount(DType dtype, long[] shape) {
    long product = 1;
    boolean empty = false;
    for (int i = 0; i < shape.length; i++) {
      if (shape[i] < 0) {
        throw new IllegalArgumentException(
            "shape[" + i + "] must not be negative: shape[" + i + "]=" + shape[i]);
      }
      empty |= shape[i] == 0;
      long size = Math.max(shape[i], 1);
      if (product > Long.MAX_VALUE / dtype.bytes() / size) {
        throw new IllegalArgumentException(
            "size in bytes must be at most 2^63-1: "
                + dtype
                + Arrays.toString(shape)
                + " with "
                + dtype.bytes()
                + " bytes an element");
      }
      product *= size;
    }
    return empty ? 0 : product;
  }

  private static long[] rowMajorStrides(long[] shape) {
    long[] strides = new long[shape.length];
    long stride = 1;
    for (int i = shape.length - 1; i >= 0; i--) {
      strides[i] = stride;
      stride *= Math.max(shape[i], 1);
    }
    return strides;
  }

  private static boolean isRowMajor(long[] shape, long[] strides) {
    long expected = 1;
    boolean rowMajor = true;
    for (int i = shape.length - 1; i >= 0; i--) {
      if (shape[i] == 0) {
        return true;
      }
      rowMajor &= shape[i] == 1 || strides[i] == expected;
      expected *= shape[i];
    }
    return rowMajor;
  }

  /**
   * Walks old and new dimensions from the last to the first. A chunk is a run of old dimensions
   * that are adjacent in memory; the new dimensions must divide each chunk exactly. Not called for
   * tensors without elements, which are contiguous.
   */
  private long[] stridesAfterReshape(long[] newShape) {
    long[] newStrides = new long[newShape.length];
    int next = newShape.length - 1;
    long chunkCount = 1;
    long chunkStride = rank() == 0 ? 1 : strides[rank() - 1];
    for (int i = rank() - 1; i >= 0; i--) {
      chunkCount *= shape[i];
      boolean chunkEnds =
          i == 0 || (shape[i - 1] != 1 && strides[i - 1] != chunkCount * chunkStride);
      if (!chunkEnds) {
        continue;
      }
      long covered = 1;
      while (next >= 0 && (covered < chunkCount || newShape[next] == 1)) {
        newStrides[next] = covered * chunkStride;
        covered *= newShape[next];
        next--;
      }
      if (covered != chunkCount) {
        throw new IllegalArgumentException(
            "reshape to "
                + Arrays.toString(newShape)
                + " would have to merge dimensions that are not adjacent in memory: "
                + layout());
      }
      if (i > 0) {
        chunkCount = 1;
        chunkStride = strides[i - 1];
      }
    }
    return newStrides;
  }

  private static long[] without(long[] values, int i) {
    long[] result = Arrays.copyOf(values, values.length - 1);
    System.arraycopy(values, i + 1, result, i, values.length - 1 - i);
    return result;
  }

  private static long[] with(long[] values, int i, long value) {
    long[] result = Arrays.copyOf(values, values.length + 1);
    System.arraycopy(values, i, result, i + 1, values.length - i);
    result[i] = value;
    return result;
  }

  private static long[] swapped(long[] values, int i, int j) {
    long[] result = values.clone();
    result[i] = values[j];
    result[j] = values[i];
    return result;
  }

  // ---- Checks ----

  private static MemorySegment requireNative(MemorySegment segment) {
    if (!Objects.requireNonNull(segment, "segment").isNative()) {
      throw new IllegalArgumentException(
          "segment must be off-heap: it is backed by "
              + segment.heapBase().map(base -> base.getClass().getSimpleName()).orElse("an array"));
    }
    return segment;
  }

  private void checkInsideSegment() {
    if (offset < 0) {
      throw new IllegalArgumentException("offset must not be negative: offset=" + offset);
    }
    long capacity = segment.byteSize() / dtype.bytes();
    long last = offset;
    for (int i = 0; i < shape.length; i++) {
      if (strides[i] < 0) {
        throw new IllegalArgumentException(
            "strides[" + i + "] must not be negative: strides[" + i + "]=" + strides[i]);
      }
      if (strides[i] != 0 && shape[i] > Long.MAX_VALUE / strides[i]) {
        throw new IllegalArgumentException(
            "shape[i] * strides[i] must be at most 2^63-1: shape["
                + i
                + "]="
                + shape[i]
                + ", strides["
                + i
                + "]="
                + strides[i]);
      }
      if (count != 0) {
        long extent = (shape[i] - 1) * strides[i];
        last = last > Long.MAX_VALUE - extent ? Long.MAX_VALUE : last + extent;
      }
    }
    boolean inside = count == 0 ? offset <= capacity : last < capacity;
    if (!inside) {
      throw new IllegalArgumentException(
          "segment is too short for "
              + layout()
              + " at offset "
              + offset
              + ": elements needed="
              + (count == 0 || last == Long.MAX_VALUE ? last : last + 1)
              + ", segment has "
              + capacity
              + " ("
              + segment.byteSize()
              + " bytes)");
    }
  }

  private int checkDim(int dim) {
    return checkDim(dim, rank());
  }

  private static int checkDim(int dim, int rank) {
    if (dim < -rank || dim >= rank) {
      throw new IllegalArgumentException(
          "dim must lie in [" + -rank + ", " + rank + "): dim=" + dim + ", rank=" + rank);
    }
    return dim < 0 ? dim + rank : dim;
  }

  private void checkIndex(int dim, long index) {
    if (index < 0 || index >= shape[dim]) {
      throw new IllegalArgumentException(
          "index of dimension "
              + dim
              + " must lie in [0, "
              + shape[dim]
              + "): index="
              + index
              + ", size="
              + shape[dim]);
    }
  }

  private static void checkValueCount(long values, long count, long[] shape) {
    if (values != count) {
      throw new IllegalArgumentException(
          "values.length must equal the number of elements of shape "
              + Arrays.toString(shape)
              + ": values.length="
              + values
              + ", elements="
              + count);
    }
  }

  private void requireFloat(String operation) {
    if (!dtype.isFloat()) {
      throw new IllegalArgumentException(
          operation + " needs dtype F32, BF16 or F16: dtype=" + dtype);
    }
  }

  private void requireInteger(String operation) {
    if (dtype != DType.I32 && dtype != DType.I64) {
      throw new IllegalArgumentException(operation + " needs dtype I32 or I64: dtype=" + dtype);
    }
  }

  private void requireBool(String operation) {
    if (dtype != DType.BOOL) {
      throw new IllegalArgumentException(operation + " needs dtype BOOL: dtype=" + dtype);
    }
  }

  private void requireWritable() {
    if (segment.isReadOnly()) {
      throw new IllegalStateException("tensor must not be read-only to be written: " + layout());
    }
  }

  /**
   * Refuses a destination in which two indices may be the same element. Sorted by stride, each
   * dimension must step over everything that smaller strides span.
   */
  private void requireDistinctElements() {
    if (contiguous) {
      return;
    }
    Integer[] dims = new Integer[rank()];
    Arrays.setAll(dims, i -> i);
    Arrays.sort(dims, (a, b) -> Long.compare(strides[a], strides[b]));
    long spanned = 0;
    for (int d : dims) {
      if (shape[d] == 1) {
        continue;
      }
      if (strides[d] <= spanned) {
        throw new IllegalArgumentException(
            "strides of a copy's destination must step over everything that smaller strides span: "
                + layout());
      }
      spanned += (shape[d] - 1) * strides[d];
    }
  }

  private int arrayLength() {
    if (count > Checks.MAX_ARRAY_LENGTH) {
      throw new IllegalStateException(
          "elements must be at most "
              + Checks.MAX_ARRAY_LENGTH
              + " to fit in an array: elements="
              + count
              + ", "
              + layout());
    }
    return (int) count;
  }

  // ---- Element access: positions are in elements from the segment's start ----

  private long elementAt(long[] index) {
    if (Objects.requireNonNull(index, "index").length != shape.length) {
      throw new IllegalArgumentException(
          "number of indices must equal rank: indices=" + index.length + ", rank=" + shape.length);
    }
    long element = offset;
    for (int i = 0; i < index.length; i++) {
      checkIndex(i, index[i]);
      element += index[i] * strides[i];
    }
    return element;
  }

  private static float loadFloat(MemorySegment segment, DType dtype, long element) {
    return switch (dtype) {
      case F32 -> segment.get(FLOAT, element * Float.BYTES);
      case BF16 -> DType.bf16ToFloat(segment.get(SHORT, element * Short.BYTES));
      case F16 -> Float.float16ToFloat(segment.get(SHORT, element * Short.BYTES));
      case I32, I64, I8, BOOL -> throw new AssertionError(dtype);
    };
  }

  private static void storeFloat(MemorySegment segment, DType dtype, long element, float value) {
    switch (dtype) {
      case F32 -> segment.set(FLOAT, element * Float.BYTES, value);
      case BF16 -> segment.set(SHORT, element * Short.BYTES, DType.floatToBf16(value));
      case F16 -> segment.set(SHORT, element * Short.BYTES, Float.floatToFloat16(value));
      case I32, I64, I8, BOOL -> throw new AssertionError(dtype);
    }
  }

  private static long loadLong(MemorySegment segment, DType dtype, long element) {
    return dtype == DType.I32
        ? segment.get(INT, element * Integer.BYTES)
        : segment.get(LONG, element * Long.BYTES);
  }

  private static int loadInt(MemorySegment segment, DType dtype, long element) {
    long value = loadLong(segment, dtype, element);
    if (value != (int) value) {
      throw new IllegalStateException(
          "element must lie in [-2^31, 2^31-1] to fit in an int: element=" + value);
    }
    return (int) value;
  }

  private static void storeInt(MemorySegment segment, DType dtype, long element, int value) {
    if (dtype == DType.I32) {
      segment.set(INT, element * Integer.BYTES, value);
    } else {
      segment.set(LONG, element * Long.BYTES, value);
    }
  }

  /** Views an array in this tensor's shape for the duration of one copy. */
  private Tensor onHeap(MemorySegment array, DType arrayType) {
    return new Tensor(array, arrayType, 0, shape, rowMajorStrides(shape));
  }

  /** Copies all elements; shapes are equal, types convertible, and the two do not overlap. */
  private void write(Tensor source) {
    forEachRun(
        source,
        this,
        (from, fromStep, to, toStep, n) -> {
          if (source.dtype != dtype) {
            convertRun(source, from, fromStep, to, toStep, n);
          } else if (fromStep == 1 && toStep == 1) {
            int bytes = dtype.bytes();
            MemorySegment.copy(source.segment, from * bytes, segment, to * bytes, n * bytes);
          } else {
            moveRun(source.segment, from, fromStep, to, toStep, n);
          }
        });
  }

  private boolean convertsNatively(Tensor source) {
    return dtype.isFloat()
        && segment.isNative()
        && source.segment.isNative()
        && segment.address() % dtype.bytes() == 0
        && source.segment.address() % source.dtype.bytes() == 0;
  }

  private void convertRun(Tensor source, long from, long fromStep, long to, long toStep, long n) {
    if (n >= LONG_RUN && fromStep == 1 && toStep == 1 && convertsNatively(source)) {
      try (Workspaces.Lease lease = Workspaces.lease()) {
        Downcalls.convert(
            Descriptor.convert(lease, A4j.threads(), source.dtype, dtype, n),
            source.segment.asSlice(from * source.dtype.bytes(), n * source.dtype.bytes()),
            segment.asSlice(to * dtype.bytes(), n * dtype.bytes()));
      }
    } else if (dtype.isFloat()) {
      for (long i = 0; i < n; i++) {
        float value = loadFloat(source.segment, source.dtype, from + i * fromStep);
        storeFloat(segment, dtype, to + i * toStep, value);
      }
    } else {
      for (long i = 0; i < n; i++) {
        int value = loadInt(source.segment, source.dtype, from + i * fromStep);
        storeInt(segment, dtype, to + i * toStep, value);
      }
    }
  }

  /** Moves bits, not values, so that every NaN keeps its payload. */
  private void moveRun(
      MemorySegment source, long from, long fromStep, long to, long toStep, long n) {
    switch (dtype.bytes()) {
      case Byte.BYTES -> {
        for (long i = 0; i < n; i++) {
          segment.set(BYTE, to + i * toStep, source.get(BYTE, from + i * fromStep));
        }
      }
      case Short.BYTES -> {
        for (long i = 0; i < n; i++) {
          short bits = source.get(SHORT, (from + i * fromStep) * Short.BYTES);
          segment.set(SHORT, (to + i * toStep) * Short.BYTES, bits);
        }
      }
      case Integer.BYTES -> {
        for (long i = 0; i < n; i++) {
          int bits = source.get(INT, (from + i * fromStep) * Integer.BYTES);
          segment.set(INT, (to + i * toStep) * Integer.BYTES, bits);
        }
      }
      case Long.BYTES -> {
        for (long i = 0; i < n; i++) {
          long bits = source.get(LONG, (from + i * fromStep) * Long.BYTES);
          segment.set(LONG, (to + i * toStep) * Long.BYTES, bits);
        }
      }
      default -> throw new AssertionError(dtype);
    }
  }

  /** Evenly spaced elements of two tensors: n along the last dimension, or all of them. */
  @FunctionalInterface
  private interface Run {
    void accept(long a, long aStep, long b, long bStep, long n);
  }

  /** Visits all elements of two tensors of the same shape in row-major order, run by run. */
  private static void forEachRun(Tensor a, Tensor b, Run run) {
    if (a.count == 0) {
      return;
    }
    int last = a.rank() - 1;
    if (last < 0 || (a.contiguous && b.contiguous)) {
      run.accept(a.offset, 1, b.offset, 1, a.count);
      return;
    }
    long[] index = new long[last];
    long atA = a.offset;
    long atB = b.offset;
    while (true) {
      run.accept(atA, a.strides[last], atB, b.strides[last], a.shape[last]);
      int d = last - 1;
      while (d >= 0 && ++index[d] == a.shape[d]) {
        atA -= (a.shape[d] - 1) * a.strides[d];
        atB -= (b.shape[d] - 1) * b.strides[d];
        index[d] = 0;
        d--;
      }
      if (d < 0) {
        return;
      }
      atA += a.strides[d];
      atB += b.strides[d];
    }
  }

  /** Tells whether the spans from first to last element have a byte in common. */
  private boolean overlaps(Tensor other) {
    if (count == 0) {
      return false;
    }
    long begin = segment.address() + offset * dtype.bytes();
    long otherBegin = other.segment.address() + other.offset * other.dtype.bytes();
    return begin < otherBegin + other.spanBytes() && otherBegin < begin + spanBytes();
  }

  private long spanBytes() {
    long span = 1;
    for (int i = 0; i < shape.length; i++) {
      span += (shape[i] - 1) * strides[i];
    }
    return span * dtype.bytes();
  }
}
