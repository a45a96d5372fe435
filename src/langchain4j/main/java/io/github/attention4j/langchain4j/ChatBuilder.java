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
 * The options of both chat models. Not safe for use by several threads.
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
   * Uses an open model.
   *
   * @param chat the chat, which the model does not close
   * @return this builder
   */
  public B chat(Chat chat) {
    this.chat = Objects.requireNonNull(chat, "chat");
    return self();
  }

  /**
   * Sets the model's name in responses and listeners.
   *
   * @param modelName any name; the file name of the path, or the family, by default
   * @return this builder
   */
  public B modelName(String modelName) {
    this.modelName = Objects.requireNonNull(modelName, "modelName");
    return self();
  }

  /**
   * Sets the default temperature. Without it, the model's files decide, and it is 1 if they draw no
   * tokens.
   *
   * @param temperature 0 takes the likeliest token
   * @return this builder
   */
  public B temperature(double temperature) {
    this.temperature = temperature;
    return self();
  }

  /**
   * Sets the default top-p.
   *
   * @param topP above 0, at most 1
   * @return this builder
   */
  public B topP(double topP) {
    this.topP = topP;
    return self();
  }

  /**
   * Sets the default top-k.
   *
   * @param topK at least 1
   * @return this builder
   */
  public B topK(int topK) {
    this.topK = topK;
    return self();
  }

  /**
   * Sets the default limit of new tokens.
   *
   * @param maxOutputTokens at least 0; otherwise only the context is a limit
   * @return this builder
   */
  public B maxOutputTokens(int maxOutputTokens) {
    this.maxOutputTokens = maxOutputTokens;
    return self();
  }

  /**
   * Sets the default stop sequences, before which answers end.
   *
   * @param stopSequences texts, none of them empty
   * @return this builder
   */
  public B stopSequences(List<String> stopSequences) {
    this.stopSequences = List.copyOf(stopSequences);
    return self();
  }

  /**
   * Makes answers reproducible.
   *
   * @param seed the same seed gives the same answer; random by default
   * @return this builder
   */
  public B seed(long seed) {
    this.seed = seed;
    return self();
  }

  /**
   * Sets the listeners.
   *
   * @param listeners are notified of each request and response
   * @return this builder
   */
  public B listeners(List<ChatModelListener> listeners) {
    this.listeners = List.copyOf(listeners);
    return self();
  }

  /** The chosen options and the open model; later changes to this builder have no effect on it. */
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
