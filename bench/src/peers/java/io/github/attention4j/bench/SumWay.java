package io.github.attention4j.bench;

import java.lang.foreign.Arena;
import java.lang.foreign.MemorySegment;

/** A vectorised sum over the bytes that a workload must read: its limit if memory decides. */
final class SumWay implements Way {
  private final Arena arena = Arena.ofShared();
  private final int threads;
  private final MemorySegment first;
  private final MemorySegment second;

  /** The bytes that count over the bytes that are read. */
  private final double scale;

  /** A sum over the keys and values of a step themselves. */
  SumWay(int threads, MemorySegment first, MemorySegment second) {
    this.threads = threads;
    this.first = first;
    this.second = second;
    scale = 1;
  }

  /** A sum over {@code bytes} bytes of its own, scaled as if there were {@code asIf}. */
  SumWay(int threads, double bytes, double asIf) {
    this.threads = threads;
    scale = asIf / bytes;
    long half = Math.round(bytes / 8) * 4;
    first = arena.allocate(half, 64).fill((byte) 0);
    second = arena.allocate(half, 64).fill((byte) 0);
  }

  @Override
  public String name() {
    return "";
  }

  @Override
  public void run() {
    Limits.sumNanos(threads, first, second);
  }

  /** Measured in C, because starting threads is not part of a limit. */
  @Override
  public double nanos(int calls) {
    double sum = 0;
    for (int i = 0; i < calls; i++) {
      sum += Limits.sumNanos(threads, first, second);
    }
    return scale * sum / calls;
  }

  @Override
  public float[] result() {
    return null;
  }

  @Override
  public void close() {
    arena.close();
  }
}
