package io.github.attention4j.models.encoder;

import io.github.attention4j.A4j;
import java.util.concurrent.CountDownLatch;
import java.util.concurrent.ForkJoinPool;
import java.util.concurrent.atomic.AtomicInteger;
import java.util.concurrent.atomic.AtomicReference;
import java.util.function.IntConsumer;

/**
 * Divides independent pieces of Java work among as many threads as an operation may use: the caller
 * and threads of the common pool. A busy pool delays nothing, because the caller does whatever is
 * left.
 */
public final class Shares {
  /** A second thread costs about ten microseconds and must save more than that. */
  private static final double NANOS_PER_THREAD = 100_000;

  private Shares() {}

  /**
   * Does all pieces of work.
   *
   * @param count how many pieces
   * @param nanos about how long all of them take on one thread
   * @param work does piece i, for i from 0; any number at the same time
   * @throws RuntimeException what a piece threw, after all pieces that had started have ended
   */
  public static void run(int count, double nanos, IntConsumer work) {
    int threads = (int) Math.min(Math.min(A4j.threads(), count), 1 + nanos / NANOS_PER_THREAD);
    if (threads <= 1) {
      for (int i = 0; i < count; i++) {
        work.accept(i);
      }
      return;
    }
    AtomicInteger next = new AtomicInteger();
    CountDownLatch unfinished = new CountDownLatch(count);
    AtomicReference<Throwable> failure = new AtomicReference<>();
    Runnable share =
        () -> {
          for (int i = next.getAndIncrement(); i < count; i = next.getAndIncrement()) {
            try {
              if (failure.get() == null) {
                work.accept(i);
              }
            } catch (Throwable e) {
              failure.compareAndSet(null, e);
            } finally {
              unfinished.countDown();
            }
          }
        };
    for (int i = 1; i < threads; i++) {
      ForkJoinPool.commonPool().execute(share);
    }
    share.run();
    awaitAll(unfinished);
    switch (failure.get()) {
      case null -> {}
      case RuntimeException e -> throw e;
      case Error e -> throw e;
      case Throwable e -> throw new IllegalStateException(e);
    }
  }

  /**
   * Waits for pieces that other threads have started. They end soon, so an interrupt only takes
   * effect afterwards.
   */
  private static void awaitAll(CountDownLatch unfinished) {
    boolean interrupted = false;
    while (true) {
      try {
        unfinished.await();
        break;
      } catch (InterruptedException e) {
        interrupted = true;
      }
    }
    if (interrupted) {
      Thread.currentThread().interrupt();
    }
  }
}
