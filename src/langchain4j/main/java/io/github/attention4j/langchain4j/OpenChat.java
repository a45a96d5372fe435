package io.github.attention4j.langchain4j;

import dev.langchain4j.agent.tool.ToolExecutionRequest;
import dev.langchain4j.agent.tool.ToolSpecification;
import dev.langchain4j.data.message.AiMessage;
import dev.langchain4j.data.message.ChatMessage;
import dev.langchain4j.data.message.Content;
import dev.langchain4j.data.message.SystemMessage;
import dev.langchain4j.data.message.TextContent;
import dev.langchain4j.data.message.ToolExecutionResultMessage;
import dev.langchain4j.data.message.UserMessage;
import dev.langchain4j.exception.UnsupportedFeatureException;
import dev.langchain4j.internal.Json;
import dev.langchain4j.internal.JsonSchemaElementUtils;
import dev.langchain4j.model.chat.listener.ChatModelListener;
import dev.langchain4j.model.chat.request.ChatRequest;
import dev.langchain4j.model.chat.request.ChatRequestParameters;
import dev.langchain4j.model.chat.request.ResponseFormat;
import dev.langchain4j.model.chat.request.ResponseFormatType;
import dev.langchain4j.model.chat.request.ToolChoice;
import dev.langchain4j.model.chat.response.ChatResponse;
import dev.langchain4j.model.output.FinishReason;
import dev.langchain4j.model.output.TokenUsage;
import io.github.attention4j.models.CausalLm;
import io.github.attention4j.models.Sampler;
import io.github.attention4j.models.text.Chat;
import io.github.attention4j.models.text.TextGenerator;
import io.github.attention4j.models.text.Tool;
import io.github.attention4j.models.text.ToolCall;
import java.util.List;
import java.util.Map;
import java.util.concurrent.ThreadLocalRandom;
import java.util.function.BooleanSupplier;
import java.util.function.Consumer;

/**
 * The common part of both chat models, which translates LangChain4j's requests and responses.
 *
 * @param owned whether closing releases the chat
 * @param seed the seed of the sampler; null for a random one in each request
 */
record OpenChat(
    Chat chat,
    boolean owned,
    String modelName,
    Long seed,
    ChatRequestParameters defaults,
    List<ChatModelListener> listeners)
    implements AutoCloseable {
  /** Answers a request. */
  ChatResponse answer(ChatRequest request, BooleanSupplier cancelled, Consumer<String> onText) {
    List<Tool> tools = tools(request.parameters());
    List<io.github.attention4j.models.text.ChatMessage> messages =
        request.messages().stream().map(OpenChat::message).toList();
    Chat.Reply reply =
        chat.reply(messages, tools, options(request.parameters(), tools, cancelled), onText);
    TextGenerator.Result result = reply.generated();
    return ChatResponse.builder()
        .aiMessage(message(reply))
        .modelName(modelName)
        .tokenUsage(new TokenUsage(result.promptTokens(), result.newTokens()))
        .finishReason(finish(reply))
        .build();
  }

  private static AiMessage message(Chat.Reply reply) {
    if (reply.toolCalls().isEmpty()) {
      return AiMessage.from(reply.text());
    }
    List<ToolExecutionRequest> requests =
        reply.toolCalls().stream()
            .map(
                call ->
                    ToolExecutionRequest.builder()
                        .id(call.id())
                        .name(call.name())
                        .arguments(call.arguments())
                        .build())
            .toList();
    return reply.text().isBlank()
        ? AiMessage.from(requests)
        : AiMessage.from(reply.text(), requests);
  }

  private static FinishReason finish(Chat.Reply reply) {
    if (!reply.toolCalls().isEmpty()) {
      return FinishReason.TOOL_EXECUTION;
    }
    return switch (reply.generated().finish()) {
      case END, STOP_TEXT -> FinishReason.STOP;
      case LENGTH -> FinishReason.LENGTH;
      case TIME, CANCELLED -> FinishReason.OTHER;
    };
  }

  private static io.github.attention4j.models.text.ChatMessage message(ChatMessage message) {
    return switch (message) {
      case SystemMessage system ->
          io.github.attention4j.models.text.ChatMessage.system(system.text());
      case UserMessage user ->
          new io.github.attention4j.models.text.ChatMessage(
              "user", text(user.contents()), List.of(), null, user.name());
      case AiMessage ai ->
          new io.github.attention4j.models.text.ChatMessage(
              "assistant",
              ai.text() == null ? "" : ai.text(),
              ai.toolExecutionRequests().stream()
                  .map(
                      call ->
                          new ToolCall(
                              call.id() == null ? "" : call.id(),
                              call.name(),
                              call.arguments() == null ? "" : call.arguments()))
                  .toList(),
              null,
              null);
      case ToolExecutionResultMessage result ->
          new io.github.attention4j.models.text.ChatMessage(
              "tool", text(result.contents()), List.of(), result.id(), result.toolName());
      default ->
          throw new UnsupportedFeatureException(
              "messages of type " + message.type() + " are not supported");
    };
  }

  private static String text(List<Content> contents) {
    StringBuilder text = new StringBuilder();
    for (Content content : contents) {
      if (!(content instanceof TextContent piece)) {
        throw new UnsupportedFeatureException(
            "content of type " + content.type() + " is not supported, only text is");
      }
      text.append(text.isEmpty() ? "" : "\n").append(piece.text());
    }
    return text.toString();
  }

  private static List<Tool> tools(ChatRequestParameters parameters) {
    if (parameters.toolChoice() == ToolChoice.REQUIRED) {
      throw new UnsupportedFeatureException("toolChoice REQUIRED is not supported");
    }
    List<ToolSpecification> given = parameters.toolSpecifications();
    if (given == null || parameters.toolChoice() == ToolChoice.NONE) {
      return List.of();
    }
    return given.stream()
        .map(
            tool ->
                new Tool(
                    tool.name(),
                    tool.description() == null ? "" : tool.description(),
                    Json.toJson(
                        tool.parameters() == null
                            ? Map.of("type", "object", "properties", Map.of())
                            : JsonSchemaElementUtils.toMap(tool.parameters()))))
        .toList();
  }

  /** What a request leaves open is as the model's files say, and drawn if they draw no tokens. */
  private TextGenerator.Request options(
      ChatRequestParameters parameters, List<Tool> tools, BooleanSupplier cancelled) {
    String name = parameters.modelName();
    if (name != null && !name.equals(modelName)) {
      throw new IllegalArgumentException(
          "modelName must be the model's: modelName=" + name + ", model=" + modelName);
    }
    CausalLm model = chat.generator().model();
    Sampler own = model.defaultSampler();
    Sampler.Builder sampler =
        own.toBuilder().seed(seed == null ? ThreadLocalRandom.current().nextLong() : seed);
    if (own.isGreedy()) {
      sampler.temperature(1);
    }
    if (parameters.temperature() != null) {
      sampler.temperature(parameters.temperature());
    }
    if (parameters.topP() != null) {
      sampler.topP(parameters.topP());
    }
    if (parameters.topK() != null) {
      sampler.topK(parameters.topK());
    }
    if (parameters.frequencyPenalty() != null) {
      sampler.frequencyPenalty(parameters.frequencyPenalty());
    }
    if (parameters.presencePenalty() != null) {
      sampler.presencePenalty(parameters.presencePenalty());
    }
    TextGenerator.Builder request =
        TextGenerator.request(model).sampler(sampler.build()).cancelled(cancelled);
    if (parameters.maxOutputTokens() != null) {
      request.maxTokens(parameters.maxOutputTokens());
    }
    if (parameters.stopSequences() != null) {
      request.stop(parameters.stopSequences());
    }
    ResponseFormat format = parameters.responseFormat();
    if (format != null && format.type() == ResponseFormatType.JSON) {
      if (format.jsonSchema() != null) {
        throw new UnsupportedFeatureException("a JSON schema of the response is not supported");
      }
      if (!tools.isEmpty()) {
        throw new UnsupportedFeatureException("a JSON response cannot be combined with tools");
      }
      request.json();
    }
    return request.build();
  }

  @Override
  public void close() {
    if (owned) {
      chat.close();
    }
  }
}
