package io.github.attention4j;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertTrue;
import static org.junit.jupiter.api.Assumptions.assumeFalse;

import io.github.attention4j.internal.Workspaces;
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
  void shouldGoOnAfterAWorkspaceBeyondTheMemory() throws Exception {
    List<String> arguments = new ArrayList<>(ChildJvm.CLASS_PATH);
    arguments.add("-XX:TieredStopAtLevel=1"); // a compiler without memory ends the process
    arguments.add(WithoutMemory.class.getName());
    ChildJvm child = ChildJvm.startWithin(1300, arguments).await().requireSilentSuccess();
    assertEquals(
        """
        workspace: OutOfMemoryError
        same bits: true
        """,
        child.out());
  }

  @Test
  void shouldLeaveCachesAsTheyWereWithoutMemoryToReorderThem() throws Exception {
    List<String> arguments = new ArrayList<>(ChildJvm.CLASS_PATH);
    arguments.add("-XX:TieredStopAtLevel=1"); // a compiler without memory ends the process
    arguments.add(WithoutMemoryToReorder.class.getName());
    ChildJvm child = ChildJvm.startWithin(1300, arguments).await().requireSilentSuccess();
    assertEquals(
        """
        dense: OutOfMemoryError, first keys 0 1 2 3, lengths [3000, 2000, 1000, 500]
        dense: reordered, first keys 1 0 0 1, lengths [2000, 3000, 3000, 2000]
        ring: OutOfMemoryError, first keys 0 1 2 3, lengths [3000, 2000, 1000, 500]
        ring: reordered, first keys 1 0 0 1, lengths [2000, 3000, 3000, 2000]
        """,
        child.out());
  }

  @Test
  void shouldLeaveARingAsItWasWithoutMemoryToAppend() throws Exception {
    ChildJvm child = run(WithoutMemoryToAppend.class, "-XX:MaxDirectMemorySize=8m");
    child.requireSilentSuccess();
    assertEquals(
        """
        OutOfMemoryError, first row 0, unchanged true
        appended, first row 64, unchanged false
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

  /** Needs a workspace larger than the memory, for all weights of a row, then one that fits. */
  static final class WithoutMemory {
    private WithoutMemory() {}

    public static void main(String[] arguments) {
      try (Arena arena = Arena.ofConfined()) {
        float[] before = attend(arena, 30, 2);
        try {
          Tensor row = Tensor.allocate(arena, DType.F32, 1, 1, 1, 8);
          Tensor many = row.expand(2, 1 << 26);
          Tensor out = Tensor.allocate(arena, DType.F32, row.shape());
          Attention.builder().topK(3).build().forward(row, many, many, out);
        } catch (OutOfMemoryError full) {
          System.out.println("workspace: " + full.getClass().getSimpleName());
        }
        System.out.println("same bits: " + Arrays.equals(before, attend(arena, 30, 2)));
      }
    }
  }

  /** Calls while all memory of an arena is in use, but for less than a block. */
  private static String withoutMemory(Arena arena, int block, String done, Runnable call) {
    List<MemorySegment> all = new ArrayList<>();
    try {
      while (true) {
        all.add(arena.allocate(block));
      }
    } catch (OutOfMemoryError full) {
      return outcome(done, call) + (all.isEmpty() ? ", without any memory before" : "");
    }
  }

  private static String outcome(String done, Runnable call) {
    try {
      call.run();
      return done;
    } catch (OutOfMemoryError failure) {
      return failure.getClass().getSimpleName();
    }
  }

  /** Exchanges batches, which needs a copy that does not fit, and again when it does. */
  static final class WithoutMemoryToReorder {
    private static final int[] LENGTHS = {3000, 2000, 1000, 500};
    private static final int HEADS = 16;
    private static final int DIM = 64;
    private static final int BLOCK = 4 << 20; // half of what 2000 keys take

    private WithoutMemoryToReorder() {}

    public static void main(String[] arguments) {
      try (Arena arena = Arena.ofConfined()) {
        reorder("dense: ", KvCache.allocate(arena, 4, HEADS, 3000, DIM));
      }
      try (Arena arena = Arena.ofConfined()) {
        reorder("ring: ", KvCache.ring(arena, DType.F32, 4, HEADS, DIM, 100, 3000));
      }
    }

    private static void reorder(String kind, KvCache cache) {
      try (Arena arena = Arena.ofConfined()) {
        Tensor row = Tensor.allocate(arena, DType.F32, 4, 1, 1, DIM);
        for (int b = 0; b < 4; b++) {
          row.select(0, b).fill(b);
        }
        Tensor rows = row.expand(1, HEADS).expand(2, 3000);
        cache.append(rows, rows, LENGTHS);
      }
      Runnable call = () -> cache.reorder(1, 0, 0, 1);
      String refused;
      try (Arena all = Arena.ofConfined()) {
        refused = withoutMemory(all, BLOCK, "reordered", call);
      }
      System.out.println(kind + refused + state(cache));
      System.out.println(kind + outcome("reordered", call) + state(cache));
    }

    private static String state(KvCache cache) {
      StringBuilder state = new StringBuilder(", first keys");
      try (Arena arena = Arena.ofConfined()) {
        Tensor keys = cache.copyKeys(arena);
        for (int b = 0; b < 4; b++) {
          state.append(' ').append((int) keys.getFloat(b, 0, 0, 0));
        }
      }
      return state + ", lengths " + Arrays.toString(cache.lengths());
    }
  }

  /** Appends rows whose descriptor does not fit, and again when it does. */
  static final class WithoutMemoryToAppend {
    private static final int BATCH = 20_000;

    private WithoutMemoryToAppend() {}

    public static void main(String[] arguments) {
      try (Arena arena = Arena.ofConfined()) {
        KvCache ring = KvCache.ring(arena, DType.F32, BATCH, 1, 1, 60, 64);
        Tensor rows = Tensor.allocate(arena, DType.F32, 1, 1, 64, 1).fill(1).expand(0, BATCH);
        for (int i = 0; i < 3; i++) {
          ring.append(rows, rows);
        }
        final float[] before = ring.copyKeys(arena).toFloatArray();
        Tensor more = Tensor.allocate(arena, DType.F32, 1, 1, 64, 1).fill(2).expand(0, BATCH);
        Runnable call = () -> ring.append(more, more);
        // The memory of earlier calls is in use too.
        List<Workspaces.Lease> leases = new ArrayList<>();
        for (int i = 0; i <= Runtime.getRuntime().availableProcessors(); i++) {
          leases.add(Workspaces.lease());
        }
        String refused = withoutMemory(Arena.ofAuto(), 64 << 10, "appended", call);
        leases.forEach(Workspaces.Lease::close);
        System.out.println(refused + state(ring, before));
        System.out.println(outcome("appended", call) + state(ring, before));
      }
    }

    private static String state(KvCache ring, float[] before) {
      try (Arena arena = Arena.ofConfined()) {
        boolean unchanged = Arrays.equals(before, ring.copyKeys(arena).toFloatArray());
        return ", first row " + ring.firstRow(0) + ", unchanged " + unchanged;
      }
    }
  }
}
