package io.github.attention4j.models.server;

import static org.junit.jupiter.api.Assertions.assertArrayEquals;
import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import com.google.gson.JsonParser;
import io.github.attention4j.models.text.Chat;
import io.github.attention4j.models.text.ChatMessage;
import java.io.IOException;
import java.net.URI;
import java.net.http.HttpClient;
import java.net.http.HttpRequest;
import java.net.http.HttpResponse;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.List;
import java.util.Map;
import org.junit.jupiter.api.BeforeEach;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;

/** Variables of chat templates, such as Qwen's enable_thinking, from Java and in requests. */
class TemplateVariablesTest {
  private static final Path MODEL =
      Path.of("src/models/test/resources/golden-models/encoder/qwen3_embedding");
  private static final List<ChatMessage> HELLO = List.of(ChatMessage.user("aaa"));

  @TempDir Path directory;

  @BeforeEach
  void write() throws IOException {
    for (String name :
        List.of("config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json")) {
      Files.copy(MODEL.resolve(name), directory.resolve(name));
    }
    Files.writeString(
        directory.resolve("chat_template.jinja"),
        "{{ messages[0].content }}{% if thinking is defined and thinking is false %} bbb{% endif %}"
            + "{{ ' ' ~ names | join(' ') if names is defined }}");
  }

  @Test
  void shouldReachTheTemplate() throws IOException {
    try (Chat chat = Chat.open(directory)) {
      assertArrayEquals(tokens(chat, "aaa"), chat.prompt(HELLO, List.of()));
      Chat brief = chat.templateVariables(Map.of("thinking", false));
      assertArrayEquals(tokens(chat, "aaa bbb"), brief.prompt(HELLO, List.of()));
      Chat named = brief.templateVariables(Map.of("names", List.of("aaa", "bbb")));
      assertArrayEquals(tokens(chat, "aaa aaa bbb"), named.prompt(HELLO, List.of()));
      String message =
          assertThrows(
                  IllegalArgumentException.class,
                  () -> chat.templateVariables(Map.of("messages", List.of())))
              .getMessage();
      assertTrue(message.endsWith(": messages"), message);
    }
  }

  private static int[] tokens(Chat chat, String text) {
    return chat.generator().tokenizer().encode(text, false).tokens();
  }

  @Test
  void shouldBeTakenFromARequest() throws Exception {
    try (Chat chat = Chat.open(directory);
        OpenAiServer server = OpenAiServer.builder().port(0).chat("brief", chat).start()) {
      int plain = promptTokens(ask(server, ""));
      String given = ", \"chat_template_kwargs\": {\"thinking\": false, \"names\": [\"aaa\"]}";
      assertEquals(tokens(chat, "aaa").length, plain);
      assertEquals(tokens(chat, "aaa bbb aaa").length, promptTokens(ask(server, given)));
      for (String bad : List.of("3", "{\"tools\": []}")) {
        HttpResponse<String> answer = ask(server, ", \"chat_template_kwargs\": " + bad);
        assertEquals(400, answer.statusCode(), bad);
        assertTrue(answer.body().contains("chat_template_kwargs"), answer.body());
      }
    }
  }

  private static int promptTokens(HttpResponse<String> answer) {
    assertEquals(200, answer.statusCode(), answer.body());
    return JsonParser.parseString(answer.body())
        .getAsJsonObject()
        .getAsJsonObject("usage")
        .get("prompt_tokens")
        .getAsInt();
  }

  private static HttpResponse<String> ask(OpenAiServer server, String more) throws Exception {
    URI uri =
        URI.create("http://127.0.0.1:%d/v1/chat/completions".formatted(server.address().getPort()));
    String body =
        "{\"max_tokens\": 1, \"messages\": [{\"role\": \"user\", \"content\": \"aaa\"}]"
            + more
            + "}";
    HttpRequest request =
        HttpRequest.newBuilder(uri)
            .header("Content-Type", "application/json")
            .POST(HttpRequest.BodyPublishers.ofString(body))
            .build();
    try (HttpClient client = HttpClient.newHttpClient()) {
      return client.send(request, HttpResponse.BodyHandlers.ofString());
    }
  }
}
