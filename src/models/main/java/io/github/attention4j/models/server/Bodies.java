package io.github.attention4j.models.server;

import java.io.IOException;
import java.io.InputStream;
import java.util.Arrays;
import java.util.concurrent.atomic.AtomicLong;

/**
 * Reads the bodies of requests, with a limit on the memory of all that are being read. A slow body
 * takes only the memory for what has arrived of it, and waits for nobody.
 */
final class Bodies {
  private static final int FIRST = 4096;
  private static final long LEAST_MEMORY = 64L << 20;

  private final int most;
  private final long memory;
  private final AtomicLong taken = new AtomicLong();

  /**
   * @param most the bytes of a body
   */
  Bodies(int most) {
    this.most = most;
    memory = Math.max(LEAST_MEMORY, 4L * most);
  }

  /** A body, or more than it may have: then {@code most + 1} bytes of it. */
  byte[] read(InputStream in) throws IOException {
    long own = 0;
    try {
      byte[] bytes = {};
      int length = 0;
      while (true) {
        if (length == bytes.length) {
          // One byte more than allowed, to recognise a body that is too long.
          int size = (int) Math.min(Math.max(FIRST, 2L * length), most + 1L);
          take(size - bytes.length);
          own += size - bytes.length;
          bytes = Arrays.copyOf(bytes, size);
        }
        int read = in.read(bytes, length, bytes.length - length);
        length += Math.max(0, read);
        if (read < 0 || length > most) {
          return length == bytes.length ? bytes : Arrays.copyOf(bytes, length);
        }
      }
    } finally {
      taken.addAndGet(-own);
    }
  }

  private void take(int bytes) {
    if (taken.addAndGet(bytes) > memory) {
      long others = taken.addAndGet(-bytes);
      throw HttpError.busy(
          "too many bodies are being read: bytes=%d, limit=%d".formatted(others, memory));
    }
  }
}
