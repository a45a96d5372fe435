package io.github.attention4j.models.cli;

import java.util.concurrent.atomic.AtomicBoolean;
import sun.misc.Signal;

/** Handles Ctrl-C: the first one ends the running task, the next one the program. */
final class Interrupts implements AutoCloseable {
  /** The exit status that shells report for a program ended by SIGINT. */
  static final int STATUS = 130;

  private final AtomicBoolean interrupted = new AtomicBoolean();
  private final AtomicBoolean running = new AtomicBoolean();
  private final sun.misc.SignalHandler before;

  Interrupts() {
    before =
        Signal.handle(
            new Signal("INT"),
            signal -> {
              if (!running.get() || interrupted.getAndSet(true)) {
                Runtime.getRuntime().halt(STATUS);
              }
            });
  }

  /** Starts a task that Ctrl-C ends. */
  void begin() {
    interrupted.set(false);
    running.set(true);
  }

  /** Ends the task. */
  void end() {
    running.set(false);
  }

  boolean interrupted() {
    return interrupted.get();
  }

  @Override
  public void close() {
    Signal.handle(new Signal("INT"), before);
  }
}
