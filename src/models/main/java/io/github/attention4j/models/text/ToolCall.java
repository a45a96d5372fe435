package io.github.attention4j.models.text;

import java.util.Objects;

/**
 * A tool call that the model requests.
 *
 * @param id identifies the call within its conversation
 * @param name the name of the tool
 * @param arguments its arguments, a JSON object
 */
public record ToolCall(String id, String name, String arguments) {
  /** Refuses null. */
  public ToolCall {
    Objects.requireNonNull(id, "id");
    Objects.requireNonNull(name, "name");
    Objects.requireNonNull(arguments, "arguments");
  }
}
