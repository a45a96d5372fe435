package io.github.attention4j.internal;

import io.github.attention4j.DType;
import io.github.attention4j.Tensor;
import java.lang.foreign.Arena;
import java.lang.foreign.MemorySegment;

/**
 * Memory for the intermediate results of a layer, for the duration of one call. Its arena is
 * confined, so closing it does not affect other threads.
 *
 * <p>New memory is zeroed, and large blocks are mapped page by page on first access: a sixth of the
 * time of an encoder block over 4096 tokens. So {@link #room} reuses blocks from a {@link Pool},
 * each of at most 64 MiB.
 *
 * <p>It counts as one call for the limit on concurrent calls, with all operations of the layer.
 */
public final class Scratch implements AutoCloseable {
  private static final long ALIGNMENT_BYTES = PooledMemory.ALIGNMENT_BYTES;
  private static final Pool<MemorySegment> POOL = new Pool<>();

  /** The size of the smallest block for which the JVM had no direct memory. */
  private static volatile long tooLarge = Long.MAX_VALUE;

  private final CallLimit.Permit permit = CallLimit.enter();
  private final Arena arena = Arena.ofConfined();
  private MemorySegment block = MemorySegment.NULL;
  private boolean borrowed;
  private long used;
  private long wanted;

  /** A tensor of zeros. */
  public Tensor floats(long... shape) {
    return Tensor.allocate(arena, DType.F32, shape);
  }

  /** A tensor of zeros. */
  public Tensor ints(long... shape) {
    return Tensor.allocate(arena, DType.I32, shape);
  }

  /** A tensor with arbitrary content, to be overwritten before it is read. */
  public Tensor room(long... shape) {
    return room(DType.F32, shape);
  }

  /** The same of another type. */
  public Tensor room(DType dtype, long... shape) {
    if (!borrowed) {
      MemorySegment kept = POOL.take();
      block = kept == null ? MemorySegment.NULL : kept;
      borrowed = true;
    }
    long bytes = bytesOf(dtype, shape);
    if (bytes <= PooledMemory.MOST_BYTES_KEPT) {
      wanted += Math.ceilDiv(bytes, ALIGNMENT_BYTES) * ALIGNMENT_BYTES;
    }
    if (bytes == 0 || bytes > block.byteSize() - used) {
      return Tensor.allocate(arena, dtype, shape);
    }
    Tensor room = Tensor.of(block.asSlice(used, bytes), dtype, shape);
    used = Math.min(block.byteSize(), wanted);
    return room;
  }

  /** The size of a tensor in bytes, or more than that of any block. */
  private static long bytesOf(DType dtype, long[] shape) {
    long bytes = dtype.bytes();
    for (long size : shape) {
      if (size > 0 && bytes > PooledMemory.MOST_BYTES_KEPT / size) {
        return Long.MAX_VALUE;
      }
      bytes *= size;
    }
    return bytes;
  }

  /** An arena of the same lifetime. */
  public Arena arena() {
    return arena;
  }

  @Override
  public void close() {
    try {
      arena.close();
      if (borrowed) {
        giveBack();
      }
    } finally {
      if (permit != null) {
        permit.close();
      }
    }
  }

  /** Bytes of the blocks in the pool. */
  static long bytesKept() {
    return POOL.sum(MemorySegment::byteSize);
  }

  /** Leaves all blocks in the pool to the garbage collector. */
  static void forget() {
    POOL.forget();
  }

  /** Returns the block to the pool, or a larger one if this call needed more. */
  private void giveBack() {
    if (wanted > block.byteSize() && wanted <= PooledMemory.MOST_BYTES_KEPT && wanted < tooLarge) {
      grow();
    }
    if (block.byteSize() > 0) {
      POOL.give(block);
    }
  }

  /**
   * Without room, the JVM looks for garbage for half a second before it says so; so that is not
   * tried again, and layers allocate what they need anew at each call.
   */
  private void grow() {
    try {
      block = Arena.ofAuto().allocate(wanted, ALIGNMENT_BYTES);
    } catch (OutOfMemoryError noRoom) {
      remember(wanted, noRoom.getMessage());
    }
  }

  private static synchronized void remember(long bytes, String failure) {
    if (bytes < tooLarge) {
      tooLarge = bytes;
      NativeLibrary.warn(
          "Layers allocate memory at each call, because {0} bytes of direct memory cannot be kept"
              + " for them (-XX:MaxDirectMemorySize): {1}",
          Long.toString(bytes), failure);
    }
  }
}
