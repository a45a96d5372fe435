package io.github.attention4j.io;

import java.io.IOException;

/**
 * Thrown if a file is not a valid safetensors file. The message names the file, the rule that it
 * breaks, and the expected and actual numbers. (A file that cannot be read at all throws the plain
 * {@link IOException} of the operating system.)
 */
public final class SafeTensorsException extends IOException {
  private static final long serialVersionUID = 1L;

  SafeTensorsException(String message) {
    super(message);
  }

  SafeTensorsException(String message, Throwable cause) {
    super(message, cause);
  }
}
