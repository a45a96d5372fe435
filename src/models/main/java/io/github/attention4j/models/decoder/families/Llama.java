package io.github.attention4j.models.decoder.families;

import io.github.attention4j.layer.Activation;
import io.github.attention4j.layer.RotaryEmbedding;
import io.github.attention4j.models.decoder.Family;
import io.github.attention4j.models.decoder.RotarySettings;
import io.github.attention4j.models.decoder.Sizes;
import io.github.attention4j.models.decoder.Specification;
import io.github.attention4j.models.files.Settings;

/** Llama (Touvron et al., 2023): {@code LlamaForCausalLM}. */
public final class Llama implements Family {
  @Override
  public Specification read(Settings settings, Layout layout) {
    Sizes sizes = Sizes.read(settings);
    Activation activation = Sizes.activation(settings, "hidden_act", "silu");
    double epsilon = settings.positive("rms_norm_eps", 1e-6);
    boolean attentionBias = settings.flag("attention_bias", false);
    boolean networkBias = settings.flag("mlp_bias", false);
    Specification.Rotary rotary =
        RotarySettings.of(settings, sizes.context(), 10_000).read(sizes.dim(), pairs(layout));
    return sizes.model(
        "llama",
        sizes.blocks(
            i -> {
              String layer = Sizes.layer(i);
              return Specification.Block.preNorm(
                  Specification.Norm.rms(epsilon, layer + "input_layernorm", sizes.width()),
                  sizes.attention(layer, attentionBias, rotary, 0),
                  Specification.Norm.rms(
                      epsilon, layer + "post_attention_layernorm", sizes.width()),
                  sizes.feedForward(layer, activation, networkBias));
            }),
        Specification.Norm.rms(epsilon, "model.norm", sizes.width()),
        settings.flag("tie_word_embeddings", false));
  }

  /** llama.cpp's converter reorders rows so that the channels of a pair are adjacent. */
  static RotaryEmbedding.Style pairs(Layout layout) {
    return layout == Layout.GGUF ? RotaryEmbedding.Style.INTERLEAVED : RotaryEmbedding.Style.HALF;
  }
}
