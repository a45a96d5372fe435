package io.github.attention4j.internal;

import java.lang.foreign.Arena;
import java.lang.foreign.MemorySegment;

/**
 * Memory for the pools of {@link Workspaces} and {@link Scratch}. It belongs to automatic arenas,
 * and so counts as direct memory of the JVM.
 */
final class PooledMemory {
  /** The most bytes of a block that a pool keeps. */
  static final long MOST_BYTES_KEPT = 64L << 20;

  static final long ALIGNMENT_BYTES = 64;

  private PooledMemory() {}

  /**
   * Allocates a block. If the JVM has no more direct memory, the pools give up what they keep.
   *
   * @throws OutOfMemoryError if it has none even then
   */
  static MemorySegment allocate(long bytes) {
    try {
      return Arena.ofAuto().allocate(bytes, ALIGNMENT_BYTES);
    } catch (OutOfMemoryError full) {
      Workspaces.forget();
      Scratch.forget();
      return Arena.ofAuto().allocate(bytes, ALIGNMENT_BYTES); // collects garbage before it fails
    }
  }
}
