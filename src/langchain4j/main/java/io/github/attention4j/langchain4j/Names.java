package io.github.attention4j.langchain4j;

import java.nio.file.Path;

/** What models are called. */
final class Names {
  private Names() {}

  /** The last name of a path. */
  static String of(Path path) {
    return path.toAbsolutePath().normalize().getFileName().toString();
  }
}
