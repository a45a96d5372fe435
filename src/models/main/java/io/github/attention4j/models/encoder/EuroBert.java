package io.github.attention4j.models.encoder;

import io.github.attention4j.layer.Activation;
import io.github.attention4j.layer.RotaryScaling;
import io.github.attention4j.models.encoder.EncoderSpec.Block;
import io.github.attention4j.models.encoder.EncoderSpec.Embedding;
import io.github.attention4j.models.encoder.EncoderSpec.FeedForward;
import io.github.attention4j.models.encoder.EncoderSpec.Head;
import io.github.attention4j.models.encoder.EncoderSpec.Heads;
import io.github.attention4j.models.encoder.EncoderSpec.Norm;
import io.github.attention4j.models.encoder.EncoderSpec.Projection;
import io.github.attention4j.models.encoder.EncoderSpec.Reads;
import io.github.attention4j.models.encoder.EncoderSpec.Rotary;
import io.github.attention4j.models.files.Settings;
import java.util.ArrayList;
import java.util.List;

/** EuroBERT (Boizard et al. 2025): Llama's layers without the causal mask. */
final class EuroBert {
  private EuroBert() {}

  static EncoderSpec read(Settings settings) {
    settings.ignore("tie_word_embeddings", "mask_token", "pad_token", "bos_token", "eos_token");
    int width = settings.integer("hidden_size", 768);
    int count = settings.integer("num_attention_heads", 12);
    int dim =
        settings.has("head_dim")
            ? settings.integer("head_dim")
            : Family.headDim(settings, "hidden_size", width, "num_attention_heads", count);
    Settings rope = settings.object("rope_parameters");
    rope.require("rope_type", "default");
    double theta = rope.positive("rope_theta", settings.positive("rope_theta", 250_000));
    settings.require("rope_scaling", null);
    Heads heads =
        new Heads(
            count,
            settings.integer("num_key_value_heads", count),
            dim,
            false,
            -1,
            null,
            null,
            new Rotary(theta, RotaryScaling.none()),
            null);
    double epsilon = settings.positive("rms_norm_eps", 1e-5);
    int positions = settings.positions("max_position_embeddings", 8192);
    return llama(settings, "eurobert", heads, width, epsilon, positions, classifier(settings));
  }

  /** Layers with Llama's tensor names. */
  static EncoderSpec llama(
      Settings settings,
      String family,
      Heads heads,
      int width,
      double epsilon,
      int positions,
      Head classifier) {
    if (heads.count() % heads.countKv() != 0) {
      throw settings.refused("num_key_value_heads", "a divisor of " + heads.count());
    }
    int hidden = settings.integer("intermediate_size", 3072);
    boolean attentionBias = settings.flag("attention_bias", false);
    boolean mlpBias = settings.flag("mlp_bias", false);
    Activation activation = Family.activation(settings, "hidden_act", "silu");
    List<Block> blocks = new ArrayList<>();
    for (int i = 0; i < settings.layers("num_hidden_layers", 12); i++) {
      String layer = "layers." + i + ".";
      String self = layer + "self_attn.";
      Heads own =
          heads.queryNorm() == null
              ? heads
              : new Heads(
                  heads.count(),
                  heads.countKv(),
                  heads.dim(),
                  heads.causal(),
                  heads.window(),
                  Norm.rms(layer + heads.queryNorm().name(), epsilon),
                  Norm.rms(layer + heads.keyNorm().name(), epsilon),
                  heads.rotary(),
                  null);
      blocks.add(
          new Block(
              true,
              own,
              new Projection(
                  List.of(self + "q_proj", self + "k_proj", self + "v_proj"), attentionBias),
              Projection.of(self + "o_proj", attentionBias),
              Norm.rms(layer + "input_layernorm", epsilon),
              new FeedForward(
                  new Projection(List.of(layer + "mlp.gate_proj", layer + "mlp.up_proj"), mlpBias),
                  true,
                  true,
                  hidden,
                  activation,
                  Projection.of(layer + "mlp.down_proj", mlpBias)),
              Norm.rms(layer + "post_attention_layernorm", epsilon)));
    }
    return new EncoderSpec(
        family,
        "model.",
        settings.integer("vocab_size"),
        width,
        positions,
        new Embedding("embed_tokens", null, -1, null, 0, width, null, null),
        blocks,
        Norm.rms("norm", epsilon),
        null,
        null,
        classifier,
        Family.labels(settings));
  }

  private static Head classifier(Settings settings) {
    String pooling = settings.text("classifier_pooling", "late");
    Reads reads =
        switch (pooling) {
          case "late" -> Reads.EACH;
          case "mean" -> Reads.MEAN;
          case "bos" -> Reads.FIRST;
          default -> throw settings.refused("classifier_pooling", "late, mean or bos");
        };
    return new Head(
        reads,
        List.of(
            Family.step("dense", false, Activation.GELU),
            // The first published code called it out_proj.
            Family.step("classifier|out_proj", false, Activation.IDENTITY)));
  }
}
