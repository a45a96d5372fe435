package io.github.attention4j.models.decoder.families;

import io.github.attention4j.layer.Activation;
import io.github.attention4j.layer.RotaryEmbedding;
import io.github.attention4j.models.decoder.Family;
import io.github.attention4j.models.decoder.RotarySettings;
import io.github.attention4j.models.decoder.Sizes;
import io.github.attention4j.models.decoder.Specification;
import io.github.attention4j.models.files.Settings;
import io.github.attention4j.models.weights.Source;
import java.util.function.IntPredicate;

/**
 * Command R7B (Cohere, 2024): {@code Cohere2ForCausalLM}, with one norm for both parallel
 * sublayers.
 */
public final class Cohere2 implements Family {
  @Override
  public Specification read(Settings settings, Layout layout) {
    Sizes sizes = Sizes.read(settings);
    Activation activation = Sizes.activation(settings, "hidden_act", "silu");
    double epsilon = settings.positive("layer_norm_eps", 1e-5);
    boolean bias = settings.flag("attention_bias", false);
    int window = settings.mentions("sliding_window") ? settings.count("sliding_window", 0) : 4096;
    int pattern =
        settings.integer("sliding_window_pattern", settings.integer("_sliding_window_pattern", 4));
    IntPredicate slides = sizes.sliding(settings, i -> (i + 1) % pattern != 0);
    published(settings, pattern);
    Specification.Rotary rotary =
        RotarySettings.of(settings, sizes.context(), 10_000)
            .read(sizes.dim(), RotaryEmbedding.Style.INTERLEAVED);
    return new Specification(
        "cohere2",
        sizes.vocabulary(),
        sizes.width(),
        sizes.reach(),
        Source.of("model.embed_tokens.weight", sizes.vocabulary(), sizes.width()),
        1,
        null,
        sizes.blocks(
            i -> {
              String layer = Sizes.layer(i);
              boolean sliding = slides.test(i);
              return new Specification.Block(
                  norm(epsilon, layer + "input_layernorm", sizes.width()),
                  sizes.attention(layer, bias, sliding ? rotary : null, sliding ? window : 0),
                  null,
                  null,
                  sizes.feedForward(layer, activation, false),
                  null,
                  true,
                  1);
            }),
        norm(epsilon, "model.norm", sizes.width()),
        Source.of("lm_head.weight", sizes.vocabulary(), sizes.width()),
        settings.flag("tie_word_embeddings", true),
        settings.positive("logit_scale", 0.0625),
        0,
        Sizes.ROTARY_BUFFERS);
  }

  /** Keys of Cohere's own files that say again what the family is. */
  private static void published(Settings settings, int pattern) {
    settings.require("layer_switch", (long) pattern);
    settings.require("order_of_interleaved_layers", "local_attn_first");
    settings.require("position_embedding_type", "rope_gptj");
    settings.require("use_gated_activation", true);
    settings.require("use_parallel_block", true);
    // How Cohere's own code splits and shares weights; tie_word_embeddings says whether they are.
    settings.ignore("use_embedding_sharing", "use_parallel_embedding");
  }

  private static Specification.Norm norm(double epsilon, String name, long width) {
    return new Specification.Norm(true, epsilon, 0, Source.of(name + ".weight", width), null);
  }
}
