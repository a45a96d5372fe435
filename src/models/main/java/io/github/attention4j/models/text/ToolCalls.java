package io.github.attention4j.models.text;

import com.google.gson.JsonElement;
import com.google.gson.JsonObject;
import com.google.gson.JsonParseException;
import com.google.gson.JsonParser;
import com.google.gson.JsonPrimitive;
import java.util.ArrayList;
import java.util.List;
import java.util.UUID;
import java.util.regex.Matcher;
import java.util.regex.Pattern;

/**
 * Finds the tool calls in a model's answer.
 *
 * <p>Models write them in one of these forms, with {@code arguments} or {@code parameters}:
 *
 * <pre>
 *   &lt;tool_call&gt;{"name": …, "arguments": {…}}&lt;/tool_call&gt; …     Hermes, Qwen
 *   [TOOL_CALLS][{"name": …, "arguments": {…}}, …]                Mistral
 *   [TOOL_CALLS]name[ARGS]{…} …                                   newer ones of Mistral
 *   {"name": …, "parameters": {…}}; …                            Llama 3, perhaps after &lt;|python_tag|&gt;
 *   &lt;|tool_call|&gt;[{"name": …, "arguments": {…}}, …]             Granite; Phi 4 closes it
 *   functools[{"name": …, "arguments": {…}}, …]                   Phi 4
 *   Action: ```json [{"tool_name": …, "parameters": {…}}, …] ```  Command R, perhaps after other lines
 * </pre>
 *
 * @param text the text of the answer without the calls
 * @param calls the calls, in order
 */
record ToolCalls(String text, List<ToolCall> calls) {
  private static final String OPEN = "<tool_call>";
  private static final String CLOSE = "</tool_call>";
  private static final String MISTRAL = "[TOOL_CALLS]";
  private static final String CLOSE_LIST = "<|/tool_call|>";
  private static final String ARGUMENTS = "[ARGS]";
  private static final String CALL_ID = "[CALL_ID]";

  /** What may stand before the JSON of all calls. */
  private static final List<String> PREFIXES =
      List.of(MISTRAL, "<|python_tag|>", "<|tool_call|>", "functools");

  private static final List<String> BEGINNINGS =
      List.of("{", "[", "<", "functools", "Plan:", "Action:");

  private static final Pattern ACTION =
      Pattern.compile("(?s)(?:.*\\n)?Action: ?```json\\s(.*?)```\\s*");

  /** Whether text that begins like this may be a call, and must not be shown yet. */
  static boolean mayBegin(String text) {
    String begun = text.stripLeading();
    return BEGINNINGS.stream().anyMatch(b -> begun.startsWith(b) || b.startsWith(begun));
  }

  /** Reads an answer; anything that is not exactly a call of one of the tools remains text. */
  static ToolCalls parse(String answer, List<Tool> tools) {
    if (answer.contains(OPEN)) {
      return tagged(answer, tools);
    }
    String body = answer.strip();
    Matcher action = ACTION.matcher(body);
    if (action.matches()) {
      body = action.group(1).strip();
    }
    for (String prefix : PREFIXES) {
      if (body.startsWith(prefix)) {
        body = body.substring(prefix.length()).strip();
        break;
      }
    }
    if (body.endsWith(CLOSE_LIST)) {
      body = body.substring(0, body.length() - CLOSE_LIST.length()).strip();
    }
    List<ToolCall> calls = body.contains(ARGUMENTS) ? named(body, tools) : calls(body, tools);
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

  /** Calls with their names before their arguments, and perhaps an id between; empty for others. */
  private static List<ToolCall> named(String body, List<Tool> tools) {
    List<ToolCall> calls = new ArrayList<>();
    for (String each : body.split(Pattern.quote(MISTRAL), -1)) {
      int arguments = each.indexOf(ARGUMENTS);
      if (arguments < 0) {
        return List.of();
      }
      String name = each.substring(0, arguments);
      int id = name.indexOf(CALL_ID);
      JsonObject object = new JsonObject();
      object.addProperty("name", (id < 0 ? name : name.substring(0, id)).strip());
      if (id >= 0) {
        object.addProperty("id", name.substring(id + CALL_ID.length()).strip());
      }
      try {
        object.add(
            "arguments", JsonParser.parseString(each.substring(arguments + ARGUMENTS.length())));
      } catch (JsonParseException e) {
        return List.of();
      }
      ToolCall call = call(object, tools);
      if (call == null) {
        return List.of();
      }
      calls.add(call);
    }
    return calls;
  }

  /**
   * The calls in a JSON array, or in objects with a semicolon or comma between them; empty for
   * anything else.
   */
  private static List<ToolCall> calls(String json, List<Tool> tools) {
    if (!json.startsWith("{") && !json.startsWith("[")) {
      return List.of();
    }
    JsonElement parsed;
    try {
      // In an array, Gson also takes a semicolon for a comma.
      parsed = JsonParser.parseString(json.startsWith("{") ? "[" + json + "]" : json);
    } catch (JsonParseException e) {
      // Something else that begins like JSON: text.
      return List.of();
    }
    List<ToolCall> calls = new ArrayList<>();
    for (JsonElement element : parsed.getAsJsonArray()) {
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
        || !(object.get(object.has("name") ? "name" : "tool_name") instanceof JsonPrimitive name)
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
