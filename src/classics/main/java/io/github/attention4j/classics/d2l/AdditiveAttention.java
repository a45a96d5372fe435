package io.github.attention4j.classics.d2l;

import io.github.attention4j.Tensor;
import io.github.attention4j.internal.Checks;
import io.github.attention4j.internal.Descriptor;
import io.github.attention4j.internal.Scratch;
import io.github.attention4j.internal.Weights;
import io.github.attention4j.io.SafeTensors;
import io.github.attention4j.layer.Linear;
import java.lang.foreign.Arena;
import java.util.Objects;

/**
 * Additive attention (Bahdanau, Cho, Bengio, "Neural Machine Translation by Jointly Learning to
 * Align and Translate", 2015), {@code AdditiveAttention} of "Dive into Deep Learning" (chapter
 * 11.3):
 *
 * <pre>
 *   score[b, i, j] = w_v · tanh(W_q queries[b, i] + W_k keys[b, j])
 *   out            = maskedSoftmax(score, validLens) · values
 * </pre>
 *
 * <p>Queries and keys may differ in width. Unlike the textbook's broadcast, this never allocates a
 * tensor of queries × keys × hidden units. Keys that many calls read, such as the steps of a
 * decoder, can be {@linkplain #projectKeys projected} once.
 *
 * <p>All tensors are {@link io.github.attention4j.DType#F32}.
 */
public final class AdditiveAttention {
  private final Linear queryProjection;
  private final Linear keyProjection;
  private final Tensor wv;

  private AdditiveAttention(Linear queryProjection, Linear keyProjection, Tensor wv) {
    this.queryProjection = queryProjection;
    this.keyProjection = keyProjection;
    this.wv = wv;
  }

  /**
   * Makes the layer.
   *
   * @param wq {@code W_q}, from the width of queries to the hidden units
   * @param wk {@code W_k}, from the width of keys to the hidden units
   * @param wv {@code w_v}, {@code [hidden]} or {@code [1, hidden]}; contiguous. Kept, not modified.
   * @return the layer
   * @throws IllegalArgumentException if types, ranks, strides or alignment do not fit, or the
   *     numbers of hidden units differ
   */
  public static AdditiveAttention of(Linear wq, Linear wk, Tensor wv) {
    Objects.requireNonNull(wq, "wq");
    Objects.requireNonNull(wk, "wk");
    Checks.input("wv", Objects.requireNonNull(wv, "wv"));
    Checks.contiguous("wv", wv);
    if (wv.rank() != 1 && (wv.rank() != 2 || wv.size(0) != 1)) {
      throw new IllegalArgumentException(
          "wv.shape must be [hidden] or [1, hidden]: wv=" + wv.layout());
    }
    Checks.equal("wk.dimOut", wk.dimOut(), "wq.dimOut", wq.dimOut());
    Checks.equal("wv.hidden", wv.size(-1), "wq.dimOut", wq.dimOut());
    return new AdditiveAttention(wq, wk, wv);
  }

  /**
   * Reads {@code W_q}, {@code W_k} and {@code w_v}, with or without the suffix {@code .weight}.
   *
   * @param file contains the tensors, and under the prefix no others
   * @param prefix what their names begin with, for example {@code "decoder.attention."}
   * @param arena for copies of weights that are not F32 or are misaligned in the file
   * @return the layer
   * @throws IllegalArgumentException if a tensor is missing or unknown, or the shapes do not match
   *     each other
   * @throws OutOfMemoryError if there is no memory for a copy
   */
  public static AdditiveAttention load(SafeTensors file, String prefix, Arena arena) {
    Weights weights = new Weights(file, prefix, arena);
    AdditiveAttention layer =
        of(
            weights.linear("W_q", "b_q"),
            weights.linear("W_k", "b_k"),
            weights.get("w_v.weight", "w_v"));
    weights.requireAllRead();
    return layer;
  }

  /**
   * Returns the number of hidden units.
   *
   * @return the book's {@code num_hiddens}
   */
  public long hidden() {
    return queryProjection.dimOut();
  }

  /**
   * Computes attention.
   *
   * @param queries {@code [batch, lenQ, dimQueries]}. Not modified.
   * @param keys {@code [batch, lenK, dimKeys]}. Not modified.
   * @param values {@code [batch, lenK, dimV]}. Not modified.
   * @param validLens how many keys are valid
   * @param out {@code [batch, lenQ, dimV]}. Modified.
   * @throws IllegalArgumentException if types, ranks, shapes, strides or alignment do not fit, the
   *     lengths do not match the batch or the number of queries, or out is read-only or overlaps an
   *     input or itself
   * @throws OutOfMemoryError if there is no memory for projections and scores
   */
  public void forward(Tensor queries, Tensor keys, Tensor values, ValidLens validLens, Tensor out) {
    run(queries, keys, false, values, validLens, out, null);
  }

  /**
   * Computes attention and returns its weights, the book's {@code attention_weights}.
   *
   * @param queries {@code [batch, lenQ, dimQueries]}. Not modified.
   * @param keys {@code [batch, lenK, dimKeys]}. Not modified.
   * @param values {@code [batch, lenK, dimV]}. Not modified.
   * @param validLens how many keys are valid
   * @param out {@code [batch, lenQ, dimV]}. Modified.
   * @param weights {@code [batch, lenQ, lenK]}, contiguous. Modified.
   * @throws IllegalArgumentException as {@link #forward(Tensor, Tensor, Tensor, ValidLens,
   *     Tensor)}, and if weights does not fit
   * @throws OutOfMemoryError if there is no memory for projections and scores
   */
  public void forward(
      Tensor queries, Tensor keys, Tensor values, ValidLens validLens, Tensor out, Tensor weights) {
    run(queries, keys, false, values, validLens, out, Objects.requireNonNull(weights, "weights"));
  }

  /**
   * Projects keys for use by several calls.
   *
   * @param keys {@code [batch, lenK, dimKeys]}. Not modified.
   * @param projected {@code [batch, lenK, hidden]}, to be given to {@link #forwardProjected}.
   *     Modified.
   * @throws IllegalArgumentException if types, shapes, strides or alignment do not fit, or
   *     projected is read-only or overlaps keys or a weight
   */
  public void projectKeys(Tensor keys, Tensor projected) {
    keyProjection.forward(keys, projected);
  }

  /**
   * Computes attention to keys that have been projected.
   *
   * @param queries {@code [batch, lenQ, dimQueries]}. Not modified.
   * @param projected {@code [batch, lenK, hidden]}, from {@link #projectKeys}. Not modified.
   * @param values {@code [batch, lenK, dimV]}. Not modified.
   * @param validLens how many keys are valid
   * @param out {@code [batch, lenQ, dimV]}. Modified.
   * @param weights {@code [batch, lenQ, lenK]}, contiguous; or null if not needed. Modified.
   * @throws IllegalArgumentException as {@link #forward(Tensor, Tensor, Tensor, ValidLens, Tensor,
   *     Tensor)}
   * @throws OutOfMemoryError if there is no memory for queries and scores
   */
  public void forwardProjected(
      Tensor queries,
      Tensor projected,
      Tensor values,
      ValidLens validLens,
      Tensor out,
      Tensor weights) {
    run(queries, projected, true, values, validLens, out, weights);
  }

  private void run(
      Tensor queries,
      Tensor keys,
      boolean projected,
      Tensor values,
      ValidLens validLens,
      Tensor out,
      Tensor weights) {
    Checks.rank("queries", Objects.requireNonNull(queries, "queries"), 3);
    Checks.rank("keys", Objects.requireNonNull(keys, "keys"), 3);
    Checks.rank("values", Objects.requireNonNull(values, "values"), 3);
    Objects.requireNonNull(validLens, "validLens");
    Checks.rank("out", Objects.requireNonNull(out, "out"), 3);
    Checks.input("queries", queries);
    Checks.input("keys", keys);
    Checks.input("values", values);
    Checks.output("out", out);
    Checks.reachable("wv", wv);
    Checks.equal("queries.dim", queries.size(2), "W_q.dimIn", queryProjection.dimIn());
    if (projected) {
      Checks.equal("projected.dim", keys.size(2), "hidden", hidden());
    } else {
      Checks.equal("keys.dim", keys.size(2), "W_k.dimIn", keyProjection.dimIn());
    }
    Checks.equal("keys", "queries", "batch", keys.size(0), queries.size(0));
    Checks.equal("values", "queries", "batch", values.size(0), queries.size(0));
    Checks.equal("values", "keys", "len", values.size(1), keys.size(1));
    Checks.shape(
        "out", out, "[batch, lenQ, dimV]", queries.size(0), queries.size(1), values.size(2));
    Checks.disjoint("out", out, "queries", queries);
    Checks.disjoint("out", out, "keys", keys);
    if (weights != null) {
      Checks.disjoint("weights", weights, "queries", queries);
      Checks.disjoint("weights", weights, "keys", keys);
    }
    try (Scratch scratch = new Scratch()) {
      Tensor q = scratch.floats(queries.size(0), queries.size(1), hidden());
      queryProjection.forward(queries, q);
      Tensor k = keys;
      if (!projected) {
        k = scratch.floats(keys.size(0), keys.size(1), hidden());
        keyProjection.forward(keys, k);
      }
      new PairScores(Descriptor.PAIR_ADDITIVE, 0, wv).attend(q, k, values, validLens, out, weights);
    }
  }
}
