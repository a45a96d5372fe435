package io.github.attention4j.models.decoder;

import io.github.attention4j.DType;
import io.github.attention4j.KvCache;
import io.github.attention4j.KvPagePool;
import io.github.attention4j.Tensor;
import io.github.attention4j.io.SafeTensors;
import java.lang.foreign.Arena;
import java.util.Arrays;
import java.util.Map;

/**
 * The keys and values of one layer of a text, in memory of its own that grows with the text or in
 * pages of a shared pool. A layer with a window drops what no later token can see.
 */
final class LayerCache {
  private static final int FIRST_ROWS = 64;

  /** How many rows more than a window needs are kept, so that a text can be cut by as many. */
  static final int TAKEN_BACK = 16;

  private final Arena arena;

  /** Null if the cache has memory of its own. */
  private final KvPagePool pool;

  private final DType dtype;
  private final int headsKv;
  private final int dim;

  /** The most rows that the cache ever needs. */
  private final int most;

  /** How many of the last rows a later token can see; the capacity if there is no window. */
  private final int seen;

  private KvCache rows;

  /** The number of dropped positions, all before the first row. */
  private int forgotten;

  /**
   * @param arena supplies the memory, unless there is a pool
   * @param pool supplies the pages; null for memory of its own
   * @param dtype how rows are stored
   * @param capacity the most tokens of the text
   * @param window how many positions a token sees, itself included; 0 for all
   * @param mostNew the most rows that are appended at once
   */
  LayerCache(
      Arena arena,
      KvPagePool pool,
      DType dtype,
      int headsKv,
      int dim,
      int capacity,
      int window,
      int mostNew) {
    this.arena = arena;
    this.pool = pool;
    this.dtype = dtype;
    this.headsKv = headsKv;
    this.dim = dim;
    seen = window == 0 ? Integer.MAX_VALUE : window - 1;
    most = most(capacity, window, mostNew);
    rows = empty(FIRST_ROWS);
  }

  /** Twice what is kept, so the kept rows can move to the front without overlapping. */
  private static int most(int capacity, int window, int mostNew) {
    return window == 0
        ? capacity
        : (int) Math.min(capacity, 2L * (window - 1 + TAKEN_BACK) + mostNew);
  }

  /**
   * The most pages that a text of this length needs in a layer.
   *
   * @param pageRows the rows of a page
   */
  static long pages(int length, int window, int mostNew, int pageRows) {
    int rows = Math.min(length, most(length, window, mostNew));
    long pages = Math.ceilDiv(rows, pageRows);
    // Kept rows are copied before their pages are returned.
    return rows < length ? pages + Math.ceilDiv(window - 1 + TAKEN_BACK, pageRows) : pages;
  }

  private KvCache empty(long capacity) {
    return pool == null
        ? KvCache.allocate(arena, dtype, 1, headsKv, Math.min(most, capacity), dim)
        : KvCache.paged(pool, 1, most);
  }

  int length() {
    return forgotten + rows.longest();
  }

  /** The rows from the first kept position on. */
  KvCache rows() {
    return rows;
  }

  void append(Tensor k, Tensor v) {
    int needed = rows.longest() + (int) k.size(2);
    if (needed > most) {
      forget();
      needed = rows.longest() + (int) k.size(2);
    }
    reserve(needed);
    rows.append(k, v);
  }

  private void reserve(int needed) {
    if (needed > rows.capacity() && pool == null) {
      long doubled = Math.max(2L * rows.capacity(), needed);
      KvCache larger =
          KvCache.allocate(
              arena, dtype, 1, headsKv, Math.min(doubled, Math.max(most, needed)), dim);
      try (Arena scratch = Arena.ofConfined()) {
        // Widening and rounding back is exact.
        larger.append(rows.keys(scratch), rows.values(scratch));
      }
      rows = larger;
    }
  }

  /** Moves the rows that later tokens can see, and a few more, to the front. */
  private void forget() {
    int length = rows.longest();
    int kept = (int) Math.min((long) seen + TAKEN_BACK, length);
    KvCache front = pool == null ? rows : empty(most);
    try (Arena scratch = Arena.ofConfined()) {
      Tensor keys = rows.copyKeys(scratch).slice(2, length - kept, kept);
      Tensor values = rows.copyValues(scratch).slice(2, length - kept, kept);
      if (pool == null) {
        rows.reset();
      }
      front.append(keys, values);
    }
    if (front != rows) {
      rows.reset();
      rows = front;
    }
    forgotten += length - kept;
  }

  /** Whether the text can be cut to a length without being processed again. */
  boolean canTruncate(int length) {
    return forgotten <= Math.max(0L, (long) length - seen) && length <= length();
  }

  /** Forgets the rows from a length on; the length must be one that {@link #canTruncate} allows. */
  void truncate(int length) {
    if (length < length()) {
      if (length < forgotten) {
        throw new IllegalStateException(
            "rows must still be there: length=" + length + ", forgotten=" + forgotten);
      }
      rows.truncate(length - forgotten);
    }
  }

  /** Forgets everything. Pages are returned; memory of its own stays allocated. */
  void clear() {
    forgotten = 0;
    rows.reset();
  }

  // ---- Copies ----

  /**
   * Becomes the beginning of another text's cache, which {@link #canTruncate} must allow. Caches in
   * the same pool share pages until one of them writes.
   */
  void copyFrom(LayerCache other, int length) {
    clear();
    int kept = length - other.forgotten;
    if (pool != null && other.pool == pool) {
      rows.share(0, other.rows, 0, kept);
    } else {
      reserve(kept);
      try (Arena scratch = Arena.ofConfined()) {
        rows.append(
            other.rows.keys(scratch).slice(2, 0, kept),
            other.rows.values(scratch).slice(2, 0, kept));
      }
    }
    forgotten = other.forgotten;
  }

  /** Adds the rows in their stored type, copied into the arena if necessary. */
  void save(Arena scratch, String name, Map<String, Tensor> tensors) {
    tensors.put(name + ".keys", stored(scratch, rows.keys(scratch)));
    tensors.put(name + ".values", stored(scratch, rows.values(scratch)));
  }

  private Tensor stored(Arena scratch, Tensor widened) {
    Tensor text = widened.select(0, 0);
    return dtype == DType.F32 ? text : Tensor.allocate(scratch, dtype, text.shape()).copyFrom(text);
  }

  /** Reads the saved rows of a text of this length: all of them, or those in the window. */
  void restore(String name, SafeTensors saved, int length) {
    Tensor keys = saved.get(name + ".keys");
    Tensor values = saved.get(name + ".values");
    long kept = keys.rank() == 3 ? keys.size(1) : -1;
    long least = Math.min(length, seen);
    long[] shape = {headsKv, kept, dim};
    if (kept < least
        || kept > length
        || keys.dtype() != dtype
        || values.dtype() != dtype
        || !Arrays.equals(keys.shape(), shape)
        || !Arrays.equals(values.shape(), shape)) {
      throw new IllegalArgumentException(
          saved
              + ": "
              + name
              + " must have the keys and values of "
              + length
              + " tokens: keys="
              + keys
              + ", values="
              + values);
    }
    clear();
    reserve((int) kept);
    try (Arena scratch = Arena.ofConfined()) {
      // Files need not align their tensors. Widening and rounding back is exact.
      rows.append(keys.toF32(scratch).unsqueeze(0), values.toF32(scratch).unsqueeze(0));
    }
    forgotten = length - (int) kept;
  }
}
