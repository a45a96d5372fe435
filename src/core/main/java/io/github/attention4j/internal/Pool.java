package io.github.attention4j.internal;

import java.util.concurrent.atomic.AtomicReferenceArray;
import java.util.function.ToLongFunction;

/**
 * A few things that are kept for reuse, at most as many as there are cores: no more calls than that
 * can run at once. What finds no place is left to the garbage collector.
 *
 * <p>Safe for any number of threads.
 */
final class Pool<T> {
  private static final int SLOTS = Runtime.getRuntime().availableProcessors();

  private final AtomicReferenceArray<T> slots = new AtomicReferenceArray<>(SLOTS);

  /** Takes one out, or returns null if there is none. */
  T take() {
    for (int i = 0; i < SLOTS; i++) {
      T one = slots.getPlain(i) == null ? null : slots.getAndSet(i, null);
      if (one != null) {
        return one;
      }
    }
    return null;
  }

  void give(T one) {
    for (int i = 0; i < SLOTS; i++) {
      if (slots.getPlain(i) == null && slots.compareAndSet(i, null, one)) {
        return;
      }
    }
  }

  /** Leaves all to the garbage collector. */
  void forget() {
    for (int i = 0; i < SLOTS; i++) {
      slots.set(i, null);
    }
  }

  /** Adds up the sizes of what is here. */
  long sum(ToLongFunction<T> size) {
    long sum = 0;
    for (int i = 0; i < SLOTS; i++) {
      T one = slots.get(i);
      sum += one == null ? 0 : size.applyAsLong(one);
    }
    return sum;
  }
}
