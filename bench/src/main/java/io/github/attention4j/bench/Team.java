package io.github.attention4j.bench;

import java.util.concurrent.atomic.AtomicInteger;
import java.util.concurrent.atomic.AtomicReference;
import java.util.concurrent.locks.LockSupport;
import java.util.function.IntConsumer;

/**
 * The threads of the Java contenders: the caller and {@code threads - 1} helpers that share a
 * counter of items.
 *
 * <p>Helpers spin for some 50 microseconds before they park, because a wake-up costs as much as the
 * smallest problems here. Each is pinned to its own core; pin the caller to the first: two threads
 * that wake each other otherwise end up on one core now and then and stay there. One caller at a
 * time.
 */
final class Team implements AutoCloseable {
  private static final int SPINS = 2_000;

  private final Thread[] helpers;
  private final AtomicReference<Job> job = new AtomicReference<>();
  private volatile boolean closed;

  private static final class Job {
    final int items;
    final IntConsumer body;
    final AtomicInteger next = new AtomicInteger();
    final AtomicInteger running;
    volatile Throwable failure;

    Job(int items, int helpers, IntConsumer body) {
      this.items = items;
      this.body = body;
      this.running = new AtomicInteger(helpers);
    }

    void work() {
      try {
        for (int item; (item = next.getAndIncrement()) < items; ) {
          body.accept(item);
        }
      } catch (RuntimeException | Error e) {
        failure = e;
      }
    }
  }

  Team(int threads) {
    helpers = new Thread[threads - 1];
    for (int i = 0; i < helpers.length; i++) {
      int core = i + 1;
      helpers[i] = Thread.ofPlatform().daemon().name("team-" + core).start(() -> help(core));
    }
  }

  int threads() {
    return helpers.length + 1;
  }

  /** Runs the body once for each item, on all threads, and returns when all are done. */
  void run(int items, IntConsumer body) {
    if (helpers.length == 0 || items == 1) {
      for (int item = 0; item < items; item++) {
        body.accept(item);
      }
      return;
    }
    Job mine = new Job(items, helpers.length, body);
    job.set(mine);
    for (Thread helper : helpers) {
      LockSupport.unpark(helper);
    }
    mine.work();
    while (mine.running.get() > 0) {
      Thread.onSpinWait();
    }
    if (mine.failure != null) {
      throw new IllegalStateException("an item failed", mine.failure);
    }
  }

  private void help(int core) {
    Limits.pin(core);
    Job last = null;
    while (!closed) {
      Job next = job.get();
      for (int spin = 0; next == last && spin < SPINS; spin++) {
        Thread.onSpinWait();
        next = job.get();
      }
      if (next == last) {
        LockSupport.park(this);
        continue;
      }
      last = next;
      next.work();
      next.running.decrementAndGet();
    }
  }

  @Override
  public void close() {
    closed = true;
    for (Thread helper : helpers) {
      LockSupport.unpark(helper);
    }
  }
}
