package io.github.attention4j.models;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.List;
import java.util.Map;
import java.util.stream.Collectors;
import java.util.stream.Stream;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;

/** Where the files of a model have its chat templates. */
class ChatTemplateFilesTest {
  private static final String PLAIN = "{{ bos_token }}plain {{ messages | length }}";
  private static final String TOOLS = "{{ eos_token }}tools {{ tools | length }}";

  @TempDir Path directory;

  @Test
  void shouldUseTheTemplateForToolsOfAList() throws IOException {
    Files.writeString(
        directory.resolve("tokenizer_config.json"),
        """
        {"bos_token": "<s>", "eos_token": {"content": "</s>"}, "chat_template": [
          {"name": "rag", "template": "{{ documents }}"},
          {"name": "tool_use", "template": "%s"},
          {"name": "default", "template": "%s"}]}
        """
            .formatted(TOOLS, PLAIN));
    assertRenders("<s>plain 1", "</s>tools 2");
  }

  @Test
  void shouldUseTheTemplateForToolsOfAFile() throws IOException {
    Files.writeString(
        directory.resolve("tokenizer_config.json"),
        "{\"bos_token\": \"<s>\", \"eos_token\": \"</s>\", \"chat_template\": \"older\"}");
    Files.writeString(directory.resolve("chat_template.jinja"), PLAIN);
    assertRenders("<s>plain 1", "<s>plain 1");
    Files.createDirectory(directory.resolve("additional_chat_templates"));
    Files.writeString(directory.resolve("additional_chat_templates/tool_use.jinja"), TOOLS);
    assertRenders("<s>plain 1", "</s>tools 2");
  }

  @Test
  void shouldRefuseAListWithoutADefault() throws IOException {
    Files.writeString(
        directory.resolve("tokenizer_config.json"),
        "{\"chat_template\": [{\"name\": \"tool_use\", \"template\": \"x\"}]}");
    TinyCheckpoint.of("llama").write(directory);
    try (CausalLm model = CausalLm.open(directory)) {
      String message =
          assertThrows(IllegalArgumentException.class, model::chatTemplate).getMessage();
      assertTrue(message.contains("a list with one named \"default\""), message);
    }
  }

  @Test
  void shouldPassAllNamedSpecialTokens() throws IOException {
    String names = "bos eos unk sep pad cls mask image";
    String template =
        Stream.of(names.split(" "))
            .map(name -> "{{ " + name + "_token | default('-') }}")
            .collect(Collectors.joining(" "));
    Path config = directory.resolve("tokenizer_config.json");
    Files.writeString(directory.resolve("chat_template.jinja"), template);
    Files.writeString(
        config,
        """
        {"eos_token": "</s>", "unk_token": {"content": "<unk>"}, "pad_token": null,
         "sep_token": "[SEP]", "cls_token": "[CLS]", "mask_token": "[MASK]",
         "extra_special_tokens": {"image_token": "<image>"}}
        """);
    assertRenders(" </s> <unk> [SEP] - [CLS] [MASK] <image>", null);
    Files.writeString(
        directory.resolve("special_tokens_map.json"),
        "{\"bos_token\": \"<s>\", \"eos_token\": {\"content\": \"</end>\"}}");
    assertRenders("<s> </end> <unk> [SEP] - [CLS] [MASK] <image>", null);
    Files.writeString(
        config,
        "{\"eos_token\": \"</s>\", \"added_tokens_decoder\": {\"1\": {\"content\": \"a\"}}}");
    assertRenders(" </s> - - - - - -", null);
  }

  private void assertRenders(String plain, String withTools) throws IOException {
    TinyCheckpoint.of("llama").write(directory);
    List<Map<String, String>> messages = List.of(Map.of("role", "user", "content", "Hi"));
    try (CausalLm model = CausalLm.open(directory)) {
      ChatTemplate template = model.chatTemplate().orElseThrow();
      assertEquals(plain, template.render(messages, true, Map.of()));
      if (withTools == null) {
        return;
      }
      assertEquals(
          withTools, template.render(messages, true, Map.of("tools", List.of("one", "two"))));
    }
  }
}
