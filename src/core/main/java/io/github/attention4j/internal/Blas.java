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
import java.util.List;

/**
 * A CBLAS with 32-bit integers that computes on the calling thread alone.
 *
 * @param sgemm the address of {@code cblas_sgemm}
 * @param name what the library calls itself, with its version, or its path where it does not say
 * @param core the kernels that it chose for this CPU, or null where it does not say
 * @param path where it was found
 */
public record Blas(MemorySegment sgemm, String name, String core, String path) {
  /**
   * OpenBLAS starts its workers when it is loaded, and raises SIGINT where the system has no more
   * threads to give; told so beforehand, it starts none.
   */
  private static final String THREADS_VARIABLE = "OPENBLAS_NUM_THREADS";

  /** The functions by which OpenBLAS, MKL and BLIS (AOCL) are told to use one thread. */
  private static final List<String> THREADS_FUNCTIONS =
      List.of("openblas_set_num_threads", "MKL_Set_Num_Threads", "bli_thread_set_num_threads");

  /** {@code RTLD_NOW}, local: nothing else in the process sees these symbols. */
  private static final int NOW = 2;

  /**
   * Opens a library; it stays open for the life of the process.
   *
   * @param path a path, or a name that the system's linker finds
   * @param companions paths of libraries to open before it, so that it finds them loaded
   * @throws IOException if the system's linker refuses one, or if it is no such CBLAS
   */
  static Blas open(String path, List<String> companions) throws IOException {
    try {
      return C.withVariable(
          THREADS_VARIABLE,
          "1",
          () -> {
            for (String companion : companions) {
              C.open(companion);
            }
            return describe(C.open(path), path);
          });
    } catch (IllegalCallerException refused) {
      throw NativeLibrary.nativeAccessRefused(refused);
    }
  }

  private static Blas describe(MemorySegment library, String path) throws IOException {
    MemorySegment sgemm = C.symbol(library, "cblas_sgemm");
    if (sgemm.address() == 0) {
      throw new IOException(path + " is not a CBLAS: it has no cblas_sgemm");
    }
    for (String function : THREADS_FUNCTIONS) {
      C.callWithInt(C.symbol(library, function), 1);
    }
    String configuration = C.callForString(C.symbol(library, "openblas_get_config"));
    if (configuration == null) {
      String version = C.callForString(C.symbol(library, "bli_info_get_version_str"));
      return new Blas(sgemm, version == null ? path : "BLIS " + version, null, path);
    }
    if (configuration.contains("USE64BITINT")) {
      throw new IOException(path + " must be built for 32-bit integers: " + configuration);
    }
    String core = C.callForString(C.symbol(library, "openblas_get_corename"));
    String[] words = configuration.split(" ");
    String name = words.length < 2 ? configuration : words[0] + " " + words[1];
    return new Blas(sgemm, name, core, path);
  }

  /** The few functions of the C library that this takes. */
  @SuppressWarnings("restricted")
  private static final class C {
    private static final Linker LINKER = Linker.nativeLinker();
    private static final MemoryLayout STRING =
        ADDRESS.withTargetLayout(
            java.lang.foreign.MemoryLayout.sequenceLayout(Long.MAX_VALUE, ValueLayout.JAVA_BYTE));

    private static final MethodHandle DLOPEN =
        function("dlopen", FunctionDescriptor.of(ADDRESS, ADDRESS, JAVA_INT));
    private static final MethodHandle DLSYM =
        function("dlsym", FunctionDescriptor.of(ADDRESS, ADDRESS, ADDRESS));
    private static final MethodHandle DLERROR = function("dlerror", FunctionDescriptor.of(STRING));
    private static final MethodHandle GETENV =
        function("getenv", FunctionDescriptor.of(STRING, ADDRESS));
    private static final MethodHandle SETENV =
        function("setenv", FunctionDescriptor.of(JAVA_INT, ADDRESS, ADDRESS, JAVA_INT));
    private static final MethodHandle UNSETENV =
        function("unsetenv", FunctionDescriptor.of(JAVA_INT, ADDRESS));

    interface Action<T> {
      T run() throws IOException;
    }

    private static MethodHandle function(String name, FunctionDescriptor descriptor) {
      return LINKER.downcallHandle(LINKER.defaultLookup().findOrThrow(name), descriptor);
    }

    static MemorySegment open(String path) throws IOException {
      try (Arena arena = Arena.ofConfined()) {
        MemorySegment library = (MemorySegment) DLOPEN.invokeExact(arena.allocateFrom(path), NOW);
        if (library.address() == 0) {
          throw new IOException(((MemorySegment) DLERROR.invokeExact()).getString(0));
        }
        return library;
      } catch (IOException | RuntimeException | Error failure) {
        throw failure;
      } catch (Throwable impossible) {
        throw new AssertionError(impossible);
      }
    }

    static MemorySegment symbol(MemorySegment library, String name) {
      try (Arena arena = Arena.ofConfined()) {
        return (MemorySegment) DLSYM.invokeExact(library, arena.allocateFrom(name));
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
        LINKER.downcallHandle(function, FunctionDescriptor.ofVoid(JAVA_INT)).invokeExact(argument);
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
        MethodHandle handle = LINKER.downcallHandle(function, FunctionDescriptor.of(STRING));
        return ((MemorySegment) handle.invokeExact()).getString(0).strip();
      } catch (RuntimeException | Error failure) {
        throw failure;
      } catch (Throwable impossible) {
        throw new AssertionError(impossible);
      }
    }

    /** Runs an action while the process has a variable in its environment. */
    static <T> T withVariable(String name, String value, Action<T> action) throws IOException {
      try (Arena arena = Arena.ofConfined()) {
        MemorySegment key = arena.allocateFrom(name);
        MemorySegment old = (MemorySegment) GETENV.invokeExact(key);
        // setenv may reuse the memory of the old value: keep a copy.
        MemorySegment before = old.address() == 0 ? null : arena.allocateFrom(old.getString(0));
        int ignored = (int) SETENV.invokeExact(key, arena.allocateFrom(value), 1);
        try {
          return action.run();
        } finally {
          ignored =
              before == null
                  ? (int) UNSETENV.invokeExact(key)
                  : (int) SETENV.invokeExact(key, before, 1);
        }
      } catch (IOException | RuntimeException | Error failure) {
        throw failure;
      } catch (Throwable impossible) {
        throw new AssertionError(impossible);
      }
    }
  }
}
