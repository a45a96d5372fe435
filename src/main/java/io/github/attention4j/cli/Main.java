package io.github.attention4j.cli;

/** The command line: {@code java -jar attention4j.jar info}. */
public final class Main {
  private Main() {}

  public static void main(String[] arguments) {
    System.err.println("Usage: java -jar attention4j.jar info");
    System.exit(2);
  }
}
