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
 * <p>The page is {@code attention-page.html} with the data inserted. Each map is stored as its
 * lower triangle, row by row, in little-endian int16 in base64, with the factor that turns these
 * into weights: a 58-byte prompt gives 165 KB, the longest possible prompt 3 MB.
 */
final class AttentionPage {
  private AttentionPage() {}

  /**
   * The page's data of one model.
   *
   * @param name the heading
   * @param about a sentence or two below it
   * @param unit what each map belongs to, "head" or "pair"
   * @param lambda the factor of each layer of a differential model, else null
   * @param weights [layer][map][query][key]; read where key &lt;= query
   */
  record Model(String name, String about, String unit, double[] lambda, float[][][][] weights) {}

  /**
   * The page's data of a search by meaning.
   *
   * @param query the query
   * @param hits the sentences found, best first
   * @param texts all sentences, in the order of the similarities
   * @param similarities [text][text]
   * @param look the encoder's attention maps of the query
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
   * @param tokens the bytes of the text of the maps. Not modified.
   * @param layer index of the layer that is shown first
   * @param found the search; null to leave its section out
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
