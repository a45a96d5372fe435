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
  private final KvPagePool pool;

  /** For each batch the numbers of its pages. */
  private final MemorySegment table;

  /** The most rows of a batch. */
  private final int capacity;

  /** How many pages a batch has room for in the table. */
  private final int tablePages;

  /**
   * @param capacity the most rows of a batch, unless the pool has fewer
   */
  PagedStore(KvPagePool pool, int batches, int capacity) {
    super(pool.keys(), pool.values());
    this.pool = pool;
    this.capacity = (int) Math.min((long) pool.pages() * pool.pageRows(), capacity);
    this.tablePages = Math.ceilDiv(this.capacity, pool.pageRows());
    this.table = Arena.ofAuto().allocate(ValueLayout.JAVA_INT, (long) batches * tablePages);
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
    return table.getAtIndex(ValueLayout.JAVA_INT, (long) batch * tablePages + i);
  }

  private void setPage(int batch, int i, int page) {
    table.setAtIndex(ValueLayout.JAVA_INT, (long) batch * tablePages + i, page);
  }

  /** A page that was entered in the table, and the one before it; -1 if there was none. */
  private record Entry(int batch, int place, int before) {}

  @Override
  Reserved reserve(int[] lengths, int[] starts, int[] counts) {
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
    int[] taken = pool.take(entries.size());
    for (int n = 0; n < taken.length; n++) {
      Entry entry = entries.get(n);
      if (entry.before >= 0) {
        pool.copy(entry.before, taken[n]);
      }
      setPage(entry.batch, entry.place, taken[n]);
    }
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
      public void undo() {
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
    for (int i = 0; i < pagesOf(length); i++) {
      int page = source.page(sourceBatch, i);
      pool.share(page);
      setPage(batch, i, page);
    }
  }

  @Override
  void reorder(int[] lengths, int[] parents) {
    // All are shared before any is released, so that none becomes free in between.
    PagedStore before = (PagedStore) gather(null, lengths, identity(parents.length));
    for (int b = 0; b < parents.length; b++) {
      forget(b, lengths[b], 0);
    }
    for (int b = 0; b < parents.length; b++) {
      share(b, before, parents[b], lengths[parents[b]]);
    }
    for (int b = 0; b < parents.length; b++) {
      before.forget(b, lengths[b], 0);
    }
  }

  private static int[] identity(int count) {
    int[] numbers = new int[count];
    for (int i = 0; i < count; i++) {
      numbers[i] = i;
    }
    return numbers;
  }

  @Override
  KvStore gather(Arena arena, int[] lengths, int[] batches) {
    PagedStore gathered = new PagedStore(pool, batches.length, capacity);
    for (int b = 0; b < batches.length; b++) {
      gathered.share(b, this, batches[b], lengths[batches[b]]);
    }
    return gathered;
  }
}
