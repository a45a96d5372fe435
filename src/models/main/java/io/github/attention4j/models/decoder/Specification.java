package io.github.attention4j.models.decoder;

import io.github.attention4j.layer.Activation;
import io.github.attention4j.layer.RotaryEmbedding;
import io.github.attention4j.models.weights.Source;
import java.util.ArrayList;
import java.util.List;
import java.util.function.Consumer;

/**
 * A decoder as data: everything that {@link Decoder} computes, and where its weights come from. A
 * family's file makes one of its settings.
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
 * @param blocks the layers, whose attention has the same sizes in all
 * @param norm before the head
 * @param head {@code [vocabulary, width]} and no bias
 * @param tied the head is the embedding unless the checkpoint has another
 * @param logitScale multiplies the logits
 * @param logitCap c in {@code c · tanh(logit / c)}; 0 for no cap
 * @param unused regular expressions of tensors that the checkpoint may have and that are no weights
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

  /** The attention of the first block, whose sizes hold for all. */
  public Attention attention() {
    return blocks.getFirst().attention();
  }

  /** Whether attention is differential. */
  public boolean differential() {
    return attention().lambda() != null;
  }

  /** How many attention maps a layer has: one for each query head, or for each pair of them. */
  public int maps() {
    return differential() ? attention().heads() / 2 : attention().heads();
  }

  /**
   * Normalisation of a row: {@code x / sqrt(mean(x²) + epsilon) · (weight + offset)}, or with the
   * mean subtracted first and the bias added.
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
   * A projection {@code x Wᵀ + b} whose rows come from one tensor or several, one below the other.
   *
   * @param weights what W is made of
   * @param biases what b is made of; empty if there is none
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

    /** The rows of this projection, then those of another. */
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
   * @param afterAttention over what attention gives, before it is added; null if there is none
   * @param feedForwardNorm before the feed-forward network; null for none or, in parallel, for the
   *     one norm that both share
   * @param afterFeedForward likewise
   * @param parallel both read the same x
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

    /** The usual order: a norm before each of the two, and nothing after. */
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
   * @param queryNorm over queries before they are turned; null if there is none
   * @param keyNorm over keys, likewise
   * @param normPerHead each head is a row of those norms, rather than all heads together
   * @param rotary how positions turn queries and keys; null if they do not
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

  /** The vectors of {@code λ = exp(q1 · k1) − exp(q2 · k2) + λ_init}, and the norm's epsilon. */
  public record Lambda(Source q1, Source k1, Source q2, Source k2, double epsilon) {}

  /**
   * Rotary positions: pair i turns by {@code position · frequencies[i]} and is lengthened by the
   * magnitude.
   *
   * @param frequencies one for each pair of channels; channels after them stay as they are
   * @param longFrequencies those for all positions of a text of more than {@code original}
   *     positions; null if they do not depend on the length
   * @param original the longest text that {@code frequencies} are for
   * @param magnitude multiplies cosines and sines
   * @param style which channels make a pair
   */
  @SuppressWarnings("ArrayRecordComponent") // Compared by identity: layers share an instance.
  public record Rotary(
      double[] frequencies,
      double[] longFrequencies,
      int original,
      double magnitude,
      RotaryEmbedding.Style style) {}

  /**
   * The feed-forward part of a layer: one network, or some of several for each token.
   *
   * @param networks one, or one for each expert
   * @param router gives each expert's logit; null if there is one network
   * @param used how many experts a token uses
   * @param normalise divides the chosen probabilities by their sum
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
   * @param up to the gate, then the rest; or to the inner width alone
   */
  public record Network(
      int hidden, boolean gated, Activation activation, Projection up, Projection down) {}

  // ---- What it needs ----

  /** Hands over every tensor that the model needs; the head only if it is not tied. */
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
