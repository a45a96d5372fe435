package io.github.attention4j;

import java.lang.foreign.Arena;
import java.util.function.IntConsumer;

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
    move(
        parents,
        new Copier() {
          @Override
          public void copy(int from, int to) {
            copyBatch(DenseStore.this, from, to, lengths[from]);
          }

          @Override
          public IntConsumer save(int batch) {
            DenseStore aside = sized(Arena.ofAuto(), 1);
            aside.copyBatch(DenseStore.this, batch, 0, lengths[batch]);
            return to -> copyBatch(aside, 0, to, lengths[batch]);
          }
        });
  }

  @Override
  KvStore gather(Arena arena, int[] lengths, int[] batches) {
    DenseStore gathered = sized(arena, batches.length);
    for (int b = 0; b < batches.length; b++) {
      gathered.copyBatch(this, batches[b], b, lengths[batches[b]]);
    }
    return gathered;
  }

  private DenseStore sized(Arena arena, int batches) {
    return new DenseStore(keys.allocateLike(arena, batches), values.allocateLike(arena, batches));
  }

  private void copyBatch(DenseStore from, int fromBatch, int toBatch, int rows) {
    keys.copyBlock(from.keys, fromBatch, toBatch, rows);
    values.copyBlock(from.values, fromBatch, toBatch, rows);
  }
}
