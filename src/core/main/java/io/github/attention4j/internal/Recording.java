package io.github.attention4j.internal;

import java.lang.foreign.GroupLayout;
import java.lang.foreign.MemorySegment;
import jdk.jfr.FlightRecorder;

/**
 * Events of Java Flight Recorder. The module {@code jdk.jfr} may be absent from a runtime image;
 * then nothing is ever recorded, and {@link CallEvent}, which extends one of its classes, is never
 * loaded.
 */
final class Recording {
  private static final boolean POSSIBLE =
      ModuleLayer.boot()
          .findModule("jdk.jfr")
          .map(Recording.class.getModule()::canRead)
          .orElse(false);

  private Recording() {}

  /**
   * Whether calls are being recorded. Loading an event's class starts much of Flight Recorder,
   * which a process that records nothing need not wait for.
   */
  static boolean isOn() {
    return POSSIBLE && FlightRecorder.isInitialized() && CallEvent.isOn();
  }

  static Object begin() {
    return CallEvent.started();
  }

  static void end(
      Object event,
      String function,
      GroupLayout layout,
      MemorySegment descriptor,
      long bytesBeside) {
    ((CallEvent) event).end(function, layout, descriptor, bytesBeside);
  }
}
