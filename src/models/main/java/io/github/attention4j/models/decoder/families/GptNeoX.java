package io.github.attention4j.models.decoder.families;

import io.github.attention4j.layer.Activation;
import io.github.attention4j.models.decoder.Family;
import io.github.attention4j.models.decoder.RotarySettings;
import io.github.attention4j.models.decoder.Sizes;
import io.github.attention4j.models.decoder.Specification;
import io.github.attention4j.models.files.Settings;
import io.github.attention4j.models.weights.Source;
import java.util.ArrayList;
import java.util.List;

/** GPT-NeoX (Black et al., 2022): {@code GPTNeoXForCausalLM}, which includes Pythia. */
public final class GptNeoX implements Family {
  @Override
  public Specification read(Settings settings, Layout layout) {
    int vocabulary = settings.integer("vocab_size");
    int width = settings.integer("hidden_size");
    int hidden = settings.integer("intermediate_size");
    int heads = settings.integer("num_attention_heads");
    int context = settings.integer("max_position_embeddings");
    double epsilon = settings.positive("layer_norm_eps", 1e-5);
    Activation activation = Sizes.activation(settings, "hidden_act", "gelu");
    boolean bias = settings.flag("attention_bias", true);
    boolean parallel = settings.flag("use_parallel_residual", true);
    if (width % heads != 0) {
      throw settings.refused("hidden_size", "a multiple of num_attention_heads, " + heads);
    }
    int dim = width / heads;
    Specification.Rotary rotary =
        RotarySettings.of(settings, context, settings.positive("rotary_emb_base", 10_000))
            .readPartial(dim, "rotary_pct", 0.25);
    int layers = settings.layers("num_hidden_layers");
    List<Specification.Block> blocks = new ArrayList<>();
    for (int i = 0; i < layers; i++) {
      String layer = "gpt_neox.layers." + i + ".";
      blocks.add(
          new Specification.Block(
              norm(epsilon, layer + "input_layernorm", width),
              new Specification.Attention(
                  heads,
                  heads,
                  dim,
                  queryKeyValue(
                      layout, layer + "attention.query_key_value", heads, dim, width, bias),
                  Specification.Projection.of(layer + "attention.dense", width, width, bias),
                  null,
                  null,
                  true,
                  rotary,
                  0,
                  1 / Math.sqrt(dim),
                  0,
                  null),
              null,
              norm(epsilon, layer + "post_attention_layernorm", width),
              Specification.FeedForward.of(
                  new Specification.Network(
                      hidden,
                      false,
                      activation,
                      Specification.Projection.of(layer + "mlp.dense_h_to_4h", width, hidden, true),
                      Specification.Projection.of(
                          layer + "mlp.dense_4h_to_h", hidden, width, true))),
              null,
              parallel,
              1));
    }
    return new Specification(
        "gpt_neox",
        vocabulary,
        width,
        RotarySettings.reach(settings, context),
        Source.of("gpt_neox.embed_in.weight", vocabulary, width),
        1,
        null,
        blocks,
        norm(epsilon, "gpt_neox.final_layer_norm", width),
        Source.of("embed_out.weight", vocabulary, width),
        settings.flag("tie_word_embeddings", false),
        1,
        0,
        List.of("gpt_neox\\.layers\\.\\d+\\.attention\\.(bias|masked_bias|rotary_emb\\.inv_freq)"));
  }

  private static Specification.Norm norm(double epsilon, String name, long width) {
    return new Specification.Norm(
        true, epsilon, 0, Source.of(name + ".weight", width), Source.of(name + ".bias", width));
  }

  /** Rows are stored head by head; llama.cpp's converter puts all queries first. */
  private static Specification.Projection queryKeyValue(
      Layout layout, String name, long heads, long dim, long width, boolean bias) {
    if (layout == Layout.GGUF) {
      return Specification.Projection.of(name, width, 3 * heads * dim, bias);
    }
    return new Specification.Projection(
        List.of(Source.headByHead(name + ".weight", heads, dim, width)),
        bias ? List.of(Source.headByHead(name + ".bias", heads, dim)) : List.of());
  }
}
