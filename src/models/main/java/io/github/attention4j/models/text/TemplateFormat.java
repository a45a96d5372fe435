package io.github.attention4j.models.text;

import com.google.gson.JsonElement;
import com.google.gson.JsonParser;
import com.google.gson.JsonPrimitive;
import io.github.attention4j.models.ChatTemplate;
import io.github.attention4j.models.ChatTemplateException;
import java.math.BigDecimal;
import java.util.ArrayList;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;

/** A model's own chat template; messages and tools are passed to it like in Transformers. */
final class TemplateFormat implements ChatFormat {
  private final ChatTemplate template;

  TemplateFormat(ChatTemplate template) {
    this.template = template;
  }

  @Override
  public String prompt(List<ChatMessage> messages, List<Tool> tools) {
    List<Map<String, Object>> given = messages.stream().map(TemplateFormat::value).toList();
    try {
      String plain = template.render(given, true, Map.of());
      if (tools.isEmpty()) {
        return plain;
      }
      List<Map<String, Object>> described = tools.stream().map(TemplateFormat::value).toList();
      String prompt = template.render(given, true, Map.of("tools", described));
      if (prompt.equals(plain)) {
        throw new IllegalArgumentException(
            "the chat template of the model has no tools: tools=" + tools.size());
      }
      return prompt;
    } catch (ChatTemplateException e) {
      throw new IllegalArgumentException(e.getMessage(), e);
    }
  }

  private static Map<String, Object> value(ChatMessage message) {
    Map<String, Object> value = new LinkedHashMap<>();
    value.put("role", message.role());
    value.put("content", message.content());
    if (!message.toolCalls().isEmpty()) {
      value.put("tool_calls", message.toolCalls().stream().map(TemplateFormat::value).toList());
    }
    if (message.toolCallId() != null) {
      value.put("tool_call_id", message.toolCallId());
    }
    if (message.name() != null) {
      value.put("name", message.name());
    }
    return value;
  }

  private static Map<String, Object> value(ToolCall call) {
    Map<String, Object> function = new LinkedHashMap<>();
    function.put("name", call.name());
    function.put("arguments", value(JsonParser.parseString(call.arguments())));
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
    function.put("parameters", value(JsonParser.parseString(tool.parameters())));
    Map<String, Object> value = new LinkedHashMap<>();
    value.put("type", "function");
    value.put("function", function);
    return value;
  }

  /** Converts JSON to values for templates. */
  private static Object value(JsonElement json) {
    if (json.isJsonObject()) {
      Map<String, Object> map = new LinkedHashMap<>();
      json.getAsJsonObject().entrySet().forEach(e -> map.put(e.getKey(), value(e.getValue())));
      return map;
    }
    if (json.isJsonArray()) {
      List<Object> list = new ArrayList<>();
      json.getAsJsonArray().forEach(element -> list.add(value(element)));
      return list;
    }
    if (json.isJsonNull()) {
      return null;
    }
    JsonPrimitive primitive = json.getAsJsonPrimitive();
    if (primitive.isBoolean()) {
      return primitive.getAsBoolean();
    }
    return primitive.isNumber() ? number(primitive.getAsBigDecimal()) : primitive.getAsString();
  }

  private static Object number(BigDecimal number) {
    boolean whole = number.scale() <= 0 && number.precision() - number.scale() <= 18;
    if (whole) {
      return number.longValueExact();
    }
    return number.doubleValue();
  }
}
