package io.github.attention4j.models.server;

import java.util.ArrayList;
import java.util.List;
import java.util.concurrent.ArrayBlockingQueue;
import java.util.concurrent.Callable;
import java.util.concurrent.Future;
import java.util.concurrent.RejectedExecutionException;
import java.util.concurrent.SynchronousQueue;
import java.util.concurrent.ThreadPoolExecutor;
import java.util.concurrent.TimeUnit;

/** Threads that compute the requests for one model, with a limited queue. */
final class Workers {
  private final ThreadPoolExecutor threads;

  Workers(String name, int parallel, int queue) {
    threads =
        new ThreadPoolExecutor(
            parallel,
            parallel,
            0,
            TimeUnit.SECONDS,
            queue == 0 ? new SynchronousQueue<>() : new ArrayBlockingQueue<>(queue, true),
            Thread.ofPlatform().name("attention4j-" + name + "-", 0).daemon().factory());
  }

  /** Passes work to a thread, or refuses it if too much is waiting. */
  <T> Future<T> submit(Callable<T> work) {
    try {
      return threads.submit(work);
    } catch (RejectedExecutionException e) {
      throw threads.isShutdown()
          ? HttpError.shuttingDown()
          : HttpError.busy(
              "too many requests: computed=%d, waiting=%d".formatted(running(), waiting()));
    }
  }

  /** Takes work out of the queue. Work that runs must be ended by other means. */
  void forget(Future<?> work) {
    work.cancel(false);
    threads.remove((Runnable) work);
  }

  int running() {
    return threads.getActiveCount();
  }

  int waiting() {
    return threads.getQueue().size();
  }

  /** Takes no more work, and cancels what waits. */
  void refuse() {
    threads.shutdown();
    List<Runnable> left = new ArrayList<>();
    threads.getQueue().drainTo(left);
    left.forEach(work -> ((Future<?>) work).cancel(false));
  }

  /** Interrupts what runs. */
  void interrupt() {
    threads.shutdownNow();
  }

  /** Waits until nothing runs any more. */
  boolean await(long nanos) throws InterruptedException {
    return threads.awaitTermination(nanos, TimeUnit.NANOSECONDS);
  }
}
