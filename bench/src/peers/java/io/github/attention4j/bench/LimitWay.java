package io.github.attention4j.bench;

import java.util.function.DoubleSupplier;

/**
 * A limit on one workload: it measures itself, and answers with the time that the workload would
 * take if nothing else counted.
 */
final class LimitWay implements Way {
  private final DoubleSupplier nanos;
  private final Way beside;

  /** A limit, and what else its process measures, or null. */
  LimitWay(DoubleSupplier nanos, Way beside) {
    this.nanos = nanos;
    this.beside = beside;
  }

  @Override
  public Way beside() {
    return beside;
  }

  @Override
  public String name() {
    return "";
  }

  @Override
  public void run() {
    nanos.getAsDouble();
  }

  /** Measured in C, this many times. */
  @Override
  public double nanos(int calls) {
    double sum = 0;
    for (int i = 0; i < calls; i++) {
      sum += nanos.getAsDouble();
    }
    return sum / calls;
  }

  @Override
  public float[] result() {
    return null;
  }

  @Override
  public void close() {}
}
