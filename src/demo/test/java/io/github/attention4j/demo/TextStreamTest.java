package io.github.attention4j.demo;

import static org.junit.jupiter.api.Assertions.assertEquals;

import java.io.ByteArrayOutputStream;
import java.io.PrintStream;
import java.nio.charset.StandardCharsets;
import java.util.Arrays;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.ValueSource;

class TextStreamTest {

  @ParameterizedTest
  @ValueSource(ints = {1, 2, 3, 100})
  void shouldPrintWholeCharactersHoweverTheirBytesArrive(int piece) {
    ByteArrayOutputStream printed = new ByteArrayOutputStream();
    TextStream stream =
        new TextStream(new PrintStream(printed, true, StandardCharsets.UTF_8), "  ");
    int[] tokens = Prompt.tokens("Où 𝄞\n\nbell \u0007 end", 256);
    for (int i = 0; i < tokens.length; i += piece) {
      stream.print(Arrays.copyOfRange(tokens, i, Math.min(tokens.length, i + piece)));
    }
    stream.end();
    assertEquals(
        "  Où 𝄞\n  \n  bell ? end\n".replace("\n", System.lineSeparator()),
        printed.toString(StandardCharsets.UTF_8));
  }

  @Test
  void shouldPrintAReplacementForBytesThatAreNoText() {
    ByteArrayOutputStream printed = new ByteArrayOutputStream();
    TextStream stream = new TextStream(new PrintStream(printed, true, StandardCharsets.UTF_8), "");
    stream.print('a', 0xFF, 'b', 0xC3);
    stream.end();
    assertEquals(
        "a\ufffdb\ufffd" + System.lineSeparator(), printed.toString(StandardCharsets.UTF_8));
  }
}
