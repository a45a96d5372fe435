package io.github.attention4j.bench;

import java.io.IOException;
import java.util.List;

/** By how much a process grows while it computes causal attention over some tokens. */
final class GrowthMemory {
  private GrowthMemory() {}

  /** Prints the bytes. */
  public static void main(String[] arguments) {
    int length = Integer.parseInt(arguments[0]);
    int threads = Integer.parseInt(arguments[1]);
    Shape shape = new Shape("memory", 1, 1, 1, 1, length, length, 64, 64, true, "");
    System.out.println(Math.round(LongContext.measure(shape, threads).moreBytes()));
  }

  /** Bytes in addition to the tensors. */
  static double inChild(int length, int threads) throws IOException {
    List<String> command =
        List.of(
            ProcessHandle.current().info().command().orElse("java"),
            "--enable-native-access=ALL-UNNAMED",
            "-Xms512m",
            "-Xmx512m",
            "-XX:+AlwaysPreTouch",
            "-cp",
            System.getProperty("java.class.path"),
            GrowthMemory.class.getName(),
            Integer.toString(length),
            Integer.toString(threads));
    Process process =
        new ProcessBuilder(command).redirectError(ProcessBuilder.Redirect.INHERIT).start();
    try (var reader = process.inputReader()) {
      String line = reader.readLine();
      if (line == null) {
        throw new IOException("no figure came from " + command);
      }
      return Double.parseDouble(line);
    }
  }
}
