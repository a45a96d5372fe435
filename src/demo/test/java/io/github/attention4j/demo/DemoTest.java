package io.github.attention4j.demo;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import java.io.ByteArrayOutputStream;
import java.io.IOException;
import java.io.PrintStream;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.time.Duration;
import java.util.List;
import java.util.regex.Matcher;
import java.util.regex.Pattern;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.BeforeEach;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;

class DemoTest {
  private static final Pattern DIFFERENCE =
      Pattern.compile("largest difference of a logit: (\\S+)");

  private final ByteArrayOutputStream printed = new ByteArrayOutputStream();
  private final Demo demo =
      new Demo(new PrintStream(printed, true, StandardCharsets.UTF_8), Duration.ZERO);

  @TempDir Path output;

  @BeforeEach
  void writeElsewhere() {
    System.setProperty("demo.output", output.toString());
  }

  @AfterEach
  void clearProperties() {
    for (String name : List.of("prompt", "temperature", "seed", "output")) {
      System.clearProperty("demo." + name);
    }
  }

  @Test
  void shouldShowBothModelsAndWriteThePage() throws IOException {
    System.setProperty("demo.prompt", "JULIET:\nO Romeo, é");
    demo.run();
    String text = printed.toString(StandardCharsets.UTF_8);
    for (String line :
        List.of(
            "Llama: multi-head attention, 4 layers with 6 heads each, 1,820,352 parameters",
            "DiffLlama: differential attention, 4 layers with 3 pairs each, 1,820,864 parameters",
            "  > JULIET:",
            "  > O Romeo, é",
            "  prompt of 19 ",
            "  generating 237 ")) {
      assertTrue(text.contains(System.lineSeparator() + line), line + " in " + text);
    }
    Matcher difference = DIFFERENCE.matcher(text);
    for (int model = 0; model < 2; model++) {
      assertTrue(difference.find(), text);
      assertTrue(Float.parseFloat(difference.group(1)) < 2e-3f, difference.group());
    }
    String page = Files.readString(output.resolve("attention.html"));
    assertEquals(4 * 6 + 4 * 3, page.split("\"scale\":", -1).length - 1);
  }

  @Test
  void shouldOnlyReadAPromptThatFillsTheContext() throws IOException {
    System.setProperty("demo.prompt", "x".repeat(256));
    demo.run();
    String text = printed.toString(StandardCharsets.UTF_8);
    assertTrue(text.contains("prompt of 256"), text);
    assertFalse(text.contains("generating"), text);
  }

  @Test
  void shouldRejectAPromptLongerThanTheContextWithBothNumbers() {
    System.setProperty("demo.prompt", "x".repeat(257));
    assertRejected("prompt must fit the context: prompt=257 bytes, context=256");
  }

  @Test
  void shouldRejectATemperatureOrSeedThatMeansNothing() {
    System.setProperty("demo.temperature", "warm");
    assertRejected("demo.temperature must be a number: demo.temperature=warm");
    System.setProperty("demo.temperature", "-1");
    assertRejected("temperature must be finite and not negative: temperature=-1.0");
    System.clearProperty("demo.temperature");
    System.setProperty("demo.seed", "1.5");
    assertRejected("demo.seed must be a whole number: demo.seed=1.5");
  }

  private void assertRejected(String message) {
    assertEquals(message, assertThrows(IllegalArgumentException.class, demo::run).getMessage());
    assertFalse(Files.exists(output.resolve("attention.html")));
  }
}
