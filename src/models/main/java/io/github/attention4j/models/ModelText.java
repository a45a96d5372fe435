package io.github.attention4j.models;

import io.github.attention4j.internal.Json;
import io.github.attention4j.models.files.Settings;
import io.github.attention4j.models.gguf.GgufFile;
import java.io.IOException;
import java.io.UncheckedIOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.HashMap;
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

  private static final String DEFAULT = "default";

  /** The name of the template for conversations with tools, if there are several. */
  private static final String TOOL_USE = "tool_use";

  /** Special tokens by the names that Transformers has for them. */
  private static final List<String> TOKENS =
      List.of(
          "bos_token",
          "eos_token",
          "unk_token",
          "sep_token",
          "pad_token",
          "cls_token",
          "mask_token");

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
          Object toolUse = file.metadata().get("tokenizer.chat_template." + TOOL_USE);
          return Optional.of(
              template(
                  source, toolUse instanceof String text ? text : null, tokenizer.namedTokens()));
        });
  }

  private static Optional<ChatTemplate> template(Path directory) throws IOException {
    Path file = directory.resolve("tokenizer_config.json");
    Settings config =
        Files.exists(file) ? Settings.read(file) : Settings.of(file.toString(), Map.of());
    Path own = directory.resolve("chat_template.jinja");
    Path more = directory.resolve("additional_chat_templates").resolve(TOOL_USE + ".jinja");
    String source;
    String toolUse;
    if (Files.exists(own)) {
      source = Files.readString(own);
      toolUse = Files.exists(more) ? Files.readString(more) : null;
    } else {
      Map<String, String> sources = sources(config);
      source = sources.get(DEFAULT);
      toolUse = sources.get(TOOL_USE);
    }
    return source == null
        ? Optional.empty()
        : Optional.of(template(source, toolUse, tokens(directory, config)));
  }

  private static ChatTemplate template(String source, String toolUse, Map<String, String> tokens) {
    ChatTemplate template = ChatTemplate.of(source, tokens);
    return toolUse == null ? template : template.withToolUse(ChatTemplate.of(toolUse, tokens));
  }

  /** The special tokens that Transformers passes to templates, which may be in two files. */
  private static Map<String, String> tokens(Path directory, Settings config) throws IOException {
    Map<String, String> tokens = new HashMap<>();
    tokens.put("bos_token", "");
    tokens.put("eos_token", "");
    tokens(config, tokens);
    Path older = directory.resolve("special_tokens_map.json");
    if (!config.has("added_tokens_decoder") && Files.exists(older)) {
      tokens(Settings.read(older), tokens);
    }
    return tokens;
  }

  private static void tokens(Settings config, Map<String, String> tokens) {
    for (String name : TOKENS) {
      if (config.has(name)) {
        tokens.put(name, token(config, name));
      }
    }
    // Tokens that only some models have, such as image_token. A list of them has no names.
    for (String key : List.of("extra_special_tokens", "model_specific_special_tokens")) {
      if (config.value(key) instanceof Map<?, ?>) {
        Settings own = config.object(key);
        for (String name : own.keys()) {
          tokens.put(name, token(own, name));
        }
      }
    }
  }

  /** One template, the default, or a list of named ones. */
  private static Map<String, String> sources(Settings config) {
    Map<String, String> sources = new HashMap<>();
    switch (config.value("chat_template")) {
      case null -> {}
      case String source -> sources.put(DEFAULT, source);
      case List<?> named -> {
        for (Object each : named) {
          if (each instanceof Map<?, ?> template
              && template.get("name") instanceof String name
              && template.get("template") instanceof String source) {
            sources.put(name, source);
          }
        }
        if (!sources.containsKey(DEFAULT)) {
          throw config.refused("chat_template", "a text, or a list with one named \"default\"");
        }
      }
      case Object other -> throw config.refused("chat_template", "a text, not " + Json.show(other));
    }
    return sources;
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
