package io.github.attention4j.bench;

import java.util.List;

/** A contender, in a process of its own. */
interface Contender {
  /** Calls of each way of the smallest call: enough for the last tier of the JIT compiler. */
  long WARM_NANOS = 400_000_000L;

  /** Versions and settings, in a line. */
  String about();

  /** The ways in which it computes a workload; none if it cannot. */
  List<Opening> ways(Workload workload);

  /**
   * Called once before the first turn, for what a compiler must see first: the smallest call again
   * and again, until Java's way into the library is compiled. A long workload alone would not get
   * there: a few hundred calls are interpreted, and of code that each has pushed out of the caches.
   */
  default void warmUp() throws Exception {
    for (Opening opening : ways(new Workload.Prefill(Workload.SMALLEST, Storage.F32))) {
      try (Way way = opening.open()) {
        long end = System.nanoTime() + WARM_NANOS;
        while (System.nanoTime() < end) {
          way.nanos(1000);
        }
      }
    }
  }

  /** Prepares a way: inputs, sessions, whatever is not to be timed. */
  interface Opening {
    Way open() throws Exception;
  }
}
