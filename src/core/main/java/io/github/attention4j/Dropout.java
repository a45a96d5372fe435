package io.github.attention4j;

import io.github.attention4j.internal.Checks;
import io.github.attention4j.internal.Descriptor;
import io.github.attention4j.internal.Downcalls;
import io.github.attention4j.internal.Workspaces;
import java.util.Objects;

/**
 * Dropout of attention weights that a call draws itself: each weight is dropped with probability p,
 * and the others are multiplied by {@code 1 / (1 - p)}.
 *
 * <pre>{@code
 * Dropout dropout = Dropout.of(0.1, seed).sharedAlong(Dropout.Dimension.HEADS);
 * attention.forward(q, k, v, out, Extras.ofDropout(dropout));
 * }</pre>
 *
 * <p>Whether the weight of batch b, head h, query i and key j is dropped depends only on the seed
 * and these four numbers. The generator is the counter-based Philox4x32-10 (Salmon et al.,
 * "Parallel Random Numbers: As Easy as 1, 2, 3", 2011): the seed is its key, {@code (j / 4, i, h,
 * b)} its counter, and the weight is kept if word {@code j % 4} of the result, shifted right by 8
 * and multiplied by 2⁻²⁴, is at least p. The draw therefore does not depend on threads, on the
 * instruction set, on the other sizes of the call, or on how weights are computed. Use a new seed
 * for each training step.
 *
 * <p>Immutable, and safe for any number of threads.
 */
public final class Dropout {
  private final double p;
  private final long seed;
  private final int shared;

  /** The dimensions of the weights {@code [batch, heads, lenQ, lenK]}. */
  public enum Dimension {
    /** Batches. */
    BATCH(Descriptor.SHARED_BATCH),
    /** Heads, or pairs for {@link Differential}. */
    HEADS(Descriptor.SHARED_HEAD),
    /** Queries. */
    QUERIES(Descriptor.SHARED_ROW),
    /** Keys. */
    KEYS(Descriptor.SHARED_KEY);

    private final int flag;

    Dimension(int flag) {
      this.flag = flag;
    }
  }

  private Dropout(double p, long seed, int shared) {
    this.p = p;
    this.seed = seed;
    this.shared = shared;
  }

  /**
   * Draws each weight independently.
   *
   * @param p the probability with which a weight is dropped, in [0, 1)
   * @param seed any number; the same seed drops the same weights
   * @return the dropout
   * @throws IllegalArgumentException if p, as a float, is outside [0, 1)
   */
  public static Dropout of(double p, long seed) {
    checkProbability((float) p, p);
    return new Dropout(p, seed, 0);
  }

  private static void checkProbability(double value, double p) {
    if (!(value >= 0 && value < 1)) {
      throw new IllegalArgumentException("p must lie in [0, 1): p=" + p);
    }
  }

  /** The factor of the weights that are kept. */
  static float keepScale(double p) {
    checkProbability(p, p);
    return (float) (1 / (1 - p));
  }

  /**
   * Drops the same weights everywhere along some dimensions, as tensor2tensor does along its {@code
   * dropout_broadcast_dims}, which are the ordinals of these.
   *
   * @param dimensions along which every index uses the draw of index 0; they replace those chosen
   *     before
   * @return the same dropout, shared along these dimensions only
   */
  public Dropout sharedAlong(Dimension... dimensions) {
    int flags = 0;
    for (Dimension dimension : dimensions) {
      flags |= Objects.requireNonNull(dimension, "dimension").flag;
    }
    return new Dropout(p, seed, flags);
  }

  /**
   * Writes the mask that a call of this many batches, heads, queries and keys draws, for {@link
   * Extras#keep} or for use elsewhere.
   *
   * @param keep {@link DType#BOOL} {@code [batch, heads, lenQ, lenK]}, or {@code [batch, lenQ,
   *     lenK]} for one head; contiguous; true for a weight that is kept. Modified.
   * @throws IllegalArgumentException if the tensor's type, rank or strides do not fit, or it is
   *     read-only
   */
  public void mask(Tensor keep) {
    int rank = Objects.requireNonNull(keep, "keep").rank();
    if (rank != 4 && rank != 3) {
      throw new IllegalArgumentException(
          "keep.rank must be 4 [batch, heads, lenQ, lenK] or 3 [batch, lenQ, lenK]: keep.rank="
              + rank);
    }
    Checks.output("keep", keep, DType.BOOL);
    Checks.contiguous("keep", keep);
    if (keep.count() == 0) {
      return;
    }
    try (Workspaces.Lease lease = Workspaces.lease()) {
      Downcalls.dropoutMask(
          Descriptor.dropoutMask(
              lease,
              A4j.threads(),
              rate(),
              seed,
              shared,
              keep.size(0),
              Checks.heads(keep),
              keep.size(-2),
              keep.size(-1)),
          Checks.first(keep));
    }
  }

  float rate() {
    return (float) p;
  }

  float keepScale() {
    return keepScale(p);
  }

  long seed() {
    return seed;
  }

  int shared() {
    return shared;
  }
}
