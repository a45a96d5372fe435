package io.github.attention4j.models;

/**
 * Says why a chat template could not be rendered: in its own words if it raised the error itself.
 */
public final class ChatTemplateException extends IllegalArgumentException {
  private static final long serialVersionUID = 1L;

  ChatTemplateException(String message, Throwable cause) {
    super(message, cause);
  }
}
