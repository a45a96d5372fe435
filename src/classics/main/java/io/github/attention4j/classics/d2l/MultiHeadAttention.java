package io.github.attention4j.classics.d2l;

import io.github.attention4j.KvCache;
import io.github.attention4j.Tensor;
import io.github.attention4j.internal.Checks;
import io.github.attention4j.internal.Scratch;
import io.github.attention4j.internal.Weights;
import io.github.attention4j.io.SafeTensors;
import java.lang.foreign.Arena;
import java.util.Objects;

/**
 * Multi-head attention under valid lengths, {@code MultiHeadAttention} of "Dive into Deep Learning"
 * (chapter 11.5): the layer {@link io.github.attention4j.layer.MultiHeadAttention} with the book's
 * names and its {@code valid_lens}.
 *
 * <pre>{@code
 * MultiHeadAttention attention = MultiHeadAttention.load(file, "attention.", 5, arena);
 * attention.forward(queries, keys, values, ValidLens.of(3, 2), out);
 * }</pre>
 */
public final class MultiHeadAttention {
  private final io.github.attention4j.layer.MultiHeadAttention layer;

  private MultiHeadAttention(io.github.attention4j.layer.MultiHeadAttention layer) {
    this.layer = layer;
  }

  /**
   * Adds valid lengths to a layer.
   *
   * @param layer projects and attends
   * @return the layer of the book
   */
  public static MultiHeadAttention of(io.github.attention4j.layer.MultiHeadAttention layer) {
    return new MultiHeadAttention(Objects.requireNonNull(layer, "layer"));
  }

  /**
   * Reads the layer by the book's names: {@code W_q}, {@code W_k}, {@code W_v}, {@code W_o} with
   * {@code .weight} and, optionally, {@code .bias}; or {@code W_q} and {@code b_q} for the bare
   * parameters.
   *
   * @param file contains the tensors, and under the prefix no others
   * @param prefix what their names begin with, for example {@code "encoder.blks.block0.attention."}
   * @param numHeads the book's {@code num_heads}
   * @param arena for copies of weights that are not F32 or are misaligned in the file
   * @return a layer without rotary positions or mask
   * @throws IllegalArgumentException if a tensor is missing or unknown, or the shapes do not match
   *     each other or the number of heads
   * @throws OutOfMemoryError if there is no memory for a copy
   */
  public static MultiHeadAttention load(
      SafeTensors file, String prefix, long numHeads, Arena arena) {
    Weights weights = new Weights(file, prefix, arena);
    var layer =
        io.github.attention4j.layer.MultiHeadAttention.builder(
                weights.linear("W_q", "b_q"),
                weights.linear("W_k", "b_k"),
                weights.linear("W_v", "b_v"),
                weights.linear("W_o", "b_o"))
            .heads(numHeads)
            .build();
    weights.requireAllRead();
    return of(layer);
  }

  // ---- Heads as views ----

  /**
   * Shows the heads of a projection, {@code transpose_qkv} of the book. The book merges batch and
   * heads into one dimension, row {@code b * numHeads + h}, which no view can do; here they stay
   * two dimensions, in that order.
   *
   * @param x {@code [batch, len, numHeads · dim]}. Not modified.
   * @param numHeads the number of heads
   * @return a view {@code [batch, numHeads, len, dim]}
   * @throws IllegalArgumentException if the rank is not 3, or the width is not a multiple of the
   *     number of heads
   */
  public static Tensor transposeQkv(Tensor x, long numHeads) {
    return Objects.requireNonNull(x, "x").splitHeads(numHeads);
  }

  /**
   * Reverses {@link #transposeQkv}, {@code transpose_output} of the book.
   *
   * @param x {@code [batch, numHeads, len, dim]}, with the heads of a position side by side in
   *     memory, as transposeQkv shows them. Not modified.
   * @return a view {@code [batch, len, numHeads · dim]}
   * @throws IllegalArgumentException if the rank is not 4, or the heads are not side by side
   */
  public static Tensor transposeOutput(Tensor x) {
    Checks.rank("x", Objects.requireNonNull(x, "x"), 4);
    return x.transpose(1, 2).reshape(x.size(0), x.size(2), x.size(1) * x.size(3));
  }

  // ---- Applying the layer ----

  /**
   * Returns the layer without valid lengths.
   *
   * @return what projects and attends
   */
  public io.github.attention4j.layer.MultiHeadAttention layer() {
    return layer;
  }

  /**
   * Applies the layer.
   *
   * @param queries {@link io.github.attention4j.DType#F32} {@code [batch, lenQ, dimQueries]}. Not
   *     modified.
   * @param keys {@code [batch, lenK, dimKeys]}. Not modified.
   * @param values {@code [batch, lenK, dimValues]}. Not modified.
   * @param validLens how many keys are valid, the same for every head
   * @param out {@code [batch, lenQ, num_hiddens]}. Modified.
   * @throws IllegalArgumentException if types, sizes, strides or alignment do not fit, the lengths
   *     do not match the batch or the number of queries, or out is read-only or overlaps an input
   *     or a weight
   * @throws OutOfMemoryError if there is no memory for queries, keys and values
   */
  public void forward(Tensor queries, Tensor keys, Tensor values, ValidLens validLens, Tensor out) {
    run(queries, keys, values, validLens, out, null);
  }

  /**
   * Applies the layer and returns the weights. The book numbers their rows {@code batch * heads +
   * head}, which is the same order.
   *
   * @param queries {@code [batch, lenQ, dimQueries]}. Not modified.
   * @param keys {@code [batch, lenK, dimKeys]}. Not modified.
   * @param values {@code [batch, lenK, dimValues]}. Not modified.
   * @param validLens how many keys are valid, the same for every head
   * @param out {@code [batch, lenQ, num_hiddens]}. Modified.
   * @param weights {@code [batch, heads, lenQ, lenK]}, contiguous. Modified.
   * @throws IllegalArgumentException as {@link #forward(Tensor, Tensor, Tensor, ValidLens,
   *     Tensor)}, and if weights does not fit
   * @throws OutOfMemoryError if there is no memory for queries, keys and values
   */
  public void forward(
      Tensor queries, Tensor keys, Tensor values, ValidLens validLens, Tensor out, Tensor weights) {
    run(queries, keys, values, validLens, out, Objects.requireNonNull(weights, "weights"));
  }

  private void run(
      Tensor queries, Tensor keys, Tensor values, ValidLens validLens, Tensor out, Tensor weights) {
    Checks.rank("queries", Objects.requireNonNull(queries, "queries"), 3);
    Objects.requireNonNull(validLens, "validLens").check(queries.size(0), queries.size(1));
    try (Scratch scratch = new Scratch()) {
      layer.forward(
          queries,
          keys,
          values,
          (q, k, v, heads) -> validLens.attend(layer.attention(), q, k, v, heads, weights, scratch),
          out);
    }
  }

  /** Applies the layer to a projected memory; weights may be null. */
  void forwardMemory(Tensor x, KvCache memory, ValidLens validLens, Tensor out, Tensor weights) {
    Checks.rank("x", Objects.requireNonNull(x, "x"), 3);
    validLens.check(x.size(0), x.size(1));
    try (Scratch scratch = new Scratch()) {
      layer.forwardMemory(
          x,
          memory,
          (q, k, v, heads) -> validLens.attend(layer.attention(), q, k, v, heads, weights, scratch),
          out);
    }
  }
}
