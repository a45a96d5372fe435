package io.github.attention4j;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertTrue;

import java.io.IOException;
import java.io.UncheckedIOException;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.List;
import java.util.regex.Matcher;
import java.util.regex.Pattern;
import java.util.stream.Collectors;

/** The Java that stands in a page of Markdown, and the test that runs it. */
public final class Snippets {
  private static final Pattern JAVA = Pattern.compile("```java\n(.*?)```", Pattern.DOTALL);

  private Snippets() {}

  /**
   * Fails unless every block of Java in a page stands line by line, whatever its indentation, in
   * the source of a test.
   */
  public static void requireRunBy(Class<?> test, Path page, int blocks) {
    String source = withoutIndentation(read(source(test)));
    Matcher java = JAVA.matcher(read(page));
    List<String> found = java.results().map(block -> block.group(1)).toList();
    assertEquals(blocks, found.size(), "blocks of Java in " + page);
    for (String block : found) {
      assertTrue(
          source.contains(withoutIndentation(block)), "not in " + test.getName() + ":\n" + block);
    }
  }

  private static Path source(Class<?> test) {
    return Path.of("src/test/java", test.getName().replace('.', '/') + ".java");
  }

  private static String read(Path file) {
    try {
      return Files.readString(file, StandardCharsets.UTF_8);
    } catch (IOException e) {
      throw new UncheckedIOException(e);
    }
  }

  private static String withoutIndentation(String text) {
    return text.lines().map(String::strip).collect(Collectors.joining("\n"));
  }
}
