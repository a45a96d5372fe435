package io.github.attention4j.models.decoder.families;

import io.github.attention4j.layer.Activation;
import io.github.attention4j.models.decoder.Family;
import io.github.attention4j.models.decoder.RotarySettings;
import io.github.attention4j.models.decoder.Sizes;
import io.github.attention4j.models.decoder.Specification;
import io.github.attention4j.models.files.Settings;

/**
 * OLMo 2 (OLMo Team, 2025): {@code Olmo2ForCausalLM}, with norms after the sublayers instead of
 * before.
 */
public final class Olmo2 implements Family {
  @Override
  public Specification read(Settings settings, Layout layout) {
    Sizes sizes = Sizes.read(settings);
    Activation activation = Sizes.activation(settings, "hidden_act", "silu");
    double epsilon = settings.positive("rms_norm_eps", 1e-5);
    boolean bias = settings.flag("attention_bias", false);
    Specification.Rotary rotary =
        RotarySettings.of(settings, sizes.context(), 10_000).read(sizes.dim());
    return sizes.model(
        "olmo2",
        sizes.blocks(
            i -> {
              String layer = Sizes.layer(i);
              return new Specification.Block(
                  null,
                  new Specification.Attention(
                      sizes.heads(),
                      sizes.headsKv(),
                      sizes.dim(),
                      sizes.queryKeyValue(layer, bias),
                      sizes.out(layer, bias),
                      Specification.Norm.rms(epsilon, layer + "self_attn.q_norm", sizes.widthQ()),
                      Specification.Norm.rms(epsilon, layer + "self_attn.k_norm", sizes.widthKv()),
                      false,
                      rotary,
                      0,
                      sizes.scale(),
                      0,
                      null),
                  Specification.Norm.rms(
                      epsilon, layer + "post_attention_layernorm", sizes.width()),
                  null,
                  sizes.feedForward(layer, activation, false),
                  Specification.Norm.rms(
                      epsilon, layer + "post_feedforward_layernorm", sizes.width()),
                  false,
                  1);
            }),
        Specification.Norm.rms(epsilon, "model.norm", sizes.width()),
        settings.flag("tie_word_embeddings", false));
  }
}
