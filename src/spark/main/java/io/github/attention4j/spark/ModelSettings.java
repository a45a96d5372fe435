package io.github.attention4j.spark;

import java.io.IOException;
import java.io.Serializable;
import java.nio.file.Path;

/**
 * Which model a task needs, and how it is opened. Equal settings share a model.
 *
 * @param <M> what is opened
 */
interface ModelSettings<M> extends Serializable {
  /** Absolute, or relative to where Spark puts the files that it ships. */
  String path();

  /**
   * Opens the model.
   *
   * @param path absolute
   */
  M open(Path path) throws IOException;

  /** Refuses what no executor could open. */
  static String requirePath(String path) {
    if (path.isEmpty() || path.contains("://")) {
      throw new IllegalArgumentException(
          "path must be one of a local file system, as executors open the model themselves: path="
              + path);
    }
    return path;
  }
}
