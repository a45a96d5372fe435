package io.github.attention4j.internal;

import static java.lang.foreign.ValueLayout.ADDRESS;
import static java.lang.foreign.ValueLayout.JAVA_INT;

import java.io.IOException;
import java.lang.foreign.Arena;
import java.lang.foreign.FunctionDescriptor;
import java.lang.foreign.Linker;
import java.lang.foreign.MemoryLayout;
import java.lang.foreign.MemorySegment;
import java.lang.foreign.ValueLayout;
import java.lang.invoke.MethodHandle;

/**
 * Opens libraries with {@code dlopen} rather than through the JVM: their symbols stay private, the
 * same path can be opened for several class loaders, and they stay open until the process ends.
 */
@SuppressWarnings("restricted")
final class DynamicLinker {
  /**
   * {@code RTLD_NOW}, without {@code RTLD_GLOBAL}: nothing else in the process sees the symbols.
   */
  private static final int NOW = 2;

  private DynamicLinker() {}

  /** In a class of its own, which is initialised after native access was checked. */
  private static final class C {
    static final Linker LINKER = Linker.nativeLinker();
    static final MemoryLayout STRING =
        ADDRESS.withTargetLayout(
            MemoryLayout.sequenceLayout(Long.MAX_VALUE, ValueLayout.JAVA_BYTE));

    static final MethodHandle DLOPEN =
        function("dlopen", FunctionDescriptor.of(ADDRESS, ADDRESS, JAVA_INT));
    static final MethodHandle DLSYM =
        function("dlsym", FunctionDescriptor.of(ADDRESS, ADDRESS, ADDRESS));
    static final MethodHandle DLERROR = function("dlerror", FunctionDescriptor.of(STRING));
    static final MethodHandle GETENV = function("getenv", FunctionDescriptor.of(STRING, ADDRESS));
    static final MethodHandle SETENV =
        function("setenv", FunctionDescriptor.of(JAVA_INT, ADDRESS, ADDRESS, JAVA_INT));
    static final MethodHandle UNSETENV =
        function("unsetenv", FunctionDescriptor.of(JAVA_INT, ADDRESS));

    private C() {}

    static final FunctionDescriptor VOID_OF_INT = FunctionDescriptor.ofVoid(JAVA_INT);
    static final FunctionDescriptor STRING_OF_NOTHING = FunctionDescriptor.of(STRING);

    private static MethodHandle function(String name, FunctionDescriptor descriptor) {
      return LINKER.downcallHandle(LINKER.defaultLookup().findOrThrow(name), descriptor);
    }
  }

  interface Action<T> {
    T run() throws IOException;
  }

  /**
   * Opens a library.
   *
   * @param path a path, or a name that the system's linker finds
   * @throws IOException with the linker's message if it fails
   */
  static MemorySegment open(String path) throws IOException {
    try (Arena arena = Arena.ofConfined()) {
      MemorySegment library = (MemorySegment) C.DLOPEN.invokeExact(arena.allocateFrom(path), NOW);
      if (library.address() == 0) {
        throw new IOException(((MemorySegment) C.DLERROR.invokeExact()).getString(0));
      }
      return library;
    } catch (IOException | RuntimeException | Error failure) {
      throw failure;
    } catch (Throwable impossible) {
      throw new AssertionError(impossible);
    }
  }

  /** The address of a symbol, 0 if the library has none of this name. */
  static MemorySegment symbol(MemorySegment library, String name) {
    try (Arena arena = Arena.ofConfined()) {
      return (MemorySegment) C.DLSYM.invokeExact(library, arena.allocateFrom(name));
    } catch (RuntimeException | Error failure) {
      throw failure;
    } catch (Throwable impossible) {
      throw new AssertionError(impossible);
    }
  }

  /** Calls {@code void function(int)}, if there is one. */
  static void callWithInt(MemorySegment function, int argument) {
    if (function.address() == 0) {
      return;
    }
    try {
      C.LINKER.downcallHandle(function, C.VOID_OF_INT).invokeExact(argument);
    } catch (RuntimeException | Error failure) {
      throw failure;
    } catch (Throwable impossible) {
      throw new AssertionError(impossible);
    }
  }

  /** Calls {@code const char *function(void)}; null if there is none. */
  static String callForString(MemorySegment function) {
    if (function.address() == 0) {
      return null;
    }
    try {
      MethodHandle handle = C.LINKER.downcallHandle(function, C.STRING_OF_NOTHING);
      return ((MemorySegment) handle.invokeExact()).getString(0).strip();
    } catch (RuntimeException | Error failure) {
      throw failure;
    } catch (Throwable impossible) {
      throw new AssertionError(impossible);
    }
  }

  /** Runs an action while the process has a variable in its environment, and restores it. */
  static <T> T withVariable(String name, String value, Action<T> action) throws IOException {
    try (Arena arena = Arena.ofConfined()) {
      MemorySegment key = arena.allocateFrom(name);
      MemorySegment old = (MemorySegment) C.GETENV.invokeExact(key);
      // setenv may reuse the memory of the old value: keep a copy.
      MemorySegment before = old.address() == 0 ? null : arena.allocateFrom(old.getString(0));
      int ignored = (int) C.SETENV.invokeExact(key, arena.allocateFrom(value), 1);
      try {
        return action.run();
      } finally {
        ignored =
            before == null
                ? (int) C.UNSETENV.invokeExact(key)
                : (int) C.SETENV.invokeExact(key, before, 1);
      }
    } catch (IOException | RuntimeException | Error failure) {
      throw failure;
    } catch (Throwable impossible) {
      throw new AssertionError(impossible);
    }
  }
}
