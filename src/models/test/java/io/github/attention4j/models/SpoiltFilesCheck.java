package io.github.attention4j.models;

import static org.junit.jupiter.api.Assertions.assertEquals;

import io.github.attention4j.testing.ChildJvm;
import java.io.File;
import java.io.IOException;
import java.lang.management.ManagementFactory;
import java.nio.file.Files;
import java.nio.file.Path;
import java.nio.file.StandardCopyOption;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import java.util.Objects;
import java.util.stream.Stream;
import org.junit.jupiter.api.io.TempDir;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.EnumSource;

/**
 * Files of every kind, spoilt at random, are opened in a JVM with little memory: each is refused
 * with a sentence or opened, soon, and nothing of it is left afterwards. One of the long checks;
 * {@code -Dcheck.rounds} says how many files of each kind.
 */
class SpoiltFilesCheck {
  private static final String ROUNDS = System.getProperty("check.rounds", "3000");
  private static final long MB = 1 << 20;

  /** Far more than any sample takes, which is a few MB. */
  private static final long MOST_NATIVE_BYTES = 256 * MB;

  private static final long MOST_CPU_NANOS = 5_000_000_000L;

  @TempDir private Path directory;

  @ParameterizedTest
  @EnumSource
  void shouldOpenOrRefuseWhateverTheBytes(ForeignFile kind) throws Exception {
    List<String> command = new ArrayList<>(ChildJvm.CLASS_PATH);
    command.addAll(List.of("-Xmx128m", "-XX:+UseSerialGC", Opening.class.getName()));
    command.addAll(List.of(kind.name(), directory.toString(), ROUNDS));
    ChildJvm child = ChildJvm.start(Map.of(), command).await(30);
    System.out.print(child.out());
    assertEquals(0, child.exit(), child.out() + child.err());
  }

  /** Spoils and opens files of a kind in a folder. */
  static final class Opening {
    private Opening() {}

    public static void main(String[] args) throws Exception {
      ForeignFile kind = ForeignFile.valueOf(args[0]);
      Path directory = Path.of(args[1]);
      int rounds = Integer.parseInt(args[2]);
      List<Path> samples = kind.samples(directory);
      List<byte[]> originals = new ArrayList<>();
      List<Path> places = new ArrayList<>();
      for (Path sample : samples) {
        byte[] original = Files.readAllBytes(sample);
        originals.add(original);
        Path place = kind.placeBeside(sample, directory.resolve("sample" + places.size()));
        places.add(place);
        Files.write(place, original);
        if (!open(kind, place)) {
          throw new AssertionError(sample + " is refused");
        }
      }

      long start = System.nanoTime();
      long before = anonymousBytes();
      int descriptors = descriptors();
      int opened = 0;
      for (int round = 0; round < rounds; round++) {
        int number = round % places.size();
        Path place = places.get(number);
        byte[] original = originals.get(number);
        boolean text = original[0] == '{';
        Files.write(place, new Spoiling(round).spoil(original, text));
        try {
          opened += open(kind, place) ? 1 : 0;
          if (round % 64 == 0 && anonymousBytes() - before > MOST_NATIVE_BYTES) {
            throw new AssertionError("it has taken " + (anonymousBytes() - before) / MB + " MB");
          }
        } catch (Throwable failure) {
          Path kept = Files.createTempFile("spoilt", "-" + place.getFileName());
          Files.copy(place, kept, StandardCopyOption.REPLACE_EXISTING);
          throw new AssertionError(
              kind + ", round " + round + ", " + samples.get(number) + ", kept as " + kept,
              failure);
        }
      }
      long seconds = (System.nanoTime() - start) / 1_000_000_000;
      System.out.printf("%s: %d files in %d s, %d of them opened%n", kind, rounds, seconds, opened);
      if (descriptors() > descriptors) {
        throw new AssertionError(descriptors() + " files are open, were " + descriptors);
      }
      try (Stream<String> maps = Files.lines(Path.of("/proc/self/maps"))) {
        List<String> left = maps.filter(line -> line.contains(directory.toString())).toList();
        if (!left.isEmpty()) {
          throw new AssertionError("still mapped: " + left);
        }
      }
    }

    private static boolean open(ForeignFile kind, Path file) {
      long start = ManagementFactory.getThreadMXBean().getCurrentThreadCpuTime();
      boolean opened = false;
      try {
        kind.open(file);
        opened = true;
      } catch (Exception e) {
        ForeignFile.requireRefusal(e);
      }
      long nanos = ManagementFactory.getThreadMXBean().getCurrentThreadCpuTime() - start;
      if (nanos > MOST_CPU_NANOS) {
        throw new AssertionError("it took " + nanos / 1_000_000 + " ms");
      }
      return opened;
    }

    private static int descriptors() {
      return Objects.requireNonNull(new File("/proc/self/fd").list()).length;
    }

    private static long anonymousBytes() throws IOException {
      for (String line : Files.readAllLines(Path.of("/proc/self/status"))) {
        if (line.startsWith("RssAnon:")) {
          return Long.parseLong(line.replaceAll("\\D", "")) * 1024;
        }
      }
      throw new IOException("/proc/self/status has no RssAnon");
    }
  }
}
