package io.github.attention4j.bench;

import java.util.function.DoubleSupplier;

/**
 * A limit on one workload: it measures itself, and answers with the time that the workload would
 * take if nothing else counted.
 */
final class LimitWay implements Way {
  private final DoubleSupplier nanos;

  LimitWay(DoubleSupplier nanos) {
    this.nanos = nanos;
  }

  @Override
  public String name() {
    return "";
  }

  @Override
  public void run() {
    nanos.getAsDouble();
  }

  /** However many calls: a limit takes its own time. */
  @Override
  public double nanos(int calls) {
    return nanos.getAsDouble();
  }

  @Override
  public float[] result() {
    return null;
  }

  @Override
  public void close() {}
}
