package io.github.attention4j.models.cli;

/** The command line asks for what there is not; the message says what. */
final class UsageException extends RuntimeException {
  private static final long serialVersionUID = 1;

  UsageException(String message) {
    super(message);
  }
}
