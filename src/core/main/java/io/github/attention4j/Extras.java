package io.github.attention4j;

import java.util.Objects;

/**
 * What a single call of attention takes or gives beside its tensors: logsumexp, weights, scores,
 * dropout, noise. An immutable value, made by adding to {@link #none()}:
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
  private static final Extras NONE = new Extras(null, null, null, null, null, null, 1, null, null);

  private final Tensor logsumexp;
  private final Tensor weights;
  private final ScoreStage stage;
  private final Tensor scores;
  private final Tensor work;
  private final Tensor keep;
  private final float keepScale;
  private final Dropout dropout;
  private final Noise noise;

  private Extras(
      Tensor logsumexp,
      Tensor weights,
      ScoreStage stage,
      Tensor scores,
      Tensor work,
      Tensor keep,
      float keepScale,
      Dropout dropout,
      Noise noise) {
    this.logsumexp = logsumexp;
    this.weights = weights;
    this.stage = stage;
    this.scores = scores;
    this.work = work;
    this.keep = keep;
    this.keepScale = keepScale;
    this.dropout = dropout;
    this.noise = noise;
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
    return new Extras(logsumexp, weights, stage, scores, work, keep, keepScale, dropout, noise);
  }

  /**
   * Asks for the weight of each key, before dropout: what softmax gave, or what is left of it where
   * it was hardened, or for {@link Differential} the difference. This costs a second pass over
   * queries and keys, and the memory of a matrix.
   *
   * @param weights {@link DType#F32} {@code [batch, heads, lenQ, lenK]}, contiguous. Modified by
   *     the call.
   * @return these extras and this one
   */
  public Extras weights(Tensor weights) {
    Objects.requireNonNull(weights, "weights");
    return new Extras(logsumexp, weights, stage, scores, work, keep, keepScale, dropout, noise);
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
    return new Extras(logsumexp, weights, stage, scores, work, keep, keepScale, dropout, noise);
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
    return new Extras(logsumexp, weights, stage, scores, work, keep, keepScale, dropout, noise);
  }

  /**
   * Applies dropout that the caller has drawn: weights that are not kept become 0, the others are
   * multiplied by {@code 1 / (1 - p)}.
   *
   * @param keep {@link DType#BOOL}, true where a weight is kept, of any shape that broadcasts to
   *     {@code [batch, heads, lenQ, lenK]} as in {@link Mask}. Not modified.
   * @param p the probability with which weights were dropped, in [0, 1)
   * @return these extras and this one
   * @throws IllegalArgumentException if p lies outside [0, 1), or dropout is drawn already
   */
  public Extras keep(Tensor keep, double p) {
    Objects.requireNonNull(keep, "keep");
    if (!(p >= 0 && p < 1)) {
      throw new IllegalArgumentException("p must lie in [0, 1): p=" + p);
    }
    refuseBoth(keep, dropout);
    return new Extras(
        logsumexp, weights, stage, scores, work, keep, (float) (1 / (1 - p)), dropout, noise);
  }

  /**
   * Applies dropout that the call draws by itself, so that no mask lies in memory.
   *
   * @param dropout how often, from which seed, and along which dimensions it is the same
   * @return these extras and this one
   * @throws IllegalArgumentException if a mask that the caller has drawn is given already
   */
  public Extras dropout(Dropout dropout) {
    Objects.requireNonNull(dropout, "dropout");
    refuseBoth(keep, dropout);
    return new Extras(logsumexp, weights, stage, scores, work, keep, keepScale, dropout, noise);
  }

  private static void refuseBoth(Tensor keep, Dropout dropout) {
    if (keep != null && dropout != null) {
      throw new IllegalArgumentException(
          "keep and dropout exclude one another: both say which weights are dropped");
    }
  }

  /**
   * Adds Gumbel noise to the weights of the keys that a query sees, before they are hardened
   * (tensor2tensor's {@code gumbel_noise_weight}): {@code weight · -log(-log(u))}. The numbers u
   * are drawn evenly from [1e-5, 1 - 1e-5] by the generator that {@link Dropout} describes.
   *
   * <p>For {@link Attention.Builder#topK} and {@link Attention.Builder#hardAttention} alone.
   *
   * @param weight how much of the noise, finite
   * @param seed any number; the same noise for the same seed
   * @return these extras and this one
   * @throws IllegalArgumentException if the weight is NaN or, as a float, infinite
   */
  public Extras gumbelNoise(double weight, long seed) {
    return withNoise(new Noise(finite(weight), seed, null));
  }

  /**
   * Adds Gumbel noise to the weights of the keys that a query sees, before they are hardened, from
   * numbers that the caller has drawn: {@code weight · -log(-log(u))}.
   *
   * <p>For {@link Attention.Builder#topK} and {@link Attention.Builder#hardAttention} alone.
   *
   * @param weight how much of the noise, finite
   * @param uniform u, {@link DType#F32}, of any shape that broadcasts to {@code [batch, heads,
   *     lenQ, lenK]} as in {@link Mask}; between 0 and 1, in tensor2tensor from 1e-5 to 1 - 1e-5.
   *     Not modified.
   * @return these extras and this one
   * @throws IllegalArgumentException if the weight is NaN or, as a float, infinite
   */
  public Extras gumbelNoise(double weight, Tensor uniform) {
    return withNoise(new Noise(finite(weight), 0, Objects.requireNonNull(uniform, "uniform")));
  }

  private Extras withNoise(Noise noise) {
    return new Extras(logsumexp, weights, stage, scores, work, keep, keepScale, dropout, noise);
  }

  private static float finite(double weight) {
    if (!Float.isFinite((float) weight)) {
      throw new IllegalArgumentException("weight must be a finite float: weight=" + weight);
    }
    return (float) weight;
  }

  /**
   * What is added to weights before they are hardened.
   *
   * @param seed counts where uniform is null
   */
  record Noise(float weight, long seed, Tensor uniform) {}

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

  Dropout dropout() {
    return dropout;
  }

  Noise noise() {
    return noise;
  }

  /** The numbers of the noise, or null. */
  Tensor uniform() {
    return noise == null ? null : noise.uniform();
  }
}
