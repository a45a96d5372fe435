package io.github.attention4j.models;

import static io.github.attention4j.models.GoldenCopy.refuses;
import static org.junit.jupiter.api.Assertions.assertArrayEquals;
import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import io.github.attention4j.A4j;
import io.github.attention4j.Tensor;
import java.io.IOException;
import java.lang.foreign.Arena;
import java.lang.foreign.MemorySegment;
import java.lang.foreign.ValueLayout;
import java.net.URLClassLoader;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.Collections;
import java.util.Iterator;
import java.util.List;
import java.util.Map;
import java.util.concurrent.CancellationException;
import java.util.concurrent.ExecutorService;
import java.util.concurrent.Executors;
import java.util.concurrent.Future;
import java.util.stream.IntStream;
import java.util.stream.Stream;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;

class TextEmbedderTest {
  private static final List<String> TEXTS =
      List.of(
          "The old sailor counts the water level since 1998.",
          "",
          "Bread.",
          "Our neighbour repairs the broken engine before the baker wakes up and sells everything",
          "北京的春天");

  @TempDir Path directory;

  @Test
  void shouldGiveTheSameBitsInEveryBatchAndOnEveryNumberOfThreads() throws Exception {
    int before = A4j.threads();
    try (TextEmbedder embedder = MiniLm.open(256)) {
      List<String> many = IntStream.range(0, 400).mapToObj(i -> TEXTS.get(i % 5) + i).toList();
      List<TextEmbedder.Result> together = embedder.embedAll(many);
      for (int i = 0; i < many.size(); i += 37) {
        A4j.threads(1 + i % 2);
        assertArrayEquals(together.get(i).vector(), embedder.embed(many.get(i)));
      }
    } finally {
      A4j.threads(before);
    }
  }

  @Test
  void shouldStayWithinTwoMillionthsOfOnnxRuntime() throws Exception {
    List<?> texts =
        (List<?>)
            ((Map<?, ?>) GoldenModel.json(OnnxTest.golden("minilm").resolve("reference.json")))
                .get("texts");
    double most = 0;
    try (TextEmbedder embedder = MiniLm.open(512)) {
      for (Object each : texts) {
        Map<?, ?> text = (Map<?, ?>) each;
        if (text.containsKey("vector")) {
          float[] expected = GoldenMiniLm.floats(text.get("vector"));
          float[] got = embedder.embed((String) text.get("text"));
          for (int i = 0; i < got.length; i++) {
            most = Math.max(most, Math.abs(got[i] - expected[i]));
          }
        }
      }
    }
    assertTrue(most <= 2e-6, "largest difference is " + most);
  }

  @Test
  void shouldStayCloseWithEightBits() throws Exception {
    assertStaysClose(WeightStorage.INT8, 0.999, 0.9999999);
  }

  @Test
  void shouldStayCloseWithBfloat16() throws Exception {
    assertStaysClose(WeightStorage.BF16, 0.9999, 0.99999999);
  }

  /** Compares with the reference, and a text alone with the same text among others. */
  private static void assertStaysClose(WeightStorage storage, double least, double most)
      throws Exception {
    List<?> texts =
        (List<?>)
            ((Map<?, ?>) GoldenModel.json(OnnxTest.golden("minilm").resolve("reference.json")))
                .get("texts");
    try (URLClassLoader loader = MiniLm.loader();
        TextEmbedder embedder =
            TextEmbedder.builder(loader, MiniLm.ONNX, MiniLm.TOKENIZER).storage(storage).open()) {
      double cosine = 1;
      for (Object each : texts) {
        Map<?, ?> text = (Map<?, ?>) each;
        if (text.containsKey("vector")) {
          float[] expected = GoldenMiniLm.floats(text.get("vector"));
          float[] got = embedder.embed((String) text.get("text"));
          double product = 0;
          for (int i = 0; i < got.length; i++) {
            product += (double) got[i] * expected[i];
          }
          cosine = Math.min(cosine, product);
        }
      }
      assertTrue(cosine >= least, storage + ": least cosine is " + cosine);
      assertTrue(cosine < most, storage + " cannot be exact: least cosine is " + cosine);
      float[] alone = embedder.embed(TEXTS.get(3));
      assertArrayEquals(alone, embedder.embedAll(TEXTS).get(3).vector());
    }
  }

  @Test
  void shouldStreamInBoundedChunks() throws Exception {
    try (TextEmbedder embedder = MiniLm.open(64)) {
      int[] taken = {0};
      Iterator<String> endless =
          Stream.generate(() -> TEXTS.get(taken[0]++ % TEXTS.size())).iterator();
      Iterator<TextEmbedder.Result> results = embedder.embedAll(endless, null);
      for (int i = 0; i < 3000; i++) {
        TextEmbedder.Result result = results.next();
        if (i % 997 == 0) {
          assertArrayEquals(
              embedder.embed(TEXTS.get(i % TEXTS.size())), result.vector(), "text " + i);
        }
      }
      assertTrue(taken[0] < 3000 + 4100, "texts taken ahead: " + (taken[0] - 3000));
    }
  }

  @Test
  void shouldGiveVectorsAsArraysTensorsAndInSegments() throws Exception {
    try (TextEmbedder embedder = TextEmbedder.open(OnnxTest.golden("bert_st_mean"));
        Arena arena = Arena.ofConfined()) {
      List<TextEmbedder.Result> results = embedder.embedAll(TEXTS);
      Tensor tensor = embedder.embedAll(arena, TEXTS, null);
      MemorySegment segment = arena.allocate(TEXTS.size() * 64 * 4L + 4);
      embedder.embedAll(TEXTS, null, segment.asSlice(4));
      assertEquals(0, segment.get(ValueLayout.JAVA_INT, 0));
      for (int i = 0; i < TEXTS.size(); i++) {
        float[] vector = results.get(i).vector();
        assertArrayEquals(vector, tensor.select(0, i).toFloatArray());
        float[] written = new float[64];
        MemorySegment.copy(segment, ValueLayout.JAVA_FLOAT, 4 + i * 256L, written, 0, 64);
        assertArrayEquals(vector, written);
      }
      refuses(
          "out must have room for all vectors: out=64 bytes, vectors=1280",
          () -> embedder.embedAll(TEXTS, null, arena.allocate(64)));
      refuses(
          "out must be writable",
          () -> embedder.embedAll(TEXTS, null, arena.allocate(1280).asReadOnly()));
    }
  }

  @Test
  void shouldReportOrRefuseTruncation() throws Exception {
    String longText = "water level ".repeat(100);
    Path model = OnnxTest.golden("bert_st_mean");
    try (TextEmbedder embedder = TextEmbedder.open(model)) {
      TextEmbedder.Result result = embedder.embedAll(List.of(longText)).getFirst();
      assertEquals(32, embedder.maxTokens());
      assertEquals(32, result.tokens());
      assertEquals(embedder.countTokens(longText) - 32, result.dropped());
      assertTrue(result.dropped() > 100);
    }
    try (TextEmbedder strict = TextEmbedder.builder(model).refuseTruncation().open()) {
      refuses("text must not exceed the limit, as truncation", () -> strict.embed(longText));
      refuses(
          "texts[2] must not exceed the limit, as truncation is refused: tokens=",
          () -> strict.embedAll(List.of("short", "shorter", longText, "short")));
      List<String> many = new ArrayList<>(Collections.nCopies(20_000, "short"));
      many.set(19_998, longText);
      TextTooLongException refused =
          assertThrows(TextTooLongException.class, () -> strict.embedAll(many));
      assertTrue(refused.getMessage().startsWith("texts[19998] must not exceed"));
      assertEquals(19_998, refused.index());
      assertEquals(32, refused.limit());
      assertEquals(strict.countTokens(longText), refused.tokens());
      assertEquals(64, strict.embed("short").length);
    }
    try (TextEmbedder longer = TextEmbedder.builder(model).maxTokens(40).open()) {
      assertEquals(40, longer.embedAll(List.of(longText)).getFirst().tokens());
    }
    refuses(
        "maxTokens must not exceed what the model allows: maxTokens=41, model=40",
        () -> TextEmbedder.builder(model).maxTokens(41).open());
  }

  @Test
  void shouldShortenVectors() throws Exception {
    Path model = OnnxTest.golden("bert_st_mean");
    try (TextEmbedder whole = TextEmbedder.open(model);
        TextEmbedder half = TextEmbedder.builder(model).dimensions(32).open()) {
      float[] expected = Arrays.copyOf(whole.embed("Bread."), 32);
      Pooling.normalize(expected);
      assertArrayEquals(expected, half.embed("Bread."));
      assertEquals(32, half.dimension());
    }
    refuses("dimensions=65, model=64", () -> TextEmbedder.builder(model).dimensions(65).open());
  }

  @Test
  void shouldTakeAnyText() throws Exception {
    try (TextEmbedder embedder = MiniLm.open(128)) {
      assertEquals(List.of(), embedder.embedAll(List.of()));
      assertEquals(2, embedder.embedAll(List.of("")).getFirst().tokens());
      assertArrayEquals(embedder.embed("a \ufffd b"), embedder.embed("a \ud83d b"));
      assertArrayEquals(embedder.embed("a \ufffd"), embedder.embed("a \udc00"));
      assertEquals(384, embedder.embed("a\0b").length);
      TextEmbedder.Result result = embedder.embedAll(List.of("word ".repeat(200_000))).getFirst();
      assertEquals(128, result.tokens());
      assertEquals(200_002 - 128, result.dropped());
      assertEquals(384, embedder.embed("x".repeat(1_000_000)).length);
    }
  }

  @Test
  void shouldReportProgressAndStop() throws Exception {
    try (TextEmbedder embedder = TextEmbedder.open(OnnxTest.golden("bert_st_mean"))) {
      List<String> many = IntStream.range(0, 2000).mapToObj(i -> TEXTS.get(i % 5)).toList();
      List<Long> seen = new ArrayList<>();
      embedder.embedAll(many, null, (embedded, total) -> seen.add(embedded) && total == 2000);
      assertEquals(2000, seen.getLast());
      assertTrue(seen.size() > 1, "there was one chunk only");
      CancellationException cancelled =
          assertThrows(
              CancellationException.class,
              () -> embedder.embedAll(many, null, (embedded, total) -> false));
      assertTrue(cancelled.getMessage().contains("texts=2000"), cancelled.getMessage());
    }
  }

  @Test
  void shouldServeManyCallersAndCloseAfterThem() throws Exception {
    TextEmbedder embedder = TextEmbedder.open(OnnxTest.golden("bert_st_mean"));
    List<TextEmbedder.Result> expected = embedder.embedAll(TEXTS);
    try (ExecutorService callers = Executors.newVirtualThreadPerTaskExecutor()) {
      List<Future<List<TextEmbedder.Result>>> calls = new ArrayList<>();
      for (int i = 0; i < 64; i++) {
        calls.add(callers.submit(() -> embedder.embedAll(TEXTS)));
      }
      for (Future<List<TextEmbedder.Result>> call : calls) {
        for (int i = 0; i < TEXTS.size(); i++) {
          assertArrayEquals(expected.get(i).vector(), call.get().get(i).vector());
        }
      }
    }
    embedder.close();
    embedder.close();
    IllegalStateException closed =
        assertThrows(IllegalStateException.class, () -> embedder.embed("x"));
    assertTrue(closed.getMessage().contains("closed"), closed.getMessage());
  }

  @Test
  void shouldSayWhatItDoesWithoutModules() throws Exception {
    copy("bert_st_mean", "modules.json");
    try (TextEmbedder embedder = TextEmbedder.open(directory)) {
      assertTrue(
          embedder.describe().contains("MEAN + Normalize (not from modules.json)"),
          embedder.describe());
    }
    try (TextEmbedder embedder =
        TextEmbedder.builder(directory).pooling(Pooling.CLS).normalize(false).open()) {
      assertTrue(embedder.describe().startsWith("bert, CLS ("), embedder.describe());
    }
  }

  @Test
  void shouldRefuseLateInteractionAndSparseEncoders() throws Exception {
    copy("bert_st_mean", "modules.json");
    modules("{\"idx\":0,\"path\":\"\",\"type\":\"x.Transformer\"}");
    refuses("late interaction, ColBERT", () -> TextEmbedder.open(directory));
    modules(
        "{\"idx\":0,\"path\":\"\",\"type\":\"x.Transformer\"},"
            + "{\"idx\":1,\"path\":\"1_Dense\",\"type\":\"pylate.models.Dense.Dense\"}");
    refuses("late interaction, ColBERT", () -> TextEmbedder.open(directory));
    modules("{\"idx\":0,\"path\":\"\",\"type\":\"x.sparse_encoder.models.MLMTransformer\"}");
    refuses("sparse encoder (SPLADE)", () -> TextEmbedder.open(directory));
    modules("{\"idx\":0,\"path\":\"../..\",\"type\":\"x.Pooling\"}");
    refuses("path must be inside the directory", () -> TextEmbedder.open(directory));
    Files.delete(directory.resolve("modules.json"));
    edit("config.json", "\"BertModel\"", "\"HF_ColBERT\"");
    refuses("late interaction (ColBERT) is not supported", () -> TextEmbedder.open(directory));
  }

  @Test
  void shouldRefuseWhatDoesNotFit() throws Exception {
    refuses(
        "model_type must be a family of encoders",
        () -> {
          copy("bert", "none");
          edit("config.json", "\"model_type\": \"bert\"", "\"model_type\": \"vit\"");
          TextEncoder.open(directory);
        });
    try (TextEmbedder embedder = TextEmbedder.open(OnnxTest.golden("bert_st_dense"))) {
      refuses("prompt must be one of the model's", () -> embedder.embedAll(TEXTS, "nonsense"));
    }
    refuses("must have a classification head", () -> TextClassifier.open(OnnxTest.golden("bert")));
    refuses(
        "must have one label to score with",
        () -> Reranker.open(OnnxTest.golden("bert_classifier")));
    Path small = OnnxTest.golden("bert");
    try (HuggingFaceTokenizer tokenizer =
        HuggingFaceTokenizer.open(OnnxTest.golden("bert_st_mean").resolve("tokenizer.json"))) {
      refuses(
          "tokenizer must fit the model's vocabulary: tokenizer=",
          () -> TextEmbedder.builder(small).tokenizer(tokenizer).open());
    }
    try (TextEncoder encoder = TextEncoder.open(small);
        Arena arena = Arena.ofConfined()) {
      refusesToken("texts[1][0] must be in the vocabulary: texts[1][0]=300", encoder, arena, 300);
      refusesToken("texts[1][0]=-1, vocabulary=300", encoder, arena, -1);
      refuses(
          "texts[0] must have from 1 to maxTokens tokens: texts[0].length=65, maxTokens=64",
          () -> encoder.encode(arena, new int[65]));
      refuses("texts[0].length=0", () -> encoder.encode(arena, new int[0]));
      assertEquals(0, encoder.encode(arena).size(0));
    }
    assertThrows(IOException.class, () -> TextEncoder.open(directory.resolve("nowhere")));
  }

  @Test
  void shouldAcceptWhatPublishedConfigurationsSayOfOtherHeads() throws Exception {
    copy("bert", "none");
    edit(
        "config.json",
        "\"model_type\": \"bert\"",
        "\"model_type\": \"bert\", \"tie_word_embeddings\": true, \"directionality\": \"bidi\","
            + " \"pooler_type\": \"first_token_transform\", \"pooler_fc_size\": 768");
    try (TextEncoder encoder = TextEncoder.open(directory)) {
      assertEquals("bert", encoder.family());
    }
    edit("config.json", "\"pooler_fc_size\"", "\"is_decoder\"");
    refuses("is_decoder=768", () -> TextEncoder.open(directory));
  }

  private static void refusesToken(String sentence, TextEncoder encoder, Arena arena, int token) {
    refuses(sentence, () -> encoder.encode(arena, new int[] {1}, new int[] {token}));
  }

  private void copy(String model, String except) throws Exception {
    GoldenCopy.of(model, directory);
    Files.deleteIfExists(directory.resolve(except));
  }

  private void modules(String list) throws IOException {
    Files.writeString(directory.resolve("modules.json"), "[" + list + "]", StandardCharsets.UTF_8);
  }

  private void edit(String file, String from, String to) throws IOException {
    new GoldenCopy(directory).edit(file, from, to);
  }
}
