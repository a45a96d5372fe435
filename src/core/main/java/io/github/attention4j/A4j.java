package io.github.attention4j;

import io.github.attention4j.internal.Blas;
import io.github.attention4j.internal.NativeLibrary;
import java.util.ArrayList;
import java.util.List;
import java.util.Objects;

/**
 * The installation: version, kernels, threads, BLAS.
 *
 * <p>System properties, read when the native library is loaded by the first call that needs it:
 *
 * <ul>
 *   <li>{@code a4j.threads}: see {@link #threads(int)}
 *   <li>{@code a4j.isa}: see {@link #isa(String)}
 *   <li>{@code a4j.team}: {@code own}, the library's own threads, or {@code openmp}, the threads of
 *       the system's {@code libgomp.so.1}, for processes that already have an OpenMP pool. libgomp
 *       ends the process if the system refuses it a thread.
 *   <li>{@code a4j.product}: the matrix product for projections of many rows by float32 weights:
 *       {@code own}, the library's kernel, or {@code blas}, the OpenBLAS of the artifact {@code
 *       attention4j-openblas} or the CBLAS that {@code a4j.blas} names. The default is {@code own},
 *       or {@code blas} if {@code a4j.blas} is set.
 *   <li>{@code a4j.blas}: path of a CBLAS with 32-bit integers
 *   <li>{@code a4j.library}: path of an installed {@code liba4j.so}, used instead of the jar's
 *   <li>{@code a4j.cache}: directory into which the jar's libraries are unpacked, instead of {@code
 *       attention4j} below {@code $XDG_CACHE_HOME} or {@code ~/.cache}
 * </ul>
 *
 * <p>Safe for any number of threads. If the native library cannot be loaded, the message of the
 * {@link AttentionException} names every attempt and its cause.
 */
public final class A4j {
  /** 0 until it is first read or set. */
  private static volatile int threads;

  private A4j() {}

  /**
   * Returns the version of the native library, which is also that of this artifact.
   *
   * @return for example {@code 0.2.0}
   */
  public static String version() {
    NativeLibrary.load();
    return NativeLibrary.version();
  }

  /**
   * Returns the maximum number of threads of one call.
   *
   * @return at least 1
   * @throws IllegalArgumentException if {@code -Da4j.threads} is not a number of at least 1
   */
  public static int threads() {
    int most = threads;
    return most != 0 ? most : firstThreads();
  }

  /** Not in a static initialiser, where a wrong property would throw an {@link Error}. */
  private static synchronized int firstThreads() {
    if (threads == 0) {
      threads = threadsByDefault();
    }
    return threads;
  }

  /**
   * Sets the maximum number of threads of one call, including the caller's own; small problems use
   * fewer. Results have the same bits for every number. The default is {@code -Da4j.threads}, or
   * else {@link Runtime#availableProcessors()}, which respects the CPU limit of a container.
   * Operations that were built with their own number use that.
   *
   * @param most at least 1; applies to all later calls of the process
   * @throws IllegalArgumentException if {@code most < 1}
   */
  public static synchronized void threads(int most) {
    if (most < 1) {
      throw new IllegalArgumentException("threads must be at least 1: threads=" + most);
    }
    threads = most;
  }

  /**
   * Returns the name of the kernels in use. The default is the best that CPU and operating system
   * support.
   *
   * @return one of {@link #availableIsas()}
   */
  public static String isa() {
    NativeLibrary.load();
    return NativeLibrary.isa();
  }

  /**
   * Selects other kernels, for the whole process; calls that are running finish with the old ones.
   * Kernels differ in the last bits of their results.
   *
   * @param name one of {@link #availableIsas()}
   * @throws IllegalArgumentException if this machine cannot run such kernels; the message lists
   *     those that it can
   */
  public static void isa(String name) {
    Objects.requireNonNull(name, "name");
    NativeLibrary.load();
    NativeLibrary.selectIsa("isa", name);
  }

  /**
   * Returns the kernels that this machine can run.
   *
   * @return names, best first, at least one
   */
  public static List<String> availableIsas() {
    NativeLibrary.load();
    return NativeLibrary.isas(true);
  }

  /**
   * Loads the native library, and the BLAS if {@code -Da4j.product=blas} chose one, so that the
   * first call finds them loaded. A service calls this when it starts; a container image that does
   * so while it is built has the unpacked libraries in its cache.
   *
   * @throws AttentionException if one of them cannot be loaded
   */
  public static void load() {
    if (NativeLibrary.load().multipliesByBlas()) {
      NativeLibrary.blas();
    }
  }

  /**
   * Limits how many calls of all threads compute at once; the others wait, in the order in which
   * they came. A layer is one call. Each call uses at least its own thread, and takes memory only
   * when it may compute, so this bounds the processors and the memory that a service with many
   * request threads uses. An interrupt does not end the wait, and stays set; a virtual thread that
   * waits does not occupy its carrier.
   *
   * @param most at least 1, or 0 for any number, as at first; for calls that begin later
   * @throws IllegalArgumentException if {@code most < 0}
   */
  public static void concurrentCalls(int most) {
    if (most < 0) {
      throw new IllegalArgumentException("concurrentCalls must not be negative: most=" + most);
    }
    NativeLibrary.limitCalls(most);
  }

  /**
   * Returns how calls went so far.
   *
   * @return counters since the native library was loaded
   */
  public static Health health() {
    NativeLibrary.load();
    long shared = NativeLibrary.sharedCalls(); // counted after the calls, so read before them
    long busy = NativeLibrary.busyCalls();
    return new Health(
        NativeLibrary.calls(),
        shared,
        busy,
        NativeLibrary.waitingCalls(),
        NativeLibrary.teamThreads(),
        NativeLibrary.teamFailure(),
        NativeLibrary.workspaceBytes());
  }

  /**
   * Returns a description of what runs here, for people: version, kernels in use and available,
   * threads, their team, the BLAS if one was chosen, path of the library.
   *
   * @return several lines, without a line end after the last
   */
  public static String describe() {
    NativeLibrary.Loaded loaded = NativeLibrary.load();
    List<String> lines = new ArrayList<>();
    lines.add("attention4j " + version());
    lines.add("isa         " + isa() + " (available: " + String.join(", ", availableIsas()) + ")");
    lines.add(
        "threads     " + threads() + " (in the team so far: " + NativeLibrary.teamThreads() + ")");
    String failure = NativeLibrary.teamFailure();
    if (failure != null) {
      lines.add("            no more of them: " + failure);
    }
    lines.add("team        " + (loaded.openMp() == null ? "own" : "openmp"));
    if (loaded.openMp() != null) {
      lines.add("            " + loaded.openMp());
    }
    lines.add("product     " + (loaded.multipliesByBlas() ? "blas" : "own"));
    if (loaded.multipliesByBlas()) {
      describeBlas(lines);
    }
    lines.add("library     " + loaded.library());
    lines.add("java        " + Runtime.version());
    return String.join("\n", lines);
  }

  /** One that cannot be loaded is described, not thrown: everything else runs without it. */
  private static void describeBlas(List<String> lines) {
    try {
      Blas blas = NativeLibrary.blas();
      lines.add("blas        " + blas.name() + (blas.core() == null ? "" : ", " + blas.core()));
      lines.add("            " + blas.path());
    } catch (AttentionException failure) {
      lines.add("blas        " + failure.getMessage());
    }
  }

  private static int threadsByDefault() {
    String text = System.getProperty("a4j.threads");
    if (text == null || text.isBlank()) {
      return Runtime.getRuntime().availableProcessors();
    }
    int number;
    try {
      number = Integer.parseInt(text.strip());
    } catch (NumberFormatException notANumber) {
      number = 0;
    }
    if (number < 1) {
      throw new IllegalArgumentException(
          "a4j.threads must be a whole number from 1 to 2147483647: a4j.threads=" + text);
    }
    return number;
  }
}
