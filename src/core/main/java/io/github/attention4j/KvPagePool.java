package io.github.attention4j;

import io.github.attention4j.internal.Checks;
import io.github.attention4j.internal.LazyMemory;
import java.lang.foreign.Arena;
import java.util.Arrays;
import java.util.Objects;

/**
 * Pages of keys and values that any number of {@linkplain KvCache#paged caches} share. A cache
 * takes a page when it needs one and returns it when its rows are forgotten, so that memory follows
 * the tokens that are in use rather than the longest text that might come.
 *
 * <pre>
 *   keys    [pages, headsK, pageRows, dimK]     a page holds pageRows consecutive tokens of one
 *   values  [pages, headsV, pageRows, dimV]     sequence, in all of its heads
 * </pre>
 *
 * <pre>{@code
 * KvPagePool pool = KvPagePool.allocate(arena, DType.BF16, headsKv, dim, 64, 2048);
 * KvCache cache = KvCache.paged(pool, 1);
 * }</pre>
 *
 * <p>The memory is reserved at once and provided by the operating system page by page, as it is
 * first written.
 *
 * <p><b>Threads.</b> Caches may take and return pages from any thread. A page belongs to one cache,
 * or is shared and not written.
 */
public final class KvPagePool {
  /** The number of rows that the rows of a page must be a multiple of. */
  static final int ROWS = 64;

  private final KvRows keys;
  private final KvRows values;
  private final int pageRows;
  private final int pages;

  /** For each page the number of sequences that hold it. */
  private final int[] holders;

  /** The free pages are free[0] to free[freeCount - 1]; the last is taken first. */
  private final int[] free;

  private int freeCount;

  private KvPagePool(KvRows keys, KvRows values, int pageRows, int pages) {
    this.keys = keys;
    this.values = values;
    this.pageRows = pageRows;
    this.pages = pages;
    this.holders = new int[pages];
    this.free = new int[pages];
    this.freeCount = pages;
    Arrays.setAll(free, i -> pages - 1 - i);
  }

  /**
   * Allocates a pool whose keys and values have the same shape.
   *
   * @param arena supplies the memory and decides how long it lives
   * @param dtype how rows are stored: {@link DType#F32}, {@link DType#BF16}, {@link DType#F16} or
   *     {@link DType#I8}
   * @param headsKv the number of key and value heads
   * @param dim the width of a head
   * @param pageRows the rows of a page, a multiple of 64
   * @param pages the limit: as many pages can be in use at a time
   * @return a pool of free pages
   * @throws IllegalArgumentException if the type is another, a size is less than 1, pageRows is not
   *     a multiple of 64, or the memory's size overflows
   * @throws OutOfMemoryError if the memory cannot be allocated
   */
  public static KvPagePool allocate(
      Arena arena, DType dtype, long headsKv, long dim, int pageRows, int pages) {
    return allocate(arena, dtype, headsKv, dim, headsKv, dim, pageRows, pages);
  }

  /**
   * Allocates a pool.
   *
   * @param arena supplies the memory and decides how long it lives
   * @param dtype how rows are stored: {@link DType#F32}, {@link DType#BF16}, {@link DType#F16} or
   *     {@link DType#I8}
   * @param headsK the number of key heads
   * @param dimK the width of a key head
   * @param headsV the number of value heads
   * @param dimV the width of a value head
   * @param pageRows the rows of a page, a multiple of 64
   * @param pages the limit: as many pages can be in use at a time
   * @return a pool of free pages
   * @throws IllegalArgumentException if the type is another, a size is less than 1, pageRows is not
   *     a multiple of 64, or the memory's size overflows
   * @throws OutOfMemoryError if the memory cannot be allocated
   */
  public static KvPagePool allocate(
      Arena arena,
      DType dtype,
      long headsK,
      long dimK,
      long headsV,
      long dimV,
      int pageRows,
      int pages) {
    Objects.requireNonNull(arena, "arena");
    KvRows.checkStorage(dtype);
    Checks.positive("headsK", headsK);
    Checks.positive("dimK", dimK);
    Checks.positive("headsV", headsV);
    Checks.positive("dimV", dimV);
    Checks.positive("pageRows", pageRows);
    Checks.multiple("pageRows", pageRows, "the rows of a block", ROWS);
    Checks.positive("pages", pages);
    return new KvPagePool(
        rows(arena, dtype, pages, headsK, pageRows, dimK),
        rows(arena, dtype, pages, headsV, pageRows, dimV),
        pageRows,
        pages);
  }

  private static KvRows rows(
      Arena arena, DType dtype, int pages, long heads, int pageRows, long dim) {
    Tensor data = lazy(arena, dtype, pages, heads, pageRows, dim);
    return new KvRows(
        data, dtype == DType.I8 ? lazy(arena, DType.F32, pages, heads, pageRows) : null);
  }

  private static Tensor lazy(Arena arena, DType dtype, long... shape) {
    long bytes = Tensor.elementCount(dtype, shape) * dtype.bytes();
    return Tensor.of(LazyMemory.allocate(arena, bytes), dtype, shape);
  }

  /**
   * Returns how rows are stored.
   *
   * @return the type
   */
  public DType dtype() {
    return keys.data().dtype();
  }

  /**
   * Returns how many rows a page holds.
   *
   * @return the number of rows, a multiple of 64
   */
  public int pageRows() {
    return pageRows;
  }

  /**
   * Returns how many pages there are, free or in use.
   *
   * @return the limit of this pool
   */
  public int pages() {
    return pages;
  }

  /**
   * Returns how many pages are free at this moment.
   *
   * @return the number of free pages
   */
  public synchronized int freePages() {
    return freeCount;
  }

  KvRows keys() {
    return keys;
  }

  KvRows values() {
    return values;
  }

  /** Takes so many pages, or none: then the message names what is needed and what is free. */
  synchronized int[] take(int count) {
    if (count > freeCount) {
      throw new IllegalStateException(
          "pool must have free pages for the new rows: needed="
              + count
              + ", free="
              + freeCount
              + ", pages="
              + pages);
    }
    int[] taken = new int[count];
    for (int i = 0; i < count; i++) {
      taken[i] = free[--freeCount];
      holders[taken[i]] = 1;
    }
    return taken;
  }

  /** Adds a holder to a page that is in use. */
  synchronized void share(int page) {
    holders[page]++;
  }

  /** Removes a holder; a page without one is free. */
  synchronized void release(int page) {
    if (--holders[page] == 0) {
      free[freeCount++] = page;
    }
  }

  synchronized boolean isShared(int page) {
    return holders[page] > 1;
  }

  /** Copies all of a page. */
  void copy(int from, int to) {
    keys.copyBlock(keys, from, to, pageRows);
    values.copyBlock(values, from, to, pageRows);
  }

  /**
   * Shows how much of the pool is in use.
   *
   * @return for example {@code KvPagePool[BF16, 3 of 2048 pages of 64 rows in use]}
   */
  @Override
  public String toString() {
    return "KvPagePool["
        + dtype()
        + ", "
        + (pages - freePages())
        + " of "
        + pages
        + " pages of "
        + pageRows
        + " rows in use]";
  }
}
