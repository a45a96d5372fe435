package io.github.attention4j.models.decoder.families;

import io.github.attention4j.layer.Activation;
import io.github.attention4j.models.decoder.Family;
import io.github.attention4j.models.decoder.RotarySettings;
import io.github.attention4j.models.decoder.Sizes;
import io.github.attention4j.models.decoder.Specification;
import io.github.attention4j.models.files.Settings;
import java.util.function.IntUnaryOperator;

/**
 * Qwen 3 (Yang et al., 2025): {@code Qwen3ForCausalLM}, with norms over each head of queries and
 * keys.
 */
public final class Qwen3 implements Family {
  @Override
  public Specification read(Settings settings, Layout layout) {
    Sizes sizes = Sizes.read(settings, 32, 128);
    Activation activation = Sizes.activation(settings, "hidden_act", "silu");
    double epsilon = settings.positive("rms_norm_eps", 1e-6);
    boolean bias = settings.flag("attention_bias", false);
    IntUnaryOperator window = Qwen2.window(settings, sizes);
    Specification.Rotary rotary =
        RotarySettings.of(settings, sizes.context(), 10_000).read(sizes.dim());
    return sizes.model(
        "qwen3",
        sizes.blocks(
            i -> {
              String layer = Sizes.layer(i);
              return Specification.Block.preNorm(
                  Specification.Norm.rms(epsilon, layer + "input_layernorm", sizes.width()),
                  attention(sizes, layer, bias, epsilon, rotary, window.applyAsInt(i)),
                  Specification.Norm.rms(
                      epsilon, layer + "post_attention_layernorm", sizes.width()),
                  sizes.feedForward(layer, activation, false));
            }),
        Specification.Norm.rms(epsilon, "model.norm", sizes.width()),
        settings.flag("tie_word_embeddings", false));
  }

  static Specification.Attention attention(
      Sizes sizes,
      String layer,
      boolean bias,
      double epsilon,
      Specification.Rotary rotary,
      int window) {
    return new Specification.Attention(
        sizes.heads(),
        sizes.headsKv(),
        sizes.dim(),
        sizes.queryKeyValue(layer, bias),
        sizes.out(layer, bias),
        Specification.Norm.rms(epsilon, layer + "self_attn.q_norm", sizes.dim()),
        Specification.Norm.rms(epsilon, layer + "self_attn.k_norm", sizes.dim()),
        true,
        rotary,
        window,
        sizes.scale(),
        0,
        null);
  }
}
