package io.github.attention4j.internal;

import java.util.concurrent.Semaphore;
import java.util.concurrent.atomic.AtomicInteger;

/**
 * The limit on how many calls of all threads compute at once. A call enters before it takes any
 * memory, so the limit bounds the memory of calls too. A layer that calls operations enters once.
 *
 * <p>Safe for any number of threads.
 */
final class CallLimit {
  /** Null if any number of calls may compute at once. */
  private static volatile Semaphore limit;

  /** Set in threads that have entered under a limit. */
  private static final ThreadLocal<Boolean> ENTERED = new ThreadLocal<>();

  private static final AtomicInteger WAITING = new AtomicInteger();

  /** The right to compute; the thread that entered gives it back. */
  record Permit(Semaphore of) implements AutoCloseable {
    @Override
    public void close() {
      ENTERED.remove();
      of.release();
    }
  }

  private CallLimit() {}

  /**
   * Waits until this thread may compute, in the order in which threads came. An interrupt does not
   * end the wait.
   *
   * @return what to close, or null if there is no limit or this thread has entered already
   */
  static Permit enter() {
    Semaphore now = limit;
    return now == null || ENTERED.get() != null ? null : enter(now);
  }

  private static Permit enter(Semaphore now) {
    if (now.hasQueuedThreads() || !now.tryAcquire()) {
      WAITING.incrementAndGet();
      try {
        now.acquireUninterruptibly();
      } finally {
        WAITING.decrementAndGet();
      }
    }
    ENTERED.set(true);
    return new Permit(now);
  }

  /** How many threads are waiting. */
  static int waiting() {
    return WAITING.get();
  }

  /** Sets the limit for threads that enter from now on; 0 for none. */
  static void set(int most) {
    limit = most == 0 ? null : new Semaphore(most, true);
  }
}
