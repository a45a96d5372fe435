package io.github.attention4j.demo;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import java.io.IOException;
import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.util.ArrayDeque;
import java.util.ArrayList;
import java.util.Base64;
import java.util.Deque;
import java.util.List;
import java.util.Set;
import java.util.regex.Matcher;
import java.util.regex.Pattern;
import org.junit.jupiter.api.BeforeAll;
import org.junit.jupiter.api.Test;

class AttentionPageTest {
  private static final Pattern MAP =
      Pattern.compile("\\{\"scale\":([-+.0-9E]+),\"data\":\"([A-Za-z0-9+/=]*)\"}");

  private static int[] tokens;
  private static float[][][][] llama;
  private static float[][][][] diffLlama;
  private static String page;

  @BeforeAll
  static void renderBothModels() throws IOException {
    PlainCausalLm plain = PlainCausalLm.load(DemoModel.LLAMA.directory());
    PlainCausalLm differential = PlainCausalLm.load(DemoModel.DIFFLLAMA.directory());
    tokens = Prompt.tokens("Où est </script> \"it\" \\ é𝄞?\n", 256);
    llama = plain.attentionWeights(tokens);
    diffLlama = differential.attentionWeights(tokens);
    page =
        AttentionPage.render(
            tokens,
            2,
            List.of(
                new AttentionPage.Model("Llama", "One softmax.", "head", null, llama),
                new AttentionPage.Model(
                    "DiffLlama",
                    "Two <em>of</em> them.",
                    "pair",
                    differential.lambda(),
                    diffLlama)),
            null);
  }

  @Test
  void shouldHoldTheMapsOfEveryHeadAndPairOfEveryLayer() {
    List<float[]> maps = maps();
    assertEquals(4 * 6 + 4 * 3, maps.size());
    int map = 0;
    for (float[][][][] model : List.of(llama, diffLlama)) {
      for (float[][][] layer : model) {
        for (float[][] weights : layer) {
          float[] shown = maps.get(map++);
          assertEquals(tokens.length * (tokens.length + 1) / 2, shown.length);
          int i = 0;
          for (int query = 0; query < tokens.length; query++) {
            for (int key = 0; key <= query; key++) {
              assertEquals(weights[query][key], shown[i++], 2e-5f, "map " + map);
            }
          }
        }
      }
    }
  }

  @Test
  void shouldHaveNegativeWeightsOnlyIfDifferential() {
    List<float[]> maps = maps();
    for (int map = 0; map < maps.size(); map++) {
      boolean negative = false;
      for (float weight : maps.get(map)) {
        negative |= weight < 0;
      }
      assertEquals(map >= 4 * 6, negative, "map " + map);
    }
    assertTrue(page.contains("weight < 0 ? colours.negative : colours.positive"));
  }

  @Test
  void shouldHoldThePromptAsNumbersSoThatNoTextOfItCanBecomeMarkup() {
    assertTrue(data().startsWith("{\"tokens\":[79, 195, 185, 32, "), data());
    assertTrue(data().contains("\"layer\":2,"));
    assertFalse(data().contains("<"), "data must not end its script element");
    assertTrue(data().contains("Two \\u003cem>of\\u003c/em> them."));
    assertEquals(2, page.split("</script>", -1).length - 1);
  }

  @Test
  void shouldLoadNothingFromElsewhere() {
    String rest = page.replace(data(), "");
    Pattern request =
        Pattern.compile(
            "//[a-z]|https?:|@import|url\\(|fetch\\(|import\\("
                + "|<(img|iframe|script src|link(?! rel=\"icon\" href=\"data:,\"))");
    Matcher matcher = request.matcher(rest);
    assertFalse(matcher.find(), () -> "found " + matcher.group());
  }

  @Test
  void shouldCloseEveryElement() {
    assertTrue(page.startsWith("<!DOCTYPE html>\n<html lang=\"en\">"));
    String markup =
        page.replaceAll("(?s)(<script[^>]*>).*?</script>", "$1</script>")
            .replaceAll("(?s)<style>.*?</style>", "");
    Set<String> empty = Set.of("meta", "link", "input");
    Deque<String> open = new ArrayDeque<>();
    Matcher tag = Pattern.compile("<(/?)([a-z0-9]+)[^>]*>").matcher(markup);
    while (tag.find()) {
      if (!tag.group(1).isEmpty()) {
        assertEquals(open.pop(), tag.group(2));
      } else if (!empty.contains(tag.group(2))) {
        open.push(tag.group(2));
      }
    }
    assertTrue(open.isEmpty(), "left open: " + open);
  }

  @Test
  void shouldRejectAMapOfAnotherSizeThanTheText() {
    AttentionPage.Model model =
        new AttentionPage.Model("Llama", "", "head", null, new float[1][1][3][3]);
    IllegalArgumentException e =
        assertThrows(
            IllegalArgumentException.class,
            () -> AttentionPage.render(new int[2], 0, List.of(model), null));
    assertEquals("a map must be tokens x tokens: tokens=2, map=3 x 3", e.getMessage());
  }

  private static String data() {
    String start = "<script type=\"application/json\" id=\"data\">";
    int from = page.indexOf(start) + start.length();
    return page.substring(from, page.indexOf("</script>", from));
  }

  private static List<float[]> maps() {
    List<float[]> maps = new ArrayList<>();
    Matcher matcher = MAP.matcher(data());
    while (matcher.find()) {
      float scale = Float.parseFloat(matcher.group(1));
      ByteBuffer weights =
          ByteBuffer.wrap(Base64.getDecoder().decode(matcher.group(2)))
              .order(ByteOrder.LITTLE_ENDIAN);
      float[] map = new float[weights.remaining() / 2];
      for (int i = 0; i < map.length; i++) {
        map[i] = weights.getShort() * scale;
      }
      maps.add(map);
    }
    return maps;
  }
}
