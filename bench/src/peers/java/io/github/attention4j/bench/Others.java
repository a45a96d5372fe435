package io.github.attention4j.bench;

import java.io.IOException;
import java.io.UncheckedIOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.List;

/**
 * How much processor time goes elsewhere: to processes that take no part, and to the host's other
 * guests. Linux counts it in hundredths of a second.
 */
final class Others {
  private static final double TICKS_PER_SECOND = 100;

  /** The error of counting in ticks, for all processes together. */
  private static final double GRAIN_SECONDS = 0.04;

  private static final double MOST = 0.05;

  private final List<Long> ours;

  /** Given the processes that do take part. */
  Others(List<Long> ours) {
    this.ours = ours;
  }

  /** Seconds of processor time that went elsewhere since the machine started. */
  double seconds() {
    String[] all = words(Path.of("/proc/stat"), "");
    // user nice system idle iowait irq softirq steal
    double ticks = sum(all, 1, 2, 3, 6, 7, 8);
    for (long process : ours) {
      Path own = Path.of("/proc/" + process + "/stat");
      if (Files.exists(own)) { // a contender may have ended: it takes no part any more
        // From the state on, after a name that may contain anything: utime and stime.
        ticks -= sum(words(own, ") "), 11, 12);
      }
    }
    return ticks / TICKS_PER_SECOND;
  }

  /** Whether so much, in so much time, is more than a twentieth of a processor. */
  static boolean disturb(double elsewhereSeconds, double elapsedSeconds) {
    return elsewhereSeconds > MOST * elapsedSeconds + GRAIN_SECONDS;
  }

  private static double sum(String[] words, int... which) {
    double sum = 0;
    for (int index : which) {
      sum += Long.parseLong(words[index]);
    }
    return sum;
  }

  private static String[] words(Path file, String after) {
    try {
      String text = Files.readString(file);
      String line = text.substring(0, text.indexOf('\n'));
      return line.substring(after.isEmpty() ? 0 : line.lastIndexOf(after) + after.length())
          .split("\\s+");
    } catch (IOException e) {
      throw new UncheckedIOException(e);
    }
  }
}
