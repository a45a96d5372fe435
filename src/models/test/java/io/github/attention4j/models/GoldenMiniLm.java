package io.github.attention4j.models;

import java.io.IOException;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.LinkedHashSet;
import java.util.List;
import java.util.Map;
import java.util.Set;

/** Cases of the kind {@code minilm}: a trained model against ONNX Runtime. */
final class GoldenMiniLm {
  static final Map<String, GoldenModel.Run> KINDS = Map.of("minilm", GoldenMiniLm::run);

  private static final String MAX = "vector_max_";

  /** Cosines that differ by less may come in either order. */
  private static final double SAME = 0.001;

  private GoldenMiniLm() {}

  private static void run(GoldenModel golden) throws IOException {
    Map<?, ?> file = (Map<?, ?>) GoldenModel.json(golden.pathOf("file"));
    Set<Object> unused = new LinkedHashSet<>(file.keySet());
    if (unused.remove("texts")) {
      unused.removeAll(Set.of("model", "dimension", "pooling", "normalize", "tolerance"));
      golden.require(
          "mean".equals(file.get("pooling")) && Boolean.TRUE.equals(file.get("normalize")),
          "pooling is " + file.get("pooling"));
      texts(golden, file);
    } else if (unused.remove("pairs")) {
      unused.remove("note");
      pairs(golden, (List<?>) file.get("pairs"));
    }
    golden.require(unused.isEmpty(), "unknown parts " + unused);
  }

  private static void texts(GoldenModel golden, Map<?, ?> file) throws IOException {
    double tolerance = ((Number) file.get("tolerance")).doubleValue();
    List<?> texts = (List<?>) file.get("texts");
    try (TextEmbedder embedder = MiniLm.open(512)) {
      golden.require(
          embedder.dimension() == ((Long) file.get("dimension")).intValue(),
          "dimension is " + embedder.dimension());
      for (int i = 0; i < texts.size(); i++) {
        text(golden, embedder, i, (Map<?, ?>) texts.get(i), tolerance);
      }
    }
  }

  private static void text(
      GoldenModel golden, TextEmbedder embedder, int number, Map<?, ?> text, double tolerance) {
    Set<Object> unused = new LinkedHashSet<>(text.keySet());
    unused.removeAll(Set.of("text", "ids", "tokens"));
    String where = "text " + number + " ";
    int[] ids = GoldenTokenizers.ints(text.get("ids"));
    Encoding encoding = embedder.tokenizer().encode((String) text.get("text"));
    golden.require(Arrays.equals(ids, encoding.tokens()), where + "ids");
    golden.require(
        embedder.countTokens((String) text.get("text")) == ((Long) text.get("tokens")).intValue(),
        where + "tokens");
    if (unused.remove("vector")) {
      float[] vector = embedder.embed((String) text.get("text"));
      golden.expect(where + "vector", floats(text.get("vector")), vector, tolerance);
    }
    for (Object key : List.copyOf(unused)) {
      if (key instanceof String name && name.startsWith(MAX)) {
        unused.remove(key);
        int most = Integer.parseInt(name.substring(MAX.length()));
        int[] cut = encoding.truncated(most, false).tokens();
        float[] vector = embedder.embedTokens(List.of(cut)).getFirst();
        golden.expect(where + name, floats(text.get(key)), vector, tolerance);
      }
    }
    golden.require(unused.isEmpty(), where + "unknown parts " + unused);
  }

  private static void pairs(GoldenModel golden, List<?> pairs) throws IOException {
    try (TextEmbedder embedder = MiniLm.open(256)) {
      List<Double> cosines = new ArrayList<>();
      List<Double> expected = new ArrayList<>();
      for (Object each : pairs) {
        Map<?, ?> pair = (Map<?, ?>) each;
        golden.require(
            pair.keySet().equals(Set.of("a", "b", "cosine")), "unknown parts " + pair.keySet());
        float[] a = embedder.embed((String) pair.get("a"));
        float[] b = embedder.embed((String) pair.get("b"));
        double cosine = 0;
        for (int i = 0; i < a.length; i++) {
          cosine += (double) a[i] * b[i];
        }
        cosines.add(cosine);
        expected.add(((Number) pair.get("cosine")).doubleValue());
      }
      for (int i = 0; i < cosines.size(); i++) {
        golden.require(
            Math.abs(cosines.get(i) - expected.get(i)) < 1e-5,
            "pair " + i + " has the cosine " + cosines.get(i));
        for (int j = i + 1; j < cosines.size(); j++) {
          golden.require(
              expected.get(i) - expected.get(j) <= SAME || cosines.get(i) > cosines.get(j),
              "pairs " + i + " and " + j + " are in another order");
        }
      }
    }
  }

  static float[] floats(Object list) {
    List<?> values = (List<?>) list;
    float[] floats = new float[values.size()];
    for (int i = 0; i < floats.length; i++) {
      floats[i] = ((Number) values.get(i)).floatValue();
    }
    return floats;
  }
}
