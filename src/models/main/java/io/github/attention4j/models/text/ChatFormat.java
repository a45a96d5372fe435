package io.github.attention4j.models.text;

import java.util.List;

/**
 * Turns a conversation into a prompt in the form on which a model was trained, up to the beginning
 * of the assistant's next message.
 *
 * <p>An implementation must be safe for any number of threads.
 */
@FunctionalInterface
public interface ChatFormat {
  /**
   * Renders a conversation.
   *
   * @param messages at least one
   * @param tools the tools that the model may call, often none
   * @return the prompt, special tokens included
   * @throws IllegalArgumentException if the format refuses the messages, or does not support tools
   *     and some are given
   */
  String prompt(List<ChatMessage> messages, List<Tool> tools);
}
