package io.github.attention4j.internal;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertNull;
import static org.junit.jupiter.api.Assertions.assertTrue;

import io.github.attention4j.testing.ChildJvm;
import java.lang.foreign.MemorySegment;
import java.lang.foreign.ValueLayout;
import java.util.ArrayList;
import java.util.Collections;
import java.util.List;
import java.util.Map;
import org.junit.jupiter.api.Test;

/** The pools, and the limit on concurrent calls, which bounds what they lend. */
class MemoryOfCallsTest {
  private static final long LARGE = PooledMemory.MOST_BYTES_KEPT + 1;

  @Test
  void shouldFreeLargeBlocksWhenTheCallEnds() {
    Workspaces.Lease lease = Workspaces.lease();
    List<MemorySegment> large =
        List.of(lease.descriptor(LARGE), lease.inputs(LARGE), lease.workspace(LARGE));
    assertTrue(large.stream().allMatch(block -> block.scope().isAlive()));
    lease.close();
    assertTrue(
        large.stream().noneMatch(block -> block.scope().isAlive()), "a block is still there");
    MemorySegment small = lease.descriptor(8);
    assertEquals(0, small.get(ValueLayout.JAVA_LONG, 0));
    lease.close();
    assertTrue(small.scope().isAlive(), "a small block was freed");
  }

  /** A layer holds its memory while its operations take theirs. */
  @Test
  void shouldEnterOnceForALayerWithItsOperations() throws Exception {
    List<String> order = Collections.synchronizedList(new ArrayList<>());
    CallLimit.set(1);
    try {
      Thread other;
      try (Scratch scratch = new Scratch();
          Workspaces.Lease lease = Workspaces.lease()) {
        scratch.room(4);
        assertNull(CallLimit.enter());
        other = startWaiting("other", order, 1);
        order.add("layer");
        lease.workspace(8);
      }
      other.join();
      assertEquals(List.of("layer", "other"), order);
    } finally {
      CallLimit.set(0);
    }
  }

  @Test
  void shouldLetCallsInInTheOrderInWhichTheyCame() throws Exception {
    List<String> order = Collections.synchronizedList(new ArrayList<>());
    CallLimit.set(1);
    try {
      List<Thread> threads = new ArrayList<>();
      try (Scratch scratch = new Scratch()) {
        scratch.room(4);
        for (int i = 1; i <= 5; i++) {
          threads.add(startWaiting("thread " + i, order, i));
        }
        threads.get(2).interrupt();
      }
      for (Thread thread : threads) {
        thread.join();
      }
      assertEquals(List.of("thread 1", "thread 2", "thread 3", "thread 4", "thread 5"), order);
      assertEquals(0, CallLimit.waiting());
    } finally {
      CallLimit.set(0);
    }
  }

  /** Starts a thread that makes a call, and returns when so many are waiting. */
  private static Thread startWaiting(String name, List<String> order, int waiting) {
    Thread thread =
        Thread.ofPlatform()
            .start(
                () -> {
                  try (Workspaces.Lease _ = Workspaces.lease()) {
                    order.add(name);
                  }
                });
    while (CallLimit.waiting() < waiting) {
      Thread.onSpinWait();
    }
    return thread;
  }

  @Test
  void shouldGiveUpWhatIsKeptIfDirectMemoryIsShort() throws Exception {
    ChildJvm child = run(FullPool.class, "-XX:MaxDirectMemorySize=2m").requireSilentSuccess();
    assertEquals("kept 1500000\nkept 0\n", child.out());
  }

  @Test
  void shouldSayOnceThatLayersCannotKeepTheirMemory() throws Exception {
    ChildJvm child = run(LargeLayer.class, "-XX:MaxDirectMemorySize=1m");
    assertEquals("done\n", child.out());
    String sentence = "because 2000000 bytes of direct memory cannot be kept for them";
    assertTrue(child.err().contains(sentence), child.err());
    assertFalse(
        child.err().indexOf(sentence) < child.err().lastIndexOf(sentence), "said more than once");
  }

  /** Keeps most of the direct memory in a pool, and then needs most of it. */
  static final class FullPool {
    public static void main(String[] arguments) {
      fill();
      System.out.println("kept " + Workspaces.bytesKept());
      PooledMemory.allocate(1_600_000);
      System.out.println("kept " + Workspaces.bytesKept());
    }

    /** A method of its own, so that no variable keeps the lease. */
    private static void fill() {
      try (Workspaces.Lease lease = Workspaces.lease()) {
        lease.workspace(1_500_000 - 1024);
      }
    }
  }

  /** A layer whose memory does not fit the direct memory. */
  static final class LargeLayer {
    public static void main(String[] arguments) {
      for (int i = 0; i < 3; i++) {
        try (Scratch scratch = new Scratch()) {
          scratch.room(500_000);
        }
      }
      System.out.println("done");
    }
  }

  private static ChildJvm run(Class<?> main, String... options) throws Exception {
    List<String> arguments = new ArrayList<>(ChildJvm.CLASS_PATH);
    arguments.addAll(List.of(options));
    arguments.add(main.getName());
    return ChildJvm.start(Map.of(), arguments).await();
  }
}
