package io.github.attention4j.internal;

import io.github.attention4j.AttentionException;
import java.lang.foreign.Arena;
import java.lang.foreign.FunctionDescriptor;
import java.lang.foreign.Linker;
import java.lang.foreign.MemorySegment;
import java.lang.foreign.ValueLayout;
import java.lang.invoke.MethodHandle;

/**
 * Native memory that is not cleared: the operating system provides a large block page by page, as
 * it is first written, where an arena would write all of it at once.
 */
public final class LazyMemory {
  private static final long ALIGNMENT_BYTES = 64;

  /**
   * The C library's functions; in a class of its own, initialised after native access was checked.
   */
  private static final class C {
    static final MethodHandle MALLOC =
        handle("malloc", FunctionDescriptor.of(ValueLayout.ADDRESS, ValueLayout.JAVA_LONG));
    static final MethodHandle FREE = handle("free", FunctionDescriptor.ofVoid(ValueLayout.ADDRESS));

    private C() {}

    private static MethodHandle handle(String name, FunctionDescriptor type) {
      Linker linker = Linker.nativeLinker();
      return linker.downcallHandle(linker.defaultLookup().findOrThrow(name), type);
    }
  }

  private LazyMemory() {}

  /**
   * Allocates memory with arbitrary content, aligned to 64 bytes, that the arena frees.
   *
   * @throws AttentionException if the native library cannot be loaded, as without native access
   * @throws OutOfMemoryError if the memory cannot be allocated
   */
  public static MemorySegment allocate(Arena arena, long bytes) {
    NativeLibrary.load();
    if (bytes > Long.MAX_VALUE - ALIGNMENT_BYTES) {
      throw noRoom(bytes);
    }
    long room = Math.max(bytes, 1) + ALIGNMENT_BYTES;
    MemorySegment block;
    try {
      block = (MemorySegment) C.MALLOC.invokeExact(room);
    } catch (Throwable t) {
      throw new AssertionError(t);
    }
    if (block.equals(MemorySegment.NULL)) {
      throw noRoom(bytes);
    }
    MemorySegment owned = block.reinterpret(room, arena, LazyMemory::free);
    long skipped = -owned.address() & (ALIGNMENT_BYTES - 1);
    return owned.asSlice(skipped, bytes);
  }

  private static OutOfMemoryError noRoom(long bytes) {
    return new OutOfMemoryError("Cannot allocate " + bytes + " bytes of native memory");
  }

  private static void free(MemorySegment block) {
    try {
      C.FREE.invokeExact(block);
    } catch (Throwable t) {
      throw new AssertionError(t);
    }
  }
}
