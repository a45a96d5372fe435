package io.github.attention4j;

import io.github.attention4j.internal.Descriptor;
import java.util.Arrays;
import java.util.Objects;

/**
 * Where the queries are among the keys: an {@link Alignment}, or for each batch the position of its
 * first query. Every option that depends on positions (causal, windows, chunks, ALiBi, relative
 * positions, expressions) has a placement, and all that are used in one call must be equal.
 *
 * @param alignment null if there are offsets
 * @param offsets null if there is an alignment; never modified
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

  static Placement of(int first, int... others) {
    int[] offsets = new int[Objects.requireNonNull(others, "others").length + 1];
    offsets[0] = first;
    System.arraycopy(others, 0, offsets, 1, others.length);
    return new Placement(null, offsets);
  }

  /** Returns the one that is not null; both must be equal if neither is. */
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
