package io.github.attention4j;

import io.github.attention4j.internal.Checks;
import io.github.attention4j.internal.Descriptor;
import io.github.attention4j.internal.Downcalls;
import io.github.attention4j.internal.Workspaces;
import java.lang.foreign.Arena;
import java.lang.foreign.MemorySegment;
import java.lang.foreign.ValueLayout;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
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
 * <p>A <b>dense</b> cache allocates its capacity at once. A <b>paged</b> one ({@link #paged}) takes
 * pages from a {@link KvPagePool} as its rows come, returns them when rows are forgotten, and can
 * share the first pages of a sequence with others ({@link #share}).
 *
 * <p>Stored in {@link DType#BF16} or {@link DType#F16} a row takes half the memory of {@link
 * DType#F32}. {@link DType#I8} stores each row of a head as integers from −127 to 127 times a
 * scale, the row's largest magnitude / 127, and so a little more than a quarter. Attention widens
 * what is stored exactly, and computes in float32.
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
  private final KvRows keys;
  private final KvRows values;
  private final int capacity;
  private final int[] lengths;

  /** Null unless the cache is paged: for each batch the numbers of its pages. */
  private final KvPagePool pool;

  private final MemorySegment table;

  private int longest;

  /** Made when first asked for after a change; views and masks are immutable. */
  private Tensor usedKeys;

  private Tensor usedValues;
  private Mask mask;

  private KvCache(KvRows keys, KvRows values, int capacity, int[] lengths, KvPagePool pool) {
    this.keys = keys;
    this.values = values;
    this.capacity = capacity;
    this.lengths = lengths;
    this.pool = pool;
    this.table =
        pool == null
            ? MemorySegment.NULL
            : Arena.ofAuto().allocate(ValueLayout.JAVA_INT, (long) lengths.length * pool.pages());
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
    return new KvCache(
        rows(arena, dtype, batch, headsK, capacity, dimK),
        rows(arena, dtype, batch, headsV, capacity, dimV),
        (int) capacity,
        new int[(int) batch],
        null);
  }

  private static KvRows rows(
      Arena arena, DType dtype, long batch, long heads, long capacity, long dim) {
    Tensor data = Tensor.allocate(arena, dtype, batch, heads, capacity, dim);
    return new KvRows(
        data, dtype == DType.I8 ? Tensor.allocate(arena, DType.F32, batch, heads, capacity) : null);
  }

  /**
   * Makes an empty cache that takes its memory from a pool, page by page. A batch can hold as many
   * rows as there are pages for it.
   *
   * @param pool supplies the pages, and says how rows are stored
   * @param batch the number of sequences
   * @return an empty cache, which holds no page
   * @throws IllegalArgumentException if the batch is negative
   */
  public static KvCache paged(KvPagePool pool, int batch) {
    Objects.requireNonNull(pool, "pool");
    Checks.inRange("batch", batch, 0, Integer.MAX_VALUE);
    long most = (long) pool.pages() * pool.pageRows();
    int capacity = (int) Math.min(most, Integer.MAX_VALUE);
    return new KvCache(pool.keys(), pool.values(), capacity, new int[batch], pool);
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
   * @throws IllegalStateException if a tensor's arena is closed or confined to another thread
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
        new KvRows(keys, null),
        new KvRows(values, null),
        Math.toIntExact(keys.size(2)),
        ownLengths,
        null);
  }

  private static void checkStore(String name, Tensor store) {
    Checks.rank(name, Objects.requireNonNull(store, name), 4);
    Checks.realOutput(name, store);
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
   * Returns how rows are stored.
   *
   * @return {@link DType#F32}, {@link DType#BF16}, {@link DType#F16} or {@link DType#I8}
   */
  public DType dtype() {
    return keys.data().dtype();
  }

  /**
   * Views the keys as they are stored, up to the longest length; shorter batches end with unused
   * rows.
   *
   * @return a view {@code [batch, headsK, longest, dimK]} of type {@link #dtype}
   * @throws IllegalStateException if the cache is paged or its type is {@link DType#I8}: what it
   *     stores is no tensor then; see {@link #copyKeys}
   */
  public Tensor keys() {
    requireTensor("keys");
    return keyView();
  }

  /**
   * Views the values as they are stored, up to the longest length; shorter batches end with unused
   * rows.
   *
   * @return a view {@code [batch, headsV, longest, dimV]} of type {@link #dtype}
   * @throws IllegalStateException if the cache is paged or its type is {@link DType#I8}: what it
   *     stores is no tensor then; see {@link #copyValues}
   */
  public Tensor values() {
    requireTensor("values");
    return valueView();
  }

  /**
   * Copies the keys, widened to float32, up to the longest length; shorter batches end with zeros.
   *
   * @param arena supplies the memory of the copy
   * @return {@link DType#F32} {@code [batch, headsK, longest, dimK]}
   */
  public Tensor copyKeys(Arena arena) {
    return copy(arena, keys);
  }

  /**
   * Copies the values, widened to float32, up to the longest length; shorter batches end with
   * zeros.
   *
   * @param arena supplies the memory of the copy
   * @return {@link DType#F32} {@code [batch, headsV, longest, dimV]}
   */
  public Tensor copyValues(Arena arena) {
    return copy(arena, values);
  }

  private void requireTensor(String what) {
    if (pool != null || dtype() == DType.I8) {
      throw new IllegalStateException(
          what
              + " of a cache that is "
              + (pool != null ? "paged" : "quantised")
              + " are no tensor: copy them, or give the cache to attention");
    }
  }

  private Tensor copy(Arena arena, KvRows rows) {
    Tensor data = rows.data();
    Tensor to =
        Tensor.allocate(arena, DType.F32, lengths.length, data.size(1), longest, data.size(3));
    for (int b = 0; b < lengths.length; b++) {
      for (int row = 0; row < lengths[b]; row++) {
        int block = pool == null ? b : page(b, row / pool.pageRows());
        int at = pool == null ? row : row % pool.pageRows();
        Tensor from = data.select(0, block).select(1, at);
        Tensor toRow = to.select(0, b).select(1, row);
        if (rows.scales() == null) {
          toRow.copyFrom(from);
          continue;
        }
        for (long h = 0; h < from.size(0); h++) {
          float scale = rows.scales().getFloat(block, h, at);
          long first = data.offset() + block * data.stride(0) + h * data.stride(1);
          for (long c = 0; c < from.size(1); c++) {
            long element = first + at * data.stride(2) + c;
            toRow.setFloat(data.segment().get(ValueLayout.JAVA_BYTE, element) * scale, h, c);
          }
        }
      }
    }
    return to;
  }

  /** The keys in the shape that attention expects, to be read by what {@link #describe} adds. */
  Tensor keyView() {
    if (usedKeys == null) {
      usedKeys = view(keys);
    }
    return usedKeys;
  }

  /** The values likewise. */
  Tensor valueView() {
    if (usedValues == null) {
      usedValues = view(values);
    }
    return usedValues;
  }

  private Tensor view(KvRows rows) {
    return pool == null ? rows.data().slice(2, 0, longest) : rows.paged(lengths.length, longest);
  }

  /** Whether attention needs more than the views to read the rows. */
  boolean isStoredApart() {
    return pool != null || dtype() == DType.I8;
  }

  /** Adds pages and scales to the views of keys and values, whose strides are written already. */
  void describe(MemorySegment d, AttentionCall call, Downcalls.AttentionBuffers buffers) {
    keys.describeScales(Descriptor.keys(d), call.strideHeadK, call.strideMapK);
    values.describeScales(Descriptor.values(d), call.strideHeadV, call.stridePartV);
    buffers.keyScales = Checks.firstOrNull(keys.scales());
    buffers.valueScales = Checks.firstOrNull(values.scales());
    if (pool != null) {
      describePages(Descriptor.keys(d), keys);
      describePages(Descriptor.values(d), values);
      buffers.keyPages = table;
      buffers.valuePages = table;
    }
  }

  private void describePages(MemorySegment view, KvRows rows) {
    Descriptor.pages(view, rows.data().stride(0), pool.pageRows(), pool.pages(), pool.pages());
  }

  /** Refuses an output that shares memory with any of the rows. */
  void checkApart(String name, Tensor output) {
    Checks.disjoint(name, output, "cache.keys", keys.data());
    Checks.disjoint(name, output, "cache.values", values.data());
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
   * @throws IllegalArgumentException if the length is negative or more than the batch has
   */
  public void truncate(int batch, int length) {
    Checks.inRange("length", length, 0, length(batch));
    forget(batch, length);
    changed();
  }

  /** Forgets everything. A paged cache returns all of its pages to the pool. */
  public void reset() {
    truncate(0);
  }

  /** Cuts a batch, and returns the pages that hold none of its rows any more. */
  private void forget(int batch, int length) {
    for (int i = pagesOf(length); i < pagesOf(lengths[batch]); i++) {
      pool.release(page(batch, i));
    }
    lengths[batch] = length;
  }

  /**
   * Lets an empty batch begin with the first rows of a sequence of the same pool, without copying
   * them: both hold the same pages, and whoever first appends to one that both hold gets a copy of
   * it.
   *
   * @param batch the empty batch of this cache
   * @param source the cache that holds the rows; may be this one. Not modified.
   * @param sourceBatch its batch
   * @param length how many rows to share
   * @throws IndexOutOfBoundsException if there is no such batch
   * @throws IllegalArgumentException if one of the caches is not paged, their pools differ, or the
   *     source has fewer rows
   * @throws IllegalStateException if the batch holds rows already
   */
  public void share(int batch, KvCache source, int sourceBatch, int length) {
    if (pool == null || Objects.requireNonNull(source, "source").pool != pool) {
      throw new IllegalArgumentException(
          "pages are shared by paged caches of one pool: pool="
              + pool
              + ", source.pool="
              + source.pool);
    }
    Checks.inRange("length", length, 0, source.length(sourceBatch));
    if (length(batch) != 0) {
      throw new IllegalStateException(
          "batch " + batch + " must be empty to share rows: length=" + lengths[batch]);
    }
    for (int i = 0; i < pagesOf(length); i++) {
      int page = source.page(sourceBatch, i);
      pool.share(page);
      setPage(batch, i, page);
    }
    lengths[batch] = length;
    changed();
  }

  private int pagesOf(int rows) {
    return pool == null ? 0 : Math.ceilDiv(rows, pool.pageRows());
  }

  private int page(int batch, int i) {
    return table.getAtIndex(ValueLayout.JAVA_INT, (long) batch * pool.pages() + i);
  }

  private void setPage(int batch, int i, int page) {
    table.setAtIndex(ValueLayout.JAVA_INT, (long) batch * pool.pages() + i, page);
  }

  /** Whether appending to a batch would write a page that others hold too. */
  private boolean writesShared(int batch, int count) {
    int used = lengths[batch];
    return count > 0
        && used % pool.pageRows() != 0
        && pool.isShared(page(batch, used / pool.pageRows()));
  }

  /**
   * Takes the pages that the new rows need, copies shared ones that they will be written to, and
   * enters them; none if there are too few.
   *
   * @return what undoes it: {batch, place, the page before or -1} for each page taken
   */
  private List<int[]> takePages(int[] counts) {
    List<int[]> entered = new ArrayList<>();
    if (pool == null) {
      return entered;
    }
    int needed = 0;
    for (int b = 0; b < counts.length; b++) {
      needed += pagesOf(lengths[b] + counts[b]) - pagesOf(lengths[b]);
      needed += writesShared(b, counts[b]) ? 1 : 0;
    }
    int[] taken = pool.take(needed);
    int next = 0;
    for (int b = 0; b < counts.length; b++) {
      if (writesShared(b, counts[b])) {
        int last = lengths[b] / pool.pageRows();
        int shared = page(b, last);
        pool.copy(shared, taken[next]);
        entered.add(new int[] {b, last, shared});
        setPage(b, last, taken[next++]);
      }
      for (int i = pagesOf(lengths[b]); i < pagesOf(lengths[b] + counts[b]); i++) {
        entered.add(new int[] {b, i, -1});
        setPage(b, i, taken[next++]);
      }
    }
    return entered;
  }

  private void giveBack(List<int[]> entered) {
    for (int[] entry : entered) {
      pool.release(page(entry[0], entry[1]));
      if (entry[2] >= 0) {
        setPage(entry[0], entry[1], entry[2]);
      }
    }
  }

  private void appendRows(Tensor k, Tensor v, int[] counts) {
    checkRows("k", k, "keys", keys.data());
    checkRows("v", Objects.requireNonNull(v, "v"), "values", values.data());
    Checks.equal("v", "k", "lenNew", v.size(2), k.size(2));
    keys.checkReachable("keys");
    values.checkReachable("values");
    Checks.disjoint("keys", keys.data(), "k", k);
    Checks.disjoint("keys", keys.data(), "v", v);
    Checks.disjoint("values", values.data(), "k", k);
    Checks.disjoint("values", values.data(), "v", v);
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
    List<int[]> entered = takePages(counts);
    boolean written = false;
    try (Workspaces.Lease lease = Workspaces.lease()) {
      write(lease, k, keys, counts);
      write(lease, v, values, counts);
      written = true;
    } finally {
      if (!written) {
        giveBack(entered);
      }
    }
    for (int[] entry : entered) {
      if (entry[2] >= 0) {
        pool.release(entry[2]);
      }
    }
    for (int b = 0; b < counts.length; b++) {
      lengths[b] += counts[b];
    }
    changed();
  }

  private void checkRows(String name, Tensor rows, String storeName, Tensor store) {
    Checks.rank(name, rows, 4);
    if (store.dtype() == DType.I8) {
      Checks.input(name, rows);
    } else {
      Checks.realInput(name, rows);
    }
    Checks.packedRows(name, rows);
    Checks.equal(name + ".batch", rows.size(0), storeName + ".batch", lengths.length);
    Checks.equal(name, storeName, "heads", rows.size(1), store.size(1));
    Checks.equal(name, storeName, "dim", rows.size(3), store.size(3));
  }

  private void write(Workspaces.Lease lease, Tensor rows, KvRows store, int[] counts) {
    Tensor data = store.data();
    MemorySegment d =
        Descriptor.append(
            lease,
            A4j.threads(),
            rows.dtype(),
            rows.size(1),
            rows.size(2),
            capacity,
            rows.size(3),
            lengths,
            counts);
    Descriptor.rowsStrides(d, rows.stride(0), rows.stride(1), rows.stride(2));
    MemorySegment view = Descriptor.cache(d);
    Descriptor.view(view, data.dtype(), data.stride(0), data.stride(1), 0, data.stride(2));
    store.describeScales(view, data.stride(1), 0);
    if (pool != null) {
      describePages(view, store);
    }
    Downcalls.append(
        d, Checks.first(rows), Checks.first(data), Checks.firstOrNull(store.scales()), table);
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
