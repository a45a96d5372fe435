package io.github.attention4j.models.cli;

import io.github.attention4j.models.TextEmbedder;
import io.github.attention4j.models.server.EmbeddingSource;
import io.github.attention4j.models.server.OpenAiServer;
import io.github.attention4j.models.text.Chat;
import java.io.IOException;
import java.net.InetSocketAddress;
import java.nio.file.Path;
import java.time.Duration;
import java.util.concurrent.CountDownLatch;

/** {@code serve}: OpenAI's API over HTTP. */
final class Serve {
  private static final int PORT = 8080;
  private static final int MOST_PORT = 65_535;

  /** How long requests may finish when a server is ended. */
  private static final Duration PATIENCE = Duration.ofSeconds(5);

  private final Console console;

  Serve(Console console) {
    this.console = console;
  }

  /** Runs the command. */
  void run(Arguments words) throws IOException, InterruptedException {
    Path path = Path.of(words.required(0, "a MODEL"));
    OpenAiServer.Builder server = OpenAiServer.builder();
    String host = words.text("--host");
    Integer port = words.integer("--port");
    if (port != null && (port < 0 || port > MOST_PORT)) {
      throw new UsageException("--port must lie in [0, %d]: --port=%d".formatted(MOST_PORT, port));
    }
    server.address(
        new InetSocketAddress(host == null ? "127.0.0.1" : host, port == null ? PORT : port));
    String given = words.text("--api-key");
    String key = given == null ? System.getenv("ATTENTION4J_API_KEY") : given;
    if (key != null) {
      server.apiKey(key);
    }
    limits(words, server);
    String name = words.text("--name");
    String embeddings = words.text("--embeddings");
    boolean truncate = words.flag("--truncate");
    words.done(1);
    boolean decoder = Kind.of(path) == Kind.DECODER;
    Path embedding = embeddings == null ? (decoder ? null : path) : Path.of(embeddings);
    if (!decoder && embeddings != null) {
      throw new UsageException("--embeddings goes with a language model, and " + path + " is none");
    }
    if (embedding != null && Kind.of(embedding) != Kind.EMBEDDER) {
      throw new IllegalArgumentException(
          "%s must be an embedding model to serve embeddings: it is a %s"
              .formatted(
                  embedding,
                  Kind.of(embedding) == Kind.DECODER
                      ? "language model"
                      : "reranker or classifier"));
    }
    String own = name == null ? fileName(path) : name;
    if (own.isBlank()) {
      throw new UsageException("--name must not be blank: --name=" + own);
    }
    if (decoder && embedding != null && own.equals(fileName(embedding))) {
      throw new UsageException(
          "the models must have different names, which --name gives: %s and %s are both %s"
              .formatted(path, embedding, own));
    }
    server.checkAddress();
    try (Chat chat = decoder ? Chat.open(path) : null;
        TextEmbedder embedder = embedding == null ? null : embedder(embedding, truncate)) {
      if (chat != null && chat.isConversational()) {
        server.chat(own, chat);
      } else if (chat != null) {
        server.completions(own, chat.generator());
      }
      if (embedder != null) {
        String itsName = decoder ? fileName(embedding) : own;
        server.embeddings(itsName, EmbeddingSource.of(embedder));
        console
            .err()
            .println(
                "%s embeds: %s%s"
                    .formatted(
                        itsName, embedder.describe(), truncate ? ", longer texts are cut" : ""));
      }
      try (OpenAiServer started = server.start()) {
        console
            .err()
            .printf(
                "serving %s at http://%s:%d/v1 (Ctrl-C ends)%n",
                own, started.address().getHostString(), started.address().getPort());
        console.err().flush();
        serveUntilEnded(started);
      }
    }
  }

  private static TextEmbedder embedder(Path path, boolean truncate) throws IOException {
    TextEmbedder.Builder builder = TextEmbedder.builder(path);
    return truncate ? builder.open() : builder.refuseTruncation().open();
  }

  private static void limits(Arguments words, OpenAiServer.Builder server) {
    Integer maxTokens = words.integer("--max-tokens");
    if (maxTokens != null) {
      server.maxTokens(maxTokens);
    }
    if (words.text("--max-time") != null) {
      server.maxTime(words.seconds("--max-time"));
    }
    Integer maxBody = words.integer("--max-body");
    if (maxBody != null) {
      server.maxBodyBytes(maxBody);
    }
    Integer parallel = words.integer("--parallel");
    if (parallel != null) {
      server.parallel(parallel);
    }
    Integer queue = words.integer("--queue");
    if (queue != null) {
      server.queue(queue);
    }
    Integer cacheTokens = words.integer("--cache-tokens");
    if (cacheTokens != null) {
      server.cacheTokens(cacheTokens);
    }
  }

  private static String fileName(Path path) {
    return path.toAbsolutePath().normalize().getFileName().toString();
  }

  /** Serves until the program is ended, and then lets requests finish for a few seconds. */
  private static void serveUntilEnded(OpenAiServer server) throws InterruptedException {
    Thread end =
        new Thread(
            () -> {
              Thread closing = Thread.ofPlatform().daemon().start(() -> server.close(PATIENCE));
              try {
                closing.join(PATIENCE.multipliedBy(2));
              } catch (InterruptedException e) {
                Thread.currentThread().interrupt();
              }
            });
    Runtime.getRuntime().addShutdownHook(end);
    try {
      new CountDownLatch(1).await();
    } finally {
      Runtime.getRuntime().removeShutdownHook(end);
    }
  }
}
