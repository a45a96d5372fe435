package io.github.attention4j.internal;

import java.lang.foreign.Arena;
import java.lang.foreign.MemorySegment;
import java.lang.foreign.ValueLayout;
import java.util.concurrent.atomic.AtomicReferenceArray;

/**
 * Native scratch memory, lent to one call at a time.
 *
 * <p>The pool holds at most as many leases as there are cores: more calls than that do not compute
 * at once anyway. A caller that finds it empty makes a lease of its own rather than wait, and one
 * that finds it full on return leaves the lease to the garbage collector. It is no {@code
 * ThreadLocal}, because there may be a hundred thousand virtual threads; and memory comes from
 * automatic arenas, because closing a shared one makes the whole JVM shake hands.
 *
 * <p>Safe for any number of threads; a lease belongs to the thread that took it.
 */
public final class Workspaces {
  /** What a lease keeps when it goes back; more is rare, and is given up at once. */
  private static final long MOST_BYTES_KEPT = 64L << 20;

  private static final int SLOTS = Runtime.getRuntime().availableProcessors();
  private static final AtomicReferenceArray<Lease> POOL = new AtomicReferenceArray<>(SLOTS);

  private Workspaces() {}

  /** Takes a lease; to be closed by the same thread, at the latest when the call has returned. */
  public static Lease lease() {
    for (int i = 0; i < SLOTS; i++) {
      if (POOL.getPlain(i) != null) {
        Lease lease = POOL.getAndSet(i, null);
        if (lease != null) {
          return lease;
        }
      }
    }
    return new Lease();
  }

  /**
   * Three blocks of native memory that grow as they are asked to.
   *
   * <pre>
   *   block      +--------+------------------------+------------+
   *              | scalar | descriptor             | its tail   |
   *              +--------+------------------------+------------+
   *              0        64
   *   inputs     +---------------------------------------------+
   *              | copies of what the kernels cannot read      |   aligned to 64 bytes
   *              +---------------------------------------------+
   *   workspace  +---------------------------------------------+
   *              |                                             |   aligned to 64 bytes
   *              +---------------------------------------------+
   * </pre>
   */
  public static final class Lease implements AutoCloseable {
    private static final long ALIGNMENT_BYTES = 64;
    private static final long DESCRIPTOR_START = 64;
    private static final long FIRST_BLOCK_BYTES = 1024;

    private MemorySegment block = allocate(FIRST_BLOCK_BYTES);
    private MemorySegment scalar = block.asSlice(0, Float.BYTES);
    private MemorySegment inputs = MemorySegment.NULL;
    private MemorySegment workspace = MemorySegment.NULL;

    /** Every call begins with a lease: what cannot be loaded is said before anything else fails. */
    private Lease() {
      NativeLibrary.load();
    }

    /** Returns room for a descriptor and its tail, all zero. What was there before is gone. */
    public MemorySegment descriptor(long bytes) {
      if (bytes > block.byteSize() - DESCRIPTOR_START) {
        block = allocate(Math.addExact(Math.multiplyExact(bytes, 2), DESCRIPTOR_START));
        scalar = block.asSlice(0, Float.BYTES);
      }
      return block.asSlice(DESCRIPTOR_START, bytes).fill((byte) 0);
    }

    /** Returns four bytes that hold this value, until the next call of {@code scalar}. */
    public MemorySegment scalar(float value) {
      scalar.set(ValueLayout.JAVA_FLOAT, 0, value);
      return scalar;
    }

    /** Returns at least so many bytes, with whatever content, until the next call of this. */
    public MemorySegment inputs(long bytes) {
      if (bytes > inputs.byteSize()) {
        long doubled = doubled(inputs);
        inputs = MemorySegment.NULL;
        inputs = allocate(Math.max(bytes, doubled));
      }
      return inputs;
    }

    /**
     * Returns the workspace as it was left, with whatever content; NULL where there is none yet.
     */
    public MemorySegment workspace() {
      return workspace;
    }

    /** Returns at least so many bytes, with whatever content; NULL where none are needed. */
    public MemorySegment workspace(long bytes) {
      if (bytes > workspace.byteSize()) {
        long doubled = doubled(workspace);
        workspace = MemorySegment.NULL;
        workspace = allocate(Math.max(bytes, doubled));
      }
      return workspace;
    }

    private static long doubled(MemorySegment segment) {
      return Math.min(2 * segment.byteSize(), MOST_BYTES_KEPT);
    }

    /** Gives the lease back. */
    @Override
    public void close() {
      if (workspace.byteSize() > MOST_BYTES_KEPT) {
        workspace = MemorySegment.NULL;
      }
      if (inputs.byteSize() > MOST_BYTES_KEPT) {
        inputs = MemorySegment.NULL;
      }
      for (int i = 0; i < SLOTS; i++) {
        if (POOL.getPlain(i) == null && POOL.compareAndSet(i, null, this)) {
          return;
        }
      }
    }

    private static MemorySegment allocate(long bytes) {
      return Arena.ofAuto().allocate(bytes, ALIGNMENT_BYTES);
    }
  }
}
