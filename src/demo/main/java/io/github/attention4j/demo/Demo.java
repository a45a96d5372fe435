package io.github.attention4j.demo;

import io.github.attention4j.A4j;
import io.github.attention4j.models.CausalLm;
import io.github.attention4j.models.Sampler;
import java.io.IOException;
import java.io.PrintStream;
import java.lang.foreign.Arena;
import java.nio.file.Files;
import java.nio.file.Path;
import java.time.Duration;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import java.util.Locale;
import java.util.function.Function;

/**
 * Two trained language models continue a prompt with the library, race plain Java, and show their
 * attention; an encoder searches sentences by meaning.
 *
 * <p>For each model it streams a continuation, then lets the library and {@link PlainCausalLm} read
 * the same text in turns and prints the rates, the speed-up and the largest difference between
 * logits. Then MiniLM searches bundled sentences. At the end it writes a page with the attention
 * maps of the prompt and the query, and the similarities of the sentences. System properties:
 *
 * <ul>
 *   <li>{@code demo.prompt}: the text to continue, at most 256 bytes of UTF-8; a token is a byte
 *   <li>{@code demo.temperature}: 0 takes the likeliest byte, 1 keeps the learnt distribution;
 *       default 0.5
 *   <li>{@code demo.seed}: another whole number gives another continuation; default 2
 *   <li>{@code demo.query}: the text to search for in the bundled sentences
 *   <li>{@code demo.encoder}: the jar with MiniLM; without it there is no search
 *   <li>{@code demo.output}: the directory of {@code attention.html}, default {@code target/demo}
 * </ul>
 */
public final class Demo {
  /** Race each model at least this long, so the JIT compiler is done well before the end. */
  private static final Duration RACE = Duration.ofSeconds(3);

  /** The layer whose maps the page shows first: some of its heads attend nearby, some far back. */
  private static final int FIRST_LAYER = 1;

  private static final String QUERY = "Who can fix my vehicle?";

  private static final int MOST_HITS = 5;

  private final PrintStream out;
  private final Duration race;

  /**
   * @param race how long each model is raced, at least
   */
  Demo(PrintStream out, Duration race) {
    this.out = out;
    this.race = race;
  }

  /**
   * Runs the demonstration.
   *
   * @param args none
   * @throws IOException if a model cannot be read or the page not be written
   */
  public static void main(String[] args) throws IOException {
    try {
      if (args.length > 0) {
        throw new IllegalArgumentException(
            "the demo takes system properties, such as -Ddemo.prompt=…, and no arguments: got "
                + Arrays.toString(args));
      }
      new Demo(System.out, RACE).run();
    } catch (IllegalArgumentException e) {
      System.err.println("demo: " + e.getMessage());
      System.exit(2);
    }
  }

  /** Runs everything; wrong properties cause an IllegalArgumentException. */
  void run() throws IOException {
    String prompt = property("demo.prompt", Prompt.DEFAULT);
    Sampler sampler =
        Sampler.builder()
            .temperature(number("demo.temperature", "0.5", "a number", Double::parseDouble))
            .seed(number("demo.seed", "2", "a whole number", Long::parseLong))
            .build();
    Path page = Path.of(property("demo.output", "target/demo")).resolve("attention.html");

    out.printf(
        "attention4j %s, %s kernels, at most %d threads, beside plain Java on one%n",
        A4j.version(), A4j.isa(), A4j.threads());
    List<AttentionPage.Model> maps = new ArrayList<>();
    int[] tokens = null;
    for (DemoModel model : DemoModel.values()) {
      PlainCausalLm plain = PlainCausalLm.load(model.directory());
      tokens = Prompt.tokens(prompt, plain.config().context());
      try (CausalLm library = CausalLm.open(model.directory());
          Arena arena = Arena.ofConfined()) {
        LanguageModel ours = new LanguageModel.Library(library, library.newSession(arena));
        introduce(model, library);
        int[] text = stream(library, tokens, sampler);
        show(
            Race.run(ours, new LanguageModel.Plain(plain), text, tokens.length, race),
            tokens.length,
            text.length);
        maps.add(
            new AttentionPage.Model(
                model.title(),
                model.about(),
                model.unit(),
                library.isDifferential() ? lambda(library) : null,
                ours.attentionWeights(tokens)));
      }
    }
    AttentionPage.Found found = search();
    AttentionPage.write(page, tokens, FIRST_LAYER, maps, found);
    out.printf(
        "%nAttention maps%s, to open in a browser: %s%n%n",
        found == null ? "" : " and the map of similarities", page);
  }

  /** Searches the bundled sentences; if there is no encoder, says so and returns null. */
  private AttentionPage.Found search() throws IOException {
    String query = property("demo.query", QUERY);
    String encoder = property("demo.encoder", "");
    if (encoder.isEmpty() || !Files.exists(Path.of(encoder))) {
      out.printf(
          "%nSearch by meaning: left out, because the encoder could not be fetched%s%n",
          encoder.isEmpty() ? "" : ": there is no " + encoder);
      return null;
    }
    try (Search search = Search.open(Path.of(encoder))) {
      List<Search.Hit> hits = search.find(query).subList(0, MOST_HITS);
      out.printf(
          "%nSearch by meaning: MiniLM (%s)%n%n  > %s%n",
          search.describe(), TextStream.printable(query));
      for (Search.Hit hit : hits) {
        out.printf(Locale.ROOT, "    %.3f  %s%n", hit.score(), hit.text().text());
      }
      out.printf(
          Locale.ROOT,
          "%n  %,.0f sentences per second, tokenizing included%n",
          search.sentencesPerSecond(race));
      return new AttentionPage.Found(
          query, hits, search.texts(), search.similarities(), search.look(query));
    }
  }

  private void introduce(DemoModel model, CausalLm library) {
    out.printf(
        Locale.ROOT,
        "%n%s: %s, %d layers with %d %ss each, %,d parameters%n%n",
        model.title(),
        library.isDifferential() ? "differential attention" : "multi-head attention",
        library.layers(),
        library.maps(),
        model.unit(),
        library.parameters());
  }

  private void show(Race race, int prompt, int text) {
    out.printf("%n  %-22s%14s%14s%n", "tokens per second", "attention4j", "plain Java");
    row("prompt of " + prompt, race.ours().prompt(), race.plain().prompt());
    if (text > prompt) {
      row("generating " + (text - prompt), race.ours().generation(), race.plain().generation());
    }
    out.printf(Locale.ROOT, "  largest difference of a logit: %.1e%n", race.difference());
  }

  private static double[] lambda(CausalLm library) {
    double[] lambda = new double[library.layers()];
    Arrays.setAll(lambda, library::lambda);
    return lambda;
  }

  private void row(String what, double ours, double plain) {
    out.printf(Locale.ROOT, "  %-22s%,14.0f%,14.0f%8.1f x%n", what, ours, plain, ours / plain);
  }

  /** Prints the prompt, then the continuation token by token, until the context is full. */
  private int[] stream(CausalLm model, int[] prompt, Sampler sampler) {
    TextStream quote = new TextStream(out, "  > ");
    quote.print(prompt);
    quote.end();
    TextStream answer = new TextStream(out, "    ");
    int[] added = model.generate(prompt, model.context() - prompt.length, sampler, answer::print);
    answer.end();
    int[] text = Arrays.copyOf(prompt, prompt.length + added.length);
    System.arraycopy(added, 0, text, prompt.length, added.length);
    return text;
  }

  /** A numeric property; a wrong value is refused by name. */
  private static <N> N number(
      String name, String otherwise, String kind, Function<String, N> parse) {
    String text = property(name, otherwise);
    try {
      return parse.apply(text);
    } catch (NumberFormatException e) {
      throw new IllegalArgumentException(name + " must be " + kind + ": " + name + "=" + text, e);
    }
  }

  /** A system property; builds may pass an unset one as an empty string. */
  private static String property(String name, String otherwise) {
    String value = System.getProperty(name, "");
    return value.isEmpty() ? otherwise : value;
  }
}
