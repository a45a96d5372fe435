package io.github.attention4j.models.server;

import static org.junit.jupiter.api.Assertions.assertArrayEquals;
import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import com.google.gson.JsonObject;
import com.google.gson.JsonParser;
import io.github.attention4j.models.CausalLm;
import io.github.attention4j.models.Encoding;
import io.github.attention4j.models.TextEmbedder;
import io.github.attention4j.models.Tokenizer;
import io.github.attention4j.models.testing.ScriptedModel;
import io.github.attention4j.models.text.TextGenerator;
import java.io.IOException;
import java.io.InputStream;
import java.net.Socket;
import java.net.URI;
import java.net.http.HttpClient;
import java.net.http.HttpRequest;
import java.net.http.HttpResponse;
import java.nio.charset.StandardCharsets;
import java.nio.file.Path;
import java.time.Duration;
import java.util.ArrayList;
import java.util.Iterator;
import java.util.List;
import java.util.Map;
import java.util.concurrent.CancellationException;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.CountDownLatch;
import java.util.concurrent.atomic.AtomicInteger;
import java.util.stream.Stream;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.BeforeEach;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.Timeout;
import org.junit.jupiter.api.io.TempDir;

/** Clients that close their connections, wait too long, send slowly, or are there at the end. */
@Timeout(120)
class OpenAiServerClientsTest {
  private static final String ENDLESS =
      "{\"prompt\": \"@\", \"temperature\": 0, \"max_tokens\": 1900";
  private static final String SHORT =
      "{\"prompt\": \"hello<answer>\", \"temperature\": 0, \"max_tokens\": 4";

  private final HttpClient client = HttpClient.newHttpClient();
  private final AtomicInteger embedding = new AtomicInteger();
  private final AtomicInteger cancelled = new AtomicInteger();
  @TempDir private Path directory;
  private CausalLm model;
  private TextGenerator generator;
  private volatile long millisPerToken;
  private volatile CountDownLatch gate = new CountDownLatch(0);
  private OpenAiServer server;

  @BeforeEach
  void open() throws IOException {
    ScriptedModel script =
        new ScriptedModel(
            Map.of("hello<answer>", "Good morning!", "@", "on and on" + ScriptedModel.ENDLESS));
    model = script.open(directory);
    generator = new TextGenerator(model, new SlowTokenizer(script));
  }

  @AfterEach
  void close() {
    gate.countDown();
    server.close();
    model.close();
  }

  private void start(OpenAiServer.Builder options) throws IOException {
    server = options.port(0).start();
  }

  private OpenAiServer.Builder options() {
    return OpenAiServer.builder()
        .completions("scripted", generator)
        .embeddings("patient", this::embedUntilCancelled);
  }

  /** Writes to clients that wait sooner and more often than usual. */
  private OpenAiServer.Builder lively() {
    return options().patience(Duration.ofMillis(400), Duration.ofMillis(100));
  }

  /** Like a model that takes for ever. */
  private EmbeddingSource.Embeddings embedUntilCancelled(EmbeddingSource.Request request) {
    embedding.incrementAndGet();
    while (!request.cancelled().getAsBoolean()) {
      try {
        Thread.sleep(20);
      } catch (InterruptedException e) {
        Thread.currentThread().interrupt();
      }
    }
    cancelled.incrementAndGet();
    throw new CancellationException("cancelled");
  }

  /** The script's tokens, decoded when the gate is open, and slowly. */
  private final class SlowTokenizer implements Tokenizer {
    private final Tokenizer script;

    SlowTokenizer(Tokenizer script) {
      this.script = script;
    }

    @Override
    public Encoding encode(String text, boolean special) {
      return script.encode(text, special);
    }

    @Override
    public Encoding encodePair(String first, String second) {
      return script.encodePair(first, second);
    }

    @Override
    public String decode(int[] tokens, boolean skipSpecial) {
      try {
        gate.await();
        Thread.sleep(millisPerToken);
      } catch (InterruptedException e) {
        Thread.currentThread().interrupt();
      }
      return script.decode(tokens, skipSpecial);
    }

    @Override
    public int vocabulary() {
      return script.vocabulary();
    }

    @Override
    public void close() {}
  }

  private URI uri(String path) {
    return URI.create("http://127.0.0.1:" + server.address().getPort() + path);
  }

  private HttpRequest request(String path, String body) {
    return HttpRequest.newBuilder(uri(path))
        .header("Content-Type", "application/json")
        .POST(HttpRequest.BodyPublishers.ofString(body))
        .build();
  }

  private HttpResponse<String> post(String path, String body) throws Exception {
    return client.send(request(path, body), HttpResponse.BodyHandlers.ofString());
  }

  private CompletableFuture<HttpResponse<String>> later(String path, String body) {
    return client.sendAsync(request(path, body), HttpResponse.BodyHandlers.ofString());
  }

  private String metrics() throws Exception {
    return client
        .send(HttpRequest.newBuilder(uri("/metrics")).build(), HttpResponse.BodyHandlers.ofString())
        .body();
  }

  private void awaitMetric(String line) throws Exception {
    for (int i = 0; i < 400 && !metrics().contains(line + "\n"); i++) {
      Thread.sleep(50);
    }
    assertTrue(metrics().contains(line + "\n"), line + "\n" + metrics());
  }

  private static String error(HttpResponse<String> response, int status) {
    assertEquals(status, response.statusCode(), response.body());
    return message(response.body());
  }

  private static String message(String body) {
    JsonObject error = JsonParser.parseString(body).getAsJsonObject().getAsJsonObject("error");
    return error.get("message").getAsString();
  }

  private Socket send(String path, String body) throws IOException {
    Socket socket = new Socket(server.address().getAddress(), server.address().getPort());
    socket
        .getOutputStream()
        .write((head(path, body.length()) + body).getBytes(StandardCharsets.US_ASCII));
    return socket;
  }

  private static String head(String path, int length) {
    return "POST %s HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n"
        .formatted(path, length);
  }

  // ---- Clients that are gone ----

  @Test
  void shouldDropEmbeddingsOfClientsThatAreGoneAndServeTextsMeanwhile() throws Exception {
    start(lively());
    for (int i = 0; i < 9; i++) {
      send("/v1/embeddings", "{\"input\": \"a\"}").close();
    }
    awaitMetric("attention4j_requests_running 2");
    assertEquals(200, post("/v1/completions", SHORT + "}").statusCode());
    awaitMetric("attention4j_requests_waiting 0");
    awaitMetric("attention4j_requests_running 0");
    assertEquals(9, embedding.get());
    assertEquals(9, cancelled.get());
    assertTrue(metrics().contains("{path=\"/v1/embeddings\",status=\"499\"} 9\n"), metrics());
  }

  @Test
  void shouldEndATextThatIsNotStreamedWhenItsClientIsGone() throws Exception {
    millisPerToken = 20;
    start(lively().parallel(2).queue(2));
    List<Socket> sockets = new ArrayList<>();
    for (int i = 0; i < 4; i++) {
      sockets.add(send("/v1/completions", ENDLESS + "}"));
    }
    awaitMetric("attention4j_requests_waiting 2");
    for (Socket socket : sockets) {
      socket.close();
    }
    awaitMetric("attention4j_requests_running 0");
    assertTrue(metrics().contains("{path=\"/v1/completions\",status=\"499\"} 4\n"), metrics());
    millisPerToken = 0;
    assertEquals(200, post("/v1/completions", SHORT + "}").statusCode());
  }

  @Test
  void shouldTakeAWaitingStreamOutOfTheQueueWhenItsClientIsGone() throws Exception {
    millisPerToken = 20;
    start(lively().parallel(1).queue(1));
    try (Socket first = send("/v1/completions", ENDLESS + ", \"stream\": true}")) {
      awaitMetric("attention4j_requests_running 1");
      send("/v1/completions", SHORT + ", \"stream\": true}").close();
      awaitMetric("attention4j_requests_waiting 1");
      awaitMetric("attention4j_requests_waiting 0");
      assertTrue(metrics().contains("attention4j_requests_running 1\n"));
      assertTrue(first.getInputStream().read() >= 0);
    }
  }

  @Test
  void shouldAnswerSlowlyWithJsonThatClientsRead() throws Exception {
    millisPerToken = 100;
    start(lively());
    HttpResponse<String> answer = post("/v1/completions", SHORT + "}");
    assertEquals(200, answer.statusCode());
    assertTrue(answer.body().startsWith(" "), answer.body());
    JsonObject body = JsonParser.parseString(answer.body()).getAsJsonObject();
    assertEquals(
        "Good", body.getAsJsonArray("choices").get(0).getAsJsonObject().get("text").getAsString());
  }

  // ---- Time limits ----

  @Test
  void shouldEndEmbeddingsAtTheTimeLimit() throws Exception {
    start(options().maxTime(Duration.ofMillis(500)));
    assertEquals(
        "the texts could not be embedded within 0.5 s",
        error(post("/v1/embeddings", "{\"input\": \"a\"}"), 503));
    awaitMetric("attention4j_requests_running 0");
    assertEquals(1, cancelled.get());
  }

  @Test
  void shouldNotTakeALateErrorForAnAnswer() throws Exception {
    start(lively().maxTime(Duration.ofMillis(900)));
    try (Socket socket = send("/v1/embeddings", "{\"input\": \"a\"}")) {
      String answer = new String(socket.getInputStream().readAllBytes(), StandardCharsets.UTF_8);
      assertTrue(answer.startsWith("HTTP/1.1 200 "), answer);
      assertTrue(answer.contains("could not be embedded within 0.9 s"), answer);
      // Without the last chunk, clients see that the answer is incomplete.
      assertFalse(answer.endsWith("0\r\n\r\n"), answer);
    }
    assertThrows(IOException.class, () -> post("/v1/embeddings", "{\"input\": \"a\"}"));
    assertTrue(metrics().contains("{path=\"/v1/embeddings\",status=\"503\"} 2\n"), metrics());
  }

  /** The first text holds up the model until the time of the others is over. */
  @Test
  void shouldRefuseTextsThatNeverBegan() throws Exception {
    gate = new CountDownLatch(1);
    start(options().maxTime(Duration.ofSeconds(1)));
    CompletableFuture<HttpResponse<String>> first = later("/v1/completions", SHORT + "}");
    awaitMetric("attention4j_requests_running 1");
    Thread.sleep(200);
    CompletableFuture<HttpResponse<String>> second = later("/v1/completions", SHORT + "}");
    CompletableFuture<HttpResponse<String>> stream =
        later("/v1/completions", SHORT + ", \"stream\": true}");
    awaitMetric("attention4j_requests_running 3");
    Thread.sleep(1500);
    gate.countDown();
    assertEquals("the request was not begun within 1.0 s", error(second.get(), 503));
    List<String> events =
        stream.get().body().lines().filter(line -> line.startsWith("data: ")).toList();
    assertEquals(1, events.size(), events.toString());
    assertEquals("the request was not begun within 1.0 s", message(events.getFirst().substring(6)));
    HttpResponse<String> begun = first.get();
    assertEquals(200, begun.statusCode(), begun.body());
    assertTrue(begun.body().contains("\"finish_reason\":\"length\""), begun.body());
  }

  // ---- Slow bodies ----

  @Test
  void shouldServeOthersWhileManyBodiesArriveSlowly() throws Exception {
    start(options());
    List<Socket> sockets = new ArrayList<>();
    try {
      for (int i = 0; i < 300; i++) {
        Socket socket = new Socket(server.address().getAddress(), server.address().getPort());
        sockets.add(socket);
        socket
            .getOutputStream()
            .write((head("/v1/completions", 100) + "{").getBytes(StandardCharsets.US_ASCII));
      }
      Thread.sleep(500);
      HttpResponse<String> answer = post("/v1/completions", SHORT + "}");
      assertEquals(200, answer.statusCode(), answer.body());
    } finally {
      for (Socket socket : sockets) {
        socket.close();
      }
    }
  }

  @Test
  void shouldLimitTheMemoryOfBodiesThatAreRead() throws Exception {
    start(options());
    Bodies bodies = new Bodies(32 << 20);
    long chunk = 20L << 20;
    CountDownLatch end = new CountDownLatch(1);
    AtomicInteger blocked = new AtomicInteger();
    List<Thread> readers = new ArrayList<>();
    for (int i = 0; i < 4; i++) {
      InputStream source = new HalfBody(chunk, blocked, end);
      readers.add(
          Thread.startVirtualThread(
              () -> {
                try {
                  assertEquals(chunk, bodies.read(source).length);
                } catch (IOException e) {
                  throw new IllegalStateException(e);
                }
              }));
    }
    while (blocked.get() < 4) {
      Thread.sleep(10);
    }
    HttpError refused =
        assertThrows(
            HttpError.class, () -> bodies.read(new HalfBody(chunk, new AtomicInteger(), end)));
    assertEquals(503, refused.status());
    assertTrue(refused.getMessage().startsWith("too many bodies are being read: bytes="));
    end.countDown();
    for (Thread reader : readers) {
      reader.join();
    }
    assertEquals(chunk, bodies.read(new HalfBody(chunk, new AtomicInteger(), end)).length);
  }

  /** Sends all bytes, but its end only when told. */
  private static final class HalfBody extends InputStream {
    private final AtomicInteger blocked;
    private final CountDownLatch end;
    private long left;

    HalfBody(long bytes, AtomicInteger blocked, CountDownLatch end) {
      this.left = bytes;
      this.blocked = blocked;
      this.end = end;
    }

    @Override
    public int read() {
      throw new UnsupportedOperationException("only whole arrays");
    }

    @Override
    public int read(byte[] bytes, int offset, int length) throws IOException {
      if (left == 0) {
        blocked.incrementAndGet();
        try {
          end.await();
        } catch (InterruptedException e) {
          throw new IOException(e);
        }
        return -1;
      }
      int read = (int) Math.min(left, length);
      left -= read;
      return read;
    }
  }

  // ---- The end of the server ----

  @Test
  void shouldEndStreamsWithAnErrorWhenItCloses() throws Exception {
    millisPerToken = 20;
    start(options().parallel(2));
    HttpResponse<Stream<String>> stream =
        client.send(
            request("/v1/completions", ENDLESS + ", \"stream\": true}"),
            HttpResponse.BodyHandlers.ofLines());
    Iterator<String> events = stream.body().filter(line -> line.startsWith("data: ")).iterator();
    CompletableFuture<HttpResponse<String>> whole = later("/v1/completions", ENDLESS + "}");
    awaitMetric("attention4j_requests_running 2");
    CompletableFuture<HttpResponse<String>> waiting = later("/v1/completions", ENDLESS + "}");
    awaitMetric("attention4j_requests_waiting 1");
    String event = "";
    for (int i = 0; i < 6; i++) {
      event = events.next();
      assertTrue(event.contains("\"choices\""), event);
    }
    server.close();
    while (events.hasNext()) {
      event = events.next();
    }
    assertEquals("the server is shutting down", message(event.substring(6)));
    assertEquals("the server is shutting down", error(whole.get(), 503));
    assertEquals("the server is shutting down", error(waiting.get(), 503));
    assertThrows(IOException.class, () -> post("/v1/completions", SHORT + "}"));
  }

  @Test
  void shouldTellClientsAtOnceThatItCloses() throws Exception {
    gate = new CountDownLatch(1);
    start(options());
    CompletableFuture<HttpResponse<String>> stream =
        later("/v1/completions", ENDLESS + ", \"stream\": true}");
    awaitMetric("attention4j_requests_running 1");
    Thread closing = Thread.ofPlatform().start(server::close);
    // The model is held up until the client knows.
    String last =
        stream.get().body().lines().filter(line -> line.startsWith("data: ")).toList().getLast();
    assertEquals("the server is shutting down", message(last.substring(6)));
    gate.countDown();
    closing.join();
  }

  @Test
  void shouldLetTextsFinishWhileItCloses() throws Exception {
    millisPerToken = 200;
    start(options());
    CompletableFuture<HttpResponse<String>> text = later("/v1/completions", SHORT + "}");
    awaitMetric("attention4j_requests_running 1");
    Thread closing = Thread.ofPlatform().start(() -> server.close(Duration.ofSeconds(20)));
    HttpResponse<String> refused;
    do {
      refused =
          client.send(
              HttpRequest.newBuilder(uri("/health")).build(), HttpResponse.BodyHandlers.ofString());
    } while (refused.statusCode() == 200);
    assertEquals("the server is shutting down", error(refused, 503));
    assertEquals("the server is shutting down", error(post("/v1/completions", SHORT + "}"), 503));
    assertEquals(200, text.get().statusCode());
    assertTrue(text.get().body().contains("\"Good\""), text.get().body());
    closing.join(Duration.ofSeconds(10));
    assertFalse(closing.isAlive());
  }

  // ---- Embedding with a model ----

  @Test
  void shouldEmbedInSlicesThatCanBeCancelled() throws Exception {
    start(options());
    Path files = Path.of("src/models/test/resources/golden-models/encoder/bert_st_mean");
    try (TextEmbedder embedder = TextEmbedder.open(files)) {
      EmbeddingSource source = EmbeddingSource.of(embedder);
      List<String> texts = new ArrayList<>();
      for (int i = 0; i < 40; i++) {
        texts.add("text " + "x".repeat(i * 30));
      }
      EmbeddingSource.Embeddings all =
          source.embed(new EmbeddingSource.Request(texts, List.of(), 0, () -> false));
      List<TextEmbedder.Result> expected = embedder.embedAll(texts);
      assertEquals(expected.stream().mapToLong(TextEmbedder.Result::tokens).sum(), all.tokens());
      for (int i = 0; i < texts.size(); i++) {
        assertArrayEquals(expected.get(i).vector(), all.vectors().get(i));
      }
      AtomicInteger asked = new AtomicInteger();
      CancellationException ended =
          assertThrows(
              CancellationException.class,
              () ->
                  source.embed(
                      new EmbeddingSource.Request(
                          texts, List.of(), 0, () -> asked.incrementAndGet() == 2)));
      assertTrue(
          ended.getMessage().matches("embedding was cancelled: embedded=[1-3]\\d"),
          ended.getMessage());
    }
  }
}
