package io.github.attention4j.models;

import io.github.attention4j.internal.Json;
import io.github.attention4j.models.files.Settings;
import io.github.attention4j.models.gguf.GgufFile;
import java.io.IOException;
import java.io.UncheckedIOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.List;
import java.util.Map;
import java.util.Optional;

/** A model's tokenizer and chat template, read on first use. */
final class ModelText implements AutoCloseable {
  /** Reads a part. */
  @FunctionalInterface
  private interface Reader<T> {
    T read() throws IOException;
  }

  private final String missing;
  private final Reader<Tokenizer> tokenizerReader;
  private final Reader<Optional<ChatTemplate>> templateReader;
  private Tokenizer tokenizer;
  private Optional<ChatTemplate> template;

  private ModelText(
      String missing,
      Reader<Tokenizer> tokenizerReader,
      Reader<Optional<ChatTemplate>> templateReader) {
    this.missing = missing;
    this.tokenizerReader = tokenizerReader;
    this.templateReader = templateReader;
  }

  static ModelText ofDirectory(Path directory) {
    Path file = directory.resolve("tokenizer.json");
    return new ModelText(
        directory + " must have a tokenizer.json to turn text into tokens",
        () -> Files.exists(file) ? HuggingFaceTokenizer.open(file) : null,
        () -> template(directory));
  }

  /** A GGUF file's tokenizer, null if it has none, and template. */
  static ModelText ofGguf(GgufFile file, GgufTokenizer tokenizer) {
    return new ModelText(
        file.path() + " has no tokenizer",
        () -> tokenizer,
        () -> {
          if (tokenizer == null
              || !(file.metadata().get("tokenizer.chat_template") instanceof String source)) {
            return Optional.empty();
          }
          String bos = tokenizer.bos() < 0 ? "" : tokenizer.text(tokenizer.bos());
          String eos = tokenizer.eos() < 0 ? "" : tokenizer.text(tokenizer.eos());
          return Optional.of(ChatTemplate.of(source, bos, eos));
        });
  }

  private static Optional<ChatTemplate> template(Path directory) throws IOException {
    Path file = directory.resolve("tokenizer_config.json");
    Settings config =
        Files.exists(file) ? Settings.read(file) : Settings.of(file.toString(), Map.of());
    Path own = directory.resolve("chat_template.jinja");
    String source = Files.exists(own) ? Files.readString(own) : source(config);
    return source == null
        ? Optional.empty()
        : Optional.of(
            ChatTemplate.of(source, token(config, "bos_token"), token(config, "eos_token")));
  }

  /** One template, or the default one of a list of named templates. */
  private static String source(Settings config) {
    return switch (config.value("chat_template")) {
      case null -> null;
      case String source -> source;
      case List<?> named -> {
        for (Object each : named) {
          if (each instanceof Map<?, ?> template
              && "default".equals(template.get("name"))
              && template.get("template") instanceof String source) {
            yield source;
          }
        }
        throw config.refused("chat_template", "a text, or a list with one named \"default\"");
      }
      case Object other -> throw config.refused("chat_template", "a text, not " + Json.show(other));
    };
  }

  private static String token(Settings config, String key) {
    return switch (config.value(key)) {
      case null -> "";
      case String text -> text;
      case Map<?, ?> token when token.get("content") instanceof String text -> text;
      default -> throw config.refused(key, "a text, or an object with content");
    };
  }

  synchronized Tokenizer tokenizer() {
    if (tokenizer == null) {
      tokenizer = read(tokenizerReader);
    }
    if (tokenizer == null) {
      throw new IllegalStateException(missing);
    }
    return tokenizer;
  }

  synchronized Optional<ChatTemplate> chatTemplate() {
    if (template == null) {
      template = read(templateReader);
    }
    return template;
  }

  private static <T> T read(Reader<T> reader) {
    try {
      return reader.read();
    } catch (IOException e) {
      throw new UncheckedIOException(e);
    }
  }

  @Override
  public synchronized void close() {
    if (tokenizer != null) {
      tokenizer.close();
    }
  }
}
