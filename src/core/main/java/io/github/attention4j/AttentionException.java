package io.github.attention4j;

/**
 * A failure that is not the caller's fault: this machine or process cannot do what was asked, or
 * the native library found a state that it should never see.
 *
 * <p>A wrong argument gives {@link IllegalArgumentException} instead, a wrong moment (a closed
 * arena, a full cache) {@link IllegalStateException}.
 */
public class AttentionException extends IllegalStateException {
  private static final long serialVersionUID = 1L;

  private final int code;

  /**
   * Makes an exception.
   *
   * @param code the status of the native library ({@code enum a4j_status}), or 0 where there was
   *     none
   * @param message what happened, with the numbers that matter
   */
  public AttentionException(int code, String message) {
    super(message);
    this.code = code;
  }

  /**
   * Makes an exception with a cause.
   *
   * @param code the status of the native library ({@code enum a4j_status}), or 0 where there was
   *     none
   * @param message what happened, with the numbers that matter
   * @param cause what made it happen, or null
   */
  public AttentionException(int code, String message, Throwable cause) {
    super(message, cause);
    this.code = code;
  }

  /**
   * Returns the status that the native library gave.
   *
   * @return a value of {@code enum a4j_status} in {@code a4j.h}, or 0 where there was none
   */
  public int code() {
    return code;
  }
}
