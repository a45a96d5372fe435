package io.github.attention4j.internal;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertNotEquals;
import static org.junit.jupiter.api.Assertions.assertNotSame;
import static org.junit.jupiter.api.Assertions.assertTrue;
import static org.junit.jupiter.api.Assumptions.assumeTrue;

import io.github.attention4j.A4j;
import io.github.attention4j.Attention;
import io.github.attention4j.AttentionException;
import io.github.attention4j.DType;
import io.github.attention4j.Differential;
import io.github.attention4j.Dropout;
import io.github.attention4j.KvCache;
import io.github.attention4j.KvPagePool;
import io.github.attention4j.LinearAttention;
import io.github.attention4j.Mask;
import io.github.attention4j.Score;
import io.github.attention4j.Tensor;
import io.github.attention4j.layer.Linear;
import io.github.attention4j.layer.Quantization;
import io.github.attention4j.layer.QuantizedWeights;
import io.github.attention4j.layer.RmsNorm;
import io.github.attention4j.layer.RotaryEmbedding;
import io.github.attention4j.layer.RotaryTable;
import io.github.attention4j.testing.ChildJvm;
import java.io.IOException;
import java.lang.foreign.Arena;
import java.net.URL;
import java.net.URLClassLoader;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.nio.file.attribute.FileTime;
import java.time.Duration;
import java.time.Instant;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.Comparator;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import java.util.UUID;
import java.util.concurrent.TimeUnit;
import java.util.regex.Pattern;
import java.util.spi.ToolProvider;
import java.util.stream.Stream;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.ValueSource;

/** Loading, in JVMs of their own since the outcome of an attempt stays with the process. */
class NativeLibraryTest {
  private static final int E_MACHINE = 18;
  private static final byte EM_MIPS = 8;
  private static final int NOBODY = 64901;

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
    Path team = find(cache, "liba4j-openmp.so");
    byte[] whole = Files.readAllBytes(library);
    byte[] damaged = whole.clone();
    damaged[damaged.length / 2] ^= 1;
    Files.write(library, damaged);
    Files.write(team, new byte[100]);

    ChildJvm.info("-Da4j.cache=" + cache).requireSilentSuccess();
    assertEquals(-1, Arrays.mismatch(whole, Files.readAllBytes(library)));
    assertNotEquals(100, Files.size(team));
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
    assertEquals(2, files(cache).size(), files(cache).toString());
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

  @Test
  void shouldRemoveWhatKilledProcessesHaveLeft() throws Exception {
    Path cache = temporary.resolve("cache");
    ChildJvm.info("-Da4j.cache=" + cache).requireSilentSuccess();
    Path directory = find(cache, "liba4j.so").getParent();
    Path unfinished = Files.createFile(directory.resolve(unfinished()));
    Path copy = Files.createFile(directory.resolve("attention4j-copy-1234.so"));
    Path fresh = Files.createFile(directory.resolve(unfinished()));
    Path foreign = Files.createFile(directory.resolve("download.tmp"));
    FileTime old = FileTime.from(Instant.now().minus(Duration.ofHours(2)));
    for (Path file : List.of(unfinished, copy, foreign)) {
      Files.setLastModifiedTime(file, old);
    }
    ChildJvm.info("-Da4j.cache=" + cache).requireSilentSuccess();
    assertFalse(Files.exists(unfinished), "an old unfinished file was left");
    assertFalse(Files.exists(copy), "an old copy was left");
    assertTrue(Files.exists(fresh), "a file that another process may be writing was removed");
    assertTrue(Files.exists(foreign), "a file that is not ours was removed");
  }

  private static String unfinished() {
    return "liba4j.so." + UUID.randomUUID() + ".tmp";
  }

  @Test
  void shouldNameWhatCannotBeADirectoryAndTryTheNext() {
    try {
      System.setProperty("a4j.cache", "a\0b");
      List<String> impossible = new ArrayList<>();
      assertEquals(List.of(), NativeCache.directories((name, cause) -> impossible.add(name)));
      assertEquals(List.of("-Da4j.cache=a\0b"), impossible);
      assertEquals(
          List.of(Path.of(System.getProperty("java.io.tmpdir"))),
          NativeCache.directoriesForCopies().stream().map(Path::getParent).toList());
    } finally {
      System.clearProperty("a4j.cache");
    }
  }

  @Test
  void shouldNameTheTemporaryDirectoryByTheIdOfTheUser() throws Exception {
    Object id = Files.getAttribute(Path.of("/proc/self"), "unix:uid");
    ChildJvm child =
        ChildJvm.startInfo(
                Map.of("XDG_CACHE_HOME", "relative"),
                "-Duser.home=?",
                "-Duser.name=?",
                "-Djava.io.tmpdir=" + temporary,
                "-cp",
                jarOfClasses())
            .await()
            .requireSilentSuccess();
    assertTrue(
        child.out().contains("library     " + temporary.resolve("attention4j-" + id) + "/"),
        child.out());
  }

  @ParameterizedTest
  @ValueSource(strings = {"file", "link", "directory"})
  void shouldUseADirectoryOfItsOwnIfOthersHaveTakenTheTemporaryOne(String kind) throws Exception {
    Path name =
        temporary.resolve("attention4j-" + Files.getAttribute(Path.of("/proc/self"), "unix:uid"));
    switch (kind) {
      case "file" -> Files.createFile(name);
      case "link" ->
          Files.createSymbolicLink(name, Files.createDirectory(temporary.resolve("own")));
      default -> {
        assumeTrue(isRoot(), "only root can give a directory to another user");
        Files.setAttribute(Files.createDirectory(name), "unix:uid", NOBODY);
      }
    }
    for (String team : List.of("own", "openmp")) {
      ChildJvm child =
          ChildJvm.startInfo(
                  Map.of("XDG_CACHE_HOME", "relative"),
                  "-Duser.home=?",
                  "-Da4j.team=" + team,
                  "-Djava.io.tmpdir=" + temporary,
                  "-cp",
                  jarOfClasses())
              .await();
      assertEquals(0, child.exit(), child.err());
      String own = temporary.resolve("attention4j-[0-9a-f-]{36}").toString();
      assertTrue(
          Pattern.compile("library     " + own + "/").matcher(child.out()).find(), child.out());
      List<String> logged =
          child.err().lines().filter(line -> line.contains("is used for native")).toList();
      assertEquals(1, logged.size(), child.err());
      assertTrue(
          logged
              .getFirst()
              .matches(
                  ".*" + own + " is used for native libraries, because " + name + " cannot be: .*"),
          child.err());
    }
    try (Stream<Path> left = Files.list(temporary)) {
      assertEquals(
          List.of(),
          left.filter(path -> path.getFileName().toString().startsWith("attention4j-"))
              .filter(path -> !path.equals(name))
              .toList());
    }
  }

  @Test
  void shouldNotUseADirectoryOfAnotherUser() throws Exception {
    Path cache = Files.createDirectory(temporary.resolve("foreign"));
    assumeTrue(isRoot(), "only root can give a directory to another user");
    Files.setAttribute(cache, "unix:uid", NOBODY);
    ChildJvm child = ChildJvm.info("-Da4j.cache=" + cache);
    assertFails(
        child, cache + " must belong to this user or to root: owner=" + NOBODY + ", user=0");
  }

  // ---- The platform ----

  @Test
  void shouldTellMuslFromGlibcByTheLoaderInTheProcess() {
    List<String> glibc =
        List.of(
            "7f5c1a000000-7f5c1a028000 r--p 00000000 fe:00 1 /usr/lib/x86_64-linux-gnu/libc.so.6",
            "7f5c1b000000-7f5c1b001000 r--p 00000000 fe:00 2 /lib64/ld-linux-x86-64.so.2");
    List<String> musl =
        List.of(
            "55d0c8a00000-55d0c8a01000 r--p 00000000 fe:00 3 /opt/java/openjdk/bin/java",
            "7f0000000000-7f0000014000 r--p 00000000 fe:00 4 /lib/ld-musl-x86_64.so.1");
    List<String> muslOnArm =
        List.of("7f0000000000-7f0000014000 r--p 00000000 fe:00 4 /lib/ld-musl-aarch64.so.1");
    assertEquals("linux-x86_64", NativeLibrary.platform("Linux", "amd64", glibc.stream()));
    assertEquals("linux-x86_64-musl", NativeLibrary.platform("Linux", "amd64", musl.stream()));
    assertEquals("linux-aarch64", NativeLibrary.platform("Linux", "aarch64", Stream.empty()));
    assertEquals(
        "linux-aarch64-musl", NativeLibrary.platform("Linux", "aarch64", muslOnArm.stream()));
  }

  /** This machine may have musl installed; what counts is what this process runs on. */
  @Test
  void shouldHaveABundleForThePlatformOfThisProcess() {
    String folder = NativeLibrary.load().library().getParent().getFileName().toString();
    assertEquals(NativeLibrary.platform(), folder);
  }

  // ---- A library that is named ----

  @Test
  void shouldUseTheNamedLibrary() throws Exception {
    Path library = NativeLibrary.load().library();
    ChildJvm child = ChildJvm.info("-Da4j.library=" + library).requireSilentSuccess();
    assertTrue(child.out().contains("library     " + library), child.out());
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
  void shouldRefuseALibraryThatIsNotOurs() throws Exception {
    Path foreign = libraryThatIsLoaded("libm.so.6");
    ChildJvm child = ChildJvm.info("-Da4j.library=" + foreign);
    assertFails(
        child, foreign + " is not the native library of attention4j: it has no a4j_abi_version");
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

  // ---- The team ----

  @Test
  void shouldUseTheTeamThatIsNamed() throws Exception {
    Path team = NativeLibrary.load().library().resolveSibling("liba4j-openmp.so");
    ChildJvm own = ChildJvm.info("-Da4j.team=own").requireSilentSuccess();
    assertTrue(own.out().contains("\nteam        own\n"), own.out());
    ChildJvm openMp = ChildJvm.info("-Da4j.team=openmp").requireSilentSuccess();
    assertTrue(
        openMp.out().contains("\nteam        openmp\n            " + team + "\n"), openMp.out());
    assertFails(
        ChildJvm.info("-Da4j.team=tbb"), "a4j.team must be one of [own, openmp]: a4j.team=tbb");
  }

  @Test
  void shouldComputeTheSameBitsOnBothTeamsAndLoadOpenMpOnlyWhenChosen() throws Exception {
    String own = run(Calls.class).requireSilentSuccess().out();
    String openMp = run(Calls.class, "-Da4j.team=openmp").requireSilentSuccess().out();
    assertTrue(own.endsWith("libgomp: false\nliba4j-openmp: false\n"), own);
    assertTrue(openMp.endsWith("libgomp: true\nliba4j-openmp: true\n"), openMp);
    assertEquals(
        own.lines().filter(line -> line.startsWith("bits")).toList(),
        openMp.lines().filter(line -> line.startsWith("bits")).toList());
    assertTrue(own.lines().filter(line -> line.startsWith("bits")).count() >= 3, own);
  }

  @Test
  void shouldSayInOneSentenceThatTheOpenMpLibraryOfTheSystemIsAbsent() throws Exception {
    Path library = NativeLibrary.load().library();
    byte[] bytes = Files.readAllBytes(library.resolveSibling("liba4j-openmp.so"));
    replace(bytes, "libgomp.so.1", "libgompQ.so.");
    Files.write(temporary.resolve("liba4j-openmp.so"), bytes);
    Path copy = Files.copy(library, temporary.resolve("liba4j.so"));
    ChildJvm child = ChildJvm.info("-Da4j.team=openmp", "-Da4j.library=" + copy);
    assertFails(
        child,
        "attention4j cannot use OpenMP as its team of threads (-Da4j.team=openmp): libgompQ.so.:"
            + " cannot open shared object file: No such file or directory. Install the OpenMP"
            + " run-time library (Debian, Ubuntu: libgomp1; Fedora, Alpine: libgomp) or leave out"
            + " -Da4j.team");
    ChildJvm.info("-Da4j.library=" + copy).requireSilentSuccess();
  }

  // ---- The BLAS: src/openblas has the tests that need one ----

  @Test
  void shouldMultiplyByTheOwnKernelUnlessABlasIsWanted() throws Exception {
    String own = ChildJvm.info().requireSilentSuccess().out();
    assertTrue(own.contains("\nproduct     own\n"), own);
    assertFalse(own.contains("blas"), own);
    assertFails(
        ChildJvm.info("-Da4j.product=mkl"),
        "a4j.product must be one of [own, blas]: a4j.product=mkl");
  }

  @Test
  void shouldSayThatThereIsNoBlasToProjectionsOnly() throws Exception {
    String sentence =
        "attention4j was told to multiply by a BLAS, and there is none: put the artifact"
            + " io.github.attention4j:attention4j-openblas on the class path or module path, or"
            + " name a CBLAS with -Da4j.blas=/path/libopenblas.so.0";
    ChildJvm child = ChildJvm.info("-Da4j.product=blas").requireSilentSuccess();
    assertTrue(child.out().contains("\nproduct     blas\nblas        " + sentence), child.out());
    assertEquals(
        "attention: computed\nby 16 bits: computed\nprojection: AttentionException: "
            + sentence
            + "\n",
        run(Projection.class, "-Da4j.product=blas").requireSilentSuccess().out());
  }

  @Test
  void shouldRefuseABlasThatIsNone() throws Exception {
    String places =
        "attention4j cannot load a BLAS (name one with -Da4j.blas=/path/libopenblas.so.0); tried:\n"
            + "  -Da4j.blas=";
    ChildJvm child = run(Projection.class, "-Da4j.blas=libm.so.6").requireSilentSuccess();
    assertEquals(
        "attention: computed\nby 16 bits: computed\nprojection: AttentionException: "
            + places
            + "libm.so.6: libm.so.6 is not a CBLAS: it has no cblas_sgemm\n",
        child.out());
    Path broken = Files.write(temporary.resolve("libblas.so"), new byte[] {1, 2, 3});
    child = run(Projection.class, "-Da4j.blas=" + broken).requireSilentSuccess();
    assertTrue(
        child
            .out()
            .startsWith(
                "attention: computed\nby 16 bits: computed\nprojection: AttentionException: "
                    + places
                    + broken
                    + ": "
                    + broken
                    + ": file too short"),
        child.out());
    child = run(Projection.class, "-Da4j.blas=/nowhere/libblas.so").requireSilentSuccess();
    assertTrue(
        child.out().contains(places + "/nowhere/libblas.so: /nowhere/libblas.so: cannot open"),
        child.out());
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
        files(directory).stream().noneMatch(file -> file.toString().contains("-copy-")),
        "the copy was left behind");
  }

  /** As a second web application does, when the library is installed or its cache is root's. */
  @Test
  void shouldLoadAgainForASecondClassLoaderWhereItsDirectoryCannotBeUsed() throws Exception {
    Path installed = Files.createDirectory(temporary.resolve("installed"));
    Path library = Files.copy(NativeLibrary.load().library(), installed.resolve("liba4j.so"));
    Files.setAttribute(installed, "unix:mode", 0555);
    if (isRoot()) {
      Files.setAttribute(installed, "unix:uid", NOBODY);
    }
    Path cache = temporary.resolve("cache");
    ChildJvm child =
        run(TwoLoaders.class, "-Da4j.library=" + library, "-Da4j.cache=" + cache)
            .requireSilentSuccess();
    assertEquals("first: " + library + "\nsecond: " + library + "\n", child.out());
    assertEquals(List.of(), files(cache), "the copy was left behind");
  }

  /**
   * Its directory may be anybody's: a distribution's, or one that the user keeps other files in.
   */
  @Test
  void shouldNeitherWriteNorDeleteBesideAnInstalledLibrary() throws Exception {
    Path installed = Files.createDirectory(temporary.resolve("installed"));
    Path library = Files.copy(NativeLibrary.load().library(), installed.resolve("liba4j.so"));
    Path other = Files.createFile(installed.resolve("attention4j-copy-1234.so"));
    Files.setLastModifiedTime(other, FileTime.from(Instant.now().minus(Duration.ofHours(2))));
    FileTime before = Files.getLastModifiedTime(installed);
    run(TwoLoaders.class, "-Da4j.library=" + library, "-Da4j.cache=" + temporary.resolve("cache"))
        .requireSilentSuccess();
    assertTrue(Files.exists(other), "a file beside the library was removed");
    assertEquals(before, Files.getLastModifiedTime(installed), "something was written there");
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

  /** The first call may be any; and the second must not find a class that failed to initialise. */
  @Test
  void shouldSayEveryTimeWhichOptionAllowsNativeAccess() throws Exception {
    List<String> options =
        List.of("-cp", System.getProperty("java.class.path"), "--illegal-native-access=deny");
    for (String first : FirstCalls.NAMES) {
      List<String> arguments = new ArrayList<>(options);
      arguments.addAll(List.of(FirstCalls.class.getName(), first));
      ChildJvm child = ChildJvm.start(Map.of(), arguments).await().requireSilentSuccess();
      String sentence =
          "AttentionException: attention4j calls native code, which this JVM does not allow: start"
              + " it with --enable-native-access=ALL-UNNAMED\n";
      assertEquals(sentence.repeat(3), child.out(), first);
    }
  }

  /** Fails in the same way for every cause, and says the cause each time. */
  @Test
  void shouldThrowTheDocumentedExceptionForEveryCause() throws Exception {
    Path file = Files.createFile(temporary.resolve("file"));
    Path cache = file.resolve("cache");
    Path other = libraryThatIsLoaded("libm.so.6");
    String tried = "attention4j cannot load its native library liba4j.so; tried:\n  ";
    // The last words of some are the system's.
    Map<String, String> sentences =
        Map.of(
            "-Da4j.library=/nowhere/liba4j.so",
            tried + "-Da4j.library=/nowhere/liba4j.so: there is no file /nowhere/liba4j.so\n",
            "-Da4j.library=" + other,
            other + " is not the native library of attention4j: it has no a4j_abi_version\n",
            "-Da4j.library=" + file,
            tried + "-Da4j.library=" + file + ": " + file + ": ",
            "-Da4j.cache=" + cache,
            tried + cache + ": FileSystemException: " + cache + ": ",
            "-Dos.arch=pdp11",
            "attention4j has no native library for linux-pdp11: os.name=Linux, os.arch=pdp11. Build"
                + " it here, or name one with -Da4j.library=/path/liba4j.so\n");
    for (Map.Entry<String, String> each : sentences.entrySet()) {
      List<String> arguments = new ArrayList<>(ChildJvm.CLASS_PATH);
      arguments.addAll(List.of(each.getKey(), FirstCalls.class.getName(), "attention"));
      String out = ChildJvm.start(Map.of(), arguments).await().out();
      String first = out.substring(0, out.length() / 3);
      assertEquals(first.repeat(3), out, each.getKey());
      String sentence = "AttentionException: " + each.getValue();
      assertEquals(sentence, first.substring(0, Math.min(first.length(), sentence.length())));
      assertEquals(sentence.endsWith("\n"), first.length() == sentence.length(), first);
    }
  }

  /** Computes on every tier with several numbers of threads, and prints the bits. */
  static final class Calls {
    public static void main(String[] arguments) throws IOException {
      for (String isa : A4j.availableIsas()) {
        A4j.isa(isa);
        try (Arena arena = Arena.ofConfined()) {
          for (int threads : new int[] {1, 2, 3}) {
            A4j.threads(threads);
            Tensor out = attend(arena, 300);
            Tensor weight = Tensor.of(arena, numbers(96 * 64), 96, 64);
            Tensor projected = Tensor.allocate(arena, DType.F32, 1, 8, 300, 96);
            Linear.of(weight).forward(out, projected);
            int bits = 31 * Arrays.hashCode(out.toFloatArray());
            bits += Arrays.hashCode(projected.toFloatArray());
            System.out.println("bits " + isa + " " + bits);
          }
        }
      }
      for (String library : List.of("libgomp", "liba4j-openmp")) {
        System.out.println(library + ": " + isLoaded(library));
      }
    }
  }

  /** An attention, then a projection of many rows. */
  static final class Projection {
    public static void main(String[] arguments) {
      try (Arena arena = Arena.ofConfined()) {
        Tensor x = attend(arena, 300);
        System.out.println("attention: computed");
        Tensor weight = Tensor.of(arena, numbers(96 * 64), 96, 64);
        Tensor out = Tensor.allocate(arena, DType.F32, 1, 8, 300, 96);
        Tensor shorter = Tensor.allocate(arena, DType.BF16, 96, 64).copyFrom(weight);
        Linear.of(shorter).packed(arena).forward(x, out);
        System.out.println("by 16 bits: computed");
        Linear.of(weight).forward(x, out);
        System.out.println("projection: computed");
      } catch (AttentionException failure) {
        System.out.println("projection: AttentionException: " + failure.getMessage());
      }
    }
  }

  /** Makes one kind of call three times in a JVM where none can succeed. */
  static final class FirstCalls {
    static final List<String> NAMES =
        List.of(
            "attention",
            "mask",
            "score",
            "dropout",
            "differential",
            "norm",
            "pages",
            "quantize",
            "append",
            "state",
            "rotate",
            "version");

    public static void main(String[] arguments) {
      for (int i = 0; i < 3; i++) {
        try (Arena arena = Arena.ofConfined()) {
          Tensor x = Tensor.of(arena, numbers(4 * 8), 1, 1, 4, 8);
          Tensor out = Tensor.allocate(arena, DType.F32, 1, 1, 4, 8);
          switch (arguments[0]) {
            case "attention" -> Attention.builder().build().forward(x, x, x, out);
            case "mask" ->
                Attention.builder()
                    .mask(Mask.where(Score.query().atLeast(Score.key())))
                    .build()
                    .forward(x, x, x, out);
            case "score" ->
                Attention.builder().score(Score.score().times(2)).build().forward(x, x, x, out);
            case "dropout" ->
                Dropout.of(0.5, 1)
                    .sharedAlong(Dropout.Dimension.HEADS)
                    .mask(Tensor.allocate(arena, DType.BOOL, 1, 1, 4, 4));
            case "differential" ->
                Differential.builder()
                    .build()
                    .forward(x.expand(1, 2), x.expand(1, 2), x, 0.5f, out);
            case "norm" -> RmsNorm.withoutWeight(1e-6).forward(x, out);
            case "pages" -> KvPagePool.allocate(arena, DType.BF16, 1, 8, 64, 4);
            case "quantize" ->
                QuantizedWeights.quantize(
                    arena, Tensor.of(arena, numbers(4 * 32), 4, 32), Quantization.symmetric(8));
            case "append" -> KvCache.allocate(arena, 1, 1, 4, 8).append(x, x);
            case "state" ->
                LinearAttention.of(LinearAttention.Rule.LINEAR)
                    .forward(x, x, x, null, null, Tensor.zeros(arena, 1, 1, 8, 8), out);
            case "rotate" ->
                RotaryEmbedding.of(
                        RotaryTable.compute(arena, 4, 8, 10_000), RotaryEmbedding.Style.HALF)
                    .forward(x, out);
            default -> A4j.version();
          }
          System.out.println("no failure");
        } catch (AttentionException failure) {
          System.out.println("AttentionException: " + failure.getMessage());
        } catch (Throwable other) {
          System.out.println(other);
        }
      }
    }
  }

  /** Loads the library for two class loaders. */
  static final class TwoLoaders {
    public static void main(String[] arguments) throws Exception {
      System.out.println("first: " + libraryOf(A4j.class));
      URL classes = A4j.class.getProtectionDomain().getCodeSource().getLocation();
      try (URLClassLoader loader =
          new URLClassLoader(new URL[] {classes}, ClassLoader.getPlatformClassLoader())) {
        System.out.println("second: " + libraryOf(loader.loadClass(A4j.class.getName())));
      }
    }

    private static String libraryOf(Class<?> a4j) throws Exception {
      String description = (String) a4j.getMethod("describe").invoke(null);
      return description
          .lines()
          .filter(line -> line.startsWith("library"))
          .findFirst()
          .orElseThrow()
          .substring("library     ".length());
    }
  }

  private static ChildJvm run(Class<?> main, String... options) throws Exception {
    List<String> arguments = new ArrayList<>(ChildJvm.CLASS_PATH);
    arguments.addAll(List.of(options));
    arguments.add(main.getName());
    return ChildJvm.start(Map.of(), arguments).await();
  }

  private static float[] numbers(int count) {
    float[] numbers = new float[count];
    for (int i = 0; i < count; i++) {
      numbers[i] = (i * 37 % 101 - 50) / 40f;
    }
    return numbers;
  }

  private static Tensor attend(Arena arena, int length) {
    Tensor x = Tensor.of(arena, numbers(8 * length * 64), 1, 8, length, 64);
    Tensor out = Tensor.allocate(arena, DType.F32, 1, 8, length, 64);
    Attention.builder().build().forward(x, x, x, out);
    return out;
  }

  private static boolean isLoaded(String library) throws IOException {
    try (Stream<String> maps = Files.lines(Path.of("/proc/self/maps"))) {
      return maps.anyMatch(line -> line.contains("/" + library));
    }
  }

  private static Path libraryThatIsLoaded(String name) throws IOException {
    try (Stream<String> maps = Files.lines(Path.of("/proc/self/maps"))) {
      return maps.filter(line -> line.endsWith("/" + name))
          .map(line -> Path.of(line.substring(line.indexOf('/'))))
          .findFirst()
          .orElseThrow();
    }
  }

  /** Classes in a directory use the library that lies there; those of a jar unpack it. */
  private String jarOfClasses() throws Exception {
    Path classes = Path.of(A4j.class.getProtectionDomain().getCodeSource().getLocation().toURI());
    String jar = temporary.resolve("classes.jar").toString();
    int failed =
        ToolProvider.findFirst("jar")
            .orElseThrow()
            .run(System.out, System.err, "-cf", jar, "-C", classes.toString(), ".");
    assertEquals(0, failed);
    return jar;
  }

  private static boolean isRoot() throws IOException {
    return Files.getAttribute(Path.of("/proc/self"), "unix:uid").equals(0);
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
