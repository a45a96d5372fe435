package io.github.attention4j.models.decoder;

import io.github.attention4j.layer.Activation;
import io.github.attention4j.models.files.Settings;
import io.github.attention4j.models.weights.Source;
import java.util.ArrayList;
import java.util.List;
import java.util.function.IntFunction;
import java.util.function.IntPredicate;

/**
 * The sizes that most families read from the same keys, and the parts of blocks that most families
 * build alike.
 *
 * @param vocabulary {@code vocab_size}
 * @param width {@code hidden_size}
 * @param hidden {@code intermediate_size}
 * @param layers {@code num_hidden_layers}
 * @param heads {@code num_attention_heads}
 * @param headsKv {@code num_key_value_heads}
 * @param dim {@code head_dim}
 * @param context {@code max_position_embeddings}
 * @param reach the most positions of a text, more than the context with scaled rotary positions
 */
public record Sizes(
    int vocabulary,
    int width,
    int hidden,
    int layers,
    int heads,
    int headsKv,
    int dim,
    int context,
    int reach) {
  /** The experts of all layers together: far more than any model has. */
  private static final int MOST_EXPERTS = 1 << 17;

  /** Tensors that old checkpoints contain although the settings determine them. */
  public static final List<String> ROTARY_BUFFERS =
      List.of(".*rotary_emb\\.(inv_freq|cos_cached|sin_cached)");

  /**
   * Reads the sizes; absent {@code num_key_value_heads} is {@code num_attention_heads} and absent
   * {@code head_dim} is {@code hidden_size / num_attention_heads}.
   */
  public static Sizes read(Settings settings) {
    return read(settings, 0, 0);
  }

  /**
   * Reads the sizes.
   *
   * @param defaultHeadsKv {@code num_key_value_heads} if absent; 0 for num_attention_heads
   * @param defaultDim {@code head_dim} if absent; 0 for {@code hidden_size / num_attention_heads}
   */
  public static Sizes read(Settings settings, int defaultHeadsKv, int defaultDim) {
    int width = settings.integer("hidden_size");
    int heads = settings.integer("num_attention_heads");
    int headsKv =
        settings.integer("num_key_value_heads", defaultHeadsKv == 0 ? heads : defaultHeadsKv);
    if (heads % headsKv != 0) {
      throw new IllegalArgumentException(
          settings.source()
              + ": num_attention_heads must be a multiple of num_key_value_heads:"
              + " num_attention_heads="
              + heads
              + ", num_key_value_heads="
              + headsKv);
    }
    int dim;
    if (settings.has("head_dim")) {
      dim = settings.integer("head_dim");
    } else if (defaultDim != 0) {
      dim = defaultDim;
    } else {
      dim = width / heads;
      if (width % heads != 0) {
        throw new IllegalArgumentException(
            settings.source()
                + ": hidden_size must be a multiple of num_attention_heads where there is no"
                + " head_dim: hidden_size="
                + width
                + ", num_attention_heads="
                + heads);
      }
    }
    int context = settings.integer("max_position_embeddings");
    return new Sizes(
        settings.integer("vocab_size"),
        width,
        settings.integer("intermediate_size"),
        settings.layers("num_hidden_layers"),
        heads,
        headsKv,
        dim,
        context,
        RotarySettings.reach(settings, context));
  }

  /** Checks the number of experts that a setting gives to each layer, and returns it. */
  public int experts(Settings settings, String key, int experts) {
    if (experts > MOST_EXPERTS / layers) {
      throw settings.refused(
          key,
          "at most %d in each of %d layers, %d together"
              .formatted(MOST_EXPERTS / layers, layers, MOST_EXPERTS));
    }
    return experts;
  }

  /** The width of all query heads side by side. */
  public long widthQ() {
    return (long) heads * dim;
  }

  /** The width of all key heads, or of all value heads, side by side. */
  public long widthKv() {
    return (long) headsKv * dim;
  }

  /** {@code head_dim^-½}. */
  public double scale() {
    return 1 / Math.sqrt(dim);
  }

  /** The activation named by a key; null and absent mean the default. */
  public static Activation activation(Settings settings, String key, String otherwise) {
    return switch (settings.text(key, otherwise)) {
      case "silu", "swish" -> Activation.SILU;
      case "gelu", "gelu_python" -> Activation.GELU;
      case "gelu_new", "gelu_fast", "gelu_pytorch_tanh", "gelu_accurate" -> Activation.GELU_TANH;
      case "relu" -> Activation.RELU;
      case "tanh" -> Activation.TANH;
      case "sigmoid" -> Activation.SIGMOID;
      default ->
          throw settings.refused(
              key,
              "\"silu\", \"swish\", \"gelu\", \"gelu_python\", \"gelu_new\", \"gelu_fast\","
                  + " \"gelu_accurate\", \"gelu_pytorch_tanh\", \"relu\", \"tanh\" or \"sigmoid\"");
    };
  }

  /**
   * Which layers have a sliding window: those that {@code layer_types} calls {@code
   * sliding_attention}, or without that list those that the family says.
   */
  public IntPredicate sliding(Settings settings, IntPredicate otherwise) {
    if (!settings.has("layer_types")) {
      return otherwise;
    }
    List<String> types = settings.texts("layer_types");
    if (types.size() != layers) {
      throw settings.refused("layer_types", "a list of num_hidden_layers, " + layers + ", names");
    }
    for (String type : types) {
      if (!type.equals("sliding_attention") && !type.equals("full_attention")) {
        throw settings.refused(
            "layer_types",
            "a list of \"sliding_attention\" and \"full_attention\", without \"" + type + "\"");
      }
    }
    return layer -> types.get(layer).equals("sliding_attention");
  }

  // ---- Parts that most families share ----

  /** {@code q_proj}, {@code k_proj} and {@code v_proj} of {@code self_attn}. */
  public Specification.Projection queryKeyValue(String layer, boolean bias) {
    return Specification.Projection.of(layer + "self_attn.q_proj", width, widthQ(), bias)
        .then(Specification.Projection.of(layer + "self_attn.k_proj", width, widthKv(), bias))
        .then(Specification.Projection.of(layer + "self_attn.v_proj", width, widthKv(), bias));
  }

  /** {@code o_proj} of {@code self_attn}. */
  public Specification.Projection out(String layer, boolean bias) {
    return Specification.Projection.of(layer + "self_attn.o_proj", widthQ(), width, bias);
  }

  /** Llama's attention. */
  public Specification.Attention attention(
      String layer, boolean bias, Specification.Rotary rotary, int window) {
    return new Specification.Attention(
        heads,
        headsKv,
        dim,
        queryKeyValue(layer, bias),
        out(layer, bias),
        null,
        null,
        true,
        rotary,
        window,
        scale(),
        0,
        null);
  }

  /** {@code gate_proj}, {@code up_proj} and {@code down_proj} below a prefix. */
  public Specification.Network gated(
      String prefix, int inner, Activation activation, boolean bias) {
    return new Specification.Network(
        inner,
        true,
        activation,
        Specification.Projection.of(prefix + "gate_proj", width, inner, bias)
            .then(Specification.Projection.of(prefix + "up_proj", width, inner, bias)),
        Specification.Projection.of(prefix + "down_proj", inner, width, bias));
  }

  /** Llama's feed-forward network. */
  public Specification.FeedForward feedForward(String layer, Activation activation, boolean bias) {
    return Specification.FeedForward.of(gated(layer + "mlp.", hidden, activation, bias));
  }

  /** A model with Llama's names around its blocks. */
  public Specification model(
      String family, List<Specification.Block> blocks, Specification.Norm norm, boolean tied) {
    return new Specification(
        family,
        vocabulary,
        width,
        reach,
        Source.of("model.embed_tokens.weight", vocabulary, width),
        1,
        null,
        blocks,
        norm,
        Source.of("lm_head.weight", vocabulary, width),
        tied,
        1,
        0,
        ROTARY_BUFFERS);
  }

  /** The prefix of the names of a layer's tensors. */
  public static String layer(int index) {
    return "model.layers." + index + ".";
  }

  /** The blocks of a model whose layers differ only in their number. */
  public List<Specification.Block> blocks(IntFunction<Specification.Block> of) {
    List<Specification.Block> blocks = new ArrayList<>();
    for (int i = 0; i < layers; i++) {
      blocks.add(of.apply(i));
    }
    return blocks;
  }
}
