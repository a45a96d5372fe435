package io.github.attention4j.langchain4j;

import static org.junit.jupiter.api.Assertions.assertArrayEquals;
import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertInstanceOf;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import dev.langchain4j.data.document.Document;
import dev.langchain4j.data.embedding.Embedding;
import dev.langchain4j.data.segment.TextSegment;
import dev.langchain4j.exception.UnsupportedFeatureException;
import dev.langchain4j.model.embedding.EmbeddingModel;
import dev.langchain4j.model.embedding.listener.EmbeddingModelListener;
import dev.langchain4j.model.embedding.listener.EmbeddingModelResponseContext;
import dev.langchain4j.model.embedding.request.EmbeddingInputType;
import dev.langchain4j.model.embedding.request.EmbeddingRequest;
import dev.langchain4j.model.output.Response;
import dev.langchain4j.rag.content.Content;
import dev.langchain4j.rag.content.aggregator.ReRankingContentAggregator;
import dev.langchain4j.rag.content.retriever.EmbeddingStoreContentRetriever;
import dev.langchain4j.rag.query.Query;
import dev.langchain4j.spi.model.embedding.EmbeddingModelFactory;
import dev.langchain4j.store.embedding.EmbeddingStoreIngestor;
import dev.langchain4j.store.embedding.inmemory.InMemoryEmbeddingStore;
import io.github.attention4j.models.Reranker;
import io.github.attention4j.models.TextEmbedder;
import java.io.IOException;
import java.io.UncheckedIOException;
import java.net.URL;
import java.net.URLClassLoader;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.Collections;
import java.util.List;
import java.util.Map;
import java.util.ServiceLoader;
import org.junit.jupiter.api.AfterAll;
import org.junit.jupiter.api.BeforeAll;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;

/** Texts go through MiniLM into a store, come back by their meaning, and are reranked. */
class RetrievalTest {
  private static final Path MINILM = Path.of("src/langchain4j/target/models/minilm.jar");
  private static final Path MODELS = Path.of("src/models/test/resources/golden-models/encoder");
  private static final List<String> TEXTS =
      List.of(
          "The mechanic fixed the car's engine in the garage.",
          "Bake the bread at 220 degrees until the crust is brown.",
          "The orchestra played a symphony by Brahms.",
          "Interest rates rose again, and shares fell.",
          "A cat slept on the warm window sill.");

  private static URLClassLoader jar;
  private static TextEmbedder embedder;
  private static Attention4jEmbeddingModel model;

  @BeforeAll
  static void open() throws Exception {
    jar = new URLClassLoader(new URL[] {MINILM.toUri().toURL()}, null);
    embedder =
        TextEmbedder.builder(jar, "all-minilm-l6-v2.onnx", "all-minilm-l6-v2-tokenizer.json")
            .open();
    model = Attention4jEmbeddingModel.builder().embedder(embedder).modelName("minilm").build();
  }

  @AfterAll
  static void close() throws IOException {
    embedder.close();
    jar.close();
  }

  private static List<TextSegment> segments() {
    return TEXTS.stream().map(TextSegment::from).toList();
  }

  private static EmbeddingStoreContentRetriever retriever(int results) {
    InMemoryEmbeddingStore<TextSegment> store = new InMemoryEmbeddingStore<>();
    store.addAll(model.embedAll(segments()).content(), segments());
    return EmbeddingStoreContentRetriever.builder()
        .embeddingStore(store)
        .embeddingModel(model)
        .maxResults(results)
        .build();
  }

  @Test
  void shouldFindTextsByTheirMeaning() {
    List<String> queries =
        List.of(
            "Who repairs vehicles?",
            "a recipe for the oven",
            "classical music",
            "news of the stock market",
            "a pet having a nap");
    EmbeddingStoreContentRetriever retriever = retriever(2);
    for (int i = 0; i < TEXTS.size(); i++) {
      List<Content> found = retriever.retrieve(Query.from(queries.get(i)));
      assertEquals(2, found.size());
      assertEquals(TEXTS.get(i), found.getFirst().textSegment().text());
    }
  }

  @Test
  void shouldRerankWhatWasFound() {
    Query query = Query.from("Who repairs vehicles?");
    try (Attention4jScoringModel scoring =
        Attention4jScoringModel.builder().modelPath(MODELS.resolve("bert_cross_encoder")).build()) {
      List<Content> found = retriever(4).retrieve(query);
      List<Content> reranked =
          ReRankingContentAggregator.builder()
              .scoringModel(scoring)
              .build()
              .aggregate(Map.of(query, List.of(found)));
      List<TextSegment> segments = found.stream().map(Content::textSegment).toList();
      List<Double> scores = scoring.scoreAll(segments, query.text()).content();
      List<Integer> order = new ArrayList<>(List.of(0, 1, 2, 3));
      order.sort((a, b) -> Double.compare(scores.get(b), scores.get(a)));
      assertEquals(
          order.stream().map(i -> segments.get(i).text()).toList(),
          reranked.stream().map(content -> content.textSegment().text()).toList());
      assertTrue(Collections.max(scores) > Collections.min(scores));
      assertEquals(scores.get(1), scoring.score(segments.get(1), query.text()).content());
    }
  }

  @Test
  void shouldScoreAsTheRerankerDoes() throws IOException {
    try (Reranker reranker = Reranker.open(MODELS.resolve("bert_cross_encoder"));
        Attention4jScoringModel scoring =
            Attention4jScoringModel.builder().reranker(reranker).build()) {
      float[] expected = reranker.score("a query", TEXTS);
      Response<List<Double>> response = scoring.scoreAll(segments(), "a query");
      for (int i = 0; i < expected.length; i++) {
        assertEquals(expected[i], response.content().get(i).floatValue());
      }
      assertTrue(response.tokenUsage().inputTokenCount() > 5 * TEXTS.size());
      assertEquals(List.of(), scoring.scoreAll(List.of(), "a query").content());
      scoring.close();
      // The reranker belongs to the caller, so it is still open.
      assertEquals(expected.length, reranker.score("a query", TEXTS).length);
    }
  }

  @Test
  void shouldEmbedAsTheEmbedderDoes() {
    assertEquals(384, model.dimension());
    assertEquals("minilm", model.modelName());
    Response<List<Embedding>> all = model.embedAll(segments());
    int tokens = 0;
    for (int i = 0; i < TEXTS.size(); i++) {
      float[] expected = embedder.embed(TEXTS.get(i));
      assertArrayEquals(expected, all.content().get(i).vector());
      assertArrayEquals(expected, model.embed(TEXTS.get(i)).content().vector());
      tokens += embedder.countTokens(TEXTS.get(i));
    }
    assertEquals(tokens, all.tokenUsage().inputTokenCount());
    assertEquals(List.of(), model.embedAll(List.of()).content());
  }

  @Test
  void shouldUseThePromptsOfQueriesAndDocuments() {
    try (Attention4jEmbeddingModel prompted =
        Attention4jEmbeddingModel.builder().modelPath(MODELS.resolve("qwen3_embedding")).build()) {
      assertEquals("qwen3_embedding", prompted.modelName());
      float[] query = prompted.embedder().embedQuery("hello");
      float[] document = prompted.embedder().embedDocument("hello");
      assertArrayEquals(query, embed(prompted, EmbeddingInputType.QUERY));
      assertArrayEquals(document, embed(prompted, EmbeddingInputType.DOCUMENT));
      assertArrayEquals(document, embed(prompted, null));
      assertTrue(query[0] != document[0]);
    }
  }

  private static float[] embed(EmbeddingModel model, EmbeddingInputType type) {
    EmbeddingRequest request = EmbeddingRequest.builder().input("hello").inputType(type).build();
    return model.embed(request).embeddings().getFirst().vector();
  }

  @Test
  void shouldTellListenersAndRefuseWhatItDoesNotSupport() {
    List<EmbeddingModelResponseContext> heard = new ArrayList<>();
    EmbeddingModelListener listener =
        new EmbeddingModelListener() {
          @Override
          public void onResponse(EmbeddingModelResponseContext context) {
            heard.add(context);
          }
        };
    model.addListener(listener).embed("hello");
    assertEquals(1, heard.size());
    EmbeddingRequest shorter = EmbeddingRequest.builder().input("hello").dimensions(7).build();
    assertThrows(UnsupportedFeatureException.class, () -> model.embed(shorter));
  }

  @Test
  void shouldBeFoundByLangChain4j() {
    EmbeddingModelFactory factory =
        ServiceLoader.load(EmbeddingModelFactory.class).findFirst().orElseThrow();
    assertInstanceOf(Attention4jEmbeddingModelFactory.class, factory);
    String property = Attention4jEmbeddingModelFactory.PROPERTY;
    IllegalStateException unset = assertThrows(IllegalStateException.class, factory::create);
    assertTrue(unset.getMessage().contains("-Dattention4j.embedding.model=PATH"));
    System.setProperty(property, MODELS.resolve("bert_st_mean").toString());
    try (Attention4jEmbeddingModel found =
        assertInstanceOf(Attention4jEmbeddingModel.class, factory.create())) {
      assertEquals("bert_st_mean", found.modelName());
      InMemoryEmbeddingStore<TextSegment> store = new InMemoryEmbeddingStore<>();
      // No model is given, so the ingestor asks the factory.
      EmbeddingStoreIngestor.builder()
          .embeddingStore(store)
          .build()
          .ingest(Document.from("Some text."));
      assertTrue(store.serializeToJson().contains("Some text."));
    } finally {
      System.clearProperty(property);
    }
  }

  @Test
  void shouldRefuseOptionsThatMakeNoSense(@TempDir Path empty) {
    IllegalArgumentException none =
        assertThrows(
            IllegalArgumentException.class, () -> Attention4jEmbeddingModel.builder().build());
    assertEquals(
        "exactly one of modelPath and embedder must be set: modelPath=null, embedder=null",
        none.getMessage());
    assertThrows(
        IllegalArgumentException.class,
        () -> Attention4jEmbeddingModel.builder().embedder(embedder).maxTokens(5).build());
    assertThrows(IllegalArgumentException.class, () -> Attention4jScoringModel.builder().build());
    assertThrows(
        UncheckedIOException.class,
        () -> Attention4jEmbeddingModel.builder().modelPath(empty).build());
  }
}
