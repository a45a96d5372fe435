package io.github.attention4j.models.text;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import io.github.attention4j.models.CausalLm;
import io.github.attention4j.models.ChatTemplate;
import io.github.attention4j.models.Encoding;
import io.github.attention4j.models.Tokenizer;
import io.github.attention4j.models.testing.ScriptedModel;
import java.io.IOException;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;
import org.junit.jupiter.params.provider.ValueSource;

/** Tool calls in conversations: past ones in the prompt, and new ones marked by special tokens. */
class ChatToolsTest {
  private static final List<Tool> TOOLS = List.of(new Tool("weather", "", "{}"));
  private static final ToolCall CALL = new ToolCall("a1b2c3d4e", "weather", "{\"city\": \"Bern\"}");

  private static final String EACH_CALL =
      "{%- for m in messages -%}{{ m.role }}:"
          + "{%- if m.tool_calls is defined and COND -%}"
          + "{%- for c in m.tool_calls -%}{{ c.function.name ~ ARGS }}{%- endfor -%}"
          + "{%- else -%}{{ m.content }}{%- endif -%}|{%- endfor -%}";

  @TempDir Path directory;

  /** As templates of Hermes, Mistral, DeepSeek R1 and Qwen 3 Coder read calls. */
  @ParameterizedTest
  @CsvSource(
      delimiter = ';',
      quoteCharacter = '`',
      value = {
        "true; c.function.arguments | tojson; assistant:weather{\"city\": \"Bern\"}|",
        "true; ' ' + c.function.arguments; assistant:weather {\"city\": \"Bern\"}|",
        "true; c.function.arguments; assistant:weather{\"city\": \"Bern\"}|",
        "m.content is none; c.function.arguments | tojson;"
            + " assistant:Wait.|assistant:weather{\"city\": \"Bern\"}|",
        "m.content is none; ' ' + c.function.arguments;"
            + " assistant:Wait.|assistant:weather {\"city\": \"Bern\"}|",
        "true; c.function.arguments.items() | map('join', '=') | join;"
            + " assistant:weathercity=Bern|",
        "false; ''; assistant:Wait.|",
      })
  void shouldPassPastCallsAsTheTemplateReadsThem(
      String condition, String arguments, String wanted) {
    String source = EACH_CALL.replace("COND", condition).replace("ARGS", arguments);
    TemplateFormat format = new TemplateFormat(ChatTemplate.of(source, "", ""));
    List<ChatMessage> messages =
        List.of(
            ChatMessage.user("Where?"),
            new ChatMessage("assistant", "Wait.", List.of(CALL), null, null),
            new ChatMessage("tool", "sunny", List.of(), CALL.id(), "weather"));
    for (int round = 0; round < 2; round++) {
      assertEquals("user:Where?|" + wanted + "tool:sunny|", format.prompt(messages, List.of()));
    }
  }

  @Test
  void shouldAddNoEmptyMessageBesideCallsThatStandAlone() {
    String source =
        EACH_CALL.replace("COND", "m.content is none").replace("ARGS", "c.function.arguments");
    TemplateFormat format = new TemplateFormat(ChatTemplate.of(source, "", ""));
    assertEquals(
        "user:Where?|assistant:weather{\"city\": \"Bern\"}|",
        format.prompt(
            List.of(
                ChatMessage.user("Where?"),
                new ChatMessage("assistant", "", List.of(CALL), null, null)),
            List.of()));
  }

  /** As a template of DeepSeek R1 does, which writes texts and calls as turns of their own. */
  @Test
  void shouldAddNoEmptyTurnBesideCalls() {
    String source =
        "{%- for m in messages -%}{%- if m.tool_calls -%}"
            + "{%- set call = m.tool_calls[0].function -%}"
            + "{{ call.name + call.arguments + '|' }}{%- endif -%}"
            + "{%- if m.content is not none -%}{{ m.role + m.content + '|' }}{%- endif -%}"
            + "{%- endfor -%}";
    TemplateFormat format = new TemplateFormat(ChatTemplate.of(source, "", ""));
    for (String text : List.of("", "Wait.")) {
      ChatMessage call = new ChatMessage("assistant", text, List.of(CALL), null, null);
      assertEquals(
          "userWhere?|weather{\"city\": \"Bern\"}|" + (text.isEmpty() ? "" : "assistantWait.|"),
          format.prompt(List.of(ChatMessage.user("Where?"), call), List.of()));
    }
  }

  @ParameterizedTest
  @ValueSource(strings = {"{bad", "[1]", "1"})
  void shouldRefuseArgumentsThatAreNoObject(String arguments) {
    TemplateFormat format =
        new TemplateFormat(ChatTemplate.of("{{ messages }}{{ tools }}", "", ""));
    ToolCall call = new ToolCall("a1b2c3d4e", "weather", arguments);
    List<ChatMessage> past = List.of(new ChatMessage("assistant", "", List.of(call), null, null));
    assertEquals(
        "the arguments of a call of weather must be a JSON object: " + arguments,
        assertThrows(IllegalArgumentException.class, () -> format.prompt(past, List.of()))
            .getMessage());
    List<Tool> tools = List.of(new Tool("weather", "", arguments));
    assertEquals(
        "the parameters of weather must be a JSON object: " + arguments,
        assertThrows(
                IllegalArgumentException.class,
                () -> format.prompt(List.of(ChatMessage.user("Where?")), tools))
            .getMessage());
  }

  @Test
  void shouldTakeCallsWithoutArguments() {
    for (String arguments :
        List.of("c.function.arguments | tojson", "' ' + c.function.arguments")) {
      String source = EACH_CALL.replace("COND", "true").replace("ARGS", arguments);
      TemplateFormat format = new TemplateFormat(ChatTemplate.of(source, "", ""));
      ToolCall call = new ToolCall("a1b2c3d4e", "weather", "");
      String prompt =
          format.prompt(
              List.of(new ChatMessage("assistant", "", List.of(call), null, null)), List.of());
      assertEquals("assistant:weather{}|", prompt.replace(" ", ""));
    }
  }

  @Test
  void shouldAcceptTemplatesThatNeedToolsForTheirResults() {
    TemplateFormat format =
        new TemplateFormat(
            ChatTemplate.of("{{ tools | length if tools else raise_exception('none') }}", "", ""));
    assertEquals("1", format.prompt(List.of(ChatMessage.user("Where?")), TOOLS));
  }

  /** A tokenizer in which some of the script's characters are special tokens with other texts. */
  private record Marked(ScriptedModel script, Map<String, String> marks) implements Tokenizer {
    @Override
    public Encoding encode(String text, boolean special) {
      for (Map.Entry<String, String> mark : marks.entrySet()) {
        if (text.equals(mark.getValue())) {
          int token = 0;
          while (!script.decode(new int[] {token}, true).equals(mark.getKey())) {
            token++;
          }
          return new Encoding(new int[] {token}, new int[1], new int[1]);
        }
      }
      return script.encode(text, special);
    }

    @Override
    public Encoding encodePair(String first, String second) {
      return script.encodePair(first, second);
    }

    @Override
    public String decode(int[] tokens, boolean skipSpecial) {
      String text = script.decode(tokens, skipSpecial);
      for (Map.Entry<String, String> mark : marks.entrySet()) {
        text = text.replace(mark.getKey(), skipSpecial ? "" : mark.getValue());
      }
      return text;
    }

    @Override
    public int vocabulary() {
      return script.vocabulary();
    }

    @Override
    public void close() {}
  }

  @Test
  void shouldFindCallsMarkedBySpecialTokens() throws IOException {
    ScriptedModel script =
        new ScriptedModel(
            Map.of("A:", "Wait. ⓣweatherⓐ{\"city\": \"Bern\"}", "B:", "It is ⓧ sunny."));
    Tokenizer tokenizer =
        new Marked(script, Map.of("ⓣ", "[TOOL_CALLS]", "ⓐ", "[ARGS]", "ⓧ", "<other>"));
    List<String> shown = new ArrayList<>();
    try (CausalLm model = script.open(directory)) {
      Chat chat =
          new Chat(
              new TextGenerator(model, tokenizer),
              (messages, tools) -> messages.getLast().content() + ":");
      Chat.Reply reply = reply(chat, "A", TOOLS, shown);
      assertEquals("Wait.", reply.text());
      assertEquals("weather", reply.toolCalls().getFirst().name());
      assertEquals("{\"city\":\"Bern\"}", reply.toolCalls().getFirst().arguments());
      assertEquals("Wait. ", String.join("", shown));
      assertEquals("It is  sunny.", reply(chat, "B", TOOLS, shown).text());
      Chat.Reply plain = reply(chat, "A", List.of(), shown);
      assertEquals("Wait. weather{\"city\": \"Bern\"}", plain.text());
      assertTrue(plain.toolCalls().isEmpty());
      assertFalse(shown.isEmpty());
    }
  }

  private static Chat.Reply reply(Chat chat, String text, List<Tool> tools, List<String> shown) {
    shown.clear();
    TextGenerator.Request request = TextGenerator.request().maxTokens(100).build();
    return chat.reply(List.of(ChatMessage.user(text)), tools, request, shown::add);
  }
}
