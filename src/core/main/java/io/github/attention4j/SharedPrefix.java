package io.github.attention4j;

import io.github.attention4j.internal.Checks;
import io.github.attention4j.internal.Workspaces;
import java.util.Objects;

/**
 * Attention over one prefix for all batches, followed by each batch's own continuation. It takes
 * two calls, which are merged by their logsumexps: one over the prefix, which a stride of 0 repeats
 * for every batch, and one over the continuations.
 *
 * <p>Query i of batch b is at position {@code P + n[b] - lenQ + i}, for P keys of the prefix and
 * n[b] of its own, so that windows, chunks, ALiBi and relative positions give the same result as
 * over the concatenation.
 */
final class SharedPrefix {
  private static final String WHY = "a shared prefix, which is attended to in two parts";

  private SharedPrefix() {}

  static void forward(
      Options options, Tensor q, KvCache prefix, KvCache continuations, Tensor out, Extras extras) {
    Checks.rank("q", Objects.requireNonNull(q, "q"), 4);
    Objects.requireNonNull(prefix, "prefix");
    Objects.requireNonNull(continuations, "continuations");
    Checks.rank("out", Objects.requireNonNull(out, "out"), 4);
    Objects.requireNonNull(extras, "extras");
    checkStored(prefix, continuations);
    final Tensor prefixKeys = prefix.keyView();
    final Tensor prefixValues = prefix.valueView();
    Checks.equal("prefix.batch", prefixKeys.size(0), "the batch of a shared prefix", 1);
    checkAlike("keys", prefixKeys, continuations.keyView());
    checkAlike("values", prefixValues, continuations.valueView());
    final int prefixLength = prefix.longest();
    options.refuseIndexed(extras, WHY);
    options.refuseHardening(WHY);
    Options.refuse("mask.queryLengths", options.mask().queryLengths(), WHY);
    Options.refuse("work", extras.work(), WHY);
    if (options.mask().chunk() != 0) {
      Checks.multiple("prefix.length", prefixLength, "the size of chunks", options.mask().chunk());
    }
    options.requireCachePlacement();
    Tensor lse = extras.logsumexp();
    checkApart(out, lse, continuations);

    final Options own = options.withoutSinks();
    final Options shared = overPrefix(options, prefixLength, continuations.lengths(), q.size(2));
    try (Workspaces.Lease lease = Workspaces.lease()) {
      long rows = out.size(0) * out.size(1) * out.size(2);
      long lseBytes = Copying.Pieces.whole(rows * Float.BYTES);
      long outBytes = Copying.Pieces.whole(rows * out.size(3) * Float.BYTES);
      Copying.Pieces pieces = new Copying.Pieces(lease.inputs(2 * lseBytes + outBytes));
      long[] lseShape = {out.size(0), out.size(1), out.size(2)};
      final Tensor ownOut = Tensor.of(pieces.next(outBytes), DType.F32, out.shape());
      final Tensor ownLse = Tensor.of(pieces.next(lseBytes), DType.F32, lseShape);
      Tensor scratchLse = Tensor.of(pieces.next(lseBytes), DType.F32, lseShape);
      Tensor sharedLse = lse != null ? lse : scratchLse;
      Attention.run(own, q, continuations, ownOut, Extras.ofLogsumexp(ownLse));
      Attention.run(
          shared,
          q,
          prefixKeys.expand(0, q.size(0)),
          prefixValues.expand(0, q.size(0)),
          out,
          Extras.ofLogsumexp(sharedLse));
      Attention.merge(out, sharedLse, ownOut, ownLse, out, lse);
    }
  }

  /**
   * The options for the prefix. If all queries see all of it, they do not depend on positions, so
   * that batches, which read the same keys, can be computed together.
   */
  private static Options overPrefix(Options options, int prefix, int[] lengths, long lenQ) {
    Mask mask = options.mask();
    int[] offsets = new int[lengths.length];
    boolean allSeen = true;
    for (int b = 0; b < offsets.length; b++) {
      long offset = (long) prefix + lengths[b] - lenQ;
      Checks.inRange(
          "prefix + lengths[" + b + "] - lenQ", offset, Integer.MIN_VALUE, Integer.MAX_VALUE);
      offsets[b] = (int) offset;
      allSeen &= offsets[b] >= prefix - 1;
    }
    boolean nearOnly = mask.windowLeft() >= 0 || mask.chunk() != 0;
    boolean byDistance = options.slopes() != null || options.relative() != null;
    if (allSeen && !nearOnly && !byDistance || offsets.length == 0) {
      return options.withMask(Mask.none());
    }
    Mask causal = mask.and(Mask.causal(Alignment.BOTTOM_RIGHT));
    return options.withMask(causal).withPlacement(new Placement(null, offsets));
  }

  /** Every batch reads the prefix as one tensor; continuations have all of their rows. */
  private static void checkStored(KvCache prefix, KvCache continuations) {
    if (prefix.isStoredApart()) {
      throw new IllegalArgumentException(
          "prefix must be a dense cache of F32, BF16 or F16: prefix=" + prefix);
    }
    if (continuations.isRing()) {
      throw new IllegalArgumentException(
          "continuations must not be a ring, which forgets rows: continuations=" + continuations);
    }
  }

  /** Both must group the queries in the same way. */
  private static void checkAlike(String what, Tensor prefix, Tensor continuations) {
    String name = "prefix." + what;
    String otherName = "continuations." + what;
    Checks.equal(name, otherName, "heads", prefix.size(1), continuations.size(1));
    Checks.equal(name, otherName, "dim", prefix.size(3), continuations.size(3));
  }

  private static void checkApart(Tensor out, Tensor lse, KvCache continuations) {
    Checks.output("out", out);
    continuations.checkApart("out", out);
    if (lse != null) {
      Checks.output("logsumexp", lse);
      continuations.checkApart("logsumexp", lse);
    }
  }
}
