package io.github.attention4j;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertTrue;
import static org.junit.jupiter.api.Assumptions.assumeFalse;

import io.github.attention4j.testing.ChildJvm;
import java.lang.foreign.Arena;
import java.lang.foreign.FunctionDescriptor;
import java.lang.foreign.Linker;
import java.lang.foreign.MemorySegment;
import java.lang.foreign.ValueLayout;
import java.lang.invoke.MethodHandle;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import java.util.Map;
import org.junit.jupiter.api.Test;

/** A process without room for threads or memory computes what it can, and reports the rest. */
class NoRoomTest {

  @Test
  void shouldComputeAloneAndSayWhyWhereThreadsAreNotToBeHad() throws Exception {
    ChildJvm child =
        run(
            WithoutThreads.class,
            "-XX:+UseSerialGC",
            "-XX:-UseDynamicNumberOfCompilerThreads",
            "-Da4j.threads=4");
    assumeFalse(
        child.out().startsWith("no user"), "threads cannot be refused to root: " + child.out());
    assertEquals(0, child.exit(), child.err());
    assertTrue(
        child.err().contains("WARNING: The team of threads does not grow beyond 1: "), child.err());
    assertEquals(1, child.err().split("WARNING", -1).length - 1, child.err());
    List<String> lines = child.out().lines().toList();
    assertEquals("same bits: true", lines.get(0));
    assertEquals("threads     4 (in the team so far: 1)", lines.get(1));
    assertTrue(lines.get(2).startsWith("            no more of them: "), child.out());
    assertTrue(lines.get(2).contains("EAGAIN"), child.out());
    assertEquals("same bits: true", lines.get(3));
    assertEquals("threads     4 (in the team so far: 4)", lines.get(4));
    assertEquals(5, lines.size(), child.out());
  }

  @Test
  void shouldGoOnAfterAWorkspaceBeyondTheLimitOfDirectMemory() throws Exception {
    ChildJvm child = run(WithoutMemory.class, "-XX:MaxDirectMemorySize=8m");
    child.requireSilentSuccess();
    assertEquals(
        """
        workspace: OutOfMemoryError
        same bits: true
        """,
        child.out());
  }

  /** As {@code ulimit -v} leaves it, or a container's limit of memory. */
  @Test
  void shouldLoadAndComputeInALittleAddressSpace() throws Exception {
    List<String> arguments = new ArrayList<>(ChildJvm.CLASS_PATH);
    arguments.add(WithinLimits.class.getName());
    ChildJvm child = ChildJvm.startWithin(1300, arguments).await().requireSilentSuccess();
    assertEquals("computed\n", child.out());
  }

  private static ChildJvm run(Class<?> main, String... options) throws Exception {
    List<String> arguments = new ArrayList<>(ChildJvm.CLASS_PATH);
    arguments.addAll(List.of(options));
    arguments.add(main.getName());
    return ChildJvm.start(Map.of(), arguments).await();
  }

  private static float[] attend(Arena arena, int length, int threads) {
    float[] values = new float[8 * length * 64];
    for (int i = 0; i < values.length; i++) {
      values[i] = (i * 37 % 101 - 50) / 40f;
    }
    Tensor x = Tensor.of(arena, values, 1, 8, length, 64);
    Tensor out = Tensor.allocate(arena, DType.F32, 1, 8, length, 64);
    Attention.builder().threads(threads).build().forward(x, x, x, out);
    return out.toFloatArray();
  }

  /** Forbids itself more threads, once the JVM has those that it needs. */
  static final class WithoutThreads {
    private static final int RLIMIT_NPROC = 6;
    private static final int NOBODY = 64901;
    private static final Linker LINKER = Linker.nativeLinker();

    private WithoutThreads() {}

    public static void main(String[] arguments) throws Throwable {
      try (Arena arena = Arena.ofConfined()) {
        float[] alone = attend(arena, 200, 1);
        MethodHandle getuid = handle("geteuid");
        if ((int) getuid.invokeExact() == 0
            && ((int) handle("setgid", ValueLayout.JAVA_INT).invokeExact(NOBODY) != 0
                || (int) handle("setuid", ValueLayout.JAVA_INT).invokeExact(NOBODY) != 0)) {
          System.out.println("no user without privileges to be");
          return;
        }
        MethodHandle get = handle("getrlimit", ValueLayout.JAVA_INT, ValueLayout.ADDRESS);
        MethodHandle set = handle("setrlimit", ValueLayout.JAVA_INT, ValueLayout.ADDRESS);
        MemorySegment before = arena.allocate(ValueLayout.JAVA_LONG, 2);
        MemorySegment none = arena.allocate(ValueLayout.JAVA_LONG, 2);
        check((int) get.invokeExact(RLIMIT_NPROC, before));
        none.copyFrom(before).set(ValueLayout.JAVA_LONG, 0, 0);
        check((int) set.invokeExact(RLIMIT_NPROC, none));
        report(arena, alone);

        check((int) set.invokeExact(RLIMIT_NPROC, before));
        Thread.sleep(1100); // the team asks the system again after a second
        report(arena, alone);
      }
    }

    private static void report(Arena arena, float[] alone) {
      System.out.println("same bits: " + Arrays.equals(alone, attend(arena, 200, 4)));
      A4j.describe()
          .lines()
          .filter(line -> line.startsWith("threads") || line.contains("no more of them"))
          .forEach(System.out::println);
    }

    private static MethodHandle handle(String function, ValueLayout... parameters) {
      return LINKER.downcallHandle(
          LINKER.defaultLookup().findOrThrow(function),
          FunctionDescriptor.of(ValueLayout.JAVA_INT, parameters));
    }

    private static void check(int result) {
      if (result != 0) {
        throw new IllegalStateException("the limit was refused");
      }
    }
  }

  /** Attends. */
  static final class WithinLimits {
    private WithinLimits() {}

    public static void main(String[] arguments) {
      try (Arena arena = Arena.ofConfined()) {
        attend(arena, 300, 2);
        System.out.println("computed");
      }
    }
  }

  /** Needs a workspace larger than the memory, then one that fits. */
  static final class WithoutMemory {
    private WithoutMemory() {}

    public static void main(String[] arguments) {
      try (Arena arena = Arena.ofConfined()) {
        float[] before = attend(arena, 30, 2);
        try {
          Tensor row = Tensor.allocate(arena, DType.F32, 1, 64, 1, 512);
          Tensor many = row.expand(2, 1 << 22);
          Tensor out = Tensor.allocate(arena, DType.F32, row.shape());
          Attention.builder().build().forward(row, many, many, out);
        } catch (OutOfMemoryError full) {
          System.out.println("workspace: " + full.getClass().getSimpleName());
        }
        System.out.println("same bits: " + Arrays.equals(before, attend(arena, 30, 2)));
      }
    }
  }
}
