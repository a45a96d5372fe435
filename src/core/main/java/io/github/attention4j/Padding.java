package io.github.attention4j;

import io.github.attention4j.internal.Checks;
import io.github.attention4j.internal.Workspaces;
import java.lang.foreign.MemorySegment;
import java.lang.foreign.ValueLayout;

/** Turns padding tokens into a mask of bytes for the native library. */
final class Padding {
  private Padding() {}

  /** Returns {@code [batch, lenK]} bytes in the lease, 0 for a padding token. */
  static MemorySegment keyMask(Workspaces.Lease lease, Tensor tokens, int padToken) {
    long batch = tokens.size(0);
    long lenK = tokens.size(1);
    MemorySegment bytes = lease.inputs(tokens.count());
    MemorySegment from = Checks.first(tokens);
    for (long b = 0; b < batch; b++) {
      for (long j = 0; j < lenK; j++) {
        long element = b * tokens.stride(0) + j * tokens.stride(1);
        boolean seen = from.getAtIndex(ValueLayout.JAVA_INT, element) != padToken;
        bytes.set(ValueLayout.JAVA_BYTE, b * lenK + j, (byte) (seen ? 1 : 0));
      }
    }
    return bytes;
  }
}
