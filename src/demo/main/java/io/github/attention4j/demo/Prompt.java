package io.github.attention4j.demo;

import java.nio.ByteBuffer;
import java.nio.CharBuffer;
import java.nio.charset.CharacterCodingException;
import java.nio.charset.StandardCharsets;

/** A prompt as the models read it: each byte of its UTF-8 is a token. */
public final class Prompt {
  /** The prompt of the demonstration and of {@code reference.safetensors}. */
  public static final String DEFAULT =
      "ROMEO:\nBut soft, what light through yonder window breaks?\n";

  private Prompt() {}

  /**
   * The tokens of a prompt.
   *
   * @param context the most tokens that the model accepts
   * @throws IllegalArgumentException if there are none or too many, or the prompt has half of a
   *     surrogate pair
   */
  public static int[] tokens(String prompt, int context) {
    ByteBuffer bytes;
    try {
      bytes = StandardCharsets.UTF_8.newEncoder().encode(CharBuffer.wrap(prompt));
    } catch (CharacterCodingException e) {
      throw new IllegalArgumentException("prompt must be well-formed Unicode", e);
    }
    int length = bytes.remaining();
    if (length == 0) {
      throw new IllegalArgumentException("prompt must have a character: prompt=0 bytes");
    }
    if (length > context) {
      throw new IllegalArgumentException(
          "prompt must fit the context: prompt=" + length + " bytes, context=" + context);
    }
    int[] tokens = new int[length];
    for (int i = 0; i < length; i++) {
      tokens[i] = bytes.get() & 0xFF;
    }
    return tokens;
  }
}
