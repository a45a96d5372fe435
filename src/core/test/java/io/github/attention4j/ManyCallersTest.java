package io.github.attention4j;

import static org.junit.jupiter.api.Assertions.assertTrue;

import io.github.attention4j.testing.ChildJvm;
import java.io.File;
import java.lang.foreign.Arena;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import java.util.Objects;
import java.util.concurrent.CyclicBarrier;
import org.junit.jupiter.api.Test;

/** However many threads of a busy server call it, the library adds no more than allowed. */
class ManyCallersTest {
  private static final int CALLERS = 64;

  @Test
  void shouldAddAtMostItsThreadsToTheProcess() throws Exception {
    for (int threads : new int[] {1, 2, 4}) {
      // A separate JVM, whose number of threads does not change otherwise.
      List<String> arguments = new ArrayList<>(ChildJvm.CLASS_PATH);
      arguments.addAll(
          List.of(
              "-XX:+UseSerialGC",
              "-XX:-UseDynamicNumberOfCompilerThreads",
              "-Da4j.threads=" + threads,
              Callers.class.getName()));
      ChildJvm child = ChildJvm.start(Map.of(), arguments).await().requireSilentSuccess();
      int added = Integer.parseInt(child.out().strip());
      assertTrue(added <= threads, "threads=" + threads + ", added=" + added);
    }
  }

  /** Prints how many threads the calls have added to the process. */
  static final class Callers {
    private Callers() {}

    public static void main(String[] arguments) throws Exception {
      Attention attention = Attention.builder().build();
      A4j.isa();
      Arena arena = Arena.ofAuto();
      Tensor x = Tensor.allocate(arena, DType.F32, 1, 8, 192, 64);
      CyclicBarrier barrier = new CyclicBarrier(CALLERS + 1);
      List<Thread> callers = new ArrayList<>();
      for (int c = 0; c < CALLERS; c++) {
        Thread caller =
            new Thread(
                () -> {
                  try {
                    Tensor out = Tensor.allocate(arena, DType.F32, x.shape());
                    barrier.await();
                    barrier.await();
                    for (int i = 0; i < 20; i++) {
                      attention.forward(x, x, x, out);
                    }
                    barrier.await();
                    barrier.await();
                  } catch (Exception failure) {
                    throw new IllegalStateException(failure);
                  }
                });
        caller.start();
        callers.add(caller);
      }
      barrier.await();
      int before = threadsOfTheProcess();
      barrier.await();
      barrier.await();
      int after = threadsOfTheProcess();
      barrier.await();
      for (Thread caller : callers) {
        caller.join();
      }
      System.out.println(after - before);
    }

    private static int threadsOfTheProcess() {
      return Objects.requireNonNull(new File("/proc/self/task").list()).length;
    }
  }
}
