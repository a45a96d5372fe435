package io.github.attention4j.internal;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertTrue;

import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;

/** What the build does before it compiles native code. */
class NativeBuildTest {
  @TempDir Path temporary;

  /** CMake refuses the build directories of a tree that was copied after it was built. */
  @Test
  void shouldRemoveTheBuildsOfAnotherSourceDirectory() throws Exception {
    Path sources = Path.of("native").toRealPath();
    Path own = build("release", sources);
    Path foreign = build("dev", Path.of("/elsewhere/native"));
    Path foreignCheck = build("check/asan", Path.of("/elsewhere/native"));
    Path link = Files.createSymbolicLink(temporary.resolve("link"), sources);
    Path linked = build("asan", link);

    Process cmake =
        new ProcessBuilder("cmake", "-DDIRECTORY=" + temporary, "-P", "own_builds.cmake")
            .directory(sources.toFile())
            .redirectErrorStream(true)
            .start();
    String said = new String(cmake.getInputStream().readAllBytes(), StandardCharsets.UTF_8);
    assertEquals(0, cmake.waitFor(), said);
    Files.delete(link);
    assertTrue(Files.exists(own), said);
    assertTrue(Files.exists(linked), said);
    assertFalse(Files.exists(foreign), said);
    assertFalse(Files.exists(foreignCheck), said);
    assertTrue(said.contains(foreign + " was configured for /elsewhere/native"), said);
  }

  private Path build(String name, Path sources) throws Exception {
    Path build = Files.createDirectories(temporary.resolve(name));
    Files.createDirectories(build.resolve("CMakeFiles"));
    Files.writeString(
        build.resolve("CMakeCache.txt"),
        "# comment\nCMAKE_BUILD_TYPE:STRING=Release\nCMAKE_HOME_DIRECTORY:INTERNAL="
            + sources
            + "\n");
    return build;
  }
}
