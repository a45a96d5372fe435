package io.github.attention4j.models.decoder.families;

import io.github.attention4j.layer.Activation;
import io.github.attention4j.models.decoder.Family;
import io.github.attention4j.models.decoder.RotarySettings;
import io.github.attention4j.models.decoder.Sizes;
import io.github.attention4j.models.decoder.Specification;
import io.github.attention4j.models.files.Settings;
import io.github.attention4j.models.weights.Source;

/** Granite 3 (IBM, 2024): {@code GraniteForCausalLM}, Llama with four multipliers. */
public final class Granite implements Family {
  @Override
  public Specification read(Settings settings, Layout layout) {
    Sizes sizes = Sizes.read(settings);
    Activation activation = Sizes.activation(settings, "hidden_act", "silu");
    double epsilon = settings.positive("rms_norm_eps", 1e-6);
    boolean attentionBias = settings.flag("attention_bias", false);
    boolean networkBias = settings.flag("mlp_bias", false);
    double scale = settings.positive("attention_multiplier", 1);
    double residual = settings.positive("residual_multiplier", 1);
    Specification.Rotary rotary =
        RotarySettings.of(settings, sizes.context(), 10_000).read(sizes.dim(), Llama.pairs(layout));
    return new Specification(
        "granite",
        sizes.vocabulary(),
        sizes.width(),
        sizes.reach(),
        Source.of("model.embed_tokens.weight", sizes.vocabulary(), sizes.width()),
        settings.positive("embedding_multiplier", 1),
        null,
        sizes.blocks(
            i -> {
              String layer = Sizes.layer(i);
              return new Specification.Block(
                  Specification.Norm.rms(epsilon, layer + "input_layernorm", sizes.width()),
                  new Specification.Attention(
                      sizes.heads(),
                      sizes.headsKv(),
                      sizes.dim(),
                      sizes.queryKeyValue(layer, attentionBias),
                      sizes.out(layer, attentionBias),
                      null,
                      null,
                      true,
                      rotary,
                      0,
                      scale,
                      0,
                      null),
                  null,
                  Specification.Norm.rms(
                      epsilon, layer + "post_attention_layernorm", sizes.width()),
                  sizes.feedForward(layer, activation, networkBias),
                  null,
                  false,
                  residual);
            }),
        Specification.Norm.rms(epsilon, "model.norm", sizes.width()),
        Source.of("lm_head.weight", sizes.vocabulary(), sizes.width()),
        settings.flag("tie_word_embeddings", false),
        1 / settings.positive("logits_scaling", 1),
        0,
        Sizes.ROTARY_BUFFERS);
  }
}
