package io.github.attention4j.bench;

/** One way in which a contender computes a workload: a peer often has several, the best counts. */
interface Way extends AutoCloseable {
  /** What the tables put beside the figure; empty where there is no choice. */
  String name();

  /** Computes once. */
  void run();

  /** Computes so many times and returns the nanoseconds of one. */
  default double nanos(int calls) {
    long start = System.nanoTime();
    for (int i = 0; i < calls; i++) {
      run();
    }
    return (double) (System.nanoTime() - start) / calls;
  }

  /**
   * What was computed last: {@code [batch, heads, length, dim]} of attention alone, {@code [batch,
   * length, width]} of a layer or block; null of a limit, which computes nothing.
   */
  float[] result();

  @Override
  void close();
}
