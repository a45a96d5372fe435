package io.github.attention4j;

import java.lang.foreign.Arena;
import java.util.List;

/** Rows in memory of their own, a block for each batch. */
final class DenseStore extends KvStore {
  DenseStore(KvRows keys, KvRows values) {
    super(keys, values);
  }

  @Override
  String kind() {
    return "dense";
  }

  @Override
  int capacity() {
    return Math.toIntExact(keys.data().size(2));
  }

  @Override
  Tensor view(KvRows rows, int batches, int length) {
    return rows.data().slice(2, 0, length);
  }

  @Override
  int block(int batch, int row) {
    return batch;
  }

  @Override
  int within(int row) {
    return row;
  }

  @Override
  Reserved reserve(int[] lengths, int[] starts, int[] counts) {
    return Reserved.NOTHING;
  }

  @Override
  void reorder(int[] lengths, int[] parents) {
    List<Copy> copies = copies(lengths, parents);
    int rowsAside = 0;
    for (Copy copy : copies) {
      rowsAside = Math.max(rowsAside, copy.to() == ASIDE ? lengths[copy.batch()] : 0);
    }
    try (Arena arena = Arena.ofConfined()) {
      DenseStore aside = sized(arena, 1, rowsAside);
      for (Copy copy : copies) {
        DenseStore from = copy.from() == ASIDE ? aside : this;
        DenseStore to = copy.to() == ASIDE ? aside : this;
        to.copyBatch(from, Math.max(copy.from(), 0), Math.max(copy.to(), 0), lengths[copy.batch()]);
      }
    }
  }

  @Override
  KvStore gather(Arena arena, int[] lengths, int[] batches) {
    DenseStore gathered = sized(arena, batches.length, capacity());
    for (int b = 0; b < batches.length; b++) {
      gathered.copyBatch(this, batches[b], b, lengths[batches[b]]);
    }
    return gathered;
  }

  private DenseStore sized(Arena arena, int batches, long rows) {
    return new DenseStore(
        keys.allocateLike(arena, batches, rows), values.allocateLike(arena, batches, rows));
  }

  private void copyBatch(DenseStore from, int fromBatch, int toBatch, int rows) {
    keys.copyBlock(from.keys, fromBatch, toBatch, rows);
    values.copyBlock(from.values, fromBatch, toBatch, rows);
  }
}
