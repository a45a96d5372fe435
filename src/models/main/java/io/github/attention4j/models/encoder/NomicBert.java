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

/**
 * Nomic BERT (Nussbaum et al. 2024): BERT with rotary positions and SwiGLU. Configurations use
 * GPT-2's or BERT's keys, but the tensors have the same names.
 */
final class NomicBert {
  private NomicBert() {}

  static EncoderSpec read(Settings settings) {
    boolean old = settings.has("n_embd");
    settings.ignore("max_trained_positions", "pad_vocab_size_multiple", "scale_attn_weights");
    settings.ignore("use_flash_attn", "dense_seq_output", "fused_bias_fc", "fused_dropout_add_ln");
    settings.ignore(
        "last_layer_subset", "mlp_checkpoint_lvl", "use_xentropy", "layer_norm_training");
    settings.ignore("reorder_and_upcast_attn", "scale_attn_by_inverse_layer_idx");
    settings.ignore("summary_activation", "summary_first_dropout", "summary_proj_to_labels");
    settings.ignore("summary_type", "summary_use_proj", "ffn_div");
    for (String key :
        List.of(
            "prenorm",
            "rotary_emb_interleaved",
            "qkv_proj_bias",
            "mlp_fc1_bias",
            "mlp_fc2_bias",
            "use_rms_norm",
            "causal",
            "parallel_block",
            "scale_attn_by_inverse_layer_idx",
            "parallel_block_tied_norm")) {
      settings.require(key, false);
    }
    settings.require("scale_attn_weights", true);
    settings.require("rotary_emb_scale_base", null);
    settings.require("rotary_scaling_factor", null);
    if (settings.has("activation_function")) {
      settings.require("activation_function", "swiglu");
    }
    settings.require("position_embedding_type", "rotary");
    Activation activation =
        old ? Activation.SILU : Family.activation(settings, "hidden_act", "silu");
    String widthKey = old ? "n_embd" : "hidden_size";
    int width = settings.integer(widthKey, 768);
    if (width > Integer.MAX_VALUE / 4) {
      throw settings.refused(widthKey, "at most " + Integer.MAX_VALUE / 4);
    }
    String headsKey = old ? "n_head" : "num_attention_heads";
    int count = settings.integer(headsKey, 12);
    int layers = settings.layers(old ? "n_layer" : "num_hidden_layers", 12);
    int hidden = settings.integer(old ? "n_inner" : "intermediate_size", 4 * width);
    double epsilon = settings.positive(old ? "layer_norm_epsilon" : "layer_norm_eps", 1e-12);
    int dim =
        settings.has("head_dim")
            ? settings.integer("head_dim")
            : Family.headDim(settings, widthKey, width, headsKey, count);
    Rotary rotary = rotary(settings, old, dim);
    int types = settings.count("type_vocab_size", 2);
    Heads heads =
        new Heads(
            count,
            count,
            dim,
            false,
            -1,
            null,
            null,
            rotary.turned(dim) == 0 ? null : rotary,
            null);
    List<Block> blocks = new ArrayList<>();
    for (int i = 0; i < layers; i++) {
      String layer = "encoder.layers." + i + ".";
      blocks.add(
          new Block(
              false,
              heads,
              Projection.of(layer + "attn.Wqkv", false),
              Projection.of(layer + "attn.out_proj", false),
              Norm.layer(layer + "norm1", epsilon),
              new FeedForward(
                  new Projection(List.of(layer + "mlp.fc11", layer + "mlp.fc12"), false),
                  true,
                  false,
                  hidden,
                  activation,
                  Projection.of(layer + "mlp.fc2", false)),
              Norm.layer(layer + "norm2", epsilon)));
    }
    return new EncoderSpec(
        "nomic_bert",
        "bert.",
        vocabulary(settings),
        width,
        settings.positions(old ? "n_positions" : "max_position_embeddings", 2048),
        new Embedding(
            "embeddings.word_embeddings",
            null,
            -1,
            types > 0 ? "embeddings.token_type_embeddings" : null,
            types,
            width,
            Norm.layer("emb_ln", epsilon),
            null),
        blocks,
        null,
        null,
        Bert.POOLER,
        Bert.POOLED_CLASSIFIER,
        Family.labels(settings));
  }

  private static Rotary rotary(Settings settings, boolean old, int dim) {
    double part = settings.number("rotary_emb_fraction", 1);
    Rotary rotary = new Rotary(theta(settings, old), RotaryScaling.none(), part);
    if (!(part >= 0 && part <= 1) || rotary.turned(dim) % 2 != 0) {
      throw settings.refused(
          "rotary_emb_fraction", "from 0 to 1, and give an even number of channels of " + dim);
    }
    return rotary;
  }

  private static double theta(Settings settings, boolean old) {
    if (old) {
      return settings.positive("rotary_emb_base", 10_000);
    }
    Settings rope = settings.object("rope_parameters");
    rope.require("rope_type", "default");
    return rope.positive("rope_theta", settings.positive("rope_theta", 1000));
  }

  /** The embedding table is padded to a multiple of this. */
  private static int vocabulary(Settings settings) {
    int multiple = settings.integer("pad_vocab_size_multiple", 1);
    long rows = Math.ceilDiv(settings.integer("vocab_size"), multiple) * (long) multiple;
    if (rows > Integer.MAX_VALUE) {
      throw settings.refused(
          "pad_vocab_size_multiple", "so small that no more than 2147483647 rows are needed");
    }
    return (int) rows;
  }
}
