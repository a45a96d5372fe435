package io.github.attention4j;

import io.github.attention4j.internal.Checks;
import io.github.attention4j.internal.Descriptor;
import io.github.attention4j.internal.Downcalls;
import io.github.attention4j.internal.Workspaces;
import java.lang.foreign.Arena;
import java.lang.foreign.MemorySegment;
import java.lang.foreign.ValueLayout;
import java.util.Arrays;
import java.util.Objects;

/**
 * The keys and values of the tokens that a model has read so far. Each batch has its own length;
 * new rows are appended to it, rounded to the type that the cache stores.
 *
 * <pre>
 *   keys    [batch, headsK, capacity, dimK]     one head of one batch:
 *   values  [batch, headsV, capacity, dimV]     | row 0 | … | row length-1 | unused … | capacity
 * </pre>
 *
 * <p>There are three kinds. A <b>dense</b> cache allocates its capacity at once. A <b>paged</b> one
 * ({@link #paged}) takes pages from a {@link KvPagePool} as its rows come, returns them when rows
 * are forgotten, and can share pages with other sequences ({@link #share}). A <b>ring</b> ({@link
 * #ring}) keeps only the last rows, as many as attention with a window needs, however long the text
 * grows.
 *
 * <p>Stored in {@link DType#BF16} or {@link DType#F16}, a row takes half the memory of {@link
 * DType#F32}. {@link DType#I8} stores each row of a head as integers from −127 to 127 times a
 * scale, the row's largest magnitude / 127, which takes slightly more than a quarter. Attention
 * widens what is stored exactly, and computes in float32.
 *
 * <pre>{@code
 * KvCache cache = KvCache.allocate(arena, batch, headsKv, capacity, dim);
 * cache.append(k, v); // the keys and values of the new tokens
 * attention.forward(q, cache, out); // their queries, over all tokens so far
 * }</pre>
 *
 * <p>Keys and values may have different numbers of heads and different widths, as they do in {@link
 * Differential} with wide values. The contents of unused rows never matter.
 *
 * <p><b>Threads.</b> Not safe for several threads: the caller must order changes before or after
 * everything that reads. The memory belongs to the arena's owner.
 */
public final class KvCache {
  private static final int INFINITY_BITS = Float.floatToRawIntBits(Float.POSITIVE_INFINITY);

  /** The most batches that rows are written to; each has two numbers in the call's descriptor. */
  private static final int MOST_BATCHES = 1 << 27;

  private final KvStore store;

  /** How many rows each batch has had appended and not forgotten. */
  private final int[] lengths;

  private int longest;

  /** Made when first asked for after a change; views and masks are immutable. */
  private Tensor usedKeys;

  private Tensor usedValues;
  private Mask mask;

  private KvCache(KvStore store, int[] lengths) {
    this.store = store;
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
   * @throws OutOfMemoryError if the memory cannot be allocated
   */
  public static KvCache allocate(Arena arena, long batch, long headsKv, long capacity, long dim) {
    return allocate(arena, DType.F32, batch, headsKv, capacity, dim);
  }

  /**
   * Allocates an empty cache whose keys and values have the same shape.
   *
   * @param arena supplies the memory and decides how long it lives
   * @param dtype how rows are stored: {@link DType#F32}, {@link DType#BF16}, {@link DType#F16} or
   *     {@link DType#I8}
   * @param batch the number of sequences
   * @param headsKv the number of key and value heads
   * @param capacity the most rows for each sequence
   * @param dim the width of a head
   * @return an empty cache
   * @throws IllegalArgumentException if the type is another, a size is negative, the capacity
   *     exceeds 2³¹ − 1, or the memory's size overflows
   * @throws OutOfMemoryError if the memory cannot be allocated
   */
  public static KvCache allocate(
      Arena arena, DType dtype, long batch, long headsKv, long capacity, long dim) {
    return allocate(arena, dtype, batch, headsKv, dim, headsKv, dim, capacity);
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
   * @throws OutOfMemoryError if the memory cannot be allocated
   */
  public static KvCache allocate(
      Arena arena, long batch, long headsK, long dimK, long headsV, long dimV, long capacity) {
    return allocate(arena, DType.F32, batch, headsK, dimK, headsV, dimV, capacity);
  }

  /**
   * Allocates an empty cache.
   *
   * @param arena supplies the memory and decides how long it lives
   * @param dtype how rows are stored: {@link DType#F32}, {@link DType#BF16}, {@link DType#F16} or
   *     {@link DType#I8}
   * @param batch the number of sequences
   * @param headsK the number of key heads
   * @param dimK the width of a key head
   * @param headsV the number of value heads
   * @param dimV the width of a value head
   * @param capacity the most rows for each sequence
   * @return an empty cache
   * @throws IllegalArgumentException if the type is another, a size is negative, batch or capacity
   *     exceed 2³¹ − 1, or the memory's size overflows
   * @throws OutOfMemoryError if the memory cannot be allocated
   */
  public static KvCache allocate(
      Arena arena,
      DType dtype,
      long batch,
      long headsK,
      long dimK,
      long headsV,
      long dimV,
      long capacity) {
    Objects.requireNonNull(arena, "arena");
    KvRows.checkStorage(dtype);
    Checks.inRange("batch", batch, 0, Integer.MAX_VALUE);
    Checks.inRange("capacity", capacity, 0, Integer.MAX_VALUE);
    KvRows keys = KvRows.allocate(arena, dtype, batch, headsK, capacity, dimK);
    KvRows values = KvRows.allocate(arena, dtype, batch, headsV, capacity, dimV);
    return new KvCache(new DenseStore(keys, values), new int[(int) batch]);
  }

  /**
   * Makes an empty cache that takes its memory from a pool, page by page. A batch can hold as many
   * rows as there are pages for it.
   *
   * <p>Apart from the pool, the cache has a table of 4 bytes for each batch and page of the longest
   * batch, in direct memory. The table doubles when it is full, at first for 16 pages; {@link
   * #reorder} makes a second one.
   *
   * @param pool supplies the pages, and determines how rows are stored
   * @param batch the number of sequences
   * @return an empty cache, which holds no page
   * @throws IllegalArgumentException if the batch is negative
   * @throws OutOfMemoryError if there is no memory for the table
   */
  public static KvCache paged(KvPagePool pool, int batch) {
    return paged(pool, batch, Integer.MAX_VALUE);
  }

  /**
   * Makes an empty cache that takes its memory from a pool, page by page, up to a limit of its own.
   * Its table is as in {@link #paged(KvPagePool, int)}.
   *
   * @param pool supplies the pages, and determines how rows are stored
   * @param batch the number of sequences
   * @param capacity the most rows for each sequence; more than the pool has pages for counts as
   *     that
   * @return an empty cache, which holds no page
   * @throws IllegalArgumentException if batch or capacity is negative
   * @throws OutOfMemoryError if there is no memory for the table
   */
  public static KvCache paged(KvPagePool pool, int batch, int capacity) {
    Objects.requireNonNull(pool, "pool");
    Checks.inRange("batch", batch, 0, Integer.MAX_VALUE);
    Checks.inRange("capacity", capacity, 0, Integer.MAX_VALUE);
    return new KvCache(new PagedStore(pool, batch, capacity), new int[batch]);
  }

  /**
   * Allocates an empty ring, whose keys and values have the same shape.
   *
   * @param arena supplies the memory and decides how long it lives
   * @param dtype how rows are stored: {@link DType#F32}, {@link DType#BF16}, {@link DType#F16} or
   *     {@link DType#I8}
   * @param batch the number of sequences
   * @param headsKv the number of key and value heads
   * @param dim the width of a head
   * @param window the number of keys that a query sees, its own included; at least 1
   * @param mostNew the most rows that are appended at a time; at least 1
   * @return an empty ring
   * @throws IllegalArgumentException as {@link #ring(Arena, DType, int, long, long, long, long,
   *     int, int)}
   * @throws OutOfMemoryError if the memory cannot be allocated
   */
  public static KvCache ring(
      Arena arena, DType dtype, int batch, long headsKv, long dim, int window, int mostNew) {
    return ring(arena, dtype, batch, headsKv, dim, headsKv, dim, window, mostNew);
  }

  /**
   * Allocates an empty ring: a cache that keeps only the last rows of each batch. Its memory is for
   * {@code window + mostNew} rows, rounded up to whole pages of 64 and one more, and does not grow
   * with the text. {@link #lengths} and rotary positions count all rows that were ever appended.
   *
   * <p>Attention over a ring has the window whether its own mask has one or not; a mask may narrow
   * it further. What identifies a key by its index cannot be used, because rows move: masks and
   * biases in tensors, key lengths, key ranges, chunks, conditions and score expressions, dropout
   * and noise, returned weights and scores.
   *
   * <p>Rows that have been overwritten do not come back: {@link #truncate(int, int)} refuses
   * lengths after which the next query would need them.
   *
   * @param arena supplies the memory and decides how long it lives
   * @param dtype how rows are stored: {@link DType#F32}, {@link DType#BF16}, {@link DType#F16} or
   *     {@link DType#I8}
   * @param batch the number of sequences
   * @param headsK the number of key heads
   * @param dimK the width of a key head
   * @param headsV the number of value heads
   * @param dimV the width of a value head
   * @param window the number of keys that a query sees, its own included; at least 1
   * @param mostNew the most rows that are appended at a time; at least 1
   * @return an empty ring
   * @throws IllegalArgumentException if the type is another, batch is negative, another size is
   *     less than 1, there would be more than 2³¹ − 1 pages, or the memory's size overflows
   * @throws OutOfMemoryError if the memory cannot be allocated
   */
  public static KvCache ring(
      Arena arena,
      DType dtype,
      int batch,
      long headsK,
      long dimK,
      long headsV,
      long dimV,
      int window,
      int mostNew) {
    Objects.requireNonNull(arena, "arena");
    KvRows.checkStorage(dtype);
    Checks.inRange("batch", batch, 0, Integer.MAX_VALUE);
    Checks.positive("headsK", headsK);
    Checks.positive("dimK", dimK);
    Checks.positive("headsV", headsV);
    Checks.positive("dimV", dimV);
    Checks.positive("window", window);
    Checks.positive("mostNew", mostNew);
    return new KvCache(
        RingStore.allocate(arena, dtype, batch, headsK, dimK, headsV, dimV, window, mostNew),
        new int[batch]);
  }

  /**
   * Makes a cache of memory that holds keys and values already; what is appended is written there.
   *
   * @param keys {@code [batch, headsK, capacity, dimK]} of {@link DType#F32}, {@link DType#BF16} or
   *     {@link DType#F16}, with any strides but 1 for the last. Modified by {@link #append}.
   * @param values {@code [batch, headsV, capacity, dimV]} of the same type, likewise. Modified by
   *     {@link #append}.
   * @param lengths for each batch the number of rows in use. Copied.
   * @return a cache over the same memory
   * @throws IllegalArgumentException if types, ranks or sizes do not fit, the tensors are read-only
   *     or overlap, or a length lies outside [0, capacity]
   */
  public static KvCache of(Tensor keys, Tensor values, int... lengths) {
    checkStore("keys", keys);
    checkStore("values", values);
    if (values.dtype() != keys.dtype()) {
      throw new IllegalArgumentException(
          "values.dtype must equal keys.dtype: values.dtype="
              + values.dtype()
              + ", keys.dtype="
              + keys.dtype());
    }
    Checks.equal("values", "keys", "batch", values.size(0), keys.size(0));
    Checks.equal("values", "keys", "capacity", values.size(2), keys.size(2));
    Checks.inRange("capacity", keys.size(2), 0, Integer.MAX_VALUE);
    Checks.disjoint("values", values, "keys", keys);
    int[] ownLengths = Objects.requireNonNull(lengths, "lengths").clone();
    Checks.equal("lengths.length", ownLengths.length, "keys.batch", keys.size(0));
    for (int b = 0; b < ownLengths.length; b++) {
      Checks.inRange("lengths[" + b + "]", ownLengths[b], 0, keys.size(2));
    }
    return new KvCache(
        new DenseStore(new KvRows(keys, null), new KvRows(values, null)), ownLengths);
  }

  private static void checkStore(String name, Tensor store) {
    Checks.rank(name, Objects.requireNonNull(store, name), 4);
    Checks.realOutput(name, store);
    Checks.packedRows(name, store);
  }

  // ---- What it holds ----

  /**
   * Returns the most rows that a batch can have.
   *
   * @return the capacity in rows; 2³¹ − 1 for a ring, which forgets rows in time
   */
  public int capacity() {
    return store.capacity();
  }

  /**
   * Returns how many rows each batch has. Those of a ring count rows that it has overwritten.
   *
   * @return a copy, one number for each batch
   */
  public int[] lengths() {
    return lengths.clone();
  }

  /**
   * Returns how many rows one batch has.
   *
   * @param batch the batch
   * @return the number of rows in use
   * @throws IndexOutOfBoundsException if there is no such batch
   */
  public int length(int batch) {
    return lengths[Objects.checkIndex(batch, lengths.length)];
  }

  /**
   * Returns how many rows the longest batch has.
   *
   * @return the largest of the lengths, or 0 if there is no batch
   */
  public int longest() {
    return longest;
  }

  /**
   * Returns how rows are stored.
   *
   * @return {@link DType#F32}, {@link DType#BF16}, {@link DType#F16} or {@link DType#I8}
   */
  public DType dtype() {
    return store.keys.data().dtype();
  }

  /**
   * Returns the first row that a batch still holds.
   *
   * @param batch the batch
   * @return 0, unless this is a ring that has overwritten rows
   * @throws IndexOutOfBoundsException if there is no such batch
   */
  public int firstRow(int batch) {
    return store.first(Objects.checkIndex(batch, lengths.length));
  }

  /**
   * Returns the keys as float32, up to the longest length: a view if that is how they are stored,
   * else a copy. The rest of a shorter batch is undefined. The result must not be modified, and is
   * valid until the cache changes.
   *
   * @param arena supplies the memory if a copy is needed
   * @return {@link DType#F32} {@code [batch, headsK, longest, dimK]}; of a ring the rows that it
   *     holds, from {@link #firstRow} on
   * @throws OutOfMemoryError if the memory cannot be allocated
   */
  public Tensor keys(Arena arena) {
    return isPlain() ? keyView() : copyKeys(arena);
  }

  /**
   * Returns the values as float32, up to the longest length: a view if that is how they are stored,
   * else a copy. The rest of a shorter batch is undefined. The result must not be modified, and is
   * valid until the cache changes.
   *
   * @param arena supplies the memory if a copy is needed
   * @return {@link DType#F32} {@code [batch, headsV, longest, dimV]}; of a ring the rows that it
   *     holds, from {@link #firstRow} on
   * @throws OutOfMemoryError if the memory cannot be allocated
   */
  public Tensor values(Arena arena) {
    return isPlain() ? valueView() : copyValues(arena);
  }

  private boolean isPlain() {
    return !store.isPaged() && dtype() == DType.F32;
  }

  /**
   * Copies the keys, widened to float32, up to the longest length; shorter batches end with zeros.
   *
   * @param arena supplies the memory of the copy
   * @return {@link DType#F32} {@code [batch, headsK, longest, dimK]}; of a ring the rows that it
   *     holds, from {@link #firstRow} on
   * @throws OutOfMemoryError if the memory cannot be allocated
   */
  public Tensor copyKeys(Arena arena) {
    return copy(arena, store.keys);
  }

  /**
   * Copies the values, widened to float32, up to the longest length; shorter batches end with
   * zeros.
   *
   * @param arena supplies the memory of the copy
   * @return {@link DType#F32} {@code [batch, headsV, longest, dimV]}; of a ring the rows that it
   *     holds, from {@link #firstRow} on
   * @throws OutOfMemoryError if the memory cannot be allocated
   */
  public Tensor copyValues(Arena arena) {
    return copy(arena, store.values);
  }

  private Tensor copy(Arena arena, KvRows rows) {
    Tensor data = rows.data();
    Tensor to =
        Tensor.allocate(arena, DType.F32, lengths.length, data.size(1), held(), data.size(3));
    for (int b = 0; b < lengths.length; b++) {
      int first = store.first(b);
      for (int row = first; row < lengths[b]; ) {
        int within = store.within(row);
        int count = (int) Math.min(lengths[b] - row, data.size(2) - within);
        rows.widen(store.block(b, row), within, to.select(0, b).slice(1, row - first, count));
        row += count;
      }
    }
    return to;
  }

  /** The most rows of a batch that are there. */
  private int held() {
    int held = 0;
    for (int b = 0; b < lengths.length; b++) {
      held = Math.max(held, lengths[b] - store.first(b));
    }
    return held;
  }

  /** The keys in the shape that attention expects, to be read by what {@link #describe} adds. */
  Tensor keyView() {
    if (usedKeys == null) {
      usedKeys = store.view(store.keys, lengths.length, held());
    }
    return usedKeys;
  }

  /** The values likewise. */
  Tensor valueView() {
    if (usedValues == null) {
      usedValues = store.view(store.values, lengths.length, held());
    }
    return usedValues;
  }

  /** Whether attention needs more than the views to read the rows. */
  boolean isStoredApart() {
    return store.isApart();
  }

  boolean isRing() {
    return store instanceof RingStore;
  }

  /** Refuses queries that would see rows which are not there any more; null for lenQ of each. */
  void checkQueries(int[] queryLengths, long lenQ) {
    for (int b = 0; b < lengths.length; b++) {
      store.checkQueries(b, lengths[b], queryLengths == null ? lenQ : queryLengths[b]);
    }
  }

  /** Adds pages and scales to the views of keys and values, whose strides are written already. */
  void describe(MemorySegment d, AttentionCall call, Downcalls.AttentionBuffers buffers) {
    KvRows keys = store.keys;
    KvRows values = store.values;
    keys.describeScales(Descriptor.keys(d), call.strideHeadK, call.strideMapK);
    values.describeScales(Descriptor.values(d), call.strideHeadV, call.stridePartV);
    buffers.keyScales = Checks.firstOrNull(keys.scales());
    buffers.valueScales = Checks.firstOrNull(values.scales());
    store.pages(Descriptor.keys(d), keys);
    store.pages(Descriptor.values(d), values);
    buffers.keyPages = store.table();
    buffers.valuePages = store.table();
  }

  /** Refuses an output that shares memory with any of the rows. */
  void checkApart(String name, Tensor output) {
    Checks.disjoint(name, output, "cache.keys", store.keys.data());
    Checks.disjoint(name, output, "cache.values", store.values.data());
  }

  /**
   * Returns the mask by which the newest queries see the rows that this cache holds at this moment:
   * causal, {@link Alignment#BOTTOM_RIGHT}, each batch by its own length, and in a ring by its
   * window.
   *
   * @return a mask that does not follow later changes
   */
  public Mask mask() {
    if (mask == null) {
      int[] held = new int[lengths.length];
      boolean alike = true;
      for (int b = 0; b < held.length; b++) {
        held[b] = lengths[b] - store.first(b);
        alike &= held[b] == held[0];
      }
      Mask causal = store.causal();
      mask = alike ? causal : causal.and(Mask.keyLengths(held));
    }
    return mask;
  }

  // ---- Changing it ----

  /**
   * Appends the same number of rows to each batch. If it throws, the cache is unchanged.
   *
   * @param k the new keys {@code [batch, headsK, lenNew, dimK]}. Not modified.
   * @param v the new values {@code [batch, headsV, lenNew, dimV]}. Not modified.
   * @throws IllegalArgumentException if types, shapes, strides or alignment do not fit, k or v
   *     overlaps the cache, a number is not finite and the cache quantises it, a ring takes fewer
   *     rows at a time, or there are more than 2²⁷ batches
   * @throws IllegalStateException if a batch or the pool has no room for the rows
   * @throws OutOfMemoryError if there is no memory to describe the call or to grow the table of
   *     pages
   */
  public void append(Tensor k, Tensor v) {
    Checks.rank("k", Objects.requireNonNull(k, "k"), 4);
    Checks.inRange("k.lenNew", k.size(2), 0, Integer.MAX_VALUE);
    write(k, v, lengths.clone(), filled((int) k.size(2)));
  }

  /**
   * Appends to each batch its own number of rows: the first ones of k and v. If it throws, the
   * cache is unchanged.
   *
   * @param k the new keys {@code [batch, headsK, lenNew, dimK]}. Not modified.
   * @param v the new values {@code [batch, headsV, lenNew, dimV]}. Not modified.
   * @param counts for each batch how many of the new rows are its own, from 0 to lenNew. Not
   *     modified.
   * @throws IllegalArgumentException as {@link #append(Tensor, Tensor)}, and if there is not one
   *     count for each batch, or one lies outside [0, lenNew]
   * @throws IllegalStateException as {@link #append(Tensor, Tensor)}
   * @throws OutOfMemoryError as {@link #append(Tensor, Tensor)}
   */
  public void append(Tensor k, Tensor v, int[] counts) {
    Checks.rank("k", Objects.requireNonNull(k, "k"), 4);
    int[] ownCounts = Objects.requireNonNull(counts, "counts").clone();
    Checks.equal("counts.length", ownCounts.length, "cache.batch", lengths.length);
    for (int b = 0; b < ownCounts.length; b++) {
      Checks.inRange("counts[" + b + "]", ownCounts[b], 0, k.size(2));
    }
    write(k, v, lengths.clone(), ownCounts);
  }

  /**
   * Writes rows of every batch again, in place of those that it has; lengths do not change. If it
   * throws, the cache is unchanged.
   *
   * @param row the first row that is replaced
   * @param k the new keys {@code [batch, headsK, lenNew, dimK]}. Not modified.
   * @param v the new values {@code [batch, headsV, lenNew, dimV]}. Not modified.
   * @throws IllegalArgumentException as {@link #append(Tensor, Tensor)}, and if the rows are not
   *     among those that every batch holds
   * @throws IllegalStateException if a pool has no page for the copy of a shared one
   * @throws OutOfMemoryError if there is no memory to describe the call
   */
  public void replace(int row, Tensor k, Tensor v) {
    Checks.rank("k", Objects.requireNonNull(k, "k"), 4);
    for (int b = 0; b < lengths.length; b++) {
      Checks.inRange("row", row, store.first(b), lengths[b]);
      Checks.inRange("row + k.lenNew", row + k.size(2), row, lengths[b]);
    }
    write(k, v, filled(row), filled((int) k.size(2)));
  }

  private int[] filled(int number) {
    int[] numbers = new int[lengths.length];
    Arrays.fill(numbers, number);
    return numbers;
  }

  /**
   * Forgets the rows of every batch from a length on; shorter batches stay as they are.
   *
   * @param length the most rows that a batch keeps
   * @throws IllegalArgumentException if the length is negative, or a ring has overwritten rows that
   *     the next query of a batch would see
   */
  public void truncate(int length) {
    Checks.inRange("length", length, 0, Integer.MAX_VALUE);
    for (int b = 0; b < lengths.length; b++) {
      store.checkTruncate(b, lengths[b], Math.min(lengths[b], length));
    }
    for (int b = 0; b < lengths.length; b++) {
      forget(b, Math.min(lengths[b], length));
    }
    changed();
  }

  /**
   * Forgets the rows of one batch from a length on.
   *
   * @param batch the batch
   * @param length the rows that it keeps, at most those it has
   * @throws IndexOutOfBoundsException if there is no such batch
   * @throws IllegalArgumentException if the length is negative or more than the batch has, or a
   *     ring has overwritten rows that the next query would see
   */
  public void truncate(int batch, int length) {
    Checks.inRange("length", length, 0, length(batch));
    store.checkTruncate(batch, lengths[batch], length);
    forget(batch, length);
    changed();
  }

  /** Forgets everything. A paged cache returns all of its pages to the pool. */
  public void reset() {
    truncate(0);
  }

  private void forget(int batch, int length) {
    store.forget(batch, lengths[batch], length);
    lengths[batch] = length;
  }

  /**
   * Lets an empty batch begin with the first rows of a sequence of the same pool, without copying
   * them: both hold the same pages, and a page that both hold is copied when one of them first
   * writes to it.
   *
   * @param batch the empty batch of this cache
   * @param source the cache that holds the rows; may be this one. Not modified.
   * @param sourceBatch its batch
   * @param length how many rows to share
   * @throws IndexOutOfBoundsException if there is no such batch
   * @throws IllegalArgumentException if one of the caches is not paged, their pools differ, or the
   *     source has fewer rows
   * @throws IllegalStateException if the batch holds rows already
   * @throws OutOfMemoryError if there is no memory to grow the table of pages
   */
  public void share(int batch, KvCache source, int sourceBatch, int length) {
    KvPagePool pool = pool();
    KvPagePool other = Objects.requireNonNull(source, "source").pool();
    if (pool == null || other != pool) {
      throw new IllegalArgumentException(
          "pages are shared by paged caches of one pool: pool=" + pool + ", source.pool=" + other);
    }
    Checks.inRange("length", length, 0, Math.min(source.length(sourceBatch), store.capacity()));
    if (length(batch) != 0) {
      throw new IllegalStateException(
          "batch " + batch + " must be empty to share rows: length=" + lengths[batch]);
    }
    ((PagedStore) store).share(batch, (PagedStore) source.store, sourceBatch, length);
    lengths[batch] = length;
    changed();
  }

  private KvPagePool pool() {
    return store instanceof PagedStore paged ? paged.pool() : null;
  }

  /**
   * Lets each batch go on from the rows that another one has, as beam search does when it keeps the
   * best continuations. A paged cache shares pages, others copy rows. If batches change places, the
   * rows in use of the shortest of them are kept aside meanwhile, which takes as much native memory
   * as they do; a paged cache makes a second table of pages, which it keeps.
   *
   * @param parents for each batch the batch whose rows it gets; several may have the same parent.
   *     Not modified.
   * @throws IllegalArgumentException if there is not one parent for each batch, or one is not a
   *     batch
   * @throws OutOfMemoryError if there is no memory to keep a batch aside or for the table; the
   *     cache is unchanged
   */
  public void reorder(int... parents) {
    int[] own = checkBatches("parents", parents);
    Checks.equal("parents.length", own.length, "cache.batch", lengths.length);
    int[] before = lengths.clone();
    store.reorder(before, own);
    for (int b = 0; b < own.length; b++) {
      lengths[b] = before[own[b]];
    }
    changed();
  }

  /**
   * Makes a cache of the same kind that holds the rows of some batches, for example one batch
   * repeated for each beam, or all but those that have ended. A paged cache shares pages, others
   * copy rows.
   *
   * @param arena supplies the memory of the copies and decides how long they live
   * @param batches the batches, in any order; one may be chosen several times. Not modified.
   * @return a cache with as many batches as were chosen
   * @throws IllegalArgumentException if one is not a batch
   * @throws OutOfMemoryError if the memory cannot be allocated
   */
  public KvCache gather(Arena arena, int... batches) {
    Objects.requireNonNull(arena, "arena");
    int[] own = checkBatches("batches", batches);
    int[] gathered = new int[own.length];
    for (int b = 0; b < own.length; b++) {
      gathered[b] = lengths[own[b]];
    }
    return new KvCache(store.gather(arena, lengths, own), gathered);
  }

  private int[] checkBatches(String name, int[] batches) {
    int[] own = Objects.requireNonNull(batches, name).clone();
    for (int b = 0; b < own.length; b++) {
      Checks.inRange(name + "[" + b + "]", own[b], 0, lengths.length - 1L);
    }
    return own;
  }

  // ---- Writing rows ----

  /** Writes to each batch its own number of rows, which may extend it. */
  private void write(Tensor k, Tensor v, int[] starts, int[] counts) {
    checkRows("k", k, "keys", store.keys.data());
    checkRows("v", Objects.requireNonNull(v, "v"), "values", store.values.data());
    Checks.equal("v", "k", "lenNew", v.size(2), k.size(2));
    Checks.inRange("cache.batch", lengths.length, 0, MOST_BATCHES);
    store.keys.checkReachable("keys");
    store.values.checkReachable("values");
    Checks.disjoint("keys", store.keys.data(), "k", k);
    Checks.disjoint("keys", store.keys.data(), "v", v);
    Checks.disjoint("values", store.values.data(), "k", k);
    Checks.disjoint("values", store.values.data(), "v", v);
    for (int b = 0; b < counts.length; b++) {
      store.checkNew(b, counts[b]);
      if (counts[b] > capacity() - starts[b]) {
        throw new IllegalStateException(
            "cache must have room for the new rows of batch "
                + b
                + ": new rows="
                + counts[b]
                + ", length="
                + lengths[b]
                + ", capacity="
                + capacity());
      }
    }
    if (k.size(2) == 0 || counts.length == 0) {
      return;
    }
    if (dtype() == DType.I8) {
      checkFinite("k", k, counts);
      checkFinite("v", v, counts);
    }
    KvStore.Reserved reserved = store.reserve(lengths, starts, counts);
    boolean begun = false;
    boolean written = false;
    try (Workspaces.Lease lease = Workspaces.lease()) {
      int[] places = starts.clone();
      for (int b = 0; b < places.length; b++) {
        places[b] -= store.first(b);
      }
      write(lease, k, store.keys, places, counts);
      begun = true;
      write(lease, v, store.values, places, counts);
      written = true;
    } finally {
      if (!written) {
        reserved.undo(begun);
        changed();
      }
    }
    reserved.keep();
    for (int b = 0; b < counts.length; b++) {
      lengths[b] = Math.max(lengths[b], starts[b] + counts[b]);
    }
    changed();
  }

  private void checkRows(String name, Tensor rows, String storeName, Tensor stored) {
    Checks.rank(name, rows, 4);
    if (stored.dtype() == DType.I8) {
      Checks.input(name, rows);
    } else {
      Checks.realInput(name, rows);
    }
    Checks.packedRows(name, rows);
    Checks.equal(name + ".batch", rows.size(0), storeName + ".batch", lengths.length);
    Checks.equal(name, storeName, "heads", rows.size(1), stored.size(1));
    Checks.equal(name, storeName, "dim", rows.size(3), stored.size(3));
  }

  /** Refuses new rows that cannot be quantised, before any row is written. */
  private static void checkFinite(String name, Tensor rows, int[] counts) {
    MemorySegment numbers = Checks.first(rows);
    for (int b = 0; b < counts.length; b++) {
      for (long h = 0; h < rows.size(1); h++) {
        for (long i = 0; i < counts[b]; i++) {
          long first = b * rows.stride(0) + h * rows.stride(1) + i * rows.stride(2);
          if (!isFinite(numbers, first, rows.size(3))) {
            throw notFinite(name, rows, b, h, i);
          }
        }
      }
    }
  }

  /**
   * The bits of a number's magnitude grow with it, so the largest tells; NaN is beyond infinity.
   */
  private static boolean isFinite(MemorySegment floats, long first, long count) {
    int largest = 0;
    for (long c = 0; c < count; c++) {
      int bits = floats.getAtIndex(ValueLayout.JAVA_INT, first + c);
      largest = Math.max(largest, bits & Integer.MAX_VALUE);
    }
    return largest < INFINITY_BITS;
  }

  private static IllegalArgumentException notFinite(
      String name, Tensor rows, long b, long h, long i) {
    long c = 0;
    while (Float.isFinite(rows.getFloat(b, h, i, c))) {
      c++;
    }
    String element = "%s[%d, %d, %d, %d]".formatted(name, b, h, i, c);
    return new IllegalArgumentException(
        element + " must be finite to be quantised: " + element + "=" + rows.getFloat(b, h, i, c));
  }

  private void write(Workspaces.Lease lease, Tensor rows, KvRows to, int[] places, int[] counts) {
    Tensor data = to.data();
    MemorySegment d =
        Descriptor.append(
            lease,
            A4j.threads(),
            rows.dtype(),
            rows.size(1),
            rows.size(2),
            store.span(),
            rows.size(3),
            places,
            counts);
    Descriptor.rowsStrides(d, rows.stride(0), rows.stride(1), rows.stride(2));
    MemorySegment view = Descriptor.cache(d);
    Descriptor.view(view, data.dtype(), data.stride(0), data.stride(1), 0, data.stride(2));
    to.describeScales(view, data.stride(1), 0);
    store.pages(view, to);
    Downcalls.append(
        d, Checks.first(rows), Checks.first(data), Checks.firstOrNull(to.scales()), store.table());
  }

  /**
   * Shows type, kind and lengths.
   *
   * @return for example {@code KvCache[BF16, paged, lengths=[5, 3]]}
   */
  @Override
  public String toString() {
    return "KvCache["
        + dtype()
        + ", "
        + store.kind()
        + ", lengths="
        + Arrays.toString(lengths)
        + "]";
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
