package io.github.attention4j.classics.d2l;

import io.github.attention4j.A4j;
import io.github.attention4j.Attention;
import io.github.attention4j.Extras;
import io.github.attention4j.Mask;
import io.github.attention4j.Tensor;
import io.github.attention4j.internal.Checks;
import io.github.attention4j.internal.Descriptor;
import io.github.attention4j.internal.Downcalls;
import io.github.attention4j.internal.Scratch;
import io.github.attention4j.internal.Workspaces;
import java.lang.foreign.MemorySegment;

/**
 * Attention by scores that are not products of queries and keys. The scores of some queries at a
 * time become the bias of an attention whose queries and keys are 0, so that the core computes
 * softmax and the weighted sum of the values.
 */
final class PairScores {
  /** The most scores held in memory if the caller does not ask for all weights. */
  private static final long MOST_SCORES = 1 << 20;

  private final int form;
  private final float scale;

  /** What the tangents are weighted with, or null. */
  private final Tensor v;

  PairScores(int form, double scale, Tensor v) {
    this.form = form;
    this.scale = (float) scale;
    this.v = v;
  }

  /**
   * Attends.
   *
   * @param q [batch, lenQ, dim], rows packed
   * @param k [batch, lenK, dim], rows packed
   * @param values [batch, lenK, dimV]
   * @param out [batch, lenQ, dimV]
   * @param weights [batch, lenQ, lenK], contiguous; or null
   */
  void attend(Tensor q, Tensor k, Tensor values, ValidLens validLens, Tensor out, Tensor weights) {
    long batch = q.size(0);
    long lenQ = q.size(1);
    long lenK = k.size(1);
    validLens.check(batch, lenQ);
    Checks.packedRows("queries", q);
    Checks.packedRows("keys", k);
    long held = Math.max(1, MOST_SCORES / Math.max(1, batch * lenK));
    long rows = weights != null ? lenQ : Math.min(lenQ, held);
    try (Scratch scratch = new Scratch()) {
      Tensor zero = scratch.floats(1, 1, 1).expand(0, batch);
      Tensor keys = zero.expand(1, lenK);
      Tensor room = scratch.floats(batch * rows * lenK);
      for (long i = 0; i < lenQ; i += rows) {
        long count = Math.min(rows, lenQ - i);
        Tensor scores = room.slice(0, 0, batch * count * lenK).reshape(batch, count, lenK);
        score(q.slice(1, i, count), k, validLens, i, scores);
        Extras extras = weights == null ? Extras.none() : Extras.none().weights(weights);
        Attention.builder()
            .mask(Mask.bias(scores))
            .build()
            .forward(zero.expand(1, count), keys, values, out.slice(1, i, count), extras);
      }
    }
  }

  private void score(Tensor q, Tensor k, ValidLens validLens, long first, Tensor scores) {
    long batch = q.size(0);
    long lenQ = q.size(1);
    long lenK = k.size(1);
    if (scores.count() == 0) {
      return;
    }
    long lengths = validLens.isNone() ? 0 : validLens.perQuery() ? batch * lenQ : batch;
    try (Workspaces.Lease lease = Workspaces.lease()) {
      MemorySegment d = Descriptor.pairScores(lease, A4j.threads(), form, scale, true, lengths);
      Descriptor.pairSizes(d, batch, lenQ, lenK, q.size(2));
      Descriptor.pairStrides(d, q.stride(0), q.stride(1), k.stride(0), k.stride(1));
      if (lengths > 0) {
        boolean each = validLens.perQuery();
        Descriptor.pairLengthsStrides(d, each ? lenQ : 1, each ? 1 : 0);
        for (long n = 0; n < lengths; n++) {
          long b = each ? n / lenQ : n;
          long i = each ? first + n % lenQ : 0;
          Descriptor.pairLength(d, n, validLens.length(b, i, lenK));
        }
      }
      Downcalls.pairScores(
          d, Checks.first(q), Checks.first(k), Checks.firstOrNull(v), Checks.first(scores));
    }
  }
}
