package io.github.attention4j.models.cli;

import com.google.gson.JsonObject;
import io.github.attention4j.models.Reranker;
import java.io.IOException;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.Comparator;
import java.util.List;
import java.util.stream.IntStream;

/** {@code rerank}: lines to scores, best first. */
final class Rerank {
  /** Passages between two progress lines, enough to be packed by their lengths. */
  private static final int RERANKED_TOGETHER = 256;

  private final Console console;

  Rerank(Console console) {
    this.console = console;
  }

  /** Runs the command. */
  void run(Arguments words) throws IOException {
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
    console.lines().forEachRemaining(texts::add);
    Reranker.Builder builder = Reranker.builder(path);
    if (refuse) {
      builder.refuseTruncation();
    }
    try (Reranker reranker = builder.open()) {
      Progress progress = new Progress(console.err(), console.rewrites(), "texts");
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
                console.out().println(line);
              });
    }
  }
}
