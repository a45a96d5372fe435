package io.github.attention4j.internal;

import io.github.attention4j.KvCache;
import io.github.attention4j.Tensor;

/**
 * New rows of a cache, which are forgotten again unless what is computed with them succeeds. So a
 * call that is refused, or fails for lack of memory, can be repeated.
 *
 * <pre>{@code
 * try (Appended rows = new Appended(cache, k, v)) {
 *   …
 *   rows.keep();
 * }
 * }</pre>
 */
public final class Appended implements AutoCloseable {
  private final KvCache cache;
  private final int[] before;
  private boolean kept;

  /** Appends the rows. */
  public Appended(KvCache cache, Tensor k, Tensor v) {
    this.cache = cache;
    this.before = cache.lengths();
    cache.append(k, v);
  }

  /** The rows stay. */
  public void keep() {
    kept = true;
  }

  @Override
  public void close() {
    for (int b = 0; b < before.length && !kept; b++) {
      // A ring always allows it: an append leaves the window before the new rows.
      cache.truncate(b, before[b]);
    }
  }
}
