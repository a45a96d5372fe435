package io.github.attention4j.internal;

import io.github.attention4j.bindings.a4j_h;
import java.io.IOException;
import java.lang.foreign.Arena;
import java.lang.foreign.MemorySegment;
import java.net.URISyntaxException;
import java.net.URL;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import java.util.Locale;

/**
 * Loads {@code liba4j.so} and a BLAS, once for each class loader.
 *
 * <p>{@code liba4j.so} is, in this order,
 *
 * <ol>
 *   <li>the file that {@code -Da4j.library} names, and no other;
 *   <li>the file that stands in a directory of the class path, used in place;
 *   <li>the one in the jar, unpacked with its companions into the {@linkplain NativeCache cache}
 *       below the directory that {@code -Da4j.cache} names, and no other, or else below {@code
 *       $XDG_CACHE_HOME} or {@code ~/.cache}, or else below the directory for temporary files.
 * </ol>
 *
 * <p>The BLAS is what {@code -Da4j.blas} names (a path, or a name that the system's linker knows),
 * and no other; else {@code libopenblas.so.0} beside {@code liba4j.so}; else the one in the jar.
 *
 * <p>A failure names every place that was tried and the cause of each.
 */
public final class NativeLibrary {
  private static final String LIBRARY = "liba4j.so";

  private static Loaded loaded;

  /** What was loaded, and from where; and whether projections of many rows take the BLAS. */
  public record Loaded(Path library, Blas blas, boolean multipliesByBlas) {}

  private NativeLibrary() {}

  /**
   * Loads what is not loaded yet, and takes the kernels that {@code -Da4j.isa} names.
   *
   * <p>Thread-safe. A failed attempt leaves nothing behind that would change the next one.
   *
   * @return what was loaded
   * @throws IllegalStateException if a library cannot be found or loaded, or if it is of another
   *     version than these classes
   * @throws IllegalArgumentException if {@code a4j.isa} names no kernels of this library, or {@code
   *     a4j.product} no product
   */
  public static synchronized Loaded load() {
    if (loaded == null) {
      Path library = loadLibrary();
      requireVersion(library);
      Blas blas = loadBlas(library);
      requireSuccess("a4j_use_blas", a4j_h.a4j_use_blas(blas.sgemm()));
      String isa = property("a4j.isa");
      if (isa != null) {
        selectIsa("a4j.isa", isa);
      }
      loaded = new Loaded(library, blas, multipliesByBlas());
    }
    return loaded;
  }

  /** Whoever names a BLAS wants it to be used. */
  private static boolean multipliesByBlas() {
    String product = property("a4j.product");
    if (product == null) {
      return property("a4j.blas") != null;
    }
    if (!product.equals("own") && !product.equals("blas")) {
      throw new IllegalArgumentException(
          "a4j.product must be one of [own, blas]: a4j.product=" + product);
    }
    return product.equals("blas");
  }

  private static Path loadLibrary() {
    String installed = property("a4j.library");
    if (installed != null) {
      Path path = Path.of(installed).toAbsolutePath();
      try {
        return systemLoad(path);
      } catch (IOException | UnsatisfiedLinkError failure) {
        throw cannotLoad(List.of(new Attempt("-Da4j.library=" + installed, failure)));
      }
    }

    Path exploded = explodedBundle();
    if (exploded != null && property("a4j.cache") == null) {
      try {
        return systemLoad(exploded.resolve(LIBRARY));
      } catch (IOException | UnsatisfiedLinkError failure) {
        throw cannotLoad(List.of(new Attempt(exploded.toString(), failure)));
      }
    }

    List<Attempt> attempts = new ArrayList<>();
    for (Path directory : NativeCache.directories()) {
      try {
        return systemLoad(NativeCache.unpack(bundle(), directory).resolve(LIBRARY));
      } catch (IOException | UnsatisfiedLinkError failure) {
        attempts.add(new Attempt(directory.toString(), failure));
      }
    }
    throw cannotLoad(attempts);
  }

  /** Loads by {@link System#load}, so that the generated class's own lookup finds the symbols. */
  @SuppressWarnings("restricted")
  private static Path systemLoad(Path library) throws IOException {
    if (!Files.isRegularFile(library)) {
      throw new IOException("there is no file " + library);
    }
    try {
      System.load(library.toString());
      return library;
    } catch (IllegalCallerException refused) {
      throw nativeAccessRefused(refused);
    } catch (UnsatisfiedLinkError failure) {
      // The JVM gives a path to one class loader only. A copy is another library to it and to the
      // linker; once loaded its name is not needed, and removing it leaves nothing to clean up.
      if (!String.valueOf(failure.getMessage()).contains("already loaded in another classloader")) {
        throw failure;
      }
      Path copy = Files.createTempFile(library.getParent(), "liba4j-", ".so");
      try {
        Files.write(copy, Files.readAllBytes(library));
        System.load(copy.toString());
        return library;
      } finally {
        Files.delete(copy);
      }
    }
  }

  private static void requireVersion(Path library) {
    int got = a4j_h.a4j_abi_version();
    int wanted = a4j_h.A4J_ABI_VERSION();
    if (got != wanted) {
      throw new IllegalStateException(
          "the native library and the Java classes of attention4j must come from one build:"
              + " ABI of the classes="
              + wanted
              + ", ABI of "
              + library
              + "="
              + got);
    }
  }

  private static Blas loadBlas(Path library) {
    String named = property("a4j.blas");
    if (named != null) {
      try {
        return Blas.open(named, List.of());
      } catch (IOException failure) {
        throw cannotLoadBlas(List.of(new Attempt("-Da4j.blas=" + named, failure)));
      }
    }
    List<Attempt> attempts = new ArrayList<>();
    Path beside = library.getParent();
    try {
      return openBlas(beside);
    } catch (IOException failure) {
      attempts.add(new Attempt(beside.toString(), failure));
    }
    if (property("a4j.library") != null) {
      for (Path directory : NativeCache.directories()) {
        try {
          return openBlas(NativeCache.unpack(bundle(), directory));
        } catch (IOException failure) {
          attempts.add(new Attempt(directory.toString(), failure));
        }
      }
    }
    throw cannotLoadBlas(attempts);
  }

  /** Opens OpenBLAS in a directory, after those of its run-time libraries that stand there too. */
  private static Blas openBlas(Path directory) throws IOException {
    List<String> companions = new ArrayList<>();
    for (String name : List.of("libgcc_s.so.1", "libquadmath.so.0", "libgfortran.so.5")) {
      if (Files.isRegularFile(directory.resolve(name))) {
        companions.add(directory.resolve(name).toString());
      }
    }
    return Blas.open(directory.resolve("libopenblas.so.0").toString(), companions);
  }

  // ---- What a library that is loaded says of itself ----

  /** The version of the library. */
  public static String version() {
    return a4j_h.a4j_version().getString(0);
  }

  /** How many threads the team has so far, a caller's own included. */
  public static int teamThreads() {
    return a4j_h.a4j_team_threads();
  }

  /** Why the team has no more threads, or null. */
  public static String teamFailure() {
    MemorySegment reason = a4j_h.a4j_team_failure();
    return reason.address() == 0 ? null : reason.getString(0);
  }

  /** The name of the kernels in use. */
  public static String isa() {
    return a4j_h.a4j_isa_active().getString(0);
  }

  /**
   * Takes other kernels.
   *
   * @param parameter what the caller calls the name, for messages
   * @throws IllegalArgumentException if this machine has no such kernels
   */
  public static void selectIsa(String parameter, String name) {
    int status;
    try (Arena arena = Arena.ofConfined()) {
      status = a4j_h.a4j_isa_select(arena.allocateFrom(name));
    }
    if (status == a4j_h.A4J_ISA_UNKNOWN()) {
      throw new IllegalArgumentException(
          parameter + " must be one of " + isas(false) + ": " + parameter + "=" + name);
    }
    if (status == a4j_h.A4J_ISA_UNAVAILABLE()) {
      throw new IllegalArgumentException(
          "%s must be one that this machine can run, %s: %s=%s"
              .formatted(parameter, isas(true), parameter, name));
    }
    requireSuccess("a4j_isa_select", status);
  }

  /** The names of the kernels that were compiled, or of those that this machine can run. */
  public static List<String> isas(boolean available) {
    List<String> names = new ArrayList<>();
    for (int i = 0; i < a4j_h.a4j_isa_count(); i++) {
      if (!available || a4j_h.a4j_isa_available(i) != 0) {
        names.add(a4j_h.a4j_isa_name(i).getString(0));
      }
    }
    return names;
  }

  private static void requireSuccess(String function, int status) {
    if (status != a4j_h.A4J_OK()) {
      MemorySegment message = a4j_h.a4j_status_message(status);
      throw new IllegalStateException(function + " failed: " + message.getString(0));
    }
  }

  // ---- Where the libraries are ----

  /** The directory below {@code META-INF/native} for this machine. */
  static String platform() {
    String os = System.getProperty("os.name").toLowerCase(Locale.ROOT);
    String arch = System.getProperty("os.arch");
    return (os.startsWith("mac") ? "macosx" : os)
        + "-"
        + switch (arch) {
          case "amd64", "x86_64" -> "x86_64";
          case "aarch64" -> "arm64";
          default -> arch;
        };
  }

  private static String bundle() {
    return "/META-INF/native/" + platform() + "/";
  }

  /** The bundle's directory where classes lie in a directory, not in a jar; else null. */
  private static Path explodedBundle() {
    URL index = NativeLibrary.class.getResource(bundle() + NativeCache.INDEX);
    if (index == null) {
      throw new IllegalStateException(
          "attention4j has no native library for this machine: there is no "
              + bundle()
              + NativeCache.INDEX
              + " beside its classes, os.name="
              + System.getProperty("os.name")
              + ", os.arch="
              + System.getProperty("os.arch")
              + ". Build it here, or name one with -Da4j.library=/path/"
              + LIBRARY);
    }
    try {
      return index.getProtocol().equals("file") ? Path.of(index.toURI()).getParent() : null;
    } catch (URISyntaxException impossible) {
      throw new IllegalStateException(index.toString(), impossible);
    }
  }

  /** The value of a system property; null where it is absent or blank. */
  static String property(String name) {
    String value = System.getProperty(name);
    return value == null || value.isBlank() ? null : value;
  }

  // ---- What went wrong ----

  private record Attempt(String place, Throwable failure) {}

  static IllegalStateException nativeAccessRefused(IllegalCallerException refused) {
    Module module = NativeLibrary.class.getModule();
    return new IllegalStateException(
        "attention4j calls native code, which this JVM does not allow: start it with"
            + " --enable-native-access="
            + (module.isNamed() ? module.getName() : "ALL-UNNAMED"),
        refused);
  }

  private static IllegalStateException cannotLoad(List<Attempt> attempts) {
    return cannot("attention4j cannot load its native library " + LIBRARY, attempts);
  }

  private static IllegalStateException cannotLoadBlas(List<Attempt> attempts) {
    return cannot(
        "attention4j cannot load a BLAS (name one with -Da4j.blas=/path/libopenblas.so.0)",
        attempts);
  }

  private static IllegalStateException cannot(String what, List<Attempt> attempts) {
    StringBuilder message = new StringBuilder(what).append("; tried:");
    for (Attempt attempt : attempts) {
      String cause = reason(attempt.failure());
      message.append("\n  ").append(attempt.place()).append(": ").append(cause);
      message.append(advice(cause));
    }
    IllegalStateException failure = new IllegalStateException(message.toString());
    failure.initCause(attempts.getFirst().failure());
    for (Attempt attempt : attempts.subList(1, attempts.size())) {
      failure.addSuppressed(attempt.failure());
    }
    return failure;
  }

  /** The message, with the type where the message alone is only a path, as in IOExceptions. */
  private static String reason(Throwable failure) {
    return failure instanceof java.nio.file.FileSystemException
        ? failure.getClass().getSimpleName() + ": " + failure.getMessage()
        : String.valueOf(failure.getMessage());
  }

  private static String advice(String cause) {
    if (cause.contains("failed to map segment")) {
      return " (is the directory mounted noexec? name another with -Da4j.cache=DIRECTORY)";
    }
    if (cause.contains("GLIBC_")) {
      return " (the bundled OpenBLAS needs glibc 2.34 or later; name another with -Da4j.blas)";
    }
    if (cause.contains("wrong ELF class")
        || cause.contains("invalid ELF header")
        || cause.contains("Possible cause:")
        || cause.contains("cannot open shared object file: No such file")) {
      return " (built for another platform, damaged, or without a library that it needs; this is "
          + platform()
          + ")";
    }
    return "";
  }
}
