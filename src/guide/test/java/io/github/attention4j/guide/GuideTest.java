package io.github.attention4j.guide;

import static org.junit.jupiter.api.Assertions.assertTrue;

import java.io.IOException;
import java.lang.reflect.Field;
import java.lang.reflect.Method;
import java.lang.reflect.Modifier;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.HashSet;
import java.util.List;
import java.util.Set;
import java.util.regex.Matcher;
import java.util.regex.Pattern;
import java.util.stream.Stream;
import org.junit.jupiter.api.Test;

/** The guide's pages hang together, and their tables name what there is. */
class GuideTest {
  private static final Path GUIDE = Path.of("src/guide");
  private static final List<Path> MAIN =
      Stream.of("core", "classics", "models", "langchain4j")
          .map(module -> Path.of("src", module, "main/java"))
          .toList();

  private static final Pattern LINK = Pattern.compile("\\]\\(([^)#]+)[^)]*\\)");
  private static final Pattern CODE = Pattern.compile("`([^`]+)`");
  private static final Pattern TYPE = Pattern.compile("\\b([A-Z][A-Za-z0-9]*[a-z][A-Za-z0-9]*)\\b");
  private static final Pattern CONSTANT = Pattern.compile("\\.([A-Z][A-Z0-9_]+)\\b");
  private static final Pattern CALL = Pattern.compile("\\b([a-z][A-Za-z0-9]*)\\(");

  private static List<Path> pages() throws IOException {
    try (Stream<Path> files = Files.list(GUIDE)) {
      return files.filter(file -> file.toString().endsWith(".md")).sorted().toList();
    }
  }

  @Test
  void shouldLeadFromTheReadmeToEveryPage() throws IOException {
    assertTrue(Files.readString(Path.of("README.md")).contains("](src/guide/README.md)"));
    String index = Files.readString(GUIDE.resolve("README.md"));
    for (Path page : pages()) {
      String name = page.getFileName().toString();
      assertTrue(name.equals("README.md") || index.contains("](" + name + ")"), name);
    }
  }

  @Test
  void shouldLinkToFilesThatExist() throws IOException {
    Set<Path> shown = new HashSet<>();
    for (Path page : pages()) {
      Matcher link = LINK.matcher(Files.readString(page));
      while (link.find()) {
        Path target = GUIDE.resolve(link.group(1)).normalize();
        assertTrue(Files.exists(target), page + " links to " + link.group(1));
        shown.add(target);
      }
    }
    try (Stream<Path> files = Files.list(GUIDE)) {
      for (Path file : files.filter(Files::isRegularFile).toList()) {
        boolean exempt = file.endsWith("README.md") || file.endsWith("pom.xml");
        assertTrue(exempt || shown.contains(file), "no page shows " + file);
      }
    }
  }

  /**
   * What a table's second column shows as code is a public name of the library. Two pages are
   * exempt: the one about the code itself also names internals and tests, and the one about running
   * it names flags.
   */
  @Test
  void shouldNameWhatThereIs() throws Exception {
    Set<String> types = new HashSet<>();
    Set<String> members = new HashSet<>();
    for (Class<?> type : publicTypes()) {
      types.add(type.getSimpleName());
      for (Method method : type.getMethods()) {
        members.add(method.getName());
      }
      for (Field field : type.getFields()) {
        members.add(field.getName());
      }
    }
    int checked = 0;
    for (Path page : pages()) {
      if (Stream.of("architecture.md", "operations.md").anyMatch(page::endsWith)) {
        continue;
      }
      for (String line : Files.readAllLines(page)) {
        String[] cells = line.split(" \\| ");
        if (!line.startsWith("| ") || cells.length < 2) {
          continue;
        }
        Matcher code = CODE.matcher(cells[1]);
        while (code.find()) {
          requireAll(page, TYPE, code.group(1), types);
          requireAll(page, CONSTANT, code.group(1), members);
          requireAll(page, CALL, code.group(1), members);
          checked++;
        }
      }
    }
    assertTrue(checked > 100, checked + " spans of code");
  }

  private static void requireAll(Path page, Pattern pattern, String code, Set<String> known) {
    Matcher matcher = pattern.matcher(code);
    while (matcher.find()) {
      assertTrue(known.contains(matcher.group(1)), page + ": there is no " + code);
    }
  }

  private static List<Class<?>> publicTypes() throws IOException, ClassNotFoundException {
    List<Class<?>> types = new ArrayList<>();
    for (Path main : MAIN) {
      try (Stream<Path> files = Files.walk(main)) {
        for (Path file : files.toList()) {
          String name = main.relativize(file).toString().replace('/', '.');
          if (name.endsWith(".java")
              && !name.contains(".internal.")
              && !name.endsWith("-info.java")) {
            Class<?> type = Class.forName(name.substring(0, name.length() - ".java".length()));
            if (Modifier.isPublic(type.getModifiers())) {
              types.add(type);
              types.addAll(List.of(type.getClasses()));
            }
          }
        }
      }
    }
    return types;
  }
}
