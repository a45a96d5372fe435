package io.github.attention4j.models.encoder;

import io.github.attention4j.layer.Activation;
import io.github.attention4j.models.encoder.EncoderSpec.Block;
import io.github.attention4j.models.encoder.EncoderSpec.Embedding;
import io.github.attention4j.models.encoder.EncoderSpec.FeedForward;
import io.github.attention4j.models.encoder.EncoderSpec.Heads;
import io.github.attention4j.models.encoder.EncoderSpec.Norm;
import io.github.attention4j.models.encoder.EncoderSpec.Projection;
import io.github.attention4j.models.files.Settings;
import java.util.ArrayList;
import java.util.List;

/** ALBERT (Lan et al. 2019): BERT with shared layers and narrow embeddings. */
final class Albert {
  private Albert() {}

  static EncoderSpec read(Settings settings) {
    settings.require("position_embedding_type", "absolute");
    settings.ignore("classifier_dropout_prob", "net_structure_type");
    settings.ignore("down_scale_factor", "gap_size", "num_memory_blocks");
    int width = settings.integer("hidden_size", 4096);
    int narrow = settings.integer("embedding_size", 128);
    int count = settings.integer("num_attention_heads", 64);
    int hidden = settings.integer("intermediate_size", 16384);
    int layers = settings.layers("num_hidden_layers", 12);
    int groups = settings.integer("num_hidden_groups", 1);
    int inner = settings.integer("inner_group_num", 1);
    double epsilon = settings.positive("layer_norm_eps", 1e-12);
    Activation activation = Family.activation(settings, "hidden_act", "gelu_new");
    if (groups > layers) {
      throw settings.refused("num_hidden_groups", "at most num_hidden_layers, " + layers);
    }
    Heads heads =
        Heads.plain(
            count, Family.headDim(settings, "hidden_size", width, "num_attention_heads", count));
    List<List<Block>> shared = new ArrayList<>();
    for (int g = 0; g < groups; g++) {
      List<Block> group = new ArrayList<>();
      for (int j = 0; j < inner; j++) {
        String layer = "encoder.albert_layer_groups." + g + ".albert_layers." + j + ".";
        group.add(block(layer, heads, hidden, activation, epsilon));
      }
      shared.add(group);
    }
    List<Block> blocks = new ArrayList<>();
    for (int i = 0; i < layers; i++) {
      blocks.addAll(shared.get((int) ((long) i * groups / layers)));
    }
    return new EncoderSpec(
        "albert",
        "albert.",
        settings.integer("vocab_size"),
        width,
        settings.positions("max_position_embeddings", 512),
        new Embedding(
            "embeddings.word_embeddings",
            "embeddings.position_embeddings",
            -1,
            "embeddings.token_type_embeddings",
            settings.integer("type_vocab_size", 2),
            narrow,
            Norm.layer("embeddings.LayerNorm", epsilon),
            Projection.of("encoder.embedding_hidden_mapping_in", true)),
        blocks,
        null,
        null,
        Family.head(Family.step("pooler", true, Activation.TANH)),
        Family.head(
            Family.step("pooler", true, Activation.TANH),
            Family.step("classifier", false, Activation.IDENTITY)),
        Family.labels(settings));
  }

  private static Block block(
      String layer, Heads heads, int hidden, Activation activation, double epsilon) {
    String attention = layer + "attention.";
    return new Block(
        false,
        heads,
        new Projection(List.of(attention + "query", attention + "key", attention + "value"), true),
        Projection.of(attention + "dense", true),
        Norm.layer(attention + "LayerNorm", epsilon),
        new FeedForward(
            Projection.of(layer + "ffn", true),
            false,
            false,
            hidden,
            activation,
            Projection.of(layer + "ffn_output", true)),
        Norm.layer(layer + "full_layer_layer_norm", epsilon));
  }
}
