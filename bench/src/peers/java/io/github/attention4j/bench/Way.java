package io.github.attention4j.bench;

/** One way in which a contender computes a workload. A peer often has several; the best counts. */
interface Way extends AutoCloseable {
  int MOST_CALLS = 200_000;

  /** A note next to the figure in the tables; empty if there is no choice. */
  String name();

  /** Computes once. */
  void run();

  /** Computes this many times and returns the nanoseconds of one call. */
  default double nanos(int calls) {
    long start = System.nanoTime();
    for (int i = 0; i < calls; i++) {
      run();
    }
    return (double) (System.nanoTime() - start) / calls;
  }

  /**
   * A turn: calls that do not count for so long, at least one of them, then calls for about as long
   * again as asked; returns the nanoseconds of one of these.
   */
  default double turn(double warmNanos, double turnNanos) {
    double once = Double.POSITIVE_INFINITY;
    long start = System.nanoTime();
    do {
      long before = System.nanoTime();
      nanos(1);
      once = Math.min(once, System.nanoTime() - before);
    } while (System.nanoTime() - start < warmNanos);
    return nanos((int) Math.clamp(turnNanos / once, 1, MOST_CALLS));
  }

  /**
   * What the same process measures beside, null if nothing: of a step of attention a plain sum over
   * the very keys and values, of the multiply-adds how fast cores hand over what they wrote.
   */
  default Way beside() {
    return null;
  }

  /**
   * What was computed last: {@code [batch, heads, length, dim]} of attention alone, {@code [batch,
   * length, width]} of a layer or block; null of a limit, which computes nothing.
   */
  float[] result();

  @Override
  void close();
}
