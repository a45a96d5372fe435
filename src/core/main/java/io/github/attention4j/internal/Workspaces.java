package io.github.attention4j.internal;

import java.lang.foreign.Arena;
import java.lang.foreign.MemorySegment;
import java.lang.foreign.ValueLayout;

/**
 * Native scratch memory, leased to one call at a time.
 *
 * <p>If the {@link Pool} is empty, a call makes a new lease rather than wait. It is not a {@code
 * ThreadLocal}, because there may be a hundred thousand virtual threads; and what is kept comes
 * from automatic arenas, because closing a shared arena costs the whole JVM a handshake. Blocks
 * that are too large to keep belong to an arena of the calling thread, and are freed when the call
 * ends: the garbage collector would not notice in time how large they are.
 *
 * <p>Safe for any number of threads; a lease belongs to the thread that took it.
 */
public final class Workspaces {
  private static final Pool<Lease> POOL = new Pool<>();

  private Workspaces() {}

  /**
   * Takes a lease, after waiting for the limit on concurrent calls. The same thread must close it
   * when the call has returned.
   */
  public static Lease lease() {
    CallLimit.Permit permit = CallLimit.enter();
    try {
      Lease kept = POOL.take();
      Lease lease = kept == null ? new Lease() : kept;
      lease.permit = permit;
      return lease;
    } catch (RuntimeException | Error failure) {
      if (permit != null) {
        permit.close();
      }
      throw failure;
    }
  }

  /** Bytes of the leases in the pool; those in use are not counted. */
  static long bytesKept() {
    return POOL.sum(Lease::bytes);
  }

  /** Leaves all leases in the pool to the garbage collector. */
  static void forget() {
    POOL.forget();
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
    private static final long DESCRIPTOR_START = 64;
    private static final long FIRST_BLOCK_BYTES = 1024;

    private MemorySegment block = PooledMemory.allocate(FIRST_BLOCK_BYTES);
    private MemorySegment scalar = block.asSlice(0, Float.BYTES);
    private MemorySegment inputs = MemorySegment.NULL;
    private MemorySegment workspace = MemorySegment.NULL;
    private int uses;

    /** The owner of the blocks of this call that are too large to keep; null if there are none. */
    private Arena large;

    private CallLimit.Permit permit;

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
        block = larger(block.byteSize(), Math.addExact(bytes, DESCRIPTOR_START));
        scalar = block.asSlice(0, Float.BYTES);
      }
      return block.asSlice(DESCRIPTOR_START, bytes).fill((byte) 0);
    }

    /**
     * Returns four bytes, beside the descriptor, that hold this value until the next call of {@code
     * scalar}.
     */
    public MemorySegment scalar(float value) {
      scalar.set(ValueLayout.JAVA_FLOAT, 0, value);
      return scalar;
    }

    /** Returns at least this many bytes of arbitrary content, until the next call of this. */
    public MemorySegment inputs(long bytes) {
      if (bytes > inputs.byteSize()) {
        long before = inputs.byteSize();
        inputs = MemorySegment.NULL;
        inputs = larger(before, bytes);
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
        long before = workspace.byteSize();
        workspace = MemorySegment.NULL;
        workspace = larger(before, bytes);
      }
      return workspace;
    }

    /** A block of at least this size; of twice the size before it, if such a block is kept. */
    private MemorySegment larger(long before, long bytes) {
      if (bytes <= PooledMemory.MOST_BYTES_KEPT) {
        long doubled = Math.min(2 * before, PooledMemory.MOST_BYTES_KEPT);
        return PooledMemory.allocate(Math.max(bytes, doubled));
      }
      if (large == null) {
        large = Arena.ofConfined();
      }
      return LazyMemory.allocate(large, bytes);
    }

    private void freeLarge() {
      block = kept(block);
      inputs = kept(inputs);
      workspace = kept(workspace);
      large.close();
      large = null;
    }

    private static MemorySegment kept(MemorySegment block) {
      return block.byteSize() > PooledMemory.MOST_BYTES_KEPT ? MemorySegment.NULL : block;
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
      CallLimit.Permit entered = permit;
      permit = null;
      if (isTimeToAskTheTeam(uses++)) {
        NativeLibrary.logTeamFailure();
      }
      if (large != null) {
        freeLarge();
      }
      POOL.give(this);
      if (entered != null) {
        entered.close();
      }
    }
  }
}
