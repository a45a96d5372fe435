package io.github.attention4j.models.files;

import static org.junit.jupiter.api.Assertions.assertArrayEquals;
import static org.junit.jupiter.api.Assertions.assertDoesNotThrow;
import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertSame;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import io.github.attention4j.internal.Json;
import java.io.IOException;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.List;
import java.util.Map;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.function.Executable;
import org.junit.jupiter.api.io.TempDir;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;
import org.junit.jupiter.params.provider.ValueSource;

class SettingsTest {
  @Test
  void shouldReadEachTypeOfValue() {
    Settings settings =
        settings(
            "{\"i\": 3, \"zero\": 0, \"d\": 0.5, \"f\": true, \"t\": \"x\", \"ts\": [\"a\", \"b\"],"
                + " \"is\": [0, 7], \"ds\": [1, 2.5], \"o\": {\"a\": 1}, \"n\": null}");
    assertEquals(3, settings.integer("i"));
    assertEquals(0, settings.count("zero", 5));
    assertEquals(0.5, settings.positive("d"));
    assertTrue(settings.flag("f", false));
    assertEquals("x", settings.text("t"));
    assertEquals(List.of("a", "b"), settings.texts("ts"));
    assertEquals(List.of(0, 7), settings.integers("is"));
    assertArrayEquals(new double[] {1, 2.5}, settings.numbers("ds"));
    assertEquals(1, settings.object("o").integer("a"));
    assertSame(settings.object("o"), settings.object("o"));
    assertFalse(settings.has("n"));
    assertTrue(settings.mentions("n"));
    assertFalse(settings.mentions("absent"));
    assertDoesNotThrow(settings::requireAllRead);
  }

  @ParameterizedTest
  @ValueSource(strings = {"{}", "{\"k\": null}"})
  void shouldTakeTheDefaultIfAbsentOrNull(String json) {
    Settings settings = settings(json);
    assertEquals(4, settings.integer("k", 4));
    assertEquals(4, settings.count("k", 4));
    assertEquals(0.25, settings.positive("k", 0.25));
    assertEquals(-1, settings.number("k", -1));
    assertTrue(settings.flag("k", true));
    assertEquals("y", settings.text("k", "y"));
    assertEquals(List.of(), settings.texts("k"));
    assertTrue(settings.optionalPositive("k").isEmpty());
    assertTrue(settings.object("k").isEmpty());
  }

  @Test
  void shouldRefuseWrongValuesByNameAndValue() {
    Settings settings = settings("{\"k\": \"a\", \"big\": 2147483648, \"o\": {\"x\": -1}}");
    assertRefused("k must be an integer from 1 to 2^31-1: k=\"a\"", () -> settings.integer("k"));
    assertRefused(
        "big must be an integer from 1 to 2^31-1: big=2147483648", () -> settings.integer("big"));
    assertRefused("m must be a positive number: it is missing", () -> settings.positive("m"));
    assertRefused("k must be true or false: k=\"a\"", () -> settings.flag("k", false));
    assertRefused("k must be null or an object: k=\"a\"", () -> settings.object("k"));
    assertRefused("k must be a list of strings: k=\"a\"", () -> settings.texts("k"));
    assertRefused("k must be \"b\": k=\"a\"", () -> settings.require("k", "b"));
    assertRefused(
        "o.x must be a number of at least 1: o.x=-1", () -> settings.object("o").atLeastOne("x"));
  }

  @Test
  void shouldRefuseInfinityWhereANumberIsWanted() throws IOException {
    Settings settings =
        Settings.of(
            "config.json",
            (Map<?, ?>)
                Json.parseAsPythonWrites("{\"k\": Infinity}".getBytes(StandardCharsets.UTF_8)));
    assertRefused("k must be a positive number: k=Infinity", () -> settings.positive("k"));
    assertRefused("k must be a finite number: k=Infinity", () -> settings.number("k", 0));
  }

  @ParameterizedTest
  @CsvSource(
      delimiter = '|',
      value = {
        "\"clip_qkv\": 8.0 | clip_qkv=8.0",
        "\"alibi\": true | alibi=true",
        "\"is_causal\": \"no\" | is_causal=\"no\"",
        "\"n\": 1 | n=1",
        "\"layer_types\": [\"full_attention\", \"sliding_attention\"] | layer_types=a list of 2"
            + " values",
        "\"rope\": {\"attn_factor\": 2} | rope.attn_factor=2",
      })
  void shouldRefuseWhatNobodyRead(String json, String wanted) {
    Settings settings = settings("{" + json + ", \"torch_dtype\": \"bfloat16\", \"_x\": 5}");
    settings.object("rope");
    assertRefused(
        "settings that could change the result and are not computed are refused: " + wanted,
        settings::requireAllRead);
  }

  @Test
  void shouldListAllKeysThatNobodyRead() {
    assertRefused(
        "settings that could change the result and are not computed are refused: a=2, b=3",
        () -> settings("{\"a\": 2, \"b\": 3}").requireAllRead());
  }

  @ParameterizedTest
  @ValueSource(
      strings = {
        "null",
        "false",
        "1.0",
        "[]",
        "{}",
        "\"\"",
        "[\"full_attention\", \"full_attention\"]"
      })
  void shouldAcceptNeutralValues(String json) {
    assertDoesNotThrow(() -> settings("{\"k\": " + json + "}").requireAllRead());
  }

  @Test
  void shouldAcceptWhatAFamilyIgnores() {
    Settings settings = settings("{\"a\": 2, \"o\": {\"b\": 3, \"p\": {\"c\": 4}}}");
    settings.ignore("a");
    settings.object("o").ignoreAll();
    assertDoesNotThrow(settings::requireAllRead);
  }

  @Test
  void shouldNotTakeAHarmlessNameInAnObjectForHarmless() {
    Settings settings = settings("{\"o\": {\"temperature\": 2}}");
    settings.object("o");
    assertRefused(
        "settings that could change the result and are not computed are refused: o.temperature=2",
        settings::requireAllRead);
  }

  @Test
  void shouldReadAFileWithAByteOrderMark(@TempDir Path directory) throws IOException {
    Path file = directory.resolve("config.json");
    Files.writeString(file, "\uFEFF{\"a\": 2, \"time_step_limit\": [0.0, Infinity]}");
    assertEquals(2, Settings.read(file).integer("a"));
    Files.writeString(file, "[1]");
    assertEquals(
        file + " must hold an object: it holds a list of 1 values",
        assertThrows(IllegalArgumentException.class, () -> Settings.read(file)).getMessage());
    Files.writeString(file, "{");
    assertEquals(
        file
            + " must be valid JSON: expected a name in double quotes but got the end at"
            + " character 1",
        assertThrows(IOException.class, () -> Settings.read(file)).getMessage());
  }

  private static Settings settings(String json) {
    try {
      return Settings.of(
          "config.json", (Map<?, ?>) Json.parse(json.getBytes(StandardCharsets.UTF_8)));
    } catch (Json.MalformedException e) {
      throw new AssertionError(e);
    }
  }

  private static void assertRefused(String wanted, Executable call) {
    assertEquals(
        "config.json: " + wanted, assertThrows(IllegalArgumentException.class, call).getMessage());
  }
}
