package io.github.attention4j.models.server;

import com.google.gson.JsonElement;
import com.sun.net.httpserver.HttpExchange;
import com.sun.net.httpserver.HttpServer;
import io.github.attention4j.models.Scheduler;
import io.github.attention4j.models.text.Chat;
import io.github.attention4j.models.text.TextGenerator;
import java.io.IOException;
import java.io.OutputStream;
import java.net.BindException;
import java.net.InetAddress;
import java.net.InetSocketAddress;
import java.net.ServerSocket;
import java.net.UnknownHostException;
import java.nio.ByteBuffer;
import java.nio.charset.CharacterCodingException;
import java.nio.charset.StandardCharsets;
import java.security.MessageDigest;
import java.time.Duration;
import java.util.Map;
import java.util.Objects;
import java.util.concurrent.ExecutorService;
import java.util.concurrent.Executors;
import java.util.concurrent.Semaphore;

/**
 * Serves a language model, an embedding model, or both over HTTP with OpenAI's API, so that its
 * clients work.
 *
 * <pre>{@code
 * try (OpenAiServer server =
 *     OpenAiServer.builder().chat("llama", chat).embeddings("minilm", embeddings).start()) {
 *   System.out.println(server.address());
 *   …
 * }
 * }</pre>
 *
 * <table>
 * <caption>Paths</caption>
 * <tr><td>POST /v1/chat/completions</td><td>an answer, streamed if {@code "stream": true}</td></tr>
 * <tr><td>POST /v1/completions</td><td>the continuation of a text, likewise</td></tr>
 * <tr><td>POST /v1/embeddings</td><td>vectors, as numbers or base64</td></tr>
 * <tr><td>GET /v1/models</td><td>the models by name; {@code /v1/models/NAME} is one</td></tr>
 * <tr><td>GET /health</td><td>{@code {"status":"ok"}}; needs no key</td></tr>
 * <tr><td>GET /metrics</td><td>counters in Prometheus's text format</td></tr>
 * </table>
 *
 * <p>HEAD works wherever GET does.
 *
 * <p><b>Parameters.</b> For both kinds of completions: {@code model}, {@code max_tokens} (and
 * {@code max_completion_tokens}; −1 is this server's limit), {@code temperature}, {@code top_p},
 * {@code presence_penalty} and {@code frequency_penalty} (from −2 to 2), {@code logit_bias} (from
 * −100 to 100), {@code seed} (default: random), {@code stop} (beside the model's own stop texts),
 * {@code logprobs}, {@code stream}, {@code stream_options.include_usage}, {@code response_format}
 * of type {@code text} or {@code json_object}, which lets the model write only a JSON object; and
 * three that are not OpenAI's: {@code top_k} (0 and −1 keep all), {@code min_p} and {@code
 * repetition_penalty} (from 0.1 to 10). For chats also {@code messages}, {@code top_logprobs},
 * {@code tools}, {@code tool_choice} {@code auto} or {@code none}, and {@code
 * chat_template_kwargs}, variables of the chat template such as {@code {"enable_thinking": false}},
 * which is not OpenAI's either. For embeddings: {@code model}, {@code input} (a text or several, or
 * as tokens of the model, special ones included), {@code encoding_format} and {@code dimensions}.
 *
 * <p>What a request leaves open is as the model's files say, and temperature 1 if they draw no
 * tokens.
 *
 * <p>Ignored, because they do not change results: {@code user}, {@code metadata}, {@code store},
 * {@code service_tier}, {@code safety_identifier}, {@code prompt_cache_key}.
 *
 * <p>Refused by name with status 400, unless the value changes nothing, such as {@code "n": 1}:
 * {@code n} and {@code best_of} above 1, {@code echo}, {@code suffix}, {@code response_format} of
 * type {@code json_schema}, {@code strict} tools, {@code tool_choice} {@code required} or of one
 * tool, {@code parallel_tool_calls} false, content other than text, several prompts, and everything
 * that is not named here. A body with a key twice in one object is refused, too.
 *
 * <p><b>Sharing.</b> Texts that are generated at the same time advance together ({@link
 * Scheduler}): the weights are read once for the next token of all of them, and a long prompt is
 * read in parts between those steps. A text does not depend on the others.
 *
 * <p><b>Limits.</b> A body that is too long gets status 413; a request for more tokens than
 * allowed, or with a prompt longer than the context, 400; a request when its queue is full, 503.
 * Texts and embeddings wait in queues of their own, so neither keeps out the other; of embeddings a
 * quarter as many are computed at once, as each of them already uses all cores. A text whose time
 * is up ends with {@code "finish_reason": "length"}. A request whose time is up before its first
 * token gets 503, in streams an error event, as do embeddings whose time is up.
 *
 * <p><b>Clients that go away.</b> Twice a second, an empty comment in a stream shows whether the
 * client is still there. An answer in one piece starts with its status, so the server can write
 * nothing until it knows that; still, an answer that is computed for more than 2 seconds begins
 * with status 200 and spaces, which JSON allows before the object. What the server no longer has a
 * client for is dropped within a second or two. An error after such a beginning is written as usual
 * (as {@code {"error": …}}), but then the connection is closed without ending the answer, which
 * clients report as an incomplete answer. While a request waits, nothing is written, so that it can
 * be refused with its own status; that its client is gone shows when it begins.
 *
 * <p><b>Slow clients.</b> Bodies are read without taking a place in a queue; those that are being
 * read may together take 64 MiB, or 4 times the longest body if that is more. JDK's server closes a
 * connection whose request takes longer than 30 seconds to arrive, or whose answer takes 30 seconds
 * longer than the time limit; the first server of a process decides this through the system
 * properties {@code sun.net.httpserver.maxReqTime} and {@code maxRspTime}, unless they are set
 * already.
 *
 * <p><b>Access.</b> By default the server listens only on the loopback interface, without
 * encryption: to let others reach it, put a proxy in front. Bodies must be of type {@code
 * application/json}, which keeps web pages of other origins from calling it.
 */
public final class OpenAiServer implements AutoCloseable {
  private static final System.Logger LOG = System.getLogger(OpenAiServer.class.getName());

  private static final Duration GRACE = Duration.ofSeconds(30);

  /** How long answers that have ended may take to be written while the server is closed. */
  private static final int LAST_WRITES_SECONDS = 2;

  /** Requests that may be parsed or refused while the queues are full. */
  private static final int DOORWAY = 64;

  private static final int MOST_WAITING = 1 << 20;

  /**
   * Texts are computed together, while embeddings that are computed at once only share the cores,
   * so fewer of them are.
   */
  private static final int TEXTS_PER_EMBEDDING = 4;

  /** The path before the name of a model. */
  private static final String MODEL = "/v1/models/";

  private static final Map<String, String> METHODS =
      Map.of(
          "/v1/chat/completions", "POST",
          "/v1/completions", "POST",
          "/v1/embeddings", "POST",
          "/v1/models", "GET",
          "/health", "GET",
          "/metrics", "GET");

  private final HttpServer http;
  private final ExecutorService handlers;
  private final Workers texts;
  private final Workers embeddings;

  /** Null if there is no language model. */
  private final Scheduler scheduler;

  private final Semaphore door;
  private final Endpoints endpoints;
  private final Metrics metrics;
  private final Bodies bodies;
  private final long maxBodyBytes;
  private final byte[] key;

  /** Takes no more requests. */
  private volatile boolean closing;

  /** Ends those that are computed. */
  private volatile boolean ending;

  private OpenAiServer(Builder builder) throws IOException {
    maxBodyBytes = builder.maxBodyBytes;
    key = builder.apiKey == null ? null : builder.apiKey.getBytes(StandardCharsets.UTF_8);
    bodies = new Bodies(builder.maxBodyBytes);
    int embedders = Math.ceilDiv(builder.parallel, TEXTS_PER_EMBEDDING);
    texts = new Workers("texts", builder.parallel, builder.queue);
    embeddings = new Workers("embeddings", embedders, builder.queue);
    door = new Semaphore(builder.parallel + embedders + 2 * builder.queue + DOORWAY);
    scheduler = builder.generator == null ? null : builder.scheduler();
    metrics =
        new Metrics(
            () -> texts.running() + embeddings.running(),
            () -> texts.waiting() + embeddings.waiting());
    endpoints = new Endpoints(builder, scheduler, metrics, texts, embeddings, () -> ending);
    setIfAbsent("sun.net.httpserver.maxReqTime", GRACE);
    setIfAbsent("sun.net.httpserver.maxRspTime", builder.maxTime.plus(GRACE));
    http = listen(builder.address);
    handlers = Executors.newVirtualThreadPerTaskExecutor();
    http.setExecutor(handlers);
    http.createContext("/", this::handle);
    http.start();
  }

  private HttpServer listen(InetSocketAddress address) throws IOException {
    try {
      requireResolved(address);
      return HttpServer.create(address, 0);
    } catch (BindException e) {
      stopWorkers();
      throw named(e, address);
    } catch (IOException | RuntimeException e) {
      stopWorkers();
      throw e;
    }
  }

  private void stopWorkers() {
    texts.refuse();
    embeddings.refuse();
    if (scheduler != null) {
      scheduler.close();
    }
  }

  private static void requireResolved(InetSocketAddress address) throws UnknownHostException {
    if (address.isUnresolved()) {
      throw new UnknownHostException("there is no host " + address.getHostString());
    }
  }

  private static BindException named(BindException e, InetSocketAddress address) {
    BindException named =
        new BindException(
            "cannot listen on %s:%d: %s"
                .formatted(address.getHostString(), address.getPort(), e.getMessage()));
    named.initCause(e);
    return named;
  }

  private static void setIfAbsent(String property, Duration seconds) {
    if (System.getProperty(property) == null) {
      System.setProperty(property, Long.toString(seconds.toSeconds()));
    }
  }

  /**
   * Starts with no models, on the loopback interface, port 8080.
   *
   * @return a builder
   */
  public static Builder builder() {
    return new Builder();
  }

  /**
   * Returns the address on which the server listens.
   *
   * @return host and port
   */
  public InetSocketAddress address() {
    return http.getAddress();
  }

  /**
   * Ends the requests that are being computed, with an error, stops listening, and waits for their
   * threads.
   */
  @Override
  public void close() {
    close(Duration.ZERO);
  }

  /**
   * Closes in an orderly way: new requests and those that wait get status 503 at once, those that
   * are being computed may finish, and what is left of them then gets an error, in streams as an
   * event. Stops listening at the end, and waits for all threads.
   *
   * @param patience how long requests may finish
   */
  public void close(Duration patience) {
    closing = true;
    texts.refuse();
    embeddings.refuse();
    boolean interrupted = !await(patience);
    ending = true;
    texts.interrupt();
    embeddings.interrupt();
    while (!await(Duration.ofNanos(Long.MAX_VALUE))) {
      interrupted = true;
    }
    http.stop(LAST_WRITES_SECONDS);
    handlers.shutdownNow();
    if (scheduler != null) {
      scheduler.close();
    }
    if (interrupted) {
      Thread.currentThread().interrupt();
    }
  }

  /** Waits until the computing threads have ended or the time is up; false if interrupted. */
  private boolean await(Duration time) {
    long end = System.nanoTime() + time.toNanos();
    try {
      texts.await(end - System.nanoTime());
      embeddings.await(end - System.nanoTime());
      return true;
    } catch (InterruptedException e) {
      return false;
    }
  }

  private void handle(HttpExchange exchange) throws IOException {
    String path = exchange.getRequestURI().getPath();
    String known = known(path);
    Answer answer = new Answer(exchange);
    boolean broken = false;
    try {
      try {
        respond(exchange, path, answer);
      } catch (HttpError e) {
        answer.error(e);
      } catch (RuntimeException | OutOfMemoryError e) {
        LOG.log(System.Logger.Level.ERROR, "answering " + known + " failed", e);
        answer.error(
            new HttpError(500, "server_error", null, "internal_error", "the server failed: " + e));
      }
      broken = answer.broken;
    } catch (IOException e) {
      LOG.log(System.Logger.Level.DEBUG, "the client of " + known + " went away", e);
      broken = true;
    } finally {
      metrics.request(known, answer.status);
      if (!broken) {
        exchange.close();
      }
    }
    if (broken) {
      // Makes the JDK's server close the connection without ending the answer.
      throw new IOException("the answer is incomplete");
    }
  }

  private static String known(String path) {
    return METHODS.containsKey(path) ? path : path.startsWith(MODEL) ? MODEL : "other";
  }

  private void respond(HttpExchange exchange, String path, Answer answer) throws IOException {
    String method = path.startsWith(MODEL) ? "GET" : METHODS.get(path);
    if (method == null) {
      throw new HttpError(
          404, "invalid_request_error", null, "not_found", "there is no path " + path);
    }
    boolean head = method.equals("GET") && answer.headOnly;
    if (!head && !method.equals(exchange.getRequestMethod())) {
      exchange.getResponseHeaders().set("Allow", method.equals("GET") ? "GET, HEAD" : method);
      throw new HttpError(
          405,
          "invalid_request_error",
          null,
          "method_not_allowed",
          path + " takes " + method + ", not " + exchange.getRequestMethod());
    }
    if (closing && !path.equals("/metrics")) {
      exchange.getResponseHeaders().set("Connection", "close");
      throw HttpError.shuttingDown();
    }
    if (path.equals("/health")) {
      answer.send("application/json", "{\"status\":\"ok\"}");
      return;
    }
    authenticate(exchange);
    switch (known(path)) {
      case MODEL -> answer.json(endpoints.model(path.substring(MODEL.length())));
      case "/metrics" -> answer.send("text/plain; version=0.0.4", metrics.render());
      case "/v1/models" -> answer.json(endpoints.models());
      default -> {
        String body = body(exchange);
        if (!door.tryAcquire()) {
          throw HttpError.busy("too many requests at once");
        }
        try {
          endpoints.post(path, Parameters.parse(body), answer);
        } finally {
          door.release();
        }
      }
    }
  }

  private void authenticate(HttpExchange exchange) {
    if (key == null) {
      return;
    }
    String given = exchange.getRequestHeaders().getFirst("Authorization");
    boolean bearer = given != null && given.regionMatches(true, 0, "Bearer ", 0, 7);
    byte[] token =
        bearer ? given.substring(7).strip().getBytes(StandardCharsets.UTF_8) : new byte[0];
    if (!MessageDigest.isEqual(token, key)) {
      exchange.getResponseHeaders().set("WWW-Authenticate", "Bearer");
      throw new HttpError(
          401,
          "invalid_request_error",
          null,
          "invalid_api_key",
          bearer ? "the API key is wrong" : "an API key is needed: Authorization: Bearer KEY");
    }
  }

  private String body(HttpExchange exchange) throws IOException {
    String type = exchange.getRequestHeaders().getFirst("Content-Type");
    if (type == null || !type.split(";", 2)[0].strip().equalsIgnoreCase("application/json")) {
      throw new HttpError(
          415,
          "invalid_request_error",
          null,
          "unsupported_media_type",
          "Content-Type must be application/json: Content-Type=" + type);
    }
    String length = exchange.getRequestHeaders().getFirst("Content-Length");
    if (length != null && Long.parseLong(length) > maxBodyBytes) {
      throw tooLong(exchange, length);
    }
    byte[] bytes = bodies.read(exchange.getRequestBody());
    if (bytes.length > maxBodyBytes) {
      throw tooLong(exchange, "more than " + maxBodyBytes);
    }
    try {
      return StandardCharsets.UTF_8.newDecoder().decode(ByteBuffer.wrap(bytes)).toString();
    } catch (CharacterCodingException e) {
      throw HttpError.invalid(null, "the body is not UTF-8");
    }
  }

  private HttpError tooLong(HttpExchange exchange, String length) {
    exchange.getResponseHeaders().set("Connection", "close");
    return new HttpError(
        413,
        "invalid_request_error",
        null,
        "body_too_long",
        "the body must have at most %d bytes: body=%s".formatted(maxBodyBytes, length));
  }

  /** The response of an exchange. */
  static final class Answer {
    private final HttpExchange exchange;

    /**
     * The status in the metrics: 499 until an answer begins, which is nginx's status for lost
     * clients.
     */
    private int status = 499;

    private OutputStream stream;

    /** The request is for the headers alone. */
    private final boolean headOnly;

    /** The stream is of events, rather than of one JSON text. */
    private boolean events;

    /** The answer must not look complete. */
    private boolean broken;

    Answer(HttpExchange exchange) {
      this.exchange = exchange;
      headOnly = exchange.getRequestMethod().equals("HEAD");
    }

    void json(JsonElement body) throws IOException {
      send("application/json", body.toString());
    }

    void send(String type, String body) throws IOException {
      if (stream != null) {
        write(body);
      } else {
        send(200, type, body);
      }
    }

    private void send(int code, String type, String body) throws IOException {
      byte[] bytes = body.getBytes(StandardCharsets.UTF_8);
      exchange.getResponseHeaders().set("Content-Type", type);
      status = code;
      if (headOnly) {
        exchange.getResponseHeaders().set("Content-Length", Integer.toString(bytes.length));
        exchange.sendResponseHeaders(code, -1);
        return;
      }
      exchange.sendResponseHeaders(code, bytes.length);
      OutputStream out = exchange.getResponseBody();
      out.write(bytes);
      // Closing the exchange would first wait for whatever the client still sends.
      out.flush();
    }

    private void begin(String type) throws IOException {
      exchange.getResponseHeaders().set("Content-Type", type);
      exchange.sendResponseHeaders(200, 0);
      status = 200;
      stream = exchange.getResponseBody();
    }

    /** Starts a stream of server-sent events. */
    void begin() throws IOException {
      exchange.getResponseHeaders().set("Cache-Control", "no-cache");
      events = true;
      begin("text/event-stream");
    }

    void event(String data) throws IOException {
      write("data: " + data + "\n\n");
    }

    /**
     * Keeps the connection alive, and fails if the client is gone: the first write after it has
     * closed the connection may still succeed, the second does not. In JSON, spaces come first;
     * this fixes the status.
     */
    void probe() throws IOException {
      try {
        if (stream == null) {
          begin("application/json");
        }
        write(events ? ": waiting\n\n" : " ");
      } catch (IOException e) {
        status = 499;
        throw e;
      }
    }

    private void write(String text) throws IOException {
      stream.write(text.getBytes(StandardCharsets.UTF_8));
      stream.flush();
    }

    void error(HttpError error) throws IOException {
      if (events) {
        event(error.json().toString());
        return;
      }
      if (stream != null) {
        status = error.status();
        write(error.json().toString());
        broken = true;
        return;
      }
      if (error.status() == 503) {
        exchange.getResponseHeaders().set("Retry-After", "1");
      }
      send(error.status(), "application/json", error.json().toString());
    }
  }

  /** Collects the options of a server. Not safe for use by several threads. */
  public static final class Builder {
    InetSocketAddress address = new InetSocketAddress(InetAddress.getLoopbackAddress(), 8080);
    String chatName;
    Chat chat;
    TextGenerator generator;
    String embeddingsName;
    EmbeddingSource embeddings;
    String apiKey;
    int maxBodyBytes = 4 << 20;
    int maxTokens = 4096;
    Duration maxTime = Duration.ofMinutes(5);
    int parallel = 8;
    int promptPart;
    int cacheTokens;
    int queue = 32;

    /** Answers that take less time have a length and a status that tells of all errors. */
    Duration quiet = Duration.ofSeconds(2);

    /** How often a client that waits is probed. */
    Duration probe = Duration.ofMillis(500);

    private Builder() {}

    /** Shortens what would make tests long. */
    Builder patience(Duration quiet, Duration probe) {
      this.quiet = quiet;
      this.probe = probe;
      return this;
    }

    /**
     * Adds a model for chats and completions.
     *
     * @param name what clients call the model
     * @param chat the model
     * @return this builder
     * @throws IllegalArgumentException if the name is blank
     */
    public Builder chat(String name, Chat chat) {
      completions(name, chat.generator());
      this.chat = chat;
      return this;
    }

    /**
     * Adds a model without a chat format, for completions only. A server has one language model:
     * the last that is added.
     *
     * @param name what clients call the model
     * @param generator the model
     * @return this builder
     * @throws IllegalArgumentException if the name is blank
     */
    public Builder completions(String name, TextGenerator generator) {
      this.chatName = checked(name);
      this.chat = null;
      this.generator = Objects.requireNonNull(generator, "generator");
      return this;
    }

    private static String checked(String name) {
      if (name.isBlank()) {
        throw new IllegalArgumentException("the name of a model must not be blank: name=" + name);
      }
      return name;
    }

    /**
     * Adds a model for embeddings.
     *
     * @param name what clients call the model
     * @param embeddings the model
     * @return this builder
     * @throws IllegalArgumentException if the name is blank
     */
    public Builder embeddings(String name, EmbeddingSource embeddings) {
      this.embeddingsName = checked(name);
      this.embeddings = Objects.requireNonNull(embeddings, "embeddings");
      return this;
    }

    /**
     * Sets the address on which to listen.
     *
     * @param address host and port; port 0 selects a free one
     * @return this builder
     */
    public Builder address(InetSocketAddress address) {
      this.address = Objects.requireNonNull(address, "address");
      return this;
    }

    /**
     * Sets the port, on the loopback interface.
     *
     * @param port from 0, which selects a free one, to 65535
     * @return this builder
     * @throws IllegalArgumentException if there is no such port
     */
    public Builder port(int port) {
      return address(new InetSocketAddress(InetAddress.getLoopbackAddress(), port));
    }

    /**
     * Requires a key in every request except those for {@code /health}.
     *
     * @param apiKey not empty
     * @return this builder
     * @throws IllegalArgumentException if it is blank
     */
    public Builder apiKey(String apiKey) {
      if (apiKey.isBlank()) {
        throw new IllegalArgumentException("apiKey must not be blank");
      }
      this.apiKey = apiKey.strip();
      return this;
    }

    /**
     * Limits the body of a request.
     *
     * @param maxBodyBytes at least 1; 4 MiB by default
     * @return this builder
     * @throws IllegalArgumentException if it is less than 1
     */
    public Builder maxBodyBytes(int maxBodyBytes) {
      // Reads one byte more, to recognise a body that is too long.
      this.maxBodyBytes = Math.min(atLeast(1, maxBodyBytes, "maxBodyBytes"), Integer.MAX_VALUE - 9);
      return this;
    }

    /**
     * Limits the new tokens of a request.
     *
     * @param maxTokens at least 1; 4096 by default
     * @return this builder
     * @throws IllegalArgumentException if it is less than 1
     */
    public Builder maxTokens(int maxTokens) {
      this.maxTokens = atLeast(1, maxTokens, "maxTokens");
      return this;
    }

    /**
     * Limits the time of a request, including the time in the queue.
     *
     * @param maxTime longer than 0; 5 minutes by default
     * @return this builder
     * @throws IllegalArgumentException if it is not longer than 0
     */
    public Builder maxTime(Duration maxTime) {
      if (!maxTime.isPositive()) {
        throw new IllegalArgumentException("maxTime must be longer than 0: maxTime=" + maxTime);
      }
      this.maxTime = maxTime;
      return this;
    }

    /**
     * Sets how many texts are computed at once; others wait. Of embeddings, a quarter as many are.
     *
     * @param parallel from 1 to 1024; 8 by default
     * @return this builder
     * @throws IllegalArgumentException if it is out of range
     */
    public Builder parallel(int parallel) {
      if (parallel > 1024) {
        throw new IllegalArgumentException("parallel must be at most 1024: parallel=" + parallel);
      }
      this.parallel = atLeast(1, parallel, "parallel");
      return this;
    }

    /**
     * Limits the tokens of all running texts, prompts and answers together.
     *
     * @param cacheTokens as for {@link Scheduler.Builder#tokens}, with the same default
     * @return this builder
     * @throws IllegalArgumentException if it is less than 1
     */
    public Builder cacheTokens(int cacheTokens) {
      this.cacheTokens = atLeast(1, cacheTokens, "cacheTokens");
      return this;
    }

    /**
     * Sets the length of the parts in which prompts are read.
     *
     * @param promptPart as for {@link Scheduler.Builder#promptPart}
     * @return this builder
     * @throws IllegalArgumentException if it is less than 1
     */
    public Builder promptPart(int promptPart) {
      this.promptPart = atLeast(1, promptPart, "promptPart");
      return this;
    }

    private Scheduler scheduler() {
      Scheduler.Builder scheduler = Scheduler.builder(generator.model()).sessions(parallel);
      if (cacheTokens > 0) {
        scheduler.tokens(cacheTokens);
      }
      if (promptPart > 0) {
        scheduler.promptPart(promptPart);
      }
      return scheduler.start();
    }

    /**
     * Sets how many requests may wait for each model.
     *
     * @param queue at least 0 and at most 1,048,576; 32 by default
     * @return this builder
     * @throws IllegalArgumentException if it is negative or more
     */
    public Builder queue(int queue) {
      if (queue > MOST_WAITING) {
        throw new IllegalArgumentException(
            "queue must be at most " + MOST_WAITING + ": queue=" + queue);
      }
      this.queue = atLeast(0, queue, "queue");
      return this;
    }

    private static int atLeast(int least, int value, String name) {
      if (value < least) {
        throw new IllegalArgumentException(
            "%s must be at least %d: %s=%d".formatted(name, least, name, value));
      }
      return value;
    }

    /**
     * Checks that the server could listen on its address now, for example before a model is opened
     * that takes long.
     *
     * @return this builder
     * @throws IOException if it cannot, as from {@link #start}
     */
    public Builder checkAddress() throws IOException {
      requireResolved(address);
      try (ServerSocket socket = new ServerSocket()) {
        socket.bind(address);
      } catch (BindException e) {
        throw OpenAiServer.named(e, address);
      }
      return this;
    }

    /**
     * Starts the server.
     *
     * @return the running server, to be closed
     * @throws IOException if it cannot listen on the address
     * @throws IllegalArgumentException if there is no model, or two have the same name
     */
    public OpenAiServer start() throws IOException {
      if (generator == null && embeddings == null) {
        throw new IllegalArgumentException("a server must have at least 1 model: models=0");
      }
      if (generator != null && embeddings != null && chatName.equals(embeddingsName)) {
        throw new IllegalArgumentException(
            "the models must have different names: text=%s, embeddings=%s"
                .formatted(chatName, embeddingsName));
      }
      return new OpenAiServer(this);
    }
  }
}
