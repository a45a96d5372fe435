package io.github.attention4j;

/**
 * A failure that is not the caller's fault: this machine or process cannot do what was asked (the
 * native library cannot be loaded, say), or the native library detected a bug in itself.
 *
 * <p>Wrong arguments throw {@link IllegalArgumentException} instead, and calls at the wrong time (a
 * closed arena, a full cache) throw a plain {@link IllegalStateException}.
 */
public class AttentionException extends IllegalStateException {
  private static final long serialVersionUID = 1L;

  private final int code;

  /**
   * Makes an exception.
   *
   * @param code the status of the native library ({@code enum a4j_status}), or 0 if there was none
   * @param message what happened, with the numbers that matter
   */
  public AttentionException(int code, String message) {
    super(message);
    this.code = code;
  }

  /**
   * Makes an exception with a cause.
   *
   * @param code the status of the native library ({@code enum a4j_status}), or 0 if there was none
   * @param message what happened, with the numbers that matter
   * @param cause the cause, or null
   */
  public AttentionException(int code, String message, Throwable cause) {
    super(message, cause);
    this.code = code;
  }

  /**
   * Returns the status that the native library returned.
   *
   * @return a value of {@code enum a4j_status} in {@code a4j.h}, or 0 if there was none
   */
  public int code() {
    return code;
  }
}
