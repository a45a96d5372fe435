package io.github.attention4j;

import java.lang.foreign.Arena;
import java.lang.foreign.MemorySegment;
import java.lang.foreign.ValueLayout;
import java.util.ArrayList;
import java.util.List;

/**
 * Rows in pages of a {@link KvPagePool}, which other caches may hold too. A page that is shared is
 * copied before it is written.
 */
final class PagedStore extends KvStore {
  /** How many pages a batch has room for in a new table. */
  private static final int FIRST_PAGES = 16;

  private final KvPagePool pool;
  private final int batches;

  /** The most rows of a batch. */
  private final int capacity;

  /** For each batch the numbers of its pages; grows with the longest. */
  private MemorySegment table;

  /** How many pages a batch has room for in the table. */
  private int tablePages;

  /** As large as the table, for the next order of the batches; null until it is needed. */
  private MemorySegment spare;

  /**
   * @param capacity the most rows of a batch, unless the pool has fewer
   */
  PagedStore(KvPagePool pool, int batches, int capacity) {
    super(pool.keys(), pool.values());
    this.pool = pool;
    this.batches = batches;
    this.capacity = (int) Math.min((long) pool.pages() * pool.pageRows(), capacity);
    this.tablePages = Math.min(FIRST_PAGES, pagesOf(this.capacity));
    this.table = newTable(tablePages);
  }

  private MemorySegment newTable(int pages) {
    return Arena.ofAuto().allocate(ValueLayout.JAVA_INT, (long) batches * pages);
  }

  /** Makes room in the table for so many rows of each batch. */
  private void growTable(int rows) {
    int needed = pagesOf(rows);
    if (needed <= tablePages) {
      return;
    }
    int pages = (int) Math.min(Math.max(2L * tablePages, needed), pagesOf(capacity));
    MemorySegment grown = newTable(pages);
    for (int b = 0; b < batches; b++) {
      MemorySegment.copy(
          table,
          ValueLayout.JAVA_INT,
          (long) b * tablePages * Integer.BYTES,
          grown,
          ValueLayout.JAVA_INT,
          (long) b * pages * Integer.BYTES,
          tablePages);
    }
    table = grown;
    tablePages = pages;
    spare = null;
  }

  KvPagePool pool() {
    return pool;
  }

  @Override
  String kind() {
    return "paged";
  }

  @Override
  int capacity() {
    return capacity;
  }

  @Override
  Tensor view(KvRows rows, int batches, int length) {
    return rows.paged(batches, length);
  }

  @Override
  int block(int batch, int row) {
    return page(batch, row / pool.pageRows());
  }

  @Override
  int within(int row) {
    return row % pool.pageRows();
  }

  @Override
  MemorySegment table() {
    return table;
  }

  @Override
  void pages(MemorySegment view, KvRows rows) {
    describe(view, rows, pool.pages(), tablePages);
  }

  private int pagesOf(int rows) {
    return Math.ceilDiv(rows, pool.pageRows());
  }

  private int page(int batch, int i) {
    return table.getAtIndex(ValueLayout.JAVA_INT, place(batch, i));
  }

  private void setPage(int batch, int i, int page) {
    table.setAtIndex(ValueLayout.JAVA_INT, place(batch, i), page);
  }

  private long place(int batch, int i) {
    return (long) batch * tablePages + i;
  }

  /** A page that was entered in the table, and the one before it; -1 if there was none. */
  private record Entry(int batch, int place, int before) {}

  @Override
  Reserved reserve(int[] lengths, int[] starts, int[] counts) {
    int longest = 0;
    for (int b = 0; b < counts.length; b++) {
      longest = Math.max(longest, counts[b] == 0 ? 0 : starts[b] + counts[b]);
    }
    growTable(longest);
    List<Entry> entries = new ArrayList<>();
    for (int b = 0; b < counts.length; b++) {
      int end = counts[b] == 0 ? 0 : pagesOf(starts[b] + counts[b]);
      for (int i = starts[b] / pool.pageRows(); i < end; i++) {
        boolean isNew = i >= pagesOf(lengths[b]);
        if (isNew || pool.isShared(page(b, i))) {
          entries.add(new Entry(b, i, isNew ? -1 : page(b, i)));
        }
      }
    }
    Reserved reserved = reserved(entries);
    int[] taken = pool.take(entries.size());
    for (int n = 0; n < taken.length; n++) {
      setPage(entries.get(n).batch, entries.get(n).place, taken[n]);
    }
    boolean copied = false;
    try {
      for (int n = 0; n < taken.length; n++) {
        if (entries.get(n).before >= 0) {
          pool.copy(entries.get(n).before, taken[n]);
        }
      }
      copied = true;
    } finally {
      if (!copied) {
        reserved.undo(false);
      }
    }
    return reserved;
  }

  private Reserved reserved(List<Entry> entries) {
    return new Reserved() {
      @Override
      public void keep() {
        for (Entry entry : entries) {
          if (entry.before >= 0) {
            pool.release(entry.before);
          }
        }
      }

      @Override
      public void undo(boolean begun) {
        for (Entry entry : entries) {
          pool.release(page(entry.batch, entry.place));
          if (entry.before >= 0) {
            setPage(entry.batch, entry.place, entry.before);
          }
        }
      }
    };
  }

  @Override
  void forget(int batch, int length, int kept) {
    for (int i = pagesOf(kept); i < pagesOf(length); i++) {
      pool.release(page(batch, i));
    }
  }

  /** Lets an empty batch begin with rows of a store of the same pool. */
  void share(int batch, PagedStore source, int sourceBatch, int length) {
    growTable(length);
    for (int i = 0; i < pagesOf(length); i++) {
      int page = source.page(sourceBatch, i);
      pool.share(page);
      setPage(batch, i, page);
    }
  }

  @Override
  void reorder(int[] lengths, int[] parents) {
    if (spare == null) {
      spare = newTable(tablePages);
    }
    // All are shared before any is released, so that none becomes free in between.
    for (int b = 0; b < parents.length; b++) {
      for (int i = 0; i < pagesOf(lengths[parents[b]]); i++) {
        int page = page(parents[b], i);
        pool.share(page);
        spare.setAtIndex(ValueLayout.JAVA_INT, place(b, i), page);
      }
    }
    for (int b = 0; b < parents.length; b++) {
      forget(b, lengths[b], 0);
    }
    MemorySegment before = table;
    table = spare;
    spare = before;
  }

  @Override
  KvStore gather(Arena arena, int[] lengths, int[] batches) {
    PagedStore gathered = new PagedStore(pool, batches.length, capacity);
    int longest = 0;
    for (int batch : batches) {
      longest = Math.max(longest, lengths[batch]);
    }
    gathered.growTable(longest);
    for (int b = 0; b < batches.length; b++) {
      gathered.share(b, this, batches[b], lengths[batches[b]]);
    }
    return gathered;
  }
}
