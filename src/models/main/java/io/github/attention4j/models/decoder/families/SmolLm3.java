package io.github.attention4j.models.decoder.families;

import io.github.attention4j.layer.Activation;
import io.github.attention4j.models.decoder.Family;
import io.github.attention4j.models.decoder.RotarySettings;
import io.github.attention4j.models.decoder.Sizes;
import io.github.attention4j.models.decoder.Specification;
import io.github.attention4j.models.files.Settings;
import java.util.List;
import java.util.Set;
import java.util.function.IntPredicate;

/** SmolLM 3: {@code SmolLM3ForCausalLM}, Llama in which some layers have no positions. */
public final class SmolLm3 implements Family {
  @Override
  public Specification read(Settings settings, Layout layout) {
    Sizes sizes = Sizes.read(settings);
    Activation activation = Sizes.activation(settings, "hidden_act", "silu");
    double epsilon = settings.positive("rms_norm_eps", 1e-6);
    boolean attentionBias = settings.flag("attention_bias", false);
    boolean networkBias = settings.flag("mlp_bias", false);
    IntPredicate turns = turns(settings, sizes);
    boolean slides = settings.flag("use_sliding_window", false);
    int window = settings.count("sliding_window", 0);
    settings.ignore("max_window_layers");
    IntPredicate local = sizes.sliding(settings, turns.negate());
    Specification.Rotary rotary =
        RotarySettings.of(settings, sizes.context(), 2_000_000)
            .read(sizes.dim(), Llama.pairs(layout));
    return sizes.model(
        "smollm3",
        sizes.blocks(
            i -> {
              String layer = Sizes.layer(i);
              return Specification.Block.preNorm(
                  Specification.Norm.rms(epsilon, layer + "input_layernorm", sizes.width()),
                  sizes.attention(
                      layer,
                      attentionBias,
                      turns.test(i) ? rotary : null,
                      slides && local.test(i) ? window : 0),
                  Specification.Norm.rms(
                      epsilon, layer + "post_attention_layernorm", sizes.width()),
                  sizes.feedForward(layer, activation, networkBias));
            }),
        Specification.Norm.rms(epsilon, "model.norm", sizes.width()),
        settings.flag("tie_word_embeddings", true));
  }

  /** Despite the name, 1 in {@code no_rope_layers} means that the layer has rotary positions. */
  private static IntPredicate turns(Settings settings, Sizes sizes) {
    int interval = settings.integer("no_rope_layer_interval", 4);
    if (!settings.has("no_rope_layers")) {
      return i -> (i + 1) % interval != 0;
    }
    List<Integer> list = settings.integers("no_rope_layers");
    if (list.size() != sizes.layers() || !Set.of(0, 1).containsAll(list)) {
      throw settings.refused(
          "no_rope_layers", "a list of num_hidden_layers, " + sizes.layers() + ", times 0 or 1");
    }
    return i -> list.get(i) == 1;
  }
}
