package io.github.attention4j.models.decoder.families;

import io.github.attention4j.layer.Activation;
import io.github.attention4j.models.decoder.Family;
import io.github.attention4j.models.decoder.RotarySettings;
import io.github.attention4j.models.decoder.Sizes;
import io.github.attention4j.models.decoder.Specification;
import io.github.attention4j.models.files.Settings;
import java.util.stream.IntStream;

/** Mixtral (Jiang et al., 2024): {@code MixtralForCausalLM}, Llama with experts. */
public final class Mixtral implements Family {
  @Override
  public Specification read(Settings settings, Layout layout) {
    Sizes sizes = Sizes.read(settings, 8, 0);
    Activation activation = Sizes.activation(settings, "hidden_act", "silu");
    double epsilon = settings.positive("rms_norm_eps", 1e-5);
    int window = settings.count("sliding_window", 0);
    String key = "num_local_experts";
    int experts = sizes.experts(settings, key, settings.integer(key, 8));
    int used = settings.integer("num_experts_per_tok", 2);
    if (used > experts) {
      throw settings.refused("num_experts_per_tok", "at most num_local_experts, " + experts);
    }
    Specification.Rotary rotary =
        RotarySettings.of(settings, sizes.context(), 1_000_000)
            .read(sizes.dim(), Llama.pairs(layout));
    return sizes.model(
        "mixtral",
        sizes.blocks(
            i -> {
              String layer = Sizes.layer(i);
              String sparse = layer + "block_sparse_moe.";
              return Specification.Block.preNorm(
                  Specification.Norm.rms(epsilon, layer + "input_layernorm", sizes.width()),
                  sizes.attention(layer, false, rotary, window),
                  Specification.Norm.rms(
                      epsilon, layer + "post_attention_layernorm", sizes.width()),
                  new Specification.FeedForward(
                      IntStream.range(0, experts)
                          .mapToObj(e -> expert(sizes, sparse + "experts." + e + ".", activation))
                          .toList(),
                      Specification.Projection.of(sparse + "gate", sizes.width(), experts, false),
                      used,
                      true));
            }),
        Specification.Norm.rms(epsilon, "model.norm", sizes.width()),
        settings.flag("tie_word_embeddings", false));
  }

  private static Specification.Network expert(Sizes sizes, String name, Activation activation) {
    int width = sizes.width();
    int hidden = sizes.hidden();
    return new Specification.Network(
        hidden,
        true,
        activation,
        Specification.Projection.of(name + "w1", width, hidden, false)
            .then(Specification.Projection.of(name + "w3", width, hidden, false)),
        Specification.Projection.of(name + "w2", hidden, width, false));
  }
}
