package io.github.attention4j.models.gguf;

import io.github.attention4j.DType;
import io.github.attention4j.Tensor;
import io.github.attention4j.layer.BlockFormat;
import io.github.attention4j.layer.QuantizedWeights;
import java.lang.foreign.Arena;
import java.lang.foreign.MemorySegment;
import java.lang.foreign.ValueLayout;
import java.util.Arrays;
import java.util.Objects;

/**
 * A tensor of a GGUF file, mapped and read-only, in the file's own type. Safe for any number of
 * threads.
 */
public final class GgufTensor {
  /** How many single values are decoded at a time. */
  private static final long MOST_AT_ONCE = 8192;

  private final String name;
  private final GgufType type;
  private final long[] shape;
  private final MemorySegment segment;

  GgufTensor(String name, GgufType type, long[] shape, MemorySegment segment) {
    this.name = name;
    this.type = type;
    this.shape = shape;
    this.segment = segment;
  }

  /**
   * Returns the name.
   *
   * @return as the file spells it
   */
  public String name() {
    return name;
  }

  /**
   * Returns the type of the elements.
   *
   * @return the file's type
   */
  public GgufType type() {
    return type;
  }

  /**
   * Returns the sizes, slowest first: the reverse of the file's order, and the same as Hugging
   * Face's.
   *
   * @return a copy
   */
  public long[] shape() {
    return shape.clone();
  }

  /**
   * Returns the size of the tensor in the file.
   *
   * @return bytes, without padding
   */
  public long bytes() {
    return segment.byteSize();
  }

  /**
   * Returns the mapped tensor.
   *
   * @return read-only, or null unless it is F32, F16 or BF16 and aligned to its elements
   */
  public Tensor inPlace() {
    DType dtype = type.dtype();
    return dtype != null && segment.address() % dtype.bytes() == 0
        ? Tensor.of(segment, dtype, shape)
        : null;
  }

  /**
   * Packs a quantised matrix for products with the file's own codes and scales, without loss.
   * {@link BlockFormat} lists the storage of each type.
   *
   * @param arena supplies the memory
   * @return the packed weights, or null unless this is a quantised matrix
   * @throws IllegalStateException if the file's arena or the given one is closed
   * @throws OutOfMemoryError if there is no memory for them
   */
  public QuantizedWeights quantized(Arena arena) {
    if (shape.length != 2 || shape[0] == 0 || shape[1] == 0) {
      return null;
    }
    return type.format() == null ? null : type.format().read(arena, segment, shape[0], shape[1]);
  }

  /**
   * Decodes the tensor.
   *
   * @param arena supplies the memory of the result
   * @return {@link DType#F32} of the same shape, each value rounded at most once
   * @throws IllegalArgumentException if the type cannot be decoded
   * @throws IllegalStateException if the file's arena or the given one is closed
   */
  public Tensor floats(Arena arena) {
    requireDecoded();
    Tensor floats = Tensor.allocate(arena, DType.F32, shape);
    decode(0, floats);
    return floats;
  }

  /**
   * Decodes a row of a matrix.
   *
   * @param row from 0
   * @param out {@link DType#F32} {@code [columns]}, contiguous. Modified.
   * @throws IllegalArgumentException if this is not a matrix, out does not fit, or the type cannot
   *     be decoded
   * @throws IndexOutOfBoundsException if there is no such row
   */
  public void row(long row, Tensor out) {
    requireDecoded();
    if (shape.length != 2
        || out.dtype() != DType.F32
        || !out.isContiguous()
        || !Arrays.equals(out.shape(), new long[] {shape[1]})) {
      throw new IllegalArgumentException(
          name
              + " must be a matrix whose rows have the length of out: shape="
              + Arrays.toString(shape)
              + ", out="
              + out);
    }
    Objects.checkIndex(row, shape[0]);
    decode(row * shape[1], out);
  }

  private void requireDecoded() {
    if (!type.isDecoded()) {
      throw new IllegalArgumentException(
          name + " must have a type that is decoded to floats: type=" + type);
    }
  }

  /** Decodes as many values as out has, starting at the beginning of a block. */
  private void decode(long from, Tensor out) {
    long count = out.count();
    if (type.format() != null) {
      long bytes = count / type.blockValues() * type.blockBytes();
      type.format()
          .widen(segment.asSlice(from / type.blockValues() * type.blockBytes(), bytes), out);
      return;
    }
    for (long done = 0; done < count; done += MOST_AT_ONCE) {
      float[] values = new float[(int) Math.min(MOST_AT_ONCE, count - done)];
      type.decode(segment, from + done, values);
      MemorySegment.copy(
          values,
          0,
          out.segment(),
          ValueLayout.JAVA_FLOAT,
          (out.offset() + done) * Float.BYTES,
          values.length);
    }
  }

  /**
   * Returns some rows as a matrix, or some values of a vector that is not quantised, without
   * decoding.
   *
   * @param newName its name in messages
   * @param first the first row, counting all dimensions but the last as one; for a vector, the
   *     first value
   * @param count how many
   * @return a view of the same bytes
   * @throws IndexOutOfBoundsException if the rows are not in the tensor
   * @throws IllegalArgumentException if this is a vector of blocks
   */
  public GgufTensor part(String newName, long first, long count) {
    boolean vector = shape.length == 1;
    if (shape.length == 0 || (vector && type.blockValues() > 1)) {
      throw new IllegalArgumentException("parts must be rows or single values: " + this);
    }
    long columns = vector ? 1 : shape[shape.length - 1];
    long all = vector ? shape[0] : 1;
    for (int i = 0; i < shape.length - 1; i++) {
      all *= shape[i];
    }
    Objects.checkFromIndexSize(first, count, all);
    long rowBytes = columns / type.blockValues() * type.blockBytes();
    return new GgufTensor(
        newName,
        type,
        vector ? new long[] {count} : new long[] {count, columns},
        segment.asSlice(first * rowBytes, count * rowBytes));
  }

  /**
   * Shows the name, type and shape.
   *
   * @return for people
   */
  @Override
  public String toString() {
    return name + " " + type + Arrays.toString(shape);
  }
}
