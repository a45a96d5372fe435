package io.github.attention4j;

import io.github.attention4j.internal.Descriptor;
import java.lang.foreign.Arena;
import java.lang.foreign.MemorySegment;
import java.util.ArrayDeque;
import java.util.ArrayList;
import java.util.Deque;
import java.util.List;

/**
 * Where a {@link KvCache} keeps its rows: at once ({@link DenseStore}), in pages of a pool ({@link
 * PagedStore}), or only the last ones ({@link RingStore}). The cache knows how many rows each batch
 * has; the store knows where they are.
 */
abstract sealed class KvStore permits DenseStore, PagedStore, RingStore {
  final KvRows keys;
  final KvRows values;

  KvStore(KvRows keys, KvRows values) {
    this.keys = keys;
    this.values = values;
  }

  /** What kind of cache this is, for messages. */
  abstract String kind();

  /** The most rows that a batch can have. */
  abstract int capacity();

  /** The most rows of a batch that are there at a time. */
  int span() {
    return capacity();
  }

  /** The first row of a batch that is still there. */
  int first(int batch) {
    return 0;
  }

  /** The rows in the shape that attention expects, to be read by what {@link #pages} adds. */
  abstract Tensor view(KvRows rows, int batches, int length);

  /** The block of {@link KvRows} that a row is in. */
  abstract int block(int batch, int row);

  /** The row's index within its block. */
  abstract int within(int row);

  /** The page numbers of all batches, or NULL if there are no pages. */
  MemorySegment table() {
    return MemorySegment.NULL;
  }

  /** Adds the pages to a view of keys or values, whose strides are written already. */
  void pages(MemorySegment view, KvRows rows) {}

  final boolean isPaged() {
    return !(this instanceof DenseStore);
  }

  /** Whether attention needs more than the views to read the rows. */
  final boolean isApart() {
    return isPaged() || keys.scales() != null;
  }

  /** Refuses more new rows of a batch than can be written at once. */
  void checkNew(int batch, int count) {}

  /** Refuses to forget rows after which the next ones could not see what they should. */
  void checkTruncate(int batch, int length, int kept) {}

  /** Refuses queries that would see rows which are not there any more. */
  void checkQueries(int batch, int length, long queries) {}

  /** The mask by which queries at the last rows see the others; rows as in the view. */
  Mask causal() {
    return Mask.causal(Alignment.BOTTOM_RIGHT);
  }

  /** What has been made ready for new rows, which is either used or given back. */
  interface Reserved {
    Reserved NOTHING = new Reserved() {};

    /** The rows have been written. */
    default void keep() {}

    /**
     * They have not been written, or not all of them.
     *
     * @param begun whether some may have been written
     */
    default void undo(boolean begun) {}
  }

  /**
   * Makes ready for rows that will be written.
   *
   * @param lengths for each batch its rows so far
   * @param starts for each batch the first row that will be written
   * @param counts for each batch how many
   */
  abstract Reserved reserve(int[] lengths, int[] starts, int[] counts);

  /** Forgets the rows of a batch from {@code kept} to {@code length}. */
  void forget(int batch, int length, int kept) {}

  /**
   * Gives each batch the rows that its parent has. Everything is allocated before the first row
   * moves.
   */
  abstract void reorder(int[] lengths, int[] parents);

  /**
   * Returns a store of its own with the rows of some batches.
   *
   * @param arena for copies
   */
  abstract KvStore gather(Arena arena, int[] lengths, int[] batches);

  // ---- Moving batches ----

  /** In place of a batch: memory that keeps the rows of one batch aside. */
  static final int ASIDE = -1;

  /**
   * Copies the rows that a batch had at the beginning.
   *
   * @param batch whose rows they are
   * @param from the batch where they are now, or {@link #ASIDE}
   * @param to where they go
   */
  record Copy(int batch, int from, int to) {}

  /**
   * Returns the copies, in order, that give each batch what its parent had at the beginning. A
   * batch is overwritten once nobody needs it any more; what is left are circles, of which the
   * shortest member is kept aside.
   */
  static List<Copy> copies(int[] lengths, int[] parents) {
    int[] readers = new int[parents.length];
    for (int b = 0; b < parents.length; b++) {
      readers[parents[b]] += parents[b] == b ? 0 : 1;
    }
    List<Copy> copies = new ArrayList<>();
    boolean[] done = new boolean[parents.length];
    Deque<Integer> free = new ArrayDeque<>();
    for (int b = 0; b < parents.length; b++) {
      done[b] = parents[b] == b;
      if (!done[b] && readers[b] == 0) {
        free.add(b);
      }
    }
    while (!free.isEmpty()) {
      int b = free.remove();
      int parent = parents[b];
      copies.add(new Copy(parent, parent, b));
      done[b] = true;
      if (--readers[parent] == 0 && !done[parent]) {
        free.add(parent);
      }
    }
    for (int b = 0; b < parents.length; b++) {
      if (done[b]) {
        continue;
      }
      int kept = b;
      for (int at = parents[b]; at != b; at = parents[at]) {
        kept = lengths[at] < lengths[kept] ? at : kept;
      }
      copies.add(new Copy(kept, kept, ASIDE));
      int at = kept;
      for (; parents[at] != kept; at = parents[at]) {
        copies.add(new Copy(parents[at], parents[at], at));
        done[at] = true;
      }
      copies.add(new Copy(kept, ASIDE, at));
      done[at] = true;
    }
    return copies;
  }

  /** Describes pages of this many rows each. */
  final void describe(MemorySegment view, KvRows rows, int pages, int perBatch) {
    Descriptor.pages(view, rows.data().stride(0), (int) rows.data().size(2), pages, perBatch);
  }
}
