package io.github.attention4j.internal;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertTrue;

import java.io.IOException;
import java.io.InputStream;
import java.nio.charset.StandardCharsets;
import java.security.MessageDigest;
import java.util.HexFormat;
import java.util.List;
import java.util.Set;
import java.util.TreeSet;
import java.util.jar.JarFile;
import java.util.regex.Matcher;
import java.util.regex.Pattern;
import org.junit.jupiter.api.Test;

/** The native libraries of the jar: of every platform that was asked for, and of no other. */
class PackagedLibrariesIT {
  private static final String JAR = System.getProperty("attention4j.jar");
  private static final String FOLDER = "META-INF/native/";
  private static final Pattern GLIBC = Pattern.compile("GLIBC_2\\.([0-9]+)(\\.[0-9]+)*");
  private static final int OLDEST_GLIBC = 17;

  /** The platform of this build, or the list that -Prelease passes. */
  private static Set<String> platforms() {
    String names = System.getProperty("attention4j.platforms");
    return names.equals("own")
        ? Set.of(NativeLibrary.platform())
        : new TreeSet<>(List.of(names.split(",")));
  }

  @Test
  void shouldBeThoseOfThePlatformsOfThisBuild() throws Exception {
    try (JarFile jar = new JarFile(JAR)) {
      Set<String> found = new TreeSet<>();
      jar.stream()
          .map(entry -> entry.getName())
          .filter(name -> name.startsWith(FOLDER) && !name.endsWith("/"))
          .forEach(name -> found.add(name.substring(FOLDER.length(), name.lastIndexOf('/'))));
      assertEquals(platforms(), found);
    }
  }

  @Test
  void shouldBeWhatTheIndexSays() throws Exception {
    try (JarFile jar = new JarFile(JAR)) {
      for (String platform : platforms()) {
        List<String> lines =
            new String(read(jar, platform, NativeCache.INDEX), StandardCharsets.US_ASCII)
                .lines()
                .toList();
        assertTrue(lines.size() > 1, platform);
        for (String line : lines.subList(1, lines.size())) {
          String[] words = line.split(" ", 3);
          byte[] file = read(jar, platform, words[2]);
          byte[] hash = MessageDigest.getInstance("SHA-256").digest(file);
          assertEquals(words[0], HexFormat.of().formatHex(hash), platform + " " + words[2]);
          assertEquals(Long.parseLong(words[1]), file.length, platform + " " + words[2]);
        }
      }
    }
  }

  @Test
  void shouldRunOnTheirArchitectureAndTheirLibc() throws Exception {
    try (JarFile jar = new JarFile(JAR)) {
      for (String platform : platforms()) {
        ElfFile library = ElfFile.read(read(jar, platform, "liba4j.so"));
        int machine = platform.contains("aarch64") ? ElfFile.AARCH64 : ElfFile.X86_64;
        assertEquals(machine, library.machine(), platform);
        boolean musl = platform.endsWith("-musl");
        assertTrue(library.needed().contains(musl ? "libc.so" : "libc.so.6"), library.toString());
        assertEquals(musl, library.versions().isEmpty(), library.toString());
      }
    }
  }

  @Test
  void shouldNeedNoNewerGlibcThanTheyPromise() throws Exception {
    try (JarFile jar = new JarFile(JAR)) {
      for (String platform : platforms()) {
        for (String version : ElfFile.read(read(jar, platform, "liba4j.so")).versions()) {
          Matcher glibc = GLIBC.matcher(version);
          assertTrue(
              glibc.matches() && Integer.parseInt(glibc.group(1)) <= OLDEST_GLIBC,
              platform + " needs " + version);
        }
      }
    }
  }

  private static byte[] read(JarFile jar, String platform, String name) throws IOException {
    try (InputStream in = jar.getInputStream(jar.getEntry(FOLDER + platform + "/" + name))) {
      return in.readAllBytes();
    }
  }
}
