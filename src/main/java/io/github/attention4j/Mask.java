package io.github.attention4j;

import io.github.attention4j.internal.Descriptor;
import java.util.Objects;

/**
 * Which keys a query sees, and what is added to their logits. Masks are immutable values that are
 * composed by intersection: a query sees a key if every part allows it.
 *
 * <pre>{@code
 * Mask causal = Mask.causal(Alignment.TOP_LEFT);
 * Mask padded = causal.and(Mask.keyLengths(17, 9)); // batch 0 has 17 keys, batch 1 has 9
 * }</pre>
 *
 * <p>What a mask hides never touches the result, NaN and infinity included. A query that sees no
 * key at all has output 0, weights 0 and logsumexp −∞.
 *
 * <p>Tensors in a mask are read at each call, and belong to the caller, who must keep their arena
 * open. Shapes are compared with the queries and keys at the call: {@code allow} and {@code bias}
 * broadcast to {@code [batch, heads, lenQ, lenK]}, or to {@code [batch, lenQ, lenK]} where
 * attention is called with tensors of rank 3, by the rule of NumPy: dimensions are aligned from the
 * last, and one that is missing or has size 1 is repeated. In differential attention a head of the
 * mask is an output head, that is, a pair.
 *
 * <p>Safe for any number of threads.
 */
public final class Mask {
  private static final Mask NONE = new Mask(null, null, null, null, null);

  /** Each is null where there is no such part. An intersection is again one of each. */
  private final Alignment causal;

  private final int[] keyLengths;
  private final Tensor keyLengthsTensor;
  private final Tensor allow;
  private final Tensor bias;

  private Mask(
      Alignment causal, int[] keyLengths, Tensor keyLengthsTensor, Tensor allow, Tensor bias) {
    this.causal = causal;
    this.keyLengths = keyLengths;
    this.keyLengthsTensor = keyLengthsTensor;
    this.allow = allow;
    this.bias = bias;
  }

  /**
   * Hides nothing: every query sees every key.
   *
   * @return the mask that changes nothing in an intersection
   */
  public static Mask none() {
    return NONE;
  }

  /**
   * Hides the keys that come after a query.
   *
   * @param alignment where the positions of queries and keys coincide
   * @return the mask
   */
  public static Mask causal(Alignment alignment) {
    return new Mask(Objects.requireNonNull(alignment, "alignment"), null, null, null, null);
  }

  /**
   * Gives each batch its own number of keys; the keys behind them are hidden.
   *
   * @param keyLengths for each batch the number of keys, from 0 to lenK. Copied.
   * @return the mask
   * @throws IllegalArgumentException if a length is negative
   */
  public static Mask keyLengths(int... keyLengths) {
    int[] lengths = Objects.requireNonNull(keyLengths, "keyLengths").clone();
    for (int b = 0; b < lengths.length; b++) {
      if (lengths[b] < 0) {
        throw new IllegalArgumentException(
            "keyLengths[" + b + "] must not be negative: keyLengths[" + b + "]=" + lengths[b]);
      }
    }
    return new Mask(null, lengths, null, null, null);
  }

  /**
   * Gives each batch its own number of keys, which is read at each call.
   *
   * @param keyLengths {@link DType#I32} {@code [batch]}, each from 0 to lenK. Not modified.
   * @return the mask
   * @throws IllegalArgumentException if the type is not I32 or the rank not 1
   */
  public static Mask keyLengths(Tensor keyLengths) {
    requireType("keyLengths", keyLengths, DType.I32);
    if (keyLengths.rank() != 1) {
      throw new IllegalArgumentException(
          "keyLengths.rank must be 1 [batch]: keyLengths.rank=" + keyLengths.rank());
    }
    return new Mask(null, null, keyLengths, null, null);
  }

  /**
   * Says for each query and key whether the one sees the other.
   *
   * @param allow {@link DType#BOOL}, true where the query sees the key, of any shape that
   *     broadcasts to {@code [batch, heads, lenQ, lenK]}. Not modified.
   * @return the mask
   * @throws IllegalArgumentException if the type is not BOOL, or the rank more than 4
   */
  public static Mask allow(Tensor allow) {
    requireType("allow", allow, DType.BOOL);
    requireRank("allow", allow);
    return new Mask(null, null, null, allow, null);
  }

  /**
   * Adds a number to each scaled logit; −∞ hides the key.
   *
   * @param bias {@link DType#F32}, of any shape that broadcasts to {@code [batch, heads, lenQ,
   *     lenK]}. Not modified.
   * @return the mask
   * @throws IllegalArgumentException if the type is not F32, or the rank more than 4
   */
  public static Mask bias(Tensor bias) {
    requireType("bias", bias, DType.F32);
    requireRank("bias", bias);
    return new Mask(null, null, null, null, bias);
  }

  /**
   * Intersects: hides what either mask hides. Two lists of key lengths give the smaller length of
   * each batch. With key lengths, {@link Alignment#BOTTOM_RIGHT} is aligned to each batch's own
   * end.
   *
   * @param other the other mask
   * @return the intersection
   * @throws IllegalArgumentException if both masks are causal in different alignments, if both hold
   *     an {@code allow} or both a {@code bias} (combine the two tensors first), or if both hold
   *     key lengths and one of them as a tensor, or for different batches
   */
  public Mask and(Mask other) {
    Objects.requireNonNull(other, "other");
    if (other == NONE || other == this) {
      return this;
    }
    if (this == NONE) {
      return other;
    }
    return new Mask(
        oneAlignment(causal, other.causal),
        shorter(other),
        one("keyLengths tensor", keyLengthsTensor, other.keyLengthsTensor),
        one("allow tensor", allow, other.allow),
        one("bias tensor", bias, other.bias));
  }

  // ---- What a call asks ----

  int alignment() {
    return causal == Alignment.BOTTOM_RIGHT
        ? Descriptor.ALIGN_BOTTOM_RIGHT
        : Descriptor.ALIGN_TOP_LEFT;
  }

  long windowRight() {
    return causal == null ? Descriptor.UNBOUNDED : 0;
  }

  /** Whether each batch has its own number of keys. */
  boolean hasKeyLengths() {
    return keyLengths != null || keyLengthsTensor != null;
  }

  /** How many batches there are key lengths for. */
  long keyLengthsCount() {
    return keyLengths != null ? keyLengths.length : keyLengthsTensor.size(0);
  }

  int keyLength(int batch) {
    return keyLengths != null ? keyLengths[batch] : keyLengthsTensor.getInt(batch);
  }

  /** The tensor of key lengths, or null. */
  Tensor keyLengthsTensor() {
    return keyLengthsTensor;
  }

  /** The boolean mask, or null. */
  Tensor allow() {
    return allow;
  }

  /** The additive mask, or null. */
  Tensor bias() {
    return bias;
  }

  // ---- Intersecting ----

  private static Alignment oneAlignment(Alignment a, Alignment b) {
    if (a != null && b != null && a != b) {
      throw new IllegalArgumentException(
          "an intersection must have one causal alignment: " + a + " and " + b);
    }
    return a != null ? a : b;
  }

  private int[] shorter(Mask other) {
    if (hasKeyLengths() && other.hasKeyLengths()) {
      if (keyLengths == null || other.keyLengths == null) {
        if (keyLengthsTensor == other.keyLengthsTensor) {
          return null;
        }
        throw new IllegalArgumentException(
            "an intersection cannot hold key lengths twice where they are read from a tensor at"
                + " each call: combine them first");
      }
      if (keyLengths.length != other.keyLengths.length) {
        throw new IllegalArgumentException(
            "key lengths must be for the same number of batches: "
                + keyLengths.length
                + " and "
                + other.keyLengths.length);
      }
      int[] shorter = keyLengths.clone();
      for (int b = 0; b < shorter.length; b++) {
        shorter[b] = Math.min(shorter[b], other.keyLengths[b]);
      }
      return shorter;
    }
    return keyLengths != null ? keyLengths : other.keyLengths;
  }

  private static Tensor one(String what, Tensor a, Tensor b) {
    if (a != null && b != null && a != b) {
      throw new IllegalArgumentException(
          "an intersection can hold one "
              + what
              + ": combine the two into one tensor first: "
              + a
              + " and "
              + b);
    }
    return a != null ? a : b;
  }

  private static void requireType(String name, Tensor tensor, DType dtype) {
    if (Objects.requireNonNull(tensor, name).dtype() != dtype) {
      throw new IllegalArgumentException(
          name + ".dtype must be " + dtype + ": " + name + ".dtype=" + tensor.dtype());
    }
  }

  private static void requireRank(String name, Tensor tensor) {
    if (tensor.rank() > 4) {
      throw new IllegalArgumentException(
          name
              + ".rank must be at most 4 [batch, heads, lenQ, lenK]: "
              + name
              + ".rank="
              + tensor.rank());
    }
  }
}
