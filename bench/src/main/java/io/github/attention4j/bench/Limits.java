package io.github.attention4j.bench;

import static java.lang.foreign.ValueLayout.ADDRESS;
import static java.lang.foreign.ValueLayout.JAVA_DOUBLE;
import static java.lang.foreign.ValueLayout.JAVA_INT;
import static java.lang.foreign.ValueLayout.JAVA_LONG;

import java.lang.foreign.Arena;
import java.lang.foreign.FunctionDescriptor;
import java.lang.foreign.Linker;
import java.lang.foreign.MemorySegment;
import java.lang.foreign.SymbolLookup;
import java.lang.invoke.MethodHandle;
import java.nio.file.Path;

/**
 * What the machine can do at best: {@code native/limits.c}, called from the JVM that runs the
 * contenders, so that both feel the same clock and the same neighbours.
 */
final class Limits {
  private static final SymbolLookup LIBRARY =
      SymbolLookup.libraryLookup(
          Path.of(System.getProperty("limits.library", "target/liblimits.so")).toAbsolutePath(),
          Arena.global());

  private static final MethodHandle ISA = handle("limits_isa", FunctionDescriptor.of(ADDRESS));
  private static final MethodHandle FMA =
      handle("limits_fma", FunctionDescriptor.of(JAVA_DOUBLE, JAVA_INT, JAVA_LONG));
  private static final MethodHandle DOT =
      handle("limits_dot", FunctionDescriptor.of(JAVA_DOUBLE, JAVA_INT, JAVA_LONG));
  private static final MethodHandle SUM =
      handle(
          "limits_sum",
          FunctionDescriptor.of(
              JAVA_LONG, JAVA_INT, ADDRESS, JAVA_LONG, ADDRESS, JAVA_LONG, ADDRESS));
  private static final MethodHandle HANDOVER =
      handle("limits_handover", FunctionDescriptor.of(JAVA_LONG));
  private static final MethodHandle PIN =
      handle("limits_pin", FunctionDescriptor.of(JAVA_INT, JAVA_INT));
  private static final MethodHandle NOTHING = handle("limits_nothing", FunctionDescriptor.ofVoid());
  private static final MethodHandle CALL =
      handle(
          "limits_call",
          FunctionDescriptor.of(
              JAVA_DOUBLE,
              ADDRESS,
              ADDRESS,
              JAVA_INT,
              JAVA_LONG,
              JAVA_LONG,
              JAVA_LONG,
              JAVA_LONG,
              ADDRESS,
              ADDRESS,
              ADDRESS,
              ADDRESS,
              JAVA_LONG));
  private static final MethodHandle TEAM =
      handle("limits_team", FunctionDescriptor.of(JAVA_LONG, JAVA_INT, JAVA_LONG));
  private static final MethodHandle REGION =
      handle("limits_region", FunctionDescriptor.of(JAVA_LONG, JAVA_INT, JAVA_LONG));

  private Limits() {}

  private static MethodHandle handle(String name, FunctionDescriptor type) {
    return Linker.nativeLinker().downcallHandle(LIBRARY.findOrThrow(name), type);
  }

  /** The instruction set that the limits use. */
  static String isa() {
    try {
      return ((MemorySegment) ISA.invokeExact()).reinterpret(16).getString(0);
    } catch (Throwable e) {
      throw unexpected(e);
    }
  }

  /** GFLOP/s of multiply-adds that never leave the registers, measured over some milliseconds. */
  static double fmaGflops(int threads) {
    try {
      return (double) FMA.invokeExact(threads, 600_000L);
    } catch (Throwable e) {
      throw unexpected(e);
    }
  }

  /** The same of dot products of pairs of bfloat16; 0 if the CPU has none. */
  static double dotGflops(int threads) {
    try {
      return (double) DOT.invokeExact(threads, 600_000L);
    } catch (Throwable e) {
      throw unexpected(e);
    }
  }

  /** Nanoseconds to read two buffers of floats once with a vectorised sum. */
  static double sumNanos(int threads, MemorySegment first, MemorySegment second) {
    try (Arena arena = Arena.ofConfined()) {
      MemorySegment sum = arena.allocate(JAVA_DOUBLE);
      return (long)
          SUM.invokeExact(threads, first, first.byteSize() / 4, second, second.byteSize() / 4, sum);
    } catch (Throwable e) {
      throw unexpected(e);
    }
  }

  /** Nanoseconds in which a core reads 2 MiB that another has just written. */
  static double handoverNanos() {
    try {
      return (long) HANDOVER.invokeExact();
    } catch (Throwable e) {
      throw unexpected(e);
    }
  }

  /** Keeps the calling thread on one of its cores; false if the system refuses. */
  static boolean pin(int core) {
    try {
      return (int) PIN.invokeExact(core) == 0;
    } catch (Throwable e) {
      throw unexpected(e);
    }
  }

  /** Restores the processors of the calling thread. */
  static void unpin() {
    pin(-1);
  }

  /** A downcall to a function that does nothing. */
  static void nothing() {
    try {
      NOTHING.invokeExact();
    } catch (Throwable e) {
      throw unexpected(e);
    }
  }

  /** Nanoseconds a call of {@code a4j_attention} from a loop in C, on one batch row. */
  static double attentionNanos(
      int threads,
      long heads,
      long lenQ,
      long lenK,
      long dim,
      MemorySegment q,
      MemorySegment k,
      MemorySegment v,
      MemorySegment out,
      long calls) {
    // The library under test is already loaded, by the class loader of this class.
    SymbolLookup attention4j = SymbolLookup.loaderLookup();
    MemorySegment attention = attention4j.findOrThrow("a4j_attention");
    MemorySegment workspaceBytes = attention4j.findOrThrow("a4j_attention_workspace_bytes");
    try {
      double nanos =
          (double)
              CALL.invokeExact(
                  attention, workspaceBytes, threads, heads, lenQ, lenK, dim, q, k, v, out, calls);
      if (nanos < 0) {
        throw new IllegalStateException("a4j_attention returned status " + -nanos);
      }
      return nanos;
    } catch (Throwable e) {
      throw unexpected(e);
    }
  }

  /** Nanoseconds to hand empty work to the library's team, after a pause. */
  static double teamNanos(int threads, long pauseNanos) {
    try {
      return (long) TEAM.invokeExact(threads, pauseNanos);
    } catch (Throwable e) {
      throw unexpected(e);
    }
  }

  /** Nanoseconds to open and close an empty OpenMP region, after a pause. */
  static double regionNanos(int threads, long pauseNanos) {
    try {
      return (long) REGION.invokeExact(threads, pauseNanos);
    } catch (Throwable e) {
      throw unexpected(e);
    }
  }

  private static RuntimeException unexpected(Throwable e) {
    return e instanceof RuntimeException known ? known : new IllegalStateException(e);
  }
}
