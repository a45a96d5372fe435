package io.github.attention4j.classics.paper;

import io.github.attention4j.Extras;
import io.github.attention4j.Mask;
import io.github.attention4j.Tensor;
import io.github.attention4j.classics.d2l.AddNorm;
import io.github.attention4j.internal.Checks;
import io.github.attention4j.internal.Weights;
import io.github.attention4j.io.SafeTensors;
import io.github.attention4j.layer.LayerNorm;
import io.github.attention4j.layer.Linear;
import io.github.attention4j.layer.MultiHeadAttention;
import java.lang.foreign.Arena;
import java.util.Objects;

/**
 * Multi-head attention with its residual connection and the norm after it, as in "Attention Is All
 * You Need" (Vaswani et al., 2017) and in walkthroughs of the paper:
 *
 * <pre>
 *   out = LayerNorm(query + linear_final(concat of head_h) )
 * </pre>
 *
 * <p>A widely copied implementation of this layer has four bugs. This one does what the paper says:
 *
 * <ul>
 *   <li>It splits heads by {@code view(batch * heads, -1, dim)} without transposing, which mixes
 *       positions. Here head h reads the h-th part of each row.
 *   <li>It scales by {@code (dim / heads)^−1/2}, although dim is already the width of a head. Here
 *       the scale is {@code dim^−1/2}.
 *   <li>It repeats the mask head by head, but the rows are batch by batch. Here the mask of batch b
 *       applies to every head of batch b.
 *   <li>It tests {@code if attn_mask:}, which fails for a tensor. Here a given mask is applied;
 *       true also means masked.
 * </ul>
 *
 * There, a query whose keys are all masked gets NaN. Here attention contributes nothing, and its
 * row is {@code LayerNorm(query + bias of linear_final)}.
 *
 * <p>All tensors but masks are {@link io.github.attention4j.DType#F32}. Dropout is off.
 */
public final class ResidualAttention {
  private final MultiHeadAttention attention;
  private final AddNorm addNorm;

  private ResidualAttention(MultiHeadAttention attention, AddNorm addNorm) {
    this.attention = attention;
    this.addNorm = addNorm;
  }

  /**
   * Makes the layer.
   *
   * @param attention what is added to the queries
   * @param norm what is applied to the sum
   * @return the layer
   */
  public static ResidualAttention of(MultiHeadAttention attention, LayerNorm norm) {
    return new ResidualAttention(Objects.requireNonNull(attention, "attention"), AddNorm.of(norm));
  }

  /**
   * Reads {@code linear_q}, {@code linear_k}, {@code linear_v}, {@code linear_final} and {@code
   * layer_norm}, each with {@code .weight} and {@code .bias}; epsilon is 10⁻⁵.
   *
   * @param file contains the tensors, and under the prefix no others
   * @param prefix what their names begin with
   * @param numHeads the number of heads
   * @param arena for copies of weights that are not F32 or are misaligned in the file
   * @return the layer
   * @throws IllegalArgumentException if a tensor is missing or unknown, or the shapes do not match
   *     each other or the number of heads
   * @throws OutOfMemoryError if there is no memory for a copy
   */
  public static ResidualAttention load(
      SafeTensors file, String prefix, long numHeads, Arena arena) {
    Weights weights = new Weights(file, prefix, arena);
    MultiHeadAttention attention =
        MultiHeadAttention.builder(
                projection(weights, "linear_q"),
                projection(weights, "linear_k"),
                projection(weights, "linear_v"),
                projection(weights, "linear_final"))
            .heads(numHeads)
            .build();
    LayerNorm norm = LayerNorm.of(weights.get("layer_norm.weight"), weights.get("layer_norm.bias"));
    weights.requireAllRead();
    return of(attention, norm);
  }

  private static Linear projection(Weights weights, String name) {
    return Linear.of(weights.get(name + ".weight"), weights.get(name + ".bias"));
  }

  /**
   * Applies the layer without a mask.
   *
   * @param query {@code [batch, lenQ, dimModel]}. Not modified.
   * @param key {@code [batch, lenK, dimModel]}. Not modified.
   * @param value {@code [batch, lenK, dimModel]}. Not modified.
   * @param out {@code [batch, lenQ, dimModel]}. Modified.
   * @throws IllegalArgumentException if types, ranks, shapes, strides or alignment do not fit, or
   *     out is read-only or overlaps an input or a weight
   * @throws OutOfMemoryError if there is no memory for queries, keys and values
   */
  public void forward(Tensor query, Tensor key, Tensor value, Tensor out) {
    run(query, key, value, null, out, Extras.none());
  }

  /**
   * Applies the layer under a mask.
   *
   * @param query {@code [batch, lenQ, dimModel]}. Not modified.
   * @param key {@code [batch, lenK, dimModel]}. Not modified.
   * @param value {@code [batch, lenK, dimModel]}. Not modified.
   * @param attnMask {@link io.github.attention4j.DType#BOOL} {@code [batch, lenQ, lenK]}, <b>true =
   *     masked</b>, as {@link SequenceMasks} makes it; null for none. Not modified.
   * @param out {@code [batch, lenQ, dimModel]}. Modified.
   * @param extras logsumexp {@code [batch, heads, lenQ]}, weights {@code [batch, heads, lenQ,
   *     lenK]}; its outputs are modified
   * @throws IllegalArgumentException as {@link #forward(Tensor, Tensor, Tensor, Tensor)}, and if
   *     the mask or an extra does not fit
   * @throws OutOfMemoryError if there is no memory for queries, keys, values and the mask
   */
  public void forward(
      Tensor query, Tensor key, Tensor value, Tensor attnMask, Tensor out, Extras extras) {
    run(query, key, value, attnMask, out, extras);
  }

  private void run(
      Tensor query, Tensor key, Tensor value, Tensor attnMask, Tensor out, Extras extras) {
    Objects.requireNonNull(query, "query");
    Objects.requireNonNull(key, "key");
    Objects.requireNonNull(out, "out");
    try (Arena arena = Arena.ofConfined()) {
      Mask mask = Mask.none();
      if (attnMask != null) {
        Checks.rank("query", query, 3);
        Checks.rank("key", key, 3);
        Checks.shape(
            "attnMask", attnMask, "[batch, lenQ, lenK]", query.size(0), query.size(1), key.size(1));
        mask = SequenceMasks.hiding(arena, attnMask.unsqueeze(1));
      }
      attention.forward(query, key, value, mask, out, extras);
      addNorm.forward(query, out, out);
    }
  }
}
