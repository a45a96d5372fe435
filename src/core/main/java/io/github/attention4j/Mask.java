package io.github.attention4j;

import io.github.attention4j.internal.Checks;
import io.github.attention4j.internal.Descriptor;
import java.util.Objects;

/**
 * Which keys a query sees, and what is added to their logits. Masks are immutable values that are
 * composed by intersection: a query sees a key if every part allows it.
 *
 * <pre>{@code
 * Mask causal = Mask.causal(Alignment.TOP_LEFT);
 * Mask padded = causal.and(Mask.keyLengths(17, 9)); // batch 0 has 17 keys, batch 1 has 9
 * Mask local = padded.and(Mask.window(127, 0, Alignment.TOP_LEFT)); // and at most 128 of them
 * }</pre>
 *
 * <p>What a mask hides never touches the result, NaN and infinity included; where whole blocks of
 * keys are hidden, they are not even computed. A query that sees no key at all has output 0,
 * weights 0 and logsumexp −∞ (with a sink: the sink).
 *
 * <p><b>Positions.</b> Causal masks, windows and chunks compare the number of a key with the
 * position of a query among the keys. Where the first query stands is never guessed: it is an
 * {@link Alignment}, or an offset for each batch, the number of the key at which its first query
 * stands (any sign). All parts of a mask, ALiBi, relative positions and expressions must say the
 * same.
 *
 * <p>Tensors in a mask are read at each call, and belong to the caller, who must keep their arena
 * open. Shapes are compared with the queries and keys at the call: {@code allow} and {@code bias}
 * broadcast to {@code [batch, heads, lenQ, lenK]}, or to {@code [batch, lenQ, lenK]} where
 * attention is called with tensors of rank 3, by the rule of NumPy: dimensions are aligned from the
 * last, and one that is missing or has size 1 is repeated. With more than one key they may also
 * have fewer keys than the call: the rest is hidden. In differential attention a head of the mask
 * is an output head, that is, a pair.
 *
 * <p>Safe for any number of threads.
 */
public final class Mask {
  /** The side of a {@link #window} that has no bound. */
  public static final int UNBOUNDED = -1;

  private static final Mask NONE = new Mask(new Parts());

  private final Parts parts;
  private final boolean plain;

  private Mask(Parts parts) {
    this.parts = parts;
    this.plain = parts.isPlain();
  }

  /**
   * What an intersection is made of, one of each kind. Written while a mask is made, and never
   * afterwards.
   */
  private static final class Parts {
    /** Null where no part asks for positions. */
    Placement placement;

    int windowLeft = UNBOUNDED;
    int windowRight = UNBOUNDED;

    /** Keys of a chunk; 0 where there are none. */
    int chunk;

    // The rest is null where there is no such part.

    int[] keyLengths;
    Tensor keyLengthsTensor;
    Tensor rowLengths;
    Tensor tokens;
    int padToken;
    Tensor allow;
    Tensor bias;
    KeyRanges ranges;
    BoolExpression where;
    Program program;

    Parts() {}

    Parts(Parts other) {
      placement = other.placement;
      windowLeft = other.windowLeft;
      windowRight = other.windowRight;
      chunk = other.chunk;
      keyLengths = other.keyLengths;
      keyLengthsTensor = other.keyLengthsTensor;
      rowLengths = other.rowLengths;
      tokens = other.tokens;
      padToken = other.padToken;
      allow = other.allow;
      bias = other.bias;
      ranges = other.ranges;
      where = other.where;
      program = other.program;
    }

    boolean isPlain() {
      return (placement == null || placement.offsets() == null)
          && keyLengths == null
          && keyLengthsTensor == null
          && rowLengths == null
          && tokens == null
          && allow == null
          && bias == null
          && ranges == null
          && program == null;
    }
  }

  /**
   * Hides nothing: every query sees every key.
   *
   * @return the mask that changes nothing in an intersection
   */
  public static Mask none() {
    return NONE;
  }

  /** Whether an alignment, a window and a chunk say it all. */
  boolean isPlain() {
    return plain;
  }

  // ---- Positions ----

  /**
   * Hides the keys that come after a query.
   *
   * @param alignment where the positions of queries and keys coincide
   * @return the mask
   */
  public static Mask causal(Alignment alignment) {
    return window(UNBOUNDED, 0, Placement.of(alignment));
  }

  /**
   * Hides the keys that come after a query: query i of batch b sees the keys up to {@code i +
   * offsets[b]}.
   *
   * @param offsets for each batch the number of the key at which its first query stands. Copied.
   * @return the mask
   * @throws IllegalArgumentException if there are no offsets
   */
  public static Mask causal(int... offsets) {
    return window(UNBOUNDED, 0, Placement.of(offsets));
  }

  /**
   * Hides the keys that are far from a query: one at position p sees the keys from {@code p - left}
   * to {@code p + right}, both included. {@code window(left, 0, alignment)} is causal.
   *
   * @param left how many keys before its own a query sees, or {@link #UNBOUNDED}
   * @param right how many keys behind its own it sees, or {@link #UNBOUNDED}
   * @param alignment where the positions of queries and keys coincide
   * @return the mask
   * @throws IllegalArgumentException if a side is negative and not {@link #UNBOUNDED}
   */
  public static Mask window(int left, int right, Alignment alignment) {
    return window(left, right, Placement.of(alignment));
  }

  /**
   * Hides the keys that are far from a query, whose position is {@code i + offsets[b]}.
   *
   * @param left how many keys before its own a query sees, or {@link #UNBOUNDED}
   * @param right how many keys behind its own it sees, or {@link #UNBOUNDED}
   * @param offsets for each batch the number of the key at which its first query stands. Copied.
   * @return the mask
   * @throws IllegalArgumentException if a side is negative and not {@link #UNBOUNDED}, or there are
   *     no offsets
   */
  public static Mask window(int left, int right, int... offsets) {
    return window(left, right, Placement.of(offsets));
  }

  private static Mask window(int left, int right, Placement placement) {
    Checks.inRange("left", left, UNBOUNDED, Integer.MAX_VALUE);
    Checks.inRange("right", right, UNBOUNDED, Integer.MAX_VALUE);
    if (left == UNBOUNDED && right == UNBOUNDED) {
      return NONE;
    }
    Parts parts = new Parts();
    parts.windowLeft = left;
    parts.windowRight = right;
    parts.placement = placement;
    return new Mask(parts);
  }

  /**
   * Cuts the keys into chunks of one size; a query sees those of the chunk in which it stands
   * (Llama 4's attention chunks, together with {@link #causal(Alignment) causal}).
   *
   * @param size the keys of a chunk, at least 1
   * @param alignment where the positions of queries and keys coincide
   * @return the mask
   * @throws IllegalArgumentException if size is less than 1
   */
  public static Mask chunks(int size, Alignment alignment) {
    return chunks(size, Placement.of(alignment));
  }

  /**
   * Cuts the keys into chunks of one size; a query, whose position is {@code i + offsets[b]}, sees
   * those of the chunk in which it stands.
   *
   * @param size the keys of a chunk, at least 1
   * @param offsets for each batch the number of the key at which its first query stands. Copied.
   * @return the mask
   * @throws IllegalArgumentException if size is less than 1, or there are no offsets
   */
  public static Mask chunks(int size, int... offsets) {
    return chunks(size, Placement.of(offsets));
  }

  private static Mask chunks(int size, Placement placement) {
    Checks.positive("size", size);
    Parts parts = new Parts();
    parts.chunk = size;
    parts.placement = placement;
    return new Mask(parts);
  }

  // ---- Lengths and padding ----

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
    Parts parts = new Parts();
    parts.keyLengths = lengths;
    return new Mask(parts);
  }

  /**
   * Gives each batch, or each query of each batch, its own number of keys, which is read at each
   * call. Lengths of queries hide keys, but do not move the end that {@link Alignment#BOTTOM_RIGHT}
   * is aligned to.
   *
   * @param keyLengths {@link DType#I32} {@code [batch]} or {@code [batch, lenQ]}, each from 0 to
   *     lenK. Not modified.
   * @return the mask
   * @throws IllegalArgumentException if the type is not I32 or the rank neither 1 nor 2
   */
  public static Mask keyLengths(Tensor keyLengths) {
    requireType("keyLengths", keyLengths, DType.I32);
    Parts parts = new Parts();
    switch (keyLengths.rank()) {
      case 1 -> parts.keyLengthsTensor = keyLengths;
      case 2 -> parts.rowLengths = keyLengths;
      default ->
          throw new IllegalArgumentException(
              "keyLengths.rank must be 1 [batch] or 2 [batch, lenQ]: keyLengths.rank="
                  + keyLengths.rank());
    }
    return new Mask(parts);
  }

  /**
   * Hides the keys of tokens that only fill up a batch. The tokens are read at each call.
   *
   * @param tokens {@link DType#I32} {@code [batch, lenK]}, the token of each key. Not modified.
   * @param padToken the token that is hidden, wherever it stands
   * @return the mask
   * @throws IllegalArgumentException if the type is not I32 or the rank not 2
   */
  public static Mask padding(Tensor tokens, int padToken) {
    requireType("tokens", tokens, DType.I32);
    if (tokens.rank() != 2) {
      throw new IllegalArgumentException(
          "tokens.rank must be 2 [batch, lenK]: tokens.rank=" + tokens.rank());
    }
    Parts parts = new Parts();
    parts.tokens = tokens;
    parts.padToken = padToken;
    return new Mask(parts);
  }

  // ---- Anything else ----

  /**
   * Says for each query and key whether the one sees the other.
   *
   * @param allow {@link DType#BOOL}, true where the query sees the key, of any shape that
   *     broadcasts to {@code [batch, heads, lenQ, lenK]}, or has fewer keys. Not modified.
   * @return the mask
   * @throws IllegalArgumentException if the type is not BOOL, or the rank more than 4
   */
  public static Mask allow(Tensor allow) {
    requireType("allow", allow, DType.BOOL);
    requireRank("allow", allow);
    Parts parts = new Parts();
    parts.allow = allow;
    return new Mask(parts);
  }

  /**
   * Adds a number to each scaled logit; −∞ hides the key.
   *
   * @param bias {@link DType#F32}, of any shape that broadcasts to {@code [batch, heads, lenQ,
   *     lenK]}, or has fewer keys. Not modified.
   * @return the mask
   * @throws IllegalArgumentException if the type is not F32, or the rank more than 4
   */
  public static Mask bias(Tensor bias) {
    requireType("bias", bias, DType.F32);
    requireRank("bias", bias);
    Parts parts = new Parts();
    parts.bias = bias;
    return new Mask(parts);
  }

  /**
   * Hides all keys but those in the ranges of a query's block.
   *
   * @param ranges the lists of ranges
   * @return the mask
   */
  public static Mask keyRanges(KeyRanges ranges) {
    Parts parts = new Parts();
    parts.ranges = Objects.requireNonNull(ranges, "ranges");
    return new Mask(parts);
  }

  /**
   * Hides what does not meet a condition, in the manner of FlexAttention's {@code mask_mod}; {@link
   * Score} has examples. Where a window, chunks or key ranges can say the same, they are faster:
   * they know beforehand which keys need not be looked at.
   *
   * @param sees true where the query sees the key; it does not read the score
   * @return the mask
   * @throws IllegalArgumentException if the condition reads the score, holds more than 64
   *     operations, constants and inputs, needs more than 32 values at once, asks for positions
   *     under several alignments, or reads more than 4 tables
   */
  public static Mask where(BoolExpression sees) {
    Parts parts = new Parts();
    parts.where = Objects.requireNonNull(sees, "sees");
    parts.program = Program.of(sees);
    parts.placement = parts.program.placement;
    Program.tables(parts.program, null);
    return new Mask(parts);
  }

  /**
   * Intersects: hides what either mask hides. Two windows give the smaller side of each, two lists
   * of key lengths the smaller lengths, key ranges what both have. With key lengths for each batch,
   * {@link Alignment#BOTTOM_RIGHT} is aligned to each batch's own end.
   *
   * @param other the other mask
   * @return the intersection
   * @throws IllegalArgumentException if the masks place the queries differently among the keys, if
   *     both hold an {@code allow}, both a {@code bias}, both key lengths of the same rank in a
   *     tensor, or both padding (combine the two tensors first), if both hold chunks of different
   *     sizes or key ranges for different blocks, if their batches differ in number, or if both
   *     conditions together are too long
   */
  public Mask and(Mask other) {
    Objects.requireNonNull(other, "other");
    if (other == NONE || other == this) {
      return this;
    }
    if (this == NONE) {
      return other;
    }
    Parts a = parts;
    Parts b = other.parts;
    Parts both = new Parts();
    both.placement = Placement.one("an intersection", a.placement, b.placement);
    both.windowLeft = narrower(a.windowLeft, b.windowLeft);
    both.windowRight = narrower(a.windowRight, b.windowRight);
    both.chunk = oneChunk(a.chunk, b.chunk);
    both.keyLengths = shorter(a.keyLengths, b.keyLengths);
    both.keyLengthsTensor = one("keyLengths tensor", a.keyLengthsTensor, b.keyLengthsTensor);
    both.rowLengths = one("keyLengths tensor of queries", a.rowLengths, b.rowLengths);
    both.tokens = one("padding", a.tokens, b.tokens);
    both.padToken = onePadToken(a, b);
    both.allow = one("allow tensor", a.allow, b.allow);
    both.bias = one("bias tensor", a.bias, b.bias);
    both.ranges = common(a.ranges, b.ranges);
    both.where =
        a.where == null || b.where == null || a.where == b.where
            ? (a.where != null ? a.where : b.where)
            : a.where.and(b.where);
    both.program = both.where == null ? null : Program.of(both.where);
    Program.tables(both.program, null);
    return new Mask(both);
  }

  /**
   * Returns the tensor of a mask that is a bias and nothing else, for attention that reads it in a
   * way of its own.
   *
   * @return what {@link #bias} was given, or null where the mask is made of anything else
   */
  public Tensor biasAlone() {
    boolean alone =
        parts.placement == null
            && parts.keyLengths == null
            && parts.keyLengthsTensor == null
            && parts.rowLengths == null
            && parts.tokens == null
            && parts.allow == null
            && parts.ranges == null
            && parts.where == null;
    return alone ? parts.bias : null;
  }

  // ---- What a call asks ----

  /** Where the queries stand; null where that does not matter. */
  Placement placement() {
    return parts.placement;
  }

  /** The same with other places of the queries, where it asks for any. */
  Mask withPlacement(Placement placement) {
    if (parts.placement == null) {
      return this;
    }
    Parts moved = new Parts(parts);
    moved.placement = placement;
    return new Mask(moved);
  }

  long windowLeft() {
    return parts.windowLeft == UNBOUNDED ? Descriptor.UNBOUNDED : parts.windowLeft;
  }

  long windowRight() {
    return parts.windowRight == UNBOUNDED ? Descriptor.UNBOUNDED : parts.windowRight;
  }

  /** Keys of a chunk, 0 where there are none. */
  int chunk() {
    return parts.chunk;
  }

  /** Each batch's number of keys, or null. Not to be modified. */
  int[] keyLengths() {
    return parts.keyLengths;
  }

  /** The tensor of each batch's number of keys, or null. */
  Tensor keyLengthsTensor() {
    return parts.keyLengthsTensor;
  }

  /** The tensor of each query's number of keys, or null. */
  Tensor rowLengths() {
    return parts.rowLengths;
  }

  /** The keys' tokens, or null. */
  Tensor tokens() {
    return parts.tokens;
  }

  int padToken() {
    return parts.padToken;
  }

  /** The boolean mask, or null. */
  Tensor allow() {
    return parts.allow;
  }

  /** The additive mask, or null. */
  Tensor bias() {
    return parts.bias;
  }

  /** The lists of ranges, or null. */
  KeyRanges ranges() {
    return parts.ranges;
  }

  /** The condition, or null. */
  Program program() {
    return parts.program;
  }

  // ---- Intersecting ----

  private static int narrower(int a, int b) {
    return a == UNBOUNDED ? b : b == UNBOUNDED ? a : Math.min(a, b);
  }

  private static int oneChunk(int a, int b) {
    if (a != 0 && b != 0 && a != b) {
      throw new IllegalArgumentException(
          "an intersection must have one size of chunks: " + a + " and " + b);
    }
    return Math.max(a, b);
  }

  private static int[] shorter(int[] a, int[] b) {
    if (a == null || b == null) {
      return a != null ? a : b;
    }
    if (a.length != b.length) {
      throw new IllegalArgumentException(
          "key lengths must be for the same number of batches: " + a.length + " and " + b.length);
    }
    int[] shorter = a.clone();
    for (int i = 0; i < shorter.length; i++) {
      shorter[i] = Math.min(shorter[i], b[i]);
    }
    return shorter;
  }

  private static int onePadToken(Parts a, Parts b) {
    if (a.tokens != null && b.tokens != null && a.padToken != b.padToken) {
      throw new IllegalArgumentException(
          "an intersection can hold one padding token: " + a.padToken + " and " + b.padToken);
    }
    return a.tokens != null ? a.padToken : b.padToken;
  }

  private static KeyRanges common(KeyRanges a, KeyRanges b) {
    return a == null || a == b ? b : b == null ? a : a.and(b);
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
