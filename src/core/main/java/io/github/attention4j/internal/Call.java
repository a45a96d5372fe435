package io.github.attention4j.internal;

import java.lang.foreign.GroupLayout;
import java.lang.foreign.MemorySegment;
import java.util.concurrent.atomic.LongAdder;

/**
 * One native call from beginning to end: it is counted, and becomes an event if a recording asks
 * for it. Without a recording, all calls share one object, and beginning one costs a few
 * nanoseconds.
 */
final class Call implements AutoCloseable {
  private static final LongAdder COUNT = new LongAdder();

  /** The one that is not recorded. */
  private static final Call PLAIN = new Call(null, null, null, null);

  private final Object event;
  private final String function;
  private final GroupLayout layout;
  private final MemorySegment descriptor;

  /** The bytes of tensors that the descriptor does not describe. */
  private long bytesBeside;

  private Call(Object event, String function, GroupLayout layout, MemorySegment descriptor) {
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
    return Recording.isOn() ? new Call(Recording.begin(), function, layout, descriptor) : PLAIN;
  }

  /** Whether a recording asks how many bytes this call moves. */
  boolean isRecorded() {
    return event != null;
  }

  /** Adds the bytes of tensors that the descriptor does not describe, in a recorded call. */
  void moves(long bytes) {
    bytesBeside += bytes;
  }

  @Override
  public void close() {
    if (event != null) {
      Recording.end(event, function, layout, descriptor, bytesBeside);
    }
  }

  /** How many calls have begun since this class was loaded. */
  static long count() {
    return COUNT.sum();
  }
}
