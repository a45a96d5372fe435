package io.github.attention4j.models.encoder;

import io.github.attention4j.layer.Activation;
import io.github.attention4j.layer.RotaryScaling;
import java.util.List;

/**
 * Everything that decides what an encoder computes, and the names of its tensors. Names are those
 * of the bare model. A checkpoint may put the prefix before them, but not before the names of
 * heads.
 *
 * @param family the {@code model_type}
 * @param prefix what a checkpoint with a head puts before the names, such as {@code bert.}
 * @param vocabulary how many tokens there are
 * @param width the size of a hidden state
 * @param maxTokens the longest text
 * @param embedding how tokens become the first hidden states
 * @param blocks in the order in which they are applied; a block that is listed several times has
 *     one set of weights
 * @param finalNorm after the last block; null for none
 * @param convolution in parallel with the first block; null for none
 * @param pooler how {@code pooler_output} is computed; null if the family has none
 * @param classifier the head of a classifier; null if the family has none
 * @param labels how many labels the classifier has, from {@code id2label}; 0 if the configuration
 *     does not say, as Transformers leaves it out for two labels without names
 */
public record EncoderSpec(
    String family,
    String prefix,
    int vocabulary,
    int width,
    int maxTokens,
    Embedding embedding,
    List<Block> blocks,
    Norm finalNorm,
    Convolution convolution,
    Head pooler,
    Head classifier,
    int labels) {

  /**
   * {@code x = projection(norm(word[token] + position[p] + type[t]))}.
   *
   * @param position the table of positions; null for none
   * @param pad the position of a token is {@code pad + the number of tokens up to and including it
   *     that are not pad}, and that of a token pad is pad: RoBERTa's positions; -1 counts from 0
   * @param type the table of token types; null for none
   * @param types how many rows it has
   * @param width of the tables
   * @param projection to the model's width; null for none
   */
  public record Embedding(
      String word,
      String position,
      int pad,
      String type,
      int types,
      int width,
      Norm norm,
      Projection projection) {}

  /**
   * A layer norm or a root-mean-square norm over the last dimension.
   *
   * @param bias whether a bias is there; never for a root-mean-square norm
   */
  public record Norm(String name, boolean rms, boolean bias, double epsilon) {
    /** A layer norm with weight and bias. */
    public static Norm layer(String name, double epsilon) {
      return new Norm(name, false, true, epsilon);
    }

    /** A root-mean-square norm. */
    public static Norm rms(String name, double epsilon) {
      return new Norm(name, true, false, epsilon);
    }
  }

  /**
   * A linear projection; several names are matrices stacked in one product. A name may be a list of
   * alternatives separated by bars, of which a checkpoint has one.
   */
  public record Projection(List<String> names, boolean bias) {
    /** A projection that is one tensor. */
    public static Projection of(String name, boolean bias) {
      return new Projection(List.of(name), bias);
    }
  }

  /**
   * One layer.
   *
   * @param preNorm whether the norms come before attention and feed-forward network, rather than
   *     after the sum
   * @param attentionNorm null for none
   */
  public record Block(
      boolean preNorm,
      Heads heads,
      Projection queryKeyValue,
      Projection out,
      Norm attentionNorm,
      FeedForward feedForward,
      Norm feedForwardNorm) {}

  /**
   * How a block attends.
   *
   * @param causal whether a token sees only itself and earlier tokens
   * @param window how many tokens on each side it sees; -1 for all
   * @param queryNorm over each query head; null for none
   * @param keyNorm over each key head; null for none
   * @param rotary null for none
   * @param relative null for none
   */
  public record Heads(
      int count,
      int countKv,
      int dim,
      boolean causal,
      int window,
      Norm queryNorm,
      Norm keyNorm,
      Rotary rotary,
      Relative relative) {
    /** Plain attention in both directions. */
    public static Heads plain(int count, int dim) {
      return new Heads(count, count, dim, false, -1, null, null, null, null);
    }
  }

  /**
   * Rotary positions, paired by halves.
   *
   * @param part the share of a head's channels that is turned: the first ones
   */
  public record Rotary(double theta, RotaryScaling scaling, double part) {
    /** Turns whole heads. */
    public Rotary(double theta, RotaryScaling scaling) {
      this(theta, scaling, 1);
    }

    /** How many channels of a head are turned. */
    int turned(int dim) {
      return (int) (dim * part);
    }
  }

  /** What relative positions add to the scores. */
  public sealed interface Relative {}

  /**
   * MPNet: a scalar for each of 32 buckets of distance and each head.
   *
   * @param rows of the table, at least 32
   */
  public record Buckets(String table, int rows) implements Relative {}

  /**
   * DeBERTa: products with embeddings of the distance.
   *
   * @param table {@code [2 · span, width]}
   * @param norm of the table; null for none
   * @param span half of its rows
   * @param buckets whether distances beyond {@code span / 2} share logarithmic buckets
   * @param most the distance at which the last bucket begins, plus 1
   * @param keyProjection of content to position; null if that term is not in use
   * @param queryProjection of position to content; null if that term is not in use
   */
  public record Disentangled(
      String table,
      Norm norm,
      int span,
      boolean buckets,
      int most,
      Projection keyProjection,
      Projection queryProjection)
      implements Relative {}

  /**
   * {@code down(activation(up(x)))}, or {@code down(activation(gate(x)) · up(x))}.
   *
   * @param up one tensor, or if gated two tensors or both halves in one
   * @param gated whether there is a gate
   * @param gateFirst whether the gate comes before up
   * @param hidden the inner width
   */
  public record FeedForward(
      Projection up,
      boolean gated,
      boolean gateFirst,
      int hidden,
      Activation activation,
      Projection down) {}

  /** DeBERTa's {@code x = norm(x + activation(conv(embedding)))} after the first block. */
  public record Convolution(
      String name, int kernel, int groups, Activation activation, Norm norm) {}

  /** Which hidden states a head reads. */
  public enum Reads {
    /** The first token's. */
    FIRST,
    /** The last token's. */
    LAST,
    /** The average over all tokens. */
    MEAN,
    /** Each token's; the results are averaged. */
    EACH
  }

  /** Layers on top of the hidden states, one after the other. */
  public record Head(Reads reads, List<Step> steps) {}

  /**
   * {@code norm(activation(projection(x)))}.
   *
   * @param prefixed whether the names are the base model's, which may have its prefix
   * @param norm null for none
   */
  public record Step(Projection projection, boolean prefixed, Activation activation, Norm norm) {}
}
