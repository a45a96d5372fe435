package io.github.attention4j.spark;

import java.util.ArrayDeque;
import java.util.ArrayList;
import java.util.Iterator;
import java.util.List;
import java.util.NoSuchElementException;
import java.util.function.Function;
import org.apache.spark.TaskContext;
import org.apache.spark.TaskKilledException;
import org.apache.spark.sql.Row;
import org.apache.spark.sql.RowFactory;

/**
 * The rows of a partition with a value added at the end. The values are computed for a few dozen
 * rows at a time, so memory is bounded whatever the size of the partition.
 */
final class ChunkedRows implements Iterator<Row> {
  /** How many rows are computed at a time: enough short texts to fill one pass of an encoder. */
  private static final int CHUNK_ROWS = 64;

  private final Iterator<Row> rows;
  private final Function<List<Row>, List<?>> compute;
  private final ArrayDeque<Row> ready = new ArrayDeque<>();

  /**
   * @param compute computes the value of each row, which may be null
   */
  ChunkedRows(Iterator<Row> rows, Function<List<Row>, List<?>> compute) {
    this.rows = rows;
    this.compute = compute;
  }

  @Override
  public boolean hasNext() {
    return !ready.isEmpty() || rows.hasNext();
  }

  @Override
  public Row next() {
    if (ready.isEmpty()) {
      fill();
    }
    return ready.removeFirst();
  }

  private void fill() {
    if (!rows.hasNext()) {
      throw new NoSuchElementException("the partition has no more rows");
    }
    // Spark asks tasks to end, and only interrupts their threads if configured to.
    TaskContext task = TaskContext.get();
    if (task != null && task.isInterrupted()) {
      throw new TaskKilledException("asked to end between two chunks of rows");
    }
    List<Row> chunk = new ArrayList<>(CHUNK_ROWS);
    while (chunk.size() < CHUNK_ROWS && rows.hasNext()) {
      chunk.add(rows.next());
    }
    List<?> values = compute.apply(chunk);
    for (int i = 0; i < chunk.size(); i++) {
      ready.add(plus(chunk.get(i), values.get(i)));
    }
  }

  private static Row plus(Row row, Object value) {
    Object[] values = new Object[row.size() + 1];
    for (int i = 0; i < row.size(); i++) {
      values[i] = row.get(i);
    }
    values[row.size()] = value;
    return RowFactory.create(values);
  }
}
