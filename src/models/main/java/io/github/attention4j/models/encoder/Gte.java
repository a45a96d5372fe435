package io.github.attention4j.models.encoder;

import io.github.attention4j.layer.Activation;
import io.github.attention4j.layer.RotaryScaling;
import io.github.attention4j.models.encoder.EncoderSpec.Block;
import io.github.attention4j.models.encoder.EncoderSpec.Embedding;
import io.github.attention4j.models.encoder.EncoderSpec.FeedForward;
import io.github.attention4j.models.encoder.EncoderSpec.Heads;
import io.github.attention4j.models.encoder.EncoderSpec.Norm;
import io.github.attention4j.models.encoder.EncoderSpec.Projection;
import io.github.attention4j.models.encoder.EncoderSpec.Rotary;
import io.github.attention4j.models.files.Settings;
import java.util.ArrayList;
import java.util.List;

/** The model type {@code new}: gte-*-v1.5 and gte-multilingual (Zhang et al. 2024). */
final class Gte {
  private Gte() {}

  static EncoderSpec read(Settings settings) {
    settings.ignore("unpad_inputs", "use_memory_efficient_attention");
    settings.require("position_embedding_type", "rope");
    settings.require("layer_norm_type", "layer_norm");
    settings.require("pack_qkv", true);
    settings.require("logn_attention_scale", false);
    settings.ignore("logn_attention_clip1"); // Of no effect with the key above.
    int width = settings.integer("hidden_size", 768);
    int count = settings.integer("num_attention_heads", 12);
    int hidden = settings.integer("intermediate_size", 3072);
    double epsilon = settings.positive("layer_norm_eps", 1e-12);
    int dim = Family.headDim(settings, "hidden_size", width, "num_attention_heads", count);
    int types = settings.count("type_vocab_size", 2);
    Activation activation = Family.activation(settings, "hidden_act", "gelu");
    Heads heads = new Heads(count, count, dim, false, -1, null, null, rotary(settings, dim), null);
    List<Block> blocks = new ArrayList<>();
    for (int i = 0; i < settings.layers("num_hidden_layers", 12); i++) {
      String layer = "encoder.layer." + i + ".";
      blocks.add(
          new Block(
              false,
              heads,
              Projection.of(layer + "attention.qkv_proj", true),
              Projection.of(layer + "attention.o_proj", true),
              Norm.layer(layer + "attn_ln", epsilon),
              new FeedForward(
                  Projection.of(layer + "mlp.up_gate_proj", false),
                  true,
                  false,
                  hidden,
                  activation,
                  Projection.of(layer + "mlp.down_proj", true)),
              Norm.layer(layer + "mlp_ln", epsilon)));
    }
    return new EncoderSpec(
        "new",
        "new.",
        settings.integer("vocab_size"),
        width,
        settings.positions("max_position_embeddings", 8192),
        new Embedding(
            "embeddings.word_embeddings",
            null,
            -1,
            types > 0 ? "embeddings.token_type_embeddings" : null,
            types,
            width,
            Norm.layer("embeddings.LayerNorm", epsilon),
            null),
        blocks,
        null,
        null,
        Bert.POOLER,
        Bert.POOLED_CLASSIFIER,
        Family.labels(settings));
  }

  /**
   * Its NTK scaling by a factor s has frequencies {@code (theta · s)^(-2k/dim) / s^(2/dim)}: in
   * addition to the larger base, all frequencies are divided by the same number.
   */
  private static Rotary rotary(Settings settings, int dim) {
    double theta = settings.positive("rope_theta", 10_000);
    Settings scaling = settings.object("rope_scaling");
    if (scaling.isEmpty()) {
      return new Rotary(theta, RotaryScaling.none());
    }
    scaling.require("type", "ntk");
    double factor = scaling.atLeastOne("factor");
    return new Rotary(theta * factor, RotaryScaling.linear(Math.pow(factor, 2.0 / dim)));
  }
}
