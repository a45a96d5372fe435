package io.github.attention4j.models.text;

import java.util.List;

/**
 * Turns a conversation into the prompt that a model was trained on, which ends where the
 * assistant's next message begins.
 *
 * <p>An implementation must be safe for any number of threads.
 */
@FunctionalInterface
public interface ChatFormat {
  /**
   * Renders a conversation.
   *
   * @param messages at least one
   * @param tools those that the model may call, often none
   * @return the prompt, special tokens included
   * @throws IllegalArgumentException if the format refuses the messages, or has no tools and some
   *     are given
   */
  String prompt(List<ChatMessage> messages, List<Tool> tools);
}
