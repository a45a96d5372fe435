package io.github.attention4j.models;

import java.util.ArrayList;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;

/** Runs cases of kind {@code chat}: a template, messages, and the text or the error. */
final class GoldenChats {
  private GoldenChats() {}

  static final Map<String, GoldenModel.Run> KINDS = Map.of("chat", GoldenChats::run);

  private static void run(GoldenModel golden) throws Exception {
    List<?> all = (List<?>) GoldenModel.json(golden.pathOf("file"));
    Map<?, ?> chat = (Map<?, ?>) all.get(golden.integer("index"));
    ChatTemplate template =
        ChatTemplate.of(
            (String) chat.get("template"),
            (String) chat.get("bos_token"),
            (String) chat.get("eos_token"));
    String wanted = (String) (chat.containsKey("text") ? chat.get("text") : chat.get("error"));
    String got;
    boolean failed = false;
    try {
      got = template.render(messages(chat), (Boolean) chat.get("add_generation_prompt"), Map.of());
    } catch (ChatTemplateException e) {
      got = e.getMessage();
      failed = true;
    }
    golden.require(failed == chat.containsKey("error"), "failed: " + failed + ": " + got);
    golden.require(wanted.equals(got), "\"" + got + "\", expected \"" + wanted + "\"");
  }

  private static List<Map<String, Object>> messages(Map<?, ?> chat) {
    List<Map<String, Object>> messages = new ArrayList<>();
    for (Object each : (List<?>) chat.get("messages")) {
      Map<String, Object> message = new LinkedHashMap<>();
      ((Map<?, ?>) each).forEach((key, value) -> message.put((String) key, value));
      messages.add(message);
    }
    return messages;
  }
}
