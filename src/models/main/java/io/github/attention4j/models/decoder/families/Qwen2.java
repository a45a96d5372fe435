package io.github.attention4j.models.decoder.families;

import io.github.attention4j.layer.Activation;
import io.github.attention4j.models.decoder.Family;
import io.github.attention4j.models.decoder.RotarySettings;
import io.github.attention4j.models.decoder.Sizes;
import io.github.attention4j.models.decoder.Specification;
import io.github.attention4j.models.files.Settings;
import java.util.function.IntPredicate;
import java.util.function.IntUnaryOperator;

/**
 * Qwen 2 and 2.5 (Yang et al., 2024): {@code Qwen2ForCausalLM}, Llama with biases on queries, keys
 * and values.
 */
public final class Qwen2 implements Family {
  @Override
  public Specification read(Settings settings, Layout layout) {
    Sizes sizes = Sizes.read(settings, 32, 0);
    Activation activation = Sizes.activation(settings, "hidden_act", "silu");
    double epsilon = settings.positive("rms_norm_eps", 1e-6);
    IntUnaryOperator window = window(settings, sizes);
    Specification.Rotary rotary =
        RotarySettings.of(settings, sizes.context(), 10_000).read(sizes.dim());
    return sizes.model(
        "qwen2",
        sizes.blocks(
            i -> {
              String layer = Sizes.layer(i);
              return Specification.Block.preNorm(
                  Specification.Norm.rms(epsilon, layer + "input_layernorm", sizes.width()),
                  new Specification.Attention(
                      sizes.heads(),
                      sizes.headsKv(),
                      sizes.dim(),
                      sizes.queryKeyValue(layer, true),
                      sizes.out(layer, false),
                      null,
                      null,
                      true,
                      rotary,
                      window.applyAsInt(i),
                      sizes.scale(),
                      0,
                      null),
                  Specification.Norm.rms(
                      epsilon, layer + "post_attention_layernorm", sizes.width()),
                  sizes.feedForward(layer, activation, false));
            }),
        Specification.Norm.rms(epsilon, "model.norm", sizes.width()),
        settings.flag("tie_word_embeddings", false));
  }

  /** The window of each layer: none unless {@code use_sliding_window} says so. */
  static IntUnaryOperator window(Settings settings, Sizes sizes) {
    boolean used = settings.flag("use_sliding_window", false);
    int window = settings.count("sliding_window", used ? 4096 : 0);
    int first = settings.count("max_window_layers", 28);
    IntPredicate slides = sizes.sliding(settings, i -> i >= first);
    return i -> used && slides.test(i) ? window : 0;
  }
}
