package io.github.attention4j.internal;

import io.github.attention4j.AttentionException;
import io.github.attention4j.bindings.a4j_h;
import java.io.IOException;
import java.io.UncheckedIOException;
import java.lang.foreign.Arena;
import java.lang.foreign.MemorySegment;
import java.lang.foreign.SymbolLookup;
import java.net.URISyntaxException;
import java.net.URL;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import java.util.Locale;
import java.util.Optional;
import java.util.ServiceConfigurationError;
import java.util.ServiceLoader;
import java.util.function.Function;
import java.util.stream.Stream;

/**
 * Loads {@code liba4j.so} once per class loader, and the optional libraries that were chosen:
 * another team of threads, a BLAS.
 *
 * <p>{@code liba4j.so} is searched for in this order:
 *
 * <ol>
 *   <li>the file that {@code -Da4j.library} names; if it is set, nothing else is tried;
 *   <li>a file in a directory of the class path, used in place;
 *   <li>the file in the jar, unpacked into the {@linkplain NativeCache cache}. That is below the
 *       directory that {@code -Da4j.cache} names, if it is set; otherwise below {@code
 *       $XDG_CACHE_HOME} or {@code ~/.cache}, or if that fails, below the directory for temporary
 *       files.
 * </ol>
 *
 * <p>The OpenMP team is {@code liba4j-openmp.so} in the same directory. It is only loaded with
 * {@code -Da4j.team=openmp}.
 *
 * <p>The BLAS is the one that {@code -Da4j.blas} names (a path, or a name that the system's linker
 * finds), if it is set, and otherwise the one in the artifact {@code attention4j-openblas}. It is
 * loaded when the first projection needs it, so a missing or broken BLAS affects nothing else.
 *
 * <p>Every failure is an {@link AttentionException} that names each place that was tried, and why
 * it failed. A failed attempt does not affect the next one.
 */
public final class NativeLibrary {
  private static final String LIBRARY = "liba4j.so";
  private static final String OPENMP = "liba4j-openmp.so";

  /** The symbols that show that the two libraries are ours. */
  private static final String VERSION_SYMBOL = "a4j_abi_version";

  private static final String OPENMP_SYMBOL = "a4j_openmp_run";

  private static volatile Loaded loaded;
  private static volatile Blas blas;
  private static volatile String loggedTeamFailure;

  /**
   * What was loaded, and from where.
   *
   * @param library the file
   * @param openMp the library of the OpenMP team, or null for the library's own team
   * @param multipliesByBlas whether projections of many rows are to be multiplied by the BLAS
   */
  public record Loaded(Path library, Path openMp, boolean multipliesByBlas) {}

  private NativeLibrary() {}

  /**
   * Loads the library if it is not loaded yet, and selects the team and the kernels that the
   * properties name.
   *
   * <p>Thread-safe.
   *
   * @return what was loaded
   * @throws AttentionException if the library or the team cannot be loaded
   * @throws IllegalArgumentException if {@code a4j.isa}, {@code a4j.team} or {@code a4j.product}
   *     has a value that does not exist
   */
  public static Loaded load() {
    Loaded now = loaded;
    return now != null ? now : loadFirst();
  }

  private static synchronized Loaded loadFirst() {
    if (loaded == null) {
      boolean openMp = isChosen("a4j.team", "own", "openmp", false);
      boolean multipliesByBlas = multipliesByBlas();
      Path library;
      Path team;
      try {
        library = loadLibrary();
        requireVersion(library);
        team = openMp ? loadOpenMp(library) : null;
      } finally {
        NativeCache.deleteOwnDirectory();
      }
      String isa = property("a4j.isa");
      if (isa != null) {
        selectIsa("a4j.isa", isa);
      }
      loaded = new Loaded(library, team, multipliesByBlas);
    }
    return loaded;
  }

  /** Naming a BLAS also chooses it. */
  private static boolean multipliesByBlas() {
    return isChosen("a4j.product", "own", "blas", property("a4j.blas") != null);
  }

  /** Whether a property has its second value; the last argument is the default. */
  private static boolean isChosen(String name, String first, String second, boolean otherwise) {
    String value = property(name);
    if (value == null) {
      return otherwise;
    }
    if (!value.equals(first) && !value.equals(second)) {
      throw new IllegalArgumentException(
          name + " must be one of [" + first + ", " + second + "]: " + name + "=" + value);
    }
    return value.equals(second);
  }

  // ---- The library ----

  private static Path loadLibrary() {
    String installed = property("a4j.library");
    List<Attempt> attempts = new ArrayList<>();
    if (installed != null) {
      try {
        return systemLoad(Path.of(installed).toAbsolutePath());
      } catch (IOException | RuntimeException | UnsatisfiedLinkError failure) {
        attempts.add(new Attempt("-Da4j.library=" + installed, requireAccess(failure)));
        throw cannotLoad(attempts);
      }
    }

    Path exploded = exploded(requireBundle());
    if (exploded != null && property("a4j.cache") == null) {
      try {
        return systemLoad(exploded.resolve(LIBRARY));
      } catch (IOException | RuntimeException | UnsatisfiedLinkError failure) {
        attempts.add(new Attempt(exploded.toString(), requireAccess(failure)));
        throw cannotLoad(attempts);
      }
    }

    for (Path directory : cacheDirectories(attempts)) {
      try {
        Path unpacked = NativeCache.unpack(NativeLibrary::bundled, directory);
        Path library = systemLoad(unpacked.resolve(LIBRARY));
        logFallback(directory, attempts);
        return library;
      } catch (IOException | RuntimeException | UnsatisfiedLinkError failure) {
        attempts.add(new Attempt(directory.toString(), requireAccess(failure)));
      }
    }
    throw cannotLoad(attempts);
  }

  /** Those to try; names that cannot be directories here are failed attempts already. */
  private static List<Path> cacheDirectories(List<Attempt> attempts) {
    return NativeCache.directories((name, failure) -> attempts.add(new Attempt(name, failure)));
  }

  /** Uses {@link System#load}, so that the lookup of the generated class finds the symbols. */
  @SuppressWarnings("restricted")
  private static Path systemLoad(Path library) throws IOException {
    if (!Files.isRegularFile(library)) {
      throw new IOException("there is no file " + library);
    }
    try {
      System.load(library.toString());
    } catch (UnsatisfiedLinkError failure) {
      if (!String.valueOf(failure.getMessage()).contains("already loaded in another classloader")) {
        throw failure;
      }
      loadCopy(library);
    }
    return library;
  }

  /**
   * The JVM lets only one class loader load a path. A copy is a different library for the JVM and
   * the linker. It can be deleted once it is loaded, which leaves nothing to clean up.
   */
  @SuppressWarnings("restricted")
  private static void loadCopy(Path library) throws IOException {
    IOException failures = new IOException("no directory could take a copy of " + library);
    for (Path directory : NativeCache.directoriesForCopies()) {
      try {
        Path copy = NativeCache.copy(library, directory);
        try {
          System.load(copy.toString());
          return;
        } finally {
          Files.deleteIfExists(copy);
        }
      } catch (IOException | UnsatisfiedLinkError failure) {
        String message = "no copy of the library for another class loader in " + directory;
        IOException next = new IOException(message + ": " + reason(failure), failure);
        next.addSuppressed(failures);
        failures = next;
      }
    }
    throw failures;
  }

  /** Runs before the bindings are used: their initialisation fails for good without a symbol. */
  private static void requireVersion(Path library) {
    if (SymbolLookup.loaderLookup().find(VERSION_SYMBOL).isEmpty()) {
      throw new AttentionException(
          0, library + " is not the native library of attention4j: it has no " + VERSION_SYMBOL);
    }
    int got = a4j_h.a4j_abi_version();
    int wanted = a4j_h.A4J_ABI_VERSION();
    if (got != wanted) {
      throw new AttentionException(
          0,
          "the native library and the Java classes of attention4j must come from one build:"
              + " ABI of the classes="
              + wanted
              + ", ABI of "
              + library
              + "="
              + got);
    }
  }

  // ---- The OpenMP team ----

  private static Path loadOpenMp(Path library) {
    Path path = library.resolveSibling(OPENMP);
    try {
      if (!Files.isRegularFile(path)) {
        throw new IOException("there is no file " + path);
      }
      MemorySegment run = DynamicLinker.symbol(DynamicLinker.open(path.toString()), OPENMP_SYMBOL);
      if (run.address() == 0) {
        throw new IOException(path + " has no " + OPENMP_SYMBOL);
      }
      requireSuccess("a4j_use_team", a4j_h.a4j_use_team(run));
      return path;
    } catch (IOException failure) {
      String cause = reason(failure);
      throw new AttentionException(
          0,
          "attention4j cannot use OpenMP as its team of threads (-Da4j.team=openmp): "
              + cause
              + (cause.contains("libgomp")
                  ? ". Install the OpenMP run-time library (Debian, Ubuntu: libgomp1; Fedora,"
                      + " Alpine: libgomp) or leave out -Da4j.team"
                  : ""),
          failure);
    }
  }

  // ---- The BLAS ----

  /**
   * Loads the BLAS that was chosen, if it is not loaded yet.
   *
   * @throws AttentionException if there is none, or if it cannot be loaded
   */
  public static Blas blas() {
    Blas now = blas;
    return now != null ? now : loadBlasFirst();
  }

  private static synchronized Blas loadBlasFirst() {
    load();
    if (blas == null) {
      Blas opened = loadBlas();
      requireSuccess("a4j_use_blas", a4j_h.a4j_use_blas(opened.sgemm()));
      blas = opened;
    }
    return blas;
  }

  private static Blas loadBlas() {
    String named = property("a4j.blas");
    if (named != null) {
      try {
        return Blas.open(named, List.of());
      } catch (IOException failure) {
        throw cannotLoadBlas(List.of(new Attempt("-Da4j.blas=" + named, failure)));
      }
    }
    BlasBundle artifact = blasArtifact();
    Function<String, URL> bundle = name -> artifact.find(platform() + "/" + name);
    Path exploded = exploded(bundle.apply(NativeCache.INDEX));
    List<Attempt> attempts = new ArrayList<>();
    if (exploded != null && property("a4j.cache") == null) {
      try {
        return openBlas(bundle, exploded);
      } catch (IOException failure) {
        attempts.add(new Attempt(exploded.toString(), failure));
      }
    } else {
      for (Path directory : cacheDirectories(attempts)) {
        try {
          Blas opened = openBlas(bundle, NativeCache.unpack(bundle, directory));
          logFallback(directory, attempts);
          return opened;
        } catch (IOException failure) {
          attempts.add(new Attempt(directory.toString(), failure));
        } finally {
          NativeCache.deleteOwnDirectory();
        }
      }
    }
    throw cannotLoadBlas(attempts);
  }

  private static BlasBundle blasArtifact() {
    ClassLoader loader = NativeLibrary.class.getClassLoader();
    Optional<BlasBundle> found;
    try {
      found = ServiceLoader.load(BlasBundle.class, loader).findFirst();
    } catch (ServiceConfigurationError failure) {
      throw cannotLoadBlas(List.of(new Attempt("attention4j-openblas", failure)));
    }
    return found.orElseThrow(
        () ->
            new AttentionException(
                0,
                "attention4j was told to multiply by a BLAS, and there is none: put the"
                    + " artifact io.github.attention4j:attention4j-openblas on the class path"
                    + " or module path, or name a CBLAS with"
                    + " -Da4j.blas=/path/libopenblas.so.0"));
  }

  /** The last file of the index is the BLAS; it needs those before it. */
  private static Blas openBlas(Function<String, URL> bundle, Path directory) throws IOException {
    List<String> paths =
        NativeCache.names(bundle).stream().map(name -> directory.resolve(name).toString()).toList();
    return Blas.open(paths.getLast(), paths.subList(0, paths.size() - 1));
  }

  // ---- What the loaded library reports ----

  /** The version of the library. */
  public static String version() {
    return a4j_h.a4j_version().getString(0);
  }

  /** How many threads the team has so far, including the caller's own. */
  public static int teamThreads() {
    return a4j_h.a4j_team_threads();
  }

  /** Why the team has no more threads, or null. */
  public static String teamFailure() {
    MemorySegment reason = a4j_h.a4j_team_failure();
    return reason.address() == 0 ? null : reason.getString(0);
  }

  /** How many calls the team computed. */
  public static long sharedCalls() {
    return a4j_h.a4j_team_shared_calls();
  }

  /** How many calls found the team busy and used only their own thread. */
  public static long busyCalls() {
    return a4j_h.a4j_team_busy_calls();
  }

  /** How many calls have started. */
  public static long calls() {
    return Call.count();
  }

  /** How many calls are waiting for others to end. */
  public static int waitingCalls() {
    return CallLimit.waiting();
  }

  /** Limits how many calls may compute at the same time; 0 for no limit. */
  public static void limitCalls(int most) {
    CallLimit.set(most);
  }

  /** Bytes of direct memory that are kept for later calls. */
  public static long workspaceBytes() {
    return Workspaces.bytesKept() + Scratch.bytesKept();
  }

  /** The name of the kernels in use. */
  public static String isa() {
    return a4j_h.a4j_isa_active().getString(0);
  }

  /**
   * Selects the kernels.
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
      throw new AttentionException(status, function + " failed: " + message.getString(0));
    }
  }

  /** Every fallback is logged here; most processes never need the logger, and never load it. */
  static void warn(String message, Object... words) {
    System.getLogger("io.github.attention4j").log(System.Logger.Level.WARNING, message, words);
  }

  /** Logs why an earlier place than this one was not used. */
  private static void logFallback(Path directory, List<Attempt> attempts) {
    for (Attempt attempt : attempts) {
      warn(
          "{0} is used for native libraries, because {1} cannot be: {2}",
          directory, attempt.place(), reason(attempt.failure()));
    }
  }

  /** Logs once that the team is smaller than a call wanted; checked from time to time. */
  static void logTeamFailure() {
    String failure = teamFailure();
    if (failure != null && !failure.equals(loggedTeamFailure)) {
      loggedTeamFailure = failure;
      warn("The team of threads does not grow beyond {0}: {1}", teamThreads(), failure);
    }
  }

  // ---- Where the libraries are ----

  /** The folder below {@code META-INF/native} for this machine, such as {@code linux-x86_64}. */
  static String platform() {
    return Platform.NAME;
  }

  /**
   * The folder for a machine.
   *
   * @param os the property {@code os.name}
   * @param arch the property {@code os.arch}
   * @param maps the lines of the process's {@code /proc/self/maps}, if it has one; musl is
   *     recognised by its loader, which is mapped into every process that uses it
   */
  static String platform(String os, String arch, Stream<String> maps) {
    String name = os.toLowerCase(Locale.ROOT);
    String family =
        name.startsWith("mac") ? "macos" : name.startsWith("windows") ? "windows" : name;
    String cpu = arch.equals("amd64") ? "x86_64" : arch;
    boolean musl = maps.anyMatch(line -> line.contains("/ld-musl-" + cpu));
    return family + "-" + cpu + (musl ? "-musl" : "");
  }

  private static final class Platform {
    static final String NAME = name();

    private Platform() {}

    private static String name() {
      String os = System.getProperty("os.name");
      String arch = System.getProperty("os.arch");
      try (Stream<String> maps = Files.lines(Path.of("/proc/self/maps"))) {
        return platform(os, arch, maps);
      } catch (IOException | UncheckedIOException noProc) {
        return platform(os, arch, Stream.empty());
      }
    }
  }

  private static URL bundled(String name) {
    return NativeLibrary.class.getResource("/META-INF/native/" + platform() + "/" + name);
  }

  private static URL requireBundle() {
    URL index = bundled(NativeCache.INDEX);
    if (index == null) {
      throw new AttentionException(
          0,
          "attention4j has no native library for "
              + platform()
              + ": os.name="
              + System.getProperty("os.name")
              + ", os.arch="
              + System.getProperty("os.arch")
              + ". Build it here, or name one with -Da4j.library=/path/"
              + LIBRARY);
    }
    return index;
  }

  /** The directory of a bundle that is not in a jar; otherwise null. */
  private static Path exploded(URL index) {
    try {
      return index != null && index.getProtocol().equals("file")
          ? Path.of(index.toURI()).getParent()
          : null;
    } catch (URISyntaxException impossible) {
      throw new IllegalStateException(index.toString(), impossible);
    }
  }

  /** The value of a system property; null if it is absent or blank. */
  static String property(String name) {
    String value = System.getProperty(name);
    return value == null || value.isBlank() ? null : value;
  }

  // ---- What went wrong ----

  private record Attempt(String place, Throwable failure) {}

  /** Throws the message about native access if that was the cause; else returns the failure. */
  private static Throwable requireAccess(Throwable failure) {
    if (failure instanceof IllegalCallerException) {
      Module module = NativeLibrary.class.getModule();
      throw new AttentionException(
          0,
          "attention4j calls native code, which this JVM does not allow: start it with"
              + " --enable-native-access="
              + (module.isNamed() ? module.getName() : "ALL-UNNAMED"),
          failure);
    }
    return failure;
  }

  private static AttentionException cannotLoad(List<Attempt> attempts) {
    return cannot("attention4j cannot load its native library " + LIBRARY, attempts);
  }

  private static AttentionException cannotLoadBlas(List<Attempt> attempts) {
    return cannot(
        "attention4j cannot load a BLAS (name one with -Da4j.blas=/path/libopenblas.so.0)",
        attempts);
  }

  private static AttentionException cannot(String what, List<Attempt> attempts) {
    StringBuilder message = new StringBuilder(what).append("; tried:");
    for (Attempt attempt : attempts) {
      String cause = reason(attempt.failure());
      message.append("\n  ").append(attempt.place()).append(": ").append(cause);
      message.append(advice(cause));
    }
    AttentionException failure =
        new AttentionException(0, message.toString(), attempts.getFirst().failure());
    for (Attempt attempt : attempts.subList(1, attempts.size())) {
      failure.addSuppressed(attempt.failure());
    }
    return failure;
  }

  /** The message; prefixed by the type if it is only a path, as in some IOExceptions. */
  private static String reason(Throwable failure) {
    return failure instanceof java.nio.file.FileSystemException
        ? failure.getClass().getSimpleName() + ": " + failure.getMessage()
        : String.valueOf(failure.getMessage());
  }

  private static String advice(String cause) {
    if (cause.contains("failed to map segment")) {
      return " (is the directory mounted noexec, or the address space limited by ulimit -v? name"
          + " another directory with -Da4j.cache=DIRECTORY)";
    }
    if (cause.contains("GLIBC_")) {
      return " (it needs a newer glibc than this system has)";
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
