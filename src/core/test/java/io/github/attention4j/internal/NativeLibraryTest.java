package io.github.attention4j.internal;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertNotEquals;
import static org.junit.jupiter.api.Assertions.assertNotSame;
import static org.junit.jupiter.api.Assertions.assertTrue;
import static org.junit.jupiter.api.Assumptions.assumeTrue;

import io.github.attention4j.A4j;
import io.github.attention4j.testing.ChildJvm;
import java.io.IOException;
import java.lang.foreign.Arena;
import java.lang.foreign.FunctionDescriptor;
import java.lang.foreign.Linker;
import java.lang.foreign.MemorySegment;
import java.lang.foreign.ValueLayout;
import java.lang.invoke.MethodHandle;
import java.net.URL;
import java.net.URLClassLoader;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.Comparator;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import java.util.concurrent.TimeUnit;
import java.util.stream.Stream;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;

/** Loading, in JVMs of their own where the outcome of an attempt stays with the process. */
class NativeLibraryTest {
  private static final int E_MACHINE = 18;
  private static final byte EM_MIPS = 8;

  @TempDir Path temporary;

  // ---- The cache ----

  @Test
  void shouldUnpackOnceAndUseItAgain() throws Exception {
    Path cache = temporary.resolve("deep/cache");
    ChildJvm first = ChildJvm.info("-Da4j.cache=" + cache).requireSilentSuccess();
    assertTrue(first.out().contains("library     " + cache), first.out());
    List<Object> before = identities(cache);
    ChildJvm second = ChildJvm.info("-Da4j.cache=" + cache).requireSilentSuccess();
    assertEquals(first, second);
    assertEquals(before, identities(cache));
    assertTrue(
        before.stream().noneMatch(file -> file.toString().contains(".tmp")), before.toString());
  }

  @Test
  void shouldUnpackAgainWhatWasDamaged() throws Exception {
    Path cache = temporary.resolve("cache");
    ChildJvm.info("-Da4j.cache=" + cache).requireSilentSuccess();
    Path library = find(cache, "liba4j.so");
    Path blas = find(cache, "libopenblas.so.0");
    byte[] whole = Files.readAllBytes(library);
    byte[] damaged = whole.clone();
    damaged[damaged.length / 2] ^= 1;
    Files.write(library, damaged);
    Files.write(blas, new byte[100]);

    ChildJvm.info("-Da4j.cache=" + cache).requireSilentSuccess();
    assertEquals(-1, Arrays.mismatch(whole, Files.readAllBytes(library)));
    assertNotEquals(100, Files.size(blas));
  }

  @Test
  void shouldTakeACopyOfTheCacheWithOtherTimesAndNoWritePermission() throws Exception {
    Path cache = temporary.resolve("cache");
    ChildJvm.info("-Da4j.cache=" + cache).requireSilentSuccess();
    Path copy = temporary.resolve("copy");
    Path target = copy.resolve(find(cache, "liba4j.so").getParent().getFileName());
    Files.createDirectories(target);
    for (Path file : files(cache)) {
      Files.copy(file, target.resolve(file.getFileName()));
    }
    List<Object> before = identities(copy);
    ChildJvm.info("-Da4j.cache=" + copy).requireSilentSuccess();
    assertEquals(before, identities(copy));
  }

  @Test
  void shouldServeSeveralProcessesThatStartAtOnce() throws Exception {
    Path cache = temporary.resolve("cache");
    List<ChildJvm.Running> children = new ArrayList<>();
    for (int i = 0; i < 6; i++) {
      children.add(ChildJvm.startInfo(Map.of(), "-Da4j.cache=" + cache));
    }
    for (ChildJvm.Running child : children) {
      child.await().requireSilentSuccess();
    }
    assertEquals(5, files(cache).size(), files(cache).toString());
  }

  @Test
  void shouldRefuseADirectoryThatOthersCanWriteTo() throws Exception {
    Path cache = Files.createDirectory(temporary.resolve("open"));
    Files.setAttribute(cache, "unix:mode", 0777);
    ChildJvm child = ChildJvm.info("-Da4j.cache=" + cache);
    assertFails(child, cache + ": " + cache + " must not be writable by other users");
  }

  @Test
  void shouldNameTheDirectoryThatCannotBeWritten() throws Exception {
    Path file = Files.createFile(temporary.resolve("file"));
    ChildJvm child = ChildJvm.info("-Da4j.cache=" + file.resolve("cache"));
    assertFails(child, "attention4j cannot load its native library liba4j.so; tried:\n");
    assertFails(child, "  " + file.resolve("cache") + ": FileSystemException: ");
    assertFails(child, "Not a directory");
  }

  @Test
  void shouldExplainNoexec() throws Exception {
    Optional<Path> directory = writableNoexecDirectory();
    assumeTrue(directory.isPresent(), "no file system is mounted noexec and writable");
    Path cache = Files.createTempDirectory(directory.get(), "attention4j");
    try {
      ChildJvm child = ChildJvm.info("-Da4j.cache=" + cache);
      assertFails(child, "  " + cache + ": ");
      assertFails(
          child, "is the directory mounted noexec? name another with -Da4j.cache=DIRECTORY");
    } finally {
      delete(cache);
    }
  }

  // ---- A library that is named ----

  @Test
  void shouldUseTheNamedLibraryWithTheBlasBesideIt() throws Exception {
    Path library = NativeLibrary.load().library();
    ChildJvm child = ChildJvm.info("-Da4j.library=" + library).requireSilentSuccess();
    assertTrue(child.out().contains("library     " + library), child.out());
  }

  @Test
  void shouldTakeTheBlasOfTheJarForANamedLibraryThatStandsAlone() throws Exception {
    Path library = temporary.resolve("liba4j.so");
    Files.copy(NativeLibrary.load().library(), library);
    Path cache = temporary.resolve("cache");
    ChildJvm child =
        ChildJvm.info("-Da4j.library=" + library, "-Da4j.cache=" + cache).requireSilentSuccess();
    assertTrue(child.out().contains("library     " + library), child.out());
    assertTrue(child.out().contains("            " + cache), child.out());
  }

  @Test
  void shouldSayThatANamedLibraryDoesNotExist() throws Exception {
    ChildJvm child = ChildJvm.info("-Da4j.library=/nowhere/liba4j.so");
    assertFails(
        child,
        "attention4j cannot load its native library liba4j.so; tried:\n"
            + "  -Da4j.library=/nowhere/liba4j.so: there is no file /nowhere/liba4j.so");
  }

  @Test
  void shouldSayThatALibraryIsForAnotherArchitecture() throws Exception {
    byte[] bytes = Files.readAllBytes(NativeLibrary.load().library());
    bytes[E_MACHINE] = EM_MIPS;
    bytes[E_MACHINE + 1] = 0;
    Path foreign = Files.write(temporary.resolve("liba4j.so"), bytes);
    ChildJvm child = ChildJvm.info("-Da4j.library=" + foreign);
    assertFails(child, "  -Da4j.library=" + foreign + ": ");
    assertFails(child, "this is " + NativeLibrary.platform());
  }

  @Test
  void shouldNameTheLibraryThatALibraryNeeds() throws Exception {
    byte[] bytes = Files.readAllBytes(NativeLibrary.load().library());
    replace(bytes, "libm.so.6", "libq.so.6");
    Path library = Files.write(temporary.resolve("liba4j.so"), bytes);
    ChildJvm child = ChildJvm.info("-Da4j.library=" + library);
    assertFails(child, "libq.so.6: cannot open shared object file: No such file or directory");
    assertFails(child, "without a library that it needs");
  }

  @Test
  void shouldRefuseALibraryOfAnotherAbi() throws Exception {
    Path source =
        Files.writeString(
            temporary.resolve("other.c"), "int a4j_abi_version(void) { return 4711; }\n");
    Path library = temporary.resolve("liba4j.so");
    Process compiler =
        new ProcessBuilder("cc", "-shared", "-fPIC", "-o", library.toString(), source.toString())
            .inheritIO()
            .start();
    assertTrue(compiler.waitFor(1, TimeUnit.MINUTES));
    assertEquals(0, compiler.exitValue());
    ChildJvm child = ChildJvm.info("-Da4j.library=" + library);
    assertFails(
        child,
        "the native library and the Java classes of attention4j must come from one build: ABI of"
            + " the classes=");
    assertFails(child, ", ABI of " + library + "=4711");
  }

  // ---- The BLAS ----

  @Test
  void shouldTakeTheNamedBlas() throws Exception {
    Path blas = NativeLibrary.load().library().resolveSibling("libopenblas.so.0");
    Path directory = blas.getParent();
    ChildJvm child =
        ChildJvm.startInfo(
                Map.of("LD_LIBRARY_PATH", directory.toString()), "-Da4j.blas=libopenblas.so.0")
            .await()
            .requireSilentSuccess();
    assertTrue(child.out().contains("blas        OpenBLAS 0.3."), child.out());
    assertTrue(
        child.out().contains("\n            libopenblas.so.0\nproduct     blas\n"), child.out());
  }

  @Test
  void shouldMultiplyByTheOwnKernelUnlessABlasIsWanted() throws Exception {
    String own = ChildJvm.info().out();
    assertTrue(own.contains("\nproduct     own\n"), own);
    String blas = ChildJvm.info("-Da4j.product=blas").out();
    assertTrue(blas.contains("\nproduct     blas\n"), blas);
    assertFails(
        ChildJvm.info("-Da4j.product=mkl"),
        "a4j.product must be one of [own, blas]: a4j.product=mkl");
  }

  @Test
  void shouldRefuseABlasWithoutSgemm() throws Exception {
    ChildJvm child = ChildJvm.info("-Da4j.blas=libm.so.6");
    assertFails(
        child,
        "attention4j cannot load a BLAS (name one with -Da4j.blas=/path/libopenblas.so.0); tried:\n"
            + "  -Da4j.blas=libm.so.6: libm.so.6 is not a CBLAS: it has no cblas_sgemm");
  }

  @Test
  void shouldSayThatANamedBlasDoesNotExist() throws Exception {
    ChildJvm child = ChildJvm.info("-Da4j.blas=/nowhere/libblas.so");
    assertFails(child, "  -Da4j.blas=/nowhere/libblas.so: /nowhere/libblas.so: cannot open");
  }

  @Test
  void shouldLoadOpenBlasWithoutThreadsOfItsOwnAndRestoreTheEnvironment() throws Exception {
    ChildJvm child =
        ChildJvm.start(
                Map.of("OPENBLAS_NUM_THREADS", "7"),
                Stream.concat(
                        ChildJvm.CLASS_PATH.stream(), Stream.of(LoadedProcess.class.getName()))
                    .toList())
            .await()
            .requireSilentSuccess();
    assertEquals("threads that loading started: 0\nOPENBLAS_NUM_THREADS=7\n", child.out());
  }

  // ---- Kernels and class loaders ----

  @Test
  void shouldTakeTheKernelsThatAPropertyNames() throws Exception {
    for (String isa : A4j.availableIsas()) {
      ChildJvm child = ChildJvm.info("-Da4j.isa=" + isa).requireSilentSuccess();
      assertTrue(child.out().contains("isa         " + isa + " (available: "), child.out());
    }
    ChildJvm child = ChildJvm.info("-Da4j.isa=mmx");
    assertFails(child, "a4j.isa must be one of [");
    assertFails(child, "]: a4j.isa=mmx");
  }

  @Test
  void shouldLoadAgainForASecondClassLoader() throws Exception {
    String here = A4j.describe();
    URL classes = A4j.class.getProtectionDomain().getCodeSource().getLocation();
    try (URLClassLoader loader =
        new URLClassLoader(new URL[] {classes}, ClassLoader.getPlatformClassLoader())) {
      Class<?> second = loader.loadClass(A4j.class.getName());
      assertNotSame(A4j.class, second);
      String there = (String) second.getMethod("describe").invoke(null);
      assertEquals(
          here.lines().filter(line -> !line.startsWith("threads")).toList(),
          there.lines().filter(line -> !line.startsWith("threads")).toList());
    }
    Path directory = NativeLibrary.load().library().getParent();
    assertTrue(
        files(directory).stream().noneMatch(file -> file.toString().contains("liba4j-")),
        "the copy was left behind");
  }

  @Test
  void shouldSayWhichOptionAllowsNativeAccess() throws Exception {
    ChildJvm child =
        ChildJvm.start(
                Map.of(),
                List.of(
                    "-cp",
                    System.getProperty("java.class.path"),
                    "--illegal-native-access=deny",
                    "io.github.attention4j.cli.Main",
                    "info"))
            .await();
    assertFails(
        child,
        "attention4j calls native code, which this JVM does not allow: start it with"
            + " --enable-native-access=ALL-UNNAMED");
  }

  /** Prints what loading did to its process. */
  static final class LoadedProcess {
    public static void main(String[] arguments) throws Throwable {
      long before = threadsOfThisName();
      NativeLibrary.load();
      System.out.println("threads that loading started: " + (threadsOfThisName() - before));

      Linker linker = Linker.nativeLinker();
      MethodHandle getenv =
          linker.downcallHandle(
              linker.defaultLookup().findOrThrow("getenv"),
              FunctionDescriptor.of(ValueLayout.ADDRESS, ValueLayout.ADDRESS));
      String variable = "OPENBLAS_NUM_THREADS";
      MemorySegment value =
          (MemorySegment) getenv.invokeExact(Arena.global().allocateFrom(variable));
      System.out.println(variable + "=" + value.reinterpret(10).getString(0));
    }

    /** A native thread has the name of the thread that started it; those of the JVM have others. */
    private static long threadsOfThisName() throws IOException {
      String name = Files.readString(Path.of("/proc/thread-self/comm"));
      try (Stream<Path> threads = Files.list(Path.of("/proc/self/task"))) {
        return threads.filter(thread -> name(thread).equals(name)).count();
      }
    }

    private static String name(Path thread) {
      try {
        return Files.readString(thread.resolve("comm"));
      } catch (IOException ended) {
        return "";
      }
    }
  }

  private static void assertFails(ChildJvm child, String message) {
    assertEquals(1, child.exit(), child.toString());
    assertEquals("", child.out());
    assertTrue(child.err().contains(message), child.err());
    assertFalse(child.err().contains("\tat "), child.err());
  }

  private static List<Path> files(Path directory) throws IOException {
    try (Stream<Path> files = Files.walk(directory)) {
      return files.filter(Files::isRegularFile).sorted().toList();
    }
  }

  private static Path find(Path directory, String name) throws IOException {
    return files(directory).stream().filter(file -> file.endsWith(name)).findFirst().orElseThrow();
  }

  /** Names and inodes: equal where no file was written again. */
  private static List<Object> identities(Path directory) throws IOException {
    List<Object> identities = new ArrayList<>();
    for (Path file : files(directory)) {
      identities.add(file + " " + Files.getAttribute(file, "unix:ino"));
    }
    return identities;
  }

  private static void delete(Path directory) throws IOException {
    try (Stream<Path> files = Files.walk(directory)) {
      for (Path file : files.sorted(Comparator.reverseOrder()).toList()) {
        Files.delete(file);
      }
    }
  }

  private static Optional<Path> writableNoexecDirectory() throws IOException {
    return Files.readAllLines(Path.of("/proc/mounts")).stream()
        .map(line -> line.split(" "))
        .filter(words -> List.of(words[3].split(",")).contains("noexec"))
        .filter(words -> words[2].equals("tmpfs"))
        .map(words -> Path.of(words[1]))
        .filter(directory -> Files.isWritable(directory) && freeBytes(directory) > 100 << 20)
        .findFirst();
  }

  private static long freeBytes(Path directory) {
    return directory.toFile().getUsableSpace();
  }

  private static void replace(byte[] bytes, String from, String to) {
    byte[] old = from.getBytes(StandardCharsets.US_ASCII);
    for (int i = 0; i + old.length <= bytes.length; i++) {
      if (Arrays.equals(bytes, i, i + old.length, old, 0, old.length)) {
        System.arraycopy(to.getBytes(StandardCharsets.US_ASCII), 0, bytes, i, old.length);
        return;
      }
    }
    throw new AssertionError("the library does not name " + from);
  }
}
