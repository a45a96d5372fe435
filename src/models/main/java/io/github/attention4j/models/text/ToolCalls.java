package io.github.attention4j.models.text;

import com.google.gson.JsonArray;
import com.google.gson.JsonElement;
import com.google.gson.JsonObject;
import com.google.gson.JsonParseException;
import com.google.gson.JsonParser;
import com.google.gson.JsonPrimitive;
import java.util.ArrayList;
import java.util.List;
import java.util.UUID;

/**
 * Finds the tool calls in a model's answer.
 *
 * <p>Models write them in one of these forms, with {@code arguments} or {@code parameters}:
 *
 * <pre>
 *   &lt;tool_call&gt;{"name": …, "arguments": {…}}&lt;/tool_call&gt; …     Hermes, Qwen
 *   [TOOL_CALLS][{"name": …, "arguments": {…}}, …]                Mistral
 *   {"name": …, "parameters": {…}}                               Llama 3, perhaps after &lt;|python_tag|&gt;
 * </pre>
 *
 * @param text the text of the answer without the calls
 * @param calls the calls, in order
 */
record ToolCalls(String text, List<ToolCall> calls) {
  private static final String OPEN = "<tool_call>";
  private static final String CLOSE = "</tool_call>";
  private static final String MISTRAL = "[TOOL_CALLS]";
  private static final String PYTHON = "<|python_tag|>";

  /** Whether text that begins like this may be a call, and must not be shown yet. */
  static boolean mayBegin(String text) {
    String begun = text.stripLeading();
    return begun.startsWith("{")
        || begun.startsWith("[")
        || begun.startsWith("<")
        || begun.isEmpty();
  }

  /** Reads an answer; anything that is not exactly a call of one of the tools remains text. */
  static ToolCalls parse(String answer, List<Tool> tools) {
    if (answer.contains(OPEN)) {
      return tagged(answer, tools);
    }
    String body = answer.strip();
    if (body.startsWith(MISTRAL)) {
      body = body.substring(MISTRAL.length()).strip();
    } else if (body.startsWith(PYTHON)) {
      body = body.substring(PYTHON.length()).strip();
    }
    List<ToolCall> calls = calls(body, tools);
    return calls.isEmpty() ? new ToolCalls(answer, List.of()) : new ToolCalls("", calls);
  }

  private static ToolCalls tagged(String answer, List<Tool> tools) {
    StringBuilder text = new StringBuilder();
    List<ToolCall> all = new ArrayList<>();
    int at = 0;
    for (int open = answer.indexOf(OPEN); open >= 0; open = answer.indexOf(OPEN, at)) {
      int from = open + OPEN.length();
      int close = answer.indexOf(CLOSE, from);
      int to = close < 0 ? answer.length() : close;
      int next = close < 0 ? to : close + CLOSE.length();
      List<ToolCall> calls = calls(answer.substring(from, to).strip(), tools);
      text.append(answer, at, calls.isEmpty() ? next : open);
      all.addAll(calls);
      at = next;
    }
    text.append(answer.substring(at));
    return all.isEmpty()
        ? new ToolCalls(answer, List.of())
        : new ToolCalls(text.toString().strip(), List.copyOf(all));
  }

  /** The calls in a JSON object or array; empty for anything else. */
  private static List<ToolCall> calls(String json, List<Tool> tools) {
    if (!json.startsWith("{") && !json.startsWith("[")) {
      return List.of();
    }
    JsonElement parsed;
    try {
      parsed = JsonParser.parseString(json);
    } catch (JsonParseException e) {
      // Something else that begins like JSON: text.
      return List.of();
    }
    JsonArray array = new JsonArray();
    if (parsed instanceof JsonArray several) {
      array = several;
    } else {
      array.add(parsed);
    }
    List<ToolCall> calls = new ArrayList<>();
    for (JsonElement element : array) {
      ToolCall call = call(element, tools);
      if (call == null) {
        return List.of();
      }
      calls.add(call);
    }
    return calls;
  }

  private static ToolCall call(JsonElement element, List<Tool> tools) {
    if (!(element instanceof JsonObject object)
        || !(object.get("name") instanceof JsonPrimitive name)
        || tools.stream().noneMatch(tool -> tool.name().equals(name.getAsString()))) {
      return null;
    }
    JsonElement arguments = object.get(object.has("arguments") ? "arguments" : "parameters");
    if (arguments != null && !(arguments instanceof JsonObject)) {
      return null;
    }
    String id = object.get("id") instanceof JsonPrimitive given ? given.getAsString() : id();
    return new ToolCall(id, name.getAsString(), arguments == null ? "{}" : arguments.toString());
  }

  /** Nine letters and digits: the templates of Mistral refuse others. */
  private static String id() {
    return UUID.randomUUID().toString().replace("-", "").substring(0, 9);
  }
}
