package io.github.attention4j.models.text;

import java.util.List;
import java.util.Objects;

/**
 * One message of a conversation.
 *
 * @param role who speaks: usually {@code system}, {@code user}, {@code assistant} or {@code tool};
 *     the template decides which roles there are
 * @param content the text, empty if the message only calls tools
 * @param toolCalls the tools that an assistant's message calls
 * @param toolCallId which call a tool's message answers; may be null
 * @param name the name of the speaker or of the tool; may be null
 */
public record ChatMessage(
    String role, String content, List<ToolCall> toolCalls, String toolCallId, String name) {
  /** Copies the list. */
  public ChatMessage {
    Objects.requireNonNull(role, "role");
    Objects.requireNonNull(content, "content");
    toolCalls = List.copyOf(toolCalls);
  }

  /**
   * A message of text.
   *
   * @param role who speaks
   * @param content the text
   * @return the message
   */
  public static ChatMessage of(String role, String content) {
    return new ChatMessage(role, content, List.of(), null, null);
  }

  /**
   * An instruction to the model.
   *
   * @param content the text
   * @return a message of role {@code system}
   */
  public static ChatMessage system(String content) {
    return of("system", content);
  }

  /**
   * What the user says.
   *
   * @param content the text
   * @return a message of role {@code user}
   */
  public static ChatMessage user(String content) {
    return of("user", content);
  }

  /**
   * What the model said.
   *
   * @param content the text
   * @return a message of role {@code assistant}
   */
  public static ChatMessage assistant(String content) {
    return of("assistant", content);
  }
}
