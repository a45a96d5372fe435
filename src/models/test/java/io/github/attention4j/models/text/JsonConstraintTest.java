package io.github.attention4j.models.text;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import com.google.gson.JsonParser;
import io.github.attention4j.models.testing.ScriptedModel;
import java.util.Arrays;
import java.util.List;
import java.util.Map;
import java.util.Set;
import java.util.SplittableRandom;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.ValueSource;

class JsonConstraintTest {
  @ParameterizedTest
  @ValueSource(
      strings = {
        "{}",
        " {\n} ",
        "{\"a\":1}",
        "{\"a\": -0.5e+10, \"b\": [1, 20, 0, -3, 1E5], \"\": null}",
        "{\"a\":{\"b\":[{}, [], [[\"\"]], true, false]}}",
        "{\"\\u00e9\\n\\\"\\\\\\/\": \"é😀�\"}",
      })
  void shouldAcceptObjects(String json) {
    JsonPrefix prefix = new JsonPrefix();
    String object = json.stripTrailing();
    for (int i = 0; i < object.length(); i++) {
      assertFalse(prefix.complete(), json.substring(0, i));
      assertTrue(prefix.accept(object.charAt(i)), json.substring(0, i + 1));
    }
    assertTrue(prefix.complete());
  }

  @ParameterizedTest
  @ValueSource(
      strings = {
        "[",
        "1",
        "\"",
        "t",
        "}",
        "{,",
        "{1",
        "{\"a\",",
        "{\"a\"1",
        "{\"a\":,",
        "{\"a\":}",
        "{\"a\":01",
        "{\"a\":-a",
        "{\"a\":1.,",
        "{\"a\":1.e",
        "{\"a\":1e,",
        "{\"a\":1e+}",
        "{\"a\":.",
        "{\"a\":+",
        "{\"a\":1]",
        "{\"a\":[1}",
        "{\"a\":[,",
        "{\"a\":[1,]",
        "{\"a\":1,}",
        "{\"a\":tru}",
        "{\"a\":nulL",
        "{\"a\":\"\n",
        "{\"a\":\"\\x",
        "{\"a\":\"\\u12g",
        "{\"a\":\"\\u\uff11",
        "{}}",
        "{} ",
        "{\"a\":1 1",
        "{\"a\":1.5.",
        "{\"a\":1e5.",
        "{\"a\":--"
      })
  void shouldRefuseWhatIsNoObject(String json) {
    JsonPrefix prefix = new JsonPrefix();
    assertTrue(prefix.accept(json.substring(0, json.length() - 1)), json);
    assertFalse(prefix.accept(json.charAt(json.length() - 1)), json);
  }

  @Test
  void shouldLimitDepthAndWhiteSpace() {
    JsonPrefix deep = new JsonPrefix();
    assertTrue(deep.accept("{\"a\":" + "[".repeat(JsonPrefix.MOST_DEPTH - 1)));
    assertFalse(deep.accept('['));
    JsonPrefix wide = new JsonPrefix();
    assertTrue(wide.accept("{" + " ".repeat(JsonPrefix.MOST_SPACE)));
    assertFalse(wide.accept(' '));
    JsonPrefix string = new JsonPrefix();
    assertTrue(string.accept("{\"\":\"" + " ".repeat(10 * JsonPrefix.MOST_SPACE) + "\"}"));
    assertTrue(string.complete());
  }

  @Test
  void shouldLetRandomChoicesWriteNothingButObjects() {
    ScriptedModel tokenizer = new ScriptedModel(Map.of("true", "", "\": ", "", "{\"", ""));
    TokenTexts texts = TokenTexts.of(tokenizer);
    Set<Integer> ends = Set.of(128);
    SplittableRandom random = new SplittableRandom(7);
    int complete = 0;
    for (int text = 0; text < 300; text++) {
      JsonConstraint constraint = new JsonConstraint(texts, ends);
      StringBuilder written = new StringBuilder();
      int[] tokens = {'?', 0};
      int length = 1;
      while (length < 60 && !constraint.completes(tokens, length, 1)) {
        float[] logits = new float[texts.count()];
        constraint.process(tokens, length, 1, logits);
        int[] left =
            java.util.stream.IntStream.range(0, logits.length)
                .filter(token -> logits[token] == 0)
                .toArray();
        int token = left[random.nextInt(left.length)];
        tokens = Arrays.copyOf(tokens, length + 1);
        tokens[length++] = token;
        written.append(texts.text(token));
      }
      if (constraint.completes(tokens, length, 1)) {
        complete++;
        assertTrue(JsonParser.parseString(written.toString()).isJsonObject(), written.toString());
        float[] logits = new float[texts.count()];
        constraint.process(tokens, length, 1, logits);
        assertEquals(0, logits[128]);
        logits[128] = Float.NEGATIVE_INFINITY;
        for (float logit : logits) {
          assertEquals(Float.NEGATIVE_INFINITY, logit);
        }
      }
    }
    assertTrue(complete > 20, "complete=" + complete);
  }

  @Test
  void shouldSayWhyNothingCanFollow() {
    TokenTexts texts = TokenTexts.of(new ScriptedModel(Map.of()));
    JsonConstraint constraint = new JsonConstraint(texts, Set.of());
    int[] tokens = {'{', '}', 'x'};
    IllegalStateException complete =
        assertThrows(
            IllegalStateException.class,
            () -> constraint.process(tokens, 2, 0, new float[texts.count()]));
    assertTrue(complete.getMessage().contains("no token that ends a text"));
    IllegalArgumentException wrong =
        assertThrows(IllegalArgumentException.class, () -> constraint.completes(tokens, 3, 0));
    assertEquals("token must continue the JSON object: token=120, text=\"x\"", wrong.getMessage());
  }

  @Test
  void shouldReadATextAnewWhenTokensWereTakenBack() {
    TokenTexts texts = TokenTexts.of(new ScriptedModel(Map.of()));
    JsonConstraint constraint = new JsonConstraint(texts, Set.of());
    assertTrue(constraint.completes(new int[] {'{', '}'}, 2, 0));
    assertFalse(constraint.completes(new int[] {'{', ' '}, 2, 0));
    assertFalse(constraint.completes(new int[] {'{'}, 1, 0));
    assertTrue(constraint.completes(new int[] {'x', '{', '}'}, 3, 1));
  }

  @Test
  void shouldKnowTheTextOfEachToken() {
    TokenTexts texts = TokenTexts.of(new ScriptedModel(Map.of("cue", "é")));
    List<String> all = new java.util.ArrayList<>();
    for (int i = 126; i < texts.count(); i++) {
      all.add(texts.text(i));
    }
    assertEquals(Arrays.asList("~", "\u007f", "", "cue", "é"), all);
  }
}
