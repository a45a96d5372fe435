package io.github.attention4j;

import io.github.attention4j.internal.Checks;
import io.github.attention4j.internal.Descriptor;
import io.github.attention4j.internal.Downcalls;
import io.github.attention4j.internal.Workspaces;
import java.util.Objects;

/**
 * Dropout of attention weights that a call draws by itself: each weight is dropped with probability
 * p, and the others are multiplied by {@code 1 / (1 - p)}.
 *
 * <pre>{@code
 * Dropout dropout = Dropout.of(0.1, seed).sharedAlong(Dropout.Dimension.HEADS);
 * attention.forward(q, k, v, out, Extras.none().dropout(dropout));
 * }</pre>
 *
 * <p>Whether the weight of batch b, head h, query i and key j is dropped follows from the seed and
 * these four numbers alone, by the counter-based generator Philox4x32-10 (Salmon et al., "Parallel
 * Random Numbers: As Easy as 1, 2, 3", 2011): the seed is the key, {@code (j / 4, i, h, b)} the
 * counter, and the weight is kept where word {@code j % 4} of the result, shifted right by 8 and
 * times 2⁻²⁴, is at least p. So it does not depend on threads, on the instruction set, on the other
 * sizes of the call, or on how weights are computed. Every training step needs a seed of its own.
 *
 * <p>Immutable, and safe for any number of threads.
 */
public final class Dropout {
  private final double p;
  private final long seed;
  private final int shared;

  /** The dimensions of the weights {@code [batch, heads, lenQ, lenK]}. */
  public enum Dimension {
    /** The first one. */
    BATCH(Descriptor.SHARED_BATCH),
    /** Heads; for {@link Differential} pairs. */
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
   * Draws for each weight by itself.
   *
   * @param p the probability with which a weight is dropped, in [0, 1)
   * @param seed any number; the same weights are dropped for the same seed
   * @return the dropout
   * @throws IllegalArgumentException if p, as a float, lies outside [0, 1)
   */
  public static Dropout of(double p, long seed) {
    if (!((float) p >= 0 && (float) p < 1)) {
      throw new IllegalArgumentException("p must lie in [0, 1): p=" + p);
    }
    return new Dropout(p, seed, 0);
  }

  /**
   * Drops the same weights everywhere along some dimensions, as tensor2tensor does along its {@code
   * dropout_broadcast_dims}, which are the ordinals of these.
   *
   * @param dimensions along which the number that is drawn is that of index 0; they replace those
   *     chosen before
   * @return the same dropout, shared along these dimensions alone
   */
  public Dropout sharedAlong(Dimension... dimensions) {
    int flags = 0;
    for (Dimension dimension : dimensions) {
      flags |= Objects.requireNonNull(dimension, "dimension").flag;
    }
    return new Dropout(p, seed, flags);
  }

  /**
   * Writes the mask that a call with as many batches, heads, queries and keys draws, for {@link
   * Extras#keep} and for those who want the same mask elsewhere.
   *
   * @param keep {@link DType#BOOL} {@code [batch, heads, lenQ, lenK]}, or {@code [batch, lenQ,
   *     lenK]} where there is one head; contiguous; true where a weight is kept. Modified.
   * @throws IllegalArgumentException if the tensor's type, rank or strides do not fit, or it is
   *     read-only
   * @throws IllegalStateException if the tensor's arena is closed or confined to another thread
   * @throws AttentionException if the native library is not to be had
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
              AttentionCall.heads(keep),
              keep.size(-2),
              keep.size(-1)),
          Checks.first(keep));
    }
  }

  float rate() {
    return (float) p;
  }

  float keepScale() {
    return (float) (1 / (1 - p));
  }

  long seed() {
    return seed;
  }

  int shared() {
    return shared;
  }
}
