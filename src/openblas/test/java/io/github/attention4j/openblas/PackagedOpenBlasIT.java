package io.github.attention4j.openblas;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertTrue;

import io.github.attention4j.testing.ChildJvm;
import java.io.File;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import java.util.jar.JarFile;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;

/** Both jars as their users meet them, in JVMs of their own without a warning. */
class PackagedOpenBlasIT {
  private static final String CORE = System.getProperty("attention4j.core.jar");
  private static final String OPENBLAS = System.getProperty("attention4j.jar");
  private static final String BOTH = CORE + File.pathSeparator + OPENBLAS;
  private static final String MAIN = "io.github.attention4j.cli.Main";

  @TempDir Path cache;

  @Test
  void shouldBeFoundOnTheModulePath() throws Exception {
    requireBlas(
        "--enable-native-access=io.github.attention4j",
        "-p",
        BOTH,
        "-m",
        "io.github.attention4j/" + MAIN,
        "info");
  }

  @Test
  void shouldBeFoundOnTheClassPath() throws Exception {
    requireBlas("--enable-native-access=ALL-UNNAMED", "-cp", BOTH, MAIN, "info");
  }

  @Test
  void shouldHaveItsFilesForBothPlatformsAndItsLicences() throws Exception {
    try (JarFile jar = new JarFile(OPENBLAS)) {
      for (String file :
          List.of(
              "META-INF/openblas/linux-x86_64/libopenblas.so.0",
              "META-INF/openblas/linux-aarch64/libopenblas.so.0",
              "META-INF/openblas/linux-x86_64/index.txt",
              "META-INF/openblas/linux-aarch64/index.txt",
              "META-INF/licenses/OpenBLAS.txt",
              "META-INF/licenses/GPL-3.0.txt",
              "module-info.class")) {
        assertTrue(jar.getEntry(file) != null, file);
      }
    }
  }

  @Test
  void shouldLeaveTheCoreSmallAndFreeOfForeignLicences() throws Exception {
    assertTrue(new File(CORE).length() < 3_000_000, new File(CORE).length() + " bytes");
    try (JarFile jar = new JarFile(CORE)) {
      assertEquals(
          List.of(),
          jar.stream()
              .map(entry -> entry.getName())
              .filter(name -> name.contains("GPL") || name.contains("openblas"))
              .toList());
    }
  }

  private void requireBlas(String... arguments) throws Exception {
    List<String> all = new ArrayList<>(List.of("-Da4j.cache=" + cache, "-Da4j.product=blas"));
    all.add("--illegal-native-access=deny");
    all.addAll(List.of(arguments));
    ChildJvm child = ChildJvm.start(Map.of(), all).await().requireSilentSuccess();
    assertTrue(child.out().contains("\nproduct     blas\nblas        OpenBLAS 0.3."), child.out());
    assertTrue(child.out().contains("\n            " + cache), child.out());
  }
}
