package io.github.attention4j;

import static org.junit.jupiter.api.Assertions.assertEquals;

import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import java.util.concurrent.TimeUnit;

/**
 * What a JVM of its own, like this one, made of its arguments.
 *
 * @param exit its exit status
 * @param out what it printed
 * @param err what it printed on the stream for errors, warnings of the JVM among it
 */
public record ChildJvm(int exit, String out, String err) {
  /** The class path of this JVM, and native access for it. */
  public static final List<String> CLASS_PATH =
      List.of(
          "-cp",
          System.getProperty("java.class.path"),
          "--enable-native-access=ALL-UNNAMED",
          "--illegal-native-access=deny");

  /** A JVM that was started and has not been waited for. */
  public record Running(Process process, Path out, Path err) {
    public ChildJvm await() throws IOException, InterruptedException {
      if (!process.waitFor(2, TimeUnit.MINUTES)) {
        process.destroyForcibly();
        throw new IOException("the JVM did not end in two minutes: " + Files.readString(out));
      }
      ChildJvm result =
          new ChildJvm(process.exitValue(), Files.readString(out), Files.readString(err));
      Files.delete(out);
      Files.delete(err);
      return result;
    }
  }

  /** Runs {@code info} with more options than {@link #CLASS_PATH}. */
  public static ChildJvm info(String... options) throws IOException, InterruptedException {
    return startInfo(Map.of(), options).await();
  }

  /** Starts {@code info} with more options than {@link #CLASS_PATH}, and an environment. */
  public static Running startInfo(Map<String, String> environment, String... options)
      throws IOException {
    List<String> arguments = new ArrayList<>(CLASS_PATH);
    arguments.addAll(List.of(options));
    arguments.addAll(List.of("io.github.attention4j.cli.Main", "info"));
    return start(environment, arguments);
  }

  /** Starts a JVM. */
  public static Running start(Map<String, String> environment, List<String> arguments)
      throws IOException {
    List<String> command = new ArrayList<>();
    command.add(Path.of(System.getProperty("java.home"), "bin", "java").toString());
    command.addAll(arguments);
    Path out = Files.createTempFile("child", ".out");
    Path err = Files.createTempFile("child", ".err");
    ProcessBuilder builder =
        new ProcessBuilder(command).redirectOutput(out.toFile()).redirectError(err.toFile());
    builder.environment().putAll(environment);
    return new Running(builder.start(), out, err);
  }

  /** Requires success without a word on the stream for errors. */
  public ChildJvm requireSilentSuccess() {
    assertEquals("", err);
    assertEquals(0, exit);
    return this;
  }
}
