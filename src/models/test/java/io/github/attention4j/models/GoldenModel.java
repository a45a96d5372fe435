package io.github.attention4j.models;

import io.github.attention4j.A4j;
import io.github.attention4j.Tensor;
import io.github.attention4j.internal.Json;
import io.github.attention4j.io.SafeTensors;
import java.io.IOException;
import java.lang.foreign.Arena;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.LinkedHashSet;
import java.util.List;
import java.util.Map;
import java.util.Set;

/**
 * One case of a manifest of golden models. It keeps account: at the end every option has been asked
 * for and every tensor of the reference used, so that nothing that a case says can be overlooked.
 */
final class GoldenModel {
  private final Path directory;
  private final String kind;
  private final Map<?, ?> options;

  private Arena arena;
  private SafeTensors tensors;
  private Set<String> unusedOptions;
  private Set<String> unusedTensors;

  GoldenModel(Path directory, String kind, Map<?, ?> options) {
    this.directory = directory;
    this.kind = kind;
    this.options = options;
  }

  /** What runs a case. */
  @FunctionalInterface
  interface Run {
    void accept(GoldenModel golden) throws Exception;
  }

  String name() {
    return (String) options.get("name");
  }

  String kind() {
    return kind;
  }

  /** Runs the case, and fails unless all of it was used. */
  void run(Run run) throws Exception {
    try (Arena confined = Arena.ofConfined()) {
      arena = confined;
      tensors = null;
      unusedTensors = new LinkedHashSet<>();
      unusedOptions = new LinkedHashSet<>();
      options.keySet().forEach(option -> unusedOptions.add((String) option));
      describes("name");
      run.accept(this);
      require(unusedOptions.isEmpty(), "unknown options " + unusedOptions);
      require(unusedTensors.isEmpty(), "unknown tensors " + unusedTensors);
    }
  }

  /** Lives until the case has run. */
  Arena arena() {
    return arena;
  }

  // ---- Options and files ----

  /** Something beside the manifest. */
  Path path(String name) {
    return directory.resolve(name);
  }

  /** The file or directory beside the manifest that an option names. */
  Path pathOf(String option) {
    return directory.resolve(text(option));
  }

  /** A JSON file. */
  static Object json(Path file) throws IOException {
    return Json.parse(Files.readAllBytes(file));
  }

  boolean has(String option) {
    return options.containsKey(option);
  }

  /** Options that only describe. */
  void describes(String... names) {
    unusedOptions.removeAll(List.of(names));
  }

  Object option(String option) {
    unusedOptions.remove(option);
    return options.get(option);
  }

  String text(String option) {
    Object value = option(option);
    require(value instanceof String, "option " + option + "=" + value);
    return (String) value;
  }

  int integer(String option) {
    Object value = option(option);
    require(value instanceof Long, "option " + option + "=" + value);
    return Math.toIntExact((Long) value);
  }

  double number(String option) {
    Object value = option(option);
    require(value instanceof Number, "option " + option + "=" + value);
    return ((Number) value).doubleValue();
  }

  // ---- Tensors of the reference ----

  /** Opens the file of expected tensors, each of which the case must use. */
  void open(Path file) throws IOException {
    tensors = SafeTensors.open(file, arena);
    unusedTensors.addAll(tensors.names());
  }

  boolean holds(String tensor) {
    return tensors.contains(tensor);
  }

  Tensor get(String tensor) {
    require(holds(tensor), "there is no tensor " + tensor);
    unusedTensors.remove(tensor);
    return tensors.get(tensor);
  }

  // ---- Comparing ----

  /** Fails unless each {@code |got − expected| <= tolerance · max(1, |expected|)}. */
  void expect(String what, float[] expected, float[] got, double tolerance) {
    require(
        got.length == expected.length,
        what + " has " + got.length + " elements, expected " + expected.length);
    for (int i = 0; i < got.length; i++) {
      double error = Math.abs((double) got[i] - expected[i]);
      // Written so that NaN fails.
      if (!(error <= tolerance * Math.max(1, Math.abs(expected[i])))) {
        throw new AssertionError(
            where() + what + "[" + i + "] is " + got[i] + ", expected " + expected[i]);
      }
    }
  }

  /** Fails with the case's name and tier in front of the sentence. */
  void require(boolean condition, String otherwise) {
    if (!condition) {
      throw new AssertionError(where() + otherwise);
    }
  }

  private String where() {
    return name() + " (" + A4j.isa() + "): ";
  }
}
