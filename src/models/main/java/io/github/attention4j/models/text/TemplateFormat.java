package io.github.attention4j.models.text;

import com.google.gson.JsonParser;
import io.github.attention4j.models.ChatTemplate;
import io.github.attention4j.models.ChatTemplateException;
import io.github.attention4j.models.chat.JsonValues;
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

  private final ChatTemplate template;
  private final Map<String, Object> variables;

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
    List<Map<String, Object>> given = messages.stream().map(TemplateFormat::value).toList();
    try {
      String plain = template.render(given, true, variables);
      if (tools.isEmpty()) {
        return plain;
      }
      List<Map<String, Object>> described = tools.stream().map(TemplateFormat::value).toList();
      Map<String, Object> all = new LinkedHashMap<>(variables);
      all.put("tools", described);
      String prompt = template.render(given, true, all);
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
    function.put("arguments", JsonValues.of(JsonParser.parseString(call.arguments())));
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
    function.put("parameters", JsonValues.of(JsonParser.parseString(tool.parameters())));
    Map<String, Object> value = new LinkedHashMap<>();
    value.put("type", "function");
    value.put("function", function);
    return value;
  }
}
