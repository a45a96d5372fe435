package io.github.attention4j;

import io.github.attention4j.internal.Checks;
import java.util.Objects;

/**
 * The optional inputs and outputs of one attention call: logsumexp, weights, scores, dropout,
 * noise. An immutable value, built up from {@link #none()} or from one of the static starts:
 *
 * <pre>{@code
 * attention.forward(q, k, v, out, Extras.ofWeights(weights));
 * attention.forward(q, k, v, out, Extras.none().logsumexp(lse).weights(weights));
 * }</pre>
 *
 * <p>Shapes below are those of attention on tensors of rank 4; on tensors of rank 3 there is no
 * head dimension. {@link Differential} has pairs in place of heads, and two logsumexps and two
 * matrices of scores for each pair.
 *
 * <p>Safe for any number of threads, but the outputs are written by each call that gets them.
 */
public final class Extras {
  private static final Extras NONE = new Extras(new Values());

  private final Values values;

  private static final class Values extends Draft<Values> {
    Tensor logsumexp;
    Tensor weights;
    ScoreStage stage;
    Tensor scores;
    Tensor work;
    Tensor keep;
    float keepScale = 1;
    Dropout dropout;
    Noise noise;
  }

  private Extras(Values values) {
    if (values.keep != null && values.dropout != null) {
      throw new IllegalArgumentException(
          "keep and dropout exclude each other: both choose the weights that are dropped");
    }
    this.values = values;
  }

  // ---- Starts ----

  /**
   * Returns no extras.
   *
   * @return the value to start from
   */
  public static Extras none() {
    return NONE;
  }

  /**
   * Short for {@code none().logsumexp(logsumexp)}.
   *
   * @param logsumexp as in {@link #logsumexp(Tensor)}. Modified by the call.
   * @return extras with only this output
   */
  public static Extras ofLogsumexp(Tensor logsumexp) {
    return NONE.logsumexp(logsumexp);
  }

  /**
   * Short for {@code none().weights(weights)}.
   *
   * @param weights as in {@link #weights(Tensor)}. Modified by the call.
   * @return extras with only this output
   */
  public static Extras ofWeights(Tensor weights) {
    return NONE.weights(weights);
  }

  /**
   * Short for {@code none().scores(stage, scores)}.
   *
   * @param stage the stage
   * @param scores as in {@link #scores(ScoreStage, Tensor)}. Modified by the call.
   * @return extras with only this output
   */
  public static Extras ofScores(ScoreStage stage, Tensor scores) {
    return NONE.scores(stage, scores);
  }

  /**
   * Short for {@code none().dropout(dropout)}.
   *
   * @param dropout the dropout
   * @return extras with only this dropout
   */
  public static Extras ofDropout(Dropout dropout) {
    return NONE.dropout(dropout);
  }

  // ---- Outputs ----

  /**
   * Adds the logsumexp as an output: the natural logarithm of the sum of the exponentials of each
   * query's logits, with which partial results can be {@linkplain Attention#merge merged}. It is −∞
   * for a query that sees no key, and includes the sink if there is one.
   *
   * @param logsumexp {@link DType#F32} {@code [batch, heads, lenQ]}, or {@code [batch, pairs, 2,
   *     lenQ]} for {@link Differential}; contiguous. Modified by the call.
   * @return these extras and this one
   */
  public Extras logsumexp(Tensor logsumexp) {
    Values changed = values.copy();
    changed.logsumexp = Objects.requireNonNull(logsumexp, "logsumexp");
    return new Extras(changed);
  }

  /**
   * Adds the weight of each key as an output, after hardening and before dropout; for {@link
   * Differential} the difference of the two maps. Costs a second pass over queries and keys, and
   * the memory of a matrix.
   *
   * @param weights {@link DType#F32} {@code [batch, heads, lenQ, lenK]}, contiguous. Modified by
   *     the call.
   * @return these extras and this one
   */
  public Extras weights(Tensor weights) {
    Values changed = values.copy();
    changed.weights = Objects.requireNonNull(weights, "weights");
    return new Extras(changed);
  }

  /**
   * Adds the scores at one stage before softmax as an output. Costs a second pass over queries and
   * keys, and the memory of a matrix.
   *
   * @param stage the stage
   * @param scores {@link DType#F32} {@code [batch, heads, lenQ, lenK]}, or {@code [batch, pairs, 2,
   *     lenQ, lenK]} for {@link Differential}; contiguous. Modified by the call.
   * @return these extras and this one
   */
  public Extras scores(ScoreStage stage, Tensor scores) {
    Values changed = values.copy();
    changed.stage = Objects.requireNonNull(stage, "stage");
    changed.scores = Objects.requireNonNull(scores, "scores");
    return new Extras(changed);
  }

  /**
   * Adds the number of scores that the call computes as an output: a diagnostic that shows, without
   * a clock, how much of the matrix a mask skipped. Scores are computed in blocks, so the number is
   * somewhat larger than the number of scores that queries see, and depends on {@link A4j#isa()}.
   *
   * @param work {@link DType#I64} {@code [1]}. Modified by the call.
   * @return these extras and this one
   */
  public Extras work(Tensor work) {
    Values changed = values.copy();
    changed.work = Objects.requireNonNull(work, "work");
    return new Extras(changed);
  }

  // ---- Dropout and noise ----

  /**
   * Applies dropout that the caller has drawn: weights that are not kept become 0, the others are
   * multiplied by {@code 1 / (1 - p)}.
   *
   * @param keep {@link DType#BOOL}, true for a weight that is kept, of any shape that broadcasts to
   *     {@code [batch, heads, lenQ, lenK]} as in {@link Mask}. Not modified.
   * @param p the probability with which weights were dropped, in [0, 1)
   * @return these extras and this one
   * @throws IllegalArgumentException if p is outside [0, 1), or there is a {@link Dropout} already
   */
  public Extras keep(Tensor keep, double p) {
    Values changed = values.copy();
    changed.keep = Objects.requireNonNull(keep, "keep");
    changed.keepScale = Dropout.keepScale(p);
    return new Extras(changed);
  }

  /**
   * Applies dropout that the call draws itself, without a mask in memory.
   *
   * @param dropout the probability, the seed, and the dimensions that share their draws
   * @return these extras and this one
   * @throws IllegalArgumentException if there is a {@link #keep} mask already
   */
  public Extras dropout(Dropout dropout) {
    Values changed = values.copy();
    changed.dropout = Objects.requireNonNull(dropout, "dropout");
    return new Extras(changed);
  }

  /**
   * Adds Gumbel noise to the weights of the keys that a query sees, before they are hardened
   * (tensor2tensor's {@code gumbel_noise_weight}): {@code weight · -log(-log(u))}. The numbers u
   * are uniform in [1e-5, 1 - 1e-5], drawn by the generator that {@link Dropout} describes.
   *
   * <p>Only for {@link Attention.Builder#topK} and {@link Attention.Builder#hardAttention}.
   *
   * @param weight the factor of the noise, finite
   * @param seed any number; the same seed gives the same noise
   * @return these extras and this one
   * @throws IllegalArgumentException if the weight is NaN or, as a float, infinite
   */
  public Extras gumbelNoise(double weight, long seed) {
    return withNoise(weight, seed, null);
  }

  /**
   * Adds Gumbel noise to the weights of the keys that a query sees, before they are hardened, from
   * numbers that the caller has drawn: {@code weight · -log(-log(u))}.
   *
   * <p>Only for {@link Attention.Builder#topK} and {@link Attention.Builder#hardAttention}.
   *
   * @param weight the factor of the noise, finite
   * @param uniform u, {@link DType#F32}, of any shape that broadcasts to {@code [batch, heads,
   *     lenQ, lenK]} as in {@link Mask}; between 0 and 1, in tensor2tensor from 1e-5 to 1 - 1e-5.
   *     Not modified.
   * @return these extras and this one
   * @throws IllegalArgumentException if the weight is NaN or, as a float, infinite
   */
  public Extras gumbelNoise(double weight, Tensor uniform) {
    return withNoise(weight, 0, Objects.requireNonNull(uniform, "uniform"));
  }

  private Extras withNoise(double weight, long seed, Tensor uniform) {
    Values changed = values.copy();
    changed.noise = new Noise(Checks.finite("weight", weight), seed, uniform);
    return new Extras(changed);
  }

  /**
   * Noise that is added to weights before they are hardened.
   *
   * @param seed used if uniform is null
   */
  record Noise(float weight, long seed, Tensor uniform) {}

  // ---- What a call needs; null if absent ----

  Tensor logsumexp() {
    return values.logsumexp;
  }

  Tensor weights() {
    return values.weights;
  }

  ScoreStage stage() {
    return values.stage;
  }

  Tensor scores() {
    return values.scores;
  }

  Tensor work() {
    return values.work;
  }

  Tensor keep() {
    return values.keep;
  }

  float keepScale() {
    return values.keepScale;
  }

  Dropout dropout() {
    return values.dropout;
  }

  Noise noise() {
    return values.noise;
  }

  /** The noise's own numbers, or null. */
  Tensor uniform() {
    return values.noise == null ? null : values.noise.uniform();
  }
}
