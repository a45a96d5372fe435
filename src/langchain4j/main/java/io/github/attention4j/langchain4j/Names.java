package io.github.attention4j.langchain4j;

import java.nio.file.Path;

/** The default names of models. */
final class Names {
  private Names() {}

  /** The last name of a path. */
  static String of(Path path) {
    return path.toAbsolutePath().normalize().getFileName().toString();
  }
}
