package io.github.attention4j.bench;

import java.lang.foreign.Arena;
import java.lang.foreign.MemorySegment;

/** A vectorised sum over the bytes that a workload must read: its limit where memory decides. */
final class SumWay implements Way {
  private final Arena arena = Arena.ofShared();
  private final int threads;
  private final MemorySegment first;
  private final MemorySegment second;

  /** What the bytes that matter are of those that are read. */
  private final double scale;

  /** Over the very keys and values of a step. */
  SumWay(int threads, MemorySegment first, MemorySegment second) {
    this.threads = threads;
    this.first = first;
    this.second = second;
    scale = 1;
  }

  /** Over so many bytes of its own, as if it were another number of them. */
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

  /** Measured inside: starting threads is no part of a limit. */
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
