package io.github.attention4j.models;

import static org.junit.jupiter.api.Assertions.assertEquals;

import java.io.IOException;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import org.junit.jupiter.api.io.TempDir;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;

class GgufTokenizerTest {
  @TempDir Path directory;

  /** Parts that an expression cuts out are merged each for itself. */
  @ParameterizedTest
  @CsvSource(
      delimiter = '|',
      value = {
        "refact | 1 2 Ġa Ġ, ĊĊ",
        "minerva-7b | 1 2 Ġa Ġ, ĊĊ",
        "mellum | 12 Ġa Ġ, ĊĊ",
        "a.x-4.0 | 12 Ġa Ġ, ĊĊ",
        "kormo | 1 2 Ġa Ġ, ĊĊ",
        "pixtral | 12 Ġa Ġ, ĊĊ",
        "deepseek-coder | 1 2 Ġa Ġ, Ċ Ċ",
      })
  void shouldCutTextsByThePreTokenizer(String pre, String wanted) throws IOException {
    List<Object> tokens = new ArrayList<>();
    for (char c : "12a,ĠĊ".toCharArray()) {
      tokens.add(String.valueOf(c));
    }
    tokens.addAll(List.of("12", "Ġa", "Ġ,", "ĊĊ", "2Ġa", "aĠ,"));
    TinyGguf gguf = new TinyGguf();
    gguf.metadata.put("tokenizer.ggml.model", "gpt2");
    gguf.metadata.put("tokenizer.ggml.pre", pre);
    gguf.metadata.put("tokenizer.ggml.tokens", tokens);
    gguf.metadata.put("tokenizer.ggml.merges", List.of("1 2", "Ġ a", "Ġ ,", "Ċ Ċ", "2 Ġa", "a Ġ,"));
    GgufTokenizer tokenizer = GgufTokenizer.open(gguf.write(directory.resolve("tiny.gguf")));
    List<String> got = new ArrayList<>();
    for (int token : tokenizer.encode("12 a ,\n\n", false).tokens()) {
      got.add(tokens.get(token).toString());
    }
    assertEquals(wanted, String.join(" ", got));
  }
}
