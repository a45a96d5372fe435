package io.github.attention4j.models;

/**
 * Says why a chat template could not be rendered; if the template raised the error, in its words.
 */
public final class ChatTemplateException extends IllegalArgumentException {
  private static final long serialVersionUID = 1L;

  ChatTemplateException(String message, Throwable cause) {
    super(message, cause);
  }
}
