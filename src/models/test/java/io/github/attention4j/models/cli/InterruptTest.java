package io.github.attention4j.models.cli;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertTrue;
import static org.junit.jupiter.api.Assumptions.assumeTrue;

import java.io.IOException;
import java.io.InputStream;
import java.io.OutputStream;
import java.net.URI;
import java.net.http.HttpClient;
import java.net.http.HttpRequest;
import java.net.http.HttpResponse;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import java.util.concurrent.TimeUnit;
import java.util.regex.Matcher;
import java.util.regex.Pattern;
import org.junit.jupiter.api.BeforeEach;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.Timeout;
import org.junit.jupiter.api.io.TempDir;

/** Ctrl-C, sent to a process that writes a text of a million tokens. */
@Timeout(120)
class InterruptTest {
  private static final int INTERRUPTED = 130;
  private static final int TERMINATED = 143;

  @TempDir private Path directory;

  @BeforeEach
  void requireSignals() throws Exception {
    // Test runs in the background ignore SIGINT, and so would their children.
    assumeTrue(succeeds("env", "--default-signal=INT", "true"), "env has no --default-signal");
    assumeTrue(succeeds("kill", "-l"), "there is no kill");
  }

  private static boolean succeeds(String... command) throws InterruptedException {
    try {
      return new ProcessBuilder(command)
              .redirectErrorStream(true)
              .redirectOutput(ProcessBuilder.Redirect.DISCARD)
              .start()
              .waitFor()
          == 0;
    } catch (IOException e) {
      return false;
    }
  }

  @Test
  void shouldEndGenerateAndSayHowFastItWas() throws Exception {
    Process process = start("generate", EndlessModel.write(directory, 1_000_000).toString(), "a");
    awaitText(process.getInputStream());
    interrupt(process);
    process.getInputStream().transferTo(OutputStream.nullOutputStream());
    assertTrue(process.waitFor(60, TimeUnit.SECONDS));
    assertSummary(1);
    assertEquals(INTERRUPTED, process.exitValue());
  }

  @Test
  void shouldEndOneAnswerAndThenTheChat() throws Exception {
    Process process = start("chat", EndlessModel.write(directory, 1_000_000).toString());
    OutputStream input = process.getOutputStream();
    for (int answers = 1; answers <= 2; answers++) {
      input.write("a\n".getBytes(StandardCharsets.UTF_8));
      input.flush();
      awaitText(process.getInputStream());
      interrupt(process);
      while (summaries() < answers) {
        process.getInputStream().skip(process.getInputStream().available());
        Thread.sleep(10);
      }
      process.getInputStream().skip(process.getInputStream().available());
      assertTrue(process.isAlive());
    }
    interrupt(process);
    assertTrue(process.waitFor(60, TimeUnit.SECONDS));
    assertSummary(2);
    assertEquals(INTERRUPTED, process.exitValue());
  }

  @Test
  void shouldEndTheStreamsOfAServerWithAnError() throws Exception {
    for (String signal : List.of("-INT", "-TERM")) {
      Process process =
          start(
              "serve",
              EndlessModel.write(directory, 1_000_000).toString(),
              "--port",
              "0",
              "--max-tokens",
              "900000",
              "--cache-tokens",
              "1000000");
      Matcher address = Pattern.compile("http://127.0.0.1:(\\d+)/v1").matcher("");
      while (!address.reset(Files.readString(errors())).find()) {
        assertTrue(process.isAlive(), Files.readString(errors()));
        Thread.sleep(50);
      }
      HttpRequest request =
          HttpRequest.newBuilder(URI.create(address.group() + "/completions"))
              .header("Content-Type", "application/json")
              .POST(
                  HttpRequest.BodyPublishers.ofString(
                      "{\"prompt\": \"a\", \"stream\": true, \"temperature\": 0}"))
              .build();
      HttpResponse<InputStream> answer =
          HttpClient.newHttpClient().send(request, HttpResponse.BodyHandlers.ofInputStream());
      awaitText(answer.body());
      assertTrue(succeeds("kill", signal, Long.toString(process.pid())));
      String rest = new String(answer.body().readAllBytes(), StandardCharsets.UTF_8);
      assertTrue(
          rest.contains("the server is shutting down"),
          rest.substring(Math.max(0, rest.length() - 300)));
      assertTrue(process.waitFor(30, TimeUnit.SECONDS));
      assertEquals(signal.equals("-INT") ? INTERRUPTED : TERMINATED, process.exitValue());
    }
  }

  private Process start(String... arguments) throws IOException {
    List<String> command =
        new ArrayList<>(
            List.of(
                "env",
                "--default-signal=INT",
                Path.of(System.getProperty("java.home"), "bin", "java").toString(),
                "--enable-native-access=ALL-UNNAMED",
                "-cp",
                System.getProperty("java.class.path"),
                Main.class.getName()));
    command.addAll(List.of(arguments));
    return new ProcessBuilder(command).redirectError(errors().toFile()).start();
  }

  private Path errors() {
    return directory.resolve("errors");
  }

  private void awaitText(InputStream output) throws IOException {
    assertEquals(200, output.readNBytes(200).length, Files.readString(errors()));
  }

  private static void interrupt(Process process) throws Exception {
    assertTrue(succeeds("kill", "-INT", Long.toString(process.pid())));
  }

  private long summaries() throws IOException {
    return Files.readString(errors()).lines().filter(line -> line.endsWith("interrupted]")).count();
  }

  private void assertSummary(int answers) throws IOException {
    List<String> lines = Files.readAllLines(errors());
    assertEquals(answers, lines.size(), lines.toString());
    Pattern summary =
        Pattern.compile(
            "\\[\\d+ tokens read, [0-9,.]+ tokens/s; [0-9,]+ written, [0-9,.]+ tokens/s;"
                + " interrupted]");
    for (String line : lines) {
      assertTrue(summary.matcher(line).matches(), line);
    }
  }
}
