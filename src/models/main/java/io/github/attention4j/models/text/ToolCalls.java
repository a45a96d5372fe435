package io.github.attention4j.models.text;

import com.google.gson.JsonElement;
import com.google.gson.JsonObject;
import com.google.gson.JsonParseException;
import com.google.gson.JsonParser;
import com.google.gson.JsonPrimitive;
import java.util.ArrayList;
import java.util.List;
import java.util.UUID;
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
 *   ```json {"name": …, "arguments": {…}} ``` …                   small models, whatever they are told
 *   …&lt;｜tool▁call▁begin｜&gt;function&lt;｜tool▁sep｜&gt;name ```json {…} ```&lt;｜tool▁call▁end｜&gt; …   DeepSeek R1
 *   …&lt;｜tool▁call▁begin｜&gt;name&lt;｜tool▁sep｜&gt;{…}&lt;｜tool▁call▁end｜&gt; …    newer ones of DeepSeek
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

  private static final String FUNCTOOLS = "functools";
  private static final String ACTION = "Action:";
  private static final String FENCE = "```";

  /** Marks before the JSON of all calls, perhaps after text. */
  private static final List<String> BEFORE_CALLS =
      List.of(MISTRAL, "<|python_tag|>", "<|tool_call|>");

  private static final String DEEPSEEK_OPEN = "<｜tool▁calls▁begin｜>";
  private static final String DEEPSEEK_CLOSE = "<｜tool▁calls▁end｜>";
  private static final String DEEPSEEK_BEGIN = "<｜tool▁call▁begin｜>";
  private static final String DEEPSEEK_BETWEEN = "<｜tool▁sep｜>";
  private static final String DEEPSEEK_END = "<｜tool▁call▁end｜>";

  /**
   * Texts that mark calls. Where they are tokens that are otherwise left out of the text, they must
   * be shown for the calls to be found.
   */
  static final List<String> MARKS =
      List.of(
          OPEN,
          CLOSE,
          MISTRAL,
          ARGUMENTS,
          CALL_ID,
          "<|python_tag|>",
          "<|tool_call|>",
          CLOSE_LIST,
          DEEPSEEK_OPEN,
          DEEPSEEK_BEGIN,
          DEEPSEEK_BETWEEN,
          DEEPSEEK_END,
          DEEPSEEK_CLOSE);

  /** Marks that may come after other text. */
  private static final List<String> TAGS =
      List.of(OPEN, MISTRAL, "<|python_tag|>", "<|tool_call|>", DEEPSEEK_OPEN, DEEPSEEK_BEGIN);

  private static final List<String> BEGINNINGS =
      List.of(
          "{",
          "[",
          "<tool_call>",
          "<|python_tag|>",
          "<|tool_call|>",
          "<｜tool▁call",
          FUNCTOOLS,
          "Plan:",
          ACTION,
          "```json",
          "```{",
          "```[",
          "```\n{",
          "```\n[");

  /** Whether text that begins like this may be a call, and must not be shown yet. */
  static boolean mayBegin(String text) {
    String begun = text.stripLeading();
    return BEGINNINGS.stream().anyMatch(b -> begun.startsWith(b) || b.startsWith(begun));
  }

  /** Where text begins that must not be shown yet, at the end of an answer so far. */
  static int firstMark(CharSequence answer) {
    String text = answer.toString();
    int first = text.length();
    for (String tag : TAGS) {
      int at = text.indexOf(tag);
      for (int size = tag.length() - 1; at < 0 && size > 0; size--) {
        at = text.endsWith(tag.substring(0, size)) ? text.length() - size : -1;
      }
      first = at < 0 ? first : Math.min(first, at);
    }
    return first;
  }

  /** Reads an answer; anything that is not exactly a call of one of the tools remains text. */
  static ToolCalls parse(String answer, List<Tool> tools) {
    if (answer.contains(OPEN)) {
      return tagged(answer, tools);
    }
    if (answer.contains(DEEPSEEK_BETWEEN)) {
      return separated(answer, tools);
    }
    String text = "";
    String body = unfenced(answer.strip());
    if (body.startsWith(FUNCTOOLS)) {
      body = body.substring(FUNCTOOLS.length());
    }
    for (String mark : BEFORE_CALLS) {
      int at = body.indexOf(mark);
      if (at >= 0) {
        text = body.substring(0, at).strip();
        body = body.substring(at + mark.length());
        break;
      }
    }
    body = body.strip();
    if (body.endsWith(CLOSE_LIST)) {
      body = body.substring(0, body.length() - CLOSE_LIST.length()).strip();
    }
    List<ToolCall> calls = body.contains(ARGUMENTS) ? named(body, tools) : calls(body, tools);
    return calls.isEmpty() ? new ToolCalls(answer, List.of()) : new ToolCalls(text, calls);
  }

  /**
   * The JSON in blocks of code that are the whole answer, or all that follows {@code Action:}, with
   * semicolons between; other answers as they are.
   */
  private static String unfenced(String answer) {
    int action = answer.startsWith(ACTION) ? 0 : answer.lastIndexOf("\n" + ACTION) + 1;
    String rest =
        answer.startsWith(ACTION, action) ? answer.substring(action + ACTION.length()) : answer;
    List<String> blocks = new ArrayList<>();
    for (rest = rest.strip(); rest.startsWith(FENCE); ) {
      int from = FENCE.length() + (rest.startsWith("json", FENCE.length()) ? 4 : 0);
      int end = rest.indexOf(FENCE, from);
      if (end < 0) {
        return answer;
      }
      blocks.add(rest.substring(from, end).strip());
      rest = rest.substring(end + FENCE.length()).strip();
    }
    return blocks.isEmpty() || !rest.isEmpty() ? answer : String.join(";", blocks);
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

  /** Calls of DeepSeek's models, perhaps after text. */
  private static ToolCalls separated(String answer, List<Tool> tools) {
    int open = answer.indexOf(DEEPSEEK_OPEN);
    int begin = answer.indexOf(DEEPSEEK_BEGIN);
    int from = open < 0 ? begin : open + DEEPSEEK_OPEN.length();
    int to = answer.indexOf(DEEPSEEK_CLOSE);
    if (from < 0 || (to >= 0 && to < from)) {
      return new ToolCalls(answer, List.of());
    }
    List<ToolCall> calls = new ArrayList<>();
    String all = answer.substring(from, to < 0 ? answer.length() : to);
    for (String each : all.split(Pattern.quote(DEEPSEEK_END))) {
      String body = each.strip();
      if (body.isEmpty()) {
        continue;
      }
      int between = body.indexOf(DEEPSEEK_BETWEEN);
      int start = body.startsWith(DEEPSEEK_BEGIN) ? DEEPSEEK_BEGIN.length() : 0;
      String name = between < start ? "" : body.substring(start, between).strip();
      String rest = between < 0 ? "" : body.substring(between + DEEPSEEK_BETWEEN.length()).strip();
      int line = rest.indexOf('\n');
      if (name.equals("function") && line >= 0) {
        name = rest.substring(0, line).strip();
        rest = rest.substring(line).strip();
      }
      ToolCall call = call(name, null, unfenced(rest), tools);
      if (call == null) {
        return new ToolCalls(answer, List.of());
      }
      calls.add(call);
    }
    String text = answer.substring(0, open < 0 ? begin : open);
    return calls.isEmpty()
        ? new ToolCalls(answer, List.of())
        : new ToolCalls(text.strip(), List.copyOf(calls));
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
      ToolCall call =
          call(
              (id < 0 ? name : name.substring(0, id)).strip(),
              id < 0 ? null : name.substring(id + CALL_ID.length()).strip(),
              each.substring(arguments + ARGUMENTS.length()),
              tools);
      if (call == null) {
        return List.of();
      }
      calls.add(call);
    }
    return calls;
  }

  private static ToolCall call(String name, String id, String arguments, List<Tool> tools) {
    JsonObject object = new JsonObject();
    object.addProperty("name", name);
    if (id != null) {
      object.addProperty("id", id);
    }
    try {
      object.add("arguments", JsonParser.parseString(arguments));
    } catch (JsonParseException e) {
      return null;
    }
    return call(object, tools);
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
