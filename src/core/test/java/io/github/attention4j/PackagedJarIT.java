package io.github.attention4j;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertTrue;

import io.github.attention4j.testing.ChildJvm;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;

/** The jar as users run it: in a separate JVM, which must not print any warning. */
class PackagedJarIT {
  private static final String JAR = System.getProperty("attention4j.jar");
  private static final String MAIN = "io.github.attention4j.cli.Main";

  @TempDir Path cache;

  @Test
  void shouldRunFromTheModulePathWithoutWarnings() throws Exception {
    requireInfo(
        "--enable-native-access=io.github.attention4j",
        "--illegal-native-access=deny",
        "-p",
        JAR,
        "-m",
        "io.github.attention4j/" + MAIN,
        "info");
  }

  @Test
  void shouldKnowItsMainClassAsAModule() throws Exception {
    requireInfo(
        "--enable-native-access=io.github.attention4j",
        "-p",
        JAR,
        "-m",
        "io.github.attention4j",
        "info");
  }

  @Test
  void shouldRunFromTheClassPathWithoutWarnings() throws Exception {
    requireInfo(
        "--enable-native-access=ALL-UNNAMED",
        "--illegal-native-access=deny",
        "-cp",
        JAR,
        MAIN,
        "info");
  }

  @Test
  void shouldRunAsAnExecutableJarWithoutOptions() throws Exception {
    requireInfo("-jar", JAR, "info");
    requireInfo("--illegal-native-access=deny", "-jar", JAR, "info");
  }

  @Test
  void shouldSayWhichOptionAllowsNativeAccessToTheModule() throws Exception {
    ChildJvm child =
        run("--illegal-native-access=deny", "-p", JAR, "-m", "io.github.attention4j", "info");
    assertEquals(1, child.exit());
    assertTrue(
        child.err().contains("start it with --enable-native-access=io.github.attention4j"),
        child.err());
  }

  @Test
  void shouldExplainItselfForAnUnknownCommand() throws Exception {
    ChildJvm child = run("-jar", JAR, "inform");
    assertEquals(2, child.exit());
    assertEquals("", child.out());
    assertTrue(child.err().startsWith("Usage: java -jar attention4j.jar COMMAND\n"), child.err());
  }

  private void requireInfo(String... arguments) throws Exception {
    ChildJvm child = run(arguments).requireSilentSuccess();
    assertTrue(child.out().startsWith("attention4j "), child.out());
    assertTrue(child.out().contains("library     " + cache), child.out());
  }

  private ChildJvm run(String... arguments) throws Exception {
    List<String> all = new ArrayList<>(List.of("-Da4j.cache=" + cache));
    all.addAll(List.of(arguments));
    return ChildJvm.start(Map.of(), all).await();
  }
}
