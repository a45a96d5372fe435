package io.github.attention4j.classics.d2l;

import io.github.attention4j.Attention;
import io.github.attention4j.Mask;
import io.github.attention4j.Tensor;
import io.github.attention4j.internal.Checks;
import io.github.attention4j.internal.Scratch;
import java.util.Objects;

/**
 * Softmax over the valid keys of each row, {@code masked_softmax} of "Dive into Deep Learning"
 * (chapter 11.3):
 *
 * <pre>
 *   weights[b, i, j] = exp(scores[b, i, j]) / Σ over valid j' of exp(scores[b, i, j'])     j valid
 *                    = 0                                                                  else
 * </pre>
 *
 * A row without a valid key gets {@code 1 / lenK} everywhere; {@link ValidLens} explains why. Some
 * notes replace masked scores by 10⁻⁶, which is a mistake: it is −10⁶.
 */
public final class MaskedSoftmax {
  private MaskedSoftmax() {}

  /**
   * Computes the weights of all rows.
   *
   * @param scores {@link io.github.attention4j.DType#F32} {@code [batch, lenQ, lenK]}, of any
   *     strides. Not modified.
   * @param validLens how many keys are valid
   * @param weights of the same shape, contiguous. Modified.
   * @throws IllegalArgumentException if types, shapes, strides or alignment do not fit, the lengths
   *     do not match the batch or the number of queries, or weights is read-only or overlaps scores
   */
  public static void forward(Tensor scores, ValidLens validLens, Tensor weights) {
    Checks.rank("scores", Objects.requireNonNull(scores, "scores"), 3);
    Objects.requireNonNull(validLens, "validLens");
    Checks.input("scores", scores);
    Checks.output("weights", Objects.requireNonNull(weights, "weights"));
    Checks.shape("weights", weights, "the shape of scores", scores.shape());
    Checks.contiguous("weights", weights);
    Checks.disjoint("weights", weights, "scores", scores);
    try (Scratch scratch = new Scratch()) {
      // Products of zeros with the scores as their bias: the logits are the scores.
      Tensor zero = scratch.floats(1, 1, 1).expand(0, scores.size(0));
      Tensor queries = zero.expand(1, scores.size(1));
      Tensor keys = zero.expand(1, scores.size(2));
      Tensor out = scratch.floats(scores.size(0), scores.size(1), 1);
      Attention attention = Attention.builder().mask(Mask.bias(scores)).build();
      validLens.attend(attention, queries, keys, keys, out, weights, scratch);
    }
  }
}
