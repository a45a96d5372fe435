package io.github.attention4j.models.cli;

import io.github.attention4j.models.TinyGguf;
import java.io.IOException;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;

/** A model that writes one letter for ever, and whose template refuses the message "bad". */
final class EndlessModel {
  private EndlessModel() {}

  /**
   * Writes the model.
   *
   * @param context the most tokens of a text
   */
  static Path write(Path directory, int context) throws IOException {
    int vocabulary = 259;
    int width = 8;
    TinyGguf gguf = new TinyGguf();
    gguf.metadata.put("general.architecture", "llama");
    gguf.metadata.put("llama.block_count", 1);
    gguf.metadata.put("llama.context_length", context);
    gguf.metadata.put("llama.embedding_length", width);
    gguf.metadata.put("llama.feed_forward_length", width);
    gguf.metadata.put("llama.attention.head_count", 1);
    gguf.metadata.put("llama.attention.layer_norm_rms_epsilon", 1e-5f);
    List<Object> tokens = new ArrayList<>(List.of("<unk>", "<s>", "</s>"));
    List<Object> types = new ArrayList<>(List.of(2, 3, 3));
    List<Object> scores = new ArrayList<>(List.of(0f, 0f, 0f));
    for (int b = 0; b < 256; b++) {
      tokens.add("<0x%02X>".formatted(b));
      types.add(6);
      scores.add(0f);
    }
    gguf.metadata.put("tokenizer.ggml.model", "llama");
    gguf.metadata.put("tokenizer.ggml.tokens", tokens);
    gguf.metadata.put("tokenizer.ggml.token_type", types);
    gguf.metadata.put("tokenizer.ggml.scores", scores);
    gguf.metadata.put(
        "tokenizer.chat_template",
        "{% if messages[-1].content == 'bad' %}{{ raise_exception('no bad words') }}{% endif %}"
            + "{% for m in messages %}{{ m.content }}{% endfor %}");
    fill(gguf, "token_embd.weight", 1, vocabulary, width);
    float[] head = new float[vocabulary * width];
    // Byte 'x' follows everything.
    Arrays.fill(head, (3 + 'x') * width, (4 + 'x') * width, 1);
    gguf.put("output.weight", head, vocabulary, width);
    for (String name : List.of("attn_q", "attn_k", "attn_v", "attn_output")) {
      fill(gguf, "blk.0." + name + ".weight", 0, width, width);
    }
    for (String name : List.of("ffn_gate", "ffn_up", "ffn_down")) {
      fill(gguf, "blk.0." + name + ".weight", 0, width, width);
    }
    for (String name : List.of("output_norm", "blk.0.attn_norm", "blk.0.ffn_norm")) {
      fill(gguf, name + ".weight", 1, width);
    }
    return gguf.write(directory.resolve("endless.gguf"));
  }

  private static void fill(TinyGguf gguf, String name, float value, long... shape) {
    float[] values = new float[(int) (shape[0] * (shape.length > 1 ? shape[1] : 1))];
    Arrays.fill(values, value);
    gguf.put(name, values, shape);
  }
}
