package io.github.attention4j.classics.d2l;

import io.github.attention4j.Attention;
import io.github.attention4j.Tensor;
import io.github.attention4j.internal.Checks;
import io.github.attention4j.internal.Scratch;
import java.util.Objects;

/**
 * Scaled dot-product attention under valid lengths, {@code DotProductAttention} of "Dive into Deep
 * Learning" (chapter 11.3):
 *
 * <pre>
 *   out = maskedSoftmax(queries keysᵀ / sqrt(dim), validLens) · values
 * </pre>
 *
 * One fused pass, like {@link Attention}, except that a valid length of 0 gives the plain average
 * ({@link ValidLens}).
 */
public final class DotProductAttention {
  private static final Attention ATTENTION = Attention.builder().build();

  private DotProductAttention() {}

  /**
   * Computes attention.
   *
   * @param queries {@link io.github.attention4j.DType#F32} {@code [batch, lenQ, dim]}, or {@code
   *     [batch, heads, lenQ, dim]}. Not modified.
   * @param keys {@code [batch, lenK, dim]}, or with heads. Not modified.
   * @param values {@code [batch, lenK, dimV]}, or with heads. Not modified.
   * @param validLens how many keys are valid
   * @param out {@code [batch, lenQ, dimV]}, or with heads. Modified.
   * @throws IllegalArgumentException as {@link Attention#forward(Tensor, Tensor, Tensor, Tensor)},
   *     and if the lengths do not match the batch or the number of queries
   */
  public static void forward(
      Tensor queries, Tensor keys, Tensor values, ValidLens validLens, Tensor out) {
    run(queries, keys, values, validLens, out, null);
  }

  /**
   * Computes attention and returns its weights, the book's {@code attention_weights}.
   *
   * @param queries {@code [batch, lenQ, dim]}, or with heads. Not modified.
   * @param keys {@code [batch, lenK, dim]}, or with heads. Not modified.
   * @param values {@code [batch, lenK, dimV]}, or with heads. Not modified.
   * @param validLens how many keys are valid
   * @param out {@code [batch, lenQ, dimV]}, or with heads. Modified.
   * @param weights {@code [batch, lenQ, lenK]}, or with heads; contiguous. Modified.
   * @throws IllegalArgumentException as {@link #forward(Tensor, Tensor, Tensor, ValidLens,
   *     Tensor)}, and if weights does not fit
   */
  public static void forward(
      Tensor queries, Tensor keys, Tensor values, ValidLens validLens, Tensor out, Tensor weights) {
    run(queries, keys, values, validLens, out, Objects.requireNonNull(weights, "weights"));
  }

  private static void run(
      Tensor queries, Tensor keys, Tensor values, ValidLens validLens, Tensor out, Tensor weights) {
    Objects.requireNonNull(queries, "queries");
    Objects.requireNonNull(keys, "keys");
    Objects.requireNonNull(values, "values");
    Objects.requireNonNull(validLens, "validLens");
    Objects.requireNonNull(out, "out");
    Checks.rankOf3Or4("queries", queries);
    Checks.rankOf3Or4("keys", keys);
    try (Scratch scratch = new Scratch()) {
      validLens.attend(ATTENTION, queries, keys, values, out, weights, scratch);
    }
  }
}
