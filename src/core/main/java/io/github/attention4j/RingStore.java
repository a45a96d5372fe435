package io.github.attention4j;

import io.github.attention4j.internal.Checks;
import java.lang.foreign.Arena;
import java.lang.foreign.MemorySegment;
import java.lang.foreign.ValueLayout;
import java.util.List;

/**
 * The last rows of each batch, for attention with a window. Each batch has the same number of
 * pages, and reuses the page with its oldest rows when it needs another:
 *
 * <pre>
 *   rows      | 128 … 191 | 192 … 255 | 256 … 300 |       3 pages of 64 rows, the 301st row is the last
 *   page      |     2     |     0     |     1     |       page = (row / 64) mod 3
 * </pre>
 *
 * <p>Attention sees only the rows that are there: row {@code first} is its key 0.
 */
final class RingStore extends KvStore {
  private static final int ROWS = KvPagePool.ROWS;

  private final int window;
  private final int mostNew;

  /** The pages of each batch. */
  private final int pages;

  /** For each batch the numbers of its pages, that of its first row first. */
  private final MemorySegment table;

  /** For each batch the end of the rows that were ever written since it was empty. */
  private final int[] ends;

  private RingStore(KvRows keys, KvRows values, int window, int mostNew, int batches) {
    super(keys, values);
    this.window = window;
    this.mostNew = mostNew;
    this.pages = pagesFor(window, mostNew);
    this.table = Arena.ofAuto().allocate(ValueLayout.JAVA_INT, (long) batches * pages);
    this.ends = new int[batches];
    for (int b = 0; b < batches; b++) {
      enterPages(b);
    }
  }

  /**
   * Allocates a store in which the last {@code mostNew} rows see the {@code window - 1} rows before
   * them.
   */
  static RingStore allocate(
      Arena arena,
      DType dtype,
      int batches,
      long headsK,
      long dimK,
      long headsV,
      long dimV,
      int window,
      int mostNew) {
    long blocks = (long) batches * pagesFor(window, mostNew);
    Checks.inRange("batch * pages", blocks, 0, Integer.MAX_VALUE);
    return new RingStore(
        KvRows.allocate(arena, dtype, blocks, headsK, ROWS, dimK),
        KvRows.allocate(arena, dtype, blocks, headsV, ROWS, dimV),
        window,
        mostNew,
        batches);
  }

  /** Of the last page perhaps one row is used. */
  private static int pagesFor(int window, int mostNew) {
    return Math.toIntExact(Math.ceilDiv((long) window + mostNew - 2, (long) ROWS) + 1);
  }

  @Override
  String kind() {
    return "ring";
  }

  @Override
  int capacity() {
    return Integer.MAX_VALUE;
  }

  @Override
  int span() {
    return (int) Math.min((long) pages * ROWS, Integer.MAX_VALUE);
  }

  @Override
  int first(int batch) {
    return Math.max(0, Math.ceilDiv(ends[batch], ROWS) - pages) * ROWS;
  }

  @Override
  Tensor view(KvRows rows, int batches, int length) {
    return rows.paged(batches, length);
  }

  @Override
  int block(int batch, int row) {
    return batch * pages + row / ROWS % pages;
  }

  @Override
  int within(int row) {
    return row % ROWS;
  }

  @Override
  MemorySegment table() {
    return table;
  }

  @Override
  void pages(MemorySegment view, KvRows rows) {
    describe(view, rows, Math.toIntExact(rows.data().size(0)), pages);
  }

  private void enterPages(int batch) {
    for (int i = 0; i < pages; i++) {
      table.setAtIndex(
          ValueLayout.JAVA_INT,
          (long) batch * pages + i,
          batch * pages + (first(batch) / ROWS + i) % pages);
    }
  }

  @Override
  Mask causal() {
    return Mask.window(window - 1, 0, Alignment.BOTTOM_RIGHT);
  }

  @Override
  void checkNew(int batch, int count) {
    if (count > mostNew) {
      throw new IllegalArgumentException(
          "new rows of batch "
              + batch
              + " must be at most the mostNew of the ring: new rows="
              + count
              + ", mostNew="
              + mostNew);
    }
  }

  /** The first row that a query at this row sees. */
  private int seenFrom(long row) {
    return (int) Math.max(0, row - (window - 1));
  }

  @Override
  void checkTruncate(int batch, int length, int kept) {
    if (kept > 0 && kept < length && seenFrom(kept) < first(batch)) {
      throw new IllegalArgumentException(
          "length of batch "
              + batch
              + " must be 0 or at least "
              + (first(batch) + window - 1)
              + ", for the ring has overwritten the rows that the next one would see: length="
              + kept
              + ", first row="
              + first(batch)
              + ", window="
              + window);
    }
  }

  @Override
  void checkQueries(int batch, int length, long queries) {
    if (seenFrom(length - queries) < first(batch)) {
      throw new IllegalArgumentException(
          "the queries of batch "
              + batch
              + " must be at most "
              + (length - first(batch) - (window - 1))
              + ", for the ring has overwritten the rows that earlier ones would see: queries="
              + queries
              + ", first row="
              + first(batch)
              + ", window="
              + window);
    }
  }

  /** Once rows are being written, those that they replace are lost. */
  @Override
  Reserved reserve(int[] lengths, int[] starts, int[] counts) {
    int[] before = ends.clone();
    for (int b = 0; b < counts.length; b++) {
      setEnd(b, Math.max(ends[b], starts[b] + counts[b]));
    }
    return new Reserved() {
      @Override
      public void undo(boolean begun) {
        for (int b = 0; b < before.length && !begun; b++) {
          setEnd(b, before[b]);
        }
      }
    };
  }

  private void setEnd(int batch, int end) {
    ends[batch] = end;
    enterPages(batch);
  }

  @Override
  void forget(int batch, int length, int kept) {
    if (kept == 0) {
      setEnd(batch, 0);
    }
  }

  @Override
  void reorder(int[] lengths, int[] parents) {
    List<Copy> copies = copies(lengths, parents);
    int[] before = ends.clone();
    int pagesAside = 0;
    for (Copy copy : copies) {
      pagesAside = Math.max(pagesAside, copy.to() == ASIDE ? usedPages(before[copy.batch()]) : 0);
    }
    try (Arena arena = Arena.ofConfined()) {
      KvRows keysAside = keys.allocateLike(arena, pagesAside, ROWS);
      KvRows valuesAside = values.allocateLike(arena, pagesAside, ROWS);
      for (Copy copy : copies) {
        int used = usedPages(before[copy.batch()]);
        if (copy.to() == ASIDE) {
          copyPages(keys, keysAside, copy.from() * pages, 0, used);
          copyPages(values, valuesAside, copy.from() * pages, 0, used);
        } else if (copy.from() == ASIDE) {
          copyPages(keysAside, keys, 0, copy.to() * pages, used);
          copyPages(valuesAside, values, 0, copy.to() * pages, used);
          setEnd(copy.to(), before[copy.batch()]);
        } else {
          copyBatch(this, copy.from(), copy.to());
        }
      }
    }
  }

  @Override
  KvStore gather(Arena arena, int[] lengths, int[] batches) {
    RingStore gathered = sized(arena, batches.length);
    for (int b = 0; b < batches.length; b++) {
      gathered.copyBatch(this, batches[b], b);
    }
    return gathered;
  }

  private RingStore sized(Arena arena, int batches) {
    long blocks = (long) batches * pages;
    Checks.inRange("batches.length * pages", blocks, 0, Integer.MAX_VALUE);
    return new RingStore(
        keys.allocateLike(arena, blocks, ROWS),
        values.allocateLike(arena, blocks, ROWS),
        window,
        mostNew,
        batches);
  }

  private void copyBatch(RingStore from, int fromBatch, int toBatch) {
    int used = usedPages(from.ends[fromBatch]);
    copyPages(from.keys, keys, fromBatch * pages, toBatch * pages, used);
    copyPages(from.values, values, fromBatch * pages, toBatch * pages, used);
    setEnd(toBatch, from.ends[fromBatch]);
  }

  /** The pages that a batch with this end has written. */
  private int usedPages(int end) {
    return Math.min(pages, Math.ceilDiv(end, ROWS));
  }

  private static void copyPages(KvRows from, KvRows to, int firstFrom, int firstTo, int count) {
    for (int i = 0; i < count; i++) {
      to.copyBlock(from, firstFrom + i, firstTo + i, ROWS);
    }
  }
}
