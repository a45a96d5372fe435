package io.github.attention4j.demo;

import java.io.IOException;
import java.io.InputStream;
import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.Arrays;
import java.util.Base64;
import java.util.List;
import java.util.Locale;
import java.util.function.Function;
import java.util.stream.Collectors;

/**
 * One self-contained HTML page with the attention maps of several models over one text.
 *
 * <p>The page is {@code attention-page.html} with the data put in. Of each map it holds the lower
 * triangle, row by row, as little-endian int16 in base64, and the factor that turns these into
 * weights: a 58-byte prompt gives 165 KB, the longest that the models take 3 MB.
 */
final class AttentionPage {
  private AttentionPage() {}

  /**
   * What the page shows of one model.
   *
   * @param name the heading
   * @param about a sentence or two below it
   * @param unit what has a map of its own, "head" or "pair"
   * @param lambda of a differential model the factor of each layer, else null
   * @param weights [layer][map][query][key]; read where key &lt;= query
   */
  record Model(String name, String about, String unit, double[] lambda, float[][][][] weights) {}

  /**
   * What the page shows of a search by meaning.
   *
   * @param query what was searched for
   * @param hits what was found, best first
   * @param texts all sentences, in the order of the similarities
   * @param similarities [text][text]
   * @param look where the encoder looks in the query
   */
  record Found(
      String query,
      List<Search.Hit> hits,
      List<Search.Text> texts,
      float[][] similarities,
      Search.Look look) {}

  /**
   * Writes the page.
   *
   * @param file is replaced; missing directories are created
   * @param tokens the bytes of the text that the maps are over. Not modified.
   * @param layer index of the layer that is shown first
   * @param found of the search; null leaves its section out
   * @throws IllegalArgumentException if a map is not tokens × tokens
   */
  static void write(Path file, int[] tokens, int layer, List<Model> models, Found found)
      throws IOException {
    if (file.toAbsolutePath().getParent() != null) {
      Files.createDirectories(file.toAbsolutePath().getParent());
    }
    Files.writeString(file, render(tokens, layer, models, found));
  }

  /** The page as text, as {@link #write} writes it. */
  static String render(int[] tokens, int layer, List<Model> models, Found found)
      throws IOException {
    try (InputStream in = AttentionPage.class.getResourceAsStream("attention-page.html")) {
      String template = new String(in.readAllBytes(), StandardCharsets.UTF_8);
      return template.replace("@DATA@", json(tokens, layer, models, found));
    }
  }

  private static String json(int[] tokens, int layer, List<Model> models, Found found) {
    return "{\"tokens\":%s,\"layer\":%d,\"models\":%s,\"found\":%s}"
        .formatted(
            Arrays.toString(tokens),
            layer,
            models.stream()
                .map(model -> json(model, tokens.length))
                .collect(Collectors.joining(",", "[", "]")),
            found == null ? "null" : json(found));
  }

  private static String json(Found found) {
    return "{\"query\":%s,\"hits\":%s,\"texts\":%s,\"similarities\":%s,\"tokens\":%s,\"layers\":%s}"
        .formatted(
            quoted(found.query()),
            list(
                found.hits(),
                hit ->
                    String.format(
                        Locale.ROOT,
                        "{\"text\":%s,\"score\":%.4f}",
                        quoted(hit.text().text()),
                        hit.score())),
            list(
                found.texts(),
                text ->
                    "{\"topic\":%s,\"text\":%s}"
                        .formatted(quoted(text.topic()), quoted(text.text()))),
            square(found.similarities()),
            list(found.look().tokens(), AttentionPage::quoted),
            list(
                List.of(found.look().weights()),
                layer -> list(List.of(layer), AttentionPage::square)));
  }

  private static <T> String list(List<T> items, Function<T, String> json) {
    return items.stream().map(json).collect(Collectors.joining(",", "[", "]"));
  }

  /** A whole square map, row by row, in the form of {@link #json(float[][], int)}. */
  private static String square(float[][] map) {
    float largest = 0;
    for (float[] row : map) {
      for (float weight : row) {
        largest = Math.max(largest, Math.abs(weight));
      }
    }
    float scale = largest == 0 ? 1 : largest / Short.MAX_VALUE;
    ByteBuffer weights =
        ByteBuffer.allocate(map.length * map.length * Short.BYTES).order(ByteOrder.LITTLE_ENDIAN);
    for (float[] row : map) {
      for (float weight : row) {
        weights.putShort((short) Math.round(weight / scale));
      }
    }
    return encoded(scale, weights);
  }

  private static String encoded(float scale, ByteBuffer weights) {
    String data = Base64.getEncoder().encodeToString(weights.array());
    return "{\"scale\":" + scale + ",\"data\":\"" + data + "\"}";
  }

  private static String json(Model model, int length) {
    return "{\"name\":%s,\"about\":%s,\"unit\":%s,\"lambda\":%s,\"layers\":%s}"
        .formatted(
            quoted(model.name()),
            quoted(model.about()),
            quoted(model.unit()),
            Arrays.toString(model.lambda()),
            Arrays.stream(model.weights())
                .map(layer -> json(layer, length))
                .collect(Collectors.joining(",", "[", "]")));
  }

  private static String json(float[][][] layer, int length) {
    return Arrays.stream(layer)
        .map(map -> json(map, length))
        .collect(Collectors.joining(",", "[", "]"));
  }

  private static String json(float[][] map, int length) {
    if (map.length != length || map[length - 1].length != length) {
      throw new IllegalArgumentException(
          "a map must be tokens x tokens: tokens=%d, map=%d x %d"
              .formatted(length, map.length, map[map.length - 1].length));
    }
    float largest = 0;
    for (int query = 0; query < length; query++) {
      for (int key = 0; key <= query; key++) {
        largest = Math.max(largest, Math.abs(map[query][key]));
      }
    }
    float scale = largest == 0 ? 1 : largest / Short.MAX_VALUE;
    ByteBuffer weights = ByteBuffer.allocate(length * (length + 1)).order(ByteOrder.LITTLE_ENDIAN);
    for (int query = 0; query < length; query++) {
      for (int key = 0; key <= query; key++) {
        weights.putShort((short) Math.round(map[query][key] / scale));
      }
    }
    return encoded(scale, weights);
  }

  /** A JSON string that can also stand within a script element. */
  private static String quoted(String text) {
    StringBuilder quoted = new StringBuilder("\"");
    for (char c : text.toCharArray()) {
      if (c < ' ' || c == '"' || c == '\\' || c == '<') {
        quoted.append("\\u%04x".formatted((int) c));
      } else {
        quoted.append(c);
      }
    }
    return quoted.append('"').toString();
  }
}
