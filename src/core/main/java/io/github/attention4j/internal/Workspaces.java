package io.github.attention4j.internal;

import java.lang.foreign.Arena;
import java.lang.foreign.MemorySegment;
import java.lang.foreign.ValueLayout;
import java.util.concurrent.atomic.AtomicReferenceArray;

/**
 * Native scratch memory, leased to one call at a time.
 *
 * <p>The pool keeps at most as many leases as there are cores, since no more calls than that can
 * run at once. If it is empty, a call makes a new lease rather than wait; if it is full, a returned
 * lease is left to the garbage collector. It is not a {@code ThreadLocal}, because there may be a
 * hundred thousand virtual threads; and memory comes from automatic arenas, because closing a
 * shared arena costs the whole JVM a handshake.
 *
 * <p>Safe for any number of threads; a lease belongs to the thread that took it.
 */
public final class Workspaces {
  /** The most memory that a returned lease keeps; anything larger is rare, and released at once. */
  private static final long MOST_BYTES_KEPT = 64L << 20;

  private static final int SLOTS = Runtime.getRuntime().availableProcessors();
  private static final AtomicReferenceArray<Lease> POOL = new AtomicReferenceArray<>(SLOTS);

  private Workspaces() {}

  /** Takes a lease; the same thread must close it when the call has returned. */
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

  /** Bytes of the leases in the pool; those in use are not counted. */
  static long bytesKept() {
    long bytes = 0;
    for (int i = 0; i < SLOTS; i++) {
      Lease lease = POOL.get(i);
      bytes += lease == null ? 0 : lease.bytes();
    }
    return bytes;
  }

  /**
   * Three blocks of native memory that grow on demand.
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
    private int uses;

    /**
     * Every call begins with a lease, so a library that cannot be loaded is reported before
     * anything else fails.
     */
    private Lease() {
      NativeLibrary.load();
    }

    /** Returns zeroed memory for a descriptor and its tail. The previous descriptor is lost. */
    public MemorySegment descriptor(long bytes) {
      if (bytes > block.byteSize() - DESCRIPTOR_START) {
        block = allocate(Math.addExact(Math.multiplyExact(bytes, 2), DESCRIPTOR_START));
        scalar = block.asSlice(0, Float.BYTES);
      }
      return block.asSlice(DESCRIPTOR_START, bytes).fill((byte) 0);
    }

    /** Returns four bytes that hold this value until the next call of {@code scalar}. */
    public MemorySegment scalar(float value) {
      scalar.set(ValueLayout.JAVA_FLOAT, 0, value);
      return scalar;
    }

    /** Returns at least this many bytes of arbitrary content, until the next call of this. */
    public MemorySegment inputs(long bytes) {
      if (bytes > inputs.byteSize()) {
        long doubled = doubled(inputs);
        inputs = MemorySegment.NULL;
        inputs = allocate(Math.max(bytes, doubled));
      }
      return inputs;
    }

    /** Returns the current workspace, with arbitrary content; NULL if there is none yet. */
    public MemorySegment workspace() {
      return workspace;
    }

    /** Returns at least this many bytes of arbitrary content; NULL if none are needed. */
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

    /** Often at first, when the team grows; later at every 1024th use. */
    private static boolean isTimeToAskTheTeam(int uses) {
      return uses < 1024 ? (uses & (uses - 1)) == 0 : uses % 1024 == 0;
    }

    private long bytes() {
      return block.byteSize() + inputs.byteSize() + workspace.byteSize();
    }

    /** Returns the lease to the pool. */
    @Override
    public void close() {
      if (isTimeToAskTheTeam(uses++)) {
        NativeLibrary.logTeamFailure();
      }
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
