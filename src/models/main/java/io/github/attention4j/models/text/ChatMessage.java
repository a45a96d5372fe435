package io.github.attention4j.models.text;

import java.util.List;
import java.util.Objects;

/**
 * One message of a conversation.
 *
 * @param role the speaker: usually {@code system}, {@code user}, {@code assistant} or {@code tool};
 *     the template decides which roles exist
 * @param content the text, empty if the message only calls tools
 * @param toolCalls the tool calls of an assistant's message
 * @param toolCallId the call that a tool's message answers; may be null
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
   * @param role the speaker
   * @param content the text
   * @return the message
   */
  public static ChatMessage of(String role, String content) {
    return new ChatMessage(role, content, List.of(), null, null);
  }

  /**
   * Instructions for the model.
   *
   * @param content the text
   * @return a message of role {@code system}
   */
  public static ChatMessage system(String content) {
    return of("system", content);
  }

  /**
   * A message from the user.
   *
   * @param content the text
   * @return a message of role {@code user}
   */
  public static ChatMessage user(String content) {
    return of("user", content);
  }

  /**
   * A message from the model.
   *
   * @param content the text
   * @return a message of role {@code assistant}
   */
  public static ChatMessage assistant(String content) {
    return of("assistant", content);
  }
}
