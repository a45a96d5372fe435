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
      assertTrue(ToolCalls.mayBegin(answer.substring(0, length)), answer.substring(0, length));
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
  }
}
