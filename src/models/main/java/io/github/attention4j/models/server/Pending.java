package io.github.attention4j.models.server;

import java.time.Duration;
import java.util.function.BooleanSupplier;

/** How far a request has got, and whether its answer is still wanted. */
final class Pending {
  private final long arrival = System.nanoTime();
  private final Duration limit;
  private final BooleanSupplier closing;
  private volatile boolean begun;
  private volatile boolean abandoned;

  Pending(Duration limit, BooleanSupplier closing) {
    this.limit = limit;
    this.closing = closing;
  }

  /** The time since the request arrived. */
  Duration age() {
    return Duration.ofNanos(System.nanoTime() - arrival);
  }

  /** The time that the request still has; not positive if it is over. */
  Duration left() {
    return limit.minus(age());
  }

  /** The computation has begun. */
  void begin() {
    begun = true;
  }

  boolean hasBegun() {
    return begun;
  }

  /** Nobody waits for the answer any more. */
  void abandon() {
    abandoned = true;
  }

  /** Whether to stop computing, apart from the time limit. */
  boolean isUnwanted() {
    return abandoned || closing.getAsBoolean();
  }

  HttpError tooLate(String what) {
    return closing.getAsBoolean()
        ? HttpError.shuttingDown()
        : HttpError.busy("%s within %s s".formatted(what, limit.toMillis() / 1000.0));
  }
}
