package io.github.attention4j;

import io.github.attention4j.internal.Checks;
import io.github.attention4j.internal.Descriptor;
import io.github.attention4j.internal.Downcalls;
import io.github.attention4j.internal.Workspaces;
import java.lang.foreign.Arena;
import java.lang.foreign.MemorySegment;
import java.util.Arrays;
import java.util.Objects;

/**
 * Keys and values of what a model has read so far, in memory that is allocated once. Each batch has
 * its own length; new rows are written in place behind it.
 *
 * <pre>
 *   keys    [batch, headsK, capacity, dimK]     one head of one batch:
 *   values  [batch, headsV, capacity, dimV]     | row 0 | … | row length-1 | unused … | capacity
 * </pre>
 *
 * <pre>{@code
 * KvCache cache = KvCache.allocate(arena, batch, headsKv, capacity, dim);
 * cache.append(k, v); // the keys and values of the new tokens
 * attention.forward(q, cache, out); // their queries, over all tokens so far
 * }</pre>
 *
 * <p>The numbers of heads and their widths may differ between keys and values, as they do in {@link
 * Differential} with wide values. What lies in unused rows never matters.
 *
 * <p><b>Threads.</b> Not safe for several threads: whoever appends must be ordered before and after
 * everyone who reads. The memory belongs to the arena's owner.
 */
public final class KvCache {
  private final Tensor keys;
  private final Tensor values;
  private final int capacity;
  private final int[] lengths;
  private int longest;

  /** Made when first asked for after a change; views and masks are immutable. */
  private Tensor usedKeys;

  private Tensor usedValues;
  private Mask mask;

  private KvCache(Tensor keys, Tensor values, int[] lengths) {
    this.keys = keys;
    this.values = values;
    this.capacity = Math.toIntExact(keys.size(2));
    this.lengths = lengths;
    changed();
  }

  /**
   * Allocates an empty cache whose keys and values have the same shape.
   *
   * @param arena supplies the memory and decides how long it lives
   * @param batch the number of sequences
   * @param headsKv the number of key and value heads
   * @param capacity the most rows for each sequence
   * @param dim the width of a head
   * @return an empty cache
   * @throws IllegalArgumentException if a size is negative, the capacity exceeds 2³¹ − 1, or the
   *     memory's size overflows
   * @throws OutOfMemoryError if the memory is not to be had
   */
  public static KvCache allocate(Arena arena, long batch, long headsKv, long capacity, long dim) {
    return allocate(arena, batch, headsKv, dim, headsKv, dim, capacity);
  }

  /**
   * Allocates an empty cache.
   *
   * @param arena supplies the memory and decides how long it lives
   * @param batch the number of sequences
   * @param headsK the number of key heads
   * @param dimK the width of a key head
   * @param headsV the number of value heads
   * @param dimV the width of a value head
   * @param capacity the most rows for each sequence
   * @return an empty cache
   * @throws IllegalArgumentException if a size is negative, batch or capacity exceed 2³¹ − 1, or
   *     the memory's size overflows
   * @throws OutOfMemoryError if the memory is not to be had
   */
  public static KvCache allocate(
      Arena arena, long batch, long headsK, long dimK, long headsV, long dimV, long capacity) {
    Objects.requireNonNull(arena, "arena");
    Checks.inRange("batch", batch, 0, Integer.MAX_VALUE);
    return of(
        Tensor.allocate(arena, DType.F32, batch, headsK, capacity, dimK),
        Tensor.allocate(arena, DType.F32, batch, headsV, capacity, dimV),
        new int[(int) batch]);
  }

  /**
   * Makes a cache of memory that holds keys and values already; what is appended is written there.
   *
   * @param keys {@link DType#F32} {@code [batch, headsK, capacity, dimK]}, with any strides but 1
   *     for the last. Modified by {@link #append}.
   * @param values {@link DType#F32} {@code [batch, headsV, capacity, dimV]}, likewise. Modified by
   *     {@link #append}.
   * @param lengths for each batch the number of rows in use. Copied.
   * @return a cache over the same memory
   * @throws IllegalArgumentException if types, ranks or sizes do not fit, the tensors are read-only
   *     or overlap, or a length lies outside [0, capacity]
   * @throws IllegalStateException if a tensor's arena is closed or confined to another thread
   */
  public static KvCache of(Tensor keys, Tensor values, int... lengths) {
    checkStore("keys", keys);
    checkStore("values", values);
    Checks.equal("values", "keys", "batch", values.size(0), keys.size(0));
    Checks.equal("values", "keys", "capacity", values.size(2), keys.size(2));
    Checks.inRange("capacity", keys.size(2), 0, Integer.MAX_VALUE);
    Checks.disjoint("values", values, "keys", keys);
    int[] ownLengths = Objects.requireNonNull(lengths, "lengths").clone();
    Checks.equal("lengths.length", ownLengths.length, "keys.batch", keys.size(0));
    for (int b = 0; b < ownLengths.length; b++) {
      Checks.inRange("lengths[" + b + "]", ownLengths[b], 0, keys.size(2));
    }
    return new KvCache(keys, values, ownLengths);
  }

  private static void checkStore(String name, Tensor store) {
    Checks.rank(name, Objects.requireNonNull(store, name), 4);
    Checks.output(name, store);
    Checks.packedRows(name, store);
  }

  // ---- What it holds ----

  /**
   * Returns the most rows that a batch can hold.
   *
   * @return the capacity in rows
   */
  public int capacity() {
    return capacity;
  }

  /**
   * Returns how many rows each batch holds.
   *
   * @return a copy, one number for each batch
   */
  public int[] lengths() {
    return lengths.clone();
  }

  /**
   * Returns how many rows one batch holds.
   *
   * @param batch the batch
   * @return the number of rows in use
   * @throws IndexOutOfBoundsException if there is no such batch
   */
  public int length(int batch) {
    return lengths[Objects.checkIndex(batch, lengths.length)];
  }

  /**
   * Returns how many rows the longest batch holds.
   *
   * @return the largest of the lengths, 0 where there is no batch
   */
  public int longest() {
    return longest;
  }

  /**
   * Returns the keys up to the longest length; shorter batches end with unused rows.
   *
   * @return a view {@code [batch, headsK, longest, dimK]}
   */
  public Tensor keys() {
    if (usedKeys == null) {
      usedKeys = keys.slice(2, 0, longest);
    }
    return usedKeys;
  }

  /**
   * Returns the values up to the longest length; shorter batches end with unused rows.
   *
   * @return a view {@code [batch, headsV, longest, dimV]}
   */
  public Tensor values() {
    if (usedValues == null) {
      usedValues = values.slice(2, 0, longest);
    }
    return usedValues;
  }

  /**
   * Returns the mask by which the newest queries see what this cache holds at this moment: causal,
   * {@link Alignment#BOTTOM_RIGHT}, each batch by its own length.
   *
   * @return a mask that does not follow later changes
   */
  public Mask mask() {
    if (mask == null) {
      Mask causal = Mask.causal(Alignment.BOTTOM_RIGHT);
      boolean alike = true;
      for (int length : lengths) {
        alike &= length == longest;
      }
      mask = alike ? causal : causal.and(Mask.keyLengths(lengths));
    }
    return mask;
  }

  // ---- Changing it ----

  /**
   * Appends the same number of rows to each batch.
   *
   * @param k the new keys {@code [batch, headsK, lenNew, dimK]}. Not modified.
   * @param v the new values {@code [batch, headsV, lenNew, dimV]}. Not modified.
   * @throws IllegalArgumentException if types, shapes, strides or alignment do not fit, or k or v
   *     overlaps the cache
   * @throws IllegalStateException if a batch has no room for the rows, in which case nothing is
   *     appended; or if a tensor's arena is closed or confined to another thread
   * @throws AttentionException if the native library is not to be had
   */
  public void append(Tensor k, Tensor v) {
    Checks.rank("k", Objects.requireNonNull(k, "k"), 4);
    Checks.inRange("k.lenNew", k.size(2), 0, Integer.MAX_VALUE);
    int[] counts = new int[lengths.length];
    Arrays.fill(counts, (int) k.size(2));
    appendRows(k, v, counts);
  }

  /**
   * Appends to each batch its own number of rows: the first ones of k and v.
   *
   * @param k the new keys {@code [batch, headsK, lenNew, dimK]}. Not modified.
   * @param v the new values {@code [batch, headsV, lenNew, dimV]}. Not modified.
   * @param counts for each batch how many of the new rows are its own, from 0 to lenNew. Not
   *     modified.
   * @throws IllegalArgumentException as {@link #append(Tensor, Tensor)}, and if there is not one
   *     count for each batch, or one lies outside [0, lenNew]
   * @throws IllegalStateException if a batch has no room for the rows, in which case nothing is
   *     appended; or if a tensor's arena is closed or confined to another thread
   * @throws AttentionException if the native library is not to be had
   */
  public void append(Tensor k, Tensor v, int[] counts) {
    Checks.rank("k", Objects.requireNonNull(k, "k"), 4);
    int[] ownCounts = Objects.requireNonNull(counts, "counts").clone();
    Checks.equal("counts.length", ownCounts.length, "cache.batch", lengths.length);
    for (int b = 0; b < ownCounts.length; b++) {
      Checks.inRange("counts[" + b + "]", ownCounts[b], 0, k.size(2));
    }
    appendRows(k, v, ownCounts);
  }

  /**
   * Forgets the rows of every batch from a length on; shorter batches stay as they are.
   *
   * @param length the most rows that a batch keeps
   * @throws IllegalArgumentException if the length is negative
   */
  public void truncate(int length) {
    Checks.inRange("length", length, 0, Integer.MAX_VALUE);
    for (int b = 0; b < lengths.length; b++) {
      lengths[b] = Math.min(lengths[b], length);
    }
    changed();
  }

  /**
   * Forgets the rows of one batch from a length on.
   *
   * @param batch the batch
   * @param length the rows that it keeps, at most those it has
   * @throws IndexOutOfBoundsException if there is no such batch
   * @throws IllegalArgumentException if the length is negative or more than the batch has
   */
  public void truncate(int batch, int length) {
    Checks.inRange("length", length, 0, length(batch));
    lengths[batch] = length;
    changed();
  }

  /** Forgets everything. The memory stays, with what was in it. */
  public void reset() {
    truncate(0);
  }

  private void appendRows(Tensor k, Tensor v, int[] counts) {
    checkRows("k", k, "keys", keys);
    checkRows("v", Objects.requireNonNull(v, "v"), "values", values);
    Checks.equal("v", "k", "lenNew", v.size(2), k.size(2));
    Checks.reachable("keys", keys);
    Checks.reachable("values", values);
    Checks.disjoint("keys", keys, "k", k);
    Checks.disjoint("keys", keys, "v", v);
    Checks.disjoint("values", values, "k", k);
    Checks.disjoint("values", values, "v", v);
    for (int b = 0; b < counts.length; b++) {
      if (counts[b] > capacity - lengths[b]) {
        throw new IllegalStateException(
            "cache must have room for the new rows of batch "
                + b
                + ": new rows="
                + counts[b]
                + ", length="
                + lengths[b]
                + ", capacity="
                + capacity);
      }
    }
    if (k.size(2) == 0 || counts.length == 0) {
      return;
    }
    try (Workspaces.Lease lease = Workspaces.lease()) {
      write(lease, k, keys, counts);
      write(lease, v, values, counts);
    }
    for (int b = 0; b < counts.length; b++) {
      lengths[b] += counts[b];
    }
    changed();
  }

  private static void checkRows(String name, Tensor rows, String storeName, Tensor store) {
    Checks.rank(name, rows, 4);
    Checks.input(name, rows);
    Checks.packedRows(name, rows);
    Checks.equal(name, storeName, "batch", rows.size(0), store.size(0));
    Checks.equal(name, storeName, "heads", rows.size(1), store.size(1));
    Checks.equal(name, storeName, "dim", rows.size(3), store.size(3));
  }

  private void write(Workspaces.Lease lease, Tensor rows, Tensor store, int[] counts) {
    MemorySegment d =
        Descriptor.append(
            lease,
            A4j.threads(),
            rows.size(1),
            rows.size(2),
            capacity,
            rows.size(3),
            lengths,
            counts);
    Descriptor.rowsStrides(d, rows.stride(0), rows.stride(1), rows.stride(2));
    Descriptor.cacheStrides(d, store.stride(0), store.stride(1), store.stride(2));
    Downcalls.append(d, Checks.first(rows), Checks.first(store));
  }

  private void changed() {
    longest = 0;
    for (int length : lengths) {
      longest = Math.max(longest, length);
    }
    usedKeys = null;
    usedValues = null;
    mask = null;
  }
}
