package io.github.attention4j.openblas;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertTrue;

import io.github.attention4j.A4j;
import io.github.attention4j.Attention;
import io.github.attention4j.DType;
import io.github.attention4j.Tensor;
import io.github.attention4j.layer.Linear;
import io.github.attention4j.testing.ChildJvm;
import java.io.IOException;
import java.lang.foreign.Arena;
import java.lang.foreign.FunctionDescriptor;
import java.lang.foreign.Linker;
import java.lang.foreign.MemorySegment;
import java.lang.foreign.ValueLayout;
import java.lang.invoke.MethodHandle;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import java.util.Map;
import java.util.stream.Stream;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;

/** OpenBLAS on the class path, in JVMs of their own since a process loads it once. */
class OpenBlasTest {
  private static final int ROWS = 600;

  @TempDir Path temporary;

  @Test
  void shouldDescribeTheBlasThatWasChosen() throws Exception {
    ChildJvm own = ChildJvm.info().requireSilentSuccess();
    assertTrue(own.out().contains("\nproduct     own\n"), own.out());
    ChildJvm blas = ChildJvm.info("-Da4j.product=blas").requireSilentSuccess();
    assertTrue(blas.out().contains("\nproduct     blas\nblas        OpenBLAS 0.3."), blas.out());
    assertTrue(blas.out().contains("META-INF/openblas/"), blas.out());
  }

  @Test
  void shouldUnpackIntoTheCacheThatIsNamed() throws Exception {
    Path cache = temporary.resolve("cache");
    ChildJvm child =
        ChildJvm.info("-Da4j.product=blas", "-Da4j.cache=" + cache).requireSilentSuccess();
    assertTrue(child.out().contains("\n            " + cache), child.out());
  }

  @Test
  void shouldUseTheBlasThatIsNamed() throws Exception {
    Path directory = Path.of(new OpenBlas().find(platform() + "/index.txt").toURI()).getParent();
    ChildJvm child =
        ChildJvm.startInfo(
                Map.of("LD_LIBRARY_PATH", directory.toString()), "-Da4j.blas=libopenblas.so.0")
            .await()
            .requireSilentSuccess();
    assertTrue(child.out().contains("\nproduct     blas\nblas        OpenBLAS 0.3."), child.out());
    assertTrue(child.out().contains("\n            libopenblas.so.0\n"), child.out());
  }

  @Test
  void shouldBeLoadedByTheFirstProjectionThatIsToUseIt() throws Exception {
    assertEquals(
        "at first false, after attention false, after a projection false",
        run(Loading.class).requireSilentSuccess().out().strip());
    assertEquals(
        "at first false, after attention false, after a projection true",
        run(Loading.class, "-Da4j.product=blas").requireSilentSuccess().out().strip());
  }

  /** OpenBLAS reserves memory as it is loaded, and ends the process where there is too little. */
  @Test
  void shouldTakeNoAddressSpaceUnlessItIsChosen() throws Exception {
    List<String> arguments = new ArrayList<>(ChildJvm.CLASS_PATH);
    arguments.add(Loading.class.getName());
    assertEquals(
        "at first false, after attention false, after a projection false",
        ChildJvm.startWithin(1300, arguments).await().requireSilentSuccess().out().strip());
  }

  @Test
  void shouldComputeWhatTheOwnKernelComputes() throws Exception {
    float[] own = numbers(run(Products.class).requireSilentSuccess());
    float[] blas = numbers(run(Products.class, "-Da4j.product=blas").requireSilentSuccess());
    assertEquals(own.length, blas.length);
    for (int i = 0; i < own.length; i++) {
      assertEquals(own[i], blas[i], 1e-4f, "sum " + i);
    }
  }

  /** Packing beforehand is for the own kernel; with a BLAS it changes nothing. */
  @Test
  void shouldMultiplyByTheBlasThoughWeightsWerePacked() throws Exception {
    for (String product : List.of("own", "blas")) {
      assertEquals(
          "same bits: true, openblas: " + product.equals("blas"),
          run(Packed.class, "-Da4j.product=" + product).requireSilentSuccess().out().strip());
    }
  }

  /** A BLAS multiplies float32; weights of other types neither use nor load it. */
  @Test
  void shouldLeaveWeightsOf16BitsToTheOwnKernel() throws Exception {
    String own = run(SixteenBits.class).requireSilentSuccess().out();
    assertTrue(own.endsWith("openblas: false\n"), own);
    assertEquals(own, run(SixteenBits.class, "-Da4j.product=blas").requireSilentSuccess().out());
  }

  @Test
  void shouldLoadWithoutThreadsOfItsOwnAndRestoreTheEnvironment() throws Exception {
    List<String> arguments = new ArrayList<>(ChildJvm.CLASS_PATH);
    arguments.addAll(List.of("-Da4j.product=blas", "-Da4j.threads=1"));
    arguments.add(LoadedProcess.class.getName());
    ChildJvm child =
        ChildJvm.start(Map.of("OPENBLAS_NUM_THREADS", "7"), arguments)
            .await()
            .requireSilentSuccess();
    assertEquals("threads that loading started: 0\nOPENBLAS_NUM_THREADS=7\n", child.out());
  }

  /** Where OpenBLAS cannot be loaded, everything else runs. */
  @Test
  void shouldStopNothingElseWhenItIsBroken() throws Exception {
    Path file = Files.createFile(temporary.resolve("file"));
    ChildJvm child =
        run(
            Loading.class,
            "-Da4j.product=blas",
            "-Da4j.library=" + library(),
            "-Da4j.cache=" + file.resolve("cache"));
    assertTrue(child.out().startsWith("at first false, after attention false"), child.out());
    assertTrue(
        child
            .err()
            .contains(
                "AttentionException: attention4j cannot load a BLAS (name one with -Da4j.blas"),
        child.err());
  }

  /** Says when OpenBLAS is in the process. */
  static final class Loading {
    public static void main(String[] arguments) throws IOException {
      try (Arena arena = Arena.ofConfined()) {
        System.out.print("at first " + isLoaded());
        Tensor x = Tensor.of(arena, numbers(8 * 100 * 64), 1, 8, 100, 64);
        Attention.builder().build().forward(x, x, x, Tensor.allocate(arena, DType.F32, x.shape()));
        System.out.print(", after attention " + isLoaded());
        project();
        System.out.println(", after a projection " + isLoaded());
      }
    }
  }

  /** Prints sums of results for several widths, with and without a bias. */
  static final class Products {
    public static void main(String[] arguments) {
      try (Arena arena = Arena.ofConfined()) {
        for (int width : new int[] {1, 17, 96, 333}) {
          Tensor x = Tensor.of(arena, numbers(ROWS * 50), ROWS, 50);
          Tensor weight = Tensor.of(arena, numbers(width * 50), width, 50);
          Tensor out = Tensor.allocate(arena, DType.F32, ROWS, width);
          Linear.of(weight, Tensor.of(arena, numbers(width), width)).forward(x, out);
          Linear.of(weight).forwardAdd(x, out);
          float[] results = out.toFloatArray();
          for (int i = 0; i < results.length; i += 97) {
            System.out.println(results[i]);
          }
        }
      }
    }
  }

  /** Compares a projection with the same one packed. */
  static final class Packed {
    public static void main(String[] arguments) throws IOException {
      try (Arena arena = Arena.ofConfined()) {
        Tensor x = Tensor.of(arena, numbers(ROWS * 50), ROWS, 50);
        Linear linear = Linear.of(Tensor.of(arena, numbers(96 * 50), 96, 50));
        Tensor plain = Tensor.allocate(arena, DType.F32, ROWS, 96);
        Tensor packed = Tensor.allocate(arena, DType.F32, ROWS, 96);
        linear.forward(x, plain);
        linear.packed(arena).forward(x, packed);
        boolean same = Arrays.equals(plain.toFloatArray(), packed.toFloatArray());
        System.out.println("same bits: " + same + ", openblas: " + isLoaded());
      }
    }
  }

  /** Prints a projection by weights of 16 bits and the same one packed. */
  static final class SixteenBits {
    public static void main(String[] arguments) throws IOException {
      try (Arena arena = Arena.ofConfined()) {
        Tensor x = Tensor.of(arena, numbers(ROWS * 50), ROWS, 50);
        Tensor out = Tensor.allocate(arena, DType.F32, ROWS, 96);
        Tensor weight = Tensor.of(arena, numbers(96 * 50), 96, 50);
        for (DType type : List.of(DType.BF16, DType.F16)) {
          Linear linear = Linear.of(Tensor.allocate(arena, type, 96, 50).copyFrom(weight));
          Linear packed = linear.packed(arena);
          for (Linear each : List.of(linear, packed)) {
            each.forward(x, out);
            System.out.println(type + " " + Arrays.hashCode(out.toFloatArray()));
          }
          System.out.println("packed: " + (packed != linear));
        }
        Linear rounding = Linear.of(weight).withBf16Products();
        rounding.packed(arena).forward(x, out);
        System.out.println("rounding " + Arrays.hashCode(out.toFloatArray()));
        System.out.println("openblas: " + isLoaded());
      }
    }
  }

  /** Prints what loading did to its process. */
  static final class LoadedProcess {
    public static void main(String[] arguments) throws Throwable {
      long before = threadsOfThisName();
      project();
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

  private static void project() {
    try (Arena arena = Arena.ofConfined()) {
      Tensor x = Tensor.of(arena, numbers(ROWS * 50), ROWS, 50);
      Tensor weight = Tensor.of(arena, numbers(96 * 50), 96, 50);
      Linear.of(weight).forward(x, Tensor.allocate(arena, DType.F32, ROWS, 96));
    }
  }

  private static float[] numbers(int count) {
    float[] numbers = new float[count];
    for (int i = 0; i < count; i++) {
      numbers[i] = (i * 37 % 101 - 50) / 40f;
    }
    return numbers;
  }

  private static float[] numbers(ChildJvm child) {
    List<String> lines = child.out().lines().toList();
    float[] numbers = new float[lines.size()];
    for (int i = 0; i < numbers.length; i++) {
      numbers[i] = Float.parseFloat(lines.get(i));
    }
    return numbers;
  }

  private static boolean isLoaded() throws IOException {
    try (Stream<String> maps = Files.lines(Path.of("/proc/self/maps"))) {
      return maps.anyMatch(line -> line.contains("/libopenblas"));
    }
  }

  private static String platform() {
    String arch = System.getProperty("os.arch");
    return "linux-" + (arch.equals("amd64") ? "x86_64" : arch);
  }

  private static String library() {
    return A4j.describe()
        .lines()
        .filter(line -> line.startsWith("library"))
        .findFirst()
        .orElseThrow()
        .substring("library     ".length());
  }

  private static ChildJvm run(Class<?> main, String... options) throws Exception {
    List<String> arguments = new ArrayList<>(ChildJvm.CLASS_PATH);
    arguments.addAll(List.of(options));
    arguments.add(main.getName());
    return ChildJvm.start(Map.of(), arguments).await();
  }
}
