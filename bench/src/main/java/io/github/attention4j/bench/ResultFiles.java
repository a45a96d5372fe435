package io.github.attention4j.bench;

import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.Map;

/**
 * The parts that all reports share: the table of the machine, and the files in {@code results/}.
 */
final class ResultFiles {
  private static final Path DIRECTORY = Path.of("results");

  private ResultFiles() {}

  /** Appends the table that describes the machine and the run. */
  static void machineTable(StringBuilder text, Map<String, String> machine) {
    text.append("| | |\n|---|---|\n");
    machine.forEach((key, value) -> text.append("| %s | %s |\n".formatted(key, value)));
  }

  /** Prints a report and writes it with its figures; a partial one is only printed. */
  static void write(String name, String markdown, String json, boolean complete)
      throws IOException {
    write(name, markdown, json, Map.of(), complete);
  }

  /**
   * Prints a report and writes it with its figures and charts; a partial one is only printed.
   *
   * @param name of the files, without their ending
   * @param charts SVG by file name
   */
  static void write(
      String name, String markdown, String json, Map<String, String> charts, boolean complete)
      throws IOException {
    System.out.println("\n" + markdown);
    if (!complete) {
      return;
    }
    Files.createDirectories(DIRECTORY);
    Files.writeString(DIRECTORY.resolve(name + ".md"), markdown);
    Files.writeString(DIRECTORY.resolve(name + ".json"), json);
    for (Map.Entry<String, String> chart : charts.entrySet()) {
      Files.writeString(DIRECTORY.resolve(chart.getKey()), chart.getValue());
    }
  }
}
