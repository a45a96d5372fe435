package io.github.attention4j.models.cli;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertTrue;
import static org.junit.jupiter.api.Assumptions.assumeTrue;

import io.github.attention4j.models.TinyGguf;
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
import java.util.Arrays;
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
    Process process = start("generate", model().toString(), "a");
    awaitText(process.getInputStream());
    interrupt(process);
    process.getInputStream().transferTo(OutputStream.nullOutputStream());
    assertTrue(process.waitFor(60, TimeUnit.SECONDS));
    assertSummary(1);
    assertEquals(INTERRUPTED, process.exitValue());
  }

  @Test
  void shouldEndOneAnswerAndThenTheChat() throws Exception {
    Process process = start("chat", model().toString());
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
              model().toString(),
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

  /** Writes one letter for ever. */
  private Path model() throws IOException {
    int vocabulary = 259;
    int width = 8;
    TinyGguf gguf = new TinyGguf();
    gguf.metadata.put("general.architecture", "llama");
    gguf.metadata.put("llama.block_count", 1);
    gguf.metadata.put("llama.context_length", 1_000_000);
    gguf.metadata.put("llama.embedding_length", width);
    gguf.metadata.put("llama.feed_forward_length", width);
    gguf.metadata.put("llama.attention.head_count", 1);
    gguf.metadata.put("llama.attention.layer_norm_rms_epsilon", 1e-5f);
    List<Object> tokens = new ArrayList<>(List.of("<unk>", "<s>", "</s>"));
    List<Object> types = new ArrayList<>(List.of(2, 3, 3));
    List<Object> scores = new ArrayList<>(List.of(0f, 0f, 0f));
    for (int b = 0; b < 256; b++) {
      tokens.add("<0x%02X>".formatted(b));
      types.add(6);
      scores.add(0f);
    }
    gguf.metadata.put("tokenizer.ggml.model", "llama");
    gguf.metadata.put("tokenizer.ggml.tokens", tokens);
    gguf.metadata.put("tokenizer.ggml.token_type", types);
    gguf.metadata.put("tokenizer.ggml.scores", scores);
    gguf.metadata.put(
        "tokenizer.chat_template", "{% for m in messages %}{{ m.content }}{% endfor %}");
    fill(gguf, "token_embd.weight", 1, vocabulary, width);
    float[] head = new float[vocabulary * width];
    // Byte 'x' follows everything.
    Arrays.fill(head, (3 + 'x') * width, (4 + 'x') * width, 1);
    gguf.put("output.weight", head, vocabulary, width);
    for (String name : List.of("attn_q", "attn_k", "attn_v", "attn_output")) {
      fill(gguf, "blk.0." + name + ".weight", 0, width, width);
    }
    for (String name : List.of("ffn_gate", "ffn_up", "ffn_down")) {
      fill(gguf, "blk.0." + name + ".weight", 0, width, width);
    }
    for (String name : List.of("output_norm", "blk.0.attn_norm", "blk.0.ffn_norm")) {
      fill(gguf, name + ".weight", 1, width);
    }
    return gguf.write(directory.resolve("endless.gguf"));
  }

  private static void fill(TinyGguf gguf, String name, float value, long... shape) {
    float[] values = new float[(int) (shape[0] * (shape.length > 1 ? shape[1] : 1))];
    Arrays.fill(values, value);
    gguf.put(name, values, shape);
  }
}
