package io.github.attention4j.models;

import java.util.concurrent.locks.StampedLock;

/**
 * Keeps a resource open while calls use it: any number of threads may use it at once, closing waits
 * for them, and later uses are refused.
 */
final class OpenLock {
  private final StampedLock lock = new StampedLock();

  /** Guarded by the lock. */
  private boolean closed;

  /**
   * Begins a use, which must end with {@link #exit}.
   *
   * @param kind what the message calls the resource
   * @param owner what the message shows of it
   * @return the argument of {@link #exit}
   * @throws IllegalStateException if the resource has been closed
   */
  long enter(String kind, Object owner) {
    long stamp = lock.readLock();
    if (closed) {
      lock.unlockRead(stamp);
      throw new IllegalStateException(kind + " has been closed: " + owner);
    }
    return stamp;
  }

  /** Ends a use. */
  void exit(long stamp) {
    lock.unlockRead(stamp);
  }

  /** Waits until nothing uses the resource, then releases it, unless that has been done before. */
  void close(Runnable release) {
    long stamp = lock.writeLock();
    try {
      if (!closed) {
        closed = true;
        release.run();
      }
    } finally {
      lock.unlockWrite(stamp);
    }
  }
}
