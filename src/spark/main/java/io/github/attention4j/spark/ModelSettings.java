package io.github.attention4j.spark;

import java.io.IOException;
import java.io.Serializable;
import java.nio.file.Path;

/**
 * The model that a task needs, and how to open it. Tasks with equal settings share a model.
 *
 * @param <M> the type of model
 */
interface ModelSettings<M> extends Serializable {
  /** Absolute, or relative to the directory where Spark puts the files that it ships. */
  String path();

  /**
   * Opens the model.
   *
   * @param path absolute
   */
  M open(Path path) throws IOException;

  /** Refuses paths that no executor can open. */
  static String requirePath(String path) {
    if (path.isEmpty() || path.contains("://")) {
      throw new IllegalArgumentException(
          "path must be one of a local file system, as executors open the model themselves: path="
              + path);
    }
    return path;
  }
}
