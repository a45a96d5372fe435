package io.github.attention4j.models.cli;

import java.io.PrintStream;
import java.util.Locale;

/** A progress line: rewritten continuously on a terminal, otherwise printed once at the end. */
final class Progress {
  private static final long EVERY_NANOS = 500_000_000;

  private final PrintStream out;
  private final boolean terminal;
  private final String what;
  private final long start = System.nanoTime();
  private long shown = start;

  Progress(PrintStream out, boolean terminal, String what) {
    this.out = out;
    this.terminal = terminal;
    this.what = what;
  }

  void at(long done, long tokens) {
    long now = System.nanoTime();
    if (terminal && now - shown > EVERY_NANOS) {
      shown = now;
      out.print("\r" + line(done, tokens, now) + "  ");
      out.flush();
    }
  }

  void end(long done, long tokens) {
    out.println((terminal ? "\r" : "") + line(done, tokens, System.nanoTime()) + "  ");
  }

  private String line(long done, long tokens, long now) {
    double seconds = Math.max(1e-9, (now - start) * 1e-9);
    return String.format(
        Locale.ROOT,
        "%,d %s, %,d tokens in %.1f s: %,.0f %s/s, %,.0f tokens/s",
        done,
        what,
        tokens,
        seconds,
        done / seconds,
        what,
        tokens / seconds);
  }
}
