package io.github.attention4j.models.encoder;

import io.github.attention4j.layer.Activation;
import io.github.attention4j.models.encoder.EncoderSpec.Block;
import io.github.attention4j.models.encoder.EncoderSpec.Buckets;
import io.github.attention4j.models.encoder.EncoderSpec.Embedding;
import io.github.attention4j.models.encoder.EncoderSpec.Heads;
import io.github.attention4j.models.encoder.EncoderSpec.Norm;
import io.github.attention4j.models.encoder.EncoderSpec.Projection;
import io.github.attention4j.models.files.Settings;
import java.util.ArrayList;
import java.util.List;

/** MPNet (Song et al. 2020): BERT with a bias for each bucket of distance, one table for all. */
final class Mpnet {
  /** The padding token that positions count from, whatever the configuration says. */
  private static final int PAD = 1;

  /** The configuration sizes the table, but Transformers always computes with this many buckets. */
  private static final int USED_BUCKETS = 32;

  private Mpnet() {}

  static EncoderSpec read(Settings settings) {
    int buckets = settings.integer("relative_attention_num_buckets", USED_BUCKETS);
    if (buckets < USED_BUCKETS) {
      throw settings.refused("relative_attention_num_buckets", "at least " + USED_BUCKETS);
    }
    int width = settings.integer("hidden_size", 768);
    int count = settings.integer("num_attention_heads", 12);
    int hidden = settings.integer("intermediate_size", 3072);
    double epsilon = settings.positive("layer_norm_eps", 1e-12);
    int dim = Family.headDim(settings, "hidden_size", width, "num_attention_heads", count);
    Activation activation = Family.activation(settings, "hidden_act", "gelu");
    Heads heads =
        new Heads(
            count,
            count,
            dim,
            false,
            -1,
            null,
            null,
            null,
            new Buckets("encoder.relative_attention_bias.weight", buckets));
    List<Block> blocks = new ArrayList<>();
    for (int i = 0; i < settings.layers("num_hidden_layers", 12); i++) {
      String layer = "encoder.layer." + i + ".";
      String attention = layer + "attention.attn.";
      blocks.add(
          new Block(
              false,
              heads,
              new Projection(List.of(attention + "q", attention + "k", attention + "v"), true),
              Projection.of(attention + "o", true),
              Norm.layer(layer + "attention.LayerNorm", epsilon),
              Bert.feedForward(layer, hidden, activation),
              Norm.layer(layer + "output.LayerNorm", epsilon)));
    }
    return new EncoderSpec(
        "mpnet",
        "mpnet.",
        settings.integer("vocab_size"),
        width,
        settings.positions("max_position_embeddings", 512) - PAD - 1,
        new Embedding(
            "embeddings.word_embeddings",
            "embeddings.position_embeddings",
            PAD,
            null,
            0,
            width,
            Norm.layer("embeddings.LayerNorm", epsilon),
            null),
        blocks,
        null,
        null,
        Bert.POOLER,
        Bert.TWO_STEPS,
        Family.labels(settings));
  }
}
