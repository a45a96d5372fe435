package io.github.attention4j.models.decoder.families;

import io.github.attention4j.layer.Activation;
import io.github.attention4j.models.decoder.Family;
import io.github.attention4j.models.decoder.RotarySettings;
import io.github.attention4j.models.decoder.Sizes;
import io.github.attention4j.models.decoder.Specification;
import io.github.attention4j.models.files.Settings;

/**
 * Phi 3 and 3.5, and Phi 4 (Abdin et al., 2024): {@code Phi3ForCausalLM}, Llama with fused
 * projections.
 */
public final class Phi3 implements Family {
  @Override
  public Specification read(Settings settings, Layout layout) {
    Sizes sizes = Sizes.read(settings);
    Activation activation = Sizes.activation(settings, "hidden_act", "silu");
    double epsilon = settings.positive("rms_norm_eps", 1e-5);
    int window = settings.count("sliding_window", 0);
    settings.ignore("original_max_position_embeddings");
    // Phi-4-mini's files name these, though only 1 is computed anywhere.
    settings.require("full_attn_mod", 1L);
    settings.require("interpolate_factor", 1L);
    Specification.Rotary rotary =
        RotarySettings.of(settings, sizes.context(), 10_000)
            .withLongRopeNamed("su", "yarn")
            .readPartial(sizes.dim(), "partial_rotary_factor", 1);
    return sizes.model(
        "phi3",
        sizes.blocks(
            i -> {
              String layer = Sizes.layer(i);
              return Specification.Block.preNorm(
                  Specification.Norm.rms(epsilon, layer + "input_layernorm", sizes.width()),
                  new Specification.Attention(
                      sizes.heads(),
                      sizes.headsKv(),
                      sizes.dim(),
                      Specification.Projection.of(
                          layer + "self_attn.qkv_proj",
                          sizes.width(),
                          sizes.widthQ() + 2 * sizes.widthKv(),
                          false),
                      sizes.out(layer, false),
                      null,
                      null,
                      true,
                      rotary,
                      window,
                      sizes.scale(),
                      0,
                      null),
                  Specification.Norm.rms(
                      epsilon, layer + "post_attention_layernorm", sizes.width()),
                  Specification.FeedForward.of(
                      new Specification.Network(
                          sizes.hidden(),
                          true,
                          activation,
                          Specification.Projection.of(
                              layer + "mlp.gate_up_proj",
                              sizes.width(),
                              2L * sizes.hidden(),
                              false),
                          Specification.Projection.of(
                              layer + "mlp.down_proj", sizes.hidden(), sizes.width(), false))));
            }),
        Specification.Norm.rms(epsilon, "model.norm", sizes.width()),
        settings.flag("tie_word_embeddings", false));
  }
}
