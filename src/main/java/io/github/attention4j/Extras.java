package io.github.attention4j;

import java.util.Objects;

/**
 * What a single call of attention takes or gives beside its tensors: logsumexp, weights, scores, a
 * drawn dropout mask. An immutable value, made by adding to {@link #none()}:
 *
 * <pre>{@code
 * attention.forward(q, k, v, out, Extras.none().logsumexp(lse).weights(weights));
 * }</pre>
 *
 * <p>Shapes below are those of attention on tensors of rank 4; on tensors of rank 3 the head
 * dimension is absent. {@link Differential} has pairs for heads, and two logsumexps and two
 * matrices of scores for each pair.
 *
 * <p>Safe for any number of threads, but its outputs are written by the call it is given to.
 */
public final class Extras {
  private static final Extras NONE = new Extras(null, null, null, null, null, null, 1);

  private final Tensor logsumexp;
  private final Tensor weights;
  private final ScoreStage stage;
  private final Tensor scores;
  private final Tensor work;
  private final Tensor keep;
  private final float keepScale;

  private Extras(
      Tensor logsumexp,
      Tensor weights,
      ScoreStage stage,
      Tensor scores,
      Tensor work,
      Tensor keep,
      float keepScale) {
    this.logsumexp = logsumexp;
    this.weights = weights;
    this.stage = stage;
    this.scores = scores;
    this.work = work;
    this.keep = keep;
    this.keepScale = keepScale;
  }

  /**
   * Asks for nothing.
   *
   * @return the value to start from
   */
  public static Extras none() {
    return NONE;
  }

  /**
   * Asks for the natural logarithm of the sum of the exponentials of each query's logits, by which
   * partial results can be {@linkplain Attention#merge merged}; −∞ for a query that sees no key. A
   * sink is part of the sum.
   *
   * @param logsumexp {@link DType#F32} {@code [batch, heads, lenQ]}, or {@code [batch, pairs, 2,
   *     lenQ]} for {@link Differential}; contiguous. Modified by the call.
   * @return these extras and this one
   */
  public Extras logsumexp(Tensor logsumexp) {
    Objects.requireNonNull(logsumexp, "logsumexp");
    return new Extras(logsumexp, weights, stage, scores, work, keep, keepScale);
  }

  /**
   * Asks for the weight of each key, before dropout: what softmax gave, or for {@link Differential}
   * the difference. This costs a second pass over queries and keys, and the memory of a matrix.
   *
   * @param weights {@link DType#F32} {@code [batch, heads, lenQ, lenK]}, contiguous. Modified by
   *     the call.
   * @return these extras and this one
   */
  public Extras weights(Tensor weights) {
    Objects.requireNonNull(weights, "weights");
    return new Extras(logsumexp, weights, stage, scores, work, keep, keepScale);
  }

  /**
   * Asks for the scores at one stage before softmax. This costs a second pass over queries and
   * keys, and the memory of a matrix.
   *
   * @param stage which of them
   * @param scores {@link DType#F32} {@code [batch, heads, lenQ, lenK]}, or {@code [batch, pairs, 2,
   *     lenQ, lenK]} for {@link Differential}; contiguous. Modified by the call.
   * @return these extras and this one
   */
  public Extras scores(ScoreStage stage, Tensor scores) {
    Objects.requireNonNull(stage, "stage");
    Objects.requireNonNull(scores, "scores");
    return new Extras(logsumexp, weights, stage, scores, work, keep, keepScale);
  }

  /**
   * Asks how many scores the call computed for its result: a diagnostic that shows, without a
   * clock, how much of the matrix a mask let it skip. Scores are computed in blocks, so the number
   * lies somewhat above that of the scores that queries see, and depends on {@link A4j#isa()}.
   *
   * @param work {@link DType#I64} {@code [1]}. Modified by the call.
   * @return these extras and this one
   */
  public Extras work(Tensor work) {
    Objects.requireNonNull(work, "work");
    return new Extras(logsumexp, weights, stage, scores, work, keep, keepScale);
  }

  /**
   * Applies dropout that the caller has drawn: weights that are not kept become 0, the others are
   * multiplied by {@code 1 / (1 - p)}.
   *
   * @param keep {@link DType#BOOL}, true where a weight is kept, of any shape that broadcasts to
   *     {@code [batch, heads, lenQ, lenK]} as in {@link Mask}. Not modified.
   * @param p the probability with which weights were dropped, in [0, 1)
   * @return these extras and this one
   * @throws IllegalArgumentException if p lies outside [0, 1)
   */
  public Extras keep(Tensor keep, double p) {
    Objects.requireNonNull(keep, "keep");
    if (!(p >= 0 && p < 1)) {
      throw new IllegalArgumentException("p must lie in [0, 1): p=" + p);
    }
    return new Extras(logsumexp, weights, stage, scores, work, keep, (float) (1 / (1 - p)));
  }

  Tensor logsumexp() {
    return logsumexp;
  }

  Tensor weights() {
    return weights;
  }

  ScoreStage stage() {
    return stage;
  }

  Tensor scores() {
    return scores;
  }

  Tensor work() {
    return work;
  }

  Tensor keep() {
    return keep;
  }

  float keepScale() {
    return keepScale;
  }
}
