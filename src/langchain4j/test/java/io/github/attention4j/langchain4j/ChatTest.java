package io.github.attention4j.langchain4j;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import dev.langchain4j.agent.tool.P;
import dev.langchain4j.agent.tool.Tool;
import dev.langchain4j.data.image.Image;
import dev.langchain4j.data.message.ImageContent;
import dev.langchain4j.data.message.UserMessage;
import dev.langchain4j.exception.UnsupportedFeatureException;
import dev.langchain4j.memory.chat.MessageWindowChatMemory;
import dev.langchain4j.model.chat.request.ChatRequest;
import dev.langchain4j.model.chat.request.ResponseFormat;
import dev.langchain4j.model.chat.request.ToolChoice;
import dev.langchain4j.model.chat.response.ChatResponse;
import dev.langchain4j.model.chat.response.PartialResponse;
import dev.langchain4j.model.chat.response.PartialResponseContext;
import dev.langchain4j.model.chat.response.StreamingChatResponseHandler;
import dev.langchain4j.model.output.FinishReason;
import dev.langchain4j.service.AiServices;
import dev.langchain4j.service.SystemMessage;
import dev.langchain4j.service.TokenStream;
import io.github.attention4j.models.CausalLm;
import io.github.attention4j.models.testing.ScriptedModel;
import io.github.attention4j.models.text.Chat;
import io.github.attention4j.models.text.TextGenerator;
import java.nio.file.Path;
import java.time.Duration;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.TimeUnit;
import java.util.stream.Collectors;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.BeforeEach;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;

/** A model that follows a script, behind LangChain4j's interfaces and an AI service. */
class ChatTest {
  @TempDir private Path directory;
  private CausalLm lm;
  private Chat chat;
  private final List<String> prompts = new ArrayList<>();

  /** An AI service. */
  interface Assistant {
    @SystemMessage("Be brief.")
    String ask(String question);
  }

  /** An AI service that streams. */
  interface StreamingAssistant {
    TokenStream ask(String question);
  }

  /** A tool. */
  static final class Weather {
    private final List<String> asked = new ArrayList<>();

    @Tool("Looks the weather up")
    String weather(@P("the city") String city) {
      asked.add(city);
      return "sunny";
    }
  }

  @BeforeEach
  void open() throws Exception {
    String call =
        "{\"name\": \"weather\", \"arguments\": {\"arg0\": \"Bern\", \"city\": \"Bern\"}}";
    ScriptedModel script =
        new ScriptedModel(
            Map.of(
                "hello<answer>", "Good morning!",
                "Bern?<answer>", "<tool_call>" + call + "</tool_call>",
                "sunny<answer>", "It is sunny in Bern.",
                "loop<answer>", "on and on" + ScriptedModel.ENDLESS,
                "{", "\"a\": 1}"));
    lm = script.open(directory);
    chat =
        new Chat(
            new TextGenerator(lm, script),
            (messages, tools) -> {
              String prompt =
                  tools.stream().map(tool -> tool.name() + tool.parameters()).toList()
                      + messages.stream()
                          .map(message -> message.role() + ":" + message.content())
                          .collect(Collectors.joining("\n"))
                      + "<answer>";
              prompts.add(prompt);
              return prompt;
            });
  }

  @AfterEach
  void close() {
    lm.close();
  }

  private Attention4jChatModel model() {
    return Attention4jChatModel.builder().chat(chat).temperature(0).modelName("scripted").build();
  }

  private static ChatRequest.Builder hello() {
    return ChatRequest.builder().messages(UserMessage.from("hello"));
  }

  @Test
  void shouldAnswer() {
    ChatResponse response = model().chat(UserMessage.from("hello"));
    assertEquals("Good morning!", response.aiMessage().text());
    assertEquals(FinishReason.STOP, response.finishReason());
    assertEquals("scripted", response.modelName());
    assertEquals(14, response.tokenUsage().outputTokenCount());
    ChatResponse cut = model().chat(hello().maxOutputTokens(4).build());
    assertEquals("Good", cut.aiMessage().text());
    assertEquals(FinishReason.LENGTH, cut.finishReason());
    ChatRequest stopped = hello().stopSequences(List.of("morn")).build();
    assertEquals("Good ", model().chat(stopped).aiMessage().text());
  }

  @Test
  void shouldServeAnAiServiceThatCallsATool() {
    Weather weather = new Weather();
    Assistant assistant =
        AiServices.builder(Assistant.class)
            .chatModel(model())
            .chatMemory(MessageWindowChatMemory.withMaxMessages(10))
            .tools(weather)
            .build();
    assertEquals("It is sunny in Bern.", assistant.ask("What is it like in Bern?"));
    assertEquals(List.of("Bern"), weather.asked);
    String first = prompts.getFirst();
    assertTrue(first.startsWith("[weather{"), first);
    assertTrue(first.contains("the city"), first);
    assertTrue(first.endsWith("system:Be brief.\nuser:What is it like in Bern?<answer>"), first);
    assertTrue(prompts.getLast().endsWith("tool:sunny<answer>"), prompts.getLast());
    assertEquals("Good morning!", assistant.ask("hello"));
  }

  @Test
  void shouldStreamToAnAiService() throws Exception {
    Attention4jStreamingChatModel streaming =
        Attention4jStreamingChatModel.builder().chat(chat).temperature(0).build();
    Weather weather = new Weather();
    StreamingAssistant assistant =
        AiServices.builder(StreamingAssistant.class)
            .streamingChatModel(streaming)
            .tools(weather)
            .build();
    List<String> pieces = new ArrayList<>();
    CompletableFuture<ChatResponse> answer = new CompletableFuture<>();
    assistant
        .ask("What is it like in Bern?")
        .onPartialResponse(pieces::add)
        .onCompleteResponse(answer::complete)
        .onError(answer::completeExceptionally)
        .start();
    assertEquals("It is sunny in Bern.", answer.get(60, TimeUnit.SECONDS).aiMessage().text());
    assertEquals("It is sunny in Bern.", String.join("", pieces));
    assertTrue(pieces.size() > 10, pieces.toString());
    assertEquals(List.of("Bern"), weather.asked);
  }

  @Test
  void shouldEndWhenAHandlerCancels() throws Exception {
    Attention4jStreamingChatModel streaming =
        Attention4jStreamingChatModel.builder().chat(chat).temperature(0).build();
    CompletableFuture<Thread> cancelled = new CompletableFuture<>();
    CompletableFuture<String> ended = new CompletableFuture<>();
    StringBuilder heard = new StringBuilder();
    streaming.chat(
        ChatRequest.builder().messages(UserMessage.from("loop")).build(),
        new StreamingChatResponseHandler() {
          @Override
          public void onPartialResponse(PartialResponse piece, PartialResponseContext context) {
            heard.append(piece.text());
            if (heard.length() == 12) {
              context.streamingHandle().cancel();
              cancelled.complete(Thread.currentThread());
            }
          }

          @Override
          public void onCompleteResponse(ChatResponse response) {
            ended.complete("complete");
          }

          @Override
          public void onError(Throwable error) {
            ended.complete("error");
          }
        });
    assertTrue(cancelled.get(60, TimeUnit.SECONDS).join(Duration.ofSeconds(60)));
    assertEquals("on and on…on", heard.toString());
    assertFalse(ended.isDone());
  }

  @Test
  void shouldHandErrorsToTheHandler() throws Exception {
    Attention4jStreamingChatModel streaming =
        Attention4jStreamingChatModel.builder().chat(chat).build();
    CompletableFuture<Throwable> error = new CompletableFuture<>();
    streaming.chat(
        "x".repeat(5000),
        new StreamingChatResponseHandler() {
          @Override
          public void onCompleteResponse(ChatResponse response) {
            error.complete(null);
          }

          @Override
          public void onError(Throwable e) {
            error.complete(e);
          }
        });
    assertTrue(error.get(60, TimeUnit.SECONDS).getMessage().contains("context=2048"));
  }

  @Test
  void shouldWriteJsonWhenAsked() {
    ChatRequest request = hello().responseFormat(ResponseFormat.JSON).build();
    assertEquals("{\"a\": 1}", model().chat(request).aiMessage().text().strip());
  }

  /** Negative penalties reward a token for being there already. */
  @Test
  void shouldPenaliseTokens() {
    ChatRequest.Builder request = hello().temperature(0.0).maxOutputTokens(3);
    assertEquals("Goo", model().chat(request.build()).aiMessage().text());
    request.frequencyPenalty(-20.0);
    assertEquals("GGG", model().chat(request.build()).aiMessage().text());
    request.frequencyPenalty(null).presencePenalty(-20.0);
    assertEquals("GGG", model().chat(request.build()).aiMessage().text());
  }

  @Test
  void shouldRefuseWhatItDoesNotSupport() {
    ChatRequest other = hello().modelName("gpt").build();
    assertEquals(
        "modelName must be the model's: modelName=gpt, model=scripted",
        assertThrows(IllegalArgumentException.class, () -> model().chat(other)).getMessage());
    ChatRequest required = hello().toolChoice(ToolChoice.REQUIRED).build();
    assertThrows(UnsupportedFeatureException.class, () -> model().chat(required));
    UserMessage picture =
        UserMessage.from(ImageContent.from(Image.builder().url("http://localhost/a.png").build()));
    assertThrows(UnsupportedFeatureException.class, () -> model().chat(picture));
    assertThrows(IllegalArgumentException.class, () -> Attention4jChatModel.builder().build());
  }
}
