package io.github.attention4j.models;

import static io.github.attention4j.models.GoldenCopy.refuses;
import static org.junit.jupiter.api.Assertions.assertArrayEquals;
import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import io.github.attention4j.DType;
import io.github.attention4j.Sequences;
import io.github.attention4j.Tensor;
import io.github.attention4j.io.SafeTensors;
import java.io.IOException;
import java.lang.foreign.Arena;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.Arrays;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.SplittableRandom;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;
import org.junit.jupiter.params.provider.EnumSource;
import org.junit.jupiter.params.provider.ValueSource;

/** What encoders can compute beyond the golden models, each beside its formula in double. */
class EncoderPathsTest {
  private static final int[] TEXT = {2, 17, 41, 90, 7, 250, 33, 33, 8, 120, 61, 5, 3};
  private static final List<String> TEXTS =
      List.of(
          "The old sailor counts the water level.",
          "Bread.",
          "Our neighbour repairs the broken engine before the baker wakes up.");

  @TempDir Path directory;

  private final SplittableRandom random = new SplittableRandom(7);

  // ---- DeBERTa's convolution ----

  @ParameterizedTest
  @CsvSource({"0, 1", "3, 1", "5, 2", "1, 4"})
  void shouldConvolveBehindTheFirstLayer(int kernel, int groups) throws Exception {
    copy("deberta_v2_classifier");
    if (kernel > 0) {
      Map<String, Tensor> added = new LinkedHashMap<>();
      String conv = "deberta.encoder.conv.";
      added.put(conv + "conv.weight", random(0.4, 0, 48, 48 / groups, kernel));
      added.put(conv + "conv.bias", random(0.3, 0, 48));
      added.put(conv + "LayerNorm.weight", random(0.3, 1, 48));
      added.put(conv + "LayerNorm.bias", random(0.3, 0, 48));
      add(added);
      edit(
          "config.json",
          "\"type_vocab_size\"",
          "\"conv_kernel_size\": "
              + kernel
              + ", \"conv_groups\": "
              + groups
              + ", \"type_vocab_size\"");
    }
    ReferenceEncoder reference = new ReferenceEncoder(directory, "deberta.");
    try (TextEncoder encoder = TextEncoder.open(directory);
        Arena arena = Arena.ofConfined()) {
      for (int length : new int[] {1, 2, 3, TEXT.length}) {
        int[] text = Arrays.copyOf(TEXT, length);
        // Between others, whose rows must not get into the convolution.
        Tensor hidden = encoder.encode(arena, TEXT, text, new int[] {5, 6});
        Tensor own = hidden.slice(0, TEXT.length, length);
        close(reference.encode(text), own.toF32(arena).toFloatArray(), 2e-5);
      }
      for (int layer = 0; layer < 3; layer++) {
        Tensor weights = encoder.attentionWeights(arena, TEXT, layer);
        reference.encode(TEXT);
        close(reference.attention[layer], weights.toFloatArray(), 2e-6);
      }
    }
  }

  @Test
  void shouldRefuseConvolutionsOfEvenWidth() throws Exception {
    copy("deberta_v2_classifier");
    edit("config.json", "\"type_vocab_size\"", "\"conv_kernel_size\": 4, \"type_vocab_size\"");
    refuses("conv_kernel_size=4", () -> TextEncoder.open(directory));
  }

  // ---- Attention that can be looked at ----

  @Test
  void shouldReturnTheWeightsOfAttention() throws Exception {
    Path bert = OnnxTest.golden("bert");
    ReferenceEncoder reference = new ReferenceEncoder(bert, "bert.");
    try (TextEncoder encoder = TextEncoder.open(bert);
        Arena arena = Arena.ofConfined()) {
      assertEquals(3, encoder.layers());
      close(reference.encode(TEXT), encoder.encode(arena, TEXT).toFloatArray(), 1e-5);
      for (int layer = 0; layer < 3; layer++) {
        Tensor weights = encoder.attentionWeights(arena, TEXT, layer);
        assertArrayEquals(new long[] {4, TEXT.length, TEXT.length}, weights.shape());
        close(reference.attention[layer], weights.toFloatArray(), 2e-6);
      }
      assertThrows(IndexOutOfBoundsException.class, () -> encoder.attentionWeights(arena, TEXT, 3));
      refuses(
          "texts[0][0] must be in the vocabulary",
          () -> encoder.attentionWeights(arena, new int[] {300}, 0));
    }
  }

  /** Of every family: rows of distributions, which see what a family lets them see. */
  @ParameterizedTest
  @ValueSource(strings = {"modernbert", "gte", "eurobert", "albert", "qwen3_embedding", "mpnet"})
  void shouldReturnDistributions(String family) throws Exception {
    Path path = OnnxTest.golden(family);
    try (TextEncoder encoder = TextEncoder.open(path);
        Arena arena = Arena.ofConfined()) {
      for (int layer = 0; layer < encoder.layers(); layer++) {
        Tensor weights = encoder.attentionWeights(arena, TEXT, layer);
        int n = TEXT.length;
        float[] all = weights.toFloatArray();
        for (int row = 0; row < all.length / n; row++) {
          double sum = 0;
          for (int j = 0; j < n; j++) {
            sum += all[row * n + j];
            int i = row % n;
            // ModernBERT reads 4 to each side in all layers but the first of three.
            boolean hidden =
                family.startsWith("qwen3") && j > i
                    || family.equals("modernbert") && layer % 3 != 0 && Math.abs(i - j) > 4;
            assertEquals(hidden, all[row * n + j] == 0, "layer " + layer + ", key " + j);
          }
          assertEquals(1, sum, 1e-5);
        }
      }
    }
  }

  // ---- Classifiers ----

  @ParameterizedTest
  @CsvSource({"late, classifier", "late, out_proj", "mean, classifier", "bos, classifier"})
  void shouldClassifyWithEuroBert(String pooling, String last) throws Exception {
    copy("eurobert");
    Tensor dense = random(0.3, 0, 48, 48);
    Tensor denseBias = random(0.3, 0, 48);
    Tensor classifier = random(0.3, 0, 3, 48);
    Tensor bias = random(0.3, 0, 3);
    Map<String, Tensor> added = new LinkedHashMap<>();
    added.put("dense.weight", dense);
    added.put("dense.bias", denseBias);
    added.put(last + ".weight", classifier);
    added.put(last + ".bias", bias);
    add(added);
    edit(
        "config.json",
        "\"classifier_pooling\": \"late\"",
        "\"classifier_pooling\": \"" + pooling + "\", " + LABELS);
    double[] hidden = hidden(directory);
    double[] pooled =
        switch (pooling) {
          case "mean" -> mean(hidden, 48);
          case "bos" -> Arrays.copyOf(hidden, 48);
          default -> hidden;
        };
    double[] x = linear(dense, denseBias, pooled);
    for (int i = 0; i < x.length; i++) {
      x[i] = ReferenceEncoder.gelu(x[i]);
    }
    double[] logits = linear(classifier, bias, x);
    classifies(pooling.equals("late") ? mean(logits, 3) : logits);
  }

  /** Transformers' head reads the last token that is not padding. */
  @Test
  void shouldClassifyWithQwen3() throws Exception {
    copy("qwen3_embedding");
    int width = Math.toIntExact(hidden(directory).length / TEXT.length);
    Tensor score = random(0.3, 0, 3, width);
    add(Map.of("score.weight", score));
    edit("config.json", "\"model_type\"", LABELS + ", \"model_type\"");
    double[] hidden = hidden(directory);
    double[] last = Arrays.copyOfRange(hidden, hidden.length - width, hidden.length);
    Tensor zero = Tensor.allocate(Arena.ofAuto(), DType.F32, 3);
    classifies(linear(score, zero, last));
    String config = Files.readString(directory.resolve("config.json"));
    Files.writeString(
        directory.resolve("config.json"),
        config
            .replaceAll("\"pad_token_id\": [^,]*,", "")
            .replace("\"model_type\"", "\"pad_token_id\": 9, \"model_type\""));
    try (TextClassifier classifier = TextClassifier.open(directory)) {
      refuses(
          "texts[1] must not end with the padding token: pad_token_id=9",
          () -> classifier.logits(List.of(TEXT, new int[] {8, 9}), null));
      close(linear(score, zero, last), classifier.logits(List.of(TEXT), null).getFirst(), 1e-5);
    }
  }

  @Test
  void shouldClassifyWithGte() throws Exception {
    copy("gte");
    Tensor dense = random(0.3, 0, 48, 48);
    Tensor denseBias = random(0.3, 0, 48);
    Tensor classifier = random(0.3, 0, 3, 48);
    Tensor bias = random(0.3, 0, 3);
    Map<String, Tensor> added = new LinkedHashMap<>();
    added.put("pooler.dense.weight", dense);
    added.put("pooler.dense.bias", denseBias);
    added.put("classifier.weight", classifier);
    added.put("classifier.bias", bias);
    add(added);
    edit("config.json", "\"pad_token_id\"", LABELS + ", \"pad_token_id\"");
    double[] x = linear(dense, denseBias, Arrays.copyOf(hidden(directory), 48));
    for (int i = 0; i < x.length; i++) {
      x[i] = Math.tanh(x[i]);
    }
    classifies(linear(classifier, bias, x));
  }

  private static final String LABELS = "\"id2label\": {\"0\": \"a\", \"1\": \"b\", \"2\": \"c\"}";

  private void classifies(double[] expected) throws IOException {
    try (TextClassifier classifier = TextClassifier.open(directory)) {
      assertEquals(List.of("a", "b", "c"), classifier.labels());
      List<float[]> logits = classifier.logits(List.of(new int[] {9, 9}, TEXT), null);
      close(expected, logits.get(1), 1e-5);
    }
  }

  private static double[] hidden(Path path) throws IOException {
    try (TextEncoder encoder = TextEncoder.open(path);
        Arena arena = Arena.ofConfined()) {
      return doubles(encoder.encode(arena, TEXT));
    }
  }

  // ---- Storage ----

  @ParameterizedTest
  @EnumSource(WeightStorage.class)
  void shouldScoreAndClassifyInEveryStorage(WeightStorage storage) throws Exception {
    double tolerance =
        switch (storage) {
          case FLOAT32 -> 0;
          case BF16 -> 0.02;
          case INT8 -> 0.05;
        };
    Path model = OnnxTest.golden("bert_cross_encoder");
    try (Reranker plain = Reranker.open(model);
        Reranker reranker = Reranker.builder(model).storage(storage).open()) {
      float[] expected = plain.score("a query", TEXTS);
      float[] got = reranker.score("a query", TEXTS);
      differs(storage != WeightStorage.FLOAT32, expected, got, tolerance);
      assertArrayEquals(got, reranker.score(List.of("a query", "a query", "a query"), TEXTS));
      assertEquals(got[1], reranker.score("a query", List.of(TEXTS.get(1)))[0]);
      refuses(
          "pairs must be complete: first=1, second=3",
          () -> reranker.score(List.of("a query"), TEXTS));
    }
    Path other = OnnxTest.golden("bert_classifier");
    try (TextClassifier plain = TextClassifier.open(other);
        TextClassifier classifier = TextClassifier.builder(other).storage(storage).open()) {
      float[] expected = plain.logits(List.of(TEXT), null).getFirst();
      float[] got = classifier.logits(List.of(TEXT), null).getFirst();
      for (int i = 0; i < got.length; i++) {
        assertEquals(expected[i], got[i], 4 * tolerance);
      }
    }
  }

  private static void differs(boolean rounds, float[] expected, float[] got, double tolerance) {
    assertEquals(rounds, !Arrays.equals(expected, got));
    for (int i = 0; i < expected.length; i++) {
      assertEquals(expected[i], got[i], tolerance);
    }
  }

  /** Sixteen bits that are asked for are the nearest, as a file of them would have them. */
  @Test
  void shouldRoundWeightsToBfloat16AsAFileOfThemWould() throws Exception {
    copy("bert");
    Path whole = OnnxTest.golden("bert");
    Map<String, Tensor> tensors = new LinkedHashMap<>();
    try (Arena arena = Arena.ofConfined()) {
      SafeTensors file = SafeTensors.open(whole.resolve("model.safetensors"), arena);
      for (String name : file.names()) {
        Tensor tensor = file.get(name);
        boolean matrix =
            name.endsWith(".weight") && tensor.rank() == 2 && !name.contains("embeddings");
        tensors.put(
            name,
            matrix
                ? Tensor.allocate(Arena.ofAuto(), DType.BF16, tensor.shape()).copyFrom(tensor)
                : copy(tensor));
      }
    }
    SafeTensors.write(directory.resolve("model.safetensors"), tensors, Map.of());
    try (TextEncoder rounded = TextEncoder.open(whole, WeightStorage.BF16);
        TextEncoder stored = TextEncoder.open(directory, WeightStorage.BF16);
        Arena arena = Arena.ofConfined()) {
      int[][] batch = new int[40][];
      Arrays.fill(batch, TEXT);
      float[] expected = stored.encode(arena, TEXT).toFloatArray();
      assertArrayEquals(expected, rounded.encode(arena, TEXT).toFloatArray());
      Tensor many = rounded.encode(arena, batch);
      assertArrayEquals(expected, many.slice(0, 0, TEXT.length).toF32(arena).toFloatArray());
    }
  }

  // ---- Pooling ----

  @Test
  void shouldRefuseToPoolRowsThatNoArrayHolds() {
    try (Arena arena = Arena.ofConfined()) {
      Tensor none = Tensor.zeros(arena, 0, 1L << 40);
      String message =
          assertThrows(
                  IllegalArgumentException.class,
                  () -> Pooling.MEAN.forward(arena, none, Sequences.ofLengths()))
              .getMessage();
      assertEquals("hidden.width must lie in [0, 2147483639]: hidden.width=1099511627776", message);
    }
  }

  @Test
  void shouldConcatenateKindsOfPooling() throws Exception {
    copy("bert_st_mean");
    pooling("");
    edit("modules.json", "sentence_transformers.models.Normalize", "x.Dropout");
    try (TextEmbedder embedder = TextEmbedder.open(directory);
        Arena arena = Arena.ofConfined()) {
      assertEquals(6 * 64, embedder.dimension());
      for (String text : TEXTS) {
        int[] tokens = tokens(embedder, text);
        double[] hidden = doubles(embedder.encoder().encode(arena, tokens));
        close(pooled(hidden, 0), embedder.embed(text), 1e-6);
      }
    }
  }

  @Test
  void shouldLeaveOutThePrompt() throws Exception {
    copy("bert_st_mean");
    pooling(", \"include_prompt\": false");
    edit("modules.json", "sentence_transformers.models.Normalize", "x.Dropout");
    edit(
        "config_sentence_transformers.json",
        "\"prompts\": {}",
        "\"prompts\": {\"query\": \"the water level \"}");
    try (TextEmbedder embedder = TextEmbedder.open(directory);
        Arena arena = Arena.ofConfined()) {
      // The prompt's tokens and the special one before them, without the one behind them.
      int skip = embedder.tokenizer().encode("the water level ").length() - 1;
      assertTrue(skip > 3, "tokens of the prompt: " + skip);
      for (String text : TEXTS) {
        int[] tokens = tokens(embedder, "the water level " + text);
        double[] hidden = doubles(embedder.encoder().encode(arena, tokens));
        close(pooled(hidden, skip), embedder.embedQuery(text), 1e-6);
        int[] plain = tokens(embedder, text);
        close(
            pooled(doubles(embedder.encoder().encode(arena, plain)), 0),
            embedder.embed(text),
            1e-6);
      }
    }
  }

  /** The last layer computes one row a text if pooling reads no other; its bits stay the same. */
  @ParameterizedTest
  @ValueSource(strings = {"bert", "modernbert", "gte", "eurobert", "albert", "mpnet"})
  void shouldPoolOneTokenToTheSameBits(String family) throws Exception {
    List<int[]> texts = List.of(TEXT, new int[] {9}, new int[] {5, 6, 7, 8}, TEXT);
    Sequences sequences = Sequences.ofLengths(TEXT.length, 1, 4, TEXT.length);
    for (Pooling pooling : List.of(Pooling.CLS, Pooling.LAST_TOKEN)) {
      try (TextEmbedder embedder =
              TextEmbedder.builder(OnnxTest.golden(family))
                  .tokenizer(new NoTokenizer())
                  .pooling(pooling)
                  .normalize(false)
                  .open();
          Arena arena = Arena.ofConfined()) {
        Tensor hidden = embedder.encoder().encode(arena, texts, null);
        Tensor pooled = pooling.forward(arena, hidden, sequences);
        List<float[]> vectors = embedder.embedTokens(texts);
        for (int i = 0; i < texts.size(); i++) {
          assertArrayEquals(pooled.select(0, i).toFloatArray(), vectors.get(i), pooling + " " + i);
          assertArrayEquals(vectors.get(i), embedder.embedTokens(List.of(texts.get(i))).getFirst());
        }
      }
    }
  }

  /** For a model that is given tokens. */
  private static final class NoTokenizer implements Tokenizer {
    @Override
    public Encoding encode(String text, boolean special) {
      throw new UnsupportedOperationException();
    }

    @Override
    public Encoding encodePair(String first, String second) {
      throw new UnsupportedOperationException();
    }

    @Override
    public String decode(int[] tokens, boolean skipSpecial) {
      throw new UnsupportedOperationException();
    }

    @Override
    public int vocabulary() {
      return 300;
    }

    @Override
    public void close() {}
  }

  @Test
  void shouldLeaveOutThePromptBeforeTheFirstToken() throws Exception {
    copy("bert_st_mean");
    Files.writeString(
        directory.resolve("1_Pooling/config.json"),
        "{\"pooling_mode_cls_token\": true, \"include_prompt\": false}");
    edit(
        "config_sentence_transformers.json",
        "\"prompts\": {}",
        "\"prompts\": {\"query\": \"the water level \"}");
    edit("modules.json", "sentence_transformers.models.Normalize", "x.Dropout");
    try (TextEmbedder embedder = TextEmbedder.open(directory);
        Arena arena = Arena.ofConfined()) {
      int skip = embedder.tokenizer().encode("the water level ").length() - 1;
      for (String text : TEXTS) {
        Tensor hidden =
            embedder.encoder().encode(arena, tokens(embedder, "the water level " + text));
        assertArrayEquals(hidden.select(0, skip).toFloatArray(), embedder.embedQuery(text));
      }
    }
  }

  /** As many as the model reads. */
  private static int[] tokens(TextEmbedder embedder, String text) {
    return embedder.tokenizer().encode(text).truncated(embedder.maxTokens(), false).tokens();
  }

  private void pooling(String more) throws IOException {
    Files.writeString(
        directory.resolve("1_Pooling/config.json"),
        """
        {"word_embedding_dimension": 64, "pooling_mode_cls_token": true,
         "pooling_mode_max_tokens": true, "pooling_mode_mean_tokens": true,
         "pooling_mode_mean_sqrt_len_tokens": true, "pooling_mode_weightedmean_tokens": true,
         "pooling_mode_lasttoken": true\
        """
            + more
            + "}");
  }

  /** All six kinds one behind the other, of the tokens from {@code skip} on. */
  private static double[] pooled(double[] hidden, int skip) {
    int width = 64;
    int n = hidden.length / width;
    double[] out = new double[6 * width];
    for (int i = 0; i < width; i++) {
      double most = Double.NEGATIVE_INFINITY;
      double sum = 0;
      double weighted = 0;
      double weights = 0;
      for (int t = skip; t < n; t++) {
        double x = hidden[t * width + i];
        most = Math.max(most, x);
        sum += x;
        weighted += (t + 1) * x;
        weights += t + 1;
      }
      out[i] = hidden[skip * width + i];
      out[width + i] = most;
      out[2 * width + i] = sum / (n - skip);
      out[3 * width + i] = sum / Math.sqrt(n - skip);
      out[4 * width + i] = weighted / weights;
      out[5 * width + i] = hidden[(n - 1) * width + i];
    }
    return out;
  }

  // ---- Numbers ----

  private static double[] doubles(Tensor tensor) {
    float[] floats = tensor.toFloatArray();
    double[] doubles = new double[floats.length];
    for (int i = 0; i < floats.length; i++) {
      doubles[i] = floats[i];
    }
    return doubles;
  }

  private static double[] mean(double[] rows, int width) {
    double[] mean = new double[width];
    for (int i = 0; i < rows.length; i++) {
      mean[i % width] += rows[i] * width / rows.length;
    }
    return mean;
  }

  private static double[] linear(Tensor weight, Tensor bias, double[] x) {
    return ReferenceEncoder.linear(
        doubles(weight), bias == null ? null : doubles(bias), x, (int) weight.size(1));
  }

  private static void close(double[] expected, float[] got, double tolerance) {
    assertEquals(expected.length, got.length);
    for (int i = 0; i < got.length; i++) {
      assertEquals(expected[i], got[i], tolerance, "element " + i);
    }
  }

  private Tensor random(double spread, double centre, long... shape) {
    Tensor tensor = Tensor.allocate(Arena.ofAuto(), DType.F32, shape);
    float[] values = new float[(int) tensor.count()];
    for (int i = 0; i < values.length; i++) {
      values[i] = (float) (centre + spread * (2 * random.nextDouble() - 1));
    }
    return tensor.copyFrom(values);
  }

  // ---- Files ----

  private static Tensor copy(Tensor tensor) {
    return Tensor.allocate(Arena.ofAuto(), tensor.dtype(), tensor.shape()).copyFrom(tensor);
  }

  /** Rewrites the weights with more of them. */
  private void add(Map<String, Tensor> added) throws IOException {
    Path file = directory.resolve("model.safetensors");
    Map<String, Tensor> all = new LinkedHashMap<>();
    try (Arena arena = Arena.ofConfined()) {
      SafeTensors tensors = SafeTensors.open(file, arena);
      for (String name : tensors.names()) {
        all.put(name, copy(tensors.get(name)));
      }
    }
    all.putAll(added);
    SafeTensors.write(file, all, Map.of());
  }

  private void copy(String model) throws Exception {
    GoldenCopy.of(model, directory);
  }

  private void edit(String file, String from, String to) throws IOException {
    new GoldenCopy(directory).edit(file, from, to);
  }
}
