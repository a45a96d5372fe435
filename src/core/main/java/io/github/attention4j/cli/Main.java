package io.github.attention4j.cli;

import io.github.attention4j.A4j;

/** The command line: {@code java -jar attention4j.jar info}. */
public final class Main {
  private static final String USAGE =
      """
      Usage: java -jar attention4j.jar COMMAND

      Commands:
        info   describe this installation: version, kernels, threads, BLAS, library\
      """;

  private Main() {}

  /**
   * Runs a command. The exit status is 0, 1 if it failed, or 2 if there is no such command.
   *
   * @param arguments the command
   */
  public static void main(String[] arguments) {
    if (arguments.length != 1 || !arguments[0].equals("info")) {
      System.err.println(USAGE);
      System.exit(2);
    }
    try {
      System.out.println(A4j.describe());
    } catch (IllegalStateException | IllegalArgumentException failure) {
      System.err.println(failure.getMessage());
      System.exit(1);
    }
  }
}
