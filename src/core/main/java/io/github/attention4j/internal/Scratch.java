package io.github.attention4j.internal;

import io.github.attention4j.DType;
import io.github.attention4j.Tensor;
import java.lang.foreign.Arena;
import java.lang.foreign.MemorySegment;
import java.util.concurrent.atomic.AtomicReferenceArray;

/**
 * Memory for what a layer holds between its steps, for the duration of one call. Its arena is
 * confined: closing one costs nobody else anything.
 *
 * <p>Fresh memory is zeroed, and beyond some megabytes the system hands it out page by page: a
 * sixth of the time of an encoder block over 4096 tokens. So {@link #room} lends memory that was
 * used before. The pool holds at most as many blocks as there are cores, and none beyond 64 MiB.
 */
public final class Scratch implements AutoCloseable {
  private static final long MOST_BYTES_KEPT = 64L << 20;
  private static final long ALIGNMENT_BYTES = 64;
  private static final int SLOTS = Runtime.getRuntime().availableProcessors();
  private static final AtomicReferenceArray<MemorySegment> POOL = new AtomicReferenceArray<>(SLOTS);

  private final Arena arena = Arena.ofConfined();
  private MemorySegment block = MemorySegment.NULL;
  private boolean borrowed;
  private long used;
  private long wanted;

  /** Zeros. */
  public Tensor floats(long... shape) {
    return Tensor.allocate(arena, DType.F32, shape);
  }

  /** Zeros. */
  public Tensor ints(long... shape) {
    return Tensor.allocate(arena, DType.I32, shape);
  }

  /** For what is written whole before it is read: its content is whatever was there before. */
  public Tensor room(long... shape) {
    if (!borrowed) {
      block = borrow();
      borrowed = true;
    }
    long bytes = bytesOf(shape);
    if (bytes <= MOST_BYTES_KEPT) {
      wanted += Math.ceilDiv(bytes, ALIGNMENT_BYTES) * ALIGNMENT_BYTES;
    }
    if (bytes == 0 || bytes > block.byteSize() - used) {
      return floats(shape);
    }
    Tensor room = Tensor.of(block.asSlice(used, bytes), DType.F32, shape);
    used = Math.min(block.byteSize(), wanted);
    return room;
  }

  /** The bytes of a tensor, or more than any block has. */
  private static long bytesOf(long[] shape) {
    long bytes = Float.BYTES;
    for (long size : shape) {
      if (size > 0 && bytes > MOST_BYTES_KEPT / size) {
        return Long.MAX_VALUE;
      }
      bytes *= size;
    }
    return bytes;
  }

  /** For what others allocate, for as long. */
  public Arena arena() {
    return arena;
  }

  @Override
  public void close() {
    arena.close();
    if (borrowed) {
      giveBack();
    }
  }

  private static MemorySegment borrow() {
    for (int i = 0; i < SLOTS; i++) {
      MemorySegment block = POOL.getPlain(i) == null ? null : POOL.getAndSet(i, null);
      if (block != null) {
        return block;
      }
    }
    return MemorySegment.NULL;
  }

  /** Gives the block back, or a larger one where this call would have needed it. */
  private void giveBack() {
    if (wanted > block.byteSize() && wanted <= MOST_BYTES_KEPT) {
      try {
        block = Arena.ofAuto().allocate(wanted, ALIGNMENT_BYTES);
      } catch (OutOfMemoryError noRoom) {
        return; // the result is there already; the next call takes fresh memory
      }
    }
    for (int i = 0; i < SLOTS && block.byteSize() > 0; i++) {
      if (POOL.getPlain(i) == null && POOL.compareAndSet(i, null, block)) {
        return;
      }
    }
  }
}
