package io.github.attention4j.models.decoder.families;

import io.github.attention4j.layer.Activation;
import io.github.attention4j.models.decoder.Family;
import io.github.attention4j.models.decoder.RotarySettings;
import io.github.attention4j.models.decoder.Sizes;
import io.github.attention4j.models.decoder.Specification;
import io.github.attention4j.models.files.Settings;
import io.github.attention4j.models.weights.Source;
import java.util.List;
import java.util.function.IntPredicate;

/**
 * Gemma 2 (Gemma Team, 2024): {@code Gemma2ForCausalLM}, with four norms per layer and soft caps.
 */
public final class Gemma2 implements Family {
  @Override
  public Specification read(Settings settings, Layout layout) {
    Sizes sizes = Sizes.read(settings, 4, 256);
    Activation activation = activation(settings);
    double epsilon = settings.positive("rms_norm_eps", 1e-6);
    boolean bias = settings.flag("attention_bias", false);
    double scale = 1 / Math.sqrt(settings.positive("query_pre_attn_scalar", 256));
    double cap = cap(settings, "attn_logit_softcapping", 50);
    int window = window(settings);
    IntPredicate slides = sizes.sliding(settings, i -> i % 2 == 0);
    Specification.Rotary rotary =
        RotarySettings.of(settings, sizes.context(), 10_000).read(sizes.dim());
    double offset = offset(layout);
    return model(
        "gemma2",
        sizes,
        sizes.blocks(
            i -> {
              String layer = Sizes.layer(i);
              return block(
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
                      null,
                      null,
                      true,
                      rotary,
                      slides.test(i) ? window : 0,
                      scale,
                      cap,
                      null),
                  activation);
            }),
        norm(epsilon, offset, "model.norm", sizes.width()),
        settings.flag("tie_word_embeddings", true),
        cap(settings, "final_logit_softcapping", 30));
  }

  // ---- What Gemma 3 shares ----

  /** Norms multiply by {@code 1 + w}; in GGUF files the 1 is already added. */
  static double offset(Layout layout) {
    return layout == Layout.GGUF ? 0 : 1;
  }

  static Activation activation(Settings settings) {
    settings.ignore("hidden_act");
    return Sizes.activation(settings, "hidden_activation", "gelu_pytorch_tanh");
  }

  static int window(Settings settings) {
    int window = settings.mentions("sliding_window") ? settings.count("sliding_window", 0) : 4096;
    // Some published files have it twice; Transformers does not read the other key.
    if (settings.has("sliding_window_size") && settings.count("sliding_window_size", 0) != window) {
      throw settings.refused("sliding_window_size", "sliding_window, " + window);
    }
    return window;
  }

  /** Null means no cap; absent means the default. */
  static double cap(Settings settings, String key, double otherwise) {
    return settings.mentions(key) ? settings.positive(key, 0) : otherwise;
  }

  static Specification.Norm norm(double epsilon, double offset, String name, long width) {
    return new Specification.Norm(false, epsilon, offset, Source.of(name + ".weight", width), null);
  }

  static Specification.Block block(
      String layer,
      Sizes sizes,
      double epsilon,
      double offset,
      Specification.Attention attention,
      Activation activation) {
    int width = sizes.width();
    return new Specification.Block(
        norm(epsilon, offset, layer + "input_layernorm", width),
        attention,
        norm(epsilon, offset, layer + "post_attention_layernorm", width),
        norm(epsilon, offset, layer + "pre_feedforward_layernorm", width),
        sizes.feedForward(layer, activation, false),
        norm(epsilon, offset, layer + "post_feedforward_layernorm", width),
        false,
        1);
  }

  static Specification model(
      String family,
      Sizes sizes,
      List<Specification.Block> blocks,
      Specification.Norm norm,
      boolean tied,
      double cap) {
    return new Specification(
        family,
        sizes.vocabulary(),
        sizes.width(),
        sizes.context(),
        Source.of("model.embed_tokens.weight", sizes.vocabulary(), sizes.width()),
        Math.sqrt(sizes.width()),
        null,
        blocks,
        norm,
        Source.of("lm_head.weight", sizes.vocabulary(), sizes.width()),
        tied,
        1,
        cap,
        Sizes.ROTARY_BUFFERS);
  }
}
