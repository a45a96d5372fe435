package io.github.attention4j;

import io.github.attention4j.internal.Checks;
import io.github.attention4j.internal.Workspaces;
import java.util.Objects;

/**
 * Attention over one prefix for all batches, followed by each batch's own continuation: two calls,
 * one over the prefix as it lies, shown to every batch by a stride of 0, and one over the
 * continuations, merged by their logsumexps.
 *
 * <p>Query i of batch b stands at key {@code P + n[b] - lenQ + i} of the prefix's P keys and its
 * own n[b]: windows, chunks, ALiBi and relative positions give what they would give over the
 * concatenation.
 */
final class SharedPrefix {
  private SharedPrefix() {}

  static void forward(
      Options options, Tensor q, KvCache prefix, KvCache continuations, Tensor out, Extras extras) {
    Checks.rank("q", Objects.requireNonNull(q, "q"), 4);
    Objects.requireNonNull(prefix, "prefix");
    Objects.requireNonNull(continuations, "continuations");
    Checks.rank("out", Objects.requireNonNull(out, "out"), 4);
    Objects.requireNonNull(extras, "extras");
    Checks.equal("prefix.batch", prefix.keys().size(0), "that of a shared prefix", 1);
    checkAlike("keys", prefix.keys(), continuations.keyView());
    checkAlike("values", prefix.values(), continuations.valueView());
    final int prefixLength = prefix.longest();
    refuse("score", options.score());
    if (options.hardening() != null) {
      refuse(options.hardening().name(), options.hardening());
    }
    refuseParts(options.mask(), extras, prefixLength);
    Placement.one(
        "mask and cache", options.placementOrNull(), Placement.of(Alignment.BOTTOM_RIGHT));
    Tensor lse = extras.logsumexp();
    checkApart(out, lse, continuations);

    final Attention own = new Attention(options.withoutSinks());
    final Attention shared =
        new Attention(overPrefix(options, prefixLength, continuations.lengths(), q.size(2)));
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
      own.forward(q, continuations, ownOut, Extras.none().logsumexp(ownLse));
      shared.forward(
          q,
          prefix.keys().expand(0, q.size(0)),
          prefix.values().expand(0, q.size(0)),
          out,
          Extras.none().logsumexp(sharedLse));
      Attention.merge(out, sharedLse, ownOut, ownLse, out, lse);
    }
  }

  /**
   * The attention over the prefix. Where all of it is seen by all queries it asks for no positions,
   * so that batches, which read the same keys, can be computed side by side.
   */
  private static Options overPrefix(Options options, int prefix, int[] lengths, long lenQ) {
    Mask mask = options.mask();
    int[] offsets = new int[lengths.length];
    boolean behind = true;
    for (int b = 0; b < offsets.length; b++) {
      offsets[b] = Math.toIntExact(prefix + lengths[b] - lenQ);
      behind &= offsets[b] >= prefix - 1;
    }
    boolean nearOnly = mask.windowLeft() >= 0 || mask.chunk() != 0;
    boolean byDistance = options.slopes() != null || options.relative() != null;
    if (behind && !nearOnly && !byDistance || offsets.length == 0) {
      return options.withMask(Mask.none());
    }
    Mask causal = mask.and(Mask.causal(Alignment.BOTTOM_RIGHT));
    return options.withMask(causal).withPlacement(new Placement(null, offsets));
  }

  private static void refuseParts(Mask mask, Extras extras, int prefixLength) {
    refuse("mask.allow", mask.allow());
    refuse("mask.bias", mask.bias());
    refuse("mask.keyLengths", mask.keyLengths());
    refuse("mask.keyLengths", mask.keyLengthsTensor());
    refuse("mask.keyLengths", mask.rowLengths());
    refuse("mask.padding", mask.tokens());
    refuse("mask.keyRanges", mask.ranges());
    refuse("mask.where", mask.program());
    refuse("weights", extras.weights());
    refuse("scores", extras.scores());
    refuse("work", extras.work());
    refuse("keep", extras.keep());
    refuse("dropout", extras.dropout());
    refuse("gumbelNoise", extras.noise());
    if (mask.chunk() != 0) {
      Checks.multiple("prefix.length", prefixLength, "the size of chunks", mask.chunk());
    }
  }

  private static void refuse(String name, Object part) {
    if (part != null) {
      throw new IllegalArgumentException(
          name + " cannot be had with a shared prefix, which is attended to in two parts");
    }
  }

  /** Fewer heads in one of the two would be another grouping of the same queries. */
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
