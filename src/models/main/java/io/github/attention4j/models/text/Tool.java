package io.github.attention4j.models.text;

import java.util.Objects;

/**
 * A tool that the model may call.
 *
 * @param name its name
 * @param description what it does, for the model; may be empty
 * @param parameters a JSON Schema of its arguments, a JSON object
 */
public record Tool(String name, String description, String parameters) {
  /** Refuses null. */
  public Tool {
    Objects.requireNonNull(name, "name");
    Objects.requireNonNull(description, "description");
    Objects.requireNonNull(parameters, "parameters");
  }
}
