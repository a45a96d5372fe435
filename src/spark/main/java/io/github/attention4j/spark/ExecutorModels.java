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
 * The open models of this JVM, by their settings. They are never closed, because the next task may
 * need them; their memory is freed when the process ends.
 */
final class ExecutorModels {
  private static final ConcurrentHashMap<Key, Object> MODELS = new ConcurrentHashMap<>();

  private static final AtomicInteger OPENED = new AtomicInteger();

  private ExecutorModels() {}

  /**
   * The key of a model.
   *
   * @param path absolute: sessions may ship different files under the same name
   */
  private record Key(Path path, ModelSettings<?> settings) {}

  /**
   * Returns the model for a task; the first task opens it while others wait. Sets the number of
   * threads to the task's CPUs.
   *
   * @throws UncheckedIOException if a file cannot be read; the next task tries again
   */
  static <M> M forTask(ModelSettings<M> settings) {
    TaskContext task = TaskContext.get();
    if (task != null) {
      A4j.threads(task.cpus());
    }
    @SuppressWarnings("unchecked") // These settings opened it.
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
