package io.github.attention4j.models.text;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import io.github.attention4j.models.CausalLm;
import io.github.attention4j.models.Encoding;
import io.github.attention4j.models.TextStream;
import io.github.attention4j.models.Tokenizer;
import io.github.attention4j.models.testing.ScriptedModel;
import java.nio.charset.StandardCharsets;
import java.nio.file.Path;
import java.time.Duration;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.BeforeEach;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;

class TextGeneratorTest {
  @TempDir private Path directory;
  private CausalLm model;
  private TextGenerator generator;

  @BeforeEach
  void open() throws Exception {
    ScriptedModel script =
        new ScriptedModel(Map.of("Q:", "Grüße 😀, END. And more", "J:", "no", "{", "\"a\": [1]}"));
    model = script.open(directory);
    generator = new TextGenerator(model, script);
  }

  @AfterEach
  void close() {
    model.close();
  }

  private TextGenerator.Result generate(String prompt, TextGenerator.Builder request) {
    List<String> pieces = new ArrayList<>();
    TextGenerator.Result result = generator.generate(prompt, request.build(), pieces::add);
    assertEquals(result.text(), String.join("", pieces));
    return result;
  }

  @Test
  void shouldContinueUntilTheTokenThatEndsTheText() {
    TextGenerator.Result result = generate("Hi. Q:", TextGenerator.request());
    assertEquals("Grüße 😀, END. And more", result.text());
    assertEquals(TextGenerator.Finish.END, result.finish());
    assertEquals(5, result.promptTokens());
    assertEquals(23, result.newTokens());
  }

  @Test
  void shouldStopBeforeAStopTextAndHoldBackItsBeginning() {
    TextGenerator.Result result =
        generate("Q:", TextGenerator.request().stop("more", "END.", "ENDLESS"));
    assertEquals("Grüße 😀, ", result.text());
    assertEquals(TextGenerator.Finish.STOP_TEXT, result.finish());
    TextGenerator.Result whole = generate("Q:", TextGenerator.request().stop("more!"));
    assertEquals("Grüße 😀, END. And more", whole.text());
    assertEquals(TextGenerator.Finish.END, whole.finish());
  }

  @Test
  void shouldStopAtTheLimits() {
    TextGenerator.Result tokens = generate("Q:", TextGenerator.request().maxTokens(5));
    assertEquals("Grüße", tokens.text());
    assertEquals(TextGenerator.Finish.LENGTH, tokens.finish());
    assertEquals(
        TextGenerator.Finish.LENGTH, generate("Q:", TextGenerator.request().maxTokens(0)).finish());
    assertEquals(
        TextGenerator.Finish.TIME,
        generate("Q:", TextGenerator.request().time(Duration.ofNanos(1))).finish());
    List<String> seen = new ArrayList<>();
    TextGenerator.Request until3 =
        TextGenerator.request().cancelled(() -> seen.size() >= 3).build();
    TextGenerator.Result cancelled = generator.generate("Q:", until3, seen::add);
    assertEquals("Grü", cancelled.text());
    assertEquals(TextGenerator.Finish.CANCELLED, cancelled.finish());
  }

  @Test
  void shouldFillTheContextAndRefuseMore() {
    String longest = "x".repeat(model.context() - 1) + "Q:";
    TextGenerator.Result full = generate(longest, TextGenerator.request());
    assertEquals(0, full.newTokens());
    assertEquals(TextGenerator.Finish.LENGTH, full.finish());
    IllegalArgumentException tooLong =
        assertThrows(
            IllegalArgumentException.class, () -> generate("x" + longest, TextGenerator.request()));
    assertEquals(
        "the prompt must have 1 to context tokens: prompt=2049, context=2048",
        tooLong.getMessage());
    assertThrows(IllegalArgumentException.class, () -> generate("", TextGenerator.request()));
  }

  @Test
  void shouldWriteNothingButAJsonObjectWhenAsked() {
    TextGenerator.Result result = generate("J:", TextGenerator.request().json());
    assertEquals("{\"a\": [1]}", result.text().strip());
    assertEquals(TextGenerator.Finish.END, result.finish());
  }

  @Test
  void shouldRefuseOptionsThatMakeNoSense() {
    TextGenerator.Builder request = TextGenerator.request();
    assertThrows(IllegalArgumentException.class, () -> request.maxTokens(-1));
    assertThrows(IllegalArgumentException.class, () -> request.stop("a", ""));
    assertThrows(IllegalArgumentException.class, () -> request.time(Duration.ZERO));
    request.json().processor(() -> null);
    assertThrows(IllegalArgumentException.class, request::build);
  }

  /** Gemma 3 1B has one token more in its tokenizer than in its embedding. */
  @Test
  void shouldRefuseOnlyPromptsWithTokensThatTheModelLacks() {
    TextGenerator larger = new TextGenerator(model, new Larger(generator.tokenizer()));
    TextGenerator.Request request = TextGenerator.request().maxTokens(3).build();
    assertEquals(
        generator.generate("Hello", request, piece -> {}).text(),
        larger.generate("Hello", request, piece -> {}).text());
    int vocabulary = model.vocabulary();
    assertEquals(
        "prompt[0] must be in the vocabulary: prompt[0]=%d, vocabulary=%1$d".formatted(vocabulary),
        assertThrows(
                IllegalArgumentException.class,
                () -> larger.generate("picture", request, piece -> {}))
            .getMessage());
  }

  /** Another tokenizer with one more token, whose text is "picture". */
  private record Larger(Tokenizer other) implements Tokenizer {
    @Override
    public Encoding encode(String text, boolean special) {
      return text.equals("picture")
          ? new Encoding(new int[] {other.vocabulary()}, new int[1], new int[1])
          : other.encode(text, special);
    }

    @Override
    public Encoding encodePair(String first, String second) {
      return other.encodePair(first, second);
    }

    @Override
    public String decode(int[] tokens, boolean skipSpecial) {
      return other.decode(tokens, skipSpecial);
    }

    @Override
    public int vocabulary() {
      return other.vocabulary() + 1;
    }

    @Override
    public void close() {}
  }

  /** Tokens are bytes. */
  private static final class Bytes implements Tokenizer {
    @Override
    public Encoding encode(String text, boolean special) {
      byte[] bytes = text.getBytes(StandardCharsets.UTF_8);
      int[] tokens = new int[bytes.length];
      for (int i = 0; i < bytes.length; i++) {
        tokens[i] = bytes[i] & 255;
      }
      return new Encoding(tokens, new int[bytes.length], new int[bytes.length]);
    }

    @Override
    public Encoding encodePair(String first, String second) {
      return encode(first + second, false);
    }

    @Override
    public String decode(int[] tokens, boolean skipSpecial) {
      byte[] bytes = new byte[tokens.length];
      for (int i = 0; i < bytes.length; i++) {
        bytes[i] = (byte) tokens[i];
      }
      return new String(bytes, StandardCharsets.UTF_8);
    }

    @Override
    public int vocabulary() {
      return 256;
    }

    @Override
    public void close() {}
  }

  @Test
  void shouldNeverShowHalfACharacter() {
    String text = "aé漢😀😀z\u00a0漢é";
    TextStream pieces = new TextStream(new Bytes(), List.of());
    StringBuilder shown = new StringBuilder();
    for (int token : new Bytes().encode(text, false).tokens()) {
      shown.append(pieces.add(token));
      assertTrue(text.startsWith(shown.toString()), shown.toString());
    }
    assertEquals(text, shown + pieces.finish());
  }

  @Test
  void shouldNotWaitForEverForACharacterThatIsNone() {
    TextStream pieces = new TextStream(new Bytes(), List.of());
    StringBuilder shown = new StringBuilder();
    for (int i = 0; i < 40; i++) {
      shown.append(pieces.add(0xff));
    }
    assertFalse(shown.isEmpty());
    shown.append(pieces.add('a')).append(pieces.add('b')).append(pieces.finish());
    assertTrue(shown.toString().endsWith("ab"), shown.toString());
    assertEquals(42, shown.length());
  }

  @Test
  void shouldShowTheHalfCharacterAtTheEnd() {
    TextStream pieces = new TextStream(new Bytes(), List.of());
    assertEquals("a", pieces.add('a'));
    assertEquals("", pieces.add(0xe6));
    assertEquals("\uFFFD", pieces.finish());
  }
}
