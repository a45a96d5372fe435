package io.github.attention4j.langchain4j;

import dev.langchain4j.agent.tool.ToolExecutionRequest;
import dev.langchain4j.model.chat.StreamingChatModel;
import dev.langchain4j.model.chat.listener.ChatModelListener;
import dev.langchain4j.model.chat.request.ChatRequest;
import dev.langchain4j.model.chat.request.ChatRequestParameters;
import dev.langchain4j.model.chat.response.ChatResponse;
import dev.langchain4j.model.chat.response.CompleteToolCall;
import dev.langchain4j.model.chat.response.PartialResponse;
import dev.langchain4j.model.chat.response.PartialResponseContext;
import dev.langchain4j.model.chat.response.StreamingChatResponseHandler;
import dev.langchain4j.model.chat.response.StreamingHandle;
import java.util.List;
import java.util.concurrent.atomic.AtomicBoolean;

/**
 * Chats with a language model in this process and streams the answer.
 *
 * <p>{@code chat} returns at once; the handler is called in a separate thread for each request.
 * Cancelling through the handle of the context ends the text after the current token, and the
 * handler is not called any more. Options and limits are those of {@link Attention4jChatModel}.
 */
public final class Attention4jStreamingChatModel implements StreamingChatModel, AutoCloseable {
  private final OpenChat chat;

  private Attention4jStreamingChatModel(OpenChat chat) {
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
  public void doChat(ChatRequest request, StreamingChatResponseHandler handler) {
    Thread.ofPlatform().name("attention4j-chat").daemon().start(() -> answer(request, handler));
  }

  private void answer(ChatRequest request, StreamingChatResponseHandler handler) {
    Handle handle = new Handle();
    PartialResponseContext context = new PartialResponseContext(handle);
    try {
      ChatResponse response =
          chat.answer(
              request,
              handle::isCancelled,
              text -> handler.onPartialResponse(new PartialResponse(text), context));
      if (handle.isCancelled()) {
        return;
      }
      List<ToolExecutionRequest> calls = response.aiMessage().toolExecutionRequests();
      for (int i = 0; i < calls.size(); i++) {
        handler.onCompleteToolCall(new CompleteToolCall(i, calls.get(i)));
      }
      handler.onCompleteResponse(response);
    } catch (RuntimeException | Error e) {
      handler.onError(e);
    }
  }

  /** Lets the handler cancel. */
  private static final class Handle implements StreamingHandle {
    private final AtomicBoolean cancelled = new AtomicBoolean();

    @Override
    public void cancel() {
      cancelled.set(true);
    }

    @Override
    public boolean isCancelled() {
      return cancelled.get();
    }
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
    public Attention4jStreamingChatModel build() {
      return new Attention4jStreamingChatModel(open());
    }
  }
}
