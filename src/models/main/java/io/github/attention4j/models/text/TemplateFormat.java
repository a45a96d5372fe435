package io.github.attention4j.models.text;

import com.google.gson.JsonObject;
import com.google.gson.JsonParseException;
import com.google.gson.JsonParser;
import io.github.attention4j.models.ChatTemplate;
import io.github.attention4j.models.ChatTemplateException;
import io.github.attention4j.models.chat.JsonValues;
import java.util.ArrayList;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.Set;
import java.util.TreeSet;

/** A model's own chat template; messages and tools are passed to it like in Transformers. */
final class TemplateFormat implements ChatFormat {
  /** What the format itself passes. */
  private static final Set<String> OWN =
      Set.of("messages", "tools", "add_generation_prompt", "bos_token", "eos_token");

  private static final String NAME = "a4j_name";
  private static final String ARGUMENT = "a4j_argument";

  /**
   * How a template reads the tool calls of an assistant's message.
   *
   * @param json whether it wants arguments as JSON rather than as a map
   * @param alone whether it shows calls only where the content is null
   * @param nullIfEmpty whether an empty content must be null
   */
  private record Calls(boolean json, boolean alone, boolean nullIfEmpty) {
    static final Calls USUAL = new Calls(false, false, false);

    static final List<Calls> ALL =
        List.of(
            USUAL,
            new Calls(true, false, false),
            new Calls(false, true, true),
            new Calls(true, true, true));
  }

  private final ChatTemplate template;
  private final Map<String, Object> variables;

  /** Found on first use. */
  private volatile Calls calls;

  TemplateFormat(ChatTemplate template) {
    this(template, Map.of());
  }

  private TemplateFormat(ChatTemplate template, Map<String, Object> variables) {
    this.template = template;
    this.variables = variables;
  }

  /** The same with other variables of the template. */
  TemplateFormat with(Map<String, ?> others) {
    for (String name : others.keySet()) {
      if (OWN.contains(name)) {
        throw new IllegalArgumentException(
            "a variable of the chat template must not be one of %s: %s"
                .formatted(new TreeSet<>(OWN), name));
      }
    }
    return new TemplateFormat(template, new LinkedHashMap<>(others));
  }

  @Override
  public String prompt(List<ChatMessage> messages, List<Tool> tools) {
    Map<String, Object> all = new LinkedHashMap<>(variables);
    if (!tools.isEmpty()) {
      all.put("tools", tools.stream().map(TemplateFormat::value).toList());
    }
    try {
      boolean called = messages.stream().anyMatch(message -> !message.toolCalls().isEmpty());
      Calls style = called ? calls(all) : Calls.USUAL;
      List<Map<String, Object>> given = values(messages, style);
      String prompt = template.render(given, true, all);
      if (!tools.isEmpty() && prompt.equals(withoutTools(given))) {
        throw new IllegalArgumentException(
            "the chat template of the model has no tools: tools=" + tools.size());
      }
      return prompt;
    } catch (ChatTemplateException e) {
      throw new IllegalArgumentException(e.getMessage(), e);
    }
  }

  /** The prompt without tools; empty if the template needs them for the conversation. */
  private String withoutTools(List<Map<String, Object>> given) {
    try {
      return template.render(given, true, variables);
    } catch (ChatTemplateException e) {
      return "";
    }
  }

  /**
   * Finds out how the template reads calls: templates are written for what one program passes, and
   * some leave out or refuse calls that are passed in another way. The first way counts whose
   * arguments appear as JSON, or else as anything.
   */
  private Calls calls(Map<String, Object> given) {
    Calls found = calls;
    if (found == null) {
      Calls asJson = reading('"' + ARGUMENT + "\":", given);
      found = asJson == null ? reading(ARGUMENT, given) : asJson;
      calls = found;
    }
    // If it shows none, it perhaps does so beside tools, which other requests may have.
    return found == null ? Calls.USUAL : found;
  }

  private Calls reading(String wanted, Map<String, Object> given) {
    for (Calls each : Calls.ALL) {
      String prompt = rendered(each, given);
      if (prompt.contains(wanted)) {
        // Some write an empty message beside the calls, others write None.
        Calls other = new Calls(each.json, each.alone, true);
        String shorter = rendered(other, given);
        return shorter.contains(wanted) && shorter.length() < prompt.length() ? other : each;
      }
    }
    return null;
  }

  /** A conversation with one call; empty if the template refuses it. */
  private String rendered(Calls style, Map<String, Object> given) {
    ToolCall call = new ToolCall("a4jcall01", NAME, "{\"" + ARGUMENT + "\": \"1\"}");
    List<ChatMessage> messages =
        List.of(
            ChatMessage.user("1"),
            new ChatMessage("assistant", "", List.of(call), null, null),
            new ChatMessage("tool", "1", List.of(), call.id(), NAME));
    try {
      String prompt = template.render(values(messages, style), true, given);
      return prompt.contains(NAME) ? prompt : "";
    } catch (ChatTemplateException e) {
      return "";
    }
  }

  private static List<Map<String, Object>> values(List<ChatMessage> messages, Calls style) {
    List<Map<String, Object>> values = new ArrayList<>();
    for (ChatMessage message : messages) {
      boolean called = !message.toolCalls().isEmpty();
      boolean empty = message.content().isEmpty();
      if (called && style.alone && !empty) {
        // The template shows either the text or the calls: as two messages, none is lost.
        values.add(value(ChatMessage.of(message.role(), message.content()), style));
      }
      Map<String, Object> value = value(message, style);
      if (called && (style.alone || (style.nullIfEmpty && empty))) {
        value.put("content", null);
      }
      values.add(value);
    }
    return values;
  }

  private static Map<String, Object> value(ChatMessage message, Calls style) {
    Map<String, Object> value = new LinkedHashMap<>();
    value.put("role", message.role());
    value.put("content", message.content());
    if (!message.toolCalls().isEmpty()) {
      value.put(
          "tool_calls", message.toolCalls().stream().map(call -> value(call, style)).toList());
    }
    if (message.toolCallId() != null) {
      value.put("tool_call_id", message.toolCallId());
    }
    if (message.name() != null) {
      value.put("name", message.name());
    }
    return value;
  }

  private static Map<String, Object> value(ToolCall call, Calls style) {
    // Clients may leave out the arguments of a tool that takes none.
    String json = call.arguments().isBlank() ? "{}" : call.arguments();
    Object parsed = object(json, "the arguments of a call of " + call.name());
    Object arguments = style.json ? json : parsed;
    Map<String, Object> function = new LinkedHashMap<>();
    function.put("name", call.name());
    function.put("arguments", arguments);
    Map<String, Object> value = new LinkedHashMap<>();
    value.put("id", call.id());
    value.put("type", "function");
    value.put("function", function);
    return value;
  }

  private static Map<String, Object> value(Tool tool) {
    Map<String, Object> function = new LinkedHashMap<>();
    function.put("name", tool.name());
    function.put("description", tool.description());
    function.put("parameters", object(tool.parameters(), "the parameters of " + tool.name()));
    Map<String, Object> value = new LinkedHashMap<>();
    value.put("type", "function");
    value.put("function", function);
    return value;
  }

  private static Object object(String json, String what) {
    try {
      if (JsonParser.parseString(json) instanceof JsonObject object) {
        return JsonValues.of(object);
      }
    } catch (JsonParseException e) {
      throw new IllegalArgumentException(what + " must be a JSON object: " + json, e);
    }
    throw new IllegalArgumentException(what + " must be a JSON object: " + json);
  }
}
