package io.github.attention4j.models;

import io.github.attention4j.Differential;
import io.github.attention4j.layer.Linear;
import io.github.attention4j.layer.RmsNorm;
import java.lang.foreign.Arena;
import java.util.List;
import java.util.stream.Stream;

/**
 * The weights of one layer. Projections that read the same input are packed into one, whose output
 * is taken apart by strides: queries, keys and values; gate and up.
 *
 * @param attentionNorm before attention
 * @param queryKeyValue to {@code [queries | keys | values]}
 * @param lambda what the second map of each pair is multiplied with; 0 in a plain model
 * @param pairNorm after differential attention, over each pair's output; null in a plain model
 * @param out from the heads to the model's width
 * @param feedForwardNorm before the feed-forward network
 * @param gateUp to {@code [gate | up]}
 * @param down from the hidden width to the model's
 */
record Layer(
    RmsNorm attentionNorm,
    Linear queryKeyValue,
    float lambda,
    RmsNorm pairNorm,
    Linear out,
    RmsNorm feedForwardNorm,
    Linear gateUp,
    Linear down) {

  static Layer read(Checkpoint checkpoint, Config config, int index, Arena arena) {
    String layer = Checkpoint.layer(index);
    String attention = layer + "self_attn.";
    String network = layer + "mlp.";
    float lambda = 0;
    RmsNorm pairNorm = null;
    if (config.differential()) {
      lambda =
          Differential.lambda(
              checkpoint.get(attention + "lambda_q1"),
              checkpoint.get(attention + "lambda_k1"),
              checkpoint.get(attention + "lambda_q2"),
              checkpoint.get(attention + "lambda_k2"),
              index);
      pairNorm =
          RmsNorm.withoutWeight(config.normEpsilon())
              .withScale(1 - (double) Differential.lambdaInit(index));
    }
    return new Layer(
        norm(checkpoint, config, layer + "input_layernorm", arena),
        linear(
            checkpoint,
            config.attentionBias(),
            arena,
            attention + "q_proj",
            attention + "k_proj",
            attention + "v_proj"),
        lambda,
        pairNorm,
        linear(checkpoint, config.attentionBias(), arena, attention + "o_proj"),
        norm(checkpoint, config, layer + "post_attention_layernorm", arena),
        linear(
            checkpoint,
            config.feedForwardBias(),
            arena,
            network + "gate_proj",
            network + "up_proj"),
        linear(checkpoint, config.feedForwardBias(), arena, network + "down_proj"));
  }

  private static RmsNorm norm(Checkpoint checkpoint, Config config, String name, Arena arena) {
    return RmsNorm.of(checkpoint.floats(name + ".weight", arena), config.normEpsilon());
  }

  private static Linear linear(
      Checkpoint checkpoint, boolean bias, Arena arena, String... projections) {
    List<String> weights = Stream.of(projections).map(name -> name + ".weight").toList();
    List<String> biases = Stream.of(projections).map(name -> name + ".bias").toList();
    return bias
        ? Linear.of(checkpoint.floats(weights, arena), checkpoint.floats(biases, arena))
        : Linear.of(checkpoint.floats(weights, arena));
  }
}
