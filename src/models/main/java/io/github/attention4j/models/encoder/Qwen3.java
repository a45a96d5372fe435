package io.github.attention4j.models.encoder;

import io.github.attention4j.layer.Activation;
import io.github.attention4j.layer.RotaryScaling;
import io.github.attention4j.models.encoder.EncoderSpec.Head;
import io.github.attention4j.models.encoder.EncoderSpec.Heads;
import io.github.attention4j.models.encoder.EncoderSpec.Norm;
import io.github.attention4j.models.encoder.EncoderSpec.Projection;
import io.github.attention4j.models.encoder.EncoderSpec.Reads;
import io.github.attention4j.models.encoder.EncoderSpec.Rotary;
import io.github.attention4j.models.encoder.EncoderSpec.Step;
import io.github.attention4j.models.files.Settings;
import java.util.List;

/**
 * Qwen3 Embedding (Zhang et al. 2025): a decoder whose last hidden state is the embedding, or is
 * scored by a head.
 */
final class Qwen3 {
  private Qwen3() {}

  static EncoderSpec read(Settings settings) {
    // Without windows it does not matter which layers would have one.
    settings.require("use_sliding_window", false);
    settings.ignore("sliding_window", "max_window_layers", "tie_word_embeddings");
    int width = settings.integer("hidden_size", 4096);
    int count = settings.integer("num_attention_heads", 32);
    Settings rope = settings.object("rope_parameters");
    rope.require("rope_type", "default");
    double theta = rope.positive("rope_theta", settings.positive("rope_theta", 10_000));
    settings.require("rope_scaling", null);
    Heads heads =
        new Heads(
            count,
            settings.integer("num_key_value_heads", count),
            settings.integer("head_dim", 128),
            true,
            -1,
            Norm.rms("self_attn.q_norm", 1),
            Norm.rms("self_attn.k_norm", 1),
            new Rotary(theta, RotaryScaling.none()),
            null);
    double epsilon = settings.positive("rms_norm_eps", 1e-6);
    int positions = settings.positions("max_position_embeddings", 32_768);
    Head classifier =
        new Head(
            Reads.LAST,
            List.of(new Step(Projection.of("score", false), false, Activation.IDENTITY, null)));
    return EuroBert.llama(settings, "qwen3", heads, width, epsilon, positions, classifier);
  }
}
