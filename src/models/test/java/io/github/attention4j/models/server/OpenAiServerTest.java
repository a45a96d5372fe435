package io.github.attention4j.models.server;

import static org.junit.jupiter.api.Assertions.assertArrayEquals;
import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertNotEquals;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import com.google.gson.JsonArray;
import com.google.gson.JsonElement;
import com.google.gson.JsonObject;
import com.google.gson.JsonParser;
import io.github.attention4j.models.CausalLm;
import io.github.attention4j.models.TextEmbedder;
import io.github.attention4j.models.testing.ScriptedModel;
import io.github.attention4j.models.text.Chat;
import io.github.attention4j.models.text.TextGenerator;
import java.io.IOException;
import java.io.InputStream;
import java.io.OutputStream;
import java.net.BindException;
import java.net.InetSocketAddress;
import java.net.Socket;
import java.net.URI;
import java.net.UnknownHostException;
import java.net.http.HttpClient;
import java.net.http.HttpRequest;
import java.net.http.HttpResponse;
import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.time.Duration;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.Base64;
import java.util.List;
import java.util.Map;
import java.util.concurrent.CountDownLatch;
import java.util.concurrent.Executors;
import java.util.concurrent.Future;
import java.util.stream.Collectors;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.BeforeEach;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.Timeout;
import org.junit.jupiter.api.io.TempDir;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;

/** Talks to a server over real sockets. */
@Timeout(120)
class OpenAiServerTest {
  private static final String CHAT = "/v1/chat/completions";
  private static final String HELLO =
      "{\"messages\": [{\"role\": \"user\", \"content\": \"hello\"}]";

  /** Three vectors of this size are more than the buffers between server and client hold. */
  private static final int LARGE = 1 << 20;

  private final HttpClient client = HttpClient.newHttpClient();
  @TempDir private Path directory;
  private CausalLm model;
  private Chat chat;
  private CountDownLatch embedding;
  private OpenAiServer server;

  @BeforeEach
  void start() throws IOException {
    ScriptedModel script =
        new ScriptedModel(
            Map.of(
                "hello<answer>", "Good morning, 😀! How are you?",
                "weather<answer>",
                    "<tool_call>\n"
                        + "{\"name\": \"weather\", \"arguments\": {\"city\": \"Bern\"}}\n"
                        + "</tool_call>",
                "sunny<answer>", "It is sunny.",
                "{", "\"a\": [1, true]}",
                "@", "on and on" + ScriptedModel.ENDLESS));
    model = script.open(directory);
    chat =
        new Chat(
            new TextGenerator(model, script),
            (messages, tools) ->
                messages.stream()
                        .map(message -> message.role() + ":" + message.content())
                        .collect(Collectors.joining("\n"))
                    + "<answer>");
    server = builder().start();
  }

  private OpenAiServer.Builder builder() {
    return OpenAiServer.builder().port(0).chat("scripted", chat).embeddings("lengths", this::embed);
  }

  private EmbeddingSource.Embeddings embed(EmbeddingSource.Request request) {
    List<float[]> vectors = new ArrayList<>();
    for (String text : request.texts()) {
      if (text.equals("wait") && embedding != null) {
        try {
          embedding.await();
        } catch (InterruptedException e) {
          Thread.currentThread().interrupt();
        }
      }
      if (text.equals("bad")) {
        throw new IllegalArgumentException("text is bad");
      }
      if (text.equals("bug")) {
        throw new IllegalStateException("broken");
      }
      float[] vector = new float[text.equals("large") ? LARGE : 2];
      Arrays.fill(vector, text.length() + 0.25f);
      vectors.add(vector);
    }
    return new EmbeddingSource.Embeddings(vectors, request.texts().size());
  }

  @AfterEach
  void stop() {
    server.close();
    model.close();
  }

  private URI uri(String path) {
    InetSocketAddress address = server.address();
    return URI.create("http://127.0.0.1:" + address.getPort() + path);
  }

  private HttpResponse<String> post(String path, String body) throws Exception {
    return client.send(request(path, body), HttpResponse.BodyHandlers.ofString());
  }

  private HttpRequest request(String path, String body) {
    return HttpRequest.newBuilder(uri(path))
        .header("Content-Type", "application/json")
        .POST(HttpRequest.BodyPublishers.ofString(body))
        .build();
  }

  private HttpResponse<String> get(String path, String... headers) throws Exception {
    HttpRequest.Builder request = HttpRequest.newBuilder(uri(path));
    if (headers.length > 0) {
      request.headers(headers);
    }
    return client.send(request.build(), HttpResponse.BodyHandlers.ofString());
  }

  private static JsonObject json(HttpResponse<String> response) {
    assertEquals("application/json", response.headers().firstValue("Content-Type").orElseThrow());
    return JsonParser.parseString(response.body()).getAsJsonObject();
  }

  private static JsonObject ok(HttpResponse<String> response) {
    assertEquals(200, response.statusCode(), response.body());
    return json(response);
  }

  private static JsonObject choice(JsonObject body) {
    return body.getAsJsonArray("choices").get(0).getAsJsonObject();
  }

  private static String error(HttpResponse<String> response, int status) {
    assertEquals(status, response.statusCode(), response.body());
    return json(response).getAsJsonObject("error").get("message").getAsString();
  }

  private static List<JsonObject> events(HttpResponse<String> response) {
    assertEquals(200, response.statusCode(), response.body());
    assertEquals("text/event-stream", response.headers().firstValue("Content-Type").orElseThrow());
    List<String> events =
        response
            .body()
            .lines()
            .filter(line -> line.startsWith("data: "))
            .map(l -> l.substring(6))
            .toList();
    assertEquals("[DONE]", events.getLast());
    return events.subList(0, events.size() - 1).stream()
        .map(event -> JsonParser.parseString(event).getAsJsonObject())
        .toList();
  }

  // ---- Completions ----

  @Test
  void shouldAnswerAChat() throws Exception {
    JsonObject body = ok(post(CHAT, HELLO + ", \"model\": \"scripted\", \"temperature\": 0}"));
    assertEquals("chat.completion", body.get("object").getAsString());
    assertEquals("scripted", body.get("model").getAsString());
    JsonObject message = choice(body).getAsJsonObject("message");
    assertEquals("assistant", message.get("role").getAsString());
    assertEquals("Good morning, 😀! How are you?", message.get("content").getAsString());
    assertEquals("stop", choice(body).get("finish_reason").getAsString());
    JsonObject usage = body.getAsJsonObject("usage");
    assertEquals(6, usage.get("prompt_tokens").getAsInt());
    assertEquals(30, usage.get("completion_tokens").getAsInt());
    assertEquals(36, usage.get("total_tokens").getAsInt());
  }

  @Test
  void shouldStreamAChatAsOneTextInPieces() throws Exception {
    List<JsonObject> events =
        events(
            post(
                CHAT,
                HELLO
                    + ", \"temperature\": 0, \"stream\": true, \"stream_options\":"
                    + " {\"include_usage\": true}}"));
    StringBuilder text = new StringBuilder();
    for (JsonObject event : events.subList(0, events.size() - 2)) {
      assertTrue(event.get("usage").isJsonNull());
      assertEquals("chat.completion.chunk", event.get("object").getAsString());
      assertTrue(choice(event).get("finish_reason").isJsonNull());
      text.append(choice(event).getAsJsonObject("delta").get("content").getAsString());
    }
    assertEquals("Good morning, 😀! How are you?", text.toString());
    assertTrue(events.size() > 20, "events=" + events.size());
    assertEquals("stop", choice(events.get(events.size() - 2)).get("finish_reason").getAsString());
    assertEquals(30, events.getLast().getAsJsonObject("usage").get("completion_tokens").getAsInt());
  }

  @Test
  void shouldContinueTextsAndTokens() throws Exception {
    String options = ", \"temperature\": 0, \"max_tokens\": 4}";
    JsonObject text = ok(post("/v1/completions", "{\"prompt\": \"hello<answer>\"" + options));
    assertEquals("Good", choice(text).get("text").getAsString());
    assertEquals("length", choice(text).get("finish_reason").getAsString());
    JsonObject tokens = ok(post("/v1/completions", "{\"prompt\": [72, 123]" + options));
    assertEquals("\"a\":", choice(tokens).get("text").getAsString());
    List<JsonObject> events =
        events(
            post(
                "/v1/completions",
                "{\"prompt\": [\"hello<answer>\"], \"stop\": [\"morn\"], \"stream\": true,"
                    + " \"temperature\": 0}"));
    assertEquals(
        "Good ",
        events.stream()
            .map(e -> choice(e).get("text").getAsString())
            .collect(Collectors.joining()));
  }

  @Test
  void shouldEndTextsAtTheStopTextsOfTheModel() throws Exception {
    ScriptedModel script = new ScriptedModel(Map.of("hello<answer>", "Good morning, all!"));
    Path files = script.write(Files.createDirectory(directory.resolve("stops")));
    Files.writeString(files.resolve("generation_config.json"), "{\"stop_strings\": [\"all\"]}");
    server.close();
    String body = "{\"prompt\": \"hello<answer>\", \"temperature\": 0";
    try (CausalLm stopping = CausalLm.open(files)) {
      server = builder().completions("stops", new TextGenerator(stopping, script)).start();
      JsonObject answer = choice(ok(post("/v1/completions", body + "}")));
      assertEquals("Good morning, ", answer.get("text").getAsString());
      assertEquals("stop", answer.get("finish_reason").getAsString());
      answer = choice(ok(post("/v1/completions", body + ", \"stop\": \"mo\"}")));
      assertEquals("Good ", answer.get("text").getAsString());
      server.close();
    }
  }

  @Test
  void shouldLeaveToTheModelWhatARequestLeavesOpen() throws Exception {
    ScriptedModel script = new ScriptedModel(Map.of("hello<answer>", "Good morning, all!"));
    Path files = script.write(Files.createDirectory(directory.resolve("own")));
    Files.writeString(
        files.resolve("generation_config.json"),
        "{\"do_sample\": true, \"top_k\": 1, \"suppress_tokens\": [%d], \"max_new_tokens\": 4}"
            .formatted(128 + 2 + "Good ".length())); // the m, after ASCII, the end and the cue
    server.close();
    String body = "{\"prompt\": \"hello<answer>\"";
    try (CausalLm model = CausalLm.open(files)) {
      server = builder().completions("own", new TextGenerator(model, script)).start();
      JsonObject answer = choice(ok(post("/v1/completions", body + "}")));
      assertEquals("Good", answer.get("text").getAsString());
      assertEquals("length", answer.get("finish_reason").getAsString());
      answer = choice(ok(post("/v1/completions", body + ", \"max_tokens\": 6}")));
      assertEquals("Good ", answer.get("text").getAsString().substring(0, 5));
      assertNotEquals('m', answer.get("text").getAsString().charAt(5));
      server.close();
    }
  }

  // ---- Sampling ----

  /** The answer begins with G; what may not follow, or is wanted more, changes that. */
  @Test
  void shouldBiasAndPenaliseTokens() throws Exception {
    String answer = content(HELLO + ", \"temperature\": 0}");
    assertTrue(answer.startsWith("Good"), answer);
    assertEquals(
        "AAA",
        content(
            HELLO
                + ", \"temperature\": 0, \"max_tokens\": 3, \"logit_bias\": {\"%d\": 100}}"
                    .formatted((int) 'A')));
    // A bias that a penalty for being there outweighs holds for one token.
    String penalised =
        content(
            HELLO
                + ", \"temperature\": 0, \"max_tokens\": 3, \"presence_penalty\": 2,"
                + " \"logit_bias\": {\"%d\": 100, \"%d\": 99, \"%d\": 98.5}}"
                    .formatted((int) 'A', (int) 'B', (int) 'C'));
    assertEquals("ABC", penalised);
    String frequent =
        content(
            HELLO
                + ", \"temperature\": 0, \"max_tokens\": 4, \"frequency_penalty\": 0.6,"
                + " \"logit_bias\": {\"%d\": 100, \"%d\": 99}}".formatted((int) 'A', (int) 'B'));
    assertEquals("AABA", frequent);
    assertEquals(
        answer,
        content(HELLO + ", \"temperature\": 1, \"min_p\": 0.999, \"seed\": 3, \"top_k\": 40}"));
  }

  private String content(String body) throws Exception {
    return choice(ok(post(CHAT, body))).getAsJsonObject("message").get("content").getAsString();
  }

  @Test
  void shouldTellTheLogProbabilitiesOfAChat() throws Exception {
    String body =
        HELLO + ", \"temperature\": 0, \"max_tokens\": 14, \"logprobs\": true, \"top_logprobs\": 2";
    JsonObject answer = choice(ok(post(CHAT, body + "}")));
    var listed = answer.getAsJsonObject("logprobs").getAsJsonArray("content");
    assertEquals(14, listed.size());
    StringBuilder text = new StringBuilder();
    for (var each : listed) {
      JsonObject token = each.getAsJsonObject();
      text.append(token.get("token").getAsString());
      double logprob = token.get("logprob").getAsDouble();
      assertTrue(logprob < 0 && logprob > -10, token.toString());
      assertEquals(2, token.getAsJsonArray("top_logprobs").size());
      JsonObject first = token.getAsJsonArray("top_logprobs").get(0).getAsJsonObject();
      assertEquals(token.get("token"), first.get("token"));
      assertEquals(token.get("logprob"), first.get("logprob"));
      assertEquals(
          token.get("token").getAsString().getBytes(StandardCharsets.UTF_8).length,
          token.getAsJsonArray("bytes").size());
    }
    assertEquals("Good morning, ", text.toString());
    List<JsonObject> events = events(post(CHAT, body + ", \"stream\": true}"));
    StringBuilder streamed = new StringBuilder();
    for (JsonObject event : events) {
      if (choice(event).get("logprobs").isJsonObject()) {
        choice(event)
            .getAsJsonObject("logprobs")
            .getAsJsonArray("content")
            .forEach(token -> streamed.append(token.getAsJsonObject().get("token").getAsString()));
      }
    }
    assertEquals("Good morning, ", streamed.toString());
  }

  @Test
  void shouldTellTheLogProbabilitiesOfACompletion() throws Exception {
    String body = "{\"prompt\": \"sunny<answer>\", \"temperature\": 0, \"logprobs\": 1}";
    JsonObject logprobs = choice(ok(post("/v1/completions", body))).getAsJsonObject("logprobs");
    StringBuilder text = new StringBuilder();
    for (int i = 0; i < logprobs.getAsJsonArray("tokens").size(); i++) {
      assertEquals(text.length(), logprobs.getAsJsonArray("text_offset").get(i).getAsInt());
      String token = logprobs.getAsJsonArray("tokens").get(i).getAsString();
      text.append(token);
      assertEquals(
          logprobs.getAsJsonArray("token_logprobs").get(i),
          logprobs.getAsJsonArray("top_logprobs").get(i).getAsJsonObject().get(token));
    }
    assertEquals("It is sunny.", text.toString());
    assertEquals(
        "logprobs must lie in [0, 5]: logprobs=6",
        error(post("/v1/completions", body.replace("1}", "6}")), 400));
  }

  // ---- Sharing ----

  @Test
  void shouldAnswerManyAtOnceAsEachAlone() throws Exception {
    server.close();
    server = builder().parallel(6).queue(40).cacheTokens(512).promptPart(7).start();
    try (var threads = Executors.newVirtualThreadPerTaskExecutor()) {
      List<Future<String>> answers = new ArrayList<>();
      for (int i = 0; i < 24; i++) {
        String before = "x".repeat(3 * i);
        String body =
            "{\"messages\": [{\"role\": \"user\", \"content\": \"%s hello\"}],".formatted(before)
                + " \"temperature\": 0, \"max_tokens\": 40}";
        answers.add(threads.submit(() -> content(body)));
      }
      for (Future<String> answer : answers) {
        assertEquals("Good morning, 😀! How are you?", answer.get());
      }
    }
    assertEquals(
        "the prompt and max_tokens must fit the memory of this server: prompt=6, max_tokens=600,"
            + " tokens=512",
        error(post(CHAT, HELLO + ", \"max_tokens\": 600}"), 400));
    assertEquals("stop", choice(ok(post(CHAT, HELLO + "}"))).get("finish_reason").getAsString());
  }

  @Test
  void shouldWriteOnlyAJsonObjectInJsonMode() throws Exception {
    JsonObject body =
        ok(
            post(
                CHAT,
                HELLO + ", \"temperature\": 0, \"response_format\": {\"type\": \"json_object\"}}"));
    String content = choice(body).getAsJsonObject("message").get("content").getAsString();
    assertEquals(
        JsonParser.parseString("{\"a\": [1, true]}"), JsonParser.parseString(content), content);
  }

  @Test
  void shouldCallToolsAndTakeTheirResults() throws Exception {
    String tools =
        ", \"temperature\": 0, \"tools\": [{\"type\": \"function\", \"function\": {\"name\":"
            + " \"weather\", \"parameters\": {\"type\": \"object\"}}}]";
    String asks =
        "{\"role\": \"user\", \"content\": [{\"type\": \"text\", \"text\": \"weather\"}]}";
    JsonObject first = choice(ok(post(CHAT, "{\"messages\": [" + asks + "]" + tools + "}")));
    assertEquals("tool_calls", first.get("finish_reason").getAsString());
    JsonArray calls = first.getAsJsonObject("message").getAsJsonArray("tool_calls");
    JsonObject function = calls.get(0).getAsJsonObject().getAsJsonObject("function");
    assertEquals("weather", function.get("name").getAsString());
    assertEquals("{\"city\":\"Bern\"}", function.get("arguments").getAsString());

    String id = calls.get(0).getAsJsonObject().get("id").getAsString();
    String next =
        "{\"messages\": [%s, {\"role\": \"assistant\", \"content\": null, \"tool_calls\": %s}, {\"role\": \"tool\", \"tool_call_id\": \"%s\", \"content\": \"sunny\"}]%s}"
            .formatted(asks, calls, id, tools);
    JsonObject second = choice(ok(post(CHAT, next)));
    assertEquals("It is sunny.", second.getAsJsonObject("message").get("content").getAsString());

    List<JsonObject> events =
        events(post(CHAT, "{\"stream\": true, \"messages\": [" + asks + "]" + tools + "}"));
    JsonObject last = choice(events.getLast());
    assertEquals("tool_calls", last.get("finish_reason").getAsString());
    assertEquals(
        "weather",
        last.getAsJsonObject("delta")
            .getAsJsonArray("tool_calls")
            .get(0)
            .getAsJsonObject()
            .getAsJsonObject("function")
            .get("name")
            .getAsString());
  }

  // ---- Embeddings and the rest ----

  @Test
  void shouldEmbedTextsAsNumbersAndAsBase64() throws Exception {
    JsonObject numbers =
        ok(post("/v1/embeddings", "{\"input\": [\"a\", \"abc\"], \"model\": \"lengths\"}"));
    JsonArray data = numbers.getAsJsonArray("data");
    assertEquals(2, data.size());
    JsonObject second = data.get(1).getAsJsonObject();
    assertEquals(1, second.get("index").getAsInt());
    assertEquals("[3.25,3.25]", second.get("embedding").toString());
    JsonObject base64 =
        ok(post("/v1/embeddings", "{\"input\": \"a\", \"encoding_format\": \"base64\"}"));
    byte[] bytes =
        Base64.getDecoder()
            .decode(
                base64
                    .getAsJsonArray("data")
                    .get(0)
                    .getAsJsonObject()
                    .get("embedding")
                    .getAsString());
    float[] vector = new float[2];
    ByteBuffer.wrap(bytes).order(ByteOrder.LITTLE_ENDIAN).asFloatBuffer().get(vector);
    assertArrayEquals(new float[] {1.25f, 1.25f}, vector);
    assertEquals("text is bad", error(post("/v1/embeddings", "{\"input\": \"bad\"}"), 400));
    assertTrue(error(post("/v1/embeddings", "{\"input\": \"bug\"}"), 500).contains("broken"));
    assertTrue(error(post("/v1/embeddings", "{\"input\": []}"), 400).contains("input.size=0"));
  }

  @Test
  void shouldEmbedTokensAndShortenVectors() throws Exception {
    server.close();
    Path files = Path.of("src/models/test/resources/golden-models/encoder/bert_st_mean");
    try (TextEmbedder embedder = TextEmbedder.builder(files).refuseTruncation().open()) {
      server = builder().embeddings("bert", EmbeddingSource.of(embedder)).start();
      int[] tokens = embedder.tokenizer().encode("hello world").tokens();
      float[] whole = embedder.embed("hello world");
      String list = Arrays.toString(tokens);
      assertArrayEquals(whole, vector(list, "", 0));
      assertArrayEquals(whole, vector("[" + list + ", " + list + "]", "", 1));
      assertArrayEquals(
          embedder.shortened(whole, 3), vector("\"hello world\"", ", \"dimensions\": 3", 0));
      assertEquals(
          "dimensions must not exceed what the model gives: dimensions=9999, model="
              + embedder.dimension(),
          error(post("/v1/embeddings", "{\"input\": \"a\", \"dimensions\": 9999}"), 400));
      assertTrue(
          error(post("/v1/embeddings", "{\"input\": [1, 99999999]}"), 400).contains("99999999"));
      assertEquals(
          "input must be texts, or arrays of tokens: input=-1",
          error(post("/v1/embeddings", "{\"input\": [[1, -1]]}"), 400));
      assertTrue(
          error(post("/v1/embeddings", "{\"input\": \"" + "word ".repeat(5000) + "\"}"), 400)
              .matches(
                  "input must not exceed the limit, as truncation is refused: tokens=\\d+, limit="
                      + embedder.maxTokens()));
      String longText = "\"" + "word ".repeat(5000) + "\"";
      String slices = "\"" + "a ".repeat(5) + "\", ";
      assertTrue(
          error(
                  post(
                      "/v1/embeddings",
                      "{\"input\": [" + slices.repeat(1500) + longText + ", \"a\"]}"),
                  400)
              .startsWith("input[1500] must not exceed the limit, as truncation is refused: "));
      server.close();
    }
  }

  private float[] vector(String input, String options, int index) throws Exception {
    JsonArray data =
        ok(post("/v1/embeddings", "{\"input\": " + input + options + "}")).getAsJsonArray("data");
    JsonArray numbers = data.get(index).getAsJsonObject().getAsJsonArray("embedding");
    float[] vector = new float[numbers.size()];
    for (int i = 0; i < vector.length; i++) {
      vector[i] = numbers.get(i).getAsFloat();
    }
    return vector;
  }

  @Test
  void shouldListModelsTellItsHealthAndCount() throws Exception {
    assertEquals(
        List.of("scripted", "lengths"),
        ok(get("/v1/models")).getAsJsonArray("data").asList().stream()
            .map(model -> model.getAsJsonObject().get("id").getAsString())
            .toList());
    assertEquals("{\"status\":\"ok\"}", get("/health").body());
    post(CHAT, HELLO + ", \"temperature\": 0}");
    post("/v1/embeddings", "{\"input\": \"a\"}");
    get("/nowhere");
    String metrics = get("/metrics").body();
    assertTrue(metrics.contains("attention4j_generated_tokens_total 30\n"), metrics);
    assertTrue(metrics.contains("attention4j_prompt_tokens_total 6\n"), metrics);
    assertTrue(metrics.contains("attention4j_embedded_tokens_total 1\n"), metrics);
    assertTrue(
        metrics.contains(
            "attention4j_requests_total{path=\"/v1/chat/completions\",status=\"200\"} 1\n"),
        metrics);
    assertTrue(
        metrics.contains("attention4j_requests_total{path=\"other\",status=\"404\"} 1\n"), metrics);
    assertTrue(metrics.contains("# TYPE attention4j_requests_waiting gauge\n"), metrics);
  }

  @Test
  void shouldTellOneModelByItsName() throws Exception {
    assertEquals("scripted", ok(get("/v1/models/scripted")).get("id").getAsString());
    assertEquals("there is no model other", error(get("/v1/models/other"), 404));
  }

  @Test
  void shouldListenOnLoopbackUnlessToldOtherwise() {
    assertTrue(server.address().getAddress().isLoopbackAddress());
    assertTrue(OpenAiServer.builder().address.getAddress().isLoopbackAddress());
  }

  @Test
  void shouldAskForTheKey() throws Exception {
    server.close();
    server = builder().apiKey("secret").start();
    assertEquals(200, get("/health").statusCode());
    assertEquals(401, get("/v1/models").statusCode());
    assertEquals(401, get("/metrics").statusCode());
    assertEquals(401, get("/v1/models", "Authorization", "Bearer secrets").statusCode());
    assertEquals(401, get("/v1/models", "Authorization", "Basic secret").statusCode());
    assertEquals(200, get("/v1/models", "Authorization", "Bearer secret").statusCode());
    assertEquals(401, post(CHAT, HELLO + "}").statusCode());
  }

  // ---- What is refused ----

  @ParameterizedTest
  @CsvSource(
      delimiter = '|',
      quoteCharacter = '`',
      textBlock =
          """
          "n": 2                                    | this server supports only n=1: n=2
          "logprobs": 3                             | logprobs must be true or false: logprobs=3
          "top_logprobs": 3                         | top_logprobs needs logprobs=true: top_logprobs=3
          "logprobs": true, "top_logprobs": 21      | top_logprobs must lie in [0, 20]: top_logprobs=21
          "logit_bias": {"9999": 2}                 | a token must lie in [0, vocabulary): logit_bias.9999, vocabulary=VOCABULARY
          "logit_bias": {"1": "x"}                  | logit_bias.1 must be a number: logit_bias.1="x"
          "logit_bias": [1]                         | logit_bias must be a JSON object
          "min_p": 1                                | min_p must be in [0, 1): min_p=1.0
          "repetition_penalty": 0                   | repetition_penalty must be in [0.1, 10.0]: repetition_penalty=0.0
          "repetition_penalty": 1e-300              | repetition_penalty must be in [0.1, 10.0]: repetition_penalty=1.0E-300
          "frequency_penalty": -1e308               | frequency_penalty must be in [-2.0, 2.0]: frequency_penalty=-1.0E308
          "presence_penalty": 2.5                   | presence_penalty must be in [-2.0, 2.0]: presence_penalty=2.5
          "logit_bias": {"5": 1e308}                | logit_bias.5 must be in [-100.0, 100.0]: logit_bias.5=1.0E308
          "temperature": 1e999                      | temperature must be a number: temperature=1e999
          "modalities": ["audio"]                   | modalities must be ["text"]: modalities=["audio"]
          "parallel_tool_calls": false              | this server supports only parallel_tool_calls=true: parallel_tool_calls=false
          "reasoning_effort": "low"                 | this server does not support the parameter reasoning_effort
          "response_format": {"type": "json_schema", "json_schema": {"name": "a", "schema": {}}} | response_format.type must be text or json_object: response_format.type=json_schema
          "temperature": -1                         | temperature must be at least 0: temperature=-1.0
          "temperature": "hot"                      | temperature must be a number: temperature="hot"
          "top_p": 0                                | top_p must be in (0, 1]: top_p=0.0
          "top_k": -2                               | top_k must be at least -1, which like 0 means all: top_k=-2
          "seed": 1.5                               | seed must be a whole number of at most 64 bits: seed=1.5
          "max_tokens": 0                           | max_tokens must lie in [1, 4096], the limit of this server, or be -1 for that limit: max_tokens=0
          "max_tokens": 5000                        | max_tokens must lie in [1, 4096], the limit of this server, or be -1 for that limit: max_tokens=5000
          "max_completion_tokens": 5000             | max_completion_tokens must lie in [1, 4096], the limit of this server, or be -1 for that limit: max_completion_tokens=5000
          "max_completion_tokens": 2043             | the prompt and max_completion_tokens must fit the context: prompt=6, max_completion_tokens=2043, context=2048
          "max_tokens": 2043                        | the prompt and max_tokens must fit the context: prompt=6, max_tokens=2043, context=2048
          "stop": [""]                              | stop must have at most 16 texts, none of them empty: stop.size=1
          "stop": 7                                 | stop must be a string or an array of strings: stop=7
          "stream": "yes"                           | stream must be true or false: stream="yes"
          "stream_options": {"x": 1}                | this server does not support the parameter stream_options.x
          "response_format": {"type": "xml"}        | response_format.type must be text or json_object: response_format.type=xml
          "tool_choice": "required"                 | tool_choice must be auto or none: tool_choice="required"
          """)
  void shouldRefuseParametersByName(String parameter, String message) throws Exception {
    String wanted = message.replace("VOCABULARY", Integer.toString(model.vocabulary()));
    HttpResponse<String> refused = post(CHAT, HELLO + ", " + parameter + "}");
    assertEquals(wanted, error(refused, 400));
    JsonElement named = json(refused).getAsJsonObject("error").get("param");
    assertTrue(
        parameter.contains('"' + named.getAsString().replaceAll("\\..*", "") + '"'),
        named.toString());
  }

  @Test
  void shouldTakeWhatMeansNoLimit() throws Exception {
    String options = ", \"temperature\": 0, \"max_tokens\": -1, \"top_k\": ";
    for (String topK : List.of("0", "-1")) {
      assertEquals("Good morning, 😀! How are you?", content(HELLO + options + topK + "}"), topK);
    }
  }

  @Test
  void shouldTakeMessagesAsOpenAiReturnsThem() throws Exception {
    String returned =
        "{\"messages\": [{\"role\": \"user\", \"content\": \"x\"}, {\"role\": \"assistant\","
            + " \"content\": \"y\", \"refusal\": null, \"annotations\": [], \"audio\": null,"
            + " \"function_call\": null, \"tool_calls\": []}, {\"role\": \"user\", \"content\":"
            + " \"hello\"}]";
    assertTrue(content(returned + ", \"temperature\": 0}").startsWith("Good"));
    assertEquals(
        "this server supports only messages[1].refusal=: messages[1].refusal=\"no\"",
        error(post(CHAT, returned.replace("\"refusal\": null", "\"refusal\": \"no\"") + "}"), 400));
  }

  @Test
  void shouldAnswerHeadWithoutABody() throws Exception {
    for (String path : List.of("/health", "/v1/models", "/metrics")) {
      HttpResponse<String> head =
          client.send(
              HttpRequest.newBuilder(uri(path)).HEAD().build(),
              HttpResponse.BodyHandlers.ofString());
      assertEquals(200, head.statusCode(), path);
      assertEquals("", head.body());
      assertTrue(head.headers().firstValueAsLong("Content-Length").orElseThrow() > 10, path);
    }
    HttpResponse<String> refused =
        client.send(
            HttpRequest.newBuilder(uri(CHAT)).HEAD().build(), HttpResponse.BodyHandlers.ofString());
    assertEquals(405, refused.statusCode());
    assertEquals("POST", refused.headers().firstValue("Allow").orElseThrow());
  }

  @Test
  void shouldRefuseModelsWithoutNamesOfTheirOwn() {
    assertEquals(
        "the models must have different names: text=same, embeddings=same",
        assertThrows(
                IllegalArgumentException.class,
                () -> builder().chat("same", chat).embeddings("same", this::embed).start())
            .getMessage());
    assertThrows(IllegalArgumentException.class, () -> builder().chat(" ", chat));
    assertThrows(IllegalArgumentException.class, () -> builder().embeddings("", this::embed));
  }

  @Test
  void shouldNameTheAddressOnWhichItCannotListen() {
    OpenAiServer.Builder taken = builder().address(server.address());
    String wanted =
        "cannot listen on %s:%d: Address already in use"
            .formatted(server.address().getHostString(), server.address().getPort());
    assertEquals(wanted, assertThrows(BindException.class, taken::checkAddress).getMessage());
    assertEquals(wanted, assertThrows(BindException.class, taken::start).getMessage());
    OpenAiServer.Builder nowhere =
        builder().address(InetSocketAddress.createUnresolved("no.such.host.invalid", 8080));
    assertEquals(
        "there is no host no.such.host.invalid",
        assertThrows(UnknownHostException.class, nowhere::checkAddress).getMessage());
    assertThrows(UnknownHostException.class, nowhere::start);
  }

  @Test
  void shouldTakeParametersThatChangeNothing() throws Exception {
    ok(
        post(
            CHAT,
            HELLO
                + ", \"user\": \"me\", \"n\": 1, \"logprobs\": false, \"top_logprobs\": 0,"
                + " \"presence_penalty\": 0.0, \"modalities\": [\"text\"], \"metadata\": {\"a\":"
                + " \"b\"}, \"logit_bias\": null, \"tool_choice\": \"none\"}"));
  }

  @Test
  void shouldRefuseBodiesThatAreNone() throws Exception {
    assertEquals("the body is not JSON: it ends too early", error(post(CHAT, "{"), 400));
    assertEquals("the body is not JSON: it ends too early", error(post(CHAT, ""), 400));
    assertEquals(
        "the body is not JSON: error at line 1 column 3", error(post(CHAT, "{'a': 1}"), 400));
    assertTrue(
        error(post(CHAT, HELLO + "} {}"), 400)
            .startsWith("the body is not JSON: error at line 1 column "));
    assertEquals(
        "the body must have a key only once in an object: key=temperature",
        error(post(CHAT, HELLO + ", \"temperature\": 0, \"temperature\": 1}"), 400));
    assertEquals("the body must be a JSON object", error(post(CHAT, "[]"), 400));
    assertEquals("messages is missing", error(post(CHAT, "{}"), 400));
    assertEquals("messages[0].role is missing", error(post(CHAT, "{\"messages\": [{}]}"), 400));
    assertEquals(
        "messages[0].content is missing",
        error(post(CHAT, "{\"messages\": [{\"role\": \"user\"}]}"), 400));
    String deep = "[".repeat(200_000);
    assertTrue(error(post(CHAT, deep), 400).startsWith("the body is not JSON"));
    assertEquals(
        "the model for chats is scripted: model=gpt",
        error(post(CHAT, HELLO + ", \"model\": \"gpt\"}"), 404));
    assertEquals("prompt is missing", error(post("/v1/completions", "{}"), 400));
    assertTrue(
        error(post("/v1/completions", "{\"prompt\": [1, -1]}"), 400).contains("prompt[1]=-1"));
    assertTrue(
        error(post("/v1/completions", "{\"prompt\": \"" + "x".repeat(2048) + "\"}"), 400)
            .contains("prompt=2048, context=2048"));
    HttpRequest plain =
        HttpRequest.newBuilder(uri(CHAT))
            .header("Content-Type", "text/plain")
            .POST(HttpRequest.BodyPublishers.ofString(HELLO + "}"))
            .build();
    assertEquals(
        "Content-Type must be application/json: Content-Type=text/plain",
        error(client.send(plain, HttpResponse.BodyHandlers.ofString()), 415));
    HttpRequest latin =
        HttpRequest.newBuilder(uri(CHAT))
            .header("Content-Type", "application/json")
            .POST(HttpRequest.BodyPublishers.ofByteArray(new byte[] {'"', (byte) 0xff, '"'}))
            .build();
    assertEquals(
        "the body is not UTF-8",
        error(client.send(latin, HttpResponse.BodyHandlers.ofString()), 400));
    assertEquals(405, get(CHAT).statusCode());
    assertEquals(404, get("/v1/nothing").statusCode());
  }

  @Test
  void shouldRefuseALongBodyBeforeReadingIt() throws Exception {
    long length = 100L << 20;
    try (Socket socket = new Socket(server.address().getAddress(), server.address().getPort())) {
      socket
          .getOutputStream()
          .write(
              head("POST", CHAT, "Content-Length: " + length).getBytes(StandardCharsets.US_ASCII));
      String answer = new String(socket.getInputStream().readAllBytes(), StandardCharsets.UTF_8);
      assertTrue(answer.startsWith("HTTP/1.1 413 "), answer);
      assertTrue(answer.contains("at most 4194304 bytes: body=104857600"), answer);
    }
    ok(get("/v1/models"));
  }

  @Test
  void shouldSurvive100MegabytesInChunks() throws Exception {
    try (Socket socket = new Socket(server.address().getAddress(), server.address().getPort())) {
      OutputStream out = socket.getOutputStream();
      out.write(
          head("POST", CHAT, "Transfer-Encoding: chunked").getBytes(StandardCharsets.US_ASCII));
      byte[] chunk = new byte[1 << 20];
      Arrays.fill(chunk, (byte) ' ');
      long sent = 0;
      try {
        for (int i = 0; i < 100; i++) {
          out.write("100000\r\n".getBytes(StandardCharsets.US_ASCII));
          out.write(chunk);
          out.write("\r\n".getBytes(StandardCharsets.US_ASCII));
          sent += chunk.length;
        }
      } catch (IOException e) {
        // The server has closed the connection, which is what it should do.
        assertTrue(sent < 100L << 20, "sent=" + sent);
      }
      assertTrue(sent < 100L << 20, "sent=" + sent);
    }
    ok(get("/v1/models"));
    assertTrue(get("/metrics").body().contains("status=\"413\"} 1"));
  }

  private static String head(String method, String path, String header) {
    return "%s %s HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n%s\r\n\r\n"
        .formatted(method, path, header);
  }

  // ---- Clients that go away, never send, or never read ----

  @Test
  void shouldEndTheTextOfAClientThatGoesAway() throws Exception {
    // The answer has no end.
    String body =
        "{\"prompt\": \"@\", \"stream\": true, \"temperature\": 0, \"max_tokens\": 2000, \"stop\":"
            + " \"!\"}";
    try (Socket socket = new Socket(server.address().getAddress(), server.address().getPort())) {
      socket
          .getOutputStream()
          .write(
              (head("POST", "/v1/completions", "Content-Length: " + body.length()) + body)
                  .getBytes(StandardCharsets.US_ASCII));
      assertTrue(socket.getInputStream().readNBytes(300).length == 300);
      socket.setSoLinger(true, 0);
    }
    for (int i = 0;
        i < 100 && !get("/metrics").body().contains("attention4j_requests_running 0\n");
        i++) {
      Thread.sleep(50);
    }
    assertTrue(get("/metrics").body().contains("attention4j_requests_running 0\n"));
    ok(post(CHAT, HELLO + ", \"temperature\": 0}"));
  }

  @Test
  void shouldCloseConnectionsOfClientsThatNeverRead() throws Exception {
    List<Socket> sockets = new ArrayList<>();
    String body = "{\"input\": [\"large\", \"large\", \"large\"], \"encoding_format\": \"base64\"}";
    try {
      for (int i = 0; i < 3; i++) {
        Socket socket = new Socket();
        socket.setReceiveBufferSize(4096);
        socket.connect(server.address());
        sockets.add(socket);
        socket
            .getOutputStream()
            .write(
                (head("POST", "/v1/embeddings", "Content-Length: " + body.length()) + body)
                    .getBytes(StandardCharsets.US_ASCII));
      }
      // Others are served meanwhile.
      ok(post(CHAT, HELLO + ", \"temperature\": 0}"));
      String lost = "path=\"/v1/embeddings\"";
      for (int i = 0;
          i < 300 && !get("/metrics").body().contains(lost + ",status=\"200\"} 3");
          i++) {
        Thread.sleep(100);
      }
      assertTrue(get("/metrics").body().contains(lost + ",status=\"200\"} 3"));
      for (Socket socket : sockets) {
        long read = 0;
        try {
          InputStream in = socket.getInputStream();
          byte[] buffer = new byte[1 << 16];
          for (int n = in.read(buffer); n > 0; n = in.read(buffer)) {
            read += n;
          }
        } catch (IOException e) {
          // Reset by the server: closed as well.
          assertTrue(read < 16L * LARGE);
        }
        assertTrue(read < 16L * LARGE, "read=" + read);
      }
    } finally {
      for (Socket socket : sockets) {
        socket.close();
      }
    }
  }

  @Test
  void shouldCloseConnectionsThatNeverSendTheirRequest() throws Exception {
    try (Socket socket = new Socket(server.address().getAddress(), server.address().getPort())) {
      socket.getOutputStream().write("POST /v1/chat".getBytes(StandardCharsets.US_ASCII));
      socket.setSoTimeout(30_000);
      int end;
      try {
        end = socket.getInputStream().read();
      } catch (java.net.SocketException e) {
        end = -1;
      }
      assertEquals(-1, end);
    }
  }

  @Test
  void shouldRefuseWhatHasNoPlaceInTheQueue() throws Exception {
    server.close();
    embedding = new CountDownLatch(1);
    server = builder().parallel(1).queue(1).start();
    try (var threads = Executors.newVirtualThreadPerTaskExecutor()) {
      List<Future<HttpResponse<String>>> answers = new ArrayList<>();
      for (int i = 0; i < 2; i++) {
        answers.add(threads.submit(() -> post("/v1/embeddings", "{\"input\": \"wait\"}")));
        String waiting = "attention4j_requests_waiting " + i + "\n";
        for (int n = 0;
            n < 200
                && !(get("/metrics").body().contains(waiting)
                    && get("/metrics").body().contains("running 1\n"));
            n++) {
          Thread.sleep(20);
        }
      }
      HttpResponse<String> refused = post("/v1/embeddings", "{\"input\": \"wait\"}");
      assertEquals("too many requests: computed=1, waiting=1", error(refused, 503));
      assertEquals("1", refused.headers().firstValue("Retry-After").orElseThrow());
      // Embeddings keep no texts from being generated.
      ok(post(CHAT, HELLO + "}"));
      embedding.countDown();
      for (Future<HttpResponse<String>> answer : answers) {
        assertEquals(200, answer.get().statusCode());
      }
    } finally {
      embedding.countDown();
    }
  }

  @Test
  void shouldEndTextsAtTheTimeLimit() throws Exception {
    server.close();
    server = builder().maxTime(Duration.ofNanos(1)).start();
    assertTrue(error(post(CHAT, HELLO + "}"), 503).startsWith("the request was not begun"));
  }

  @Test
  void shouldRefuseOptionsThatMakeNoSense() {
    OpenAiServer.Builder options = OpenAiServer.builder();
    assertThrows(IllegalArgumentException.class, () -> options.maxBodyBytes(0));
    assertThrows(IllegalArgumentException.class, () -> options.maxTokens(0));
    assertThrows(IllegalArgumentException.class, () -> options.maxTime(Duration.ZERO));
    assertThrows(IllegalArgumentException.class, () -> options.parallel(0));
    assertThrows(IllegalArgumentException.class, () -> options.parallel(1025));
    assertThrows(IllegalArgumentException.class, () -> options.cacheTokens(0));
    assertThrows(IllegalArgumentException.class, () -> options.promptPart(0));
    assertThrows(IllegalArgumentException.class, () -> options.queue(-1));
    assertEquals(
        "queue must be at most 1048576: queue=2147483647",
        assertThrows(IllegalArgumentException.class, () -> options.queue(Integer.MAX_VALUE))
            .getMessage());
    assertThrows(IllegalArgumentException.class, () -> options.apiKey(" "));
    assertThrows(IllegalArgumentException.class, () -> options.port(70_000));
    IllegalArgumentException empty =
        assertThrows(IllegalArgumentException.class, () -> OpenAiServer.builder().start());
    assertEquals("a server must have at least 1 model: models=0", empty.getMessage());
  }
}
