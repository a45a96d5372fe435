package io.github.attention4j.models.decoder.families;

import io.github.attention4j.layer.Activation;
import io.github.attention4j.models.decoder.Family;
import io.github.attention4j.models.decoder.RotarySettings;
import io.github.attention4j.models.decoder.Sizes;
import io.github.attention4j.models.decoder.Specification;
import io.github.attention4j.models.files.Settings;
import java.util.Set;
import java.util.stream.IntStream;

/** Qwen 3 with experts: {@code Qwen3MoeForCausalLM}. */
public final class Qwen3Moe implements Family {
  @Override
  public Specification read(Settings settings, Layout layout) {
    Sizes sizes = Sizes.read(settings, 4, 0);
    Activation activation = Sizes.activation(settings, "hidden_act", "silu");
    double epsilon = settings.positive("rms_norm_eps", 1e-6);
    boolean bias = settings.flag("attention_bias", false);
    boolean slides = settings.flag("use_sliding_window", false);
    int window = settings.count("sliding_window", slides ? 4096 : 0);
    settings.ignore("max_window_layers");
    int experts = sizes.experts(settings, "num_experts", settings.count("num_experts", 128));
    settings.ignore("num_experts_per_tok");
    int used = experts == 0 ? 0 : used(settings, experts);
    int inner = settings.integer("moe_intermediate_size", 768);
    boolean normalise = settings.flag("norm_topk_prob", false);
    int step = settings.integer("decoder_sparse_step", 1);
    Set<Integer> dense = Set.copyOf(settings.integers("mlp_only_layers"));
    Specification.Rotary rotary =
        RotarySettings.of(settings, sizes.context(), 10_000).read(sizes.dim());
    return sizes.model(
        "qwen3_moe",
        sizes.blocks(
            i -> {
              String layer = Sizes.layer(i);
              boolean sparse = experts > 0 && !dense.contains(i) && (i + 1) % step == 0;
              return Specification.Block.preNorm(
                  Specification.Norm.rms(epsilon, layer + "input_layernorm", sizes.width()),
                  Qwen3.attention(sizes, layer, bias, epsilon, rotary, slides ? window : 0),
                  Specification.Norm.rms(
                      epsilon, layer + "post_attention_layernorm", sizes.width()),
                  sparse
                      ? new Specification.FeedForward(
                          IntStream.range(0, experts)
                              .mapToObj(
                                  e ->
                                      sizes.gated(
                                          layer + "mlp.experts." + e + ".",
                                          inner,
                                          activation,
                                          false))
                              .toList(),
                          Specification.Projection.of(
                              layer + "mlp.gate", sizes.width(), experts, false),
                          used,
                          normalise)
                      : sizes.feedForward(layer, activation, false));
            }),
        Specification.Norm.rms(epsilon, "model.norm", sizes.width()),
        settings.flag("tie_word_embeddings", false));
  }

  private static int used(Settings settings, int experts) {
    int used = settings.integer("num_experts_per_tok", 8);
    if (used > experts) {
      throw settings.refused("num_experts_per_tok", "at most num_experts, " + experts);
    }
    return used;
  }
}
