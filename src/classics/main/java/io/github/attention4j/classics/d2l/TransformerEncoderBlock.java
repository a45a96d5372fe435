package io.github.attention4j.classics.d2l;

import io.github.attention4j.DType;
import io.github.attention4j.Tensor;
import io.github.attention4j.internal.Checks;
import io.github.attention4j.internal.Scratch;
import io.github.attention4j.internal.Weights;
import io.github.attention4j.io.SafeTensors;
import java.lang.foreign.Arena;
import java.util.Objects;

/**
 * A block of the encoder of "Attention Is All You Need" (Vaswani et al., 2017), {@code
 * TransformerEncoderBlock} of "Dive into Deep Learning" (chapter 11.7), post-norm:
 *
 * <pre>
 *   y   = addnorm1(x, attention(x, x, x, validLens))
 *   out = addnorm2(y, ffn(y))
 * </pre>
 *
 * <p>All tensors are {@link DType#F32}.
 */
public final class TransformerEncoderBlock {
  private final MultiHeadAttention attention;
  private final AddNorm addNorm1;
  private final PositionwiseFfn ffn;
  private final AddNorm addNorm2;

  private TransformerEncoderBlock(
      MultiHeadAttention attention, AddNorm addNorm1, PositionwiseFfn ffn, AddNorm addNorm2) {
    this.attention = attention;
    this.addNorm1 = addNorm1;
    this.ffn = ffn;
    this.addNorm2 = addNorm2;
  }

  /**
   * Makes a block of its parts.
   *
   * @param attention self-attention
   * @param addNorm1 after the attention
   * @param ffn applied to each position
   * @param addNorm2 after that
   * @return the block
   */
  public static TransformerEncoderBlock of(
      MultiHeadAttention attention, AddNorm addNorm1, PositionwiseFfn ffn, AddNorm addNorm2) {
    return new TransformerEncoderBlock(
        Objects.requireNonNull(attention, "attention"),
        Objects.requireNonNull(addNorm1, "addNorm1"),
        Objects.requireNonNull(ffn, "ffn"),
        Objects.requireNonNull(addNorm2, "addNorm2"));
  }

  /**
   * Reads {@code attention}, {@code addnorm1}, {@code ffn} and {@code addnorm2}, each by the book's
   * names.
   *
   * @param file contains the tensors, and under the prefix no others
   * @param prefix what their names begin with, for example {@code "encoder.blks.block0."}
   * @param numHeads the book's {@code num_heads}
   * @param arena for copies of weights that are not F32 or are misaligned in the file
   * @return the block
   * @throws IllegalArgumentException if a tensor is missing or unknown, or the shapes do not match
   *     each other or the number of heads
   * @throws OutOfMemoryError if there is no memory for a copy
   */
  public static TransformerEncoderBlock load(
      SafeTensors file, String prefix, long numHeads, Arena arena) {
    Weights weights = new Weights(file, prefix, arena);
    TransformerEncoderBlock block =
        of(
            MultiHeadAttention.load(file, weights.part("attention"), numHeads, arena),
            AddNorm.load(file, weights.part("addnorm1"), arena),
            PositionwiseFfn.load(file, weights.part("ffn"), arena),
            AddNorm.load(file, weights.part("addnorm2"), arena));
    weights.requireAllRead();
    return block;
  }

  /**
   * Applies the block.
   *
   * @param x {@code [batch, len, dim]}. Not modified.
   * @param validLens how many of the positions are valid
   * @param out of the same shape. Modified.
   * @throws IllegalArgumentException if types, shapes, strides or alignment do not fit, the lengths
   *     do not match the batch, or out is read-only or overlaps x or a weight
   * @throws OutOfMemoryError if there is no memory to compute in
   */
  public void forward(Tensor x, ValidLens validLens, Tensor out) {
    run(x, validLens, out, null);
  }

  /**
   * Applies the block and returns the weights of its attention.
   *
   * @param x {@code [batch, len, dim]}. Not modified.
   * @param validLens how many of the positions are valid
   * @param out of the same shape. Modified.
   * @param weights {@code [batch, heads, len, len]}, contiguous. Modified.
   * @throws IllegalArgumentException as {@link #forward(Tensor, ValidLens, Tensor)}, and if weights
   *     does not fit
   * @throws OutOfMemoryError if there is no memory to compute in
   */
  public void forward(Tensor x, ValidLens validLens, Tensor out, Tensor weights) {
    run(x, validLens, out, Objects.requireNonNull(weights, "weights"));
  }

  private void run(Tensor x, ValidLens validLens, Tensor out, Tensor weights) {
    Checks.rank("x", Objects.requireNonNull(x, "x"), 3);
    Checks.shape("out", Objects.requireNonNull(out, "out"), "the shape of x", x.shape());
    Checks.output("out", out);
    Checks.disjoint("out", out, "x", x);
    try (Scratch scratch = new Scratch()) {
      Tensor y = scratch.room(x.shape());
      if (weights == null) {
        attention.forward(x, x, x, validLens, y);
      } else {
        attention.forward(x, x, x, validLens, y, weights);
      }
      addNorm1.forward(x, y, y);
      ffn.forward(y, out);
      addNorm2.forward(y, out, out);
    }
  }
}
