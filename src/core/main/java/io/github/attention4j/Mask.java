package io.github.attention4j;

import io.github.attention4j.internal.Checks;
import io.github.attention4j.internal.Descriptor;
import java.lang.foreign.Arena;
import java.util.Objects;

/**
 * Says which keys a query sees, and what is added to their logits. Masks are immutable values that
 * are combined by intersection: a query sees a key if every part allows it.
 *
 * <pre>{@code
 * Mask causal = Mask.causal(Alignment.TOP_LEFT);
 * Mask padded = causal.and(Mask.keyLengths(17, 9)); // batch 0 has 17 keys, batch 1 has 9
 * Mask local = padded.and(Mask.window(127, 0, Alignment.TOP_LEFT)); // and at most 128 of them
 * }</pre>
 *
 * <p>Hidden keys never affect the result, even if they hold NaN or infinity; blocks of keys that
 * are entirely hidden are not computed. A query that sees no key has output 0, weights 0 and
 * logsumexp −∞ (with a sink: the sink).
 *
 * <p><b>Positions.</b> Causal masks, windows and chunks compare the index of a key with the
 * position of a query among the keys. Where the first query is must be stated: as an {@link
 * Alignment}, or as an offset for each batch, the index of the key at which its first query is (any
 * sign). All parts of a mask, ALiBi, relative positions and expressions must agree.
 *
 * <p>Tensors in a mask are read at each call; the caller must keep their arena open. Shapes are
 * checked at the call: {@code allow} and {@code bias} broadcast to {@code [batch, heads, lenQ,
 * lenK]}, or to {@code [batch, lenQ, lenK]} if attention is called with tensors of rank 3, by
 * NumPy's rule: dimensions are aligned from the last, and one that is missing or has size 1 is
 * repeated. They must cover all keys, unless {@link #paddedWithHidden} says that the rest is
 * hidden. In differential attention a head of the mask is an output head, that is, a pair.
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

  /** The parts of an intersection, one of each kind; null for a part that is absent. */
  private static final class Parts extends Draft<Parts> {
    /** Null if no part depends on positions. */
    Placement placement;

    int windowLeft = UNBOUNDED;
    int windowRight = UNBOUNDED;

    /** The number of keys in a chunk; 0 for no chunks. */
    int chunk;

    int[] keyLengths;
    int[] queryLengths;
    Tensor keyLengthsTensor;
    Tensor rowLengths;
    Tensor tokens;
    int padToken;
    Tensor allow;
    Tensor bias;

    /** Whether keys beyond those of allow, or of bias, are hidden. */
    boolean allowPadded;

    boolean biasPadded;
    KeyRanges ranges;
    BoolExpression where;
    Program program;

    boolean isPlain() {
      return (placement == null || placement.offsets() == null)
          && keyLengths == null
          && queryLengths == null
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
   * @return the neutral element of intersection
   */
  public static Mask none() {
    return NONE;
  }

  /** Whether the mask is at most an alignment, a window and chunks. */
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
   * offset[b]}.
   *
   * @param offset for the first batch the position of its first query
   * @param others likewise for the other batches. Copied.
   * @return the mask
   */
  public static Mask causal(int offset, int... others) {
    return window(UNBOUNDED, 0, Placement.of(offset, others));
  }

  /**
   * Hides the keys that come after a query: query i of batch b sees the keys up to {@code i +
   * offsets[b]}.
   *
   * @param offsets for each batch the position of its first query. Copied.
   * @return the mask
   * @throws IllegalArgumentException if offsets is empty
   */
  public static Mask causal(int[] offsets) {
    return window(UNBOUNDED, 0, Placement.of(offsets));
  }

  /**
   * Hides the keys that are far from a query: a query at position p sees the keys from {@code p -
   * left} to {@code p + right}, inclusive. {@code window(left, 0, alignment)} is causal.
   *
   * @param left the number of keys before its own that a query sees, or {@link #UNBOUNDED}
   * @param right the number of keys after its own that it sees, or {@link #UNBOUNDED}
   * @param alignment where the positions of queries and keys coincide
   * @return the mask
   * @throws IllegalArgumentException if a side is negative and not {@link #UNBOUNDED}
   */
  public static Mask window(int left, int right, Alignment alignment) {
    return window(left, right, Placement.of(alignment));
  }

  /**
   * Hides the keys that are far from a query at position {@code i + offset[b]}.
   *
   * @param left the number of keys before its own that a query sees, or {@link #UNBOUNDED}
   * @param right the number of keys after its own that it sees, or {@link #UNBOUNDED}
   * @param offset for the first batch the position of its first query
   * @param others likewise for the other batches. Copied.
   * @return the mask
   * @throws IllegalArgumentException if a side is negative and not {@link #UNBOUNDED}
   */
  public static Mask window(int left, int right, int offset, int... others) {
    return window(left, right, Placement.of(offset, others));
  }

  /**
   * Hides the keys that are far from a query at position {@code i + offsets[b]}.
   *
   * @param left the number of keys before its own that a query sees, or {@link #UNBOUNDED}
   * @param right the number of keys after its own that it sees, or {@link #UNBOUNDED}
   * @param offsets for each batch the position of its first query. Copied.
   * @return the mask
   * @throws IllegalArgumentException if a side is negative and not {@link #UNBOUNDED}, or offsets
   *     is empty
   */
  public static Mask window(int left, int right, int[] offsets) {
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
   * Divides the keys into chunks of one size; a query sees the keys of the chunk that it is in
   * (Llama 4's attention chunks, together with {@link #causal(Alignment) causal}).
   *
   * @param size the number of keys in a chunk, at least 1
   * @param alignment where the positions of queries and keys coincide
   * @return the mask
   * @throws IllegalArgumentException if size is less than 1
   */
  public static Mask chunks(int size, Alignment alignment) {
    return chunks(size, Placement.of(alignment));
  }

  /**
   * Divides the keys into chunks of one size; a query at position {@code i + offset[b]} sees the
   * keys of the chunk that it is in.
   *
   * @param size the number of keys in a chunk, at least 1
   * @param offset for the first batch the position of its first query
   * @param others likewise for the other batches. Copied.
   * @return the mask
   * @throws IllegalArgumentException if size is less than 1
   */
  public static Mask chunks(int size, int offset, int... others) {
    return chunks(size, Placement.of(offset, others));
  }

  /**
   * Divides the keys into chunks of one size; a query at position {@code i + offsets[b]} sees the
   * keys of the chunk that it is in.
   *
   * @param size the number of keys in a chunk, at least 1
   * @param offsets for each batch the position of its first query. Copied.
   * @return the mask
   * @throws IllegalArgumentException if size is less than 1, or offsets is empty
   */
  public static Mask chunks(int size, int[] offsets) {
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
   * Gives each batch its own number of keys; the keys after them are hidden.
   *
   * @param keyLengths for each batch the number of keys, from 0 to lenK. Copied.
   * @return the mask
   * @throws IllegalArgumentException if a length is negative
   */
  public static Mask keyLengths(int... keyLengths) {
    Parts parts = new Parts();
    parts.keyLengths = notNegative("keyLengths", keyLengths);
    return new Mask(parts);
  }

  private static int[] notNegative(String name, int[] lengths) {
    int[] own = Objects.requireNonNull(lengths, name).clone();
    for (int b = 0; b < own.length; b++) {
      if (own[b] < 0) {
        throw new IllegalArgumentException(
            "%s[%d] must not be negative: %s[%d]=%d".formatted(name, b, name, b, own[b]));
      }
    }
    return own;
  }

  /**
   * Gives each batch its own number of queries; those after them are padding and see no key, so
   * that their output is 0. {@link Alignment#BOTTOM_RIGHT} is aligned to each batch's own last
   * query. These are the counts of {@link KvCache#append(Tensor, Tensor, int[])}.
   *
   * @param queryLengths for each batch the number of queries, from 0 to lenQ. Copied.
   * @return the mask
   * @throws IllegalArgumentException if a length is negative
   */
  public static Mask queryLengths(int... queryLengths) {
    Parts parts = new Parts();
    parts.queryLengths = notNegative("queryLengths", queryLengths);
    return new Mask(parts);
  }

  /**
   * Gives each batch, or each query of each batch, its own number of keys, read at each call.
   * Lengths of queries hide keys, but do not move the end that {@link Alignment#BOTTOM_RIGHT} is
   * aligned to.
   *
   * @param keyLengths {@link DType#I32} or {@link DType#I64} {@code [batch]} or {@code [batch,
   *     lenQ]}, each from 0 to lenK. Not modified.
   * @return the mask
   * @throws IllegalArgumentException if the type is neither I32 nor I64, or the rank neither 1 nor
   *     2
   */
  public static Mask keyLengths(Tensor keyLengths) {
    Checks.integers("keyLengths", Objects.requireNonNull(keyLengths, "keyLengths"));
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
   * Hides the keys of padding tokens. The tokens are read at each call.
   *
   * @param tokens {@link DType#I32} {@code [batch, lenK]}, the token of each key. Not modified.
   * @param padToken the token that is hidden, wherever it occurs
   * @return the mask
   * @throws IllegalArgumentException if the type is not I32 or the rank not 2
   */
  public static Mask padding(Tensor tokens, int padToken) {
    Checks.dtype("tokens", Objects.requireNonNull(tokens, "tokens"), DType.I32);
    if (tokens.rank() != 2) {
      throw new IllegalArgumentException(
          "tokens.rank must be 2 [batch, lenK]: tokens.rank=" + tokens.rank());
    }
    Parts parts = new Parts();
    parts.tokens = tokens;
    parts.padToken = padToken;
    return new Mask(parts);
  }

  // ---- Matrices, ranges and conditions ----

  /**
   * Says for each query and key whether the query sees the key.
   *
   * @param allow {@link DType#BOOL}, true if the query sees the key, of any shape that broadcasts
   *     to {@code [batch, heads, lenQ, lenK]}. Not modified.
   * @return the mask
   * @throws IllegalArgumentException if the type is not BOOL, or the rank more than 4
   */
  public static Mask allow(Tensor allow) {
    Parts parts = new Parts();
    parts.allow = matrix("allow", allow, DType.BOOL);
    return new Mask(parts);
  }

  /**
   * Says for each query and key whether the query sees the key. The values are copied off the heap,
   * to memory that lives as long as the mask.
   *
   * @param allow true if the query sees the key, in row-major order. Not modified.
   * @param shape any shape that broadcasts to {@code [batch, heads, lenQ, lenK]}
   * @return the mask
   * @throws IllegalArgumentException if the number of values is not the product of the shape, or
   *     the rank is more than 4
   */
  public static Mask of(boolean[] allow, long... shape) {
    return allow(Tensor.of(Arena.ofAuto(), allow, shape));
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
    Parts parts = new Parts();
    parts.bias = matrix("bias", bias, DType.F32);
    return new Mask(parts);
  }

  /**
   * Adds a number to each scaled logit; −∞ hides the key. The values are copied off the heap, to
   * memory that lives as long as the mask.
   *
   * @param bias the numbers in row-major order. Not modified.
   * @param shape any shape that broadcasts to {@code [batch, heads, lenQ, lenK]}
   * @return the mask
   * @throws IllegalArgumentException if the number of values is not the product of the shape, or
   *     the rank is more than 4
   */
  public static Mask bias(float[] bias, long... shape) {
    return bias(Tensor.of(Arena.ofAuto(), bias, shape));
  }

  private static Tensor matrix(String name, Tensor tensor, DType dtype) {
    Checks.dtype(name, Objects.requireNonNull(tensor, name), dtype);
    if (tensor.rank() > 4) {
      throw new IllegalArgumentException(
          name
              + ".rank must be at most 4 [batch, heads, lenQ, lenK]: "
              + name
              + ".rank="
              + tensor.rank());
    }
    return tensor;
  }

  /**
   * Returns this mask with {@code allow} and {@code bias} extended by hidden keys, as ONNX
   * Attention does: they may then have fewer keys than the call (but more than one, which is
   * repeated). Without this, a call with more keys than they have is refused.
   *
   * @return a new mask
   */
  public Mask paddedWithHidden() {
    Parts padded = parts.copy();
    padded.allowPadded = padded.allow != null;
    padded.biasPadded = padded.bias != null;
    return new Mask(padded);
  }

  /**
   * Hides all keys outside the ranges of a query's block.
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
   * Hides the keys for which a condition is false, like FlexAttention's {@code mask_mod}; {@link
   * Score} has examples. Prefer a window, chunks or key ranges if they can express the same: they
   * are faster, because they know which keys are hidden without evaluating anything.
   *
   * @param sees true if the query sees the key; must not read the score
   * @return the mask
   * @throws IllegalArgumentException if the condition reads the score, has more than 64 operations,
   *     constants and inputs, needs more than 32 values at once, uses positions under several
   *     alignments, or reads more than 4 tables
   */
  public static Mask where(BoolExpression sees) {
    Parts parts = new Parts();
    parts.where = Objects.requireNonNull(sees, "sees");
    parts.program = Program.of(sees);
    parts.placement = parts.program.placement;
    return new Mask(parts);
  }

  /**
   * Intersects two masks: hides what either hides. Two windows give the smaller side of each, two
   * lists of key or query lengths the smaller lengths, key ranges what both have. With lengths for
   * each batch, {@link Alignment#BOTTOM_RIGHT} is aligned to each batch's own end.
   *
   * @param other the other mask
   * @return the intersection
   * @throws IllegalArgumentException if the masks place the queries differently among the keys, if
   *     both have an {@code allow}, both a {@code bias}, both key lengths of the same rank in a
   *     tensor, or both padding (combine the two tensors first), if they have chunks of different
   *     sizes or key ranges for different blocks, if their numbers of batches differ, or if both
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
    both.keyLengths = shorter("key", a.keyLengths, b.keyLengths);
    both.queryLengths = shorter("query", a.queryLengths, b.queryLengths);
    both.keyLengthsTensor = one("keyLengths tensor", a.keyLengthsTensor, b.keyLengthsTensor);
    both.rowLengths = one("keyLengths tensor of queries", a.rowLengths, b.rowLengths);
    both.tokens = one("padding", a.tokens, b.tokens);
    both.padToken = onePadToken(a, b);
    both.allow = one("allow tensor", a.allow, b.allow);
    both.bias = one("bias tensor", a.bias, b.bias);
    both.allowPadded = a.allowPadded || b.allowPadded;
    both.biasPadded = a.biasPadded || b.biasPadded;
    both.ranges = common(a.ranges, b.ranges);
    both.where =
        a.where == null || b.where == null || a.where == b.where
            ? (a.where != null ? a.where : b.where)
            : a.where.and(b.where);
    both.program = both.where == null ? null : Program.of(both.where);
    return new Mask(both);
  }

  /**
   * Returns the bias of a mask that is a bias and nothing else, for attention that reads it in a
   * way of its own.
   *
   * @return the tensor that {@link #bias} was given, or null if the mask has any other part
   */
  public Tensor biasAlone() {
    boolean alone =
        parts.placement == null
            && parts.keyLengths == null
            && parts.queryLengths == null
            && parts.keyLengthsTensor == null
            && parts.rowLengths == null
            && parts.tokens == null
            && parts.allow == null
            && parts.ranges == null
            && parts.where == null;
    return alone ? parts.bias : null;
  }

  // ---- What a call needs ----

  /** Where the queries are; null if no part depends on it. */
  Placement placement() {
    return parts.placement;
  }

  /** Moves the queries, if any part depends on where they are. */
  Mask withPlacement(Placement placement) {
    if (parts.placement == null) {
      return this;
    }
    Parts moved = parts.copy();
    moved.placement = placement;
    return new Mask(moved);
  }

  long windowLeft() {
    return parts.windowLeft == UNBOUNDED ? Descriptor.UNBOUNDED : parts.windowLeft;
  }

  long windowRight() {
    return parts.windowRight == UNBOUNDED ? Descriptor.UNBOUNDED : parts.windowRight;
  }

  /** The number of keys in a chunk, 0 for no chunks. */
  int chunk() {
    return parts.chunk;
  }

  /** Each batch's number of keys, or null. Must not be modified. */
  int[] keyLengths() {
    return parts.keyLengths;
  }

  /** Each batch's number of queries, or null. Must not be modified. */
  int[] queryLengths() {
    return parts.queryLengths;
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

  /** Whether keys beyond those of {@link #allow()} are hidden, rather than refused. */
  boolean isAllowPadded() {
    return parts.allowPadded;
  }

  /** Whether keys beyond those of {@link #bias()} are hidden, rather than refused. */
  boolean isBiasPadded() {
    return parts.biasPadded;
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

  private static int[] shorter(String what, int[] a, int[] b) {
    if (a == null || b == null) {
      return a != null ? a : b;
    }
    if (a.length != b.length) {
      throw new IllegalArgumentException(
          what
              + " lengths must be for the same number of batches: "
              + a.length
              + " and "
              + b.length);
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
          "an intersection can have only one padding token: " + a.padToken + " and " + b.padToken);
    }
    return a.tokens != null ? a.padToken : b.padToken;
  }

  private static KeyRanges common(KeyRanges a, KeyRanges b) {
    return a == null || a == b ? b : b == null ? a : a.and(b);
  }

  private static Tensor one(String what, Tensor a, Tensor b) {
    if (a != null && b != null && a != b) {
      throw new IllegalArgumentException(
          "an intersection can have only one "
              + what
              + ", combine the two into one tensor first: "
              + a.layout()
              + " and "
              + b.layout());
    }
    return a != null ? a : b;
  }
}
