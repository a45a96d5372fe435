package io.github.attention4j.models;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertNull;
import static org.junit.jupiter.api.Assertions.assertThrows;

import java.io.IOException;
import java.net.URISyntaxException;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import java.util.Objects;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.ValueSource;

/** Streaming with tokenizers whose tokens are bytes for most characters beyond ASCII. */
class TextStreamTest {
  private static final String TEXT =
      "The river 日本語 and 👩‍👩‍👧 emoji, naïve café — “quotes” 50 €.\n  Привет";

  @ParameterizedTest
  @ValueSource(strings = {"spm", "gemma", "bpe-llama-bpe", "bpe-qwen2", "bpe-gpt-2"})
  void shouldGiveWholeCharactersOnly(String name) throws Exception {
    GgufTokenizer tokenizer = tokenizer(name);
    int[] tokens = tokenizer.encode(TEXT, false, false);
    TextStream stream = new TextStream(tokenizer);
    StringBuilder all = new StringBuilder();
    List<String> pieces = new ArrayList<>();
    for (int token : tokens) {
      pieces.add(stream.add(token));
    }
    pieces.add(stream.finish());
    for (String piece : pieces) {
      assertFalse(piece.contains("\uFFFD"), piece);
      assertFalse(
          !piece.isEmpty() && Character.isHighSurrogate(piece.charAt(piece.length() - 1)), piece);
      all.append(piece);
    }
    assertEquals(tokenizer.decode(tokens, true), all.toString());
    assertEquals(TEXT, all.toString().replace('\u2581', ' '));
  }

  @ParameterizedTest
  @ValueSource(strings = {"spm", "gemma"})
  void shouldKeepTheSpaceAfterASpecialToken(String name) throws Exception {
    GgufTokenizer tokenizer = tokenizer(name);
    int[] tokens = tokenizer.encode("the water rises", false, false);
    TextStream stream = new TextStream(tokenizer);
    StringBuilder all = new StringBuilder();
    int[] text = new int[3 * tokens.length];
    for (int i = 0; i < text.length; i++) {
      text[i] = i % 3 < 2 ? tokenizer.eos() : tokens[i / 3];
      all.append(stream.add(text[i]));
    }
    all.append(stream.finish());
    assertEquals(tokenizer.decode(text, true), all.toString());
    assertEquals("the water rises", all.toString());
  }

  @Test
  void shouldGiveWhatNeverBecomesACharacter() throws Exception {
    GgufTokenizer tokenizer = tokenizer("bpe-gpt-2");
    int[] euro = tokenizer.encode("€", false, false);
    TextStream stream = new TextStream(tokenizer);
    StringBuilder all = new StringBuilder();
    for (int i = 0; i < 40; i++) {
      // A character's first byte, again and again.
      all.append(stream.add(euro[0]));
    }
    assertEquals(37, all.length());
    all.append(stream.add(tokenizer.encode("a", false, false)[0]));
    all.append(stream.finish());
    assertEquals("\uFFFD".repeat(40) + "a", all.toString());
  }

  @Test
  void shouldStopAtATextAndHoldBackWhatMayBecomeOne() throws Exception {
    GgufTokenizer tokenizer = tokenizer("bpe-gpt-2");
    TextStream stream = new TextStream(tokenizer, List.of("END", "\nUser:"));
    StringBuilder all = new StringBuilder();
    for (int token : tokenizer.encode("It ENDs\nUse it.\nUser: x", false, false)) {
      String piece = stream.add(token);
      all.append(piece);
      assertFalse(all.toString().contains("E"), all.toString());
    }
    all.append(stream.finish());
    assertEquals("It ", all.toString());
    assertEquals("END", stream.stop());
    TextStream other = new TextStream(tokenizer, List.of("\nUser:"));
    all.setLength(0);
    for (int token : tokenizer.encode("a\nUse it\nUs", false, false)) {
      all.append(other.add(token));
    }
    assertEquals("a\nUse it", all.toString());
    assertEquals("\nUs", other.finish());
    assertNull(other.stop());
  }

  @Test
  void shouldRefuseAnEmptyStop() throws Exception {
    GgufTokenizer tokenizer = tokenizer("spm");
    assertEquals(
        "stops must not be empty texts: stops=[a, ]",
        assertThrows(
                IllegalArgumentException.class, () -> new TextStream(tokenizer, List.of("a", "")))
            .getMessage());
  }

  private static GgufTokenizer tokenizer(String name) throws IOException, URISyntaxException {
    String file = "/golden-models/gguf/tokenizers/" + name + ".gguf";
    return GgufTokenizer.open(
        Path.of(Objects.requireNonNull(TextStreamTest.class.getResource(file)).toURI()));
  }
}
