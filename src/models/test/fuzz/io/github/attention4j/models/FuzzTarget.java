package io.github.attention4j.models;

import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;

/** What Jazzer calls: opens a file of the kind that is its argument. */
public final class FuzzTarget {
  private static ForeignFile kind;
  private static Path place;

  private FuzzTarget() {}

  /** Called once. */
  public static void fuzzerInitialize(String[] args) throws IOException {
    kind = ForeignFile.valueOf(args[0]);
    Path folder = Files.createTempDirectory(Path.of(args[1]), "place");
    place = kind.placeBeside(kind.samples(folder).get(0), folder.resolve("sample"));
  }

  /** Called for each input. */
  public static void fuzzerTestOneInput(byte[] bytes) throws IOException {
    Files.write(place, bytes);
    try {
      kind.open(place);
    } catch (Exception e) {
      ForeignFile.requireRefusal(e);
    }
  }
}
