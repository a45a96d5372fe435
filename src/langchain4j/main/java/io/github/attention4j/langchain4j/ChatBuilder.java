package io.github.attention4j.langchain4j;

import dev.langchain4j.model.chat.listener.ChatModelListener;
import dev.langchain4j.model.chat.request.ChatRequestParameters;
import io.github.attention4j.models.text.Chat;
import java.io.IOException;
import java.io.UncheckedIOException;
import java.nio.file.Path;
import java.util.List;
import java.util.Objects;

/**
 * The options that both chat models have. Not safe for several threads.
 *
 * @param <B> the builder itself
 */
public abstract class ChatBuilder<B extends ChatBuilder<B>> {
  private Path modelPath;
  private Chat chat;
  private String modelName;
  private Double temperature;
  private Double topP;
  private Integer topK;
  private Integer maxOutputTokens;
  private List<String> stopSequences;
  private Long seed;
  private List<ChatModelListener> listeners = List.of();

  ChatBuilder() {}

  @SuppressWarnings("unchecked") // B is the class that extends this one.
  private B self() {
    return (B) this;
  }

  /**
   * Opens the model at a path; see {@link Chat#open}.
   *
   * @param modelPath a directory from Hugging Face, or a GGUF file
   * @return this builder
   */
  public B modelPath(Path modelPath) {
    this.modelPath = Objects.requireNonNull(modelPath, "modelPath");
    return self();
  }

  /**
   * Uses a model that is open.
   *
   * @param chat is not closed by the model
   * @return this builder
   */
  public B chat(Chat chat) {
    this.chat = Objects.requireNonNull(chat, "chat");
    return self();
  }

  /**
   * Chooses what the model is called in responses and listeners.
   *
   * @param modelName any name; the file name of the path, or the family, by default
   * @return this builder
   */
  public B modelName(String modelName) {
    this.modelName = Objects.requireNonNull(modelName, "modelName");
    return self();
  }

  /**
   * Chooses the temperature of requests that do not say.
   *
   * @param temperature 0 takes the likeliest token
   * @return this builder
   */
  public B temperature(double temperature) {
    this.temperature = temperature;
    return self();
  }

  /**
   * Chooses top-p of requests that do not say.
   *
   * @param topP above 0, at most 1
   * @return this builder
   */
  public B topP(double topP) {
    this.topP = topP;
    return self();
  }

  /**
   * Chooses top-k of requests that do not say.
   *
   * @param topK at least 1
   * @return this builder
   */
  public B topK(int topK) {
    this.topK = topK;
    return self();
  }

  /**
   * Limits the new tokens of requests that do not say.
   *
   * @param maxOutputTokens at least 0; what the context has room for by default
   * @return this builder
   */
  public B maxOutputTokens(int maxOutputTokens) {
    this.maxOutputTokens = maxOutputTokens;
    return self();
  }

  /**
   * Ends answers before any of these, in requests that do not say.
   *
   * @param stopSequences texts, none of them empty
   * @return this builder
   */
  public B stopSequences(List<String> stopSequences) {
    this.stopSequences = List.copyOf(stopSequences);
    return self();
  }

  /**
   * Makes answers repeatable.
   *
   * @param seed the same seed gives the same answer; random by default
   * @return this builder
   */
  public B seed(long seed) {
    this.seed = seed;
    return self();
  }

  /**
   * Listens to requests and responses.
   *
   * @param listeners are told of each
   * @return this builder
   */
  public B listeners(List<ChatModelListener> listeners) {
    this.listeners = List.copyOf(listeners);
    return self();
  }

  /** What was chosen, and the model opened: later changes to this builder do not reach it. */
  OpenChat open() {
    if ((modelPath == null) == (chat == null)) {
      throw new IllegalArgumentException(
          "exactly one of modelPath and chat must be set: modelPath=%s, chat=%s"
              .formatted(modelPath, chat));
    }
    String family = chat == null ? "" : chat.generator().model().family();
    String name = modelName != null ? modelName : modelPath != null ? Names.of(modelPath) : family;
    ChatRequestParameters defaults =
        ChatRequestParameters.builder()
            .modelName(name)
            .temperature(temperature)
            .topP(topP)
            .topK(topK)
            .maxOutputTokens(maxOutputTokens)
            .stopSequences(stopSequences)
            .build();
    try {
      Chat opened = chat != null ? chat : Chat.open(modelPath);
      return new OpenChat(opened, chat == null, name, seed, defaults, listeners);
    } catch (IOException e) {
      throw new UncheckedIOException(e);
    }
  }
}
