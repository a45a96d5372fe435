package io.github.attention4j.models.decoder;

import io.github.attention4j.layer.Activation;
import io.github.attention4j.layer.RotaryEmbedding;
import io.github.attention4j.models.weights.Source;
import java.util.ArrayList;
import java.util.List;
import java.util.function.Consumer;

/**
 * A decoder as data: everything that {@link Decoder} computes, and where its weights come from.
 * Each family's class creates one from settings.
 *
 * <pre>
 *   x = embedding[token] · embeddingScale (+ positions[position])
 *   for each block, one after the other:
 *     x += residual · after(attention(before(x)))        before, after: a norm or nothing
 *     x += residual · after(feedForward(before(x)))
 *   or in parallel:
 *     x += residual · (attention(before(x)) + feedForward(before(x)))
 *   logits = cap(logitScale · head(norm(x)))
 * </pre>
 *
 * @param family the family's name, {@code model_type}
 * @param vocabulary the number of tokens
 * @param width the width of x
 * @param context the most positions of a text
 * @param embedding {@code [vocabulary, width]}
 * @param embeddingScale multiplies the embedding
 * @param positions {@code [context, width]}, added to the embedding; null if there are none
 * @param blocks the layers, all with the same sizes of attention
 * @param norm the norm before the head
 * @param head {@code [vocabulary, width]}, without bias
 * @param tied whether the head is the embedding, unless the checkpoint has a head of its own
 * @param logitScale multiplies the logits
 * @param logitCap c in {@code c · tanh(logit / c)}; 0 for no cap
 * @param unused regular expressions for tensors of the checkpoint that are not weights
 */
public record Specification(
    String family,
    int vocabulary,
    int width,
    int context,
    Source embedding,
    double embeddingScale,
    Source positions,
    List<Block> blocks,
    Norm norm,
    Source head,
    boolean tied,
    double logitScale,
    double logitCap,
    List<String> unused) {

  public Specification {
    blocks = List.copyOf(blocks);
    unused = List.copyOf(unused);
    Attention first = blocks.getFirst().attention();
    for (Block block : blocks) {
      Attention attention = block.attention();
      if (attention.heads() != first.heads()
          || attention.headsKv() != first.headsKv()
          || attention.dim() != first.dim()) {
        throw new IllegalArgumentException("all layers must have heads of the same sizes");
      }
    }
  }

  /** The attention of the first block; all blocks have the same sizes. */
  public Attention attention() {
    return blocks.getFirst().attention();
  }

  /** Whether attention is differential. */
  public boolean differential() {
    return attention().lambda() != null;
  }

  /** How many attention maps a layer has: one for each query head or pair of query heads. */
  public int maps() {
    return differential() ? attention().heads() / 2 : attention().heads();
  }

  /**
   * Normalisation of a row: {@code x / sqrt(mean(x²) + epsilon) · (weight + offset)}, optionally
   * with the mean subtracted first and a bias added.
   *
   * @param subtractMean LayerNorm rather than RMSNorm
   * @param offset added to the weight: 1 in Gemma
   * @param weight the factors
   * @param bias null if there is none
   */
  public record Norm(
      boolean subtractMean, double epsilon, double offset, Source weight, Source bias) {
    /** RMSNorm. */
    public static Norm rms(double epsilon, String name, long width) {
      return new Norm(false, epsilon, 0, Source.of(name + ".weight", width), null);
    }
  }

  /**
   * A projection {@code x Wᵀ + b}, where W may be stacked from several tensors.
   *
   * @param weights the parts of W
   * @param biases the parts of b; empty if there is none
   */
  public record Projection(List<Source> weights, List<Source> biases) {
    public Projection {
      weights = List.copyOf(weights);
      biases = List.copyOf(biases);
    }

    /** A projection of tensors called {@code name.weight} and {@code name.bias}. */
    public static Projection of(String name, long dimIn, long dimOut, boolean bias) {
      return new Projection(
          List.of(Source.of(name + ".weight", dimOut, dimIn)),
          bias ? List.of(Source.of(name + ".bias", dimOut)) : List.of());
    }

    /** Stacks the rows of another projection below those of this one. */
    public Projection then(Projection other) {
      List<Source> allWeights = new ArrayList<>(weights);
      List<Source> allBiases = new ArrayList<>(biases);
      allWeights.addAll(other.weights);
      allBiases.addAll(other.biases);
      return new Projection(allWeights, allBiases);
    }
  }

  /**
   * A layer.
   *
   * @param attentionNorm before attention; null if there is none
   * @param afterAttention applied to the result of attention before it is added; null if there is
   *     none
   * @param feedForwardNorm before the feed-forward network; null if there is none or, in parallel,
   *     if both branches share one norm
   * @param afterFeedForward likewise
   * @param parallel whether both branches read the same x
   * @param residual multiplies what is added to x
   */
  public record Block(
      Norm attentionNorm,
      Attention attention,
      Norm afterAttention,
      Norm feedForwardNorm,
      FeedForward feedForward,
      Norm afterFeedForward,
      boolean parallel,
      double residual) {
    public Block {
      if (parallel && (afterAttention != null || afterFeedForward != null)) {
        throw new IllegalArgumentException("parallel branches have no norms after them");
      }
    }

    /** The usual order: a norm before each branch, none after. */
    public static Block preNorm(
        Norm attentionNorm, Attention attention, Norm feedForwardNorm, FeedForward feedForward) {
      return new Block(
          attentionNorm, attention, null, feedForwardNorm, feedForward, null, false, 1);
    }
  }

  /**
   * Attention of a layer.
   *
   * @param heads query heads
   * @param headsKv key and value heads
   * @param dim the width of a head
   * @param queryKeyValue to all queries, then all keys, then all values
   * @param out from the heads to the width
   * @param queryNorm applied to queries before rotation; null if there is none
   * @param keyNorm applied to keys, likewise
   * @param normPerHead whether those norms normalise each head separately, not all heads together
   * @param rotary rotary positions; null if there are none
   * @param window how many positions a token sees, itself included; 0 for all before it
   * @param scale multiplies the scores
   * @param cap c in {@code c · tanh(score / c)}; 0 for no cap
   * @param lambda of differential attention; null otherwise
   */
  public record Attention(
      int heads,
      int headsKv,
      int dim,
      Projection queryKeyValue,
      Projection out,
      Norm queryNorm,
      Norm keyNorm,
      boolean normPerHead,
      Rotary rotary,
      int window,
      double scale,
      double cap,
      Lambda lambda) {}

  /** The vectors in {@code λ = exp(q1 · k1) − exp(q2 · k2) + λ_init}, and the norm's epsilon. */
  public record Lambda(Source q1, Source k1, Source q2, Source k2, double epsilon) {}

  /**
   * Rotary positions: pair i is rotated by {@code position · frequencies[i]} and multiplied by the
   * magnitude.
   *
   * @param frequencies one for each pair of channels; further channels are not rotated
   * @param longFrequencies the frequencies for texts of more than {@code original} positions; null
   *     if they do not depend on the length
   * @param original the longest text that {@code frequencies} are for
   * @param magnitude multiplies cosines and sines
   * @param style which channels form a pair
   */
  @SuppressWarnings("ArrayRecordComponent") // Compared by identity: layers share an instance.
  public record Rotary(
      double[] frequencies,
      double[] longFrequencies,
      int original,
      double magnitude,
      RotaryEmbedding.Style style) {}

  /**
   * The feed-forward part of a layer: one network, or for each token a choice of several (experts).
   *
   * @param networks one, or one for each expert
   * @param router computes each expert's logit; null if there is one network
   * @param used how many experts a token uses
   * @param normalise whether the chosen probabilities are divided by their sum
   */
  public record FeedForward(
      List<Network> networks, Projection router, int used, boolean normalise) {
    public FeedForward {
      networks = List.copyOf(networks);
    }

    /** One network for all tokens. */
    public static FeedForward of(Network network) {
      return new FeedForward(List.of(network), null, 1, false);
    }
  }

  /**
   * {@code down(activation(gate(x)) · up(x))}, or {@code down(activation(up(x)))}.
   *
   * @param hidden the inner width
   * @param gated whether there is a gate
   * @param up projects to the gate, then to the inner width; without a gate, only to the inner
   *     width
   */
  public record Network(
      int hidden, boolean gated, Activation activation, Projection up, Projection down) {}

  // ---- What it needs ----

  /** Passes on every tensor that the model needs; the head only if it is not tied. */
  public void forEachSource(Consumer<Source> consumer) {
    consumer.accept(embedding);
    acceptIfPresent(positions, consumer);
    for (Block block : blocks) {
      accept(block.attentionNorm, consumer);
      Attention attention = block.attention;
      accept(attention.queryKeyValue, consumer);
      accept(attention.queryNorm, consumer);
      accept(attention.keyNorm, consumer);
      accept(attention.out, consumer);
      if (attention.lambda != null) {
        consumer.accept(attention.lambda.q1);
        consumer.accept(attention.lambda.k1);
        consumer.accept(attention.lambda.q2);
        consumer.accept(attention.lambda.k2);
      }
      accept(block.afterAttention, consumer);
      accept(block.feedForwardNorm, consumer);
      accept(block.feedForward.router, consumer);
      for (Network network : block.feedForward.networks) {
        accept(network.up, consumer);
        accept(network.down, consumer);
      }
      accept(block.afterFeedForward, consumer);
    }
    accept(norm, consumer);
    if (!tied) {
      consumer.accept(head);
    }
  }

  private static void accept(Norm norm, Consumer<Source> consumer) {
    if (norm != null) {
      consumer.accept(norm.weight);
      acceptIfPresent(norm.bias, consumer);
    }
  }

  private static void accept(Projection projection, Consumer<Source> consumer) {
    if (projection != null) {
      projection.weights.forEach(consumer);
      projection.biases.forEach(consumer);
    }
  }

  private static void acceptIfPresent(Source source, Consumer<Source> consumer) {
    if (source != null) {
      consumer.accept(source);
    }
  }
}
