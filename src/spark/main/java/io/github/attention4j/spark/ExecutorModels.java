package io.github.attention4j.spark;

import io.github.attention4j.A4j;
import java.io.IOException;
import java.io.UncheckedIOException;
import java.nio.file.Path;
import java.util.concurrent.ConcurrentHashMap;
import java.util.concurrent.atomic.AtomicInteger;
import org.apache.spark.SparkFiles;
import org.apache.spark.TaskContext;

/**
 * The models of this JVM, by their settings. They are never closed: the next task may need them,
 * and the memory goes with the process.
 */
final class ExecutorModels {
  private static final ConcurrentHashMap<Key, Object> MODELS = new ConcurrentHashMap<>();

  private static final AtomicInteger OPENED = new AtomicInteger();

  private ExecutorModels() {}

  /**
   * What tells models apart.
   *
   * @param path absolute: sessions may ship different files under the same name
   */
  private record Key(Path path, ModelSettings<?> settings) {}

  /**
   * The model for a task, which the first one opens while others wait. Gives the task as many
   * threads as Spark has given it CPUs.
   *
   * @throws UncheckedIOException if a file cannot be read; the next task tries again
   */
  static <M> M forTask(ModelSettings<M> settings) {
    TaskContext task = TaskContext.get();
    if (task != null) {
      A4j.threads(task.cpus());
    }
    @SuppressWarnings("unchecked") // The settings opened it.
    M model =
        (M) MODELS.computeIfAbsent(new Key(resolve(settings), settings), ExecutorModels::open);
    return model;
  }

  private static Path resolve(ModelSettings<?> settings) {
    Path path = Path.of(settings.path());
    return path.isAbsolute() ? path : Path.of(SparkFiles.get(settings.path())).toAbsolutePath();
  }

  private static Object open(Key key) {
    try {
      Object model = key.settings.open(key.path);
      OPENED.incrementAndGet();
      return model;
    } catch (IOException e) {
      throw new UncheckedIOException(e);
    }
  }

  /** How many models this JVM has opened. */
  static int opened() {
    return OPENED.get();
  }
}
