package io.github.attention4j;

import io.github.attention4j.internal.Descriptor;
import java.util.Arrays;
import java.util.Objects;

/**
 * Where the first row stands among the keys: an {@link Alignment}, or for each batch the number of
 * a key. Whatever asks for positions (causal, windows, chunks, ALiBi, relative positions) holds
 * one, and all that meet in one call must hold the same.
 *
 * @param alignment null where there are offsets
 * @param offsets null where there is an alignment; never modified
 */
record Placement(Alignment alignment, int[] offsets) {
  static Placement of(Alignment alignment) {
    return new Placement(Objects.requireNonNull(alignment, "alignment"), null);
  }

  static Placement of(int[] offsets) {
    if (Objects.requireNonNull(offsets, "offsets").length == 0) {
      throw new IllegalArgumentException(
          "offsets must hold one number for each batch: offsets.length=0");
    }
    return new Placement(null, offsets.clone());
  }

  /** The one of both; null where neither is there. */
  static Placement one(String where, Placement a, Placement b) {
    if (a != null && b != null && !a.same(b)) {
      throw new IllegalArgumentException(where + " must have one alignment: " + a + " and " + b);
    }
    return a != null ? a : b;
  }

  private boolean same(Placement other) {
    return alignment == other.alignment && Arrays.equals(offsets, other.offsets);
  }

  int code() {
    if (alignment == null) {
      return Descriptor.ALIGN_OFFSETS;
    }
    return alignment == Alignment.TOP_LEFT
        ? Descriptor.ALIGN_TOP_LEFT
        : Descriptor.ALIGN_BOTTOM_RIGHT;
  }

  @Override
  public String toString() {
    return alignment != null ? alignment.toString() : "offsets " + Arrays.toString(offsets);
  }
}
