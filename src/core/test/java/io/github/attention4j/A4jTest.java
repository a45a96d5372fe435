package io.github.attention4j;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import io.github.attention4j.testing.ChildJvm;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.List;
import org.junit.jupiter.api.Test;

class A4jTest {
  @Test
  void shouldDescribeWhatRunsHere() {
    List<String> lines = A4j.describe().lines().toList();
    assertEquals("attention4j " + A4j.version(), lines.get(0));
    assertEquals(
        "isa         " + A4j.isa() + " (available: " + String.join(", ", A4j.availableIsas()) + ")",
        lines.get(1));
    assertTrue(lines.get(2).startsWith("threads     " + A4j.threads() + " "), lines.get(2));
    String team = System.getProperty("a4j.team", "own");
    assertTrue(
        lines.containsAll(List.of("team        " + team, "product     own")), lines.toString());
    assertTrue(
        lines.stream().anyMatch(line -> line.matches("library +/.*/liba4j\\.so")),
        lines.toString());
  }

  @Test
  void shouldUseTheBestKernelsThatTheOperatingSystemReports() throws Exception {
    List<String> flags =
        Files.readAllLines(Path.of("/proc/cpuinfo")).stream()
            .filter(line -> line.startsWith("flags"))
            .findFirst()
            .map(line -> List.of(line.split("\\s+")))
            .orElse(List.of());
    String best;
    if (flags.containsAll(List.of("avx512f", "avx512dq", "avx512bw", "avx512vl"))) {
      boolean dots = flags.containsAll(List.of("avx512_bf16", "avx512_vnni"));
      best = dots ? "avx512bf16" : "avx512";
    } else if (flags.containsAll(List.of("avx2", "fma", "f16c"))) {
      best = "avx2";
    } else {
      best = System.getProperty("os.arch").equals("aarch64") ? "neon" : "baseline";
    }
    assertEquals(best, A4j.availableIsas().getFirst());
  }

  @Test
  void shouldTakeEveryAvailableIsa() {
    String before = A4j.isa();
    try {
      for (String isa : A4j.availableIsas()) {
        A4j.isa(isa);
        assertEquals(isa, A4j.isa());
      }
    } finally {
      A4j.isa(before);
    }
  }

  @Test
  void shouldRefuseAnIsaThatDoesNotExist() {
    IllegalArgumentException failure =
        assertThrows(IllegalArgumentException.class, () -> A4j.isa("mmx"));
    assertTrue(failure.getMessage().startsWith("isa must be one of ["), failure.getMessage());
    assertTrue(failure.getMessage().endsWith("]: isa=mmx"), failure.getMessage());
    NullPointerException missing = assertThrows(NullPointerException.class, () -> A4j.isa(null));
    assertEquals("name", missing.getMessage());
  }

  @Test
  void shouldCapThreads() {
    int before = A4j.threads();
    try {
      A4j.threads(3);
      assertEquals(3, A4j.threads());
      IllegalArgumentException failure =
          assertThrows(IllegalArgumentException.class, () -> A4j.threads(0));
      assertEquals("threads must be at least 1: threads=0", failure.getMessage());
      assertEquals(3, A4j.threads());
    } finally {
      A4j.threads(before);
    }
  }

  @Test
  void shouldReadThreadsFromAProperty() throws Exception {
    ChildJvm child = ChildJvm.info("-Da4j.threads=5").requireSilentSuccess();
    assertTrue(child.out().contains("threads     5 "), child.out());
    for (String wrong : List.of("0", "-1", "two", "99999999999")) {
      assertEquals(
          "a4j.threads must be a whole number from 1 to 2147483647: a4j.threads=" + wrong,
          ChildJvm.info("-Da4j.threads=" + wrong).err().strip());
    }
  }
}
