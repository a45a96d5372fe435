package io.github.attention4j.models.cli;

import com.google.gson.JsonArray;
import com.google.gson.JsonObject;
import io.github.attention4j.A4j;
import io.github.attention4j.models.CausalLm;
import io.github.attention4j.models.Reranker;
import io.github.attention4j.models.Sampler;
import io.github.attention4j.models.TextClassifier;
import io.github.attention4j.models.TextEmbedder;
import io.github.attention4j.models.server.EmbeddingSource;
import io.github.attention4j.models.server.OpenAiServer;
import io.github.attention4j.models.text.Chat;
import io.github.attention4j.models.text.ChatMessage;
import io.github.attention4j.models.text.TextGenerator;
import java.io.BufferedReader;
import java.io.IOException;
import java.io.InputStream;
import java.io.InputStreamReader;
import java.io.PrintStream;
import java.io.UncheckedIOException;
import java.net.InetSocketAddress;
import java.nio.charset.StandardCharsets;
import java.nio.file.AccessDeniedException;
import java.nio.file.Files;
import java.nio.file.InvalidPathException;
import java.nio.file.NoSuchFileException;
import java.nio.file.Path;
import java.time.Duration;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.Comparator;
import java.util.Iterator;
import java.util.List;
import java.util.Locale;
import java.util.Set;
import java.util.concurrent.CountDownLatch;
import java.util.function.BooleanSupplier;
import java.util.stream.IntStream;

/**
 * The command line: {@code java -jar attention4j-models-VERSION-all.jar COMMAND …}.
 *
 * <p>Results go to the standard output, everything else to the standard error. The exit status is 0
 * on success, 1 if a command failed, 2 if the command line is wrong, and 130 after Ctrl-C.
 */
public final class Main {
  private static final Set<String> FLAGS =
      Set.of("--refuse-truncation", "--json", "--truncate", "--help");
  private static final int PORT = 8080;
  private static final int MOST_PORT = 65_535;

  /** How long requests may finish when a server is ended. */
  private static final Duration PATIENCE = Duration.ofSeconds(5);

  /** Passages between two progress lines, enough to be packed by their lengths. */
  private static final int RERANKED_TOGETHER = 256;

  /** An answer needs at least one part of so many of the context. */
  private static final int ROOM_FOR_ANSWERS = 16;

  private final InputStream in;
  private final PrintStream out;
  private final PrintStream err;
  private final boolean interactive;
  private final boolean rewrites;

  /** Whether the output could not be written, because its reader has gone. */
  private boolean unread;

  /**
   * @param interactive whether a person answers at a terminal
   * @param rewrites whether the standard error is a terminal, on which a line can be rewritten
   */
  Main(InputStream in, PrintStream out, PrintStream err, boolean interactive, boolean rewrites) {
    this.in = in;
    this.out = out;
    this.err = err;
    this.interactive = interactive;
    this.rewrites = rewrites;
  }

  /**
   * Runs a command.
   *
   * @param arguments the command, followed by its words and options
   */
  public static void main(String[] arguments) {
    PrintStream out = new PrintStream(System.out, false, StandardCharsets.UTF_8);
    boolean interactive = System.console() != null && System.console().isTerminal();
    boolean rewrites = interactive || isTerminal(Path.of("/proc/self/fd/2"));
    int status;
    try {
      String[] words = OwnWords.of(arguments, Path.of("/proc/self/cmdline"));
      status = new Main(System.in, out, System.err, interactive, rewrites).run(words);
    } catch (UsageException e) {
      System.err.println(e.getMessage());
      status = 2;
    }
    out.flush();
    System.exit(status);
  }

  /** Whether an open file of Linux is a terminal. */
  static boolean isTerminal(Path descriptor) {
    try {
      String target = Files.readSymbolicLink(descriptor).toString();
      return target.matches("/dev/(pts/.*|tty.*|console)");
    } catch (IOException | UnsupportedOperationException e) {
      return false;
    }
  }

  /** Runs a command and returns the exit status. */
  int run(String... arguments) {
    if (arguments.length == 0) {
      err.print(Usage.all());
      return 2;
    }
    Usage usage = Usage.of(arguments[0]);
    try {
      int status = usage == null ? help(arguments) : run(usage, arguments);
      out.flush();
      if (out.checkError()) {
        err.println("the output could not be written");
        return 1;
      }
      return status;
    } catch (UsageException e) {
      err.println(e.getMessage());
      err.println((usage == null ? "" : usage.command() + " ") + "--help shows what can be given");
      return 2;
    } catch (InvalidPathException e) {
      err.println(e.getMessage() + " (set LC_ALL=C.UTF-8 for names that are not ASCII)");
      return 1;
    } catch (IOException
        | UncheckedIOException
        | IllegalArgumentException
        | IllegalStateException
        | OutOfMemoryError e) {
      err.println(message(e));
      return 1;
    } catch (InterruptedException e) {
      Thread.currentThread().interrupt();
      return 1;
    }
  }

  /** What is no command of its own. */
  private int help(String... arguments) {
    switch (arguments[0]) {
      case "--version", "version" -> out.println("attention4j " + A4j.version());
      case "help", "--help", "-h" -> {
        Usage usage = arguments.length == 1 ? null : Usage.of(arguments[1]);
        if (arguments.length > 1 && usage == null) {
          throw new UsageException("there is no command " + arguments[1]);
        }
        out.print(usage == null ? Usage.all() : usage.text());
      }
      default ->
          throw new UsageException(
              arguments[0].startsWith("-")
                  ? "there is no option " + arguments[0]
                  : "there is no command " + arguments[0]);
    }
    return 0;
  }

  private int run(Usage usage, String... arguments) throws IOException, InterruptedException {
    List<String> rest = Arrays.asList(arguments).subList(1, arguments.length);
    Arguments words = new Arguments(usage.command(), rest, usage.options(), FLAGS);
    if (words.flag("--help")) {
      out.print(usage.text());
      return 0;
    }
    Integer threads = words.integer("--threads");
    if (threads != null) {
      A4j.threads(threads);
    }
    int status = 0;
    switch (usage) {
      case INFO -> info(words);
      case EMBED -> embed(words);
      case RERANK -> rerank(words);
      case GENERATE -> status = generate(words);
      case CHAT -> chat(words);
      case SERVE -> serve(words);
    }
    return status;
  }

  private static String message(Throwable e) {
    Throwable shown = e instanceof UncheckedIOException ? e.getCause() : e;
    String message = String.valueOf(shown.getMessage());
    return switch (shown) {
      case NoSuchFileException missing -> missing.getFile() + " does not exist";
      case AccessDeniedException denied -> denied.getFile() + " may not be opened";
      case IOException bare when !message.contains(" ") ->
          bare.getClass().getSimpleName() + ": " + message;
      default -> message;
    };
  }

  private Iterator<String> lines() {
    return new BufferedReader(new InputStreamReader(in, StandardCharsets.UTF_8)).lines().iterator();
  }

  // ---- info ----

  private void info(Arguments words) throws IOException {
    String name = words.optional(0);
    words.done(1);
    if (name == null) {
      out.println(A4j.describe());
      return;
    }
    Path path = Path.of(name);
    switch (Kind.of(path)) {
      case DECODER -> {
        try (CausalLm model = CausalLm.open(path)) {
          row("family", model.family());
          row("kind", "language model");
          row("parameters", grouped(model.parameters()));
          row("layers", Integer.toString(model.layers()));
          row("vocabulary", grouped(model.vocabulary()));
          row("context", grouped(model.context()) + " tokens");
          row("ends", model.ends().stream().sorted().toList().toString());
          row("sampler", model.defaultSampler().toString());
          if (!model.stopTexts().isEmpty()) {
            row("stops", model.stopTexts().toString());
          }
          row("size", size(model.weightFiles()));
          model
              .weightBytes()
              .forEach((kind, bytes) -> row("weights", kind + ": " + grouped(bytes) + " bytes"));
          try (Chat chat = Chat.open(path)) {
            row("tokenizer", grouped(chat.generator().tokenizer().vocabulary()) + " tokens");
            row("chat", chat.isConversational() ? "by the model's template" : "no template");
          } catch (IOException | IllegalArgumentException | IllegalStateException e) {
            row("text", "refused: " + message(e));
          }
        }
      }
      case RERANKER -> {
        try (TextClassifier model = TextClassifier.open(path)) {
          boolean scores = model.labels().size() == 1;
          if (scores) {
            // It may refuse how scores are computed.
            Reranker.open(path).close();
          }
          row("family", model.encoder().family());
          row("kind", scores ? "reranker" : "classifier");
          if (!scores) {
            row("labels", String.join(", ", model.labels()));
          }
          row("parameters", grouped(model.encoder().parameters()));
          row("tokens", "at most " + grouped(model.maxTokens()));
          row("size", size(model.encoder().weightFiles()));
        }
      }
      case EMBEDDER -> {
        try (TextEmbedder model = TextEmbedder.open(path)) {
          row("family", model.encoder().family());
          row("kind", "embedding model");
          row("computes", model.describe());
          row("dimension", grouped(model.dimension()));
          row("parameters", grouped(model.encoder().parameters()));
          row("vocabulary", grouped(model.tokenizer().vocabulary()));
          row("tokens", "at most " + grouped(model.maxTokens()));
          row("prompts", model.prompts().isEmpty() ? "none" : model.prompts().toString());
          row("size", size(model.encoder().weightFiles()));
        }
      }
    }
  }

  private void row(String name, String value) {
    out.printf("%-11s %s%n", name, value);
  }

  private static String grouped(long number) {
    return String.format(Locale.ROOT, "%,d", number);
  }

  private static String size(List<Path> files) throws IOException {
    long bytes = 0;
    for (Path file : files) {
      bytes += Files.size(file);
    }
    return grouped(bytes) + " bytes of weights";
  }

  // ---- embed and rerank ----

  private void embed(Arguments words) throws IOException {
    Path path = Path.of(words.required(0, "a MODEL"));
    String prompt = words.text("--prompt");
    Integer dimensions = words.integer("--dimensions");
    Integer maxTokens = words.integer("--max-tokens");
    boolean refuse = words.flag("--refuse-truncation");
    words.done(1);
    Kind.EMBEDDER.require("embed", path);
    TextEmbedder.Builder builder = TextEmbedder.builder(path);
    if (dimensions != null) {
      builder.dimensions(dimensions);
    }
    if (maxTokens != null) {
      builder.maxTokens(maxTokens);
    }
    if (refuse) {
      builder.refuseTruncation();
    }
    try (TextEmbedder embedder = builder.open()) {
      err.println(embedder.describe());
      Iterator<TextEmbedder.Result> results =
          embedder.embedAll(lines(), prompt == null ? embedder.defaultPrompt() : prompt);
      Progress progress = new Progress(err, rewrites, "texts");
      long texts = 0;
      long tokens = 0;
      long cut = 0;
      while (results.hasNext() && !out.checkError()) {
        TextEmbedder.Result result = results.next();
        JsonObject line = new JsonObject();
        line.addProperty("index", texts++);
        line.addProperty("tokens", result.tokens());
        line.addProperty("dropped", result.dropped());
        JsonArray vector = new JsonArray(result.vector().length);
        for (float element : result.vector()) {
          vector.add(element);
        }
        line.add("embedding", vector);
        out.println(line);
        tokens += result.tokens();
        cut += result.dropped() > 0 ? 1 : 0;
        progress.at(texts, tokens);
      }
      progress.end(texts, tokens);
      if (cut > 0) {
        err.println(grouped(cut) + " texts were cut at " + embedder.maxTokens() + " tokens");
      }
    }
  }

  private void rerank(Arguments words) throws IOException {
    Path path = Path.of(words.required(0, "a MODEL"));
    String query = words.text("--query");
    Integer top = words.integer("--top");
    boolean refuse = words.flag("--refuse-truncation");
    words.done(1);
    if (query == null) {
      throw new UsageException("rerank needs --query TEXT");
    }
    if (top != null && top < 1) {
      throw new UsageException("--top must be at least 1: --top=" + top);
    }
    Kind.RERANKER.require("rerank", path);
    List<String> texts = new ArrayList<>();
    lines().forEachRemaining(texts::add);
    Reranker.Builder builder = Reranker.builder(path);
    if (refuse) {
      builder.refuseTruncation();
    }
    try (Reranker reranker = builder.open()) {
      Progress progress = new Progress(err, rewrites, "texts");
      List<Reranker.Result> results = new ArrayList<>();
      long tokens = 0;
      for (int from = 0; from < texts.size(); from += RERANKED_TOGETHER) {
        int to = Math.min(from + RERANKED_TOGETHER, texts.size());
        for (Reranker.Result result : reranker.rank(query, texts.subList(from, to))) {
          results.add(result);
          tokens += result.tokens();
        }
        progress.at(to, tokens);
      }
      progress.end(texts.size(), tokens);
      IntStream.range(0, texts.size())
          .boxed()
          .sorted(Comparator.comparingDouble(i -> -results.get(i).score()))
          .limit(top == null ? texts.size() : top)
          .forEach(
              i -> {
                JsonObject line = new JsonObject();
                line.addProperty("index", i);
                line.addProperty("score", results.get(i).score());
                line.addProperty("dropped", results.get(i).dropped());
                line.addProperty("text", texts.get(i));
                out.println(line);
              });
    }
  }

  // ---- generate and chat ----

  /** What the model's files say, unless options say otherwise. */
  private static TextGenerator.Builder request(Arguments words, CausalLm model) {
    TextGenerator.Builder request = TextGenerator.request(model).sampler(sampler(words, model));
    Integer maxTokens = words.integer("--max-tokens");
    if (maxTokens != null) {
      request.maxTokens(maxTokens);
    }
    request.stop(words.all("--stop"));
    if (words.flag("--json")) {
      request.json();
    }
    return request;
  }

  /**
   * The model's own sampler, with the values that options replace. Limits of what may be drawn make
   * a greedy model draw at temperature 1; penalties and a seed do not.
   */
  private static Sampler sampler(Arguments words, CausalLm model) {
    Double temperature = words.number("--temperature");
    Double topP = words.number("--top-p");
    Integer topK = words.integer("--top-k");
    Double minP = words.number("--min-p");
    Double repetition = words.number("--repetition-penalty");
    Double presence = words.number("--presence-penalty");
    Double frequency = words.number("--frequency-penalty");
    Long seed = words.big("--seed");
    Sampler own = model.defaultSampler();
    Sampler.Builder sampler = own.toBuilder();
    boolean limits = topP != null || topK != null || minP != null;
    if (temperature != null) {
      sampler.temperature(temperature);
    } else if (limits && own.isGreedy()) {
      sampler.temperature(1);
    }
    if (topP != null) {
      sampler.topP(topP);
    }
    if (topK != null) {
      sampler.topK(topK);
    }
    if (minP != null) {
      sampler.minP(minP);
    }
    if (repetition != null) {
      sampler.repetitionPenalty(repetition);
    }
    if (presence != null) {
      sampler.presencePenalty(presence);
    }
    if (frequency != null) {
      sampler.frequencyPenalty(frequency);
    }
    if (seed != null) {
      sampler.seed(seed);
    }
    return sampler.build();
  }

  private int generate(Arguments words) throws IOException {
    Path path = Path.of(words.required(0, "a MODEL"));
    Kind.DECODER.require("generate", path);
    try (Chat chat = Chat.open(path);
        Interrupts interrupts = new Interrupts()) {
      TextGenerator generator = chat.generator();
      TextGenerator.Builder request = request(words, generator.model());
      words.done(2);
      String given = words.optional(1);
      String prompt = given != null ? given : new String(in.readAllBytes(), StandardCharsets.UTF_8);
      interrupts.begin();
      TextGenerator.Result result =
          generator.generate(prompt, request.cancelled(cancelled(interrupts)).build(), this::show);
      interrupts.end();
      if (unread) {
        return 1;
      }
      out.println();
      out.flush();
      summary(result, generator.model());
      return result.finish() == TextGenerator.Finish.CANCELLED ? Interrupts.STATUS : 0;
    }
  }

  private void chat(Arguments words) throws IOException {
    Path path = Path.of(words.required(0, "a MODEL"));
    Kind.DECODER.require("chat", path);
    String system = words.text("--system");
    try (Chat chat = Chat.open(path);
        Interrupts interrupts = new Interrupts()) {
      TextGenerator.Builder request = request(words, chat.generator().model());
      Integer maxTokens = words.integer("--max-tokens");
      words.done(1);
      if (!chat.isConversational()) {
        throw new IllegalArgumentException(
            path + " has no chat template, so it can only continue texts: use generate");
      }
      List<ChatMessage> messages = new ArrayList<>();
      Runnable begin =
          () -> {
            messages.clear();
            if (system != null) {
              messages.add(ChatMessage.system(system));
            }
          };
      begin.run();
      Iterator<String> lines = lines();
      for (ask(); lines.hasNext(); ask()) {
        String line = lines.next();
        if (line.equals("/exit")) {
          break;
        }
        if (line.equals("/reset")) {
          begin.run();
          continue;
        }
        if (line.isBlank()) {
          continue;
        }
        messages.add(ChatMessage.user(line));
        interrupts.begin();
        try {
          Chat.Reply reply =
              chat.reply(
                  prompt(chat, messages, maxTokens),
                  List.of(),
                  request.cancelled(cancelled(interrupts)).build(),
                  this::show);
          interrupts.end();
          if (unread) {
            return;
          }
          out.println();
          out.flush();
          messages.add(reply.message());
          summary(reply.generated(), chat.generator().model());
        } catch (IllegalArgumentException | IllegalStateException | OutOfMemoryError e) {
          interrupts.end();
          messages.removeLast();
          err.println(message(e) + " (the message is dropped; /reset forgets the conversation)");
        }
      }
    }
  }

  /** The tokens of a conversation, which must leave room for an answer. */
  private static int[] prompt(Chat chat, List<ChatMessage> messages, Integer maxTokens) {
    int[] prompt = chat.prompt(messages, List.of());
    int context = chat.generator().model().context();
    int room = Math.min(maxTokens == null ? context : maxTokens, context / ROOM_FOR_ANSWERS);
    if (prompt.length + room > context) {
      throw new IllegalArgumentException(
          "the conversation leaves no room for an answer: conversation=%d tokens, context=%d"
              .formatted(prompt.length, context));
    }
    return prompt;
  }

  private void ask() {
    if (interactive) {
      err.print("> ");
      err.flush();
    }
  }

  private void show(String piece) {
    out.print(piece);
    unread = out.checkError();
  }

  /** Ends a text at Ctrl-C, and when nobody reads the output any more. */
  private BooleanSupplier cancelled(Interrupts interrupts) {
    return () -> unread || interrupts.interrupted();
  }

  private void summary(TextGenerator.Result result, CausalLm model) {
    boolean full = result.promptTokens() + result.newTokens() >= model.context();
    err.printf(
        Locale.ROOT,
        "[%,d tokens read, %,.1f tokens/s; %,d written, %,.1f tokens/s; %s]%n",
        result.promptTokens(),
        result.promptTokens() / Math.max(1e-9, result.promptTime().toNanos() * 1e-9),
        result.newTokens(),
        result.newTokens() / Math.max(1e-9, result.newTime().toNanos() * 1e-9),
        switch (result.finish()) {
          case END -> "end of the text";
          case STOP_TEXT -> "stop text";
          case LENGTH -> full ? "end of the context" : "limit of tokens";
          case TIME -> "limit of time";
          case CANCELLED -> "interrupted";
        });
  }

  // ---- serve ----

  private void serve(Arguments words) throws IOException, InterruptedException {
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
        err.println(
            "%s embeds: %s%s"
                .formatted(itsName, embedder.describe(), truncate ? ", longer texts are cut" : ""));
      }
      try (OpenAiServer started = server.start()) {
        err.printf(
            "serving %s at http://%s:%d/v1 (Ctrl-C ends)%n",
            own, started.address().getHostString(), started.address().getPort());
        err.flush();
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
