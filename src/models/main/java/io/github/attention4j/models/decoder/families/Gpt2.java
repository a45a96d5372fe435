package io.github.attention4j.models.decoder.families;

import io.github.attention4j.layer.Activation;
import io.github.attention4j.models.decoder.Family;
import io.github.attention4j.models.decoder.Sizes;
import io.github.attention4j.models.decoder.Specification;
import io.github.attention4j.models.files.Settings;
import io.github.attention4j.models.weights.Source;
import java.util.ArrayList;
import java.util.List;

/** GPT-2 (Radford et al., 2019): {@code GPT2LMHeadModel}, with learned positions. */
public final class Gpt2 implements Family {
  @Override
  public Specification read(Settings settings, Layout layout) {
    int vocabulary = settings.integer("vocab_size");
    int width = settings.integer("n_embd");
    int heads = settings.integer("n_head");
    int context = settings.integer("n_positions");
    if (width > Integer.MAX_VALUE / 4) {
      throw settings.refused("n_embd", "at most " + Integer.MAX_VALUE / 4);
    }
    int hidden = settings.integer("n_inner", 4 * width);
    double epsilon = settings.positive("layer_norm_epsilon", 1e-5);
    Activation activation = Sizes.activation(settings, "activation_function", "gelu_new");
    boolean scaled = settings.flag("scale_attn_weights", true);
    boolean byLayer = settings.flag("scale_attn_by_inverse_layer_idx", false);
    settings.ignore("n_ctx", "reorder_and_upcast_attn");
    settings.ignore(
        "summary_activation",
        "summary_first_dropout",
        "summary_proj_to_labels",
        "summary_type",
        "summary_use_proj");
    if (width % heads != 0) {
      throw settings.refused("n_embd", "a multiple of n_head, " + heads);
    }
    int dim = width / heads;
    int layers = settings.layers("n_layer");
    List<Specification.Block> blocks = new ArrayList<>();
    for (int i = 0; i < layers; i++) {
      String layer = "transformer.h." + i + ".";
      double scale = (scaled ? 1 / Math.sqrt(dim) : 1) / (byLayer ? i + 1 : 1);
      blocks.add(
          Specification.Block.preNorm(
              norm(epsilon, layer + "ln_1", width),
              new Specification.Attention(
                  heads,
                  heads,
                  dim,
                  projection(layout, layer + "attn.c_attn", width, 3L * width),
                  projection(layout, layer + "attn.c_proj", width, width),
                  null,
                  null,
                  true,
                  null,
                  0,
                  scale,
                  0,
                  null),
              norm(epsilon, layer + "ln_2", width),
              Specification.FeedForward.of(
                  new Specification.Network(
                      hidden,
                      false,
                      activation,
                      projection(layout, layer + "mlp.c_fc", width, hidden),
                      projection(layout, layer + "mlp.c_proj", hidden, width)))));
    }
    return new Specification(
        "gpt2",
        vocabulary,
        width,
        context,
        Source.of("transformer.wte.weight", vocabulary, width),
        1,
        Source.of("transformer.wpe.weight", context, width),
        blocks,
        norm(epsilon, "transformer.ln_f", width),
        Source.of("lm_head.weight", vocabulary, width),
        settings.flag("tie_word_embeddings", true),
        1,
        0,
        List.of("transformer\\.h\\.\\d+\\.attn\\.(bias|masked_bias)"));
  }

  private static Specification.Norm norm(double epsilon, String name, long width) {
    return new Specification.Norm(
        true, epsilon, 0, Source.of(name + ".weight", width), Source.of(name + ".bias", width));
  }

  /** GPT-2 stores its matrices {@code [in, out]}; llama.cpp's converter transposes them. */
  private static Specification.Projection projection(
      Layout layout, String name, long dimIn, long dimOut) {
    if (layout == Layout.GGUF) {
      return Specification.Projection.of(name, dimIn, dimOut, true);
    }
    return new Specification.Projection(
        List.of(Source.transposed(name + ".weight", dimIn, dimOut)),
        List.of(Source.of(name + ".bias", dimOut)));
  }
}
