package io.github.attention4j.models.gguf;

import java.io.IOException;

/** Says what is wrong with the content of a GGUF file. */
public final class GgufException extends IOException {
  private static final long serialVersionUID = 1L;

  GgufException(String message) {
    super(message);
  }
}
