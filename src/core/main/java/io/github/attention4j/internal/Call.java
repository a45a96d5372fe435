package io.github.attention4j.internal;

import java.lang.foreign.GroupLayout;
import java.lang.foreign.MemorySegment;
import java.util.concurrent.Semaphore;
import java.util.concurrent.atomic.LongAdder;

/**
 * One native call from beginning to end: it is counted, waits if the limit of concurrent calls is
 * reached, and becomes an event if a recording asks for it. Without a limit and a recording, all
 * calls share one object, and beginning one costs a few nanoseconds.
 */
final class Call implements AutoCloseable {
  private static final LongAdder COUNT = new LongAdder();

  /** The one that neither holds a permit nor is recorded. */
  private static final Call PLAIN = new Call(null, null, null, null, null);

  /** Null if any number of calls may compute at once. */
  private static volatile Semaphore limit;

  private final Semaphore permit;
  private final Object event;
  private final String function;
  private final GroupLayout layout;
  private final MemorySegment descriptor;

  /** Of tensors that the descriptor does not show. */
  private long bytesBeside;

  private Call(
      Semaphore permit,
      Object event,
      String function,
      GroupLayout layout,
      MemorySegment descriptor) {
    this.permit = permit;
    this.event = event;
    this.function = function;
    this.layout = layout;
    this.descriptor = descriptor;
  }

  /**
   * Loads the library if it is not loaded yet, and begins a call.
   *
   * @param function its name in {@code a4j.h}
   * @param layout the struct of its descriptor
   * @param descriptor what it is called with
   */
  static Call begin(String function, GroupLayout layout, MemorySegment descriptor) {
    NativeLibrary.load();
    COUNT.increment();
    Semaphore now = limit;
    boolean recorded = Recording.isOn();
    return now == null && !recorded
        ? PLAIN
        : beginSlowly(now, recorded, function, layout, descriptor);
  }

  /** The event includes the wait, so its duration is what the caller sees. */
  private static Call beginSlowly(
      Semaphore permit,
      boolean recorded,
      String function,
      GroupLayout layout,
      MemorySegment descriptor) {
    Object event = recorded ? Recording.begin() : null;
    if (permit != null) {
      permit.acquireUninterruptibly();
    }
    return new Call(permit, event, function, layout, descriptor);
  }

  /** Whether somebody is going to read what this call moves. */
  boolean isRecorded() {
    return event != null;
  }

  /** Adds the bytes of tensors that the descriptor does not show, in a call that is recorded. */
  void moves(long bytes) {
    bytesBeside += bytes;
  }

  @Override
  public void close() {
    if (permit != null) {
      permit.release();
    }
    if (event != null) {
      Recording.end(event, function, layout, descriptor, bytesBeside);
    }
  }

  /** How many calls were begun since this class was loaded. */
  static long count() {
    return COUNT.sum();
  }

  /** How many calls are waiting for others to end. */
  static int waiting() {
    Semaphore now = limit;
    return now == null ? 0 : now.getQueueLength();
  }

  /** Limits how many calls compute at once; 0 for no limit. */
  static void limit(int most) {
    limit = most == 0 ? null : new Semaphore(most);
  }
}
