package io.github.attention4j.models.cli;

import com.google.gson.JsonArray;
import com.google.gson.JsonObject;
import io.github.attention4j.models.TextEmbedder;
import java.io.IOException;
import java.nio.file.Path;
import java.util.Iterator;

/** {@code embed}: lines to vectors. */
final class Embed {
  private final Console console;

  Embed(Console console) {
    this.console = console;
  }

  /** Runs the command. */
  void run(Arguments words) throws IOException {
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
      console.err().println(embedder.describe());
      Iterator<TextEmbedder.Result> results =
          embedder.embedAll(console.lines(), prompt == null ? embedder.defaultPrompt() : prompt);
      Progress progress = new Progress(console.err(), console.rewrites(), "texts");
      long texts = 0;
      long tokens = 0;
      long cut = 0;
      while (results.hasNext() && !console.out().checkError()) {
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
        console.out().println(line);
        tokens += result.tokens();
        cut += result.dropped() > 0 ? 1 : 0;
        progress.at(texts, tokens);
      }
      progress.end(texts, tokens);
      if (cut > 0) {
        console
            .err()
            .println(
                Console.grouped(cut) + " texts were cut at " + embedder.maxTokens() + " tokens");
      }
    }
  }
}
