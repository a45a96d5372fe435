package io.github.attention4j.models.cli;

import java.io.BufferedReader;
import java.io.InputStream;
import java.io.InputStreamReader;
import java.io.PrintStream;
import java.nio.charset.StandardCharsets;
import java.util.Iterator;
import java.util.Locale;

/**
 * What a command reads and writes.
 *
 * @param interactive whether a person answers at a terminal
 * @param rewrites whether the standard error is a terminal, on which a line can be rewritten
 */
record Console(
    InputStream in, PrintStream out, PrintStream err, boolean interactive, boolean rewrites) {

  Iterator<String> lines() {
    return new BufferedReader(new InputStreamReader(in, StandardCharsets.UTF_8)).lines().iterator();
  }

  /** A number with a comma between thousands. */
  static String grouped(long number) {
    return String.format(Locale.ROOT, "%,d", number);
  }
}
