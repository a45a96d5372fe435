package io.github.attention4j.models;

import io.github.attention4j.Sequences;
import io.github.attention4j.Tensor;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.LinkedHashMap;
import java.util.LinkedHashSet;
import java.util.List;
import java.util.Map;
import java.util.Set;

/** Cases of the kind {@code encoder}: checkpoints of text encoders, and what they must give. */
final class GoldenEncoders {
  static final Map<String, GoldenModel.Run> KINDS =
      Map.of("encoder", golden -> new GoldenEncoders(golden).run());

  private static final Map<String, Pooling> POOLINGS =
      Map.of("mean", Pooling.MEAN, "cls", Pooling.CLS, "last", Pooling.LAST_TOKEN);

  private final GoldenModel golden;
  private final Path directory;
  private final double tolerance;
  private final List<int[]> texts = new ArrayList<>();
  private final List<int[]> types = new ArrayList<>();
  private boolean left;
  private int columns;

  private GoldenEncoders(GoldenModel golden) {
    this.golden = golden;
    this.directory = golden.path(golden.name());
    this.tolerance = golden.number("tolerance");
  }

  private void run() throws IOException {
    golden.describes(
        "architecture", "dtype", "what", "float32_rehearsal_err", "lengths", "outputs", "files");
    golden.describes("sentence_transformers");
    golden.open(directory.resolve("reference.safetensors"));
    readTexts();
    golden.require(golden.integer("batch") == texts.size(), "batch is " + texts.size());
    Sequences sequences = TextEncoder.sequences(texts);
    try (TextEncoder encoder = TextEncoder.open(directory)) {
      golden.require(
          encoder.family().equals(golden.text("model_type")), "family is " + encoder.family());
      Tensor hidden = encoder.encode(golden.arena(), texts, types.isEmpty() ? null : types);
      golden.expect(
          "last_hidden_state", unpadded("last_hidden_state"), hidden.toFloatArray(), tolerance);
      alone(encoder, hidden);
      if (golden.holds("pooler_output")) {
        golden.require(encoder.hasPooler(), "there is no pooler");
        expect("pooler_output", encoder.pool(golden.arena(), hidden, sequences).toFloatArray());
      }
      for (Map.Entry<String, Pooling> pooling : POOLINGS.entrySet()) {
        embedding(pooling.getKey(), pooling.getValue(), hidden, sequences);
      }
    }
    if (golden.holds("logits")) {
      classifier();
    }
    if (golden.holds("sentence_embedding")) {
      embedder();
    } else if (golden.holds("score")) {
      reranker();
    }
  }

  /** The rows of the batch without their padding. */
  private void readTexts() {
    left = golden.has("padding") && golden.text("padding").equals("left");
    Tensor ids = golden.get("input_ids");
    Tensor mask = golden.get("attention_mask");
    int[] lengths = golden.get("lengths").toIntArray();
    columns = (int) ids.size(1);
    for (int row = 0; row < lengths.length; row++) {
      texts.add(row(ids, row, lengths[row]));
      int valid = Arrays.stream(mask.select(0, row).toIntArray()).sum();
      golden.require(valid == lengths[row], "attention_mask of row " + row);
    }
    if (golden.holds("token_type_ids")) {
      Tensor given = golden.get("token_type_ids");
      for (int row = 0; row < lengths.length; row++) {
        types.add(row(given, row, lengths[row]));
      }
    }
  }

  private int[] row(Tensor padded, int row, int length) {
    int[] all = padded.select(0, row).toIntArray();
    return left ? Arrays.copyOfRange(all, columns - length, columns) : Arrays.copyOf(all, length);
  }

  private float[] unpadded(String name) {
    Tensor padded = golden.get(name);
    int width = (int) padded.size(2);
    float[] all = padded.toFloatArray();
    int total = texts.stream().mapToInt(text -> text.length).sum();
    float[] packed = new float[total * width];
    int at = 0;
    for (int row = 0; row < texts.size(); row++) {
      int length = texts.get(row).length;
      int first = left ? columns - length : 0;
      System.arraycopy(all, (row * columns + first) * width, packed, at, length * width);
      at += length * width;
    }
    return packed;
  }

  /** Each text alone has the very bits that it has among others. */
  private void alone(TextEncoder encoder, Tensor together) {
    long begin = 0;
    for (int i = 0; i < texts.size(); i++) {
      List<int[]> own = types.isEmpty() ? null : List.of(types.get(i));
      Tensor alone = encoder.encode(golden.arena(), List.of(texts.get(i)), own);
      float[] expected = together.slice(0, begin, alone.size(0)).toFloatArray();
      golden.require(Arrays.equals(expected, alone.toFloatArray()), "row " + i + " alone differs");
      begin += alone.size(0);
    }
  }

  private void embedding(String name, Pooling pooling, Tensor hidden, Sequences sequences) {
    String key = "embedding_" + name;
    if (!golden.holds(key)) {
      return;
    }
    Tensor pooled = pooling.forward(golden.arena(), hidden, sequences);
    expect(key, pooled.toFloatArray());
    float[] normalized = new float[(int) pooled.count()];
    for (int i = 0; i < texts.size(); i++) {
      float[] vector = pooled.select(0, i).toFloatArray();
      Pooling.normalize(vector);
      System.arraycopy(vector, 0, normalized, i * vector.length, vector.length);
    }
    expect(key + "_normalized", normalized);
  }

  private void classifier() throws IOException {
    try (TextClassifier classifier = TextClassifier.open(directory)) {
      List<float[]> logits = classifier.logits(texts, types.isEmpty() ? null : types);
      expect("logits", join(logits));
      expect("probabilities", join(logits.stream().map(TextClassifier::probabilities).toList()));
    }
  }

  private void reranker() throws IOException {
    try (Reranker reranker = Reranker.open(directory)) {
      expect("score", reranker.scoreTokens(texts, types.isEmpty() ? null : types));
      Path file = directory.resolve("texts.json");
      if (!Files.exists(file)) {
        return;
      }
      List<?> rows = (List<?>) GoldenModel.json(file);
      float[] scores = new float[rows.size()];
      for (int i = 0; i < scores.length; i++) {
        Row row = new Row(i, (Map<?, ?>) rows.get(i));
        Reranker.Result result =
            reranker.rank(row.text("text"), List.of(row.text("pair"))).getFirst();
        scores[i] = result.score();
        row.checkTokens(result.tokens());
      }
      expect("score", scores);
    }
  }

  private void embedder() throws IOException {
    try (TextEmbedder embedder = TextEmbedder.open(directory)) {
      List<?> rows = (List<?>) GoldenModel.json(directory.resolve("texts.json"));
      golden.require(rows.size() == texts.size(), "texts.json has " + rows.size() + " rows");
      Map<String, List<String>> byPrompt = new LinkedHashMap<>();
      List<float[]> vectors = new ArrayList<>();
      for (int i = 0; i < rows.size(); i++) {
        Row row = new Row(i, (Map<?, ?>) rows.get(i));
        String prompt = row.text("prompt_name");
        String text = row.text("text");
        TextEmbedder.Result result = embedder.embedAll(List.of(text), prompt).getFirst();
        row.checkTokens(result.tokens());
        vectors.add(result.vector());
        byPrompt.computeIfAbsent(prompt, none -> new ArrayList<>()).add(text);
      }
      expect("sentence_embedding", join(vectors));
      checkQueriesAndDocuments(embedder, byPrompt);
    }
  }

  /** The calls that choose the prompt themselves give the vectors of the prompts. */
  private void checkQueriesAndDocuments(TextEmbedder embedder, Map<String, List<String>> byPrompt) {
    for (Map.Entry<String, List<String>> entry : byPrompt.entrySet()) {
      String prompt = entry.getKey();
      List<String> own = entry.getValue();
      List<TextEmbedder.Result> expected = embedder.embedAll(own, prompt);
      for (int i = 0; i < own.size(); i++) {
        float[] got =
            "query".equals(prompt)
                ? embedder.embedQuery(own.get(i))
                : "document".equals(prompt) ? embedder.embedDocument(own.get(i)) : null;
        golden.require(
            got == null || Arrays.equals(got, expected.get(i).vector()),
            "the prompt " + prompt + " is not the one chosen");
      }
    }
  }

  /** A row of texts.json. */
  private final class Row {
    private final int number;
    private final Map<?, ?> values;
    private final Set<Object> unused;

    Row(int number, Map<?, ?> values) {
      this.number = number;
      this.values = values;
      this.unused = new LinkedHashSet<>(values.keySet());
    }

    String text(String key) {
      unused.remove(key);
      return (String) values.get(key);
    }

    void checkTokens(int tokens) {
      unused.removeAll(Set.of("ids", "type_ids"));
      golden.require(unused.isEmpty(), "unknown parts of a text: " + unused);
      int[] ids = GoldenTokenizers.ints(values.get("ids"));
      golden.require(Arrays.equals(ids, texts.get(number)), "ids of text " + number);
      golden.require(tokens == ids.length, "text " + number + " has " + tokens + " tokens");
    }
  }

  private void expect(String name, float[] got) {
    golden.expect(name, golden.get(name).toFloatArray(), got, tolerance);
  }

  private static float[] join(List<float[]> rows) {
    int total = rows.stream().mapToInt(row -> row.length).sum();
    float[] joined = new float[total];
    int at = 0;
    for (float[] row : rows) {
      System.arraycopy(row, 0, joined, at, row.length);
      at += row.length;
    }
    return joined;
  }
}
