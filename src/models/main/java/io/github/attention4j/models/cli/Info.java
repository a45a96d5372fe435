package io.github.attention4j.models.cli;

import io.github.attention4j.A4j;
import io.github.attention4j.models.CausalLm;
import io.github.attention4j.models.Reranker;
import io.github.attention4j.models.TextClassifier;
import io.github.attention4j.models.TextEmbedder;
import io.github.attention4j.models.text.Chat;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.List;

/** {@code info}: what runs here, or what a model is. */
final class Info {
  private final Console console;

  Info(Console console) {
    this.console = console;
  }

  /** Runs the command. */
  void run(Arguments words) throws IOException {
    String name = words.optional(0);
    words.done(1);
    if (name == null) {
      console.out().println(A4j.describe());
      return;
    }
    Path path = Path.of(name);
    switch (Kind.of(path)) {
      case DECODER -> {
        try (CausalLm model = CausalLm.open(path)) {
          row("family", model.family());
          row("kind", "language model");
          row("parameters", Console.grouped(model.parameters()));
          row("layers", Integer.toString(model.layers()));
          row("vocabulary", Console.grouped(model.vocabulary()));
          row("context", Console.grouped(model.context()) + " tokens");
          row("ends", model.ends().stream().sorted().toList().toString());
          row("sampler", model.defaultSampler().toString());
          if (!model.stopTexts().isEmpty()) {
            row("stops", model.stopTexts().toString());
          }
          row("size", size(model.weightFiles()));
          model
              .weightBytes()
              .forEach(
                  (kind, bytes) -> row("weights", kind + ": " + Console.grouped(bytes) + " bytes"));
          try (Chat chat = Chat.open(path)) {
            row(
                "tokenizer",
                Console.grouped(chat.generator().tokenizer().vocabulary()) + " tokens");
            row("chat", chat.isConversational() ? "by the model's template" : "no template");
          } catch (IOException | IllegalArgumentException | IllegalStateException e) {
            row("text", "refused: " + Main.message(e));
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
          row("parameters", Console.grouped(model.encoder().parameters()));
          row("tokens", "at most " + Console.grouped(model.maxTokens()));
          row("size", size(model.encoder().weightFiles()));
        }
      }
      case EMBEDDER -> {
        try (TextEmbedder model = TextEmbedder.open(path)) {
          row("family", model.encoder().family());
          row("kind", "embedding model");
          row("computes", model.describe());
          row("dimension", Console.grouped(model.dimension()));
          row("parameters", Console.grouped(model.encoder().parameters()));
          row("vocabulary", Console.grouped(model.tokenizer().vocabulary()));
          row("tokens", "at most " + Console.grouped(model.maxTokens()));
          row("prompts", model.prompts().isEmpty() ? "none" : model.prompts().toString());
          row("size", size(model.encoder().weightFiles()));
        }
      }
    }
  }

  private void row(String name, String value) {
    console.out().printf("%-11s %s%n", name, value);
  }

  private static String size(List<Path> files) throws IOException {
    long bytes = 0;
    for (Path file : files) {
      bytes += Files.size(file);
    }
    return Console.grouped(bytes) + " bytes of weights";
  }
}
