package io.github.attention4j.models.cli;

import static java.nio.file.StandardCopyOption.REPLACE_EXISTING;
import static org.junit.jupiter.api.Assertions.assertArrayEquals;
import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertNotEquals;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import com.google.gson.JsonArray;
import com.google.gson.JsonObject;
import com.google.gson.JsonParser;
import io.github.attention4j.A4j;
import io.github.attention4j.models.Reranker;
import io.github.attention4j.models.Sampler;
import io.github.attention4j.models.TextEmbedder;
import io.github.attention4j.models.text.Chat;
import io.github.attention4j.models.text.TextGenerator;
import java.io.ByteArrayInputStream;
import java.io.ByteArrayOutputStream;
import java.io.IOException;
import java.io.InputStream;
import java.io.OutputStream;
import java.io.PrintStream;
import java.net.InetAddress;
import java.net.ServerSocket;
import java.net.URI;
import java.net.URL;
import java.net.URLClassLoader;
import java.net.http.HttpClient;
import java.net.http.HttpRequest;
import java.net.http.HttpResponse;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import java.util.regex.Matcher;
import java.util.regex.Pattern;
import java.util.stream.Stream;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.Timeout;
import org.junit.jupiter.api.io.TempDir;

class MainTest {
  private static final Path MODELS = Path.of("src/models/test/resources/golden-models");
  private static final Path MINILM = Path.of("src/models/target/minilm/minilm.jar");
  private static final Path WRITER = MODELS.resolve("gguf/models/qwen3-bpe-f32.gguf");
  private static final Path EMBEDDER = MODELS.resolve("encoder/bert_st_mean");
  private static final Path RERANKER = MODELS.resolve("encoder/bert_cross_encoder");

  private final ByteArrayOutputStream out = new ByteArrayOutputStream();
  private final ByteArrayOutputStream err = new ByteArrayOutputStream();

  private int run(String input, Object... arguments) {
    out.reset();
    err.reset();
    String[] words = new String[arguments.length];
    for (int i = 0; i < words.length; i++) {
      words[i] = arguments[i].toString();
    }
    return new Main(
            new Console(
                new ByteArrayInputStream(input.getBytes(StandardCharsets.UTF_8)),
                new PrintStream(out, false, StandardCharsets.UTF_8),
                new PrintStream(err, true, StandardCharsets.UTF_8),
                false,
                false))
        .run(words);
  }

  private String out() {
    return out.toString(StandardCharsets.UTF_8);
  }

  private String err() {
    return err.toString(StandardCharsets.UTF_8);
  }

  private List<JsonObject> lines() {
    return out().lines().map(line -> JsonParser.parseString(line).getAsJsonObject()).toList();
  }

  @Test
  void shouldTurnLinesIntoVectors() throws IOException {
    assertEquals(0, run("hello\n\nwörld\n", "embed", EMBEDDER), err());
    List<JsonObject> lines = lines();
    assertEquals(3, lines.size());
    try (TextEmbedder embedder = TextEmbedder.open(EMBEDDER)) {
      List<TextEmbedder.Result> expected = embedder.embedAll(List.of("hello", "", "wörld"));
      for (int i = 0; i < lines.size(); i++) {
        assertEquals(i, lines.get(i).get("index").getAsInt());
        assertEquals(expected.get(i).tokens(), lines.get(i).get("tokens").getAsInt());
        JsonArray vector = lines.get(i).getAsJsonArray("embedding");
        float[] read = new float[vector.size()];
        for (int j = 0; j < read.length; j++) {
          read[j] = vector.get(j).getAsFloat();
        }
        assertArrayEquals(expected.get(i).vector(), read);
      }
    }
    assertTrue(err().contains("3 texts, "), err());
    assertTrue(err().contains("texts/s"), err());
  }

  @Test
  void shouldRankLinesBestFirst() throws IOException {
    assertEquals(
        0, run("one\ntwo words\nthree more words\n", "rerank", RERANKER, "--query=a query"), err());
    List<JsonObject> lines = lines();
    List<String> texts = List.of("one", "two words", "three more words");
    try (Reranker reranker = Reranker.open(RERANKER)) {
      float[] scores = reranker.score("a query", texts);
      float last = Float.POSITIVE_INFINITY;
      for (JsonObject line : lines) {
        int index = line.get("index").getAsInt();
        assertEquals(scores[index], line.get("score").getAsFloat());
        assertEquals(texts.get(index), line.get("text").getAsString());
        assertTrue(scores[index] <= last);
        last = scores[index];
      }
    }
    assertEquals(3, lines.size());
    String best = out().lines().findFirst().orElseThrow();
    assertEquals(
        0,
        run(
            "one\ntwo words\nthree more words\n",
            "rerank",
            RERANKER,
            "--query",
            "a query",
            "--top",
            1));
    assertEquals(best, out().strip());
  }

  @Test
  void shouldContinueATextAndSayHowFast() throws IOException {
    String expected;
    try (Chat chat = Chat.open(WRITER)) {
      TextGenerator.Request request = TextGenerator.request().maxTokens(12).build();
      expected = chat.generator().generate("the cat", request, text -> {}).text();
    }
    assertEquals(0, run("", "generate", WRITER, "the cat", "--max-tokens", 12), err());
    assertEquals(expected, out().stripTrailing());
    Pattern summary =
        Pattern.compile(
            "\\[\\d+ tokens read, [0-9,.]+ tokens/s; 12 written, [0-9,.]+ tokens/s; limit of"
                + " tokens]\\R");
    assertTrue(summary.matcher(err()).matches(), err());
    String given = out();
    assertEquals(0, run("the cat", "generate", WRITER, "--max-tokens", 12), err());
    assertEquals(given, out());
  }

  @Test
  void shouldAnswerLineByLine() {
    assertEquals(
        0, run("hello\n\n/reset\nhello\n/exit\nhello\n", "chat", WRITER, "--max-tokens", 6), err());
    List<String> summaries = err().lines().filter(line -> line.startsWith("[")).toList();
    assertEquals(2, summaries.size(), err());
    String first = summaries.getFirst();
    assertEquals(
        first.substring(0, first.indexOf(" tokens")),
        summaries.getLast().substring(0, first.indexOf(" tokens")));
    String half = out().substring(0, out().length() / 2);
    assertEquals(half + half, out());
    assertFalse(half.isBlank());
  }

  /** A language model of a directory whose generation_config.json is given. */
  private static Path writer(Path directory, String generationConfig) throws IOException {
    Path from = MODELS.resolve("encoder/qwen3_embedding");
    for (String name :
        List.of("config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json")) {
      Files.copy(from.resolve(name), directory.resolve(name), REPLACE_EXISTING);
    }
    Files.writeString(directory.resolve("generation_config.json"), generationConfig);
    return directory;
  }

  private static String text(Path model, Sampler sampler, String... stops) throws IOException {
    try (Chat chat = Chat.open(model)) {
      TextGenerator.Request request =
          TextGenerator.request().maxTokens(3).sampler(sampler).stop(stops).build();
      return chat.generator().generate("aaa bbb aaa", request, text -> {}).text();
    }
  }

  @Test
  void shouldPassVariablesToTheChatTemplate(@TempDir Path directory) throws IOException {
    Path model = writer(directory, "{}");
    Files.writeString(
        model.resolve("chat_template.jinja"),
        "{{ messages[0].content }}{{ ' bbb' if thinking is false and depth == 3 }}");
    String[] chat = {"chat", model.toString(), "--max-tokens", "1"};
    assertEquals(0, run("aaa\n", chat), err());
    assertTrue(err().startsWith("[3 tokens read"), err());
    chat =
        new String[] {
          "chat",
          model.toString(),
          "--max-tokens=1",
          "--template",
          "thinking=false",
          "--template=depth=3"
        };
    assertEquals(0, run("aaa\n", chat), err());
    assertTrue(err().startsWith("[6 tokens read"), err());
    assertEquals(2, run("", "chat", model, "--template", "thinking"));
    assertTrue(err().startsWith("--template needs NAME=VALUE: --template=thinking"), err());
  }

  @Test
  void shouldObeyTheModelsOwnSettings(@TempDir Path directory) throws IOException {
    Path model = writer(directory, "{}");
    Sampler penalty = Sampler.builder().temperature(0).repetitionPenalty(10).build();
    String whole = text(model, penalty);
    assertNotEquals(text(model, Sampler.greedy()), whole);
    String stop = whole.substring(1, 3);
    writer(directory, "{\"repetition_penalty\": 10.0, \"max_new_tokens\": 3}");
    assertEquals(0, run("", "generate", model, "aaa bbb aaa"), err());
    assertEquals(whole, out().replaceFirst("\\R$", ""));
    assertTrue(err().contains("; 3 written, "), err());
    assertEquals(0, run("", "info", model), err());
    assertTrue(out().contains("sampler     greedy, repetitionPenalty=10.0"), out());

    JsonArray list = new JsonArray();
    list.add(stop);
    writer(
        directory,
        "{\"repetition_penalty\": 10.0, \"max_new_tokens\": 3, \"stop_strings\": " + list + "}");
    assertEquals(0, run("", "generate", model, "aaa bbb aaa"), err());
    assertEquals(text(model, penalty, stop), out().replaceFirst("\\R$", ""));
    assertTrue(err().endsWith("; stop text]\n"), err());
  }

  @Test
  void shouldKeepToTheLengthThatTheModelsFilesSay(@TempDir Path directory) throws IOException {
    Path model = writer(directory, "{}");
    int prompt;
    try (Chat chat = Chat.open(model)) {
      prompt = chat.generator().tokenizer().encode("aaa bbb aaa").tokens().length;
    }
    writer(directory, "{\"max_length\": " + (prompt + 2) + "}");
    assertEquals(0, run("", "generate", model, "aaa bbb aaa"), err());
    assertTrue(err().contains("; 2 written, "), err());
    assertTrue(err().endsWith("; limit of tokens]\n"), err());
    writer(directory, "{\"max_length\": " + prompt + "}");
    assertEquals(1, run("", "generate", model, "aaa bbb aaa"));
    assertTrue(err().startsWith("the prompt must be shorter than max_length"), err());
    assertEquals(0, run("", "generate", model, "aaa bbb aaa", "--max-tokens", 3), err());
    assertTrue(err().contains("; 3 written, "), err());
  }

  @Test
  void shouldOverrideSingleValuesOfTheModelsSampler(@TempDir Path directory) throws IOException {
    Path model = writer(directory, "{\"do_sample\": true, \"temperature\": 3.0, \"top_k\": 5}");
    Sampler.Builder own = Sampler.builder().temperature(3).topK(5);
    assertEquals(text(model, own.build()), generated(model));
    assertEquals(text(model, own.seed(4).build()), generated(model, "--seed", 4));
    assertEquals(
        text(model, own.topK(9).presencePenalty(1).build()),
        generated(model, "--seed", 4, "--top-k", 9, "--presence-penalty", 1));

    writer(directory, "{\"repetition_penalty\": 1.2}");
    Sampler.Builder greedy = Sampler.builder().temperature(0).repetitionPenalty(1.2);
    assertEquals(
        text(model, greedy.frequencyPenalty(0.5).build()),
        generated(model, "--frequency-penalty", 0.5));
    assertEquals(
        text(model, greedy.frequencyPenalty(0).repetitionPenalty(2).build()),
        generated(model, "--repetition-penalty", 2, "--seed", 7));
    assertEquals(
        text(model, greedy.repetitionPenalty(1.2).temperature(1).topP(0.99).seed(3).build()),
        generated(model, "--top-p", 0.99, "--seed", 3));
  }

  private String generated(Path model, Object... options) {
    List<Object> words =
        new ArrayList<>(List.of("generate", model, "aaa bbb aaa", "--max-tokens", 3));
    words.addAll(List.of(options));
    assertEquals(0, run("", words.toArray()), err());
    return out().replaceFirst("\\R$", "");
  }

  @Test
  void shouldKeepAChatWhoseContextIsFull(@TempDir Path directory) throws IOException {
    Path model = EndlessModel.write(directory, 64);
    assertEquals(
        0, run("hello\nmore\nbad\n" + "y".repeat(63) + "\n/reset\nhello\n", "chat", model), err());
    List<String> lines = err().lines().toList();
    String hint = " (the message is dropped; /reset forgets the conversation)";
    assertEquals(5, lines.size(), err());
    assertTrue(lines.get(0).endsWith("end of the context]"), lines.get(0));
    assertEquals(
        "the conversation leaves no room for an answer: conversation=68 tokens, context=64" + hint,
        lines.get(1));
    assertEquals("no bad words" + hint, lines.get(2));
    assertTrue(lines.get(3).startsWith("the conversation leaves no room"), lines.get(3));
    assertTrue(lines.get(4).endsWith("end of the context]"), lines.get(4));
    String[] answers = out().split("\\R");
    assertEquals(2, answers.length);
    assertEquals(answers[0], answers[1]);
  }

  @Test
  void shouldSayThatAModelCannotChat(@TempDir Path directory) throws IOException {
    Path model = writer(directory, "{}");
    Files.delete(model.resolve("tokenizer_config.json"));
    assertEquals(1, run("hello\n", "chat", model));
    assertEquals(
        model + " has no chat template, so it can only continue texts: use generate\n", err());
  }

  @Test
  void shouldSayThatTheContextIsFull(@TempDir Path directory) throws IOException {
    Path model = EndlessModel.write(directory, 64);
    assertEquals(0, run("", "generate", model, "a", "--max-tokens", 1000), err());
    assertTrue(err().endsWith("; end of the context]\n"), err());
  }

  @Test
  @Timeout(60)
  void shouldEndWhenNobodyReadsTheOutput(@TempDir Path directory) throws IOException {
    Path model = EndlessModel.write(directory, 1_000_000);
    for (String command : List.of("generate", "chat")) {
      OutputStream closed =
          new OutputStream() {
            private int written;

            @Override
            public void write(int b) throws IOException {
              if (++written > 1) {
                throw new IOException("Broken pipe");
              }
            }
          };
      Main main =
          new Main(
              new Console(
                  new ByteArrayInputStream("a\na\n".getBytes(StandardCharsets.UTF_8)),
                  new PrintStream(closed, false, StandardCharsets.UTF_8),
                  new PrintStream(err, true, StandardCharsets.UTF_8),
                  false,
                  false));
      err.reset();
      assertEquals(1, main.run(command, model.toString()));
      assertEquals("the output could not be written\n", err());
    }
  }

  @Test
  void shouldSayWhatAModelIs() {
    assertEquals(0, run("", "info", WRITER), err());
    assertTrue(out().contains("family      qwen3"), out());
    assertTrue(out().contains("kind        language model"), out());
    assertTrue(out().contains("by the model's template"), out());
    assertEquals(0, run("", "info", EMBEDDER), err());
    assertTrue(out().contains("kind        embedding model"), out());
    assertEquals(0, run("", "info", RERANKER), err());
    assertTrue(out().contains("kind        reranker"), out());
    assertTrue(out().contains("tokens      at most 48" + System.lineSeparator()), out());
    assertEquals(0, run("", "info"), err());
    assertTrue(out().contains("threads"), out());
  }

  @Test
  void shouldNameTheLabelsOfAClassifier(@TempDir Path directory) throws IOException {
    Path classifier = MODELS.resolve("encoder/bert_classifier");
    for (String name : List.of("config.json", "model.safetensors")) {
      Files.copy(classifier.resolve(name), directory.resolve(name));
    }
    assertEquals(0, run("", "info", directory), err());
    assertTrue(out().contains("kind        classifier"), out());
    assertTrue(out().contains("labels      LABEL_0, LABEL_1, LABEL_2"), out());
  }

  @Test
  void shouldSayWhyAModelIsRefused(@TempDir Path directory) throws IOException {
    Files.writeString(
        directory.resolve("config.json"),
        "{\"architectures\": [\"MambaForCausalLM\"], \"model_type\": \"mamba\"}");
    assertEquals(1, run("", "info", directory));
    assertTrue(err().contains("mamba"), err());
    assertEquals(1, run("", "info", directory.resolve("nothing")));
    assertTrue(err().contains("nothing must be a directory or a file: it is missing"), err());
  }

  @Test
  void shouldSayWhatADirectoryLacks(@TempDir Path directory) throws IOException {
    String model = directory + " must hold a model: it has neither a config.json nor a model.onnx";
    for (String command : List.of("info", "embed")) {
      assertEquals(1, run("text", command, directory));
      assertTrue(err().contains(model), err());
    }
    for (String name : List.of("config.json", "model.safetensors")) {
      Files.copy(EMBEDDER.resolve(name), directory.resolve(name));
    }
    assertEquals(1, run("text", "embed", directory));
    assertTrue(err().contains(directory + " must have a tokenizer.json to turn text"), err());
  }

  /** An export needs no config.json. */
  @Test
  void shouldSayWhatAnExportIs(@TempDir Path directory) throws IOException {
    try (URLClassLoader loader = new URLClassLoader(new URL[] {MINILM.toUri().toURL()}, null)) {
      Files.createDirectories(directory.resolve("onnx"));
      copy(loader, "all-minilm-l6-v2.onnx", directory.resolve("onnx/model.onnx"));
      copy(loader, "all-minilm-l6-v2-tokenizer.json", directory.resolve("tokenizer.json"));
    }
    assertEquals(0, run("", "info", directory), err());
    assertTrue(out().contains("parameters  22,565,376"), out());
    assertTrue(out().contains("size        90,387,606 bytes of weights"), out());
  }

  private static void copy(URLClassLoader loader, String resource, Path to) throws IOException {
    try (InputStream in = loader.getResourceAsStream(resource)) {
      Files.copy(in, to);
    }
  }

  @Test
  void shouldSayHowACommandIsUsed() {
    for (String[] words :
        new String[][] {
          {"generate", "--help"}, {"generate", "m", "--help"}, {"help", "generate"}
        }) {
      assertEquals(0, run("", (Object[]) words), err());
      assertTrue(out().contains("generate MODEL [PROMPT]"), out());
      assertTrue(out().contains("--temperature T"), out());
      assertFalse(out().contains("serve"), out());
      assertEquals("", err());
    }
    assertEquals(0, run("", "--help"));
    assertTrue(out().contains("serve MODEL") && out().contains("--temperature T"), out());
    assertEquals(0, run("", "--version"));
    assertEquals("attention4j " + A4j.version() + "\n", out());
  }

  @Test
  void shouldKeepMessagesShort() {
    assertEquals(2, run("", "--bogus"));
    assertEquals("there is no option --bogus\n--help shows what can be given\n", err());
    assertEquals(2, run("", "generate", WRITER, "--bogus"));
    assertEquals(
        "generate has no option --bogus\ngenerate --help shows what can be given\n", err());
    assertEquals(2, run("", "help", "dance"));
    assertEquals("there is no command dance\n--help shows what can be given\n", err());
    assertEquals(1, run("", "generate", "nosuch", "a"));
    assertEquals("nosuch must be a directory or a file: it is missing\n", err());
  }

  @Test
  void shouldKnowModelsByWhatTheyHold(@TempDir Path directory) throws IOException {
    Path plain = Files.copy(WRITER, directory.resolve("model.bin"));
    assertEquals(0, run("", "info", plain), err());
    assertTrue(out().contains("kind        language model"), out());
    assertEquals(1, run("a\n", "embed", plain));
    assertEquals(
        "embed needs an embedding model, and " + plain + " is a GGUF file, for generate and chat\n",
        err());
    assertEquals(1, run("a\n", "rerank", plain, "--query", "a"));
    assertTrue(err().startsWith("rerank needs a reranker, and "), err());

    Path page = Files.writeString(directory.resolve("page.gz"), "<!DOCTYPE html><html>");
    assertEquals(1, run("", "info", page));
    assertTrue(
        err().startsWith(page + " must be a directory, a GGUF file or an ONNX export: it is "),
        err());

    Path only = Files.createDirectory(directory.resolve("only"));
    Path model = Files.copy(WRITER, only.resolve("m.gguf"));
    for (String command : List.of("info", "generate", "embed")) {
      assertEquals(1, run("a\n", command, only));
      assertEquals(only + " has no config.json; name the GGUF file in it: " + model + "\n", err());
    }

    Path bare = writer(Files.createDirectory(directory.resolve("bare")), "{}");
    String config = Files.readString(bare.resolve("config.json"));
    Files.writeString(
        bare.resolve("config.json"), config.replaceAll("\"architectures\": \\[[^]]*],", ""));
    assertEquals(0, run("", "info", bare), err());
    assertTrue(out().contains("kind        language model"), out());
  }

  @Test
  void shouldCountTheWeightsOfAllFilesThatAreRead(@TempDir Path directory) throws IOException {
    Path model = writer(directory, "{}");
    long bytes = Files.size(model.resolve("model.safetensors"));
    Files.copy(model.resolve("model.safetensors"), model.resolve("consolidated.safetensors"));
    assertEquals(0, run("", "info", model), err());
    assertTrue(out().contains("size        %,d bytes".formatted(bytes)), out());

    Path first;
    long parts = 0;
    try (Stream<Path> files = Files.list(MODELS.resolve("gguf/split"))) {
      List<Path> all = files.filter(file -> file.toString().endsWith(".gguf")).sorted().toList();
      first = all.getFirst();
      assertTrue(all.size() > 1);
      for (Path part : all) {
        parts += Files.size(part);
      }
    }
    assertEquals(0, run("", "info", first), err());
    assertTrue(out().contains("size        %,d bytes".formatted(parts)), out());
  }

  @Test
  void shouldReadWordsThatTheLocaleGarbles(@TempDir Path directory) throws IOException {
    Path commandLine = directory.resolve("cmdline");
    Files.writeString(commandLine, "java\0-jar\0x.jar\0generate\0m\0é日\0--stop\0…\0");
    String[] given = {
      "generate", "m", "\uFFFD\uFFFD\uFFFD\uFFFD\uFFFD", "--stop", "\uFFFD\uFFFD\uFFFD"
    };
    assertArrayEquals(
        new String[] {"generate", "m", "é日", "--stop", "…"}, OwnWords.of(given, commandLine));
    Files.write(commandLine, new byte[] {'a', 0, (byte) 0xe9, 0});
    UsageException refused =
        assertThrows(
            UsageException.class, () -> OwnWords.of(new String[] {"a", "\uFFFD"}, commandLine));
    assertTrue(refused.getMessage().contains("set LC_ALL=C.UTF-8"), refused.getMessage());
    assertThrows(
        UsageException.class,
        () -> OwnWords.of(new String[] {"\uFFFD"}, directory.resolve("nothing")));
  }

  @Test
  @Timeout(60)
  void shouldReadItsOwnWordsInTheCLocale(@TempDir Path directory) throws Exception {
    Path model = EndlessModel.write(directory, 64);
    ProcessBuilder builder =
        new ProcessBuilder(
            "/bin/sh",
            "-c",
            "exec \"$0\" --enable-native-access=ALL-UNNAMED -cp \"$1\" \"$2\" generate \"$3\""
                + " \"$(printf '\\303\\251')\" --max-tokens 1",
            Path.of(System.getProperty("java.home"), "bin", "java").toString(),
            System.getProperty("java.class.path"),
            Main.class.getName(),
            model.toString());
    builder.environment().put("LC_ALL", "C");
    Process process = builder.start();
    String summary = new String(process.getErrorStream().readAllBytes(), StandardCharsets.UTF_8);
    assertEquals(0, process.waitFor(), summary);
    // The beginning and a space, and é in two bytes; U+FFFD would be three for each of them.
    int tokens;
    try (Chat chat = Chat.open(model)) {
      tokens = chat.generator().tokenizer().encode("é").tokens().length;
    }
    assertTrue(summary.startsWith("[" + tokens + " tokens read"), summary);
  }

  @Test
  void shouldKnowATerminalByItsName(@TempDir Path directory) throws IOException {
    Path link = directory.resolve("2");
    assertFalse(Main.isTerminal(link));
    for (String target : List.of("/dev/pts/0", "/dev/tty1", "/dev/console")) {
      assertTrue(Main.isTerminal(Files.createSymbolicLink(link, Path.of(target))), target);
      Files.delete(link);
    }
    for (String target : List.of("/dev/null", "/tmp/pts", "pipe:[1]")) {
      assertFalse(Main.isTerminal(Files.createSymbolicLink(link, Path.of(target))), target);
      Files.delete(link);
    }
  }

  @Test
  void shouldRefuseCommandLinesThatAreWrong() {
    assertEquals(2, run(""));
    assertTrue(err().startsWith("Usage:"), err());
    assertEquals(2, run("", "dance"));
    assertTrue(err().startsWith("there is no command dance\n"), err());
    assertEquals(2, run("", "embed"));
    assertTrue(err().startsWith("embed needs a MODEL\n"), err());
    assertEquals(2, run("", "embed", EMBEDDER, "--fast", "1"));
    assertTrue(err().startsWith("embed has no option --fast\n"), err());
    assertEquals(2, run("", "embed", EMBEDDER, "--max-tokens", "many"));
    assertTrue(err().startsWith("--max-tokens must be a whole number: --max-tokens=many\n"), err());
    assertEquals(2, run("", "embed", EMBEDDER, "--prompt"));
    assertTrue(err().startsWith("--prompt needs a value\n"), err());
    assertEquals(2, run("", "embed", EMBEDDER, "more"));
    assertTrue(err().startsWith("embed takes at most 1 words"), err());
    assertEquals(2, run("", "rerank", RERANKER));
    assertTrue(err().startsWith("rerank needs --query TEXT\n"), err());
    assertEquals(0, run("", "help"));
    assertTrue(out().startsWith("Usage:"), out());
  }

  @Test
  void shouldRefuseToServeWhatItCannot() throws Exception {
    assertEquals(1, run("", "serve", RERANKER, "--port", 0));
    assertEquals(
        RERANKER
            + " must be an embedding model to serve embeddings: it is a reranker or classifier\n",
        err());
    assertEquals(1, run("", "serve", WRITER, "--embeddings", RERANKER, "--port", 0));
    assertTrue(err().contains("it is a reranker or classifier"), err());
    assertEquals(1, run("", "serve", WRITER, "--embeddings", WRITER, "--port", 0));
    assertTrue(err().contains("it is a language model"), err());
    assertEquals(2, run("", "serve", WRITER, "--port", 70000));
    assertTrue(err().startsWith("--port must lie in [0, 65535]: --port=70000\n"), err());
    assertEquals(2, run("", "serve", WRITER, "--name", " ", "--port", 0));
    assertTrue(err().startsWith("--name must not be blank: --name= \n"), err());
    assertEquals(
        2,
        run("", "serve", WRITER, "--embeddings", EMBEDDER, "--name", "bert_st_mean", "--port", 0));
    assertTrue(err().startsWith("the models must have different names, which --name gives"), err());
    assertEquals(1, run("", "serve", WRITER, "--host", "no.such.host.invalid", "--port", 0));
    assertEquals("there is no host no.such.host.invalid\n", err());
    try (ServerSocket taken = new ServerSocket(0, 1, InetAddress.getLoopbackAddress())) {
      assertEquals(1, run("", "serve", WRITER, "--port", taken.getLocalPort()));
      assertEquals(
          "cannot listen on 127.0.0.1:%d: Address already in use\n".formatted(taken.getLocalPort()),
          err());
    }
  }

  @Test
  @Timeout(120)
  void shouldServe() throws Exception {
    Thread server =
        Thread.ofPlatform()
            .start(() -> run("", "serve", WRITER, "--port", 0, "--embeddings", EMBEDDER));
    try {
      Matcher address = Pattern.compile("http://127.0.0.1:(\\d+)/v1").matcher("");
      for (int i = 0; i < 600 && server.isAlive() && !address.reset(err()).find(); i++) {
        Thread.sleep(100);
      }
      String base = "http://127.0.0.1:" + address.group(1);
      HttpClient client = HttpClient.newHttpClient();
      String models =
          client
              .send(
                  HttpRequest.newBuilder(URI.create(base + "/v1/models")).build(),
                  HttpResponse.BodyHandlers.ofString())
              .body();
      assertTrue(models.contains("qwen3-bpe-f32.gguf") && models.contains("bert_st_mean"), models);
      HttpRequest chat =
          HttpRequest.newBuilder(URI.create(base + "/v1/chat/completions"))
              .header("Content-Type", "application/json")
              .POST(
                  HttpRequest.BodyPublishers.ofString(
                      "{\"messages\": [{\"role\": \"user\", \"content\": \"hi\"}],"
                          + " \"max_tokens\": 3, \"temperature\": 0}"))
              .build();
      HttpResponse<String> answer = client.send(chat, HttpResponse.BodyHandlers.ofString());
      assertEquals(200, answer.statusCode(), answer.body());
      try (TextEmbedder embedder = TextEmbedder.open(EMBEDDER)) {
        assertTrue(err().contains("bert_st_mean embeds: " + embedder.describe() + "\n"), err());
      }
    } finally {
      server.interrupt();
      server.join();
    }
  }
}
