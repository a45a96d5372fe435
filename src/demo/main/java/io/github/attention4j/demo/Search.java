package io.github.attention4j.demo;

import io.github.attention4j.Tensor;
import io.github.attention4j.models.TextEmbedder;
import java.io.BufferedReader;
import java.io.IOException;
import java.io.InputStreamReader;
import java.lang.foreign.Arena;
import java.net.URL;
import java.net.URLClassLoader;
import java.nio.charset.StandardCharsets;
import java.nio.file.Path;
import java.time.Duration;
import java.util.ArrayList;
import java.util.Comparator;
import java.util.List;
import java.util.stream.IntStream;

/**
 * Searches a few bundled sentences by their meaning, with MiniLM (all-MiniLM-L6-v2), an encoder
 * with 6 layers, from the jar in which LangChain4j ships it.
 */
final class Search implements AutoCloseable {
  private static final String MODEL = "all-minilm-l6-v2.onnx";
  private static final String TOKENIZER = "all-minilm-l6-v2-tokenizer.json";

  private final URLClassLoader jar;
  private final TextEmbedder embedder;
  private final List<Text> texts;
  private final List<float[]> vectors;

  /**
   * A sentence.
   *
   * @param topic its topic, for display: the search does not use it
   */
  record Text(String topic, String text) {}

  /**
   * A sentence that was found.
   *
   * @param score the cosine between its vector and the query's
   */
  record Hit(Text text, double score) {}

  /**
   * The attention of an encoder in a sentence.
   *
   * @param tokens the texts of the tokens
   * @param weights [layer][head][query][key]
   */
  record Look(List<String> tokens, float[][][][] weights) {}

  private Search(URLClassLoader jar, TextEmbedder embedder, List<Text> texts) {
    this.jar = jar;
    this.embedder = embedder;
    this.texts = texts;
    vectors = embed(texts.stream().map(Text::text).toList());
  }

  /** Opens the model and embeds the bundled sentences. */
  static Search open(Path file) throws IOException {
    URLClassLoader jar = new URLClassLoader(new URL[] {file.toUri().toURL()}, null);
    TextEmbedder embedder = null;
    try {
      embedder = TextEmbedder.builder(jar, MODEL, TOKENIZER).open();
      Search search = new Search(jar, embedder, bundled());
      embedder = null;
      jar = null;
      return search;
    } finally {
      if (embedder != null) {
        embedder.close();
      }
      if (jar != null) {
        jar.close();
      }
    }
  }

  private static List<Text> bundled() throws IOException {
    try (BufferedReader lines =
        new BufferedReader(
            new InputStreamReader(
                Search.class.getResourceAsStream("search.tsv"), StandardCharsets.UTF_8))) {
      return lines
          .lines()
          .map(line -> line.split("\t", 2))
          .map(fields -> new Text(fields[0], fields[1]))
          .toList();
    }
  }

  private List<float[]> embed(List<String> some) {
    return embedder.embedAll(some).stream().map(TextEmbedder.Result::vector).toList();
  }

  List<Text> texts() {
    return texts;
  }

  int dimension() {
    return embedder.dimension();
  }

  String describe() {
    return embedder.describe();
  }

  /** All sentences, the nearest to the query first. */
  List<Hit> find(String query) {
    float[] vector = embedder.embed(query);
    return IntStream.range(0, texts.size())
        .mapToObj(i -> new Hit(texts.get(i), cosine(vectors.get(i), vector)))
        .sorted(Comparator.comparingDouble((Hit hit) -> -hit.score()))
        .toList();
  }

  /** The cosines between all sentences. */
  float[][] similarities() {
    float[][] similarities = new float[texts.size()][texts.size()];
    for (int i = 0; i < texts.size(); i++) {
      for (int j = 0; j < texts.size(); j++) {
        similarities[i][j] = (float) cosine(vectors.get(i), vectors.get(j));
      }
    }
    return similarities;
  }

  /** The model's vectors have length 1, so the product is the cosine. */
  private static double cosine(float[] a, float[] b) {
    double product = 0;
    for (int i = 0; i < a.length; i++) {
      product += (double) a[i] * b[i];
    }
    return product;
  }

  /** How many sentences a second are embedded, tokenizing included, in at least the given time. */
  double sentencesPerSecond(Duration time) {
    List<String> all = texts.stream().map(Text::text).toList();
    List<String> batch = new ArrayList<>();
    for (int i = 0; i < 8; i++) {
      batch.addAll(all);
    }
    embedder.embedAll(batch);
    long start = System.nanoTime();
    long done = 0;
    while (System.nanoTime() - start < time.toNanos()) {
      done += embedder.embedAll(batch).size();
    }
    return done / ((System.nanoTime() - start) * 1e-9);
  }

  /** The attention maps of a text, which is truncated to the model's limit. */
  Look look(String text) {
    int[] tokens =
        embedder.tokenizer().encode(text).truncated(embedder.maxTokens(), false).tokens();
    List<String> names = new ArrayList<>();
    for (int token : tokens) {
      names.add(embedder.tokenizer().decode(new int[] {token}, false));
    }
    float[][][][] weights = new float[embedder.encoder().layers()][][][];
    for (int layer = 0; layer < weights.length; layer++) {
      try (Arena arena = Arena.ofConfined()) {
        Tensor maps = embedder.encoder().attentionWeights(arena, tokens, layer);
        weights[layer] = maps(maps.toFloatArray(), (int) maps.size(0), tokens.length);
      }
    }
    return new Look(List.copyOf(names), weights);
  }

  private static float[][][] maps(float[] all, int heads, int tokens) {
    float[][][] maps = new float[heads][tokens][tokens];
    int i = 0;
    for (float[][] map : maps) {
      for (float[] row : map) {
        System.arraycopy(all, i, row, 0, tokens);
        i += tokens;
      }
    }
    return maps;
  }

  @Override
  public void close() throws IOException {
    embedder.close();
    jar.close();
  }
}
