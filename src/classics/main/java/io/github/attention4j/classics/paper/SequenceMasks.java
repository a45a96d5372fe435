package io.github.attention4j.classics.paper;

import io.github.attention4j.DType;
import io.github.attention4j.Mask;
import io.github.attention4j.Tensor;
import io.github.attention4j.internal.Checks;
import java.lang.foreign.Arena;
import java.lang.foreign.MemorySegment;
import java.lang.foreign.ValueLayout;
import java.util.Objects;

/**
 * Masks made from tokens, as walkthroughs of "Attention Is All You Need" make them: <b>true =
 * masked</b>. Everywhere else in this library true means that a query sees a key; {@link #hiding}
 * converts.
 *
 * <pre>{@code
 * Tensor padding = SequenceMasks.padMask(arena, tokens, tokens);
 * Tensor masked = SequenceMasks.either(arena, padding, SequenceMasks.sequenceMask(arena, tokens));
 * layer.forward(x, x, x, masked, out);
 * }</pre>
 *
 * <p>These allocate matrices; unless you need to look at them, prefer {@link Mask#causal} and
 * {@link Mask#keyLengths}.
 */
public final class SequenceMasks {
  private SequenceMasks() {}

  /**
   * Masks padding, the same for every query: {@code [b, i, j]} is true where token j of {@code
   * seqK} is 0.
   *
   * @param arena supplies the memory of the result
   * @param seqK {@link DType#I32} {@code [batch, lenK]}, the tokens that are attended to. Not
   *     modified.
   * @param seqQ {@link DType#I32} {@code [batch, lenQ]}, of which only the shape is used. Not
   *     modified.
   * @return {@link DType#BOOL} {@code [batch, lenQ, lenK]}, true = masked
   * @throws IllegalArgumentException if types, ranks or batches do not fit
   * @throws OutOfMemoryError if the memory cannot be allocated
   */
  public static Tensor padMask(Arena arena, Tensor seqK, Tensor seqQ) {
    Objects.requireNonNull(arena, "arena");
    checkTokens("seqK", seqK);
    checkTokens("seqQ", seqQ);
    Checks.equal("seqK", "seqQ", "batch", seqK.size(0), seqQ.size(0));
    Tensor mask = Tensor.allocate(arena, DType.BOOL, seqK.size(0), seqQ.size(1), seqK.size(1));
    int[] tokens = seqK.toIntArray();
    MemorySegment bytes = mask.segment();
    long lenK = seqK.size(1);
    for (long row = 0; row < seqQ.count(); row++) {
      long first = row / seqQ.size(1) * lenK;
      for (long j = 0; j < lenK; j++) {
        boolean padding = tokens[(int) (first + j)] == 0;
        bytes.set(ValueLayout.JAVA_BYTE, row * lenK + j, (byte) (padding ? 1 : 0));
      }
    }
    return mask;
  }

  /**
   * Masks later keys: {@code [b, i, j]} is true where {@code j > i}.
   *
   * @param arena supplies the memory of the result
   * @param seq {@link DType#I32} {@code [batch, len]}, of which only the shape is used. Not
   *     modified.
   * @return {@link DType#BOOL} {@code [batch, len, len]}, true = masked
   * @throws IllegalArgumentException if the type is not I32 or the rank not 2
   * @throws OutOfMemoryError if the memory cannot be allocated
   */
  public static Tensor sequenceMask(Arena arena, Tensor seq) {
    Objects.requireNonNull(arena, "arena");
    checkTokens("seq", seq);
    long len = seq.size(1);
    Tensor mask = Tensor.allocate(arena, DType.BOOL, seq.size(0), len, len);
    for (long row = 0; row < seq.count(); row++) {
      long seen = row % len + 1;
      mask.segment().asSlice(row * len + seen, len - seen).fill((byte) 1);
    }
    return mask;
  }

  /**
   * Masks what either mask hides, as a decoder needs it: padding and later keys.
   *
   * @param arena supplies the memory of the result
   * @param a {@link DType#BOOL}, true = masked. Not modified.
   * @param b of the same shape. Not modified.
   * @return the union, of the same shape
   * @throws IllegalArgumentException if the types are not BOOL, or the shapes differ
   * @throws OutOfMemoryError if the memory cannot be allocated
   */
  public static Tensor either(Arena arena, Tensor a, Tensor b) {
    Objects.requireNonNull(arena, "arena");
    checkMask("a", a);
    checkMask("b", b);
    Checks.shape("b", b, "the shape of a", a.shape());
    Tensor union = Tensor.allocate(arena, DType.BOOL, a.shape()).copyFrom(a);
    Tensor other = b.isContiguous() ? b : Tensor.allocate(arena, DType.BOOL, b.shape()).copyFrom(b);
    MemorySegment to = union.segment();
    MemorySegment from = Checks.first(other);
    for (long n = 0; n < union.count(); n++) {
      int either = to.get(ValueLayout.JAVA_BYTE, n) | from.get(ValueLayout.JAVA_BYTE, n);
      to.set(ValueLayout.JAVA_BYTE, n, (byte) (either == 0 ? 0 : 1));
    }
    return union;
  }

  /**
   * Converts a mask that is true for masked keys into a {@link Mask}.
   *
   * @param arena supplies the memory of the mask, for as long as it is used
   * @param masked {@link DType#BOOL}, true = masked, of any shape that {@link Mask#allow} takes.
   *     Copied.
   * @return the mask that hides what is true
   * @throws IllegalArgumentException if the type is not BOOL, or the rank more than 4
   * @throws OutOfMemoryError if the memory cannot be allocated
   */
  public static Mask hiding(Arena arena, Tensor masked) {
    Objects.requireNonNull(arena, "arena");
    checkMask("masked", masked);
    Tensor allow = Tensor.allocate(arena, DType.BOOL, masked.shape()).copyFrom(masked);
    MemorySegment bytes = allow.segment();
    for (long n = 0; n < allow.count(); n++) {
      boolean hidden = bytes.get(ValueLayout.JAVA_BYTE, n) != 0;
      bytes.set(ValueLayout.JAVA_BYTE, n, (byte) (hidden ? 0 : 1));
    }
    return Mask.allow(allow);
  }

  private static void checkTokens(String name, Tensor tokens) {
    Checks.rank(name, Objects.requireNonNull(tokens, name), 2);
    Checks.input(name, tokens, DType.I32);
  }

  private static void checkMask(String name, Tensor mask) {
    Checks.input(name, Objects.requireNonNull(mask, name), DType.BOOL);
  }
}
