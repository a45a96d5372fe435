package io.github.attention4j.models.text;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertTrue;

import java.util.List;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.ValueSource;

/** The forms in which models write tool calls. */
class ToolCallsTest {
  private static final List<Tool> TOOLS =
      List.of(new Tool("weather", "", "{}"), new Tool("time", "", "{}"));

  @ParameterizedTest
  @ValueSource(
      strings = {
        "<tool_call>\n{'name': 'weather', 'arguments': {'city': 'Bern'}}\n</tool_call>\n"
            + "<tool_call>\n{'name': 'time', 'arguments': {}}\n</tool_call>",
        "[TOOL_CALLS][{'name': 'weather', 'arguments': {'city': 'Bern'}}, {'name': 'time'}]",
        "[TOOL_CALLS]weather[ARGS]{'city': 'Bern'}[TOOL_CALLS]time[ARGS]{}",
        "[TOOL_CALLS]weather[CALL_ID]a1b2c3d4e[ARGS]{'city': 'Bern'}[TOOL_CALLS]time[ARGS]{}",
        "<|python_tag|>{'name': 'weather', 'parameters': {'city': 'Bern'}}; {'name': 'time'}",
        "{'name': 'weather', 'parameters': {'city': 'Bern'}}, {'name': 'time', 'parameters': {}}",
        "<|tool_call|>[{'name': 'weather', 'arguments': {'city': 'Bern'}}, {'name': 'time'}]",
        "<|tool_call|>[{'name': 'weather', 'arguments': {'city': 'Bern'}}, {'name': 'time'}]"
            + "<|/tool_call|>",
        "functools[{'name': 'weather', 'arguments': {'city': 'Bern'}}, {'name': 'time'}]",
        "Action: ```json\n[\n  {'tool_name': 'weather', 'parameters': {'city': 'Bern'}},\n"
            + "  {'tool_name': 'time', 'parameters': {}}\n]\n```",
        "Plan: I ask.\nAction: ```json\n[{'tool_name': 'weather', 'parameters': {'city': 'Bern'}},"
            + " {'tool_name': 'time', 'parameters': {}}]```",
        "```json\n[{'name': 'weather', 'arguments': {'city': 'Bern'}}, {'name': 'time'}]\n```",
        "```json\n{'name': 'weather', 'arguments': {'city': 'Bern'}}\n```\n"
            + "```json\n{'name': 'time', 'arguments': {}}\n```",
        "```\n{'name': 'weather', 'arguments': {'city': 'Bern'}}; {'name': 'time'}\n```",
        "<｜tool▁calls▁begin｜><｜tool▁call▁begin｜>function<｜tool▁sep｜>weather\n```json\n"
            + "{'city': 'Bern'}\n```<｜tool▁call▁end｜>\n<｜tool▁call▁begin｜>function<｜tool▁sep｜>"
            + "time\n```json\n{}\n```<｜tool▁call▁end｜><｜tool▁calls▁end｜>",
        "<｜tool▁call▁begin｜>weather<｜tool▁sep｜>{'city': 'Bern'}<｜tool▁call▁end｜>"
            + "<｜tool▁call▁begin｜>time<｜tool▁sep｜>{}<｜tool▁call▁end｜>",
      })
  void shouldFindTwoCalls(String form) {
    String answer = form.replace('\'', '"');
    ToolCalls found = ToolCalls.parse(answer, TOOLS);
    assertEquals("", found.text(), answer);
    assertEquals(2, found.calls().size(), answer);
    assertEquals("weather", found.calls().get(0).name());
    assertEquals("{\"city\":\"Bern\"}", found.calls().get(0).arguments());
    assertEquals("time", found.calls().get(1).name());
    assertEquals("{}", found.calls().get(1).arguments());
    for (int length = 0; length <= answer.length(); length++) {
      String begun = answer.substring(0, length);
      assertTrue(ToolCalls.mayBegin(begun) || ToolCalls.firstMark(begun) == 0, begun);
    }
  }

  @ParameterizedTest
  @ValueSource(
      strings = {
        "<tool_call>{'name': 'time'}</tool_call>",
        "[TOOL_CALLS]time[ARGS]{}",
        "<|tool_call|>[{'name': 'time'}]",
        "<|python_tag|>{'name': 'time', 'parameters': {}}",
        "<｜tool▁calls▁begin｜><｜tool▁call▁begin｜>function<｜tool▁sep｜>time\n```json\n{}\n```",
      })
  void shouldKeepTheTextBeforeACall(String form) {
    String answer = "<think>Hm.</think> Wait. " + form.replace('\'', '"');
    ToolCalls found = ToolCalls.parse(answer, TOOLS);
    assertEquals("<think>Hm.</think> Wait.", found.text());
    assertEquals("time", found.calls().getFirst().name());
    assertFalse(ToolCalls.mayBegin(answer));
    for (int length = 25; length <= answer.length(); length++) {
      assertEquals(25, ToolCalls.firstMark(answer.substring(0, length)));
    }
  }

  @Test
  void shouldKeepTheIdThatTheModelGives() {
    String answer = "[TOOL_CALLS]time[CALL_ID]a1b2c3d4e[ARGS]{}";
    assertEquals("a1b2c3d4e", ToolCalls.parse(answer, TOOLS).calls().getFirst().id());
  }

  @ParameterizedTest
  @ValueSource(
      strings = {
        "It is sunny.",
        "{'name': 'other', 'arguments': {}}",
        "{'name': 'time', 'arguments': {}} and more",
        "{'name': 'time', 'arguments': {}};",
        "[1, 2]",
        "[TOOL_CALLS]other[ARGS]{}",
        "[TOOL_CALLS]time[ARGS]{",
        "[TOOL_CALLS]time[ARGS]{}[TOOL_CALLS]",
        "functools",
        "[TOOL_CALLS]x[TOOL_CALLS]time[ARGS]{}",
        "Action: ```json\n[]\n```",
        "```json\n{'name': 'other', 'arguments': {}}\n```",
        "```json\n{'name': 'time', 'arguments': {}}\n``` and more",
        "```json\n{'name': 'time', 'arguments': {}}",
        "```java\nint x;\n```",
        "<｜tool▁sep｜>",
        "<｜tool▁call▁begin｜>time{}<｜tool▁sep｜>",
        "<｜tool▁call▁begin｜>other<｜tool▁sep｜>{}<｜tool▁call▁end｜>",
        "<｜tool▁calls▁end｜><｜tool▁calls▁begin｜><｜tool▁sep｜>",
        "<｜tool▁calls▁begin｜><｜tool▁sep｜>",
        "Action: ```json\n[{'tool_name': 'directly-answer', 'parameters': {}}]\n```",
      })
  void shouldLeaveOtherTextsAsTheyAre(String form) {
    String answer = form.replace('\'', '"');
    ToolCalls found = ToolCalls.parse(answer, TOOLS);
    assertEquals(answer, found.text());
    assertTrue(found.calls().isEmpty(), answer);
  }

  @Test
  void shouldShowTextsThatCannotBecomeCalls() {
    assertFalse(ToolCalls.mayBegin("It"));
    assertFalse(ToolCalls.mayBegin("Actually"));
    assertTrue(ToolCalls.mayBegin("Act"));
    assertFalse(ToolCalls.mayBegin("<think>"));
    assertFalse(ToolCalls.mayBegin("```java"));
  }
}
