package io.github.attention4j.models.decoder.families;

import io.github.attention4j.layer.Activation;
import io.github.attention4j.models.decoder.Family;
import io.github.attention4j.models.decoder.RotarySettings;
import io.github.attention4j.models.decoder.Sizes;
import io.github.attention4j.models.decoder.Specification;
import io.github.attention4j.models.files.Settings;
import java.util.function.IntPredicate;

/** Gemma 3, text only (Gemma Team, 2025): {@code Gemma3ForCausalLM}. */
public final class Gemma3 implements Family {
  @Override
  public Specification read(Settings settings, Layout layout) {
    Sizes sizes = Sizes.read(settings, 4, 256);
    Activation activation = Gemma2.activation(settings);
    double epsilon = settings.positive("rms_norm_eps", 1e-6);
    boolean bias = settings.flag("attention_bias", false);
    double scale = 1 / Math.sqrt(settings.positive("query_pre_attn_scalar", 256));
    settings.require("attn_logit_softcapping", null);
    int window = Gemma2.window(settings);
    int pattern =
        settings.integer("sliding_window_pattern", settings.integer("_sliding_window_pattern", 6));
    IntPredicate slides = sizes.sliding(settings, i -> (i + 1) % pattern != 0);
    Specification.Rotary global =
        RotarySettings.ofType(
                settings, "full_attention", "rope_theta", true, sizes.context(), 1_000_000)
            .readTyped(sizes.dim());
    Specification.Rotary local =
        RotarySettings.ofType(
                settings,
                "sliding_attention",
                "rope_local_base_freq",
                false,
                sizes.context(),
                10_000)
            .readTyped(sizes.dim());
    double offset = Gemma2.offset(layout);
    return Gemma2.model(
        "gemma3_text",
        sizes,
        sizes.blocks(
            i -> {
              String layer = Sizes.layer(i);
              boolean sliding = slides.test(i);
              return Gemma2.block(
                  layer,
                  sizes,
                  epsilon,
                  offset,
                  new Specification.Attention(
                      sizes.heads(),
                      sizes.headsKv(),
                      sizes.dim(),
                      sizes.queryKeyValue(layer, bias),
                      sizes.out(layer, bias),
                      Gemma2.norm(epsilon, offset, layer + "self_attn.q_norm", sizes.dim()),
                      Gemma2.norm(epsilon, offset, layer + "self_attn.k_norm", sizes.dim()),
                      true,
                      sliding ? local : global,
                      sliding ? window : 0,
                      scale,
                      0,
                      null),
                  activation);
            }),
        Gemma2.norm(epsilon, offset, "model.norm", sizes.width()),
        settings.flag("tie_word_embeddings", true),
        Gemma2.cap(settings, "final_logit_softcapping", 0));
  }
}
