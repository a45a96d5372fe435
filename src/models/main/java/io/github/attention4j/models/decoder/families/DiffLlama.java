package io.github.attention4j.models.decoder.families;

import io.github.attention4j.layer.Activation;
import io.github.attention4j.models.decoder.Family;
import io.github.attention4j.models.decoder.RotarySettings;
import io.github.attention4j.models.decoder.Sizes;
import io.github.attention4j.models.decoder.Specification;
import io.github.attention4j.models.files.Settings;
import io.github.attention4j.models.weights.Source;

/**
 * Llama with differential attention (Ye et al., "Differential Transformer", 2024): {@code
 * DiffLlamaForCausalLM}.
 */
public final class DiffLlama implements Family {
  @Override
  public Specification read(Settings settings, Layout layout) {
    Sizes sizes = Sizes.read(settings);
    if (sizes.headsKv() % 2 != 0) {
      throw settings.refused("num_key_value_heads", "even, as model_type is \"diffllama\"");
    }
    Activation activation = Sizes.activation(settings, "hidden_act", "silu");
    double epsilon = settings.positive("rms_norm_eps", 1e-5);
    boolean bias = settings.flag("attention_bias", false);
    if (settings.flag("mlp_bias", false)) {
      throw settings.refused("mlp_bias", "false, as model_type is \"diffllama\"");
    }
    Specification.Rotary rotary =
        RotarySettings.of(settings, sizes.context(), 10_000).read(sizes.dim());
    return sizes.model(
        "diffllama",
        sizes.blocks(
            i -> {
              String layer = Sizes.layer(i);
              return Specification.Block.preNorm(
                  Specification.Norm.rms(epsilon, layer + "input_layernorm", sizes.width()),
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
                      0,
                      sizes.scale(),
                      0,
                      lambda(layer + "self_attn.lambda_", sizes.dim(), epsilon)),
                  Specification.Norm.rms(
                      epsilon, layer + "post_attention_layernorm", sizes.width()),
                  sizes.feedForward(layer, activation, false));
            }),
        Specification.Norm.rms(epsilon, "model.norm", sizes.width()),
        settings.flag("tie_word_embeddings", false));
  }

  private static Specification.Lambda lambda(String name, int dim, double epsilon) {
    return new Specification.Lambda(
        Source.of(name + "q1", dim),
        Source.of(name + "k1", dim),
        Source.of(name + "q2", dim),
        Source.of(name + "k2", dim),
        epsilon);
  }
}
