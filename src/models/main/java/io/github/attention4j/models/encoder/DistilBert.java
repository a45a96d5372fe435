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

/** DistilBERT (Sanh et al. 2019): BERT without token types or a pooler. */
final class DistilBert {
  private static final double EPSILON = 1e-12;

  private DistilBert() {}

  static EncoderSpec read(Settings settings) {
    // The sinusoidal table is stored like a learned one.
    settings.ignore("sinusoidal_pos_embds", "seq_classif_dropout", "qa_dropout");
    int width = settings.integer("dim", 768);
    int count = settings.integer("n_heads", 12);
    int hidden = settings.integer("hidden_dim", 3072);
    Activation activation = Family.activation(settings, "activation", "gelu");
    Heads heads = Heads.plain(count, Family.headDim(settings, "dim", width, "n_heads", count));
    List<Block> blocks = new ArrayList<>();
    for (int i = 0; i < settings.layers("n_layers", 6); i++) {
      String layer = "transformer.layer." + i + ".";
      String attention = layer + "attention.";
      blocks.add(
          new Block(
              false,
              heads,
              new Projection(
                  List.of(attention + "q_lin", attention + "k_lin", attention + "v_lin"), true),
              Projection.of(attention + "out_lin", true),
              Norm.layer(layer + "sa_layer_norm", EPSILON),
              new FeedForward(
                  Projection.of(layer + "ffn.lin1", true),
                  false,
                  false,
                  hidden,
                  activation,
                  Projection.of(layer + "ffn.lin2", true)),
              Norm.layer(layer + "output_layer_norm", EPSILON)));
    }
    int positions = settings.positions("max_position_embeddings", 512);
    return new EncoderSpec(
        "distilbert",
        "distilbert.",
        settings.integer("vocab_size"),
        width,
        positions,
        new Embedding(
            "embeddings.word_embeddings",
            "embeddings.position_embeddings",
            -1,
            null,
            0,
            width,
            Norm.layer("embeddings.LayerNorm", EPSILON),
            null),
        blocks,
        null,
        null,
        null,
        Family.head(
            Family.step("pre_classifier", false, Activation.RELU),
            Family.step("classifier", false, Activation.IDENTITY)),
        Family.labels(settings));
  }
}
