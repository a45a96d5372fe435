package io.github.attention4j.guide;

import java.io.ByteArrayOutputStream;
import java.io.PrintStream;
import java.nio.charset.StandardCharsets;

/** Keeps what an example prints until it is closed, in place of printing it. */
final class Printed implements AutoCloseable {
  private final PrintStream before = System.out;
  private final ByteArrayOutputStream bytes = new ByteArrayOutputStream();

  Printed() {
    System.setOut(new PrintStream(bytes, true, StandardCharsets.UTF_8));
  }

  /** How many bytes have been printed. */
  int size() {
    return bytes.size();
  }

  @Override
  public void close() {
    System.setOut(before);
  }
}
