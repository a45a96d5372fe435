package io.github.attention4j.models.encoder;

import io.github.attention4j.A4j;
import java.util.concurrent.CountDownLatch;
import java.util.concurrent.ForkJoinPool;
import java.util.concurrent.atomic.AtomicInteger;
import java.util.concurrent.atomic.AtomicReference;
import java.util.function.IntConsumer;

/**
 * Deals independent pieces of Java work to as many threads as an operation may use: the caller's
 * and those of the common pool. A busy pool delays nobody, since the caller takes whatever is left.
 */
public final class Shares {
  /** A second thread costs some ten microseconds; it must save more. */
  private static final double NANOS_PER_THREAD = 100_000;

  private Shares() {}

  /**
   * Does all pieces of work.
   *
   * @param count how many pieces
   * @param nanos about how long all of them take on one thread
   * @param work does piece i, for i from 0; any number at the same time
   * @throws RuntimeException what a piece has thrown, when those that were begun have ended
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

  /** Pieces that were begun by others end soon; an interrupt is kept for whoever asks for it. */
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
