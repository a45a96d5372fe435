package io.github.attention4j.models;

import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.DynamicTest.dynamicTest;

import io.github.attention4j.A4j;
import io.github.attention4j.internal.Json;
import java.io.IOException;
import java.net.URISyntaxException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import java.util.Objects;
import java.util.stream.Stream;
import org.junit.jupiter.api.DynamicTest;
import org.junit.jupiter.api.TestFactory;

/**
 * Compares models, tokenizers and files with the results of reference implementations.
 *
 * <p>{@code -Dgolden.models} names a directory; every {@code manifest.json} in it or below it is
 * run, instead of those among the test resources. {@code -Dgolden.select} selects the cases whose
 * name contains it.
 *
 * <p>Each case runs on every kernel tier that this machine has, by the {@code kind} of its
 * manifest. A kind, option or tensor that is not known here fails the case. Every number that is
 * compared comes from the public API.
 */
class GoldenModelsTest {
  /** Who runs which kind; a map for each group of kinds, in a class of its own. */
  private static final List<Map<String, GoldenModel.Run>> KINDS =
      List.of(
          GoldenChats.KINDS,
          GoldenDecoders.KINDS,
          GoldenEncoders.KINDS,
          GoldenGguf.KINDS,
          GoldenMiniLm.KINDS,
          GoldenTokenizers.KINDS);

  @TestFactory
  List<DynamicTest> shouldMatchReferenceImplementations() throws Exception {
    Path directory = directory();
    String selected = System.getProperty("golden.select", "");
    List<DynamicTest> tests = new ArrayList<>();
    for (GoldenModel golden : cases(directory)) {
      if (golden.name().contains(selected)) {
        tests.add(dynamicTest(golden.name(), () -> runOnEveryTier(golden)));
      }
    }
    assertFalse(
        tests.isEmpty(), "no case below " + directory + " has \"" + selected + "\" in its name");
    return tests;
  }

  private static Path directory() throws URISyntaxException {
    String given = System.getProperty("golden.models");
    return given == null || given.isBlank()
        ? Path.of(
            Objects.requireNonNull(GoldenModelsTest.class.getResource("/golden-models")).toURI())
        : Path.of(given);
  }

  private static List<GoldenModel> cases(Path directory) throws IOException {
    List<Path> manifests;
    try (Stream<Path> files = Files.walk(directory)) {
      manifests = files.filter(file -> file.endsWith("manifest.json")).sorted().toList();
    }
    List<GoldenModel> cases = new ArrayList<>();
    for (Path manifest : manifests) {
      Map<?, ?> content = (Map<?, ?>) Json.parse(Files.readAllBytes(manifest));
      String kind = (String) content.get("kind");
      for (Object entry : (List<?>) content.get("cases")) {
        cases.add(new GoldenModel(manifest.getParent(), kind, (Map<?, ?>) entry));
      }
    }
    return cases;
  }

  private static void runOnEveryTier(GoldenModel golden) throws Exception {
    GoldenModel.Run run =
        KINDS.stream()
            .map(kinds -> kinds.get(golden.kind()))
            .filter(Objects::nonNull)
            .findFirst()
            .orElseThrow(() -> new AssertionError("unknown kind " + golden.kind()));
    String before = A4j.isa();
    try {
      for (String isa : A4j.availableIsas()) {
        A4j.isa(isa);
        golden.run(run);
      }
    } finally {
      A4j.isa(before);
    }
  }
}
