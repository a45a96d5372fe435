package io.github.attention4j.langchain4j;

import dev.langchain4j.model.chat.ChatModel;
import dev.langchain4j.model.chat.listener.ChatModelListener;
import dev.langchain4j.model.chat.request.ChatRequest;
import dev.langchain4j.model.chat.request.ChatRequestParameters;
import dev.langchain4j.model.chat.response.ChatResponse;
import java.util.List;

/**
 * Chats with a language model in this process.
 *
 * <pre>{@code
 * ChatModel model =
 *     Attention4jChatModel.builder().modelPath(Path.of("Qwen3-0.6B")).temperature(0.7).build();
 * Assistant assistant = AiServices.builder(Assistant.class).chatModel(model).tools(…).build();
 * }</pre>
 *
 * <p>Tools work if the model's chat template supports them. A JSON response format restricts the
 * model to one JSON object. What is not supported, such as a JSON schema, penalties or pictures, is
 * refused with {@link dev.langchain4j.exception.UnsupportedFeatureException}.
 */
public final class Attention4jChatModel implements ChatModel, AutoCloseable {
  private final OpenChat chat;

  private Attention4jChatModel(OpenChat chat) {
    this.chat = chat;
  }

  /**
   * Starts with the settings of the model's files.
   *
   * @return a builder
   */
  public static Builder builder() {
    return new Builder();
  }

  @Override
  public ChatResponse doChat(ChatRequest request) {
    return chat.answer(request, () -> false, text -> {});
  }

  @Override
  public ChatRequestParameters defaultRequestParameters() {
    return chat.defaults();
  }

  @Override
  public List<ChatModelListener> listeners() {
    return chat.listeners();
  }

  /** Releases the model if the builder opened it; closing again is a no-op. */
  @Override
  public void close() {
    chat.close();
  }

  /** Collects the options of a model. Not safe for use by several threads. */
  public static final class Builder extends ChatBuilder<Builder> {
    private Builder() {}

    /**
     * Opens the model.
     *
     * @return the model, to be closed
     * @throws IllegalArgumentException if not exactly one of modelPath and chat is set, or the
     *     model is not supported
     * @throws java.io.UncheckedIOException if a file cannot be read
     */
    public Attention4jChatModel build() {
      return new Attention4jChatModel(open());
    }
  }
}
