package io.github.attention4j.models.encoder;

import io.github.attention4j.layer.Activation;
import io.github.attention4j.models.encoder.EncoderSpec.Block;
import io.github.attention4j.models.encoder.EncoderSpec.Convolution;
import io.github.attention4j.models.encoder.EncoderSpec.Disentangled;
import io.github.attention4j.models.encoder.EncoderSpec.Embedding;
import io.github.attention4j.models.encoder.EncoderSpec.Heads;
import io.github.attention4j.models.encoder.EncoderSpec.Norm;
import io.github.attention4j.models.encoder.EncoderSpec.Projection;
import io.github.attention4j.models.files.Settings;
import java.util.ArrayList;
import java.util.List;
import java.util.Locale;
import java.util.Set;
import java.util.TreeSet;

/** DeBERTa v2 and v3 (He et al. 2020, 2021): BERT with disentangled relative attention. */
final class DebertaV2 {
  private DebertaV2() {}

  static EncoderSpec read(Settings settings) {
    settings.ignore("pooler_dropout", "legacy", "conv_dropout");
    int width = settings.integer("hidden_size", 1536);
    int count = settings.integer("num_attention_heads", 24);
    int hidden = settings.integer("intermediate_size", 6144);
    int positions = settings.positions("max_position_embeddings", 512);
    double epsilon = settings.positive("layer_norm_eps", 1e-7);
    settings.require("embedding_size", (long) width);
    settings.require("pooler_hidden_size", (long) width);
    int dim = Family.headDim(settings, "hidden_size", width, "num_attention_heads", count);
    settings.require("attention_head_size", (long) dim);
    Activation activation = Family.activation(settings, "hidden_act", "gelu");
    int types = settings.count("type_vocab_size", 0);
    boolean absolute = settings.flag("position_biased_input", true);
    boolean relative = settings.flag("relative_attention", false);
    Reach reach = reach(settings, positions);
    Set<String> terms = terms(settings);
    boolean share = settings.flag("share_att_key", false);
    boolean norms = norms(settings);
    List<Block> blocks = new ArrayList<>();
    for (int i = 0; i < settings.layers("num_hidden_layers", 24); i++) {
      String layer = "encoder.layer." + i + ".";
      String self = layer + "attention.self.";
      Disentangled disentangled =
          !relative
              ? null
              : new Disentangled(
                  "encoder.rel_embeddings.weight",
                  norms ? Norm.layer("encoder.LayerNorm", epsilon) : null,
                  reach.span,
                  reach.buckets,
                  reach.most,
                  terms.contains("c2p")
                      ? Projection.of(self + (share ? "key_proj" : "pos_key_proj"), true)
                      : null,
                  terms.contains("p2c")
                      ? Projection.of(self + (share ? "query_proj" : "pos_query_proj"), true)
                      : null);
      Heads heads = new Heads(count, count, dim, false, -1, null, null, null, disentangled);
      blocks.add(
          new Block(
              false,
              heads,
              new Projection(
                  List.of(self + "query_proj", self + "key_proj", self + "value_proj"), true),
              Projection.of(layer + "attention.output.dense", true),
              Norm.layer(layer + "attention.output.LayerNorm", epsilon),
              Bert.feedForward(layer, hidden, activation),
              Norm.layer(layer + "output.LayerNorm", epsilon)));
    }
    return new EncoderSpec(
        "deberta-v2",
        "deberta.",
        settings.integer("vocab_size"),
        width,
        positions,
        new Embedding(
            "embeddings.word_embeddings",
            absolute ? "embeddings.position_embeddings" : null,
            -1,
            types > 0 ? "embeddings.token_type_embeddings" : null,
            types,
            width,
            Norm.layer("embeddings.LayerNorm", epsilon),
            null),
        blocks,
        null,
        convolution(settings, epsilon),
        null,
        Family.head(
            Family.step(
                "pooler.dense", false, Family.activation(settings, "pooler_hidden_act", "gelu")),
            Family.step("classifier", false, Activation.IDENTITY)),
        Family.labels(settings));
  }

  private record Reach(int span, boolean buckets, int most) {}

  private static Reach reach(Settings settings, int positions) {
    int most = (int) settings.number("max_relative_positions", -1);
    most = most >= 1 ? most : positions;
    int buckets = (int) settings.number("position_buckets", -1);
    int span = buckets > 0 ? buckets : most;
    if (span > Integer.MAX_VALUE / 2) {
      throw settings.refused(
          buckets > 0 ? "position_buckets" : "max_relative_positions",
          "at most " + Integer.MAX_VALUE / 2);
    }
    return new Reach(span, buckets > 0, most);
  }

  /** A list, or words separated by bars. */
  private static Set<String> terms(Settings settings) {
    Set<String> terms =
        settings.value("pos_att_type") instanceof String text
            ? words(text)
            : words(String.join("|", settings.texts("pos_att_type")));
    if (!Set.of("c2p", "p2c", "").containsAll(terms)) {
      throw settings.refused("pos_att_type", "of c2p and p2c");
    }
    return terms;
  }

  private static Set<String> words(String barred) {
    Set<String> words = new TreeSet<>();
    for (String word : barred.toLowerCase(Locale.ROOT).split("\\|")) {
      words.add(word.strip());
    }
    return words;
  }

  private static boolean norms(Settings settings) {
    Set<String> norms = words(settings.text("norm_rel_ebd", "none"));
    if (!Set.of("none", "layer_norm").containsAll(norms)) {
      throw settings.refused("norm_rel_ebd", "none or layer_norm");
    }
    return norms.contains("layer_norm");
  }

  private static Convolution convolution(Settings settings, double epsilon) {
    int kernel = settings.count("conv_kernel_size", 0);
    Activation activation = Family.activation(settings, "conv_act", "tanh");
    int groups = settings.integer("conv_groups", 1);
    if (kernel == 0) {
      return null;
    }
    if (kernel % 2 == 0) {
      throw settings.refused("conv_kernel_size", "odd");
    }
    return new Convolution(
        "encoder.conv.conv",
        kernel,
        groups,
        activation,
        Norm.layer("encoder.conv.LayerNorm", epsilon));
  }
}
