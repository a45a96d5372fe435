package io.github.attention4j.internal;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertNull;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import java.nio.charset.StandardCharsets;
import java.util.Arrays;
import java.util.List;
import java.util.Map;
import java.util.Random;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;

class JsonTest {
  @Test
  void shouldReadEveryKindOfValue() throws Json.MalformedException {
    assertEquals(
        Map.of("a", List.of(1L, -2.5, true, false), "b", Map.of(), "c", List.of(), "d", "x"),
        parse(" {\"a\" : [1, -2.5,true ,false],\t\"b\":{},\r\n\"c\": [ ] , \"d\":\"x\"} \n"));
    assertNull(parse("null"));
    assertEquals(Arrays.asList(null, 1L), parse("[null,1]"));
  }

  @Test
  void shouldReadWhatPythonAddsOnlyWhereItIsAskedFor() throws Json.MalformedException {
    String text = "[NaN, Infinity, -Infinity, -1]";
    byte[] marked = ("\uFEFF" + text).getBytes(StandardCharsets.UTF_8);
    assertEquals(
        List.of(Double.NaN, Double.POSITIVE_INFINITY, Double.NEGATIVE_INFINITY, -1L),
        Json.parseAsPythonWrites(marked));
    assertThrows(Json.MalformedException.class, () -> parse(text));
    assertThrows(Json.MalformedException.class, () -> Json.parse(marked));
    assertThrows(
        Json.MalformedException.class,
        () -> Json.parseAsPythonWrites("[Infinit]".getBytes(StandardCharsets.UTF_8)));
  }

  @Test
  void shouldKeepTheOrderOfMembers() throws Json.MalformedException {
    Map<?, ?> map = (Map<?, ?>) parse("{\"z\":1,\"a\":2,\"m\":3}");
    assertEquals(List.of("z", "a", "m"), List.copyOf(map.keySet()));
    assertThrows(UnsupportedOperationException.class, map::clear);
  }

  @Test
  void shouldReadIntegersAsLongAndTheRestAsDouble() throws Json.MalformedException {
    assertEquals(Long.MAX_VALUE, parse("9223372036854775807"));
    assertEquals(Long.MIN_VALUE, parse("-9223372036854775808"));
    assertEquals(0x1p63, parse("9223372036854775808"));
    assertEquals(0L, parse("0"));
    assertEquals(0.0, parse("0.0"));
    assertEquals(1e-5, parse("1e-05"));
    assertEquals(1200.0, parse("1.2E+3"));
  }

  @Test
  void shouldReadEscapesAndAllOfUnicode() throws Json.MalformedException {
    assertEquals(
        "\"\\/\b\f\n\r\té\uD83D\uDE00\0",
        parse("\"\\\"\\\\\\/\\b\\f\\n\\r\\t\\u00e9\\uD83d\\uDE00\\u0000\""));
    assertEquals("é\uD83D\uDE00\u007f", parse("\"é\uD83D\uDE00\u007f\""));
  }

  @ParameterizedTest
  @CsvSource(
      delimiter = '|',
      quoteCharacter = '`',
      textBlock =
          """
          ``                 | expected a value but got the end at character 0
          `  `               | expected a value but got the end at character 2
          {} {}              | expected the end but got '{' at character 3
          {"a":1,}           | expected a name in double quotes but got '}' at character 7
          {"a" 1}            | expected ':' but got '1' at character 5
          {"a":1 "b":2}      | expected ',' or '}' but got '"' at character 7
          {a:1}              | expected a name in double quotes but got 'a' at character 1
          {"a":1             | expected ',' or '}' but got the end at character 6
          [1,]               | expected a value but got ']' at character 3
          [1 2]              | expected ',' or ']' but got '2' at character 3
          [1                 | expected ',' or ']' but got the end at character 2
          {"a":1,"a":2}      | names in an object must differ: "a" again at character 7
          {"a":1,"\\u0061":2} | names in an object must differ: "a" again at character 7
          01                 | expected the end but got '1' at character 1
          -                  | expected a digit but got the end at character 1
          1.                 | expected a digit but got the end at character 2
          .5                 | expected a value but got '.' at character 0
          1e                 | expected a digit but got the end at character 2
          +1                 | expected a value but got '+' at character 0
          1e999              | number is too large for a double at character 0
          NaN                | expected a value but got 'N' at character 0
          Infinity           | expected a value but got 'I' at character 0
          tru                | expected 'true' but got 't' at character 0
          "a                 | expected a character of a string, or '"' but got the end at character 2
          "\\x"              | expected one of " \\ / b f n r t u but got 'x' at character 2
          "\\u12g4"          | expected a hexadecimal digit but got 'g' at character 5
          "\\u12             | expected a hexadecimal digit but got the end at character 5
          "\\ud800"          | surrogates must come in pairs: string at character 0 has one alone
          "\\ude00\\ud83d"   | surrogates must come in pairs: string at character 0 has one alone
          // no              | expected a value but got '/' at character 0
          """)
  void shouldRefuse(String text, String message) {
    assertRefused(message, text.getBytes(StandardCharsets.UTF_8));
  }

  @Test
  void shouldRefuseControlCharactersInStrings() {
    assertRefused(
        "expected a character of a string, or '\"' but got U+000A at character 2",
        "\"a\n\"".getBytes(StandardCharsets.UTF_8));
  }

  @Test
  void shouldRefuseBytesThatAreNotUtf8() {
    assertRefused(
        "text must be valid UTF-8: it is not at byte 1",
        new byte[] {'"', (byte) 0xc0, (byte) 0x80});
    assertRefused(
        "text must be valid UTF-8: it is not at byte 1",
        new byte[] {'"', (byte) 0xed, (byte) 0xa0, (byte) 0x80, '"'});
    assertRefused(
        "text must be valid UTF-8: it is not at byte 2", new byte[] {'"', 'a', (byte) 0xe2});
    assertRefused(
        "expected a value but got U+FEFF at character 0",
        "\uFEFF{}".getBytes(StandardCharsets.UTF_8));
  }

  @Test
  void shouldLimitTheDepth() throws Json.MalformedException {
    parse("[".repeat(64) + "]".repeat(64));
    parse("[".repeat(64) + "1" + "]".repeat(64));
    assertRefused(
        "nesting must be at most 64 deep: depth=65 at character 65",
        "[".repeat(1_000_000).getBytes(StandardCharsets.UTF_8));
    assertRefused(
        "nesting must be at most 64 deep: depth=65 at character 325",
        "{\"a\":".repeat(1_000_000).getBytes(StandardCharsets.UTF_8));
  }

  @Test
  void shouldReadBackWhatItQuotes() throws Json.MalformedException {
    Random random = new Random(3);
    for (int i = 0; i < 2000; i++) {
      StringBuilder text = new StringBuilder();
      for (int k = random.nextInt(20); k > 0; k--) {
        int c = random.nextInt(random.nextBoolean() ? 0x80 : 0x110000);
        text.appendCodePoint(c >= 0xd800 && c < 0xe000 ? 'x' : c);
      }
      assertEquals(text.toString(), parse(Json.quote(text.toString())), "seed 3, round " + i);
    }
    assertEquals("\"\\\"\\\\\\n\\r\\t\\u0001/é\"", Json.quote("\"\\\n\r\t\u0001/é"));
  }

  @Test
  void shouldShowLongValuesShort() {
    assertEquals("\"x\"", Json.show("x"));
    assertEquals("\"" + "x".repeat(80) + "\"…", Json.show("x".repeat(1000)));
    assertEquals("an object with 1 members", Json.show(Map.of("a", 1)));
    assertEquals("a list of 2 values", Json.show(List.of(1, 2)));
    assertEquals("null", Json.show(null));
    assertEquals("1.5", Json.show(1.5));
  }

  @Test
  void shouldEndInAValueOrASentenceWhateverTheText() {
    String alphabet = "{}[]\",:\\u0019.eE+-truefalsn \n\u0001é";
    Random random = new Random(4);
    int values = 0;
    for (int i = 0; i < 200_000; i++) {
      StringBuilder text = new StringBuilder();
      for (int k = random.nextInt(12); k >= 0; k--) {
        text.append(alphabet.charAt(random.nextInt(alphabet.length())));
      }
      try {
        parse(text.toString());
        values++;
      } catch (Json.MalformedException e) {
        assertTrue(e.getMessage().length() > 10, () -> "seed 4: " + text);
      }
    }
    assertTrue(values > 100, "values read: " + values);
  }

  private static Object parse(String text) throws Json.MalformedException {
    return Json.parse(text.getBytes(StandardCharsets.UTF_8));
  }

  private static void assertRefused(String message, byte[] utf8) {
    assertEquals(
        message, assertThrows(Json.MalformedException.class, () -> Json.parse(utf8)).getMessage());
  }
}
